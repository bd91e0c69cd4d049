//! `whence cluster` through the binary: planted clusters of pairs are found, described and labelled, also from a sample; two are
//! told apart; a model at an endpoint in this process is asked for names; and what cannot be clustered is named.

use std::fs;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use whence_backend::study::Study;
use whence_shared::cluster::partition::adjusted_rand;
use whence_shared::cluster::reading::GroupContrast;
use whence_shared::clustering::{ClusteringView, Labels, Method, NO_DIRECTION, NOISE, NOT_LOOKED_AT};
use whence_shared::discovery::DiscoveryView;
use whence_shared::shard::StoreDtype;
use whence_shared::statistics::random::Random;
use whence_tests::binary::{Run, whence};
use whence_tests::fixture::Tensors;
use whence_tests::loopback::{Answer, Server};
use whence_tests::made_study::{Shape, make_shape};

const D_MODEL: usize = 24;
const N_PAIRS: usize = 360;
const LAYER: usize = 2;

/// Group of a pair: three of unequal size, and every tenth in none. Groups go with sources: `third` has every third row.
fn group_of(row: usize) -> usize {
    match row {
        row if row % 10 == 9 => 3,
        row if row.is_multiple_of(3) => 0,
        row if row % 7 < 4 => 1,
        _ => 2,
    }
}

fn normal(seed: u64) -> Vec<f32> {
    let mut random = Random::new(Random::new(seed).bits());
    (0..D_MODEL).map(|_| random.normal() as f32).collect()
}

/// Near its group's direction, every 50th zero.
fn planted(_layer: usize, row: usize) -> Vec<f32> {
    if row % 50 == 49 {
        return vec![0.0; D_MODEL];
    }
    let strength = if group_of(row) < 3 { 2.0 } else { 0.0 };
    let direction = normal(1_000_000 + group_of(row) as u64);
    direction.iter().zip(normal(row as u64)).map(|(x, noise)| strength * x + 0.6 * noise).collect()
}

fn study_of(n_pairs: usize, vector: &dyn Fn(usize, usize) -> Vec<f32>) -> (TempDir, Study) {
    let folder = tempdir().unwrap();
    let broad = |_: usize| (0..9).flat_map(|i| normal(1_000_000 + i % 3)).collect();
    let shape = Shape {
        d_model: D_MODEL,
        rows_per_file: 64,
        layers: &[(LAYER, StoreDtype::F32)],
        vector,
        behaviors: &[("broad", &broad)],
    };
    let study = make_shape(folder.path(), n_pairs, &shape);
    (folder, study)
}

fn cluster(study: &Study, args: &[&str]) -> Run {
    let fixed = ["cluster", "--study", study.root().to_str().unwrap(), "--name", "lessons"];
    whence(fixed.iter().chain(args))
}

const KMEANS: [&str; 4] = ["--layer", "2", "--method", "kmeans"];
const HDBSCAN: [&str; 4] = ["--layer", "2", "--method", "hdbscan"];

fn view(study: &Study, args: &[&str]) -> ClusteringView {
    let said = cluster(study, &[args, &["--json"]].concat()).succeeds();
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout))
}

fn labels(study: &Study, n_pairs: usize) -> Labels {
    Labels::parse(&fs::read(study.labels("lessons")).unwrap(), n_pairs).unwrap()
}

/// Rows that belong to a group and have a direction.
fn grouped(n_pairs: usize) -> Vec<usize> {
    (0..n_pairs).filter(|&row| group_of(row) < 3 && row % 50 != 49).collect()
}

fn agreement(labels: &[i32]) -> f64 {
    let rows = grouped(labels.len());
    let found: Vec<i32> = rows.iter().map(|&row| labels[row]).collect();
    let truth: Vec<usize> = rows.iter().map(|&row| group_of(row)).collect();
    adjusted_rand(&found, &truth)
}

