//! `cargo xtask bench discovery`: what discovery finds on testbeds where it is known what is there to be found.
//!
//! Reference models are trained once each; on preference data that plants no, two or three behaviors beside the same decoys
//! a model is tuned, both answer a broad set of prompts, and the changes are grouped without being told their number, all in
//! memory with the functions of the verbs. Printed: how far the groups that are called changes agree with the truth (adjusted
//! Rand index), once with which planted behavior a prompt brings out, once with what only the tuned model shows in at least half of
//! its answers to it; and how often something is called a change where nothing was planted, or where the
//! model was not tuned at all and answers twice.
//!
//! Options: `--models N`, `--first-seed N`, `--planted 0,2,3`, `--untuned N` (so many broad sets that each
//! reference model answers twice), `--folder DIR` (keeps results.jsonl and the matrices there and goes on where it was),
//! `--samples N` (answers of each model to a prompt; 16 unless told), `--again yes` (trains nothing: groups the matrices of the folder again, by the method as it is now).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use serde_json::{Value, json};
use whence_backend::organism::OrganismConfig;
use whence_backend::organism::behaviors::Behavior;
use whence_backend::organism::broad::{Answered, BroadPrompt};
use whence_backend::organism::check::{LayerVectors, Responses, vectors};
use whence_backend::organism::corpus::Corpus;
use whence_backend::organism::examples::Kind;
use whence_backend::organism::models::answer_broadly;
use whence_backend::progress::silent;
use whence_backend::train::Run;
use whence_backend::train::dpo::optimize_preferences;
use whence_shared::changes::{lengths_beside, mean_over_layers, mean_square, norms};
use whence_shared::cluster::one_way::OneWay;
use whence_shared::cluster::partition::adjusted_rand;
use whence_shared::cluster::points::to_unit_rows;
use whence_shared::cluster::stability;
use whence_shared::discovery::{Cut, Groups, Settings, Similarity, Text, discover};
use whence_shared::dot::dot;
use whence_shared::statistics::random::Random;
use whence_tests::testbeds::{Failure, Place, Results, exit_code};

/// How many behaviors are planted, unless told.
const PLANTED: [usize; 3] = [0, 2, 3];
/// Answers of each model to each prompt, unless told: twice as many as a testbed of the demo has, as discovery goes by their mean.
const N_SAMPLES: usize = 16;
/// Pairs that are looked at, as `whence discover` does when it is not told.
const N_PAIRS: usize = 500;

struct Options {
    n_models: u64,
    first_seed: u64,
    planted: Vec<usize>,
    n_untuned: u64,
    folder: PathBuf,
    n_samples: usize,
    is_again: bool,
}

fn main() -> ExitCode {
    exit_code(options().and_then(|options| run(&options)))
}

fn options() -> Result<Options, Failure> {
    let folder = env::temp_dir().join(format!("whence-discovery-{}", std::process::id()));
    let mut options = Options {
        n_models: 40,
        first_seed: 9000,
        planted: PLANTED.to_vec(),
        n_untuned: 0,
        folder,
        n_samples: N_SAMPLES,
        is_again: false,
    };
    let mut args = env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name}: expected a value"))?;
        match name.as_str() {
            "--models" => options.n_models = value.parse()?,
            "--first-seed" => options.first_seed = value.parse()?,
            "--planted" => options.planted = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--untuned" => options.n_untuned = value.parse()?,
            "--folder" => options.folder = value.into(),
            "--samples" => options.n_samples = value.parse()?,
            "--again" => options.is_again = value == "yes",
            _ => return Err(format!("unknown option {name}; see the head of this program's source").into()),
        }
    }
    match options.planted.iter().find(|n| **n > Behavior::ALL.len()) {
        Some(n) => Err(format!("--planted: at most {} behaviors can be planted, got {n}", Behavior::ALL.len()).into()),
        None => Ok(options),
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let mut results = Results::open(&options.folder)?;
    if options.is_again {
        let again: Vec<Value> =
            results.all.iter().map(|result| again(&options.folder, result)).collect::<Result<_, _>>()?;
        print(&again);
        return Ok(());
    }
    for seed in options.first_seed..options.first_seed + options.n_models {
        let cases = options.planted.iter().map(|n| Case::Planted(*n)).chain((0..options.n_untuned).map(Case::Untuned));
        let is_missing = |case: &Case| {
            let is_it = |result: &Value| result["seed"] == seed && result["planted"] == case.name();
            !results.all.iter().any(is_it)
        };
        let missing: Vec<Case> = cases.filter(is_missing).collect();
        if missing.is_empty() {
            continue;
        }
        let place = Place::of(seed, &options.folder)?;
        for case in missing {
            let result = testbed(&place, options, seed, case)?;
            eprintln!("{result}");
            results.push(result)?;
        }
    }
    print(&results.all);
    Ok(())
}

