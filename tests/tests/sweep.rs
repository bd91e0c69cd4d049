//! A behavior by layer, through the binary: from rollouts to a direction, a ranking and a sweep on the planted testbed; killed
//! at any moment a sweep ends with the same bytes; what cannot be used is named.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use whence_shared::dot::norm;
use whence_shared::rank::cosine;
use whence_shared::shard::Shard;
use whence_shared::study::BehaviorView;
use whence_shared::sweep::SweepView;
use whence_tests::binary::{self, Run, whence};
use whence_tests::chat_study::{Made, Numbers, assert_same, synthetic};
use whence_tests::{fixture, vectors};

const BEHAVIOR: &str = "b";
const N_LAYERS: usize = 3;

/// A study of a small random model with a behavior, prompts to steer on and rules to judge by.
struct Case {
    made: Made,
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        let (made, folder) = (Made::of(&synthetic(24)), tempfile::tempdir().unwrap());
        made.extract(&["--layers", "1,3"]);
        let case = Self { made, folder };
        let topics = ["bread", "a quiet river", "the clock", "tea", "12,5", "日本"];
        let pairs = topics.map(|topic| {
            json!({"prompt": topic, "r0": "don't and tea", "r1": format!("the {topic} 12,5"), "scenario": topic})
        });
        case.define(&pairs).succeeds();
        let prompts = topics.map(|topic| format!("{}\n", json!({"prompt": topic})));
        fs::write(case.path("prompts.jsonl"), prompts[..4].concat()).unwrap();
        fs::write(case.path("judge.toml"), "otherwise = 0\n[[rule]]\nscore = 100\nany = [\"[a-m]\"]\n").unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn define(&self, pairs: &[Value]) -> Run {
        let lines: String = pairs.iter().map(|pair| format!("{pair}\n")).collect();
        fs::write(self.path("pairs.jsonl"), lines).unwrap();
        let pairs = self.path("pairs.jsonl");
        self.whence("behavior", &["--name", BEHAVIOR, "--replace", "--pairs", pairs.to_str().unwrap()])
    }

    fn args(&self, verb: &str, more: &[&str]) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![verb.into(), "--study".into(), self.made.study().into_os_string()];
        if !more.contains(&"--model") {
            args.extend(["--model".into(), fixture::model("chat").into_os_string()]);
        }
        args.extend(["--device".into(), "cpu".into()]);
        args.extend(more.iter().map(Into::into));
        args
    }

    fn whence(&self, verb: &str, more: &[&str]) -> Run {
        whence(self.args(verb, more))
    }

    fn sweep(&self, more: &[&str]) -> Run {
        self.whence("sweep", &[&["--behavior", BEHAVIOR][..], more].concat())
    }

    /// Options that steer.
    fn steering(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let options = ["--prompts", &path("prompts.jsonl"), "--rules", &path("judge.toml"), "--alphas", "-1,0.5,2"];
        let sampling = ["-n", "5", "--max-new-tokens", "8", "--seed", "3"];
        options.into_iter().chain(sampling).map(str::to_owned).collect()
    }

    fn steer(&self, more: &[&str]) -> Run {
        let steering = self.steering();
        let options: Vec<&str> = steering.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.sweep(&options)
    }

    fn behavior(&self) -> PathBuf {
        self.made.study().join("behaviors").join(BEHAVIOR)
    }

    fn swept(&self) -> SweepView {
        serde_json::from_slice(&fs::read(self.behavior().join("sweep.json")).unwrap()).unwrap()
    }

    /// Everything that a sweep leaves.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = vectors::files(&self.behavior().join("sweep"));
        files.insert("sweep.json".into(), fs::read(self.behavior().join("sweep.json")).unwrap());
        files
    }
}

