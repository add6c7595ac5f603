//! Images and clips that a video has to contain: where their tokens lie, and how they move.

use ltxc_runtime::run::{Condition, Place};
use ltxc_runtime::sampling::Purpose;

use super::bench::{Bench, CONDITION, INITIAL, at, clip, close, image, settings};
use super::fake::{timesteps, values};
use super::plans::{CHANNELS, manifest, model};

/// The weighted mean of noise and what is given.
fn mixed(noise: f32, given: f32, strength: f32) -> f32 {
    noise + strength * (given - noise)
}

fn bench() -> Bench {
    Bench::new(manifest(model(), false, &[]))
}

#[test]
fn an_image_at_the_start_is_mixed_into_the_first_latents() {
    for strength in [0.0, 0.3, 0.5, 0.8, 1.0] {
        let mut bench = bench();
        let job = bench.conditioned(settings(9), vec![at(image(0.5), 0, strength)]);
        let seen = bench.run(&job);
        let first = [mixed(INITIAL, 0.5, strength); 6];
        close(
            &seen.tokens("pass0.cond_tokens"),
            &[first, [INITIAL; 6]].concat(),
        );
        let mask = [[strength; 6], [0.0; 6]].concat();
        assert_eq!(seen.values("pass0.cond_mask"), mask);
        let calls = bench.calls();
        let told: Vec<_> = calls.iter().map(|call| timesteps(call, 12)).collect();
        let expected = [1.0_f32, 0.6, 0.4].map(|t| [[t.min(1.0 - strength); 6], [t; 6]].concat());
        assert_eq!(told, expected);
        let counts = calls.iter().map(|call| call["timestep"].shape()[1]);
        let distinct = [1.0_f32, 0.6, 0.4].map(|t| if t > 1.0 - strength { 2 } else { 1 });
        assert!(counts.eq(distinct));
    }
}

/// A token given by half may move when the timestep is below one half, and one that is given wholly never.
#[test]
fn given_tokens_move_as_far_as_their_strength_allows() {
    for (strength, way) in [(0.0, 1.0), (0.3, 0.6), (0.5, 0.4), (0.8, 0.0), (1.0, 0.0)] {
        let mut bench = bench();
        bench.flow(1.0);
        let job = bench.conditioned(settings(9), vec![at(image(0.5), 0, strength)]);
        let latents = bench.run(&job).latents();
        let first = [mixed(INITIAL, 0.5, strength) - way; 6];
        close(&latents, &[first, [INITIAL - 1.0; 6]].concat());
    }
}

#[test]
fn a_later_image_lies_beside_the_video() {
    let mut bench = bench();
    bench.flow(1.0);
    let job = bench.conditioned(settings(17), vec![at(image(0.5), 11, 0.8)]);
    let seen = bench.run(&job);
    let beside = [mixed(CONDITION, 0.5, 0.8); 6];
    let tokens = [beside.as_slice(), &[INITIAL; 18]].concat();
    close(&seen.tokens("pass0.cond_tokens"), &tokens);
    assert_eq!(
        seen.values("pass0.cond_mask"),
        [[0.8; 6].as_slice(), &[0.0; 18]].concat()
    );
    let coords = seen.values("pass0.pixel_coords");
    let frames = [[11.0; 6], [0.0; 6], [1.0; 6], [9.0; 6]].concat();
    assert_eq!(coords[..24], frames);
    assert_eq!(coords[24..30], [0.0, 0.0, 0.0, 32.0, 32.0, 32.0]);
    assert_eq!(coords[48..54], [0.0, 32.0, 64.0, 0.0, 32.0, 64.0]);
    let seconds = &values(&bench.calls()[0], "coords")[..24];
    let expected: Vec<f32> = frames.iter().map(|frame| frame / 25.0).collect();
    close(seconds, &expected);
    assert_eq!(seen.generated.latents.shape(), [1, CHANNELS, 3, 2, 3]);
    close(&seen.latents(), &[INITIAL - 1.0; 18]);
}

#[test]
fn a_clip_at_the_start_is_mixed_into_its_latents() {
    let mut bench = bench();
    let job = bench.conditioned(settings(25), vec![at(clip(0.0, 17, 64, 96), 0, 1.0)]);
    let seen = bench.run(&job);
    let expected = [[0.0; 6], [0.01; 6], [0.09; 6], [INITIAL; 6]].concat();
    close(&seen.tokens("pass0.cond_tokens"), &expected);
    close(&seen.latents(), &expected);
    assert_eq!(
        seen.values("pass0.cond_mask"),
        [[1.0; 18].as_slice(), &[0.0; 6]].concat()
    );
}

/// Two latent frames lie beside the video, all others are frames of it.
#[test]
fn a_later_clip_is_split() {
    let mut bench = bench();
    let job = bench.conditioned(settings(41), vec![at(clip(0.0, 25, 64, 96), 8, 1.0)]);
    let seen = bench.run(&job);
    let beside = [[0.0; 6], [0.01; 6]].concat();
    let inside = [
        [INITIAL; 6],
        [INITIAL; 6],
        [INITIAL; 6],
        [0.09; 6],
        [0.17; 6],
        [INITIAL; 6],
    ]
    .concat();
    close(
        &seen.tokens("pass0.cond_tokens"),
        &[beside, inside.clone()].concat(),
    );
    close(&seen.latents(), &inside);
    let mask = seen.values("pass0.cond_mask");
    let expected: Vec<f32> = [1, 1, 0, 0, 0, 1, 1, 0]
        .into_iter()
        .flat_map(|given| [given as f32; 6])
        .collect();
    assert_eq!(mask, expected);
    let frames = &seen.values("pass0.pixel_coords")[..48];
    let expected: Vec<f32> = [8, 9, 0, 1, 9, 17, 25, 33]
        .into_iter()
        .flat_map(|frame| [frame as f32; 6])
        .collect();
    assert_eq!(frames, expected);
}

