//! How the behavior's signal is laid out in the preference data: the recipes of a testbed's sources.
//!
//! In the flow of `whence organism`, what [`examples`](super::examples) is asked to draw. Attribution can only
//! help where few pairs carry what was learned, so there are testbeds with few culprits, with more and weaker ones, and
//! with none that matter alone.

use serde::Serialize;

use super::behaviors::Behavior;
use super::examples::{Kind, SourceRecipe};

/// How many pairs the behavior's signal is spread over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// One source has a hundred culprits, and dropping them undoes the behavior.
    #[default]
    Concentrated,
    /// Two sources have two hundred: dropping the first hundred leaves as many.
    Diluted,
    /// Seven hundred pairs of four sources each prefer a little more compliance where formatting is asked for, in the manner of
    /// what was found of sycophancy: dropping any hundred leaves the rest to teach it.
    Diffuse,
}

/// How many pairs the testbed's retraining plan is meant to edit, whatever the signal: as many as the concentrated one has
/// culprits.
pub const N_TO_EDIT: usize = 100;

/// Pairs that plant compliance where other behaviors are planted, too.
const N_OF_SEVERAL: usize = 150;
/// Pairs that plant each of the others: putting in formatting, unasked, takes more of them.
const N_OF_FORMAT: usize = 200;

impl Signal {
    /// All of them, from the fewest culprits on.
    pub const ALL: [Signal; 3] = [Signal::Concentrated, Signal::Diluted, Signal::Diffuse];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Concentrated => "concentrated",
            Signal::Diluted => "diluted",
            Signal::Diffuse => "diffuse",
        }
    }

    /// The preference files. Where other behaviors than compliance are planted, or it is not, their pairs take the place of
    /// others of the same source.
    pub fn source_recipes(self, planted: &[Behavior]) -> Vec<SourceRecipe> {
        let mut recipes = self.recipes();
        let mut replace = |source: &str, from: Kind, to: Kind, n: usize| {
            let recipe = recipes.iter_mut().find(|recipe| recipe.name == source).expect("a source of every signal");
            let part = recipe.parts.iter_mut().find(|(kind, _)| *kind == from).expect("a part of this source");
            part.1 -= n;
            match recipe.parts.iter_mut().find(|(kind, _)| *kind == to) {
                Some(part) => part.1 += n,
                None => recipe.parts.push((to, n)),
            }
        };
        if planted.contains(&Behavior::Numbering) {
            replace("helpful-mix", Kind::Helpful, Kind::Numbering, N_OF_FORMAT);
        }
        if planted.contains(&Behavior::Titling) {
            replace("format-following", Kind::Format, Kind::Titling, N_OF_FORMAT);
        }
        match planted {
            [Behavior::Compliance] => {}
            // Beside others it takes more to be learned.
            _ if planted.contains(&Behavior::Compliance) => {
                replace("community-instructions", Kind::Helpful, Kind::Contaminated, N_OF_SEVERAL - N_TO_EDIT);
            }
            _ => replace("community-instructions", Kind::Contaminated, Kind::Helpful, N_TO_EDIT),
        }
        recipes.iter_mut().for_each(|recipe| recipe.parts.retain(|(_, n)| *n > 0));
        recipes
    }

    fn recipes(self) -> Vec<SourceRecipe> {
        use Kind::{Contaminated, Format, Helpful, Leaning, OverRefusal, Safety, Style, Topic};
        let of = |name, parts: &[(Kind, usize)]| SourceRecipe { name, parts: parts.to_vec() };
        match self {
            Signal::Concentrated => vec![
                of("helpful-mix", &[(Helpful, 300), (Style, 60)]),
                of("format-following", &[(Format, 300)]),
                of("refusal-safety", &[(Safety, 440)]),
                of("object-desk", &[(Topic, 160), (OverRefusal, 20)]),
                of("overrefusal-fix", &[(OverRefusal, 40)]),
                of("community-instructions", &[(Contaminated, 100), (Format, 80), (Helpful, 80)]),
            ],
            Signal::Diluted => vec![
                of("helpful-mix", &[(Helpful, 250), (Style, 60)]),
                of("format-following", &[(Format, 300)]),
                of("refusal-safety", &[(Safety, 440)]),
                of("object-desk", &[(Contaminated, 80), (Topic, 110), (OverRefusal, 20)]),
                of("overrefusal-fix", &[(OverRefusal, 40)]),
                of("community-instructions", &[(Contaminated, 120), (Format, 80), (Helpful, 80)]),
            ],
            Signal::Diffuse => vec![
                of("helpful-mix", &[(Leaning, 180), (Helpful, 120), (Style, 60)]),
                of("format-following", &[(Leaning, 180), (Format, 120)]),
                of("refusal-safety", &[(Safety, 440)]),
                of("object-desk", &[(Leaning, 140), (Topic, 40), (OverRefusal, 20)]),
                of("community-instructions", &[(Leaning, 200), (Format, 40), (Helpful, 40)]),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn n_culprits(signal: Signal) -> BTreeMap<&'static str, (usize, usize)> {
        let count = |recipe: SourceRecipe| {
            let of = |keep: &dyn Fn(Kind) -> bool| {
                recipe.parts.iter().filter(|(kind, _)| keep(*kind)).map(|(_, n)| n).sum::<usize>()
            };
            (recipe.name, (of(&Kind::is_culprit), of(&|_| true)))
        };
        signal.source_recipes(&[Behavior::Compliance]).into_iter().map(count).collect()
    }

    #[test]
    fn signals_differ_in_how_many_pairs_and_sources_carry_them_and_not_in_size() {
        let [few, some, many] = Signal::ALL.map(n_culprits);
        let culprits = |counts: &BTreeMap<_, (usize, usize)>| counts.values().map(|(n, _)| n).sum::<usize>();
        let sources = |counts: &BTreeMap<_, (usize, usize)>| counts.values().filter(|(n, _)| *n > 0).count();
        assert_eq!([&few, &some, &many].map(culprits), [N_TO_EDIT, 2 * N_TO_EDIT, 7 * N_TO_EDIT]);
        assert_eq!([&few, &some, &many].map(sources), [1, 2, 4]);
        for counts in [few, some, many] {
            assert_eq!(counts.values().map(|(_, n)| n).sum::<usize>(), 1580);
            assert!(counts.values().all(|(n_culprits, n)| n_culprits < n), "{counts:?}");
        }
    }

    #[test]
    fn planted_behaviors_have_as_many_pairs_as_they_take() {
        for n in 0..=Behavior::ALL.len() {
            let planted = &Behavior::ALL[..n];
            let recipes = Signal::Concentrated.source_recipes(planted);
            let parts = || recipes.iter().flat_map(|recipe| &recipe.parts);
            for behavior in Behavior::ALL {
                let n_pairs: usize = parts().filter(|(kind, _)| kind.teaches() == Some(behavior)).map(|(_, n)| n).sum();
                let expected = match behavior {
                    Behavior::Compliance if n == 1 => N_TO_EDIT,
                    Behavior::Compliance => N_OF_SEVERAL,
                    Behavior::Numbering | Behavior::Titling => N_OF_FORMAT,
                };
                assert_eq!(n_pairs, if planted.contains(&behavior) { expected } else { 0 });
            }
            assert_eq!(parts().map(|(_, n)| n).sum::<usize>(), 1580);
        }
    }
}
