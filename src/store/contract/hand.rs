//! The hand that asks: the few things that the suite does to a store, once for a synchronous and once for an asynchronous one. All else is written once.

mod awaiting;
mod calling;

pub(super) use awaiting::Awaiting;
pub(super) use calling::Calling;

use super::Changed;
use crate::check_in::CheckIn;
use crate::fleet::{CanonicalSerial, Catalogue, Change, Device, Fleet, Group, KeyHash, Product, ProductId, Revision};
use crate::lease::Lease;
use crate::store::{Lent, Registered, StandingRecord};
use crate::time::Timestamp;
use crate::verdict::Decision;
use std::error::Error;
use std::time::Duration;

/// How many ask at once.
pub(super) const AT_ONCE: usize = 8;
/// How long a view is held while somebody writes. A store whose views block writers makes them wait for so long, and is not the worse for it.
const VIEW_LASTS: Duration = Duration::from_millis(200);
/// How often a refused change is tried, and how long the writer waits in between: longer, together, than a view lasts.
const TRIES: usize = 10;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How many views are taken at most while somebody writes.
const VIEWS_MAX: usize = 2_000;

/// What to look up in one view.
#[derive(Clone, Default)]
pub(super) struct LookUps {
    pub(super) keys: Vec<KeyHash>,
    pub(super) devices: Vec<(ProductId, String)>,
    pub(super) groups: Vec<(Product, Device)>,
}

/// What one view gave, in the order of the look-ups.
pub(super) struct Seen {
    pub(super) revision: Revision,
    pub(super) products: Vec<Option<Product>>,
    pub(super) devices: Vec<Option<Device>>,
    pub(super) groups: Vec<GroupSeen>,
}

/// What a view gave of a device's group.
pub(super) struct GroupSeen {
    pub(super) found: Option<(Group, Catalogue, StandingRecord)>,
    pub(super) lease: Option<Lease>,
}

/// A batch, and the fleet that it leads to.
pub(super) struct Step {
    pub(super) changes: Vec<Change>,
    pub(super) after: Fleet,
}

/// A decision as JSON, and its trace as text.
pub(super) type Told = (String, String);

/// What the suite does to a store. Errors are sentences.
pub(super) trait Hand {
    type Store;

    async fn open(&self, fleet: &Fleet) -> Result<Self::Store, String>;

    /// Looks everything up in one view.
    async fn look(&self, store: &Self::Store, ups: &LookUps) -> Result<Seen, String>;

    async fn ask(&self, store: &Self::Store, ask: &CheckIn<'_>, now: Timestamp) -> Result<Told, String>;

    async fn register(
        &self,
        store: &Self::Store,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, String>;

    /// Registers them all, [`AT_ONCE`] at a time; the outcomes stand beside the serials.
    async fn race(
        &self,
        store: &Self::Store,
        product: &ProductId,
        serials: &[CanonicalSerial],
        at: Timestamp,
    ) -> Vec<(CanonicalSerial, Result<Registered, String>)>;

    async fn change(&self, store: &Self::Store, step: &Step) -> Result<Changed, String>;

    /// Looks twice in one view, and has the store changed in between, or at least waiting for the view to go. When it returns, it is changed.
    async fn look_while_changed(&self, store: &Self::Store, ups: &LookUps, step: &Step)
    -> Result<(Seen, Seen), String>;

    /// Takes view after view, at least one, while the store is changed step by step. A view that fails is none: a store that is not sure fails.
    async fn look_and_look(&self, store: &Self::Store, ups: &LookUps, steps: &[Step]) -> Result<Vec<Seen>, String>;
}

/// Asks everything of one view; with `await` of an asynchronous one.
macro_rules! look_up {
    ($view:expr, $ups:expr $(, $await:tt)?) => {{
        let mut seen = Seen {
            revision: $view.revision()$(.$await)?.map_err(|error| failed("the revision", &error))?,
            products: Vec::new(),
            devices: Vec::new(),
            groups: Vec::new(),
        };
        for key in &$ups.keys {
            let found = $view.product_of_key(key)$(.$await)?;
            let found = found.map_err(|error| failed(&format!("the product of key hash {}", key.0), &error))?;
            seen.products.push(found.map(own));
        }
        for (product, serial) in &$ups.devices {
            let found = $view.device(product, serial)$(.$await)?.map_err(|error| failed(&name(product.as_str(), serial), &error))?;
            seen.devices.push(found.map(own));
        }
        for (product, device) in &$ups.groups {
            let whose = || format!("the group of {}", name(product.id().as_str(), device.serial()));
            let found = $view.group(product, device, None)$(.$await)?.map_err(|error| failed(&whose(), &error))?;
            let found = found.map(|GroupRecord { group, catalogue, standing }| (own(group), own(catalogue), standing));
            let lease = $view.lease(product, device)$(.$await)?.map_err(|error| failed(&whose(), &error))?;
            seen.groups.push(GroupSeen { found, lease: lease.map(own) });
        }
        Ok(seen)
    }};
}
use look_up;

fn own<T: Clone>(held: Lent<'_, T>) -> T {
    T::clone(&held)
}

/// A device as it is named in a finding.
pub(super) fn name(product: &str, serial: &str) -> String {
    format!("device `{}` of product `{}`", serial.escape_debug(), product.escape_debug())
}

/// An error with all that lies behind it.
fn failed(what: &str, error: &dyn Error) -> String {
    let mut text = format!("asked for {what}, the store failed: {error}");
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn told(decision: &Decision<'_>) -> String {
    serde_json::to_string(decision).unwrap_or_else(|error| error.to_string())
}

fn refused(fault: String) -> String {
    format!("a change was refused {TRIES} times: {fault}")
}
