//! Every address that the server answers, with what is said of it in `/api/v1/openapi.json`: one list, so that neither can
//! lack what the other has.

use axum::routing::{MethodRouter, get, post, put};

use super::api::doc::{Answers, Doc};
use super::{State, api, bundles, chunks, columns, data_files, gather, nearest, report, shares, validation, view};

/// An address and what answers it.
pub struct Route {
    /// What is said of it.
    pub doc: Doc,
    /// What answers.
    pub answering: MethodRouter<State>,
    /// Which answers are compressed.
    pub compression: Compression,
}

/// Which answers are compressed: that takes ranges away, and vectors do not compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// All.
    All,
    /// Those that are not files as they lie.
    OfText,
    /// None.
    None,
}

/// All of them but the app's.
pub fn routes() -> Vec<Route> {
    let mut routes = data();
    routes.extend(api());
    routes.extend(shared());
    routes
}

/// The study, read alone.
fn data() -> Vec<Route> {
    let json =
        |path, summary, schema, answering| route(Doc::get(path, summary, Answers::Data(schema)), answering, true);
    let mut routes = vec![
        json("/data/study.json", "What the study holds", "StudyView", get(view::study)),
        json("/data/rows/{chunk}", "What a table needs of 4096 rows, N.json", "RowChunk", get(chunks::rows)),
        json("/data/texts/{chunk}", "32 whole pairs, N.json", "TextChunk", get(chunks::texts)),
        route(
            Doc::get(
                "/data/columns.safetensors",
                "Source, lengths and metadata of every pair",
                Answers::Media("application/octet-stream"),
            ),
            get(columns::columns),
            true,
        ),
        json(
            "/data/nearest/{layer}/{row}",
            "The pairs whose vectors are nearest to one pair's, ROW.json",
            "NearestPairs",
            get(nearest::nearest),
        ),
        json("/data/report.json", "What retraining found", "ValidationReport", get(validation::report)),
        json("/data/runs.json", "How far retraining is", "RunsView", get(validation::runs)),
        route(
            Doc::get(
                "/data/arms/{arm}/{run}/metrics.jsonl",
                "Training of one run, a line per step",
                Answers::Media("application/jsonl"),
            ),
            get(validation::metrics),
            true,
        ),
        route(
            Doc::post(
                "/data/gather/{layer}",
                "Chosen rows of a layer's vectors, little-endian, in the order asked for",
                "GatherRows",
                Answers::Media("application/octet-stream"),
            ),
            post(gather::gather),
            false,
        ),
    ];
    routes.extend(data_files::FOLDERS.map(|(name, path, summary)| {
        let doc = Doc::get(path, summary, Answers::Media("application/octet-stream"));
        route(doc, data_files::folder(name), false)
    }));
    routes
}

fn api() -> Vec<Route> {
    use Answers::{List, One};
    let reads = |path, summary, answers, answering| route(Doc::get(path, summary, answers), answering, true);
    let posts = |path, summary, body, answer, answering| {
        route(Doc::post(path, summary, body, One(answer)).changing(), answering, true)
    };
    vec![
        reads("/api/v1", "What this server can do", One("ServerView"), get(api::server)),
        reads("/api/v1/openapi.json", "This document", Answers::Media("application/json"), get(api::openapi)),
        reads("/api/v1/decisions", "The worklist, in the order of time", One("Decisions"), get(api::decisions)),
        route(
            Doc::put("/api/v1/decisions", "Replace the whole worklist", "PutDecisions", One("DecisionsChange"))
                .changing(),
            put(api::put),
            true,
        ),
        posts(
            "/api/v1/decisions/change",
            "Decide about some pairs",
            "ChangeDecisions",
            "DecisionsChange",
            post(api::some),
        ),
        posts(
            "/api/v1/decisions/rule",
            "Decide about the first or last pairs of a stored ranking",
            "DecisionRule",
            "DecisionsChange",
            post(api::rule),
        ),
        posts("/api/v1/decisions/undo", "Take the last step back", "AtVersion", "DecisionsChange", post(api::undo)),
        posts("/api/v1/decisions/redo", "Do an undone step again", "AtVersion", "DecisionsChange", post(api::redo)),
        reads(
            "/api/v1/decisions/history",
            "What was done, first step first, undone ones last",
            List("DecisionStep"),
            get(api::history),
        ),
        reads("/api/v1/edits", "The edit sets of the study", List("EditSetView"), get(api::edits)),
        reads("/api/v1/shares", "Read-only links, the newest first", List("ShareView"), get(shares::all)),
        posts("/api/v1/shares", "Make a read-only link", "NewShare", "ShareMade", post(shares::make)),
        posts("/api/v1/shares/{id}/revoke", "End a link", "Nothing", "ShareView", post(shares::revoke)),
        // An archive does not compress.
        route(
            Doc::post(
                "/api/v1/report",
                "A part of the study with the app, as one archive for any web server",
                "NewBundle",
                Answers::Media("application/zip"),
            )
            .changing(),
            post(report::make),
            false,
        ),
        reads("/api/v1/bundles", "The bundle that is made or ready, if any", List("BundleMaking"), get(bundles::all)),
        posts(
            "/api/v1/bundles",
            "Make such an archive in the background; the one made before ends",
            "NewBundle",
            "BundleMaking",
            post(bundles::make),
        ),
        reads("/api/v1/bundles/{id}", "How far a bundle is", One("BundleMaking"), get(bundles::one)),
        posts("/api/v1/bundles/{id}/cancel", "End a bundle", "Nothing", "BundleMaking", post(bundles::cancel)),
        route(
            Doc::get("/api/v1/bundles/{id}/file", "The archive, in ranges if asked", Answers::Media("application/zip")),
            get(bundles::file),
            false,
        ),
        reads("/api/v1/jobs", "All jobs, the newest first", List("JobView"), get(api::jobs::all)),
        posts("/api/v1/jobs", "Put a verb into the queue", "NewJob", "JobView", post(api::jobs::queue)),
        // An event must not wait for more to compress.
        route(
            Doc::get("/api/v1/jobs/events", "Jobs as they change", Answers::Media("text/event-stream")),
            get(api::jobs::events),
            false,
        ),
        reads("/api/v1/jobs/{id}", "One job", One("JobView"), get(api::jobs::one)),
        reads("/api/v1/jobs/{id}/log", "What a job printed, from byte `from` on", One("JobLog"), get(api::jobs::log)),
        posts("/api/v1/jobs/{id}/cancel", "Cancel a job", "Nothing", "JobView", post(api::jobs::cancel)),
        posts("/api/v1/jobs/{id}/retry", "Run a job again", "Nothing", "JobView", post(api::jobs::retry)),
        posts("/api/v1/edits", "Make an edit set of the worklist", "MakeEditSet", "EditSetView", post(api::make_edits)),
    ]
}

/// What a link shows.
fn shared() -> Vec<Route> {
    let reads = |path, summary, answering| Route {
        doc: Doc::get(path, summary, Answers::Media("*/*")),
        answering,
        compression: Compression::OfText,
    };
    vec![
        reads("/s/{token}", "To /s/TOKEN/", get(shares::root)),
        reads("/s/{token}/", "The app on a shared part of the study", get(shares::page)),
        reads("/s/{token}/{*path}", "Files of the app, and of the shared part below data/", get(shares::file)),
    ]
}

fn route(doc: Doc, answering: MethodRouter<State>, is_compressed: bool) -> Route {
    let compression = if is_compressed { Compression::All } else { Compression::None };
    Route { doc, answering, compression }
}
