//! The host's part of recorded runs: with the recorded velocities in place of a network, every latent must be the
//! recorded one.

use std::sync::Arc;

use ltxc_bundle::{Scheduled, Settings};
use ltxc_runtime::run::{Job, Tensors, replay};
use ltxc_runtime::tensor::{Tensor, file};

use super::bench::Bench;
use super::fake::{self, one, timesteps, values};
use super::golden::{Golden, pipelines};

fn settings(golden: &Golden) -> Settings {
    let arguments = &golden.arguments;
    let guidance = arguments["guidance_scale"].as_f64().unwrap_or(3.0) as f32;
    Settings {
        prompt: Some("a cat".to_owned()),
        height: golden.number("height"),
        width: golden.number("width"),
        frames: golden.number("num_frames"),
        fps: arguments["frame_rate"].as_f64(),
        steps: golden.number("num_inference_steps"),
        timesteps: serde_json::from_value(arguments["timesteps"].clone()).unwrap(),
        guidance_scale: Some(Scheduled::Constant(guidance)),
        cfg_star_rescale: arguments["cfg_star_rescale"].as_bool(),
        stochastic_sampling: arguments["stochastic_sampling"].as_bool(),
        skip_initial_inference_steps: golden.number("skip_initial_inference_steps"),
        skip_final_inference_steps: golden.number("skip_final_inference_steps"),
        max_tokens: golden.number("text_encoder_max_tokens"),
        ..Settings::default()
    }
}

/// How many times finer than the latents each recorded noise plane is.
fn planes(golden: &Golden) -> Vec<usize> {
    let rows = golden.number("height").unwrap() / 32;
    let draws = golden
        .tensors
        .iter()
        .filter(|(name, _)| name.starts_with("rng."));
    let planes = draws.filter(|(_, tensor)| tensor.shape().len() == 2);
    planes.map(|(_, tensor)| tensor.shape()[0] / rows).collect()
}

fn max_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let errors = found.iter().zip(expected).map(|(f, e)| (f - e).abs());
    errors.fold(0.0, f32::max)
}

/// A network that says what the recorded one said: row by row where that is recorded, else the guided velocity in
/// every row, which guidance leaves as it is.
fn recorded_network(golden: &Arc<Golden>) -> impl FnMut(Tensors) -> Tensors + Send + use<> {
    let golden = Arc::clone(golden);
    let same_guidance = golden.arguments["stg_scale"].as_f64() == Some(0.0);
    let mut step = 0;
    move |inputs| {
        let rows = inputs["latents"].shape()[0];
        let name = |what: &str| format!("mid.step{step:02}.{what}");
        let recorded = golden.tensors.get(&name("dit_velocity"));
        let recorded = recorded.filter(|_| same_guidance);
        if let (Some(_), Some(timestep)) = (recorded, golden.tensors.get(&name("dit_timestep"))) {
            let recorded = timestep.values::<f32>().unwrap();
            assert_eq!(timesteps(&inputs, recorded.len() / rows), recorded);
        }
        let velocity = match recorded {
            Some(tensor) => tensor.values::<f32>().unwrap().to_vec(),
            None => golden.values(&name("guided_velocity")).repeat(rows),
        };
        step += 1;
        one(
            "velocity",
            Tensor::new(inputs["latents"].shape(), velocity).unwrap(),
        )
    }
}

fn compare(golden: &Golden, name: &str, tensor: &Tensor) -> usize {
    let found = tensor.values::<f32>().unwrap();
    let expected = match name {
        "pass0.init_latents" => golden.values("mid.pass0.init_latents_bcfhw"),
        // Whole numbers have a test of their own, and of the video only some frames are recorded.
        "pass0.pixel_coords" | "video" => return 0,
        // Recorded with the rows of a guidance this run may not use; the network hands it out, so it is no test.
        name if name.ends_with("dit_velocity") => return 0,
        name => golden.values(&format!("mid.{name}")),
    };
    let error = max_error(found, expected);
    let allowed = if name.starts_with("pass0") { 0.0 } else { 2e-6 };
    assert!(
        error <= allowed,
        "{} {name}: {error:e}",
        golden.path.display()
    );
    1
}

