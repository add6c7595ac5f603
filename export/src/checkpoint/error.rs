//! What can be wrong with a checkpoint. Every message names the file, what was expected and what
//! was found.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a checkpoint cannot be read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what its place or name says.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Unexpected {
        /// The file or folder.
        path: PathBuf,
        /// What is accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// One tensor of a safetensors file is described wrongly.
    #[error("{}: tensor `{key}`: expected {expected}, found {found}", path.display())]
    Tensor {
        /// The safetensors file.
        path: PathBuf,
        /// The key in that file.
        key: String,
        /// What is accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A JSON file or a JSON header does not parse.
    #[error("{}: {what} is not valid: {source}", path.display())]
    Json {
        /// The file that holds the JSON text.
        path: PathBuf,
        /// Which part of the file.
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file holds weights but not the configuration they belong to.
    #[error(
        "{}: the safetensors header holds no `config` metadata. Accepted are the released single files \
         (0.9 and later carry it) and diffusers folders",
        path.display()
    )]
    MissingConfig {
        /// The safetensors file.
        path: PathBuf,
    },
    /// Two source tensors stand for the same canonical key.
    #[error("{}: `{second}` and `{first}` are both `{key}`", path.display())]
    DuplicateKey {
        /// The file that holds the second one.
        path: PathBuf,
        /// The canonical key.
        key: String,
        /// The source key seen first.
        first: String,
        /// The source key seen second.
        second: String,
    },
}

impl CheckpointError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn unexpected(
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Unexpected {
            path: path.to_path_buf(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(super) fn tensor(
        path: &Path,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Tensor {
            path: path.to_path_buf(),
            key: key.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}
