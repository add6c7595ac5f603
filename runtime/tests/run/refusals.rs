//! What cannot be run is refused before anything is loaded, in words that say what to do.

use ltxc_bundle::{Manifest, Scheduled, Settings};
use ltxc_runtime::backend::BackendOptions;
use ltxc_runtime::run::{Job, RunError, Runner, RunnerOptions, Tensors};
use ltxc_runtime::tensor::Tensor;

use super::fake::{self, one, port};

fn manifest() -> Manifest {
    fake::manifest(fake::model(), false, &[])
}

fn settings() -> Settings {
    Settings {
        prompt: Some("a cat".to_owned()),
        height: Some(64),
        width: Some(64),
        frames: Some(9),
        steps: Some(2),
        ..Settings::default()
    }
}

fn refusal(change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = settings();
    change(&mut settings);
    Job::new(&manifest(), settings).unwrap_err().to_string()
}

#[test]
fn senseless_settings_are_named() {
    let range = "give a number from 0 to 1";
    for (found, expected) in [
        (refusal(|s| s.prompt = None), "`prompt` is not set"),
        (
            refusal(|s| s.height = Some(0)),
            "`height` is 0: give a number from 1 to 65536",
        ),
        (refusal(|s| s.frames = Some(1 << 20)), "`frames` is 1048576"),
        (
            refusal(|s| s.fps = Some(f64::NAN)),
            "`fps` is NaN: give a number from 0.01 to 1000",
        ),
        (refusal(|s| s.steps = Some(0)), "at least one step"),
        (refusal(|s| s.steps = Some(5000)), "`steps` is 5000"),
        (
            refusal(|s| s.timesteps = Some(vec![0.5, 1.0])),
            "falling order",
        ),
        (
            refusal(|s| s.skip_initial_inference_steps = Some(2)),
            "leaves none",
        ),
        (
            refusal(|s| s.guidance_scale = Some(Scheduled::Constant(f32::INFINITY))),
            "`guidance_scale` is inf",
        ),
        (refusal(|s| s.decode_timestep = Some(2.0)), range),
        (refusal(|s| s.decode_noise_scale = Some(-0.1)), range),
        (refusal(|s| s.max_tokens = Some(0)), "`max_tokens` is 0"),
        (
            refusal(|s| s.noise = Some("comfy".to_owned())),
            "unknown noise layout `comfy`",
        ),
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn sizes_beyond_the_components_are_refused() {
    for (found, expected) in [
        (
            refusal(|s| s.height = Some(4096)),
            "`vae_decoder` cannot take this: input `latents`, axis 3: expected from 1 to 64 (`rows`), found 128",
        ),
        (
            refusal(|s| s.frames = Some(16_385)),
            "`transformer` cannot take this: input `latents`, axis 1: expected from 1 to 4096 (`S`), found 8196",
        ),
        (
            refusal(|s| s.max_tokens = Some(1000)),
            "`text_encoder` cannot take this: input `ids`, axis 1: expected from 1 to 512 (`L`), found 1000",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn timesteps_a_distilled_model_does_not_know_are_refused() {
    let mut manifest = manifest();
    manifest.model.allowed_inference_steps = Some(vec![1.0, 0.725]);
    let known = Settings {
        timesteps: Some(vec![1.0, 0.725]),
        ..settings()
    };
    assert!(Job::new(&manifest, known).is_ok());
    let message = Job::new(&manifest, settings()).unwrap_err().to_string();
    assert!(message.contains("not trained for timestep"), "{message}");
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    type Change = fn(&mut Manifest);
    let changes: [(Change, &str); 9] = [
        (
            |m| m.plan.video = "latents".to_owned(),
            "`latents` is no stage that decodes",
        ),
        (
            |m| m.plan.stages.swap(0, 2),
            "stage `latents`: no stage before it encodes `prompts`",
        ),
        (
            |m| m.plan.stages[1].name = "prompts".to_owned(),
            "used twice",
        ),
        (|m| m.tokenizer = None, "without a tokenizer"),
        (
            |m| drop(m.components.remove("transformer")),
            "there is no component `transformer`",
        ),
        (
            |m| input(m, "skip"),
            "has the input `skip`, which the stage does not give",
        ),
        (
            |m| m.components.get_mut("transformer").unwrap().outputs.clear(),
            "no output `velocity`",
        ),
        (
            |m| m.components.get_mut("vae_decoder").unwrap().inputs[0].shape[0] = "a/b".to_owned(),
            "`a/b` is no size",
        ),
        (
            |m| m.model.pixels_per_latent = 0,
            "has 0 frames, pixels or channels",
        ),
    ];
    for (change, expected) in changes {
        let mut manifest = manifest();
        change(&mut manifest);
        let message = Job::new(&manifest, settings()).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

fn input(manifest: &mut Manifest, name: &str) {
    let transformer = manifest.components.get_mut("transformer").unwrap();
    transformer.inputs.push(port(name, "f32", &["B"]));
}

#[test]
fn unknown_targets_are_refused() {
    let options = RunnerOptions {
        backend: BackendOptions {
            install: false,
            ..BackendOptions::default()
        },
        ..RunnerOptions::default()
    };
    for (runtime, provider, expected) in [
        (
            "openvino",
            "cpu",
            "runtime is `openvino`, which this program does not know",
        ),
        (
            "onnxruntime",
            "rocm",
            "provider is `rocm`, which this program does not know",
        ),
        (
            "tract",
            "cuda",
            if cfg!(feature = "tract") {
                "no CUDA"
            } else {
                "--features tract"
            },
        ),
    ] {
        let mut manifest = manifest();
        manifest.target.runtime = runtime.to_owned();
        manifest.target.provider = provider.to_owned();
        let (_folder, bundle) = fake::bundle(manifest);
        let message = Runner::open(bundle, &options, &|_| {})
            .err()
            .unwrap()
            .to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn a_call_is_checked_before_the_component_is_loaded() {
    let (_folder, fake, runner) = fake::runner(manifest(), false);
    let latents = Tensor::new([1, 6, 16], vec![0.0_f32; 96]).unwrap();
    let mask = Tensor::new([1, 2], vec![1_i64; 2]).unwrap();
    let inputs = Tensors::from([
        ("latents".to_owned(), latents.clone()),
        (
            "coords".to_owned(),
            Tensor::new([1, 3, 5], vec![0.0_f32; 15]).unwrap(),
        ),
        (
            "text".to_owned(),
            Tensor::new([1, 2, 8], vec![0.0_f32; 16]).unwrap(),
        ),
        ("text_mask".to_owned(), latents),
        ("mask".to_owned(), mask),
    ]);
    let message = runner.exec("transformer", inputs).unwrap_err().to_string();
    let parts = [
        "`transformer` cannot take this: input `mask` is unknown: the component takes `latents`, `coords`, `text`, \
         `text_mask`, `timestep`, `timestep_of`",
        "input `timestep` is missing: expected F32[B, T]",
        "input `timestep_of` is missing: expected I64[M]",
        "input `text_mask`: expected I64[B, L], found F32[1, 6, 16]",
        "input `coords`, axis 2: expected 6 (`S` as in `latents`), found 5",
    ];
    assert_eq!(message, parts.join("; "));
    let message = runner
        .exec("transfomer", Tensors::new())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("it has `text_encoder`, `transformer`, `vae_decoder`"),
        "{message}"
    );
    assert_eq!(fake.loads(), Vec::<String>::new());
}

#[test]
fn a_component_runs_alone() {
    let (_folder, _, runner) = fake::runner(manifest(), false);
    let ids = Tensor::new([1, 2], vec![3_i64, 1]).unwrap();
    let inputs = Tensors::from([("ids".to_owned(), ids.clone()), ("mask".to_owned(), ids)]);
    let outputs = runner.exec("text_encoder", inputs).unwrap();
    assert_eq!(outputs["hidden"].shape(), [1, 2, 8]);
}

#[test]
fn wrong_outputs_and_infinities_are_named() {
    let (_folder, fake, runner) = fake::runner(manifest(), false);
    let job = Job::new(runner.manifest(), settings()).unwrap();
    let failure = || {
        let mut noise = job.noise();
        runner.generate(&job, &mut noise, &mut |_| {}).unwrap_err()
    };
    fake.set("transformer", |inputs| {
        one("speed", inputs["latents"].clone())
    });
    let message = failure().to_string();
    let expected = "`transformer` should return `velocity` as F32[1, 8, 16], it returned nothing";
    assert_eq!(message, expected);
    fake.set("transformer", |inputs| {
        one("velocity", inputs["coords"].clone())
    });
    assert!(failure().to_string().ends_with("it returned [1, 3, 8]"));
    fake.set("transformer", |inputs| {
        let shape = inputs["latents"].shape();
        one(
            "velocity",
            Tensor::new(shape, vec![f32::INFINITY; 128]).unwrap(),
        )
    });
    assert!(matches!(failure(), RunError::NotFinite { step: 1, .. }));
}
