//! The demonstration of `make demo`: starts the gateway on a free loopback port with a fleet of two products, asks it by real HTTP for every verdict and
//! every kind of answer, and prints what each device asked, what it was told, and why. The fleet is kept in a SQLite file; the gateway is killed in the middle of
//! a rollout, begins again, and knows all that it knew. Exits 0 only if all came as expected.
//!
//! `demo --serve` leaves the gateway running on 127.0.0.1:8080 instead, with a file that stays.

#[path = "demo/process.rs"]
mod process;

use otagate::rollout::{Ledger, RolloutStore};
use otagate::sqlite::SqliteStore;
use process::{Failure, Gateway, Told, gateway_command, lay_out};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => run(),
        Some("--serve") => serve().map(|()| true),
        Some(_) => Err("usage: demo [--serve]".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Failure> {
    let dir = demo_dir()?;
    let (fleet, db) = (lay_out(&dir)?, dir.join("serve.db"));
    println!("kept in: {}", db.display());
    println!(
        "fleet: {}\ntry:   curl -i 'http://127.0.0.1:8080/deviceapi/update?k=thermo-demo-key&s=24:0A:C4:00:00:01&v=1.3.0'",
        fleet.display()
    );
    println!("edit the fleet file and `kill -HUP` the gateway to have it read again; ctrl-c stops");
    let status = gateway_command(&gateway_program()?, &fleet, "127.0.0.1:8080").arg("--db").arg(db).status()?;
    if status.success() { Ok(()) } else { Err(format!("the gateway ended with {status}").into()) }
}

/// Below the build's folder, beside the examples.
fn demo_dir() -> Result<std::path::PathBuf, Failure> {
    Ok(std::env::current_exe()?.ancestors().nth(3).ok_or("the demo stands in no build folder")?.join("demo"))
}

fn gateway_program() -> Result<std::path::PathBuf, Failure> {
    Ok(std::env::current_exe()?.with_file_name("gateway"))
}

fn run() -> Result<bool, Failure> {
    let dir = demo_dir()?;
    let fleet = lay_out(&dir)?;
    let db = dir.join("demo.db");
    // Each showing begins anew.
    for file in ["demo.db", "demo.db-wal", "demo.db-shm"] {
        match std::fs::remove_file(dir.join(file)) {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(fault.into()),
            _ => {}
        }
    }
    let kept = ["--db", db.to_str().ok_or("the build's folder is no text")?];
    let mut gateway = Gateway::start_with(&gateway_program()?, &fleet, &kept)?;
    let firmware = fleet.with_file_name("firmware");
    println!("{:<44} {:<46} {:<7} why", "who and what", "asked", "told");
    let mut wrong = 0;
    for case in cases() {
        let (told, why) = ask(&mut gateway, &case)?;
        let faults = case.faults(&told, &why, &firmware)?;
        wrong += usize::from(!faults.is_empty());
        let shown = case.shown();
        println!("{:<44} {shown:<46} {:<7} {why}{}", case.who, told.status, told.shown());
        faults.iter().for_each(|fault| println!("    NOT AS EXPECTED: {fault}"));
    }
    let whole = gateway.download(&firmware)?;
    println!(
        "{:<44} {:<46} {:<7} {whole}",
        "a stable unit downloads in 32 KiB steps", "GET update s=24:0A:C4:00:00:01 v=1.3.0, ranged", 206
    );
    println!("\nthe gateway is killed (kill -9) and begins again, from its file");
    gateway.kill()?;
    let mut gateway = Gateway::start_with(&gateway_program()?, &fleet, &kept)?;
    for case in cases_after() {
        let (told, why) = ask(&mut gateway, &case)?;
        let faults = case.faults(&told, &why, &firmware)?;
        wrong += usize::from(!faults.is_empty());
        println!("{:<44} {:<46} {:<7} {why}{}", case.who, case.shown(), told.status, told.shown());
        faults.iter().for_each(|fault| println!("    NOT AS EXPECTED: {fault}"));
    }
    let offered = offered(&db)?;
    wrong += usize::from(offered != 1);
    println!("its ledger: {offered} device was offered 2.0.0 by rollout r7, as before");
    gateway.stop()?;
    println!("{}", if wrong == 0 { "\nall as expected" } else { "\nsome answers were not as expected" });
    Ok(wrong == 0)
}

/// How many devices the ledger says that the canary group's rollout was offered to.
fn offered(db: &Path) -> Result<u64, Failure> {
    let store = SqliteStore::open(db)?;
    let canary = store.under_way()?.into_iter().find(|at| at.group.id().as_str() == "canary");
    let run = canary.and_then(|at| at.group.rollout()?.run(&at.product, at.group.id()));
    Ok(store.statistics(&run.ok_or("the canary group has no rollout under way")?, 0)?.total().devices())
}

/// Asks, and asks again where the device was registered by the question before: that is done after the answer, so that no stranger can tell by the time.
fn ask(gateway: &mut Gateway, case: &Case) -> Result<(Told, String), Failure> {
    for _ in 0..100 {
        let told = gateway.ask(case.method, &case.target, case.headers)?;
        let why = gateway.reason()?;
        if case.reason != "device-new" || why != "device-unknown" {
            return Ok((told, why));
        }
    }
    Err("a stranger was never registered".into())
}

/// What is asked of the gateway that begins again.
fn cases_after() -> Vec<Case> {
    let canary = by_rank("r7", "a4cf125e", 8);
    vec![
        thermostat("the stranger that was registered", "7c9e.bd00.0001", "1.3.0", 401, "device-new"),
        thermostat("the canary group: beyond the first wave", &canary[7], "1.4.0", 304, "wave-not-open"),
        thermostat("served: the same unit of the first wave", &canary[0], "1.4.0", 200, "serve")
            .lines(&["X-Version: 2.0.0"])
            .file("thermostat-2.0.0.bin"),
    ]
}

/// One check-in and what must come back.
struct Case {
    who: &'static str,
    method: &'static str,
    target: String,
    headers: &'static str,
    status: u16,
    reason: &'static str,
    /// Header lines that must stand in the answer, and for a file its name.
    lines: &'static [&'static str],
    file: Option<&'static str>,
    body: Option<&'static str>,
}

