//! Causal attention for every architecture: over whole texts, over texts that share their beginning, over a sliding
//! window, and over what a cache remembers.
//!
//! A [`Pass`] is what one forward pass knows beside the tokens: where each token stands and what it may see. Layers hand
//! it their queries, keys and values and need not know which of the above they are computing. On the CPU the work is done
//! by [`super::cpu`], one text after the other; elsewhere by batched tensor operations with masks.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData, activation};

use super::cache::{BatchCache, TextCache};
use super::config::ModelConfig;
use super::rotary::{Rotary, Rotation};
use super::{cpu, cpu_gradients};

/// Queries attended at once on a GPU: bounds the memory of the scores, and keys beyond the block's last are never touched.
const QUERY_BLOCK: usize = 512;

/// The attention heads of one layer.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Which decoder layer, from 0.
    pub layer: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; each serves `n_heads / n_key_value_heads` query heads.
    pub n_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens that a query sees, its own included; `None` = all earlier ones.
    pub window: Option<usize>,
}

impl Heads {
    /// The heads of a layer of a model.
    pub fn of(config: &ModelConfig, layer: usize) -> Self {
        Self {
            layer,
            n_heads: config.num_attention_heads,
            n_key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            window: config.window(layer),
        }
    }

    /// Width of all queries of a token.
    pub fn d_query(self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all keys, or of all values, of a token.
    pub fn d_key_value(self) -> usize {
        self.n_key_value_heads * self.head_dim
    }
}

/// One row of a batch: a text, or two texts that share their beginning. The second branch stands behind the first, and
/// its tokens see the trunk but not the first branch.
///
/// ```text
/// trunk trunk trunk | first first | second second second
///     0     1     2 |     3     4 |      3      4      5     position
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowShape {
    /// Tokens that both texts begin with; of a single text, all.
    pub trunk: usize,
    /// Tokens of each text after the trunk.
    pub branches: [usize; 2],
}

impl RowShape {
    /// A single text.
    pub fn text(n_tokens: usize) -> Self {
        Self { trunk: n_tokens, branches: [0, 0] }
    }

    /// Tokens in the row.
    pub fn n_tokens(self) -> usize {
        self.trunk + self.branches[0] + self.branches[1]
    }

    fn is_text(self) -> bool {
        self.branches[1] == 0
    }

    /// Position in its text of the token in column `column`.
    fn position(self, column: usize) -> u32 {
        let behind = self.trunk + self.branches[0];
        (if column < behind { column } else { column - self.branches[0] }) as u32
    }

    /// 0 for the trunk, 1 and 2 for the branches.
    fn segment(self, column: usize) -> i32 {
        i32::from(column >= self.trunk) + i32::from(column >= self.trunk + self.branches[0])
    }
}

/// The rotary embeddings of a model.
#[derive(Debug, Clone)]
pub struct Rotaries {
    full: Rotary,
    /// Where sliding layers have one of their own.
    sliding: Option<Rotary>,
}

impl Rotaries {
    /// The rotary embeddings that a configuration asks for.
    pub fn new(config: &ModelConfig) -> Self {
        let sliding = (config.sliding_rope != config.rope && config.sliding_window.is_some())
            .then(|| Rotary::new(config.head_dim, &config.sliding_rope));
        Self { full: Rotary::new(config.head_dim, &config.rope), sliding }
    }
}

/// What a forward pass knows beside its tokens.
pub struct Pass<'a> {
    mode: Mode<'a>,
    full: Rotation,
    sliding: Option<Rotation>,
    /// What may not be seen, for full and for sliding layers; only off the CPU.
    hidden: [OnceCell<Tensor<4, Bool>>; 2],
    place: Place,
}

/// Where a model computes, and in which type its matrix products are.
#[derive(Debug, Clone)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// F32, BF16 or F16.
    pub dtype: DType,
}

