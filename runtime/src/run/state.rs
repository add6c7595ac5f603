//! The finished windows of a run in a folder, so that another process can go on from them.
//!
//! A file for each window of each take and pass holds the latents that denoising made, and `run.json` says what makes
//! them: the bundle and every setting. Files are written under another name, flushed to the disk and renamed, so a run
//! that was killed leaves whole files only. Everything else is made anew from those, with the same draws: joining windows,
//! upscaling and decoding take little time beside denoising, and the video has the same bytes as without a break.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ltxc_bundle::{Bundle, MANIFEST, hash_file};
use serde::{Deserialize, Serialize};
use tempfile::Builder;
use thiserror::Error;

use super::Job;
use crate::tensor::{Tensor, file};

/// Says what the run is.
const HEADER: &str = "run.json";
/// Held by the process that works on the run.
const LOCK: &str = "lock";
/// What names of files begin with that are not complete.
const PARTIAL: &str = ".partial-";
/// The form of the files.
const VERSION: u32 = 1;

/// Why work cannot be kept or gone on with.
#[derive(Debug, Error)]
pub enum StateError {
    /// The folder or a file of it cannot be read or written.
    #[error("{} cannot be {doing}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// Why.
        reason: io::Error,
    },
    /// Another process works on it.
    #[error("another run works in {}; wait for it, or take another folder", .0.display())]
    Busy(PathBuf),
    /// The folder holds something else.
    #[error(
        "{} is not the state of a run: there is `{found}` in it, but no {HEADER}; name a new or empty folder",
        folder.display()
    )]
    NoState {
        /// The folder.
        folder: PathBuf,
        /// Something in it.
        found: String,
    },
    /// It belongs to a run with other settings.
    #[error(
        "{} holds the state of another run: {}; run that one again, or name another folder",
        folder.display(),
        differences.join("; ")
    )]
    Differs {
        /// The folder.
        folder: PathBuf,
        /// What differs, a sentence each.
        differences: Vec<String>,
    },
    /// A file of it is not what this program wrote.
    #[error("{}: {why}; remove it to make that window again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// A window of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// The pass, from 0.
    pub pass: usize,
    /// The take, from 0.
    pub take: usize,
    /// The window of the pass, from 0.
    pub window: usize,
}

/// What [`HEADER`] holds.
#[derive(PartialEq, Serialize, Deserialize)]
struct Header {
    version: u32,
    /// Everything that decides the video, by name.
    run: BTreeMap<String, String>,
}

/// A folder with the finished windows of a run. One process at a time has it.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    _lock: File,
}

impl State {
    /// Opens or begins the state of a run: what it makes of these prompts and seeds, take by take.
    ///
    /// # Errors
    ///
    /// [`StateError`] where the folder holds something else, belongs to another run, or is in use.
    pub fn open(
        folder: &Path,
        bundle: &Bundle,
        job: &Job,
        takes: &[(&str, u64)],
    ) -> Result<Self, StateError> {
        fs::create_dir_all(folder).map_err(io_error(folder, "written"))?;
        let header = Header {
            version: VERSION,
            run: described(bundle, job, takes)?,
        };
        let path = folder.join(HEADER);
        if !path.exists() {
            check_empty(folder)?;
        }
        let state = Self {
            folder: folder.to_owned(),
            _lock: lock(folder)?,
        };
        for name in names(folder)? {
            if name.starts_with(PARTIAL) {
                let path = folder.join(name);
                fs::remove_file(&path).map_err(io_error(&path, "written"))?;
            }
        }
        match path.exists() {
            true => header.check(&path, folder)?,
            false => state.write(HEADER, |out| {
                Ok(serde_json::to_writer_pretty(out, &header)?)
            })?,
        }
        Ok(state)
    }

