//! Every component against the reference's tensors.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use ltxc_bundle::Port;
use ltxc_runtime::tensor::Tensor;

use crate::fixture::{
    CASES, Case, Errors, Golden, difference, golden, golden_names, golden_path, timesteps,
};
use crate::{COMPONENT, IN_PIECES};

pub fn exec(case: &Case, component: &str, inputs: Vec<(&str, Tensor)>) -> BTreeMap<String, Tensor> {
    let inputs = inputs
        .into_iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect();
    case.runner
        .exec(component, inputs)
        .unwrap_or_else(|e| panic!("{}: {component}: {e}", case.name))
}

/// Runs `check` for every case and every golden whose name begins with `prefix`.
fn for_goldens(prefix: &str, check: impl Fn(&Case, &Golden, &mut dyn FnMut(&str, f32))) {
    let mut errors = Errors::default();
    for case in CASES.iter() {
        for name in golden_names(&case.folder, prefix) {
            let golden = golden(&case.folder, &name);
            check(case, &golden, &mut |what, error| {
                errors.note(&case.name, &format!("{name} {what}"), error, COMPONENT)
            });
        }
    }
    errors.finish();
}

#[test]
fn text_encoder() {
    for_goldens("t5_encode", |case, golden, note| {
        for i in 0..golden.meta["prompts"].as_array().unwrap().len() {
            let (ids, mask) = (
                golden.get(&format!("input.{i}.ids")).clone(),
                golden.get(&format!("input.{i}.mask")).clone(),
            );
            let ones = Tensor::new(
                mask.shape().to_vec(),
                vec![1i64; mask.values::<i64>().unwrap().len()],
            )
            .unwrap();
            for (kind, mask) in [("masked", mask), ("unmasked", ones)] {
                let hidden = exec(
                    case,
                    "text_encoder",
                    vec![("ids", ids.clone()), ("mask", mask)],
                );
                note(
                    &format!("{i} {kind}"),
                    difference(&hidden["hidden"], golden.get(&format!("out.{i}.{kind}"))),
                );
            }
        }
    });
}

#[test]
fn transformer() {
    for_goldens("dit_forward", |case, golden, note| {
        let found = velocity(case, golden);
        note("velocity", difference(&found, golden.get("out.sample")));
    });
}

/// In one piece, and cut where work may be used again (with none used again), instead of in the two parts above.
#[test]
fn transformer_in_other_parts() {
    let mut errors = Errors::default();
    for case in CASES.iter() {
        for change in [("hoist", "false"), ("defaults.step_cache", "0")] {
            let cut = case.with(&[change]);
            let parts = cut.runner.manifest().components["transformer"].parts.len();
            assert_eq!(parts, if change.0 == "hoist" { 0 } else { 3 });
            for name in golden_names(&case.folder, "dit_forward") {
                let golden = golden(&case.folder, &name);
                let found = velocity(&cut, &golden);
                let error = difference(&found, golden.get("out.sample"));
                errors.note(
                    &case.name,
                    &format!("{name} {}", change.0),
                    error,
                    COMPONENT,
                );
            }
        }
    }
    errors.finish();
}

/// What the transformer makes of a golden's inputs, no block perturbed.
pub fn velocity(case: &Case, golden: &Golden) -> Tensor {
    let rows = golden.get("input.tokens").shape()[0];
    let keep = vec![1f32; blocks(case) * rows];
    perturbed_velocity(
        case,
        golden,
        Tensor::new([blocks(case), rows], keep).unwrap(),
    )
}

/// Every way to perturb rows is a graph of its own.
#[test]
fn perturbed_transformer() {
    let modes = [
        ("AttentionValues", "attention_values"),
        ("AttentionSkip", "attention_skip"),
        ("Residual", "residual"),
        ("TransformerBlock", "transformer_block"),
    ];
    let mut errors = Errors::default();
    for case in CASES.iter() {
        for (golden_name, mode) in modes {
            let name = format!("dit_stg_{golden_name}");
            if golden_path(&case.folder, &name).exists() {
                let case = case.with(&[("options.stg_mode", mode)]);
                let golden = golden(&case.folder, &name);
                let keep = golden.get("input.skip_layer_mask").clone();
                let found = perturbed_velocity(&case, &golden, keep);
                let error = difference(&found, golden.get("out.sample"));
                errors.note(&case.name, &name, error, COMPONENT);
            }
        }
    }
    errors.finish();
}

fn blocks(case: &Case) -> usize {
    let inputs = &case.runner.manifest().components["transformer"].inputs;
    let keep = inputs.iter().find(|port| port.name == "keep").unwrap();
    keep.shape[0].parse().unwrap()
}

fn perturbed_velocity(case: &Case, golden: &Golden, keep: Tensor) -> Tensor {
    let ports = [
        ("latents", "tokens"),
        ("coords", "indices_grid"),
        ("text", "text"),
        ("text_mask", "text_mask"),
    ];
    let mut inputs: Vec<(&str, Tensor)> = ports
        .iter()
        .map(|(port, name)| (*port, golden.get(&format!("input.{name}")).clone()))
        .collect();
    inputs.push(("keep", keep));
    inputs.extend(timesteps(golden.get("input.timestep")));
    let mut outputs = exec(case, "transformer", inputs);
    outputs.remove("velocity").unwrap()
}

