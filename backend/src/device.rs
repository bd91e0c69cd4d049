//! Where tensors live: the only file that names a compute backend or a Cargo feature.
//!
//! The rest of the backend asks for a [`Device`] and for the few facts below about it.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::str::FromStr;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

pub use burn::tensor::Device;
use thiserror::Error;

/// A kind of device that `--device` accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU when this build and machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU: pure Rust, SIMD, every core.
    Cpu,
    /// A graphics adapter through WGSL (Vulkan, Metal, DX12); may be a software rasteriser.
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

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, choice)| *choice == self).map_or("auto", |(name, _)| name)
    }
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
        f.write_str(self.name())
    }
}

/// One device as typed: `vulkan`, or `vulkan:1` for the second adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DevicePlace {
    /// The kind.
    pub choice: DeviceChoice,
    /// Which of that kind, from 0 in the system's order; the best one when left out.
    pub index: Option<usize>,
}

impl From<DeviceChoice> for DevicePlace {
    fn from(choice: DeviceChoice) -> Self {
        Self { choice, index: None }
    }
}

impl FromStr for DevicePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((choice, index)) = text.split_once(':') else { return Ok(text.parse::<DeviceChoice>()?.into()) };
        let choice: DeviceChoice = choice.parse()?;
        if matches!(choice, DeviceChoice::Auto | DeviceChoice::Cpu) {
            return Err(format!("expected wgpu:N, vulkan:N or cuda:N, got {text:?}: there is only one {choice}"));
        }
        let index = index.parse().map_err(|_| format!("expected a number after {choice}:, from 0, got {index:?}"))?;
        Ok(Self { choice, index: Some(index) })
    }
}

impl fmt::Display for DevicePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => self.choice.fmt(f),
            Some(index) => write!(f, "{}:{index}", self.choice),
        }
    }
}

/// Devices that work at once, as typed: `vulkan:0,vulkan:1`. The same device twice is two workers on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList(pub Vec<DevicePlace>);

impl Default for DeviceList {
    fn default() -> Self {
        Self(vec![DevicePlace::default()])
    }
}

impl FromStr for DeviceList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.split(',').map(|place| place.trim().parse()).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for DeviceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
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
        "cannot open device {place}: {reason}; use --device cpu, or install a driver (Debian: mesa-vulkan-drivers)"
    )]
    Unavailable {
        /// What was asked for.
        place: DevicePlace,
        /// What the driver said.
        reason: String,
    },
    /// An index beyond the devices there are.
    #[error("no device {place}: this machine has {n_devices} of that kind, so {}", indices(place.choice, *n_devices))]
    Index {
        /// What was asked for.
        place: DevicePlace,
        /// How many there are.
        n_devices: usize,
    },
}

fn indices(choice: DeviceChoice, n_devices: usize) -> String {
    match n_devices {
        0 => "use --device cpu, or install a driver (Debian: mesa-vulkan-drivers)".into(),
        1 => format!("expected {choice}:0"),
        n => format!("expected {choice}:0 to {choice}:{}", n - 1),
    }
}

/// What went wrong while a device computed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeviceFailure {
    /// An allocation did not fit. Less at once may.
    #[error("out of device memory: {0}")]
    NoRoom(String),
    /// The device is gone or poisoned: nothing that this process asks of it will work again.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl DeviceFailure {
    /// Tells the kinds of failure apart by what the backend says: it has one error type for all of them, and panics with
    /// the same words where it cannot return an error.
    pub fn of(said: &str) -> Self {
        const NO_ROOM: [&str; 8] = [
            "out of memory",
            "out-of-memory",
            "outofmemory",
            "out of device memory",
            "not enough memory",
            "can't allocate",
            "buffertoobig",
            "greater than the maximum buffer size",
        ];
        const LOST: [&str; 5] = ["lost", "poisoned", "illegal address", "hardware fault", "device is no longer"];
        let lower = said.to_lowercase();
        let names = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        // Backends append backtraces; what happened stands in the lines before.
        let short = said.lines().take_while(|line| !line.trim_start().starts_with("0:")).collect::<Vec<_>>().join(" ");
        let short = short.split_whitespace().collect::<Vec<_>>().join(" ");
        if names(&NO_ROOM) {
            Self::NoRoom(short)
        } else if names(&LOST) {
            Self::Lost(short)
        } else {
            Self::Other(short)
        }
    }
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What the backend's own threads have panicked with. A kernel that such a thread was to launch is then never launched,
/// and all that its caller sees is a result that cannot be found.
static RUNNER_PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How the backend names the threads that own a device.
const RUNNER_THREADS: [&str; 2] = ["DSD-", "DSU-"];

