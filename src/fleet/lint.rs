//! What is legal but surely not meant (L4).

use super::group::Group;
use super::problem::{Problem, Problems};
use super::rollout::{Gate, RolloutState, SHARE_BPS_MAX, Success, Target, WaveSize};
use super::whole::{Fleet, ProductEntry};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

impl Fleet {
    /// Warns of what is legal but surely not meant: a group without firmware, keys of which none will be valid again, a gate that can never pass, a wave
    /// larger than its group, a firmware that fits no hardware of its group, an assignment to a denied or missing firmware, a default group
    /// that does not exist. `O(devices)`.
    pub fn lint(&self, now: Timestamp) -> Vec<Problem> {
        let mut found = Problems::default();
        for entry in self.products() {
            let product = entry.product();
            let place = format!("product `{}`", product.id);
            let is_over = |key: &super::ApiKey| key.revoked || key.not_after.is_some_and(|end| end <= now);
            if product.keys.is_empty() {
                found.add(&place, "has no API key, so no device can prove that it belongs to it");
            } else if product.keys.iter().all(is_over) {
                found.add(&place, "has only keys that are expired or revoked: every check-in is answered 401");
            }
            if entry.group(product.default_group.as_str()).is_none() {
                found.add(&place, format!("has no group `{}`, which is its default", product.default_group));
            }
            let members = Members::of(entry);
            for group in entry.groups() {
                lint_group(entry, group, &members, &format!("{place}, group `{}`", group.id), &mut found);
            }
            for device in entry.devices().filter(|device| device.pin().is_some()) {
                lint_version(
                    entry,
                    device.pin(),
                    &format!("{place}, device `{}`", device.serial()),
                    "is pinned to",
                    &mut found,
                );
            }
        }
        found.list().to_vec()
    }
}

/// Who is in each group, counted in one pass.
struct Members<'e> {
    counts: BTreeMap<&'e str, u64>,
    hardware: BTreeMap<&'e str, BTreeSet<&'e str>>,
}

impl<'e> Members<'e> {
    fn of(entry: &'e ProductEntry) -> Self {
        let mut members = Self { counts: BTreeMap::new(), hardware: BTreeMap::new() };
        for device in entry.devices() {
            *members.counts.entry(device.group.as_str()).or_default() += 1;
            if let Some(hardware) = device.hardware() {
                members.hardware.entry(device.group.as_str()).or_default().insert(hardware);
            }
        }
        members
    }
}

fn lint_group(entry: &ProductEntry, group: &Group, members: &Members<'_>, place: &str, found: &mut Problems) {
    // A draft is told before it starts: then it can still be mended.
    let rollout =
        group.rollout.as_ref().filter(|rollout| rollout.is_active() || *rollout.state() == RolloutState::Draft);
    if group.firmware.is_none()
        && rollout.filter(|rollout| rollout.is_active()).and_then(|rollout| rollout.target_version()).is_none()
    {
        found.add(place, "has no firmware: its devices are answered 404 `nothing-assigned`");
    }
    lint_version(entry, group.firmware.as_ref(), place, "is assigned", found);
    lint_hardware(entry, group.firmware.as_ref(), members.hardware.get(group.id.as_str()), place, found);
    let Some(rollout) = rollout else { return };
    lint_version(entry, rollout.target_version(), place, "has a rollout to", found);
    lint_hardware(entry, rollout.target_version(), members.hardware.get(group.id.as_str()), place, found);
    let count = members.counts.get(group.id.as_str()).copied().unwrap_or(0);
    if matches!(rollout.target, Target::Resources(_)) && rollout.success == Success::Installed {
        let message =
            "counts `installed` as success, which no check-in reports of resources: set `downloaded` or `confirmed`";
        found.add(format!("{place}, rollout `{}`", rollout.id), message);
    }
    // How many the last wave admits beyond the one before: a gate judges those.
    let (mut admitted, mut own) = (0, None);
    for (index, wave) in rollout.waves.iter().enumerate() {
        let name = format!("{place}, rollout `{}`, wave {}", rollout.id, index + 1);
        if let WaveSize::First(n) = wave.size
            && u64::from(n) > count
        {
            found.add(&name, format!("admits the first {n}, but the group has {count} devices"));
        }
        lint_gate(&wave.gate, own, &name, "opens", found);
        let admits = match wave.size {
            WaveSize::First(n) => u64::from(n).min(count),
            WaveSize::ShareBps(bps) => (count * u64::from(bps)).div_ceil(u64::from(SHARE_BPS_MAX)),
            WaveSize::All => count,
        };
        // A wave that adds nobody leaves the one before it to be judged.
        let more = admits.saturating_sub(admitted);
        own = if index == 0 || more > 0 { Some(more) } else { own };
        admitted = admitted.max(admits);
    }
    lint_gate(&rollout.complete, own, &format!("{place}, rollout `{}`", rollout.id), "completes", found);
}

/// A gate judges the devices of the last wave alone; before the first wave there is nobody.
fn lint_gate(gate: &Gate, own: Option<u64>, name: &str, does: &str, found: &mut Problems) {
    match (gate.finished_needed(), own) {
        (Some(_), None) => {
            found.add(name, "asks for devices that have finished, and no wave is before it: it never opens")
        }
        (Some(min), Some(own)) if u64::from(min) > own => found.add(
            name,
            format!("{does} when {min} devices of the wave before have finished, but that adds {own}: it never {does}"),
        ),
        _ => {}
    }
}

fn lint_hardware(
    entry: &ProductEntry,
    version: Option<&super::Version>,
    known: Option<&BTreeSet<&str>>,
    place: &str,
    found: &mut Problems,
) {
    let firmware = version.and_then(|version| entry.catalogue().find(version, entry.product().versions()));
    if let (Some(firmware), Some(known)) = (firmware, known)
        && !known.iter().any(|hardware| firmware.fits(hardware.as_bytes()))
    {
        let known = known.iter().take(5).copied().collect::<Vec<_>>().join("`, `");
        found.add(
            place,
            format!("firmware `{}` fits no hardware of the group, which is known to have `{known}`", firmware.version),
        );
    }
}

fn lint_version(entry: &ProductEntry, version: Option<&super::Version>, place: &str, how: &str, found: &mut Problems) {
    let Some(version) = version else { return };
    match entry.catalogue().find(version, entry.product().versions()) {
        None => found.add(place, format!("{how} `{version}`, which is no firmware of the product")),
        Some(firmware) if firmware.denied => {
            found.add(place, format!("{how} `{version}`, which is denied and served to nobody"))
        }
        Some(_) => {}
    }
}
