//! `whence extract`.

/// Arguments of `whence extract`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("under construction")
    }
}
