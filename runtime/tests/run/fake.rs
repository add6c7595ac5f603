//! A bundle without models, and a runtime that computes functions instead.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ltxc_bundle::{
    Bundle, Component, DecodeVideo, Denoise, EncodeText, FileEntry, MANIFEST, Manifest, ModelFacts,
    Plan, Port, Settings, SizeLimits, Stage, StageOp, TargetInfo, VERSION, hash_file,
};
use ltxc_runtime::backend::{self, Backend, BackendError, Session};
use ltxc_runtime::run::{Runner, Tensors};
use ltxc_runtime::tensor::Tensor;
use tempfile::TempDir;

pub const CHANNELS: usize = 16;
pub const CAPTION: usize = 8;

/// What a component computes.
pub type Function = Box<dyn FnMut(Tensors) -> Tensors + Send>;

/// A runtime whose models are functions, found by the name of the model file.
#[derive(Clone, Default)]
pub struct Fake {
    functions: Arc<Mutex<BTreeMap<String, Arc<Mutex<Function>>>>>,
    loads: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub fn set(&self, name: &str, function: impl FnMut(Tensors) -> Tensors + Send + 'static) {
        let function: Function = Box::new(function);
        let mut functions = self.functions.lock().unwrap();
        functions.insert(name.to_owned(), Arc::new(Mutex::new(function)));
    }

    pub fn loads(&self) -> Vec<String> {
        self.loads.lock().unwrap().clone()
    }
}

impl Backend for Fake {
    fn name(&self) -> &str {
        "functions"
    }

    fn load(&self, model: &Path) -> Result<Box<dyn Session>, BackendError> {
        let name = model.file_stem().unwrap().to_string_lossy().into_owned();
        let function = Arc::clone(&self.functions.lock().unwrap()[&name]);
        self.loads.lock().unwrap().push(name);
        Ok(Box::new(FakeSession(function)))
    }
}

struct FakeSession(Arc<Mutex<Function>>);

impl Session for FakeSession {
    fn inputs(&self) -> &[backend::Port] {
        &[]
    }

    fn outputs(&self) -> &[backend::Port] {
        &[]
    }

    fn run(&mut self, inputs: Tensors) -> Result<Tensors, BackendError> {
        Ok((self.0.lock().unwrap())(inputs))
    }
}

pub fn one(name: &str, tensor: Tensor) -> Tensors {
    Tensors::from([(name.to_owned(), tensor)])
}

pub fn values(tensors: &Tensors, name: &str) -> Vec<f32> {
    tensors[name].values::<f32>().unwrap().to_vec()
}

/// Hidden states that repeat each token's id.
pub fn encode_text(inputs: Tensors) -> Tensors {
    let ids = inputs["ids"].values::<i64>().unwrap();
    let hidden = ids
        .iter()
        .flat_map(|id| [*id as f32; CAPTION])
        .collect::<Vec<_>>();
    let shape = [inputs["ids"].shape(), &[CAPTION]].concat();
    one("hidden", Tensor::new(shape, hidden).unwrap())
}

/// Every pixel shows the first channel of its latent.
pub fn decode(inputs: Tensors) -> Tensors {
    let latents = &inputs["latents"];
    let &[_, _, frames, rows, columns] = latents.shape() else {
        unreachable!("latents have five axes");
    };
    let source = latents.values::<f32>().unwrap();
    let (pixel_frames, height, width) = (8 * frames - 7, 32 * rows, 32 * columns);
    let mut video = Vec::with_capacity(3 * pixel_frames * height * width);
    for place in 0..3 * pixel_frames * height * width {
        let (x, y) = (place % width, place / width % height);
        let frame = (place / width / height % pixel_frames).div_ceil(8);
        video.push(source[(frame * rows + y / 32) * columns + x / 32]);
    }
    one(
        "video",
        Tensor::new([1, 3, pixel_frames, height, width], video).unwrap(),
    )
}

pub fn port(name: &str, dtype: &str, shape: &[&str]) -> Port {
    Port {
        name: name.to_owned(),
        dtype: dtype.to_owned(),
        shape: shape.iter().map(|size| (*size).to_owned()).collect(),
        source: None,
    }
}

fn plane(index: usize, scale: usize) -> Port {
    Port {
        name: format!("noise_{index}"),
        dtype: "f32".to_owned(),
        shape: vec![format!("{scale}*rows"), format!("{scale}*columns")],
        source: Some("normal".to_owned()),
    }
}

fn component(name: &str, inputs: Vec<Port>, outputs: Vec<Port>, max: &[(&str, i64)]) -> Component {
    let limits = |max: i64| SizeLimits {
        min: 1,
        max,
        one_of: Vec::new(),
    };
    Component {
        model: format!("{name}.onnx"),
        inputs,
        outputs,
        sizes: max
            .iter()
            .map(|(name, max)| ((*name).to_owned(), limits(*max)))
            .collect(),
        parameters: 0,
        weight_bytes: 0,
        weight_dtypes: BTreeMap::new(),
        passes: Vec::new(),
    }
}

