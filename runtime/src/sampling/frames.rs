//! The noise of a whole video, to be had some latent frames at a time.
//!
//! All of it belongs to one draw, so that a seed means the same video however it is read; but only what is asked for is
//! ever there. Where a program draws channels first, a frame lies in as many places of the draw as there are channels,
//! and a place is kept for each.

use std::ops::Range;

use super::fill::{Fill, Reader};
use super::noise::transpose;

/// Noise for the latents of a video of batch size one, by its frames.
#[derive(Debug, Clone)]
pub struct FrameNoise {
    source: Source,
    frames: usize,
    /// Places of a frame.
    places: usize,
    channels: usize,
    /// Whether frames are handed out as (C, frames, H, W) instead of (frames*H*W, C).
    channels_first: bool,
}

#[derive(Debug, Clone)]
enum Source {
    /// All values, as they are handed out.
    Held(Vec<f32>),
    Drawn {
        fill: Box<Fill>,
        /// Whether the draw has its channels outside.
        channels_first: bool,
        /// One for each run that a frame has in the draw, once they are needed.
        readers: Vec<Reader>,
    },
}

impl FrameNoise {
    /// Noise that is there: latents of `[F, H*W, C]` as they are handed out.
    pub(crate) fn held(values: Vec<f32>, size: [usize; 3], channels_first: bool) -> Self {
        Self::new(Source::Held(values), size, channels_first)
    }

    /// Noise that is drawn when it is asked for; `drawn_first` says whether the draw has its channels outside.
    pub(super) fn drawn(
        fill: Fill,
        size: [usize; 3],
        drawn_first: bool,
        channels_first: bool,
    ) -> Self {
        let source = Source::Drawn {
            fill: Box::new(fill),
            channels_first: drawn_first,
            readers: Vec::new(),
        };
        Self::new(source, size, channels_first)
    }

    fn new(source: Source, [frames, places, channels]: [usize; 3], channels_first: bool) -> Self {
        Self {
            source,
            frames,
            places,
            channels,
            channels_first,
        }
    }

    /// Some frames, all of which the video has: (frames*H*W, C), or (C, frames, H, W) for [`super::Purpose::Decode`].
    pub fn frames(&mut self, frames: Range<usize>) -> Vec<f32> {
        let tokens = frames.len() * self.places;
        let (frame, channels, whole) = (self.places, self.channels, self.frames * self.places);
        let runs = |channels_first: bool| match channels_first {
            true => (0..channels)
                .map(|channel| channel * whole + frames.start * frame)
                .map(|start| start..start + tokens)
                .collect(),
            false => {
                std::iter::once(frames.start * frame * channels..frames.end * frame * channels)
                    .collect()
            }
        };
        let (values, channels_first): (Vec<f32>, bool) = match &mut self.source {
            Source::Held(values) => {
                let runs: Vec<Range<usize>> = runs(self.channels_first);
                let values = runs.into_iter().flat_map(|run| &values[run]);
                (values.copied().collect(), self.channels_first)
            }
            Source::Drawn {
                fill,
                channels_first,
                readers,
            } => {
                let runs = runs(*channels_first);
                (read(fill, readers, &runs), *channels_first)
            }
        };
        match (channels_first, self.channels_first) {
            (true, false) => transpose(&values, channels, tokens),
            (false, true) => transpose(&values, tokens, channels),
            _ => values,
        }
    }
}

/// Runs of a draw behind one another; their readers are made where they first begin.
fn read(fill: &Fill, readers: &mut Vec<Reader>, runs: &[Range<usize>]) -> Vec<f32> {
    let mut values = Vec::with_capacity(runs.iter().map(Range::len).sum());
    for (at, run) in runs.iter().enumerate() {
        if at == readers.len() {
            readers.push(readers.last().map_or_else(|| fill.reader(), Reader::clone));
        }
        values.extend(fill.read(&mut readers[at], run.clone()));
    }
    values
}