/// Runs work on a device, turning panics into an error, the caller's and those of the backend's own threads: drivers and
/// backends panic where they cannot return one.
///
/// # Errors
///
/// What `compute` returns, or `failed` of what was panicked with.
pub fn guarded<T, E>(compute: impl FnOnce() -> Result<T, E>, failed: impl FnOnce(DeviceFailure) -> E) -> Result<T, E> {
    collect_panics();
    let runner_panics = || RUNNER_PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    let n_before = runner_panics().len();
    let was_guarded = IS_GUARDED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(compute));
    IS_GUARDED.set(was_guarded);
    // The cause, where there is one: what follows from it says less.
    if let Some(cause) = runner_panics().get(n_before) {
        return Err(failed(DeviceFailure::of(cause)));
    }
    outcome.unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it gave no reason");
        Err(failed(DeviceFailure::of(said)))
    })
}

/// From now on panics of guarded work and of the backend's own threads are not printed: they become errors, which are
/// reported as such.
fn collect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_runner = |name: &str| RUNNER_THREADS.iter().any(|prefix| name.starts_with(prefix));
            if thread::current().name().is_some_and(is_runner) {
                let said = info.payload_as_str().unwrap_or("it gave no reason").to_owned();
                RUNNER_PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(said);
            } else if !IS_GUARDED.get() {
                earlier(info);
            }
        }));
    });
}

/// An opened device with its name for people.
#[derive(Debug, Clone)]
pub struct OpenDevice {
    /// The handle for tensors.
    pub device: Device,
    /// `cpu (2 threads)`, `wgpu: NVIDIA H100 …`.
    pub name: String,
}

/// Keeps graphics drivers from complaining on standard error where there is no display, as on a server: a Vulkan layer that
/// Mesa installs asks Wayland which adapter shows it, and Wayland wants a folder for its socket. It gets one that cannot exist
/// where none is named, and then finds no display without a word; which adapters there are stays the same.
///
/// # Safety
///
/// No other thread may run yet: it could be reading the environment.
pub unsafe fn expect_no_display() {
    const VARIABLE: &str = "XDG_RUNTIME_DIR";
    if cfg!(all(unix, not(target_vendor = "apple"))) && std::env::var_os(VARIABLE).is_none_or(|path| path.is_empty()) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { std::env::set_var(VARIABLE, "/dev/null") };
    }
}

/// Devices opened by this process. Opening a graphics adapter a second time is an error in the backend, and whoever
/// asks for memory at the end of a run must know what was used.
static OPENED: Mutex<Vec<(DevicePlace, OpenDevice)>> = Mutex::new(Vec::new());

/// Opens a device; one that is open already is handed out again.
///
/// # Errors
///
/// [`DeviceError`] when the build lacks it or the machine has none. [`DeviceChoice::Auto`] never fails: it falls back
/// to the CPU.
pub fn open(place: impl Into<DevicePlace>) -> Result<OpenDevice, DeviceError> {
    let place = place.into();
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = opened.iter().find(|(there, _)| *there == place) {
        return Ok(device.clone());
    }
    let device = match place.choice {
        DeviceChoice::Cpu => cpu(),
        DeviceChoice::Auto => gpu().unwrap_or_else(cpu),
        DeviceChoice::Wgpu | DeviceChoice::Vulkan => graphics(place)?.0,
        DeviceChoice::Cuda => cuda(place)?,
    };
    opened.push((place, device.clone()));
    Ok(device)
}

