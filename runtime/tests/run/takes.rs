//! Several videos in one run: each is what it would be alone.

use std::sync::{Arc, Mutex};

use ltxc_bundle::{Manifest, Scheduled, Settings};
use ltxc_runtime::run::{Condition, Event, Generated, Job, Place, Take, Tensors};
use ltxc_runtime::sampling::NoiseSource;
use ltxc_runtime::tensor::Tensor;

use super::bench::{Bench, at, clip, image, settings};
use super::fake::{self, one, timesteps, values};
use super::plans::{perturbing, two_passes};

/// A velocity in which every input of a row takes part, and nothing of other rows.
pub(super) fn mixing(inputs: Tensors) -> Tensors {
    let shape = inputs["latents"].shape().to_vec();
    let [rows, tokens, channels] = shape[..] else {
        unreachable!("tokens have three axes");
    };
    let (latents, text) = (values(&inputs, "latents"), values(&inputs, "text"));
    let (coords, timestep) = (values(&inputs, "coords"), timesteps(&inputs, tokens));
    let keep = inputs.get("keep").map(|_| values(&inputs, "keep"));
    let velocity = |place: usize| {
        let (row, token) = (place / tokens / channels, place / channels % tokens);
        let kept = keep.as_ref().map_or(1.0, |keep| keep[rows + row]);
        let text: f32 = text[row * text.len() / rows..][..text.len() / rows]
            .iter()
            .sum();
        latents[place] * timestep[row * tokens + token] * kept
            + (0.01 * text).sin()
            + 0.1 * coords[token]
    };
    let count = rows * tokens * channels;
    let velocity: Vec<f32> = (0..count).map(velocity).collect();
    one("velocity", Tensor::new(shape, velocity).unwrap())
}

fn bench(manifest: Manifest, together: usize) -> Bench {
    let mut bench = Bench::new(manifest);
    bench.fake.set("transformer", mixing);
    bench.runner = bench.runner.with_together(together);
    bench
}

fn everything() -> Settings {
    Settings {
        negative_prompt: Some("dog".to_owned()),
        guidance_scale: Some(Scheduled::Constant(3.0)),
        stg_scale: Some(Scheduled::Constant(1.0)),
        rescaling_scale: Some(Scheduled::Constant(0.7)),
        skip_block_list: Some(Scheduled::Constant(vec![1])),
        stochastic_sampling: Some(true),
        image_cond_noise_scale: Some(0.15),
        ..settings(17)
    }
}

fn conditions() -> Vec<Condition> {
    let reference = Condition {
        place: Place::Reference,
        ..at(clip(0.0, 9, 64, 96), 0, 1.0)
    };
    vec![at(image(0.5), 0, 1.0), at(image(0.3), 9, 0.7), reference]
}

/// Prompts and seeds of three takes.
const TAKES: [(&str, u64); 3] = [("a cat", 1), ("a dog", 2), ("a cat", 3)];

fn together(bench: &Bench, job: &Job) -> Vec<Generated> {
    let mut noises = TAKES.map(|(_, seed)| job.noise_of(seed));
    let takes = noises.iter_mut().zip(TAKES);
    let takes = takes.map(|(noise, (prompt, _))| Take {
        prompt: prompt.to_owned(),
        noise,
        shift: 0,
    });
    let mut made = Vec::new();
    let mut finished = |take: usize, generated: Generated| {
        assert_eq!(take, made.len());
        made.push(generated);
        Ok(())
    };
    let takes = takes.collect();
    let stages = bench
        .runner
        .generate_takes(job, takes, &mut |_| {}, &mut finished)
        .unwrap();
    assert_eq!(stages.len(), bench.runner.manifest().plan.stages.len());
    made
}

fn alone(bench: &Bench, settings: &Settings, conditions: &[Condition]) -> Vec<Generated> {
    let single = |(prompt, seed): (&str, u64)| {
        let settings = Settings {
            prompt: Some(prompt.to_owned()),
            seed: Some(seed),
            ..settings.clone()
        };
        let job = bench.conditioned(settings, conditions.to_vec());
        let mut noise = job.noise();
        bench
            .runner
            .generate(&job, &mut noise, &mut |_| {})
            .unwrap()
    };
    TAKES.map(single).into()
}

fn check(manifest: &Manifest, settings: &Settings, conditions: &[Condition]) {
    let expected = alone(&bench(manifest.clone(), 1), settings, conditions);
    assert_ne!(expected[0].latents, expected[1].latents);
    assert_ne!(expected[0].latents, expected[2].latents);
    for at_once in 0..=4 {
        let bench = bench(manifest.clone(), at_once);
        let job = bench.conditioned(settings.clone(), conditions.to_vec());
        for (found, expected) in together(&bench, &job).iter().zip(&expected) {
            assert_eq!(found.latents, expected.latents, "{at_once} at once");
            assert_eq!(found.decoder_latents, expected.decoder_latents);
            assert_eq!(found.video, expected.video);
        }
    }
}

#[test]
fn takes_are_what_they_would_be_alone() {
    check(&perturbing(3), &everything(), &conditions());
    check(&perturbing(3), &everything(), &[]);
}

