//! The C face: `libotagate` and `include/otagate.h`. No decision is made here; every function reads its
//! arguments, calls the crate, and writes what came of it.
//!
//! ```text
//!   C ──▶ guard ──▶ read: NULL, struct_size, length, UTF-8 ──▶ the crate ──▶ write: a struct of numbers, views, or a string that the caller frees
//!           │ a panic stops here, and what failed is told by a code and, in words, by the thread's last error
//! ```
//!
//! The one obligation that all `unsafe` here serves: **a pointer is what the header says it is** — NULL where
//! that is allowed, else valid for what it names, for as long as the call lasts; a handle came from its
//! `_new` and was not freed. What a wrong program could hand in and could still be told apart (NULL, a
//! foreign `struct_size`, a length that cannot be, a number that means nothing, the same reader twice at
//! once) is told apart.
//!
//! The header is generated from this crate (`make header`), committed, and compared in the tests. Doc
//! comments here are its documentation, so they speak to C.

#![allow(non_camel_case_types, reason = "the names are those of the header")]
#![allow(
    clippy::missing_safety_doc,
    reason = "each function says it in the words of C, and the one obligation stands above"
)]

// In the order of the header.
mod codes; // numbers that never change their meaning

mod failure; // what can go wrong, the thread's last error, and where a panic stops

mod types; // the structs that cross, and how they are read and written

mod string; // text that the caller frees

mod fleet; // a fleet in memory

mod reader; // check-in to decision

mod attend; // the same with a ledger; who asks, what it tells, and why

mod last; // what a reader keeps of its last decision

mod after; // what is left to do about a decision, once it is answered

mod ledger; // what was offered, and what became of it

mod store; // a store of the host's own, by callbacks

mod words; // what serials, versions, ranks, keys and ranges mean, and the pure step of a rollout

pub use after::*;
pub use attend::*;
pub use codes::*;
pub use failure::*;
pub use fleet::*;
pub use ledger::*;
pub use reader::*;
pub use store::*;
pub use string::*;
pub use types::*;
pub use words::*;
