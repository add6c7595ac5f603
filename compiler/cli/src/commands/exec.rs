//! `ltxc exec`

use std::time::Instant;

use ltxc_bundle::Bundle;
use ltxc_runtime::tensor::file;

use crate::args::ExecArgs;
use crate::failure::{Failure, Outcome};
use crate::session::runner;

pub fn command(args: &ExecArgs) -> Outcome {
    let runner = runner(Bundle::open(&args.bundle)?, args.threads)?;
    let inputs = file::read(&args.input).map_err(|e| Failure::Input(e.into()))?;
    let mut seconds = Vec::new();
    let mut outputs = None;
    for _ in 0..args.repeat.max(1) {
        let (given, start) = (inputs.clone(), Instant::now());
        outputs = Some(
            runner
                .exec(&args.component, given)
                .map_err(|e| Failure::Input(e.into()))?,
        );
        seconds.push(start.elapsed().as_secs_f64());
    }
    if let (Some(path), Some(outputs)) = (&args.output, &outputs) {
        file::write(path, outputs).map_err(|e| Failure::Input(e.into()))?;
    }
    match (args.json, &args.output) {
        (true, _) => println!("{}", serde_json::json!(seconds)),
        (false, Some(path)) => println!("{}", path.display()),
        (false, None) => outputs.iter().flatten().for_each(|(name, tensor)| {
            println!("{name}: {}{:?}", tensor.dtype().name(), tensor.shape())
        }),
    }
    Ok(())
}
