//! Streaming weights from a checkpoint into a data file.
//!
//! At most one tensor is mapped at a time, and of a tensor that is only copied at most [`PIECE`] bytes, so memory
//! does not grow with the checkpoint. A weight that is computed (see [`crate::merge`]) is held once, as written.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use ltxc_bundle::hex;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError, TensorInfo};
use crate::merge::{MergeError, computed};
use crate::numbers::{convert, is_exact};
use crate::onnx::{Step, WeightPlan};
use crate::quantize::{packed, quantized};

/// Bytes mapped at once of a tensor that is copied as it is.
const PIECE: u64 = 16 << 20;
/// Most bytes handed to the hashing thread at once, and how many such pieces may wait.
const HASHED: usize = 1 << 20;
const QUEUE: usize = 8;
/// Columns of a matrix turned at once.
const PANEL: usize = 64;

/// Why a weight could not be written.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weight cannot be computed.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The data file cannot be written.
    #[error("the weight `{key}` cannot be written: {source}")]
    Write {
        /// Which weight.
        key: String,
        /// Why.
        source: io::Error,
    },
    /// The tensor went away since the graph was bound.
    #[error("the weight `{0}` is not in the checkpoint any more")]
    Gone(String),
}

/// A writer that counts, and hashes on a thread of its own what goes through.
#[derive(Debug)]
pub struct Hashing<W> {
    inner: W,
    pieces: SyncSender<Vec<u8>>,
    hasher: JoinHandle<Sha256>,
    /// Bytes written so far.
    pub position: u64,
}

