//! Parity with transformers in text: the same conversations give the same rendered text, token ids and response tokens.
//!
//! The fixtures in tests/fixtures/chat hold what transformers rendered and tokenised; make_chat.py says how.

use std::fs;
use std::path::Path;

use serde_json::Value;
use whence_backend::data::template::{ChatTemplate, TemplateChoice};
use whence_backend::data::tokens::{TextEncoder, Unreadable};
use whence_backend::model::ModelFolder;
use whence_shared::pair::Message;
use whence_tests::fixture;

const CHATS: [&str; 8] = ["olmo", "chatml", "alternating", "json", "reasoning", "cutting", "headers", "brackets"];
const MAX_TOKENS: usize = 4096;

/// The tokenizer and template of a chat fixture in a whole model folder, which the model `chat` completes.
fn open(name: &str, folder: &Path) -> ModelFolder {
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture::model("chat").join(file), folder.join(file)).unwrap();
    }
    fixture::copy_folder(&fixture::folder().join("chat").join(name), folder);
    ModelFolder::open(folder).unwrap()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Runs `check` on every recorded conversation of every template.
fn each_case(check: impl Fn(&str, &ModelFolder, &TextEncoder, &[Message], &Value)) {
    for name in CHATS {
        let folder = tempfile::tempdir().unwrap();
        let model = open(name, folder.path());
        let encoder = TextEncoder::new(&model, &TemplateChoice::Model, MAX_TOKENS).unwrap();
        let expected = read_json(&fixture::folder().join("chat").join(name).join("expected.json"));
        let cases = expected["cases"].as_array().unwrap();
        assert!(cases.len() >= 20, "{name}: {} conversations", cases.len());
        for case in cases {
            let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
            check(name, &model, &encoder, &messages, case);
        }
    }
}

fn template(model: &ModelFolder) -> ChatTemplate {
    ChatTemplate::new(model.chat_template.as_ref().unwrap(), &model.bos_token, &model.eos_token).unwrap()
}

#[test]
fn rendered_text_is_identical_and_refusals_are_the_templates_own() {
    each_case(|name, model, encoder, messages, case| {
        let (text, error) = (case["text"].as_str(), case["error"].as_str());
        match (template(model).render(messages, false), encoder.text(messages)) {
            // Where the response cannot be told from the template, the text is still the same.
            (Ok(rendered), Err(Unreadable::Template(_))) if case["response"].is_null() => {
                assert_eq!(Some(rendered.as_str()), text, "{name}: {messages:?}");
            }
            (Ok(rendered), Ok((encoded, _))) => {
                assert_eq!((Some(rendered.as_str()), Some(encoded.as_str())), (text, text), "{name}: {messages:?}");
            }
            (Err(_), Err(Unreadable::Template(reason))) => {
                let error = error.unwrap_or_else(|| panic!("{name}: {messages:?}: {reason}"));
                assert!(reason.contains(error), "{name}: expected {error:?}, got {reason:?}");
            }
            (_, got) => panic!("{name}: {messages:?}: {got:?}, expected {case}"),
        }
    });
}

#[test]
fn generation_prompts_are_identical() {
    each_case(|name, model, _, messages, case| {
        if let Some(expected) = case["generation_prompt"].as_str() {
            let (_, prompt) = messages.split_last().unwrap();
            assert_eq!(template(model).render(prompt, true).unwrap(), expected, "{name}: {messages:?}");
        }
    });
}

#[test]
fn prompts_for_generation_have_identical_token_ids() {
    each_case(|name, _, encoder, messages, case| {
        if !case["generation_ids"].is_null() {
            let (_, prompt) = messages.split_last().unwrap();
            assert_eq!(encoder.encode_prompt(prompt).unwrap(), ids(&case["generation_ids"]), "{name}: {messages:?}");
        }
    });
}

