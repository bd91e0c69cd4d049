//! The change scan: prompts by what tuning changed in the response, to be sorted, filtered and read, and ranked by.

use std::collections::BTreeSet;
use std::sync::Arc;

use leptos::prelude::*;
use whence_shared::changes::{Change, Kind, counts};
use whence_shared::form::Format;
use whence_shared::pair::one_line;
use whence_shared::spans;

use super::super::turns::both_marked;
use super::rank_by::RankBy;
use crate::discovery::{Discovery, Found};
use crate::number::{count, counted};
use crate::state::State;

/// Rows shown at first, and more with each asking.
const N_ROWS: usize = 12;
const N_MORE: usize = 50;
const SNIPPET_CHARS: usize = 160;
/// Columns, for the row that spans them.
const N_COLUMNS: &str = "6";

/// What the table is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Norm,
    Prompt,
    Words,
    Overlap,
    Group,
}

impl Column {
    const ALL: [Self; 5] = [Self::Norm, Self::Prompt, Self::Words, Self::Overlap, Self::Group];

    /// As the address names it.
    fn name(self) -> &'static str {
        match self {
            Self::Norm => "norm",
            Self::Prompt => "prompt",
            Self::Words => "words",
            Self::Overlap => "shared",
            Self::Group => "group",
        }
    }
}

/// What is shown of the table; the address keeps all but how many rows.
#[derive(Clone, Copy)]
struct Choice {
    state: State,
    /// And whether it falls.
    column: Memo<(Column, bool)>,
    kind: Memo<Option<Kind>>,
    checked: Memo<BTreeSet<u32>>,
    open: Memo<Option<u32>>,
    n_rows: RwSignal<usize>,
}

impl Choice {
    /// What the address says of a discovery of `n_prompts`; what it says of others is passed over.
    fn here(n_prompts: usize) -> Self {
        let state = State::here();
        let is_there = move |prompt: &u32| (*prompt as usize) < n_prompts;
        Self {
            state,
            column: Memo::new(move |_| state.discover.with(|discover| column_of(discover.order.as_deref()))),
            kind: Memo::new(move |_| {
                let named = state.discover.with(|discover| discover.kind.clone())?;
                Kind::ALL.into_iter().find(|kind| word(*kind) == named)
            }),
            checked: Memo::new(move |_| {
                let rows = state.discover.with(|discover| discover.checked.as_deref().and_then(spans::parse));
                rows.unwrap_or_default().into_iter().filter(is_there).collect()
            }),
            open: Memo::new(move |_| state.discover.with(|discover| discover.open).filter(is_there)),
            n_rows: RwSignal::new(N_ROWS),
        }
    }

    /// Lists one kind of change, or all again when it is listed already.
    fn toggle_kind(self, kind: Option<Kind>) {
        let kind = kind.filter(|_| self.kind.get_untracked() != kind);
        self.state.change_discover(|discover| discover.kind = kind.map(word));
        self.n_rows.set(N_ROWS);
    }

    /// Sorts by a column, or the other way round when it is that one already.
    fn sort_by(self, column: Column) {
        let (of, is_falling) = self.column.get_untracked();
        // Numbers are looked at from the top, names from the beginning.
        let first = !matches!(column, Column::Prompt | Column::Group);
        let chosen = if of == column { (column, !is_falling) } else { (column, first) };
        let name = format!("{}{}", if chosen.1 { "-" } else { "" }, chosen.0.name());
        self.state.change_discover(|discover| discover.order = (chosen != FIRST_ORDER).then_some(name));
    }

    /// Chooses a prompt, or no more.
    fn check(self, prompt: u32, is_checked: bool) {
        let mut checked = self.checked.get_untracked();
        match is_checked {
            true => checked.insert(prompt),
            false => checked.remove(&prompt),
        };
        let rows: Vec<u32> = checked.into_iter().collect();
        let named = (!rows.is_empty()).then(|| spans::format(&rows));
        self.state.change_discover(|discover| discover.checked = named);
    }
}

/// The order of the table before any is asked for: what changed most comes first.
const FIRST_ORDER: (Column, bool) = (Column::Norm, true);

/// A column and whether it falls, as the address says: `-words`.
fn column_of(order: Option<&str>) -> (Column, bool) {
    let Some(order) = order else { return FIRST_ORDER };
    let (name, is_falling) = order.strip_prefix('-').map_or((order, false), |name| (name, true));
    let column = Column::ALL.into_iter().find(|column| column.name() == name);
    column.map_or(FIRST_ORDER, |column| (column, is_falling))
}

