//! What the size of a video means for the graphs of a project.
//!
//! The runtime's own plan of a run says which sizes every component is called with; nothing is worked out twice.

use std::collections::BTreeMap;
use std::str::FromStr;

use ltxc_bundle::{CompiledFor, Manifest, Settings, VERSION};
use ltxc_export::checkpoint::Checkpoint;
use ltxc_export::interface;
use ltxc_front::Role;
use ltxc_ir::Graph;
use ltxc_passes::transforms::specialize::{Bindings, specialize};
use ltxc_runtime::run::{Call, Compression, Job, VideoSize};

use crate::compile::Project;
use crate::failure::{Failure, Outcome};
use crate::pipeline::{read_graphs, read_plan};
use crate::write::{model_facts, target_info};

/// `WIDTHxHEIGHTxFRAMES`, as `--size` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedSize {
    /// Pixel columns.
    pub width: usize,
    /// Pixel rows.
    pub height: usize,
    /// Frames.
    pub frames: usize,
}

impl FromStr for AskedSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([width, height, frames]) => Ok(Self {
                width: *width,
                height: *height,
                frames: *frames,
            }),
            _ => Err("write WIDTHxHEIGHTxFRAMES in pixels, such as 704x512x121".to_owned()),
        }
    }
}

/// A number of bytes, written as `8GB`, `500MB` or a plain number; a GB is 10^9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("GB", 1e9), ("MB", 1e6), ("KB", 1e3), ("", 1.0)];
        let read = |(unit, factor): (&str, f64)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            (0.0..1e15)
                .contains(&number)
                .then_some(Self((number * factor) as u64))
        };
        let found = units.into_iter().find_map(read);
        found.ok_or_else(|| "write a number of bytes, such as 8GB or 500MB".to_owned())
    }
}

impl AskedSize {
    /// The settings with this size.
    pub fn settings(self) -> Settings {
        Settings {
            width: Some(self.width),
            height: Some(self.height),
            frames: Some(self.frames),
            ..Settings::default()
        }
    }

    /// As the manifest says it.
    pub fn compiled_for(self) -> CompiledFor {
        CompiledFor {
            width: self.width,
            height: self.height,
            frames: self.frames,
        }
    }
}

/// The calls of a run without conditions, in order, of every component whose checkpoint is given.
pub fn calls(project: &Project, checkpoints: &BTreeMap<Role, Checkpoint>) -> Outcome<Vec<Call>> {
    let graphs = whole_pipeline(project, checkpoints)?;
    let plan = read_plan(&project.pipeline, &[])?;
    let manifest = Manifest {
        version: VERSION,
        producer: String::new(),
        name: project.preset.name.clone(),
        target: target_info(&project.target),
        model: model_facts(&plan, &graphs, checkpoints),
        components: graphs
            .iter()
            .map(|(name, graph)| (name.clone(), interface(graph)))
            .collect(),
        tokenizer: None,
        options: project.options.clone(),
        compiled_for: None,
        plan,
        defaults: project.defaults.clone(),
        files: BTreeMap::new(),
        sources: Vec::new(),
        notes: Vec::new(),
    };
    let settings = Settings {
        prompt: Some(String::new()),
        ..project.size.map(AskedSize::settings).unwrap_or_default()
    };
    let calls = Job::calls(&manifest, settings).map_err(|e| Failure::Input(e.into()))?;
    Ok(calls
        .into_iter()
        .map(|call| with_rows(project, call))
        .collect())
}

/// The call with the rows that the project is compiled for, where it says so.
fn with_rows(project: &Project, mut call: Call) -> Call {
    if let Some(rows) = project.rows.filter(|_| project.denoises(&call.component)) {
        call.sizes.insert("B".to_owned(), rows);
    }
    call
}

/// The graphs of the whole pipeline, also of components that are not compiled, as far as their checkpoint is open.
fn whole_pipeline(
    project: &Project,
    checkpoints: &BTreeMap<Role, Checkpoint>,
) -> Outcome<BTreeMap<String, Graph>> {
    let mut graphs = BTreeMap::new();
    for (name, file) in read_graphs(&project.pipeline, &[])? {
        if let Some(checkpoint) = checkpoints.get(&project.role_of(&name)) {
            graphs.insert(
                name,
                ltxc_front::expand(&file, checkpoint.config(), &project.options)?,
            );
        }
    }
    Ok(graphs)
}

/// The distinct timesteps of a call: they follow from what a run is conditioned on, not from its size.
const TIMESTEPS: &str = "T";

/// The sizes of a component that are the same in all its calls. The timesteps, and a size that may equal one of
/// several, are left to the run.
pub fn common_sizes(component: &str, graph: &Graph, calls: &[Call]) -> Bindings {
    let mut calls = calls
        .iter()
        .filter(|call| call.component == component)
        .map(|call| &call.sizes);
    let Some(first) = calls.next() else {
        return Bindings::new();
    };
    let bound = |name: &String| {
        let range = graph.sizes.0.get(name);
        name != TIMESTEPS && range.is_some_and(|range| range.one_of.is_empty())
    };
    let mut common: Bindings = first.clone();
    common.retain(|name, _| bound(name));
    for sizes in calls {
        common.retain(|name, n| sizes.get(name) == Some(n));
    }
    common
}

/// Latent frames, rows and columns.
pub type LatentGrid = [usize; 3];

/// The latents of the only video that the project is compiled for.
pub fn latent_grid(
    project: &Project,
    checkpoints: &BTreeMap<Role, Checkpoint>,
) -> Outcome<Option<LatentGrid>> {
    let Some(size) = project.size else {
        return Ok(None);
    };
    let plan = read_plan(&project.pipeline, &[])?;
    let model = model_facts(&plan, &whole_pipeline(project, checkpoints)?, checkpoints);
    let compression = Compression::new(&model).map_err(|e| Failure::Input(e.into()))?;
    let latents = compression.latents_of(VideoSize {
        frames: size.frames,
        height: size.height,
        width: size.width,
    });
    Ok(Some([latents.frames, latents.height, latents.width]))
}

/// The graphs for the size that the project is compiled for, if it is for one.
pub fn specialize_all(
    project: &Project,
    graphs: BTreeMap<String, Graph>,
    checkpoints: &BTreeMap<Role, Checkpoint>,
) -> Outcome<BTreeMap<String, Graph>> {
    if project.size.is_none() {
        return Ok(graphs);
    }
    let calls = calls(project, checkpoints)?;
    let one = |(name, graph): (String, Graph)| {
        let special = specialize(&graph, &common_sizes(&name, &graph, &calls));
        Ok((name, special.map_err(|e| Failure::Input(e.into()))?))
    };
    graphs.into_iter().map(one).collect()
}
