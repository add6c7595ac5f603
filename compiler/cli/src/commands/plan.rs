//! `ltxc plan`

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::attrs::Per;
use ltxc_ir::{Graph, NodeId, Size};
use ltxc_passes::memory::{self, MemoryPlan};
use ltxc_passes::transforms::specialize::{Bindings, specialize};
use ltxc_runtime::run::{Call, Cuts};
use serde::Serialize;
use serde_json::json;

use crate::args::PlanArgs;
use crate::compile::{Compiled, Project};
use crate::failure::{Failure, Outcome};
use crate::latent_grid;
use crate::output::{note, say};
use crate::sizes;

/// What one stage needs while it runs.
#[derive(Debug, Serialize)]
struct Row {
    stage: String,
    component: String,
    sizes: Bindings,
    #[serde(flatten)]
    plan: MemoryPlan,
    /// Whether a run does so; where a video is better computed in pieces, what it would need at once stands beside.
    used: bool,
}

/// The whole run, in bytes.
#[derive(Debug, Serialize)]
struct Peaks {
    /// One component in memory at a time.
    offloaded: u64,
    /// All components in memory throughout.
    resident: u64,
    /// What the process needs beside its graphs.
    process: u64,
}

pub fn command(args: &PlanArgs) -> Outcome {
    let project = Project::open(&super::options(&args.preset, &args.project)?)?;
    let checkpoints = project.open_given()?;
    let grid = latent_grid(&project, &checkpoints)?;
    let calls = sizes::calls(&project, &checkpoints)?;
    let (mut rows, mut known) = (Vec::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for call in calls {
        if !project.graphs.contains_key(&call.component) {
            continue;
        }
        seen.insert(call.component.clone());
        if known.insert((call.component.clone(), format!("{:?}", call.sizes))) {
            let graph = project.expand(
                &call.component,
                &checkpoints[&project.role_of(&call.component)],
            )?;
            let open = graph.clone();
            let graph = specialize(&graph, &call.sizes).map_err(|e| Failure::Input(e.into()))?;
            let parts = project.lower(&call.component, graph.clone(), grid)?;
            let dense = project.lower_dense(&call.component, graph, grid, &parts)?;
            let pieces = in_pieces(&project, &call, &open, &parts, args)?;
            for part in &parts {
                if let Some(said) = part.note.as_ref().filter(|_| pieces.is_none()) {
                    note!("note: {said}");
                }
                rows.push(Row {
                    plan: memory::plan(&part.graph, project.capabilities()?.memory),
                    stage: call.stage.clone(),
                    component: label(&call.component, part.per),
                    sizes: call.sizes.clone(),
                    used: pieces.is_none(),
                });
            }
            let model = project.capabilities()?.memory;
            rows.extend(dense.iter().flatten().map(|dense| Row {
                stage: call.stage.clone(),
                component: format!("{}, dense", call.component),
                sizes: call.sizes.clone(),
                plan: MemoryPlan {
                    // Those of the others, which it takes turns with.
                    weights: 0,
                    ..memory::plan(&dense.graph, model)
                },
                used: true,
            }));
            rows.extend(pieces);
        }
    }
    for name in project.graphs.keys().filter(|name| !seen.contains(*name)) {
        note!(
            "`{name}` is not in the plan: a run without conditions does not call it, or its checkpoint is not given"
        );
    }
    let peaks = peaks(&rows, project.capabilities()?.memory.base_mib << 20);
    match args.json {
        true => say!(
            "{}",
            json!({"target": project.target.name, "stages": rows, "peak": peaks})
        ),
        false => show(&project, &rows, &peaks)?,
    }
    Ok(())
}

/// What a component needs that a run computes in pieces.
fn in_pieces(
    project: &Project,
    call: &Call,
    open: &Graph,
    parts: &[Compiled],
    args: &PlanArgs,
) -> Outcome<Option<Row>> {
    let (stream, _) = project.lower_stages(&call.component, open, None)?;
    let Some(stream) = stream else {
        return Ok(None);
    };
    let model = project.capabilities()?.memory;
    let stream = stream.described(parts, model);
    let size = |size: &Size| size.eval(&|name| call.sizes.get(name).copied());
    let shape = |id: NodeId| -> Option<Vec<usize>> {
        let sizes = open.node(id).fact.shape.iter().map(size);
        sizes.map(|size| usize::try_from(size?).ok()).collect()
    };
    let given = stream.frames.first().and_then(|flow| open.find(&flow.name));
    let pixels = open
        .graph_outputs()
        .first()
        .map(|(_, id)| *id)
        .and_then(shape);
    let Some((shape, pixels)) = given.and_then(shape).zip(pixels) else {
        return Ok(None);
    };
    let frames = call
        .sizes
        .get("frames")
        .map_or(1, |frames| *frames as usize);
    let pixels = pixels.iter().product::<usize>() / 3;
    let weights = parts
        .iter()
        .map(|part| memory::plan(&part.graph, model).weights)
        .sum();
    let budget = args.project.memory_budget.map(|budget| budget.0);
    let counts = (frames, pixels);
    let cuts = Cuts::automatic(&stream, weights, &call.sizes, &shape, counts, budget);
    let cuts = cuts.map_err(|e| Failure::Input(e.into()))?;
    Ok(cuts.map(|cuts| Row {
        stage: call.stage.clone(),
        component: format!("{}, pieces", call.component),
        sizes: call.sizes.clone(),
        plan: MemoryPlan {
            weights,
            inputs: cuts.bytes.saturating_sub(cuts.step + weights),
            activations: cuts.step,
            working: 0,
            peak: format!("{cuts}; {} GB kept between steps", gb(cuts.kept)),
            alive: Vec::new(),
        },
        used: true,
    }))
}

/// A part that runs once for a video stands beside the one that runs at every step.
fn label(component: &str, per: Per) -> String {
    match per {
        Per::Step => component.to_owned(),
        Per::Video => format!("{component}, once"),
    }
}

fn peaks(rows: &[Row], process: u64) -> Peaks {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.used).collect();
    let weights: BTreeMap<&str, u64> = rows
        .iter()
        .map(|row| (row.component.as_str(), row.plan.weights))
        .collect();
    let beside = |rows: &[&Row]| {
        let rest = rows.iter().map(|row| row.plan.total() - row.plan.weights);
        rest.max().unwrap_or(0)
    };
    // The parts of a component are loaded together.
    let stage = |name: &str| {
        let rows: Vec<&Row> = rows
            .iter()
            .copied()
            .filter(|row| row.stage == name)
            .collect();
        let loaded: BTreeSet<&str> = rows.iter().map(|row| row.component.as_str()).collect();
        loaded.iter().map(|name| weights[name]).sum::<u64>() + beside(&rows)
    };
    let stages = rows.iter().map(|row| stage(&row.stage));
    Peaks {
        offloaded: stages.max().unwrap_or(0) + process,
        resident: beside(&rows) + weights.values().sum::<u64>() + process,
        process,
    }
}

