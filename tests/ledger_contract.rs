//! Every ledger keeps the contract of `rollout/contract.rs`, and the suite finds every fault that is planted.
#![cfg(feature = "contract")]

mod later;

use later::{Later, wait};
use otagate::rollout::contract::{self, AsyncSubject, Promise, Subject};
use otagate::rollout::{
    AsyncLedger, ClaimAsk, Claimed, Held, Ledger, LedgerRows, MemoryLedger, Noted, Of, OfferAsk, Outcome, Outcomes,
    Report, Statistics, Tried,
};
use otagate::store::StandingRecord;
use otagate::{ClaimRefused, GroupId, Penalty, ProductId, RolloutId, Run, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

// The ledgers that keep it.

struct Memory;

impl Subject for Memory {
    type Ledger = MemoryLedger;

    fn open(&self) -> Result<MemoryLedger, String> {
        Ok(MemoryLedger::default())
    }
}

#[test]
fn the_memory_ledger_keeps_every_promise() {
    let report = contract::assert_kept(&Memory);
    assert_eq!(report.kept, Promise::ALL);
    assert_eq!(report.skipped, []);
}

/// A subject whose ledger is asked through futures that wait.
struct InTime<S>(S);

impl<S: Subject<Ledger: Send + 'static>> AsyncSubject for InTime<S> {
    type Ledger = Later<S::Ledger>;

    async fn open(&self) -> Result<Later<S::Ledger>, String> {
        wait().await;
        self.0.open().map(|ledger| Later(Arc::new(ledger)))
    }
}

#[tokio::test]
async fn an_asynchronous_ledger_keeps_every_promise() {
    let report = contract::assert_kept_async(&InTime(Memory)).await;
    assert_eq!(report.kept, Promise::ALL);
    assert_eq!(report.skipped, []);
}

/// Fails where two call at once, as databases do; says nothing of what lapsed, as one that sweeps does.
#[derive(Default)]
struct Busy {
    inner: MemoryLedger,
    writing: Mutex<()>,
}

#[derive(Debug, thiserror::Error)]
#[error("the database is locked")]
struct Locked;

impl Busy {
    fn alone<T>(&self, call: impl FnOnce(&MemoryLedger) -> Result<T, Infallible>) -> Result<T, Locked> {
        let _alone = self.writing.try_lock().map_err(|_| Locked)?;
        std::thread::yield_now();
        Ok(call(&self.inner).unwrap_or_else(|never| match never {}))
    }
}

impl Ledger for Busy {
    type Error = Locked;

    fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, Locked> {
        let mut held = self.alone(|inner| inner.held(of, now))?;
        held.standing.download_expires_at = held.standing.download_expires_at.filter(|end| now < *end);
        held.standing.penalty = held.standing.penalty.filter(|(_, end)| now < *end);
        Ok(held)
    }

    fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Locked> {
        self.alone(|inner| inner.claim(ask, now))
    }

    fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, Locked> {
        self.alone(|inner| inner.note(report, at))
    }

    fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), Locked> {
        self.alone(|inner| inner.release(of, at))
    }

    fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, Locked> {
        self.alone(|inner| inner.statistics(run, resumes))
    }

    fn forget(&self, run: &Run) -> Result<(), Locked> {
        self.alone(|inner| inner.forget(run))
    }
}

#[test]
fn a_ledger_may_fail_while_it_is_busy_and_tell_nothing_of_places_and_penalties_that_lapsed() {
    struct IsBusy;
    impl Subject for IsBusy {
        type Ledger = Busy;
        fn open(&self) -> Result<Busy, String> {
            Ok(Busy::default())
        }
    }
    let report = contract::assert_kept(&IsBusy);
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    assert_eq!(report.kept.len(), Promise::ALL.len());
}

// The ledgers that do not.

/// A fault, planted in a small ledger of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Planted {
    NoFault,
    OpensNothing,
    RemembersWhoIsReported,
    FailsOnStrangers,
    CountsFromZero,
    NumbersByRun,
    ProlongsClaims,
    EachAskIsNew,
    ClaimsIncludeTheirEnd,
    ForgetsLapsedClaims,
    IgnoresHops,
    CountsAllHops,
    ForgetsFirstOffer,
    ForgetsAtArrival,
    LooksAtNothing,
    CountsInLatestWave,
    IgnoresStart,
    IgnoresGroup,
    IgnoresProduct,
    JoinsNames,
    OneSlotMore,
    FreesLapsedSlots,
    FreesFinishedSlots,
    TakesSlotsFromOwners,
    PlacesIncludeTheirEnd,
    CountsLapsedPlaces,
    ProlongsPlaces,
    RefusesOwnersOfPlaces,
    PlacesByRun,
    PlacesOfTheProduct,
    ReleasesClaims,
    ReleaseProlongs,
    AsksDownloadsFirst,
    RecordsBeforeItRefuses,
    PlacesBeforeItRefuses,
    KeepsFailures,
    HearsOfEarlierAttempts,
    LastWordCounts,
    ConfirmedBeatsFailed,
    HearsOfComingAttempts,
    HearsOfStrangers,
    CountsOffersAsRecent,
    KeepsLaterResumes,
    KeepsFirstResumes,
    HearsThreeReports,
    SaysMoved,
    SaysKnownToStrangers,
    KeepsClaims,
    KeepsPlaces,
    GivesNoGrace,
    GraceProlongs,
    LateReportsEndClaims,
    NeverDoubles,
    CountsEachFailure,
    DoublesAtAnyHop,
    OwesPastArrival,
    ForgetsPlaces,
    ForgetsOtherRuns,
    ForgetsNothing,
    IgnoresCase,
    IgnoresCaseOfHops,
    CutsBlanks,
    ReadsNumbers,
    CutsMillis,
    CutsTimeBefore1970,
    SlotsAreSigned,
    RacesPastSlots,
    RacesPastPlaces,
    RacesWithItself,
    LosesReports,
    NumbersAreSmall,
}

