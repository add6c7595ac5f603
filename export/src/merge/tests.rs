//! Products by hand, and merges against what torch, diffusers and peft make of the same files.

use std::path::{Path, PathBuf};

use half::bf16;

use super::*;
use crate::checkpoint;

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn a_product_is_the_sum_over_the_rank_for_every_odd_size() {
    for (rows, columns, rank) in [(1, 1, 1), (3, 7, 2), (9, 17, 5), (4, 8, 1), (13, 24, 3)] {
        let (up, down) = (numbers(rows * rank, 1), numbers(rank * columns, 2));
        let mut values = numbers(rows * columns, 3);
        let mut expected = values.clone();
        for (i, value) in expected.iter_mut().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let sum = (0..rank).fold(0.0, |sum, r| {
                sum + up[row * rank + r] * down[r * columns + column]
            });
            *value += sum * 0.5;
        }
        let terms = [Term::LowRank {
            up,
            panels: in_panels(&down, rank, columns),
            rank,
            factor: 0.5,
        }];
        add(&terms, &mut values, 0, columns);
        assert_eq!(values, expected, "{rows}x{columns}, rank {rank}");
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn model(loras: &[(&str, f64)]) -> Checkpoint {
    let file = "0.9.8-distilled-like/ltxv-2b-0.9.8-distilled.safetensors";
    let mut model = Checkpoint::open(&fixtures().join(file)).expect("a fixture");
    for (name, weight) in loras {
        let path = fixtures().join("lora").join(name);
        model.merge(&path, *weight).expect("a LoRA that fits");
    }
    model
}

/// A number whose neighbours in the same float type differ by one.
fn position(bits: i32) -> i32 {
    if bits < 0 { i32::MIN - bits } else { bits }
}

/// Largest difference in units in the last place of fp32 and of bf16.
fn ulps(found: &[f32], expected: &[f32]) -> (u32, u32) {
    let half = |v: f32| position(i32::from(bf16::from_f32(v).to_bits() as i16) << 16) >> 16;
    let single = |v: f32| position(v.to_bits() as i32);
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let gaps = pairs.map(|(a, b)| (single(*a).abs_diff(single(*b)), half(*a).abs_diff(half(*b))));
    gaps.fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)))
}

#[test]
fn merges_are_those_of_torch() {
    let golden = Checkpoint::open_with_config(
        &fixtures().join("lora/golden.safetensors"),
        &serde_json::json!({}),
    )
    .expect("the golden");
    let cases = [
        ("peft.", model(&[("peft.safetensors", 0.75)])),
        (
            "both.",
            model(&[("peft.safetensors", 0.75), ("kohya.safetensors", -0.5)]),
        ),
    ];
    let mut compared = 0;
    for (prefix, model) in cases {
        for tensor in golden.tensors() {
            let Some(name) = tensor.key.strip_prefix(prefix) else {
                continue;
            };
            let key = format!("model.diffusion_model.{name}");
            let target = model.tensor(&key).expect("the model has it");
            let read = |dtype| computed(&model, target, dtype).expect("a merge");
            let single = widen(&read(Dtype::F32), checkpoint::Dtype::F32).expect("fp32");
            let half = widen(&read(Dtype::Bf16), checkpoint::Dtype::BF16).expect("bf16");
            let expected = golden
                .with_bytes(tensor, |bytes| widen(bytes, tensor.dtype))
                .expect("it reads")
                .expect("a float type");
            let gap = single.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let gap = gap.fold(0.0, f32::max);
            let (in_single, in_half) = (ulps(&single, &expected).0, ulps(&half, &expected).1);
            println!(
                "{}: {in_single} ulp fp32 ({gap:.1e}), {in_half} ulp bf16",
                tensor.key
            );
            // Where two sums cancel, a rounding of their terms is many units of what is left.
            assert!(in_single <= 1 || gap < 2e-8, "{}", tensor.key);
            assert!(in_half <= 1, "{}", tensor.key);
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
}

#[test]
fn numbers_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.safetensors");
    let key = "diffusion_model.scale_shift_table.diff";
    let header = format!(r#"{{"{key}":{{"dtype":"F32","shape":[2,32],"data_offsets":[0,256]}}}}"#);
    let length = (header.len() as u64).to_le_bytes();
    let data = [f32::NAN; 64].map(f32::to_le_bytes);
    std::fs::write(
        &path,
        [&length, header.as_bytes(), data.as_flattened()].concat(),
    )
    .expect("it is written");
    let mut model = model(&[]);
    model.merge(&path, 1.0).expect("it fits");
    let target = model
        .tensor("model.diffusion_model.scale_shift_table")
        .expect("the model has it");
    let error = computed(&model, target, Dtype::Bf16).expect_err("no numbers");
    assert!(error.to_string().contains("broken.safetensors"), "{error}");
}