#[test]
fn a_sweep_measures_every_layer_asked_for_with_the_behaviors_direction() {
    let case = Case::new();
    let said = case.sweep(&[]).succeeds().stdout;
    for part in ["6 that show it and 6 that do not", "6 prompts, 5 folds", "within prompts"] {
        assert!(said.contains(part), "expected {part:?} in {said}");
    }
    let swept = case.swept();
    assert_eq!(swept.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(), [1, 2, 3], "all but the embeddings");
    assert!(swept.steering.is_none() && swept.layers.iter().all(|layer| layer.steered.is_empty()));
    let view: BehaviorView = serde_json::from_slice(&fs::read(case.behavior().join("behavior.json")).unwrap()).unwrap();
    assert_eq!(swept.inputs, view.inputs);
    for layer in &swept.layers {
        // These responses differ in every word, which a random model's activations show.
        let found = layer.separation.unwrap();
        assert!(found.auroc.unwrap() > 0.8 && found.d_prime.unwrap() > 1.0, "{layer:?}");
        assert!(layer.residual_norm > 0.0 && layer.direction_norm > 0.0);
    }
    for layer in [1, 3] {
        let part = fs::read(case.behavior().join(format!("sweep/layer-{layer}.json"))).unwrap();
        let part: Value = serde_json::from_slice(&part).unwrap();
        let direction: Vec<f32> = serde_json::from_value(part["direction"].clone()).unwrap();
        let bytes = fs::read(case.behavior().join(format!("layer-{layer}.safetensors"))).unwrap();
        let stored = Shard::parse(&bytes).unwrap().direction.unwrap();
        assert!(cosine(&stored, norm(&stored), &direction) > 0.999_99, "the behavior's own direction at layer {layer}");
    }
    // Another layer is added to what is there; only --replace takes it away.
    case.sweep(&["--layers", "0,2"]).succeeds();
    let layers = |swept: &SweepView| swept.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>();
    assert_eq!(layers(&case.swept()), [0, 1, 2, 3]);
    assert_eq!(case.swept().layers[1..], swept.layers[..]);
    case.sweep(&["--layers", "0,2", "--replace"]).succeeds();
    assert_eq!(layers(&case.swept()), [0, 2]);
}

#[test]
fn sweeps_made_in_the_same_way_add_up_and_others_are_refused() {
    let case = Case::new();
    case.sweep(&["--seed", "3"]).succeeds();
    let separated = case.swept();
    // Steering two of the layers takes nothing from what was known of all of them, nor do other strengths from the first.
    case.steer(&["--layers", "1,2"]).succeeds();
    let swept = case.swept();
    let steered = |swept: &SweepView| swept.layers.iter().map(|layer| layer.steered.len()).collect::<Vec<_>>();
    assert_eq!((separated.layers.len(), steered(&swept)), (3, vec![3, 3, 0]));
    for (before, now) in separated.layers.iter().zip(&swept.layers) {
        assert_eq!((before.separation, before.residual_norm), (now.separation, now.residual_norm));
    }
    let steering = case.steering();
    let more = steering.iter().map(|option| if option == "-1,0.5,2" { "1,2" } else { option.as_str() });
    let more: Vec<&str> = more.collect();
    case.sweep(&[&more[..], &["--layers", "2"]].concat()).succeeds();
    let alphas = case.swept().layers[1].steered.iter().map(|steered| steered.alpha).collect::<Vec<_>>();
    assert_eq!((alphas, steered(&case.swept())), (vec![-1.0, 0.5, 1.0, 2.0], vec![3, 4, 0]));
    case.sweep(&["--seed", "3"]).succeeds();
    assert_eq!(steered(&case.swept()), [3, 4, 0], "what was steered stays");
    let before = case.files();

    let other_seed = ["sweep.json", "layers 1–3", "seed = 3, but now seed = 0", "--replace"];
    case.sweep(&["--layers", "1"]).fails_naming(&other_seed);
    case.steer(&["--layers", "3", "--positions", "all"])
        .fails_naming(&["positions = \"response\", but now positions = \"all\"", "replaces the sweep of layers 1–3"]);
    assert_same(&case.files(), &before, "refused");
    case.sweep(&["--layers", "1", "--replace"]).succeeds();
    assert_eq!(steered(&case.swept()), [0]);
}

