//! `whence import`.

/// Arguments of `whence import`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("under construction")
    }
}
