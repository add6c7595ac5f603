//! Libraries that must be refused; each is compiled from a few lines of Rust.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Places, load};
use crate::backend::BackendError;
use crate::backend::setup::{self, Package};

/// A shared library that answers `OrtGetApiBase` as `source` says.
fn library(folder: &Path, source: &str) -> PathBuf {
    let code = folder.join("library.rs");
    let library = folder.join(format!("fake{}", std::env::consts::DLL_SUFFIX));
    std::fs::write(&code, source).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let built = Command::new(rustc)
        .args([
            "--crate-type=cdylib",
            "--edition=2024",
            "-Cpanic=abort",
            "-o",
        ])
        .arg(&library)
        .arg(&code)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    library
}

fn api(version: &str) -> String {
    format!(
        r#"
        #[repr(C)]
        pub struct Base {{
            api: extern "C" fn(u32) -> *const u8,
            version: extern "C" fn() -> *const u8,
        }}
        extern "C" fn api(_: u32) -> *const u8 {{ std::ptr::null() }}
        extern "C" fn version() -> *const u8 {{ c"{version}".as_ptr().cast() }}
        static BASE: Base = Base {{ api, version }};
        #[unsafe(no_mangle)]
        pub extern "C" fn OrtGetApiBase() -> *const Base {{ &raw const BASE }}
        "#
    )
}

fn named(path: PathBuf) -> Places {
    Places {
        named: Some(path),
        cached: None,
        system: None,
        install: false,
    }
}

fn refusal(path: PathBuf) -> String {
    match load(&named(path), &|_| {}) {
        Ok(_) => String::from("loaded"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_missing_file_is_named() {
    let message = refusal(PathBuf::from("/nowhere/libonnxruntime.so"));
    assert!(message.contains("/nowhere/libonnxruntime.so"), "{message}");
    assert!(message.contains("ORT_DYLIB_PATH"), "{message}");
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    std::fs::write(&path, "not a library").unwrap();
    assert!(refusal(path).contains("cannot be used"));
}

#[test]
fn another_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = refusal(library(folder.path(), "pub fn unrelated() {}"));
    assert!(message.contains("OrtGetApiBase"), "{message}");
}

#[test]
fn an_old_library_is_refused_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let message = refusal(library(folder.path(), &api("1.17.3")));
    assert!(message.contains("1.17.3"), "{message}");
    assert!(message.contains("version 1.24 or later"), "{message}");
}

#[test]
fn a_library_without_its_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = r#"
        #[unsafe(no_mangle)]
        pub extern "C" fn OrtGetApiBase() -> *const u8 { std::ptr::null() }
    "#;
    assert!(refusal(library(folder.path(), source)).contains("gave up"));
}

#[test]
fn a_broken_cached_library_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    std::fs::write(&path, "cut short").unwrap();
    let places = Places {
        named: None,
        cached: Some(path),
        system: None,
        install: true,
    };
    let refused = load(&places, &|_| {}).err().unwrap();
    assert!(matches!(refused, BackendError::Library { .. }), "{refused}");
}

#[test]
fn an_old_system_library_is_passed_over_aloud() {
    let folder = tempfile::tempdir().unwrap();
    let path = library(folder.path(), &api("1.9.0"));
    let system: &'static str = path.to_str().unwrap().to_owned().leak();
    let places = Places {
        named: None,
        cached: None,
        system: Some(system),
        install: false,
    };
    let said = RefCell::new(Vec::new());
    let refused = load(&places, &|line| said.borrow_mut().push(line.to_owned()))
        .err()
        .unwrap();
    assert!(
        matches!(refused, BackendError::NoLibrary { .. }),
        "{refused}"
    );
    assert!(said.borrow()[0].contains("1.9.0"), "{:?}", said.borrow());
}

#[test]
fn the_cached_path_carries_the_version() {
    let path = setup::installed_path(Package::ONNX_RUNTIME).unwrap();
    assert!(
        path.to_string_lossy()
            .contains(Package::ONNX_RUNTIME.version),
        "{}",
        path.display()
    );
}
