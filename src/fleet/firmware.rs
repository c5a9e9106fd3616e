//! Firmware, its artifacts, and the catalogue of a product.

use super::digest::{Digests, SentDigest};
use super::name::{LOCATOR_BYTES_MAX, NAME_BYTES_MAX, check_text};
use super::problem::Problems;
use super::version::{Reading, Version, VersionRules};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The most artifacts of one firmware.
pub const ARTIFACTS_MAX: usize = 256;
/// The most hardware names of one firmware, over all its artifacts.
pub const HARDWARE_MAX: usize = 1_024;
/// The most firmware of one product.
pub const FIRMWARE_MAX: usize = 65_536;
/// The most stones of one product: finding a path is quadratic in them (question 10).
pub const STONES_MAX: usize = 64;

/// A firmware as an operator writes it; [`build`](FirmwareSpec::build) checks it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareSpec {
    /// Its version under the product's scheme.
    pub version: String,
    /// The lowest version from which a device can be taken to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// A device may be taken through it on its way to another.
    #[serde(default)]
    pub stone: bool,
    /// It is served to nobody, pinned or not (R10).
    #[serde(default)]
    pub denied: bool,
    /// Its files; at least one.
    pub artifacts: Vec<ArtifactSpec>,
}

/// One file of a firmware as an operator writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactSpec {
    /// The hardware it fits, byte for byte as devices say it; none fits all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware: Vec<String>,
    /// For a delta, the version it applies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// For a delta, the digests of the image it applies to, where known.
    #[serde(default, skip_serializing_if = "no_digest")]
    pub base: Digests,
    /// Its size in bytes, above 0.
    pub size_bytes: u64,
    /// The digests of the file; BLAKE3 always.
    pub digests: Digests,
    /// Where the host finds it: a path, a URL, a key. Only the host understands it.
    pub locator: String,
}

fn no_digest(digests: &Digests) -> bool {
    *digests == Digests::default()
}

/// A checked firmware.
#[derive(Clone, Debug, PartialEq)]
pub struct Firmware {
    pub(crate) version: Version,
    pub(crate) from: Option<Version>,
    pub(crate) stone: bool,
    pub(crate) denied: bool,
    pub(crate) artifacts: Vec<Artifact>,
}

/// A checked artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    pub(crate) hardware: Vec<Box<str>>,
    pub(crate) from: Option<Version>,
    pub(crate) base: Digests,
    pub(crate) size_bytes: u64,
    pub(crate) digests: Digests,
    pub(crate) locator: Box<str>,
}

impl FirmwareSpec {
    /// Checks the firmware under its product's rules.
    ///
    /// # Errors
    /// Every problem of L3 in it: a version that does not parse, a minimum `from` or the mark of a stone under `exact`, no artifact, an
    /// artifact without size or BLAKE3, two artifacts with one `from` that could fit one device, control characters, a limit exceeded.
    pub fn build(&self, rules: &VersionRules) -> Result<Firmware, Problems> {
        let mut problems = Problems::default();
        let version = problems.check_one("version", rules.version(&self.version));
        let from = self.from.as_deref().and_then(|from| problems.check_one("from", rules.limit(from)));
        if self.stone && !rules.scheme().has_order() {
            problems.add("stone", "needs versions with an order, which `exact` has not: declare `semver` or `dotted`");
        }
        if self.artifacts.is_empty() {
            problems.add("artifacts", "there are none: a firmware has at least one file");
        } else if self.artifacts.len() > ARTIFACTS_MAX {
            problems.add("artifacts", format!("are more than {ARTIFACTS_MAX}"));
        }
        if self.artifacts.iter().map(|artifact| artifact.hardware.len()).sum::<usize>() > HARDWARE_MAX {
            problems.add("artifacts", format!("name more than {HARDWARE_MAX} hardware in all"));
            return problems.finish(None);
        }
        let mut artifacts = Vec::with_capacity(self.artifacts.len());
        for (index, artifact) in self.artifacts.iter().enumerate() {
            let place = format!("artifacts[{index}]");
            if let Some(artifact) = problems.check(&place, artifact.build(rules)) {
                if let Some(other) = artifacts.iter().position(|other| artifact.could_serve_with(other, rules)) {
                    let sort =
                        if artifact.from.is_some() { "are deltas from the same version" } else { "are full images" };
                    problems.add(place, format!("this and artifacts[{other}] {sort} and could fit the same device"));
                }
                artifacts.push(artifact);
            }
        }
        let (stone, denied) = (self.stone, self.denied);
        problems.finish(version.map(|version| Firmware { version, from, stone, denied, artifacts }))
    }
}

