//! The command line.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ltxc_front::Role;
use ltxc_runtime::backend::Prepack;
use ltxc_runtime::calibrate::Method;
use ltxc_runtime::run::Pieces;

use crate::sizes::{AskedSize, Bytes};

/// Compiles LTX-Video graphs and checkpoints to ONNX bundles and runs them.
#[derive(Debug, Parser)]
#[command(name = "ltxc", version, about, max_term_width = 110)]
#[command(after_help = "Examples:
  ltxc run presets/shapes.yaml --prompt \"a red circle moves right on a blue background\" -o out.mp4
  ltxc compile ltxv --checkpoint ltxv-2b-0.9.8-distilled.safetensors --text-encoder t5/ -o ltxv.bundle
  ltxc run ltxv.bundle --prompt \"a cat\" --frames 97 -o cat.mp4")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a self-contained bundle: ONNX components, weights, tokenizer, manifest.
    #[command(after_help = "Examples:
  ltxc compile presets/shapes.yaml -o shapes.bundle
  ltxc compile ltxv --checkpoint model.safetensors --text-encoder text_encoder/ --target tract
  ltxc compile ltxv --checkpoint model.safetensors --only transformer --set defaults.steps=8")]
    Compile(CompileArgs),
    /// Make a video from a prompt.
    #[command(after_help = "Examples:
  ltxc run presets/shapes.yaml --prompt \"a red circle moves right on a blue background\" -o out.mp4
  ltxc run shapes.bundle --prompt \"a white square grows on a black background\" --seed 7 -o frames/%05d.png
  ltxc run shapes.bundle --prompt \"a circle\" --steps 8 -o out.gif --json
  ltxc run ltxv.bundle --prompt \"a cat wakes\" --condition first.png@0 --condition last.png@-1:0.8 -o cat.mp4
  ltxc run ltxv.bundle --prompt \"and jumps\" --condition cat.mp4@0 --frames 161 -o longer.mp4
  ltxc run configs/ltxv-13b-0.9.8-distilled.yaml --text-encoder t5/ --prompts prompts.txt --batch 4 -o out.mp4
  ltxc run ltxv.bundle --timeline story.yaml --frames 769 -o story.mp4
  ltxc run shapes.bundle --prompt \"a circle\" -o out.mp4 --json --events - | jq .progress")]
    #[command(allow_negative_numbers = true)]
    Run(Box<RunArgs>),
    /// Run one component of a bundle on given tensors.
    #[command(after_help = "Example:
  ltxc exec shapes.bundle transformer --input in.safetensors -o out.safetensors")]
    Exec(ExecArgs),
    /// Make a video of latents that `ltxc run --save-latents` wrote.
    #[command(after_help = "Example:
  ltxc decode shapes.bundle latents.safetensors --decode 1 -o out.mp4")]
    Decode(DecodeArgs),
    /// Find how far the inputs of linear layers reach, for recipes that quantise them.
    #[command(after_help = "Examples:
  ltxc calibrate presets/shapes.yaml --prompts prompts.txt -o scales.json
  ltxc compile presets/shapes.yaml --quant int8 --scales scales.json
  ltxc calibrate ltxv.bundle --prompts prompts.txt --method percentile:99.9 --set defaults.steps=8")]
    Calibrate(CalibrateArgs),
    /// Check a graph, pipeline, preset or target file.
    #[command(after_help = "Examples:
  ltxc check presets/shapes.yaml
  ltxc check my_graph.yaml --config config.json")]
    Check(CheckArgs),
    /// Format a YAML file in place.
    Fmt(FmtArgs),
    /// Print a graph, typed, one operation per line; equal repeats are folded.
    #[command(after_help = "Examples:
  ltxc dump presets/shapes.yaml --component transformer
  ltxc dump presets/shapes.yaml --component vae_decoder --expand --lowered")]
    Dump(DumpArgs),
    /// Say what each pass did, and why a rule declined.
    Explain(ExplainArgs),
    /// Say how much memory a run needs, before anything is compiled.
    #[command(after_help = "Examples:
  ltxc plan presets/shapes.yaml
  ltxc plan ltxv --checkpoint model.safetensors --size 1920x1080x257 --memory-budget 8GB
  ltxc plan ltxv --checkpoint benches/peers/headers/13b.json --target ort-tensorrt --size 1920x1080x257 --json")]
    Plan(PlanArgs),
    /// Compare the graphs of two presets, or of one under other options.
    #[command(after_help = "Examples:
  ltxc diff presets/shapes.yaml presets/shapes.yaml --against-target tract
  ltxc diff ltxv-2b-0.9.5 ltxv-2b-0.9.8-distilled --checkpoint model.safetensors --component transformer")]
    Diff(DiffArgs),
    /// Describe a bundle: sizes, parameters, element types, inputs, outputs.
    Inspect(InspectArgs),
    /// Measure how good the videos of a bundle are.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: BenchCommand,
    },
    /// Fetch the ONNX Runtime library into the cache.
    Setup {
        /// Its WebGPU provider too, for the target ort-webgpu.
        #[arg(long)]
        webgpu: bool,
    },
    /// Print completions for a shell.
    #[command(after_help = "Example:
  ltxc completions bash > ~/.local/share/bash-completion/completions/ltxc")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which model, and for what.
