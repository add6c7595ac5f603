//! What the host computes itself: schedules, tokens, random numbers.

use std::fs;
use std::path::Path;

use ltxc_runtime::sampling::{Schedule, SchedulerConfig, TorchRng};
use ltxc_runtime::tensor::file;
use ltxc_runtime::text::TextTokenizer;
use serde_json::Value;

use crate::fixture::{CASES, Errors, difference_of, folders, golden, root};

#[test]
fn schedules() {
    let mut errors = Errors::default();
    for folder in folders()
        .iter()
        .filter(|folder| folder.join("goldens/scheduler.safetensors").exists())
    {
        let golden = golden(folder, "scheduler");
        for (name, case) in golden.meta["cases"].as_object().unwrap() {
            let Some(expected) = golden.tensors.get(&format!("out.{name}")) else {
                continue;
            };
            let config: SchedulerConfig = serde_json::from_value(case["config"].clone()).unwrap();
            let tokens: u64 = case["samples_shape"].as_array().unwrap()[2..]
                .iter()
                .map(|n| n.as_u64().unwrap())
                .product();
            let steps = case["steps"].as_u64().unwrap() as usize;
            let found = Schedule::new(&config)
                .unwrap()
                .timesteps(steps, tokens as usize)
                .unwrap();
            let expected = expected.to_f32().unwrap();
            errors.note(
                &folder.file_name().unwrap().to_string_lossy(),
                name,
                difference_of(&found, &expected),
                2.4e-7,
            );
        }
    }
    errors.finish();
}

#[test]
fn tokens() {
    let mut compared = 0;
    for case in CASES.iter() {
        let Ok(text) = fs::read_to_string(case.folder.join("goldens/tokenizer_cases.json")) else {
            continue;
        };
        let bundled = fs::read_to_string(case_tokenizer(case)).unwrap();
        for json in [bundled, ltxc_export_tokenizer(case)] {
            let tokenizer = TextTokenizer::from_json(&json).unwrap();
            for golden in serde_json::from_str::<Vec<Value>>(&text).unwrap() {
                let (ids, mask) = tokenizer
                    .encode(golden["text"].as_str().unwrap(), 16)
                    .unwrap();
                assert_eq!(
                    serde_json::json!(ids),
                    golden["padded16"],
                    "{}: {}",
                    case.name,
                    golden["text"]
                );
                assert_eq!(
                    serde_json::json!(mask),
                    golden["mask16"],
                    "{}: {}",
                    case.name,
                    golden["text"]
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "no fixture has tokenizer cases");
}

fn case_tokenizer(case: &crate::fixture::Case) -> std::path::PathBuf {
    case.bundle
        .join(case.runner.manifest().tokenizer.as_ref().unwrap())
}

/// The same tokenizer from `spiece.model`, where the folder has one.
fn ltxc_export_tokenizer(case: &crate::fixture::Case) -> String {
    let spiece = case.folder.join("diffusers/tokenizer/spiece.model");
    let path = if spiece.exists() {
        spiece
    } else {
        case_tokenizer(case)
    };
    ltxc_export::tokenizer::load(&path).unwrap()
}

#[test]
fn random_numbers() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let given = root().join("rng_vectors.safetensors");
    let path = if given.exists() {
        given
    } else {
        repository.join("rng_vectors.safetensors")
    };
    let vectors = file::read(&path).unwrap();
    let mut compared = 0;
    for (name, tensor) in &vectors {
        let Some(seed) = name
            .strip_prefix("randn.f32.seed")
            .and_then(|rest| rest.split('.').next())
        else {
            continue;
        };
        let expected = tensor.to_f32().unwrap();
        let found = TorchRng::new(seed.parse().unwrap()).normal(expected.len());
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&expected), "{name}");
        compared += 1;
    }
    assert!(compared > 0, "{} holds no vectors", path.display());
}
