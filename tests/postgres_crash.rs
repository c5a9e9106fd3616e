//! PostgreSQL crashes, connections are cut with the answer of a commit on its way, everything stands still for a while: whoever asks again until it is answered has
//! done everything once. And the same through a pooler in transaction mode.
#![cfg(all(feature = "postgres", feature = "contract"))]

#[path = "support/postgres.rs"]
mod server;
mod twin;

use otagate::feed::{AsyncFeed, Follower, Took};
use otagate::postgres::deadpool_postgres::{Manager, Pool};
use otagate::postgres::tokio_postgres::{Config, NoTls};
use otagate::postgres::{Hearing, PostgresFault, PostgresStore};
use otagate::rollout::contract as ledger_contract;
use otagate::rollout::{AsyncLedger, ClaimAsk, Claimed, Ledger, MemoryLedger, Noted, Of, OfferAsk, Outcome, Report};
use otagate::*;
use server::{Cutter, Pooler, Postgres, Settings, Stop, wait_until};
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use twin::change::{change, fleet};
use twin::draw::Draw;

const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);
const TASKS: u64 = 8;
/// Devices of each task that ask for a slot, and how many slots there are for all of them.
const DEVICES: u64 = 60;
const SLOTS: u32 = 300;
/// Each task puts so many devices, each by a batch.
const BATCHES: u64 = 25;
const FAULTS: u64 = 50;

fn start() -> Postgres {
    Postgres::start_with(&Settings { fsync_off: true, ..Default::default() })
}

fn pool(conninfo: &str, size: usize) -> Pool {
    let config: Config = conninfo.parse().unwrap();
    Pool::builder(Manager::new(config, NoTls)).max_size(size).build().unwrap()
}

fn product() -> ProductId {
    ProductId::new("lamp").unwrap()
}

fn group() -> GroupId {
    GroupId::new("stable").unwrap()
}

fn run() -> Run {
    Run { product: product(), group: group(), rollout: RolloutId::new("r7").unwrap(), started_at: NOW }
}

fn serial(task: u64, n: u64) -> String {
    format!("SN-{task}-{n:03}")
}

fn lamp() -> [Change; 2] {
    let spec = ProductSpec { id: "lamp".into(), ..Default::default() };
    let group = GroupSpec { id: "stable".into(), ..Default::default() };
    [Change::PutProduct { product: spec }, Change::PutGroup { product: product(), group }]
}

fn put_device(serial: &str) -> Change {
    let state = DeviceState::Verified;
    let device = DeviceSpec { serial: serial.into(), group: "stable".into(), state, ..Default::default() };
    Change::PutDevice { product: product(), device }
}

/// What a device claims, in its wave.
fn with_ask<R>(task: u64, n: u64, make: impl FnOnce(&ClaimAsk<'_>) -> R) -> R {
    let (product, group, serial, run) = (product(), group(), serial(task, n), run());
    let of = Of { product: &product, group: &group, serial: &serial, run: Some(&run) };
    let wave = (n % 3) as u32;
    let offer = Some(OfferAsk { wave, hop: "2.0", slots_max: Some(SLOTS), missing: None, after: None });
    make(&ClaimAsk { of, offer, downloads_max: None, until: NOW.plus_secs(3_600) })
}

/// What is told of a device, the weaker and the stronger, in no good order.
fn reports(task: u64, n: u64) -> Vec<Report> {
    let strongest = 1 + ((task + n) % 5) as usize;
    let mut outcomes = vec![Outcome::ALL[strongest], Outcome::ALL[1 + (n % 2) as usize % strongest]];
    if n.is_multiple_of(2) {
        outcomes.reverse();
    }
    let report = |outcome| Report {
        run: run(),
        serial: serial(task, n).into(),
        attempt: Some(1),
        outcome,
        resumes: 0,
        penalty: Penalty::default(),
        grace_secs: 60,
    };
    outcomes.into_iter().map(report).collect()
}

/// Waits until it was woken so often, and not any longer.
async fn polled<F: Future>(wakes: u64, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), wakes);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// What all tasks do, and how far they have come.
struct Work {
    store: PostgresStore,
    done: AtomicU64,
    /// Calls that came to nothing, and were made again.
    again: AtomicU64,
    /// Calls that nobody waited for any longer.
    dropped: AtomicU64,
}

