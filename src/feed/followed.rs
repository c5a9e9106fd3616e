//! Rollouts that are looked at by the index, and moved in the database that it follows.

use super::FeedStatus;
use crate::fleet::{Census, CensusFault, Change, Group, GroupId, Problems, ProductId, Revision};
use crate::index::Index;
use crate::rollout::{AsyncRolloutStore, RolloutStore, UnderWay};
use std::convert::Infallible;

/// What a conductor moves rollouts by, where an index follows a database: it lists them and counts their devices by the index, in memory, and changes the
/// database, which refuses what was decided by an edition that is no more. No wave opens while the index is too [stale](super::Staleness) for that.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'h, S> {
    /// The index.
    pub index: &'h Index,
    /// The database.
    pub store: &'h S,
    /// How the follower is doing.
    pub status: &'h FeedStatus,
}

impl<S> Followed<'_, S> {
    /// Refuses to open a wave by what is too old.
    fn check(&self, changes: &[Change]) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if !self.status.may_open_waves() {
            for (at, _) in changes.iter().enumerate().filter(|(_, change)| matches!(change, Change::OpenWave { .. })) {
                let message = "would open by a fleet that is too old: its source has not been heard of";
                problems.add(format!("changes[{at}]"), message);
            }
        }
        if problems.list().is_empty() { Ok(()) } else { Err(problems) }
    }
}

fn sure<T>(looked: Result<T, Infallible>) -> T {
    let Ok(looked) = looked;
    looked
}

impl<S: RolloutStore> RolloutStore for Followed<'_, S> {
    type Error = S::Error;

    fn under_way(&self) -> Result<Vec<UnderWay>, S::Error> {
        Ok(sure(self.index.under_way()))
    }

    // What was just changed is not in the index yet.
    fn under_way_in(&self, product: &ProductId, group: &GroupId) -> Result<Option<UnderWay>, S::Error> {
        self.store.under_way_in(product, group)
    }

    fn census(&self, product: &ProductId, group: &Group, wave: usize) -> Result<Result<Census, CensusFault>, S::Error> {
        Ok(sure(RolloutStore::census(self.index, product, group, wave)))
    }

    fn place(&self, product: &ProductId, group: &Group, wave: usize, serial: &str) -> Result<Option<u64>, S::Error> {
        Ok(sure(RolloutStore::place(self.index, product, group, wave, serial)))
    }

    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, S::Error> {
        match self.check(changes) {
            Ok(()) => self.store.apply(changes),
            Err(problems) => Ok(Err(problems)),
        }
    }
}

impl<S: AsyncRolloutStore> AsyncRolloutStore for Followed<'_, S> {
    type Error = S::Error;

    async fn under_way(&self) -> Result<Vec<UnderWay>, S::Error> {
        Ok(sure(self.index.under_way()))
    }

    async fn under_way_in(&self, product: &ProductId, group: &GroupId) -> Result<Option<UnderWay>, S::Error> {
        self.store.under_way_in(product, group).await
    }

    async fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, S::Error> {
        Ok(sure(RolloutStore::census(self.index, product, group, wave)))
    }

    async fn place(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
        serial: &str,
    ) -> Result<Option<u64>, S::Error> {
        Ok(sure(RolloutStore::place(self.index, product, group, wave, serial)))
    }

    async fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, S::Error> {
        match self.check(changes) {
            Ok(()) => self.store.apply(changes).await,
            Err(problems) => Ok(Err(problems)),
        }
    }
}
