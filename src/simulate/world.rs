//! The world that a fleet lives in: how its devices ask, download, install and fail. Everything has a default, and can be read from a file.

use super::draw::Spread;
use crate::fleet::{Change, Problems};
use serde::{Deserialize, Serialize};

/// The longest that a simulation lasts, in seconds: ten years.
pub const LASTS_SECS_MAX: u64 = 10 * 366 * 86_400;

/// How devices behave, and what befalls them. Times are seconds since the simulation begins; shares are basis points.
///
/// ```
/// use otagate::simulate::{How, World};
/// let world: World = serde_json::from_str(
///     r#"{ "lasts_secs": 604800, "failures": [{ "version": "2.0", "hardware": "rev-b", "share_bps": 500, "how": "silent" }] }"#,
/// ).unwrap();
/// assert_eq!(world.check_in.every_secs, 3_600);
/// assert_eq!(world.failures[0].how, How::Silent);
/// assert!(world.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// How long it lasts; two weeks by default.
    pub lasts_secs: u64,
    /// How often the conductor looks at the rollouts; a minute by default.
    pub tick_secs: u32,
    /// How long a bin of what is told over time is; by default some 336 bins of whole minutes, an hour for two weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bin_secs: Option<u32>,
    /// When devices ask.
    pub check_in: Rhythm,
    /// Who does not.
    pub offline: Offline,
    /// How fast a device downloads, in bytes a second; 100,000 by default. A delta or an image of no bytes takes no time.
    pub download_bytes_per_sec: Spread,
    /// How long it installs and starts again, in seconds; 60 by default.
    pub install_secs: Spread,
    /// A device asks as soon as it has started again, which is how most tell their new version; by default it does.
    pub asks_after_install: bool,
    /// How long a lease and its claim live, in seconds; an hour by default, as in the gateway.
    pub lease_secs: u32,
    /// How long they live on after the last byte, in seconds; a minute by default.
    pub grace_secs: u32,
    /// Devices whose version is not known run this one; none: they report no version (W4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_version: Option<String>,
    /// What may go wrong with an installation: the rules are drawn in order, each by itself, and the first that befalls the device says what becomes of it.
    pub failures: Vec<Failure>,
    /// Devices that come while it lasts.
    pub joiners: Vec<Joiners>,
    /// When the gateway, and the conductor with it, is out.
    pub outages: Vec<Outage>,
    /// What operators do, besides what the plan does.
    pub actions: Vec<Action>,
}

/// When devices ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rhythm {
    /// How long a device waits from one check-in to the next; an hour by default.
    pub every_secs: u32,
    /// By how much that is longer, each time anew, evenly from nothing to this.
    pub jitter_secs: u32,
    /// When each asks for the first time.
    pub first: First,
    /// Where it is told a `retry_after`, it waits so long instead. Most devices in the field do not.
    pub heeds_retry_after: bool,
}

/// When devices ask for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum First {
    /// By chance within the first interval.
    #[default]
    Scattered,
    /// In even steps over the first interval, in the order of product and serial.
    Even,
    /// All at the beginning, as after a power cut.
    Together,
}

/// Who does not ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Offline {
    /// The share of devices that never ask while it lasts: in a drawer, in a box.
    pub devices_bps: u16,
    /// The share of check-ins that do not happen, each by itself.
    pub check_ins_bps: u16,
}

/// What may go wrong with an installation. What is not named is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failure {
    /// Of this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of devices that come from this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of this product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// On this hardware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// How often.
    pub share_bps: u16,
    /// What becomes of it.
    pub how: How,
    /// With `falls-back`: how long it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_secs: Option<Spread>,
}

/// What becomes of a device whose installation goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It stays where it was, and says that it failed.
    #[default]
    Fails,
    /// It stays where it was, and says nothing.
    Silent,
    /// It is never heard of again.
    Dies,
    /// It runs the new version for a while, and then the old one again.
    FallsBack,
}

/// Devices that come while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joiners {
    /// Their product.
    pub product: String,
    /// Their group.
    pub group: String,
    /// How many; their serials are twelve digits, counted down from 999999999999.
    pub devices: u32,
    /// What they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Their hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// When the first one comes.
    pub from_secs: u64,
    /// Over how long they come, in even steps.
    #[serde(default)]
    pub over_secs: u64,
}

