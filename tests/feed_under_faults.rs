//! An index that follows through every fault that a source can have ends equal to it, and is at each moment what the source was at the revision that it names.

mod twin;

use otagate::feed::{Changes, Feed, Follower, Loading, Patch, Took};
use otagate::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use twin::change::{change, fleet};
use twin::draw::Draw;

/// A fleet that changes, with a log of which rows each revision touched.
struct Source {
    /// By revision.
    history: Vec<Fleet>,
    log: Vec<(Revision, RowKey)>,
    log_from: Revision,
    /// Rows that somebody wrote by hand, and that are wrong.
    bad: BTreeMap<RowKey, RowValue>,
    draw: Draw,
    /// A patch that comes late.
    late: Option<Patch>,
    faulty: bool,
    met: BTreeMap<&'static str, u32>,
}

type Table = BTreeMap<RowKey, RowValue>;

/// The rows that a fleet is.
fn table(fleet: &Fleet) -> Table {
    let mut rows = Vec::new();
    for ProductFleetSpec { product, firmware, groups, devices } in fleet.spec().products {
        let id = product.id.clone();
        rows.push(Row::product(product));
        rows.extend(firmware.into_iter().map(|one| Row::firmware(&id, one)));
        rows.extend(groups.into_iter().map(|one| Row::group(&id, one)));
        rows.extend(devices.into_iter().map(|one| Row::device(&id, one)));
    }
    rows.into_iter().filter_map(|row| Some((row.key, row.value?))).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("the source is away")]
struct Away;

impl Source {
    fn new(seed: u64) -> Self {
        let mut draw = Draw(seed);
        let first = fleet(draw.next()).at_revision(Revision(0));
        Self {
            history: vec![first],
            log: Vec::new(),
            log_from: Revision(0),
            bad: Table::new(),
            draw,
            late: None,
            faulty: true,
            met: BTreeMap::new(),
        }
    }

    fn at(&self) -> Revision {
        Revision(self.history.len() as u64 - 1)
    }

    /// A new revision, which touched these rows.
    fn push(&mut self, fleet: Fleet, touched: impl IntoIterator<Item = RowKey>) {
        let revision = Revision(self.history.len() as u64);
        self.history.push(fleet.at_revision(revision));
        self.log.extend(touched.into_iter().map(|key| (revision, key)));
    }

    /// Some batch, if it is a legal one that changes something.
    fn step(&mut self) {
        let before = self.history.last().unwrap().clone();
        let mut after = before.clone();
        let batch: Vec<Change> = (0..1 + self.draw.below(4)).map(|_| change(&mut self.draw, &before)).collect();
        if after.apply(&batch).is_err() {
            return;
        }
        let (old, new) = (table(&before), table(&after));
        let keys: std::collections::BTreeSet<&RowKey> = old.keys().chain(new.keys()).collect();
        let touched: Vec<RowKey> = keys.into_iter().filter(|key| old.get(key) != new.get(key)).cloned().collect();
        self.push(after, touched);
    }

    /// Somebody writes a wrong row, or mends one.
    fn spoil(&mut self) {
        let unreadable = || RowValue::Unreadable("it is torn".to_owned());
        let key = |kind, product: &str, name: &str| RowKey::new(kind, product, name);
        let device =
            |serial: &str, group: &str| DeviceSpec { serial: serial.into(), group: group.into(), ..Default::default() };
        let hands = [
            (key(RowKind::Device, "p", "by-hand"), unreadable()),
            (key(RowKind::Device, "nowhere", "1"), RowValue::Device(device("1", "default"))),
            (key(RowKind::Group, "p", "by-hand"), unreadable()),
            (
                key(RowKind::Group, "p", "other"),
                RowValue::Group(Box::new(GroupSpec { id: "another".into(), ..Default::default() })),
            ),
            (
                key(RowKind::Firmware, "p", "77"),
                RowValue::Firmware(Box::new(FirmwareSpec { version: "77".into(), ..Default::default() })),
            ),
            (key(RowKind::Product, "odd", "odd"), RowValue::Group(Box::default())),
        ];
        let (key, value) = self.draw.of(&hands);
        if self.bad.remove(&key).is_none() {
            self.bad.insert(key.clone(), value);
        }
        let same = self.history.last().unwrap().clone();
        self.push(same, [key]);
    }

