//! What is streamed of a quantised weight is what the reference interpreter computes.

use std::collections::BTreeMap;
use std::path::Path;

use ltxc_ir::{Array, Graph, eval, parse};

use super::*;
use crate::checkpoint::Checkpoint;
use crate::merge::each_block;
use crate::quantize::quantized;

const KEY: &str = "model.diffusion_model.transformer_blocks.0.ff.net.2.weight";

fn weight() -> (Checkpoint, Vec<f32>) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let file = "0.9.8-distilled-like/ltxv-2b-0.9.8-distilled.safetensors";
    let checkpoint = Checkpoint::open(&fixtures.join(file)).expect("a fixture");
    let found = |tensor: &&crate::checkpoint::TensorInfo| tensor.source_key == KEY;
    let tensor = checkpoint.tensors().find(found).expect("a weight").clone();
    let mut values = Vec::new();
    each_block(&checkpoint, &tensor, &mut |block| values.extend(block)).expect("floats");
    (checkpoint, values)
}

/// The numbers that stand for a value in the data file.
fn streamed(graph: &Graph, name: &str, checkpoint: &Checkpoint) -> Vec<f32> {
    let id = graph.find(name).expect("a value");
    let (_, steps) = weight_expression(graph, id).expect("an expression on a weight");
    let tensor = checkpoint.tensors().find(|tensor| tensor.source_key == KEY);
    let tensor = tensor.expect("a weight");
    let fact = &graph.node(id).fact;
    let plan = WeightPlan {
        name: name.to_owned(),
        key: tensor.key.clone(),
        stored: Dtype::Bf16,
        written: fact.dtype,
        shape: tensor.shape.clone(),
        final_shape: fact.const_shape().expect("sizes"),
        steps,
        scale_in_graph: false,
        offset: 0,
    };
    let (bytes, _) = quantized(checkpoint, tensor, &plan)
        .expect("numbers")
        .expect("a quantised weight");
    let all: Vec<f32> = match fact.dtype {
        Dtype::F4e2m1 => (0..16u8).map(e2m1).collect(),
        Dtype::F8e4m3 => (0..=255u8).map(e4m3).collect(),
        Dtype::I8 => (0..=255u8)
            .map(|byte| f32::from(byte.cast_signed()))
            .collect(),
        _ => {
            let words = bytes.as_chunks().0.iter();
            return words.map(|word| f32::from_le_bytes(*word)).collect();
        }
    };
    bytes.iter().map(|byte| all[usize::from(*byte)]).collect()
}

fn e2m1(bits: u8) -> f32 {
    let size = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(bits & 7)];
    if bits & 8 == 0 { size } else { -size }
}

fn e4m3(bits: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
    let size = match exponent {
        0 => mantissa * 2f32.powi(-9),
        exponent => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if bits & 128 == 0 { size } else { -size }
}

fn agree(body: &str, outputs: &[&str]) {
    let (checkpoint, values) = weight();
    let returned = outputs
        .iter()
        .map(|name| format!("return {name} = %{name}\n"));
    let returned: String = returned.collect();
    let text = format!("graph case\n%w : f32[32, 128] = weight {{key: {KEY}}}\n{body}{returned}");
    let graph = parse(&text).expect("a graph");
    let given = Array::f32(&[32, 128], values).expect("a matrix");
    let expected = eval(
        &graph,
        &BTreeMap::new(),
        &|_| Some(given.clone()),
        &BTreeMap::new(),
    );
    let expected = expected.expect("numbers");
    for name in outputs {
        let found = streamed(&graph, name, &checkpoint);
        let expected: Vec<f32> = match &expected[*name] {
            Array::F32(x) => x.iter().copied().collect(),
            Array::I64(x) => x.iter().map(|x| *x as f32).collect(),
            Array::Bool(_) => Vec::new(),
        };
        assert_eq!(found.len(), expected.len(), "{name}");
        let differ = found.iter().zip(&expected).filter(|(a, b)| a != b);
        assert_eq!(differ.count(), 0, "{name}");
    }
}

#[test]
fn blocks_of_four_bit_floats_with_scales_of_eight() {
    let body = "%s : f32[32, 8] = weight_scale(%w) {to: f4e2m1, axis: 1, block: 16}\n\
                %t : f32[] = weight_scale(%s) {to: f8e4m3}\n\
                %n : f8e4m3[32, 8] = quantize(%s, %t) {to: f8e4m3}\n\
                %r : f32[32, 8] = dequantize(%n, %t)\n\
                %q : f4e2m1[32, 128] = quantize(%w, %r) {to: f4e2m1, axis: 1, block: 16}\n";
    agree(body, &["t", "n", "q"]);
}

#[test]
fn rows_of_integers_whose_columns_are_multiplied_before() {
    let factors: Vec<String> = (0..128)
        .map(|n| format!("{:.1}", f64::from(1 << (n % 4))))
        .collect();
    let factors = factors.join(", ");
    let body = format!(
        "%f : f32[128] = constant {{data: [{factors}]}}\n\
         %m : f32[32, 128] = mul(%w, %f)\n\
         %s : f32[32] = weight_scale(%m) {{to: i8, axis: 0}}\n\
         %q : i8[32, 128] = quantize(%m, %s) {{to: i8, axis: 0}}\n"
    );
    agree(&body, &["s", "q"]);
}
