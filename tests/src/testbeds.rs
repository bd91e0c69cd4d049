//! What the programs share that measure something on many testbeds: a reference model that several are tuned from, and results
//! kept as they come, so that a long run goes on where it was.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use whence_backend::device::{self, Device, DeviceChoice};
use whence_backend::organism::OrganismConfig;
use whence_backend::organism::corpus::Corpus;
use whence_backend::organism::models::Reference;
use whence_backend::progress::silent;

/// What stops such a program.
pub type Failure = Box<dyn Error>;

/// How a program ends; a failure is printed.
pub fn exit_code(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `results.jsonl` of a folder: those of earlier runs, and those that come.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    /// All of them, in the order in which they came.
    pub all: Vec<Value>,
}

impl Results {
    /// Opens a folder, made if it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or a line cannot be read.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let path = folder.join("results.jsonl");
        let all = match path.is_file() {
            true => fs::read_to_string(&path)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        Ok(Self { path, all })
    }

    /// Keeps a result.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn push(&mut self, result: Value) -> Result<(), Failure> {
        writeln!(OpenOptions::new().create(true).append(true).open(&self.path)?, "{result}")?;
        self.all.push(result);
        Ok(())
    }
}

/// A reference model and where it lies.
pub struct Place {
    /// The model.
    pub reference: Reference,
    /// Its folder.
    pub folder: PathBuf,
    /// Where it was trained.
    pub device: Device,
}

impl Place {
    /// Trains the reference model of a seed, as `whence organism` does, and saves it below `folder`.
    ///
    /// # Errors
    ///
    /// When training fails or the model cannot be saved.
    pub fn of(seed: u64, folder: &Path) -> Result<Self, Failure> {
        let device = device::open(DeviceChoice::Cpu)?.device;
        let config = OrganismConfig::standard(seed);
        let corpus = Corpus::draw(&config);
        let reference = Reference::teach(&config, &corpus, &device, &silent, &mut |_| {})?;
        let folder = folder.join("reference");
        reference.save(&reference.model, &folder)?;
        Ok(Self { reference, folder, device })
    }
}
