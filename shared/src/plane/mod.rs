//! Points on a plane as a person looks at them: what part is seen, which point is under the pointer, which lie in a lasso,
//! and a picture of them. Between [`crate::map`], which says where pairs lie, and whatever shows them.
//!
//! Everything here is in *unit coordinates*: [`Frame`] moves a map so that its bounds are centred at (0.5, 0.5) and the longer
//! side is 1, with y upwards. Distances keep their proportions.
//!
//! - [`viewport`]: from unit coordinates to pixels and back, panning and zooming;
//! - [`grid`]: the points in cells, so that asking what is where costs what is there;
//! - [`lasso`]: a polygon drawn by hand, short enough for an address;
//! - [`raster`]: density and points as pixels, where no graphics processor draws them.

pub mod grid;
pub mod lasso;
pub mod raster;
pub mod viewport;

/// How a map's own coordinates become unit coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Centre of the map's bounds.
    center: [f64; 2],
    /// Unit length over the map's own.
    scale: f64,
    /// How far the bounds reach in unit coordinates, each in (0, 1]; the longer one is 1.
    pub extent: [f64; 2],
}

impl Frame {
    /// Around points `[n, 2]`, row-major, finite. Points at one place, or none, get a frame of side 1 around them.
    pub fn around(points: &[f32]) -> Self {
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for point in points.as_chunks::<2>().0 {
            for axis in 0..2 {
                low[axis] = low[axis].min(f64::from(point[axis]));
                high[axis] = high[axis].max(f64::from(point[axis]));
            }
        }
        if points.is_empty() {
            (low, high) = ([0.0; 2], [0.0; 2]);
        }
        let sides = [0, 1].map(|axis| high[axis] - low[axis]);
        let longer = sides[0].max(sides[1]);
        let center = [0, 1].map(|axis| low[axis] + sides[axis] / 2.0);
        // A side without length would make a viewport of infinite scale.
        const LEAST_EXTENT: f64 = 0.05;
        match longer > 0.0 {
            true => Self { center, scale: 1.0 / longer, extent: sides.map(|side| (side / longer).max(LEAST_EXTENT)) },
            false => Self { center, scale: 1.0, extent: [1.0; 2] },
        }
    }

    /// A point of the map in unit coordinates.
    pub fn unit(self, point: [f32; 2]) -> [f32; 2] {
        [0, 1].map(|axis| ((f64::from(point[axis]) - self.center[axis]) * self.scale + 0.5) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_keeps_proportions_and_survives_points_at_one_place() {
        let frame = Frame::around(&[-10.0, 5.0, 10.0, 10.0]);
        assert_eq!(frame.extent, [1.0, 0.25]);
        assert_eq!(frame.unit([-10.0, 5.0]), [0.0, 0.375]);
        assert_eq!(frame.unit([10.0, 10.0]), [1.0, 0.625]);
        for points in [&[][..], &[3.0, 3.0], &[3.0, 3.0, 3.0, 3.0]] {
            let frame = Frame::around(points);
            assert_eq!(frame.extent, [1.0, 1.0]);
            if let Some(point) = points.first_chunk() {
                assert_eq!(frame.unit(*point), [0.5, 0.5]);
            }
        }
    }
}
