//! A static memory plan: what a lowered graph of constant sizes needs while it runs, and where it needs the most.
//!
//! The graph is walked in the order in which export writes its nodes. A value lives from the node that makes it to
//! the last one that reads it; inputs live throughout, as the caller holds them. Reshapes and identities are views.
//! What else costs nothing is the target's: whether an elementwise operation may write over an operand that dies with
//! it, whether neighbours run as one kernel, so that what passes between them is never written. Weights are whatever
//! depends on nothing but weights and constants, as runtimes fold it when they load.
//!
//! Not modelled: fragmentation, code, and the buffers of libraries beyond the copies that a target states.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ltxc_ir::{Graph, NodeId, Op, Size};
use serde::{Deserialize, Serialize};

/// How a target's runtime uses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryModel {
    /// Whether chains of elementwise operations, the reductions they end in, and attention written as products run as
    /// one kernel each; otherwise each operation writes its result, over an operand that dies where it can.
    #[serde(default)]
    pub fused: bool,
    /// Copies that the attention operator makes of its queries, keys and values, one each.
    #[serde(default)]
    pub attention_copies: bool,
    /// Bytes of the process that no graph explains, in MiB.
    #[serde(default)]
    pub base_mib: u64,
}

impl Default for MemoryModel {
    fn default() -> Self {
        Self {
            fused: false,
            attention_copies: true,
            base_mib: 0,
        }
    }
}

/// What a graph needs, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Weights as the runtime holds them.
    pub weights: u64,
    /// Inputs of a call.
    pub inputs: u64,
    /// Values alive at the peak, its result included.
    pub activations: u64,
    /// Working memory of the operation at the peak.
    pub working: u64,
    /// The node at the peak.
    pub peak: String,
    /// The largest values alive there, largest first.
    pub alive: Vec<(String, u64)>,
}

impl MemoryPlan {
    /// Everything at the peak.
    pub fn total(&self) -> u64 {
        self.weights + self.inputs + self.activations + self.working
    }
}

/// Values listed at the peak.
const LISTED: usize = 5;

/// Plans a lowered graph. A size that is no number yet counts with the least it can be.
pub fn plan(graph: &Graph, model: MemoryModel) -> MemoryPlan {
    let least = |name: &str| Some(graph.sizes.0.get(name).map_or(1, |range| range.min));
    planner(graph, model, &least).walk()
}

/// What a graph without attention needs beside its weights, in bytes, whatever its sizes are: the largest of these. The
/// inputs named in `beside` are not counted.
pub fn peaks(graph: &Graph, model: MemoryModel, beside: &BTreeSet<String>) -> Vec<Size> {
    let mut planner = planner(graph, model, &|name| Some(PROBE + name.len() as i64));
    planner.moments = Some(Vec::new());
    let bytes = |id: NodeId| bytes(graph, id);
    let inputs = graph.graph_inputs().iter().copied();
    let inputs = inputs.filter(|id| !beside.contains(&graph.node(*id).name));
    let inputs = inputs.fold(Size::from(0), |sum, id| sum + bytes(id));
    let mut peaks: Vec<Size> = Vec::new();
    for moment in planner.moments_of_walk() {
        let alive = moment.alive.into_iter().map(bytes);
        let alive = alive.fold(inputs.clone(), |sum, bytes| sum + bytes);
        let peak = moment
            .written_over
            .map_or(alive.clone(), |id| alive - bytes(id));
        if !peaks.iter().any(|known| covers(known, &peak)) {
            peaks.retain(|known| !covers(&peak, known));
            peaks.push(peak);
        }
    }
    peaks
}

/// The bytes of a value.
pub fn bytes(graph: &Graph, id: NodeId) -> Size {
    let fact = &graph.node(id).fact;
    fact.elements() * Size::from(fact.dtype.bytes() as i64)
}

/// A size for which equal amounts of memory are no accident.
const PROBE: i64 = 1009;

/// Whether one size is at least the other whatever its names stand for.
fn covers(larger: &Size, smaller: &Size) -> bool {
    let rest = larger.clone() - smaller.clone();
    rest.terms().all(|(coefficient, _)| coefficient >= 0)
}

fn planner<'g>(
    graph: &'g Graph,
    model: MemoryModel,
    value: &dyn Fn(&str) -> Option<i64>,
) -> Planner<'g> {
    let order = graph.order();
    let bytes = |id: &NodeId| {
        let fact = &graph.node(*id).fact;
        let count = fact.elements().eval(value).unwrap_or(i64::MAX);
        (*id, fact.dtype.bytes_of(count.max(0) as u64))
    };
    let bytes = order.iter().map(bytes).collect();
    Planner::new(graph, model, order, bytes)
}

/// What is in memory while one operation runs.
struct Moment {
    alive: Vec<NodeId>,
    /// The value whose result lies in an operand.
    written_over: Option<NodeId>,
}

