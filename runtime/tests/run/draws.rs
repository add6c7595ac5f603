//! The order of random draws is the reference's, or a seed would give another video.

use ltxc_bundle::{Scheduled, Settings};
use ltxc_runtime::run::{Condition, Place};
use ltxc_runtime::sampling::Purpose::{
    self, Condition as Extra, Decode, Initial, Plane, Posterior, Step,
};

use super::bench::{Bench, at, clip, close, image, settings};
use super::fake::values;
use super::plans::{CHANNELS, manifest, model, two_passes};

fn purposes(draws: &[(Purpose, Vec<usize>)]) -> Vec<Purpose> {
    draws.iter().map(|(purpose, _)| *purpose).collect()
}

#[test]
fn draws_of_a_run_with_everything_come_in_the_references_order() {
    let mut bench = Bench::new(manifest(model(), true, &[2]));
    let settings = Settings {
        timesteps: Some(vec![0.6, 0.4]),
        stochastic_sampling: Some(true),
        image_cond_noise_scale: Some(0.1),
        guidance_scale: Some(Scheduled::Constant(3.0)),
        ..settings(25)
    };
    let conditions = vec![
        at(clip(0.0, 17, 64, 96), 8, 0.9),
        at(image(0.5), 0, 1.0),
        Condition {
            place: Place::Reference,
            ..at(clip(0.0, 9, 64, 96), 0, 1.0)
        },
        at(image(0.5), 24, 1.0),
    ];
    let job = bench.conditioned(settings, conditions);
    let job = job.with_input(clip(0.0, 25, 64, 96)).unwrap();
    let c = CHANNELS;
    let all = 24 + 12 + 12 + 6;
    let expected = [
        (Posterior, vec![1, c, 4, 2, 3]),
        (Initial, vec![1, 4, 2, 3, c]),
        (Posterior, vec![1, c, 3, 2, 3]),
        (Extra, vec![1, c, 2, 2, 3]),
        (Posterior, vec![1, c, 1, 2, 3]),
        (Posterior, vec![1, c, 2, 2, 3]),
        (Posterior, vec![1, c, 1, 2, 3]),
        (Extra, vec![1, c, 1, 2, 3]),
        (Extra, vec![1, all, c]),
        (Step, vec![1, all, c]),
        (Extra, vec![1, all, c]),
        (Step, vec![1, all, c]),
        (Decode, vec![1, 4, 2, 3, c]),
        (Plane, vec![4, 6]),
    ];
    assert_eq!(bench.run(&job).draws, expected);
}

#[test]
fn every_pass_draws_anew() {
    let mut bench = Bench::new(two_passes("spatial_upscaler"));
    let mut settings = settings(9);
    (settings.height, settings.width) = (Some(192), Some(192));
    settings.timesteps = None;
    settings.steps = Some(2);
    settings.second_pass = Some(Box::new(Settings {
        timesteps: Some(vec![0.5]),
        stochastic_sampling: Some(true),
        ..Settings::default()
    }));
    let job = bench.conditioned(settings, vec![at(image(0.5), 8, 1.0)]);
    let draws = bench.run(&job).draws;
    let expected = [Initial, Posterior, Extra, Initial, Posterior, Extra, Step];
    assert_eq!(purposes(&draws), expected);
    assert_eq!(draws[0].1, [1, 2, 3, 3, CHANNELS]);
    assert_eq!(draws[3].1, [1, 2, 6, 6, CHANNELS]);
    assert_eq!(draws[4].1, [1, CHANNELS, 1, 6, 6]);
}

/// The encoder gets zeros for noise, and no draw is spent on them.
#[test]
fn the_mean_of_the_encoder_needs_no_draw() {
    for (posterior, drawn, noise) in [
        ("mean", vec![Initial], 0.0),
        ("sample", vec![Initial, Posterior], 2.0),
    ] {
        let mut bench = Bench::new(manifest(model(), false, &[]));
        bench.fake.set("vae_encoder", move |inputs| {
            assert!(values(&inputs, "noise").iter().all(|value| *value == noise));
            super::fake::encode(inputs)
        });
        let mut settings = settings(9);
        settings.posterior = Some(posterior.to_owned());
        let job = bench.conditioned(settings, vec![at(image(0.5), 0, 1.0)]);
        let seen = bench.run(&job);
        assert_eq!(purposes(&seen.draws), drawn);
        close(&seen.values("vae_encode0.latents"), &[0.5; 6 * CHANNELS]);
    }
}
