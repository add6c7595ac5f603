//! Runs of whole bundles, with components that compute simple functions instead of models.
//!
//! The recorded runs lie where `LTXC_FIXTURES` says, by default in the workspace's `tests/fixtures`.

#![allow(clippy::unwrap_used)]

mod bench;
mod beside;
mod conditions;
mod draws;
mod fake;
mod generate;
mod golden;
mod guidance;
mod input;
mod manifests;
mod memory;
mod mistakes;
mod parts;
mod passes;
mod plans;
mod recorded;
mod refusals;
mod resume;
mod statistics;
mod takes;
