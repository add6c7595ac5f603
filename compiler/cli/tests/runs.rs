//! `ltxc run` with configurations, media and prompts as users have them.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{ltxc, root, saved_latents, shapes};
use ltxc_runtime::media::read::{self, ReadOptions};
use serde_json::Value;
use tempfile::TempDir;

const IMAGE: &str = "tests/bad/media/image.png";
const CLIP: &str = "tests/bad/media/clip.mp4";

/// Frames of a run of the tiny model, as the bytes of a strip.
fn strip(tmp: &TempDir, name: &str, more: &[&str]) -> Vec<u8> {
    let (bundle, out) = (shapes().to_str().unwrap(), tmp.path().join(name));
    let start = ["run", bundle, "--steps", "4", "-o", out.to_str().unwrap()];
    ltxc(&[&start, more].concat()).fine();
    fs::read(out).unwrap()
}

/// The configuration, the checkpoints it names and the text encoder's folder, side by side under their own names.
#[test]
fn a_released_config_runs_as_it_is() {
    let tmp = TempDir::new().unwrap();
    let fixture = root().join("tests/fixtures/0.9.8-distilled-like");
    let put = |from: &Path, to: &str| symlink(from, tmp.path().join(to)).unwrap();
    let config = "ltxv-2b-0.9.8-distilled.yaml";
    put(&root().join("tests/fixtures/configs").join(config), config);
    for file in ["ltxv-2b-0.9.8-distilled", "ltxv-spatial-upscaler-0.9.8"] {
        let file = format!("{file}.safetensors");
        put(&fixture.join(&file), &file);
    }
    fs::create_dir(tmp.path().join("PixArt-alpha")).unwrap();
    put(
        &fixture.join("diffusers"),
        "PixArt-alpha/PixArt-XL-2-1024-MS",
    );
    let (config, out) = (tmp.path().join(config), tmp.path().join("a.mp4"));
    let said = ltxc(&[
        "run",
        config.to_str().unwrap(),
        "--prompt",
        "a woman walks through the forest",
        "--height",
        "64",
        "--width",
        "96",
        "--frames",
        "9",
        "--json",
        "-o",
        out.to_str().unwrap(),
    ]);
    for note in ["enhance", "precision"] {
        assert!(said.stderr.contains(note), "{note}: {}", said.stderr);
    }
    let report: Value = serde_json::from_str(&said.fine()).unwrap();
    assert_eq!(report["timesteps"].as_array().unwrap().len(), 7 + 3);
    let stages: Vec<&str> = report["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(
        stages,
        [
            "text",
            "small_start",
            "small",
            "upscaled",
            "start",
            "latents",
            "frames"
        ]
    );
    assert_eq!(&fs::read(out).unwrap()[4..8], b"ftyp");
}

#[test]
fn a_video_decoded_in_pieces_is_the_same() {
    let tmp = TempDir::new().unwrap();
    let pixels = |name: &str, decode: &str, more: &[&str]| {
        let folder = tmp.path().join(name);
        let out = folder.join("%03d.png");
        let size = [
            "--frames",
            "97",
            "--height",
            "32",
            "--width",
            "32",
            "--prompt",
            "a red circle",
            "--steps",
            "1",
        ];
        let run = [
            "run",
            shapes().to_str().unwrap(),
            "--decode",
            decode,
            "-o",
            out.to_str().unwrap(),
        ];
        let said = ltxc(&[&run[..], &size, more].concat());
        let cut = |how: &str| said.stderr.contains(how);
        assert_eq!(
            cut("2 latent frames at a time"),
            decode == "2",
            "{}",
            said.stderr
        );
        let (tiles, least) = (cut(" tiles, with "), cut("it cannot be less"));
        assert_eq!(
            (tiles, least),
            (!more.is_empty(), !more.is_empty()),
            "{}",
            said.stderr
        );
        said.fine();
        let frames = read::open(&out, &ReadOptions::frames(97)).unwrap().frames;
        assert_eq!(frames.len(), 97);
        frames.concat()
    };
    let whole = pixels("whole", "whole", &[]);
    let tiles = ["--memory-budget", "1KB"];
    for pieces in [pixels("pieces", "2", &[]), pixels("tiles", "auto", &tiles)] {
        assert_eq!(whole.len(), pieces.len());
        let off = whole.iter().zip(&pieces).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(1), "{off:?}");
    }
}

