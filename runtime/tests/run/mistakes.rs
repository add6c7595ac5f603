//! Media and settings that cannot work are refused in words.

use ltxc_bundle::{Manifest, Scheduled, Settings};
use ltxc_runtime::run::{Condition, Job, Media, Place, VideoSize};

use super::bench::{at, clip, image, settings};
use super::plans::{manifest, model, perturbing, two_passes};

fn one_pass() -> Manifest {
    manifest(model(), false, &[])
}

/// 17 frames of 64 x 96 pixels.
fn refused(condition: Condition) -> String {
    let job = Job::new(&one_pass(), settings(17)).unwrap();
    let refused = job.with_conditions(&one_pass(), vec![condition]);
    refused.expect_err("a refusal").to_string()
}

fn part(x: usize, y: usize, height: usize, width: usize) -> Condition {
    Condition {
        place: Place::Part { x, y },
        ..at(clip(0.0, 1, height, width), 0, 1.0)
    }
}

#[test]
fn a_condition_lies_within_the_video() {
    let reference = Condition {
        place: Place::Reference,
        ..at(clip(0.0, 25, 64, 96), 0, 1.0)
    };
    for (condition, expected) in [
        (
            at(image(0.0), 0, 1.5),
            "its strength is 1.5; give a number from 0 to 1",
        ),
        (
            at(image(0.0), 0, -0.1),
            "its strength is -0.1; give a number from 0 to 1",
        ),
        (
            at(image(0.0), 0, f32::NAN),
            "its strength is NaN; give a number from 0 to 1",
        ),
        (
            at(clip(0.0, 12, 64, 96), 0, 1.0),
            "a clip has 8n + 1 frames, this one 12; cut it to 9",
        ),
        (
            at(image(0.0), 17, 1.0),
            "it cannot start at frame 17: the video has frames 0 to 16",
        ),
        (
            at(clip(0.0, 9, 64, 96), 16, 1.0),
            "its 9 frames from frame 16 on end after the video's last, 16",
        ),
        (
            at(clip(0.0, 9, 64, 96), 5, 1.0),
            "a clip starts at a multiple of 8 frames, not at 5; write 0 or 8",
        ),
        (reference, "it has 25 frames, the video has 17"),
    ] {
        assert_eq!(refused(condition), format!("clip.mp4: {expected}"));
    }
    let far = at(image(0.0), usize::MAX, 1.0);
    assert!(refused(far).contains("it cannot start at frame"));
}

#[test]
fn a_part_lies_within_the_first_frame() {
    let later = Condition {
        frame: 8,
        ..part(0, 0, 32, 32)
    };
    for (condition, expected) in [
        (later, "a part of the frame can be given for frame 0 only"),
        (
            part(16, 0, 32, 32),
            "a part of the frame lies on multiples of 32 pixels; it has 32x32 at 16,0",
        ),
        (
            part(0, 0, 48, 32),
            "a part of the frame lies on multiples of 32 pixels; it has 32x48 at 0,0",
        ),
        (
            part(64, 0, 32, 64),
            "64x32 at 64,0 does not lie within 96x64",
        ),
        (
            part(0, 64, 32, 32),
            "32x32 at 0,64 does not lie within 96x64",
        ),
    ] {
        assert_eq!(refused(condition), format!("clip.mp4: {expected}"));
    }
}

/// No corner is so far away that it is near again.
#[test]
fn a_part_beyond_all_numbers_is_refused() {
    let last = usize::MAX - 31;
    assert!(refused(part(last, 0, 32, 64)).contains("does not lie within"));
    assert!(refused(part(0, last, 64, 32)).contains("does not lie within"));
}

#[test]
fn pixels_are_as_many_as_their_size_says() {
    let size = VideoSize {
        frames: 1,
        height: 2,
        width: 2,
    };
    let refused = Media::new("a.png", vec![0.0; 11], size)
        .unwrap_err()
        .to_string();
    assert!(
        refused.starts_with("a.png: 11 values are not VideoSize"),
        "{refused}"
    );
    let none = VideoSize { frames: 0, ..size };
    assert!(Media::new("a.png", Vec::new(), none).is_err());
    assert!(Media::new("a.png", vec![0.0; 12], size).is_ok());
}

#[test]
fn conditions_that_a_smaller_pass_cannot_have_are_refused() {
    let refused = |upscaler, settings: Settings, condition| {
        let manifest = two_passes(upscaler);
        let second = Settings {
            timesteps: Some(vec![0.5]),
            ..Settings::default()
        };
        let settings = Settings {
            second_pass: Some(Box::new(second)),
            ..settings
        };
        let job = Job::new(&manifest, settings).unwrap();
        let refused = job.with_conditions(&manifest, vec![condition]);
        refused.expect_err("a refusal").to_string()
    };
    let large = Settings {
        height: Some(192),
        width: Some(192),
        ..settings(17)
    };
    assert_eq!(
        refused("spatial_upscaler", large, part(0, 0, 32, 32)),
        "`condition` is a part: a part of the frame needs a pipeline of one size, such as ltxv/base"
    );
    assert_eq!(
        refused(
            "temporal_upscaler",
            settings(33),
            at(clip(0.0, 17, 64, 96), 8, 1.0)
        ),
        "clip.mp4: a clip starts at a multiple of 16 frames here, because the first pass makes one frame of 2"
    );
}

