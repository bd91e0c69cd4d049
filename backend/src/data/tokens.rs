//! From a conversation to token ids, and which of them are the response.
//!
//! The response is the content of the last assistant message. Template text after it (end-of-turn tokens) is read by the
//! model but never pooled; it belongs to the response where log-probabilities are concerned.
//!
//! Special tokens are those of transformers: a template writes its own and none are added to its text; without a
//! template, the tokenizer adds what the post-processor in tokenizer.json says. (transformers 5 ignores `add_bos_token`
//! and `add_eos_token` of tokenizer_config.json where there is a tokenizer.json, and so does this.)
//!
//! Truncation: a text of more than `max_tokens` tokens loses tokens at its end, so the response is what gets shorter and
//! the prompt never is; how many response tokens went is counted in [`Tokens::n_cut`], and a response of which nothing
//! would be left is [`Unreadable::PromptTooLong`].

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;
use tokenizers::{Encoding, Tokenizer};
use whence_shared::pair::Message;

use super::template::{ChatTemplate, TemplateChoice, needs_what_is_not_there};
use crate::files;
use crate::model::{ModelError, ModelFolder};

/// A tokenised conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids of the whole text, cut to the encoder's maximum.
    pub ids: Vec<u32>,
    /// Which of them are the response; never empty.
    pub response: Range<usize>,
    /// One past the last token that belongs to the response for log-probabilities: the tokens after the response up to
    /// and including the first special one (end of turn, end of sequence), which is what a model must say to stop.
    /// Equal to `response.end` when no special token follows, as without a template and a tokenizer that adds none.
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
    /// The template is not valid Jinja, or asks for what templates are not given here.
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
    /// Ids that can end a turn: added tokens, be they marked special or not, as chat formats define them.
    added_tokens: HashSet<u32>,
    template: Option<ChatTemplate>,
    template_source: String,
    name: String,
    max_tokens: usize,
    context: usize,
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
        let bad = |error| EncoderError::BadTemplate { origin: origin.clone(), reason: format!("{error:#}") };
        let template = source
            .as_deref()
            .map(|source| ChatTemplate::new(source, &model.bos_token, &model.eos_token))
            .transpose()
            .map_err(bad)?;
        // What the template lacks here it lacks for every conversation: said once, and not for every row.
        let simplest = [Message::new("user", "a"), Message::new("assistant", "b")];
        if let Some(Err(error)) = template.as_ref().map(|template| template.render(&simplest, false))
            && needs_what_is_not_there(&error)
        {
            return Err(bad(error));
        }
        let mut added_tokens: HashSet<u32> = model.tokenizer.get_added_tokens_decoder().into_keys().collect();
        added_tokens.extend(model.tokenizer.token_to_id(&model.eos_token));
        Ok(Self {
            tokenizer: model.tokenizer.clone(),
            added_tokens,
            template,
            template_source: source.unwrap_or_default(),
            name,
            max_tokens,
            context: model.config.context(),
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

    /// Longest text, in tokens, that the model was made for.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The text of a conversation that ends in an assistant message, and where in it (in bytes) the response stands.
    ///
    /// Without a template, earlier messages are joined by blank lines and the response follows at once. With one, the
    /// response is what stands between the texts that the template puts before and after it. These are learned by
    /// rendering again, not by looking for the response:
    ///
    /// 1. with a placeholder in the response's place: for templates that treat every response alike, though they may
    ///    trim it or leave parts of it out (such as the reasoning of an earlier turn);
    /// 2. with placeholders around the response: for templates that look at the response's form;
    /// 3. up to where the assistant begins to speak (`add_generation_prompt`): for templates that take a response apart
    ///    and put it together again, as those of reasoning models do with `<think>`. The response is then everything
    ///    that the model would have had to say, reasoning included.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the template refuses the conversation, or what it puts around the response is in none of the
    /// three ways the same for this response.
    pub fn text(&self, conversation: &[Message]) -> Result<(String, Range<usize>), Unreadable> {
        let Some((response, context)) = conversation.split_last() else { return Err(Unreadable::EmptyResponse) };
        let Some(template) = &self.template else {
            let mut text = joined(context);
            let start = text.len();
            text.push_str(&response.content);
            let end = text.len();
            return Ok((text, start..end));
        };
        let refused = |error: minijinja::Error| Unreadable::Template(format!("{error:#}"));
        let render_with = |content: String| {
            let mut probe = conversation.to_vec();
            probe[context.len()].content = content;
            template.render(&probe, false).map_err(refused)
        };
        let text = template.render(conversation, false).map_err(refused)?;
        let between = |before: &str, after: &str| {
            let fits = text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after);
            fits.then(|| before.len()..text.len() - after.len())
        };
        let probe = render_with(PLACEHOLDER.to_owned())?;
        let Some((before, after)) = probe.split_once(PLACEHOLDER) else {
            return Err(Unreadable::Template("it does not put the last assistant message into the text".into()));
        };
        if let Some(span) = between(before, after) {
            return Ok((text, span));
        }
        // A template may refuse a response in this disguise, or take it apart: then there is nothing to learn from it.
        let wrapped = render_with(format!("{PLACEHOLDER}{}{PLACEHOLDER}", response.content));
        if let Ok(wrapped) = wrapped
            && let Some((before, rest)) = wrapped.split_once(PLACEHOLDER)
            && let Some((_, after)) = rest.rsplit_once(PLACEHOLDER)
            && let Some(span) = between(before, after)
        {
            return Ok((text, span));
        }
        let prompt = template.render(context, true).map_err(refused)?;
        match between(&prompt, after) {
            Some(span) => Ok((text, span)),
            None => Err(Unreadable::Template(
                "what it puts before or after the last assistant message depends on that message, so the response \
                 cannot be told from the template; use --template FILE with one that writes responses as they are"
                    .into(),
            )),
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
        let encoding = self.tokenize(&text)?;
        let offsets = encoding.get_offsets();
        // Special tokens added by the tokenizer have the offsets (0, 0) and lie in no span.
        let in_span = |&(start, end): &(usize, usize)| start < span.end && end > span.start;
        let first = offsets.iter().position(in_span).ok_or(Unreadable::EmptyResponse)?;
        let last = offsets.iter().rposition(in_span).ok_or(Unreadable::EmptyResponse)?;
        if first >= self.max_tokens {
            return Err(Unreadable::PromptTooLong { n_prompt_tokens: first, max_tokens: self.max_tokens });
        }
        let mut ids = encoding.get_ids().to_vec();
        let ending = ids[last + 1..].iter().position(|id| self.added_tokens.contains(id));
        let turn_end = last + 1 + ending.map_or(0, |n_before| n_before + 1);
        let end = (last + 1).min(self.max_tokens);
        ids.truncate(self.max_tokens);
        Ok(Tokens { response: first..end, turn_end: turn_end.min(ids.len()), n_cut: last + 1 - end, ids })
    }

    /// Text of every response token of a conversation and its [`Tokens`]; together the response as the model reads it, as far
    /// as it was not cut. Of a character that several tokens share, the first has all.
    ///
    /// # Errors
    ///
    /// As [`TextEncoder::encode`].
    pub fn pieces(&self, conversation: &[Message], tokens: &Tokens) -> Result<Vec<String>, Unreadable> {
        let (text, span) = self.text(conversation)?;
        let encoding = self.tokenize(&text)?;
        let mut start = span.start;
        let piece = |&(_, end): &(usize, usize)| {
            let end = text.ceil_char_boundary(end).clamp(start, span.end);
            let piece = text[start..end].to_owned();
            start = end;
            piece
        };
        Ok(encoding.get_offsets()[tokens.response.clone()].iter().map(piece).collect())
    }

    /// Tokens of a prompt, up to where the assistant begins to speak: what a model continues with a response. Never cut.
    ///
    /// Without a template, messages are joined by blank lines, and no token that would end the text follows them.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the template refuses the prompt, or it leaves no room for a response.
    pub fn encode_prompt(&self, prompt: &[Message]) -> Result<Vec<u32>, Unreadable> {
        let text = match &self.template {
            None => joined(prompt),
            Some(template) => {
                template.render(prompt, true).map_err(|error| Unreadable::Template(format!("{error:#}")))?
            }
        };
        let encoding = self.tokenize(&text)?;
        let mut ids = encoding.get_ids().to_vec();
        if self.template.is_none() {
            // Tokens that the tokenizer added at the end, unlike those that the text spells out, stand nowhere in it.
            let n_added = encoding.get_offsets().iter().rev().take_while(|(start, end)| start == end).count();
            let n_added = if n_added == ids.len() { 0 } else { n_added };
            ids.truncate(ids.len() - n_added);
        }
        if ids.len() >= self.max_tokens {
            return Err(Unreadable::PromptTooLong { n_prompt_tokens: ids.len(), max_tokens: self.max_tokens });
        }
        Ok(ids)
    }

    fn tokenize(&self, text: &str) -> Result<Encoding, Unreadable> {
        self.tokenizer.encode(text, self.template.is_none()).map_err(|error| Unreadable::Tokenizer(error.to_string()))
    }
}

/// Messages without a template.
fn joined(messages: &[Message]) -> String {
    messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n")
}
