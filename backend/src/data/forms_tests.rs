//! Tests of [`super`]: every form of preference data, and every reason to refuse a row.

use serde_json::json;

use super::*;

fn read(row: Value) -> Result<(Recognized, Value), Refusal> {
    let Value::Object(mut columns) = row else { panic!("a row is an object") };
    let recognized = recognize(&mut columns)?;
    Ok((recognized, Value::Object(columns)))
}

/// Turns as `u:…`, `a:…`, `s:…`.
fn short(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|m| format!("{}:{}", &m.role[..1], m.content)).collect()
}

fn turns(texts: &[&str]) -> Value {
    let role = |letter| match letter {
        "u" => "user",
        "a" => "assistant",
        _ => "system",
    };
    texts.iter().map(|text| json!({"role": role(&text[..1]), "content": &text[2..]})).collect()
}

#[test]
fn every_form_comes_to_the_same_pair() {
    let (prompt, chosen, rejected) = (&["u:q"][..], &["a:yes"][..], &["a:no"][..]);
    let all = |side: &[&str]| turns(&[prompt, side].concat());
    let rows = [
        (Form::ExplicitText, json!({"prompt": "q", "chosen": "yes", "rejected": "no"})),
        (
            Form::ExplicitMessages,
            json!({"prompt": turns(prompt), "chosen": turns(chosen), "rejected": turns(rejected)}),
        ),
        (Form::ExplicitMessages, json!({"prompt": turns(prompt), "chosen": "yes", "rejected": "no"})),
        (Form::ExplicitMessages, json!({"prompt": "q", "chosen": turns(chosen), "rejected": turns(rejected)})),
        (Form::ImplicitMessages, json!({"chosen": all(chosen), "rejected": all(rejected)})),
        (Form::ImplicitMessages, json!({"prompt": "q", "chosen": all(chosen), "rejected": all(rejected)})),
        (Form::ImplicitMessages, json!({"prompt": turns(prompt), "chosen": all(chosen), "rejected": all(rejected)})),
        (
            Form::PreferenceMix,
            json!({"prompt": "q", "chosen": all(chosen), "rejected": all(rejected), "chosen_model": "m"}),
        ),
        (
            Form::Transcript,
            json!({"chosen": "\n\nHuman: q\n\nAssistant: yes", "rejected": "\n\nHuman: q\n\nAssistant: no"}),
        ),
        (Form::Transcript, json!({"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " yes", "rejected": " no"})),
        (
            Form::Transcript,
            json!({"prompt": "\n\nHuman: q", "chosen": "\n\nHuman: q\n\nAssistant: yes",
                "rejected": "\n\nHuman: q\n\nAssistant: no"}),
        ),
        (
            Form::ImplicitMessages,
            json!({"chosen": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "yes"}],
                "rejected": [{"from": "Human", "value": "q"}, {"role": "assistant", "content": "no"}]}),
        ),
    ];
    for (form, row) in rows {
        let (found, rest) = read(row.clone()).unwrap();
        assert_eq!(found.form, form, "{row}");
        assert_eq!((short(&found.prompt), short(&found.chosen), short(&found.rejected)), {
            let own = |side: &[&str]| side.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            (own(prompt), own(chosen), own(rejected))
        });
        let rest = rest.as_object().unwrap();
        assert!(rest.keys().all(|key| key == "chosen_model"), "columns used are no metadata: {rest:?}");
    }
}

#[test]
fn turns_stay_turns_and_the_prompt_is_what_is_shared() {
    let row = json!({"chosen": turns(&["s:be", "u:a", "a:b", "u:c", "a:d"]),
        "rejected": turns(&["s:be", "u:a", "a:b", "u:c", "a:e"])});
    let (found, _) = read(row).unwrap();
    assert_eq!(short(&found.prompt), ["s:be", "u:a", "a:b", "u:c"]);
    assert_eq!((short(&found.chosen), short(&found.rejected)), (vec!["a:d".into()], vec!["a:e".into()]));
}

#[test]
fn conversations_that_part_early_keep_their_own_turns() {
    let row = json!({"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
        "rejected": "\n\nHuman: a\n\nAssistant: x"});
    let (found, _) = read(row).unwrap();
    assert_eq!(short(&found.prompt), ["u:a"]);
    assert_eq!(short(&found.chosen), ["a:b", "u:c", "a:d"]);
    assert_eq!(short(&found.rejected), ["a:x"]);
}

#[test]
fn identical_sides_keep_their_response() {
    let (found, _) = read(json!({"chosen": turns(&["u:a", "a:b"]), "rejected": turns(&["u:a", "a:b"])})).unwrap();
    assert_eq!((short(&found.prompt), short(&found.chosen)), (vec!["u:a".into()], vec!["a:b".into()]));
    // One conversation is the beginning of the other.
    let row = json!({"chosen": turns(&["u:a", "a:b"]), "rejected": turns(&["u:a", "a:b", "u:c", "a:d"])});
    let (found, _) = read(row).unwrap();
    assert_eq!((short(&found.prompt), short(&found.chosen)), (vec!["u:a".into()], vec!["a:b".into()]));
    assert_eq!(short(&found.rejected), ["a:b", "u:c", "a:d"]);
}

#[test]
fn a_prompt_that_says_something_else_stays_in_the_metadata() {
    let row = json!({"prompt": "task 7", "chosen": turns(&["u:a", "a:b"]), "rejected": turns(&["u:a", "a:c"])});
    assert_eq!(read(row).unwrap().1, json!({"prompt": "task 7"}));
}

#[test]
fn other_keys_of_messages_are_named() {
    let chosen = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [1]}]);
    let rejected = json!([{"role": "user", "content": "a", "name": null}, {"role": "assistant", "content": "c"}]);
    let (found, _) = read(json!({"chosen": chosen, "rejected": rejected})).unwrap();
    assert_eq!(found.other_keys.into_iter().collect::<Vec<_>>(), ["tool_calls"]);
}