/// Opens every device of a list, in order; the same device twice is opened once.
///
/// # Errors
///
/// As [`open`], for the first that cannot be had.
pub fn open_all(list: &DeviceList) -> Result<Vec<OpenDevice>, DeviceError> {
    list.0.iter().map(|&place| open(place)).collect()
}

/// Memory that each opened device holds for this process, in bytes, with the device's name. Pools keep what they once
/// took, so at the end of a run this is close to the most that was needed. Devices that do not tell are left out.
pub fn memory_held() -> Vec<(String, u64)> {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let held = |(_, opened): &(DevicePlace, OpenDevice)| {
        let ask = || Ok::<_, DeviceFailure>(opened.device.memory_pool_usage());
        // A lost device may panic when asked.
        let usage = guarded(ask, |failure| failure).ok().flatten()?;
        (usage.bytes_reserved > 0).then(|| (opened.name.clone(), usage.bytes_reserved))
    };
    opened.iter().filter_map(held).collect()
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
    let choice = if cfg!(feature = "vulkan") { DeviceChoice::Vulkan } else { DeviceChoice::Wgpu };
    graphics(choice.into()).ok().filter(|(_, is_software)| !is_software).map(|(device, _)| device)
}

/// A graphics adapter, and whether it is a software rasteriser.
#[cfg(feature = "wgpu")]
fn graphics(place: DevicePlace) -> Result<(OpenDevice, bool), DeviceError> {
    let is_vulkan = place.choice == DeviceChoice::Vulkan;
    if is_vulkan && !cfg!(feature = "vulkan") {
        return Err(DeviceError::NotBuilt { choice: place.choice });
    }
    match place.index {
        None => best_adapter(place),
        Some(index) => adapter(place, index),
    }
}

/// The adapter that the graphics system prefers.
#[cfg(feature = "wgpu")]
fn best_adapter(place: DevicePlace) -> Result<(OpenDevice, bool), DeviceError> {
    use burn::tensor::wgpu::{WgpuBackend, wgpu::DeviceType};

    let api = if place.choice == DeviceChoice::Vulkan { WgpuBackend::Vulkan } else { WgpuBackend::Auto };
    let unavailable = |reason: String| DeviceError::Unavailable { place, reason };
    // The initialisation reports a missing adapter as an error but some drivers fail by panicking.
    let init = || Device::wgpu_options().graphics_api(api).init_with_setup().map_err(|e| unavailable(e.to_string()));
    let (device, setup) = guarded(init, |failure| unavailable(format!("the graphics driver failed: {failure}")))?;
    let info = setup.adapter.get_info();
    let name = format!("{place}: {}", info.name);
    Ok((OpenDevice { device, name }, info.device_type == DeviceType::Cpu))
}

/// The adapter with an index, in the order in which the graphics system lists them.
#[cfg(feature = "wgpu")]
fn adapter(place: DevicePlace, index: usize) -> Result<(OpenDevice, bool), DeviceError> {
    use burn::tensor::DeviceType;

    #[cfg(feature = "vulkan")]
    let filter = if place.choice == DeviceChoice::Vulkan { DeviceType::Vulkan } else { DeviceType::Wgpu };
    #[cfg(not(feature = "vulkan"))]
    let filter = DeviceType::Wgpu;
    let failed = |failure: DeviceFailure| DeviceError::Unavailable {
        place,
        reason: format!("the graphics driver failed: {failure}"),
    };
    let found = guarded(|| Ok(Device::enumerate(filter).into_vec()), failed)?;
    let n_devices = found.len();
    let device = found.into_iter().nth(index).ok_or(DeviceError::Index { place, n_devices })?;
    // Asking for its name brings the device up.
    let identity = guarded(|| Ok(device.identity()), failed)?;
    let is_software = identity.as_ref().is_none_or(|identity| identity.physical.is_none());
    let name = identity.map_or_else(|| place.to_string(), |identity| format!("{place}: {}", identity.name));
    Ok((OpenDevice { device, name }, is_software))
}

#[cfg(not(feature = "wgpu"))]
fn graphics(place: DevicePlace) -> Result<(OpenDevice, bool), DeviceError> {
    Err(DeviceError::NotBuilt { choice: place.choice })
}

