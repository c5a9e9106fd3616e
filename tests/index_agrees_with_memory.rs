//! The index is the memory store, whatever happens to it: the same answers to changes, the same fleet and the same decisions, after every step.

mod twin;

use otagate::store::{self, Store as _};
use otagate::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use twin::change::{change, fleet, respelled};
use twin::draw::{self, Draw, NOW};
use twin::translate;
use twin::world;

fn json(decision: &Decision<'_>) -> String {
    serde_json::to_string(decision).unwrap()
}

/// The name of a change in its JSON.
fn kind(change: &Change) -> String {
    serde_json::to_value(change).unwrap()["change"].as_str().unwrap().to_owned()
}

/// What the members of a group say of themselves. A scan does not know where a device was before.
fn scanned(snapshot: &Snapshot, product: &str, group: Option<&str>) -> Vec<DeviceSpec> {
    let mut found = Vec::new();
    snapshot.scan(product, group, |member| {
        found.push(DeviceSpec {
            serial: member.serial().to_string(),
            state: member.state(),
            group: member.group().map(GroupId::to_string).unwrap_or_default(),
            entered_at: member.entered_at(),
            pin: member.pin().map(|version| version.to_string()),
            cap: member.cap().map(|version| version.to_string()),
            version: member.version().map(|version| version.to_string()),
            hardware: member.hardware().map(|hardware| hardware.to_string()),
            earlier_groups: Vec::new(),
        });
    });
    found.sort_by(|a, b| a.serial.cmp(&b.serial));
    found
}

type Counts = BTreeMap<(String, String, DeviceState), u64>;

fn counted(spec: &FleetSpec) -> Counts {
    let mut counts = Counts::new();
    for entry in &spec.products {
        for device in &entry.devices {
            *counts.entry((entry.product.id.clone(), device.group.clone(), device.state)).or_default() += 1;
        }
    }
    counts
}

/// The counts of the index; a row that stands twice, or for nobody, shows as a count that no fleet has.
fn counts(snapshot: &Snapshot) -> Counts {
    let mut counts = Counts::new();
    for row in snapshot.counts() {
        let place = (row.product.to_string(), row.group.to_string(), row.state);
        if counts.insert(place.clone(), row.devices).is_some() || row.devices == 0 {
            counts.insert(place, u64::MAX);
        }
    }
    counts
}

/// Everything that can be read off a snapshot, held against the specification that it should be.
fn same_content(snapshot: &Snapshot, spec: &FleetSpec) -> Result<(), String> {
    let ours = snapshot.spec();
    if ours != *spec {
        let devices = |spec: &FleetSpec| -> Vec<(String, DeviceSpec)> {
            let all = spec.products.iter();
            all.flat_map(|entry| entry.devices.iter().map(|device| (entry.product.id.clone(), device.clone())))
                .collect()
        };
        let (ours_devices, theirs) = (devices(&ours), devices(spec));
        let other = ours_devices.iter().zip(&theirs).find(|(a, b)| a != b);
        let (lens, revisions) = ((ours_devices.len(), theirs.len()), (ours.revision, spec.revision));
        return Err(format!("another fleet; revisions {revisions:?}, devices {lens:?}, first that differs {other:?}"));
    }
    if snapshot.revision() != spec.revision {
        return Err(format!("revision {} is not {}", snapshot.revision(), spec.revision));
    }
    let devices: usize = spec.products.iter().map(|entry| entry.devices.len()).sum();
    if snapshot.devices_len() != devices {
        return Err(format!("{} devices are not {devices}", snapshot.devices_len()));
    }
    if counts(snapshot) != counted(spec) {
        return Err(format!("counts {:?}\nare not {:?}", counts(snapshot), counted(spec)));
    }
    for entry in &spec.products {
        let mut members = BTreeMap::<&str, Vec<DeviceSpec>>::from([("no such group", vec![])]);
        members.extend(entry.groups.iter().map(|group| (group.id.as_str(), vec![])));
        let mut all = Vec::new();
        for device in &entry.devices {
            let plain = DeviceSpec { earlier_groups: Vec::new(), ..device.clone() };
            members.entry(&device.group).or_default().push(plain.clone());
            all.push(plain);
        }
        // A scan looks at every device: of very many groups, some are enough.
        let step = members.len().div_ceil(50);
        let members = members.into_iter().step_by(step).map(|(group, list)| (Some(group), list));
        for (group, expected) in members.chain([(None, all)]) {
            let found = scanned(snapshot, &entry.product.id, group);
            if found != expected {
                let id = &entry.product.id;
                return Err(format!("a scan of `{id}`, {group:?} finds {} members: {found:?}", found.len()));
            }
        }
    }
    if !scanned(snapshot, "no such product", None).is_empty() {
        return Err("a product that does not exist has members".into());
    }
    Ok(())
}

