//! What the page knows of the map: where pairs lie, what they are colored by, and which of them are selected. Files are read by
//! the worker in [`crate::mapping`].

use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Array, Float32Array, Int32Array, Uint32Array};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use whence_shared::cluster::kmeans_parts::N_PARTS;
use whence_shared::clustering::ClusteringView;
use whence_shared::edit::Decision;
use whence_shared::edit::worklist::Worklist;
use whence_shared::map::Method;
use whence_shared::plane::Frame;
use whence_shared::plane::grid::Grid;
use whence_shared::plane::lasso::Lasso;
use whence_shared::study::{LayerView, StudyView};

use crate::address::{ColorBy, Page, Step};
use crate::decisions::{Decisions, decided_name};
use crate::fetch::sleep;
use crate::listing::Listing;
use crate::mapping::calls::{Answer, Asked, Call, Facts, Grouping, GroupingFacts, MapOf, Note, Opening};
use crate::mapping::{MAPPER, MapLink};
use crate::state::{State, StudyStatus};

/// Words that describe a cluster.
const N_TERMS: usize = 4;

/// A map, ready to be looked at.
#[derive(Debug, PartialEq)]
pub struct Mapped {
    /// Which one.
    pub of: MapOf,
    /// How it was made.
    pub facts: Facts,
    /// As the file says, `[n_pairs, 2]`, by row.
    pub points: Vec<f32>,
    /// The points in unit coordinates, in cells.
    pub grid: Grid,
    /// Place in the grid of every row.
    pub places: Vec<u32>,
    /// How far the points reach.
    pub frame: Frame,
    /// How crowded it is ([`Grid::crowding`]).
    pub crowding: f64,
}

/// A map that can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// As the address names it.
    pub name: String,
    /// For a person.
    pub text: String,
    /// Which one.
    pub of: MapOf,
}

/// How far the map is.
#[derive(Debug, Clone, PartialEq)]
pub enum MapStatus {
    /// On its way.
    Loading,
    /// There is none, and nothing to make one of.
    Absent,
    /// Here.
    Ready(Arc<Mapped>),
    /// Not to be had, and why.
    Failed(String),
}

/// What every pair is one of.
#[derive(Debug, PartialEq)]
pub struct Categories {
    /// What the categories are, the most important first.
    pub names: Vec<Category>,
    /// The category of every pair, by row.
    pub of_rows: Vec<u32>,
    /// What should be known of them.
    pub remark: Option<String>,
}

impl Categories {
    /// Of clusters: the label that a category's pairs have in their file, below 0 for what is in no cluster.
    pub fn label_of(&self, category: u32) -> i32 {
        let n_clusters = self.names.iter().filter(|category| category.kind == Kind::Named).count() as i32;
        let category = category as i32;
        if category < n_clusters { category } else { n_clusters - 1 - category }
    }
}

/// One category.
#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    /// Its name; empty for pairs that state no source.
    pub name: String,
    /// Pairs in it.
    pub n: usize,
    /// What gives it its color.
    pub kind: Kind,
    /// Row of the pair that it is most like, where that is known.
    pub exemplar: Option<u32>,
}

/// What gives a category its color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its place among the others.
    Named,
    /// What was decided: the color that decisions have everywhere.
    Decided(Decision),
    /// Nothing: it is what belongs to no category.
    Rest,
}

/// How far the categories are.
#[derive(Debug, Clone, PartialEq)]
pub enum CategoriesStatus {
    /// None were asked for.
    Nothing,
    /// On their way.
    Loading,
    /// Here.
    Ready(ColorBy, Arc<Categories>),
    /// Not to be had, and why.
    Failed(String),
}

