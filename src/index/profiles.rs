//! What many devices share, written once: group, last known version and hardware. A slot has 16 bits for the three.
//!
//! A fleet has few of them: groups × versions in the field × kinds of hardware. Once [`PROFILES_MAX`] are in use, further ones stand apart, beside the
//! slots of their devices.

use super::interner::Interner;
use super::slot::PROFILE_APART;
use crate::fleet::GroupId;
use std::sync::Arc;

/// The most profiles that a product's table numbers.
const PROFILES_MAX: u32 = PROFILE_APART as u32;

/// What a device shares with many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    /// The number of its group.
    pub(super) group: u32,
    pub(super) version: Option<Arc<str>>,
    pub(super) hardware: Option<Arc<str>>,
}

/// The profiles of one product's devices, and their groups, each for as long as a device has it.
#[derive(Clone, Debug)]
pub(super) struct Profiles {
    /// Those that do not exist in the product included. Used by profiles.
    pub(super) groups: Arc<Interner<GroupId>>,
    profiles: Arc<Interner<Profile>>,
}

/// The profile of a device as its slot has it: a number, or all of it apart.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    /// [`PROFILE_APART`]: it has none.
    pub(super) number: u16,
    pub(super) apart: Option<Profile>,
}

impl Default for Profiles {
    fn default() -> Self {
        Self { groups: Arc::new(Interner::new(u32::MAX)), profiles: Arc::new(Interner::new(PROFILES_MAX)) }
    }
}

impl Profiles {
    #[inline]
    pub(super) fn get(&self, number: u16) -> Option<&Profile> {
        self.profiles.get(number.into())
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
    ) -> Numbered {
        let text = |text: Option<&str>| text.map(Arc::from);
        let profile = |group| Profile { group, version: text(version), hardware: text(hardware) };
        let known = self.groups.find(group).map(profile).filter(|profile| self.profiles.find(profile).is_some());
        let profile = known.unwrap_or_else(|| profile(self.acquire_group(group, 1)));
        match Arc::make_mut(&mut self.profiles).acquire(&profile, devices) {
            Some(number) => Numbered { number: number as u16, apart: None },
            None => {
                // Each device that has it apart uses the group by itself.
                if devices > 1 {
                    self.acquire_group(group, devices - 1);
                }
                Numbered { number: PROFILE_APART, apart: Some(profile) }
            }
        }
    }

    /// Uses a group so many times more, above 0, for devices that were in it before.
    pub(super) fn acquire_group(&mut self, group: &GroupId, uses: u64) -> u32 {
        // There are more numbers than a fleet has devices.
        Arc::make_mut(&mut self.groups).acquire(group, uses).unwrap_or(u32::MAX)
    }

    /// A device less was in that group before.
    pub(super) fn release_group(&mut self, number: u32) {
        Arc::make_mut(&mut self.groups).release(number);
    }

    /// A device less has that profile.
    pub(super) fn release(&mut self, number: u16, apart: Option<&Profile>) {
        let gone = match number {
            PROFILE_APART => apart.cloned(),
            number => Arc::make_mut(&mut self.profiles).release(number.into()),
        };
        if let Some(gone) = gone {
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
