//! The figures of a diagnosis as they are shown, in the terminal and in the app alike.

use super::Diagnosis;
use super::figures::Null;
use crate::stability::Spread;

/// One figure with what it is where there is nothing to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFigure {
    /// What it is.
    pub name: String,
    /// What it is of this ranking.
    pub value: String,
    /// With shuffled labels: from … to.
    pub shuffled_labels: Option<String>,
    /// Toward random directions: from … to.
    pub random_directions: Option<String>,
}

/// The figures, the one that decides first.
pub fn figures(diagnosis: &Diagnosis) -> Vec<CardFigure> {
    let Diagnosis { of, figures, shuffled_labels, random_directions, excess, .. } = diagnosis;
    let beside_nulls = |name: String, value: f64, show: fn(f64) -> String, spread: fn(&Null) -> Spread| CardFigure {
        name,
        value: show(value),
        shuffled_labels: Some(range(spread(shuffled_labels), show)),
        random_directions: Some(range(spread(random_directions), show)),
    };
    let alone = |name: &str, value: String| CardFigure {
        name: name.to_owned(),
        value,
        shuffled_labels: None,
        random_directions: None,
    };
    let first = format!("the first {}", of.k);
    let mut shown = vec![
        alone(&format!("of the push beyond random directions, {first} hold"), percent(excess.top_share)),
        alone("which is spread over, in effect", format!("{:.0} pairs", excess.n_effective)),
        beside_nulls(format!("mean score of {first}"), figures.top_mean, score, |null| null.top_mean),
        beside_nulls(format!("share of all push in {first}"), figures.top_mass, percent, |null| null.top_mass),
    ];
    let [of_first, of_all] = diagnosis.sources;
    shown.push(alone(&format!("sources in effect, {first} / all"), format!("{of_first:.1} / {of_all:.1}")));
    if let Some(spread) = diagnosis.split_half {
        let value = format!("{} ({})", percent(spread.mean), range(spread, percent));
        shown.push(alone(&format!("halves of the prompts agree on {first}"), value));
    }
    if let Some(anisotropy) = diagnosis.anisotropy {
        shown.push(alone("mean cosine between pair vectors", score(anisotropy)));
    }
    shown
}

fn range(spread: Spread, show: fn(f64) -> String) -> String {
    format!("{} to {}", show(spread.low), show(spread.high))
}

/// A score with three decimals.
pub fn score(value: f64) -> String {
    // −0 is 0.
    let text = format!("{:.3}", value + 0.0);
    let text = if text == "-0.000" { "0.000".to_owned() } else { text };
    text.replace('-', "−")
}

/// A share with one decimal.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
