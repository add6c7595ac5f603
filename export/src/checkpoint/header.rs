//! The header of a safetensors file, read with no trust in what it says.
//!
//! A header that passes describes tensors that fill the data part exactly: no gap, no overlap,
//! nothing out of range, and `shape * element size` is the length of each. Memory is bounded by
//! [`MAX_HEADER`].

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::dtype::Dtype;
use super::error::CheckpointError;
use super::json::{UniqueMap, insert_unique};

/// The format's own limit for the JSON header.
pub(super) const MAX_HEADER: u64 = 100_000_000;

/// More dimensions than any tensor has.
const MAX_RANK: usize = 16;

/// One tensor as the file describes it; `offset` counts from the start of the file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// A header that passed every check.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: Vec<Stored>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

struct RawHeader {
    metadata: BTreeMap<String, String>,
    entries: BTreeMap<String, Entry>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawHeader, A::Error> {
        let mut metadata = None;
        let mut entries = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            if key != "__metadata__" {
                let entry = access.next_value()?;
                insert_unique(&mut entries, key, entry)?;
            } else if metadata
                .replace(access.next_value::<UniqueMap<String>>()?)
                .is_some()
            {
                return Err(serde::de::Error::custom(
                    "the key `__metadata__` is given twice",
                ));
            }
        }
        Ok(RawHeader {
            metadata: metadata.map_or_else(BTreeMap::new, |map| map.0),
            entries,
        })
    }
}

/// Reads and checks the header of an open file of `file_len` bytes.
pub(super) fn read(path: &Path, file: &mut File, file_len: u64) -> Result<Header, CheckpointError> {
    let text = read_text(path, file, file_len)?;
    let start = 8 + text.len() as u64;
    let raw: RawHeader = serde_json::from_slice(&text).map_err(|source| CheckpointError::Json {
        path: path.to_path_buf(),
        what: "the safetensors header",
        source,
    })?;
    let tensors = check_entries(path, raw.entries, start, file_len - start)?;
    Ok(Header {
        metadata: raw.metadata,
        tensors,
    })
}

fn read_text(path: &Path, file: &mut File, file_len: u64) -> Result<Vec<u8>, CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    if file_len < 8 {
        return Err(CheckpointError::unexpected(
            path,
            "a safetensors file",
            format!("a file of {file_len} bytes"),
        ));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    let room = MAX_HEADER.min(file_len - 8);
    if length > room {
        let expected = format!("a safetensors file with a header of at most {room} bytes");
        return Err(CheckpointError::unexpected(
            path,
            expected,
            format!("a header length of {length}"),
        ));
    }
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 != length {
        let found = format!("a file that ends after {} of them", text.len());
        return Err(CheckpointError::unexpected(
            path,
            format!("a header of {length} bytes"),
            found,
        ));
    }
    Ok(text)
}

fn check_entries(
    path: &Path,
    entries: BTreeMap<String, Entry>,
    start: u64,
    room: u64,
) -> Result<Vec<Stored>, CheckpointError> {
    let mut tensors = Vec::with_capacity(entries.len());
    for (key, entry) in entries {
        tensors.push(check_entry(path, key, entry, room)?);
    }
    tensors.sort_by_key(|tensor| (tensor.offset, tensor.bytes));
    check_layout(path, &tensors, room)?;
    for tensor in &mut tensors {
        tensor.offset += start;
    }
    Ok(tensors)
}

/// Checks one entry by itself; the offset still counts from the start of the data part.
fn check_entry(
    path: &Path,
    key: String,
    entry: Entry,
    room: u64,
) -> Result<Stored, CheckpointError> {
    let (begin, end) = entry.data_offsets;
    let Some(dtype) = Dtype::parse(&entry.dtype) else {
        let expected = format!("one of the dtypes {}", Dtype::names());
        return Err(CheckpointError::tensor(
            path,
            &key,
            expected,
            format!("`{}`", entry.dtype),
        ));
    };
    if begin > end || end > room {
        let expected =
            format!("data within the {room} bytes that follow the header (is the file truncated?)");
        return Err(CheckpointError::tensor(
            path,
            &key,
            expected,
            format!("offsets {begin}..{end}"),
        ));
    }
    let size = byte_size(dtype, &entry.shape);
    if size != Some(end - begin) {
        let expected = match size {
            Some(size) => format!("{size} bytes for {dtype} {:?}", entry.shape),
            None => "a shape that fits in memory".to_owned(),
        };
        let found = format!(
            "offsets {begin}..{end} and a shape of {} dimensions",
            entry.shape.len()
        );
        return Err(CheckpointError::tensor(path, &key, expected, found));
    }
    Ok(Stored {
        key,
        dtype,
        shape: entry.shape,
        offset: begin,
        bytes: end - begin,
    })
}

fn byte_size(dtype: Dtype, shape: &[usize]) -> Option<u64> {
    if shape.len() > MAX_RANK {
        return None;
    }
    let sized = |total: u64, &dim: &usize| total.checked_mul(u64::try_from(dim).ok()?);
    shape.iter().try_fold(dtype.size(), sized)
}

/// The data part must be used once and entirely, as the format demands.
fn check_layout(path: &Path, tensors: &[Stored], room: u64) -> Result<(), CheckpointError> {
    let mut cursor = 0;
    for tensor in tensors {
        if tensor.offset != cursor {
            let what = if tensor.offset < cursor {
                "an overlap"
            } else {
                "a gap"
            };
            let expected = format!("data from offset {cursor}");
            let found = format!("{what}: data from offset {}", tensor.offset);
            return Err(CheckpointError::tensor(path, &tensor.key, expected, found));
        }
        cursor += tensor.bytes;
    }
    if cursor != room {
        let found = format!("{room} bytes after the header");
        return Err(CheckpointError::unexpected(
            path,
            format!("{cursor} bytes of tensor data"),
            found,
        ));
    }
    Ok(())
}
