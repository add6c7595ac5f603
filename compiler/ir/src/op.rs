//! The closed set of operations.
//!
//! One table declares each operation once: its name, its ports in order (`?` optional, `...` any number), its
//! attributes and its meaning. Names, port lookup, attribute reading and printing, and the language reference are
//! made from the table; the meaning in numbers is `crate::eval`, the types are `crate::infer`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attrs::{HasSizes, Literal, Per, Source};
use crate::fact::Dtype;
use crate::size::Size;

/// How many values a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// One or more; only the last port may be so.
    Many,
}

/// A named input of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The port's name.
    pub name: &'static str,
    /// How many values it takes.
    pub arity: Arity,
}

const fn port(spec: &'static str) -> Port {
    let bytes = spec.as_bytes();
    let last = bytes.len() - 1;
    if bytes[last] == b'?' {
        return Port {
            name: spec.split_at(last).0,
            arity: Arity::Optional,
        };
    }
    if bytes[last] == b'.' {
        return Port {
            name: spec.split_at(last - 2).0,
            arity: Arity::Many,
        };
    }
    Port {
        name: spec,
        arity: Arity::One,
    }
}

macro_rules! ops {
    ($(
        $(#[doc = $doc:literal])+
        $Variant:ident $name:literal ($($port:literal),*) {
            $( $(#[$field_meta:meta])+ $field:ident : $ty:ty ),* $(,)?
        }
    )*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $Variant { $( $(#[$field_meta])+ pub $field: $ty ),* }

            impl $Variant {
                /// The ports in order.
                pub const PORTS: &'static [Port] = &[$(port($port)),*];
            }

            impl From<$Variant> for Op {
                fn from(op: $Variant) -> Op { Op::$Variant(op) }
            }
        )*

        /// An operation with its attributes.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op { $( $(#[doc = $doc])+ $Variant($Variant) ),* }

        /// Name, ports and documentation of every operation.
        pub const REFERENCE: &[OpReference] = &[$(
            OpReference {
                name: $name,
                ports: $Variant::PORTS,
                attributes: &[$(stringify!($field)),*],
                doc: concat!($($doc, "\n"),+),
            }
        ),*];

        impl Op {
            /// The name in YAML and in the text form.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$Variant(_) => $name),* }
            }

            /// The ports in order.
            pub fn ports(&self) -> &'static [Port] {
                match self { $(Op::$Variant(_) => $Variant::PORTS),* }
            }

            /// The attributes as an ordered JSON object.
            pub fn attributes(&self) -> Value {
                let value = match self { $(Op::$Variant(op) => serde_json::to_value(op)),* };
                value.expect("attributes are plain data with string keys")
            }

            /// Reads an operation back from its name and attributes.
            pub fn from_parts(name: &str, attributes: Value) -> Result<Op, String> {
                match name {
                    $($name => serde_json::from_value::<$Variant>(attributes).map(Op::$Variant).map_err(|e| e.to_string()),)*
                    _ => Err(format!("unknown op `{name}`")),
                }
            }

            /// Every size that stands in its attributes.
            pub fn sizes_mut(&mut self) -> Vec<&mut Size> {
                let mut sizes = Vec::new();
                match self {
                    $(Op::$Variant(op) => {
                        let $Variant { $($field),* } = op;
                        $($field.collect_sizes(&mut sizes);)*
                    })*
                }
                sizes
            }

            /// The operation as something that has a type.
            pub(crate) fn as_infer(&self) -> &dyn crate::infer::Infer {
                match self { $(Op::$Variant(op) => op),* }
            }

            /// The operation as something that can be computed.
            pub(crate) fn as_eval(&self) -> &dyn crate::eval::Eval {
                match self { $(Op::$Variant(op) => op),* }
            }
        }
    };
}

/// One line of the language reference.
#[derive(Clone, Copy, Debug)]
pub struct OpReference {
    /// The operation's name.
    pub name: &'static str,
    /// Its ports in order.
    pub ports: &'static [Port],
    /// Its attributes in order.
    pub attributes: &'static [&'static str],
    /// What it means.
    pub doc: &'static str,
}

fn last_axis() -> i64 {
    -1
}

fn is_last_axis(axis: &i64) -> bool {
    *axis == -1
}

fn is_first_axis(axis: &i64) -> bool {
    *axis == 0
}

/// Which approximation of GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeluKind {
    /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
    Tanh,
    /// `0.5 x (1 + erf(x / sqrt 2))`
    Erf,
}

/// What padding puts outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PadMode {
    /// Zeros.
    Zero,
    /// The border's value again.
    Edge,
}

