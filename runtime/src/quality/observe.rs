//! Colours, shape and motion of a clip.

use super::clip::{distance2, median};
use super::mask::{Mask, background};
use super::{Clip, Colour, Motion, Shape};

/// Way in 17 frames from which a shape moves, as a share of the smaller side.
const MOVES: f32 = 0.1;
/// Change of the radius in 17 frames from which a shape grows or shrinks, as a share of it.
const GROWS: f32 = 0.2;

/// What a clip shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// The named colour nearest to the border.
    pub background: Colour,
    /// The named colour nearest to the shape; `None` where there is none.
    pub colour: Option<Colour>,
    /// The shape by how much of its box it fills.
    pub shape: Option<Shape>,
    /// The motion of its middle, or the change of its size; `None` where it goes askew.
    pub motion: Option<Motion>,
}

/// Reads a clip of the tiny model.
pub fn observe(clip: &Clip) -> Observed {
    let ground = background(clip, &clip.frames);
    let masks: Vec<(usize, Mask)> = clip
        .frames
        .iter()
        .enumerate()
        .filter_map(|(at, frame)| Some((at, Mask::of(clip, frame, ground)?)))
        .collect();
    let seen = Observed {
        background: nearest(ground),
        colour: None,
        shape: None,
        motion: None,
    };
    if masks.is_empty() || masks.len() * 2 < clip.frames.len() {
        return seen;
    }
    let colours: Vec<_> = masks.iter().flat_map(|(_, mask)| &mask.colours).collect();
    let colours: Vec<[f32; 3]> = colours.into_iter().copied().collect();
    Observed {
        colour: median(&colours).map(nearest),
        shape: Some(shape(&masks)),
        motion: motion(clip, &masks),
        ..seen
    }
}

fn nearest(colour: [f32; 3]) -> Colour {
    let near = |a: &Colour, b: &Colour| {
        let [a, b] = [a, b].map(|named| distance2(named.rgb(), colour));
        a.total_cmp(&b)
    };
    Colour::ALL
        .into_iter()
        .min_by(near)
        .unwrap_or(Colour::Black)
}

fn shape(masks: &[(usize, Mask)]) -> Shape {
    let fill = masks.iter().map(|(_, mask)| mask.fill()).sum::<f32>() / masks.len() as f32;
    match fill {
        0.9.. => Shape::Square,
        0.69.. => Shape::Circle,
        _ => Shape::Triangle,
    }
}

fn motion(clip: &Clip, masks: &[(usize, Mask)]) -> Option<Motion> {
    let span = clip.frames.len().saturating_sub(1) as f32;
    let line = |of: &dyn Fn(&Mask) -> f32| {
        let points: Vec<_> = masks
            .iter()
            .map(|(at, mask)| (*at as f32, of(mask)))
            .collect();
        slope(&points) * span
    };
    let side = clip.height.min(clip.width) as f32;
    let [dx, dy] = [0, 1].map(|axis| line(&|mask| mask.middle[axis]) / side);
    let radius = |mask: &Mask| mask.area().sqrt();
    let mean = masks.iter().map(|(_, mask)| radius(mask)).sum::<f32>() / masks.len() as f32;
    let (growth, part) = (line(&radius) / mean, (span / 16.0).min(2.0));
    let (most, least) = (dx.abs().max(dy.abs()), dx.abs().min(dy.abs()));
    match most > MOVES * part {
        true if most < 2.0 * least => None,
        true if dx.abs() > dy.abs() => Some(if dx > 0.0 {
            Motion::Right
        } else {
            Motion::Left
        }),
        true => Some(if dy > 0.0 { Motion::Down } else { Motion::Up }),
        false if growth > GROWS * part => Some(Motion::Grows),
        false if growth < -GROWS * part => Some(Motion::Shrinks),
        false => Some(Motion::Still),
    }
}

/// The slope of the line nearest to some points; 0 of a single one.
fn slope(points: &[(f32, f32)]) -> f32 {
    let n = points.len() as f32;
    let mean = |of: fn(&(f32, f32)) -> f32| points.iter().map(of).sum::<f32>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let (mut top, mut bottom) = (0.0, 0.0);
    for point in points {
        top += (point.0 - x) * (point.1 - y);
        bottom += (point.0 - x).powi(2);
    }
    if bottom > 0.0 { top / bottom } else { 0.0 }
}
