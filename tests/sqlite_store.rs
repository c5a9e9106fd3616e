//! A fleet in a SQLite file keeps the contract of a store, and is what the same fleet is in memory, whatever happens to it: asked straight through, and by an
//! index that follows.
#![cfg(all(feature = "sqlite", feature = "contract"))]

#[path = "support/folder.rs"]
mod folder;
mod twin;

use folder::Folder;
use otagate::feed::{Follower, Took};
use otagate::rollout::contract as ledger_contract;
use otagate::sqlite::{Durability, SqliteStore};
use otagate::store::contract::{self, Changed, Promise, Subject};
use otagate::*;
use std::sync::atomic::{AtomicU32, Ordering};
use twin::change::{change, fleet};
use twin::draw::Draw;

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
fn a_history_is_the_same_in_the_file_in_memory_and_in_an_index_that_follows() {
    let files = Files::new();
    let (mut applied, mut refused) = (0, 0);
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
            // Not each time: so patches come of several revisions too.
            if !draw.once_in(3) {
                follower.sync(&mut feed).unwrap();
                assert_eq!(index.revision(), revision);
                assert!(index.snapshot().to_fleet() == expected, "seed {seed}, {batch:?}: the index is another fleet");
                assert_eq!(follower.status().kept_out().len(), 0);
            }
        }
    }
    assert!(applied > 500 && refused > 500, "applied {applied}, refused {refused}");
}
