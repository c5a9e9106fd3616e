//! What is held: by the allocator's account, and by the kernel's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

struct Counting;

/// Bytes that were asked for and not given back, while they were counted.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// Off where times are taken: a trace allocates.
static ON: AtomicBool = AtomicBool::new(false);

/// Wraps where bytes are given back, and comes out right.
fn count(bytes: usize) {
    if ON.load(Relaxed) {
        LIVE.fetch_add(bytes, Relaxed);
    }
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged; counting touches static numbers that need no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(layout.size().wrapping_neg());
        // SAFETY: the caller's pointer and layout, passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.wrapping_sub(layout.size()));
        // SAFETY: the caller's pointer, layout and size, passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub(crate) struct Held {
    pub(crate) allocated: f64,
    /// Where the kernel says it.
    pub(crate) resident: Option<f64>,
}

impl Held {
    /// What `make` adds to what is held, and what it made.
    pub(crate) fn by<R>(make: impl FnOnce() -> R) -> (Self, R) {
        let resident = resident();
        LIVE.store(0, Relaxed);
        ON.store(true, Relaxed);
        let made = make();
        ON.store(false, Relaxed);
        let allocated = LIVE.load(Relaxed) as f64;
        (Self { allocated, resident: self::resident().zip(resident).map(|(now, then)| now - then) }, made)
    }
}

fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1_024.0)
}
