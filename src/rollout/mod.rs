//! Rollouts that move on by themselves, and stop themselves (semantics.md, section 5).
//!
//! ```text
//!   check-in ──▶ attend ──▶ decide ──▶ claim before the answer                       what a device's check-in tells the ledger
//!                  │ ▲                   │
//!                  ▼ │ held              ▼ attempt
//!                Ledger: who was offered what, and what became of it                a trait; MemoryLedger is the plain one
//!                  │ statistics per wave
//!                  ▼
//!   timer ──▶ Conductor ──▶ step(rollout, statistics, now) ──▶ open a wave, halt, complete, or note the progress
//!                  │                                              │ to open: census, frozen as a threshold
//!                  ▼                                              ▼
//!                RolloutStore: expects the edition that was looked at, then changes; who lost sees it
//! ```
//!
//! The fleet says what is meant and which waves are open; the ledger says what happened to devices. A [`Ledger`] is written by check-ins and reports, never by
//! operators; the fleet's rollout is moved by changes, never by check-ins. [`step`] is the only place where the one becomes the other.
//!
//! A host calls [`attend`] in place of [`decide`](crate::decide), carries out [`Report`]s after the answer, and calls [`Conductor::advance`] on a timer, or
//! after outcomes. Everything takes `now`; nothing here reads a clock. What waits for a store or a ledger is there twice, written once: [`AsyncLedger`],
//! [`attend_async`], [`AsyncConductor`].

pub(crate) mod account;
mod attend;
mod books;
mod conductor;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod ends;
mod ledger;
mod memory;
mod statistics;
mod step;
mod store;

pub use attend::{Attended, attend, attend_async, look, look_async};
pub use books::{Books, TellFault, Told};
pub use conductor::{AsyncConductor, Conductor, Fault, Moved, Outcome as MoveOutcome};
pub use ends::Ends;
pub use ledger::{AsyncLedger, ClaimAsk, Claimed, Held, Ledger, NoLedger, Noted, Of, OfferAsk, Report, Tried};
pub use memory::{LedgerFault, LedgerRow, LedgerRows, MemoryLedger, PlaceRow};
pub use statistics::{Outcome, Outcomes, Statistics};
pub use step::{Step, Transition, step};
pub use store::{AsyncRolloutStore, RolloutStore, UnderWay, target_held};
