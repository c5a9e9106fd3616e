//! A process that writes a SQLite file is killed at any moment: what it said that it did is there, nothing is there by half, and the next one goes on at once.
#![cfg(feature = "sqlite")]

#[path = "support/folder.rs"]
mod folder;
mod twin;

use folder::Folder;
use otagate::feed::Follower;
use otagate::rollout::{ClaimAsk, Ledger, Noted, Of, OfferAsk, Outcome, Report, Statistics};
use otagate::sqlite::{Durability, SqliteStore};
use otagate::*;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use twin::draw::Draw;

/// How the child is told which file to write, and how.
const FILE: &str = "OTAGATE_CRASH_FILE";
const DURABILITY: &str = "OTAGATE_CRASH_DURABILITY";
/// Before each line that counts: the harness prints too.
const DID: &str = "did ";

/// Devices that ask for a slot of one run, and how many of them get one.
const ASK: u64 = 12;
const SLOTS: u32 = 9;
const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);

fn product() -> ProductId {
    ProductId::new("lamp").unwrap()
}

fn group() -> GroupId {
    GroupId::new("stable").unwrap()
}

fn firmware(version: &str) -> FirmwareSpec {
    let artifact = ArtifactSpec {
        size_bytes: 1,
        digests: Digests::blake3_of(version.as_bytes()),
        locator: version.into(),
        ..Default::default()
    };
    FirmwareSpec { version: version.into(), artifacts: vec![artifact], ..Default::default() }
}

/// What stands in a file before the first child: revision 1.
fn begin(path: &Path) {
    let store = SqliteStore::with(path, Durability::Process).unwrap();
    let product_spec = ProductSpec { id: "lamp".into(), ..Default::default() };
    let group_spec = GroupSpec { id: "stable".into(), ..Default::default() };
    let batch = [
        Change::PutProduct { product: product_spec },
        Change::PutFirmware { product: product(), firmware: firmware("0") },
        Change::PutFirmware { product: product(), firmware: firmware("1") },
        Change::PutGroup { product: product(), group: group_spec },
    ];
    assert_eq!(store.apply(&batch).unwrap(), Ok(Revision(1)));
}

fn serial(n: u64) -> String {
    format!("SN-{n:05}")
}

/// What the group is assigned after batch `n`.
fn assigned(n: u64) -> String {
    (n % 2).to_string()
}

/// Batch `n`, from 1: a device, and the group's firmware with it.
fn batch(n: u64) -> [Change; 2] {
    let device =
        DeviceSpec { serial: serial(n), group: "stable".into(), state: DeviceState::Verified, ..Default::default() };
    [
        Change::PutDevice { product: product(), device },
        Change::AssignFirmware { product: product(), group: group(), firmware: Some(assigned(n)) },
    ]
}

/// In which run device `n` asks, and as the how manieth, from 0.
fn place(n: u64) -> (Run, u64) {
    let started_at = Timestamp::from_millis(((n - 1) / ASK) as i64);
    let rollout = RolloutId::new("r7").unwrap();
    (Run { product: product(), group: group(), rollout, started_at }, (n - 1) % ASK)
}

fn has_slot(n: u64) -> bool {
    place(n).1 < u64::from(SLOTS)
}

fn outcome(n: u64) -> Outcome {
    Outcome::ALL[1 + n as usize % 5]
}

/// The one thing after the other: batch, claim and report of each device. `at` counts them, from 0.
fn act(store: &SqliteStore, at: u64) {
    let (n, (run, _)) = (at / 3 + 1, place(at / 3 + 1));
    let (product, group, serial) = (product(), group(), serial(n));
    match at % 3 {
        0 => drop(store.apply(&batch(n)).unwrap().unwrap()),
        1 => {
            let of = Of { product: &product, group: &group, serial: &serial, run: Some(&run) };
            let offer = Some(OfferAsk { wave: 0, hop: "1", slots_max: Some(SLOTS), missing: None, after: None });
            let ask = ClaimAsk { of, offer, downloads_max: None, until: NOW.plus_secs(3_600) };
            let claimed = store.claim(&ask, NOW).unwrap();
            assert_eq!(claimed.map(|claimed| claimed.attempt).ok(), has_slot(n).then_some(Some(1)), "{n}");
        }
        _ => {
            let report = Report {
                run,
                serial: serial.into(),
                attempt: Some(1),
                outcome: outcome(n),
                resumes: 0,
                penalty: Penalty::default(),
                grace_secs: 0,
            };
            assert_eq!(store.note(&report, NOW).unwrap() == Noted::Foreign, !has_slot(n), "{n}");
        }
    }
}

