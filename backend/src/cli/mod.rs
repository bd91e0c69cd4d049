//! The command line: one file per verb, each with its arguments and how its result is printed.

mod app;
mod bar;
mod behavior;
mod cluster;
mod contrast;
mod convert;
mod diagnose;
mod discover;
mod edit;
mod endpoint;
mod evaluate;
mod export;
mod extract;
mod import;
mod index;
mod inspect;
mod judge;
mod map;
mod merge;
mod model;
mod naming;
mod organism;
mod probe;
mod prompts;
mod query;
mod rank;
mod reading;
mod report;
mod retrain;
mod rollouts;
mod serve;
mod sweep;
mod tokens;
mod validate;

use clap::{Parser, Subcommand};

/// Which training pairs taught a post-trained language model this behavior?
#[derive(Debug, Parser)]
#[command(name = "whence", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read preference data into a study
    Import(import::Args),
    /// Compute activation-difference vectors of every pair
    Extract(extract::Args),
    /// Make the browsable index of pair vectors: rotated, in int8, with bounds
    Index(index::Args),
    /// Bring parts that several machines extracted together
    Merge(merge::Args),
    /// Make test prompts of templates, requests and distractors
    Prompts(prompts::Args),
    /// Sample a model's responses to test prompts, here or at an endpoint, or take in responses made elsewhere
    Rollouts(rollouts::Args),
    /// Say which rollouts show the behavior, by rules or by asking a model, and how far that agrees with labels
    Judge(judge::Args),
    /// Train a judge on labelled rollouts: a regression on how a model reads them
    Probe(probe::Args),
    /// Turn test prompts with response pairs into a behavior's vectors and direction
    Behavior(behavior::Args),
    /// Say at which layers a behavior's direction separates responses, and where adding it brings the behavior about
    Sweep(sweep::Args),
    /// Rank the pairs by how hard they push toward a behavior
    Rank(rank::Args),
    /// Find the pairs that push hardest along any direction: behaviors, pairs, files, and combinations of them
    Query(query::Args),
    /// Say what each token of the first pairs of a ranking adds to their scores
    Tokens(tokens::Args),
    /// Say whether editing the first pairs of a ranking is likely to help
    Diagnose(diagnose::Args),
    /// Group prompts that changed alike and the pairs that changed them, without a behavior defined
    Discover(discover::Args),
    /// Cluster all pairs by their vectors at a layer, and say what the clusters are
    Cluster(cluster::Args),
    /// Lay all pairs out on a plane, by principal components or UMAP
    Map(map::Args),
    /// Choose pairs to drop or to switch before training again, or compare such choices
    Edit(edit::Args),
    /// Train again on edited pairs, as a plan says, and measure what changed
    Retrain(retrain::Args),
    /// Measure behavior, over-refusal and capability of a model, or of every model that a study trained
    Evaluate(evaluate::Args),
    /// Compare all retrained models of a study and say what follows
    Validate(validate::Args),
    /// Write the pairs, edited, in the forms that other trainers read
    Export(export::Args),
    /// Import vectors or a direction made elsewhere, or export a layer's vectors
    Convert(convert::Args),
    /// Serve a study and the app on this machine
    Serve(serve::Args),
    /// Write a study as a bundle that any web server serves, texts withheld if asked
    Report(report::Args),
    /// Say what a model folder, a study or a vector file is, and what is missing in it
    Inspect(inspect::Args),
    /// Make the planted testbed: a small model with a known culprit in its preference data
    Organism(organism::Args),
}

impl Cli {
    /// Runs the verb.
    ///
    /// # Errors
    ///
    /// Whatever stopped it, for printing.
    pub fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Import(args) => args.run(),
            Verb::Extract(args) => args.run(),
            Verb::Index(args) => args.run(),
            Verb::Merge(args) => args.run(),
            Verb::Prompts(args) => args.run(),
            Verb::Rollouts(args) => args.run(),
            Verb::Judge(args) => args.run(),
            Verb::Probe(args) => args.run(),
            Verb::Behavior(args) => args.run(),
            Verb::Sweep(args) => args.run(),
            Verb::Rank(args) => args.run(),
            Verb::Query(args) => args.run(),
            Verb::Tokens(args) => args.run(),
            Verb::Diagnose(args) => args.run(),
            Verb::Discover(args) => args.run(),
            Verb::Cluster(args) => args.run(),
            Verb::Map(args) => args.run(),
            Verb::Edit(args) => args.run(),
            Verb::Retrain(args) => args.run(),
            Verb::Evaluate(args) => args.run(),
            Verb::Validate(args) => args.run(),
            Verb::Export(args) => args.run(),
            Verb::Convert(args) => args.run(),
            Verb::Serve(args) => args.run(),
            Verb::Report(args) => args.run(),
            Verb::Inspect(args) => args.run(),
            Verb::Organism(args) => args.run(),
        }
    }
}
