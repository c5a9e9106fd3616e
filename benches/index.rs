//! What do a decision, a change and a device cost in the index, with millions of devices?
//!
//! Dimensions: devices (1 M, 10 M) × what is asked (one check-in, 256 at once, with a key hashed before, without
//! counters, with a trace; each verdict; each look-up waiting for the last answer) or done (load, one device changed, a
//! group assigned). Fixed: one product, MAC serials (random, but for the hostile ones), a key of 36 bytes, semver,
//! three firmwares, 15 devices of 16 in a group with firmware, every device with a last known version. A single
//! decision is the whole way with key, serial and version given as bytes. A round asks 65 536 devices at random, and
//! sixteen rounds go by before they are asked again; subjects take turns round by round and are never near each other
//! in the list, so that nobody's devices wait in a near cache. Where nothing else is said, look-ups do not depend on
//! each other. Every answer is asserted.
//!
//! Beside it:
//! - *plain*: nested `HashMap<String, ..>` under a `parking_lot::RwLock`, one lock taken per decision. Unfair to us: it
//!   reads no grammar but one spelling of a MAC, and asks for no pin, cap, policy, window or hardware. Unfair to it: it
//!   hashes the key every time, and its strings are where the allocator put them.
//! - *floor*: `hashbrown::HashTable` of 16-byte entries, MAC and payload side by side, and foldhash: a bare look-up,
//!   given the MAC as a number. It knows no key, product, state, group or version, and nobody may write. `text`: it
//!   turns twelve hex digits into that number first, without asking whether they are digits.
//!
//! Bytes per device are what the load added, the empty index included: by the allocator's account (bytes asked for), by
//! the kernel's (resident), by the index's own. Readers beside a writer: sixteen decisions are timed as one sample,
//! since a clock costs as much as a fraction of one; quantiles are of samples, divided by sixteen. Phases alone and
//! beside the writer alternate; the writer's devices are others than the reader's. Hostile serials (1 M): the worst
//! ratio of those families.
//!
//! What takes turns also shares the caches: the same decision costs more between plain maps than between its like, so a
//! figure is to be compared with those of its own phase. A machine with a large last cache flatters all of them, the
//! smaller structure least. Keys without a size are those of 10 M, but for the costs of counters and of a trace, which
//! are those of 1 M, where they weigh most.
//!
//! `make bench ONLY=index` takes minutes and several gigabytes. With `OTAGATE_BENCH_SCALE=100` it has a hundredth of
//! the devices, and writes nothing to the summary.

#[path = "index/cells.rs"]
mod cells;
#[path = "common/mod.rs"]
mod common;
#[path = "index/floor.rs"]
mod floor;
#[path = "index/hostile.rs"]
mod hostile;
#[path = "index/memory.rs"]
mod memory;
#[path = "common/plain.rs"]
mod plain;
#[path = "index/world.rs"]
mod world;
#[path = "index/writes.rs"]
mod writes;

use common::{Random, Summary, median, medians};
use floor::{Floor, pack, payload};
use memory::Held;
use otagate::*;
use parking_lot::RwLock;
use plain::{KEY, Plain};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;
use world::{Asked, Serial, WINDOW, World, current, load, windows};

const ROUNDS: usize = 31;
const LOADS: usize = 3;
/// How many check-ins stand in one batch.
const BATCH: usize = 256;
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);

fn main() {
    let scale: usize = std::env::var("OTAGATE_BENCH_SCALE").map_or(1, |scale| scale.parse().expect("a number"));
    let mut summary = Summary::default();
    // The large one first: what is resident is read before anything was given back.
    for (size, devices) in [("10m", 10_000_000 / scale), ("1m", 1_000_000 / scale)] {
        bench(size, devices, &mut summary);
    }
    hostile_serials(1_000_000 / scale, &mut summary);
    phase("ways to share one pointer");
    cells::measure(&mut summary);
    if scale == 1 {
        summary.write();
    }
}

fn phase(name: &str) {
    println!("\n== {name}");
}

