//! Verified graphs to ONNX models.
//!
//! Every operation that reaches this module has one fixed ONNX form; what needs a decision is lowered by a rule
//! before. Sizes that are known stay numbers, named ones become dimension parameters, and a shape that must be
//! computed at run time is computed from the graph inputs' shapes.

mod emit;
mod ops;
mod order;
pub(crate) mod proto;
mod sizes;
mod weight;

pub use emit::{DataFile, Dialect, OnnxError, Scales, emit};
pub use weight::{Quantized, Shared, Step, WeightPlan};
