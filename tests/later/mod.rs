//! A store that is asked without `await`, made into one that is asked with it.
#![allow(unreachable_pub, missing_docs, reason = "it is part of two test files")]

use otagate::store::{AsyncStore, AsyncView, GroupRecord, Lent, Registered, Store, View};
use otagate::{CanonicalSerial, Device, KeyHash, Lease, Product, ProductId, Revision, Timestamp};
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
