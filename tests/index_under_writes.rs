//! Readers of the index while it is written to: every answer is that of one revision, revisions never go back, and old ones are let go.

mod twin;

use otagate::store;
use otagate::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use twin::draw::{Draw, NOW};
use twin::indexed::firmware;

const DEVICES: u64 = 3_000;

fn serial(number: u64) -> String {
    // Of every length and kind, but always the same for a number.
    match number % 4 {
        0 => format!("{:012x}", number * 0x9E37_79B9),
        1 => format!("{number}"),
        2 => format!("{:032x}", u128::from(number) << 70 | 5),
        _ => format!("Gerät-{number:040}"),
    }
}

fn product_id() -> ProductId {
    ProductId::new("lamp").unwrap()
}

fn product(revoked: bool) -> ProductSpec {
    ProductSpec {
        id: "lamp".into(),
        keys: vec![
            ApiKey::new(KeyHash::of(b"lamp-key").unwrap()),
            ApiKey { revoked, ..ApiKey::new(KeyHash::of(b"other-key").unwrap()) },
        ],
        versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
        register_on_first_contact: true,
        new_devices_max: 1_000_000,
        ..Default::default()
    }
}

const VERSIONS: [&str; 4] = ["1.0.0", "1.1.0", "2.0.0", "2.1.0"];
const GROUPS: [&str; 3] = ["default", "canary", "late"];

fn device(draw: &mut Draw, serial: String) -> DeviceSpec {
    DeviceSpec {
        serial,
        state: draw.of(&[DeviceState::Verified, DeviceState::Verified, DeviceState::New, DeviceState::Blocked]),
        group: draw.of(&GROUPS).into(),
        pin: draw.some(8, |draw| draw.of(&VERSIONS).into()),
        version: draw.some(2, |draw| format!("1.0.{}", draw.below(500))),
        ..Default::default()
    }
}

fn fleet(draw: &mut Draw) -> Fleet {
    let group = |id: &str| GroupSpec { id: id.into(), firmware: Some("1.1.0".into()), ..Default::default() };
    let devices = (0..DEVICES).filter(|number| number % 3 != 0).map(|number| device(draw, serial(number))).collect();
    let spec = FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product: product(false),
            firmware: VERSIONS.map(firmware).to_vec(),
            groups: GROUPS.map(group).to_vec(),
            devices,
        }],
    };
    spec.build().unwrap()
}

/// Anything that may happen, one thing or some hundred at once. One in ten is refused: what is last is wrong.
fn batch(draw: &mut Draw) -> Vec<Change> {
    let len = draw.of(&[1, 1, 1, 2, 5, 200]);
    let mut changes: Vec<Change> = (0..len).map(|_| change(draw)).collect();
    // Of so many, one would surely be of a device that is not there.
    changes.retain(|change| len <= 5 || !matches!(change, Change::RemoveDevice { .. }));
    changes.extend(draw.some(10, |_| Change::RemoveDevice { product: product_id(), serial: "nobody".into() }));
    changes
}

/// Every third device comes and goes; the others are always there, so that what happens to them is accepted.
fn change(draw: &mut Draw) -> Change {
    let (product, any) = (product_id(), draw.below(DEVICES));
    let serial = serial(if any.is_multiple_of(3) { any + 1 } else { any });
    let guest = self::serial(any / 3 * 3);
    let group = GroupId::new(draw.of(&GROUPS)).unwrap();
    let firmware = draw.of(&VERSIONS).to_owned();
    let at = Timestamp::from_millis(NOW);
    match draw.below(60) {
        0 => Change::AssignFirmware { product, group, firmware: draw.some(2, |_| firmware) },
        1 => Change::DenyFirmware { product, firmware, denied: draw.once_in(2) },
        2 => Change::PutProduct { product: self::product(draw.once_in(2)) },
        3..=14 => Change::MoveDevice { product, serial, group, at },
        15..=24 => {
            let state = draw.of(&[DeviceState::Verified, DeviceState::New, DeviceState::Quota]);
            Change::SetDeviceState { product, serial, state }
        }
        25..=29 => Change::PinDevice { product, serial, firmware: Some(firmware) },
        30..=39 => Change::Register { product, serial: guest, at },
        // Refused where it is not there.
        40 => Change::RemoveDevice { product, serial: guest },
        41..=45 => Change::PutDevice { product, device: device(draw, guest) },
        _ => Change::PutDevice { product, device: device(draw, serial) },
    }
}

/// The check-in of a number, the same on every thread and for the twin.
struct Ask {
    key: &'static [u8],
    serial: Vec<u8>,
    version: &'static [u8],
    now: Timestamp,
}

const ASKS: u64 = 2_048;

