//! Verdicts for the change scan: which of the responses that are compared a judge has seen a behavior in.

use std::collections::HashMap;

use whence_shared::changes::Change;
use whence_shared::pair::Message;

use crate::behavior::ResponsePair;
use crate::judge::selection::{JudgedFiles, SelectionError, read_judged};

/// States of each response with a verdict whether it shows the behavior: `judged` holds the reference model's rollouts and
/// the tuned one's. A response is known by its prompt and text.
///
/// # Errors
///
/// When rollouts or verdicts cannot be read or do not belong together.
pub fn add(changes: &mut [Change], prompts: &[ResponsePair], judged: &[JudgedFiles; 2]) -> Result<(), SelectionError> {
    for (side, judged) in judged.iter().enumerate() {
        let verdicts = read_judged(judged)?;
        let shows: HashMap<(&[Message], &str), bool> = verdicts
            .iter()
            .map(|(rollout, shows)| ((rollout.prompt.as_slice(), rollout.response.as_str()), *shows))
            .collect();
        for change in changes.iter_mut() {
            let pair = &prompts[change.prompt as usize];
            let response = if side == 0 { &pair.r0 } else { &pair.r1 };
            change.shows[side] = shows.get(&(pair.prompt.as_slice(), response.as_str())).copied();
        }
    }
    Ok(())
}
