//! Rollouts that move, held against a plain twin of the whole state machine (`tests/twin/machine.rs`): random histories of check-ins, downloads, reports,
//! conductors, operators, clocks that are set back and restarts. After each step verdicts, transitions, the rollout, its statistics and what the ledger
//! holds are the same in both; and laws are asserted on the histories that neither may break.
//!
//! `OTAGATE_MACHINE_RUNS=20000` draws more histories, `OTAGATE_MACHINE_SEED=17` that one alone.

mod twin;

use otagate::rollout::{
    Conductor, Ledger, LedgerRows, MemoryLedger, MoveOutcome, Noted, Of, Outcome, Outcomes, Report, RolloutStore,
    Transition, UnderWay, attend,
};
use otagate::store::{self, Store};
use otagate::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use twin::draw::{Draw, NOW};
use twin::machine::{self as plain, Command, Machine, Moved, OUTCOMES, Size, failures, strength};
use twin::translate::{check_in, fleet_spec, plain_answer};
use twin::{reference, world};

const RUNS: u64 = 3_000;
const STEPS: u64 = 120;
const HOUR: i64 = 3_600_000;

type Met = BTreeMap<String, u64>;

#[test]
fn whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    if let Some(seed) = number("OTAGATE_MACHINE_SEED") {
        one(seed, &mut Met::new());
        return;
    }
    let runs = number("OTAGATE_MACHINE_RUNS").unwrap_or(RUNS);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let mut met = Met::new();
    std::thread::scope(|scope| {
        let some = |thread: u64| {
            move || {
                let mut met = Met::new();
                (0..runs).filter(|seed| seed % threads == thread).for_each(|seed| one(seed, &mut met));
                met
            }
        };
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(some(thread))).collect();
        for thread in all {
            let theirs = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            theirs.into_iter().for_each(|(what, times)| *met.entry(what).or_default() += times);
        }
    });
    println!("{runs} histories; met: {met:#?}");
    // A generator that never gets far would agree about nothing.
    let wanted = [
        "reason: serve",
        "reason: current",
        "reason: wave-not-open",
        "reason: rollout-paused",
        "reason: left",
        "reason: penalty",
        "reason: downloads-full",
        "reason: window-shut",
        "moved: open",
        "moved: open, healthy",
        "moved: open refused",
        "moved: open, expected",
        "moved: halt",
        "moved: halt by an early wave",
        "moved: complete",
        "moved: complete refused",
        "noted: moved",
        "noted: known",
        "noted: foreign",
        "admission: rank",
        "admission: first come",
        "missing",
        "law: a pause kept a claim",
        "law: downgraded",
        "law: a lease kept an offer",
        "law: a lease outlived its rollout",
        "law: exactly so many",
        "stale replica refused",
        "stale conductor lost",
        "forgotten",
        "released",
        "failed again",
        "replica agrees",
        "restart",
        "new attempt",
        "same attempt",
    ];
    let commands = [
        "start",
        "pause",
        "cut",
        "resume",
        "complete",
        "abort-leave",
        "abort-downgrade",
        "add-first",
        "open",
        "put",
        "assign",
        "deny",
        "state",
        "pin",
        "move",
        "join",
        "see",
        "cap-downloads",
        "policy",
        "cap",
    ];
    let wanted = wanted.iter().map(|what| (*what).to_owned());
    let wanted = wanted.chain(commands.iter().map(|command| format!("command: {command}")));
    let refused = ["start", "pause", "resume", "complete", "abort-downgrade", "add-first", "open", "put"];
    let wanted = wanted.chain(refused.iter().map(|command| format!("refused: {command}")));
    let missed: Vec<_> = wanted.filter(|what| !met.contains_key(what)).collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
}

fn one(seed: u64, met: &mut Met) {
    let draw = Draw(seed);
    match seed % 2 {
        0 => History::<Index>::new(seed, draw, met).run(),
        _ => History::<MemoryStore>::new(seed, draw, met).run(),
    }
}

/// A store in memory, made from a fleet and looked at group by group.
trait Held: Store<Error: Debug> + RolloutStore<Error: Debug> {
    fn of(fleet: Fleet) -> Self;
    fn spec(&self) -> FleetSpec;
    fn group(&self, id: &str) -> Group;
    fn device(&self, serial: &str) -> DeviceSpec;
}

impl Held for Index {
    fn of(fleet: Fleet) -> Self {
        Self::new(&fleet)
    }
    fn spec(&self) -> FleetSpec {
        self.snapshot().spec()
    }
    fn group(&self, id: &str) -> Group {
        self.snapshot().group("p", id).unwrap().clone()
    }
    fn device(&self, serial: &str) -> DeviceSpec {
        self.snapshot().device("p", serial).unwrap().spec()
    }
}

impl Held for MemoryStore {
    fn of(fleet: Fleet) -> Self {
        Self::new(fleet)
    }
    fn spec(&self) -> FleetSpec {
        self.read(Fleet::spec)
    }
    fn group(&self, id: &str) -> Group {
        self.read(|fleet| fleet.product("p").unwrap().group(id).unwrap().clone())
    }
    fn device(&self, serial: &str) -> DeviceSpec {
        self.read(|fleet| fleet.product("p").unwrap().device(serial).unwrap().spec())
    }
}

/// A device in the field: what it runs is its own affair.
#[derive(Clone, Debug)]
struct Unit {
    version: String,
    hardware: String,
    /// The name of the configuration that it holds.
    config: String,
    /// What it was served last and has not yet taken, with the attempt that it is.
    taking: Option<(Served, Option<Attempt>)>,
    /// The lease that it was given with it, and the file.
    lease: Option<(Lease, String)>,
}

#[derive(Clone, Debug)]
enum Served {
    Firmware(String),
    Config(String),
}

struct History<'m, S> {
    seed: u64,
    draw: Draw,
    met: &'m mut Met,
    store: S,
    ledger: MemoryLedger,
    machine: Machine,
    units: BTreeMap<String, Unit>,
    now: i64,
    /// Reports that the host has not passed on yet, and some that it passes on again.
    waiting: Vec<plain::Report>,
    log: Vec<String>,
    /// Each group's rollout as it was last looked at, and its edition.
    editions: BTreeMap<String, (RolloutSpec, u64)>,
    /// Editions that a slow replica has looked at.
    slow: Vec<(String, String, u64)>,
    looked: Vec<UnderWay>,
    /// The wave that a device was seen in, by run and how many waves there were.
    inside: BTreeMap<(plain::Run, String), usize>,
    rollouts: u32,
    over: bool,
}

/// Says where it was when an assertion fails, whoever's it is.
impl<S> Drop for History<'_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.log.len().saturating_sub(40);
            eprintln!("seed {}; the last steps:\n{}", self.seed, self.log[from..].join("\n"));
        }
    }
}

/// A store as a slow replica sees it: what is under way it looked up some time ago. Or one that cannot count.
struct Slow<'s, S> {
    store: &'s S,
    looked: Cell<Vec<UnderWay>>,
    /// It cannot count its devices.
    cannot_count: bool,
}

impl<S: RolloutStore> RolloutStore for Slow<'_, S> {
    type Error = S::Error;

    fn under_way(&self) -> Result<Vec<UnderWay>, S::Error> {
        let looked = self.looked.take();
        if looked.is_empty() { self.store.under_way() } else { Ok(looked) }
    }

    fn census(&self, product: &ProductId, group: &Group, wave: usize) -> Result<Result<Census, CensusFault>, S::Error> {
        if self.cannot_count { Ok(Err(CensusFault::CannotCount)) } else { self.store.census(product, group, wave) }
    }

    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, S::Error> {
        self.store.apply(changes)
    }
}

// What is drawn.

const TARGET: &str = "2.0.0";
const CONFIGS: [&str; 3] = ["{}", "{\"a\":1}", "[]"];

fn config(name: &str) -> world::Document {
    let blake3 = blake3::hash(name.as_bytes()).to_string();
    world::Document { name: name.into(), digests: world::Digests { blake3, ..world::Digests::default() } }
}

fn firmware(draw: &mut Draw, version: &str, from: Option<&str>, stone: bool) -> world::Firmware {
    let digest =
        |name: &str| world::Digests { blake3: blake3::hash(name.as_bytes()).to_string(), ..world::Digests::default() };
    let locator = format!("{version}/full");
    let hardware = if draw.once_in(3) { vec!["a".to_owned(), "b".to_owned()] } else { vec![] };
    let full =
        world::Artifact { hardware, from: None, base: world::Digests::default(), digests: digest(&locator), locator };
    let locator = format!("{version}/delta");
    let delta = draw.some(4, |_| world::Artifact {
        from: Some("1.0.0".into()),
        digests: digest(&locator),
        locator,
        ..full.clone()
    });
    let artifacts = [Some(full), delta.filter(|_| version != "1.0.0")].into_iter().flatten().collect();
    world::Firmware { version: version.into(), from: from.map(Into::into), stone, denied: false, artifacts }
}

