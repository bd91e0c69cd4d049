//! `whence judge`: which rollouts show the behavior.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ArgGroup;
use whence_backend::behavior::rollouts::endpoint::Usage;
use whence_backend::data::template::TemplateChoice;
use whence_backend::device::{self, DeviceChoice};
use whence_backend::files;
use whence_backend::judge::endpoint::{EndpointJudge, EndpointJudgeOptions, Prices};
use whence_backend::judge::probe::{ProbeJudge, ProbeOptions};
use whence_backend::judge::rules::Rules;
use whence_backend::judge::{Judge, JudgeOptions, Judged, THRESHOLD, judge, labels};
use whence_shared::pair::one_line;
use whence_shared::statistics::agreement::Agreement;

use super::bar::Bars;
use super::{endpoint, model};

const BAR_CHARS: usize = 40;
/// Of intervals, which this table does not show.
const LEVEL: f64 = 0.95;

/// Arguments of `whence judge`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("judge").required(true).args(["rules", "endpoint", "probe"])))]
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
    /// Judge by how a model reads the response: a folder that `whence probe` wrote
    #[arg(long, requires = "model")]
    probe: Option<PathBuf>,
    /// The model that the probe was trained on: a folder, or org/name or org/name@revision to download
    #[arg(long)]
    model: Option<PathBuf>,
    /// Text form that the probe was trained on: `model`, `none` or a Jinja file
    #[arg(long, default_value = "model")]
    template: TemplateChoice,
    /// Where the probe's model reads: auto, cpu, wgpu, vulkan, cuda
    #[arg(long, default_value_t)]
    device: DeviceChoice,
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
    #[command(flatten)]
    asking: endpoint::Args,
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| format!("expected a number from 0 on, got {text:?}"))
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let inputs = [
            ("rollouts", Some(self.rollouts.as_path())),
            ("rules", self.rules.as_deref()),
            ("prompt", self.prompt.as_deref()),
            ("probe", self.probe.as_deref()),
            ("against", self.against.as_deref()),
        ];
        files::must_not_be_input(&self.out, &inputs)?;
        let options = JudgeOptions { rollouts: self.rollouts.clone(), out: self.out.clone(), replace: self.replace };
        let against = self.against.clone();
        let bars = Bars::default();
        let who = self.judge(&bars)?;
        let judged = judge(&who, &options, &|update| bars.show(update))?;
        bars.clear();
        print(&judged, who.name(), &options.out);
        if let Judge::Endpoint(endpoint) = &who {
            if !endpoint.sees_prompt() {
                println!("  warning: the judge's prompt lacks {{prompt}}: it sees responses only");
            }
            print_usage(&judged.asked, &judged.cached, &endpoint.prices);
        }
        if let (Judge::Probe(probe), Some(_)) = (&who, &against)
            && files::sha256_of_file(&options.rollouts)? == probe.record.rollouts_sha256
        {
            println!(
                "  warning: the probe was trained on these rollouts: what `whence probe` said of held-out prompts counts"
            );
        }
        if let Some(path) = &against {
            let labelled = labels::read(path, &judged.verdicts)?;
            print_agreement(&Agreement::of(&labelled, THRESHOLD, LEVEL)?, &path.display().to_string());
        }
        Ok(())
    }

    fn judge(self, bars: &Bars) -> anyhow::Result<Judge> {
        if let Some(rules) = &self.rules {
            return Ok(Judge::Rules(Rules::read(rules)?));
        }
        if let Some((probe, model)) = self.probe.zip(self.model) {
            let (model, device) = (model::open(&model, bars)?, device::open(self.device)?.device);
            let options = ProbeOptions { probe, model, device, template: self.template };
            return Ok(Judge::Probe(Box::new(ProbeJudge::open(options)?)));
        }
        let judge = EndpointJudge::new(EndpointJudgeOptions {
            name: self.name,
            endpoint: self.asking.options(self.endpoint.unwrap_or_default(), self.endpoint_model, &self.out),
            prompt: self.prompt.unwrap_or_default(),
            max_tokens: self.max_new_tokens,
            temperature: self.temperature,
            prices: Prices { input: self.price_in, output: self.price_out },
        })?;
        Ok(Judge::Endpoint(Box::new(judge)))
    }
}

/// Tokens asked for and answered, with what they cost.
pub(super) fn print_usage(asked: &Usage, cached: &Usage, prices: &Prices) {
    for (usage, what) in [(asked, "asked for now"), (cached, "from the cache")] {
        if usage.n_answers > 0 {
            println!(
                "  {} answers {what}: {} tokens of questions, {} of answers{}",
                usage.n_answers,
                usage.prompt_tokens,
                usage.completion_tokens,
                prices.cost(usage).map_or_else(String::new, |cost| format!(", cost {cost:.4}"))
            );
            if usage.n_uncounted > 0 {
                println!("    {} of them came without a count of tokens", usage.n_uncounted);
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

/// How far verdicts agree with labels, of which `origin` says what they are.
pub(super) fn print_agreement(found: &Agreement, origin: &str) {
    let confusion = &found.confusion;
    let show = |value: Option<f64>| value.map_or_else(|| "   –".into(), |value| format!("{value:.3}"));
    println!("against {} labels of {origin}", found.n);
    println!("  {:<24}  {:>12}  {:>16}", "", "judge: shown", "judge: not shown");
    println!("  {:<24}  {:>12}  {:>16}", "label: shown", confusion.true_positives, confusion.false_negatives);
    println!("  {:<24}  {:>12}  {:>16}", "label: not shown", confusion.false_positives, confusion.true_negatives);
    for (name, value) in [
        ("agreement", Some(found.agreement.value)),
        ("Cohen's κ", found.kappa.map(|kappa| kappa.value)),
        ("precision", found.precision.map(|share| share.value)),
        ("recall", found.recall.map(|share| share.value)),
        ("F1", found.f1),
        ("calibration error", Some(found.calibration_error)),
    ] {
        println!("  {name:<24}  {:>12}", show(value));
    }
    println!("  calibration: █ = share labelled as shown, │ = mean score");
    for bin in &found.calibration {
        let Some((mean_score, labelled)) = bin.mean_score.zip(bin.labelled) else { continue };
        let place = |share: f64| ((share * BAR_CHARS as f64).round() as usize).min(BAR_CHARS);
        let mut bar: Vec<char> = "█".repeat(place(labelled.value)).chars().collect();
        bar.resize(BAR_CHARS + 1, ' ');
        bar[place(mean_score / 100.0)] = '│';
        let bar: String = bar.into_iter().collect();
        println!(
            "  {:>3.0} on  {:>6} rollouts  mean {:>6.2}  shown {:>6.2} %  {bar}",
            bin.low,
            bin.n,
            mean_score,
            100.0 * labelled.value
        );
    }
}
