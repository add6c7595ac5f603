//! Normal random numbers, bit for bit those of torch's CPU generator.
//!
//! `TorchRng` gives the float32 values that `torch.randn` gives on an x86 machine with AVX2 for the
//! same seed and the same sequence of calls. Two algorithms share one stream, as in torch: a
//! vectorised one for contiguous tensors of 16 elements and more, and a serial one in double precision
//! for all others. Which of them torch takes depends on the strides of the tensor it fills, so the
//! caller has to know them.

use std::f64::consts::TAU;

use super::box_muller::{self, BLOCK};
use super::mersenne_twister::MersenneTwister;

/// A `torch.Generator` on the CPU, for normal float32 values.
#[derive(Debug, Clone)]
pub struct TorchRng {
    words: MersenneTwister,
    /// The second half of the last serial pair; other draws leave it in place.
    spare: Option<f64>,
}

impl TorchRng {
    /// The generator after `manual_seed(seed)`. Only the low 32 bits of the seed matter, as in torch.
    pub fn new(seed: u64) -> Self {
        Self {
            words: MersenneTwister::new(seed as u32),
            spare: None,
        }
    }

    /// Draws `n` values as `torch.randn` fills a contiguous float32 tensor of `n` elements.
    ///
    /// A shorter draw is in general not a prefix of a longer one.
    pub fn normal(&mut self, n: usize) -> Vec<f32> {
        if n < BLOCK {
            return self.normal_serial(n);
        }
        let mut values = self.normal_blocks(n);
        if !n.is_multiple_of(BLOCK) {
            let last = self.normal_blocks(BLOCK);
            values[n - BLOCK..].copy_from_slice(&last);
        }
        values
    }

    /// Draws `n` values as torch fills a tensor that is not contiguous, in the order of its memory.
    pub fn normal_serial(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next_normal() as f32).collect()
    }

    /// Draws `n` values as [`Self::normal`] draws its blocks; what is left of the last one stays uniform.
    pub(super) fn normal_blocks(&mut self, n: usize) -> Vec<f32> {
        let mut values = self.uniform(n);
        box_muller::transform(&mut values);
        values
    }

    /// Passes over as many words as so many values of blocks take.
    pub(super) fn skip_words(&mut self, n: usize) {
        self.words.skip(n);
    }

    /// Passes over `n` values of [`Self::normal_serial`].
    pub(super) fn skip_serial(&mut self, n: usize) {
        const WORDS_OF_A_PAIR: usize = 4;
        let left = match n > 0 && self.spare.take().is_some() {
            true => n - 1,
            false => n,
        };
        self.words.skip(left / 2 * WORDS_OF_A_PAIR);
        if !left.is_multiple_of(2) {
            let _ = self.next_normal();
        }
    }

    fn uniform(&mut self, n: usize) -> Vec<f32> {
        const SCALE: f32 = 1.0 / (1 << 24) as f32;
        (0..n)
            .map(|_| (self.words.next_u32() & 0x00ff_ffff) as f32 * SCALE)
            .collect()
    }

    fn next_uniform(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.words.next_u64() & ((1 << 53) - 1)) as f64 * SCALE
    }

    fn next_normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let angle = TAU * self.next_uniform();
        let radius = (-2.0 * (-self.next_uniform()).ln_1p()).sqrt();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignores_the_high_half_of_the_seed() {
        let low = TorchRng::new(5).normal(64);
        assert_eq!(TorchRng::new((1 << 32) + 5).normal(64), low);
    }

    #[test]
    fn redraws_the_last_block_of_a_ragged_length() {
        let ragged = TorchRng::new(0).normal(40);
        let mut generator = TorchRng::new(0);
        let _ = generator.uniform(40);
        assert_eq!(ragged[24..], generator.normal(16));
        assert_eq!(ragged[..16], TorchRng::new(0).normal(32)[..16]);
    }

    #[test]
    fn keeps_the_spare_value_across_a_vectorised_draw() {
        let mut interrupted = TorchRng::new(9);
        let first = interrupted.normal_serial(1);
        let _ = interrupted.normal(32);
        let second = interrupted.normal_serial(1);
        assert_eq!([first, second].concat(), TorchRng::new(9).normal_serial(2));
    }

    #[test]
    fn has_zero_mean_and_unit_variance() {
        let values = TorchRng::new(1).normal(1 << 16);
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.02);
        assert!((variance - 1.0).abs() < 0.02);
    }
}
