//! The slow, obvious twin of the decision, and what is needed to hold it against the crate.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its part of this")]

pub mod change;
pub mod draw;
pub mod indexed;
pub mod machine;
pub mod reference;
pub mod translate;
pub mod world;
