//! `ltxc run`

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use indicatif::ProgressBar;
use ltxc_bundle::{Bundle, MANIFEST, Settings};
use ltxc_runtime::media::{self, VideoSpec};
use ltxc_runtime::run::{Event, Generated, Job};
use ltxc_runtime::tensor::file;
use serde_json::json;

use crate::args::RunArgs;
use crate::cache;
use crate::compile::Project;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};
use crate::progress::{WriteBar, bar};
use crate::session::runner;
use crate::write::write_bundle;

pub fn command(args: &RunArgs) -> Outcome {
    let start = Instant::now();
    let bundle = open(args)?;
    let job = Job::new(&bundle.manifest, settings(args)).map_err(|e| Failure::Input(e.into()))?;
    check_outputs(args, &job)?;
    note!("{}", describe(&bundle, &job));
    let runner = runner(bundle, args.threads, false)?;
    let mut view = View::new();
    let generated = runner
        .generate(&job, &mut job.noise(), &mut |event| view.show(&event))
        .map_err(|e| Failure::Input(e.into()))?;
    view.finish();
    if let Some(path) = &args.save_latents {
        let latents = BTreeMap::from([("latents".to_owned(), generated.latents.clone())]);
        file::write(path, &latents).map_err(|e| Failure::Input(e.into()))?;
    }
    write_video(&args.output, &generated)?;
    match args.json {
        true => say!(
            "{}",
            report(args, &job, &generated, start.elapsed().as_secs_f64())
        ),
        false => say!("{}", args.output.display()),
    }
    Ok(())
}

/// A bundle as given, or the cached bundle of a preset.
fn open(args: &RunArgs) -> Outcome<Bundle> {
    let path = Path::new(&args.source);
    let is_bundle = path.extension().is_some_and(|e| e == "bundle");
    if path.join(MANIFEST).exists() || path.is_dir() || is_bundle {
        return Ok(Bundle::open(path)?);
    }
    let project = Project::open(&super::options(&args.source, &args.project)?)?;
    let cached = cache::bundle_path(&project)?;
    if let Ok(bundle) = Bundle::open(&cached) {
        note!("using the bundle compiled before: {}", cached.display());
        return Ok(bundle);
    }
    note!(
        "compiling {} for {} into {}",
        project.preset.name,
        project.target.name,
        cached.display()
    );
    Ok(Bundle::open(&write_bundle(
        &project,
        &cached,
        &mut WriteBar::new(),
    )?)?)
}

fn settings(args: &RunArgs) -> Settings {
    Settings {
        prompt: args.prompt.clone(),
        negative_prompt: args.negative_prompt.clone(),
        seed: args.seed,
        height: args.height,
        width: args.width,
        frames: args.frames,
        fps: args.fps,
        steps: args.steps,
        guidance_scale: args.guidance_scale,
        noise: args.noise.clone(),
        ..Settings::default()
    }
}

/// Every choice of the run in one line.
fn describe(bundle: &Bundle, job: &Job) -> String {
    let video = job.geometry().asked;
    let target = &bundle.manifest.target;
    format!(
        "{} frames of {}x{} at {} fps, {} steps, seed {}, on {} ({})",
        video.frames,
        video.width,
        video.height,
        job.fps(),
        job.timesteps().len(),
        job.seed(),
        target.runtime,
        target.provider
    )
}

/// Tries the named files before hours of work go into them; nothing is left behind.
fn check_outputs(args: &RunArgs, job: &Job) -> Outcome {
    let asked = job.geometry().asked;
    let spec = VideoSpec {
        width: asked.width as u32,
        height: asked.height as u32,
        fps: job.fps(),
    };
    media::create(&args.output, spec).map_err(|e| Failure::Input(e.into()))?;
    let Some(path) = &args.save_latents else {
        return Ok(());
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    tempfile::tempfile_in(folder.unwrap_or(Path::new("."))).map_err(|e| {
        Failure::Input(anyhow::anyhow!("{} cannot be written: {e}", path.display()))
    })?;
    Ok(())
}

/// Most frames of a strip.
const STRIP: usize = 9;

fn write_video(path: &Path, generated: &Generated) -> Outcome {
    let failed = |e: media::MediaError| Failure::Input(e.into());
    let pattern = path.to_string_lossy().contains('%');
    if path.extension().is_some_and(|e| e == "png") && !pattern && generated.frames > 1 {
        return write_strip(path, generated).map_err(failed);
    }
    let spec = VideoSpec {
        width: generated.width as u32,
        height: generated.height as u32,
        fps: generated.fps,
    };
    let mut writer = media::create(path, spec).map_err(failed)?;
    for frame in 0..generated.frames {
        writer.write(&generated.rgb8(frame)).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// A single PNG of a video shows frames from first to last side by side.
fn write_strip(path: &Path, generated: &Generated) -> Result<(), media::MediaError> {
    let shown = generated.frames.min(STRIP);
    let at = |i: usize| i * (generated.frames - 1) / (shown - 1);
    let frames: Vec<Vec<u8>> = (0..shown).map(|i| generated.rgb8(at(i))).collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let (rgb, width, height) = media::strip(&frames, generated.width, generated.height, 2);
    media::write_png(path, &rgb, width as u32, height as u32)
}

fn report(args: &RunArgs, job: &Job, generated: &Generated, seconds: f64) -> serde_json::Value {
    json!({
        "output": args.output.display().to_string(),
        "frames": generated.frames,
        "height": generated.height,
        "width": generated.width,
        "fps": generated.fps,
        "seed": job.seed(),
        "timesteps": job.timesteps(),
        "stages": generated.stages,
        "seconds": seconds,
    })
}

/// One bar for the steps, a line for each other stage.
struct View {
    bar: ProgressBar,
}

impl View {
    fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::StageStarted { stage, steps, .. } => {
                self.bar.finish_and_clear();
                self.bar = match steps {
                    0 => bar(1, "{msg:18} {spinner} {elapsed}"),
                    steps => bar(
                        *steps as u64,
                        "{msg:18} [{bar:30}] step {pos}/{len}, {eta} left",
                    ),
                };
                self.bar.set_message((*stage).to_owned());
            }
            Event::Step { .. } => self.bar.inc(1),
            Event::StageFinished { .. } => self.bar.finish_and_clear(),
            Event::ComponentLoaded { .. } | Event::FramesDecoded { .. } => {}
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
