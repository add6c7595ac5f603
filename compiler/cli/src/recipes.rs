//! Recipes: passes that a preset or the caller adds to a target's.

use std::collections::BTreeSet;
use std::path::Path;

use ltxc_front::library::{self, Shelf};
use ltxc_front::{Diagnostic, PassEntry, PipelineFile, PresetFile, RecipeFile, Source, TargetFile};
use ltxc_passes::{Fidelity, PassReport, PassSpec};
use serde_json::{Value as Json, json};

use crate::compile::{CompileOptions, Compiled, base_of, find};
use crate::failure::{Failure, Outcome};
use crate::scales::Magnitudes;
use crate::sizes::LatentGrid;

/// What parameters write where the size of the video belongs.
const GRID: &str = "{latent_grid}";
/// What parameters write where the scales of a component's layers belong.
const SCALES: &str = "{scales}";

/// What stands in the places of a recipe's parameters; what is not known is not asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// The size of the video, if it is one only.
    pub grid: Option<LatentGrid>,
    /// The scales of the component's layers, if there are any.
    pub scales: Option<&'a Magnitudes>,
}

/// Reads the recipes that the caller names, or else the preset: first attention, then number formats.
pub fn read_recipes(options: &CompileOptions, preset: &PresetFile) -> Outcome<Vec<RecipeFile>> {
    let base = base_of(&preset.source);
    let given = |shelf, name: &String| Ok(library::read(shelf, name, Path::new(""))?);
    let named = |shelf, name| find(&preset.source, shelf, name, &base);
    let attention: Outcome<Vec<Source>> = match &options.attention {
        Some(name) => given(Shelf::Attention, name).map(|source| vec![source]),
        None => (preset
            .attention
            .iter()
            .map(|name| named(Shelf::Attention, name)))
        .collect(),
    };
    let quant: Outcome<Vec<Source>> = match options.quant.is_empty() {
        false => options
            .quant
            .iter()
            .map(|name| given(Shelf::Quant, name))
            .collect(),
        true => preset
            .quant
            .iter()
            .map(|name| named(Shelf::Quant, name))
            .collect(),
    };
    let sources = attention?.into_iter().chain(quant?);
    sources
        .map(|source| Ok(RecipeFile::read(&source)?))
        .collect()
}

/// Checks what a recipe says against the rules and components there are.
pub fn check_recipe(recipe: &RecipeFile, pipeline: Option<&PipelineFile>) -> Outcome {
    check_passes(&recipe.source, &recipe.passes)?;
    let Some(pipeline) = pipeline else {
        return Ok(());
    };
    let known = |name: &str| pipeline.components.contains_key(name);
    match recipe.components.first() {
        Some(first) if !recipe.components.iter().any(|name| known(&name.text)) => {
            let message = format!("the pipeline `{}` has no such component", pipeline.name);
            let mistake =
                Diagnostic::new("recipe::components", &recipe.source, first.span, message);
            let components = pipeline.components.keys().map(String::as_str);
            Err(mistake.suggest(&first.text, components).into())
        }
        _ => Ok(()),
    }
}

/// Checks that every pass is a rule and takes its parameters.
pub fn check_passes(source: &Source, passes: &[PassEntry]) -> Outcome {
    for entry in passes {
        ltxc_passes::find(&spec(entry, Places::default()))
            .map_err(|e| Diagnostic::new("target::pass", source, entry.span, e.to_string()))?;
    }
    Ok(())
}

/// Refuses passes that change numbers: those are the preset's or the caller's to choose.
pub fn check_exact(target: &TargetFile) -> Outcome {
    let lossy = |entry: &&PassEntry| {
        let rule = ltxc_passes::find(&spec(entry, Places::default()));
        rule.is_ok_and(|rule| rule.meta().fidelity == Fidelity::Lossy)
    };
    match target.passes.iter().find(lossy) {
        None => Ok(()),
        Some(entry) => {
            let message = format!(
                "`{}` changes numbers; no target does that by itself",
                entry.pass
            );
            let mistake = Diagnostic::new("target::lossy", &target.source, entry.span, message);
            Err(mistake
                .help("write it into a recipe and give that with --quant or --attention")
                .into())
        }
    }
}

