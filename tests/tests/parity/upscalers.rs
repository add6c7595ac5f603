//! The latent upscalers against the reference's tensors, from both layouts.

use std::fs;
use std::path::{Path, PathBuf};

use ltxc::CompileOptions;
use ltxc_front::Role;
use ltxc_runtime::run::Runner;
use ltxc_runtime::tensor::Tensor;
use tempfile::TempDir;

use crate::COMPONENT;
use crate::components::exec;
use crate::fixture::{CASES, Errors, difference, folders, golden, golden_path, opened, target};

/// Calls `check` with the golden's folder, the layout and a runner, for every upscaler of a role.
fn for_upscalers(role: Role, mut check: impl FnMut(&Path, &str, &Runner)) {
    let name = role.name();
    let kind = name.trim_end_matches("_upscaler");
    for folder in folders() {
        let original = folder.join(format!("ltxv-{kind}-upscaler-0.9.8.safetensors"));
        if !original.exists() || !golden_path(&folder, &format!("latent_upsample_{kind}")).exists()
        {
            continue;
        }
        let copied = as_diffusers(&original);
        let given = folder.join("diffusers-upscaler");
        let mut layouts = vec![("original", original), ("copied", copied.path().to_owned())];
        if role == Role::SpatialUpscaler && given.is_dir() {
            layouts.push(("inner folder", given.join("latent_upsampler")));
            layouts.push(("diffusers", given));
        }
        for (layout, path) in layouts {
            let case = folder.file_name().unwrap().to_string_lossy();
            let options = options(role, path);
            let (_, runner) = opened(&format!("{case} {name} {layout}"), &options);
            check(&folder, layout, &runner);
        }
    }
}

fn options(role: Role, path: PathBuf) -> CompileOptions {
    let pipeline = match role {
        Role::TemporalUpscaler => "ltxv/temporal",
        _ => "ltxv/multi_scale",
    };
    CompileOptions {
        preset: "ltxv".to_owned(),
        overrides: vec![("pipeline".to_owned(), pipeline.to_owned())],
        checkpoints: [(role, path)].into(),
        target: Some(target()),
        only: vec![role.name().to_owned()],
        ..CompileOptions::default()
    }
}

/// The diffusers layout of an original file: the same tensors, the configuration beside them.
fn as_diffusers(original: &Path) -> TempDir {
    let bytes = fs::read(original).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let config = header["__metadata__"]["config"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let config = config.replace("LatentUpsampler", "LTXLatentUpsamplerModel");
    put("config.json", config.as_bytes());
    put("diffusion_pytorch_model.safetensors", &bytes);
    folder
}

fn upscaled(runner: &Runner, role: Role, latents: &Tensor) -> Tensor {
    let inputs = [("latents".to_owned(), latents.clone())].into();
    let mut made = runner.exec(role.name(), inputs).unwrap();
    made.remove("upscaled").unwrap()
}

#[test]
fn spatial_upscaler() {
    let (mut errors, role) = (Errors::default(), Role::SpatialUpscaler);
    for_upscalers(role, |folder, layout, runner| {
        let golden = golden(folder, "latent_upsample_spatial");
        let case = CASES.iter().find(|case| case.folder == folder).unwrap();
        let statistics = |latents: &Tensor, name: &str| {
            let inputs = vec![("latents", latents.clone())];
            exec(case, "latent_statistics", inputs)
                .remove(name)
                .unwrap()
        };
        let small = statistics(golden.get("input.latents_normalized"), "un_normalized");
        let large = upscaled(runner, role, &small);
        let expected = golden.get("mid.raw_upsampled_of_unnormalized");
        errors.note(
            &case.name,
            &format!("{layout} raw"),
            difference(&large, expected),
            COMPONENT,
        );
        let large = statistics(&large, "normalized");
        let expected = golden.get("out.upsampled_normalized");
        errors.note(
            &case.name,
            &format!("{layout} normalised"),
            difference(&large, expected),
            COMPONENT,
        );
    });
    errors.finish();
}

#[test]
fn temporal_upscaler() {
    let (mut errors, role) = (Errors::default(), Role::TemporalUpscaler);
    for_upscalers(role, |folder, layout, runner| {
        let golden = golden(folder, "latent_upsample_temporal");
        let large = upscaled(runner, role, golden.get("input.latents_unnormalized"));
        let error = difference(&large, golden.get("out.upsampled"));
        let case = folder.file_name().unwrap().to_string_lossy();
        errors.note(&case, layout, error, COMPONENT);
    });
    errors.finish();
}
