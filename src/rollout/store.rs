//! What moving rollouts on needs of a host's store, besides what a decision needs.

use crate::fleet::devices::Devices;
use crate::fleet::{
    Catalogue, Census, CensusFault, Change, Fleet, FleetOf, Group, GroupId, Problems, Product, ProductEntryOf,
    ProductId, Revision,
};
use crate::index::Index;
use crate::store::MemoryStore;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

/// A store whose rollouts can be moved on: it lists them, counts their devices, and changes them.
pub trait RolloutStore {
    /// What can go wrong; nothing moves then.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Every group with a rollout that runs or is paused, each as it is now.
    ///
    /// # Errors
    /// The store cannot be read.
    fn under_way(&self) -> Result<Vec<UnderWay>, Self::Error>;

    /// The group of that name, if its rollout runs or is paused. By default one of all; a store that finds a group at once says so.
    ///
    /// # Errors
    /// The store cannot be read.
    fn under_way_in(&self, product: &ProductId, group: &GroupId) -> Result<Option<UnderWay>, Self::Error> {
        let all = self.under_way()?;
        Ok(all.into_iter().find(|at| at.product == *product && at.group.id() == group))
    }

    /// Takes the census of a wave of the group's rollout, counted from 0 (R3): a [`CensusTaker`](crate::CensusTaker) shown the group's devices, or a query that
    /// does the same. A store that cannot count says [`CensusFault::CannotCount`]; then shares open by a threshold that is expected to be right, and first-come waves
    /// as ever.
    ///
    /// # Errors
    /// The store cannot be read.
    fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, Self::Error>;

    /// The place, from 1, that a device has among those whom the census of a wave would count now: what a trace tells of who waits (V6), once a host has
    /// [lent](crate::store::Found::lend_standing) it. `None`: it is not
    /// counted, or the store cannot count. It costs a census, so it is for people who ask, not for check-ins.
    ///
    /// # Errors
    /// The store cannot be read.
    fn place(&self, product: &ProductId, group: &Group, wave: usize, serial: &str) -> Result<Option<u64>, Self::Error> {
        let _ = (product, group, wave, serial);
        Ok(None)
    }

    /// Applies a batch whole or not at all, as [`Fleet::apply`](crate::FleetOf::apply) does. A conductor sends two changes: [`Change::ExpectRollout`], and one of
    /// [`OpenWave`](Change::OpenWave), [`PauseRollout`](Change::PauseRollout), [`CompleteRollout`](Change::CompleteRollout) and
    /// [`SetProgress`](Change::SetProgress); a store need know no others here. By the first, of several replicas that saw the same state one is let through.
    ///
    /// # Errors
    /// The store cannot be written.
    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, Self::Error>;
}

/// [`RolloutStore`] for an asynchronous host; the same contract.
pub trait AsyncRolloutStore: Sync {
    /// What can go wrong; nothing moves then.
    type Error: std::error::Error + Send + Sync + 'static;

    /// See [`RolloutStore::under_way`].
    fn under_way(&self) -> impl Future<Output = Result<Vec<UnderWay>, Self::Error>> + Send;

    /// See [`RolloutStore::under_way_in`].
    fn under_way_in(
        &self,
        product: &ProductId,
        group: &GroupId,
    ) -> impl Future<Output = Result<Option<UnderWay>, Self::Error>> + Send {
        async move {
            let all = self.under_way().await?;
            Ok(all.into_iter().find(|at| at.product == *product && at.group.id() == group))
        }
    }

    /// See [`RolloutStore::census`].
    fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> impl Future<Output = Result<Result<Census, CensusFault>, Self::Error>> + Send;

    /// See [`RolloutStore::place`].
    fn place(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
        serial: &str,
    ) -> impl Future<Output = Result<Option<u64>, Self::Error>> + Send {
        let _ = (product, group, wave, serial);
        async { Ok(None) }
    }

    /// See [`RolloutStore::apply`].
    fn apply(&self, changes: &[Change])
    -> impl Future<Output = Result<Result<Revision, Problems>, Self::Error>> + Send;
}

