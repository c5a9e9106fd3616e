//! The slow, obvious twin of rollouts that move: the fleet's book, the ledger's book, the census, the step and the operator's commands, written a second
//! time from `semantics.md` (section 5) and the crate's documentation. One decision is that of `reference.rs`; all else is here. Nothing comes from the crate.
//!
//! Rule numbers are those of `semantics.md`. Times are milliseconds, spans are seconds, shares are basis points. Everything is a plain map that is searched from
//! end to end; nothing is remembered that can be computed.

use super::reference;
use super::world::{self, Answer, Ask, Target, Want};
use std::cmp::Ordering::Greater;
use std::collections::BTreeMap;

/// What became of an offer, weakest first (R9).
pub const OUTCOMES: [&str; 6] = ["offered", "downloaded", "missing", "installed", "confirmed", "failed"];

/// Where an outcome stands in that order.
pub fn strength(outcome: &str) -> usize {
    OUTCOMES.iter().position(|name| *name == outcome).unwrap()
}

#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Its key, rules and firmware; groups and devices stand below.
    pub product: Option<world::Product>,
    pub groups: Vec<Group>,
    pub devices: BTreeMap<String, Device>,
    pub accounts: BTreeMap<Run, BTreeMap<String, Account>>,
    /// (group, serial): until when the place among the downloads is held.
    pub places: BTreeMap<(String, String), i64>,
    /// The store cannot count its devices: shares open by a threshold that is expected to be right (R3).
    pub cannot_count: bool,
}

#[derive(Clone, Debug)]
pub struct Group {
    /// All but its rollout and what runs now.
    pub plain: world::Group,
    pub downloads_max: Option<u32>,
    pub rollout: Option<Rollout>,
}

#[derive(Clone, Debug)]
pub struct Device {
    pub state: &'static str,
    pub group: String,
    pub entered_at: i64,
    /// When it entered groups that it is not in now for the first time.
    pub earlier: BTreeMap<String, i64>,
    pub pin: Option<String>,
    pub cap: Option<String>,
    /// As far as the host knows.
    pub version: Option<String>,
    pub hardware: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Rollout {
    pub id: String,
    pub salt: Option<String>,
    pub target: Target,
    /// "draft", "running", "paused", "cut", "completed" or "aborted".
    pub state: &'static str,
    pub why: String,
    pub started_at: Option<i64>,
    pub waves: Vec<Wave>,
    pub tail: bool,
    pub first_come: bool,
    pub first: Vec<String>,
    pub excluded: Vec<String>,
    /// "downloaded", "installed" or "confirmed".
    pub success: &'static str,
    pub halt: Halt,
    /// R9: so many offers, the first so many seconds ago.
    pub missing: (u32, u32),
    /// Seconds after the first failure, and at most.
    pub penalty: (u32, u32),
    pub complete: Gate,
    pub progress: Option<Progress>,
    pub resumes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    First(u32),
    Share(u16),
    All,
}

#[derive(Clone, Copy, Debug)]
pub struct Wave {
    pub size: Size,
    pub gate: Gate,
    pub opened: Option<Opened>,
    /// It let somebody in who was not in before, when it opened.
    pub admitted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    pub at: i64,
    pub threshold: Option<u64>,
    pub counted: Option<u64>,
    pub newcomers: Option<u64>,
    pub eligible: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    pub opens_at: Option<i64>,
    pub min_finished: Option<u32>,
    pub share: Option<u16>,
    pub soak: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Halt {
    pub failures: Option<u32>,
    pub share: Option<u16>,
    pub min_finished: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub wave: u32,
    pub offered: u32,
    pub finished: u32,
    pub succeeded: u32,
    pub good_since: Option<i64>,
}

/// Group, rollout, start.
pub type Run = (String, String, i64);

/// What the ledger holds about a device that was offered something.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub number: u32,
    pub wave: u32,
    pub hop: String,
    /// In a row at this hop, and when the first of them was.
    pub offers: u32,
    pub first_offered_at: i64,
    pub outcome: &'static str,
    /// How often the rollout had been resumed when the outcome came about.
    pub resumes: u32,
    pub claim_expires_at: i64,
    /// Where earlier attempts failed: the hop, how often in a row, and until when it waits.
    pub failed_before: Option<(String, u32, i64)>,
    /// Until when it waits, if this attempt failed.
    pub waits_until: Option<i64>,
}

impl Account {
    fn times(&self) -> u32 {
        self.failed_before.as_ref().filter(|(hop, ..)| *hop == self.hop).map_or(0, |(_, times, _)| *times) + 1
    }

