//! Noise to latents: the loop over the schedule.

use std::rc::Rc;
use std::time::Instant;

use ltxc_bundle::Denoise;

use super::component::Tensors;
use super::event::Event;
use super::generate::{Run, Text, missing};
use super::geometry::to_channels_first;
use super::{Component, RunError};
use crate::sampling::{Predictions, Purpose, Solver};
use crate::tensor::Tensor;

/// What stays the same for all steps.
struct Loop<'a> {
    component: &'a Component,
    text: Rc<Text>,
    coords: Tensor,
    tokens: usize,
}

impl Run<'_> {
    /// Denoises fresh noise along the whole schedule; (1, C, F, H, W).
    pub(super) fn denoise(
        &mut self,
        stage: &str,
        op: &Denoise,
        component: &Component,
    ) -> Result<Tensor, RunError> {
        let job = self.job;
        let mut latents = self.initial_latents()?;
        let text = self.texts.get(&op.text).cloned();
        let text = text.ok_or_else(|| missing(&op.text))?;
        let fixed = self.fixed(component, text)?;
        for (index, &sigma) in job.timesteps.iter().enumerate() {
            let start = Instant::now();
            let velocity = self.velocity(&fixed, &latents, index, sigma)?;
            self.advance(&mut latents, &velocity, sigma)?;
            let shape = [1, fixed.tokens, job.channels];
            self.observe(&format!("step{index:02}.latents_out"), &shape, &latents)?;
            self.tell(Event::Step {
                stage,
                step: index + 1,
                steps: job.timesteps.len(),
                sigma,
                elapsed: start.elapsed(),
            });
        }
        let latents = to_channels_first(&latents, job.channels);
        Ok(Tensor::new(job.latent_shape(), latents)?)
    }

    fn initial_latents(&mut self) -> Result<Vec<f32>, RunError> {
        let job = self.job;
        let latents = self.noise.draw(Purpose::Initial, &job.token_shape())?;
        let observed = to_channels_first(&latents, job.channels);
        self.observe("init_latents", &job.latent_shape(), &observed)?;
        Ok(latents)
    }

    fn fixed<'a>(
        &mut self,
        component: &'a Component,
        text: Rc<Text>,
    ) -> Result<Loop<'a>, RunError> {
        let tokens = self.job.geometry.latents.count();
        let coords = self.job.geometry.coords(self.job.fps);
        let coords = Tensor::new([1, 3, tokens], coords)?;
        self.observe("coords", coords.shape(), coords.values()?)?;
        Ok(Loop {
            component,
            text,
            coords,
            tokens,
        })
    }

    /// The guided velocity of all tokens.
    fn velocity(
        &mut self,
        fixed: &Loop<'_>,
        latents: &[f32],
        index: usize,
        sigma: f32,
    ) -> Result<Vec<f32>, RunError> {
        let job = self.job;
        let rows = job.rows();
        let shape = [rows.len(), fixed.tokens, job.channels];
        let inputs = fixed.inputs(latents.repeat(rows.len()), shape, sigma)?;
        let predicted = fixed
            .component
            .run_for(inputs, "velocity", &shape.map(Some))?;
        let stacked = predicted.values::<f32>()?;
        self.observe(&format!("step{index:02}.dit_velocity"), &shape, stacked)?;
        let mut velocity = vec![0.0; latents.len()];
        let predictions = Predictions::from_stacked(&rows, stacked)?;
        job.guidance.combine(predictions, &mut velocity)?;
        check_finite(&velocity, fixed.component, index)?;
        let shape = [1, fixed.tokens, job.channels];
        self.observe(
            &format!("step{index:02}.guided_velocity"),
            &shape,
            &velocity,
        )?;
        Ok(velocity)
    }

    fn advance(&mut self, latents: &mut [f32], velocity: &[f32], t: f32) -> Result<(), RunError> {
        let job = self.job;
        let solver = Solver {
            schedule: &job.timesteps,
            channels: job.channels,
        };
        if !job.stochastic {
            return Ok(solver.step(latents, velocity, &[t])?);
        }
        let shape = [1, latents.len() / job.channels, job.channels];
        let noise = self.noise.draw(Purpose::Step, &shape)?;
        Ok(solver.stochastic_step(latents, velocity, &noise, &[t])?)
    }
}

impl Loop<'_> {
    fn inputs(
        &self,
        latents: Vec<f32>,
        shape: [usize; 3],
        sigma: f32,
    ) -> Result<Tensors, RunError> {
        let rows = shape[0];
        Ok(Tensors::from([
            ("latents".to_owned(), Tensor::new(shape, latents)?),
            ("coords".to_owned(), self.coords.clone()),
            ("text".to_owned(), self.text.hidden.clone()),
            ("text_mask".to_owned(), self.text.mask.clone()),
            (
                "timestep".to_owned(),
                Tensor::new([rows, 1], vec![sigma; rows])?,
            ),
        ]))
    }
}

fn check_finite(velocity: &[f32], component: &Component, index: usize) -> Result<(), RunError> {
    if velocity.iter().all(|v| v.is_finite()) {
        return Ok(());
    }
    Err(RunError::NotFinite {
        component: component.name.clone(),
        step: index + 1,
    })
}
