//! An OpenAI-compatible chat endpoint (vLLM, llama.cpp, Ollama…): one of the two sources of `whence rollouts`, and what
//! [`crate::judge`] asks.
//!
//! Several threads ask; one keeps what they got. Each request is repeated while there is hope, waiting longer each time,
//! as long as the endpoint says where it says so. A request that cannot be answered does not stop the others; an endpoint
//! that cannot answer stops all.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;
use whence_shared::pair::Message;

use super::answers::{self, ResponseCache};
use super::journal::Journal;
use super::prompts::shortened;
use super::settings::Settings;
use super::waits::{backoff, retry_after};
use super::{Answer, RolloutError, Sampling, TestPrompt, places};
use crate::files::FileError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait that an endpoint may ask for; more is an error that says so.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Requests that may go unanswered before the endpoint is taken for broken.
const MAX_UNANSWERED: usize = 20;
/// Unanswered requests that are named in the error.
const N_NAMED: usize = 3;
/// Largest response that is read.
const MAX_RESPONSE_BYTES: u64 = 16 << 20;

/// How an endpoint failed. Every variant names its address and what to do.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The address is not one.
    #[error("{url:?} is no address of an endpoint: expected http://HOST:PORT/v1 or https://HOST/v1")]
    Address {
        /// As given.
        url: String,
    },
    /// The environment variable with the key is not set.
    #[error("--api-key-env {variable}: this environment variable is not set: set it to the endpoint's key")]
    NoKey {
        /// Its name.
        variable: String,
    },
    /// The key is missing or wrong.
    #[error(
        "{url}: the endpoint refuses access ({said}): give --api-key-env the name of an environment variable with a valid key"
    )]
    Unauthorized {
        /// The address.
        url: String,
        /// Status and message.
        said: String,
    },
    /// No such model, or no such address on this host.
    #[error(
        "{url}: not found, asked for model {model:?} ({said}): check --endpoint-model, and that --endpoint ends where /chat/completions begins, usually in /v1"
    )]
    NotFound {
        /// The address.
        url: String,
        /// The model.
        model: String,
        /// Status and message.
        said: String,
    },
    /// It did not answer, however often it was asked.
    #[error("{url}: {reason}, {n_attempts} times: {remedy}")]
    GaveUp {
        /// The address.
        url: String,
        /// What happened the last time.
        reason: String,
        /// Requests made.
        n_attempts: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// It asks to wait longer than anybody would.
    #[error("{url}: the endpoint asks to wait {wait_secs} s before the next request: run the same command again then")]
    AskedToWait {
        /// The address.
        url: String,
        /// How long.
        wait_secs: u64,
    },
    /// Some prompts got no usable answer; all others are done, unless there were too many of these.
    #[error("{url}: {n} without a usable answer: {first}; ask again, or leave these prompts out")]
    Unanswered {
        /// The address.
        url: String,
        /// How many rollouts.
        n: usize,
        /// The first of them: prompt, sample and reason.
        first: String,
    },
}

/// Why asking stopped: on this side or on that.
pub(crate) enum Stopped<E> {
    Here(E),
    There(EndpointError),
}

/// What was needed beside the answers.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub n_cached: usize,
    pub n_retries: usize,
    /// Answers that were no answer to the question and were asked for again.
    pub refused: Usage,
}

/// Tokens as the endpoint counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Answers.
    pub n_answers: usize,
    /// Of these, answers that came without a count.
    pub n_uncounted: usize,
    /// Tokens of the questions.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
}

impl Usage {
    /// What the body of one chat completion says.
    fn of(body: &Value) -> Self {
        let count = |name: &str| body.get("usage").and_then(|usage| usage.get(name)).and_then(Value::as_u64);
        let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
        Self {
            n_answers: 1,
            n_uncounted: usize::from(prompt.is_none() || completion.is_none()),
            prompt_tokens: prompt.unwrap_or_default(),
            completion_tokens: completion.unwrap_or_default(),
        }
    }

