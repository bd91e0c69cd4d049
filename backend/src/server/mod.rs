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
//! everything else                             the app's folder (app)
//! ```
//!
//! It only reads. Errors become status codes in [`error`] and nowhere else; what every answer carries and which
//! requests are let in is in [`guard`].

pub mod app;
pub mod chunks;
pub mod columns;
pub mod data_files;
pub mod error;
pub mod gather;
pub mod guard;
pub mod pairs;
pub mod validation;
pub mod view;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use thiserror::Error;
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;

use crate::data::config::{ConfigError, StudyConfig};
use crate::data::pairs::PairFileError;
use crate::study::Study;
use app::App;
use chunks::ChunkCache;
use columns::ColumnsFile;
use pairs::Pairs;

/// The port asked for unless told otherwise.
pub const DEFAULT_PORT: u16 = 7411;

// Threads that read files. More would only queue at the disk and hold more chunks in memory at once.
const N_READERS: usize = 16;

/// What stops the server from starting.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The study cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// There is no app to serve.
    #[error(
        "no app found: expected index.html in {}; build it with `trunk build` in a checkout, or name its folder \
         with --app or WHENCE_APP",
        tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    NoApp {
        /// Folders looked into.
        tried: Vec<PathBuf>,
    },
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
    /// The app's folder.
    pub app: PathBuf,
}

/// Everything a request may need.
#[derive(Clone)]
pub struct State {
    study: Arc<Study>,
    pairs: Arc<Pairs>,
    chunks: Arc<ChunkCache>,
    columns: Arc<ColumnsFile>,
    app: Arc<App>,
}

/// A server that has its address and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Opens the study and takes the address.
    ///
    /// # Errors
    ///
    /// [`ServeError`]: no study, no app, or an address in use.
    pub fn bind(study: Study, options: &ServeOptions) -> Result<Self, ServeError> {
        StudyConfig::read(&study)?;
        let pairs = Pairs::open(&study)?;
        let app = App::at(options.app.clone())?;
        let address = SocketAddr::new(options.host, options.port);
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let state = State {
            study: Arc::new(study),
            pairs: Arc::new(pairs),
            chunks: Arc::default(),
            columns: Arc::default(),
            app: Arc::new(app),
        };
        Ok(Self { listener, address, router: router(state, address.ip().is_loopback()) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` resolves; requests under way are finished first.
    ///
    /// # Errors
    ///
    /// When the system gives up.
    pub fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .max_blocking_threads(N_READERS)
            .build()
            .map_err(ServeError::Run)?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener).map_err(ServeError::Run)?;
            axum::serve(listener, self.router).with_graceful_shutdown(stop).await.map_err(ServeError::Run)
        })
    }

    /// Answers requests until Ctrl-C or, on Unix, SIGTERM.
    ///
    /// # Errors
    ///
    /// When the system gives up.
    pub fn run_until_interrupted(self) -> Result<(), ServeError> {
        self.run(interrupted())
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

fn router(state: State, is_loopback: bool) -> Router {
    let compressed = Router::new()
        .route("/data/study.json", get(view::study))
        .route("/data/rows/{chunk}", get(chunks::rows))
        .route("/data/texts/{chunk}", get(chunks::texts))
        .route("/data/columns.safetensors", get(columns::columns))
        .route("/data/report.json", get(validation::report))
        .route("/data/runs.json", get(validation::runs))
        .route("/data/arms/{arm}/{run}/metrics.jsonl", get(validation::metrics))
        .route("/", get(app::index))
        .route("/index.html", get(app::index))
        .fallback(app::file)
        .layer(CompressionLayer::new());
    // Compression would take the ranges away, and vectors do not compress.
    let as_they_lie = data_files::FOLDERS
        .into_iter()
        .fold(Router::new(), |router, name| router.route(&format!("/data/{name}/{{*path}}"), data_files::folder(name)))
        .route("/data/gather/{layer}", post(gather::gather))
        .route("/data/{*path}", get(data_files::unknown));
    guard::protect(compressed.merge(as_they_lie), is_loopback).layer(TraceLayer::new_for_http()).with_state(state)
}
