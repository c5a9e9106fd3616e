//! What would a change do to the fleet? Every device of two fleets is asked as it was last known, and whose verdict changes is counted.
//!
//! ```text
//!   before ──▶ scan, in parts ──▶ each device's check-in ──┬─▶ decided by before ──┐
//!                                                          └─▶ decided by after  ──┴─▶ the same? else a line, a group, a flag
//!   after  ──▶ reach: what a conductor would do at once ───┘                             ──▶ Preview ──▶ Limits: refusals
//! ```
//!
//! ```
//! use otagate::preview::{Limits, preview};
//! use otagate::*;
//!
//! # let digests = Digests::blake3_of(b"an image");
//! # let firmware = |version: &str| FirmwareSpec { version: version.into(), artifacts: vec![ArtifactSpec { locator: version.into(), size_bytes: 1, digests, ..Default::default() }], ..Default::default() };
//! # let devices = (0..1_000).map(|n| DeviceSpec { serial: format!("SN-{n}"), state: DeviceState::Verified, group: "stable".into(), version: Some("1.0".into()), ..Default::default() });
//! let fleet = FleetSpec {
//!     products: vec![ProductFleetSpec {
//!         product: ProductSpec { id: "lamp".into(), keys: vec![ApiKey::new(KeyHash::of(b"secret").unwrap())], ..Default::default() },
//!         firmware: vec![firmware("1.0"), firmware("2.0")],
//!         groups: vec![GroupSpec { id: "stable".into(), firmware: Some("1.0".into()), ..Default::default() }],
//!         devices: devices.collect(), // a thousand that run 1.0
//!     }],
//!     ..Default::default()
//! }.build()?;
//!
//! let now = Timestamp::parse("2026-11-24T08:00:00Z").unwrap();
//! let before = Index::new(&fleet);
//! let after = before.fork();
//! let (product, group) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
//! after.apply(&[Change::AssignFirmware { product, group, firmware: Some("2.0".into()) }])?;
//!
//! let seen = preview(&before, &after, now);
//! assert_eq!((seen.devices, seen.changed, seen.newly_served), (1_000, 1_000, 1_000));
//! let limits = Limits { max_served: Some(300), ..Limits::default() };
//! assert_eq!(limits.check(&seen)[0].to_string(), "1,000 devices would newly be served, and 300 may be: roll it out in waves, or raise the limit");
//! # Ok::<(), Problems>(())
//! ```
//!
//! A device whose version was never reported is asked as one that reports none (W4), and counted as such. Each asks under the key that it is taken to have: the first of its
//! product's keys that is valid at the time, of `before` where that has the product. Ledgers are not asked: nobody holds a claim, and nobody waits for a penalty.

mod count;
mod limits;
mod reach;
mod show;

pub(crate) use count::key;
pub use limits::{Limits, Refusal};
pub use reach::Reach;

use crate::fleet::{GroupId, ProductId, Revision};
use crate::index::Index;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How to look.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The moment at which all devices ask.
    pub now: Timestamp,
    /// On how many threads; what comes out is the same.
    pub threads: usize,
    /// How many serials are kept for each line: the first ones in order.
    pub examples: usize,
    /// How far the rollouts of the fleet as it would be have come.
    pub reach: Reach,
    /// Told how many devices are done, from any thread, now and then.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Shown every device that is told something else, from any thread and in no order.
    pub each: Option<&'a (dyn Fn(&Changed<'_>) + Sync)>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { now, threads, examples, reach, .. } = self;
        let mut told = f.debug_struct("Options");
        told.field("now", now).field("threads", threads).field("examples", examples).field("reach", reach);
        told.finish_non_exhaustive()
    }
}

impl Options<'_> {
    /// One thread, five examples, what is due.
    pub fn at(now: Timestamp) -> Self {
        Self { now, threads: 1, examples: 5, reach: Reach::Due, progress: &|_| {}, each: None }
    }
}

/// A device that is told something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<'a> {
    /// Its product.
    pub product: &'a str,
    /// Its canonical serial.
    pub serial: &'a str,
    /// The line that it is counted in, its counts apart.
    pub line: &'a Line,
}

/// What a device is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The reason, by name.
    pub reason: String,
    /// The version that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<String>,
}

/// Devices that are told the same thing in the place of the same other thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Line {
    /// Their product.
    pub product: String,
    /// The group that they are in; none, where the fleet has no such devices.
    pub group_before: Option<String>,
    /// The group that they would be in.
    pub group_after: Option<String>,
    /// The version that they reported last; none: it is not known.
    pub version: Option<String>,
    /// What they are told.
    pub before: Answer,
    /// What they would be told.
    pub after: Answer,
    /// They would be served a version below their own.
    pub downgrade: bool,
    /// They would get 401 or 404, and do not now.
    pub unreachable: bool,
    /// How many.
    pub devices: u64,
    /// The first of their serials.
    pub examples: Vec<String>,
}

/// What changes in one group, by the one that devices would be in, or are in where they are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCount {
    /// The product.
    pub product: String,
    /// The group.
    pub group: String,
    /// Devices that are told something else.
    pub changed: u64,
    /// Those of them that would be served something that they are not served now.
    pub newly_served: u64,
    /// Those that would be served a version below their own.
    pub downgrades: u64,
    /// Those that would get 401 or 404, and do not now.
    pub unreachable: u64,
}

/// A firmware that is meant for a group, and fits none of its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misfit {
    /// The product.
    pub product: ProductId,
    /// The group.
    pub group: GroupId,
    /// The version.
    pub version: String,
    /// Its verified devices, of all of which the hardware is known.
    pub devices: u64,
}

/// Who would be told something else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// When all devices ask.
    pub now: Timestamp,
    /// The fleet as it is.
    pub revision_before: Revision,
    /// The fleet as it would be.
    pub revision_after: Revision,
    /// Devices of either fleet.
    pub devices: u64,
    /// Devices that only the fleet as it would be has.
    pub added: u64,
    /// Devices that only the fleet as it is has.
    pub removed: u64,
    /// Devices whose version was never reported.
    pub unknown_version: u64,
    /// Devices that are told something else: another status, another reason, or another version served.
    pub changed: u64,
    /// Those of them that would be served something that they are not served now: the blast radius.
    pub newly_served: u64,
    /// Those that are served something, and would be no more.
    pub no_longer_served: u64,
    /// Those that would newly be served a version below their own; none where versions have no order.
    pub downgrades: u64,
    /// Those that would get 401 or 404, and do not now.
    pub unreachable: u64,
    /// What the rollouts of the fleet as it would be were let do, in words.
    pub steps: Vec<String>,
    /// What is meant and fits nobody.
    pub misfits: Vec<Misfit>,
    /// By group, in the order of product and group; those alone where something changes.
    pub groups: Vec<GroupCount>,
    /// Most devices first.
    pub lines: Vec<Line>,
}

/// Who would be told something else, on one thread; see [`preview_with`].
pub fn preview(before: &Index, after: &Index, now: Timestamp) -> Preview {
    preview_with(before, after, &Options::at(now))
}

/// Who would be told something else. The fleets stay as they are.
///
/// Costs two decisions for each device, some tenths of a microsecond together, and a few bytes for each line.
pub fn preview_with(before: &Index, after: &Index, options: &Options<'_>) -> Preview {
    // Whoever changes an index meanwhile changes nothing that is looked at here.
    let before = before.fork();
    let (after, steps) = options.reach.of(after, options.now);
    Preview { steps, ..count::count(&before, &after, options) }
}
