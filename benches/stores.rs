//! What does a database cost: loading an index from it, following it, and asking it straight through; and what does a gateway answer over HTTP either way?
//!
//! A million devices with MACs as serials, in twenty groups, with last known versions; every check-in that is asked is `current` (304). SQLite is a file with
//! the default durability, PostgreSQL a server of its own on a Unix socket with its default settings, `fsync` among them; both on this machine, which is
//! also the one that asks, so two cores do all of the work.
//!
//! - `load_1m_*_s`: from nothing to an index, the source included; `load_1m_floor_s`: the same rows, made beforehand, from memory. PostgreSQL by one connection
//!   and by two.
//! - `feed_changes_per_s`: changes of devices that are committed in batches of a hundred by one writer and visible in the index, PostgreSQL with a listener;
//!   `feed_lag_ms_*`: from a commit's answer to its revision in the index, a hundred commits of one change a second.
//! - `straight_*_ns`: a check-in of a random device by `fetch` and `decide`, its key asked before; `through_index_ns`: by a `Reader`. PostgreSQL in one statement
//!   (`view_for`) and look-up by look-up (`view`). The ratios are those to the index.
//! - `ledger_*_claims_per_s`: first offers on a run by rank, eight at once for PostgreSQL, one for SQLite, which has one writer; and the plain ledger in memory.
//! - `http_*_per_s`: answers of the gateway example over eight connections on loopback, by the index and straight through PostgreSQL, the ledger in
//!   PostgreSQL both times.
//!
//! `make bench ONLY=stores` takes some three minutes. With `OTAGATE_BENCH_SCALE=100` it has a hundredth of the devices, and writes nothing to the summary.

#[path = "common/mod.rs"]
mod common;
#[path = "../tests/support/folder.rs"]
mod folder;
#[path = "stores/http_load.rs"]
mod http_load;
#[path = "../examples/demo/process.rs"]
mod process;
#[path = "../tests/support/postgres.rs"]
mod server;

use common::{Random, Summary, median, quantile};
use folder::Folder;
use otagate::feed::{AsyncFeed, Feed, Follower, Loading};
use otagate::postgres::PostgresStore;
use otagate::postgres::tokio_postgres::NoTls;
use otagate::rollout::{AsyncLedger, ClaimAsk, Ledger, MemoryLedger, Of, OfferAsk};
use otagate::sqlite::{Durability, SqliteStore};
use otagate::store::{AsyncStore, Store, fetch, fetch_async};
use otagate::*;
use server::Postgres;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);
const GROUPS: u64 = 20;
const LOADS: usize = 3;
const KEY: &str = "bench-key";
const SECS: u64 = 8;

fn main() {
    let scale: u64 = std::env::var("OTAGATE_BENCH_SCALE").map_or(1, |scale| scale.parse().expect("a number"));
    let devices = 1_000_000 / scale;
    let mut summary = Summary::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();

    phase("filling SQLite");
    let folder = Folder::new("bench-stores");
    let file = fill_sqlite(&folder, devices);
    phase("filling PostgreSQL");
    let server = Postgres::start();
    let database = fill_postgres(&runtime, &server, devices);

    phase("loading");
    loads(&runtime, &file, &database, devices, &mut summary);
    let index = loaded(&mut file.feed().unwrap());

    phase("straight through");
    straight(&runtime, &index, &file, &database, devices, &mut summary);
    drop(index);
    phase("following");
    follow_sqlite(&file, devices, scale, &mut summary);
    follow_postgres(&runtime, &server, &database, devices, scale, &mut summary);
    phase("claims");
    claims(&runtime, &folder, &database, scale, &mut summary);
    phase("over HTTP");
    over_http(&folder, &server, devices, scale, &mut summary);
    if scale == 1 {
        summary.write();
    }
}

fn phase(what: &str) {
    eprintln!("[{what}]");
}