fn show(project: &Project, rows: &[Row], peaks: &Peaks) -> Outcome {
    let video = &project.defaults;
    let number = |n: Option<usize>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let (width, height, frames) = (
        number(video.width),
        number(video.height),
        number(video.frames),
    );
    say!(
        "{} for {}, {width}x{height}x{frames} (width x height x frames), GB = 10^9 bytes",
        project.preset.name,
        project.target.name
    );
    say!(
        "{:<10} {:<18} {:>8} {:>12} {:>8} {:>8}  at",
        "stage",
        "component",
        "weights",
        "activations",
        "working",
        "total"
    );
    for row in rows {
        let plan = &row.plan;
        let activations = plan.activations + plan.inputs;
        say!(
            "{:<10} {:<18} {:>8} {:>12} {:>8} {:>8}  {}",
            row.stage,
            row.component,
            gb(plan.weights),
            gb(activations),
            gb(plan.working),
            gb(plan.total()),
            plan.peak
        );
    }
    if peaks.process > 0 {
        say!("{:<29} {:>39}", "the process itself", gb(peaks.process));
    }
    say!(
        "{:<29} {:>39}",
        "peak, one component at a time",
        gb(peaks.offloaded)
    );
    say!(
        "{:<29} {:>39}",
        "peak, all components resident",
        gb(peaks.resident)
    );
    Ok(())
}

fn gb(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1e9)
}
