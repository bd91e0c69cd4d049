//! How pairs are read: what is computed once for both texts of a pair, how a response is pooled, in which type, and what
//! comes with it. Every way of computing the same thing must come out as the same thing.

use burn::tensor::{DType, Int, Tensor, TensorData};
use whence_backend::data::template::TemplateChoice;
use whence_backend::data::tokens::{TextEncoder, Tokens};
use whence_backend::device::{self, DeviceChoice, OpenDevice};
use whence_backend::extract::{Block, BlockSource, Budget, Differ, Pooling};
use whence_backend::model::{CausalLm, ModelFolder};
use whence_shared::dot::norm;
use whence_shared::pair::{Message, Pair, Side};
use whence_shared::rank::cosine;
use whence_tests::chat_study::Numbers;
use whence_tests::fixture::{self, relative_difference};
use whence_tests::random_model::{self, Shape};

const LAYERS: [usize; 3] = [0, 1, 3];

fn cpu() -> OpenDevice {
    device::open(DeviceChoice::Cpu).unwrap()
}

/// The GPU or its software stand-in, when there is one.
fn gpu() -> Option<OpenDevice> {
    device::open(DeviceChoice::Wgpu).map_err(|error| eprintln!("skipped: {error}")).ok()
}

/// A model, its text form and where it lives.
struct Reader {
    folder: ModelFolder,
    model: CausalLm,
    encoder: TextEncoder,
    device: OpenDevice,
    budget: Budget,
}

impl Reader {
    fn open(folder: ModelFolder, device: OpenDevice, dtype: DType) -> Self {
        let model = folder.load_as(&device.device, dtype).unwrap();
        let encoder = TextEncoder::new(&folder, &TemplateChoice::Model, 2048).unwrap();
        Self { folder, model, encoder, device, budget: Budget::new(1000) }
    }

    fn chat(device: OpenDevice) -> Self {
        Self::open(ModelFolder::open(&fixture::model("chat")).unwrap(), device, DType::F32)
    }

    fn differ(&self) -> Differ<'_> {
        Differ::new(&self.model, &self.encoder, &self.device.device, &self.budget)
    }

    fn tokens(&self, pair: &Pair, side: Side) -> Tokens {
        self.encoder.encode(&pair.conversation(side)).unwrap()
    }
}

fn compute(differ: &Differ, pairs: &[Pair], layers: &[usize]) -> Block {
    differ.compute(&differ.prepare(pairs), 0, layers, &|_, _| {}).unwrap()
}

fn pair(id: usize, prompt: &str, chosen: &str, rejected: &str) -> Pair {
    Pair {
        id: format!("pair-{id}"),
        prompt: vec![Message::new("user", prompt)],
        chosen: vec![Message::new("assistant", chosen)],
        rejected: vec![Message::new("assistant", rejected)],
        source: "made".into(),
        metadata: "{}".into(),
    }
}

/// Pairs whose responses share nothing, their first words, or all but the last; of very different lengths.
fn pairs(n: usize) -> Vec<Pair> {
    let mut numbers = Numbers::new(11);
    (0..n)
        .map(|id| {
            let (prompt, common) = (numbers.text(40), numbers.text(10));
            let (a, b) = (numbers.text(30), numbers.text(12));
            match id % 3 {
                0 => pair(id, &prompt, &a, &b),
                1 => pair(id, &prompt, &format!("{common} {a}"), &format!("{common} {b}")),
                _ => pair(id, &prompt, &common, &format!("{common} {b}")),
            }
        })
        .collect()
}

fn assert_close(ours: &Block, theirs: &Block, tolerance: f32, how: &str) {
    assert_eq!(ours.d_model, theirs.d_model, "{how}");
    for (i, (a, b)) in ours.vectors.iter().zip(&theirs.vectors).enumerate() {
        for (row, (a, b)) in a.chunks_exact(ours.d_model).zip(b.chunks_exact(ours.d_model)).enumerate() {
            let difference = relative_difference(a, b);
            assert!(difference <= tolerance, "{how}: layer {i}, row {row}: {difference:e}");
        }
    }
}

fn a_common_beginning_is_computed_once_and_changes_nothing(device: OpenDevice, tolerance: f32) {
    let (reader, pairs) = (Reader::chat(device), pairs(12));
    let shared = compute(&reader.differ(), &pairs, &LAYERS);
    let repeated = compute(&Differ { share_prompt: false, ..reader.differ() }, &pairs, &LAYERS);
    assert_close(&shared, &repeated, tolerance, "shared against repeated");
    let lengths = |side| pairs.iter().map(|pair| reader.tokens(pair, side).ids.len() as u64).sum::<u64>();
    assert_eq!(repeated.n_tokens, lengths(Side::Chosen) + lengths(Side::Rejected));
    let prompts: u64 = pairs.iter().map(|pair| reader.tokens(pair, Side::Chosen).response.start as u64).sum();
    assert_eq!(shared.n_tokens, repeated.n_tokens - prompts, "every prompt is read once");
}

