//! The wheels of ONNX Runtime: one per platform, each pinned by its hash.
//!
//! All are the builds for CPython 3.12, whichever Python is installed: the
//! library within does not depend on it. Hashes and member names of every row
//! were read from the wheels; only x86-64 Linux has been run.

use super::SetupError;

/// One pinned wheel.
#[derive(Clone)]
pub(super) struct Wheel {
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
const WINDOWS: &str = "onnxruntime/capi/onnxruntime.dll";

pub(super) const WHEELS: &[Wheel] = &[
    Wheel {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        member: LINUX,
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        member: LINUX,
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_14_0_arm64",
        sha256: "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
        member: MACOS,
    },
    Wheel {
        os: "windows",
        arch: "x86_64",
        platform: "win_amd64",
        sha256: "ae8a9a351efda685cc59a66226cdefaa37a126c1d66872ca23a2de9425326130",
        member: WINDOWS,
    },
    Wheel {
        os: "windows",
        arch: "aarch64",
        platform: "win_arm64",
        sha256: "fe8b9ac1ae8e894e12c47ee82e4f6dfc1835768133687257866469fda80d0bf1",
        member: WINDOWS,
    },
];

impl Wheel {
    pub(super) fn library_name(&self) -> &'static str {
        self.member.rsplit('/').next().unwrap_or(self.member)
    }
}

pub(super) fn for_this_machine() -> Result<Wheel, SetupError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    // The Linux wheels need the GNU C library, 2.28 or later.
    let runs = !cfg!(target_os = "linux") || cfg!(target_env = "gnu");
    WHEELS
        .iter()
        .find(|wheel| runs && wheel.os == os && wheel.arch == arch)
        .cloned()
        .ok_or(SetupError::Platform { os, arch })
}
