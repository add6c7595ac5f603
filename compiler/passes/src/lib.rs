//! Rewriting.
pub mod target;
