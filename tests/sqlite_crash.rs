//! A process that writes to a SQLite file is killed two hundred times, anywhere: what it was told was done is there, nothing is there by half or twice, and the
//! next process goes on at once.
#![cfg(feature = "sqlite")]

#[path = "support/folder.rs"]
mod folder;
mod twin;

use folder::Folder;
use otagate::feed::{Feed, Follower};
use otagate::rollout::{ClaimAsk, Ledger, Of, OfferAsk, Outcome, Report};
use otagate::sqlite::{Durability, SqliteStore};
use otagate::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use twin::draw::Draw;

const KILLS: u64 = 200;
const SLOTS: u32 = 150;
const FILE: &str = "OTAGATE_CRASH_FILE";
const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn run() -> Run {
    Run {
        product: ProductId::new("lamp").unwrap(),
        group: GroupId::new("stable").unwrap(),
        rollout: RolloutId::new("r7").unwrap(),
        started_at: Timestamp::from_millis(1),
    }
}

fn of<'a>(run: &'a Run, serial: &'a str) -> Of<'a> {
    Of { product: &run.product, group: &run.group, serial, run: Some(run) }
}

fn begin() -> Fleet {
    let lamp = ProductFleetSpec {
        product: ProductSpec { id: "lamp".into(), ..Default::default() },
        groups: vec![GroupSpec { id: "stable".into(), firmware: Some("0".into()), ..Default::default() }],
        ..Default::default()
    };
    FleetSpec { products: vec![lamp], ..Default::default() }.build().unwrap()
}

fn devices(fleet: &Fleet) -> usize {
    fleet.product("lamp").unwrap().devices().len()
}

/// Not a test of its own: what the killed process does, and tells line by line once it is done.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn child() {
    let Ok(file) = std::env::var(FILE) else { return };
    let durability = if file.ends_with("0.db") { Durability::Full } else { Durability::Process };
    let (store, run) = (SqliteStore::with(file, durability).unwrap(), run());
    let mut next = devices(&store.fleet().unwrap());
    loop {
        next += 1;
        let serial = format!("d{next}");
        // Both in one batch: the device, and the number of devices as the group's baseline.
        let device = DeviceSpec { serial: serial.clone(), group: "stable".into(), ..Default::default() };
        let (product, group) = (run.product.clone(), run.group.clone());
        let batch = [
            Change::PutDevice { product: product.clone(), device },
            Change::AssignFirmware { product, group, firmware: Some(next.to_string()) },
        ];
        store.apply(&batch).unwrap().unwrap();
        println!("device {next}");
        let offer = Some(OfferAsk { wave: 0, hop: "2.0", slots_max: Some(SLOTS), missing: None, after: None });
        let ask = ClaimAsk { of: of(&run, &serial), offer, downloads_max: None, until: NOW.plus_secs(3_600) };
        if store.claim(&ask, NOW).unwrap().is_ok() {
            println!("claim {next}");
            let rollout = RolloutSpec::new("r7", TargetSpec::Firmware("2.0".into()), vec![Wave::new(WaveSize::All)]);
            let report = Report {
                run: run.clone(),
                serial: serial.into(),
                attempt: None,
                outcome: Outcome::Installed,
                resumes: 0,
                penalty: rollout.penalty,
                grace_secs: 0,
            };
            store.note(&report, NOW).unwrap();
            println!("outcome {next}");
        }
    }
}

#[test]
fn what_was_done_is_there_and_nothing_by_half_or_twice() {
    let (folder, run, draw) = (Folder::new("crash"), run(), &mut Draw(1));
    // Twenty files, of which two wait for the disk.
    for file in 0..20 {
        let path = folder.path().join(format!("{file}.db"));
        let store = SqliteStore::open(&path).unwrap();
        store.fill(&begin()).unwrap().unwrap();
        let index = Index::new(&Fleet::default());
        let (mut follower, mut feed) = (Follower::new(index.clone()), store.feed().unwrap());
        let mut slots = 0;
        for _ in 0..KILLS / 20 {
            let mut process = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--ignored", "--nocapture"])
                .env(FILE, &path)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
            let done: Vec<String> = lines
                .by_ref()
                .skip_while(|line| !line.starts_with("device"))
                .take(1 + draw.below(12) as usize)
                .collect();
            assert!(!done.is_empty(), "the process did nothing");
            std::thread::sleep(Duration::from_micros(draw.below(3_000)));
            process.kill().unwrap();
            process.wait().unwrap();
            // What it told before it died was done.
            let done: Vec<String> = done.into_iter().chain(lines).collect();
            let told = |what: &str| -> Vec<usize> {
                let numbers = done.iter().filter_map(|line| line.strip_prefix(what)?.trim().parse().ok());
                numbers.collect()
            };
            let fleet = store.fleet().unwrap();
            let there = devices(&fleet);
            let last = *told("device").last().unwrap();
            assert!(there == last || there == last + 1, "{there} devices are there, {last} were told");
            let group = fleet.product("lamp").unwrap().group("stable").unwrap();
            assert_eq!(group.firmware().unwrap().text(), there.to_string(), "both parts of a batch, or none");
            assert_eq!(fleet.revision(), Revision(1 + there as u64), "each batch is one revision");
            let held = |number: usize| store.held(&of(&run, &format!("d{number}")), NOW).unwrap();
            for number in told("claim") {
                assert_eq!(held(number).tried.unwrap().number, 1, "claim {number} was told");
            }
            for number in told("outcome") {
                assert_eq!(held(number).tried.unwrap().outcome, Outcome::Installed, "outcome {number} was told");
            }
            let tried: Vec<_> = (1..=there).filter_map(|number| held(number).tried).collect();
            slots = tried.len();
            let statistics = store.statistics(&run, 0).unwrap();
            let installed = tried.iter().filter(|tried| tried.outcome == Outcome::Installed).count();
            assert_eq!(statistics.total().devices() as usize, slots, "each claim is counted once");
            assert_eq!(statistics.total().installed as usize, installed, "each outcome is counted once");
            assert_eq!(held(1).standing.slots_taken as usize, slots);
            assert!(slots <= SLOTS as usize);
            follower.sync(&mut feed).unwrap();
            assert!(index.snapshot().to_fleet() == fleet, "the index that followed all the time is another fleet");
        }
        let mut anew = Follower::new(Index::new(&Fleet::default()));
        anew.load(store.feed().unwrap().load().unwrap());
        assert!(anew.index().snapshot().to_fleet() == index.snapshot().to_fleet());
        assert!(slots > 10, "only {slots} devices claimed anything");
    }
}