use Planted as P;

#[derive(Clone)]
struct Entry {
    number: u32,
    wave: u32,
    hop: String,
    offers: u32,
    first_offered_at: Timestamp,
    outcome: Outcome,
    resumes: u32,
    until: Timestamp,
    /// Where earlier attempts failed: the hop, how often in a row, and until when it waits.
    failed_before: Option<FailedAt>,
    /// Until when it waits, if this attempt failed.
    waits_until: Option<Timestamp>,
    heard: u32,
}

type FailedAt = (String, u32, Option<Timestamp>);

#[derive(Default)]
struct Books {
    entries: BTreeMap<(String, String), Entry>,
    places: BTreeMap<(String, String), Timestamp>,
}

/// Maps behind a lock: another way to keep the contract, were it not for the fault.
struct Faulty {
    fault: Planted,
    books: Mutex<Books>,
}

#[derive(Debug, thiserror::Error)]
#[error("no such row")]
struct NoRow;

impl Faulty {
    fn is(&self, fault: Planted) -> bool {
        self.fault == fault
    }

    fn run(&self, run: &Run) -> String {
        let Run { product, group, rollout, started_at } = run;
        match self.fault {
            P::IgnoresStart => format!("{product:?} {group:?} {rollout:?}"),
            P::IgnoresGroup => format!("{product:?} {rollout:?} {started_at:?}"),
            P::IgnoresProduct => format!("{group:?} {rollout:?} {started_at:?}"),
            P::JoinsNames => format!("{product}/{group}/{rollout}/{started_at:?}"),
            _ => format!("{product:?} {group:?} {rollout:?} {started_at:?}"),
        }
    }

    fn serial(&self, serial: &str) -> String {
        match self.fault {
            P::IgnoresCase => serial.to_lowercase(),
            P::CutsBlanks => serial.trim_end().to_owned(),
            P::ReadsNumbers => serial.parse::<u64>().map_or_else(|_| serial.to_owned(), |number| number.to_string()),
            _ => serial.to_owned(),
        }
    }

    fn group(&self, product: &ProductId, group: &GroupId, run: Option<&Run>) -> String {
        match self.fault {
            P::PlacesByRun => format!("{product:?} {group:?} {run:?}"),
            P::PlacesOfTheProduct => format!("{product:?}"),
            _ => format!("{product:?} {group:?}"),
        }
    }

    fn time(&self, time: Timestamp) -> Timestamp {
        match self.fault {
            P::CutsMillis => Timestamp::from_millis(time.millis().div_euclid(1_000) * 1_000),
            P::CutsTimeBefore1970 => time.max(Timestamp::from_millis(0)),
            _ => time,
        }
    }

    fn lives(&self, until: Timestamp, now: Timestamp) -> bool {
        now < until || self.is(P::ClaimsIncludeTheirEnd) && now == until
    }

    fn place_lives(&self, until: Timestamp, now: Timestamp) -> bool {
        now < until || self.is(P::PlacesIncludeTheirEnd) && now == until || self.is(P::CountsLapsedPlaces)
    }

    fn live_places(&self, books: &Books, group: &str, now: Timestamp) -> u32 {
        let live = books.places.iter().filter(|((of, _), until)| of == group && self.place_lives(**until, now));
        live.count() as u32
    }

    fn has_slot(&self, books: &Books, key: &(String, String), now: Timestamp) -> bool {
        books.entries.get(key).is_some_and(|entry| !self.is(P::TakesSlotsFromOwners) || self.lives(entry.until, now))
    }

    fn slots_taken(&self, books: &Books, run: &str, now: Timestamp) -> u32 {
        let takes = |entry: &Entry| match self.fault {
            P::FreesLapsedSlots => now < entry.until || entry.outcome > Outcome::Offered,
            P::FreesFinishedSlots => entry.outcome <= Outcome::Downloaded,
            _ => true,
        };
        books.entries.iter().filter(|((of, _), entry)| of == run && takes(entry)).count() as u32
    }

