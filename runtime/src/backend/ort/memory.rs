//! The memory of calls on a processor: one [`Pool`] for all models of the process.
//!
//! ONNX Runtime would keep an arena for each session, as large as the session's peak, or ask the system for every
//! value anew, which costs a page fault for each 4 KiB. It takes an allocator that sessions share instead. Where there is
//! no memory, ONNX Runtime expects an exception, which its own allocator throws; so the call fails and not the process.

use std::alloc::{Layout, alloc as system_alloc, dealloc as system_free};
use std::ffi::c_void;
use std::mem;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::sys::{OrtAllocator, OrtMemoryInfo};

use super::pool::{LEAST, PAGE, Pool, rounded};

/// The key by which a session uses it.
pub(super) const SHARED: (&str, &str) = ("session.use_env_allocators", "1");

/// Bytes in front of a block that hold its size; blocks stay aligned to them.
const HEAD: usize = 64;

/// What ONNX Runtime calls, and what it needs; the table comes first, by which it is found.
#[repr(C)]
pub(super) struct Memory {
    table: OrtAllocator,
    described: MemoryInfo<'static>,
    /// ONNX Runtime's own, which is there as long as the process.
    own: *mut OrtAllocator,
    pool: Mutex<Pool<Block>>,
}

#[expect(unsafe_code, reason = "pointers to what is never freed or changed")]
// SAFETY: the table, the description and ONNX Runtime's allocator may be used by any thread, and nobody changes them.
unsafe impl Sync for Memory {}

/// A block that nobody uses, with its head, and its bytes if they are counted.
struct Block(*mut c_void, usize);

#[expect(unsafe_code, reason = "a pointer that has one owner")]
// SAFETY: memory belongs to no thread.
unsafe impl Send for Block {}

/// Gives out memory, or throws.
type Alloc = unsafe extern "system-unwind" fn(*mut OrtAllocator, usize) -> *mut c_void;
/// The same, as the table has it.
type Told = unsafe extern "system" fn(*mut OrtAllocator, usize) -> *mut c_void;
type Reserve = unsafe extern "system" fn(*const OrtAllocator, usize) -> *mut c_void;

impl Memory {
    /// Makes the pool that sessions of this environment may share; it lives as long as the process.
    #[expect(unsafe_code, reason = "a table of functions for a C library")]
    pub(super) fn register(environment: &Environment) -> Result<&'static Self, String> {
        let described = MemoryInfo::new(
            AllocationDevice::CPU,
            0,
            AllocatorType::Device,
            MemoryType::Default,
        );
        let described = described.map_err(|error| error.to_string())?;
        let api = ort::api();
        let mut own = ptr::null_mut();
        // SAFETY: the functions take these arguments; `own` is written before it is read. An allocator that throws passes
        // through functions whose ABI says so, which the table cannot tell and does not need to.
        unsafe {
            check((api.GetAllocatorWithDefaultOptions)(&raw mut own))?;
            let mut table = OrtAllocator::default();
            // The first version with `Reserve`: later ones ask for more functions.
            table.version = 18;
            table.Alloc = Some(mem::transmute::<Alloc, Told>(alloc));
            table.Free = Some(free);
            table.Reserve = Some(mem::transmute::<Alloc, Reserve>(reserve));
            table.Info = Some(info);
            let memory = Box::leak(Box::new(Self {
                table,
                described,
                own,
                pool: Mutex::new(Pool::new()),
            }));
            let table = (&raw mut *memory).cast();
            check((api.RegisterAllocator)(environment.ptr().cast_mut(), table))?;
            Ok(memory)
        }
    }

    /// Gives back what is kept for the next call.
    pub(super) fn rest(&self) {
        let kept = self.pool().rest();
        kept.for_each(|block| self.release(block));
    }

    fn pool(&self) -> MutexGuard<'_, Pool<Block>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another block, counted or not. Without memory an exception leaves it.
    fn make(&self, bytes: usize, counted: bool) -> Block {
        match counted && bytes >= 2 * PAGE {
            true => Block(
                pages(bytes).unwrap_or_else(|| self.own(usize::MAX / 2)),
                bytes,
            ),
            false => Block(self.own(bytes), if counted { bytes } else { 0 }),
        }
    }

    #[expect(unsafe_code, reason = "a call of a C library")]
    fn own(&self, bytes: usize) -> *mut c_void {
        // SAFETY: ONNX Runtime's allocator has this function, which may throw.
        unsafe {
            let alloc = (*self.own).Alloc.expect("every allocator allocates");
            mem::transmute::<Told, Alloc>(alloc)(self.own, bytes)
        }
    }

    #[expect(unsafe_code, reason = "calls of a C library")]
    fn release(&self, Block(at, bytes): Block) {
        // SAFETY: the block has no other owner, and was made by `make`, which decides by its size as well.
        unsafe {
            match Layout::from_size_align(bytes, PAGE) {
                Ok(layout) if bytes >= 2 * PAGE => system_free(at.cast(), layout),
                _ => (*self.own).Free.expect("every allocator frees")(self.own, at),
            }
        }
    }
}

