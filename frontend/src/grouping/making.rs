//! Making a discovery in the browser: reads a behavior's prompts and vectors and a sample of the pairs, and hands them to
//! `whence_shared::discovery`.
//!
//! Pairs are drawn in runs of neighbouring rows, so that vectors and texts come in few requests: of a study with more pairs
//! than asked for, [`RUN`] rows at each of as many places as are needed, drawn at random.

use js_sys::Uint8Array;
use serde::Deserialize;
use whence_shared::changes;
use whence_shared::cluster::points::to_unit_rows;
use whence_shared::cluster::{one_way, stability};
use whence_shared::discovery::words::Words;
use whence_shared::discovery::{self, Cut, DiscoveryView, PairEntry, PromptEntry, Settings, Similarity, Text};
use whence_shared::dot::dot;
use whence_shared::json;
use whence_shared::pair::{Message, Pair, Side, conversation_text, spoken_text};
use whence_shared::shard::Shard;
use whence_shared::statistics::random::Random;
use whence_shared::study::{LayerView, ROWS_PER_TEXT_CHUNK, TextChunk};

use super::calls::{Asked, Opening};
use crate::fetch::{FetchError, File, Transfer};
use crate::ranker::now_ms;

/// Neighbouring rows that are drawn together.
const RUN: usize = 16;
/// Decides which pairs are drawn, and the samples by which stability is told.
const SEED: u64 = 1;
/// Rotated sets that the groups are compared with, fewer than natively: each takes the square of the rows times the width.
const N_NULL: usize = 19;
const SNIPPET_CHARS: usize = 160;

/// A discovery as it was made.
pub struct Made {
    /// What `whence discover` would have stored.
    pub view: DiscoveryView,
    /// Its matrices.
    pub similarity: Similarity,
    /// Milliseconds without reading.
    pub ms: f64,
    words: Words,
}

impl Made {
    /// As it is taken up for cutting.
    pub fn opening(self) -> Opening {
        Opening {
            sources: self.view.pairs.iter().map(|pair| pair.source.clone()).collect(),
            settings: self.view.settings,
            groups: self.view.groups,
            words: self.words,
        }
    }
}

/// A line of a behavior's pairs.jsonl.
#[derive(Deserialize)]
struct Line {
    prompt: Vec<Message>,
    r0: String,
    r1: String,
    #[serde(default)]
    scenario: String,
}

/// Reads, groups and describes.
///
/// # Errors
///
/// In words: a file that does not arrive or does not fit, or more prompts than can be grouped.
pub async fn discover(asked: &Asked) -> Result<Made, String> {
    let Asked { behavior, layer, .. } = asked;
    let lines = prompts(asked).await?;
    let path = format!("behaviors/{behavior}/layer-{}.safetensors", layer.layer);
    let bytes =
        File::new(&asked.data, &path).bytes(&Transfer::default()).await.map_err(|error| error.to_string())?.to_vec();
    let shard = Shard::parse(&bytes).map_err(|error| format!("{path}: {error}"))?;
    if shard.d_model != layer.d_model {
        return Err(format!("{path}: expected vectors {} wide, got {}", layer.d_model, shard.d_model));
    }
    let mut vectors = shard.to_f32();
    let n_vectors = vectors.len() / layer.d_model;
    if n_vectors != lines.len() {
        return Err(format!("{path}: expected a vector for each of {} prompts, got {n_vectors}", lines.len()));
    }
    let rows = sample(layer.n_rows, asked.n_pairs);
    let mut pair_vectors = read_vectors(asked, &rows).await?;
    let pairs = read_pairs(asked, &rows).await?;
    let start_ms = now_ms();
    let norms = changes::norms(&vectors, layer.d_model);
    let responses = lines.iter().map(|line| (line.r0.as_str(), line.r1.as_str()));
    let changes = changes::scan(responses, &changes::relative_norms(&norms));
    let mean_square = changes::mean_square(&changes::norms(&pair_vectors, layer.d_model));
    let lengths = changes::lengths_beside(&norms, mean_square);
    for rows in [&mut vectors, &mut pair_vectors] {
        to_unit_rows(rows, layer.d_model);
    }
    let rows_of = |values| <[f32]>::chunks_exact(values, layer.d_model);
    let cosines = |others| {
        let with_others = |prompt| rows_of(others).map(move |other| dot(prompt, other));
        rows_of(&vectors).flat_map(with_others).collect::<Vec<f32>>()
    };
    let similarity = Similarity {
        of_pairs: cosines(&pair_vectors),
        of_prompts: cosines(&vectors),
        lengths: lengths.into_iter().map(|length| length as f32).collect(),
    };
    let asked_prompts: Vec<String> = lines.iter().map(|line| spoken_text(&line.prompt)).collect();
    let asked_pairs: Vec<String> = pairs.iter().map(|pair| spoken_text(&pair.prompt)).collect();
    let of_prompts: Vec<Text> = asked_prompts.iter().map(|prompt| Text { prompt, ..Text::default() }).collect();
    let of_pairs: Vec<Text> = pairs.iter().zip(&asked_pairs).map(|(pair, prompt)| text_of(pair, prompt)).collect();
    let stability = stability::Settings { seed: SEED, n_null: N_NULL, ..stability::Settings::default() };
    let one_way = one_way::Settings { seed: SEED, ..one_way::Settings::default() };
    let settings = Settings { prompt_cut: Cut::Stable, pair_cut: Cut::Stable, stability, one_way };
    let groups =
        discovery::discover(&similarity, &of_prompts, &of_pairs, settings).map_err(|error| error.to_string())?;
    let words = Words::of(&of_prompts, &of_pairs);
    let entry = |line: &Line| PromptEntry {
        prompt: conversation_text(&line.prompt),
        r0: line.r0.clone(),
        r1: line.r1.clone(),
        scenario: line.scenario.clone(),
    };
    let pair_entry = |(&row, pair): (&u32, &Pair)| PairEntry {
        row,
        id: pair.id.clone(),
        source: pair.source.clone(),
        snippet: pair.snippet(SNIPPET_CHARS),
    };
    let view = DiscoveryView {
        format: discovery::FORMAT.to_owned(),
        name: behavior.clone(),
        behavior: behavior.clone(),
        layers: vec![layer.layer],
        sampling: if rows.len() == layer.n_rows { "all" } else { "runs" }.to_owned(),
        n_pairs_in_study: layer.n_rows,
        settings,
        inputs: shard.header.inputs.clone(),
        pairs_sha256: String::new(),
        prompts: lines.iter().map(entry).collect(),
        pairs: rows.iter().zip(&pairs).map(pair_entry).collect(),
        groups,
        changes,
        has_words: false,
        names: None,
    };
    Ok(Made { view, similarity, ms: now_ms() - start_ms, words })
}