/// Six check-ins of every device, and some of anybody.
fn asks(draw: &mut Draw, spec: &FleetSpec, world: &world::World) -> Vec<world::Ask> {
    let mut asks: Vec<world::Ask> = (0..6).map(|_| draw::ask(draw, world)).collect();
    for entry in &spec.products {
        let id = &entry.product.id;
        let other = if id == "p" { "q" } else { "p" };
        for device in &entry.devices {
            let group = entry.groups.iter().find(|group| group.id == device.group);
            let meant = device.pin.clone().or_else(|| group?.firmware.clone()).unwrap_or_default();
            let some = entry.firmware.first().map(|_| draw.of(&entry.firmware));
            let version = some.as_ref().map_or_else(String::new, |firmware| firmware.version.clone());
            let image = some.and_then(|firmware| firmware.artifacts[0].digests.blake3);
            let config = group.and_then(|group| group.config.as_ref()?.digests.blake3);
            let held = |draw: &mut Draw, digest: Option<Hex<32>>| {
                digest.filter(|_| draw.once_in(2)).map(|digest| ("blake3", digest.to_string().into_bytes()))
            };
            let plain = world::Ask {
                key: format!("{id}-key").into_bytes(),
                serial: device.serial.clone().into_bytes(),
                version: meant.into_bytes(),
                hardware: draw.of(&[&b""[..], b"", b"a", b"b"]).to_vec(),
                digest: None,
                want: world::Want::Firmware,
                now: NOW,
            };
            asks.push(world::Ask {
                serial: respelled(entry.product.serial_scheme, &device.serial).into_bytes(),
                version: version.into_bytes(),
                digest: held(draw, image),
                ..plain.clone()
            });
            let garbage = draw.of(&[&b""[..], b"latest", b"1..2", b"\xff1", b"0.0.0-0"]).to_vec();
            asks.push(world::Ask { version: garbage, ..plain.clone() });
            asks.push(world::Ask { key: format!("{other}-key").into_bytes(), ..plain.clone() });
            let late = draw.of(&["-old", "-limited"]);
            asks.push(world::Ask { key: format!("{id}{late}").into_bytes(), ..plain.clone() });
            let resource = world::Want::Resource(draw.of(&["logo.png", "ca.pem", "é"]).as_bytes().to_vec());
            let want = draw.of(&[world::Want::Config, world::Want::Config, world::Want::ResourceList, resource]);
            asks.push(world::Ask { want, digest: held(draw, config), ..plain.clone() });
            asks.push(plain);
        }
    }
    asks
}

/// What a run has met: a generator that never gets far would agree about nothing.
#[derive(Default)]
struct Met {
    reasons: BTreeMap<&'static str, u64>,
    accepted: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    decisions: u64,
}

/// The same answer in every way that it can be asked for.
fn same_decisions(
    draw: &mut Draw,
    (index, reader): (&Index, &mut Reader),
    store: &MemoryStore,
    asks: &[world::Ask],
    met: &mut Met,
) -> Result<(), TestCaseError> {
    // A batch has one time for all; so have the rest, that it can be held against them.
    let now = Timestamp::from_millis(asks[0].now);
    let check_ins: Vec<CheckIn<'_>> = asks.iter().map(translate::check_in).collect();
    let mut expected = Vec::with_capacity(asks.len());
    for (ask, check_in) in asks.iter().zip(&check_ins) {
        let theirs = store::answer(store, check_in, now, &mut NoTrace, |decision| {
            *met.reasons.entry(decision.reason.name()).or_default() += 1;
            json(decision)
        });
        let theirs = theirs.unwrap();
        let ours = json(&reader.decide(check_in, now, &mut NoTrace));
        prop_assert!(ours == theirs, "index {ours}\nstore {theirs}\n{ask:?} at {now:?}");
        if let Some(hash) = KeyHash::of(check_in.key) {
            let bare = CheckIn { key: b"not looked at", ..*check_in };
            let known = json(&reader.decide_known(&hash, &bare, now, &mut NoTrace));
            prop_assert!(known == theirs, "by the hash of the key {known}\nstore {theirs}\n{ask:?} at {now:?}");
        }
        if draw.once_in(4) {
            let (mut ours, mut theirs) = (Recorder::default(), Recorder::default());
            reader.decide(check_in, now, &mut ours);
            store::answer(store, check_in, now, &mut theirs, |_| ()).unwrap();
            prop_assert!(ours == theirs, "the index was asked\n{ours}the store\n{theirs}{ask:?} at {now:?}");
        }
        if draw.once_in(4) {
            let viewed = store::answer(index, check_in, now, &mut NoTrace, json);
            let viewed = viewed.map_err(|fault| TestCaseError::fail(format!("{fault}: {ask:?}")))?;
            prop_assert!(viewed == theirs, "through a view {viewed}\nstore {theirs}\n{ask:?} at {now:?}");
        }
        expected.push(theirs);
    }
    // Batches of any length, the same question twice among them.
    let from = draw.below(check_ins.len() as u64) as usize;
    for range in [0..0, from..from + 1, 0..check_ins.len()] {
        let mut batch = check_ins[range.clone()].to_vec();
        batch.extend(batch.first().copied());
        let mut theirs = expected[range].to_vec();
        theirs.extend(theirs.first().cloned());
        let mut ours = vec![String::new(); batch.len()];
        reader.decide_batch(&batch, now, &mut ours, json);
        let other = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        prop_assert!(
            ours == theirs,
            "place {other:?} of {} in a batch; at {now:?}\n{ours:#?}\n{theirs:#?}",
            batch.len()
        );
    }
    met.decisions += asks.len() as u64;
    Ok(())
}

