//! A thread's share of the devices, and the quiet part of a tick: check-ins that are decided, and that nothing comes of.

use super::draw::{Luck, Purpose};
use super::wheel::Wheel;
use super::world::World;
use crate::check_in::CheckIn;
use crate::fleet::KeyHash;
use crate::index::{Reader, Timed};
use crate::time::Timestamp;
use crate::verdict::{Effect, Reason, Verdict};

/// How many check-ins are decided at once.
const BATCH: usize = 64;

/// A device as it is, whatever anybody knows of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) luck: Luck,
    /// Until when it may hold a claim or a lease, in milliseconds since the beginning: so long it is loud.
    pub(super) held_until: i64,
    /// Where its serial stands, and how long it is.
    pub(super) serial: (u32, u8),
    /// How often it asked, or would have.
    pub(super) asks: u32,
    /// How often it was offered something.
    pub(super) attempts: u32,
    /// The generation of runs in which the ledger knew that it had arrived; 0: none.
    pub(super) arrived: u32,
    pub(super) product: u32,
    pub(super) group: u32,
    /// What it runs.
    pub(super) version: u32,
    pub(super) hardware: u32,
    /// What it says of itself may be news.
    pub(super) news: bool,
}

/// What all shards read, and nobody writes while they do.
#[derive(Debug)]
pub(super) struct Common<'w> {
    pub(super) world: &'w World,
    pub(super) starts_at: Timestamp,
    /// Under which key the devices of each product ask.
    pub(super) keys: Vec<KeyHash>,
    /// Versions and hardware, each once; empty is number 0.
    pub(super) texts: Texts,
    /// Grows whenever another run is under way: what a ledger was known to know is asked anew.
    pub(super) generation: u32,
    /// A rollout is under way in which who comes first is in: by an empty ledger everybody would be.
    pub(super) first_come: bool,
    pub(super) records: bool,
}

/// Texts that many devices share, by number.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    all: Vec<Box<str>>,
    numbers: std::collections::HashMap<Box<str>, u32>,
}

impl Default for Texts {
    fn default() -> Self {
        let mut texts = Self { all: Vec::new(), numbers: std::collections::HashMap::new() };
        texts.number("");
        texts
    }
}

impl Texts {
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        // There are fewer than devices.
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    pub(super) fn number_of(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    pub(super) fn text(&self, number: u32) -> &str {
        self.all.get(number as usize).map_or("", |text| text)
    }
}

/// Counts of a shard, to be summed.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) bin_ms: i64,
    /// By the number of the reason.
    pub(super) reasons: Vec<u64>,
    pub(super) check_ins: Vec<u64>,
    pub(super) unanswered: Vec<u64>,
    pub(super) served: Vec<u64>,
    /// The seconds of the tick that goes on.
    pub(super) seconds: Vec<u32>,
}

impl Tally {
    pub(super) fn new(world: &World) -> Self {
        let bins = world.lasts_secs.div_ceil(world.bin().into()) as usize;
        let most = Reason::ALL.iter().map(|reason| reason.number()).max().unwrap_or(0);
        Self {
            bin_ms: i64::from(world.bin()) * 1_000,
            reasons: vec![0; usize::from(most) + 1],
            check_ins: vec![0; bins],
            unanswered: vec![0; bins],
            served: vec![0; bins],
            seconds: vec![0; world.tick_secs as usize],
        }
    }

    fn bin(&self, at: i64) -> usize {
        (at / self.bin_ms) as usize
    }

    /// Somebody asks, whether anybody hears it or not.
    pub(super) fn asked(&mut self, at: i64) {
        let second = (at / 1_000) as usize % self.seconds.len().max(1);
        if let Some(count) = self.seconds.get_mut(second) {
            *count += 1;
        }
    }

    pub(super) fn lost(&mut self, at: i64) {
        let bin = self.bin(at);
        if let Some(count) = self.unanswered.get_mut(bin) {
            *count += 1;
        }
    }