#[test]
fn vae_encoder() {
    for_goldens("vae_encode", |case, golden, note| {
        let noise = golden.draws().remove(0);
        let zeros = Tensor::new(
            noise.shape().to_vec(),
            vec![0f32; noise.to_f32().unwrap().len()],
        )
        .unwrap();
        let video = golden.get("input.video");
        let mean = exec(
            case,
            "vae_encoder",
            vec![("video", video.clone()), ("noise", zeros)],
        );
        note("mean", difference(&mean["mean"], golden.get("out.mean")));
        note(
            "logvar",
            difference(&mean["logvar"], golden.get("out.logvar")),
        );
        note(
            "mean, normalised",
            difference(&mean["latents"], golden.get("out.mean_normalized")),
        );
        let sample = exec(
            case,
            "vae_encoder",
            vec![("video", video.clone()), ("noise", noise)],
        );
        note(
            "sample, normalised",
            difference(&sample["latents"], golden.get("out.sampled_normalized")),
        );
    });
}

#[test]
fn vae_decoder() {
    for_goldens("vae_decode", |case, golden, note| {
        let component = &case.runner.manifest().components["vae_decoder"];
        let mut draws = golden.draws().into_iter();
        let mut inputs = Vec::new();
        for port in &component.inputs {
            let tensor = match (port.name.as_str(), &port.source) {
                (_, Some(_)) => draws.next().unwrap(),
                ("latents", _) => golden.get("input.latents_normalized").clone(),
                (name, _) => golden.get(&format!("input.{name}")).clone(),
            };
            inputs.push((port.name.as_str(), tensor));
        }
        let video = exec(case, "vae_decoder", inputs.clone());
        note(
            "video",
            difference(&video["video"], golden.get("out.video")),
        );
        let owned = |(name, tensor): (&str, Tensor)| (name.to_owned(), tensor);
        let inputs: BTreeMap<_, _> = inputs.into_iter().map(owned).collect();
        for most in [1, 2, 5] {
            let pieces = in_pieces(case, "vae_decoder", &inputs, most, None);
            note(
                "video in pieces",
                difference(&pieces["video"], &video["video"]),
            );
        }
    });
}

/// What a component makes in pieces, within a budget.
fn in_pieces(
    case: &Case,
    component: &str,
    inputs: &BTreeMap<String, Tensor>,
    most: usize,
    budget: Option<u64>,
) -> BTreeMap<String, Tensor> {
    let cuts = (case.runner).exec_cuts(component, inputs, NonZeroUsize::new(most), budget);
    let cuts = cuts.unwrap().unwrap();
    assert_eq!(
        cuts.tiles() != [1, 1],
        budget.is_some(),
        "{}: {cuts}",
        case.name
    );
    let pieces = case.runner.exec_by(component, inputs.clone(), &cuts);
    pieces.unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

/// Longer than the goldens: long enough for every stage to begin, go on and end.
#[test]
fn long_videos_are_decoded_and_encoded_in_pieces_as_they_are_at_once() {
    let mut errors = Errors::default();
    for case in CASES.iter() {
        for component in ["vae_decoder", "vae_encoder"] {
            let ports = case.runner.manifest().components[component].inputs.iter();
            let inputs: BTreeMap<_, _> =
                ports.map(|port| (port.name.clone(), waves(port))).collect();
            let whole = case.runner.exec(component, inputs.clone()).unwrap();
            let tiled = budget_for_tiles(case, component, &inputs);
            for (most, budget) in [(2, None), (1, Some(tiled))] {
                let pieces = in_pieces(case, component, &inputs, most, budget);
                assert!(pieces.keys().eq(whole.keys()));
                for (name, whole) in &whole {
                    let error = difference(&pieces[name], whole);
                    let values = whole.to_f32().unwrap();
                    let largest = values.iter().map(|x| x.abs()).fold(0.0, f32::max);
                    let by = format!("{component} {name} by {most} within {budget:?}");
                    errors.note(&case.name, &by, error / largest, IN_PIECES);
                }
            }
        }
    }
    errors.finish();
}

/// The largest budget, by tenths, that asks for tiles after frames have come one at a time.
fn budget_for_tiles(case: &Case, component: &str, inputs: &BTreeMap<String, Tensor>) -> u64 {
    let cuts = |budget| {
        let cuts = (case.runner).exec_cuts(component, inputs, NonZeroUsize::new(1), budget);
        cuts.unwrap().unwrap()
    };
    let plain = cuts(None).bytes;
    let budgets = (1..10).map(|tenths| plain - plain / 10 * tenths);
    let mut tiled = budgets.filter(|budget| cuts(Some(*budget)).tiles() != [1, 1]);
    tiled.next().unwrap()
}

/// Numbers between -1 and 1 for an input, of 12 latent frames, 5 rows and 4 columns.
fn waves(port: &Port) -> Tensor {
    let factor = |factor: &str| match factor {
        "B" => 1,
        "frames" => 12,
        "height" => 5,
        "width" => 4,
        number => number.parse().unwrap(),
    };
    let extent = |size: &String| -> usize {
        let (size, less) = size.split_once(" - ").unwrap_or((size, "0"));
        size.split('*').map(factor).product::<usize>() - less.parse::<usize>().unwrap()
    };
    let shape: Vec<usize> = port.shape.iter().map(extent).collect();
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
    Tensor::new(shape, values).unwrap()
}

#[test]
fn normalisation() {
    for_goldens("vae_normalize", |case, golden, note| {
        let latents = || vec![("latents", golden.get("input.latents").clone())];
        let out = exec(case, "latent_statistics", latents());
        note(
            "normalised",
            difference(&out["normalized"], golden.get("out.normalized")),
        );
        note(
            "un-normalised",
            difference(&out["un_normalized"], golden.get("out.un_normalized")),
        );
    });
}