fn bench(size: &str, devices: usize, summary: &mut Summary) {
    phase(&format!("{size}: loading {devices} devices"));
    let world = World::random(devices);
    let (index, plain) = loads(size, &world, summary);
    let stable = world.asked(&mut Random(7), "stable");

    phase(&format!("{size}: beside plain maps and the floor"));
    let floor = Floor::new(&world.macs);
    beside(size, &index, &plain, &floor, &stable, summary);
    drop(plain);
    dependent(size, &index, &floor, &stable, summary);
    drop(floor);

    phase(&format!("{size}: ways to ask"));
    ways(size, &index, &stable, summary);
    scaling(size, &index, stable.serials(), summary);

    phase(&format!("{size}: verdicts"));
    verdicts(size, &index, &world, &stable, summary);

    phase(&format!("{size}: changes"));
    writes::change_one(size, &index, &world, summary);
    writes::assign_group(size, &index, &stable.serials()[0], summary);
    writes::readers_beside_a_writer(size, &index, &world, stable.serials(), summary);
}

/// Loads both, and says what each holds.
fn loads(size: &str, world: &World, summary: &mut Summary) -> (Index, RwLock<Plain>) {
    let rows = world.rows();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let each = rows.len() as f64;
    let mut held = |whose: &str, added: Held| {
        summary.put(format!("{whose}bytes_per_device_{size}"), added.allocated / each);
        // Later, what is added may stand where something else was.
        if let Some(resident) = added.resident.filter(|_| size == "10m") {
            summary.put(format!("{whose}bytes_per_device_rss_{size}"), resident / each);
        }
    };
    let fill = || {
        let start = Instant::now();
        let plain = RwLock::new(world.plain());
        (plain, start.elapsed().as_secs_f64())
    };
    // The first ones are weighed and kept, the others timed.
    let (added, (index, _)) = Held::by(|| load(&rows));
    held("", added);
    let (added, (plain, _)) = Held::by(fill);
    held("plain_", added);
    for _ in 0..LOADS {
        ours.push(load(&rows).1);
        theirs.push(fill().1);
    }
    summary.put(format!("bytes_per_device_own_account_{size}"), index.snapshot().bytes().total() as f64 / each);
    let (ours, theirs) = (median(ours), median(theirs));
    summary.put(format!("load_{size}_s"), ours);
    summary.put(format!("load_{size}_rows_per_s"), each / ours);
    summary.put(format!("load_plain_{size}_s"), theirs);
    summary.put(format!("load_vs_plain_{size}"), ours / theirs);
    (index, plain)
}

/// A round of single decisions.
fn single<'a>(
    mut reader: Reader,
    mut windows: impl Iterator<Item = &'a [Serial]>,
    mut ask: impl FnMut(&'a Serial) -> CheckIn<'a>,
    status: u16,
) -> impl FnMut() {
    move || {
        for serial in windows.next().expect("a window") {
            assert_eq!(reader.decide(black_box(&ask(serial)), NOW, &mut NoTrace).status(), status);
        }
    }
}

fn beside(size: &str, index: &Index, plain: &RwLock<Plain>, floor: &Floor, asked: &Asked, summary: &mut Summary) {
    let mut ours = single(index.reader(), asked.windows(0, 4), current, 304);
    let mut serials = asked.windows(1, 4);
    let mut theirs = || {
        for serial in serials.next().expect("a window") {
            assert_eq!(plain.read().decide(black_box(&current(serial)), NOW), 304);
        }
    };
    let mut macs = windows(&asked.macs, 2, 4);
    let mut ready = || {
        for mac in macs.next().expect("a window") {
            assert_eq!(floor.find(black_box(*mac)), Some(payload(*mac)));
        }
    };
    let mut texts = asked.windows(3, 4);
    let mut text = || {
        for serial in texts.next().expect("a window") {
            let mac = pack(black_box(serial));
            assert_eq!(floor.find(mac), Some(payload(mac)));
        }
    };
    let [ours, theirs, ready, text] = medians(ROUNDS, WINDOW, [&mut ours, &mut theirs, &mut ready, &mut text]);
    summary.put(format!("index_304_{size}_ns"), ours);
    summary.put(format!("plain_304_{size}_ns"), theirs);
    summary.put(format!("floor_ready_{size}_ns"), ready);
    summary.put(format!("floor_text_{size}_ns"), text);
    summary.put(format!("index_vs_plain_{size}"), ours / theirs);
    summary.put(format!("index_vs_floor_{size}"), ours / ready);
    summary.put(format!("index_vs_floor_text_{size}"), ours / text);
}

