//! The address bar: everything a reader chose, so that copying the address shares the view.

use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use web_sys::{Url, UrlSearchParams};
use whence_shared::discovery::cutting::SideName;
use whence_shared::filter::{self, Filter, Sort};

use crate::protocol::{End, IndexUse};

/// Parameters that only a ranking has: older links state them and no page.
const RANKING_KEYS: [&str; 4] = ["behavior", "layer", "k", "row"];

/// What the query string says. `None` means "not stated": the app then chooses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Address {
    /// `view`: the page. Unless it is stated, the ranking where something of it is, else the overview.
    pub page: Page,
    /// `behavior`: a behavior's name.
    pub behavior: Option<String>,
    /// `layer`: a decoder layer.
    pub layer: Option<usize>,
    /// `k`: how many pairs count as the top.
    pub k: Option<usize>,
    /// `end=bottom`: the lowest scores are wanted instead of the highest.
    pub end: End,
    /// `by=bank`: the score is the largest of those with each of the behavior's vectors, instead of that with their
    /// direction.
    pub is_bank: bool,
    /// `without`: a behavior whose direction is projected out.
    pub without: Option<String>,
    /// `only`: of the behavior's prompts these rows, from 0, make the direction; as `whence_shared::spans` writes them.
    pub only: Option<String>,
    /// `groups`: a discovery's name.
    pub groups: Option<String>,
    /// `prompts`, `pairs`: into how many groups a discovery's prompts and pairs are cut, unless as stored.
    pub cuts: Cuts,
    /// What is looked at of a discovery.
    pub discover: DiscoverAddress,
    /// How the map is looked at, and what is selected on it.
    pub map: MapAddress,
    /// `row`: the selected pair's row in the study.
    pub row: Option<u32>,
    /// `q`, `source`, `score`, `group` and others: which pairs of the ranking are shown.
    pub filter: Filter,
    /// `sort`: in which order they are shown; by rank unless stated.
    pub sort: Sort,
    /// `chart=length`: the chart beside the ranking shows scores and lengths, instead of scores alone.
    pub is_length_chart: bool,
    /// `marks=tokens`: responses are tinted by what their tokens add to the score, instead of marked where they differ.
    pub are_tokens_marked: bool,
    /// `curve=accuracy`: the curves of training show how often the chosen response was preferred, instead of the loss.
    pub is_accuracy_curve: bool,
    /// `job`: number of the job whose log is shown.
    pub job: Option<u64>,
    /// `start`: the verb that a job can be started of.
    pub verb: Option<String>,
}

/// How the map is looked at, as text: what it means is known where the map is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapAddress {
    /// `map`: a stored map's name, or `index:L` for the first two dimensions of layer L's index.
    pub name: Option<String>,
    /// `color`: what points are colored by.
    pub color: Option<ColorBy>,
    /// `lit`: the number of the one category that is lit.
    pub lit: Option<u32>,
    /// `at`: what part is looked at ([`whence_shared::plane::viewport::Viewport::format`]); all of it unless stated.
    pub at: Option<String>,
    /// `lasso`: the polygon whose pairs are selected ([`whence_shared::plane::lasso::Lasso::format`]).
    pub lasso: Option<String>,
}

/// What is looked at of a discovery, as text: what it means is known where the discovery is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiscoverAddress {
    /// `checked`: prompts of the scan of changes that are chosen; as `whence_shared::spans` writes them.
    pub checked: Option<String>,
    /// `changed`: the one kind of change that is listed.
    pub kind: Option<String>,
    /// `order`: the column that they are in the order of, after `-` falling.
    pub order: Option<String>,
    /// `open`: the prompt whose responses are shown.
    pub open: Option<u32>,
    /// `compare-prompts`: the groups of prompts that are compared, from 1, such as `2,5`.
    pub compared_prompts: Option<String>,
    /// `compare-pairs`: the same of pairs.
    pub compared_pairs: Option<String>,
}

