//! What can go wrong when a video is written, in words for the person who named the output.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::VideoSpec;

/// Why an output cannot be written.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The name of the output ends in nothing known.
    #[error(
        "{}: unknown output format; write a name that ends in .mp4, .gif or .png, \
         or a pattern such as frames/%05d.png for one picture per frame",
        path.display()
    )]
    UnknownFormat {
        /// The output.
        path: PathBuf,
    },
    /// The name of the output is no usable pattern.
    #[error("{}: {reason}; write one counter in the file name, such as %05d.png", path.display())]
    Pattern {
        /// The output.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The rate is out of range.
    #[error("{fps} frames per second is not possible; write a number from 0.01 to 1000")]
    FrameRate {
        /// Frames per second asked for.
        fps: f64,
    },
    /// The size is out of range.
    #[error("{what} of {width}x{height} is not possible: {reason}")]
    Size {
        /// What has this size.
        what: &'static str,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Why.
        reason: &'static str,
    },
    /// A frame has the wrong size.
    #[error("a frame has {got} bytes, but {width}x{height} RGB needs {expected}")]
    FrameBytes {
        /// Bytes given.
        got: usize,
        /// Bytes needed.
        expected: usize,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// More frames than the output can hold.
    #[error(
        "{} holds one picture, but the video has more frames; write {} for one picture \
         per frame, or a name that ends in .mp4 or .gif",
        path.display(),
        pattern.display()
    )]
    OnePicture {
        /// The output.
        path: PathBuf,
        /// A name for one picture per frame.
        pattern: PathBuf,
    },
    /// The output was finished without a frame.
    #[error("{}: no frame was written", path.display())]
    NoFrames {
        /// The output.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The output.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The encoder refused.
    #[error("cannot encode {}: {reason}", path.display())]
    Encode {
        /// The output.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl MediaError {
    /// Wraps an I/O error with what was being done to which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    pub(super) fn encode(path: &Path, reason: impl ToString) -> Self {
        Self::Encode {
            path: path.into(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn size(what: &'static str, spec: VideoSpec, reason: &'static str) -> Self {
        Self::Size {
            what,
            width: spec.width,
            height: spec.height,
            reason,
        }
    }
}
