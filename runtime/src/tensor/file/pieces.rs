//! A tensor that is written while it is made, some positions of an axis at a time, so that the whole is never held.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{FileError, FileReason, encode, header, temporary_beside};
use crate::tensor::{DType, Tensor, TensorError, element_count};

/// A safetensors file with one tensor, under another name until it is whole.
pub struct Pieces {
    path: PathBuf,
    file: NamedTempFile,
    /// Where the elements begin.
    start: u64,
    dtype: DType,
    shape: Vec<usize>,
    axis: usize,
    /// Positions that came.
    come: usize,
}

impl Pieces {
    /// Begins a tensor that will come in pieces along an axis.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the folder is missing or not writable.
    pub fn create(
        path: &Path,
        name: &str,
        dtype: DType,
        shape: &[usize],
        axis: usize,
    ) -> Result<Self, FileError> {
        let created = || -> Result<Self, FileReason> {
            let wrong = |reason| FileReason::Shape {
                name: name.to_owned(),
                reason,
            };
            let bytes = element_count(shape).map_err(wrong)? * dtype.bytes();
            let mut file = temporary_beside(path)?;
            let header = header(&[(name, dtype, shape)]).map_err(io::Error::other)?;
            file.write_all(&header)?;
            let start = header.len() as u64;
            file.as_file().set_len(start + bytes as u64)?;
            Ok(Self {
                path: path.to_owned(),
                file,
                start,
                dtype,
                shape: shape.to_vec(),
                axis,
                come: 0,
            })
        };
        created().map_err(|reason| error(path, reason))
    }

    /// Writes the next positions.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the piece does not fit behind those before, or cannot be written.
    pub fn append(&mut self, piece: &Tensor) -> Result<(), FileError> {
        self.write(piece)
            .map_err(|reason| error(&self.path, reason))
    }

    fn write(&mut self, piece: &Tensor) -> Result<(), FileReason> {
        let wrong = || FileReason::Shape {
            name: self.path.display().to_string(),
            reason: TensorError::Axis {
                shape: piece.shape().to_vec(),
                axis: self.axis,
            },
        };
        let count = piece.shape().get(self.axis).copied().unwrap_or(0);
        let mut whole = piece.shape().to_vec();
        if let Some(axis) = whole.get_mut(self.axis) {
            *axis = self.shape[self.axis];
        }
        let fits = self.come + count <= self.shape[self.axis];
        if whole != self.shape || piece.dtype() != self.dtype || !fits {
            return Err(wrong());
        }
        let outer: usize = self.shape[..self.axis].iter().product();
        let inner: usize = self.shape[self.axis + 1..].iter().product();
        let mut out = BufWriter::new(self.file.as_file_mut());
        for row in 0..outer {
            let at = (row * self.shape[self.axis] + self.come) * inner * self.dtype.bytes();
            out.seek(SeekFrom::Start(self.start + at as u64))?;
            encode(
                piece.data(),
                row * count * inner..(row + 1) * count * inner,
                &mut out,
            )?;
        }
        out.flush()?;
        drop(out);
        self.come += count;
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// [`FileError`] when positions are missing, or the file cannot get its name; the old file is then untouched.
    pub fn finish(self) -> Result<(), FileError> {
        let (come, needed) = (self.come, self.shape[self.axis]);
        if come != needed {
            let why = format!("{come} of {needed} positions came");
            return Err(error(&self.path, io::Error::other(why).into()));
        }
        let persisted = self.file.persist(&self.path);
        let _: File = persisted.map_err(|e| error(&self.path, e.error.into()))?;
        Ok(())
    }
}

fn error(path: &Path, reason: FileReason) -> FileError {
    FileError {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn pieces_make_the_file_of_the_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let [whole_path, pieces_path] = ["whole", "pieces"].map(|name| folder.path().join(name));
        let values: Vec<f32> = (0..2 * 3 * 5 * 2).map(|n| n as f32).collect();
        let whole = Tensor::new([2, 3, 5, 2], values).expect("a tensor");
        let tensors = BTreeMap::from([("latents".to_owned(), whole.clone())]);
        super::super::write(&whole_path, &tensors).expect("written");
        let mut pieces =
            Pieces::create(&pieces_path, "latents", DType::F32, whole.shape(), 2).expect("a file");
        for (start, count) in [(0, 2), (2, 1), (3, 2)] {
            assert!(!pieces_path.exists());
            let piece = whole.along(2, start, count).expect("a piece");
            pieces.append(&piece).expect("written");
        }
        let more = whole.along(2, 0, 1).expect("a piece");
        assert!(pieces.append(&more).is_err());
        pieces.finish().expect("named");
        let read = |path: &Path| std::fs::read(path).expect("a file");
        assert_eq!(read(&whole_path), read(&pieces_path));
    }

    #[test]
    fn a_tensor_that_is_not_whole_gets_no_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let mut pieces = Pieces::create(&path, "a", DType::F32, &[1, 4], 1).expect("a file");
        let piece = Tensor::new([1, 3], vec![1.0_f32; 3]).expect("a tensor");
        pieces.append(&piece).expect("written");
        let error = pieces.finish().expect_err("a position is missing");
        assert!(error.to_string().contains("3 of 4 positions"), "{error}");
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            0
        );
    }
}
