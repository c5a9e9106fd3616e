//! What do other engines take for the same check-ins?
//!
//! ```text
//!   check-in ──▶ is the key known? ──▶ is the device known, and verified? ──▶ older, and within 25 %? ──▶ serve: 10 %
//!   key, serial, version                                                      └─ otherwise ─────────────▶ 304:   90 %
//! ```
//!
//! Dimensions: engine. Fixed: 100 k devices with random serials, one product, one group, one rollout, one thread; a fleet is held, never changed.
//! Each round asks every verified device once, in one random order, so look-ups do not depend on each other; the engines take turns round by round, and a
//! figure is the median of rounds. Two in five devices report the older version, whatever their rank.
//!
//! Every answer is asserted. Engines that are given our ranks must serve exactly whom we serve. Engines with a hash of their own draw another quarter: the
//! share that they serve must be ours within one percentage point, nobody on the target is served, and each round must repeat the first. Before
//! the clock starts, everyone is asked for devices with a wrong key, unknown ones and blocked ones, and must serve none.
//!
//! What is unfair is said where each engine is: most answer a smaller question than we do, and only we say which artifact. A new subject is a file beside
//! these, `mod` and one line in [`subjects`].
//!
//! `make bench-peers`

mod cedar;
mod hashmap;
mod index;
mod launchdarkly;
mod lmdb;
mod memory;
mod question;
mod sqlite;
mod yggdrasil;

#[path = "../../common/mod.rs"]
mod common;

use common::median;
use question::{Ask, World};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const ROUNDS: usize = 15;

/// One engine, loaded with the world's fleet.
trait Subject {
    /// Its name in the table and in the keys of the summary.
    fn name(&self) -> &'static str;
    /// The package whose locked version the table shows; none is the standard library.
    fn package(&self) -> Option<&'static str>;
    /// Whose quarter it serves.
    fn quarter(&self) -> Quarter;
    /// Is this check-in served?
    fn decide(&mut self, ask: &Ask) -> bool;
}

/// By what an engine draws the devices of the rollout.
#[derive(Clone, Copy, PartialEq)]
enum Quarter {
    /// By our ranks, computed or stored: exactly ours.
    Ours,
    /// By its own hash of the serial: of the same size, more or less.
    ItsOwn,
}

/// The index comes first: the others are compared with it.
fn subjects(world: &World) -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(index::Indexed::new(world)),
        Box::new(memory::Memory::new(world)),
        Box::new(hashmap::HashMaps::new(world)),
        Box::new(yggdrasil::Yggdrasil::new(world)),
        Box::new(launchdarkly::LaunchDarkly::new(world)),
        Box::new(cedar::Cedar::new(world)),
        Box::new(sqlite::Sqlite::new(world)),
        Box::new(lmdb::Lmdb::new(world)),
    ]
}

fn main() {
    let world = World::new();
    let mut subjects = subjects(&world);
    let expected: Vec<Vec<bool>> = subjects.iter_mut().map(|subject| first_answers(subject.as_mut(), &world)).collect();

    let mut times = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for ((subject, expected), times) in subjects.iter_mut().zip(&expected).zip(&mut times) {
            let start = Instant::now();
            for (ask, served) in world.asks.iter().zip(expected) {
                assert_eq!(subject.decide(black_box(ask)), *served, "{} of {}", subject.name(), ask.serial);
            }
            times.push(start.elapsed().as_nanos() as f64 / world.asks.len() as f64);
        }
    }

    let times: Vec<f64> = times.into_iter().map(median).collect();
    let mut figures = BTreeMap::new();
    println!("{} devices, each asked once a round in random order; median of {ROUNDS} rounds\n", question::DEVICES);
    println!(
        "{:<14} {:>10} {:>16} {:>9} {:>9}   drawn by",
        "engine", "version", "ns per decision", "to index", "served"
    );
    for ((subject, expected), nanos) in subjects.iter().zip(&expected).zip(&times) {
        let (name, to_index) = (subject.name(), nanos / times[0]);
        let version = subject.package().map_or("std", locked_version);
        let drawn_by = if subject.quarter() == Quarter::Ours { "our rank" } else { "its own hash" };
        let served = 100.0 * share(expected);
        println!("{name:<14} {version:>10} {nanos:>16.0} {to_index:>8.2}x {served:>8.2}%   {drawn_by}");
        figures.insert(format!("peer_{name}_ns"), *nanos);
        if name != "index" {
            figures.insert(format!("peer_{name}_vs_index"), to_index);
        }
    }
    merge(figures);
}

/// Asks everything once, which warms up as well, and gives the answers that each round must repeat.
fn first_answers(subject: &mut dyn Subject, world: &World) -> Vec<bool> {
    let name = subject.name();
    for stranger in &world.strangers {
        assert!(!subject.decide(stranger), "{name} serves a stranger: {stranger:?}");
    }
    let answers: Vec<bool> = world.asks.iter().map(|ask| subject.decide(ask)).collect();
    match subject.quarter() {
        Quarter::Ours => assert!(answers == world.served, "{name} serves others than the ranks say"),
        Quarter::ItsOwn => {
            let (own, ours) = (share(&answers), share(&world.served));
            assert!((own - ours).abs() <= 0.01, "{name} serves a share of {own}, not {ours}");
            let there =
                world.asks.iter().zip(&answers).find(|(ask, served)| **served && ask.version == question::TARGET);
            assert!(there.is_none(), "{name} serves who is there already: {there:?}");
        }
    }
    answers
}

fn share(answers: &[bool]) -> f64 {
    answers.iter().filter(|served| **served).count() as f64 / answers.len() as f64
}

/// As this package's lock file has it, so that the table cannot name another version than was built.
fn locked_version(package: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).expect("a locked package");
    entry.split_once('"').expect("a version in quotes").0
}

/// Merges the figures into the summary of the library's own benches, keeping theirs. `common::Summary` would write below this package's target.
fn merge(figures: BTreeMap<String, f64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench/summary.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let held = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".into());
    let mut all: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&held).expect("summary.json is a flat object");
    let rounded = |figure: f64| serde_json::json!((figure * 1_000.0).round() / 1_000.0);
    all.extend(figures.into_iter().map(|(key, figure)| (key, rounded(figure))));
    std::fs::write(&path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
    println!("\nmerged into target/bench/summary.json");
}
