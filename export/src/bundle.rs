//! Writing a bundle: into a hidden folder beside the final one, renamed when the manifest is in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ltxc_bundle::{
    Component, Dense, FileEntry, MANIFEST, Manifest, Part, PassRecord, Per, Port, SizeLimits,
    Stream, StreamStage, hex,
};
use ltxc_ir::attrs;
use ltxc_ir::op::Input;
use ltxc_ir::{Fact, Graph, NodeId, Op, Verified};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use thiserror::Error;

use crate::abandoned;
use crate::checkpoint::{Checkpoint, Lora};
use crate::onnx::{DataFile, Dialect, OnnxError, emit};
use crate::stream::{Hashing, StreamError, write_weight};

/// Why a bundle could not be written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A graph has no ONNX form.
    #[error("component `{component}`: {source}")]
    Onnx {
        /// The component.
        component: String,
        /// Why.
        source: OnnxError,
    },
    /// A weight could not be written.
    #[error("component `{component}`: {source}")]
    Stream {
        /// The component.
        component: String,
        /// Why.
        source: Box<StreamError>,
    },
    /// The folder cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else stands where the bundle should go.
    #[error("{0} exists and is no bundle of this program; choose another name or remove it")]
    Occupied(PathBuf),
    /// The folder holds a bundle and something else.
    #[error("{folder} holds `{name}`, which no bundle has; choose another name or move it away")]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What does not belong there.
        name: String,
    },
}

/// A bundle being written.
#[derive(Debug)]
pub struct BundleWriter {
    target: PathBuf,
    folder: TempDir,
    files: BTreeMap<String, FileEntry>,
}

/// What a component is made from.
#[derive(Debug)]
pub struct ComponentSource<'a> {
    /// Name in the bundle.
    pub name: &'a str,
    /// The graph as it was before it was cut into parts.
    pub whole: &'a Graph,
    /// What is written for it, in order: one graph, or several parts.
    pub parts: Vec<PartSource<'a>>,
    /// What is written for dense steps in the place of each part, where that is another graph; none where no steps are
    /// dense.
    pub dense: Vec<Option<&'a Verified>>,
    /// How it is computed some frames at a time, if it can be, without the stages.
    pub stream: Option<Stream>,
    /// The stages of that.
    pub stages: Vec<StageSource<'a>>,
    /// Where its weights are.
    pub checkpoint: &'a Checkpoint,
}

impl ComponentSource<'_> {
    /// The names of the files of its parts, with something added.
    fn files(&self, added: &str) -> Vec<String> {
        let last = self.parts.len().saturating_sub(1);
        let file = |(at, part): (usize, &PartSource<'_>)| match at == last {
            true => format!("{}{added}.onnx", self.name),
            false => format!("{}.{}{added}.onnx", self.name, part.name),
        };
        self.parts.iter().enumerate().map(file).collect()
    }

    /// The files of dense steps, the usual ones where those serve.
    fn dense(&self) -> Option<Dense> {
        let files = self.files("").into_iter().zip(self.files(".dense"));
        let files = files.zip(&self.dense);
        let files =
            files.map(|((usual, dense), graph)| if graph.is_some() { dense } else { usual });
        let mut parts: Vec<String> = files.collect();
        let model = parts.pop()?;
        Some(Dense { model, parts })
    }
}

/// What one model file is made from.
#[derive(Debug)]
pub struct PartSource<'a> {
    /// Name among the parts.
    pub name: &'a str,
    /// How often it runs.
    pub per: attrs::Per,
    /// What decides whether its results are used again at another step.
    pub reuse: Option<&'a str>,
    /// The lowered graph.
    pub graph: &'a Verified,
    /// What its passes did.
    pub passes: Vec<PassRecord>,
}

/// What the model files of a stage are made from.
#[derive(Debug)]
pub struct StageSource<'a> {
    /// What the manifest says of it, with the names of the files.
    pub described: StreamStage,
    /// The lowered graphs, in the order of the files.
    pub steps: [&'a Verified; 4],
}

