//! Released configs: the configuration files of the original program, read as the presets they amount to.
//!
//! Keys mean what they mean there, and where a file is silent the original program's own defaults hold. What has no
//! meaning here is checked and said in a note; a key that the original program does not know is a mistake.

mod files;
mod sampling;

use std::collections::BTreeMap;

use crate::diagnostic::{Source, Span};
use crate::files::{MAX_NAME, PresetFile, optional};
use crate::reader::{Fields, Read, Reader};
use crate::section::Placed;
use crate::tree::Tree;

/// What messages call the file.
const WHAT: &str = "a released config";
/// Ways to perturb the network: what the graphs call them, and the short names of the original program.
const STG_MODES: [(&str, &str); 4] = [
    ("attention_values", "stg_av"),
    ("attention_skip", "stg_as"),
    ("residual", "stg_r"),
    ("transformer_block", "stg_t"),
];
/// Number formats that the original program computes in.
const PRECISIONS: [&str; 5] = [
    "bfloat16",
    "float16",
    "float32",
    "float8_e4m3fn",
    "mixed_precision",
];

/// How many passes a config describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    One,
    Two,
}

/// What `pipeline_type` says, and where.
#[derive(Clone, Copy, Debug)]
struct Pipeline {
    passes: Passes,
    span: Span,
}

impl Passes {
    fn pipeline(self) -> &'static str {
        match self {
            Self::One => "ltxv/base",
            Self::Two => "ltxv/multi_scale",
        }
    }
}

/// Reads the fields of a released config; [`Fields`] that are left over are mistakes.
pub fn read(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<PresetFile> {
    let source = reader.source.clone();
    let pipeline = pipeline_type(reader, fields);
    let files = files::read(reader, fields, pipeline);
    let options = stg_mode(reader, fields);
    let precision = precision(reader, fields);
    let enhancement = prompt_enhancement(reader, fields);
    let defaults = sampling::read(reader, fields, pipeline);
    let (pipeline, files) = (pipeline?, files?);
    let notes = [precision?, enhancement?, files.note];
    Ok(PresetFile {
        name: name_of(&source),
        doc: format!("The released config {}.", source.short_name()),
        pipeline: Placed {
            text: pipeline.passes.pipeline().to_owned(),
            span: pipeline.span,
        },
        target: None,
        checkpoints: files.found,
        tokenizer: None,
        fp8: None,
        quant: Vec::new(),
        attention: None,
        hoist: true,
        missing: files.missing,
        notes: notes.into_iter().flatten().collect(),
        options: options?,
        defaults: defaults?,
        source,
    })
}

/// The file's name without its ending, as a preset may be named.
fn name_of(source: &Source) -> String {
    let stem = source.short_name();
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    let plain = |c: char| match c {
        '_' | '-' | '.' => c,
        _ if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    let name: String = stem.chars().map(plain).take(MAX_NAME).collect();
    match name.trim_matches(['_', '-', '.']) {
        "" => "released".to_owned(),
        name => name.to_owned(),
    }
}

/// One of the words that a key takes, compared by `same`; anything else is a mistake with the nearest word.
fn word<'w>(
    reader: &mut Reader,
    tree: &Tree,
    what: &str,
    words: &[&'w str],
    same: impl Fn(&str, &str) -> bool,
) -> Read<&'w str> {
    let text = reader.text(tree, &format!("`{what}`"))?;
    let found = words.iter().find(|word| same(word, &text));
    found.copied().ok_or_else(|| {
        let message = format!("there is no `{what}: {text}`");
        let diagnostic = reader.at("released::unknown", tree.span, message);
        reader.report(diagnostic.suggest(&text, words.iter().copied()))
    })
}

/// The original program takes every other word for `base`, which hides spelling mistakes.
fn pipeline_type(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<Pipeline> {
    let Some(tree) = fields.take("pipeline_type") else {
        return Ok(Pipeline {
            passes: Passes::One,
            span: fields.span,
        });
    };
    let words = ["base", "multi-scale"];
    let found = word(reader, tree, "pipeline_type", &words, |word, text| {
        word == text
    })?;
    let passes = match found {
        "base" => Passes::One,
        _ => Passes::Two,
    };
    Ok(Pipeline {
        passes,
        span: tree.span,
    })
}

fn stg_mode(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<BTreeMap<String, Placed>> {
    let Some(tree) = fields.take("stg_mode") else {
        return Ok(BTreeMap::new());
    };
    let words: Vec<&str> = STG_MODES
        .iter()
        .flat_map(|(name, short)| [*name, *short])
        .collect();
    let found = word(reader, tree, "stg_mode", &words, str::eq_ignore_ascii_case)?;
    let mode = STG_MODES.iter().find(|(_, short)| *short == found);
    let text = mode.map_or(found, |(name, _)| *name).to_owned();
    let span = tree.span;
    Ok(BTreeMap::from([(
        "stg_mode".to_owned(),
        Placed { text, span },
    )]))
}

fn precision(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<Option<String>> {
    let Some(tree) = fields.take("precision") else {
        return Ok(None);
    };
    let same = |word: &str, text: &str| word == text;
    let found = word(reader, tree, "precision", &PRECISIONS, same)?;
    Ok(Some(format!(
        "`precision: {found}` decides nothing here: weights are taken as the checkpoint stores them, and the target \
         decides what is computed in"
    )))
}

/// Prompts are never rewritten here, which the caller has to know if the config asks for it.
fn prompt_enhancement(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<Option<String>> {
    let models = [
        "prompt_enhancer_image_caption_model_name_or_path",
        "prompt_enhancer_llm_model_name_or_path",
    ];
    let models = models.map(|name| optional(reader, fields, name));
    let threshold = match fields.take("prompt_enhancement_words_threshold") {
        Some(tree) => reader.int(tree, "`prompt_enhancement_words_threshold`")?,
        None => 0,
    };
    for model in models {
        model?;
    }
    Ok((threshold > 0).then(|| {
        "prompts are used as they are written: the rewriting of short ones that \
         `prompt_enhancement_words_threshold` asks for is not available here"
            .to_owned()
    }))
}
