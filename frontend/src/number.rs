//! Numbers for people: grouped counts, bytes, durations, rates, scores.

/// `1234567` as `1,234,567`.
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `n` with its noun in the right number: `1 pair`, `2,312 pairs`.
pub fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Three significant digits with a decimal prefix: `25.6 M`.
fn scaled(value: f64) -> String {
    let prefixes = ["", "k", "M", "G", "T"];
    let mut value = value;
    let mut step = 0;
    while value >= 999.5 && step + 1 < prefixes.len() {
        value /= 1000.0;
        step += 1;
    }
    let decimals = match value {
        v if step == 0 || v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {}", prefixes[step])
}

/// `25600000` as `25.6 MB` (decimal megabytes).
pub fn bytes(n: u64) -> String {
    format!("{}B", scaled(n as f64))
}

/// A rate per second, such as `2.31 M pairs/s`.
pub fn per_second(n: f64, ms: f64, unit: &str) -> String {
    let rate = scaled(n / (ms / 1000.0).max(1e-6));
    format!("{}{unit}/s", if rate.ends_with(' ') { rate } else { format!("{rate} ") })
}

/// Milliseconds as `43 ms`, `1.2 s` or `2.5 min`.
pub fn duration(ms: f64) -> String {
    if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else if ms < 90_000.0 {
        format!("{:.1} s", ms / 1000.0)
    } else {
        format!("{:.1} min", ms / 60_000.0)
    }
}

/// A score with its sign, four digits after the point: `+0.4321`, `−0.0071`.
pub fn score(value: f32) -> String {
    let digits = format!("{:.4}", value.abs());
    let is_zero = digits.bytes().all(|digit| matches!(digit, b'0' | b'.'));
    match value {
        _ if is_zero => digits,
        v if v < 0.0 => format!("−{digits}"),
        _ => format!("+{digits}"),
    }
}

/// A number with two digits after the point and a proper minus: `0.46`, `−0.08`, `0.00`.
pub fn hundredths(value: f64) -> String {
    let digits = format!("{:.2}", value.abs());
    let is_zero = digits.bytes().all(|digit| matches!(digit, b'0' | b'.'));
    if value < 0.0 && !is_zero { format!("−{digits}") } else { digits }
}

/// A share in percent: `62 %`, `0.4 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// How far a true score may be from the one shown, in two significant digits: `± 0.021`; nothing when it is exact.
pub fn radius(value: f32) -> String {
    match value {
        0.0 => String::new(),
        v if v < 0.0001 => "± 0.0001".to_owned(),
        v if v < 0.00995 => format!("± {v:.4}"),
        v if v < 0.0995 => format!("± {v:.3}"),
        v => format!("± {v:.2}"),
    }
}
