//! `ltxc`: see `ltxc --help`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

/// glibc returns blocks from a size on to the system when they are freed. It raises that size up to 32 MiB, the larger the
/// blocks are that are freed; then tensors lie between what stays, and memory is held that nothing uses. Not raised any
/// more, a long video needs a tenth less.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_memory_back() {
    const FROM: std::ffi::c_int = 1 << 20;
    #[expect(unsafe_code, reason = "a setting of the C library")]
    // SAFETY: no other thread is there yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, FROM);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_memory_back() {}

fn main() -> ExitCode {
    give_memory_back();
    let cli = ltxc::args::Cli::parse();
    match ltxc::dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.render(std::io::stderr().is_terminal());
            // Nobody is left to tell when standard error is closed too.
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(failure.exit_code())
        }
    }
}
