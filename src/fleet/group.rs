//! Groups, and what they assign: firmware, config and resources.

use super::Product;
use super::digest::Digests;
use super::name::{GroupId, LOCATOR_BYTES_MAX, NAME_BYTES_MAX, check_text};
use super::problem::Problems;
use super::rollout::{Rollout, RolloutSpec};
use super::version::{Version, VersionRules};
use super::window::Window;
use serde::{Deserialize, Serialize};

/// The longest config document, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// The most groups of one product.
pub const GROUPS_MAX: usize = 16_384;
/// The most resources of one group.
pub const RESOURCES_MAX: usize = 4_096;

/// Whether an older firmware is served (W3). A pin is always `any-difference`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// What differs is served, also when older.
    #[default]
    AnyDifference,
    /// A device above the meant firmware is left where it is: 304 `ahead`.
    ForwardOnly,
}

/// What became of the devices on the target of an aborted rollout (R10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// They stay there, until the group's baseline changes: 304 `left`.
    Leave,
    /// The baseline is meant for them, and `forward-only` is lifted above the baseline and up to the target.
    Downgrade,
}

/// A group as an operator writes it; [`build`](GroupSpec::build) checks it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Its name inside its product.
    pub id: String,
    /// The baseline: the version of the firmware that is assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Whether an older firmware is served; for the baseline and a rollout's target alike.
    #[serde(default)]
    pub policy: Policy,
    /// The highest version that its devices are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    /// The configuration that is assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigSpec>,
    /// The resources that are assigned; `None` is nothing, an empty list is an empty list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<ResourceSpec>>,
    /// When its devices may be served; none is always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The cap on concurrent downloads; needs a ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downloads_max: Option<u32>,
    /// Its rollout; at most one (R11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSpec>,
    /// The fate of its last abort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<AbortedSpec>,
}

/// The last abort as an operator writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortedSpec {
    /// The version that was the target.
    pub target: String,
    /// What happens to devices on it.
    pub fate: Fate,
}

/// A configuration as an operator writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigSpec {
    /// The JSON document, as it is sent.
    pub document: String,
    /// The digests of those bytes; BLAKE3 is computed where it is not given.
    #[serde(default)]
    pub digests: Digests,
}

/// A resource as an operator writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceSpec {
    /// Its name inside its group.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its digests; BLAKE3 always.
    pub digests: Digests,
    /// Where the host finds it.
    pub locator: String,
}

/// A checked group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub(crate) id: GroupId,
    pub(crate) firmware: Option<Version>,
    pub(crate) policy: Policy,
    pub(crate) cap: Option<Version>,
    pub(crate) config: Option<Config>,
    pub(crate) resources: Option<Vec<Resource>>,
    pub(crate) window: Option<Window>,
    pub(crate) downloads_max: Option<u32>,
    pub(crate) rollout: Option<Rollout>,
    pub(crate) aborted: Option<Aborted>,
}

/// The fate of a group's last abort.
#[derive(Clone, Debug, PartialEq)]
pub struct Aborted {
    pub(crate) target: Version,
    pub(crate) fate: Fate,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    document: Box<str>,
    digests: Digests,
}

/// A checked resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    name: Box<str>,
    size_bytes: u64,
    digests: Digests,
    locator: Box<str>,
}

impl GroupSpec {
    /// Checks the group under its product's rules.
    ///
    /// # Errors
    /// Every problem of L3 in it: versions that do not parse, a cap or `forward-only` under `exact`, control characters, a config that is no
    /// JSON, a rollout that R1 or R6 refuses, a limit exceeded.
    pub fn build(&self, product: &Product) -> Result<Group, Problems> {
        let rules = product.versions();
        let mut problems = Problems::default();
        let id = problems.check_one("id", GroupId::new(&self.id));
        let firmware = self.firmware.as_deref().and_then(|text| problems.check_one("firmware", rules.version(text)));
        let cap = self.cap.as_deref().and_then(|text| problems.check_one("cap", rules.limit(text)));
        if self.policy == Policy::ForwardOnly && !rules.scheme().has_order() {
            problems.add(
                "policy",
                "`forward-only` needs versions with an order, which `exact` has not: declare `semver` or `dotted`",
            );
        }
        let config = self.config.as_ref().and_then(|config| problems.check("config", config.build()));
        let resources = self.resources.as_ref().and_then(|list| problems.check("resources", build_resources(list)));
        let rollout = self.rollout.as_ref().and_then(|rollout| problems.check("rollout", rollout.build(product)));
        let aborted = self.aborted.as_ref().and_then(|aborted| problems.check("aborted", aborted.build(rules)));
        let (policy, window, downloads_max) = (self.policy, self.window.clone(), self.downloads_max);
        problems.finish(id.map(|id| Group {
            id,
            firmware,
            policy,
            cap,
            config,
            resources,
            window,
            downloads_max,
            rollout,
            aborted,
        }))
    }
}

