//! The owner of a bundle's components.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ltxc_bundle::{Bundle, Manifest, StageOp, TargetInfo};

use super::RunError;
use super::component::{Component, Tensors, check_inputs};
use super::decode::Pieces;
use super::model::{Files, Model};
use super::parts::LoadedPart;
use super::ports::Spec;
use super::turn::Turns;
use crate::backend::{self, Backend, BackendOptions, Calls, Provider, Runtime, Session};

/// How a bundle is run.
#[derive(Clone, Default)]
pub struct RunnerOptions {
    /// Threads, device and memory; its runtime and provider are replaced by the bundle's.
    pub backend: BackendOptions,
    /// Keep components in memory between stages and runs, instead of one at a time.
    pub keep: bool,
    /// Videos denoised in one call where a run makes several; 0 and 1 are one after the other.
    pub together: usize,
    /// How much of a video is decoded at a time.
    pub pieces: Pieces,
    /// Bytes of weights that may be in memory at a time: what is needed next is kept as long as it fits, and what decodes
    /// and encodes is cut so that it needs no more. Without it one component is there at a time, and the decoder beside the
    /// transformer where it works beside.
    pub memory: Option<u64>,
    /// Decode after denoising, never beside it.
    pub sequential: bool,
}

/// A bundle with the runtime it was compiled for. Components are loaded when they are first needed.
pub struct Runner {
    pub(super) bundle: Bundle,
    pub(super) backend: Arc<dyn Backend>,
    specs: BTreeMap<String, Spec>,
    keep: bool,
    together: usize,
    pieces: Pieces,
    memory: Option<u64>,
    sequential: bool,
    loaded: Mutex<Loaded>,
    turns: Turns,
}

/// Components in memory.
#[derive(Default)]
struct Loaded {
    components: BTreeMap<String, Arc<Component>>,
    /// Those that stay when they are loaded, where not all do.
    kept: BTreeSet<String>,
}

impl Runner {
    /// Opens the bundle's runtime; `report` hears of everything that takes a while.
    pub fn open(
        bundle: Bundle,
        options: &RunnerOptions,
        report: &dyn Fn(&str),
    ) -> Result<Self, RunError> {
        Self::open_within(bundle, options, report, |backend| backend)
    }

    /// As [`Self::open`], with the runtime inside what `wrap` makes of it.
    pub fn open_within(
        bundle: Bundle,
        options: &RunnerOptions,
        report: &dyn Fn(&str),
        wrap: impl FnOnce(Box<dyn Backend>) -> Box<dyn Backend>,
    ) -> Result<Self, RunError> {
        let options_of_bundle = BackendOptions {
            runtime: runtime(&bundle.manifest.target)?,
            provider: provider(&bundle.manifest.target)?,
            ..options.backend.clone()
        };
        let specs = specs(&bundle.manifest)?;
        let backend = wrap(backend::open(&options_of_bundle, report)?);
        let mut runner = Self::assemble(bundle, specs, backend, options.keep);
        runner.together = options.together.max(1);
        runner.pieces = options.pieces;
        runner.memory = options.memory;
        runner.sequential = options.sequential;
        Ok(runner)
    }

    /// Denoises this many videos in one call where a run makes several.
    pub fn with_together(mut self, together: usize) -> Self {
        self.together = together.max(1);
        self
    }

    /// Decodes so much of a video at a time.
    pub fn with_pieces(mut self, pieces: Pieces) -> Self {
        self.pieces = pieces;
        self
    }

    /// Needs so many bytes at most, where it can.
    pub fn with_memory(mut self, memory: Option<u64>) -> Self {
        self.memory = memory;
        self
    }

    /// Decodes after denoising, or beside it where that is possible.
    pub fn with_sequential(mut self, sequential: bool) -> Self {
        self.sequential = sequential;
        self
    }

    pub(super) fn memory(&self) -> Option<u64> {
        self.memory
    }

    pub(super) fn sequential(&self) -> bool {
        self.sequential
    }

    pub(super) fn pieces(&self) -> Pieces {
        self.pieces
    }

    pub(super) fn together(&self) -> usize {
        self.together
    }

    /// Uses a runtime that is already there, whatever the bundle was compiled for.
    pub fn with_backend(
        bundle: Bundle,
        backend: Box<dyn Backend>,
        keep: bool,
    ) -> Result<Self, RunError> {
        let specs = specs(&bundle.manifest)?;
        Ok(Self::assemble(bundle, specs, backend, keep))
    }

    fn assemble(
        bundle: Bundle,
        specs: BTreeMap<String, Spec>,
        backend: Box<dyn Backend>,
        keep: bool,
    ) -> Self {
        Self {
            bundle,
            backend: Arc::from(backend),
            specs,
            keep,
            together: 1,
            pieces: Pieces::default(),
            memory: None,
            sequential: false,
            loaded: Mutex::default(),
            turns: Turns::default(),
        }
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What the bundle says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.bundle.manifest
    }

