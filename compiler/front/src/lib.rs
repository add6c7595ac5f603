//! The front end: YAML files to graphs, pipelines, presets, targets and recipes; released configs become presets.
//!
//! It reads text and a checkpoint's config; it never sees weight bytes. Every mistake is a [`Diagnostic`] with file,
//! line, column and what to write instead; all mistakes of a phase are collected.

mod diagnostic;
mod expand;
mod files;
mod graph_file;
mod kind;
pub mod library;
mod overrides;
mod reader;
mod released;
mod scope;
mod section;
mod syntax;
mod target_file;
mod timeline_file;
mod tree;

pub use diagnostic::{Diagnostic, Source, Span};
pub use expand::expand;
pub use files::{ComponentEntry, PipelineFile, PresetFile, Role};
pub use graph_file::GraphFile;
pub use kind::{FileKind, kind_of, plain_value};
pub use overrides::section_of;
pub use section::{Placed, Section};
pub use target_file::{PassEntry, RecipeFile, TargetFile};
pub use timeline_file::{Moment, TimelineEntry, TimelineFile};
