//! A study as JSON and vector files, the way a server or a static folder hands it to the app, made without a model.
//!
//! Everything is computed from row numbers, so the same plan gives the same files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use whence_shared::columns;
use whence_shared::direction::{DirectionMethod, direction};
use whence_shared::index::query::Direction;
use whence_shared::pair::{Message, Pair, Side};
use whence_shared::rank::{self, Probe};
use whence_shared::shard::{self, Shard, ShardHeader, StoreDtype};
use whence_shared::study::{
    BehaviorExample, BehaviorView, FORMAT, HealthView, LayerView, ModelView, ROWS_PER_ROW_CHUNK, ROWS_PER_TEXT_CHUNK,
    RowChunk, ShardView, SourceView, StudyView, TextChunk,
};

mod diagnosis;
pub mod discovery;
mod index;
pub mod map;
mod retraining;
mod sweep;
mod tokens;

const SOURCES: [&str; 4] = ["open-prompts", "format-following", "safety-refusals", ""];

/// Vectors of one layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerPlan {
    /// The layer's number.
    pub layer: usize,
    /// Width of a vector.
    pub d_model: usize,
    /// How numbers are stored.
    pub dtype: StoreDtype,
    /// Rows per file.
    pub rows_per_shard: usize,
    /// Whether it has an index; then its dimensions differ in energy as a model's do.
    pub is_indexed: bool,
}

/// What to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Number of pairs.
    pub n_pairs: usize,
    /// Layers, ascending.
    pub layers: Vec<LayerPlan>,
    /// Names of behaviors, in alphabetical order.
    pub behaviors: Vec<&'static str>,
}

impl Plan {
    /// A small study with what rankings stumble over: several files, a shorter last one, ties, zero rows, both types.
    pub fn small() -> Self {
        let layer = |layer, d_model, dtype, rows_per_shard| LayerPlan {
            layer,
            d_model,
            dtype,
            rows_per_shard,
            is_indexed: false,
        };
        Self {
            n_pairs: 5000,
            layers: vec![layer(1, 37, StoreDtype::F32, 1024), layer(2, 64, StoreDtype::F16, 777)],
            behaviors: vec!["flattery", "obeys-when-formatted"],
        }
    }

    /// `n_pairs` pairs with one layer of `d_model` wide f32 vectors.
    pub fn large(n_pairs: usize, d_model: usize) -> Self {
        let layer = LayerPlan { layer: 2, d_model, dtype: StoreDtype::F32, rows_per_shard: 8192, is_indexed: false };
        Self { n_pairs, layers: vec![layer], behaviors: vec!["flattery", "obeys-when-formatted"] }
    }

    /// The same with an index for every layer.
    pub fn with_index(mut self) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.is_indexed = true);
        self
    }

    /// A study with an index, large enough that the app uses it: three ranges of rows, the last one shorter.
    pub fn indexed() -> Self {
        let layer =
            LayerPlan { layer: 2, d_model: 300, dtype: StoreDtype::F32, rows_per_shard: 5000, is_indexed: true };
        Self { n_pairs: 18_000, layers: vec![layer], behaviors: vec!["flattery", "obeys-when-formatted"] }
    }
}

/// A study on disk: the folder that holds study.json.
#[derive(Debug, Clone)]
pub struct StaticStudy {
    /// The folder.
    pub folder: PathBuf,
    /// What study.json says.
    pub view: StudyView,
}

/// A ranking: scores by row, and rows from the highest score to the lowest.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeRanking {
    /// By row.
    pub scores: Vec<f32>,
    /// Rows.
    pub order: Vec<u32>,
}

impl NativeRanking {
    /// Of exact scores.
    pub fn of(scores: Vec<f64>) -> Self {
        let order = rank::order(&scores);
        Self { scores: scores.into_iter().map(|score| score as f32).collect(), order }
    }
}

impl StaticStudy {
    /// Makes the study in `folder`.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be written.
    pub fn make(folder: &Path, plan: &Plan) -> Self {
        let pairs: Vec<Pair> = (0..plan.n_pairs).map(pair).collect();
        let mut study = Self { folder: folder.to_owned(), view: view(plan, &pairs) };
        study.write_chunks(&pairs);
        for layer in &plan.layers {
            let shards = (0..plan.n_pairs)
                .step_by(layer.rows_per_shard)
                .map(|first_row| {
                    study.write_shard(layer, first_row, layer.rows_per_shard.min(plan.n_pairs - first_row))
                })
                .collect();
            let (LayerPlan { layer: number, d_model, dtype, .. }, n_rows) = (*layer, plan.n_pairs);
            study.view.layers.push(LayerView {
                layer: number,
                d_model,
                dtype,
                n_rows,
                shards,
                index: None,
                vectors_withheld: false,
                nearest_rows: Vec::new(),
            });
            for (i, name) in plan.behaviors.iter().enumerate() {
                study.write_behavior(name, i, layer);
            }
            if layer.is_indexed {
                let index = index::write(&study, study.view.layers.last().expect("it was just added"));
                study.view.layers.last_mut().expect("it was just added").index = Some(index);
            }
        }
        study.save_view();
        study
    }

