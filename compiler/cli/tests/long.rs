//! Long videos as users see them: what is told while they are made, prompts along time, anchors, seams.
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::{ltxc, saved_latents, shapes};
use serde_json::Value;
use tempfile::TempDir;

/// A video of 13 latent frames of 2 x 2 in 4 windows, which begin to show something new at frames 0, 17, 29 and 41.
const WINDOWS: [&str; 10] = [
    "--frames",
    "49",
    "--window",
    "17",
    "--overlap",
    "8",
    "--height",
    "32",
    "--width",
    "32",
];
const CHANNELS: usize = 16;

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let run = ["run", shapes().to_str().unwrap(), "--steps", "2"];
    [&run[..], &WINDOWS, more].concat()
}

/// The latents of a run, by latent frame.
fn latents(more: &[&str]) -> Vec<Vec<f32>> {
    let numbers = saved_latents(&arguments(more));
    let of_channel = numbers.len() / CHANNELS;
    let of_frame = |frame: usize| {
        let channels = numbers.chunks_exact(of_channel);
        channels
            .flat_map(|c| c[frame * 4..][..4].to_vec())
            .collect()
    };
    (0..of_channel / 4).map(of_frame).collect()
}

fn parsed(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect()
}

#[test]
fn every_line_of_the_events_tells_what_happens_and_what_is_left() {
    let tmp = TempDir::new().unwrap();
    let (events, out) = (tmp.path().join("events"), tmp.path().join("a.mp4"));
    let told = [
        "--events",
        events.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
        "--json",
    ];
    let report = ltxc(&arguments(
        &[&["--prompt", "a", "--decode", "4"], &told[..]].concat(),
    ))
    .fine();
    let events = parsed(&fs::read_to_string(events).unwrap());
    let names = names(&events);
    assert_eq!(
        (names[0], names[names.len() - 1]),
        ("run_started", "run_finished")
    );
    for (name, least) in [
        ("stage_started", 4),
        ("component_loaded", 2),
        ("step", 8),
        ("frames_decoded", 3),
        ("stage_finished", 4),
    ] {
        let count = names.iter().filter(|found| **found == name).count();
        assert!(count >= least, "{name}: {count}");
    }
    for event in &events[1..events.len() - 1] {
        let number = |key: &str| event[key].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&number("progress")), "{event}");
        assert!(number("elapsed") >= 0.0, "{event}");
        assert!(event["stage"].is_string(), "{event}");
    }
    let steps: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "step")
        .collect();
    let of = |key: &str| {
        steps
            .iter()
            .map(|s| s[key].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("step"), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(of("window"), [1, 1, 2, 2, 3, 3, 4, 4]);
    assert_eq!((of("windows")[0], of("steps")[0]), (4, 8));
    let first = names.iter().position(|name| *name == "step").unwrap();
    let left = |event: &Value| event["left"].as_f64();
    assert!(
        events[first..events.len() - 1]
            .iter()
            .all(|event| left(event).unwrap() >= 0.0)
    );
    assert_eq!(events[events.len() - 2]["progress"], 1.0);
    assert_eq!(events[events.len() - 2]["left"], 0.0);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(events[events.len() - 1]["result"], report);
    assert_eq!(report["frames"], 49);
}

#[test]
fn events_may_go_to_standard_output_and_tell_of_failures() {
    let tmp = TempDir::new().unwrap();
    let out = tmp.path().join("a.mp4");
    let told = ["--events", "-", "-o", out.to_str().unwrap(), "--json"];
    let said = ltxc(&arguments(&[&["--prompt", "a"], &told[..]].concat())).fine();
    let lines = parsed(&said);
    let (report, events) = lines.split_last().unwrap();
    assert!(report["stages"].is_array() && names(events).contains(&"step"));

    let wrong = ["--prompt", "a|b|c|d|e|f"];
    let ran = ltxc(&arguments(&[&wrong, &told[..]].concat()));
    assert_eq!(ran.code, Some(1));
    let lines = parsed(&ran.stdout);
    let error = lines.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains("4 windows"), "{error}");
    assert_eq!(names(&lines).last(), Some(&"run_failed"));
}

