//! Runs that break off, and runs that go on: killed, without room, with a damaged component, beside or one after another.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Ran, command, copy_of_shapes, killed, limited, ltxc, run, shapes};
use ltxc_runtime::media::read::{self, ReadOptions};
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// A video of four windows.
const LONG: [&str; 14] = [
    "--prompt",
    "a red circle moves right on a blue background",
    "--height",
    "64",
    "--width",
    "64",
    "--frames",
    "113",
    "--window",
    "33",
    "--overlap",
    "8",
    "--steps",
    "6",
];

/// Arguments of a run of the tiny model that decodes two latent frames at a time.
fn arguments<'a>(bundle: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let start = ["run", bundle.to_str().unwrap(), "--decode", "2"];
    let end = ["-o", out.to_str().unwrap()];
    [&start[..], &LONG, more, &end].concat()
}

fn made(tmp: &TempDir, name: &str, more: &[&str]) -> (Vec<u8>, Ran) {
    let out = tmp.path().join(name);
    let ran = ltxc(&arguments(shapes(), &out, more));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    (fs::read(out).unwrap(), ran)
}

#[test]
fn a_killed_run_goes_on_and_makes_the_same_video() {
    let tmp = TempDir::new().unwrap();
    let start = Instant::now();
    let (expected, _) = made(&tmp, "whole.mp4", &[]);
    let whole = start.elapsed();
    let mut went_on = 0;
    for moment in 1..=8 {
        let folder = TempDir::new().unwrap();
        let (out, state) = (folder.path().join("a.mp4"), folder.path().join("work"));
        let arguments = arguments(shapes(), &out, &["--resume", state.to_str().unwrap()]);
        let early = killed(&arguments, whole * moment / 9);
        assert!(
            !early || !out.exists(),
            "a video that is not whole has its name"
        );
        let ran = ltxc(&arguments);
        went_on += usize::from(ran.stderr.contains("going on with"));
        ran.fine();
        assert!(fs::read(&out).unwrap() == expected, "killed at {moment}/9");
        assert!(!state.exists(), "the state outlives its video");
    }
    assert!(
        went_on > 2,
        "only {went_on} runs had something to go on from"
    );
}

/// Killed again and again, a run comes to its end as long as each attempt finishes a window.
#[test]
fn a_run_that_is_killed_often_ends_some_time() {
    let tmp = TempDir::new().unwrap();
    let start = Instant::now();
    let (expected, _) = made(&tmp, "whole.mp4", &[]);
    let whole = start.elapsed();
    let (out, state) = (tmp.path().join("a.mp4"), tmp.path().join("work"));
    let arguments = arguments(shapes(), &out, &["--resume", state.to_str().unwrap()]);
    let mut kills = 0;
    while killed(&arguments, whole * (3 + kills) / 6) {
        kills += 1;
        assert!(kills < 20, "it does not get on");
    }
    assert!(kills > 0);
    if !out.exists() {
        ltxc(&arguments).fine();
    }
    assert!(fs::read(&out).unwrap() == expected, "killed {kills} times");
}

/// The order of the work and the memory it may take change no byte, and are said.
#[test]
fn every_order_of_work_makes_the_same_video() {
    let tmp = TempDir::new().unwrap();
    let (expected, beside) = made(&tmp, "beside.mp4", &[]);
    let words = "decoded 2 latent frames at a time while the rest is denoised";
    assert!(beside.stderr.contains(words), "{}", beside.stderr);
    let little = "after denoising (transformer (";
    for (name, more, words) in [
        (
            "after.mp4",
            vec!["--sequential"],
            "2 latent frames at a time, on",
        ),
        ("little.mp4", vec!["--memory-budget", "20MB"], little),
        (
            "much.mp4",
            vec!["--memory-budget", "2GB"],
            "while the rest is denoised",
        ),
    ] {
        let (found, ran) = made(&tmp, name, &more);
        assert!(ran.stderr.contains(words), "{name}: {}", ran.stderr);
        assert!(found == expected, "{name} differs");
    }
}

#[test]
fn a_preview_is_smaller_and_changes_nothing() {
    let tmp = TempDir::new().unwrap();
    let (expected, _) = made(&tmp, "plain.mp4", &[]);
    let preview = tmp.path().join("early.mp4");
    let (found, ran) = made(&tmp, "shown.mp4", &["--preview", preview.to_str().unwrap()]);
    assert!(found == expected, "the preview changed the video");
    for frames in ["25", "53"] {
        let words = format!("preview of {frames} of 113 frames, 32x32, in ");
        assert!(ran.stderr.contains(&words), "{}", ran.stderr);
    }
    let clip = read::open(&preview, &ReadOptions::frames(113)).unwrap();
    assert_eq!((clip.frames.len(), clip.width, clip.height), (53, 32, 32));
}

