//! `ltxc compile`

use std::path::PathBuf;

use crate::args::CompileArgs;
use crate::compile::Project;
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::progress::WriteBar;
use crate::write::write_bundle;

pub fn command(args: &CompileArgs) -> Outcome {
    if args.project.memory_budget.is_some() && args.project.size.is_none() {
        return Err(Failure::Misuse(
            "a bundle for any size has no memory that it needs: add --size, or give --memory-budget to the run".to_owned(),
        ));
    }
    let project = Project::open(&super::options(&args.preset, &args.project)?)?;
    let out = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}.bundle", project.preset.name)));
    let written = write_bundle(&project, &out, &mut WriteBar::new())?;
    let bundle = ltxc_bundle::Bundle::open(&written)?;
    if args.json {
        say!("{}", super::inspect::summary(&bundle));
    } else {
        say!("{}", written.display());
    }
    Ok(())
}