fn serial(number: u64) -> String {
    format!("a4cf{:08x}", number.wrapping_mul(2_654_435_761) & 0xffff_ffff)
}

fn small() -> Fleet {
    let artifact = ArtifactSpec {
        size_bytes: 1_000,
        digests: Digests::blake3_of(b"lamp-1.4.0"),
        locator: "lamp-1.4.0.bin".into(),
        ..Default::default()
    };
    let product = ProductSpec {
        id: "lamp".into(),
        keys: vec![ApiKey::new(KeyHash::of(KEY.as_bytes()).unwrap())],
        serial_scheme: SerialScheme::Mac,
        versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
        ..Default::default()
    };
    let group = |at: u64| GroupSpec { id: format!("g{at}"), firmware: Some("1.4.0".into()), ..Default::default() };
    let lamp = ProductFleetSpec {
        product,
        firmware: vec![FirmwareSpec { version: "1.4.0".into(), artifacts: vec![artifact], ..Default::default() }],
        groups: (0..GROUPS).map(group).collect(),
        devices: Vec::new(),
    };
    FleetSpec { products: vec![lamp], ..Default::default() }.build().unwrap()
}

fn fill_sqlite(folder: &Folder, devices: u64) -> SqliteStore {
    let store = SqliteStore::open(folder.path().join("fleet.db")).unwrap();
    store.fill(&small()).unwrap();
    let by_hand = rusqlite::Connection::open(store.path()).unwrap();
    by_hand.execute_batch("BEGIN; UPDATE otagate_meta SET revision = revision + 1, batch = 1").unwrap();
    let sql = "INSERT INTO otagate_device (product, serial, state, group_id, version) VALUES ('lamp', ?1, 'verified', ?2, '1.4.0')";
    let mut insert = by_hand.prepare(sql).unwrap();
    for number in 0..devices {
        insert.execute([serial(number), format!("g{}", number % GROUPS)]).unwrap();
    }
    drop(insert);
    by_hand.execute_batch("UPDATE otagate_meta SET batch = 0; COMMIT").unwrap();
    store.prune_log(Revision(u64::MAX)).unwrap();
    store
}

fn fill_postgres(runtime: &Runtime, server: &Postgres, devices: u64) -> PostgresStore {
    let store = runtime.block_on(PostgresStore::connect(&server.conninfo(), 12)).unwrap();
    runtime.block_on(store.fill(&small())).unwrap();
    server.psql(&format!(
        "INSERT INTO otagate.device (product, serial, state, group_id, version)
         SELECT 'lamp', 'a4cf' || lpad(to_hex((n * 2654435761) & 4294967295), 8, '0'), 'verified', 'g' || n % {GROUPS}, '1.4.0'
         FROM generate_series(0::bigint, {devices} - 1) n"
    ));
    runtime.block_on(store.prune_log(Revision(u64::MAX))).unwrap();
    server.psql("VACUUM ANALYZE otagate.device");
    store
}

fn loaded<F: Feed>(feed: &mut F) -> Index {
    let mut follower = Follower::new(Index::new(&Fleet::default()));
    follower.sync(feed).unwrap();
    follower.index().clone()
}

