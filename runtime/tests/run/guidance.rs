//! Spatio-temporal guidance: which rows the network is asked for, and which blocks are perturbed in them.

use ltxc_bundle::{Scheduled, Settings};
use ltxc_runtime::run::{Job, Tensors};
use ltxc_runtime::tensor::Tensor;

use super::bench::{Bench, close, settings};
use super::fake::{one, values};
use super::plans::{CHANNELS, manifest, model, perturbing};

/// A step in one word: n for the negative row, p for the positive one, x for one with perturbed blocks.
fn rows(call: &Tensors) -> String {
    let (text, count) = (values(call, "text"), call["latents"].shape()[0]);
    let keep = values(call, "keep");
    let row = |row: usize| {
        let perturbed = keep.iter().skip(row).step_by(count).any(|kept| *kept < 1.0);
        match (perturbed, text[row * text.len() / count] == 5.0) {
            (true, false) => 'x',
            (false, true) => 'n',
            (false, false) => 'p',
            (true, true) => '?',
        }
    };
    (0..count).map(row).collect()
}

fn guided(cfg: Scheduled<f32>, stg: Scheduled<f32>, blocks: Scheduled<Vec<usize>>) -> Settings {
    Settings {
        negative_prompt: Some("dog".to_owned()),
        guidance_scale: Some(cfg),
        stg_scale: Some(stg),
        skip_block_list: Some(blocks),
        ..settings(9)
    }
}

fn constant(cfg: f32, stg: f32, blocks: &[usize]) -> Settings {
    guided(
        Scheduled::Constant(cfg),
        Scheduled::Constant(stg),
        Scheduled::Constant(blocks.to_vec()),
    )
}

#[test]
fn only_rows_that_guidance_needs_are_computed() {
    for (cfg, stg, blocks, expected) in [
        (1.0, 0.0, &[][..], "p"),
        (1.0, 0.0, &[1], "p"),
        (3.0, 0.0, &[1], "np"),
        (1.0, 1.0, &[1], "px"),
        (3.0, 1.0, &[1], "npx"),
        (3.0, 1.0, &[], "np"),
        (0.5, -1.0, &[1], "p"),
    ] {
        let mut bench = Bench::new(perturbing(3));
        let job = bench.job(constant(cfg, stg, blocks));
        bench.run(&job);
        let found: Vec<_> = bench.calls().iter().map(rows).collect();
        assert_eq!(found, [expected; 3], "{cfg} {stg} {blocks:?}");
    }
}

#[test]
fn the_listed_blocks_of_the_perturbed_row_are_not_kept() {
    let mut bench = Bench::new(perturbing(3));
    let job = bench.job(constant(3.0, 1.0, &[2, 0]));
    bench.run(&job);
    let call = &bench.calls()[0];
    assert_eq!(call["keep"].shape(), [3, 3]);
    let keep = [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]].concat();
    assert_eq!(values(call, "keep"), keep);
    let job = bench.job(constant(1.0, 0.0, &[2, 0]));
    bench.run(&job);
    assert_eq!(values(&bench.calls()[0], "keep"), [1.0; 3]);
}

#[test]
fn lists_hold_from_their_timesteps_on() {
    let mut bench = Bench::new(perturbing(3));
    let settings = Settings {
        guidance_timesteps: Some(vec![0.9, 0.5]),
        ..guided(
            Scheduled::Listed(vec![1.0, 3.0]),
            Scheduled::Listed(vec![1.0, 0.5]),
            Scheduled::Listed(vec![vec![0], vec![1, 2]]),
        )
    };
    let job = bench.job(settings);
    bench.run(&job);
    // 0.4 lies below every guidance timestep and has the last values.
    let expected = [
        ("px", [[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]].concat()),
        (
            "npx",
            [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]].concat(),
        ),
    ];
    for (call, place) in bench.calls().iter().zip([0, 1, 1]) {
        let (word, keep) = &expected[place];
        assert_eq!((rows(call).as_str(), &values(call, "keep")), (*word, keep));
    }
}