    fn mend(&mut self) {
        let same = self.history.last().unwrap().clone();
        let keys: Vec<RowKey> = std::mem::take(&mut self.bad).into_keys().collect();
        self.push(same, keys);
    }

    /// As from a backup.
    fn set_back(&mut self) {
        let to = self.draw.below(self.history.len() as u64);
        self.history.truncate(to as usize + 1);
        self.log.retain(|(revision, _)| revision.0 <= to);
        self.log_from = self.log_from.min(Revision(to));
        self.late = None;
    }

    /// What changed after a revision, as it stood at another.
    fn patch(&mut self, after: Revision, at: Revision) -> Patch {
        let held = table(&self.history[at.0 as usize]);
        let touched = self.log.iter().filter(|(revision, _)| after < *revision && *revision <= at);
        let mut rows: Vec<Row> = touched
            .map(|(_, key)| {
                let value = held.get(key).or_else(|| self.bad.get(key)).cloned();
                Row { key: key.clone(), revision: Revision(0), value }
            })
            .collect();
        // In any order, and a row twice.
        for at in 1..rows.len() {
            rows.swap(at, self.draw.below(at as u64 + 1) as usize);
        }
        if let Some(row) = rows.first().cloned().filter(|_| self.draw.once_in(2)) {
            rows.push(row);
        }
        Patch { after, revision: at, rows }
    }

    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }
}

struct Faulty(Rc<RefCell<Source>>);

impl Feed for Faulty {
    type Error = Away;

    fn load(&mut self) -> Result<Loading, Away> {
        let source = &mut *self.0.borrow_mut();
        if source.faulty && source.draw.once_in(4) {
            source.meet("a load that fails");
            return Err(Away);
        }
        let fleet = source.history.last().unwrap();
        let rows = table(fleet).into_iter().chain(source.bad.clone());
        let row = |(key, value)| Row { key, revision: Revision(0), value: Some(value) };
        let (devices, few): (Vec<Row>, Vec<Row>) = rows.map(row).partition(|row| row.key.kind == RowKind::Device);
        let loading = Loading::new(source.at(), few);
        devices.chunks(3).for_each(|some| loading.add(some.to_vec()));
        Ok(loading)
    }

    fn changes(&mut self, after: Revision) -> Result<Changes, Away> {
        let source = &mut *self.0.borrow_mut();
        let at = source.at();
        if at < after || after < source.log_from {
            source.meet("a source that was set back, or forgot");
            return Ok(Changes::Unknown);
        }
        // Bad rows stand in no history, so what stands there is only known of now.
        let fault = if source.faulty { source.draw.below(9) } else { 9 };
        Ok(match fault {
            0 => {
                source.meet("a look that fails");
                return Err(Away);
            }
            1 => {
                source.meet("a source that does not know");
                Changes::Unknown
            }
            2 => match source.late.take() {
                Some(late) => {
                    source.meet("a patch that comes late");
                    Changes::Patch(late)
                }
                None => Changes::None,
            },
            3 if at > after => {
                source.meet("silence");
                Changes::None
            }
            4 if at.0 > after.0 + 1 => {
                source.meet("a patch that is missing");
                let (from, to) = (Revision(after.0 + 1), at);
                Changes::Patch(source.patch(from, to))
            }
            5 if after > source.log_from => {
                source.meet("a patch that overlaps");
                let from = Revision(source.log_from.0 + source.draw.below(after.0 - source.log_from.0));
                Changes::Patch(source.patch(from, at))
            }
            6 if at.0 > after.0 + 1 && source.bad.is_empty() => {
                source.meet("a patch of the first few");
                let to = Revision(after.0 + 1 + source.draw.below(at.0 - after.0 - 1));
                Changes::Patch(source.patch(after, to))
            }
            _ if at == after => Changes::None,
            _ => {
                let patch = source.patch(after, at);
                if source.draw.once_in(2) {
                    source.late = Some(patch.clone());
                }
                Changes::Patch(patch)
            }
        })
    }

