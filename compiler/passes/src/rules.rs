//! Every rule there is. One rule, one file, one name.

mod decompose_group_norm;
mod decompose_rms_norm;
mod decompose_rope;
mod decompose_sdpa;
mod decompose_silu;
mod drop_identities;
mod fold_constants;
mod linear_to_matmul;
mod merge_duplicates;
mod sdpa_to_onnx_attention;
mod sdpa_to_ort_multi_head_attention;

use crate::error::PassError;
use crate::rule::Rule;

/// Every rule, sorted by id.
pub fn rules() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(decompose_group_norm::DecomposeGroupNorm),
        Box::new(decompose_rms_norm::DecomposeRmsNorm),
        Box::new(decompose_rope::DecomposeRope),
        Box::new(decompose_sdpa::DecomposeSdpa),
        Box::new(decompose_silu::DecomposeSilu),
        Box::new(drop_identities::DropIdentities),
        Box::new(fold_constants::FoldConstants),
        Box::new(linear_to_matmul::LinearToMatmul),
        Box::new(merge_duplicates::MergeDuplicates),
        Box::new(sdpa_to_onnx_attention::SdpaToOnnxAttention),
        Box::new(sdpa_to_ort_multi_head_attention::SdpaToOrtMultiHeadAttention),
    ]
}

/// The rule with this id; the error names those that look like it.
pub fn find(id: &str) -> Result<Box<dyn Rule>, PassError> {
    let found = rules().into_iter().find(|rule| rule.meta().id == id);
    found.ok_or_else(|| PassError::Unknown {
        pass: id.to_owned(),
        near: near(id),
    })
}

/// Ids within a third of their length in edits, nearest first, three at most.
fn near(id: &str) -> Vec<&'static str> {
    let mut ids: Vec<_> = rules()
        .iter()
        .map(|rule| (strsim::levenshtein(id, rule.meta().id), rule.meta().id))
        .filter(|(edits, known)| 3 * edits <= known.len())
        .collect();
    ids.sort_unstable();
    ids.into_iter().take(3).map(|(_, id)| id).collect()
}