/// All of the above; cheap to copy.
#[derive(Clone, Copy)]
pub struct Maps {
    /// How far the map is.
    pub status: RwSignal<MapStatus>,
    /// How far the worker is with what was asked last.
    pub progress: RwSignal<Option<Note>>,
    /// What points are colored by, where it is categories.
    pub categories: RwSignal<CategoriesStatus>,
    link: StoredValue<Option<Rc<MapLink>>, LocalStorage>,
    listing: Listing,
    state: State,
}

impl Maps {
    /// Nothing yet. Called once, by the root component.
    pub fn start(state: State, listing: Listing) -> Self {
        Self {
            status: RwSignal::new(MapStatus::Loading),
            progress: RwSignal::new(None),
            categories: RwSignal::new(CategoriesStatus::Nothing),
            link: StoredValue::new_local(None),
            listing,
            state,
        }
    }

    /// Fetches a map once it is looked at. Called once, when the pages are loaded.
    pub fn follow(self, decisions: Decisions) {
        let (maps, state) = (self, self.state);
        // A lasso selects pairs for the other pages, too.
        let is_needed = Memo::new(move |_| state.page.get() == Page::Map || state.lasso.with(Option::is_some));
        let chosen = Memo::new(move |_| is_needed.get().then(|| maps.chosen()).flatten());
        let has_study = Memo::new(move |_| matches!(state.study.get(), StudyStatus::Ready(_)));
        Effect::new(move || match (chosen.get(), state.study.get()) {
            (Some(choice), _) => maps.open(choice.of),
            (None, StudyStatus::Ready(_)) if is_needed.get() => maps.status.set(MapStatus::Absent),
            (None, StudyStatus::Failed(error)) => maps.status.set(MapStatus::Failed(error.to_string())),
            _ => {}
        });
        let color = Memo::new(move |_| (state.page.get() == Page::Map && has_study.get()).then(|| state.color.get()));
        Effect::new(move || match color.get() {
            None => {}
            Some(ColorBy::Score | ColorBy::Nothing) => maps.categories.set(CategoriesStatus::Nothing),
            Some(ColorBy::Decision) => {
                let StudyStatus::Ready(study) = state.study.get() else { return };
                let categories = decisions.list.with(|list| decided(list, study.n_pairs));
                maps.categories.set(CategoriesStatus::Ready(ColorBy::Decision, Arc::new(categories)));
            }
            Some(color) => maps.sort_by(color),
        });
        Effect::new(move |before: Option<usize>| {
            let n_readings = state.n_readings.get();
            if before.is_some_and(|before| before != n_readings) {
                maps.forget_clusters(color.get_untracked());
            }
            n_readings
        });
        Effect::new(move || {
            let selected = match (maps.status.get(), state.lasso.get()) {
                (MapStatus::Ready(map), Some(lasso)) => Some(Arc::from(map.grid.rows_within(&lasso))),
                _ => None,
            };
            if state.selected_rows.with_untracked(|before| *before != selected) {
                state.selected_rows.set(selected);
            }
        });
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// The maps that can be chosen: those stored, neighbours before components, then those that indexes give. Tracked.
    pub fn choices(self) -> Vec<Choice> {
        let StudyStatus::Ready(study) = self.state.study.get() else { return Vec::new() };
        let layer_of = |number: usize| study.layers.iter().find(|layer| layer.layer == number).cloned();
        let stored = |method: &'static str| {
            let of_method = study.maps.iter().filter(move |view| (view.method == "umap") == (method == "umap"));
            of_method.map(move |view| Choice {
                name: view.name.clone(),
                text: format!("{}: {}, layer {}", view.name, view.method.to_uppercase(), view.layer),
                of: MapOf::Stored(view.clone(), layer_of(view.layer)),
            })
        };
        let mut choices: Vec<Choice> = stored("umap").chain(stored("pca")).collect();
        choices.extend(study.layers.iter().filter(|layer| layer.index.is_some()).map(of_index));
        choices
    }

