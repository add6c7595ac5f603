//! The intermediate representation of `ltxc`.
//!
//! A [`Graph`] is a set of nodes, each with one operation of a closed set ([`op`]), one result and a name that is
//! unique and stable. Every value has a [`Fact`]: an element type and a shape of symbolic [`Size`]s. Types are
//! inferred when a node is added and checked again by [`verify`]; a [`Verified`] graph is what code generation
//! accepts, and it may rely on everything the verifier lists.
//!
//! Laws:
//! - a graph changes only by [`Patch`], which keeps the type of every value it replaces and the graph's interface;
//! - no weight byte is ever held here: a weight is a key, a type and what is stored;
//! - [`print()`] and [`parse`] are inverse, and printing depends on the graph alone;
//! - [`eval`](fn@eval) says what every operation means in numbers; all rewrites are judged against it.

pub mod attrs;
pub mod eval;
pub mod expr;
mod fact;
mod graph;
mod infer;
pub mod narrow;
pub mod op;
mod patch;
pub mod ranges;
mod size;
mod sizes;
pub mod text;
mod verify;

pub use eval::{Array, EvalError, eval};
pub use fact::{Dtype, Fact, resolve_axis};
pub use graph::{Graph, GraphError, Node, NodeId, Origin, Reuse};
pub use infer::{InferError, infer};
pub use op::Op;
pub use patch::{Patch, PatchError, Value, drop_dead};
pub use size::Size;
pub use sizes::{SizeRange, Sizes};
pub use text::{parse, print, print_folded};
pub use verify::{Verified, VerifyError, check, verify};