/// A group whose rollout runs or is paused.
#[derive(Clone, Debug, PartialEq)]
pub struct UnderWay {
    /// The product.
    pub product: ProductId,
    /// The group, with its rollout.
    pub group: Arc<Group>,
    /// Why nobody could be given its target now, if so: it is missing, denied, or above the group's cap. By [`target_held`].
    pub held: Option<&'static str>,
}

/// Why nobody could be given the target of the group's rollout now: it `is missing`, `is denied`, or `is above the group's cap`. None where somebody could, and of
/// configs and resources.
pub fn target_held(product: &Product, catalogue: &Catalogue, group: &Group) -> Option<&'static str> {
    let rules = product.versions();
    let target = group.rollout()?.target_version()?;
    let above = |cap: &crate::Version| rules.above(target.reading(), cap);
    match catalogue.find(target, rules) {
        None => Some("is missing"),
        Some(firmware) if firmware.is_denied() => Some("is denied"),
        Some(_) if group.cap.as_ref().is_some_and(above) => Some("is above the group's cap"),
        Some(_) => None,
    }
}

fn listed<D: Devices>(fleet: &FleetOf<D>) -> Vec<UnderWay> {
    fleet.under_way().into_iter().map(|(entry, group)| UnderWay::of(entry, group)).collect()
}

fn found<D: Devices>(fleet: &FleetOf<D>, product: &ProductId, group: &GroupId) -> Option<UnderWay> {
    let entry = fleet.product(product.as_str())?;
    Some(UnderWay::of(entry, fleet.under_way_in(product, group)?))
}

impl UnderWay {
    /// The group, if its rollout is under way.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn find(product: &ProductId, of: &Product, catalogue: &Catalogue, group: &Arc<Group>) -> Option<Self> {
        let held = target_held(of, catalogue, group);
        group.is_under_way().then(|| Self { product: product.clone(), group: group.clone(), held })
    }

    fn of<D: Devices>(entry: &ProductEntryOf<D>, group: Arc<Group>) -> Self {
        let held = target_held(entry.product(), entry.catalogue(), &group);
        Self { product: entry.product().id().clone(), group, held }
    }
}

impl RolloutStore for MemoryStore {
    type Error = Infallible;

    fn under_way(&self) -> Result<Vec<UnderWay>, Infallible> {
        Ok(self.read(listed))
    }

    fn under_way_in(&self, product: &ProductId, group: &GroupId) -> Result<Option<UnderWay>, Infallible> {
        Ok(self.read(|fleet| found(fleet, product, group)))
    }

    fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, Infallible> {
        let no_wave = || CensusFault::NoWave { group: group.id().as_str().to_owned(), wave };
        Ok(self.read(|fleet| fleet.product(product.as_str()).ok_or_else(no_wave)?.census(group.id().as_str(), wave)))
    }

    fn place(&self, product: &ProductId, group: &Group, wave: usize, serial: &str) -> Result<Option<u64>, Infallible> {
        let place = |fleet: &Fleet| fleet.product(product.as_str())?.place(group.id().as_str(), wave, serial).ok()?;
        Ok(self.read(place))
    }

    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, Infallible> {
        Ok(MemoryStore::apply(self, changes))
    }
}

impl RolloutStore for Index {
    type Error = Infallible;

    fn under_way(&self) -> Result<Vec<UnderWay>, Infallible> {
        Ok(listed(&self.snapshot().fleet))
    }

    fn under_way_in(&self, product: &ProductId, group: &GroupId) -> Result<Option<UnderWay>, Infallible> {
        Ok(found(&self.snapshot().fleet, product, group))
    }

    fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, Infallible> {
        Ok(self.snapshot().census(product.as_str(), group.id().as_str(), wave))
    }

    fn place(&self, product: &ProductId, group: &Group, wave: usize, serial: &str) -> Result<Option<u64>, Infallible> {
        Ok(self.snapshot().place(product.as_str(), group.id().as_str(), wave, serial).ok().flatten())
    }

    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, Infallible> {
        Ok(Index::apply(self, changes))
    }
}
