//! Names of values in a file of ranges, which whoever measures writes and whoever quantises reads.
//!
//! The inputs of a layer have the key of its weight. Those of attention have the key of the weight that makes its queries,
//! with one of [`ATTENTION_INPUTS`] behind it.

/// Queries, keys and values, in the order of attention's inputs.
pub const ATTENTION_INPUTS: [&str; 3] = ["q", "k", "v"];

/// The name of an input of attention, whose queries a weight makes.
pub fn attention_input(queries: &str, input: &str) -> String {
    format!("{queries}/{input}")
}

/// The key of the weight that a value is named after.
pub fn weight_of(name: &str) -> &str {
    match name.rsplit_once('/') {
        Some((key, input)) if ATTENTION_INPUTS.contains(&input) => key,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_weights() {
        for input in ATTENTION_INPUTS {
            assert_eq!(weight_of(&attention_input("a.b/c", input)), "a.b/c");
        }
        for key in ["a.b", "a/b", "q"] {
            assert_eq!(weight_of(key), key);
        }
    }
}
