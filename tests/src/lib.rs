//! What the tests share: fixtures, random values, random graphs.
//!
//! Helpers panic with a message: a broken fixture is a failed test.
#![allow(clippy::panic)]

pub mod fixture;
pub mod numbers;
pub mod random_graph;