#[derive(Clone, Debug, Default, Args)]
pub struct ProjectArgs {
    /// Checkpoint: an original .safetensors file or a diffusers folder.
    #[arg(long, value_name = "PATH")]
    pub checkpoint: Option<PathBuf>,
    /// T5 text encoder: a Hugging Face folder or a single file.
    #[arg(long, value_name = "PATH")]
    pub text_encoder: Option<PathBuf>,
    /// Spatial latent upscaler: an original .safetensors file or a diffusers folder.
    #[arg(long, value_name = "PATH")]
    pub spatial_upscaler: Option<PathBuf>,
    /// Temporal latent upscaler: an original .safetensors file or a diffusers folder.
    #[arg(long, value_name = "PATH")]
    pub temporal_upscaler: Option<PathBuf>,
    /// Tokenizer: tokenizer.json, spiece.model or a folder with one; beside the text encoder where left out.
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// LoRA to merge, with its weight (1 where left out): style.safetensors:0.8. May be repeated.
    #[arg(long = "lora", value_name = "FILE[:WEIGHT]")]
    pub loras: Vec<String>,
    /// How FP8 weights without scales are meant: auto, plain or hadamard (rotated).
    #[arg(long, value_name = "HOW")]
    pub fp8: Option<String>,
    /// Target: ort-cpu, ort-cuda, ort-tensorrt, tensorrt-rtx, ort-webgpu, tract, or a file.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Number format: the name of a recipe, or a file. May be repeated; instead of the preset's.
    #[arg(long, value_name = "RECIPE")]
    pub quant: Vec<String>,
    /// Another form of attention: the name of a recipe, or a file; instead of the preset's.
    #[arg(long, value_name = "RECIPE")]
    pub attention: Option<String>,
    /// How far the inputs of layers reach, for recipes that need it: what `ltxc calibrate` wrote.
    #[arg(long, value_name = "FILE.json")]
    pub scales: Option<PathBuf>,
    /// Change a key of the preset, such as defaults.steps=8. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Compute at every step what stays the same for a whole video, instead of keeping it in memory.
    #[arg(long)]
    pub no_hoist: bool,
    /// Only these components. May be repeated.
    #[arg(long, value_name = "COMPONENT")]
    pub only: Vec<String>,
    /// Compile for one size of video and no other: pixel columns, pixel rows, frames, such as 704x512x121. Smaller and
    /// faster on some targets. A size that two passes disagree about stays free, as does the number of timesteps.
    #[arg(long, value_name = "WIDTHxHEIGHTxFRAMES")]
    pub size: Option<AskedSize>,
    /// Rows of the transformer with --size; what the guidance of the preset needs where left out.
    #[arg(long, value_name = "N", requires = "size", value_parser = clap::value_parser!(u32).range(1..))]
    pub rows: Option<u32>,
    /// Memory that a component may need. With --size, the transformer takes some tokens at a time where that is not
    /// enough; a run decodes and encodes fewer frames at a time, and frames in tiles. For `run` also the weights that may
    /// be loaded at a time: what is needed next stays, and a video is decoded beside denoising where both fit.
    #[arg(long, value_name = "8GB")]
    pub memory_budget: Option<Bytes>,
}

impl ProjectArgs {
    /// The checkpoints that are given, by role.
    pub fn checkpoints(&self) -> BTreeMap<Role, PathBuf> {
        let given = Role::ALL.map(|role| (role, self.checkpoint_of(role)));
        let named = |(role, path): (Role, &Option<PathBuf>)| Some((role, path.clone()?));
        given.into_iter().filter_map(named).collect()
    }

    fn checkpoint_of(&self, role: Role) -> &Option<PathBuf> {
        match role {
            Role::Model => &self.checkpoint,
            Role::TextEncoder => &self.text_encoder,
            Role::SpatialUpscaler => &self.spatial_upscaler,
            Role::TemporalUpscaler => &self.temporal_upscaler,
        }
    }
}

