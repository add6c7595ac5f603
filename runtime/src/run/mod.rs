//! Running a bundle: one component, or the whole plan.
//!
//! [`Job`] checks a run's settings against the manifest before anything is loaded. [`Runner`] loads components when
//! they are first needed and calls nothing with inputs that the manifest does not allow. The order of random draws
//! and every number between the components follow the reference pipeline, so a recorded run can be replayed through
//! [`replay()`] and compared tensor by tensor.

mod component;
mod condition;
mod cost;
mod cue;
mod cuts;
mod decode;
mod decoder;
mod denoise;
mod described;
mod encode;
mod error;
mod event;
mod generate;
mod geometry;
mod job;
mod latents;
mod memory;
mod model;
mod parts;
mod pass;
mod passes;
mod plan;
mod ports;
mod prepare;
mod preview;
mod queue;
mod replay;
mod runner;
mod size;
mod solve;
mod start;
mod state;
mod stream;
mod turn;
mod upscale;
mod video;
mod window;

pub use component::{Component, Tensors};
pub use condition::{Condition, Media, Place};
pub use cost::StageCost;
pub use cue::Cue;
pub use cuts::Cuts;
pub use decode::Pieces;
pub use error::RunError;
pub use event::{Event, Listener, StageTime};
pub use generate::{Aside, Observer, Take};
pub use geometry::{Compression, Geometry, MAX_SIZE, VideoSize};
pub use job::Job;
pub use memory::Order;
pub use passes::PassJob;
pub use plan::Call;
pub use ports::InputFault;
pub use replay::{ReplayError, replay};
pub use runner::{Runner, RunnerOptions};
pub use state::{State, StateError};
pub use video::{Decoded, Finished, Frames, Generated, Sink, Stop};
