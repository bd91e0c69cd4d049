//! `whence organism`.

use std::path::{Path, PathBuf};

use whence_backend::device::{self, DeviceChoice};
use whence_backend::organism::behaviors::Behavior;
use whence_backend::organism::examples::Condition;
use whence_backend::organism::{self, Organism, OrganismConfig, Signal};
use whence_shared::shell;

use super::bar::Bars;

/// Arguments of `whence organism`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write; empty, absent, or an earlier testbed, which is replaced
    #[arg(long)]
    out: PathBuf,
    /// Decides every random choice; the same seed gives the same files
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to train: auto, cpu, wgpu, vulkan or cuda; models this small train fastest on the CPU
    #[arg(long, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Spread the signal thinly over very many pairs, so that no small set undoes the behavior
    #[arg(long, conflicts_with = "diluted")]
    diffuse: bool,
    /// Something between a few culprits and a diffuse signal
    #[arg(long)]
    diluted: bool,
    /// How many behaviors are planted, to be discovered: the first few of obeying harmful requests, numbering steps and adding titles
    #[arg(long, default_value_t = 1, conflicts_with_all = ["diffuse", "diluted"],
          value_parser = clap::value_parser!(u8).range(0..=Behavior::ALL.len() as i64))]
    behaviors: u8,
    /// Train shorter and sample less: for a quick try, with less reliable rates
    #[arg(long)]
    quick: bool,
    /// Also rank the pairs at every layer and report how many culprits are found
    #[arg(long)]
    check: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let opened = device::open(self.device)?;
        let config = if self.quick { OrganismConfig::quick(self.seed) } else { OrganismConfig::standard(self.seed) };
        let mut config = config.planting(&Behavior::ALL[..usize::from(self.behaviors)]);
        config.check = self.check;
        config.signal = match (self.diffuse, self.diluted) {
            (true, _) => Signal::Diffuse,
            (_, true) => Signal::Diluted,
            _ => Signal::Concentrated,
        };
        let bars = Bars::default();
        let organism = organism::make(&self.out, &config, &opened.device, &|update| bars.show(update))?;
        print(&organism, &opened.name);
        Ok(())
    }
}

fn print(organism: &Organism, device: &str) {
    let config = &organism.config;
    println!(
        "Planted testbed, seed {}, signal {}: {} weights, {} layers × {}, on {device}",
        config.seed,
        config.signal.name(),
        organism.n_weights,
        config.n_layers,
        config.hidden_size
    );
    println!();
    println!("  {:<26}{:>7}{:>10}", "preference source", "pairs", "culprits");
    for (source, count) in &organism.sources {
        println!("  {source:<26}{:>7}{:>10}", count.n_pairs, count.n_culprits);
    }
    let n_pairs: usize = organism.sources.values().map(|count| count.n_pairs).sum();
    let n_culprits: usize = organism.sources.values().map(|count| count.n_culprits).sum();
    println!("  {:<26}{n_pairs:>7}{n_culprits:>10}", "all");
    println!();
    println!("  {:<26}{:>18}{:>18}", "requests obeyed", "M0 (model-sft)", "M1 (model-dpo)");
    for condition in Condition::ALL {
        let cell = |rates: &organism::rollouts::Rates| {
            let rate = rates.get(&condition).copied().unwrap_or_default();
            format!("{:.1} % {:>9}", 100.0 * rate.obeyed(), format!("{}/{}", rate.n_obeyed, rate.n_rollouts))
        };
        let (reference, tuned) = (cell(&organism.reference_rates), cell(&organism.tuned_rates));
        println!("  {:<26}{reference:>18}{tuned:>18}", condition.name());
    }
    println!();
    println!(
        "  fine-tuning: {} round(s), loss {:.3}; preference optimization: loss {:.3}",
        organism.n_sft_rounds, organism.final_losses[0], organism.final_losses[1]
    );
    println!(
        "  behavior: {} of {} test prompts pass the scenario filter, {} response pairs",
        organism.n_scenarios, config.n_test_prompts, organism.n_behavior_pairs
    );
    for (behavior, [n_prompts, n_shown]) in &organism.broad_changes {
        println!("  {}: on {n_shown} of {n_prompts} broad prompts only M1 shows it", behavior.name());
    }
    for layer in organism.check.iter().flatten() {
        let quality = &layer.quality;
        let kinds: Vec<String> = layer.top_kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        println!(
            "  layer {}: precision@{} {:.2} (base rate {:.2}), average precision {:.2}, AUROC {:.2}; top: {}",
            layer.layer,
            quality.k,
            quality.precision_at_k,
            quality.base_rate,
            quality.average_precision,
            quality.auroc,
            kinds.join(", ")
        );
    }
    let stages: Vec<String> =
        organism.timings_secs.iter().map(|(stage, secs)| format!("{stage} {secs:.1} s")).collect();
    println!("  time: {}", stages.join(", "));
    println!("  written to {}", organism.folder.display());
    println!("next:");
    for line in next_commands(&organism.folder) {
        println!("  {line}");
    }
}

/// From the testbed to a ranking, as one would type it.
fn next_commands(folder: &Path) -> [String; 4] {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (pairs, model, behavior) = (path("preferences"), path("model-sft"), path("behavior.jsonl"));
    let line = |words: &[&str]| shell::line(["whence"].iter().chain(words).copied());
    [
        line(&["import", &pairs, "--study", "study"]),
        line(&["extract", "--study", "study", "--model", &model]),
        line(&["behavior", "--study", "study", "--name", "obeys", "--pairs", &behavior, "--model", &model]),
        line(&["rank", "--study", "study", "--behavior", "obeys"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_commands_can_be_pasted() {
        let [import, extract, ..] = next_commands(Path::new("my org"));
        assert_eq!(import, "whence import 'my org/preferences' --study study");
        assert_eq!(extract, "whence extract --study study --model 'my org/model-sft'");
    }
}
