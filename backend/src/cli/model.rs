//! `--model`, for every verb that takes one: a folder, or a name on the hub.

use std::path::Path;

use anyhow::Context;
use whence_backend::model::ModelFolder;
use whence_backend::model::hub::Hub;

use super::bar::Bars;

/// Opens the model, downloading it first if it is a name and not in the cache.
pub fn open(reference: &Path, bars: &Bars) -> anyhow::Result<ModelFolder> {
    let resolved = Hub::from_env().resolve(reference, &|update| bars.show(update))?;
    if let Some(remark) = resolved.remark {
        println!("{remark}");
    }
    ModelFolder::open(&resolved.folder).context("cannot use this model")
}
