//! What can go wrong when pictures and videos are read, in words for the person who named them.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::MediaError;

/// The formats that need no other program.
pub(super) const BUILT_IN: &str =
    "PNG, JPEG, WebP, BMP, GIF, MP4 and MOV with H.264, and folders of numbered pictures";

/// Why an input cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The input.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Not a file and not a folder.
    #[error("{} is neither a file nor a folder; name a picture, a video or a folder of pictures", path.display())]
    NotAFile {
        /// The input.
        path: PathBuf,
    },
    /// Nothing in it.
    #[error("{} is empty", path.display())]
    Empty {
        /// The input.
        path: PathBuf,
    },
    /// No frame was asked for.
    #[error("{}: 0 frames were asked for; ask for at least 1", path.display())]
    NothingAsked {
        /// The input.
        path: PathBuf,
    },
    /// Not one of the formats that are built in, and nothing else may or can read it.
    #[error("{}: {what} is not built in (built in are {BUILT_IN}); {help}", path.display())]
    Unsupported {
        /// The input.
        path: PathBuf,
        /// What it is, as far as is known.
        what: String,
        /// What to do.
        help: &'static str,
    },
    /// Damaged before the first frame.
    #[error("{}: this {format} cannot be read: {reason}", path.display())]
    Broken {
        /// The input.
        path: PathBuf,
        /// What it is.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Damaged after some frames.
    #[error(
        "{}: this {format} is damaged after frame {frames}: {reason}; \
         ask for at most {frames} frames, or repair the file", path.display()
    )]
    Tail {
        /// The input.
        path: PathBuf,
        /// What it is.
        format: &'static str,
        /// Frames that can be read.
        frames: usize,
        /// What is wrong with the next.
        reason: String,
    },
    /// A frame is larger than allowed.
    #[error(
        "{}: a frame of {width}x{height} is too large; a side may have 1 to {max_side} pixels", path.display()
    )]
    TooLarge {
        /// The input.
        path: PathBuf,
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// The most of either.
        max_side: u32,
    },
    /// The frames need more memory than allowed.
    #[error(
        "{}: {frames} frames of {width}x{height} need {} MiB, more than the limit of {} MiB; \
         read fewer frames, or make the input smaller",
        path.display(), needed >> 20, limit >> 20
    )]
    TooMuch {
        /// The input.
        path: PathBuf,
        /// Frames.
        frames: usize,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A frame has another size than the first.
    #[error(
        "{}: this frame has {}x{} pixels, but the first has {}x{}; all must have one size",
        path.display(), got.0, got.1, first.0, first.1
    )]
    SizeChanges {
        /// The picture, or the video.
        path: PathBuf,
        /// Columns and rows of the frame.
        got: (u32, u32),
        /// Columns and rows of the first frame.
        first: (u32, u32),
    },
    /// A folder or a pattern does not name a sequence of pictures.
    #[error("{}: {reason}", path.display())]
    Sequence {
        /// The folder, or the pattern.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The name is a badly spelled pattern.
    #[error(transparent)]
    Pattern(MediaError),
}

impl ReadError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.into(),
            source,
        }
    }

    pub(super) fn broken(path: &Path, format: &'static str, reason: impl ToString) -> Self {
        Self::Broken {
            path: path.into(),
            format,
            reason: reason.to_string(),
        }
    }

    /// The same error for a file of which `frames` frames could be read.
    pub(super) fn after(self, frames: usize) -> Self {
        match self {
            Self::Broken {
                path,
                format,
                reason,
            } if frames > 0 => Self::Tail {
                path,
                format,
                frames,
                reason,
            },
            other => other,
        }
    }
}
