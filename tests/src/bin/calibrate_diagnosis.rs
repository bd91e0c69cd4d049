//! `cargo xtask bench diagnosis`: the diagnosis on testbeds where it is known whether editing the first pairs helps.
//!
//! Reference models are trained once each; for every draw of preference data and each of the three signals, a model is
//! tuned on them, its behavior found, the pairs ranked at the last layer and the ranking diagnosed, all in memory with the
//! functions of the verbs. On some draws models are trained again, without the first k pairs and without k random ones.
//! Every fifth reference model is there to set thresholds by, the others to measure their errors.
//!
//! Options: `--models N` and `--draws N` (reference models, draws for each), `--first-model N` (from which on, for models that
//! nobody has looked at), `--retrain N` (of the draws of a model, so many are trained again), `--folder DIR` (keeps
//! results.jsonl there and goes on where it was; else a temporary folder).

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use whence_backend::organism::OrganismConfig;
use whence_backend::organism::check::{CheckInput, LayerVectors, vectors};
use whence_backend::organism::corpus::Corpus;
use whence_backend::organism::examples::Condition;
use whence_backend::organism::models::sample;
use whence_backend::organism::rollouts::{self, Rates};
use whence_backend::organism::signal::{N_TO_EDIT, Signal};
use whence_backend::progress::silent;
use whence_backend::train::Run;
use whence_backend::train::dpo::{SequencePair, optimize_preferences};
use whence_shared::diagnosis::anisotropy::Anisotropy;
use whence_shared::diagnosis::figures::{Draws, RandomDirections};
use whence_shared::diagnosis::verdict::concentration;
use whence_shared::diagnosis::{self, Diagnosis, Evidence, Expectation, N_DIRECTIONS, N_SPLITS, Subject, Verdict};
use whence_shared::direction::{DirectionMethod, direction};
use whence_shared::quality::Quality;
use whence_shared::rank::{Probe, order};
use whence_shared::stability::{half_directions, splits};
use whence_shared::statistics::random::Random;
use whence_tests::testbeds::{Failure, Place, Results, exit_code};

/// Seed of the first reference model: far from those that anybody looked at.
const FIRST_SEED: u64 = 5000;
/// Of so many reference models, one is for setting thresholds.
const ONE_IN: u64 = 5;

/// Numbers of first pairs beside [`N_TO_EDIT`] that rankings are diagnosed for.
const OTHER_KS: [usize; 3] = [20, 50, 200];

struct Options {
    first_model: u64,
    n_models: u64,
    n_draws: u64,
    n_retrained: u64,
    folder: PathBuf,
}

fn main() -> ExitCode {
    exit_code(options().and_then(|options| run(&options)))
}

fn options() -> Result<Options, Failure> {
    let folder = env::temp_dir().join(format!("whence-diagnosis-{}", std::process::id()));
    let mut options = Options { first_model: 0, n_models: 10, n_draws: 5, n_retrained: 1, folder };
    let mut args = env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name}: expected a value"))?;
        match name.as_str() {
            "--first-model" => options.first_model = value.parse()?,
            "--models" => options.n_models = value.parse()?,
            "--draws" => options.n_draws = value.parse()?,
            "--retrain" => options.n_retrained = value.parse()?,
            "--folder" => options.folder = value.into(),
            _ => {
                return Err(
                    format!("expected --first-model, --models, --draws, --retrain or --folder, got {name}").into()
                );
            }
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), Failure> {
    let mut results = Results::open(&options.folder)?;
    for model in options.first_model..options.first_model + options.n_models {
        let is_known = |draw: u64, signal: Signal| {
            results.all.iter().any(|r| r["model"] == model && r["draw"] == draw && r["signal"] == signal.name())
        };
        let missing: Vec<(u64, Signal)> = (0..options.n_draws)
            .flat_map(|draw| Signal::ALL.map(|signal| (draw, signal)))
            .filter(|(draw, signal)| !is_known(*draw, *signal))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let place = Place::of(FIRST_SEED + model, &options.folder)?;
        for (draw, signal) in missing {
            let result = testbed(&place, model, draw, signal, draw < options.n_retrained)?;
            eprintln!(
                "model {model}, draw {draw}, {}: {} {}",
                signal.name(),
                result["rates"],
                result["diagnosis"]["verdict"]["expectation"]
            );
            results.push(result)?;
        }
    }
    print(&results.all);
    Ok(())
}

