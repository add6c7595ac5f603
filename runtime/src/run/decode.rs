//! Latents to pixels.

use std::num::NonZeroUsize;
use std::str::FromStr;

use ltxc_bundle::{DecodeVideo, StageOp};

use super::component::Tensors;
use super::component::sizes;
use super::cuts::{Cuts, Planner};
use super::event::Event;
use super::generate::{Decoded, Frames, Run, missing};
use super::geometry::VideoSize;
use super::passes::PassJob;
use super::ports::{Given, PortSpec, Spec};
use super::solve::Sizes;
use super::stream::Stream;
use super::{Component, Job, RunError, Runner};
use crate::sampling::Purpose;
use crate::tensor::{DType, Tensor, element_count};

/// How much of a video is decoded at a time. The frames are the same within rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pieces {
    /// As few latent frames as keep the processor busy; all, where the decoder cannot do otherwise.
    #[default]
    Auto,
    /// All of it.
    Whole,
    /// So many latent frames.
    Frames(NonZeroUsize),
}

impl FromStr for Pieces {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            ("whole", _) => Ok(Self::Whole),
            (_, Ok(frames)) => Ok(Self::Frames(frames)),
            _ => Err("write auto, whole, or a number of latent frames".to_owned()),
        }
    }
}

impl Runner {
    /// How the last stage decodes; `None` for all at once.
    pub fn decodes_by(&self, job: &Job) -> Result<Option<Cuts>, RunError> {
        let plan = &self.manifest().plan;
        let video = plan.stages.iter().find(|stage| stage.name == plan.video);
        match video.map(|stage| &stage.op) {
            Some(StageOp::DecodeVideo(op)) => {
                let pass = pass_of(self, job, &op.latents)?;
                self.pieces_of(&op.component, job, pass.latents())
            }
            _ => Ok(None),
        }
    }

    fn pieces_of(
        &self,
        component: &str,
        job: &Job,
        latents: VideoSize,
    ) -> Result<Option<Cuts>, RunError> {
        let VideoSize {
            frames,
            height,
            width,
        } = latents;
        let shape = [1, job.channels, frames, height, width];
        let video = job.geometry.compression.video_of(latents);
        self.cuts_for(
            component,
            self.pieces(),
            ("latents", &shape[..]),
            (frames, video),
        )
    }

    /// How a component takes `frames` latent frames that stand for a video; `given` is its first input with frames.
    pub(super) fn cuts_for(
        &self,
        component: &str,
        pieces: Pieces,
        given: (&str, &[usize]),
        (frames, video): (usize, VideoSize),
    ) -> Result<Option<Cuts>, RunError> {
        match pieces {
            Pieces::Whole => Ok(None),
            Pieces::Auto => {
                self.automatic(component, given, (frames, video.count()), self.budget())
            }
            Pieces::Frames(frames) if self.described(component)?.stream.is_some() => Ok(Some(
                self.cuts_of(component, given, frames.get(), self.budget())?,
            )),
            Pieces::Frames(frames) => Err(self.takes_whole(component, frames)),
        }
    }

    /// How a component that has stages is computed on at most `most` units of time, where its first input with frames
    /// has this name and shape.
    pub(super) fn cuts_of(
        &self,
        component: &str,
        (name, shape): (&str, &[usize]),
        most: usize,
        budget: Option<u64>,
    ) -> Result<Cuts, RunError> {
        let given = Given::from([(name, (DType::F32, shape))]);
        let sizes = sizes(component, self.spec(component)?, &given)?;
        let planner = Planner::new(self.stream_of(component)?, &sizes, shape)?;
        Ok(planner.cut(most, budget))
    }

    /// How a component is best computed whose first input with frames has this name and shape.
    pub(super) fn automatic(
        &self,
        component: &str,
        (name, shape): (&str, &[usize]),
        counts: (usize, usize),
        budget: Option<u64>,
    ) -> Result<Option<Cuts>, RunError> {
        let (described, spec) = (self.described(component)?, self.spec(component)?);
        let Some(stream) = &described.stream else {
            return Ok(None);
        };
        let given = Given::from([(name, (DType::F32, shape))]);
        let sizes = sizes(component, spec, &given)?;
        let weights = described.weight_bytes;
        Cuts::automatic(stream, weights, &sizes, shape, counts, budget)
    }

