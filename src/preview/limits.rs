//! The gate of a review: how much may change.

use super::Preview;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a change may do at most. By default all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// So many devices may newly be served something.
    pub max_served: Option<u64>,
    /// So many devices may be told something else.
    pub max_changed: Option<u64>,
    /// No device may be served a version below its own.
    pub no_downgrades: bool,
    /// No device that gets an answer now may get 401 or 404.
    pub no_unreachable: bool,
    /// No group may be meant a firmware that fits none of its devices.
    pub no_misfits: bool,
}

/// A limit that is passed. As text it says by how much, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "limit", rename_all = "kebab-case")]
pub enum Refusal {
    /// More devices would newly be served.
    MaxServed {
        /// How many would.
        devices: u64,
        /// How many may.
        max: u64,
    },
    /// More devices would be told something else.
    MaxChanged {
        /// How many would.
        devices: u64,
        /// How many may.
        max: u64,
    },
    /// Devices would be served a version below their own.
    Downgrades {
        /// How many.
        devices: u64,
    },
    /// Devices would get 401 or 404.
    Unreachable {
        /// How many.
        devices: u64,
    },
    /// Groups are meant a firmware that fits none of their devices.
    Misfits {
        /// How many groups.
        groups: u64,
    },
}

impl Limits {
    /// The limits that are passed; none: the change may go on.
    pub fn check(&self, preview: &Preview) -> Vec<Refusal> {
        let above = |devices: u64, max: Option<u64>| max.filter(|max| devices > *max);
        let served = above(preview.newly_served, self.max_served);
        let changed = above(preview.changed, self.max_changed);
        let some = |is: bool, devices: u64| (is && devices > 0).then_some(devices);
        let groups = preview.misfits.len() as u64;
        let all = [
            served.map(|max| Refusal::MaxServed { devices: preview.newly_served, max }),
            changed.map(|max| Refusal::MaxChanged { devices: preview.changed, max }),
            some(self.no_downgrades, preview.downgrades).map(|devices| Refusal::Downgrades { devices }),
            some(self.no_unreachable, preview.unreachable).map(|devices| Refusal::Unreachable { devices }),
            some(self.no_misfits, groups).map(|groups| Refusal::Misfits { groups }),
        ];
        all.into_iter().flatten().collect()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::show::{are, count};
        match *self {
            Self::MaxServed { devices, max } => write!(
                f,
                "{} would newly be served, and {} may be: roll it out in waves, or raise the limit",
                are(devices, "device"),
                count(max)
            ),
            Self::MaxChanged { devices, max } => write!(
                f,
                "{} would be told something else, and {} may be: change fewer groups at once, or raise the limit",
                are(devices, "device"),
                count(max)
            ),
            Self::Downgrades { devices } => write!(
                f,
                "{} would go down in version: set the policy to `forward-only`, or assign a version that is not below theirs",
                are(devices, "device")
            ),
            Self::Unreachable { devices } => write!(
                f,
                "{} would get 401 or 404, and do not now: the lines with such an answer say why",
                are(devices, "device")
            ),
            Self::Misfits { groups } => write!(
                f,
                "{} would be meant a firmware that fits none of the devices in it: add an artifact for their hardware",
                are(groups, "group")
            ),
        }
    }
}
