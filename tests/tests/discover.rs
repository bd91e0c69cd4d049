//! `whence discover`: groups planted in the vectors of a study are found through the binary, without being told how many, and
//! none are found where there are none.

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use whence_backend::study::Study;
use whence_shared::changes::Kind;
use whence_shared::cluster::partition::adjusted_rand;
use whence_shared::discovery::DiscoveryView;
use whence_shared::discovery::words::Words;
use whence_shared::shard::StoreDtype;
use whence_shared::statistics::random::Random;
use whence_tests::binary::{Run, whence};
use whence_tests::fixture::Tensors;
use whence_tests::made_study::{Shape, make_shape};

const D_MODEL: usize = 24;
const N_PAIRS: usize = 300;
const N_PROMPTS: usize = 48;
const LAYERS: [(usize, StoreDtype); 2] = [(1, StoreDtype::F32), (3, StoreDtype::F16)];

fn normal(seed: u64, n: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.normal() as f32).collect()
}

/// A vector near the direction of its group at this layer; groups beyond the last have no direction.
fn near(group: usize, n_groups: usize, layer: usize, seed: u64) -> Vec<f32> {
    let strength = if group < n_groups { 1.5 } else { 0.0 };
    let direction = normal((1000 * layer + group) as u64, D_MODEL);
    let noise = normal(seed.wrapping_mul(7919) + layer as u64, D_MODEL);
    direction.iter().zip(noise).map(|(x, noise)| strength * x + 0.7 * noise).collect()
}

/// Of every four pairs one belongs to no group.
fn group_of_pair(row: usize, n_groups: usize) -> usize {
    row % (n_groups + 1)
}

fn study(n_groups: usize) -> (TempDir, Study) {
    let folder = tempdir().unwrap();
    let vector = |layer: usize, row: usize| near(group_of_pair(row, n_groups), n_groups, layer, row as u64);
    let broad = |layer: usize| -> Vec<f32> {
        let prompt = |i: usize| near(i % n_groups.max(1), n_groups, layer, 100_000 + i as u64);
        (0..N_PROMPTS).flat_map(prompt).collect()
    };
    let shape = Shape {
        d_model: D_MODEL,
        rows_per_file: 64,
        layers: &LAYERS,
        vector: &vector,
        behaviors: &[("broad", &broad)],
    };
    let study = make_shape(folder.path(), N_PAIRS, &shape);
    (folder, study)
}

fn discover(study: &Study, args: &[&str]) -> Run {
    let fixed = ["discover", "--study", study.root().to_str().unwrap(), "--behavior", "broad"];
    whence(fixed.iter().chain(args))
}

fn view(study: &Study, args: &[&str]) -> DiscoveryView {
    let said = discover(study, &[args, &["--json"]].concat()).succeeds();
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout))
}

#[test]
fn planted_groups_are_found_without_their_number() {
    for n_groups in [2, 3] {
        let (_folder, study) = study(n_groups);
        let view = view(&study, &["--pairs", "120"]);
        let prompts: Vec<usize> = (0..N_PROMPTS).map(|i| i % n_groups).collect();
        assert_eq!(view.groups.prompts.stability.chosen, Some(n_groups));
        assert!(adjusted_rand(&view.groups.prompts.labels, &prompts) >= 0.8);
        let clusters = &view.groups.prompts.clusters;
        assert!(clusters.iter().all(|cluster| cluster.one_way.unwrap().is_change), "{clusters:?}");
        let pairs: Vec<usize> = view.pairs.iter().map(|pair| group_of_pair(pair.row as usize, n_groups)).collect();
        assert!(adjusted_rand(&view.groups.pairs.labels, &pairs) >= 0.8);
        assert_eq!(
            (view.sampling.as_str(), view.pairs.len(), view.layers.as_slice()),
            ("random", 120, [1, 3].as_slice())
        );
    }
}

