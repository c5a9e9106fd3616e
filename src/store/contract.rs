//! The suite that any host can run against its own store: every promise that a decision leans on, asked from outside.
//!
//! ```text
//!   your Subject ── open(fleet) ──▶ your store ◀── look-ups, registrations, changes ── the promises, one by one
//!                └─ change(...)                                                          │
//!                                                       Ok(Report)  or  Err(Broken): which promise, what was found, what follows
//! ```
//!
//! A host says how a store of its own is made that holds a given [`Fleet`]: that is its [`Subject`]. [`check`] then fills such stores with fleets that are
//! hard to keep, and looks whether they come back. Each [`Promise`] says what happens to whom if it is broken.
//!
//! ```
//! use otagate::store::contract::{self, Changed, Subject};
//! use otagate::{Change, Fleet, MemoryStore};
//!
//! struct Mine;
//!
//! impl Subject for Mine {
//!     type Store = MemoryStore;
//!
//!     // Yours: begin with empty tables, insert the fleet, connect.
//!     fn open(&self, fleet: &Fleet) -> Result<MemoryStore, String> {
//!         Ok(MemoryStore::new(fleet.clone()))
//!     }
//!
//!     // Yours: one transaction that does `changes`, or brings the tables to `after`. Leave it out if the store is never written to.
//!     fn change(&self, store: &MemoryStore, changes: &[Change], _after: &Fleet) -> Result<Changed, String> {
//!         store.apply(changes).map_err(|problems| problems.to_string())?;
//!         Ok(Changed::Done)
//!     }
//! }
//!
//! // In a `#[test]`:
//! contract::assert_kept(&Mine);
//! ```
//!
//! An asynchronous store has an [`AsyncSubject`] and [`check_async`]; no runtime is assumed, and the suite is the same.
//!
//! **What is not asked.** A promise that rests on a broken one is skipped, so that the first finding is the cause. A store without a [`change`](Subject::change)
//! is not asked about views that outlive one. Both stand in the [`Report`].
//!
//! **What it needs.** A dozen stores of at most some hundred rows, a few thousand look-ups, up to eight threads (or tasks) at once. The fleets are small and
//! nasty; a store that is right for them may still be slow for many. A store whose view takes a lock at each look-up, besides the one that it holds, may hang
//! here while a writer waits, as it may in the field.
//!
//! **What it leaves out.** Claims and leases, which only a ledger of the host can make: a store is opened without any, and must say so. Time: nobody
//! measures here whether an unknown key takes as long as an unknown serial. A store that fails: that is tested with the crate.

mod asks;
mod change;
mod compare;
mod fleets;
mod hand;
mod look;
mod promise;
mod register;

pub(crate) use fleets::{NEAR_TEXTS, TEXTS};
pub use promise::{Breach, Broken, Promise, Promised, Report, Skipped};
pub(crate) use promise::{Finding, Findings, Kept, broken_by, promises, skipped};

use super::{AsyncStore, Store};
use crate::fleet::{Change, Fleet};
use hand::{Awaiting, Calling, Hand};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A store under test: how one is made, and how one is written to.
///
/// `open` is called for every fleet afresh; stores of earlier calls may still be alive, so give each its own tables, file or schema.
pub trait Subject: Sync {
    /// The store. It is asked from several threads at once.
    type Store: Store + Sync;

    /// A store that holds this fleet and nothing else, without claims or leases. Its revision may be a number of its own.
    ///
    /// Devices carry what was reported last (`version`, `hardware`) and the groups that they were in before; no look-up gives these, so they need not be kept.
    /// Nor need a rollout that neither runs nor is paused.
    ///
    /// # Errors
    /// In words: the store cannot be made. One of the fleets has gaps (devices in a group that does not exist, baselines that are no firmware); a
    /// database that refuses such rows may refuse that fleet here, and is not asked about it.
    fn open(&self, fleet: &Fleet) -> Result<Self::Store, String>;

    /// Writes to the store in one step, which every view sees whole or not at all: `changes` lead from what it holds to `after`, so carry out
    /// whichever comes easier. The changes are [`SetDeviceState`](Change::SetDeviceState) and [`AssignFirmware`](Change::AssignFirmware), and no others.
    ///
    /// It is called from a thread of its own while views are taken. It may wait for a view to go, and it may fail while there is one: it is tried again.
    ///
    /// # Errors
    /// In words: the store cannot be written.
    fn change(&self, store: &Self::Store, changes: &[Change], after: &Fleet) -> Result<Changed, String> {
        let _ = (store, changes, after);
        Ok(Changed::Unsupported)
    }
}

/// [`Subject`] for an asynchronous store; the same contract.
pub trait AsyncSubject {
    /// The store.
    type Store: AsyncStore;

    /// See [`Subject::open`].
    fn open(&self, fleet: &Fleet) -> impl Future<Output = Result<Self::Store, String>> + Send;

