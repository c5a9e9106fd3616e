//! Where the promises ask: a ledger of their own, the calls in few words, and what is found when an answer is another.

use super::hand::{Hand, name};
use crate::fleet::{GroupId, Penalty, ProductId, RolloutId, Run};
use crate::rollout::{ClaimAsk, Claimed, Held, Noted, Of, OfferAsk, Outcome, Outcomes, Report, Statistics, Tried};
use crate::store::StandingRecord;
use crate::store::contract::{Finding, Kept, broken_by};
use crate::time::Timestamp;
use crate::verdict::ClaimRefused;
use std::fmt;

/// So long live the claims of [`offer`] and the places of [`download`], in seconds from their `now`.
pub(super) const LIFE: i64 = 3_600;
/// The hop of [`offer`].
pub(super) const HOP: &str = "2.0.0";

/// So many seconds after the suite's beginning, in 2026.
pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_795_428_000_000).plus_secs(secs)
}

/// A run of product `lamp` and group `stable`.
pub(super) fn run(rollout: &str) -> Result<Run, String> {
    run_of("lamp", "stable", rollout, at(0))
}

pub(super) fn run_of(product: &str, group: &str, rollout: &str, started_at: Timestamp) -> Result<Run, String> {
    let fault = |fault: crate::fleet::TextFault| fault.to_string();
    Ok(Run {
        product: ProductId::new(product).map_err(fault)?,
        group: GroupId::new(group).map_err(fault)?,
        rollout: RolloutId::new(rollout).map_err(fault)?,
        started_at,
    })
}

pub(super) fn of<'a>(run: &'a Run, serial: &'a str) -> Of<'a> {
    Of { product: &run.product, group: &run.group, serial, run: Some(run) }
}

/// The claim of an offer in wave 0, without limits.
pub(super) fn offer<'a>(run: &'a Run, serial: &'a str, now: Timestamp) -> ClaimAsk<'a> {
    offer_of(run, serial, OfferAsk { wave: 0, hop: HOP, slots_max: None, missing: None, after: None }, now)
}

pub(super) fn offer_of<'a>(run: &'a Run, serial: &'a str, offer: OfferAsk<'a>, now: Timestamp) -> ClaimAsk<'a> {
    ClaimAsk { of: of(run, serial), offer: Some(offer), downloads_max: None, until: now.plus_secs(LIFE) }
}

/// The same for another hop.
pub(super) fn offer_hop<'a>(run: &'a Run, serial: &'a str, hop: &'a str, now: Timestamp) -> ClaimAsk<'a> {
    offer_of(run, serial, OfferAsk { wave: 0, hop, slots_max: None, missing: None, after: None }, now)
}

/// The same with one of so many slots.
pub(super) fn slot<'a>(run: &'a Run, serial: &'a str, slots_max: u32, now: Timestamp) -> ClaimAsk<'a> {
    offer_of(run, serial, OfferAsk { wave: 0, hop: HOP, slots_max: Some(slots_max), missing: None, after: None }, now)
}

/// The claim of a place among so many downloads, and of nothing else.
pub(super) fn download<'a>(of: Of<'a>, downloads_max: u32, until: Timestamp) -> ClaimAsk<'a> {
    ClaimAsk { of, offer: None, downloads_max: Some(downloads_max), until }
}

/// A report of the latest attempt: no resumes, a minute of penalty, a minute of grace.
pub(super) fn report(run: &Run, serial: &str, outcome: Outcome) -> Report {
    Report {
        run: run.clone(),
        serial: serial.into(),
        attempt: None,
        outcome,
        resumes: 0,
        penalty: Penalty { secs: 60, secs_max: 86_400 },
        grace_secs: 60,
    }
}

/// What a ledger holds about a device, as far as anybody can tell: of what lapsed, only that it did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// It has a claim, live or lapsed: a slot that it keeps (R5).
    pub(super) claimed: bool,
    /// When its claim ends, while it lives.
    pub(super) claim: Option<Timestamp>,
    /// When its place among the downloads ends, while it lives.
    pub(super) place: Option<Timestamp>,
    pub(super) attempts: u32,
    /// While it has to wait.
    pub(super) penalty: Option<(Box<str>, Timestamp)>,
    pub(super) downloads_now: u32,
    pub(super) slots_taken: u32,
    pub(super) tried: Option<Tried>,
}

