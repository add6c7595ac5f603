//! The WebGPU provider: a plugin library, registered once per process, whose devices sessions are given.
//!
//! The library is the one that `LTXC_WEBGPU_LIBRARY` names, or out of a wheel that setup fetches. It works where ONNX
//! Runtime finds a GPU and the system has a driver for Vulkan, Metal or Direct3D 12.

use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ::ort::environment::Environment;
use ::ort::session::builder::SessionBuilder;

use crate::backend::setup::{self, Package};
use crate::backend::{BackendError, Provider, guarded};

/// What the plugin calls itself.
const NAME: &str = "WebGpuExecutionProvider";

/// Whether the library is registered with the process's environment.
static REGISTERED: Mutex<bool> = Mutex::new(false);

/// Registers the library, fetched first where that is allowed and none is there.
pub(super) fn register(
    environment: &Environment,
    install: bool,
    report: &dyn Fn(&str),
) -> Result<(), BackendError> {
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*registered {
        let path = library(install, report)?;
        let failed = |error: ::ort::Error| error.to_string();
        guarded(|| {
            environment
                .register_ep_library("webgpu", &path)
                .map_err(failed)
        })
        .map_err(|reason| unusable(format!("{}: {reason}", path.display())))?;
        *registered = true;
    }
    match environment.devices().any(|device| is_ours(&device)) {
        true => Ok(()),
        false => Err(unusable(
            "ONNX Runtime finds no GPU with a driver for Vulkan or Metal on this machine"
                .to_owned(),
        )),
    }
}

/// A session builder whose models run on the first device of the plugin.
pub(super) fn on_device(
    builder: SessionBuilder,
    environment: &Environment,
) -> Result<SessionBuilder, BackendError> {
    let device = environment.devices().find(is_ours);
    builder
        .with_devices(device, None)
        .map_err(|error| unusable(error.message().to_owned()))
}

fn is_ours(device: &::ort::device::Device<'_>) -> bool {
    device.ep().is_ok_and(|name| name == NAME)
}

fn library(install: bool, report: &dyn Fn(&str)) -> Result<PathBuf, BackendError> {
    let package = Package::WEBGPU;
    if let Some(path) = env::var_os(package.variable).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    match setup::installed_path(package) {
        Ok(path) if path.is_file() || !install => Ok(path),
        _ => Ok(setup::setup(package, report)?),
    }
}

fn unusable(reason: String) -> BackendError {
    BackendError::Provider {
        provider: Provider::WebGpu,
        reason,
    }
}
