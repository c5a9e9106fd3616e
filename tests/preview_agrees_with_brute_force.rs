//! A preview is what asking each device twice comes to: on drawn fleets and changes, counted here by the plainest code, over the plain store.
#![cfg(feature = "simulate")]

mod twin;

use otagate::preview::{Options, Preview, Reach, preview, preview_with};
use otagate::rollout::{Conductor, MemoryLedger};
use otagate::store::{Store as _, fetch_known};
use otagate::*;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use twin::change::{change, fleet};
use twin::draw::{Draw, NOW};

const NOW_AT: Timestamp = Timestamp::from_millis(NOW);

/// What a device is told: status, reason, version served.
type Told = (u16, String, Option<String>);

fn told(store: &MemoryStore, key: &KeyHash, ask: &CheckIn<'_>) -> Told {
    let Ok(view) = store.view();
    let found = fetch_known(&view, key, ask).unwrap();
    let decision = decide(&found.facts(), ask, NOW_AT, &mut NoTrace);
    let serves = decision.firmware_offer().map(|offer| offer.firmware.version().text().to_owned());
    (decision.status(), decision.reason.name().to_owned(), serves)
}

fn key_of(fleet: &Fleet, product: &str) -> Option<KeyHash> {
    let entry = fleet.product(product)?;
    let spec = entry.product().spec();
    let valid = |key: &&ApiKey| {
        !key.revoked && key.not_before.is_none_or(|at| at <= NOW_AT) && key.not_after.is_none_or(|at| NOW_AT < at)
    };
    spec.keys.iter().find(valid).or(spec.keys.first()).map(|key| key.hash)
}

/// Asks every device of both fleets, one by one; what is served to a resource's or config's asker is not previewed.
fn brute(before: &Fleet, after: &Fleet) -> Preview {
    let (old, new) = (MemoryStore::new(before.clone()), MemoryStore::new(after.clone()));
    let mut seen = Preview { now: NOW_AT, ..Preview::default() };
    (seen.revision_before, seen.revision_after) = (before.revision(), after.revision());
    let mut lines: BTreeMap<_, (u64, BTreeSet<String>)> = BTreeMap::new();
    let all = |fleet: &Fleet| -> BTreeSet<(String, String)> {
        let of = |entry: &ProductEntry| {
            let product = entry.product().id().to_string();
            entry.devices().map(|device| (product.clone(), device.serial().to_owned())).collect::<Vec<_>>()
        };
        fleet.products().flat_map(of).collect()
    };
    let (in_old, in_new) = (all(before), all(after));
    for (product, serial) in in_old.union(&in_new) {
        let device = |fleet: &Fleet| fleet.product(product).and_then(|entry| entry.device(serial)).cloned();
        let (was, is) = (device(before), device(after));
        let one = was.as_ref().or(is.as_ref()).unwrap();
        let key = match before.product(product) {
            Some(_) => key_of(before, product),
            None => key_of(after, product),
        };
        let key = key.unwrap_or(KeyHash(Hex([0; 32])));
        let ask = CheckIn {
            version: one.version().unwrap_or_default().as_bytes(),
            hardware: one.hardware().unwrap_or_default().as_bytes(),
            ..CheckIn::new(b"", serial.as_bytes())
        };
        let (a, b) = (told(&old, &key, &ask), told(&new, &key, &ask));
        seen.devices += 1;
        seen.added += u64::from(was.is_none());
        seen.removed += u64::from(is.is_none());
        seen.unknown_version += u64::from(one.version().is_none());
        if a == b {
            continue;
        }
        seen.changed += 1;
        let newly = b.2.is_some() && a.2 != b.2;
        seen.newly_served += u64::from(newly);
        seen.no_longer_served += u64::from(a.2.is_some() && b.2.is_none());
        let rules = after.product(product).map(|entry| entry.product().versions().clone());
        let order = rules.and_then(|rules| {
            let (own, served) = (one.version()?, b.2.as_deref()?);
            rules.order(rules.read(served.as_bytes()), rules.read(own.as_bytes()))
        });
        let downgrade = newly && order == Some(Ordering::Less);
        let unreachable = [200, 304].contains(&a.0) && [401, 404].contains(&b.0);
        seen.downgrades += u64::from(downgrade);
        seen.unreachable += u64::from(unreachable);
        let group = |device: &Option<Device>| device.as_ref().map(|device| device.group().to_string());
        let version = one.version().map(str::to_owned);
        let line = lines.entry((product.clone(), group(&was), group(&is), version, a, b, downgrade, unreachable));
        let (devices, serials) = line.or_default();
        *devices += 1;
        serials.insert(serial.clone());
    }
    let mut told: Vec<String> = Vec::new();
    for ((product, was, is, version, a, b, downgrade, unreachable), (devices, serials)) in lines {
        let examples: Vec<_> = serials.into_iter().take(5).collect();
        told.push(format!(
            "{product} {was:?} {is:?} {version:?} {a:?} {b:?} {downgrade} {unreachable} {devices} {examples:?}"
        ));
    }
    told.sort();
    // The lines of a preview are compared as text, below.
    seen.steps = told;
    seen
}

