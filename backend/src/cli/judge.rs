//! `whence judge`: which rollouts show the behavior.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgGroup;
use whence_backend::behavior::rollouts::endpoint::{EndpointOptions, Usage};
use whence_backend::judge::agreement::{Agreement, agreement};
use whence_backend::judge::endpoint::{EndpointJudge, EndpointJudgeOptions};
use whence_backend::judge::rules::Rules;
use whence_backend::judge::{Judge, JudgeOptions, Judged, judge, labels};
use whence_shared::pair::one_line;

use super::bar::Bars;
use super::rollouts::seconds;

const BAR_CHARS: usize = 40;

/// Arguments of `whence judge`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("judge").required(true).args(["rules", "endpoint"])))]
pub struct Args {
    /// JSONL of rollouts, as `whence rollouts` writes them
    #[arg(long)]
    rollouts: PathBuf,
    /// JSONL to write: a verdict per rollout, in the same order
    #[arg(long)]
    out: PathBuf,
    /// Judge by patterns, refusal phrases and form, from a TOML or JSON file
    #[arg(long)]
    rules: Option<PathBuf>,
    /// Ask a model at an OpenAI-compatible chat endpoint, such as http://localhost:8000/v1
    #[arg(long, requires_all = ["endpoint_model", "prompt"])]
    endpoint: Option<String>,
    /// Labels of rollouts, CSV or JSONL, to compare the verdicts with: prompt_id, sample, shows
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Discard verdicts that were made in another way
    #[arg(long)]
    replace: bool,
    /// The model's name at the endpoint
    #[arg(long)]
    endpoint_model: Option<String>,
    /// File with the judge's prompt, in which {prompt} and {response} are replaced; the answer must hold
    /// <score>0 to 100</score>, {"score": 0 to 100} or a last line with the number alone
    #[arg(long, value_name = "FILE")]
    prompt: Option<PathBuf>,
    /// Name of the judge at the endpoint [default: the model's]
    #[arg(long)]
    name: Option<String>,
    /// Most tokens in an answer
    #[arg(long, default_value_t = 512)]
    max_new_tokens: usize,
    /// Divides the judge's logits; 0 = greedy
    #[arg(long, default_value_t = 0.0, value_parser = not_negative)]
    temperature: f64,
    /// Price of a million tokens of questions, in any currency
    #[arg(long, value_name = "PRICE", value_parser = not_negative)]
    price_in: Option<f64>,
    /// Price of a million tokens of answers, in the same currency
    #[arg(long, value_name = "PRICE", value_parser = not_negative)]
    price_out: Option<f64>,
    /// Environment variable that holds the endpoint's key
    #[arg(long)]
    api_key_env: Option<String>,
    /// Requests under way at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Seconds after which a request is given up and repeated
    #[arg(long, default_value = "300", value_parser = seconds)]
    timeout: Duration,
    /// How often a request is repeated before giving up, also after an answer without a score
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=100))]
    retries: u32,
    /// Seconds before the first repetition; doubled before each further one
    #[arg(long, default_value = "1", value_parser = seconds)]
    retry_wait: Duration,
    /// Folder of earlier answers, to be asked for only once [default: OUT.cache]
    #[arg(long)]
    cache: Option<PathBuf>,
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| format!("expected a number from 0 on, got {text:?}"))
}

impl Args {
    /// Runs the verb.
    pub fn run(mut self) -> anyhow::Result<()> {
        let options = JudgeOptions { rollouts: self.rollouts.clone(), out: self.out.clone(), replace: self.replace };
        let who = self.judge()?;
        let bars = Bars::default();
        let judged = judge(&who, &options, &|update| bars.show(update))?;
        bars.clear();
        print(&judged, who.name(), &self.out);
        if let Judge::Endpoint(endpoint) = &who {
            if !endpoint.sees_prompt() {
                println!("  warning: the judge's prompt lacks {{prompt}}: it sees responses only");
            }
            self.print_cost(&judged);
        }
        if let Some(path) = &self.against {
            let labelled = labels::read(path, &judged.verdicts)?;
            print_agreement(&agreement(&labelled), path);
        }
        Ok(())
    }