fn write(folder: &Path, text: &str) -> String {
    let path = folder.join("story.yaml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_timeline_tells_windows_by_the_frame() {
    let tmp = TempDir::new().unwrap();
    let story = write(
        tmp.path(),
        "- {from: 0, prompt: a red circle}\n- {from: 24, prompt: a blue square}\n",
    );
    let told = latents(&["--timeline", &story]);
    let halves = latents(&["--prompt", "a red circle | a blue square"]);
    assert_eq!(told, halves);
    let story = write(
        tmp.path(),
        "- {from: 0s, prompt: a red circle}\n- {from: 17, prompt: a blue square}\n",
    );
    let earlier = latents(&["--timeline", &story]);
    assert_eq!(earlier[..5], halves[..5]);
    assert_ne!(earlier[5..8], halves[5..8]);
}

/// What lies before a prompt does not change with its seed; the rest does.
#[test]
fn a_seed_of_a_timeline_is_for_what_follows() {
    let tmp = TempDir::new().unwrap();
    let made = |seed: &str| {
        let text = format!("- {{from: 0, prompt: a}}\n- {{from: 29, prompt: a{seed}}}\n");
        latents(&["--timeline", &write(tmp.path(), &text)])
    };
    let (usual, one, two) = (made(""), made(", seed: 1"), made(", seed: 2"));
    assert_eq!((&one[..8], &two[..8]), (&usual[..8], &usual[..8]));
    for (a, b) in [(&one, &usual), (&two, &usual), (&one, &two)] {
        assert!((8..13).all(|frame| a[frame] != b[frame]));
    }
    assert_eq!(one, made(", seed: 1"));
}

/// The second video of a batch has the next seed everywhere: it is the one that both seeds plus one make alone.
#[test]
fn seeds_of_a_timeline_move_with_those_of_a_batch() {
    let tmp = TempDir::new().unwrap();
    let story = |seed: u64| {
        let text = format!("- {{from: 0, prompt: a}}\n- {{from: 29, prompt: b, seed: {seed}}}\n");
        write(tmp.path(), &text)
    };
    let (out, saved) = (tmp.path().join("a.png"), tmp.path().join("a.safetensors"));
    let [out, saved] = [&out, &saved].map(|path| path.to_str().unwrap());
    let batch = ["--timeline", &story(7), "--seed", "3", "--batch", "2"];
    ltxc(&arguments(
        &[&batch[..], &["-o", out, "--save-latents", saved]].concat(),
    ))
    .fine();
    for (number, seed, of_story) in [("1", "3", 7), ("2", "4", 8)] {
        let alone = tmp.path().join(format!("alone-{number}.safetensors"));
        let alone = alone.to_str().unwrap();
        let single = ["--timeline", &story(of_story), "--seed", seed];
        ltxc(&arguments(
            &[&single[..], &["-o", out, "--save-latents", alone]].concat(),
        ))
        .fine();
        let of_batch = fs::read(tmp.path().join(format!("a-{number}.safetensors"))).unwrap();
        assert_eq!(of_batch, fs::read(alone).unwrap(), "video {number}");
    }
}

#[test]
fn mistakes_in_a_timeline_have_a_place() {
    let tmp = TempDir::new().unwrap();
    for (text, place, why) in [
        (
            "- {from: 0, prompt: a}\n- {from: 18, prompt: b}\n- {from: 20, prompt: c}\n",
            "story.yaml:2:10",
            "frames 0, 17, 29, 41",
        ),
        (
            "- {from: 3, prompt: a}\n",
            "story.yaml:1:10",
            "before frame 3",
        ),
        (
            "- {from: 0, prompt: a}\n- {from: 0s, prompt: b}\n",
            "story.yaml:2:10",
            "is not after frame 0",
        ),
        (
            "- {from: 0, prompt: a}\n- {from: 99, prompt: b}\n",
            "story.yaml:2:10",
            "beyond the video",
        ),
        (
            "- {from: 0, promt: a}\n",
            "story.yaml:1:13",
            "no key `promt`",
        ),
        ("- {from: 0, prompt: a", "story.yaml:1", "story.yaml"),
    ] {
        let story = write(tmp.path(), text);
        let ran = ltxc(&arguments(&["--timeline", &story]));
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(
            ran.stderr.contains(place) && ran.stderr.contains(why),
            "{}",
            ran.stderr
        );
    }
}

/// Anchors change later windows and leave the first; there cannot be more than it has.
#[test]
fn anchors_tell_later_windows_of_the_first() {
    let anchored = |count: &str| {
        let set = format!("defaults.window_anchors={count}");
        latents(&["--prompt", "a red circle", "--set", &set])
    };
    let (without, one, two) = (anchored("0"), anchored("1"), anchored("2"));
    assert_eq!((&one[..5], &two[..5]), (&without[..5], &without[..5]));
    assert!((5..13).all(|frame| one[frame] != without[frame] && one[frame] != two[frame]));
    assert!(one.iter().flatten().all(|z| z.is_finite()));
    let many = ["--prompt", "a", "--set", "defaults.window_anchors=6"];
    let ran = ltxc(&arguments(&many));
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("`window_anchors` is 6"),
        "{}",
        ran.stderr
    );
}

#[test]
fn seams_are_measured_and_drawn() {
    let tmp = TempDir::new().unwrap();
    let plot = tmp.path().join("seams.svg");
    let bundle = shapes().to_str().unwrap();
    let bench = ["bench", "seams", bundle, "--prompts", "2", "--steps", "2"];
    let drawn = ["--plot", plot.to_str().unwrap()];
    let found = ltxc(&[&bench[..], &WINDOWS, &drawn, &["--json"]].concat()).fine();
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        found["videos"][0]["seams"]["seams"],
        serde_json::json!([17, 29, 41])
    );
    assert_eq!(
        found["videos"][1]["seams"]["steps"]
            .as_array()
            .unwrap()
            .len(),
        49
    );
    assert_eq!(found["windows"].as_array().unwrap().len(), 4);
    assert!(found["at_seams"].as_f64().unwrap() > 0.0);
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.matches("<polyline").count() == 2);
    let table = ltxc(&[&bench[..], &WINDOWS].concat()).fine();
    assert!(
        table.contains("at seams") && table.contains("41 to 48"),
        "{table}"
    );
    let short = ltxc(&[&bench[..], &["--frames", "17"]].concat());
    assert_eq!(short.code, Some(2));
}
