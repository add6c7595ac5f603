//! Fixture folders, their layouts as compiled bundles, and golden files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ltxc::{CompileOptions, Progress, Project, write_bundle};
use ltxc_bundle::Bundle;
use ltxc_front::Role;
use ltxc_runtime::run::{Runner, RunnerOptions};
use ltxc_runtime::sampling::Distinct;
use ltxc_runtime::tensor::{Tensor, file};
use serde_json::Value;
use tempfile::TempDir;

/// A fixture compiled from one of its layouts.
pub struct Case {
    pub name: String,
    pub folder: PathBuf,
    pub bundle: PathBuf,
    pub runner: Runner,
    options: CompileOptions,
}

impl Case {
    /// The same fixture compiled with more `--set`s.
    pub fn with(&self, changes: &[(&str, &str)]) -> Self {
        let mut options = self.options.clone();
        let values: Vec<&str> = changes.iter().map(|(_, value)| *value).collect();
        for (key, value) in changes {
            let change = ((*key).to_owned(), (*value).to_owned());
            options.overrides.push(change);
        }
        let name = format!("{} {}", self.name, values.join(" ").replace('/', "-"));
        compile(&self.folder, name, options)
    }
}

impl Case {
    /// One component of the same fixture, by a recipe.
    pub fn quantized(&self, recipe: &str, component: &str) -> Self {
        self.changed(recipe, component, &|options| {
            options.quant.push(recipe.to_owned());
        })
    }

    /// One component of the same fixture with other options.
    pub fn changed(
        &self,
        what: &str,
        component: &str,
        change: &dyn Fn(&mut CompileOptions),
    ) -> Self {
        let mut options = self.options.clone();
        options.only.push(component.to_owned());
        change(&mut options);
        compile(&self.folder, format!("{} {what}", self.name), options)
    }
}

/// A golden file: tensors by name, and the arguments they were made with.
pub struct Golden {
    pub tensors: BTreeMap<String, Tensor>,
    pub meta: Value,
}

static BUNDLES: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// Every fixture in every layout, compiled once.
pub static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let cases: Vec<Case> = folders()
        .iter()
        .flat_map(|folder| cases_of(folder))
        .collect();
    assert!(!cases.is_empty(), "no fixture under {}", root().display());
    cases
});

/// Where fixtures are.
pub fn root() -> PathBuf {
    let given = std::env::var_os("LTXC_FIXTURES").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"))
}

/// Folders with goldens, sorted.
pub fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.retain(|folder| folder.join("goldens").is_dir());
    folders.sort();
    folders
}

fn cases_of(folder: &Path) -> Vec<Case> {
    let diffusers = folder.join("diffusers");
    let (sharded, single) = (
        diffusers.join("text_encoder"),
        folder.join("t5xxl_fp16.safetensors"),
    );
    let text = if sharded.is_dir() { &sharded } else { &single };
    let mut layouts = Vec::new();
    for (label, path) in [
        ("original", original(folder)),
        ("fp32", original(&folder.join("fp32"))),
    ] {
        layouts.extend(path.map(|path| (label, path, text)));
    }
    if diffusers.join("transformer").is_dir() {
        layouts.push((
            "diffusers",
            diffusers.clone(),
            if single.exists() { &single } else { &sharded },
        ));
    }
    let target = target();
    layouts
        .into_iter()
        .filter(|_| text.exists())
        .map(|(label, path, text)| {
            let name = folder.file_name().unwrap().to_string_lossy();
            let options = CompileOptions {
                preset: "ltxv".to_owned(),
                checkpoints: checkpoints(folder, label, path, text),
                tokenizer: Some(diffusers.join("tokenizer")),
                target: Some(target.clone()),
                ..CompileOptions::default()
            };
            compile(folder, format!("{name} ({label})"), options)
        })
        .collect()
}

/// The files of a layout, the upscaler included where the fixture has one.
fn checkpoints(folder: &Path, label: &str, model: PathBuf, text: &Path) -> BTreeMap<Role, PathBuf> {
    let single = folder.join("ltxv-spatial-upscaler-0.9.8.safetensors");
    let inner = folder.join("diffusers-upscaler");
    let upscaler = if label == "diffusers" && inner.is_dir() {
        inner
    } else {
        single
    };
    let upscaler = Some((Role::SpatialUpscaler, upscaler)).filter(|(_, path)| path.exists());
    let roles = [(Role::Model, model), (Role::TextEncoder, text.to_owned())];
    roles.into_iter().chain(upscaler).collect()
}

/// The original single file; FP8 files belong to a later version, upscalers to their own tests.
fn original(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let wanted = |path: &PathBuf| {
        let name = name(path);
        name.starts_with("ltx")
            && name.ends_with(".safetensors")
            && !name.contains("upscaler")
            && !name.contains("fp8")
    };
    files.into_iter().find(wanted)
}