/// A kind of change as the address names it: the words of its name, `refusal-answer`.
fn word(kind: Kind) -> String {
    let words = kind.name().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// The panel.
pub fn changes(found: &Arc<Found>) -> AnyView {
    let choice = Choice::here(found.view.prompts.len());
    if found.view.changes.is_empty() {
        return view! {
            <section aria-labelledby="changes-title">
                <h2 id="changes-title">"What tuning changed"</h2>
                <p class="about">"This discovery was made before there was a scan of changes: run whence discover again."</p>
            </section>
        }
        .into_any();
    }
    let discovery = Discovery::here();
    let listed = Memo::new({
        let found = found.clone();
        move |_| {
            let labels = discovery.groups(&found).prompts.labels.clone();
            listed(&found.view.changes, &labels, choice.kind.get(), choice.column.get())
        }
    });
    let chosen = Signal::derive({
        let found = found.clone();
        move || {
            let checked = choice.checked.get();
            if checked.is_empty() {
                listed.with(|listed| listed.iter().map(|&at| found.view.changes[at].prompt).collect())
            } else {
                checked.into_iter().collect::<Vec<u32>>()
            }
        }
    });
    let rank_text = Signal::derive(move || {
        let n = counted(chosen.with(Vec::len), "prompt", "prompts");
        let which = if choice.checked.with(BTreeSet::is_empty) { "listed" } else { "chosen" };
        format!("Rank pairs by the {n} {which}")
    });
    let rows = {
        let found = found.clone();
        move || {
            let labels = discovery.groups(&found).prompts.labels.clone();
            let shown: Vec<usize> = listed.with(|listed| listed.iter().copied().take(choice.n_rows.get()).collect());
            shown
                .into_iter()
                .map(|at| row(&found, at, labels[found.view.changes[at].prompt as usize], choice))
                .collect::<Vec<_>>()
        }
    };
    view! {
        <section class="changes" id="changes" aria-labelledby="changes-title">
            <h2 id="changes-title">"What tuning changed"</h2>
            <p class="about">
                "Prompts by how far the response moved: the norm of the behavior vector over the prompts’ mean, averaged over the layers. A row opens to both responses."
            </p>
            {filters(&found.view.changes, choice)}
            <table>
                <thead>
                    <tr>
                        <th scope="col" class="check"><span class="unseen">"Choose"</span></th>
                        {head("Norm", Column::Norm, "norm", choice)} {head("Prompt", Column::Prompt, "prompt", choice)}
                        {head("Words", Column::Words, "words", choice)}
                        {head("Shared", Column::Overlap, "overlap", choice)}
                        {head("Group", Column::Group, "in-group", choice)}
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
            {move || {
                let n_more = listed.with(Vec::len).saturating_sub(choice.n_rows.get());
                (n_more > 0)
                    .then(|| {
                        view! {
                            <button
                                type="button"
                                class="more"
                                on:click=move |_| choice.n_rows.update(|n| *n += N_MORE)
                            >
                                {format!("Show more ({} left)", count(n_more))}
                            </button>
                        }
                    })
            }}
            <RankBy found=found.clone() prompts=chosen text=rank_text />
        </section>
    }
    .into_any()
}

/// Places in the scan of the changes of a kind, in the order of a column.
fn listed(changes: &[Change], labels: &[u32], kind: Option<Kind>, (column, is_falling): (Column, bool)) -> Vec<usize> {
    let mut listed: Vec<usize> =
        (0..changes.len()).filter(|&at| kind.is_none_or(|kind| changes[at].is(kind))).collect();
    let key = |change: &Change| match column {
        Column::Norm => change.norm,
        Column::Prompt => f64::from(change.prompt),
        Column::Words => change.n_words[1] as f64 - change.n_words[0] as f64,
        Column::Overlap => change.overlap,
        Column::Group => f64::from(labels[change.prompt as usize]),
    };
    listed.sort_by(|&a, &b| {
        let order = key(&changes[a]).total_cmp(&key(&changes[b]));
        if is_falling { order.reverse() } else { order }
    });
    listed
}

fn filters(changes: &[Change], choice: Choice) -> impl IntoView + use<> {
    let chip = move |kind: Option<Kind>, name: &'static str, n: usize| {
        view! {
            <button
                type="button"
                class="chip"
                aria-pressed=move || if choice.kind.get() == kind { "true" } else { "false" }
                on:click=move |_| choice.toggle_kind(kind)
            >
                {name} " " <span class="size">{count(n)}</span>
            </button>
        }
    };
    let kinds: Vec<_> = counts(changes).into_iter().map(|(kind, n)| chip(Some(kind), kind.name(), n)).collect();
    view! {
        <div class="filters" role="group" aria-label="Kinds of change">
            {chip(None, "all", changes.len())} {kinds}
        </div>
    }
}