impl<W: Write> Hashing<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> Self {
        let (pieces, received) = sync_channel::<Vec<u8>>(QUEUE);
        let hasher = std::thread::spawn(move || {
            received
                .iter()
                .fold(Sha256::new(), |hasher, piece| hasher.chain_update(piece))
        });
        Self {
            inner,
            pieces,
            hasher,
            position: 0,
        }
    }

    /// The writer, and the hash in hexadecimal.
    pub fn finish(self) -> io::Result<(W, String)> {
        drop(self.pieces);
        let hasher = self
            .hasher
            .join()
            .map_err(|_| io::Error::other("hashing failed"))?;
        Ok((self.inner, hex(&hasher.finalize())))
    }

    /// Writes zeros up to a position.
    pub fn pad_to(&mut self, position: u64) -> io::Result<()> {
        let gap = position.saturating_sub(self.position) as usize;
        self.write_all(&vec![0; gap])
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(&bytes[..bytes.len().min(HASHED)])?;
        self.pieces
            .send(bytes[..n].to_vec())
            .map_err(|_| io::Error::other("hashing failed"))?;
        self.position += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes one weight as its plan says.
pub fn write_weight(
    checkpoint: &Checkpoint,
    plan: &WeightPlan,
    out: &mut Hashing<impl Write>,
) -> Result<(), StreamError> {
    let tensor = checkpoint
        .tensor(&plan.key)
        .ok_or_else(|| StreamError::Gone(plan.key.clone()))?;
    let failed = |source| StreamError::Write {
        key: plan.key.clone(),
        source,
    };
    out.pad_to(plan.offset).map_err(failed)?;
    if let Some((elements, rest)) = quantized(checkpoint, tensor, plan)? {
        let mut numbers = Vec::with_capacity(elements.len());
        rearrange(&elements, &rest, &mut numbers).map_err(failed)?;
        drop(elements);
        return out.write_all(&packed(numbers, plan)).map_err(failed);
    }
    let scaled = checkpoint.scale(&plan.key).is_some() && !plan.scale_in_graph;
    let rounded = !is_exact(plan.stored, plan.written);
    if scaled || rounded || checkpoint.is_computed(&plan.key) {
        let elements = computed(checkpoint, tensor, plan.written)?;
        let plan = WeightPlan {
            stored: plan.written,
            ..plan.clone()
        };
        return rearrange(&elements, &plan, out).map_err(failed);
    }
    match plan.steps.iter().any(Step::moves) {
        false => copy(checkpoint, tensor, plan, out),
        true => checkpoint
            .with_bytes(tensor, |bytes| rearrange(bytes, plan, out))?
            .map_err(failed),
    }
}

/// Writes a tensor that is at hand.
fn rearrange(bytes: &[u8], plan: &WeightPlan, out: &mut impl Write) -> io::Result<()> {
    let moves: Vec<&Step> = plan.steps.iter().filter(|step| step.rearranges()).collect();
    match moves.as_slice() {
        [Step::Transpose(perm)] if **perm == [1, 0] => turn(bytes, plan, out),
        _ if plan.steps.iter().any(Step::moves) => permute(bytes, plan, out),
        _ => out.write_all(&convert(bytes, plan.stored, plan.written)),
    }
}
fn copy(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    plan: &WeightPlan,
    out: &mut Hashing<impl Write>,
) -> Result<(), StreamError> {
    let mut start = 0;
    while start < tensor.bytes {
        let bytes = PIECE.min(tensor.bytes - start);
        let written = checkpoint.with_range(tensor, start, bytes, |bytes| {
            out.write_all(&convert(bytes, plan.stored, plan.written))
        })?;
        written.map_err(|source| StreamError::Write {
            key: plan.key.clone(),
            source,
        })?;
        start += bytes;
    }
    Ok(())
}

/// Turns a matrix panel by panel.
fn turn(bytes: &[u8], plan: &WeightPlan, out: &mut impl Write) -> io::Result<()> {
    match plan.stored.bytes() {
        1 => turn_elements::<1>(bytes, plan, out),
        2 => turn_elements::<2>(bytes, plan, out),
        4 => turn_elements::<4>(bytes, plan, out),
        _ => turn_elements::<8>(bytes, plan, out),
    }
}

fn turn_elements<const N: usize>(
    bytes: &[u8],
    plan: &WeightPlan,
    out: &mut impl Write,
) -> io::Result<()> {
    let (rows, columns) = (plan.shape[0], plan.shape[1]);
    let (source, _) = bytes.as_chunks::<N>();
    let mut panel = vec![[0; N]; PANEL * rows];
    for first in (0..columns).step_by(PANEL) {
        let width = PANEL.min(columns - first);
        for top in (0..rows).step_by(PANEL) {
            turn_tile(source, &mut panel, [rows, columns], [top, first], width);
        }
        let turned = panel[..width * rows].as_flattened();
        out.write_all(&convert(turned, plan.stored, plan.written))?;
    }
    Ok(())
}

/// One square of [`PANEL`] elements a side, small enough for the nearest cache.
fn turn_tile<const N: usize>(
    source: &[[u8; N]],
    panel: &mut [[u8; N]],
    [rows, columns]: [usize; 2],
    [top, first]: [usize; 2],
    width: usize,
) {
    let height = PANEL.min(rows - top);
    for column in 0..width {
        let line = &mut panel[column * rows + top..][..height];
        for (row, element) in line.iter_mut().enumerate() {
            *element = source[(top + row) * columns + first + column];
        }
    }
}

/// Any sequence of steps, in memory; only small tensors need it.
fn permute(bytes: &[u8], plan: &WeightPlan, out: &mut impl Write) -> io::Result<()> {
    let size = plan.stored.bytes() as usize;
    let (mut data, mut shape) = (bytes.to_vec(), plan.shape.clone());
    for step in &plan.steps {
        match step {
            Step::Reshape(to) => shape.clone_from(to),
            // Done when the numbers were read.
            Step::Cast(_) | Step::Scale(_) | Step::Quantize(_) => {}
            // Done when they are written.
            Step::Pack(_) => {}
            Step::Transpose(perm) => {
                data = permuted(&data, &shape, perm, size);
                shape = perm.iter().map(|axis| shape[*axis]).collect();
            }
        }
    }
    out.write_all(&convert(&data, plan.stored, plan.written))
}

fn permuted(data: &[u8], shape: &[usize], perm: &[usize], size: usize) -> Vec<u8> {
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let (to, strides): (Vec<usize>, Vec<usize>) = perm
        .iter()
        .map(|axis| (shape[*axis], stride(*axis)))
        .unzip();
    let mut out = Vec::with_capacity(data.len());
    let mut at = vec![0; to.len()];
    for _ in 0..shape.iter().product() {
        let from: usize = at.iter().zip(&strides).map(|(i, s)| i * s).sum();
        out.extend_from_slice(&data[from * size..][..size]);
        for axis in (0..at.len()).rev() {
            at[axis] += 1;
            if at[axis] < to[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_moves_elements_where_the_axes_go() {
        let data: Vec<u8> = (0..6).collect();
        assert_eq!(permuted(&data, &[2, 3], &[1, 0], 1), [0, 3, 1, 4, 2, 5]);
        assert_eq!(
            permuted(&data, &[1, 2, 3], &[2, 0, 1], 1),
            [0, 3, 1, 4, 2, 5]
        );
    }
}
