//! `ltxc exec`

use std::time::Instant;

use ltxc_bundle::Bundle;
use ltxc_runtime::tensor::file;

use crate::args::ExecArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};
use crate::session::runner;

pub fn command(args: &ExecArgs) -> Outcome {
    let bundle = Bundle::open(&args.bundle)?;
    let components = &bundle.manifest.components;
    if !components.contains_key(&args.component) {
        let known: Vec<&str> = components.keys().map(String::as_str).collect();
        return Err(Failure::Misuse(format!(
            "the bundle has no component `{}`; it has {}",
            args.component,
            known.join(", ")
        )));
    }
    let inputs = file::read(&args.input).map_err(|e| Failure::Input(e.into()))?;
    let budget = args.memory_budget.map(|budget| budget.0);
    let runner = runner(bundle, args.runtime, true)?;
    let cuts = runner.exec_cuts(&args.component, &inputs, args.pieces, budget);
    let cuts = cuts.map_err(|e| Failure::Input(e.into()))?;
    if let Some(cuts) = &cuts {
        note!("{}: {cuts}", args.component);
    }
    let mut seconds = Vec::new();
    let mut outputs = None;
    for _ in 0..args.repeat.max(1) {
        let (given, start) = (inputs.clone(), Instant::now());
        let made = match &cuts {
            None => runner.exec(&args.component, given),
            Some(cuts) => runner.exec_by(&args.component, given, cuts),
        };
        outputs = Some(made.map_err(|e| Failure::Input(e.into()))?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    if let (Some(path), Some(outputs)) = (&args.output, &outputs) {
        file::write(path, outputs).map_err(|e| Failure::Input(e.into()))?;
    }
    match (args.json, &args.output) {
        (true, _) => say!("{}", serde_json::json!(seconds)),
        (false, Some(path)) => say!("{}", path.display()),
        (false, None) => {
            for (name, tensor) in outputs.iter().flatten() {
                say!("{name}: {}{:?}", tensor.dtype().name(), tensor.shape());
            }
        }
    }
    Ok(())
}
