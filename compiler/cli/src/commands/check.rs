//! `ltxc check`

use std::collections::BTreeMap;

use std::path::Path;

use ltxc_front::{
    FileKind, GraphFile, PipelineFile, RecipeFile, Role, TargetFile, expand, kind_of, library,
};
use serde_json::Value as Json;

use crate::args::CheckArgs;
use crate::compile::{Project, flag_of};
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::pipeline::{check_pipeline, check_target};
use crate::recipes::check_recipe;
use crate::write::{expand_all, tokenizer};

pub fn command(args: &CheckArgs) -> Outcome {
    let source = library::read_path(&args.file)?;
    let kind = kind_of(&source)?;
    let said = match kind {
        FileKind::Graph => {
            let file = GraphFile::read(&source)?;
            match &args.config {
                Some(config) => {
                    let graph = expand(&file, &read_json(config)?, &BTreeMap::new())?;
                    verified(&graph)?;
                    format!("{} operations, types agree", graph.len())
                }
                None => "it reads; give --config FILE.json to expand and type it".to_owned(),
            }
        }
        FileKind::Pipeline => {
            let pipeline = PipelineFile::read(&source)?;
            check_pipeline(&pipeline)?;
            format!("{} components", pipeline.components.len())
        }
        FileKind::Target => {
            let target = TargetFile::read(&source)?;
            check_target(&target)?;
            format!("{} passes", target.passes.len())
        }
        FileKind::Recipe => {
            let recipe = RecipeFile::read(&source)?;
            check_recipe(&recipe, None)?;
            format!("{} passes", recipe.passes.len())
        }
        FileKind::Preset | FileKind::Released => preset(args)?,
    };
    say!("{}: fine ({said})", args.file.display());
    Ok(())
}

/// A preset is checked with everything it names, weights included where it names a checkpoint.
fn preset(args: &CheckArgs) -> Outcome<String> {
    let project = Project::open(&super::options(
        &args.file.display().to_string(),
        &args.project,
    )?)?;
    if !project.checkpoints.contains_key(&Role::Model) {
        let flags: Vec<String> = project.roles().into_iter().map(flag_of).collect();
        return Ok(format!(
            "{} graphs read; give {} to check them against weights",
            project.graphs.len(),
            flags.join(" and ")
        ));
    }
    let graphs = expand_all(&project, &project.open_checkpoints()?)?;
    graphs.values().try_for_each(verified)?;
    tokenizer(&project)?;
    Ok(format!(
        "{} components, weights bound, types agree",
        graphs.len()
    ))
}

fn verified(graph: &ltxc_ir::Graph) -> Outcome {
    let errors = ltxc_ir::check(graph);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Failure::Bug(
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        )),
    }
}

/// Plain JSON from a file of the user's.
pub fn read_json(path: &Path) -> Outcome<Json> {
    let text = library::read_path(path)?.text;
    serde_json::from_str(&text)
        .map_err(|e| Failure::Input(anyhow::anyhow!("{} is not JSON: {e}", path.display())))
}
