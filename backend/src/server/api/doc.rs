//! `/api/v1/openapi.json`: OpenAPI 3.1, made of the list of [`routes`] and of values of the very types that go back and forth,
//! so that it cannot say anything else than they do.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use whence_shared::api::{
    Action, ApiError, AtVersion, ChangeDecisions, Decision, DecisionRule, DecisionStep, Decisions, DecisionsChange,
    EditSetView, ErrorKind, MakeEditSet, PutDecisions, RankingEnd, ServerView,
};
use whence_shared::jobs::{JobLog, JobProgress, JobState, JobView, NewJob};
use whence_shared::shares::{BundleMaking, BundleState, NewBundle, NewShare, ShareMade, ShareView};

use super::jobs::Nothing;
use crate::server::gather::GatherRows;
use crate::server::routes::routes;

/// What an address answers when all is well.
#[derive(Debug, Clone, Copy)]
pub enum Answers {
    /// One value of a type described here.
    One(&'static str),
    /// A list of them.
    List(&'static str),
    /// JSON of a type of `whence_shared`, described there.
    Data(&'static str),
    /// Something of this media type.
    Media(&'static str),
}

/// What is said of an address.
#[derive(Debug, Clone, Copy)]
pub struct Doc {
    /// `get`, `post` or `put`.
    pub method: &'static str,
    /// The address, with parameters in braces.
    pub path: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    answers: Answers,
    is_changing: bool,
}

impl Doc {
    /// An address that is read.
    pub fn get(path: &'static str, summary: &'static str, answers: Answers) -> Self {
        Self { method: "get", path, summary, body: None, answers, is_changing: false }
    }

    /// An address that is posted to.
    pub fn post(path: &'static str, summary: &'static str, body: &'static str, answers: Answers) -> Self {
        Self { method: "post", path, summary, body: Some(body), answers, is_changing: false }
    }

    /// An address that is put to.
    pub fn put(path: &'static str, summary: &'static str, body: &'static str, answers: Answers) -> Self {
        Self { method: "put", ..Self::post(path, summary, body, answers) }
    }

    /// It changes something: a server that only reads refuses it, and so does one whose state the reader has not seen.
    pub fn changing(self) -> Self {
        Self { is_changing: true, ..self }
    }

    /// The path as OpenAPI writes it: parameters that take several segments look like any other.
    pub fn described_path(&self) -> String {
        self.path.replace("{*", "{")
    }

    fn operation(&self) -> Value {
        let path = self.described_path();
        let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let parameter =
            |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
        let parameters: Vec<Value> = names.map(parameter).collect();
        let mut responses = Map::new();
        responses.insert("200".into(), self.answer());
        for (status, why) in self.refusals() {
            responses.insert(status.into(), refusal(why));
        }
        responses.insert("default".into(), refusal("Any other trouble"));
        let mut operation = json!({"summary": self.summary, "responses": responses});
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = self.body {
            let content = json!({"application/json": {"schema": reference(body)}});
            operation["requestBody"] = json!({"required": true, "content": content});
        }
        operation
    }

    fn answer(&self) -> Value {
        let (media, schema) = match self.answers {
            Answers::One(name) => ("application/json", reference(name)),
            Answers::List(name) => ("application/json", json!({"type": "array", "items": reference(name)})),
            Answers::Data(name) => ("application/json", json!({"type": "object", "title": name})),
            Answers::Media("application/json") => ("application/json", json!({"type": "object"})),
            Answers::Media(media) => (media, json!({"type": "string", "format": "binary"})),
        };
        json!({"description": "As asked", "content": {media: {"schema": schema}}})
    }

    fn refusals(&self) -> Vec<(&'static str, &'static str)> {
        let mut refusals = vec![("421", "A host name that is not this machine's")];
        if self.path.contains('{') {
            refusals.push(("404", "There is no such thing"));
        }
        if self.body.is_some() {
            refusals.extend([("400", "It asks for what cannot be"), ("415", "The body is not said to be JSON")]);
            refusals.push(("403", "A page of another site, or a server that only reads"));
        }
        if self.is_changing {
            refusals.push(("409", "What the reader saw is no longer so, or the name is taken"));
        }
        refusals
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn refusal(why: &str) -> Value {
    json!({"description": why, "content": {"application/json": {"schema": reference("ApiError")}}})
}

/// The whole document.
pub fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for doc in routes().iter().map(|route| route.doc) {
        paths.entry(doc.described_path()).or_default().insert(doc.method.into(), doc.operation());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Whence",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A study, and what people decide while they read it. Addresses below /data are read alone and are \
                those of a static bundle; those below /api/v1 change decisions and edit sets.",
        },
        "paths": paths,
        "components": {"schemas": schemas()},
    })
}

fn schemas() -> Map<String, Value> {
    let note = String::from("why");
    let decision = Decision { row: 7, id: "a".into(), action: Action::Drop, note: note.clone() };
    let decisions = vec![decision.clone()];
    let label = Some(String::from("1 pair: drop"));
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| schemas.insert(name.into(), schema);
    add("Decision", schema(&decision));
    let (undo, redo) = (label.clone(), label.clone());
    let lost = decisions.clone();
    add("Decisions", schema(&Decisions { version: 1, decisions: decisions.clone(), lost, undo, redo }));
    let label_text = label.clone().unwrap_or_default();
    add("PutDecisions", schema(&PutDecisions { version: 1, label: label_text.clone(), decisions: decisions.clone() }));
    let decide = decisions.clone();
    add("ChangeDecisions", schema(&ChangeDecisions { version: 1, label: label_text.clone(), decide, remove: vec![3] }));
    add("DecisionRule", schema(&rule(note)));
    add("AtVersion", schema(&AtVersion { version: 1 }));
    let (undo, redo) = (label.clone(), label);
    let change = DecisionsChange { version: 2, decided: decisions, removed: vec![3], is_reordered: true, undo, redo };
    add("DecisionsChange", schema(&change));
    let step = DecisionStep { number: 1, label: label_text, at_unix_ms: 0, n_pairs: 1, is_undone: false };
    add("DecisionStep", schema(&step));
    add("MakeEditSet", schema(&MakeEditSet { name: "mine".into(), version: 1, replace: false }));
    add("EditSetView", schema(&edit_set()));
    let study = String::from("study");
    let (whence, can) = (String::from("0.1.0"), true);
    add("ServerView", schema(&ServerView { whence, study, can_edit: can, can_run_jobs: can, others_reach_links: can }));
    add("Nothing", schema(&Nothing {}));
    add("NewJob", schema(&NewJob { verb: "rank".into(), arguments: vec!["--behavior".into()] }));
    add("JobProgress", schema(&progress()));
    add("JobView", schema(&job()));
    add("JobLog", schema(&JobLog { from: 0, to: 1, text: "x".into(), is_complete: false }));
    add("NewShare", schema(&new_share()));
    add("NewBundle", schema(&new_bundle()));
    add("BundleMaking", schema(&bundle_making()));
    add("ShareView", schema(&share()));
    add("ShareMade", schema(&ShareMade { share: share(), path: "/s/0123456789abcdef0123456789abcdef/".into() }));
    add("GatherRows", schema(&GatherRows { rows: vec![7], vectors_sha256: Some("0".into()) }));
    let hint = String::from("read it again");
    add("ApiError", schema(&ApiError { error: "it changed".into(), kind: ErrorKind::Changed, hint }));
    schemas
}

fn rule(note: String) -> DecisionRule {
    let (end, action) = (RankingEnd::Top, Action::Switch);
    DecisionRule { version: 1, behavior: "obeys".into(), layer: 10, end, n: 500, action, note, keep_decided: false }
}

fn new_share() -> NewShare {
    let (behaviors, layers) = (Some(vec!["obeys".into()]), Some(vec![10]));
    let expires_in_seconds = Some(604_800);
    NewShare { label: "x".into(), behaviors, layers, texts: false, no_vectors: false, expires_in_seconds }
}

fn new_bundle() -> NewBundle {
    NewBundle { behaviors: Some(vec!["obeys".into()]), layers: Some(vec![10]), texts: false, no_vectors: false }
}

fn bundle_making() -> BundleMaking {
    let (stage, unit) = (String::from("bundle"), String::from("files"));
    let error = Some(ApiError { error: "it cannot be read".into(), kind: ErrorKind::Study, hint: String::new() });
    let (state, n_bytes) = (BundleState::Making, Some(1));
    BundleMaking { id: 1, asked: new_bundle(), state, stage, n_done: 1, n_total: 2, unit, n_bytes, error }
}

fn share() -> ShareView {
    ShareView {
        id: 1,
        label: "x".into(),
        behaviors: Some(vec!["obeys".into()]),
        layers: Some(vec![10]),
        texts: false,
        no_vectors: false,
        created_unix_ms: 0,
        expires_unix_ms: Some(0),
        revoked_unix_ms: Some(0),
        is_open: false,
    }
}

fn progress() -> JobProgress {
    let (stage, unit) = ("extract".into(), "pairs".into());
    JobProgress { stage, done: 1, total: 2, unit, detail: "x".into(), per_second: Some(0.5), seconds_left: Some(2.5) }
}

fn job() -> JobView {
    JobView {
        id: 1,
        verb: "rank".into(),
        arguments: vec!["--behavior".into()],
        command: "whence rank".into(),
        device: "cpu".into(),
        state: JobState::Running,
        error: "x".into(),
        n_tries: 1,
        created_unix_ms: 0,
        started_unix_ms: Some(0),
        finished_unix_ms: Some(0),
        progress: Some(progress()),
    }
}

fn edit_set() -> EditSetView {
    EditSetView {
        name: "mine".into(),
        how: "3 decisions".into(),
        n_pairs: 100,
        n_dropped: 1,
        n_switched: 2,
        sha256: "0".into(),
        warnings: vec!["a source is emptied".into()],
    }
}

/// The schema of a type, from a value of it in which nothing is left out: a key without which it can still be read is optional.
fn schema<T: Serialize + DeserializeOwned>(example: &T) -> Value {
    let value = serde_json::to_value(example).expect("plain data serializes");
    let mut found = schema_of(None, &value);
    let Value::Object(keys) = &value else { return found };
    let is_required = |key: &&String| {
        let mut without = keys.clone();
        without.remove(*key);
        serde_json::from_value::<T>(Value::Object(without)).is_err()
    };
    found["required"] = keys.keys().filter(is_required).cloned().collect();
    found
}

fn schema_of(key: Option<&str>, value: &Value) -> Value {
    let words = |names: Vec<Value>| json!({"type": "string", "enum": names});
    match (key, value) {
        (Some("action"), _) => words(Action::ALL.map(|action| json!(action)).to_vec()),
        (Some("end"), _) => words([RankingEnd::Top, RankingEnd::Bottom].map(|end| json!(end)).to_vec()),
        (Some("state"), _) => words(JobState::ALL.map(|state| json!(state)).to_vec()),
        (Some("kind"), _) => words(ErrorKind::ALL.map(|kind| json!(kind)).to_vec()),
        (_, Value::String(_)) => json!({"type": "string"}),
        (_, Value::Bool(_)) => json!({"type": "boolean"}),
        (_, Value::Number(number)) if number.is_f64() => json!({"type": "number"}),
        (_, Value::Number(_)) => json!({"type": "integer", "minimum": 0}),
        (_, Value::Array(items)) => match items.first() {
            Some(Value::Object(_)) => json!({"type": "array", "items": reference("Decision")}),
            Some(item) => json!({"type": "array", "items": schema_of(None, item)}),
            None => json!({"type": "array"}),
        },
        (_, Value::Object(keys)) => {
            let properties: Map<String, Value> =
                keys.iter().map(|(key, value)| (key.clone(), schema_of(Some(key), value))).collect();
            json!({"type": "object", "properties": properties})
        }
        (_, Value::Null) => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_say_what_may_be_left_out_and_every_reference_leads_to_one() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        // In whichever order JSON keeps keys in.
        let required = |name: &str| {
            let keys = schemas[name]["required"].as_array().unwrap().iter();
            keys.map(|key| key.as_str().unwrap()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(required("Decision"), ["action", "id", "row"].into(), "a note may be left out");
        assert_eq!(schemas["Decision"]["properties"]["action"]["enum"], json!(["keep", "drop", "switch"]));
        assert_eq!(required("ApiError"), ["error", "hint", "kind"].into());
        assert_eq!(schemas["Decisions"]["properties"]["decisions"]["items"], reference("Decision"));
        let text = document.to_string();
        for rest in text.split("#/components/schemas/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(schemas[name].is_object(), "{name} is described");
        }
    }
}