/// `ltxc compile`
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// Preset: a file, or the name of one that comes with the program.
    pub preset: String,
    /// Where the bundle goes; NAME.bundle where left out.
    #[arg(short, long, value_name = "BUNDLE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How a runtime works.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct RuntimeArgs {
    /// Threads; one per core where left out.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Rearrange weights when they are loaded, which takes a while and makes calls faster: auto, where a model is called
    /// more than a few times; always; never. ONNX Runtime on the CPU only.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub prepack: Prepack,
}

/// `ltxc run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Bundle, or a preset that is compiled into the cache first.
    pub source: String,
    /// What the video shows.
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// What it must not show.
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Seed of every random draw.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Pixel rows.
    #[arg(long, value_name = "PIXELS")]
    pub height: Option<usize>,
    /// Pixel columns.
    #[arg(long, value_name = "PIXELS")]
    pub width: Option<usize>,
    /// Frames.
    #[arg(long, value_name = "N")]
    pub frames: Option<usize>,
    /// Frames that are denoised at a time: a longer video is made in windows, each given the last frames of the one
    /// before. `--prompt "a | b"` tells the windows one after the other
    #[arg(long, value_name = "FRAMES")]
    pub window: Option<usize>,
    /// Frames that a window shares with the one before; a quarter of it where left out
    #[arg(long, value_name = "FRAMES")]
    pub overlap: Option<usize>,
    /// Frames per second.
    #[arg(long, value_name = "N")]
    pub fps: Option<f64>,
    /// Denoising steps.
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// How strongly the prompt is followed; 1 turns guidance off.
    #[arg(long, value_name = "X")]
    pub guidance_scale: Option<f32>,
    /// How strongly a perturbed network is avoided (STG); 0 turns it off.
    #[arg(long, value_name = "X")]
    pub stg_scale: Option<f32>,
    /// An image or clip the video contains from a frame on, with a strength of 0 to 1. Frame 0 where left out; -1 is
    /// the last frame. May be repeated.
    #[arg(long = "condition", value_name = "FILE@FRAME[:STRENGTH]")]
    pub conditions: Vec<String>,
    /// An image or clip in a part of the first frames, its upper left corner at a pixel. May be repeated.
    #[arg(long = "place", value_name = "FILE@X,Y[:STRENGTH]")]
    pub parts: Vec<String>,
    /// A control clip for an in-context LoRA (depth, pose, edges). May be repeated.
    #[arg(long = "reference", value_name = "FILE[:STRENGTH]")]
    pub references: Vec<String>,
    /// A video to change; needs --skip-initial-steps, the more the nearer to it.
    #[arg(long, value_name = "FILE")]
    pub input_video: Option<PathBuf>,
    /// Steps left out at the start, for --input-video.
    #[arg(long, value_name = "N")]
    pub skip_initial_steps: Option<usize>,
    /// Send conditions through H.264 first, as the reference does (there libx264 at crf 29); coarseness 0 to 51.
    #[arg(long, value_name = "QUANTISER", num_args = 0..=1, default_missing_value = "26")]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=51))]
    pub compress_conditions: Option<u8>,
    /// A file of prompts, one a line: a video for each.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub prompts: Option<PathBuf>,
    /// What the windows of a long video show, as YAML: a list such as [{from: 0, prompt: a cat sleeps}, {from: 8.5s,
    /// prompt: it jumps, seed: 3}]. `from` is a frame, or seconds with an s; a window shows what holds at the first
    /// frame that it adds. A seed draws the noise from there to the next prompt; what is before stays as it was.
    #[arg(long, value_name = "FILE.yaml", conflicts_with_all = ["prompt", "prompts"])]
    pub timeline: Option<PathBuf>,
    /// Videos for each prompt, with the seeds that follow, also in a timeline.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch: usize,
    /// Videos denoised in one call; more is faster on a GPU that has the memory.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub together: usize,
    /// How much is decoded at a time: auto, whole, or a number of latent frames. The video is the same; small pieces
    /// need little memory however long it is.
    #[arg(long, value_name = "PIECES", default_value = "auto")]
    pub decode: Pieces,
    /// Decode when all is denoised, and not what is final while the rest is denoised.
    #[arg(long)]
    pub sequential: bool,
    /// Keep finished windows in a folder and go on from those that are there: the video is the same as without a break.
    /// The folder is removed when the video is written.
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// A small version of the video while the whole is made: FILE.mp4, FILE.gif or FOLDER/%05d.png.
    #[arg(long, value_name = "FILE")]
    pub preview: Option<PathBuf>,
    /// Whose random draws a seed gives: original, diffusers or comfyui.
    #[arg(long, value_name = "LAYOUT")]
    pub noise: Option<String>,
    /// FILE.mp4, FILE.gif, FOLDER/%05d.png, or FILE.png for frames side by side; out.mp4 where left out, out.png for a
    /// single frame.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Also write the latents (before decode noise) as `latents`, f32[B, C, F, H, W].
    #[arg(long, value_name = "FILE.safetensors")]
    pub save_latents: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
    /// Write what happens into a file, one JSON object a line, as it happens; - is standard output, where --json comes
    /// last. Every line has `event`: run_started; stage_started, component_loaded, step, frames_decoded and
    /// stage_finished, with `elapsed` and `left` in seconds (null before the first step) and `progress` from 0 to 1;
    /// run_finished or run_failed. Such as {"event":"step","stage":"latents","step":9,"steps":40,"window":1,"windows":2,
    /// "sigma":0.9,"seconds":0.5,"elapsed":5.1,"progress":0.2,"left":20.4}.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc exec`
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The bundle.
    pub bundle: PathBuf,
    /// The component.
    pub component: String,
    /// Tensors named as the component's inputs.
    #[arg(short, long, value_name = "IN.safetensors")]
    pub input: PathBuf,
    /// Where the outputs go.
    #[arg(short, long, value_name = "OUT.safetensors")]
    pub output: Option<PathBuf>,
    /// Take so many latent frames at a time, of a component that can be computed so.
    #[arg(long, value_name = "N")]
    pub pieces: Option<NonZeroUsize>,
    /// Memory that it may need: fewer frames at a time where that is not enough, and frames in tiles.
    #[arg(long, value_name = "8GB")]
    pub memory_budget: Option<Bytes>,
    /// Run this many times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub repeat: usize,
    /// Print the seconds of each run as a JSON list.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub runtime: RuntimeArgs,
}

