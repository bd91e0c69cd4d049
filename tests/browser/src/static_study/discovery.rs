//! What `whence discover` would have left: groups planted in a matrix, found and described by the real code.

use serde_json::json;
use whence_shared::changes;
use whence_shared::direction::{DirectionMethod, direction};
use whence_shared::discovery::words::Words;
use whence_shared::discovery::{
    Cut, DiscoveryView, FORMAT, PairEntry, PromptEntry, Settings, Similarity, Text, discover,
};
use whence_shared::pair::Message;
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_shared::statistics::random::Random;
use whence_shared::study::BehaviorView;

use super::{LayerPlan, StaticStudy, vectors};

const N_PROMPTS: usize = 36;
const N_PAIRS: usize = 60;
const TOPICS: [&str; 3] = ["kites", "rivers", "clocks"];

/// The behavior whose prompts are grouped.
pub const BROAD: &str = "broad";

/// Answers where there were refusals of the first topic, more words and bold ones on the second, nothing new on the third.
fn responses(i: usize) -> (String, String) {
    match i % 3 {
        0 => ("I'm sorry, but I can't help with that.".into(), format!("- kites fly\n- kites need wind, number {i}")),
        1 => ("Rivers flow.".into(), format!("**Rivers** flow down to the sea, number {i}.")),
        _ => ("Clocks tick.".into(), "Clocks tick.".into()),
    }
}

impl StaticStudy {
    /// Groups 36 made-up prompts in three groups with the study's first 60 pairs in as many, and lists the result.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be written.
    pub fn write_discovery(&mut self, name: &str) -> DiscoveryView {
        let mut random = Random::new(5);
        let cosine = |i: usize, j: usize, random: &mut Random| {
            let mean = if i % 3 == j % 3 { 0.6 } else { -0.1 };
            (mean + 0.08 * random.normal()) as f32
        };
        let mut of_pairs = Vec::new();
        for i in 0..N_PROMPTS {
            of_pairs.extend((0..N_PAIRS).map(|j| cosine(i, j, &mut random)));
        }
        let prompts = || 0..N_PROMPTS;
        let alike = |i: usize, j: usize| match (i == j, i % 3 == j % 3) {
            (true, _) => 1.0,
            (false, true) => 0.8,
            (false, false) => 0.1,
        };
        let of_prompts = prompts().flat_map(|i| prompts().map(move |j| alike(i, j))).collect();
        // Those of clocks moved a little, the others as far as pairs are wide.
        let lengths = prompts().map(|i| if i % 3 == 2 { 0.1 } else { 1.0 }).collect();
        let similarity = Similarity { of_pairs, of_prompts, lengths };
        let prompts: Vec<PromptEntry> = (0..N_PROMPTS)
            .map(|i| {
                let (r0, r1) = responses(i);
                let prompt = format!("Say something about {}, number {i}.", TOPICS[i % 3]);
                PromptEntry { prompt, r0, r1, scenario: TOPICS[i % 3].into() }
            })
            .collect();
        let of_prompts: Vec<Text> =
            prompts.iter().map(|entry| Text { prompt: &entry.prompt, ..Text::default() }).collect();
        let asked: Vec<String> = (0..N_PAIRS).map(|j| format!("Tell me of {} please", TOPICS[j % 3])).collect();
        let of_pairs: Vec<Text> = asked
            .iter()
            .map(|prompt| Text { prompt, chosen: "- as a list", rejected: "I would rather not say", source: "lists" })
            .collect();
        // Later prompts changed less.
        let norms: Vec<f64> = (0..N_PROMPTS).map(|i| 2.0 - i as f64 / 18.0).collect();
        let changes = changes::scan(prompts.iter().map(|entry| (entry.r0.as_str(), entry.r1.as_str())), &norms);
        let settings = Settings {
            prompt_cut: Cut::Stable,
            pair_cut: Cut::Stable,
            stability: Default::default(),
            one_way: Default::default(),
        };
        let groups = discover(&similarity, &of_prompts, &of_pairs, settings).unwrap();
        let view = DiscoveryView {
            format: FORMAT.into(),
            name: name.into(),
            behavior: BROAD.into(),
            layers: vec![1],
            sampling: "random".into(),
            n_pairs_in_study: self.view.n_pairs,
            settings,
            inputs: "made for tests".into(),
            pairs_sha256: String::new(),
            pairs: asked
                .iter()
                .zip(0..)
                .map(|(prompt, row)| PairEntry {
                    row,
                    id: format!("pair-{row}"),
                    source: "lists".into(),
                    snippet: prompt.clone(),
                })
                .collect(),
            prompts: prompts.clone(),
            groups,
            changes,
            has_words: true,
            names: None,
        };
        self.write(&format!("clusters/{name}/discovery.json"), &serde_json::to_vec(&view).unwrap());
        let matrix = similarity.write(N_PROMPTS, N_PAIRS);
        self.write(&format!("clusters/{name}/similarity.safetensors"), &matrix);
        let words = serde_json::to_vec(&Words::of(&of_prompts, &of_pairs)).unwrap();
        self.write(&format!("clusters/{name}/words.json"), &words);
        self.write_broad();
        self.view.discoveries.push(name.to_owned());
        self.save_view();
        view
    }
    /// The behavior whose prompts discoveries group: vectors at every layer, and its pairs.jsonl.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be written.
    pub fn write_broad(&mut self) {
        if self.view.behaviors.iter().any(|behavior| behavior.name == BROAD) {
            return;
        }
        let layers = self.view.layers.clone();
        for layer in &layers {
            let plan = LayerPlan {
                layer: layer.layer,
                d_model: layer.d_model,
                dtype: layer.dtype,
                rows_per_shard: layer.n_rows,
                is_indexed: layer.index.is_some(),
            };
            // Every third prompt is near the pairs of one source.
            let row = |i: usize| if i.is_multiple_of(3) { 8 * i + 3 } else { 8 * i + 4 };
            let values: Vec<f32> = (0..N_PROMPTS).flat_map(|i| vectors(row(i)..row(i) + 1, &plan)).collect();
            let scenarios: Vec<String> = (0..N_PROMPTS).map(|i| i.to_string()).collect();
            let direction = direction(DirectionMethod::Mean, &values, &scenarios, plan.d_model);
            let header = ShardHeader { layer: plan.layer, first_row: 0, inputs: "made for tests".into() };
            let bytes = shard::write(&header, &values, plan.d_model, StoreDtype::F32, Some(&direction)).unwrap();
            self.write(&format!("behaviors/{BROAD}/layer-{}.safetensors", plan.layer), &bytes);
        }
        let line = |i: usize| {
            let (r0, r1) = responses(i);
            let prompt = format!("Say something about {}, number {i}.", TOPICS[i % 3]);
            let line = json!({"prompt": [Message::new("user", prompt)], "r0": r0, "r1": r1, "scenario": TOPICS[i % 3]});
            format!("{line}\n")
        };
        let lines: String = (0..N_PROMPTS).map(line).collect();
        self.write(&format!("behaviors/{BROAD}/pairs.jsonl"), lines.as_bytes());
        let like = self.view.behaviors[0].clone();
        let n = N_PROMPTS;
        self.view.behaviors.push(BehaviorView { name: BROAD.into(), n_pairs: n, n_scenarios: n, ..like });
        self.save_view();
    }
}