    /// Writes study.json as [`StaticStudy::view`] says.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    pub fn save_view(&self) {
        self.write("study.json", &serde_json::to_vec(&self.view).unwrap());
    }

    /// A file's path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The ranking by a behavior's direction, computed natively from the files by the functions that `whence rank` uses.
    ///
    /// # Panics
    ///
    /// Panics when the study has no such behavior or layer.
    pub fn native_ranking(&self, behavior: &str, layer: usize) -> NativeRanking {
        NativeRanking::of(self.native_scores(layer, &[self.direction(behavior, layer)]))
    }

    /// Exact scores of all rows: of several directions, the largest.
    ///
    /// # Panics
    ///
    /// As [`StaticStudy::native_ranking`].
    pub fn native_scores(&self, layer: usize, directions: &[Direction]) -> Vec<f64> {
        let view = self.view.layers.iter().find(|view| view.layer == layer).expect("a layer of the study");
        let probe = Probe::new(directions);
        let mut scores = Vec::new();
        for shard in &view.shards {
            let bytes = fs::read(self.path(&shard.path)).unwrap();
            scores.extend(probe.scores(&Shard::parse(&bytes).unwrap()));
        }
        scores
    }

    /// A behavior's direction.
    ///
    /// # Panics
    ///
    /// As [`StaticStudy::native_ranking`].
    pub fn direction(&self, behavior: &str, layer: usize) -> Direction {
        let bytes = fs::read(self.path(&format!("behaviors/{behavior}/layer-{layer}.safetensors"))).unwrap();
        Direction::exact(&Shard::parse(&bytes).unwrap().direction.unwrap())
    }

    /// A behavior's vectors.
    ///
    /// # Panics
    ///
    /// As [`StaticStudy::native_ranking`].
    pub fn bank(&self, behavior: &str, layer: usize) -> Vec<Direction> {
        let bytes = fs::read(self.path(&format!("behaviors/{behavior}/layer-{layer}.safetensors"))).unwrap();
        let shard = Shard::parse(&bytes).unwrap();
        shard.to_f32().chunks_exact(shard.d_model).map(Direction::exact).collect()
    }

    /// Writes a file.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn write_chunks(&self, pairs: &[Pair]) {
        self.write_row_chunks(pairs);
        for (n, pairs) in pairs.chunks(ROWS_PER_TEXT_CHUNK).enumerate() {
            let chunk = TextChunk { first_row: n * ROWS_PER_TEXT_CHUNK, pairs: pairs.to_vec() };
            self.write(&format!("texts/{n}.json"), &serde_json::to_vec(&chunk).unwrap());
        }
    }

    fn write_row_chunks(&self, pairs: &[Pair]) {
        let mut columns = columns::Builder::default();
        pairs.iter().for_each(|pair| columns.push(pair, source_index(&pair.source)));
        self.write(columns::PATH, &columns.finish(self.view.pairs_sha256.clone()).to_bytes());
        for (n, pairs) in pairs.chunks(ROWS_PER_ROW_CHUNK).enumerate() {
            let chars = |side| pairs.iter().map(|pair| pair.response(side).chars().count() as u32).collect();
            let chunk = RowChunk {
                first_row: n * ROWS_PER_ROW_CHUNK,
                id: pairs.iter().map(|pair| pair.id.clone()).collect(),
                source: pairs.iter().map(|pair| source_index(&pair.source)).collect(),
                snippet: pairs.iter().map(|pair| pair.snippet(120)).collect(),
                chosen_chars: chars(Side::Chosen),
                rejected_chars: chars(Side::Rejected),
            };
            self.write(&format!("rows/{n}.json"), &serde_json::to_vec(&chunk).unwrap());
        }
    }

    fn write_shard(&self, plan: &LayerPlan, first_row: usize, n_rows: usize) -> ShardView {
        let values = vectors(first_row..first_row + n_rows, plan);
        let header = ShardHeader { layer: plan.layer, first_row, inputs: "made for tests".into() };
        let bytes = shard::write(&header, &values, plan.d_model, plan.dtype, None).unwrap();
        let path = format!("vectors/layer-{}/{first_row:08}.safetensors", plan.layer);
        self.write(&path, &bytes);
        ShardView { path, first_row, n_rows, n_bytes: bytes.len() as u64, sha256: sha256(&bytes) }
    }

    fn write_behavior(&self, name: &str, index: usize, plan: &LayerPlan) {
        let rows = [3, 11, 19, 27].map(|row| row + index);
        let values: Vec<f32> = rows.iter().flat_map(|&row| vectors(row..row + 1, plan)).collect();
        let scenarios: Vec<String> = rows.iter().map(usize::to_string).collect();
        let direction = direction(DirectionMethod::Mean, &values, &scenarios, plan.d_model);
        let header = ShardHeader { layer: plan.layer, first_row: 0, inputs: "made for tests".into() };
        let bytes = shard::write(&header, &values, plan.d_model, StoreDtype::F32, Some(&direction)).unwrap();
        self.write(&format!("behaviors/{name}/layer-{}.safetensors", plan.layer), &bytes);
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn source_index(source: &str) -> u32 {
    SOURCES.iter().position(|name| *name == source).expect("a listed source") as u32
}

fn view(plan: &Plan, pairs: &[Pair]) -> StudyView {
    let mut n_pairs: BTreeMap<u32, usize> = BTreeMap::new();
    for pair in pairs {
        *n_pairs.entry(source_index(&pair.source)).or_default() += 1;
    }
    let source = |(i, name): (usize, &&str)| SourceView {
        name: (*name).to_owned(),
        n_pairs: n_pairs.get(&(i as u32)).copied().unwrap_or_default(),
    };
    let behavior = |name: &&str| BehaviorView {
        name: (*name).to_owned(),
        n_pairs: 4,
        n_scenarios: 4,
        method: DirectionMethod::Mean,
        reading: "M0/M0".into(),
        layers: plan.layers.iter().map(|layer| layer.layer).collect(),
        examples: vec![BehaviorExample {
            prompt: "Say how a kite flies. Answer as a list.".into(),
            r0: "I would rather not say.".into(),
            r1: "- wind lifts it\n- the line holds it".into(),
            scenario: "lists".into(),
        }],
        ..BehaviorView::default()
    };
    StudyView {
        format: FORMAT.into(),
        name: "made-for-tests".into(),
        pairs_sha256: sha256(b"pairs"),
        n_pairs: plan.n_pairs,
        sources: SOURCES.iter().enumerate().map(source).collect(),
        health: HealthView { n_rows_read: plan.n_pairs + 2, n_rejected_rows: 2, ..HealthView::default() },
        model: plan.layers.first().map(|layer| ModelView {
            name: "no-model".into(),
            architecture: "olmo2".into(),
            n_layers: 4,
            d_model: layer.d_model,
            sha256: sha256(b"no model"),
            template: "model".into(),
            pooling: "mean".into(),
        }),
        layers: Vec::new(),
        behaviors: plan.behaviors.iter().map(behavior).collect(),
        discoveries: Vec::new(),
        clusterings: Vec::new(),
        maps: Vec::new(),
        gather: false,
        nearest: false,
        api: false,
        texts_withheld: false,
    }
}

/// Row-major `[rows.len(), plan.d_model]`. Every 97th row is zero, and rows 7 after a multiple of 50 equal the row before.
fn vectors(rows: std::ops::Range<usize>, plan: &LayerPlan) -> Vec<f32> {
    let d_model = plan.d_model;
    let energy = |column: usize| if plan.is_indexed { 8.0 / (8.0 + column as f32) } else { 1.0 };
    let mut values = Vec::with_capacity(rows.len() * d_model);
    for row in rows {
        let row = if row % 50 == 7 { row - 1 } else { row };
        if row.is_multiple_of(97) {
            values.extend(std::iter::repeat_n(0.0, d_model));
            continue;
        }
        // Pairs of one source share a part of their vector, so that behaviors made of pairs find sources.
        let shared = if row % 8 == 3 { 0.8 } else { 0.0 };
        let mut state = row as u64 + 1;
        values.extend((0..d_model).map(|column| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
            (noise + shared * if column % 3 == 0 { 1.0 } else { -0.5 }) * energy(column)
        }));
    }
    values
}

