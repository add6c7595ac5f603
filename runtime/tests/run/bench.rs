//! A runner that remembers what its network is asked, and noise whose values tell what they were drawn for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ltxc_bundle::{Manifest, Settings};
use ltxc_runtime::run::{
    Condition, Generated, Job, Media, Place, RunError, Runner, Tensors, VideoSize,
};
use ltxc_runtime::sampling::{NoiseError, NoiseSource, Purpose};
use ltxc_runtime::tensor::Tensor;
use tempfile::TempDir;

use super::fake::{self, Fake, one, values};
use super::plans::CHANNELS;

/// What is drawn for the latents that sampling starts from.
pub const INITIAL: f32 = 8.0;
/// What is drawn for tokens of conditions.
pub const CONDITION: f32 = -4.0;

/// Noise of one value for each purpose, and a record of the draws.
#[derive(Default)]
pub struct Telling(pub Vec<(Purpose, Vec<usize>)>);

impl NoiseSource for Telling {
    fn draw(&mut self, purpose: Purpose, shape: &[usize]) -> Result<Vec<f32>, NoiseError> {
        self.0.push((purpose, shape.to_vec()));
        let value = match purpose {
            Purpose::Initial => INITIAL,
            Purpose::Condition => CONDITION,
            Purpose::Posterior | Purpose::Step | Purpose::Decode | Purpose::Plane => 2.0,
        };
        Ok(vec![value; shape.iter().product()])
    }
}

/// What a run made, and everything that could be observed of it.
pub struct Seen {
    pub generated: Generated,
    pub tensors: BTreeMap<String, Tensor>,
    pub draws: Vec<(Purpose, Vec<usize>)>,
}

impl Seen {
    pub fn values(&self, name: &str) -> Vec<f32> {
        values(&self.tensors, name)
    }

    /// The first channel of every token.
    pub fn tokens(&self, name: &str) -> Vec<f32> {
        let values = self.values(name);
        values.into_iter().step_by(CHANNELS).collect()
    }

    /// The first channel of the latents that were made.
    pub fn latents(&self) -> Vec<f32> {
        let latents = self.generated.latents.values::<f32>().unwrap();
        latents[..latents.len() / CHANNELS].to_vec()
    }
}

/// A runner whose network predicts the same velocity everywhere, 0 unless another is set.
pub struct Bench {
    pub fake: Fake,
    pub runner: Runner,
    calls: Arc<Mutex<Vec<Tensors>>>,
    _folder: TempDir,
}

impl Bench {
    pub fn new(manifest: Manifest) -> Self {
        Self::keeping(manifest, true)
    }

    /// A runner that keeps components between stages and runs, or does not.
    pub fn keeping(manifest: Manifest, keep: bool) -> Self {
        let (_folder, fake, runner) = fake::runner(manifest, keep);
        let bench = Self {
            fake,
            runner,
            calls: Arc::default(),
            _folder,
        };
        bench.flow(0.0);
        bench
    }

    /// Sets the velocity.
    pub fn flow(&self, velocity: f32) {
        let calls = Arc::clone(&self.calls);
        self.fake.set("transformer", move |inputs| {
            let shape = inputs["latents"].shape().to_vec();
            calls.lock().unwrap().push(inputs);
            let count = shape.iter().product();
            one(
                "velocity",
                Tensor::new(shape, vec![velocity; count]).unwrap(),
            )
        });
    }

    /// What the network was asked since the last time.
    pub fn calls(&self) -> Vec<Tensors> {
        self.calls.lock().unwrap().drain(..).collect()
    }

    pub fn job(&self, settings: Settings) -> Job {
        Job::new(self.runner.manifest(), settings).unwrap()
    }

    pub fn conditioned(&self, settings: Settings, conditions: Vec<Condition>) -> Job {
        let job = self.job(settings);
        job.with_conditions(self.runner.manifest(), conditions)
            .unwrap()
    }

    pub fn run(&mut self, job: &Job) -> Seen {
        self.try_run(job).unwrap()
    }

    pub fn try_run(&mut self, job: &Job) -> Result<Seen, RunError> {
        let mut noise = Telling::default();
        let (generated, tensors) = self.observed(job, &mut noise)?;
        Ok(Seen {
            generated,
            tensors,
            draws: noise.0,
        })
    }

    /// Runs with the noise of the job's seed.
    pub fn run_seeded(&mut self, job: &Job) -> Seen {
        let (generated, tensors) = self.observed(job, &mut job.noise()).unwrap();
        Seen {
            generated,
            tensors,
            draws: Vec::new(),
        }
    }

    fn observed(
        &self,
        job: &Job,
        noise: &mut dyn NoiseSource,
    ) -> Result<(Generated, BTreeMap<String, Tensor>), RunError> {
        let mut tensors = BTreeMap::new();
        let mut observer = |name: &str, tensor: &Tensor| {
            let before = tensors.insert(name.to_owned(), tensor.clone());
            assert!(before.is_none(), "{name} is observed twice");
        };
        let runner = &self.runner;
        let generated = runner.generate_observed(job, noise, &mut |_| {}, Some(&mut observer))?;
        Ok((generated, tensors))
    }
}

/// Settings of a small run: 64 x 96 pixels, which are 2 x 3 latents.
pub fn settings(frames: usize) -> Settings {
    Settings {
        prompt: Some("a cat".to_owned()),
        height: Some(64),
        width: Some(96),
        frames: Some(frames),
        fps: Some(25.0),
        timesteps: Some(vec![1.0, 0.6, 0.4]),
        max_tokens: Some(4),
        ..Settings::default()
    }
}

/// A clip whose frame f is f / 100 everywhere, above `base`.
pub fn clip(base: f32, frames: usize, height: usize, width: usize) -> Media {
    let size = VideoSize {
        frames,
        height,
        width,
    };
    let plane = height * width;
    let value = |place: usize| base + (place / plane % frames) as f32 / 100.0;
    let pixels = (0..3 * frames * plane).map(value).collect();
    Media::new("clip.mp4", pixels, size).unwrap()
}

/// An image of one colour.
pub fn image(value: f32) -> Media {
    clip(value, 1, 64, 96)
}

pub fn at(media: Media, frame: usize, strength: f32) -> Condition {
    Condition {
        media,
        frame,
        strength,
        place: Place::Frames,
    }
}

/// Whether both are the same but for rounding.
pub fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() < 2e-5, "place {index}: {f}, not {e}");
    }
}
