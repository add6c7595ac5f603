//! Small random graphs, made from a list of choices so that a failing one can be shrunk.
//!
//! Values stay within a few units and norms have a large epsilon: what is tested is the meaning of a rewrite, not
//! how an ill-conditioned graph magnifies rounding.

use ltxc_ir::attrs::Literal;
use ltxc_ir::op::{
    Add, Cast, Concat, Constant, Cos, Div, Expand, Gelu, GeluKind, GroupNorm, Identity, Iota,
    LayerNorm, Linear, Linspace, Max, Mean, Min, Mul, Neg, Pad, PadMode, Reshape, RmsNorm, Rope,
    RopePairs, Sdpa, Select, Sigmoid, Silu, Sin, Slice, Softmax, Sub, Tanh, Transpose,
};
use ltxc_ir::{Dtype, Graph, NodeId, Op, Origin, parse};

/// What every random graph starts with.
const STEM: &str = "graph random
size B 1..4
size L 1..64
size R 1..4 one of 1, B
size S 1..64
%x : f32[B, S, 8] = input
%text : f32[B, L, 8] = input
%mask : f32[B, 1, 1, L] = input
%bias : f32[R, 2, S, L] = input
%cos : f32[R, S, 4] = input
%sin : f32[R, S, 4] = input
%w : f32[8, 8] = weight {key: w}
%same_w : f32[8, 8] = weight {key: w}
%b : f32[8] = weight {key: b}
%zero : f32[] = constant {data: [0.0]}
%one : f32[8] = constant {data: [1.0]}
%also_one : f32[] = constant {data: [1.0]}
%half : f32[] = constant {data: [0.5]}
";

/// One step: what to add, to which values.
pub type Choice = (u8, u8, u8);

/// The graph these choices make; a step that does not type is left out.
pub fn build(choices: &[Choice]) -> Graph {
    let graph = parse(STEM).unwrap_or_else(|e| panic!("{e}"));
    let pool = vec![named(&graph, "x")];
    let mut builder = Builder { graph, pool };
    for choice in choices {
        builder.step(*choice);
    }
    let last = builder.pool.len() - 1;
    let (y, middle) = (builder.pool[last], builder.pool[last / 2]);
    builder.graph.output("y", y);
    builder.graph.output("middle", middle);
    builder.graph
}

fn named(graph: &Graph, name: &str) -> NodeId {
    graph
        .find(name)
        .unwrap_or_else(|| panic!("the stem has no {name}"))
}

struct Builder {
    graph: Graph,
    /// Values of [B, S, 8].
    pool: Vec<NodeId>,
}