impl ArtifactSpec {
    fn build(&self, rules: &VersionRules) -> Result<Artifact, Problems> {
        let mut problems = Problems::default();
        for (index, hardware) in self.hardware.iter().enumerate() {
            problems.check_one(&format!("hardware[{index}]"), check_text(hardware, NAME_BYTES_MAX));
        }
        let from = self.from.as_deref().and_then(|from| problems.check_one("from", rules.version(from)));
        if self.from.is_none() && !no_digest(&self.base) {
            problems.add("base", "has digests, but only a delta (`from`) has a base");
        }
        if self.size_bytes == 0 {
            problems.add("size_bytes", "is 0: give the file's size in bytes");
        }
        if self.digests.blake3.is_none() {
            problems.add("digests.blake3", "is missing: every artifact has one");
        }
        problems.check_one("locator", check_text(&self.locator, LOCATOR_BYTES_MAX));
        problems.finish(Some(Artifact {
            hardware: self.hardware.iter().map(|name| name.as_str().into()).collect(),
            from,
            base: self.base,
            size_bytes: self.size_bytes,
            digests: self.digests,
            locator: self.locator.as_str().into(),
        }))
    }
}

impl Firmware {
    /// Its version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Its minimum `from` requirement.
    pub fn from(&self) -> Option<&Version> {
        self.from.as_ref()
    }

    /// Whether it is served to nobody.
    pub fn is_denied(&self) -> bool {
        self.denied
    }

    /// Whether a device may be taken through it.
    pub fn is_stone(&self) -> bool {
        self.stone
    }

    /// Its files.
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }

    /// Question 7: whether any artifact fits.
    pub(crate) fn fits(&self, hardware: &[u8]) -> bool {
        self.artifacts.iter().any(|artifact| artifact.fits(hardware))
    }

    /// W6: whether a full, fitting artifact has what the device sent on record. `None` where no such record of that kind exists.
    pub(crate) fn image_agrees(&self, hardware: &[u8], sent: &SentDigest) -> Option<bool> {
        let full = self.artifacts.iter().filter(|artifact| artifact.from.is_none() && artifact.fits(hardware));
        full.filter_map(|artifact| artifact.digests.agree_with(sent)).reduce(|any, this| any || this)
    }

    /// The specification that builds this value again.
    pub fn spec(&self) -> FirmwareSpec {
        let text = |version: &Version| version.text().to_owned();
        FirmwareSpec {
            version: text(&self.version),
            from: self.from.as_ref().map(text),
            stone: self.stone,
            denied: self.denied,
            artifacts: (self.artifacts.iter())
                .map(|artifact| ArtifactSpec {
                    hardware: artifact.hardware.iter().map(|name| name.to_string()).collect(),
                    from: artifact.from.as_ref().map(text),
                    base: artifact.base,
                    size_bytes: artifact.size_bytes,
                    digests: artifact.digests,
                    locator: artifact.locator.to_string(),
                })
                .collect(),
        }
    }
}

impl Artifact {
    /// The hardware it fits; none fits all.
    pub fn hardware(&self) -> impl Iterator<Item = &str> {
        self.hardware.iter().map(|name| &**name)
    }

    /// For a delta, the version it applies to.
    pub fn from(&self) -> Option<&Version> {
        self.from.as_ref()
    }

    /// For a delta, the digests of the image it applies to.
    pub fn base(&self) -> &Digests {
        &self.base
    }

    /// Its size in bytes, above 0.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Its digests; BLAKE3 is always there.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Where the host finds it.
    pub fn locator(&self) -> &str {
        &self.locator
    }

    /// Question 7: it names no hardware, or what the device says, byte for byte; empty is saying nothing.
    pub(crate) fn fits(&self, hardware: &[u8]) -> bool {
        self.hardware.is_empty()
            || (!hardware.is_empty() && self.hardware.iter().any(|name| name.as_bytes() == hardware))
    }

    /// L3: both could be the answer to question 12 for one device.
    fn could_serve_with(&self, other: &Artifact, rules: &VersionRules) -> bool {
        let same_from = match (&self.from, &other.from) {
            (None, None) => true,
            (Some(a), Some(b)) => rules.equal(a.reading(), b.reading()),
            _ => false,
        };
        let open = self.hardware.is_empty() || other.hardware.is_empty();
        same_from && (open || self.hardware.iter().any(|name| other.hardware.contains(name)))
    }
}