    /// The hop that it failed at last, how often in a row, and until when it waits.
    pub fn failed(&self) -> Option<(String, u32, i64)> {
        match self.outcome {
            // 0 is never, also where the clock is set back to before the failure.
            "missing" | "failed" => Some((self.hop.clone(), self.times(), self.waits_until.unwrap_or(i64::MIN))),
            "installed" | "confirmed" => None,
            _ => self.failed_before.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub run: Run,
    pub serial: String,
    pub attempt: Option<u32>,
    pub outcome: &'static str,
    pub resumes: u32,
    pub penalty: (u32, u32),
    pub grace: u32,
}

/// What came of a check-in.
#[derive(Clone, Debug)]
pub struct Attended {
    pub answer: Answer,
    pub attempt: Option<u32>,
    pub seen: Option<Report>,
    /// The device was found missing.
    pub missed: bool,
}

/// What came of a census.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    pub eligible: u64,
    pub counted: u64,
    pub threshold: Option<u64>,
    /// How many of those were not in before.
    pub newcomers: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Moved {
    /// None: the census refuses (R6).
    Open {
        group: String,
        wave: usize,
        progress: Option<Progress>,
        opened: Option<Opened>,
    },
    Halt {
        group: String,
        failed: u64,
        finished: u64,
    },
    Complete {
        group: String,
        progress: Option<Progress>,
        done: bool,
    },
}

/// The devices of a wave, or of a run, by the order of `OUTCOMES`.
pub type Counts = [u64; 6];

/// What an operator, or a host, does.
#[derive(Clone, Debug)]
pub enum Command {
    Start { group: String, id: String, at: i64 },
    Pause { group: String, id: String, cut: bool, why: String },
    Resume { group: String, id: String },
    Complete { group: String, id: String },
    Abort { group: String, id: String, downgrade: bool },
    AddFirst { group: String, id: String, serials: Vec<String> },
    Open { group: String, id: String, wave: usize, opened: Opened },
    Put { group: String, rollout: Box<Rollout> },
    Assign { group: String, version: Option<String> },
    Deny { version: String, denied: bool },
    CapDownloads { group: String, max: Option<u32> },
    Policy { group: String, forward_only: bool },
    State { serial: String, state: &'static str },
    Cap { serial: String, version: Option<String> },
    Pin { serial: String, version: Option<String> },
    Move { serial: String, group: String, at: i64 },
    Join { serial: String, group: String, at: i64 },
    See { serial: String, version: String, hardware: Option<String> },
}

impl Rollout {
    pub fn is_under_way(&self) -> bool {
        ["running", "paused", "cut"].contains(&self.state)
    }

    pub fn run(&self, group: &str) -> Option<Run> {
        Some((group.to_owned(), self.id.clone(), self.started_at?))
    }

    fn last_open(&self) -> Option<usize> {
        self.waves.iter().rposition(|wave| wave.opened.is_some())
    }

    /// The highest rank that waves before this one let in (R3).
    fn threshold_before(&self, wave: usize) -> Option<u64> {
        self.waves[..wave].iter().filter_map(|wave| wave.opened.and_then(|opened| opened.threshold)).max()
    }

    pub fn succeeds(&self, outcome: &str) -> bool {
        strength(outcome) >= strength(self.success) && !["missing", "failed"].contains(&outcome)
    }

    pub fn finishes(&self, outcome: &str) -> bool {
        ["missing", "failed"].contains(&outcome) || self.succeeds(outcome)
    }

    fn finished(&self, counts: &Counts) -> u64 {
        (0..6).filter(|at| self.finishes(OUTCOMES[*at])).map(|at| counts[at]).sum()
    }

    fn succeeded(&self, counts: &Counts) -> u64 {
        (0..6).filter(|at| self.succeeds(OUTCOMES[*at])).map(|at| counts[at]).sum()
    }
}

pub fn failures(counts: &Counts) -> u64 {
    counts[strength("missing")] + counts[strength("failed")]
}

impl Census {
    pub fn opened(&self, at: i64) -> Opened {
        let (counted, newcomers, eligible) = (Some(self.counted), Some(self.newcomers), Some(self.eligible));
        Opened { at, threshold: self.threshold, counted, newcomers, eligible }
    }
}

impl Gate {
    pub fn is_by_hand(&self) -> bool {
        *self == Self::default()
    }

    pub fn asks_for_health(&self) -> bool {
        self.min_finished.is_some() || self.share.is_some() || self.soak.is_some()
    }

    /// R8: 0 of 0 is no data.
    fn is_good(&self, finished: u32, succeeded: u32) -> bool {
        let enough = finished >= self.min_finished.unwrap_or(1).max(1);
        let share = u64::from(succeeded) * 10_000 >= u64::from(self.share.unwrap_or(0)) * u64::from(finished);
        self.asks_for_health() && enough && share
    }
}

impl Machine {
    pub fn product(&self) -> &world::Product {
        self.product.as_ref().unwrap()
    }

    pub fn group(&self, id: &str) -> &Group {
        self.groups.iter().find(|group| group.plain.id == id).unwrap()
    }

    pub fn group_mut(&mut self, id: &str) -> &mut Group {
        self.groups.iter_mut().find(|group| group.plain.id == id).unwrap()
    }

    fn rollout_mut(&mut self, group: &str) -> &mut Rollout {
        self.group_mut(group).rollout.as_mut().unwrap()
    }

    fn firmware(&self, version: &str) -> Option<&world::Firmware> {
        let p = self.product();
        p.firmware.iter().find(|one| reference::equal(p, version.as_bytes(), &one.version))
    }

    fn above(&self, version: &str, cap: &Option<String>) -> bool {
        let over = |cap: &String| reference::compare(self.product(), version.as_bytes(), cap.as_bytes());
        cap.as_ref().is_some_and(|cap| over(cap) == Some(Greater))
    }

    /// The run of the device's group, if its rollout is under way.
    pub fn run_of(&self, serial: &str) -> Option<Run> {
        let group = &self.devices.get(serial)?.group;
        self.group(group).rollout.as_ref().filter(|rollout| rollout.is_under_way())?.run(group)
    }

    /// Until when the device holds a place among the downloads of its group.
    pub fn place(&self, serial: &str) -> Option<i64> {
        self.places.get(&(self.devices[serial].group.clone(), serial.to_owned())).copied()
    }

    /// The ledger is asked only where the group has a rollout under way or a cap on downloads.
    fn is_asked(&self, serial: &str) -> bool {
        self.run_of(serial).is_some() || self.group(&self.devices[serial].group).downloads_max.is_some()
    }

    /// All was sent of something that is on no run's account.
    pub fn release(&mut self, serial: &str, at: i64) {
        let place = (self.devices[serial].group.clone(), serial.to_owned());
        if let Some(end) = self.places.get_mut(&place) {
            *end = (*end).min(at);
        }
    }

    pub fn account(&self, serial: &str) -> Option<&Account> {
        self.accounts.get(&self.run_of(serial)?)?.get(serial)
    }

    pub fn slots_taken(&self, run: &Run) -> u32 {
        self.accounts.get(run).map_or(0, |devices| devices.len() as u32)
    }

    pub fn downloads_now(&self, group: &str, now: i64) -> u32 {
        self.places.iter().filter(|((of, _), end)| of == group && now < **end).count() as u32
    }

    /// The world as one decision about this device sees it.
    fn world(&self, serial: &str, now: i64) -> world::World {
        let mut p = self.product().clone();
        if let Some(device) = self.devices.get(serial) {
            let group = self.group(&device.group);
            let account = self.account(serial);
            p.devices = vec![world::Device {
                serial: serial.to_owned(),
                state: device.state,
                group: device.group.clone(),
                pin: device.pin.clone(),
                cap: device.cap.clone(),
                entered_at: device.entered_at,
                claim_expires_at: account.map(|account| account.claim_expires_at),
                download_expires_at: self.place(serial).filter(|_| self.is_asked(serial)),
                penalty: account.and_then(|account| account.failed()).map(|(hop, _, end)| (hop, end)),
            }];
            let taken = self.run_of(serial).map_or(0, |run| self.slots_taken(&run));
            p.groups = vec![world::Group {
                downloads: group.downloads_max.map(|max| (max, self.downloads_now(&device.group, now))),
                rollout: group.rollout.as_ref().map(|rollout| plain_rollout(rollout, taken)),
                ..group.plain.clone()
            }];
        }
        world::World { products: vec![p] }
    }

    /// The whole, without what the plain words of one decision cannot say.
    pub fn whole(&self) -> world::World {
        let mut p = self.product().clone();
        let groups = self.groups.iter();
        p.groups = groups
            .map(|group| world::Group {
                downloads: group.downloads_max.map(|max| (max, 0)),
                rollout: group.rollout.as_ref().map(|rollout| plain_rollout(rollout, 0)),
                ..group.plain.clone()
            })
            .collect();
        p.devices = (self.devices.iter())
            .map(|(serial, device)| world::Device {
                serial: serial.clone(),
                state: device.state,
                group: device.group.clone(),
                pin: device.pin.clone(),
                cap: device.cap.clone(),
                entered_at: device.entered_at,
                claim_expires_at: None,
                download_expires_at: None,
                penalty: None,
            })
            .collect();
        world::World { products: vec![p] }
    }

    // Whose turn it is.

    fn rank(&self, rollout: &Rollout, serial: &str) -> u64 {
        if rollout.first.iter().any(|listed| listed == serial) {
            return 0;
        }
        reference::rank(rollout.salt.as_ref().unwrap_or(&rollout.id), &self.product().id, serial)
    }

    /// R4.
    fn kept_to_the_last(&self, rollout: &Rollout, serial: &str) -> bool {
        let late = self.devices[serial].entered_at > rollout.started_at.unwrap();
        rollout.tail && late && !rollout.first.iter().any(|listed| listed == serial)
    }

    /// The wave that the device belongs to: the first open one that admits it; first come the last open one.
    pub fn wave_of(&self, rollout: &Rollout, serial: &str) -> Option<usize> {
        let last = rollout.last_open()?;
        let from = if self.kept_to_the_last(rollout, serial) { rollout.waves.len() - 1 } else { 0 };
        if rollout.first_come {
            return (from <= last).then_some(last);
        }
        let rank = self.rank(rollout, serial);
        (from..=last).find(|at| {
            let wave = &rollout.waves[*at];
            wave.size == Size::All || wave.opened.unwrap().threshold.is_some_and(|threshold| rank <= threshold)
        })
    }

    /// Question 6c: whether what the device is served just now is served on the rollout's account.
    fn is_its_turn(&self, ask: &Ask, serial: &str) -> bool {
        let device = &self.devices[serial];
        let Some(rollout) = self.group(&device.group).rollout.as_ref().filter(|rollout| rollout.is_under_way()) else {
            return false;
        };
        let exists = match (&rollout.target, &ask.want) {
            (Target::Firmware(version), Want::Firmware) => {
                let there = self.firmware(version).is_some_and(|one| !one.denied);
                let capped =
                    self.above(version, &device.cap) || self.above(version, &self.group(&device.group).plain.cap);
                there && !capped && device.pin.is_none()
            }
            (Target::Config(_), Want::Config) => true,
            _ => false,
        };
        let account = self.account(serial);
        let live = account.is_some_and(|account| ask.now < account.claim_expires_at);
        let inside = || {
            let Some(wave) = self.wave_of(rollout, serial) else { return false };
            match rollout.waves[wave].size {
                Size::First(n) if rollout.first_come => {
                    account.is_some() || self.slots_taken(&self.run_of(serial).unwrap()) < n
                }
                _ => true,
            }
        };
        let excluded = rollout.excluded.iter().any(|listed| listed == serial);
        exists
            && !excluded
            && match rollout.state {
                "running" => inside(),
                "paused" => live,
                _ => false,
            }
    }

    // A check-in.

    pub fn attend(&mut self, ask: &Ask, until: i64) -> Attended {
        let serial = String::from_utf8(ask.serial.clone()).unwrap();
        let told = |machine: &Self| reference::answer(&machine.world(&serial, ask.now), ask);
        let mut answer = told(self);
        let mut attended = Attended { answer: answer.clone(), attempt: None, seen: None, missed: false };
        let Some(device) = self.devices.get(&serial).cloned() else { return attended };
        let run = self.run_of(&serial);
        let rollout = self.group(&device.group).rollout.clone();
        let on_account = |machine: &Self, answer: &Answer| answer.status == 200 && machine.is_its_turn(ask, &serial);
        // R9: about to be offered the same hop again, after so many offers and so long a time, its claim lapsed.
        if let (true, Some(account), Some(rollout)) = (on_account(self, &answer), self.account(&serial), &rollout)
            && ask.now >= account.claim_expires_at
            && account.hop == answer.serves.clone().unwrap_or_default()
            && !rollout.finishes(account.outcome)
            && account.offers >= rollout.missing.0
            && ask.now - account.first_offered_at >= i64::from(rollout.missing.1) * 1_000
        {
            let report = self.report(&device.group, &serial, "missing", Some(account.number)).unwrap();
            // Who was installed, where success is more than that, is not missing.
            attended.missed = self.note(&report, ask.now) == "moved";
            answer = told(self);
        }
        // Who arrived and fell back, so often as makes a device missing: an attempt that failed before it was made, where that makes it wait.
        if let (true, Some(account), Some(rollout)) =
            (on_account(self, &answer), self.account(&serial).cloned(), &rollout)
            && ask.now >= account.claim_expires_at
            && account.hop == answer.serves.clone().unwrap_or_default()
            && ["installed", "confirmed"].contains(&account.outcome)
            && account.offers >= rollout.missing.0
            && ask.now - account.first_offered_at >= i64::from(rollout.missing.1) * 1_000
            && waits(rollout)
        {
            let number = self.offer(&run.clone().unwrap(), &serial, (account.wave, None), &account.hop, ask.now, until);
            let report = self.report(&device.group, &serial, "missing", Some(number)).unwrap();
            self.note(&report, ask.now);
            attended.missed = true;
            answer = told(self);
        }
        if answer.status == 200 {
            // What the decision asked to be claimed, with what was held before.
            let claim_lives = self.account(&serial).is_some_and(|account| ask.now < account.claim_expires_at);
            let place = (device.group.clone(), serial.clone());
            let place_lives = self.places.get(&place).is_some_and(|end| ask.now < *end);
            let limited = self.group(&device.group).downloads_max.is_some();
            if answer.effect == Some("claim") && limited && !claim_lives && !place_lives {
                self.places.insert(place, until);
            }
            // A config that it has: fetching it again is no attempt.
            let has_it = |rollout: &Rollout| {
                !matches!(rollout.target, Target::Firmware(_))
                    && self.account(&serial).is_some_and(|account| rollout.succeeds(account.outcome))
            };
            if on_account(self, &answer) && !rollout.as_ref().is_some_and(has_it) {
                let wave = self.wave_of(rollout.as_ref().unwrap(), &serial).unwrap_or(0) as u32;
                let hop = answer.serves.clone().unwrap_or_default();
                // Where nothing made it wait, who is missing stays so: the offer is made in the same breath. Who arrived and fell back, so often as makes a
                // device missing, is.
                let rollout = rollout.as_ref().unwrap();
                let none = !waits(rollout) && rollout.success != "downloaded";
                let missing = self.account(&serial).filter(|held| held.hop == hop && none);
                let missing = missing.filter(|held| match held.outcome {
                    "missing" => true,
                    "installed" | "confirmed" => {
                        held.offers >= rollout.missing.0
                            && ask.now - held.first_offered_at >= i64::from(rollout.missing.1) * 1_000
                    }
                    _ => false,
                });
                let missing = missing.map(|_| rollout.resumes);
                attended.attempt = Some(self.offer(&run.unwrap(), &serial, (wave, missing), &hop, ask.now, until));
            }
        } else if answer.effect == Some("seen") {
            let unknown = self.account(&serial).filter(|account| strength(account.outcome) < strength("installed"));
            attended.seen =
                unknown.and_then(|account| self.report(&device.group, &serial, "installed", Some(account.number)));
        }
        attended.answer = answer;
        attended
    }

    /// R9: while the claim lives and the hop is the same, it is the offer that was made already.
    fn offer(&mut self, run: &Run, serial: &str, of: (u32, Option<u32>), hop: &str, now: i64, until: i64) -> u32 {
        let (wave, missing) = of;
        let devices = self.accounts.entry(run.clone()).or_default();
        let first = Account {
            number: 0,
            wave,
            hop: hop.to_owned(),
            offers: 0,
            first_offered_at: now,
            outcome: "offered",
            resumes: 0,
            claim_expires_at: now,
            failed_before: None,
            waits_until: None,
        };
        let account = devices.entry(serial.to_owned()).or_insert(first);
        if account.number > 0 && now < account.claim_expires_at && account.hop == hop {
            return account.number;
        }
        (account.failed_before, account.waits_until) = (account.failed(), None);
        if account.hop != hop {
            (account.hop, account.offers, account.first_offered_at) = (hop.to_owned(), 0, now);
        }
        account.number += 1;
        account.offers += 1;
        (account.outcome, account.resumes) = missing.map_or(("offered", 0), |resumes| ("missing", resumes));
        account.claim_expires_at = until;
        account.number
    }

    // Reports.

    pub fn report(&self, group: &str, serial: &str, outcome: &'static str, attempt: Option<u32>) -> Option<Report> {
        let rollout = self.group(group).rollout.as_ref()?;
        Some(Report {
            run: rollout.run(group)?,
            serial: serial.to_owned(),
            attempt,
            outcome,
            resumes: rollout.resumes,
            penalty: rollout.penalty,
            grace: 60,
        })
    }

    /// "moved", "known" or "foreign".
    pub fn note(&mut self, report: &Report, at: i64) -> &'static str {
        let account = self.accounts.get_mut(&report.run).and_then(|devices| devices.get_mut(&report.serial));
        let Some(account) = account else { return "foreign" };
        let number = report.attempt.unwrap_or(account.number);
        if number == 0 || number > account.number {
            return "foreign";
        }
        if number < account.number {
            return "known";
        }
        let end = match report.outcome {
            "offered" => i64::MAX,
            "downloaded" => at + i64::from(report.grace) * 1_000,
            _ => at,
        };
        account.claim_expires_at = account.claim_expires_at.min(end);
        if let Some(place) = self.places.get_mut(&(report.run.0.clone(), report.serial.clone())) {
            *place = (*place).min(end);
        }
        let mut secs = u64::from(report.penalty.0);
        (1..account.times()).for_each(|_| secs = (2 * secs).min(1 << 40));
        let secs = secs.min(report.penalty.1.into()) as i64;
        let waits = (["missing", "failed"].contains(&report.outcome) && secs > 0).then_some(at + secs * 1_000);
        if strength(report.outcome) > strength(account.outcome) {
            (account.outcome, account.resumes, account.waits_until) = (report.outcome, report.resumes, waits);
            return "moved";
        }
        if report.outcome == account.outcome {
            account.resumes = account.resumes.min(report.resumes);
            account.waits_until = [account.waits_until, waits].into_iter().flatten().min();
        }
        "known"
    }

    /// By wave, and what is recent.
    pub fn statistics(&self, run: &Run, resumes: u32) -> (Vec<Counts>, Counts) {
        let (mut waves, mut recent) = (Vec::new(), Counts::default());
        for account in self.accounts.get(run).iter().flat_map(|devices| devices.values()) {
            let wave = account.wave as usize;
            waves.resize(waves.len().max(wave + 1), Counts::default());
            waves[wave][strength(account.outcome)] += 1;
            if account.outcome != "offered" && account.resumes >= resumes {
                recent[strength(account.outcome)] += 1;
            }
        }
        (waves, recent)
    }

    // Moving on.

    /// R3, and R6: none where more are always first than the first wave counts.
    pub fn census(&self, group: &str, wave: usize) -> Option<Census> {
        let of = self.group(group);
        let rollout = of.rollout.as_ref().unwrap();
        let before = rollout.threshold_before(wave);
        let is_last = wave + 1 == rollout.waves.len();
        // Rank, always first, in already.
        let mut counted: Vec<(u64, bool, bool)> = vec![];
        for (serial, device) in self.devices.iter().filter(|(_, device)| device.group == group) {
            let rank = self.rank(rollout, serial);
            // A census does not know who holds a slot.
            let in_already =
                before.is_some_and(|threshold| rank <= threshold) && !self.kept_to_the_last(rollout, serial);
            let excluded = rollout.excluded.contains(serial);
            let kept = self.kept_to_the_last(rollout, serial) && !is_last;
            let taken = match &rollout.target {
                Target::Firmware(target) => {
                    let capped = self.above(target, &device.cap) || self.above(target, &of.plain.cap);
                    let fits = |hardware: &String| {
                        self.firmware(target).is_none_or(|one| one.artifacts.iter().any(|a| fits(a, hardware)))
                    };
                    let fits = device.hardware.as_ref().is_none_or(fits);
                    let on_it = |version: &String| reference::equal(self.product(), version.as_bytes(), target);
                    let elsewhere = !device.version.as_ref().is_some_and(on_it);
                    device.pin.is_none() && !capped && fits && (in_already || elsewhere)
                }
                _ => true,
            };
            if device.state == "verified" && !excluded && !kept && taken {
                counted.push((rank, rollout.first.contains(serial), in_already));
            }
        }
        counted.sort_unstable();
        let eligible = counted.len() as u64;
        let was_in = counted.iter().filter(|(.., in_already)| *in_already).count() as u64;
        let n = match rollout.waves[wave].size {
            Size::All => {
                let newcomers = eligible - was_in;
                return Some(Census { eligible, counted: eligible, threshold: None, newcomers });
            }
            Size::First(n) => u64::from(n),
            Size::Share(bps) => (eligible * u64::from(bps)).div_ceil(10_000),
        };
        if before.is_none() && counted.iter().filter(|(_, first, _)| *first).count() as u64 > n {
            return None;
        }
        let nth = counted.get(n.saturating_sub(1) as usize).or(counted.last()).filter(|_| n > 0);
        let threshold = nth.map(|(rank, ..)| *rank).max(before);
        let inside = counted.iter().filter(|(rank, ..)| threshold.is_some_and(|t| *rank <= t)).count() as u64;
        Some(Census { eligible, counted: inside, threshold, newcomers: inside - was_in })
    }

    /// The wave that a gate judges: the last open one that admitted somebody, at its census or since.
    fn judged(&self, rollout: &Rollout, waves: &[Counts]) -> Option<usize> {
        let offered = |at: usize| waves.get(at).map_or(0, |counts| counts.iter().sum());
        (0..=rollout.last_open()?).rev().find(|at| rollout.waves[*at].admitted || offered(*at) > 0)
    }

    /// Takes every step that is due, group by group.
    pub fn advance(&mut self, now: i64) -> Vec<Moved> {
        let ids: Vec<String> = self.groups.iter().map(|group| group.plain.id.clone()).collect();
        ids.iter().flat_map(|id| self.advance_group(id, now)).collect()
    }

    pub fn advance_group(&mut self, id: &str, now: i64) -> Vec<Moved> {
        let mut all = vec![];
        while self.advance_once(id, now, &mut all) {}
        all
    }

    /// Whether to look again.
    fn advance_once(&mut self, id: &str, now: i64, all: &mut Vec<Moved>) -> bool {
        let Some(rollout) = self.group(id).rollout.clone().filter(|rollout| rollout.state == "running") else {
            return false;
        };
        let group = id.to_owned();
        let (waves, recent) = self.statistics(&rollout.run(id).unwrap(), rollout.resumes);
        // R8: errors first, over all open waves.
        let (failed, finished) = (failures(&recent), rollout.finished(&recent));
        let enough = finished >= u64::from(rollout.halt.min_finished.unwrap_or(1).max(1));
        let exceeds = |bps: u16| failed * 10_000 > u64::from(bps) * finished;
        if rollout.halt.failures.is_some_and(|n| failed >= u64::from(n))
            || enough && rollout.halt.share.is_some_and(exceeds)
        {
            let held = self.rollout_mut(id);
            held.state = "paused";
            held.why = format!("halted: {failed} failed of {finished} that have finished");
            all.push(Moved::Halt { group, failed, finished });
            return false;
        }
        let next = rollout.waves.iter().position(|wave| wave.opened.is_none());
        let gate = next.map_or(rollout.complete, |next| rollout.waves[next].gate);
        let progress = self.judged(&rollout, &waves).map(|wave| {
            let counts = waves.get(wave).copied().unwrap_or_default();
            let (finished, succeeded) = (rollout.finished(&counts) as u32, rollout.succeeded(&counts) as u32);
            let before = rollout.progress.filter(|before| before.wave == wave as u32);
            let since = before.and_then(|before| before.good_since).filter(|since| *since <= now).unwrap_or(now);
            Progress {
                wave: wave as u32,
                offered: counts.iter().sum::<u64>() as u32,
                finished,
                succeeded,
                good_since: gate.is_good(finished, succeeded).then_some(since),
            }
        });
        let healthy = progress.is_some_and(|progress| {
            let soak = i64::from(gate.soak.unwrap_or(0)) * 1_000;
            progress.good_since.is_some_and(|since| now - since >= soak)
        });
        let in_time = gate.opens_at.is_none_or(|at| now >= at);
        let by_itself = !gate.is_by_hand() || next == Some(0);
        let found = progress.filter(|_| gate.asks_for_health());
        if !(by_itself && in_time && (!gate.asks_for_health() || healthy)) {
            if progress.is_some() {
                self.rollout_mut(id).progress = progress;
            }
            return false;
        }
        // Nobody could be given it: no wave opens for that, and it completes nothing.
        if let Target::Firmware(target) = &rollout.target
            && (self.firmware(target).is_none_or(|one| one.denied) || self.above(target, &self.group(id).plain.cap))
        {
            all.push(match next {
                Some(wave) => Moved::Open { group, wave, progress: found, opened: None },
                None => Moved::Complete { group, progress: found, done: false },
            });
            return false;
        }
        let Some(wave) = next else {
            let done = self.command(&Command::Complete { group: group.clone(), id: rollout.id }).is_ok();
            all.push(Moved::Complete { group, progress: found, done });
            return false;
        };
        let sized = rollout.waves[wave].size != Size::All;
        let census = (!rollout.first_come).then(|| self.census(id, wave));
        let uncounted = |threshold| Opened { at: now, threshold, counted: None, newcomers: None, eligible: None };
        let before = rollout.threshold_before(wave);
        let (opened, admitted) = match census {
            Some(_) if self.cannot_count => match rollout.waves[wave].size {
                Size::First(_) => (None, false),
                Size::Share(bps) => {
                    let ranks = (u128::from(bps) << 64).div_ceil(10_000);
                    let threshold = Some((ranks - 1) as u64).max(before);
                    (Some(uncounted(threshold)), threshold > before)
                }
                Size::All => (Some(uncounted(None)), true),
            },
            Some(None) => (None, false),
            // First come: slots are claimed, and nobody is counted.
            None => {
                let grows = !sized || wave == 0 || rollout.waves[wave - 1].size != rollout.waves[wave].size;
                (Some(uncounted(None)), grows)
            }
            Some(Some(census)) => (Some(census.opened(now)), census.newcomers > 0),
        };
        all.push(Moved::Open { group, wave, progress: found, opened });
        if let Some(opened) = opened {
            self.open(id, wave, opened, admitted);
        }
        opened.is_some()
    }

    fn open(&mut self, group: &str, wave: usize, opened: Opened, admitted: bool) {
        let rollout = self.rollout_mut(group);
        (rollout.waves[wave].opened, rollout.waves[wave].admitted) = (Some(opened), admitted);
        // The next gate judges anew.
        rollout.progress = None;
    }

    // Commands.

    /// Whether it is taken; nothing is changed where it is not.
    pub fn command(&mut self, command: &Command) -> Result<(), &'static str> {
        match command {
            Command::Start { group, id, at } => {
                let rollout = self.rollout_at(group, id, &["draft"])?;
                (rollout.state, rollout.started_at) = ("running", Some(*at));
            }
            Command::Pause { group, id, cut, why } => {
                let rollout = self.rollout_at(group, id, &["running", "paused", "cut"])?;
                rollout.state = if *cut { "cut" } else { "paused" };
                rollout.why.clone_from(why);
            }
            Command::Resume { group, id } => {
                let rollout = self.rollout_at(group, id, &["paused", "cut"])?;
                rollout.state = "running";
                rollout.why.clear();
                rollout.resumes += 1;
                if let Some(progress) = &mut rollout.progress {
                    progress.good_since = None;
                }
            }
            Command::Complete { group, id } => {
                let target = self.rollout_at(group, id, &["running", "paused", "cut"])?.target.clone();
                match &target {
                    Target::Firmware(version) => {
                        let denied = self.firmware(version).ok_or("R7: missing")?.denied;
                        if denied {
                            return Err("R7: denied");
                        }
                        self.assign(group, Some(version.clone()));
                    }
                    Target::Config(config) => self.group_mut(group).plain.config = Some(config.clone()),
                    Target::Resources(list) => self.group_mut(group).plain.resources = Some(list.clone()),
                }
                let rollout = self.rollout_mut(group);
                rollout.state = "completed";
                rollout.why.clear();
            }
            Command::Abort { group, id, downgrade } => {
                let rollout = self.rollout_at(group, id, &["draft", "running", "paused", "cut"])?;
                // Nobody is on the target of a draft by its doing, and a fate is of firmware.
                let fateful = rollout.state != "draft" && matches!(rollout.target, Target::Firmware(_));
                let target = rollout.target.clone();
                let plain = &self.group(group).plain;
                let baseline = plain.baseline.as_ref().and_then(|baseline| self.firmware(baseline));
                let served = baseline.is_some_and(|one| !one.denied && !self.above(&one.version, &plain.cap));
                if *downgrade && fateful && !served {
                    return Err("R10: the baseline cannot be served");
                }
                let rollout = self.rollout_mut(group);
                rollout.state = "aborted";
                rollout.why.clear();
                if let (Target::Firmware(version), true) = (target, fateful) {
                    self.group_mut(group).plain.aborted = Some((version, *downgrade));
                }
            }
            Command::AddFirst { group, id, serials } => {
                let rollout =
                    self.rollout_at(group, id, &["draft", "running", "paused", "cut", "completed", "aborted"])?;
                if serials.iter().any(|serial| rollout.excluded.contains(serial)) {
                    return Err("R6: excluded");
                }
                rollout.first.extend(serials.iter().cloned());
                rollout.first.sort();
                rollout.first.dedup();
            }
            Command::Open { group, id, wave, opened } => {
                let rollout = self.rollout_at(group, id, &["running"])?;
                if rollout.waves.iter().position(|wave| wave.opened.is_none()) != Some(*wave) {
                    return Err("R7: it is not the next");
                }
                let before = rollout.threshold_before(*wave);
                let sized = rollout.waves[*wave].size != Size::All;
                if sized && opened.threshold < before {
                    return Err("R3: the threshold shrinks");
                }
                let grows = *wave == 0 || rollout.waves[*wave - 1].size != rollout.waves[*wave].size;
                let admitted = match (opened.newcomers, sized, rollout.first_come) {
                    (Some(newcomers), ..) => newcomers > 0,
                    (None, true, false) => opened.threshold > before,
                    (None, true, true) => grows,
                    // Nobody counted: somebody may be in now.
                    (None, false, _) => true,
                };
                self.open(group, *wave, *opened, admitted);
            }
            Command::Put { group, rollout } => return self.put(group, rollout),
            Command::Assign { group, version } => self.assign(group, version.clone()),
            Command::Deny { version, denied } => {
                let list = &mut self.product.as_mut().unwrap().firmware;
                list.iter_mut().find(|one| one.version == *version).ok_or("no such firmware")?.denied = *denied;
            }
            Command::CapDownloads { group, max } => self.group_mut(group).downloads_max = *max,
            Command::Policy { group, forward_only } => self.group_mut(group).plain.forward_only = *forward_only,
            Command::Cap { serial, version } => {
                let device = self.devices.get(serial).ok_or("no such device")?;
                if device.pin.iter().any(|pin| self.above(pin, version)) {
                    return Err("L3: a pin above a cap");
                }
                self.devices.get_mut(serial).unwrap().cap.clone_from(version);
            }
            Command::State { serial, state } => {
                self.devices.get_mut(serial).ok_or("no such device")?.state = state;
            }
            Command::Pin { serial, version } => {
                let device = self.devices.get(serial).ok_or("no such device")?;
                let cap = &self.group(&device.group).plain.cap;
                if version.iter().any(|version| self.above(version, &device.cap) || self.above(version, cap)) {
                    return Err("L3: a pin above a cap");
                }
                self.devices.get_mut(serial).unwrap().pin.clone_from(version);
            }
            Command::Move { serial, group, at } => {
                let device = self.devices.get(serial).ok_or("no such device")?;
                let cap = &self.group(group).plain.cap;
                if device.pin.iter().any(|pin| self.above(pin, cap)) {
                    return Err("L3: a pin above a cap");
                }
                let device = self.devices.get_mut(serial).unwrap();
                if device.group != *group {
                    let left = std::mem::replace(&mut device.group, group.clone());
                    device.earlier.insert(left, device.entered_at);
                    device.entered_at = device.earlier.remove(group).unwrap_or(*at);
                }
            }
            Command::Join { serial, group, at } => {
                let device = Device {
                    state: "verified",
                    group: group.clone(),
                    entered_at: *at,
                    earlier: BTreeMap::new(),
                    pin: None,
                    cap: None,
                    version: None,
                    hardware: None,
                };
                self.devices.insert(serial.clone(), device);
            }
            Command::See { serial, version, hardware } => {
                let device = self.devices.get_mut(serial).ok_or("no such device")?;
                device.version = Some(version.clone());
                device.hardware.clone_from(hardware);
            }
        }
        Ok(())
    }

    fn rollout_at(&mut self, group: &str, id: &str, states: &[&str]) -> Result<&mut Rollout, &'static str> {
        let rollout = self.group_mut(group).rollout.as_mut().filter(|rollout| rollout.id == id);
        rollout.filter(|rollout| states.contains(&rollout.state)).ok_or("R7: not from where it stands")
    }