fn sequence(seed: u64, met: &mut Met) -> Result<(), TestCaseError> {
    let draw = &mut Draw(seed);
    let world = draw::world(draw);
    let fleet = translate::fleet_spec(&world).build().unwrap();
    let index = Index::new(&fleet);
    let store = MemoryStore::new(fleet);
    let mut reader = index.reader();
    let mut held: Vec<(Arc<Snapshot>, FleetSpec)> = Vec::new();
    // Most histories are short, and a few long: what is wrong now and then shows in the first, what adds up in the second.
    let steps = if draw.once_in(40) { 40 } else { 3 };
    for step in 0..steps {
        if draw.once_in(12) {
            let force = draw.once_in(2);
            let held = store.read(Clone::clone);
            // Another fleet, the one that is held, or the held one with a few changes: under a revision below, at or above the one held.
            let mut other = if draw.once_in(3) { self::fleet(draw.below(50)) } else { held.clone() };
            if draw.once_in(2) {
                let changes: Vec<Change> = (0..9).map(|_| change(draw, &held)).collect();
                changes.chunks(1).for_each(|change| drop(other.apply(change)));
            }
            let revision = (held.revision().0 + draw.below(3)).saturating_sub(1);
            let other = other.at_revision(Revision(revision));
            if draw.once_in(3) {
                let seen = Revision(revision.saturating_sub(draw.below(2)));
                prop_assert_eq!(index.replace_seen(seen, &other), store.replace_seen(seen, other));
            } else {
                prop_assert_eq!(index.replace(&other, force), store.replace(other, force));
            }
        } else {
            let batch: Vec<Change> = (0..1 + draw.below(4)).map(|_| store.read(|fleet| change(draw, fleet))).collect();
            let (ours, theirs) = (index.clone().apply(&batch), store.apply(&batch));
            prop_assert!(ours == theirs, "index {ours:?}\nstore {theirs:?}\n{batch:?}");
            let set = if theirs.is_ok() { &mut met.accepted } else { &mut met.refused };
            batch.iter().for_each(|change| *set.entry(kind(change)).or_default() += 1);
        }
        let spec = store.read(Fleet::spec);
        let snapshot = index.snapshot();
        prop_assert_eq!(index.revision(), spec.revision);
        // To the last count of those that are `new`, which no specification has.
        prop_assert!(store.read(|fleet| snapshot.to_fleet() == *fleet), "step {}: another fleet in plain maps", step);
        same_content(&snapshot, &spec).map_err(|fault| TestCaseError::fail(format!("step {step}: {fault}")))?;
        let found = |product: &str, serial: &str| {
            store.read(|fleet| fleet.product(product).and_then(|entry| entry.device(serial)).cloned())
        };
        for (product, serial) in spec.products.iter().flat_map(|entry| {
            let others = spec.products.iter().flat_map(|other| &other.devices);
            others.map(|device| (entry.product.id.as_str(), device.serial.as_str()))
        }) {
            prop_assert_eq!(snapshot.device(product, serial), found(product, serial), "{} of {}", serial, product);
        }
        prop_assert_eq!(snapshot.device("no such product", "12"), None);
        let asks = asks(draw, &spec, &world);
        same_decisions(draw, (&index, &mut reader), &store, &asks, met)?;
        // What an index grew into is what it is when built at once. Building costs more than all the rest of a step, so not after each.
        if draw.once_in(3) {
            let rebuilt = Index::new(&spec.build().unwrap());
            same_content(&rebuilt.snapshot(), &spec)
                .map_err(|fault| TestCaseError::fail(format!("step {step}, built again: {fault}")))?;
            same_decisions(draw, (&rebuilt, &mut rebuilt.reader()), &store, &asks, met)?;
        }
        // Somebody registers, who may be known, in every product that reads the serial.
        if draw.once_in(3) {
            let ask = draw::ask(draw, &world);
            let at = Timestamp::from_millis(ask.now);
            for entry in &spec.products {
                let product = entry.product.build().unwrap();
                let Ok(serial) = product.read_serial(&ask.serial) else { continue };
                let registered = store::Store::register(&index, product.id(), &serial, at).unwrap();
                prop_assert_eq!(registered, store.register(product.id(), &serial, at).unwrap(), "{}", serial);
                prop_assert_eq!(index.snapshot().spec(), store.read(Fleet::spec));
            }
        }
        held.push((snapshot, spec));
    }
    // Whatever was written since, who held a snapshot still sees what was.
    for (snapshot, spec) in &held {
        same_content(snapshot, spec).map_err(|fault| TestCaseError::fail(format!("an old snapshot: {fault}")))?;
    }
    Ok(())
}

const SEQUENCES: u32 = 20_000;

#[test]
fn after_every_step_of_random_changes() {
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get().min(8)) as u32;
    let met = Mutex::new(Met::default());
    std::thread::scope(|scope| {
        let run = || {
            let mut mine = Met::default();
            let config = ProptestConfig {
                cases: SEQUENCES.div_ceil(threads),
                failure_persistence: None,
                // A smaller seed is no smaller fleet.
                max_shrink_iters: 0,
                ..ProptestConfig::default()
            };
            let cell = std::cell::RefCell::new(&mut mine);
            let ran = TestRunner::new(config).run(&any::<u64>(), |seed| {
                sequence(seed, &mut cell.borrow_mut())
                    .map_err(|fault| TestCaseError::fail(format!("seed {seed}: {fault}")))
            });
            let mut met = met.lock().unwrap();
            mine.reasons.into_iter().for_each(|(reason, count)| *met.reasons.entry(reason).or_default() += count);
            mine.accepted.into_iter().for_each(|(kind, count)| *met.accepted.entry(kind).or_default() += count);
            mine.refused.into_iter().for_each(|(kind, count)| *met.refused.entry(kind).or_default() += count);
            met.decisions += mine.decisions;
            ran.map_err(|failure| failure.to_string())
        };
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let failures: Vec<_> = runs.into_iter().filter_map(|run| run.join().unwrap().err()).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    });
    let met = met.into_inner().unwrap();
    println!("{} check-ins, reasons met: {:?}", met.decisions, met.reasons);
    // A penalty is a ledger's to give, and neither store has one.
    let missed: Vec<_> = (Reason::ALL.iter().filter(|reason| **reason != Reason::Penalty))
        .filter(|reason| !met.reasons.contains_key(reason.name()))
        .collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
    println!("accepted: {:?}\nin refused batches: {:?}", met.accepted, met.refused);
    assert_eq!((met.accepted.len(), met.refused.len()), (31, 31), "every kind of change, accepted and refused");
}

/// Above the last number there is none: changes count all the same.
#[test]
fn at_the_last_revision_changes_are_still_taken() {
    let fleet = fleet(2).at_revision(Revision(u64::MAX));
    let (index, store) = (Index::new(&fleet), MemoryStore::new(fleet.clone()));
    let mut reader = index.reader();
    let mut moved = 0;
    for entry in fleet.products() {
        let product = entry.product().id().clone();
        let (key, put) = (format!("{product}-key"), |device| Change::PutDevice { product: product.clone(), device });
        for device in entry.devices() {
            let blocked = DeviceSpec { state: DeviceState::Blocked, ..device.spec() };
            let batch = [put(blocked)];
            assert_eq!(index.apply(&batch), store.apply(&batch));
            let ask = CheckIn::new(key.as_bytes(), device.serial().as_bytes());
            let now = Timestamp::from_millis(NOW);
            let told = json(&reader.decide(&ask, now, &mut NoTrace));
            assert_eq!(told, store::answer(&store, &ask, now, &mut NoTrace, json).unwrap(), "{}", device.serial());
            moved += 1;
        }
    }
    assert!(moved > 1, "{moved} devices");
    same_content(&index.snapshot(), &store.read(Fleet::spec)).unwrap();
}

