//! A bundle: the folder that `ltxc compile` writes and `ltxc run` reads.
//!
//! `manifest.json` names everything else. The compiler writes it last, the runtime believes nothing before it has
//! checked it: every path stays inside the folder, every file is there with its size, and every file up to
//! [`HASHED_BYTES`] has its SHA-256; larger weight files are hashed by [`Bundle::verify`] only, because reading
//! them at every start would cost more than it protects.

mod manifest;
mod open;
mod parts;
mod plan;
mod settings;
mod stream;

pub use manifest::{
    CompiledFor, Component, Dense, FileEntry, MANIFEST, Manifest, ModelFacts, Part, PassRecord,
    Per, Port, SizeLimits, Source, TargetInfo, VERSION,
};
pub use open::{Bundle, BundleError, HASHED_BYTES, hash_file, hex};
pub use plan::{
    DecodeVideo, Denoise, EncodeText, Pass, Plan, PrepareLatents, Stage, StageOp, UpscaleLatents,
};
pub use settings::{Scheduled, Settings};
pub use stream::{Along, Flow, Side, StageMemory, State, StepModels, Stream, StreamStage};
