//! Opening a bundle: nothing is believed before it is checked.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component as PathPart, Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::manifest::{FileEntry, MANIFEST, Manifest, VERSION};
use crate::parts::check_parts;
use crate::stream::check_stream;

/// Files up to this size are hashed at every opening.
pub const HASHED_BYTES: u64 = 64 << 20;
/// Largest manifest that is read.
const MAX_MANIFEST: u64 = 16 << 20;

/// Why a folder is no bundle.
#[derive(Debug, Error)]
pub enum BundleError {
    /// There is nothing there.
    #[error("there is no bundle {0}")]
    Missing(PathBuf),
    /// The manifest is missing: not a bundle, or a compile that never finished.
    #[error(
        "{0} is no bundle: it has no manifest.json (a compile that did not finish leaves none)"
    )]
    NoManifest(PathBuf),
    /// The manifest is damaged or from another program.
    #[error("{path}: {why}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file is not what the manifest says.
    #[error("{path}: {why}; compile the bundle again")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An opened bundle.
#[derive(Clone, Debug)]
pub struct Bundle {
    root: PathBuf,
    /// The checked manifest.
    pub manifest: Manifest,
}

impl Bundle {
    /// Opens a folder and checks its manifest, paths, sizes and the hashes of small files.
    pub fn open(root: &Path) -> Result<Self, BundleError> {
        let manifest = read_manifest(root)?;
        let bundle = Self {
            root: root.to_owned(),
            manifest,
        };
        bundle.check_names()?;
        for (name, entry) in &bundle.manifest.files {
            bundle.check_file(name, entry, entry.bytes <= HASHED_BYTES)?;
        }
        Ok(bundle)
    }

    /// Checks the hash of every file, however large.
    pub fn verify(&self) -> Result<(), BundleError> {
        self.manifest
            .files
            .iter()
            .try_for_each(|(name, entry)| self.check_file(name, entry, true))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file of the manifest lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn bad(&self, why: String) -> BundleError {
        BundleError::Manifest {
            path: self.root.join(MANIFEST),
            why,
        }
    }

    fn check_names(&self) -> Result<(), BundleError> {
        let manifest = &self.manifest;
        for name in manifest.files.keys() {
            // No folders either: one could be a link that leads out.
            let mut parts = Path::new(name).components();
            let plain = matches!(
                (parts.next(), parts.next()),
                (Some(PathPart::Normal(_)), None)
            );
            if !plain || name.contains(['/', '\\']) {
                return Err(self.bad(format!("`{name}` is no plain file name")));
            }
        }
        let models = manifest.components.values().flat_map(|component| {
            let steps = component
                .stream
                .iter()
                .flat_map(|stream| &stream.stages)
                .flat_map(|stage| stage.models.all());
            component.models().chain(steps)
        });
        for name in models.chain(&manifest.tokenizer) {
            if !manifest.files.contains_key(name) {
                return Err(self.bad(format!("`{name}` is used but not listed under `files`")));
            }
        }
        for (name, component) in &manifest.components {
            let fits = check_parts(component).and_then(|()| check_stream(component));
            fits.map_err(|why| self.bad(format!("component `{name}`: {why}")))?;
        }
        Ok(())
    }

    fn check_file(&self, name: &str, entry: &FileEntry, hash: bool) -> Result<(), BundleError> {
        let path = self.path(name);
        let wrong = |why: String| BundleError::File {
            path: path.clone(),
            why,
        };
        let found = path.symlink_metadata().map_err(|source| BundleError::Io {
            path: path.clone(),
            source,
        })?;
        if !found.is_file() {
            return Err(wrong("it is not a plain file".to_owned()));
        }
        if found.len() != entry.bytes {
            return Err(wrong(format!(
                "it has {} bytes, the manifest says {}",
                found.len(),
                entry.bytes
            )));
        }
        if hash
            && hash_file(&path).map_err(|source| BundleError::Io {
                path: path.clone(),
                source,
            })? != entry.sha256
        {
            return Err(wrong(
                "its content is not what was compiled (SHA-256 differs)".to_owned(),
            ));
        }
        Ok(())
    }
}

fn read_manifest(root: &Path) -> Result<Manifest, BundleError> {
    if !root.exists() {
        return Err(BundleError::Missing(root.to_owned()));
    }
    let path = root.join(MANIFEST);
    let file = File::open(&path).map_err(|_| BundleError::NoManifest(root.to_owned()))?;
    let bad = |why: String| BundleError::Manifest {
        path: path.clone(),
        why,
    };
    let mut text = String::new();
    let read = file.take(MAX_MANIFEST + 1).read_to_string(&mut text);
    read.map_err(|e| bad(format!("it cannot be read: {e}")))?;
    if text.len() as u64 > MAX_MANIFEST {
        return Err(bad(format!("it is larger than {MAX_MANIFEST} bytes")));
    }
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| bad(format!("it is not JSON: {e}")))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        other => {
            let found = other.map_or_else(|| "none".to_owned(), |v| v.to_string());
            return Err(bad(format!(
                "version {VERSION} is needed, it has {found}; compile the bundle again with this program"
            )));
        }
    }
    serde_json::from_value(value)
        .map_err(|e| bad(format!("{e}; compile the bundle again with this program")))
}

/// SHA-256 of a file in hexadecimal, read in pieces.
pub fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hex(&hasher.finalize()))
}

/// Bytes in lower-case hexadecimal, as the manifest writes hashes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