/// What is compared with the reference model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// A model tuned on pairs that plant so many behaviors.
    Planted(usize),
    /// The reference model again, on a broad set of this number.
    Untuned(u64),
}

impl Case {
    /// As results name it.
    fn name(self) -> String {
        match self {
            Case::Planted(n) => n.to_string(),
            Case::Untuned(draw) => format!("untuned {draw}"),
        }
    }

    /// The case of a name.
    fn named(name: &str) -> Result<Self, Failure> {
        match name.strip_prefix("untuned ") {
            Some(draw) => Ok(Case::Untuned(draw.parse()?)),
            None => Ok(Case::Planted(name.parse()?)),
        }
    }

    /// The testbed's settings.
    fn config(self, seed: u64) -> OrganismConfig {
        let mut config = OrganismConfig::standard(seed).planting(self.behaviors());
        if let Case::Untuned(draw) = self {
            config.seed += 1_000_000 * (draw + 1);
        }
        config
    }

    fn behaviors(self) -> &'static [Behavior] {
        match self {
            Case::Planted(n) => &Behavior::ALL[..n],
            Case::Untuned(_) => &[],
        }
    }
}

/// Tunes a model, if there is something to tune it on, and says what is discovered of what changed.
fn testbed(place: &Place, options: &Options, seed: u64, case: Case) -> Result<Value, Failure> {
    let mut config = case.config(seed);
    config.n_broad_samples = options.n_samples;
    let corpus = Corpus::draw(&config);
    let model = place.reference.model.clone();
    let tuned = match case {
        Case::Planted(_) => {
            let pairs = corpus.sequence_pairs(&place.reference.form)?;
            optimize_preferences(model, &pairs, None, &config.dpo, &Run::new(&silent))?.model
        }
        Case::Untuned(_) => model,
    };
    let broad = answer_broadly(&place.reference, &tuned, &corpus.broad, &config)?;
    let responses: Vec<Responses> = broad.iter().flat_map(responses).collect();
    let mut rows: Vec<usize> = (0..corpus.rows.len()).collect();
    Random::new(1).shuffle(&mut rows);
    rows.truncate(N_PAIRS);
    rows.sort_unstable();
    let looked_at: Vec<_> = rows.iter().map(|row| corpus.rows[*row].clone()).collect();
    let mut layers = vectors(&place.folder, &looked_at, &responses, &place.device)?;
    layers.iter_mut().for_each(|layer| layer.behavior = means(&layer.behavior, layer.d_model, config.n_broad_samples));
    let similarity = similarity(&layers, broad.len(), looked_at.len());
    let file = matrix(&options.folder, seed, &case.name());
    fs::write(file, similarity.write(broad.len(), looked_at.len()))?;
    let groups = grouped(&similarity, broad.len())?;
    let kinds: Vec<Kind> = rows.iter().map(|row| corpus.truths[*row].kind).collect();
    Ok(result(seed, case, &broad, &kinds, &groups))
}

/// Where the matrix of a testbed is kept.
fn matrix(folder: &Path, seed: u64, case: &str) -> PathBuf {
    folder.join(format!("{seed}-{}.safetensors", case.replace(' ', "-")))
}

/// Grouped as `whence discover` does. Prompts are all different; no words are looked at.
fn grouped(similarity: &Similarity, n_prompts: usize) -> Result<Groups, Failure> {
    let prompts: Vec<String> = (0..n_prompts).map(|prompt| prompt.to_string()).collect();
    let prompts: Vec<Text> = prompts.iter().map(|prompt| Text { prompt, ..Text::default() }).collect();
    let settings = Settings {
        prompt_cut: Cut::Stable,
        pair_cut: Cut::Stable,
        stability: stability::Settings::default(),
        one_way: Default::default(),
    };
    let n_pairs = similarity.of_pairs.len() / n_prompts.max(1);
    Ok(discover(similarity, &prompts, &vec![Text::default(); n_pairs], settings)?)
}

