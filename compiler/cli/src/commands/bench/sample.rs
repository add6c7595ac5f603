//! Videos of seeded scenes.

use ltxc_bundle::{Scheduled, Settings};
use ltxc_runtime::media::prepare::{Padding, Preparation, prepare};
use ltxc_runtime::media::resize::Size;
use ltxc_runtime::quality::{Clip, Scene};
use ltxc_runtime::run::{Condition, Generated, Job, Media, Place, Runner, Take, VideoSize};
use ltxc_runtime::sampling::NoiseSource;

use super::super::run::view::View;
use crate::args::{Given, ProjectArgs, SampleArgs};
use crate::failure::{Failure, Outcome};
use crate::output::note;
use crate::session;

/// A video with the scene that was asked for.
pub struct Sampled {
    pub seed: u64,
    pub scene: Scene,
    pub video: Generated,
    /// The first frame that each window adds.
    pub windows: Vec<usize>,
    /// Frames that a latent frame after the first stands for.
    pub frames_of_latent: usize,
}

/// Makes the videos one after the other and hands each out.
pub fn sample(
    source: &str,
    project: &ProjectArgs,
    args: &SampleArgs,
    each: &mut (dyn FnMut(Sampled) -> Outcome + Send),
) -> Outcome {
    let bundle = session::open(source, project)?;
    let settings = settings(args).or(&session::defaults(source, project)?);
    let job = Job::new(&bundle.manifest, settings).map_err(input)?;
    let size = job.geometry().asked;
    note!(
        "{source}: {} prompts from seed {}, {} frames of {}x{}, {} steps",
        args.prompts,
        args.seed,
        size.frames,
        size.width,
        size.height,
        job.timesteps().len()
    );
    let keep = args.given != Given::Nothing;
    let runner = session::runner(bundle, args.runtime, keep)?.with_together(args.together);
    let seeds: Vec<u64> = (0..u64::from(args.prompts))
        .map(|k| args.seed.wrapping_add(k))
        .collect();
    let mut view = View::new();
    let made = match args.given {
        Given::Nothing => generate(&runner, &job, &seeds, &mut view, each),
        given => seeds.iter().try_for_each(|seed| {
            let conditions = conditions(&Scene::of_seed(*seed), given, size)?;
            let job = job.clone().with_conditions(runner.manifest(), conditions);
            generate(&runner, &job.map_err(input)?, &[*seed], &mut view, each)
        }),
    };
    view.finish();
    made
}

fn input(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Input(anyhow::Error::new(error))
}

fn settings(args: &SampleArgs) -> Settings {
    Settings {
        prompt: Some(String::new()),
        height: args.height,
        width: args.width,
        frames: args.frames,
        window: args.window,
        window_overlap: args.overlap,
        steps: args.steps,
        guidance_scale: args.guidance_scale.map(Scheduled::Constant),
        ..Settings::default()
    }
}

fn generate(
    runner: &Runner,
    job: &Job,
    seeds: &[u64],
    view: &mut View,
    each: &mut (dyn FnMut(Sampled) -> Outcome + Send),
) -> Outcome {
    let mut noises: Vec<_> = seeds.iter().map(|seed| job.noise_of(*seed)).collect();
    let takes = seeds.iter().zip(&mut noises).map(|(seed, noise)| Take {
        prompt: Scene::of_seed(*seed).prompt(),
        noise: noise as &mut dyn NoiseSource,
        shift: 0,
    });
    view.begin(runner.costs(job, seeds.len()).map_err(input)?);
    let stages = runner.generate_takes(
        job,
        takes.collect(),
        &mut |event| view.show(&event),
        &mut |take, video| {
            let (seed, scene) = (seeds[take], Scene::of_seed(seeds[take]));
            let (windows, compression) = (job.window_starts(), job.geometry().compression);
            Ok(each(Sampled {
                seed,
                scene,
                video,
                windows,
                frames_of_latent: compression.frames(),
            })?)
        },
    );
    stages.map(drop).map_err(input)
}

/// The frames that a video is given, prepared as `ltxc run --condition` prepares them, but sharp.
fn conditions(scene: &Scene, given: Given, size: VideoSize) -> Outcome<Vec<Condition>> {
    let drawn = scene.draw(size.frames, size.height, size.width);
    let condition = |frame: usize| {
        Ok(Condition {
            media: media(&drawn, frame)?,
            frame,
            strength: 1.0,
            place: Place::Frames,
        })
    };
    frames(given, size.frames)
        .into_iter()
        .map(condition)
        .collect()
}

/// Which frames are given.
pub fn frames(given: Given, frames: usize) -> Vec<usize> {
    match given {
        Given::Nothing => Vec::new(),
        Given::First => vec![0],
        Given::Ends => vec![0, frames - 1],
    }
}

fn media(drawn: &Clip, frame: usize) -> Outcome<Media> {
    let side = Size {
        height: drawn.height,
        width: drawn.width,
    };
    let preparation = Preparation {
        size: side,
        resize: false,
        blur: false,
        quantiser: None,
        padding: Padding::default(),
    };
    let planes = prepare(&[&drawn.frames[frame]], side, &preparation).map_err(input)?;
    let size = VideoSize {
        frames: planes.frames,
        height: planes.size.height,
        width: planes.size.width,
    };
    Media::new(format!("frame {frame}"), planes.values, size).map_err(input)
}