impl DiscoverAddress {
    /// The groups of a side that are compared.
    pub fn compared(&self, side: SideName) -> Option<&str> {
        match side {
            SideName::Prompts => self.compared_prompts.as_deref(),
            SideName::Pairs => self.compared_pairs.as_deref(),
        }
    }

    /// With other groups of a side.
    pub fn set_compared(&mut self, side: SideName, groups: Option<String>) {
        match side {
            SideName::Prompts => self.compared_prompts = groups,
            SideName::Pairs => self.compared_pairs = groups,
        }
    }
}

/// The most groups that pairs are put in here.
pub const MAX_GROUPS: usize = 64;

/// What points of the map are colored by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColorBy {
    /// The score with the current behavior.
    Score,
    /// Where pairs come from.
    Source,
    /// The cluster, of the clustering of this name.
    Cluster(String),
    /// The group, of so many made in the browser: 2 to [`MAX_GROUPS`].
    Groups(usize),
    /// What was decided of pairs.
    Decision,
    /// Nothing: density alone.
    Nothing,
}

impl ColorBy {
    /// As the address and the picker name it.
    pub fn name(&self) -> String {
        match self {
            Self::Score => "score".to_owned(),
            Self::Source => "source".to_owned(),
            Self::Cluster(name) => format!("cluster:{name}"),
            Self::Groups(k) => format!("groups:{k}"),
            Self::Decision => "decision".to_owned(),
            Self::Nothing => "none".to_owned(),
        }
    }

    /// What a name stands for.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "score" => Some(Self::Score),
            "source" => Some(Self::Source),
            "decision" => Some(Self::Decision),
            "none" => Some(Self::Nothing),
            _ => match name.split_once(':')? {
                ("cluster", name) if !name.is_empty() => Some(Self::Cluster(name.to_owned())),
                ("groups", k) => k.parse().ok().filter(|k| (2..=MAX_GROUPS).contains(k)).map(Self::Groups),
                _ => None,
            },
        }
    }
}

/// Into how many groups the two sides of a discovery are cut; `None` = as `whence discover` cut them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cuts {
    /// Its prompts.
    pub prompts: Option<usize>,
    /// Its pairs.
    pub pairs: Option<usize>,
}

impl Cuts {
    /// Of one side.
    pub fn of(self, side: SideName) -> Option<usize> {
        match side {
            SideName::Prompts => self.prompts,
            SideName::Pairs => self.pairs,
        }
    }

    /// With one side cut otherwise.
    pub fn with(self, side: SideName, cut: Option<usize>) -> Self {
        match side {
            SideName::Prompts => Self { prompts: cut, ..self },
            SideName::Pairs => Self { pairs: cut, ..self },
        }
    }
}

/// The app's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Page {
    /// What the study is and what it found.
    #[default]
    Overview,
    /// Pairs by score.
    Ranking,
    /// All pairs on a plane.
    Map,
    /// Prompts and pairs in groups.
    Discover,
    /// Decisions about pairs.
    Edit,
    /// What retraining on edited pairs did.
    Validate,
    /// Verbs that the backend runs.
    Jobs,
    /// Links and bundles for others.
    Share,
}

impl Page {
    /// All pages, in the order in which they are shown.
    pub const ALL: [Self; 8] =
        [Self::Overview, Self::Ranking, Self::Map, Self::Discover, Self::Edit, Self::Validate, Self::Jobs, Self::Share];

