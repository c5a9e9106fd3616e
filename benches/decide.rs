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

use common::{Random, Summary, medians};
use otagate::*;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hint::black_box;

const ASKS: usize = 4_096;
const ROUNDS: usize = 31;
const KEY: &[u8] = b"a-key-of-thirty-six-characters-or-so";

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
    let store = MemoryStore::new(fleet(&serials, group_of));
    let plain = RwLock::new(Plain::new(&serials, group_of));
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

fn fleet(serials: &[String], group_of: impl Fn(usize) -> &'static str) -> Fleet {
    let firmware = |version: &str| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 1,
            digests: Digests::blake3_of(b"image"),
            locator: version.into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let devices = serials.iter().enumerate().map(|(index, serial)| DeviceSpec {
        serial: serial.clone(),
        state: DeviceState::Verified,
        group: group_of(index).into(),
        ..Default::default()
    });
    let spec = FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: "thermostat".into(),
                keys: vec![ApiKey::new(KeyHash::of(KEY).unwrap())],
                serial_scheme: SerialScheme::Mac,
                versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
                ..Default::default()
            },
            firmware: vec![firmware("1.2.0"), firmware("1.4.0"), firmware("2.0.0")],
            groups: vec![
                GroupSpec { id: "stable".into(), firmware: Some("1.4.0".into()), ..Default::default() },
                GroupSpec { id: "empty".into(), ..Default::default() },
            ],
            devices: devices.collect(),
        }],
    };
    spec.build().unwrap()
}

/// What one would write first.
struct Plain {
    keys: HashMap<[u8; 32], (String, Option<i64>, Option<i64>)>,
    products: HashMap<String, PlainProduct>,
}

struct PlainProduct {
    devices: HashMap<String, (String, String)>,
    groups: HashMap<String, Option<String>>,
    firmware: HashMap<String, Vec<String>>,
}

impl Plain {
    fn new(serials: &[String], group_of: impl Fn(usize) -> &'static str) -> Self {
        let firmware = ["1.2.0", "1.4.0", "2.0.0"].map(|version| (version.to_owned(), vec![version.to_owned()]));
        let product = PlainProduct {
            devices: serials
                .iter()
                .enumerate()
                .map(|(index, serial)| (serial.clone(), ("verified".into(), group_of(index).into())))
                .collect(),
            groups: HashMap::from([("stable".into(), Some("1.4.0".into())), ("empty".into(), None)]),
            firmware: HashMap::from(firmware),
        };
        Self {
            keys: HashMap::from([(*blake3::hash(KEY).as_bytes(), ("thermostat".into(), None, None))]),
            products: HashMap::from([("thermostat".into(), product)]),
        }
    }

    fn decide(&self, ask: &CheckIn<'_>, now: Timestamp) -> u16 {
        let Some((product, from, end)) = self.keys.get(blake3::hash(ask.key).as_bytes()) else { return 401 };
        if from.is_some_and(|from| now.millis() < from) || end.is_some_and(|end| now.millis() >= end) {
            return 401;
        }
        let Some(product) = self.products.get(product) else { return 401 };
        let Ok(serial) = std::str::from_utf8(ask.serial) else { return 401 };
        let serial = serial.replace([':', '-', '.'], "").to_ascii_lowercase();
        if serial.len() != 12 || !serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return 401;
        }
        let Some((state, group)) = product.devices.get(&serial) else { return 401 };
        if state != "verified" {
            return 401;
        }
        let Some(Some(version)) = product.groups.get(group) else { return 404 };
        let Some(artifacts) = product.firmware.get(version) else { return 404 };
        let Ok(reported) = std::str::from_utf8(ask.version) else { return 304 };
        if reported.trim().eq_ignore_ascii_case(version) {
            return 304;
        }
        if artifacts.is_empty() { 404 } else { 200 }
    }
}
