//! Opening a bundle's runtime on behalf of a command.

use ltxc_bundle::Bundle;
use ltxc_runtime::backend::BackendOptions;
use ltxc_runtime::run::{Runner, RunnerOptions};

use crate::failure::{Failure, Outcome};

/// A runner that keeps its components.
pub fn runner(bundle: Bundle, threads: Option<usize>) -> Outcome<Runner> {
    let options = RunnerOptions {
        backend: BackendOptions {
            threads,
            ..BackendOptions::default()
        },
        keep: true,
    };
    Runner::open(bundle, &options, &|text| eprintln!("{text}"))
        .map_err(|e| Failure::Input(e.into()))
}