    /// The one that is chosen: as the address says, else the first stored one, else that of the layer that ranks. Tracked.
    pub fn chosen(self) -> Option<Choice> {
        let choices = self.choices();
        let named = self.state.map.with(|map| map.name.clone());
        if let Some(name) = named {
            return choices.into_iter().find(|choice| choice.name == name);
        }
        let ranks_at = self.state.wanted.with(|wanted| wanted.as_ref().map(|wanted| wanted.layer));
        let is_of_index = |choice: &&Choice| matches!(&choice.of, MapOf::Index(layer) if Some(layer.layer) == ranks_at);
        let first = choices.first().filter(|choice| matches!(choice.of, MapOf::Stored(..)));
        first.or(choices.iter().find(is_of_index)).or(choices.first()).cloned()
    }

    /// Selects the pairs within a lasso, or none.
    pub fn select(self, lasso: Option<Lasso>) {
        let name = untrack(|| self.chosen()).map(|choice| choice.name);
        self.state.change_map(Step::Push, |map| {
            map.lasso = lasso.map(|lasso| lasso.format());
            // Elsewhere other pairs lie there: the address says which map it was drawn on.
            if map.lasso.is_some() {
                map.name = name;
            }
        });
    }

    /// Why it is not known which pairs the lasso encloses; `None` where it is known, or there is no lasso. Tracked.
    pub fn lasso_problem(self) -> Option<String> {
        self.state.lasso.with(Option::is_some).then_some(())?;
        match self.status.get() {
            MapStatus::Failed(reason) => Some(format!("The map of the lasso did not arrive: {reason}")),
            MapStatus::Absent => Some("The map that the lasso was drawn on is not in this study".to_owned()),
            MapStatus::Loading | MapStatus::Ready(_) => None,
        }
    }

    /// Tries again what failed.
    pub fn retry(self) {
        self.link.set_value(None);
        if let Some(choice) = untrack(|| self.chosen()) {
            self.status.set(MapStatus::Loading);
            self.open(choice.of);
        }
    }

    fn asked(self) -> Option<(Asked, Arc<StudyView>)> {
        match self.state.study.get_untracked() {
            StudyStatus::Ready(study) => {
                let asked = Asked {
                    data: self.state.data_folder(),
                    n_pairs: study.n_pairs,
                    pairs_sha256: study.pairs_sha256.clone(),
                };
                Some((asked, study))
            }
            _ => None,
        }
    }

    fn open(self, of: MapOf) {
        let is_here = self.status.with_untracked(|status| matches!(status, MapStatus::Ready(map) if map.of == of));
        let Some((asked, _)) = self.asked().filter(|_| !is_here) else { return };
        self.status.set(MapStatus::Loading);
        spawn_local(async move {
            let read = self.read(asked, of.clone()).await;
            // Another may have been chosen meanwhile.
            if untrack(|| self.chosen()).is_some_and(|chosen| chosen.of == of) {
                self.progress.set(None);
                self.status.set(read.map_or_else(MapStatus::Failed, |map| MapStatus::Ready(Arc::new(map))));
            }
        });
    }

    async fn read(self, asked: Asked, of: MapOf) -> Result<Mapped, String> {
        let n_pairs = asked.n_pairs;
        let (answer, message) = self.call(&Call::Open(Box::new(Opening { asked, of: of.clone() }))).await?;
        let Answer::Opened(facts) = answer else { return Err("the worker gave no map".to_owned()) };
        let floats = |at| message.get(at).unchecked_into::<Float32Array>().to_vec();
        let numbers = |at| message.get(at).unchecked_into::<Uint32Array>().to_vec();
        let points = floats(1);
        let grid = Grid::from_parts(numbers(2), numbers(3), floats(4)).filter(|grid| grid.len() == n_pairs);
        let grid = grid.ok_or("the worker gave another number of points")?;
        // The page answers between two parts of the work.
        sleep(0.0).await;
        let mut places = vec![0; n_pairs];
        for (place, &row) in (0..).zip(grid.rows()) {
            places[row as usize] = place;
        }
        let (frame, crowding) = (Frame::around(&points), grid.crowding());
        sleep(0.0).await;
        Ok(Mapped { of, facts, points, grid, places, frame, crowding })
    }

