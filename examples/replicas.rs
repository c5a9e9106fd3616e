//! Three gateways on one PostgreSQL, and a rollout "ten, then the rest", first come: while two hundred devices ask all three, one gateway is killed and the
//! database is restarted. Exactly ten are offered the target; once they have reported it, the rest are.
//!
//! `cargo build --all-features --examples && target/debug/examples/replicas` (it needs PostgreSQL's programs, and starts a server of its own)

#[path = "demo/process.rs"]
mod process;
#[path = "../tests/support/postgres.rs"]
mod server;

use otagate::postgres::PostgresStore;
use otagate::rollout::{AsyncLedger, AsyncRolloutStore};
use process::{Failure, Gateway};
use server::{Postgres, Stop};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const DEVICES: usize = 200;
const GATEWAYS: usize = 3;
const ASKERS: usize = 6;
/// As often is each device asked before something happens to the gateways.
const ROUNDS: u64 = 3;
const WAIT: Duration = Duration::from_secs(60);

const FLEET: &str = r#"
revision = 1

[[product]]
id = "lamp"
serials = "hex"
versions = { scheme = "semver" }
devices = "lamp.csv"

[[product.key]]
key = "lamp-key"

[[product.firmware]]
version = "1.0.0"
[[product.firmware.artifact]]
file = "lamp-1.0.0.bin"

[[product.firmware]]
version = "2.0.0"
[[product.firmware.artifact]]
file = "lamp-2.0.0.bin"

[[product.group]]
id = "default"
firmware = "1.0.0"
[product.group.rollout]
id = "r1"
target = "2.0.0"
state = "running"
started_at = 2026-11-01T08:00:00Z
admission = "first-come"
waves = [{ size = 10 }, { size = "all", min_finished = 10, success_share = "100 %" }]
"#;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("replicas: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("otagate-replicas-{}", std::process::id()));
    let shown = show(&dir);
    std::fs::remove_dir_all(&dir)?;
    shown
}

fn show(dir: &Path) -> Result<(), Failure> {
    let fleet = lay_out(dir)?;
    let server = Postgres::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let program = std::env::current_exe()?.with_file_name("gateway");
    let begin = || Gateway::start_with(&program, &fleet, &["--postgres", &server.conninfo()]);
    // All three at once: one of them fills the database.
    let begun = std::thread::scope(|scope| {
        let gateways: Vec<_> =
            (0..GATEWAYS).map(|_| scope.spawn(|| begin().map_err(|fault| fault.to_string()))).collect();
        gateways
            .into_iter()
            .map(|gateway| gateway.join().unwrap_or(Err("it panicked".into())))
            .collect::<Result<Vec<_>, _>>()
    });
    let mut gateways = begun?;
    println!("three gateways on one database, {DEVICES} devices, a rollout \"10, then the rest\", first come");
    let store = runtime.block_on(PostgresStore::connect(&server.conninfo(), 2))?;
    let asked = Asked::new(gateways.iter().map(|gateway| gateway.address.clone()).collect());
    let outcome = std::thread::scope(|scope| {
        for asker in 0..ASKERS {
            let asked = &asked;
            scope.spawn(move || asked.hammer(asker));
        }
        let told = (|| {
            asked.wait_rounds(ROUNDS)?;
            gateways.remove(1).kill()?;
            println!("one gateway is killed (kill -9), after {} answers", asked.answers());
            asked.wait_rounds(ROUNDS)?;
            server.restart(Stop::Immediate);
            println!("PostgreSQL is restarted as by a crash, after {} answers", asked.answers());
            asked.wait_rounds(ROUNDS)?;
            gateways.push(begin()?);
            asked.address(1, gateways[GATEWAYS - 1].address.clone());
            println!("the gateway that was killed begins again, after {} answers", asked.answers());
            asked.wait_rounds(ROUNDS)
        })();
        asked.stop.store(true, Ordering::Relaxed);
        told
    });
    outcome?;
    let offered = asked.offered();
    let booked = runtime.block_on(booked(&store))?;
    println!(
        "{} answers, {} of them offers, to {} devices; the ledger: {booked}",
        asked.answers(),
        asked.offers(),
        offered.len()
    );
    if offered.len() != 10 || booked != 10 {
        return Err(format!(
            "{} devices were offered the target, and {booked} are booked; 10 were to be",
            offered.len()
        )
        .into());
    }
    println!("exactly ten");
    for (at, serial) in offered.iter().enumerate() {
        tell(&gateways[at % GATEWAYS], serial, "2.0.0", 304)?;
    }
    println!("the ten report 2.0.0, each to any gateway; whichever looks first opens the rest");
    for at in 0..DEVICES {
        let serial = serial(at);
        if !offered.contains(&serial) {
            tell(&gateways[at % GATEWAYS], &serial, "1.0.0", 200)?;
        }
    }
    let booked = runtime.block_on(self::booked(&store))?;
    println!("all others are offered it now; the ledger: {booked}");
    if booked != DEVICES as u64 {
        return Err(format!("{booked} devices are booked, not {DEVICES}").into());
    }
    gateways.into_iter().try_for_each(Gateway::stop)
}

