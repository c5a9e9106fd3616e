//! A rollout that moves on by itself, and one that stops itself: 2,000 devices, first 10, then 300, then the rest, over virtual days.
//!
//! `cargo run --release --example staged_rollout`
//!
//! Twice the same plan. The first firmware is good: the rollout opens its waves and completes, and nobody touches it. Of the second one, seven devices in ten boot back
//! into the old version and say nothing: it halts inside its first wave, the operator aborts it with `downgrade`, and every device ends where it should. Nothing
//! here is a mock: devices are asked through the index, a ledger and leases as a gateway asks them; only the clock is made up. Same seed, same bytes.

use otagate::rollout::{Conductor, Ledger, MemoryLedger, MoveOutcome, Outcome, Report, RolloutStore, attend};
use otagate::store::{Store, fetch};
use otagate::*;
use std::collections::BTreeMap;

const KEY: &[u8] = b"thermo-secret";
const DEVICES: u64 = 2_000;
const TICK_SECS: i64 = 300;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const START: Timestamp = Timestamp::from_millis(1_795_428_000_000);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!("=== 2.0.0 is good ===\n");
    let mut good = World::new("2.0.0")?;
    good.run(8, |_, _| Ok(()))?;
    good.tell_end();
    if good.on("2.0.0") != DEVICES || good.harmed() > 20 || !matches!(good.rollout()?.state(), RolloutState::Completed)
    {
        return Err("the good rollout did not end where it should".into());
    }

    println!("\n=== of 2.1.0 most devices boot back into 1.4.0 ===\n");
    let mut bad = World::new("2.1.0")?;
    let mut halted_at = None;
    bad.run(4, |world, now| {
        let halted = matches!(world.rollout()?.state(), RolloutState::Paused { .. });
        // The operator comes by two hours later, and has everybody brought back.
        let since = *halted_at.get_or_insert(now);
        if !halted {
            halted_at = None;
        } else if now >= since.plus_secs(2 * HOUR) {
            world.command("aborts with `downgrade`", |product, group, rollout| Change::AbortRollout {
                product,
                group,
                rollout,
                fate: Fate::Downgrade,
            })?;
        }
        Ok(())
    })?;
    bad.tell_end();
    let opened = bad.rollout()?.waves().iter().filter(|wave| wave.opened.is_some()).count();
    if bad.on("1.4.0") != DEVICES || opened != 1 || !matches!(bad.rollout()?.state(), RolloutState::Aborted) {
        return Err("the bad rollout did not end where it should".into());
    }
    println!("\nBoth ended where they should.");
    Ok(())
}

/// One device in the field.
struct Unit {
    serial: String,
    version: &'static str,
    next: Timestamp,
    /// What it runs from that time on.
    will_run: Vec<(Timestamp, &'static str)>,
    harmed: bool,
}

struct World {
    index: Index,
    ledger: MemoryLedger,
    leases: Leases,
    units: Vec<Unit>,
    draw: Draw,
    product: ProductId,
    group: GroupId,
    target: &'static str,
    now: Timestamp,
    asked: u64,
    told: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(target: &'static str) -> Result<Self, Failure> {
        let mut draw = Draw(7);
        let serials: Vec<String> = (0..DEVICES).map(|unit| format!("a4cf12{unit:06x}")).collect();
        let firmware = |version: &str| FirmwareSpec {
            version: version.into(),
            artifacts: vec![ArtifactSpec {
                size_bytes: 1_400_000,
                digests: Digests::blake3_of(version.as_bytes()),
                locator: format!("thermostat-{version}.bin"),
                ..Default::default()
            }],
            ..Default::default()
        };
        let good_for = |min_finished, share| Gate {
            min_finished: Some(min_finished),
            success_share_bps: Some(share),
            soak_secs: Some(DAY as u32),
            ..Default::default()
        };
        let wave = |size, gate| Wave { gate, ..Wave::new(size) };
        let waves = vec![
            Wave::new(WaveSize::First(10)),
            wave(WaveSize::First(300), good_for(8, 9_500)),
            wave(WaveSize::All, good_for(270, 9_800)),
        ];
        let rollout = RolloutSpec {
            halt: Halt { failures: Some(3), failure_share_bps: Some(200), min_finished: Some(200) },
            missing: Missing { offers: 2, secs: HOUR as u32 },
            complete: good_for(1_600, 9_800),
            ..RolloutSpec::new(format!("to-{target}"), TargetSpec::Firmware(target.into()), waves)
        };
        let (product, group) = (ProductId::new("thermostat")?, GroupId::new("stable")?);
        let id = RolloutId::new(&rollout.id)?;
        let device = |serial: &String| DeviceSpec {
            serial: serial.clone(),
            state: DeviceState::Verified,
            group: "stable".into(),
            version: Some("1.4.0".into()),
            ..Default::default()
        };
        let spec = ProductFleetSpec {
            product: ProductSpec {
                id: "thermostat".into(),
                keys: vec![ApiKey::new(KeyHash::of(KEY).ok_or("the key is too long")?)],
                serial_scheme: SerialScheme::Mac,
                versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
                poll_interval_secs: Some(HOUR as u32),
                ..Default::default()
            },
            firmware: vec![firmware("1.4.0"), firmware("2.0.0"), firmware("2.1.0")],
            groups: vec![GroupSpec {
                id: "stable".into(),
                firmware: Some("1.4.0".into()),
                policy: Policy::ForwardOnly,
                rollout: Some(rollout),
                ..Default::default()
            }],
            devices: serials.iter().map(device).collect(),
        };
        let index = Index::new(&FleetSpec { revision: Revision(1), products: vec![spec] }.build()?);
        index.apply(&[Change::StartRollout {
            product: product.clone(),
            group: group.clone(),
            rollout: id,
            at: START,
        }])?;
        let units = serials.into_iter().map(|serial| {
            // One in fifty is in a drawer for its first days.
            let asleep = if draw.below(50) == 0 { draw.below(5 * DAY as u64) } else { draw.below(HOUR as u64) };
            let next = START.plus_secs(asleep as i64);
            Unit { serial, version: "1.4.0", next, will_run: Vec::new(), harmed: false }
        });
        Ok(Self {
            index,
            ledger: MemoryLedger::default(),
            leases: Leases::new(DEVICES as usize),
            units: units.collect(),
            draw,
            product,
            group,
            target,
            now: START,
            asked: 0,
            told: BTreeMap::new(),
        })
    }

