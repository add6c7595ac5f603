//! Every runtime loads and runs the same small models to the same numbers.
//!
//! The ONNX Runtime cases use `ORT_DYLIB_PATH` or the cached library, which is fetched if there is none. The models come from `data/make_models.py`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use half::{bf16, f16};
use ltxc_runtime::backend::{
    Backend, BackendError, BackendOptions, Calls, Dim, Prepack, Provider, Runtime, Session, Values,
    open,
};
use ltxc_runtime::tensor::{DType, Data, Tensor};

const RUNTIMES: &[Runtime] = if cfg!(feature = "tract") {
    &[Runtime::OnnxRuntime, Runtime::Tract]
} else {
    &[Runtime::OnnxRuntime]
};

fn options(runtime: Runtime) -> BackendOptions {
    BackendOptions {
        runtime,
        threads: Some(1),
        ..BackendOptions::default()
    }
}

fn backend(runtime: Runtime) -> Box<dyn Backend> {
    open(&options(runtime), &|_| {}).unwrap()
}

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
        .with_extension("onnx")
}

fn load(runtime: Runtime, name: &str) -> Box<dyn Session> {
    backend(runtime).load(&model(name)).unwrap()
}

fn tensors<const N: usize>(entries: [(&str, Tensor); N]) -> BTreeMap<String, Tensor> {
    entries
        .into_iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect()
}

fn tensor(shape: &[usize], data: impl Into<Data>) -> Tensor {
    Tensor::new(shape, data).unwrap()
}

fn linear_case() -> (BTreeMap<String, Tensor>, Tensor) {
    let x = tensor(&[2, 3], vec![1f32, 0.0, 0.0, 0.0, 2.0, 4.0]);
    let y = vec![1.0f32, -0.875, 0.75, 2.375, 6.0, 4.75, 7.0, 9.25];
    (tensors([("x", x)]), tensor(&[2, 4], y))
}

#[test]
fn a_model_runs_and_runs_again() {
    for &runtime in RUNTIMES {
        let mut session = load(runtime, "linear");
        for _ in 0..2 {
            let (inputs, expected) = linear_case();
            assert_eq!(session.run(inputs).unwrap()["y"], expected, "{runtime}");
        }
    }
}

#[test]
fn external_weights_are_found_beside_the_model() {
    for &runtime in RUNTIMES {
        let (inputs, expected) = linear_case();
        let outputs = load(runtime, "external").run(inputs).unwrap();
        assert_eq!(outputs["y"], expected, "{runtime}");
    }
}

#[test]
fn symbolic_dimensions_take_any_size_that_agrees() {
    for &runtime in RUNTIMES {
        let mut session = load(runtime, "symbolic");
        let rows = Dim::Symbol("rows".to_owned());
        let inner = Dim::Symbol("inner".to_owned());
        assert_eq!(session.inputs()[0].dims, [rows.clone(), inner], "{runtime}");
        assert_eq!(
            session.outputs()[0].dims,
            [rows, Dim::Fixed(2)],
            "{runtime}"
        );
        for (rows, inner) in [(1, 1), (3, 2), (1, 1), (2, 5)] {
            let a = tensor(&[rows, inner], vec![1f32; rows * inner]);
            let b = tensor(&[inner, 2], vec![2f32; inner * 2]);
            let c = session
                .run(tensors([("a", a), ("b", b)]))
                .unwrap()
                .remove("c")
                .unwrap();
            assert_eq!(
                c,
                tensor(&[rows, 2], vec![2.0 * inner as f32; rows * 2]),
                "{runtime}"
            );
        }
        let a = tensor(&[1, 3], vec![0f32; 3]);
        let b = tensor(&[2, 2], vec![0f32; 4]);
        let error = session.run(tensors([("a", a), ("b", b)])).err().unwrap();
        let expected = "input `b`: expected `inner` to be 3 as in `a`, found 2";
        assert_eq!(error.to_string(), expected, "{runtime}");
    }
}

