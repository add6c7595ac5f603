//! Timesteps of tokens as the network takes them: the distinct ones, and which of them each token has.
//!
//! Tokens that are given move at timesteps of their own, but there are few of those: one for each strength. What the
//! network makes of a timestep alone it makes once for each.

use std::collections::BTreeMap;

/// The distinct timesteps of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Distinct {
    /// (rows, T): the timesteps, in the order of the first token that has them.
    pub values: Vec<f32>,
    /// The place among T of each token's timestep; a single 0 where all tokens have the same.
    pub of: Vec<i64>,
}

impl Distinct {
    /// Takes (rows, N) timesteps apart; tokens share one where they agree to the bit in every row. Values that make
    /// no full row are ignored.
    pub fn new(rows: usize, timesteps: &[f32]) -> Self {
        let tokens = timesteps.len() / rows.max(1);
        let mut places: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        let (mut firsts, mut of) = (Vec::new(), Vec::with_capacity(tokens));
        for token in 0..tokens {
            let bits = |row: usize| timesteps[row * tokens + token].to_bits();
            let place = *places
                .entry((0..rows).map(bits).collect())
                .or_insert_with(|| {
                    firsts.push(token);
                    firsts.len() - 1
                });
            of.push(place as i64);
        }
        if firsts.len() == 1 {
            of.truncate(1);
        }
        let row = |row: usize| firsts.iter().map(move |token| row * tokens + token);
        let values = (0..rows).flat_map(row).map(|at| timesteps[at]).collect();
        Self { values, of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_timestep_for_all_is_one() {
        let one = Distinct {
            values: vec![0.5, 0.25],
            of: vec![0],
        };
        assert_eq!(Distinct::new(2, &[0.5, 0.25]), one);
        assert_eq!(Distinct::new(2, &[0.5, 0.5, 0.5, 0.25, 0.25, 0.25]), one);
    }

    #[test]
    fn tokens_share_a_timestep_only_if_all_rows_do() {
        let found = Distinct::new(2, &[0.0, 0.5, 0.0, 0.5, 0.0, 0.5, 0.25, 0.5]);
        assert_eq!(found.values, [0.0, 0.5, 0.0, 0.0, 0.5, 0.25]);
        assert_eq!(found.of, [0, 1, 2, 1]);
    }
}
