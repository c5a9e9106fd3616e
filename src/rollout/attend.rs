//! A check-in where there is a ledger: what it holds goes into the facts, what the check-in tells goes into the ledger, and what is served is claimed before
//! it is served (V7).

use super::ledger::{AsyncLedger, ClaimAsk, Claimed, Held, Ledger, Of, OfferAsk, Report, Tried};
use super::statistics::Outcome;
use crate::check_in::{CheckIn, Want};
use crate::decide::decide;
use crate::decide::trace::{NoTrace, Trace, note};
use crate::fleet::{Attempt, Group, GroupId, ProductId, Rollout, Run, Success};
use crate::store::Found;
use crate::time::Timestamp;
use crate::verdict::{ClaimRefused, Decision, Effect, Offer, Verdict};

/// A decision whose claim is settled.
#[derive(Clone, Debug)]
pub struct Attended<'a> {
    /// What it was decided by, with what the ledger holds.
    pub found: &'a Found<'a>,
    /// The decision to give. Where it carries a claim, the ledger has granted it.
    pub decision: Decision<'a>,
    /// The attempt that the offer is, where it is made on a rollout's account: what becomes of it is reported under this, and it belongs into the lease.
    pub attempt: Option<Attempt>,
    /// To be noted after the answer: the device has arrived (R9). Nothing, where the ledger knows so already, or never offered it anything.
    pub seen: Option<Report>,
}

/// Decides a check-in with a ledger, in four steps:
///
/// 1. What the ledger holds about the device is put among the facts; it is asked only where the group has a rollout under way or a cap on downloads.
/// 2. Who was offered the same hop so often, for so long, and asks for it again, is noted as missing (R9), which gives it its penalty; also who arrived each time
///    and fell back.
/// 3. The decision is made.
/// 4. What is newly offered is claimed, until `until`: the life of the lease that the host gives. Where the ledger refuses, the decision says so; where
///    an outcome came in between, it begins again, four times at most.
///
/// ```
/// use otagate::rollout::{MemoryLedger, attend};
/// use otagate::store::{Store, fetch};
/// use otagate::{CheckIn, FleetSpec, MemoryStore, NoTrace, Timestamp};
/// let (store, ledger) = (MemoryStore::new(FleetSpec::default().build().unwrap()), MemoryLedger::default());
/// let (ask, now) = (CheckIn::new(b"guess", b"1"), Timestamp::from_millis(0));
/// let view = store.view().unwrap();
/// let mut found = fetch(&view, &ask).unwrap();
/// let attended = attend(&ledger, &mut found, &ask, now.plus_secs(3_600), now, &mut NoTrace).unwrap();
/// assert_eq!(attended.decision.status(), 401);
/// ```
///
/// # Errors
/// The ledger failed: nothing is to be served (V4).
pub fn attend<'f, L: Ledger, T: Trace>(
    ledger: &L,
    found: &'f mut Found<'_>,
    ask: &CheckIn<'_>,
    until: Timestamp,
    now: Timestamp,
    trace: &mut T,
) -> Result<Attended<'f>, L::Error> {
    let settled = match Who::of(found) {
        Some(who) => settle(ledger, &who, found, ask, until, now)?,
        None => Settled::default(),
    };
    Ok(attended(found, settled, ask, now, trace))
}

/// [`attend`] for an asynchronous ledger.
///
/// # Errors
/// As [`attend`].
pub async fn attend_async<'f, L: AsyncLedger, T: Trace>(
    ledger: &L,
    found: &'f mut Found<'_>,
    ask: &CheckIn<'_>,
    until: Timestamp,
    now: Timestamp,
    trace: &mut T,
) -> Result<Attended<'f>, L::Error> {
    let settled = match Who::of(found) {
        Some(who) => settle_async(ledger, &who, found, ask, until, now).await?,
        None => Settled::default(),
    };
    Ok(attended(found, settled, ask, now, trace))
}

