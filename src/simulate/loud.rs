//! What changes something: offers, downloads, installations and failures, one after the other in the order of (time, device), through the same books as a gateway's.

use super::draw::Purpose;
use super::shard::{Common, Row, Shard, Tally, Told, interval, is_lost, timed};
use super::track::Tracks;
use super::world::{Failure, How, World};
use super::{Happening, What};
use crate::decide::trace::NoTrace;
use crate::fleet::Change;
use crate::index::{Index, IndexView};
use crate::rollout::{Books, Ends, Ledger, MemoryLedger, Outcome};
use crate::store::{Store, fetch_known};
use crate::time::Timestamp;
use crate::verdict::{Effect, Verdict};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// What a device does, in the order in which it does so at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// The last byte has come.
    Downloaded,
    /// The installation is over, well or not.
    Installed,
    /// It runs the old version again.
    FellBack,
    /// It asks, and was counted as asking.
    CheckIn,
    /// It asks.
    Ask,
}

/// An offer that is being taken.
#[derive(Debug)]
struct Flight {
    ends: Option<Ends>,
    version: u32,
    /// The rollout on whose account it is, by its number among the tracks.
    track: Option<usize>,
    fate: Option<(How, Option<u64>)>,
}

/// What is to come, and what it comes to.
#[derive(Debug)]
pub(super) struct Loud {
    heap: BinaryHeap<Reverse<(i64, u32, Deed)>>,
    flights: HashMap<u32, Flight>,
    /// Who will fall back and when, from what to what, and on whose account.
    falls: HashMap<(u32, i64), (u32, u32, Option<usize>)>,
    seen: Vec<Change>,
    pub(super) tally: Tally,
    pub(super) told: Vec<Told>,
    /// Besides check-ins.
    pub(super) done: Vec<(i64, u32, u64, Happening)>,
    /// How many deeds there were, so that those of one device at one moment stay in order.
    deeds: u64,
    pub(super) downloads: u64,
    /// By bin.
    pub(super) bytes: Vec<u64>,
}

/// What a tick's work is done with.
struct At<'a, 'w> {
    index: &'a Index,
    view: IndexView,
    books: &'a Books<MemoryLedger>,
    common: &'a mut Common<'w>,
    shards: &'a mut [Shard],
    tracks: &'a mut Tracks,
    to: i64,
}

impl Loud {
    pub(super) fn new(world: &World) -> Self {
        let tally = Tally::new(world);
        Self {
            heap: BinaryHeap::new(),
            flights: HashMap::new(),
            falls: HashMap::new(),
            seen: Vec::new(),
            bytes: vec![0; tally.check_ins.len()],
            tally,
            told: Vec::new(),
            done: Vec::new(),
            deeds: 0,
            downloads: 0,
        }
    }

    pub(super) fn put(&mut self, at: i64, device: u32, deed: Deed) {
        self.heap.push(Reverse((at, device, deed)));
    }

    /// Everything that comes before `to`, in order; then what devices said of themselves is taken down, since only a census asks for it.
    pub(super) fn carry_out(
        &mut self,
        to: i64,
        index: &Index,
        books: &Books<MemoryLedger>,
        common: &mut Common<'_>,
        shards: &mut [Shard],
        tracks: &mut Tracks,
    ) {
        // Nothing that a decision reads of the fleet changes within a tick but who registers, and that is told from the newest.
        let Ok(view) = index.view();
        let mut at = At { index, view, books, common, shards, tracks, to };
        while let Some(Reverse((when, device, deed))) = self.heap.peek().copied().filter(|first| first.0.0 < to) {
            self.heap.pop();
            at.tracks.roll(when);
            self.deeds += 1;
            match deed {
                Deed::CheckIn => self.check_in(&mut at, when, device),
                Deed::Ask => self.ask(&mut at, when, device),
                Deed::Downloaded => self.downloaded(&mut at, when, device),
                Deed::Installed => self.installed(&mut at, when, device),
                Deed::FellBack => self.fell_back(&mut at, when, device),
            }
        }
        if !self.seen.is_empty() {
            // A device that an operator removed meanwhile was not seen; the others are, one by one.
            if index.apply(&self.seen).is_err() {
                for change in &self.seen {
                    let _ = index.apply(std::slice::from_ref(change));
                }
            }
            self.seen.clear();
        }
    }

    fn ask(&mut self, at: &mut At<'_, '_>, when: i64, device: u32) {
        self.tally.asked(when);
        let lost = at.row(device).is_some_and(|(row, common)| is_lost(common, row, when));
        if lost {
            self.tally.lost(when);
            return self.ask_again(at, when, device, None);
        }
        self.check_in(at, when, device);
    }

    /// When it asks the next time, by the rhythm that it has.
    fn ask_again(&mut self, at: &mut At<'_, '_>, when: i64, device: u32, retry_after_secs: Option<u32>) {
        let world = at.common.world;
        let Some((row, _)) = at.row(device) else { return };
        let next = when + interval(world, row, retry_after_secs);
        self.ask_at(at, next, device);
    }

