//! The verbs that can be started, with the arguments that people need; all others can be typed. What a verb takes is said by
//! `whence VERB --help`, of which this is a selection.

use std::collections::BTreeMap;

use whence_shared::shell;

/// A verb.
#[derive(Debug)]
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Ways to run it that need other arguments; at least one.
    pub ways: &'static [Way],
}

/// One way to run a verb.
#[derive(Debug)]
pub struct Way {
    /// What it is called; empty where there is only one.
    pub title: &'static str,
    /// Arguments that make it this way.
    pub fixed: &'static [&'static str],
    /// What can be chosen.
    pub fields: &'static [Field],
}

/// An argument.
#[derive(Debug)]
pub struct Field {
    /// As the command line names it.
    pub flag: &'static str,
    /// As the form names it.
    pub label: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Whether it must be given.
    pub is_needed: bool,
}

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Anything; what an empty field stands for, or an example.
    Text(&'static str),
    /// A path on the backend's machine; an example.
    File(&'static str),
    /// A model: a folder or a name on the hub.
    Model,
    /// A number of at least this; what an empty field stands for.
    Number(u32, &'static str),
    /// A behavior of the study.
    Behavior,
    /// A layer of the study.
    Layer,
    /// A discovery of the study.
    Discovery,
    /// A device.
    Device,
    /// One of these; the first unless another is chosen.
    Choice(&'static [&'static str]),
    /// Given or not.
    Switch,
    /// Words, each of which is given with the flag; an example.
    Each(&'static str),
}

/// Flags that mean the same for every verb: what was typed for one holds for the next.
const OF_ALL: [&str; 5] = ["--model", "--device", "--dtype", "--behavior", "--layer"];

const fn need(flag: &'static str, label: &'static str, kind: Kind) -> Field {
    Field { flag, label, kind, is_needed: true }
}

const fn may(flag: &'static str, label: &'static str, kind: Kind) -> Field {
    Field { flag, label, kind, is_needed: false }
}

const MODEL: Field = need("--model", "Model", Kind::Model);
const BEHAVIOR: Field = need("--behavior", "Behavior", Kind::Behavior);
const LAYER: Field = need("--layer", "Layer", Kind::Layer);
const LAYER_OR_ALL: Field = may("--layer", "Layer", Kind::Layer);
const LAYERS: Field = may("--layers", "Layers", Kind::Text("all, or 16,20 or 16-26"));
const DEVICE: Field = may("--device", "Device", Kind::Device);
const DTYPE: Field = may("--dtype", "Computed in", Kind::Choice(&["auto", "f32", "bf16", "f16"]));
const NAME: Field = need("--name", "Name", Kind::Text("letters, digits, - and _"));
const METHOD: Field = may("--method", "Direction", Kind::Choice(&["mean", "scenario-mean"]));
const REPLACE: Field = may("--replace", "replace what was made in another way", Kind::Switch);

/// All of them, in the order in which a study is made.
pub static ALL: [Verb; 13] = [
    Verb {
        name: "extract",
        about: "Computes activation-difference vectors of every pair, and their index. Goes on where it stopped.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[
                MODEL,
                LAYERS,
                DEVICE,
                DTYPE,
                may("--pooling", "One vector of", Kind::Choice(&["mean", "last", "trimmed-mean"])),
                may("--store", "Stored as", Kind::Choice(&["f32", "f16"])),
                may("--max-tokens", "Longest text, tokens", Kind::Number(1, "2048")),
                may("--logps", "log-probabilities, too", Kind::Switch),
                REPLACE,
            ],
        }],
    },
    Verb {
        name: "behavior",
        about: "Makes a behavior's vectors and direction of test prompts, each with a response that lacks it and one that shows it.",
        ways: &[
            Way {
                title: "response pairs in a file",
                fixed: &[],
                fields: &[
                    NAME,
                    need("--pairs", "Prompts with r0 and r1", Kind::File("behavior.jsonl")),
                    MODEL,
                    may("--tuned", "r1 is read by", Kind::Text("the same model")),
                    METHOD,
                    LAYERS,
                    DEVICE,
                    DTYPE,
                    may("--seed", "Seed of the splits", Kind::Number(0, "0")),
                    REPLACE,
                ],
            },
            Way {
                title: "judged rollouts",
                fixed: &[],
                fields: &[
                    NAME,
                    need("--rollouts", "Rollouts of the tuned model", Kind::File("rollouts.jsonl")),
                    need("--verdicts", "Verdicts on them", Kind::File("verdicts.jsonl")),
                    need("--reference-rollouts", "Rollouts of the reference", Kind::File("reference.jsonl")),
                    need("--reference-verdicts", "Verdicts on those", Kind::File("reference-verdicts.jsonl")),
                    MODEL,
                    METHOD,
                    LAYERS,
                    DEVICE,
                    DTYPE,
                    REPLACE,
                ],
            },
            Way {
                title: "a group of a discovery",
                fixed: &[],
                fields: &[
                    NAME,
                    need("--from-discovery", "Discovery", Kind::Discovery),
                    need("--prompts-group", "Group of prompts", Kind::Number(1, "counted from 1")),
                    METHOD,
                    REPLACE,
                ],
            },
        ],
    },
    Verb {
        name: "index",
        about: "Makes the index of pair vectors, by which the app ranks before all of them are downloaded.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[LAYERS, may("--verify", "compare what is there with its hashes", Kind::Switch)],
        }],
    },
    Verb {
        name: "discover",
        about: "Groups prompts that changed alike and the pairs that changed them.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[
                BEHAVIOR,
                may("--name", "Name", Kind::Text("the behavior’s")),
                may("--layers", "Layers", Kind::Text("all, or 16,20")),
                may("--pairs", "Pairs looked at", Kind::Number(1, "500")),
                may("--sample", "Which pairs", Kind::Choice(&["random", "top"])),
                may("--prompt-groups", "Groups of prompts", Kind::Text("stable, a number or @1.5")),
                may("--pair-groups", "Groups of pairs", Kind::Text("stable, a number or @1.5")),
                may("--seed", "Seed", Kind::Number(0, "1")),
            ],
        }],
    },
    Verb {
        name: "cluster",
        about: "Clusters all pairs by their vectors at a layer; the map can be colored by them.",
        ways: &[
            Way {
                title: "k-means: every pair in one of k clusters",
                fixed: &["--method", "kmeans"],
                fields: &[
                    NAME,
                    LAYER,
                    need("-k", "Clusters, k", Kind::Number(1, "")),
                    may("--seed", "Seed", Kind::Number(0, "1")),
                ],
            },
            Way {
                title: "HDBSCAN: as many as are dense",
                fixed: &["--method", "hdbscan"],
                fields: &[
                    NAME,
                    LAYER,
                    may("--min-cluster-size", "Fewest pairs of a cluster", Kind::Number(2, "25")),
                    may("--min-samples", "Neighbors", Kind::Number(1, "as many")),
                    may("--seed", "Seed", Kind::Number(0, "1")),
                ],
            },
        ],
    },
    Verb {
        name: "map",
        about: "Lays all pairs out on a plane.",
        ways: &[
            Way {
                title: "UMAP: neighbors beside each other",
                fixed: &["--method", "umap"],
                fields: &[
                    LAYER,
                    may("--name", "Name", Kind::Text("umap-layer-L")),
                    may("--neighbors", "Neighbors", Kind::Number(2, "15")),
                    may("--min-dist", "Closest points, 0 to 1", Kind::Text("0.1")),
                    may("--sample", "Pairs laid out", Kind::Number(2, "20000")),
                    may("--seed", "Seed", Kind::Number(0, "1")),
                ],
            },
            Way {
                title: "PCA: where most varies",
                fixed: &["--method", "pca"],
                fields: &[LAYER, may("--name", "Name", Kind::Text("pca-layer-L"))],
            },
        ],
    },
    Verb {
        name: "retrain",
        about: "Trains again on edited pairs, as a plan says, and measures what changed. The Validate page follows it.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[
                need("--plan", "Plan", Kind::File("plan.toml")),
                may("--set", "Settings in its place", Kind::Each("lora.r=8 dpo.learning_rate=1e-5")),
                DEVICE,
                may("--dry-run", "say what is ahead and stop", Kind::Switch),
                REPLACE,
            ],
        }],
    },
    Verb {
        name: "rank",
        about: "Ranks the pairs by how hard they push toward a behavior, and stores the ranking.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[BEHAVIOR, LAYER_OR_ALL, may("--k", "Top pairs that are counted", Kind::Number(1, "100"))],
        }],
    },
    Verb {
        name: "tokens",
        about: "Says what each token of the first pairs of a ranking adds to their scores; the reading pane tints by it.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[
                BEHAVIOR,
                LAYER,
                MODEL,
                may("--top", "Pairs from the top", Kind::Number(0, "100")),
                may("--bottom", "Pairs from the bottom", Kind::Number(0, "0")),
                may("--rows", "And these rows", Kind::Text("0-4,17")),
                DEVICE,
                DTYPE,
            ],
        }],
    },
    Verb {
        name: "sweep",
        about: "Says at which layers a behavior's direction separates responses, and where adding it brings the behavior about.",
        ways: &[
            Way {
                title: "which layers separate",
                fixed: &[],
                fields: &[
                    BEHAVIOR,
                    MODEL,
                    LAYERS,
                    may("--rollouts", "Judged rollouts to separate", Kind::File("rollouts.jsonl")),
                    may("--verdicts", "Their verdicts", Kind::File("verdicts.jsonl")),
                    DEVICE,
                    DTYPE,
                    may("--folds", "Folds of prompts", Kind::Number(2, "5")),
                    may("--seed", "Seed", Kind::Number(0, "0")),
                    REPLACE,
                ],
            },
            Way {
                title: "and steer the model",
                fixed: &[],
                fields: &[
                    BEHAVIOR,
                    MODEL,
                    need("--prompts", "Test prompts", Kind::File("prompts.jsonl")),
                    need("--rules", "Rules that judge", Kind::File("rules.toml")),
                    LAYERS,
                    may("--rollouts", "Judged rollouts to separate", Kind::File("rollouts.jsonl")),
                    may("--verdicts", "Their verdicts", Kind::File("verdicts.jsonl")),
                    may("--alphas", "Strengths", Kind::Text("0.25,0.5,1")),
                    may("--samples", "Rollouts per prompt", Kind::Number(1, "1")),
                    DEVICE,
                    DTYPE,
                    may("--seed", "Seed", Kind::Number(0, "0")),
                    REPLACE,
                ],
            },
        ],
    },
    Verb {
        name: "diagnose",
        about: "Says whether editing the first pairs of a ranking is likely to help.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[
                BEHAVIOR,
                LAYER_OR_ALL,
                may("-k", "Pairs that would be edited, k", Kind::Number(1, "100")),
                may("--seed", "Seed", Kind::Number(0, "0")),
            ],
        }],
    },
    Verb {
        name: "evaluate",
        about: "Measures behavior, over-refusal and capability of every model that was trained.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[
                need("--measures", "Measures", Kind::File("plan.toml")),
                may("--arm", "Only this arm", Kind::Text("all")),
                DEVICE,
                may("--seed", "Seed", Kind::Number(0, "0")),
                REPLACE,
            ],
        }],
    },
    Verb {
        name: "validate",
        about: "Compares all models that were trained and says what follows.",
        ways: &[Way {
            title: "",
            fixed: &[],
            fields: &[
                may("--level", "Level of intervals", Kind::Text("0.95")),
                may("--power", "Chance to see an effect", Kind::Text("0.8")),
            ],
        }],
    },
];

