//! From a conversation to token ids, and which of them are the response.
//!
//! The response is the content of the last assistant message. Template text after it (end-of-turn tokens) is read by the
//! model but never pooled.

use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;
use tokenizers::Tokenizer;
use whence_shared::pair::Message;

use super::template::{ChatTemplate, TemplateChoice};
use crate::files;
use crate::model::{ModelError, ModelFolder};

/// A tokenised conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids of the whole text, cut to the encoder's maximum.
    pub ids: Vec<u32>,
    /// Which of them are the response; never empty.
    pub response: Range<usize>,
    /// One past the last token that counts for the response's log-probability.
    pub turn_end: usize,
    /// Response tokens that did not fit.
    pub n_cut: usize,
}

/// Why one conversation has no response tokens to read. Not fatal: the row is reported and goes without a vector.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// The response is the empty text, or tokenises to nothing.
    #[error("the response is empty")]
    EmptyResponse,
    /// Nothing of the response fits.
    #[error("the prompt alone has {n_prompt_tokens} tokens, the limit is {max_tokens}; raise --max-tokens")]
    PromptTooLong {
        /// Tokens before the response.
        n_prompt_tokens: usize,
        /// The limit.
        max_tokens: usize,
    },
    /// The chat template raised an error.
    #[error("the chat template refuses this conversation: {0}")]
    Template(String),
    /// The tokenizer raised an error.
    #[error("the tokenizer refuses this text: {0}")]
    Tokenizer(String),
}

/// Why an encoder cannot be made.
#[derive(Debug, Error)]
pub enum EncoderError {
    /// `--template model`, but the model has none.
    #[error("{model} has no chat template (base model?): use --template none for raw text, or --template FILE.jinja", model = model.display())]
    NoTemplate {
        /// The model folder.
        model: PathBuf,
    },
    /// The template is not valid Jinja.
    #[error("chat template of {origin}: {reason}", origin = origin.display())]
    BadTemplate {
        /// The model folder or template file.
        origin: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The template file cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Turns conversations into tokens, the same way every time.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    template_source: String,
    name: String,
    max_tokens: usize,
}

/// Stands in for the response while the template is rendered a first time, to learn what it puts before and after. From
/// the private use area of Unicode: no template treats it specially and no data contains it.
const PLACEHOLDER: &str = "\u{F8F0}\u{F8F1}\u{F8F2}";

impl TextEncoder {
    /// An encoder for a model's tokenizer and a text form. Longer texts are cut at `max_tokens` on the right.
    ///
    /// # Errors
    ///
    /// When there is no such template or it is not valid.
    pub fn new(model: &ModelFolder, choice: &TemplateChoice, max_tokens: usize) -> Result<Self, EncoderError> {
        let (source, origin, name) = match choice {
            TemplateChoice::None => (None, model.path().to_owned(), "none".to_owned()),
            TemplateChoice::Model => {
                let source = model.chat_template.clone();
                let source = source.ok_or_else(|| EncoderError::NoTemplate { model: model.path().into() })?;
                (Some(source), model.path().to_owned(), "model".to_owned())
            }
            TemplateChoice::File(path) => {
                let bytes = files::read(path).map_err(ModelError::from)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (Some(String::from_utf8_lossy(&bytes).into_owned()), path.clone(), name)
            }
        };
        let template = source
            .as_deref()
            .map(|source| ChatTemplate::new(source, &model.bos_token, &model.eos_token))
            .transpose()
            .map_err(|error| EncoderError::BadTemplate { origin, reason: format!("{error:#}") })?;
        Ok(Self {
            tokenizer: model.tokenizer.clone(),
            template,
            template_source: source.unwrap_or_default(),
            name,
            max_tokens,
        })
    }

    /// `model`, `none` or the template file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Source of the template; empty for none.
    pub fn template_source(&self) -> &str {
        &self.template_source
    }

    /// SHA-256 of the template's source, in hex; empty for none.
    pub fn template_sha256(&self) -> String {
        match self.template_source() {
            "" => String::new(),
            source => files::sha256(source.as_bytes()),
        }
    }

    /// Longest text in tokens.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The text of a conversation that ends in an assistant message, and where in it (in bytes) the response stands.
    ///
    /// Without a template, earlier messages are joined by blank lines and the response follows at once.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the template refuses the conversation.
    pub fn text(&self, conversation: &[Message]) -> Result<(String, Range<usize>), Unreadable> {
        let Some((response, context)) = conversation.split_last() else { return Err(Unreadable::EmptyResponse) };
        let Some(template) = &self.template else {
            let mut text = context.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n");
            let start = text.len();
            text.push_str(&response.content);
            let end = text.len();
            return Ok((text, start..end));
        };
        let render = |messages: &[Message]| {
            template.render(messages, false).map_err(|error| Unreadable::Template(format!("{error:#}")))
        };
        let text = render(conversation)?;
        let mut probe = conversation.to_vec();
        probe[context.len()].content = PLACEHOLDER.to_owned();
        let probe = render(&probe)?;
        // A template may trim the response or leave parts of it out: what counts is what stands between the texts that
        // it puts before and after.
        let around = probe.split_once(PLACEHOLDER).filter(|(before, after)| {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        });
        if let Some((before, after)) = around {
            let span = before.len()..text.len() - after.len();
            return Ok((text, span));
        }
        // What stands around the response depends on the response itself: find it as it is or trimmed, last occurrence.
        let content = response.content.as_str();
        let forms = [content, content.trim_start(), content.trim_end(), content.trim()];
        match forms.into_iter().find_map(|form| text.rfind(form).map(|start| start..start + form.len())) {
            Some(span) => Ok((text, span)),
            None => Err(Unreadable::Template("it does not put the last assistant message into the text".into())),
        }
    }

    /// Tokens of a conversation that ends in an assistant message.
    ///
    /// Special tokens are added only without a template: a template writes its own.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when there is no response token to read.
    pub fn encode(&self, conversation: &[Message]) -> Result<Tokens, Unreadable> {
        let (text, span) = self.text(conversation)?;
        if span.is_empty() {
            return Err(Unreadable::EmptyResponse);
        }
        let encoding = self
            .tokenizer
            .encode(text.as_str(), self.template.is_none())
            .map_err(|error| Unreadable::Tokenizer(error.to_string()))?;
        let offsets = encoding.get_offsets();
        // Special tokens added by the tokenizer have the offsets (0, 0) and lie in no span.
        let in_span = |&(start, end): &(usize, usize)| start < span.end && end > span.start;
        let first = offsets.iter().position(in_span).ok_or(Unreadable::EmptyResponse)?;
        let last = offsets.iter().rposition(in_span).ok_or(Unreadable::EmptyResponse)?;
        if first >= self.max_tokens {
            return Err(Unreadable::PromptTooLong { n_prompt_tokens: first, max_tokens: self.max_tokens });
        }
        let end = (last + 1).min(self.max_tokens);
        let mut ids = encoding.get_ids().to_vec();
        ids.truncate(self.max_tokens);
        Ok(Tokens { ids, response: first..end, turn_end: end, n_cut: last + 1 - end })
    }
}
