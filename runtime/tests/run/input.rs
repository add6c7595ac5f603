//! Runs that start from a video.

use ltxc_bundle::Settings;
use ltxc_runtime::run::Job;

use super::bench::{Bench, INITIAL, at, clip, close, image, settings};
use super::plans::{manifest, model, two_passes};

fn from(timestep: f32) -> Settings {
    Settings {
        timesteps: Some(vec![timestep, 0.2]),
        ..settings(17)
    }
}

#[test]
fn the_first_timestep_says_how_much_noise_covers_the_video() {
    for (t, frames) in [(0.75, 17), (0.25, 17), (0.5, 40)] {
        let mut bench = Bench::new(manifest(model(), false, &[]));
        let job = bench.job(from(t));
        let job = job.with_input(clip(0.5, frames, 64, 96)).unwrap();
        let seen = bench.run(&job);
        let noised = |given: f32| [t * INITIAL + (1.0 - t) * given; 6];
        let expected = [noised(0.5), noised(0.51), noised(0.59)].concat();
        close(&seen.tokens("pass0.cond_tokens"), &expected);
        close(&seen.latents(), &expected);
    }
}

#[test]
fn a_video_of_another_size_is_resized() {
    let mut bench = Bench::new(manifest(model(), false, &[]));
    let job = bench.job(from(0.5)).with_input(clip(0.5, 17, 30, 200));
    let seen = bench.run(&job.unwrap());
    let first = 0.5 * INITIAL + 0.25;
    close(&seen.tokens("pass0.cond_tokens")[..6], &[first; 6]);
}

#[test]
fn conditions_replace_what_the_video_gave() {
    let mut bench = Bench::new(manifest(model(), false, &[]));
    let job = bench.conditioned(from(0.5), vec![at(image(-1.0), 0, 1.0)]);
    let seen = bench.run(&job.with_input(clip(0.5, 17, 64, 96)).unwrap());
    let tokens = seen.tokens("pass0.cond_tokens");
    close(&tokens[..12], &[[-1.0; 6], [4.255; 6]].concat());
}

/// Only the first pass starts from it; the second has the latents of the first.
#[test]
fn a_second_pass_starts_from_latents() {
    let mut bench = Bench::new(two_passes("spatial_upscaler"));
    let settings = Settings {
        height: Some(192),
        width: Some(192),
        ..from(0.5)
    };
    let job = bench.job(settings).with_input(clip(0.5, 17, 192, 192));
    let seen = bench.run(&job.unwrap());
    assert!(seen.tensors.contains_key("vae_encode0.latents"));
    assert!(!seen.tensors.contains_key("vae_encode1.latents"));
    assert_eq!(seen.tensors["vae_encode0.latents"].shape()[2..], [3, 3, 3]);
}

#[test]
fn an_input_that_cannot_work_is_refused() {
    let bench = Bench::new(manifest(model(), false, &[]));
    let refusal = |job: Job, frames| {
        let input = clip(0.0, frames, 64, 96);
        job.with_input(input).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(bench.job(from(0.5)), 16),
        "clip.mp4: it has 16 frames, the run needs 17; ask for 9 frames"
    );
    assert_eq!(
        refusal(bench.job(from(1.0)), 17),
        "`skip_initial_inference_steps` is 0: the first timestep would replace the input video by noise; leave out \
         first steps, for instance half of them"
    );
}

#[test]
fn first_steps_are_left_out_only_with_an_input() {
    let mut bench = Bench::new(manifest(model(), false, &[]));
    let settings = Settings {
        timesteps: None,
        steps: Some(4),
        skip_initial_inference_steps: Some(2),
        ..settings(17)
    };
    let job = bench.job(settings);
    let message = bench.try_run(&job).err().unwrap().to_string();
    assert_eq!(
        message,
        "`skip_initial_inference_steps` is set: first steps can be left out only with an input video"
    );
    assert_eq!(bench.fake.loads(), Vec::<String>::new());
    let job = job.with_input(clip(0.5, 17, 64, 96)).unwrap();
    assert!(job.timesteps()[0] < 1.0 && job.timesteps().len() == 2);
    bench.run(&job);
}

/// As sizes beyond any other component.
#[test]
fn an_input_beyond_the_encoder_is_refused_before_anything_is_loaded() {
    let mut manifest = manifest(model(), false, &[]);
    let encoder = manifest.components.get_mut("vae_encoder").unwrap();
    encoder.sizes.get_mut("rows").unwrap().max = 1;
    let mut bench = Bench::new(manifest);
    let job = bench.job(from(0.5)).with_input(clip(0.5, 17, 64, 96));
    let message = match job {
        Ok(job) => bench.try_run(&job).err().unwrap().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(
        message.contains("`vae_encoder` cannot take this"),
        "{message}"
    );
    assert_eq!(bench.fake.loads(), Vec::<String>::new());
}

/// The first pass makes 17 frames of every second one of 33, though only 25 are asked for.
#[test]
fn an_input_is_long_enough_for_a_slower_first_pass_or_refused() {
    let mut bench = Bench::new(two_passes("temporal_upscaler"));
    let settings = Settings {
        frames: Some(25),
        ..from(0.5)
    };
    let job = bench.job(settings).with_input(clip(0.5, 25, 64, 96));
    let message = match job {
        Ok(job) => bench.try_run(&job).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    let named = message
        .as_ref()
        .is_none_or(|words| words.starts_with("clip.mp4"));
    assert!(named, "{message:?}");
}
