//! A fleet in a SQLite file keeps the contract of a store, and is what the same fleet is in memory, whatever happens to it: asked straight through, and by an
//! index that follows.
#![cfg(all(feature = "sqlite", feature = "contract"))]

#[path = "support/folder.rs"]
mod folder;
mod twin;

use folder::Folder;
use otagate::feed::{Follower, Took};
use otagate::rollout::RolloutStore;
use otagate::rollout::contract as ledger_contract;
use otagate::sqlite::{Durability, SqliteStore};
use otagate::store::answer;
use otagate::store::contract::{self, Changed, Promise, Subject};
use otagate::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use twin::change::{change, fleet, groups_with_waves, some_asks};
use twin::draw::Draw;
use twin::indexed::json;
use twin::translate;

struct Files(Folder, AtomicU32);

impl Files {
    fn new() -> Self {
        Self(Folder::new("sqlite"), AtomicU32::new(0))
    }

    fn store(&self) -> SqliteStore {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        SqliteStore::with(self.0.path().join(format!("{number}.db")), Durability::Process).unwrap()
    }
}

impl Subject for Files {
    type Store = SqliteStore;

    fn open(&self, fleet: &Fleet) -> Result<SqliteStore, String> {
        let store = self.store();
        store.replace(fleet).map_err(|fault| format!("{fault:?}"))?;
        Ok(store)
    }

    fn change(&self, store: &SqliteStore, changes: &[Change], _: &Fleet) -> Result<Changed, String> {
        let applied = store.apply(changes).map_err(|fault| format!("{fault:?}"))?;
        applied.map(|_| Changed::Done).map_err(|problems| problems.to_string())
    }
}

#[test]
fn it_keeps_every_promise_of_a_store() {
    let report = contract::assert_kept(&Files::new());
    assert_eq!(report.kept, Promise::ALL);
    assert_eq!(report.skipped, []);
}

impl ledger_contract::Subject for Files {
    type Ledger = SqliteStore;

    fn open(&self) -> Result<SqliteStore, String> {
        Ok(self.store())
    }
}

#[test]
fn it_keeps_every_promise_of_a_ledger() {
    let report = ledger_contract::assert_kept(&Files::new());
    assert_eq!(report.kept, ledger_contract::Promise::ALL);
    assert_eq!(report.skipped, []);
}

#[test]
fn many_that_open_a_new_file_at_once_make_its_tables_once() {
    let files = Files::new();
    for round in 0..30 {
        let path = files.0.path().join(format!("new-{round}.db"));
        std::thread::scope(|scope| {
            let opens: Vec<_> = (0..6).map(|_| scope.spawn(|| SqliteStore::open(&path).map(drop))).collect();
            opens.into_iter().for_each(|open| open.join().unwrap().unwrap());
        });
        let lamp = ProductSpec { id: "lamp".into(), ..Default::default() };
        let applied = SqliteStore::open(&path).unwrap().apply(&[Change::PutProduct { product: lamp }]);
        assert_eq!(applied.unwrap(), Ok(Revision(1)));
    }
}

#[test]
fn a_file_of_a_later_version_is_refused() {
    let files = Files::new();
    let path = files.store().path().to_owned();
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE otagate_meta SET schema = 99", []).unwrap();
    let fault = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(fault.starts_with("the tables are of version 99, and this program knows 1 at most"), "{fault}");
}

/// The log of a file that lives long does not grow for ever, and who is further behind than it reaches loads anew.
#[test]
fn the_log_is_cut() {
    let files = Files::new();
    let store = files.store();
    let lamp = ProductSpec { id: "lamp".into(), ..Default::default() };
    store.apply(&[Change::PutProduct { product: lamp }]).unwrap().unwrap();
    let by_hand = rusqlite::Connection::open(store.path()).unwrap();
    // As if so many had come about.
    by_hand.execute("UPDATE otagate_meta SET revision = 204798", []).unwrap();
    let index = Index::new(&Fleet::default());
    let (mut follower, mut feed) = (Follower::new(index.clone()), store.feed().unwrap());
    assert_eq!(follower.sync(&mut feed).unwrap(), Took::Load);
    let product = ProductId::new("lamp").unwrap();
    for serial in ["1", "2"] {
        let device = DeviceSpec { serial: serial.into(), group: "stable".into(), ..Default::default() };
        store.apply(&[Change::PutDevice { product: product.clone(), device }]).unwrap().unwrap();
    }
    assert_eq!(follower.sync(&mut feed).unwrap(), Took::Patch);
    let rows: i64 = by_hand.query_row("SELECT count(*) FROM otagate_log", [], |row| row.get(0)).unwrap();
    assert_eq!((index.revision(), rows), (Revision(204_800), 2), "what is older than 100,000 revisions is gone");
    store.prune_log(Revision(u64::MAX)).unwrap();
    assert_eq!(follower.sync(&mut feed).unwrap(), Took::Known);
    let device = DeviceSpec { serial: "3".into(), group: "stable".into(), ..Default::default() };
    store.apply(&[Change::PutDevice { product, device }]).unwrap().unwrap();
    store.prune_log(Revision(u64::MAX)).unwrap();
    assert_eq!(follower.sync(&mut feed).unwrap(), Took::Load);
    assert_eq!(index.snapshot().devices_len(), 3);
}

