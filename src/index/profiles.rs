//! What many devices share, written once: group, last known version and hardware.
//!
//! A fleet has few of them: groups × versions in the field × kinds of hardware. The first 65 535 numbers fit into the slots of their devices; where more are
//! in use, because devices report whatever they like, the numbers of the rest stand apart, beside the slots.

use super::interner::Interner;
use super::slot::PROFILE_APART;
use crate::fleet::GroupId;
use std::sync::Arc;

/// Numbers below it fit into a slot.
const SHORT: u32 = PROFILE_APART as u32;

/// What a device shares with many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    /// The number of its group.
    pub(super) group: u32,
    pub(super) version: Option<Arc<str>>,
    pub(super) hardware: Option<Arc<str>>,
}

/// The profiles of one product's devices, and their groups, each for as long as a device has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Profiles {
    /// Those that do not exist in the product included. Used by profiles, and by devices that were in them before.
    pub(super) groups: Arc<Interner<GroupId>>,
    profiles: Arc<Interner<Profile>>,
}

impl Profiles {
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Profile> {
        self.profiles.get(number)
    }

    /// Above every number that is in use.
    pub(super) fn len(&self) -> u32 {
        self.profiles.len()
    }

    #[inline]
    pub(super) fn group(&self, number: u32) -> Option<&GroupId> {
        self.groups.get(number)
    }

    /// Uses a profile for so many devices more, above 0.
    pub(super) fn acquire(
        &mut self,
        group: &GroupId,
        version: Option<&str>,
        hardware: Option<&str>,
        devices: u64,
    ) -> u32 {
        let text = |text: Option<&str>| text.map(Arc::from);
        let profile = |group| Profile { group, version: text(version), hardware: text(hardware) };
        let known = self.groups.find(group).map(profile).filter(|known| self.profiles.keeps(known, SHORT).is_some());
        // Each number of a profile uses its group once.
        let profile = known.unwrap_or_else(|| profile(self.acquire_group(group, 1)));
        Arc::make_mut(&mut self.profiles).acquire(&profile, devices, SHORT)
    }

    /// Uses a group so many times more, above 0, for devices that were in it before.
    pub(super) fn acquire_group(&mut self, group: &GroupId, uses: u64) -> u32 {
        Arc::make_mut(&mut self.groups).acquire(group, uses, u32::MAX)
    }

    /// A device less was in that group before.
    pub(super) fn release_group(&mut self, number: u32) {
        Arc::make_mut(&mut self.groups).release(number);
    }

    /// A device less has that profile.
    pub(super) fn release(&mut self, number: u32) {
        if let Some(gone) = Arc::make_mut(&mut self.profiles).release(number) {
            self.release_group(gone.group);
        }
    }

    /// How many bytes they take, by their own account.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len() + 16);
        let texts: usize = self.profiles.values().map(|profile| text(&profile.version) + text(&profile.hardware)).sum();
        let groups: usize = self.groups.values().map(|group| group.as_str().len() + 16).sum();
        texts + groups + self.profiles.bytes() + self.groups.bytes()
    }
}
