//! Density and points as pixels, drawn by the processor: what a map shows where no graphics processor draws it, and what the one
//! that does is to show.
//!
//! Every point is a small disc. A pixel sums the discs over it: its color is the mean of their colors, its opacity grows with the
//! logarithm of how many there are ([`Tone`]), so that a crowd of a thousand and a single point are both seen. Points that are not
//! lit weigh a quarter, so that lit ones show through a crowd.

use super::grid::Grid;
use super::viewport::{Viewport, Window};

/// A point that is lit weighs this much, one that is not weighs 1.
pub const LIT_WEIGHT: u32 = 4;
/// Steps of a pixel's coverage by a disc.
const N_COVERAGE: u32 = 8;
/// Positions of a disc within a pixel that are told apart, along each axis.
const N_PHASES: usize = 4;
/// What a pixel sums up to for one lit point that covers it.
const ONE_POINT: u32 = LIT_WEIGHT * N_COVERAGE;

/// Diameters of points in pixels.
const DIAMETERS: [f64; 2] = [1.6, 9.0];
/// How much of the room between points they fill: their diameter over the distance to the next, were they spread evenly. Above 1
/// because where a map is not crowded they are far from even.
const FILL: f64 = 1.2;

/// The diameter of points in pixels of the screen: they grow as they move apart.
pub fn diameter(crowding: f64, scale: f64) -> f64 {
    let apart_px = scale / libm::sqrt(crowding.max(1.0));
    (FILL * apart_px).clamp(DIAMETERS[0], DIAMETERS[1])
}

/// How opaque a pixel is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    /// Opacity of a pixel that one lit point covers, in [0, 1].
    pub least: f64,
    /// Points on a pixel at which it is opaque, at least 1.
    pub full: f64,
}

impl Tone {
    /// For a map as crowded as this, with points of a diameter, where `scale` pixels are a unit.
    pub fn of(crowding: f64, scale: f64, diameter: f64) -> Self {
        let area = std::f64::consts::PI / 4.0 * diameter * diameter;
        let on_a_pixel = crowding / (scale * scale) * area;
        Self { least: 0.55, full: (6.0 * on_a_pixel).max(6.0) }
    }

    /// Opacity where so many points lie on a pixel: in [0, 1].
    pub fn opacity(self, n_points: f64) -> f64 {
        let share = libm::log1p((n_points - 1.0).max(0.0)) / libm::log1p(self.full - 1.0).max(1e-9);
        (n_points.min(1.0) * (self.least + (1.0 - self.least) * share)).clamp(0.0, 1.0)
    }
}

/// A color with a weight: what a point adds to a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tint {
    /// Red, green, blue.
    pub rgb: [u8; 3],
    /// Whether it weighs as much as a point that is lit.
    pub is_lit: bool,
}

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The points.
    pub grid: &'a Grid,
    /// Which tint, by place.
    pub colors: &'a [u8],
    /// Tints; a number beyond them is the first one.
    pub tints: &'a [Tint],
    /// What is looked at.
    pub viewport: Viewport,
    /// Through what, in the pixels that are drawn.
    pub window: Window,
    /// Diameter of points in these pixels.
    pub diameter: f64,
}

/// A picture under way.
#[derive(Debug, Default)]
pub struct Raster {
    width: usize,
    height: usize,
    /// Of every pixel red and green, blue and weight; two numbers of 32 bits in one, so that two are added at once.
    sums: Vec<[u64; 2]>,
    pixels: Vec<u8>,
    stamp: Option<Stamp>,
}

/// Discs of one diameter at every phase: how much they cover of the pixels of a square around their centre.
#[derive(Debug)]
struct Stamp {
    diameter: f64,
    /// Pixels along a side of the square.
    side: usize,
    /// Coverage of its pixels in [`N_COVERAGE`] steps, row by row, phase by phase: `[N_PHASES², side, side]`.
    phases: Vec<u8>,
}

impl Stamp {
    fn new(diameter: f64) -> Self {
        let radius = diameter / 2.0;
        // What small discs cover beyond the four nearest pixels is not worth the time.
        let side = if diameter < 2.0 { 2 } else { libm::ceil(diameter + 1.0) as usize };
        let half = (side as f64 - 1.0) / 2.0;
        let phase = |i: usize| (i as f64 + 0.5) / N_PHASES as f64;
        let covered = |i: usize| -> Vec<u8> {
            let (x, y) = (phase(i % N_PHASES) + half, phase(i / N_PHASES) + half);
            let at = |pixel: usize| {
                let (across, down) = ((pixel % side) as f64 + 0.5 - x, (pixel / side) as f64 + 0.5 - y);
                let coverage = (radius + 0.5 - libm::hypot(across, down)).clamp(0.0, 1.0);
                (coverage * f64::from(N_COVERAGE)).round() as u8
            };
            (0..side * side).map(at).collect()
        };
        Self { diameter, side, phases: (0..N_PHASES * N_PHASES).flat_map(covered).collect() }
    }
}