fn text_of<'a>(pair: &'a Pair, prompt: &'a str) -> Text<'a> {
    Text { prompt, chosen: pair.response(Side::Chosen), rejected: pair.response(Side::Rejected), source: &pair.source }
}

async fn prompts(asked: &Asked) -> Result<Vec<Line>, String> {
    let path = format!("behaviors/{}/pairs.jsonl", asked.behavior);
    let bytes =
        File::new(&asked.data, &path).bytes(&Transfer::default()).await.map_err(|error| error.to_string())?.to_vec();
    let text = String::from_utf8(bytes).map_err(|_| format!("{path}: not UTF-8"))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty()).zip(1..);
    let lines: Vec<Line> = lines
        .map(|(line, n)| json::from_str(line).map_err(|error| format!("{path}, line {n}: {error}")))
        .collect::<Result<_, String>>()?;
    match lines.len() <= stability::MAX_ROWS {
        true => Ok(lines),
        false => Err(format!("at most {} prompts can be grouped, got {}", stability::MAX_ROWS, lines.len())),
    }
}

/// Rows of a sample, ascending: all of them where there are no more than `n`.
fn sample(n_rows: usize, n: usize) -> Vec<u32> {
    if n_rows <= n {
        return (0..n_rows as u32).collect();
    }
    let mut chunks: Vec<usize> = (0..n_rows.div_ceil(ROWS_PER_TEXT_CHUNK)).collect();
    let mut random = Random::new(SEED);
    random.shuffle(&mut chunks);
    let run = |&chunk: &usize| {
        let first = chunk * ROWS_PER_TEXT_CHUNK;
        (first as u32)..(first + RUN).min(n_rows) as u32
    };
    let mut rows: Vec<u32> = chunks.iter().flat_map(run).take(n).collect();
    rows.sort_unstable();
    rows
}

/// Vectors of rows, `[n rows, d_model]`: parts of the files, or whole files where the server sends no parts.
async fn read_vectors(asked: &Asked, rows: &[u32]) -> Result<Vec<f32>, String> {
    let layer = &asked.layer;
    let mut vectors = vec![0f32; rows.len() * layer.d_model];
    let mut done = 0;
    for shard in &layer.shards {
        let mut whole = None;
        let end = done + rows[done..].partition_point(|&row| (row as usize) < shard.first_row + shard.n_rows);
        for run in rows[done..end].chunk_by(|a, b| a + 1 == *b) {
            let first = run[0] as usize - shard.first_row;
            let width = layer.d_model * layer.dtype.n_bytes();
            // A file of pair vectors ends with its only tensor.
            let offset = shard.n_bytes - (shard.n_rows * width) as u64;
            let range = offset + (first * width) as u64..offset + ((first + run.len()) * width) as u64;
            let file = File::new(&asked.data, &shard.path);
            if whole.is_none() {
                match file.part(range.clone(), shard.n_bytes, &Transfer::default()).await {
                    Ok(bytes) => {
                        widen(layer, &bytes, &mut vectors[done * layer.d_model..]);
                        done += run.len();
                        continue;
                    }
                    Err(FetchError::NoRanges { .. }) => {
                        whole = Some(file.bytes(&Transfer::default()).await.map_err(|error| error.to_string())?);
                    }
                    Err(error) => return Err(error.to_string()),
                }
            }
            if let Some(bytes) = &whole {
                let part = bytes.subarray(range.start as u32, range.end as u32);
                widen(layer, &part, &mut vectors[done * layer.d_model..]);
                done += run.len();
            }
        }
    }
    Ok(vectors)
}

fn widen(layer: &LayerView, bytes: &Uint8Array, out: &mut [f32]) {
    let bytes = bytes.to_vec();
    let n = bytes.len() / layer.dtype.n_bytes();
    layer.dtype.widen(&bytes, &mut out[..n]);
}

async fn read_pairs(asked: &Asked, rows: &[u32]) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::with_capacity(rows.len());
    for run in rows.chunk_by(|a, b| *a as usize / ROWS_PER_TEXT_CHUNK == *b as usize / ROWS_PER_TEXT_CHUNK) {
        let path = format!("texts/{}.json", run[0] as usize / ROWS_PER_TEXT_CHUNK);
        let chunk = File::new(&asked.data, &path).json::<TextChunk>().await.map_err(|error| error.to_string())?;
        for &row in run {
            let pair = (row as usize).checked_sub(chunk.first_row).and_then(|i| chunk.pairs.get(i));
            pairs.push(pair.cloned().ok_or_else(|| format!("{path}: expected row {row}, got none"))?);
        }
    }
    Ok(pairs)
}
