//! The address bar: everything a reader chose, so that copying the address shares the view.

use wasm_bindgen::JsValue;
use web_sys::{Url, UrlSearchParams};

/// What the query string says. `None` means "not stated": the app then chooses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// `behavior`: a behavior's name.
    pub behavior: Option<String>,
    /// `layer`: a decoder layer.
    pub layer: Option<usize>,
    /// `k`: how many pairs count as the top.
    pub k: Option<usize>,
    /// `row`: the selected pair's row in the study.
    pub row: Option<u32>,
}

/// How a change enters the browser's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Replaces the current entry.
    Replace,
    /// A new entry: "back" undoes the change.
    Push,
}

impl Address {
    /// Reads the address bar. What is malformed counts as not stated.
    pub fn read() -> Self {
        let search = web_sys::window().and_then(|window| window.location().search().ok()).unwrap_or_default();
        let Ok(params) = UrlSearchParams::new_with_str(&search) else { return Self::default() };
        let number = |key: &str| params.get(key).and_then(|value| value.parse::<usize>().ok());
        Self {
            behavior: params.get("behavior").filter(|name| !name.is_empty()),
            layer: number("layer"),
            k: number("k").filter(|&k| k > 0),
            row: number("row").and_then(|row| u32::try_from(row).ok()),
        }
    }

    /// Writes the address bar, leaving parameters that are not ours as they are.
    pub fn write(&self, step: Step) {
        let Some(window) = web_sys::window() else { return };
        let (Ok(href), Ok(history)) = (window.location().href(), window.history()) else { return };
        let Ok(url) = Url::new(&href) else { return };
        let params = url.search_params();
        let values = [
            ("behavior", self.behavior.clone()),
            ("layer", self.layer.map(|n| n.to_string())),
            ("k", self.k.map(|n| n.to_string())),
            ("row", self.row.map(|n| n.to_string())),
        ];
        for (key, value) in values {
            match value {
                Some(value) => params.set(key, &value),
                None => params.delete(key),
            }
        }
        if url.href() == href {
            return;
        }
        let address = url.href();
        // A browser may refuse (too many changes a second): the view stays right, the address catches up next time.
        let _ = match step {
            Step::Push => history.push_state_with_url(&JsValue::NULL, "", Some(&address)),
            Step::Replace => history.replace_state_with_url(&JsValue::NULL, "", Some(&address)),
        };
    }
}
