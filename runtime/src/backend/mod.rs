//! The runtimes that execute compiled models, behind one trait.
//!
//! [`open`] picks a runtime, [`Backend::load`] makes a model ready,
//! [`Session::run`] executes it on [`Tensor`]s, [`Session::call`] also on results
//! that stayed in the runtime's memory. No type of a runtime library leaves this
//! module. Inputs are checked against the model's ports before the
//! runtime sees them. Nothing falls back in silence: a provider that cannot be
//! used is an error, and what is fetched or passed over goes through `report`.

mod held;
mod ort;
mod port;
pub mod setup;
#[cfg(feature = "tract")]
mod tract;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use held::{Held, Values};
pub use port::{Dim, InputFault, Port};
pub use setup::{Package, SetupError, setup};

use crate::tensor::Tensor;

/// A runtime that can load models.
pub trait Backend: Send + Sync {
    /// The runtime and provider, for messages.
    fn name(&self) -> &str;

    /// Makes an ONNX model ready for many calls; external data is looked up beside it.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when the file is missing, malformed or not supported.
    fn load(&self, model: &Path) -> Result<Box<dyn Session>, BackendError> {
        self.load_for(model, Calls::Many)
    }

    /// As [`Self::load`], for few or many calls.
    fn load_for(&self, model: &Path, calls: Calls) -> Result<Box<dyn Session>, BackendError>;

    /// Gives back what is kept for the next call, where the runtime keeps any.
    fn rest(&self) {}
}

/// How often a model will be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Once or twice: what takes long to prepare does not pay.
    Few,
    /// Again and again.
    Many,
    /// Again and again, in turn with other models of the same kind: they share what memory is kept between calls, or
    /// none is.
    Turns,
}

/// Whether weights are rearranged when a model is loaded: calls are faster, loading is slower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prepack {
    /// For many calls.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Prepack {
    /// Whether it is done for so many calls.
    pub fn does(self, calls: Calls) -> bool {
        match self {
            Self::Auto => calls != Calls::Few,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl std::str::FromStr for Prepack {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("write auto, always or never".to_owned()),
        }
    }
}

/// A loaded model.
pub trait Session: Send {
    /// The inputs that [`Session::run`] needs, in the model's order.
    fn inputs(&self) -> &[Port];

    /// The outputs that [`Session::run`] returns, in the model's order.
    fn outputs(&self) -> &[Port];

    /// Executes the model once, on tensors and on results of other calls. With
    /// `keep` the results stay in the device's memory, for calls of sessions of
    /// the same backend; else they come to where the host can read them.
    ///
    /// # Errors
    ///
    /// [`BackendError::Inputs`] lists every input that is missing, unknown or
    /// has another type or shape; [`BackendError::Run`] is the runtime's own.
    fn call(
        &mut self,
        inputs: BTreeMap<String, Tensor>,
        held: &Values,
        keep: bool,
    ) -> Result<Values, BackendError>;

    /// Executes the model once on tensors.
    ///
    /// # Errors
    ///
    /// As [`Session::call`].
    fn run(
        &mut self,
        inputs: BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>, BackendError> {
        let results = self.call(inputs, &Values::new(), false)?;
        results
            .into_iter()
            .map(|(name, value)| Ok((name, value.tensor()?)))
            .collect()
    }
}

/// The library that executes models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runtime {
    /// ONNX Runtime, a shared library found or fetched at run time.
    #[default]
    OnnxRuntime,
    /// tract, compiled in with the cargo feature `tract`; CPU only.
    Tract,
}

/// The hardware path within a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// NVIDIA CUDA; operators without a CUDA kernel run on the processor.
    Cuda,
    /// NVIDIA TensorRT, with CUDA for what it does not take.
    TensorRt,
    /// NVIDIA TensorRT for RTX, with CUDA for what it does not take.
    TensorRtRtx,
    /// WebGPU (Vulkan, Metal, Direct3D 12) by a plugin; operators without a kernel run on the processor.
    WebGpu,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runtime::OnnxRuntime => "ONNX Runtime",
            Runtime::Tract => "tract",
        })
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Provider::Cpu => "CPU",
            Provider::Cuda => "CUDA",
            Provider::TensorRt => "TensorRT",
            Provider::TensorRtRtx => "TensorRT for RTX",
            Provider::WebGpu => "WebGPU",
        })
    }
}

/// The most threads that [`BackendOptions::threads`] may name.
pub const MAX_THREADS: usize = 1024;

