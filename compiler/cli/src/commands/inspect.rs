//! `ltxc inspect`

use ltxc_bundle::{Bundle, Component, Port};
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
    for (name, component) in &manifest.components {
        show(name, component)?;
    }
    let total: u64 = manifest.files.values().map(|file| file.bytes).sum();
    say!("\n{} files, {}", manifest.files.len(), bytes(total));
    for note in &manifest.notes {
        say!("note: {note}");
    }
    Ok(())
}

fn show(name: &str, component: &Component) -> Outcome {
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
