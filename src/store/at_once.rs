//! What is ready at once, for hosts that wait for something else.

use super::{AsyncStore, AsyncView, GroupRecord, Lent, Registered, Store, View};
use crate::check_in::CheckIn;
use crate::fleet::{CanonicalSerial, Device, KeyHash, Product, ProductId, Revision};
use crate::lease::Lease;
use crate::time::Timestamp;

/// A synchronous store, or a view of one, where an asynchronous one is wanted: an [`Index`](crate::Index) beside a ledger in PostgreSQL, say. Nothing is waited
/// for, so a store that blocks would block the runtime.
///
/// ```
/// use otagate::store::{AtOnce, answer_async};
/// use otagate::{CheckIn, Fleet, Index, NoTrace, Timestamp};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = AtOnce(Index::new(&Fleet::default()));
/// let ask = CheckIn::new(b"guess", b"1");
/// let status = answer_async(&store, &ask, Timestamp::from_millis(0), &mut NoTrace, |told| told.status()).await;
/// assert_eq!(status.unwrap(), 401);
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AtOnce<S>(pub S);

impl<S> AsyncStore for AtOnce<S>
where
    S: Store + Sync + 'static,
    for<'s> S::View<'s>: Send + Sync,
{
    type Error = S::Error;
    type View<'s> = AtOnce<S::View<'s>>;

    async fn view(&self) -> Result<AtOnce<S::View<'_>>, S::Error> {
        self.0.view().map(AtOnce)
    }

    async fn view_for(&self, ask: &CheckIn<'_>) -> Result<AtOnce<S::View<'_>>, S::Error> {
        self.0.view_for(ask).map(AtOnce)
    }

    async fn register(
        &self,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, S::Error> {
        self.0.register(product, serial, at)
    }
}

impl<V: View + Sync> AsyncView for AtOnce<V> {
    type Error = V::Error;

    async fn revision(&self) -> Result<Revision, V::Error> {
        self.0.revision()
    }

    async fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, V::Error> {
        self.0.product_of_key(key)
    }

    async fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, V::Error> {
        self.0.device(product, serial)
    }

    async fn lease(&self, product: &Product, device: &Device) -> Result<Option<Lent<'_, Lease>>, V::Error> {
        self.0.lease(product, device)
    }

    async fn group(
        &self,
        product: &Product,
        device: &Device,
        lease: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, V::Error> {
        self.0.group(product, device, lease)
    }
}
