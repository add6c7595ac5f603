//! Rules with bugs, and what the driver says about them.

use ltxc_ir::op::{Neg, Tanh, Transpose};
use ltxc_ir::{Graph, Op, Patch, parse};
use serde_json::Value;

use super::run_rule;
use crate::error::PassError;
use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict};
use crate::{AttentionForm, Capabilities, PassSpec, find};

const GRAPH: &str = "size B 1..4
%x : f32[B, 4] = input
%a : f32[B, 4] = neg(%x)
%y : f32[B, 4] = neg(%a)
return y = %y
";

/// Replaces every `neg` by some operation on its input.
struct Replace(fn() -> Op);

impl Rule for Replace {
    fn meta(&self) -> Meta {
        Meta {
            id: "replace",
            fidelity: Fidelity::Exact,
            summary: "For tests.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["neg"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let mut patch = Patch::new();
        let y = patch.add("new", (self.0)(), &[m.required(0)?.into()]);
        Ok(patch.replace(m.root(), y))
    }
}

fn graph() -> Graph {
    parse(GRAPH).expect("the test graph parses")
}

fn replace_by(op: fn() -> Op) -> Result<usize, PassError> {
    let capabilities = Capabilities {
        attention: AttentionForm::Decomposed,
        broadcast_masks: false,
        scaled_queries: false,
        rms_normalization: false,
        half_weights: false,
        bf16: false,
        fp8_weights: false,
        memory: crate::memory::MemoryModel::default(),
        dynamic_int8: false,
        quantized_products: Vec::new(),
        quantized_attention: Vec::new(),
        unsigned_int8: false,
        int4_weights: None,
        floats: vec![ltxc_ir::Dtype::F32],
        rotary_embedding: false,
    };
    run_rule(graph(), &Replace(op), &capabilities).map(|(_, report)| report.matched)
}

#[test]
fn a_rule_runs_until_it_fires_nowhere() {
    assert_eq!(replace_by(|| Tanh {}.into()), Ok(2));
}

#[test]
fn a_rule_that_never_settles_is_named_with_its_node() {
    let error = replace_by(|| Neg {}.into()).expect_err("it fires on its own result");
    assert!(error.is_bug());
    let text = "pass `replace` never settles; it still fires at `%y`";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_patch_that_changes_a_type_is_named_with_its_node() {
    let error = replace_by(|| Transpose { perm: vec![1, 0] }.into());
    let error = error.expect_err("the types differ").to_string();
    assert_eq!(
        error,
        "pass `replace` at `%a`: `a` is f32[B, 4], its replacement is f32[4, B]"
    );
}

#[test]
fn an_unknown_pass_comes_with_its_neighbours() {
    let error = find(&named("fold-constant", Value::Null))
        .map(|_| ())
        .expect_err("no such rule");
    assert!(!error.is_bug());
    assert_eq!(
        error.to_string(),
        "unknown pass `fold-constant`; did you mean `fold-constants`?"
    );
    let error = find(&named("vectorise", Value::Null))
        .map(|_| ())
        .expect_err("no such rule");
    assert_eq!(error.to_string(), "unknown pass `vectorise`");
}

#[test]
fn parameters_that_a_rule_does_not_take_are_refused() {
    let given = named("decompose-silu", serde_json::json!({"keep": 3}));
    let error = find(&given).map(|_| ()).expect_err("it takes none");
    assert!(!error.is_bug());
    assert_eq!(
        error.to_string(),
        "the parameters of `decompose-silu` do not fit: it takes no parameters"
    );
    let given = named("decompose-silu", Value::Null);
    assert!(find(&given).is_ok());
}

fn named(pass: &str, with: Value) -> PassSpec {
    PassSpec {
        pass: pass.to_owned(),
        with,
        because: "a test asks for it".to_owned(),
    }
}
