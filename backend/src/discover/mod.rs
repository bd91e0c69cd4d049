//! Discovery: which prompts changed alike, and which pairs changed them, without a behavior having been defined.
//!
//! Stands beside attribution: it reads the behavior vectors of a broad set of prompts (`whence behavior` with whatever
//! both models answered) and pair vectors, makes the matrix of their cosines ([`similarity`]), has it grouped and described
//! by [`whence_shared::discovery`], and stores the result:
//!
//! ```text
//! clusters/NAME/discovery.json           a DiscoveryView
//! clusters/NAME/similarity.safetensors   similarity F32 [n_prompts, n_pairs], its cosines; prompts F32 [n_prompts, n_prompts];
//!                                        lengths F32 [n_prompts], beside those of pair vectors
//! clusters/NAME/words.json               words of prompts and pairs, for cutting elsewhere
//! ```

pub mod similarity;

mod judged;

use std::path::PathBuf;

use thiserror::Error;
use whence_shared::changes::{self, Change};
use whence_shared::cluster::points::ClusterError;
use whence_shared::cluster::stability;
use whence_shared::discovery::words::Words;
use whence_shared::discovery::{self, DiscoveryView, PairEntry, PromptEntry, Settings, Similarity, Text};
use whence_shared::pair::{Pair, Side, conversation_text, spoken_text};

use crate::attribute::RankError;
use crate::attribute::probe::{layers_to_rank, must_be_its_pairs};
use crate::behavior::rollouts::endpoint::EndpointOptions;
use crate::behavior::{BehaviorError, ResponsePair, check_name, read_pairs};
use crate::cluster::naming::{self, NamingError};
use crate::data::pairs::{PairFile, PairFileError, SNIPPET_CHARS};
use crate::extract::VectorsManifest;
use crate::files::{self, FileError};
use crate::judge::selection::{JudgedFiles, SelectionError};
use crate::progress::{Report, Update};
use crate::study::Study;
use similarity::{Sampling, Vectors};