#[test]
fn integer_and_truth_inputs_arrive() {
    for &runtime in RUNTIMES {
        let ids = tensor(&[1, 3], vec![3i64, 0, 1]);
        let rows = load(runtime, "gather")
            .run(tensors([("ids", ids)]))
            .unwrap();
        let expected = tensor(&[1, 3, 2], vec![6f32, 7.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(rows["rows"], expected, "{runtime}");

        let inputs = tensors([
            ("mask", tensor(&[4], vec![true, false, false, true])),
            ("yes", tensor(&[4], vec![1f32; 4])),
            ("no", tensor(&[4], vec![2f32; 4])),
        ]);
        let picked = load(runtime, "select").run(inputs).unwrap();
        assert_eq!(
            picked["picked"],
            tensor(&[4], vec![1f32, 2.0, 2.0, 1.0]),
            "{runtime}"
        );
    }
}

#[test]
fn every_element_type_passes_through() {
    let inputs = tensors([
        ("f32_in", tensor(&[2], vec![1f32, 2.0])),
        ("f16_in", tensor(&[2], vec![f16::ONE, f16::MAX])),
        ("bf16_in", tensor(&[2], vec![bf16::ONE, bf16::MAX])),
        ("i64_in", tensor(&[2], vec![i64::MIN, 1])),
        ("i32_in", tensor(&[2], vec![i32::MIN, 1])),
        ("u8_in", tensor(&[2], vec![0u8, 255])),
        ("bool_in", tensor(&[2], vec![true, false])),
    ]);
    assert_eq!(inputs.len(), DType::ALL.len());
    let outputs = load(Runtime::OnnxRuntime, "types")
        .run(inputs.clone())
        .unwrap();
    for (name, input) in inputs {
        assert_eq!(outputs[&name.replace("_in", "_out")], input, "{name}");
    }
}

#[test]
fn empty_tensors_pass_through() {
    let ids = tensor(&[1, 0], Vec::<i64>::new());
    let rows = load(Runtime::OnnxRuntime, "gather")
        .run(tensors([("ids", ids)]))
        .unwrap();
    assert_eq!(rows["rows"], tensor(&[1, 0, 2], Vec::<f32>::new()));
}

#[test]
fn every_wrong_input_is_named() {
    for &runtime in RUNTIMES {
        let mut session = load(runtime, "select");
        let inputs = tensors([
            ("mask", tensor(&[4], vec![1f32; 4])),
            ("no", tensor(&[2, 2], vec![1f32; 4])),
            ("maybe", tensor(&[], vec![1f32])),
        ]);
        let message = session.run(inputs).err().unwrap().to_string();
        let parts = [
            "input `maybe` is unknown: the model takes `mask`, `yes`, `no`",
            "input `mask`: expected BOOL[4], found F32[4]",
            "input `yes` is missing: expected F32[4]",
            "input `no`: expected F32[4], found F32[2, 2]",
        ];
        assert_eq!(message, parts.join("; "), "{runtime}");
    }
}

#[test]
fn a_broken_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(model("linear")).unwrap();
    for &runtime in RUNTIMES {
        let backend = backend(runtime);
        for (what, bytes) in [
            ("cut", &bytes[..90]),
            ("text", b"not a model"),
            ("empty", b""),
        ] {
            let path = folder.path().join(what);
            std::fs::write(&path, bytes).unwrap();
            let error = backend.load(&path).err().unwrap();
            assert!(
                matches!(error, BackendError::Load { .. }),
                "{runtime}, {what}: {error}"
            );
            assert!(
                error.to_string().contains(what),
                "{runtime}, {what}: {error}"
            );
        }
        let error = backend.load(folder.path()).err().unwrap();
        assert!(
            matches!(error, BackendError::NoModel { .. }),
            "{runtime}: {error}"
        );
    }
}

#[test]
fn missing_external_weights_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("external.onnx");
    std::fs::copy(model("external"), &path).unwrap();
    for &runtime in RUNTIMES {
        let message = backend(runtime).load(&path).err().unwrap().to_string();
        assert!(message.contains("external.data"), "{runtime}: {message}");
    }
}

#[test]
fn a_port_of_another_type_is_named() {
    for &runtime in RUNTIMES {
        let message = backend(runtime)
            .load(&model("double"))
            .err()
            .unwrap()
            .to_string();
        assert!(
            message.contains("port `x` has the type"),
            "{runtime}: {message}"
        );
    }
}