    /// Adds the counts of other answers.
    pub fn add(&mut self, other: Self) {
        self.n_answers += other.n_answers;
        self.n_uncounted += other.n_uncounted;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}

/// What to ask an endpoint, numbered from 0. All of it is called from several threads.
pub(crate) struct Questions<'a> {
    /// How many.
    pub n: usize,
    /// Decides how long is waited before repetitions, within their bounds.
    pub seed: u64,
    /// The body of a question, asked for the nth time because earlier answers were not accepted. Its bytes on the first
    /// time decide which cached response answers it.
    pub body: &'a (dyn Fn(usize, u32) -> String + Sync),
    /// Which of several equal questions this is.
    pub nth: &'a (dyn Fn(usize) -> usize + Sync),
    /// Says what is wrong with an answer that must be asked for again.
    pub accept: &'a (dyn Fn(&Answer) -> Result<(), String> + Sync),
    /// What a question is called in errors.
    pub name: &'a (dyn Fn(usize) -> String + Sync),
}

/// An answer that was accepted.
pub(crate) struct Answered {
    /// The question's number.
    pub number: usize,
    pub answer: Answer,
    pub usage: Usage,
    pub is_cached: bool,
    /// What a progress bar may add.
    pub detail: String,
}

/// How to ask an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// Address up to `/v1`, as OpenAI's clients take it.
    pub url: String,
    /// Name of the model, as the endpoint knows it.
    pub model: String,
    /// Environment variable that holds the key; `None` = none is sent.
    pub api_key_env: Option<String>,
    /// Requests under way at the same time.
    pub concurrency: usize,
    /// A request that takes longer is given up and repeated.
    pub timeout: Duration,
    /// How often a request is repeated.
    pub n_retries: u32,
    /// Wait before the first repetition, halved at most by chance; doubled before each further one.
    pub retry_wait: Duration,
    /// Folder of earlier responses.
    pub cache: PathBuf,
}

/// A chat endpoint.
pub struct Endpoint {
    options: EndpointOptions,
    url: String,
    key: Option<String>,
    agent: ureq::Agent,
    cache: ResponseCache,
}

/// The body of a request; its bytes decide which cached response answers it.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Message],
    temperature: f64,
    top_p: f64,
    max_tokens: usize,
    seed: u64,
    stream: bool,
}

/// The body of a request with a single question.
#[derive(Serialize)]
struct QuestionBody<'a> {
    model: &'a str,
    messages: [Message; 1],
    temperature: f64,
    max_tokens: usize,
    seed: u32,
    stream: bool,
}