fn compile(folder: &Path, name: String, options: CompileOptions) -> Case {
    let (bundle, runner) = opened(&name, &options);
    Case {
        name,
        bundle,
        folder: folder.to_owned(),
        runner,
        options,
    }
}

/// A bundle of these options, and what runs it.
pub fn opened(name: &str, options: &CompileOptions) -> (PathBuf, Runner) {
    let out = BUNDLES.path().join(name.replace(' ', "-"));
    let project = Project::open(options).unwrap_or_else(|e| panic!("{name}: {e}"));
    write_bundle(&project, &out, &mut Quiet)
        .unwrap_or_else(|e| panic!("{name}: {}", e.render(false)));
    let runner_options = RunnerOptions {
        keep: true,
        ..RunnerOptions::default()
    };
    let runner = Runner::open(Bundle::open(&out).unwrap(), &runner_options, &|_| ())
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    (out, runner)
}

/// The target that is compared.
pub fn target() -> String {
    std::env::var("LTXC_PARITY_TARGET").unwrap_or_else(|_| "ort-cpu".to_owned())
}

/// Tells nobody.
pub struct Quiet;

impl Progress for Quiet {
    fn component(&mut self, _: &str, _: u64) {}
    fn bytes(&mut self, _: u64) {}
    fn note(&mut self, _: &str) {}
}

/// The names of a folder's goldens that begin with `prefix`.
pub fn golden_names(folder: &Path, prefix: &str) -> Vec<String> {
    let files = fs::read_dir(folder.join("goldens"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|f| f.extension().is_some_and(|e| e == "safetensors"))
        .map(|f| f.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

/// Path of a golden.
pub fn golden_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("goldens").join(format!("{name}.safetensors"))
}

/// Reads a golden.
pub fn golden(folder: &Path, name: &str) -> Golden {
    let path = golden_path(folder, name);
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let meta = header["__metadata__"]["meta"]
        .as_str()
        .map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    Golden {
        tensors: file::read(&path).unwrap(),
        meta,
    }
}

impl Golden {
    /// A tensor that must be there.
    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors
            .get(name)
            .unwrap_or_else(|| panic!("the golden has no `{name}`"))
    }

    /// The recorded draws in order.
    pub fn draws(&self) -> Vec<Tensor> {
        self.tensors
            .iter()
            .filter(|(name, _)| name.starts_with("rng."))
            .map(|(_, tensor)| tensor.clone())
            .collect()
    }
}

/// Largest absolute difference; shapes must agree.
pub fn difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    difference_of(&floats(found), &floats(expected))
}

/// Positions are recorded as whole numbers.
fn floats(tensor: &Tensor) -> Vec<f32> {
    match tensor.values::<i64>() {
        Ok(values) => values.iter().map(|value| *value as f32).collect(),
        Err(_) => tensor.to_f32().unwrap(),
    }
}

/// Largest absolute difference of two equally long lists; NaN counts as infinite.
pub fn difference_of(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let gap = |(a, b): (&f32, &f32)| {
        if (a - b).is_nan() {
            f32::INFINITY
        } else {
            (a - b).abs()
        }
    };
    found.iter().zip(expected).map(gap).fold(0.0, f32::max)
}

/// Errors of one test, all reported before it fails.
#[derive(Default)]
pub struct Errors {
    lines: Vec<String>,
    failed: bool,
}

impl Errors {
    /// Notes a difference and whether it is allowed.
    pub fn note(&mut self, case: &str, what: &str, error: f32, limit: f32) {
        let good = error <= limit;
        self.failed |= !good;
        self.lines.push(format!(
            "{case:36} {what:44} {error:.1e}{}",
            if good { "" } else { "  TOO LARGE" }
        ));
    }

    /// Prints everything and fails if something was too large or nothing was compared.
    pub fn finish(self) {
        println!("{}", self.lines.join("\n"));
        assert!(!self.lines.is_empty(), "nothing was compared");
        assert!(
            !self.failed,
            "differences are too large:\n{}",
            self.lines.join("\n")
        );
    }
}

/// Timesteps as the reference takes them, one for all tokens or one for each, as the transformer takes them.
pub fn timesteps(per_token: &Tensor) -> [(&'static str, Tensor); 2] {
    let rows = per_token.shape()[0];
    let Distinct { values, of } = Distinct::new(rows, per_token.values().unwrap());
    let (count, tokens) = (values.len() / rows, of.len());
    [
        ("timestep", Tensor::new([rows, count], values).unwrap()),
        ("timestep_of", Tensor::new([tokens], of).unwrap()),
    ]
}
