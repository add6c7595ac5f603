//! Tensors that wait in a file instead of in memory.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use super::{decode, encode};
use crate::tensor::{DType, Tensor};

/// A file without a name in the folder for temporary files; it goes when the last that waits in it does, or the process.
pub(crate) struct Aside(Mutex<File>);

/// Where a tensor waits.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    start: u64,
    dtype: DType,
    shape: Vec<usize>,
}

impl Place {
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

impl Aside {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Mutex::new(tempfile::tempfile()?)))
    }

    /// Lays a tensor aside.
    pub fn lay(&self, tensor: &Tensor) -> io::Result<Place> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = file.seek(SeekFrom::End(0))?;
        let mut out = BufWriter::new(&mut *file);
        encode(tensor.data(), 0..tensor.data().len(), &mut out)?;
        out.flush()?;
        Ok(Place {
            start,
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
        })
    }

    /// Reads a tensor that was laid aside.
    pub fn read(&self, place: &Place) -> io::Result<Tensor> {
        let Place {
            start,
            dtype,
            shape,
        } = place;
        let mut bytes = vec![0; shape.iter().product::<usize>() * dtype.bytes()];
        {
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(*start))?;
            file.read_exact(&mut bytes)?;
        }
        let data = decode(*dtype, bytes).ok_or(io::ErrorKind::InvalidData)?;
        Tensor::new(shape.clone(), data).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_as_they_were() {
        let aside = Aside::new().expect("a file");
        let tensors = [
            Tensor::new([2, 3], vec![1.5_f32, -2.0, 0.0, f32::MIN, 1e-40, 3.0]).expect("numbers"),
            Tensor::new([0, 3], Vec::<f32>::new()).expect("nothing"),
            Tensor::new([2], vec![i64::MIN, 7]).expect("whole numbers"),
        ];
        let places = tensors
            .each_ref()
            .map(|tensor| aside.lay(tensor).expect("written"));
        for (place, tensor) in places.iter().zip(&tensors).rev() {
            assert_eq!(&aside.read(place).expect("read"), tensor);
            assert_eq!(place.shape(), tensor.shape());
        }
    }
}