fn product(draw: &mut Draw) -> world::Product {
    let stone = draw.once_in(3);
    let from = stone.then_some("1.5.0");
    let firmware = vec![
        firmware(draw, "0.9.0", None, false),
        firmware(draw, "1.0.0", None, false),
        firmware(draw, "1.5.0", None, true),
        firmware(draw, TARGET, from, false),
        firmware(draw, "3.0.0", None, false),
    ];
    world::Product {
        id: "p".into(),
        keys: vec![world::Key { secret: b"key".to_vec(), revoked: false, not_before: None, not_after: None }],
        serial_scheme: "opaque",
        placeholders: vec![],
        version_scheme: draw.of(&["semver", "dotted"]),
        prefixes: vec![],
        build_counts: false,
        hold_empty: draw.once_in(6),
        hold_unreadable: draw.once_in(2),
        already_there: draw.of(&["either", "version"]),
        registers: false,
        spread_secs: draw.of(&[0, 1, 600]),
        poll_secs: draw.some(2, |_| 60),
        groups: vec![],
        firmware,
        devices: vec![],
    }
}

fn group(draw: &mut Draw, id: &str) -> plain::Group {
    let span = |draw: &mut Draw| world::Span { weekday: draw.below(7) as u8, from: 0, to: draw.of(&[1_440, 720]) };
    plain::Group {
        plain: world::Group {
            id: id.into(),
            baseline: (!draw.once_in(12)).then(|| draw.of(&["1.0.0", "1.0.0", "1.0.0", "0.9.0"]).to_owned()),
            forward_only: draw.once_in(3),
            cap: draw.some(12, |draw| draw.of(&[TARGET, "1.5.0"]).to_owned()),
            window: draw.some(8, |draw| (0..5).map(|_| span(draw)).collect()),
            config: draw.some(2, |draw| config(draw.of(&CONFIGS))),
            ..world::Group::default()
        },
        downloads_max: draw.some(4, |draw| 1 + draw.below(4) as u32),
        rollout: None,
    }
}

fn gate(draw: &mut Draw, now: i64) -> plain::Gate {
    let opens_at = |draw: &mut Draw| now + draw.below(96) as i64 * HOUR / 4 - 2 * HOUR;
    match draw.below(8) {
        0 => plain::Gate::default(),
        1 => plain::Gate { opens_at: Some(opens_at(draw)), ..plain::Gate::default() },
        _ => plain::Gate {
            opens_at: draw.some(4, opens_at),
            min_finished: draw.some(2, |draw| draw.below(4) as u32),
            share: draw.some(2, |draw| draw.of(&[0, 3_000, 5_000, 6_667, 9_000, 10_000])),
            soak: draw.some(2, |draw| draw.of(&[0, 60, 900, 3_600, 20_000])),
        },
    }
}

fn waves(draw: &mut Draw, first_come: bool, now: i64) -> Vec<plain::Wave> {
    let (len, mut count, mut share) = (1 + draw.below(4), 0, 0);
    (0..len)
        .map(|at| {
            let size = match draw.below(5) {
                _ if at + 1 == len && draw.once_in(2) => Size::All,
                0 | 1 if !first_come => {
                    share = (share + draw.of(&[1, 500, 2_500, 5_000])).min(10_000);
                    Size::Share(share)
                }
                _ => {
                    count = (count + draw.below(4) as u32).max(1);
                    Size::First(count)
                }
            };
            let opens_now = at == 0 && !draw.once_in(8);
            let gate = if opens_now { plain::Gate::default() } else { gate(draw, now) };
            plain::Wave { size, gate, opened: None, admitted: false }
        })
        .collect()
}

fn halt(draw: &mut Draw) -> plain::Halt {
    let share = draw.some(4, |draw| draw.of(&[0, 1_000, 3_000, 5_000, 9_999]));
    plain::Halt {
        failures: draw.some(3, |draw| 1 + draw.below(4) as u32),
        share,
        min_finished: share.and_then(|_| draw.some(2, |draw| draw.below(5) as u32)),
    }
}

fn missing(draw: &mut Draw) -> (u32, u32) {
    (1 + draw.below(3) as u32, draw.of(&[0, 600, 3_600]))
}

fn penalty(draw: &mut Draw) -> (u32, u32) {
    draw.of(&[(3_600, 86_400), (600, 900), (60, 10), (0, 86_400)])
}

