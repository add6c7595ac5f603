//! Golden values for tests, made by `tests/data/media/make_media.py`.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;

fn golden(name: &str) -> (Vec<usize>, Vec<u8>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/media/golden.safetensors");
    let file = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data().to_vec())
}

pub fn golden_bytes(name: &str) -> (Vec<usize>, Vec<u8>) {
    golden(name)
}

pub fn golden_floats(name: &str) -> (Vec<usize>, Vec<f32>) {
    let (shape, data) = golden(name);
    let values = data.as_chunks().0.iter().copied().map(f32::from_le_bytes);
    (shape, values.collect())
}

pub fn golden_integers(name: &str) -> Vec<usize> {
    let (_, data) = golden(name);
    let values = data.as_chunks().0.iter().copied().map(i32::from_le_bytes);
    values.map(|value| value as usize).collect()
}

pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let error: f64 = a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64;
    10.0 * (255.0 * 255.0 / error.max(1e-9)).log10()
}

/// The largest difference.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
