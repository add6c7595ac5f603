//! Finds and loads the ONNX Runtime library.
//!
//! The order is: `ORT_DYLIB_PATH`, the cache that `ltxc setup` fills, the
//! system's library, and last the setup itself. A library that somebody named
//! or installed for ltxc must work; only the system's may be passed over.

use std::env;
use std::path::{Path, PathBuf};

use ort::LoadDynamicError;
use ort::environment::EnvironmentBuilder;

use crate::backend::setup::{self, Package};
use crate::backend::{BackendError, guarded};

/// Where to look.
pub(super) struct Places {
    /// The file that the user named.
    pub(super) named: Option<PathBuf>,
    /// The file that setup installs, whether it is there or not.
    pub(super) cached: Option<PathBuf>,
    /// The name that the system's loader is asked for.
    pub(super) system: Option<&'static str>,
    /// Whether setup may run.
    pub(super) install: bool,
}

impl Places {
    pub(super) fn from_env(install: bool) -> Places {
        let named = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
        Places {
            named: named.map(PathBuf::from),
            cached: setup::installed_path(Package::ONNX_RUNTIME).ok(),
            system: Some(SYSTEM_NAME),
            install,
        }
    }
}

const SYSTEM_NAME: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so.1"
};

pub(super) fn load(
    places: &Places,
    report: &dyn Fn(&str),
) -> Result<EnvironmentBuilder, BackendError> {
    if let Some(path) = &places.named {
        return load_file(path);
    }
    if let Some(path) = places.cached.as_ref().filter(|path| path.is_file()) {
        return load_file(path);
    }
    if let Some(library) = places.system.and_then(|name| load_system(name, report)) {
        return Ok(library);
    }
    if !places.install {
        return Err(BackendError::NoLibrary { minimum: minimum() });
    }
    load_file(&setup::setup(Package::ONNX_RUNTIME, report)?)
}

pub(super) fn unusable(reason: String) -> BackendError {
    BackendError::Library {
        reason,
        minimum: minimum(),
    }
}

fn minimum() -> String {
    format!("1.{}", ort::MINOR_VERSION)
}

fn load_file(path: &Path) -> Result<EnvironmentBuilder, BackendError> {
    // A bare name is left to the system's loader; a path is the caller's, not
    // relative to the executable as the loader would have it.
    let path = match std::path::absolute(path) {
        Ok(absolute) if path.exists() => absolute,
        _ => path.to_path_buf(),
    };
    guarded(|| ort::init_from(&path).map_err(|error| error.to_string())).map_err(unusable)
}

fn load_system(name: &str, report: &dyn Fn(&str)) -> Option<EnvironmentBuilder> {
    let found = guarded(|| match ort::init_from(name) {
        Ok(library) => Ok(Some(library)),
        Err(LoadDynamicError::Dlopen { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    });
    found.unwrap_or_else(|reason| {
        report(&format!(
            "the system's ONNX Runtime is passed over: {reason}"
        ));
        None
    })
}

#[cfg(test)]
mod tests;
