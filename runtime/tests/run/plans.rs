//! Manifests of bundles without models.

use std::collections::BTreeMap;

use ltxc_bundle::{
    Component, DecodeVideo, Denoise, EncodeText, Flow, Manifest, ModelFacts, Pass, Plan, Port,
    PrepareLatents, Settings, SizeLimits, Stage, StageMemory, StageOp, StepModels, Stream,
    StreamStage, TargetInfo, UpscaleLatents, VERSION,
};

pub const CHANNELS: usize = 16;
pub const CAPTION: usize = 8;

const LATENTS: [&str; 5] = ["B", "16", "frames", "rows", "columns"];
const VIDEO: [&str; 5] = ["B", "3", "8*frames - 7", "32*rows", "32*columns"];
const SIDES: [(&str, i64); 2] = [("rows", 64), ("columns", 64)];

pub fn port(name: &str, dtype: &str, shape: &[&str]) -> Port {
    Port {
        name: name.to_owned(),
        dtype: dtype.to_owned(),
        shape: shape.iter().map(|size| (*size).to_owned()).collect(),
        source: None,
    }
}

fn plane(index: usize, scale: usize) -> Port {
    Port {
        name: format!("noise_{index}"),
        dtype: "f32".to_owned(),
        shape: vec![format!("{scale}*rows"), format!("{scale}*columns")],
        source: Some("normal".to_owned()),
    }
}

fn component(name: &str, inputs: Vec<Port>, outputs: Vec<Port>, max: &[(&str, i64)]) -> Component {
    let limits = |max: i64| SizeLimits {
        min: 1,
        max,
        one_of: Vec::new(),
    };
    Component {
        dense: None,
        model: format!("{name}.onnx"),
        parts: Vec::new(),
        stream: None,
        inputs,
        outputs,
        sizes: max
            .iter()
            .map(|(name, max)| ((*name).to_owned(), limits(*max)))
            .collect(),
        parameters: 0,
        weight_bytes: 0,
        weight_dtypes: BTreeMap::new(),
        passes: Vec::new(),
    }
}

fn text_encoder() -> Component {
    let ids = ["ids", "mask"].map(|name| port(name, "i64", &["B", "L"]));
    let hidden = port("hidden", "f32", &["B", "L", "8"]);
    component("text_encoder", ids.into(), vec![hidden], &[("L", 512)])
}

fn transformer() -> Component {
    let mut transformer = component(
        "transformer",
        vec![
            port("latents", "f32", &["B", "S", "16"]),
            port("coords", "f32", &["R", "3", "S"]),
            port("text", "f32", &["B", "L", "8"]),
            port("text_mask", "i64", &["B", "L"]),
            port("timestep", "f32", &["B", "T"]),
            port("timestep_of", "i64", &["M"]),
        ],
        vec![port("velocity", "f32", &["B", "S", "16"])],
        &[("S", 4096), ("R", 64), ("T", 4096), ("M", 4096)],
    );
    for (name, other) in [("R", "B"), ("M", "S")] {
        transformer.sizes.get_mut(name).unwrap().one_of = vec!["1".to_owned(), other.to_owned()];
    }
    transformer
}

fn decoder(conditioned: bool, planes: &[usize]) -> Component {
    let mut inputs = vec![port("latents", "f32", &LATENTS)];
    inputs.extend(conditioned.then(|| port("timestep", "f32", &["B"])));
    let planes = planes.iter().enumerate();
    inputs.extend(planes.map(|(index, scale)| plane(index, *scale)));
    component(
        "vae_decoder",
        inputs,
        vec![port("video", "f32", &VIDEO)],
        &SIDES,
    )
}

fn encoder() -> Component {
    let inputs = vec![port("video", "f32", &VIDEO), port("noise", "f32", &LATENTS)];
    component(
        "vae_encoder",
        inputs,
        vec![port("latents", "f32", &LATENTS)],
        &SIDES,
    )
}

fn components(conditioned: bool, planes: &[usize]) -> BTreeMap<String, Component> {
    [
        ("text_encoder", text_encoder()),
        ("transformer", transformer()),
        ("vae_encoder", encoder()),
        ("vae_decoder", decoder(conditioned, planes)),
    ]
    .map(|(name, component)| (name.to_owned(), component))
    .into()
}

pub fn stage(name: &str, op: StageOp) -> Stage {
    Stage {
        name: name.to_owned(),
        op,
    }
}

fn prepare(latents: Option<&str>, pass: Option<Pass>) -> StageOp {
    StageOp::PrepareLatents(PrepareLatents {
        component: "vae_encoder".to_owned(),
        latents: latents.map(str::to_owned),
        pass,
    })
}

fn denoise(start: &str) -> StageOp {
    StageOp::Denoise(Denoise {
        component: "transformer".to_owned(),
        text: "prompts".to_owned(),
        start: start.to_owned(),
    })
}

