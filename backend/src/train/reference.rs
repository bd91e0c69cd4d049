//! Log-probabilities of responses under the reference model: computed once for a study and shared by all its arms.
//!
//! They are known by the pair's id, for the order that the data has; an arm that switches a pair takes them the other way
//! round. The file is the one that extraction writes beside its vectors ([`crate::extract::logps`]), so a study whose
//! vectors were extracted with log-probabilities need not compute them again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::{Array, Float32Array, StringArray};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

use super::TrainError;
use super::dpo::SequencePair;
use super::sequences::{Sequence, all_sequence_logps};
use crate::data::parquet_file;
use crate::device;
use crate::extract::PairLogps;
use crate::extract::logps;
use crate::files::{self, Context, FileError};
use crate::model::CausalLm;
use crate::progress::{Report, Update};

/// What can be wrong with stored log-probabilities.
#[derive(Debug, Error)]
pub enum ReferenceError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what it should be.
    #[error("{path}: expected log-probabilities as Parquet ({}), got {got}", logps::FORMAT, path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        got: String,
    },
    /// A pair has none.
    #[error("pair {id:?} has no reference log-probabilities ({n} pairs lack them); compute them again with all pairs")]
    Missing {
        /// The first such pair.
        id: String,
        /// How many there are.
        n: usize,
    },
    /// Not one for every pair.
    #[error("reference log-probabilities: expected one per pair, {n_pairs}, got {n_logps}")]
    Count {
        /// Pairs.
        n_pairs: usize,
        /// Log-probabilities.
        n_logps: usize,
    },
}

/// Summed log-probabilities of both responses of every pair, `[n_pairs]` each, in nats, in the order of the pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceLogps {
    /// Of the chosen responses.
    pub reference_chosen_logps: Vec<f32>,
    /// Of the rejected responses.
    pub reference_rejected_logps: Vec<f32>,
}

impl ReferenceLogps {
    /// Computes them with the reference model.
    ///
    /// # Errors
    ///
    /// When a response is empty or the device fails.
    pub fn compute(reference: &CausalLm, pairs: &[SequencePair], report: Report) -> Result<Self, TrainError> {
        let sequences: Vec<&Sequence> =
            pairs.iter().map(|pair| &pair.chosen).chain(pairs.iter().map(|pair| &pair.rejected)).collect();
        if let Some(i) = sequences.iter().position(|s| s.n_response_tokens() == 0 || s.response_start == 0) {
            return Err(TrainError::EmptyResponse { row: pairs[i % pairs.len()].id.clone() });
        }
        let n_done = AtomicU64::new(0);
        let done = |n: usize| {
            let done = n_done.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
            let (total, unit, detail) = (sequences.len() as u64, "responses", String::new());
            report(Update { stage: "reference", done, total, unit, detail });
        };
        let compute = || Ok(all_sequence_logps(reference, &sequences, &done));
        let mut chosen = device::guarded(compute, TrainError::Device)?;
        let rejected = chosen.split_off(pairs.len());
        Ok(Self { reference_chosen_logps: chosen, reference_rejected_logps: rejected })
    }
}

/// That there is one of each per pair.
pub(super) fn check_lengths(reference: &ReferenceLogps, pairs: &[SequencePair]) -> Result<(), ReferenceError> {
    for logps in [&reference.reference_chosen_logps, &reference.reference_rejected_logps] {
        if logps.len() != pairs.len() {
            return Err(ReferenceError::Count { n_pairs: pairs.len(), n_logps: logps.len() });
        }
    }
    Ok(())
}

/// Log-probabilities of a study's pairs by id, in the order that the data has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReferenceTable {
    by_id: BTreeMap<String, PairLogps>,
}

impl ReferenceTable {
    /// What was computed for these pairs; switched ones are put right.
    pub fn of(pairs: &[SequencePair], logps: &ReferenceLogps) -> Self {
        let sums = logps.reference_chosen_logps.iter().zip(&logps.reference_rejected_logps);
        let entry = |(pair, (chosen, rejected)): (&SequencePair, (&f32, &f32))| {
            let mean = |sum: &f32, sequence: &Sequence| sum / sequence.n_response_tokens() as f32;
            let logps = PairLogps {
                chosen_sum: *chosen,
                chosen_mean: mean(chosen, &pair.chosen),
                rejected_sum: *rejected,
                rejected_mean: mean(rejected, &pair.rejected),
            };
            (pair.id.clone(), if pair.is_switched { switched(logps) } else { logps })
        };
        Self { by_id: pairs.iter().zip(sums).map(entry).collect() }
    }

    /// Pairs in the table.
    pub fn n_pairs(&self) -> usize {
        self.by_id.len()
    }

    /// Those of an arm's pairs, swapped where the arm switches.
    ///
    /// # Errors
    ///
    /// [`ReferenceError::Missing`] names a pair that has none.
    pub fn logps_of(&self, pairs: &[SequencePair]) -> Result<ReferenceLogps, ReferenceError> {
        let known = |pair: &&SequencePair| {
            self.by_id.get(&pair.id).is_some_and(|l| l.chosen_sum.is_finite() && l.rejected_sum.is_finite())
        };
        let missing: Vec<&SequencePair> = pairs.iter().filter(|pair| !known(pair)).collect();
        if let Some(first) = missing.first() {
            return Err(ReferenceError::Missing { id: first.id.clone(), n: missing.len() });
        }
        let of = |pair: &SequencePair| {
            let logps = self.by_id[&pair.id];
            if pair.is_switched { switched(logps) } else { logps }
        };
        Ok(ReferenceLogps {
            reference_chosen_logps: pairs.iter().map(|pair| of(pair).chosen_sum).collect(),
            reference_rejected_logps: pairs.iter().map(|pair| of(pair).rejected_sum).collect(),
        })
    }