    pub(super) fn decided(&mut self, at: i64, reason: Reason) {
        let bin = self.bin(at);
        if let Some(count) = self.check_ins.get_mut(bin) {
            *count += 1;
        }
        if let Some(count) = self.reasons.get_mut(usize::from(reason.number())) {
            *count += 1;
        }
        if reason == Reason::Serve
            && let Some(count) = self.served.get_mut(bin)
        {
            *count += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let lists = [
            (&mut self.reasons, &other.reasons),
            (&mut self.check_ins, &other.check_ins),
            (&mut self.unanswered, &other.unanswered),
            (&mut self.served, &other.served),
        ];
        for (sum, list) in lists {
            sum.iter_mut().zip(list).for_each(|(sum, count)| *sum += count);
        }
    }
}

/// A check-in and what it was told, for who replays a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: i64,
    pub(super) device: u32,
    pub(super) version: u32,
    pub(super) hardware: u32,
    pub(super) reason: Reason,
    pub(super) retry_after_secs: Option<u32>,
    /// The firmware that is served.
    pub(super) firmware: Option<Box<str>>,
    /// Which of the loud deeds it is; 0: it was quiet.
    pub(super) nth: u64,
}

/// A thread's share.
#[derive(Debug)]
pub(super) struct Shard {
    /// The number of its first device is its own number; then every `of`-th.
    pub(super) number: u32,
    pub(super) of: u32,
    pub(super) rows: Vec<Row>,
    pub(super) serials: Vec<u8>,
    pub(super) wheel: Wheel,
    pub(super) tally: Tally,
    pub(super) reader: Reader,
    /// What must be done in order: when, and which device of the fleet.
    pub(super) loud: Vec<(i64, u32)>,
    pub(super) told: Vec<Told>,
    due: Vec<(u32, u32)>,
    kept: Vec<(i64, u32)>,
}

