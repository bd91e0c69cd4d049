//! Numbers in words: rates, differences and p-values, rounded so that they say no more than they are.

/// `95 %`.
pub fn percent_level(level: f64) -> String {
    format!("{} %", (1000.0 * level).round() / 10.0)
}

/// A rate, with one decimal or more: `84.2 %`.
pub fn percent(rate: f64) -> String {
    format!("{} %", decimals(100.0 * rate))
}

/// A difference of rates in percentage points, with its sign: `−31.0`.
pub fn points(difference: f64) -> String {
    // What rounding leaves of equal rates is none.
    let points = if difference.abs() < 1e-12 { 0.0 } else { 100.0 * difference };
    signed(points, n_decimals(points))
}

/// One decimal, or as many as it takes for a small number not to look like 0.
pub(super) fn decimals(value: f64) -> String {
    let text = format!("{:.*}", n_decimals(value), value);
    text.replace('-', "−")
}

fn n_decimals(value: f64) -> usize {
    let magnitude = value.abs();
    (1..6).find(|&n| value == 0.0 || magnitude * [1.0, 10.0, 1e2, 1e3, 1e4, 1e5][n] >= 1.0).unwrap_or(6)
}

fn signed(value: f64, n_decimals: usize) -> String {
    // −0 is 0.
    let text = format!("{:+.*}", n_decimals, value + 0.0);
    text.replace('-', "−")
}

/// `p = 0.003`, `p < 0.001`.
pub fn p_text(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {}", p_number(p)) }
}

/// Two digits that matter; never rounded to 0, and never down across 0.05.
pub(super) fn p_number(p: f64) -> String {
    let rounded = if p < 0.1 { format!("{p:.3}") } else { format!("{p:.2}") };
    if (0.05..0.0505).contains(&p) && p > 0.05 { format!("{p:.5}") } else { rounded }
}