    /// So many days in ticks of five minutes; after each one `operator` may step in.
    fn run(
        &mut self,
        days: i64,
        mut operator: impl FnMut(&mut Self, Timestamp) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        println!("day  hour  wave  offered  finished  succeeded  failed  on the target  check-ins");
        let mut waiting_was_told = false;
        for tick in 0..days * DAY / TICK_SECS {
            self.now = START.plus_secs(tick * TICK_SECS);
            for unit in 0..self.units.len() {
                if self.units[unit].next <= self.now {
                    self.check_in(unit)?;
                }
            }
            for moved in Conductor::new(&self.index, &self.ledger).advance(self.now)? {
                if !matches!(moved.outcome, MoveOutcome::Done(..)) {
                    return Err(format!("not done: {moved}").into());
                }
                println!("     {}  {moved}", self.hour());
            }
            operator(self, self.now)?;
            if tick * TICK_SECS % (8 * HOUR) == 0 {
                self.tell()?;
            }
            if tick * TICK_SECS == 20 * HOUR && !waiting_was_told {
                waiting_was_told = true;
                self.explain()?;
            }
        }
        Ok(())
    }

    /// What a gateway does, with a clock of its own.
    fn check_in(&mut self, at: usize) -> Result<(), Failure> {
        let (now, unit) = (self.now, &mut self.units[at]);
        while let Some((_, version)) = unit.will_run.first().copied().filter(|(from, _)| *from <= now) {
            unit.will_run.remove(0);
            unit.version = version;
        }
        // An hour, give or take five minutes.
        unit.next = now.plus_secs(HOUR - 300 + self.draw.below(600) as i64);
        let ask = CheckIn { version: unit.version.as_bytes(), ..CheckIn::new(KEY, unit.serial.as_bytes()) };
        let view = self.index.view()?;
        let mut found = fetch(&view, &ask)?;
        found.lend(self.leases.of(&self.product, &unit.serial, now));
        let attended = attend(&self.ledger, &mut found, &ask, now.plus_secs(HOUR), now, &mut NoTrace)?;
        let decision = &attended.decision;
        self.asked += 1;
        *self.told.entry(decision.reason.name()).or_default() += 1;
        // What it reports is known from now on, for the next census.
        if attended.found.identity().and_then(|(_, device)| device.version()) != Some(unit.version) {
            let (product, serial, version) = (self.product.clone(), unit.serial.clone(), Some(unit.version.to_owned()));
            self.index.apply(&[Change::SeeDevice { product, serial, version, hardware: None }])?;
        }
        if let Some(report) = attended.seen {
            self.ledger.note(&report, now)?;
        }
        if let Some(offer) = decision.firmware_offer() {
            let version = VERSIONS.into_iter().find(|version| *version == offer.firmware.version().text());
            let version = version.ok_or("a version that nobody made")?;
            // Ten minutes of download, and the gateway sees the last byte go.
            let done = now.plus_secs(600);
            let rollout = attended.found.group().and_then(Group::rollout);
            let report = attended.attempt.as_ref().zip(rollout);
            let report =
                report.and_then(|(attempt, rollout)| attempt.report(rollout, &unit.serial, Outcome::Downloaded));
            report.map(|report: Report| self.ledger.note(&report, done)).transpose()?;
            // One in two hundred downloads is for nothing, whatever the firmware.
            let lost = self.draw.below(200) == 0;
            if !lost {
                unit.will_run = vec![(done.plus_secs(120), version)];
            }
            // And of 2.1.0, seven in ten boot back into the old one: their watchdog bites.
            if version == "2.1.0" && self.draw.below(10) < 7 {
                unit.will_run = vec![(done.plus_secs(120), "1.4.0")];
                unit.harmed = true;
            }
        }
        Ok(())
    }