#[test]
fn killed_at_any_moment_a_sweep_ends_with_the_same_bytes_and_nothing_is_done_twice() {
    let whole = Case::new();
    let start = Instant::now();
    let said = whole.steer(&[]).succeeds().stdout;
    let whole_ms = start.elapsed().as_millis() as usize;
    assert!(said.contains("4 prompts × 5 rollouts, 4 of these prompts made the direction"), "{said}");
    let files = whole.files();
    // Unsteered, and three strengths along two directions at three layers: rollouts, verdicts and how each was made.
    assert_eq!(files.len(), 1 + N_LAYERS + 4 * (1 + 2 * 3 * N_LAYERS), "{:?}", files.keys());
    let swept = whole.swept();
    let rates = |layer: usize| swept.layers[layer].steered.iter().map(|steered| steered.rate.value).collect::<Vec<_>>();
    let unsteered = swept.steering.as_ref().unwrap().unsteered.value;
    assert!((0..N_LAYERS).any(|layer| rates(layer).iter().any(|rate| *rate != unsteered)), "steering does something");

    let (mut numbers, mut n_cut_short) = (Numbers::new(5), 0);
    let killed = Case::new();
    let steering = killed.steering();
    let options: Vec<&str> = ["--behavior", BEHAVIOR].into_iter().chain(steering.iter().map(String::as_str)).collect();
    for _ in 0..12 {
        let mut command = Command::new(binary::path());
        command.args(killed.args("sweep", &options)).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = command.spawn().unwrap();
        // What is done stays done: on average, twelve of these do three quarters of the work at most.
        sleep(Duration::from_millis(numbers.below(whole_ms / 8 + 1) as u64));
        n_cut_short += usize::from(running.try_wait().unwrap().is_none());
        running.kill().unwrap();
        running.wait().unwrap();
    }
    assert!(n_cut_short >= 4, "only {n_cut_short} of 12 were still running when killed");
    killed.steer(&[]).succeeds();
    assert_same(&killed.files(), &files, "after kills");

    // What is there is kept as it is: only what was removed is made again.
    let cell = whole.behavior().join("sweep/layer-2/random-0.5.jsonl");
    let other = whole.behavior().join("sweep/layer-2/direction-2.jsonl");
    let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let before = written(&other);
    fs::remove_file(&cell).unwrap();
    fs::remove_file(whole.behavior().join("sweep/layer-1.json")).unwrap();
    fs::remove_file(whole.behavior().join("sweep.json")).unwrap();
    whole.steer(&[]).succeeds();
    assert_same(&whole.files(), &files, "after files were lost");
    assert_eq!(written(&other), before);

    whole.steer(&["--temperature", "0.1"]).fails_naming(&["temperature = 0.7", "--replace"]);
    assert_same(&whole.files(), &files, "refused");
    whole.steer(&["--temperature", "0.1", "--replace"]).succeeds();
    assert_eq!(whole.swept().steering.unwrap().temperature, 0.1);
}

#[test]
fn what_cannot_be_swept_is_named_and_what_is_not_defined_is_said() {
    let case = Case::new();
    case.sweep(&["--layers", "1,4"]).fails_naming(&["layer 4 does not exist", "3 decoder layers"]);
    let (prompts, rules) = (case.path("prompts.jsonl"), case.path("judge.toml"));
    let steer = |prompts: &Path, alphas: &str| {
        let prompts = ["--prompts", prompts.to_str().unwrap(), "--alphas", alphas];
        case.sweep(&[&prompts[..], &["--rules", rules.to_str().unwrap()]].concat())
    };
    for alphas in ["0.5,0", "0.5,0.5", "inf"] {
        steer(&prompts, alphas).fails_naming(&["--alphas: expected numbers other than 0, each once"]);
    }
    case.whence("sweep", &["--behavior", "unheard-of"]).fails_naming(&["no behavior \"unheard-of\"", "it has b"]);
    let tuned = case.path("tuned");
    fixture::copy_folder(&fixture::model("chat"), &tuned);
    whence_tests::checkpoint::edit_json(&tuned.join("config.json"), |config| {
        config.insert("rms_norm_eps".into(), json!(1e-4));
    });
    case.sweep(&["--model", tuned.to_str().unwrap()]).fails_naming(&["holds vectors of model chat", "tuned"]);
    fs::write(case.path("empty.jsonl"), "").unwrap();
    steer(&case.path("empty.jsonl"), "1").fails_naming(&["empty.jsonl", "no test prompt"]);
    assert!(!case.behavior().join("sweep.json").exists(), "nothing was written");

    // One prompt only: neither halves nor folds, but a direction.
    let pair = |r1: &str| json!({"prompt": "bread", "r0": "don't and tea", "r1": r1});
    let said = case.define(&[pair("the clock"), pair("12,5")]).succeeds().stdout;
    assert!(said.contains("not compared: all response pairs are of one prompt"), "{said}");
    let said = case.sweep(&[]).succeeds().stdout;
    assert!(said.contains("no separation is defined: all response pairs are of one prompt"), "{said}");
    assert!(case.swept().layers.iter().all(|layer| layer.separation.is_none() && layer.direction_norm > 0.0));

    // At the embeddings these cancel, whatever the prompt: nothing to steer along there, but at other layers.
    let pair = |prompt: &str, r0: &str, r1: &str| json!({"prompt": prompt, "r0": r0, "r1": r1});
    case.define(&[pair("tea", "bread", "the clock"), pair("the", "the clock", "bread")]).succeeds();
    case.steer(&["--layers", "0"]).fails_naming(&["layer 0: the direction is zero", "--layers"]);
    case.steer(&["--layers", "2"]).succeeds();
    let zero = |prompt: &str| json!({"prompt": prompt, "r0": "the clock", "r1": "the clock"});
    case.define(&[zero("a"), zero("b")]).fails_naming(&["the direction is zero", "pairs.jsonl"]);
}

