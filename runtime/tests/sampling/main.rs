//! Sampling against tensors recorded from the reference implementation.
//!
//! The fixtures lie where `LTXC_FIXTURES` says, by default in the workspace's `tests/fixtures`.

mod guidance;
mod noise;
mod schedule;
mod solver;
mod support;
mod torch_rng;
