//! Checkpoints and tokenizers as users have them on disk: every layout reads alike, every broken one is refused.
//!
//! Fixture folders are those under `$LTXC_FIXTURES`, or those of the repository.

#![allow(clippy::unwrap_used, missing_docs)]

mod dialects;
mod loras;
mod refusals;
mod tokenizers;
mod upscalers;

use std::path::{Path, PathBuf};

/// Fixtures that hold the original file and the whole diffusers folder.
pub fn variants() -> Vec<PathBuf> {
    let given = std::env::var_os("LTXC_FIXTURES").map(PathBuf::from);
    let root = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"));
    let folders = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = folders
        .filter(|f| f.join("diffusers/transformer").is_dir())
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no fixture under {}", root.display());
    found
}
