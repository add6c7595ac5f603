//! Upscaled latents keep the statistics of those before (AdaIN).

use ltxc_bundle::Settings;
use ltxc_runtime::tensor::Tensor;

use super::bench::{Seen, close};
use super::fake::{self, one, values};
use super::passes::{sized, spatial};
use super::plans::CHANNELS;

fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

/// A run whose upscaler multiplies by 3 and adds 2, in latents that are not normalised.
fn changed_by_upscaler(factor: Option<f32>) -> Seen {
    let mut bench = spatial();
    bench.fake.set("spatial_upscaler", |inputs| {
        let enlarged = fake::enlarge(inputs);
        let tensor = &enlarged["upscaled"];
        let changed = values(&enlarged, "upscaled")
            .into_iter()
            .map(|x| 3.0 * x + 2.0);
        one(
            "upscaled",
            Tensor::new(tensor.shape(), changed.collect::<Vec<_>>()).unwrap(),
        )
    });
    let settings = Settings {
        adain_factor: factor,
        stochastic_sampling: Some(true),
        ..sized(192, 192)
    };
    let job = bench.job(settings);
    bench.run_seeded(&job)
}

/// Every channel gets back the mean and the spread that it had before.
#[test]
fn upscaled_latents_get_the_statistics_of_those_before() {
    for (factor, share) in [
        (None, 1.0),
        (Some(1.0), 1.0),
        (Some(0.25), 0.25),
        (Some(0.0), 0.0),
    ] {
        let seen = changed_by_upscaler(factor);
        let before = seen.values("step02.latents_out");
        let upscaled = seen.values("upsample.out");
        assert_eq!(seen.tensors["upsample.out"].shape(), [1, CHANNELS, 2, 6, 6]);
        let (noisy, clean) = (seen.values("pass1.init_latents"), second_noise(&seen));
        for channel in 0..CHANNELS {
            let before: Vec<f32> = before
                .iter()
                .skip(channel)
                .step_by(CHANNELS)
                .copied()
                .collect();
            let range = channel * 72..(channel + 1) * 72;
            let upscaled = &upscaled[range.clone()];
            // (3 (2 x + 1) + 2 - 1) / 2, for the first latent of the channel
            assert!((upscaled[0] - (3.0 * before[0] + 2.0)).abs() < 1e-4);
            let ((mean, spread), (to_mean, to_spread)) = (moments(upscaled), moments(&before));
            let expected: Vec<f32> = upscaled
                .iter()
                .zip(&clean[range.clone()])
                .map(|(x, noise)| {
                    let full = (f64::from(*x) - mean) / spread * to_spread + to_mean;
                    let moved = f64::from(*x) + share * (full - f64::from(*x));
                    (0.6 * f64::from(*noise) + 0.4 * moved) as f32
                })
                .collect();
            close(&noisy[range], &expected);
        }
    }
}

/// The noise of the second pass, from a run that shares it and whose latents are all zero.
fn second_noise(like: &Seen) -> Vec<f32> {
    let mut bench = spatial();
    bench.fake.set("spatial_upscaler", |inputs| {
        let enlarged = fake::enlarge(inputs);
        let tensor = &enlarged["upscaled"];
        let count = tensor.shape().iter().product();
        one(
            "upscaled",
            Tensor::new(tensor.shape(), vec![1.0_f32; count]).unwrap(),
        )
    });
    let settings = Settings {
        adain_factor: Some(0.0),
        stochastic_sampling: Some(true),
        ..sized(192, 192)
    };
    let job = bench.job(settings);
    let seen = bench.run_seeded(&job);
    let first = "pass0.init_latents";
    assert_eq!(seen.values(first), like.values(first));
    let noisy = seen.values("pass1.init_latents");
    noisy.iter().map(|x| x / 0.6).collect()
}
