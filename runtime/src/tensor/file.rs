//! Maps of named tensors in safetensors files.
//!
//! Reading trusts nothing: header and offsets are checked before any element
//! is read, memory stays within a small multiple of the file's size, and only
//! regular files up to [`MAX_BYTES`] are opened. Writing goes to a temporary
//! name in the same folder and is renamed, so a reader never sees half a file.

mod aside;
mod pieces;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensorError, TensorInfo};

pub(crate) use self::aside::{Aside, Place};
pub use self::pieces::Pieces;
use super::{DType, Data, Tensor, TensorError};

/// The largest file that [`read`] opens: 8 GiB.
pub const MAX_BYTES: u64 = 8 << 30;

const MAX_HEADER: u64 = 100_000_000;

/// Why a tensor file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct FileError {
    /// The file as given.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub reason: FileReason,
}

/// What is wrong with a tensor file.
#[derive(Debug, thiserror::Error)]
pub enum FileReason {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A folder, pipe or device.
    #[error("not a regular file")]
    NotAFile,
    /// The file is larger than [`MAX_BYTES`].
    #[error("{found} bytes are more than the {MAX_BYTES} that a tensor file may have")]
    TooLarge {
        /// The file's size.
        found: u64,
    },
    /// The header is not that of a safetensors file.
    #[error("not a safetensors file: {0}")]
    Header(String),
    /// The element type is none of [`DType::ALL`].
    #[error("tensor `{name}` has the element type {found}, which is not supported")]
    DType {
        /// The tensor's name.
        name: String,
        /// The type that the header names.
        found: String,
    },
    /// A truth value is neither 0 nor 1.
    #[error("tensor `{name}` holds a truth value that is neither 0 nor 1")]
    NotBool {
        /// The tensor's name.
        name: String,
    },
    /// Shape and data disagree.
    #[error("tensor `{name}`: {reason}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// How they disagree.
        reason: TensorError,
    },
}

/// Reads every tensor of a safetensors file.
///
/// # Errors
///
/// [`FileError`] when the file is unreadable, malformed or too large.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, FileError> {
    read_all(path).map_err(|reason| FileError {
        path: path.to_path_buf(),
        reason,
    })
}

/// Writes tensors to a safetensors file, replacing what was there.
///
/// # Errors
///
/// [`FileError`] when the folder is missing or not writable; the old file is
/// then untouched.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<(), FileError> {
    write_all(path, tensors).map_err(|reason| FileError {
        path: path.to_path_buf(),
        reason,
    })
}

fn read_all(path: &Path) -> Result<BTreeMap<String, Tensor>, FileReason> {
    // A pipe would block in `open`, so the kind is looked at first.
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(FileReason::NotAFile);
    }
    if about.len() > MAX_BYTES {
        return Err(FileReason::TooLarge { found: about.len() });
    }
    let mut file = BufReader::new(File::open(path)?);
    let header = read_header(&mut file, about.len())?;
    let mut tensors = BTreeMap::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else {
            continue;
        };
        let tensor = read_tensor(&mut file, &name, info)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn read_header(file: &mut impl Read, file_bytes: u64) -> Result<Metadata, FileReason> {
    let malformed = |reason: &str| FileReason::Header(reason.to_owned());
    let mut length = [0; 8];
    file.read_exact(&mut length)
        .map_err(|_| malformed("it is shorter than 8 bytes"))?;
    let length = u64::from_le_bytes(length);
    let room = file_bytes.saturating_sub(8);
    if length > room.min(MAX_HEADER) {
        return Err(malformed(
            "its header is longer than the file or the format allow",
        ));
    }
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text)?;
    let header: Metadata =
        serde_json::from_slice(&text).map_err(|error| FileReason::Header(error.to_string()))?;
    if header.data_len() as u64 != room - length {
        return Err(malformed("its size is not the one that the header names"));
    }
    Ok(header)
}

fn read_tensor(file: &mut impl Read, name: &str, info: &TensorInfo) -> Result<Tensor, FileReason> {
    let dtype = from_file_type(info.dtype).ok_or_else(|| FileReason::DType {
        name: name.to_owned(),
        found: info.dtype.to_string(),
    })?;
    let (start, end) = info.data_offsets;
    let mut bytes = vec![0; end - start];
    file.read_exact(&mut bytes)?;
    let data = decode(dtype, bytes).ok_or_else(|| FileReason::NotBool {
        name: name.to_owned(),
    })?;
    Tensor::new(info.shape.clone(), data).map_err(|reason| FileReason::Shape {
        name: name.to_owned(),
        reason,
    })
}