impl Raster {
    /// Draws a scene, replacing the one before.
    pub fn draw(&mut self, scene: &Scene, tone: Tone) {
        self.clear(scene.window);
        self.sum(scene);
        self.resolve(tone);
    }

    /// Pixels across and down.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The picture: red, green, blue and opacity of every pixel, row by row from the top; not premultiplied.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    fn clear(&mut self, window: Window) {
        (self.width, self.height) = (window.width as usize, window.height as usize);
        self.sums.clear();
        self.sums.resize(self.width * self.height, [0; 2]);
        self.pixels.resize(4 * self.width * self.height, 0);
    }

    fn sum(&mut self, scene: &Scene) {
        if self.stamp.as_ref().is_none_or(|stamp| stamp.diameter != scene.diameter) {
            self.stamp = Some(Stamp::new(scene.diameter));
        }
        let (Some(stamp), Some(added)) = (&self.stamp, added(scene.tints)) else { return };
        let Scene { grid, colors, viewport, window, .. } = *scene;
        // Places are told apart to a phase: all are in phases rather than pixels.
        let n_phases = N_PHASES as f32;
        let scale = viewport.scale(window) as f32 * n_phases;
        // Where the square of a point at the origin begins.
        let half = (stamp.side as f32 - 1.0) / 2.0;
        let [left, top] = viewport.to_px(window, [0.0, 0.0]).map(|px| (px as f32 - half) * n_phases);
        let around = stamp.side as f64 * f64::from(n_phases) / f64::from(scale);
        let [low, high] = viewport.bounds(window);
        let points = grid.points().as_chunks::<2>().0;
        let mut square = Square { sums: &mut self.sums, width: self.width, height: self.height, side: stamp.side };
        for places in grid.stretches(low.map(|x| x - around), high.map(|x| x + around)) {
            for (point, color) in points[places.clone()].iter().zip(&colors[places]) {
                let (x, y) = (floor(left + point[0] * scale), floor(top - point[1] * scale));
                let phase = (y as usize % N_PHASES) * N_PHASES + x as usize % N_PHASES;
                let (column, line) = (x >> N_PHASES.ilog2(), y >> N_PHASES.ilog2());
                let n_covered = stamp.side * stamp.side;
                let covered = &stamp.phases[phase * n_covered..][..n_covered];
                square.add(column, line, covered, &added[usize::from(*color)]);
            }
        }
    }

    fn resolve(&mut self, tone: Tone) {
        let opacities = Opacities::of(tone);
        for (sum, pixel) in self.sums.iter().zip(self.pixels.as_chunks_mut::<4>().0) {
            let weight = (sum[1] >> 32) as u32;
            if weight == 0 {
                *pixel = [0; 4];
                continue;
            }
            let per_weight = 1.0 / weight as f32;
            let channel = |sum: u64| (sum as u32 as f32 * per_weight + 0.5) as u8;
            *pixel = [channel(sum[0]), channel(sum[0] >> 32), channel(sum[1]), opacities.at(weight)];
        }
    }

    /// Draws discs over the picture: places of the grid, with a rim that sets them off from what lies below.
    pub fn dots(&mut self, scene: &Scene, places: &[u32], fill: [u8; 3], rim: [u8; 3], radius: f64) {
        let (width, height) = (self.width as i32, self.height as i32);
        let reach = libm::ceil(radius + 1.5) as i32;
        for &place in places {
            let [x, y] = scene.viewport.to_px(scene.window, scene.grid.point(place as usize));
            let (column, line) = (libm::floor(x) as i32, libm::floor(y) as i32);
            if !(-reach..width + reach).contains(&column) || !(-reach..height + reach).contains(&line) {
                continue;
            }
            for dy in -reach..=reach {
                for dx in -reach..=reach {
                    let (px, py) = (column + dx, line + dy);
                    if !(0..width).contains(&px) || !(0..height).contains(&py) {
                        continue;
                    }
                    let (right, down) = (f64::from(px) + 0.5 - x, f64::from(py) + 0.5 - y);
                    let far = (right * right + down * down).sqrt();
                    let at = 4 * (py * width + px) as usize;
                    let pixel = &mut self.pixels[at..at + 4];
                    cover(pixel, rim, (radius + 1.5 - far).clamp(0.0, 1.0));
                    cover(pixel, fill, (radius + 0.5 - far).clamp(0.0, 1.0));
                }
            }
        }
    }
}

