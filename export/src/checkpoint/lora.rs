//! LoRA files: which weights of a model they change, and by what.
//!
//! Files of diffusers, peft, kohya and ComfyUI are read, as diffusers' and ComfyUI's loaders read them: a pair of
//! factors `up @ down` times `alpha / rank`, or a whole difference. Every tensor of a file must land on a layer of
//! the model, else the file is refused with the reason for each. Nothing is computed here.

mod alpha;
mod error;
mod key;
mod layers;
mod pairs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::LoraError;

use self::alpha::Alphas;
use self::error::Misfits;
use super::error::CheckpointError;
use super::transformer_dialect::PREFIX;
use super::{Checkpoint, TensorInfo};
use crate::numbers::widen;

/// Metadata that names the factor by which an IC-LoRA wants its reference video smaller, by trainer.
const DOWNSCALE: [&str; 2] = [
    "reference_downscale_factor",
    "ss_reference_downscale_factor",
];

/// A LoRA that fits a model.
#[derive(Debug)]
pub struct Lora {
    path: PathBuf,
    weight: f64,
    file: Checkpoint,
    metadata: BTreeMap<String, String>,
    /// By the key of the model's tensor.
    deltas: BTreeMap<String, Vec<Delta>>,
}

/// What is added to one tensor of the model.
#[derive(Debug)]
struct Delta {
    kind: Kind,
    factor: f32,
}

#[derive(Debug)]
enum Kind {
    LowRank {
        up: String,
        down: String,
        rank: usize,
    },
    Difference {
        values: String,
    },
}

/// What one LoRA adds to one tensor.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// `factor * up @ down`.
    LowRank {
        /// The LoRA.
        lora: &'a Lora,
        /// Key of the factor of `rank` columns.
        up: &'a str,
        /// Key of the factor of `rank` rows.
        down: &'a str,
        /// The inner size.
        rank: usize,
        /// Weight times alpha over rank.
        factor: f32,
    },
    /// `factor * values`.
    Difference {
        /// The LoRA.
        lora: &'a Lora,
        /// Key of a tensor of the weight's size.
        values: &'a str,
        /// The weight.
        factor: f32,
    },
}

impl Lora {
    /// Opens a file and ties it to the layers of a model; also what a user should know of it.
    fn open(path: &Path, weight: f64, model: &Checkpoint) -> Result<(Self, String), LoraError> {
        let (file, metadata) = Checkpoint::open_tensors(path)?;
        let layers = layers::Layers::of(model);
        let mut misfits = Misfits::default();
        let pairs = pairs::collect(&file, &layers, &mut misfits);
        let alphas = Alphas::read(path, &metadata)?;
        let mut deltas: BTreeMap<String, Vec<Delta>> = BTreeMap::new();
        for pair in &pairs {
            match pair.delta(&file, model, &alphas, weight) {
                Ok((key, delta)) => deltas.entry(key).or_default().push(delta),
                Err(misfit) => misfits.add(misfit),
            }
        }
        misfits.check(path, file.tensors().count())?;
        if deltas.is_empty() {
            return Err(LoraError::Empty(path.to_owned()));
        }
        let source = alphas.describe(&file);
        let lora = Self {
            path: path.to_owned(),
            weight,
            file,
            metadata,
            deltas,
        };
        let note = lora.note(&source);
        Ok((lora, note))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How strongly it counts.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The file's metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// By how much an IC-LoRA wants its reference video smaller than the video, if its metadata says.
    pub fn reference_downscale(&self) -> Option<f64> {
        let stated = |key: &&str| self.metadata.get(*key)?.trim().parse::<f64>().ok();
        let stated = DOWNSCALE.iter().find_map(stated);
        stated.filter(|factor| factor.is_finite() && *factor >= 1.0)
    }

    /// Whether it changes a tensor of the model.
    pub fn changes(&self, key: &str) -> bool {
        self.deltas.contains_key(key)
    }

    /// A tensor of the file as f32.
    pub(crate) fn values(&self, key: &str) -> Result<Vec<f32>, CheckpointError> {
        values(&self.file, key)
    }

    fn changes_of(&self, key: &str) -> impl Iterator<Item = Change<'_>> {
        let deltas = self.deltas.get(key).into_iter().flatten();
        deltas.map(|delta| match &delta.kind {
            Kind::LowRank { up, down, rank } => Change::LowRank {
                lora: self,
                up,
                down,
                rank: *rank,
                factor: delta.factor,
            },
            Kind::Difference { values } => Change::Difference {
                lora: self,
                values,
                factor: delta.factor,
            },
        })
    }

    /// What a user should know of the merge, in a sentence.
    fn note(&self, alphas: &str) -> String {
        let factors = self.deltas.values().flatten().map(|delta| delta.factor);
        let (low, high) = factors.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), f| {
            (low.min(f), high.max(f))
        });
        let scale = match low == high {
            true => format!("{low}"),
            false => format!("{low} to {high}"),
        };
        let count = self.deltas.len();
        let mut note = format!(
            "{}: a LoRA that changes {count} weights, merged with weight {} (in all {scale} times; {alphas})",
            crate::bundle::file_name(&self.path),
            self.weight,
        );
        if let Some(factor) = self.reference_downscale() {
            note.push_str(&format!(
                "; it is an IC-LoRA for references {factor} times smaller than the video"
            ));
        }
        note
    }
}

/// A tensor as f32.
fn values(file: &Checkpoint, key: &str) -> Result<Vec<f32>, CheckpointError> {
    let path = file
        .sources()
        .first()
        .map_or(Path::new(""), PathBuf::as_path);
    let refused = |found: String| CheckpointError::tensor(path, key, "a float tensor", found);
    let tensor = file.tensor(key).ok_or_else(|| refused("none".to_owned()))?;
    let read = |bytes: &[u8]| widen(bytes, tensor.dtype);
    file.with_bytes(tensor, read)?
        .ok_or_else(|| refused(tensor.dtype.to_string()))
}

impl Checkpoint {
    /// Lets a LoRA change this model's weights from now on, after those that are there.
    pub fn merge(&mut self, path: &Path, weight: f64) -> Result<(), LoraError> {
        let (lora, note) = Lora::open(path, weight, self)?;
        self.notes.push(note);
        self.loras.push(lora);
        Ok(())
    }

    /// The LoRAs, in the order in which they were given.
    pub fn loras(&self) -> &[Lora] {
        &self.loras
    }

    /// What LoRAs add to a tensor.
    pub fn changes(&self, key: &str) -> impl Iterator<Item = Change<'_>> {
        self.loras.iter().flat_map(|lora| lora.changes_of(key))
    }

    /// The file names of the LoRAs that change a tensor.
    pub(crate) fn loras_of(&self, key: &str) -> Vec<String> {
        let changing = self.loras.iter().filter(|lora| lora.changes(key));
        changing
            .map(|lora| crate::bundle::file_name(&lora.path))
            .collect()
    }
}

/// A layer's name without the prefix that all layers of a transformer share.
fn short(key: &str) -> &str {
    key.strip_prefix(PREFIX).unwrap_or(key)
}

/// The elements of a tensor.
fn elements(tensor: &TensorInfo) -> usize {
    tensor.shape.iter().product()
}