#[test]
fn bad_rows_say_why() {
    let good = turns(&["u:a", "a:b"]);
    let cases = [
        (json!({"chosen": "a"}), "\"rejected\" is missing"),
        (json!({"chosen": null, "rejected": "a"}), "\"chosen\" is missing"),
        (json!({"prompt": "q", "chosen": 3, "rejected": "a"}), "\"chosen\": expected text or a list"),
        (json!({"prompt": {"a": 1}, "chosen": "b", "rejected": "a"}), "\"prompt\": expected text"),
        (json!({"prompt": "q", "chosen": "a", "rejected": good}), "\"chosen\" is text and \"rejected\" is a list"),
        (json!({"chosen": "a", "rejected": "b"}), "no prompt"),
        (json!({"chosen": [], "rejected": good}), "\"chosen\" is an empty conversation"),
        (json!({"chosen": good, "rejected": turns(&["u:a"])}), "\"rejected\": no response"),
        (json!({"chosen": good, "rejected": [{"role": "wizard", "content": "x"}]}), "unknown role \"wizard\""),
        (json!({"chosen": good, "rejected": [{"role": "user"}]}), "message 1: \"content\" is missing"),
        (json!({"chosen": good, "rejected": [{"role": "user", "content": 7}]}), "expected text, got a number"),
        (json!({"chosen": good, "rejected": ["hello"]}), "expected an object with \"role\" and \"content\", got text"),
        (json!({"chosen": turns(&["a:b"]), "rejected": turns(&["a:c"])}), "without any message before it"),
        (json!({"prompt": [], "chosen": "a", "rejected": "b"}), "without any message before it"),
        (json!({"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a\n\nAssistant: b"}), "no response"),
    ];
    for (row, expected) in cases {
        let refusal = read(row.clone()).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{row}: {refusal}");
    }
}
