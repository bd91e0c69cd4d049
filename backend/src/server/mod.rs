//! The server: a study's JSON, its vector files and the app, over HTTP on this machine. Last in the flow; no verb
//! knows of it.
//!
//! ```text
//! /data/study.json                            StudyView (view)
//! /data/rows/N.json, /data/texts/N.json       chunks of pairs (chunks)
//! /data/columns.safetensors                   what filters need of every pair (columns)
//! /data/vectors/…, /data/index/…,             files as they lie, with ranges and ETags (data_files)
//! /data/behaviors/…, /data/diagnosis/…,
//! /data/clusters/…, /data/maps/…
//! /data/report.json, /data/runs.json,         what retraining found and how far it is (validation)
//! /data/arms/ARM/seed-N/metrics.jsonl
//! POST /data/gather/layer-L                   chosen rows of a layer's vectors (gather)
//! /api/v1/…                                   decisions, edit sets, jobs and bundles (api, bundles, report)
//! /s/TOKEN/…                                   the app and a shared part of the study (shares)
//! everything else                             the app's files (app)
//! ```
//!
//! All of them stand in one list, [`mod@routes`]. What is answered below `/data` is made in [`crate::view`], of which a report
//! is made too. Errors become status codes in [`error`] and nowhere else; what every answer carries and which requests are
//! let in is in [`guard`].

pub mod api;
pub mod app;
pub mod body;
pub mod bundles;
pub mod chunks;
pub mod columns;
pub mod data_files;
pub mod error;
pub mod gather;
pub mod guard;
mod nearest;
pub mod report;
pub mod routes;
pub mod shares;
pub mod validation;
pub mod view;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get};
use thiserror::Error;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::trace::TraceLayer;

use crate::data::config::{ConfigError, StudyConfig};
use crate::data::pairs::PairFileError;
use crate::jobs::Jobs;
use crate::store::{self, Store};
use crate::study::Study;
use crate::view::app::App;
use crate::view::pairs::Pairs;
use bundles::Bundles;
use chunks::ChunkCache;
use columns::ColumnsFile;
use error::RequestError;
use guard::Door;
use routes::Compression;
use shares::Shared;

/// The port asked for unless told otherwise.
pub const DEFAULT_PORT: u16 = 7411;

// Threads that read files. More would only queue at the disk and hold more chunks in memory at once.
const N_READERS: usize = 16;

/// How long requests that are under way when the server ends are waited for.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// How long, after that, what reads files and ends jobs is waited for.
const LAST_READERS: Duration = Duration::from_secs(3);

/// What stops the server from starting.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The study cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}; choose another with --port (0 = any free one)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave up while serving.
    #[error("the server stopped: {0}")]
    Run(#[source] io::Error),
}

/// What to serve and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Address to bind; anything but a loopback address opens the study to the network.
    pub host: IpAddr,
    /// Port; 0 = any free one.
    pub port: u16,
    /// The app.
    pub app: App,
    /// Whether decisions and edit sets may be changed.
    pub can_edit: bool,
    /// Whether others than this machine reach what lies below `/s/` and nothing else.
    pub shares: bool,
    /// Host names that are answered beside addresses and this machine's own names; links are answered under any.
    pub allowed_hosts: Vec<String>,
    /// The `whence` binary that jobs are run with; none are run without.
    pub jobs: Option<PathBuf>,
}

/// Everything a request may need.
#[derive(Clone)]
pub struct State {
    study: Arc<Study>,
    pairs: Arc<Pairs>,
    chunks: Arc<ChunkCache>,
    columns: Arc<ColumnsFile>,
    app: Arc<App>,
    store: Arc<Store>,
    shared: Arc<Shared>,
    bundles: Arc<Bundles>,
    jobs: Option<Arc<Jobs>>,
    /// Whether the server is ending.
    is_over: Arc<AtomicBool>,
    can_edit: bool,
    others_reach_links: bool,
}

/// A server that has its address and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    jobs: Option<Arc<Jobs>>,
    router: Router,
}

