//! Random values for a graph's inputs and weights, and how near two results are.
//!
//! Everything follows from a seed and from names, so two graphs with the same interface get the same values.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use ltxc_ir::{Array, Dtype, Fact, Graph, Op, SizeRange, eval};

/// Values of the run-time sizes.
pub type SizeValues = BTreeMap<String, i64>;

/// Small values for every size; sizes that are one of several take each in its turn.
pub fn size_values(graph: &Graph) -> Vec<SizeValues> {
    let ranges = &graph.sizes.0;
    let turns = ranges.values().map(|range| range.one_of.len().max(1)).max();
    (0..turns.unwrap_or(1))
        .map(|turn| values_of_turn(ranges, turn))
        .collect()
}

fn values_of_turn(ranges: &BTreeMap<String, SizeRange>, turn: usize) -> SizeValues {
    let mut values = SizeValues::new();
    let free = ranges.iter().filter(|(_, range)| range.one_of.is_empty());
    for (i, (name, range)) in free.enumerate() {
        values.insert(name.clone(), (2 + i as i64).clamp(range.min, range.max));
    }
    for (name, range) in ranges.iter().filter(|(_, range)| !range.one_of.is_empty()) {
        let choice = &range.one_of[turn % range.one_of.len()];
        let value = choice.eval(&|name| values.get(name).copied());
        values.insert(name.clone(), value.unwrap_or(1));
    }
    values
}

/// The outputs on random inputs and weights.
pub fn outputs(
    graph: &Graph,
    sizes: &SizeValues,
    seed: u64,
) -> Result<BTreeMap<String, Array>, String> {
    outputs_of(graph, &BTreeMap::new(), sizes, seed)
}

/// Random values for all inputs.
pub fn inputs_of(
    graph: &Graph,
    sizes: &SizeValues,
    seed: u64,
) -> Result<BTreeMap<String, Array>, String> {
    let nodes = graph.graph_inputs().iter().map(|id| graph.node(*id));
    nodes
        .map(|node| {
            let value = random(&node.name, &node.fact, sizes, seed)?;
            Ok((node.name.clone(), value))
        })
        .collect()
}

/// The outputs on given inputs, on random ones where none are given, and on random weights.
pub fn outputs_of(
    graph: &Graph,
    given: &BTreeMap<String, Array>,
    sizes: &SizeValues,
    seed: u64,
) -> Result<BTreeMap<String, Array>, String> {
    let mut inputs = given.clone();
    let mut weights = BTreeMap::new();
    for id in graph.order() {
        let node = graph.node(id);
        match &node.op {
            Op::Input(_) if given.contains_key(&node.name) => None,
            Op::Input(_) => inputs.insert(
                node.name.clone(),
                random(&node.name, &node.fact, sizes, seed)?,
            ),
            Op::Weight(weight) => weights.insert(
                weight.key.clone(),
                random(&weight.key, &node.fact, sizes, seed)?,
            ),
            _ => None,
        };
    }
    eval(graph, &inputs, &|key| weights.get(key).cloned(), sizes).map_err(|e| e.to_string())
}

fn random(name: &str, fact: &Fact, sizes: &SizeValues, seed: u64) -> Result<Array, String> {
    let shape: Option<Vec<usize>> = fact
        .shape
        .iter()
        .map(|size| usize::try_from(size.eval(&|name| sizes.get(name).copied())?).ok())
        .collect();
    let shape = shape.ok_or_else(|| format!("`{name}` of {fact} has no shape"))?;
    let count = shape.iter().product();
    let mut draw = Draw::new(name, seed);
    let array = match fact.dtype {
        Dtype::F32 => Array::f32(&shape, (0..count).map(|_| draw.unit()).collect()),
        Dtype::I64 | Dtype::I32 => Array::i64(&shape, (0..count).map(|_| draw.bit()).collect()),
        other => return Err(format!("no random values of {other}")),
    };
    array.map_err(|e| e.to_string())
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn new(name: &str, seed: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (name, seed).hash(&mut hasher);
        Self(hasher.finish())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between -1 and 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// 0 or 1: a mask, or a row of any table.
    fn bit(&mut self) -> i64 {
        (self.next() >> 63) as i64
    }
}

/// Whether outputs agree: floats within `tolerance` of the largest value, all else exactly.
pub fn compare(
    before: &BTreeMap<String, Array>,
    after: &BTreeMap<String, Array>,
    tolerance: f32,
) -> Result<(), String> {
    let names = |outputs: &BTreeMap<String, Array>| outputs.keys().cloned().collect::<Vec<_>>();
    if names(before) != names(after) {
        return Err(format!(
            "outputs {:?} became {:?}",
            names(before),
            names(after)
        ));
    }
    for (name, old) in before {
        compare_arrays(old, &after[name], tolerance).map_err(|why| format!("`{name}`: {why}"))?;
    }
    Ok(())
}

fn compare_arrays(old: &Array, new: &Array, tolerance: f32) -> Result<(), String> {
    let (Array::F32(old), Array::F32(new)) = (old, new) else {
        return if old == new {
            Ok(())
        } else {
            Err("whole numbers differ".to_owned())
        };
    };
    if old.shape() != new.shape() {
        return Err(format!("shape {:?} became {:?}", old.shape(), new.shape()));
    }
    let largest = old.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for (a, b) in old.iter().zip(new) {
        let near = (a - b).abs() <= tolerance * largest || (a == b);
        if !near {
            return Err(format!("{a} became {b}, the largest value is {largest}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f32) -> BTreeMap<String, Array> {
        let array = Array::f32(&[1], vec![value]).expect("one element");
        BTreeMap::from([("y".to_owned(), array)])
    }

    #[test]
    fn small_and_large_differences_are_told_apart() {
        assert_eq!(compare(&one(1.0), &one(1.0 + 1e-6), 1e-5), Ok(()));
        assert!(compare(&one(1.0), &one(1.0 + 1e-4), 1e-5).is_err());
        assert!(compare(&one(1.0), &one(f32::NAN), 1e-5).is_err());
        assert!(compare(&one(1.0), &BTreeMap::new(), 1e-5).is_err());
    }
}
