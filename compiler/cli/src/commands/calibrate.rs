//! `ltxc calibrate`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ltxc_bundle::{Bundle, Settings, StageOp};
use ltxc_export::{Wanted, observe};
use ltxc_runtime::calibrate::{Method, Range, Ranges, Watched, WatchedModel, Watching};
use ltxc_runtime::run::{Job, Runner, Take};
use ltxc_runtime::sampling::NoiseSource;
use tempfile::TempDir;

use super::run::takes::prompts;
use super::run::view::View;
use crate::args::CalibrateArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};
use crate::scales::{MadeBy, Magnitudes, Reach, Scales};
use crate::session;

pub fn command(args: &CalibrateArgs) -> Outcome {
    let how = How::of(args)?;
    let prompts = prompts(&args.prompts)?;
    let bundle = session::open(&args.source, &args.project)?;
    let settings = Settings {
        prompt: Some(prompts[0].clone()),
        ..Settings::default()
    };
    let settings = settings.or(&session::defaults(&args.source, &args.project)?);
    let job = Job::new(&bundle.manifest, settings).map_err(input)?;
    let made_by = made_by(&bundle, &job, prompts.len(), how);
    note!(
        "{}: {} prompts, {}, {} steps, {}",
        args.source,
        prompts.len(),
        made_by.video,
        made_by.steps,
        made_by.method
    );
    let wanted = Wanted {
        every: how.method.samples().then_some(args.every),
        columns: how.smooth.is_some(),
    };
    let ranges = Arc::new(Mutex::new(BTreeMap::new()));
    let (_folder, models) = watched_models(&bundle, wanted)?;
    let options = session::runner_options(args.runtime, false);
    let runner = Runner::open_within(bundle, &options, &|text| note!("{text}"), |inner| {
        Box::new(Watching::new(inner, models, Arc::clone(&ranges)))
    });
    run(&runner.map_err(input)?, &job, &prompts, args.seed)?;
    let ranges = ranges.lock().unwrap_or_else(PoisonError::into_inner);
    let scales = Scales::new(made_by, magnitudes(&ranges, how)?);
    let failed = |e| Failure::Input(anyhow::anyhow!("{}: {e}", args.output.display()));
    fs::write(&args.output, scales.to_text()).map_err(failed)?;
    say!("{}", args.output.display());
    Ok(())
}

/// How ranges follow from the numbers of a run.
#[derive(Clone, Copy)]
struct How {
    method: Method,
    /// SmoothQuant's alpha: how much of the spread of the inputs goes to the weights.
    smooth: Option<f32>,
}

impl How {
    fn of(args: &CalibrateArgs) -> Outcome<Self> {
        let (method, smooth) = (args.method, args.smooth);
        match smooth {
            Some(alpha) if !(0.0..=1.0).contains(&alpha) => Err(Failure::Misuse(format!(
                "--smooth {alpha}: give a number from 0 (inputs stay) to 1 (weights take it all), such as 0.5"
            ))),
            Some(_) if method != Method::Max => Err(Failure::Misuse(format!(
                "--smooth evens out the largest magnitudes; leave out --method {method}"
            ))),
            _ => Ok(Self { method, smooth }),
        }
    }

    fn reach(self, range: &Range) -> Reach {
        match self.smooth.and_then(|alpha| range.smoothed(alpha)) {
            None => Reach::Plain(range.magnitude(self.method)),
            Some(smoothed) => Reach::Smooth {
                largest: smoothed.largest,
                smooth: smoothed.powers,
            },
        }
    }
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.method.fmt(f)?;
        self.smooth
            .map_or(Ok(()), |alpha| write!(f, ", smoothed by {alpha}"))
    }
}

fn input(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Input(anyhow::Error::new(error))
}

fn made_by(bundle: &Bundle, job: &Job, prompts: usize, how: How) -> MadeBy {
    let (manifest, size) = (&bundle.manifest, job.geometry().asked);
    MadeBy {
        producer: format!("ltxc {}", env!("CARGO_PKG_VERSION")),
        bundle: format!("{} for {}", manifest.name, manifest.target.name),
        method: how.to_string(),
        prompts,
        video: format!("{}x{}x{}", size.width, size.height, size.frames),
        steps: job.timesteps().len(),
    }
}

