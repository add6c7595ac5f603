//! `ltxc inspect`

use ltxc_bundle::{Bundle, Component, Port};
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::failure::Outcome;

pub fn command(args: &InspectArgs) -> Outcome {
    let bundle = Bundle::open(&args.bundle)?;
    if args.verify {
        bundle.verify()?;
    }
    if args.json {
        println!("{:#}", summary(&bundle));
        return Ok(());
    }
    let manifest = &bundle.manifest;
    println!(
        "{}: {} for {} (opset {}), by {}",
        bundle.root().display(),
        manifest.name,
        manifest.target.name,
        manifest.target.opset,
        manifest.producer
    );
    println!(
        "one latent is {} frames x {} pixels squared, {} channels",
        manifest.model.frames_per_latent,
        manifest.model.pixels_per_latent,
        manifest.model.latent_channels
    );
    for (name, component) in &manifest.components {
        show(name, component);
    }
    let total: u64 = manifest.files.values().map(|file| file.bytes).sum();
    println!("\n{} files, {}", manifest.files.len(), bytes(total));
    manifest
        .notes
        .iter()
        .for_each(|note| println!("note: {note}"));
    Ok(())
}

fn show(name: &str, component: &Component) {
    let dtypes: Vec<String> = component
        .weight_dtypes
        .iter()
        .map(|(dtype, n)| format!("{dtype} {}", bytes(*n)))
        .collect();
    println!(
        "\n{name}: {} parameters, {} of weights ({})",
        component.parameters,
        bytes(component.weight_bytes),
        dtypes.join(", ")
    );
    println!(
        "  memory of the weights once loaded as f32: {}",
        bytes(component.parameters * 4)
    );
    component
        .inputs
        .iter()
        .for_each(|port| println!("  in   {}", describe(port)));
    component
        .outputs
        .iter()
        .for_each(|port| println!("  out  {}", describe(port)));
    for (size, limits) in &component.sizes {
        let choices = if limits.one_of.is_empty() {
            String::new()
        } else {
            format!(", one of {}", limits.one_of.join(", "))
        };
        println!("  size {size}: {} to {}{choices}", limits.min, limits.max);
    }
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