struct Planner<'g> {
    graph: &'g Graph,
    model: MemoryModel,
    order: Vec<NodeId>,
    bytes: HashMap<NodeId, u64>,
    /// Values that only weights and constants decide.
    fixed: BTreeSet<NodeId>,
    /// Values that are never written.
    unwritten: BTreeSet<NodeId>,
    /// Readers of the buffer behind a value that are still to come.
    readers: HashMap<NodeId, usize>,
    /// The value whose buffer a value uses.
    buffer: HashMap<NodeId, NodeId>,
    alive: BTreeMap<NodeId, u64>,
    /// Filled while the graph is walked, if somebody asked.
    moments: Option<Vec<Moment>>,
}

impl<'g> Planner<'g> {
    fn new(
        graph: &'g Graph,
        model: MemoryModel,
        order: Vec<NodeId>,
        bytes: HashMap<NodeId, u64>,
    ) -> Self {
        let mut planner = Self {
            graph,
            model,
            order,
            bytes,
            fixed: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            readers: HashMap::new(),
            buffer: HashMap::new(),
            alive: BTreeMap::new(),
            moments: None,
        };
        planner.find_fixed();
        planner.find_dequantised();
        if model.fused {
            planner.find_unwritten();
        }
        planner
    }

    fn inputs(&self, id: NodeId) -> Vec<NodeId> {
        self.graph.inputs_of(id).into_iter().flatten().collect()
    }