#[test]
fn token_ids_response_tokens_and_turn_ends_are_identical() {
    each_case(|name, _, encoder, messages, case| {
        if case["error"].is_string() {
            return;
        }
        let about = format!("{name}: {messages:?}");
        match encoder.encode(messages) {
            Ok(tokens) => {
                assert!(!case["response"].is_null(), "{about}: {tokens:?}");
                assert_eq!(tokens.ids, ids(&case["ids"]), "{about}");
                let range = [tokens.response.start as u32, tokens.response.end as u32];
                assert_eq!(range[..], ids(&case["response"]), "{about}");
                assert_eq!(tokens.turn_end as u64, case["turn_end"].as_u64().unwrap(), "{about}");
                assert_eq!(tokens.n_cut, 0);
            }
            Err(Unreadable::EmptyResponse) => {
                let response = ids(&case["response"]);
                assert_eq!(response[0], response[1], "{about}");
            }
            Err(Unreadable::Template(reason)) => {
                assert!(case["response"].is_null() && reason.contains("--template FILE"), "{about}: {reason}");
            }
            Err(error) => panic!("{about}: {error}"),
        }
    });
}

#[test]
fn a_response_is_found_where_it_stands_and_not_where_its_words_stand() {
    let folder = tempfile::tempdir().unwrap();
    let model = open("reasoning", folder.path());
    let encoder = TextEncoder::new(&model, &TemplateChoice::Model, MAX_TOKENS).unwrap();
    let response = |content: &str| {
        let messages = [Message::new("user", "yes"), Message::new("assistant", content)];
        let tokens = encoder.encode(&messages).unwrap();
        let decode = |ids: &[u32]| model.tokenizer.decode(ids, false).unwrap();
        (decode(&tokens.ids[tokens.response.clone()]), decode(&tokens.ids[tokens.response.end..tokens.turn_end]))
    };
    // The thought says the answer's words too, and the template writes both in a form of its own.
    let (said, end) = response("<think>yes  \n</think>yes");
    assert_eq!((said.as_str(), end.as_str()), ("<think>\nyes\n</think>\n\nyes", "<|done|>"));
    assert_eq!(response("yes").0, "yes");
    assert_eq!(response("<think>\n</think>\n\nassistant").0, "assistant");
}

#[test]
fn a_longer_text_is_cut_on_the_right_and_says_by_how_much() {
    for name in CHATS {
        let folder = tempfile::tempdir().unwrap();
        let model = open(name, folder.path());
        let whole = TextEncoder::new(&model, &TemplateChoice::Model, MAX_TOKENS).unwrap();
        let messages = [Message::new("user", "Count"), Message::new("assistant", "one two three four five six seven")];
        let tokens = whole.encode(&messages).unwrap();
        let (start, end) = (tokens.response.start, tokens.response.end);
        assert!(end < tokens.turn_end && tokens.turn_end <= tokens.ids.len(), "{name}: an end of turn follows");
        for max_tokens in 1..tokens.ids.len() {
            let cut = TextEncoder::new(&model, &TemplateChoice::Model, max_tokens).unwrap().encode(&messages);
            if max_tokens <= start {
                assert_eq!(cut, Err(Unreadable::PromptTooLong { n_prompt_tokens: start, max_tokens }), "{name}");
                continue;
            }
            let cut = cut.unwrap();
            assert_eq!(cut.ids, tokens.ids[..max_tokens], "{name}");
            assert_eq!((cut.response.start, cut.response.end), (start, end.min(max_tokens)), "{name}");
            assert_eq!(cut.turn_end, tokens.turn_end.min(max_tokens), "{name}");
            assert_eq!(cut.n_cut, end.saturating_sub(max_tokens), "{name}");
        }
    }
}

