//! In which basis weights in eight bits are.
//!
//! The E4M3 files of LTX-Video 0.9.7 and 0.9.8 have no scales, and they do not say whether rows were multiplied by a
//! Hadamard matrix before the cast, as the kernels they were made for want it. So that is told from the numbers, or
//! by the user. Weights with scales are never rotated.

use std::collections::BTreeSet;
use std::path::Path;

use super::error::CheckpointError;
use super::transformer_dialect::PREFIX;
use super::{Checkpoint, Dtype, TensorInfo};
use crate::numbers::{hadamard, widen};

/// Matrices and rows of each that are looked at, and elements that are enough to judge.
const SAMPLES: usize = 8;
const SAMPLED_ROWS: usize = 256;
/// The difference of the two statistics that decides: in standard deviations of a random matrix, and as a ratio.
const CERTAIN: f64 = 4.0;
const RATIO: f64 = 1.5;

/// How E4M3 weights without scales are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fp8 {
    /// Told from the numbers.
    #[default]
    Auto,
    /// As they are.
    Plain,
    /// Each row multiplied by a normalised Walsh-Hadamard matrix.
    Hadamard,
}

impl std::str::FromStr for Fp8 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "plain" => Ok(Self::Plain),
            "hadamard" => Ok(Self::Hadamard),
            _ => Err(format!(
                "`{text}` says nothing of FP8 weights; write auto, plain or hadamard"
            )),
        }
    }
}

/// What the numbers of a few matrices say.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    /// How far the stored numbers and the rotated ones are from a normal distribution.
    stored: f64,
    rotated: f64,
    /// The mean of their difference over its standard deviation in a random matrix; positive speaks for plain.
    certainty: f64,
}

impl Evidence {
    fn verdict(&self) -> Option<Fp8> {
        match self.certainty {
            c if c > CERTAIN && self.stored > RATIO * self.rotated => Some(Fp8::Plain),
            c if c < -CERTAIN && self.rotated > RATIO * self.stored => Some(Fp8::Hadamard),
            _ => None,
        }
    }
}

impl Checkpoint {
    /// Settles how E4M3 weights without scales are meant, and says so in a note.
    pub fn settle_fp8(&mut self, asked: Fp8) -> Result<(), CheckpointError> {
        let candidates: Vec<TensorInfo> = self.rotatable().cloned().collect();
        let Some(first) = candidates.first() else {
            return match asked {
                Fp8::Hadamard => Err(self.unexpected(
                    "E4M3 weights without scales in transformer blocks, which alone can be rotated",
                    "none",
                )),
                _ => Ok(()),
            };
        };
        let odd = |tensor: &&TensorInfo| !tensor.shape[1].is_power_of_two();
        let odd = candidates.iter().find(odd);
        let count = candidates.len();
        let said = match (asked, odd) {
            (Fp8::Plain, _) => (Fp8::Plain, "as asked".to_owned()),
            (Fp8::Hadamard, None) => (Fp8::Hadamard, "as asked".to_owned()),
            (Fp8::Hadamard, Some(odd)) => {
                let expected = "a width that is a power of two, as a Hadamard matrix has";
                return Err(self.refuse(odd, expected, odd.shape[1].to_string()));
            }
            (Fp8::Auto, Some(odd)) => (
                Fp8::Plain,
                format!("as no Hadamard matrix is {} wide", odd.shape[1]),
            ),
            (Fp8::Auto, None) => self.judge(&candidates)?,
        };
        let (meaning, reason) = said;
        let basis = match meaning {
            Fp8::Hadamard => "rotated back by a Hadamard matrix",
            _ => "taken as they are, not rotated",
        };
        self.notes.push(format!(
            "{count} E4M3 weights such as `{}` are {basis}: {reason}",
            first.source_key
        ));
        if meaning == Fp8::Hadamard {
            self.rotated = candidates.into_iter().map(|tensor| tensor.key).collect();
        }
        Ok(())
    }

    /// What a quantiser for rotated weights would have rotated.
    fn rotatable(&self) -> impl Iterator<Item = &TensorInfo> {
        let blocks = format!("{PREFIX}transformer_blocks.");
        self.tensors.values().filter(move |tensor| {
            tensor.dtype == Dtype::F8E4M3
                && tensor.shape.len() == 2
                && tensor.bytes > 0
                && tensor.key.starts_with(&blocks)
                && !self.scales.contains_key(&tensor.key)
        })
    }

    fn judge(&self, candidates: &[TensorInfo]) -> Result<(Fp8, String), CheckpointError> {
        let query = |tensor: &&TensorInfo| tensor.key.ends_with("to_q.weight");
        let mut looked_at: Vec<&TensorInfo> = candidates.iter().filter(query).collect();
        if looked_at.is_empty() {
            looked_at = candidates.iter().collect();
        }
        let evidence = self.evidence(&looked_at)?;
        let numbers = format!(
            "distance from a normal distribution {:.3} as stored, {:.3} rotated, certainty {:.1}",
            evidence.stored,
            evidence.rotated,
            evidence.certainty.abs()
        );
        Ok(match evidence.verdict() {
            Some(meaning) => (meaning, format!("told from their numbers ({numbers})")),
            None => (
                Fp8::Plain,
                format!(
                    "assumed, their numbers do not tell ({numbers}); if the video is noise, give --fp8 hadamard"
                ),
            ),
        })
    }

