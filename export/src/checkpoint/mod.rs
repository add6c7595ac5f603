//! Checkpoints as users have them on disk, in one dialect.
//!
//! Whatever the layout (an original single file, a diffusers folder, a Hugging Face or single-file
//! T5), the tensors are known by the keys of the original release and the configuration has the
//! original form. A checkpoint that opens has been checked: every tensor lies inside its file and
//! its length fits its shape. Nothing here reads weights before they are asked for, executes
//! anything from a checkpoint, or decides which tensors a model needs.

mod builder;
mod diffusers;
mod dtype;
mod error;
mod header;
mod json;
mod scheduler;
mod single_file;
mod source;
mod text_encoder;
mod transformer_dialect;
mod vae_dialect;
mod vae_walk;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use dtype::Dtype;
pub use error::CheckpointError;
use source::Source;

/// Where one tensor lies and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The key in the original single-file dialect.
    pub key: String,
    /// The key in the file.
    pub source_key: String,
    /// The stored element type.
    pub dtype: Dtype,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The position in [`Checkpoint::sources`].
    pub file: usize,
    /// The first byte, counted from the start of the file.
    pub offset: u64,
    /// The length in bytes.
    pub bytes: u64,
}

/// An open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    tensors: BTreeMap<String, TensorInfo>,
    sources: Vec<Source>,
    paths: Vec<PathBuf>,
    notes: Vec<String>,
    config: Value,
}

impl Checkpoint {
    /// Opens an original `.safetensors` file or a diffusers folder.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        if path.is_dir() {
            diffusers::open(path)
        } else {
            single_file::open(path, None)
        }
    }

    /// As [`Checkpoint::open`], with the top-level parts of `config` (`transformer`, `vae`,
    /// `scheduler`) in place of those that the checkpoint states. This is how a single file without
    /// `config` metadata is opened.
    pub fn open_with_config(path: &Path, config: &Value) -> Result<Self, CheckpointError> {
        let Some(given) = config.as_object() else {
            return Err(CheckpointError::unexpected(
                path,
                "a given configuration that is a JSON object",
                "another value",
            ));
        };
        let mut opened = if path.is_dir() {
            diffusers::open(path)?
        } else {
            single_file::open(path, Some(config))?
        };
        for (part, value) in given {
            opened.config[part.as_str()] = value.clone();
            opened
                .notes
                .push(format!("{part}: taken from the given configuration"));
        }
        Ok(opened)
    }

    /// Opens a T5 encoder: a Hugging Face folder (or a folder with `text_encoder/` in it), or a
    /// single file.
    pub fn open_text_encoder(path: &Path) -> Result<Self, CheckpointError> {
        text_encoder::open(path)
    }

    /// The configuration in the original form: `transformer`, `vae`, `scheduler` and perhaps
    /// `allowed_inference_steps`; for text encoders `text_encoder`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The tensor with this canonical key.
    pub fn tensor(&self, key: &str) -> Option<&TensorInfo> {
        self.tensors.get(key)
    }

    /// All tensors, ordered by canonical key.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// Gives `f` the stored bytes of a tensor of this checkpoint. They are mapped for the call and
    /// released after it. Fails if the file changed its size since it was opened. The bytes are
    /// little-endian and may be unaligned.
    pub fn with_bytes<R>(
        &self,
        tensor: &TensorInfo,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CheckpointError> {
        self.with_range(tensor, 0, tensor.bytes, f)
    }

    /// As [`Checkpoint::with_bytes`], for `bytes` bytes from `start` on of the tensor.
    pub fn with_range<R>(
        &self,
        tensor: &TensorInfo,
        start: u64,
        bytes: u64,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CheckpointError> {
        let inside = start
            .checked_add(bytes)
            .is_some_and(|end| end <= tensor.bytes);
        let known = self
            .tensors
            .get(&tensor.key)
            .filter(|known| *known == tensor && inside);
        let Some(source) = known.and_then(|known| self.sources.get(known.file)) else {
            let path = self.paths.first().map_or(Path::new(""), PathBuf::as_path);
            let expected = "a range of a tensor of this checkpoint";
            return Err(CheckpointError::tensor(
                path,
                &tensor.key,
                expected,
                "a foreign one",
            ));
        };
        source.with_bytes(tensor.offset + start, bytes, f)
    }

    /// The files, in the order that [`TensorInfo::file`] counts.
    pub fn sources(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Everything that was inferred, assumed or overridden, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
