//! What both databases share: how a batch of changes becomes rows, and what is kept of a product between two look-ups. No SQL, no I/O.
//!
//! ```text
//!   batch ──▶ products named in it ──▶ Held, read once per edition ─┐
//!         ──▶ serials named in it  ──▶ their rows                   ├──▶ Work: a small fleet ──▶ Fleet::apply ──▶ rows that differ
//!                                      count of `new` devices       ┘                              │
//!                                                                                    Problems: nothing is written
//! ```
//!
//! So a change means what it means in memory, by the same code, and a database stores what came of it.

mod entry;
mod held;
mod work;

pub(crate) use entry::{ENTRY, EntryColumns, counted};
pub(crate) use held::{Held, HeldProducts};
pub(crate) use work::{Whom, Work};

/// With so many rows to read again a follower loads everything: that is done on all processors.
pub(crate) const PATCH_ROWS_MAX: i64 = 100_000;
/// So many revisions the log knows. A follower that is further behind loads everything.
const LOG_REVISIONS: u64 = 100_000;
/// The log is cut when so many more have come.
const CUT_EVERY: u64 = 1_024;

/// Up to which revision the log is to be cut now that this one is written, which touched so many rows; none: it is not time.
pub(crate) fn forgotten_by(revision: u64, rows: usize) -> Option<u64> {
    // Nobody reads a revision that is more than a load.
    if rows as i64 > PATCH_ROWS_MAX {
        return Some(revision);
    }
    revision.is_multiple_of(CUT_EVERY).then(|| revision.saturating_sub(LOG_REVISIONS))
}