/// Models of the components that denoise which also give out magnitudes, in a folder of their own that lasts as long as
/// they are used. The data file stands there under a second name.
fn watched_models(
    bundle: &Bundle,
    wanted: Wanted,
) -> Outcome<(TempDir, BTreeMap<PathBuf, WatchedModel>)> {
    let manifest = bundle.path("manifest.json");
    let beside = manifest.parent().and_then(Path::parent);
    let beside = beside.filter(|path| !path.as_os_str().is_empty());
    let folder = tempfile::Builder::new()
        .prefix(".ltxc-calibrate-")
        .tempdir_in(beside.unwrap_or(Path::new(".")))?;
    let (components, mut models) = (denoisers(bundle), BTreeMap::new());
    for (component, name) in model_files(bundle, &components) {
        let path = bundle.path(&name);
        let mut bytes = fs::read(&path)?;
        let (more, observed) = observe(&bytes, wanted)
            .map_err(|e| Failure::Input(anyhow::anyhow!("{}: {e}", path.display())))?;
        bytes.extend(more);
        let model = folder.path().join(&name);
        fs::write(&model, bytes)?;
        let values = observed.into_iter().map(|value| Watched {
            readers: value.readers,
            largest: value.largest,
            sample: value.sample,
            columns: value.columns,
        });
        let values = values.collect();
        let watched = WatchedModel {
            component,
            model,
            values,
        };
        models.insert(path, watched);
    }
    let named = bundle.manifest.files.keys();
    for name in named.filter(|name| !folder.path().join(name).exists()) {
        let (from, to) = (bundle.path(name), folder.path().join(name));
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?;
    }
    Ok((folder, models))
}

/// The components of the stages that denoise.
fn denoisers(bundle: &Bundle) -> BTreeSet<&str> {
    let stages = bundle.manifest.plan.stages.iter();
    let of_stage = stages.filter_map(|stage| match &stage.op {
        StageOp::Denoise(op) => Some(op.component.as_str()),
        _ => None,
    });
    of_stage.collect()
}

/// The ONNX files of some components, each with the component's name.
fn model_files(bundle: &Bundle, components: &BTreeSet<&str>) -> Vec<(String, String)> {
    let described = bundle.manifest.components.iter();
    let wanted = described.filter(|(name, _)| components.contains(name.as_str()));
    let files = wanted.flat_map(|(name, component)| {
        let models: BTreeSet<&String> = component.models().collect();
        let named = |model: &String| (name.clone(), model.clone());
        models.into_iter().map(named).collect::<Vec<_>>()
    });
    files.collect()
}

fn run(runner: &Runner, job: &Job, prompts: &[String], seed: u64) -> Outcome {
    let seeds = (0..prompts.len() as u64).map(|k| seed.wrapping_add(k));
    let mut noises: Vec<_> = seeds.map(|seed| job.noise_of(seed)).collect();
    let takes = prompts.iter().zip(&mut noises).map(|(prompt, noise)| Take {
        prompt: prompt.clone(),
        noise: noise as &mut dyn NoiseSource,
        shift: 0,
    });
    let mut view = View::new();
    view.begin(runner.costs(job, prompts.len()).map_err(input)?);
    let made = runner.generate_takes(
        job,
        takes.collect(),
        &mut |event| view.show(&event),
        &mut |_, _| Ok(()),
    );
    view.finish();
    made.map(drop).map_err(input)
}

/// What to quantise for, of every layer of every component.
fn magnitudes(
    ranges: &BTreeMap<String, Ranges>,
    how: How,
) -> Outcome<BTreeMap<String, Magnitudes>> {
    let of_component = |(name, ranges): (&String, &Ranges)| {
        let layers = ranges
            .iter()
            .map(|(key, range)| (key.clone(), how.reach(range)));
        (name.clone(), layers.collect::<Magnitudes>())
    };
    let found: BTreeMap<String, Magnitudes> = ranges.iter().map(of_component).collect();
    let layers = || found.values().flatten();
    if layers().next().is_none() {
        return Err(Failure::Input(anyhow::anyhow!(
            "the bundle has no linear layers in floats; compile it without --quant, or with fp16 or bf16"
        )));
    }
    match layers().find(|(_, reach)| !reach.largest().is_finite()) {
        None => Ok(found),
        Some((key, _)) => Err(Failure::Input(anyhow::anyhow!(
            "the inputs of `{key}` are not finite in this run, so nothing can be quantised for them"
        ))),
    }
}
