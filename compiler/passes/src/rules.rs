//! Every rule there is. One rule, one file, one name.

mod chunk_attention;
mod chunk_feed_forward;
mod decompose_group_norm;
mod decompose_rms_norm;
mod decompose_rope;
mod decompose_sdpa;
mod decompose_silu;
mod drop_identities;
mod drop_round_trip_casts;
mod fold_constants;
mod linear_to_dynamic_int8;
mod linear_to_int4_weights;
mod linear_to_matmul;
mod linear_to_nvfp4;
mod linear_to_static_qdq;
mod merge_duplicates;
mod narrow_floats;
mod rope_to_rotary_embedding;
mod sdpa_to_onnx_attention;
mod sdpa_to_ort_multi_head_attention;
mod sdpa_to_sparse_tiles;
mod sdpa_to_static_qdq;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::PassError;
use crate::rule::Rule;
use crate::spec::PassSpec;

/// Makes a rule from its parameters.
type Build = fn(&Value) -> Result<Box<dyn Rule>, String>;

/// Every rule, sorted by id.
const BUILDS: &[Build] = &[
    build::<chunk_attention::ChunkAttention>,
    build::<chunk_feed_forward::ChunkFeedForward>,
    build::<decompose_group_norm::DecomposeGroupNorm>,
    build::<decompose_rms_norm::DecomposeRmsNorm>,
    build::<decompose_rope::DecomposeRope>,
    build::<decompose_sdpa::DecomposeSdpa>,
    build::<decompose_silu::DecomposeSilu>,
    build::<drop_identities::DropIdentities>,
    build::<drop_round_trip_casts::DropRoundTripCasts>,
    build::<fold_constants::FoldConstants>,
    build::<linear_to_dynamic_int8::LinearToDynamicInt8>,
    build::<linear_to_int4_weights::LinearToInt4Weights>,
    build::<linear_to_matmul::LinearToMatmul>,
    build::<linear_to_nvfp4::LinearToNvfp4>,
    build::<linear_to_static_qdq::LinearToStaticQdq>,
    build::<merge_duplicates::MergeDuplicates>,
    build::<narrow_floats::NarrowFloats>,
    build::<rope_to_rotary_embedding::RopeToRotaryEmbedding>,
    build::<sdpa_to_onnx_attention::SdpaToOnnxAttention>,
    build::<sdpa_to_ort_multi_head_attention::SdpaToOrtMultiHeadAttention>,
    build::<sdpa_to_sparse_tiles::SdpaToSparseTiles>,
    build::<sdpa_to_static_qdq::SdpaToStaticQdq>,
];

/// A rule's parameters are the fields of its struct; without any it is what its `Default` says.
fn build<R: Rule + Default + DeserializeOwned + 'static>(
    with: &Value,
) -> Result<Box<dyn Rule>, String> {
    match with {
        Value::Null => Ok(Box::new(R::default())),
        with => match serde_json::from_value::<R>(with.clone()) {
            Ok(rule) => Ok(Box::new(rule)),
            Err(_) if size_of::<R>() == 0 => Err("it takes no parameters".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// Every rule with its default parameters, sorted by id.
pub fn rules() -> Vec<Box<dyn Rule>> {
    let built = BUILDS.iter().map(|build| build(&Value::Null));
    built.filter_map(Result::ok).collect()
}

/// The rule that a line of a list asks for; the error names those that look like it.
pub fn find(spec: &PassSpec) -> Result<Box<dyn Rule>, PassError> {
    let known = BUILDS
        .iter()
        .find(|build| build(&Value::Null).is_ok_and(|rule| rule.meta().id == spec.pass));
    let build = known.ok_or_else(|| PassError::Unknown {
        pass: spec.pass.clone(),
        near: near(&spec.pass),
    })?;
    build(&spec.with).map_err(|reason| PassError::Parameters {
        pass: spec.pass.clone(),
        reason,
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
