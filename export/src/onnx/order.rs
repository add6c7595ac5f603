//! The order of the nodes in a file.
//!
//! A runtime may run them in any order that respects their inputs. ONNX Runtime walks back from the outputs and runs, of
//! the makers of a node's inputs, first the one that stands last in the file (`GraphViewer`, reverse depth-first). In the
//! order of the graph that is the wrong way round: whatever is gathered or cut just before it is read would be made for all
//! blocks before the first of them runs, and stay. So what is to be made last stands first.

use std::collections::{BTreeSet, HashMap};

use super::proto::NodeProto;

/// Nodes in the order in which they should run, as ONNX Runtime should find them in a file; `outputs` are the graph's.
pub fn file_order<'a>(
    nodes: Vec<NodeProto>,
    outputs: impl Iterator<Item = &'a str>,
) -> Vec<NodeProto> {
    let makers = nodes.iter().enumerate().flat_map(|(place, node)| {
        let named = node.output.iter().filter(|name| !name.is_empty());
        named.map(move |name| (name.as_str(), place))
    });
    let makers: HashMap<&str, usize> = makers.collect();
    let made_by = |names: &mut dyn Iterator<Item = &str>| -> BTreeSet<usize> {
        names.filter_map(|name| makers.get(name).copied()).collect()
    };
    let inputs = |place: &usize| {
        let mut names = nodes[*place].input.iter().map(String::as_str);
        made_by(&mut names)
    };
    let roots = made_by(&mut { outputs });
    let all = roots.into_iter().rev().chain(0..nodes.len());
    let order = depth_first(all, &inputs, nodes.len());
    let mut nodes: Vec<Option<NodeProto>> = nodes.into_iter().map(Some).collect();
    order
        .iter()
        .filter_map(|place| nodes[*place].take())
        .collect()
}

/// Each place behind its inputs, of which the largest come first. Without recursion: graphs are thousands of nodes deep.
fn depth_first(
    roots: impl Iterator<Item = usize>,
    inputs: &dyn Fn(&usize) -> BTreeSet<usize>,
    count: usize,
) -> Vec<usize> {
    let (mut order, mut seen) = (Vec::with_capacity(count), vec![false; count]);
    for root in roots {
        let mut stack = vec![(root, None)];
        while let Some((place, open)) = stack.pop() {
            let mut open: BTreeSet<usize> = match open {
                Some(open) => open,
                None if std::mem::replace(&mut seen[place], true) => continue,
                None => inputs(&place),
            };
            match open.pop_last() {
                None => order.push(place),
                Some(next) => stack.extend([(place, Some(open)), (next, None)]),
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    /// What ONNX Runtime does with a file.
    fn run_order(nodes: &[NodeProto], output: &str) -> Vec<String> {
        let maker = |name: &str| nodes.iter().position(|node| node.output[0] == name);
        let inputs = |place: &usize| {
            nodes[*place]
                .input
                .iter()
                .filter_map(|n| maker(n))
                .collect()
        };
        let order = depth_first(maker(output).into_iter(), &inputs, nodes.len());
        let names = order.iter().map(|place| nodes[*place].output[0].clone());
        names.collect()
    }

    #[test]
    fn what_a_block_gathers_is_made_when_it_is_read() {
        let mut nodes = vec![node(&["x"], "table")];
        let mut before = "x".to_owned();
        for block in 0..3 {
            let [gains, norm, out] = ["gains", "norm", "out"].map(|name| format!("{name}{block}"));
            nodes.push(node(&[&before], &norm));
            nodes.push(node(&["table"], &gains));
            nodes.push(node(&[&norm, &gains], &out));
            before = out;
        }
        let wanted: Vec<String> = nodes.iter().map(|node| node.output[0].clone()).collect();
        let plain = run_order(&nodes, &before);
        let gathers = |order: &[String]| order.iter().position(|name| name == "gains2");
        assert!(
            gathers(&plain) < Some(4),
            "all gathers come first: {plain:?}"
        );
        let file = file_order(nodes, std::iter::once(before.as_str()));
        let norms = |order: &[String]| {
            let block = |name: &&String| !name.starts_with("table");
            order.iter().filter(block).cloned().collect::<Vec<_>>()
        };
        assert_eq!(norms(&run_order(&file, &before)), norms(&wanted));
    }

    #[test]
    fn every_node_stands_behind_its_inputs_once() {
        let nodes = vec![
            node(&["x"], "a"),
            node(&["a"], "b"),
            node(&["a", "b", ""], "c"),
            node(&["a"], "unread"),
        ];
        let file = file_order(nodes, ["c", "b"].into_iter());
        let names: Vec<&str> = file.iter().map(|node| node.output[0].as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "unread"]);
    }
}
