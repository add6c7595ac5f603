//! `ltxc dump`

use std::collections::BTreeMap;

use std::path::Path;

use ltxc_front::{GraphFile, expand, library};
use ltxc_ir::{Graph, print, print_folded};

use super::check::read_json;
use crate::args::DumpArgs;
use crate::compile::Project;
use crate::failure::{Failure, Outcome};
use crate::sizes::latent_grid;

pub fn command(args: &DumpArgs) -> Outcome {
    if let Some(config) = &args.config {
        let file = GraphFile::read(&library::read_path(Path::new(&args.source))?)?;
        return show(args, &expand(&file, &read_json(config)?, &BTreeMap::new())?);
    }
    let mut options = super::options(&args.source, &args.project)?;
    options.only.extend(args.component.clone());
    let project = Project::open(&options).map_err(explain_graph_files)?;
    let checkpoints = project.open_checkpoints()?;
    let grid = latent_grid(&project, &checkpoints)?;
    for (name, graph) in project.components(&checkpoints)? {
        match args.lowered {
            true => {
                for part in project.lower(&name, graph, grid)? {
                    show(args, &part.graph)?;
                }
            }
            false => show(args, &graph)?,
        }
    }
    Ok(())
}

fn show(args: &DumpArgs, graph: &Graph) -> Outcome {
    let text = match args.expand {
        true => print(graph),
        false => print_folded(graph),
    };
    crate::output::print(format_args!("{text}"))
}

/// A graph file alone has no sizes: say what else is needed.
fn explain_graph_files(failure: Failure) -> Failure {
    match failure {
        Failure::Diagnostics(list) => Failure::Diagnostics(
            list.into_iter()
                .map(
                    |d| match d.code == "file::other-kind" && d.message.ends_with("graph") {
                        true => d.help(
                            "to show it alone, give a checkpoint's config with --config FILE.json",
                        ),
                        false => d,
                    },
                )
                .collect(),
        ),
        other => other,
    }
}