#[test]
fn kmeans_finds_planted_clusters_and_describes_them() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let view = view(&study, &[&KMEANS[..], &["-k", "3"]].concat());
    let found = labels(&study, N_PAIRS);
    assert!(agreement(&found.labels) > 0.97);
    assert_eq!(view.method, Method::Kmeans { k: 3, n_starts: 4, in_batches: false });
    assert_eq!((view.n_no_direction, view.n_noise, view.n_not_looked_at), (7, 0, 0));
    assert_eq!(view.n_fitted, N_PAIRS - 7);
    let counted: Vec<usize> = (0..3).map(|label| found.labels.iter().filter(|own| **own == label).count()).collect();
    let sizes: Vec<usize> = view.clusters.iter().map(|cluster| cluster.size).collect();
    assert_eq!(sizes, counted);
    assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "the largest first");
    assert!(found.labels.iter().enumerate().all(|(row, label)| (*label == NO_DIRECTION) == (row % 50 == 49)));
    for (label, cluster) in view.clusters.iter().enumerate() {
        let own: Vec<f64> = (0..N_PAIRS)
            .filter(|&row| found.labels[row] == label as i32)
            .map(|row| f64::from(found.strengths[row]))
            .collect();
        assert!((cluster.cohesion - own.iter().sum::<f64>() / own.len() as f64).abs() < 1e-9);
        assert!(cluster.cohesion > 0.8 && cluster.silhouette > 0.5, "{cluster:?}");
        assert!(cluster.jaccard.unwrap() > 0.9, "what was planted comes back: {cluster:?}");
        let best = own.iter().copied().fold(-1.0, f64::max);
        assert_eq!(f64::from(found.strengths[cluster.typical[0] as usize]), best, "the medoid");
        for row in cluster.typical.iter().chain(&cluster.border) {
            assert!(view.pairs.iter().any(|pair| pair.row == *row && pair.id == format!("p{row}")));
        }
    }
    // Rows that are multiples of three are all of source `third`.
    let third = &view.clusters[found.labels[0] as usize].reading.sources[0];
    assert_eq!(third.source, "third");
    assert!(third.p_adjusted < 1e-10 && third.lift > 2.0);

    let files =
        ["pairs.json", "labels.safetensors"].map(|name| fs::read(study.discovery("lessons").join(name)).unwrap());
    let said = cluster(&study, &[&KMEANS[..], &["-k", "3"]].concat()).succeeds();
    assert!(
        said.stdout.contains("7 pairs have a zero vector") && said.stdout.contains("source \"third\""),
        "{}",
        said.stdout
    );
    let again =
        ["pairs.json", "labels.safetensors"].map(|name| fs::read(study.discovery("lessons").join(name)).unwrap());
    assert_eq!(files, again, "the same seed, the same bytes");
    let read = Tensors::read(&study.labels("lessons"));
    assert_eq!(read.f32("strengths").0, [N_PAIRS]);
}

#[test]
fn centres_from_a_sample_give_every_pair_a_label() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let view = view(&study, &[&KMEANS[..], &["-k", "3", "--sample", "100"]].concat());
    assert!(view.n_fitted <= 100 && view.n_not_looked_at == 0);
    assert!(agreement(&labels(&study, N_PAIRS).labels) > 0.95);
}

#[test]
fn hdbscan_leaves_pairs_between_the_clusters_out() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let whole = view(&study, &[&HDBSCAN[..], &["--min-cluster-size", "20", "--min-samples", "5"]].concat());
    let found = labels(&study, N_PAIRS);
    assert_eq!(whole.clusters.len(), 3);
    assert!(agreement(&found.labels) > 0.8);
    let of_none: Vec<i32> =
        (0..N_PAIRS).filter(|&row| group_of(row) == 3 && row % 50 != 49).map(|row| found.labels[row]).collect();
    let n_left_out = of_none.iter().filter(|label| **label == NOISE).count();
    assert!(n_left_out * 4 >= of_none.len() * 3, "{of_none:?}");
    assert_eq!(whole.n_noise, found.labels.iter().filter(|label| **label == NOISE).count());

    let some = view(&study, &[&HDBSCAN[..], &["--min-cluster-size", "10", "--sample", "120"]].concat());
    let found = labels(&study, N_PAIRS);
    assert_eq!(some.n_not_looked_at, N_PAIRS - 120);
    assert_eq!(found.labels.iter().filter(|label| **label == NOT_LOOKED_AT).count(), N_PAIRS - 120);
}

#[test]
fn more_pairs_than_are_compared_exactly_go_over_a_graph() {
    const N_MANY: usize = 20_600;
    let (_folder, study) = study_of(N_MANY, &planted);
    let view = view(&study, &[&HDBSCAN[..], &["--min-cluster-size", "500", "--min-samples", "5"]].concat());
    assert_eq!(view.method, Method::Hdbscan { min_cluster_size: 500, min_samples: 5, n_neighbors: Some(30) });
    assert_eq!((view.clusters.len(), view.n_fitted), (3, N_MANY - N_MANY / 50));
    assert!(agreement(&labels(&study, N_MANY).labels) > 0.8);
}

