//! Safetensors files made byte by byte, wrong ones included.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

/// A file taken apart.
#[derive(Clone)]
pub struct Parts {
    pub header: Map<String, Value>,
    pub data: Vec<u8>,
}

impl Parts {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        Self {
            header: serde_json::from_slice(&bytes[8..8 + length]).unwrap(),
            data: bytes[8 + length..].to_vec(),
        }
    }

    pub fn empty() -> Self {
        Self {
            header: Map::new(),
            data: Vec::new(),
        }
    }

    /// One more tensor of fp32 zeros.
    pub fn with(mut self, key: &str, shape: &[usize]) -> Self {
        let begin = self.data.len();
        let end = begin + 4 * shape.iter().product::<usize>();
        self.data.resize(end, 0);
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]});
        self.header.insert(key.to_owned(), entry);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        join(
            serde_json::to_string(&self.header).unwrap().as_bytes(),
            &self.data,
        )
    }

    /// The entry of a tensor.
    pub fn entry(&mut self, key: &str) -> &mut Value {
        self.header.get_mut(key).expect("the tensor is there")
    }

    /// The configuration in the metadata.
    pub fn config(&mut self, change: impl FnOnce(&mut Value)) {
        let text = &mut self.header["__metadata__"]["config"];
        let mut config = serde_json::from_str(text.as_str().unwrap()).unwrap();
        change(&mut config);
        *text = json!(config.to_string());
    }
}

pub fn join(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// A checkpoint of this many matrices of 4 MiB, in memory never more than a row.
fn matrices(path: &Path, count: usize) {
    let mut header = Map::new();
    header.insert(
        "__metadata__".into(),
        json!({"config": json!({"layers": count}).to_string()}),
    );
    for i in 0..count {
        let offsets = [i * MATRIX, (i + 1) * MATRIX];
        let entry = json!({"dtype": "F32", "shape": [1024, 1024], "data_offsets": offsets});
        header.insert(format!("layers.{i}.weight"), entry);
    }
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&join(Value::Object(header).to_string().as_bytes(), &[]))
        .unwrap();
    for row in 0..count * 1024 {
        let values: Vec<u8> = (0..1024)
            .flat_map(|i| ((row * i) as f32).to_le_bytes())
            .collect();
        file.write_all(&values).unwrap();
    }
    file.flush().unwrap();
}

/// Bytes of a matrix.
pub const MATRIX: usize = 4 << 20;

/// A preset beside a checkpoint of this many matrices, and its pipeline and graph.
pub fn project_of_matrices(folder: &Path, count: usize) -> String {
    matrices(&folder.join("many.safetensors"), count);
    let files = [
        ("many.yaml", PRESET),
        ("line.yaml", PIPELINE),
        ("layers.yaml", GRAPH),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    folder.join("many.yaml").to_str().unwrap().to_owned()
}

const PRESET: &str = "ltxc: 1
preset: many
pipeline: line.yaml
checkpoint: many.safetensors
";
const PIPELINE: &str = "ltxc: 1
pipeline: line
components:
  encoder: {graph: layers.yaml, checkpoint: model}
  denoiser: {graph: layers.yaml, checkpoint: model}
  decoder: {graph: layers.yaml, checkpoint: model}
stages:
  text: {encode_text: {component: encoder}}
  start: {prepare_latents: {component: encoder}}
  latents: {denoise: {component: denoiser, text: text, start: start}}
  video: {decode_video: {component: decoder, latents: latents}}
video: video
";
const GRAPH: &str = "ltxc: 1
graph: layers
params:
  layers: {config: layers}
dims:
  B: {min: 1, max: 4}
inputs:
  x: \"f32[B, 1024]\"
outputs:
  y: y
blocks:
  layer:
    in: {x: \"f32[B, 1024]\"}
    out: {x: y}
    params: {at: ~}
    body:
      y: {linear: {x: x, to: 1024, w: \"/layers.{at}\", bias: false}}
body:
  y: {repeat: {block: layer, times: layers, prefix: \"layers.{i}.\", carry: {x: x}, params: {at: i}}}
";
