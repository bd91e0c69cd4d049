//! Moments and stretches of time for people.

use leptos::prelude::*;
use wasm_bindgen::JsValue;

/// Milliseconds since 1970-01-01 UTC, now.
pub fn now_unix_ms() -> f64 {
    js_sys::Date::now()
}

/// Now, told again every second while the component is there.
pub fn ticking() -> RwSignal<f64> {
    let now = RwSignal::new(now_unix_ms());
    let tick = move || {
        now.try_set(now_unix_ms());
    };
    if let Ok(interval) = set_interval_with_handle(tick, std::time::Duration::from_secs(1)) {
        on_cleanup(move || interval.clear());
    }
    now
}

/// A moment: the time of day, with the day where it is another than today: `14:03`, `26 Nov, 14:03`, `26 Nov 2025`.
pub fn moment(unix_ms: f64) -> String {
    let (date, today) = (js_sys::Date::new(&unix_ms.into()), js_sys::Date::new_0());
    let options = js_sys::Object::new();
    let want = |wanted: &[(&str, &str)]| {
        for (name, value) in wanted {
            // A fresh object takes any property.
            let _ = js_sys::Reflect::set(&options, &(*name).into(), &JsValue::from_str(value));
        }
    };
    if date.get_full_year() != today.get_full_year() {
        want(&[("year", "numeric"), ("month", "short"), ("day", "numeric")]);
    } else {
        if date.to_date_string() != today.to_date_string() {
            want(&[("month", "short"), ("day", "numeric")]);
        }
        want(&[("hour", "2-digit"), ("minute", "2-digit")]);
    }
    String::from(date.to_locale_string("en-GB", &options))
}

/// A stretch of time, its two largest units: `43 s`, `2 min 5 s`, `3 h 12 min`, `2 d 4 h`.
pub fn lasting(ms: f64) -> String {
    let seconds = (ms / 1000.0).max(0.0).floor() as u64;
    let two = |large: u64, small: u64, [of_large, of_small]: [&str; 2]| match small {
        0 => format!("{large} {of_large}"),
        _ => format!("{large} {of_large} {small} {of_small}"),
    };
    match seconds {
        0 => "under 1 s".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, seconds % 60, ["min", "s"]),
        3600..86_400 => two(seconds / 3600, seconds % 3600 / 60, ["h", "min"]),
        _ => two(seconds / 86_400, seconds % 86_400 / 3600, ["d", "h"]),
    }
}