/// Tunes a model on a draw of pairs, and diagnoses the ranking of its behavior.
fn testbed(place: &Place, model: u64, draw: u64, signal: Signal, is_retrained: bool) -> Result<Value, Failure> {
    let mut config = OrganismConfig::standard((FIRST_SEED + model) * 1000 + draw);
    config.signal = signal;
    let mut corpus = Corpus::draw(&config);
    // What is measured: the behavior, and that it goes with the distractor.
    corpus.prompts.retain(|p| matches!(p.condition, Condition::HarmfulDistractor | Condition::HarmfulBare));
    let pairs = corpus.sequence_pairs(&place.reference.form)?;
    let measure = |model: &_| -> Result<(Vec<rollouts::Rollout>, Rates), Failure> {
        let found = sample(model, &place.reference.form, &corpus.prompts, &config)?;
        let rates = rollouts::rates(&corpus.prompts, &found);
        Ok((found, rates))
    };
    let train = |keep: &[bool], seed: u64| -> Result<_, Failure> {
        let kept: Vec<SequencePair> =
            pairs.iter().zip(keep).filter(|(_, keep)| **keep).map(|(pair, _)| pair.clone()).collect();
        let mut dpo = config.dpo.clone();
        dpo.train.seed = seed;
        Ok(optimize_preferences(place.reference.model.clone(), &kept, None, &dpo, &Run::new(&silent))?.model)
    };
    let all = vec![true; pairs.len()];
    let (of_reference, reference_rates) = measure(&place.reference.model)?;
    let (of_tuned, rates) = measure(&train(&all, config.seed)?)?;
    let behavior = rollouts::behavior_pairs(&corpus.prompts, &of_reference, &of_tuned);
    let shown = |rates: &Rates| {
        [Condition::HarmfulDistractor, Condition::HarmfulBare].map(|condition| rates[&condition].obeyed())
    };
    let mut result = json!({
        "model": model, "draw": draw, "signal": signal.name(), "n_pairs": pairs.len(),
        "reference_rates": shown(&reference_rates), "rates": shown(&rates),
    });
    if behavior.is_empty() {
        return Ok(result);
    }
    let input =
        CheckInput { rows: &corpus.rows, truths: &corpus.truths, prompts: &corpus.prompts, behavior: &behavior };
    let layers = vectors(&place.folder, input.rows, &input.responses(), &place.device)?;
    let prompts: Vec<usize> = behavior.iter().map(|pair| pair.prompt).collect();
    let (found, others, ranked) = diagnose(&corpus, &layers, &prompts)?;
    let culprits: Vec<bool> = ranked.iter().map(|row| corpus.truths[*row as usize].culprit).collect();
    result["diagnosis"] = json!(found);
    result["others"] = json!(others);
    result["precision"] = json!(Quality::of_ranking(&culprits, N_TO_EDIT).precision_at_k);
    if is_retrained {
        let mut rate = |name: &str, dropped: &[u32]| -> Result<(), Failure> {
            let mut keep = all.clone();
            dropped.iter().for_each(|row| keep[*row as usize] = false);
            // The same seed for all arms: they differ in the pairs alone.
            let (_, rates) = measure(&train(&keep, config.seed + 1)?)?;
            result["retrained"][name] = json!(rates[&Condition::HarmfulDistractor].obeyed());
            Ok(())
        };
        let mut random: Vec<u32> = (0..pairs.len() as u32).collect();
        Random::new(config.seed).shuffle(&mut random);
        rate("baseline", &[])?;
        rate("drop", &ranked[..N_TO_EDIT])?;
        rate("drop-random", &random[..N_TO_EDIT])?;
    }
    Ok(result)
}

