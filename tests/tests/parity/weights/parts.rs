//! Safetensors files taken apart and put together, and E4M3 by its definition.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// A safetensors file taken apart.
#[derive(Clone)]
pub struct Parts {
    pub metadata: Value,
    pub tensors: BTreeMap<String, Stored>,
}

#[derive(Clone)]
pub struct Stored {
    pub dtype: String,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

impl Parts {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let metadata = header.remove("__metadata__").unwrap_or(json!({}));
        let tensor = |(key, entry): (String, Value)| {
            let at = |i: usize| 8 + length + entry["data_offsets"][i].as_u64().unwrap() as usize;
            let stored = Stored {
                dtype: entry["dtype"].as_str().unwrap().to_owned(),
                shape: serde_json::from_value(entry["shape"].clone()).unwrap(),
                data: bytes[at(0)..at(1)].to_vec(),
            };
            (key, stored)
        };
        Self {
            metadata,
            tensors: header.into_iter().map(tensor).collect(),
        }
    }

    pub fn change(&mut self, mut change: impl FnMut(&str, &mut Stored)) {
        self.tensors
            .iter_mut()
            .for_each(|(key, tensor)| change(key, tensor));
    }

    pub fn add(&mut self, key: &str, dtype: &str, shape: Vec<usize>, data: Vec<u8>) {
        let dtype = dtype.to_owned();
        self.tensors
            .insert(key.to_owned(), Stored { dtype, shape, data });
    }

    /// Doubles the E4M3 weights and gives each a scale of a half; returns their layers.
    pub fn scale(&mut self, scale: &str, input: &str) -> Vec<String> {
        let mut layers = Vec::new();
        self.change(|key, tensor| {
            if tensor.dtype == "F8_E4M3"
                && let Some(layer) = key.strip_suffix(".weight")
            {
                tensor
                    .data
                    .iter_mut()
                    .for_each(|byte| *byte = doubled(*byte));
                layers.push(layer.to_owned());
            }
        });
        for layer in &layers {
            self.add(
                &format!("{layer}.{scale}"),
                "F32",
                vec![],
                0.5f32.to_le_bytes().to_vec(),
            );
            self.add(
                &format!("{layer}.{input}"),
                "F32",
                vec![],
                7f32.to_le_bytes().to_vec(),
            );
        }
        layers
    }

    pub fn write(&self, path: &Path) {
        let (mut header, mut data) = (Map::new(), Vec::new());
        header.insert("__metadata__".into(), self.metadata.clone());
        for (key, tensor) in &self.tensors {
            let begin = data.len();
            data.extend(&tensor.data);
            let offsets = [begin, data.len()];
            let entry =
                json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets});
            header.insert(key.clone(), entry);
        }
        let header = Value::Object(header).to_string();
        let length = (header.len() as u64).to_le_bytes();
        fs::write(path, [&length, header.as_bytes(), &data].concat()).unwrap();
    }
}

/// An E4M3 byte of twice the value.
pub fn doubled(byte: u8) -> u8 {
    let (sign, size) = (byte & 0x80, byte & 0x7f);
    let twice = if size < 8 { 2 * size } else { size + 8 };
    assert!(twice < 0x7f, "too large to double");
    sign | twice
}

pub fn value(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from((byte >> 3) & 0xf), f32::from(byte & 7));
    let size = match exponent {
        0 => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 { size } else { -size }
}

/// The E4M3 byte nearest to a number.
pub fn nearest(number: f32) -> u8 {
    let gap = |byte: &u8| (value(*byte) - number).abs();
    let bytes = (0..=255u8).filter(|byte| byte & 0x7f != 0x7f && byte & 0x78 != 0x78);
    bytes.min_by(|a, b| gap(a).total_cmp(&gap(b))).unwrap()
}

/// A row times the normalised Walsh-Hadamard matrix of its length, by definition.
pub fn rotated(row: &[f32]) -> Vec<f32> {
    let sign = |i: usize, j: usize| {
        if (i & j).count_ones().is_multiple_of(2) {
            1.0
        } else {
            -1.0
        }
    };
    let sum = |j: usize| {
        let terms = row
            .iter()
            .enumerate()
            .map(|(i, v)| f64::from(*v) * sign(i, j));
        (terms.sum::<f64>() / (row.len() as f64).sqrt()) as f32
    };
    (0..row.len()).map(sum).collect()
}