pub fn upscale(component: &str, latents: &str) -> StageOp {
    StageOp::UpscaleLatents(UpscaleLatents {
        component: component.to_owned(),
        statistics: "latent_statistics".to_owned(),
        latents: latents.to_owned(),
    })
}

fn plan(name: &str, between: Vec<Stage>) -> Plan {
    let component = |name: &str| name.to_owned();
    let text = EncodeText {
        component: component("text_encoder"),
    };
    let decode = DecodeVideo {
        component: component("vae_decoder"),
        latents: "latents".to_owned(),
    };
    let mut stages = vec![stage("prompts", StageOp::EncodeText(text))];
    stages.extend(between);
    stages.push(stage("pixels", StageOp::DecodeVideo(decode)));
    Plan {
        name: name.to_owned(),
        stages,
        video: "pixels".to_owned(),
    }
}

pub fn model() -> ModelFacts {
    ModelFacts {
        latent_channels: CHANNELS,
        frames_per_latent: 8,
        pixels_per_latent: 32,
        causal_positions: true,
        scheduler: serde_json::json!({"sampler": "LinearQuadratic", "shifting": null}),
        allowed_inference_steps: None,
    }
}

/// One pass.
pub fn manifest(model: ModelFacts, conditioned: bool, planes: &[usize]) -> Manifest {
    let stages = vec![
        stage("start", prepare(None, None)),
        stage("latents", denoise("start")),
    ];
    Manifest {
        version: VERSION,
        producer: "test".to_owned(),
        name: "functions".to_owned(),
        target: TargetInfo {
            name: "cpu".to_owned(),
            runtime: "onnxruntime".to_owned(),
            provider: "cpu".to_owned(),
            opset: 20,
        },
        model,
        components: components(conditioned, planes),
        tokenizer: Some("tokenizer.json".to_owned()),
        compiled_for: None,
        options: BTreeMap::new(),
        plan: plan("one_pass", stages),
        defaults: Settings::default(),
        files: BTreeMap::new(),
        sources: Vec::new(),
        notes: Vec::new(),
    }
}

/// One pass with a transformer that can perturb some of its blocks.
pub fn perturbing(blocks: usize) -> Manifest {
    let mut manifest = manifest(model(), false, &[]);
    let transformer = manifest.components.get_mut("transformer").unwrap();
    let keep = port("keep", "f32", &[&blocks.to_string(), "B"]);
    transformer.inputs.push(keep);
    manifest
}

/// The decoder of a plan takes some latent frames at a time too.
pub fn streaming(mut manifest: Manifest) -> Manifest {
    let decoder = manifest.components.get_mut("vae_decoder").unwrap();
    let model = |step: &str| format!("decode_{step}.onnx");
    let flow = |name: &str, rate, offset| Flow {
        name: name.to_owned(),
        axis: 2,
        rate,
        offset,
    };
    let others = decoder.inputs.iter().map(|port| port.name.clone());
    let nothing = || "0".to_owned();
    let stage = StreamStage {
        models: StepModels {
            first: model("first"),
            next: model("next"),
            last: model("last"),
            only: model("only"),
        },
        inputs: others.filter(|name| name != "latents").collect(),
        frames: vec![flow("latents", 1, 0)],
        outputs: vec![flow("video", 8, -7)],
        states: Vec::new(),
        least: 1,
        sides: None,
        memory: StageMemory {
            unit: "frames".to_owned(),
            weights: 0,
            states: nothing(),
            results: nothing(),
            first: vec![nothing()],
            next: vec![nothing()],
            last: vec![nothing()],
            only: vec![nothing()],
        },
    };
    decoder.stream = Some(Stream {
        frames: vec![flow("latents", 1, 0)],
        whole: vec![nothing()],
        stages: vec![stage],
    });
    manifest
}

/// Two passes with an upscaler between: `spatial_upscaler` or `temporal_upscaler`.
pub fn two_passes(upscaler: &str) -> Manifest {
    let mut manifest = manifest(model(), false, &[]);
    let (frames, scale) = match upscaler {
        "spatial_upscaler" => ("frames", "2*"),
        _ => ("2*frames - 1", ""),
    };
    let (rows, columns) = (format!("{scale}rows"), format!("{scale}columns"));
    let larger = port("upscaled", "f32", &["B", "16", frames, &rows, &columns]);
    let latents = || vec![port("latents", "f32", &LATENTS)];
    let statistics = ["normalized", "un_normalized"].map(|name| port(name, "f32", &LATENTS));
    for (name, outputs) in [
        (upscaler, vec![larger]),
        ("latent_statistics", statistics.into()),
    ] {
        let component = component(name, latents(), outputs, &SIDES);
        manifest.components.insert(name.to_owned(), component);
    }
    let stages = vec![
        stage("small_start", prepare(None, Some(Pass::FirstPass))),
        stage("small", denoise("small_start")),
        stage("upscaled", upscale(upscaler, "small")),
        stage("start", prepare(Some("upscaled"), Some(Pass::SecondPass))),
        stage("latents", denoise("start")),
    ];
    manifest.plan = plan("two_passes", stages);
    manifest
}
