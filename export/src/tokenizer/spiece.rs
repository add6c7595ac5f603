//! Converts a SentencePiece model into the tokenizer that transformers' `T5Tokenizer` builds from
//! it: the character map, words split at white space, `▁` in front of each, the unigram model, 100
//! sentinels `<extra_id_N>` behind the pieces, and `</s>` at the end of a text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};

use super::charsmap;

/// T5 has this many sentinels behind its pieces.
const SENTINELS: usize = 100;

const UNIGRAM: i32 = 1;
const KIND_UNKNOWN: i32 = 2;
const PAD: &str = "<pad>";
const END: &str = "</s>";
const UNKNOWN: &str = "<unk>";

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    charsmap: Option<Vec<u8>>,
}

/// The `tokenizer.json` of a SentencePiece model, or what is wrong with the model.
pub(super) fn convert(bytes: &[u8]) -> Result<String, String> {
    let model = Model::decode(bytes).map_err(|error| format!("no SentencePiece model: {error}"))?;
    check_kind(&model)?;
    let mut vocab = vocabulary(&model)?;
    let base = vocab.len();
    let special = |text| special_id(&model, text);
    let (pad, end, unknown) = (special(PAD)?, special(END)?, special(UNKNOWN)?);
    if model.pieces[unknown].kind != Some(KIND_UNKNOWN) {
        return Err(format!(
            "the piece {UNKNOWN} is not marked as the unknown one"
        ));
    }
    vocab.extend((0..SENTINELS).rev().map(|i| (sentinel(i), 0.0)));
    let mut added = vec![
        (pad, PAD.to_owned()),
        (end, END.to_owned()),
        (unknown, UNKNOWN.to_owned()),
    ];
    added.sort();
    added.extend((0..SENTINELS).map(|i| (base + i, sentinel(SENTINELS - 1 - i))));
    Ok(document(
        normalizer(&model)?,
        &added,
        end,
        json!({
            "type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": false,
        }),
    ))
}

fn sentinel(i: usize) -> String {
    format!("<extra_id_{i}>")
}

fn check_kind(model: &Model) -> Result<(), String> {
    let trainer = model
        .trainer
        .as_ref()
        .ok_or("no SentencePiece model: it holds no trainer settings")?;
    if trainer.model_type.unwrap_or(UNIGRAM) != UNIGRAM {
        return Err("expected a unigram model, as T5 has, found another kind".to_owned());
    }
    if trainer.byte_fallback == Some(true) {
        return Err("expected a model without byte fallback, as T5 has".to_owned());
    }
    Ok(())
}

fn vocabulary(model: &Model) -> Result<Vec<(String, f64)>, String> {
    let entry = |(id, piece): (usize, &Piece)| {
        let score = f64::from(piece.score.unwrap_or(0.0));
        let text = piece.text.clone().filter(|text| !text.is_empty());
        match text {
            Some(text) if score.is_finite() => Ok((text, score)),
            Some(text) => Err(format!("piece {id} `{text}` has the score {score}")),
            None => Err(format!("piece {id} is empty")),
        }
    };
    model.pieces.iter().enumerate().map(entry).collect()
}

fn special_id(model: &Model, text: &str) -> Result<usize, String> {
    let position = model
        .pieces
        .iter()
        .position(|piece| piece.text.as_deref() == Some(text));
    position.ok_or_else(|| format!("expected a piece {text}, as T5 has, found none"))
}

fn normalizer(model: &Model) -> Result<Value, String> {
    let map = model
        .normalizer
        .as_ref()
        .and_then(|normalizer| normalizer.charsmap.as_deref());
    let Some(map) = map.filter(|map| !map.is_empty()) else {
        return Ok(Value::Null);
    };
    charsmap::check(map)?;
    Ok(json!({ "type": "Precompiled", "precompiled_charsmap": STANDARD.encode(map) }))
}

fn document(normalizer: Value, added: &[(usize, String)], end: usize, model: Value) -> String {
    let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
    let pre_tokenizers = [json!({ "type": "WhitespaceSplit" }), metaspace.clone()];
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.iter().map(added_token).collect::<Vec<_>>(),
        "normalizer": normalizer,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": pre_tokenizers },
        "post_processor": post_processor(end),
        "decoder": metaspace,
        "model": model,
    })
    .to_string()
}

fn added_token((id, content): &(usize, String)) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

fn post_processor(end: usize) -> Value {
    let text = |id| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let stop = json!({ "SpecialToken": { "id": END, "type_id": 0 } });
    json!({
        "type": "TemplateProcessing",
        "single": [text("A"), stop],
        "pair": [text("A"), stop, text("B"), stop],
        "special_tokens": { END: { "id": END, "ids": [end], "tokens": [END] } },
    })
}