    /// The entry of an offer, and whether it is a new attempt.
    fn next(
        &self,
        books: &Books,
        key: &(String, String),
        offer: &OfferAsk<'_>,
        until: Timestamp,
        now: Timestamp,
    ) -> (Entry, bool) {
        let fresh = Entry {
            number: match self.fault {
                P::CountsFromZero => 0,
                P::NumbersByRun => 1 + books.entries.keys().filter(|(run, _)| *run == key.0).count() as u32,
                _ => 1,
            },
            wave: offer.wave,
            hop: offer.hop.to_owned(),
            offers: 1,
            first_offered_at: now,
            outcome: Outcome::Offered,
            resumes: 0,
            until: self.time(until),
            failed_before: None,
            waits_until: None,
            heard: 0,
        };
        let Some(before) = books.entries.get(key) else { return (fresh, true) };
        let same_hop = match self.fault {
            P::IgnoresHops => true,
            P::IgnoresCaseOfHops => before.hop.to_lowercase() == offer.hop.to_lowercase(),
            _ => before.hop == offer.hop,
        };
        if same_hop && self.lives(before.until, now) && !self.is(P::EachAskIsNew) {
            let mut entry = before.clone();
            if self.is(P::ProlongsClaims) {
                entry.until = until;
            }
            return (entry, false);
        }
        let arrived = matches!(before.outcome, Outcome::Installed | Outcome::Confirmed);
        let again = (same_hop || self.is(P::CountsAllHops)) && !(arrived && self.is(P::ForgetsAtArrival));
        let limit = if self.is(P::NumbersAreSmall) { 12 } else { u32::MAX };
        let keeps = self.is(P::KeepsFailures) && before.outcome.is_failure();
        let entry = Entry {
            number: (before.number + 1).min(limit),
            wave: if self.is(P::CountsInLatestWave) { offer.wave } else { before.wave },
            offers: if again { before.offers + 1 } else { 1 },
            first_offered_at: if again && !self.is(P::ForgetsFirstOffer) { before.first_offered_at } else { now },
            outcome: match offer.missing {
                Some(_) => Outcome::Missing,
                None if keeps => before.outcome,
                None => Outcome::Offered,
            },
            resumes: offer.missing.unwrap_or(0),
            failed_before: self.failed(before),
            ..fresh
        };
        (entry, true)
    }

    fn stronger(&self, is: Outcome, than: Outcome) -> bool {
        match self.fault {
            P::LastWordCounts => is != than && is != Outcome::Offered,
            P::ConfirmedBeatsFailed if (is, than) == (Outcome::Confirmed, Outcome::Failed) => true,
            P::ConfirmedBeatsFailed if (is, than) == (Outcome::Failed, Outcome::Confirmed) => false,
            _ => is > than,
        }
    }

    /// How often in a row it failed at this hop, if this attempt failed.
    fn times(&self, entry: &Entry) -> u32 {
        let same_hop = |failed: &&FailedAt| failed.0 == entry.hop || self.is(P::DoublesAtAnyHop);
        entry.failed_before.as_ref().filter(same_hop).map_or(0, |(_, times, _)| *times) + 1
    }

    fn failed(&self, entry: &Entry) -> Option<FailedAt> {
        match entry.outcome {
            Outcome::Failed | Outcome::Missing => Some((entry.hop.clone(), self.times(entry), entry.waits_until)),
            Outcome::Installed | Outcome::Confirmed if !self.is(P::OwesPastArrival) => None,
            _ => entry.failed_before.clone(),
        }
    }

    /// What a report makes of an entry, and when claim and place end then.
    fn told(&self, entry: &mut Entry, report: &Report, at: Timestamp) -> (Noted, Option<Timestamp>) {
        let strange = if self.is(P::SaysKnownToStrangers) { Noted::Known } else { Noted::Foreign };
        match report.attempt.unwrap_or(entry.number) {
            number if number < entry.number && number > 0 => match self.fault {
                P::HearsOfEarlierAttempts => {}
                P::LateReportsEndClaims => {
                    entry.until = entry.until.min(at);
                    return (Noted::Known, Some(at));
                }
                _ => return (Noted::Known, None),
            },
            0 => return (strange, None),
            number if number > entry.number && !self.is(P::HearsOfComingAttempts) => return (strange, None),
            _ => {}
        }
        entry.heard += 1;
        if self.is(P::HearsThreeReports) && entry.heard > 3 {
            return (Noted::Known, None);
        }
        let grace = match report.outcome {
            Outcome::Downloaded if !self.is(P::GivesNoGrace) => report.grace_secs,
            _ => 0,
        };
        let end = (report.outcome != Outcome::Offered).then(|| at.plus_secs(grace.into()));
        let moved = self.stronger(report.outcome, entry.outcome);
        entry.until = match (self.fault, end) {
            (P::KeepsClaims, _) | (_, None) => entry.until,
            (P::GraceProlongs, Some(end)) if moved && report.outcome == Outcome::Downloaded => end,
            (_, Some(end)) => entry.until.min(end),
        };
        let secs = report.penalty.after(if self.is(P::NeverDoubles) { 1 } else { self.times(entry) });
        let waits = (report.outcome.is_failure() && secs > 0).then(|| at.plus_secs(secs.into()));
        if moved {
            (entry.outcome, entry.resumes, entry.waits_until) = (report.outcome, report.resumes, waits);
            return (Noted::Moved, end);
        }
        if report.outcome == entry.outcome && report.outcome != Outcome::Offered {
            entry.resumes = match self.fault {
                P::KeepsLaterResumes => report.resumes,
                P::KeepsFirstResumes => entry.resumes,
                _ => report.resumes.min(entry.resumes),
            };
            entry.waits_until = entry.waits_until.into_iter().chain(waits).min();
        }
        if self.is(P::CountsEachFailure) && report.outcome.is_failure() {
            (entry.failed_before, entry.waits_until) = (self.failed(entry), waits);
        }
        (if self.is(P::SaysMoved) { Noted::Moved } else { Noted::Known }, end)
    }
}

