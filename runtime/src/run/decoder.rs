//! The thread that decodes: take after take, each piece as soon as its latents have come.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::component::Tensors;
use super::cuts::Cuts;
use super::event::{Event, News};
use super::generate::missing;
use super::geometry::VideoSize;
use super::latents::Latents;
use super::queue::{self, Ready, ToSink};
use super::stream::{Out, Stream};
use super::video::Frames;
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
    pub fn run(&self, ready: &Receiver<Ready>, out: &ToSink) -> Result<Duration, RunError> {
        let (mut loading, mut kept) = (Duration::ZERO, None);
        while let Ok(Ready::Take(order)) = ready.recv() {
            let mut decoding = Decoding {
                decoder: self,
                ready,
                out,
                take: order.take,
                size: order.size,
                come: Latents::default(),
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

/// A take that is decoded: the latents that came and were not decoded yet, and how many frames left.
struct Decoding<'d> {
    decoder: &'d Decoder<'d>,
    ready: &'d Receiver<Ready>,
    out: &'d ToSink,
    take: usize,
    size: VideoSize,
    come: Latents,
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
        let latents = Arc::unwrap_or_clone(latents);
        inputs.insert("latents".to_owned(), latents);
        let (component, loading) = match kept.take() {
            Some(component) => (component, Duration::ZERO),
            None => self.decoder.load()?,
        };
        let video = self.decoder.job.geometry.compression.video_of(self.size);
        let shape = [1, 3, video.frames, video.height, video.width].map(Some);
        let turn = self.decoder.runner.turn();
        let video = component.run_for(inputs, "video", &shape)?;
        if let Some(turn) = turn {
            turn.end();
        }
        self.leave(video)?;
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
            let latents = Arc::unwrap_or_clone(self.latents(start, count)?);
            let piece = Tensors::from([("latents".to_owned(), latents)]);
            self.in_turn(|out| stream.push(piece, out))?;
        }
        self.in_turn(|out| stream.finish(out))?;
        Ok(stream.loading)
    }

    /// Computes while others do not, but for the time in which frames are handed on.
    fn in_turn(
        &mut self,
        compute: impl FnOnce(&mut Out<'_>) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let runner = self.decoder.runner;
        let mut turn = runner.turn();
        let computed = compute(&mut |made| {
            if let Some(turn) = turn.take() {
                turn.end();
            }
            self.leave_made(made)?;
            turn = runner.turn();
            Ok(())
        });
        drop(turn);
        computed.map_err(|error| self.placed(error))
    }

    /// Latent frames as they are decoded, which are let go here; waits until they have come.
    fn latents(&mut self, start: usize, count: usize) -> Result<Arc<Tensor>, RunError> {
        while self.come.frames() < start + count {
            let latents = queue::next_latents(self.ready)?;
            self.come.push(Arc::clone(&latents.decoder_latents));
            if self.decoder.wanted {
                self.out.latents(self.take, latents, self.size.frames)?;
            }
        }
        let latents = self.come.along(start, count)?;
        self.come.forget(start + count);
        Ok(latents)
    }

    fn leave_made(&mut self, mut made: Tensors) -> Result<(), RunError> {
        let video = made.remove("video").ok_or_else(|| missing("video"))?;
        self.leave(video)
    }

    /// Hands decoded frames on; what they are cut from is let go before somebody takes them.
    fn leave(&mut self, video: Tensor) -> Result<(), RunError> {
        let (decoder, take) = (self.decoder, self.take);
        let total = decoder.job.geometry.asked.frames;
        let frames = frames_of(decoder.job, decoder.component, &video, total - self.done)?;
        drop(video);
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
        match self.decoder.wanted {
            true => self.out.finished(self.take),
            false => Ok(()),
        }
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
