//! The suite that any host can run against its own ledger: every promise that a rollout leans on, asked from outside.
//!
//! ```text
//!   your Subject ── open() ──▶ your empty ledger ◀── claims, reports, look-ups, one by one and eight at once ── the promises
//!                                                                                                               │
//!                                                       Ok(Report)  or  Err(Broken): which promise, what was found, what follows
//! ```
//!
//! A host says how an empty ledger of its own is made: that is its [`Subject`]. [`check`] then keeps small accounts in such ledgers, and looks whether they
//! come out right. Each [`Promise`] says what happens to whom if it is broken.
//!
//! ```
//! use otagate::rollout::MemoryLedger;
//! use otagate::rollout::contract::{self, Subject};
//!
//! struct Mine;
//!
//! impl Subject for Mine {
//!     type Ledger = MemoryLedger;
//!
//!     // Yours: begin with empty tables, connect.
//!     fn open(&self) -> Result<MemoryLedger, String> {
//!         Ok(MemoryLedger::default())
//!     }
//! }
//!
//! // In a `#[test]`:
//! contract::assert_kept(&Mine);
//! ```
//!
//! An asynchronous ledger has an [`AsyncSubject`] and [`check_async`]; no runtime is assumed, and the suite is the same.
//!
//! **What is not asked.** A promise that rests on a broken one is skipped, so that the first finding is the cause; the [`Report`] says so.
//!
//! **What it needs.** Some thirty ledgers of at most some thousand rows, some twenty-five thousand calls, eight threads at once. A ledger may fail where many write
//! at once, as databases do: the call is made again when there is time. It may not fail otherwise.
//!
//! **What it leaves out.** Two processes on one ledger: eight threads share it here, and a ledger that locks in its own process only will pass, though
//! it must not be given to two. A restart: a ledger is asked as long as it is open. What lapsed may be told as lapsed or not at all; a ledger may forget a
//! place that ended long ago. A ledger that fails: nothing is served then (V4).

mod at_once;
mod claims;
mod desk;
mod hand;
mod limits;
mod plain;
mod promise;
mod reports;
mod runs;

pub use promise::{Breach, Broken, Promise, Report, Skipped};

use super::{AsyncLedger, Ledger};
use crate::store::contract::{Findings, at_once as drive, kept, skipped};
use desk::Desk;
use hand::{Awaiting, Calling, Hand};
use std::future::Future;

/// A ledger under test: how one is made.
pub trait Subject: Sync {
    /// The ledger. It is asked from several threads at once.
    type Ledger: Ledger + Sync;

    /// A ledger that holds nothing. It is called for every promise afresh; ledgers of earlier calls may still be alive, so give each its own tables, file or
    /// schema.
    ///
    /// # Errors
    /// In words: the ledger cannot be made.
    fn open(&self) -> Result<Self::Ledger, String>;
}

/// [`Subject`] for an asynchronous ledger; the same contract.
pub trait AsyncSubject {
    /// The ledger.
    type Ledger: AsyncLedger + Sync;

    /// See [`Subject::open`].
    fn open(&self) -> impl Future<Output = Result<Self::Ledger, String>> + Send;
}

/// Asks every promise of an asynchronous ledger, on whatever runtime polls it; what races does so in one task.
///
/// # Errors
/// As [`check`].
pub async fn check_async<S: AsyncSubject>(subject: &S) -> Result<Report, Broken> {
    ask_all(&Awaiting(subject)).await
}

/// [`check_async`], for a test.
///
/// # Panics
/// As [`assert_kept`].
pub async fn assert_kept_async<S: AsyncSubject>(subject: &S) -> Report {
    kept(check_async(subject).await)
}

/// Asks every promise of a ledger.
///
/// # Errors
/// Every promise that it breaks, each with the first thing that showed it.
pub fn check<S: Subject>(subject: &S) -> Result<Report, Broken> {
    drive(ask_all(&Calling(subject)))
}

/// [`check`], for a test.
///
/// # Panics
/// A promise is broken: the message names each, with what was found and what follows.
pub fn assert_kept<S: Subject>(subject: &S) -> Report {
    kept(check(subject))
}

/// What an account is made of, on which all else rests.
const PLAIN: &[Promise] = &[
    Promise::BeginsEmpty,
    Promise::AttemptsCountFromOne,
    Promise::LiveClaimIsKept,
    Promise::ClaimLapses,
    Promise::RunsAreApart,
];

/// Places among the downloads, one after another.
const PLACES: &[Promise] =
    &[Promise::BeginsEmpty, Promise::PlacesAreLimited, Promise::LivePlaceIsKept, Promise::PlacesAreTheGroups];

