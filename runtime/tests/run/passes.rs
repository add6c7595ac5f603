//! Plans of two passes: sizes, what the second starts from, and which settings hold where.

use ltxc_bundle::{Scheduled, Settings};
use ltxc_runtime::run::{Job, VideoSize};
use ltxc_runtime::tensor::Tensor;

use super::bench::{Bench, INITIAL, close, settings};
use super::fake::{one, values};
use super::plans::{CHANNELS, manifest, model, two_passes};

pub fn sized(height: usize, width: usize) -> Settings {
    Settings {
        height: Some(height),
        width: Some(width),
        second_pass: Some(Box::new(Settings {
            timesteps: Some(vec![0.6, 0.3]),
            ..Settings::default()
        })),
        ..settings(9)
    }
}

fn latents(frames: usize, height: usize, width: usize) -> VideoSize {
    VideoSize {
        frames,
        height,
        width,
    }
}

pub fn spatial() -> Bench {
    Bench::new(two_passes("spatial_upscaler"))
}

/// 192 is 127.99 after the reference's two thirds, which hold 3 latents.
#[test]
fn the_first_pass_is_two_thirds_in_whole_latents() {
    for (height, width, factor, first) in [
        (192, 192, None, [3, 3]),
        (64, 96, None, [1, 1]),
        (704, 1216, None, [14, 25]),
        (100, 200, None, [2, 4]),
        (192, 192, Some(0.5), [3, 3]),
        (192, 192, Some(0.49), [2, 2]),
        (192, 192, Some(1.0), [6, 6]),
    ] {
        let settings = Settings {
            downscale_factor: factor,
            ..sized(height, width)
        };
        let job = spatial().job(settings);
        let sizes: Vec<_> = job.passes().iter().map(|pass| pass.latents()).collect();
        let [rows, columns] = first;
        let expected = [latents(2, rows, columns), latents(2, 2 * rows, 2 * columns)];
        assert_eq!(sizes, expected, "{height}x{width} by {factor:?}");
    }
}

/// Left half 0, right half 1: the border of the 64 columns lies between columns 47 and 48 of 96.
#[test]
fn the_video_is_resized_to_what_was_asked_for() {
    let mut bench = spatial();
    bench.fake.set("vae_decoder", |inputs| {
        assert_eq!(inputs["latents"].shape()[2..], [2, 2, 2]);
        let values: Vec<f32> = (0..3 * 9 * 64 * 64)
            .map(|place| if place % 64 < 32 { -1.0 } else { 1.0 })
            .collect();
        one("video", Tensor::new([1, 3, 9, 64, 64], values).unwrap())
    });
    let job = bench.job(sized(90, 96));
    let generated = bench.run(&job).generated;
    assert_eq!((generated.height, generated.width), (90, 96));
    let row = [vec![0.0; 47], vec![1.0 / 6.0, 5.0 / 6.0], vec![1.0; 47]].concat();
    close(&generated.video, &row.repeat(3 * 9 * 90));
}

#[test]
fn the_second_pass_starts_from_noised_latents() {
    let mut bench = spatial();
    let job = bench.job(sized(192, 192));
    let seen = bench.run(&job);
    // The first pass leaves the noise as it is, and so do the upscaler and the statistics.
    close(&seen.tokens("pass1.cond_tokens"), &[INITIAL; 72]);
    let mut bench = spatial();
    bench.flow(3.0);
    let seen = bench.run(&job);
    let second = 0.6 * INITIAL + 0.4 * (INITIAL - 3.0);
    close(&seen.tokens("pass1.cond_tokens"), &[second; 72]);
    close(&seen.latents(), &[second - 0.6 * 3.0; 72]);
    assert_eq!(job.timesteps(), [1.0, 0.6, 0.4, 0.6, 0.3]);
    let steps: Vec<_> = seen
        .tensors
        .keys()
        .filter(|name| name.ends_with("latents_out"))
        .collect();
    assert_eq!(steps.len(), 5);
}

/// A pass that makes every second frame shows as much time, so its frames last twice as long.
#[test]
fn a_temporal_upscaler_halves_frames_and_rate_before_it() {
    for (frames, first, second) in [(17, 2, 3), (25, 3, 5), (33, 3, 5), (1, 1, 1)] {
        check_slow_pass(frames, first, second);
    }
}

/// The upscaler makes 17 frames of 9 whether 9 or 17 are asked for, so the first pass shows every second one.
#[test]
fn a_temporal_upscaler_halves_the_rate_of_a_short_video_too() {
    check_slow_pass(9, 2, 3);
}

