//! Decoded frames, and who takes them.

use std::sync::Arc;

use super::RunError;
use super::generate::missing;
use crate::media::{Crop, to_rgb8};
use crate::tensor::{Tensor, TensorError};

/// Some frames of a video, in a row.
#[derive(Clone, Debug)]
pub struct Frames {
    /// (3, frames, height, width) in 0..1, without padding.
    pub video: Vec<f32>,
    /// Frames.
    pub frames: usize,
    /// Pixel rows.
    pub height: usize,
    /// Pixel columns.
    pub width: usize,
    /// Frames per second.
    pub fps: f64,
}

impl Frames {
    /// A frame, from 0 to `frames - 1`, as RGB bytes; indexing fails otherwise.
    pub fn rgb8(&self, frame: usize) -> Vec<u8> {
        rgb8(&self.video, self.frames, self.height, self.width, frame)
    }
}

/// Latent frames that pixels are decoded from, (1, C, frames, H, W), normalised.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// As they were denoised.
    pub latents: Arc<Tensor>,
    /// The same after decode noise was mixed in, which is what is decoded.
    pub decoder_latents: Arc<Tensor>,
}

impl Decoded {
    /// Latents in a row as one.
    ///
    /// # Errors
    ///
    /// Where there are none, or they differ in size.
    pub fn joined(pieces: &[Self]) -> Result<Self, TensorError> {
        let joined = |of: fn(&Self) -> &Arc<Tensor>| {
            let pieces: Vec<_> = pieces.iter().map(|piece| Arc::clone(of(piece))).collect();
            Tensor::joined(2, &pieces).map(Arc::new)
        };
        Ok(Self {
            latents: joined(|piece| &piece.latents)?,
            decoder_latents: joined(|piece| &piece.decoder_latents)?,
        })
    }
}

/// Why whoever takes the frames wants no more.
pub type Stop = Box<dyn std::error::Error + Send + Sync>;

/// Takes what a run makes, on a thread of its own; an error ends the run.
pub trait Sink: Send {
    /// The next latent frames of a take, which has `whole` of them, before the frames that are made of them. Nothing else
    /// holds them.
    fn latents(&mut self, take: usize, latents: Decoded, whole: usize) -> Result<(), Stop> {
        let _ = (take, latents, whole);
        Ok(())
    }

    /// The next frames of a take, at least one. Takes come one after the other.
    fn frames(&mut self, take: usize, frames: Frames) -> Result<(), Stop>;

    /// All frames of a take were given.
    fn finished(&mut self, take: usize) -> Result<(), Stop>;
}

/// A finished video.
#[derive(Clone, Debug)]
pub struct Generated {
    /// (3, frames, height, width) in 0..1, without padding.
    pub video: Vec<f32>,
    /// Frames.
    pub frames: usize,
    /// Pixel rows.
    pub height: usize,
    /// Pixel columns.
    pub width: usize,
    /// Frames per second.
    pub fps: f64,
    /// The denoised latents, normalised, (1, C, F, H, W).
    pub latents: Tensor,
    /// The same after decode noise was mixed in, which is what was decoded.
    pub decoder_latents: Tensor,
    /// How long the stages took, in order; empty for one of several takes.
    pub stages: Vec<super::StageTime>,
}

impl Generated {
    /// A frame, from 0 to `frames - 1`, as RGB bytes; indexing fails otherwise.
    pub fn rgb8(&self, frame: usize) -> Vec<u8> {
        rgb8(&self.video, self.frames, self.height, self.width, frame)
    }

    fn new(frames: Frames, decoded: Decoded) -> Self {
        Self {
            video: frames.video,
            frames: frames.frames,
            height: frames.height,
            width: frames.width,
            fps: frames.fps,
            latents: Arc::unwrap_or_clone(decoded.latents),
            decoder_latents: Arc::unwrap_or_clone(decoded.decoder_latents),
            stages: Vec::new(),
        }
    }
}

fn rgb8(video: &[f32], frames: usize, height: usize, width: usize, frame: usize) -> Vec<u8> {
    let whole = Crop {
        top: 0,
        left: 0,
        height,
        width,
    };
    to_rgb8(video, frames, height, width, frame, whole)
}

/// Takes a finished video by the number of its take; an error ends the run.
pub type Finished<'a> = dyn FnMut(usize, Generated) -> Result<(), Stop> + Send + 'a;

/// Keeps the frames of a take until all are there.
pub(super) struct Gather<'f, 'a> {
    finished: &'f mut Finished<'a>,
    pieces: Vec<Frames>,
    latents: Vec<Decoded>,
}

impl<'f, 'a> Gather<'f, 'a> {
    pub fn new(finished: &'f mut Finished<'a>) -> Self {
        Self {
            finished,
            pieces: Vec::new(),
            latents: Vec::new(),
        }
    }
}

impl Sink for Gather<'_, '_> {
    fn latents(&mut self, _: usize, latents: Decoded, _: usize) -> Result<(), Stop> {
        self.latents.push(latents);
        Ok(())
    }

    fn frames(&mut self, _: usize, frames: Frames) -> Result<(), Stop> {
        self.pieces.push(frames);
        Ok(())
    }

    fn finished(&mut self, take: usize) -> Result<(), Stop> {
        let pieces = std::mem::take(&mut self.pieces);
        let frames = joined(pieces).ok_or_else(|| missing("video"))?;
        let decoded = Decoded::joined(&std::mem::take(&mut self.latents))?;
        (self.finished)(take, Generated::new(frames, decoded))
    }
}

fn joined(mut pieces: Vec<Frames>) -> Option<Frames> {
    if pieces.len() == 1 {
        return pieces.pop();
    }
    let frames = pieces.iter().map(|piece| piece.frames).sum();
    let mut video = Vec::with_capacity(pieces.iter().map(|piece| piece.video.len()).sum());
    for channel in 0..3 {
        for piece in &pieces {
            let plane = piece.video.len() / 3;
            video.extend_from_slice(&piece.video[channel * plane..][..plane]);
        }
    }
    Some(Frames {
        video,
        frames,
        ..pieces.pop()?
    })
}

impl From<Stop> for RunError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}
