//! Which safetensors files hold the weights of one component folder: a single file, or shards named
//! by an index.
//!
//! An index may only name files inside its own folder.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::error::CheckpointError;
use super::json::{UniqueMap, read_json};

/// The weight files of a component, and what had to be assumed to find them.
pub(super) struct Weights {
    pub(super) files: Vec<PathBuf>,
    /// Keys that an index promises, each with the position of its file; empty without an index.
    pub(super) promised: Vec<(String, usize)>,
    pub(super) index: Option<PathBuf>,
    pub(super) note: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: UniqueMap<String>,
}

/// Finds the weights named `stem` (`model`, `diffusion_pytorch_model`) in `folder`.
pub(super) fn find(folder: &Path, stem: &str) -> Result<Weights, CheckpointError> {
    let index = folder.join(format!("{stem}.safetensors.index.json"));
    if index.is_file() {
        return sharded(folder, index);
    }
    let single = folder.join(format!("{stem}.safetensors"));
    if single.is_file() {
        return Ok(Weights {
            files: vec![single],
            promised: Vec::new(),
            index: None,
            note: None,
        });
    }
    variant(folder, stem)
}

fn sharded(folder: &Path, index: PathBuf) -> Result<Weights, CheckpointError> {
    let map = read_json::<Index>(&index, "the index of shards")?
        .weight_map
        .0;
    let names: BTreeSet<&str> = map.values().map(String::as_str).collect();
    if names.is_empty() {
        return Err(CheckpointError::unexpected(
            &index,
            "a weight_map that names shards",
            "an empty one",
        ));
    }
    for name in &names {
        if !stays_inside(name) {
            let expected = "names of safetensors files inside its own folder";
            return Err(CheckpointError::unexpected(
                &index,
                expected,
                format!("`{name}`"),
            ));
        }
    }
    let files = names.iter().map(|name| folder.join(name)).collect();
    let position: std::collections::BTreeMap<&str, usize> =
        names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let promised = map
        .iter()
        .map(|(key, name)| (key.clone(), position[name.as_str()]))
        .collect();
    Ok(Weights {
        files,
        promised,
        index: Some(index),
        note: None,
    })
}

fn stays_inside(name: &str) -> bool {
    let path = Path::new(name);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    plain
        && !name.contains(['\\', '\0'])
        && path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
}

/// Accepts a single precision variant such as `model.fp16.safetensors` when there is nothing else.
fn variant(folder: &Path, stem: &str) -> Result<Weights, CheckpointError> {
    let names = safetensors_names(folder)?;
    let prefix = format!("{stem}.");
    let mut fitting = names.iter().filter(|name| name.starts_with(&prefix));
    let (Some(name), None) = (fitting.next(), fitting.next()) else {
        let expected = format!("{stem}.safetensors or {stem}.safetensors.index.json");
        let found = if names.is_empty() {
            "no safetensors file".to_owned()
        } else {
            names.join(", ")
        };
        return Err(CheckpointError::unexpected(folder, expected, found));
    };
    let note = format!(
        "{}: weights read from `{name}`, the only variant there",
        folder.display()
    );
    Ok(Weights {
        files: vec![folder.join(name)],
        promised: Vec::new(),
        index: None,
        note: Some(note),
    })
}

fn safetensors_names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let io = |source| CheckpointError::io(folder, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let name = entry
            .map_err(io)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".safetensors") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
