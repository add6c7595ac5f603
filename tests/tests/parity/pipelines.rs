//! Whole runs with the reference's random draws replayed, every intermediate compared.

use std::collections::BTreeMap;

use ltxc_bundle::Settings;
use ltxc_runtime::run::{Condition, Job, Media, Place, VideoSize, replay};
use ltxc_runtime::tensor::Tensor;
use serde_json::Value;

use crate::PIPELINE;
use crate::fixture::{
    CASES, Case, Errors, Golden, difference, difference_of, golden, golden_names, golden_path,
};

#[test]
fn whole_runs() {
    let mut errors = Errors::default();
    for case in CASES.iter() {
        let mut others: BTreeMap<Variant, Case> = BTreeMap::new();
        for name in golden_names(&case.folder, "pipe_") {
            let golden = golden(&case.folder, &name);
            let variant = Variant::of(&golden.meta);
            if variant == Variant::default() {
                compare(case, &name, &golden, &mut errors);
            } else {
                let other = others.entry(variant.clone());
                let case = other.or_insert_with(|| variant.compiled(case));
                compare(case, &name, &golden, &mut errors);
            }
        }
    }
    errors.finish();
}

/// Cut where work may be used again, with none used again.
#[test]
fn a_run_that_uses_nothing_again() {
    let mut errors = Errors::default();
    let case = CASES[0].with(&[("defaults.step_cache", "0")]);
    for name in golden_names(&case.folder, "pipe_t2v") {
        let golden = golden(&case.folder, &name);
        if Variant::of(&golden.meta) == Variant::default() {
            compare(&case, &name, &golden, &mut errors);
        }
    }
    errors.finish();
}

/// What a golden needs that is decided when a bundle is compiled.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Variant {
    stg_mode: &'static str,
    passes: usize,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            stg_mode: "attention_values",
            passes: 1,
        }
    }
}

impl Variant {
    fn of(meta: &Value) -> Self {
        let passes = if meta["args"].get("first_pass").is_some() {
            2
        } else {
            1
        };
        Self {
            stg_mode: mode(meta),
            passes,
        }
    }

    fn compiled(&self, case: &Case) -> Case {
        let mut changes = vec![("options.stg_mode", self.stg_mode)];
        if self.passes == 2 {
            changes.push(("pipeline", "ltxv/multi_scale"));
        }
        case.with(&changes)
    }
}

/// What the reference replaces in perturbed rows.
fn mode(meta: &Value) -> &'static str {
    let strategy = meta["args"]["skip_layer_strategy"]
        .as_str()
        .unwrap_or_default();
    match strategy.rsplit('.').next() {
        Some("AttentionSkip") => "attention_skip",
        Some("Residual") => "residual",
        Some("TransformerBlock") => "transformer_block",
        _ => "attention_values",
    }
}

/// Arguments of the reference that are no settings.
const OTHER: [&str; 5] = [
    "output_type",
    "is_video",
    "vae_per_channel_normalize",
    "mixed_precision",
    "skip_layer_strategy",
];

fn settings(meta: &Value) -> Settings {
    let mut args = meta["args"].as_object().unwrap().clone();
    args.retain(|name, value| !OTHER.contains(&name.as_str()) && !value.is_null());
    serde_json::from_value(args.into()).unwrap()
}

/// The media a golden was conditioned on, and what it started from.
fn media(golden: &Golden) -> (Vec<Condition>, Option<Media>) {
    let items = golden.meta["conditioning"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut tensors: Vec<(&String, &Tensor)> = golden
        .tensors
        .iter()
        .filter(|(name, _)| name.starts_with("input.image") || name.starts_with("input.video"))
        .collect();
    // A clip comes before the images that follow it.
    tensors.sort_by_key(|(name, tensor)| (tensor.shape()[2] == 1, (*name).clone()));
    let media = tensors.into_iter().map(|(name, tensor)| {
        let &[1, 3, frames, height, width] = tensor.shape() else {
            panic!("{name} is no video")
        };
        let size = VideoSize {
            frames,
            height,
            width,
        };
        Media::new(name.as_str(), tensor.to_f32().unwrap(), size).unwrap()
    });
    let mut media: Vec<Media> = media.collect();
    if items.is_empty() {
        return (Vec::new(), media.pop());
    }
    let condition = |(item, media): (&Value, Media)| Condition {
        media,
        frame: item["frame"].as_u64().unwrap() as usize,
        strength: item["strength"].as_f64().unwrap() as f32,
        place: Place::Frames,
    };
    (items.iter().zip(media).map(condition).collect(), None)
}

fn compare(case: &Case, name: &str, golden: &Golden, errors: &mut Errors) {
    // The reference made these goldens with its list of allowed timesteps switched off.
    let mut manifest = case.runner.manifest().clone();
    manifest.model.allowed_inference_steps = None;
    let (conditions, input) = media(golden);
    let job = Job::new(&manifest, settings(&golden.meta))
        .and_then(|job| job.with_conditions(&manifest, conditions))
        .and_then(|job| input.map_or(Ok(job.clone()), |input| job.with_input(input)))
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

/// `mid.pass0.init_latents_bcfhw` is observed as `pass0.init_latents`, `mid.step03.latents_out` as `step03.latents_out`.
fn observed_name(golden: &str) -> String {
    let name = golden.strip_prefix("mid.").unwrap_or(golden);
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