    fn command(&self, what: &str, change: impl FnOnce(ProductId, GroupId, RolloutId) -> Change) -> Result<(), Failure> {
        let id = self.rollout()?.id().clone();
        if self.rollout()?.is_active() {
            self.index.apply(&[change(self.product.clone(), self.group.clone(), id)])?;
            println!("     {}  the operator {what}", self.hour());
        }
        Ok(())
    }

    fn rollout(&self) -> Result<Rollout, Failure> {
        let snapshot = self.index.snapshot();
        let group = snapshot.group(self.product.as_str(), self.group.as_str());
        Ok(group.and_then(Group::rollout).ok_or("the rollout is gone")?.clone())
    }

    fn on(&self, version: &str) -> u64 {
        self.units.iter().filter(|unit| unit.version == version).count() as u64
    }

    fn harmed(&self) -> usize {
        self.units.iter().filter(|unit| unit.harmed).count()
    }

    fn hour(&self) -> String {
        let hours = (self.now.millis() - START.millis()) / 1_000 / HOUR;
        format!("day {}, {:02} h", hours / 24 + 1, hours % 24)
    }

    /// One line for the operator's wall.
    fn tell(&self) -> Result<(), Failure> {
        let rollout = self.rollout()?;
        let run = rollout.run(&self.product, &self.group).ok_or("it was not started")?;
        let statistics = self.ledger.statistics(&run, rollout.resumes())?;
        let (total, success) = (statistics.total(), rollout.success());
        let wave = rollout.last_open().map_or(0, |(wave, ..)| wave + 1);
        let hours = (self.now.millis() - START.millis()) / 1_000 / HOUR;
        println!(
            "{:>3}  {:>4}  {wave:>4}  {:>7}  {:>8}  {:>9}  {:>6}  {:>13}  {:>9}",
            hours / 24 + 1,
            hours % 24,
            total.devices(),
            total.finished(success),
            total.succeeded(success),
            total.failures(),
            self.on(self.target),
            self.asked,
        );
        Ok(())
    }

    /// Why does this device not get it?
    fn explain(&self) -> Result<(), Failure> {
        let rollout = self.rollout()?;
        let rank = |unit: &&Unit| rollout.rank_of(self.product.as_str(), &unit.serial);
        let mut by_rank: Vec<&Unit> = self.units.iter().collect();
        by_rank.sort_by_key(rank);
        let unit = by_rank[186];
        let ask = CheckIn { version: unit.version.as_bytes(), ..CheckIn::new(KEY, unit.serial.as_bytes()) };
        let view = self.index.view()?;
        let mut found = fetch(&view, &ask)?;
        let next = rollout.next_wave();
        let group = found.group().ok_or("no group")?;
        let place = next.map(|next| self.index.place(&self.product, group, next, &unit.serial)).transpose()?.flatten();
        found.lend_standing(store::StandingRecord { place, ..Default::default() });
        let mut trace = Recorder::default();
        decide(&found.facts(), &ask, self.now, &mut trace);
        if let Some(eligible) = trace.eligible() {
            println!("     {}  `{}` waits: {eligible}", self.hour(), unit.serial);
        }
        Ok(())
    }

    fn tell_end(&self) {
        println!("\nafter {}:", self.hour());
        for version in VERSIONS {
            println!("  {:>5} devices on {version}", self.on(version));
        }
        println!("  {:>5} devices were harmed", self.harmed());
        let told: Vec<String> = self.told.iter().map(|(reason, times)| format!("{reason} {times}")).collect();
        println!("  {} check-ins: {}", self.asked, told.join(", "));
    }
}

const VERSIONS: [&str; 3] = ["1.4.0", "2.0.0", "2.1.0"];

/// SplitMix64: the same numbers on every machine.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}
