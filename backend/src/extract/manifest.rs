//! `vectors/manifest.json`: what a study's vectors were made from. Written just before the first vector file; everything that
//! adds vectors to the study must agree with it.

use serde::{Deserialize, Serialize};
use whence_shared::shard::StoreDtype;
use whence_shared::study::ModelView;

use super::ExtractError;
use super::pooling::Pooling;
use crate::files;
use crate::study::{self, Study};

/// The value of [`VectorsManifest::format`].
pub const FORMAT: &str = "whence.vectors-manifest/1";

/// How a study's vectors were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorsManifest {
    /// [`FORMAT`].
    pub format: String,
    /// Hash of what decides a vector given its text: model, template, pooling, longest text. The same in every shard
    /// and behavior file of the study.
    pub inputs: String,
    /// The model and text form.
    pub model: ModelView,
    /// SHA-256 of the template's source, empty for none.
    pub template_sha256: String,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// SHA-256 of pairs.parquet.
    pub pairs_sha256: String,
    /// Number of pairs.
    pub n_pairs: usize,
    /// Rows per file; the last may have fewer.
    pub rows_per_file: usize,
    /// How numbers are stored.
    pub store: StoreDtype,
    /// What matrix products were computed in: f32, bf16 or f16. Behavior vectors may be computed in another type: that
    /// is a matter of rounding.
    #[serde(default = "f32_name")]
    pub dtype: String,
    /// Where vectors came from that were made elsewhere, by layer (`whence convert`); empty for extracted ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<ImportedLayer>,
}

/// Where the vectors of a layer came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedLayer {
    /// The layer.
    pub layer: usize,
    /// Name of the file.
    pub file: String,
    /// SHA-256 of it.
    pub sha256: String,
    /// Hash of the ids that came with it, in order; absent when the vectors were in the order of the pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids_sha256: Option<String>,
}

/// What studies were computed in before there was a choice.
fn f32_name() -> String {
    "f32".into()
}

/// The hash that vectors of the same reading share.
pub fn inputs(model: &ModelView, template_sha256: &str, max_tokens: usize) -> String {
    study::inputs_hash(&["whence.reading/1", &model.sha256, template_sha256, &model.pooling, &max_tokens.to_string()])
}

/// The layers asked for, or every one with complete pair vectors when none is; ascending, each once.
///
/// # Errors
///
/// When one that was asked for is not complete, or none is.
pub fn complete_layers(study: &Study, asked: &[usize]) -> Result<Vec<usize>, ExtractError> {
    let complete = study.complete_layers()?;
    if let Some(&layer) = asked.iter().find(|layer| !complete.contains(layer)) {
        return Err(ExtractError::LayerIncomplete { layer, study: study.root().to_owned(), complete });
    }
    let mut layers = if asked.is_empty() { complete } else { asked.to_vec() };
    layers.sort_unstable();
    layers.dedup();
    if layers.is_empty() {
        return Err(ExtractError::NoVectors { study: study.root().to_owned() });
    }
    Ok(layers)
}

impl VectorsManifest {
    /// Reads the manifest of a study that must have vectors.
    ///
    /// # Errors
    ///
    /// When it has none yet, or the file cannot be read or parsed.
    pub fn required(study: &Study) -> Result<Self, ExtractError> {
        Self::read(study)?.ok_or_else(|| ExtractError::NoVectors { study: study.root().to_owned() })
    }

    /// How the study's vectors were pooled.
    ///
    /// # Errors
    ///
    /// When this version does not know it.
    pub fn pooling(&self, study: &Study) -> Result<Pooling, ExtractError> {
        self.model.pooling.parse().map_err(|reason| ExtractError::Manifest { path: study.vectors_manifest(), reason })
    }

    /// Reads a study's manifest; `None` when it has no vectors yet.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or parsed.
    pub fn read(study: &Study) -> Result<Option<Self>, ExtractError> {
        let path = study.vectors_manifest();
        if !path.is_file() {
            return Ok(None);
        }
        let manifest: Self = serde_json::from_slice(&files::read(&path)?)
            .map_err(|error| ExtractError::Manifest { path: path.clone(), reason: error.to_string() })?;
        if manifest.format != FORMAT {
            let reason = format!("expected format {FORMAT:?}, got {:?}", manifest.format);
            return Err(ExtractError::Manifest { path, reason });
        }
        Ok(Some(manifest))
    }

    /// Writes the manifest.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, study: &Study) -> Result<(), ExtractError> {
        Ok(files::write_json(&study.vectors_manifest(), self)?)
    }

    /// Refuses to mix: `self` is what the study has, `asked` what is about to be added.
    ///
    /// # Errors
    ///
    /// [`ExtractError::Mixed`] naming the first thing that differs.
    pub fn must_equal(&self, asked: &Self, study: &Study) -> Result<(), ExtractError> {
        match self.difference(asked) {
            None => Ok(()),
            Some(Difference { what, here: there, there: asked }) => {
                Err(ExtractError::Mixed { path: study.vectors_manifest(), what, there, asked })
            }
        }
    }

    /// The first thing in which vectors of the two were made differently.
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
        let model = |m: &Self| format!("{} {}", m.model.name, short(&m.model.sha256));
        let parts: [(&'static str, String, String); 10] = [
            ("set of pairs", short(&self.pairs_sha256), short(&other.pairs_sha256)),
            ("number of pairs", self.n_pairs.to_string(), other.n_pairs.to_string()),
            ("model", model(self), model(other)),
            ("template", template(self), template(other)),
            ("--pooling", self.model.pooling.clone(), other.model.pooling.clone()),
            ("--max-tokens", self.max_tokens.to_string(), other.max_tokens.to_string()),
            ("--rows-per-file", self.rows_per_file.to_string(), other.rows_per_file.to_string()),
            ("--store", self.store.name().into(), other.store.name().into()),
            ("--dtype", self.dtype.clone(), other.dtype.clone()),
            ("reading (inputs)", short(&self.inputs), short(&other.inputs)),
        ];
        // The name of a folder may change; what counts of a model is its hash.
        let same_model = self.model.sha256 == other.model.sha256;
        let differs = |(what, here, there): &(&str, String, String)| here != there && !(*what == "model" && same_model);
        let found = parts.into_iter().find(differs);
        found.map(|(what, here, there)| Difference { what, here, there })
    }
}

/// What two manifests disagree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field, as a person would call it.
    pub what: &'static str,
    /// Its value in the one.
    pub here: String,
    /// In the other.
    pub there: String,
}

fn template(manifest: &VectorsManifest) -> String {
    let hash = manifest.template_sha256.get(..12).unwrap_or_default();
    format!("{} {hash}", manifest.model.template)
}
