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

const CHATS: [&str; 4] = ["olmo", "chatml", "alternating", "json"];
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

#[test]
fn rendered_text_is_identical_and_refusals_are_the_templates_own() {
    each_case(|name, _, encoder, messages, case| match (encoder.text(messages), case["error"].as_str()) {
        (Ok((text, _)), None) => assert_eq!(text, case["text"].as_str().unwrap(), "{name}: {messages:?}"),
        (Err(Unreadable::Template(reason)), Some(error)) => {
            assert!(reason.contains(error), "{name}: expected {error:?}, got {reason:?}");
        }
        (got, _) => panic!("{name}: {messages:?}: {got:?}, expected {case}"),
    });
}

#[test]
fn generation_prompts_are_identical() {
    each_case(|name, model, _, messages, case| {
        if let Some(expected) = case["generation_prompt"].as_str() {
            let source = model.chat_template.as_ref().unwrap();
            let template = ChatTemplate::new(source, &model.bos_token, &model.eos_token).unwrap();
            let (_, prompt) = messages.split_last().unwrap();
            assert_eq!(template.render(prompt, true).unwrap(), expected, "{name}: {messages:?}");
        }
    });
}

#[test]
fn token_ids_and_response_tokens_are_identical() {
    each_case(|name, _, encoder, messages, case| {
        if case["error"].is_string() {
            return;
        }
        let response = ids(&case["response"]);
        match encoder.encode(messages) {
            Ok(tokens) => {
                assert_eq!(tokens.ids, ids(&case["ids"]), "{name}: {messages:?}");
                let range = [tokens.response.start as u32, tokens.response.end as u32];
                assert_eq!(range[..], response[..], "{name}: {messages:?}");
                assert_eq!(tokens.n_cut, 0);
            }
            Err(Unreadable::EmptyResponse) => assert_eq!(response[0], response[1], "{name}: {messages:?}"),
            Err(error) => panic!("{name}: {messages:?}: {error}"),
        }
    });
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
        for max_tokens in 1..tokens.ids.len() {
            let cut = TextEncoder::new(&model, &TemplateChoice::Model, max_tokens).unwrap().encode(&messages);
            if max_tokens <= start {
                assert_eq!(cut, Err(Unreadable::PromptTooLong { n_prompt_tokens: start, max_tokens }), "{name}");
                continue;
            }
            let cut = cut.unwrap();
            assert_eq!(cut.ids, tokens.ids[..max_tokens], "{name}");
            assert_eq!((cut.response.start, cut.response.end), (start, end.min(max_tokens)), "{name}");
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
        assert_eq!(n_different > 0, name == "alternating", "only its tokenizer adds tokens of its own");
    }
}

#[test]
fn without_a_template_the_response_follows_the_prompt_and_the_tokenizer_adds_its_special_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let model = open("alternating", folder.path());
    let encoder = TextEncoder::new(&model, &TemplateChoice::None, MAX_TOKENS).unwrap();
    let tokens = encoder.encode(&[Message::new("user", "What is it?"), Message::new("assistant", " A cat.")]).unwrap();
    let whole = model.tokenizer.encode("What is it? A cat.", true).unwrap();
    assert_eq!(tokens.ids, whole.get_ids());
    assert_eq!(model.tokenizer.id_to_token(tokens.ids[0]).unwrap(), "<s>");
    assert_eq!(model.tokenizer.decode(&tokens.ids[tokens.response], false).unwrap(), " A cat.");
}

#[test]
fn olmo_2s_own_tokenizer_gives_the_recorded_ids() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/olmo2/tokenizer.json");
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
