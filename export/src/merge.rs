//! Weights that are more than their stored bytes: rotated back, scaled, changed by LoRAs.
//!
//! All is computed in f32 and rounded once. Memory is the tensor at hand and its two factors; the result depends
//! neither on the number of threads nor on the processor.

use std::num::NonZero;
use std::thread;

use ltxc_ir::Dtype;

use crate::checkpoint::{Change, Checkpoint, CheckpointError, TensorInfo};
use crate::numbers::{hadamard, round_into, widen};

/// Elements computed at once.
const BLOCK: usize = 1 << 20;
/// Rows and columns of one tile of a product, which fit the registers of every processor.
const ROWS: usize = 4;
const COLUMNS: usize = 8;

/// Why a weight could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A number of the checkpoint is too large for the element type that a recipe asks for.
    #[error(
        "the weight `{key}` has numbers that {written} does not hold; use a recipe of another type, or name the weight \
         in its `leave`"
    )]
    TooLarge {
        /// Which weight.
        key: String,
        /// The element type.
        written: Dtype,
    },
    /// A number of the checkpoint is infinite or none, so it has no scale.
    #[error(
        "the weight `{key}` has numbers that are not finite, and cannot be quantised; is the file damaged?"
    )]
    NoScale {
        /// Which weight.
        key: String,
    },
    /// A number is too large for the element type, or is none.
    #[error(
        "the weight `{key}` is not finite in {written} once {loras} is merged; is the file damaged?"
    )]
    NotFinite {
        /// Which weight.
        key: String,
        /// The element type.
        written: Dtype,
        /// The LoRAs that change it.
        loras: String,
    },
}

/// A LoRA's part in one weight, ready to be added.
enum Term {
    /// `factor * up @ down`: `up` row by row, `down` in panels of [`COLUMNS`] columns.
    LowRank {
        up: Vec<f32>,
        panels: Vec<f32>,
        rank: usize,
        factor: f32,
    },
    /// `factor * difference`.
    Difference { values: Vec<f32>, factor: f32 },
}

/// The elements of a weight, row by row, in the element type in which it is written.
pub fn computed(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    written: Dtype,
) -> Result<Vec<u8>, MergeError> {
    let elements: usize = tensor.shape.iter().product();
    let mut out = Vec::with_capacity(elements * written.bytes() as usize);
    let mut finite = true;
    each_block(checkpoint, tensor, &mut |values| {
        finite &= round_into(values, written, &mut out);
    })?;
    let loras: Vec<String> = checkpoint.loras_of(&tensor.key);
    if !finite && !loras.is_empty() {
        return Err(MergeError::NotFinite {
            key: tensor.source_key.clone(),
            written,
            loras: loras.join(", "),
        });
    }
    if !finite && written == Dtype::F16 {
        let key = tensor.source_key.clone();
        return Err(MergeError::TooLarge { key, written });
    }
    Ok(out)
}

/// Elements in a row: all after the first axis.
pub fn columns_of(tensor: &TensorInfo) -> usize {
    match tensor.shape.as_slice() {
        [_, rest @ ..] if !rest.is_empty() => rest.iter().product(),
        shape => shape.iter().product(),
    }
}

/// Computes a weight in f32, some whole rows at a time.
pub fn each_block(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    take: &mut dyn FnMut(&[f32]),
) -> Result<(), MergeError> {
    let elements: usize = tensor.shape.iter().product();
    let columns = columns_of(tensor);
    let terms = checkpoint
        .changes(&tensor.key)
        .map(|change| term(change, columns))
        .collect::<Result<Vec<_>, _>>()?;
    let size = tensor.dtype.size();
    let block = (BLOCK / columns.max(1)).max(1) * columns;
    for start in (0..elements).step_by(block.max(1)) {
        let count = block.min(elements - start);
        let (from, bytes) = (start as u64 * size, count as u64 * size);
        let read = |bytes: &[u8]| widen(bytes, tensor.dtype);
        let values = checkpoint.with_range(tensor, from, bytes, read)?;
        let mut values = values.ok_or_else(|| no_float(checkpoint, tensor))?;
        restore(checkpoint, tensor, &mut values, columns);
        add(&terms, &mut values, start, columns);
        take(&values);
    }
    Ok(())
}

fn no_float(checkpoint: &Checkpoint, tensor: &TensorInfo) -> CheckpointError {
    checkpoint.refuse(tensor, "a float type", tensor.dtype.to_string())
}

/// Undoes what a quantiser did: rotation, then scale.
fn restore(checkpoint: &Checkpoint, tensor: &TensorInfo, values: &mut [f32], columns: usize) {
    if checkpoint.is_rotated(&tensor.key) {
        values.chunks_exact_mut(columns).for_each(hadamard);
    }
    if let Some(scale) = checkpoint.scale(&tensor.key) {
        values.iter_mut().for_each(|value| *value *= scale);
    }
}

