//! `ltxc diff`

use ltxc_ir::print_folded;
use ltxc_passes::difference;

use crate::args::DiffArgs;
use crate::compile::{CompileOptions, Project};
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::sizes::latent_grid;

pub fn command(args: &DiffArgs) -> Outcome {
    let mut before = super::options(&args.before, &args.project)?;
    before.only.extend(args.component.clone());
    let mut after = CompileOptions {
        preset: args.after.clone(),
        ..before.clone()
    };
    after.target = args.against_target.clone().or(after.target);
    after.size = args.against_size.or(after.size);
    if !args.against_quant.is_empty() {
        after.quant.clone_from(&args.against_quant);
    }
    let (before, after) = (texts(&before, args.written)?, texts(&after, args.written)?);
    let mut compared = false;
    for (name, old) in &before {
        let Some((_, new)) = after.iter().find(|(other, _)| other == name) else {
            continue;
        };
        compared = true;
        let lines = difference(old, new);
        say!("{name}: {} lines differ", lines.len());
        for line in lines {
            say!("{line}");
        }
    }
    match compared {
        true => Ok(()),
        false => Err(Failure::Misuse(format!(
            "`{}` and `{}` have no component in common",
            args.before, args.after
        ))),
    }
}

/// Every graph in the text form, by component.
fn texts(options: &CompileOptions, written: bool) -> Outcome<Vec<(String, String)>> {
    let project = Project::open(options)?;
    let checkpoints = project.open_checkpoints()?;
    let grid = latent_grid(&project, &checkpoints)?;
    let mut texts = Vec::new();
    for (name, graph) in project.components(&checkpoints)? {
        if written {
            texts.push((name, print_folded(&graph)));
            continue;
        }
        for part in project.lower(&name, graph, grid)? {
            texts.push((format!("{name}, {}", part.name), print_folded(&part.graph)));
        }
    }
    Ok(texts)
}
