//! The tokens of a window to latents: the loop over the schedule.

use std::sync::Arc;
use std::time::Instant;

use ltxc_bundle::Denoise;

use super::component::Tensors;
use super::encode::Text;
use super::event::Event;
use super::generate::{Run, missing};
use super::pass::Pass;
use super::passes::PassJob;
use super::start::Tokens;
use super::{Component, RunError};
use crate::sampling::{Distinct, Guidance, Predictions, Purpose, Row, Solver};
use crate::tensor::Tensor;

/// Tokens given this strongly stay as they are.
const HARD: f32 = 1.0 - 1e-6;
/// A token that is given moves once the timestep is this near to what its strength leaves open.
const NEAR: f32 = 1e-6;

/// What stays the same for all steps of some takes.
pub(super) struct Loop<'a> {
    component: Arc<Component>,
    pass: &'a PassJob,
    takes: Vec<usize>,
    /// Which window of the pass it is.
    window: usize,
    prompts: Vec<Prompts>,
    coords: Tensor,
    mask: Option<Vec<f32>>,
    /// Tokens beside the video, which come first.
    pub extra: usize,
    tokens: usize,
    /// Blocks that the component can perturb.
    blocks: Option<usize>,
}

/// Hidden states for the rows of one take.
struct Prompts {
    negative: Option<Arc<Text>>,
    positive: Arc<Text>,
}

/// One step of the schedule.
struct Step {
    sigma: f32,
    guidance: Guidance,
    rows: Vec<Row>,
    /// 1, or 0 where a block is perturbed, for each block and row.
    keep: Option<Vec<f32>>,
}

impl Run<'_, '_> {
    /// Takes the tokens of a window along the whole schedule; `done` windows and groups were before.
    pub(super) fn denoise_window(
        &mut self,
        at_work: &Pass<'_>,
        fixed: &Loop<'_>,
        mut latents: Vec<Vec<f32>>,
        done: usize,
    ) -> Result<Vec<Vec<f32>>, RunError> {
        let (pass, steps) = (fixed.pass, fixed.pass.timesteps.len());
        let initial = (fixed.mask.is_some() && pass.condition_noise > 0.0).then(|| latents.clone());
        let groups = self.takes.len().div_ceil(self.takes_at_once(at_work.op)?);
        fixed.component.begin(pass.step_cache, pass.dense_steps)?;
        for (index, &sigma) in pass.timesteps.iter().enumerate() {
            at_work
                .ahead
                .as_ref()
                .map_or(Ok(()), |ahead| ahead.feed.check())?;
            let begin = Instant::now();
            if let Some(initial) = &initial {
                self.renoise(fixed, &mut latents, initial, sigma)?;
            }
            self.step(fixed, &mut latents, fixed.window * steps + index, sigma)?;
            self.tell(Event::Step {
                stage: at_work.stage,
                step: done * steps + index + 1,
                steps: groups * pass.windows() * steps,
                window: fixed.window + 1,
                windows: pass.windows(),
                sigma,
                elapsed: begin.elapsed(),
            });
        }
        self.reused += fixed.component.reused();
        Ok(latents)
    }