/// The decision that was settled, made again: it is pure.
fn attended<'f, T: Trace>(
    found: &'f Found<'_>,
    settled: Settled,
    ask: &CheckIn<'_>,
    now: Timestamp,
    trace: &mut T,
) -> Attended<'f> {
    let decision = decide(&found.facts(), ask, now, trace);
    let Settled { attempt, refused, seen } = settled;
    let decision = match refused {
        None => decision,
        Some(by) => {
            note!(trace, Now => by.reason(), "claim": "refused by the ledger: somebody was faster");
            decision.refused(by)
        }
    };
    Attended { found, decision, attempt, seen }
}

/// Puts what the ledger holds about the device among the facts, for a look that claims and notes nothing: a trace, say. It is asked where [`attend`] asks it.
///
/// # Errors
/// The ledger failed.
pub fn look<L: Ledger>(ledger: &L, found: &mut Found<'_>, now: Timestamp) -> Result<(), L::Error> {
    let Some(who) = Who::of(found) else { return Ok(()) };
    look_up(ledger, &who, found, now).map(drop)
}

/// [`look`] for an asynchronous ledger.
///
/// # Errors
/// The ledger failed.
pub async fn look_async<L: AsyncLedger>(ledger: &L, found: &mut Found<'_>, now: Timestamp) -> Result<(), L::Error> {
    let Some(who) = Who::of(found) else { return Ok(()) };
    look_up_async(ledger, &who, found, now).await.map(drop)
}

/// How often it is looked at again because an outcome came in between; beyond it the offer is made as it was decided.
const LOOKS_MAX: usize = 4;

/// What the ledger had to say.
#[derive(Default)]
struct Settled {
    attempt: Option<Attempt>,
    refused: Option<ClaimRefused>,
    seen: Option<Report>,
}

/// Looks, decides, and claims, until nothing came in between. With `await` it is the asynchronous way.
macro_rules! settle_by {
    ($look_up:ident, $ledger:ident, $who:ident, $found:ident, $ask:ident, $until:ident, $now:ident $(, $await:tt)?) => {{
        let mut look = 0;
        loop {
            look += 1;
            let mut held = $look_up($ledger, $who, $found, $now)$(.$await)??;
            if let Some(report) = missing($found, $who, &held, $ask, $now) {
                $ledger.note(&report, $now)$(.$await)??;
                held = $look_up($ledger, $who, $found, $now)$(.$await)??;
            }
            let decision = decide(&$found.facts(), $ask, $now, &mut NoTrace);
            if look < LOOKS_MAX
                && let Some((claim, report)) = fell_back($found, $who, &held, &decision, $until, $now)
            {
                // It is an attempt that failed before it was made: its device waits.
                if let Ok(Claimed { attempt: Some(number), .. }) = $ledger.claim(&claim, $now)$(.$await)?? {
                    $ledger.note(&report.of_attempt(number), $now)$(.$await)??;
                }
                continue;
            }
            let Some(mut claim) = $who.claim($found, &held, &decision, $until, $now) else {
                return Ok(Settled { seen: seen($found, $who, &held, &decision), ..Settled::default() });
            };
            if look == LOOKS_MAX {
                claim.offer.iter_mut().for_each(|offer| offer.after = None);
            }
            match $ledger.claim(&claim, $now)$(.$await)?? {
                Err(refused) => return Ok(Settled { refused: Some(refused), ..Settled::default() }),
                Ok(Claimed { attempt: None, .. }) if claim.offer.is_some_and(|offer| offer.after.is_some()) => {}
                Ok(Claimed { attempt, .. }) => {
                    let attempt = $who.run.clone().zip(attempt).map(|(run, number)| Attempt { run, number });
                    return Ok(Settled { attempt, ..Settled::default() });
                }
            }
        }
    }};
}

/// Puts what the ledger holds among the facts. The place by the census is kept, which a host may have lent for a trace.
macro_rules! look_up_by {
    ($ledger:ident, $who:ident, $found:ident, $now:ident $(, $await:tt)?) => {{
        let mut held = $ledger.held(&$who.of_device(), $now)$(.$await)??;
        let lent = $found.facts().device.and_then(|device| device.standing.place);
        held.standing.place = held.standing.place.or(lent);
        $found.lend_standing(std::mem::take(&mut held.standing));
        Ok(held)
    }};
}