#[test]
fn a_history_is_the_same_in_the_file_in_memory_and_in_an_index_that_follows() {
    let files = Files::new();
    let (mut applied, mut refused, mut counted) = (0, 0, 0);
    let mut reasons = BTreeSet::new();
    for seed in 0..300 {
        let draw = &mut Draw(seed);
        let mut memory = fleet(draw.next());
        let store = files.store();
        store.replace(&memory).unwrap();
        let index = Index::new(&Fleet::default());
        let (mut follower, mut feed) = (Follower::new(index.clone()), store.feed().unwrap());
        assert_eq!(follower.sync(&mut feed).unwrap(), Took::Load);
        for _ in 0..10 {
            let batch: Vec<Change> = (0..1 + draw.below(4)).map(|_| change(draw, &memory)).collect();
            let before = store.revision().unwrap();
            match (memory.apply(&batch), store.apply(&batch).unwrap()) {
                (Ok(_), Ok(revision)) => {
                    applied += 1;
                    assert!(revision == before || revision == Revision(before.0 + 1), "a batch is one revision");
                    assert_eq!(store.revision().unwrap(), revision);
                }
                (Err(there), Err(here)) => {
                    refused += 1;
                    assert_eq!(here, there, "seed {seed}: {batch:?}");
                    assert_eq!(store.revision().unwrap(), before, "what is refused leaves nothing");
                }
                (there, here) => panic!("seed {seed}: in memory {there:?}, in the file {here:?}: {batch:?}"),
            }
            let revision = store.revision().unwrap();
            let expected = memory.clone().at_revision(revision);
            assert!(store.fleet().unwrap() == expected, "seed {seed}, {batch:?}: the file is another fleet");
            let twin = MemoryStore::new(expected.clone());
            for ask in some_asks(draw, &memory) {
                let (ask, now) = (translate::check_in(&ask), Timestamp::from_millis(ask.now));
                let theirs = answer(&twin, &ask, now, &mut NoTrace, |told| (told.reason, json(told))).unwrap();
                let ours = answer(&store, &ask, now, &mut NoTrace, |told| (told.reason, json(told))).unwrap();
                assert_eq!(ours, theirs, "seed {seed}: {ask:?}");
                reasons.insert(theirs.0.name());
            }
            assert_eq!(store.under_way().unwrap(), twin.under_way().unwrap());
            for (product, group) in groups_with_waves(&memory) {
                let theirs = twin.census(&product, &group, 0).unwrap();
                assert_eq!(store.census(&product, &group, 0).unwrap(), theirs);
                let serial = memory.product(product.as_str()).unwrap().devices().next().map_or("1", Device::serial);
                assert_eq!(
                    store.place(&product, &group, 0, serial).unwrap(),
                    twin.place(&product, &group, 0, serial).unwrap()
                );
                counted += 1;
            }
            // Not each time: so patches come of several revisions too.
            if !draw.once_in(3) {
                follower.sync(&mut feed).unwrap();
                assert_eq!(index.revision(), revision);
                assert!(index.snapshot().to_fleet() == expected, "seed {seed}, {batch:?}: the index is another fleet");
                assert_eq!(follower.status().kept_out().len(), 0);
            }
        }
    }
    assert!(applied > 500 && refused > 500 && counted > 500, "applied {applied}, refused {refused}, counted {counted}");
    assert!(reasons.len() > 20, "{reasons:?}");
}