/// The gateway is out: check-ins find nobody, downloads and failures that end meanwhile do so when it is back, and the conductor stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// When it begins.
    pub at_secs: u64,
    /// How long it lasts.
    pub secs: u64,
}

/// What an operator does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// When.
    pub at_secs: u64,
    /// In words, for the list of events.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// One batch, taken whole or not at all; what is refused is told, and the simulation goes on.
    pub changes: Vec<Change>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            lasts_secs: 14 * 86_400,
            tick_secs: 60,
            bin_secs: None,
            check_in: Rhythm::default(),
            offline: Offline::default(),
            download_bytes_per_sec: Spread::Fixed(100_000),
            install_secs: Spread::Fixed(60),
            asks_after_install: true,
            lease_secs: 3_600,
            grace_secs: 60,
            unknown_version: None,
            failures: Vec::new(),
            joiners: Vec::new(),
            outages: Vec::new(),
            actions: Vec::new(),
        }
    }
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { every_secs: 3_600, jitter_secs: 0, first: First::default(), heeds_retry_after: false }
    }
}

impl World {
    /// Checks what one number says of another.
    ///
    /// # Errors
    /// All that cannot be, each with its place, such as `failures[0].share_bps`.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let mut wrong = |is: bool, place: &str, why: &str| {
            if is {
                problems.add(place, why);
            }
        };
        let share = "a share is 0 to 10000 basis points";
        wrong(
            !(1..=LASTS_SECS_MAX).contains(&self.lasts_secs),
            "lasts_secs",
            "a simulation lasts from a second to ten years",
        );
        wrong(!(1..=86_400).contains(&self.tick_secs), "tick_secs", "a conductor looks every second to once a day");
        let bins_max = 100_000;
        let bin = u64::from(self.bin_secs.unwrap_or(u32::MAX));
        wrong(
            bin == 0 || self.lasts_secs / bin.max(1) > bins_max,
            "bin_secs",
            "a bin is at least a second, and there are at most 100000",
        );
        wrong(self.check_in.every_secs == 0, "check_in.every_secs", "devices ask at most once a second: 1 or more");
        wrong(self.offline.devices_bps > 10_000, "offline.devices_bps", share);
        wrong(self.offline.check_ins_bps > 10_000, "offline.check_ins_bps", share);
        let spreads = [("download_bytes_per_sec", &self.download_bytes_per_sec), ("install_secs", &self.install_secs)];
        for (place, spread) in spreads {
            spread.fault().into_iter().for_each(|fault| wrong(true, place, fault));
        }
        wrong(
            self.download_bytes_per_sec.least() == 0,
            "download_bytes_per_sec",
            "a download that never ends is no download: 1 or more",
        );
        wrong(self.lease_secs == 0, "lease_secs", "a lease that ends at once serves nobody: 1 or more");
        for (at, failure) in self.failures.iter().enumerate() {
            wrong(failure.share_bps > 10_000, &format!("failures[{at}].share_bps"), share);
            let falls = failure.how == How::FallsBack;
            let place = format!("failures[{at}].after_secs");
            wrong(failure.after_secs.is_some() && !falls, &place, "goes with `how = \"falls-back\"` alone");
            failure
                .after_secs
                .and_then(|spread| spread.fault())
                .into_iter()
                .for_each(|fault| wrong(true, &place, fault));
        }
        problems.finish(Some(()))
    }

    /// How long a bin is.
    pub(super) fn bin(&self) -> u32 {
        let even = self.lasts_secs.div_ceil(336).div_ceil(60).saturating_mul(60);
        self.bin_secs.unwrap_or(u32::try_from(even).unwrap_or(u32::MAX))
    }

    /// The end of the outage that goes on at that time, in milliseconds since the beginning.
    pub(super) fn out_until(&self, at: i64) -> Option<i64> {
        let millis = |secs: u64| i64::try_from(secs.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let ends = self.outages.iter().filter_map(|outage| {
            let (from, end) = (millis(outage.at_secs), millis(outage.at_secs.saturating_add(outage.secs)));
            (from <= at && at < end).then_some(end)
        });
        ends.max()
    }
}
