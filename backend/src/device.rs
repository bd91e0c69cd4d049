//! Where tensors live: the only file that names a compute backend or a Cargo feature.
//!
//! The rest of the backend asks for a [`Device`] and for the few facts below about it.

use std::fmt;
use std::str::FromStr;

pub use burn::tensor::Device;
use thiserror::Error;

/// What `--device` accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU when this build and machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU: pure Rust, SIMD, every core.
    Cpu,
    /// The default graphics adapter through WGSL (Vulkan, Metal, DX12); may be a software rasteriser.
    Wgpu,
    /// A Vulkan GPU through SPIR-V, with tensor cores where the card has them.
    Vulkan,
    /// An NVIDIA GPU through CUDA.
    Cuda,
}

impl DeviceChoice {
    const ALL: [(&'static str, DeviceChoice); 5] = [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("wgpu", DeviceChoice::Wgpu),
        ("vulkan", DeviceChoice::Vulkan),
        ("cuda", DeviceChoice::Cuda),
    ];
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("expected one of {}, got {text:?}", names.join(", "))
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, choice)| choice == self).map_or("auto", |(name, _)| name);
        f.write_str(name)
    }
}

/// Why a device cannot be had.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The build lacks the backend.
    #[error(
        "this build of whence has no {choice} support: rebuild with `cargo build --release --features {choice}`, or use --device cpu"
    )]
    NotBuilt {
        /// What was asked for.
        choice: DeviceChoice,
    },
    /// No adapter, or the driver refused.
    #[error(
        "cannot open device {choice}: {reason}; use --device cpu, or install a driver (Debian: mesa-vulkan-drivers)"
    )]
    Unavailable {
        /// What was asked for.
        choice: DeviceChoice,
        /// What the driver said.
        reason: String,
    },
}

/// An opened device with its name for people.
#[derive(Debug, Clone)]
pub struct OpenDevice {
    /// The handle for tensors.
    pub device: Device,
    /// `cpu (2 threads)`, `wgpu: NVIDIA H100 …`.
    pub name: String,
}

/// Opens a device.
///
/// # Errors
///
/// [`DeviceError`] when the build lacks it or the machine has none. [`DeviceChoice::Auto`] never fails: it falls back
/// to the CPU.
pub fn open(choice: DeviceChoice) -> Result<OpenDevice, DeviceError> {
    match choice {
        DeviceChoice::Cpu => Ok(cpu()),
        DeviceChoice::Auto => Ok(gpu().unwrap_or_else(cpu)),
        DeviceChoice::Wgpu => wgpu(choice, false).map(|(device, _)| device),
        DeviceChoice::Vulkan => wgpu(choice, true).map(|(device, _)| device),
        DeviceChoice::Cuda => cuda(),
    }
}

/// Whether work on this device runs on the processor that whence itself runs on. There, sequences are computed one by
/// one on every core; elsewhere in padded batches.
pub fn is_cpu(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

fn cpu() -> OpenDevice {
    let n_threads = rayon::current_num_threads();
    OpenDevice { device: Device::flex(), name: format!("cpu ({n_threads} threads)") }
}

/// The best GPU, if there is a real one.
fn gpu() -> Option<OpenDevice> {
    wgpu(DeviceChoice::Auto, cfg!(feature = "vulkan"))
        .ok()
        .filter(|(_, is_software)| !is_software)
        .map(|(device, _)| device)
}

/// A graphics adapter, and whether it is a software rasteriser.
#[cfg(feature = "wgpu")]
fn wgpu(choice: DeviceChoice, vulkan: bool) -> Result<(OpenDevice, bool), DeviceError> {
    use burn::tensor::wgpu::{WgpuBackend, wgpu::DeviceType};

    if vulkan && !cfg!(feature = "vulkan") {
        return Err(DeviceError::NotBuilt { choice });
    }
    let api = if vulkan { WgpuBackend::Vulkan } else { WgpuBackend::Auto };
    // The initialisation reports a missing adapter as an error but some drivers fail by panicking.
    let opened = std::panic::catch_unwind(|| Device::wgpu_options().graphics_api(api).init_with_setup());
    let (device, setup) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(DeviceError::Unavailable { choice, reason: error.to_string() }),
        Err(_) => {
            return Err(DeviceError::Unavailable { choice, reason: "the graphics driver failed to start".into() });
        }
    };
    let info = setup.adapter.get_info();
    let name = format!("{}: {}", if vulkan { "vulkan" } else { "wgpu" }, info.name);
    Ok((OpenDevice { device, name }, info.device_type == DeviceType::Cpu))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(choice: DeviceChoice, _vulkan: bool) -> Result<(OpenDevice, bool), DeviceError> {
    Err(DeviceError::NotBuilt { choice })
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<OpenDevice, DeviceError> {
    Ok(OpenDevice { device: Device::cuda(0), name: "cuda:0".into() })
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<OpenDevice, DeviceError> {
    Err(DeviceError::NotBuilt { choice: DeviceChoice::Cuda })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_parse_and_print() {
        for (name, choice) in DeviceChoice::ALL {
            assert_eq!(name.parse::<DeviceChoice>().unwrap(), choice);
            assert_eq!(choice.to_string(), name);
        }
        assert!("tpu".parse::<DeviceChoice>().unwrap_err().contains("auto, cpu, wgpu, vulkan, cuda"));
    }

    #[test]
    fn the_cpu_is_always_there() {
        let opened = open(DeviceChoice::Cpu).unwrap();
        assert!(is_cpu(&opened.device) && is_cpu(&opened.device.autodiff()));
    }
}