impl Work {
    /// Asks until it is answered. Now and then it stops waiting, and asks anew.
    async fn insist<T, F>(&self, draw: &mut Draw, mut call: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, PostgresFault>>,
    {
        loop {
            let asked = call();
            let answer = if draw.once_in(10) { polled(draw.below(12), asked).await } else { Some(asked.await) };
            match answer {
                Some(Ok(answer)) => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                    return answer;
                }
                Some(Err(_)) => {
                    self.again.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                None => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Waits until so many more calls have failed, or nothing is left to do.
    async fn fails(&self, times: u64, total: u64) {
        let reached = self.again.load(Ordering::Relaxed) + times;
        while self.again.load(Ordering::Relaxed) < reached && self.done.load(Ordering::Relaxed) < total {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Gives who got a slot.
    async fn task(&self, task: u64) -> Vec<u64> {
        let draw = &mut Draw(task);
        let store = &self.store;
        let mut have = Vec::new();
        for n in 0..DEVICES {
            let (product, group, serial, run) = (product(), group(), serial(task, n), run());
            let of = Of { product: &product, group: &group, serial: &serial, run: Some(&run) };
            let wave = (n % 3) as u32;
            let offer = Some(OfferAsk { wave, hop: "2.0", slots_max: Some(SLOTS), missing: None, after: None });
            let ask = &ClaimAsk { of, offer, downloads_max: None, until: NOW.plus_secs(3_600) };
            match self.insist(draw, || store.claim(ask, NOW)).await {
                Ok(Claimed { attempt, .. }) => {
                    assert_eq!(attempt, Some(1), "a claim that is made again is the same one");
                    have.push(n);
                }
                Err(refused) => assert_eq!(refused, ClaimRefused::Slots),
            }
            for report in reports(task, n) {
                let noted = self.insist(draw, || store.note(&report, NOW)).await;
                assert_eq!(noted == Noted::Foreign, have.last() != Some(&n), "{serial}: {noted:?}");
            }
            if n < BATCHES {
                let batch = [put_device(&serial)];
                self.insist(draw, || store.apply(&batch)).await.unwrap();
            }
        }
        have
    }
}

/// One thing after the other goes wrong, each when so much was done.
async fn go_wrong(server: &Postgres, cutter: &Cutter, work: &Work, total: u64) -> u64 {
    let draw = &mut Draw(77);
    for fault in 0..FAULTS {
        let at = fault * total / FAULTS + draw.below(total / FAULTS);
        while work.done.load(Ordering::Relaxed) < at {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match fault % 5 {
            0 => tokio::task::block_in_place(|| server.restart(Stop::Immediate)),
            1 => {
                cutter.cut();
            }
            2 => {
                // Somewhere in what is being said, the answer of a commit among it.
                cutter.cut_after(1 + draw.below(400));
                cutter.cut_new_after(Some(600 + draw.below(3_000)));
                work.fails(3, total).await;
                cutter.cut_new_after(None);
            }
            3 => {
                cutter.hold(true);
                tokio::time::sleep(Duration::from_millis(30)).await;
                if draw.once_in(2) {
                    cutter.cut();
                }
                cutter.hold(false);
            }
            _ => {
                cutter.refuse(true);
                cutter.cut();
                work.fails(3, total).await;
                cutter.refuse(false);
            }
        }
    }
    FAULTS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whoever_asks_again_has_done_everything_once_whatever_goes_wrong() {
    let server = start();
    let cutter = Cutter::start(server.socket_dir());
    let store = PostgresStore::open(pool(&cutter.conninfo(), 12), "crash").await.unwrap();
    assert_eq!(store.apply(&lamp()).await.unwrap(), Ok(Revision(1)));
    let (done, again, dropped) = Default::default();
    let work = Arc::new(Work { store: store.clone(), done, again, dropped });

    // An index follows all along, through the same wire.
    let index = Index::new(&Fleet::default());
    let mut follower = Follower::new(index.clone());
    let status = follower.status();
    let mut feed = store.feed(3).listen(cutter.conninfo().parse().unwrap(), NoTls);
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let following = tokio::spawn(async move {
        follower.follow_async(&mut feed, Duration::from_millis(100), || over.load(Ordering::Relaxed)).await;
        feed
    });

    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let work = work.clone();
            tokio::spawn(async move { work.task(task).await })
        })
        .collect();
    // A claim, two reports and a batch.
    let total = TASKS * (3 * DEVICES + BATCHES);
    assert_eq!(go_wrong(&server, &cutter, &work, total).await, FAULTS);
    let mut have = BTreeSet::new();
    for (task, handle) in (0..).zip(tasks) {
        have.extend(handle.await.unwrap().into_iter().map(|n| (task, n)));
    }
    assert_eq!(work.done.load(Ordering::Relaxed), total);
    assert!(work.again.load(Ordering::Relaxed) > FAULTS / 2, "calls failed, and were made again");
    assert!(work.dropped.load(Ordering::Relaxed) > 0, "calls were dropped on their way");

    // As if everybody had been there once.
    assert_eq!(have.len(), SLOTS as usize);
    let plain = MemoryLedger::default();
    for &(task, n) in &have {
        let claimed = with_ask(task, n, |ask| plain.claim(ask, NOW).unwrap());
        assert_eq!(claimed, Ok(Claimed { attempt: Some(1), new: true }));
        for report in reports(task, n) {
            assert_ne!(plain.note(&report, NOW).unwrap(), Noted::Foreign);
        }
    }
    assert_eq!(store.statistics(&run(), 0).await.unwrap(), plain.statistics(&run(), 0).unwrap());
    for (task, n) in (0..TASKS).flat_map(|task| (0..DEVICES).map(move |n| (task, n))) {
        let (product, group, serial, run) = (product(), group(), serial(task, n), run());
        let of = Of { product: &product, group: &group, serial: &serial, run: Some(&run) };
        let (held, expected) = (store.held(&of, NOW).await.unwrap(), plain.held(&of, NOW).unwrap());
        assert_eq!(format!("{held:?}"), format!("{expected:?}"), "{serial}");
        assert_eq!(held.tried.is_some(), have.contains(&(task, n)));
    }

    // Every batch is one revision, once.
    let revision = Revision(1 + TASKS * BATCHES);
    assert_eq!(store.revision().await.unwrap(), revision);
    let mut expected: Fleet = Fleet::default();
    expected.apply(&lamp()).unwrap();
    let batches = (0..TASKS).flat_map(|task| (0..BATCHES).map(move |n| put_device(&serial(task, n))));
    expected.apply(&batches.collect::<Vec<_>>()).unwrap();
    let expected = expected.at_revision(revision);
    assert!(store.fleet().await.unwrap() == expected);
    wait_for("the index is there", || index.revision() == revision && status.lag() == 0).await;
    is_over.store(true, Ordering::Relaxed);
    let feed = following.await.unwrap();
    assert!(index.snapshot().to_fleet() == expected);
    assert_eq!(status.kept_out().len(), 0);
    let fresh = Index::new(&Fleet::default());
    assert_eq!(Follower::new(fresh.clone()).sync_async(&mut store.feed(3)).await.unwrap(), Took::Load);
    assert!(fresh.snapshot().to_fleet() == expected);
    wait_for("it listens again", || feed.hearing() == Hearing::Listening).await;
}

/// The answer, and whether the first try came to nothing.
async fn tried<T, F>(mut call: impl FnMut() -> F) -> (T, bool)
where
    F: Future<Output = Result<T, PostgresFault>>,
{
    let mut failed = false;
    loop {
        match call().await {
            Ok(answer) => return (answer, failed),
            Err(_) => failed = true,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_at_any_byte_loses_nothing_and_doubles_nothing() {
    let server = start();
    let cutter = Cutter::start(server.socket_dir());
    let store = PostgresStore::open(pool(&cutter.conninfo(), 1), "bytes").await.unwrap();
    store.apply(&lamp()).await.unwrap().unwrap();
    // What was done before its answer was lost, and what was not.
    let (mut lost, mut undone) = ([0; 3], [0; 3]);
    // Less than the answer of a COMMIT has.
    const STEP: u64 = 11;
    let (mut n, mut cut_last) = (0, true);
    while cut_last {
        cut_last = false;
        let bytes = 1 + n * STEP;
        for what in 0..3 {
            // A connection that has said nothing of this yet.
            tried(|| store.revision()).await;
            cutter.cut_after(bytes);
            let (was_done, failed) = match what {
                0 => {
                    let (product, group, serial, run) = (product(), group(), serial(9, n), run());
                    let of = Of { product: &product, group: &group, serial: &serial, run: Some(&run) };
                    let offer =
                        Some(OfferAsk { wave: 0, hop: "2.0", slots_max: Some(10_000), missing: None, after: None });
                    let ask = &ClaimAsk { of, offer, downloads_max: None, until: NOW.plus_secs(3_600) };
                    let (claimed, failed) = tried(|| store.claim(ask, NOW)).await;
                    let claimed = claimed.unwrap();
                    assert_eq!(claimed.attempt, Some(1), "{bytes} bytes");
                    (!claimed.new, failed)
                }
                1 => {
                    let report = Report {
                        run: run(),
                        serial: serial(9, n).into(),
                        attempt: Some(1),
                        outcome: Outcome::Installed,
                        resumes: 0,
                        penalty: Penalty::default(),
                        grace_secs: 60,
                    };
                    let (noted, failed) = tried(|| store.note(&report, NOW)).await;
                    assert_ne!(noted, Noted::Foreign, "{bytes} bytes");
                    (noted == Noted::Known, failed)
                }
                _ => {
                    let batch = [put_device(&serial(9, n))];
                    let first = store.apply(&batch).await;
                    let was_done = first.is_err() && tried(|| store.revision()).await.0 == Revision(n + 2);
                    let (revision, _) = tried(|| store.apply(&batch)).await;
                    assert_eq!(revision, Ok(Revision(n + 2)), "{bytes} bytes: a batch is one revision");
                    (was_done, first.is_err())
                }
            };
            assert!(failed || !was_done);
            lost[what] += u64::from(was_done);
            undone[what] += u64::from(failed && !was_done);
            cut_last |= failed;
        }
        n += 1;
    }
    assert!(lost.iter().all(|times| *times > 0), "answers of commits were lost: {lost:?}");
    assert!(undone.iter().all(|times| *times > 10), "and so were questions: {undone:?}");
    cutter.cut();
    let run = run();
    let (statistics, _) = tried(|| store.statistics(&run, 0)).await;
    assert_eq!((statistics.total().installed, statistics.total().devices()), (n, n));
    assert_eq!(store.fleet().await.unwrap().product("lamp").unwrap().devices().len() as u64, n);
}

/// [`wait_until`], where others work on the same threads meanwhile.
async fn wait_for(what: &str, holds: impl FnMut() -> bool) {
    tokio::task::block_in_place(|| wait_until(what, holds));
}

struct Schemas(Pool);

impl Schemas {
    async fn store(&self) -> PostgresStore {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let schema = format!("pooled_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        PostgresStore::open(self.0.clone(), &schema).await.unwrap()
    }
}

impl ledger_contract::AsyncSubject for Schemas {
    type Ledger = PostgresStore;

    async fn open(&self) -> Result<PostgresStore, String> {
        Ok(self.store().await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_changes_nothing() {
    let server = start();
    let pooler = Pooler::start(server.socket_dir(), 4);
    let schemas = Schemas(pool(&pooler.conninfo(), 12));
    let report = ledger_contract::assert_kept_async(&schemas).await;
    assert_eq!(report.kept, ledger_contract::Promise::ALL);
    assert_eq!(report.skipped, []);

    let (mut applied, mut refused) = (0, 0);
    for seed in 0..10 {
        let draw = &mut Draw(500 + seed);
        let mut memory = fleet(draw.next());
        let store = schemas.store().await;
        store.replace(&memory).await.unwrap();
        let index = Index::new(&Fleet::default());
        let (mut follower, mut feed) = (Follower::new(index.clone()), store.feed(3));
        for _ in 0..8 {
            let batch: Vec<Change> = (0..1 + draw.below(3)).map(|_| change(draw, &memory)).collect();
            match (memory.apply(&batch), store.apply(&batch).await.unwrap()) {
                (Ok(_), Ok(_)) => applied += 1,
                (Err(there), Err(here)) => {
                    refused += 1;
                    assert_eq!(here, there, "seed {seed}: {batch:?}");
                }
                (there, here) => panic!("seed {seed}: in memory {there:?}, in the database {here:?}: {batch:?}"),
            }
            let expected = memory.clone().at_revision(store.revision().await.unwrap());
            assert!(store.fleet().await.unwrap() == expected, "seed {seed}: {batch:?}");
            follower.sync_async(&mut feed).await.unwrap();
            assert!(index.snapshot().to_fleet() == expected, "seed {seed}: {batch:?}");
        }
    }
    assert!(applied > 10 && refused > 10, "applied {applied}, refused {refused}");
    assert!(pooler.opened() <= 4, "all went over few connections: {}", pooler.opened());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_pooler_nothing_is_heard_and_that_is_told() {
    let server = start();
    let pooler = Pooler::start(server.socket_dir(), 4);
    let store = Schemas(pool(&pooler.conninfo(), 4)).store().await;
    store.apply(&lamp()).await.unwrap().unwrap();
    let index = Index::new(&Fleet::default());
    let mut follower = Follower::new(index.clone());
    let mut feed = store.feed(1);
    assert_eq!(feed.hearing(), Hearing::Polling);
    feed = feed.listen(pooler.conninfo().parse().unwrap(), NoTls);
    wait_for("it believes that it listens", || feed.hearing() == Hearing::Listening).await;
    assert_eq!(follower.sync_async(&mut feed).await.unwrap(), Took::Load);
    for n in 0..8 {
        let revision = store.apply(&[put_device(&serial(0, n))]).await.unwrap().unwrap();
        // Polling goes on as ever.
        feed.wait(Duration::from_millis(1)).await;
        assert_eq!(follower.sync_async(&mut feed).await.unwrap(), Took::Patch);
        assert_eq!((index.revision(), follower.status().lag()), (revision, 0));
    }
    assert!(matches!(feed.hearing(), Hearing::Deaf | Hearing::Reconnecting), "{:?}", feed.hearing());
    assert!(index.snapshot().to_fleet() == store.fleet().await.unwrap());
    // Where the pooler goes, so does the connection, and it tries again.
    drop(pooler);
    wait_for("it connects again", || feed.hearing() == Hearing::Reconnecting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn straight_to_the_server_a_change_is_heard_long_before_the_next_poll() {
    let server = start();
    let store = Schemas(pool(&server.conninfo(), 4)).store().await;
    store.apply(&lamp()).await.unwrap().unwrap();
    let index = Index::new(&Fleet::default());
    let mut follower = Follower::new(index.clone());
    let mut feed = store.feed(1).listen(server.conninfo().parse().unwrap(), NoTls);
    wait_for("it listens", || feed.hearing() == Hearing::Listening).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    // Longer than a test waits for anything.
    let poll = Duration::from_secs(600);
    let following = tokio::spawn(async move {
        follower.follow_async(&mut feed, poll, || over.load(Ordering::Relaxed)).await;
        feed
    });
    for n in 0..8 {
        let revision = store.apply(&[put_device(&serial(0, n))]).await.unwrap().unwrap();
        wait_for("the change is seen", || index.revision() == revision).await;
    }
    is_over.store(true, Ordering::Relaxed);
    store.apply(&[put_device(&serial(0, 99))]).await.unwrap().unwrap();
    let feed = following.await.unwrap();
    assert_eq!(feed.hearing(), Hearing::Listening);
}
