//! A bundle without models, and a runtime that computes functions instead.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ltxc_bundle::{Bundle, FileEntry, MANIFEST, Manifest, hash_file};
use ltxc_runtime::backend::{self, Backend, BackendError, Calls, Held, Session, Values};
use ltxc_runtime::run::{Runner, Tensors};
use ltxc_runtime::tensor::{DType, Tensor};
use tempfile::TempDir;

pub use super::plans::{CAPTION, manifest, model, port};

/// What a component computes.
pub type Function = Box<dyn FnMut(Tensors) -> Tensors + Send>;

/// A runtime whose models are functions, found by the name of the model file.
#[derive(Clone, Default)]
pub struct Fake {
    functions: Arc<Mutex<BTreeMap<String, Arc<Mutex<Function>>>>>,
    loads: Arc<Mutex<Vec<String>>>,
    ports: Arc<Mutex<BTreeMap<String, Vec<backend::Port>>>>,
}

impl Fake {
    pub fn set(&self, name: &str, function: impl FnMut(Tensors) -> Tensors + Send + 'static) {
        let function: Function = Box::new(function);
        let mut functions = self.functions.lock().unwrap();
        functions.insert(name.to_owned(), Arc::new(Mutex::new(function)));
    }

    /// Names what a model reads, which only the last of several parts has to know.
    pub fn reads(&self, name: &str, inputs: &[&str]) {
        let port = |name: &&str| backend::Port {
            name: (*name).to_owned(),
            dtype: DType::F32,
            dims: Vec::new(),
        };
        let ports = inputs.iter().map(port).collect();
        self.ports.lock().unwrap().insert(name.to_owned(), ports);
    }

    pub fn loads(&self) -> Vec<String> {
        self.loads.lock().unwrap().clone()
    }
}

impl Backend for Fake {
    fn name(&self) -> &str {
        "functions"
    }

    fn load_for(&self, model: &Path, _: Calls) -> Result<Box<dyn Session>, BackendError> {
        let name = model.file_stem().unwrap().to_string_lossy().into_owned();
        let function = Arc::clone(&self.functions.lock().unwrap()[&name]);
        let ports = self.ports.lock().unwrap().get(&name).cloned();
        self.loads.lock().unwrap().push(name);
        Ok(Box::new(FakeSession(function, ports.unwrap_or_default())))
    }
}

struct FakeSession(Arc<Mutex<Function>>, Vec<backend::Port>);

impl Session for FakeSession {
    fn inputs(&self) -> &[backend::Port] {
        &self.1
    }

    fn outputs(&self) -> &[backend::Port] {
        &[]
    }

    fn call(
        &mut self,
        mut inputs: Tensors,
        held: &Values,
        _: bool,
    ) -> Result<Values, BackendError> {
        for (name, value) in held {
            inputs.insert(name.clone(), value.tensor()?);
        }
        let outputs = (self.0.lock().unwrap())(inputs).into_iter();
        Ok(outputs
            .map(|(name, tensor)| (name, Arc::new(tensor) as Arc<dyn Held>))
            .collect())
    }
}

pub fn one(name: &str, tensor: Tensor) -> Tensors {
    Tensors::from([(name.to_owned(), tensor)])
}

pub fn values(tensors: &Tensors, name: &str) -> Vec<f32> {
    tensors[name].values::<f32>().unwrap().to_vec()
}

/// The timestep of every token, (rows, tokens).
pub fn timesteps(tensors: &Tensors, tokens: usize) -> Vec<f32> {
    let (values, of) = (values(tensors, "timestep"), &tensors["timestep_of"]);
    let of = of.values::<i64>().unwrap();
    let count = tensors["timestep"].shape()[1];
    let told = |token: usize| of[token % of.len()] as usize;
    let rows = values.chunks_exact(count);
    rows.flat_map(|row| (0..tokens).map(move |token| row[told(token)]))
        .collect()
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
    decode_from(inputs, 7)
}

/// The same for latents within a video.
pub fn decode_on(inputs: Tensors) -> Tensors {
    decode_from(inputs, 0)
}

fn decode_from(inputs: Tensors, missing: usize) -> Tensors {
    let latents = &inputs["latents"];
    let &[_, _, frames, rows, columns] = latents.shape() else {
        unreachable!("latents have five axes");
    };
    let source = latents.values::<f32>().unwrap();
    let (pixel_frames, height, width) = (8 * frames - missing, 32 * rows, 32 * columns);
    let mut video = Vec::with_capacity(3 * pixel_frames * height * width);
    for place in 0..3 * pixel_frames * height * width {
        let (x, y) = (place % width, place / width % height);
        let frame = (place / width / height % pixel_frames + missing) / 8;
        video.push(source[(frame * rows + y / 32) * columns + x / 32]);
    }
    one(
        "video",
        Tensor::new([1, 3, pixel_frames, height, width], video).unwrap(),
    )
}