    fn op(&self, id: NodeId) -> &'g Op {
        &self.graph.node(id).op
    }

    fn find_fixed(&mut self) {
        for id in self.order.clone() {
            let decided = self
                .inputs(id)
                .iter()
                .all(|input| self.fixed.contains(input));
            let taken_back = matches!(self.op(id), Op::Dequantize(_)) && !self.scales_a_weight(id);
            if decided && !matches!(self.op(id), Op::Input(_)) && !taken_back {
                self.fixed.insert(id);
            }
        }
    }

    /// Whether scales that were rounded themselves are only what a weight is quantised by, while it is streamed.
    fn scales_a_weight(&self, id: NodeId) -> bool {
        let users = self.graph.users_of(id);
        users
            .iter()
            .all(|user| matches!(self.op(*user), Op::Quantize(_)))
    }

    /// Numbers that a product takes quantised: targets that are given such pairs compute on what is small.
    fn find_dequantised(&mut self) {
        for id in self.order.clone() {
            let back = match self.op(id) {
                Op::Dequantize(_) | Op::TrtFp4DynamicQuantize(_) => true,
                Op::Cast(_) => self.widens_a_pair(id),
                _ => false,
            };
            if back && !self.graph.is_output(id) {
                self.unwritten.insert(id);
            }
        }
    }

    /// Whether numbers that come out of a pair are only taken into a product that adds in more bits.
    fn widens_a_pair(&self, id: NodeId) -> bool {
        let read = self.inputs(id).first().copied();
        read.is_some_and(|read| {
            matches!(self.op(read), Op::Dequantize(_)) && self.width(read) < self.width(id)
        })
    }

    /// Whether an operation rounds to fewer bits, which a kernel does where it writes.
    fn narrows(&self, id: NodeId) -> bool {
        let reads = self.inputs(id);
        let wider = reads.iter().all(|read| self.width(*read) > self.width(id));
        matches!(self.op(id), Op::Cast(_)) && wider
    }

    fn width(&self, id: NodeId) -> u64 {
        self.graph.node(id).fact.dtype.bytes()
    }

    /// What a kernel hands on inside, to the only operation that reads it.
    fn find_unwritten(&mut self) {
        for id in self.order.clone() {
            if self.fixed.contains(&id) {
                continue;
            }
            let users = self.graph.users_of(id);
            let inside = match self.op(id) {
                op if is_elementwise(op) => users.iter().all(|user| reads_through(self.op(*user))),
                Op::Softmax(_) => true,
                Op::Quantize(_) => self.quantizes_a_softmax(id),
                Op::Matmul(_) => users
                    .iter()
                    .all(|user| self.leads_to_softmax(*user) || self.narrows(*user)),
                _ => false,
            };
            if inside && users.len() == 1 && !self.graph.is_output(id) {
                self.unwritten.insert(id);
            }
        }
    }

    /// Whether numbers are what attention on few bits has between its products.
    fn quantizes_a_softmax(&self, id: NodeId) -> bool {
        let made = self.inputs(id).first().map(|x| self.op(*x));
        matches!(made, Some(Op::Softmax(_)))
    }

    fn leads_to_softmax(&self, id: NodeId) -> bool {
        match self.op(id) {
            Op::Softmax(_) => true,
            op if is_elementwise(op) => {
                let users = self.graph.users_of(id);
                users.len() == 1 && users.iter().all(|user| self.leads_to_softmax(*user))
            }
            _ => false,
        }
    }

    /// The written values that an operation reads, through what is not written.
    fn read_by(&self, id: NodeId) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::new();
        let mut open = self.inputs(id);
        while let Some(input) = open.pop() {
            match () {
                () if self.fixed.contains(&input) => {}
                () if self.unwritten.contains(&input) => open.extend(self.inputs(input)),
                () => {
                    found.insert(input);
                }
            }
        }
        found
    }

    fn moments_of_walk(mut self) -> Vec<Moment> {
        self.walk_over();
        self.moments.unwrap_or_default()
    }

    fn walk(mut self) -> MemoryPlan {
        self.walk_over()
    }

    fn walk_over(&mut self) -> MemoryPlan {
        let weights = self.weights();
        let inputs = self
            .graph
            .graph_inputs()
            .iter()
            .map(|id| self.bytes[id])
            .sum();
        let steps: Vec<NodeId> = self
            .order
            .iter()
            .copied()
            .filter(|id| self.runs(*id))
            .collect();
        let reads: HashMap<NodeId, BTreeSet<NodeId>> =
            steps.iter().map(|id| (*id, self.read_by(*id))).collect();
        self.assign_buffers(&steps, &reads);
        let mut plan = MemoryPlan {
            weights,
            inputs,
            activations: 0,
            working: 0,
            peak: String::new(),
            alive: Vec::new(),
        };
        for id in steps {
            self.step(id, &reads[&id], &mut plan);
        }
        plan
    }

    fn runs(&self, id: NodeId) -> bool {
        !matches!(self.op(id), Op::Input(_))
            && !self.fixed.contains(&id)
            && !self.unwritten.contains(&id)
    }

    /// Fixed values that something else reads.
    fn weights(&self) -> u64 {
        let read = |id: &&NodeId| {
            self.graph.is_output(**id)
                || self
                    .graph
                    .users_of(**id)
                    .iter()
                    .any(|user| !self.fixed.contains(user))
        };
        self.fixed
            .iter()
            .filter(read)
            .map(|id| self.bytes[id])
            .sum()
    }

    /// Views share the buffer of what they view; a buffer is read by all that read one of its values.
    fn assign_buffers(&mut self, steps: &[NodeId], reads: &HashMap<NodeId, BTreeSet<NodeId>>) {
        for id in steps {
            let viewed = match self.op(*id) {
                Op::Reshape(_) | Op::Identity(_) => reads[id].first().copied(),
                _ => None,
            };
            let root = viewed.map_or(*id, |viewed| self.root(viewed));
            self.buffer.insert(*id, root);
            for read in &reads[id] {
                *self.readers.entry(self.root(*read)).or_insert(0) += 1;
            }
        }
        for (_, output) in self.graph.graph_outputs() {
            *self.readers.entry(self.root(*output)).or_insert(0) += 1;
        }
    }

    fn root(&self, id: NodeId) -> NodeId {
        self.buffer.get(&id).copied().unwrap_or(id)
    }

    fn step(&mut self, id: NodeId, reads: &BTreeSet<NodeId>, plan: &mut MemoryPlan) {
        let needed = if self.root(id) == id {
            self.bytes[&id]
        } else {
            0
        };
        let dying = self.dying(reads);
        if needed > 0 {
            self.alive.insert(id, needed);
        }
        let in_place = self.written_over(id, needed, &dying);
        let working = self.working(id);
        let activations = self.alive.values().sum::<u64>() - in_place;
        if let Some(moments) = &mut self.moments {
            moments.push(Moment {
                alive: self.alive.keys().copied().collect(),
                written_over: (in_place > 0).then_some(id),
            });
        }
        if activations + working > plan.activations + plan.working {
            plan.activations = activations;
            plan.working = working;
            plan.peak.clone_from(&self.graph.node(id).name);
            plan.alive = self.largest();
        }
        for root in reads
            .iter()
            .map(|read| self.root(*read))
            .collect::<Vec<_>>()
        {
            if let Some(left) = self.readers.get_mut(&root) {
                *left -= 1;
            }
        }
        for root in dying {
            self.alive.remove(&root);
        }
    }

    /// Buffers that nobody reads after an operation with these reads.
    fn dying(&self, reads: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut left: BTreeMap<NodeId, usize> = BTreeMap::new();
        for read in reads {
            let root = self.root(*read);
            let entry = left
                .entry(root)
                .or_insert_with(|| self.readers.get(&root).copied().unwrap_or(0));
            *entry = entry.saturating_sub(1);
        }
        left.into_iter()
            .filter(|(_, left)| *left == 0)
            .map(|(root, _)| root)
            .collect()
    }

    /// Bytes of the result that lie in a dying operand.
    fn written_over(&self, id: NodeId, needed: u64, dying: &BTreeSet<NodeId>) -> u64 {
        let may = is_elementwise(self.op(id)) || matches!(self.op(id), Op::Softmax(_));
        let fits = !self.model.fused
            && dying
                .iter()
                .any(|root| self.alive.get(root) == Some(&needed));
        if may && fits { needed } else { 0 }
    }

    fn working(&self, id: NodeId) -> u64 {
        let copies = || {
            self.inputs(id)
                .iter()
                .take(3)
                .map(|input| self.bytes[input])
                .sum::<u64>()
        };
        match self.op(id) {
            Op::OrtMultiHeadAttention(_) if self.model.attention_copies => {
                copies() + self.scores_under_a_mask(id)
            }
            Op::OnnxAttention(op) if self.model.attention_copies => {
                copies() + 2 * self.scores(id, op.heads)
            }
            _ => 0,
        }
    }

    /// The operator works through keys in pieces, unless a mask is added.
    fn scores_under_a_mask(&self, id: NodeId) -> u64 {
        match (self.op(id), self.inputs(id).len()) {
            (Op::OrtMultiHeadAttention(op), 4) => self.scores(id, op.heads),
            _ => 0,
        }
    }

    fn scores(&self, id: NodeId, heads: usize) -> u64 {
        let axis = |port: usize, axis: usize| {
            let input = self.inputs(id).get(port).copied();
            let size =
                input.and_then(|input| self.graph.node(input).fact.shape.get(axis)?.as_const());
            size.unwrap_or(1).max(0) as u64
        };
        axis(0, 0) * heads as u64 * axis(0, 1) * axis(1, 1) * self.graph.node(id).fact.dtype.bytes()
    }

    fn largest(&self) -> Vec<(String, u64)> {
        let named = |(id, bytes): (&NodeId, &u64)| (self.graph.node(*id).name.clone(), *bytes);
        let mut alive: Vec<_> = self.alive.iter().map(named).collect();
        alive.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        alive.truncate(LISTED);
        alive
    }
}

