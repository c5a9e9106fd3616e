//! What a host implements over its own database, and how the facts are fetched from it.
//!
//! ```text
//!   Store ── view() ──▶ View, of one revision
//!                         1  product_of_key(BLAKE3 of the key)        ──▶ Product
//!                         2  device(product, canonical serial)        ──▶ Device
//!                         3  group(product, device)                   ──▶ GroupRecord: group, firmware, standing; before it the lease
//!                                                                          │
//!   fetch() stops at the first gap and checks what it got ──▶ Found ──▶ Facts ──▶ decide
//! ```
//!
//! Three look-ups, then the pure core. [`View`] is for synchronous stores, [`AsyncView`] for asynchronous ones; the fetch is written once and feeds
//! the same core.
//!
//! **Which wrong answers are safe.** A stale view is: a decision of an older revision was right a moment ago. A lost assignment, a lost block or deny
//! flag, a device of another product are not. A store that is not sure fails: an error serves nobody (V4). Facts that a load would refuse are an
//! error too: [`Fault::Garbage`].
//!
//! **Threads and frequency.** A [`Store`] is asked from any thread, once per check-in; a view stays on the thread that took it, or moves with its
//! task. A view that blocks writers, blocks them for the length of one decision.

mod at_once;
mod lent;
mod memory;

#[cfg(any(test, feature = "contract"))]
pub mod contract;

pub use at_once::AtOnce;
pub use lent::Lent;
pub use memory::{MemoryStore, MemoryView, ReplaceFault};

use crate::check_in::{CheckIn, Want};
use crate::decide::decide;
use crate::decide::facts::{DeviceFacts, Facts, GroupFacts, KeyFacts, Standing};
use crate::decide::trace::Trace;
use crate::fleet::devices::Devices;
use crate::fleet::{
    CanonicalSerial, Catalogue, Change, Device, DeviceState, Group, KeyHash, NAME_BYTES_MAX, Policy, Product,
    ProductEntryOf, ProductId, Revision, SerialFault, SerialScheme, VERSION_BYTES_MAX, Version, check_text,
};
use crate::lease::Lease;
use crate::time::Timestamp;
use crate::verdict::Decision;
use std::fmt;
use std::future::Future;

/// A store that can be asked without waiting for a task: in memory, embedded, or over a blocking client.
pub trait Store {
    /// What can go wrong; nothing is served then.
    type Error: std::error::Error + Send + Sync + 'static;
    /// One state of the store, all look-ups of one decision see it (V5).
    type View<'s>: View<Error = Self::Error>
    where
        Self: 's;

    /// Takes a view: a read transaction, a snapshot, a guard.
    ///
    /// # Errors
    /// The store cannot be read.
    fn view(&self) -> Result<Self::View<'_>, Self::Error>;

    /// A view for this check-in and no other: a store that can find all that it asks in one go does so here. By default a [view](Self::view) like any other.
    ///
    /// # Errors
    /// The store cannot be read.
    fn view_for(&self, ask: &CheckIn<'_>) -> Result<Self::View<'_>, Self::Error> {
        let _ = ask;
        self.view()
    }

    /// Carries out [`Effect::Register`](crate::Effect::Register): the device becomes `new` in the product's default group. Registering twice is
    /// registering once. Beyond the product's limit of `new` devices nothing happens; the store counts and adds in one step, so that a flood of
    /// strangers cannot pass the limit together. A serial that the product lists as a placeholder is not registered.
    ///
    /// # Errors
    /// The store cannot be written. The answer to the device is the same (question 3).
    fn register(&self, product: &ProductId, serial: &CanonicalSerial, at: Timestamp)
    -> Result<Registered, Self::Error>;
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The device is `new` now.
    New,
    /// It was known.
    Known,
    /// The product has as many `new` devices as it may, does not register on first contact, lists the serial as a placeholder, or does not exist any more.
    Refused,
}

/// One state of a store. The look-ups are indexed ones: a primary key each.
pub trait View {
    /// What can go wrong; nothing is served then.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Which state this is. It only grows.
    ///
    /// # Errors
    /// The store cannot be read.
    fn revision(&self) -> Result<Revision, Self::Error>;

