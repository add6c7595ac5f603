//! `ltxc explain`

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::attrs::Per;
use ltxc_ir::{Graph, Size};
use ltxc_passes::PassReport;
use ltxc_passes::transforms::hoist::held_bytes;
use ltxc_passes::transforms::stream::{Stage, latency};

use crate::args::ExplainArgs;
use crate::compile::{Compiled, Project};
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::sizes::{LatentGrid, latent_grid};

pub fn command(args: &ExplainArgs) -> Outcome {
    let mut options = super::options(&args.preset, &args.project)?;
    options.only.extend(args.component.clone());
    let project = Project::open(&options)?;
    let checkpoints = project.open_checkpoints()?;
    let grid = latent_grid(&project, &checkpoints)?;
    let components = project.components(&checkpoints)?;
    if let Some(pass) = &args.diff {
        check_runs(&project, &components, pass, grid)?;
    }
    say!("target {}: {}", project.target.name, project.target.doc);
    for (name, graph) in components {
        let parts = project.explain(&name, graph.clone(), grid)?;
        for part in &parts {
            headline(&name, part, parts.len())?;
            for (report, spec) in part.reports.iter().zip(&part.passes) {
                show(report, &spec.because, args.diff.as_deref())?;
            }
        }
        let open = project.expand(&name, &checkpoints[&project.role_of(&name)])?;
        let (stages, refusal) = project.stages(&name, &open)?;
        if !stages.is_empty() {
            say!("\n{name}, in pieces: {}", in_pieces(&stages));
        }
        if let Some(why) = refusal {
            say!("\n{why}");
        }
    }
    Ok(())
}

/// Refuses a pass that no component is rewritten by.
fn check_runs(
    project: &Project,
    components: &BTreeMap<String, Graph>,
    pass: &str,
    grid: Option<LatentGrid>,
) -> Outcome {
    let passes = components
        .iter()
        .map(|(name, graph)| project.passes(name, graph, grid));
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

/// The component or, where it has several, the part; what it keeps is what runs at other times read of it.
fn headline(name: &str, part: &Compiled, parts: usize) -> Outcome {
    let operations = part.graph.len();
    match (parts, part.per) {
        (1, _) => say!("\n{name}: {operations} operations"),
        (_, Per::Step) => say!("\n{name}, {}: {operations} operations", part.name),
        (_, Per::Video) => say!(
            "\n{name}, {}, once for a video: {operations} operations; keeps {} values, {} bytes",
            part.name,
            part.graph.graph_outputs().len(),
            held_bytes(&part.graph)
        ),
    }
    Ok(())
}

/// What a component costs that is computed some frames at a time.
fn in_pieces(stages: &[Stage]) -> String {
    let bytes = stages.iter().map(Stage::state_bytes);
    let bytes = bytes.fold(Size::from(0), |sum, bytes| sum + bytes);
    let given = stages.first().and_then(|stage| stage.inputs.first());
    format!(
        "{} stages; the first frames come after {} of `{}`; keeps {bytes} bytes",
        stages.len(),
        latency(stages),
        given.map_or("", |flow| &flow.name)
    )
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
