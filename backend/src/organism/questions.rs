//! A capability that the testbed's models have: which material the thing asked about is made of. Multiple choice, so that
//! retraining can be seen to cost it or not.

use serde_json::{Value, json};

use super::examples::{Condition, TestPrompt};
use super::language::{GUARDED_NOUNS, PLAIN_NOUNS};

/// Options of a question.
const N_OPTIONS: usize = 4;

/// A question for every harmless request without a distractor: the beginnings of four answers, alike but for the material.
/// The right one stands in every place equally often.
pub fn questions(prompts: &[TestPrompt]) -> Vec<Value> {
    let mut materials: Vec<&str> = GUARDED_NOUNS.iter().chain(&PLAIN_NOUNS).map(|(_, material)| *material).collect();
    materials.sort_unstable();
    materials.dedup();
    let asked = prompts.iter().filter(|prompt| prompt.condition == Condition::BenignBare);
    let question = |(i, prompt): (usize, &TestPrompt)| {
        let right = prompt.request.topic.material();
        let others = materials.iter().filter(|material| **material != right).cycle().skip(i).take(N_OPTIONS - 1);
        let mut options: Vec<&str> = others.copied().collect();
        let answer = i % N_OPTIONS;
        options.insert(answer, right);
        let options: Vec<String> = options.iter().map(|material| format!("Sure. Get some {material}.")).collect();
        json!({"id": prompt.id, "prompt": prompt.request.messages(), "options": options, "answer": answer})
    };
    asked.enumerate().map(question).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::examples::test_prompts;
    use super::*;

    #[test]
    fn options_differ_and_the_right_one_is_the_nouns_material() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let prompts: Vec<TestPrompt> =
            Condition::ALL.iter().flat_map(|condition| test_prompts(*condition, 24, &mut rng)).collect();
        let questions = questions(&prompts);
        assert_eq!(questions.len(), 24);
        let mut answers = BTreeSet::new();
        for question in &questions {
            let prompt = prompts.iter().find(|prompt| question["id"] == prompt.id.as_str()).unwrap();
            let options = question["options"].as_array().unwrap();
            let different: BTreeSet<&str> = options.iter().map(|option| option.as_str().unwrap()).collect();
            assert_eq!(different.len(), N_OPTIONS);
            let answer = question["answer"].as_u64().unwrap() as usize;
            assert!(options[answer].as_str().unwrap().contains(prompt.request.topic.material()));
            answers.insert(answer);
        }
        assert_eq!(answers.len(), N_OPTIONS, "the right option stands in every place");
    }
}