    /// The product that has the key of this hash, with all its keys.
    ///
    /// # Errors
    /// The store cannot be read.
    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, Self::Error>;

    /// The device of this product and canonical serial.
    ///
    /// On a key that nobody has, this is asked with a product that does not exist, so that an unknown key takes as long as an unknown serial: do the same
    /// work in both cases.
    ///
    /// # Errors
    /// The store cannot be read.
    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, Self::Error>;

    /// The offer that the device was made and has not finished taking. A host that serves no ranged downloads has none; one that keeps its leases
    /// elsewhere lends them by [`Found::lend`].
    ///
    /// # Errors
    /// The store cannot be read.
    fn lease(&self, product: &Product, device: &Device) -> Result<Option<Lent<'_, Lease>>, Self::Error> {
        let _ = (product, device);
        Ok(None)
    }

    /// The group of this device, with the firmware that a decision may need and what the ledger holds about the device. Asked for verified devices alone.
    ///
    /// # Errors
    /// The store cannot be read.
    fn group(
        &self,
        product: &Product,
        device: &Device,
        lease: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, Self::Error>;
}

/// A group as a store finds it.
#[derive(Clone, Debug)]
pub struct GroupRecord<'v> {
    /// The group.
    pub group: Lent<'v, Group>,
    /// The product's firmware: all, or at least the baseline, the target, the device's pin, what its lease names, and every stone.
    pub catalogue: Lent<'v, Catalogue>,
    /// What the ledger holds about the device and the group; the default without a ledger.
    pub standing: StandingRecord,
}

impl<'v> GroupRecord<'v> {
    /// The group of a device of a fleet in memory, without a ledger.
    pub(crate) fn held<D: Devices>(entry: &'v ProductEntryOf<D>, device: &Device) -> Option<Self> {
        let group = entry.group(device.group().as_str())?.into();
        Some(Self { group, catalogue: entry.catalogue().into(), standing: StandingRecord::default() })
    }
}

/// What a ledger holds about a device, in its group and that group's rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingRecord {
    /// The device's claim on the target of the group's rollout, live or lapsed.
    pub claim_expires_at: Option<Timestamp>,
    /// The device's place among the group's concurrent downloads, live or lapsed.
    pub download_expires_at: Option<Timestamp>,
    /// How often it was offered this target or a hop to it.
    pub attempts: u32,
    /// The hop that it failed at, and until when it waits.
    pub penalty: Option<(Box<str>, Timestamp)>,
    /// Its place by the census of the rollout, from 1.
    pub place: Option<u64>,
    /// How many downloads of the group run now.
    pub downloads_now: u32,
    /// How many slots of a first-come rollout are taken, lapsed ones included.
    pub slots_taken: u32,
}

/// [`Store`] for an asynchronous host.
pub trait AsyncStore {
    /// What can go wrong; nothing is served then.
    type Error: std::error::Error + Send + Sync + 'static;
    /// One state of the store.
    type View<'s>: AsyncView<Error = Self::Error>
    where
        Self: 's;

    /// Takes a view; see [`Store::view`].
    fn view(&self) -> impl Future<Output = Result<Self::View<'_>, Self::Error>> + Send;