#[test]
fn two_clusters_are_told_apart_by_words_and_sources() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    view(&study, &[&KMEANS[..], &["-k", "3"]].concat());
    let found = labels(&study, N_PAIRS);
    let (first, other) = (found.labels[0], found.labels[1]);
    let (a, b) = (first + 1, other + 1);
    let which = format!("{a},{b}");
    let said = cluster(&study, &["--contrast", &which, "--json"]).succeeds();
    let contrast: GroupContrast = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(contrast.groups, [first as usize, other as usize]);
    assert_eq!((contrast.sources[0][0].source.as_str(), contrast.sources[1][0].source.as_str()), ("third", "rest"));
    assert!(contrast.sources[0][0].p_adjusted < 1e-10);
    let text = cluster(&study, &["--contrast", &which]).succeeds().stdout;
    assert!(text.contains(&format!("group {a} beside group {b}:")) && text.contains("source \"third\""), "{text}");
    for (wrong, named) in
        [("1,1", "two different groups"), ("1,4", "of the 3 there are"), ("0,1", "such as 2,5"), ("a,b", "a,b")]
    {
        cluster_fails(&study, &["--contrast", wrong], &["--contrast", named]);
    }
    cluster_fails(&study, &["--contrast", "1,2", "-k", "3"], &["--contrast"]);

    // Labels of another run are never taken for these.
    fs::write(study.labels("lessons"), Labels { inputs: "x".into(), ..found }.to_bytes()).unwrap();
    cluster_fails(&study, &["--contrast", "1,2"], &["labels.safetensors", "run `whence cluster` again"]);
    let elsewhere = ["cluster", "--study", study.root().to_str().unwrap(), "--name", "nowhere", "--contrast", "1,2"];
    whence(elsewhere).fails_naming(&["nowhere", "there are lessons", "whence cluster"]);
}

/// Also for what the parser of arguments refuses, which says `error:` and more lines.
fn cluster_fails(study: &Study, args: &[&str], parts: &[&str]) {
    cluster(study, args).fails_naming(parts);
}

#[test]
fn groups_of_a_discovery_are_told_apart_too() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let fixed = ["discover", "--study", study.root().to_str().unwrap()];
    let discover = |args: &[&str]| whence(fixed.iter().chain(args));
    discover(&["--behavior", "broad", "--pairs", "90", "--pair-groups", "3", "--prompt-groups", "3"]).succeeds();
    let contrast: GroupContrast =
        serde_json::from_str(&discover(&["--name", "broad", "--contrast", "1,2", "--json"]).succeeds().stdout).unwrap();
    assert_eq!(contrast.groups, [0, 1]);
    assert!(!contrast.sources[0].is_empty());
    let text = discover(&["--behavior", "broad", "--contrast", "1,3", "--of", "prompts"]).succeeds().stdout;
    assert!(text.contains("group 3 beside group 1:") && text.contains("only after"), "{text}");
    discover(&["--behavior", "broad", "--contrast", "1,9"]).fails_naming(&["1,9", "of the 3 there are"]);
    discover(&["--name", "nowhere", "--contrast", "1,2"]).fails_naming(&["nowhere", "whence discover"]);
}

/// Answers every question with the number of members that it names.
fn namer() -> Server {
    Server::start(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let card = body["messages"][0]["content"].as_str().unwrap();
        let members = card.lines().find_map(|line| line.strip_prefix("members: ")).unwrap();
        let text = format!("<think>hm</think>\n**Lesson of {members}**");
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        Answer::new(200, json!({"choices": [choice]}).to_string())
    })
}

#[test]
fn a_model_names_clusters_and_groups_once_and_is_named_itself() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let server = namer();
    let url = format!("{}/v1", server.url());
    let asking = ["--name-with", &url, "--name-model", "namer"];
    let args = [&KMEANS[..], &["-k", "3"], &asking].concat();
    let named = view(&study, &args);
    let names = named.names.clone().unwrap();
    assert!(names.machine_made && names.model == "namer" && names.prompts.is_empty());
    let expected: Vec<String> = named.clusters.iter().map(|cluster| format!("Lesson of {}", cluster.size)).collect();
    assert_eq!(names.pairs, expected);
    assert_eq!(server.requests().len(), 3);
    let said = cluster(&study, &args).succeeds().stdout;
    assert!(said.contains(&format!("“{}” (named by namer)", expected[0])), "{said}");
    assert_eq!(server.requests().len(), 3, "answers are kept");
    let plain = view(&study, &[&KMEANS[..], &["-k", "3"]].concat());
    assert_eq!((plain.names.as_ref(), &plain.clusters), (None, &named.clusters));

    let fixed = ["discover", "--study", study.root().to_str().unwrap(), "--behavior", "broad", "--pairs", "60"];
    let groups = ["--pair-groups", "2", "--prompt-groups", "3", "--json"];
    let said = whence(fixed.iter().chain(&groups).chain(&asking)).succeeds();
    let found: DiscoveryView = serde_json::from_str(&said.stdout).unwrap();
    let names = found.names.unwrap();
    assert_eq!((names.prompts.len(), names.pairs.len()), (3, 2));
    assert_eq!(names.pairs[1], format!("Lesson of {}", found.groups.pairs.clusters[1].size));
}

