//! What a run does between its settings and its pixels.

use std::sync::{Arc, Mutex};

use ltxc_bundle::{Scheduled, Settings};
use ltxc_runtime::run::{Event, Generated, Job, Runner, Tensors};
use ltxc_runtime::tensor::Tensor;

use super::fake::{self, Fake, one, values};

/// What every latent flows to.
const CLEAN: f32 = 0.25;

/// The exact velocity from any noise to [`CLEAN`].
fn exact(inputs: Tensors) -> Tensors {
    let sigma = values(&inputs, "timestep")[0];
    let latents = values(&inputs, "latents").into_iter();
    let velocity: Vec<_> = latents.map(|x| (x - CLEAN) / sigma).collect();
    one(
        "velocity",
        Tensor::new(inputs["latents"].shape(), velocity).unwrap(),
    )
}

fn settings() -> Settings {
    Settings {
        prompt: Some("a cat".to_owned()),
        negative_prompt: Some("dog".to_owned()),
        height: Some(40),
        width: Some(67),
        frames: Some(6),
        fps: Some(25.0),
        steps: Some(5),
        max_tokens: Some(4),
        ..Settings::default()
    }
}

fn run(runner: &Runner, settings: Settings) -> Generated {
    let job = Job::new(runner.manifest(), settings).unwrap();
    runner
        .generate(&job, &mut job.noise(), &mut |_| {})
        .unwrap()
}

fn with_network(keep: bool) -> (tempfile::TempDir, Fake, Runner) {
    let (folder, fake, runner) = fake::runner(fake::manifest(fake::model(), false, &[]), keep);
    fake.set("transformer", exact);
    (folder, fake, runner)
}

#[test]
fn an_exact_network_reaches_clean_latents_and_pixels() {
    let (_folder, _, runner) = with_network(false);
    let generated = run(&runner, settings());
    assert_eq!(
        (generated.frames, generated.height, generated.width),
        (6, 40, 67)
    );
    assert_eq!(generated.video.len(), 3 * 6 * 40 * 67);
    assert_eq!(generated.latents.shape(), [1, 16, 2, 2, 3]);
    let latents = generated.latents.values::<f32>().unwrap();
    assert!(latents.iter().all(|x| (x - CLEAN).abs() < 1e-5));
    assert!(generated.video.iter().all(|x| (x - 0.625).abs() < 1e-5));
    assert_eq!(generated.rgb8(5), vec![159; 40 * 67 * 3]);
    let stages: Vec<_> = generated
        .stages
        .iter()
        .map(|time| time.stage.as_str())
        .collect();
    assert_eq!(stages, ["prompts", "start", "latents", "pixels"]);
}

#[test]
fn stochastic_steps_reach_the_same_clean_latents() {
    let (_folder, _, runner) = with_network(false);
    let settings = Settings {
        stochastic_sampling: Some(true),
        ..settings()
    };
    let generated = run(&runner, settings);
    let latents = generated.latents.values::<f32>().unwrap();
    assert!(latents.iter().all(|x| (x - CLEAN).abs() < 1e-5));
}

#[test]
fn a_seed_repeats_a_run_and_another_does_not() {
    let (_folder, fake, runner) = with_network(true);
    fake.set("transformer", |inputs| {
        one("velocity", inputs["latents"].clone())
    });
    let with_seed = |seed| {
        let settings = Settings {
            seed: Some(seed),
            ..settings()
        };
        run(&runner, settings).latents
    };
    assert_eq!(with_seed(7), with_seed(7));
    assert_ne!(with_seed(7), with_seed(8));
}

#[test]
fn events_tell_every_step_in_order() {
    let (_folder, _, runner) = with_network(false);
    let job = Job::new(runner.manifest(), settings()).unwrap();
    let mut told = Vec::new();
    let mut tell = |event: Event<'_>| {
        told.push(match event {
            Event::StageStarted { stage, steps, .. } => format!("{stage} started, {steps}"),
            Event::ComponentLoaded { component, .. } => format!("{component} loaded"),
            Event::Step {
                step, steps, sigma, ..
            } => format!("{step} of {steps} at {sigma:.3}"),
            Event::FramesDecoded { frames, total, .. } => format!("{frames} of {total} frames"),
            Event::StageFinished { stage, .. } => format!("{stage} finished"),
        });
    };
    runner.generate(&job, &mut job.noise(), &mut tell).unwrap();
    let sigmas = job.timesteps().into_iter().enumerate();
    let steps = sigmas.map(|(i, sigma)| format!("{} of 5 at {sigma:.3}", i + 1));
    let mut expected: Vec<String> = [
        "prompts started, 0",
        "text_encoder loaded",
        "prompts finished",
    ]
    .map(str::to_owned)
    .into();
    expected.extend(["start started, 0", "start finished"].map(str::to_owned));
    expected.extend(["latents started, 5", "transformer loaded"].map(str::to_owned));
    expected.extend(steps);
    expected.extend(
        [
            "latents finished",
            "pixels started, 0",
            "vae_decoder loaded",
            "6 of 6 frames",
            "pixels finished",
        ]
        .map(str::to_owned),
    );
    assert_eq!(told, expected);
}

