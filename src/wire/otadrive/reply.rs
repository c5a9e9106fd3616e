//! What a host does about a request, besides sending the response: the lease to keep, what comes after the answer, what to log.

use super::super::{Body, Response};
use super::{Call, Request};
use crate::decide::identify;
use crate::decide::trace::Trace;
use crate::fleet::{CanonicalSerial, Change, ProductId, Revision};
use crate::lease::Lease;
use crate::leases::Leases;
use crate::rollout::{AsyncLedger, Attended, Ends, Ledger, Report, attend, attend_async};
use crate::store::{AsyncStore, Fault, Found, Store, fetch, fetch_async};
use crate::time::Timestamp;
use crate::verdict::{Decision, Offer, Reason, Verdict};

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
    /// The product of the key, where it is one's: what verdicts are counted by.
    pub product: Option<ProductId>,
    /// The product and the canonical serial, where both are known.
    pub device: Option<(ProductId, Box<str>)>,
    /// The answer continues an offer that was made before.
    pub leased: bool,
    /// Before the answer: the offer to keep for the device, so that it stays the same through a ranged download.
    pub lease: Option<Lease>,
    /// After the body, since it was the last of what was offered.
    pub ends: Option<Ends>,
    /// After the answer, whatever becomes of it: it must not change the answer, nor its time.
    pub after: Vec<After>,
}

/// What is carried out after the answer (V7).
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there are at most two of them, and a box would burden every host")]
pub enum After {
    /// Register the device (question 3).
    Register(ProductId, CanonicalSerial),
    /// Note in the ledger that the device has arrived (R9).
    Note(Report),
    /// Apply this [`SeeDevice`](Change::SeeDevice): the device reports another version than was known, which a census will ask (R3).
    See(Change),
}

/// What a host answers by: its store, its ledger ([`NoLedger`](crate::rollout::NoLedger), if it has none) and the leases of this process.
#[derive(Debug)]
pub struct Host<'h, S, L> {
    /// The store.
    pub store: &'h S,
    /// The ledger.
    pub ledger: &'h L,
    /// The leases.
    pub leases: &'h Leases,
    /// How long offers, and the claims on them, live.
    pub times: LeaseTimes,
}

impl Request {
    /// The reply to a decision whose claim is settled: a pure function.
    pub fn reply(&self, attended: &Attended<'_>, times: LeaseTimes, now: Timestamp) -> Reply {
        let Attended { found, decision, .. } = attended;
        let response = self.respond(decision);
        let offer = decision.firmware_offer();
        let lease = attended.lease(&self.version, now.plus_secs(times.lease_secs.into()));
        // The last byte of what this answer offers; of a list nothing is left to send.
        let last = match &decision.verdict {
            Verdict::Serve(Offer::Firmware(offer)) => sends_last_byte(&response, offer.artifact.size_bytes()),
            Verdict::Serve(Offer::Resource(resource)) => sends_last_byte(&response, resource.size_bytes()),
            Verdict::Serve(Offer::Config(_) | Offer::Resources(_)) => true,
            _ => false,
        };
        let ends = attended.ends(times.grace_secs).filter(|_| last);
        let mut after: Vec<After> = attended.seen.clone().map(After::Note).into_iter().collect();
        let update = matches!(self.call, Call::Update { .. });
        after.extend(found.reported(&self.check_in()).filter(|_| update).map(After::See));
        let leased = offer.is_some_and(|offer| offer.leased);
        Reply { leased, lease, ends, ..self.finish(response, decision, found, after) }
    }

    /// The reply to a sign of life, where the refusal of questions 1 to 4 is one.
    fn reply_alive(&self, refusal: Option<Decision<'_>>, found: &Found<'_>) -> Reply {
        match &refusal {
            Some(refusal) => self.finish(Response::empty(refusal.status()), refusal, found, Vec::new()),
            None => Reply {
                response: Response::empty(200),
                reason: None,
                revision: found.facts().revision,
                product: product_of(found),
                device: device_of(found),
                leased: false,
                lease: None,
                ends: None,
                after: Vec::new(),
            },
        }
    }

