//! What can be wrong with a tokenizer file.

use std::path::PathBuf;

use thiserror::Error;

/// Why a tokenizer cannot be read.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder holds no tokenizer.
    #[error("{}: expected tokenizer.json or spiece.model, here or in tokenizer/, found neither", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not a T5 tokenizer.
    #[error("{}: not a usable tokenizer: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
}
