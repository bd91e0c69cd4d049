//! A behavior made of some prompts of another, those that a discovery put into one group or that a person picked: the vectors
//! are there, so no model is needed.

use std::path::PathBuf;

use thiserror::Error;
use whence_shared::direction::DirectionMethod;
use whence_shared::discovery::DiscoveryView;
use whence_shared::pair::conversation_text;
use whence_shared::study::BehaviorView;

use super::definition::Definition;
use super::{BehaviorError, Defined, SplitOptions, check_name, read_pairs, reading_name};
use crate::discover::{DiscoverError, read_view};
use crate::extract::{BehaviorFile, ExtractError, VectorFileError, VectorsManifest};
use crate::files::{self, FileError};
use crate::progress::Report;
use crate::study::Study;

/// Which prompts of a discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompts {
    /// Those of a group, counted from 1, as the table of `whence discover` and the app name it.
    Group(usize),
    /// These rows of its prompts, from 0.
    Rows(Vec<u32>),
}

/// What to define.
#[derive(Debug, Clone)]
pub struct SubsetOptions {
    /// Name of the new behavior.
    pub name: String,
    /// The discovery.
    pub discovery: String,
    /// Which of its prompts.
    pub prompts: Prompts,
    /// How the direction is made.
    pub method: DirectionMethod,
    /// How the prompts are split to see whether halves of them say the same.
    pub split: SplitOptions,
    /// Replace a behavior of this name that was made of something else.
    pub replace: bool,
}

/// What stops a behavior from being made of prompts of a discovery.
#[derive(Debug, Error)]
pub enum SubsetError {
    /// The discovery cannot be read.
    #[error(transparent)]
    Discovery(#[from] Box<DiscoverError>),
    /// It has no such group.
    #[error("{discovery}: expected a group of prompts from 1 to {n}, got {got}")]
    Group {
        /// The discovery.
        discovery: String,
        /// Groups of prompts there are.
        n: usize,
        /// Asked for.
        got: usize,
    },
    /// It has no such prompt.
    #[error("{discovery}: expected rows of prompts from 0 to {last}, each once, got {got}")]
    Row {
        /// The discovery.
        discovery: String,
        /// The last row.
        last: usize,
        /// Asked for.
        got: u32,
    },
    /// No prompts were asked for.
    #[error("expected at least one prompt, got none")]
    NoPrompts,
    /// The name is that of the behavior that the prompts are taken from.
    #[error("the name {0:?} is that of the behavior whose prompts these are; choose another with --name")]
    Same(String),
    /// The behavior was defined anew since.
    #[error("{}: {reason}; run `whence discover --behavior {behavior}` again", path.display())]
    Changed {
        /// The behavior's pairs.jsonl.
        path: PathBuf,
        /// The behavior.
        behavior: String,
        /// What is no longer as it was.
        reason: String,
    },
    /// The behavior cannot be read or the new one cannot be made.
    #[error(transparent)]
    Behavior(#[from] BehaviorError),
    /// The study's vectors cannot be used.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The behavior's vectors cannot be used.
    #[error(transparent)]
    VectorFile(#[from] VectorFileError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes and stores a behavior of some prompts of a discovery, at every layer that the discovery's behavior has.
///
/// # Errors
///
/// [`SubsetError`]; an earlier behavior of the name stays until the new one is complete, and one of something else stays
/// unless it is to be replaced.
pub fn define_subset(study: &Study, options: &SubsetOptions, report: Report) -> Result<Defined, SubsetError> {
    check_name(&options.name)?;
    let view = read_view(study, &options.discovery).map_err(Box::new)?;
    if options.name == view.behavior {
        return Err(SubsetError::Same(view.behavior));
    }
    let rows = rows(&view, &options.prompts)?;
    let vectors = VectorsManifest::required(study)?;
    let path = study.behavior(&view.behavior).join("pairs.jsonl");
    let pairs = read_pairs(&path)?;
    let changed = |reason: String| SubsetError::Changed { path: path.clone(), behavior: view.behavior.clone(), reason };
    if pairs.len() != view.prompts.len() {
        return Err(changed(format!("{} lines, but the discovery has {} prompts", pairs.len(), view.prompts.len())));
    }
    let differs = |(pair, entry): (&super::ResponsePair, &whence_shared::discovery::PromptEntry)| {
        (&pair.r0, &pair.r1) != (&entry.r0, &entry.r1) || conversation_text(&pair.prompt) != entry.prompt
    };
    if let Some(line) = pairs.iter().zip(&view.prompts).position(differs) {
        return Err(changed(format!("line {} is not what the discovery was made of", line + 1)));
    }
    let of = study.behavior_view(&view.behavior);
    let whole: BehaviorView = serde_json::from_slice(&files::read(&of)?).map_err(|error| SubsetError::Changed {
        path: of,
        behavior: view.behavior.clone(),
        reason: error.to_string(),
    })?;
    let d_model = vectors.model.d_model;
    let mut layers = Vec::new();
    for &layer in &whole.layers {
        let Some(file) = BehaviorFile::read(study, &view.behavior, layer, &vectors)? else { continue };
        if file.vectors.len() != pairs.len() * d_model {
            let n = file.vectors.len() / d_model;
            return Err(changed(format!("{} lines, but {n} vectors at layer {layer}", pairs.len())));
        }
        let row = |&row: &u32| &file.vectors[row as usize * d_model..][..d_model];
        layers.push((layer, rows.iter().flat_map(row).copied().collect()));
    }
    let definition = Definition {
        name: &options.name,
        method: options.method,
        tuned: if whole.reading == reading_name(false) { String::new() } else { whole.inputs },
        reading: whole.reading,
        pairs: rows.iter().map(|&row| &pairs[row as usize]).collect(),
        layers,
        split: options.split,
        path: path.clone(),
        replace: options.replace,
    };
    let (view, direction_norms) = definition.store(study, &vectors, report)?;
    Ok(Defined { view, remarks: Vec::new(), direction_norms })
}

/// Rows of the prompts, ascending.
fn rows(view: &DiscoveryView, prompts: &Prompts) -> Result<Vec<u32>, SubsetError> {
    let grouping = &view.groups.prompts;
    let mut rows = match prompts {
        &Prompts::Group(got) => {
            let n = grouping.clusters.len();
            if !(1..=n).contains(&got) {
                return Err(SubsetError::Group { discovery: view.name.clone(), n, got });
            }
            let is_in = |row: &u32| grouping.labels[*row as usize] as usize == got - 1;
            (0..grouping.labels.len() as u32).filter(is_in).collect()
        }
        Prompts::Rows(rows) => rows.clone(),
    };
    rows.sort_unstable();
    let wrong = rows.windows(2).find(|two| two[0] == two[1]).map(|two| two[0]);
    let wrong = wrong.or(rows.last().copied().filter(|&row| row as usize >= view.prompts.len()));
    match wrong {
        Some(got) => Err(SubsetError::Row { discovery: view.name.clone(), last: view.prompts.len() - 1, got }),
        None if rows.is_empty() => Err(SubsetError::NoPrompts),
        None => Ok(rows),
    }
}