    /// Writes the table as one Parquet file, atomically, rows in the order of ids. `inputs` says what it was computed from
    /// (a hash of model and text form).
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path, inputs: &str) -> Result<(), FileError> {
        let (ids, logps): (Vec<String>, Vec<PairLogps>) =
            self.by_id.iter().map(|(id, logps)| (id.clone(), *logps)).unzip();
        files::write(path, &logps::write(0, &ids, &logps, inputs))
    }

    /// Reads a file, or every Parquet file of a folder such as a study's `vectors/logps`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or is not of this format.
    pub fn read(path: &Path) -> Result<Self, ReferenceError> {
        let mut paths = vec![path.to_owned()];
        if path.is_dir() {
            let entries = fs::read_dir(path).at("list", path)?;
            paths = entries.flatten().map(|entry| entry.path()).collect();
            paths.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
            paths.sort();
        }
        let mut table = Self::default();
        for path in paths {
            let malformed = |got: String| ReferenceError::Malformed { path: path.clone(), got };
            table.by_id.extend(rows(Bytes::from(files::read(&path)?)).map_err(malformed)?);
        }
        Ok(table)
    }
}

fn switched(logps: PairLogps) -> PairLogps {
    PairLogps {
        chosen_sum: logps.rejected_sum,
        chosen_mean: logps.rejected_mean,
        rejected_sum: logps.chosen_sum,
        rejected_mean: logps.chosen_mean,
    }
}

/// Rows of one file by id; nulls become NaN.
fn rows(file: Bytes) -> Result<Vec<(String, PairLogps)>, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let format = parquet_file::key(builder.metadata(), "format");
    if format.as_deref() != Some(logps::FORMAT) {
        return Err(format.unwrap_or_else(|| "a file that states no format".into()));
    }
    let mut rows = Vec::new();
    for batch in builder.build().map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        let lacks = |name: &str| format!("no column {name} of the right type");
        let ids = batch.column_by_name("id").and_then(|column| column.as_any().downcast_ref::<StringArray>());
        let ids = ids.ok_or_else(|| lacks("id"))?;
        let numbers = |name: &str| -> Result<Vec<f32>, String> {
            let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<Float32Array>());
            let column = column.ok_or_else(|| lacks(name))?;
            Ok(column.iter().map(|value| value.unwrap_or(f32::NAN)).collect())
        };
        let [chosen, rejected] = ["reference_chosen_logps", "reference_rejected_logps"].map(numbers);
        let means = ["reference_chosen_mean_logps", "reference_rejected_mean_logps"].map(numbers);
        let ([chosen_mean, rejected_mean], (chosen, rejected)) = (means, (chosen?, rejected?));
        let (chosen_mean, rejected_mean) = (chosen_mean?, rejected_mean?);
        for (i, id) in ids.iter().enumerate() {
            let logps = PairLogps {
                chosen_sum: chosen[i],
                chosen_mean: chosen_mean[i],
                rejected_sum: rejected[i],
                rejected_mean: rejected_mean[i],
            };
            rows.push((id.unwrap_or_default().to_owned(), logps));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(id: &str) -> SequencePair {
        let sequence = |n: usize| Sequence { ids: vec![0; n + 2], response_start: 2 };
        SequencePair { id: id.into(), chosen: sequence(4), rejected: sequence(2), is_switched: false }
    }

    fn made() -> (Vec<SequencePair>, ReferenceLogps) {
        let logps =
            ReferenceLogps { reference_chosen_logps: vec![-8.0, -4.0], reference_rejected_logps: vec![-6.0, -2.0] };
        (vec![pair("b"), pair("a")], logps)
    }

    #[test]
    fn a_switched_pair_takes_them_the_other_way_round() {
        let (pairs, logps) = made();
        let table = ReferenceTable::of(&pairs, &logps);
        assert_eq!(table.logps_of(&pairs).unwrap(), logps);
        let arm = vec![pairs[1].clone(), pairs[0].clone().switched()];
        let of_arm = table.logps_of(&arm).unwrap();
        assert_eq!(of_arm.reference_chosen_logps, [-4.0, -6.0]);
        assert_eq!(of_arm.reference_rejected_logps, [-2.0, -8.0]);
        // Computed for an arm, they are stored in the order of the data.
        assert_eq!(ReferenceTable::of(&arm, &of_arm), table);
    }

    #[test]
    fn what_is_written_is_read_and_a_missing_pair_is_named() {
        let (pairs, logps) = made();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reference.parquet");
        let table = ReferenceTable::of(&pairs, &logps);
        table.write(&path, "inputs").unwrap();
        for place in [path.as_path(), folder.path()] {
            assert_eq!(ReferenceTable::read(place).unwrap(), table);
        }
        let error = table.logps_of(&[pair("b"), pair("c")]).unwrap_err().to_string();
        assert!(error.contains("\"c\"") && error.contains("1 pairs"), "{error}");
        fs::write(&path, b"PAR1").unwrap();
        let error = ReferenceTable::read(&path).unwrap_err().to_string();
        assert!(error.contains("reference.parquet") && error.contains("whence.logps/1"), "{error}");
    }
}