fn check_slow_pass(frames: usize, first: usize, second: usize) {
    let mut bench = Bench::new(two_passes("temporal_upscaler"));
    let job = bench.job(Settings {
        frames: Some(frames),
        ..sized(64, 96)
    });
    let sizes: Vec<_> = job
        .passes()
        .iter()
        .map(|pass| pass.latents().frames)
        .collect();
    assert_eq!(sizes, [first, second], "{frames} frames");
    assert_eq!(bench.run(&job).generated.frames, frames);
    let calls = bench.calls();
    for (call, frames, fps) in [(0, first, 12.5), (3, second, 25.0)] {
        let seconds = values(&calls[call], "coords")[6 * (frames - 1)];
        let start = (8 * frames - 8).saturating_sub(7) as f32;
        close(&[seconds], &[start / fps]);
    }
}

#[test]
fn sections_hold_in_their_pass() {
    let mut manifest = two_passes("spatial_upscaler");
    manifest.defaults = serde_json::from_value(serde_json::json!({
        "guidance_scale": 1,
        "first_pass": {"timesteps": [1, 0.5], "guidance_scale": 3},
        "second_pass": {"timesteps": [0.5], "guidance_scale": 1},
    }))
    .unwrap();
    let mut bench = Bench::new(manifest);
    let own = |text| Settings {
        timesteps: None,
        second_pass: None,
        ..serde_json::from_value::<Settings>(text).unwrap()
    };
    let size = serde_json::json!({"prompt": "a", "height": 192, "width": 192, "frames": 9});
    let rows = |bench: &mut Bench, settings| {
        let job = bench.job(settings);
        bench.run(&job);
        let calls = bench.calls();
        let rows = calls.iter().map(|call| call["latents"].shape()[0]);
        (job.timesteps(), rows.collect::<Vec<_>>())
    };
    let plain = own(size);
    assert_eq!(
        rows(&mut bench, plain.clone()),
        (vec![1.0, 0.5, 0.5], vec![2, 2, 1])
    );
    let everywhere = Settings {
        guidance_scale: Some(Scheduled::Constant(1.0)),
        ..plain.clone()
    };
    assert_eq!(rows(&mut bench, everywhere).1, [1, 1, 1]);
    let steps = Settings {
        first_pass: Some(Box::new(Settings {
            steps: Some(3),
            ..Settings::default()
        })),
        ..plain
    };
    assert_eq!(rows(&mut bench, steps).1, [2, 2, 2, 1]);
}

/// 1 - 0.8 s sigmoid(4 s (|z| - 1)) with s three quarters of the ratio, after decode noise is mixed in.
#[test]
fn large_latents_are_compressed_before_decoding() {
    let mut bench = Bench::new(manifest(model(), true, &[]));
    for ratio in [0.0, 0.6, 1.0] {
        let settings = Settings {
            tone_map_compression_ratio: Some(ratio),
            decode_noise_scale: Some(0.25),
            ..settings(9)
        };
        let job = bench.job(settings);
        let seen = bench.run(&job);
        let (z, s) = (0.75 * INITIAL + 0.25 * 2.0, 0.75 * ratio);
        let sigmoid = 1.0 / (1.0 + (-4.0 * s * (z - 1.0)).exp());
        let expected = z * (1.0 - 0.8 * s * sigmoid);
        close(
            &seen.values("decode.latents_in"),
            &[expected; 12 * CHANNELS],
        );
    }
}

/// What is done to latents before decoding is that of the pass that made them.
#[test]
fn the_decoder_has_the_settings_of_the_last_pass() {
    let mut bench = spatial();
    let mut settings = sized(192, 192);
    let ratio = |ratio| {
        Some(Box::new(Settings {
            tone_map_compression_ratio: Some(ratio),
            timesteps: Some(vec![0.5]),
            ..Settings::default()
        }))
    };
    (settings.first_pass, settings.second_pass) = (ratio(1.0), ratio(0.0));
    let job = bench.job(settings.clone());
    let seen = bench.run(&job);
    assert_eq!(seen.values("decode.latents_in"), [INITIAL; 72 * CHANNELS]);
    (settings.first_pass, settings.second_pass) = (ratio(0.0), ratio(1.0));
    let job = bench.job(settings);
    assert!(bench.run(&job).values("decode.latents_in")[0] < 0.5 * INITIAL);
}

/// An upscaler is not compiled for a single latent, as few are wanted of that size.
#[test]
fn an_upscaler_may_have_a_smallest_size() {
    for symbol in ["rows", "frames"] {
        let mut manifest = two_passes("spatial_upscaler");
        let upscaler = manifest.components.get_mut("spatial_upscaler").unwrap();
        let limits = upscaler.sizes["rows"].clone();
        let limits = ltxc_bundle::SizeLimits { min: 2, ..limits };
        upscaler.sizes.insert(symbol.to_owned(), limits);
        let job = Job::new(&manifest, sized(192, 192));
        let message = job.err().map(|error| error.to_string());
        assert_eq!(message, None, "{symbol}");
    }
}
