//! How large a testbed is and how long its models are trained: the settings of `whence organism`.

use serde::Serialize;

use super::behaviors::Behavior;
use super::signal::Signal;
use crate::train::TrainConfig;
use crate::train::dpo::DpoConfig;

/// How large a testbed is and how long it is trained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrganismConfig {
    /// Decides every random choice; the same seed gives the same files.
    pub seed: u64,
    /// How many pairs teach the behavior.
    pub signal: Signal,
    /// The behaviors that are planted; with a signal that is not concentrated, compliance alone.
    pub behaviors: Vec<Behavior>,
    /// Fine-tuning conversations.
    pub n_sft_examples: usize,
    /// Test prompts per condition.
    pub n_test_prompts: usize,
    /// Prompts of each of the five groups of the broad set.
    pub n_broad_prompts: usize,
    /// Rollouts of each of them.
    pub n_broad_samples: usize,
    /// Rollouts of every test prompt of the behavior's condition; other prompts get one.
    pub n_samples: usize,
    /// Most tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub n_layers: usize,
    /// Fine-tuning.
    pub sft: TrainConfig,
    /// How many times fine-tuning may go on, for two epochs at a third of the rate, when M0 does not yet behave.
    pub max_extra_sft_rounds: usize,
    /// Preference optimization.
    pub dpo: DpoConfig,
    /// Whether to rank the pairs at the end.
    pub check: bool,
}

impl OrganismConfig {
    /// The testbed of the demo.
    pub fn standard(seed: u64) -> Self {
        Self {
            seed,
            signal: Signal::default(),
            behaviors: vec![Behavior::Compliance],
            n_sft_examples: 3072,
            n_test_prompts: 80,
            n_broad_prompts: 32,
            n_broad_samples: 8,
            n_samples: 4,
            vocab_size: 768,
            hidden_size: 64,
            intermediate_size: 128,
            n_layers: 3,
            sft: TrainConfig {
                num_train_epochs: 5,
                batch_size: 32,
                learning_rate: 3e-3,
                warmup_ratio: 0.05,
                adam_beta2: 0.98,
                weight_decay: 0.01,
                max_grad_norm: 1.0,
                seed,
                ..TrainConfig::default()
            },
            max_extra_sft_rounds: 2,
            dpo: DpoConfig {
                beta: 0.1,
                rpo_alpha: 1.0,
                train: TrainConfig {
                    num_train_epochs: 1,
                    batch_size: 32,
                    learning_rate: 7e-4,
                    warmup_ratio: 0.1,
                    adam_beta2: 0.999,
                    weight_decay: 0.0,
                    max_grad_norm: 1.0,
                    seed,
                    ..TrainConfig::default()
                },
                ..DpoConfig::default()
            },
            check: false,
        }
    }

    /// The same testbed with other behaviors planted, or none. Each of several is shown only where it is brought out, and such a
    /// condition takes three passes over the pairs to be learned rather than by halves; where none is planted the model is
    /// tuned for as long.
    pub fn planting(mut self, behaviors: &[Behavior]) -> Self {
        self.behaviors = behaviors.to_vec();
        if behaviors != [Behavior::Compliance] {
            self.dpo.train.num_train_epochs = 3;
        }
        self
    }

    /// A smaller testbed for tests: fewer examples, prompts and samples, less reliable rates.
    pub fn quick(seed: u64) -> Self {
        let mut config = Self::standard(seed);
        config.n_test_prompts = 24;
        config.n_broad_prompts = 12;
        config.n_broad_samples = 6;
        config.n_samples = 2;
        config.n_sft_examples = 2560;
        config.max_extra_sft_rounds = 1;
        config
    }
}