impl<S: Held> History<'_, S> {
    fn new(seed: u64, mut draw: Draw, met: &mut Met) -> History<'_, S> {
        let d = &mut draw;
        let mut machine = Machine { product: Some(product(d)), cannot_count: d.once_in(10), ..Machine::default() };
        let groups = 1 + d.below(2) as usize;
        machine.groups = ["default", "canary"].into_iter().take(groups).map(|id| group(d, id)).collect();
        let mut units = BTreeMap::new();
        for at in 0..3 + d.below(28) {
            let serial = format!("SN-{at:02}");
            let unit = Unit {
                version: d.of(&["1.0.0", "1.0.0", "1.0.0", "0.9.0", "", "1.5.0", "2.0.0", "3.0.0", "0.1.0"]).to_owned(),
                hardware: d.of(&["a", "a", "a", "a", "b", "", "z"]).to_owned(),
                config: d.of(&CONFIGS).to_owned(),
                taking: None,
                lease: None,
            };
            let cap = d.some(12, |d| d.of(&["1.5.0", TARGET]).to_owned());
            let device = plain::Device {
                state: if d.once_in(12) { d.of(&["new", "blocked", "disabled", "quota"]) } else { "verified" },
                group: d.of(&["default", "default", "canary"][..if groups == 1 { 1 } else { 3 }]).to_owned(),
                entered_at: NOW - HOUR,
                earlier: BTreeMap::new(),
                pin: d.some(16, |_| "1.0.0".to_owned()),
                cap,
                version: d.some(2, |_| unit.version.clone()),
                hardware: d.some(3, |_| unit.hardware.clone()),
            };
            machine.devices.insert(serial.clone(), device);
            units.insert(serial, unit);
        }
        for at in 0..groups {
            let drawn = Self::rollout(d, &machine, "r0", NOW);
            machine.groups[at].rollout = Some(drawn);
        }
        let mut spec = fleet_spec(&machine.whole());
        for (to, from) in spec.products[0].groups.iter_mut().zip(&machine.groups) {
            to.rollout = from.rollout.as_ref().map(|rollout| rollout_spec(rollout, 0));
        }
        for to in &mut spec.products[0].devices {
            let from = &machine.devices[&to.serial];
            (to.version, to.hardware) = (from.version.clone(), from.hardware.clone());
        }
        let store = S::of(spec.build().unwrap_or_else(|problems| panic!("seed {seed}: {problems}")));
        History {
            seed,
            draw,
            met,
            store,
            ledger: MemoryLedger::default(),
            machine,
            units,
            now: NOW,
            waiting: vec![],
            log: vec![],
            editions: BTreeMap::new(),
            slow: vec![],
            looked: vec![],
            inside: BTreeMap::new(),
            rollouts: 0,
            over: false,
        }
    }

    /// A draft.
    fn rollout(draw: &mut Draw, machine: &Machine, id: &str, now: i64) -> plain::Rollout {
        let first_come = draw.once_in(3);
        let serials: Vec<String> = machine.devices.keys().cloned().collect();
        let first: Vec<String> = serials.iter().filter(|_| draw.once_in(12)).cloned().collect();
        let excluded = serials.iter().filter(|serial| !first.contains(serial) && draw.once_in(10)).cloned().collect();
        let target = match draw.below(8) {
            0 | 1 => world::Target::Config(config(draw.of(&CONFIGS))),
            2 => world::Target::Firmware(draw.of(&["3.0.0", "1.5.0"]).to_owned()),
            _ => world::Target::Firmware(TARGET.into()),
        };
        plain::Rollout {
            id: id.into(),
            salt: draw.some(3, |draw| draw.of(&["canary-2026", ""]).into()),
            target,
            state: "draft",
            why: String::new(),
            started_at: None,
            waves: waves(draw, first_come, now),
            tail: draw.once_in(3),
            first_come,
            first,
            excluded,
            success: draw.of(&["downloaded", "installed", "installed", "installed", "confirmed"]),
            halt: halt(draw),
            missing: missing(draw),
            penalty: penalty(draw),
            complete: if draw.once_in(2) { gate(draw, now) } else { plain::Gate::default() },
            progress: None,
            resumes: 0,
        }
    }

    fn meet(&mut self, what: impl Into<String>) {
        *self.met.entry(what.into()).or_default() += 1;
    }

    fn any_serial(&mut self) -> String {
        let all: Vec<&String> = self.units.keys().collect();
        let at = self.draw.below(all.len() as u64) as usize;
        all[at].clone()
    }

    fn any_group(&mut self) -> String {
        let at = self.draw.below(self.machine.groups.len() as u64) as usize;
        self.machine.groups[at].plain.id.clone()
    }

    fn run(mut self) {
        self.same(true);
        for group in self.machine.groups.clone() {
            let rollout = group.rollout.unwrap();
            self.meet(if rollout.first_come { "admission: first come" } else { "admission: rank" });
            if !self.draw.once_in(8) {
                self.command(Command::Start { group: group.plain.id, id: rollout.id, at: self.now });
                self.advance();
            }
        }
        for step in 0..STEPS {
            if self.over {
                return;
            }
            self.now += 1 + self.draw.below(120_000) as i64;
            match self.draw.below(100) {
                0..40 => {
                    let serial = self.any_serial();
                    self.check_in(&serial);
                }
                40..44 => self.take_a_range(),
                44..63 => self.go_on_taking(),
                63..68 => self.deliver(),
                68..74 => self.hear_from_the_host(),
                74..86 => self.advance(),
                86..93 => self.operate(),
                93..97 => self.clock(),
                97 => self.advance_slowly(),
                98 if self.draw.once_in(2) => self.restart(),
                98 => self.forget(),
                _ if self.draw.once_in(2) => self.be_slow(),
                _ => self.advance_slowly(),
            }
            self.same(step % 8 == 0);
        }
        self.same(true);
    }

    fn clock(&mut self) {
        let by = match self.draw.below(8) {
            0 => -(self.draw.below(3 * HOUR as u64) as i64),
            1 => -(self.draw.below(60_000) as i64),
            2 => self.draw.below(4 * 24 * HOUR as u64) as i64,
            3 | 4 => self.draw.below(120_000) as i64,
            _ => self.draw.below(2 * HOUR as u64) as i64,
        };
        self.now += by;
        self.log.push(format!("the clock goes by {by} ms to {}", self.now));
    }

    // Devices.

    fn ask(&mut self, serial: &str) -> world::Ask {
        let unit = self.units[serial].clone();
        let staged = self.machine.devices.get(serial).and_then(|device| {
            self.machine.group(&device.group).rollout.as_ref().map(|rollout| rollout.target.clone())
        });
        let config = match staged {
            Some(world::Target::Config(_)) => self.draw.once_in(2),
            _ => self.draw.once_in(30),
        };
        let digest = config.then(|| ("blake3", blake3::hash(unit.config.as_bytes()).to_string().into_bytes()));
        world::Ask {
            key: b"key".to_vec(),
            serial: serial.as_bytes().to_vec(),
            version: unit.version.into_bytes(),
            hardware: unit.hardware.into_bytes(),
            digest,
            want: if config { world::Want::Config } else { world::Want::Firmware },
            now: self.now,
        }
    }

    fn check_in(&mut self, serial: &str) -> (world::Answer, Option<u32>) {
        let ask = self.ask(serial);
        self.check_in_with(serial, &ask)
    }

    fn check_in_with(&mut self, serial: &str, ask: &world::Ask) -> (world::Answer, Option<u32>) {
        let until = self.now + self.draw.of(&[60, 600, 3_600, 3_600, 20_000]) * 1_000;
        let before = self.machine.account(serial).cloned();
        let theirs = self.machine.attend(ask, until);
        let version = String::from_utf8_lossy(&ask.version).into_owned();
        self.log.push(format!("{}: {serial} on {version:?} asks for {:?}: {theirs:?}", self.now, ask.want));
        let (answer, attempt, seen, lease) = {
            let asked = check_in(ask);
            let view = self.store.view().unwrap();
            let mut found = store::fetch(&view, &asked).unwrap();
            let (until, now) = (Timestamp::from_millis(until), Timestamp::from_millis(self.now));
            let attended = attend(&self.ledger, &mut found, &asked, until, now, &mut NoTrace).unwrap();
            let lease =
                attended.found.group().and_then(|group| Lease::of(&attended.decision, group.id(), &ask.version, until));
            let lease = lease.map(|lease| Lease { attempt: attended.attempt.clone(), ..lease });
            (plain_answer(&attended.decision), attended.attempt, attended.seen, lease)
        };
        assert_eq!(answer, theirs.answer, "what {serial} is told (left: the crate)");
        assert_eq!(attempt.as_ref().map(|attempt| attempt.number), theirs.attempt, "the attempt of {serial}");
        assert_eq!(seen.as_ref().map(plain_report), theirs.seen, "what was seen of {serial}");
        self.meet(format!("reason: {}", answer.reason));
        if theirs.missed {
            self.meet(if theirs.attempt.is_some() { "missing, and offered again at once" } else { "missing" });
        }
        if let Some(number) = theirs.attempt {
            let new = before.is_none_or(|before| before.number < number);
            self.meet(if new { "new attempt" } else { "same attempt" });
        }
        // The host carries out the effects: at once, later, twice or never.
        if let Some(report) = theirs.seen {
            match self.draw.below(8) {
                0 => {}
                1 => self.waiting.push(report),
                2 => {
                    self.note(&report);
                    self.waiting.push(report);
                }
                _ => self.note(&report),
            }
        }
        if answer.status == 200 {
            let served = match (&answer.serves, &ask.want) {
                (Some(version), _) => Served::Firmware(version.clone()),
                _ => {
                    let of = |name: &&&str| Some(config(name).digests.blake3) == answer.artifact;
                    Served::Config(CONFIGS.iter().find(of).unwrap().to_string())
                }
            };
            let unit = self.units.get_mut(serial).unwrap();
            unit.taking = Some((served, attempt));
            unit.lease = lease.zip(answer.artifact.clone()).or(unit.lease.take());
        }
        if !self.draw.once_in(3) && answer.status != 401 {
            let hardware = self.draw.some(2, |_| self.units[serial].hardware.clone());
            self.command(Command::See { serial: serial.into(), version, hardware });
        }
        (answer, theirs.attempt)
    }

    /// Another range of what it is taking, under a lease: the same file whatever became of its rollout, and nothing of it goes into the ledger.
    fn take_a_range(&mut self) {
        let serial = self.any_serial();
        let unit = self.units[&serial].clone();
        let (Some((lease, file)), Some(device)) = (unit.lease, self.machine.devices.get(&serial)) else { return };
        let firmware = self.machine.product().firmware.iter().find(|one| one.version == *lease.firmware).unwrap();
        let same = unit.version.as_bytes() == lease.version && device.group == lease.group.as_str();
        let arrived = reference::equal(self.machine.product(), unit.version.as_bytes(), &lease.firmware);
        let live = self.now < lease.expires_at.millis();
        if device.state != "verified" || firmware.denied || !same || !live || arrived {
            return;
        }
        self.log.push(format!("{}: {serial} takes a range of {file}", self.now));
        let before = self.ledger.rows();
        let ask = CheckIn {
            version: unit.version.as_bytes(),
            hardware: unit.hardware.as_bytes(),
            ..CheckIn::new(b"key", serial.as_bytes())
        };
        let view = self.store.view().unwrap();
        let mut found = store::fetch(&view, &ask).unwrap();
        found.lend(Some(Arc::new(lease)));
        let (until, now) = (Timestamp::from_millis(self.now + HOUR), Timestamp::from_millis(self.now));
        let attended = attend(&self.ledger, &mut found, &ask, until, now, &mut NoTrace).unwrap();
        let answer = plain_answer(&attended.decision);
        assert_eq!((answer.status, answer.artifact, answer.effect), (200, Some(file), None), "under a lease");
        assert_eq!(attended.seen, None);
        drop(view);
        assert_eq!(self.ledger.rows(), before, "a range was written down as an offer");
        self.meet("law: a lease kept an offer");
        if !self.machine.group(&self.machine.devices[&serial].group).rollout.as_ref().unwrap().state.contains("running")
        {
            self.meet("law: a lease outlived its rollout");
        }
    }

    /// A download ends, an image is installed, or is not.
    fn go_on_taking(&mut self) {
        let busy: Vec<String> =
            self.units.iter().filter(|(_, unit)| unit.taking.is_some()).map(|(serial, _)| serial.clone()).collect();
        if busy.is_empty() {
            return;
        }
        let serial = self.draw.of(&busy);
        let (served, attempt) = self.units[&serial].taking.clone().unwrap();
        let report = |history: &mut Self, outcome| {
            let Some(attempt) = &attempt else {
                // What is on no run's account gives its place back.
                let (product, group) = (product_id(), group_id(&history.machine.devices[&serial].group));
                let of = Of { product: &product, group: &group, serial: &serial, run: None };
                history.ledger.release(&of, Timestamp::from_millis(history.now)).unwrap();
                history.machine.release(&serial, history.now);
                history.meet("released");
                return;
            };
            // What the host knows of the rollout when it reports.
            let group = history.store.group(attempt.run.group.as_str());
            let theirs = history.machine.report(attempt.run.group.as_str(), &serial, outcome, Some(attempt.number));
            let theirs = theirs.filter(|report| report.run == plain_run(&attempt.run));
            let rollout = group.rollout().unwrap();
            let ours = attempt.report(rollout, &serial, outcome_of(outcome));
            assert_eq!(ours.as_ref().map(plain_report), theirs);
            match theirs {
                Some(report) if history.draw.once_in(6) => history.waiting.push(report),
                Some(report) => history.note(&report),
                None => {}
            }
        };
        match self.draw.below(10) {
            0..3 => report(self, "downloaded"),
            // It fell back, and somebody says so, or nobody.
            3 => {
                self.units.get_mut(&serial).unwrap().taking = None;
                report(self, "failed");
            }
            4 => {
                self.log.push(format!("{serial} falls back"));
                self.units.get_mut(&serial).unwrap().taking = None;
            }
            _ => {
                if self.draw.once_in(2) {
                    report(self, "downloaded");
                }
                self.log.push(format!("{serial} installs {served:?}"));
                let unit = self.units.get_mut(&serial).unwrap();
                unit.taking = None;
                match served {
                    Served::Firmware(version) => unit.version = version,
                    Served::Config(name) => unit.config = name,
                }
                if !self.draw.once_in(4) {
                    self.check_in(&serial);
                }
            }
        }
    }

    // Reports.

    fn note(&mut self, report: &plain::Report) {
        let theirs = self.machine.note(report, self.now);
        self.log.push(format!("{}: noted {report:?}: {theirs}", self.now));
        let ours = match self.ledger.note(&report_of(report), Timestamp::from_millis(self.now)).unwrap() {
            Noted::Moved => "moved",
            Noted::Known => "known",
            Noted::Foreign => "foreign",
        };
        assert_eq!(ours, theirs, "what a report changed (left: the crate)");
        self.meet(format!("noted: {ours}"));
        let account = self.machine.accounts.get(&report.run).and_then(|devices| devices.get(&report.serial));
        let times = account.and_then(|account| account.failed()).map_or(0, |(_, times, _)| times);
        if ours == "moved" && times > 1 {
            self.meet("failed again");
        }
    }

    /// A report that waited arrives, and may arrive again.
    fn deliver(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.draw.below(self.waiting.len() as u64) as usize;
        let report = if self.draw.once_in(4) { self.waiting[at].clone() } else { self.waiting.remove(at) };
        self.note(&report);
    }

    /// The host has looked after a device, of this attempt or another, of this group or another.
    fn hear_from_the_host(&mut self) {
        let (group, serial) = (self.any_group(), self.any_serial());
        let held = self.machine.devices.get(&serial).map(|device| device.group.clone());
        let group = held.filter(|_| !self.draw.once_in(6)).unwrap_or(group);
        let outcome = self.draw.of(&["confirmed", "confirmed", "failed", "installed", "downloaded", "offered"]);
        let theirs = self.machine.report(&group, &serial, outcome, None);
        let held = self.store.group(&group);
        let rollout = held.rollout().unwrap();
        let ours = Report::new(&product_id(), held.id(), rollout, &serial, outcome_of(outcome));
        assert_eq!(ours.as_ref().map(plain_report), theirs);
        let Some(mut report) = theirs else { return };
        report.attempt = self.draw.some(3, |draw| draw.of(&[0, 1, 1, 2, 3, 9]));
        if self.draw.once_in(4) {
            self.waiting.push(report.clone());
        }
        self.note(&report);
    }

    // The conductor.

    fn advance(&mut self) {
        let before = self.machine.clone();
        let now = Timestamp::from_millis(self.now);
        let store = Slow { store: &self.store, looked: Cell::default(), cannot_count: self.machine.cannot_count };
        let conductor = Conductor::new(&store, &self.ledger);
        let all = !self.draw.once_in(5);
        let (ours, theirs) = if all {
            (conductor.advance(now).unwrap(), self.machine.advance(self.now))
        } else {
            let at = self.draw.below(self.machine.groups.len() as u64) as usize;
            let id = self.machine.groups[at].plain.id.clone();
            let ours = conductor.advance_group(&product_id(), &group_id(&id), now).unwrap();
            (ours, self.machine.advance_group(&id, self.now))
        };
        self.log.push(format!("{}: the conductor: {theirs:?}", self.now));
        let plain: Vec<Moved> = ours.iter().map(plain_moved).collect();
        assert_eq!(plain, sorted(theirs.clone()), "what the conductor did (left: the crate)");
        for moved in &theirs {
            self.law_of_the_move(&before, moved);
        }
        // Another replica finds nothing left to do, but what is refused again.
        if all && self.draw.once_in(3) {
            let again = Conductor::new(&self.as_it_counts(), &self.ledger).advance(now).unwrap();
            let theirs = sorted(self.machine.advance(self.now));
            assert_eq!(again.iter().map(plain_moved).collect::<Vec<_>>(), theirs);
            let refused =
                |moved: &Moved| matches!(moved, Moved::Open { opened: None, .. } | Moved::Complete { done: false, .. });
            assert!(theirs.iter().all(refused), "a second replica went on: {theirs:?}");
            self.meet("replica agrees");
        }
    }

    /// The store as a conductor of this history sees it.
    fn as_it_counts(&self) -> Slow<'_, S> {
        Slow { store: &self.store, looked: Cell::default(), cannot_count: self.machine.cannot_count }
    }

    /// R3 and R8, whatever the twin thinks.
    fn law_of_the_move(&mut self, before: &Machine, moved: &Moved) {
        let (group, progress) = match moved {
            Moved::Halt { group, failed, .. } => {
                let rollout = before.group(group).rollout.as_ref().unwrap();
                let run = rollout.run(group).unwrap();
                let last = rollout.waves.iter().filter(|wave| wave.opened.is_some()).count();
                let (waves, _) = before.statistics(&run, 0);
                let early: u64 = waves.iter().take(last.saturating_sub(1)).map(failures).sum();
                assert!(*failed > 0, "it halted by no failure");
                self.meet("moved: halt");
                if early > 0 && waves.iter().map(failures).sum::<u64>() == early {
                    self.meet("moved: halt by an early wave");
                }
                return;
            }
            Moved::Open { group, progress, opened, .. } => {
                self.meet(match (opened, progress) {
                    (None, _) => "moved: open refused",
                    (Some(plain::Opened { threshold: Some(_), counted: None, .. }), _) => "moved: open, expected",
                    (_, None) => "moved: open",
                    (_, Some(_)) => "moved: open, healthy",
                });
                (group, progress)
            }
            Moved::Complete { group, progress, done } => {
                self.meet(if *done { "moved: complete" } else { "moved: complete refused" });
                (group, progress)
            }
        };
        let rollout = self.machine.group(group).rollout.clone().unwrap();
        let was = before.group(group).rollout.as_ref().unwrap();
        let (gate, wave) = match moved {
            Moved::Open { wave, .. } => (rollout.waves[*wave].gate, *wave),
            _ => (rollout.complete, rollout.waves.len()),
        };
        if gate.asks_for_health() {
            let progress = progress.expect("a gate asked for health, and opened by none");
            assert!(progress.finished > 0, "0 of 0 opened a wave (R8)");
            assert!(progress.finished >= gate.min_finished.unwrap_or(0));
            let waves = self.machine.statistics(&rollout.run(group).unwrap(), 0).0;
            for empty in progress.wave as usize + 1..wave {
                let counts: u64 = waves.get(empty).map_or(0, |counts| counts.iter().sum());
                let canary = rollout.waves[empty];
                assert!(counts == 0 && !canary.admitted, "wave {empty} was passed over");
            }
        } else {
            assert_eq!(*progress, None);
        }
        // A census of n lets in exactly n, unless more were in already.
        if let Moved::Open { wave, opened: Some(opened), .. } = moved
            && let (Some(counted), Some(eligible)) = (opened.counted, opened.eligible)
        {
            let n = match rollout.waves[*wave].size {
                Size::First(n) => u64::from(n).min(eligible),
                Size::Share(bps) => (eligible * u64::from(bps)).div_ceil(10_000),
                Size::All => eligible,
            };
            let thresholds = rollout.waves[..*wave].iter().filter_map(|wave| wave.opened?.threshold);
            let floor = thresholds.max();
            let raised = opened.threshold > floor;
            if rollout.waves[*wave].size == Size::All || raised {
                assert_eq!(counted, n, "exactly so many are in");
                self.meet("law: exactly so many");
            }
            assert!(counted >= n, "fewer than {n} are in");
            assert!(was.state == "running");
        }
    }

    /// A replica that looked at a rollout some time ago does what it thinks is due.
    fn be_slow(&mut self) {
        for (group, id, edition) in std::mem::take(&mut self.slow) {
            let held = self.store.group(&group);
            let now = held.rollout().unwrap();
            let expect = Change::ExpectRollout {
                product: product_id(),
                group: group_id(&group),
                rollout: rollout_id(&id),
                edition,
            };
            if now.id().as_str() == id && now.edition() == edition {
                assert!(self.store.apply(&[expect]).unwrap().is_ok(), "nothing was changed since");
                continue;
            }
            let pause = Change::PauseRollout {
                product: product_id(),
                group: group_id(&group),
                rollout: now.id().clone(),
                cut: true,
                why: "slow".into(),
            };
            self.log.push(format!("a slow replica of edition {edition} of {group} is refused"));
            assert!(self.store.apply(&[expect, pause]).unwrap().is_err(), "a stale replica was let through");
            assert_eq!(self.store.group(&group), held);
            self.meet("stale replica refused");
        }
        for group in &self.machine.groups {
            let held = self.store.group(&group.plain.id);
            let rollout = held.rollout().unwrap();
            self.slow.push((group.plain.id.clone(), rollout.id().as_str().to_owned(), rollout.edition()));
        }
    }

    /// A conductor on a replica that looked some time ago: what was changed since it leaves alone.
    fn advance_slowly(&mut self) {
        let mut looked = std::mem::take(&mut self.looked);
        self.looked = self.store.under_way().unwrap();
        // What is noted, and what its target may be, is no edition of a rollout: of a look that is old in that alone nothing is said.
        let now = self.looked.clone();
        looked.retain(|then| {
            let now = now.iter().find(|now| now.group.id() == then.group.id());
            now.is_none_or(|now| {
                let of = |at: &UnderWay| at.group.rollout().map(|rollout| (rollout.edition(), rollout.id().clone()));
                let noted =
                    |at: &UnderWay| (at.held, at.group.rollout().and_then(|rollout| rollout.progress().copied()));
                of(now) != of(then) || noted(now) == noted(then)
            })
        });
        if looked.is_empty() {
            return;
        }
        let (mut fresh, mut stale) = (vec![], vec![]);
        for at in &looked {
            let id = at.group.id().as_str().to_owned();
            let same = self.store.group(&id).rollout().map(|now| (now.id().clone(), now.edition()))
                == at.group.rollout().map(|then| (then.id().clone(), then.edition()));
            if same { fresh.push(id) } else { stale.push(id) }
        }
        let before: Vec<Group> = stale.iter().map(|id| self.store.group(id)).collect();
        let slow = Slow { looked: Cell::new(looked), ..self.as_it_counts() };
        let now = Timestamp::from_millis(self.now);
        let (lost, ours): (Vec<_>, Vec<_>) = Conductor::new(&slow, &self.ledger)
            .advance(now)
            .unwrap()
            .into_iter()
            .partition(|moved| stale.contains(&moved.group.as_str().to_owned()));
        let harmless = |moved: &otagate::rollout::Moved| {
            matches!(
                moved.outcome,
                MoveOutcome::Lost | MoveOutcome::Held(_) | MoveOutcome::Uncounted(_) | MoveOutcome::Refused(_)
            )
        };
        let theirs: Vec<Moved> = fresh.iter().flat_map(|id| self.machine.advance_group(id, self.now)).collect();
        self.log.push(format!("{}: a slow conductor: lost {lost:?}, done {theirs:?}", self.now));
        assert!(lost.iter().all(harmless), "a replica that looked too long ago moved something on");
        assert_eq!(ours.iter().map(plain_moved).collect::<Vec<_>>(), sorted(theirs));
        for was in before {
            assert_eq!(
                self.store.group(was.id().as_str()),
                was,
                "a replica that looked too long ago changed something"
            );
        }
        if lost.iter().any(|moved| moved.outcome == MoveOutcome::Lost) {
            self.meet("stale conductor lost");
        }
    }

    /// A run that is over is forgotten, by a host that needs the room.
    fn forget(&mut self) {
        let over = self.machine.groups.iter().filter_map(|group| {
            let rollout = group.rollout.as_ref().filter(|rollout| !rollout.is_under_way())?;
            rollout.run(&group.plain.id)
        });
        let over: Vec<plain::Run> = over.collect();
        for run in over {
            self.log.push(format!("{run:?} is forgotten"));
            self.ledger.forget(&run_of(&run)).unwrap();
            self.machine.accounts.remove(&run);
            self.meet("forgotten");
        }
    }

    fn restart(&mut self) {
        let fleet = serde_json::to_string(&self.store.spec()).unwrap();
        let rows = serde_json::to_string(&self.ledger.rows()).unwrap();
        self.store = S::of(serde_json::from_str::<FleetSpec>(&fleet).unwrap().build().unwrap());
        self.ledger = MemoryLedger::of_rows(serde_json::from_str::<LedgerRows>(&rows).unwrap()).unwrap();
        self.log.push("restart".into());
        self.meet("restart");
        self.same(true);
    }

    // Operators.

    fn operate(&mut self) {
        let group = self.any_group();
        let rollout = self.machine.group(&group).rollout.clone().unwrap();
        let id = rollout.id.clone();
        let at = self.now;
        // Mostly what fits the state; now and then anything.
        let state = if self.draw.once_in(6) {
            self.draw.of(&["draft", "running", "paused", "completed"])
        } else {
            rollout.state
        };
        let command = match (state, self.draw.below(24)) {
            ("draft", 0..16) => Command::Start { group, id, at },
            ("paused" | "cut", 0..12) => Command::Resume { group, id },
            ("completed" | "aborted", 0..12) => {
                // A new one, now and then under the name of the last but one; the same name is refused (R7).
                self.rollouts += 1;
                let (last, new) = (self.rollouts.saturating_sub(2), self.rollouts);
                let name = self.draw.of(&[format!("r{last}"), format!("r{new}"), format!("r{new}"), id]);
                let new = Self::rollout(&mut self.draw, &self.machine, &name, self.now);
                self.meet(if new.first_come { "admission: first come" } else { "admission: rank" });
                Command::Put { group, rollout: Box::new(new) }
            }
            (_, 0..3) => {
                let cut = self.draw.once_in(3);
                if !cut && rollout.state == "running" && !self.draw.once_in(4) {
                    return self.pause_beside_a_claim(&group, &id);
                }
                Command::Pause { group, id, cut, why: self.draw.of(&["", "I say so"]).into() }
            }
            (_, 3..7) => self.by_hand(group, &rollout),
            (_, 7..9) => {
                let serials = (0..1 + self.draw.below(2)).map(|_| self.any_serial()).collect();
                Command::AddFirst { group, id, serials }
            }
            (_, 9..13) => self.rewritten(group, &rollout),
            (_, 13) => Command::Complete { group, id },
            (_, 14) => Command::Abort { group, id, downgrade: !self.draw.once_in(3) },
            (_, 15) => {
                let version = self.draw.of(&[TARGET, TARGET, "1.0.0", "1.5.0"]).to_owned();
                let denied = self.machine.product().firmware.iter().find(|one| one.version == version).unwrap().denied;
                Command::Deny { version, denied: !denied }
            }
            (_, 16) => {
                let version = self.draw.of(&[Some("1.0.0"), Some(TARGET), None]).map(Into::into);
                Command::Assign { group, version }
            }
            (_, 17) if self.draw.once_in(2) => match self.draw.below(3) {
                0 => {
                    let max = self.draw.some(2, |draw| draw.below(4) as u32);
                    Command::CapDownloads { group, max }
                }
                1 => Command::Policy { group, forward_only: self.draw.once_in(2) },
                _ => {
                    let version = self.draw.of(&[Some("1.5.0"), Some(TARGET), None, None]).map(Into::into);
                    Command::Cap { serial: self.any_serial(), version }
                }
            },
            (_, 17) => {
                let state = self.draw.of(&["blocked", "verified", "verified", "quota"]);
                Command::State { serial: self.any_serial(), state }
            }
            (_, 18) => {
                let version = self.draw.of(&[Some("1.0.0"), Some(TARGET), None, None]).map(Into::into);
                Command::Pin { serial: self.any_serial(), version }
            }
            (_, 19 | 20) => {
                let to = self.any_group();
                Command::Move { serial: self.any_serial(), group: to, at }
            }
            _ => {
                let serial = format!("SN-{:02}", self.units.len());
                let version = self.draw.of(&["1.0.0", "1.0.0", "", TARGET]).to_owned();
                let unit = Unit { version, hardware: "a".into(), config: "[]".into(), taking: None, lease: None };
                self.units.insert(serial.clone(), unit);
                Command::Join { serial, group, at }
            }
        };
        let downgrade = match &command {
            Command::Abort { group, downgrade: true, .. } if rollout.is_under_way() => Some(group.clone()),
            _ => None,
        };
        let taken = self.command(command);
        if let Some(group) = downgrade.filter(|_| taken && matches!(rollout.target, world::Target::Firmware(_)))
            && !self.draw.once_in(3)
        {
            self.law_of_the_downgrade(&group, &rollout);
            self.over = true;
        }
    }

    /// The next wave, by a census, by an expected share, or wrongly.
    fn by_hand(&mut self, group: String, rollout: &plain::Rollout) -> Command {
        let next = rollout.waves.iter().position(|wave| wave.opened.is_none()).unwrap_or(rollout.waves.len() - 1);
        let at = self.now;
        let nothing = plain::Opened { at, threshold: None, counted: None, newcomers: None, eligible: None };
        let counted = rollout.started_at.is_some() && rollout.waves[next].opened.is_none();
        let opened = match (rollout.waves[next].size, self.draw.below(4)) {
            (Size::Share(bps), 0) => {
                let ranks = (u128::from(bps) << 64).div_ceil(10_000);
                plain::Opened { threshold: Some((ranks - 1) as u64), ..nothing }
            }
            (_, 1) => nothing,
            _ if counted => {
                let theirs = self.machine.census(&group, next);
                let ours = self.store.census(&product_id(), &self.store.group(&group), next).unwrap();
                if rollout.first_come && rollout.waves[next].size != Size::All {
                    nothing
                } else {
                    let ours = ours.ok().map(|census| plain::Census {
                        eligible: census.eligible,
                        counted: census.counted,
                        threshold: census.threshold,
                        newcomers: census.newcomers,
                    });
                    assert_eq!(ours, theirs, "a census (left: the crate)");
                    theirs.map_or(nothing, |census| census.opened(at))
                }
            }
            _ => nothing,
        };
        let wave = if self.draw.once_in(8) { next + 1 } else { next };
        Command::Open { group, id: rollout.id.clone(), wave, opened }
    }

    /// The rollout as an operator writes it again, mostly as R7 allows.
    fn rewritten(&mut self, group: String, rollout: &plain::Rollout) -> Command {
        let mut new = rollout.clone();
        let open = new.waves.iter().filter(|wave| wave.opened.is_some()).count();
        let d = &mut self.draw;
        match d.below(10) {
            0 => new.halt = halt(d),
            1 => new.missing = missing(d),
            2 => new.penalty = penalty(d),
            3 => new.complete = gate(d, self.now),
            4 => new.target = world::Target::Firmware(d.of(&["3.0.0", TARGET, "1.5.0"]).into()),
            5 => new.tail = d.once_in(2),
            6 => new.salt = d.of(&[None, Some("other".into()), Some(new.id.clone())]),
            7 if d.once_in(2) => {
                let serials: Vec<String> = self.machine.devices.keys().cloned().collect();
                let serial = d.of(&serials);
                match new.excluded.iter().position(|listed| *listed == serial) {
                    Some(at) => _ = new.excluded.remove(at),
                    None if !new.first.contains(&serial) => new.excluded.push(serial),
                    None => {}
                }
                new.excluded.sort();
            }
            7 => {
                let listed = d.below(new.first.len() as u64 + 1) as usize;
                new.first.truncate(listed);
            }
            8 => new.id = "r99".into(),
            _ => {
                // Other waves behind those that are open, cumulative still; the last may be gone.
                new.waves.truncate(open.max(1));
                if open == 0 {
                    new.waves[0].gate = gate(d, self.now);
                } else if new.waves[open - 1].size != Size::All {
                    let sizes = |of: fn(Size) -> u32| new.waves.iter().map(|wave| of(wave.size)).max().unwrap();
                    let most = sizes(|size| if let Size::First(n) = size { n } else { 0 });
                    for more in 0..d.below(3) as u32 {
                        let gate = gate(d, self.now);
                        let size = Size::First(most + more + 1);
                        new.waves.push(plain::Wave { size, gate, opened: None, admitted: false });
                    }
                    if d.once_in(2) {
                        let gate = gate(d, self.now);
                        new.waves.push(plain::Wave { size: Size::All, gate, opened: None, admitted: false });
                    }
                }
            }
        }
        if self.draw.once_in(3) {
            // Written from a file that knows nothing of what was counted.
            (new.progress, new.resumes) = (None, 0);
        }
        Command::Put { group, rollout: Box::new(new) }
    }

    /// R7: who holds a live claim keeps it through a pause.
    fn pause_beside_a_claim(&mut self, group: &str, id: &str) {
        let live = |serial: &&String| {
            self.machine.devices[*serial].group == group
                && self.machine.account(serial).is_some_and(|account| self.now < account.claim_expires_at)
        };
        let all: Vec<String> = self.machine.devices.keys().filter(live).cloned().collect();
        let serial = (!all.is_empty()).then(|| self.draw.of(&all));
        let asked = serial.map(|serial| {
            let ask = self.ask(&serial);
            let told = self.check_in_with(&serial, &ask);
            (serial, ask, told)
        });
        self.command(Command::Pause { group: group.into(), id: id.into(), cut: false, why: String::new() });
        if let Some((serial, ask, (answer, Some(attempt)))) = asked {
            let again = self.check_in_with(&serial, &ask);
            assert_eq!((again.0.serves, again.1), (answer.serves, Some(attempt)), "a pause took the claim of {serial}");
            self.meet("law: a pause kept a claim");
        }
    }

    /// R10: after `downgrade` every device that can take the baseline ends there.
    fn law_of_the_downgrade(&mut self, group: &str, rollout: &plain::Rollout) {
        let world::Target::Firmware(target) = &rollout.target else { return };
        let of = self.machine.group(group).plain.clone();
        let p = self.machine.product().clone();
        let baseline = of.baseline.clone().unwrap();
        let image = p.firmware.iter().find(|one| one.version == baseline).unwrap().clone();
        for (serial, device) in self.machine.devices.clone() {
            let unit = self.units[&serial].clone();
            let above = |version: &str, cap: &Option<String>| {
                let over = |cap: &String| reference::compare(&p, version.as_bytes(), cap.as_bytes());
                cap.as_ref().is_some_and(|cap| over(cap) == Some(std::cmp::Ordering::Greater))
            };
            let fits =
                image.artifacts.iter().any(|one| one.hardware.is_empty() || one.hardware.contains(&unit.hardware));
            let beyond = of.forward_only && above(&unit.version, &Some(target.clone()));
            let held = p.hold_empty && unit.version.is_empty();
            // There may be no path up to the baseline, or no room ever.
            let below = image.from.as_ref().is_some_and(|from| above(from, &Some(unit.version.clone())));
            let full = self.machine.group(group).downloads_max == Some(0);
            if device.group != group
                || device.state != "verified"
                || device.pin.is_some()
                || above(&baseline, &device.cap)
                || !fits
                || beyond
                || held
                || below
                || full
            {
                continue;
            }
            let mut there = false;
            for _ in 0..40 {
                let ask = world::Ask { want: world::Want::Firmware, digest: None, ..self.ask(&serial) };
                let (answer, _) = self.check_in_with(&serial, &ask);
                match (&answer.serves, answer.reason) {
                    (Some(version), _) => self.units.get_mut(&serial).unwrap().version.clone_from(version),
                    (_, "current") => {
                        there = true;
                        break;
                    }
                    _ => self.now += i64::from(answer.retry_after_secs.unwrap_or(0).max(6 * 3_600) as u32) * 1_000,
                }
            }
            let version = &self.units[&serial].version;
            assert!(there && reference::equal(&p, version.as_bytes(), &baseline), "{serial} stays on {version}");
            self.meet("law: downgraded");
        }
        self.same(true);
    }

    fn command(&mut self, command: Command) -> bool {
        let theirs = self.machine.command(&command);
        self.log.push(format!("{}: {command:?}: {theirs:?}", self.now));
        let change = self.change(&command);
        let ours = RolloutStore::apply(&self.store, &[change]).unwrap();
        assert_eq!(ours.is_ok(), theirs.is_ok(), "whether a command is taken: {ours:?} (the crate), {theirs:?}");
        let taken = if theirs.is_ok() { "command" } else { "refused" };
        self.meet(format!("{taken}: {}", name(&command)));
        theirs.is_ok()
    }

    fn change(&self, command: &Command) -> Change {
        let product = product_id();
        let at = |at: &i64| Timestamp::from_millis(*at);
        match command.clone() {
            Command::Start { group, id, at: time } => {
                Change::StartRollout { product, group: group_id(&group), rollout: rollout_id(&id), at: at(&time) }
            }
            Command::Pause { group, id, cut, why } => {
                Change::PauseRollout { product, group: group_id(&group), rollout: rollout_id(&id), cut, why }
            }
            Command::Resume { group, id } => {
                Change::ResumeRollout { product, group: group_id(&group), rollout: rollout_id(&id) }
            }
            Command::Complete { group, id } => {
                Change::CompleteRollout { product, group: group_id(&group), rollout: rollout_id(&id) }
            }
            Command::Abort { group, id, downgrade } => {
                let fate = if downgrade { Fate::Downgrade } else { Fate::Leave };
                Change::AbortRollout { product, group: group_id(&group), rollout: rollout_id(&id), fate }
            }
            Command::AddFirst { group, id, serials } => {
                Change::AddFirst { product, group: group_id(&group), rollout: rollout_id(&id), serials }
            }
            Command::Open { group, id, wave, opened } => Change::OpenWave {
                product,
                group: group_id(&group),
                rollout: rollout_id(&id),
                wave,
                opened: opened_of(opened),
            },
            Command::Put { group, rollout } => {
                let held = self.store.group(&group);
                let edition = if rollout.progress.is_none() { 0 } else { held.rollout().map_or(0, Rollout::edition) };
                Change::PutRollout { product, group: group_id(&group), rollout: rollout_spec(&rollout, edition) }
            }
            Command::Assign { group, version } => {
                Change::AssignFirmware { product, group: group_id(&group), firmware: version }
            }
            Command::Deny { version, denied } => Change::DenyFirmware { product, firmware: version, denied },
            Command::State { serial, state } => {
                let state = match state {
                    "verified" => DeviceState::Verified,
                    "blocked" => DeviceState::Blocked,
                    _ => DeviceState::Quota,
                };
                Change::SetDeviceState { product, serial, state }
            }
            Command::CapDownloads { group, max } => {
                Change::CapDownloads { product, group: group_id(&group), downloads_max: max }
            }
            Command::Policy { group, forward_only } => {
                let policy = if forward_only { Policy::ForwardOnly } else { Policy::AnyDifference };
                Change::SetPolicy { product, group: group_id(&group), policy }
            }
            Command::Cap { serial, version } => Change::CapDevice { product, serial, cap: version },
            Command::Pin { serial, version } => Change::PinDevice { product, serial, firmware: version },
            Command::Move { serial, group, at: time } => {
                Change::MoveDevice { product, serial, group: group_id(&group), at: at(&time) }
            }
            Command::Join { serial, group, at: time } => {
                let state = DeviceState::Verified;
                let device = DeviceSpec { serial, group, state, entered_at: at(&time), ..DeviceSpec::default() };
                Change::PutDevice { product, device }
            }
            Command::See { serial, version, hardware } => {
                Change::SeeDevice { product, serial, version: Some(version), hardware }
            }
        }
    }

    // What must be the same.

    fn same(&mut self, everybody: bool) {
        for at in 0..self.machine.groups.len() {
            self.same_group(at);
        }
        let serials: Vec<String> = match everybody {
            true => self.machine.devices.keys().cloned().collect(),
            false => (0..3).map(|_| self.any_serial()).collect(),
        };
        for serial in serials {
            self.same_device(&serial);
        }
    }

    fn same_group(&mut self, at: usize) {
        let theirs = self.machine.groups[at].clone();
        let id = theirs.plain.id.clone();
        let ours = self.store.group(&id);
        let spec = ours.spec();
        let rollout = spec.rollout.clone().unwrap();
        let twin = theirs.rollout.as_ref().unwrap();
        assert_eq!(rollout, rollout_spec(twin, rollout.edition), "the rollout of {id} (left: the crate)");
        assert_eq!(spec.firmware, theirs.plain.baseline, "the baseline of {id}");
        let config = theirs.plain.config.as_ref().map(|config| config.name.clone());
        assert_eq!(spec.config.map(|config| config.document), config, "the config of {id}");
        let aborted = spec.aborted.map(|aborted| (aborted.target, aborted.fate == Fate::Downgrade));
        assert_eq!(aborted, theirs.plain.aborted, "what the last abort left in {id}");
        // Whatever changes a rollout raises its edition, but for its progress; and nothing else does.
        let (mut bare, edition) = (rollout, ours.rollout().unwrap().edition());
        (bare.edition, bare.progress) = (0, None);
        if let Some((before, was)) = self.editions.get(&id) {
            assert_eq!(*before != bare, edition != *was, "edition {was} became {edition}\n{before:?}\n{bare:?}");
            assert!(edition >= *was, "the edition shrank from {was} to {edition}");
        }
        self.editions.insert(id.clone(), (bare, edition));
        let Some(run) = twin.run(&id) else { return };
        // R5: at most so many, first come.
        let last = twin.waves.iter().rfind(|wave| wave.opened.is_some());
        if let Some(plain::Wave { size: Size::First(n), .. }) = last.filter(|_| twin.first_come) {
            assert!(self.machine.slots_taken(&run) <= *n, "more than {n} slots are taken");
        }
        let crate_run = run_of(&run);
        assert_eq!(ours.rollout().unwrap().run(&product_id(), ours.id()), Some(crate_run.clone()));
        for resumes in BTreeSet::from([0, twin.resumes]) {
            let statistics = self.ledger.statistics(&crate_run, resumes).unwrap();
            let plain = (statistics.waves.iter().map(counts).collect(), counts(&statistics.recent));
            assert_eq!(plain, self.machine.statistics(&run, resumes), "statistics since {resumes} (left: the crate)");
        }
    }

    fn same_device(&mut self, serial: &str) {
        let Some(device) = self.machine.devices.get(serial).cloned() else { return };
        let spec = self.store.device(serial);
        let ours = (&spec.group, spec.entered_at.millis(), &spec.pin, &spec.version, &spec.hardware);
        let theirs = (&device.group, device.entered_at, &device.pin, &device.version, &device.hardware);
        assert_eq!(ours, theirs, "{serial} (left: the crate)");
        let run = self.machine.run_of(serial);
        let (product, group, crate_run) = (product_id(), group_id(&device.group), run.as_ref().map(run_of));
        let of = Of { product: &product, group: &group, serial, run: crate_run.as_ref() };
        let held = self.ledger.held(&of, Timestamp::from_millis(self.now)).unwrap();
        let account = self.machine.account(serial);
        let tried = held.tried.map(|tried| {
            let at = tried.first_offered_at.millis();
            (tried.number, tried.wave, tried.hop.to_string(), tried.offers, at, tried.outcome.name())
        });
        let theirs = account.map(|account| {
            let at = account.first_offered_at;
            (account.number, account.wave, account.hop.clone(), account.offers, at, account.outcome)
        });
        assert_eq!(tried, theirs, "the attempt of {serial} (left: the crate)");
        let standing = held.standing;
        let live = |end: &i64| self.now < *end;
        let ours = (
            standing.attempts,
            standing.claim_expires_at.map(Timestamp::millis),
            standing.download_expires_at.map(Timestamp::millis).filter(live),
            standing.penalty.map(|(hop, end)| (hop.to_string(), end.millis())).filter(|(_, end)| live(end)),
            standing.downloads_now,
            standing.slots_taken,
        );
        let place = self.machine.place(serial);
        let failed = account.and_then(|account| account.failed()).map(|(hop, _, end)| (hop, end));
        let theirs = (
            account.map_or(0, |account| account.number),
            account.map(|account| account.claim_expires_at),
            place.filter(live),
            failed.filter(|(_, end)| live(end)),
            self.machine.downloads_now(&device.group, self.now),
            run.as_ref().map_or(0, |run| self.machine.slots_taken(run)),
        );
        assert_eq!(ours, theirs, "what is held about {serial} (left: the crate)");
        // Whoever is in stays in, whoever joins or leaves.
        let Some(run) = run else { return };
        let held = self.store.group(&device.group);
        let rollout = held.rollout().unwrap();
        let wave = self.machine.wave_of(self.machine.group(&device.group).rollout.as_ref().unwrap(), serial);
        assert_eq!(rollout.wave_of("p", serial, spec.entered_at), wave, "the wave of {serial} (left: the crate)");
        let before = self.inside.get(&(run.clone(), serial.to_owned())).copied();
        if let Some(before) = before {
            let now = wave.unwrap_or_else(|| panic!("{serial} was in wave {before}, and was pushed out"));
            assert!(now <= before || rollout.admission() == Admission::FirstCome, "{serial} fell back to wave {now}");
        }
        if let Some(wave) = wave {
            self.inside.insert((run, serial.to_owned()), wave);
        }
    }
}