/// All firmware of one product, or as much of it as a decision may need: what is assigned, pinned or a target, and the stones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// In search order; no two are equal. Each is shared with the revisions that have it too.
    firmware: Vec<Arc<Firmware>>,
    /// Where the stones are, lowest first.
    stones: Vec<u32>,
}

impl Catalogue {
    /// Collects firmware that was built under `rules`.
    ///
    /// # Errors
    /// Two versions that are equal under the rules (L3), both named; more than [`FIRMWARE_MAX`] or [`STONES_MAX`].
    pub fn new(mut firmware: Vec<Firmware>, rules: &VersionRules) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        firmware.sort_by(|a, b| rules.search_order(a.version.reading(), b.version.reading()));
        for pair in firmware.windows(2) {
            if rules.equal(pair[0].version.reading(), pair[1].version.reading()) {
                problems
                    .add("", format!("firmware `{}` and `{}` are the same version", pair[0].version, pair[1].version));
            }
        }
        let stones = (0..).zip(&firmware).filter(|(_, firmware)| firmware.stone).map(|(index, _)| index).collect();
        let catalogue = Self { firmware: firmware.into_iter().map(Arc::new).collect(), stones };
        problems.check("", catalogue.check_limits());
        problems.finish(Some(catalogue))
    }

    /// Puts a firmware in the place of the one of an equal version, or adds it. `O(n)`, without reading versions again.
    pub(crate) fn put(&mut self, firmware: Firmware, rules: &VersionRules) -> Result<(), Problems> {
        let stone = firmware.stone;
        let at = match self.position(firmware.version.reading(), rules) {
            Ok(at) => {
                self.firmware[at] = Arc::new(firmware);
                self.stones.retain(|index| *index as usize != at);
                at
            }
            Err(at) => {
                self.firmware.insert(at, Arc::new(firmware));
                self.stones.iter_mut().filter(|index| **index as usize >= at).for_each(|index| *index += 1);
                at
            }
        };
        if stone {
            // At most `FIRMWARE_MAX`, and one more, which is refused.
            let index = u32::try_from(at).unwrap_or(u32::MAX);
            self.stones.insert(self.stones.partition_point(|stone| *stone < index), index);
        }
        self.check_limits()
    }

    /// Removes the firmware of that version, if there is one. `O(n)`.
    pub(crate) fn remove(&mut self, version: &Version, rules: &VersionRules) {
        if let Ok(at) = self.position(version.reading(), rules) {
            self.firmware.remove(at);
            self.stones.retain(|index| *index as usize != at);
            self.stones.iter_mut().filter(|index| **index as usize > at).for_each(|index| *index -= 1);
        }
    }

    /// Denies the firmware of that version, or lifts that. `O(log n)`.
    pub(crate) fn deny(&mut self, version: &Version, rules: &VersionRules, denied: bool) {
        if let Ok(at) = self.position(version.reading(), rules) {
            Arc::make_mut(&mut self.firmware[at]).denied = denied;
        }
    }

    fn check_limits(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if self.firmware.len() > FIRMWARE_MAX {
            problems.add("", format!("there are more than {FIRMWARE_MAX} firmware: remove the oldest"));
        }
        if self.stones.len() > STONES_MAX {
            problems
                .add("", format!("there are more than {STONES_MAX} stones: remove the mark where no device needs it"));
        }
        problems.finish(Some(()))
    }

    /// The firmware of that version. `O(log n)` comparisons.
    pub fn find(&self, version: &Version, rules: &VersionRules) -> Option<&Firmware> {
        self.find_reading(version.reading(), rules)
    }

    pub(crate) fn find_reading(&self, version: Reading<'_>, rules: &VersionRules) -> Option<&Firmware> {
        self.shared(version, rules).map(|firmware| &**firmware)
    }

    /// The same, to be kept beyond the catalogue.
    pub(crate) fn shared(&self, version: Reading<'_>, rules: &VersionRules) -> Option<&Arc<Firmware>> {
        self.position(version, rules).ok().and_then(|at| self.firmware.get(at))
    }

    /// Where a version stands, or would.
    fn position(&self, version: Reading<'_>, rules: &VersionRules) -> Result<usize, usize> {
        self.firmware.binary_search_by(|one| rules.search_order(one.version.reading(), version))
    }

    /// All firmware, lowest first (under `exact` in the order of its text).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Firmware> {
        self.firmware.iter().map(|firmware| &**firmware)
    }

    /// The stones, highest first.
    pub(crate) fn stones_down(&self) -> impl Iterator<Item = &Firmware> {
        self.stones.iter().rev().filter_map(|index| self.firmware.get(*index as usize).map(|firmware| &**firmware))
    }
}
