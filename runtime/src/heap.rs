//! What the C library is told about memory that is freed.
//!
//! glibc keeps much of it: blocks up to 32 MiB, the more the larger blocks are that were freed, and in a heap for each
//! thread. What a process holds would be the sum of what each of its threads needed at its own peak, and tensors would lie
//! between what stays. Other systems have nothing to be told.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// Blocks from this size on go back to the system at once, however large those that were freed.
    const FROM: std::ffi::c_int = 1 << 20;

    #[expect(unsafe_code, reason = "a setting of the C library")]
    pub fn settle() {
        // SAFETY: it may be called by any thread.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, FROM);
        }
    }

    #[expect(unsafe_code, reason = "a function of the C library")]
    pub fn give_back() {
        // SAFETY: it may be called by any thread, and only touches what is free.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// To be called once, when a process begins. A long video needs a tenth less.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::settle();
}

/// Gives back what is free.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::give_back();
}
