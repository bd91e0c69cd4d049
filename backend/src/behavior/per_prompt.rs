//! One vector per prompt: the mean over its rollouts. The difference of two single responses is as much of their wording as of
//! what tuning changed; over several rollouts the wording averages out.
//!
//! An optional step of [`super::define`], between the vectors and the directions, for `whence discover`.

use serde::{Deserialize, Serialize};
use whence_shared::cluster::partition::by_first_row;
use whence_shared::pair::conversation_text;

use super::ResponsePair;
use crate::files;

/// What a prompt's vector is the mean over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MeanOver {
    /// Response pairs, the one shown among them.
    pub n: usize,
    /// SHA-256 over all of them, as JSON lines in their order.
    pub sha256: String,
}

/// The first response pair of every prompt, in their order, and per layer the mean of the vectors of all its pairs, `[n_prompts,
/// d_model]`.
pub(super) fn means(
    pairs: &[&ResponsePair],
    layers: Vec<(usize, Vec<f32>)>,
    d_model: usize,
) -> (Vec<ResponsePair>, Vec<(usize, Vec<f32>)>) {
    let prompts: Vec<String> = pairs.iter().map(|pair| conversation_text(&pair.prompt)).collect();
    let numbers = by_first_row(&prompts.iter().map(String::as_str).collect::<Vec<_>>());
    let mut of_prompt: Vec<Vec<usize>> = Vec::new();
    for (row, number) in numbers.iter().enumerate() {
        match of_prompt.get_mut(*number as usize) {
            Some(rows) => rows.push(row),
            None => of_prompt.push(vec![row]),
        }
    }
    let first = |rows: &Vec<usize>| {
        let sha256 = files::sha256(&files::jsonl(rows.iter().map(|row| pairs[*row])));
        ResponsePair { mean_over: Some(MeanOver { n: rows.len(), sha256 }), ..pairs[rows[0]].clone() }
    };
    let mean = |(layer, vectors): (usize, Vec<f32>)| {
        let mut means = vec![0f32; of_prompt.len() * d_model];
        for (mean, rows) in means.chunks_exact_mut(d_model).zip(&of_prompt) {
            for row in rows {
                let vector = &vectors[row * d_model..][..d_model];
                mean.iter_mut().zip(vector).for_each(|(mean, value)| *mean += value / rows.len() as f32);
            }
        }
        (layer, means)
    };
    (of_prompt.iter().map(first).collect(), layers.into_iter().map(mean).collect())
}

#[cfg(test)]
mod tests {
    use whence_shared::pair::Message;

    use super::*;

    #[test]
    fn vectors_of_one_prompt_are_averaged_and_it_says_over_which() {
        let pair = |prompt: &str, r1: &str| ResponsePair {
            prompt: vec![Message::new("user", prompt)],
            r0: "no".into(),
            r1: r1.into(),
            scenario: String::new(),
            mean_over: None,
        };
        let pairs = [pair("a", "one"), pair("b", "two"), pair("a", "three")];
        let layers = vec![(3, vec![1.0, 0.0, 5.0, 5.0, 3.0, 2.0])];
        let (first, means) = means(&pairs.each_ref(), layers, 2);
        assert_eq!(means, [(3, vec![2.0, 1.0, 5.0, 5.0])]);
        let shown: Vec<(&str, usize)> =
            first.iter().map(|pair| (pair.r1.as_str(), pair.mean_over.as_ref().unwrap().n)).collect();
        assert_eq!(shown, [("one", 2), ("two", 1)]);
        // Another third response is another behavior, though it is not shown.
        let other = [pair("a", "one"), pair("b", "two"), pair("a", "four")];
        let (again, _) = super::means(&other.each_ref(), vec![(3, vec![0.0; 6])], 2);
        assert_ne!(first[0].mean_over, again[0].mean_over);
        assert_eq!(first[1].mean_over, again[1].mean_over);
    }
}
