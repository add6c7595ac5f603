//! `ltxc bench seams`

mod plot;

use std::fs;

use ltxc_runtime::quality::{Clip, Look, Seams};
use serde_json::json;

use super::row;
use super::sample::sample;
use crate::args::SeamsArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};

pub fn command(args: &SeamsArgs) -> Outcome {
    let mut seen: Vec<(u64, Seams)> = Vec::new();
    sample(&args.source, &args.project, &args.sample, &mut |sampled| {
        let clip = Clip::of(&sampled.video);
        let seams = Seams::of(&clip, &sampled.windows, sampled.frames_of_latent);
        seen.push((sampled.seed, seams));
        Ok(())
    })?;
    let all: Vec<&Seams> = seen.iter().map(|(_, seams)| seams).collect();
    if all.iter().all(|one| one.seams.is_empty()) {
        let why =
            "the videos have one window each; ask for more --frames, or for a smaller --window";
        return Err(Failure::Misuse(why.to_owned()));
    }
    if let Some(path) = &args.plot {
        let written = fs::write(path, plot::svg(&all));
        written.map_err(|e| Failure::Input(anyhow::anyhow!("{}: {e}", path.display())))?;
        note!("the plot is in {}", path.display());
    }
    match args.sample.json {
        true => {
            let video = |(seed, seams): &(u64, Seams)| json!({"seed": seed, "seams": seams});
            let videos: Vec<_> = seen.iter().map(video).collect();
            let windows = windows(&all);
            let [at_seams, at_latents, inside] = steps(&all);
            say!(
                "{:#}",
                json!({
                    "at_seams": at_seams,
                    "at_latents": at_latents,
                    "inside": inside,
                    "windows": windows,
                    "videos": videos,
                })
            );
        }
        false => table(&all)?,
    }
    Ok(())
}

/// The mean step at seams, where other latent frames begin, and inside windows.
fn steps(all: &[&Seams]) -> [f32; 3] {
    let of = |value: fn(&Seams) -> f32| mean(all.iter().map(|one| value(one)));
    [of(|s| s.at_seams), of(|s| s.at_latents), of(|s| s.inside)]
}

/// The mean over videos of what each window adds.
fn windows(all: &[&Seams]) -> Vec<Look> {
    let count = all.iter().map(|one| one.windows.len()).min().unwrap_or(0);
    let axes = |of: &dyn Fn(&Look) -> [f32; 3], window: usize| {
        [0, 1, 2].map(|axis| mean(all.iter().map(|one| of(&one.windows[window])[axis])))
    };
    (0..count)
        .map(|window| Look {
            mean: axes(&|look| look.mean, window),
            deviation: axes(&|look| look.deviation, window),
            drift: mean(all.iter().map(|one| one.windows[window].drift)),
            ..all[0].windows[window]
        })
        .collect()
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / f32::max(count, 1.0)
}

fn table(all: &[&Seams]) -> Outcome {
    let [at_seams, at_latents, inside] = steps(all);
    say!(
        "{}",
        row("step to the frame before", &["of 0 to 255", "over inside"])
    );
    for (name, step) in [
        ("at seams", at_seams),
        ("at other latents", at_latents),
        ("inside", inside),
    ] {
        let cells = [
            format!("{step:.2}"),
            format!("{:.2}", step / inside.max(1e-6)),
        ];
        say!("{}", row(name, &cells));
    }
    say!(
        "\n{}",
        row("frames", &["mean L, a, b", "deviation", "drift"])
    );
    for look in windows(all) {
        let three = |values: [f32; 3]| values.map(|v| format!("{v:.1}")).join(" ");
        let frames = format!("{} to {}", look.from, look.to - 1);
        let cells = [
            three(look.mean),
            three(look.deviation),
            format!("{:.2}", look.drift),
        ];
        say!("{}", row(&frames, &cells));
    }
    Ok(())
}
