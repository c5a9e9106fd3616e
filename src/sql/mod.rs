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
