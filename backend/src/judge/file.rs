//! A judge in a file of its own, as a retraining plan and `whence evaluate` name one: rules, an endpoint with its prompt, or
//! a probe with the model that it reads with.
//!
//! ```toml
//! endpoint = "http://localhost:8000/v1"   # up to /v1, as OpenAI's clients take it
//! model = "judge"                         # its name there
//! prompt = "judge.txt"                    # with {prompt} and {response}; paths are relative to this file
//! name = "strict"                         # [default: the model's]
//! max_tokens = 512                        # of an answer; all from here on are these unless stated
//! temperature = 0.0
//! api_key_env = "JUDGE_KEY"               # environment variable with the key [default: none is sent]
//! concurrency = 8
//! timeout_secs = 300.0
//! retries = 6
//! retry_wait_secs = 1.0
//! price_in = 0.15                         # of a million tokens, to say what it cost [default: not said]
//! price_out = 0.6
//! ```
//!
//! ```toml
//! probe = "probe"                         # a folder that `whence probe` wrote
//! model = "model-sft"                     # what it was trained on [default: a plan's reference model]
//! template = "model"                      # model, none or a file [default: model]
//! ```
//!
//! The folder of a probe stands for such a file. Any other file holds rules ([`super::rules`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::endpoint::{EndpointJudge, EndpointJudgeOptions, Prices};
use super::probe::{ProbeJudge, ProbeOptions};
use super::rules::Rules;
use super::{Judge, JudgeError};
use crate::behavior::rollouts::endpoint::EndpointOptions;
use crate::data::template::TemplateChoice;
use crate::device::Device;
use crate::files;
use crate::model::ModelFolder;

/// What judges need beside their files.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Where answers of endpoints are kept, by the hash of what was asked: judges may share it.
    pub cache: &'a Path,
    /// The model that a probe reads with unless its file names one.
    pub model: Option<&'a Path>,
    /// Where a probe reads.
    pub device: &'a Device,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeFile {
    probe: PathBuf,
    model: Option<PathBuf>,
    template: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointFile {
    endpoint: String,
    model: String,
    prompt: PathBuf,
    name: Option<String>,
    #[serde(default = "max_tokens")]
    max_tokens: usize,
    #[serde(default)]
    temperature: f64,
    api_key_env: Option<String>,
    #[serde(default = "concurrency")]
    concurrency: usize,
    #[serde(default = "timeout_secs")]
    timeout_secs: f64,
    #[serde(default = "retries")]
    retries: u32,
    #[serde(default = "retry_wait_secs")]
    retry_wait_secs: f64,
    price_in: Option<f64>,
    price_out: Option<f64>,
}

fn max_tokens() -> usize {
    512
}

fn concurrency() -> usize {
    8
}

fn timeout_secs() -> f64 {
    300.0
}

fn retries() -> u32 {
    6
}

fn retry_wait_secs() -> f64 {
    1.0
}

