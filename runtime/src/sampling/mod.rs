//! Everything between the velocity network and the latents it denoises: noise, timesteps, guidance
//! and the solver.
//!
//! The arithmetic follows the reference implementation of LTX-Video in float32, so that a seed and a
//! schedule mean the same video here as there. Nothing in this module knows a tensor library or runs
//! a network: it works on plain slices, row-major, batch size one unless a shape says otherwise.

mod box_muller;
mod fill;
pub mod frames;
pub mod guidance;
mod mersenne_twister;
pub mod noise;
pub mod random;
pub mod replay;
pub mod schedule;
pub mod solver;
pub mod timesteps;

pub use frames::FrameNoise;
pub use guidance::{Guidance, GuidanceError, GuidanceSchedule, Predictions, Row};
pub use noise::{NoiseError, NoiseLayout, NoiseSource, Purpose, Seeded};
pub use random::TorchRng;
pub use replay::Replay;
pub use schedule::{Sampler, Schedule, ScheduleError, SchedulerConfig, Shifting};
pub use solver::{Solver, SolverError};
pub use timesteps::Distinct;
