//! `ltxc run`

mod beside;
pub(super) mod left;
mod media;
pub(super) mod output;
pub(super) mod takes;
mod timeline;
pub(super) mod view;

use std::time::Instant;

use ltxc_bundle::{Scheduled, Settings};
use ltxc_runtime::run::{Aside, Job, Runner, Sink, StageTime, Take};
use ltxc_runtime::sampling::NoiseSource;
use serde_json::{Value, json};

use self::left::Left;
use self::takes::Planned;
use self::view::View;
use crate::args::RunArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};
use crate::progress::events::Events;
use crate::session::{self, runner};

pub fn command(args: &RunArgs) -> Outcome {
    let events = args.events.as_deref().map(Events::create).transpose()?;
    let mut view = View::new().with_events(events.unwrap_or_else(Events::none));
    let made = make(args, &mut view);
    let elapsed = view.elapsed();
    view.events().finished(elapsed, &made);
    let made = made?;
    if args.json {
        say!("{made}");
        return Ok(());
    }
    for video in made["videos"].as_array().into_iter().flatten() {
        say!("{}", video["output"].as_str().unwrap_or_default());
    }
    Ok(())
}

/// Makes the videos and reports about them.
fn make(args: &RunArgs, view: &mut View) -> Outcome<Value> {
    let start = Instant::now();
    let prompts = args.prompts.as_deref().map(takes::prompts).transpose()?;
    let timeline = args.timeline.as_deref().map(timeline::read).transpose()?;
    let bundle = session::open(&args.source, &beside::compiled_with(&args.project))?;
    let mut settings = settings(args)?;
    settings.prompt = settings.prompt.or(prompts.as_ref().map(|p| p[0].clone()));
    settings.prompt = timeline.as_ref().map(timeline::prompt).or(settings.prompt);
    let mut job = media::job(args, &bundle.manifest, settings)?;
    if let Some(timeline) = &timeline {
        job = timeline::follow(job, timeline)?;
    }
    let prompts = prompts.unwrap_or_else(|| vec![job.prompt().to_owned()]);
    let planned = takes::takes(args, &job, &prompts)?;
    output::check(&planned, &job)?;
    let runner = runner(bundle, args.runtime, false)?
        .with_together(args.together)
        .with_pieces(args.decode)
        .with_sequential(args.sequential)
        .with_memory(args.project.memory_budget.map(|budget| budget.0));
    note!("{}", describe(&runner, &job, planned.len())?);
    let state = beside::state(args, &runner, &job, &planned)?;
    let mut preview = beside::preview(args, &runner, &job)?;
    view.begin(runner.costs(&job, planned.len()).map_err(input)?);
    view.events().started(&sizes(&planned, &job));
    let mut noises: Vec<_> = planned.iter().map(|take| job.noise_of(take.seed)).collect();
    let takes = planned.iter().zip(&mut noises).map(|(take, noise)| Take {
        prompt: take.prompt.clone(),
        noise: noise as &mut dyn NoiseSource,
        shift: take.seed.wrapping_sub(job.seed()),
    });
    let left = Left::watched(state.as_ref());
    let mut files = output::Files::new(&planned, &job, left.clone());
    let aside = Aside {
        state: state.as_ref(),
        preview: preview.as_mut().map(|preview| preview as &mut dyn Sink),
    };
    let made = runner.generate_into(
        &job,
        takes.collect(),
        &mut |event| view.show(&event),
        &mut files,
        aside,
    );
    view.finish();
    if let (Err(_), Some(kept)) = (&made, left.windows()) {
        note!("{kept}");
    }
    let stages = made.map_err(|e| files.failed(e))?;
    if let Some(state) = state {
        state.remove().map_err(input)?;
    }
    for stage in stages.iter().filter(|stage| stage.reused > 0) {
        let (reused, steps) = (stage.reused, stage.steps);
        note!(
            "{}: {reused} of {steps} steps used work of an earlier one again (step_cache)",
            stage.stage
        );
    }
    let first = files.first.map_or(start.elapsed(), |first| first - start);
    let seconds = [first, start.elapsed()].map(|time| time.as_secs_f64());
    Ok(report(&planned, &job, &stages, seconds))
}

fn input(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Input(anyhow::Error::new(error))
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
    let decoding = beside::decoding(runner, job, videos)?;
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

/// What a run makes.
fn sizes(planned: &[Planned], job: &Job) -> Value {
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
    })
}

/// What was made; the seconds are those until the first frames were decoded, and all.
fn report(planned: &[Planned], job: &Job, stages: &[StageTime], [first, all]: [f64; 2]) -> Value {
    let mut report = sizes(planned, job);
    report["stages"] = json!(stages);
    report["first_frame_seconds"] = json!(first);
    report["seconds"] = json!(all);
    report
}
