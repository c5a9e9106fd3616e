//! A fleet in PostgreSQL keeps the contracts of a store and of a ledger, and is what the same fleet is in memory, whatever happens to it: asked straight
//! through, and by an index that follows.
#![cfg(all(feature = "postgres", feature = "contract"))]

#[path = "support/postgres.rs"]
mod server;
mod twin;

use otagate::feed::Follower;
use otagate::postgres::PostgresStore;
use otagate::postgres::deadpool_postgres::{Manager, Pool};
use otagate::postgres::tokio_postgres::{Config, NoTls};
use otagate::rollout::contract as ledger_contract;
use otagate::rollout::{AsyncLedger, AsyncRolloutStore, ClaimAsk, Of, OfferAsk, RolloutStore};
use otagate::store::contract::{self, AsyncSubject, Changed, Promise};
use otagate::store::{AsyncStore, answer, answer_async, fetch_async};
use otagate::*;
use server::Postgres;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use twin::change::{change, fleet, groups_with_waves, some_asks};
use twin::draw::Draw;
use twin::indexed::json;
use twin::translate;

/// One server for all tests of this file, a schema for each store.
static SERVER: LazyLock<Postgres> = LazyLock::new(Postgres::start);

#[derive(Clone)]
struct Schemas(Pool);

impl Schemas {
    fn new(conninfo: &str) -> Self {
        let config: Config = conninfo.parse().unwrap();
        Self(Pool::builder(Manager::new(config, NoTls)).max_size(12).build().unwrap())
    }

    async fn store(&self) -> PostgresStore {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let schema = format!("fleet_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        PostgresStore::open(self.0.clone(), &schema).await.unwrap()
    }
}

impl AsyncSubject for Schemas {
    type Store = PostgresStore;

    async fn open(&self, fleet: &Fleet) -> Result<PostgresStore, String> {
        let store = self.store().await;
        store.replace(fleet).await.map_err(|fault| format!("{fault:?}"))?;
        Ok(store)
    }

    async fn change(&self, store: &PostgresStore, changes: &[Change], _: &Fleet) -> Result<Changed, String> {
        let applied = store.apply(changes).await.map_err(|fault| format!("{fault:?}"))?;
        applied.map(|_| Changed::Done).map_err(|problems| problems.to_string())
    }
}

impl ledger_contract::AsyncSubject for Schemas {
    type Ledger = PostgresStore;