impl Case {
    fn lines(self, lines: &'static [&'static str]) -> Self {
        Self { lines, ..self }
    }

    fn file(self, file: &'static str) -> Self {
        Self { file: Some(file), ..self }
    }

    fn body(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    /// What was asked, without the key and the common path.
    fn shown(&self) -> String {
        let target = self.target.trim_start_matches("/deviceapi/");
        let (call, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.split('&').filter(|pair| {
            !pair.is_empty() && !pair.starts_with("k=thermo-demo") && !pair.starts_with("k=sensor-demo")
        });
        format!("{} {call} {}", self.method, query.collect::<Vec<_>>().join(" "))
    }

    fn faults(&self, told: &Told, why: &str, firmware: &Path) -> Result<Vec<String>, Failure> {
        let mut faults = Vec::new();
        if (told.status, why) != (self.status, self.reason) {
            faults.push(format!("expected {} {}", self.status, self.reason));
        }
        let missing = self.lines.iter().filter(|line| !told.head.lines().any(|held| held == **line));
        faults.extend(missing.map(|line| format!("the answer has no line `{line}`:\n{}", told.head)));
        let expected = match (self.file, self.body) {
            (Some(file), _) => Some(std::fs::read(firmware.join(file))?),
            (None, body) => body.map(|body| body.as_bytes().to_vec()),
        };
        if expected.is_some_and(|expected| expected != told.body) {
            faults.push(format!("the body is another: {} bytes", told.body.len()));
        }
        Ok(faults)
    }
}

fn case(who: &'static str, target: impl Into<String>, status: u16, reason: &'static str) -> Case {
    Case { who, method: "GET", target: target.into(), headers: "", status, reason, lines: &[], file: None, body: None }
}

/// An update check of a thermostat.
fn thermostat(who: &'static str, serial: &str, version: &str, status: u16, reason: &'static str) -> Case {
    case(who, format!("/deviceapi/update?k=thermo-demo-key&s={serial}&v={version}"), status, reason)
}

fn sensor(who: &'static str, serial: &str, version: &str, status: u16, reason: &'static str) -> Case {
    case(who, format!("/deviceapi/update?k=sensor-demo-key&s={serial}&v={version}"), status, reason)
}

/// The units of a group, lowest rank first: who is in an open wave is no secret.
fn by_rank(rollout: &str, prefix: &str, count: u32) -> Vec<String> {
    let mut serials: Vec<_> = (1..=count).map(|unit| format!("{prefix}{unit:04x}")).collect();
    serials.sort_by_key(|serial| otagate::rank(rollout, "thermostat", serial));
    serials
}

fn cases() -> Vec<Case> {
    let canary = by_rank("r7", "a4cf125e", 8);
    let halted = by_rank("r6", "30aea400", 2);
    let key = |key: &str| format!("/deviceapi/update?k={key}&s=24:0A:C4:00:00:01&v=1.3.0");
    let with_key = |call: &str| format!("/deviceapi/{call}k=thermo-demo-key&s=24:0A:C4:00:00:01");
    let head = |case: Case| Case { method: "HEAD", ..case };
    let ranged = |case: Case| Case { headers: "Range: bytes=0-15\r\n", ..case };
    vec![
        case("a stranger's key", key("guess"), 401, "key-unknown"),
        case("a revoked key", key("thermo-stolen-key"), 401, "key-revoked"),
        case("a key of last year", key("thermo-key-of-2025"), 401, "key-expired"),
        case("a key of the far future", key("thermo-key-of-2099"), 401, "key-not-yet-valid"),
        thermostat("a serial that is none", "24:0A:C4", "1.3.0", 401, "serial-malformed"),
        thermostat("a serial that nobody set", "FF:FF:FF:FF:FF:FF", "1.3.0", 401, "serial-placeholder"),
        thermostat("an unknown unit: registered", "7C:9E:BD:00:00:01", "1.3.0", 401, "device-unknown"),
        thermostat("the same unit asks again", "7c9e.bd00.0001", "1.3.0", 401, "device-new"),
        thermostat("a blocked unit", "24:0A:C4:00:00:02", "1.3.0", 401, "device-blocked"),
        thermostat("a disabled unit", "24:0A:C4:00:00:03", "1.3.0", 401, "device-disabled"),
        thermostat("a unit over the account's limit", "24:0A:C4:00:00:04", "1.3.0", 401, "device-quota"),
        sensor("a thermostat with a sensor's key", "24:0A:C4:00:00:01", "1.3.0", 401, "device-unknown"),
        thermostat("its group was removed", "24:0A:C4:00:00:06", "1.3.0", 404, "group-missing"),
        thermostat("its group is empty", "24:0A:C4:00:00:07", "1.3.0", 404, "nothing-assigned"),
        thermostat("its firmware was removed", "24:0A:C4:00:00:08", "1.3.0", 404, "firmware-missing"),
        thermostat("its firmware is denied", "24:0A:C4:00:00:09", "1.3.0", 404, "firmware-denied"),
        sensor("firmware for other hardware", "B8:27:EB:00:00:02", "7.0", 404, "hardware"),
        thermostat("no stepping stones lead there", "24:0A:C4:00:00:0D", "1.3.0", 404, "no-path"),
        sensor("a delta from another version only", "B8:27:EB:00:00:04", "7.1", 404, "no-artifact"),
        thermostat("up to date", "24:0A:C4:00:00:01", "v1.4.0", 304, "current").lines(&["X-Version: 1.4.0"]),
        thermostat("the canary group: beyond the first wave", &canary[7], "1.4.0", 304, "wave-not-open")
            .lines(&["X-Version: 1.4.0", "Retry-After: 3600"]),
        thermostat("a halted rollout: in its wave", &halted[0], "1.4.0", 304, "rollout-paused"),
        thermostat("left on an aborted target", "24:0A:C4:00:00:0F", "2.0.0", 304, "left"),
        thermostat("its group is capped", "24:0A:C4:00:00:0C", "1.3.0", 304, "held"),
        thermostat("ahead of a forward-only group", "24:0A:C4:00:00:0B", "2.0.0", 304, "ahead"),
        sensor("a version that cannot be placed", "B8:27:EB:00:00:01", "latest", 304, "version-unreadable"),
        thermostat("its group's window is shut", "24:0A:C4:00:00:0E", "1.3.0", 304, "window-shut"),
        thermostat("served: the stable firmware", "24:0a:c4:00:00:01", "1.3.0", 200, "serve")
            .lines(&["X-Version: 1.4.0", "Content-Length: 100000"])
            .file("thermostat-1.4.0.bin"),
        head(thermostat("the same by HEAD", "240AC4000001", "1.3.0", 200, "serve"))
            .lines(&["X-Version: 1.4.0", "Content-Length: 100000"])
            .body(""),
        ranged(thermostat("the first 16 bytes", "24-0A-C4-00-00-01", "1.3.0", 206, "serve"))
            .lines(&["Content-Length: 16", "Content-Range: bytes 0-15/100000"]),
        thermostat("served: the canary group, first wave", &canary[0], "1.4.0", 200, "serve")
            .lines(&["X-Version: 2.0.0"])
            .file("thermostat-2.0.0.bin"),
        thermostat("served: a stepping stone", "24:0A:C4:00:00:0A", "1.0.0", 200, "serve")
            .lines(&["X-Version: 1.2.0"])
            .file("thermostat-1.2.0.bin"),
        thermostat("served: a factory unit without a version", "24:0A:C4:00:00:01", "", 200, "serve")
            .lines(&["X-Version: 1.4.0"]),
        sensor("served: a delta", "B8:27:EB:00:00:03", "fw-7.2", 200, "serve").file("sensor-7.2-to-7.3.delta"),
        case("a sign of life", with_key("alive?v=1.3.0&"), 200, "alive").body(""),
        case("config as JSON", with_key("config?"), 200, "serve").body(include_str!("demo/stable.json")),
        case("config in plain lines", with_key("getconfig?plain&"), 200, "serve")
            .body("beta=false\nmotd=two\\nlines\nwifi.retry=3\nwifi.ssid=boiler room\n"),
        case("the list of resources", with_key("resource/list?plain&"), 200, "serve"),
        case("a resource", with_key("resource/get?fk=6c6f676f2e706e67&"), 200, "serve").file("logo.png"),
        case("a resource that is not there", with_key("resource/get?fk=616263&"), 404, "nothing-assigned"),
        case("a parameter given twice", "/deviceapi/update?k=1&s=1&S=2&v=1", 400, "malformed"),
        case("a lone %", "/deviceapi/update?k=100%&s=1&v=1", 400, "malformed"),
    ]
}