#[cfg(feature = "cuda")]
fn cuda(place: DevicePlace) -> Result<OpenDevice, DeviceError> {
    use burn::tensor::DeviceType;

    let failed = |failure: DeviceFailure| DeviceError::Unavailable {
        place,
        reason: format!("the CUDA driver failed: {failure}"),
    };
    let n_devices = guarded(|| Ok(Device::enumerate(DeviceType::Cuda).len()), failed)?;
    let index = place.index.unwrap_or(0);
    if index >= n_devices {
        return Err(DeviceError::Index { place, n_devices });
    }
    let device = Device::cuda(index);
    let identity = guarded(|| Ok(device.identity()), failed)?;
    let name = identity.map_or_else(|| format!("cuda:{index}"), |identity| format!("cuda:{index}: {}", identity.name));
    Ok(OpenDevice { device, name })
}

#[cfg(not(feature = "cuda"))]
fn cuda(place: DevicePlace) -> Result<OpenDevice, DeviceError> {
    Err(DeviceError::NotBuilt { choice: place.choice })
}

/// What it takes to give an operation on the CPU a derivative of its own: parts of the backend's gradient graph.
pub mod graph {
    pub use burn::backend::autodiff::checkpoint::base::Checkpointer;
    pub use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
    pub use burn::backend::autodiff::grads::Gradients;
    pub use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};

    /// The CPU without gradients.
    pub type Plain = burn::backend::Flex;
    /// The CPU with gradients.
    pub type Recording = burn::backend::Autodiff<Plain>;
    /// A tensor of [`Plain`].
    pub type Primitive = burn::backend::tensor::FloatTensor<Plain>;
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
    fn lists_of_devices_parse_and_print() {
        for text in ["auto", "cpu,cpu", "vulkan:0,vulkan:1", "wgpu:0", "cuda:1,cpu"] {
            assert_eq!(text.parse::<DeviceList>().unwrap().to_string(), text);
        }
        for (text, said) in [
            ("", "expected one of"),
            ("cpu,", "expected one of"),
            ("tpu:0", "expected one of"),
            ("cpu:1", "only one cpu"),
            ("auto:0", "only one auto"),
            ("wgpu:x", "got \"x\""),
            ("cuda:-1", "got \"-1\""),
        ] {
            let error = text.parse::<DeviceList>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn failures_are_told_apart_by_what_the_backend_says() {
        let no_room = [
            "wgpu error: Out of Memory",
            "out of device memory allocating 17 bytes\n 0: f",
            "can't allocate buffer of size: 9",
        ];
        for said in no_room {
            assert!(matches!(DeviceFailure::of(said), DeviceFailure::NoRoom(_)), "{said}");
        }
        for said in ["The device is poisoned: x", "Unknown: the wgpu device was lost"] {
            assert!(matches!(DeviceFailure::of(said), DeviceFailure::Lost(_)), "{said}");
        }
        assert_eq!(DeviceFailure::of("a\n  b\n   0: frame\n"), DeviceFailure::Other("a b".into()));
    }

    #[test]
    fn a_panic_becomes_an_error_and_only_while_guarded() {
        let caught = guarded(|| -> Result<(), DeviceFailure> { panic!("out of memory") }, |failure| failure);
        assert!(matches!(caught, Err(DeviceFailure::NoRoom(_))));
        assert!(!IS_GUARDED.get());
        assert_eq!(guarded(|| Ok::<_, DeviceFailure>(IS_GUARDED.get()), |failure| failure), Ok(true));
    }

    #[test]
    fn the_same_device_twice_is_opened_once() {
        let devices = open_all(&"cpu,cpu".parse().unwrap()).unwrap();
        assert_eq!(devices.len(), 2);
        assert!(devices[0].device == devices[1].device);
    }

    #[test]
    fn the_cpu_is_always_there() {
        let opened = open(DeviceChoice::Cpu).unwrap();
        assert!(is_cpu(&opened.device) && is_cpu(&opened.device.autodiff()));
    }
}