#[test]
fn small_models_load_without_warnings() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let options = BackendOptions {
        log: Some(Arc::new(move |line: &str| {
            sink.lock().unwrap().push(line.to_owned())
        })),
        ..options(Runtime::OnnxRuntime)
    };
    let backend = open(&options, &|_| {}).unwrap();
    for name in [
        "linear", "external", "symbolic", "gather", "select", "types",
    ] {
        backend.load(&model(name)).unwrap();
    }
    assert_eq!(*heard.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn the_log_hears_warnings() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let options = BackendOptions {
        log: Some(Arc::new(move |line: &str| {
            sink.lock().unwrap().push(line.to_owned())
        })),
        ..options(Runtime::OnnxRuntime)
    };
    open(&options, &|_| {})
        .unwrap()
        .load(&model("unused"))
        .unwrap();
    assert!(
        heard
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("unused_weight"))
    );
}

#[test]
fn prepacking_can_be_off() {
    let options = BackendOptions {
        prepack: Prepack::Never,
        ..options(Runtime::OnnxRuntime)
    };
    let (inputs, expected) = linear_case();
    let mut session = open(&options, &|_| {})
        .unwrap()
        .load(&model("linear"))
        .unwrap();
    assert_eq!(session.run(inputs).unwrap()["y"], expected);
}

/// Calls share their memory, whatever they need of it; one that needs more than there is fails alone.
#[test]
fn memory_is_used_again_and_may_run_out() {
    let backend = backend(Runtime::OnnxRuntime);
    let mut sessions = [
        backend.load(&model("sized")).unwrap(),
        backend.load_for(&model("sized"), Calls::Turns).unwrap(),
    ];
    let shape = |size: usize| tensors([("shape", tensor(&[1], vec![size as i64]))]);
    let mut kept = Vec::new();
    for size in [
        1, 100_000, 2_000_000, 1_900_000, 2_100_000, 3_000_000, 70_000,
    ] {
        for session in &mut sessions {
            let values = session.call(shape(size), &Values::new(), true).unwrap();
            let value = values["y"].tensor().unwrap();
            assert!(value.values::<f32>().unwrap().iter().all(|x| *x == 1.5));
            kept.push(values);
            let error = session.run(shape(1 << 60)).unwrap_err().to_string();
            assert!(error.contains("not enough memory"), "{error}");
        }
        kept.truncate(3);
        backend.rest();
    }
    for values in kept {
        let value = values["y"].tensor().unwrap();
        assert!(value.values::<f32>().unwrap().iter().all(|x| *x == 1.5));
    }
}

/// On a machine with CUDA this opens; anywhere else it must not.
#[test]
fn an_absent_provider_is_an_error_with_the_words_of_the_library() {
    for provider in [
        Provider::Cuda,
        Provider::TensorRt,
        Provider::TensorRtRtx,
        Provider::WebGpu,
    ] {
        let options = BackendOptions {
            provider,
            install: provider != Provider::WebGpu,
            ..options(Runtime::OnnxRuntime)
        };
        let Err(error) = open(&options, &|_| {}) else {
            continue;
        };
        let BackendError::Provider { reason, .. } = &error else {
            unreachable!("{error}");
        };
        assert!(reason.len() > 10, "{error}");
        assert!(error.to_string().contains(&provider.to_string()), "{error}");
    }
}

#[test]
fn tract_has_only_the_processor() {
    let options = BackendOptions {
        provider: Provider::Cuda,
        ..options(Runtime::Tract)
    };
    let message = open(&options, &|_| {}).err().unwrap().to_string();
    let expected = if cfg!(feature = "tract") {
        "no CUDA provider"
    } else {
        "has no tract"
    };
    assert!(message.contains(expected), "{message}");
}

#[test]
fn senseless_thread_counts_are_refused() {
    for threads in [0, 100_000] {
        let options = BackendOptions {
            threads: Some(threads),
            ..options(Runtime::OnnxRuntime)
        };
        let message = open(&options, &|_| {}).err().unwrap().to_string();
        assert!(message.contains("from 1 to 1024"), "{message}");
    }
}