/// A fleet file with devices beside it, and firmware.
fn lay_out(dir: &Path) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(dir.join("firmware"))?;
    for version in ["1.0.0", "2.0.0"] {
        std::fs::write(dir.join(format!("firmware/lamp-{version}.bin")), version.repeat(1_000))?;
    }
    let rows: String = (0..DEVICES).map(|at| format!("{},verified,default\n", serial(at))).collect();
    std::fs::write(dir.join("lamp.csv"), format!("serial,state,group\n{rows}"))?;
    std::fs::write(dir.join("fleet.toml"), FLEET)?;
    Ok(dir.join("fleet.toml"))
}

fn serial(at: usize) -> String {
    format!("{:06x}", at + 1)
}

/// How many devices the ledger holds an offer of.
async fn booked(store: &PostgresStore) -> Result<u64, Failure> {
    let under_way = store.under_way().await?;
    let at = under_way.first().ok_or("no rollout is under way")?;
    let run =
        at.group.rollout().and_then(|rollout| rollout.run(&at.product, at.group.id())).ok_or("it never started")?;
    Ok(store.statistics(&run, 0).await?.total().devices())
}

/// Asks until it is told so: a gateway follows the database, and one looks at rollouts once a second.
fn tell(gateway: &Gateway, serial: &str, version: &str, status: u16) -> Result<(), Failure> {
    let until = Instant::now() + WAIT;
    let target = format!("/deviceapi/update?k=lamp-key&s={serial}&v={version}");
    loop {
        let told = gateway.ask("HEAD", &target, "")?.status;
        if told == status {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("device {serial} on {version} is told {told}, not {status}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What many devices at once are told.
struct Asked {
    addresses: Mutex<Vec<String>>,
    offered: Mutex<BTreeSet<String>>,
    answers: Vec<AtomicU64>,
    offers: AtomicU64,
    stop: AtomicBool,
}

impl Asked {
    fn new(addresses: Vec<String>) -> Self {
        Self {
            addresses: Mutex::new(addresses),
            offered: Mutex::default(),
            answers: (0..DEVICES).map(|_| AtomicU64::new(0)).collect(),
            offers: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    fn address(&self, gateway: usize, address: String) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)[gateway] = address;
    }

    fn offered(&self) -> BTreeSet<String> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn offers(&self) -> u64 {
        self.offers.load(Ordering::Relaxed)
    }

    fn answers(&self) -> u64 {
        self.answers.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Until each device was answered so often more.
    fn wait_rounds(&self, rounds: u64) -> Result<(), Failure> {
        let least: Vec<u64> = self.answers.iter().map(|count| count.load(Ordering::Relaxed) + rounds).collect();
        let until = Instant::now() + WAIT;
        while self.answers.iter().zip(&least).any(|(count, least)| count.load(Ordering::Relaxed) < *least) {
            if Instant::now() > until {
                return Err("devices are not answered any more".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// One of those who ask for all devices, of all gateways, in an order of its own.
    fn hammer(&self, asker: usize) {
        let mut at = asker * 31;
        while !self.stop.load(Ordering::Relaxed) {
            at += [1, 3, 7, 9, 11, 13][asker];
            let device = at % DEVICES;
            let address = {
                let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
                addresses[(at / DEVICES + asker + device) % GATEWAYS].clone()
            };
            // Nobody there, or no database behind it: the device asks again.
            let Some(status) = ask(&address, &serial(device)) else { continue };
            if status == 200 {
                self.offers.fetch_add(1, Ordering::Relaxed);
                self.offered.lock().unwrap_or_else(PoisonError::into_inner).insert(serial(device));
            }
            if matches!(status, 200 | 304) {
                self.answers[device].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// One check-in on a connection of its own.
fn ask(address: &str, serial: &str) -> Option<u16> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let target = format!("/deviceapi/update?k=lamp-key&s={serial}&v=1.0.0");
    stream
        .write_all(format!("HEAD {target} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split(' ').nth(1)?.parse().ok()
}