    /// How many windows are in a folder.
    pub fn windows_in(folder: &Path) -> Result<usize, StateError> {
        Ok(names(folder)?.iter().filter(|n| is_window(n)).count())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes all that it wrote, and the folder if nothing else is in it.
    pub fn remove(self) -> Result<(), StateError> {
        let ours = names(&self.folder)?;
        let windows = ours.iter().filter(|name| is_window(name));
        for name in windows.map(String::as_str).chain([HEADER, LOCK]) {
            let path = self.folder.join(name);
            fs::remove_file(&path).map_err(io_error(&path, "written"))?;
        }
        // It stays where somebody else has put something into it.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }

    /// Whether a window is there.
    pub(super) fn holds(&self, at: At) -> bool {
        self.folder.join(at.name()).exists()
    }

    /// The latents of a window, (N, C), as many as `count`, if it is there.
    pub(super) fn read(&self, at: At, count: usize) -> Result<Option<Vec<f32>>, StateError> {
        let path = self.folder.join(at.name());
        if !path.exists() {
            return Ok(None);
        }
        let damaged = |why: String| StateError::Damaged {
            path: path.clone(),
            why,
        };
        let mut tensors = file::read(&path).map_err(|e| damaged(e.reason.to_string()))?;
        let latents = tensors.remove("latents");
        let latents = latents.ok_or_else(|| damaged("there are no `latents` in it".to_owned()))?;
        let values = latents.into_values::<f32>();
        let values = values.map_err(|e| damaged(e.to_string()))?;
        match values.len() == count {
            true => Ok(Some(values)),
            false => Err(damaged(format!("{} values are not {count}", values.len()))),
        }
    }

    /// Keeps the latents of a window, (N, C).
    pub(super) fn keep(&self, at: At, latents: &[f32], channels: usize) -> Result<(), StateError> {
        let shape = [latents.len() / channels.max(1), channels];
        let tensor = Tensor::new(shape, latents.to_vec());
        let tensor = tensor.map_err(|e| StateError::Io {
            path: self.folder.join(at.name()),
            doing: "written",
            reason: io::Error::other(e),
        })?;
        let tensors = BTreeMap::from([("latents".to_owned(), tensor)]);
        self.write(&at.name(), |out| file::write_to(out, &tensors))
    }

    /// A whole file under its name, or none.
    fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StateError> {
        let written = || {
            let mut file = Builder::new().prefix(PARTIAL).tempfile_in(&self.folder)?;
            let mut out = io::BufWriter::new(file.as_file_mut());
            content(&mut out)?;
            out.flush()?;
            drop(out);
            file.as_file().sync_all()?;
            file.persist(self.folder.join(name)).map_err(|e| e.error)?;
            sync_folder(&self.folder)
        };
        written().map_err(io_error(&self.folder.join(name), "written"))
    }
}

impl At {
    fn name(self) -> String {
        let Self { pass, take, window } = self;
        format!("pass{pass}-take{take}-window{window}.safetensors")
    }
}

fn is_window(name: &str) -> bool {
    name.starts_with("pass") && name.ends_with(".safetensors")
}

impl Header {
    fn check(&self, path: &Path, folder: &Path) -> Result<(), StateError> {
        let text = fs::read_to_string(path).map_err(io_error(path, "read"))?;
        let damaged = |why: String| StateError::Damaged {
            path: path.to_owned(),
            why,
        };
        let found: Self = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if found.version != VERSION {
            let why = format!("version {VERSION} is needed, it has {}", found.version);
            return Err(damaged(why));
        }
        let differences = differences(&found.run, &self.run);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(StateError::Differs {
                folder: folder.to_owned(),
                differences,
            }),
        }
    }
}

/// What a run is not any more, by the names of both.
fn differences(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let value = |of: &BTreeMap<String, String>, name| {
        of.get(name)
            .cloned()
            .unwrap_or_else(|| "nothing".to_owned())
    };
    let differs = names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name));
    differs
        .map(|name| {
            format!(
                "{name} was {}, now {}",
                value(before, name),
                value(now, name)
            )
        })
        .collect()
}

fn described(
    bundle: &Bundle,
    job: &Job,
    takes: &[(&str, u64)],
) -> Result<BTreeMap<String, String>, StateError> {
    let manifest = bundle.path(MANIFEST);
    let hash = hash_file(&manifest).map_err(io_error(&manifest, "read"))?;
    let mut run = job.described();
    run.insert(
        "bundle".to_owned(),
        format!("{} ({hash})", bundle.manifest.name),
    );
    run.insert("program".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    for (number, (prompt, seed)) in takes.iter().enumerate() {
        let number = number + 1;
        run.insert(format!("prompt of video {number}"), format!("{prompt:?}"));
        run.insert(format!("seed of video {number}"), seed.to_string());
    }
    Ok(run)
}

fn lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(io_error(&path, "written"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::Busy(folder.to_owned())),
        Err(TryLockError::Error(reason)) => Err(io_error(&path, "written")(reason)),
    }
}

/// A folder without a header may hold what a killed run began with, and nothing else.
fn check_empty(folder: &Path) -> Result<(), StateError> {
    let names = names(folder)?;
    let found = names
        .into_iter()
        .find(|name| name != LOCK && !name.starts_with(PARTIAL));
    match found {
        None => Ok(()),
        Some(found) => Err(StateError::NoState {
            folder: folder.to_owned(),
            found,
        }),
    }
}

fn names(folder: &Path) -> Result<Vec<String>, StateError> {
    let entries = fs::read_dir(folder).map_err(io_error(folder, "read"))?;
    let name =
        |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let names: io::Result<Vec<String>> = entries.map(name).collect();
    names.map_err(io_error(folder, "read"))
}

fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |reason| StateError::Io {
        path,
        doing,
        reason,
    }
}

/// A rename is on the disk once its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
