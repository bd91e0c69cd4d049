//! The type that matrix products with weights are computed in: `--dtype`.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device};

use super::ModelError;
use crate::device;

/// What `--dtype` accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtypeChoice {
    /// Half precision where the checkpoint is in half precision and the device computes in it, else f32.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// Brain floating point: the range of f32, 8 bits of precision.
    Bf16,
    /// IEEE half precision: 11 bits of precision, up to 65504.
    F16,
}

/// A type and why it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComputeDtype {
    /// The type of weights and of matrix products with them.
    pub dtype: DType,
    /// `f32`, `bf16` or `f16`.
    pub name: &'static str,
    /// For people: `the checkpoint is f32`.
    pub reason: &'static str,
}

const NAMES: [(DtypeChoice, &str); 4] =
    [(DtypeChoice::Auto, "auto"), (DtypeChoice::F32, "f32"), (DtypeChoice::Bf16, "bf16"), (DtypeChoice::F16, "f16")];

impl FromStr for DtypeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(choice, _)| *choice).ok_or_else(|| format!("expected auto, f32, bf16 or f16, got {text:?}"))
    }
}

impl fmt::Display for DtypeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(choice, _)| choice == self).map_or("auto", |(_, name)| name))
    }
}

impl DtypeChoice {
    /// The type to compute in on all of `devices`, for a checkpoint stored as `stored` (`F32`, `BF16`, `F16`).
    ///
    /// # Errors
    ///
    /// [`ModelError::UnsupportedDtype`] when a type was asked for that a device does not compute in.
    pub fn on(self, devices: &[Device], stored: &str) -> Result<ComputeDtype, ModelError> {
        let supports = |device: &Device, dtype: DType| !device::is_cpu(device) && device.supports_dtype(dtype);
        let all_support = |dtype: DType| devices.iter().all(|device| supports(device, dtype));
        let take = |dtype: DType, reason: &'static str| {
            let name = match dtype {
                DType::BF16 => "bf16",
                DType::F16 => "f16",
                _ => "f32",
            };
            ComputeDtype { dtype, name, reason }
        };
        let asked = match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
            Self::Auto => {
                return Ok(match stored {
                    _ if devices.iter().any(device::is_cpu) => take(DType::F32, "the CPU computes in f32"),
                    "BF16" | "F16" if all_support(DType::BF16) => {
                        take(DType::BF16, "the checkpoint is in half precision and the device computes in bf16")
                    }
                    "BF16" | "F16" if all_support(DType::F16) => {
                        take(DType::F16, "the checkpoint is in half precision and the device computes in f16, not bf16")
                    }
                    "BF16" | "F16" => take(DType::F32, "the device does not compute in half precision"),
                    _ => take(DType::F32, "the checkpoint is in f32"),
                });
            }
        };
        match devices.iter().find(|device| asked != DType::F32 && !supports(device, asked)) {
            None => Ok(take(asked, "as asked")),
            Some(device) => Err(ModelError::UnsupportedDtype {
                asked: take(asked, "").name,
                device: if device::is_cpu(device) { "the CPU" } else { "the device" },
                remedy: if supports(device, DType::BF16) {
                    "bf16 or f32"
                } else if supports(device, DType::F16) {
                    "f16 or f32"
                } else {
                    "f32"
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceChoice, open};

    #[test]
    fn choices_parse_and_print() {
        for (choice, name) in NAMES {
            assert_eq!(name.parse::<DtypeChoice>().unwrap(), choice);
            assert_eq!(choice.to_string(), name);
        }
        assert!("int8".parse::<DtypeChoice>().unwrap_err().contains("bf16"));
    }

    #[test]
    fn the_cpu_computes_in_f32_and_refuses_anything_else() {
        let device = [open(DeviceChoice::Cpu).unwrap().device];
        assert_eq!(DtypeChoice::Auto.on(&device, "BF16").unwrap().dtype, DType::F32);
        let error = DtypeChoice::F16.on(&device, "F16").unwrap_err().to_string();
        assert!(error.contains("--dtype f16") && error.contains("f32"), "{error}");
    }
}
