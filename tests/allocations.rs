//! Nothing is allocated on the way to a 401 or 304 through the whole memory store, and nothing at all in `decide` for any verdict, nor by a reader of the
//! index. An index that is written to for long holds no more than at first.

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
    /// Bytes that this thread took and did not give back.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged; counting touches thread-local numbers that need no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        HELD.set(HELD.get() + layout.size() as i64);
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as i64);
        // SAFETY: the caller's pointer and layout, passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        HELD.set(HELD.get() + size as i64 - layout.size() as i64);
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

/// Each way of asking, after one round for what is made once and for all: the counters of a product.
#[test]
fn a_reader_of_the_index_allocates_nothing_for_any_reason() {
    let mut seen = BTreeMap::<&str, u32>::new();
    for seed in 0..600 {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let fleet = translate::fleet_spec(&world).build().unwrap();
        let index = Index::new(&fleet);
        let mut reader = index.reader();
        let asks: Vec<Ask> = (0..20).map(|_| draw::ask(draw, &world)).collect();
        let check_ins: Vec<CheckIn<'_>> = asks.iter().map(translate::check_in).collect();
        let now = Timestamp::from_millis(asks[0].now);
        let mut reasons = vec![Reason::Serve; asks.len()];
        reader.decide_batch(&check_ins, now, &mut reasons, |decision| decision.reason);
        reader.decide(&CheckIn::new(b"a guess", b"1"), now, &mut NoTrace);
        for (round, check_in) in check_ins.iter().enumerate() {
            let hash = KeyHash::of(check_in.key).unwrap();
            let (reason, count) = allocations(|| reader.decide(check_in, now, &mut NoTrace).reason);
            assert_eq!(count, 0, "seed {seed}: {reason} allocates: {check_in:?}");
            let (reason, count) = allocations(|| reader.decide_known(&hash, check_in, now, &mut NoTrace).reason);
            assert_eq!(count, 0, "seed {seed}: {reason} allocates by the hash of the key: {check_in:?}");
            *seen.entry(reason.name()).or_default() += 1;
            // A guess that nobody made before, in the revision that nobody asked before.
            let guess = format!("guess {round}");
            let entry = fleet.products().next().unwrap();
            let product = entry.product().id().clone();
            let device = DeviceSpec { serial: format!("{round}1"), group: "default".into(), ..Default::default() };
            let before = index.revision();
            let changed = index.apply(&[Change::PutDevice { product, device }]).is_ok_and(|now| now > before);
            let stranger = CheckIn { key: guess.as_bytes(), ..*check_in };
            let (decision, count) = allocations(|| reader.decide(&stranger, now, &mut NoTrace).revision);
            assert_eq!((decision > before, count), (changed, 0), "seed {seed}: a stranger, after a change {changed}");
        }
        let batch = || reader.decide_batch(&check_ins, now, &mut reasons, |decision| decision.reason);
        let ((), count) = allocations(batch);
        assert_eq!(count, 0, "seed {seed}: a batch allocates");
    }
    // A penalty is a ledger's to give.
    let missed: Vec<_> = (Reason::ALL.iter().filter(|reason| **reason != Reason::Penalty))
        .filter(|reason| !seen.contains_key(reason.name()))
        .collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
}

/// The same over and over, with a reader that asks, one that does not, and a snapshot taken and given back.
#[test]
fn an_index_that_is_written_to_for_long_holds_no_more_than_at_first() {
    let world = draw::world(&mut Draw(3));
    let index = Index::new(&translate::fleet_spec(&world).build().unwrap());
    let (mut reader, _idle) = (index.reader(), index.reader());
    let product = ProductId::new("p").unwrap();
    let spec = index.snapshot().spec().products[0].clone();
    let group = |name: &str| GroupId::new(name).unwrap();
    let mut live = |round: i64| {
        let serial = format!("{:04}1", 1_000 + round % 500);
        let (at, product) = (Timestamp::from_millis(round), product.clone());
        let device = DeviceSpec {
            serial: serial.clone(),
            state: DeviceState::Verified,
            group: "default".into(),
            version: Some(format!("1.{}", round % 7)),
            ..Default::default()
        };
        let mut keys = spec.product.clone();
        keys.keys[0].not_after = Some(Timestamp::from_millis(draw::NOW + round % 2));
        let changes = match round % 6 {
            0..=2 => vec![
                Change::PutDevice { product: product.clone(), device },
                Change::MoveDevice { product, serial, group: group("canary"), at },
            ],
            3 => vec![Change::RemoveDevice { product, serial }],
            4 => vec![Change::PutProduct { product: keys }],
            _ => vec![Change::CapDownloads { product, group: group("default"), downloads_max: Some(round as u32 % 5) }],
        };
        // One that is refused leaves nothing either.
        let _ = index.apply(&changes);
        let snapshot = index.snapshot();
        let ask = CheckIn::new(b"p-key", b"10001");
        assert_eq!(reader.decide(&ask, at, &mut NoTrace).revision, snapshot.revision());
    };
    // A whole number of rounds, so that the same devices are there before and after.
    (0..6_000).for_each(&mut live);
    let before = HELD.get();
    (6_000..18_000).for_each(&mut live);
    let grown = HELD.get() - before;
    assert!(grown < 64 << 10, "{grown} bytes more after 12 000 further batches");
}