    fn sort_by(self, color: ColorBy) {
        let is_here = |status: &CategoriesStatus| matches!(status, CategoriesStatus::Ready(by, _) if *by == color);
        let Some((asked, study)) = self.asked().filter(|_| !self.categories.with_untracked(is_here)) else { return };
        self.categories.set(CategoriesStatus::Loading);
        spawn_local(async move {
            let read = match &color {
                ColorBy::Cluster(name) => self.clusters(asked, name).await,
                ColorBy::Groups(k) => self.grouped(asked, *k).await,
                _ => self.sources(asked, &study).await,
            };
            if self.state.color.get_untracked() == color {
                self.progress.set(None);
                self.categories.set(match read {
                    Ok(categories) => CategoriesStatus::Ready(color, Arc::new(categories)),
                    Err(reason) => CategoriesStatus::Failed(reason),
                });
            }
        });
    }

    /// The layer by which all pairs can be grouped here: that of the map, else that which ranks, else the last one; it needs an
    /// index. Tracked.
    pub fn groupable(self) -> Option<LayerView> {
        let StudyStatus::Ready(study) = self.state.study.get() else { return None };
        let of_map = match self.chosen().map(|choice| choice.of) {
            Some(MapOf::Stored(_, layer)) => layer,
            Some(MapOf::Index(layer)) => Some(layer),
            None => None,
        };
        let ranks_at = self.state.wanted.with(|wanted| wanted.as_ref().map(|wanted| wanted.layer));
        let indexed = || study.layers.iter().filter(|layer| layer.index.is_some());
        let of_map = of_map.filter(|layer| layer.index.is_some());
        of_map.or_else(|| indexed().find(|layer| Some(layer.layer) == ranks_at).or(indexed().next_back()).cloned())
    }

    /// Ends grouping, and colors by nothing that was asked for.
    pub fn stop_grouping(self) {
        // The worker and those it started end with it.
        self.link.set_value(None);
        self.progress.set(None);
        self.state.change_map(Step::Replace, |map| map.color = None);
    }

    /// Clusters may have been made anew under the same name, and so may the index. `color` is what the map is colored by, if it
    /// is looked at.
    fn forget_clusters(self, color: Option<ColorBy>) {
        // The worker keeps what it read.
        self.link.set_value(None);
        let is_of_clusters = |status: &CategoriesStatus| {
            matches!(
                status,
                CategoriesStatus::Ready(ColorBy::Cluster(_) | ColorBy::Groups(_), _) | CategoriesStatus::Failed(_)
            )
        };
        if self.categories.with_untracked(is_of_clusters) {
            self.categories.set(CategoriesStatus::Nothing);
            if let Some(color @ (ColorBy::Cluster(_) | ColorBy::Groups(_))) = color {
                self.sort_by(color);
            }
        }
    }

