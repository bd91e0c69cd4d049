//! Switching a pair: chosen and rejected change places, and so does what the metadata says about either. Used by
//! [`super::edited`].

use std::collections::BTreeMap;

use crate::pair::Pair;
use serde_json::value::RawValue;

/// The pair with its sides swapped.
pub(super) fn switched(pair: Pair) -> Pair {
    let metadata = switched_metadata(&pair.metadata);
    Pair { chosen: pair.rejected, rejected: pair.chosen, metadata, ..pair }
}

/// Metadata with every top-level key renamed by [`counterpart`], sorted as import sorts them. Values keep their bytes:
/// a number printed again could differ in its last digit. What is no JSON object stays as it is.
fn switched_metadata(metadata: &str) -> String {
    let Ok(columns) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(metadata) else {
        return metadata.to_owned();
    };
    let columns: BTreeMap<String, Box<RawValue>> =
        columns.into_iter().map(|(key, value)| (counterpart(&key), value)).collect();
    serde_json::to_string(&columns).expect("what was JSON is JSON")
}

/// The same key of the other side: `chosen_model` ↔ `rejected_model`, `score_chosen` ↔ `score_rejected`, `chosen-rating`,
/// `chosenModel`. Only whole words count: `unchosen` is left alone. Its own inverse, so no two keys ever meet.
fn counterpart(key: &str) -> String {
    let mut renamed = String::with_capacity(key.len());
    let mut rest = key;
    while !rest.is_empty() {
        let word = word(rest);
        renamed.push_str(match word {
            "chosen" => "rejected",
            "rejected" => "chosen",
            "Chosen" => "Rejected",
            "Rejected" => "Chosen",
            "CHOSEN" => "REJECTED",
            "REJECTED" => "CHOSEN",
            word => word,
        });
        rest = &rest[word.len()..];
    }
    renamed
}

/// The first word of a text, or the first character between words. A capital after a small letter begins a word.
fn word(text: &str) -> &str {
    let mut before: Option<char> = None;
    for (i, c) in text.char_indices() {
        let begins_word = before.is_some_and(|before| before.is_lowercase() && c.is_uppercase());
        if !c.is_alphabetic() || begins_word {
            return &text[..if i == 0 { c.len_utf8() } else { i }];
        }
        before = Some(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::pair::Message;

    use super::*;

    #[test]
    fn keys_find_their_counterparts_and_the_way_back() {
        for (key, expected) in [
            ("chosen_model", "rejected_model"),
            ("score_rejected", "score_chosen"),
            ("chosen-rating", "rejected-rating"),
            ("chosenModel", "rejectedModel"),
            ("scoreChosen", "scoreRejected"),
            ("chosen", "rejected"),
            ("chosen2", "rejected2"),
            ("chosen_minus_rejected", "rejected_minus_chosen"),
            ("unchosen", "unchosen"),
            ("chosenness", "chosenness"),
            ("margin", "margin"),
            ("é chosen é", "é rejected é"),
            ("", ""),
        ] {
            assert_eq!(counterpart(key), expected);
            assert_eq!(counterpart(expected), key);
        }
    }

    #[test]
    fn switching_twice_is_the_pair_again_to_the_byte() {
        let pair = Pair {
            id: "1".into(),
            prompt: vec![Message::new("user", "q")],
            chosen: vec![Message::new("assistant", "a")],
            rejected: vec![Message::new("assistant", "b")],
            source: "s".into(),
            metadata: r#"{"chosen_model":"m1","chosen_rating":4.35,"k":{"chosen":1},"rejected_model":"m0","x":1.0000000000000002}"#
                .into(),
        };
        let once = switched(pair.clone());
        assert_eq!((once.response(crate::pair::Side::Chosen), once.prompt == pair.prompt), ("b", true));
        assert_eq!(
            once.metadata,
            r#"{"chosen_model":"m0","k":{"chosen":1},"rejected_model":"m1","rejected_rating":4.35,"x":1.0000000000000002}"#
        );
        assert_eq!(switched(once), pair);
        let odd = Pair { metadata: "not JSON".into(), ..pair };
        assert_eq!(switched(odd.clone()).metadata, odd.metadata);
    }
}