/// An earlier result with what is found in its matrix now.
fn again(folder: &Path, earlier: &Value) -> Result<Value, Failure> {
    let seed = earlier["seed"].as_u64().ok_or("results.jsonl: expected a seed")?;
    let name = earlier["planted"].as_str().ok_or("results.jsonl: expected what was planted")?;
    let truth: Vec<BTreeSet<Behavior>> = serde_json::from_value(earlier["truth"].clone())?;
    let bytes = fs::read(matrix(folder, seed, name))?;
    let similarity = Similarity::read(&bytes, truth.len(), N_PAIRS)?;
    let groups = grouped(&similarity, truth.len())?;
    let mut now = found(&groups, &truth, &brought_out(seed, Case::named(name)?));
    let kept = ["seed", "planted", "shown", "rises", "adjusted_rand_of_pairs", "truth"];
    kept.iter().for_each(|key| now[*key] = earlier[*key].clone());
    let adjusted_rand = now["adjusted_rand"].clone();
    eprintln!("{seed}, planted {name}: adjusted Rand {adjusted_rand}, {} found", now["n_changes"]);
    Ok(now)
}

fn result(seed: u64, case: Case, broad: &[Answered], kinds: &[Kind], groups: &Groups) -> Value {
    let truth: Vec<BTreeSet<Behavior>> = broad.iter().map(Answered::changes).collect();
    let taught: Vec<Option<Behavior>> = kinds.iter().map(|kind| kind.teaches()).collect();
    let mut shown = BTreeMap::new();
    truth.iter().flatten().for_each(|behavior| *shown.entry(*behavior).or_insert(0) += 1);
    // How well each behavior was learned: mean rise where it is brought out, and elsewhere.
    let mut rises = BTreeMap::new();
    for behavior in case.behaviors() {
        let mean = |brought_out: bool| {
            let here = |of: &&Answered| behavior.is_brought_out_by(&of.prompt.request) == brought_out;
            let rises: Vec<f64> = broad.iter().filter(here).map(|of| of.rise(*behavior)).collect();
            rises.iter().sum::<f64>() / rises.len().max(1) as f64
        };
        rises.insert(behavior.name(), [mean(true), mean(false)]);
    }
    let mut result = found(groups, &truth, &brought_out(seed, case));
    result["seed"] = seed.into();
    result["planted"] = case.name().into();
    result["shown"] = json!(shown);
    result["rises"] = json!(rises);
    result["adjusted_rand_of_pairs"] = adjusted_rand(&groups.pairs.labels, &taught).into();
    result["truth"] = json!(truth);
    result
}

/// Which of the planted behaviors each broad prompt of a testbed brings out, at most one.
fn brought_out(seed: u64, case: Case) -> Vec<Option<Behavior>> {
    let brought_out = |prompt: &BroadPrompt| {
        case.behaviors().iter().copied().find(|behavior| behavior.is_brought_out_by(&prompt.request))
    };
    Corpus::draw(&case.config(seed)).broad.iter().map(brought_out).collect()
}

/// What is found of the changes there are: those shown, and those planted where a prompt brings them out.
fn found(groups: &Groups, truth: &[BTreeSet<Behavior>], planted: &[Option<Behavior>]) -> Value {
    let clusters = &groups.prompts.clusters;
    let is_found = |label: u32| clusters[label as usize].one_way.is_some_and(|way| way.is_found());
    // Groups that are no change are one group: of prompts where nothing was found.
    let found: Vec<u32> =
        groups.prompts.labels.iter().map(|label| if is_found(*label) { label + 1 } else { 0 }).collect();
    // A number for each set of behaviors.
    let shown_there: Vec<u8> = truth.iter().map(|set| set.iter().map(|behavior| 1 << *behavior as u8).sum()).collect();
    let n = |is: &dyn Fn(&OneWay) -> bool| clusters.iter().filter(|c| c.one_way.as_ref().is_some_and(is)).count();
    json!({
        "adjusted_rand": adjusted_rand(&found, planted),
        "adjusted_rand_of_shown": adjusted_rand(&found, &shown_there),
        "n_groups": clusters.len(),
        "p": groups.prompts.stability.p,
        "changes": clusters.iter().map(|cluster| json!({"size": cluster.size, "way": cluster.one_way})).collect::<Vec<_>>(),
        "n_changes": n(&OneWay::is_found),
        "n_slight": n(&|way| way.is_change && !way.is_found()),
    })
}

