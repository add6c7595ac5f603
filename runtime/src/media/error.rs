//! What can go wrong when a video is written, in words for the person who named the output.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::VideoSpec;

#[derive(Debug, Error)]
pub enum MediaError {
    #[error(
        "{}: unknown output format; write a name that ends in .mp4, .gif or .png, \
         or a pattern such as frames/%05d.png for one picture per frame",
        path.display()
    )]
    UnknownFormat { path: PathBuf },

    #[error("{}: {reason}; write one counter in the file name, such as %05d.png", path.display())]
    Pattern { path: PathBuf, reason: &'static str },

    #[error("{fps} frames per second is not possible; write a number from 0.01 to 1000")]
    FrameRate { fps: f64 },

    #[error("{what} of {width}x{height} is not possible: {reason}")]
    Size {
        what: &'static str,
        width: u32,
        height: u32,
        reason: &'static str,
    },

    #[error("a frame has {got} bytes, but {width}x{height} RGB needs {expected}")]
    FrameBytes {
        got: usize,
        expected: usize,
        width: u32,
        height: u32,
    },

    #[error(
        "{} holds one picture, but the video has more frames; write {} for one picture \
         per frame, or a name that ends in .mp4 or .gif",
        path.display(),
        pattern.display()
    )]
    OnePicture { path: PathBuf, pattern: PathBuf },

    #[error("{}: no frame was written", path.display())]
    NoFrames { path: PathBuf },

    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error("cannot encode {}: {reason}", path.display())]
    Encode { path: PathBuf, reason: String },
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