    fn judge(&mut self) -> anyhow::Result<Judge> {
        if let Some(rules) = &self.rules {
            return Ok(Judge::Rules(Rules::read(rules)?));
        }
        let cache = self.cache.take().unwrap_or_else(|| {
            let mut name = self.out.clone().into_os_string();
            name.push(".cache");
            name.into()
        });
        let judge = EndpointJudge::new(EndpointJudgeOptions {
            name: self.name.take(),
            endpoint: EndpointOptions {
                url: self.endpoint.take().unwrap_or_default(),
                model: self.endpoint_model.take().unwrap_or_default(),
                api_key_env: self.api_key_env.take(),
                concurrency: self.concurrency.into(),
                timeout: self.timeout,
                n_retries: self.retries,
                retry_wait: self.retry_wait,
                cache,
            },
            prompt: self.prompt.take().unwrap_or_default(),
            max_tokens: self.max_new_tokens,
            temperature: self.temperature,
        })?;
        Ok(Judge::Endpoint(Box::new(judge)))
    }

    fn print_cost(&self, judged: &Judged) {
        let cost = |usage: &Usage| {
            let millions = |tokens: u64| tokens as f64 / 1e6;
            let price = self.price_in.unwrap_or_default() * millions(usage.prompt_tokens)
                + self.price_out.unwrap_or_default() * millions(usage.completion_tokens);
            if self.price_in.is_some() || self.price_out.is_some() {
                format!(", cost {price:.4}")
            } else {
                String::new()
            }
        };
        for (usage, what) in [(&judged.asked, "asked for now"), (&judged.cached, "from the cache")] {
            if usage.n_answers > 0 {
                println!(
                    "  {} answers {what}: {} tokens of questions, {} of answers{}",
                    usage.n_answers,
                    usage.prompt_tokens,
                    usage.completion_tokens,
                    cost(usage)
                );
                if usage.n_uncounted > 0 {
                    println!("    {} of them came without a count of tokens", usage.n_uncounted);
                }
            }
        }
    }
}

fn print(judged: &Judged, name: &str, out: &Path) {
    let verdicts = &judged.verdicts;
    let kept = if judged.is_kept { ", which were there already" } else { "" };
    println!("{} verdicts of judge {name} in {}{kept}", verdicts.len(), out.display());
    let mut by_model: BTreeMap<&str, (usize, usize, f64)> = BTreeMap::new();
    for verdict in verdicts {
        let (n, n_shown, sum) = by_model.entry(&verdict.model).or_default();
        *n += 1;
        *n_shown += usize::from(verdict.shows);
        *sum += verdict.score;
    }
    println!("  {:<40}  {:>8}  {:>8}  {:>7}  mean score", "model", "rollouts", "shown", "rate");
    for (model, (n, n_shown, sum)) in by_model {
        let model = if model.is_empty() { "(not named)" } else { model };
        let (rate, mean) = (100.0 * n_shown as f64 / n as f64, sum / n as f64);
        println!("  {:<40}  {n:>8}  {n_shown:>8}  {rate:>5.2} %  {mean:>6.2}", one_line(model, 40));
    }
    for warning in &judged.warnings {
        println!("  warning: {warning}");
    }
}

fn print_agreement(found: &Agreement, path: &Path) {
    let confusion = &found.confusion;
    let show = |value: Option<f64>| value.map_or_else(|| "   –".into(), |value| format!("{value:.3}"));
    println!("against {} labels of {}", confusion.n(), path.display());
    println!("  {:<24}  {:>12}  {:>16}", "", "judge: shown", "judge: not shown");
    println!("  {:<24}  {:>12}  {:>16}", "label: shown", confusion.true_positives, confusion.false_negatives);
    println!("  {:<24}  {:>12}  {:>16}", "label: not shown", confusion.false_positives, confusion.true_negatives);
    for (name, value) in [
        ("agreement", confusion.agreement()),
        ("Cohen's κ", confusion.kappa()),
        ("precision", confusion.precision()),
        ("recall", confusion.recall()),
        ("F1", confusion.f1()),
        ("calibration error", Some(found.calibration_error)),
    ] {
        println!("  {name:<24}  {:>12}", show(value));
    }
    println!("  calibration: █ = share labelled as shown, │ = mean score");
    for bin in &found.bins {
        let place = |share: f64| ((share * BAR_CHARS as f64).round() as usize).min(BAR_CHARS);
        let mut bar: Vec<char> = "█".repeat(place(bin.share_shown)).chars().collect();
        bar.resize(BAR_CHARS + 1, ' ');
        bar[place(bin.mean_score / 100.0)] = '│';
        let bar: String = bar.into_iter().collect();
        println!(
            "  {:>3.0} on  {:>6} rollouts  mean {:>6.2}  shown {:>6.2} %  {bar}",
            bin.low,
            bin.n,
            bin.mean_score,
            100.0 * bin.share_shown
        );
    }
}