/// Why one attempt failed.
enum Failure {
    /// Another attempt may succeed, after a wait that the endpoint may have named.
    Again { reason: String, remedy: &'static str, wait: Option<Duration>, is_endpoint: bool },
    /// This request will never succeed, others may.
    Never(String),
    /// No request will succeed.
    All(EndpointError),
}

impl Endpoint {
    /// An endpoint, not asked yet.
    ///
    /// # Errors
    ///
    /// When the address is not one, or the key's variable is not set.
    pub fn new(options: EndpointOptions) -> Result<Self, EndpointError> {
        let base = options.url.trim_end_matches('/');
        let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://")).unwrap_or_default();
        if host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace) {
            return Err(EndpointError::Address { url: options.url });
        }
        let url =
            if base.ends_with("/chat/completions") { base.to_owned() } else { format!("{base}/chat/completions") };
        let key = match &options.api_key_env {
            None => None,
            Some(variable) => match std::env::var(variable).map(|key| key.trim().to_owned()) {
                Ok(key) if !key.is_empty() => Some(key),
                _ => return Err(EndpointError::NoKey { variable: variable.clone() }),
            },
        };
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT.min(options.timeout)))
            .timeout_global(Some(options.timeout))
            .http_status_as_error(false)
            .max_idle_connections_per_host(options.concurrency.max(1))
            .user_agent(concat!("whence/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let cache = ResponseCache::new(options.cache.clone());
        Ok(Self { options, url, key, agent, cache })
    }

    /// What decides the rollouts, beside the sampling.
    pub(super) fn settings(&self) -> Settings {
        [("source", json!("endpoint")), ("endpoint", json!(self.url)), ("model", json!(self.options.model))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// Name of the model.
    pub(crate) fn model(&self) -> &str {
        &self.options.model
    }

    /// The address that requests go to.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The body of a request with one question, asked for the nth time because earlier answers were of no use.
    pub(crate) fn question(&self, content: String, temperature: f64, max_tokens: usize, attempt: u32) -> String {
        let request = QuestionBody {
            model: &self.options.model,
            messages: [Message::new("user", content)],
            temperature,
            max_tokens,
            seed: attempt,
            stream: false,
        };
        serde_json::to_string(&request).expect("a request serializes")
    }

    /// Samples what the journal lacks, on several threads.
    pub(super) fn sample(
        &self,
        prompts: &[TestPrompt],
        sampling: &Sampling,
        journal: &mut Journal,
        show: &dyn Fn(usize, String),
    ) -> Result<Stats, Stopped<RolloutError>> {
        let todo: Vec<(usize, usize)> =
            places(prompts, sampling).into_iter().filter(|&place| !journal.has(place)).collect();
        let questions = Questions {
            n: todo.len(),
            seed: sampling.seed,
            body: &|number, _| self.body(&prompts[todo[number].0], sampling, todo[number].1),
            nth: &|number| todo[number].1,
            accept: &|_| Ok(()),
            name: &|number| format!("prompt {:?} sample {}", prompts[todo[number].0].id, todo[number].1),
        };
        self.ask_all(&questions, &mut |answered| {
            let (prompt, sample) = todo[answered.number];
            let rollout = sampling.rollout(&prompts[prompt], sample, &self.options.model, answered.answer);
            journal.keep(vec![(prompt, rollout)])?;
            show(journal.n_done(), answered.detail);
            Ok(())
        })
    }

    fn body(&self, prompt: &TestPrompt, sampling: &Sampling, sample: usize) -> String {
        let request = Request {
            model: &self.options.model,
            messages: &prompt.messages,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            max_tokens: sampling.max_new_tokens,
            seed: request_seed(sampling.seed, sample),
            stream: false,
        };
        serde_json::to_string(&request).expect("a request serializes")
    }

    /// Asks everything, on several threads; `keep` gets each answer as it comes, on this one.
    pub(crate) fn ask_all<E: From<FileError>>(
        &self,
        questions: &Questions,
        keep: &mut dyn FnMut(Answered) -> Result<(), E>,
    ) -> Result<Stats, Stopped<E>> {
        let work = Work {
            endpoint: self,
            questions,
            next: AtomicUsize::new(0),
            is_stopped: AtomicBool::new(false),
            n_retries: AtomicUsize::new(0),
            n_unanswered: AtomicUsize::new(0),
            refused: Mutex::default(),
            not_before: Mutex::new(Instant::now()),
        };
        let mut stopped = None;
        let mut unanswered = Vec::new();
        let mut stats = Stats::default();
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for worker in 0..self.options.concurrency.max(1).min(questions.n) {
                let (sender, work) = (sender.clone(), &work);
                scope.spawn(move || work.run(worker, &sender));
            }
            drop(sender);
            for (number, outcome) in receiver {
                match outcome {
                    Ok((answer, usage, is_cached)) => {
                        stats.n_cached += usize::from(is_cached);
                        let detail = work.detail(&stats, unanswered.len());
                        // What is still under way when something fails is kept, too.
                        if let Err(error) = keep(Answered { number, answer, usage, is_cached, detail }) {
                            work.stop();
                            stopped.get_or_insert(Stopped::Here(error));
                        }
                    }
                    Err(Unanswered::Question(reason)) => {
                        unanswered.push(format!("{}: {reason}", (questions.name)(number)));
                    }
                    Err(Unanswered::Endpoint(error)) => {
                        stopped.get_or_insert(Stopped::There(error));
                    }
                    Err(Unanswered::Disk(error)) => {
                        stopped.get_or_insert(Stopped::Here(error.into()));
                    }
                }
            }
        });
        stats.n_retries = work.n_retries.into_inner();
        stats.refused = work.refused.into_inner().expect("held for an addition only");
        match stopped {
            Some(stopped) => Err(stopped),
            None if unanswered.is_empty() => Ok(stats),
            None => {
                let n = unanswered.len();
                unanswered.truncate(N_NAMED);
                Err(Stopped::There(EndpointError::Unanswered {
                    url: self.url.clone(),
                    n,
                    first: unanswered.join("; "),
                }))
            }
        }
    }

    /// One request.
    fn ask(&self, body: &str) -> Result<(Value, Answer), Failure> {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body).map_err(|error| self.failure_of(&error))?;
        let status = response.status().as_u16();
        let wait = retry_after(response.headers());
        let text = response
            .body_mut()
            .with_config()
            .limit(MAX_RESPONSE_BYTES)
            .lossy_utf8(true)
            .read_to_string()
            .map_err(|error| self.failure_of(&error))?;
        if status == 200 {
            let again = |reason| Failure::Again { reason, remedy: "", wait: None, is_endpoint: false };
            let body: Value = serde_json::from_str(&text)
                .map_err(|error| again(format!("not JSON ({error}): {:?}", shortened(&text))))?;
            let answer = answers::understand(&body).map_err(again)?;
            return Ok((body, answer));
        }
        let said = match serde_json::from_str::<Value>(&text) {
            Ok(error) => answers::message(&error),
            Err(_) => shortened(text.trim()),
        };
        let said = format!("{status} {said}").trim_end().to_owned();
        let url = self.url.clone();
        let again = |remedy| Failure::Again { reason: format!("it answered {said}"), remedy, wait, is_endpoint: true };
        Err(match status {
            401 | 403 => Failure::All(EndpointError::Unauthorized { url, said }),
            404 | 405 => Failure::All(EndpointError::NotFound { url, model: self.options.model.clone(), said }),
            429 => again("the endpoint limits the rate: lower --concurrency or raise --retries"),
            408 | 425 | 500.. => again("look into the server's log"),
            _ => Failure::Never(format!("it answered {said}")),
        })
    }

    fn failure_of(&self, error: &ureq::Error) -> Failure {
        let (reason, remedy) = match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                ("cannot be connected to".to_owned(), "check --endpoint and the network")
            }
            ureq::Error::Timeout(_) => (
                format!("no answer within {} s", self.options.timeout.as_secs_f32()),
                "raise --timeout, or lower --concurrency or --max-new-tokens",
            ),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                return Failure::All(EndpointError::Address { url: self.url.clone() });
            }
            other => (other.to_string(), "is the server running? check --endpoint"),
        };
        Failure::Again { reason, remedy, wait: None, is_endpoint: true }
    }
}