/// A cap that is above many pins: each is named, in one order, whatever holds the devices.
#[test]
fn what_is_wrong_with_many_devices_is_told_in_the_same_order() {
    let (product, spec) = lamp();
    let both = Both::new(spec.clone());
    let put = |number: u64| {
        let pin = Some(if number.is_multiple_of(2) { "1.1" } else { "1.2" }.into());
        let device = DeviceSpec { serial: format!("SN-{number}"), group: "a".into(), pin, ..Default::default() };
        Change::PutDevice { product: product.clone(), device }
    };
    both.apply(&(0..300).map(put).collect::<Vec<_>>());
    let cap = Change::CapGroup { product: product.clone(), group: GroupId::new("a").unwrap(), cap: Some("1.1".into()) };
    // Under semver no pin of these is a version.
    let rules = VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() };
    let scheme = Change::PutProduct { product: ProductSpec { versions: rules, ..spec } };
    for (change, least) in [(cap, 150), (scheme, 300)] {
        let (ours, theirs) = (both.index.apply(std::slice::from_ref(&change)), both.store.apply(&[change]));
        let (ours, theirs) = (ours.unwrap_err(), theirs.unwrap_err());
        assert!(theirs.list().len() >= least, "{theirs}");
        assert!(ours == theirs, "index\n{ours}\nstore\n{theirs}");
    }
}

// Large fleets.

fn lamp() -> (ProductId, ProductSpec) {
    let product = ProductSpec {
        id: "lamp".into(),
        keys: vec![ApiKey::new(KeyHash::of(b"lamp-key").unwrap())],
        versions: VersionRulesSpec { scheme: VersionScheme::Dotted, ..Default::default() },
        new_devices_max: 100_000,
        ..Default::default()
    };
    (ProductId::new("lamp").unwrap(), product)
}

fn firmware(version: &str) -> FirmwareSpec {
    FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 1,
            digests: Digests::blake3_of(version.as_bytes()),
            locator: version.into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Serials of every kind that is packed in some way of its own, and what is next to it: the longest number that fits, and one more; the same text in
/// the other case, with and without joints; one that another begins with.
fn mixed_serials(draw: &mut Draw, count: usize) -> Vec<String> {
    let mut serials = BTreeSet::new();
    for number in [1u128 << 32, 1 << 48, 1 << 63, 1 << 64, 1 << 80, u128::MAX] {
        for near in [number - 1, number, number.saturating_add(1)] {
            serials.extend([format!("{near}"), format!("{near:x}"), format!("{near:X}"), format!("0{near}")]);
        }
    }
    for len in 1..=64 {
        serials.extend(["a", "A", "7", "-", "z"].map(|text| text.repeat(len)));
        serials.insert(format!("{}1", "0".repeat(len - 1)));
        serials.insert(format!("{}é", "x".repeat(len.saturating_sub(2))));
    }
    while serials.len() < count {
        let (high, low) = (draw.next(), draw.next());
        let wide = u128::from(high) << 64 | u128::from(low);
        let hex = format!("{wide:032x}");
        let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let mac = respelled(SerialScheme::Mac, &hex[..12]);
        let drawn = match draw.below(15) {
            0 => hex[..1 + draw.below(18) as usize].to_owned(),
            1 => hex[..12].to_owned(),
            2 => draw.of(&[mac.to_lowercase(), mac.clone(), mac.replace(':', "-")]),
            3 => uuid,
            4 => draw.of(&[uuid.to_uppercase(), format!("{{{uuid}}}"), hex.clone(), format!("{uuid}a")]),
            5 => format!("{hex}{:032X}", wide.rotate_left(7)),
            6 => format!("Gerät {high}"),
            7 => format!("{low}"),
            8 => format!("{:0width$}", low % 1_000_000, width = 1 + draw.below(20) as usize),
            9 => format!("SN-{:06}", low % 20_000),
            10 => format!("\u{1F4A1}{}", &hex[..draw.below(30) as usize]),
            11 => format!(" {} ", &hex[..4]),
            // Digits, and one that is next to a digit and none.
            12 | 13 => {
                let len = 1 + draw.below(17) as usize;
                let at = draw.below(len as u64) as usize;
                let other = draw.of(&["/", ":", "`", "g", "@", "G", "A", "F", "é", " ", "\u{80}", "~"]);
                format!("{}{other}{}", &hex[..at], &hex[at..len - 1])
            }
            _ => format!("{}", serials.len()),
        };
        serials.insert(drawn);
    }
    serials.into_iter().filter(|serial| SerialScheme::Opaque.read(serial.as_bytes()).is_ok()).collect()
}

/// Any device of that serial that a load accepts.
fn any_device(draw: &mut Draw, serial: &str) -> DeviceSpec {
    let long = "g".repeat(NAME_BYTES_MAX);
    // Each side of every width that a number may be cut to.
    let end = |draw: &mut Draw| {
        let power = 1_i64 << draw.below(63);
        draw.of(&[0, i64::MIN, i64::MAX, power - 1, power, -power])
    };
    let time = |draw: &mut Draw| {
        let drawn = NOW + draw.below(1 << 36) as i64;
        Timestamp::from_millis(if draw.once_in(2) { end(draw) } else { drawn })
    };
    let group = draw.of(&["default", "a", "b", "é", "gone", &long]);
    let mut earlier_groups = Vec::new();
    if draw.once_in(10) {
        for other in ["default", "a", "b", "gone"].into_iter().filter(|other| *other != group) {
            earlier_groups.extend(draw.some(2, |draw| (GroupId::new(other).unwrap(), time(draw))));
        }
    }
    DeviceSpec {
        serial: serial.into(),
        state: draw.of(&[
            DeviceState::Verified,
            DeviceState::Verified,
            DeviceState::New,
            DeviceState::Blocked,
            DeviceState::Disabled,
            DeviceState::Quota,
        ]),
        group: group.into(),
        entered_at: time(draw),
        pin: draw.some(9, |draw| draw.of(&["1.2", "1.1", "01.2"]).into()),
        cap: draw.some(9, |draw| draw.of(&["1.2", "2", "3.0"]).into()),
        version: match draw.below(6) {
            0 => None,
            1 => Some("1.1".into()),
            2 => Some(String::new()),
            _ => Some(format!("1.{}", draw.below(4_000))),
        },
        hardware: draw.some(3, |draw| format!("board {}", draw.below(3_000))),
        earlier_groups,
    }
}

/// An index and its twin, to which the same happens.
struct Both {
    index: Index,
    store: MemoryStore,
    reader: Reader,
}

impl Both {
    fn new(product: ProductSpec) -> Self {
        let id = ProductId::new(&product.id).unwrap();
        let both = Self::of(Fleet::default());
        let group = |id: &str, firmware: Option<&str>| GroupSpec {
            id: id.into(),
            firmware: firmware.map(Into::into),
            ..Default::default()
        };
        let groups = [group("default", Some("1.2")), group("a", Some("1.1")), group("b", None), group("é", Some("9"))];
        let list = ["1.1", "1.2"].map(firmware);
        let mut batch = vec![Change::PutProduct { product }];
        batch.extend(list.into_iter().map(|firmware| Change::PutFirmware { product: id.clone(), firmware }));
        batch.extend(groups.into_iter().map(|group| Change::PutGroup { product: id.clone(), group }));
        both.apply(&batch);
        both
    }

    fn of(fleet: Fleet) -> Self {
        let index = Index::new(&fleet);
        Self { reader: index.reader(), index, store: MemoryStore::new(fleet) }
    }

    /// Applies it to both, in batches of some size, and holds the whole fleets against each other.
    fn apply(&self, changes: &[Change]) {
        for batch in changes.chunks(7_919) {
            let (ours, theirs) = (self.index.apply(batch), self.store.apply(batch));
            assert!(theirs.is_ok() && ours == theirs, "index {ours:?}\nstore {theirs:?}\nof {} changes", batch.len());
        }
        same_content(&self.index.snapshot(), &self.store.read(Fleet::spec)).unwrap();
    }

    fn agree_about<'s>(&mut self, serials: impl IntoIterator<Item = &'s String>) {
        for serial in serials {
            let ask = CheckIn { version: b"1.1", ..CheckIn::new(b"lamp-key", serial.as_bytes()) };
            let now = Timestamp::from_millis(NOW);
            let theirs = store::answer(&self.store, &ask, now, &mut NoTrace, json).unwrap();
            assert_eq!(json(&self.reader.decide(&ask, now, &mut NoTrace)), theirs, "`{serial}`");
        }
    }

    fn bytes(&self) -> usize {
        self.index.snapshot().bytes().total()
    }
}

