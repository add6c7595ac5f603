//! Why a LoRA does not fit a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::super::error::CheckpointError;
use crate::bind::LISTED;

/// Why a LoRA cannot be merged.
#[derive(Debug, Error)]
pub enum LoraError {
    /// The file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file changes nothing.
    #[error("{}: expected a LoRA, found no tensors", .0.display())]
    Empty(PathBuf),
    /// No layer has the size that the file expects.
    #[error(
        "{}: this LoRA was made for another model: its `{layer}` is {theirs}, this model's is {ours}",
        path.display()
    )]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// A layer that both have.
        layer: String,
        /// Its shape as the LoRA expects it.
        theirs: String,
        /// Its shape in the model.
        ours: String,
    },
    /// Tensors that have no place.
    #[error("{}: {count} of its {total} tensors cannot be merged into this model:{listed}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
        /// How many the file has.
        total: usize,
        /// The first of them with reasons, one a line.
        listed: String,
    },
}

/// Tensors of a file that have no place, and why.
#[derive(Default)]
pub(super) struct Misfits {
    reasons: BTreeMap<String, String>,
    other: Option<Shapes>,
}

/// A layer as the LoRA expects it and as it is.
pub(super) struct Shapes {
    pub(super) layer: String,
    pub(super) theirs: Vec<usize>,
    pub(super) ours: Vec<usize>,
}

/// One reason for one or two tensors.
pub(super) struct Misfit {
    pub(super) keys: Vec<String>,
    pub(super) reason: String,
    pub(super) shapes: Option<Shapes>,
}

impl Misfit {
    /// A reason that has nothing to do with shapes.
    pub(super) fn new(keys: &[&str], reason: impl Into<String>) -> Self {
        Self {
            keys: keys.iter().map(ToString::to_string).collect(),
            reason: reason.into(),
            shapes: None,
        }
    }

    /// The layer has another shape.
    pub(super) fn shapes(keys: &[&str], shapes: Shapes) -> Self {
        let reason = format!(
            "`{}` is {} in the LoRA and {} in the model",
            shapes.layer,
            dimensions(&shapes.theirs),
            dimensions(&shapes.ours)
        );
        Self {
            shapes: Some(shapes),
            ..Self::new(keys, reason)
        }
    }
}

impl Misfits {
    pub(super) fn add(&mut self, misfit: Misfit) {
        if self.other.is_none() {
            self.other = misfit.shapes;
        }
        for key in misfit.keys {
            self.reasons.entry(key).or_insert(misfit.reason.clone());
        }
    }

    /// Fails if there are any, of `total` tensors of the file.
    pub(super) fn check(self, path: &Path, total: usize) -> Result<(), LoraError> {
        let (count, path) = (self.reasons.len(), path.to_owned());
        match self.other {
            _ if count == 0 => Ok(()),
            Some(shapes) if count == total => Err(LoraError::OtherModel {
                path,
                layer: shapes.layer,
                theirs: dimensions(&shapes.theirs),
                ours: dimensions(&shapes.ours),
            }),
            _ => Err(LoraError::Misfit {
                path,
                count,
                total,
                listed: listed(&self.reasons),
            }),
        }
    }
}

fn listed(reasons: &BTreeMap<String, String>) -> String {
    let lines = reasons
        .iter()
        .take(LISTED)
        .map(|(key, reason)| format!("\n  `{key}`: {reason}"));
    let mut text: String = lines.collect();
    if reasons.len() > LISTED {
        text.push_str(&format!("\n  and {} more", reasons.len() - LISTED));
    }
    text
}

fn dimensions(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    sizes.join("x")
}
