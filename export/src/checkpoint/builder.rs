//! Collects the tensors of several files under canonical keys.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::error::CheckpointError;
use super::header::Stored;
use super::outline;
use super::source::Source;
use super::weights::Weights;
use super::{Checkpoint, TensorInfo};

/// A checkpoint in the making.
#[derive(Default)]
pub(super) struct Builder {
    tensors: BTreeMap<String, TensorInfo>,
    sources: Vec<Source>,
    notes: Vec<String>,
}

impl Builder {
    /// Announces something that was inferred.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Opens one file, adds its tensors, and returns its metadata.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        canonical: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, CheckpointError> {
        let header = match outline::is_one(path) {
            true => outline::read(path)?,
            false => {
                let (source, header) = Source::open(path)?;
                self.sources.push(source);
                header
            }
        };
        for stored in header.tensors {
            self.add_tensor(path, stored, &canonical)?;
        }
        Ok(header.metadata)
    }

    fn add_tensor(
        &mut self,
        path: &Path,
        stored: Stored,
        canonical: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), CheckpointError> {
        let Some(key) = canonical(&stored.key) else {
            let expected = "a key of a block that the configuration describes";
            return Err(CheckpointError::tensor(
                path,
                &stored.key,
                expected,
                "one of no such block",
            ));
        };
        if let Some(first) = self.tensors.get(&key) {
            let (first, second) = (first.source_key.clone(), stored.key);
            return Err(CheckpointError::DuplicateKey {
                path: path.to_path_buf(),
                key,
                first,
                second,
            });
        }
        let info = TensorInfo::new(key.clone(), stored, self.sources.len().saturating_sub(1));
        self.tensors.insert(key, info);
        Ok(())
    }

    /// Adds every file of a component and checks what its index promised.
    pub(super) fn add_weights(
        &mut self,
        weights: Weights,
        canonical: impl Fn(&str) -> Option<String>,
    ) -> Result<(), CheckpointError> {
        let base = self.sources.len();
        for file in &weights.files {
            self.add_file(file, &canonical)?;
        }
        self.notes.extend(weights.note);
        let Some(index) = weights.index else {
            return Ok(());
        };
        for (key, file) in &weights.promised {
            let held = canonical(key).and_then(|name| self.tensors.get(&name));
            if held.is_none_or(|info| info.file != base + file) {
                return Err(broken_promise(&index, key, &weights.files[*file]));
            }
        }
        Ok(())
    }

    /// The tensors so far.
    pub(super) fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Gives the tensor that stands under `from` the canonical key `to`, if that is free.
    pub(super) fn alias(&mut self, from: &str, to: &str) {
        if self.tensors.contains_key(to) {
            return;
        }
        if let Some(info) = self.tensors.remove(from) {
            self.tensors.insert(
                to.to_owned(),
                TensorInfo {
                    key: to.to_owned(),
                    ..info
                },
            );
            self.note(format!("{to}: taken from `{from}`"));
        }
    }

    /// The checkpoint with its configuration.
    pub(super) fn finish(self, config: Value) -> Checkpoint {
        let paths = self
            .sources
            .iter()
            .map(|source| source.path().to_path_buf())
            .collect();
        Checkpoint {
            tensors: self.tensors,
            sources: self.sources,
            paths,
            notes: self.notes,
            config,
            scales: BTreeMap::new(),
            rotated: super::fp8::Rotated::new(),
            loras: Vec::new(),
        }
    }
}

fn broken_promise(index: &Path, key: &str, file: &Path) -> CheckpointError {
    CheckpointError::tensor(
        index,
        key,
        format!("it in {}", file.display()),
        "no such tensor there",
    )
}

impl TensorInfo {
    fn new(key: String, stored: Stored, file: usize) -> Self {
        Self {
            key,
            source_key: stored.key,
            dtype: stored.dtype,
            shape: stored.shape,
            file,
            offset: stored.offset,
            bytes: stored.bytes,
        }
    }
}
