//! Draws worlds and check-ins from a seed. Everything comes from small pools, so that equal, older and newer versions, the same serial in two
//! products, and times at the edge of a key meet often. Only what a load accepts is drawn (L3): the reference itself is asked what is equal and what is
//! above.

use super::reference;
use super::world::*;
use std::cmp::Ordering;

/// SplitMix64: a seed prints and replays anywhere.
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Clone>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len() as u64) as usize].clone()
    }

    pub fn some<T>(&mut self, once_in: u64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.once_in(once_in).then(|| make(self))
    }
}

/// Monday 2026-11-23, and times around it.
pub const NOW: i64 = 1_795_392_000_000;
const HOUR: i64 = 3_600_000;

fn time(draw: &mut Draw) -> i64 {
    match draw.below(4) {
        0 => NOW,
        1 => NOW + draw.below(3) as i64 - 1,
        2 => NOW + draw.below(14 * 24) as i64 * HOUR,
        _ => NOW + draw.below(14 * 24 * 3_600_000) as i64,
    }
}

pub fn versions(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "exact" => &["1", "1.0", "v1", "Beta", "beta", "2024-11-03", "fw-7", "x y", "A"],
        "semver" => &[
            "1.0.0",
            "v1.0.0",
            "1.0.0-rc.1",
            "1.0.0-RC.1",
            "1.0.0-rc.2",
            "1.0.0+5",
            "1.0.0+6",
            "1.1.0",
            "2.0.0",
            "fw-2.0.0",
            "10.0.0",
            "99999999999999999999.0.0",
            "1.0.0-alpha",
            "1.5.0",
        ],
        _ => &[
            "1",
            "1.0",
            "v1.0.0",
            "1.1",
            "1.01",
            "1.2.3.4",
            "2",
            "fw-2.0",
            "10",
            "1.10",
            "99999999999999999999",
            "1.5",
        ],
    }
}

const HEX: [&str; 4] = ["00", "a1", "b2", "ff"];

fn hex(draw: &mut Draw, bytes: usize) -> String {
    draw.of(&HEX).repeat(bytes)
}

fn digests(draw: &mut Draw, always: bool) -> Digests {
    let mut maybe = |bytes| if draw.once_in(2) { hex(draw, bytes) } else { String::new() };
    let (sha256, md5, blake3) = (maybe(32), maybe(16), maybe(32));
    let blake3 = if always && blake3.is_empty() { hex(draw, 32) } else { blake3 };
    Digests { blake3, sha256, md5 }
}

fn config(draw: &mut Draw) -> Document {
    let name = draw.of(&["{}", "{\"a\":1}", "[]"]).to_owned();
    let blake3 = blake3::hash(name.as_bytes()).to_string();
    Document { digests: Digests { blake3, ..digests(draw, false) }, name }
}

fn resources(draw: &mut Draw) -> Vec<Document> {
    let names = ["logo.png", "ca.pem", "é"];
    names
        .into_iter()
        .filter_map(|name| draw.some(2, |draw| Document { name: name.into(), digests: digests(draw, true) }))
        .collect()
}

pub fn serials(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "mac" => &["a4cf12345678", "a4cf12345679", "001122334455", "0000000000f0"],
        "hex" => &["a4cf12", "00a4cf12", "f0", "1"],
        "decimal" => &["12345678", "0012", "12", "7"],
        "opaque" => &["SN-1", "sn-1", "x", "é'; DROP TABLE", "F0"],
        _ => &["sn-1", "x", "ünit", "f0"],
    }
}