    fn takes_whole(&self, component: &str, frames: NonZeroUsize) -> RunError {
        let notes = &self.manifest().notes;
        let why = notes
            .iter()
            .find(|note| note.starts_with(&format!("`{component}` takes a whole video")));
        let why = why.map_or_else(
            || "this bundle's decoder takes the whole video only".to_owned(),
            String::clone,
        );
        RunError::Setting {
            name: "decode",
            found: frames.to_string(),
            help: format!("{why}; write auto or whole"),
        }
    }
}

/// What a decoder is called with.
struct Call<'a> {
    component: &'a str,
    spec: &'a Spec,
    /// Everything but the latents.
    given: Tensors,
    latents: Tensor,
    size: VideoSize,
}

impl Run<'_, '_> {
    /// Decodes every take and hands its frames out as they are there.
    pub(super) fn decode_all(
        &mut self,
        stage: &str,
        op: &DecodeVideo,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let wanted = self.runner.bundle.manifest.plan.video == stage;
        for take in 0..self.takes.len() {
            let decoded = self.decode(take, stage, op, sink, wanted)?;
            if wanted {
                sink.finished(take, decoded).map_err(RunError::Stopped)?;
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
        sink: &mut dyn Sink,
        wanted: bool,
    ) -> Result<Decoded, RunError> {
        let runner = self.runner;
        let (job, pass) = (self.job, pass_of(runner, self.job, &op.latents)?);
        let latents = self.takes[take].latents.get(&op.latents).cloned();
        let latents = latents.ok_or_else(|| missing(&op.latents))?;
        let spec = runner.spec(&op.component)?;
        let mixed = self.decoder_latents(take, pass, spec, &latents)?;
        self.observe(take, "decode.latents_in", mixed.shape(), mixed.values()?)?;
        let size = self.size_of(&latents)?;
        let call = Call {
            component: &op.component,
            spec,
            given: self.decoder_inputs(take, pass, &op.component, spec, &mixed)?,
            latents: mixed.clone(),
            size,
        };
        let mut done = 0;
        let total = job.geometry.asked.frames;
        let mut out = |run: &mut Self, video: Tensor| {
            let frames = frames_of(job, &op.component, &video, total - done)?;
            done += frames.frames;
            run.tell(Event::FramesDecoded {
                stage,
                frames: total * take + done,
                total: total * run.takes.len(),
            });
            match wanted && frames.frames > 0 {
                true => sink.frames(take, frames).map_err(RunError::Stopped),
                false => Ok(()),
            }
        };
        match runner.pieces_of(&op.component, job, size)? {
            None => {
                let component = self.load(stage, &op.component)?;
                let video = decode_whole(&component, call, job)?;
                out(self, video)?;
            }
            Some(cuts) => self.decode_by(&cuts, call, &mut out)?,
        }
        let decoder_latents = mixed;
        Ok(Decoded {
            latents,
            decoder_latents,
        })
    }

    /// Decodes in pieces.
    fn decode_by(
        &mut self,
        cuts: &Cuts,
        call: Call<'_>,
        out: &mut dyn FnMut(&mut Self, Tensor) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let stages = &self.runner.stream_of(call.component)?.stages;
        let mut given = call.given;
        given.insert("latents".to_owned(), call.latents.clone());
        super::component::check_inputs(call.component, call.spec, &given)?;
        given.remove("latents");
        let mut stream = Stream::new(self.runner, stages, given, cuts)?;
        let mut out = |mut made: Tensors| {
            let video = made.remove("video").ok_or_else(|| missing("video"))?;
            out(self, video)
        };
        for at in (0..call.size.frames).step_by(cuts.frames) {
            let count = cuts.frames.min(call.size.frames - at);
            let piece = call.latents.along(2, at, count)?;
            stream.push(Tensors::from([("latents".to_owned(), piece)]), &mut out)?;
        }
        stream.finish(&mut out)?;
        self.loading += stream.loading;
        Ok(())
    }

    /// A decoder that takes a timestep was trained on latents with that much noise left. Large values are compressed
    /// after it is mixed in.
    fn decoder_latents(
        &mut self,
        take: usize,
        pass: &PassJob,
        spec: &Spec,
        latents: &Tensor,
    ) -> Result<Tensor, RunError> {
        let mut mixed = latents.values::<f32>()?.to_vec();
        if spec.input("timestep").is_some() {
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
        name: &str,
        spec: &Spec,
        latents: &Tensor,
    ) -> Result<Tensors, RunError> {
        let given = Given::from([("latents", (DType::F32, latents.shape()))]);
        let sizes = sizes(name, spec, &given)?;
        let mut inputs = Tensors::new();
        if spec.input("timestep").is_some() {
            let timestep = Tensor::new([1], vec![pass.decode_timestep])?;
            inputs.insert("timestep".to_owned(), timestep);
        }
        for port in spec.inputs.iter().filter(|port| port.drawn) {
            let shape = plane_shape(name, port, &sizes)?;
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

/// Why whoever takes the frames wants no more.
pub type Stop = Box<dyn std::error::Error + Send + Sync>;

/// Takes what a run makes; an error ends the run.
pub trait Sink {
    /// The next frames of a take, at least one. Takes come one after the other.
    fn frames(&mut self, take: usize, frames: Frames) -> Result<(), Stop>;

    /// All frames of a take were given.
    fn finished(&mut self, take: usize, decoded: Decoded) -> Result<(), Stop>;
}

/// The whole video in one call.
fn decode_whole(component: &Component, call: Call<'_>, job: &Job) -> Result<Tensor, RunError> {
    let mut inputs = call.given;
    inputs.insert("latents".to_owned(), call.latents);
    let video = job.geometry.compression.video_of(call.size);
    let shape = [1, 3, video.frames, video.height, video.width];
    component.run_for(inputs, "video", &shape.map(Some))
}

/// What is wanted of decoded frames, of which `most` were asked for.
fn frames_of(job: &Job, component: &str, video: &Tensor, most: usize) -> Result<Frames, RunError> {
    let (asked, found) = (job.geometry.asked, video.shape());
    let &[1, 3, frames, height, width] = found else {
        return Err(RunError::Output {
            component: component.to_owned(),
            output: "video".to_owned(),
            expected: "F32[1, 3, ?, ?, ?]".to_owned(),
            found: format!("{found:?}"),
        });
    };
    let size = VideoSize {
        frames,
        height,
        width,
    };
    let most = most.min(frames);
    Ok(Frames {
        video: job.geometry.crop(&video.to_f32()?, size, most),
        frames: most,
        height: asked.height,
        width: asked.width,
        fps: job.fps,
    })
}

/// What a latent value is multiplied with, so that large ones shrink: a sigmoid between 1 and 1 - 0.6 `ratio`.
fn tone_scale(value: f32, ratio: f32) -> f32 {
    let strength = 0.75 * ratio;
    let sigmoid = 1.0 / (1.0 + (-4.0 * strength * (value.abs() - 1.0)).exp());
    1.0 - 0.8 * strength * sigmoid
}

fn plane_shape(name: &str, port: &PortSpec, sizes: &Sizes) -> Result<Vec<usize>, RunError> {
    let known = |name: &str| sizes.get(name).copied();
    let values = port.shape.iter().map(|size| size.value(&known));
    let shape: Option<Vec<_>> = values
        .map(|v| v.and_then(|v| usize::try_from(v).ok()))
        .collect();
    shape.ok_or_else(|| {
        let input = &port.name;
        RunError::Manifest(format!(
            "the sizes of `{name}` input `{input}` do not follow from its latents"
        ))
    })
}