/// One element in, one element out, at the same place.
fn is_elementwise(op: &Op) -> bool {
    const NAMES: [&str; 24] = [
        "add", "sub", "mul", "div", "pow", "min", "max", "less", "where", "neg", "abs", "exp",
        "log", "sqrt", "sin", "cos", "floor", "sigmoid", "tanh", "silu", "gelu", "cast", "expand",
        "select",
    ];
    NAMES.contains(&op.name())
}

/// Operations that can take their operand from inside a kernel.
fn reads_through(op: &Op) -> bool {
    is_elementwise(op)
        || matches!(
            op,
            Op::Mean(_) | Op::RmsNorm(_) | Op::LayerNorm(_) | Op::Softmax(_)
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_PLACE: MemoryModel = MemoryModel {
        fused: false,
        attention_copies: true,
        base_mib: 0,
    };

    fn planned(body: &str, model: MemoryModel) -> MemoryPlan {
        let text = format!("graph case\n%x : f32[4, 256] = input\n{body}");
        plan(
            &ltxc_ir::parse(&text).expect("the test graph parses"),
            model,
        )
    }

    #[test]
    fn a_chain_needs_one_buffer_behind_its_input() {
        let body = "%a : f32[4, 256] = sin(%x)\n%b : f32[4, 256] = cos(%a)\n%c : f32[1024] = reshape(%b) {to: [1024]}\nreturn c = %c\n";
        let plan = planned(body, IN_PLACE);
        assert_eq!(
            (plan.inputs, plan.activations, plan.weights),
            (4096, 4096, 0)
        );
    }

    #[test]
    fn a_value_that_is_read_later_stays() {
        let body = "%a : f32[4, 256] = sin(%x)\n%b : f32[256, 4] = transpose(%a) {perm: [1, 0]}\n%c : f32[4, 4] = matmul(%a, %b)\nreturn c = %c\n";
        let plan = planned(body, IN_PLACE);
        assert_eq!((plan.activations, plan.peak.as_str()), (2 * 4096 + 64, "c"));
    }

    #[test]
    fn a_kernel_hands_on_without_writing() {
        let body = "%a : f32[4, 256] = sin(%x)\n%b : f32[256, 4] = transpose(%x) {perm: [1, 0]}\n%c : f32[4, 4] = matmul(%x, %b)\n%d : f32[4, 4] = softmax(%c) {axis: -1}\n%e : f32[4, 256] = matmul(%d, %a)\nreturn e = %e\n";
        let fused = MemoryModel {
            fused: true,
            ..IN_PLACE
        };
        let plan = planned(body, fused);
        assert_eq!(plan.activations, 3 * 4096, "keys, values, result: {plan:?}");
    }
}