/// Which device is asked next hangs on what the last entry led to, so that nothing overlaps.
fn dependent(size: &str, index: &Index, floor: &Floor, asked: &Asked, summary: &mut Summary) {
    let (mut reader, serials, macs) = (index.reader(), asked.serials(), &asked.macs);
    let (mut at, mut mac_at) = (0, serials.len() / 2);
    let mut ours = || {
        for _ in 0..WINDOW {
            let decision = reader.decide(&current(&serials[at]), NOW, &mut NoTrace);
            assert_eq!(decision.status(), 304);
            // The firmware's address is found by way of the device's entry. It is even, which the compiler is not to know.
            let address = decision.meant.map_or(0, |meant| std::ptr::from_ref(meant).addr());
            at = (at + 1 + (black_box(address) & 1)) % serials.len();
        }
    };
    let mut theirs = || {
        for _ in 0..WINDOW {
            let mac = macs[mac_at];
            let difference = floor.find(mac).expect("it is there") ^ payload(mac);
            // It is nothing, which the compiler is not to know when it adds it: hence two of it.
            assert_eq!(black_box(difference), 0);
            mac_at = (mac_at + 1 + black_box(difference) as usize) % macs.len();
        }
    };
    let [ours, theirs] = medians(ROUNDS, WINDOW, [&mut ours, &mut theirs]);
    summary.put(format!("index_dependent_{size}_ns"), ours);
    summary.put(format!("floor_dependent_{size}_ns"), theirs);
    summary.put(format!("index_vs_floor_dependent_{size}"), ours / theirs);
}

fn ways(size: &str, index: &Index, asked: &Asked, summary: &mut Summary) {
    let mut one = single(index.reader(), asked.windows(0, 5), current, 304);
    let mut uncounted = single(index.reader().uncounted(), asked.windows(1, 5), current, 304);
    let (mut serials, mut reader) = (asked.windows(2, 5), index.reader());
    let (mut asks, mut answers) = ([current(&asked.serials()[0]); BATCH], [0; BATCH]);
    let mut batch = || {
        for serials in serials.next().expect("a window").chunks_exact(BATCH) {
            // A host's buffer, in which check-ins come and go.
            for (ask, serial) in asks.iter_mut().zip(serials) {
                ask.serial = serial;
            }
            reader.decide_batch(black_box(&asks), NOW, &mut answers, |decision| decision.status());
            assert!(answers.iter().all(|status| *status == 304));
            answers.fill(0);
        }
    };
    let (mut serials, mut reader, key) = (asked.windows(3, 5), index.reader(), KeyHash::of(KEY).unwrap());
    let mut known = || {
        for serial in serials.next().expect("a window") {
            let ask = current(serial);
            assert_eq!(reader.decide_known(&key, black_box(&ask), NOW, &mut NoTrace).status(), 304);
        }
    };
    let (mut serials, mut reader) = (asked.windows(4, 5), index.reader());
    let mut traced = || {
        for serial in serials.next().expect("a window") {
            let mut trace = Recorder::default();
            assert_eq!(reader.decide(black_box(&current(serial)), NOW, &mut trace).status(), 304);
            black_box(trace.steps().len());
        }
    };
    let before = counted(index, Reason::Current);
    let [one, uncounted, batch, known, traced] =
        medians(ROUNDS, WINDOW, [&mut one, &mut uncounted, &mut batch, &mut known, &mut traced]);
    assert_eq!(counted(index, Reason::Current) - before, (4 * (ROUNDS + 1) * WINDOW) as u64);
    summary.put(format!("single_304_{size}_ns"), one);
    summary.put(format!("batch_304_{size}_ns"), batch);
    summary.put(format!("known_key_304_{size}_ns"), known);
    summary.put(format!("batch_vs_single_{size}"), batch / one);
    summary.put(format!("known_key_vs_single_{size}"), known / one);
    summary.put(format!("counter_cost_{size}"), one / uncounted);
    summary.put(format!("trace_cost_{size}"), traced / one);
    if size == "1m" {
        summary.put("counter_cost", one / uncounted);
        summary.put("trace_cost", traced / one);
    }
}

fn counted(index: &Index, reason: Reason) -> u64 {
    index.verdicts().iter().filter(|count| count.reason == reason).map(|count| count.count).sum()
}