    /// R10: a changed baseline ends `leave`.
    fn assign(&mut self, group: &str, version: Option<String>) {
        let plain = &mut self.group_mut(group).plain;
        if plain.baseline != version && plain.aborted.as_ref().is_some_and(|(_, downgrade)| !downgrade) {
            plain.aborted = None;
        }
        plain.baseline = version;
    }

    /// R7, R11.
    fn put(&mut self, group: &str, new: &Rollout) -> Result<(), &'static str> {
        let old = self.group(group).rollout.as_ref().unwrap();
        if old.id != new.id && old.is_under_way() {
            return Err("R11: one is under way");
        }
        if old.id == new.id && old.state != "draft" {
            let opened = |rollout: &Rollout| -> Vec<Option<Opened>> {
                rollout.waves.iter().map(|wave| wave.opened).take_while(Option::is_some).collect()
            };
            if old.state != new.state || old.started_at != new.started_at || opened(old) != opened(new) {
                return Err("R7: it moves by changes of its own");
            }
            let salt = |rollout: &Rollout| rollout.salt.clone().unwrap_or(rollout.id.clone());
            let target = |rollout: &Rollout| format!("{:?}", rollout.target);
            let sizes = |rollout: &Rollout| -> Vec<Size> {
                rollout.waves.iter().take(opened(old).len()).map(|wave| wave.size).collect()
            };
            let frozen = target(old) != target(new)
                || sizes(old) != sizes(new)
                || old.first_come != new.first_come
                || salt(old) != salt(new)
                || old.tail != new.tail
                || old.first.iter().any(|serial| !new.first.contains(serial));
            if frozen && !opened(old).is_empty() {
                return Err("R7: frozen");
            }
            // R4, R7: the last wave has let in who joined late, and it never closes.
            if old.tail && opened(old).len() == old.waves.len() && new.waves.len() > old.waves.len() {
                return Err("R7: no wave comes behind the last one");
            }
        }
        let mut new = new.clone();
        if old.id == new.id {
            // What was counted is no operator's to write. After an edit what has to soak soaks anew.
            (new.progress, new.resumes) = (old.progress, old.resumes);
            let edited = format!("{old:?}") != format!("{new:?}");
            new.progress.iter_mut().filter(|_| edited).for_each(|progress| progress.good_since = None);
        }
        self.group_mut(group).rollout = Some(new);
        Ok(())
    }
}