/// What an index may still hold of what is gone: pages that are kept for what comes next.
const SLACK: usize = 64 << 10;

#[test]
fn a_large_fleet_of_mixed_serials_comes_changes_and_goes() {
    let draw = &mut Draw(7);
    let (id, product) = lamp();
    let mut both = Both::new(product);
    let empty = both.bytes();
    let serials = mixed_serials(draw, 30_000);
    // Nobody's, each a neighbour of somebody's.
    let strangers: Vec<String> = serials.iter().step_by(50).map(|serial| format!("{serial}+")).collect();
    let put =
        |draw: &mut Draw, serial: &String| Change::PutDevice { product: id.clone(), device: any_device(draw, serial) };

    // First one by one, then in leaps.
    let mut order: Vec<&String> = serials.iter().collect();
    shuffle(draw, &mut order);
    let first: Vec<Change> = order.iter().map(|serial| put(draw, serial)).collect();
    for change in &first[..200] {
        both.apply(std::slice::from_ref(change));
    }
    both.apply(&first[200..]);
    assert_eq!(both.index.snapshot().devices_len(), serials.len());
    let full = both.bytes();
    assert!(full > empty + 8 * serials.len(), "{full} bytes cannot hold {} devices above {empty}", serials.len());
    both.agree_about(serials.iter().step_by(7).chain(&strangers));

    for round in 0..4 {
        let mut changes = Vec::new();
        for serial in &serials {
            if !draw.once_in(3) {
                continue;
            }
            let (product, text) = (id.clone(), serial.clone());
            let at = Timestamp::from_millis(draw.of(&[NOW, -NOW, 0]) + round);
            changes.push(match draw.below(7) {
                0 => put(draw, serial),
                1 => Change::PinDevice { product, serial: text, firmware: draw.some(2, |_| "1.1".into()) },
                2 => Change::CapDevice { product, serial: text, cap: draw.some(2, |_| "4".into()) },
                3 => Change::SeeDevice {
                    product,
                    serial: text,
                    version: draw.some(2, |draw| format!("2.{}", draw.below(3_000))),
                    hardware: draw.some(2, |draw| format!("bank {}", draw.below(3_000))),
                },
                4 => Change::SetDeviceState { product, serial: text, state: DeviceState::Verified },
                _ => {
                    let group = GroupId::new(draw.of(&["a", "b", "default"])).unwrap();
                    Change::MoveDevice { product, serial: text, group, at }
                }
            });
        }
        both.apply(&changes);
        both.agree_about(serials.iter().skip(round as usize).step_by(11));
    }

    let built = Index::new(&both.store.read(Clone::clone)).snapshot().bytes().total();
    assert!(both.bytes() <= built + built / 50 + SLACK, "{} bytes, {built} when built at once", both.bytes());

    // A batch that fails at its end has changed nothing.
    let mut failing: Vec<Change> = serials.iter().step_by(5).map(|serial| put(draw, serial)).collect();
    failing.extend(
        serials.iter().step_by(3).map(|serial| Change::RemoveDevice { product: id.clone(), serial: serial.clone() }),
    );
    failing.push(Change::RemoveDevice { product: id.clone(), serial: "nobody".into() });
    let before = both.index.snapshot().spec();
    let (ours, theirs) = (both.index.apply(&failing), both.store.apply(&failing));
    assert!(theirs.is_err() && ours == theirs, "index {ours:?}\nstore {theirs:?}");
    same_content(&both.index.snapshot(), &before).unwrap();

    let remove = |serial: &&String| Change::RemoveDevice { product: id.clone(), serial: (*serial).clone() };
    let half: Vec<Change> = order[..order.len() / 2].iter().map(remove).collect();
    both.apply(&half);
    both.agree_about(serials.iter().step_by(5));
    // Some come back.
    let back: Vec<Change> = order[..order.len() / 8].iter().map(|serial| put(draw, serial)).collect();
    both.apply(&back);
    let rest: Vec<Change> = (order[..order.len() / 8].iter().chain(&order[order.len() / 2..])).map(remove).collect();
    both.apply(&rest);
    assert_eq!(both.index.snapshot().devices_len(), 0);
    let left = both.bytes();
    assert!(left <= empty + SLACK, "{left} bytes are left of {full}, and an empty index has {empty}");
    both.agree_about(serials.iter().step_by(5));
}

