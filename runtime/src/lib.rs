//! Runs compiled bundles.
//!
//! [`run`] executes the plan of a bundle: it turns [`text`] into tokens, calls the compiled components through a
//! [`backend`], keeps the [`tensor`]s between them and does the arithmetic of [`sampling`] itself. [`media`] turns
//! the frames into files. Nothing here knows the compiler: the bundle's manifest is all that the two share.

#![cfg_attr(test, allow(clippy::panic, clippy::unwrap_used))]

pub mod backend;
pub mod calibrate;
pub mod heap;
pub mod media;
pub mod quality;
pub mod run;
pub mod sampling;
pub mod tensor;
pub mod text;