    /// See [`Subject::change`]. It is polled by the task that holds a view, so it must not block its thread.
    fn change(
        &self,
        store: &Self::Store,
        changes: &[Change],
        after: &Fleet,
    ) -> impl Future<Output = Result<Changed, String>> + Send {
        let _ = (store, changes, after);
        async { Ok(Changed::Unsupported) }
    }
}

/// What became of a [`change`](Subject::change).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Views that are taken from now on see it.
    Done,
    /// The subject writes nothing: what needs a change is not asked, and the [`Report`] says so.
    Unsupported,
}

/// Asks every promise of a synchronous store.
///
/// # Errors
/// Every promise that it breaks, each with the first thing that showed it.
pub fn check<S: Subject>(subject: &S) -> Result<Report, Broken> {
    let hand = Calling(subject);
    at_once(ask_all(&hand))
}

/// Drives a suite over a hand that calls. Nothing in it ever waits for a task, so the first poll is the last.
pub(crate) fn at_once<T>(suite: impl Future<Output = T>) -> T {
    let mut suite = pin!(suite);
    loop {
        if let Poll::Ready(outcome) = suite.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome;
        }
    }
}

/// Asks every promise of an asynchronous store, on whatever runtime polls it.
///
/// # Errors
/// As [`check`].
pub async fn check_async<S: AsyncSubject>(subject: &S) -> Result<Report, Broken> {
    ask_all(&Awaiting(subject)).await
}

/// [`check`], for a test.
///
/// # Panics
/// A promise is broken: the message names each, with what was found and what follows.
pub fn assert_kept<S: Subject>(subject: &S) -> Report {
    kept(check(subject))
}

/// [`check_async`], for a test.
///
/// # Panics
/// As [`assert_kept`].
pub async fn assert_kept_async<S: AsyncSubject>(subject: &S) -> Report {
    kept(check_async(subject).await)
}

/// The report, for a test that wants nothing else.
pub(crate) fn kept<P: Promised>(outcome: Result<Report<P>, Broken<P>>) -> Report<P> {
    match outcome {
        Ok(report) => report,
        #[allow(clippy::panic, reason = "it is what the wrappers promise, for tests")]
        Err(broken) => panic!("{broken}"),
    }
}

/// The look-ups of plain facts, on which all else rests.
const PLAIN: &[Promise] = &[
    Promise::KeyFindsItsProduct,
    Promise::StrangersFindNobody,
    Promise::DeviceIsItsProducts,
    Promise::DeviceSurvives,
    Promise::GroupSurvives,
    Promise::CatalogueSurvives,
];

/// The suite. What rests on a promise that is broken is not asked: it would be broken for the same cause, and hide it.
async fn ask_all<H: Hand>(hand: &H) -> Result<Report, Broken> {
    use Promise::*;
    let mut findings = Findings::default();
    macro_rules! ask {
        ($promise:ident, rests on $base:expr, $asked:expr) => {
            let kept = match findings.broken_of($base) {
                None => $asked.await,
                Some(base) => skipped(&format!("it rests on `{}`, which is broken", base.name())),
            };
            findings.note($promise, kept);
        };
    }

    let rich = match look::open(hand, fleets::rich()).await {
        Ok(rich) => rich,
        // What cannot be opened cannot be asked anything.
        Err(fault) => {
            findings.note(Opens, Err(fault));
            return findings.report();
        }
    };
    findings.note(Opens, Ok(()));
    ask!(KeyFindsItsProduct, rests on &[], look::keys(hand, &rich));
    ask!(StrangersFindNobody, rests on &[], look::strangers(hand, &rich));
    ask!(DeviceIsItsProducts, rests on &[], look::devices_of_products(hand, &rich));
    ask!(DeviceSurvives, rests on &[DeviceIsItsProducts], look::devices(hand, &rich));
    ask!(GroupSurvives, rests on &[], look::groups(hand, &rich));
    ask!(CatalogueSurvives, rests on &[], look::catalogues(hand, &rich));
    ask!(LedgerBeginsEmpty, rests on &[], look::ledgers(hand, &rich));
    ask!(TextSurvives, rests on PLAIN, look::text(hand));
    ask!(NumbersSurvive, rests on PLAIN, look::numbers(hand));
    ask!(GapsStayGaps, rests on PLAIN, look::gaps(hand));
    ask!(DecisionsAgree, rests on Promise::ALL, look::decisions(hand, &rich));

    ask!(RegisteringMakesNew, rests on PLAIN, register::makes_new(hand));
    ask!(RegisteringTwiceIsOnce, rests on &[PLAIN, &[RegisteringMakesNew]].concat(), register::twice_is_once(hand));
    let registered = [PLAIN, &[RegisteringMakesNew, RegisteringTwiceIsOnce]].concat();
    ask!(RegisteringKeepsTheLimit, rests on &registered, register::keeps_the_limit(hand));
    ask!(RegisteringCanBeRefused, rests on &registered, register::can_be_refused(hand));

    ask!(ViewIsOneState, rests on PLAIN, change::view_is_one_state(hand));
    ask!(RevisionGrows, rests on PLAIN, change::revision_grows(hand));
    findings.report()
}
