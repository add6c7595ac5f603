//! Running a bundle: one component, or the whole plan.
//!
//! [`Job`] checks a run's settings against the manifest before anything is loaded. [`Runner`] loads components when
//! they are first needed and calls nothing with inputs that the manifest does not allow. The order of random draws
//! and every number between the components follow the reference pipeline, so a recorded run can be replayed through
//! [`replay()`] and compared tensor by tensor.

mod component;
mod decode;
mod denoise;
mod encode;
mod error;
mod event;
mod generate;
mod geometry;
mod job;
mod plan;
mod ports;
mod replay;
mod runner;
mod size;
mod solve;

pub use component::{Component, Tensors};
pub use error::RunError;
pub use event::{Event, StageTime};
pub use generate::{Generated, Observer};
pub use geometry::{Geometry, MAX_SIZE, VideoSize};
pub use job::Job;
pub use ports::InputFault;
pub use replay::{ReplayError, replay};
pub use runner::{Runner, RunnerOptions};