fn asks() -> Vec<Ask> {
    let draw = &mut Draw(99);
    let ask = |_| Ask {
        key: draw.of(&[&b"lamp-key"[..], b"lamp-key", b"lamp-key", b"other-key", b"nobody's"]),
        serial: serial(draw.below(DEVICES)).into_bytes(),
        version: draw.of(&[&b"1.0.0"[..], b"1.1.0", b"2.0.0", b"latest", b""]),
        now: Timestamp::from_millis(NOW),
    };
    (0..ASKS).map(ask).collect()
}

impl Ask {
    fn check_in(&self) -> CheckIn<'_> {
        CheckIn { version: self.version, ..CheckIn::new(self.key, &self.serial) }
    }
}

fn json(decision: &Decision<'_>) -> String {
    serde_json::to_string(decision).unwrap()
}

/// What a reader was told: at which revision, to which check-in, what.
type Told = (Revision, usize, String);
/// What a snapshot counted.
type Counted = (Revision, usize, BTreeMap<(String, DeviceState), u64>);

const DECISIONS: usize = 30_000;
const REVISIONS: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until it was told enough, and the fleet has moved on often enough meanwhile.
fn read(index: &Index, asks: &[Ask], published: &AtomicU64, seed: u64) -> (Vec<Told>, Vec<Counted>) {
    let (draw, mut reader) = (&mut Draw(seed), index.reader());
    let (mut told, mut counted) = (Vec::<Told>::new(), Vec::<Counted>::new());
    let (mut last, mut revisions) = (Revision(0), BTreeSet::new());
    let since = Instant::now();
    while told.len() < DECISIONS || revisions.len() < REVISIONS {
        assert!(
            since.elapsed() < PATIENCE,
            "only {} revisions in {} decisions were seen: seed {seed}",
            revisions.len(),
            told.len()
        );
        // What was published before the question must be in the answer.
        let published = Revision(published.load(Ordering::Acquire));
        let floor = last.max(published);
        let (number, before) = (draw.below(ASKS) as usize, told.len());
        let ask = &asks[number];
        let revision = match draw.below(40) {
            0 => {
                let numbers: Vec<usize> = (0..draw.below(60)).map(|_| draw.below(ASKS) as usize).collect();
                let batch: Vec<CheckIn<'_>> = numbers.iter().map(|number| asks[*number].check_in()).collect();
                let mut answers = vec![(Revision(0), String::new()); batch.len()];
                reader.decide_batch(&batch, ask.now, &mut answers, |decision| (decision.revision, json(decision)));
                let first = answers.first().map(|(revision, _)| *revision);
                let one = answers.iter().all(|(revision, _)| Some(*revision) == first);
                assert!(one, "a batch of more than one revision: seed {seed}, {answers:?}");
                told.extend(
                    numbers.into_iter().zip(answers).map(|(number, (revision, json))| (revision, number, json)),
                );
                first
            }
            1..=10 => {
                let hash = KeyHash::of(ask.key).unwrap();
                let decision = reader.decide_known(&hash, &ask.check_in(), ask.now, &mut NoTrace);
                told.push((decision.revision, number, json(&decision)));
                Some(decision.revision)
            }
            11 if counted.len() < 40 => {
                let snapshot = index.snapshot();
                let mut members = 0;
                snapshot.scan("lamp", None, |_| members += 1);
                assert_eq!(members, snapshot.devices_len(), "a scan of one revision: seed {seed}");
                let mut counts = BTreeMap::new();
                for row in snapshot.counts() {
                    counts.insert((row.group.to_string(), row.state), row.devices);
                }
                counted.push((snapshot.revision(), members, counts));
                Some(snapshot.revision())
            }
            _ => {
                let decision = reader.decide(&ask.check_in(), ask.now, &mut NoTrace);
                told.push((decision.revision, number, json(&decision)));
                Some(decision.revision)
            }
        };
        if let Some(revision) = revision {
            assert!(revision >= floor, "{revision} was told, after {last}, and {published} was published: seed {seed}");
            last = revision;
            // Who waits for the writer keeps one answer of a revision: the rest would fill the memory.
            if !revisions.insert(last) && told.len() > DECISIONS {
                told.truncate(before);
            }
        }
    }
    (told, counted)
}

