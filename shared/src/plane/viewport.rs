//! What part of the plane is looked at: unit coordinates to pixels of a window and back.

/// Room left around all points when they fit the window, as a share of it.
const MARGIN: f64 = 0.06;
/// Least and greatest zoom. At the greatest, f32 coordinates still tell pixels apart.
const ZOOMS: [f64; 2] = [0.5, 2000.0];

/// The window that the plane is seen through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Pixels across, at least 1.
    pub width: f64,
    /// Pixels down, at least 1.
    pub height: f64,
    /// How far the points reach ([`super::Frame::extent`]).
    pub extent: [f64; 2],
}

/// What part of the plane is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Viewport {
    /// The point in the middle of the window, in unit coordinates.
    pub center: [f64; 2],
    /// 1 = all points fit the window; 2 = twice as large.
    pub zoom: f64,
}

impl Default for Viewport {
    /// All points.
    fn default() -> Self {
        Self { center: [0.5, 0.5], zoom: 1.0 }
    }
}

impl Viewport {
    /// Pixels per unit.
    pub fn scale(self, window: Window) -> f64 {
        let fit = (window.width / window.extent[0]).min(window.height / window.extent[1]);
        self.zoom * fit * (1.0 - 2.0 * MARGIN)
    }

    /// Where a point is seen: pixels from the left and from the top.
    pub fn to_px(self, window: Window, point: [f64; 2]) -> [f64; 2] {
        let scale = self.scale(window);
        [
            window.width / 2.0 + (point[0] - self.center[0]) * scale,
            window.height / 2.0 - (point[1] - self.center[1]) * scale,
        ]
    }

    /// What point is seen at a pixel.
    pub fn from_px(self, window: Window, px: [f64; 2]) -> [f64; 2] {
        let scale = self.scale(window);
        [self.center[0] + (px[0] - window.width / 2.0) / scale, self.center[1] - (px[1] - window.height / 2.0) / scale]
    }

    /// Lower left and upper right corner of what is seen.
    pub fn bounds(self, window: Window) -> [[f64; 2]; 2] {
        [self.from_px(window, [0.0, window.height]), self.from_px(window, [window.width, 0.0])]
    }

    /// Moved so that what was at a pixel is `by` pixels further.
    pub fn panned(self, window: Window, by: [f64; 2]) -> Self {
        let scale = self.scale(window);
        self.held([self.center[0] - by[0] / scale, self.center[1] + by[1] / scale], self.zoom)
    }

    /// Larger by `factor`, with the point at a pixel staying there.
    pub fn zoomed(self, window: Window, factor: f64, at_px: [f64; 2]) -> Self {
        let stays = self.from_px(window, at_px);
        let zoomed = self.held(self.center, self.zoom * factor);
        let now = zoomed.from_px(window, at_px);
        self.held([0, 1].map(|axis| zoomed.center[axis] + stays[axis] - now[axis]), zoomed.zoom)
    }

    /// Within what can be looked at: the centre stays among the points.
    fn held(self, center: [f64; 2], zoom: f64) -> Self {
        Self { center: center.map(|x| x.clamp(0.0, 1.0)), zoom: zoom.clamp(ZOOMS[0], ZOOMS[1]) }
    }

    /// As short text, to a tenth of a pixel of an ordinary window: `0.5123,0.25,3.2`.
    pub fn format(self) -> String {
        // A thousand pixels to a unit, times the zoom, times ten.
        let n_decimals = libm::ceil(libm::log10(self.zoom.max(1.0))) as usize + 4;
        let trimmed = |value: f64, n_decimals: usize| {
            let text = format!("{value:.n_decimals$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let [x, y] = self.center.map(|x| trimmed(x, n_decimals));
        format!("{x},{y},{}", trimmed(self.zoom, 3))
    }

    /// From such text; `None` when it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(',').map(|number| number.parse::<f64>().ok().filter(|x| x.is_finite()));
        let (x, y, zoom) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (numbers.next().is_none() && zoom > 0.0).then(|| Self::default().held([x, y], zoom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { width: 800.0, height: 400.0, extent: [1.0, 0.5] };

    fn near(a: [f64; 2], b: [f64; 2]) {
        assert!((a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9, "{a:?} {b:?}");
    }

    #[test]
    fn everything_fits_and_pixels_come_back() {
        let whole = Viewport::default();
        let [low, high] = whole.bounds(WINDOW);
        assert!(low[0] < 0.0 && high[0] > 1.0 && low[1] < 0.25 && high[1] > 0.75);
        let view = Viewport { center: [0.3, 0.6], zoom: 7.5 };
        for px in [[0.0, 0.0], [800.0, 400.0], [123.0, 45.0]] {
            near(view.to_px(WINDOW, view.from_px(WINDOW, px)), px);
        }
        // Up on the screen is up on the plane.
        assert!(view.from_px(WINDOW, [0.0, 0.0])[1] > view.from_px(WINDOW, [0.0, 400.0])[1]);
    }

    #[test]
    fn zooming_keeps_the_point_under_the_pointer_and_panning_moves_it_along() {
        let view = Viewport { center: [0.4, 0.5], zoom: 2.0 };
        let (px, point) = ([700.0, 90.0], view.from_px(WINDOW, [700.0, 90.0]));
        near(view.zoomed(WINDOW, 3.0, px).to_px(WINDOW, point), px);
        near(view.panned(WINDOW, [-30.0, 11.0]).to_px(WINDOW, point), [670.0, 101.0]);
        let far = view.panned(WINDOW, [1e9, 0.0]).zoomed(WINDOW, 1e9, [0.0, 0.0]);
        assert!((0.0..=1.0).contains(&far.center[0]) && far.zoom == ZOOMS[1]);
    }

    #[test]
    fn viewports_come_back_from_their_text_to_a_tenth_of_a_pixel() {
        for view in [
            Viewport::default(),
            Viewport { center: [0.123_456_789, 0.987_654_321], zoom: 3.207 },
            Viewport { center: [0.333_333_333, 0.1], zoom: 1999.5 },
        ] {
            let back = Viewport::parse(&view.format()).unwrap();
            let [a, b] = [view, back].map(|view| view.to_px(WINDOW, [0.4, 0.4]));
            let moved = back.to_px(WINDOW, view.center);
            near([moved[0].round(), moved[1].round()], [400.0, 200.0]);
            assert!(view.zoom > 100.0 || (a[0] - b[0]).abs() < 0.5, "{a:?} {b:?}");
        }
        assert_eq!(Viewport::default().format(), "0.5,0.5,1");
        for text in ["", "1,2", "0.5,0.5,0", "0.5,0.5,1,1", "a,0.5,1", "NaN,0,1"] {
            assert_eq!(Viewport::parse(text), None, "{text}");
        }
    }
}
