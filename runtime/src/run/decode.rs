//! Latents to pixels.

use ltxc_bundle::DecodeVideo;

use super::component::Tensors;
use super::event::Event;
use super::generate::{Decoded, Run, missing};
use super::ports::{Given, PortSpec};
use super::solve::Sizes;
use super::{Component, RunError};
use crate::sampling::Purpose;
use crate::tensor::{DType, Tensor, element_count};

impl Run<'_> {
    /// Decodes latents; decode noise is drawn first, then the noise planes in the order of the inputs.
    pub(super) fn decode(
        &mut self,
        stage: &str,
        op: &DecodeVideo,
        component: &Component,
    ) -> Result<Decoded, RunError> {
        let latents = self.latents.get(&op.latents).cloned();
        let latents = latents.ok_or_else(|| missing(&op.latents))?;
        let mixed = self.decoder_latents(component, &latents)?;
        self.observe("decode.latents_in", mixed.shape(), mixed.values()?)?;
        let video = self.pixels(component, &mixed)?;
        let frames = self.job.geometry.padded.frames;
        let total = frames;
        self.tell(Event::FramesDecoded {
            stage,
            frames,
            total,
        });
        Ok(Decoded {
            video,
            latents,
            mixed,
        })
    }

    /// The asked part of the video, (3, frames, height, width) in 0..1.
    fn pixels(&mut self, component: &Component, latents: &Tensor) -> Result<Vec<f32>, RunError> {
        let (padded, asked) = (self.job.geometry.padded, self.job.geometry.asked);
        let inputs = self.decoder_inputs(component, latents)?;
        let shape = [1, 3, padded.frames, padded.height, padded.width];
        let decoded = component.run_for(inputs, "video", &shape.map(Some))?;
        let video = self.job.geometry.crop(decoded.values()?);
        let shape = [3, asked.frames, asked.height, asked.width];
        self.observe("video", &shape, &video)?;
        Ok(video)
    }

    /// A decoder that takes a timestep was trained on latents with that much noise left.
    fn decoder_latents(
        &mut self,
        component: &Component,
        latents: &Tensor,
    ) -> Result<Tensor, RunError> {
        if component.spec.input("timestep").is_none() {
            return Ok(latents.clone());
        }
        let scale = self.job.decode_noise_scale;
        let noise = self.noise.draw(Purpose::Decode, &self.job.token_shape())?;
        let pairs = latents.values::<f32>()?.iter().zip(&noise);
        let mixed: Vec<_> = pairs
            .map(|(z, noise)| z * (1.0 - scale) + noise * scale)
            .collect();
        Ok(Tensor::new(latents.shape(), mixed)?)
    }

    fn decoder_inputs(
        &mut self,
        component: &Component,
        latents: &Tensor,
    ) -> Result<Tensors, RunError> {
        let given = Given::from([("latents", (DType::F32, latents.shape()))]);
        let sizes = component.sizes(&given)?;
        let mut inputs = Tensors::from([("latents".to_owned(), latents.clone())]);
        if component.spec.input("timestep").is_some() {
            let timestep = Tensor::new([1], vec![self.job.decode_timestep])?;
            inputs.insert("timestep".to_owned(), timestep);
        }
        for port in component.spec.inputs.iter().filter(|port| port.drawn) {
            let shape = plane_shape(component, port, &sizes)?;
            element_count(&shape)?;
            let values = self.noise.draw(Purpose::Plane, &shape)?;
            inputs.insert(port.name.clone(), Tensor::new(shape, values)?);
        }
        Ok(inputs)
    }
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
