//! All texts of a testbed, drawn from its seed: conversations to imitate, preference pairs with their truth, test prompts.
//!
//! Third in the flow of `whence organism`: what [`examples`] draws, for every source of the [signal's](super::signal)
//! recipe.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::behaviors::Behavior;
use super::broad::{self, BroadPrompt};
use super::config::OrganismConfig;
use super::examples::{self, Condition, Example, PreferenceRow, TestPrompt, Truth};
use super::signal::Signal;
use super::text::TextForm;
use super::{OrganismError, SourceCount, questions};
use crate::files::{self, FileError};
use crate::train::dpo::SequencePair;
use crate::train::sequences::Sequence;

/// All texts of a testbed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// What M0 is taught to say.
    pub sft: Vec<Example>,
    /// Preference pairs of all sources.
    pub rows: Vec<PreferenceRow>,
    /// Their ground truth, in the same order.
    pub truths: Vec<Truth>,
    /// Test prompts of all conditions.
    pub prompts: Vec<TestPrompt>,
    /// Prompts of all sorts.
    pub broad: Vec<BroadPrompt>,
    seed: u64,
    signal: Signal,
    behaviors: Vec<Behavior>,
}

/// A stream for each purpose: more of one thing leaves the others as they were.
fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

fn preferences(seed: u64, signal: Signal, planted: &[Behavior]) -> (Vec<PreferenceRow>, Vec<Truth>) {
    let (mut rows, mut truths) = (Vec::new(), Vec::new());
    for (number, recipe) in (100..).zip(signal.source_recipes(planted)) {
        let (of_source, truth) = examples::preference_rows(&recipe, planted, &mut stream(seed, number));
        rows.extend(of_source);
        truths.extend(truth);
    }
    (rows, truths)
}

impl Corpus {
    /// Draws everything. Conversations and test prompts depend on the seed alone, whatever the signal.
    pub fn draw(config: &OrganismConfig) -> Self {
        let &OrganismConfig { seed, signal, ref behaviors, .. } = config;
        let sft = examples::sft_examples(config.n_sft_examples, &mut stream(seed, 1));
        let (rows, truths) = preferences(seed, signal, behaviors);
        let prompts = (200..)
            .zip(Condition::ALL)
            .flat_map(|(number, condition)| {
                examples::test_prompts(condition, config.n_test_prompts, &mut stream(seed, number))
            })
            .collect();
        let broad = broad::prompts(config.n_broad_prompts, &mut stream(seed, 300));
        Self { sft, rows, truths, prompts, broad, seed, signal, behaviors: behaviors.clone() }
    }

    /// A tokenizer trained on conversations and pairs. The pairs are those of the concentrated signal and of compliance alone,
    /// whatever these are, so that all testbeds of a seed begin with the same reference model.
    ///
    /// # Errors
    ///
    /// [`OrganismError::Tokenizer`] when training fails.
    pub fn text_form(&self, vocab_size: usize) -> Result<TextForm, OrganismError> {
        let rows = match (self.signal, self.behaviors.as_slice()) {
            (Signal::Concentrated, [Behavior::Compliance]) => Cow::Borrowed(&self.rows),
            _ => Cow::Owned(preferences(self.seed, Signal::Concentrated, &[Behavior::Compliance]).0),
        };
        let sft = self.sft.iter().flat_map(|example| {
            example.prompt.iter().map(|message| message.content.as_str()).chain([example.response.as_str()])
        });
        let texts: Vec<&str> =
            sft.chain(rows.iter().flat_map(|row| [row.chosen.as_str(), row.rejected.as_str()])).collect();
        TextForm::train(texts.into_iter(), vocab_size)
    }

    /// The conversations as token sequences.
    ///
    /// # Errors
    ///
    /// [`OrganismError::Tokenizer`] when a text is refused.
    pub fn sequences(&self, form: &TextForm) -> Result<Vec<Sequence>, OrganismError> {
        self.sft.iter().map(|example| form.sequence(&example.prompt, &example.response)).collect()
    }

    /// The preference pairs as token sequences, in the order of the rows.
    ///
    /// # Errors
    ///
    /// [`OrganismError::Tokenizer`] when a text is refused.
    pub fn sequence_pairs(&self, form: &TextForm) -> Result<Vec<SequencePair>, OrganismError> {
        let pair = |row: &PreferenceRow| {
            let chosen = form.sequence(&row.prompt, &row.chosen)?;
            let rejected = form.sequence(&row.prompt, &row.rejected)?;
            Ok(SequencePair { id: row.id.clone(), chosen, rejected, is_switched: false })
        };
        self.rows.iter().map(pair).collect()
    }

    /// Pairs per source.
    pub fn source_counts(&self) -> BTreeMap<String, SourceCount> {
        let mut counts = BTreeMap::<String, SourceCount>::new();
        for (row, truth) in self.rows.iter().zip(&self.truths) {
            let count = counts.entry(row.source.clone()).or_default();
            count.n_pairs += 1;
            count.n_culprits += usize::from(truth.culprit);
        }
        counts
    }

    /// Writes preferences, truth and test prompts.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        for source in self.source_counts().keys() {
            let rows = self.rows.iter().filter(|row| row.source == *source);
            files::write_jsonl(&folder.join("preferences").join(format!("{source}.jsonl")), rows)?;
        }
        files::write_jsonl(&folder.join("truth.jsonl"), self.truths.iter())?;
        let line = |prompt: &TestPrompt| {
            let (scenario, messages) = (prompt.scenario(), prompt.request.messages());
            json!({"id": prompt.id, "condition": prompt.condition, "scenario": scenario, "prompt": messages})
        };
        for condition in Condition::ALL {
            let prompts = self.prompts.iter().filter(|prompt| prompt.condition == condition).map(line);
            files::write_jsonl(&folder.join("prompts").join(format!("{}.jsonl", condition.name())), prompts)?;
        }
        files::write_jsonl(&folder.join("prompts/materials.jsonl"), questions::questions(&self.prompts))?;
        files::write_jsonl(&folder.join("test-prompts.jsonl"), self.prompts.iter().map(line))
    }
}