fn shuffle<T>(draw: &mut Draw, list: &mut [T]) {
    for last in (1..list.len()).rev() {
        list.swap(last, draw.below(last as u64 + 1) as usize);
    }
}

/// Every device is one of a kind: its group, version and hardware are nobody else's, and there are more of each than 16 bits can number.
#[test]
fn more_groups_versions_and_hardware_than_sixteen_bits_can_number() {
    const DEVICES: u64 = 70_000;
    let (id, product) = lamp();
    let mut both = Both::new(product);
    let empty = both.bytes();
    let serial = |number: u64| format!("{:012x}", (number + 1) * 0x9E37_79B9);
    let put = |number: u64| Change::PutDevice {
        product: id.clone(),
        device: DeviceSpec {
            serial: serial(number),
            state: DeviceState::Verified,
            group: format!("group {number}"),
            version: Some(format!("1.{number}")),
            hardware: Some(format!("board {number}")),
            ..Default::default()
        },
    };
    both.apply(&(0..DEVICES).map(put).collect::<Vec<_>>());
    let see = |number: u64| Change::SeeDevice {
        product: id.clone(),
        serial: serial(number),
        version: Some(format!("2.{number}")),
        hardware: Some(format!("bank {number}")),
    };
    both.apply(&(0..DEVICES).map(see).collect::<Vec<_>>());
    let go = |number: u64| Change::MoveDevice {
        product: id.clone(),
        serial: serial(number),
        group: GroupId::new(if number.is_multiple_of(2) { "default" } else { "a" }).unwrap(),
        at: Timestamp::from_millis(NOW),
    };
    both.apply(&(0..DEVICES).map(go).collect::<Vec<_>>());
    both.agree_about(&(0..DEVICES).step_by(97).map(serial).collect::<Vec<_>>());
    let remove = |number: u64| Change::RemoveDevice { product: id.clone(), serial: serial(number) };
    both.apply(&(0..DEVICES).map(remove).collect::<Vec<_>>());
    assert!(both.bytes() <= empty + SLACK, "{} bytes are left, and an empty index has {empty}", both.bytes());
}

/// Devices report what they like: what nobody says any more must not stay.
#[test]
fn a_flood_of_versions_leaves_nothing_behind() {
    let (id, product) = lamp();
    let both = Both::new(product);
    let devices: Vec<String> = (0..500).map(|number| format!("SN-{number}")).collect();
    let device = |serial: &String| DeviceSpec { serial: serial.clone(), group: "a".into(), ..Default::default() };
    let put = |serial: &String| Change::PutDevice { product: id.clone(), device: device(serial) };
    both.apply(&devices.iter().map(put).collect::<Vec<_>>());
    for round in 0..200 {
        let see = |(number, serial): (usize, &String)| Change::SeeDevice {
            product: id.clone(),
            serial: serial.clone(),
            version: Some(format!("9.{round}.{number}")),
            hardware: Some(format!("forged {round} {number}")),
        };
        let seen: Vec<Change> = devices.iter().enumerate().map(see).collect();
        assert_eq!(both.index.apply(&seen).unwrap(), both.store.apply(&seen).unwrap());
    }
    let spec = both.store.read(Fleet::spec);
    same_content(&both.index.snapshot(), &spec).unwrap();
    let (lived, built) = (both.bytes(), Index::new(&spec.build().unwrap()).snapshot().bytes().total());
    assert!(lived <= 2 * built + SLACK, "{lived} bytes after 100 000 reports, {built} when built at once");
}

/// Leaves that split and join: devices come and go at random, a few at a time, and the fleet is looked at all the while.
#[test]
fn a_fleet_that_breathes_stays_the_same_fleet() {
    for seed in 0..6 {
        let draw = &mut Draw(seed);
        let (id, product) = lamp();
        let mut both = Both::new(product);
        let serials: Vec<String> = if seed % 2 == 0 {
            mixed_serials(draw, 1_500)
        } else {
            // Neighbours, each a digit from the next.
            (0..1_500).map(|number| format!("a4cf12{number:06x}")).collect()
        };
        for round in 0..60 {
            // Up for twenty rounds, down for twenty, and up again.
            let growing = round / 20 % 2 == 0;
            let known: BTreeSet<String> = both.store.read(|fleet| {
                fleet.products().flat_map(|entry| entry.devices()).map(|device| device.serial().to_owned()).collect()
            });
            let mut batch = Vec::new();
            for serial in &serials {
                if !draw.once_in(12) {
                    continue;
                }
                let (product, gone) = (id.clone(), !growing && !draw.once_in(4));
                match (known.contains(serial), gone) {
                    (true, true) => batch.push(Change::RemoveDevice { product, serial: serial.clone() }),
                    (false, true) => {}
                    _ => batch.push(Change::PutDevice { product, device: any_device(draw, serial) }),
                }
            }
            let (ours, theirs) = (both.index.apply(&batch), both.store.apply(&batch));
            let same = theirs.is_ok() && ours == theirs;
            assert!(same, "seed {seed}, round {round}: index {ours:?}\nstore {theirs:?}");
            let same = same_content(&both.index.snapshot(), &both.store.read(Fleet::spec));
            same.unwrap_or_else(|fault| panic!("seed {seed}, round {round}: {fault}"));
        }
        both.agree_about(&serials);
    }
}

