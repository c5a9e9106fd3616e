//! Devices: one unit each, named by (product, serial).

use super::Product;
use super::name::{GroupId, NAME_BYTES_MAX, check_text};
use super::problem::Problems;
use super::version::{VERSION_BYTES_MAX, Version};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How many groups a device remembers that it was in; beyond it the one that it entered first is forgotten.
pub const EARLIER_GROUPS_MAX: usize = 64;

/// Where a device stands with the operator (question 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// Seen, not yet verified.
    #[default]
    New,
    /// It may be served.
    Verified,
    /// It learns nothing.
    Blocked,
    /// Switched off by the operator.
    Disabled,
    /// Over the account's limit.
    Quota,
}

impl DeviceState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::New, Self::Verified, Self::Blocked, Self::Disabled, Self::Quota];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Verified => "verified",
            Self::Blocked => "blocked",
            Self::Disabled => "disabled",
            Self::Quota => "quota",
        }
    }
}

/// A device as an operator writes it; [`build`](DeviceSpec::build) checks it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSpec {
    /// Its serial, in any spelling of the product's scheme.
    pub serial: String,
    /// Where it stands.
    pub state: DeviceState,
    /// Its group.
    pub group: String,
    /// When it entered the group for the first time (R4). Without it the device is as old as time, and never a late joiner.
    #[serde(default)]
    pub entered_at: Timestamp,
    /// The version of the firmware that it is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// The highest version that it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    /// The version that it reported last, as far as the host knows (R3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its hardware, as far as the host knows (R3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// Groups that it was in before, and when it entered each for the first time: who comes back keeps the first time (R4).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_groups: Vec<(GroupId, Timestamp)>,
}

/// A checked device. What is rare stands in a box of its own, so that a million plain ones stay small.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Canonical.
    pub(crate) serial: Box<str>,
    pub(crate) state: DeviceState,
    pub(crate) group: GroupId,
    pub(crate) entered_at: Timestamp,
    pub(crate) version: Option<Box<str>>,
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few devices have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rare {
    pub(crate) pin: Option<Version>,
    pub(crate) cap: Option<Version>,
    pub(crate) hardware: Option<Box<str>>,
    pub(crate) earlier_groups: Vec<(GroupId, Timestamp)>,
}

impl DeviceSpec {
    /// Checks the device under its product's rules.
    ///
    /// # Errors
    /// A serial that names nobody, names and versions that are none, a cap under `exact`, a pin above the cap (L3); earlier groups that are too many, stand
    /// twice, or are the one that it is in.
    pub fn build(&self, product: &Product) -> Result<Device, Problems> {
        let rules = product.versions();
        let mut problems = Problems::default();
        let serial = product.read_serial(self.serial.as_bytes());
        let serial = serial.map_err(|fault| format!("`{}` {fault}", self.serial.escape_debug()));
        let serial = problems.check_one("serial", serial);
        let group = problems.check_one("group", GroupId::new(&self.group));
        let pin = self.pin.as_deref().and_then(|text| problems.check_one("pin", rules.version(text)));
        let cap = self.cap.as_deref().and_then(|text| problems.check_one("cap", rules.limit(text)));
        if let (Some(pin), Some(cap)) = (&pin, &cap)
            && rules.above(pin.reading(), cap)
        {
            problems.add("pin", format!("`{pin}` is above the device's cap `{cap}`"));
        }
        // An empty version is one that was reported (W4).
        for (place, text, max) in
            [("version", &self.version, VERSION_BYTES_MAX), ("hardware", &self.hardware, NAME_BYTES_MAX)]
        {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                problems.check_one(place, check_text(text, max));
            }
        }
        let mut earlier_groups = self.earlier_groups.clone();
        earlier_groups.sort_unstable();
        if earlier_groups.len() > EARLIER_GROUPS_MAX || earlier_groups.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            problems.add("earlier_groups", format!("names a group twice, or more than {EARLIER_GROUPS_MAX}"));
        }
        if earlier_groups.iter().any(|(earlier, _)| earlier.as_str() == self.group) {
            problems.add("earlier_groups", format!("names `{}`, which it is in", self.group.escape_debug()));
        }
        let hardware = self.hardware.as_deref().map(Box::from);
        let rare = Rare { pin, cap, hardware, earlier_groups };
        let all = serial.zip(group).map(|(serial, group)| Device {
            serial: serial.as_str().into(),
            state: self.state,
            group,
            entered_at: self.entered_at,
            version: self.version.as_deref().map(Box::from),
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        });
        problems.finish(all)
    }
}

