//! Latents to pixels.

use ltxc_bundle::{DecodeVideo, StageOp};

use super::component::Tensors;
use super::event::Event;
use super::generate::{Generated, Run, missing};
use super::passes::PassJob;
use super::ports::{Given, PortSpec};
use super::solve::Sizes;
use super::{Component, Job, RunError, Runner};
use crate::sampling::Purpose;
use crate::tensor::{DType, Tensor, element_count};

impl Run<'_, '_> {
    /// Decodes every take and hands it out; only one video is in memory at a time.
    pub(super) fn decode_all(
        &mut self,
        stage: &str,
        op: &DecodeVideo,
        finished: &mut Finished<'_>,
    ) -> Result<(), RunError> {
        let component = self.load(stage, &op.component)?;
        let wanted = self.runner.bundle.manifest.plan.video == stage;
        for take in 0..self.takes.len() {
            let generated = self.decode(take, stage, op, &component)?;
            if wanted {
                finished(take, generated).map_err(RunError::Stopped)?;
            }
        }
        Ok(())
    }

    /// Decodes latents; decode noise is drawn first, then the noise planes in the order of the inputs.
    fn decode(
        &mut self,
        take: usize,
        stage: &str,
        op: &DecodeVideo,
        component: &Component,
    ) -> Result<Generated, RunError> {
        let (job, pass) = (self.job, pass_of(self.runner, self.job, &op.latents)?);
        let latents = self.takes[take].latents.get(&op.latents).cloned();
        let latents = latents.ok_or_else(|| missing(&op.latents))?;
        let mixed = self.decoder_latents(take, pass, component, &latents)?;
        self.observe(take, "decode.latents_in", mixed.shape(), mixed.values()?)?;
        let inputs = self.decoder_inputs(take, pass, component, &mixed)?;
        let size = job.geometry.compression.video_of(self.size_of(&latents)?);
        let shape = [1, 3, size.frames, size.height, size.width];
        let decoded = component.run_for(inputs, "video", &shape.map(Some))?;
        let video = job.geometry.crop(decoded.values()?, size);
        let asked = job.geometry.asked;
        let shape = [3, asked.frames, asked.height, asked.width];
        self.observe(take, "video", &shape, &video)?;
        let frames = asked.frames;
        self.tell(Event::FramesDecoded {
            stage,
            frames: frames * (take + 1),
            total: frames * self.takes.len(),
        });
        Ok(Generated {
            video,
            frames,
            height: asked.height,
            width: asked.width,
            fps: job.fps,
            latents,
            decoder_latents: mixed,
            stages: Vec::new(),
        })
    }

    /// A decoder that takes a timestep was trained on latents with that much noise left. Large values are compressed
    /// after it is mixed in.
    fn decoder_latents(
        &mut self,
        take: usize,
        pass: &PassJob,
        component: &Component,
        latents: &Tensor,
    ) -> Result<Tensor, RunError> {
        let mut mixed = latents.values::<f32>()?.to_vec();
        if component.spec.input("timestep").is_some() {
            let scale = pass.decode_noise_scale;
            let size = self.size_of(latents)?;
            let shape = [1, size.frames, size.height, size.width, self.job.channels];
            let noise = self.draw(take, Purpose::Decode, &shape)?;
            let pairs = mixed.iter_mut().zip(&noise);
            pairs.for_each(|(z, noise)| *z = *z * (1.0 - scale) + noise * scale);
        }
        if pass.tone_map > 0.0 {
            mixed
                .iter_mut()
                .for_each(|z| *z *= tone_scale(*z, pass.tone_map));
        }
        Ok(Tensor::new(latents.shape(), mixed)?)
    }

    fn decoder_inputs(
        &mut self,
        take: usize,
        pass: &PassJob,
        component: &Component,
        latents: &Tensor,
    ) -> Result<Tensors, RunError> {
        let given = Given::from([("latents", (DType::F32, latents.shape()))]);
        let sizes = component.sizes(&given)?;
        let mut inputs = Tensors::from([("latents".to_owned(), latents.clone())]);
        if component.spec.input("timestep").is_some() {
            let timestep = Tensor::new([1], vec![pass.decode_timestep])?;
            inputs.insert("timestep".to_owned(), timestep);
        }
        for port in component.spec.inputs.iter().filter(|port| port.drawn) {
            let shape = plane_shape(component, port, &sizes)?;
            element_count(&shape)?;
            let values = self.draw(take, Purpose::Plane, &shape)?;
            inputs.insert(port.name.clone(), Tensor::new(shape, values)?);
        }
        Ok(inputs)
    }
}

/// The pass that a stage's latents belong to.
fn pass_of<'r>(runner: &Runner, job: &'r Job, latents: &str) -> Result<&'r PassJob, RunError> {
    let mut wanted = latents;
    for stage in runner.manifest().plan.stages.iter().rev() {
        match &stage.op {
            StageOp::Denoise(op) if stage.name == wanted => return job.pass(&op.start),
            StageOp::UpscaleLatents(op) if stage.name == wanted => wanted = &op.latents,
            _ => {}
        }
    }
    Err(missing(latents))
}

/// Takes a finished video by the number of its take; an error ends the run.
pub type Finished<'a> =
    dyn FnMut(usize, Generated) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

/// What a latent value is multiplied with, so that large ones shrink: a sigmoid between 1 and 1 - 0.6 `ratio`.
fn tone_scale(value: f32, ratio: f32) -> f32 {
    let strength = 0.75 * ratio;
    let sigmoid = 1.0 / (1.0 + (-4.0 * strength * (value.abs() - 1.0)).exp());
    1.0 - 0.8 * strength * sigmoid
}
fn plane_shape(
    component: &Component,
    port: &PortSpec,
    sizes: &Sizes,
) -> Result<Vec<usize>, RunError> {
    let known = |name: &str| sizes.get(name).copied();
    let values = port.shape.iter().map(|size| size.value(&known));
    let shape: Option<Vec<_>> = values
        .map(|v| v.and_then(|v| usize::try_from(v).ok()))
        .collect();
    shape.ok_or_else(|| {
        let (name, input) = (&component.name, &port.name);
        RunError::Manifest(format!(
            "the sizes of `{name}` input `{input}` do not follow from its latents"
        ))
    })
}
