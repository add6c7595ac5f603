//! Images and clips that a run starts from or has to contain.

use std::sync::Arc;

use super::RunError;
use super::geometry::{Compression, Geometry, VideoSize};
use crate::media::resize::{Size, bilinear};

/// Pixels of an image or clip.
#[derive(Clone)]
pub struct Media {
    name: String,
    pixels: Arc<[f32]>,
    size: VideoSize,
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.name, self.size)
    }
}

impl Media {
    /// `pixels` are (3, frames, height, width) in -1..1; `name` stands in messages.
    pub fn new(
        name: impl Into<String>,
        pixels: Vec<f32>,
        size: VideoSize,
    ) -> Result<Self, RunError> {
        let name = name.into();
        if size.count() == 0 || size.count().saturating_mul(3) != pixels.len() {
            let why = format!("{} values are not {size:?}", pixels.len());
            return Err(RunError::Condition { name, why });
        }
        Ok(Self {
            name,
            pixels: pixels.into(),
            size,
        })
    }

    /// Frames, rows and columns.
    pub fn size(&self) -> VideoSize {
        self.size
    }

    /// (3, frames, height, width) in -1..1.
    pub(super) fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// Every `step`th frame, `frames` of them from the one with number `first` on, in another height and width.
    pub(super) fn sampled(&self, step: usize, first: usize, frames: usize, to: Size) -> Vec<f32> {
        let from = self.size.side();
        let mut sampled = Vec::with_capacity(3 * frames * to.area());
        let planes: Vec<&[f32]> = self.pixels.chunks_exact(from.area()).collect();
        for colour in planes.chunks_exact(self.size.frames) {
            for plane in colour.iter().step_by(step).skip(first).take(frames) {
                sampled.extend(bilinear(plane, from, to));
            }
        }
        sampled
    }
}

/// How a medium takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As whole frames of the video.
    Frames,
    /// As a part of its first frames, its upper left corner at this pixel.
    Part {
        /// Pixel column of the corner.
        x: usize,
        /// Pixel row of the corner.
        y: usize,
    },
    /// Beside the video: what an in-context LoRA takes its control from.
    Reference,
}

/// A medium that the video has to contain, or to follow.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The image or clip; a clip has 8n + 1 frames.
    pub media: Media,
    /// The video's frame that its first frame stands for.
    pub frame: usize,
    /// 0 is ignored, 1 is kept as it is.
    pub strength: f32,
    /// How it takes part.
    pub place: Place,
}

impl Condition {
    /// Whether a run of this geometry can contain it.
    pub(super) fn check(&self, geometry: &Geometry) -> Result<(), RunError> {
        let why = self.mistake(geometry);
        why.map_or(Ok(()), |why| {
            let name = self.media.name.clone();
            Err(RunError::Condition { name, why })
        })
    }

    fn mistake(&self, geometry: &Geometry) -> Option<String> {
        let (frames, per_latent) = (self.media.size.frames, geometry.compression.frames());
        if !(0.0..=1.0).contains(&self.strength) {
            return Some(format!(
                "its strength is {}; give a number from 0 to 1",
                self.strength
            ));
        }
        if geometry.compression.whole_frames(frames) != frames {
            let whole = geometry.compression.whole_frames(frames);
            return Some(format!(
                "a clip has {per_latent}n + 1 frames, this one {frames}; cut it to {whole}"
            ));
        }
        match self.place {
            Place::Reference => self.reference_mistake(geometry),
            Place::Frames | Place::Part { .. } => self
                .frame_mistake(geometry)
                .or_else(|| self.part_mistake(geometry)),
        }
    }

    fn reference_mistake(&self, geometry: &Geometry) -> Option<String> {
        let (frames, video) = (self.media.size.frames, geometry.padded.frames);
        (frames > video).then(|| format!("it has {frames} frames, the video has {video}"))
    }

    fn frame_mistake(&self, geometry: &Geometry) -> Option<String> {
        let (frames, video) = (self.media.size.frames, geometry.padded.frames);
        let (frame, per_latent) = (self.frame, geometry.compression.frames());
        if frame >= video {
            return Some(format!(
                "it cannot start at frame {frame}: the video has frames 0 to {}",
                video - 1
            ));
        }
        if frame.saturating_add(frames) > video {
            return Some(format!(
                "its {frames} frames from frame {frame} on end after the video's last, {}",
                video - 1
            ));
        }
        let between = frames > 1 && !frame.is_multiple_of(per_latent);
        between.then(|| {
            format!(
                "a clip starts at a multiple of {per_latent} frames, not at {frame}; write {} or {}",
                frame / per_latent * per_latent,
                frame.next_multiple_of(per_latent)
            )
        })
    }

    fn part_mistake(&self, geometry: &Geometry) -> Option<String> {
        let Place::Part { x, y } = self.place else {
            return None;
        };
        let (VideoSize { height, width, .. }, whole) = (self.media.size, geometry.padded);
        let side = geometry.compression.pixels();
        if self.frame != 0 {
            return Some("a part of the frame can be given for frame 0 only".to_owned());
        }
        let odd = [x, y, height, width]
            .iter()
            .any(|n| !n.is_multiple_of(side));
        if odd {
            return Some(format!(
                "a part of the frame lies on multiples of {side} pixels; it has {width}x{height} at {x},{y}"
            ));
        }
        let beyond = |start: usize, length: usize, end: usize| {
            start.checked_add(length).is_none_or(|last| last > end)
        };
        let outside = beyond(x, width, whole.width) || beyond(y, height, whole.height);
        outside.then(|| {
            format!(
                "{width}x{height} at {x},{y} does not lie within {}x{}",
                whole.width, whole.height
            )
        })
    }
}

/// Checks that a video can be what a pass starts from that makes one frame of `step`.
pub(super) fn check_input(
    media: &Media,
    compression: &Compression,
    latents: VideoSize,
    step: usize,
) -> Result<(), RunError> {
    let found = media.size.frames;
    let needed = (compression.video_of(latents).frames - 1) * step + 1;
    if found >= needed {
        return Ok(());
    }
    let unit = compression.frames() * step;
    let whole = (found - 1) / unit * unit + 1;
    Err(RunError::Condition {
        name: media.name.clone(),
        why: format!("it has {found} frames, the run needs {needed}; ask for {whole} frames"),
    })
}

/// A condition as one pass sees it: the pass may have fewer frames and pixels than the video.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fitted {
    /// Which frames of the medium are taken.
    pub step: usize,
    /// Its size in the pass.
    pub size: VideoSize,
    /// Where it starts.
    pub frame: usize,
}

impl Condition {
    /// Fits it to a pass that makes one frame of `step` of the video.
    pub(super) fn fitted(
        &self,
        compression: &Compression,
        pass: VideoSize,
        step: usize,
    ) -> Result<Fitted, RunError> {
        let size = self.media.size;
        let frames = compression.whole_frames((size.frames - 1) / step + 1);
        let frame = match self.place {
            Place::Reference => 0,
            Place::Frames | Place::Part { .. } => self.frame / step,
        };
        if frames > 1 && !frame.is_multiple_of(compression.frames()) {
            return Err(RunError::Condition {
                name: self.media.name.clone(),
                why: format!(
                    "a clip starts at a multiple of {} frames here, because the first pass makes one frame of {step}",
                    step * compression.frames()
                ),
            });
        }
        let part = matches!(self.place, Place::Part { .. });
        Ok(Fitted {
            step,
            frame,
            size: VideoSize {
                frames,
                height: if part { size.height } else { pass.height },
                width: if part { size.width } else { pass.width },
            },
        })
    }
}
