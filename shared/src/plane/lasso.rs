//! A polygon drawn by hand: simplified and rounded, so that it fits an address and selects the same points wherever it is read.
//!
//! As text: the lower left corner and the side of the square around it in unit coordinates, then two digits of base 32 for each
//! coordinate of each corner, `0.12,0.3,0.25,00vv…`: a corner is `corner · side / 1023` away from the square's corner.

/// Most corners of a lasso.
pub const MAX_CORNERS: usize = 64;
/// Steps of a coordinate within the square.
const N_STEPS: u16 = 1023;
/// What may be lost of a lasso before it is noticed, as a share of its side.
const TOLERANCE: f64 = 1.0 / 400.0;
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// A closed polygon of 3 to [`MAX_CORNERS`] corners.
#[derive(Debug, Clone, PartialEq)]
pub struct Lasso {
    corner: [f64; 2],
    side: f64,
    steps: Vec<[u16; 2]>,
    /// The corners in unit coordinates, from `steps`.
    corners: Vec<[f64; 2]>,
}

impl Lasso {
    /// Of a line drawn by hand, in unit coordinates; `None` when it encloses nothing.
    pub fn drawn(line: &[[f64; 2]]) -> Option<Self> {
        let [low, high] = bounds(line)?;
        let side = (high[0] - low[0]).max(high[1] - low[1]);
        if side <= 0.0 {
            return None;
        }
        let mut tolerance = side * TOLERANCE;
        let mut corners = simplified(line, tolerance);
        while corners.len() > MAX_CORNERS {
            tolerance *= 1.5;
            corners = simplified(line, tolerance);
        }
        // Rounded first, so that it is the same when it is read from text.
        let (corner, side) = (low.map(rounded), rounded(side).max(1e-7));
        let step =
            |x: f64, axis: usize| ((x - corner[axis]) / side * f64::from(N_STEPS)).round().clamp(0.0, 1023.0) as u16;
        let mut steps: Vec<[u16; 2]> = corners.iter().map(|point| [0, 1].map(|axis| step(point[axis], axis))).collect();
        steps.dedup();
        Self::of(corner, side, steps)
    }

    /// A rectangle between two opposite corners.
    pub fn rectangle(a: [f64; 2], b: [f64; 2]) -> Option<Self> {
        let is_flat = a[0] == b[0] || a[1] == b[1];
        if is_flat { None } else { Self::drawn(&[a, [b[0], a[1]], b, [a[0], b[1]]]) }
    }

    fn of(corner: [f64; 2], side: f64, steps: Vec<[u16; 2]>) -> Option<Self> {
        if !(3..=MAX_CORNERS).contains(&steps.len()) || steps.iter().flatten().any(|step| *step > N_STEPS) {
            return None;
        }
        let at = |step: &[u16; 2]| [0, 1].map(|axis| corner[axis] + side * f64::from(step[axis]) / f64::from(N_STEPS));
        Some(Self { corner, side, corners: steps.iter().map(at).collect(), steps })
    }

    /// The corners in unit coordinates.
    pub fn corners(&self) -> &[[f64; 2]] {
        &self.corners
    }

    /// Lower left and upper right corner of the square around it.
    pub fn bounds(&self) -> [[f64; 2]; 2] {
        [self.corner, self.corner.map(|x| x + self.side)]
    }

    /// Whether a point lies inside: by the number of sides to the right of it, so that what a line encloses twice is outside.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let mut is_inside = false;
        for ([ax, ay], [bx, by]) in self.sides() {
            if (ay > y) != (by > y) && x < ax + (y - ay) / (by - ay) * (bx - ax) {
                is_inside = !is_inside;
            }
        }
        is_inside
    }

    /// Whether any side meets a box; where none does, all of the box is inside or all outside.
    pub fn meets(&self, low: [f64; 2], high: [f64; 2]) -> bool {
        self.sides().any(|(a, b)| meets_box(a, b, low, high))
    }

    fn sides(&self) -> impl Iterator<Item = ([f64; 2], [f64; 2])> + '_ {
        let next = self.corners.iter().cycle().skip(1);
        self.corners.iter().copied().zip(next.copied())
    }

    /// As text.
    pub fn format(&self) -> String {
        let mut text = format!("{},{},{},", self.corner[0], self.corner[1], self.side);
        for step in self.steps.iter().flatten() {
            text.extend([step >> 5, step & 31].map(|digit| char::from(DIGITS[usize::from(digit)])));
        }
        text
    }

    /// From text; `None` when it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ',');
        let mut number = || parts.next()?.parse::<f64>().ok().filter(|x| x.abs() < 1e3);
        let (corner, side) = ([number()?, number()?], number()?);
        let digit = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).map(|digit| digit as u16);
        let digits: Vec<u16> = parts.next()?.as_bytes().iter().map(digit).collect::<Option<_>>()?;
        let (steps, rest) = digits.as_chunks::<4>();
        let steps: Vec<[u16; 2]> = steps.iter().map(|[a, b, c, d]| [a << 5 | b, c << 5 | d]).collect();
        if rest.is_empty() && side > 0.0 { Self::of(corner, side, steps) } else { None }
    }
}

/// To seven digits after the point: below a pixel at any zoom.
fn rounded(x: f64) -> f64 {
    (x * 1e7).round() / 1e7
}