impl BundleWriter {
    /// Starts a bundle that will stand at `target`.
    pub fn create(target: &Path) -> Result<Self, ExportError> {
        check_replaceable(target)?;
        let parent = target
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ExportError::Io { path, source }
        };
        fs::create_dir_all(parent).map_err(at(parent))?;
        let name = target
            .file_name()
            .map_or_else(|| "bundle".into(), |n| n.to_string_lossy().into_owned());
        abandoned::remove(parent, &name);
        let folder = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".partial")
            .tempdir_in(parent)
            .map_err(at(parent))?;
        Ok(Self {
            target: target.to_owned(),
            folder,
            files: BTreeMap::new(),
        })
    }

    /// Writes the graphs of a component and their weights; `progress` hears of every weight's bytes.
    pub fn component(
        &mut self,
        source: &ComponentSource<'_>,
        dialect: &Dialect,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Component, ExportError> {
        let mut data = DataFile::new(format!("{}.onnx.data", source.name));
        let scales = |key: &str| source.checkpoint.scale(key);
        let mut models = Vec::new();
        let steps = source.stages.iter().flat_map(|stage| stage.steps);
        let dense = source.dense.iter().flatten().copied();
        let parts = source.parts.iter().map(|part| part.graph);
        for graph in parts.chain(steps).chain(dense) {
            let model = emit(graph, dialect, &mut data, &scales);
            models.push(model.map_err(|e| ExportError::Onnx {
                component: source.name.to_owned(),
                source: e,
            })?);
        }
        let names = files_of(source.checkpoint, &data);
        self.weights(source, &data, names.clone(), progress)?;
        let files = source.files("");
        let dense = source.files(".dense").into_iter().zip(&source.dense);
        let dense = dense.filter_map(|(file, graph)| graph.is_some().then_some(file));
        let dense: Vec<String> = dense.collect();
        let stages = source.stages.iter();
        let steps = stages.flat_map(|stage| stage.described.models.all());
        for (name, model) in files.iter().chain(steps).chain(&dense).zip(&models) {
            self.file(name, model, names.clone())?;
        }
        Ok(describe(source, &data, files))
    }

    fn weights(
        &mut self,
        source: &ComponentSource<'_>,
        data: &DataFile,
        from: Vec<String>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ExportError> {
        let path = self.folder.path().join(&data.name);
        let at = |source| ExportError::Io {
            path: path.clone(),
            source,
        };
        let mut out = Hashing::new(BufWriter::with_capacity(
            1 << 20,
            File::create(&path).map_err(at)?,
        ));
        for plan in &data.weights {
            write_weight(source.checkpoint, plan, &mut out).map_err(|e| ExportError::Stream {
                component: source.name.to_owned(),
                source: Box::new(e),
            })?;
            progress(plan.bytes());
        }
        let bytes = out.position;
        let (writer, sha256) = out.finish().map_err(at)?;
        writer
            .into_inner()
            .map_err(|e| at(e.into_error()))?
            .sync_all()
            .map_err(at)?;
        self.files.insert(
            data.name.clone(),
            FileEntry {
                bytes,
                sha256,
                from,
            },
        );
        Ok(())
    }

    /// Writes a small file.
    pub fn file(&mut self, name: &str, bytes: &[u8], from: Vec<String>) -> Result<(), ExportError> {
        let path = self.folder.path().join(name);
        let at = |source| ExportError::Io {
            path: path.clone(),
            source,
        };
        let mut file = File::create(&path).map_err(at)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(at)?;
        let sha256 = hex(&Sha256::digest(bytes));
        self.files.insert(
            name.to_owned(),
            FileEntry {
                bytes: bytes.len() as u64,
                sha256,
                from,
            },
        );
        Ok(())
    }

    /// Writes the manifest and lets the bundle appear under its name, replacing an older one.
    pub fn finish(self, mut manifest: Manifest) -> Result<PathBuf, ExportError> {
        manifest.files = self.files;
        let text = serde_json::to_string_pretty(&manifest)
            .expect("a manifest is plain data with string keys");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ExportError::Io { path, source }
        };
        let path = self.folder.path().join(MANIFEST);
        fs::write(&path, text + "\n").map_err(at(&path))?;
        open_to_readers(self.folder.path()).map_err(at(self.folder.path()))?;
        // Hours may have passed since the first look.
        check_replaceable(&self.target)?;
        appear(&self.folder, &self.target).map_err(at(&self.target))?;
        Ok(self.target)
    }
}

/// Fails where something stands that a new bundle must not replace: only what an older compile wrote may go.
fn check_replaceable(target: &Path) -> Result<(), ExportError> {
    let occupied = || ExportError::Occupied(target.to_owned());
    if target.symlink_metadata().is_err() {
        return Ok(());
    }
    let text = fs::read_to_string(target.join(MANIFEST)).map_err(|_| occupied())?;
    let manifest: serde_json::Value = serde_json::from_str(&text).map_err(|_| occupied())?;
    let producer = manifest.get("producer").and_then(|p| p.as_str());
    let files = manifest.get("files").and_then(|files| files.as_object());
    let (true, Some(files)) = (producer.is_some_and(|p| p.starts_with("ltxc ")), files) else {
        return Err(occupied());
    };
    for entry in fs::read_dir(target).map_err(|_| occupied())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != MANIFEST && !files.contains_key(&name) {
            return Err(ExportError::Foreign {
                folder: target.to_owned(),
                name,
            });
        }
    }
    Ok(())
}

