//! Eight who write to PostgreSQL at once, while it is restarted as by a crash, and their connections are cut, held in silence and refused, fifty times: what
//! was told to be done is done, nothing twice, and an index that followed all the time is what the tables are. And the same store through a pooler.
#![cfg(all(feature = "postgres", feature = "contract"))]

#[path = "support/postgres.rs"]
mod server;
mod twin;

use otagate::feed::{AsyncFeed, Follower, Took};
use otagate::postgres::deadpool_postgres::{Manager, Pool};
use otagate::postgres::tokio_postgres::{Config, NoTls};
use otagate::postgres::{Hearing, PostgresFault, PostgresStore};
use otagate::rollout::contract::{self, AsyncSubject};
use otagate::rollout::{AsyncLedger, ClaimAsk, Ledger, MemoryLedger, Of, OfferAsk, Outcome, Report};
use otagate::*;
use server::{Cutter, Pooler, Postgres, Stop};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use twin::draw::Draw;

const FAULTS: u64 = 50;
const SLOTS: u32 = 40;
const WRITERS: usize = 8;
const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn run() -> Run {
    Run {
        product: ProductId::new("lamp").unwrap(),
        group: GroupId::new("stable").unwrap(),
        rollout: RolloutId::new("r7").unwrap(),
        started_at: Timestamp::from_millis(1),
    }
}

fn begin() -> Fleet {
    let lamp = ProductFleetSpec {
        product: ProductSpec { id: "lamp".into(), ..Default::default() },
        groups: vec![GroupSpec { id: "stable".into(), ..Default::default() }],
        ..Default::default()
    };
    FleetSpec { products: vec![lamp], ..Default::default() }.build().unwrap()
}

fn claim<'a>(run: &'a Run, serial: &'a str) -> ClaimAsk<'a> {
    let of = Of { product: &run.product, group: &run.group, serial, run: Some(run) };
    let offer = Some(OfferAsk { wave: 0, hop: "2.0", slots_max: Some(SLOTS), missing: None, after: None });
    ClaimAsk { of, offer, downloads_max: None, until: NOW.plus_secs(3_600) }
}

fn report(run: &Run, serial: &str, outcome: Outcome) -> Report {
    let penalty = Penalty { secs: 60, secs_max: 600 };
    Report { run: run.clone(), serial: serial.into(), attempt: None, outcome, resumes: 0, penalty, grace_secs: 0 }
}

/// What becomes of a device is drawn by its name.
fn outcome_of(serial: &str) -> Outcome {
    match serial.bytes().map(u32::from).sum::<u32>() % 3 {
        0 => Outcome::Failed,
        1 => Outcome::Downloaded,
        _ => Outcome::Installed,
    }
}