fn settle<L: Ledger>(
    ledger: &L,
    who: &Who,
    found: &mut Found<'_>,
    ask: &CheckIn<'_>,
    until: Timestamp,
    now: Timestamp,
) -> Result<Settled, L::Error> {
    settle_by!(look_up, ledger, who, found, ask, until, now)
}

async fn settle_async<L: AsyncLedger>(
    ledger: &L,
    who: &Who,
    found: &mut Found<'_>,
    ask: &CheckIn<'_>,
    until: Timestamp,
    now: Timestamp,
) -> Result<Settled, L::Error> {
    settle_by!(look_up_async, ledger, who, found, ask, until, now, await)
}

fn look_up<L: Ledger>(ledger: &L, who: &Who, found: &mut Found<'_>, now: Timestamp) -> Result<Held, L::Error> {
    look_up_by!(ledger, who, found, now)
}

async fn look_up_async<L: AsyncLedger>(
    ledger: &L,
    who: &Who,
    found: &mut Found<'_>,
    now: Timestamp,
) -> Result<Held, L::Error> {
    look_up_by!(ledger, who, found, now, await)
}

/// The device has arrived, and the ledger does not know.
fn seen(found: &Found<'_>, who: &Who, held: &Held, decision: &Decision<'_>) -> Option<Report> {
    let Some(Effect::Seen(_)) = decision.effect else { return None };
    let tried = held.tried.as_ref().filter(|tried| tried.outcome < Outcome::Installed)?;
    Some(report(found, who, Outcome::Installed)?.of_attempt(tried.number))
}

/// Whom the ledger is asked about: a verified device in a group that has something to claim.
struct Who {
    product: ProductId,
    group: GroupId,
    serial: Box<str>,
    run: Option<Run>,
}

impl Who {
    fn of(found: &Found<'_>) -> Option<Self> {
        let ((product, device), group) = found.identity().zip(found.group())?;
        let run = under_way(group).and_then(|rollout| rollout.run(product.id(), group.id()));
        let needed = run.is_some() || group.downloads_max.is_some();
        needed.then(|| Self {
            product: product.id().clone(),
            group: group.id().clone(),
            serial: device.serial().into(),
            run,
        })
    }

    fn of_device(&self) -> Of<'_> {
        Of { product: &self.product, group: &self.group, serial: &self.serial, run: self.run.as_ref() }
    }

    /// What has to be claimed for a decision that makes a new offer.
    fn claim<'c>(
        &'c self,
        found: &Found<'_>,
        held: &Held,
        decision: &Decision<'c>,
        until: Timestamp,
        now: Timestamp,
    ) -> Option<ClaimAsk<'c>> {
        let Verdict::Serve(offer) = &decision.verdict else { return None };
        if matches!(offer, Offer::Firmware(offer) if offer.leased) {
            return None;
        }
        let claim = match decision.effect {
            Some(Effect::Claim(claim)) => Some(claim),
            _ => None,
        };
        let tried = held.tried.as_ref();
        let success =
            |tried: &Tried| under_way(found.group()?).map(|rollout| tried.outcome.is_success(rollout.success()));
        // Nothing says that a device has left a config or a resource that it has, and a list is no resource: fetching it again is no attempt.
        let again = match offer {
            Offer::Firmware(_) => false,
            Offer::Resources(_) => tried.is_some_and(|tried| !tried.outcome.is_failure()),
            Offer::Config(_) | Offer::Resource(_) => tried.and_then(success) == Some(true),
        };
        let on_account = decision.rollout.is_some() && !again;
        let hop = decision.firmware_offer().map_or("", |offer| offer.firmware.version().text());
        // The wave of its first offer is kept, so only then it is worked out, which takes a hash.
        let first = || {
            let (product, device) = found.identity()?;
            let rollout = under_way(found.group()?)?;
            let wave = rollout.wave_of(product.id().as_str(), device.serial(), device.entered_at());
            u32::try_from(wave.or_else(|| rollout.last_open().map(|(last, ..)| last))?).ok()
        };
        let offer = on_account.then(|| OfferAsk {
            wave: tried.map(|tried| tried.wave).or_else(first).unwrap_or(0),
            hop,
            slots_max: claim.and_then(|claim| claim.slots_max),
            missing: still_missing(found, held, hop, now),
            after: tried.map(|tried| (tried.number, tried.outcome)),
        });
        let downloads_max = claim.and_then(|claim| claim.downloads_max);
        (offer.is_some() || downloads_max.is_some()).then(|| ClaimAsk {
            of: self.of_device(),
            offer,
            downloads_max,
            until,
        })
    }
}