    /// As the address and `<body>` name it.
    pub fn name(self) -> &'static str {
        match self {
            Page::Overview => "overview",
            Page::Ranking => "ranking",
            Page::Map => "map",
            Page::Discover => "discover",
            Page::Edit => "edit",
            Page::Validate => "validate",
            Page::Jobs => "jobs",
            Page::Share => "share",
        }
    }

    /// As links to it say.
    pub fn title(self) -> &'static str {
        match self {
            Page::Overview => "Overview",
            Page::Ranking => "Ranking",
            Page::Map => "Map",
            Page::Discover => "Discover",
            Page::Edit => "Edit",
            Page::Validate => "Validate",
            Page::Jobs => "Jobs",
            Page::Share => "Share",
        }
    }

    /// Whether it shows pairs of a ranking: then there is one to be made.
    pub fn ranks(self) -> bool {
        matches!(self, Page::Ranking | Page::Edit)
    }

    /// Whether it shows the study, and not what is done with it.
    pub fn is_of_study(self) -> bool {
        !matches!(self, Page::Jobs | Page::Share)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.name() == name)
    }
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
        let name = |key: &str| params.get(key).filter(|name| !name.is_empty());
        let all = |key: &str| params.get_all(key).iter().filter_map(|value| value.as_string()).collect::<Vec<_>>();
        let is_of_ranking = RANKING_KEYS.iter().any(|key| params.has(key));
        let unstated = if is_of_ranking { Page::Ranking } else { Page::Overview };
        Self {
            page: name("view").and_then(|name| Page::named(&name)).unwrap_or(unstated),
            behavior: name("behavior"),
            layer: number("layer"),
            k: number("k").filter(|&k| k > 0),
            end: if name("end").as_deref() == Some("bottom") { End::Bottom } else { End::Top },
            is_bank: name("by").as_deref() == Some("bank"),
            without: name("without"),
            only: name("only"),
            groups: name("groups"),
            cuts: Cuts { prompts: number("prompts").filter(|&k| k > 0), pairs: number("pairs").filter(|&k| k > 0) },
            discover: DiscoverAddress {
                checked: name("checked"),
                kind: name("changed"),
                order: name("order"),
                open: number("open").and_then(|prompt| u32::try_from(prompt).ok()),
                compared_prompts: name("compare-prompts"),
                compared_pairs: name("compare-pairs"),
            },
            map: MapAddress {
                name: name("map"),
                color: name("color").and_then(|name| ColorBy::named(&name)),
                lit: number("lit").and_then(|lit| u32::try_from(lit).ok()),
                at: name("at"),
                lasso: name("lasso"),
            },
            row: number("row").and_then(|row| u32::try_from(row).ok()),
            filter: Filter::from_query(all),
            sort: Sort::parse(&name("sort").unwrap_or_default()),
            is_length_chart: name("chart").as_deref() == Some("length"),
            are_tokens_marked: name("marks").as_deref() == Some("tokens"),
            is_accuracy_curve: name("curve").as_deref() == Some("accuracy"),
            job: name("job").and_then(|number| number.parse().ok()),
            verb: name("start"),
        }
    }

    /// The whole address, with parameters that are not ours as they are in the address bar.
    pub fn href(&self) -> Option<String> {
        let url = Url::new(&web_sys::window()?.location().href().ok()?).ok()?;
        let params = url.search_params();
        let values = [
            ("view", (!self.says_page()).then(|| self.page.name().to_owned())),
            ("groups", self.groups.clone()),
            ("prompts", self.cuts.prompts.map(|n| n.to_string())),
            ("pairs", self.cuts.pairs.map(|n| n.to_string())),
            ("checked", self.discover.checked.clone()),
            ("changed", self.discover.kind.clone()),
            ("order", self.discover.order.clone()),
            ("open", self.discover.open.map(|prompt| prompt.to_string())),
            ("compare-prompts", self.discover.compared_prompts.clone()),
            ("compare-pairs", self.discover.compared_pairs.clone()),
            ("behavior", self.behavior.clone()),
            ("only", self.only.clone()),
            ("layer", self.layer.map(|n| n.to_string())),
            ("k", self.k.map(|n| n.to_string())),
            ("end", (self.end == End::Bottom).then(|| "bottom".to_owned())),
            ("by", self.is_bank.then(|| "bank".to_owned())),
            ("without", self.without.clone()),
            ("map", self.map.name.clone()),
            ("color", self.map.color.as_ref().map(ColorBy::name)),
            ("lit", self.map.lit.map(|lit| lit.to_string())),
            ("at", self.map.at.clone()),
            ("lasso", self.map.lasso.clone()),
            ("row", self.row.map(|n| n.to_string())),
            ("sort", (self.sort != Sort::default()).then(|| self.sort.to_string())),
            ("chart", self.is_length_chart.then(|| "length".to_owned())),
            ("marks", self.are_tokens_marked.then(|| "tokens".to_owned())),
            ("curve", self.is_accuracy_curve.then(|| "accuracy".to_owned())),
            ("job", self.job.map(|id| id.to_string())),
            ("start", self.verb.clone()),
        ];
        for (key, value) in values {
            match value {
                Some(value) => params.set(key, &value),
                None => params.delete(key),
            }
        }
        filter::KEYS.iter().for_each(|key| params.delete(key));
        for (key, value) in self.filter.to_query() {
            params.append(key, &value);
        }
        Some(url.href())
    }

    /// Whether its other parameters say which page it is.
    fn says_page(&self) -> bool {
        let is_of_ranking = self.behavior.is_some() || self.layer.is_some() || self.k.is_some() || self.row.is_some();
        match self.page {
            Page::Ranking => is_of_ranking,
            Page::Overview => !is_of_ranking,
            _ => false,
        }
    }

    /// Writes the address bar.
    pub fn write(&self, step: Step) {
        let Some(window) = web_sys::window() else { return };
        let (Some(address), Ok(history)) = (self.href(), window.history()) else { return };
        if window.location().href().is_ok_and(|href| href == address) {
            return;
        }
        // A browser may refuse (too many changes a second): the view stays right, the address catches up next time.
        let _ = match step {
            Step::Push => history.push_state_with_url(&JsValue::NULL, "", Some(&address)),
            Step::Replace => history.replace_state_with_url(&JsValue::NULL, "", Some(&address)),
        };
    }
}

