//! Latents to latents of a larger video.

use ltxc_bundle::UpscaleLatents;

use super::component::Tensors;
use super::generate::{Run, missing};
use super::latents::Latents;
use super::start::lerp;
use super::{Component, RunError};
use crate::tensor::Tensor;

impl Run<'_, '_> {
    /// Upscales every take's latents and moves their statistics to those before. Components follow one another in
    /// memory.
    pub(super) fn upscale(&mut self, stage: &str, op: &UpscaleLatents) -> Result<(), RunError> {
        let statistics = self.load(stage, &op.statistics)?;
        let (mut before, mut latents) = (Vec::new(), Vec::new());
        for take in 0..self.takes.len() {
            before.push(self.latents_of(take, &op.latents)?.whole()?);
        }
        for before in &before {
            latents.push(same_size(&statistics, before, "un_normalized")?);
        }
        drop(statistics);
        let upscaler = self.load(stage, &op.component)?;
        for latents in &mut latents {
            let inputs = Tensors::from([("latents".to_owned(), latents.clone())]);
            let [batch, channels, ..] = *latents.shape() else {
                return Err(missing(&op.latents));
            };
            let expected = [Some(batch), Some(channels), None, None, None];
            *latents = upscaler.run_for(inputs, "upscaled", &expected)?;
        }
        drop(upscaler);
        let statistics = self.load(stage, &op.statistics)?;
        for (take, (latents, before)) in latents.iter().zip(&before).enumerate() {
            let upscaled = same_size(&statistics, latents, "normalized")?;
            self.observe(take, "upsample.out", upscaled.shape(), upscaled.values()?)?;
            let moved = adain(&upscaled, before, self.job.adain_factor)?;
            let moved = Latents::from(moved);
            self.takes[take].latents.insert(stage.to_owned(), moved);
        }
        Ok(())
    }
}

fn same_size(statistics: &Component, latents: &Tensor, output: &str) -> Result<Tensor, RunError> {
    let inputs = Tensors::from([("latents".to_owned(), latents.clone())]);
    let expected: Vec<Option<usize>> = latents.shape().iter().copied().map(Some).collect();
    statistics.run_for(inputs, output, &expected)
}

/// Adaptive instance normalisation (Huang and Belongie, 2017): every channel of `latents` gets the mean and standard
/// deviation it has in `reference`, by the share `factor`.
pub(super) fn adain(latents: &Tensor, reference: &Tensor, factor: f32) -> Result<Tensor, RunError> {
    let channels = latents.shape().get(1).copied().unwrap_or(1).max(1);
    let (values, reference) = (latents.values::<f32>()?, reference.values::<f32>()?);
    let of = values.chunks_exact((values.len() / channels).max(1));
    let like = reference.chunks_exact((reference.len() / channels).max(1));
    let mut moved = Vec::with_capacity(values.len());
    for (channel, like) in of.zip(like) {
        let ((mean, spread), (to_mean, to_spread)) = (moments(channel), moments(like));
        // A channel without spread, or a reference of a single value, has nothing to be scaled to.
        let scales = spread > 0.0 && to_spread.is_finite();
        let full = channel.iter().map(|x| match scales {
            true => (x - mean) / spread * to_spread + to_mean,
            false => x - mean + to_mean,
        });
        let start = moved.len();
        moved.extend_from_slice(channel);
        lerp(&mut moved[start..], &full.collect::<Vec<f32>>(), factor);
    }
    Ok(Tensor::new(latents.shape(), moved)?)
}

/// Mean and unbiased standard deviation.
fn moments(values: &[f32]) -> (f32, f32) {
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum();
    (mean as f32, (squares / (count - 1.0)).sqrt() as f32)
}
