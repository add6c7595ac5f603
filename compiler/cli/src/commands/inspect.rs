//! `ltxc inspect`

use ltxc_bundle::{Bundle, Component, Manifest, Part, Per, Port, Settings};
use ltxc_ir::{Dtype, Size};
use ltxc_runtime::run::{Call, Job};
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::failure::Outcome;
use crate::output::say;

pub fn command(args: &InspectArgs) -> Outcome {
    let bundle = Bundle::open(&args.bundle)?;
    if args.verify {
        bundle.verify()?;
    }
    if args.json {
        say!("{:#}", summary(&bundle));
        return Ok(());
    }
    let manifest = &bundle.manifest;
    say!(
        "{}: {} for {} (opset {}), by {}",
        bundle.root().display(),
        manifest.name,
        manifest.target.name,
        manifest.target.opset,
        manifest.producer
    );
    say!(
        "one latent is {} frames x {} pixels squared, {} channels",
        manifest.model.frames_per_latent,
        manifest.model.pixels_per_latent,
        manifest.model.latent_channels
    );
    let calls = calls(manifest);
    for (name, component) in &manifest.components {
        show(name, component, &calls)?;
    }
    let total: u64 = manifest.files.values().map(|file| file.bytes).sum();
    say!("\n{} files, {}", manifest.files.len(), bytes(total));
    for note in &manifest.notes {
        say!("note: {note}");
    }
    Ok(())
}

/// What a run of the default size asks of the components; nothing where the bundle holds no whole pipeline.
fn calls(manifest: &Manifest) -> Vec<Call> {
    let settings = Settings {
        prompt: Some(String::new()),
        ..Settings::default()
    };
    Job::calls(manifest, settings).unwrap_or_default()
}

fn show(name: &str, component: &Component, calls: &[Call]) -> Outcome {
    let dtypes: Vec<String> = component
        .weight_dtypes
        .iter()
        .map(|(dtype, n)| format!("{dtype} {}", bytes(*n)))
        .collect();
    say!(
        "\n{name}: {} parameters, {} of weights ({})",
        component.parameters,
        bytes(component.weight_bytes),
        dtypes.join(", ")
    );
    say!(
        "  memory of the weights once loaded as f32: {}",
        bytes(component.parameters * 4)
    );
    for part in &component.parts {
        let calls = calls.iter().filter(|call| call.component == *name);
        say!("  {}", describe_part(part, calls));
    }
    for port in &component.inputs {
        say!("  in   {}", describe(port));
    }
    for port in &component.outputs {
        say!("  out  {}", describe(port));
    }
    for (size, limits) in &component.sizes {
        let choices = if limits.one_of.is_empty() {
            String::new()
        } else {
            format!(", one of {}", limits.one_of.join(", "))
        };
        say!("  size {size}: {} to {}{choices}", limits.min, limits.max);
    }
    Ok(())
}

fn describe_part<'a>(part: &Part, calls: impl Iterator<Item = &'a Call>) -> String {
    let when = match part.per {
        Per::Video => "once for a video",
        Per::Step => "at every step",
    };
    let mut kept = part.outputs.iter().map(port_bytes);
    let kept = kept.try_fold(Size::from(0), |sum, bytes| Some(sum + bytes?));
    let kept = kept.unwrap_or_default();
    let of_call = |call: &Call| kept.eval(&|size| call.sizes.get(size).copied());
    let most = calls
        .filter_map(of_call)
        .max()
        .and_then(|n| u64::try_from(n).ok());
    let most = most.map_or_else(String::new, |n| {
        format!(", {} at the default size", bytes(n))
    });
    format!(
        "part {} ({}), {when}: keeps {} values, {kept} bytes{most}",
        part.name,
        part.model,
        part.outputs.len()
    )
}

/// The bytes of a port's tensor, if the manifest speaks of sizes as the compiler writes them.
fn port_bytes(port: &Port) -> Option<Size> {
    let dtype: Dtype = port.dtype.parse().ok()?;
    let bytes = Size::from(dtype.bytes() as i64);
    let mut sizes = port.shape.iter().map(|size| size.parse::<Size>().ok());
    sizes.try_fold(bytes, |product, size| Some(product * size?))
}

fn describe(port: &Port) -> String {
    let source = port
        .source
        .as_ref()
        .map_or_else(String::new, |source| format!(" (drawn: {source})"));
    format!(
        "{}: {}[{}]{source}",
        port.name,
        port.dtype,
        port.shape.join(", ")
    )
}

/// A size in the unit people read.
pub fn bytes(n: u64) -> String {
    indicatif::HumanBytes(n).to_string()
}

/// The manifest's facts and where the bundle is, as JSON.
pub fn summary(bundle: &Bundle) -> Value {
    let manifest = &bundle.manifest;
    let components: serde_json::Map<String, Value> = manifest
        .components
        .iter()
        .map(|(name, c)| (name.clone(), json!(c)))
        .collect();
    json!({
        "bundle": bundle.root().display().to_string(),
        "name": manifest.name,
        "target": manifest.target,
        "model": manifest.model,
        "components": components,
        "bytes": manifest.files.values().map(|file| file.bytes).sum::<u64>(),
    })
}
