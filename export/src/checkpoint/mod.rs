//! Checkpoints as users have them on disk, in one dialect.
//!
//! Whatever the layout (an original single file, a diffusers folder, a Hugging Face or single-file
//! T5, an upscaler), the tensors are known by the keys of the original release and the configuration has the
//! original form. A checkpoint that opens has been checked: every tensor lies inside its file and
//! its length fits its shape. Nothing here reads weights before they are asked for, executes
//! anything from a checkpoint, or decides which tensors a model needs.

mod builder;
mod diffusers;
mod dtype;
mod error;
mod fp8;
mod header;
mod json;
mod lora;
mod outline;
mod scales;
mod scheduler;
mod single_file;
mod source;
mod text_encoder;
mod transformer_dialect;
mod upscaler;
mod vae_dialect;
mod vae_walk;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use dtype::Dtype;
pub use error::CheckpointError;
pub use fp8::Fp8;
pub use lora::{Change, Lora, LoraError};
use source::Source;
pub use upscaler::UpscalerKind;

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
    /// By the key of the weight they belong to.
    scales: BTreeMap<String, f32>,
    rotated: fp8::Rotated,
    loras: Vec<Lora>,
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

    /// Opens a latent upscaler: an original `.safetensors` file, its diffusers folder, or a folder with
    /// `latent_upsampler/` in it.
    pub fn open_upscaler(path: &Path, kind: UpscalerKind) -> Result<Self, CheckpointError> {
        upscaler::open(path, kind)
    }

    /// Opens a file for its tensors and metadata alone.
    fn open_tensors(path: &Path) -> Result<(Self, BTreeMap<String, String>), CheckpointError> {
        let mut builder = builder::Builder::default();
        let metadata = builder.add_file(path, |key| Some(key.to_owned()))?;
        Ok((builder.finish(Value::Null), metadata))
    }

    /// The configuration in the original form: `transformer`, `vae`, `scheduler` and perhaps
    /// `allowed_inference_steps`; for text encoders `text_encoder`, for upscalers `upscaler`.
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

    /// What a weight's elements are multiplied by, if the checkpoint states it.
    pub fn scale(&self, key: &str) -> Option<f32> {
        self.scales.get(key).copied()
    }

    /// Whether the rows of a weight were multiplied by a Hadamard matrix.
    pub fn is_rotated(&self, key: &str) -> bool {
        self.rotated.contains(key)
    }

    /// Whether a weight is more than its stored elements and a scale, so that it is computed anew.
    pub fn is_computed(&self, key: &str) -> bool {
        self.is_rotated(key) || self.loras.iter().any(|lora| lora.changes(key))
    }

    /// Whether only shapes are known, as of an outline.
    pub fn is_outline(&self) -> bool {
        self.sources.is_empty()
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
