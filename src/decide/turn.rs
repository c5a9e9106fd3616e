//! Whose turn it is: in a rollout (question 6c, section 5), and now (question 11).

use super::facts::GroupFacts;
use super::meant::{Meant, Way};
use super::trace::{Trace, eligibility, note};
use super::{At, answer_about};
use crate::fleet::{
    Admission, Firmware, JITTER_SALT, Product, RETRY_AFTER_SECS_MAX, Rollout, RolloutState, WaveSize, rank,
};
use crate::time::Timestamp;
use crate::verdict::{Claim, Decision, Reason};

/// How a device stands to the open waves of a rollout.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    /// In an open wave.
    Yes,
    /// In, if it claims one of so many slots (R5).
    IfClaimed(u32),
    /// Not yet.
    No,
}

/// Whether a rollout's target is for this device now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is; with the slots of which one must be claimed first.
    Its { slots_max: Option<u32> },
    /// It is kept from the device by a closed wave or a pause alone.
    Withheld { reason: Reason, inside: bool },
}

/// Question 6c. The rollout is running or paused, and exists for the device.
#[inline(always)]
pub(super) fn of<T: Trace>(at: &At<'_, '_>, rollout: &Rollout, now: Timestamp, trace: &mut T) -> Turn {
    let inside = inside(at, rollout, trace);
    let turn = match &rollout.state {
        RolloutState::Paused { cut: false, .. } if holds_live_claim(at, now) => Turn::Its { slots_max: None },
        RolloutState::Running => match inside {
            Inside::Yes => Turn::Its { slots_max: None },
            Inside::IfClaimed(slots) => Turn::Its { slots_max: Some(slots) },
            Inside::No => Turn::Withheld { reason: Reason::WaveNotOpen, inside: false },
        },
        _ => Turn::Withheld { reason: Reason::RolloutPaused, inside: inside == Inside::Yes },
    };
    if let Turn::Withheld { reason, .. } = turn {
        note!(trace, Meant => None, "withheld": reason.name(), "eligible": eligibility(rollout, at.serial.as_str(), &at.device, now, inside != Inside::No));
    }
    turn
}

/// A claim of this device on the rollout's target that has not lapsed.
fn holds_live_claim(at: &At<'_, '_>, now: Timestamp) -> bool {
    at.device.standing.claim_expires_at.is_some_and(|end| now < end)
}

/// A claim or a place among the downloads that has not lapsed: who is in the middle of it is not asked again about window and cap.
fn is_under_way(at: &At<'_, '_>, now: Timestamp) -> bool {
    holds_live_claim(at, now) || at.device.standing.download_expires_at.is_some_and(|end| now < end)
}

/// Membership of the last open wave: it holds all that were admitted before, since sizes are cumulative (R1) and thresholds never shrink (R3).
#[inline(always)]
fn inside<T: Trace>(at: &At<'_, '_>, rollout: &Rollout, trace: &mut T) -> Inside {
    let Some((index, wave, opened)) = rollout.last_open() else {
        note!(trace, Meant => None, "rollout": &rollout.id, "open_waves": 0u64, "waves": rollout.waves.len());
        return Inside::No;
    };
    let kept = index + 1 < rollout.waves.len() && rollout.keeps_for_last_wave(at.serial.as_str(), at.device.entered_at);
    note!(trace, Meant => None, "rollout": &rollout.id, "state": state_name(&rollout.state), "open_waves": index + 1,
        "waves": rollout.waves.len(), "kept_for_last_wave": kept);
    match (wave.size, rollout.admission) {
        _ if kept => Inside::No,
        (WaveSize::All, _) => Inside::Yes,
        (_, Admission::Rank) => {
            let Some(threshold) = opened.threshold else { return Inside::No };
            let rank = rollout.rank_of(at.product.id().as_str(), at.serial.as_str());
            note!(trace, Meant => None, "rank": rank, "threshold": threshold, "counted": opened.counted, "exact": opened.counted.is_some());
            if rank <= threshold { Inside::Yes } else { Inside::No }
        }
        (WaveSize::First(slots), Admission::FirstCome) => {
            let (claimed, taken) = (at.device.standing.claim_expires_at.is_some(), at.facts.slots_taken);
            note!(trace, Meant => None, "claimed": claimed, "slots_taken": taken, "slots_max": slots);
            if claimed {
                Inside::Yes
            } else if taken < slots {
                Inside::IfClaimed(slots)
            } else {
                Inside::No
            }
        }
        // A share cannot be claimed first come: no rollout is built so.
        (WaveSize::ShareBps(_), Admission::FirstCome) => Inside::No,
    }
}