/// Whether a failure at this rollout's hops makes a device wait.
fn makes_wait(rollout: &Rollout) -> bool {
    rollout.penalty().after(1) > 0 && rollout.target_version().is_some()
}

/// Who arrived at that hop and is elsewhere again, so often that it was offered enough.
fn fell_again<'h>(held: &'h Held, rollout: &Rollout, hop: &str, now: Timestamp) -> Option<&'h Tried> {
    let tried = held.tried.as_ref().filter(|tried| *tried.hop == *hop)?;
    let arrived = matches!(tried.outcome, Outcome::Installed | Outcome::Confirmed);
    Some(tried).filter(|tried| arrived && tried.was_offered_enough(rollout, now))
}

/// With how many resumes a new attempt begins as missing, where nothing makes its device wait: it was missing, or it fell back again. Where a download is success,
/// the attempt has to be able to succeed by it.
fn still_missing(found: &Found<'_>, held: &Held, hop: &str, now: Timestamp) -> Option<u32> {
    let rollout = under_way(found.group()?)?;
    let was = held.tried.as_ref().is_some_and(|tried| tried.outcome == Outcome::Missing && *tried.hop == *hop);
    let missing = was || fell_again(held, rollout, hop, now).is_some();
    (missing && !makes_wait(rollout) && rollout.success() != Success::Downloaded).then(|| rollout.resumes())
}

/// The attempt and the report of a device that fell back again, and has to wait.
fn fell_back<'c>(
    found: &Found<'_>,
    who: &'c Who,
    held: &Held,
    decision: &Decision<'c>,
    until: Timestamp,
    now: Timestamp,
) -> Option<(ClaimAsk<'c>, Report)> {
    let rollout = under_way(found.group()?).filter(|rollout| makes_wait(rollout))?;
    fell_again(held, rollout, decision.firmware_offer()?.firmware.version().text(), now)?;
    let mut claim = who.claim(found, held, decision, until, now)?;
    claim.offer?;
    // Nothing is served, so nothing is taken but the attempt.
    claim.downloads_max = None;
    let lapsed = found.facts().device?.standing.claim_expires_at.is_none_or(|end| now >= end);
    Some((claim, report(found, who, Outcome::Missing)?)).filter(|_| lapsed)
}

fn under_way(group: &Group) -> Option<&Rollout> {
    group.rollout().filter(|rollout| rollout.is_active())
}

fn report(found: &Found<'_>, who: &Who, outcome: Outcome) -> Option<Report> {
    Report::new(&who.product, &who.group, under_way(found.group()?)?, &who.serial, outcome)
}

/// R9: offered the same hop so often, the first time so long ago, and about to be offered it again.
fn missing(found: &Found<'_>, who: &Who, held: &Held, ask: &CheckIn<'_>, now: Timestamp) -> Option<Report> {
    let rollout = under_way(found.group()?)?;
    let tried = held.tried.as_ref().filter(|tried| tried.was_offered_enough(rollout, now))?;
    if tried.outcome.is_finished(rollout.success()) {
        return None;
    }
    let decision = decide(&found.facts(), ask, now, &mut NoTrace);
    let again = match &decision.verdict {
        Verdict::Serve(Offer::Firmware(offer)) => !offer.leased && offer.firmware.version().text() == &*tried.hop,
        // Who fetches the resources of a list asks many times.
        Verdict::Serve(Offer::Config(_)) => ask.want == Want::Config && tried.hop.is_empty(),
        _ => false,
    };
    let lapsed = found.facts().device?.standing.claim_expires_at.is_none_or(|end| now >= end);
    let again = again && lapsed && decision.rollout.is_some();
    Some(report(found, who, Outcome::Missing)?.of_attempt(tried.number)).filter(|_| again)
}
