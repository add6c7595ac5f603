//! Binds named run-time sizes to numbers.
//!
//! `x: f32[B, S, 64]` with `S = 1536` -> `x: f32[B, 1536, 64]`. Every attribute and type with a bound size changes, so
//! the interface does; a size that can no longer be anything but one number is bound too. Names, order and what is
//! computed stay.

use std::collections::BTreeMap;

use ltxc_ir::{Graph, GraphError, NodeId, Op, Size, SizeRange};
use thiserror::Error;

/// Numbers by the name of the size.
pub type Bindings = BTreeMap<String, i64>;

/// Why sizes cannot be bound.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SpecializeError {
    /// The graph has no such size.
    #[error("the graph `{graph}` has no size `{size}`; it has {known}")]
    Unknown {
        /// The graph.
        graph: String,
        /// The name given.
        size: String,
        /// Its sizes.
        known: String,
    },
    /// The size cannot have that value.
    #[error("the size `{size}` of `{graph}` cannot be {value}: it is {allowed}")]
    Range {
        /// The graph.
        graph: String,
        /// The size.
        size: String,
        /// The value given.
        value: i64,
        /// What it may be, in words.
        allowed: String,
    },
    /// The values make an operation impossible.
    #[error("these sizes do not fit the graph: {0}")]
    Graph(#[from] GraphError),
}

/// The graph with some sizes bound to numbers; those not named stay, unless only one value is left for them.
pub fn specialize(graph: &Graph, bindings: &Bindings) -> Result<Graph, SpecializeError> {
    let mut bound = bindings.clone();
    check(graph, &bound)?;
    bind_implied(graph, &mut bound);
    let number = |name: &str| bound.get(name).map(|value| Size::from(*value));
    let mut made = Graph::new(graph.name.clone());
    made.doc.clone_from(&graph.doc);
    made.reuse.clone_from(&graph.reuse);
    for (name, range) in &graph.sizes.0 {
        if !bound.contains_key(name) {
            made.sizes
                .0
                .insert(name.clone(), substituted(range, &number));
        }
    }
    let mut copies: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in graph.order() {
        let node = graph.node(id);
        let inputs: Vec<_> = graph
            .inputs_of(id)
            .into_iter()
            .map(|input| input.map(|input| copies[&input]))
            .collect();
        let copy = made.add(
            &node.name,
            with_sizes(&node.op, &number),
            &inputs,
            node.origin.clone(),
        )?;
        copies.insert(id, copy);
    }
    for (name, value) in graph.graph_outputs() {
        made.output(name, copies[value]);
    }
    Ok(made)
}

fn with_sizes(op: &Op, number: &dyn Fn(&str) -> Option<Size>) -> Op {
    let mut op = op.clone();
    for size in op.sizes_mut() {
        *size = size.substitute(number);
    }
    op
}

fn substituted(range: &SizeRange, number: &dyn Fn(&str) -> Option<Size>) -> SizeRange {
    SizeRange {
        one_of: range
            .one_of
            .iter()
            .map(|choice| choice.substitute(number))
            .collect(),
        ..range.clone()
    }
}

/// Every given size must exist and be able to have its value.
fn check(graph: &Graph, bound: &Bindings) -> Result<(), SpecializeError> {
    for (name, value) in bound {
        let range = graph
            .sizes
            .0
            .get(name)
            .ok_or_else(|| SpecializeError::Unknown {
                graph: graph.name.clone(),
                size: name.clone(),
                known: graph.sizes.0.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
        if let Some(allowed) = refusal(range, *value, bound) {
            return Err(SpecializeError::Range {
                graph: graph.name.clone(),
                size: name.clone(),
                value: *value,
                allowed,
            });
        }
    }
    Ok(())
}

/// What the size may be, if this value is not it. A choice that depends on a free size may still become the value.
fn refusal(range: &SizeRange, value: i64, bound: &Bindings) -> Option<String> {
    let known = |name: &str| bound.get(name).copied();
    if !(range.min..=range.max).contains(&value) {
        return Some(format!("from {} to {}", range.min, range.max));
    }
    let open = |choice: &Size| choice.eval(&known).is_none_or(|choice| choice == value);
    if range.one_of.is_empty() || range.one_of.iter().any(open) {
        return None;
    }
    let choices: Vec<_> = range.one_of.iter().map(Size::to_string).collect();
    Some(format!("one of {}", choices.join(" and ")))
}

/// Binds sizes whose every choice has come to the same number.
fn bind_implied(graph: &Graph, bound: &mut Bindings) {
    let mut settled = false;
    while !settled {
        settled = true;
        for (name, range) in &graph.sizes.0 {
            let known = |name: &str| bound.get(name).copied();
            let mut choices = range.one_of.iter().map(|choice| choice.eval(&known));
            let Some(Some(first)) = choices.next() else {
                continue;
            };
            if choices.all(|choice| choice == Some(first)) && !bound.contains_key(name) {
                bound.insert(name.clone(), first);
                settled = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: &str = "graph case
size B 1..4
size M 1..64 one of 1, S
size R 1..4 one of 1, B
size S 1..64
%x : f32[B, S, 8] = input
%t : f32[R, M, 8] = input
%y : f32[B, S, 8] = add(%x, %t)
%z : f32[B*S, 8] = reshape(%y) {to: [B*S, 8]}
return z = %z
";

    fn specialized(bindings: &[(&str, i64)]) -> Result<String, String> {
        let graph = ltxc_ir::parse(GRAPH).expect("the test graph parses");
        let bindings = bindings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        let graph = specialize(&graph, &bindings).map_err(|e| e.to_string())?;
        assert_eq!(ltxc_ir::check(&graph), []);
        Ok(ltxc_ir::print(&graph))
    }

    #[test]
    fn bound_sizes_become_numbers_and_imply_others() {
        let text = specialized(&[("B", 1), ("S", 16)]).expect("the sizes fit");
        assert!(text.contains("size M 1..64 one of 1, 16"), "{text}");
        assert!(!text.contains("size R"), "{text}");
        assert!(text.contains("%t : f32[1, M, 8] = input"), "{text}");
        assert!(
            text.contains("%z : f32[16, 8] = reshape(%y) {to: [16, 8]}"),
            "{text}"
        );
    }

    #[test]
    fn some_sizes_may_stay() {
        let text = specialized(&[("S", 16)]).expect("the size fits");
        assert!(text.contains("%z : f32[16*B, 8]"), "{text}");
    }

    #[test]
    fn wrong_sizes_are_refused_by_name() {
        for (bindings, why) in [
            (
                vec![("T", 2)],
                "the graph `case` has no size `T`; it has B, M, R, S",
            ),
            (
                vec![("S", 65)],
                "the size `S` of `case` cannot be 65: it is from 1 to 64",
            ),
            (
                vec![("M", 3), ("S", 16)],
                "the size `M` of `case` cannot be 3: it is one of 1 and S",
            ),
        ] {
            assert_eq!(specialized(&bindings), Err(why.to_owned()));
        }
    }
}