fn loads(runtime: &Runtime, file: &SqliteStore, database: &PostgresStore, devices: u64, summary: &mut Summary) {
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..LOADS {
        let mut feed = file.feed().unwrap();
        let begun = Instant::now();
        assert_eq!(loaded(&mut feed).snapshot().devices_len() as u64, devices);
        times[0].push(begun.elapsed().as_secs_f64());
        for (at, connections) in [(1, 2), (2, 1)] {
            let mut follower = Follower::new(Index::new(&Fleet::default()));
            let mut feed = database.feed(connections);
            let begun = Instant::now();
            runtime.block_on(follower.sync_async(&mut feed)).unwrap();
            times[at].push(begun.elapsed().as_secs_f64());
            assert_eq!(follower.index().snapshot().devices_len() as u64, devices);
        }
        let parts = rows(devices);
        let begun = Instant::now();
        let few = small().spec().products.remove(0);
        let mut rows = vec![Row::product(few.product)];
        rows.extend(few.firmware.into_iter().map(|one| Row::firmware("lamp", one)));
        rows.extend(few.groups.into_iter().map(|one| Row::group("lamp", one)));
        let loading = Loading::new(Revision(1), rows);
        std::thread::scope(|scope| {
            for part in parts {
                let loading = &loading;
                scope.spawn(move || part.into_iter().for_each(|some| loading.add(some)));
            }
        });
        let mut follower = Follower::new(Index::new(&Fleet::default()));
        follower.load(loading);
        times[3].push(begun.elapsed().as_secs_f64());
        assert_eq!(follower.index().snapshot().devices_len() as u64, devices);
    }
    let keys = ["load_1m_from_sqlite_s", "load_1m_from_pg_s", "load_1m_from_pg_1_connection_s", "load_1m_floor_s"];
    for (key, times) in keys.into_iter().zip(times) {
        summary.put(key, median(times));
    }
}

/// All devices as rows, for two threads.
fn rows(devices: u64) -> Vec<Vec<Vec<Row>>> {
    let row = |number: u64| {
        let spec = DeviceSpec {
            serial: serial(number),
            state: DeviceState::Verified,
            group: format!("g{}", number % GROUPS),
            version: Some("1.4.0".into()),
            ..Default::default()
        };
        Row::device("lamp", spec)
    };
    let half = |from: u64, to: u64| -> Vec<Vec<Row>> {
        (from..to).step_by(4_096).map(|at| (at..(at + 4_096).min(to)).map(row).collect()).collect()
    };
    vec![half(0, devices / 2), half(devices / 2, devices)]
}

fn straight(
    runtime: &Runtime,
    index: &Index,
    file: &SqliteStore,
    database: &PostgresStore,
    devices: u64,
    summary: &mut Summary,
) {
    let mut random = Random(3);
    let mut serials = |count: usize| -> Vec<String> { (0..count).map(|_| serial(random.next() % devices)).collect() };
    let mut times = [const { Vec::new() }; 4];
    let mut reader = index.reader();
    for _ in 0..15 {
        let (asked, fewer) = (serials(4_000), serials(400));
        let begun = Instant::now();
        for serial in &asked {
            let ask = CheckIn { version: b"1.4.0", ..CheckIn::new(KEY.as_bytes(), serial.as_bytes()) };
            assert_eq!(black_box(reader.decide(&ask, NOW, &mut NoTrace)).reason, Reason::Current);
        }
        times[0].push(begun.elapsed().as_nanos() as f64 / asked.len() as f64);
        let begun = Instant::now();
        for serial in &asked {
            let ask = CheckIn { version: b"1.4.0", ..CheckIn::new(KEY.as_bytes(), serial.as_bytes()) };
            let view = file.view().unwrap();
            let found = fetch(&view, &ask).unwrap();
            assert_eq!(decide(&found.facts(), &ask, NOW, &mut NoTrace).reason, Reason::Current);
        }
        times[1].push(begun.elapsed().as_nanos() as f64 / asked.len() as f64);
        for at_once in [true, false] {
            let begun = Instant::now();
            runtime.block_on(async {
                for serial in &fewer {
                    let ask = CheckIn { version: b"1.4.0", ..CheckIn::new(KEY.as_bytes(), serial.as_bytes()) };
                    let view = if at_once { database.view_for(&ask).await } else { database.view().await };
                    let view = view.unwrap();
                    let found = fetch_async(&view, &ask).await.unwrap();
                    assert_eq!(decide(&found.facts(), &ask, NOW, &mut NoTrace).reason, Reason::Current);
                }
            });
            times[if at_once { 2 } else { 3 }].push(begun.elapsed().as_nanos() as f64 / fewer.len() as f64);
        }
    }
    let [through, sqlite, pg, pg_view] = times.map(median);
    summary.put("through_index_ns", through);
    summary.put("straight_sqlite_ns", sqlite);
    summary.put("straight_pg_ns", pg);
    summary.put("straight_pg_view_ns", pg_view);
    summary.put("straight_sqlite_vs_index", sqlite / through);
    summary.put("straight_pg_vs_index", pg / through);
}

