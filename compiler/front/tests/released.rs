//! Released configs read as the presets of the same names, and every mistake in one has its place.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use ltxc_bundle::{Scheduled, Settings};
use ltxc_front::library::{self, Shelf};
use ltxc_front::{Diagnostic, FileKind, PresetFile, Role, Source, kind_of};

/// Presets that are no release: any checkpoint, and the project's own.
const NO_RELEASE: [&str; 2] = ["ltxv", "shapes"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(root().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

fn configs() -> Vec<Source> {
    let files = files("tests/fixtures/configs");
    files
        .iter()
        .map(|path| library::read_path(path).unwrap())
        .collect()
}

fn config(name: &str) -> Source {
    let path = format!("tests/fixtures/configs/{name}.yaml");
    library::read_path(&root().join(path)).unwrap()
}

fn settings(preset: &PresetFile) -> Settings {
    preset.defaults.read().unwrap()
}

fn with(source: &Source, overrides: &[(&str, &str)]) -> Result<PresetFile, Vec<Diagnostic>> {
    let overrides: Vec<(String, String)> = overrides
        .iter()
        .map(|(path, value)| (path.to_string(), value.to_string()))
        .collect();
    PresetFile::read(source, &overrides)
}

/// Reads a text with all of its settings, as a compile does.
fn read(source: &Source, overrides: &[(&str, &str)]) -> Result<Settings, Vec<Diagnostic>> {
    with(source, overrides)?.defaults.read()
}

fn text(text: &str) -> Source {
    Source::new("a.yaml", text)
}

#[test]
fn every_release_reads_as_the_preset_of_its_name() {
    let configs = configs();
    assert_eq!(configs.len(), 15);
    for source in configs {
        assert_eq!(kind_of(&source).unwrap(), FileKind::Released);
        let released = PresetFile::read(&source, &[]).unwrap();
        let name = source.short_name().strip_suffix(".yaml").unwrap();
        let preset = library::read(Shelf::Presets, name, Path::new("")).unwrap();
        let preset = PresetFile::read(&preset, &[]).unwrap();
        assert_eq!(released.name, preset.name);
        assert_eq!(released.pipeline.text, preset.pipeline.text, "{name}");
        let options = |preset: &PresetFile| -> Vec<(String, String)> {
            let option =
                |(name, value): (&String, &ltxc_front::Placed)| (name.clone(), value.text.clone());
            preset.options.iter().map(option).collect()
        };
        assert_eq!(options(&released), options(&preset), "{name}");
        assert_eq!(settings(&released), settings(&preset), "{name}");
    }
}

#[test]
fn every_preset_of_a_release_has_its_config_and_names_no_files() {
    for name in library::names(Shelf::Presets) {
        if NO_RELEASE.contains(&name.as_str()) {
            continue;
        }
        assert!(
            root()
                .join(format!("tests/fixtures/configs/{name}.yaml"))
                .exists(),
            "{name}"
        );
        let preset = library::read(Shelf::Presets, &name, Path::new("")).unwrap();
        let preset = PresetFile::read(&preset, &[]).unwrap();
        assert!(
            preset.doc.starts_with("LTX-Video ") && preset.doc.ends_with('.'),
            "{name}"
        );
        assert!(preset.checkpoints.is_empty(), "{name}");
        assert_eq!(preset.tokenizer, None, "{name}");
    }
}

/// What the two kinds of pipeline come to, and the window of ours, written out once so that both readers cannot be wrong alike.
#[test]
fn the_settings_are_those_of_the_original_program() {
    let one = settings(&PresetFile::read(&config("ltxv-2b-0.9.6-distilled"), &[]).unwrap());
    let expected = serde_json::json!({
        "height": 704, "width": 1216, "frames": 121, "window": 257, "fps": 30.0, "seed": 171198,
        "negative_prompt": "worst quality, inconsistent motion, blurry, jittery, distorted",
        "image_cond_noise_scale": 0.15, "max_tokens": 256, "noise": "original",
        "steps": 8, "sampler": "from_checkpoint", "guidance_scale": 1, "stg_scale": 0,
        "rescaling_scale": 1, "stochastic_sampling": true, "decode_timestep": 0.05,
        "decode_noise_scale": 0.025,
    });
    assert_eq!(one, serde_json::from_value(expected).unwrap());

    let two = settings(&PresetFile::read(&config("ltxv-13b-0.9.8-distilled"), &[]).unwrap());
    let first = two.first_pass.as_ref().unwrap();
    let second = two.second_pass.as_ref().unwrap();
    assert_eq!(two.downscale_factor, Some(0.6666666));
    assert_eq!(second.timesteps, Some(vec![0.9094, 0.725, 0.4219]));
    assert_eq!(second.tone_map_compression_ratio, Some(0.6));
    assert_eq!(first.tone_map_compression_ratio, None);
    assert_eq!(first.skip_block_list, Some(Scheduled::Constant(vec![42])));
    assert_eq!(
        (two.steps, two.guidance_scale, two.stg_scale),
        (None, None, None)
    );
}

#[test]
fn silence_means_the_original_programs_own_defaults() {
    let source = text("checkpoint_path: a.safetensors\ndecode_timestep: 0.1\nheight: 256\n");
    let preset = PresetFile::read(&source, &[]).unwrap();
    assert_eq!(preset.pipeline.text, "ltxv/base");
    let read = settings(&preset);
    assert_eq!(
        (read.height, read.width, read.steps),
        (Some(256), Some(1216), Some(20))
    );
    assert_eq!(read.guidance_scale, Some(Scheduled::Constant(4.5)));
    assert_eq!(read.decode_noise_scale, Some(0.1));

    // The second pass takes its steps from the default, the first states its own timesteps.
    let source = text(
        "pipeline_type: multi-scale\ndownscale_factor: 0.5\nspatial_upscaler_model_path: u\n\
         first_pass: {timesteps: [1.0], stg_scale: 0}\nsecond_pass: {stg_scale: 0}\n",
    );
    let read = settings(&PresetFile::read(&source, &[]).unwrap());
    assert_eq!((read.steps, read.stg_scale), (Some(20), None));
}

#[test]
fn words_of_the_original_program_are_understood() {
    let sampler = |word: &str| {
        read(&config("ltxv-2b-0.9.5"), &[("sampler", word)])
            .unwrap()
            .sampler
    };
    for word in ["linear-quadratic", "LinearQuadratic", "linear_quadratic"] {
        assert_eq!(sampler(word).as_deref(), Some("linear_quadratic"), "{word}");
    }
    assert_eq!(sampler("Uniform").as_deref(), Some("uniform"));
    assert_eq!(sampler("''").as_deref(), Some("from_checkpoint"));
    assert_eq!(sampler("~"), None);
    let words = [
        ("stg_av", "attention_values"),
        ("STG_AS", "attention_skip"),
        ("Residual", "residual"),
        ("stg_t", "transformer_block"),
    ];
    for (word, mode) in words {
        let preset = with(&config("ltxv-2b-0.9.5"), &[("stg_mode", word)]).unwrap();
        assert_eq!(preset.options["stg_mode"].text, mode);
    }
}

#[test]
fn values_are_set_by_their_official_names() {
    let overrides = [
        ("num_inference_steps", "8"),
        ("first_pass.stg_scale", "0"),
        ("second_pass.decode_timestep", "0.025"),
        ("num_frames", "9"),
    ];
    let read = read(&config("ltxv-13b-0.9.8-dev"), &overrides).unwrap();
    assert_eq!((read.steps, read.frames), (Some(8), Some(9)));
    assert_eq!(
        read.first_pass.unwrap().stg_scale,
        Some(Scheduled::Constant(0.0))
    );
    assert_eq!(read.second_pass.unwrap().decode_timestep, Some(0.025));
}

#[test]
fn a_mistake_on_the_command_line_is_not_blamed_on_the_file() {
    let wrong = [
        ("first_pass.stg_scael", "1"),
        ("defaults.steps", "1"),
        ("stg_mode", "soft"),
        ("pipeline_type", "both"),
        ("height", "tall"),
    ];
    for set in wrong {
        let mistakes = read(&config("ltxv-13b-0.9.8-dev"), &[set]).unwrap_err();
        assert_eq!(
            &*mistakes[0].source.name, "--set",
            "{set:?}: {}",
            mistakes[0]
        );
    }
}

#[test]
fn what_has_no_meaning_here_is_said() {
    let notes = PresetFile::read(&config("ltxv-13b-0.9.8-dev-fp8"), &[])
        .unwrap()
        .notes;
    assert!(notes[0].contains("`precision: float8_e4m3fn`"), "{notes:?}");
    assert!(
        notes[1].contains("prompts are used as they are written"),
        "{notes:?}"
    );
    assert_eq!(notes.len(), 2);
    let quiet = [
        ("precision", "~"),
        ("prompt_enhancement_words_threshold", "0"),
    ];
    assert!(
        with(&config("ltxv-13b-0.9.8-dev"), &quiet)
            .unwrap()
            .notes
            .is_empty()
    );
    let upscaler = [quiet[0], quiet[1], ("spatial_upscaler_model_path", "u")];
    let notes = with(&config("ltxv-2b-0.9"), &upscaler).unwrap().notes;
    assert!(notes[0].contains("is not used"), "{notes:?}");
}

#[test]
fn files_are_looked_for_in_the_working_folder_and_beside_the_config() {
    let tmp = tempfile::TempDir::new().unwrap();
    let path = tmp.path().join("my config (1).yaml");
    let text = "pipeline_type: multi-scale\ncheckpoint_path: Cargo.toml\nspatial_upscaler_model_path: up/a.safetensors\n\
                text_encoder_model_name_or_path: PixArt-alpha/PixArt-XL-2-1024-MS\n\
                downscale_factor: 0.5\nfirst_pass: {timesteps: [1.0]}\nsecond_pass: {timesteps: [0.5]}\n";
    fs::write(&path, text).unwrap();
    fs::create_dir(tmp.path().join("up")).unwrap();
    let read = || PresetFile::read(&library::read_path(&path).unwrap(), &[]).unwrap();
    let missing = read();
    assert_eq!(missing.name, "my-config--1");
    let beside = tmp.path().join(&missing.checkpoints[&Role::Model]);
    assert_eq!(
        beside,
        Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")
    );
    assert_eq!(missing.checkpoints.len(), 1);
    let advice = &missing.missing[&Role::TextEncoder];
    assert!(advice.contains("https://huggingface.co/PixArt-alpha/PixArt-XL-2-1024-MS into one folder, and give --text-encoder FOLDER"), "{advice}");
    assert!(missing.missing[&Role::SpatialUpscaler].contains("--spatial-upscaler FILE"));

    fs::write(tmp.path().join("up/a.safetensors"), "").unwrap();
    fs::create_dir_all(
        tmp.path()
            .join("PixArt-alpha/PixArt-XL-2-1024-MS/text_encoder"),
    )
    .unwrap();
    let found = read();
    let path = |role| found.checkpoints[&role].as_str();
    assert_eq!(path(Role::SpatialUpscaler), "up/a.safetensors");
    assert_eq!(path(Role::TextEncoder), "PixArt-alpha/PixArt-XL-2-1024-MS");
    assert!(found.missing.is_empty());
}
