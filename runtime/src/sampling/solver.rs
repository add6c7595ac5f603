//! The rectified-flow solver: one step of x_t = (1 - t) x0 + t noise along the predicted velocity.
//!
//! Every token may have a timestep of its own. A token goes to the largest timestep of the schedule
//! that lies below its own, or to zero if there is none, so conditioning tokens that are almost clean
//! take fewer steps than the rest.

use thiserror::Error;

/// Timesteps closer than this are the same.
const TIMESTEP_EPSILON: f32 = 1e-6;

/// Why a step cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SolverError {
    /// A tensor does not match the latents.
    #[error("{what} has {found} values where the latents have {expected}")]
    Length {
        /// The tensor.
        what: &'static str,
        /// The size of the latents.
        expected: usize,
        /// Its size.
        found: usize,
    },
    /// The latents are not a whole number of tokens.
    #[error("{found} latent values are not tokens of {channels} channels")]
    Channels {
        /// The size of the latents.
        found: usize,
        /// The channels of a token.
        channels: usize,
    },
    /// The timesteps are neither one for all nor one for each token.
    #[error("{found} timesteps for {tokens} tokens: give one, or one for each token")]
    Timesteps {
        /// The number of timesteps.
        found: usize,
        /// The number of tokens.
        tokens: usize,
    },
}

/// Steps along a schedule for tokens of a number of channels.
#[derive(Debug, Clone, Copy)]
pub struct Solver<'a> {
    /// The timesteps of the whole run.
    pub schedule: &'a [f32],
    /// The channels of a token, the fastest dimension of every tensor.
    pub channels: usize,
}

impl Solver<'_> {
    /// The timestep that a token at `timestep` goes to.
    pub fn next_timestep(&self, timestep: f32) -> f32 {
        let below = |t: &f32| *t < timestep - TIMESTEP_EPSILON;
        self.schedule
            .iter()
            .copied()
            .filter(below)
            .fold(0.0, f32::max)
    }

    /// One Euler step: x -= (t - next) v. Tensors are (N, C), `timesteps` has one value or N.
    pub fn step(
        &self,
        latents: &mut [f32],
        velocity: &[f32],
        timesteps: &[f32],
    ) -> Result<(), SolverError> {
        self.check(latents, timesteps)?;
        check_length("velocity", latents, velocity)?;
        let tokens = latents.chunks_exact_mut(self.channels);
        let velocities = velocity.chunks_exact(self.channels);
        for ((token, velocity), t) in tokens.zip(velocities).zip(per_token(timesteps)) {
            let dt = t - self.next_timestep(t);
            for (x, v) in token.iter_mut().zip(velocity) {
                *x -= dt * v;
            }
        }
        Ok(())
    }

    /// One stochastic step: predict x0 = x - t v, then x = (1 - next) x0 + next noise.
    pub fn stochastic_step(
        &self,
        latents: &mut [f32],
        velocity: &[f32],
        noise: &[f32],
        timesteps: &[f32],
    ) -> Result<(), SolverError> {
        self.check(latents, timesteps)?;
        check_length("velocity", latents, velocity)?;
        check_length("noise", latents, noise)?;
        let tokens = latents.chunks_exact_mut(self.channels);
        let sources = velocity
            .chunks_exact(self.channels)
            .zip(noise.chunks_exact(self.channels));
        for ((token, (velocity, noise)), t) in tokens.zip(sources).zip(per_token(timesteps)) {
            let next = t - (t - self.next_timestep(t));
            for ((x, v), noise) in token.iter_mut().zip(velocity).zip(noise) {
                *x = (1.0 - next) * (*x - t * v) + next * noise;
            }
        }
        Ok(())
    }

    fn check(&self, latents: &[f32], timesteps: &[f32]) -> Result<(), SolverError> {
        let (found, channels) = (latents.len(), self.channels);
        if channels == 0 || !found.is_multiple_of(channels) {
            return Err(SolverError::Channels { found, channels });
        }
        let tokens = found / channels;
        if timesteps.len() == 1 || timesteps.len() == tokens {
            return Ok(());
        }
        Err(SolverError::Timesteps {
            found: timesteps.len(),
            tokens,
        })
    }
}

fn check_length(what: &'static str, latents: &[f32], other: &[f32]) -> Result<(), SolverError> {
    let (expected, found) = (latents.len(), other.len());
    if found == expected {
        return Ok(());
    }
    Err(SolverError::Length {
        what,
        expected,
        found,
    })
}

/// The timesteps token by token; a single one lasts for all tokens.
fn per_token(timesteps: &[f32]) -> impl Iterator<Item = f32> {
    timesteps.iter().copied().cycle()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOLVER: Solver<'static> = Solver {
        schedule: &[1.0, 0.8, 0.5],
        channels: 2,
    };

    #[test]
    fn a_token_goes_to_the_next_lower_timestep() {
        assert_eq!(SOLVER.next_timestep(1.0), 0.8);
        assert_eq!(SOLVER.next_timestep(0.6), 0.5);
        assert_eq!(SOLVER.next_timestep(0.5 + 1e-7), 0.0);
        assert_eq!(SOLVER.next_timestep(0.0), 0.0);
    }

    #[test]
    fn a_clean_token_does_not_move() {
        let mut latents = [3.0, -3.0, 1.0, 1.0];
        let stepped = SOLVER.step(&mut latents, &[1.0; 4], &[0.0, 0.5]);
        assert_eq!(stepped, Ok(()));
        assert_eq!(latents, [3.0, -3.0, 0.5, 0.5]);
    }

    #[test]
    fn the_exact_velocity_leads_to_the_data() {
        let (data, noise) = ([0.5_f32, -2.0], [1.5_f32, 0.25]);
        let velocity = [noise[0] - data[0], noise[1] - data[1]];
        let mut latents = noise;
        for t in SOLVER.schedule {
            assert_eq!(SOLVER.step(&mut latents, &velocity, &[*t]), Ok(()));
        }
        assert!(latents.iter().zip(data).all(|(x, d)| (x - d).abs() < 1e-6));
    }

    #[test]
    fn the_last_stochastic_step_needs_no_noise() {
        let mut latents = [1.0, 2.0];
        let stepped = SOLVER.stochastic_step(&mut latents, &[2.0, 2.0], &[9.0; 2], &[0.5]);
        assert_eq!(stepped, Ok(()));
        assert_eq!(latents, [0.0, 1.0]);
    }

    #[test]
    fn refuses_tensors_that_do_not_match() {
        let mut latents = [0.0; 4];
        let short = SOLVER.step(&mut latents, &[0.0; 3], &[1.0]);
        assert!(matches!(
            short,
            Err(SolverError::Length {
                what: "velocity",
                ..
            })
        ));
        let ragged = SOLVER.step(&mut latents[..3], &[0.0; 3], &[1.0]);
        assert!(matches!(ragged, Err(SolverError::Channels { .. })));
        let timesteps = SOLVER.step(&mut latents, &[0.0; 4], &[1.0; 3]);
        assert_eq!(
            timesteps,
            Err(SolverError::Timesteps {
                found: 3,
                tokens: 2
            })
        );
    }
}