fn lines(preview: &Preview) -> Vec<String> {
    let answer = |answer: &otagate::preview::Answer| (answer.status, answer.reason.clone(), answer.serves.clone());
    let mut told: Vec<String> = preview
        .lines
        .iter()
        .map(|line| {
            let (a, b) = (answer(&line.before), answer(&line.after));
            let preview::Line { product, group_before, group_after, version, downgrade, unreachable, devices, examples, .. } =
                line;
            format!("{product} {group_before:?} {group_after:?} {version:?} {a:?} {b:?} {downgrade} {unreachable} {devices} {examples:?}")
        })
        .collect();
    told.sort();
    told
}

use otagate::preview;

/// The same fleet, of most devices of which it is known what they run: else nobody goes down in version.
fn known(draw: &mut Draw, mut fleet: Fleet) -> Fleet {
    let mut seen = Vec::new();
    for entry in fleet.products() {
        let versions: Vec<String> = entry.catalogue().iter().map(|one| one.version().text().to_owned()).collect();
        for device in entry.devices().filter(|_| !versions.is_empty()) {
            let version = (!draw.once_in(4)).then(|| draw.of(&versions));
            let hardware = device.hardware().map(str::to_owned);
            let (product, serial) = (entry.product().id().clone(), device.serial().to_owned());
            seen.push(Change::SeeDevice { product, serial, version, hardware });
        }
    }
    fleet.apply(&seen).unwrap();
    fleet
}

#[test]
fn drawn_fleets_and_changes() {
    let (mut changed, mut flags) = (0, [0_u64; 6]);
    for seed in 0..1_500 {
        let draw = &mut Draw(seed);
        let before = known(draw, fleet(seed));
        let mut after = if draw.once_in(8) { fleet(draw.below(1_500)) } else { before.clone() };
        for _ in 0..draw.below(12) {
            let one = change(draw, &after);
            let _ = after.apply(&[one]);
        }
        let (index, forked) = (Index::new(&before), Index::new(&after));
        let options = Options { reach: Reach::AsIs, ..Options::at(NOW_AT) };
        let ours = preview_with(&index, &forked, &options);
        let theirs = brute(&before, &after);
        assert_eq!(lines(&ours), theirs.steps, "seed {seed}");
        let bare =
            |seen: &Preview| Preview { steps: vec![], lines: vec![], groups: vec![], misfits: vec![], ..seen.clone() };
        assert_eq!(bare(&ours), bare(&theirs), "seed {seed}");
        let sum = |count: fn(&preview::GroupCount) -> u64| ours.groups.iter().map(count).sum::<u64>();
        assert_eq!(
            [sum(|g| g.changed), sum(|g| g.newly_served), sum(|g| g.downgrades), sum(|g| g.unreachable)],
            [ours.changed, ours.newly_served, ours.downgrades, ours.unreachable],
            "seed {seed}"
        );
        let listed = Mutex::new(BTreeSet::new());
        let each = |one: &preview::Changed<'_>| {
            let line = format!("{} {}", one.product, one.serial);
            assert!(listed.lock().unwrap().insert(line), "once each");
        };
        let both = preview_with(&index, &forked, &Options { threads: 2, each: Some(&each), ..options });
        assert_eq!(both, ours, "seed {seed}: on two threads");
        assert_eq!(listed.into_inner().unwrap().len() as u64, ours.changed, "seed {seed}");
        changed += ours.changed;
        let met =
            [ours.newly_served, ours.no_longer_served, ours.downgrades, ours.unreachable, ours.added, ours.removed];
        flags.iter_mut().zip(met).for_each(|(sum, met)| *sum += met);
    }
    assert!(changed > 2_000 && flags.iter().all(|met| *met > 10), "{changed} {flags:?}: the generator got nowhere");
}

