//! LoRA files: every dialect lands on the same weights, and what does not fit is refused with the reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ltxc_export::checkpoint::{Change, Checkpoint, LoraError};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const Q: &str = "transformer_blocks.0.attn1.to_q";
const WEIGHT: &str = "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight";

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path)
}

/// 32 wide.
fn model() -> Checkpoint {
    let file = "0.9.8-distilled-like/ltxv-2b-0.9.8-distilled.safetensors";
    Checkpoint::open(&fixture(file)).unwrap()
}

/// 48 wide and deeper.
fn other_model() -> Checkpoint {
    Checkpoint::open(&fixture("13b-like/ltxv-13b-0.9.8-dev.safetensors")).unwrap()
}

/// A file of fp32 tensors.
struct File {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl File {
    fn new() -> Self {
        Self {
            header: Map::new(),
            data: Vec::new(),
        }
    }

    fn with(mut self, key: &str, shape: &[usize], value: f32) -> Self {
        let begin = self.data.len();
        for _ in 0..shape.iter().product() {
            self.data.extend(value.to_le_bytes());
        }
        let entry =
            json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, self.data.len()]});
        self.header.insert(key.to_owned(), entry);
        self
    }

    fn pair(self, layer: &str, up: &str, down: &str, sizes: [usize; 3]) -> Self {
        let [outputs, rank, inputs] = sizes;
        self.with(&format!("{layer}.{up}.weight"), &[outputs, rank], 0.5)
            .with(&format!("{layer}.{down}.weight"), &[rank, inputs], 0.25)
    }

    fn metadata(mut self, key: &str, value: &str) -> Self {
        self.header
            .insert("__metadata__".into(), json!({ key: value }));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let header = Value::Object(self.header.clone()).to_string();
        let length = (header.len() as u64).to_le_bytes();
        [&length, header.as_bytes(), &self.data].concat()
    }

    fn merged(&self, model: Checkpoint, weight: f64) -> Result<Checkpoint, LoraError> {
        merged(&self.bytes(), model, weight)
    }

    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        refused(&self.bytes(), model(), parts);
    }
}

/// The file's name is kept by the model only until this returns, which is enough to look at its plan.
fn merged(bytes: &[u8], mut model: Checkpoint, weight: f64) -> Result<Checkpoint, LoraError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("style.safetensors");
    fs::write(&path, bytes).unwrap();
    model.merge(&path, weight)?;
    Ok(model)
}

