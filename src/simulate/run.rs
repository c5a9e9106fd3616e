//! One run: from tick to tick. Between ticks what operators and the conductor do; in a tick first what is quiet, on all threads, then what is loud, in order.

use super::course::{Course, Event, Load};
use super::draw::{Luck, Purpose};
use super::loud::{Deed, Loud};
use super::plan::Plan;
use super::population::Population;
use super::shard::{Common, Shard, Tally, Told};
use super::track::Tracks;
use super::world::{Action, First, World};
use super::{Fault, Happening};
use crate::fleet::{Change, DeviceSpec, DeviceState, ProductId};
use crate::index::Index;
use crate::rollout::{Books, Conductor, MemoryLedger, MoveOutcome, Moved};
use crate::time::Timestamp;
use crate::verdict::Reason;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// So few check-ins of a tick are decided on one thread: starting others would take longer.
const FEW: usize = 4_096;

/// What a run is made of.
pub(super) struct Setting<'a> {
    pub(super) index: &'a Index,
    pub(super) population: &'a Population,
    pub(super) world: &'a World,
    pub(super) starts_at: Timestamp,
    pub(super) threads: usize,
    /// Told the milliseconds that have gone by.
    pub(super) progress: &'a (dyn Fn(u64) + Sync),
}

/// Runs a plan with a seed; where `records` says so, with all that happened.
pub(super) fn run(
    setting: &Setting<'_>,
    plan: &Plan,
    seed: u64,
    records: bool,
) -> Result<(Course, Vec<Happening>), Fault> {
    let world = setting.world;
    let index = setting.index.fork();
    let refused = |problems| Fault::Plan { plan: plan.name.clone(), problems };
    index.apply(&plan.changes).map_err(refused)?;
    let mut run = Run::new(setting, plan, seed, &index, records);
    let (tick_ms, end) = (i64::from(world.tick_secs) * 1_000, millis(world.lasts_secs));
    let mut actions: Vec<&Action> = plan.actions.iter().chain(&world.actions).collect();
    actions.sort_by_key(|action| action.at_secs);
    let mut actions = actions.into_iter().peekable();
    let mut happened = Vec::new();
    let mut from = 0;
    while from < end {
        let mut acted = false;
        while let Some(action) = actions.next_if(|action| millis(action.at_secs) <= from) {
            run.act(action, from);
            acted = true;
        }
        if from % tick_ms == 0 {
            run.join(from);
            run.outages(from);
            if world.out_until(from).is_none() {
                run.conduct(from);
            }
        } else if acted {
            run.tracks.look(&run.index, &mut run.common, &run.shards, from);
        }
        let tick = from.div_euclid(tick_ms);
        let next_action = actions.peek().map_or(end, |action| millis(action.at_secs).max(from + 1));
        let to = ((tick + 1) * tick_ms).min(end).min(next_action);
        run.quiet(tick, to);
        run.loud(to);
        if records {
            run.hand_over(&mut happened);
        }
        if to % tick_ms == 0 || to == end {
            run.end_tick(tick, tick_ms);
        }
        from = to;
        (setting.progress)(u64::try_from(to).unwrap_or(0));
    }
    Ok((run.finish(end), happened))
}

