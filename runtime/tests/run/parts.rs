//! Components in parts: what stays the same for a video is computed once.

use std::sync::{Arc, Mutex};

use ltxc_bundle::{Dense, Manifest, Part, Per, Port, Scheduled, Settings};
use ltxc_runtime::run::{Job, Take, Tensors};
use ltxc_runtime::sampling::NoiseSource;
use ltxc_runtime::tensor::Tensor;

use super::bench::{Bench, settings};
use super::fake::{one, values};
use super::plans::{manifest, model, port};

/// The transformer in two parts, of which the first sums the text of each row.
fn in_parts() -> Manifest {
    let mut manifest = manifest(model(), false, &[]);
    let transformer = manifest.components.get_mut("transformer").unwrap();
    let sums = port("sums", "f32", &["B"]);
    transformer.parts = vec![part("once", Per::Video, &["text"], sums)];
    manifest
}

fn part(name: &str, per: Per, inputs: &[&str], output: Port) -> Part {
    Part {
        name: name.to_owned(),
        model: format!("transformer.{name}.onnx"),
        per,
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        outputs: vec![output],
        reuse: None,
        passes: Vec::new(),
    }
}

fn sums(text: &Tensor) -> Vec<f32> {
    let row = text.shape()[1] * text.shape()[2];
    let rows = text.values::<f32>().unwrap().chunks_exact(row);
    rows.map(|row| row.iter().sum()).collect()
}

fn velocity(inputs: &Tensors, sums: &[f32]) -> Tensors {
    let latents = &inputs["latents"];
    let row = latents.shape()[1] * latents.shape()[2];
    let rows = latents.values::<f32>().unwrap().chunks_exact(row);
    let flow = |(row, sum): (&[f32], &f32)| row.iter().map(|x| x * 0.1 + sum).collect::<Vec<_>>();
    let values: Vec<f32> = rows.zip(sums).flat_map(flow).collect();
    one("velocity", Tensor::new(latents.shape(), values).unwrap())
}

/// A bench whose transformer has two parts, and the rows of text of every call of the first.
fn bench(manifest: Manifest) -> (Bench, Arc<Mutex<Vec<usize>>>) {
    heard(Bench::new(manifest))
}

fn heard(bench: Bench) -> (Bench, Arc<Mutex<Vec<usize>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&calls);
    bench.fake.set("transformer.once", move |inputs| {
        assert_eq!(inputs.keys().collect::<Vec<_>>(), ["text"]);
        heard.lock().unwrap().push(inputs["text"].shape()[0]);
        let sums = sums(&inputs["text"]);
        one("sums", Tensor::new([sums.len()], sums).unwrap())
    });
    bench
        .fake
        .reads("transformer", &["latents", "timestep", "sums"]);
    bench
        .fake
        .set("transformer", |inputs| match inputs.get("text") {
            Some(text) => velocity(&inputs, &sums(text)),
            None => {
                assert_eq!(
                    inputs.keys().collect::<Vec<_>>(),
                    ["latents", "sums", "timestep"]
                );
                velocity(&inputs, &values(&inputs, "sums"))
            }
        });
    (bench, calls)
}

fn run(manifest: Manifest, settings: Settings) -> (Vec<f32>, Vec<usize>) {
    let (mut bench, calls) = bench(manifest);
    let job = bench.job(settings);
    let latents = bench.run(&job).latents();
    let calls = calls.lock().unwrap().clone();
    (latents, calls)
}

fn listed(scales: &[f32]) -> Settings {
    Settings {
        negative_prompt: Some("dog".to_owned()),
        guidance_scale: Some(Scheduled::Listed(scales.to_vec())),
        guidance_timesteps: Some(vec![1.0, 0.6, 0.4]),
        ..settings(9)
    }
}

#[test]
fn what_stays_the_same_is_computed_once_for_a_video() {
    let whole = run(manifest(model(), false, &[]), settings(9)).0;
    let (found, calls) = run(in_parts(), settings(9));
    assert_eq!(found, whole);
    assert_eq!(calls, [1]);
}