/// Puts a finished folder under its name. An older one trades places with it, so that there is one at any moment;
/// the temporary folder then goes with the older content in it.
fn appear(folder: &TempDir, target: &Path) -> io::Result<()> {
    match fs::rename(folder.path(), target) {
        Err(_) if target.exists() => exchange(folder.path(), target),
        done => done,
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // A file system that cannot do it in one step.
        Err(_) => exchange_in_steps(new, old),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
use exchange_in_steps as exchange;

/// The older folder comes back where the newer one cannot take its place.
fn exchange_in_steps(new: &Path, old: &Path) -> io::Result<()> {
    let aside = new.with_extension("old");
    fs::rename(old, &aside)?;
    fs::rename(new, old).inspect_err(|_| {
        let _ = fs::rename(&aside, old);
    })?;
    fs::rename(&aside, new)
}

/// A temporary folder is private; a bundle is as readable as any other folder.
#[cfg(unix)]
fn open_to_readers(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open_to_readers(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The names of the files that a component's weights come from: the checkpoint's, and the LoRAs that change one.
fn files_of(checkpoint: &Checkpoint, data: &DataFile) -> Vec<String> {
    let changing = |lora: &&Lora| data.weights.iter().any(|plan| lora.changes(&plan.key));
    let loras = checkpoint.loras().iter().filter(changing).map(Lora::path);
    let paths = checkpoint.sources().iter().map(PathBuf::as_path);
    paths.chain(loras).map(file_name).collect()
}

/// A file's name without folders.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn describe(source: &ComponentSource<'_>, data: &DataFile, mut files: Vec<String>) -> Component {
    let mut weight_dtypes = BTreeMap::new();
    let mut parameters = 0;
    for plan in &data.weights {
        *weight_dtypes.entry(plan.written.to_string()).or_insert(0) += plan.bytes();
        parameters += plan.final_shape.iter().map(|n| *n as u64).product::<u64>();
    }
    let model = files.pop().unwrap_or_default();
    let parts = source.parts.iter().zip(files);
    let last = source.parts.last();
    let stages = source.stages.iter();
    Component {
        model,
        parts: parts
            .map(|(part, model)| describe_part(part, model))
            .collect(),
        dense: source.dense(),
        stream: source.stream.clone().map(|stream| Stream {
            stages: stages.map(|stage| stage.described.clone()).collect(),
            ..stream
        }),
        parameters,
        weight_bytes: data.bytes,
        weight_dtypes,
        passes: last.map_or_else(Vec::new, |part| part.passes.clone()),
        ..interface(source.whole)
    }
}

/// A component of which only inputs, outputs and sizes are known.
pub fn interface(graph: &Graph) -> Component {
    let sizes = graph.sizes.0.iter();
    Component {
        model: String::new(),
        parts: Vec::new(),
        dense: None,
        stream: None,
        inputs: inputs(graph),
        outputs: outputs(graph),
        sizes: sizes
            .map(|(name, range)| (name.clone(), limits(range)))
            .collect(),
        parameters: 0,
        weight_bytes: 0,
        weight_dtypes: BTreeMap::new(),
        passes: Vec::new(),
    }
}

fn describe_part(part: &PartSource<'_>, model: String) -> Part {
    let inputs = part.graph.graph_inputs().iter();
    Part {
        name: part.name.to_owned(),
        model,
        per: match part.per {
            attrs::Per::Video => Per::Video,
            attrs::Per::Step => Per::Step,
        },
        inputs: inputs.map(|id| part.graph.node(*id).name.clone()).collect(),
        outputs: outputs(part.graph),
        reuse: part.reuse.map(str::to_owned),
        passes: part.passes.clone(),
    }
}

fn inputs(graph: &Graph) -> Vec<Port> {
    let ids = graph.graph_inputs().iter();
    ids.map(|id| input_port(graph, *id)).collect()
}

fn outputs(graph: &Graph) -> Vec<Port> {
    let named = graph.graph_outputs().iter();
    named
        .map(|(name, id)| port(name, &graph.node(*id).fact))
        .collect()
}

fn limits(range: &ltxc_ir::SizeRange) -> SizeLimits {
    SizeLimits {
        min: range.min,
        max: range.max,
        one_of: range.one_of.iter().map(ToString::to_string).collect(),
    }
}

fn input_port(graph: &Graph, id: NodeId) -> Port {
    let node = graph.node(id);
    let source = match &node.op {
        Op::Input(Input {
            source: Some(ltxc_ir::attrs::Source::Normal),
            ..
        }) => Some("normal".to_owned()),
        _ => None,
    };
    Port {
        source,
        ..port(&node.name, &node.fact)
    }
}

fn port(name: &str, fact: &Fact) -> Port {
    Port {
        name: name.to_owned(),
        dtype: fact.dtype.to_string(),
        shape: fact.shape.iter().map(ToString::to_string).collect(),
        source: None,
    }
}
