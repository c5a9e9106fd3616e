//! What a follower says of itself, for metrics, logs and APIs, from any thread.

use crate::fleet::{Revision, RowKey};
use parking_lot::Mutex;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happens to an index whose source has not been heard of for long. Deciding by what was known last is right more often than not answering: so it
/// goes on by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staleness {
    /// After so long no wave may be opened any more; none: never.
    pub waves_after: Option<Duration>,
    /// After so long nobody may be served any more; none: never.
    pub serve_after: Option<Duration>,
}

/// A row that was kept out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptOut {
    /// Which one.
    #[serde(flatten)]
    pub key: RowKey,
    /// The revision that wrote it, where that is known; else 0.
    pub revision: Revision,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for KeptOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is kept out: {}", self.key, self.why)
    }
}

/// How a [`Follower`](super::Follower) is doing. A handle: clones are of the same follower.
#[derive(Clone, Debug)]
pub struct FeedStatus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    staleness: Staleness,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    source: Revision,
    /// When the index was last known to be what the source is.
    equal_at: Option<Instant>,
    loads: u64,
    patches: u64,
    faults: u64,
    fault: Option<String>,
    kept_out: Arc<[KeptOut]>,
}

impl FeedStatus {
    pub(super) fn new(staleness: Staleness) -> Self {
        Self(Arc::new(Shared { staleness, state: Mutex::default() }))
    }

    /// The revision that the index holds.
    pub fn revision(&self) -> Revision {
        self.0.state.lock().revision
    }

    /// By how many revisions it is behind what was last heard of the source.
    pub fn lag(&self) -> u64 {
        let state = self.0.state.lock();
        state.source.0.saturating_sub(state.revision.0)
    }

    /// How long ago the index was last known to be what the source is; none before the first load.
    pub fn age(&self) -> Option<Duration> {
        self.0.state.lock().equal_at.map(|at| at.elapsed())
    }

    /// Whether it has loaded, and is fresh enough to serve by; if not, answer as where a store fails (V4).
    pub fn may_serve(&self) -> bool {
        self.is_fresh(self.0.staleness.serve_after)
    }

    /// Whether it has loaded, and is fresh enough to open waves by.
    pub fn may_open_waves(&self) -> bool {
        self.may_serve() && self.is_fresh(self.0.staleness.waves_after)
    }

    fn is_fresh(&self, within: Option<Duration>) -> bool {
        self.age().is_some_and(|age| within.is_none_or(|within| age <= within))
    }

    /// How often everything was loaded.
    pub fn loads(&self) -> u64 {
        self.0.state.lock().loads
    }

    /// How many patches were taken.
    pub fn patches(&self) -> u64 {
        self.0.state.lock().patches
    }

    /// How often the source could not be read.
    pub fn faults(&self) -> u64 {
        self.0.state.lock().faults
    }

    /// Why the source cannot be read, if the last look at it failed.
    pub fn fault(&self) -> Option<String> {
        self.0.state.lock().fault.clone()
    }

    /// The rows that are kept out now, by key.
    pub fn kept_out(&self) -> Arc<[KeptOut]> {
        self.0.state.lock().kept_out.clone()
    }

    pub(super) fn loaded(&self, revision: Revision) {
        let mut state = self.0.state.lock();
        (state.revision, state.source) = (revision, revision);
        (state.equal_at, state.fault) = (Some(Instant::now()), None);
        state.loads += 1;
    }

    pub(super) fn patched(&self, revision: Revision) {
        let mut state = self.0.state.lock();
        (state.revision, state.source) = (revision, state.source.max(revision));
        (state.equal_at, state.fault) = (Some(Instant::now()), None);
        state.patches += 1;
    }

    pub(super) fn heard(&self) {
        let mut state = self.0.state.lock();
        (state.equal_at, state.fault) = (Some(Instant::now()), None);
    }

    pub(super) fn source_is_at(&self, revision: Revision) {
        self.0.state.lock().source = revision;
    }

    pub(super) fn failed(&self, fault: String) {
        let mut state = self.0.state.lock();
        state.faults += 1;
        state.fault = Some(fault);
    }

    pub(super) fn keeps_out(&self, kept_out: Vec<KeptOut>) {
        let kept_out: Arc<[KeptOut]> = kept_out.into();
        let mut state = self.0.state.lock();
        if state.kept_out != kept_out {
            state.kept_out = kept_out;
        }
    }
}
