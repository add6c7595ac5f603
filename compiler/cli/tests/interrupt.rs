//! What a killed, failed or starved command leaves behind: the old file or the new one, never half of one.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::safetensors::project_of_matrices;
use common::{command, killed, limited, ltxc, run, shapes};
use ltxc_runtime::media::read::{ReadOptions, open};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// A compile, long enough to be interrupted.
fn compile<'a>(preset: &'a str, out: &'a Path) -> [&'a str; 4] {
    ["compile", preset, "-o", out.to_str().unwrap()]
}

/// Points in time that are spread over the whole compile and a little beyond.
fn moments(preset: &str, out: &Path) -> Vec<Duration> {
    let start = Instant::now();
    ltxc(&compile(preset, out)).fine();
    let whole = start.elapsed();
    (0..24).map(|i| whole * i / 22).collect()
}

fn verified(bundle: &Path) {
    ltxc(&["inspect", bundle.to_str().unwrap(), "--verify"]).fine();
}

#[test]
fn a_killed_compile_leaves_no_bundle_or_a_whole_one() {
    let tmp = TempDir::new().unwrap();
    let preset = project_of_matrices(tmp.path(), 8);
    let mut interrupted = 0;
    for after in moments(&preset, &tmp.path().join("first.bundle")) {
        let out = tmp.path().join(format!("{}.bundle", after.as_nanos()));
        interrupted += usize::from(killed(&compile(&preset, &out), after));
        if out.exists() {
            verified(&out);
        }
    }
    assert!(
        interrupted > 5,
        "it was killed in time only {interrupted} times"
    );
}

#[test]
fn a_killed_compile_leaves_an_older_bundle_whole() {
    let tmp = TempDir::new().unwrap();
    let preset = project_of_matrices(tmp.path(), 8);
    let out = tmp.path().join("old.bundle");
    for after in moments(&preset, &out) {
        killed(&compile(&preset, &out), after);
        verified(&out);
    }
}

