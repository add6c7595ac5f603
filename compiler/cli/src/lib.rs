//! The command line of `ltxc`, as a library so that tests and examples can take the same way.
//!
//! This is the only crate that prints, prompts, colours or exits. Products go to standard output or the named file,
//! everything else to standard error.

pub mod args;
mod cache;
mod commands;
mod compile;
mod failure;
mod output;
mod parts;
mod pipeline;
mod progress;
mod recipes;
mod scales;
mod session;
mod sizes;
mod stream;
mod write;

pub use commands::dispatch;
pub use compile::{CompileOptions, Compiled, Project, find_preset};
pub use failure::{Failure, Outcome};
pub use sizes::{AskedSize, LatentGrid, latent_grid};
pub use write::{Progress, expand_all, write_bundle};