impl Builder {
    fn step(&mut self, (kind, a, b): Choice) {
        let pick = |choice: u8| self.pool[usize::from(choice) % self.pool.len()];
        let (x, other) = (pick(a), pick(b));
        let made = match kind % 4 {
            0 => self.elementwise(b, x, other),
            1 => self.identity(b, x),
            2 => self.layer(b, x),
            _ => self.moved(b, x),
        };
        if let Some(y) = made {
            let bounded = self.add(Tanh {}, &[y]);
            self.pool.extend(bounded);
        }
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Option<NodeId> {
        let name = format!("v{}", self.graph.len());
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.graph
            .add(&name, op.into(), &inputs, Origin::default())
            .ok()
    }

    fn elementwise(&mut self, which: u8, x: NodeId, other: NodeId) -> Option<NodeId> {
        let (one, half) = (named(&self.graph, "also_one"), named(&self.graph, "half"));
        match which % 10 {
            0 => self.add(Add {}, &[x, other]),
            1 => self.add(Sub {}, &[x, other]),
            2 => self.add(Mul {}, &[x, other]),
            3 => self.add(Min {}, &[x, other]),
            4 => self.add(Max {}, &[x, half]),
            5 => self.add(Neg {}, &[x]),
            6 => self.add(Silu {}, &[x]),
            7 => self.add(Sigmoid {}, &[x]),
            8 => {
                let approximate = GeluKind::Tanh;
                self.add(Gelu { approximate }, &[x])
            }
            _ => {
                let three_halves = self.add(Add {}, &[one, half])?;
                self.add(Div {}, &[x, three_halves])
            }
        }
    }

    /// Something that does nothing.
    fn identity(&mut self, which: u8, x: NodeId) -> Option<NodeId> {
        let (zero, one) = (named(&self.graph, "zero"), named(&self.graph, "one"));
        let to = self.graph.node(x).fact.shape.clone();
        match which % 11 {
            0 => self.add(Add {}, &[zero, x]),
            1 => self.add(Mul {}, &[x, one]),
            2 => self.add(Sub {}, &[x, zero]),
            3 => self.add(Div {}, &[x, one]),
            4 => self.add(Reshape { to }, &[x]),
            5 => self.add(Expand { to }, &[x]),
            6 => self.add(Cast { to: Dtype::F32 }, &[x]),
            7 => self.add(
                Transpose {
                    perm: vec![0, 1, 2],
                },
                &[x],
            ),
            8 => self.add(
                Slice {
                    axis: -1,
                    start: 0,
                    end: Some(8),
                },
                &[x],
            ),
            9 => self.add(Concat { axis: 1 }, &[x]),
            _ => self.add(Identity {}, &[x]),
        }
    }

    fn layer(&mut self, which: u8, x: NodeId) -> Option<NodeId> {
        let value = |name| named(&self.graph, name);
        let (text, mask, bias) = (value("text"), value("mask"), value("bias"));
        let (cos, sin, w, same, b) = (
            value("cos"),
            value("sin"),
            value("w"),
            value("same_w"),
            value("b"),
        );
        let attention = |heads, scale| Sdpa { heads, scale };
        match which % 11 {
            0 => self.add(Linear {}, &[x, w, b]),
            1 => self.add(Linear {}, &[x, same]),
            2 => self.add(
                RmsNorm {
                    eps: 0.01,
                    axis: -1,
                },
                &[x, b],
            ),
            3 => self.add(RmsNorm { eps: 0.01, axis: 1 }, &[x]),
            4 => self.add(LayerNorm { eps: 0.01 }, &[x]),
            10 => self.add(
                GroupNorm {
                    groups: 1,
                    eps: 0.01,
                },
                &[x],
            ),
            5 => self.add(
                Rope {
                    pairs: RopePairs::Interleaved,
                },
                &[x, cos, sin],
            ),
            6 => self.add(
                Rope {
                    pairs: RopePairs::Halves,
                },
                &[x, cos, sin],
            ),
            7 => self.add(attention(4, None), &[x, x, x]),
            8 => self.add(attention(2, Some(1.0)), &[x, text, text, bias]),
            _ => self.add(attention(1, Some(0.3)), &[x, text, text, mask]),
        }
    }

    /// Elements that move, and rows that are computed.
    fn moved(&mut self, which: u8, x: NodeId) -> Option<NodeId> {
        match which % 8 {
            0 => {
                let swapped = self.add(
                    Transpose {
                        perm: vec![0, 2, 1],
                    },
                    &[x],
                )?;
                let soft = self.add(Softmax { axis: 1 }, &[swapped])?;
                self.add(
                    Transpose {
                        perm: vec![0, 2, 1],
                    },
                    &[soft],
                )
            }
            1 => {
                let low = self.add(
                    Slice {
                        axis: 2,
                        start: 0,
                        end: Some(3),
                    },
                    &[x],
                )?;
                let high = self.add(
                    Slice {
                        axis: 2,
                        start: -5,
                        end: None,
                    },
                    &[x],
                )?;
                self.add(Concat { axis: -1 }, &[high, low])
            }
            2 => {
                let first = self.add(Select { axis: 1, index: 0 }, &[x])?;
                let row = self.row(&first)?;
                self.add(Add {}, &[x, row])
            }
            3 => {
                let mean = self.add(Mean { axes: vec![-1] }, &[x])?;
                self.add(Sub {}, &[x, mean])
            }
            4 => {
                let pad = Pad {
                    axis: 1,
                    before: 1,
                    after: 0,
                    mode: PadMode::Edge,
                };
                let padded = self.add(pad, &[x])?;
                self.add(
                    Slice {
                        axis: 1,
                        start: 0,
                        end: Some(-1),
                    },
                    &[padded],
                )
            }
            5 => self.table(
                x,
                Iota {
                    n: 8.into(),
                    dtype: Dtype::F32,
                },
            ),
            6 => self.table(
                x,
                Linspace {
                    start: -1.0,
                    end: 1.0,
                    n: 8.into(),
                },
            ),
            _ => {
                let (dtype, shape) = (Dtype::F32, vec![8.into()]);
                let data = Literal::Floats((0..8).map(|i| 0.1 * i as f32).collect());
                self.table(x, Constant { dtype, shape, data })
            }
        }
    }

    /// [B, 8] as [B, 1, 8].
    fn row(&mut self, first: &NodeId) -> Option<NodeId> {
        let shape = &self.graph.node(*first).fact.shape;
        let to = vec![shape[0].clone(), 1.into(), shape[1].clone()];
        self.add(Reshape { to }, &[*first])
    }

    /// `x` times the sine and the cosine of a row of eight numbers.
    fn table(&mut self, x: NodeId, row: impl Into<Op>) -> Option<NodeId> {
        let half = named(&self.graph, "half");
        let row = self.add(row, &[])?;
        let angles = self.add(Mul {}, &[row, half])?;
        let (sin, cos) = (self.add(Sin {}, &[angles])?, self.add(Cos {}, &[angles])?);
        let turned = self.add(Mul {}, &[x, sin])?;
        self.add(Mul {}, &[turned, cos])
    }
}
