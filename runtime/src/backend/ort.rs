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
mod memory;
mod pool;
mod value;
mod webgpu;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::ort::environment::{Environment, GlobalThreadPoolOptions};
use ::ort::ep::{self, ExecutionProviderDispatch};
use ::ort::logging::LogLevel;
use ::ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ::ort::session::{SessionInputValue, SessionOutputs};

use self::journal::Journal;
use self::library::Places;
use self::memory::Memory;
use super::{
    Backend, BackendError, BackendOptions, Calls, Held, Port, Provider, Runtime, Session, Values,
    guarded, port,
};
use crate::tensor::Tensor;

/// The process's library, ready to make sessions.
struct Loaded {
    environment: Environment,
    journal: Journal,
    /// Of the one pool of threads that sessions share.
    threads: usize,
    /// Of calls on a processor.
    memory: &'static Memory,
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
    /// After `session`, whose memory it gives back.
    _memory: Option<Rest>,
}

/// Gives back kept memory when a model is dropped.
struct Rest(&'static Memory);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.rest();
    }
}

pub(super) fn open(
    options: &BackendOptions,
    report: &dyn Fn(&str),
) -> Result<Box<dyn Backend>, BackendError> {
    let backend = OrtBackend {
        name: format!("{} ({})", Runtime::OnnxRuntime, options.provider),
        loaded: loaded(options, report)?,
        options: options.clone(),
    };
    if options.provider == Provider::WebGpu {
        webgpu::register(&backend.loaded.environment, options.install, report)?;
    }
    // A provider that cannot be registered is reported here, not at the first load.
    backend.builder(&Journal::default(), Calls::Many)?;
    Ok(Box::new(backend))
}

fn loaded(options: &BackendOptions, report: &dyn Fn(&str)) -> Result<Arc<Loaded>, BackendError> {
    let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = &*slot {
        return Ok(Arc::clone(loaded));
    }
    let library = library::load(&Places::from_env(options.install), report)?;
    let journal = Journal::default();
    let threads = threads(options);
    let made = guarded(|| {
        let pool = thread_pool(threads).map_err(|error| error.to_string())?;
        let builder = library
            .with_name("ltxc")
            .with_telemetry(false)
            .with_global_thread_pool(pool)
            .with_logger(journal.logger(None));
        let environment = builder.build().map_err(|error| error.to_string())?;
        let memory = Memory::register(&environment)?;
        Ok((environment, memory))
    });
    let (environment, memory) = made.map_err(library::unusable)?;
    environment.set_log_level(LogLevel::Warning);
    let loaded = Arc::new(Loaded {
        environment,
        journal,
        threads,
        memory,
    });
    *slot = Some(Arc::clone(&loaded));
    Ok(loaded)
}

/// Threads that wait do not spin: beside models that take turns, the processor is another's.
fn thread_pool(threads: usize) -> ::ort::Result<GlobalThreadPoolOptions> {
    GlobalThreadPoolOptions::default()
        .with_inter_threads(1)?
        .with_intra_threads(threads)?
        .with_spin_control(false)
}

fn threads(options: &BackendOptions) -> usize {
    let usable = || std::thread::available_parallelism().map_or(1, usize::from);
    options.threads.unwrap_or_else(usable)
}

impl OrtBackend {
    fn builder(&self, journal: &Journal, calls: Calls) -> Result<SessionBuilder, BackendError> {
        let failed = |reason| BackendError::Run {
            runtime: Runtime::OnnxRuntime,
            reason,
        };
        let builder = self
            .plain_builder(journal, calls)
            .map_err(|error| failed(error.to_string()))?;
        self.loaded.journal.drain();
        let builder = match self.options.provider {
            Provider::WebGpu => webgpu::on_device(builder, &self.loaded.environment)?,
            _ => builder,
        };
        builder
            .with_execution_providers(self.providers(calls))
            .map_err(|error| BackendError::Provider {
                provider: self.options.provider,
                reason: self.loaded.journal.explain(error.message()),
            })
    }

    fn plain_builder(&self, journal: &Journal, calls: Calls) -> ::ort::Result<SessionBuilder> {
        let threads = threads(&self.options);
        let mut builder = ::ort::session::Session::builder(&self.loaded.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            // One block for all values of a call, planned at the second one: a sixth more memory, and no faster.
            .with_memory_pattern(false)?
            .with_prepacking(self.options.prepack.does(calls))?
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_logger(journal.logger(self.options.log.clone()))?
            .with_log_level(LogLevel::Warning)?;
        if threads != self.loaded.threads {
            builder = builder
                .with_independent_thread_pool()?
                .with_intra_threads(threads)?;
        }
        if self.on_host() {
            let (key, value) = memory::SHARED;
            builder = builder.with_config_entry(key, value)?;
        }
        Ok(builder)
    }

    fn on_host(&self) -> bool {
        self.options.provider == Provider::Cpu
    }

    /// In turn with others, memory of a device is taken in pieces that can be given back.
    fn providers(&self, calls: Calls) -> Vec<ExecutionProviderDispatch> {
        let device = self.options.device;
        let extend = match calls {
            Calls::Turns => ep::ArenaExtendStrategy::SameAsRequested,
            _ => ep::ArenaExtendStrategy::NextPowerOfTwo,
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
        let cpu = ep::CPU::default().with_arena_allocator(calls != Calls::Turns);
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

    fn rest(&self) {
        self.loaded.memory.rest();
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
            _memory: (self.on_host() && calls != Calls::Turns).then(|| Rest(self.loaded.memory)),
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
                let outputs = self.session.run(values);
                taken(&self.outputs, &mut outputs.map_err(run_error)?)
            }
        }
    }
}

impl OrtSession {
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
    let reason = error.to_string();
    BackendError::Run {
        runtime: Runtime::OnnxRuntime,
        reason: match reason.contains("bad_alloc") {
            true => format!("there is not enough memory ({reason})"),
            false => reason,
        },
    }
}
