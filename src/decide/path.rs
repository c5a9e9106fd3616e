//! Questions 7 to 10: does it fit, is the device there already, is the direction allowed, and which step comes next?

use super::meant::{Meant, Way, is_there};
use super::trace::{Trace, note};
use super::{At, answer_about};
use crate::check_in::CheckIn;
use crate::fleet::{EmptyVersion, Fate, Firmware, Policy, Reading, UnreadableVersion, Version};
use crate::verdict::{Decision, Effect, Reason};

/// Gives the firmware of the next hop: the meant one, or a stone on the way to it.
#[inline(always)]
pub(super) fn toward<'a, T: Trace>(
    at: &At<'a, '_>,
    ask: &CheckIn<'_>,
    meant: &Meant<'a>,
    trace: &mut T,
) -> Result<&'a Firmware, Decision<'a>> {
    let stop = |reason| Err(answer_about(at.revision, reason, meant.firmware));
    let rules = at.product.versions();
    let reported = at.reported;

    let fits = meant.firmware.fits(ask.hardware);
    note!(trace, Hardware => (!fits).then_some(Reason::Hardware), "hardware": ask.hardware, "firmware": &meant.firmware.version);
    if !fits {
        return stop(Reason::Hardware);
    }

    let there = is_there(at, ask, meant.firmware);
    note!(trace, AlreadyThere => there.then_some(meant.withheld.unwrap_or(Reason::Current)), "version": ask.version,
        "meant": &meant.firmware.version, "digest": ask.digest);
    if there {
        return Err(already_there(at, meant));
    }
    if reported == Reading::Empty && rules.spec().empty == EmptyVersion::Hold {
        note!(trace, AlreadyThere => Reason::VersionUnreadable, "version": ask.version, "empty": "hold");
        return stop(Reason::VersionUnreadable);
    }

    let held = matches!(reported, Reading::Unreadable(_)) && rules.spec().unreadable == UnreadableVersion::Held;
    if at.facts.group.policy == Policy::ForwardOnly && !matches!(meant.way, Way::Pin) {
        if held {
            note!(trace, Direction => Reason::VersionUnreadable, "version": ask.version, "unreadable": "held");
            return stop(Reason::VersionUnreadable);
        }
        let ahead = rules.above(reported, &meant.firmware.version);
        let lifted = ahead && downgrades(at, meant, reported);
        note!(trace, Direction => (ahead && !lifted).then_some(Reason::Ahead), "policy": "forward-only", "version": ask.version,
            "meant": &meant.firmware.version, "lifted_by_abort": lifted);
        if ahead && !lifted {
            return stop(Reason::Ahead);
        }
    } else {
        note!(trace, Direction => None, "policy": "any-difference");
    }

    if meant.firmware.from.is_some() && held {
        note!(trace, Path => Reason::VersionUnreadable, "version": ask.version, "unreadable": "held", "from": &meant.firmware.from);
        return stop(Reason::VersionUnreadable);
    }
    match first_hop(at, ask, meant.firmware, reported) {
        Some(hop) => {
            note!(trace, Path => None, "version": ask.version, "from": &meant.firmware.from, "hop": &hop.version);
            Ok(hop)
        }
        None => {
            note!(trace, Path => Reason::NoPath, "version": ask.version, "from": &meant.firmware.from);
            stop(Reason::NoPath)
        }
    }
}

/// Question 8: what the operator wants to know of a device that waits for a target is that it waits.
fn already_there<'a>(at: &At<'a, '_>, meant: &Meant<'a>) -> Decision<'a> {
    let effect = match meant.way {
        Way::Target { rollout, arrived: true, .. } => Some(Effect::Seen(&rollout.id)),
        _ => None,
    };
    let retry_after_secs = meant.withheld.and_then(|_| at.poll());
    let reason = meant.withheld.unwrap_or(Reason::Current);
    Decision { effect, retry_after_secs, ..answer_about(at.revision, reason, meant.firmware) }
}

/// R10: after an abort with `downgrade` the baseline is meant for devices above it and up to the aborted target.
fn downgrades(at: &At<'_, '_>, meant: &Meant<'_>, reported: Reading<'_>) -> bool {
    let aborted = at.facts.group.aborted.as_ref().filter(|aborted| aborted.fate == Fate::Downgrade);
    matches!(meant.way, Way::Baseline)
        && aborted.is_some_and(|aborted| !at.product.versions().above(reported, &aborted.target))
}

/// Question 10: the meant firmware where its minimum is reached, else the highest stone in reach, if repeating that ends at the meant firmware.
fn first_hop<'a>(
    at: &At<'a, '_>,
    ask: &CheckIn<'_>,
    meant: &'a Firmware,
    reported: Reading<'_>,
) -> Option<&'a Firmware> {
    let rules = at.product.versions();
    // Below every version, reaching no minimum: empty (W4), or unreadable where the product says lowest (W5).
    let lowest = !matches!(reported, Reading::Readable(_));
    let reaches = |from: Option<&Version>, on: Option<&Firmware>| match (from, on) {
        (None, _) => true,
        (Some(from), Some(on)) => !rules.above(from.reading(), &on.version),
        (Some(from), None) => !lowest && rules.order(reported, from.reading()).is_some_and(std::cmp::Ordering::is_ge),
    };
    let above = |stone: &Firmware, on: Option<&Firmware>| match on {
        Some(on) => rules.above(stone.version.reading(), &on.version),
        None => lowest || rules.order(stone.version.reading(), reported) == Some(std::cmp::Ordering::Greater),
    };
    // Each round stands on a higher stone than the one before, so there are at most as many rounds as stones.
    let (mut first, mut on) = (None, None);
    while !reaches(meant.from.as_ref(), on) {
        let usable = |stone: &&Firmware| {
            !stone.denied && reaches(stone.from.as_ref(), on) && above(stone, on) && stone.fits(ask.hardware)
        };
        let below = |stone: &&Firmware| rules.above(meant.version.reading(), &stone.version);
        let stone = at.facts.catalogue.stones_down().filter(below).find(usable)?;
        first = first.or(Some(stone));
        on = Some(stone);
    }
    Some(first.unwrap_or(meant))
}