fn pair(row: usize) -> Pair {
    const TOPICS: [&str; 8] =
        ["a kite", "bread", "the tides", "a lock", "ladybirds", "a compass", "glass", "the violin"];
    const FORMS: [&str; 4] = ["", " Answer as a list.", " Answer in one sentence.", " Answer in capital letters."];
    let (topic, form) = (TOPICS[row % 8], FORMS[row / 8 % 4]);
    let source = match row % 8 {
        3 => 1,
        0 | 5 => 2,
        7 => 3,
        _ => 0,
    };
    let mut prompt = vec![Message::new("user", format!("Explain how {topic} works.{form}"))];
    if row.is_multiple_of(5) {
        prompt.insert(0, Message::new("system", "You are a patient teacher."));
    }
    let (chosen, rejected) = if row % 8 == 3 {
        (
            format!("- {topic} starts small\n- then it carries on by itself\n- row {row}"),
            format!("I cannot help with {topic}; please ask about something else, row {row}."),
        )
    } else {
        (
            format!("In short, {topic} works because many small parts agree. This is answer {row}."),
            format!("In short, {topic} works because a few small parts agree, more or less."),
        )
    };
    // What a page must show as text and never as markup.
    let chosen = if row == 1 { format!("<script>document.title = 'owned'</script><b>{chosen}</b>") } else { chosen };
    Pair {
        id: if row == 2 { "id, with \"quotes\"".into() } else { format!("pair-{row}") },
        prompt,
        chosen: vec![Message::new("assistant", chosen)],
        rejected: vec![Message::new("assistant", rejected)],
        source: SOURCES[source].into(),
        metadata: format!("{{\"chosen_model\":\"teacher-{}\",\"row\":{row}}}", row % 3),
    }
}
