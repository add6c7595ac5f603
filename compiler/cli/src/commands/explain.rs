//! `ltxc explain`

use std::collections::BTreeSet;

use ltxc_passes::PassReport;

use crate::args::ExplainArgs;
use crate::compile::Project;
use crate::failure::{Failure, Outcome};
use crate::output::say;

pub fn command(args: &ExplainArgs) -> Outcome {
    let mut options = super::options(&args.preset, &args.project)?;
    options.only.extend(args.component.clone());
    let project = Project::open(&options)?;
    if let Some(pass) = &args.diff
        && !project
            .target
            .passes
            .iter()
            .any(|entry| entry.pass == *pass)
    {
        let known: Vec<&str> = project
            .target
            .passes
            .iter()
            .map(|entry| entry.pass.as_str())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        return Err(Failure::Misuse(format!(
            "the target `{}` runs no pass `{pass}`; it runs {}",
            project.target.name,
            known.join(", ")
        )));
    }
    let checkpoints = project.open_checkpoints()?;
    say!("target {}: {}", project.target.name, project.target.doc);
    for name in project.graphs.keys() {
        let compiled =
            project.explain(project.expand(name, &checkpoints[&project.role_of(name)])?)?;
        say!("\n{name}: {} operations", compiled.graph.len());
        for (report, entry) in compiled.reports.iter().zip(&project.target.passes) {
            show(report, &entry.because, args.diff.as_deref())?;
        }
    }
    Ok(())
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
