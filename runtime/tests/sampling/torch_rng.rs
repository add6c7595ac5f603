//! The random generator against values drawn by torch: no bit may differ.

use super::support::{load, same_bits};
use ltxc_runtime::sampling::TorchRng;

fn parts(name: &str) -> (u64, usize) {
    let number = |marker: &str| {
        let digits = name.split('.').find_map(|part| part.strip_prefix(marker));
        digits.map(|text| text.parse::<u64>().expect("a number"))
    };
    let seed = number("seed").expect("a seed");
    (seed, number("n").expect("a length") as usize)
}

fn round_to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    let rounded = bits + 0x7fff + ((bits >> 16) & 1);
    f32::from_bits(rounded & 0xffff_0000)
}

#[test]
fn single_draws_are_those_of_torch() {
    let vectors = load("rng_vectors.safetensors");
    let mut checked = 0;
    for (name, expected) in vectors
        .tensors
        .range("randn.f32".to_owned().."randn.f33".to_owned())
    {
        let (seed, n) = parts(name);
        assert!(
            same_bits(&TorchRng::new(seed).normal(n), &expected.values),
            "{name}"
        );
        checked += n;
    }
    assert!(checked > 30_000);
}

#[test]
fn half_precision_draws_are_rounded_float32_draws() {
    let vectors = load("rng_vectors.safetensors");
    for n in [16, 288, 4096] {
        let mut drawn = TorchRng::new(1).normal(n);
        drawn.iter_mut().for_each(|v| *v = round_to_bf16(*v));
        assert!(same_bits(
            &drawn,
            vectors.values(&format!("randn.bf16.seed1.n{n}"))
        ));
    }
}

#[test]
fn successive_draws_share_one_stream() {
    let vectors = load("rng_vectors.safetensors");
    let mut generator = TorchRng::new(3);
    for (index, n) in [5, 3, 20, 4, 1, 16, 7].into_iter().enumerate() {
        let name = format!("sequence.seed3.{index}.n{n}");
        assert!(
            same_bits(&generator.normal(n), vectors.values(&name)),
            "{name}"
        );
    }
}