/// The same unit, as a device might spell it.
fn spelled(draw: &mut Draw, scheme: &str, canonical: &str) -> Vec<u8> {
    let pairs = |joint: &str| (0..6).map(|i| &canonical[2 * i..2 * i + 2]).collect::<Vec<_>>().join(joint);
    let text = match (scheme, draw.below(5)) {
        ("mac", 0) => pairs(":").to_uppercase(),
        ("mac", 1) => pairs("-"),
        ("mac", 2) => format!("{}.{}.{}", &canonical[..4], &canonical[4..8], &canonical[8..]),
        ("mac" | "hex", 3) => canonical.to_uppercase(),
        ("opaque-nocase", 0) => canonical.to_ascii_uppercase(),
        _ => canonical.to_owned(),
    };
    text.into_bytes()
}

pub fn world(draw: &mut Draw) -> World {
    World { products: ["p", "q"].into_iter().take(1 + draw.below(2) as usize).map(|id| product(draw, id)).collect() }
}

fn product(draw: &mut Draw, id: &str) -> Product {
    let serial_scheme = draw.of(&["opaque", "opaque-nocase", "mac", "hex", "decimal"]);
    let version_scheme = draw.of(&["exact", "semver", "semver", "dotted", "dotted"]);
    let placeholders = if draw.once_in(4) { vec![serials(serial_scheme)[0].to_owned()] } else { vec![] };
    let mut made = Product {
        id: id.into(),
        keys: keys(draw, id),
        serial_scheme,
        placeholders,
        version_scheme,
        prefixes: draw.of(&[vec![], vec!["v".to_owned()], vec!["V".to_owned(), "fw-".to_owned()]]),
        build_counts: draw.once_in(2),
        hold_empty: draw.once_in(3),
        hold_unreadable: draw.once_in(2),
        already_there: draw.of(&["either", "version", "digest"]),
        registers: draw.once_in(2),
        spread_secs: draw.of(&[0, 1, 600, 86_400]),
        poll_secs: draw.some(2, |draw| draw.of(&[60, 86_400])),
        groups: vec![],
        firmware: vec![],
        devices: vec![],
    };
    made.firmware = firmware(draw, &made);
    made.groups = ["default", "canary"].into_iter().map(|id| group(draw, &made, id)).collect();
    made.devices = devices(draw, &made);
    made
}

fn keys(draw: &mut Draw, id: &str) -> Vec<Key> {
    let mut keys =
        vec![Key { secret: format!("{id}-key").into_bytes(), revoked: false, not_before: None, not_after: None }];
    for other in ["-old", "-limited"] {
        let (start, end) = (time(draw), time(draw));
        keys.push(Key {
            secret: format!("{id}{other}").into_bytes(),
            revoked: draw.once_in(3),
            not_before: draw.some(2, |_| start),
            not_after: draw.some(2, |_| start.max(end) + 1),
        });
    }
    keys
}

/// Some of the pool that parse, no two equal.
fn firmware(draw: &mut Draw, p: &Product) -> Vec<Firmware> {
    let mut list: Vec<Firmware> = vec![];
    let ordered = p.version_scheme != "exact";
    for version in versions(p.version_scheme) {
        let parses = reference::equal(p, version.as_bytes(), version);
        if draw.once_in(3)
            || !parses
            || list.iter().any(|other| reference::equal(p, version.as_bytes(), &other.version))
        {
            continue;
        }
        let from = if ordered { draw.some(3, |draw| version_of(draw, p)) } else { None };
        list.push(Firmware {
            version: (*version).into(),
            from,
            stone: ordered && draw.once_in(2),
            denied: draw.once_in(8),
            artifacts: artifacts(draw, p, version),
        });
    }
    list
}

/// A version of the pool that parses.
fn version_of(draw: &mut Draw, p: &Product) -> String {
    let all: Vec<_> =
        versions(p.version_scheme).iter().filter(|version| reference::equal(p, version.as_bytes(), version)).collect();
    (*draw.of(&all)).to_string()
}