#[test]
fn what_is_due_is_what_a_conductor_does_at_once() {
    let mut opened = 0;
    for seed in 0..600 {
        let draw = &mut Draw(seed);
        let before = fleet(seed);
        let mut after = before.clone();
        for _ in 0..20 {
            let one = change(draw, &after);
            let _ = after.apply(&[one]);
        }
        let store = MemoryStore::new(after.clone());
        let moved = Conductor::new(&store, &MemoryLedger::default()).advance(NOW_AT).unwrap();
        opened += moved.len();
        let ours = preview(&Index::new(&before), &Index::new(&after), NOW_AT);
        let theirs = brute(&before, &store.read(Clone::clone));
        assert_eq!(lines(&ours), theirs.steps, "seed {seed}");
        assert_eq!(ours.steps.len(), moved.len(), "seed {seed}");
    }
    assert!(opened > 20, "{opened}");
}

/// Ten lamps that run `1.0` on hardware `a`, with firmware 1.0 and 2.0 for it and 3.0 for `b`.
fn lamps() -> Index {
    let firmware = |version: &str, hardware: &str| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            locator: version.into(),
            size_bytes: 1,
            digests: Digests::blake3_of(version.as_bytes()),
            hardware: vec![hardware.into()],
            ..ArtifactSpec::default()
        }],
        ..FirmwareSpec::default()
    };
    let device = |n: u32| DeviceSpec {
        serial: format!("SN-{n}"),
        state: DeviceState::Verified,
        group: "stable".into(),
        version: Some("1.0".into()),
        hardware: Some("a".into()),
        ..DeviceSpec::default()
    };
    let spec = FleetSpec {
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: "lamp".into(),
                keys: vec![ApiKey::new(KeyHash::of(b"secret").unwrap())],
                versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..VersionRulesSpec::default() },
                ..ProductSpec::default()
            },
            firmware: vec![
                firmware("0.9.0", "a"),
                firmware("1.0.0", "a"),
                firmware("2.0.0", "a"),
                firmware("3.0.0", "b"),
            ],
            groups: vec![GroupSpec { id: "stable".into(), firmware: Some("1.0.0".into()), ..GroupSpec::default() }],
            devices: (0..10).map(|n| DeviceSpec { version: Some("1.0.0".into()), ..device(n) }).collect(),
        }],
        ..FleetSpec::default()
    };
    Index::new(&spec.build().unwrap())
}

fn assigned(firmware: Option<&str>) -> Preview {
    let before = lamps();
    let after = before.fork();
    let (product, group) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
    after.apply(&[Change::AssignFirmware { product, group, firmware: firmware.map(str::to_owned) }]).unwrap();
    preview(&before, &after, NOW_AT)
}