impl Seen {
    fn of(held: Held, now: Timestamp) -> Self {
        // The place by the census is nothing that a ledger is told.
        let StandingRecord {
            claim_expires_at,
            download_expires_at,
            attempts,
            penalty,
            place: _,
            downloads_now,
            slots_taken,
        } = held.standing;
        Self {
            claimed: claim_expires_at.is_some(),
            claim: claim_expires_at.filter(|end| now < *end),
            place: download_expires_at.filter(|end| now < *end),
            attempts,
            penalty: penalty.filter(|(_, end)| now < *end),
            downloads_now,
            slots_taken,
            tried: held.tried,
        }
    }
}

/// A ledger, and the hand that asks it.
pub(super) struct Desk<'h, H: Hand> {
    pub(super) hand: &'h H,
    pub(super) ledger: H::Ledger,
}

impl<'h, H: Hand> Desk<'h, H> {
    pub(super) async fn open(hand: &'h H) -> Result<Self, Finding> {
        let ledger = hand.open().await.map_err(|fault| format!("a ledger could not be made: {fault}"))?;
        Ok(Self { hand, ledger })
    }

    pub(super) async fn seen(&self, of: Of<'_>, now: Timestamp) -> Result<Seen, Finding> {
        Ok(Seen::of(self.hand.held(&self.ledger, &of, now).await?, now))
    }

    /// Its latest attempt, which should be there.
    pub(super) async fn tried(&self, run: &Run, serial: &str, now: Timestamp) -> Result<Tried, Finding> {
        let tried = self.seen(of(run, serial), now).await?.tried;
        let missing = || format!("{} was offered something, and no attempt of it is held", name(serial));
        Ok(tried.ok_or_else(missing)?)
    }

    pub(super) async fn claim(
        &self,
        ask: ClaimAsk<'_>,
        now: Timestamp,
    ) -> Result<Result<Claimed, ClaimRefused>, Finding> {
        Ok(self.hand.claim(&self.ledger, &ask, now).await?)
    }

    /// A claim that nothing stands against.
    pub(super) async fn granted(&self, ask: ClaimAsk<'_>, now: Timestamp) -> Result<Claimed, Finding> {
        let refused = |refused| format!("{} is refused for {refused:?}, and nothing stands against it", asked(&ask));
        Ok(self.claim(ask, now).await?.map_err(refused)?)
    }

    /// A claim that has to be refused.
    pub(super) async fn refused(&self, ask: ClaimAsk<'_>, by: ClaimRefused, now: Timestamp) -> Kept {
        match self.claim(ask, now).await? {
            Err(refused) if refused == by => Ok(()),
            Err(other) => broken_by(Some(format!("{} is refused for {other:?}, should be for {by:?}", asked(&ask)))),
            Ok(_) => broken_by(Some(format!("{} is granted, should be refused for {by:?}", asked(&ask)))),
        }
    }

    pub(super) async fn note(&self, report: &Report, now: Timestamp) -> Result<Noted, Finding> {
        Ok(self.hand.note(&self.ledger, report, now).await?)
    }

    pub(super) async fn release(&self, of: Of<'_>, at: Timestamp) -> Kept {
        Ok(self.hand.release(&self.ledger, &of, at).await?)
    }

    pub(super) async fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, Finding> {
        Ok(self.hand.statistics(&self.ledger, run, resumes).await?)
    }

    /// Whether so many devices stand at these outcomes, over all waves, and no others do.
    pub(super) async fn counts(&self, when: &str, run: &Run, should: &[(Outcome, u64)]) -> Kept {
        let is = self.statistics(run, 0).await?.total();
        same(&format!("{when}, the account of the run"), &is, &outcomes(should))
    }

    pub(super) async fn forget(&self, run: &Run) -> Kept {
        Ok(self.hand.forget(&self.ledger, run).await?)
    }
}

pub(super) fn outcomes(counts: &[(Outcome, u64)]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (outcome, count) in counts {
        *outcomes.at_mut(*outcome) += count;
    }
    outcomes
}

fn asked(ask: &ClaimAsk<'_>) -> String {
    let mut text = format!("the claim of {}", name(ask.of.serial));
    let wants = ask.offer.map(|offer| format!("for `{}`", offer.hop.escape_debug()));
    let slot = ask.offer.and_then(|offer| offer.slots_max).map(|max| format!("with one of {max} slots"));
    let place = ask.downloads_max.map(|max| format!("with one of {max} downloads"));
    for part in [wants, slot, place].into_iter().flatten() {
        text = format!("{text} {part}");
    }
    text
}

/// Broken, unless it is what it should be.
pub(super) fn same<T: fmt::Debug + PartialEq>(what: &str, is: &T, should: &T) -> Kept {
    broken_by((is != should).then(|| format!("{what} is {is:?}, should be {should:?}")))
}