/// How much of it is in the file.
fn done(store: &SqliteStore) -> u64 {
    let n = store.revision().unwrap().0 - 1;
    if n == 0 {
        return 0;
    }
    let (product, group, serial, (run, _)) = (product(), group(), serial(n), place(n));
    let of = Of { product: &product, group: &group, serial: &serial, run: Some(&run) };
    let tried = store.held(&of, NOW).unwrap().tried;
    // Of one that got no slot nothing is left.
    (n - 1) * 3 + tried.map_or(1, |tried| if tried.outcome == Outcome::Offered { 2 } else { 3 })
}

/// The process that is killed. By itself it does nothing.
#[test]
#[ignore = "what the other tests kill"]
fn child_writes() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let durability = if std::env::var_os(DURABILITY).is_some() { Durability::Full } else { Durability::Process };
    let store = SqliteStore::with(path, durability).unwrap();
    let mut out = std::io::stdout();
    // The last one once more: whoever is killed does not know whether it was done.
    for at in done(&store).saturating_sub(1).. {
        act(&store, at);
        if writeln!(out, "{DID}{at}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

struct Writer(Child, BufReader<ChildStdout>);

impl Writer {
    fn start(path: &Path, durability: Durability) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_writes", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(FILE, path).stdin(Stdio::null()).stdout(Stdio::piped());
        if durability == Durability::Full {
            command.env(DURABILITY, "full");
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self(child, lines)
    }

    /// The next thing that it says it did; none: it is gone.
    fn next(&mut self) -> Option<u64> {
        loop {
            let mut line = String::new();
            if self.1.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // A line that was cut off was not said. The harness has its name on the line before ours.
            if let Some((_, told)) = line.strip_suffix('\n').and_then(|line| line.rsplit_once(DID)) {
                return Some(told.parse().unwrap());
            }
        }
    }

    /// By SIGKILL; whatever it still said.
    fn kill(mut self) -> Option<u64> {
        self.0.kill().unwrap();
        let mut last = None;
        while let Some(at) = self.next() {
            last = Some(at);
        }
        let status = self.0.wait().unwrap();
        assert!(status.code().is_none(), "it was killed, and did not fail before: {status}");
        last
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything in the file is what so many acts come to, and nothing else; accounts of the runs from device `from` on.
fn check(store: &SqliteStore, acts: u64, from: u64) {
    let devices = acts.div_ceil(3);
    assert_eq!(store.revision().unwrap(), Revision(1 + devices), "each batch is one revision");
    let fleet = store.fleet().unwrap();
    let entry = fleet.product("lamp").unwrap();
    assert_eq!(entry.devices().len() as u64, devices);
    assert!((1..=devices).all(|n| entry.device(&serial(n)).is_some()));
    let firmware = entry.group("stable").unwrap().spec().firmware;
    assert_eq!(firmware, (devices > 0).then(|| assigned(devices)), "both parts of a batch, or none");

    let (product, group) = (product(), group());
    let mut runs: BTreeMap<Timestamp, (Run, Statistics, u32)> = BTreeMap::new();
    let first = (from.saturating_sub(1) / ASK) * ASK + 1;
    for n in first..=devices {
        let (run, _) = place(n);
        let serial = serial(n);
        let tried =
            store.held(&Of { product: &product, group: &group, serial: &serial, run: Some(&run) }, NOW).unwrap().tried;
        let expected = match acts - (n - 1) * 3 {
            _ if !has_slot(n) => None,
            1 => None,
            2 => Some(Outcome::Offered),
            _ => Some(outcome(n)),
        };
        assert_eq!(tried.as_ref().map(|tried| tried.outcome), expected, "device {n} after {acts}");
        assert!(tried.is_none_or(|tried| (tried.number, tried.offers) == (1, 1)), "no claim is doubled");
        let (_, statistics, slots) = runs.entry(run.started_at).or_insert((run, Statistics::default(), 0));
        if let Some(outcome) = expected {
            statistics.waves.resize(1, Default::default());
            *statistics.waves[0].at_mut(outcome) += 1;
            if outcome != Outcome::Offered {
                *statistics.recent.at_mut(outcome) += 1;
            }
            *slots += 1;
        }
    }
    for (run, statistics, slots) in runs.values() {
        assert_eq!(store.statistics(run, 0).unwrap(), *statistics, "the counts are those of the attempts");
        let of = Of { product: &product, group: &group, serial: "SN-00000", run: Some(run) };
        assert_eq!(store.held(&of, NOW).unwrap().standing.slots_taken, *slots);
        assert!(*slots <= SLOTS);
    }
}

/// Kills a writer of one file so often. With `stays` this process has the file open all along; else it is closed each time, and the next one opens what a dead
/// process left.
fn kill_often(folder: &Folder, seed: u64, times: usize, durability: Durability, stays: bool) {
    let draw = &mut Draw(seed);
    let path = folder.path().join(format!("{seed}.db"));
    begin(&path);
    let index = Index::new(&Fleet::default());
    let mut follower = Follower::new(index.clone());
    let mut kept = stays.then(|| {
        let store = SqliteStore::with(&path, Durability::Process).unwrap();
        let feed = store.feed().unwrap();
        (store, feed)
    });
    let mut acts = 0;
    for _ in 0..times {
        let mut writer = Writer::start(&path, durability);
        let before = acts;
        // It goes on at once, with what may have been done.
        let mut told = writer.next().unwrap();
        assert_eq!(told, u64::max(before, 1) - 1, "seed {seed}: it goes on where the other was");
        for _ in 0..draw.below(30) {
            let next = writer.next().unwrap();
            assert_eq!(next, told + 1);
            told = next;
        }
        let wait = Instant::now() + Duration::from_micros(draw.below(3_000));
        while Instant::now() < wait {
            std::hint::spin_loop();
        }
        told = writer.kill().unwrap_or(told);

        let fresh = || {
            let store = SqliteStore::with(&path, Durability::Process).unwrap();
            let feed = store.feed().unwrap();
            (store, feed)
        };
        let (store, mut feed) = kept.take().unwrap_or_else(fresh);
        // A claim that is refused leaves nothing behind, nor does a report of one: then it cannot be seen.
        acts = done(&store);
        let said = told + 1;
        let n = said.div_ceil(3);
        let unseen = !has_slot(n) && acts == (n - 1) * 3 + 1;
        assert!(unseen || (said..=said + 1).contains(&acts), "seed {seed}: {said} were told of, {acts} were done");
        check(&store, acts, before / 3);
        follower.sync(&mut feed).unwrap();
        assert!(
            index.snapshot().to_fleet() == store.fleet().unwrap(),
            "seed {seed}: the index that follows is another"
        );
        assert_eq!(follower.status().kept_out().len(), 0);
        kept = stays.then_some((store, feed));
    }
    drop(kept);
    let store = SqliteStore::with(&path, Durability::Process).unwrap();
    check(&store, acts, 1);
    let other = Index::new(&Fleet::default());
    Follower::new(other.clone()).sync(&mut store.feed().unwrap()).unwrap();
    assert!(other.snapshot().to_fleet() == index.snapshot().to_fleet(), "a fresh load is another");
    assert_eq!(follower.status().loads(), 1, "it followed all along");
    let sound: String =
        Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn a_writer_that_is_killed_at_any_moment_leaves_what_it_said_and_nothing_by_half() {
    let folder = Folder::new("crash");
    for seed in 0..4 {
        kill_often(&folder, seed, 42, Durability::Process, seed % 2 == 0);
    }
    for seed in 4..6 {
        kill_often(&folder, seed, 16, Durability::Full, seed % 2 == 0);
    }
}

#[test]
fn what_is_killed_in_the_middle_of_a_transaction_was_never_there() {
    let folder = Folder::new("crash");
    // A row on which SQLite computes for hours, after others of the same transaction were written: who is killed then is killed in the middle.
    let stops = [
        ("otagate_device", "INSERT", "NEW.serial = 'SN-00004'", 9),
        ("otagate_attempt", "INSERT", "NEW.serial = 'SN-00004'", 10),
        (
            "otagate_count",
            "UPDATE",
            "OLD.outcome = 'offered' AND NEW.devices < OLD.devices AND (SELECT count(*) FROM otagate_attempt) = 4",
            11,
        ),
    ];
    for (table, when, which, acts) in stops {
        let path = folder.path().join(format!("{table}.db"));
        begin(&path);
        let connection = Connection::open(&path).unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        let stop = format!(
            "CREATE TRIGGER stop AFTER {when} ON {table} WHEN {which} BEGIN
                SELECT count(*) FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT 1000000000000);
             END"
        );
        connection.execute_batch(&stop).unwrap();
        let mut writer = Writer::start(&path, Durability::Process);
        let mut told = None;
        while told != Some(acts - 1) {
            told = writer.next();
            assert!(told.is_some(), "{table}: it is gone");
        }
        // It has the lock of a writer, and keeps it.
        let since = Instant::now();
        while connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
            assert!(since.elapsed() < Duration::from_secs(30), "{table}: it never came to write");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err(), "{table}: it is still at it");
        assert_eq!(writer.kill(), None, "{table}: it never came to an end");
        let store = SqliteStore::with(&path, Durability::Process).unwrap();
        assert_eq!(done(&store), acts, "{table}");
        check(&store, acts, 1);
        connection.execute_batch("DROP TRIGGER stop").unwrap();
        let mut writer = Writer::start(&path, Durability::Process);
        while writer.next().is_some_and(|at| at < acts + 5) {}
        writer.kill();
        check(&store, done(&store), 1);
    }
}
