//! Guidance: from the velocities of up to three network rows to the one the solver follows.
//!
//! Classifier-free guidance (CFG) moves away from the negative prompt, spatio-temporal guidance (STG)
//! moves away from a prediction with some blocks perturbed. Both are off where their scale says so,
//! and then their row need not be computed. Scales may change along the schedule.

use ltxc_bundle::Scheduled;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One row of the network's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    /// The negative prompt.
    Negative,
    /// The prompt.
    Positive,
    /// The prompt, with self-attention perturbed in the blocks to skip.
    Perturbed,
}

/// Why velocities cannot be combined or scales not chosen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GuidanceError {
    /// A row is needed and not there.
    #[error("guidance needs the {row:?} row")]
    Missing {
        /// The row.
        row: Row,
    },
    /// A row has another size than the positive one.
    #[error("the {what} has {found} values, the positive row has {expected}")]
    Length {
        /// What does not match.
        what: &'static str,
        /// The size of the positive row.
        expected: usize,
        /// Its size.
        found: usize,
    },
    /// A stacked prediction is not as many rows as guidance asks for.
    #[error("{found} stacked values are not {rows} rows of equal size")]
    Stack {
        /// The number of values.
        found: usize,
        /// The number of rows.
        rows: usize,
    },
    /// A list of scales has no timesteps to go with it.
    #[error("a list of {found} values needs guidance_timesteps of the same length, not {expected}")]
    List {
        /// The number of guidance timesteps.
        expected: usize,
        /// The number of values.
        found: usize,
    },
}

/// The velocities of one sample, each (N, C) flattened.
#[derive(Debug, Clone, Copy)]
pub struct Predictions<'a> {
    /// For the negative prompt; needed for CFG.
    pub negative: Option<&'a [f32]>,
    /// For the prompt.
    pub positive: &'a [f32],
    /// For the perturbed network; needed for STG.
    pub perturbed: Option<&'a [f32]>,
}

impl<'a> Predictions<'a> {
    /// Splits a batch of the given rows, in their order.
    pub fn from_stacked(rows: &[Row], stacked: &'a [f32]) -> Result<Self, GuidanceError> {
        let found = stacked.len();
        if rows.is_empty() || found == 0 || !found.is_multiple_of(rows.len()) {
            return Err(GuidanceError::Stack {
                found,
                rows: rows.len(),
            });
        }
        let size = found / rows.len();
        let take = |wanted: Row| {
            let place = rows.iter().position(|row| *row == wanted)?;
            Some(&stacked[place * size..(place + 1) * size])
        };
        let positive = take(Row::Positive).ok_or(GuidanceError::Missing { row: Row::Positive })?;
        Ok(Self {
            negative: take(Row::Negative),
            positive,
            perturbed: take(Row::Perturbed),
        })
    }
}

/// The guidance of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// The strength of CFG, on above one.
    pub guidance_scale: f32,
    /// The strength of STG, on above zero.
    pub stg_scale: f32,
    /// How much of the prompt's standard deviation to restore under STG; one switches it off.
    pub rescaling_scale: f32,
    /// Whether the negative velocity is first scaled to its projection on the positive one (CFG-Zero*,
    /// Fan et al., 2025).
    pub cfg_star: bool,
}

impl Guidance {
    /// The rows to compute, in the order of the batch.
    pub fn rows(&self) -> Vec<Row> {
        let wanted = [
            self.uses_cfg().then_some(Row::Negative),
            Some(Row::Positive),
            self.uses_stg().then_some(Row::Perturbed),
        ];
        wanted.into_iter().flatten().collect()
    }