#[test]
fn a_video_encoded_in_pieces_and_tiles_has_the_same_latents() {
    let tmp = TempDir::new().unwrap();
    let clip = tmp.path().join("%03d.png");
    let clip = clip.to_str().unwrap();
    let run = [
        "run",
        shapes().to_str().unwrap(),
        "--prompt",
        "a red circle",
    ];
    let size = [
        "--frames", "57", "--height", "64", "--width", "96", "--steps", "2",
    ];
    ltxc(&[&run[..], &size, &["-o", clip]].concat()).fine();
    let changed = ["--input-video", clip, "--skip-initial-steps", "1"];
    let encoded = |more: &[&str]| latents(&[&run[..], &size, &changed].concat(), more);
    let (whole, tiles) = (encoded(&[]), encoded(&["--memory-budget", "1KB"]));
    let off = whole.iter().zip(&tiles).map(|(a, b)| (a - b).abs());
    let (off, count) = (off.fold(0.0, f32::max), whole.len());
    assert!(off < 1e-4 && count == tiles.len(), "{off} of {count}");
}

#[test]
fn several_videos_equal_single_ones() {
    let tmp = TempDir::new().unwrap();
    let prompts = tmp.path().join("prompts.txt");
    fs::write(&prompts, "a red circle\n# a comment\n\na white square\n").unwrap();
    let (prompts, bundle) = (prompts.to_str().unwrap(), shapes().to_str().unwrap());
    for together in ["1", "3"] {
        let out = tmp.path().join(format!("{together}.png"));
        let said = ltxc(&[
            "run",
            bundle,
            "--steps",
            "4",
            "--frames",
            "9",
            "--prompts",
            prompts,
            "--batch",
            "2",
            "--together",
            together,
            "-o",
            out.to_str().unwrap(),
        ]);
        assert_eq!(said.fine().lines().count(), 4);
    }
    let alone = |name: &str, prompt: &str, seed: &str| {
        strip(
            &tmp,
            name,
            &["--frames", "9", "--prompt", prompt, "--seed", seed],
        )
    };
    let singles = [
        alone("a.png", "a red circle", "0"),
        alone("b.png", "a red circle", "1"),
        alone("c.png", "a white square", "0"),
        alone("d.png", "a white square", "1"),
    ];
    for (number, single) in singles.iter().enumerate() {
        for together in ["1", "3"] {
            let file = tmp.path().join(format!("{together}-{}.png", number + 1));
            assert_eq!(&fs::read(file).unwrap(), single, "{together}, {number}");
        }
    }
}

/// Every way to give media makes another video than none, and the same one each time.
#[test]
fn media_change_the_video() {
    let tmp = TempDir::new().unwrap();
    let prompt = ["--prompt", "a red circle on a blue background"];
    let folder = tmp.path().join("frames");
    fs::create_dir(&folder).unwrap();
    fs::copy(root().join(IMAGE), folder.join("1.png")).unwrap();
    let at = |file: &str, place: &str| format!("{file}@{place}");
    let plain = strip(&tmp, "plain.png", &prompt);
    let (first, last) = (at(IMAGE, "0"), at(IMAGE, "-1:0.8"));
    let (before, after) = (at(CLIP, "0"), at(CLIP, "-1"));
    let (part, pictures) = (at(IMAGE, "64,0"), at(folder.to_str().unwrap(), "8"));
    let large = ["--width", "128"];
    for (name, more) in [
        ("first", vec!["--condition", &first]),
        (
            "keyframes",
            vec!["--condition", &first, "--condition", &last],
        ),
        ("forward", vec!["--condition", &before]),
        ("backward", vec!["--condition", &after]),
        ("folder", vec!["--condition", &pictures]),
        ("part", [&["--place", &part], &large[..]].concat()),
        ("reference", vec!["--reference", CLIP]),
        (
            "compressed",
            vec!["--condition", &first, "--compress-conditions"],
        ),
        (
            "changed",
            vec!["--input-video", CLIP, "--skip-initial-steps", "2"],
        ),
    ] {
        let made = || strip(&tmp, &format!("{name}.png"), &[&prompt[..], &more].concat());
        let video = made();
        assert_ne!(video, plain, "{name}");
        assert_eq!(video, made(), "{name}");
    }
}