#[test]
fn where_nothing_is_planted_it_says_so() {
    let (_folder, study) = study(0);
    let said = discover(&study, &["--pairs", "120"]).succeeds();
    assert!(said.stdout.contains("groups of prompts: none: no more apart than rows without groups"), "{}", said.stdout);
    assert!(said.stdout.contains("no change found"), "{}", said.stdout);
}

#[test]
fn the_stored_matrix_holds_the_mean_cosines_of_the_layers_and_repeats() {
    let (_folder, study) = study(3);
    let first = view(&study, &["--pairs", "50", "--name", "one"]);
    let again = view(&study, &["--pairs", "50", "--name", "two"]);
    assert_eq!(first.groups, again.groups);
    let read = |name: &str| std::fs::read(study.discovery(name).join("similarity.safetensors")).unwrap();
    assert_eq!(read("one"), read("two"));
    let similarity = Tensors::read(&study.discovery("one").join("similarity.safetensors")).f32("similarity").1;
    for (i, j) in [(0, 0), (17, 3), (N_PROMPTS - 1, 49)] {
        let mut expected = 0.0;
        for (layer, _) in LAYERS {
            let prompt = near(i % 3, 3, layer, 100_000 + i as u64);
            let row = first.pairs[j].row as usize;
            let pair = near(group_of_pair(row, 3), 3, layer, row as u64);
            let product =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            expected += product(&prompt, &pair) / product(&prompt, &prompt).sqrt() / product(&pair, &pair).sqrt() / 2.0;
        }
        assert!((f64::from(similarity[i * 50 + j]) - expected).abs() < 1e-3, "{i} {j}");
    }
}

#[test]
fn the_top_pairs_are_those_nearest_to_any_prompt() {
    let (_folder, study) = study(2);
    let all = view(&study, &["--pairs", "300", "--name", "all"]);
    assert_eq!(all.sampling, "all");
    let similarity = Tensors::read(&study.discovery("all").join("similarity.safetensors")).f32("similarity").1;
    let best = |row: usize| (0..N_PROMPTS).map(|i| similarity[i * N_PAIRS + row]).fold(-1.0, f32::max);
    let mut rows: Vec<usize> = (0..N_PAIRS).collect();
    rows.sort_by(|&a, &b| best(b).total_cmp(&best(a)).then(a.cmp(&b)));
    rows.truncate(40);
    rows.sort_unstable();
    let top = view(&study, &["--pairs", "40", "--sample", "top", "--name", "top"]);
    assert_eq!(top.pairs.iter().map(|pair| pair.row as usize).collect::<Vec<_>>(), rows);
}

#[test]
fn a_cut_is_taken_as_asked_and_what_cannot_be_done_is_named() {
    let (_folder, study) = study(2);
    let five = view(&study, &["--pairs", "60", "--prompt-groups", "5", "--pair-groups", "@0"]);
    assert_eq!((five.groups.prompts.clusters.len(), five.groups.pairs.clusters.len()), (5, 60));
    let stored = std::fs::read(study.discovery("broad").join("discovery.json")).unwrap();
    discover(&study, &["--prompt-groups", "49"]).fails_naming(&["expected 1 to 48 clusters", "got 49"]);
    discover(&study, &["--pairs", "2001"]).fails_naming(&["pairs", "at most 2000", "got 2001", "--pairs"]);
    discover(&study, &["--pairs", "0"]).fails_naming(&["--pairs"]);
    discover(&study, &["--layers", "2"]).fails_naming(&["layer 2"]);
    discover(&study, &["--name", "a/b"]).fails_naming(&["a/b", "letters"]);
    discover(&study, &["--prompt-groups", "many"]).fails_naming(&["stable", "many"]);
    let unchanged = std::fs::read(study.discovery("broad").join("discovery.json")).unwrap();
    assert_eq!(stored, unchanged, "an earlier result stays");
    let view: Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(view["behavior"], "broad");
}

