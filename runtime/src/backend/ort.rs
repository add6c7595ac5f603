//! ONNX Runtime, loaded as a shared library when it is first needed.
//!
//! The library and its environment exist once per process: the first
//! successful [`open`] decides which library all later ones use. Inputs move
//! into the runtime without a copy; outputs are copied once out of its memory, or
//! stay in it for another call.
//! Telemetry is off, and the library prints nothing: its messages go into a
//! journal that errors quote and [`BackendOptions::log`] hears.

mod journal;
mod library;
mod value;
mod webgpu;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::ort::environment::Environment;
use ::ort::ep::{self, ExecutionProviderDispatch};
use ::ort::logging::LogLevel;
use ::ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ::ort::session::{RunOptions, SessionInputValue, SessionOutputs};

use self::journal::Journal;
use self::library::Places;
use super::{
    Backend, BackendError, BackendOptions, Calls, Held, Port, Provider, Runtime, Session, Values,
    guarded, port,
};
use crate::tensor::Tensor;

/// The process's library, ready to make sessions.
struct Loaded {
    environment: Environment,
    journal: Journal,
}

static LOADED: Mutex<Option<Arc<Loaded>>> = Mutex::new(None);

struct OrtBackend {
    name: String,
    loaded: Arc<Loaded>,
    options: BackendOptions,
}

struct OrtSession {
    session: ::ort::session::Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// The number of the device that results can stay on, where that is not the host's memory.
    device: Option<i32>,
    /// Whether memory that a call needed goes back when it ends.
    shrinks: bool,
}

pub(super) fn open(
    options: &BackendOptions,
    report: &dyn Fn(&str),
) -> Result<Box<dyn Backend>, BackendError> {
    let backend = OrtBackend {
        name: format!("{} ({})", Runtime::OnnxRuntime, options.provider),
        loaded: loaded(options.install, report)?,
        options: options.clone(),
    };
    if options.provider == Provider::WebGpu {
        webgpu::register(&backend.loaded.environment, options.install, report)?;
    }
    // A provider that cannot be registered is reported here, not at the first load.
    backend.builder(&Journal::default(), Calls::Many)?;
    Ok(Box::new(backend))
}

fn loaded(install: bool, report: &dyn Fn(&str)) -> Result<Arc<Loaded>, BackendError> {
    let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = &*slot {
        return Ok(Arc::clone(loaded));
    }
    let library = library::load(&Places::from_env(install), report)?;
    let journal = Journal::default();
    let builder = library
        .with_name("ltxc")
        .with_telemetry(false)
        .with_logger(journal.logger(None));
    let environment = guarded(|| builder.build().map_err(|error| error.to_string()))
        .map_err(library::unusable)?;
    environment.set_log_level(LogLevel::Warning);
    let loaded = Arc::new(Loaded {
        environment,
        journal,
    });
    *slot = Some(Arc::clone(&loaded));
    Ok(loaded)
}

impl OrtBackend {
    /// Whether freed buffers are kept for the next call.
    fn arena(&self, calls: Calls) -> bool {
        self.options.arena && calls != Calls::Turns
    }

    fn builder(&self, journal: &Journal, calls: Calls) -> Result<SessionBuilder, BackendError> {
        let failed = |reason| BackendError::Run {
            runtime: Runtime::OnnxRuntime,
            reason,
        };
        let arena = self.arena(calls);
        let mut builder = self
            .plain_builder(journal, calls)
            .map_err(|error| failed(error.to_string()))?;
        // Each session has threads of its own; those of the ones that wait must not spin beside the one that works.
        let quiet = match calls {
            Calls::Turns => Some(("session.intra_op.allow_spinning", "0")),
            Calls::Beside => Some(("session.force_spinning_stop", "1")),
            _ => (!arena).then_some(("session.force_spinning_stop", "1")),
        };
        if let Some((key, value)) = quiet {
            let quiet = builder.with_config_entry(key, value);
            builder = quiet.map_err(|error| failed(error.to_string()))?;
        }
        self.loaded.journal.drain();
        let builder = match self.options.provider {
            Provider::WebGpu => webgpu::on_device(builder, &self.loaded.environment)?,
            _ => builder,
        };
        builder
            .with_execution_providers(self.providers(arena))
            .map_err(|error| BackendError::Provider {
                provider: self.options.provider,
                reason: self.loaded.journal.explain(error.message()),
            })
    }

    fn plain_builder(&self, journal: &Journal, calls: Calls) -> ::ort::Result<SessionBuilder> {
        let builder = ::ort::session::Session::builder(&self.loaded.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.threads())?
            // One block for all values of a call, planned at the second one: a sixth more memory, and no faster.
            .with_memory_pattern(false)?
            .with_prepacking(self.options.prepack.does(calls))?
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_logger(journal.logger(self.options.log.clone()))?
            .with_log_level(LogLevel::Warning)?;
        Ok(builder)
    }

    fn threads(&self) -> usize {
        let usable = || std::thread::available_parallelism().map_or(1, usize::from);
        self.options.threads.unwrap_or_else(usable)
    }