#[test]
fn a_single_frame_is_a_picture() {
    let tmp = TempDir::new().unwrap();
    let mut command = common::command(&["run", shapes().to_str().unwrap(), "--prompt", "a"]);
    command
        .args(["--frames", "1", "--steps", "2"])
        .current_dir(tmp.path());
    assert!(command.output().unwrap().status.success());
    assert!(
        fs::read(tmp.path().join("out.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
}

fn latents(run: &[&str], more: &[&str]) -> Vec<f32> {
    saved_latents(&[run, more].concat())
}

/// A bundle for one size makes the same video as one for all, by default at its size, and refuses every other.
#[test]
fn a_bundle_for_one_size_makes_the_same_video_and_no_other() {
    let tmp = TempDir::new().unwrap();
    let bundle = tmp.path().join("one.bundle");
    let bundle = bundle.to_str().unwrap();
    let (preset, size) = ("presets/shapes.yaml", ["--size", "96x64x9"]);
    ltxc(&[&["compile", preset, "-o", bundle], &size[..]].concat()).fine();
    let run = |bundle| ["run", bundle, "--prompt", "a circle", "--steps", "4"];
    let special = latents(&run(bundle), &[]);
    let free = latents(&run(shapes().to_str().unwrap()), &size);
    assert_eq!((special.len(), free.len()), (72 * 16, 72 * 16));
    let farthest = special.iter().zip(&free).map(|(a, b)| (a - b).abs());
    let farthest = farthest.fold(0.0, f32::max);
    assert!(farthest < 1e-4, "{farthest}");
    latents(&run(bundle), &["--decode", "1"]);
    for other in [["--frames", "17"], ["--guidance-scale", "1"]] {
        let refused = ltxc(&[&run(bundle), &other[..]].concat());
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        let why = "the bundle was compiled for 96x64x9 (width x height x frames)";
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}

/// What `ltxc plan` says of a transformer with real widths, of which only the shapes are there.
#[test]
fn a_plan_needs_no_weights_and_a_budget_is_kept() {
    let plan = |more: &[&str]| -> (Value, String) {
        let start = [
            "plan",
            "ltxv",
            "--checkpoint",
            "benches/peers/headers/2b.json",
            "--only",
            "transformer",
            "--size",
            "768x512x121",
            "--rows",
            "1",
            "--target",
            "tract",
            "--json",
        ];
        let said = ltxc(&[&start, more].concat());
        let text = said.stderr.clone();
        (serde_json::from_str(&said.fine()).unwrap(), text)
    };
    // Once for a video, and at every step.
    let bytes = |plan: &Value, field: &str| -> u64 {
        let rows = plan["stages"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{plan}");
        rows.iter().map(|row| row[field].as_u64().unwrap()).sum()
    };
    let (free, _) = plan(&[]);
    // 1.92 * 10^9 numbers of the released 2B transformer, widened to 32 bits.
    assert!(
        (7_600_000_000..7_800_000_000).contains(&bytes(&free, "weights")),
        "{free}"
    );
    let (small, said) = plan(&["--memory-budget", "1MB"]);
    assert!(
        said.contains("tokens at a time") && said.contains("over the budget"),
        "{said}"
    );
    assert_eq!(bytes(&free, "weights"), bytes(&small, "weights"));
    assert!(
        bytes(&small, "activations") < bytes(&free, "activations"),
        "{small}"
    );
}

/// The first window is the video that it would be alone, with the prompt told for it; later ones go on from there.
#[test]
fn a_long_video_begins_as_a_short_one_and_goes_on() {
    let size = ["--height", "32", "--width", "32", "--steps", "2"];
    let run = |prompt, frames, more: &[&str]| {
        let run = ["run", shapes().to_str().unwrap(), "--prompt", prompt];
        let frames = ["--frames", frames, "--window", "17"];
        latents(&run, &[&size[..], &frames, more].concat())
    };
    const CHANNELS: usize = 16;
    let first = |latents: &[f32], frames: usize| -> Vec<f32> {
        let channels = latents.chunks_exact(latents.len() / CHANNELS);
        channels.flat_map(|c| c[..frames * 4].to_vec()).collect()
    };
    let alone = run("a red circle", "17", &[]);
    let long = run("a red circle", "49", &["--overlap", "8"]);
    let other = run("a red circle | a blue square", "49", &["--overlap", "8"]);
    assert_eq!((alone.len(), long.len()), (5 * 4 * 16, 13 * 4 * 16));
    assert_eq!(first(&long, 5), alone);
    assert_eq!(first(&other, 5), alone);
    assert_ne!(other, long);
    assert!(long.iter().all(|z| z.is_finite()));
    let all = |value: &str| ["--set".to_owned(), format!("defaults.{value}")];
    for change in ["window_strength=0.5", "window_adain_factor=1"] {
        let change = all(change);
        let changed = run(
            "a red circle",
            "49",
            &["--overlap", "8", &change[0], &change[1]],
        );
        assert_ne!(changed, long, "{change:?}");
    }
    for (prompt, overlap, why) in [
        ("a | b | c | d | e | f", "8", "the video has 4 windows"),
        ("a", "17", "share 1 to 4 of them"),
    ] {
        let run = ["run", shapes().to_str().unwrap(), "--prompt", prompt];
        let windows = ["--frames", "49", "--window", "17", "--overlap", overlap];
        let refused = ltxc(&[&run[..], &size, &windows].concat());
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}

const NEAR: &str = r#"
ltxc: 1
recipe: near
doc: A tile attends to its own neighbourhood in its own frame.
components: [transformer]
passes:
  - pass: sdpa-to-sparse-tiles
    with: {nodes: ["transformer_blocks.*.a"], grid: "{latent_grid}", tile: [1, 2, 2], keys: {sliding: [1, 2, 4]}}
    because: "A test asks for it."
"#;

/// What a window hides changes the video; one that hides nothing does not, and that is said; without a size there is none.
#[test]
fn sparse_attention_is_for_one_size_and_says_where_it_does_nothing() {
    let tmp = TempDir::new().unwrap();
    let (recipe, out) = (tmp.path().join("near.yaml"), tmp.path().join("near.bundle"));
    fs::write(&recipe, NEAR).unwrap();
    let (recipe, out) = (recipe.to_str().unwrap(), out.to_str().unwrap());
    let compile = ["compile", "presets/shapes.yaml", "-o", out, "--attention"];
    let size = ["--size", "96x64x9"];

    let refused = ltxc(&[&compile, &[recipe][..]].concat());
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("give --size"), "{}", refused.stderr);

    let run = |bundle| ["run", bundle, "--prompt", "a circle", "--steps", "4"];
    let dense = latents(&run(shapes().to_str().unwrap()), &size);
    ltxc(&[&compile, &[recipe][..], &size[..]].concat()).fine();
    assert_ne!(latents(&run(out), &[]), dense);

    // With as many dense steps as there are it is the dense video; with one it is neither.
    let sparse = latents(&run(out), &[]);
    let text = NEAR.replace("passes:", "dense_steps: 1\npasses:");
    let first = tmp.path().join("first.yaml");
    fs::write(&first, text).unwrap();
    let compile = [&compile[..], &[first.to_str().unwrap()], &size].concat();
    ltxc(&compile).fine();
    let one = latents(&run(out), &[]);
    assert!(one != dense && one != sparse);
    for (steps, expected) in [("0", &sparse), ("9", &dense)] {
        let set = format!("defaults.dense_steps={steps}");
        ltxc(&[&compile[..], &["--set", &set]].concat()).fine();
        let found = latents(&run(out), &[]);
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5, "{steps}");
    }
    let weights = fs::metadata(tmp.path().join("near.bundle/transformer.onnx.data")).unwrap();
    let whole = fs::metadata(shapes().join("transformer.onnx.data")).unwrap();
    assert_eq!(weights.len(), whole.len());

    let all = tmp.path().join("all.bundle");
    let wide = [
        "compile",
        "presets/shapes.yaml",
        "-o",
        all.to_str().unwrap(),
    ];
    let idle = ltxc(&[&wide, &["--attention", "sliding-tiles"][..], &size[..]].concat());
    let why =
        "`sdpa-to-sparse-tiles` changed nothing in `transformer`: every tile attends to all tokens";
    assert!(idle.stderr.contains(why), "{}", idle.stderr);
    idle.fine();
}

/// Of 200 videos all have the colours that were asked for, and 98 % the motion; these few are a part of them.
#[test]
fn the_tiny_model_shows_what_is_asked() {
    let bundle = shapes().to_str().unwrap();
    let few = ["--prompts", "6", "--steps", "12", "--json"];
    let start = ["bench", "adherence", bundle];
    let report: Value = serde_json::from_str(&ltxc(&[&start, &few[..]].concat()).fine()).unwrap();
    let right = |what: &str| report["right"][what]["count"].as_u64().unwrap();
    assert_eq!((right("background"), right("shape_colour")), (6, 6));
    assert!(right("motion") >= 5, "{report}");
}

/// The measure on the real model: it tells its prompts apart, and a bundle from itself by nothing.
#[test]
fn the_tiny_model_is_measured() {
    let bundle = shapes().to_str().unwrap();
    let few = ["--prompts", "3", "--steps", "2", "--frames", "9", "--json"];
    let start = ["bench", "adherence", bundle, "--given", "ends"];
    let report: Value = serde_json::from_str(&ltxc(&[&start, &few[..]].concat()).fine()).unwrap();
    let videos = report["videos"].as_array().unwrap();
    assert_eq!(
        (videos.len(), &report["right"]["motion"]["of"]),
        (3, &3.into())
    );
    for video in videos {
        let given = video["given_psnr"].as_array().unwrap();
        assert_eq!(given.len(), 2, "{video}");
        assert!(given[0].as_f64().unwrap() > 22.0, "{video}");
    }
    let start = ["bench", "quality", bundle, bundle];
    let report: Value = serde_json::from_str(&ltxc(&[&start, &few[..]].concat()).fine()).unwrap();
    assert_eq!(report["psnr"], serde_json::json!([100.0, 100.0, 100.0]));
    let start = [
        "bench",
        "quality",
        bundle,
        bundle,
        "--set",
        "defaults.guidance_scale=1",
    ];
    let report: Value = serde_json::from_str(&ltxc(&[&start, &few[..]].concat()).fine()).unwrap();
    for psnr in report["psnr"].as_array().unwrap() {
        assert!((5.0..60.0).contains(&psnr.as_f64().unwrap()), "{report}");
    }
}
