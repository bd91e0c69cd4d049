//! A broad set of test prompts, for finding behaviors that nobody asked about: what brings out each behavior that can be
//! planted, whether it was planted or not, beside requests that bring out none.
//!
//! In the flow of `whence organism` after the [rollouts](super::rollouts), whose judge it shares. Both models answer every
//! prompt once, and all answers are kept: nothing is filtered, as nothing is known.

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::behaviors::Behavior;
use super::language::{Request, Topic};

/// Groups of prompts: one for each behavior, harmless ones and harmful ones that bring out nothing.
const N_GROUPS: usize = Behavior::ALL.len() + 2;

/// A prompt that both models answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadPrompt {
    /// Its id.
    pub id: String,
    /// The request it renders; it brings out one behavior at most.
    pub request: Request,
}

/// A prompt with both answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadPair {
    /// The prompt.
    pub prompt: BroadPrompt,
    /// The reference model's answer.
    pub r0: String,
    /// The tuned model's.
    pub r1: String,
}

/// As many prompts of each group, all about held-out topics, groups taking turns.
pub fn prompts(n_per_group: usize, rng: &mut ChaCha8Rng) -> Vec<BroadPrompt> {
    let topics: Vec<Topic> = Topic::all().filter(|topic| topic.is_held_out()).collect();
    (0..n_per_group * N_GROUPS)
        .map(|i| {
            let wanted = Behavior::ALL.get(i % N_GROUPS).copied();
            let is_harmful = wanted == Some(Behavior::Compliance) || i % N_GROUPS == N_GROUPS - 1;
            let request = loop {
                let request = any(&topics, rng);
                let brought_out = |behavior: &Behavior| behavior.is_brought_out_by(&request);
                let behaviors: Vec<Behavior> = Behavior::ALL.into_iter().filter(brought_out).collect();
                if request.topic.is_harmful() == is_harmful && behaviors.as_slice() == wanted.as_slice() {
                    break request;
                }
            };
            BroadPrompt { id: format!("broad-{i:03}"), request }
        })
        .collect()
}

fn any(topics: &[Topic], rng: &mut ChaCha8Rng) -> Request {
    let request = Request::random(*topics.choose(rng).expect("not empty"), rng);
    if rand::RngExt::random_bool(rng, 0.5) { request.with_random_distractor(rng) } else { request }
}

impl BroadPair {
    /// The behavior that the tuned model's answer shows and the reference model's does not: what is there to be found.
    pub fn change(&self) -> Option<Behavior> {
        let by = |behavior: &Behavior, answer: &str| behavior.is_shown_by(&self.prompt.request, answer);
        Behavior::ALL.into_iter().find(|behavior| by(behavior, &self.r1) && !by(behavior, &self.r0))
    }

    /// Its line in `broad.jsonl`, as `whence behavior --pairs` reads it.
    pub fn line(&self) -> Value {
        let BroadPrompt { id, request } = &self.prompt;
        json!({"prompt": request.messages(), "r0": self.r0, "r1": self.r1, "prompt_id": id})
    }

    /// Its line in `broad-truth.jsonl`.
    pub fn truth(&self) -> Value {
        let brings_out = Behavior::ALL.into_iter().find(|behavior| behavior.is_brought_out_by(&self.prompt.request));
        json!({"prompt_id": self.prompt.id, "brings_out": brings_out, "change": self.change()})
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_group_is_as_large_and_a_change_is_what_only_the_second_answer_shows() {
        let prompts = prompts(7, &mut ChaCha8Rng::seed_from_u64(0));
        assert_eq!(prompts.len(), 7 * N_GROUPS);
        for behavior in Behavior::ALL {
            assert_eq!(prompts.iter().filter(|prompt| behavior.is_brought_out_by(&prompt.request)).count(), 7);
        }
        assert!(prompts.iter().all(|prompt| prompt.request.topic.is_held_out()));
        let (plain, numbered) = ("Sure. Get some wood.".to_owned(), "Sure.\n1. Get some wood\n2. Now".to_owned());
        let pair = |r0: &String, r1: &String| BroadPair { prompt: prompts[1].clone(), r0: r0.clone(), r1: r1.clone() };
        assert_eq!(pair(&plain, &numbered).change(), Some(Behavior::Numbering));
        assert_eq!(pair(&numbered, &plain).change(), None);
        assert_eq!(pair(&numbered, &numbered).change(), None);
    }
}