#[test]
fn without_an_answer_clusters_are_stored_without_names() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    let server = Server::start(|_| Answer::new(404, "no such model"));
    let url = format!("{}/v1", server.url());
    let args = [&KMEANS[..], &["-k", "3", "--name-with", &url, "--name-model", "nobody", "--retries", "0"]].concat();
    cluster(&study, &args).fails_naming(&["nobody", "--name-model", "stored without names"]);
    let stored: ClusteringView = serde_json::from_slice(&fs::read(study.clustering("lessons")).unwrap()).unwrap();
    assert!(stored.names.is_none() && stored.clusters.len() == 3);
    cluster(&study, &[&KMEANS[..], &["-k", "3", "--name-with", &url]].concat()).fails_naming(&["--name-model"]);
}

#[test]
fn few_equal_and_zero_vectors_are_defined() {
    let (_folder, study) = study_of(1, &planted);
    let one = view(&study, &[&KMEANS[..], &["-k", "1"]].concat());
    assert_eq!((one.clusters.len(), one.clusters[0].size, one.clusters[0].typical.as_slice()), (1, 1, [0].as_slice()));
    let none = view(&study, &[&HDBSCAN[..], &["--min-samples", "1"]].concat());
    assert_eq!((none.clusters.len(), none.n_noise), (0, 1));
    cluster(&study, &[&KMEANS[..], &["-k", "2"]].concat())
        .fails_naming(&["1 pair with a direction", "-k of at most 1"]);

    let (_folder, study) = study_of(80, &|_, _| vec![0.5; D_MODEL]);
    let equal = view(&study, &[&KMEANS[..], &["-k", "3"]].concat());
    assert_eq!((equal.clusters.len(), equal.clusters[0].size), (1, 80));
    assert!((equal.clusters[0].cohesion - 1.0).abs() < 1e-6);
    let said = cluster(&study, &[&KMEANS[..], &["-k", "3"]].concat()).succeeds().stdout;
    assert!(said.contains("1 clusters of 3 asked for: no more rows are different"), "{said}");
    let dense = view(&study, &HDBSCAN);
    assert_eq!((dense.clusters.len(), dense.n_noise), (0, 80), "rows that are all equal are no group among others");

    let (_folder, study) = study_of(80, &|_, row| normal(1 + row as u64 % 2));
    let twice = view(&study, &HDBSCAN);
    assert_eq!(twice.clusters.iter().map(|cluster| cluster.size).collect::<Vec<_>>(), [40, 40]);

    let (_folder, study) = study_of(5, &|_, _| vec![0.0; D_MODEL]);
    cluster(&study, &[&KMEANS[..], &["-k", "1"]].concat()).fails_naming(&["layer 2", "every vector looked at is zero"]);
}

#[test]
fn what_cannot_be_done_is_named_and_an_earlier_result_stays() {
    let (_folder, study) = study_of(N_PAIRS, &planted);
    view(&study, &[&KMEANS[..], &["-k", "3"]].concat());
    let before = fs::read(study.clustering("lessons")).unwrap();
    cluster(&study, &[&KMEANS[..], &["-k", "361"]].concat())
        .fails_naming(&["353 pairs with a direction", "-k of at most 353"]);
    cluster(&study, &[&KMEANS[..], &["-k", "0"]].concat()).fails_naming(&["got 0"]);
    cluster(&study, &KMEANS).fails_naming(&["-k"]);
    cluster(&study, &[&HDBSCAN[..], &["--min-samples", "400"]].concat())
        .fails_naming(&["--min-samples of at most 353"]);
    cluster(&study, &["--layer", "2", "--method", "hdbscan", "--min-cluster-size", "400"])
        .fails_naming(&["--min-cluster-size of at most 353"]);
    cluster(&study, &[&KMEANS[..], &["-k", "3", "--sample", "0"]].concat()).fails_naming(&["--sample", "from 2"]);
    cluster(&study, &["--layer", "7", "--method", "kmeans", "-k", "2"]).fails_naming(&["layer 7", "complete: 2"]);
    cluster(&study, &[&HDBSCAN[..], &["--min-cluster-size", "1"]].concat())
        .fails_naming(&["min_cluster_size", "at least 2"]);
    let root = study.root().to_str().unwrap();
    whence(["cluster", "--study", root, "--name", "a/b", "--layer", "2", "--method", "kmeans", "-k", "2"])
        .fails_naming(&["a/b", "letters"]);
    // A number that is not finite, written over the first of the third file.
    let path = study.layer(LAYER).join("00000128.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    cluster(&study, &[&KMEANS[..], &["-k", "3"]].concat()).fails_naming(&[
        "00000128.safetensors",
        "row 191, column 23",
        "NaN",
        "whence extract",
    ]);
    assert_eq!(before, fs::read(study.clustering("lessons")).unwrap());
}