    async fn open(&self) -> Result<PostgresStore, String> {
        Ok(self.store().await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_every_promise_of_a_store() {
    let report = contract::assert_kept_async(&Schemas::new(&SERVER.conninfo())).await;
    assert_eq!(report.kept, Promise::ALL);
    assert_eq!(report.skipped, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_every_promise_of_a_ledger() {
    let report = ledger_contract::assert_kept_async(&Schemas::new(&SERVER.conninfo())).await;
    assert_eq!(report.kept, ledger_contract::Promise::ALL);
    assert_eq!(report.skipped, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_open_a_new_schema_at_once_make_and_fill_its_tables_once() {
    let lamps = fleet(7);
    for round in 0..10 {
        let mut opens = tokio::task::JoinSet::new();
        for _ in 0..6 {
            // A pool each, as each gateway has.
            let (schemas, lamps) = (Schemas::new(&SERVER.conninfo()), lamps.clone());
            opens.spawn(async move {
                let store = PostgresStore::open(schemas.0, &format!("new_{round}")).await.unwrap();
                (store.fill(&lamps).await.unwrap(), store)
            });
        }
        let opened = opens.join_all().await;
        assert_eq!(opened.iter().filter(|(filled, _)| filled.is_some()).count(), 1, "one fills it");
        let there = opened[0].1.fleet().await.unwrap();
        assert!(there == lamps.clone().at_revision(Revision(1)));
    }
    let fault = PostgresStore::open(Schemas::new(&SERVER.conninfo()).0, "Fleet; DROP").await.unwrap_err();
    assert_eq!(
        fault.to_string(),
        "`Fleet; DROP` cannot be the name of a schema: up to 40 of a-z, 0-9 and _, a letter first"
    );
}

/// A device that asks all gateways at once makes one attempt, also where no slots are counted and so no run is locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_device_that_asks_everywhere_at_once_makes_one_attempt() {
    let store = Schemas::new(&SERVER.conninfo()).store().await;
    let now = Timestamp::from_millis(1_795_000_000_000);
    let run = Run {
        product: ProductId::new("lamp").unwrap(),
        group: GroupId::new("stable").unwrap(),
        rollout: RolloutId::new("r7").unwrap(),
        started_at: now,
    };
    for device in 0..100 {
        let mut claims = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (store, run) = (store.clone(), run.clone());
            claims.spawn(async move {
                let serial = device.to_string();
                let of = Of { product: &run.product, group: &run.group, serial: &serial, run: Some(&run) };
                let offer = Some(OfferAsk { wave: 0, hop: "2.0", slots_max: None, missing: None, after: None });
                let ask = ClaimAsk { of, offer, downloads_max: None, until: now.plus_secs(60) };
                AsyncLedger::claim(&store, &ask, now).await.unwrap().unwrap()
            });
        }
        let claimed = claims.join_all().await;
        assert_eq!(claimed.iter().filter(|claimed| claimed.new).count(), 1, "{claimed:?}");
        assert!(claimed.iter().all(|claimed| claimed.attempt == Some(1)), "{claimed:?}");
        let statistics = AsyncLedger::statistics(&store, &run, 0).await.unwrap();
        assert_eq!(statistics.total().devices(), device + 1);
    }
}

/// A run that is forgotten while its devices claim begins anew, and no claim fails for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_may_be_forgotten_while_it_is_claimed() {
    let store = Schemas::new(&SERVER.conninfo()).store().await;
    let now = Timestamp::from_millis(1_795_000_000_000);
    let run = Run {
        product: ProductId::new("lamp").unwrap(),
        group: GroupId::new("stable").unwrap(),
        rollout: RolloutId::new("r7").unwrap(),
        started_at: now,
    };
    let mut claims = tokio::task::JoinSet::new();
    for task in 0..4 {
        let (store, run) = (store.clone(), run.clone());
        claims.spawn(async move {
            for device in 0..150 {
                let serial = format!("{task}-{device}");
                let of = Of { product: &run.product, group: &run.group, serial: &serial, run: Some(&run) };
                let offer = Some(OfferAsk { wave: 0, hop: "2.0", slots_max: None, missing: None, after: None });
                let ask = ClaimAsk { of, offer, downloads_max: None, until: now.plus_secs(60) };
                AsyncLedger::claim(&store, &ask, now).await.unwrap().unwrap();
                if device % 3 == 0 {
                    AsyncLedger::forget(&store, &run).await.unwrap();
                }
            }
        });
    }
    claims.join_all().await;
    AsyncLedger::forget(&store, &run).await.unwrap();
    assert_eq!(AsyncLedger::statistics(&store, &run, 0).await.unwrap().total().devices(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_the_same_in_the_database_in_memory_and_in_an_index_that_follows() {
    let schemas = Schemas::new(&SERVER.conninfo());
    let (mut applied, mut refused, mut counted) = (0, 0, 0);
    let mut reasons = BTreeSet::new();
    for seed in 0..60 {
        let draw = &mut Draw(seed);
        let mut memory = fleet(draw.next());
        let store = schemas.store().await;
        store.replace(&memory).await.unwrap();
        let index = Index::new(&Fleet::default());
        let (mut follower, mut feed) = (Follower::new(index.clone()), store.feed(3));
        follower.sync_async(&mut feed).await.unwrap();
        for _ in 0..10 {
            let batch: Vec<Change> = (0..1 + draw.below(4)).map(|_| change(draw, &memory)).collect();
            let before = store.revision().await.unwrap();
            match (memory.apply(&batch), store.apply(&batch).await.unwrap()) {
                (Ok(_), Ok(revision)) => {
                    applied += 1;
                    assert!(revision == before || revision == Revision(before.0 + 1), "a batch is one revision");
                    assert_eq!(store.revision().await.unwrap(), revision);
                }
                (Err(there), Err(here)) => {
                    refused += 1;
                    assert_eq!(here, there, "seed {seed}: {batch:?}");
                    assert_eq!(store.revision().await.unwrap(), before, "what is refused leaves nothing");
                }
                (there, here) => panic!("seed {seed}: in memory {there:?}, in the database {here:?}: {batch:?}"),
            }
            let revision = store.revision().await.unwrap();
            let expected = memory.clone().at_revision(revision);
            assert!(store.fleet().await.unwrap() == expected, "seed {seed}, {batch:?}: the database is another fleet");
            let twin = MemoryStore::new(expected.clone());
            for ask in some_asks(draw, &memory) {
                let (ask, now) = (translate::check_in(&ask), Timestamp::from_millis(ask.now));
                let theirs = answer(&twin, &ask, now, &mut NoTrace, |told| (told.reason, json(told))).unwrap();
                let ours =
                    answer_async(&store, &ask, now, &mut NoTrace, |told| (told.reason, json(told))).await.unwrap();
                assert_eq!(ours, theirs, "seed {seed}: {ask:?}");
                reasons.insert(theirs.0.name());
                let view = store.view().await.unwrap();
                let found = fetch_async(&view, &ask).await.unwrap();
                let ours = json(&decide(&found.facts(), &ask, now, &mut NoTrace));
                assert_eq!(ours, theirs.1, "seed {seed}, look-up by look-up: {ask:?}");
            }
            assert_eq!(store.under_way().await.unwrap(), RolloutStore::under_way(&twin).unwrap());
            for (product, group) in groups_with_waves(&memory) {
                let theirs = RolloutStore::census(&twin, &product, &group, 0).unwrap();
                assert_eq!(store.census(&product, &group, 0).await.unwrap(), theirs);
                let serial = memory.product(product.as_str()).unwrap().devices().next().map_or("1", Device::serial);
                let theirs = RolloutStore::place(&twin, &product, &group, 0, serial).unwrap();
                assert_eq!(store.place(&product, &group, 0, serial).await.unwrap(), theirs);
                counted += 1;
            }
            // Not each time: so patches come of several revisions too.
            if !draw.once_in(3) {
                follower.sync_async(&mut feed).await.unwrap();
                assert_eq!(index.revision(), revision);
                assert!(index.snapshot().to_fleet() == expected, "seed {seed}, {batch:?}: the index is another fleet");
                assert_eq!(follower.status().kept_out().len(), 0);
            }
        }
    }
    assert!(applied > 100 && refused > 100 && counted > 100, "applied {applied}, refused {refused}, counted {counted}");
    assert!(reasons.len() > 15, "{reasons:?}");
}