#[test]
fn conditions_count_as_tokens() {
    let mut manifest = one_pass();
    let transformer = manifest.components.get_mut("transformer").unwrap();
    transformer.sizes.get_mut("S").unwrap().max = 20;
    let job = Job::new(&manifest, settings(17)).unwrap();
    let first = job
        .clone()
        .with_conditions(&manifest, vec![at(image(0.0), 0, 1.0)]);
    assert!(first.is_ok());
    let later = job.with_conditions(&manifest, vec![at(image(0.0), 8, 1.0)]);
    let message = later.expect_err("a refusal").to_string();
    let expected = "`transformer` cannot take this: input `latents`, axis 1: expected from 1 to 20 (`S`), found 24";
    assert_eq!(message, expected);
}

fn refusal(manifest: &Manifest, change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = settings(17);
    change(&mut settings);
    Job::new(manifest, settings).unwrap_err().to_string()
}

#[test]
fn settings_out_of_range_are_named() {
    let nan = Some(Scheduled::Listed(vec![1.0, f32::NAN]));
    let one = |change: fn(&mut Settings)| refusal(&one_pass(), change);
    for (found, expected) in [
        (
            one(|s| s.image_cond_noise_scale = Some(-1.0)),
            "`image_cond_noise_scale` is -1: give a number from 0",
        ),
        (
            one(|s| s.adain_factor = Some(1.5)),
            "`adain_factor` is 1.5: give a number from 0 to 1",
        ),
        (
            one(|s| s.tone_map_compression_ratio = Some(-0.5)),
            "`tone_map_compression_ratio` is -0.5: give a number from 0 to 1",
        ),
        (
            one(|s| s.posterior = Some("mode".to_owned())),
            "`posterior` is mode: write `sample` or `mean`",
        ),
        (
            refusal(&one_pass(), |s| s.stg_scale = nan.clone()),
            "`stg_scale` is NaN: give a number",
        ),
        (
            refusal(&one_pass(), |s| s.rescaling_scale = nan.clone()),
            "`rescaling_scale` is NaN: give a number",
        ),
        (
            one(|s| (s.timesteps, s.sampler) = (None, Some("cosine".to_owned()))),
            "`sampler` is cosine: write `from_checkpoint`, `uniform` or `linear_quadratic`",
        ),
        (
            refusal(&perturbing(2), |s| {
                s.stg_scale = Some(Scheduled::Constant(1.0));
                s.skip_block_list = Some(Scheduled::Constant(vec![2]));
            }),
            "`skip_block_list` is 2: the transformer has blocks 0 to 1",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn settings_of_a_smaller_pass_are_named() {
    let two = two_passes("spatial_upscaler");
    for (found, expected) in [
        (
            refusal(&two, |s| s.downscale_factor = Some(1.5)),
            "`downscale_factor` is 1.5: give a number from 0.01 to 1",
        ),
        (
            refusal(&two, |s| s.downscale_factor = Some(f64::NAN)),
            "`downscale_factor` is NaN: give a number from 0.01 to 1",
        ),
        (
            refusal(&two, |s| s.height = Some(32)),
            "`height` is 32: the first pass would have no pixels; give 49 or more",
        ),
        (
            refusal(&two, |s| (s.height, s.width) = (Some(96), Some(20))),
            "`width` is 32: the first pass would have no pixels; give 49 or more",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_section_belongs_to_a_pass_and_keeps_to_it() {
    let section = |settings: Settings| Some(Box::new(settings));
    assert_eq!(
        refusal(&one_pass(), |s| s.first_pass = section(Settings::default())),
        "`first_pass` is set: the pipeline `one_pass` has no such pass"
    );
    let whole: Settings = serde_json::from_value(serde_json::json!({
        "prompt": "", "negative_prompt": "", "seed": 1, "height": 1, "width": 1, "frames": 1, "fps": 1,
        "posterior": "mean", "downscale_factor": 1, "adain_factor": 1, "max_tokens": 1, "noise": "original",
        "first_pass": {}, "second_pass": {},
    }))
    .unwrap();
    let two = two_passes("spatial_upscaler");
    for key in whole.set() {
        let mut value = serde_json::to_value(&whole).unwrap();
        value.as_object_mut().unwrap().retain(|name, _| name == key);
        let own: Settings = serde_json::from_value(value).unwrap();
        let expected = format!(
            "`second_pass` is setting `{key}`: it is the same for all passes; set it outside"
        );
        let found = refusal(&two, |s| s.second_pass = section(own.clone()));
        assert_eq!(found, expected);
        let mut preset = two.clone();
        preset.defaults.second_pass = section(own);
        assert_eq!(refusal(&preset, |_| {}), expected);
    }
}

/// The reference refuses it too: the latents of the first pass would be replaced by noise.
#[test]
fn a_second_pass_that_forgets_the_first_is_refused() {
    let manifest = two_passes("spatial_upscaler");
    let job = Job::new(&manifest, settings(17));
    assert!(
        job.is_err(),
        "it starts at {:?}",
        job.unwrap().passes()[1].timesteps()
    );
}