impl Ledger for Faulty {
    type Error = NoRow;

    fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, NoRow> {
        let books = self.books.lock().unwrap();
        let run = of.run.map(|run| self.run(run));
        let entry = run.as_ref().and_then(|run| books.entries.get(&(run.clone(), self.serial(of.serial))));
        let group = self.group(of.product, of.group, of.run);
        let standing = StandingRecord {
            claim_expires_at: entry
                .map(|entry| entry.until)
                .filter(|until| !self.is(P::ForgetsLapsedClaims) || now < *until),
            download_expires_at: books.places.get(&(group.clone(), self.serial(of.serial))).copied(),
            attempts: entry.map_or(0, |entry| entry.number),
            penalty: entry
                .and_then(|entry| self.failed(entry))
                .and_then(|(hop, _, until)| Some((hop.as_str().into(), until?))),
            place: None,
            downloads_now: self.live_places(&books, &group, now),
            slots_taken: run.map_or(0, |run| self.slots_taken(&books, &run, now)),
        };
        let tried = entry.map(|entry| Tried {
            number: entry.number,
            wave: entry.wave,
            hop: entry.hop.as_str().into(),
            offers: entry.offers,
            first_offered_at: entry.first_offered_at,
            outcome: entry.outcome,
        });
        Ok(Held { standing, tried })
    }

    fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, NoRow> {
        let ClaimAsk { of, offer, downloads_max, until } = *ask;
        let mut books = self.books.lock().unwrap();
        let group = (self.group(of.product, of.group, of.run), self.serial(of.serial));
        let account = of.run.zip(offer).map(|(run, offer)| ((self.run(run), self.serial(of.serial)), offer));

        let stale = account.as_ref().is_some_and(|(key, offer)| {
            let entry = books.entries.get(key).filter(|entry| !self.lives(entry.until, now) || entry.hop != offer.hop);
            offer.after.zip(entry).is_some_and(|(after, entry)| after != (entry.number, entry.outcome))
        });
        if stale && !self.is(P::LooksAtNothing) {
            return Ok(Ok(Claimed { attempt: None, new: false }));
        }
        let slots = |books: &Books| {
            let Some((key, OfferAsk { slots_max: Some(max), .. })) = &account else { return true };
            let taken = self.slots_taken(books, &key.0, now);
            let more = u32::from(self.is(P::OneSlotMore));
            let room = if self.is(P::SlotsAreSigned) { (taken as i32) < *max as i32 } else { taken < max + more };
            room || self.has_slot(books, key, now)
        };
        let has_place = |books: &Books| {
            let place = books.places.get(&group).filter(|_| !self.is(P::RefusesOwnersOfPlaces));
            place.is_some_and(|until| now < *until)
        };
        let places = |books: &Books| {
            downloads_max.is_none_or(|max| has_place(books) || self.live_places(books, &group.0, now) < max)
        };
        let (slots_ok, places_ok) = (slots(&books), places(&books));
        if self.is(P::AsksDownloadsFirst) && !places_ok {
            return Ok(Err(ClaimRefused::Downloads));
        }
        if !slots_ok {
            if self.is(P::PlacesBeforeItRefuses) && downloads_max.is_some() && places_ok {
                books.places.insert(group, until);
            }
            return Ok(Err(ClaimRefused::Slots));
        }
        let mut next = account.as_ref().map(|(key, offer)| (key, self.next(&books, key, offer, until, now)));
        if !places_ok {
            if let (true, Some((key, (entry, _)))) = (self.is(P::RecordsBeforeItRefuses), next) {
                books.entries.insert(key.clone(), entry);
            }
            return Ok(Err(ClaimRefused::Downloads));
        }
        let limited = account.as_ref().is_some_and(|(_, offer)| offer.slots_max.is_some());
        let races = match self.fault {
            P::RacesPastSlots => limited,
            P::RacesPastPlaces => downloads_max.is_some() && offer.is_none(),
            P::RacesWithItself => limited && downloads_max.is_some(),
            _ => false,
        };
        if races {
            // It looks in one transaction and writes in the next.
            drop(books);
            std::thread::sleep(Duration::from_millis(2));
            books = self.books.lock().unwrap();
            if !self.is(P::RacesWithItself) {
                next = account.as_ref().map(|(key, offer)| (key, self.next(&books, key, offer, until, now)));
            }
        }
        if downloads_max.is_some() && (!has_place(&books) || self.is(P::ProlongsPlaces)) {
            books.places.insert(group, self.time(until));
        }
        let Some((key, (entry, new))) = next else { return Ok(Ok(Claimed { attempt: None, new: false })) };
        let attempt = Some(entry.number);
        books.entries.insert(key.clone(), entry);
        Ok(Ok(Claimed { attempt, new }))
    }

    fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, NoRow> {
        let key = (self.run(&report.run), self.serial(&report.serial));
        let mut books = self.books.lock().unwrap();
        let known = books.entries.keys().any(|(run, _)| *run == key.0);
        let Some(mut entry) = books.entries.get(&key).cloned() else {
            let remembers = match self.fault {
                P::RemembersWhoIsReported => true,
                P::HearsOfStrangers => known,
                P::FailsOnStrangers => return Err(NoRow),
                P::SaysKnownToStrangers => return Ok(Noted::Known),
                _ => false,
            };
            if remembers {
                let offer = OfferAsk { wave: 0, hop: "", slots_max: None, missing: None, after: None };
                let (entry, _) = self.next(&books, &key, &offer, at, at);
                books.entries.insert(key, Entry { outcome: report.outcome, ..entry });
            }
            return Ok(Noted::Foreign);
        };
        if self.is(P::LosesReports) && report.attempt.is_none() {
            // It reads the row, and writes it back.
            drop(books);
            std::thread::sleep(Duration::from_millis(1));
            books = self.books.lock().unwrap();
        }
        let (noted, end) = self.told(&mut entry, report, at);
        books.entries.insert(key.clone(), entry);
        let group = (self.group(&report.run.product, &report.run.group, Some(&report.run)), key.1);
        if let (Some(place), Some(end), false) = (books.places.get_mut(&group), end, self.is(P::KeepsPlaces)) {
            *place = end.min(*place);
        }
        Ok(noted)
    }

    fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), NoRow> {
        let mut books = self.books.lock().unwrap();
        let group = (self.group(of.product, of.group, of.run), self.serial(of.serial));
        if let Some(place) = books.places.get_mut(&group) {
            *place = if self.is(P::ReleaseProlongs) { at } else { at.min(*place) };
        }
        if let (P::ReleasesClaims, Some(run)) = (self.fault, of.run) {
            books.entries.remove(&(self.run(run), self.serial(of.serial)));
        }
        Ok(())
    }

    fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, NoRow> {
        let books = self.books.lock().unwrap();
        let run = self.run(run);
        let mut statistics = Statistics::default();
        for (_, entry) in books.entries.iter().filter(|((of, _), _)| *of == run) {
            let wave = entry.wave as usize;
            statistics.waves.resize(statistics.waves.len().max(wave + 1), Outcomes::default());
            *statistics.waves[wave].at_mut(entry.outcome) += 1;
            let counts = entry.outcome != Outcome::Offered || self.is(P::CountsOffersAsRecent);
            if counts && entry.resumes >= resumes {
                *statistics.recent.at_mut(entry.outcome) += 1;
            }
        }
        Ok(statistics)
    }

    fn forget(&self, run: &Run) -> Result<(), NoRow> {
        let mut books = self.books.lock().unwrap();
        let key = self.run(run);
        match self.fault {
            P::ForgetsNothing => {}
            P::ForgetsOtherRuns => {
                let group = format!("{:?} {:?} {:?}", run.product, run.group, run.rollout);
                books.entries.retain(|(of, _), _| !of.starts_with(&group));
            }
            _ => books.entries.retain(|(of, _), _| *of != key),
        }
        if self.is(P::ForgetsPlaces) {
            let group = self.group(&run.product, &run.group, None);
            books.places.retain(|(of, _), _| *of != group);
        }
        Ok(())
    }
}

impl Subject for Planted {
    type Ledger = Faulty;

    fn open(&self) -> Result<Faulty, String> {
        if *self == Self::OpensNothing {
            return Err("no such table: attempts".into());
        }
        Ok(Faulty { fault: *self, books: Mutex::default() })
    }
}

