//! Keys of LoRA files: the layer a tensor belongs to, and what it is to that layer.

/// What a tensor is to its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The factor with as many rows as the layer has outputs.
    Up,
    /// The factor with as many columns as the layer has inputs.
    Down,
    /// The number that is divided by the rank.
    Alpha,
    /// A difference of the whole weight.
    Weight,
    /// A difference of the bias.
    Bias,
}

/// A key taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    /// The layer's name without prefixes; its dots are underscores where `flat`.
    pub(super) layer: &'a str,
    pub(super) flat: bool,
    pub(super) part: Part,
}

/// Endings by part, as diffusers, peft, kohya and ComfyUI write them.
const PARTS: [(&str, Part); 21] = [
    (".lora_up.weight", Part::Up),
    (".lora_down.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".lora_A.weight", Part::Down),
    (".lora_B.default.weight", Part::Up),
    (".lora_A.default.weight", Part::Down),
    (".lora_B", Part::Up),
    (".lora_A", Part::Down),
    (".lora.up.weight", Part::Up),
    (".lora.down.weight", Part::Down),
    ("_lora.up.weight", Part::Up),
    ("_lora.down.weight", Part::Down),
    (".lora_linear_layer.up.weight", Part::Up),
    (".lora_linear_layer.down.weight", Part::Down),
    (".lora_up", Part::Up),
    (".lora_down", Part::Down),
    (".alpha", Part::Alpha),
    (".diff", Part::Weight),
    (".diff_b", Part::Bias),
    (".w_norm", Part::Weight),
    (".b_norm", Part::Bias),
];

/// Pieces of keys whose meaning is known but not supported.
const REFUSED: [(&str, &str); 12] = [
    (".dora_scale", "DoRA is not supported"),
    (".lora_magnitude_vector", "DoRA is not supported"),
    (".lora_mid", "a factor between the two is not supported"),
    (
        ".reshape_weight",
        "layers of another shape are not supported",
    ),
    (".set_weight", "replacing a whole weight is not supported"),
    (".hada_", "LoHa is not supported"),
    (".lokr_", "LoKr is not supported"),
    (".oft_", "OFT is not supported"),
    (".a1.weight", "GLoRA is not supported"),
    (".b1.weight", "GLoRA is not supported"),
    (".lora_B.bias", "a bias of the factors is not supported"),
    (".lora_embedding_", "LoRAs of embeddings are not supported"),
];

/// What the keys of text encoders start with.
const TEXT: [&str; 7] = [
    "text_encoder",
    "lora_te",
    "te_",
    "te1_",
    "clip_",
    "cond_stage_model.",
    "conditioner.",
];

/// What may stand before a layer's name, in any combination.
const DOTTED: [&str; 5] = [
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "module.",
];

/// What stands before a layer's name whose dots became underscores.
const FLAT: [&str; 3] = ["lora_unet_", "lora_transformer_", "lycoris_"];

/// Takes a key apart, or says why it has no meaning.
pub(super) fn parse(key: &str) -> Result<Key<'_>, &'static str> {
    if TEXT.iter().any(|start| key.starts_with(start)) {
        return Err("it changes the text encoder, which is not supported");
    }
    if let Some((_, reason)) = REFUSED.iter().find(|(piece, _)| key.contains(piece)) {
        return Err(reason);
    }
    let ends = PARTS.iter().filter(|(end, _)| key.ends_with(end));
    let (end, part) = ends
        .max_by_key(|(end, _)| end.len())
        .ok_or("it is no part of a LoRA that is known here")?;
    let name = &key[..key.len() - end.len()];
    let flat = FLAT.iter().find_map(|start| name.strip_prefix(start));
    Ok(Key {
        layer: flat.unwrap_or_else(|| without_prefixes(name)),
        flat: flat.is_some(),
        part: *part,
    })
}

fn without_prefixes(mut name: &str) -> &str {
    while let Some(rest) = DOTTED.iter().find_map(|start| name.strip_prefix(start)) {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_names_the_same_layer() {
        let q = "transformer_blocks.0.attn1.to_q";
        for (key, part) in [
            (format!("transformer.{q}.lora_A.weight"), Part::Down),
            (format!("{q}.lora_B.weight"), Part::Up),
            (format!("diffusion_model.{q}.lora_down.weight"), Part::Down),
            (
                format!("model.diffusion_model.{q}.lora_up.weight"),
                Part::Up,
            ),
            (
                format!("base_model.model.{q}.lora_A.default.weight"),
                Part::Down,
            ),
            (
                format!("base_model.model.transformer.{q}.lora.up.weight"),
                Part::Up,
            ),
            (format!("diffusion_model.{q}.alpha"), Part::Alpha),
            (format!("diffusion_model.{q}.diff"), Part::Weight),
            (format!("diffusion_model.{q}.diff_b"), Part::Bias),
            (format!("transformer.{q}_lora.down.weight"), Part::Down),
        ] {
            let parsed = parse(&key).expect("a known key");
            assert_eq!(
                (parsed.layer, parsed.flat, parsed.part),
                (q, false, part),
                "{key}"
            );
        }
        let kohya = "lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight";
        let parsed = parse(kohya).expect("a known key");
        assert_eq!(parsed.layer, "transformer_blocks_0_attn1_to_q");
        assert!(parsed.flat);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (key, word) in [
            ("text_encoder.encoder.q.lora_A.weight", "text encoder"),
            ("lora_te1_text_model.lora_up.weight", "text encoder"),
            ("diffusion_model.a.dora_scale", "DoRA"),
            ("a.lora_magnitude_vector.weight", "DoRA"),
            ("a.lokr_w1", "LoKr"),
            ("a.hada_w1_a", "LoHa"),
            ("a.set_weight", "replacing"),
            ("a.weight", "no part"),
        ] {
            let reason = parse(key).expect_err("a refused key");
            assert!(reason.contains(word), "{key}: {reason}");
        }
    }
}