// Keys.

/// A reader remembers whose a key is. It must not remember longer than that is so.
#[test]
fn what_becomes_of_a_key_is_seen_at_the_next_decision() {
    let key = ApiKey::new(KeyHash::of(b"shared").unwrap());
    let product = |id: &str, keys: &[ApiKey]| ProductSpec { id: id.into(), keys: keys.to_vec(), ..Default::default() };
    let put = |id: &str, keys: &[ApiKey]| Change::PutProduct { product: product(id, keys) };
    let id = |id: &str| ProductId::new(id).unwrap();
    let whole = |spec: ProductSpec, serial: &str| ProductFleetSpec {
        firmware: vec![firmware("1.0.0")],
        groups: vec![GroupSpec { id: "default".into(), firmware: Some("1.0.0".into()), ..Default::default() }],
        devices: vec![DeviceSpec {
            serial: serial.into(),
            state: DeviceState::Verified,
            group: "default".into(),
            ..Default::default()
        }],
        product: spec,
    };
    let at = |millis| Some(Timestamp::from_millis(millis));
    // What the device `left` of p and the device `right` of q are told: each change is made to the fleet before it.
    let steps: Vec<(&str, Vec<Change>, [Reason; 2])> = vec![
        ("it is given to p", vec![put("p", &[key])], [Reason::Serve, Reason::DeviceUnknown]),
        ("it is revoked", vec![put("p", &[ApiKey { revoked: true, ..key }])], [Reason::KeyRevoked; 2]),
        ("it is valid again", vec![put("p", &[key])], [Reason::Serve, Reason::DeviceUnknown]),
        ("it ends", vec![put("p", &[ApiKey { not_after: at(NOW), ..key }])], [Reason::KeyExpired; 2]),
        ("it begins later", vec![put("p", &[ApiKey { not_before: at(NOW + 1), ..key }])], [Reason::KeyNotYetValid; 2]),
        ("it is taken away", vec![put("p", &[])], [Reason::KeyUnknown; 2]),
        ("it is given back", vec![put("p", &[key])], [Reason::Serve, Reason::DeviceUnknown]),
        ("it goes to q", vec![put("p", &[]), put("q", &[key])], [Reason::DeviceUnknown, Reason::Serve]),
        ("it comes back", vec![put("q", &[]), put("p", &[key])], [Reason::Serve, Reason::DeviceUnknown]),
        ("p is removed", vec![Change::RemoveProduct { product: id("p") }], [Reason::KeyUnknown; 2]),
        ("q takes it", vec![put("q", &[key])], [Reason::DeviceUnknown, Reason::Serve]),
        (
            "q is removed, and p made",
            vec![Change::RemoveProduct { product: id("q") }, put("p", &[key])],
            [Reason::DeviceUnknown; 2],
        ),
    ];
    let fleet = FleetSpec {
        revision: Revision(1),
        products: vec![whole(product("p", &[]), "left"), whole(product("q", &[]), "right")],
    };
    let index = Index::new(&fleet.build().unwrap());
    let mut readers = [index.reader(), index.reader(), index.reader()];
    let asks = [CheckIn::new(b"shared", b"left"), CheckIn::new(b"shared", b"right")];
    let now = Timestamp::from_millis(NOW);
    let mut told = |what: &str, revision: Revision, expected: [Reason; 2]| {
        let answer = |decision: &Decision<'_>| (decision.reason, decision.revision);
        let expected = expected.map(|reason| (reason, revision));
        // Each reader asks in one way alone, so that none is told by another way what has changed.
        let one = asks.map(|ask| answer(&readers[0].decide(&ask, now, &mut NoTrace)));
        assert_eq!(one, expected, "decide: {what}");
        let known = asks.map(|ask| answer(&readers[1].decide_known(&key.hash, &ask, now, &mut NoTrace)));
        assert_eq!(known, expected, "decide_known: {what}");
        let mut batch = [(Reason::Penalty, Revision(0)); 2];
        readers[2].decide_batch(&asks, now, &mut batch, answer);
        assert_eq!(batch, expected, "decide_batch: {what}");
    };
    told("nobody has it", Revision(1), [Reason::KeyUnknown; 2]);
    for (what, changes, expected) in steps {
        let revision = index.apply(&changes).unwrap_or_else(|problems| panic!("{what}: {problems}"));
        told(what, revision, expected);
    }
    // The same by replacing the whole.
    let other = |keys: [&[ApiKey]; 2], revision| FleetSpec {
        revision,
        products: vec![whole(product("p", keys[0]), "left"), whole(product("q", keys[1]), "right")],
    };
    let replaced = |keys: [&[ApiKey]; 2], revision, force| {
        index.replace(&other(keys, revision).build().unwrap(), force).unwrap();
    };
    replaced([&[], &[key]], Revision(100), false);
    told("replaced: it is q's", Revision(100), [Reason::DeviceUnknown, Reason::Serve]);
    replaced([&[key], &[]], Revision(100), true);
    told("replaced under the same revision", Revision(100), [Reason::Serve, Reason::DeviceUnknown]);
    replaced([&[], &[]], Revision(3), true);
    told("replaced by an older one", Revision(3), [Reason::KeyUnknown; 2]);
    // Time passes without a change.
    replaced([&[ApiKey { not_after: at(NOW + 1), ..key }], &[]], Revision(200), false);
    told("its last millisecond", Revision(200), [Reason::Serve, Reason::DeviceUnknown]);
    let after = readers[0].decide(&asks[0], Timestamp::from_millis(NOW + 1), &mut NoTrace).reason;
    assert_eq!(after, Reason::KeyExpired, "and the one after it");
}