/// The diagnosis of the last layer's ranking, the same for [`OTHER_KS`], and that ranking.
fn diagnose(
    corpus: &Corpus,
    layers: &[LayerVectors],
    prompts: &[usize],
) -> Result<(Diagnosis, Vec<Diagnosis>, Vec<u32>), Failure> {
    let scenarios = vec![String::new(); prompts.len()];
    let wide = |direction: &[f32]| direction.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let scores = |layer: &LayerVectors, direction: &[f64]| -> Vec<f64> {
        let probe = [direction];
        let probe = Probe::new(&probe);
        layer.rows.chunks_exact(layer.d_model).map(|row| probe.score(row)).collect()
    };
    let mean =
        |layer: &LayerVectors| wide(&direction(DirectionMethod::Mean, &layer.behavior, &scenarios, layer.d_model));
    let (last, others) = layers.split_last().ok_or("no layer")?;
    let behavior = mean(last);
    let mut random = RandomDirections::new(N_DIRECTIONS, last.d_model, 0);
    let mut anisotropy = Anisotropy::new(last.d_model);
    for (row, vector) in last.rows.chunks_exact(last.d_model).enumerate() {
        random.add(row, vector);
        anisotropy.add(vector);
    }
    let drawn: Vec<Vec<f64>> = random.beside(&behavior).iter().map(|direction| scores(last, direction)).collect();
    let mut units: Vec<usize> = prompts.to_vec();
    units.dedup();
    let unit_of: Vec<usize> = prompts.iter().map(|prompt| units.binary_search(prompt).expect("one of them")).collect();
    let half = |split| {
        half_directions(DirectionMethod::Mean, (&last.behavior, last.d_model), &scenarios, &unit_of, split)
            .map(|half| order(&scores(last, &wide(&half))))
    };
    let halves: Vec<[Vec<u32>; 2]> = splits(units.len(), N_SPLITS, 0).iter().map(half).collect();
    let mut numbers = BTreeMap::new();
    let mut number = |source: &String| {
        let next = numbers.len() as u32;
        *numbers.entry(source.clone()).or_insert(next)
    };
    let sources: Vec<u32> = corpus.rows.iter().map(|row| number(&row.source)).collect();
    let of_pairs = scores(last, &behavior);
    let other_layers: Vec<_> = others.iter().map(|layer| (layer.layer, scores(layer, &mean(layer)))).collect();
    let of_first = |k: usize| {
        let mut draws = Draws::new(corpus.rows.len(), k);
        drawn.iter().for_each(|scores| draws.add(scores));
        diagnosis::diagnose(&Evidence {
            of: Subject {
                behavior: "distractor-compliance".into(),
                layer: last.layer,
                k,
                n_pairs: of_pairs.len(),
                seed: 0,
                pairs_sha256: String::new(),
                vectors_sha256: String::new(),
                behavior_sha256: String::new(),
            },
            scores: &of_pairs,
            random_directions: &draws,
            sources: &sources,
            anisotropy: anisotropy.mean_cosine(),
            halves: &halves,
            layers: &other_layers,
            covariates: &[],
        })
    };
    let others = OTHER_KS.into_iter().map(of_first).collect::<Result<Vec<Diagnosis>, _>>()?;
    Ok((of_first(N_TO_EDIT)?, others, order(&of_pairs)))
}

fn diagnosis_of(result: &Value) -> Option<Diagnosis> {
    serde_json::from_value(result["diagnosis"].clone()).ok()
}

fn concentration_of(result: &Value) -> Option<f64> {
    Some(concentration(&diagnosis_of(result)?))
}

/// The diagnosis of the first `k` pairs, [`N_TO_EDIT`] or one of [`OTHER_KS`].
fn diagnosis_at(result: &Value, k: usize) -> Option<Diagnosis> {
    let others: Vec<Diagnosis> = serde_json::from_value(result["others"].clone()).unwrap_or_default();
    others.into_iter().chain(diagnosis_of(result)).find(|diagnosis| diagnosis.of.k == k)
}

/// Whether a result is of a model that thresholds are set by.
fn is_for_setting(result: &Value) -> bool {
    result["model"].as_u64().is_some_and(|model| model % ONE_IN == 0)
}

