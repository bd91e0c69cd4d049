//! What decisions do to the data as a whole: pairs of each source and lengths, before and after.

use super::Decision;
use super::worklist::Worklist;
use crate::columns::RowColumns;

/// Pairs of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceEffect {
    /// Before.
    pub n_pairs: usize,
    /// Left out.
    pub n_dropped: usize,
    /// With their sides swapped.
    pub n_switched: usize,
}

impl SourceEffect {
    /// Pairs left to train on.
    pub fn n_left(&self) -> usize {
        self.n_pairs - self.n_dropped
    }
}

/// Lengths of responses over all pairs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lengths {
    /// Pairs.
    pub n_pairs: usize,
    /// Mean length of chosen responses in characters; 0 without pairs.
    pub chosen_mean: f64,
    /// Mean length of rejected responses in characters; 0 without pairs.
    pub rejected_mean: f64,
    /// Pairs whose chosen response is the longer one.
    pub n_chosen_longer: usize,
    /// Pairs whose rejected response is the longer one.
    pub n_rejected_longer: usize,
}

/// What decisions do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effect {
    /// By the source's number.
    pub sources: Vec<SourceEffect>,
    /// Before.
    pub before: Lengths,
    /// After.
    pub after: Lengths,
}

/// The effect of a worklist on pairs of `n_sources` sources. Rows and sources that are not there are ignored.
pub fn effect(columns: &RowColumns, n_sources: usize, worklist: &Worklist) -> Effect {
    let mut sources = vec![SourceEffect::default(); n_sources];
    for &source in &columns.source {
        if let Some(source) = sources.get_mut(source as usize) {
            source.n_pairs += 1;
        }
    }
    for (row, decided) in worklist.iter() {
        let source = columns.source.get(row as usize).and_then(|source| sources.get_mut(*source as usize));
        match (source, decided.action) {
            (Some(source), Decision::Drop) => source.n_dropped += 1,
            (Some(source), Decision::Switch) => source.n_switched += 1,
            _ => {}
        }
    }
    Effect { sources, before: lengths(columns, None), after: lengths(columns, Some(worklist)) }
}

/// Lengths of all pairs as a worklist leaves them.
pub fn lengths(columns: &RowColumns, worklist: Option<&Worklist>) -> Lengths {
    let (mut lengths, mut chosen_sum, mut rejected_sum) = (Lengths::default(), 0u64, 0u64);
    // Decisions come by row, too.
    let mut decided = worklist.into_iter().flat_map(Worklist::iter).peekable();
    for (row, (&chosen, &rejected)) in columns.chosen_chars.iter().zip(&columns.rejected_chars).enumerate() {
        let action = match decided.next_if(|(of, _)| *of as usize == row) {
            Some((_, decided)) => decided.action,
            None => Decision::Keep,
        };
        let (chosen, rejected) = match action {
            Decision::Drop => continue,
            Decision::Keep => (chosen, rejected),
            Decision::Switch => (rejected, chosen),
        };
        lengths.n_pairs += 1;
        chosen_sum += u64::from(chosen);
        rejected_sum += u64::from(rejected);
        lengths.n_chosen_longer += usize::from(chosen > rejected);
        lengths.n_rejected_longer += usize::from(rejected > chosen);
    }
    let mean = |sum: u64| sum as f64 / (lengths.n_pairs as f64).max(1.0);
    Lengths { chosen_mean: mean(chosen_sum), rejected_mean: mean(rejected_sum), ..lengths }
}

#[cfg(test)]
mod tests {
    use super::super::worklist::Decided;
    use super::*;

    #[test]
    fn dropping_and_switching_show_in_sources_and_lengths() {
        let columns = RowColumns {
            source: vec![0, 1, 1, 0],
            chosen_chars: vec![10, 20, 30, 40],
            rejected_chars: vec![5, 25, 30, 0],
            ..RowColumns::default()
        };
        let mut worklist = Worklist::default();
        let decided = |action| Some(Decided { action, note: String::new() });
        worklist.decide(
            "",
            0.0,
            [(1, decided(Decision::Drop)), (3, decided(Decision::Switch)), (2, decided(Decision::Keep))],
        );
        let effect = effect(&columns, 2, &worklist);
        assert_eq!(effect.sources[0], SourceEffect { n_pairs: 2, n_dropped: 0, n_switched: 1 });
        assert_eq!((effect.sources[1].n_dropped, effect.sources[1].n_left()), (1, 1));
        let Lengths { n_pairs, chosen_mean, rejected_mean, n_chosen_longer, n_rejected_longer } = effect.before;
        assert_eq!((n_pairs, chosen_mean, rejected_mean), (4, 25.0, 15.0));
        assert_eq!((n_chosen_longer, n_rejected_longer), (2, 1));
        let Lengths { n_pairs, chosen_mean, rejected_mean, n_chosen_longer, n_rejected_longer } = effect.after;
        assert_eq!((n_pairs, chosen_mean), (3, 40.0 / 3.0));
        assert_eq!(rejected_mean, 25.0);
        assert_eq!((n_chosen_longer, n_rejected_longer), (1, 1));
        assert_eq!(lengths(&RowColumns::default(), None), Lengths::default());
    }
}