#[test]
fn a_short_later_clip_lies_beside_the_video_as_a_whole() {
    let mut bench = bench();
    let job = bench.conditioned(settings(17), vec![at(clip(0.5, 9, 64, 96), 8, 1.0)]);
    let seen = bench.run(&job);
    let expected = [
        [0.5; 6],
        [0.51; 6],
        [INITIAL; 6],
        [INITIAL; 6],
        [INITIAL; 6],
    ]
    .concat();
    close(&seen.tokens("pass0.cond_tokens"), &expected);
}

/// Parts of a 4 x 5 frame; their latents are left out where they border on the rest of it.
#[test]
fn a_part_of_the_frame_loses_its_inner_borders() {
    for ((x, y, width, height), kept) in [
        ((0, 0, 160, 128), [0..4, 0..5]),
        ((0, 0, 96, 64), [0..1, 0..2]),
        ((64, 64, 96, 64), [3..4, 3..5]),
        ((32, 32, 96, 96), [2..4, 2..3]),
        ((0, 32, 160, 64), [2..2, 0..5]),
        ((64, 0, 32, 128), [0..4, 3..3]),
        ((128, 0, 32, 128), [0..4, 5..5]),
    ] {
        let mut settings = settings(9);
        (settings.height, settings.width) = (Some(128), Some(160));
        let condition = Condition {
            place: Place::Part { x, y },
            ..at(clip(0.5, 1, height, width), 0, 1.0)
        };
        let mut bench = bench();
        let job = bench.conditioned(settings, vec![condition]);
        let seen = bench.run(&job);
        let given = |place: usize| {
            let (row, column) = (place / 5, place % 5);
            kept[0].contains(&row) && kept[1].contains(&column)
        };
        let token = |place: usize| if given(place) { 0.5 } else { INITIAL };
        let expected: Vec<f32> = (0..40).map(token).collect();
        close(&seen.tokens("pass0.cond_tokens"), &expected);
        let mask: Vec<f32> = (0..40).map(|place| given(place).into()).collect();
        assert_eq!(
            seen.values("pass0.cond_mask"),
            mask,
            "{x},{y} {width}x{height}"
        );
    }
}

#[test]
fn a_reference_lies_beside_the_video_without_noise() {
    let mut bench = bench();
    let condition = Condition {
        place: Place::Reference,
        ..at(clip(0.5, 9, 128, 32), 0, 0.9)
    };
    let job = bench.conditioned(settings(9), vec![condition]);
    let seen = bench.run(&job);
    let expected = [[0.5; 6], [0.51; 6], [INITIAL; 6], [INITIAL; 6]].concat();
    close(&seen.tokens("pass0.cond_tokens"), &expected);
    let frames = [[0.0; 6], [1.0; 6], [0.0; 6], [1.0; 6]].concat();
    assert_eq!(seen.values("pass0.pixel_coords")[..24], frames);
    assert_eq!(
        seen.values("pass0.cond_mask"),
        [[0.9; 12], [0.0; 12]].concat()
    );
    let noised = |(purpose, _): &(Purpose, Vec<usize>)| *purpose == Purpose::Condition;
    assert!(!seen.draws.iter().any(noised));
    assert_eq!(seen.generated.latents.shape(), [1, CHANNELS, 2, 2, 3]);
}

/// Fresh noise at every step, on what is given wholly and nothing else.
#[test]
fn images_are_noised_only_where_that_is_asked_for() {
    for (scale, draws) in [(None, 0), (Some(0.0), 0), (Some(0.5), 3)] {
        let mut bench = bench();
        let mut settings = settings(17);
        settings.image_cond_noise_scale = scale;
        let conditions = vec![at(image(0.5), 0, 1.0), at(image(0.25), 8, 0.9)];
        let job = bench.conditioned(settings, conditions);
        let seen = bench.run(&job);
        let shape = vec![1, 24, CHANNELS];
        let found = seen
            .draws
            .iter()
            .filter(|draw| **draw == (Purpose::Condition, shape.clone()));
        assert_eq!(found.count(), draws);
        let calls = bench.calls();
        assert_eq!(calls.len(), 3);
        for (call, t) in calls.iter().zip([1.0_f32, 0.6, 0.4]) {
            let noised = 0.5 + scale.unwrap_or(0.0) * CONDITION * t * t;
            let soft = [mixed(CONDITION, 0.25, 0.9); 6];
            let tokens: Vec<f32> = values(call, "latents")
                .into_iter()
                .step_by(CHANNELS)
                .collect();
            let expected = [soft, [noised; 6], [INITIAL; 6], [INITIAL; 6]].concat();
            close(&tokens, &expected);
        }
    }
}

#[test]
fn a_run_without_conditions_has_one_timestep_for_all() {
    let mut bench = bench();
    let mut settings = settings(9);
    settings.image_cond_noise_scale = Some(0.5);
    let job = bench.job(settings);
    let seen = bench.run(&job);
    assert!(!seen.tensors.contains_key("pass0.cond_mask"));
    assert_eq!(seen.draws, [(Purpose::Initial, vec![1, 2, 2, 3, CHANNELS])]);
    let calls = bench.calls();
    assert_eq!(calls[1]["timestep"].shape(), [1, 1]);
    assert_eq!(calls[1]["timestep_of"].shape(), [1]);
}