/// What no product can have is unknown, and is not hashed.
#[test]
fn a_key_that_is_too_long_is_nobodys() {
    let index = Index::new(&Fleet::default());
    let long = vec![b'x'; KEY_BYTES_MAX + 1];
    for key in [&b""[..], b"\xff\0", &long, &long[1..]] {
        let ask = CheckIn::new(key, b"1");
        assert_eq!(index.reader().decide(&ask, Timestamp::from_millis(0), &mut NoTrace).reason, Reason::KeyUnknown);
    }
}

// Counters.

type Verdicts = BTreeMap<(Option<ProductId>, Reason), u64>;

fn verdicts(index: &Index) -> Verdicts {
    let mut counts = Verdicts::new();
    for row in index.verdicts() {
        assert!(row.count > 0, "a count of nothing: {:?} {}", row.product, row.reason);
        let twice = counts.insert((row.product.clone(), row.reason), row.count);
        assert!(twice.is_none(), "stands twice: {:?} {}", row.product, row.reason);
    }
    counts
}

#[test]
fn every_verdict_is_counted_once_whoever_gave_it() {
    for seed in 0..40 {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let fleet = translate::fleet_spec(&world).build().unwrap();
        let index = Index::new(&fleet);
        assert_eq!(verdicts(&index), Verdicts::new());
        let asks: Vec<world::Ask> = (0..600).map(|_| draw::ask(draw, &world)).collect();
        let owner = |check_in: &CheckIn<'_>| {
            KeyHash::of(check_in.key)
                .and_then(|hash| fleet.product_of_key(&hash))
                .map(|entry| entry.product().id().clone())
        };
        let (index, owner) = (&index, &owner);
        let run = |mut reader: Reader, asks: &[world::Ask]| {
            let mut given = Verdicts::new();
            let mut note = |check_in: &CheckIn<'_>, reason| *given.entry((owner(check_in), reason)).or_default() += 1;
            for (number, ask) in asks.iter().enumerate() {
                let (check_in, now) = (translate::check_in(ask), Timestamp::from_millis(ask.now));
                match number % 3 {
                    0 => note(&check_in, reader.decide(&check_in, now, &mut NoTrace).reason),
                    1 => {
                        let hash = KeyHash::of(check_in.key).unwrap();
                        note(&check_in, reader.decide_known(&hash, &check_in, now, &mut Recorder::default()).reason);
                    }
                    _ => {
                        let batch: Vec<_> = asks[..number % 50].iter().map(translate::check_in).collect();
                        let mut reasons = vec![Reason::Serve; batch.len()];
                        reader.decide_batch(&batch, now, &mut reasons, |decision| decision.reason);
                        batch.iter().zip(reasons).for_each(|(check_in, reason)| note(check_in, reason));
                    }
                }
            }
            (given, reader)
        };
        let (left, right) = asks.split_at(300);
        let (mut expected, kept, others) = std::thread::scope(|scope| {
            let kept = scope.spawn(|| run(index.reader(), left));
            let gone = scope.spawn(|| run(index.reader(), right).0);
            let (given, kept) = kept.join().unwrap();
            (given, kept, gone.join().unwrap())
        });
        others.into_iter().for_each(|(place, count)| *expected.entry(place).or_default() += count);
        assert_eq!(verdicts(index), expected, "seed {seed}: one reader is alive, one is gone");
        drop(kept);
        assert_eq!(verdicts(&index.clone()), expected, "seed {seed}: both are gone");
    }
}

/// A health check that asks should not show as a device.
#[test]
fn a_reader_that_does_not_count_leaves_no_verdicts() {
    let (_, product) = lamp();
    let index = Both::new(product).index;
    let mut silent = index.reader().uncounted();
    let ask = CheckIn::new(b"lamp-key", b"SN-1");
    assert_eq!(silent.decide(&ask, Timestamp::from_millis(0), &mut NoTrace).reason, Reason::DeviceUnknown);
    silent.decide_batch(&[ask, ask], Timestamp::from_millis(0), &mut [(); 2], |_| ());
    assert_eq!((verdicts(&index), silent.refresh()), (Verdicts::new(), index.revision()));
}

/// A counter that goes back is none: a product that is gone, or came again, was answered all the same.
#[test]
fn counts_outlive_their_product() {
    let (id, product) = lamp();
    let index = Both::new(product.clone()).index;
    let mut reader = index.reader();
    let ask = CheckIn::new(b"lamp-key", b"SN-1");
    let mut unknown = |times: u64| {
        for _ in 0..times {
            assert_eq!(reader.decide(&ask, Timestamp::from_millis(0), &mut NoTrace).reason, Reason::DeviceUnknown);
        }
    };
    let place = (Some(id.clone()), Reason::DeviceUnknown);
    unknown(3);
    index.apply(&[Change::RemoveProduct { product: id }]).unwrap();
    assert_eq!(verdicts(&index), Verdicts::from([(place.clone(), 3)]));
    index.apply(&[Change::PutProduct { product }]).unwrap();
    unknown(2);
    assert_eq!(verdicts(&index), Verdicts::from([(place, 5)]));
}

// The contract of stores.

#[cfg(feature = "contract")]
mod suite {
    use otagate::store::contract::{self, Changed, Promise, Subject};
    use otagate::{Change, Fleet, Index};

    struct Indexed;

    impl Subject for Indexed {
        type Store = Index;

        fn open(&self, fleet: &Fleet) -> Result<Index, String> {
            Ok(Index::new(fleet))
        }

        fn change(&self, store: &Index, changes: &[Change], _: &Fleet) -> Result<Changed, String> {
            store.apply(changes).map(|_| Changed::Done).map_err(|problems| problems.to_string())
        }
    }

    #[test]
    fn the_index_keeps_every_promise_of_a_store() {
        let report = contract::assert_kept(&Indexed);
        assert_eq!(report.kept, Promise::ALL);
        assert_eq!(report.skipped, []);
    }
}
