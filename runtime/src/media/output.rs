//! Files that appear under their final name only when they are complete.
//!
//! The data goes to a hidden `.partial` file beside the target. [`Output::commit`] flushes it
//! to the disk and renames it; dropping the value removes it. Every error names the target.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempDir};

use super::MediaError;

pub struct Output {
    file: BufWriter<NamedTempFile>,
    target: PathBuf,
}

impl Output {
    /// Opens the temporary file; the parent folder is created when it is missing.
    pub fn create(target: &Path) -> Result<Self, MediaError> {
        let folder = make_parent(target)?;
        if target.is_dir() {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(MediaError::io("write", target)(source));
        }
        let file = with_usual_permissions(Builder::new().prefix(".").suffix(".partial"))
            .tempfile_in(folder)
            .map_err(MediaError::io("create", target))?;
        Ok(Self {
            file: BufWriter::new(file),
            target: target.into(),
        })
    }

    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Moves the complete data to the final name, replacing what is there.
    pub fn commit(self) -> Result<(), MediaError> {
        let target = self.target;
        let file = self
            .file
            .into_inner()
            .map_err(|e| MediaError::io("write", &target)(e.into_error()))?;
        file.as_file()
            .sync_all()
            .map_err(MediaError::io("write", &target))?;
        file.persist(&target)
            .map_err(|e| MediaError::io("rename the finished file to", &target)(e.error))?;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A hidden folder beside the target, removed with its content when it is dropped.
pub fn scratch_folder(target: &Path) -> Result<TempDir, MediaError> {
    let folder = make_parent(target)?;
    Builder::new()
        .prefix(".")
        .suffix(".partial")
        .tempdir_in(folder)
        .map_err(MediaError::io("create", target))
}

fn make_parent(target: &Path) -> Result<&Path, MediaError> {
    let folder = parent(target);
    fs::create_dir_all(folder).map_err(MediaError::io("create the folder", folder))?;
    Ok(folder)
}

/// The folder that holds a path, `.` for a bare name.
pub fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Temporary files are private by default; an output gets what the user's umask allows.
#[cfg(unix)]
fn with_usual_permissions<'a, 'b, 'c>(builder: &'c mut Builder<'a, 'b>) -> &'c mut Builder<'a, 'b> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn with_usual_permissions<'a, 'b, 'c>(builder: &'c mut Builder<'a, 'b>) -> &'c mut Builder<'a, 'b> {
    builder
}