/// What reports come to, one after another.
const REPORTED: &[Promise] =
    &[Promise::LatestAttemptCounts, Promise::StrongestOutcomeCounts, Promise::StrangersDoNotCount];

/// The suite. What rests on a promise that is broken is not asked: it would be broken for the same cause, and hide it.
async fn ask_all<H: Hand>(hand: &H) -> Result<Report, Broken> {
    use Promise::*;
    let mut findings = Findings::default();
    if let Err(fault) = Desk::open(hand).await {
        // What cannot be opened cannot be asked anything.
        findings.note(Opens, Err(fault));
        return findings.report();
    }
    findings.note(Opens, Ok(()));
    macro_rules! ask {
        ($promise:ident, rests on $base:expr, $asked:path) => {
            let kept = match (findings.broken_of($base), Desk::open(hand).await) {
                (Some(base), _) => skipped(&format!("it rests on `{}`, which is broken", base.name())),
                (None, Ok(desk)) => $asked(&desk).await,
                (None, Err(fault)) => Err(fault),
            };
            findings.note($promise, kept);
        };
    }

    ask!(BeginsEmpty, rests on &[], runs::begins_empty);
    ask!(AttemptsCountFromOne, rests on &[BeginsEmpty], claims::attempts_count_from_one);
    ask!(LiveClaimIsKept, rests on &[BeginsEmpty, AttemptsCountFromOne], claims::live_claim_is_kept);
    ask!(ClaimLapses, rests on &[BeginsEmpty, AttemptsCountFromOne, LiveClaimIsKept], claims::claim_lapses);
    ask!(OffersCountPerHop, rests on PLAIN, claims::offers_count_per_hop);
    ask!(StaleLookClaimsNothing, rests on PLAIN, claims::stale_look_claims_nothing);
    ask!(WaveIsTheFirst, rests on PLAIN, claims::wave_is_the_first);
    ask!(RunsAreApart, rests on &[BeginsEmpty, AttemptsCountFromOne], runs::runs_are_apart);

    ask!(SlotsAreLimited, rests on PLAIN, limits::slots_are_limited);
    ask!(PlacesAreLimited, rests on &[BeginsEmpty], limits::places_are_limited);
    ask!(LivePlaceIsKept, rests on &[BeginsEmpty, PlacesAreLimited], limits::live_place_is_kept);
    ask!(PlacesAreTheGroups, rests on PLACES, limits::places_are_the_groups);
    let placed = [PLAIN, PLACES].concat();
    ask!(ReleaseEndsPlace, rests on &placed, limits::release_ends_place);
    let limited = [&placed[..], &[SlotsAreLimited]].concat();
    ask!(AllOrNothing, rests on &limited, limits::all_or_nothing);

    ask!(LatestAttemptCounts, rests on PLAIN, reports::latest_attempt_counts);
    ask!(StrongestOutcomeCounts, rests on PLAIN, reports::strongest_outcome_counts);
    ask!(StrangersDoNotCount, rests on PLAIN, reports::strangers_do_not_count);
    let reported = [PLAIN, REPORTED].concat();
    ask!(RecentIsSinceResume, rests on &reported, reports::recent_is_since_resume);
    ask!(OrderDoesNotMatter, rests on &[&reported[..], &[RecentIsSinceResume]].concat(), reports::order_does_not_matter);
    ask!(ReportsAreAnswered, rests on &reported, reports::reports_are_answered);
    ask!(ReportsEndClaims, rests on &[&reported[..], PLACES].concat(), reports::reports_end_claims);
    ask!(PenaltyDoubles, rests on &[&reported[..], &[ReportsEndClaims]].concat(), reports::penalty_doubles);
    let one_by_one = [&limited[..], REPORTED, &[RecentIsSinceResume, ReportsEndClaims, PenaltyDoubles]].concat();
    ask!(ForgetsOneRun, rests on &one_by_one, runs::forgets_one_run);
    ask!(TextSurvives, rests on &one_by_one, runs::text_survives);
    ask!(NumbersSurvive, rests on &[&one_by_one[..], &[WaveIsTheFirst]].concat(), runs::numbers_survive);

    ask!(SlotsHoldAtOnce, rests on &limited, at_once::slots_hold);
    ask!(PlacesHoldAtOnce, rests on PLACES, at_once::places_hold);
    ask!(OneDeviceIsOne, rests on &limited, at_once::one_device_is_one);
    let told = [&one_by_one[..], &[OrderDoesNotMatter, ReportsAreAnswered]].concat();
    ask!(ReportsAddUpAtOnce, rests on &told, at_once::reports_add_up);
    ask!(AccountsAgree, rests on Promise::ALL, plain::accounts_agree);
    findings.report()
}