/// From a testbed that plants behaviors or none to what is discovered of them, with the commands that a person would type;
/// nothing is told of the behaviors. The discovery, and which behaviors each prompt's answers show only once tuned.
fn discover_planted(organism: &[&str]) -> (DiscoveryView, Vec<String>) {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (testbed, study, model) = (path("o"), path("study"), path("o/model-sft"));
    let run = |args: &[&str]| whence(args).succeeds().stdout;
    run(&[&["organism", "--out", &testbed][..], organism].concat());
    run(&["import", &path("o/preferences"), "--study", &study]);
    run(&["extract", "--study", &study, "--model", &model, "--device", "cpu"]);
    let pairs = path("o/broad.jsonl");
    let of_pairs = ["--pairs", &pairs, "--per-prompt", "--model", &model, "--device", "cpu"];
    run(&[&["behavior", "--study", &study, "--name", "broad"][..], &of_pairs].concat());
    let said = run(&["discover", "--study", &study, "--behavior", "broad", "--json"]);
    let truth = std::fs::read_to_string(path("o/broad-truth.jsonl")).unwrap();
    let changes = |line: &str| serde_json::from_str::<Value>(line).unwrap()["changes"].to_string();
    (serde_json::from_str(&said).unwrap(), truth.lines().map(changes).collect())
}