    pub(super) fn fixed<'a>(
        &mut self,
        at_work: &Pass<'a>,
        component: &Arc<Component>,
        takes: &[usize],
        window: usize,
        starts: Vec<Tokens>,
    ) -> Result<(Loop<'a>, Vec<Vec<f32>>), RunError> {
        let (op, pass) = (at_work.op, at_work.job);
        let first = starts.first().ok_or_else(|| missing(&op.start))?;
        let keep = component.spec.input("keep");
        let known = |_: &str| None;
        let blocks = keep.and_then(|port| port.shape.first()?.value(&known));
        let mut prompts = Vec::new();
        for take in takes {
            prompts.push(self.prompts(op, *take, pass, window)?);
        }
        let fixed = Loop {
            component: Arc::clone(component),
            pass,
            takes: takes.to_vec(),
            window,
            prompts,
            coords: first.coords.clone(),
            mask: first.mask.clone(),
            extra: first.extra,
            tokens: first.values.len() / self.job.channels,
            blocks: blocks.and_then(|n| usize::try_from(n).ok()),
        };
        Ok((
            fixed,
            starts.into_iter().map(|start| start.values).collect(),
        ))
    }

    fn prompts(
        &self,
        op: &Denoise,
        take: usize,
        pass: &PassJob,
        window: usize,
    ) -> Result<Prompts, RunError> {
        let prompt = self.job.prompt_of(&self.takes[take].prompt, pass, window)?;
        let texts = self.texts.get(&op.text).ok_or_else(|| missing(&op.text))?;
        let text = |prompt: &str| texts.get(prompt).cloned().ok_or_else(|| missing(&op.text));
        Ok(Prompts {
            negative: match pass.uses_negative() {
                true => Some(text(&self.job.negative_prompt)?),
                false => None,
            },
            positive: text(&prompt)?,
        })
    }

    /// Fresh noise on the tokens that are wholly given: it keeps the video from freezing at a given image.
    fn renoise(
        &mut self,
        fixed: &Loop<'_>,
        latents: &mut [Vec<f32>],
        initial: &[Vec<f32>],
        sigma: f32,
    ) -> Result<(), RunError> {
        let (channels, scale) = (self.job.channels, fixed.pass.condition_noise);
        let mask = fixed.mask.as_deref().unwrap_or_default();
        for ((take, latents), initial) in fixed.takes.iter().zip(latents).zip(initial) {
            let noise = self.draw(*take, Purpose::Condition, &[1, fixed.tokens, channels])?;
            for (token, _) in mask.iter().enumerate().filter(|(_, given)| **given > HARD) {
                for at in token * channels..(token + 1) * channels {
                    latents[at] = initial[at] + scale * noise[at] * (sigma * sigma);
                }
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        fixed: &Loop<'_>,
        latents: &mut [Vec<f32>],
        index: usize,
        sigma: f32,
    ) -> Result<(), RunError> {
        let (channels, step) = (self.job.channels, fixed.plan(sigma)?);
        let timesteps = fixed.timesteps(sigma);
        let rows = step.rows.len();
        let shape = [fixed.takes.len() * rows, fixed.tokens, channels];
        let inputs = fixed.inputs(&step, latents, &timesteps, shape)?;
        let turn = self.runner.turn();
        let predicted = fixed
            .component
            .run_for(inputs, "velocity", &shape.map(Some))?;
        drop(turn);
        let stacked = predicted
            .values::<f32>()?
            .chunks_exact(rows * fixed.tokens * channels);
        let name = format!("step{:02}", self.steps_done + index);
        for ((take, latents), stacked) in fixed.takes.iter().zip(latents).zip(stacked) {
            self.observe(
                *take,
                &format!("{name}.dit_velocity"),
                &[rows, fixed.tokens, channels],
                stacked,
            )?;
            let velocity = fixed.guided(&step, stacked, index)?;
            let shape = [1, fixed.tokens, channels];
            self.observe(*take, &format!("{name}.guided_velocity"), &shape, &velocity)?;
            self.advance(*take, fixed, latents, &velocity, &timesteps, sigma)?;
            self.observe(*take, &format!("{name}.latents_out"), &shape, latents)?;
        }
        Ok(())
    }

    fn advance(
        &mut self,
        take: usize,
        fixed: &Loop<'_>,
        latents: &mut [f32],
        velocity: &[f32],
        timesteps: &[f32],
        sigma: f32,
    ) -> Result<(), RunError> {
        let channels = self.job.channels;
        let solver = Solver {
            schedule: &fixed.pass.timesteps,
            channels,
        };
        let before = fixed.mask.as_ref().map(|_| latents.to_vec());
        if fixed.pass.stochastic {
            let noise = self.draw(take, Purpose::Step, &[1, fixed.tokens, channels])?;
            solver.stochastic_step(latents, velocity, &noise, timesteps)?;
        } else {
            solver.step(latents, velocity, timesteps)?;
        }
        let (Some(mask), Some(before)) = (&fixed.mask, before) else {
            return Ok(());
        };
        for (token, given) in mask.iter().enumerate() {
            if sigma - NEAR >= 1.0 - given {
                let at = token * channels..(token + 1) * channels;
                latents[at.clone()].copy_from_slice(&before[at]);
            }
        }
        Ok(())
    }
}

/// What every token of a window is drawn noise for while it is denoised, in order; `given` says whether some are.
pub(super) fn draws(pass: &PassJob, given: bool) -> Vec<Purpose> {
    let mut of_step = Vec::new();
    if given && pass.condition_noise > 0.0 {
        of_step.push(Purpose::Condition);
    }
    if pass.stochastic {
        of_step.push(Purpose::Step);
    }
    of_step.repeat(pass.timesteps.len())
}

impl Loop<'_> {
    /// The rows of a step. A perturbed row without perturbed blocks is the positive one and is not computed.
    fn plan(&self, sigma: f32) -> Result<Step, RunError> {
        let (guidance, skipped) = self.pass.step(sigma)?;
        let mut rows = guidance.rows();
        if skipped.is_empty() || self.blocks.is_none() {
            rows.retain(|row| *row != Row::Perturbed);
        }
        let row_count = rows.len() * self.takes.len();
        let keep = self.blocks.map(|blocks| {
            let kept = |block: usize, row: usize| {
                let perturbed =
                    rows[row % rows.len()] == Row::Perturbed && skipped.contains(&block);
                if perturbed { 0.0 } else { 1.0 }
            };
            let places = (0..blocks).flat_map(|block| (0..row_count).map(move |row| (block, row)));
            places.map(|(block, row)| kept(block, row)).collect()
        });
        Ok(Step {
            sigma,
            guidance,
            rows,
            keep,
        })
    }

    /// One timestep for all tokens, or one for each: a token is never noisier than its strength allows.
    fn timesteps(&self, sigma: f32) -> Vec<f32> {
        match &self.mask {
            None => vec![sigma],
            Some(mask) => mask.iter().map(|given| sigma.min(1.0 - given)).collect(),
        }
    }

    fn inputs(
        &self,
        step: &Step,
        latents: &[Vec<f32>],
        timesteps: &[f32],
        shape: [usize; 3],
    ) -> Result<Tensors, RunError> {
        let (count, rows) = (shape[0], step.rows.len());
        let stacked: Vec<f32> = latents
            .iter()
            .flat_map(|latents| latents.repeat(rows))
            .collect();
        let texts = self.rows_of_text(step)?;
        let (first, tokens) = (&texts[0], texts[0].mask.len());
        let hidden: Vec<f32> = texts
            .iter()
            .flat_map(|text| text.hidden.iter().copied())
            .collect();
        let mask: Vec<i64> = texts
            .iter()
            .flat_map(|text| text.mask.iter().copied())
            .collect();
        let width = first.hidden.len() / tokens.max(1);
        let Distinct { values, of } = Distinct::new(1, timesteps);
        let mut inputs = Tensors::from([
            ("latents".to_owned(), Tensor::new(shape, stacked)?),
            ("coords".to_owned(), self.coords.clone()),
            (
                "text".to_owned(),
                Tensor::new([count, tokens, width], hidden)?,
            ),
            ("text_mask".to_owned(), Tensor::new([count, tokens], mask)?),
            (
                "timestep".to_owned(),
                Tensor::new([count, values.len()], values.repeat(count))?,
            ),
            ("timestep_of".to_owned(), Tensor::new([of.len()], of)?),
        ]);
        if let (Some(keep), Some(blocks)) = (&step.keep, self.blocks) {
            inputs.insert(
                "keep".to_owned(),
                Tensor::new([blocks, count], keep.clone())?,
            );
        }
        Ok(inputs)
    }

    fn rows_of_text(&self, step: &Step) -> Result<Vec<&Text>, RunError> {
        let mut texts = Vec::new();
        for prompts in &self.prompts {
            for row in &step.rows {
                texts.push(match row {
                    Row::Negative => prompts
                        .negative
                        .as_deref()
                        .ok_or_else(|| missing("negative_prompt"))?,
                    Row::Positive | Row::Perturbed => prompts.positive.as_ref(),
                });
            }
        }
        Ok(texts)
    }

    fn guided(&self, step: &Step, stacked: &[f32], index: usize) -> Result<Vec<f32>, RunError> {
        let mut predictions = Predictions::from_stacked(&step.rows, stacked)?;
        predictions.perturbed = predictions.perturbed.or(Some(predictions.positive));
        let mut velocity = vec![0.0; predictions.positive.len()];
        step.guidance.combine(predictions, &mut velocity)?;
        if velocity.iter().all(|v| v.is_finite()) {
            return Ok(velocity);
        }
        Err(RunError::NotFinite {
            component: self.component.name.clone(),
            step: index + 1,
            sigma: step.sigma,
        })
    }
}
