//! Nothing is allocated on the way to a 401 or 304 through the whole memory store, and nothing at all in `decide` for any verdict.

mod twin;

use otagate::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use twin::draw::{self, Draw};
use twin::translate::{self, WorldStore};
use twin::world::Ask;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local number that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's pointer and layout, passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's pointer, layout and size, passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<R>(run: impl FnOnce() -> R) -> (R, u64) {
    let before = COUNT.get();
    let result = run();
    (result, COUNT.get() - before)
}

#[test]
fn the_counter_counts() {
    let (_kept, count) = allocations(|| std::hint::black_box(vec![1u8; 100]));
    assert_eq!(count, 1);
}

#[test]
fn decide_allocates_nothing_for_any_verdict() {
    let mut seen = BTreeMap::<&str, u32>::new();
    for seed in 0..600 {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let store = WorldStore::new(&world);
        for _ in 0..20 {
            let ask = draw::ask(draw, &world);
            let check_in = translate::check_in(&ask);
            let found = store::fetch(&store, &check_in).unwrap();
            let now = Timestamp::from_millis(ask.now);
            let (reason, count) = allocations(|| decide(&found.facts(), &check_in, now, &mut NoTrace).reason);
            assert_eq!(count, 0, "{reason} allocates: {ask:?}");
            *seen.entry(reason.name()).or_default() += 1;
        }
    }
    let missed: Vec<_> =
        Reason::ALL.iter().map(|reason| reason.name()).filter(|name| !seen.contains_key(name)).collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
}

#[test]
fn the_whole_way_through_the_memory_store_allocates_nothing() {
    let mut seen = BTreeMap::<u16, u32>::new();
    for seed in 0..600 {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let store = MemoryStore::new(translate::fleet_spec(&world).build().unwrap());
        let asks: Vec<Ask> = (0..20).map(|_| draw::ask(draw, &world)).collect();
        for ask in &asks {
            let (check_in, now) = (translate::check_in(ask), Timestamp::from_millis(ask.now));
            let whole = || store::answer(&store, &check_in, now, &mut NoTrace, |decision| decision.status()).unwrap();
            whole(); // once for what is made once and for all
            let (status, count) = allocations(whole);
            assert_eq!(count, 0, "{status} allocates: {ask:?}");
            *seen.entry(status).or_default() += 1;
        }
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [200, 304, 401, 404], "{seen:?}");
}