#[test]
fn takes_of_two_passes_are_what_they_would_be_alone() {
    let settings = Settings {
        height: Some(192),
        width: Some(192),
        skip_block_list: None,
        second_pass: Some(Box::new(Settings {
            timesteps: Some(vec![0.5, 0.2]),
            ..Settings::default()
        })),
        ..everything()
    };
    check(&two_passes("spatial_upscaler"), &settings, &conditions());
}

#[test]
fn every_prompt_is_encoded_once() {
    for (guidance, expected) in [
        (1.0, vec![vec![3, 4, 1, 0], vec![3, 5, 1, 0]]),
        (
            3.0,
            vec![vec![5, 1, 0, 0], vec![3, 4, 1, 0], vec![3, 5, 1, 0]],
        ),
    ] {
        let bench = bench(perturbing(3), 2);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        bench.fake.set("text_encoder", move |inputs| {
            let ids = inputs["ids"].values::<i64>().unwrap().to_vec();
            sink.lock().unwrap().push(ids);
            fake::encode_text(inputs)
        });
        let settings = Settings {
            guidance_scale: Some(Scheduled::Constant(guidance)),
            ..everything()
        };
        together(&bench, &bench.job(settings));
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}

/// Three takes, two at once, are two calls a step.
#[test]
fn takes_share_calls_and_steps_are_counted_over_all() {
    for (at_once, rows) in [
        (1, vec![3; 9]),
        (2, vec![6, 6, 6, 3, 3, 3]),
        (3, vec![9; 3]),
    ] {
        let mut bench = Bench::new(perturbing(3));
        bench.runner = bench.runner.with_together(at_once);
        let job = bench.job(Settings {
            rescaling_scale: None,
            ..everything()
        });
        let mut noises = TAKES.map(|(_, seed)| job.noise_of(seed));
        let takes = noises.iter_mut().map(|noise| Take {
            prompt: "a cat".to_owned(),
            noise: noise as &mut dyn NoiseSource,
            shift: 0,
        });
        let mut told = Vec::new();
        let mut tell = |event: Event<'_>| match event {
            Event::Step { step, steps, .. } => told.push((step, steps)),
            Event::StageStarted {
                stage: "latents",
                steps,
                ..
            } => assert_eq!(steps, rows.len()),
            _ => {}
        };
        let takes = takes.collect();
        bench
            .runner
            .generate_takes(&job, takes, &mut tell, &mut |_, _| Ok(()))
            .unwrap();
        let found: Vec<_> = bench
            .calls()
            .iter()
            .map(|call| call["latents"].shape()[0])
            .collect();
        assert_eq!(found, rows);
        let expected: Vec<_> = (1..=rows.len()).map(|step| (step, rows.len())).collect();
        assert_eq!(told, expected);
    }
}

#[test]
fn whoever_takes_the_videos_can_stop_the_run() {
    let bench = bench(perturbing(3), 2);
    let decoded = Arc::new(Mutex::new(0));
    let count = Arc::clone(&decoded);
    bench.fake.set("vae_decoder", move |inputs| {
        *count.lock().unwrap() += 1;
        fake::decode(inputs)
    });
    let job = bench.job(everything());
    let mut noises = TAKES.map(|(_, seed)| job.noise_of(seed));
    let takes = noises.iter_mut().map(|noise| Take {
        prompt: "a cat".to_owned(),
        noise: noise as &mut dyn NoiseSource,
        shift: 0,
    });
    let takes = takes.collect();
    let mut finished = |take: usize, _| match take {
        0 => Ok(()),
        _ => Err("the disk is full".into()),
    };
    let stopped = bench
        .runner
        .generate_takes(&job, takes, &mut |_| {}, &mut finished);
    assert_eq!(stopped.unwrap_err().to_string(), "the disk is full");
    // The third may have been begun while the second was refused.
    assert!((2..=3).contains(&*decoded.lock().unwrap()));
}

/// Too many rows for the transformer are found before the prompts are encoded.
#[test]
fn more_takes_at_once_than_the_transformer_takes_are_refused() {
    let mut manifest = perturbing(3);
    let transformer = manifest.components.get_mut("transformer").unwrap();
    let limits = transformer.sizes["S"].clone();
    let limits = ltxc_bundle::SizeLimits { max: 5, ..limits };
    transformer.sizes.insert("B".to_owned(), limits);
    let bench = bench(manifest, 2);
    let job = Job::new(bench.runner.manifest(), everything()).unwrap();
    let mut noises = [job.noise_of(1), job.noise_of(2)];
    let takes = noises.iter_mut().map(|noise| Take {
        prompt: "a cat".to_owned(),
        noise: noise as &mut dyn NoiseSource,
        shift: 0,
    });
    let refused = bench
        .runner
        .generate_takes(&job, takes.collect(), &mut |_| {}, &mut |_, _| Ok(()));
    let words = refused.unwrap_err().to_string();
    assert!(words.contains("`transformer` cannot take this"), "{words}");
    assert_eq!(bench.fake.loads(), Vec::<String>::new());
}
