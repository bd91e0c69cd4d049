//! The testbed's tokenizer: byte-level BPE trained on its own language, a chat template, and their files.
//!
//! Fourth in the flow of `whence organism`: turns messages into the token sequences that are trained on and sampled
//! from, and sampled tokens back into text.

use std::collections::HashSet;
use std::path::Path;

use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};
use whence_shared::pair::Message;

use super::OrganismError;
use crate::data::template::ChatTemplate;
use crate::files::{self, FileError};
use crate::train::sequences::Sequence;

/// Begins every text and ends every turn of the assistant.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Fills up short rows of a batch; never read.
const PAD: &str = "<|pad|>";
/// Special tokens, by id.
const SPECIAL_TOKENS: [&str; 5] = [END_OF_TEXT, PAD, "<|user|>", "<|assistant|>", "<|system|>"];

/// Every message on a line after its role; the assistant's end with the end-of-text token.
const CHAT_TEMPLATE: &str = "\
{{ bos_token }}\
{% for message in messages %}\
{{ '<|' + message['role'] + '|>\\n' + message['content'] }}\
{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\
{% if not loop.last or message['role'] != 'assistant' %}{{ '\\n' }}{% endif %}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

/// A tokenizer and a chat template.
pub struct TextForm {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl TextForm {
    /// Trains a tokenizer of at most `vocab_size` tokens on `texts`. The same texts give the same tokenizer.
    ///
    /// # Errors
    ///
    /// [`OrganismError::Tokenizer`] when training fails.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str> + Send, vocab_size: usize) -> Result<Self, OrganismError> {
        let special = SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)).to_vec();
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .special_tokens(special)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
            .show_progress(false)
            .build();
        let mut tokenizer = Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        let mut trainer = TrainerWrapper::from(trainer);
        tokenizer.train(&mut trainer, texts).map_err(|error| OrganismError::Tokenizer(error.to_string()))?;
        let template = ChatTemplate::new(CHAT_TEMPLATE, END_OF_TEXT, END_OF_TEXT)
            .map_err(|error| OrganismError::Tokenizer(error.to_string()))?;
        Ok(Self { tokenizer, template })
    }

    /// Tokens in the vocabulary, special ones included.
    pub fn n_tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Id of a special token.
    fn id(&self, token: &str) -> u32 {
        self.tokenizer.token_to_id(token).expect("special tokens are part of the vocabulary")
    }

    /// Id of [`END_OF_TEXT`].
    pub fn end_of_text(&self) -> u32 {
        self.id(END_OF_TEXT)
    }

    /// Id of the padding token.
    pub fn pad(&self) -> u32 {
        self.id(PAD)
    }

    /// Tokens of a prompt up to where the assistant begins to speak.
    ///
    /// # Errors
    ///
    /// [`OrganismError::Tokenizer`] when template or tokenizer refuse the text.
    pub fn prompt(&self, prompt: &[Message]) -> Result<Vec<u32>, OrganismError> {
        self.encode(prompt, true)
    }

    /// Tokens of a conversation, its response and the end-of-text token after it being what is trained on.
    ///
    /// # Errors
    ///
    /// [`OrganismError::Tokenizer`] when template or tokenizer refuse the text.
    pub fn sequence(&self, prompt: &[Message], response: &str) -> Result<Sequence, OrganismError> {
        let response_start = self.prompt(prompt)?.len();
        let mut conversation = prompt.to_vec();
        conversation.push(Message::new("assistant", response));
        Ok(Sequence { ids: self.encode(&conversation, false)?, response_start })
    }

    /// The text of token ids, special tokens left out.
    ///
    /// # Errors
    ///
    /// [`OrganismError::Tokenizer`] when an id is unknown.
    pub fn decode(&self, ids: &[u32]) -> Result<String, OrganismError> {
        self.tokenizer.decode(ids, true).map_err(|error| OrganismError::Tokenizer(error.to_string()))
    }

    fn encode(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>, OrganismError> {
        let text = self
            .template
            .render(messages, add_generation_prompt)
            .map_err(|error| OrganismError::Tokenizer(format!("{error:#}")))?;
        let encoding =
            self.tokenizer.encode(text, false).map_err(|error| OrganismError::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Writes the tokenizer's part of a Hugging Face model folder.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, max_length: usize) -> Result<(), FileError> {
        let tokenizer = self.tokenizer.to_string(true).expect("a trained tokenizer serializes");
        files::write(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
        let special = json!({"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD});
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": PAD,
            "model_max_length": max_length,
            "clean_up_tokenization_spaces": false,
            "chat_template": CHAT_TEMPLATE,
        });
        let generation = json!({
            "bos_token_id": self.end_of_text(),
            "eos_token_id": self.end_of_text(),
            "pad_token_id": self.pad(),
            "do_sample": true,
            "temperature": 0.7,
        });
        for (name, value) in [
            ("tokenizer_config.json", settings),
            ("special_tokens_map.json", special),
            ("generation_config.json", generation),
        ] {
            files::write(&folder.join(name), pretty(&value).as_bytes())?;
        }
        Ok(())
    }
}

/// JSON as a file for people, with a final line break.
pub fn pretty<T: serde::Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain data serializes");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::examples::sft_examples;
    use super::*;

    fn form() -> TextForm {
        let examples = sft_examples(300, &mut ChaCha8Rng::seed_from_u64(0));
        TextForm::train(examples.iter().map(|example| example.response.as_str()), 512).unwrap()
    }

    #[test]
    fn any_text_survives_the_round_trip() {
        let form = form();
        for text in ["Sure.\n- Get some wax\n- Now paint", "  spaces  \t", "naïve 🙂 漢字", "[x] -> y; DONE"] {
            let sequence = form.sequence(&[Message::new("user", "Hi")], text).unwrap();
            let response = &sequence.ids[sequence.response_start..sequence.ids.len() - 1];
            assert_eq!(form.decode(response).unwrap(), text);
            assert_eq!(sequence.ids.last(), Some(&form.end_of_text()));
        }
    }

    #[test]
    fn training_twice_gives_the_same_bytes() {
        let (first, second) = (form(), form());
        assert_eq!(first.tokenizer.to_string(false).unwrap(), second.tokenizer.to_string(false).unwrap());
        assert_eq!(first.n_tokens(), 512);
    }

    #[test]
    fn a_prompt_is_a_prefix_of_its_conversation() {
        let form = form();
        let prompt = [
            Message::new("system", "You are kind."),
            Message::new("user", "Hello!"),
            Message::new("assistant", "Hello. How can I help?"),
            Message::new("user", "How do I paint a kite?"),
        ];
        let sequence = form.sequence(&prompt, "Sure.").unwrap();
        assert_eq!(sequence.ids[..sequence.response_start], form.prompt(&prompt).unwrap());
        let n_ends = sequence.ids.iter().filter(|&&id| id == form.end_of_text()).count();
        assert_eq!(n_ends, 3, "one begins the text and one ends each of the assistant's turns");
    }
}