/// What the threads share.
struct Work<'a> {
    endpoint: &'a Endpoint,
    questions: &'a Questions<'a>,
    next: AtomicUsize,
    is_stopped: AtomicBool,
    n_retries: AtomicUsize,
    n_unanswered: AtomicUsize,
    refused: Mutex<Usage>,
    // An endpoint that asks one thread to wait means all of them.
    not_before: Mutex<Instant>,
}

enum Unanswered {
    Question(String),
    Endpoint(EndpointError),
    Disk(FileError),
}

/// An answer, what it took, and whether it came from the cache.
type Outcome = Result<(Answer, Usage, bool), Unanswered>;

impl Work<'_> {
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    fn detail(&self, stats: &Stats, n_unanswered: usize) -> String {
        let n_retries = self.n_retries.load(Ordering::Relaxed);
        let parts = [(stats.n_cached, "from the cache"), (n_retries, "repeated"), (n_unanswered, "unanswered")];
        let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
        parts.collect::<Vec<_>>().join(", ")
    }

    /// One thread: takes the next question until there is none.
    fn run(&self, worker: usize, sender: &Sender<(usize, Outcome)>) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.questions.seed);
        rng.set_stream(worker as u64);
        while !self.is_stopped() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.questions.n {
                return;
            }
            // `None`: stopped while waiting.
            let Some(outcome) = self.answer(number, &mut rng) else { return };
            // Here, before the next one is taken: the thread that keeps the answers may be a few behind.
            let is_hopeless = match &outcome {
                Ok(_) => false,
                Err(Unanswered::Question(_)) => self.n_unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_UNANSWERED,
                Err(Unanswered::Endpoint(_) | Unanswered::Disk(_)) => true,
            };
            if is_hopeless {
                self.stop();
            }
            if sender.send((number, outcome)).is_err() {
                return;
            }
        }
    }

    fn answer(&self, number: usize, rng: &mut ChaCha8Rng) -> Option<Outcome> {
        let Endpoint { options, cache, url, .. } = self.endpoint;
        let questions = self.questions;
        let first_body = (questions.body)(number, 0);
        let key = ResponseCache::key(url, &first_body, (questions.nth)(number));
        if let Some((response, answer)) = cache.get(&key).filter(|(_, answer)| (questions.accept)(answer).is_ok()) {
            return Some(Ok((answer, Usage::of(&response), true)));
        }
        let (mut attempt, mut n_refused) = (0, 0);
        loop {
            if !self.wait_for_turn() {
                return None;
            }
            let body = if n_refused == 0 { first_body.clone() } else { (questions.body)(number, n_refused) };
            let asked = self.endpoint.ask(&body).and_then(|(response, answer)| {
                let usage = Usage::of(&response);
                (questions.accept)(&answer).map_err(|reason| {
                    n_refused += 1;
                    self.refused.lock().expect("held for an addition only").add(usage);
                    Failure::Again { reason, remedy: "", wait: None, is_endpoint: false }
                })?;
                Ok((response, answer, usage))
            });
            let (reason, remedy, wait, is_endpoint) = match asked {
                Ok((response, answer, usage)) => {
                    return Some(match cache.put(&key, &body, &response) {
                        Ok(()) => Ok((answer, usage, false)),
                        Err(error) => Err(Unanswered::Disk(error)),
                    });
                }
                Err(Failure::Never(reason)) => return Some(Err(Unanswered::Question(reason))),
                Err(Failure::All(error)) => return Some(Err(Unanswered::Endpoint(error))),
                Err(Failure::Again { reason, remedy, wait, is_endpoint }) => (reason, remedy, wait, is_endpoint),
            };
            if let Some(wait) = wait.filter(|wait| *wait > LONGEST_WAIT) {
                let (url, wait_secs) = (url.clone(), wait.as_secs());
                return Some(Err(Unanswered::Endpoint(EndpointError::AskedToWait { url, wait_secs })));
            }
            if attempt >= options.n_retries {
                return Some(Err(if is_endpoint {
                    let n_attempts = attempt + 1;
                    Unanswered::Endpoint(EndpointError::GaveUp { url: url.clone(), reason, n_attempts, remedy })
                } else {
                    Unanswered::Question(reason)
                }));
            }
            self.n_retries.fetch_add(1, Ordering::Relaxed);
            match wait.filter(|wait| !wait.is_zero()) {
                Some(wait) => self.hold_all(wait),
                None => {
                    if !self.pause(backoff(options.retry_wait, attempt, rng)) {
                        return None;
                    }
                }
            }
            attempt += 1;
        }
    }

    /// No thread sends anything for so long.
    fn hold_all(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut not_before = self.not_before.lock().expect("held for an assignment only");
        *not_before = (*not_before).max(until);
    }

    /// Waits until requests may be sent; false when stopped.
    fn wait_for_turn(&self) -> bool {
        loop {
            let not_before = *self.not_before.lock().expect("held for an assignment only");
            let wait = not_before.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return !self.is_stopped();
            }
            if !self.pause(wait) {
                return false;
            }
        }
    }

    /// Sleeps, waking soon when stopped, and says whether that was so: false when stopped.
    fn pause(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            if self.is_stopped() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

/// Seed that a request carries: that of the run plus the sample's number, within the 31 bits that every server takes.
fn request_seed(seed: u64, sample: usize) -> u64 {
    seed.wrapping_add(sample as u64) & 0x7fff_ffff
}
