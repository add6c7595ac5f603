//! Why a run is refused or fails.

use std::path::PathBuf;

use ltxc_bundle::CompiledFor;
use thiserror::Error;

use super::ports::InputFault;
use super::state::StateError;
use crate::backend::BackendError;
use crate::sampling::{GuidanceError, NoiseError, ScheduleError, SolverError};
use crate::tensor::TensorError;
use crate::text::TextTokenizerError;

/// Why a bundle cannot be run as asked.
#[derive(Debug, Error)]
pub enum RunError {
    /// The bundle was compiled for something this program does not have.
    #[error(
        "the bundle's {what} is `{found}`, which this program does not know: known are {known}"
    )]
    Target {
        /// `runtime` or `provider`.
        what: &'static str,
        /// What the manifest says.
        found: String,
        /// What it may say.
        known: &'static str,
    },
    /// The manifest contradicts itself or asks for what this program cannot do.
    #[error("the bundle cannot be run: {0}; compile it again with this version")]
    Manifest(String),
    /// There is no such component.
    #[error("the bundle has no component `{found}`: it has {known}")]
    Component {
        /// The name given.
        found: String,
        /// The names there are.
        known: String,
    },
    /// A setting makes no sense.
    #[error("`{name}` is {found}: {help}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// What to write.
        help: String,
    },
    /// A medium cannot condition the run.
    #[error("{name}: {why}")]
    Condition {
        /// The medium.
        name: String,
        /// Why not, and what to do.
        why: String,
    },
    /// A cue cannot be followed.
    #[error("the prompt number {} of the timeline: {why}; {help}", cue + 1)]
    Cue {
        /// Which, from 0.
        cue: usize,
        /// Why not.
        why: String,
        /// What to do.
        help: String,
    },
    /// Something failed in the middle of the run.
    #[error("{place}: {reason}")]
    During {
        /// Where, such as a stage and its window.
        place: String,
        /// What.
        reason: Box<RunError>,
    },
    /// The system gives no more threads.
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// What was laid aside cannot be read.
    #[error("latents that waited in the folder for temporary files cannot be read: {0}")]
    Aside(std::io::Error),
    /// Work cannot be kept, or kept work cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Whoever took a finished video wants no more.
    #[error(transparent)]
    Stopped(Box<dyn std::error::Error + Send + Sync>),
    /// A component does not take these inputs.
    #[error("`{component}` cannot take this: {}", sentence(.faults))]
    Inputs {
        /// The component.
        component: String,
        /// Every fault.
        faults: Vec<InputFault>,
    },
    /// A bundle for one size is asked for another.
    #[error(
        "the bundle was compiled for {size} (width x height x frames) and takes nothing else, but `{component}` would get something \
         else: {}; leave out what differs, or compile without --size",
        sentence(.faults)
    )]
    CompiledFor {
        /// What it was compiled for.
        size: CompiledFor,
        /// The component.
        component: String,
        /// Every fault.
        faults: Vec<InputFault>,
    },
    /// A component returned something else than it should.
    #[error("`{component}` should return `{output}` as {expected}, it returned {found}")]
    Output {
        /// The component.
        component: String,
        /// The output.
        output: String,
        /// The shape in words.
        expected: String,
        /// What came in words.
        found: String,
    },
    /// Infinity or no number where a prediction should be.
    #[error(
        "`{component}` returned values that are not finite at step {step} (timestep {sigma}): its number type is too narrow for this \
         checkpoint, or the weights are damaged"
    )]
    NotFinite {
        /// The component.
        component: String,
        /// The step, from 1.
        step: usize,
        /// Its noise level.
        sigma: f32,
    },
    /// A file of the bundle cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// A runtime refused.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The tokenizer refused.
    #[error(transparent)]
    Tokenizer(#[from] TextTokenizerError),
    /// There are no timesteps.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// There is no noise.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// Predictions do not combine.
    #[error(transparent)]
    Guidance(#[from] GuidanceError),
    /// A step cannot be taken.
    #[error(transparent)]
    Solver(#[from] SolverError),
    /// A tensor cannot be made or read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl RunError {
    /// The same with its place, unless somebody outside has stopped the run.
    pub(super) fn during(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Self::Stopped(_) | Self::State(_) => self,
            error => Self::During {
                place: place(),
                reason: Box::new(error),
            },
        }
    }
}

fn sentence(faults: &[InputFault]) -> String {
    let words: Vec<_> = faults.iter().map(InputFault::to_string).collect();
    words.join("; ")
}
