//! What `whence discover` would have left: groups planted in a matrix, found and described by the real code.

use whence_shared::discovery::{
    Cut, DiscoveryView, FORMAT, PairEntry, PromptEntry, Settings, Text, discover, write_similarity,
};
use whence_shared::statistics::random::Random;

use super::StaticStudy;

const N_PROMPTS: usize = 36;
const N_PAIRS: usize = 60;
const TOPICS: [&str; 3] = ["kites", "rivers", "clocks"];

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
        let mut similarity = Vec::new();
        for i in 0..N_PROMPTS {
            similarity.extend((0..N_PAIRS).map(|j| cosine(i, j, &mut random)));
        }
        let prompts: Vec<PromptEntry> = (0..N_PROMPTS)
            .map(|i| PromptEntry {
                prompt: format!("Say something about {}, number {i}.", TOPICS[i % 3]),
                r0: "I would rather not say.".into(),
                r1: format!("- {} are fine", TOPICS[i % 3]),
                scenario: TOPICS[i % 3].into(),
            })
            .collect();
        let of_prompts: Vec<Text> =
            prompts.iter().map(|entry| Text { prompt: &entry.prompt, ..Text::default() }).collect();
        let asked: Vec<String> = (0..N_PAIRS).map(|j| format!("Tell me of {} please", TOPICS[j % 3])).collect();
        let of_pairs: Vec<Text> = asked
            .iter()
            .map(|prompt| Text { prompt, chosen: "- as a list", rejected: "I would rather not say", source: "lists" })
            .collect();
        let settings = Settings { prompt_cut: Cut::Stable, pair_cut: Cut::Stable, stability: Default::default() };
        let groups = discover(&similarity, &of_prompts, &of_pairs, settings).unwrap();
        let view = DiscoveryView {
            format: FORMAT.into(),
            name: name.into(),
            behavior: self.view.behaviors[0].name.clone(),
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
            prompts,
            groups,
            names: None,
        };
        self.write(&format!("clusters/{name}/discovery.json"), &serde_json::to_vec(&view).unwrap());
        let matrix = write_similarity(&similarity, N_PROMPTS, N_PAIRS);
        self.write(&format!("clusters/{name}/similarity.safetensors"), &matrix);
        self.view.discoveries.push(name.to_owned());
        self.save_view();
        view
    }
}
