//! What a host does about a request, besides sending the response: the lease to keep, what comes after the answer, what to log.

use super::super::{Body, Response};
use super::{Call, Request};
use crate::decide::trace::Trace;
use crate::decide::{decide, identify};
use crate::fleet::{CanonicalSerial, Device, Product, ProductId, Revision, RolloutId};
use crate::lease::Lease;
use crate::leases::Leases;
use crate::store::{Fault, Store, fetch};
use crate::time::Timestamp;
use crate::verdict::{ClaimRefused, Decision, Effect, Reason};

/// How long offers are leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// From the offer on: longer than the slowest download, in seconds.
    pub lease_secs: u32,
    /// What is left of it once the last byte was sent, for a device whose connection broke just then, in seconds.
    pub grace_secs: u32,
}

impl Default for LeaseTimes {
    /// An hour, and a minute.
    fn default() -> Self {
        Self { lease_secs: 3_600, grace_secs: 60 }
    }
}

/// The response to a request, and what else a host does about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What the device is sent.
    pub response: Response,
    /// Why; for the log, never for the device. `None` for a sign of life that was taken: nothing was decided.
    pub reason: Option<Reason>,
    /// The revision of the fleet that was seen.
    pub revision: Revision,
    /// The product and the canonical serial, where both are known.
    pub device: Option<(ProductId, Box<str>)>,
    /// The answer continues an offer that was made before.
    pub leased: bool,
    /// Before the answer: the offer to keep for the device, so that it stays the same through a ranged download.
    pub lease: Option<Lease>,
    /// After the body: it ends the file, so the device's lease can be shortened ([`Leases::finish`]).
    pub ends_lease: bool,
    /// After the answer, whatever becomes of it: it must not change the answer, nor its time.
    pub after: Option<After>,
}

/// What is carried out after the answer (V7).
#[derive(Clone, Debug, PartialEq)]
pub enum After {
    /// Register the device (question 3).
    Register(ProductId, CanonicalSerial),
    /// The device reported the target version of this rollout (R9).
    Seen(RolloutId),
}

impl Request {
    /// The reply to a decision: a pure function. `who` is the product and device that the store found. Claims are settled before: give what
    /// [`Decision::refused`] gives where the ledger refused.
    pub fn reply(
        &self,
        decision: &Decision<'_>,
        who: Option<(&Product, &Device)>,
        times: LeaseTimes,
        now: Timestamp,
    ) -> Reply {
        let response = self.respond(decision);
        let offer = decision.firmware_offer();
        let fresh = offer.filter(|offer| !offer.leased).zip(who);
        let expires_at = now.plus_secs(times.lease_secs.into());
        let lease = fresh.and_then(|(offer, (_, device))| Lease::of(offer, device.group(), &self.version, expires_at));
        let ends_lease = offer.is_some_and(|offer| sends_last_byte(&response, offer.artifact.size_bytes()));
        let leased = offer.is_some_and(|offer| offer.leased);
        self.finish(response, decision, who, lease, leased, ends_lease)
    }

    /// The reply to a sign of life, where the refusal of questions 1 to 4 is one.
    fn reply_alive(
        &self,
        refusal: Option<Decision<'_>>,
        who: Option<(&Product, &Device)>,
        revision: Revision,
    ) -> Reply {
        match &refusal {
            Some(refusal) => self.finish(Response::empty(refusal.status()), refusal, who, None, false, false),
            None => Reply {
                response: Response::empty(200),
                reason: None,
                revision,
                device: device_of(who),
                leased: false,
                lease: None,
                ends_lease: false,
                after: None,
            },
        }
    }

    fn finish(
        &self,
        response: Response,
        decision: &Decision<'_>,
        who: Option<(&Product, &Device)>,
        lease: Option<Lease>,
        leased: bool,
        ends_lease: bool,
    ) -> Reply {
        let register = || decision.effect.as_ref()?.registration(&self.check_in());
        let after = match decision.effect {
            Some(Effect::Seen(rollout)) => Some(After::Seen(rollout.clone())),
            _ => register().map(|(product, serial)| After::Register(product.id().clone(), serial)),
        };
        let (reason, revision, device) = (Some(decision.reason), decision.revision, device_of(who));
        Reply { response, reason, revision, device, leased, lease, ends_lease, after }
    }
}

fn device_of(who: Option<(&Product, &Device)>) -> Option<(ProductId, Box<str>)> {
    who.map(|(product, device)| (product.id().clone(), device.serial().into()))
}

/// Answers a request from a synchronous store and this process's leases; the lease of a new offer is kept. What comes after the answer is the host's. A claim is
/// refused, since there is no ledger here. An asynchronous host does the same with [`fetch_async`](crate::store::fetch_async) and [`Request::reply`].
///
/// ```
/// use otagate::{FleetSpec, Leases, MemoryStore, NoTrace, Timestamp, wire::otadrive};
/// let store = MemoryStore::new(FleetSpec::default().build()?);
/// let request = otadrive::Request::parse("GET", "/deviceapi/update?k=guess&s=1&v=", |_| None).unwrap();
/// let now = Timestamp::from_millis(0);
/// let reply = otadrive::answer(&store, &Leases::new(100), Default::default(), &request, now, &mut NoTrace).unwrap();
/// assert_eq!((reply.response.status, reply.reason), (401, Some(otagate::Reason::KeyUnknown)));
/// # Ok::<(), otagate::Problems>(())
/// ```
///
/// # Errors
/// The store failed: answer 503, and serve nothing.
pub fn answer<S: Store, T: Trace>(
    store: &S,
    leases: &Leases,
    times: LeaseTimes,
    request: &Request,
    now: Timestamp,
    trace: &mut T,
) -> Result<Reply, Fault<S::Error>> {
    let ask = request.check_in();
    let view = store.view().map_err(Fault::Store)?;
    let mut found = fetch(&view, &ask)?;
    let lease = found.identity().and_then(|(product, device)| leases.of(product.id(), device.serial(), now));
    found.lend(lease);
    let facts = found.facts();
    if request.call == Call::Alive {
        return Ok(request.reply_alive(identify(&facts, &ask, now, trace), found.identity(), facts.revision));
    }
    let decided = decide(&facts, &ask, now, trace);
    let decision = match decided.effect {
        Some(Effect::Claim(claim)) if claim.slots_max.is_some() => decided.refused(ClaimRefused::Slots),
        Some(Effect::Claim(_)) => decided.refused(ClaimRefused::Downloads),
        _ => decided,
    };
    let mut reply = request.reply(&decision, found.identity(), times, now);
    if let (Some(lease), Some((product, serial))) = (reply.lease.clone(), &reply.device)
        && !leases.keep(product, serial, lease, now)
    {
        // The table is full: the device is decided anew on each request, and the host can see it.
        reply.lease = None;
    }
    Ok(reply)
}

fn sends_last_byte(response: &Response, size_bytes: u64) -> bool {
    matches!(&response.body, Body::File(part) if part.start + part.len == size_bytes)
}