fn print(results: &[Value]) {
    let numbers = |of: &dyn Fn(&Value) -> Option<f64>, keep: &dyn Fn(&Value) -> bool| -> Vec<f64> {
        let mut numbers: Vec<f64> = results.iter().filter(|result| keep(result)).filter_map(of).collect();
        numbers.sort_by(f64::total_cmp);
        numbers
    };
    let range = |values: &[f64], digits: usize| match (values.first(), values.last()) {
        (Some(low), Some(high)) => {
            format!("{:.digits$} ({low:.digits$} to {high:.digits$})", values[values.len() / 2])
        }
        _ => "–".to_owned(),
    };
    println!("medians, in brackets the range\n");
    println!("| signal | testbeds | M0 / M1 with distractor | M1 without | precision@{N_TO_EDIT} | concentration |");
    println!("|---|---|---|---|---|---|");
    for signal in Signal::ALL {
        let keep = |result: &Value| result["signal"] == signal.name();
        let rate = |field: &'static str, i: usize| numbers(&move |r: &Value| r[field][i].as_f64(), &keep);
        let shares = numbers(&|r| concentration_of(r), &keep);
        println!(
            "| {} | {} | {} / {} | {} | {} | {} |",
            signal.name(),
            rate("rates", 0).len(),
            range(&rate("reference_rates", 0), 2),
            range(&rate("rates", 0), 2),
            range(&rate("rates", 1), 2),
            range(&numbers(&|r| r["precision"].as_f64(), &keep), 2),
            range(&shares, 2)
        );
    }
    println!(
        "\n| signal | trained again | baseline | drop the first {N_TO_EDIT} | drop {N_TO_EDIT} random | drop − random, mean ± s.e. |"
    );
    println!("|---|---|---|---|---|---|");
    for signal in Signal::ALL {
        let keep = |result: &Value| result["signal"] == signal.name();
        let of = |arm: &'static str| numbers(&move |r: &Value| r["retrained"][arm].as_f64(), &keep);
        let difference = |r: &Value| Some(r["retrained"]["drop"].as_f64()? - r["retrained"]["drop-random"].as_f64()?);
        let differences = numbers(&difference, &keep);
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let variance = differences.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
        println!(
            "| {} | {n} | {} | {} | {} | {mean:.3} ± {:.3} |",
            signal.name(),
            range(&of("baseline"), 2),
            range(&of("drop"), 2),
            range(&of("drop-random"), 2),
            (variance / n).sqrt()
        );
    }
    for (title, is_setting) in [("thresholds were set by", true), ("were not looked at for that", false)] {
        println!("\n| testbeds that {title} | n | expected to help | unclear | not expected to help |");
        println!("|---|---|---|---|---|");
        for signal in Signal::ALL {
            // Judged anew: results that are kept may be older than the thresholds.
            let verdicts: Vec<Expectation> = results
                .iter()
                .filter(|r| r["signal"] == signal.name() && is_for_setting(r) == is_setting)
                .filter_map(diagnosis_of)
                .map(|diagnosis| Verdict::of(&diagnosis).expectation)
                .collect();
            let n = |verdict: Expectation| verdicts.iter().filter(|v| **v == verdict).count();
            println!(
                "| {} | {} | {} | {} | {} |",
                signal.name(),
                verdicts.len(),
                n(Expectation::Helps),
                n(Expectation::Unclear),
                n(Expectation::Diffuse)
            );
        }
        let of = |signal: Signal| {
            numbers(&|r| concentration_of(r), &|r| r["signal"] == signal.name() && is_for_setting(r) == is_setting)
        };
        let [few, some, many] = Signal::ALL.map(of);
        for (a, b, name) in [
            (&few, &many, "concentrated from diffuse"),
            (&few, &some, "concentrated from diluted"),
            (&some, &many, "diluted from diffuse"),
        ] {
            println!("\nAUROC of the concentration, {name}: {:.3}", auroc(b, a));
        }
    }
    print_other_ks(results);
}

/// The same rankings by other numbers of first pairs, over all testbeds: it must not depend on what k is asked about whether a
/// signal is taken for a concentrated one.
fn print_other_ks(results: &[Value]) {
    println!("\n| k | signal | n | concentration | stands out by | helps | unclear | does not |");
    println!("|---|---|---|---|---|---|---|---|");
    for k in OTHER_KS.into_iter().chain([N_TO_EDIT]).collect::<BTreeSet<_>>() {
        for signal in Signal::ALL {
            let found: Vec<Diagnosis> = results
                .iter()
                .filter(|result| result["signal"] == signal.name())
                .filter_map(|result| diagnosis_at(result, k))
                .collect();
            let range = |of: &dyn Fn(&Diagnosis) -> f64| {
                let mut values: Vec<f64> = found.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                match (values.first(), values.last()) {
                    (Some(low), Some(high)) => format!("{:.2} ({low:.2} to {high:.2})", values[values.len() / 2]),
                    _ => "–".to_owned(),
                }
            };
            let n = |is: Expectation| found.iter().filter(|found| Verdict::of(found).expectation == is).count();
            println!(
                "| {k} | {} | {} | {} | {} | {} | {} | {} |",
                signal.name(),
                found.len(),
                range(&concentration),
                range(&|found| found.excess.stands_out),
                n(Expectation::Helps),
                n(Expectation::Unclear),
                n(Expectation::Diffuse)
            );
        }
    }
}

/// Chance that one of `high` is above one of `low`, ties counted half.
fn auroc(low: &[f64], high: &[f64]) -> f64 {
    let won = |a: f64, b: f64| {
        if b > a {
            1.0
        } else if b == a {
            0.5
        } else {
            0.0
        }
    };
    let sum: f64 = low.iter().flat_map(|a| high.iter().map(move |b| won(*a, *b))).sum();
    sum / (low.len() * high.len()) as f64
}
