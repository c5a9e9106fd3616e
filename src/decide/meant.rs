//! Questions 5 and 6: the group, and the one firmware that is meant for the device.

use super::facts::Facts;
use super::trace::{Trace, note};
use super::turn::{self, Turn};
use super::{At, Who, answer, answer_about};
use crate::check_in::CheckIn;
use crate::fleet::{AlreadyThere, Fate, Firmware, Rollout};
use crate::time::Timestamp;
use crate::verdict::{Decision, Reason};

/// The firmware that is meant, and how it came to be.
#[derive(Clone, Copy)]
pub(super) struct Meant<'a> {
    pub(super) firmware: &'a Firmware,
    pub(super) way: Way<'a>,
    /// The reason for which a target is kept from the device, if one is.
    pub(super) withheld: Option<Reason>,
}

/// How a firmware came to be meant.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    /// 6a: by the device's pin.
    Pin,
    /// 6b and 6c: by the group's rollout.
    Target { rollout: &'a Rollout, arrived: bool, slots_max: Option<u32> },
    /// 6f: by the group's baseline.
    Baseline,
}

/// Question 5.
#[inline(always)]
pub(super) fn group<'a, 'r, T: Trace>(
    facts: &Facts<'a>,
    who: Who<'a>,
    ask: &CheckIn<'r>,
    trace: &mut T,
) -> Result<At<'a, 'r>, Decision<'a>> {
    match facts.group {
        Some(found) => {
            note!(trace, Group => None, "group": found.group.id());
            let Who { revision, product, serial, device } = who;
            // What the device should run is mostly what it runs: that was read when it was loaded.
            let likely = found.target.into_iter().chain(found.baseline).map(|firmware| &firmware.version);
            let reported = product.versions().read_likely(ask.version, likely);
            Ok(At { revision, product, serial, device, facts: found, reported })
        }
        None => {
            note!(trace, Group => Reason::GroupMissing);
            Err(answer(facts.revision, Reason::GroupMissing))
        }
    }
}

/// Question 6: the first that applies of pin, target, and baseline.
#[inline(always)]
pub(super) fn of<'a, T: Trace>(
    at: &At<'a, '_>,
    ask: &CheckIn<'_>,
    now: Timestamp,
    trace: &mut T,
) -> Result<Meant<'a>, Decision<'a>> {
    if let Some(pin) = at.device.pin {
        note!(trace, Meant => None, "pin": pin);
        return usable(at, at.facts.pinned, trace).map(|firmware| Meant { firmware, way: Way::Pin, withheld: None }); // a
    }
    let mut withheld = None;
    if let Some((rollout, target)) = rollout_for(at, trace) {
        if is_there(at, ask, target) {
            note!(trace, Meant => None, "target": &target.version, "arrived": true);
            return Ok(Meant {
                firmware: target,
                way: Way::Target { rollout, arrived: true, slots_max: None },
                withheld,
            }); // b
        }
        match turn::of(at, rollout, now, trace) {
            Turn::Its { slots_max } => {
                note!(trace, Meant => None, "target": &target.version, "turn": true);
                return Ok(Meant {
                    firmware: target,
                    way: Way::Target { rollout, arrived: false, slots_max },
                    withheld,
                }); // c
            }
            Turn::Withheld { reason: Reason::RolloutPaused, inside: true } if above_baseline(at) => {
                note!(trace, Meant => Reason::RolloutPaused, "above_baseline": true);
                return Err(Decision { retry_after_secs: at.poll(), ..answer(at.revision, Reason::RolloutPaused) }); // d
            }
            Turn::Withheld { reason, .. } => withheld = Some(reason),
        }
    }
    let rules = at.product.versions();
    if let Some(aborted) = at.facts.group.aborted.as_ref().filter(|aborted| aborted.fate == Fate::Leave)
        && rules.equal(at.reported, aborted.target.reading())
    {
        note!(trace, Meant => Reason::Left, "aborted_target": &aborted.target, "version": ask.version);
        return Err(answer(at.revision, Reason::Left)); // e
    }
    baseline(at, withheld, trace) // f
}

