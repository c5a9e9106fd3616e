//! What does one decision cost over the memory store?
//!
//! Dimensions: verdict (401 unknown key, 401 unknown device, 404, 304, serve, serve with a trace) × devices (1 k, 100 k). The whole way is timed: a view, the three
//! look-ups by key, serial and group given as bytes, the decision. Serials are random; each check-in asks another device, so look-ups do not depend on each other. The
//! yardstick beside it is what one would write first: nested `HashMap<String, ..>` under a `parking_lot::RwLock`, answering the same questions about the same fleet,
//! keys by their BLAKE3 too. Every answer is asserted.
//!
//! `make bench ONLY=decide`

#[path = "common/mod.rs"]
mod common;
#[path = "common/plain.rs"]
mod plain;

use common::{Random, Summary, medians};
use otagate::*;
use parking_lot::RwLock;
use plain::{KEY, Plain};
use std::hint::black_box;

const ASKS: usize = 4_096;
const ROUNDS: usize = 31;

fn main() {
    let mut summary = Summary::default();
    for (name, devices) in [("1k", 1_000), ("100k", 100_000)] {
        bench(name, devices, &mut summary);
    }
    summary.write();
}

struct Case {
    name: &'static str,
    key: &'static [u8],
    known: bool,
    group: &'static str,
    version: &'static [u8],
    status: u16,
}

const CASES: [Case; 5] = [
    Case {
        name: "401_key",
        key: b"another-key-of-thirty-six-characters",
        known: true,
        group: "stable",
        version: b"1.4.0",
        status: 401,
    },
    Case { name: "401_device", key: KEY, known: false, group: "stable", version: b"1.4.0", status: 401 },
    Case { name: "404", key: KEY, known: true, group: "empty", version: b"1.4.0", status: 404 },
    Case { name: "304", key: KEY, known: true, group: "stable", version: b"1.4.0", status: 304 },
    Case { name: "serve", key: KEY, known: true, group: "stable", version: b"1.3.0", status: 200 },
];

fn bench(size: &str, devices: usize, summary: &mut Summary) {
    let mut random = Random(7);
    let serials: Vec<String> = (0..devices).map(|_| format!("{:012x}", random.next() >> 16)).collect();
    let group_of = |index: usize| if index.is_multiple_of(8) { "empty" } else { "stable" };
    let specs = serials.iter().enumerate().map(|(index, serial)| DeviceSpec {
        serial: serial.clone(),
        state: DeviceState::Verified,
        group: group_of(index).into(),
        ..Default::default()
    });
    let store = MemoryStore::new(plain::fleet(specs.collect()));
    let rows = serials.iter().enumerate().map(|(index, serial)| (serial.as_str(), group_of(index), ""));
    let plain = RwLock::new(Plain::new(rows));
    let now = Timestamp::from_millis(1_795_392_000_000);

    for case in &CASES {
        let asked: Vec<String> = (0..ASKS)
            .map(|_| {
                loop {
                    let index = random.next() as usize % devices;
                    if !case.known {
                        break format!("{:012x}", random.next() >> 16);
                    }
                    if group_of(index) == case.group {
                        break serials[index].clone();
                    }
                }
            })
            .collect();
        let asks: Vec<CheckIn<'_>> = asked
            .iter()
            .map(|serial| CheckIn { version: case.version, ..CheckIn::new(case.key, serial.as_bytes()) })
            .collect();
        let mut ours = || {
            for ask in &asks {
                let status = store::answer(&store, black_box(ask), now, &mut NoTrace, |decision| decision.status());
                assert!(matches!(status, Ok(status) if status == case.status));
            }
        };
        let mut theirs = || {
            for ask in &asks {
                assert_eq!(plain.read().decide(black_box(ask), now), case.status);
            }
        };
        let mut traced = || {
            for ask in &asks {
                let mut trace = Recorder::default();
                let status = store::answer(&store, black_box(ask), now, &mut trace, |decision| decision.status());
                assert!(matches!(status, Ok(status) if status == case.status));
                black_box(trace.steps().len());
            }
        };
        let name = case.name;
        let [ours, theirs, traced] = medians(ROUNDS, ASKS, [&mut ours, &mut theirs, &mut traced]);
        summary.put(format!("decide_{name}_{size}_ns"), ours);
        summary.put(format!("decide_plain_{name}_{size}_ns"), theirs);
        summary.put(format!("decide_{name}_{size}_vs_plain"), ours / theirs);
        if name == "serve" {
            summary.put(format!("decide_serve_traced_{size}_ns"), traced);
            summary.put(format!("decide_trace_cost_{size}"), traced / ours);
        }
    }
}
