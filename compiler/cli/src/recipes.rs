//! Recipes: passes that a preset or the caller adds to a target's.

use std::path::Path;

use ltxc_front::library::{self, Shelf};
use ltxc_front::{Diagnostic, PassEntry, PipelineFile, PresetFile, RecipeFile, Source, TargetFile};
use ltxc_passes::{Fidelity, PassSpec};

use crate::compile::{CompileOptions, base_of, find};
use crate::failure::{Failure, Outcome};

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
        ltxc_passes::find(&spec(entry))
            .map_err(|e| Diagnostic::new("target::pass", source, entry.span, e.to_string()))?;
    }
    Ok(())
}

/// Refuses passes that change numbers: those are the preset's or the caller's to choose.
pub fn check_exact(target: &TargetFile) -> Outcome {
    let lossy = |entry: &&PassEntry| {
        let rule = ltxc_passes::find(&spec(entry));
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
) -> Outcome<Vec<PassSpec>> {
    let is_for = |recipe: &&RecipeFile| recipe.components.iter().any(|name| name.text == component);
    let wanted: Vec<&RecipeFile> = recipes.iter().filter(is_for).collect();
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
    let (before, after) = target.passes.split_at(at);
    let added = wanted.into_iter().flat_map(|recipe| &recipe.passes);
    Ok(before.iter().chain(added).chain(after).map(spec).collect())
}

fn spec(entry: &PassEntry) -> PassSpec {
    PassSpec {
        pass: entry.pass.clone(),
        with: entry.with.clone(),
        because: entry.because.clone(),
    }
}
