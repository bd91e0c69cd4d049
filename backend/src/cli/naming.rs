//! Names of groups from a model at an endpoint: the arguments that `discover` and `cluster` share.

use whence_backend::behavior::rollouts::endpoint::EndpointOptions;
use whence_backend::study::Study;
use whence_shared::cluster::reading::Names;

use super::endpoint;

/// Which model is asked for names, and how.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Ask a model at this OpenAI-compatible endpoint for names of the groups, from their words and exemplars; stored as
    /// machine-made
    #[arg(long, value_name = "URL", requires = "name_model")]
    name_with: Option<String>,
    /// The model's name at the endpoint
    #[arg(long, value_name = "MODEL", requires = "name_with")]
    name_model: Option<String>,
    #[command(flatten)]
    asking: endpoint::Args,
}

impl Args {
    /// How to ask, if a model is to be asked; answers are kept in the study's `names.cache/` unless told otherwise.
    pub fn options(self, study: &Study) -> Option<EndpointOptions> {
        let url = self.name_with?;
        Some(self.asking.options(url, self.name_model, &study.root().join("names")))
    }
}

/// `“Refusals” (named by MODEL)`, or nothing where there are no names.
pub fn said(names: Option<&Names>, of: impl Fn(&Names) -> &[String], group: usize) -> String {
    let name = names.and_then(|names| Some((of(names).get(group)?, &names.model)));
    name.map_or_else(String::new, |(name, model)| format!(" “{name}” (named by {model})"))
}