fn from_file_type(dtype: Dtype) -> Option<DType> {
    DType::ALL
        .iter()
        .copied()
        .find(|&known| to_file_type(known) == dtype)
}

fn to_file_type(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}

/// `None` when a truth value is neither 0 nor 1.
fn decode(dtype: DType, bytes: Vec<u8>) -> Option<Data> {
    fn each<const N: usize, T>(bytes: &[u8], make: fn([u8; N]) -> T) -> Vec<T> {
        bytes
            .as_chunks::<N>()
            .0
            .iter()
            .map(|chunk| make(*chunk))
            .collect()
    }
    Some(match dtype {
        DType::F32 => Data::F32(each(&bytes, f32::from_le_bytes)),
        DType::F16 => Data::F16(each(&bytes, f16::from_le_bytes)),
        DType::BF16 => Data::BF16(each(&bytes, bf16::from_le_bytes)),
        DType::I64 => Data::I64(each(&bytes, i64::from_le_bytes)),
        DType::I32 => Data::I32(each(&bytes, i32::from_le_bytes)),
        DType::U8 => Data::U8(bytes),
        DType::Bool if bytes.iter().any(|&byte| byte > 1) => return None,
        DType::Bool => Data::Bool(bytes.into_iter().map(|byte| byte == 1).collect()),
    })
}

fn write_all(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<(), FileReason> {
    let temporary = temporary_beside(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write_to(&mut out, tensors)?;
    out.flush()?;
    drop(out);
    temporary.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes tensors as a safetensors file holds them.
pub(crate) fn write_to(
    mut out: &mut dyn Write,
    tensors: &BTreeMap<String, Tensor>,
) -> io::Result<()> {
    // Wide elements first keeps every tensor aligned in a mapped file.
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(name, tensor)| (std::cmp::Reverse(tensor.dtype().bytes()), *name));
    let described = order.iter();
    let described = described.map(|(name, tensor)| (name.as_str(), tensor.dtype(), tensor.shape()));
    let header = header(&described.collect::<Vec<_>>()).map_err(io::Error::other)?;
    out.write_all(&header)?;
    let mut tensors = order.iter().map(|(_, tensor)| tensor.data());
    tensors.try_for_each(|data| encode(data, 0..data.len(), &mut out))
}

/// What stands before the elements of tensors, given in the order of the file by name, type and shape.
fn header(order: &[(&str, DType, &[usize])]) -> Result<Vec<u8>, SafeTensorError> {
    let mut end = 0;
    let mut infos = Vec::with_capacity(order.len());
    for (name, dtype, shape) in order {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bytes();
        let info = TensorInfo {
            dtype: to_file_type(*dtype),
            shape: shape.to_vec(),
            data_offsets: (start, end),
        };
        infos.push(((*name).to_owned(), info));
    }
    let mut text = serde_json::to_vec(&Metadata::new(None, infos)?)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes(), text.as_slice()].concat())
}

/// Writes some elements.
fn encode(data: &Data, range: Range<usize>, out: &mut impl Write) -> io::Result<()> {
    fn each<const N: usize, T: Copy>(
        out: &mut impl Write,
        values: &[T],
        bytes: fn(T) -> [u8; N],
    ) -> io::Result<()> {
        values
            .iter()
            .try_for_each(|&value| out.write_all(&bytes(value)))
    }
    match data {
        Data::F32(values) => each(out, &values[range], f32::to_le_bytes),
        Data::F16(values) => each(out, &values[range], f16::to_le_bytes),
        Data::BF16(values) => each(out, &values[range], bf16::to_le_bytes),
        Data::I64(values) => each(out, &values[range], i64::to_le_bytes),
        Data::I32(values) => each(out, &values[range], i32::to_le_bytes),
        Data::U8(values) => out.write_all(&values[range]),
        Data::Bool(values) => each(out, &values[range], |value| [u8::from(value)]),
    }
}

/// A file in the folder of `path` that vanishes unless it is renamed.
///
/// It gets the permissions of an ordinary new file, not the private ones that
/// temporary files have by default.
fn temporary_beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ltxc-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}
