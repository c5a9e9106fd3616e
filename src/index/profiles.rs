//! What many devices share, written once: group, last known version and hardware. A slot has 16 bits for the three.
//!
//! A fleet has few of them: groups × versions in the field × kinds of hardware. Numbers are given out in the order of need and never again for something
//! else, so that an older revision may read a newer table; once [`PROFILES_MAX`] are out, further ones stand apart, beside the slots of their devices.

use super::slot::PROFILE_APART;
use crate::fleet::GroupId;
use std::collections::HashMap;
use std::sync::Arc;

/// The most profiles that a product's table numbers.
pub(super) const PROFILES_MAX: usize = PROFILE_APART as usize;

/// What a device shares with many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    /// The number of its group.
    pub(super) group: u32,
    pub(super) version: Option<Arc<str>>,
    pub(super) hardware: Option<Arc<str>>,
}

/// The profiles of one product's devices, and the names of their groups, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Profiles {
    groups: Vec<GroupId>,
    group_numbers: HashMap<GroupId, u32>,
    profiles: Vec<Profile>,
    numbers: HashMap<Profile, u16>,
}

impl Profiles {
    /// The groups by number, those that do not exist in the product included.
    pub(super) fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    pub(super) fn get(&self, number: u16) -> Option<&Profile> {
        self.profiles.get(usize::from(number))
    }

    pub(super) fn group_number(&self, group: &str) -> Option<u32> {
        self.group_numbers.get(group).copied()
    }

    /// The number of a profile that is numbered already; [`PROFILE_APART`] where no more fit.
    pub(super) fn number(&self, profile: &Profile) -> Option<u16> {
        let full = self.profiles.len() >= PROFILES_MAX;
        self.numbers.get(profile).copied().or(full.then_some(PROFILE_APART))
    }

    /// Numbers a group.
    pub(super) fn add_group(&mut self, group: &GroupId) -> u32 {
        let next = self.groups.len() as u32;
        *self.group_numbers.entry(group.clone()).or_insert_with(|| {
            self.groups.push(group.clone());
            next
        })
    }

    /// Numbers a profile, whose group has a number; [`PROFILE_APART`] where no more fit.
    pub(super) fn add(&mut self, profile: Profile) -> u16 {
        if let Some(number) = self.number(&profile) {
            return number;
        }
        // Below `PROFILES_MAX`, which fits.
        let number = self.profiles.len() as u16;
        self.profiles.push(profile.clone());
        self.numbers.insert(profile, number);
        number
    }

    /// How many bytes they take, by their own account.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len() + 16);
        let texts: usize = self.profiles.iter().map(|profile| text(&profile.version) + text(&profile.hardware)).sum();
        // Each stands in its list and in its map, which keeps an eighth or more free.
        let each = 2 * size_of::<Profile>() + 4;
        let group = 2 * size_of::<GroupId>() + 4;
        texts + self.profiles.len() * each + self.groups.len() * group
    }
}