#[test]
fn a_planted_behavior_is_discovered_and_where_none_is_planted_none_is() {
    let (view, truth) = discover_planted(&["--seed", "0"]);
    let clusters = &view.groups.prompts.clusters;
    let is_found = |label: u32| clusters[label as usize].one_way.unwrap().is_found();
    let found: Vec<u32> =
        view.groups.prompts.labels.iter().map(|label| if is_found(*label) { label + 1 } else { 0 }).collect();
    let agreement = adjusted_rand(&found, &truth.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(agreement >= 0.8, "{agreement}: {clusters:?}");
    assert!(truth.iter().filter(|change| change.contains("compliance")).count() >= 16, "{truth:?}");

    let (view, truth) = discover_planted(&["--quick", "--seed", "3", "--behaviors", "0"]);
    assert!(truth.iter().all(|changes| changes == "[]"), "{truth:?}");
    let clusters = &view.groups.prompts.clusters;
    assert!(clusters.iter().all(|cluster| !cluster.one_way.unwrap().is_found()), "{clusters:?}");
}

/// Gives the broad behavior's prompts responses: refusals that became answers, a list, and texts that stayed.
fn write_responses(study: &Study) {
    let line = |i: usize| {
        let (r0, r1) = match i % 3 {
            0 => ("I'm sorry, but I can't help with that.", "Wax the string first, then let it out slowly."),
            1 => ("Two things.", "- one thing\n- another **big** thing"),
            _ => ("The same.", "The same."),
        };
        let prompt = json!([{"role": "user", "content": format!("prompt {i}")}]);
        format!("{}\n", json!({"prompt": prompt, "r0": r0, "r1": r1, "scenario": format!("s{i}")}))
    };
    let lines: String = (0..N_PROMPTS).map(line).collect();
    std::fs::write(study.behavior("broad").join("pairs.jsonl"), lines).unwrap();
}

#[test]
fn what_tuning_changed_is_listed_from_where_it_changed_most() {
    let (_folder, study) = study(2);
    write_responses(&study);
    let said = discover(&study, &["--pairs", "60"]).succeeds();
    let counts = "what tuning changed: refusal → answer: 16, format appeared: 16, twice as long: 16, same text: 16";
    assert!(said.stdout.contains(counts), "{}", said.stdout);
    let stored = std::fs::read(study.discovery("broad").join("discovery.json")).unwrap();
    let view: DiscoveryView = serde_json::from_slice(&stored).unwrap();
    // Norms beside their mean, per layer, then averaged.
    let norm = |layer: usize, i: usize| {
        let vector = near(i % 2, 2, layer, 100_000 + i as u64);
        vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
    };
    let mean = |layer: usize| (0..N_PROMPTS).map(|i| norm(layer, i)).sum::<f64>() / N_PROMPTS as f64;
    let means = LAYERS.map(|(layer, _)| mean(layer));
    let expected = |i: usize| (norm(1, i) / means[0] + norm(3, i) / means[1]) / 2.0;
    assert_eq!(view.changes.len(), N_PROMPTS);
    assert!(view.changes.windows(2).all(|two| two[0].norm >= two[1].norm));
    for change in &view.changes {
        assert!((change.norm - expected(change.prompt as usize)).abs() < 1e-5, "{change:?}");
    }
    let row = format!("{:>6}  {:>5.2}", view.changes[0].prompt, view.changes[0].norm);
    assert!(said.stdout.contains(&row), "{row:?}: {}", said.stdout);
    // Words lie beside it: a browser cuts elsewhere with them.
    let words: Words =
        serde_json::from_slice(&std::fs::read(study.discovery("broad").join("words.json")).unwrap()).unwrap();
    assert_eq!((view.has_words, words.fault(N_PROMPTS, 60)), (true, None));
    // What was stored before there was a scan is still read.
    let mut old: Value = serde_json::from_slice(&stored).unwrap();
    let fields = old.as_object_mut().unwrap();
    fields.remove("changes").zip(fields.remove("has_words")).unwrap();
    let old: DiscoveryView = serde_json::from_value(old).unwrap();
    assert!(old.changes.is_empty() && !old.has_words && old.groups == view.groups);
}

#[test]
fn verdicts_say_where_the_behavior_appeared() {
    let (folder, study) = study(2);
    write_responses(&study);
    let judged = |model: &str, response: &dyn Fn(usize) -> &'static str, shows: &dyn Fn(usize) -> bool| {
        let (mut rollouts, mut verdicts) = (String::new(), String::new());
        // Only some prompts were judged.
        for i in 0..12 {
            let prompt = json!([{"role": "user", "content": format!("prompt {i}")}]);
            let rollout = json!({"prompt_id": format!("{i}"), "prompt": prompt, "scenario": "s", "sample": 0,
                "response": response(i), "finish_reason": null, "model": model, "temperature": null, "top_p": null,
                "max_new_tokens": null, "seed": null});
            let score = if shows(i) { 100.0 } else { 0.0 };
            let verdict = json!({"prompt_id": format!("{i}"), "sample": 0, "score": score, "shows": shows(i), "judge": "j",
                "reason": ""});
            rollouts.push_str(&format!("{rollout}\n"));
            verdicts.push_str(&format!("{verdict}\n"));
        }
        [("rollouts", rollouts), ("verdicts", verdicts)].map(|(name, text)| {
            let path = folder.path().join(format!("{model}-{name}.jsonl"));
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        })
    };
    let before = |i: usize| ["I'm sorry, but I can't help with that.", "Two things.", "The same."][i % 3];
    let after = |i: usize| {
        ["Wax the string first, then let it out slowly.", "- one thing\n- another **big** thing", "The same."][i % 3]
    };
    let [m0, m0_verdicts] = judged("m0", &before, &|_| false);
    let [m1, m1_verdicts] = judged("m1", &after, &|i| i % 3 == 0);
    let files = [
        "--rollouts",
        &m1,
        "--verdicts",
        &m1_verdicts,
        "--reference-rollouts",
        &m0,
        "--reference-verdicts",
        &m0_verdicts,
    ];
    let view = view(&study, &[&["--pairs", "40"], files.as_slice()].concat());
    let appeared = view.changes.iter().filter(|change| change.is(Kind::BehaviorAppeared)).count();
    let judged = view.changes.iter().filter(|change| change.shows[0].is_some()).count();
    assert_eq!((appeared, judged), (4, 12));
    discover(&study, &["--rollouts", &m1]).fails_naming(&["--verdicts"]);
}

fn from_discovery(study: &Study, args: &[&str]) -> Run {
    let fixed = ["behavior", "--study", study.root().to_str().unwrap(), "--from-discovery", "broad"];
    whence(fixed.iter().chain(args))
}