/// What a limit on the size of files refuses, a run that goes on has room for.
#[test]
fn a_run_without_room_goes_on_when_there_is_room() {
    let tmp = TempDir::new().unwrap();
    let (expected, _) = made(&tmp, "whole.gif", &[]);
    let (out, state) = (tmp.path().join("a.gif"), tmp.path().join("work"));
    let arguments = arguments(shapes(), &out, &["--resume", state.to_str().unwrap()]);
    let ran = run(limited("trap '' XFSZ; ulimit -f 1", &arguments), LIMIT);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("run.json cannot be written: File too large"),
        "{}",
        ran.stderr
    );
    // Room for the windows, 2 kB each, and not for the video.
    assert!(expected.len() > 30_000, "{}", expected.len());
    let ran = run(limited("trap '' XFSZ; ulimit -f 20", &arguments), LIMIT);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("a.gif") && ran.stderr.contains("File too large"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("kept in"), "{}", ran.stderr);
    assert!(!out.exists() && state.exists());
    let ran = ltxc(&arguments);
    assert!(ran.stderr.contains("going on with"), "{}", ran.stderr);
    ran.fine();
    assert!(fs::read(&out).unwrap() == expected, "it is another video");
}

/// Nobody reads what is printed at the end: the video is there all the same.
#[test]
fn a_reader_that_goes_away_loses_no_video() {
    let tmp = TempDir::new().unwrap();
    let (out, state) = (tmp.path().join("a.mp4"), tmp.path().join("work"));
    let mut child = command(&arguments(
        shapes(),
        &out,
        &["--resume", state.to_str().unwrap()],
    ))
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(out.exists() && !state.exists());
}

/// A bundle of which a model is damaged, though its manifest vouches for it.
fn damaged(tmp: &TempDir, model: &str) -> PathBuf {
    let bundle = tmp.path().join("damaged.bundle");
    copy_of_shapes(&bundle);
    let path = bundle.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let stream = &manifest["components"]["vae_decoder"]["stream"];
    let model = match stream["stages"][0]["models"][model].as_str() {
        Some(step) => step.to_owned(),
        None => manifest["components"][model]["model"]
            .as_str()
            .unwrap()
            .to_owned(),
    };
    fs::write(bundle.join(&model), "no model").unwrap();
    let entry = &mut manifest["files"][&model];
    entry["bytes"] = 8.into();
    entry["sha256"] = ltxc_bundle::hash_file(&bundle.join(&model)).unwrap().into();
    fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    bundle
}

#[test]
fn a_component_that_fails_ends_the_run_and_loses_no_window() {
    for (model, windows) in [("next", 4), ("transformer", 0)] {
        for order in [&[][..], &["--sequential"]] {
            let tmp = TempDir::new().unwrap();
            let bundle = damaged(&tmp, model);
            let (out, state) = (tmp.path().join("a.mp4"), tmp.path().join("work"));
            let more = [&["--resume", state.to_str().unwrap()], order].concat();
            let arguments = arguments(&bundle, &out, &more);
            let ran = ltxc(&arguments);
            assert_eq!(ran.code, Some(1), "{}", ran.stderr);
            assert!(ran.stderr.contains("cannot load"), "{}", ran.stderr);
            assert!(!out.exists());
            // Beside, the decoder fails before all windows are there.
            let kept = fs::read_dir(&state).unwrap().count() - 2;
            match (model, order.is_empty()) {
                ("next", true) => assert!((1..=windows).contains(&kept), "{kept}"),
                _ => assert_eq!(kept, windows),
            }
            if kept > 0 {
                let ran = ltxc(&arguments);
                let on = format!("going on with {kept} of 4 windows");
                assert!(ran.stderr.contains(&on), "{}", ran.stderr);
            }
        }
    }
}

#[test]
fn the_state_of_another_run_is_refused() {
    let tmp = TempDir::new().unwrap();
    let (out, state) = (tmp.path().join("a.mp4"), tmp.path().join("work"));
    let resume = ["--resume", state.to_str().unwrap()];
    let broken = damaged(&tmp, "next");
    assert_eq!(ltxc(&arguments(&broken, &out, &resume)).code, Some(1));
    let seed = [&resume[..], &["--seed", "5"]].concat();
    let ran = ltxc(&arguments(&broken, &out, &seed));
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("seed of video 1 was 0, now 5"),
        "{}",
        ran.stderr
    );
    let ran = ltxc(&arguments(shapes(), &out, &resume));
    assert!(ran.stderr.contains("bundle was shapes ("), "{}", ran.stderr);
    let ran = ltxc(&arguments(
        shapes(),
        &out,
        &["--resume", tmp.path().to_str().unwrap()],
    ));
    assert!(
        ran.stderr.contains("is not the state of a run"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_makes_no_sense_is_misuse() {
    let tmp = TempDir::new().unwrap();
    let out = tmp.path().join("a.mp4");
    let ran = ltxc(&arguments(shapes(), &out, &["--preview", "a.png"]));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let ran = ltxc(&["compile", "presets/shapes.yaml", "--memory-budget", "1GB"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("add --size, or give --memory-budget to the run"),
        "{}",
        ran.stderr
    );
}
