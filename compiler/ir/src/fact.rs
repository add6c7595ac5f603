//! The type of a value: element type and shape.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::size::Size;

/// Element types of the IR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// 8-bit float, 4 exponent bits, no infinity.
    F8e4m3,
    /// 4-bit float, 2 exponent bits: 0 to 6 in halves, ones and twos. A quantised number, two to a byte.
    F4e2m1,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 8-bit signed integer: a quantised number.
    I8,
    /// 4-bit signed integer: a quantised number, two to a byte.
    I4,
    /// 8-bit integer without a sign: packed numbers.
    U8,
    /// Truth value, one byte.
    Bool,
}

impl Dtype {
    /// Every element type with its name in the text form.
    pub const ALL: [(Dtype, &'static str); 11] = [
        (Dtype::F32, "f32"),
        (Dtype::F16, "f16"),
        (Dtype::Bf16, "bf16"),
        (Dtype::F8e4m3, "f8e4m3"),
        (Dtype::F4e2m1, "f4e2m1"),
        (Dtype::I64, "i64"),
        (Dtype::I32, "i32"),
        (Dtype::I8, "i8"),
        (Dtype::I4, "i4"),
        (Dtype::U8, "u8"),
        (Dtype::Bool, "bool"),
    ];

    /// Bits per element.
    pub fn bits(self) -> u64 {
        match self {
            Self::I64 => 64,
            Self::F32 | Self::I32 => 32,
            Self::F16 | Self::Bf16 => 16,
            Self::F8e4m3 | Self::I8 | Self::U8 | Self::Bool => 8,
            Self::I4 | Self::F4e2m1 => 4,
        }
    }

    /// Bytes of one element by itself.
    pub fn bytes(self) -> u64 {
        self.bits().div_ceil(8)
    }

    /// Bytes of so many elements, packed.
    pub fn bytes_of(self, elements: u64) -> u64 {
        match self.bits() {
            4 => elements.div_ceil(2),
            bits => elements.saturating_mul(bits / 8),
        }
    }

    /// Whether arithmetic on it rounds.
    pub fn is_float(self) -> bool {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 | Self::F8e4m3 | Self::F4e2m1 => true,
            Self::I64 | Self::I32 | Self::I8 | Self::I4 | Self::U8 | Self::Bool => false,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL
            .iter()
            .find(|(dtype, _)| dtype == self)
            .map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Dtype {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(dtype, _)| *dtype).ok_or_else(|| {
            format!(
                "unknown element type `{text}`; known are {}",
                Self::ALL.map(|(_, name)| name).join(", ")
            )
        })
    }
}

/// The type of a value, written `f32[B, S, 2048]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    /// Element type.
    pub dtype: Dtype,
    /// One size per axis; empty for a scalar.
    pub shape: Vec<Size>,
}

impl Fact {
    /// A type from its parts.
    pub fn new(dtype: Dtype, shape: impl IntoIterator<Item = Size>) -> Self {
        Self {
            dtype,
            shape: shape.into_iter().collect(),
        }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The same type with other sizes.
    pub fn with_shape(&self, shape: Vec<Size>) -> Self {
        Self {
            dtype: self.dtype,
            shape,
        }
    }

    /// The shape as numbers, if no axis is symbolic.
    pub fn const_shape(&self) -> Option<Vec<usize>> {
        self.shape
            .iter()
            .map(|size| size.as_const().and_then(|n| usize::try_from(n).ok()))
            .collect()
    }

    /// Number of elements as a size.
    pub fn elements(&self) -> Size {
        self.shape
            .iter()
            .cloned()
            .fold(Size::from(1), |product, size| product * size)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.shape.iter().map(Size::to_string).collect();
        write!(f, "{}[{}]", self.dtype, sizes.join(", "))
    }
}

impl FromStr for Fact {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no type; write it as `f32[B, S, 2048]`");
        let (dtype, rest) = text.trim().split_once('[').ok_or_else(wrong)?;
        let inner = rest.strip_suffix(']').ok_or_else(wrong)?;
        let sizes = inner
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty());
        let shape = sizes
            .map(|size| size.parse::<Size>().map_err(|e| e.to_string()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            dtype: dtype.trim().parse()?,
            shape,
        })
    }
}

/// Resolves a possibly negative axis against a rank.
pub fn resolve_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&axis).then_some(axis as usize)
}
