//! What `whence tokens` would have said of two pairs: made-up parts of their real words.

use whence_shared::pair::Side;
use whence_shared::study::TextChunk;
use whence_shared::tokens::{self, FORMAT, PairTokens, SideTokens, TokensView};

use super::StaticStudy;

/// Rows that are read token by token.
pub const ROWS: [u32; 2] = [1, 3];

impl StaticStudy {
    /// Says what the words of two pairs add to their scores with the first behavior at layer 1.
    ///
    /// # Panics
    ///
    /// Panics when a file cannot be read or written.
    pub fn write_tokens(&mut self) -> TokensView {
        let texts = std::fs::read(self.path("texts/0.json")).unwrap();
        let texts: TextChunk = serde_json::from_slice(&texts).unwrap();
        let behavior = &mut self.view.behaviors[0];
        behavior.inputs = "made for tests".into();
        behavior.token_layers = vec![1];
        let pair = |row: u32| {
            let pair = &texts.pairs[row as usize];
            let side = |side: Side, sign: f32| {
                let texts: Vec<String> = pair.response(side).split_inclusive(' ').map(str::to_owned).collect();
                // The second raises most, the third lowers half as much, the rest hardly counts.
                let part = |at: usize| sign * [0.001, 0.2, -0.1].get(at).copied().unwrap_or(0.0001);
                SideTokens { parts: (0..texts.len()).map(part).collect(), texts }
            };
            let (chosen, rejected) = (side(Side::Chosen, 1.0), side(Side::Rejected, -0.5));
            PairTokens { row, id: pair.id.clone(), chosen, rejected }
        };
        let view = TokensView {
            format: FORMAT.into(),
            behavior: behavior.name.clone(),
            layer: 1,
            inputs: behavior.inputs.clone(),
            pairs: ROWS.map(pair).to_vec(),
        };
        let path = tokens::path(&view.behavior, 1);
        self.write(&path, &serde_json::to_vec(&view).unwrap());
        self.save_view();
        view
    }
}