/// Each fault is named as what it is. Where more than one promise is named, the fault breaks them all.
#[test]
fn the_suite_names_the_promise_that_is_broken() {
    use Promise::*;
    let rows: &[(P, &[Promise])] = &[
        (P::NoFault, &[]),
        (P::OpensNothing, &[Opens]),
        (P::RemembersWhoIsReported, &[BeginsEmpty]),
        (P::FailsOnStrangers, &[BeginsEmpty]),
        (P::CountsFromZero, &[AttemptsCountFromOne]),
        (P::NumbersByRun, &[AttemptsCountFromOne]),
        (P::ProlongsClaims, &[LiveClaimIsKept]),
        (P::EachAskIsNew, &[LiveClaimIsKept]),
        (P::ClaimsIncludeTheirEnd, &[ClaimLapses]),
        (P::IgnoresHops, &[ClaimLapses]),
        (P::CountsAllHops, &[OffersCountPerHop]),
        (P::ForgetsFirstOffer, &[OffersCountPerHop]),
        (P::ForgetsAtArrival, &[OffersCountPerHop]),
        (P::LooksAtNothing, &[StaleLookClaimsNothing]),
        (P::CountsInLatestWave, &[WaveIsTheFirst]),
        (P::IgnoresStart, &[RunsAreApart]),
        (P::IgnoresGroup, &[RunsAreApart]),
        (P::IgnoresProduct, &[RunsAreApart]),
        (P::JoinsNames, &[RunsAreApart]),
        (P::OneSlotMore, &[SlotsAreLimited]),
        (P::FreesLapsedSlots, &[SlotsAreLimited]),
        (P::FreesFinishedSlots, &[SlotsAreLimited]),
        (P::TakesSlotsFromOwners, &[SlotsAreLimited]),
        (P::PlacesIncludeTheirEnd, &[PlacesAreLimited]),
        (P::CountsLapsedPlaces, &[PlacesAreLimited]),
        (P::ProlongsPlaces, &[LivePlaceIsKept]),
        (P::RefusesOwnersOfPlaces, &[LivePlaceIsKept]),
        (P::PlacesByRun, &[PlacesAreTheGroups]),
        (P::PlacesOfTheProduct, &[PlacesAreTheGroups]),
        (P::ReleasesClaims, &[ReleaseEndsPlace]),
        (P::ForgetsLapsedClaims, &[ClaimLapses]),
        (P::ReleaseProlongs, &[ReleaseEndsPlace]),
        (P::AsksDownloadsFirst, &[AllOrNothing]),
        (P::RecordsBeforeItRefuses, &[AllOrNothing]),
        (P::PlacesBeforeItRefuses, &[AllOrNothing]),
        // Who failed once never arrives again.
        (P::KeepsFailures, &[LatestAttemptCounts]),
        (P::HearsOfEarlierAttempts, &[LatestAttemptCounts]),
        (P::LastWordCounts, &[StrongestOutcomeCounts]),
        (P::ConfirmedBeatsFailed, &[StrongestOutcomeCounts]),
        (P::HearsOfComingAttempts, &[StrangersDoNotCount]),
        (P::HearsOfStrangers, &[StrangersDoNotCount]),
        (P::CountsOffersAsRecent, &[RecentIsSinceResume]),
        (P::KeepsLaterResumes, &[RecentIsSinceResume]),
        (P::KeepsFirstResumes, &[RecentIsSinceResume]),
        (P::HearsThreeReports, &[OrderDoesNotMatter, ReportsAreAnswered]),
        (P::SaysMoved, &[ReportsAreAnswered]),
        (P::SaysKnownToStrangers, &[ReportsAreAnswered]),
        (P::KeepsClaims, &[StaleLookClaimsNothing, ReportsEndClaims]),
        (P::KeepsPlaces, &[ReportsEndClaims]),
        (P::GivesNoGrace, &[ReportsEndClaims]),
        (P::GraceProlongs, &[ReportsEndClaims]),
        (P::LateReportsEndClaims, &[LatestAttemptCounts]),
        (P::NeverDoubles, &[PenaltyDoubles]),
        (P::CountsEachFailure, &[OrderDoesNotMatter, PenaltyDoubles]),
        (P::DoublesAtAnyHop, &[PenaltyDoubles]),
        (P::OwesPastArrival, &[PenaltyDoubles]),
        (P::ForgetsPlaces, &[ForgetsOneRun]),
        (P::ForgetsOtherRuns, &[ForgetsOneRun]),
        (P::ForgetsNothing, &[ForgetsOneRun]),
        (P::IgnoresCase, &[TextSurvives]),
        (P::IgnoresCaseOfHops, &[TextSurvives]),
        (P::CutsBlanks, &[TextSurvives]),
        (P::ReadsNumbers, &[TextSurvives]),
        (P::CutsMillis, &[NumbersSurvive]),
        (P::CutsTimeBefore1970, &[NumbersSurvive]),
        (P::SlotsAreSigned, &[NumbersSurvive]),
        (P::RacesPastSlots, &[SlotsHoldAtOnce]),
        (P::RacesPastPlaces, &[PlacesHoldAtOnce]),
        (P::RacesWithItself, &[OneDeviceIsOne]),
        (P::LosesReports, &[ReportsAddUpAtOnce]),
        (P::NumbersAreSmall, &[AccountsAgree]),
    ];
    let mut wrong = Vec::new();
    for (fault, broken) in rows {
        let found = contract::check(fault).err();
        let breaches = found.iter().flat_map(|found| &found.breaches);
        let named: Vec<_> = breaches.map(|breach| breach.promise).collect();
        if named != *broken {
            wrong.push(format!("{fault:?} should break {broken:?}, and this was found: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let named: BTreeSet<_> = rows.iter().flat_map(|(_, broken)| *broken).collect();
    assert_eq!(named.len(), Promise::ALL.len(), "every promise can be broken");
}

/// Looks how many slots are taken, waits, and only then takes one: what no future can see that is alone.
struct WaitsInBetween(MemoryLedger);

impl AsyncLedger for WaitsInBetween {
    type Error = Infallible;

    async fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, Infallible> {
        self.0.held(of, now)
    }

    async fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Infallible> {
        let Some(OfferAsk { slots_max: Some(max), .. }) = ask.offer else { return self.0.claim(ask, now) };
        let held = self.0.held(&ask.of, now)?;
        if held.tried.is_none() && held.standing.slots_taken >= max {
            return Ok(Err(ClaimRefused::Slots));
        }
        wait().await;
        let offer = ask.offer.map(|offer| OfferAsk { slots_max: None, ..offer });
        self.0.claim(&ClaimAsk { offer, ..*ask }, now)
    }

    async fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, Infallible> {
        self.0.note(report, at)
    }

    async fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), Infallible> {
        self.0.release(of, at)
    }

    async fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, Infallible> {
        self.0.statistics(run, resumes)
    }

    async fn forget(&self, run: &Run) -> Result<(), Infallible> {
        self.0.forget(run)
    }
}

impl AsyncSubject for WaitsInBetween {
    type Ledger = Self;

    async fn open(&self) -> Result<Self, String> {
        Ok(Self(MemoryLedger::default()))
    }
}

#[tokio::test]
async fn the_suite_names_it_of_an_asynchronous_ledger_too() {
    use Promise::*;
    for (fault, broken) in [
        (P::OpensNothing, Opens),
        (P::OneSlotMore, SlotsAreLimited),
        (P::HearsOfEarlierAttempts, LatestAttemptCounts),
        (P::NeverDoubles, PenaltyDoubles),
    ] {
        let found = contract::check_async(&InTime(fault)).await.expect_err(&format!("{fault:?} was not found"));
        assert_eq!(found.breaches.iter().map(|breach| breach.promise).collect::<Vec<_>>(), [broken], "{fault:?}");
    }
    let found = contract::check_async(&WaitsInBetween(MemoryLedger::default())).await.unwrap_err();
    assert!(found.breaches.iter().any(|breach| breach.promise == SlotsHoldAtOnce), "{found}");
}

#[test]
fn a_broken_promise_says_what_was_found_and_what_follows() {
    let broken = contract::check(&Planted::FreesLapsedSlots).unwrap_err();
    let text = broken.to_string();
    for part in [
        "the ledger breaks its contract",
        "`slots-are-limited`",
        "the claim of device `d` for `2.0.0` with one of 3 slots is granted, should be refused for Slots",
        "otherwise a canary of ten reaches more devices than ten",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert_eq!(format!("{broken:?}"), text, "a test that unwraps it prints it so");
    let skipped: Vec<_> = broken.report.skipped.iter().map(|skipped| skipped.why.as_str()).collect();
    assert!(skipped.iter().all(|why| *why == "it rests on `slots-are-limited`, which is broken"), "{skipped:?}");
}

#[test]
fn a_long_history_that_goes_wrong_is_told_with_its_end() {
    let broken = contract::check(&Planted::NumbersAreSmall).unwrap_err();
    assert_eq!(broken.breaches.len(), 1);
    let found = &broken.breaches[0].found;
    for part in
        ["attempt: Some(12), new: true", "should be", "attempt: Some(13), new: true", "after step", "ClaimAsk {"]
    {
        assert!(found.contains(part), "`{part}` is not in: {found}");
    }
}

// What is the memory ledger's own.

fn run(rollout: &str, started_at: Timestamp) -> Run {
    Run {
        product: ProductId::new("lamp").unwrap(),
        group: GroupId::new("stable").unwrap(),
        rollout: RolloutId::new(rollout).unwrap(),
        started_at,
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % count
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// One of two ledgers is written down as JSON and read again, now and then; nobody can tell which.
#[test]
fn rows_that_are_kept_over_a_restart_change_nothing_afterwards() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let (through, mut restarted) = (MemoryLedger::default(), MemoryLedger::default());
        let zero = Timestamp::from_millis(1_795_428_000_000);
        let mut beta = run("r7", zero);
        beta.group = GroupId::new("käfer \"'").unwrap();
        let runs = [run("r7", zero), run("r7", zero.plus_secs(1)), run("r8", zero), beta];
        let mut now = zero;
        let mut restarts = 0;
        for step in 0..600 {
            now = now.plus_secs(dice.below(120) as i64);
            let run = &runs[dice.below(4) as usize];
            let serial = dice.one(&["a", "b", "c", "d", "é \u{1f600}", "'\"\\", ""]);
            let of = Of { product: &run.product, group: &run.group, serial, run: Some(run) };
            let both = [&through, &restarted];
            match dice.below(20) {
                0..=9 => {
                    let hop = dice.one(&["2.0.0", "2.0.0", "3.0.0", ""]);
                    let offer = OfferAsk {
                        wave: dice.below(4) as u32,
                        hop,
                        slots_max: dice.one(&[None, Some(5)]),
                        missing: None,
                        after: None,
                    };
                    let ask = ClaimAsk {
                        of,
                        offer: dice.one(&[Some(offer), Some(offer), Some(offer), None]),
                        downloads_max: dice.one(&[None, Some(1), Some(3)]),
                        until: now.plus_secs(dice.one(&[10, 300, 900])),
                    };
                    let [a, b] = both.map(|ledger| ledger.claim(&ask, now).unwrap());
                    assert_eq!(a, b, "seed {seed}, step {step}: {ask:?}");
                }
                10..=18 => {
                    let report = Report {
                        run: run.clone(),
                        serial: serial.into(),
                        attempt: dice.one(&[None, None, Some(1), Some(2), Some(3)]),
                        outcome: dice.one(&Outcome::ALL),
                        resumes: dice.below(3) as u32,
                        penalty: Penalty { secs: 60, secs_max: 1_000 },
                        grace_secs: 60,
                    };
                    let [a, b] = both.map(|ledger| ledger.note(&report, now).unwrap());
                    assert_eq!(a, b, "seed {seed}, step {step}: {report:?}");
                }
                _ if dice.below(8) == 0 => both.map(|ledger| ledger.forget(run).unwrap()).into_iter().collect(),
                _ => both.map(|ledger| ledger.release(&of, now).unwrap()).into_iter().collect(),
            }
            for resumes in [0, 2] {
                let [a, b] = both.map(|ledger| ledger.statistics(run, resumes).unwrap());
                assert_eq!(a, b, "seed {seed}, step {step}");
            }
            let [a, b] = both.map(|ledger| ledger.held(&of, now).unwrap());
            assert_eq!((a.standing, a.tried), (b.standing, b.tried), "seed {seed}, step {step}");
            if dice.below(12) == 0 {
                let rows = restarted.rows();
                let json = serde_json::to_string(&rows).unwrap();
                let read: LedgerRows = serde_json::from_str(&json).unwrap();
                assert_eq!(read, rows);
                restarted = MemoryLedger::of_rows(read).unwrap();
                assert_eq!(restarted.rows(), through.rows(), "seed {seed}, step {step}");
                restarts += 1;
            }
        }
        assert!(restarts > 20);
    }
}

#[test]
fn eight_threads_that_claim_ten_slots_get_ten_a_thousand_times_over() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 1_000;
    let ledger = MemoryLedger::default();
    let zero = Timestamp::from_millis(0);
    let runs: Vec<_> = (0..ROUNDS).map(|round| run(&format!("r {round}"), zero)).collect();
    let granted: Vec<_> = (0..ROUNDS).map(|_| AtomicU32::new(0)).collect();
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ledger, runs, granted, start) = (&ledger, &runs, &granted, &start);
            scope.spawn(move || {
                for (run, granted) in runs.iter().zip(granted) {
                    start.wait();
                    for device in 0..4 {
                        // Each device is claimed for by two threads.
                        let serial = format!("{} {device}", thread / 2);
                        let of = Of { product: &run.product, group: &run.group, serial: &serial, run: Some(run) };
                        let offer =
                            Some(OfferAsk { wave: 0, hop: "2.0.0", slots_max: Some(10), missing: None, after: None });
                        let ask = ClaimAsk { of, offer, downloads_max: None, until: zero.plus_secs(60) };
                        if let Ok(Claimed { new: true, .. }) = ledger.claim(&ask, zero).unwrap() {
                            granted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    for (run, granted) in runs.iter().zip(&granted) {
        assert_eq!(granted.load(Ordering::Relaxed), 10);
        assert_eq!(ledger.statistics(run, 0).unwrap().total(), Outcomes { offered: 10, ..Outcomes::default() });
    }
}

/// Places that lapsed are forgotten in the end, and those that are live never, though a clock be ahead for a moment.
#[test]
fn places_are_forgotten_late_and_by_the_earlier_clock() {
    const DAY: i64 = 86_400;
    let zero = Timestamp::from_millis(1_795_428_000_000);
    let run = run("r7", zero);
    let claim = |ledger: &MemoryLedger, serial: &str, max: u32, now: Timestamp| {
        let of = Of { product: &run.product, group: &run.group, serial, run: None };
        ledger.claim(&ClaimAsk { of, offer: None, downloads_max: Some(max), until: now.plus_secs(3_600) }, now).unwrap()
    };
    let ledger = MemoryLedger::default();
    assert!(claim(&ledger, "a", 2, zero).is_ok());
    assert!(claim(&ledger, "b", 2, zero.plus_secs(30 * DAY)).is_ok(), "by a clock that is ahead");
    assert_eq!(claim(&ledger, "c", 2, zero.plus_secs(60)), Err(ClaimRefused::Downloads));
    // But a ledger that runs for years does not keep everybody.
    let ledger = MemoryLedger::default();
    for day in 0..100 {
        assert!(claim(&ledger, &format!("d{day}"), 1, zero.plus_secs(day * DAY)).is_ok());
    }
    assert!(ledger.rows().places.len() < 12, "{}", ledger.rows().places.len());
}