/// Which channels a rotary embedding turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RopePairs {
    /// Channels 2i and 2i + 1.
    Interleaved,
    /// Channels i and i + n/2.
    Halves,
}

ops! {
    /// A tensor the caller gives. `source` says what fills it when the caller is a pipeline, `per` how often it changes.
    Input "input" () {
        /// Element type.
        dtype: Dtype,
        /// Shape.
        shape: Vec<Size>,
        /// `normal`: the run draws it from its noise source.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
        /// `video`: it stays the same for all steps of a video.
        #[serde(default, skip_serializing_if = "Per::is_step")]
        per: Per,
    }
    /// A tensor of the checkpoint, by its key.
    Weight "weight" () {
        /// Key in the checkpoint.
        key: String,
        /// Element type it has in the graph.
        dtype: Dtype,
        /// Shape.
        shape: Vec<Size>,
        /// Element type in the checkpoint, known once bound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stored: Option<Dtype>,
    }
    /// A tensor written in the graph.
    Constant "constant" () {
        /// Element type.
        dtype: Dtype,
        /// Shape.
        shape: Vec<Size>,
        /// Elements, row-major; one element fills the shape.
        data: Literal,
    }
    /// `0, 1, .. n-1`.
    Iota "iota" () {
        /// How many.
        n: Size,
        /// Element type.
        dtype: Dtype,
    }
    /// `n` evenly spaced f32 values from `start` to `end`, both included, rounded as torch.linspace rounds.
    Linspace "linspace" () {
        /// First value.
        start: f64,
        /// Last value.
        end: f64,
        /// How many.
        n: Size,
    }
    /// `a + b`, with broadcasting.
    Add "add" ("a", "b") {}
    /// `a - b`, with broadcasting.
    Sub "sub" ("a", "b") {}
    /// `a * b`, with broadcasting.
    Mul "mul" ("a", "b") {}
    /// `a / b`, with broadcasting.
    Div "div" ("a", "b") {}
    /// `a` to the power `b`, with broadcasting.
    Pow "pow" ("a", "b") {}
    /// The smaller of `a` and `b`, with broadcasting.
    Min "min" ("a", "b") {}
    /// The larger of `a` and `b`, with broadcasting.
    Max "max" ("a", "b") {}
    /// `a < b` as a truth value, with broadcasting.
    Less "less" ("a", "b") {}
    /// `yes` where `cond`, else `no`, with broadcasting.
    Where "where" ("cond", "yes", "no") {}
    /// `-x`.
    Neg "neg" ("x") {}
    /// `|x|`.
    Abs "abs" ("x") {}
    /// `e^x`.
    Exp "exp" ("x") {}
    /// Natural logarithm.
    Log "log" ("x") {}
    /// Square root.
    Sqrt "sqrt" ("x") {}
    /// Sine of radians.
    Sin "sin" ("x") {}
    /// Cosine of radians.
    Cos "cos" ("x") {}
    /// Largest whole number not above `x`.
    Floor "floor" ("x") {}
    /// `1 / (1 + e^-x)`.
    Sigmoid "sigmoid" ("x") {}
    /// Hyperbolic tangent.
    Tanh "tanh" ("x") {}
    /// `x * sigmoid(x)`.
    Silu "silu" ("x") {}
    /// Gaussian error linear unit.
    Gelu "gelu" ("x") {
        /// `tanh` or `erf`.
        approximate: GeluKind,
    }
    /// The elements of `x`, row-major, in another shape of the same count.
    Reshape "reshape" ("x") {
        /// The new shape.
        to: Vec<Size>,
    }
    /// Axes in another order: axis i of the result is axis `perm[i]` of `x`.
    Transpose "transpose" ("x") {
        /// The order.
        perm: Vec<usize>,
    }
    /// Positions `start .. end` of one axis; a negative `start` or `end` counts from the end.
    Slice "slice" ("x") {
        /// Which axis.
        axis: i64,
        /// First position.
        start: i64,
        /// Position after the last; the axis' size where left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<i64>,
    }
    /// One position of one axis, which disappears.
    Select "select" ("x") {
        /// Which axis.
        axis: i64,
        /// Which position.
        index: i64,
    }
    /// Values behind one another along an axis.
    Concat "concat" ("xs...") {
        /// Which axis.
        axis: i64,
    }
    /// `x` repeated along axes of size 1.
    Expand "expand" ("x") {
        /// The new shape.
        to: Vec<Size>,
    }
    /// More positions before and after one axis.
    Pad "pad" ("x") {
        /// Which axis.
        axis: i64,
        /// How many before.
        before: usize,
        /// How many after.
        after: usize,
        /// `zero` or `edge`.
        mode: PadMode,
    }
    /// Another element type; floats become integers by dropping the fraction.
    Cast "cast" ("x") {
        /// The new element type.
        to: Dtype,
    }
    /// Positions of one axis of `table` by `ids`, whose axes stand in its place.
    Gather "gather" ("table", "ids") {
        /// Which axis; the first where left out.
        #[serde(default, skip_serializing_if = "is_first_axis")]
        axis: i64,
    }
    /// Arithmetic mean over axes, which stay with size 1.
    Mean "mean" ("x") {
        /// Which axes.
        axes: Vec<i64>,
    }
    /// Softmax along one axis.
    Softmax "softmax" ("x") {
        /// Which axis.
        axis: i64,
    }
    /// Matrix product of the last two axes, the others broadcast.
    Matmul "matmul" ("a", "b") {}
    /// `x w^T + b`; `w` is [out, in] as checkpoints store it.
    Linear "linear" ("x", "w", "b?") {}
    /// 3-D convolution of [B, C, F, H, W] with `w` [out, in, kf, kh, kw], zero padding inside.
    Conv3d "conv3d" ("x", "w", "b?") {
        /// Step per axis.
        stride: [usize; 3],
        /// Zeros at both ends of each axis.
        pad: [usize; 3],
    }
    /// `x / sqrt(mean(x^2) + eps)` along one axis, times `w` where given.
    RmsNorm "rms_norm" ("x", "w?") {
        /// Added under the root.
        eps: f64,
        /// Which axis; the last where left out.
        #[serde(default = "last_axis", skip_serializing_if = "is_last_axis")]
        axis: i64,
    }
    /// `(x - mean) / sqrt(var + eps)` along the last axis, times `w` plus `b` where given.
    LayerNorm "layer_norm" ("x", "w?", "b?") {
        /// Added under the root.
        eps: f64,
    }
    /// Channels (axis 1) in `groups` runs, each normed as `layer_norm` does over itself and every later axis; then times
    /// `w` plus `b` per channel where given.
    GroupNorm "group_norm" ("x", "w?", "b?") {
        /// How many runs of channels.
        groups: usize,
        /// Added under the root.
        eps: f64,
    }
    /// Rotary embedding over the whole last axis; `cos` and `sin` have one column per pair.
    Rope "rope" ("x", "cos", "sin") {
        /// `interleaved` or `halves`.
        pairs: RopePairs,
    }
    /// Attention of [B, S, heads*d] queries over [B, L, heads*d] keys and values, heads packed in the last axis;
    /// `mask` is added to the scores and broadcasts to [B, heads, S, L].
    Sdpa "sdpa" ("q", "k", "v", "mask?") {
        /// Number of heads.
        heads: usize,
        /// Factor on the scores; `1/sqrt(d)` where left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<f64>,
    }
    /// ONNX Runtime's `com.microsoft.MultiHeadAttention`: as `sdpa`, the mask as attention bias.
    OrtMultiHeadAttention "ort_multi_head_attention" ("q", "k", "v", "bias?") {
        /// Number of heads.
        heads: usize,
        /// Factor on the scores.
        scale: f64,
    }
    /// ONNX `Attention` (opset 23) on packed heads: as `sdpa`, the mask with its full rank.
    OnnxAttention "onnx_attention" ("q", "k", "v", "mask?") {
        /// Number of heads.
        heads: usize,
        /// Factor on the scores.
        scale: f64,
    }
    /// ONNX `RotaryEmbedding` (opset 23) over the whole last axis of [B, S, n]: as `rope`, the position `[b, s]` turned by
    /// row `ids[b, s]` of the tables [rows, n/2].
    OnnxRotaryEmbedding "onnx_rotary_embedding" ("x", "cos", "sin", "ids") {
        /// `interleaved` or `halves`.
        pairs: RopePairs,
    }
    /// Scales at which the largest magnitudes of `x` become `largest`, by default the largest number of `to`: one for each
    /// position of `axis`, for each `block` positions of it and all of the others, or one for all; 1 where all is 0.
    WeightScale "weight_scale" ("x") {
        /// The quantised element type: `i8`, `i4`, `f8e4m3` or `f4e2m1`.
        to: Dtype,
        /// The largest number that is used; that of the type where left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        largest: Option<u16>,
        /// Which axis keeps its positions, or its blocks, apart.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        axis: Option<i64>,
        /// How many positions of the axis share a scale, each of the others for itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<usize>,
    }
    /// `x / scale` as the nearest number of `to`, saturated; the scales are laid out as `weight_scale` makes them.
    Quantize "quantize" ("x", "scale") {
        /// The quantised element type: `i8`, `i4`, `f8e4m3` or `f4e2m1`.
        to: Dtype,
        /// Which axis the scales belong to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        axis: Option<i64>,
        /// How many positions of the axis share a scale.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<usize>,
    }
    /// `x * scale` in the element type of the scales, which are laid out as `weight_scale` makes them: back from a
    /// quantised type.
    Dequantize "dequantize" ("x", "scale") {
        /// Which axis the scales belong to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        axis: Option<i64>,
        /// How many positions of the axis share a scale.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<usize>,
    }
    /// Numbers of `i4` [out, in] plus 8, two to a byte, the first in the lower half: [out, in / block, block / 2] as
    /// `ort_matmul_nbits` reads them.
    OrtPackNibbles "ort_pack_nibbles" ("x") {
        /// Numbers that share a scale.
        block: usize,
    }
    /// ONNX Runtime's `com.microsoft.MatMulNBits`: `x` times the transpose of the packed numbers `w`, each block of a row
    /// times its own of the scales [out, in / block], plus `b`.
    OrtMatmulNbits "ort_matmul_nbits" ("x", "w", "scale", "b?") {
        /// Numbers that share a scale: a power of two from 16.
        block: usize,
        /// What the product may be computed in: 0 as the runtime likes, 1 f32, 2 f16, 3 bf16, 4 8-bit integers.
        accuracy_level: u8,
    }
    /// ONNX Runtime's `com.microsoft.DynamicQuantizeMatMul`: `x` quantised to 8 bits over its whole range, times `w` [in,
    /// out] in `i8`, times both scales, plus `b`.
    OrtDynamicQuantizeMatmul "ort_dynamic_quantize_matmul" ("x", "w", "scale", "b?") {
    }
    /// TensorRT's `TRT_FP4DynamicQuantize`, and back: each block of the last axis as `f4e2m1` by a scale of its own, which
    /// is a number of `f8e4m3` times `scale`.
    TrtFp4DynamicQuantize "trt_fp4_dynamic_quantize" ("x", "scale") {
        /// How many positions of the last axis share a scale: 16.
        block: usize,
    }
    /// `x` itself.
    Identity "identity" ("x") {
    }
}

impl Op {
    /// Whether it has no inputs and its type stands in its attributes.
    pub fn is_leaf(&self) -> bool {
        matches!(self, Op::Input(_) | Op::Weight(_) | Op::Constant(_))
    }
}