/// Channel c of a latent is the mean of colour c % 3 in the 32 x 32 pixels of the first frame that it stands for.
pub fn encode(inputs: Tensors) -> Tensors {
    let shape = inputs["noise"].shape();
    let &[_, channels, frames, rows, columns] = shape else {
        unreachable!("latents have five axes");
    };
    let source = inputs["video"].values::<f32>().unwrap();
    let (height, width) = (32 * rows, 32 * columns);
    let mut latents = Vec::with_capacity(channels * frames * rows * columns);
    for place in 0..channels * frames * rows * columns {
        let (x, y) = (place % columns * 32, place / columns % rows * 32);
        let (frame, colour) = (
            place / columns / rows % frames,
            place / columns / rows / frames % 3,
        );
        let plane = colour * (8 * frames - 7) + (8 * frame).saturating_sub(7);
        let row = |row: usize| &source[(plane * height + row) * width + x..][..32];
        let sum: f32 = (y..y + 32).flat_map(row).sum();
        latents.push(sum / 1024.0);
    }
    one("latents", Tensor::new(shape, latents).unwrap())
}

/// Twice the rows and columns, each latent four times.
pub fn enlarge(inputs: Tensors) -> Tensors {
    let latents = &inputs["latents"];
    let &[_, channels, frames, rows, columns] = latents.shape() else {
        unreachable!("latents have five axes");
    };
    let source = latents.values::<f32>().unwrap();
    let mut larger = Vec::with_capacity(4 * source.len());
    for row in source.chunks_exact(columns) {
        let wide = || row.iter().flat_map(|x| [*x, *x]);
        larger.extend(wide().chain(wide()));
    }
    // Rows were doubled one by one, which is the order of the larger latents too.
    let shape = [1, channels, frames, 2 * rows, 2 * columns];
    one("upscaled", Tensor::new(shape, larger).unwrap())
}

/// Twice the frames but one: all after the first twice.
pub fn slow_down(inputs: Tensors) -> Tensors {
    let latents = &inputs["latents"];
    let &[_, channels, frames, rows, columns] = latents.shape() else {
        unreachable!("latents have five axes");
    };
    let source = latents.values::<f32>().unwrap();
    let mut longer = Vec::new();
    for channel in source.chunks_exact(frames * rows * columns) {
        for (index, frame) in channel.chunks_exact(rows * columns).enumerate() {
            (0..if index == 0 { 1 } else { 2 }).for_each(|_| longer.extend_from_slice(frame));
        }
    }
    let shape = [1, channels, 2 * frames - 1, rows, columns];
    one("upscaled", Tensor::new(shape, longer).unwrap())
}

/// A mean of 1 and a standard deviation of 2 in every channel.
pub fn statistics(inputs: Tensors) -> Tensors {
    let latents = &inputs["latents"];
    let mapped = |map: fn(f32) -> f32| {
        let source = latents.values::<f32>().unwrap().iter();
        Tensor::new(latents.shape(), source.map(|x| map(*x)).collect::<Vec<_>>()).unwrap()
    };
    Tensors::from([
        ("normalized".to_owned(), mapped(|x| (x - 1.0) / 2.0)),
        ("un_normalized".to_owned(), mapped(|x| 2.0 * x + 1.0)),
    ])
}

/// Writes the files that the manifest names, and opens the folder as a bundle.
pub fn bundle(mut manifest: Manifest) -> (TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    let models = manifest.components.values().flat_map(|component| {
        let steps = component.stream.iter().flat_map(|stream| &stream.stages);
        let steps = steps.flat_map(|stage| stage.models.all().map(String::clone));
        component.models().cloned().chain(steps)
    });
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

/// A runner of functions: all components as above, the transformer has to be set.
pub fn runner(manifest: Manifest, keep: bool) -> (TempDir, Fake, Runner) {
    let (folder, bundle) = bundle(manifest);
    let fake = Fake::default();
    fake.set("text_encoder", encode_text);
    fake.set("vae_encoder", encode);
    fake.set("vae_decoder", decode);
    fake.set("spatial_upscaler", enlarge);
    fake.set("temporal_upscaler", slow_down);
    fake.set("latent_statistics", statistics);
    let runner = Runner::with_backend(bundle, Box::new(fake.clone()), keep).unwrap();
    (folder, fake, runner)
}
