//! Likeness of two clips of one size.

use super::Clip;

/// What equal clips get, in dB.
const EQUAL: f64 = 100.0;
/// Width of the window's bell, in pixels, and its reach.
const SIGMA: f32 = 1.5;
const REACH: usize = 5;
/// Stabilisers of SSIM for values of 0 to 255.
const C1: f32 = 6.5025;
const C2: f32 = 58.5225;

/// Peak signal-to-noise ratio over all frames, in dB; 100 for equal clips. `None` if the sizes differ.
pub fn psnr(a: &Clip, b: &Clip) -> Option<f64> {
    if !alike(a, b) {
        return None;
    }
    let (mut sum, mut count) = (0_u64, 0_u64);
    for (x, y) in a.frames.iter().zip(&b.frames) {
        let squares = x
            .iter()
            .zip(y)
            .map(|(x, y)| u64::from(x.abs_diff(*y)).pow(2));
        sum += squares.sum::<u64>();
        count += x.len() as u64;
    }
    if sum == 0 {
        return Some(EQUAL);
    }
    let error = sum as f64 / count as f64;
    Some((10.0 * (255.0 * 255.0 / error).log10()).min(EQUAL))
}

/// Structural similarity (Wang et al., 2004) of the brightness, the mean over frames and windows; 1 for equal clips.
/// `None` if the sizes differ or a frame is smaller than the window of 11 x 11.
pub fn ssim(a: &Clip, b: &Clip) -> Option<f64> {
    let window = 2 * REACH + 1;
    if !alike(a, b) || a.height < window || a.width < window || a.frames.is_empty() {
        return None;
    }
    let pairs = a.frames.iter().zip(&b.frames);
    let sum: f64 = pairs
        .map(|(x, y)| frame_ssim(&brightness(x), &brightness(y), a.height, a.width))
        .sum();
    Some(sum / a.frames.len() as f64)
}

fn alike(a: &Clip, b: &Clip) -> bool {
    (a.height, a.width, a.frames.len()) == (b.height, b.width, b.frames.len())
}

/// BT.601.
fn brightness(rgb: &[u8]) -> Vec<f32> {
    super::clip::pixels(rgb)
        .map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b)
        .collect()
}

fn frame_ssim(x: &[f32], y: &[f32], height: usize, width: usize) -> f64 {
    let mean = |of: &dyn Fn(f32, f32) -> f32| {
        let values: Vec<f32> = x.iter().zip(y).map(|(x, y)| of(*x, *y)).collect();
        blurred(&values, height, width)
    };
    let (mx, my) = (mean(&|x, _| x), mean(&|_, y| y));
    let (xx, yy, xy) = (
        mean(&|x, _| x * x),
        mean(&|_, y| y * y),
        mean(&|x, y| x * y),
    );
    let of_window = |i: usize| {
        let (vx, vy) = (xx[i] - mx[i] * mx[i], yy[i] - my[i] * my[i]);
        let both = xy[i] - mx[i] * my[i];
        let top = (2.0 * mx[i] * my[i] + C1) * (2.0 * both + C2);
        f64::from(top / ((mx[i].powi(2) + my[i].powi(2) + C1) * (vx + vy + C2)))
    };
    (0..mx.len()).map(of_window).sum::<f64>() / mx.len() as f64
}

/// The bell-weighted mean of every window that lies inside.
fn blurred(values: &[f32], height: usize, width: usize) -> Vec<f32> {
    let bell: Vec<f32> = (0..=2 * REACH)
        .map(|i| (-(i as f32 - REACH as f32).powi(2) / (2.0 * SIGMA * SIGMA)).exp())
        .collect();
    let total: f32 = bell.iter().sum();
    let bell: Vec<f32> = bell.iter().map(|weight| weight / total).collect();
    let dot = |window: &[f32]| window.iter().zip(&bell).map(|(v, w)| v * w).sum::<f32>();
    let across: Vec<f32> = values
        .chunks_exact(width)
        .flat_map(|row| row.windows(bell.len()).map(dot))
        .collect();
    let (width, rows) = (width - 2 * REACH, height - 2 * REACH);
    let down = |i: usize| {
        let column = (0..bell.len()).map(|k| across[i + k * width] * bell[k]);
        column.sum()
    };
    (0..rows * width).map(down).collect()
}
