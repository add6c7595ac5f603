//! Both tokenizer files give the ids that transformers gives.

use std::path::Path;

use ltxc_export::tokenizer::load;
use ltxc_runtime::text::TextTokenizer;
use serde_json::Value;

fn ids(value: &Value) -> Vec<i64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_i64().unwrap())
        .collect()
}

fn check_cases(tokenizer: &TextTokenizer, cases: &[Value], name: &Path) {
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let (found, mask) = tokenizer.encode(text, 16).unwrap();
        assert_eq!(found, ids(&case["padded16"]), "{text:?} {}", name.display());
        assert_eq!(mask, ids(&case["mask16"]), "{text:?}");
        let whole = ids(&case["transformers_ids"]);
        assert_eq!(
            tokenizer.encode(text, whole.len()).unwrap().0,
            whole,
            "{text:?}"
        );
    }
}

#[test]
fn ids_are_those_of_transformers() {
    for variant in crate::variants() {
        let Ok(golden) = std::fs::read_to_string(variant.join("goldens/tokenizer_cases.json"))
        else {
            continue;
        };
        let cases: Vec<Value> = serde_json::from_str(&golden).unwrap();
        let folder = variant.join("diffusers/tokenizer");
        let files = [
            folder.clone(),
            folder.join("spiece.model"),
            folder.join("tokenizer.json"),
        ];
        for path in files
            .iter()
            .chain([&variant.join("diffusers")])
            .filter(|path| path.exists())
        {
            let tokenizer = TextTokenizer::from_json(&load(path).unwrap()).unwrap();
            check_cases(&tokenizer, &cases, path);
        }
    }
}

#[test]
fn a_converted_model_equals_the_published_description() {
    for variant in crate::variants() {
        let folder = variant.join("diffusers/tokenizer");
        if !folder.join("spiece.model").exists() || !folder.join("tokenizer.json").exists() {
            continue;
        }
        let [converted, published] = ["spiece.model", "tokenizer.json"]
            .map(|name| serde_json::from_str::<Value>(&load(&folder.join(name)).unwrap()).unwrap());
        assert_eq!(converted, published, "{}", variant.display());
    }
}

/// A SentencePiece model made of `pieces` (text, score, kind) and raw further fields.
fn spiece(pieces: &[(&str, f32, u8)], rest: &[u8]) -> Vec<u8> {
    let mut model = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend(text.as_bytes());
        piece.push(0x15);
        piece.extend(score.to_le_bytes());
        piece.extend([0x18, *kind]);
        model.extend([0x0a, piece.len() as u8]);
        model.extend(piece);
    }
    model.extend(rest);
    model
}

const PIECES: [(&str, f32, u8); 5] = [
    ("<pad>", 0.0, 3),
    ("</s>", 0.0, 3),
    ("<unk>", 0.0, 2),
    ("▁", -1.0, 1),
    ("▁a", -2.0, 1),
];
const UNIGRAM: [u8; 4] = [0x12, 2, 0x18, 1];

fn load_bytes(name: &str, bytes: &[u8]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    load(&path).map_err(|error| error.to_string())
}

#[test]
fn a_small_model_converts_and_cuts_in_front_of_the_end() {
    let json = load_bytes("spiece.model", &spiece(&PIECES, &UNIGRAM)).unwrap();
    let tokenizer = TextTokenizer::from_json(&json).unwrap();
    assert_eq!(
        tokenizer.encode(" a a\n", 5).unwrap(),
        (vec![4, 4, 1, 0, 0], vec![1, 1, 1, 0, 0])
    );
    assert_eq!(
        tokenizer.encode("a a a", 2).unwrap(),
        (vec![4, 1], vec![1, 1])
    );
    assert_eq!(
        tokenizer.encode("a <extra_id_99>", 4).unwrap().0,
        [4, 5, 1, 0]
    );
    assert!(tokenizer.encode("a", 0).is_err());
}

#[test]
fn unusable_models_are_refused() {
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        (
            b"garbage that is no model".to_vec(),
            "no SentencePiece model",
        ),
        (Vec::new(), "trainer settings"),
        (spiece(&PIECES, &[0x12, 2, 0x18, 2]), "unigram"),
        (spiece(&PIECES, &[0x12, 3, 0x98, 2, 1]), "byte fallback"),
        (spiece(&PIECES[1..], &UNIGRAM), "<pad>"),
        (spiece(&[PIECES[0], PIECES[1]], &UNIGRAM), "<unk>"),
        (
            spiece(&[PIECES[0], PIECES[1], ("<unk>", 0.0, 1)], &UNIGRAM),
            "not marked",
        ),
        (spiece(&[("", 0.0, 1)], &UNIGRAM), "piece 0 is empty"),
        (spiece(&[("x", f32::NAN, 1)], &UNIGRAM), "score NaN"),
    ];
    let hostile_map = [0x1a, 6, 0x12, 4, 0xff, 0xff, 0xff, 0xff];
    cases.push((
        spiece(&PIECES, &[&UNIGRAM[..], &hostile_map].concat()),
        "character map",
    ));
    for (bytes, expected) in cases {
        let message = load_bytes("spiece.model", &bytes).unwrap_err();
        assert!(
            message.contains(expected) && message.contains("spiece.model"),
            "{expected}: {message}"
        );
    }
}

#[test]
fn unusable_descriptions_are_refused() {
    let map = |text: &str| {
        format!(
            "{{\"normalizer\":{{\"a\":[{{\"precompiled_charsmap\":\"{text}\"}}]}},\"model\":{{\"type\":\"Unigram\"}}}}"
        )
    };
    let cases = [
        ("{".to_owned(), "EOF"),
        ("{}".to_owned(), "no model type"),
        ("{\"model\":{\"type\":\"BPE\"}}".to_owned(), "BPE"),
        (format!("{{\"a\":{}", "[".repeat(100_000)), "recursion"),
        (map("/////w=="), "character map"),
        (map("?"), "base64"),
    ];
    for (text, expected) in cases {
        let message = load_bytes("tokenizer.json", text.as_bytes()).unwrap_err();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    assert!(load(Path::new("/nonexistent")).is_err());
    assert!(
        load(tempfile::tempdir().unwrap().path())
            .unwrap_err()
            .to_string()
            .contains("neither")
    );
    for text in [
        "",
        "{}",
        "{\"model\":{\"type\":\"Unigram\",\"unk_id\":7,\"vocab\":[]}}",
    ] {
        assert!(TextTokenizer::from_json(text).is_err(), "{text}");
    }
}

#[test]
fn every_changed_byte_of_a_small_model_is_survived() {
    let whole = spiece(&PIECES, &UNIGRAM);
    for position in 0..whole.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[position] ^= flip;
            let Ok(json) = load_bytes("spiece.model", &changed) else {
                continue;
            };
            if let Ok(tokenizer) = TextTokenizer::from_json(&json) {
                let _ = tokenizer.encode("a b </s> ½", 8);
            }
        }
    }
}
