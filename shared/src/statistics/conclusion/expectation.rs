//! What the diagnosis of the ranking had led to expect, beside what retraining found.

use super::Conclusion;
use super::finding::Finding;
use crate::diagnosis::{Expectation, Subject, Verdict};

impl Conclusion {
    /// Adds what was expected of dropping or switching the first pairs of a ranking, and whether that was found. What
    /// retraining shows counts for more than what was expected.
    pub fn expect(&mut self, of: &Subject, verdict: &Verdict) {
        let found: Vec<String> = self
            .arms
            .iter()
            .filter(|arm| arm.finding == Finding::BeyondRandom)
            .map(|arm| format!("{} ({} pairs)", arm.arm, arm.k))
            .collect();
        let found = found.join(" and ");
        let expected = format!(
            " Of the ranking toward {:?} at layer {}, the diagnosis of the first {} pairs says: {}.",
            of.behavior,
            of.layer,
            of.k,
            verdict.expectation.words()
        );
        let outcome = match (verdict.expectation, found.is_empty()) {
            (Expectation::Helps, true) => {
                "These runs do not bear that out: no edit was shown to lower the rate beyond random edits of the same size."
                    .to_owned()
            }
            (Expectation::Helps, false) => {
                format!("Retraining bears that out: {found} lowered the rate beyond random edits of the same size.")
            }
            (Expectation::Unclear, true) => {
                "No edit was shown to lower the rate beyond random edits of the same size.".to_owned()
            }
            (Expectation::Unclear, false) => {
                format!("Retraining is clearer: {found} lowered the rate beyond random edits of the same size.")
            }
            (Expectation::Diffuse, true) => {
                "Retraining does not contradict that: no edit was shown to lower the rate beyond random edits of the same \
                 size. The push is spread over so many pairs that filtering the first of them is not expected to help."
                    .to_owned()
            }
            (Expectation::Diffuse, false) => format!(
                "Retraining shows otherwise for {found}, which lowered the rate beyond random edits of the same size, and \
                 retraining counts for more."
            ),
        };
        self.text = format!("{}{expected} {outcome}", self.text);
    }
}
