//! Two groups beside each other: of a clustering of pairs, or of either side of a discovery. Words are counted again from the texts.

use std::path::Path;

use whence_shared::cluster::reading::{Counts, GroupContrast, Text};
use whence_shared::discovery::{self, DiscoveryView};

use super::{ClusterPairsError, describe, stored};
use crate::behavior::check_name;
use crate::data::pairs::PairFile;
use crate::files;
use crate::study::Study;

/// Words of each kind that are named.
pub const N_TERMS: usize = 15;

/// Which side of a discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The groups of prompts: what the tuned model says stands for chosen, what the reference model says for rejected, and
    /// scenarios for sources.
    Prompts,
    /// The groups of pairs.
    Pairs,
}

/// Contrasts two clusters of `whence cluster`.
///
/// # Errors
///
/// When there is no such result or group, or the pairs have changed since.
pub fn of_clustering(study: &Study, name: &str, groups: [usize; 2]) -> Result<GroupContrast, ClusterPairsError> {
    let (view, labels) = stored(study, name)?;
    check_groups(groups, view.clusters.len())?;
    let file = same_pairs(study, &view.pairs_sha256, &study.clustering(name))?;
    let rows = describe::groups(&labels.labels, view.clusters.len());
    of_rows(&file, &rows, groups)
}

/// Contrasts two groups of `whence discover`.
///
/// # Errors
///
/// When there is no such result or group, or the pairs have changed since.
pub fn of_discovery(
    study: &Study,
    name: &str,
    side: Side,
    groups: [usize; 2],
) -> Result<GroupContrast, ClusterPairsError> {
    check_name(name)?;
    let path = study.discovery(name).join("discovery.json");
    let wrong = |reason: String| ClusterPairsError::Result { path: path.clone(), reason };
    if !path.is_file() {
        return Err(wrong(format!(
            "no discovery of this name; run `whence discover --behavior BEHAVIOR --name {name}`"
        )));
    }
    let view: DiscoveryView = serde_json::from_slice(&files::read(&path)?)
        .map_err(|error| wrong(format!("{error}; run `whence discover` again")))?;
    if view.format != discovery::FORMAT {
        return Err(wrong(format!("expected format {:?}, got {:?}", discovery::FORMAT, view.format)));
    }
    match side {
        Side::Prompts => {
            let n_groups = view.groups.prompts.clusters.len();
            check_groups(groups, n_groups)?;
            let mut counts = Counts::new(n_groups);
            for (entry, &label) in view.prompts.iter().zip(&view.groups.prompts.labels) {
                let text =
                    Text { prompt: &entry.prompt, chosen: &entry.r1, rejected: &entry.r0, source: &entry.scenario };
                counts.add(label as usize, &text);
            }
            Ok(counts.contrast(groups[0], groups[1], N_TERMS))
        }
        Side::Pairs => {
            let n_groups = view.groups.pairs.clusters.len();
            check_groups(groups, n_groups)?;
            let file = same_pairs(study, &view.pairs_sha256, &path)?;
            let mut rows = vec![Vec::new(); n_groups];
            view.pairs
                .iter()
                .zip(&view.groups.pairs.labels)
                .for_each(|(pair, &label)| rows[label as usize].push(pair.row));
            of_rows(&file, &rows, groups)
        }
    }
}

fn of_rows(file: &PairFile, rows: &[Vec<u32>], [a, b]: [usize; 2]) -> Result<GroupContrast, ClusterPairsError> {
    let read = describe::read(file, &[rows[a].clone(), rows[b].clone()], &Default::default())?;
    Ok(GroupContrast { groups: [a, b], ..read.counts.contrast(0, 1, N_TERMS) })
}

fn check_groups(groups: [usize; 2], n_groups: usize) -> Result<(), ClusterPairsError> {
    match groups[0] != groups[1] && groups.iter().all(|&group| group < n_groups) {
        true => Ok(()),
        false => Err(ClusterPairsError::Groups { groups, n_groups }),
    }
}

/// The study's pairs, which must be those that a result was made of.
fn same_pairs(study: &Study, sha256: &str, path: &Path) -> Result<PairFile, ClusterPairsError> {
    let file = PairFile::open(&study.pairs())?;
    match file.sha256()? == sha256 {
        true => Ok(file),
        false => Err(ClusterPairsError::Result {
            path: path.to_owned(),
            reason: "made from other pairs than pairs.parquet now holds; run the command that made it again".into(),
        }),
    }
}