/// What stops discovery.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// The study's vectors or the behavior cannot be used.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// The name, or the prompts of the behavior.
    #[error(transparent)]
    Behavior(#[from] BehaviorError),
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The matrix cannot be grouped as asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Rollouts and verdicts for the change scan.
    #[error(transparent)]
    Judged(#[from] SelectionError),
    /// A discovery cannot be read.
    #[error("{}: {reason}; run `whence discover` again", path.display())]
    Malformed {
        /// Its discovery.json.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The model that is asked for names.
    #[error(transparent)]
    Naming(#[from] NamingError),
    /// More prompts, or more pairs asked for, than can be grouped.
    #[error("{what}: at most {limit} can be grouped, got {got}; {remedy}")]
    TooMany {
        /// Prompts or pairs.
        what: &'static str,
        /// How many are possible.
        limit: usize,
        /// How many there are.
        got: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// The behavior's prompts and vectors are not of the same number.
    #[error(
        "{}: {lines} lines, but {vectors} behavior vectors; run `whence behavior` again",
        path.display()
    )]
    OtherPrompts {
        /// The behavior's pairs.jsonl.
        path: PathBuf,
        /// Lines in it.
        lines: usize,
        /// Vectors.
        vectors: usize,
    },
}

/// What to look at.
#[derive(Debug, Clone)]
pub struct DiscoverOptions {
    /// Name of the result.
    pub name: String,
    /// The behavior whose prompts are grouped.
    pub behavior: String,
    /// Layers that are read together; empty means every complete one.
    pub layers: Vec<usize>,
    /// Pairs that are looked at; all when there are not more.
    pub n_pairs: usize,
    /// Which pairs, when there are more.
    pub sampling: Sampling,
    /// How they are grouped; its seed also draws the pairs.
    pub settings: Settings,
    /// Judged rollouts of the reference model and of the tuned one, for the change scan.
    pub judged: Option<[JudgedFiles; 2]>,
    /// The model that is asked for names of the groups, if one is.
    pub names: Option<EndpointOptions>,
}

/// Groups the prompts of a behavior and the pairs of a study, and stores the result.
///
/// # Errors
///
/// [`DiscoverError`]; an earlier result of the same name stays until the new one is complete. When only the names fail, the result
/// is stored without.
pub fn discover(study: &Study, options: &DiscoverOptions, report: Report) -> Result<DiscoveryView, DiscoverError> {
    check_name(&options.name)?;
    at_most("pairs", options.n_pairs, "ask for fewer with --pairs")?;
    let layers = layers_to_rank(study, &options.behavior, &options.layers)?;
    let manifest = VectorsManifest::required(study).map_err(RankError::from)?;
    let pairs_sha256 = must_be_its_pairs(study, &manifest)?;
    let path = study.behavior(&options.behavior).join("pairs.jsonl");
    let prompts = read_pairs(&path)?;
    at_most("prompts", prompts.len(), "define the behavior with fewer")?;
    let vectors = Vectors::open(study, &options.behavior, &layers, &manifest)?;
    if vectors.n_prompts() != prompts.len() {
        return Err(DiscoverError::OtherPrompts { path, lines: prompts.len(), vectors: vectors.n_prompts() });
    }
    let changes = changes_of(&prompts, &vectors.relative_norms(), options.judged.as_ref())?;
    let (rows, similarity) =
        vectors.similarity(options.n_pairs, options.sampling, options.settings.stability.seed, report)?;

    report(Update {
        stage: "group",
        done: 0,
        total: 0,
        unit: "pairs",
        detail: format!("{} prompts × {} pairs", prompts.len(), rows.len()),
    });
    let pairs = read_rows(&PairFile::open(&study.pairs())?, &rows)?;
    let prompt_texts: Vec<String> = prompts.iter().map(|pair| spoken_text(&pair.prompt)).collect();
    let pair_texts: Vec<String> = pairs.iter().map(|pair| spoken_text(&pair.prompt)).collect();
    let of_prompts: Vec<Text> = prompt_texts.iter().map(|prompt| Text { prompt, ..Text::default() }).collect();
    let of_pairs: Vec<Text> = pairs
        .iter()
        .zip(&pair_texts)
        .map(|(pair, prompt)| Text {
            prompt,
            chosen: pair.response(Side::Chosen),
            rejected: pair.response(Side::Rejected),
            source: &pair.source,
        })
        .collect();
    let groups = discovery::discover(&similarity, &of_prompts, &of_pairs, options.settings)?;
    let mut view = DiscoveryView {
        format: discovery::FORMAT.into(),
        name: options.name.clone(),
        behavior: options.behavior.clone(),
        layers,
        sampling: if rows.len() == manifest.n_pairs { "all".into() } else { options.sampling.name().into() },
        n_pairs_in_study: manifest.n_pairs,
        settings: options.settings,
        inputs: manifest.inputs.clone(),
        pairs_sha256,
        prompts: prompts
            .iter()
            .map(|pair| PromptEntry {
                prompt: conversation_text(&pair.prompt),
                r0: pair.r0.clone(),
                r1: pair.r1.clone(),
                scenario: pair.scenario.clone(),
            })
            .collect(),
        pairs: rows
            .iter()
            .zip(&pairs)
            .map(|(&row, pair)| PairEntry {
                row,
                id: pair.id.clone(),
                source: pair.source.clone(),
                snippet: pair.snippet(SNIPPET_CHARS),
            })
            .collect(),
        groups,
        changes,
        has_words: true,
        names: None,
    };
    let words = Words::of(&of_prompts, &of_pairs);
    store(study, &view, &similarity, &words)?;
    if let Some(endpoint) = &options.names {
        view.names = Some(naming::of_discovery(&view, endpoint.clone(), report)?);
        store(study, &view, &similarity, &words)?;
    }
    Ok(view)
}

/// A stored discovery.
///
/// # Errors
///
/// When there is none of this name, or it is of another version.
pub fn read_view(study: &Study, name: &str) -> Result<DiscoveryView, DiscoverError> {
    check_name(name)?;
    let path = study.discovery(name).join("discovery.json");
    let malformed = |reason: String| DiscoverError::Malformed { path: path.clone(), reason };
    let view: DiscoveryView =
        serde_json::from_slice(&files::read(&path)?).map_err(|error| malformed(error.to_string()))?;
    match view.format == discovery::FORMAT {
        true => Ok(view),
        false => Err(malformed(format!("expected format {:?}, got {:?}", discovery::FORMAT, view.format))),
    }
}

fn changes_of(
    prompts: &[ResponsePair],
    norms: &[f64],
    judged: Option<&[JudgedFiles; 2]>,
) -> Result<Vec<Change>, DiscoverError> {
    let responses = prompts.iter().map(|pair| (pair.r0.as_str(), pair.r1.as_str()));
    let mut changes = changes::scan(responses, norms);
    if let Some(judged) = judged {
        judged::add(&mut changes, prompts, judged)?;
    }
    Ok(changes)
}

fn at_most(what: &'static str, got: usize, remedy: &'static str) -> Result<(), DiscoverError> {
    match got <= stability::MAX_ROWS {
        true => Ok(()),
        false => Err(DiscoverError::TooMany { what, limit: stability::MAX_ROWS, got, remedy }),
    }
}

/// The pairs of some rows, given in ascending order.
fn read_rows(file: &PairFile, rows: &[u32]) -> Result<Vec<Pair>, PairFileError> {
    let mut pairs = Vec::with_capacity(rows.len());
    file.visit_rows(rows, |_, pair| pairs.push(pair))?;
    Ok(pairs)
}

/// discovery.json goes last: a result without it does not exist.
fn store(study: &Study, view: &DiscoveryView, similarity: &Similarity, words: &Words) -> Result<(), DiscoverError> {
    let words = serde_json::to_vec(words).expect("plain data serializes");
    files::write(&study.discovery(&view.name).join("words.json"), &words)?;
    let file = similarity.write(view.prompts.len(), view.pairs.len());
    files::write(&study.discovery(&view.name).join("similarity.safetensors"), &file)?;
    Ok(files::write_json(&study.discovery(&view.name).join("discovery.json"), view)?)
}
