//! The thread that decodes: take after take, each piece as soon as its latents have come.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::component::Tensors;
use super::cuts::Cuts;
use super::decode::frames_in;
use super::event::{Event, News};
use super::generate::missing;
use super::geometry::VideoSize;
use super::queue::{self, Out, Pair, Ready};
use super::stream::Stream;
use super::video::{Decoded, Frames};
use super::{Component, Job, RunError, Runner};
use crate::tensor::Tensor;

/// A stage that decodes, as its own thread sees it.
pub(super) struct Decoder<'r> {
    pub runner: &'r Runner,
    pub job: &'r Job,
    pub news: &'r News<'r>,
    pub stage: &'r str,
    pub component: &'r str,
    /// How many there are.
    pub takes: usize,
    /// Whether what it makes is the plan's video.
    pub wanted: bool,
}

impl Decoder<'_> {
    /// Decodes take after take as their latents come; says how long loading took.
    pub fn run(&self, ready: &Receiver<Ready>, out: &Out) -> Result<Duration, RunError> {
        let (mut loading, mut kept) = (Duration::ZERO, None);
        while let Ok(Ready::Take(order)) = ready.recv() {
            let mut decoding = Decoding {
                decoder: self,
                ready,
                out,
                take: order.take,
                size: order.size,
                denoised: Vec::new(),
                mixed: Vec::new(),
                done: 0,
            };
            let pieces = self
                .runner
                .pieces_of(self.component, self.job, order.size)?;
            loading += match pieces {
                Some(cuts) => decoding.in_pieces(&cuts, order.given)?,
                None => decoding.at_once(&mut kept, order.given)?,
            };
            decoding.finish()?;
        }
        Ok(loading)
    }

    fn load(&self) -> Result<(Arc<Component>, Duration), RunError> {
        let start = Instant::now();
        let component = self.runner.component(self.component)?;
        let elapsed = start.elapsed();
        (self.news)(Event::ComponentLoaded {
            stage: self.stage,
            component: self.component,
            elapsed,
        });
        Ok((component, elapsed))
    }
}

/// A take that is decoded: the latents that came, and how many frames left.
struct Decoding<'d> {
    decoder: &'d Decoder<'d>,
    ready: &'d Receiver<Ready>,
    out: &'d Out,
    take: usize,
    size: VideoSize,
    denoised: Vec<Tensor>,
    mixed: Vec<Tensor>,
    done: usize,
}

impl Decoding<'_> {
    /// The whole video in one call; the component is kept for the next take.
    fn at_once(
        &mut self,
        kept: &mut Option<Arc<Component>>,
        mut inputs: Tensors,
    ) -> Result<Duration, RunError> {
        let latents = self.latents(0, self.size.frames)?;
        inputs.insert("latents".to_owned(), latents);
        let (component, loading) = match kept.take() {
            Some(component) => (component, Duration::ZERO),
            None => self.decoder.load()?,
        };
        let video = self.decoder.job.geometry.compression.video_of(self.size);
        let shape = [1, 3, video.frames, video.height, video.width].map(Some);
        self.leave(&component.run_for(inputs, "video", &shape)?)?;
        *kept = Some(component);
        Ok(loading)
    }

    /// Piece by piece, each as soon as its latents are there.
    fn in_pieces(&mut self, cuts: &Cuts, given: Tensors) -> Result<Duration, RunError> {
        let decoder = self.decoder;
        let stages = &decoder.runner.stream_of(decoder.component)?.stages;
        let mut stream = Stream::new(decoder.runner, stages, given, cuts)?;
        for start in (0..self.size.frames).step_by(cuts.frames) {
            let count = cuts.frames.min(self.size.frames - start);
            let piece = Tensors::from([("latents".to_owned(), self.latents(start, count)?)]);
            let pushed = stream.push(piece, &mut |made| self.leave_made(made));
            pushed.map_err(|error| self.placed(error))?;
        }
        let finished = stream.finish(&mut |made| self.leave_made(made));
        finished.map_err(|error| self.placed(error))?;
        Ok(stream.loading)
    }

    /// Latent frames as they are decoded; waits until they have come.
    fn latents(&mut self, start: usize, count: usize) -> Result<Tensor, RunError> {
        while self.mixed.iter().map(frames_in).sum::<usize>() < start + count {
            let Pair { denoised, mixed } = queue::next_latents(self.ready)?;
            self.denoised.push(denoised);
            self.mixed.push(mixed);
        }
        let (mut pieces, mut before) = (Vec::new(), 0);
        for tensor in &self.mixed {
            let end = before + frames_in(tensor);
            let (from, to) = (start.max(before), end.min(start + count));
            if from < to {
                pieces.push(tensor.along(2, from - before, to - from)?);
            }
            before = end;
        }
        Ok(Tensor::joined(2, &pieces)?)
    }

    fn leave_made(&mut self, mut made: Tensors) -> Result<(), RunError> {
        let video = made.remove("video").ok_or_else(|| missing("video"))?;
        self.leave(&video)
    }

    /// Hands decoded frames on.
    fn leave(&mut self, video: &Tensor) -> Result<(), RunError> {
        let (decoder, take) = (self.decoder, self.take);
        let total = decoder.job.geometry.asked.frames;
        let frames = frames_of(decoder.job, decoder.component, video, total - self.done)?;
        self.done += frames.frames;
        (decoder.news)(Event::FramesDecoded {
            stage: decoder.stage,
            frames: total * take + self.done,
            total: total * decoder.takes,
        });
        match decoder.wanted && frames.frames > 0 {
            true => self.out.frames(take, frames),
            false => Ok(()),
        }
    }

    fn finish(self) -> Result<(), RunError> {
        if !self.decoder.wanted {
            return Ok(());
        }
        let decoded = Decoded {
            latents: Tensor::joined(2, &self.denoised)?,
            decoder_latents: Tensor::joined(2, &self.mixed)?,
        };
        self.out.finished(self.take, decoded)
    }

    /// The error, with what was decoded before it.
    fn placed(&self, error: RunError) -> RunError {
        error.during(|| {
            let (stage, done) = (self.decoder.stage, self.done);
            format!("`{stage}`, after {done} decoded frames")
        })
    }
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
