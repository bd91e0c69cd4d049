//! Covered texts: what pairs say is hidden until asked for, so that nobody reads what they did not choose to. One switch,
//! remembered by this browser.
//!
//! A pair is *flagged* where its metadata says that it is harmful or toxic ([`is_flagged`]); flagged pairs are covered unless
//! the switch says otherwise. Most data flags nothing: then the switch covers every pair, and is off at first.

use leptos::prelude::*;
use serde_json::Value;
use whence_shared::pair::Pair;

/// Where the switch is remembered.
const KEY: &str = "whence-covers";
/// Keys of metadata that flag a pair where they are true, yes, harmful or unsafe, or a probability of one half and more.
const FLAGS: [&str; 8] = ["harmful", "is_harmful", "toxic", "is_toxic", "toxicity", "unsafe", "is_unsafe", "nsfw"];

/// What the reader wants covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Nothing was chosen: flagged pairs.
    #[default]
    Flagged,
    /// Every pair.
    All,
    /// None.
    Nothing,
}

/// The switch; cheap to copy.
#[derive(Clone, Copy)]
pub struct Covers {
    /// What is covered.
    pub wanted: RwSignal<Wanted>,
    /// Whether every text is covered.
    pub is_on: Memo<bool>,
}

impl Covers {
    /// As it was remembered. Called once, by the root component.
    pub fn start() -> Self {
        let kept = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
        let wanted = RwSignal::new(match kept.as_deref() {
            Some("all") => Wanted::All,
            Some("nothing") => Wanted::Nothing,
            _ => Wanted::Flagged,
        });
        Self { wanted, is_on: Memo::new(move |_| wanted.get() == Wanted::All) }
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// Covers every text, or none.
    pub fn toggle(self) {
        let (wanted, name) = match self.wanted.get_untracked() {
            Wanted::All => (Wanted::Nothing, "nothing"),
            Wanted::Flagged | Wanted::Nothing => (Wanted::All, "all"),
        };
        self.wanted.set(wanted);
        if let Some(storage) = storage() {
            // Where nothing can be kept, the switch holds for as long as the page.
            let _ = storage.set_item(KEY, name);
        }
    }

    /// Whether a pair's texts are covered until asked for. Tracked.
    pub fn covers(self, pair: &Pair) -> bool {
        match self.wanted.get() {
            Wanted::All => true,
            Wanted::Nothing => false,
            Wanted::Flagged => is_flagged(pair),
        }
    }
}

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}

/// Whether a pair's metadata says that it is harmful.
pub fn is_flagged(pair: &Pair) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str(&pair.metadata) else { return false };
    fields.iter().any(|(key, value)| {
        let is_flag = FLAGS.contains(&key.to_lowercase().as_str());
        is_flag
            && match value {
                Value::Bool(is_true) => *is_true,
                Value::Number(number) => number.as_f64().is_some_and(|share| share >= 0.5),
                Value::String(text) => {
                    matches!(text.to_lowercase().as_str(), "true" | "yes" | "1" | "harmful" | "toxic" | "unsafe")
                }
                _ => false,
            }
    })
}
