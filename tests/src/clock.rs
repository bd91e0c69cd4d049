//! What benchmarks measure with: processor time and medians.

use std::fs;

/// Processor time that this process has used so far, from /proc; not a number elsewhere than on Linux.
pub fn cpu_secs() -> f64 {
    // Clock ticks are hundredths of a second on every Linux that user programs see (USER_HZ).
    const TICKS_PER_SEC: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold spaces; user and system time are the 12th and
    // 13th after it.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / TICKS_PER_SEC } else { f64::NAN }
}

/// The middle of some values, or the mean of the two middle ones; sorts them.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}
