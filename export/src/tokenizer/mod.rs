//! T5 tokenizers as users have them on disk, as the text of one `tokenizer.json`.
//!
//! A `tokenizer.json` is passed on unchanged; a SentencePiece model is converted to what
//! transformers makes of it. Checked here is what the tokenizer library does not check itself: that
//! the model is a unigram model and that the compiled character map stays within its bounds. The
//! rest is up to `TextTokenizer::from_json`.

mod charsmap;
mod error;
mod spiece;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub use error::TokenizerError;

/// T5's own files are below 3 MB.
const MAX_BYTES: u64 = 64 << 20;

const JSON: &str = "tokenizer.json";
const SPIECE: &str = "spiece.model";

/// Reads a tokenizer from a folder (`tokenizer.json`, else `spiece.model`, else the same in
/// `tokenizer/`) or from such a file, and returns the text of a `tokenizer.json`.
pub fn load(path: &Path) -> Result<String, TokenizerError> {
    let file = find(path)?;
    let bytes = read(&file)?;
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{')
        && file
            .extension()
            .is_none_or(|extension| extension != "model")
    {
        checked_json(bytes).map_err(|reason| TokenizerError::Invalid { path: file, reason })
    } else {
        spiece::convert(&bytes).map_err(|reason| TokenizerError::Invalid { path: file, reason })
    }
}

fn find(path: &Path) -> Result<PathBuf, TokenizerError> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let candidates = [path.to_path_buf(), path.join("tokenizer")].into_iter();
    candidates
        .flat_map(|folder| [folder.join(JSON), folder.join(SPIECE)])
        .find(|file| file.is_file())
        .ok_or_else(|| TokenizerError::Missing {
            path: path.to_path_buf(),
        })
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let io = |source| TokenizerError::Io {
        path: path.to_path_buf(),
        source,
    };
    let meta = std::fs::metadata(path).map_err(io)?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        let reason = format!("expected a regular file of at most {MAX_BYTES} bytes");
        return Err(TokenizerError::Invalid {
            path: path.to_path_buf(),
            reason,
        });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(io)?
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    Ok(bytes)
}

fn checked_json(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let json: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let kind = json.pointer("/model/type").and_then(Value::as_str);
    if kind != Some("Unigram") {
        let found = kind.unwrap_or("no model type");
        return Err(format!(
            "expected a tokenizer with a Unigram model, as T5 has, found {found}"
        ));
    }
    check_charsmaps(&json)?;
    Ok(text)
}

fn check_charsmaps(json: &Value) -> Result<(), String> {
    match json {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| match value {
            Value::String(text) if key == "precompiled_charsmap" => {
                let bytes = STANDARD
                    .decode(text)
                    .map_err(|_| "the precompiled_charsmap is not base64")?;
                charsmap::check(&bytes)
            }
            other => check_charsmaps(other),
        }),
        Value::Array(items) => items.iter().try_for_each(check_charsmaps),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