// From plain words to the crate's, and back.

fn product_id() -> ProductId {
    ProductId::new("p").unwrap()
}

fn group_id(id: &str) -> GroupId {
    GroupId::new(id).unwrap()
}

fn rollout_id(id: &str) -> RolloutId {
    RolloutId::new(id).unwrap()
}

fn run_of((group, rollout, started_at): &plain::Run) -> Run {
    let started_at = Timestamp::from_millis(*started_at);
    Run { product: product_id(), group: group_id(group), rollout: rollout_id(rollout), started_at }
}

fn plain_run(run: &Run) -> plain::Run {
    (run.group.as_str().to_owned(), run.rollout.as_str().to_owned(), run.started_at.millis())
}

fn outcome_of(name: &str) -> Outcome {
    Outcome::ALL.into_iter().find(|outcome| outcome.name() == name).unwrap()
}

fn counts(outcomes: &Outcomes) -> plain::Counts {
    OUTCOMES.map(|name| outcomes.at(outcome_of(name)))
}

fn report_of(report: &plain::Report) -> Report {
    Report {
        run: run_of(&report.run),
        serial: report.serial.as_str().into(),
        attempt: report.attempt,
        outcome: outcome_of(report.outcome),
        resumes: report.resumes,
        penalty: Penalty { secs: report.penalty.0, secs_max: report.penalty.1 },
        grace_secs: report.grace,
    }
}