/// Opens the judge that a file describes.
///
/// # Errors
///
/// [`JudgeError::Definition`] naming what in the file makes no sense.
pub fn open(path: &Path, surroundings: &Surroundings) -> Result<Judge, JudgeError> {
    if path.is_dir() {
        let file = ProbeFile { probe: PathBuf::new(), model: None, template: None };
        return probe(path, path, file, surroundings);
    }
    let text = String::from_utf8(files::read(path)?).unwrap_or_default();
    // What is no TOML, such as rules in JSON, holds rules.
    let table = text.parse::<toml::Table>().unwrap_or_default();
    let malformed = |error: toml::de::Error| JudgeError::Definition {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    if table.contains_key("endpoint") {
        endpoint(path, toml::from_str(&text).map_err(malformed)?, surroundings.cache)
    } else if table.contains_key("probe") {
        probe(path, folder, toml::from_str(&text).map_err(malformed)?, surroundings)
    } else {
        Ok(Judge::Rules(Rules::read(path)?))
    }
}

fn probe(path: &Path, folder: &Path, file: ProbeFile, surroundings: &Surroundings) -> Result<Judge, JudgeError> {
    let model = file.model.map(|model| folder.join(model)).or_else(|| surroundings.model.map(Path::to_owned));
    let model = model.ok_or_else(|| JudgeError::Definition {
        path: path.to_owned(),
        reason: "expected a file with `probe = FOLDER` and `model = FOLDER`, the model that the probe was trained on"
            .into(),
    })?;
    let template = file.template.as_deref().unwrap_or("model").parse();
    let template = match template.unwrap_or_else(|never: std::convert::Infallible| match never {}) {
        TemplateChoice::File(path) => TemplateChoice::File(folder.join(path)),
        other => other,
    };
    let (probe, device) = (folder.join(file.probe), surroundings.device.clone());
    let judge = ProbeJudge::open(ProbeOptions { probe, model: ModelFolder::open(&model)?, device, template })?;
    Ok(Judge::Probe(Box::new(judge)))
}

fn endpoint(path: &Path, file: EndpointFile, cache: &Path) -> Result<Judge, JudgeError> {
    let wrong = |reason: String| JudgeError::Definition { path: path.to_owned(), reason };
    let from = |name: &str, number: f64, least: f64| match number.is_finite() && number >= least {
        true => Ok(number),
        false => Err(wrong(format!("{name}: expected a number from {least} on, got {number}"))),
    };
    from("max_tokens", file.max_tokens as f64, 1.0)?;
    from("concurrency", file.concurrency as f64, 1.0)?;
    from("temperature", file.temperature, 0.0)?;
    for (name, price) in [("price_in", file.price_in), ("price_out", file.price_out)] {
        from(name, price.unwrap_or(0.0), 0.0)?;
    }
    let seconds = |name: &str, number: f64| {
        let secs = from(name, number, 0.001)?;
        Duration::try_from_secs_f64(secs).map_err(|_| wrong(format!("{name}: {secs} seconds are too many")))
    };
    let judge = EndpointJudge::new(EndpointJudgeOptions {
        name: file.name,
        endpoint: EndpointOptions {
            timeout: seconds("timeout_secs", file.timeout_secs)?,
            retry_wait: seconds("retry_wait_secs", file.retry_wait_secs)?,
            url: file.endpoint,
            model: file.model,
            api_key_env: file.api_key_env,
            concurrency: file.concurrency,
            n_retries: file.retries,
            cache: cache.to_owned(),
        },
        prompt: path.parent().unwrap_or(Path::new(".")).join(file.prompt),
        max_tokens: file.max_tokens,
        temperature: file.temperature,
        prices: Prices { input: file.price_in, output: file.price_out },
    })?;
    Ok(Judge::Endpoint(Box::new(judge)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_which_judge_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("judge.toml");
        let device = crate::device::open(crate::device::DeviceChoice::Cpu).unwrap().device;
        let open_text = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let surroundings = Surroundings { cache: folder.path(), model: None, device: &device };
            open(&path, &surroundings).map_err(|error| error.to_string())
        };
        std::fs::write(folder.path().join("p.txt"), "{response}").unwrap();
        let endpoint = "endpoint = 'http://localhost:1/v1'\nmodel = 'm'\nprompt = 'p.txt'\n";
        let Ok(Judge::Endpoint(judge)) = open_text(&format!("{endpoint}price_in = 2.0\n")) else {
            panic!("an endpoint");
        };
        assert_eq!((judge.name.as_str(), judge.prices.input, judge.prices.output), ("m", Some(2.0), None));
        assert!(matches!(open_text("[[rule]]\nscore = 1\nany = ['a']\n"), Ok(Judge::Rules(_))));
        for (text, named) in [
            (endpoint.replace("model = 'm'\n", ""), "model"),
            (format!("{endpoint}retrys = 3\n"), "retrys"),
            (format!("{endpoint}temperature = -1.0\n"), "temperature: expected a number from 0 on"),
            (format!("{endpoint}timeout_secs = 1e300\n"), "timeout_secs"),
            (format!("{endpoint}concurrency = 0\n"), "concurrency"),
            (endpoint.replace("p.txt", "absent.txt"), "absent.txt"),
            ("endpoints = 'x'\n".to_owned(), "endpoints"),
            ("probe = 'absent'\n".to_owned(), "the model that the probe was trained on"),
        ] {
            let error = open_text(&text).map(drop).unwrap_err();
            assert!(error.contains(named), "{error} should mention {named}");
        }
    }
}