fn see(number: u64, version: u64) -> Change {
    Change::SeeDevice {
        product: ProductId::new("lamp").unwrap(),
        serial: serial(number),
        version: Some(format!("1.4.{version}")),
        hardware: None,
    }
}

fn batch(random: &mut Random, size: usize, devices: u64) -> Vec<Change> {
    (0..size).map(|_| see(random.next() % devices, random.next() % 100_000)).collect()
}

/// Commits batches for some seconds while an index follows: changes per second, until the last is visible.
macro_rules! sustained {
    ($index:expr, $devices:expr, $size:expr, $secs:expr, $apply:expr) => {{
        let (mut random, mut changes, mut last) = (Random(5), 0, Revision(0));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs($secs) {
            let batch = batch(&mut random, $size, $devices);
            last = $apply(&batch);
            changes += batch.len();
        }
        while $index.revision() < last {
            std::thread::yield_now();
        }
        changes as f64 / begun.elapsed().as_secs_f64()
    }};
}

/// How long after its commit each of many changes is visible.
macro_rules! lags {
    ($index:expr, $devices:expr, $secs:expr, $apply:expr) => {{
        let (mut random, mut lags) = (Random(9), Vec::new());
        let begun = Instant::now();
        let mut next = begun;
        while begun.elapsed() < Duration::from_secs($secs) {
            next += Duration::from_millis(10);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            let revision = $apply(&batch(&mut random, 1, $devices));
            let committed = Instant::now();
            while $index.revision() < revision {
                std::thread::yield_now();
            }
            lags.push(committed.elapsed().as_secs_f64() * 1_000.0);
        }
        lags
    }};
}

fn follow_sqlite(file: &SqliteStore, devices: u64, scale: u64, summary: &mut Summary) {
    let index = Index::new(&Fleet::default());
    let (mut follower, mut feed) = (Follower::new(index.clone()), file.feed().unwrap());
    follower.sync(&mut feed).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let following = std::thread::spawn(move || {
        follower.follow(&mut feed, Duration::from_millis(100), || stopped.load(Ordering::Relaxed));
    });
    let apply = |batch: &[Change]| file.apply(batch).unwrap().unwrap();
    let secs = if scale == 1 { SECS } else { 1 };
    summary.put("feed_sqlite_changes_per_s", sustained!(index, devices, 100, secs, apply));
    let lags = lags!(index, devices, secs, apply);
    summary.put("feed_sqlite_lag_ms_p50", median(lags.clone()));
    summary.put("feed_sqlite_lag_ms_p99", quantile(lags, 0.99));
    stop.store(true, Ordering::Relaxed);
    following.join().unwrap();
}

fn follow_postgres(
    runtime: &Runtime,
    server: &Postgres,
    database: &PostgresStore,
    devices: u64,
    scale: u64,
    summary: &mut Summary,
) {
    let index = Index::new(&Fleet::default());
    let mut follower = Follower::new(index.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, config, store) = (stop.clone(), server.conninfo().parse().unwrap(), database.clone());
    let following = runtime.spawn(async move {
        let mut feed = store.feed(2).listen(config, NoTls);
        follower.sync_async(&mut feed).await.unwrap();
        feed.wait(Duration::from_millis(100)).await;
        follower.follow_async(&mut feed, Duration::from_millis(100), || stopped.load(Ordering::Relaxed)).await;
    });
    let apply = |batch: &[Change]| runtime.block_on(database.apply(batch)).unwrap().unwrap();
    let secs = if scale == 1 { SECS } else { 1 };
    summary.put("feed_changes_per_s", sustained!(index, devices, 100, secs, apply));
    summary.put("feed_changes_per_s_one_by_one", sustained!(index, devices, 1, secs, apply));
    let lags = lags!(index, devices, 2 * secs, apply);
    summary.put("feed_lag_ms_p50", median(lags.clone()));
    summary.put("feed_lag_ms_p99", quantile(lags, 0.99));
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(following).unwrap();
}