fn plain_report(report: &Report) -> plain::Report {
    plain::Report {
        run: plain_run(&report.run),
        serial: report.serial.to_string(),
        attempt: report.attempt,
        outcome: OUTCOMES[strength(report.outcome.name())],
        resumes: report.resumes,
        penalty: (report.penalty.secs, report.penalty.secs_max),
        grace: report.grace_secs,
    }
}

fn opened_of(opened: plain::Opened) -> Opened {
    let plain::Opened { at, threshold, counted, newcomers, eligible } = opened;
    Opened { at: Timestamp::from_millis(at), threshold, counted, newcomers, eligible }
}

fn gate_of(gate: plain::Gate) -> Gate {
    Gate {
        opens_at: gate.opens_at.map(Timestamp::from_millis),
        min_finished: gate.min_finished,
        success_share_bps: gate.share,
        soak_secs: gate.soak,
    }
}

fn rollout_spec(rollout: &plain::Rollout, edition: u64) -> RolloutSpec {
    let target = match &rollout.target {
        world::Target::Firmware(version) => TargetSpec::Firmware(version.clone()),
        world::Target::Config(config) => {
            let digests = Digests::blake3_of(config.name.as_bytes());
            TargetSpec::Config(ConfigSpec { document: config.name.clone(), digests })
        }
        world::Target::Resources(_) => unreachable!("no rollout of resources is drawn"),
    };
    let wave = |wave: &plain::Wave| Wave {
        size: match wave.size {
            Size::First(n) => WaveSize::First(n),
            Size::Share(bps) => WaveSize::ShareBps(bps),
            Size::All => WaveSize::All,
        },
        gate: gate_of(wave.gate),
        opened: wave.opened.map(opened_of),
    };
    let why = rollout.why.clone();
    let progress = |progress: plain::Progress| Progress {
        wave: progress.wave,
        offered: progress.offered,
        finished: progress.finished,
        succeeded: progress.succeeded,
        good_since: progress.good_since.map(Timestamp::from_millis),
    };
    RolloutSpec {
        salt: rollout.salt.clone(),
        state: match rollout.state {
            "draft" => RolloutState::Draft,
            "running" => RolloutState::Running,
            "paused" => RolloutState::Paused { cut: false, why },
            "cut" => RolloutState::Paused { cut: true, why },
            "completed" => RolloutState::Completed,
            _ => RolloutState::Aborted,
        },
        started_at: rollout.started_at.map(Timestamp::from_millis),
        late: if rollout.tail { Late::Tail } else { Late::Open },
        admission: if rollout.first_come { Admission::FirstCome } else { Admission::Rank },
        first: rollout.first.clone(),
        excluded: rollout.excluded.clone(),
        success: match rollout.success {
            "downloaded" => Success::Downloaded,
            "installed" => Success::Installed,
            _ => Success::Confirmed,
        },
        halt: Halt {
            failures: rollout.halt.failures,
            failure_share_bps: rollout.halt.share,
            min_finished: rollout.halt.min_finished,
        },
        missing: Missing { offers: rollout.missing.0, secs: rollout.missing.1 },
        penalty: Penalty { secs: rollout.penalty.0, secs_max: rollout.penalty.1 },
        complete: gate_of(rollout.complete),
        progress: rollout.progress.map(progress),
        resumes: rollout.resumes,
        edition,
        ..RolloutSpec::new(&rollout.id, target, rollout.waves.iter().map(wave).collect())
    }
}

