//! A language model of any architecture: what everything outside this room computes with.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::attention::{Pass, Place, Rotaries, RowShape};
use super::cache::{BatchCache, TextCache};
use super::config::{Architecture, ModelConfig};
use super::cpu;
use super::layers::{Decoder, Hook, Parameters, Projection};
use super::llama::LlamaDecoderLayer;
use super::mistral::MistralDecoderLayer;
use super::olmo2::Olmo2DecoderLayer;
use super::olmo3::Olmo3DecoderLayer;
use super::qwen2::Qwen2DecoderLayer;
use super::qwen3::Qwen3DecoderLayer;
use super::steering::Steering;

/// Tokens whose logits are held at once when only log-probabilities are wanted: a vocabulary has 100,000 columns.
const LOGIT_ROWS: usize = 64;

#[derive(Module, Debug)]
enum AnyDecoder {
    Olmo2(Decoder<Olmo2DecoderLayer>),
    Olmo3(Decoder<Olmo3DecoderLayer>),
    Llama(Decoder<LlamaDecoderLayer>),
    Mistral(Decoder<MistralDecoderLayer>),
    Qwen2(Decoder<Qwen2DecoderLayer>),
    Qwen3(Decoder<Qwen3DecoderLayer>),
}

/// Runs `$body` with `$decoder` bound to the decoder of whichever architecture it is.
macro_rules! with_decoder {
    ($any:expr, $decoder:ident => $body:expr) => {
        match $any {
            AnyDecoder::Olmo2($decoder) => $body,
            AnyDecoder::Olmo3($decoder) => $body,
            AnyDecoder::Llama($decoder) => $body,
            AnyDecoder::Mistral($decoder) => $body,
            AnyDecoder::Qwen2($decoder) => $body,
            AnyDecoder::Qwen3($decoder) => $body,
        }
    };
}

/// A causal language model with its output projection.
#[derive(Module, Debug)]
pub struct CausalLm {
    decoder: AnyDecoder,
    #[module(skip)]
    rotaries: Rotaries,
}

/// Rows of tokens for one forward pass, short rows filled up on the right.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Token ids, row-major `[rows.len(), seq_len]`.
    pub ids: Vec<i32>,
    /// What each row is.
    pub rows: Vec<RowShape>,
    /// Columns.
    pub seq_len: usize,
}

impl Batch {
    /// Fills up rows of tokens; each comes with its shape.
    pub fn of<'i>(rows: impl Iterator<Item = (RowShape, Vec<&'i [u32]>)>) -> Self {
        let rows: Vec<(RowShape, Vec<&[u32]>)> = rows.collect();
        let seq_len = rows.iter().map(|(shape, _)| shape.n_tokens()).max().unwrap_or(0);
        let mut ids = vec![0i32; rows.len() * seq_len];
        for (row, (_, parts)) in ids.chunks_exact_mut(seq_len.max(1)).zip(&rows) {
            for (id, token) in row.iter_mut().zip(parts.iter().copied().flatten()) {
                *id = *token as i32;
            }
        }
        Self { ids, rows: rows.into_iter().map(|(shape, _)| shape).collect(), seq_len }
    }
}

impl CausalLm {
    /// Builds the model from weights given by key.
    pub fn build<P: Parameters>(parameters: &mut P, config: &ModelConfig, device: &Device) -> Self {
        let decoder = match config.architecture {
            Architecture::Olmo2 => AnyDecoder::Olmo2(Decoder::build(parameters, config, device)),
            Architecture::Olmo3 => AnyDecoder::Olmo3(Decoder::build(parameters, config, device)),
            Architecture::Llama => AnyDecoder::Llama(Decoder::build(parameters, config, device)),
            Architecture::Mistral => AnyDecoder::Mistral(Decoder::build(parameters, config, device)),
            Architecture::Qwen2 => AnyDecoder::Qwen2(Decoder::build(parameters, config, device)),
            Architecture::Qwen3 => AnyDecoder::Qwen3(Decoder::build(parameters, config, device)),
        };
        Self { decoder, rotaries: Rotaries::new(config) }
    }

    /// Number of decoder layers.
    pub fn n_layers(&self) -> usize {
        with_decoder!(&self.decoder, decoder => decoder.n_layers())
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.place().device
    }

    fn place(&self) -> Place {
        with_decoder!(&self.decoder, decoder => decoder.place())
    }