    /// The runtime and provider, for messages.
    pub fn backend_name(&self) -> &str {
        self.backend.name()
    }

    /// A component, loaded if it is not kept from before.
    pub fn component(&self, name: &str) -> Result<Arc<Component>, RunError> {
        if let Some(component) = self.loaded().components.get(name) {
            return Ok(Arc::clone(component));
        }
        let (spec, described) = (self.spec(name)?, self.described(name)?);
        let (mut parts, calls) = (Vec::new(), self.calls_of(name));
        let dense = described.dense.as_ref();
        for (at, part) in described.parts.iter().enumerate() {
            let dense = dense.and_then(|dense| dense.parts.get(at));
            let model = self.model(&part.model, dense, calls)?;
            parts.push(LoadedPart::new(part.clone(), model));
        }
        let dense = dense.map(|dense| &dense.model);
        let last = self.model(&described.model, dense, calls)?;
        let component = Arc::new(Component::new(name, spec.clone(), parts, last));
        let mut loaded = self.loaded();
        if self.keep || loaded.kept.contains(name) {
            let kept = Arc::clone(&component);
            loaded.components.insert(name.to_owned(), kept);
        }
        Ok(component)
    }

    /// Drops all components but these, which stay from now on.
    pub(super) fn keep_only(&self, kept: BTreeSet<String>) {
        let mut loaded = self.loaded();
        let stays = |name: &String, _: &mut Arc<Component>| self.keep || kept.contains(name);
        loaded.components.retain(stays);
        loaded.kept = kept;
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one component. The inputs are checked before it is loaded.
    pub fn exec(&self, component: &str, inputs: Tensors) -> Result<Tensors, RunError> {
        check_inputs(component, self.spec(component)?, &inputs)?;
        self.component(component)?.run(inputs)
    }

    /// A model file of the bundle, and the one that stands for it at dense steps.
    fn model(&self, usual: &str, dense: Option<&String>, calls: Calls) -> Result<Model, RunError> {
        let files = Files {
            usual: self.bundle.path(usual),
            dense: dense
                .filter(|dense| *dense != usual)
                .map(|dense| self.bundle.path(dense)),
        };
        Ok(Model::open(&self.backend, files, calls, self.keep)?)
    }

    /// A text encoder that is dropped after its stage is called once for a prompt.
    fn calls_of(&self, component: &str) -> Calls {
        let encodes =
            self.bundle.manifest.plan.stages.iter().any(
                |stage| matches!(&stage.op, StageOp::EncodeText(op) if op.component == component),
            );
        match encodes && !self.keep {
            true => Calls::Few,
            false => Calls::Many,
        }
    }

    /// A model file of the bundle, ready to run in turn with others.
    pub(super) fn model_in_turns(&self, file: &str) -> Result<Box<dyn Session>, RunError> {
        let file = self.bundle.path(file);
        Ok(self.backend.load_for(&file, Calls::Turns)?)
    }

    pub(super) fn spec(&self, name: &str) -> Result<&Spec, RunError> {
        self.specs.get(name).ok_or_else(|| self.unknown(name))
    }

    pub(super) fn described(&self, name: &str) -> Result<&ltxc_bundle::Component, RunError> {
        let component = self.bundle.manifest.components.get(name);
        component.ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> RunError {
        let known: Vec<_> = self.specs.keys().map(|name| format!("`{name}`")).collect();
        RunError::Component {
            found: name.to_owned(),
            known: known.join(", "),
        }
    }
}

fn specs(manifest: &Manifest) -> Result<BTreeMap<String, Spec>, RunError> {
    let spec = |(name, component): (&String, _)| Ok((name.clone(), Spec::new(name, component)?));
    manifest.components.iter().map(spec).collect()
}

fn runtime(target: &TargetInfo) -> Result<Runtime, RunError> {
    match target.runtime.as_str() {
        "onnxruntime" => Ok(Runtime::OnnxRuntime),
        "tract" => Ok(Runtime::Tract),
        other => Err(RunError::Target {
            what: "runtime",
            found: other.to_owned(),
            known: "`onnxruntime`, `tract`",
        }),
    }
}

fn provider(target: &TargetInfo) -> Result<Provider, RunError> {
    match target.provider.as_str() {
        "cpu" => Ok(Provider::Cpu),
        "cuda" => Ok(Provider::Cuda),
        "tensorrt" => Ok(Provider::TensorRt),
        "tensorrt_rtx" => Ok(Provider::TensorRtRtx),
        "webgpu" => Ok(Provider::WebGpu),
        other => Err(RunError::Target {
            what: "provider",
            found: other.to_owned(),
            known: "`cpu`, `cuda`, `tensorrt`, `tensorrt_rtx`, `webgpu`",
        }),
    }
}
