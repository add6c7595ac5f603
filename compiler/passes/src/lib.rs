//! Rewriting: from the graph as it is written to the graph a target runs.
//!
//! A [`Rule`] looks at one node and answers with a [`Patch`](ltxc_ir::Patch) or with the reason why not. The driver
//! ([`run`]) applies the rules a target lists, in that order, each until nothing changes, and verifies the graph
//! after each. [`rules`](rules()) names every rule there is. [`transforms`] make graphs out of a graph, before the rules.
//!
//! Laws:
//! - rules are stateless, never see a weight's bytes, and ask [`Capabilities`], never the name of a target; what else
//!   they need to know are their parameters, the fields of their struct, given as data where a list names them;
//! - lossy rules are for recipes: no target runs one of its own accord;
//! - a graph changes only by patches, so no rule changes a type, and the interface stays;
//! - a bug in a rule is an error that names pass and node; nothing is skipped.

mod attention;
mod chunks;
mod constant;
mod driver;
mod error;
mod linear;
mod matched;
pub mod memory;
mod pattern;
mod reach;
mod report;
mod rule;
mod rules;
mod spec;
mod target;
mod tiles;
pub mod transforms;

pub use driver::{explain, run};
pub use error::PassError;
pub use matched::Match;
pub use reach::Reach;
pub use report::{Decline, PassReport, difference};
pub use rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict};
pub use rules::{find, rules};
pub use spec::PassSpec;
pub use target::{AttentionForm, Capabilities, Int4Form};
