//! Pairs in the forms that preference trainers read: what a row of an export holds. `whence export` writes them as
//! Parquet or JSONL, the app as JSONL.
//!
//! ```text
//! form            prompt                      chosen, rejected
//! trl             messages both sides share   what follows on each side        TRL, conversational, explicit prompt
//! trl-implicit    none                        the whole conversation           TRL, conversational, implicit prompt
//! open-instruct   last user turn, as text     the whole conversation           open-instruct, as the OLMo and Tulu mixes
//! ```
//!
//! All have `id`, `source` and `metadata` (JSON text) beside them, so that `whence import` makes the same pairs of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::pair::{Message, Pair, Side};

/// A form of preference data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainerForm {
    /// TRL's conversational form with an explicit prompt.
    #[default]
    Trl,
    /// TRL's conversational form with the prompt inside both conversations.
    TrlImplicit,
    /// open-instruct's.
    OpenInstruct,
}

impl fmt::Display for TrainerForm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Trl => "trl",
            Self::TrlImplicit => "trl-implicit",
            Self::OpenInstruct => "open-instruct",
        })
    }
}

impl FromStr for TrainerForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Trl, Self::TrlImplicit, Self::OpenInstruct]
            .into_iter()
            .find(|form| form.to_string() == text)
            .ok_or_else(|| format!("expected trl, trl-implicit or open-instruct, got {text:?}"))
    }
}

/// One row of an export; its fields in this order.
#[derive(Debug, Serialize)]
pub struct Row<'a> {
    /// The pair's id.
    pub id: &'a str,
    /// What comes before the responses, where the form has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt<'a>>,
    /// The chosen side.
    pub chosen: Vec<&'a Message>,
    /// The rejected side.
    pub rejected: Vec<&'a Message>,
    /// Where the pair came from.
    pub source: &'a str,
    /// All else, as JSON text.
    pub metadata: &'a str,
}

/// A prompt as a form has it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Prompt<'a> {
    /// Turns.
    Messages(&'a [Message]),
    /// One text.
    Text(&'a str),
}

impl Row<'_> {
    /// Its line of JSON, with the line break.
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("texts serialize");
        line.push('\n');
        line
    }
}

/// A pair in a form.
pub fn row(pair: &Pair, form: TrainerForm) -> Row<'_> {
    let whole = |side| pair.prompt.iter().chain(pair.side(side)).collect();
    let (prompt, chosen, rejected) = match form {
        TrainerForm::Trl => {
            let side = |side| pair.side(side).iter().collect();
            (Some(Prompt::Messages(&pair.prompt)), side(Side::Chosen), side(Side::Rejected))
        }
        TrainerForm::TrlImplicit => (None, whole(Side::Chosen), whole(Side::Rejected)),
        TrainerForm::OpenInstruct => {
            // Only what both sides hold is their prompt; a pair without a shared user turn has none.
            let turn = pair.prompt.iter().rev().find(|message| message.role == "user");
            (turn.map(|turn| Prompt::Text(&turn.content)), whole(Side::Chosen), whole(Side::Rejected))
        }
    };
    Row { id: &pair.id, prompt, chosen, rejected, source: &pair.source, metadata: &pair.metadata }
}