#[test]
fn a_new_bundle_replaces_an_older_one_and_leaves_nothing_beside_it() {
    let tmp = TempDir::new().unwrap();
    let out = tmp.path().join("a.bundle");
    let only = |component: &str| {
        let out = out.to_str().unwrap();
        ltxc(&[
            "compile",
            "presets/shapes.yaml",
            "--only",
            component,
            "-o",
            out,
        ])
        .fine();
    };
    only("latent_statistics");
    only("text_encoder");
    verified(&out);
    assert!(out.join("text_encoder.onnx").exists());
    assert!(!out.join("latent_statistics.onnx").exists());
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_with_files_of_the_users_is_never_replaced() {
    let tmp = TempDir::new().unwrap();
    let out = tmp.path().join("a.bundle");
    let compile = || {
        let out = out.to_str().unwrap();
        ltxc(&[
            "compile",
            "presets/shapes.yaml",
            "--only",
            "latent_statistics",
            "-o",
            out,
        ])
    };
    compile().fine();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let ran = compile();
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("notes.txt"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(out.join("notes.txt")).unwrap(), "mine");

    let web = tmp.path().join("web");
    fs::create_dir(&web).unwrap();
    fs::write(web.join("manifest.json"), r#"{"name": "an app"}"#).unwrap();
    let arguments = [
        "compile",
        "presets/shapes.yaml",
        "-o",
        web.to_str().unwrap(),
    ];
    assert_eq!(ltxc(&arguments).code, Some(1));
    assert!(web.join("manifest.json").exists());
}

/// A full disk, played by a limit on the size of files.
#[test]
fn a_compile_without_room_leaves_nothing() {
    let tmp = TempDir::new().unwrap();
    let out = tmp.path().join("a.bundle");
    let arguments = [
        "compile",
        "presets/shapes.yaml",
        "-o",
        out.to_str().unwrap(),
    ];
    let ran = run(limited("trap '' XFSZ; ulimit -f 2000", &arguments), LIMIT);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("File too large"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
}

#[test]
fn a_run_without_room_leaves_the_older_video() {
    let bundle = shapes().to_str().unwrap();
    for name in ["out.mp4", "out.gif", "frames/%03d.png", "out.png"] {
        let tmp = TempDir::new().unwrap();
        let out = tmp.path().join(name);
        let first = tmp.path().join(name.replace("%03d", "000"));
        fs::create_dir_all(out.parent().unwrap()).unwrap();
        fs::write(&first, "older").unwrap();
        let out = out.to_str().unwrap();
        let arguments = ["run", bundle, "--prompt", "a", "--steps", "1", "-o", out];
        let ran = run(limited("trap '' XFSZ; ulimit -f 1", &arguments), LIMIT);
        assert_eq!(ran.code, Some(1), "{name}: {}", ran.stderr);
        assert_eq!(fs::read_to_string(&first).unwrap(), "older", "{name}");
        let left = fs::read_dir(first.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "{name}: something is left behind");
    }
}

/// A run that is killed while frames come leaves those it had, under a name of their own; the next run leaves the video.
#[test]
fn a_killed_run_leaves_a_part_that_can_be_read() {
    let tmp = TempDir::new().unwrap();
    let (out, part) = (tmp.path().join("out.mp4"), tmp.path().join("out.part.mp4"));
    let bundle = shapes().to_str().unwrap();
    let arguments = |frames| {
        let out = out.to_str().unwrap();
        let prompt = "a red circle moves right on a blue background";
        let sizes = [
            "--frames", frames, "--decode", "1", "--window", "33", "--steps", "1",
        ];
        [&["run", bundle, "--prompt", prompt, "-o", out], &sizes[..]].concat()
    };
    let mut child = command(&arguments("1025"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while fs::metadata(&part).map_or(0, |meta| meta.len()) < 4096 {
        assert!(start.elapsed() < LIMIT && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!out.exists());
    let clip = open(&part, &ReadOptions::frames(9999)).unwrap();
    assert!(!clip.frames.is_empty() && clip.frames.len() < 1025);

    ltxc(&arguments("65")).fine();
    assert!(!part.exists());
    let clip = open(&out, &ReadOptions::frames(9999)).unwrap();
    assert_eq!(clip.frames.len(), 65);
}

/// Ctrl-C ends a run as ever; what is said before is where its frames are and where it can go on.
#[test]
fn an_interrupted_run_says_what_stays() {
    let tmp = TempDir::new().unwrap();
    let [out, part, state] = ["a.mp4", "a.part.mp4", "work"].map(|name| tmp.path().join(name));
    let bundle = shapes().to_str().unwrap();
    let sizes = [
        "--frames", "1025", "--decode", "1", "--window", "33", "--steps", "1",
    ];
    let places = [
        "-o",
        out.to_str().unwrap(),
        "--resume",
        state.to_str().unwrap(),
    ];
    let arguments = [&["run", bundle, "--prompt", "a"], &sizes[..], &places].concat();
    let child = command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (id, start) = (child.id().to_string(), Instant::now());
    while fs::metadata(&part).map_or(0, |meta| meta.len()) < 4096 {
        assert!(start.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(5));
    }
    let told = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(told.success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.signal(), Some(2));
    let words = String::from_utf8(ended.stderr).unwrap();
    assert!(words.contains(part.to_str().unwrap()), "{words}");
    let kept = "finished windows are kept in ";
    assert!(
        words.contains(&format!("{kept}{}", state.display())),
        "{words}"
    );
    assert!(
        !open(&part, &ReadOptions::frames(9999))
            .unwrap()
            .frames
            .is_empty()
    );
}

#[test]
fn a_run_that_fails_says_where_its_frames_are() {
    let bundle = shapes().to_str().unwrap();
    let tmp = TempDir::new().unwrap();
    let (out, part) = (tmp.path().join("out.mp4"), tmp.path().join("out.part.mp4"));
    let named = out.to_str().unwrap();
    let sizes = ["--frames", "257", "--decode", "1", "--steps", "1"];
    let arguments = [&["run", bundle, "--prompt", "a", "-o", named], &sizes[..]].concat();
    let ran = run(limited("trap '' XFSZ; ulimit -f 24", &arguments), LIMIT);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("out.part.mp4"), "{}", ran.stderr);
    assert!(!out.exists());
    assert!(
        !open(&part, &ReadOptions::frames(999))
            .unwrap()
            .frames
            .is_empty()
    );
}
