//! Opening a bundle and its runtime on behalf of a command.

use std::path::Path;

use ltxc_bundle::{Bundle, MANIFEST, Settings};
use ltxc_front::section_of;
use ltxc_runtime::backend::BackendOptions;
use ltxc_runtime::run::{Pieces, Runner, RunnerOptions};

use crate::args::ProjectArgs;
use crate::cache;
use crate::commands::{options, overrides};
use crate::compile::Project;
use crate::failure::{Failure, Outcome};
use crate::output::note;
use crate::progress::WriteBar;
use crate::write::write_bundle;

fn is_bundle(source: &str) -> bool {
    let path = Path::new(source);
    path.join(MANIFEST).exists() || path.is_dir() || path.extension().is_some_and(|e| e == "bundle")
}

/// A bundle as given, or the cached bundle of a preset.
pub fn open(source: &str, project: &ProjectArgs) -> Outcome<Bundle> {
    if is_bundle(source) {
        return Ok(Bundle::open(Path::new(source))?);
    }
    let project = Project::open(&options(source, project)?)?;
    let cached = cache::bundle_path(&project)?;
    if let Ok(bundle) = Bundle::open(&cached) {
        note!("using the bundle compiled before: {}", cached.display());
        for text in &bundle.manifest.notes {
            note!("note: {text}");
        }
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

/// What `--set defaults.NAME` says to a bundle; to a preset it was said at its compile.
pub fn defaults(source: &str, project: &ProjectArgs) -> Outcome<Settings> {
    if !is_bundle(source) {
        return Ok(Settings::default());
    }
    Ok(section_of("defaults", &overrides(project)?)?.read()?)
}

/// Options of a runner; with `keep` its components stay in memory between calls, else one at a time is there.
pub fn runner_options(threads: Option<usize>, keep: bool) -> RunnerOptions {
    RunnerOptions {
        backend: BackendOptions {
            threads,
            ..BackendOptions::default()
        },
        keep,
        together: 1,
        pieces: Pieces::default(),
        budget: None,
    }
}

/// A runner by those options.
pub fn runner(bundle: Bundle, threads: Option<usize>, keep: bool) -> Outcome<Runner> {
    let options = runner_options(threads, keep);
    Runner::open(bundle, &options, &|text| note!("{text}")).map_err(|e| Failure::Input(e.into()))
}