fn responses(of: &Answered) -> impl Iterator<Item = Responses<'_>> {
    of.r0.iter().zip(&of.r1).map(|(r0, r1)| Responses { prompt: of.prompt.request.messages(), r0, r1 })
}

/// Means of as many vectors each, `[n, d_model]`.
fn means(vectors: &[f32], d_model: usize, n_each: usize) -> Vec<f32> {
    let mean = |rows: &[f32]| {
        (0..d_model).map(|i| rows.iter().skip(i).step_by(d_model).sum::<f32>() / n_each as f32).collect::<Vec<_>>()
    };
    vectors.chunks_exact(n_each * d_model).flat_map(mean).collect()
}

/// Mean over layers of the cosines of responses with pairs and with each other.
fn similarity(layers: &[LayerVectors], n_prompts: usize, n_pairs: usize) -> Similarity {
    let beside = |layer: &LayerVectors| {
        lengths_beside(&norms(&layer.behavior, layer.d_model), mean_square(&norms(&layer.rows, layer.d_model)))
    };
    let lengths = mean_over_layers(&layers.iter().map(beside).collect::<Vec<_>>());
    let mut similarity = Similarity {
        of_pairs: vec![0.0; n_prompts * n_pairs],
        of_prompts: vec![0.0; n_prompts * n_prompts],
        lengths: lengths.into_iter().map(|length| length as f32).collect(),
    };
    for layer in layers {
        let unit = |rows: &[f32]| {
            let mut rows = rows.to_vec();
            to_unit_rows(&mut rows, layer.d_model);
            rows
        };
        let (pairs, prompts) = (unit(&layer.rows), unit(&layer.behavior));
        for (sums, others) in [(&mut similarity.of_pairs, &pairs), (&mut similarity.of_prompts, &prompts)] {
            let others = || others.chunks_exact(layer.d_model);
            let products =
                prompts.chunks_exact(layer.d_model).flat_map(|prompt| others().map(move |other| dot(prompt, other)));
            sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product / layers.len() as f32);
        }
    }
    similarity
}

/// The median of ascending values; NaN where results of an earlier version lack them.
fn middle_of(values: &[f64]) -> f64 {
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(results: &[Value]) {
    println!(
        "| behaviors planted | testbeds | adjusted Rand: median (least) | of them ≥ 0.8 | with what is shown | of pairs | changes found: median (range) | any found |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let rows = (0..=Behavior::ALL.len()).map(|n| n.to_string()).chain(["untuned".to_owned()]);
    for row in rows {
        let is_of_row =
            |result: &&Value| result["planted"].as_str().is_some_and(|name| name.split(' ').next() == Some(&row));
        let of = |field: &str| -> Vec<f64> {
            let mut values: Vec<f64> = results.iter().filter(is_of_row).filter_map(|r| r[field].as_f64()).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (rand, changes) = (of("adjusted_rand"), of("n_changes"));
        let Some((least, middle)) = rand.first().zip(rand.get(rand.len() / 2)) else { continue };
        let (of_pairs, shown) = (of("adjusted_rand_of_pairs"), of("adjusted_rand_of_shown"));
        println!(
            "| {row} | {} | {middle:.2} ({least:.2}) | {} | {:.2} | {:.2} | {} ({} to {}) | {} |",
            rand.len(),
            rand.iter().filter(|value| **value >= 0.8).count(),
            middle_of(&shown),
            middle_of(&of_pairs),
            changes[changes.len() / 2],
            changes[0],
            changes[changes.len() - 1],
            changes.iter().filter(|n| **n > 0.0).count(),
        );
    }
}