/// The rows of guidance are inputs like any other: other rows, other keys and values.
#[test]
fn other_rows_are_computed_anew() {
    for (scales, expected) in [
        ([3.0, 3.0, 3.0], &[2][..]),
        ([3.0, 1.0, 1.0], &[2, 1]),
        ([3.0, 1.0, 3.0], &[2, 1, 2]),
    ] {
        let whole = run(manifest(model(), false, &[]), listed(&scales)).0;
        let (found, calls) = run(in_parts(), listed(&scales));
        assert_eq!(found, whole);
        assert_eq!(calls, expected, "{scales:?}");
    }
}

#[test]
fn every_take_has_its_own() {
    let takes = |manifest: Manifest, together: usize| {
        let (mut bench, calls) = bench(manifest);
        bench.runner = bench.runner.with_together(together);
        let job: Job = bench.job(settings(9));
        let mut noises: Vec<_> = (0..3).map(|seed| job.noise_of(seed)).collect();
        let prompts = ["a", "b c", "a"].iter().zip(&mut noises);
        let takes = prompts.map(|(prompt, noise)| Take {
            prompt: (*prompt).to_owned(),
            noise: noise as &mut dyn NoiseSource,
            shift: 0,
        });
        let mut made = Vec::new();
        let mut finished = |_, generated: ltxc_runtime::run::Generated| {
            made.push(generated.latents);
            Ok(())
        };
        let takes = takes.collect();
        let stages = bench
            .runner
            .generate_takes(&job, takes, &mut |_| {}, &mut finished);
        stages.unwrap();
        let calls = calls.lock().unwrap().clone();
        (made, calls)
    };
    let whole = takes(manifest(model(), false, &[]), 1).0;
    let (one_by_one, calls) = takes(in_parts(), 1);
    assert_eq!((&one_by_one, calls), (&whole, vec![1, 1, 1]));
    let (together, calls) = takes(in_parts(), 2);
    assert_eq!((&together, calls), (&whole, vec![2, 1]));
}

/// The head doubles the timestep, the body makes a velocity of the sums, which the last part takes.
fn reusing() -> Manifest {
    let mut manifest = in_parts();
    let transformer = manifest.components.get_mut("transformer").unwrap();
    let moved = port("moved", "f32", &["B", "1"]);
    let added = port("added", "f32", &["B"]);
    transformer.parts.extend([
        part("head", Per::Step, &["timestep"], moved),
        Part {
            reuse: Some("moved".to_owned()),
            ..part("body", Per::Step, &["sums", "timestep_of"], added)
        },
    ]);
    manifest
}

/// Latents that a run with these settings makes of each prompt, and how often the body was computed.
fn reused(settings: Settings, prompts: &[&str], together: usize) -> (Vec<Tensor>, usize, usize) {
    let (mut bench, _) = bench(reusing());
    bench.runner = bench.runner.with_together(together);
    let calls = Arc::new(Mutex::new(0));
    let heard = Arc::clone(&calls);
    bench.fake.set("transformer.head", |inputs| {
        let moved = values(&inputs, "timestep").into_iter().map(|t| 2.0 * t);
        let shape = inputs["timestep"].shape().to_vec();
        one(
            "moved",
            Tensor::new(shape, moved.collect::<Vec<_>>()).unwrap(),
        )
    });
    bench.fake.set("transformer.body", move |inputs| {
        *heard.lock().unwrap() += 1;
        one("added", inputs["sums"].clone())
    });
    bench.fake.reads("transformer", &["latents", "added"]);
    bench.fake.set("transformer", |inputs| {
        velocity(&inputs, &values(&inputs, "added"))
    });
    let job = bench.job(settings);
    let mut noises: Vec<_> = prompts.iter().map(|_| job.noise()).collect();
    let takes = prompts.iter().zip(&mut noises).map(|(prompt, noise)| Take {
        prompt: (*prompt).to_owned(),
        noise: noise as &mut dyn NoiseSource,
        shift: 0,
    });
    let mut made = Vec::new();
    let stages =
        bench
            .runner
            .generate_takes(&job, takes.collect(), &mut |_| {}, &mut |_, generated| {
                made.push(generated.latents);
                Ok(())
            });
    let reused = stages.unwrap().iter().map(|stage| stage.reused).sum();
    let computed = *calls.lock().unwrap();
    (made, computed, reused)
}

