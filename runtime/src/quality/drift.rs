//! What a long clip loses on its way.

use serde::Serialize;

use super::Clip;
use super::clip::{distance2, median};
use super::mask::{Mask, background};

/// How far a clip goes away from its first frames. Colours are distances in RGB, of 0 to 255 each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// The background's farthest colour from that of the first frames.
    pub background: f32,
    /// The shape's farthest colour from that of the first frames.
    pub colour: f32,
    /// The largest way of the shape's middle between two frames, as a share of the smaller side: a jump, or a cut.
    pub jump: f32,
    /// The farthest the shape's middle gets from where it was at first, as a share of the smaller side.
    pub way: f32,
    /// The share of frames without a shape.
    pub lost: f32,
}

impl Drift {
    /// Compares every `window` frames of a clip with the first ones.
    pub fn of(clip: &Clip, window: usize) -> Self {
        let mut drift = Self {
            background: 0.0,
            colour: 0.0,
            jump: 0.0,
            way: 0.0,
            lost: 0.0,
        };
        let (mut first, mut last): (Option<[f32; 2]>, Option<[f32; 2]>) = (None, None);
        let (mut ground0, mut colour0) = (None, None);
        for frames in clip.frames.chunks(window.max(1)) {
            let ground = background(clip, frames);
            drift.background = drift.background.max(apart(&mut ground0, ground));
            let mut colours = Vec::new();
            for frame in frames {
                let Some(mask) = Mask::of(clip, frame, ground) else {
                    drift.lost += 1.0 / clip.frames.len() as f32;
                    continue;
                };
                let side = clip.height.min(clip.width) as f32;
                let middle = mask.middle.map(|v| v / side);
                drift.jump = drift.jump.max(last.map_or(0.0, |last| far(last, middle)));
                drift.way = drift.way.max(far(*first.get_or_insert(middle), middle));
                last = Some(middle);
                colours.extend(mask.colours);
            }
            if let Some(colour) = median(&colours) {
                drift.colour = drift.colour.max(apart(&mut colour0, colour));
            }
        }
        drift
    }
}

/// The distance to the first colour seen.
fn apart(first: &mut Option<[f32; 3]>, colour: [f32; 3]) -> f32 {
    distance2(*first.get_or_insert(colour), colour).sqrt()
}

fn far(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}