    /// A view for this check-in and no other; see [`Store::view_for`].
    fn view_for(&self, ask: &CheckIn<'_>) -> impl Future<Output = Result<Self::View<'_>, Self::Error>> + Send {
        let _ = ask;
        self.view()
    }

    /// Carries out a registration; see [`Store::register`].
    fn register(
        &self,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> impl Future<Output = Result<Registered, Self::Error>> + Send;
}

/// [`View`] for an asynchronous host; the same contract.
pub trait AsyncView: Sync {
    /// What can go wrong; nothing is served then.
    type Error: std::error::Error + Send + Sync + 'static;

    /// See [`View::revision`].
    fn revision(&self) -> impl Future<Output = Result<Revision, Self::Error>> + Send;
    /// See [`View::product_of_key`].
    fn product_of_key(
        &self,
        key: &KeyHash,
    ) -> impl Future<Output = Result<Option<Lent<'_, Product>>, Self::Error>> + Send;
    /// See [`View::device`].
    fn device(
        &self,
        product: &ProductId,
        serial: &str,
    ) -> impl Future<Output = Result<Option<Lent<'_, Device>>, Self::Error>> + Send;
    /// See [`View::lease`].
    fn lease(
        &self,
        product: &Product,
        device: &Device,
    ) -> impl Future<Output = Result<Option<Lent<'_, Lease>>, Self::Error>> + Send {
        let _ = (product, device);
        async { Ok(None) }
    }
    /// See [`View::group`].
    fn group(
        &self,
        product: &Product,
        device: &Device,
        lease: Option<&Lease>,
    ) -> impl Future<Output = Result<Option<GroupRecord<'_>>, Self::Error>> + Send;
}

/// Why there is no decision: nothing is served then, whatever it is (V4).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault<E> {
    /// The host's store failed.
    #[error("the store failed")]
    Store(#[source] E),
    /// The host's store gave facts that a load would refuse, or that do not belong together.
    #[error("the store gave facts that cannot be: {0}")]
    Garbage(Garbage),
}

/// What is wrong with the facts that a store gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Garbage {
    /// The product that was found has no key of the hash that was asked for.
    ForeignKey,
    /// The device has another serial than was asked for.
    ForeignDevice,
    /// The group is not the one that the device is in.
    ForeignGroup,
    /// A pin above a cap of device or group (L3).
    PinAboveCap,
    /// A limit under `exact`, which has no order (L3): the group was checked under another product's rules.
    LimitWithoutOrder,
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForeignKey => "the product has no such key",
            Self::ForeignDevice => "the device has another serial than was asked for",
            Self::ForeignGroup => "the group is not that of the device",
            Self::PinAboveCap => "the device is pinned above a cap (L3)",
            Self::LimitWithoutOrder => {
                "the group has a cap or `forward-only`, and the product's versions have no order (L3)"
            }
        })
    }
}

/// What [`fetch`] found, checked; it lends the facts.
#[derive(Debug)]
pub struct Found<'v> {
    revision: Revision,
    key: Option<KeyHash>,
    product: Option<Lent<'v, Product>>,
    /// As the product reads it; while there is none, of no account.
    serial: Result<CanonicalSerial, SerialFault>,
    device: Option<Lent<'v, Device>>,
    group: Option<GroupRecord<'v>>,
    lease: Option<Lent<'v, Lease>>,
}

