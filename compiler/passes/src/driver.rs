//! Runs passes: each rule over the whole graph until nothing changes, then cleans up and verifies.

use ltxc_ir::{Graph, Patch, Verified, drop_dead, print_folded, verify};

use crate::error::PassError;
use crate::matched::{Match, Sweep};
use crate::report::{Decline, PassReport, difference};
use crate::rule::{Declined, Rule};
use crate::rules::find;
use crate::spec::PassSpec;
use crate::target::Capabilities;

#[cfg(test)]
mod tests;

/// Sweeps after which a rule counts as never settling; an honest one needs a handful.
const MAX_SWEEPS: usize = 100;

/// Rewrites the graph by these passes in this order.
pub fn run(
    graph: Graph,
    passes: &[PassSpec],
    capabilities: &Capabilities,
) -> Result<(Verified, Vec<PassReport>), PassError> {
    drive(graph, passes, capabilities, false)
}

/// As [`run`], and every report carries the difference its pass made.
pub fn explain(
    graph: Graph,
    passes: &[PassSpec],
    capabilities: &Capabilities,
) -> Result<(Verified, Vec<PassReport>), PassError> {
    drive(graph, passes, capabilities, true)
}

fn drive(
    graph: Graph,
    passes: &[PassSpec],
    capabilities: &Capabilities,
    with_difference: bool,
) -> Result<(Verified, Vec<PassReport>), PassError> {
    let rules = passes.iter().map(find);
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    rules
        .iter()
        .try_for_each(|rule| refused(rule.as_ref(), capabilities))?;
    let mut graph = verify(graph).map_err(PassError::Input)?;
    let mut reports = Vec::new();
    for rule in &rules {
        let before = with_difference.then(|| print_folded(&graph));
        let (after, mut report) = run_rule(graph.into_inner(), rule.as_ref(), capabilities)?;
        graph = after;
        report.difference = before.map(|before| difference(&before, &print_folded(&graph)));
        reports.push(report);
    }
    Ok((graph, reports))
}

fn refused(rule: &dyn Rule, capabilities: &Capabilities) -> Result<(), PassError> {
    match rule.refuse(capabilities) {
        None => Ok(()),
        Some(reason) => Err(PassError::Refused {
            pass: rule.meta().id.to_owned(),
            reason,
        }),
    }
}

fn run_rule(
    mut graph: Graph,
    rule: &dyn Rule,
    capabilities: &Capabilities,
) -> Result<(Verified, PassReport), PassError> {
    let mut report = PassReport::new(rule.meta(), graph.len());
    settle(&mut graph, rule, capabilities, &mut report)?;
    drop_dead(&mut graph);
    report.nodes_after = graph.len();
    let broken = |errors| PassError::Broken {
        pass: report.pass.clone(),
        errors,
    };
    let verified = verify(graph).map_err(broken)?;
    Ok((verified, report))
}

/// Sweeps until the rule fires nowhere; what it declined then is what the report says.
fn settle(
    graph: &mut Graph,
    rule: &dyn Rule,
    capabilities: &Capabilities,
    report: &mut PassReport,
) -> Result<(), PassError> {
    let most = 8 * graph.len() + 64;
    let mut last = String::new();
    for _ in 0..MAX_SWEEPS {
        let outcome = sweep(graph, rule, capabilities)?;
        let Some(node) = outcome.last_fired else {
            report.declined = outcome.declined;
            return Ok(());
        };
        report.matched += outcome.fired;
        last = node;
        if report.matched > most {
            break;
        }
    }
    Err(PassError::Unsettled {
        pass: report.pass.clone(),
        node: last,
    })
}

/// What one sweep over the graph did.
#[derive(Default)]
struct Outcome {
    fired: usize,
    last_fired: Option<String>,
    declined: Vec<Decline>,
}

/// Offers every node that was there at the start to the rule.
fn sweep(
    graph: &mut Graph,
    rule: &dyn Rule,
    capabilities: &Capabilities,
) -> Result<Outcome, PassError> {
    let (sweep, roots) = (Sweep::new(graph), rule.roots());
    let mut outcome = Outcome::default();
    for node in sweep.order().iter().copied() {
        if !graph.contains(node) || !roots.contains(graph.node(node).op.name()) {
            continue;
        }
        let verdict = rule.rewrite(&Match::new(graph, node, &sweep, capabilities));
        let name = &graph.node(node).name;
        match verdict {
            Err(Declined::NotMine) => {}
            Err(Declined::Because(reason)) => Decline::note(&mut outcome.declined, reason, name),
            Err(Declined::Unmet(reason)) => {
                let pass = rule.meta().id.to_owned();
                let reason = format!("%{name}: {reason}");
                return Err(PassError::Refused { pass, reason });
            }
            Ok(patch) => {
                let name = name.clone();
                apply(patch, graph, rule.meta().id, &name)?;
                outcome.fired += 1;
                outcome.last_fired = Some(name);
            }
        }
    }
    Ok(outcome)
}

fn apply(patch: Patch, graph: &mut Graph, pass: &str, node: &str) -> Result<(), PassError> {
    patch.apply(graph, pass).map_err(|source| PassError::Patch {
        pass: pass.to_owned(),
        node: node.to_owned(),
        source: Box::new(source),
    })
}
