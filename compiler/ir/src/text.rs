//! The text form: one node per line, typed; printing and parsing are inverse.
//!
//! ```text
//! graph tail
//! size B 1..4
//! %x : f32[B, 8] = input
//! %w : f32[4, 8] = weight {key: proj.weight}
//! %y : f32[B, 4] = linear(%x, %w) ; tail.yaml:9
//! return tokens = %y
//! ```

mod fold;
mod parse;
mod print;

pub use fold::print_folded;
pub use parse::{ParseError, parse};
pub use print::print;