    /// A forward pass over whole texts, `rows.len()` rows of `seq_len` columns, for [`CausalLm::forward_layer`].
    ///
    /// # Panics
    ///
    /// As [`Pass::rows`].
    pub fn pass<'a>(&self, rows: &'a [RowShape], seq_len: usize) -> Pass<'a> {
        Pass::rows(rows, seq_len, &self.rotaries, &self.place())
    }

    /// The residual stream before the first layer: `[n_tokens]` token ids in, `[n_tokens, d_model]` out, f32.
    pub fn embed(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        with_decoder!(&self.decoder, decoder => decoder.embed(tokens))
    }

    /// The residual stream after layer `layer` (from 0) alone, `x` being what goes into it; both `[n_tokens, d_model]`.
    ///
    /// # Panics
    ///
    /// Panics when the layer does not exist.
    pub fn forward_layer(&self, layer: usize, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        with_decoder!(&self.decoder, decoder => decoder.forward_layer(layer, x, pass))
    }

    /// The projections of all layers by checkpoint key, without `.weight`.
    pub(super) fn projections(&mut self) -> Vec<(String, &mut Projection)> {
        with_decoder!(&mut self.decoder, decoder => decoder.projections())
    }

    /// The residual stream after each of the layers asked for (0 = embeddings), computing no further than the last of
    /// them. The last layer is the un-normed residual, unlike `hidden_states[-1]` of transformers.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[batch_size, seq_len]`, padded on the right
    /// - output: one `[batch_size, seq_len, d_model]` per entry of `layers`, in its order, f32
    ///
    /// # Panics
    ///
    /// Panics when a layer does not exist.
    pub fn hidden_states(&self, tokens: Tensor<2, Int>, layers: &[usize]) -> Vec<Tensor<3>> {
        self.hooked_states(tokens, layers, None)
    }

    /// As [`CausalLm::hidden_states`], of a stream that `hook` changes on its way.
    ///
    /// # Panics
    ///
    /// Panics when a layer does not exist.
    pub(super) fn hooked_states(&self, tokens: Tensor<2, Int>, layers: &[usize], hook: Hook) -> Vec<Tensor<3>> {
        let [n_rows, seq_len] = tokens.dims();
        let rows = vec![RowShape::text(seq_len); n_rows];
        let pass = Pass::rows(&rows, seq_len, &self.rotaries, &self.place());
        self.unfolded(tokens.reshape([n_rows * seq_len]), &pass, layers, [n_rows, seq_len], hook)
    }

    /// As [`CausalLm::hidden_states`], of rows that may hold two texts with a common beginning.
    ///
    /// # Panics
    ///
    /// Panics when a layer does not exist, or on the CPU when a row of two texts is not alone in its batch.
    pub fn read(&self, batch: &Batch, layers: &[usize]) -> Vec<Tensor<3>> {
        let place = self.place();
        let shape = [batch.rows.len(), batch.seq_len];
        let tokens = Tensor::from_data(TensorData::new(batch.ids.clone(), [batch.ids.len()]), &place.device);
        let pass = Pass::rows(&batch.rows, batch.seq_len, &self.rotaries, &place);
        self.unfolded(tokens, &pass, layers, shape, None)
    }

    fn unfolded(
        &self,
        tokens: Tensor<1, Int>,
        pass: &Pass,
        layers: &[usize],
        [n_rows, seq_len]: [usize; 2],
        hook: Hook,
    ) -> Vec<Tensor<3>> {
        let residuals = with_decoder!(&self.decoder, decoder => decoder.residuals(tokens, pass, layers, hook));
        residuals
            .into_iter()
            .map(|x| {
                let d_model = x.dims()[1];
                x.reshape([n_rows, seq_len, d_model])
            })
            .collect()
    }

    /// Logits of the next token at every position.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[batch_size, seq_len]`, padded on the right
    /// - output: `[batch_size, seq_len, vocab_size]`
    pub fn logits(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden_states(tokens, &[self.n_layers()]).remove(0);
        let [batch_size, seq_len, d_model] = hidden.dims();
        let logits = self.logits_of(hidden.reshape([batch_size * seq_len, d_model]));
        let vocab_size = logits.dims()[1];
        logits.reshape([batch_size, seq_len, vocab_size])
    }

    /// Logits of single positions, from their un-normed residuals at the last layer: the part of [`Self::logits`] after
    /// the decoder, for callers that need only some positions.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `[n_tokens, d_model]`
    /// - output: `[n_tokens, vocab_size]`, f32
    pub fn logits_of(&self, hidden: Tensor<2>) -> Tensor<2> {
        with_decoder!(&self.decoder, decoder => decoder.logits_of(hidden))
    }

    /// Log-probability of each of `targets` as the token after the position whose un-normed residual at the last layer is
    /// the same row of `hidden`. Never holds more than a few positions' logits.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `[targets.len(), d_model]`
    /// - output: `[targets.len()]`
    pub fn logps_of(&self, hidden: &Tensor<2>, targets: &[u32]) -> Tensor<1> {
        let device = hidden.device();
        let blocks = targets.chunks(LOGIT_ROWS).enumerate().map(|(i, targets)| {
            let n = targets.len();
            let logits = self.logits_of(hidden.clone().narrow(0, i * LOGIT_ROWS, n));
            if cpu::applies(&device) {
                return cpu::logps(logits, targets);
            }
            let ids = targets.iter().map(|id| *id as i32).collect::<Vec<_>>();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [n, 1]), &device);
            activation::log_softmax(logits, 1).gather(1, ids).reshape([n])
        });
        Tensor::cat(blocks.collect(), 0)
    }

    /// Reads the first `ids.len()` tokens of a text into its cache; on the CPU. Steered here and below, the residual stream is
    /// changed on its way.
    ///
    /// Returns the un-normed residual of the last token at the last layer, `[1, d_model]`.
    pub(super) fn read_text(&self, ids: &[u32], cache: &mut TextCache, steering: Option<&Steering>) -> Tensor<2> {
        let hidden =
            self.grow(ids, 1, steering, |rotaries, place| Pass::texts(vec![cache], ids.len(), rotaries, place));
        let [n_tokens, _] = hidden.dims();
        cache.advance(ids.len());
        hidden.narrow(0, n_tokens - 1, 1)
    }

    /// Reads one more token of each text; on the CPU.
    ///
    /// Returns their un-normed residuals at the last layer, `[ids.len(), d_model]`.
    pub(super) fn read_next(
        &self,
        ids: &[u32],
        caches: &mut [&mut TextCache],
        steering: Option<&Steering>,
    ) -> Tensor<2> {
        let hidden = self.grow(ids, ids.len(), steering, |rotaries, place| {
            Pass::texts(caches.iter_mut().map(|cache| &mut **cache).collect(), 1, rotaries, place)
        });
        caches.iter_mut().for_each(|cache| cache.advance(1));
        hidden
    }

    /// Reads more columns of a batch, `ids` row-major `[n_rows, n_new]`; off the CPU.
    ///
    /// Returns the un-normed residuals of the last column at the last layer, `[n_rows, d_model]`.
    pub(super) fn read_columns(&self, ids: &[u32], cache: &mut BatchCache, steering: Option<&Steering>) -> Tensor<2> {
        let n_rows = cache.padding().len();
        let n_new = ids.len() / n_rows;
        let hidden = self.grow(ids, n_rows, steering, |rotaries, place| Pass::batch(cache, n_new, rotaries, place));
        cache.advance(n_new);
        let d_model = hidden.dims()[1];
        hidden.reshape([n_rows, n_new, d_model]).narrow(1, n_new - 1, 1).reshape([n_rows, d_model])
    }

    /// Reads new tokens of `n_texts` texts, equally many of each; the residuals of all of them at the last layer.
    fn grow<'a>(
        &self,
        ids: &[u32],
        n_texts: usize,
        steering: Option<&Steering>,
        pass: impl FnOnce(&Rotaries, &Place) -> Pass<'a>,
    ) -> Tensor<2> {
        let place = self.place();
        let tokens = ids.iter().map(|id| *id as i32).collect::<Vec<_>>();
        let tokens = Tensor::from_data(TensorData::new(tokens, [ids.len()]), &place.device);
        let pass = pass(&self.rotaries, &place);
        let add = steering.map(|steering| move |layer, x| steering.add(layer, x, n_texts));
        let hook = add.as_ref().map(|add| add as &dyn Fn(usize, Tensor<2>) -> Tensor<2>);
        with_decoder!(&self.decoder, decoder => decoder.residuals(tokens, &pass, &[decoder.n_layers()], hook)).remove(0)
    }
}