/// Two threads, each with its own reader and as many check-ins as the one.
fn scaling(size: &str, index: &Index, serials: &[Serial], summary: &mut Summary) {
    let run = |threads: usize| {
        let barrier = Barrier::new(threads);
        let ask_all = |first: usize| {
            let mut reader = index.reader();
            barrier.wait();
            let start = Instant::now();
            for serial in serials[first..].iter().chain(&serials[..first]) {
                assert_eq!(reader.decide(black_box(&current(serial)), NOW, &mut NoTrace).status(), 304);
            }
            (start, Instant::now())
        };
        let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
            let ask_all = &ask_all;
            let running: Vec<_> = (0..threads).map(|at| scope.spawn(move || ask_all(at * serials.len() / 2))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (start, end) = (spans.iter().map(|span| span.0).min(), spans.iter().map(|span| span.1).max());
        (end.unwrap() - start.unwrap()).as_secs_f64()
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        one.push(run(1));
        two.push(run(2));
    }
    let scaling = 2.0 * median(one) / median(two);
    summary.put(format!("scaling_2_threads_{size}"), scaling);
    if size == "10m" {
        summary.put("scaling_2_threads", scaling);
    }
}

fn verdicts(size: &str, index: &Index, world: &World, stable: &Asked, summary: &mut Summary) {
    let random = &mut Random(8);
    let (strangers, empty, wrong) = (world.strangers(), world.asked(random, "empty"), world::wrong_keys(random));
    let mut wrong = wrong.iter().cycle();
    let (same, fresh) =
        (wrong.next().expect("a key"), move |serial| CheckIn { key: wrong.next().expect("a key"), ..current(serial) });

    let mut usual = single(index.reader(), stable.windows(0, 6), current, 304);
    let mut same_key =
        single(index.reader(), stable.windows(1, 6), |serial| CheckIn { key: same, ..current(serial) }, 401);
    let mut fresh_key = single(index.reader(), stable.windows(2, 6), fresh, 401);
    let mut unknown = single(index.reader(), strangers.windows(3, 6), current, 401);
    let mut unassigned = single(index.reader(), empty.windows(4, 6), current, 404);
    let older = |serial| CheckIn { version: b"1.3.0", ..current(serial) };
    let mut served = single(index.reader(), stable.windows(5, 6), older, 200);
    let [usual, cases @ ..] = medians(
        ROUNDS,
        WINDOW,
        [&mut usual, &mut same_key, &mut fresh_key, &mut unknown, &mut unassigned, &mut served],
    );
    for (name, nanos) in ["401_key", "401_fresh_key", "401_device", "404", "serve"].iter().zip(cases) {
        summary.put(format!("index_{name}_{size}_ns"), nanos);
        summary.put(format!("index_{name}_vs_304_{size}"), nanos / usual);
    }
}

/// What a chosen set of serials makes worse, at its worst.
fn hostile_serials(devices: usize, summary: &mut Summary) {
    let random = World::random(devices);
    let (random_rows, random_asked) = (random.rows(), random.asked(&mut Random(9), "stable"));
    let random_index = load(&random_rows).0;
    let (mut worst_load, mut worst_304) = (0.0_f64, 0.0_f64);
    for (name, macs) in hostile::families(devices) {
        phase(&format!("hostile serials: {name}"));
        let world = World::of(macs);
        let rows = world.rows();
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..LOADS {
            for (times, rows) in times.iter_mut().zip([&rows, &random_rows]) {
                times.push(load(rows).1);
            }
        }
        let [ours, usual] = times.map(median);
        let index = load(&rows).0;
        let asked = world.asked(&mut Random(9), "stable");
        let mut hostile = single(index.reader(), asked.windows(0, 1), current, 304);
        let mut random = single(random_index.reader(), random_asked.windows(0, 1), current, 304);
        let [hostile, random] = medians(ROUNDS, WINDOW, [&mut hostile, &mut random]);
        println!("load {:.3}, 304 {:.3} of random serials", ours / usual, hostile / random);
        worst_load = worst_load.max(ours / usual);
        worst_304 = worst_304.max(hostile / random);
    }
    summary.put("hostile_vs_random_load", worst_load);
    summary.put("hostile_vs_random_304", worst_304);
}
