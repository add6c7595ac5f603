//! How far the values that linear layers and attention read reach, over whole runs.
//!
//! [`Watching`] is a backend around another: of the models it is told of it loads ones that also give out magnitudes
//! ([`Watched`]), takes those from every call and adds them to [`Ranges`], and hands on the rest. [`Range::magnitude`]
//! says what to quantise for.

mod backend;
mod range;

pub use backend::{Watched, WatchedModel, Watching};
pub use range::{Method, Range, Ranges, Smoothed};