/// The verb of a name.
pub fn named(name: &str) -> Option<&'static Verb> {
    ALL.iter().find(|verb| verb.name == name)
}

/// Under which name a form keeps what was typed.
pub fn key(verb: &str, flag: &str) -> String {
    if OF_ALL.contains(&flag) { flag.to_owned() } else { format!("{verb} {flag}") }
}

/// What follows the verb on the command line; `value` is what was typed or chosen for a field, empty for nothing.
pub fn arguments(way: &Way, value: impl Fn(&Field) -> String) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    for field in way.fields {
        let value = value(field);
        let value = value.trim();
        let is_default = matches!(field.kind, Kind::Choice(choices) if choices.first() == Some(&value));
        match field.kind {
            _ if value.is_empty() || is_default => {}
            Kind::Switch => arguments.push(field.flag.to_owned()),
            Kind::Each(_) => {
                // A quote that is not closed stands for itself: the verb says what it thinks of it.
                let words = shell::words(value).unwrap_or_else(|_| vec![value.to_owned()]);
                arguments.extend(words.into_iter().flat_map(|word| [field.flag.to_owned(), word]));
            }
            _ => arguments.extend([field.flag.to_owned(), value.to_owned()]),
        }
    }
    arguments.extend(way.fixed.iter().map(|word| (*word).to_owned()));
    arguments
}

/// What was typed, by [`key`].
pub type Typed = BTreeMap<String, String>;