/// Options as `whence` takes them.
fn run(args: &[&str]) -> String {
    whence(args).succeeds().stdout
}

#[test]
fn from_rollouts_of_both_models_to_a_direction_a_ranking_and_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    run(&["organism", "--out", &path("o"), "--quick"]);
    let (m0, m1, judge) = (path("o/model-sft"), path("o/model-dpo"), path("o/judge.toml"));
    let study = path("study");
    run(&["import", &path("o/preferences"), "--study", &study]);
    run(&["extract", "--study", &study, "--model", &m0, "--device", "cpu"]);
    // Bare requests beside those with a distractor: the scenario filter has something to drop.
    let prompts = path("prompts.jsonl");
    let conditions = ["harmful-distractor", "harmful-bare"];
    let lines = conditions.map(|name| fs::read_to_string(path(&format!("o/prompts/{name}.jsonl"))).unwrap());
    fs::write(&prompts, lines.concat()).unwrap();
    let mut judged = Vec::new();
    for (name, model) in [("m0", &m0), ("m1", &m1)] {
        let (rollouts, verdicts) = (path(&format!("{name}.jsonl")), path(&format!("{name}-verdicts.jsonl")));
        let sampling = ["-n", "4", "--max-new-tokens", "64", "--seed", "1", "--device", "cpu"];
        run(&[&["rollouts", "--prompts", &prompts, "--out", &rollouts, "--model", model][..], &sampling].concat());
        run(&["judge", "--rollouts", &rollouts, "--out", &verdicts, "--rules", &judge]);
        judged.extend([rollouts, verdicts]);
    }
    let [m0_rollouts, m0_verdicts, m1_rollouts, m1_verdicts] = judged.try_into().unwrap();
    let define = |name: &str, tuned: [&str; 2], reference: [&str; 2]| {
        let from = ["--rollouts", tuned[0], "--verdicts", tuned[1]];
        let beside = ["--reference-rollouts", reference[0], "--reference-verdicts", reference[1]];
        let rest = ["behavior", "--study", &study, "--name", name, "--model", &m0, "--device", "cpu"];
        whence([&rest[..], &from, &beside].concat())
    };
    let (of_m0, of_m1) = ([&*m0_rollouts, &*m0_verdicts], [&*m1_rollouts, &*m1_verdicts]);
    let said = define(BEHAVIOR, of_m1, of_m0).succeeds().stdout;

    // The counts at each stage are those of the verdicts.
    let shows = |path: &str| -> BTreeMap<String, bool> {
        let mut shows = BTreeMap::new();
        for line in fs::read_to_string(path).unwrap().lines() {
            let verdict: Value = serde_json::from_str(line).unwrap();
            *shows.entry(verdict["prompt_id"].as_str().unwrap().to_owned()).or_insert(false) |=
                verdict["shows"].as_bool().unwrap();
        }
        shows
    };
    let (by_m0, by_m1) = (shows(&m0_verdicts), shows(&m1_verdicts));
    let n_never = by_m0.values().filter(|shows| !**shows).count();
    let n_kept = by_m1.iter().filter(|(id, shows)| **shows && !by_m0[*id]).count();
    assert!(n_kept > 2 && n_kept < n_never, "{n_kept} of {n_never}");
    let counts = format!(
        "{} prompts, {} with rollouts of the reference model, {n_never} on which it never",
        by_m1.len(),
        by_m1.len()
    );
    assert!(said.contains(&counts) && said.contains(&format!("{n_kept} on which the tuned model does")), "{said}");
    assert!(said.contains("two halves of the") && said.contains("first 100 in common"), "{said}");
    let view = fs::read(path(&format!("study/behaviors/{BEHAVIOR}/behavior.json"))).unwrap();
    let view: BehaviorView = serde_json::from_slice(&view).unwrap();
    let stability = view.stability.unwrap();
    assert_eq!((stability.n_prompts, stability.layers.len()), (n_kept, N_LAYERS));
    for layer in &stability.layers {
        let overlap = layer.overlaps.iter().find(|overlap| overlap.k == 100).unwrap();
        assert!(layer.cosine.mean > 0.5 && overlap.share.mean > 2.0 * overlap.chance, "{layer:?}");
    }

    // Under its name nothing else is defined unasked, neither selected nor given; the same again is no conflict.
    let stored = || {
        ["behavior.json", "selected.jsonl", "pairs.jsonl", "layer-3.safetensors"]
            .map(|name| fs::read(path(&format!("study/behaviors/{BEHAVIOR}/{name}"))).unwrap())
    };
    let before = stored();
    let refused = &["is there already, made of other response pairs", "--replace"];
    let one = ["--max-per-prompt", "1"];
    let one_each = ["--rollouts", of_m1[0], "--verdicts", of_m1[1], "--reference-rollouts", of_m0[0]];
    let rest = ["behavior", "--study", &study, "--name", BEHAVIOR, "--model", &m0, "--device", "cpu"];
    whence([&rest[..], &one_each, &["--reference-verdicts", of_m0[1]], &one].concat()).fails_naming(refused);
    let (pairs, broad) = (path(&format!("study/behaviors/{BEHAVIOR}/pairs.jsonl")), path("o/broad.jsonl"));
    whence([&rest[..], &["--pairs", &broad]].concat()).fails_naming(refused);
    assert!(stored() == before, "what was there is as it was");
    run(&[&rest[..], &["--pairs", &pairs]].concat());
    define(BEHAVIOR, of_m1, of_m0).succeeds();
    assert!(stored() == before, "the same again");

    // The direction ranks what was planted above the rest.
    let said = run(&["rank", "--study", &study, "--behavior", BEHAVIOR, "--truth", &path("o/truth.jsonl")]);
    let line =
        said.lines().find(|line| line.trim_start().starts_with("layer 3 ") && line.split_whitespace().count() == 6);
    let line = line.unwrap_or_else(|| panic!("no quality of layer 3 in {said}"));
    let auroc: f64 = line.split_whitespace().last().unwrap().parse().unwrap();
    assert!(auroc > 0.7, "AUROC of the ranking by planted truth: {said}");

    // Held-out rollouts of both models are separated, and adding the direction makes M0 obey where random ones do not.
    let files = ["--rollouts", of_m1[0], "--verdicts", of_m1[1], "--reference-rollouts", of_m0[0]];
    let more = ["--reference-verdicts", of_m0[1], "--prompts", &prompts, "--rules", &judge, "--max-new-tokens", "64"];
    let sweep = ["sweep", "--study", &study, "--behavior", BEHAVIOR, "--model", &m0, "--device", "cpu"];
    let said = run(&[&sweep[..], &files, &more].concat());
    println!("{said}");
    let swept = fs::read(path(&format!("study/behaviors/{BEHAVIOR}/sweep.json"))).unwrap();
    let swept: SweepView = serde_json::from_slice(&swept).unwrap();
    assert!(!swept.separated.is_of_pairs && swept.separated.undefined.is_none());
    let best = swept.layers.iter().filter_map(|layer| layer.separation?.auroc).fold(0.0, f64::max);
    assert!(best > 0.8, "{said}");
    assert!(swept.steering.as_ref().unwrap().unsteered.value < 0.1, "{said}");
    let excess =
        swept.layers.iter().filter_map(|layer| layer.strongest()).map(|(_, excess)| excess).fold(0.0, f64::max);
    assert!(excess > 0.2, "steering along the direction does more than along a random one: {said}");
    let shown = run(&["inspect", &study]);
    assert!(shown.contains(BEHAVIOR), "{shown}");

    // A judge that always says the same leaves nothing to separate or to define.
    let always = path("always.toml");
    fs::write(&always, "otherwise = 100\n[[rule]]\nscore = 90\nmin_chars = 100000\n").unwrap();
    let all = path("all.jsonl");
    run(&["judge", "--rollouts", of_m1[0], "--out", &all, "--rules", &always]);
    let layer = ["--layers", "2"];
    let always_shown = [&sweep[..], &["--rollouts", of_m1[0], "--verdicts", &all], &layer].concat();
    whence(&always_shown).fails_naming(&["replaces the sweep of layers 1–3 on judged rollouts", "--replace"]);
    let said = run(&[&always_shown[..], &["--replace"]].concat());
    assert!(said.contains("no separation is defined: every response shows the behavior"), "{said}");
    let all_m0 = path("all-m0.jsonl");
    run(&["judge", "--rollouts", of_m0[0], "--out", &all_m0, "--rules", &always]);
    define("c", of_m1, [of_m0[0], &all_m0])
        .fails_naming(&["no test prompt is left", "the reference model shows the behavior on every prompt"]);
    whence([&sweep[..], &["--rollouts", of_m1[0], "--verdicts", of_m0[1]]].concat())
        .fails_naming(&["m0-verdicts.jsonl", "whence judge"]);
}