/// Whether a failure makes a device wait.
fn waits(rollout: &Rollout) -> bool {
    rollout.penalty.0.min(rollout.penalty.1) > 0 && matches!(rollout.target, Target::Firmware(_))
}

fn fits(artifact: &world::Artifact, hardware: &String) -> bool {
    artifact.hardware.is_empty() || !hardware.is_empty() && artifact.hardware.contains(hardware)
}

/// As one decision reads it.
fn plain_rollout(rollout: &Rollout, slots_taken: u32) -> world::Rollout {
    world::Rollout {
        id: rollout.id.clone(),
        salt: rollout.salt.clone(),
        target: rollout.target.clone(),
        state: rollout.state,
        waves: (rollout.waves.iter())
            .map(|wave| world::Wave {
                // The size matters first come alone; else only whether it is all.
                count: match wave.size {
                    Size::First(n) => Some(n),
                    Size::Share(_) => Some(0),
                    Size::All => None,
                },
                open: wave.opened.is_some(),
                threshold: wave.opened.and_then(|opened| opened.threshold),
            })
            .collect(),
        tail: rollout.tail,
        started_at: rollout.started_at.unwrap_or(0),
        first: rollout.first.clone(),
        excluded: rollout.excluded.clone(),
        first_come_taken: rollout.first_come.then_some(slots_taken),
    }
}