/// What a point adds to a pixel, by how much it covers of it: red and green, blue and weight.
type Added = [[u64; 2]; 16];

/// Of each tint; `None` without tints.
fn added(tints: &[Tint]) -> Option<Vec<Added>> {
    let of_tint = |i: usize| {
        let tint = tints.get(i).or(tints.first())?;
        let weight = if tint.is_lit { LIT_WEIGHT } else { 1 };
        let of_coverage = |coverage: usize| {
            let all = u64::from(weight) * coverage as u64;
            let [r, g, b] = tint.rgb.map(|channel| u64::from(channel) * all);
            [g << 32 | r, all << 32 | b]
        };
        Some(std::array::from_fn(of_coverage))
    };
    (0..256).map(of_tint).collect()
}

/// Where squares of pixels are added to.
struct Square<'a> {
    sums: &'a mut [[u64; 2]],
    width: usize,
    height: usize,
    /// Pixels along a side of a square.
    side: usize,
}

impl Square<'_> {
    /// Adds a square, whose first pixel is at a column and line, as far as it lies within the picture.
    #[inline]
    fn add(&mut self, column: i32, line: i32, covered: &[u8], added: &Added) {
        let Self { width, height, side, .. } = *self;
        let is_inside = column >= 0 && line >= 0 && column as usize + side <= width && line as usize + side <= height;
        if !is_inside {
            return self.add_clipped(column, line, covered, added);
        }
        let mut at = line as usize * width + column as usize;
        // Where most points are drawn there is nothing to loop over.
        if let (2, &[a, b, c, d]) = (side, covered) {
            let [sum_a, sum_b] = &mut self.sums[at..at + 2] else { return };
            add(sum_a, a, added);
            add(sum_b, b, added);
            let [sum_c, sum_d] = &mut self.sums[at + width..at + width + 2] else { return };
            add(sum_c, c, added);
            add(sum_d, d, added);
            return;
        }
        let mut from = 0;
        for _ in 0..side {
            for (sum, coverage) in self.sums[at..at + side].iter_mut().zip(&covered[from..from + side]) {
                add(sum, *coverage, added);
            }
            (at, from) = (at + width, from + side);
        }
    }

    fn add_clipped(&mut self, column: i32, line: i32, covered: &[u8], added: &Added) {
        for (line, covered) in (line..).zip(covered.chunks_exact(self.side)) {
            for (column, coverage) in (column..).zip(covered) {
                if (0..self.width as i32).contains(&column) && (0..self.height as i32).contains(&line) {
                    add(&mut self.sums[line as usize * self.width + column as usize], *coverage, added);
                }
            }
        }
    }
}

#[inline]
fn add(sum: &mut [u64; 2], coverage: u8, added: &Added) {
    let added = &added[usize::from(coverage) % added.len()];
    // Half a million points on one pixel are too many for 32 bits: their colors are then wrong.
    sum[0] = sum[0].wrapping_add(added[0]);
    sum[1] = sum[1].wrapping_add(added[1]);
}

/// The whole number at or below, of numbers that fit.
#[inline]
fn floor(x: f32) -> i32 {
    let whole = x as i32;
    whole - i32::from(whole as f32 > x)
}

/// Lays a color over a pixel that is not premultiplied.
fn cover(pixel: &mut [u8], color: [u8; 3], opacity: f64) {
    let below = f64::from(pixel[3]) / 255.0;
    let after = opacity + below * (1.0 - opacity);
    if opacity <= 0.0 || after <= 0.0 {
        return;
    }
    for (channel, over) in pixel.iter_mut().zip(color) {
        let mixed = f64::from(over) * opacity + f64::from(*channel) * below * (1.0 - opacity);
        *channel = (mixed / after).round() as u8;
    }
    pixel[3] = (after * 255.0).round() as u8;
}

/// Opacity by a pixel's weight, looked up: the logarithm of every pixel would take longer than all else.
struct Opacities {
    /// Of every weight.
    fine: Vec<u8>,
    /// Of every 64th one.
    coarse: Vec<u8>,
}

impl Opacities {
    const N: usize = 2048;
    const STEP: usize = 64;

    fn of(tone: Tone) -> Self {
        let opacity = |weight: usize| (tone.opacity(weight as f64 / f64::from(ONE_POINT)) * 255.0).round() as u8;
        Self {
            fine: (0..Self::N).map(opacity).collect(),
            coarse: (0..Self::N).map(|i| opacity(i * Self::STEP)).collect(),
        }
    }