impl Found<'_> {
    /// The facts, borrowed.
    pub fn facts(&self) -> Facts<'_> {
        let product = self.product.as_deref();
        let standing = self.group.as_ref().map(|found| &found.standing);
        let device = self.device.as_deref();
        let key = product.zip(self.key).and_then(|(product, hash)| {
            Some(KeyFacts { product, key: product.key(&hash)?, serial: self.serial.as_ref().map_err(|fault| *fault) })
        });
        let group = self.group.as_ref().zip(product).map(|(found, product)| GroupFacts {
            downloads_now: found.standing.downloads_now,
            slots_taken: found.standing.slots_taken,
            ..GroupFacts::of(&found.group, &found.catalogue, product, device.and_then(Device::pin))
        });
        let device = device.map(|device| DeviceFacts {
            state: device.state(),
            entered_at: device.entered_at(),
            pin: device.pin(),
            cap: device.cap(),
            standing: standing.map(StandingRecord::facts).unwrap_or_default(),
            lease: self.lease.as_deref(),
        });
        Facts { revision: self.revision, key, device, group }
    }

    /// The product and the device, where both are known: what leases and ledgers are keyed by.
    pub fn identity(&self) -> Option<(&Product, &Device)> {
        self.product.as_deref().zip(self.device.as_deref())
    }

    /// The group, where the device is verified and its group is there.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref().map(|found| &*found.group)
    }

    /// The offer that the device was made and has not finished taking.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_deref()
    }

    /// What a verified device reports of its version and hardware, where it is known otherwise: the [`SeeDevice`](Change::SeeDevice) to apply after the answer, which a
    /// census will ask (R3). What is no version is not taken down; saying no hardware is saying nothing.
    pub fn reported(&self, ask: &CheckIn<'_>) -> Option<Change> {
        let (product, device) = self.identity().filter(|(_, device)| device.state() == DeviceState::Verified)?;
        let sound = |bytes: &'_ [u8], max| {
            let text = std::str::from_utf8(bytes).ok()?;
            (text.is_empty() || check_text(text, max).is_ok()).then(|| text.to_owned())
        };
        let version = sound(ask.version, VERSION_BYTES_MAX)?;
        let said = sound(ask.hardware, NAME_BYTES_MAX).filter(|said| !said.is_empty());
        let hardware = said.or_else(|| device.hardware().map(str::to_owned));
        let other = device.version() != Some(&version) || device.hardware() != hardware.as_deref();
        (ask.want == Want::Firmware && other).then(|| Change::SeeDevice {
            product: product.id().clone(),
            serial: device.serial().to_owned(),
            version: Some(version),
            hardware,
        })
    }

    /// Puts in what a ledger holds about the device, for a host that keeps its ledger beside its store. Nothing, where no group was found.
    pub fn lend_standing(&mut self, standing: StandingRecord) {
        if let Some(found) = &mut self.group {
            found.standing = standing;
        }
    }

    /// Puts in the lease of the device, for a host that keeps leases beside its store.
    pub fn lend(&mut self, lease: Option<std::sync::Arc<Lease>>) {
        self.lease = lease.map(Lent::Shared);
    }

    /// V4: what section 6 would refuse at load is a failure of the store.
    fn check(&self) -> Result<(), Garbage> {
        let fault = |wrong: bool, garbage| if wrong { Err(garbage) } else { Ok(()) };
        let Some((product, hash)) = self.product.as_deref().zip(self.key) else { return Ok(()) };
        fault(product.key(&hash).is_none(), Garbage::ForeignKey)?;
        let Some(device) = self.device.as_deref() else { return Ok(()) };
        let same = self.serial.is_ok_and(|serial| serial.as_str() == device.serial());
        fault(!same, Garbage::ForeignDevice)?;
        let rules = product.versions();
        let above =
            |cap: Option<&Version>| device.pin().zip(cap).is_some_and(|(pin, cap)| rules.above(pin.reading(), cap));
        fault(above(device.cap()), Garbage::PinAboveCap)?;
        let Some(GroupRecord { group, .. }) = &self.group else { return Ok(()) };
        fault(group.id() != device.group(), Garbage::ForeignGroup)?;
        fault(above(group.cap.as_ref()), Garbage::PinAboveCap)?;
        let limited = group.cap.is_some() || device.cap().is_some() || group.policy == Policy::ForwardOnly;
        fault(limited && !rules.scheme().has_order(), Garbage::LimitWithoutOrder)
    }
}

impl StandingRecord {
    fn facts(&self) -> Standing<'_> {
        Standing {
            claim_expires_at: self.claim_expires_at,
            download_expires_at: self.download_expires_at,
            attempts: self.attempts,
            penalty: self.penalty.as_ref().map(|(hop, end)| (&**hop, *end)),
            place: self.place,
        }
    }
}

/// The one fetch, in the order of the questions: key, serial, device, group; it stops at the first gap. With `await` it is the asynchronous one.
macro_rules! fetch_from {
    ($view:ident, $ask:ident, $hash:expr $(, $await:tt)?) => {{
        let revision = $view.revision()$(.$await)?.map_err(Fault::Store)?;
        let serial = Err(SerialFault::Malformed);
        let mut found = Found { revision, key: None, product: None, serial, device: None, group: None, lease: None };
        // A key that is too long for any product is not hashed, and not looked up.
        if let Some(hash) = $hash {
            found.key = Some(hash);
            found.product = $view.product_of_key(&hash)$(.$await)?.map_err(Fault::Store)?;
        }
        if let Some(product) = &found.product {
            found.serial = product.read_serial($ask.serial);
        }
        match (&found.product, &found.serial) {
            (Some(product), Ok(serial)) => {
                found.device = $view.device(product.id(), serial.as_str())$(.$await)?.map_err(Fault::Store)?;
            }
            // Time does not tell an unknown key, a bad serial and an unknown serial apart: each costs one look-up that finds nobody.
            _ => {
                let serial = SerialScheme::Opaque.read($ask.serial).ok();
                let serial = serial.as_ref().map_or("nobody", CanonicalSerial::as_str);
                $view.device(&nobody(), serial)$(.$await)?.map_err(Fault::Store)?;
            }
        }
        // Question 4 stops whoever is not verified, so nothing more is looked up for them.
        if let (Some(product), Some(device)) = (&found.product, &found.device)
            && device.state() == DeviceState::Verified
        {
            found.lease = $view.lease(product, device)$(.$await)?.map_err(Fault::Store)?;
            found.group = $view.group(product, device, found.lease.as_deref())$(.$await)?.map_err(Fault::Store)?;
        }
        found.check().map_err(Fault::Garbage)?;
        Ok(found)
    }};
}