/// Receives the warnings of a runtime, one message a call.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How models are to be executed.
#[derive(Clone)]
pub struct BackendOptions {
    /// The library.
    pub runtime: Runtime,
    /// The hardware path.
    pub provider: Provider,
    /// The device's number where the provider has several.
    pub device: i32,
    /// Threads within an operator; by default as many as the process may use.
    /// tract always uses one.
    pub threads: Option<usize>,
    /// Rearrange weights at load, where the runtime does that.
    pub prepack: Prepack,
    /// Let [`open`] call [`setup()`] when no ONNX Runtime library is found.
    pub install: bool,
    /// Receives warnings; without it they are dropped.
    pub log: Option<Log>,
}

impl Default for BackendOptions {
    fn default() -> BackendOptions {
        BackendOptions {
            runtime: Runtime::default(),
            provider: Provider::default(),
            device: 0,
            threads: None,
            prepack: Prepack::default(),
            install: true,
            log: None,
        }
    }
}

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The library could not be fetched.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No library was found and fetching one was not allowed.
    #[error(
        "no ONNX Runtime library was found: run `ltxc setup`, or set ORT_DYLIB_PATH to the \
         library of version {minimum} or later"
    )]
    NoLibrary {
        /// The oldest version that works.
        minimum: String,
    },
    /// The library is there but cannot be used.
    #[error(
        "the ONNX Runtime library cannot be used ({reason}): set ORT_DYLIB_PATH to the library of \
         version {minimum} or later, or unset it and run `ltxc setup`"
    )]
    Library {
        /// The loader's words.
        reason: String,
        /// The oldest version that works.
        minimum: String,
    },
    /// The runtime was not compiled in.
    #[error("this build has no {0}: build it with `--features tract` or choose onnxruntime")]
    NotBuilt(Runtime),
    /// No threads, or more than any machine runs well.
    #[error("{0} threads were asked for: give a number from 1 to {MAX_THREADS}")]
    Threads(usize),
    /// The runtime has no such provider.
    #[error("{runtime} has no {provider} provider")]
    NoProvider {
        /// The runtime asked for.
        runtime: Runtime,
        /// The provider asked for.
        provider: Provider,
    },
    /// The provider cannot be used on this machine or with this library.
    #[error(
        "the {provider} provider cannot be used ({reason}): install its libraries and set \
         ORT_DYLIB_PATH to an ONNX Runtime built for it, or choose the CPU provider"
    )]
    Provider {
        /// The provider asked for.
        provider: Provider,
        /// The library's words.
        reason: String,
    },
    /// There is no such model file.
    #[error("there is no model file {}", path.display())]
    NoModel {
        /// The path as given.
        path: PathBuf,
    },
    /// The runtime does not accept the model.
    #[error("{runtime} cannot load {}: {reason}", path.display())]
    Load {
        /// The runtime that refused.
        runtime: Runtime,
        /// The model file.
        path: PathBuf,
        /// The runtime's words.
        reason: String,
    },
    /// An input or output has a type that [`Tensor`] cannot hold.
    #[error("the model's port `{name}` has the type {found}, which is not supported")]
    PortType {
        /// The port's name.
        name: String,
        /// The type in the runtime's words.
        found: String,
    },
    /// Inputs that do not fit the model.
    #[error("{}", port::sentence(.0))]
    Inputs(Vec<InputFault>),
    /// The runtime failed while running.
    #[error("{runtime} failed: {reason}")]
    Run {
        /// The runtime that failed.
        runtime: Runtime,
        /// The runtime's words.
        reason: String,
    },
}

/// Opens a runtime; `report` hears of everything that takes a while or is
/// passed over.
///
/// # Errors
///
/// [`BackendError`] when the runtime or the provider is not available.
pub fn open(
    options: &BackendOptions,
    report: &dyn Fn(&str),
) -> Result<Box<dyn Backend>, BackendError> {
    if let Some(threads) = options
        .threads
        .filter(|threads| !(1..=MAX_THREADS).contains(threads))
    {
        return Err(BackendError::Threads(threads));
    }
    match options.runtime {
        Runtime::OnnxRuntime => ort::open(options, report),
        #[cfg(feature = "tract")]
        Runtime::Tract => tract::open(options),
        #[cfg(not(feature = "tract"))]
        Runtime::Tract => Err(BackendError::NotBuilt(Runtime::Tract)),
    }
}

/// Calls into a library that asserts where it should return an error.
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!(
            "the library gave up: {}",
            words.unwrap_or("without a word")
        ))
    })
}