    fn wait(&mut self, _: Duration) {}
}

/// What the index holds is what the source was.
fn assert_true(index: &Index, source: &Source, seed: u64) {
    let (held, revision) = (index.snapshot().to_fleet(), index.revision());
    let was = source.history.get(revision.0 as usize);
    assert!(was == Some(&held), "seed {seed}: at {revision} the source was another");
}

#[test]
fn it_ends_equal_to_its_source() {
    let mut met = BTreeMap::<&str, u32>::new();
    for seed in 0..500 {
        let source = Rc::new(RefCell::new(Source::new(seed)));
        let mut feed = Faulty(source.clone());
        let mut index = Index::new(&Fleet::default());
        let mut follower = Follower::new(index.clone());
        let mut loaded = false;
        assert!(!follower.status().may_serve(), "nobody is served before it has loaded");
        for _ in 0..24 {
            let what = source.borrow_mut().draw.below(20);
            match what {
                0..=11 => (0..1 + what % 3).for_each(|_| source.borrow_mut().step()),
                12 if seed % 3 == 0 => source.borrow_mut().spoil(),
                13 => {
                    let at = source.borrow().at();
                    source.borrow_mut().log.retain(|(revision, _)| *revision > at);
                    source.borrow_mut().log_from = at;
                }
                14 => {
                    source.borrow_mut().set_back();
                    // Until it has been looked at: what was set back and has come further since cannot be told from what went on.
                    let faulty = std::mem::replace(&mut source.borrow_mut().faulty, false);
                    follower.sync(&mut feed).unwrap();
                    source.borrow_mut().faulty = faulty;
                    loaded = true;
                }
                15 => {
                    index = Index::new(&Fleet::default());
                    follower = Follower::new(index.clone());
                    loaded = false;
                }
                _ => {}
            }
            let took = follower.sync(&mut feed);
            loaded |= matches!(took, Ok(Took::Load));
            assert_eq!(follower.status().fault().is_some(), took.is_err());
            if loaded {
                assert_true(&index, &source.borrow(), seed);
            }
        }
        if seed % 3 == 0 {
            source.borrow_mut().faulty = false;
            follower.sync(&mut feed).unwrap();
            let kept: Vec<RowKey> = follower.status().kept_out().iter().map(|kept| kept.key.clone()).collect();
            let bad: Vec<RowKey> = source.borrow().bad.keys().cloned().collect();
            assert_eq!(kept, bad, "seed {seed}");
            source.borrow_mut().mend();
        }
        source.borrow_mut().faulty = false;
        follower.sync(&mut feed).unwrap();
        let (status, source) = (follower.status(), source.borrow());
        assert_eq!(index.revision(), source.at(), "seed {seed}");
        assert_true(&index, &source, seed);
        assert_eq!((status.lag(), status.kept_out().len(), status.may_serve()), (0, 0, true), "seed {seed}");
        for (what, times) in &source.met {
            *met.entry(what).or_default() += times;
        }
    }
    for what in [
        "a load that fails",
        "a look that fails",
        "a source that does not know",
        "a source that was set back, or forgot",
        "a patch that comes late",
        "silence",
        "a patch that is missing",
        "a patch that overlaps",
        "a patch of the first few",
    ] {
        assert!(met.get(what).is_some_and(|times| *times >= 50), "{what}: {met:?}");
    }
}
