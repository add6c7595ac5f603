//! The front end: YAML files to graphs, pipelines, presets and targets.
//!
//! It reads text and a checkpoint's config; it never sees weight bytes. Every mistake is a [`Diagnostic`] with file,
//! line, column and what to write instead; all mistakes of a phase are collected.

mod diagnostic;
mod expand;
mod files;
mod graph_file;
pub mod library;
mod reader;
mod scope;
mod tree;

pub use diagnostic::{Diagnostic, Source, Span};
pub use expand::expand;
pub use files::{
    ComponentEntry, FileKind, PassEntry, PipelineFile, PresetFile, TargetFile, kind_of,
};
pub use graph_file::GraphFile;
