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
//! **What it needs.** A dozen stores of at most some hundred rows, a few thousand look-ups, up to eight threads (or tasks) at once. The fleets are small and
//! nasty; a store that is right for them may still be slow for many.
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

pub use promise::{Breach, Broken, Promise, Report, Skipped};

use super::{AsyncStore, Store};
use crate::fleet::{Change, Fleet};
use hand::{Awaiting, Calling, Hand};
use promise::{Findings, skipped};
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
    let mut suite = pin!(ask_all(&hand));
    // Nothing in it ever waits for a task, so the first poll is the last.
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

fn kept(outcome: Result<Report, Broken>) -> Report {
    match outcome {
        Ok(report) => report,
        #[allow(clippy::panic, reason = "it is what the two wrappers promise, for tests")]
        Err(broken) => panic!("{broken}"),
    }
}

/// The suite. Look-ups come first, since all else rests on them: where they are wrong, decisions are wrong for the same cause, and are not asked.
async fn ask_all<H: Hand>(hand: &H) -> Result<Report, Broken> {
    use Promise::*;
    let mut findings = Findings::default();

    match look::open(hand, fleets::rich()).await {
        Ok(rich) => {
            findings.note(KeyFindsItsProduct, look::keys(hand, &rich).await);
            findings.note(StrangersFindNobody, look::strangers(hand, &rich).await);
            findings.note(DeviceIsItsProducts, look::devices_of_products(hand, &rich).await);
            findings.note(DeviceSurvives, look::devices(hand, &rich).await);
            findings.note(GroupSurvives, look::groups(hand, &rich).await);
            findings.note(CatalogueSurvives, look::catalogues(hand, &rich).await);
            findings.note(LedgerBeginsEmpty, look::ledgers(hand, &rich).await);
            findings.note(TextSurvives, look::text(hand).await);
            findings.note(NumbersSurvive, look::numbers(hand).await);
            findings.note(GapsStayGaps, look::gaps(hand).await);
            let decided = match findings.none_broken() {
                true => look::decisions(hand, &rich).await,
                false => skipped("the look-ups are wrong already, and decisions with them"),
            };
            findings.note(DecisionsAgree, decided);
        }
        // What cannot be opened cannot be asked anything.
        Err(fault) => {
            findings.note(Opens, Err(fault));
            return findings.report();
        }
    }

    findings.note(RegisteringMakesNew, register::makes_new(hand).await);
    findings.note(RegisteringTwiceIsOnce, register::twice_is_once(hand).await);
    findings.note(RegisteringKeepsTheLimit, register::keeps_the_limit(hand).await);
    findings.note(RegisteringCanBeRefused, register::can_be_refused(hand).await);
    findings.note(ViewIsOneState, change::view_is_one_state(hand).await);
    findings.note(RevisionGrows, change::revision_grows(hand).await);
    findings.report()
}