impl Shard {
    pub(super) fn new(number: u32, of: u32, world: &World, reader: Reader) -> Self {
        Self {
            number,
            of,
            rows: Vec::new(),
            serials: Vec::new(),
            wheel: Wheel::new(i64::from(world.tick_secs) * 1_000),
            tally: Tally::new(world),
            reader,
            loud: Vec::new(),
            told: Vec::new(),
            due: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Makes room, so that none is made in vain.
    pub(super) fn expect(&mut self, devices: usize, serials: usize) {
        self.rows.reserve_exact(devices);
        self.serials.reserve(serials);
    }

    /// One more device.
    pub(super) fn add(&mut self, row: Row, serial: &[u8]) {
        let from = self.serials.len() as u32;
        self.serials.extend_from_slice(serial);
        self.rows.push(Row { serial: (from, serial.len() as u8), ..row });
    }

    pub(super) fn serial(&self, row: &Row) -> &[u8] {
        let from = row.serial.0 as usize;
        self.serials.get(from..from + usize::from(row.serial.1)).unwrap_or_default()
    }

    /// Decides what is due in a tick before `to`, and leaves what is loud.
    pub(super) fn quiet(&mut self, common: &Common<'_>, tick: i64, to: i64) {
        let Self { number, of, rows, serials, wheel, tally, reader, loud, told, due, kept } = self;
        let tick_ms = i64::from(common.world.tick_secs) * 1_000;
        let base = tick * tick_ms;
        let device = |row: u32| row * *of + *number;
        let mut batch: Vec<(u32, i64)> = Vec::with_capacity(BATCH);
        let mut answers: Vec<Option<(Reason, Option<u32>)>> = Vec::with_capacity(BATCH);
        loop {
            wheel.take(tick, due);
            if due.is_empty() {
                break;
            }
            let mut coming = due.iter();
            loop {
                batch.clear();
                for &(row, offset) in coming.by_ref() {
                    let at = base + i64::from(offset);
                    if at >= to {
                        kept.push((at, row));
                        continue;
                    }
                    let Some(one) = rows.get_mut(row as usize) else { continue };
                    tally.asked(at);
                    if is_lost(common, one, at) {
                        tally.lost(at);
                        let next = at + interval(common.world, one, None);
                        wheel.put(next, row);
                    } else if one.news || at < one.held_until {
                        loud.push((at, device(row)));
                    } else {
                        batch.push((row, at));
                        if batch.len() == BATCH {
                            break;
                        }
                    }
                }
                if batch.is_empty() {
                    break;
                }
                answers.clear();
                let asks: Vec<Timed<'_>> = batch
                    .iter()
                    .filter_map(|(row, at)| timed(common, serials, rows.get(*row as usize)?, *at))
                    .collect();
                reader.decide_timed(&asks, |nth, decision| {
                    let arrived = batch.get(nth).and_then(|(row, _)| rows.get(*row as usize)).map(|row| row.arrived);
                    let quiet = match (&decision.verdict, &decision.effect) {
                        (Verdict::Serve(_), _) => false,
                        (_, None) => !common.first_come || !hangs_on_slots(decision.reason),
                        (_, Some(Effect::Seen(_))) => arrived == Some(common.generation),
                        (_, Some(_)) => false,
                    };
                    answers.push(quiet.then_some((decision.reason, decision.retry_after_secs)));
                });
                for ((row, at), answer) in batch.iter().zip(&answers) {
                    let Some((reason, retry_after_secs)) = *answer else {
                        loud.push((*at, device(*row)));
                        continue;
                    };
                    let Some(one) = rows.get_mut(*row as usize) else { continue };
                    tally.decided(*at, reason);
                    if common.records {
                        let (version, hardware) = (one.version, one.hardware);
                        let device = device(*row);
                        told.push(Told {
                            at: *at,
                            device,
                            version,
                            hardware,
                            reason,
                            retry_after_secs,
                            firmware: None,
                            nth: 0,
                        });
                    }
                    wheel.put(at + interval(common.world, one, retry_after_secs), *row);
                }
            }
        }
        for (at, row) in kept.drain(..) {
            wheel.put(at, row);
        }
    }
}

/// Whether a device might be told something else if the slots of its wave were taken: it was judged by a target that is not its own then. What is said of a device that is there
/// already, or that no open wave has, is said either way.
fn hangs_on_slots(reason: Reason) -> bool {
    use Reason::{Ahead, Hardware, NoArtifact, NoPath, VersionUnreadable, WindowShut};
    matches!(reason, Hardware | NoPath | NoArtifact | Ahead | VersionUnreadable | WindowShut)
}

/// The check-in that a device makes.
pub(super) fn timed<'a>(common: &'a Common<'_>, serials: &'a [u8], row: &Row, at: i64) -> Option<Timed<'a>> {
    let from = row.serial.0 as usize;
    let serial = serials.get(from..from + usize::from(row.serial.1))?;
    let ask = CheckIn {
        version: common.texts.text(row.version).as_bytes(),
        hardware: common.texts.text(row.hardware).as_bytes(),
        ..CheckIn::new(b"", serial)
    };
    let now = Timestamp::from_millis(common.starts_at.millis().saturating_add(at));
    Some(Timed { key: common.keys.get(row.product as usize)?, ask, now })
}

/// Whether a check-in comes to nothing.
pub(super) fn is_lost(common: &Common<'_>, row: &Row, at: i64) -> bool {
    let offline = row.luck.befalls(Purpose::Offline, row.asks.into(), common.world.offline.check_ins_bps);
    offline || common.world.out_until(at).is_some()
}

/// How long a device waits until it asks again, in milliseconds; it has asked once more.
pub(super) fn interval(world: &World, row: &mut Row, retry_after_secs: Option<u32>) -> i64 {
    let asks = row.asks;
    row.asks = asks.wrapping_add(1);
    let told = retry_after_secs.filter(|_| world.check_in.heeds_retry_after);
    let every = i64::from(told.unwrap_or(world.check_in.every_secs)).max(1) * 1_000;
    let jitter = u64::from(world.check_in.jitter_secs) * 1_000;
    // Up to a day and some, so it fits.
    let more = if jitter == 0 { 0 } else { row.luck.below(Purpose::Interval, asks.into(), jitter + 1) };
    every + more as i64
}
