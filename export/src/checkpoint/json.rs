//! Reading JSON that somebody else wrote: sizes are bounded, and a key given twice is an error, not
//! a choice.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::CheckpointError;

/// No configuration or index of a released checkpoint comes near this size.
const MAX_BYTES: u64 = 64 << 20;

/// A JSON object whose keys must differ.
pub(super) struct UniqueMap<V>(pub(super) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

struct UniqueVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
    type Value = UniqueMap<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose keys differ")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value()?;
            insert_unique(&mut map, key, value)?;
        }
        Ok(UniqueMap(map))
    }
}

/// Adds an entry, or says which key was already there.
pub(super) fn insert_unique<V, E: serde::de::Error>(
    map: &mut BTreeMap<String, V>,
    key: String,
    value: V,
) -> Result<(), E> {
    if map.contains_key(&key) {
        return Err(E::custom(format_args!("the key `{key}` is given twice")));
    }
    map.insert(key, value);
    Ok(())
}

/// Reads a whole JSON file into `T`.
pub(super) fn read_json<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
) -> Result<T, CheckpointError> {
    let text = read_text(path)?;
    // A derived parser would also take an array, matching its items to fields by position.
    if !text.trim_start().starts_with('{') {
        return Err(CheckpointError::unexpected(
            path,
            "a JSON object",
            "something else",
        ));
    }
    serde_json::from_str(&text).map_err(|source| CheckpointError::Json {
        path: path.to_path_buf(),
        what,
        source,
    })
}

fn read_text(path: &Path) -> Result<String, CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    let meta = std::fs::metadata(path).map_err(io)?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        let found = if meta.is_file() {
            format!("{} bytes", meta.len())
        } else {
            "no regular file".into()
        };
        return Err(CheckpointError::unexpected(
            path,
            format!("a JSON file of at most {MAX_BYTES} bytes"),
            found,
        ));
    }
    let mut text = String::new();
    File::open(path)
        .map_err(io)?
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(io)?;
    Ok(text)
}

/// Parses a configuration: a JSON object.
pub(super) fn object(
    path: &Path,
    what: &'static str,
    text: &str,
) -> Result<serde_json::Value, CheckpointError> {
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(text);
    parsed
        .map(serde_json::Value::Object)
        .map_err(|source| CheckpointError::Json {
            path: path.to_path_buf(),
            what,
            source,
        })
}