fn term(change: Change<'_>, columns: usize) -> Result<Term, CheckpointError> {
    Ok(match change {
        Change::LowRank {
            lora,
            up,
            down,
            rank,
            factor,
        } => Term::LowRank {
            up: lora.values(up)?,
            panels: in_panels(&lora.values(down)?, rank, columns),
            rank,
            factor,
        },
        Change::Difference {
            lora,
            values,
            factor,
        } => Term::Difference {
            values: lora.values(values)?,
            factor,
        },
    })
}

/// `down` of `rank` rows, as panels of [`COLUMNS`] columns one after another; the last is filled up with zeros.
fn in_panels(down: &[f32], rank: usize, columns: usize) -> Vec<f32> {
    let mut panels = vec![0.0; columns.div_ceil(COLUMNS) * COLUMNS * rank];
    for (panel, target) in panels.chunks_exact_mut(COLUMNS * rank).enumerate() {
        let first = panel * COLUMNS;
        let width = COLUMNS.min(columns - first);
        for (row, line) in target.chunks_exact_mut(COLUMNS).enumerate() {
            line[..width].copy_from_slice(&down[row * columns + first..][..width]);
        }
    }
    panels
}

/// Adds every term to whole rows that begin at element `start`.
fn add(terms: &[Term], values: &mut [f32], start: usize, columns: usize) {
    let first_row = start / columns.max(1);
    for term in terms {
        match term {
            Term::Difference {
                values: difference,
                factor,
            } => {
                for (value, d) in values.iter_mut().zip(&difference[start..]) {
                    *value += factor * d;
                }
            }
            Term::LowRank {
                up,
                panels,
                rank,
                factor,
            } => {
                let product = Product {
                    panels,
                    rank: *rank,
                    factor: *factor,
                };
                let rows = values.len() / columns;
                product.add_on_threads(values, &up[first_row * rank..][..rows * rank], columns);
            }
        }
    }
}

/// The right-hand side of a low-rank product.
struct Product<'a> {
    panels: &'a [f32],
    rank: usize,
    factor: f32,
}

impl Product<'_> {
    /// Every element is summed in the same order on any number of threads.
    fn add_on_threads(&self, values: &mut [f32], up: &[f32], columns: usize) {
        let rows = values.len() / columns;
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let share = rows.div_ceil(threads).next_multiple_of(ROWS);
        if threads == 1 || rows <= ROWS {
            return self.add(values, up, columns);
        }
        thread::scope(|scope| {
            let parts = values.chunks_mut(share * columns);
            for (values, up) in parts.zip(up.chunks(share * self.rank)) {
                scope.spawn(|| self.add(values, up, columns));
            }
        });
    }

    fn add(&self, values: &mut [f32], up: &[f32], columns: usize) {
        let groups = values.chunks_mut(ROWS * columns);
        for (values, up) in groups.zip(up.chunks(ROWS * self.rank)) {
            match values.len() / columns {
                ROWS => self.add_rows::<ROWS>(values, up, columns),
                _ => values
                    .chunks_mut(columns)
                    .zip(up.chunks(self.rank))
                    .for_each(|(row, up)| self.add_rows::<1>(row, up, columns)),
            }
        }
    }

    fn add_rows<const N: usize>(&self, values: &mut [f32], up: &[f32], columns: usize) {
        let up: [&[f32]; N] = std::array::from_fn(|row| &up[row * self.rank..][..self.rank]);
        for (i, panel) in self.panels.chunks_exact(COLUMNS * self.rank).enumerate() {
            let sums = tile(up, panel);
            let first = i * COLUMNS;
            let width = COLUMNS.min(columns - first);
            for (row, sums) in sums.iter().enumerate() {
                let line = &mut values[row * columns + first..][..width];
                for (value, sum) in line.iter_mut().zip(sums) {
                    *value += sum * self.factor;
                }
            }
        }
    }
}

/// Sums of products of `N` rows with one panel, in the order of the rank.
fn tile<const N: usize>(up: [&[f32]; N], panel: &[f32]) -> [[f32; COLUMNS]; N] {
    let mut sums = [[0.0; COLUMNS]; N];
    let lines = panel.as_chunks::<COLUMNS>().0;
    let up = up.map(|row| &row[..lines.len()]);
    for (r, line) in lines.iter().enumerate() {
        for (sums, up) in sums.iter_mut().zip(up) {
            let factor = up[r];
            for (sum, element) in sums.iter_mut().zip(line) {
                *sum += factor * element;
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests;
