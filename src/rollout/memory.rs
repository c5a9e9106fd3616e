//! The plain ledger: maps behind one lock. The twin of every other, and enough for one process.

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

/// A place that lapsed so long ago is forgotten. Long, because a clock may be set back.
const PLACE_KEPT_SECS: i64 = 7 * 86_400;

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

/// One device's account in a run.
#[derive(Clone, Debug)]
struct Entry {
    number: u32,
    wave: u32,
    hop: Arc<str>,
    offers: u32,
    first_offered_at: Timestamp,
    outcome: Outcome,
    /// How many resumes the outcome came about with.
    resumes: u32,
    claim_expires_at: Timestamp,
    /// Where earlier attempts failed.
    before: Option<Box<FailedAt>>,
    /// Until when it waits, if this attempt is one that failed.
    waits_until: Option<Timestamp>,
}

/// Where a device failed last, how often in a row, and until when it waits.
#[derive(Clone, Debug)]
struct FailedAt {
    hop: Arc<str>,
    times: u32,
    /// None, where a failure is no reason to wait.
    until: Option<Timestamp>,
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
        let entry = match self.devices.get(serial) {
            None => Entry {
                number: 1,
                // No rollout has more waves.
                wave: offer.wave.min(WAVES_MAX as u32 - 1),
                hop,
                offers: 1,
                first_offered_at: now,
                outcome: Outcome::Offered,
                resumes: 0,
                claim_expires_at: until,
                before: None,
                waits_until: None,
            },
            Some(before) if now < before.claim_expires_at && before.hop == hop => {
                return Claimed { attempt: Some(before.number), new: false };
            }
            Some(before) => {
                let (outcome, resumes) =
                    offer.missing.map_or((Outcome::Offered, 0), |resumes| (Outcome::Missing, resumes));
                let again = before.hop == hop;
                Entry {
                    number: before.number.saturating_add(1),
                    wave: before.wave,
                    hop,
                    offers: if again { before.offers.saturating_add(1) } else { 1 },
                    first_offered_at: if again { before.first_offered_at } else { now },
                    outcome,
                    resumes,
                    claim_expires_at: until,
                    before: before.failed().map(Box::new),
                    waits_until: None,
                }
            }
        };
        let attempt = Some(entry.number);
        self.put(serial, entry);
        Claimed { attempt, new: true }
    }

    /// What was noted, and the end that it says for the claim and the place.
    fn note(&mut self, report: &Report, at: Timestamp) -> (Noted, Option<Timestamp>) {
        let Some(before) = self.devices.get(&report.serial) else { return (Noted::Foreign, None) };
        match report.attempt.unwrap_or(before.number) {
            number if number == 0 || number > before.number => return (Noted::Foreign, None),
            number if number < before.number => return (Noted::Known, None),
            _ => {}
        }
        let mut entry = before.clone();
        let end = match report.outcome {
            Outcome::Offered => None,
            Outcome::Downloaded => Some(at.plus_secs(report.grace_secs.into())),
            _ => Some(at),
        };
        entry.claim_expires_at = end.map_or(entry.claim_expires_at, |end| end.min(entry.claim_expires_at));
        // Everything is a least or a greatest of what was told, so that the order in which it was told is of no account.
        let noted = if report.outcome > entry.outcome {
            (entry.outcome, entry.resumes, entry.waits_until) =
                (report.outcome, report.resumes, entry.waits(report, at));
            Noted::Moved
        } else {
            if report.outcome == entry.outcome && entry.outcome != Outcome::Offered {
                entry.resumes = entry.resumes.min(report.resumes);
                entry.waits_until = entry.waits_until.into_iter().chain(entry.waits(report, at)).min();
            }
            Noted::Known
        };
        self.put(&report.serial, entry);
        (noted, end)
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
            claim_expires_at: entry.map(|entry| entry.claim_expires_at),
            download_expires_at,
            attempts: entry.map_or(0, |entry| entry.number),
            penalty: entry.and_then(Entry::failed).and_then(|failed| Some(((*failed.hop).into(), failed.until?))),
            place: None,
            downloads_now,
            slots_taken: run.map_or(0, |run| u32::try_from(run.devices.len()).unwrap_or(u32::MAX)),
        };
        Ok(Held { standing, tried: entry.map(Entry::tried) })
    }

    fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Infallible> {
        let ClaimAsk { of, offer, downloads_max, until } = ask;
        let books = &mut *self.books.lock();
        let run = of.run.and_then(|run| books.runs.get(run));
        let entry = run.and_then(|run| run.devices.get(of.serial));
        let changed = |offer: &OfferAsk<'_>| match (offer.after, entry) {
            (Some(after), Some(entry)) => {
                let is_new = now >= entry.claim_expires_at || *entry.hop != *offer.hop;
                is_new && after != (entry.number, entry.outcome)
            }
            _ => false,
        };
        if offer.as_ref().is_some_and(changed) {
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
            for outcome in Outcome::ALL.into_iter().filter(|outcome| counts.at(*outcome) > 0) {
                let wave = wave as usize;
                if statistics.waves.len() <= wave {
                    statistics.waves.resize(wave + 1, Outcomes::default());
                }
                *statistics.waves[wave].at_mut(outcome) += counts.at(outcome);
                if with >= resumes && outcome != Outcome::Offered {
                    *statistics.recent.at_mut(outcome) += counts.at(outcome);
                }
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

impl Entry {
    /// Until when a device waits that this report says failed: longer each time in a row at one hop.
    fn waits(&self, report: &Report, at: Timestamp) -> Option<Timestamp> {
        let secs = report.penalty.after(self.times());
        (report.outcome.is_failure() && secs > 0).then(|| at.plus_secs(secs.into()))
    }

    /// How often in a row it failed at this hop, if this attempt is one that failed.
    fn times(&self) -> u32 {
        let again = self.before.as_ref().filter(|failed| failed.hop == self.hop);
        again.map_or(1, |failed| failed.times.saturating_add(1))
    }

    /// Where it failed last, and until when it waits: this attempt, if it failed; nowhere, if it arrived; else an earlier one.
    fn failed(&self) -> Option<FailedAt> {
        match self.outcome {
            Outcome::Failed | Outcome::Missing => {
                Some(FailedAt { hop: self.hop.clone(), times: self.times(), until: self.waits_until })
            }
            Outcome::Installed | Outcome::Confirmed => None,
            Outcome::Offered | Outcome::Downloaded => self.before.as_deref().cloned(),
        }
    }

    fn tried(&self) -> Tried {
        Tried {
            number: self.number,
            wave: self.wave,
            hop: (*self.hop).into(),
            offers: self.offers,
            first_offered_at: self.first_offered_at,
            outcome: self.outcome,
        }
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