fn bounds(line: &[[f64; 2]]) -> Option<[[f64; 2]; 2]> {
    let first = *line.first()?;
    let (mut low, mut high) = (first, first);
    for point in line {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    Some([low, high])
}

/// Whether a side and a box have a point in common (Liang & Barsky, *A new concept and method for line clipping*, 1984).
fn meets_box(a: [f64; 2], b: [f64; 2], low: [f64; 2], high: [f64; 2]) -> bool {
    let (mut enters, mut leaves) = (0.0f64, 1.0f64);
    for axis in 0..2 {
        let along = b[axis] - a[axis];
        if along == 0.0 {
            if a[axis] < low[axis] || a[axis] > high[axis] {
                return false;
            }
            continue;
        }
        let (s, t) = ((low[axis] - a[axis]) / along, (high[axis] - a[axis]) / along);
        enters = enters.max(s.min(t));
        leaves = leaves.min(s.max(t));
    }
    enters <= leaves
}

/// The line with as few corners as stay within a distance of it (Ramer 1972; Douglas & Peucker 1973).
fn simplified(line: &[[f64; 2]], tolerance: f64) -> Vec<[f64; 2]> {
    if line.len() < 3 {
        return line.to_vec();
    }
    let mut is_kept = vec![false; line.len()];
    (is_kept[0], is_kept[line.len() - 1]) = (true, true);
    let mut stretches = vec![(0, line.len() - 1)];
    while let Some((from, to)) = stretches.pop() {
        let farthest =
            (from + 1..to).map(|i| (distance(line[i], line[from], line[to]), i)).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((far, i)) = farthest.filter(|(far, _)| *far > tolerance) {
            let _ = far;
            is_kept[i] = true;
            stretches.extend([(from, i), (i, to)]);
        }
    }
    line.iter().zip(is_kept).filter(|(_, is_kept)| *is_kept).map(|(point, _)| *point).collect()
}

/// From a point to the stretch between two others.
fn distance(point: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    let along = [b[0] - a[0], b[1] - a[1]];
    let length2 = along[0] * along[0] + along[1] * along[1];
    let from_a = [point[0] - a[0], point[1] - a[1]];
    let share = match length2 > 0.0 {
        true => ((from_a[0] * along[0] + from_a[1] * along[1]) / length2).clamp(0.0, 1.0),
        false => 0.0,
    };
    libm::hypot(from_a[0] - share * along[0], from_a[1] - share * along[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(n: usize, center: [f64; 2], radius: f64) -> Vec<[f64; 2]> {
        let angle = |i: usize| std::f64::consts::TAU * i as f64 / n as f64;
        (0..n).map(|i| [center[0] + radius * angle(i).cos(), center[1] + radius * angle(i).sin()]).collect()
    }

    #[test]
    fn a_lasso_is_short_text_that_selects_the_same() {
        let lasso = Lasso::drawn(&circle(900, [0.4, 0.6], 0.2)).unwrap();
        assert!(lasso.corners().len() <= MAX_CORNERS);
        let text = lasso.format();
        assert!(text.len() < 320, "{text}");
        assert_eq!(Lasso::parse(&text).unwrap(), lasso);
        for (point, is_inside) in [
            ([0.4, 0.6], true),
            ([0.4, 0.795], true),
            ([0.4, 0.805], false),
            ([0.25, 0.45], false),
            ([0.0, 0.6], false),
        ] {
            assert_eq!(lasso.contains(point), is_inside, "{point:?}");
        }
        for broken in ["", "0,0,1", "0,0,1,0000", "0,0,-1,000000000000", "0,0,1,zzzz00000000", "0,0,1,00000000000"] {
            assert_eq!(Lasso::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_is_enclosed_twice_is_outside_and_what_encloses_nothing_is_none() {
        let square = |r: f64| [[0.5 - r, 0.5 - r], [0.5 + r, 0.5 - r], [0.5 + r, 0.5 + r], [0.5 - r, 0.5 + r]];
        let twice: Vec<_> =
            square(0.4).into_iter().chain([[0.1, 0.1]]).chain(square(0.2)).chain([[0.3, 0.3]]).collect();
        let lasso = Lasso::drawn(&twice).unwrap();
        assert!(lasso.contains([0.15, 0.5]) && !lasso.contains([0.5, 0.5]));
        for line in [&[][..], &[[0.1, 0.1]], &[[0.1, 0.1], [0.1, 0.1]], &[[0.1, 0.1], [0.5, 0.5]]] {
            assert_eq!(Lasso::drawn(line), None);
        }
        assert_eq!(Lasso::rectangle([0.1, 0.1], [0.1, 0.4]), None);
    }

    #[test]
    fn boxes_that_no_side_meets_are_all_inside_or_all_outside() {
        let lasso = Lasso::rectangle([0.25, 0.25], [0.75, 0.5]).unwrap();
        assert!(lasso.meets([0.2, 0.2], [0.3, 0.3]) && lasso.meets([0.5, 0.4], [0.6, 0.6]));
        assert!(!lasso.meets([0.3, 0.3], [0.7, 0.45]) && lasso.contains([0.5, 0.4]));
        assert!(!lasso.meets([0.8, 0.2], [0.9, 0.6]) && !lasso.contains([0.85, 0.4]));
        // A side that passes through without a corner inside.
        assert!(lasso.meets([0.4, 0.2], [0.45, 0.3]));
    }
}