#[track_caller]
fn refused(bytes: &[u8], model: Checkpoint, parts: &[&str]) {
    let message = merged(bytes, model, 1.0).unwrap_err().to_string();
    for part in parts.iter().chain(&["style.safetensors"]) {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// The factors of the changes of a tensor.
fn factors(model: &Checkpoint, key: &str) -> Vec<f32> {
    let factor = |change| match change {
        Change::LowRank { factor, .. } | Change::Difference { factor, .. } => factor,
    };
    model.changes(key).map(factor).collect()
}

#[test]
fn every_dialect_lands_on_the_same_layer() {
    let flat = format!("lora_unet_{}", Q.replace('.', "_"));
    for (layer, up, down) in [
        (format!("transformer.{Q}"), "lora_B", "lora_A"),
        (Q.to_owned(), "lora_B", "lora_A"),
        (format!("diffusion_model.{Q}"), "lora_B", "lora_A"),
        (format!("diffusion_model.{Q}"), "lora_up", "lora_down"),
        (
            format!("base_model.model.{Q}"),
            "lora_B.default",
            "lora_A.default",
        ),
        (
            format!("base_model.model.transformer.{Q}"),
            "lora_B",
            "lora_A",
        ),
        (flat.clone(), "lora_up", "lora_down"),
    ] {
        let file = File::new().pair(&layer, up, down, [32, 4, 32]);
        let plain = file.merged(model(), 0.5).unwrap();
        assert_eq!(factors(&plain, WEIGHT), [0.5], "{layer}");
        let with_alpha = File::new().pair(&layer, up, down, [32, 4, 32]).with(
            &format!("{layer}.alpha"),
            &[],
            8.0,
        );
        let model = with_alpha.merged(model(), -0.5).unwrap();
        assert_eq!(factors(&model, WEIGHT), [-1.0], "{layer}");
        assert!(model.is_computed(WEIGHT));
    }
}

#[test]
fn names_of_diffusers_are_those_of_the_original() {
    for (name, key, shape) in [
        ("proj_in", "patchify_proj", [32, 2, 16]),
        (
            "time_embed.emb.timestep_embedder.linear_2",
            "adaln_single.emb.timestep_embedder.linear_2",
            [32, 2, 32],
        ),
        (
            "caption_projection.linear_1",
            "caption_projection.linear_1",
            [32, 2, 32],
        ),
    ] {
        let flat = format!("lora_unet_{}", name.replace('.', "_"));
        for layer in [format!("transformer.{name}"), flat] {
            let file = File::new().pair(&layer, "lora_B", "lora_A", shape);
            let model = file.merged(model(), 1.0).unwrap();
            let key = format!("model.diffusion_model.{key}.weight");
            assert_eq!(factors(&model, &key), [1.0], "{layer}");
        }
    }
}

#[test]
fn differences_change_weights_biases_and_tables() {
    let layer = format!("diffusion_model.{Q}");
    let file = File::new()
        .with(&format!("{layer}.diff"), &[32, 32], 0.1)
        .with(&format!("{layer}.diff_b"), &[32], 0.1)
        .with("diffusion_model.scale_shift_table.diff", &[2, 32], 0.1);
    let model = file.merged(model(), 0.5).unwrap();
    for key in [
        WEIGHT,
        &WEIGHT.replace("weight", "bias"),
        "model.diffusion_model.scale_shift_table",
    ] {
        assert_eq!(factors(&model, key), [0.5], "{key}");
    }
}

#[test]
fn a_pair_and_a_difference_of_one_weight_and_several_files_add_up() {
    let layer = format!("diffusion_model.{Q}");
    let file = File::new()
        .pair(&layer, "lora_up", "lora_down", [32, 4, 32])
        .with(&format!("{layer}.diff"), &[32, 32], 0.1);
    let once = file.merged(model(), 0.5).unwrap();
    assert_eq!(factors(&once, WEIGHT), [0.5, 0.5]);
    let twice = file.merged(once, -1.0).unwrap();
    assert_eq!(factors(&twice, WEIGHT), [0.5, 0.5, -1.0, -1.0]);
    assert_eq!(twice.loras().len(), 2);
    assert!(twice.notes().iter().any(|note| note.contains("weight -1")));
}

#[test]
fn metadata_states_alpha_and_the_size_of_references() {
    let file = || File::new().pair(&format!("transformer.{Q}"), "lora_B", "lora_A", [32, 4, 32]);
    let settings =
        r#"{"transformer.lora_alpha": 2, "transformer.r": 4, "text_encoder.lora_alpha": 9}"#;
    let model_of = |file: File| file.merged(model(), 1.0).unwrap();
    let stated = model_of(file().metadata("lora_adapter_metadata", settings));
    assert_eq!(factors(&stated, WEIGHT), [0.5]);
    for key in [
        "reference_downscale_factor",
        "ss_reference_downscale_factor",
    ] {
        let control = model_of(file().metadata(key, "2"));
        assert_eq!(control.loras()[0].reference_downscale(), Some(2.0));
    }
    let nonsense = model_of(file().metadata("reference_downscale_factor", "NaN"));
    assert_eq!(nonsense.loras()[0].reference_downscale(), None);
    file()
        .metadata("lora_adapter_metadata", r#"{"use_dora": true}"#)
        .refused(&["DoRA"]);
}

#[test]
fn settings_of_peft_lie_beside_its_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("adapter_model.safetensors");
    let layer = format!("base_model.model.{Q}");
    let file = File::new().pair(&layer, "lora_B", "lora_A", [32, 4, 32]);
    fs::write(&path, file.bytes()).unwrap();
    fs::write(
        folder.path().join("adapter_config.json"),
        r#"{"lora_alpha": 16, "r": 4}"#,
    )
    .unwrap();
    let mut model = model();
    model.merge(&path, 1.0).unwrap();
    assert_eq!(factors(&model, WEIGHT), [4.0]);
}

#[test]
fn every_key_must_land() {
    let good = || {
        File::new().pair(
            &format!("diffusion_model.{Q}"),
            "lora_up",
            "lora_down",
            [32, 4, 32],
        )
    };
    let stray = |key: &str, shape: &[usize]| good().with(key, shape, 0.5);
    stray(
        "diffusion_model.transformer_blocks.3.attn1.to_q.lora_up.weight",
        &[32, 4],
    )
    .refused(&[
        "1 of its 3 tensors",
        "no layer `transformer_blocks.3.attn1.to_q`",
    ]);
    stray("lora_unet_transformer_blocks_0_attn1_to_z.alpha", &[])
        .refused(&["no layer `transformer_blocks_0_attn1_to_z`"]);
    stray(
        "diffusion_model.transformer_blocks.0.attn1.to_k.lora_up.weight",
        &[32, 4],
    )
    .refused(&["lora_down) is missing"]);
    stray(
        "diffusion_model.transformer_blocks.0.attn1.to_k.lora_A.weight",
        &[4, 32],
    )
    .refused(&["lora_up) is missing"]);
    stray("diffusion_model.transformer_blocks.0.attn1.to_k.alpha", &[])
        .refused(&["no pair of factors"]);
    stray("text_encoder.encoder.block.0.q.lora_A.weight", &[4, 32]).refused(&["text encoder"]);
    stray(&format!("diffusion_model.{Q}.dora_scale"), &[32, 1]).refused(&["DoRA"]);
    stray(&format!("diffusion_model.{Q}.set_weight"), &[32, 32])
        .refused(&["replacing a whole weight"]);
    stray(
        "diffusion_model.transformer_blocks.0.attn1.to_k.diff",
        &[16, 32],
    )
    .refused(&["16x32 in the LoRA and 32x32 in the model"]);
    stray(&format!("transformer.{Q}.lora_B.weight"), &[32, 4]).refused(&["says the same as"]);
    stray("something", &[1]).refused(&["`something`", "no part of a LoRA"]);
}

#[test]
fn many_misfits_are_counted() {
    let mut file = File::new().pair(Q, "lora_B", "lora_A", [32, 4, 32]);
    for block in 10..30 {
        let layer = format!("transformer_blocks.{block}.attn1.to_q");
        file = file.pair(&layer, "lora_B", "lora_A", [32, 4, 32]);
    }
    let message = file.merged(model(), 1.0).unwrap_err().to_string();
    assert!(message.contains("40 of its 42 tensors"), "{message}");
    assert!(message.contains("and 30 more"), "{message}");
    assert_eq!(message.lines().count(), 12);
}

#[test]
fn a_lora_of_another_model_is_one_sentence() {
    let mut file = File::new();
    for block in 0..5 {
        let layer = format!("transformer.transformer_blocks.{block}.attn1.to_q");
        file = file.pair(&layer, "lora_B", "lora_A", [48, 4, 48]);
    }
    let wide = other_model().tensor(WEIGHT).unwrap().shape.clone();
    let fits = file.merged(other_model(), 1.0);
    assert_eq!(wide == [48, 48], fits.is_ok());
    let message = file.merged(model(), 1.0).unwrap_err().to_string();
    assert!(message.contains("made for another model"), "{message}");
    assert!(message.contains("48x48"), "{message}");
    assert!(message.contains("32x32"), "{message}");
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn hostile_files_are_refused() {
    let layer = format!("diffusion_model.{Q}");
    let pair = |sizes| File::new().pair(&layer, "lora_up", "lora_down", sizes);
    let alpha = |value| pair([32, 4, 32]).with(&format!("{layer}.alpha"), &[], value);
    pair([32, 0, 32]).refused(&["its rank is 0"]);
    pair([32, 4000, 32]).refused(&["its rank is 4000", "1 to 32"]);
    alpha(f32::NAN).refused(&["its alpha is NaN"]);
    alpha(f32::INFINITY).refused(&["its alpha is inf"]);
    pair([32, 4, 32])
        .with(&format!("{layer}.alpha"), &[4], 1.0)
        .refused(&["alpha has shape [4]"]);
    File::new()
        .with(&format!("{layer}.lora_up.weight"), &[32, 3], 1.0)
        .with(&format!("{layer}.lora_down.weight"), &[4, 32], 1.0)
        .refused(&["ranks of the two factors differ: 3 and 4"]);
    File::new()
        .with(&format!("{layer}.lora_up.weight"), &[32, 4, 3, 3], 1.0)
        .with(&format!("{layer}.lora_down.weight"), &[4, 32], 1.0)
        .refused(&["no two matrices"]);
    File::new().refused(&["found no tensors"]);
    let bytes = pair([32, 4, 32]).bytes();
    refused(&bytes[..bytes.len() - 7], model(), &["truncated"]);
    refused(&bytes[..100], model(), &["header"]);
    refused(b"", model(), &["0 bytes"]);
    let entry = r#"{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    let twice = format!(r#"{{"a":{entry},"a":{entry}}}"#);
    let twice = [&(twice.len() as u64).to_le_bytes(), twice.as_bytes()].concat();
    refused(&twice, model(), &["`a` is given twice"]);
}

#[test]
fn whole_numbers_are_no_factors() {
    let mut file = File::new().pair(Q, "lora_B", "lora_A", [32, 4, 32]);
    for (_, entry) in file.header.iter_mut() {
        entry["dtype"] = json!("I32");
    }
    file.refused(&["I32 is no float type"]);
}

#[test]
fn layers_are_those_of_the_file() {
    let mut counts = BTreeMap::new();
    for (name, expected) in [("peft", 33), ("kohya", 5)] {
        let mut model = model();
        model
            .merge(&fixture(&format!("lora/{name}.safetensors")), 1.0)
            .unwrap();
        let keys: Vec<String> = model.tensors().map(|tensor| tensor.key.clone()).collect();
        let changed = keys.iter().filter(|key| model.is_computed(key)).count();
        counts.insert(name, (changed, expected));
    }
    assert!(
        counts.values().all(|(found, expected)| found == expected),
        "{counts:?}"
    );
}