#[test]
fn the_negative_prompt_is_a_row_only_under_guidance() {
    let (_folder, fake, runner) = with_network(false);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for (scale, ids) in [(1.0, vec![3, 4, 1, 0]), (3.0, vec![5, 1, 0, 0, 3, 4, 1, 0])] {
        let sink = Arc::clone(&seen);
        fake.set("transformer", move |inputs| {
            sink.lock().unwrap().push(inputs.clone());
            exact(inputs)
        });
        let settings = Settings {
            guidance_scale: Some(Scheduled::Constant(scale)),
            ..settings()
        };
        run(&runner, settings);
        let inputs = seen.lock().unwrap().drain(..).next().unwrap();
        let hidden: Vec<_> = ids
            .iter()
            .flat_map(|id| [*id as f32; fake::CAPTION])
            .collect();
        assert_eq!(values(&inputs, "text"), hidden);
        let mask: Vec<i64> = ids.iter().map(|id| i64::from(*id > 0)).collect();
        assert_eq!(inputs["text_mask"].values::<i64>().unwrap(), mask);
        assert_eq!(inputs["timestep"].shape(), [ids.len() / 4, 1]);
        assert_eq!(inputs["coords"].shape(), [1, 3, 12]);
    }
}

/// Rows of 1 (negative) and 3 (positive) guide to 1 + 2 (3 - 1) = 5.
#[test]
fn guidance_moves_from_the_negative_to_the_positive_row() {
    let (_folder, fake, runner) = with_network(false);
    fake.set("transformer", |inputs| {
        let shape = inputs["latents"].shape();
        let row = shape[1] * shape[2];
        let velocity = [vec![1.0_f32; row], vec![3.0; row]].concat();
        one("velocity", Tensor::new(shape, velocity).unwrap())
    });
    let settings = Settings {
        guidance_scale: Some(Scheduled::Constant(2.0)),
        ..settings()
    };
    let job = Job::new(runner.manifest(), settings).unwrap();
    let mut guided = Vec::new();
    let mut observer = |name: &str, tensor: &Tensor| {
        if name.ends_with("guided_velocity") {
            guided.extend_from_slice(tensor.values::<f32>().unwrap());
        }
    };
    runner
        .generate_observed(&job, &mut job.noise(), &mut |_| {}, Some(&mut observer))
        .unwrap();
    assert_eq!(guided, vec![5.0; 5 * 12 * 16]);
}

#[test]
fn a_decoder_with_a_timestep_gets_noise_and_planes() {
    let manifest = fake::manifest(fake::model(), true, &[2, 4]);
    let (_folder, fake, runner) = fake::runner(manifest, false);
    fake.set("transformer", exact);
    let seen = Arc::new(Mutex::new(Tensors::new()));
    let sink = Arc::clone(&seen);
    fake.set("vae_decoder", move |inputs| {
        *sink.lock().unwrap() = inputs.clone();
        fake::decode(inputs)
    });
    let settings = Settings {
        decode_timestep: Some(0.1),
        decode_noise_scale: Some(0.5),
        ..settings()
    };
    let generated = run(&runner, settings);
    let inputs = seen.lock().unwrap();
    assert_eq!(values(&inputs, "timestep"), [0.1]);
    assert_eq!(inputs["noise_0"].shape(), [4, 6]);
    assert_eq!(inputs["noise_1"].shape(), [8, 12]);
    assert_eq!(inputs["latents"], generated.decoder_latents);
    assert_ne!(generated.latents, generated.decoder_latents);
}

#[test]
fn components_are_loaded_again_unless_they_are_kept() {
    for (keep, loads) in [(false, 6), (true, 3)] {
        let (_folder, fake, runner) = with_network(keep);
        run(&runner, settings());
        run(&runner, settings());
        assert_eq!(fake.loads().len(), loads);
    }
}

#[test]
fn the_presets_settings_hold_where_the_caller_says_nothing() {
    let mut manifest = fake::manifest(fake::model(), false, &[]);
    manifest.defaults = Settings {
        timesteps: Some(vec![1.0, 0.5]),
        ..settings()
    };
    let job = Job::new(&manifest, Settings::default()).unwrap();
    assert_eq!(job.timesteps(), [1.0, 0.5]);
    assert_eq!(job.geometry().padded.width, 96);
    let own = Settings {
        steps: Some(3),
        ..Settings::default()
    };
    assert_eq!(Job::new(&manifest, own).unwrap().timesteps().len(), 3);
}