    /// Writes the guided velocity of one sample to `out`. Rows that are not needed are ignored.
    pub fn combine(&self, rows: Predictions<'_>, out: &mut [f32]) -> Result<(), GuidanceError> {
        let positive = rows.positive;
        check_length("output", positive, out)?;
        out.copy_from_slice(positive);
        if self.uses_cfg() {
            let negative = needed(rows.negative, Row::Negative)?;
            check_length("negative row", positive, negative)?;
            self.add_cfg(positive, negative, out);
        }
        if self.uses_stg() {
            let perturbed = needed(rows.perturbed, Row::Perturbed)?;
            check_length("perturbed row", positive, perturbed)?;
            self.add_stg(positive, perturbed, out);
        }
        Ok(())
    }

    fn uses_cfg(&self) -> bool {
        self.guidance_scale > 1.0
    }

    fn uses_stg(&self) -> bool {
        self.stg_scale > 0.0
    }

    fn add_cfg(&self, positive: &[f32], negative: &[f32], out: &mut [f32]) {
        let projection = if self.cfg_star {
            (dot(positive, negative) / (dot(negative, negative) + 1e-8)) as f32
        } else {
            1.0
        };
        for ((v, positive), negative) in out.iter_mut().zip(positive).zip(negative) {
            let negative = projection * negative;
            *v = negative + self.guidance_scale * (positive - negative);
        }
    }

    fn add_stg(&self, positive: &[f32], perturbed: &[f32], out: &mut [f32]) {
        for ((v, positive), perturbed) in out.iter_mut().zip(positive).zip(perturbed) {
            *v += self.stg_scale * (positive - perturbed);
        }
        if self.rescaling_scale == 1.0 {
            return;
        }
        let restoring = (standard_deviation(positive) / standard_deviation(out)) as f32;
        let factor = self.rescaling_scale * restoring + (1.0 - self.rescaling_scale);
        out.iter_mut().for_each(|v| *v *= factor);
    }
}

/// The guidance of a whole run, in the names of the reference pipeline's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuidanceSchedule {
    /// The strength of CFG.
    pub guidance_scale: Scheduled<f32>,
    /// The strength of STG.
    pub stg_scale: Scheduled<f32>,
    /// How much of the prompt's standard deviation to restore.
    pub rescaling_scale: Scheduled<f32>,
    /// Whether CFG projects the negative velocity.
    #[serde(default)]
    pub cfg_star_rescale: bool,
    /// The timesteps from which the listed values hold, in falling order; empty if nothing is listed.
    #[serde(default)]
    pub guidance_timesteps: Vec<f32>,
}

impl GuidanceSchedule {
    /// The guidance at a timestep.
    pub fn at(&self, timestep: f32) -> Result<Guidance, GuidanceError> {
        let value = |setting: &Scheduled<f32>| self.pick(setting, timestep).copied();
        Ok(Guidance {
            guidance_scale: value(&self.guidance_scale)?,
            stg_scale: value(&self.stg_scale)?,
            rescaling_scale: value(&self.rescaling_scale)?,
            cfg_star: self.cfg_star_rescale,
        })
    }

    /// What a setting is at a timestep.
    pub fn pick<'s, T>(
        &self,
        setting: &'s Scheduled<T>,
        timestep: f32,
    ) -> Result<&'s T, GuidanceError> {
        let value = setting.at(&self.guidance_timesteps, timestep);
        value.ok_or_else(|| GuidanceError::List {
            expected: self.guidance_timesteps.len(),
            found: setting.values().count(),
        })
    }
}

fn needed(row: Option<&[f32]>, name: Row) -> Result<&[f32], GuidanceError> {
    row.ok_or(GuidanceError::Missing { row: name })
}

fn check_length(what: &'static str, positive: &[f32], row: &[f32]) -> Result<(), GuidanceError> {
    let (expected, found) = (positive.len(), row.len());
    if found == expected {
        return Ok(());
    }
    Err(GuidanceError::Length {
        what,
        expected,
        found,
    })
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    let products = left.iter().zip(right);
    products.map(|(l, r)| f64::from(*l) * f64::from(*r)).sum()
}

/// The square root of the unbiased variance.
fn standard_deviation(values: &[f32]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt()
}
