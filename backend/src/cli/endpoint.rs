//! How an OpenAI-compatible endpoint is asked: the options that every verb which asks one has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use whence_backend::behavior::rollouts::endpoint::EndpointOptions;

/// Options of asking; the address is the verb's own.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Environment variable that holds the endpoint's key
    #[arg(long)]
    api_key_env: Option<String>,
    /// Requests under way at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Seconds after which a request is given up and repeated
    #[arg(long, default_value = "300", value_parser = seconds)]
    timeout: Duration,
    /// How often a request is repeated before giving up, also after an answer that is none
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=100))]
    retries: u32,
    /// Seconds before the first repetition; doubled before each further one
    #[arg(long, default_value = "1", value_parser = seconds)]
    retry_wait: Duration,
    /// Folder of earlier answers, to be asked for only once [default: OUT.cache; for names of groups, STUDY/names.cache]
    #[arg(long)]
    cache: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let secs = text.parse::<f64>().ok().filter(|secs| (0.001..=86_400.0).contains(secs));
    secs.map(Duration::from_secs_f64).ok_or_else(|| format!("expected seconds from 0.001 to 86400, got {text:?}"))
}

impl Args {
    /// The options of asking `model` at `url` for what goes to `out`.
    pub fn options(self, url: String, model: Option<String>, out: &Path) -> EndpointOptions {
        let cache = self.cache.unwrap_or_else(|| {
            let mut name = out.to_owned().into_os_string();
            name.push(".cache");
            name.into()
        });
        EndpointOptions {
            url,
            model: model.unwrap_or_default(),
            api_key_env: self.api_key_env,
            concurrency: self.concurrency.into(),
            timeout: self.timeout,
            n_retries: self.retries,
            retry_wait: self.retry_wait,
            cache,
        }
    }
}
