//! `manifest.json`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::settings::Settings;
use crate::stream::Stream;

/// Version of the manifest this program writes and reads.
pub const VERSION: u32 = 4;
/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// Everything a run has to know about a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Program and version that wrote it.
    pub producer: String,
    /// The preset's name.
    pub name: String,
    /// What the components were compiled for.
    pub target: TargetInfo,
    /// Facts of the model that the host needs.
    pub model: ModelFacts,
    /// The compiled graphs by name.
    pub components: BTreeMap<String, Component>,
    /// `tokenizer.json`, if the pipeline encodes text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Compile-time choices of the graphs, such as `stg_mode`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The only video it was compiled for (`--size`), if the sizes in its graphs are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiled_for: Option<CompiledFor>,
    /// What a run does, in order.
    pub plan: Plan,
    /// What a run uses where the caller says nothing.
    pub defaults: Settings,
    /// Every other file of the folder.
    pub files: BTreeMap<String, FileEntry>,
    /// What it was made from.
    pub sources: Vec<Source>,
    /// What the compiler inferred or chose, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The only video that a bundle was compiled for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompiledFor {
    /// Pixel columns.
    pub width: usize,
    /// Pixel rows.
    pub height: usize,
    /// Frames.
    pub frames: usize,
}

/// `704x512x121`
impl fmt::Display for CompiledFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.width, self.height, self.frames)
    }
}

/// The runtime a bundle was compiled for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetInfo {
    /// Name of the target file.
    pub name: String,
    /// `onnxruntime` or `tract`.
    pub runtime: String,
    /// `cpu`, `cuda`, `tensorrt`.
    pub provider: String,
    /// ONNX opset of the default domain.
    pub opset: i64,
}

/// What the host needs to know about the model, all of it from the checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Pixel frames per latent frame after the first (8 in the released models).
    pub frames_per_latent: usize,
    /// Pixel rows and columns per latent row and column (32 in the released models).
    pub pixels_per_latent: usize,
    /// Whether the first latent frame stands for one pixel frame in the positions.
    pub causal_positions: bool,
    /// The checkpoint's scheduler section.
    pub scheduler: serde_json::Value,
    /// The only timesteps a distilled model was trained for, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_inference_steps: Option<Vec<f64>>,
}

/// One compiled graph, or several that compute it together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// The ONNX file; where there are `parts`, that of the last one.
    pub model: String,
    /// What is computed before the last part, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What computes it at the first steps of a video, where attention is sparse at the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense: Option<Dense>,
    /// How it is computed some frames at a time, if it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// Inputs in order.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// Named run-time sizes.
    pub sizes: BTreeMap<String, SizeLimits>,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of weights on disk.
    pub weight_bytes: u64,
    /// Weight bytes by element type.
    pub weight_dtypes: BTreeMap<String, u64>,
    /// The passes that made it, in order.
    pub passes: Vec<PassRecord>,
}

/// Models of a component without what its recipe for attention changed. Their inputs and outputs are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// In the place of the component's `model`.
    pub model: String,
    /// In the places of the models of `parts`, in order; the same file where nothing changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

impl Component {
    /// The ONNX files that compute it at once.
    pub fn models(&self) -> impl Iterator<Item = &String> {
        let parts = self.parts.iter().map(|part| &part.model);
        let dense = self.dense.iter();
        let dense = dense.flat_map(|dense| dense.parts.iter().chain([&dense.model]));
        parts.chain([&self.model]).chain(dense)
    }
}

/// A share of a component whose results stay in the runtime's memory, where later parts read them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name among the parts.
    pub name: String,
    /// The ONNX file.
    pub model: String,
    /// How often it is computed.
    pub per: Per,
    /// Inputs of the component, and outputs of parts before it, that it reads.
    pub inputs: Vec<String>,
    /// What it makes, in order.
    pub outputs: Vec<Port>,
    /// A result of a part before it: while that changes little, its own results of an earlier step may be used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<String>,
    /// The passes that made it, in order.
    pub passes: Vec<PassRecord>,
}

/// How often a part is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Whenever its inputs differ from those before: once for a video.
    Video,
    /// At every step.
    Step,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Name in the graph.
    pub name: String,
    /// Element type, as `f32`.
    pub dtype: String,
    /// One size per axis: a number, or an expression such as `8*frames - 7`.
    pub shape: Vec<String>,
    /// `normal`: the run draws it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Values a named size may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeLimits {
    /// Smallest.
    pub min: i64,
    /// Largest.
    pub max: i64,
    /// If not empty, it always equals one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
}

/// What a pass did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassRecord {
    /// The pass.
    pub pass: String,
    /// Places it changed.
    pub matched: usize,
    /// Places it looked at and left.
    pub declined: usize,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Which sources it was made from.
    pub from: Vec<String>,
}

/// A file the bundle was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What it is: `checkpoint`, `text_encoder`, `tokenizer`, `preset`, `graph`.
    pub role: String,
    /// File name without folders, so that a bundle says nothing about the machine it was made on.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
}
