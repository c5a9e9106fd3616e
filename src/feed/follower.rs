//! What keeps an index equal to its source.

use super::loading::Kept;
use super::{AsyncFeed, Changes, Feed, FeedStatus, KeptOut, Loading, Patch, Staleness};
use crate::fleet::take::RulesChanged;
use crate::fleet::{Row, RowKey, RowKind};
use crate::index::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Keeps an [`Index`] equal to a source: loads it, takes patches in order, loads again where one is missing. Nobody else writes to that index.
///
/// ```
/// use otagate::feed::{Follower, Loading, Patch, Took};
/// use otagate::{Fleet, Index, ProductSpec, Revision, Row};
/// let index = Index::new(&Fleet::default());
/// let mut follower = Follower::new(index.clone());
/// follower.load(Loading::new(Revision(1), Vec::new()));
/// let rows = vec![Row::product(ProductSpec { id: "lamp".into(), ..Default::default() })];
/// let patch = Patch { after: Revision(1), revision: Revision(2), rows };
/// assert_eq!(follower.take(patch.clone()), Took::Patch);
/// assert_eq!(follower.take(patch), Took::Known);
/// let patch = Patch { after: Revision(8), revision: Revision(9), rows: Vec::new() };
/// assert_eq!(follower.take(patch), Took::Gap, "3 to 8 are missing");
/// assert_eq!(index.revision(), Revision(2));
/// ```
#[derive(Debug)]
pub struct Follower {
    index: Index,
    status: FeedStatus,
    loaded: bool,
    /// Rows that were kept out, with why.
    kept: BTreeMap<RowKey, (Row, KeptOut)>,
    /// Products that are not there, whose devices were passed over at the last load.
    passed_over: BTreeSet<Box<str>>,
}

/// What became of a look at the source, or of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// Everything was loaded.
    Load,
    /// A patch was taken.
    Patch,
    /// Nothing is new.
    Known,
    /// What lies before the patch is missing, or it changes how everything is read: load.
    Gap,
}

impl Follower {
    /// A follower that fills that index, and goes on serving however stale it is.
    pub fn new(index: Index) -> Self {
        Self::with(index, Staleness::default())
    }

    /// A follower with a rule for when its source is not heard of.
    pub fn with(index: Index, staleness: Staleness) -> Self {
        let status = FeedStatus::new(staleness);
        Self { index, status, loaded: false, kept: BTreeMap::new(), passed_over: BTreeSet::new() }
    }

    /// How it is doing.
    pub fn status(&self) -> FeedStatus {
        self.status.clone()
    }

    /// The index that it fills.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Puts everything in the place of what the index holds, also where its revision is not above that: then the source was set back.
    pub fn load(&mut self, loading: Loading) {
        let revision = loading.revision();
        let Kept { rows, products } = self.index.load_rows(loading);
        self.kept = rows.into_iter().map(|(row, kept)| (row.key.clone(), (row, kept))).collect();
        self.passed_over = products;
        self.loaded = true;
        self.status.loaded(revision);
        self.tell();
    }

    /// Takes a patch, if it goes on from what the index holds.
    pub fn take(&mut self, patch: Patch) -> Took {
        let held = self.index.revision();
        if !self.loaded || patch.after > held {
            self.status.source_is_at(patch.revision);
            return Took::Gap;
        }
        if patch.revision <= held {
            self.status.heard();
            return Took::Known;
        }
        // Of several in one patch the last one counts.
        let mut rows: BTreeMap<RowKey, Row> = patch.rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        if rows.values().any(|row| row.value.is_some() && self.passed_over.contains(&row.key.product)) {
            return Took::Gap;
        }
        // What was kept out for the sake of another row may be let in now.
        let few: BTreeSet<&str> =
            rows.keys().filter(|key| key.kind != RowKind::Device).map(|key| &*key.product).collect();
        let product_moves = rows.keys().any(|key| key.kind == RowKind::Product);
        let again = |key: &RowKey| {
            rows.contains_key(key) || few.contains(&*key.product) || (product_moves && key.kind == RowKind::Product)
        };
        let again: Vec<RowKey> = self.kept.keys().filter(|key| again(key)).cloned().collect();
        let mut before = BTreeMap::new();
        for key in again {
            if let Some((row, kept)) = self.kept.remove(&key) {
                before.insert(key.clone(), (row.clone(), kept));
                rows.entry(key).or_insert(row);
            }
        }
        match self.index.take_rows(rows.into_values().collect(), patch.revision) {
            Ok(kept_out) => {
                for (row, why) in kept_out {
                    let kept = KeptOut { key: row.key.clone(), revision: row.revision, why };
                    self.kept.insert(row.key.clone(), (row, kept));
                }
                self.status.patched(patch.revision);
                self.tell();
                Took::Patch
            }
            Err(RulesChanged) => {
                self.kept.extend(before);
                Took::Gap
            }
        }
    }

    fn tell(&self) {
        self.status.keeps_out(self.kept.values().map(|(_, kept)| kept.clone()).collect());
    }
}

/// One look at the source, written once; with `await` it is the asynchronous one.
macro_rules! sync_from {
    ($follower:ident, $feed:ident $(, $await:tt)?) => {{
        let looked = if $follower.loaded { $feed.changes($follower.index.revision())$(.$await)? } else { Ok(Changes::Unknown) };
        let took = match looked {
            Ok(Changes::None) => {
                $follower.status.heard();
                Ok(Took::Known)
            }
            Ok(Changes::Patch(patch)) => Ok($follower.take(patch)),
            Ok(Changes::Unknown) => Ok(Took::Gap),
            Err(fault) => Err(fault),
        };
        let took = match took {
            Ok(Took::Gap) => $feed.load()$(.$await)?.map(|loading| {
                $follower.load(loading);
                Took::Load
            }),
            other => other,
        };
        if let Err(fault) = &took {
            $follower.status.failed(told(fault));
        }
        took
    }};
}

impl Follower {
    /// Looks at the source once: loads, takes a patch, or finds that nothing is new.
    ///
    /// # Errors
    /// The source cannot be read; the index is as it was, and the status says so.
    pub fn sync<F: Feed>(&mut self, feed: &mut F) -> Result<Took, F::Error> {
        sync_from!(self, feed)
    }

    /// [`sync`](Self::sync) for an asynchronous feed.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub async fn sync_async<F: AsyncFeed>(&mut self, feed: &mut F) -> Result<Took, F::Error> {
        sync_from!(self, feed, await)
    }

    /// Follows until `stop` says so, looking at the source when it has something, and after `poll` at the latest. What goes wrong is in the status.
    pub fn follow<F: Feed>(&mut self, feed: &mut F, poll: Duration, stop: impl Fn() -> bool) {
        while !stop() {
            // After a change there may be more; a fault is waited out.
            if !matches!(self.sync(feed), Ok(Took::Load | Took::Patch)) {
                feed.wait(poll);
            }
        }
    }

    /// [`follow`](Self::follow) for an asynchronous feed. It may be dropped at any await: the index holds one revision or the other.
    pub async fn follow_async<F: AsyncFeed>(&mut self, feed: &mut F, poll: Duration, stop: impl Fn() -> bool) {
        while !stop() {
            if !matches!(self.sync_async(feed).await, Ok(Took::Load | Took::Patch)) {
                feed.wait(poll).await;
            }
        }
    }
}

/// An error with all that lies behind it.
fn told(fault: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (fault.to_string(), fault.source());
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
