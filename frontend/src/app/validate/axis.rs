//! A linear axis and its round ticks. Places are percentages of the drawing's width or height, so that a drawing fits
//! whatever room it has while its letters and strokes keep their size.

/// What a drawing shows, from one edge to the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// From `low` to `high`; widened when they are one.
    pub fn new(low: f64, high: f64) -> Self {
        if high > low { Self { low, high } } else { Self { low: low - 0.5, high: low + 0.5 } }
    }

    /// Holds all values with a margin, as a share of their range, on either side.
    pub fn around(values: impl IntoIterator<Item = f64>, margin: f64) -> Self {
        let ends = values.into_iter().filter(|value| value.is_finite());
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return Self::new(0.0, 1.0);
        }
        let margin = margin * (high - low);
        Self::new(low - margin, high + margin)
    }

    /// Distance from the low edge, in percent of the whole; values beyond an edge stand on it.
    pub fn at(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low) * 100.0).clamp(0.0, 100.0)
    }

    /// [`Axis::at`] for an attribute, such as `12.5%`.
    pub fn percent(&self, value: f64) -> String {
        format!("{:.3}%", self.at(value))
    }

    /// Distance from the high edge: vertical places count from the top.
    pub fn below_top(&self, value: f64) -> String {
        format!("{:.3}%", 100.0 - self.at(value))
    }

    /// At most `n` round values within.
    pub fn ticks(&self, n: usize) -> Vec<f64> {
        let least = (self.high - self.low) / n.max(1) as f64;
        let magnitude = 10f64.powf(least.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|step| *step >= least);
        let step = step.unwrap_or(10.0 * magnitude);
        let (first, last) = ((self.low / step - 1e-9).ceil() as i64, (self.high / step + 1e-9).floor() as i64);
        (first..=last).map(|i| i as f64 * step).collect()
    }
}
