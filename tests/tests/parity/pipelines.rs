//! Whole text-to-video runs with the reference's random draws replayed, every intermediate compared.

use std::collections::BTreeMap;

use ltxc_bundle::Settings;
use ltxc_runtime::run::{Job, replay};
use ltxc_runtime::tensor::Tensor;
use serde_json::Value;

use crate::PIPELINE;
use crate::fixture::{
    CASES, Case, Errors, Golden, difference, difference_of, golden, golden_names, golden_path,
};

#[test]
fn text_to_video() {
    let mut errors = Errors::default();
    for case in CASES.iter() {
        for name in golden_names(&case.folder, "pipe_") {
            let golden = golden(&case.folder, &name);
            match needs(&golden.meta) {
                None => compare(case, &name, &golden, &mut errors),
                Some(feature) => println!("{}: {name} needs {feature}: left out", case.name),
            }
        }
    }
    errors.finish();
}

/// What a golden needs that this version does not have.
fn needs(meta: &Value) -> Option<&'static str> {
    let args = &meta["args"];
    let some = |value: &Value| !value.is_null() && value.as_f64() != Some(0.0);
    match () {
        () if args.get("first_pass").is_some() => Some("several passes"),
        () if meta["conditioning"]
            .as_array()
            .is_some_and(|items| !items.is_empty()) =>
        {
            Some("conditioning")
        }
        () if args["stg_scale"].is_array() || some(&args["stg_scale"]) => {
            Some("spatio-temporal guidance")
        }
        () if some(&args["skip_initial_inference_steps"]) => Some("video to video"),
        () => None,
    }
}

fn settings(meta: &Value) -> Settings {
    let args = &meta["args"];
    let number = |name: &str| args[name].as_u64().map(|n| n as usize);
    Settings {
        prompt: args["prompt"].as_str().map(str::to_owned),
        negative_prompt: args["negative_prompt"].as_str().map(str::to_owned),
        height: number("height"),
        width: number("width"),
        frames: number("num_frames"),
        fps: args["frame_rate"].as_f64(),
        steps: number("num_inference_steps"),
        timesteps: serde_json::from_value(args["timesteps"].clone()).unwrap(),
        guidance_scale: args["guidance_scale"].as_f64().map(|x| x as f32),
        stochastic_sampling: args["stochastic_sampling"].as_bool(),
        skip_final_inference_steps: number("skip_final_inference_steps"),
        decode_timestep: args["decode_timestep"].as_f64().map(|x| x as f32),
        decode_noise_scale: args["decode_noise_scale"].as_f64().map(|x| x as f32),
        max_tokens: number("text_encoder_max_tokens"),
        ..Settings::default()
    }
}

fn compare(case: &Case, name: &str, golden: &Golden, errors: &mut Errors) {
    // The reference made these goldens with its list of allowed timesteps switched off.
    let mut manifest = case.runner.manifest().clone();
    manifest.model.allowed_inference_steps = None;
    let job = Job::new(&manifest, settings(&golden.meta))
        .unwrap_or_else(|e| panic!("{}: {name}: {e}", case.name));
    let mut draws = replay(&golden_path(&case.folder, name)).unwrap();
    let mut seen = BTreeMap::new();
    let mut observe = |name: &str, tensor: &Tensor| {
        seen.insert(name.to_owned(), tensor.clone());
    };
    let made = case
        .runner
        .generate_observed(&job, &mut draws, &mut |_| (), Some(&mut observe));
    let made = made.unwrap_or_else(|e| panic!("{}: {name}: {e}", case.name));
    draws
        .finish()
        .unwrap_or_else(|e| panic!("{}: {name}: {e}", case.name));
    let mut worst = BTreeMap::new();
    for (expected_name, expected) in &golden.tensors {
        let Some(found) = seen.get(&observed_name(expected_name)) else {
            continue;
        };
        let kind = expected_name.rsplit('.').next().unwrap().to_owned();
        let slot = worst.entry(kind).or_insert(0f32);
        *slot = slot.max(difference(found, expected));
    }
    assert!(
        worst.len() >= 4,
        "{}: {name}: only {:?} were compared",
        case.name,
        worst.keys()
    );
    for (kind, error) in worst {
        errors.note(&case.name, &format!("{name} {kind}"), error, PIPELINE);
    }
    let video = Tensor::new(vec![1, 3, made.frames, made.height, made.width], made.video).unwrap();
    errors.note(
        &case.name,
        &format!("{name} video"),
        video_difference(&video, golden),
        PIPELINE,
    );
}

/// `mid.pass0.init_latents_bcfhw` is observed as `init_latents`, `mid.step03.latents_out` as `step03.latents_out`.
fn observed_name(golden: &str) -> String {
    let name = golden.strip_prefix("mid.").unwrap_or(golden);
    let name = name.strip_prefix("pass0.").unwrap_or(name);
    name.trim_end_matches("_bcfhw").to_owned()
}

/// Goldens keep the whole video or its frames 0, 1 and last.
fn video_difference(video: &Tensor, golden: &Golden) -> f32 {
    if let Some(whole) = golden.tensors.get("out.video01") {
        return difference(video, whole);
    }
    let [_, _, frames, height, width] = video.shape() else {
        panic!("a video has five axes")
    };
    let (plane, values) = (height * width, video.to_f32().unwrap());
    let mut kept = Vec::new();
    for colour in 0..3 {
        for frame in [0, 1.min(frames - 1), frames - 1] {
            kept.extend_from_slice(&values[(colour * frames + frame) * plane..][..plane]);
        }
    }
    difference_of(
        &kept,
        &golden.get("out.video01.frames_0_1_last").to_f32().unwrap(),
    )
}