    fn evidence(&self, matrices: &[&TensorInfo]) -> Result<Evidence, CheckpointError> {
        let step = matrices.len().div_ceil(SAMPLES).max(1);
        let (mut count, mut sums) = (0.0, [0.0; 3]);
        for tensor in matrices.iter().step_by(step) {
            let columns = tensor.shape[1];
            let mut values = self.sample(tensor)?;
            let deviation = (24.0 / values.len().max(1) as f64).sqrt();
            let stored = distance(values.clone(), columns);
            values.chunks_exact_mut(columns).for_each(hadamard);
            let rotated = distance(values, columns);
            count += 1.0;
            for (sum, term) in
                sums.iter_mut()
                    .zip([stored, rotated, (stored - rotated) / deviation])
            {
                *sum += term;
            }
        }
        let [stored, rotated, certainty] = sums.map(|sum| sum / f64::max(count, 1.0));
        Ok(Evidence {
            stored,
            rotated,
            certainty,
        })
    }

    /// Rows from all over a matrix.
    fn sample(&self, tensor: &TensorInfo) -> Result<Vec<f32>, CheckpointError> {
        let (rows, columns) = (tensor.shape[0], tensor.shape[1] as u64);
        let step = rows.div_ceil(SAMPLED_ROWS).max(1);
        let mut values = Vec::new();
        for row in (0..rows).step_by(step) {
            let read = |bytes: &[u8]| widen(bytes, tensor.dtype).unwrap_or_default();
            values.extend(self.with_range(tensor, row as u64 * columns, columns, read)?);
        }
        Ok(values)
    }

    /// An error about a tensor of this checkpoint.
    pub(crate) fn refuse(
        &self,
        tensor: &TensorInfo,
        expected: &str,
        found: impl Into<String>,
    ) -> CheckpointError {
        let path = self.paths.get(tensor.file);
        let path = path.map_or(Path::new(""), |path| path.as_path());
        CheckpointError::tensor(path, &tensor.source_key, expected, found)
    }

    fn unexpected(&self, expected: &str, found: &str) -> CheckpointError {
        let path = self.paths.first();
        let path = path.map_or(Path::new(""), |path| path.as_path());
        CheckpointError::unexpected(path, expected, found)
    }
}

/// How far a matrix is from normally distributed: the size of its excess kurtosis, after its rows and columns were
/// brought to one energy. Trained weights keep to their basis, so that they are further from it than any rotation of
/// them, whose elements are sums of many.
fn distance(mut values: Vec<f32>, columns: usize) -> f64 {
    for _ in 0..2 {
        for row in values.chunks_exact_mut(columns) {
            let energy = row.iter().map(|v| f64::from(v * v)).sum::<f64>() / columns as f64;
            let factor = inverse_root(energy);
            row.iter_mut().for_each(|v| *v *= factor);
        }
        let rows = (values.len() / columns) as f64;
        let mut energies = vec![0.0; columns];
        for row in values.chunks_exact(columns) {
            for (energy, v) in energies.iter_mut().zip(row) {
                *energy += f64::from(v * v) / rows;
            }
        }
        let factors: Vec<f32> = energies.into_iter().map(inverse_root).collect();
        for row in values.chunks_exact_mut(columns) {
            row.iter_mut().zip(&factors).for_each(|(v, f)| *v *= f);
        }
    }
    let fourth = values.iter().map(|v| f64::from(*v).powi(4)).sum::<f64>();
    (fourth / values.len().max(1) as f64 - 3.0).abs()
}

fn inverse_root(energy: f64) -> f32 {
    match energy > 0.0 {
        true => energy.sqrt().recip() as f32,
        false => 0.0,
    }
}

/// The keys of weights that are rotated.
pub(super) type Rotated = BTreeSet<String>;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of uniform numbers: one gives a uniform distribution, many a normal one.
    fn matrix(rows: usize, columns: usize, sums: usize) -> Vec<f32> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut value = || (0..sums).map(|_| next()).sum::<f32>();
        (0..rows * columns).map(|_| value()).collect()
    }

    #[test]
    fn a_rotation_hides_what_is_not_normal() {
        let mut uniform = matrix(64, 64, 1);
        assert!(distance(uniform.clone(), 64) > 0.9);
        uniform.chunks_exact_mut(64).for_each(hadamard);
        assert!(distance(uniform, 64) < 0.3);
        assert!(distance(matrix(64, 64, 12), 64) < 0.4);
    }

    #[test]
    fn a_verdict_needs_certainty_and_size() {
        let evidence = |stored, rotated, certainty| Evidence {
            stored,
            rotated,
            certainty,
        };
        assert_eq!(evidence(0.6, 0.1, 9.0).verdict(), Some(Fp8::Plain));
        assert_eq!(evidence(0.1, 0.6, -9.0).verdict(), Some(Fp8::Hadamard));
        assert_eq!(evidence(0.30, 0.25, 9.0).verdict(), None);
        assert_eq!(evidence(0.6, 0.1, 3.0).verdict(), None);
    }
}