    fn at(&self, weight: u32) -> u8 {
        let weight = weight as usize;
        match self.fine.get(weight) {
            Some(opacity) => *opacity,
            None => self.coarse[(weight / Self::STEP).min(Self::N - 1)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { width: 101.0, height: 101.0, extent: [1.0, 1.0] };
    const TONE: Tone = Tone { least: 0.5, full: 8.0 };
    const TINTS: [Tint; 3] = [
        Tint { rgb: [200, 0, 0], is_lit: true },
        Tint { rgb: [0, 0, 200], is_lit: true },
        Tint { rgb: [0, 100, 0], is_lit: false },
    ];

    fn drawn(points: &[f32], colors: &[u8], viewport: Viewport, diameter: f64) -> Raster {
        let grid = Grid::new(points);
        let colors: Vec<u8> = grid.rows().iter().map(|&row| colors[row as usize]).collect();
        let scene = Scene { grid: &grid, colors: &colors, tints: &TINTS, viewport, window: WINDOW, diameter };
        let mut raster = Raster::default();
        raster.draw(&scene, TONE);
        raster
    }

    fn pixel(raster: &Raster, x: usize, y: usize) -> [u8; 4] {
        let at = 4 * (y * raster.size().0 + x);
        raster.pixels()[at..at + 4].try_into().unwrap()
    }

    #[test]
    fn a_point_is_a_disc_where_it_lies_and_nothing_elsewhere() {
        let raster = drawn(&[0.5, 0.5], &[0], Viewport::default(), 5.0);
        assert_eq!(pixel(&raster, 50, 50), [200, 0, 0, 128]);
        assert_eq!(pixel(&raster, 52, 50), [200, 0, 0, 128]);
        assert_eq!((pixel(&raster, 54, 50), pixel(&raster, 50, 46)), ([0; 4], [0; 4]));
        let n_drawn = raster.pixels().chunks_exact(4).filter(|pixel| pixel[3] > 0).count();
        assert!((16..=32).contains(&n_drawn), "the area of a disc of diameter 5: {n_drawn}");
        // Looked at from elsewhere it is gone, and half of it is seen at an edge.
        let away = Viewport { center: [0.9, 0.9], zoom: 10.0 };
        assert!(drawn(&[0.5, 0.5], &[0], away, 5.0).pixels().iter().all(|x| *x == 0));
        let edge = drawn(&[0.0, 0.5, 1.0, 0.5], &[0, 0], Viewport { center: [0.5, 0.5], zoom: 1.0 / 0.88 }, 5.0);
        assert_eq!((pixel(&edge, 100, 50)[3], pixel(&edge, 0, 50)[3], pixel(&edge, 50, 50)[3]), (128, 128, 0));
    }

    #[test]
    fn crowds_are_more_opaque_colors_mix_and_lit_points_show() {
        let one = pixel(&drawn(&[0.5, 0.5], &[0], Viewport::default(), 3.0), 50, 50);
        let two = pixel(&drawn(&[0.5; 4], &[0, 1], Viewport::default(), 3.0), 50, 50);
        assert_eq!(two[..3], [100, 0, 100]);
        let crowd = pixel(&drawn(&[0.5; 64], &[0; 32], Viewport::default(), 3.0), 50, 50);
        assert!(one[3] < two[3] && two[3] < crowd[3] && crowd[3] == 255);
        let [r, g, ..] = pixel(&drawn(&[0.5; 6], &[0, 2, 2], Viewport::default(), 3.0), 50, 50);
        assert!(r == 133 && g == 33, "a lit point among two others: {r} {g}");
        assert_eq!(TONE.opacity(0.0), 0.0);
        assert!((TONE.opacity(1.0) - 0.5).abs() < 1e-12 && TONE.opacity(8.0) == 1.0 && TONE.opacity(1e9) == 1.0);
    }

    #[test]
    fn points_grow_as_they_move_apart() {
        let crowding = 400_000.0;
        let diameters = [800.0, 4000.0, 40_000.0].map(|scale| diameter(crowding, scale));
        assert!(diameters.is_sorted() && diameters[0] == 1.6 && diameters[2] == 9.0, "{diameters:?}");
    }

    #[test]
    fn dots_lie_over_everything() {
        let grid = Grid::new(&[0.5; 64]);
        let colors = [1; 32];
        let viewport = Viewport::default();
        let scene = Scene { grid: &grid, colors: &colors, tints: &TINTS, viewport, window: WINDOW, diameter: 3.0 };
        let mut raster = Raster::default();
        raster.draw(&scene, TONE);
        raster.dots(&scene, &[0], [1, 2, 3], [9, 9, 9], 3.0);
        assert_eq!(pixel(&raster, 50, 50), [1, 2, 3, 255]);
        assert_eq!(pixel(&raster, 54, 50)[..3], [9, 9, 9]);
    }
}