/// The passes for a component: the target's, with those of the recipes for it in the target's slot.
pub fn passes_for(
    target: &TargetFile,
    recipes: &[RecipeFile],
    component: &str,
    places: Places<'_>,
) -> Outcome<Vec<PassSpec>> {
    let wanted: Vec<&RecipeFile> = recipes_for(recipes, component).collect();
    let at = match (target.recipes_after, wanted.first()) {
        (Some(at), _) => at,
        (None, None) => target.passes.len(),
        (None, Some(recipe)) => {
            return Err(Failure::Misuse(format!(
                "the target `{}` has no place for recipes, so `{}` cannot be used with it; \
                 put `- {{slot: recipes, because: ..}}` into its passes",
                target.name, recipe.name
            )));
        }
    };
    wanted
        .iter()
        .try_for_each(|recipe| require_places(recipe, places))?;
    let (before, after) = target.passes.split_at(at);
    let added = wanted.into_iter().flat_map(|recipe| &recipe.passes);
    let all = before.iter().chain(added).chain(after);
    Ok(all.map(|entry| spec(entry, places)).collect())
}

/// Says of each lossy pass of a recipe that changed no part of a component why not.
pub fn idle(recipes: &[RecipeFile], component: &str, parts: &[Compiled]) -> Vec<String> {
    let passes = recipes_for(recipes, component).flat_map(|recipe| &recipe.passes);
    let names: BTreeSet<&str> = passes.map(|entry| entry.pass.as_str()).collect();
    let said = names.into_iter().filter_map(|name| {
        let reports = parts.iter().flat_map(|part| &part.reports);
        let of_it =
            |report: &&PassReport| report.fidelity == Fidelity::Lossy && report.pass == name;
        let reports: Vec<&PassReport> = reports.filter(of_it).collect();
        if reports.is_empty() || reports.iter().any(|report| report.matched > 0) {
            return None;
        }
        let declined = reports.iter().flat_map(|report| &report.declined).next();
        let reason = declined.map_or("nothing is what it looks for", |first| &first.reason);
        Some(format!(
            "`{name}` changed nothing in `{component}`: {reason}"
        ))
    });
    said.collect()
}

pub fn recipes_for<'a>(
    recipes: &'a [RecipeFile],
    component: &'a str,
) -> impl Iterator<Item = &'a RecipeFile> {
    let is_for =
        move |recipe: &&RecipeFile| recipe.components.iter().any(|name| name.text == component);
    recipes.iter().filter(is_for)
}

/// Whether a recipe for a component needs the scales of its layers.
pub fn needs_scales(recipes: &[RecipeFile], component: &str) -> bool {
    recipes_for(recipes, component).any(|recipe| writes(recipe, SCALES))
}

fn require_places(recipe: &RecipeFile, places: Places<'_>) -> Outcome {
    if places.grid.is_none() && writes(recipe, GRID) {
        return Err(Failure::Misuse(format!(
            "`{}` is for one size of video: give --size WIDTHxHEIGHTxFRAMES, such as 704x512x121",
            recipe.name
        )));
    }
    if places.scales.is_none() && writes(recipe, SCALES) {
        return Err(Failure::Misuse(format!(
            "`{}` needs the ranges of the layers' inputs: give --scales scales.json, as `ltxc calibrate BUNDLE --prompts \
             FILE -o scales.json` writes it for a bundle in floats",
            recipe.name
        )));
    }
    Ok(())
}

/// Whether some parameter of a recipe is a place for this.
fn writes(recipe: &RecipeFile, place: &str) -> bool {
    recipe.passes.iter().any(|entry| holds(&entry.with, place))
}

fn holds(with: &Json, place: &str) -> bool {
    match with {
        Json::String(text) => text == place,
        Json::Array(items) => items.iter().any(|item| holds(item, place)),
        Json::Object(fields) => fields.values().any(|value| holds(value, place)),
        _ => false,
    }
}

fn spec(entry: &PassEntry, places: Places<'_>) -> PassSpec {
    PassSpec {
        pass: entry.pass.clone(),
        with: filled(&entry.with, places),
        because: entry.because.clone(),
    }
}

/// The parameters with what is known in its places, and something of the same form for what is not.
fn filled(with: &Json, places: Places<'_>) -> Json {
    match with {
        Json::String(text) if text == GRID => json!(places.grid.unwrap_or([1, 1, 1])),
        Json::String(text) if text == SCALES => json!(places.scales.cloned().unwrap_or_default()),
        Json::Array(items) => items.iter().map(|item| filled(item, places)).collect(),
        Json::Object(fields) => {
            let filled = fields
                .iter()
                .map(|(name, value)| (name.clone(), filled(value, places)));
            Json::Object(filled.collect())
        }
        plain => plain.clone(),
    }
}
