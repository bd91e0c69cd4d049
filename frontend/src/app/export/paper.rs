//! What a picture is drawn on: shapes and text in CSS pixels, kept as the elements of an SVG.

use std::fmt::Write;

use plotters::prelude::RGBColor;

use super::super::canvas::FONT;

/// Size of letters, in CSS pixels.
const LETTERS_PX: f64 = 11.0;

/// Where a text stands beside its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letters {
    color: RGBColor,
    anchor: Anchor,
    px: f64,
    is_bold: bool,
}

impl Letters {
    /// Of a chart's size, beginning at their point.
    pub fn new(color: RGBColor) -> Self {
        Self { color, anchor: Anchor::Start, px: LETTERS_PX, is_bold: false }
    }

    /// Beside their point.
    pub fn at(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// Of a size, in CSS pixels.
    pub fn px(self, px: f64) -> Self {
        Self { px, ..self }
    }

    /// Heavier.
    pub fn bold(self) -> Self {
        Self { is_bold: true, ..self }
    }
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    color: RGBColor,
    px: f64,
    is_dashed: bool,
}

impl Stroke {
    /// Of a color and a width in CSS pixels.
    pub fn new(color: RGBColor, px: f64) -> Self {
        Self { color, px, is_dashed: false }
    }

    /// Broken where `is_dashed`.
    pub fn dashed(self, is_dashed: bool) -> Self {
        Self { is_dashed, ..self }
    }

    fn attributes(self) -> String {
        let dashes = if self.is_dashed { r#" stroke-dasharray="4 3""# } else { "" };
        format!(r#"fill="none" stroke="{}" stroke-width="{}"{dashes}"#, hex(self.color), self.px)
    }
}

/// The paper.
#[derive(Debug, Clone, PartialEq)]
pub struct Paper {
    width: f64,
    height: f64,
    body: String,
}

impl Paper {
    /// Empty, of a size in CSS pixels.
    pub fn new([width, height]: [f64; 2]) -> Self {
        Self { width, height, body: String::new() }
    }

    /// CSS pixels across and down.
    pub fn size(&self) -> [f64; 2] {
        [self.width, self.height]
    }

    /// Taller by so many CSS pixels; where what is added begins.
    pub fn extend(&mut self, by_px: f64) -> f64 {
        self.height += by_px;
        self.height - by_px
    }

    /// A text at a point of its baseline.
    pub fn text(&mut self, [x, y]: [f64; 2], letters: Letters, text: &str) {
        let Letters { color, anchor, px, is_bold } = letters;
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if is_bold { r#" font-weight="600""# } else { "" };
        self.push(&format!(
            r#"<text x="{x:.2}" y="{y:.2}" font-family="{FONT}" font-size="{px}"{weight} text-anchor="{anchor}" fill="{}">{}</text>"#,
            hex(color),
            escaped(text)
        ));
    }

    /// A line through points.
    pub fn line(&mut self, points: &[[f64; 2]], stroke: Stroke) {
        self.push(&format!(r#"<polyline points="{}" {} />"#, points_text(points), stroke.attributes()));
    }

    /// A filled area between points.
    pub fn area(&mut self, points: &[[f64; 2]], color: RGBColor, opacity: f64) {
        let points = points_text(points);
        self.push(&format!(r#"<polygon points="{points}" fill="{}" fill-opacity="{opacity}" />"#, hex(color)));
    }

    /// A filled rectangle, from its left and upper corner on, with a rim where one is given.
    pub fn rectangle(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], fill: RGBColor, rim: Option<RGBColor>) {
        let rim = rim.map_or_else(String::new, |rim| format!(r#" stroke="{}" stroke-width="1.5""#, hex(rim)));
        let fill = hex(fill);
        self.push(&format!(
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="{fill}"{rim} />"#
        ));
    }

    /// A filled circle.
    pub fn dot(&mut self, [x, y]: [f64; 2], radius_px: f64, color: RGBColor) {
        self.push(&format!(r#"<circle cx="{x:.2}" cy="{y:.2}" r="{radius_px}" fill="{}" />"#, hex(color)));
    }

    /// Pixels, by the address that holds them, drawn over a rectangle; as they are where `is_sharp`, else smoothed.
    pub fn image(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], data: &str, is_sharp: bool) {
        let rendering = if is_sharp { "pixelated" } else { "auto" };
        self.push(&format!(
            r#"<image x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" preserveAspectRatio="none" image-rendering="{rendering}" href="{}" />"#,
            escaped(data)
        ));
    }

    /// The colors of a scale, left to right, over a rectangle. `name` is its own in the whole picture.
    pub fn scale(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], colors: [RGBColor; 3], name: &str) {
        let [low, middle, high] = colors.map(hex);
        self.push(&format!(
            r#"<defs><linearGradient id="{name}"><stop offset="0" stop-color="{low}" /><stop offset="0.5" stop-color="{middle}" /><stop offset="1" stop-color="{high}" /></linearGradient></defs>"#
        ));
        self.push(&format!(
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="url(#{name})" />"#
        ));
    }

    /// Another drawing, a whole SVG, at a place, made smaller by `ratio`.
    pub fn svg(&mut self, [x, y]: [f64; 2], ratio: f64, svg: &str) {
        let shrunk = 1.0 / ratio;
        self.push(&format!(r#"<g transform="translate({x:.2} {y:.2}) scale({shrunk})">{svg}</g>"#));
    }

    /// Another paper at a place.
    pub fn paper(&mut self, at: [f64; 2], other: &Self) {
        self.svg(at, 1.0, &other.body);
    }

    /// The whole, on a ground.
    pub fn finish(self, ground: RGBColor) -> String {
        let Self { width, height, body } = self;
        let ground = hex(ground);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"{ground}\" />\n{body}</svg>\n"
        )
    }

    fn push(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }
}

fn points_text(points: &[[f64; 2]]) -> String {
    let mut text = String::new();
    for [x, y] in points {
        // Writing into a string cannot fail.
        let _ = write!(text, "{x:.2},{y:.2} ");
    }
    text.truncate(text.trim_end().len());
    text
}

/// `#rrggbb`.
fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// A text as it stands in XML: what has a meaning there written otherwise, what may not stand there as a space.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A text in lines that fit a width, as far as that can be told without measuring letters.
pub fn lines(text: &str, width_px: f64, letters_px: f64) -> Vec<String> {
    // Wider than letters are on average: a line that ends early does no harm.
    let n_chars = (width_px / (0.54 * letters_px)).max(8.0) as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= n_chars => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_in_xml_whatever_it_says() {
        assert_eq!(escaped("a < b & \"c\"\u{1}\n>"), "a &lt; b &amp; &quot;c&quot;  &gt;");
        let mut paper = Paper::new([40.0, 20.0]);
        paper.text([1.0, 2.0], Letters::new(RGBColor(1, 2, 255)), "<script>");
        let svg = paper.finish(RGBColor(255, 255, 255));
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script>"), "{svg}");
        assert!(svg.contains("#0102ff") && svg.contains(r##"fill="#ffffff""##), "{svg}");
    }

    #[test]
    fn lines_keep_every_word_in_order_and_break_where_there_is_no_room() {
        let text = "one two three four five six seven eight nine ten";
        let broken = lines(text, 100.0, 10.0);
        assert!(broken.len() > 1 && broken.iter().all(|line| line.chars().count() <= 18), "{broken:?}");
        assert_eq!(broken.join(" "), text);
    }
}