fn claims(runtime: &Runtime, folder: &Folder, database: &PostgresStore, scale: u64, summary: &mut Summary) {
    let run = Arc::new(Run {
        product: ProductId::new("lamp").unwrap(),
        group: GroupId::new("g0").unwrap(),
        rollout: RolloutId::new("r1").unwrap(),
        started_at: NOW,
    });
    fn ask<'a>(run: &'a Run, serial: &'a str) -> ClaimAsk<'a> {
        let of = Of { product: &run.product, group: &run.group, serial, run: Some(run) };
        let offer = Some(OfferAsk { wave: 0, hop: "2.0.0", slots_max: None, missing: None, after: None });
        ClaimAsk { of, offer, downloads_max: None, until: NOW.plus_secs(3_600) }
    }
    let count = 4_000 / scale.min(10);
    let sync = |ledger: &dyn Fn(&ClaimAsk<'_>), count: u64| {
        let begun = Instant::now();
        (0..count).for_each(|number| ledger(&ask(&run, &serial(number))));
        count as f64 / begun.elapsed().as_secs_f64()
    };
    let memory = MemoryLedger::default();
    summary.put(
        "ledger_memory_claims_per_s",
        sync(&|ask| assert!(Ledger::claim(&memory, ask, NOW).unwrap().is_ok()), 50 * count),
    );
    for (key, durability) in
        [("ledger_sqlite_claims_per_s", Durability::Full), ("ledger_sqlite_process_claims_per_s", Durability::Process)]
    {
        let store = SqliteStore::with(folder.path().join(format!("{key}.db")), durability).unwrap();
        summary.put(key, sync(&|ask| assert!(store.claim(ask, NOW).unwrap().is_ok()), count));
    }
    let begun = Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let (database, run) = (database.clone(), run.clone());
            tasks.spawn(async move {
                for number in (task..count).step_by(8) {
                    database.claim(&ask(&run, &serial(number)), NOW).await.unwrap().unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    summary.put("ledger_pg_claims_per_s", count as f64 / begun.elapsed().as_secs_f64());
}

/// The gateway as a process, by the index and straight through, in turns.
fn over_http(folder: &Folder, server: &Postgres, devices: u64, scale: u64, summary: &mut Summary) {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/gateway");
    assert!(program.exists(), "the gateway is not built: cargo build --release --all-features --examples");
    let fleet = folder.path().join("fleet.toml");
    std::fs::write(&fleet, "[[product]]\nid = \"unused\"\n").unwrap();
    let target = |number: u64| format!("/deviceapi/update?k={KEY}&s={}&v=1.4.0", serial(number % devices));
    let (mut index, mut straight) = (Vec::new(), Vec::new());
    let (rounds, secs) = if scale == 1 { (3, 4) } else { (1, 1) };
    let conninfo = server.conninfo();
    let by_index = process::Gateway::start_with(&program, &fleet, &["--postgres", &conninfo]).unwrap();
    let through = process::Gateway::start_with(&program, &fleet, &["--postgres", &conninfo, "--straight"]).unwrap();
    for _ in 0..rounds {
        index.push(http_load::per_second(&by_index.address, target, secs));
        straight.push(http_load::per_second(&through.address, target, secs));
    }
    let (index, straight) = (median(index), median(straight));
    summary.put("http_index_per_s", index);
    summary.put("http_pg_straight_per_s", straight);
    summary.put("http_index_vs_straight", index / straight);
    by_index.stop().unwrap();
    through.stop().unwrap();
}