fn head(title: &'static str, column: Column, class: &'static str, choice: Choice) -> impl IntoView {
    let sorted = move || match choice.column.get() {
        (of, true) if of == column => Some("descending"),
        (of, false) if of == column => Some("ascending"),
        _ => None,
    };
    view! {
        <th scope="col" class=class aria-sort=sorted>
            <button
                type="button"
                on:click=move |_| choice.sort_by(column)
            >
                {title}
                {move || match sorted() {
                    Some("descending") => " ↓",
                    Some(_) => " ↑",
                    None => "",
                }}
            </button>
        </th>
    }
}

fn row(found: &Arc<Found>, at: usize, label: u32, choice: Choice) -> impl IntoView + use<> {
    let change = found.view.changes[at].clone();
    let prompt = change.prompt;
    let entry = &found.view.prompts[prompt as usize];
    let snippet = one_line(&entry.prompt, SNIPPET_CHARS);
    let choose_label = format!("Choose prompt {prompt}");
    let badges: Vec<_> =
        badges(&change).into_iter().map(|badge| view! { <span class="badge">{badge}</span> }).collect();
    let [before, after] = change.n_words;
    let is_open = move || choice.open.get() == Some(prompt);
    let detail = {
        let found = found.clone();
        move || is_open().then(|| responses(&found, prompt))
    };
    view! {
        <tr data-prompt=prompt.to_string() class:open=is_open>
            <td class="check">
                <input
                    type="checkbox"
                    aria-label=choose_label
                    prop:checked=move || choice.checked.with(|checked| checked.contains(&prompt))
                    on:change=move |event| choice.check(prompt, event_target_checked(&event))
                />
            </td>
            <td class="norm">{format!("{:.2}", change.norm)}</td>
            <td class="prompt">
                <div>
                    <button
                        type="button"
                        class="open"
                        aria-expanded=move || if is_open() { "true" } else { "false" }
                        on:click=move |_| {
                            let open = (!is_open()).then_some(prompt);
                            choice.state.change_discover(|discover| discover.open = open);
                        }
                    >
                        {snippet}
                    </button>
                    <span class="badges">{badges}</span>
                </div>
            </td>
            <td class="words">{format!("{before} → {after}")}</td>
            <td class="overlap">{format!("{:.0} %", 100.0 * change.overlap)}</td>
            <td class="in-group">{label + 1}</td>
        </tr>
        {detail}
    }
}

/// What changed, beside numbers that have columns of their own.
fn badges(change: &Change) -> Vec<String> {
    let kinds = change
        .kinds()
        .filter(|kind| !matches!(kind, Kind::FormatAppeared | Kind::FormatVanished | Kind::Longer | Kind::Shorter));
    let mut badges: Vec<String> = kinds.map(|kind| kind.name().to_owned()).collect();
    badges.extend(change.appeared.iter().map(|&form| format!("+ {}", form_name(form))));
    badges.extend(change.vanished.iter().map(|&form| format!("− {}", form_name(form))));
    badges
}

fn form_name(form: Format) -> &'static str {
    match form {
        Format::BulletList => "bullet list",
        Format::NumberedList => "numbered list",
        Format::CodeBlock => "code",
        Format::Heading => "heading",
        Format::Bold => "bold",
        Format::Table => "table",
        Format::Json => "JSON",
        Format::AllCaps => "capitals",
        Format::OneLine => "one line",
    }
}

fn responses(found: &Found, prompt: u32) -> impl IntoView + use<> {
    let entry = &found.view.prompts[prompt as usize];
    let (left, right) = both_marked(&entry.r0, &entry.r1);
    let text = entry.prompt.clone();
    view! {
        <tr class="detail" data-detail=prompt.to_string()>
            <td colspan=N_COLUMNS>
                <p class="text" dir="auto">
                    {text}
                </p>
                <div class="sides">
                    <div class="side plain">
                        <h3>"Before tuning"</h3>
                        <p class="text response" dir="auto">
                            {left}
                        </p>
                    </div>
                    <div class="side shows">
                        <h3>"After tuning"</h3>
                        <p class="text response" dir="auto">
                            {right}
                        </p>
                    </div>
                </div>
            </td>
        </tr>
    }
}