#[test]
fn plain_strings_tokenize_identically_with_and_without_special_tokens() {
    for name in CHATS {
        let folder = tempfile::tempdir().unwrap();
        let model = open(name, folder.path());
        let expected = read_json(&fixture::folder().join("chat").join(name).join("expected.json"));
        let mut n_different = 0;
        for case in expected["strings"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            for (add_special_tokens, key) in [(false, "ids"), (true, "ids_with_special_tokens")] {
                let encoding = model.tokenizer.encode(text, add_special_tokens).unwrap();
                assert_eq!(
                    encoding.get_ids(),
                    ids(&case[key]),
                    "{name}: {text:?}, special tokens {add_special_tokens}"
                );
            }
            n_different += usize::from(case["ids"] != case["ids_with_special_tokens"]);
        }
        let adds = ["alternating", "cutting", "headers", "brackets"].contains(&name);
        assert_eq!(n_different > 0, adds, "{name}: only the tokenizers of these add tokens of their own");
    }
}

#[test]
fn without_a_template_the_response_follows_the_prompt_and_the_tokenizer_adds_its_special_tokens() {
    // Adds a beginning; a beginning and an end; nothing.
    for (name, beginning, end) in [("alternating", "<s>", ""), ("cutting", "<|begin|>", "<|end|>"), ("olmo", "", "")] {
        let folder = tempfile::tempdir().unwrap();
        let model = open(name, folder.path());
        let encoder = TextEncoder::new(&model, &TemplateChoice::None, MAX_TOKENS).unwrap();
        let messages = [Message::new("user", "What is it?"), Message::new("assistant", " A cat.")];
        let tokens = encoder.encode(&messages).unwrap();
        let whole = model.tokenizer.encode("What is it? A cat.", true).unwrap();
        assert_eq!(tokens.ids, whole.get_ids());
        let decode = |ids: &[u32]| model.tokenizer.decode(ids, false).unwrap();
        assert_eq!(decode(&tokens.ids[tokens.response.clone()]), " A cat.");
        assert_eq!(decode(&tokens.ids[..tokens.response.start]), format!("{beginning}What is it?"));
        assert_eq!(decode(&tokens.ids[tokens.response.end..tokens.turn_end]), end);
        let prompt = encoder.encode_prompt(&messages[..1]).unwrap();
        assert_eq!(prompt, tokens.ids[..tokens.response.start], "{name}: nothing ends a prompt");
    }
}

#[test]
fn a_template_that_asks_for_what_is_not_there_is_refused_before_the_first_row() {
    let folder = tempfile::tempdir().unwrap();
    let model = open("olmo", folder.path());
    let file = folder.path().join("dated.jinja");
    for (source, named) in [
        ("{{ strftime_now('%Y') }}{{ messages[-1].content }}", "--template FILE"),
        ("{{ messages | unheard_of }}", "unheard_of"),
        ("{{ messages[-1].content", "dated.jinja"),
    ] {
        fs::write(&file, source).unwrap();
        let choice = TemplateChoice::File(file.clone());
        let error = TextEncoder::new(&model, &choice, MAX_TOKENS).err().expect("refused").to_string();
        assert!(error.contains(named) && error.contains("dated.jinja"), "{error}");
    }
}

#[test]
fn olmo_2s_own_tokenizer_gives_the_recorded_ids() {
    let path = fixture::package().join("../../shared/data/olmo2/tokenizer.json");
    if !path.is_file() {
        eprintln!("skipped: no shared/data/olmo2/tokenizer.json beside the checkout");
        return;
    }
    // Through a model folder, as `whence extract` would read it.
    let folder = tempfile::tempdir().unwrap();
    fs::copy(&path, folder.path().join("tokenizer.json")).unwrap();
    fs::copy(fixture::model("chat").join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let mut config = read_json(&fixture::model("chat").join("config.json"));
    config["vocab_size"] = 100_352.into();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let model = ModelFolder::open(folder.path()).unwrap();
    let expected = read_json(&fixture::folder().join("chat/olmo2_strings.json"));
    for case in expected.as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(model.tokenizer.encode(text, false).unwrap().get_ids(), ids(&case["ids"]), "{text:?}");
    }
}
