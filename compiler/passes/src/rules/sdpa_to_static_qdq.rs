//! Attention on 8 bits, its inputs measured before.

use ltxc_ir::op::{Cast, Matmul};
use ltxc_ir::ranges::attention_input;
use ltxc_ir::{Dtype, Patch, Size, Value};
use serde::Deserialize;

use crate::attention::{Attention, Operand, by_queries, products};
use crate::matched::Match;
use crate::reach::{Reaches, pair, reach_of};
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};
use crate::target::Capabilities;

/// `sdpa(q, k, v, mask?)` -> `product(softmax(product(scale * q, k^T) + mask), v)`, per head, where
/// `product(a, b) = cast(matmul(pair(a), pair(b)))` and `pair(x) = cast(dequantize(quantize(x, s), s))`.
///
/// The scales of queries, keys and values come from the ranges that a calibration found, that of the softmax from its
/// largest value, 1. Pairs are in 16 bits, products add in f32: so NVIDIA's Model Optimizer writes what TensorRT computes
/// as one kernel on the quantised numbers. In f32 it would write all scores, so attention in f32 stays as it is. Where
/// there are more scores than fit one value, some queries are computed at a time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SdpaToStaticQdq {
    /// `f8e4m3` or `i8`.
    to: Dtype,
    /// How far queries, keys and values reach; without any, nothing changes.
    scales: Option<Reaches>,
    /// Attentions that stay as they are, by the name of the node or the key of the weight that makes their queries; `*`
    /// stands for anything.
    leave: Vec<String>,
    /// Scores that the runtime takes in one value, written or not; any number where left out.
    most_scores: i64,
}

impl Default for SdpaToStaticQdq {
    fn default() -> Self {
        Self {
            to: Dtype::F8e4m3,
            scales: None,
            leave: Vec::new(),
            most_scores: i64::MAX,
        }
    }
}

impl Rule for SdpaToStaticQdq {
    fn meta(&self) -> Meta {
        Meta {
            id: "sdpa-to-static-qdq",
            fidelity: Fidelity::Lossy,
            summary: "Computes attention on 8 bits, with the ranges of its inputs as a calibration found them.",
        }
    }

    fn refuse(&self, can: &Capabilities) -> Option<String> {
        (!can.quantized_attention.contains(&self.to)).then(|| {
            format!(
                "the target has no attention on {} (`quantized_attention`)",
                self.to
            )
        })
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["sdpa"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let attention = Attention::read(m)?;
        let magnitudes = self.magnitudes(m, &attention)?;
        if let Some(tokens) = self.queries_at_once(m, &attention) {
            return by_queries(m, tokens);
        }
        let dtype = m.fact().dtype;
        let mut patch = Patch::new();
        let y = products(m, &attention, &mut patch, &|patch, hint, operands| {
            let operands = operands.map(|(operand, value)| {
                self.widened(patch, dtype, operand, value, magnitudes[operand as usize])
            });
            let wide = patch.add(&format!("{hint}_wide"), Matmul {}, &operands);
            patch.add(hint, Cast { to: dtype }, &[wide])
        });
        Ok(patch.replace(m.root(), y))
    }
}

impl SdpaToStaticQdq {
    /// The largest magnitude of each operand.
    fn magnitudes(&self, m: &Match<'_>, attention: &Attention) -> Result<[f32; 4], Declined> {
        let queries = m.made_by(attention.q);
        m.require_none_in(&self.leave, queries.into_iter().chain([m.name()]))?;
        let dtype = m.fact().dtype;
        require!(
            dtype.bytes() == 2,
            "attention in {dtype} writes all scores down; give fp16 or bf16 before"
        );
        let queries =
            queries.ok_or_else(|| Declined::Because("no weight makes its queries".to_owned()))?;
        let reach = |port: &str| {
            let name = attention_input(queries, port);
            let what = format!("the `{port}` of attention, `{name}`,");
            Ok(reach_of(self.scales.as_ref(), &name, &what)?.largest())
        };
        let (q, softmax) = (reach("q")? * attention.scale.abs() as f32, 1.0);
        Ok([q, reach("k")?, softmax, reach("v")?])
    }

    /// Queries whose scores are few enough for one value, where those of all are not.
    fn queries_at_once(&self, m: &Match<'_>, attention: &Attention) -> Option<i64> {
        let scores = attention.scores(m);
        let [rows, heads, queries, keys] = scores.each_ref().map(Size::as_const);
        let of_one = rows?.checked_mul(heads?)?.checked_mul(keys?)?;
        let tokens = self.most_scores / of_one.max(1);
        (queries? > tokens && tokens > 0).then_some(tokens)
    }

    /// An operand, quantised by one scale and back, in f32.
    fn widened(
        &self,
        patch: &mut Patch,
        dtype: Dtype,
        operand: Operand,
        value: Value,
        magnitude: f32,
    ) -> Value {
        let hint = match operand {
            Operand::Queries => "q",
            Operand::Keys => "k",
            Operand::Weights => "weights",
            Operand::Values => "v",
        };
        let hint = format!("{hint}_");
        let narrow = pair(patch, &hint, (dtype, self.to), value, magnitude);
        let wide = Cast { to: Dtype::F32 };
        patch.add(&format!("{hint}wide"), wide, &[narrow])
    }
}