impl Server {
    /// Opens the study and takes the address.
    ///
    /// # Errors
    ///
    /// [`ServeError`]: no study, or an address in use.
    pub fn bind(study: Study, options: &ServeOptions) -> Result<Self, ServeError> {
        StudyConfig::read(&study)?;
        let pairs = Pairs::open(&study)?;
        let address = SocketAddr::new(options.host, options.port);
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let door = match (options.shares, address.ip().is_loopback()) {
            (true, _) => Door::Shares,
            (false, true) => Door::ThisMachine,
            (false, false) => Door::Everyone,
        };
        let is_over = Arc::new(AtomicBool::new(false));
        let store = Arc::new(Store::of(&study));
        let can_write = store::is_writable(&study);
        let jobs = options.jobs.clone().filter(|_| can_write).and_then(|program| start_jobs(&study, program, &store));
        report::remove_left_behind();
        let state = State {
            store,
            shared: Arc::default(),
            bundles: Arc::default(),
            jobs: jobs.clone(),
            is_over: is_over.clone(),
            can_edit: options.can_edit && can_write,
            others_reach_links: door != Door::ThisMachine,
            study: Arc::new(study),
            pairs: Arc::new(pairs),
            chunks: Arc::default(),
            columns: Arc::default(),
            app: Arc::new(options.app.clone()),
        };
        Ok(Self { listener, address, is_over, jobs, router: router(state, door, &options.allowed_hosts) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` resolves. Jobs end then; requests under way are finished first, but not waited for longer than
    /// a few seconds.
    ///
    /// # Errors
    ///
    /// When the system gives up.
    pub fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        self.run_until(stop, std::future::pending())
    }

    /// As [`Server::run`]; once `stop` has resolved, `stop_at_once` ends the waiting.
    fn run_until(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
        stop_at_once: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .max_blocking_threads(N_READERS)
            .build()
            .map_err(ServeError::Run)?;
        let Self { listener, router, is_over, jobs, .. } = self;
        let (tell_stopped, stopped) = tokio::sync::oneshot::channel();
        let stop = async move {
            stop.await;
            is_over.store(true, Ordering::Relaxed);
            // Killing and waiting for children would hold up the answers.
            tokio::task::spawn_blocking(move || jobs.iter().for_each(|jobs| jobs.end()));
            // Nobody listens when the system gave up meanwhile.
            let _ = tell_stopped.send(());
        };
        let waiting = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::select! {
                () = tokio::time::sleep(LAST_REQUESTS) => {}
                () = stop_at_once => {}
            }
        };
        let done = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Run)?;
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            let serving = axum::serve(listener, service).with_graceful_shutdown(stop);
            tokio::select! {
                done = serving.into_future() => done.map_err(ServeError::Run),
                () = waiting => {
                    tracing::warn!("the server ended before some of its requests did");
                    Ok(())
                }
            }
        });
        runtime.shutdown_timeout(LAST_READERS);
        done
    }

    /// Answers requests until Ctrl-C or, on Unix, SIGTERM; another one ends the waiting for requests under way.
    ///
    /// # Errors
    ///
    /// When the system gives up.
    pub fn run_until_interrupted(self) -> Result<(), ServeError> {
        self.run_until(interrupted(), interrupted())
    }
}

async fn interrupted() {
    // A signal that cannot be listened for never comes: the server then runs until it is killed.
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                () = ctrl_c => {}
                _ = terminate.recv() => {}
            },
            Err(_) => ctrl_c.await,
        }
    }
    #[cfg(not(unix))]
    ctrl_c.await;
}

/// Jobs are no reason not to serve: what stops them is said and the study is served without.
fn start_jobs(study: &Study, program: PathBuf, store: &Arc<Store>) -> Option<Arc<Jobs>> {
    match Jobs::start(study, program, store.clone()) {
        Ok(jobs) => Some(Arc::new(jobs)),
        Err(error) => {
            tracing::warn!("no jobs are run: {error}");
            None
        }
    }
}

fn router(state: State, door: Door, names: &[String]) -> Router {
    let of = |compression: Compression| {
        let routes = routes::routes().into_iter().filter(|route| route.compression == compression);
        routes.fold(Router::new(), |router, route| router.route(route.doc.path, route.answering))
    };
    let compressed = of(Compression::All)
        .route("/", get(app::index))
        .route("/index.html", get(app::index))
        .fallback(app::file)
        .layer(CompressionLayer::new());
    let no_files = DefaultPredicate::new().and(NotForContentType::new("application/octet-stream"));
    let text = of(Compression::OfText).layer(CompressionLayer::new().compress_when(no_files));
    let as_they_lie =
        of(Compression::None).route("/data/{*path}", get(data_files::unknown)).route("/api/{*path}", any(api::unknown));
    let router = compressed
        .merge(text)
        .merge(as_they_lie)
        .method_not_allowed_fallback(|| async { RequestError::Method })
        .layer(DefaultBodyLimit::max(body::MAX_BYTES));
    guard::protect(router, door, names).layer(TraceLayer::new_for_http()).with_state(state)
}
