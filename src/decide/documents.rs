//! Config and resources: after questions 1 to 5 they ask what is assigned and whether the device holds it; staged in waves, whose turn it is and
//! whether there is room (questions 6c, 6f and 11).

use super::trace::{Trace, note};
use super::turn::{self, Turn};
use super::{At, answer, serve};
use crate::check_in::{CheckIn, Want};
use crate::fleet::{Config, Digests, Resource, Rollout, Target};
use crate::time::Timestamp;
use crate::verdict::{Decision, Effect, Offer, Reason};

#[inline(always)]
pub(super) fn of<'a, T: Trace>(at: &At<'a, '_>, ask: &CheckIn<'_>, now: Timestamp, trace: &mut T) -> Decision<'a> {
    let group = at.facts.group;
    let mut meant = find(ask.want, group.config.as_ref(), group.resources.as_deref());
    let (mut withheld, mut slots_max, mut on_account) = (None, None, None);
    let staged = staged_for(at, ask.want);
    if let Some(rollout) = staged {
        let target = match &rollout.target {
            Target::Config(config) => find(ask.want, Some(config), None),
            Target::Resources(list) => find(ask.want, None, Some(list)),
            Target::Firmware(_) => None,
        };
        match turn::of(at, rollout, now, trace) {
            Turn::Its { slots_max: slots } => (meant, slots_max, on_account) = (target, slots, Some(rollout)),
            Turn::Withheld { reason, .. } => withheld = Some((reason, target.is_some())),
        }
    }

    let Some(offer) = meant else {
        let waits = withheld.filter(|(_, for_it)| *for_it).map(|(reason, _)| reason);
        let reason = waits.unwrap_or(Reason::NothingAssigned);
        note!(trace, Meant => reason, "want": ask.want.name());
        return Decision { retry_after_secs: waits.and_then(|_| at.poll()), ..answer(at.revision, reason) };
    };
    note!(trace, Meant => None, "want": ask.want.name());

    let held =
        ask.digest.as_ref().zip(digests(&offer)).is_some_and(|(sent, record)| record.agree_with(sent) == Some(true));
    let waits = withheld.map(|(reason, _)| reason);
    note!(trace, AlreadyThere => held.then_some(waits.unwrap_or(Reason::Current)), "digest": ask.digest);
    if held {
        let retry_after_secs = waits.and_then(|_| at.poll());
        // One resource of several says nothing about the rest.
        let arrived = on_account.filter(|_| ask.want == Want::Config);
        let effect = arrived.map(|rollout| Effect::Seen(&rollout.id));
        return Decision { retry_after_secs, effect, ..answer(at.revision, waits.unwrap_or(Reason::Current)) };
    }

    let mut effect = None;
    if staged.is_some() {
        if let Err((reason, retry_after_secs)) = turn::room(at, now, trace) {
            return Decision { retry_after_secs, ..answer(at.revision, reason) };
        }
        effect = turn::claim(at, on_account, slots_max, now).map(Effect::Claim);
    }
    note!(trace, Serve => Reason::Serve, "want": ask.want.name());
    serve(at.revision, offer, None, on_account.map(|rollout| &rollout.id), effect)
}

/// The group's rollout, where it stages what is asked for and the device takes part.
fn staged_for<'a>(at: &At<'a, '_>, want: Want<'_>) -> Option<&'a Rollout> {
    let rollout = at.facts.group.rollout.as_ref().filter(|rollout| rollout.is_active())?;
    let same_kind = matches!(
        (&rollout.target, want),
        (Target::Config(_), Want::Config) | (Target::Resources(_), Want::Resources | Want::Resource(_))
    );
    (same_kind && !rollout.is_excluded(at.serial.as_str())).then_some(rollout)
}

fn find<'a>(want: Want<'_>, config: Option<&'a Config>, resources: Option<&'a [Resource]>) -> Option<Offer<'a>> {
    match want {
        Want::Firmware => None,
        Want::Config => config.map(Offer::Config),
        Want::Resources => resources.map(Offer::Resources),
        Want::Resource(name) => {
            resources?.iter().find(|resource| resource.name().as_bytes() == name).map(Offer::Resource)
        }
    }
}

fn digests<'a>(offer: &Offer<'a>) -> Option<&'a Digests> {
    match offer {
        Offer::Config(config) => Some(config.digests()),
        Offer::Resource(resource) => Some(resource.digests()),
        Offer::Resources(_) | Offer::Firmware(_) => None,
    }
}
