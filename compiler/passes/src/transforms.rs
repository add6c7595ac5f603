//! What makes graphs out of a graph: it may change the interface, which no rule may. Transforms run on the graph as it
//! is written, before any rule.

pub mod hand_over;
pub mod hoist;
pub mod reuse;
pub mod specialize;
pub mod split;
pub mod stream;