/// 1 for the negative row, 3 for the positive one, 2 for the perturbed one: 1 + 2 (3 - 1) + 0.5 (3 - 2).
#[test]
fn rows_are_combined() {
    let mut bench = Bench::new(perturbing(3));
    bench.fake.set("transformer", |inputs| {
        let shape = inputs["latents"].shape();
        let row = |row: char| match row {
            'n' => 1.0,
            'x' => 2.0,
            _ => 3.0,
        };
        let rows = rows(&inputs);
        let velocity: Vec<f32> = rows
            .chars()
            .flat_map(|c| vec![row(c); shape[1] * shape[2]])
            .collect();
        one("velocity", Tensor::new(shape, velocity).unwrap())
    });
    let job = bench.job(constant(2.0, 0.5, &[1]));
    let seen = bench.run(&job);
    assert_eq!(seen.values("step00.guided_velocity"), [5.5; 12 * CHANNELS]);
    assert_eq!(
        seen.tensors["step00.dit_velocity"].shape(),
        [3, 12, CHANNELS]
    );
}

/// A perturbed row without perturbed blocks is the positive one: rescaling acts as if it had been computed.
#[test]
fn rescaling_needs_no_perturbed_blocks() {
    let mut bench = Bench::new(perturbing(3));
    bench.fake.set("transformer", |inputs| {
        let shape = inputs["latents"].shape();
        let row = shape[1] * shape[2];
        let latents = values(&inputs, "latents").into_iter().enumerate();
        let velocity: Vec<f32> = latents
            .map(|(place, x)| if place < row { 0.5 * x } else { x })
            .collect();
        one("velocity", Tensor::new(shape, velocity).unwrap())
    });
    let settings = Settings {
        rescaling_scale: Some(Scheduled::Constant(0.7)),
        ..constant(2.0, 1.0, &[])
    };
    let job = bench.job(settings);
    let seen = bench.run_seeded(&job);
    let factor = 1.5 * (0.7 / 1.5 + 0.3);
    let expected: Vec<f32> = seen
        .values("pass0.cond_tokens")
        .iter()
        .map(|x| factor * x)
        .collect();
    close(&seen.values("step00.guided_velocity"), &expected);
}

fn refusal(blocks: usize, settings: Settings) -> String {
    let error = Job::new(&perturbing(blocks), settings).unwrap_err();
    error.to_string()
}

/// Released settings name a block that smaller models do not have, in steps that perturb nothing.
#[test]
fn a_block_matters_only_where_stg_is_on() {
    assert!(Job::new(&perturbing(3), constant(3.0, 0.0, &[42])).is_ok());
    assert_eq!(
        refusal(3, constant(3.0, 1.0, &[1, 42])),
        "`skip_block_list` is 42: the transformer has blocks 0 to 2"
    );
    let partly = |stg: [f32; 2]| Settings {
        guidance_timesteps: Some(vec![0.9, 0.5]),
        ..guided(
            Scheduled::Constant(1.0),
            Scheduled::Listed(stg.to_vec()),
            Scheduled::Listed(vec![vec![42], vec![1]]),
        )
    };
    assert!(Job::new(&perturbing(3), partly([0.0, 1.0])).is_ok());
    assert!(refusal(3, partly([1.0, 0.0])).contains("is 42"));
}

#[test]
fn lists_are_as_long_as_their_timesteps() {
    let expected =
        "a list of 2 values needs guidance_timesteps of the same length, not 3".to_owned();
    type Change = fn(&mut Settings);
    let changes: [Change; 4] = [
        |s| s.guidance_scale = Some(Scheduled::Listed(vec![1.0, 2.0])),
        |s| s.stg_scale = Some(Scheduled::Listed(vec![1.0, 2.0])),
        |s| s.rescaling_scale = Some(Scheduled::Listed(vec![1.0, 2.0])),
        |s| s.skip_block_list = Some(Scheduled::Listed(vec![vec![1], vec![2]])),
    ];
    for change in changes {
        let mut settings = constant(1.0, 0.0, &[]);
        settings.guidance_timesteps = Some(vec![1.0, 0.5, 0.1]);
        change(&mut settings);
        assert_eq!(refusal(3, settings), expected);
    }
}

#[test]
fn a_transformer_without_blocks_is_described_as_such() {
    let message = refusal(0, constant(1.0, 1.0, &[0]));
    assert!(!message.contains("18446744073709551615"), "{message}");
}

/// Compiled for the mode `residual`, which perturbs nothing, it has no `keep`.
#[test]
fn a_transformer_that_cannot_perturb_is_asked_for_the_other_rows() {
    let mut bench = Bench::new(manifest(model(), false, &[]));
    let job = bench.job(constant(3.0, 1.0, &[42]));
    bench.run(&job);
    let call = &bench.calls()[0];
    assert_eq!(call["latents"].shape(), [2, 12, CHANNELS]);
    assert!(!call.contains_key("keep"));
}