#[test]
fn latents_of_every_text_to_video_run_are_the_recorded_ones() {
    let (mut runs, mut tensors) = (0, 0);
    for golden in pipelines("pipe_t2v") {
        let golden = Arc::new(golden);
        let conditioned = golden.config["vae"]["timestep_conditioning"].as_bool();
        let planes = planes(&golden);
        let manifest = fake::manifest(golden.model(), conditioned.unwrap_or(false), &planes);
        let (_folder, fake, runner) = fake::runner(manifest, false);
        fake.set("transformer", recorded_network(&golden));
        let job = Job::new(runner.manifest(), settings(&golden)).unwrap();
        let mut noise = replay(&golden.path).unwrap();
        let mut observer = |name: &str, tensor: &Tensor| tensors += compare(&golden, name, tensor);
        runner
            .generate_observed(&job, &mut noise, &mut |_| {}, Some(&mut observer))
            .unwrap();
        noise.finish().unwrap();
        runs += 1;
    }
    assert!(runs >= 9 && tensors > 90, "{runs} runs, {tensors} tensors");
}

#[test]
fn seeds_give_the_recorded_initial_noise() {
    for golden in pipelines("pipe_t2v") {
        let manifest = fake::manifest(golden.model(), false, &[]);
        let settings = Settings {
            seed: Some(1),
            ..settings(&golden)
        };
        let (_folder, fake, runner) = fake::runner(manifest, false);
        let golden = Arc::new(golden);
        fake.set("transformer", recorded_network(&golden));
        let job = Job::new(runner.manifest(), settings).unwrap();
        let mut seen = 0;
        let mut observer = |name: &str, tensor: &Tensor| {
            if name == "pass0.init_latents" {
                seen += compare(&golden, name, tensor);
            }
        };
        runner
            .generate_observed(&job, &mut job.noise(), &mut |_| {}, Some(&mut observer))
            .unwrap();
        assert_eq!(seen, 1);
    }
}

/// Conditioning tokens stand in front of the video's own.
#[test]
fn positions_are_the_recorded_ones() {
    let mut compared = 0;
    for golden in pipelines("pipe_") {
        let manifest = fake::manifest(golden.model(), false, &[]);
        let job = Job::new(&manifest, settings(&golden)).unwrap();
        let geometry = job.geometry();
        let found = geometry.compression.pixel_coords(geometry.latents);
        let tokens = found.len() / 3;
        let recorded = golden.tensors["mid.pass0.pixel_coords"]
            .values::<i64>()
            .unwrap();
        let all = recorded.len() / 3;
        for (axis, row) in found.chunks_exact(tokens).enumerate() {
            let expected = &recorded[axis * all..][..all][all - tokens..];
            assert_eq!(row, expected, "{}, axis {axis}", golden.path.display());
        }
        compared += 1;
    }
    assert!(compared >= 9, "{compared} runs");
}

#[test]
fn seconds_are_the_recorded_ones() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/guidance/cfg_only.safetensors"
    );
    let recorded = &file::read(file.as_ref()).unwrap()["mid.step00.dit_indices_grid"];
    let settings = Settings {
        prompt: Some("a cat".to_owned()),
        height: Some(64),
        width: Some(96),
        frames: Some(17),
        fps: Some(25.0),
        ..Settings::default()
    };
    let mut bench = Bench::new(fake::manifest(fake::model(), false, &[]));
    let job = bench.job(settings);
    bench.run(&job);
    let found = values(&bench.calls()[0], "coords");
    assert_eq!(found, recorded.values::<f32>().unwrap()[..found.len()]);
}
