//! A sheet that hangs from a button: what does not need to be seen all the time. A click elsewhere or Escape closes it.

use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlDetailsElement;

/// The button with its sheet.
#[component]
pub fn Dropdown(
    /// Of the whole, for links and tests.
    id: &'static str,
    /// What the button says.
    #[prop(into)]
    summary: Signal<String>,
    /// Told whenever it opens.
    #[prop(optional, into)]
    on_open: Option<Callback<()>>,
    /// What the sheet holds.
    children: Children,
) -> impl IntoView {
    let sheet = NodeRef::<html::Details>::new();
    let on_click = window_event_listener(leptos::ev::click, move |event| {
        let Some(sheet) = sheet.get_untracked() else { return };
        let target = event.target().and_then(|target| target.dyn_into::<web_sys::Node>().ok());
        // What a click removed from the page lies nowhere: it was inside.
        let is_gone = target.as_ref().is_some_and(|target| !document().contains(Some(target)));
        if !is_gone && !sheet.contains(target.as_ref()) {
            sheet.set_open(false);
        }
    });
    let on_key = window_event_listener(leptos::ev::keydown, move |event| {
        if let Some(sheet) = sheet.get_untracked().filter(|sheet| event.key() == "Escape" && sheet.open()) {
            close(&sheet);
        }
    });
    on_cleanup(move || {
        on_click.remove();
        on_key.remove();
    });
    let on_toggle = move |_| {
        if let Some(on_open) = on_open
            && sheet.get_untracked().is_some_and(|sheet| sheet.open())
        {
            on_open.run(());
        }
    };
    view! {
        <details class="details" id=id node_ref=sheet on:toggle=on_toggle>
            <summary>{move || summary.get()}</summary>
            <div class="sheet">{children()}</div>
        </details>
    }
}

/// Closes a sheet; the focus must not vanish with what had it.
fn close(sheet: &HtmlDetailsElement) {
    let had_focus = document().active_element().is_some_and(|focus| sheet.contains(Some(&focus)));
    sheet.set_open(false);
    if had_focus && let Ok(Some(button)) = sheet.query_selector("summary") {
        let _ = button.unchecked_into::<web_sys::HtmlElement>().focus();
    }
}

/// Closes the sheet of this id, if it is on the page.
pub fn close_by_id(id: &str) {
    if let Some(sheet) = document().get_element_by_id(id).and_then(|element| element.dyn_into().ok()) {
        close(&sheet);
    }
}

/// A button that shows the numbers behind a chart.
#[component]
pub fn TableBehind(
    /// Of the whole, for links and tests.
    id: &'static str,
    /// What the table holds.
    caption: &'static str,
    /// Heads of the columns.
    heads: &'static [&'static str],
    /// Cells, row by row; made when they are looked at.
    #[prop(into)]
    rows: Callback<(), Vec<Vec<String>>>,
) -> impl IntoView {
    let is_open = RwSignal::new(false);
    let body = move || {
        let rows = if is_open.get() { rows.run(()) } else { Vec::new() };
        let row = |cells: Vec<String>| {
            let cells: Vec<_> = cells.into_iter().map(|cell| view! { <td>{cell}</td> }).collect();
            view! { <tr>{cells}</tr> }
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    view! {
        <Dropdown id summary="Table" on_open=move |()| is_open.set(true)>
            <table class="numbers">
                <caption>{caption}</caption>
                <thead>
                    <tr>{heads.iter().map(|head| view! { <th scope="col">{*head}</th> }).collect::<Vec<_>>()}</tr>
                </thead>
                <tbody>{body}</tbody>
            </table>
        </Dropdown>
    }
}
