//! Reads the tensors of the reference fixtures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Where the fixtures are unless `LTXC_FIXTURES` names a folder.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");

/// One tensor, widened to float32.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The tensors of a file by name, and the JSON of its `meta` entry.
#[derive(Debug)]
pub struct Golden {
    pub tensors: BTreeMap<String, Tensor>,
    pub meta: serde_json::Value,
}

impl Golden {
    pub fn values(&self, name: &str) -> &[f32] {
        &self.tensors.get(name).expect(name).values
    }
}

pub const VARIANTS: [&str; 4] = [
    "0.9.0-like",
    "0.9.1-like",
    "0.9.8-distilled-like",
    "13b-like",
];

pub fn fixtures() -> PathBuf {
    std::env::var_os("LTXC_FIXTURES").map_or_else(|| FIXTURES.into(), PathBuf::from)
}

/// Loads one file of the fixtures.
pub fn load(path: &str) -> Golden {
    read(&fixtures().join(path))
}

/// Steps of recorded runs with the velocities of every row, which the runs in the fixtures leave out.
pub fn guided_steps() -> Vec<(String, Golden)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/guidance");
    let files = std::fs::read_dir(folder).expect("the recorded steps");
    let paths = files.map(|file| file.expect("a folder entry").path());
    paths
        .map(|path| (path.display().to_string(), read(&path)))
        .collect()
}

fn read(path: &Path) -> Golden {
    let bytes = std::fs::read(path).expect("the fixture can be read");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let tensor = |view: TensorView<'_>| Tensor {
        shape: view.shape().to_vec(),
        values: widen(view.dtype(), view.data()),
    };
    let tensors = file
        .iter()
        .map(|(name, view)| (name.to_owned(), tensor(view)))
        .collect();
    Golden {
        tensors,
        meta: meta(&bytes),
    }
}

fn meta(bytes: &[u8]) -> serde_json::Value {
    let (_, header) = SafeTensors::read_metadata(bytes).expect("a safetensors header");
    let entries = header.metadata().clone().unwrap_or_default();
    entries.get("meta").map_or(serde_json::Value::Null, |text| {
        serde_json::from_str(text).expect("the meta entry is JSON")
    })
}

/// Every pipeline golden of every variant.
pub fn pipelines() -> Vec<(String, Golden)> {
    VARIANTS
        .iter()
        .flat_map(|variant| {
            let folder = fixtures().join(variant).join("goldens");
            let files = std::fs::read_dir(folder).expect("the goldens of a variant");
            files.map(move |file| {
                let name = file.expect("a folder entry").file_name();
                format!("{variant}/goldens/{}", name.to_string_lossy())
            })
        })
        .filter(|path| path.contains("/pipe_"))
        .map(|path| (path.clone(), load(&path)))
        .collect()
}

pub fn max_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .map(|(f, e)| (f - e).abs())
        .fold(0.0, f32::max)
}

pub fn same_bits(found: &[f32], expected: &[f32]) -> bool {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    bits(found) == bits(expected)
}

fn widen(dtype: Dtype, data: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F32 => data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect(),
        Dtype::BF16 => data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16))
            .collect(),
        _ => Vec::new(),
    }
}
