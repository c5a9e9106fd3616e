//! The plain ledger: maps behind one lock. The twin of every other, and enough for one process.

use super::account::{self, Entry, FailedAt, PLACE_KEPT_SECS};
use super::ledger::{ClaimAsk, Claimed, Held, Ledger, Noted, Of, OfferAsk, Report, Tried};
use super::statistics::{Outcome, Outcomes, Statistics};
use crate::fleet::{GroupId, ProductId, Run, WAVES_MAX};
use crate::store::StandingRecord;
use crate::time::Timestamp;
use crate::verdict::ClaimRefused;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

/// A ledger in memory, behind one lock: about a microsecond a call with a million devices, and some 200 bytes for each that was offered something, until the
/// run is [forgotten](Ledger::forget); a place among the downloads a week longer. It goes with the process, unless its [`rows`](Self::rows) are kept.
///
/// ```
/// use otagate::rollout::{ClaimAsk, Ledger, MemoryLedger, Of, OfferAsk, Outcome};
/// use otagate::{GroupId, ProductId, RolloutId, Run, Timestamp};
/// let (product, group) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
/// let (rollout, now) = (RolloutId::new("r7").unwrap(), Timestamp::from_millis(0));
/// let run = Run { product: product.clone(), group: group.clone(), rollout, started_at: now };
/// let ledger = MemoryLedger::default();
/// let claim = |serial| {
///     let of = Of { product: &product, group: &group, serial, run: Some(&run) };
///     let offer = Some(OfferAsk { wave: 0, hop: "2.0", slots_max: Some(1), missing: None, after: None });
///     ledger.claim(&ClaimAsk { of, offer, downloads_max: None, until: now.plus_secs(3_600) }, now).unwrap()
/// };
/// assert!(claim("SN-1").is_ok());
/// assert!(claim("SN-2").is_err(), "the only slot is taken");
/// assert!(claim("SN-1").is_ok(), "who has a slot keeps it");
/// assert_eq!(ledger.statistics(&run, 0).unwrap().wave(0).at(Outcome::Offered), 1);
/// ```
#[derive(Debug, Default)]
pub struct MemoryLedger {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    runs: HashMap<Run, RunBook>,
    places: HashMap<ProductId, HashMap<GroupId, Places>>,
}

#[derive(Debug, Default)]
struct RunBook {
    devices: HashMap<Box<str>, Entry>,
    /// By wave and resumes.
    counts: BTreeMap<(u32, u32), Outcomes>,
    /// Each hop once: there are few.
    hops: Vec<Arc<str>>,
}

/// The places among a group's downloads, by who has them and by when they end.
#[derive(Debug, Default)]
struct Places {
    ends: HashMap<Box<str>, Timestamp>,
    /// Those that are live at `at`, and those that have ended.
    live: BTreeSet<(Timestamp, Box<str>)>,
    ended: BTreeSet<(Timestamp, Box<str>)>,
    at: Timestamp,
    /// When a place was taken last.
    taken_at: Option<Timestamp>,
}

impl Places {
    fn put(&mut self, serial: &str, end: Timestamp) {
        if let Some(before) = self.ends.insert(serial.into(), end) {
            let before = (before, serial.into());
            let _ = self.live.remove(&before) || self.ended.remove(&before);
        }
        let side = if self.at < end { &mut self.live } else { &mut self.ended };
        side.insert((end, serial.into()));
    }

    /// A place that ends later than `end` ends then.
    fn shorten(&mut self, serial: &str, end: Timestamp) {
        if self.ends.get(serial).is_some_and(|ends| *ends > end) {
            self.put(serial, end);
        }
    }

