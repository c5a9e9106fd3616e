//! The index is the memory store, whatever happens to it: the same answers to changes, the same fleet and the same decisions, after every step.

mod twin;

use otagate::store::{self, Store as _};
use otagate::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use twin::change::{asks, change, fleet};
use twin::draw::{self, Draw, NOW};
use twin::indexed::*;
use twin::translate;
use twin::world;

/// The name of a change in its JSON.
fn kind(change: &Change) -> String {
    serde_json::to_value(change).unwrap()["change"].as_str().unwrap().to_owned()
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
        let mut all = vec![String::new(); batch.len()];
        reader.decide_all(
            batch.len(),
            |at| batch[at],
            now,
            |at, ask, decision| {
                let another = if *ask == batch[at] { "" } else { "of another check-in: " };
                all[at] = format!("{another}{}", json(decision));
            },
        );
        prop_assert!(all == theirs, "made on the way; at {now:?}\n{all:#?}\n{theirs:#?}");
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
    assert_eq!((met.accepted.len(), met.refused.len()), (32, 32), "every kind of change, accepted and refused");
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
