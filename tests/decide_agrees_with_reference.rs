//! The decision and a reference that was written from the rules alone give the same answers: on random fleets and check-ins, and on a complete table of
//! classes.

mod twin;

use proptest::prelude::*;
use std::collections::BTreeMap;
use twin::draw::{self, Draw, NOW};
use twin::reference;
use twin::translate::WorldStore;
use twin::world::*;

const WORLDS: u32 = 4_000;
const ASKS: usize = 25;

/// 100 000 pairs. A failure prints the seed, and the world and check-in that it draws.
#[test]
fn on_random_fleets_and_check_ins() {
    let seen = std::cell::RefCell::new(BTreeMap::<&str, u32>::new());
    let config = ProptestConfig { cases: WORLDS, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let ran = runner.run(&any::<u64>(), |seed| {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let store = WorldStore::new(&world);
        for _ in 0..ASKS {
            let ask = draw::ask(draw, &world);
            let (ours, theirs) = (store.answer(&ask), reference::answer(&world, &ask));
            prop_assert!(
                ours == theirs,
                "seed {seed}\ncrate     {ours:?}\nreference {theirs:?}\n{ask:?}\n{}\n{world:#?}",
                store.trace(&ask)
            );
            *seen.borrow_mut().entry(ours.reason).or_default() += 1;
        }
        Ok(())
    });
    if let Err(failure) = ran {
        panic!("{failure}");
    }
    // A generator that never gets far would agree about nothing: every reason is met.
    let seen = seen.into_inner();
    let missed: Vec<_> =
        otagate::Reason::ALL.iter().map(|reason| reason.name()).filter(|name| !seen.contains_key(name)).collect();
    println!("{} pairs, reasons met: {seen:?}", WORLDS as usize * ASKS);
    assert!(missed.is_empty(), "never met: {missed:?}");
}

/// Every class of key × state × group × pin × firmware × policy × stone × wave × version × digest.
#[test]
fn on_the_complete_table_of_classes() {
    let mut rows = 0u64;
    let mut reasons = BTreeMap::<&str, u64>::new();
    for state in ["unknown", "new", "verified", "blocked", "disabled", "quota"] {
        for group in ["stable", "gone"] {
            for pin in [None, Some("1.5.0"), Some("7.7.7")] {
                for firmware in ["none", "fine", "denied", "dangling", "hardware"] {
                    for forward_only in [false, true] {
                        for stone in ["not needed", "there", "missing"] {
                            for wave in ["no rollout", "in", "out", "paused in", "paused out", "cut in"] {
                                let world = table_world(state, group, pin, firmware, forward_only, stone, wave);
                                let store = WorldStore::new(&world);
                                for ask in table_asks() {
                                    let (ours, theirs) = (store.answer(&ask), reference::answer(&world, &ask));
                                    let row = (state, group, pin, firmware, forward_only, stone, wave);
                                    assert_eq!(ours, theirs, "{row:?}\n{ask:?}\n{}", store.trace(&ask));
                                    *reasons.entry(ours.reason).or_default() += 1;
                                    rows += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    println!("{rows} rows: {reasons:?}");
    assert_eq!(rows, 6 * 2 * 3 * 5 * 2 * 3 * 6 * (5 * 5 * 2), "the table is complete");
}

fn table_world(
    state: &'static str,
    group: &str,
    pin: Option<&str>,
    firmware: &str,
    forward_only: bool,
    stone: &str,
    wave: &str,
) -> World {
    let digest = |byte: &str| Digests { blake3: byte.repeat(32), sha256: String::new(), md5: String::new() };
    let full = |version: &str, hardware: &[&str], byte: &str| Artifact {
        hardware: hardware.iter().map(|name| (*name).to_owned()).collect(),
        from: None,
        base: Digests::default(),
        digests: digest(byte),
        locator: version.into(),
    };
    let one = |version: &str| Firmware {
        version: version.into(),
        from: None,
        stone: false,
        denied: false,
        artifacts: vec![full(version, &[], "a1")],
    };
    let mut baseline = one("2.0.0");
    baseline.denied = firmware == "denied";
    if firmware == "hardware" {
        baseline.artifacts = vec![full("2.0.0", &["other"], "a1")];
    }
    baseline.from = (stone != "not needed").then(|| "1.2.0".into());
    let mut list = vec![one("1.5.0"), one("3.0.0")];
    list.extend((firmware != "dangling").then_some(baseline));
    list.extend((stone == "there").then(|| Firmware { stone: true, ..one("1.3.0") }));
    let key =
        |secret: &str, revoked, not_before, not_after| Key { secret: secret.into(), revoked, not_before, not_after };
    let rollout = (wave != "no rollout").then(|| Rollout {
        id: "r7".into(),
        salt: None,
        target: Target::Firmware("3.0.0".into()),
        state: if wave.starts_with("paused") {
            "paused"
        } else if wave.starts_with("cut") {
            "cut"
        } else {
            "running"
        },
        waves: vec![
            Wave { count: Some(1), open: true, threshold: Some(if wave.ends_with("in") { u64::MAX } else { 0 }) },
            Wave { count: None, open: false, threshold: None },
        ],
        tail: false,
        started_at: NOW,
        first: vec![],
        excluded: vec![],
        first_come_taken: None,
    });
    let device = Device {
        serial: "unit".into(),
        state,
        group: group.into(),
        pin: pin.map(Into::into),
        cap: None,
        entered_at: 0,
        claim_expires_at: None,
        download_expires_at: None,
        penalty: None,
    };
    World {
        products: vec![Product {
            id: "p".into(),
            keys: vec![
                key("valid", false, None, None),
                key("revoked", true, None, None),
                key("early", false, Some(NOW + 1), None),
                key("late", false, None, Some(NOW)),
            ],
            serial_scheme: "opaque",
            placeholders: vec![],
            version_scheme: "semver",
            prefixes: vec![],
            build_counts: false,
            hold_empty: false,
            hold_unreadable: true,
            already_there: "either",
            registers: true,
            spread_secs: 600,
            poll_secs: Some(300),
            groups: vec![Group {
                id: "stable".into(),
                baseline: (firmware != "none").then(|| "2.0.0".into()),
                forward_only,
                rollout,
                ..Group::default()
            }],
            firmware: list,
            devices: if state == "unknown" { vec![] } else { vec![device] },
        }],
    }
}

fn table_asks() -> impl Iterator<Item = Ask> {
    let keys = ["valid", "nobody's", "revoked", "early", "late"];
    let versions = ["1.0.0", "2.0.0", "4.0.0", "latest", ""];
    let digests = [None, Some(("blake3", "a1".repeat(32).into_bytes()))];
    keys.into_iter().flat_map(move |key| {
        let digests = digests.clone();
        versions.into_iter().flat_map(move |version| {
            digests.clone().into_iter().map(move |digest| Ask {
                key: key.into(),
                serial: b"unit".to_vec(),
                version: version.into(),
                hardware: vec![],
                digest,
                want: Want::Firmware,
                now: NOW,
            })
        })
    })
}