/// Memory in large pages, where the system has them.
#[expect(unsafe_code, reason = "memory of the system")]
fn pages(bytes: usize) -> Option<*mut c_void> {
    let layout = Layout::from_size_align(bytes, PAGE).ok()?;
    // SAFETY: the layout is not empty; advice about memory of one's own changes nothing that is in it.
    unsafe {
        let at = system_alloc(layout).cast::<c_void>();
        #[cfg(target_os = "linux")]
        if !at.is_null() {
            libc::madvise(at, bytes, libc::MADV_HUGEPAGE);
        }
        (!at.is_null()).then_some(at)
    }
}

#[expect(unsafe_code, reason = "called by a C library")]
unsafe extern "system-unwind" fn alloc(this: *mut OrtAllocator, bytes: usize) -> *mut c_void {
    // SAFETY: ONNX Runtime gives back the table that it was given.
    let memory = unsafe { &*this.cast::<Memory>() };
    let whole = bytes.saturating_add(HEAD);
    if whole < LEAST {
        return headed(memory.make(whole, false));
    }
    let whole = rounded(whole).unwrap_or(usize::MAX);
    let taken = memory.pool().take(whole);
    if let Some(block) = taken {
        return headed(block);
    }
    let gone = memory.pool().make_room(whole);
    gone.into_iter().for_each(|block| memory.release(block));
    let block = memory.make(whole, true);
    memory.pool().made(whole);
    headed(block)
}

/// What stays for long is not counted, and goes back when it is freed.
#[expect(unsafe_code, reason = "called by a C library")]
unsafe extern "system-unwind" fn reserve(this: *mut OrtAllocator, bytes: usize) -> *mut c_void {
    // SAFETY: ONNX Runtime gives back the table that it was given.
    let memory = unsafe { &*this.cast::<Memory>() };
    headed(memory.make(bytes.saturating_add(HEAD), false))
}

#[expect(unsafe_code, reason = "called by a C library")]
unsafe extern "system" fn free(this: *mut OrtAllocator, at: *mut c_void) {
    if at.is_null() {
        return;
    }
    // SAFETY: ONNX Runtime gives back the table that it was given, and what it got by it.
    let (memory, block) = unsafe { (&*this.cast::<Memory>(), at.byte_sub(HEAD)) };
    // SAFETY: `headed` wrote there.
    match unsafe { block.cast::<usize>().read() } {
        0 => memory.release(Block(block, 0)),
        counted => memory.pool().free(counted, Block(block, counted)),
    }
}

#[expect(unsafe_code, reason = "called by a C library")]
unsafe extern "system" fn info(this: *const OrtAllocator) -> *const OrtMemoryInfo {
    // SAFETY: ONNX Runtime gives back the table that it was given.
    unsafe { (*this.cast::<Memory>()).described.ptr() }
}

/// Writes how many bytes of a block are counted, and gives out what follows.
#[expect(unsafe_code, reason = "memory of a C library")]
fn headed(Block(at, counted): Block) -> *mut c_void {
    // SAFETY: every block begins with a head of 64 bytes, aligned to as many.
    unsafe {
        at.cast::<usize>().write(counted);
        at.byte_add(HEAD)
    }
}

/// The words of a status that is an error.
#[expect(unsafe_code, reason = "calls of a C library")]
fn check(status: ort::sys::OrtStatusPtr) -> Result<(), String> {
    // SAFETY: a status that is not null is an error, whose words live as long as it does.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| error.to_string())
}
