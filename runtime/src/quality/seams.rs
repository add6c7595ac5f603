//! Whether one sees where the windows of a long clip meet, and how its colours drift from window to window.

use serde::Serialize;

use super::Clip;
use super::clip::pixels;

/// The windows of a clip, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seams {
    /// Mean distance of each frame's values to those of the frame before, of 0 to 255; 0 for the first.
    pub steps: Vec<f32>,
    /// The first frame that each later window adds.
    pub seams: Vec<usize>,
    /// The mean step at seams.
    pub at_seams: f32,
    /// The mean step where a latent frame begins that begins no window: a decoder may step there by itself.
    pub at_latents: f32,
    /// The mean step of all frames that begin no window.
    pub inside: f32,
    /// What each window adds.
    pub windows: Vec<Look>,
}

/// The colours of some frames, in CIELAB under D65.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Look {
    /// The first frame.
    pub from: usize,
    /// The frame after the last.
    pub to: usize,
    /// Mean of L, a and b.
    pub mean: [f32; 3],
    /// Standard deviation of L, a and b.
    pub deviation: [f32; 3],
    /// How far the mean is from that of the first window.
    pub drift: f32,
}

impl Seams {
    /// Compares windows that begin to add frames at `starts`, the first at 0. A latent frame after the first stands for
    /// `latent` frames.
    pub fn of(clip: &Clip, starts: &[usize], latent: usize) -> Self {
        let frames = clip.frames.len();
        let pairs = clip.frames.windows(2);
        let steps = pairs.map(|pair| step(&pair[0], &pair[1]));
        let steps: Vec<f32> = std::iter::once(0.0).chain(steps).take(frames).collect();
        let inner = |start: &&usize| (1..frames).contains(*start);
        let seams: Vec<usize> = starts.iter().filter(inner).copied().collect();
        let mean_where = |wanted: &dyn Fn(usize) -> bool| {
            let wanted = (1..frames).filter(|frame| wanted(*frame));
            mean(&wanted.map(|frame| steps[frame]).collect::<Vec<f32>>())
        };
        Self {
            at_seams: mean_where(&|frame| seams.contains(&frame)),
            at_latents: mean_where(&|f| {
                !seams.contains(&f) && f % latent.max(1) == 1 % latent.max(1)
            }),
            inside: mean_where(&|frame| !seams.contains(&frame)),
            windows: looks(clip, &seams),
            steps,
            seams,
        }
    }
}

/// Mean distance of two frames' values.
fn step(before: &[u8], after: &[u8]) -> f32 {
    let apart: u64 = before
        .iter()
        .zip(after)
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    apart as f32 / before.len().max(1) as f32
}

fn mean(values: &[f32]) -> f32 {
    match values.len() {
        0 => 0.0,
        count => values.iter().sum::<f32>() / count as f32,
    }
}

fn looks(clip: &Clip, seams: &[usize]) -> Vec<Look> {
    let starts = std::iter::once(0).chain(seams.iter().copied());
    let ends = seams.iter().copied().chain([clip.frames.len()]);
    let mut looks: Vec<Look> = starts
        .zip(ends)
        .map(|(from, to)| look(clip, from, to))
        .collect();
    let first = looks.first().map_or([0.0; 3], |look| look.mean);
    for look in &mut looks {
        let squares = (0..3).map(|axis| (look.mean[axis] - first[axis]).powi(2));
        look.drift = squares.sum::<f32>().sqrt();
    }
    looks
}

fn look(clip: &Clip, from: usize, to: usize) -> Look {
    let (mut sum, mut squares, mut count) = ([0.0_f64; 3], [0.0_f64; 3], 0.0);
    for colour in clip.frames[from..to].iter().flat_map(|frame| pixels(frame)) {
        for (axis, value) in lab(colour).into_iter().enumerate() {
            sum[axis] += f64::from(value);
            squares[axis] += f64::from(value).powi(2);
        }
        count += 1.0;
    }
    let mean = sum.map(|sum| sum / f64::max(count, 1.0));
    let deviation = [0, 1, 2].map(|axis| {
        let variance = squares[axis] / f64::max(count, 1.0) - mean[axis].powi(2);
        variance.max(0.0).sqrt() as f32
    });
    Look {
        from,
        to,
        mean: mean.map(|mean| mean as f32),
        deviation,
        drift: 0.0,
    }
}

/// L, a and b of an sRGB colour of 0 to 255 (IEC 61966-2-1, CIE 15).
fn lab(colour: [f32; 3]) -> [f32; 3] {
    let [r, g, b] = colour.map(|value| match value / 255.0 {
        low if low <= 0.04045 => low / 12.92,
        value => ((value + 0.055) / 1.055).powf(2.4),
    });
    let x = (0.412_456_4 * r + 0.357_576_1 * g + 0.180_437_5 * b) / 0.950_47;
    let y = 0.212_672_9 * r + 0.715_152_2 * g + 0.072_175 * b;
    let z = (0.019_333_9 * r + 0.119_192 * g + 0.950_304_1 * b) / 1.088_83;
    let [x, y, z] = [x, y, z].map(|t| match t {
        t if t > 216.0 / 24_389.0 => t.cbrt(),
        t => (24_389.0 / 27.0 * t + 16.0) / 116.0,
    });
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_have_the_lab_values_of_the_books() {
        for (rgb, expected) in [
            ([255.0, 255.0, 255.0], [100.0, 0.0, 0.0]),
            ([255.0, 0.0, 0.0], [53.24, 80.09, 67.20]),
            ([0.0, 128.0, 0.0], [46.23, -51.70, 49.90]),
            ([0.0, 0.0, 255.0], [32.30, 79.19, -107.86]),
            ([5.0, 5.0, 5.0], [1.37, 0.0, 0.0]),
        ] {
            let found = lab(rgb);
            let apart = (0..3).map(|axis| (found[axis] - expected[axis]).abs());
            assert!(apart.fold(0.0, f32::max) < 0.05, "{rgb:?}: {found:?}");
        }
    }

    #[test]
    fn a_jump_between_windows_is_told_from_those_inside() {
        let grey = |value: u8| vec![value; 4 * 4 * 3];
        let values = [
            10, 11, 12, 13, 14, 15, 16, 17, 18, 60, 61, 62, 63, 64, 65, 66, 67,
        ];
        let clip = Clip {
            height: 4,
            width: 4,
            frames: values.map(grey).to_vec(),
        };
        let seams = Seams::of(&clip, &[0, 9], 8);
        assert_eq!((seams.seams.as_slice(), seams.steps.len()), (&[9][..], 17));
        assert_eq!(
            (seams.at_seams, seams.at_latents, seams.inside),
            (42.0, 1.0, 1.0)
        );
        let [first, second] = [seams.windows[0], seams.windows[1]];
        assert_eq!((first.from, first.to, second.to), (0, 9, 17));
        assert!(
            first.drift == 0.0 && (second.drift - (second.mean[0] - first.mean[0])).abs() < 1e-4
        );
        assert!(second.mean[0] > 20.0 && second.mean[1].abs() < 0.01);
    }
}