/// The rollout and its target, where they exist for this device: running or paused, the firmware there, not denied, not above a cap, and the device
/// not excluded.
#[inline(always)]
fn rollout_for<'a, T: Trace>(at: &At<'a, '_>, trace: &mut T) -> Option<(&'a Rollout, &'a Firmware)> {
    let rollout = at.facts.group.rollout.as_ref().filter(|rollout| rollout.is_active())?;
    let version = rollout.target_version()?;
    let excluded = rollout.is_excluded(at.serial.as_str());
    let cap = cap_below(at, version);
    let target = at.facts.target.filter(|target| !target.denied && !excluded && cap.is_none());
    if target.is_none() {
        note!(trace, Meant => None, "rollout": &rollout.id, "target": version, "exists": at.facts.target.is_some(),
            "denied": at.facts.target.is_some_and(|target| target.denied), "excluded": excluded, "cap": cap);
    }
    target.map(|target| (rollout, target))
}

#[inline(always)]
fn baseline<'a, T: Trace>(at: &At<'a, '_>, withheld: Option<Reason>, trace: &mut T) -> Result<Meant<'a>, Decision<'a>> {
    let Some(version) = &at.facts.group.firmware else {
        let reason = withheld.unwrap_or(Reason::NothingAssigned);
        note!(trace, Meant => reason, "baseline": ());
        let retry_after_secs = withheld.and_then(|_| at.poll());
        return Err(Decision { retry_after_secs, ..answer(at.revision, reason) });
    };
    note!(trace, Meant => None, "baseline": version);
    let firmware = usable(at, at.facts.baseline, trace)?;
    if let Some(cap) = cap_below(at, version) {
        note!(trace, Meant => Reason::Held, "baseline": version, "cap": cap);
        return Err(answer_about(at.revision, Reason::Held, firmware));
    }
    Ok(Meant { firmware, way: Way::Baseline, withheld })
}

/// A pin or baseline that is missing, then denied, is never replaced by another firmware.
#[inline(always)]
fn usable<'a, T: Trace>(
    at: &At<'a, '_>,
    firmware: Option<&'a Firmware>,
    trace: &mut T,
) -> Result<&'a Firmware, Decision<'a>> {
    let reason = match firmware {
        Some(firmware) if !firmware.denied => return Ok(firmware),
        Some(_) => Reason::FirmwareDenied,
        None => Reason::FirmwareMissing,
    };
    note!(trace, Meant => reason);
    Err(answer(at.revision, reason))
}

/// The cap, of device or group, that the version is above.
fn cap_below<'a>(at: &At<'a, '_>, version: &crate::fleet::Version) -> Option<&'a crate::fleet::Version> {
    let caps = [at.device.cap, at.facts.group.cap.as_ref()];
    caps.into_iter().flatten().find(|cap| at.product.versions().above(version.reading(), cap))
}

/// 6d: on a stone, say. What has no order is above nothing.
fn above_baseline(at: &At<'_, '_>) -> bool {
    let rules = at.product.versions();
    at.facts.group.firmware.as_ref().is_some_and(|baseline| rules.above(at.reported, baseline))
}

/// W6: the device is on this firmware already.
pub(super) fn is_there(at: &At<'_, '_>, ask: &CheckIn<'_>, firmware: &Firmware) -> bool {
    let rules = at.product.versions();
    let by_version = || rules.equal(at.reported, firmware.version.reading());
    let by_digest = || ask.digest.as_ref().and_then(|sent| firmware.image_agrees(ask.hardware, sent));
    match at.product.already_there {
        AlreadyThere::Version => by_version(),
        AlreadyThere::Either => by_version() || by_digest().unwrap_or(false),
        AlreadyThere::Digest => by_digest().unwrap_or_else(by_version),
    }
}