fn cached(share: f32) -> Settings {
    Settings {
        step_cache: Some(share),
        ..settings(9)
    }
}

/// Timesteps 1, 0.6, 0.4: what decides changes by 0.4 of what it was, then by a third of that; or, from the first step
/// on, by 0.6.
#[test]
fn work_is_used_again_while_little_changes() {
    for (share, computed) in [(0.0, 3), (0.3, 3), (0.35, 2), (0.45, 2), (0.65, 1)] {
        let (_, found, reused) = reused(cached(share), &["a"], 1);
        assert_eq!((found, reused), (computed, 3 - computed), "{share}");
    }
}

#[test]
fn no_take_uses_the_work_of_another() {
    let prompts = ["a", "a", "b c"];
    let (_, computed, again) = reused(cached(0.65), &prompts, 2);
    assert_eq!((computed, again), (3, 6));
    let (alone, ..) = reused(cached(0.65), &prompts[2..], 1);
    let (made, ..) = reused(cached(0.65), &prompts, 2);
    assert_eq!(made[2], alone[0]);
}

#[test]
fn other_rows_compute_their_own() {
    let settings = Settings {
        step_cache: Some(10.0),
        ..listed(&[3.0, 1.0, 1.0])
    };
    let (_, computed, again) = reused(settings, &["a"], 1);
    assert_eq!((computed, again), (2, 1));
}

#[test]
fn a_bundle_in_one_piece_has_nothing_to_use_again() {
    let refused = Job::new(&in_parts(), cached(0.1)).unwrap_err().to_string();
    let help = "compiled without; compile it with --set defaults.step_cache=0.1";
    assert!(refused.contains(help), "{refused}");
    assert!(Job::new(&in_parts(), cached(0.0)).is_ok());
}

/// The transformer in parts, of which the last has another model for dense steps, which makes twice the velocity.
fn with_dense_steps(steps: usize, keep: bool) -> (Vec<f32>, Vec<String>) {
    let mut manifest = in_parts();
    let transformer = manifest.components.get_mut("transformer").unwrap();
    transformer.dense = Some(Dense {
        model: "transformer.dense.onnx".to_owned(),
        parts: vec!["transformer.once.onnx".to_owned()],
    });
    let (mut bench, _) = heard(Bench::keeping(manifest, keep));
    let reads = ["latents", "timestep", "sums"];
    bench.fake.reads("transformer.dense", &reads);
    bench.fake.set("transformer.dense", |inputs| {
        let double = |sum: f32| 2.0 * sum;
        let sums = values(&inputs, "sums").into_iter().map(double);
        velocity(&inputs, &sums.collect::<Vec<_>>())
    });
    let job = bench.job(Settings {
        dense_steps: Some(steps),
        ..settings(9)
    });
    let first = bench.run(&job).latents();
    assert_eq!(bench.run(&job).latents(), first);
    let loads = bench.fake.loads().into_iter();
    (
        first,
        loads
            .filter(|name| name.starts_with("transformer"))
            .collect(),
    )
}

/// Three steps: the first so many are the dense model's, in every run, and of the two models one is loaded at a time.
#[test]
fn the_first_steps_are_dense() {
    let (once, usual, dense) = ("transformer.once", "transformer", "transformer.dense");
    let mut made = Vec::new();
    for (steps, of_a_run) in [
        (0, &[once, usual][..]),
        (1, &[once, dense, usual]),
        (3, &[once, dense]),
        (9, &[once, dense]),
    ] {
        let (latents, loads) = with_dense_steps(steps, false);
        assert_eq!(loads, [of_a_run, of_a_run].concat(), "{steps}");
        made.push(latents);
    }
    assert_eq!(made[0], run(in_parts(), settings(9)).0);
    assert_eq!(made[2], made[3]);
    assert!(made[1] != made[0] && made[1] != made[2]);
}

#[test]
fn models_that_are_kept_are_loaded_once() {
    let (latents, loads) = with_dense_steps(1, true);
    assert_eq!(latents, with_dense_steps(1, false).0);
    assert_eq!(
        loads,
        ["transformer.once", "transformer.dense", "transformer"]
    );
}