    async fn sources(self, asked: Asked, study: &StudyView) -> Result<Categories, String> {
        // Filters read the same file: what is here is not fetched again.
        let mut of_rows = match untrack(|| self.listing.ready_columns()) {
            Some(columns) => columns.source.clone(),
            None => {
                let (_, message) = self.call(&Call::Sources(asked)).await?;
                message.get(1).unchecked_into::<Uint32Array>().to_vec()
            }
        };
        // The largest first, whatever their numbers.
        let mut order: Vec<usize> = (0..study.sources.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(study.sources[i].n_pairs), i));
        let mut place = vec![0; order.len()];
        for (at, &source) in (0..).zip(&order) {
            place[source] = at;
        }
        for source in &mut of_rows {
            *source = *place.get(*source as usize).ok_or("a pair of a source that study.json does not list")?;
        }
        let category = |&i: &usize| {
            let source = &study.sources[i];
            Category { name: source.name.clone(), n: source.n_pairs, kind: Kind::Named, exemplar: None }
        };
        Ok(Categories { names: order.iter().map(category).collect(), of_rows, remark: None })
    }

    /// The label of every pair in a clustering, by row.
    ///
    /// # Errors
    ///
    /// In words, when it does not arrive or is of other pairs.
    pub async fn labels_of(self, name: &str) -> Result<Vec<i32>, String> {
        let (asked, _) = self.asked().ok_or("there is no study")?;
        let (_, message) = self.call(&Call::Clusters(asked, name.to_owned())).await?;
        Ok(message.get(1).unchecked_into::<Int32Array>().to_vec())
    }

    async fn clusters(self, asked: Asked, name: &str) -> Result<Categories, String> {
        let (answer, message) = self.call(&Call::Clusters(asked, name.to_owned())).await?;
        let Answer::Clusters(view) = answer else { return Err("the worker gave no clusters".to_owned()) };
        clusters_of(&view, &message.get(1).unchecked_into::<Int32Array>().to_vec())
    }

    async fn grouped(self, asked: Asked, k: usize) -> Result<Categories, String> {
        let layer = untrack(|| self.groupable()).ok_or("no layer has an index: run whence index")?;
        let number = layer.layer;
        let (answer, message) = self.call(&Call::Group(Box::new(Grouping { asked, layer, k }))).await?;
        let Answer::Grouped(facts) = answer else { return Err("the worker gave no groups".to_owned()) };
        Ok(groups_of(&facts, number, message.get(1).unchecked_into::<Uint32Array>().to_vec()))
    }

    async fn call(self, call: &Call) -> Result<(Answer, Array), String> {
        let link = match self.link.get_value() {
            Some(link) => link,
            None => {
                let on_note = move |note: Note, _: &Array| self.progress.set(Some(note));
                let link = Rc::new(MapLink::start(MAPPER, on_note).await.map_err(|error| error.to_string())?);
                self.link.set_value(Some(link.clone()));
                link
            }
        };
        match link.call(call, &[]).await {
            Ok((Answer::Failed(reason), _)) => Err(reason),
            Ok(answered) => Ok(answered),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Which rows are among these, `[n_rows]`.
pub fn marked(rows: &[u32], n_rows: usize) -> Vec<bool> {
    let mut is_marked = vec![false; n_rows];
    rows.iter().for_each(|&row| is_marked[row as usize] = true);
    is_marked
}

fn of_index(layer: &LayerView) -> Choice {
    Choice {
        name: format!("index:{}", layer.layer),
        text: format!("PCA by the index, layer {}", layer.layer),
        of: MapOf::Index(layer.clone()),
    }
}

/// What was decided as categories: every decision, and after them the undecided.
fn decided(list: &Worklist, n_pairs: usize) -> Categories {
    let actions = [Decision::Drop, Decision::Switch, Decision::Keep];
    let category = |action: &Decision| {
        let (name, n) = (decided_name(Some(*action)).to_owned(), list.n(*action));
        Category { name, n, kind: Kind::Decided(*action), exemplar: None }
    };
    let mut names: Vec<Category> = actions.iter().map(category).collect();
    let n_left = n_pairs.saturating_sub(list.len());
    names.push(Category { name: decided_name(None).to_owned(), n: n_left, kind: Kind::Rest, exemplar: None });
    let mut of_rows = vec![actions.len() as u32; n_pairs];
    for (row, decided) in list.iter() {
        let category = actions.iter().position(|action| *action == decided.action);
        if let (Some(of_row), Some(category)) = (of_rows.get_mut(row as usize), category) {
            *of_row = category as u32;
        }
    }
    Categories { names, of_rows, remark: None }
}

/// Groups made here as categories.
fn groups_of(facts: &GroupingFacts, layer: usize, of_rows: Vec<u32>) -> Categories {
    let group = |(i, (&n, &exemplar)): (usize, (&u64, &Option<u32>))| Category {
        name: format!("Group {}", i + 1),
        n: n as usize,
        kind: Kind::Named,
        exemplar,
    };
    let names = facts.counts.iter().zip(&facts.exemplars).enumerate().map(group).collect();
    let end = match facts.has_settled {
        true => "settled after",
        false => "still moving after",
    };
    let remark = format!(
        "Spherical k-means by the first {} dimensions of layer {layer}’s index: {end} {}, {} in {N_PARTS} workers of this \
         browser. Below each group, the pair nearest to its centre.",
        facts.width,
        crate::number::counted(facts.n_rounds, "round", "rounds"),
        crate::number::duration(facts.ms),
    );
    Categories { names, of_rows, remark: Some(remark) }
}

/// Clusters as categories, and after them what is in none.
fn clusters_of(view: &ClusteringView, labels: &[i32]) -> Result<Categories, String> {
    let named = |i: usize| view.names.as_ref().and_then(|names| names.pairs.get(i)).cloned();
    let words = |i: usize| {
        let terms = view.clusters[i].reading.terms.iter().take(N_TERMS).map(|term| term.term.as_str());
        terms.collect::<Vec<_>>().join(", ")
    };
    let mut names: Vec<Category> = (0..view.clusters.len())
        .map(|i| {
            let name = format!("{} {}", i + 1, named(i).unwrap_or_else(|| words(i)));
            let name = name.trim_end().to_owned();
            Category { name, n: view.clusters[i].size, kind: Kind::Named, exemplar: None }
        })
        .collect();
    let n_clusters = names.len() as u32;
    let rest = |name: &str, n: usize| Category { name: name.to_owned(), n, kind: Kind::Rest, exemplar: None };
    names.extend([
        rest("between the clusters", view.n_noise),
        rest("without a direction", view.n_no_direction),
        rest("not looked at", view.n_not_looked_at),
    ]);
    let category = |label: &i32| match u32::try_from(*label) {
        Ok(label) if label < n_clusters => Ok(label),
        // −1, −2 and −3 in the order of the list above.
        Err(_) if *label >= -3 => Ok(n_clusters + label.unsigned_abs() - 1),
        _ => {
            Err(format!("clusters/{}/labels.safetensors: a label {label} that pairs.json does not describe", view.name))
        }
    };
    let of_rows = labels.iter().map(category).collect::<Result<_, String>>()?;
    let remark = view.names.as_ref().map(|names| format!("Names made up by {}", names.model));
    Ok(Categories { of_rows, names, remark })
}

/// How a map was made, in words and with the numbers that `whence map` prints.
pub fn about(facts: &Facts, n_pairs: usize) -> String {
    use crate::number::counted;
    let pairs = counted(n_pairs, "pair", "pairs");
    let made = match facts.method {
        None => format!(
            "{pairs} at layer {}, first two dimensions of the index: principal components of unit rows, not centred",
            facts.layer
        ),
        Some(Method::Pca { explained: [first, second] }) => format!(
            "{pairs} at layer {}, first two principal components: {:.1} % and {:.1} % of the variance",
            facts.layer,
            100.0 * first,
            100.0 * second
        ),
        Some(Method::Umap { n_neighbors, min_dist, .. }) => {
            format!("{pairs} at layer {}, UMAP of {n_neighbors} neighbors, min-dist {min_dist}", facts.layer)
        }
    };
    let placed = (facts.n_fitted < n_pairs).then(|| {
        format!("; {} laid out, the others placed at their nearest among those", crate::number::count(facts.n_fitted))
    });
    let trust = facts.trustworthiness.map(|trust| format!("; trustworthiness {trust:.3}"));
    format!("{made}{}{}", placed.unwrap_or_default(), trust.unwrap_or_default())
}
