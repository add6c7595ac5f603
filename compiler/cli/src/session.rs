//! Opening a bundle's runtime on behalf of a command.

use ltxc_bundle::Bundle;
use ltxc_runtime::backend::BackendOptions;
use ltxc_runtime::run::{Runner, RunnerOptions};

use crate::failure::{Failure, Outcome};
use crate::output::note;

/// A runner; with `keep` its components stay in memory between calls, else one at a time is there.
pub fn runner(bundle: Bundle, threads: Option<usize>, keep: bool) -> Outcome<Runner> {
    let options = RunnerOptions {
        backend: BackendOptions {
            threads,
            ..BackendOptions::default()
        },
        keep,
        together: 1,
    };
    Runner::open(bundle, &options, &|text| note!("{text}")).map_err(|e| Failure::Input(e.into()))
}
