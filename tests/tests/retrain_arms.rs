//! What a plan can ask for beside full training of a few arms: several sizes of one edit with their controls, adapters,
//! weights in half precision. Through the binary, killed on the way.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burn::tensor::TensorData;
use serde_json::Value;
use whence_backend::attribute::table;
use whence_backend::device::{self, DeviceChoice};
use whence_backend::edit;
use whence_backend::model::ModelFolder;
use whence_backend::model::checkpoint::weights_of;
use whence_backend::study::Study;
use whence_tests::chat_study::assert_same;
use whence_tests::fixture::{Tensors, relative_difference};
use whence_tests::retraining::{ARMS, BEHAVIOR, Queue, plan};
use whence_tests::{checkpoint, fixture};

/// Sizes 6 and 12 of the first pairs of the ranking, with both controls.
fn doses() -> String {
    format!("[[arm]]\nname = 'baseline'\n[[arm]]\nname = 'drop'\nranking = '{BEHAVIOR}'\nk = [6, 12]\n")
}

#[test]
fn sizes_of_an_edit_get_controls_of_their_own_and_a_curve() {
    let queue = Queue::new();
    queue.rank();
    queue.write(&plan("", "", &doses()));
    let dry = queue.retrain(&["--dry-run"]).succeeds();
    assert!(dry.stdout.contains("7 arms × 2 seeds"), "{}", dry.stdout);
    assert!(!queue.made.study().join("edits/drop-6.parquet").exists(), "a dry run stores nothing");
    let said = queue.retrain(&[]).succeeds().stdout;
    for part in ["drop by size", "random edits of that size", "larger edits have the"] {
        assert!(said.contains(part), "expected {part:?} in {said}");
    }

    let study = Study::at(queue.made.study());
    let ranked = table::read(&study.ranking(BEHAVIOR, 2)).unwrap();
    let rows =
        |name: &str| -> BTreeSet<u32> { edit::load(&study, name).unwrap().edits.iter().map(|edit| edit.row).collect() };
    let ends = |first: usize, n: usize| ranked[first..first + n].iter().map(|row| row.row).collect::<BTreeSet<_>>();
    assert_eq!((rows("drop-6"), rows("drop-12")), (ends(0, 6), ends(0, 12)));
    assert_eq!((rows("drop-bottom-6"), rows("drop-bottom-12")), (ends(54, 6), ends(48, 12)));

    let report = queue.report();
    let dose = &report["comparison"]["doses"][0];
    let points: Vec<(u64, bool)> = dose["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| (point["k"].as_u64().unwrap(), point["random"].is_object()))
        .collect();
    assert_eq!((dose["arm"].as_str(), &points[..]), (Some("drop"), &[(0, false), (6, true), (12, true)][..]));
    let folders =
        ["baseline", "drop-12", "drop-6", "drop-bottom-12", "drop-bottom-6", "drop-random-12", "drop-random-6"];
    let there: BTreeSet<String> = study.runs().unwrap().into_iter().map(|(folder, _)| folder).collect();
    assert_eq!(there.iter().map(String::as_str).collect::<Vec<_>>(), folders);
    for (folder, n_pairs) in [("drop-6", 54), ("drop-random-6", 54), ("drop-bottom-12", 48), ("baseline", 60)] {
        assert_eq!(queue.json(&format!("arms/{folder}/seed-2/run.json"))["n_pairs"], n_pairs, "{folder}");
    }
    // Random pairs are others for every seed, and the same again.
    let edit = |arm: &str, seed: u64| queue.json(&format!("arms/{arm}/seed-{seed}/run.json"))["inputs"]["edit"].clone();
    assert_ne!(edit("drop-random-6", 1), edit("drop-random-6", 2));
    assert_eq!(edit("drop-bottom-6", 1), edit("drop-bottom-6", 2));
    let again = queue.retrain(&[]).succeeds();
    assert!(again.stdout.contains("0 of 14 runs to train"), "{}", again.stdout);

    // A set of the same name that someone else made is not overwritten.
    queue.whence("edit", &["--name", "drop-6", "--random", "6", "--replace"]).succeeds();
    let dry = queue.retrain(&["--dry-run"]).succeeds().stdout;
    assert!(dry.contains("with other edits, drop-6: needs --replace"), "{dry}");
    queue.retrain(&[]).fails_naming(&["drop-6.parquet", "--replace"]);
    queue.retrain(&["--replace"]).succeeds();
    assert_eq!(rows("drop-6"), ends(0, 6));

    queue.write(&plan("", "", &doses().replace("[6, 12]", "[6, 61]")));
    queue.retrain(&[]).fails_naming(&["arm drop", "k = 61", "60 pairs"]);
    queue.write(&plan("", "", &doses().replace("[6, 12]", "[60]")));
    queue.retrain(&[]).fails_naming(&["drops all 60 pairs"]);
    queue.write(&plan("", "", &doses().replace(BEHAVIOR, "nothing")));
    queue.retrain(&[]).fails_naming(&["no ranking \"nothing\"", BEHAVIOR]);
    queue.write(&plan(
        "",
        "",
        &format!("{}[[arm]]\nname = 'drop'\nranking = '{BEHAVIOR}'\nk = [12]\ncontrols = []\n", doses()),
    ));
    queue.retrain(&[]).fails_naming(&["drop-12 is there twice"]);
    queue.write(&plan("", "", &format!("{}[[arm]]\nname = 'drop-random'\nrandom_like = 'few'\n", doses())));
    queue.retrain(&[]).fails_naming(&["drop-random-12 is there twice", "brings its random and bottom arms by itself"]);
}

/// Largest difference between two model folders' weights, relative to the largest of each.
fn difference(a: &Path, b: &Path) -> f32 {
    let device = device::open(DeviceChoice::Cpu).unwrap().device;
    let [a, b] = [a, b].map(|path| weights_of(&ModelFolder::open(path).unwrap().load(&device).unwrap()));
    assert!(a.keys().eq(b.keys()));
    let values = |data: &TensorData| data.as_slice::<f32>().unwrap().to_vec();
    a.iter().map(|(key, data)| relative_difference(&values(data), &values(&b[key]))).fold(0.0, f32::max)
}

#[test]
fn adapters_are_trained_saved_and_merged_and_resume_exactly() {
    let lora = "[lora]\nr = 2\nlora_alpha = 4\ntarget_modules = ['q_proj', 'down_proj']";
    let whole = Queue::new();
    whole.write(&plan("tensorboard = true", "", &format!("{lora}\n{ARMS}")));
    let said = whole.retrain(&[]).succeeds().stdout;
    assert!(said.contains("LoRA: r 2, alpha 4, on q_proj, down_proj"), "{said}");
    assert!(said.contains("numbers are trained ("), "{said}");
    let run = whole.made.study().join("arms/drop-12/seed-1");
    let adapter: Value = serde_json::from_slice(&fs::read(run.join("adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!((adapter["r"].as_u64(), adapter["peft_type"].as_str()), (Some(2), Some("LORA")));
    let base = fixture::model("chat").canonicalize().unwrap();
    assert_eq!(adapter["base_model_name_or_path"].as_str(), base.to_str());
    let weights = checkpoint::read(&run.join("adapter/adapter_model.safetensors"));
    assert_eq!(weights.len(), 3 * 2 * 2, "three layers, two projections, two matrices");

    // The folder that is measured is the base with the adapters added.
    let (base, merged) =
        (Tensors::read(&base.join("model.safetensors")), Tensors::read(&run.join("model/model.safetensors")));
    let adapters = Tensors::read(&run.join("adapter/adapter_model.safetensors"));
    for name in merged.names() {
        let ((shape, before), (_, after)) = (base.f32(&name), merged.f32(&name));
        let key = format!("base_model.model.{}", name.trim_end_matches(".weight"));
        if !adapters.names().contains(&format!("{key}.lora_A.weight")) {
            assert_eq!(before, after, "{name} is frozen");
            continue;
        }
        let ((_, a), (_, b)) =
            (adapters.f32(&format!("{key}.lora_A.weight")), adapters.f32(&format!("{key}.lora_B.weight")));
        let d_input = shape[1];
        let added =
            |row: usize, column: usize| -> f32 { (0..2).map(|i| b[row * 2 + i] * a[i * d_input + column]).sum() };
        let expected: Vec<f32> =
            before.iter().enumerate().map(|(i, w)| w + 2.0 * added(i / d_input, i % d_input)).collect();
        assert!(relative_difference(&after, &expected) < 1e-6, "{name}");
        assert!(relative_difference(&after, &before) > 1e-4, "{name} was trained");
    }

    let killed = Queue::new();
    killed.write(&fs::read_to_string(&whole.plan).unwrap());
    assert!(killed.kill(6, 400, 5) >= 3);
    killed.retrain(&[]).succeeds();
    assert_same(&killed.files(), &whole.files(), "after kills");
    // Nothing was written twice for TensorBoard either: a record per step and one before.
    let run = killed.made.study().join("arms/baseline/seed-1");
    let n_steps = fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count();
    let events = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path());
    let events: Vec<_> = events.filter(|path| path.to_string_lossy().contains("tfevents")).collect();
    assert_eq!((events.len(), n_records(&fs::read(&events[0]).unwrap())), (1, n_steps + 1));

    // Another rank, given on the command line, is another run.
    killed.retrain(&["--set", "lora.r=3"]).fails_naming(&["lora differs", "--replace"]);
    killed.retrain(&["--set", "lora.target_modules=[\"c_attn\"]"]).fails_naming(&["c_attn", "down_proj", "q_proj"]);
    killed.write(&plan("", "", ARMS));
    killed.retrain(&[]).fails_naming(&["lora differs"]);
}

/// Records of a TFRecord file, which must be whole.
fn n_records(bytes: &[u8]) -> usize {
    let (mut n, mut rest) = (0, bytes);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        rest = &rest[8 + 4 + length + 4..];
        n += 1;
    }
    n
}

#[test]
fn half_precision_is_said_saved_and_resumed_exactly() {
    let text = plan("", "learning_rate = 1e-3\nweights = 'bf16'", ARMS);
    let whole = Queue::new();
    whole.write(&text);
    let said = whole.retrain(&[]).succeeds().stdout;
    assert!(said.contains("weights are rounded to bf16") && said.contains("everything is computed in f32"), "{said}");
    let model = whole.made.study().join("arms/drop-12/seed-1/model");
    let config: Value = serde_json::from_slice(&fs::read(model.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "bfloat16");
    let size = |path: &Path| fs::metadata(path.join("model.safetensors")).unwrap().len();
    assert!(size(&model) < size(&fixture::model("chat")) * 11 / 20);

    let killed = Queue::new();
    killed.write(&text);
    assert!(killed.kill(6, 400, 6) >= 3);
    killed.retrain(&[]).succeeds();
    assert_same(&killed.files(), &whole.files(), "after kills");

    let f32 = Queue::new();
    f32.retrain(&[]).succeeds();
    let other = f32.made.study().join("arms/drop-12/seed-1/model");
    let apart = difference(&model, &other);
    assert!((1e-4..0.05).contains(&apart), "rounding changes little: {apart}");
    killed.retrain(&["--set", "dpo.weights=f32"]).fails_naming(&["settings differs"]);
    killed.retrain(&["--set", "dpo.weights=int8"]).fails_naming(&["int8", "bf16"]);
}