impl Device {
    /// A device as it stands when it is registered on first contact (question 3): `new`, in the default group.
    pub fn registered(product: &Product, serial: &super::CanonicalSerial, at: Timestamp) -> Self {
        let group = product.default_group().clone();
        Self {
            serial: serial.as_str().into(),
            state: DeviceState::New,
            group,
            entered_at: at,
            version: None,
            rare: None,
        }
    }

    /// Its canonical serial.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Where it stands.
    pub fn state(&self) -> DeviceState {
        self.state
    }

    /// Its group.
    pub fn group(&self) -> &GroupId {
        &self.group
    }

    /// When it entered its group for the first time.
    pub fn entered_at(&self) -> Timestamp {
        self.entered_at
    }

    /// The version that it is pinned to.
    pub fn pin(&self) -> Option<&Version> {
        self.rare.as_ref().and_then(|rare| rare.pin.as_ref())
    }

    /// The highest version that it is given.
    pub fn cap(&self) -> Option<&Version> {
        self.rare.as_ref().and_then(|rare| rare.cap.as_ref())
    }

    /// The version that it reported last, as far as known.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Its hardware, as far as known.
    pub fn hardware(&self) -> Option<&str> {
        self.rare.as_ref().and_then(|rare| rare.hardware.as_deref())
    }

    /// Keeps the first times that `before`, the same device as it was, entered its groups, unless this one names its own (R4).
    pub(crate) fn remember(&mut self, before: &Device) {
        let named = self.rare.as_ref().is_some_and(|rare| !rare.earlier_groups.is_empty());
        let earlier_groups = before.rare.as_ref().map(|rare| rare.earlier_groups.clone()).unwrap_or_default();
        if self.group == before.group {
            // Who writes a device again without a time of entry does not mean that it is older than it was.
            if self.entered_at == Timestamp::default() {
                self.entered_at = before.entered_at;
            }
            if !named {
                self.change_rare(|rare| rare.earlier_groups = earlier_groups);
            }
        } else if !named {
            let (group, entered_at) = (std::mem::replace(&mut self.group, before.group.clone()), self.entered_at);
            self.entered_at = before.entered_at;
            self.change_rare(|rare| rare.earlier_groups = earlier_groups);
            self.enter(group, entered_at);
        }
    }

    /// Changes what is rare, and drops the box where nothing is left in it.
    pub(crate) fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().unwrap_or_default();
        change(&mut rare);
        self.rare = (*rare != Rare::default()).then_some(rare);
    }

    /// Moves it to another group, keeping the first time that it entered each (R4).
    pub(crate) fn enter(&mut self, group: GroupId, at: Timestamp) {
        if group == self.group {
            return;
        }
        let (left, left_entered_at) = (std::mem::replace(&mut self.group, group), self.entered_at);
        let mut entered_at = at;
        let group = self.group.clone();
        self.change_rare(|rare| {
            if let Some(index) = rare.earlier_groups.iter().position(|(earlier, _)| *earlier == group) {
                entered_at = rare.earlier_groups.swap_remove(index).1;
            }
            rare.earlier_groups.push((left, left_entered_at));
            if rare.earlier_groups.len() > EARLIER_GROUPS_MAX {
                let oldest =
                    rare.earlier_groups.iter().enumerate().min_by_key(|(_, (_, at))| *at).map(|(index, _)| index);
                rare.earlier_groups.remove(oldest.unwrap_or(0));
            }
            rare.earlier_groups.sort_unstable();
        });
        self.entered_at = entered_at;
    }

    /// The specification that builds this value again.
    pub fn spec(&self) -> DeviceSpec {
        let text = |version: &Version| version.text().to_owned();
        DeviceSpec {
            serial: self.serial.to_string(),
            state: self.state,
            group: self.group.as_str().to_owned(),
            entered_at: self.entered_at,
            pin: self.pin().map(text),
            cap: self.cap().map(text),
            version: self.version().map(str::to_owned),
            hardware: self.hardware().map(str::to_owned),
            earlier_groups: self.rare.as_ref().map(|rare| rare.earlier_groups.clone()).unwrap_or_default(),
        }
    }
}