    fn finish(&self, response: Response, decision: &Decision<'_>, found: &Found<'_>, mut after: Vec<After>) -> Reply {
        let registration = decision.effect.as_ref().and_then(|effect| effect.registration(&self.check_in()));
        after.extend(registration.map(|(product, serial)| After::Register(product.id().clone(), serial)));
        Reply {
            response,
            reason: Some(decision.reason),
            revision: decision.revision,
            product: product_of(found),
            device: device_of(found),
            leased: false,
            lease: None,
            ends: None,
            after,
        }
    }
}

fn product_of(found: &Found<'_>) -> Option<ProductId> {
    found.facts().key.map(|key| key.product.id().clone())
}

fn device_of(found: &Found<'_>) -> Option<(ProductId, Box<str>)> {
    found.identity().map(|(product, device)| (product.id().clone(), device.serial().into()))
}

/// Why a request could not be answered: answer 503, and serve nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostFault<S, L> {
    /// The store failed, or gave what cannot be.
    #[error("the store failed")]
    Store(#[source] Fault<S>),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[source] L),
}

/// An answer, written once; with `await` it is that of an asynchronous host.
macro_rules! answer_by {
    ($view:ident, $fetch:ident, $attend:ident, $host:ident, $request:ident, $now:ident, $trace:ident $(, $await:tt)?) => {{
        let Host { store, ledger, leases, times } = $host;
        let ask = $request.check_in();
        let view = store.$view(&ask)$(.$await)?.map_err(|error| HostFault::Store(Fault::Store(error)))?;
        let mut found = $fetch(&view, &ask)$(.$await)?.map_err(HostFault::Store)?;
        if $request.call == Call::Alive {
            return Ok($request.reply_alive(identify(&found.facts(), &ask, $now, $trace), &found));
        }
        let lease = found.identity().and_then(|(product, device)| leases.of(product.id(), device.serial(), $now));
        found.lend(lease);
        let until = $now.plus_secs(times.lease_secs.into());
        let attended = $attend(*ledger, &mut found, &ask, until, $now, $trace)$(.$await)?.map_err(HostFault::Ledger)?;
        let mut reply = $request.reply(&attended, *times, $now);
        if let (Some(lease), Some((product, serial))) = (reply.lease.clone(), &reply.device)
            && !leases.keep(product, serial, lease, $now)
        {
            // The table is full: the device is decided anew on each request, and the host can see it.
            reply.lease = None;
        }
        Ok(reply)
    }};
}

/// Answers a request from a synchronous store, a ledger and this process's leases; what is offered is claimed, and its lease is kept. What comes after the answer is
/// the host's.
///
/// ```
/// use otagate::wire::otadrive::{self, Host};
/// use otagate::{FleetSpec, Leases, MemoryStore, NoTrace, Timestamp, rollout::MemoryLedger};
/// let store = MemoryStore::new(FleetSpec::default().build()?);
/// let (ledger, leases) = (MemoryLedger::default(), Leases::new(100));
/// let host = Host { store: &store, ledger: &ledger, leases: &leases, times: Default::default() };
/// let request = otadrive::Request::parse("GET", "/deviceapi/update?k=guess&s=1&v=", |_| None).unwrap();
/// let reply = otadrive::answer(&host, &request, Timestamp::from_millis(0), &mut NoTrace).unwrap();
/// assert_eq!((reply.response.status, reply.reason), (401, Some(otagate::Reason::KeyUnknown)));
/// # Ok::<(), otagate::Problems>(())
/// ```
///
/// # Errors
/// Store or ledger failed: answer 503, and serve nothing.
pub fn answer<S: Store, L: Ledger, T: Trace>(
    host: &Host<'_, S, L>,
    request: &Request,
    now: Timestamp,
    trace: &mut T,
) -> Result<Reply, HostFault<S::Error, L::Error>> {
    answer_by!(view_for, fetch, attend, host, request, now, trace)
}

/// [`answer`] from an asynchronous store and an asynchronous ledger.
///
/// # Errors
/// As [`answer`].
pub async fn answer_async<S: AsyncStore, L: AsyncLedger, T: Trace>(
    host: &Host<'_, S, L>,
    request: &Request,
    now: Timestamp,
    trace: &mut T,
) -> Result<Reply, HostFault<S::Error, L::Error>> {
    answer_by!(view_for, fetch_async, attend_async, host, request, now, trace, await)
}

fn sends_last_byte(response: &Response, size_bytes: u64) -> bool {
    matches!(&response.body, Body::File(part) if part.start + part.len == size_bytes)
}