#[test]
fn every_answer_is_that_of_the_plain_store_at_the_same_revision() {
    let draw = &mut Draw(5);
    let start = fleet(draw);
    let index = Index::new(&start);
    let (asks, published, readers) = (asks(), AtomicU64::new(1), AtomicU64::new(2));
    let (mut log, told) = std::thread::scope(|scope| {
        let reader = |seed| {
            let (index, asks, published, readers) = (&index, &asks, &published, &readers);
            scope.spawn(move || {
                // Whether it ends well or not, the writer must not wait for it.
                struct Gone<'a>(&'a AtomicU64);
                impl Drop for Gone<'_> {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, Ordering::AcqRel);
                    }
                }
                let _gone = Gone(readers);
                read(index, asks, published, seed)
            })
        };
        let reading = [reader(11), reader(12)];
        let mut log = vec![(Revision(1), Vec::new())];
        let mut own = index.reader();
        while readers.load(Ordering::Acquire) > 0 {
            let changes = batch(draw);
            let before = log.last().map_or(Revision(0), |(revision, _)| *revision);
            match index.apply(&changes) {
                Ok(revision) if revision > before => {
                    published.store(revision.0, Ordering::Release);
                    log.push((revision, changes));
                }
                outcome => assert!(outcome.is_err() || outcome == Ok(before), "{outcome:?} after {before}"),
            }
            let held = log.last().map_or(Revision(0), |(revision, _)| *revision);
            assert_eq!(index.revision(), held);
            let ask = asks[log.len() % asks.len()].check_in();
            assert_eq!(own.decide(&ask, Timestamp::from_millis(NOW), &mut NoTrace).revision, held, "one's own write");
        }
        (log, reading.map(|reader| reader.join().unwrap()))
    });

    // Now slowly, and one revision after the other.
    let (revisions, large) = (log.len(), log.iter().filter(|(_, changes)| changes.len() > 100).count());
    let (mut answers, mut counted) = (Vec::<Told>::new(), Vec::<Counted>::new());
    let seen = |(told, counted): &(Vec<Told>, Vec<Counted>)| -> BTreeSet<Revision> {
        let (told, counted) =
            (told.iter().map(|(revision, ..)| *revision), counted.iter().map(|(revision, ..)| *revision));
        told.chain(counted).collect()
    };
    let seen: Vec<BTreeSet<Revision>> = told.iter().map(seen).collect();
    for (told, counts) in told {
        answers.extend(told);
        counted.extend(counts);
    }
    answers.sort();
    counted.sort();
    let (decisions, mut answers, mut counted) =
        (answers.len(), answers.into_iter().peekable(), counted.into_iter().peekable());
    let twin = MemoryStore::new(start);
    for (revision, changes) in log.drain(..) {
        if !changes.is_empty() {
            assert_eq!(twin.apply(&changes), Ok(revision));
        }
        let mut cache = BTreeMap::new();
        while let Some((_, number, told)) = answers.next_if(|(of, ..)| *of == revision) {
            let expected = cache.entry(number).or_insert_with(|| {
                store::answer(&twin, &asks[number].check_in(), asks[number].now, &mut NoTrace, json).unwrap()
            });
            assert!(*expected == told, "at {revision}, check-in {number}: told {told}\nthe store says {expected}");
        }
        while let Some((_, devices, counts)) = counted.next_if(|(of, ..)| *of == revision) {
            let mut expected = BTreeMap::<(String, DeviceState), u64>::new();
            let known = twin.read(|fleet| {
                let known = fleet.product("lamp").unwrap().devices();
                let known: Vec<_> = known.map(|device| (device.group().to_string(), device.state())).collect();
                known
            });
            assert_eq!(devices, known.len(), "at {revision}");
            known.into_iter().for_each(|place| *expected.entry(place).or_default() += 1);
            assert_eq!(counts, expected, "at {revision}");
        }
    }
    assert_eq!(answers.next(), None, "an answer of a revision that never was");
    assert_eq!(counted.next(), None, "a count of a revision that never was");
    assert!(large > revisions / 20, "only {large} of {revisions} revisions are of large batches");
    let seen: Vec<usize> = seen.iter().map(BTreeSet::len).collect();
    println!("{revisions} revisions, {decisions} decisions; each reader saw {seen:?} revisions");
    assert!(decisions >= 2 * DECISIONS && seen.iter().all(|seen| *seen >= REVISIONS));
}

/// Two writers, each with devices of its own: nothing is lost, no revision is given twice.
#[test]
fn writers_take_turns() {
    let index = Index::new(&fleet(&mut Draw(1)));
    let before = index.snapshot().devices_len();
    const EACH: u64 = 400;
    let given: Vec<Vec<Revision>> = std::thread::scope(|scope| {
        let write = |name: &'static str| {
            let index = index.clone();
            scope.spawn(move || {
                let put = |number: u64| {
                    let device =
                        DeviceSpec { serial: format!("{name}{number}"), group: "late".into(), ..Default::default() };
                    index.apply(&[Change::PutDevice { product: product_id(), device }]).unwrap()
                };
                (0..EACH).map(put).collect()
            })
        };
        [write("left-"), write("right-")].map(|writer| writer.join().unwrap()).to_vec()
    });
    assert!(given.iter().all(|given| given.is_sorted()), "{given:?}");
    let all: BTreeSet<Revision> = given.into_iter().flatten().collect();
    assert_eq!(all.len() as u64, 2 * EACH);
    assert_eq!(index.revision(), Revision(1 + 2 * EACH));
    let snapshot = index.snapshot();
    assert_eq!(snapshot.devices_len() as u64, before as u64 + 2 * EACH);
    for number in 0..EACH {
        for name in ["left-", "right-"] {
            assert!(snapshot.device("lamp", &format!("{name}{number}")).is_some(), "{name}{number}");
        }
    }
}