/// Absolute address of the folder that the study is read from, with a final slash: `data/` beside the app, or in the bundle
/// that `?bundle=` names, a folder of any host that lets this page read it (CORS). Empty when that is no address.
pub fn data_folder() -> String {
    let base = web_sys::window().and_then(|window| window.document()?.base_uri().ok().flatten()).unwrap_or_default();
    let folder = bundle().map_or_else(|| "data/".to_owned(), |bundle| format!("{bundle}data/"));
    Url::new_with_base(&folder, &base).map(|url| url.href()).unwrap_or_default()
}

/// `bundle`: where the bundle lies that is shown instead of the study beside the app, with a final slash.
pub fn bundle() -> Option<String> {
    let search = web_sys::window()?.location().search().ok()?;
    let bundle = UrlSearchParams::new_with_str(&search).ok()?.get("bundle").filter(|bundle| !bundle.is_empty())?;
    Some(format!("{}/", bundle.trim_end_matches("index.html").trim_end_matches('/')))
}

/// What tests and measurements ask for through the address; the app never writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// `workers`: scoring workers.
    pub n_workers: Option<usize>,
    /// `index=no`: ranks as if there were no index; `index=yes`: uses it however small the layer is.
    pub index: IndexUse,
    /// `draw=webgl`, `draw=canvas`: what draws the map, whatever the machine is good at.
    pub draw: Option<DrawBy>,
}

/// What draws the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawBy {
    /// The graphics processor.
    WebGl,
    /// The processor, into a canvas.
    Canvas,
}

impl DrawBy {
    /// As the address and the page's marks name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebGl => "webgl",
            Self::Canvas => "canvas",
        }
    }
}

impl Trial {
    /// Reads the address bar.
    pub fn read() -> Self {
        let search = web_sys::window().and_then(|window| window.location().search().ok()).unwrap_or_default();
        let params = UrlSearchParams::new_with_str(&search).ok();
        let value = |key: &str| params.as_ref().and_then(|params| params.get(key));
        Self {
            n_workers: value("workers").and_then(|number| number.parse().ok()),
            index: match value("index").as_deref() {
                Some("no") => IndexUse::Never,
                Some("yes") => IndexUse::Always,
                _ => IndexUse::WherePaying,
            },
            draw: match value("draw").as_deref() {
                Some("webgl") => Some(DrawBy::WebGl),
                Some("canvas") => Some(DrawBy::Canvas),
                _ => None,
            },
        }
    }
}