fn artifacts(draw: &mut Draw, p: &Product, version: &str) -> Vec<Artifact> {
    let mut list: Vec<Artifact> = vec![];
    for index in 0..1 + draw.below(4) {
        let from = draw.some(2, |draw| version_of(draw, p));
        let artifact = Artifact {
            hardware: draw.of(&[vec![], vec![], vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]]),
            base: if from.is_some() { digests(draw, false) } else { Digests::default() },
            from,
            digests: digests(draw, true),
            locator: format!("{version}/{index}"),
        };
        let clashes = |other: &Artifact| {
            let same_from = match (&artifact.from, &other.from) {
                (None, None) => true,
                (Some(a), Some(b)) => reference::equal(p, a.as_bytes(), b),
                _ => false,
            };
            let open = artifact.hardware.is_empty() || other.hardware.is_empty();
            same_from && (open || artifact.hardware.iter().any(|name| other.hardware.contains(name)))
        };
        if !list.iter().any(clashes) {
            list.push(artifact);
        }
    }
    list
}

/// A firmware of the catalogue, mostly; else one that dangles.
fn assigned(draw: &mut Draw, p: &Product) -> String {
    if p.firmware.is_empty() || draw.once_in(10) { version_of(draw, p) } else { draw.of(&p.firmware).version }
}

fn group(draw: &mut Draw, p: &Product, id: &str) -> Group {
    let ordered = p.version_scheme != "exact";
    Group {
        id: id.into(),
        baseline: (!draw.once_in(5)).then(|| assigned(draw, p)),
        forward_only: ordered && draw.once_in(3),
        cap: if ordered { draw.some(6, |draw| version_of(draw, p)) } else { None },
        window: draw.some(6, |draw| (0..1 + draw.below(2)).map(|_| span(draw)).collect()),
        downloads: draw.some(6, |draw| (draw.below(3) as u32, draw.below(3) as u32)),
        rollout: (!draw.once_in(3)).then(|| rollout(draw, p)),
        aborted: draw.some(4, |draw| (assigned(draw, p), draw.once_in(2))),
        config: draw.some(2, config),
        resources: draw.some(2, resources),
    }
}

fn span(draw: &mut Draw) -> Span {
    let from = draw.of(&[0, 60, 720, 1_439]);
    Span { weekday: draw.below(7) as u8, from, to: draw.of(&[30, 61, 1_000, 1_440]) }
}

fn rollout(draw: &mut Draw, p: &Product) -> Rollout {
    let state = draw.of(&["draft", "running", "running", "running", "paused", "paused", "cut", "completed", "aborted"]);
    let mut waves: Vec<Wave> = vec![];
    let sizes = [vec![Some(1)], vec![Some(1), Some(3)], vec![Some(2), None], vec![None]];
    let (mut open, mut threshold) = (state != "draft", None);
    for count in draw.of(&sizes) {
        open = open && !draw.once_in(3);
        if open && count.is_some() && !draw.once_in(5) {
            let drawn = if draw.once_in(8) { draw.of(&[0, u64::MAX]) } else { draw.next() };
            threshold = threshold.max(Some(drawn));
        }
        waves.push(Wave { count, open, threshold: if open { threshold } else { None } });
    }
    let pool: Vec<String> = serials(p.serial_scheme).iter().map(|serial| (*serial).to_owned()).collect();
    let pool: Vec<String> = pool.into_iter().filter(|serial| !p.placeholders.contains(serial)).collect();
    let first: Vec<String> = pool.iter().filter(|_| draw.once_in(6)).cloned().collect();
    let excluded = pool.iter().filter(|serial| !first.contains(serial) && draw.once_in(6)).cloned().collect();
    Rollout {
        id: draw.of(&["r7", "r8"]).into(),
        salt: draw.some(3, |draw| draw.of(&["canary-2026", ""]).into()),
        target: match draw.below(6) {
            0 => Target::Config(config(draw)),
            1 => Target::Resources(resources(draw)),
            _ => Target::Firmware(assigned(draw, p)),
        },
        state,
        waves,
        tail: draw.once_in(3),
        started_at: NOW,
        first,
        excluded,
        first_come_taken: draw.some(4, |draw| draw.below(4) as u32),
    }
}

