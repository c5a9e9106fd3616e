//! Questions 1 to 4: the key, the serial, the device, its state. Whoever fails here learns nothing more.

use super::facts::Facts;
use super::trace::{Trace, note};
use super::{Who, answer};
use crate::check_in::CheckIn;
use crate::fleet::{CanonicalSerial, DeviceState, SerialFault};
use crate::time::Timestamp;
use crate::verdict::{Decision, Effect, Reason};

#[inline(always)]
pub(super) fn of<'a, T: Trace>(
    facts: &Facts<'a>,
    ask: &CheckIn<'_>,
    now: Timestamp,
    trace: &mut T,
) -> Result<Who<'a>, Decision<'a>> {
    let stop = |reason| Err(answer(facts.revision, reason));

    let Some(found) = facts.key else {
        note!(trace, Key => Reason::KeyUnknown);
        return stop(Reason::KeyUnknown);
    };
    let key = found.key;
    let refusal = if key.revoked {
        Some(Reason::KeyRevoked)
    } else if key.not_before.is_some_and(|from| now < from) {
        Some(Reason::KeyNotYetValid)
    } else if key.not_after.is_some_and(|end| now >= end) {
        Some(Reason::KeyExpired)
    } else {
        None
    };
    note!(trace, Key => refusal, "product": found.product.id(), "revoked": key.revoked, "not_before": key.not_before,
        "not_after": key.not_after, "now": now);
    if let Some(reason) = refusal {
        return stop(reason);
    }

    let serial = found.serial.map_err(|fault| match fault {
        SerialFault::Malformed => Reason::SerialMalformed,
        SerialFault::Placeholder => Reason::SerialPlaceholder,
    });
    note!(trace, Serial => serial.err(), "serial": ask.serial, "canonical": serial.ok().map(CanonicalSerial::as_str));
    let serial = match serial {
        Ok(serial) => serial,
        Err(reason) => return stop(reason),
    };

    let Some(device) = facts.device else {
        let registers = found.product.register_on_first_contact;
        note!(trace, Device => Reason::DeviceUnknown, "registers": registers);
        let effect = registers.then_some(Effect::Register(found.product));
        return Err(Decision { effect, ..answer(facts.revision, Reason::DeviceUnknown) });
    };
    note!(trace, Device => None, "serial": serial.as_str());

    let refusal = match device.state {
        DeviceState::Verified => None,
        DeviceState::New => Some(Reason::DeviceNew),
        DeviceState::Blocked => Some(Reason::DeviceBlocked),
        DeviceState::Disabled => Some(Reason::DeviceDisabled),
        DeviceState::Quota => Some(Reason::DeviceQuota),
    };
    note!(trace, State => refusal, "state": device.state);
    match refusal {
        Some(reason) => stop(reason),
        None => Ok(Who { revision: facts.revision, product: found.product, serial, device }),
    }
}