    fn ask_at(&mut self, at: &mut At<'_, '_>, when: i64, device: u32) {
        if when < at.to {
            return self.put(when, device, Deed::Ask);
        }
        let of = at.shards.len() as u32;
        if let Some(shard) = at.shards.get_mut((device % of) as usize) {
            shard.wheel.put(when, device / of);
        }
    }

    fn check_in(&mut self, at: &mut At<'_, '_>, when: i64, device: u32) {
        let of = at.shards.len() as u32;
        let world = at.common.world;
        let Some(shard) = at.shards.get_mut((device % of) as usize) else { return };
        let Shard { rows, serials, .. } = shard;
        let Some(row) = rows.get_mut((device / of) as usize) else { return };
        let Some(timed) = timed(at.common, serials, row, when) else { return };
        let now = timed.now;
        let Ok(mut found) = fetch_known(&at.view, timed.key, &timed.ask) else { return };
        let until = now.plus_secs(world.lease_secs.into());
        let Ok(attended) = at.books.attend(&mut found, &timed.ask, until, now, &mut NoTrace);
        let decision = &attended.decision;
        self.tally.decided(when, decision.reason);
        let offer = decision.firmware_offer();
        if at.common.records {
            self.told.push(Told {
                at: when,
                device,
                version: row.version,
                hardware: row.hardware,
                reason: decision.reason,
                retry_after_secs: decision.retry_after_secs,
                firmware: offer.map(|offer| offer.firmware.version().text().into()),
                nth: self.deeds,
            });
        }
        match &decision.effect {
            Some(Effect::Register(product)) => {
                if let Ok(serial) = product.read_serial(timed.ask.serial) {
                    at.index.register(product.id(), &serial, now);
                }
            }
            // What the ledger does not know yet is noted, and what it never offered is none of its business.
            Some(Effect::Seen(_)) => {
                if let Some(report) = &attended.seen {
                    let Ok(_) = at.books.ledger.note(report, now);
                }
                row.arrived = at.common.generation;
            }
            _ => {}
        }
        self.seen.extend(attended.found.reported(&timed.ask));
        row.news = false;
        let (retry_after_secs, served) = (decision.retry_after_secs, matches!(decision.verdict, Verdict::Serve(_)));
        if let Some((_, device)) = attended.found.identity() {
            row.group = at.common.texts.number_of(device.group().as_str()).unwrap_or(row.group);
        }
        let flight = offer.filter(|_| served).map(|offer| {
            let track = attended.attempt_served().and_then(|attempt| at.tracks.number(&attempt.run));
            let version = offer.firmware.version().text().to_owned();
            (version, offer.artifact.size_bytes(), attended.ends(world.grace_secs), track)
        });
        let Some((version, size_bytes, ends, track)) = flight else {
            return self.ask_again(at, when, device, retry_after_secs);
        };
        row.held_until = when + i64::from(world.lease_secs) * 1_000;
        row.attempts = row.attempts.wrapping_add(1);
        // The next time that it asks it has other luck.
        row.asks = row.asks.wrapping_add(1);
        row.arrived = 0;
        let attempt = u64::from(row.attempts);
        let per_sec = world.download_bytes_per_sec.at(row.luck.draw(Purpose::Download, attempt)).max(1);
        let took = (u128::from(size_bytes) * 1_000).div_ceil(per_sec.into());
        let took = i64::try_from(took).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        let luck = row.luck;
        let meant = at.common.texts.number(&version);
        let fate = self::fate(at.common, row, &version, attempt, &at.tracks.products);
        let fate = fate.map(|(nth, failure)| {
            let after =
                failure.after_secs.map(|spread| spread.at(luck.draw(Purpose::Failure, attempt << 16 | 0x8000 | nth)));
            (failure.how, after)
        });
        self.downloads += 1;
        self.spread(when, took, size_bytes, super::run::millis(world.lasts_secs));
        self.flights.insert(device, Flight { ends, version: meant, track, fate });
        self.put(when + took, device, Deed::Downloaded);
    }

    /// A download's bytes, evenly over its time, to the bins that it falls into.
    fn spread(&mut self, from: i64, took: i64, bytes: u64, ends_at: i64) {
        let bin_ms = self.tally.bin_ms.max(1);
        let until = |end: i64| {
            let part = i128::from((end - from).clamp(0, took));
            if took == 0 { bytes } else { (i128::from(bytes) * part / i128::from(took)) as u64 }
        };
        let (mut bin, mut sent) = (from / bin_ms, 0);
        while sent < bytes {
            let Some(count) = self.bytes.get_mut(bin as usize) else { return };
            // The last bin may be cut: what comes after the end is not told.
            let so_far = until(((bin + 1) * bin_ms).min(ends_at));
            *count += so_far - sent;
            sent = so_far;
            bin += 1;
        }
    }

