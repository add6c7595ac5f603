//! The wheels of ONNX Runtime and its WebGPU provider: one per platform, each pinned by its hash.
//!
//! Those of ONNX Runtime are the builds for CPython 3.12, whichever Python is
//! installed: the library within does not depend on it. Hashes and member names of every row
//! were read from the wheels; only x86-64 Linux has been run.

use std::fmt;

use super::SetupError;

/// A package whose wheels hold a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name at the index.
    pub name: &'static str,
    /// The pinned version.
    pub version: &'static str,
    /// The variable that names a library to use instead.
    pub variable: &'static str,
}

impl Package {
    /// ONNX Runtime itself.
    pub const ONNX_RUNTIME: Self = Self {
        name: "onnxruntime",
        version: "1.31.1",
        variable: "ORT_DYLIB_PATH",
    };
    /// Its provider for WebGPU, a plugin. On Windows it needs more than one file, so there are no rows for it.
    pub const WEBGPU: Self = Self {
        name: "onnxruntime-ep-webgpu",
        version: "0.4.0",
        variable: "LTXC_WEBGPU_LIBRARY",
    };
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// One pinned wheel.
#[derive(Clone)]
pub(super) struct Wheel {
    /// What it is of.
    pub(super) package: Package,
    /// The operating system as Rust names it.
    os: &'static str,
    /// The processor as Rust names it.
    arch: &'static str,
    /// The platform as pip names it.
    pub(super) platform: &'static str,
    /// The hash of the wheel.
    pub(super) sha256: &'static str,
    /// The library within the wheel.
    pub(super) member: &'static str,
}

/// The Python version of the wheels, as pip wants it.
pub(super) const PYTHON: &str = "312";

const LINUX: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";
const MACOS: &str = "onnxruntime/capi/libonnxruntime.1.31.1.dylib";
const WEBGPU: &str = "onnxruntime_ep_webgpu/libonnxruntime_providers_webgpu.so";
const WEBGPU_MACOS: &str = "onnxruntime_ep_webgpu/libonnxruntime_providers_webgpu.dylib";
const WINDOWS: &str = "onnxruntime/capi/onnxruntime.dll";

pub(super) const WHEELS: &[Wheel] = &[
    Wheel {
        package: Package::ONNX_RUNTIME,
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        member: LINUX,
    },
    Wheel {
        package: Package::ONNX_RUNTIME,
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        member: LINUX,
    },
    Wheel {
        package: Package::ONNX_RUNTIME,
        os: "macos",
        arch: "aarch64",
        platform: "macosx_14_0_arm64",
        sha256: "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
        member: MACOS,
    },
    Wheel {
        package: Package::ONNX_RUNTIME,
        os: "windows",
        arch: "x86_64",
        platform: "win_amd64",
        sha256: "ae8a9a351efda685cc59a66226cdefaa37a126c1d66872ca23a2de9425326130",
        member: WINDOWS,
    },
    Wheel {
        package: Package::ONNX_RUNTIME,
        os: "windows",
        arch: "aarch64",
        platform: "win_arm64",
        sha256: "fe8b9ac1ae8e894e12c47ee82e4f6dfc1835768133687257866469fda80d0bf1",
        member: WINDOWS,
    },
    Wheel {
        package: Package::WEBGPU,
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        sha256: "5d8c961eda91a88961cad1fb7621f389f006b18497d6ea9ecf96f729f066cbfb",
        member: WEBGPU,
    },
    Wheel {
        package: Package::WEBGPU,
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        sha256: "17f660db53b1a509c63e721ac6784a2daa1c4e91a968523ee9986505ee5b0a55",
        member: WEBGPU,
    },
    Wheel {
        package: Package::WEBGPU,
        os: "macos",
        arch: "aarch64",
        platform: "macosx_14_0_arm64",
        sha256: "8d0a91d44b43d931c3068b9134aed9770f27803e353c2b58c93e1700bb68bcca",
        member: WEBGPU_MACOS,
    },
];

impl Wheel {
    pub(super) fn library_name(&self) -> &'static str {
        self.member.rsplit('/').next().unwrap_or(self.member)
    }
}

pub(super) fn for_this_machine(package: Package) -> Result<Wheel, SetupError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    // The Linux wheels need the GNU C library, 2.28 or later.
    let runs = !cfg!(target_os = "linux") || cfg!(target_env = "gnu");
    WHEELS
        .iter()
        .find(|wheel| wheel.package == package && runs && wheel.os == os && wheel.arch == arch)
        .cloned()
        .ok_or(SetupError::Platform { package, os, arch })
}