#[test]
fn a_common_beginning_is_computed_once_and_changes_nothing_on_cpu() {
    a_common_beginning_is_computed_once_and_changes_nothing(cpu(), 1e-5);
}

#[test]
fn a_common_beginning_is_computed_once_and_changes_nothing_on_wgpu() {
    if let Some(device) = gpu() {
        a_common_beginning_is_computed_once_and_changes_nothing(device, 1e-3);
    }
}

#[test]
fn the_same_response_twice_is_no_difference_at_all() {
    let reader = Reader::chat(cpu());
    let block = compute(&reader.differ(), &[pair(0, "bread", "a quiet clock", "a quiet clock")], &LAYERS);
    assert!(block.vectors.iter().flatten().all(|x| *x == 0.0));
}

/// Residuals of one text at a layer, `[n_tokens][d_model]`, straight from the model.
fn residuals(reader: &Reader, tokens: &Tokens, layer: usize) -> Vec<Vec<f32>> {
    let ids: Vec<i32> = tokens.ids.iter().map(|id| *id as i32).collect();
    let n = ids.len();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, n]), &reader.device.device);
    let hidden = reader.model.hidden_states(ids, &[layer]).remove(0);
    let d_model = hidden.dims()[2];
    let values = hidden.into_data_as::<f32>().try_into_vec::<f32>().unwrap();
    values.chunks_exact(d_model).map(<[f32]>::to_vec).collect()
}

#[test]
fn every_pooling_takes_the_tokens_it_says() {
    let reader = Reader::chat(cpu());
    let pairs = pairs(4);
    let mean_of = |rows: &[&Vec<f32>]| -> Vec<f32> {
        (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i]).sum::<f32>() / rows.len() as f32).collect()
    };
    let pool = |pooling: Pooling, tokens: &Tokens, layer: usize| -> Vec<f32> {
        let all = residuals(&reader, tokens, layer);
        let response: Vec<&Vec<f32>> = all[tokens.response.clone()].iter().collect();
        match pooling {
            Pooling::Mean => mean_of(&response),
            Pooling::Last => response[response.len() - 1].clone(),
            Pooling::TrimmedMean => {
                let mut norms: Vec<f32> = response.iter().map(|row| norm(row)).collect();
                let limit = {
                    let mut sorted = norms.clone();
                    sorted.sort_by(f32::total_cmp);
                    4.0 * sorted[(sorted.len() - 1) / 2]
                };
                let kept: Vec<&Vec<f32>> =
                    response.iter().zip(norms.drain(..)).filter(|(_, n)| *n <= limit).map(|(row, _)| *row).collect();
                mean_of(&kept)
            }
        }
    };
    for pooling in [Pooling::Mean, Pooling::Last, Pooling::TrimmedMean] {
        let block = compute(&Differ { pooling, ..reader.differ() }, &pairs, &LAYERS);
        for (vectors, layer) in block.vectors.iter().zip(LAYERS) {
            for (pair, got) in pairs.iter().zip(vectors.chunks_exact(block.d_model)) {
                let [chosen, rejected] =
                    [Side::Chosen, Side::Rejected].map(|side| pool(pooling, &reader.tokens(pair, side), layer));
                let expected: Vec<f32> = chosen.iter().zip(&rejected).map(|(a, b)| a - b).collect();
                let difference = relative_difference(got, &expected);
                assert!(difference < 1e-5, "{pooling}, layer {layer}, {}: {difference:e}", pair.id);
            }
        }
    }
}

/// Σ log p and number of a response's tokens with what ends its turn, from all logits of the text, in f64.
fn logp_by_definition(reader: &Reader, tokens: &Tokens) -> (f64, usize) {
    let ids: Vec<i32> = tokens.ids.iter().map(|id| *id as i32).collect();
    let n = ids.len();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, n]), &reader.device.device);
    let logits = reader.model.logits(ids);
    let vocab_size = logits.dims()[2];
    let logits = logits.into_data_as::<f32>().try_into_vec::<f32>().unwrap();
    let targets = tokens.response.start..tokens.turn_end;
    assert!(tokens.turn_end > tokens.response.end, "the fixture's template ends turns with a token");
    let logp = |t: usize| {
        let row = &logits[(t - 1) * vocab_size..t * vocab_size];
        let total: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        f64::from(row[tokens.ids[t] as usize]) - total.ln()
    };
    (targets.clone().map(logp).sum(), targets.len())
}

