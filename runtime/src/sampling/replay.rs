//! Noise recorded from another run, to compare two programs on the same draws.

use std::collections::VecDeque;

use super::noise::{NoiseError, NoiseSource, Purpose};

/// Recorded draws, handed out in the recorded order.
///
/// Initial and decode noise must be recorded in the order they are handed out in: (B, F*H*W, C) and
/// (B, C, F, H, W).
#[derive(Debug, Clone)]
pub struct Replay {
    draws: VecDeque<(String, Vec<f32>)>,
}

impl Replay {
    /// Takes the recorded draws, each with a name for messages, its shape and its values.
    pub fn new(draws: Vec<(String, Vec<usize>, Vec<f32>)>) -> Result<Self, NoiseError> {
        let checked = draws.into_iter().map(|(name, shape, values)| {
            let found = values.len();
            if shape.iter().product::<usize>() == found {
                Ok((name, values))
            } else {
                Err(NoiseError::Record { name, shape, found })
            }
        });
        Ok(Self {
            draws: checked.collect::<Result<_, _>>()?,
        })
    }

    /// Checks that every recorded draw was used.
    pub fn finish(self) -> Result<(), NoiseError> {
        let count = self.draws.len();
        match self.draws.into_iter().next() {
            Some((name, _)) => Err(NoiseError::LeftOver { count, name }),
            None => Ok(()),
        }
    }
}

impl NoiseSource for Replay {
    fn draw(&mut self, purpose: Purpose, shape: &[usize]) -> Result<Vec<f32>, NoiseError> {
        let expected = shape.iter().product();
        let Some((name, values)) = self.draws.pop_front() else {
            return Err(NoiseError::Exhausted { purpose, expected });
        };
        let found = values.len();
        if found != expected {
            return Err(NoiseError::Size {
                name,
                purpose,
                expected,
                found,
            });
        }
        Ok(values)
    }

    fn copy(&self) -> Option<Box<dyn NoiseSource>> {
        Some(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Replay {
        let draws = vec![
            ("first".to_owned(), vec![1, 2], vec![1.0, 2.0]),
            ("second".to_owned(), vec![3], vec![3.0, 4.0, 5.0]),
        ];
        Replay::new(draws).expect("shapes describe the values")
    }

    #[test]
    fn hands_out_draws_in_order() {
        let mut replay = recording();
        assert_eq!(
            replay.draw(Purpose::Initial, &[1, 1, 1, 1, 2]),
            Ok(vec![1.0, 2.0])
        );
        assert_eq!(
            replay.draw(Purpose::Step, &[1, 3, 1]),
            Ok(vec![3.0, 4.0, 5.0])
        );
        assert_eq!(replay.finish(), Ok(()));
    }

    #[test]
    fn names_the_draw_that_does_not_fit() {
        let refused = recording()
            .draw(Purpose::Plane, &[2, 2])
            .map_err(|e| e.to_string());
        let message = "recorded draw `first` has 2 values where plane noise needs 4";
        assert_eq!(refused, Err(message.to_owned()));
    }

    #[test]
    fn reports_draws_left_over_and_draws_missing() {
        let left = NoiseError::LeftOver {
            count: 2,
            name: "first".to_owned(),
        };
        assert_eq!(recording().finish(), Err(left));
        let mut empty = Replay::new(Vec::new()).expect("an empty recording");
        let exhausted = NoiseError::Exhausted {
            purpose: Purpose::Decode,
            expected: 6,
        };
        assert_eq!(empty.draw(Purpose::Decode, &[2, 3]), Err(exhausted));
    }

    #[test]
    fn refuses_a_shape_that_does_not_describe_the_values() {
        let wrong = Replay::new(vec![("odd".to_owned(), vec![2], vec![0.0; 3])]);
        assert!(matches!(wrong, Err(NoiseError::Record { found: 3, .. })));
    }
}