    /// How many are live. Each place changes sides once, unless a clock goes back.
    fn live(&mut self, now: Timestamp) -> u32 {
        self.at = now;
        while let Some(first) = self.live.pop_first() {
            if now < first.0 {
                self.live.insert(first);
                break;
            }
            self.ended.insert(first);
        }
        while let Some(last) = self.ended.pop_last() {
            if last.0 <= now {
                self.ended.insert(last);
                break;
            }
            self.live.insert(last);
        }
        u32::try_from(self.live.len()).unwrap_or(u32::MAX)
    }

    /// Forgets what lapsed long ago, by the earlier of two clocks: one that is ahead for a moment forgets nobody.
    fn sweep(&mut self, now: Timestamp) {
        let earlier = self.taken_at.replace(now).map_or(now, |before| before.min(now));
        let long_ago = earlier.plus_secs(-PLACE_KEPT_SECS);
        while let Some((end, serial)) = self.ended.pop_first() {
            if end >= long_ago {
                self.ended.insert((end, serial));
                return;
            }
            self.ends.remove(&serial);
        }
    }
}

impl RunBook {
    fn count(&mut self, entry: &Entry) -> &mut u64 {
        self.counts.entry((entry.wave, entry.resumes)).or_default().at_mut(entry.outcome)
    }

    fn shared(&mut self, hop: &str) -> Arc<str> {
        if let Some(known) = self.hops.iter().find(|known| ***known == *hop) {
            return known.clone();
        }
        let hop = Arc::<str>::from(hop);
        self.hops.push(hop.clone());
        hop
    }

    /// Puts an entry in the place of what was there.
    fn put(&mut self, serial: &str, entry: Entry) {
        *self.count(&entry) += 1;
        if let Some(before) = self.devices.insert(serial.into(), entry) {
            let count = self.count(&before);
            *count = count.saturating_sub(1);
        }
    }

    fn offer(&mut self, serial: &str, offer: &OfferAsk<'_>, until: Timestamp, now: Timestamp) -> Claimed {
        let hop = self.shared(offer.hop);
        let before = self.devices.get(serial);
        let Some(entry) = account::offered(before, offer, hop, until, now) else {
            return Claimed { attempt: before.map(|before| before.number), new: false };
        };
        let attempt = Some(entry.number);
        self.put(serial, entry);
        Claimed { attempt, new: true }
    }

    /// What was noted, and the end that it says for the claim and the place.
    fn note(&mut self, report: &Report, at: Timestamp) -> (Noted, Option<Timestamp>) {
        match account::noted(self.devices.get(&report.serial), report, at) {
            Err(noted) => (noted, None),
            Ok((noted, entry, end)) => {
                self.put(&report.serial, entry);
                (noted, end)
            }
        }
    }
}

impl Books {
    fn places(&mut self, of: &Of<'_>) -> Option<&mut Places> {
        self.places.get_mut(of.product)?.get_mut(of.group)
    }
}

impl Ledger for MemoryLedger {
    type Error = Infallible;

    fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, Infallible> {
        let books = &mut *self.books.lock();
        let (download_expires_at, downloads_now) =
            books.places(of).map_or((None, 0), |places| (places.ends.get(of.serial).copied(), places.live(now)));
        let run = of.run.and_then(|run| books.runs.get(run));
        let entry = run.and_then(|run| run.devices.get(of.serial));
        let standing = StandingRecord {
            download_expires_at,
            downloads_now,
            slots_taken: run.map_or(0, |run| u32::try_from(run.devices.len()).unwrap_or(u32::MAX)),
            ..account::standing(entry)
        };
        Ok(Held { standing, tried: entry.map(Entry::tried) })
    }

    fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Infallible> {
        let ClaimAsk { of, offer, downloads_max, until } = ask;
        let books = &mut *self.books.lock();
        let run = of.run.and_then(|run| books.runs.get(run));
        let entry = run.and_then(|run| run.devices.get(of.serial));
        if offer.as_ref().is_some_and(|offer| account::is_stale(entry, offer, now)) {
            return Ok(Ok(Claimed { attempt: None, new: false }));
        }
        let has_slot = run.is_some_and(|run| run.devices.contains_key(of.serial));
        let slots_taken = run.map_or(0, |run| run.devices.len() as u64);
        if of
            .run
            .and(*offer)
            .and_then(|offer| offer.slots_max)
            .is_some_and(|max| !has_slot && slots_taken >= u64::from(max))
        {
            return Ok(Err(ClaimRefused::Slots));
        }
        if let Some(max) = downloads_max {
            let places = books.places.entry(of.product.clone()).or_default().entry(of.group.clone()).or_default();
            let has_place = places.ends.get(of.serial).is_some_and(|end| now < *end);
            if !has_place {
                if places.live(now) >= *max {
                    return Ok(Err(ClaimRefused::Downloads));
                }
                places.sweep(now);
                places.put(of.serial, *until);
            }
        }
        let claimed = match (of.run, offer) {
            (Some(run), Some(offer)) => {
                let known = books.runs.contains_key(run);
                let book =
                    if known { books.runs.get_mut(run) } else { Some(books.runs.entry(run.clone()).or_default()) };
                book.map(|book| book.offer(of.serial, offer, *until, now))
            }
            _ => None,
        };
        Ok(Ok(claimed.unwrap_or(Claimed { attempt: None, new: false })))
    }

    fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, Infallible> {
        let books = &mut *self.books.lock();
        let Some(run) = books.runs.get_mut(&report.run) else { return Ok(Noted::Foreign) };
        let (noted, end) = run.note(report, at);
        let Run { product, group, .. } = &report.run;
        let places = books.places.get_mut(product).and_then(|groups| groups.get_mut(group));
        if let Some((places, end)) = places.zip(end) {
            places.shorten(&report.serial, end);
        }
        Ok(noted)
    }

    fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), Infallible> {
        let books = &mut *self.books.lock();
        let places = books.places.get_mut(of.product).and_then(|groups| groups.get_mut(of.group));
        if let Some(places) = places {
            places.shorten(of.serial, at);
        }
        Ok(())
    }

    fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, Infallible> {
        let books = self.books.lock();
        let mut statistics = Statistics::default();
        for (&(wave, with), counts) in books.runs.get(run).into_iter().flat_map(|run| &run.counts) {
            for outcome in Outcome::ALL {
                statistics.add(wave, with, outcome, counts.at(outcome), resumes);
            }
        }
        Ok(statistics)
    }

    fn forget(&self, run: &Run) -> Result<(), Infallible> {
        let forgotten = self.books.lock().runs.remove(run);
        // Others do not wait while millions of entries are dropped.
        drop(forgotten);
        Ok(())
    }
}

/// One device's account in a run, as a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerRow {
    /// The run.
    pub run: Run,
    /// The device's canonical serial.
    pub serial: Box<str>,
    /// Its latest attempt.
    pub tried: Tried,
    /// How many resumes the outcome came about with.
    pub resumes: u32,
    /// When its claim ends, or ended.
    pub claim_expires_at: Timestamp,
    /// Where earlier attempts failed: the hop, how often in a row, and until when the device waited, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_before: Option<(Box<str>, u32, Option<Timestamp>)>,
    /// Until when it waits, if this attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_until: Option<Timestamp>,
}

/// One place among a group's downloads, as a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceRow {
    /// The product.
    pub product: ProductId,
    /// The group.
    pub group: GroupId,
    /// The device's canonical serial.
    pub serial: Box<str>,
    /// When it ends, or ended.
    pub expires_at: Timestamp,
}

/// All that a ledger holds, as rows: to be kept over a restart, or taken elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerRows {
    /// By run and serial.
    pub attempts: Vec<LedgerRow>,
    /// By product, group and serial.
    pub places: Vec<PlaceRow>,
}

