//! Anisotropy: how far all pair vectors point the same way whatever they teach.
//!
//! Where it is high, every direction that has a part of the common one scores every pair alike.

/// Sums over pair vectors that their mean cosine is made of. Rows may come in any grouping.
#[derive(Debug, Clone, PartialEq)]
pub struct Anisotropy {
    n_rows: usize,
    /// Sum of the unit vectors, `[d_model]`.
    sum: Vec<f64>,
}

impl Anisotropy {
    /// Of no row yet.
    pub fn new(d_model: usize) -> Self {
        Self { n_rows: 0, sum: vec![0.0; d_model] }
    }

    /// Adds a row's vector, `[d_model]`; a zero vector points nowhere and is left out.
    pub fn add(&mut self, vector: &[f32]) {
        let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if norm > 0.0 {
            self.n_rows += 1;
            self.sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x) / norm);
        }
    }

    /// Adds the sums of other rows.
    pub fn merge(&mut self, other: &Self) {
        self.n_rows += other.n_rows;
        self.sum.iter_mut().zip(&other.sum).for_each(|(sum, x)| *sum += x);
    }

    /// Mean cosine over all pairs of different rows, in [−1, 1]: (‖Σ u‖² − n) / n(n − 1) for unit vectors u. None with
    /// fewer than two rows that point anywhere.
    pub fn mean_cosine(&self) -> Option<f64> {
        let n = self.n_rows as f64;
        let square: f64 = self.sum.iter().map(|x| x * x).sum();
        (self.n_rows > 1).then(|| ((square - n) / (n * (n - 1.0))).clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::exact_cosine;
    use crate::statistics::random::Random;

    #[test]
    fn it_is_the_mean_over_pairs_of_rows() {
        let mut random = Random::new(2);
        let rows: Vec<Vec<f32>> =
            (0..20).map(|_| (0..4).map(|i| (random.normal() + f64::from(i)) as f32).collect()).collect();
        let mut sums = [Anisotropy::new(4), Anisotropy::new(4)];
        rows.iter().enumerate().for_each(|(i, row)| sums[i / 13].add(row));
        let [mut all, rest] = sums;
        all.merge(&rest);
        all.add(&[0.0; 4]);
        let mut cosines = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            cosines.extend(rows[..i].iter().map(|other| exact_cosine(&row, other)));
        }
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        assert!((all.mean_cosine().unwrap() - mean).abs() < 1e-9);
        assert_eq!(Anisotropy::new(4).mean_cosine(), None);
        let mut same = Anisotropy::new(2);
        (0..5).for_each(|_| same.add(&[0.3, -0.4]));
        assert!((same.mean_cosine().unwrap() - 1.0).abs() < 1e-12);
    }
}
