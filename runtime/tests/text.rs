//! Prompts become the ids that the reference tokenizer gives.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ltxc_runtime::text::TextTokenizer;
use serde_json::Value;

/// The variant that has recorded texts.
const VARIANT: &str = "0.9.8-distilled-like";

fn fixtures() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    std::env::var_os("LTXC_FIXTURES").map_or(beside, PathBuf::from)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| unreachable!("{}: {error}", path.display()))
}

fn ids(value: &Value) -> Vec<i64> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_i64().unwrap()).collect()
}

#[test]
fn ids_are_those_of_transformers() {
    let folder = fixtures().join(VARIANT);
    let json = read(&folder.join("diffusers/tokenizer/tokenizer.json"));
    let tokenizer = TextTokenizer::from_json(&json).unwrap();
    let golden = folder.join("goldens/tokenizer_cases.json");
    let cases: Vec<Value> = serde_json::from_str(&read(&golden)).unwrap();
    assert!(cases.len() >= 16, "{} texts", cases.len());
    for case in &cases {
        let text = case["text"].as_str().unwrap();
        let (found, mask) = tokenizer.encode(text, 16).unwrap();
        assert_eq!(found, ids(&case["padded16"]), "{text:?}");
        assert_eq!(mask, ids(&case["mask16"]), "{text:?}");
        let whole = ids(&case["transformers_ids"]);
        let found = tokenizer.encode(text, whole.len()).unwrap().0;
        assert_eq!(found, whole, "{text:?}");
    }
}

#[test]
fn there_must_be_room_for_the_end() {
    let json = include_str!("data/words.json");
    let tokenizer = TextTokenizer::from_json(json).unwrap();
    assert_eq!(tokenizer.encode("a cat", 1).unwrap(), (vec![1], vec![1]));
    let padded = (vec![4, 1, 0], vec![1, 1, 0]);
    assert_eq!(tokenizer.encode(" cat\n", 3).unwrap(), padded);
    assert!(tokenizer.encode("cat", 0).is_err());
}

#[test]
fn unusable_descriptions_are_refused() {
    for text in [
        "",
        "{}",
        "{\"model\":{\"type\":\"Unigram\",\"unk_id\":7,\"vocab\":[]}}",
    ] {
        assert!(TextTokenizer::from_json(text).is_err(), "{text}");
    }
}