pub(super) fn millis(secs: u64) -> i64 {
    i64::try_from(secs.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

struct Run<'a> {
    setting: &'a Setting<'a>,
    plan: &'a Plan,
    seed: u64,
    index: Index,
    books: Books<MemoryLedger>,
    common: Common<'a>,
    shards: Vec<Shard>,
    loud: Loud,
    tracks: Tracks,
    events: Vec<Event>,
    /// Steps that are due and cannot be done: told once, not every minute.
    not_done: HashMap<(String, String), String>,
    joined: Vec<u32>,
    peak: u32,
    out: bool,
}

impl<'a> Run<'a> {
    fn new(setting: &'a Setting<'a>, plan: &'a Plan, seed: u64, index: &Index, records: bool) -> Self {
        let (world, population) = (setting.world, setting.population);
        let of = u32::try_from(setting.threads.max(1)).unwrap_or(1);
        let mut shards: Vec<Shard> =
            (0..of).map(|number| Shard::new(number, of, world, index.reader().uncounted())).collect();
        let (each, text) = (population.len().div_ceil(of as usize), population.serials_len().div_ceil(of as usize));
        shards.iter_mut().for_each(|shard| shard.expect(each, text));
        let every = u64::from(world.check_in.every_secs) * 1_000;
        for (at, (row, serial)) in population.rows().enumerate() {
            let shard = &mut shards[at % of as usize];
            let luck = Luck::of(seed, row.luck.0);
            if !luck.befalls(Purpose::Away, 0, world.offline.devices_bps) {
                let first = match world.check_in.first {
                    First::Scattered => luck.below(Purpose::First, 0, every),
                    First::Even => (u128::from(every) * at as u128 / population.len().max(1) as u128) as u64,
                    First::Together => 0,
                };
                shard.wheel.put(i64::try_from(first).unwrap_or(0), shard.rows.len() as u32);
            }
            shard.add(super::shard::Row { luck, ..row.clone() }, serial);
        }
        let common = Common {
            world,
            starts_at: setting.starts_at,
            keys: population.keys.clone(),
            texts: population.texts.clone(),
            generation: 1,
            first_come: false,
            records,
        };
        Self {
            setting,
            plan,
            seed,
            books: Books::new(MemoryLedger::default(), population.len() + 1),
            common,
            shards,
            loud: Loud::new(world),
            tracks: Tracks::new(world, population),
            events: Vec::new(),
            not_done: HashMap::new(),
            joined: vec![0; world.joiners.len()],
            peak: 0,
            out: false,
            index: index.clone(),
        }
    }

    fn at(&self, at: i64) -> Timestamp {
        Timestamp::from_millis(self.setting.starts_at.millis().saturating_add(at))
    }

    fn event(&mut self, at: i64, kind: &str, wave: Option<usize>, line: String) {
        let at = self.at(at);
        self.events.push(Event { at, kind: kind.to_owned(), wave, line });
    }

    /// What an operator does.
    fn act(&mut self, action: &Action, at: i64) {
        let what = if action.what.is_empty() { "an operator's changes" } else { &action.what };
        let line = match self.index.apply(&action.changes) {
            Ok(_) => what.to_owned(),
            Err(problems) => format!("{what}: refused: {problems}"),
        };
        self.event(at, "action", None, line);
    }

    /// Devices that have come since the last tick.
    fn join(&mut self, at: i64) {
        let world = self.setting.world;
        let mut changes = Vec::new();
        let mut fresh = Vec::new();
        let mut before = 0_u64;
        for (nth, joiners) in world.joiners.iter().enumerate() {
            let from = millis(joiners.from_secs);
            // The k-th of n comes k/n of the time after the first.
            let due = |k: u32| {
                from + (i128::from(millis(joiners.over_secs)) * i128::from(k) / i128::from(joiners.devices.max(1)))
                    as i64
            };
            let mut came = 0_u32;
            while self.joined[nth] < joiners.devices && due(self.joined[nth]) <= at {
                let serial = format!("{:012}", 999_999_999_999 - before - u64::from(self.joined[nth]));
                self.joined[nth] += 1;
                came += 1;
                let device = DeviceSpec {
                    serial: serial.clone(),
                    state: DeviceState::Verified,
                    group: joiners.group.clone(),
                    entered_at: self.at(at),
                    version: joiners.version.clone(),
                    hardware: joiners.hardware.clone(),
                    ..DeviceSpec::default()
                };
                fresh.push((nth, serial));
                if let Ok(product) = ProductId::new(&joiners.product) {
                    changes.push(Change::PutDevice { product, device });
                }
            }
            before += u64::from(joiners.devices);
            if came > 0 {
                let line = format!("{came} devices join group `{}` of product `{}`", joiners.group, joiners.product);
                self.event(at, "joined", None, line);
            }
        }
        if changes.is_empty() {
            return;
        }
        if let Err(problems) = self.index.apply(&changes) {
            self.event(at, "not-done", None, format!("devices could not join: {problems}"));
            return;
        }
        for (nth, serial) in fresh {
            let joiners = &world.joiners[nth];
            let Some(product) = self.setting.population.product_number(&joiners.product) else { continue };
            let number = self.shards.iter().map(|shard| shard.rows.len()).sum::<usize>();
            let of = self.shards.len();
            let shard = &mut self.shards[number % of];
            let luck = Luck::of(self.seed, Population::identity(&joiners.product, &serial));
            let row = super::shard::Row {
                luck,
                product,
                group: self.common.texts.number(&joiners.group),
                version: self.common.texts.number(joiners.version.as_deref().unwrap_or_default()),
                hardware: self.common.texts.number(joiners.hardware.as_deref().unwrap_or_default()),
                ..Default::default()
            };
            shard.wheel.put(at, shard.rows.len() as u32);
            shard.add(row, serial.as_bytes());
        }
    }

    fn outages(&mut self, at: i64) {
        let out = self.setting.world.out_until(at).is_some();
        if out != self.out {
            let (kind, line) =
                if out { ("outage", "the gateway is out") } else { ("outage-ends", "the gateway is back") };
            self.event(at, kind, None, line.to_owned());
            self.out = out;
        }
    }

    /// What rollouts do by themselves.
    fn conduct(&mut self, at: i64) {
        let now = self.at(at);
        self.tracks.look(&self.index, &mut self.common, &self.shards, at);
        let Ok(moved) = Conductor::new(&self.index, &self.books.ledger).advance(now);
        for moved in moved {
            self.note(&moved, at);
        }
        self.tracks.look(&self.index, &mut self.common, &self.shards, at);
    }

    fn note(&mut self, moved: &Moved, at: i64) {
        use crate::rollout::Transition;
        let whom = (moved.product.to_string(), moved.group.to_string());
        if !matches!(moved.outcome, MoveOutcome::Done(..)) {
            let line = moved.to_string();
            if self.not_done.insert(whom, line.clone()).as_ref() != Some(&line) {
                self.event(at, "not-done", None, line);
            }
            return;
        }
        self.not_done.remove(&whom);
        self.tracks.note(moved, self.at(at));
        let (kind, wave) = match moved.transition {
            Transition::OpenWave { wave, .. } => ("open-wave", Some(wave)),
            Transition::Halt { .. } => ("halt", None),
            Transition::Complete { .. } => ("complete", None),
        };
        // The revision says nothing to who reads a course.
        let line = moved.to_string();
        let line = line.rsplit_once(" (").map_or(line.as_str(), |(line, _)| line).to_owned();
        self.event(at, kind, wave, line);
    }

    fn quiet(&mut self, tick: i64, to: i64) {
        let common = &self.common;
        let few = self.setting.population.len()
            / (self.setting.world.check_in.every_secs / self.setting.world.tick_secs).max(1) as usize
            <= FEW;
        if few || self.shards.len() == 1 {
            self.shards.iter_mut().for_each(|shard| shard.quiet(common, tick, to));
            return;
        }
        std::thread::scope(|scope| {
            let mut shards = self.shards.iter_mut();
            let first = shards.next();
            for shard in shards {
                scope.spawn(move || shard.quiet(common, tick, to));
            }
            first.into_iter().for_each(|shard| shard.quiet(common, tick, to));
        });
    }

    fn loud(&mut self, to: i64) {
        for shard in &mut self.shards {
            for (at, device) in shard.loud.drain(..) {
                self.loud.put(at, device, Deed::CheckIn);
            }
        }
        self.loud.carry_out(to, &self.index, &self.books, &mut self.common, &mut self.shards, &mut self.tracks);
    }

    fn end_tick(&mut self, tick: i64, tick_ms: i64) {
        let seconds = self.setting.world.tick_secs as usize;
        for second in 0..seconds {
            let counts = self.shards.iter().map(|shard| &shard.tally).chain([&self.loud.tally]);
            self.peak = self.peak.max(counts.filter_map(|tally| tally.seconds.get(second)).sum());
        }
        for tally in self.shards.iter_mut().map(|shard| &mut shard.tally).chain([&mut self.loud.tally]) {
            tally.seconds.fill(0);
        }
        self.tracks.roll((tick + 1) * tick_ms);
        // Whoever is offered something leaves a lease behind, of which a fleet would fill the memory.
        self.books.leases.drop_expired(self.at((tick + 1) * tick_ms));
    }

    /// What happened in a tick, in its order.
    fn hand_over(&mut self, into: &mut Vec<Happening>) {
        let mut told: Vec<Told> = self.shards.iter_mut().flat_map(|shard| shard.told.drain(..)).collect();
        told.append(&mut self.loud.told);
        let mut all: Vec<(i64, u32, u64, Happening)> = Vec::new();
        for one in told {
            let happening = Happening::told(&one, &self.common, &self.shards, &self.setting.population.products);
            all.extend(happening.map(|happening| (one.at, one.device, one.nth, happening)));
        }
        all.append(&mut self.loud.done);
        all.sort_by_key(|(at, device, nth, _)| (*at, *device, *nth));
        into.extend(all.into_iter().map(|(.., happening)| happening));
    }

    fn finish(mut self, end: i64) -> Course {
        self.tracks.roll_to_the_end(end);
        let world = self.setting.world;
        let mut tally = Tally::new(world);
        self.shards.iter().map(|shard| &shard.tally).chain([&self.loud.tally]).for_each(|part| tally.add(part));
        let named = |reason: &Reason| {
            let count = tally.reasons.get(usize::from(reason.number())).copied().filter(|count| *count > 0)?;
            Some((reason.name().to_owned(), count))
        };
        let bytes_in = std::mem::take(&mut self.loud.bytes);
        let bin = u64::from(world.bin());
        let last = world.lasts_secs - (bytes_in.len() as u64).saturating_sub(1) * bin;
        let per_sec = |(at, bytes): (usize, &u64)| bytes / if at + 1 == bytes_in.len() { last.max(1) } else { bin };
        Course {
            plan: self.plan.name.clone(),
            seed: self.seed,
            starts_at: self.setting.starts_at,
            ends_at: self.at(end),
            devices: self.shards.iter().map(|shard| shard.rows.len() as u64).sum(),
            check_ins: tally.check_ins.iter().sum(),
            unanswered: tally.unanswered.iter().sum(),
            verdicts: Reason::ALL.iter().filter_map(named).collect::<BTreeMap<_, _>>(),
            downloads: self.loud.downloads,
            bytes: bytes_in.iter().sum(),
            peak_check_ins_per_sec: self.peak,
            peak_bytes_per_sec: bytes_in.iter().enumerate().map(per_sec).max().unwrap_or(0),
            rollouts: self.tracks.finish(&self.index, &self.books.ledger),
            events: self.events,
            load: Load {
                bin_secs: world.bin(),
                check_ins: tally.check_ins,
                unanswered: tally.unanswered,
                served: tally.served,
                bytes: bytes_in,
            },
        }
    }
}

/// So that a setting can be shared by threads.
const _: fn() = || {
    fn shared<T: Sync>() {}
    shared::<Arc<Population>>();
};
