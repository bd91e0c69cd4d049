//! What the palette offers: every page, behavior and layer, and what can be done here.

use std::rc::Rc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::jobs::VERBS;
use whence_shared::study::ROWS_PER_ROW_CHUNK;

use crate::address::Page;
use crate::api::Api;
use crate::app::Surroundings;
use crate::number::count;
use crate::protocol::End;
use crate::state::{State, StudyStatus, View, shared_layers};

/// One thing to do.
#[derive(Clone)]
pub struct Command {
    /// As it is shown and found.
    pub title: String,
    /// What it is about, in a word.
    pub kind: &'static str,
    /// Keys that do the same; may be empty.
    pub keys: &'static str,
    /// Does it.
    pub run: Rc<dyn Fn()>,
}

fn command(title: impl Into<String>, kind: &'static str, keys: &'static str, run: impl Fn() + 'static) -> Command {
    Command { title: title.into(), kind, keys, run: Rc::new(run) }
}

/// Everything there is to do now.
pub fn commands(around: Surroundings) -> Vec<Command> {
    let Surroundings { state, decisions, covers, help, open, .. } = around;
    let api = Api::here();
    let mut all: Vec<Command> = Page::ALL
        .into_iter()
        .filter(|page| api.offers(*page))
        .map(|page| command(page.title(), "page", "", move || state.open_page(page)))
        .collect();
    if api.offers(Page::Jobs) {
        let start = |verb: &'static str| command(format!("Start {verb}…"), "job", "", move || state.open_start(verb));
        all.extend(VERBS.map(start));
    }
    if let View::Ready { study, behavior, layer } = state.view.get() {
        for other in &study.behaviors {
            let name = other.name.clone();
            all.push(command(other.name.clone(), "behavior", "", move || state.rank_by_behavior(name.clone())));
        }
        for of in shared_layers(&study, &behavior).into_iter().map(|layer| layer.layer) {
            let here = if of == layer.layer { " (now)" } else { "" };
            all.push(command(format!("Layer {of}{here}"), "layer", "", move || state.rank_at_layer(of)));
        }
        let (end, to) = match state.end() {
            End::Top => (End::Bottom, "Bottom of the ranking"),
            End::Bottom => (End::Top, "Top of the ranking"),
        };
        all.push(command(to, "ranking", "", move || state.choose_end(end)));
    }
    if state.is_filtered.get() {
        all.push(command("Show all pairs", "filter", "", move || state.show_all()));
    }
    all.push(command("Filter by text", "filter", "/", move || super::super::keys::focus(state, "text-filter")));
    all.push(command("Undo the last decision", "decisions", "Ctrl Z", move || decisions.undo()));
    all.push(command("Redo", "decisions", "Ctrl ⇧ Z", move || decisions.redo()));
    let cover = if covers.is_on.get() { "Show texts" } else { "Cover texts" };
    all.push(command(cover, "texts", "C", move || covers.toggle()));
    all.push(command("Open a bundle from this machine", "study", "", move || open.set(true)));
    all.push(command("Show the keys", "help", "?", move || help.set(true)));
    all
}

/// Which commands fit what was typed, the best first: by a word's beginning, then by any part.
pub fn fitting(commands: &[Command], typed: &str) -> Vec<usize> {
    let typed = typed.trim().to_lowercase();
    let rank = |command: &Command| {
        let title = command.title.to_lowercase();
        let whole = format!("{} {title}", command.kind);
        match () {
            () if title.starts_with(&typed) => Some(0),
            () if whole.split(|c: char| !c.is_alphanumeric()).any(|word| word.starts_with(&typed)) => Some(1),
            () if typed.split_whitespace().all(|part| whole.contains(part)) => Some(2),
            () => None,
        }
    };
    let mut found: Vec<(usize, usize)> =
        commands.iter().enumerate().filter_map(|(i, command)| Some((rank(command)?, i))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, i)| i).collect()
}

/// A pair that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedPair {
    /// By its row.
    Row(u32),
    /// By its id.
    Id(String),
    /// By what may be its id, or something else.
    PerhapsId(String),
}

impl AskedPair {
    /// As the palette shows it.
    pub fn title(&self) -> String {
        match self {
            Self::Row(row) => format!("Row {}", count(*row as usize)),
            Self::Id(id) | Self::PerhapsId(id) => format!("Pair with the id “{id}”"),
        }
    }

    /// Whether a pair was meant for certain: then it comes before commands that fit, and else after them.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::PerhapsId(_))
    }
}

/// The pair that what was typed may mean: `row 12`, `12`, or `id NAME`. Tracked.
pub fn pair_asked(around: Surroundings, typed: &str) -> Option<AskedPair> {
    let StudyStatus::Ready(study) = around.state.study.get() else { return None };
    let typed = typed.trim();
    if let Some(id) = typed.strip_prefix("id ").map(str::trim).filter(|id| !id.is_empty()) {
        return Some(AskedPair::Id(id.to_owned()));
    }
    let digits = typed.strip_prefix("row").unwrap_or(typed).trim();
    match digits.parse::<u32>() {
        Ok(row) if (row as usize) < study.n_pairs => Some(AskedPair::Row(row)),
        Ok(_) => None,
        // A word that is no row may be an id.
        Err(_) if typed.len() > 2 && typed.chars().any(|c| c.is_ascii_digit()) => {
            Some(AskedPair::PerhapsId(typed.to_owned()))
        }
        Err(_) => None,
    }
}

/// Opens the pair in the ranking.
pub fn open_pair(around: Surroundings, asked: AskedPair) {
    let state = around.state;
    match asked {
        AskedPair::Row(row) => state.show_pair(row),
        AskedPair::Id(id) | AskedPair::PerhapsId(id) => spawn_local(async move {
            match row_of(state, &id).await {
                Ok(Some(row)) => state.show_pair(row),
                Ok(None) => state.remark.set(Some(format!("No pair of this study has the id “{id}”."))),
                Err(error) => state.remark.set(Some(format!("The pair was not found: {error}."))),
            }
        }),
    }
}

/// The row of a pair with an id: chunk after chunk, until it is found.
async fn row_of(state: State, id: &str) -> Result<Option<u32>, crate::fetch::FetchError> {
    let StudyStatus::Ready(study) = state.study.get_untracked() else { return Ok(None) };
    for n in 0..study.n_pairs.div_ceil(ROWS_PER_ROW_CHUNK) {
        let chunk = state.rows.load(n).await?;
        if let Some(i) = chunk.id.iter().position(|of| of == id) {
            return Ok(u32::try_from(chunk.first_row + i).ok());
        }
    }
    Ok(None)
}