fn devices(draw: &mut Draw, p: &Product) -> Vec<Device> {
    let above = |version: &str, cap: &Option<String>| {
        cap.as_ref()
            .is_some_and(|cap| reference::compare(p, version.as_bytes(), cap.as_bytes()) == Some(Ordering::Greater))
    };
    let mut list = vec![];
    for serial in serials(p.serial_scheme) {
        if p.placeholders.iter().any(|placeholder| placeholder == serial) || draw.once_in(6) {
            continue;
        }
        let group = draw.of(&["default", "default", "default", "canary", "canary", "gone"]);
        let cap = if p.version_scheme == "exact" { None } else { draw.some(8, |draw| version_of(draw, p)) };
        let group_cap = p.groups.iter().find(|of| of.id == group).and_then(|of| of.cap.clone());
        let pin = draw.some(6, |draw| assigned(draw, p)).filter(|pin| !above(pin, &cap) && !above(pin, &group_cap));
        list.push(Device {
            serial: (*serial).into(),
            state: if draw.once_in(8) { draw.of(&["new", "blocked", "disabled", "quota"]) } else { "verified" },
            group: group.into(),
            pin,
            cap,
            entered_at: NOW - 1 + draw.below(3) as i64,
            claim_expires_at: draw.some(4, time),
            download_expires_at: draw.some(6, time),
            penalty: draw.some(4, |draw| (assigned(draw, p), time(draw))),
        });
    }
    list
}

/// A check-in that mostly gets far.
pub fn ask(draw: &mut Draw, world: &World) -> Ask {
    let p = draw.of(&world.products);
    let key = match draw.below(12) {
        0 => b"nobody's".to_vec(),
        1 => draw.of(&p.keys).secret,
        2 => {
            let other = draw.of(&world.products);
            draw.of(&other.keys).secret
        }
        _ => p.keys[0].secret.clone(),
    };
    let serial = match draw.below(14) {
        0 => draw
            .of(&[&b""[..], b"0", b"00:00:00:00:00:00", b"fFf", b"a b", b"\xff", b"x\n", b"A4:CF-12:34:56:78"])
            .to_vec(),
        1 => draw.of(serials(p.serial_scheme)).as_bytes().to_vec(),
        _ if p.devices.is_empty() => b"12".to_vec(),
        _ => {
            let device = draw.of(&p.devices);
            spelled(draw, p.serial_scheme, &device.serial)
        }
    };
    let version = match draw.below(8) {
        0 => draw.of(&[&b""[..], b" \t", b"v", b"latest", b"1..2", b"\xff1", b"1.0.0\n", b" V1.0.0 "]).to_vec(),
        1..=3 if !p.firmware.is_empty() => draw.of(&p.firmware).version.into_bytes(),
        _ => draw.of(versions(p.version_scheme)).as_bytes().to_vec(),
    };
    let digest = draw.some(3, |draw| {
        let kind = draw.of(&["blake3", "sha256", "md5"]);
        let good = hex(draw, if kind == "md5" { 16 } else { 32 });
        let config = blake3::hash(draw.of(&["{}", "[]"]).as_bytes()).to_string();
        let sent =
            draw.of(&[good.clone(), good.to_uppercase(), good.clone(), config, "zz".into(), good[1..].to_owned()]);
        (kind, sent.into_bytes())
    });
    let want = match draw.below(8) {
        0 => Want::Config,
        1 => Want::ResourceList,
        2 => Want::Resource(draw.of(&["logo.png", "ca.pem", "é", "", "LOGO.PNG"]).as_bytes().to_vec()),
        _ => Want::Firmware,
    };
    let hardware = draw.of(&[&b""[..], b"", b"a", b"b", b"A", b"\xff"]).to_vec();
    Ask { key, serial, version, hardware, digest, want, now: time(draw) }
}