fn components(conditioned: bool, planes: &[usize]) -> BTreeMap<String, Component> {
    let text = component(
        "text_encoder",
        vec![
            port("ids", "i64", &["B", "L"]),
            port("mask", "i64", &["B", "L"]),
        ],
        vec![port("hidden", "f32", &["B", "L", "8"])],
        &[("L", 512)],
    );
    let mut transformer = component(
        "transformer",
        vec![
            port("latents", "f32", &["B", "S", "16"]),
            port("coords", "f32", &["R", "3", "S"]),
            port("text", "f32", &["B", "L", "8"]),
            port("text_mask", "i64", &["B", "L"]),
            port("timestep", "f32", &["B", "M"]),
        ],
        vec![port("velocity", "f32", &["B", "S", "16"])],
        &[("S", 4096), ("R", 64), ("M", 4096)],
    );
    for (name, other) in [("R", "B"), ("M", "S")] {
        transformer.sizes.get_mut(name).unwrap().one_of = vec!["1".to_owned(), other.to_owned()];
    }
    let mut inputs = vec![port(
        "latents",
        "f32",
        &["B", "16", "frames", "rows", "columns"],
    )];
    inputs.extend(conditioned.then(|| port("timestep", "f32", &["B"])));
    inputs.extend(
        planes
            .iter()
            .enumerate()
            .map(|(index, scale)| plane(index, *scale)),
    );
    let decoder = component(
        "vae_decoder",
        inputs,
        vec![port(
            "video",
            "f32",
            &["B", "3", "8*frames - 7", "32*rows", "32*columns"],
        )],
        &[("rows", 64), ("columns", 64)],
    );
    [
        ("text_encoder", text),
        ("transformer", transformer),
        ("vae_decoder", decoder),
    ]
    .map(|(name, component)| (name.to_owned(), component))
    .into()
}

pub fn stage(name: &str, op: StageOp) -> Stage {
    Stage {
        name: name.to_owned(),
        op,
    }
}

fn plan() -> Plan {
    let text = EncodeText {
        component: "text_encoder".to_owned(),
    };
    let denoise = Denoise {
        component: "transformer".to_owned(),
        text: "prompts".to_owned(),
    };
    let decode = DecodeVideo {
        component: "vae_decoder".to_owned(),
        latents: "latents".to_owned(),
    };
    Plan {
        name: "text-to-video".to_owned(),
        stages: vec![
            stage("prompts", StageOp::EncodeText(text)),
            stage("latents", StageOp::Denoise(denoise)),
            stage("pixels", StageOp::DecodeVideo(decode)),
        ],
        video: "pixels".to_owned(),
    }
}

pub fn model() -> ModelFacts {
    ModelFacts {
        latent_channels: CHANNELS,
        frames_per_latent: 8,
        pixels_per_latent: 32,
        causal_positions: true,
        scheduler: serde_json::json!({"sampler": "LinearQuadratic", "shifting": null}),
        allowed_inference_steps: None,
    }
}

pub fn manifest(model: ModelFacts, conditioned: bool, planes: &[usize]) -> Manifest {
    Manifest {
        version: VERSION,
        producer: "test".to_owned(),
        name: "functions".to_owned(),
        target: TargetInfo {
            name: "cpu".to_owned(),
            runtime: "onnxruntime".to_owned(),
            provider: "cpu".to_owned(),
            opset: 20,
        },
        model,
        components: components(conditioned, planes),
        tokenizer: Some("tokenizer.json".to_owned()),
        plan: plan(),
        defaults: Settings::default(),
        files: BTreeMap::new(),
        sources: Vec::new(),
        notes: Vec::new(),
    }
}

/// Writes the files that the manifest names, and opens the folder as a bundle.
pub fn bundle(mut manifest: Manifest) -> (TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    let models = manifest
        .components
        .values()
        .map(|component| component.model.clone());
    let names: Vec<_> = models.chain(manifest.tokenizer.clone()).collect();
    for name in names {
        let path = folder.path().join(&name);
        std::fs::write(&path, include_str!("../data/words.json")).unwrap();
        let entry = FileEntry {
            bytes: path.metadata().unwrap().len(),
            sha256: hash_file(&path).unwrap(),
            from: Vec::new(),
        };
        manifest.files.insert(name, entry);
    }
    let text = serde_json::to_string(&manifest).unwrap();
    std::fs::write(folder.path().join(MANIFEST), text).unwrap();
    let bundle = Bundle::open(folder.path()).unwrap();
    (folder, bundle)
}

/// A runner of functions: text encoder and decoder as above, the transformer has to be set.
pub fn runner(manifest: Manifest, keep: bool) -> (TempDir, Fake, Runner) {
    let (folder, bundle) = bundle(manifest);
    let fake = Fake::default();
    fake.set("text_encoder", encode_text);
    fake.set("vae_decoder", decode);
    let runner = Runner::with_backend(bundle, Box::new(fake.clone()), keep).unwrap();
    (folder, fake, runner)
}
