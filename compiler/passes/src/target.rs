//! What a runtime can do, as rules ask for it.

use std::fmt;

use ltxc_ir::Dtype;
use serde::{Deserialize, Serialize};

use crate::memory::MemoryModel;

/// The capabilities of a target; rules ask these, never a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// How attention is written.
    pub attention: AttentionForm,
    /// Whether the ONNX `Attention` operator broadcasts a mask along all of its axes, as the standard says.
    #[serde(default)]
    pub broadcast_masks: bool,
    /// Whether queries are multiplied by the scale in front of the ONNX `Attention` operator, which then has a scale of 1.
    #[serde(default)]
    pub scaled_queries: bool,
    /// Whether the `RMSNormalization` operator exists (opset 23).
    pub rms_normalization: bool,
    /// Whether the `RotaryEmbedding` operator exists (opset 23) and takes rows of any width.
    #[serde(default)]
    pub rotary_embedding: bool,
    /// Whether 16-bit weights may be stored and widened when they are loaded.
    pub half_weights: bool,
    /// Whether bfloat16 exists at all.
    pub bf16: bool,
    /// Whether 8-bit weights may be stored and widened by `DequantizeLinear` (opset 19).
    #[serde(default)]
    pub fp8_weights: bool,
    /// How the runtime uses memory.
    #[serde(default)]
    pub memory: MemoryModel,
    /// Whether the operator `com.microsoft.DynamicQuantizeMatMul` exists.
    #[serde(default)]
    pub dynamic_int8: bool,
    /// Types of which products run as kernels where both sides are quantised and dequantised again (Q/DQ pairs).
    #[serde(default)]
    pub quantized_products: Vec<Dtype>,
    /// Types of which attention in 16 bits runs as one kernel where both sides of both its products are such pairs.
    #[serde(default)]
    pub quantized_attention: Vec<Dtype>,
    /// Whether kernels want 8-bit integers that are computed without a sign, with 128 for 0.
    #[serde(default)]
    pub unsigned_int8: bool,
    /// How weights of 4 bits are written, if they stay so small at run time.
    #[serde(default)]
    pub int4_weights: Option<Int4Form>,
    /// The float types it computes in; f32 where left out.
    #[serde(default = "single")]
    pub floats: Vec<Dtype>,
}

fn single() -> Vec<Dtype> {
    vec![Dtype::F32]
}

/// How a target wants weights of 4 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Int4Form {
    /// `com.microsoft.MatMulNBits`.
    OrtMatmulNbits,
    /// `DequantizeLinear` in blocks (opset 21), which the product takes in.
    Dequantize,
}

/// How a target wants attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionForm {
    /// `com.microsoft.MultiHeadAttention`.
    OrtMultiHeadAttention,
    /// ONNX `Attention`, opset 23.
    OnnxAttention,
    /// Two products and a softmax.
    Decomposed,
}

impl fmt::Display for AttentionForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OrtMultiHeadAttention => "com.microsoft.MultiHeadAttention",
            Self::OnnxAttention => "the ONNX Attention operator",
            Self::Decomposed => "attention as products and a softmax",
        })
    }
}
