//! Turns a prompt into the token ids and the mask that the text encoder takes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use thiserror::Error;
use tokenizers::Tokenizer;

const PAD: &str = "<pad>";

/// Why a prompt cannot be tokenized.
#[derive(Debug, Error)]
pub enum TextTokenizerError {
    /// The tokenizer's description or the library refuses.
    #[error("the tokenizer is not usable: {0}")]
    Library(String),
    /// The description has no padding token.
    #[error("the tokenizer has no {PAD} token and no padding settings")]
    NoPadding,
    /// The description does not end a text with one special token.
    #[error(
        "the tokenizer does not end a text with one token such as </s>, but makes {0} of an empty text"
    )]
    NoEnd(usize),
    /// There is no room for the end token.
    #[error("at least one token is needed, {0} were asked for")]
    NoRoom(usize),
}

/// A T5 tokenizer.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    pad: i64,
    end: i64,
}

impl TextTokenizer {
    /// Reads the text of a `tokenizer.json`.
    pub fn from_json(json: &str) -> Result<Self, TextTokenizerError> {
        let mut tokenizer = guarded(|| Tokenizer::from_str(json))?;
        let named = tokenizer.token_to_id(PAD);
        let pad = named.or_else(|| tokenizer.get_padding().map(|padding| padding.pad_id));
        let pad = i64::from(pad.ok_or(TextTokenizerError::NoPadding)?);
        guarded(|| tokenizer.with_truncation(None).map(|_| ()))?;
        tokenizer.with_padding(None);
        let empty = ids(&tokenizer, "")?;
        let &[end] = empty.as_slice() else {
            return Err(TextTokenizerError::NoEnd(empty.len()));
        };
        Ok(Self {
            tokenizer,
            pad,
            end,
        })
    }

    /// The ids of `text` without surrounding white space, and 1 for each of them; both cut to
    /// `max_tokens`, the last being the end token, or filled up with the padding id and 0.
    pub fn encode(
        &self,
        text: &str,
        max_tokens: usize,
    ) -> Result<(Vec<i64>, Vec<i64>), TextTokenizerError> {
        if max_tokens == 0 {
            return Err(TextTokenizerError::NoRoom(max_tokens));
        }
        let mut ids = ids(&self.tokenizer, text.trim_matches(is_space))?;
        if ids.len() > max_tokens {
            ids.truncate(max_tokens - 1);
            ids.push(self.end);
        }
        let mut mask = vec![1; ids.len()];
        ids.resize(max_tokens, self.pad);
        mask.resize(max_tokens, 0);
        Ok((ids, mask))
    }
}

/// White space as Python's `str.strip` sees it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<i64>, TextTokenizerError> {
    let encoding = guarded(|| tokenizer.encode_fast(text, true))?;
    Ok(encoding.get_ids().iter().map(|id| i64::from(*id)).collect())
}

/// Runs the library, whose checks of a description are incomplete: what it does not refuse it may
/// panic over.
fn guarded<T>(f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, TextTokenizerError> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(|error| TextTokenizerError::Library(error.to_string())),
        Err(_) => Err(TextTokenizerError::Library("it is inconsistent".to_owned())),
    }
}
