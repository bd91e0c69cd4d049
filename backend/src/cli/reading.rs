//! How a model reads texts: the arguments that `extract` and `behavior` share.

use whence_backend::data::template::TemplateChoice;
use whence_backend::device::{self, DeviceError, DeviceList, OpenDevice};
use whence_backend::model::DtypeChoice;

/// Where and in which form a model reads.
#[derive(Debug, clap::Args)]
pub struct Reading {
    /// Where to compute: auto, cpu, wgpu, vulkan, cuda; several at once: `vulkan:0,vulkan:1`
    #[arg(long, default_value_t)]
    pub device: DeviceList,
    /// Text form: `model` (its chat template), `none` (raw prompt + response) or a Jinja file
    #[arg(long, default_value = "model")]
    pub template: TemplateChoice,
    /// Most tokens in one padded batch (GPU); halves by itself when the device runs out of memory
    #[arg(long, default_value_t = 8192)]
    pub batch_tokens: usize,
    /// Type of weights and of products with them: auto (half where checkpoint and device have it), f32, bf16, f16
    #[arg(long, default_value_t)]
    pub dtype: DtypeChoice,
}

impl Reading {
    /// Opens the devices, in the order given.
    pub fn open(&self) -> Result<Vec<OpenDevice>, DeviceError> {
        device::open_all(&self.device)
    }
}

/// `cpu (2 threads)`, or `2 × cpu (2 threads)` and the like for several workers.
pub fn names(devices: &[OpenDevice]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for device in devices {
        match counts.iter_mut().find(|(name, _)| *name == device.name) {
            Some((_, n)) => *n += 1,
            None => counts.push((&device.name, 1)),
        }
    }
    let shown = counts.iter().map(|(name, n)| if *n == 1 { (*name).to_owned() } else { format!("{n} × {name}") });
    shown.collect::<Vec<_>>().join(", ")
}
