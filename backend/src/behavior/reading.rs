//! How a behavior's responses are read: both through the reference model (the method's default), or each through the
//! model that wrote it.

use burn::tensor::Device;
use whence_shared::pair::Pair;

use super::{BehaviorError, BehaviorOptions};
use crate::data::tokens::TextEncoder;
use crate::extract::{Block, BlockSource, Budget, Differ, EncodedPairs, ExtractError, Pooling};
use crate::model::{CausalLm, ModelError, ModelFolder};

/// What a behavior is read with.
pub(super) struct Readers<'a> {
    /// The study's model, M0.
    pub reference: &'a ModelFolder,
    /// The tuned model, M1, when it is to read r1.
    pub tuned: Option<&'a ModelFolder>,
    /// The study's text form.
    pub encoder: &'a TextEncoder,
    /// How the study pools.
    pub pooling: Pooling,
    /// Where to compute.
    pub device: &'a Device,
}

impl Readers<'_> {
    /// Vectors of response pairs, r1 in the place of chosen.
    ///
    /// # Errors
    ///
    /// When a model cannot be loaded or the device fails.
    pub fn read(
        &self,
        pairs: &[Pair],
        layers: &[usize],
        options: &BehaviorOptions,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Block, BehaviorError> {
        let budget = Budget::new(options.batch_tokens);
        let load = |folder: &ModelFolder| -> Result<CausalLm, ExtractError> {
            Ok(folder.load_chosen(self.device, options.dtype)?)
        };
        let encoded = EncodedPairs::new(self.encoder, pairs);
        let Some(tuned) = self.tuned else {
            let model = load(self.reference)?;
            return Ok(self
                .differ(&model, &budget)
                .compute(&encoded, 0, layers, progress)
                .map_err(ExtractError::from)?);
        };
        must_fit(self.reference, tuned)?;
        // One model at a time: two of them may not fit.
        let side = |folder: &ModelFolder, side: usize| -> Result<_, ExtractError> {
            let model = load(folder)?;
            let texts: Vec<_> = encoded.readable().map(|(_, texts)| texts[side]).collect();
            Ok(self.differ(&model, &budget).texts(&texts, layers)?)
        };
        let (r1, r0) = (side(tuned, 0)?, side(self.reference, 1)?);
        let d_model = self.reference.config.hidden_size;
        let mut vectors = vec![vec![0f32; pairs.len() * d_model]; layers.len()];
        for ((pair, _), (r1, r0)) in encoded.readable().zip(r1.iter().zip(&r0)) {
            for (vectors, (r1, r0)) in vectors.iter_mut().zip(r1.iter().zip(r0)) {
                let row = &mut vectors[pair * d_model..(pair + 1) * d_model];
                row.iter_mut().zip(r1.iter().zip(r0)).for_each(|(x, (a, b))| *x = a - b);
            }
        }
        progress(pairs.len() as u64, 0);
        Ok(Block { vectors, d_model, remarks: encoded.remarks(0), n_tokens: 0, logps: None })
    }

    fn differ<'m>(&'m self, model: &'m CausalLm, budget: &'m Budget) -> Differ<'m> {
        Differ { pooling: self.pooling, ..Differ::new(model, self.encoder, self.device, budget) }
    }
}

/// A tuned model reads the reference model's tokens into vectors of the same width and depth.
fn must_fit(reference: &ModelFolder, tuned: &ModelFolder) -> Result<(), BehaviorError> {
    let (r, t) = (&reference.config, &tuned.config);
    let sizes = [
        ("hidden_size", r.hidden_size, t.hidden_size),
        ("num_hidden_layers", r.num_hidden_layers, t.num_hidden_layers),
    ];
    let differing = sizes.into_iter().find(|(_, reference, tuned)| reference != tuned);
    let wrong = |key: &str, expected: String, got: String| {
        let path = tuned.path().join("config.json");
        BehaviorError::from(ExtractError::from(ModelError::Config { path, key: key.into(), expected, got }))
    };
    if let Some((key, reference, tuned)) = differing {
        return Err(wrong(key, format!("{reference}, as in the study's model"), tuned.to_string()));
    }
    if reference.tokenizer.get_vocab(false) != tuned.tokenizer.get_vocab(false) {
        let expected = "the tokens of the study's model: a tuned model keeps them".to_owned();
        return Err(wrong("the tokenizer beside it", expected, "others".into()));
    }
    Ok(())
}
