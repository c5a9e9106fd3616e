//! What does a rollout cost: the census that opens a wave, each decision while it runs, and the ledger that keeps its account?
//!
//! Dimensions: devices (1 M, 10 M, all in one group) × the wave that is counted (the first 1 000 000, the first 10, 25 %), what is asked (a check-in of a device
//! whose wave is not open yet, in random order or always of the same thousand devices) or done (claims of fresh devices, the same again, reports). Fixed: one
//! product, random MACs as serials, a key of 36 bytes, semver, the target on nobody yet. Subjects take turns round by round. Every answer is asserted.
//!
//! Beside it:
//! - *hash*: `rank` of every serial, read side by side from memory, on as many threads, handed out in pieces as a census hands out its own: what a census has to
//!   pay, whatever it does.
//! - *pass*: `Snapshot::counts`, one thread: a pass over the same memory that looks at every slot and hashes nothing.
//! - *sorting*: all ranks hashed and sorted on one thread: what one would write first. *plain*: `ProductEntry::census` over the same fleet in plain maps.
//! - *without*: the same fleet in an index of its own whose group has no rollout; the same devices ask in the same order.
//!
//! `rollout_cost` is what a check-in in a partly open rollout takes, over what it takes without one: mainly the hash that is its rank. `attend_vs_decide` has
//! the index as a store and the plain ledger, over the fetch and `decide` alone. Keys without a size are those of 10 M, the ledger's of 1 M devices.
//!
//! `make bench ONLY=rollout` takes minutes and several gigabytes. With `OTAGATE_BENCH_SCALE=100` it has a hundredth of the devices, and writes nothing to the
//! summary.

#[path = "common/mod.rs"]
mod common;
#[path = "rollout/ledger.rs"]
mod ledger;
#[allow(dead_code, reason = "the index's bench uses the rest")]
#[path = "index/memory.rs"]
mod memory;
#[allow(dead_code, reason = "the index's bench uses the rest")]
#[path = "common/plain.rs"]
mod plain;
#[allow(dead_code, reason = "the index's bench uses the rest")]
#[path = "index/world.rs"]
mod world;

use common::{Random, Summary, medians};
use otagate::*;
use plain::PRODUCT;
use std::hint::black_box;
use std::sync::Mutex;
use world::{Serial, WINDOW, World, current, load, product, windows};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);
pub(crate) const GROUP: &str = "stable";
const SALT: &str = "r7";
/// How often a census is taken.
const CENSUSES: usize = 5;
const ROUNDS: usize = 15;
/// How many rounds ask others before the first ones come again.
const WINDOWS: usize = 16;
/// So many devices are in a near cache.
const NEAR: usize = 1_000;

fn main() {
    let scale: usize = std::env::var("OTAGATE_BENCH_SCALE").map_or(1, |scale| scale.parse().expect("a number"));
    let mut summary = Summary::default();
    for (size, devices) in [("10m", 10_000_000 / scale), ("1m", 1_000_000 / scale)] {
        phase(&format!("{size}: loading {devices} devices"));
        let world = World::random(devices);
        let index = index(&world);
        phase(&format!("{size}: the census of a wave"));
        census(size, &index, &world, &mut summary);
        phase(&format!("{size}: check-ins while a rollout runs"));
        decisions(size, index, &world, &mut summary);
    }
    warm(&mut summary);
    ledger::measure(1_000_000 / scale, &mut summary);
    if scale == 1 {
        summary.write();
    }
}

pub(crate) fn phase(name: &str) {
    println!("\n== {name}");
}

pub(crate) fn group() -> GroupId {
    GroupId::new(GROUP).expect("a name")
}

/// All devices in one group.
pub(crate) fn index(world: &World) -> Index {
    let rows: Vec<DeviceRow<'_>> = world.rows().into_iter().map(|row| DeviceRow { group: GROUP, ..row }).collect();
    load(&rows).0
}

/// A draft whose first wave has that size.
fn draft(index: &Index, first: WaveSize) {
    let target = TargetSpec::Firmware("2.0.0".into());
    let rollout = RolloutSpec::new(SALT, target, vec![Wave::new(first), Wave::new(WaveSize::All)]);
    index.apply(&[Change::PutRollout { product: product(), group: group(), rollout }]).expect("a draft");
}

/// Starts a rollout whose first wave is a tenth of the devices, and opens that; gives the threshold.
pub(crate) fn start(index: &Index) -> u64 {
    draft(index, WaveSize::ShareBps(1_000));
    let opened = index.snapshot().census(PRODUCT, GROUP, 0).expect("a census").opened(NOW);
    let rollout = RolloutId::new(SALT).expect("a name");
    index
        .apply(&[
            Change::StartRollout { product: product(), group: group(), rollout: rollout.clone(), at: NOW },
            Change::OpenWave { product: product(), group: group(), rollout, wave: 0, opened },
        ])
        .expect("a running rollout");
    opened.threshold.expect("somebody is in")
}

