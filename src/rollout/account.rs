//! What becomes of a device's account by an offer and by a report: pure, and the same whatever holds the accounts.

use super::ledger::{Noted, OfferAsk, Report, Tried};
use super::statistics::Outcome;
use crate::fleet::WAVES_MAX;
use crate::store::StandingRecord;
use crate::time::Timestamp;
use std::sync::Arc;

/// A place that lapsed so long ago is forgotten. Long, because a clock may be set back.
pub(crate) const PLACE_KEPT_SECS: i64 = 7 * 86_400;

/// One device's account in a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) number: u32,
    pub(crate) wave: u32,
    pub(crate) hop: Arc<str>,
    pub(crate) offers: u32,
    pub(crate) first_offered_at: Timestamp,
    pub(crate) outcome: Outcome,
    /// How many resumes the outcome came about with.
    pub(crate) resumes: u32,
    pub(crate) claim_expires_at: Timestamp,
    /// Where earlier attempts failed.
    pub(crate) before: Option<Box<FailedAt>>,
    /// Until when it waits, if this attempt is one that failed.
    pub(crate) waits_until: Option<Timestamp>,
}

/// Where a device failed last, how often in a row, and until when it waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FailedAt {
    pub(crate) hop: Arc<str>,
    pub(crate) times: u32,
    /// None, where a failure is no reason to wait.
    pub(crate) until: Option<Timestamp>,
}

impl Entry {
    /// Until when a device waits that this report says failed: longer each time in a row at one hop.
    fn waits(&self, report: &Report, at: Timestamp) -> Option<Timestamp> {
        let secs = report.penalty.after(self.times());
        (report.outcome.is_failure() && secs > 0).then(|| at.plus_secs(secs.into()))
    }

    /// How often in a row it failed at this hop, if this attempt is one that failed.
    fn times(&self) -> u32 {
        let again = self.before.as_ref().filter(|failed| failed.hop == self.hop);
        again.map_or(1, |failed| failed.times.saturating_add(1))
    }

    /// Where it failed last, and until when it waits: this attempt, if it failed; nowhere, if it arrived; else an earlier one.
    pub(crate) fn failed(&self) -> Option<FailedAt> {
        match self.outcome {
            Outcome::Failed | Outcome::Missing => {
                Some(FailedAt { hop: self.hop.clone(), times: self.times(), until: self.waits_until })
            }
            Outcome::Installed | Outcome::Confirmed => None,
            Outcome::Offered | Outcome::Downloaded => self.before.as_deref().cloned(),
        }
    }

    pub(crate) fn tried(&self) -> Tried {
        Tried {
            number: self.number,
            wave: self.wave,
            hop: (*self.hop).into(),
            offers: self.offers,
            first_offered_at: self.first_offered_at,
            outcome: self.outcome,
        }
    }
}

/// Whether the offer was decided by what is so no more, and would be a new attempt: then nothing is claimed.
pub(crate) fn is_stale(entry: Option<&Entry>, offer: &OfferAsk<'_>, now: Timestamp) -> bool {
    let Some((after, entry)) = offer.after.zip(entry) else { return false };
    let is_new = now >= entry.claim_expires_at || *entry.hop != *offer.hop;
    is_new && after != (entry.number, entry.outcome)
}

/// The account after an offer, at a hop that is shared with others; none: it is the offer that was made already.
pub(crate) fn offered(
    before: Option<&Entry>,
    offer: &OfferAsk<'_>,
    hop: Arc<str>,
    until: Timestamp,
    now: Timestamp,
) -> Option<Entry> {
    let Some(before) = before else {
        return Some(Entry {
            number: 1,
            // No rollout has more waves.
            wave: offer.wave.min(WAVES_MAX as u32 - 1),
            hop,
            offers: 1,
            first_offered_at: now,
            outcome: Outcome::Offered,
            resumes: 0,
            claim_expires_at: until,
            before: None,
            waits_until: None,
        });
    };
    if now < before.claim_expires_at && before.hop == hop {
        return None;
    }
    let (outcome, resumes) = offer.missing.map_or((Outcome::Offered, 0), |resumes| (Outcome::Missing, resumes));
    let again = before.hop == hop;
    Some(Entry {
        number: before.number.saturating_add(1),
        wave: before.wave,
        hop,
        offers: if again { before.offers.saturating_add(1) } else { 1 },
        first_offered_at: if again { before.first_offered_at } else { now },
        outcome,
        resumes,
        claim_expires_at: until,
        before: before.failed().map(Box::new),
        waits_until: None,
    })
}

/// What a report comes to, the account after it, and the end that it says for the claim and the place. An error: it changes nothing.
pub(crate) fn noted(
    before: Option<&Entry>,
    report: &Report,
    at: Timestamp,
) -> Result<(Noted, Entry, Option<Timestamp>), Noted> {
    let before = before.ok_or(Noted::Foreign)?;
    match report.attempt.unwrap_or(before.number) {
        number if number == 0 || number > before.number => return Err(Noted::Foreign),
        number if number < before.number => return Err(Noted::Known),
        _ => {}
    }
    let mut entry = before.clone();
    let end = match report.outcome {
        Outcome::Offered => None,
        Outcome::Downloaded => Some(at.plus_secs(report.grace_secs.into())),
        _ => Some(at),
    };
    entry.claim_expires_at = end.map_or(entry.claim_expires_at, |end| end.min(entry.claim_expires_at));
    // Everything is a least or a greatest of what was told, so that the order in which it was told is of no account.
    let noted = if report.outcome > entry.outcome {
        (entry.outcome, entry.resumes, entry.waits_until) = (report.outcome, report.resumes, entry.waits(report, at));
        Noted::Moved
    } else {
        if report.outcome == entry.outcome && entry.outcome != Outcome::Offered {
            entry.resumes = entry.resumes.min(report.resumes);
            entry.waits_until = entry.waits_until.into_iter().chain(entry.waits(report, at)).min();
        }
        Noted::Known
    };
    Ok((noted, entry, end))
}

/// What a decision reads of an account; places and slots are the ledger's to add.
pub(crate) fn standing(entry: Option<&Entry>) -> StandingRecord {
    let penalty = entry.and_then(Entry::failed).and_then(|failed| Some(((*failed.hop).into(), failed.until?)));
    StandingRecord {
        claim_expires_at: entry.map(|entry| entry.claim_expires_at),
        attempts: entry.map_or(0, |entry| entry.number),
        penalty,
        ..StandingRecord::default()
    }
}
