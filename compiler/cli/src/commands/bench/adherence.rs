//! `ltxc bench adherence`

use std::path::Path;

use ltxc_runtime::media::{self, VideoSpec};
use ltxc_runtime::quality::{Clip, Drift, Observed, Scene, Share, observe, psnr};
use ltxc_runtime::run::Generated;
use serde_json::{Value, json};

use super::sample::{self, Sampled};
use super::{percent, row};
use crate::args::{AdherenceArgs, Given};
use crate::failure::{Failure, Outcome};
use crate::output::say;

/// Frames over which drift is averaged.
const WINDOW: usize = 8;
/// Most failures that are listed; `--json` has all.
const LISTED: usize = 20;

pub fn command(args: &AdherenceArgs) -> Outcome {
    let mut judged = Vec::new();
    sample::sample(&args.source, &args.project, &args.sample, &mut |sampled| {
        if let Some(folder) = &args.save {
            save(folder, judged.len(), &sampled.video)?;
        }
        judged.push(Judged::of(&sampled, args.sample.given));
        Ok(())
    })?;
    match args.sample.json {
        true => say!("{:#}", report(&judged)),
        false => table(&judged)?,
    }
    Ok(())
}

fn save(folder: &Path, index: usize, video: &Generated) -> Outcome {
    let spec = VideoSpec {
        width: video.width as u32,
        height: video.height as u32,
        fps: video.fps,
    };
    let written = || {
        let mut writer = media::create(&folder.join(format!("{index}.mp4")), spec)?;
        for frame in 0..video.frames {
            writer.write(&video.rgb8(frame))?;
        }
        writer.finish()
    };
    written().map_err(|e| Failure::Input(e.into()))
}

/// What a video was to show, and what it shows.
pub struct Judged {
    pub seed: u64,
    scene: Scene,
    seen: Observed,
    drift: Drift,
    /// PSNR of the frames that were given, in dB.
    given: Vec<f64>,
}

impl Judged {
    /// Looks at a video.
    pub fn of(sampled: &Sampled, given: Given) -> Self {
        let clip = Clip::of(&sampled.video);
        let drawn = sampled
            .scene
            .draw(clip.frames.len(), clip.height, clip.width);
        let frames = sample::frames(given, clip.frames.len());
        let near = |frame: usize| psnr(&clip.still(frame), &drawn.still(frame));
        Self {
            seed: sampled.seed,
            scene: sampled.scene.clone(),
            seen: observe(&clip),
            drift: Drift::of(&clip, WINDOW),
            given: frames.into_iter().filter_map(near).collect(),
        }
    }

    /// What is right, by the name of the quality.
    pub fn right(&self) -> [(&'static str, bool); 5] {
        let (asked, seen) = (&self.scene, &self.seen);
        let each = [
            seen.background == asked.background,
            seen.colour == Some(asked.colour),
            seen.shape == Some(asked.shape),
            seen.motion == Some(asked.motion),
        ];
        let names = ["background", "shape colour", "shape", "motion"];
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| (names[i], each[i]));
        [a, b, c, d, ("all of it", each.iter().all(|right| *right))]
    }

    /// What is shown, in the words of a prompt.
    fn shown(&self) -> String {
        let colour = self.seen.colour.map_or("no", |colour| colour.name());
        let shape = self.seen.shape.map_or("shape", |shape| shape.name());
        let motion = self
            .seen
            .motion
            .map_or("goes askew", |motion| motion.name());
        let background = self.seen.background.name();
        format!("a {colour} {shape} {motion} on a {background} background")
    }
}

/// The share of videos in which each quality is right.
pub fn shares(judged: &[Judged]) -> Vec<(&'static str, Share)> {
    let right: Vec<_> = judged.iter().map(Judged::right).collect();
    let names = right.first().map(|right| right.map(|(name, _)| name));
    let share = |at: usize| Share::of(right.iter().map(|right| right[at].1));
    let named = names.into_iter().flatten().enumerate();
    named.map(|(at, name)| (name, share(at))).collect()
}

fn table(judged: &[Judged]) -> Outcome {
    say!("{}", row("", &["right", "95 % interval"]));
    for (name, share) in shares(judged) {
        let interval = format!("{} to {}", percent(share.low), percent(share.high));
        say!("{}", row(name, &[percent(share.share), interval]));
    }
    for (name, values) in numbers(judged) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let (low, high) = values
            .iter()
            .fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        say!("{name}: mean {mean:.2}, {low:.2} to {high:.2}");
    }
    let wrong: Vec<_> = judged.iter().filter(|one| !one.right()[4].1).collect();
    for one in wrong.iter().take(LISTED) {
        say!(
            "seed {}: {}; shown: {}",
            one.seed,
            one.scene.prompt(),
            one.shown()
        );
    }
    if wrong.len() > LISTED {
        say!("and {} more; --json lists all", wrong.len() - LISTED);
    }
    Ok(())
}

/// Measures that are no yes or no, with their values.
fn numbers(judged: &[Judged]) -> Vec<(&'static str, Vec<f64>)> {
    let drift =
        |of: fn(&Drift) -> f32| judged.iter().map(|one| f64::from(of(&one.drift))).collect();
    let given = |at: usize| {
        judged
            .iter()
            .filter_map(|one| one.given.get(at).copied())
            .collect()
    };
    let all: [(_, Vec<f64>); 5] = [
        ("PSNR of the given first frame, dB", given(0)),
        ("PSNR of the given last frame, dB", given(1)),
        ("drift of the background, in RGB", drift(|d| d.background)),
        ("drift of the shape's colour, in RGB", drift(|d| d.colour)),
        ("largest jump of the shape, of the side", drift(|d| d.jump)),
    ];
    all.into_iter()
        .filter(|(_, values)| !values.is_empty())
        .collect()
}

/// Everything, as JSON.
pub fn report(judged: &[Judged]) -> Value {
    let shares: serde_json::Map<_, _> = shares(judged)
        .into_iter()
        .map(|(name, share)| (name.replace(' ', "_"), json!(share)))
        .collect();
    let video = |one: &Judged| {
        json!({
            "seed": one.seed,
            "prompt": one.scene.prompt(),
            "shown": one.shown(),
            "right": one.right()[4].1,
            "drift": one.drift,
            "given_psnr": one.given,
        })
    };
    json!({"right": shares, "videos": judged.iter().map(video).collect::<Vec<_>>()})
}