/// `ltxc decode`
#[derive(Debug, Args)]
pub struct DecodeArgs {
    /// A bundle, a preset file, or the name of a preset that comes with the program.
    pub source: String,
    /// The latents, normalised, in a tensor `latents`.
    pub latents: PathBuf,
    /// FILE.mp4, FILE.gif, FOLDER/%05d.png, or FILE.png for frames side by side.
    #[arg(short, long, value_name = "FILE", default_value = "out.mp4")]
    pub output: PathBuf,
    /// How much is decoded at a time: auto, whole, or a number of latent frames.
    #[arg(long, value_name = "PIECES", default_value = "auto")]
    pub decode: Pieces,
    /// Frames per second.
    #[arg(long, value_name = "FPS")]
    pub fps: Option<f64>,
    /// Seed of the noise that some decoders add.
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub runtime: RuntimeArgs,
    /// Print how long it took as JSON.
    #[arg(long)]
    pub json: bool,
    /// How the preset is compiled, where one is given.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `ltxc calibrate`
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Bundle in floats, or a preset that is compiled into the cache first.
    pub source: String,
    /// A file of prompts, one a line: a video is made for each, as the bundle's defaults or --set say.
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    /// Where the scales go; scales.json where left out.
    #[arg(short, long, value_name = "FILE.json", default_value = "scales.json")]
    pub output: PathBuf,
    /// What is quantised for: max, the largest magnitude; percentile:99.9, one that so many percent of the numbers do
    /// not pass (99.99 where left out); mse, where 8-bit integers have the least square error.
    #[arg(long, value_name = "METHOD", default_value = "max")]
    pub method: Method,
    /// Of how many tokens one is looked at for percentile and mse; the largest magnitude is that of all.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    pub every: i64,
    /// Even out inputs and weights first, as SmoothQuant does: how much of the inputs' spread goes to the weights, 0 to 1;
    /// 0.5 is usual. For the recipe int8.
    #[arg(long, value_name = "ALPHA")]
    pub smooth: Option<f32>,
    /// Seed of the first video; the others follow.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file.
    pub file: PathBuf,
    /// A checkpoint's config as JSON, to expand a graph with.
    #[arg(long, value_name = "FILE.json")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc fmt`
#[derive(Debug, Args)]
pub struct FmtArgs {
    /// The file.
    pub file: PathBuf,
    /// Change nothing; fail if the file is not formatted.
    #[arg(long)]
    pub check: bool,
}

/// `ltxc dump`
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// A preset, or a graph file together with --config.
    pub source: String,
    /// Which component; all where left out.
    #[arg(long, value_name = "COMPONENT")]
    pub component: Option<String>,
    /// Show every repeat.
    #[arg(long)]
    pub expand: bool,
    /// After the target's passes.
    #[arg(long)]
    pub lowered: bool,
    /// A checkpoint's config as JSON, for a graph file.
    #[arg(long, value_name = "FILE.json")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The preset.
    pub preset: String,
    /// Which component; all where left out.
    #[arg(long, value_name = "COMPONENT")]
    pub component: Option<String>,
    /// Show the lines that this pass changed.
    #[arg(long, value_name = "PASS")]
    pub diff: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The preset.
    pub preset: String,
    /// Print as JSON, in bytes.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The preset whose lines get a `-`.
    pub before: String,
    /// The preset whose lines get a `+`.
    pub after: String,
    /// Which component; all that both have where left out.
    #[arg(long, value_name = "COMPONENT")]
    pub component: Option<String>,
    /// Target of the second preset, where it is another than the first's.
    #[arg(long, value_name = "NAME")]
    pub against_target: Option<String>,
    /// Recipe of the second preset. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub against_quant: Vec<String>,
    /// Size of the second preset.
    #[arg(long, value_name = "WIDTHxHEIGHTxFRAMES")]
    pub against_size: Option<AskedSize>,
    /// The graphs as they are written, before any pass.
    #[arg(long)]
    pub written: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The bundle.
    pub bundle: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
    /// Check the hash of every file.
    #[arg(long)]
    pub verify: bool,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Whether the videos of a model of moving shapes show what their prompts ask.
    #[command(after_help = "Examples:
  ltxc bench adherence presets/shapes.yaml
  ltxc bench adherence presets/shapes.yaml --given ends --prompts 40 --save videos
  ltxc bench adherence shapes.bundle --set defaults.steps=8 --json")]
    Adherence(Box<AdherenceArgs>),
    /// How near the videos of a bundle are to those of another, and what is lost of what was asked.
    #[command(after_help = "Example:
  ltxc bench quality shapes.bundle changed.bundle --prompts 50")]
    Quality(Box<QualityArgs>),
    /// Whether one sees where the windows of long videos meet, and how their colours drift.
    #[command(after_help = "Examples:
  ltxc bench seams presets/shapes.yaml --frames 481 --prompts 5 --plot seams.svg
  ltxc bench seams presets/shapes.yaml --frames 161 --window 33 --overlap 16 --set defaults.window_anchors=1 --json")]
    Seams(Box<SeamsArgs>),
}

