//! An index that follows somebody else's tables: a database, a broker, a file that grows.
//!
//! ```text
//!   Feed ── load() ──────────▶ Loading: everything, as of one revision ─┐
//!     │ ── changes(after) ──▶ Patch: rows that changed since ───────────┼─▶ Follower ──▶ Index ──▶ readers, who wait for nobody
//!     └ ── wait(up to) ◀── a notice, or the poll interval               │        └─▶ FeedStatus: revision, lag, age, rows kept out
//!                                                                       └── kept out: what a load would refuse (L3), by key, with why
//! ```
//!
//! A feed says what stands in a row *now*, not what was done to it. So a patch that comes twice, or overlaps another, does no harm; one that is missing is
//! seen by its number, and everything is loaded anew. The index ends equal to the table, whatever happened in between.
//!
//! **Rows are not trusted.** Rows of products, firmware and groups that one revision wrote are taken together or not at all, a device by itself. What a load
//! would refuse is kept out, told by its key in [`FeedStatus::kept_out`], and tried again when something beside it changes; what stood there before keeps
//! serving. Where everything is loaded while a row is bad, at a start or over a gap, nothing stood there before. The rules of R7 (what is frozen once a wave is open) hold for changes that
//! go through a store's `apply`; who writes rows by hand can break them.
//!
//! **What it costs.** A patch of a device some ten microseconds, one of a group as much as its product has of groups and firmware; a load some microseconds
//! for each device, beside what the source takes.
//!
//! A feed of a host's own is a [`Feed`] (or an [`AsyncFeed`]) of three functions; `examples/file_feed.rs` has one over a file of JSON lines.

mod followed;
mod follower;
mod loading;
mod status;

pub use followed::Followed;
pub use follower::{Follower, Took};
pub(crate) use loading::Kept;
pub use loading::Loading;
pub use status::{FeedStatus, KeptOut, Staleness};

use crate::fleet::{Revision, Row};
use std::future::Future;
use std::time::Duration;

/// Where a fleet comes from that somebody else keeps.
pub trait Feed {
    /// What can go wrong. The follower keeps what it has, says so in its status, and asks again.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Everything, as of one revision.
    ///
    /// # Errors
    /// The source cannot be read.
    fn load(&mut self) -> Result<Loading, Self::Error>;

    /// What has changed after that revision, which an earlier [`load`](Self::load) or patch came up to.
    ///
    /// # Errors
    /// The source cannot be read.
    fn changes(&mut self, after: Revision) -> Result<Changes, Self::Error>;

    /// Comes back when there may be something new, and after that time at the latest. It may come back at any time for no reason; it is also what the
    /// follower waits by after an error, so it must not come back at once for as long as the source is away.
    fn wait(&mut self, up_to: Duration);
}

/// [`Feed`] for an asynchronous host; the same contract.
pub trait AsyncFeed {
    /// See [`Feed::Error`].
    type Error: std::error::Error + Send + Sync + 'static;

    /// See [`Feed::load`].
    fn load(&mut self) -> impl Future<Output = Result<Loading, Self::Error>> + Send;

    /// See [`Feed::changes`].
    fn changes(&mut self, after: Revision) -> impl Future<Output = Result<Changes, Self::Error>> + Send;

    /// See [`Feed::wait`].
    fn wait(&mut self, up_to: Duration) -> impl Future<Output = ()> + Send;
}

/// What a feed says of what came after a revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Changes {
    /// Nothing.
    None,
    /// These rows.
    Patch(Patch),
    /// It cannot tell any more, or it would be more than to load everything: load.
    Unknown,
}

/// Rows that changed after one revision, as they stand at another.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// All rows that changed after this revision are in it.
    pub after: Revision,
    /// What the source has come to: the rows are as they stand there.
    pub revision: Revision,
    /// The rows; of one that stands here several times the last counts.
    pub rows: Vec<Row>,
}
