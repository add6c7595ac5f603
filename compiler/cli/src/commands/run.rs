//! `ltxc run`

mod media;
pub(super) mod output;
pub(super) mod takes;
pub(super) mod view;

use std::time::Instant;

use ltxc_bundle::{Scheduled, Settings};
use ltxc_runtime::run::{Job, Runner, StageTime, Take};
use ltxc_runtime::sampling::NoiseSource;
use serde_json::json;

use self::takes::Planned;
use self::view::View;
use crate::args::RunArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};
use crate::session::{self, runner};

pub fn command(args: &RunArgs) -> Outcome {
    let start = Instant::now();
    let prompts = args.prompts.as_deref().map(takes::prompts).transpose()?;
    let bundle = session::open(&args.source, &args.project)?;
    let mut settings = settings(args)?;
    settings.prompt = settings.prompt.or(prompts.as_ref().map(|p| p[0].clone()));
    let job = media::job(args, &bundle.manifest, settings)?;
    let prompts = prompts.unwrap_or_else(|| vec![job.prompt().to_owned()]);
    let planned = takes::takes(args, &job, &prompts)?;
    output::check(&planned, &job)?;
    let runner = runner(bundle, args.threads, false)?
        .with_together(args.together)
        .with_pieces(args.decode)
        .with_budget(args.project.memory_budget.map(|budget| budget.0));
    note!("{}", describe(&runner, &job, planned.len())?);
    let mut noises: Vec<_> = planned.iter().map(|take| job.noise_of(take.seed)).collect();
    let takes = planned.iter().zip(&mut noises).map(|(take, noise)| Take {
        prompt: take.prompt.clone(),
        noise: noise as &mut dyn NoiseSource,
    });
    let mut view = View::new();
    let stages = runner
        .generate_into(
            &job,
            takes.collect(),
            &mut |event| view.show(&event),
            &mut output::Files::new(&planned, &job),
        )
        .map_err(|e| Failure::Input(e.into()))?;
    view.finish();
    for stage in stages.iter().filter(|stage| stage.reused > 0) {
        let (reused, steps) = (stage.reused, stage.steps);
        note!(
            "{}: {reused} of {steps} steps used work of an earlier one again (step_cache)",
            stage.stage
        );
    }
    match args.json {
        true => say!(
            "{}",
            report(&planned, &job, &stages, start.elapsed().as_secs_f64())
        ),
        false => {
            for take in &planned {
                say!("{}", take.output.display());
            }
        }
    }
    Ok(())
}

/// What the flags say, then what `--set defaults.NAME` says to a bundle.
fn settings(args: &RunArgs) -> Outcome<Settings> {
    let size = args.project.size;
    let constant = |value: Option<f32>| value.map(Scheduled::Constant);
    let flags = Settings {
        prompt: args.prompt.clone(),
        negative_prompt: args.negative_prompt.clone(),
        seed: args.seed,
        height: args.height.or(size.map(|size| size.height)),
        width: args.width.or(size.map(|size| size.width)),
        frames: args.frames.or(size.map(|size| size.frames)),
        window: args.window,
        window_overlap: args.overlap,
        fps: args.fps,
        steps: args.steps,
        guidance_scale: constant(args.guidance_scale),
        stg_scale: constant(args.stg_scale),
        skip_initial_inference_steps: args.skip_initial_steps,
        noise: args.noise.clone(),
        ..Settings::default()
    };
    Ok(flags.or(&session::defaults(&args.source, &args.project)?))
}

/// Every choice of the run in a line.
fn describe(runner: &Runner, job: &Job, videos: usize) -> Outcome<String> {
    let (video, target) = (job.geometry().asked, &runner.manifest().target);
    let pass = |pass: &ltxc_runtime::run::PassJob| {
        let size = job.geometry().compression.video_of(pass.latents());
        let mut said = format!("{} steps", pass.timesteps().len());
        if job.passes().len() > 1 {
            said += &format!(" at {}x{}", size.width, size.height);
        }
        if pass.windows() > 1 {
            let window = job.geometry().compression.video_of(pass.window());
            said += &format!(
                " in each of {} windows of {} frames",
                pass.windows(),
                window.frames
            );
        }
        said
    };
    let passes: Vec<String> = job.passes().iter().map(pass).collect();
    let count = if videos == 1 {
        String::new()
    } else {
        format!("{videos} videos: ")
    };
    let decoding = pieces(runner, job)?;
    Ok(format!(
        "{count}{} frames of {}x{} at {} fps, {}, seed {}{decoding}, on {} ({})",
        video.frames,
        video.width,
        video.height,
        job.fps(),
        passes.join(", then "),
        job.seed(),
        target.runtime,
        target.provider
    ))
}

/// How a video is decoded, where not at once.
pub(super) fn pieces(runner: &Runner, job: &Job) -> Outcome<String> {
    let pieces = runner.decodes_by(job);
    let pieces = pieces.map_err(|e| Failure::Input(e.into()))?;
    Ok(pieces.map_or_else(String::new, |cuts| format!(", decoded {cuts}")))
}

fn report(planned: &[Planned], job: &Job, stages: &[StageTime], seconds: f64) -> serde_json::Value {
    let video = |take: &Planned| {
        json!({
            "output": take.output.display().to_string(),
            "prompt": take.prompt,
            "seed": take.seed,
        })
    };
    let asked = job.geometry().asked;
    json!({
        "videos": planned.iter().map(video).collect::<Vec<_>>(),
        "frames": asked.frames,
        "height": asked.height,
        "width": asked.width,
        "fps": job.fps(),
        "seed": job.seed(),
        "timesteps": job.timesteps(),
        "stages": stages,
        "seconds": seconds,
    })
}
