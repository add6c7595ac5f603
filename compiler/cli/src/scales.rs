//! The file of scales: how far the inputs of linear layers and of attention reach, as `ltxc calibrate` found it and
//! recipes read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ltxc_front::{Diagnostic, RecipeFile};
use ltxc_ir::ranges;
pub use ltxc_passes::Reach;
use serde::{Deserialize, Serialize};

use crate::compile::{CompileOptions, base_of};
use crate::failure::{Failure, Outcome};

/// Version of the file that this program writes and reads.
const VERSION: u32 = 1;
/// Largest file that is read.
const LONGEST: u64 = 64 << 20;
/// Keys listed in a message.
const LISTED: usize = 5;

/// How far the inputs of each layer and of attention reach, by their names ([`ltxc_ir::ranges`]).
pub type Magnitudes = BTreeMap<String, Reach>;

/// A file of scales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scales {
    /// [`VERSION`]; it comes first, so that the file says what it is.
    ltxc_scales: u32,
    /// What was run.
    pub made_by: MadeBy,
    /// The layers of each component.
    pub components: BTreeMap<String, Magnitudes>,
}

/// What was run to find the ranges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeBy {
    /// Program and version.
    pub producer: String,
    /// The bundle's name and target.
    pub bundle: String,
    /// How a range follows from the numbers, as `percentile 99.9`.
    pub method: String,
    /// Number of prompts, each a video.
    pub prompts: usize,
    /// `WIDTHxHEIGHTxFRAMES` of the videos.
    pub video: String,
    /// Denoising steps of each.
    pub steps: usize,
}

impl Scales {
    /// Scales of this version.
    pub fn new(made_by: MadeBy, components: BTreeMap<String, Magnitudes>) -> Self {
        Self {
            ltxc_scales: VERSION,
            made_by,
            components,
        }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Outcome<Self> {
        let refused = |why: String| Failure::Input(anyhow::anyhow!("{}: {why}", path.display()));
        let bytes = fs::metadata(path)
            .map_err(|e| refused(e.to_string()))?
            .len();
        if bytes > LONGEST {
            return Err(refused("it is no file of scales: it is too large".into()));
        }
        let text = fs::read_to_string(path).map_err(|e| refused(e.to_string()))?;
        let no_scales = |e: serde_json::Error| {
            refused(format!(
                "it is no file of scales as `ltxc calibrate` writes it: {e}"
            ))
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(no_scales)?;
        let version = value.get("ltxc_scales").and_then(serde_json::Value::as_u64);
        if let Some(version) = version.filter(|version| *version != u64::from(VERSION)) {
            return Err(refused(format!(
                "it has version {version} of the format, this program reads {VERSION}; make it anew with `ltxc calibrate`"
            )));
        }
        serde_json::from_value(value).map_err(no_scales)
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("scales are plain data with string keys") + "\n"
    }

    /// The ranges of a component, each of which must be named after one of its weights.
    pub fn of(&self, component: &str, weights: &BTreeSet<String>) -> Outcome<&Magnitudes> {
        let Some(layers) = self.components.get(component) else {
            let known: Vec<&str> = self.components.keys().map(String::as_str).collect();
            return Err(Failure::Input(anyhow::anyhow!(
                "the file of scales says nothing of the component `{component}`; it was made for {}",
                known.join(", ")
            )));
        };
        let strange: Vec<&str> = layers
            .keys()
            .filter(|key| !weights.contains(ranges::weight_of(key)))
            .map(String::as_str)
            .collect();
        match strange.len() {
            0 => Ok(layers),
            n => Err(Failure::Input(anyhow::anyhow!(
                "the file of scales is for another model: `{component}` has no {}{}",
                strange[..n.min(LISTED)].join(", "),
                if n > LISTED {
                    format!(" and {} more", n - LISTED)
                } else {
                    String::new()
                }
            ))),
        }
    }
}

/// The scales that the caller names, or else the first recipe that names any.
pub fn read_scales(options: &CompileOptions, recipes: &[RecipeFile]) -> Outcome<Option<Scales>> {
    if let Some(path) = &options.scales {
        return Scales::read(path).map(Some);
    }
    let named = recipes
        .iter()
        .find_map(|recipe| Some((recipe, recipe.scales.as_ref()?)));
    let Some((recipe, name)) = named else {
        return Ok(None);
    };
    let read = Scales::read(&base_of(&recipe.source).join(&name.text));
    Ok(Some(read.map_err(|failure| {
        Diagnostic::new(
            "recipe::scales",
            &recipe.source,
            name.span,
            failure.to_string(),
        )
    })?))
}
