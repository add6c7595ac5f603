//! One open safetensors file: its checked header, and its bytes on demand.
//!
//! Only the range of one tensor is mapped at a time and it is unmapped after use, so resident
//! memory does not grow with the checkpoint.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use super::error::CheckpointError;
use super::header::{self, Header};

/// An open file and the length it had when its header was read.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Source {
    /// Opens a safetensors file and checks its header.
    pub(super) fn open(path: &Path) -> Result<(Self, Header), CheckpointError> {
        let io = |source| CheckpointError::io(path, source);
        // Asked before opening: opening a named pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(CheckpointError::unexpected(
                path,
                "a regular file",
                "something else",
            ));
        }
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let header = header::read(path, &mut file, length)?;
        Ok((
            Self {
                path: path.to_path_buf(),
                file,
                length,
            },
            header,
        ))
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives `f` the bytes of a range that the header check found to be inside the file.
    pub(super) fn with_bytes<R>(
        &self,
        offset: u64,
        bytes: u64,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CheckpointError> {
        let now = self
            .file
            .metadata()
            .map_err(|source| CheckpointError::io(&self.path, source))?
            .len();
        if now != self.length {
            let expected = format!("the {} bytes it had when it was opened", self.length);
            return Err(CheckpointError::unexpected(
                &self.path,
                expected,
                format!("{now} bytes"),
            ));
        }
        if bytes == 0 {
            return Ok(f(&[]));
        }
        let map = self.map(offset, bytes)?;
        Ok(f(&map))
    }

    #[allow(unsafe_code, reason = "mapping a file is unsafe by nature")]
    fn map(&self, offset: u64, bytes: u64) -> Result<Mmap, CheckpointError> {
        let length = usize::try_from(bytes).map_err(|_| {
            CheckpointError::unexpected(
                &self.path,
                "a tensor that fits in memory",
                bytes.to_string(),
            )
        })?;
        // SAFETY: the range lies inside the file, whose length was just checked. The map is
        // read-only and private to one call; like every reader of mapped weights this one relies on
        // nobody cutting the file meanwhile.
        let map = unsafe {
            MmapOptions::new()
                .offset(offset)
                .len(length)
                .map(&self.file)
        };
        map.map_err(|source| CheckpointError::io(&self.path, source))
    }
}
