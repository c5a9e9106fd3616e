//! A store or a ledger that is asked without `await`, made into one that is asked with it.
#![allow(unreachable_pub, missing_docs, dead_code, reason = "it is part of several test files")]

use otagate::rollout::{
    AsyncLedger, AsyncRolloutStore, ClaimAsk, Claimed, Held, Ledger, Noted, Of, Report, RolloutStore, Statistics,
    UnderWay,
};
use otagate::store::{AsyncStore, AsyncView, GroupRecord, Lent, Registered, Store, View};
use otagate::{
    CanonicalSerial, Census, CensusFault, Change, ClaimRefused, Device, Group, KeyHash, Lease, Problems, Product,
    ProductId, Revision, Run, Timestamp,
};
use std::sync::Arc;
use std::task::Poll;

/// A synchronous store behind futures that wait before they answer.
pub struct Later<S>(pub Arc<S>);
pub struct LaterView<V>(V);

/// Comes back once, as a future does that waits for a socket.
pub async fn wait() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

impl<S> AsyncStore for Later<S>
where
    S: Store + Send + Sync + 'static,
    for<'s> S::View<'s>: Sync,
{
    type Error = S::Error;
    type View<'s> = LaterView<S::View<'s>>;

    async fn view(&self) -> Result<Self::View<'_>, S::Error> {
        wait().await;
        self.0.view().map(LaterView)
    }

    async fn register(
        &self,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, S::Error> {
        wait().await;
        self.0.register(product, serial, at)
    }
}

impl<V: View + Sync> AsyncView for LaterView<V> {
    type Error = V::Error;

    async fn revision(&self) -> Result<Revision, V::Error> {
        wait().await;
        self.0.revision()
    }

    async fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, V::Error> {
        wait().await;
        self.0.product_of_key(key)
    }

    async fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, V::Error> {
        wait().await;
        self.0.device(product, serial)
    }

    async fn group(
        &self,
        product: &Product,
        device: &Device,
        lease: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, V::Error> {
        wait().await;
        self.0.group(product, device, lease)
    }

    async fn lease(&self, product: &Product, device: &Device) -> Result<Option<Lent<'_, Lease>>, V::Error> {
        wait().await;
        self.0.lease(product, device)
    }
}

impl<L: Ledger + Send + Sync> AsyncLedger for Later<L> {
    type Error = L::Error;

    async fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, L::Error> {
        wait().await;
        self.0.held(of, now)
    }

    async fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, L::Error> {
        wait().await;
        self.0.claim(ask, now)
    }

    async fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, L::Error> {
        wait().await;
        self.0.note(report, at)
    }

    async fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), L::Error> {
        wait().await;
        self.0.release(of, at)
    }

    async fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, L::Error> {
        wait().await;
        self.0.statistics(run, resumes)
    }

    async fn forget(&self, run: &Run) -> Result<(), L::Error> {
        wait().await;
        self.0.forget(run)
    }
}

/// It finds a group by the default, among all.
impl<S: RolloutStore + Send + Sync> AsyncRolloutStore for Later<S> {
    type Error = S::Error;

    async fn under_way(&self) -> Result<Vec<UnderWay>, S::Error> {
        wait().await;
        self.0.under_way()
    }

    async fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, S::Error> {
        wait().await;
        self.0.census(product, group, wave)
    }

    async fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, S::Error> {
        wait().await;
        self.0.apply(changes)
    }
}