/// What a host does: whatever failed is done again.
macro_rules! until_done {
    ($call:expr) => {
        loop {
            match $call.await {
                Ok(done) => break done,
                Err(fault) => {
                    let _: &PostgresFault = &fault;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_by_restarts_and_cut_connections() {
    let server = Arc::new(Postgres::start());
    let straight = PostgresStore::connect(&server.conninfo(), 4).await.unwrap();
    straight.fill(&begin()).await.unwrap();
    let cutter = Arc::new(Cutter::start(server.socket_dir()));
    let store = PostgresStore::connect(&cutter.conninfo(), 12).await.unwrap();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));

    let index = Index::new(&Fleet::default());
    let mut follower = Follower::new(index.clone());
    let mut feed = store.feed(2).listen(cutter.conninfo().parse().unwrap(), NoTls);
    let status = follower.status();
    let stopped = stop.clone();
    let following = tokio::spawn(async move {
        follower.follow_async(&mut feed, Duration::from_millis(50), || stopped.load(Ordering::Relaxed)).await;
    });

    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, stop, done) = (store.clone(), stop.clone(), done.clone());
        writers.spawn(async move {
            let (run, mut told) = (run(), BTreeMap::new());
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let serial = format!("{writer}-{number}");
                let device = DeviceSpec { serial: serial.clone(), group: "stable".into(), ..Default::default() };
                let batch = [Change::PutDevice { product: run.product.clone(), device }];
                until_done!(store.apply(&batch)).unwrap();
                let claimed = until_done!(store.claim(&claim(&run, &serial), NOW));
                if claimed.is_ok() {
                    until_done!(store.note(&report(&run, &serial, outcome_of(&serial)), NOW));
                }
                told.insert(serial, claimed.is_ok());
                done.fetch_add(1, Ordering::Relaxed);
            }
            told
        });
    }

    let draw = &mut Draw(7);
    for fault in 0..FAULTS {
        // Somewhere in the middle of what they do.
        let from = done.load(Ordering::Relaxed) + 2 + draw.below(20);
        while done.load(Ordering::Relaxed) < from {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        match fault % 5 {
            0 => {
                let server = server.clone();
                tokio::task::spawn_blocking(move || server.restart(Stop::Immediate)).await.unwrap();
            }
            1 => drop(cutter.cut()),
            // A COMMIT may have arrived, and its answer be lost.
            2 | 3 => cutter.cut_after(1 + draw.below(600)),
            _ => {
                cutter.hold(true);
                cutter.refuse(true);
                tokio::time::sleep(Duration::from_millis(30)).await;
                cutter.refuse(false);
                cutter.cut();
                cutter.hold(false);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let told: BTreeMap<String, bool> = writers.join_all().await.into_iter().flatten().collect();
    following.await.unwrap();

    let (run, twin) = (run(), MemoryLedger::default());
    let granted: Vec<&String> = told.iter().filter(|(_, granted)| **granted).map(|(serial, _)| serial).collect();
    assert_eq!(granted.len(), SLOTS as usize, "as many were granted a slot as there are");
    for serial in &granted {
        Ledger::claim(&twin, &claim(&run, serial), NOW).unwrap().unwrap();
        Ledger::note(&twin, &report(&run, serial, outcome_of(serial)), NOW).unwrap();
        let held = straight.held(&claim(&run, serial).of, NOW).await.unwrap();
        let theirs = Ledger::held(&twin, &claim(&run, serial).of, NOW).unwrap().tried;
        assert_eq!(held.tried, theirs, "{serial}: one attempt, with what became of it");
    }
    let statistics = straight.statistics(&run, 0).await.unwrap();
    assert_eq!(statistics, Ledger::statistics(&twin, &run, 0).unwrap());
    let fleet = straight.fleet().await.unwrap();
    let serials: Vec<&str> = fleet.product("lamp").unwrap().devices().map(Device::serial).collect();
    assert_eq!(serials, told.keys().map(String::as_str).collect::<Vec<_>>(), "each device that was told is there");
    assert_eq!(fleet.revision(), Revision(1 + told.len() as u64), "each batch is one revision");
    // What it had not followed yet when it was stopped.
    let mut follower = Follower::new(index.clone());
    let mut feed = straight.feed(1);
    let held = index.revision();
    assert!(held > Revision(1) && held <= fleet.revision(), "it followed all the time");
    assert!(status.faults() > 0, "and met the faults");
    match feed.changes(held).await.unwrap() {
        otagate::feed::Changes::Patch(patch) => {
            follower.load(otagate::feed::Loading::new(held, rows(&index)));
            assert_eq!(follower.take(patch), Took::Patch);
        }
        none => assert_eq!(none, otagate::feed::Changes::None),
    }
    assert!(index.snapshot().to_fleet() == fleet, "the index that followed is another fleet");
}

/// What an index holds, as rows.
fn rows(index: &Index) -> Vec<Row> {
    let spec = index.snapshot().spec();
    let of = |part: &ProductFleetSpec| {
        let id = part.product.id.clone();
        let mut rows = vec![Row::product(part.product.clone())];
        rows.extend(part.groups.iter().map(|group| Row::group(&id, group.clone())));
        rows.extend(part.devices.iter().map(|device| Row::device(&id, device.clone())));
        rows
    };
    spec.products.iter().flat_map(of).collect()
}

fn pool(conninfo: &str) -> Pool {
    let config: Config = conninfo.parse().unwrap();
    Pool::builder(Manager::new(config, NoTls)).max_size(12).build().unwrap()
}

/// Ledgers through a pooler, each in a schema of its own.
struct Pooled(Pool, AtomicU32);

impl AsyncSubject for Pooled {
    type Ledger = PostgresStore;

    async fn open(&self) -> Result<PostgresStore, String> {
        let schema = format!("pooled_{}", self.1.fetch_add(1, Ordering::Relaxed));
        PostgresStore::open(self.0.clone(), &schema).await.map_err(|fault| fault.to_string())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_pooler_in_transaction_mode_all_works_but_the_listener_which_says_so() {
    let server = Postgres::start();
    let pooler = Pooler::start(server.socket_dir(), 3);
    let kept = contract::assert_kept_async(&Pooled(pool(&pooler.conninfo()), AtomicU32::new(0))).await;
    assert_eq!(kept.kept, contract::Promise::ALL);

    let store = PostgresStore::connect(&pooler.conninfo(), 6).await.unwrap();
    store.fill(&begin()).await.unwrap();
    let index = Index::new(&Fleet::default());
    let mut follower = Follower::new(index.clone());
    let mut feed = store.feed(2).listen(pooler.conninfo().parse().unwrap(), NoTls);
    follower.sync_async(&mut feed).await.unwrap();
    let mut hearing = Vec::new();
    for number in 0..40 {
        let device = DeviceSpec { serial: format!("p{number}"), group: "stable".into(), ..Default::default() };
        store.apply(&[Change::PutDevice { product: run().product, device }]).await.unwrap().unwrap();
        feed.wait(Duration::from_millis(10)).await;
        follower.sync_async(&mut feed).await.unwrap();
        assert_eq!(index.revision(), store.revision().await.unwrap(), "polling brings it up to date");
        hearing.push(feed.hearing());
    }
    assert!(hearing.last().is_some_and(|last| matches!(last, Hearing::Deaf | Hearing::Reconnecting)), "{hearing:?}");
}

/// Straight to the server it is told: long before it would look by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_told_at_once() {
    let server = Postgres::start();
    let store = PostgresStore::connect(&server.conninfo(), 4).await.unwrap();
    store.fill(&begin()).await.unwrap();
    let index = Index::new(&Fleet::default());
    let mut follower = Follower::new(index.clone());
    let mut feed = store.feed(2).listen(server.conninfo().parse().unwrap(), NoTls);
    assert!(matches!(store.feed(1).hearing(), Hearing::Polling));
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let an_hour = Duration::from_secs(3_600);
    let following = tokio::spawn(async move {
        follower.follow_async(&mut feed, an_hour, || stopped.load(Ordering::Relaxed)).await;
        feed.hearing()
    });
    for number in 0..20 {
        let device = DeviceSpec { serial: format!("p{number}"), group: "stable".into(), ..Default::default() };
        let revision = store.apply(&[Change::PutDevice { product: run().product, device }]).await.unwrap().unwrap();
        let there = async {
            while index.revision() < revision {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), there).await.expect("it is told");
    }
    stop.store(true, Ordering::Relaxed);
    let device = DeviceSpec { serial: "last".into(), group: "stable".into(), ..Default::default() };
    store.apply(&[Change::PutDevice { product: run().product, device }]).await.unwrap().unwrap();
    assert_eq!(following.await.unwrap(), Hearing::Listening);
}