#[test]
fn a_downgrade_a_gap_and_a_misfit_are_called_out_and_each_limit_refuses_its_own() {
    use otagate::preview::{Limits, Refusal};
    let all = Limits {
        max_served: Some(9),
        max_changed: Some(9),
        no_downgrades: true,
        no_unreachable: true,
        no_misfits: true,
    };
    let down = assigned(Some("0.9.0"));
    assert_eq!((down.changed, down.newly_served, down.downgrades, down.unreachable), (10, 10, 10, 0));
    let max = [Refusal::MaxServed { devices: 10, max: 9 }, Refusal::MaxChanged { devices: 10, max: 9 }];
    assert_eq!(all.check(&down), [&max[..], &[Refusal::Downgrades { devices: 10 }]].concat());

    let nothing = assigned(None);
    assert_eq!((nothing.changed, nothing.newly_served, nothing.unreachable), (10, 0, 10));
    assert_eq!(all.check(&nothing), [max[1], Refusal::Unreachable { devices: 10 }]);

    let misfit = assigned(Some("3.0.0"));
    assert_eq!(misfit.misfits.len(), 1);
    assert_eq!((misfit.misfits[0].version.as_str(), misfit.misfits[0].devices), ("3.0.0", 10));
    assert_eq!(all.check(&misfit), [max[1], Refusal::Unreachable { devices: 10 }, Refusal::Misfits { groups: 1 }]);

    let up = assigned(Some("2.0.0"));
    assert_eq!((up.downgrades, up.unreachable, up.misfits.len()), (0, 0, 0));
    assert_eq!(all.check(&up), max);
    assert_eq!(Limits { max_served: Some(10), max_changed: Some(10), ..all }.check(&up), []);
    assert_eq!(Limits::default().check(&down), []);
    let text = up.to_string();
    assert!(text.contains("10 devices asked") && text.contains("304 current -> 200 serve 2.0.0"), "{text}");
}

#[test]
fn a_rollout_reaches_its_first_wave_at_once_and_all_waves_in_the_end() {
    let before = lamps();
    let after = before.fork();
    let waves = vec![Wave::new(WaveSize::First(3)), Wave::new(WaveSize::ShareBps(5_000)), Wave::new(WaveSize::All)];
    let rollout = RolloutSpec::new("r2", TargetSpec::Firmware("2.0.0".into()), waves);
    let (product, group) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
    let start = Change::StartRollout {
        product: product.clone(),
        group: group.clone(),
        rollout: RolloutId::new("r2").unwrap(),
        at: NOW_AT,
    };
    after.apply(&[Change::PutRollout { product, group, rollout }, start]).unwrap();
    let served = |reach| preview_with(&before, &after, &Options { reach, ..Options::at(NOW_AT) }).newly_served;
    assert_eq!([Reach::AsIs, Reach::Due, Reach::Whole].map(served), [0, 3, 10]);
    assert!(
        after.snapshot().group("lamp", "stable").unwrap().rollout().unwrap().last_open().is_none(),
        "nothing was changed"
    );
}

#[test]
fn a_device_that_is_gone_is_counted_though_its_key_names_somebody_elses_now() {
    let product = |id: &str, keys: Vec<ApiKey>, devices: bool| ProductFleetSpec {
        product: ProductSpec { id: id.into(), keys, ..ProductSpec::default() },
        devices: devices
            .then(|| DeviceSpec { serial: "SN-1".into(), group: "stable".into(), ..DeviceSpec::default() })
            .into_iter()
            .collect(),
        firmware: Vec::new(),
        groups: Vec::new(),
    };
    let key = || vec![ApiKey::new(KeyHash::of(b"secret").unwrap())];
    let index = |products| Index::new(&FleetSpec { products, ..FleetSpec::default() }.build().unwrap());
    let before = index(vec![product("a", key(), true), product("b", vec![], true)]);
    let after = index(vec![product("b", key(), true)]);
    let seen = preview(&before, &after, NOW_AT);
    assert_eq!((seen.devices, seen.removed, seen.added), (2, 1, 0));
}