    fn downloaded(&mut self, at: &mut At<'_, '_>, when: i64, device: u32) {
        if let Some(back) = at.common.world.out_until(when) {
            return self.put(back, device, Deed::Downloaded);
        }
        let Some(flight) = self.flights.get_mut(&device) else { return };
        let now = at.time(when);
        if let Some(ends) = flight.ends.take() {
            let Ok(_) = ends.carry_out(&at.books.leases, &at.books.ledger, now);
        }
        let grace = i64::from(at.common.world.grace_secs) * 1_000;
        let install = at.common.world.install_secs;
        let Some((row, _)) = at.row(device) else { return };
        row.held_until = row.held_until.min(when + grace);
        let secs = install.at(row.luck.draw(Purpose::Install, row.attempts.into()));
        self.record(at, when, device, What::Downloaded);
        self.put(when.saturating_add(super::run::millis(secs)), device, Deed::Installed);
    }

    fn installed(&mut self, at: &mut At<'_, '_>, when: i64, device: u32) {
        let fate = self.flights.get(&device).and_then(|flight| flight.fate);
        if let (Some((How::Fails, _)), Some(back)) = (fate, at.common.world.out_until(when)) {
            return self.put(back, device, Deed::Installed);
        }
        let Some(Flight { version, track, .. }) = self.flights.remove(&device) else { return };
        match fate.map(|(how, _)| how) {
            None | Some(How::FallsBack) => {
                let Some((row, _)) = at.row(device) else { return };
                let before = std::mem::replace(&mut row.version, version);
                row.news = true;
                let (product, group) = (row.product, row.group);
                at.tracks.moved(product, group, (before, version), at.common, when);
                if let Some((How::FallsBack, after)) = fate {
                    let falls_at = when.saturating_add(super::run::millis(after.unwrap_or(0)));
                    self.falls.insert((device, falls_at), (version, before, track));
                    self.put(falls_at, device, Deed::FellBack);
                }
                if at.common.world.asks_after_install {
                    return self.ask_at(at, when, device);
                }
            }
            Some(How::Dies) => return at.tracks.harmed(track, device),
            Some(How::Silent) => at.tracks.harmed(track, device),
            Some(How::Fails) => {
                at.tracks.harmed(track, device);
                let of = at.shards.len() as u32;
                let shard = at.shards.get((device % of) as usize);
                let row = shard.and_then(|shard| Some((shard, shard.rows.get((device / of) as usize)?)));
                let timed = row.and_then(|(shard, row)| timed(at.common, &shard.serials, row, when));
                if let Some(timed) = timed
                    && let Ok(found) = fetch_known(&at.view, timed.key, &timed.ask)
                {
                    // A device whose key has ended meanwhile tells nobody.
                    let Ok(_) = at.books.note_of_device(&found, &timed.ask, Outcome::Failed, timed.now);
                }
                self.record(at, when, device, What::Failed);
            }
        }
        self.ask_again(at, when, device, None);
    }

    fn fell_back(&mut self, at: &mut At<'_, '_>, when: i64, device: u32) {
        let Some((from, to, track)) = self.falls.remove(&(device, when)) else { return };
        let Some((row, _)) = at.row(device) else { return };
        if row.version != from {
            return;
        }
        row.version = to;
        row.news = true;
        row.arrived = 0;
        let (product, group) = (row.product, row.group);
        at.tracks.moved(product, group, (from, to), at.common, when);
        at.tracks.harmed(track, device);
    }

    fn record(&mut self, at: &At<'_, '_>, when: i64, device: u32, what: What) {
        if !at.common.records {
            return;
        }
        let of = at.shards.len() as u32;
        let Some(shard) = at.shards.get((device % of) as usize) else { return };
        let Some(row) = shard.rows.get((device / of) as usize) else { return };
        let Some(product) = at.tracks.products.get(row.product as usize) else { return };
        let serial = String::from_utf8_lossy(shard.serial(row)).into_owned();
        self.done.push((
            when,
            device,
            self.deeds,
            Happening { at: at.time(when), product: product.clone(), serial, what },
        ));
    }
}

impl<'w> At<'_, 'w> {
    fn row(&mut self, device: u32) -> Option<(&mut Row, &Common<'w>)> {
        let of = self.shards.len() as u32;
        let shard = self.shards.get_mut((device % of) as usize)?;
        Some((shard.rows.get_mut((device / of) as usize)?, self.common))
    }

    fn time(&self, at: i64) -> Timestamp {
        Timestamp::from_millis(self.common.starts_at.millis().saturating_add(at))
    }
}

/// The rule that befalls an installation, and its number.
fn fate<'w>(
    common: &Common<'w>,
    row: &Row,
    version: &str,
    attempt: u64,
    products: &[crate::fleet::ProductId],
) -> Option<(u64, &'w Failure)> {
    let is = |named: &Option<String>, is: &str| named.as_deref().is_none_or(|named| named == is);
    let product = products.get(row.product as usize).map_or("", |product| product.as_str());
    let mut rules = (0..).zip(&common.world.failures);
    rules.find(|(nth, rule)| {
        is(&rule.version, version)
            && is(&rule.from, common.texts.text(row.version))
            && is(&rule.product, product)
            && is(&rule.group, common.texts.text(row.group))
            && is(&rule.hardware, common.texts.text(row.hardware))
            && row.luck.befalls(Purpose::Failure, attempt << 16 | nth, rule.share_bps)
    })
}