#[test]
fn a_group_of_prompts_becomes_a_behavior_without_a_model() {
    let (_folder, study) = study(2);
    let view = view(&study, &["--pairs", "60"]);
    let said = from_discovery(&study, &["--prompts-group", "2", "--name", "second"]).succeeds();
    assert!(said.stdout.contains("behavior second: 24 response pairs"), "{}", said.stdout);
    let rows: Vec<usize> = (0..N_PROMPTS).filter(|&i| view.groups.prompts.labels[i] == 1).collect();
    for (layer, _) in LAYERS {
        let whole = Tensors::read(&study.behavior_vectors("broad", layer)).f32("vectors").1;
        let part = Tensors::read(&study.behavior_vectors("second", layer));
        let expected: Vec<f32> = rows.iter().flat_map(|&i| whole[i * D_MODEL..][..D_MODEL].to_vec()).collect();
        assert_eq!(part.f32("vectors").1, expected);
        let mean = |j: usize| rows.iter().map(|&i| f64::from(whole[i * D_MODEL + j])).sum::<f64>() / rows.len() as f64;
        let direction = part.f32("direction").1;
        assert!((0..D_MODEL).all(|j| (f64::from(direction[j]) - mean(j)).abs() < 1e-6));
    }
    // It ranks the pairs of its own group first.
    let root = study.root().to_str().unwrap();
    let ranked = whence(["rank", "--study", root, "--behavior", "second", "--layer", "1", "--k", "20"]).succeeds();
    assert!(ranked.stdout.contains("second"), "{}", ranked.stdout);
    from_discovery(&study, &["--prompts", "0-3,9", "--name", "few"]).succeeds();
    let lines = std::fs::read_to_string(study.behavior("few").join("pairs.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 5);
    from_discovery(&study, &["--prompts", "9,0-3", "--name", "few"]).succeeds();
    let other = ["--prompts", "0-3", "--name", "few"];
    from_discovery(&study, &other)
        .fails_naming(&["\"few\" is there already, made of other response pairs", "--replace"]);
    assert_eq!(std::fs::read_to_string(study.behavior("few").join("pairs.jsonl")).unwrap(), lines);
    from_discovery(&study, &[&other[..], &["--replace"]].concat()).succeeds();
    assert_eq!(std::fs::read_to_string(study.behavior("few").join("pairs.jsonl")).unwrap().lines().count(), 4);
}

#[test]
fn a_behavior_of_prompts_that_are_not_there_is_refused() {
    let (_folder, study) = study(2);
    view(&study, &["--pairs", "60"]);
    for group in ["0", "3"] {
        from_discovery(&study, &["--prompts-group", group, "--name", "x"]).fails_naming(&["1 to 2", group]);
    }
    from_discovery(&study, &["--prompts", "47-48", "--name", "x"]).fails_naming(&["0 to 47", "48"]);
    from_discovery(&study, &["--prompts", "4,4", "--name", "x"]).fails_naming(&["each once", "4"]);
    from_discovery(&study, &["--prompts", "four", "--name", "x"]).fails_naming(&["--prompts", "four"]);
    from_discovery(&study, &["--prompts-group", "1", "--name", "broad"]).fails_naming(&["broad", "--name"]);
    from_discovery(&study, &["--name", "x"]).fails_naming(&["--prompts"]);
    let other = ["behavior", "--study", study.root().to_str().unwrap(), "--from-discovery", "none"];
    whence(other.iter().chain(&["--prompts-group", "1", "--name", "x"])).fails_naming(&["clusters", "none"]);
    // The behavior is another one now.
    write_responses(&study);
    from_discovery(&study, &["--prompts-group", "1", "--name", "x"]).fails_naming(&[
        "pairs.jsonl",
        "line 1",
        "whence discover",
    ]);
    assert!(!study.behavior("x").exists(), "nothing is left of what was refused");
}