impl AbortedSpec {
    fn build(&self, rules: &VersionRules) -> Result<Aborted, Problems> {
        let mut problems = Problems::default();
        let target = problems.check_one("target", rules.version(&self.target));
        problems.finish(target.map(|target| Aborted { target, fate: self.fate }))
    }
}

impl ConfigSpec {
    /// Checks the configuration.
    ///
    /// # Errors
    /// It is no JSON, longer than [`CONFIG_BYTES_MAX`], or has another BLAKE3 than given.
    pub fn build(&self) -> Result<Config, Problems> {
        let mut problems = Problems::default();
        if self.document.len() > CONFIG_BYTES_MAX {
            problems.add("document", format!("is longer than {CONFIG_BYTES_MAX} bytes"));
        } else if let Err(error) = serde_json::from_str::<serde_json::Value>(&self.document) {
            problems.add("document", format!("is no JSON: {error}"));
        }
        let computed = Digests::blake3_of(self.document.as_bytes()).blake3;
        if self.digests.blake3.is_some_and(|given| Some(given) != computed) {
            problems.add("digests.blake3", "is not the BLAKE3 of the document: leave it out to have it computed");
        }
        let digests = Digests { blake3: computed, ..self.digests };
        problems.finish(Some(Config { document: self.document.as_str().into(), digests }))
    }
}

/// Checks a group's or a target's resources: each one, and that no name stands twice.
pub(crate) fn build_resources(list: &[ResourceSpec]) -> Result<Vec<Resource>, Problems> {
    let mut problems = Problems::default();
    let mut resources: Vec<Resource> = Vec::with_capacity(list.len());
    let mut names = std::collections::BTreeSet::new();
    for (index, resource) in list.iter().enumerate() {
        let place = format!("[{index}]");
        if !names.insert(&resource.name) {
            problems.add(format!("{place}.name"), format!("`{}` stands twice", resource.name.escape_debug()));
        }
        resources.extend(problems.check(&place, resource.build()));
    }
    if list.len() > RESOURCES_MAX {
        problems.add("", format!("are more than {RESOURCES_MAX}"));
    }
    problems.finish(Some(resources))
}

impl ResourceSpec {
    fn build(&self) -> Result<Resource, Problems> {
        let mut problems = Problems::default();
        problems.check_one("name", check_text(&self.name, NAME_BYTES_MAX));
        problems.check_one("locator", check_text(&self.locator, LOCATOR_BYTES_MAX));
        if self.digests.blake3.is_none() {
            problems.add("digests.blake3", "is missing: every resource has one");
        }
        problems.finish(Some(Resource {
            name: self.name.as_str().into(),
            size_bytes: self.size_bytes,
            digests: self.digests,
            locator: self.locator.as_str().into(),
        }))
    }
}

impl Group {
    /// Its name.
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// The version that is its baseline.
    pub fn firmware(&self) -> Option<&Version> {
        self.firmware.as_ref()
    }

    /// Its rollout, whatever state that is in.
    pub fn rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref()
    }

    /// Whether its rollout runs or is paused.
    pub(crate) fn is_under_way(&self) -> bool {
        self.rollout.as_ref().is_some_and(Rollout::is_active)
    }

    /// The specification that builds this value again.
    pub fn spec(&self) -> GroupSpec {
        let text = |version: &Version| version.text().to_owned();
        GroupSpec {
            id: self.id.as_str().to_owned(),
            firmware: self.firmware.as_ref().map(text),
            policy: self.policy,
            cap: self.cap.as_ref().map(text),
            config: self.config.as_ref().map(Config::spec),
            resources: self.resources.as_ref().map(|list| list.iter().map(Resource::spec).collect()),
            window: self.window.clone(),
            downloads_max: self.downloads_max,
            rollout: self.rollout.as_ref().map(Rollout::spec),
            aborted: self
                .aborted
                .as_ref()
                .map(|aborted| AbortedSpec { target: text(&aborted.target), fate: aborted.fate }),
        }
    }
}

impl Config {
    /// The JSON document, as it is sent.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// Its digests; BLAKE3 is always there.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// The specification that builds this value again.
    pub fn spec(&self) -> ConfigSpec {
        ConfigSpec { document: self.document.to_string(), digests: self.digests }
    }
}

impl Resource {
    /// Its name inside its group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size in bytes.
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

    /// The specification that builds this value again.
    pub fn spec(&self) -> ResourceSpec {
        let (name, locator) = (self.name.to_string(), self.locator.to_string());
        ResourceSpec { name, size_bytes: self.size_bytes, digests: self.digests, locator }
    }
}