/// Where keys and values come from.
enum Mode<'a> {
    /// From the pass itself: rows of `seq_len` columns, short ones filled up on the right.
    Rows { rows: &'a [RowShape], seq_len: usize },
    /// One new token for each of several texts, or a first text whole; on the CPU.
    Texts(RefCell<Vec<&'a mut TextCache>>),
    /// New tokens for every text of a batch filled up on the left.
    Batch { cache: RefCell<&'a mut BatchCache>, n_new: usize },
}

impl<'a> Pass<'a> {
    fn new(mode: Mode<'a>, positions: Vec<u32>, rotaries: &Rotaries, place: &Place) -> Self {
        let positions = Arc::new(positions);
        Self {
            mode,
            full: rotaries.full.rotation(&positions, &place.device),
            sliding: rotaries.sliding.as_ref().map(|rotary| rotary.rotation(&positions, &place.device)),
            hidden: Default::default(),
            place: place.clone(),
        }
    }

    /// Whole texts, without a cache: `rows.len()` rows of `seq_len` columns.
    ///
    /// # Panics
    ///
    /// Panics on the CPU when a row with branches is not alone in its batch: nothing there is gained by filling up rows.
    pub fn rows(rows: &'a [RowShape], seq_len: usize, rotaries: &Rotaries, place: &Place) -> Self {
        let alone = rows.len() == 1 && rows[0].n_tokens() == seq_len;
        let is_plain = rows.iter().all(|row| row.is_text());
        assert!(is_plain || alone || !cpu::applies(&place.device), "rows with branches are computed alone on the CPU");
        let positions = rows.iter().flat_map(|row| (0..seq_len).map(|column| row.position(column))).collect();
        Self::new(Mode::Rows { rows, seq_len }, positions, rotaries, place)
    }

    /// On the CPU: the `n_new` first tokens of one text, or one more token of each of several.
    pub fn texts(caches: Vec<&'a mut TextCache>, n_new: usize, rotaries: &Rotaries, place: &Place) -> Self {
        debug_assert!(n_new == 1 || (caches.len() == 1 && caches[0].n_tokens() == 0));
        let first = |cache: &TextCache| cache.n_tokens() as u32;
        let positions = caches.iter().flat_map(|cache| first(cache)..first(cache) + n_new as u32).collect();
        Self::new(Mode::Texts(RefCell::new(caches)), positions, rotaries, place)
    }

    /// Off the CPU: `n_new` more columns of every text of a batch.
    pub fn batch(cache: &'a mut BatchCache, n_new: usize, rotaries: &Rotaries, place: &Place) -> Self {
        let columns = cache.n_columns()..cache.n_columns() + n_new;
        let positions = cache
            .padding()
            .iter()
            .flat_map(|padding| columns.clone().map(move |column| column.saturating_sub(*padding) as u32))
            .collect();
        Self::new(Mode::Batch { cache: RefCell::new(cache), n_new }, positions, rotaries, place)
    }

    /// Causal attention of a layer's queries, keys and values, rotated here; scores are divided by `√head_dim`.
    ///
    /// # Shapes
    ///
    /// - `query`, output: `[n_tokens, n_heads · head_dim]`
    /// - `key`, `value`: `[n_tokens, n_key_value_heads · head_dim]`
    pub fn attend(&self, heads: Heads, query: Tensor<2>, key: Tensor<2>, value: Tensor<2>) -> Tensor<2> {
        let rotation = match (&self.sliding, heads.window) {
            (Some(sliding), Some(_)) => sliding,
            _ => &self.full,
        };
        let (query, key) = (rotation.apply(query), rotation.apply(key));
        match &self.mode {
            Mode::Rows { rows, seq_len } if cpu::applies(&self.place.device) => {
                cpu::attend_rows(heads, [query, key, value], rows, *seq_len)
            }
            Mode::Rows { rows, seq_len }
                if cpu_gradients::applies(&self.place.device) && rows.iter().all(|row| row.is_text()) =>
            {
                cpu_gradients::attend_rows(heads, [query, key, value], rows.len(), *seq_len)
            }
            Mode::Rows { rows, seq_len } => {
                let split = |x: Tensor<2>, n_heads: usize| {
                    x.reshape([rows.len(), *seq_len, n_heads, heads.head_dim]).swap_dims(1, 2)
                };
                let (key, value) = (split(key, heads.n_key_value_heads), split(value, heads.n_key_value_heads));
                let mixed = self.attend_masked(heads, split(query, heads.n_heads), key, value);
                mixed.swap_dims(1, 2).reshape([rows.len() * seq_len, heads.d_query()])
            }
            Mode::Texts(caches) => cpu::attend_cached(heads, [query, key, value], &mut caches.borrow_mut()),
            Mode::Batch { cache, n_new } => {
                let n_rows = cache.borrow().padding().len();
                let split =
                    |x: Tensor<2>, n_heads: usize| x.reshape([n_rows, *n_new, n_heads, heads.head_dim]).swap_dims(1, 2);
                let (key, value) = (split(key, heads.n_key_value_heads), split(value, heads.n_key_value_heads));
                let (key, value) = (key.cast(self.place.dtype), value.cast(self.place.dtype));
                let (key, value) = cache.borrow_mut().append(heads.layer, key, value);
                let mixed = self.attend_masked(heads, split(query, heads.n_heads), key, value);
                mixed.swap_dims(1, 2).reshape([n_rows * n_new, heads.d_query()])
            }
        }
    }

    /// Attention by whole matrices with a mask: products in the type of the weights, softmax in f32. The only form with
    /// gradients. (Fused GPU kernels work in f16 fragments whatever they are given, and leave masks out.)
    ///
    /// # Shapes
    ///
    /// - `query`, output: `[n_rows, n_heads, n_queries, head_dim]`
    /// - `key`, `value`: `[n_rows, n_key_value_heads, n_keys, head_dim]`; the last `n_queries` keys are the queries' own
    fn attend_masked(&self, heads: Heads, query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
        let [n_rows, n_heads, n_queries, head_dim] = query.dims();
        let n_keys = key.dims()[2];
        let n_groups = n_heads / heads.n_key_value_heads;
        let repeat = |x: Tensor<4>| {
            if n_groups == 1 {
                return x;
            }
            x.unsqueeze_dim::<5>(2)
                .expand([n_rows, heads.n_key_value_heads, n_groups, n_keys, head_dim])
                .reshape([n_rows, n_heads, n_keys, head_dim])
        };
        let dtype = self.place.dtype;
        let (key, value) = (repeat(key.cast(dtype)).swap_dims(2, 3), repeat(value.cast(dtype)));
        let hidden = self.hidden(heads.window);
        // Scaled before the product: half precision would overflow sooner after it.
        let query = (query * (1.0 / (head_dim as f64).sqrt())).cast(dtype);
        let attend = |query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, hidden: Tensor<4, Bool>| {
            let scores = query.matmul(key).cast(DType::F32).mask_fill(hidden, f32::NEG_INFINITY);
            activation::softmax(scores, 3).cast(dtype).matmul(value).cast(DType::F32)
        };
        if self.place.device.is_autodiff() || n_queries <= QUERY_BLOCK {
            return attend(query, key, value, hidden.clone());
        }
        let first_key = n_keys - n_queries;
        let blocks = (0..n_queries).step_by(QUERY_BLOCK).map(|first| {
            let n = QUERY_BLOCK.min(n_queries - first);
            let n_seen = first_key + first + n;
            attend(
                query.clone().narrow(2, first, n),
                key.clone().narrow(3, 0, n_seen),
                value.clone().narrow(2, 0, n_seen),
                hidden.clone().narrow(2, first, n).narrow(3, 0, n_seen),
            )
        });
        Tensor::cat(blocks.collect(), 2)
    }

    /// Which keys each query may not see: `[n_rows or 1, 1, n_queries, n_keys]`, the same for all layers of a kind.
    fn hidden(&self, window: Option<usize>) -> &Tensor<4, Bool> {
        self.hidden[usize::from(window.is_some())].get_or_init(|| match &self.mode {
            Mode::Rows { rows, seq_len } if rows.iter().all(|row| row.is_text()) => {
                // Filled up on the right: causality alone keeps real tokens from seeing the filling.
                let shape = [*seq_len, *seq_len];
                let future = Tensor::<2, Bool>::tril_mask(shape, 0, &self.place.device);
                let hidden = match window {
                    None => future,
                    Some(window) => {
                        let recent = Tensor::<2, Bool>::tril_mask(shape, -(window as i64), &self.place.device);
                        future.bool_or(recent.bool_not())
                    }
                };
                hidden.unsqueeze()
            }
            Mode::Rows { rows, seq_len } => {
                let of = |f: fn(RowShape, usize) -> i32| {
                    let values: Vec<i32> =
                        rows.iter().flat_map(|row| (0..*seq_len).map(move |column| f(*row, column))).collect();
                    Tensor::<2, Int>::from_data(TensorData::new(values, [rows.len(), *seq_len]), &self.place.device)
                };
                let columns =
                    Columns { position: of(|row, column| row.position(column) as i32), segment: of(RowShape::segment) };
                columns.hidden_from(&columns, window)
            }
            Mode::Batch { cache, n_new } => {
                let cache = cache.borrow();
                let n_columns = cache.n_columns() + n_new;
                let of = |columns: std::ops::Range<usize>| {
                    let n = columns.len();
                    let columns =
                        || cache.padding().iter().flat_map(|p| columns.clone().map(|c| (c as i32, *p as i32)));
                    let tensor = |values: Vec<i32>| {
                        let data = TensorData::new(values, [cache.padding().len(), n]);
                        Tensor::<2, Int>::from_data(data, &self.place.device)
                    };
                    Columns {
                        position: tensor(columns().map(|(column, padding)| column - padding).collect()),
                        // Filling is a segment of its own, which nothing but filling sees.
                        segment: tensor(columns().map(|(column, padding)| -i32::from(column < padding)).collect()),
                    }
                };
                of(n_columns - n_new..n_columns).hidden_from(&of(0..n_columns), window)
            }
            Mode::Texts(_) => unreachable!("texts are attended on the CPU, without masks"),
        })
    }
}

/// Where tokens stand: `[n_rows, n_columns]` each.
struct Columns {
    position: Tensor<2, Int>,
    /// Tokens see segment 0 and their own.
    segment: Tensor<2, Int>,
}

impl Columns {
    /// Whether each of these tokens may not see each of `keys`: `[n_rows, 1, n_queries, n_keys]`.
    fn hidden_from(&self, keys: &Columns, window: Option<usize>) -> Tensor<4, Bool> {
        let [n_rows, n_queries] = self.position.dims();
        let [_, n_keys] = keys.position.dims();
        let shape = [n_rows, n_queries, n_keys];
        let query = |x: &Tensor<2, Int>| x.clone().unsqueeze_dim::<3>(2).expand(shape);
        let key = |x: &Tensor<2, Int>| x.clone().unsqueeze_dim::<3>(1).expand(shape);
        let distance = query(&self.position) - key(&keys.position);
        let is_later = distance.clone().lower_elem(0);
        let is_elsewhere =
            key(&keys.segment).not_equal_elem(0).bool_and(query(&self.segment).not_equal(key(&keys.segment)));
        let mut hidden = is_later.bool_or(is_elsewhere);
        if let Some(window) = window {
            hidden = hidden.bool_or(distance.greater_equal_elem(window as i64));
        }
        hidden.unsqueeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_stand_behind_the_trunk() {
        let row = RowShape { trunk: 3, branches: [2, 3] };
        let places: Vec<_> = (0..row.n_tokens()).map(|column| (row.position(column), row.segment(column))).collect();
        assert_eq!(places, [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (3, 2), (4, 2), (5, 2)]);
    }
}
