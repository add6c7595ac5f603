//! `ltxc explain`

use std::collections::BTreeSet;

use ltxc_passes::PassReport;

use crate::args::ExplainArgs;
use crate::compile::Project;
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::sizes::{LatentGrid, latent_grid};

pub fn command(args: &ExplainArgs) -> Outcome {
    let mut options = super::options(&args.preset, &args.project)?;
    options.only.extend(args.component.clone());
    let project = Project::open(&options)?;
    let checkpoints = project.open_checkpoints()?;
    let grid = latent_grid(&project, &checkpoints)?;
    if let Some(pass) = &args.diff {
        check_runs(&project, pass, grid)?;
    }
    say!("target {}: {}", project.target.name, project.target.doc);
    for (name, graph) in project.components(&checkpoints)? {
        let compiled = project.explain(&name, graph, grid)?;
        say!("\n{name}: {} operations", compiled.graph.len());
        for (report, spec) in compiled.reports.iter().zip(&compiled.passes) {
            show(report, &spec.because, args.diff.as_deref())?;
        }
    }
    Ok(())
}

/// Refuses a pass that no component is rewritten by.
fn check_runs(project: &Project, pass: &str, grid: Option<LatentGrid>) -> Outcome {
    let passes = project.graphs.keys().map(|name| project.passes(name, grid));
    let passes: Vec<_> = passes.collect::<Outcome<Vec<_>>>()?.concat();
    if passes.iter().any(|spec| spec.pass == pass) {
        return Ok(());
    }
    let known: BTreeSet<&str> = passes.iter().map(|spec| spec.pass.as_str()).collect();
    let known: Vec<&str> = known.into_iter().collect();
    Err(Failure::Misuse(format!(
        "the target `{}` runs no pass `{pass}`; it runs {}",
        project.target.name,
        known.join(", ")
    )))
}

fn show(report: &PassReport, because: &str, diff: Option<&str>) -> Outcome {
    if diff.is_some_and(|pass| pass != report.pass) {
        return Ok(());
    }
    say!(
        "  {}: changed {}, declined {}",
        report.pass,
        report.matched,
        report.declines()
    );
    say!("      {because}");
    for decline in &report.declined {
        say!(
            "      declined {} x: {} (first `{}`)",
            decline.nodes.len(),
            decline.reason,
            decline.nodes[0]
        );
    }
    if diff.is_some() {
        for line in report.difference.iter().flatten() {
            say!("{line}");
        }
    }
    Ok(())
}
