//! From verified graphs and a checkpoint to a bundle.
//!
//! Checkpoints of every layout are read in one dialect, weights are tied to graphs and streamed, graphs are written
//! as ONNX with external data. Nothing is rewritten here: a graph that still needs lowering is an error.

mod abandoned;
mod bind;
mod bundle;
pub mod checkpoint;
mod merge;
mod numbers;
mod observe;
mod onnx;
mod quantize;
mod stream;
pub mod tokenizer;

pub use bind::{BindError, LISTED, bind, check_extra, stored_type, weight_keys};
pub use bundle::{
    BundleWriter, ComponentSource, ExportError, PartSource, StageSource, file_name, interface,
};
pub use merge::MergeError;
pub use observe::{ObserveError, Observed, Wanted, observe};
pub use onnx::{DataFile, Dialect, OnnxError, Scales, Step, WeightPlan, emit};
pub use stream::StreamError;
