//! Question 12: which artifact of the hop. And the offer that was made before and is still being taken.

use super::meant::{Meant, Way, is_there};
use super::trace::{Trace, note};
use super::{At, answer_about, serve};
use crate::check_in::CheckIn;
use crate::fleet::{Artifact, Firmware};
use crate::time::Timestamp;
use crate::verdict::{Claim, Decision, Effect, FirmwareOffer, Offer, Reason};

#[inline(always)]
pub(super) fn of<'a, T: Trace>(
    at: &At<'a, '_>,
    ask: &CheckIn<'_>,
    meant: &Meant<'a>,
    hop: &'a Firmware,
    claim: Option<Claim<'a>>,
    trace: &mut T,
) -> Decision<'a> {
    let Some(artifact) = best_artifact(at, ask, hop) else {
        note!(trace, Serve => Reason::NoArtifact, "firmware": &hop.version, "version": ask.version, "hardware": ask.hardware);
        return answer_about(at.revision, Reason::NoArtifact, meant.firmware);
    };
    note!(trace, Serve => Reason::Serve, "firmware": &hop.version, "artifact": artifact.locator(), "delta_from": &artifact.from,
        "size_bytes": artifact.size_bytes);
    let rollout = match meant.way {
        Way::Target { rollout, .. } => Some(&rollout.id),
        _ => None,
    };
    let offer = Offer::Firmware(FirmwareOffer { firmware: hop, artifact, leased: false });
    serve(at.revision, offer, Some(meant.firmware), rollout, claim.map(Effect::Claim))
}

/// The delta whose `from` equals the device's version and whose base agrees, else the full image.
fn best_artifact<'a>(at: &At<'a, '_>, ask: &CheckIn<'_>, hop: &'a Firmware) -> Option<&'a Artifact> {
    let rules = at.product.versions();
    let fitting = || hop.artifacts.iter().filter(|artifact| artifact.fits(ask.hardware));
    let delta = fitting().find(|artifact| {
        artifact.from.as_ref().is_some_and(|from| rules.equal(at.reported, from.reading()))
            && base_agrees(ask, artifact)
    });
    delta.or_else(|| fitting().find(|artifact| artifact.from.is_none()))
}

/// A lease fixes the answers to questions 6 to 11 and the artifact; the deny flag is asked on every request. Gives nothing where there is no lease
/// that holds, and the questions are asked anew: it has expired; the device moved, reports another version, or is on the firmware by now (its digest may tell
/// before its version does); the firmware is denied or gone, or the artifact is, or does not fit, or its base does not agree.
#[inline(always)]
pub(super) fn leased<'a, T: Trace>(
    at: &At<'a, '_>,
    ask: &CheckIn<'_>,
    now: Timestamp,
    trace: &mut T,
) -> Option<Decision<'a>> {
    let rules = at.product.versions();
    let lease = at.device.lease?;
    let firmware = at.facts.catalogue.find_reading(rules.read(lease.firmware.as_bytes()), rules);
    let denied = firmware.is_some_and(|firmware| firmware.denied);
    let same_version = rules.equal(rules.read(lease.version.as_slice()), at.reported);
    let same_group = lease.group == at.facts.group.id;
    note!(trace, Lease => None, "expires_at": lease.expires_at, "now": now, "firmware": &*lease.firmware, "denied": denied,
        "same_version": same_version, "same_group": same_group);
    let holds = now < lease.expires_at && same_version && same_group && !denied;
    let firmware = firmware.filter(|firmware| holds && !is_there(at, ask, firmware))?;
    let is_leased = |artifact: &&Artifact| {
        artifact.digests.blake3 == Some(lease.artifact) && artifact.fits(ask.hardware) && base_agrees(ask, artifact)
    };
    let artifact = firmware.artifacts.iter().find(is_leased)?;
    let rollout =
        at.facts.group.rollout.as_ref().map(|rollout| &rollout.id).filter(|id| Some(*id) == lease.rollout.as_ref());
    note!(trace, Serve => Reason::Serve, "firmware": &firmware.version, "artifact": artifact.locator(), "leased": true);
    let offer = Offer::Firmware(FirmwareOffer { firmware, artifact, leased: true });
    Some(serve(at.revision, offer, Some(firmware), rollout, None))
}

/// Question 12: the base digest agrees, where device and record both have one of a kind.
fn base_agrees(ask: &CheckIn<'_>, delta: &Artifact) -> bool {
    ask.digest.as_ref().and_then(|sent| delta.base.agree_with(sent)) != Some(false)
}