fn plain_progress(progress: &Progress) -> plain::Progress {
    plain::Progress {
        wave: progress.wave,
        offered: progress.offered,
        finished: progress.finished,
        succeeded: progress.succeeded,
        good_since: progress.good_since.map(Timestamp::millis),
    }
}

fn plain_moved(moved: &otagate::rollout::Moved) -> Moved {
    let group = moved.group.as_str().to_owned();
    let (done, opened) = match &moved.outcome {
        MoveOutcome::Done(_, opened) => (true, *opened),
        MoveOutcome::Lost => panic!("nobody else was there: {moved:?}"),
        MoveOutcome::Held(_) | MoveOutcome::Uncounted(_) | MoveOutcome::Refused(_) => (false, None),
    };
    match &moved.transition {
        Transition::OpenWave { wave, progress } => Moved::Open {
            group,
            wave: *wave,
            progress: progress.as_ref().map(plain_progress),
            opened: opened.map(|opened| plain::Opened {
                at: opened.at.millis(),
                threshold: opened.threshold,
                counted: opened.counted,
                newcomers: opened.newcomers,
                eligible: opened.eligible,
            }),
        },
        Transition::Halt { failed, finished } => Moved::Halt { group, failed: *failed, finished: *finished },
        Transition::Complete { progress } => {
            Moved::Complete { group, progress: progress.as_ref().map(plain_progress), done }
        }
    }
}

/// The order of the groups is the store's.
fn sorted(mut moved: Vec<Moved>) -> Vec<Moved> {
    let of = |moved: &Moved| match moved {
        Moved::Open { group, .. } | Moved::Halt { group, .. } | Moved::Complete { group, .. } => group.clone(),
    };
    moved.sort_by_key(of);
    moved
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Start { .. } => "start",
        Command::Pause { cut: false, .. } => "pause",
        Command::Pause { cut: true, .. } => "cut",
        Command::Resume { .. } => "resume",
        Command::Complete { .. } => "complete",
        Command::Abort { downgrade: false, .. } => "abort-leave",
        Command::Abort { downgrade: true, .. } => "abort-downgrade",
        Command::AddFirst { .. } => "add-first",
        Command::Open { .. } => "open",
        Command::Put { .. } => "put",
        Command::Assign { .. } => "assign",
        Command::Deny { .. } => "deny",
        Command::State { .. } => "state",
        Command::CapDownloads { .. } => "cap-downloads",
        Command::Policy { .. } => "policy",
        Command::Cap { .. } => "cap",
        Command::Pin { .. } => "pin",
        Command::Move { .. } => "move",
        Command::Join { .. } => "join",
        Command::See { .. } => "see",
    }
}