    /// Without an arena, memory is taken as it is needed, and on a device in pieces that can be given back.
    fn providers(&self, arena: bool) -> Vec<ExecutionProviderDispatch> {
        let device = self.options.device;
        let extend = match arena {
            true => ep::ArenaExtendStrategy::NextPowerOfTwo,
            false => ep::ArenaExtendStrategy::SameAsRequested,
        };
        let cuda = || {
            ep::CUDA::default()
                .with_device_id(device)
                .with_arena_extend_strategy(extend)
                .build()
                .error_on_failure()
        };
        let tensorrt = || {
            ep::TensorRT::default()
                .with_device_id(device)
                .build()
                .error_on_failure()
        };
        let rtx = || {
            ep::NVRTX::default()
                .with_device_id(u32::try_from(device).unwrap_or_default())
                .build()
                .error_on_failure()
        };
        let cpu = ep::CPU::default().with_arena_allocator(arena);
        let mut providers = match self.options.provider {
            Provider::Cpu | Provider::WebGpu => Vec::new(),
            Provider::Cuda => vec![cuda()],
            Provider::TensorRt => vec![tensorrt(), cuda()],
            Provider::TensorRtRtx => vec![rtx(), cuda()],
        };
        providers.push(cpu.build().error_on_failure());
        providers
    }
}

impl Backend for OrtBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn load_for(&self, model: &Path, calls: Calls) -> Result<Box<dyn Session>, BackendError> {
        if !model.is_file() {
            return Err(BackendError::NoModel {
                path: model.to_path_buf(),
            });
        }
        let journal = Journal::default();
        let mut builder = self.builder(&journal, calls)?;
        let session = guarded(|| {
            builder
                .commit_from_file(model)
                .map_err(|error| error.to_string())
        })
        .map_err(|reason| BackendError::Load {
            runtime: Runtime::OnnxRuntime,
            path: model.to_path_buf(),
            reason,
        })?;
        let inputs = value::ports(session.inputs())?;
        let outputs = value::ports(session.outputs())?;
        Ok(Box::new(OrtSession {
            session,
            inputs,
            outputs,
            shrinks: calls == Calls::Beside && self.arena(calls),
            device: match self.options.provider {
                // Results of WebGPU come back to the host.
                Provider::Cpu | Provider::WebGpu => None,
                Provider::Cuda | Provider::TensorRt | Provider::TensorRtRtx => {
                    Some(self.options.device)
                }
            },
        }))
    }
}

impl Session for OrtSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn call(
        &mut self,
        inputs: BTreeMap<String, Tensor>,
        held: &Values,
        keep: bool,
    ) -> Result<Values, BackendError> {
        let faults = port::check(&self.inputs, &inputs, held);
        if !faults.is_empty() {
            return Err(BackendError::Inputs(faults));
        }
        let mut values: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        for (name, value) in held {
            values.push((name, value::from_held(value.as_ref())?));
        }
        let mut tensors = Vec::new();
        for (name, tensor) in inputs {
            tensors.push((name, value::from_tensor(tensor).map_err(run_error)?));
        }
        values.extend(
            tensors
                .iter()
                .map(|(name, value)| (name.as_str(), value.into())),
        );
        match self.device.filter(|_| keep) {
            Some(device) => self.run_on(device, &values),
            None => {
                let options = self.options()?;
                let outputs = self.session.run_with_options(values, &options);
                taken(&self.outputs, &mut outputs.map_err(run_error)?)
            }
        }
    }
}

impl OrtSession {
    fn options(&self) -> Result<RunOptions, BackendError> {
        let mut options = RunOptions::new().map_err(run_error)?;
        if self.shrinks {
            let gives_back = options.set("memory.enable_memory_arena_shrinkage", "cpu:0");
            gives_back.map_err(run_error)?;
        }
        Ok(options)
    }

    /// Runs with results that stay on the device.
    fn run_on(
        &mut self,
        device: i32,
        values: &[(&str, SessionInputValue<'_>)],
    ) -> Result<Values, BackendError> {
        let mut binding = self.session.create_binding().map_err(run_error)?;
        for (name, value) in values {
            binding.bind_input(*name, &**value).map_err(run_error)?;
        }
        let (kind, memory) = (AllocatorType::Device, MemoryType::Default);
        let memory = MemoryInfo::new(AllocationDevice::CUDA, device, kind, memory);
        let memory = memory.map_err(run_error)?;
        for port in &self.outputs {
            let bound = binding.bind_output_to_device(&port.name, &memory);
            bound.map_err(run_error)?;
        }
        let mut outputs = self.session.run_binding(&binding).map_err(run_error)?;
        taken(&self.outputs, &mut outputs)
    }
}

/// Takes the outputs out of the library's hands; they stay where they are.
fn taken(ports: &[Port], outputs: &mut SessionOutputs<'_>) -> Result<Values, BackendError> {
    let take = |port: &Port| {
        let missing = || BackendError::Run {
            runtime: Runtime::OnnxRuntime,
            reason: format!("it made no `{}`", port.name),
        };
        let value = outputs.remove(&port.name).ok_or_else(missing)?;
        let held: Arc<dyn Held> = Arc::new(value::Kept::new(&port.name, value)?);
        Ok((port.name.clone(), held))
    };
    ports.iter().map(take).collect()
}

fn run_error(error: ::ort::Error) -> BackendError {
    BackendError::Run {
        runtime: Runtime::OnnxRuntime,
        reason: error.to_string(),
    }
}