/// `ltxc bench seams`
#[derive(Debug, Args)]
pub struct SeamsArgs {
    /// Bundle, or a preset that is compiled into the cache first.
    pub source: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sample: SampleArgs,
    /// Also draw the steps and the drift.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc bench adherence`
#[derive(Debug, Args)]
pub struct AdherenceArgs {
    /// Bundle, or a preset that is compiled into the cache first.
    pub source: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sample: SampleArgs,
    /// Also write the videos: FOLDER/0.mp4 and further.
    #[arg(long, value_name = "FOLDER")]
    pub save: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// `ltxc bench quality`
#[derive(Debug, Args)]
pub struct QualityArgs {
    /// Bundle or preset that is the measure.
    pub reference: String,
    /// Bundle or preset that is measured; the options of a compile are for it alone.
    pub source: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sample: SampleArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub project: ProjectArgs,
}

/// Which videos are measured.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Prompts, each with a seed of its own.
    #[arg(long, value_name = "N", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub prompts: u16,
    /// Seed of the first prompt and of its video; the others follow.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Frames of the drawn scene that every video is given.
    #[arg(long, value_enum, default_value_t = Given::Nothing)]
    pub given: Given,
    /// Pixel rows.
    #[arg(long, value_name = "PIXELS")]
    pub height: Option<usize>,
    /// Pixel columns.
    #[arg(long, value_name = "PIXELS")]
    pub width: Option<usize>,
    /// Frames.
    #[arg(long, value_name = "N")]
    pub frames: Option<usize>,
    /// Frames that are denoised at a time.
    #[arg(long, value_name = "FRAMES")]
    pub window: Option<usize>,
    /// Frames that a window shares with the one before.
    #[arg(long, value_name = "FRAMES")]
    pub overlap: Option<usize>,
    /// Denoising steps.
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// How strongly the prompt is followed; 1 turns guidance off.
    #[arg(long, value_name = "X")]
    pub guidance_scale: Option<f32>,
    /// Videos denoised in one call, where nothing is given.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub together: usize,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub runtime: RuntimeArgs,
    /// Print the result as JSON, with every video.
    #[arg(long)]
    pub json: bool,
}

/// What a measured video is given beside its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Given {
    /// Text alone.
    Nothing,
    /// The first frame.
    First,
    /// The first and the last frame.
    Ends,
}
