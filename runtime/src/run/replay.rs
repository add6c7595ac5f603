//! The draws of a recorded run, for comparing two programs on the same noise.

use std::path::Path;

use thiserror::Error;

use crate::sampling::{NoiseError, Replay};
use crate::tensor::file::FileError;
use crate::tensor::{TensorError, file};

/// What the name of a recorded draw begins with; a number follows, so that names sort in the order of the draws.
const PREFIX: &str = "rng.";

/// Why a recording cannot be used.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The file is not readable.
    #[error(transparent)]
    File(#[from] FileError),
    /// A draw is no noise.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A draw is inconsistent.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// There is nothing to replay.
    #[error("{0} holds no recorded draws: their names begin with `{PREFIX}`")]
    Empty(String),
}

/// Reads the tensors `rng.000…`, `rng.001…` of a safetensors file as draws in this order.
pub fn replay(path: &Path) -> Result<Replay, ReplayError> {
    let mut draws = Vec::new();
    for (name, tensor) in file::read(path)? {
        if name.starts_with(PREFIX) {
            draws.push((name, tensor.shape().to_vec(), tensor.to_f32()?));
        }
    }
    if draws.is_empty() {
        return Err(ReplayError::Empty(path.display().to_string()));
    }
    Ok(Replay::new(draws)?)
}