fn census(size: &str, index: &Index, world: &World, summary: &mut Summary) {
    let devices = world.len();
    let most = u32::try_from(devices / 10).expect("some");
    let sizes = [WaveSize::First(most), WaveSize::First(10), WaveSize::ShareBps(2_500)];
    let counted = [u64::from(most), 10, (devices as u64).div_ceil(4)];
    let held = sizes.map(|size| {
        draft(index, size);
        index.snapshot()
    });
    let mut takers = [0, 1, 2].map(|at| {
        let (snapshot, counted) = (held[at].clone(), counted[at]);
        move || {
            let census = snapshot.census(PRODUCT, GROUP, 0).expect("a census");
            assert_eq!((census.eligible, census.counted), (devices as u64, counted));
        }
    });
    let [first, few, share] = &mut takers;
    let snapshot = index.snapshot();
    let mut pass = || {
        assert_eq!(snapshot.counts().iter().map(|count| count.devices).sum::<u64>(), devices as u64);
    };
    let mut scan = || {
        let mut verified = 0;
        snapshot.scan(PRODUCT, Some(GROUP), |member| {
            verified += usize::from(member.state() == DeviceState::Verified && !member.serial().as_str().is_empty());
        });
        assert_eq!(verified, devices);
    };
    let mut hashed = || assert_ne!(hash_all(world), 0);
    let [first, few, share, pass, scan, hash] =
        medians(CENSUSES, 1_000_000, [first, few, share, &mut pass, &mut scan, &mut hashed]);
    summary.put(format!("census_{size}_ms"), first);
    summary.put(format!("census_{size}_first_10_ms"), few);
    summary.put(format!("census_{size}_share_ms"), share);
    summary.put(format!("census_{size}_pass_ms"), pass);
    summary.put(format!("census_{size}_scan_ms"), scan);
    summary.put(format!("census_{size}_hash_ms"), hash);
    summary.put(format!("census_{size}_vs_pass"), first / pass);
    summary.put(format!("census_{size}_vs_hash"), first / hash);
    summary.put(format!("census_{size}_first_10_vs_hash"), few / hash);
    summary.put(format!("census_{size}_share_vs_hash"), share / hash);
    if size == "1m" {
        beside_plain(&held[0], world, most, summary);
    }
}

/// The hash of everybody, on all threads.
fn hash_all(world: &World) -> u64 {
    let pieces = Mutex::new((0..world.len()).step_by(65_536));
    let work = || {
        let mut all = 0;
        loop {
            let from = pieces.lock().expect("no panic").next();
            let Some(from) = from else { return all };
            let to = world.len().min(from + 65_536);
            all ^= (from..to).map(|device| rank(SALT, PRODUCT, world.serial(device))).fold(0, |all, rank| all ^ rank);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others.into_iter().fold(mine, |all, other| all ^ other.join().expect("no panic"))
    })
}

fn beside_plain(snapshot: &Snapshot, world: &World, counts: u32, summary: &mut Summary) {
    let fleet = snapshot.to_fleet();
    let threshold = snapshot.census(PRODUCT, GROUP, 0).expect("a census").threshold;
    let mut ours = || assert_eq!(snapshot.census(PRODUCT, GROUP, 0).expect("a census").threshold, threshold);
    let mut plain = || {
        let entry = fleet.product(PRODUCT).expect("a product");
        assert_eq!(entry.census(GROUP, 0).expect("a census").threshold, threshold);
    };
    let mut sorting = || {
        let mut ranks: Vec<u64> = (0..world.len()).map(|at| rank(SALT, PRODUCT, world.serial(at))).collect();
        ranks.sort_unstable();
        assert_eq!(Some(ranks[counts as usize - 1]), threshold);
    };
    let [ours, plain, sorting] = medians(CENSUSES, 1_000_000, [&mut ours, &mut plain, &mut sorting]);
    summary.put("census_1m_plain_ms", plain);
    summary.put("census_1m_sorting_ms", sorting);
    summary.put("census_1m_vs_plain", ours / plain);
    summary.put("census_1m_vs_sorting", ours / sorting);
}

/// Devices whose wave is not open yet, at random.
pub(crate) fn waiting(world: &World, threshold: u64, many: usize) -> Vec<Serial> {
    let mut random = Random(11);
    std::iter::from_fn(|| Some(world.serial(random.next() as usize % world.len())))
        .filter(|serial| rank(SALT, PRODUCT, serial) > threshold)
        .map(|serial| serial.as_bytes().try_into().expect("a MAC"))
        .take(many)
        .collect()
}

/// A round of decisions, all for the same reason.
fn round<'a>(
    index: &Index,
    mut windows: impl Iterator<Item = &'a [Serial]>,
    told: Reason,
    times: usize,
) -> impl FnMut() {
    let mut reader = index.reader();
    move || {
        let serials = windows.next().expect("a window");
        for serial in (0..times).flat_map(|_| serials) {
            let decision = reader.decide(black_box(&current(serial)), NOW, &mut NoTrace);
            assert_eq!(decision.reason, told);
        }
    }
}

fn decisions(size: &str, with: Index, world: &World, summary: &mut Summary) {
    let without = index(world);
    let serials = waiting(world, start(&with), WINDOW * WINDOWS);
    let mut a = round(&with, windows(&serials, 0, 2), Reason::WaveNotOpen, 1);
    let mut b = round(&without, windows(&serials, 1, 2), Reason::Current, 1);
    let [with, without] = medians(ROUNDS, WINDOW, [&mut a, &mut b]);
    summary.put(format!("rollout_304_{size}_ns"), with);
    summary.put(format!("without_rollout_304_{size}_ns"), without);
    summary.put(format!("rollout_cost_{size}"), with / without);
    if size == "10m" {
        summary.put("rollout_cost", with / without);
    }
}

fn warm(summary: &mut Summary) {
    phase("check-ins of the same thousand devices");
    let world = World::random(NEAR);
    let (with, without) = (index(&world), index(&world));
    let serials = waiting(&world, start(&with), NEAR);
    let near = || std::iter::repeat(&serials[..]);
    let mut a = round(&with, near(), Reason::WaveNotOpen, 100);
    let mut b = round(&without, near(), Reason::Current, 100);
    let [with, without] = medians(ROUNDS, NEAR * 100, [&mut a, &mut b]);
    summary.put("rollout_304_warm_ns", with);
    summary.put("without_rollout_304_warm_ns", without);
    summary.put("rollout_cost_warm", with / without);
}