pub(super) fn state_name(state: &RolloutState) -> &'static str {
    match state {
        RolloutState::Draft => "draft",
        RolloutState::Running => "running",
        RolloutState::Paused { cut: false, .. } => "paused",
        RolloutState::Paused { cut: true, .. } => "paused, cut",
        RolloutState::Completed => "completed",
        RolloutState::Aborted => "aborted",
    }
}

/// Question 11 for firmware: window, downloads, penalty. Gives what must be claimed before the hop is served.
#[inline(always)]
pub(super) fn now<'a, T: Trace>(
    at: &At<'a, '_>,
    meant: &Meant<'a>,
    hop: &'a Firmware,
    now: Timestamp,
    trace: &mut T,
) -> Result<Option<Claim<'a>>, Decision<'a>> {
    let stop =
        |(reason, retry_after_secs)| Decision { retry_after_secs, ..answer_about(at.revision, reason, meant.firmware) };
    room(at, now, trace).map_err(stop)?;
    let rules = at.product.versions();
    let at_hop = |text: &str| rules.equal(rules.read(text.as_bytes()), hop.version.reading());
    let penalty = at.device.standing.penalty.filter(|(failed_at, end)| now < *end && at_hop(failed_at));
    if let Some((_, end)) = penalty {
        let retry_after = retry_after_secs(at.product, at.serial.as_str(), end.millis().saturating_sub(now.millis()));
        note!(trace, Now => Reason::Penalty, "hop": &hop.version, "ends_at": end, "now": now, "attempts": at.device.standing.attempts);
        return Err(stop((Reason::Penalty, Some(retry_after))));
    }
    let (rollout, slots_max) = match meant.way {
        Way::Target { rollout, slots_max, .. } => (Some(rollout), slots_max),
        _ => (None, None),
    };
    Ok(claim(at, rollout, slots_max, now))
}

/// The first half of question 11: is the window open, is there room for a download? A live claim is not asked again.
#[inline(always)]
pub(super) fn room<T: Trace>(at: &At<'_, '_>, now: Timestamp, trace: &mut T) -> Result<(), (Reason, Option<u32>)> {
    let GroupFacts { group, downloads_now, .. } = at.facts;
    if is_under_way(at, now) {
        note!(trace, Now => None, "claim_expires_at": at.device.standing.claim_expires_at,
            "download_expires_at": at.device.standing.download_expires_at, "now": now);
        return Ok(());
    }
    let shut_millis = group.window.as_ref().map_or(0, |window| window.opens_in_millis(now));
    if shut_millis > 0 {
        note!(trace, Now => Reason::WindowShut, "now": now, "opens_at": Timestamp::from_millis(now.millis().saturating_add(shut_millis.into())));
        return Err((Reason::WindowShut, Some(retry_after_secs(at.product, at.serial.as_str(), shut_millis.into()))));
    }
    let full = group.downloads_max.is_some_and(|max| downloads_now >= max);
    note!(trace, Now => full.then_some(Reason::DownloadsFull), "window": group.window.as_ref().map(|_| "open"), "downloads_now": downloads_now,
        "downloads_max": group.downloads_max);
    if full { Err((Reason::DownloadsFull, at.poll())) } else { Ok(()) }
}

/// What must be claimed before something is served: a slot of a first-come wave, a place among the downloads, or both at once. `rollout` is the one on whose
/// account it is served: a claim names it only then, since a claim is what lets a device go on while its rollout is paused.
pub(super) fn claim<'a>(
    at: &At<'a, '_>,
    rollout: Option<&'a Rollout>,
    slots_max: Option<u32>,
    now: Timestamp,
) -> Option<Claim<'a>> {
    let downloads_max = at.facts.group.downloads_max.filter(|_| !is_under_way(at, now));
    let slots_max = slots_max.filter(|_| !holds_live_claim(at, now));
    let needed = slots_max.is_some() || downloads_max.is_some();
    needed.then(|| Claim {
        rollout: rollout.map(|rollout| &rollout.id),
        slots_max,
        downloads_max,
        retry_after_secs: at.poll(),
    })
}

/// R12: the time that is known, in seconds, rounded up, plus the device's own jitter, so that a fleet does not come back as one; at most a day.
fn retry_after_secs(product: &Product, serial: &str, millis: i64) -> u32 {
    let secs = u64::try_from(millis).unwrap_or(0).div_ceil(1_000);
    let spread = u64::from(product.retry_spread_secs);
    let jitter = rank(JITTER_SALT, product.id().as_str(), serial).checked_rem(spread).unwrap_or(0);
    // The minimum is at most a day, which fits.
    u32::try_from(secs.saturating_add(jitter)).unwrap_or(u32::MAX).min(RETRY_AFTER_SECS_MAX)
}