fn log_probabilities_are_those_of_the_response_and_its_end(device: OpenDevice, tolerance: f64) {
    let (reader, pairs) = (Reader::chat(device), pairs(6));
    for share_prompt in [true, false] {
        let block = compute(&Differ { logps: true, share_prompt, ..reader.differ() }, &pairs, &[2]);
        for (pair, logps) in pairs.iter().zip(block.logps.expect("asked for")) {
            let sides = [
                (Side::Chosen, logps.chosen_sum, logps.chosen_mean),
                (Side::Rejected, logps.rejected_sum, logps.rejected_mean),
            ];
            for (side, sum, mean) in sides {
                let (expected, n) = logp_by_definition(&reader, &reader.tokens(pair, side));
                assert!((f64::from(sum) / expected - 1.0).abs() < tolerance, "{}: {sum} not {expected}", pair.id);
                assert!((f64::from(mean) * n as f64 / expected - 1.0).abs() < tolerance, "{}: {mean}", pair.id);
            }
        }
    }
    assert!(compute(&reader.differ(), &pairs, &[2]).logps.is_none(), "nobody asked");
}

#[test]
fn log_probabilities_are_those_of_the_response_and_its_end_on_cpu() {
    log_probabilities_are_those_of_the_response_and_its_end(cpu(), 1e-5);
}

#[test]
fn log_probabilities_are_those_of_the_response_and_its_end_on_wgpu() {
    if let Some(device) = gpu() {
        log_probabilities_are_those_of_the_response_and_its_end(device, 1e-4);
    }
}

#[test]
fn log_probabilities_alone_need_no_layer() {
    let reader = Reader::chat(cpu());
    let block = compute(&Differ { logps: true, ..reader.differ() }, &pairs(2), &[]);
    assert!(block.vectors.is_empty() && block.logps.is_some_and(|logps| logps.len() == 2));
}

#[test]
fn a_text_is_pooled_the_same_alone_and_in_its_pair() {
    let reader = Reader::chat(cpu());
    let pairs = pairs(3);
    let block = compute(&reader.differ(), &pairs, &LAYERS);
    let of = |side| {
        let tokens: Vec<Tokens> = pairs.iter().map(|pair| reader.tokens(pair, side)).collect();
        reader.differ().texts(&tokens.iter().collect::<Vec<_>>(), &LAYERS).unwrap()
    };
    let (chosen, rejected) = (of(Side::Chosen), of(Side::Rejected));
    for (i, vectors) in block.vectors.iter().enumerate() {
        for (row, got) in vectors.chunks_exact(block.d_model).enumerate() {
            let expected: Vec<f32> = chosen[row][i].iter().zip(&rejected[row][i]).map(|(a, b)| a - b).collect();
            assert!(relative_difference(got, &expected) < 1e-5, "layer {i}, row {row}");
        }
    }
}

/// Pair vectors in half precision point where those in f32 point, and rank the same pairs first.
#[test]
fn half_precision_keeps_directions_and_the_first_hundred() {
    const N_PAIRS: usize = 400;
    let Some(gpu) = gpu() else { return };
    let root = tempfile::tempdir().unwrap();
    let shape = Shape { layers: 3, hidden: 128, heads: 4, intermediate: 256, vocab: 512 };
    random_model::write(root.path(), &shape, safetensors::Dtype::F32);
    let pairs = pairs(N_PAIRS);
    let read = |device: OpenDevice, dtype: DType| {
        let reader = Reader::open(ModelFolder::open(root.path()).unwrap(), device, dtype);
        assert_eq!(reader.folder.config.hidden_size, shape.hidden);
        compute(&Differ { budget: &Budget::new(8192), ..reader.differ() }, &pairs, &[2])
    };
    let exact = read(cpu(), DType::F32);
    let mut n_types = 0;
    for dtype in [DType::F16, DType::BF16] {
        if !gpu.device.supports_dtype(dtype) {
            eprintln!("{} does not compute in {dtype:?}", gpu.name);
            continue;
        }
        n_types += 1;
        let half = read(gpu.clone(), dtype);
        let rows = |block: &Block| block.vectors[0].chunks_exact(shape.hidden).map(<[f32]>::to_vec).collect::<Vec<_>>();
        let (exact, half) = (rows(&exact), rows(&half));
        let least = exact.iter().zip(&half).map(|(a, b)| cosine(a, norm(a), b)).fold(1.0, f32::min);
        assert!(least > 0.999, "{dtype:?}: a vector has cosine {least} to its f32 form");
        // A direction as a behavior's is: the mean of some vectors of the same kind.
        let first = |rows: &[Vec<f32>]| -> Vec<usize> {
            let direction: Vec<f32> = (0..shape.hidden).map(|i| rows[..20].iter().map(|row| row[i]).sum()).collect();
            let scores: Vec<f32> = rows.iter().map(|row| cosine(&direction, norm(&direction), row)).collect();
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
            order[..100].to_vec()
        };
        let (exact, half) = (first(&exact), first(&half));
        let n_common = exact.iter().filter(|row| half.contains(row)).count();
        eprintln!("{dtype:?} on {}: least cosine {least}, overlap@100 {n_common}", gpu.name);
        assert!(n_common >= 98, "{dtype:?}: {n_common} of the first 100 are the same");
    }
    if n_types == 0 {
        eprintln!("skipped: {} computes in no half precision", gpu.name);
    }
}
