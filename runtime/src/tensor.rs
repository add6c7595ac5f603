//! Tensors in host memory, the values that go into and come out of models.
//!
//! A [`Tensor`] always holds exactly as many elements as its shape names, in
//! row-major order, so no reader has to check it again. Element types are the
//! ones that LTX-Video models exchange; anything else is refused where it
//! enters. Nothing here computes.

pub mod file;

use std::borrow::Borrow;
use std::fmt;

use half::{bf16, f16};

macro_rules! elements {
    ($($(#[$doc:meta])* $variant:ident($type:ty, $bytes:literal) = $name:literal;)*) => {
        /// The type of a tensor's elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DType { $($(#[$doc])* $variant,)* }

        /// The elements of a tensor, row-major.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Data { $($(#[$doc])* $variant(Vec<$type>),)* }

        impl DType {
            /// Every element type.
            pub const ALL: &'static [DType] = &[$(DType::$variant,)*];

            /// The name that safetensors files use.
            pub fn name(self) -> &'static str {
                match self { $(DType::$variant => $name,)* }
            }

            /// The size of one element in bytes.
            pub fn bytes(self) -> usize {
                match self { $(DType::$variant => $bytes,)* }
            }
        }

        impl Data {
            /// The type of the elements.
            pub fn dtype(&self) -> DType {
                match self { $(Data::$variant(_) => DType::$variant,)* }
            }

            /// The number of elements.
            pub fn len(&self) -> usize {
                match self { $(Data::$variant(values) => values.len(),)* }
            }

            /// So many elements, all zero.
            fn zeros(dtype: DType, len: usize) -> Data {
                match dtype { $(DType::$variant => Data::$variant(vec![<$type>::default(); len]),)* }
            }

            /// Copies runs of another's elements, by where they go, where they come from and how many they are. Says
            /// whether both are of one type.
            fn copy(&mut self, from: &Data, runs: impl Iterator<Item = (usize, usize, usize)>) -> bool {
                match (self, from) {
                    $((Data::$variant(to), Data::$variant(from)) => {
                        for (at, start, count) in runs {
                            to[at..at + count].copy_from_slice(&from[start..start + count]);
                        }
                    })*
                    _ => return false,
                }
                true
            }
        }

        $(
            impl From<Vec<$type>> for Data {
                fn from(values: Vec<$type>) -> Data { Data::$variant(values) }
            }

            impl sealed::Sealed for $type {}

            impl Element for $type {
                const DTYPE: DType = DType::$variant;

                fn borrow(data: &Data) -> Option<&[$type]> {
                    match data { Data::$variant(values) => Some(values), _ => None }
                }

                fn take(data: Data) -> Option<Vec<$type>> {
                    match data { Data::$variant(values) => Some(values), _ => None }
                }
            }
        )*
    };
}

elements! {
    /// IEEE single precision.
    F32(f32, 4) = "F32";
    /// IEEE half precision.
    F16(f16, 2) = "F16";
    /// The upper half of a single-precision number.
    BF16(bf16, 2) = "BF16";
    /// Signed 64-bit integer.
    I64(i64, 8) = "I64";
    /// Signed 32-bit integer.
    I32(i32, 4) = "I32";
    /// Unsigned 8-bit integer.
    U8(u8, 1) = "U8";
    /// Truth value, one byte in files.
    Bool(bool, 1) = "BOOL";
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Data {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that a tensor can hold.
pub trait Element: sealed::Sealed + Copy + 'static {
    /// The element type that stands for `Self`.
    const DTYPE: DType;

    /// The elements, if `data` holds this type.
    fn borrow(data: &Data) -> Option<&[Self]>;

    /// The elements moved out, if `data` holds this type.
    fn take(data: Data) -> Option<Vec<Self>>;
}

/// Why a tensor cannot be made or read as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The product of the dimensions does not fit in memory.
    #[error("the shape {shape:?} has more elements than this machine can count")]
    TooLarge {
        /// The shape as given.
        shape: Vec<usize>,
    },
    /// Shape and data disagree.
    #[error("the shape {shape:?} needs {expected} elements, but {found} were given")]
    Count {
        /// The shape as given.
        shape: Vec<usize>,
        /// The product of its dimensions.
        expected: usize,
        /// The number of elements given.
        found: usize,
    },
    /// A tensor lacks positions of an axis, or does not fit others along it.
    #[error("a tensor of {shape:?} does not fit along axis {axis}")]
    Axis {
        /// The shape.
        shape: Vec<usize>,
        /// The axis.
        axis: usize,
    },
    /// The tensor holds another element type.
    #[error("expected a tensor of {expected}, found {found}")]
    DType {
        /// The type or types that the caller can read.
        expected: &'static str,
        /// The type that the tensor holds.
        found: DType,
    },
}

/// A dense row-major array; a scalar has the empty shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// Joins a shape with its elements.
    ///
    /// # Errors
    ///
    /// [`TensorError::TooLarge`] or [`TensorError::Count`] when they disagree.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Data>) -> Result<Tensor, TensorError> {
        let (shape, data) = (shape.into(), data.into());
        let expected = element_count(&shape)?;
        let found = data.len();
        if expected != found {
            return Err(TensorError::Count {
                shape,
                expected,
                found,
            });
        }
        Ok(Tensor { shape, data })
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Shape and elements, without a copy.
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The elements as a slice.
    ///
    /// # Errors
    ///
    /// [`TensorError::DType`] when the tensor holds another type.
    pub fn values<T: Element>(&self) -> Result<&[T], TensorError> {
        T::borrow(&self.data).ok_or(TensorError::DType {
            expected: T::DTYPE.name(),
            found: self.dtype(),
        })
    }

    /// The elements, without a copy.
    ///
    /// # Errors
    ///
    /// [`TensorError::DType`] when the tensor holds another type.
    pub fn into_values<T: Element>(self) -> Result<Vec<T>, TensorError> {
        let found = self.dtype();
        T::take(self.data).ok_or(TensorError::DType {
            expected: T::DTYPE.name(),
            found,
        })
    }

    /// Some positions of an axis, the first at `start`.
    ///
    /// # Errors
    ///
    /// [`TensorError::Axis`] when the tensor does not have them.
    pub fn along(&self, axis: usize, start: usize, count: usize) -> Result<Tensor, TensorError> {
        let missing = || TensorError::Axis {
            shape: self.shape.clone(),
            axis,
        };
        let size = *self.shape.get(axis).ok_or_else(missing)?;
        if start.checked_add(count).is_none_or(|end| end > size) {
            return Err(missing());
        }
        let inner: usize = self.shape[axis + 1..].iter().product();
        let outer: usize = self.shape[..axis].iter().product();
        let mut shape = self.shape.clone();
        shape[axis] = count;
        let mut part = Data::zeros(self.dtype(), outer * count * inner);
        let run = count * inner;
        part.copy(
            &self.data,
            (0..outer).map(|at| (at * run, (at * size + start) * inner, run)),
        );
        Tensor::new(shape, part)
    }

    /// A tensor of zeros.
    pub(crate) fn zeros(dtype: DType, shape: Vec<usize>) -> Tensor {
        let data = Data::zeros(dtype, shape.iter().product());
        Tensor { shape, data }
    }

    /// Writes another over a part of this one, from `start` on along an axis.
    ///
    /// # Errors
    ///
    /// [`TensorError::Axis`] when it does not fit there, or differs in type or in another axis.
    pub fn put(&mut self, axis: usize, start: usize, part: &Tensor) -> Result<(), TensorError> {
        let wrong = || TensorError::Axis {
            shape: part.shape.clone(),
            axis,
        };
        let (size, count) = match (self.shape.get(axis), part.shape.get(axis)) {
            (Some(size), Some(count)) => (*size, *count),
            _ => return Err(wrong()),
        };
        let fits = start.checked_add(count).is_some_and(|end| end <= size);
        let mut expected = self.shape.clone();
        expected[axis] = count;
        if !fits || expected != part.shape {
            return Err(wrong());
        }
        let inner: usize = part.shape[axis + 1..].iter().product();
        let outer: usize = part.shape[..axis].iter().product();
        let run = count * inner;
        let runs = (0..outer).map(|at| ((at * size + start) * inner, at * run, run));
        match self.data.copy(&part.data, runs) {
            true => Ok(()),
            false => Err(wrong()),
        }
    }

    /// Tensors behind one another along an axis.
    ///
    /// # Errors
    ///
    /// [`TensorError::Axis`] when there are none, or they differ in type or in another axis.
    pub fn joined(axis: usize, tensors: &[impl Borrow<Tensor>]) -> Result<Tensor, TensorError> {
        let tensors: Vec<&Tensor> = tensors.iter().map(Borrow::borrow).collect();
        let mut shape = tensors.first().map_or_else(Vec::new, |t| t.shape.clone());
        let wrong = TensorError::Axis {
            shape: shape.clone(),
            axis,
        };
        let sizes = tensors.iter().map(|tensor| tensor.shape.get(axis).copied());
        let (Some(first), Some(sum)) = (tensors.first(), sizes.sum::<Option<usize>>()) else {
            return Err(wrong);
        };
        shape[axis] = sum;
        let (mut whole, mut at) = (Tensor::zeros(first.dtype(), shape), 0);
        for tensor in &tensors {
            whole.put(axis, at, tensor)?;
            at += tensor.shape[axis];
        }
        Ok(whole)
    }

    /// The elements of a floating-point tensor, widened to single precision.
    ///
    /// # Errors
    ///
    /// [`TensorError::DType`] for integers and truth values.
    pub fn to_f32(&self) -> Result<Vec<f32>, TensorError> {
        match &self.data {
            Data::F32(values) => Ok(values.clone()),
            Data::F16(values) => Ok(values.iter().map(|x| x.to_f32()).collect()),
            Data::BF16(values) => Ok(values.iter().map(|x| x.to_f32()).collect()),
            Data::I64(_) | Data::I32(_) | Data::U8(_) | Data::Bool(_) => Err(TensorError::DType {
                expected: "F32, F16 or BF16",
                found: self.dtype(),
            }),
        }
    }
}

/// The number of elements that `shape` names; 1 for a scalar.
///
/// # Errors
///
/// [`TensorError::TooLarge`] when the elements could not be addressed.
pub fn element_count(shape: &[usize]) -> Result<usize, TensorError> {
    let limit = isize::MAX as usize / 8;
    shape
        .iter()
        .try_fold(1usize, |count, &dim| count.checked_mul(dim))
        .filter(|&count| count <= limit)
        .ok_or_else(|| TensorError::TooLarge {
            shape: shape.to_vec(),
        })
}