fn one_more(index: &Index, number: u64) -> Revision {
    let device = DeviceSpec { serial: format!("SN-{number}"), group: "late".into(), ..Default::default() };
    index.apply(&[Change::PutDevice { product: product_id(), device }]).unwrap()
}

fn alive(old: &[Weak<Snapshot>]) -> usize {
    old.iter().filter(|snapshot| snapshot.strong_count() > 0).count()
}

fn decide(reader: &mut Reader) -> Revision {
    let ask = CheckIn::new(b"lamp-key", b"1");
    reader.decide(&ask, Timestamp::from_millis(NOW), &mut NoTrace).revision
}

#[test]
fn old_revisions_are_let_go_once_readers_have_moved_on() {
    let index = Index::new(&fleet(&mut Draw(1)));
    let mut readers = [index.reader(), index.reader()];
    let mut old = Vec::new();
    for number in 0..200 {
        let revision = one_more(&index, number);
        old.push(Arc::downgrade(&index.snapshot()));
        assert_eq!(readers.each_mut().map(decide), [revision; 2]);
    }
    one_more(&index, 1_000);
    readers.iter_mut().for_each(|reader| {
        decide(reader);
    });
    let left = alive(&old);
    assert!(left <= 1, "{left} of {} revisions that nobody can see are alive", old.len());

    // Who holds a snapshot keeps that one, and what it says.
    let (held, before) = (index.snapshot(), index.snapshot().devices_len());
    let (revision, weak) = (index.revision(), Arc::downgrade(&held));
    for number in 2_000..2_020 {
        one_more(&index, number);
        readers.iter_mut().for_each(|reader| {
            decide(reader);
        });
    }
    assert_eq!((held.revision(), held.devices_len()), (revision, before));
    assert_eq!((held.device("lamp", "SN-1000").is_some(), held.device("lamp", "SN-2000").is_some()), (true, false));
    drop(held);
    one_more(&index, 3_000);
    readers.iter_mut().for_each(|reader| {
        decide(reader);
    });
    assert_eq!(weak.strong_count(), 0, "a snapshot that was given back is alive");
}

/// A thread that has nothing to do must not keep every revision since.
#[test]
fn a_reader_that_looks_away_keeps_one_revision_at_most() {
    let index = Index::new(&fleet(&mut Draw(1)));
    let mut busy = index.reader();
    let mut idle = index.reader();
    let never = index.reader();
    decide(&mut idle);
    let mut old = Vec::new();
    for number in 0..200 {
        one_more(&index, number);
        old.push(Arc::downgrade(&index.snapshot()));
        decide(&mut busy);
        // From time to time another reader looks away for good.
        if number == 100 {
            decide(&mut idle);
        }
    }
    // One for each of the two that look away, the one that is held, and the one before it.
    let left = alive(&old);
    assert!(left <= 4, "{left} of {} revisions are alive", old.len());
    assert_eq!(decide(&mut idle), index.revision(), "and sees what is, once it looks again");
    drop((never, idle));
    let last = one_more(&index, 1_000);
    assert_eq!(decide(&mut busy), last);
    assert!(alive(&old) <= 1, "{} are alive", alive(&old));
}

/// After a large fleet was replaced nobody may write for hours.
#[test]
fn what_readers_let_go_after_the_last_change_is_reclaimed_on_request() {
    let index = Index::new(&fleet(&mut Draw(1)));
    let mut reader = index.reader();
    decide(&mut reader);
    let old = [Arc::downgrade(&index.snapshot())];
    one_more(&index, 1);
    assert_eq!((index.reclaim(), alive(&old)), (1, 1), "the reader holds it still");
    decide(&mut reader);
    assert_eq!((index.reclaim(), alive(&old)), (0, 0));
}

/// What goes from thread to thread, and what is shared.
#[test]
fn handles_readers_and_snapshots_may_go_to_other_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    fn owned<T: Send + 'static>() {}
    shared::<Index>();
    shared::<Arc<Snapshot>>();
    owned::<Reader>();
    // A reader outlives the handle that it came from.
    let index = Index::new(&fleet(&mut Draw(1)));
    let mut reader = index.reader();
    let revision = one_more(&index, 1);
    drop(index);
    let seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| seen.store(decide(&mut reader) == revision, Ordering::Release));
    });
    assert!(seen.load(Ordering::Acquire));
}
