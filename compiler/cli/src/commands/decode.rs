//! `ltxc decode`

use std::path::Path;

use ltxc_bundle::{Manifest, Settings};
use ltxc_runtime::run::{Compression, Job, VideoSize};
use ltxc_runtime::tensor::{Tensor, file};
use serde_json::json;

use super::run::left::Left;
use super::run::output::{self, Files};
use super::run::takes::Planned;
use super::run::view::View;
use crate::args::DecodeArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};
use crate::session::{self, runner};

fn input(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Input(anyhow::Error::new(error))
}

pub fn command(args: &DecodeArgs) -> Outcome {
    let bundle = session::open(&args.source, &args.project)?;
    let latents = latents(&args.latents)?;
    let job = job(args, &bundle.manifest, &latents)?;
    let planned = [Planned {
        prompt: String::new(),
        seed: job.seed(),
        output: args.output.clone(),
        latents: None,
    }];
    output::check(&planned, &job)?;
    let runner = runner(bundle, args.runtime, false)?
        .with_pieces(args.decode)
        .with_memory(args.project.memory_budget.map(|budget| budget.0));
    let video = job.geometry().asked;
    let pieces = super::run::pieces(&runner, &job)?;
    note!(
        "{} frames of {}x{}{pieces}",
        video.frames,
        video.width,
        video.height
    );
    let (mut view, mut noise) = (View::new(), job.noise());
    let mut files = Files::new(&planned, &job, Left::watched(None));
    let last = &runner.manifest().plan.video;
    let mut costs = runner.costs(&job, 1).map_err(input)?;
    costs.retain(|cost| cost.stage == *last);
    view.begin(costs);
    let made = runner.decode_latents(
        &job,
        latents,
        &mut noise,
        &mut |event| view.show(&event),
        &mut files,
    );
    view.finish();
    let stages = made.map_err(|e| files.failed(e))?;
    match args.json {
        true => say!("{}", json!({"stages": stages})),
        false => say!("{}", args.output.display()),
    }
    Ok(())
}

/// The only tensor `latents` of a file, (1, C, F, H, W).
fn latents(path: &Path) -> Outcome<Tensor> {
    let refused = |why: &str| Failure::Input(anyhow::anyhow!("{}: {why}", path.display()));
    let mut tensors = file::read(path).map_err(input)?;
    let latents = tensors.remove("latents");
    let latents = latents.ok_or_else(|| refused("there is no tensor `latents` in it"))?;
    match latents.shape() {
        [1, _, _, _, _] => Ok(latents),
        _ => Err(refused(
            "`latents` must have the shape 1, channels, frames, rows, columns",
        )),
    }
}

/// A run of which only the last stage is left.
fn job(args: &DecodeArgs, manifest: &Manifest, latents: &Tensor) -> Outcome<Job> {
    let size = VideoSize {
        frames: latents.shape()[2],
        height: latents.shape()[3],
        width: latents.shape()[4],
    };
    let video = Compression::new(&manifest.model)
        .map_err(input)?
        .video_of(size);
    let settings = Settings {
        prompt: Some(String::new()),
        frames: Some(video.frames),
        height: Some(video.height),
        width: Some(video.width),
        fps: args.fps,
        seed: args.seed,
        ..Settings::default()
    };
    let said = session::defaults(&args.source, &args.project)?;
    Job::new(manifest, settings.or(&said)).map_err(input)
}