/// Why rows are no ledger's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerFault {
    /// A device stands twice in a run.
    #[error("{run}: device `{}` stands twice", .serial.escape_debug())]
    Twice {
        /// The run.
        run: Box<Run>,
        /// The device.
        serial: Box<str>,
    },
    /// A device has two places among its group's downloads.
    #[error("product `{product}`, group `{group}`: device `{}` has two places", .serial.escape_debug())]
    PlaceTwice {
        /// The product.
        product: ProductId,
        /// The group.
        group: GroupId,
        /// The device.
        serial: Box<str>,
    },
    /// An attempt that cannot be: no offers, more offers than attempts, or a wave that no rollout has.
    #[error("{run}: device `{}` has attempt {number}, {offers} offers at its hop, and wave {wave}", .serial.escape_debug())]
    Attempt {
        /// The run.
        run: Box<Run>,
        /// The device.
        serial: Box<str>,
        /// The number of its attempt.
        number: u32,
        /// The offers at its hop.
        offers: u32,
        /// The wave, counted from 0.
        wave: u32,
    },
}

impl MemoryLedger {
    /// All that it holds, as rows in order. `O(devices · log)`; nobody claims meanwhile.
    pub fn rows(&self) -> LedgerRows {
        let mut rows = LedgerRows::default();
        let books = self.books.lock();
        for (run, book) in &books.runs {
            rows.attempts.extend(book.devices.iter().map(|(serial, entry)| LedgerRow {
                run: run.clone(),
                serial: serial.clone(),
                tried: entry.tried(),
                resumes: entry.resumes,
                claim_expires_at: entry.claim_expires_at,
                failed_before: entry.before.as_ref().map(|failed| ((*failed.hop).into(), failed.times, failed.until)),
                waits_until: entry.waits_until,
            }));
        }
        for (product, groups) in &books.places {
            for (group, places) in groups {
                rows.places.extend(places.ends.iter().map(|(serial, expires_at)| PlaceRow {
                    product: product.clone(),
                    group: group.clone(),
                    serial: serial.clone(),
                    expires_at: *expires_at,
                }));
            }
        }
        drop(books);
        rows.attempts.sort_unstable_by(|a, b| (&a.run, &a.serial).cmp(&(&b.run, &b.serial)));
        rows.places.sort_unstable_by(|a, b| (&a.product, &a.group, &a.serial).cmp(&(&b.product, &b.group, &b.serial)));
        rows
    }

    /// The ledger that holds these rows.
    ///
    /// # Errors
    /// A device that stands twice in a run, or has an attempt that cannot be.
    pub fn of_rows(rows: LedgerRows) -> Result<Self, LedgerFault> {
        let mut books = Books::default();
        for LedgerRow { run, serial, tried, resumes, claim_expires_at, failed_before, waits_until } in rows.attempts {
            let Tried { number, wave, hop, offers, first_offered_at, outcome } = tried;
            if offers == 0 || offers > number || wave as usize >= WAVES_MAX {
                return Err(LedgerFault::Attempt { run: Box::new(run), serial, number, offers, wave });
            }
            let book = books.runs.entry(run.clone()).or_default();
            if book.devices.contains_key(&serial) {
                return Err(LedgerFault::Twice { run: Box::new(run), serial });
            }
            let failed =
                |(hop, times, until): (Box<str>, _, _)| Box::new(FailedAt { hop: book.shared(&hop), times, until });
            let before = failed_before.map(failed);
            let hop = book.shared(&hop);
            let entry = Entry {
                number,
                wave,
                hop,
                offers,
                first_offered_at,
                outcome,
                resumes,
                claim_expires_at,
                before,
                waits_until,
            };
            book.put(&serial, entry);
        }
        for PlaceRow { product, group, serial, expires_at } in rows.places {
            let places = books.places.entry(product.clone()).or_default().entry(group.clone()).or_default();
            if places.ends.contains_key(&serial) {
                return Err(LedgerFault::PlaceTwice { product, group, serial });
            }
            places.put(&serial, expires_at);
        }
        Ok(Self { books: Mutex::new(books) })
    }
}
