//! Parity with the reference implementation.
//!
//! Every fixture folder under `$LTXC_FIXTURES` (default: those of the repository) is compiled from every layout it
//! holds and compared with its golden tensors, random draws replayed. Limits in fp32, max abs: 5e-5 per component,
//! 2e-4 per pipeline. A golden that needs a feature of a later version is named and left out.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod components;
mod fixture;
mod formats;
mod host;
mod pipelines;
mod upscalers;
mod weights;

/// Largest difference of a component's output.
const COMPONENT: f32 = 5e-5;
/// Between a video decoded at once and in pieces, as a part of the largest value.
const IN_PIECES: f32 = 1e-5;
/// Largest difference of anything a pipeline makes.
const PIPELINE: f32 = 2e-4;