/// A product that no fleet has: its name has a control character, which [`ProductId::new`] refuses.
fn nobody() -> ProductId {
    static NOBODY: std::sync::LazyLock<ProductId> = std::sync::LazyLock::new(ProductId::nobody);
    NOBODY.clone()
}

/// Fetches the facts for a check-in from one view, and checks that they can be.
///
/// # Errors
/// [`Fault::Store`]: a look-up failed. [`Fault::Garbage`]: what it gave cannot be. Nothing is to be served in either case.
pub fn fetch<'v, V: View>(view: &'v V, ask: &CheckIn<'_>) -> Result<Found<'v>, Fault<V::Error>> {
    fetch_from!(view, ask, KeyHash::of(ask.key))
}

/// The same under a key that is known by its hash, for a host that hashes it once per connection, or asks on behalf of a device; that of the check-in is not
/// looked at.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_known<'v, V: View>(view: &'v V, key: &KeyHash, ask: &CheckIn<'_>) -> Result<Found<'v>, Fault<V::Error>> {
    fetch_from!(view, ask, Some(*key))
}

/// [`fetch_known`] for an asynchronous view.
///
/// # Errors
/// As [`fetch`].
pub async fn fetch_known_async<'v, V: AsyncView>(
    view: &'v V,
    key: &KeyHash,
    ask: &CheckIn<'_>,
) -> Result<Found<'v>, Fault<V::Error>> {
    fetch_from!(view, ask, Some(*key), await)
}

/// [`fetch`] for an asynchronous view.
///
/// # Errors
/// As [`fetch`].
pub async fn fetch_async<'v, V: AsyncView>(view: &'v V, ask: &CheckIn<'_>) -> Result<Found<'v>, Fault<V::Error>> {
    fetch_from!(view, ask, KeyHash::of(ask.key), await)
}

/// Takes a view, fetches, decides, and hands the decision over while the view is held: the whole way of a check-in through a synchronous store. Do not
/// write to the store inside `give`: a store whose views keep writers out would wait for itself.
///
/// ```
/// use otagate::{CheckIn, FleetSpec, MemoryStore, NoTrace, Timestamp, store};
/// let memory = MemoryStore::new(FleetSpec::default().build().unwrap());
/// let ask = CheckIn::new(b"guess", b"A4:CF:12:34:56:78");
/// let status = store::answer(&memory, &ask, Timestamp::from_millis(0), &mut NoTrace, |decision| decision.status());
/// assert_eq!(status.unwrap(), 401);
/// ```
///
/// # Errors
/// As [`fetch`].
pub fn answer<S: Store, T: Trace, R>(
    store: &S,
    ask: &CheckIn<'_>,
    now: Timestamp,
    trace: &mut T,
    give: impl FnOnce(&Decision<'_>) -> R,
) -> Result<R, Fault<S::Error>> {
    let view = store.view_for(ask).map_err(Fault::Store)?;
    let found = fetch(&view, ask)?;
    Ok(give(&decide(&found.facts(), ask, now, trace)))
}

/// [`answer`] for an asynchronous store.
///
/// # Errors
/// As [`fetch`].
pub async fn answer_async<S: AsyncStore, T: Trace, R>(
    store: &S,
    ask: &CheckIn<'_>,
    now: Timestamp,
    trace: &mut T,
    give: impl FnOnce(&Decision<'_>) -> R,
) -> Result<R, Fault<S::Error>> {
    let view = store.view_for(ask).await.map_err(Fault::Store)?;
    let found = fetch_async(&view, ask).await?;
    Ok(give(&decide(&found.facts(), ask, now, trace)))
}
