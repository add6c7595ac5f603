//! The files that a released config names: local ones are found, for others is said where they come from.

use std::collections::BTreeMap;
use std::path::{Path, absolute};

use super::{Passes, Pipeline};
use crate::diagnostic::{Source, Span};
use crate::files::{Role, optional};
use crate::reader::{Fields, Read, Reader, Reported};

/// Where the original program gets checkpoints and upscalers that are not here.
const HUB: &str = "https://huggingface.co/Lightricks/LTX-Video";

/// The files of a config that are here.
#[derive(Debug, Default)]
pub struct Files {
    /// Paths relative to the config, by checkpoint role.
    pub found: BTreeMap<Role, String>,
    /// What to do about those that are not here, by checkpoint role.
    pub missing: BTreeMap<Role, String>,
    /// What the caller should know.
    pub note: Option<String>,
}

/// Reads the keys that name files.
pub fn read(reader: &mut Reader, fields: &mut Fields<'_>, pipeline: Read<Pipeline>) -> Read<Files> {
    let checkpoint = optional(reader, fields, "checkpoint_path");
    let text_encoder = optional(reader, fields, "text_encoder_model_name_or_path");
    let upscaler = optional(reader, fields, "spatial_upscaler_model_path");
    let (checkpoint, text_encoder) = (checkpoint?, text_encoder?);
    let upscaler = upscaler?.filter(|path| !path.is_empty());
    let note = used(reader, pipeline, upscaler.is_some())?;
    let mut files = Files {
        note,
        ..Files::default()
    };
    let source = &reader.source;
    files.find(source, checkpoint, Role::Model, |path| {
        advice("checkpoint_path", path, "--checkpoint FILE")
    });
    files.find(source, upscaler, Role::SpatialUpscaler, |path| {
        advice(
            "spatial_upscaler_model_path",
            path,
            "--spatial-upscaler FILE",
        )
    });
    files.find(source, text_encoder, Role::TextEncoder, text_encoder_advice);
    Ok(files)
}

/// Two passes need an upscaler, one does not use it.
fn used(reader: &mut Reader, pipeline: Read<Pipeline>, given: bool) -> Read<Option<String>> {
    let pipeline = pipeline?;
    match (pipeline.passes, given) {
        (Passes::Two, false) => Err(needs_upscaler(reader, pipeline.span)),
        (Passes::One, true) => Ok(Some(
            "`spatial_upscaler_model_path` is not used: `pipeline_type: base` has one pass"
                .to_owned(),
        )),
        (Passes::Two, true) | (Passes::One, false) => Ok(None),
    }
}

fn needs_upscaler(reader: &mut Reader, span: Span) -> Reported {
    let message = "`pipeline_type: multi-scale` needs the key `spatial_upscaler_model_path`";
    let diagnostic = reader.at("yaml::missing-key", span, message);
    reader.report(diagnostic.help(
        "name the upscaler of the release, such as ltxv-spatial-upscaler-0.9.8.safetensors, or write \
         `pipeline_type: base`",
    ))
}

fn advice(key: &str, path: &str, flag: &str) -> String {
    format!(
        "`{key}: {path}` is neither in the working folder nor beside the config: download it from {HUB}, or \
         give {flag}"
    )
}

fn text_encoder_advice(name: &str) -> String {
    let is_hub_name = name.split('/').count() == 2
        && !name.contains(['\\', ':'])
        && !name.starts_with(['.', '/', '~']);
    let place = match is_hub_name {
        true => format!("https://huggingface.co/{name}"),
        false => "the repository that the release names".to_owned(),
    };
    format!(
        "`text_encoder_model_name_or_path: {name}` is no folder here: download the folders `text_encoder` and \
         `tokenizer` of {place} into one folder, and give --text-encoder FOLDER"
    )
}

impl Files {
    /// Notes a file that is in the working folder or beside the config, and what to do about one that is not.
    fn find(
        &mut self,
        source: &Source,
        path: Option<String>,
        role: Role,
        advice: impl Fn(&str) -> String,
    ) {
        let Some(path) = path else { return };
        match here(&path, source) {
            Some(found) => self.found.insert(role, found),
            None => self.missing.insert(role, advice(&path)),
        };
    }
}

/// As the original program reads it, from the working folder; else from the folder of the config.
fn here(path: &str, source: &Source) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    if Path::new(path).exists() {
        let path = absolute(path).unwrap_or_else(|_| path.into());
        return Some(path.display().to_string());
    }
    let beside = Path::new(&*source.name).parent()?.join(path);
    beside.exists().then(|| path.to_owned())
}
