//! `whence validate`: compares all retrained models of a study, and says what follows.

use std::path::PathBuf;

use whence_backend::study::Study;
use whence_backend::validate::ValidationReport;
use whence_backend::validate::outcome::{changed_edits, validate};
use whence_shared::statistics::compare::CompareOptions;
use whence_shared::statistics::dose::DoseResponse;
use whence_shared::statistics::interval::Measured;

/// Arguments of `whence validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Level of the intervals; tests are at 1 − level
    #[arg(long, default_value_t = 0.95, value_parser = share)]
    level: f64,
    /// Chance to see an effect, for the smallest one that could have been seen
    #[arg(long, default_value_t = 0.8, value_parser = share)]
    power: f64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// A share that makes sense as a level or a power.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.5..1.0).contains(share));
    share.ok_or_else(|| format!("expected a number from 0.5 to less than 1, got {text:?}"))
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        if self.power <= 1.0 - self.level {
            anyhow::bail!("--power {} is not above 1 − --level {}: nothing would be required", self.power, self.level);
        }
        let options = CompareOptions { level: self.level, power: self.power, ..CompareOptions::default() };
        let report = validate(&study, &options)?;
        let notes = changed_edits(&study)?;
        if self.json {
            notes.iter().for_each(|note| eprintln!("note: {note}"));
            println!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(());
        }
        print_report(&report);
        notes.iter().for_each(|note| println!("note: {note}"));
        println!("written: {}", study.report().display());
        Ok(())
    }
}

/// The report as a table and a paragraph.
pub fn print_report(report: &ValidationReport) {
    let comparison = &report.comparison;
    let level = comparison.options.level * 100.0;
    println!("rate of {:?}, with {level:.0} % intervals over training seeds, prompts and rollouts", report.behavior);
    println!("{:<16} {:>6} {:>6}  {:<22} each seed", "arm", "k", "seeds", "rate");
    for arm in &comparison.arms {
        let seeds: Vec<String> = arm.seed_rates.iter().map(|rate| format!("{:.1}", rate * 100.0)).collect();
        println!("{:<16} {:>6} {:>6}  {:<22} {}", arm.arm, arm.k, arm.n_seeds, percent(&arm.rate), seeds.join("  "));
    }
    println!();
    println!("{:<16} {:>6}  {:<24} {:>8}  {:<24} {:>8}", "change against", "k", "the baseline", "p", "random", "p");
    let p =
        |p: Option<f64>| p.map_or("–".to_owned(), |p| if p < 0.001 { "< .001".to_owned() } else { format!("{p:.3}") });
    for effects in &comparison.effects {
        let base = &effects.versus_baseline;
        let (random, random_p) = match &effects.versus_random {
            Some(random) => (percent(&random.difference), p(random.p_holm.or(random.p))),
            None => ("–".to_owned(), "–".to_owned()),
        };
        println!(
            "{:<16} {:>6}  {:<24} {:>8}  {:<24} {:>8}",
            effects.arm,
            effects.k,
            percent(&base.difference),
            p(base.p_holm.or(base.p)),
            random,
            random_p
        );
    }
    for rates in &comparison.side_rates {
        let metric = report.measures.iter().find(|of| of.name == rates.measure).map_or("", |of| of.metric.counts());
        println!("\n{}: {metric}", rates.measure);
        println!("{:<16} {:>6} {:>6}  {:<22} {:<24} {:>8}", "arm", "k", "seeds", "rate", "against the baseline", "p");
        for arm in &rates.arms {
            let effects = comparison.effects.iter().find(|of| of.arm == arm.arm && of.k == arm.k);
            let change = effects.and_then(|of| of.side_changes.iter().find(|of| of.measure == rates.measure));
            let (difference, of_p, is_change) = match change.map(|change| &change.effect) {
                Some(effect) => (percent(&effect.difference), p(effect.p_holm.or(effect.p)), effect.is_established()),
                None => ("–".to_owned(), "–".to_owned(), false),
            };
            let mark = if is_change { "  changed" } else { "" };
            println!(
                "{:<16} {:>6} {:>6}  {:<22} {difference:<24} {of_p:>8}{mark}",
                arm.arm,
                arm.k,
                arm.n_seeds,
                percent(&arm.rate)
            );
        }
    }
    comparison.doses.iter().for_each(print_dose);
    if let Some(detectable) = &comparison.detectable {
        println!(
            "\nThis experiment would have seen a change of {:.1} points with {:.0} % chance.",
            detectable.absolute * 100.0,
            detectable.aim.power * 100.0
        );
    }
    println!("\n{}", comparison.conclusion.text);
}

fn print_dose(dose: &DoseResponse) {
    println!("\n{:<16} {:>6}  {:<22} random edits of that size", format!("{} by size", dose.arm), "k", "rate");
    for point in &dose.points {
        let random = point.random.as_ref().map_or("–".to_owned(), percent);
        println!("{:<16} {:>6}  {:<22} {random}", "", point.k, percent(&point.rate));
    }
    if let Some(trend) = &dose.trend {
        let way = if trend.concordance < 0.0 { "lower" } else { "higher" };
        let share = 50.0 * (1.0 + trend.concordance.abs());
        println!("larger edits have the {way} rate in {share:.0} % of pairs of models (p {:.3})", trend.p);
    }
}

fn percent(measured: &Measured) -> String {
    let interval = &measured.interval;
    format!("{:.1} [{:.1}, {:.1}]", measured.value * 100.0, interval.low * 100.0, interval.high * 100.0)
}
