//! Products and their API keys.

use super::digest::Hex;
use super::name::{GroupId, ProductId};
use super::problem::Problems;
use super::serial::{CanonicalSerial, SerialFault, SerialScheme};
use super::version::{VersionRules, VersionRulesSpec};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest API key, in bytes; a longer one is unknown without being hashed.
pub const KEY_BYTES_MAX: usize = 1_024;
/// The most API keys of one product.
pub const KEYS_MAX: usize = 64;
/// The most placeholders that one product lists.
pub const PLACEHOLDERS_MAX: usize = 256;
/// The longest `retry_after`, poll interval and spread, in seconds: a day (R12).
pub const RETRY_AFTER_SECS_MAX: u32 = 86_400;

/// The BLAKE3 of an API key: the only form in which one is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub Hex<32>);

impl KeyHash {
    /// Hashes a key. `None` where it is longer than [`KEY_BYTES_MAX`]: no product can have it.
    pub fn of(key: &[u8]) -> Option<Self> {
        (key.len() <= KEY_BYTES_MAX).then(|| Self(Hex(*blake3::hash(key).as_bytes())))
    }
}

/// A secret that proves a device belongs to a product; it is valid in `not_before <= now < not_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its BLAKE3.
    pub hash: KeyHash,
    /// Revoked for good.
    #[serde(default)]
    pub revoked: bool,
    /// When it becomes valid; none is always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When it ends; none is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

impl ApiKey {
    /// A key without limits in time.
    pub const fn new(hash: KeyHash) -> Self {
        Self { hash, revoked: false, not_before: None, not_after: None }
    }
}

/// How it is known that a device is on a firmware already (W6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlreadyThere {
    /// The versions are equal, or the digest sent is on record of a full, fitting artifact.
    #[default]
    Either,
    /// By the versions alone.
    Version,
    /// By the digest alone, where a record of that kind exists, else by the versions.
    Digest,
}

/// A product as an operator writes it; [`build`](ProductSpec::build) checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductSpec {
    /// Its name.
    pub id: String,
    /// Its API keys.
    #[serde(default)]
    pub keys: Vec<ApiKey>,
    /// How its serials are spelled (S1).
    #[serde(default)]
    pub serial_scheme: SerialScheme,
    /// Serials that are placeholders besides the built-in ones (question 2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placeholders: Vec<String>,
    /// How its versions are read and compared.
    #[serde(default)]
    pub versions: VersionRulesSpec,
    /// How it is known that a device is on a firmware already (W6).
    #[serde(default)]
    pub already_there: AlreadyThere,
    /// Unknown devices are registered as `new` in the default group on first contact (question 3).
    #[serde(default)]
    pub register_on_first_contact: bool,
    /// How many `new` devices it may have; beyond it nobody is registered. The store enforces it.
    #[serde(default = "default_new_devices_max")]
    pub new_devices_max: u32,
    /// The group of devices that nobody placed.
    #[serde(default = "default_group")]
    pub default_group: String,
    /// Over how many seconds `retry_after` is spread (R12); 0 is no spread.
    #[serde(default = "default_spread")]
    pub retry_spread_secs: u32,
    /// How often its devices ask, in seconds, where known (R12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval_secs: Option<u32>,
}

fn default_new_devices_max() -> u32 {
    1_000
}

fn default_group() -> String {
    "default".to_owned()
}

fn default_spread() -> u32 {
    600
}

impl Default for ProductSpec {
    fn default() -> Self {
        Self {
            id: String::new(),
            keys: Vec::new(),
            serial_scheme: SerialScheme::default(),
            placeholders: Vec::new(),
            versions: VersionRulesSpec::default(),
            already_there: AlreadyThere::default(),
            register_on_first_contact: false,
            new_devices_max: default_new_devices_max(),
            default_group: default_group(),
            retry_spread_secs: default_spread(),
            poll_interval_secs: None,
        }
    }
}

/// A checked product.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    pub(crate) id: ProductId,
    pub(crate) keys: Vec<ApiKey>,
    pub(crate) serial_scheme: SerialScheme,
    /// Canonical, sorted.
    pub(crate) placeholders: Vec<CanonicalSerial>,
    pub(crate) versions: VersionRules,
    pub(crate) already_there: AlreadyThere,
    pub(crate) register_on_first_contact: bool,
    pub(crate) new_devices_max: u32,
    pub(crate) default_group: GroupId,
    pub(crate) retry_spread_secs: u32,
    pub(crate) poll_interval_secs: Option<u32>,
}

impl ProductSpec {
    /// Checks the product.
    ///
    /// # Errors
    /// Every problem in it: names, a key that stands twice or ends before it begins, placeholders that are malformed, version rules,
    /// times above a day, a limit exceeded.
    pub fn build(&self) -> Result<Product, Problems> {
        let mut problems = Problems::default();
        let id = problems.check_one("id", ProductId::new(&self.id));
        let default_group = problems.check_one("default_group", GroupId::new(&self.default_group));
        let versions = problems.check("versions", self.versions.clone().build());
        for (index, key) in self.keys.iter().enumerate() {
            if self.keys[..index].iter().any(|other| other.hash == key.hash) {
                problems.add(format!("keys[{index}]"), "stands twice");
            }
            if let (Some(from), Some(to)) = (key.not_before, key.not_after)
                && to <= from
            {
                problems.add(format!("keys[{index}].not_after"), "is not after not_before, so the key is never valid");
            }
        }
        let limits = [("keys", self.keys.len(), KEYS_MAX), ("placeholders", self.placeholders.len(), PLACEHOLDERS_MAX)];
        for (place, _, max) in limits.into_iter().filter(|(_, len, max)| len > max) {
            problems.add(place, format!("are more than {max}"));
        }
        let secs = [
            ("retry_spread_secs", self.retry_spread_secs),
            ("poll_interval_secs", self.poll_interval_secs.unwrap_or(0)),
        ];
        for (place, _) in secs.into_iter().filter(|(_, secs)| *secs > RETRY_AFTER_SECS_MAX) {
            problems.add(place, format!("is above {RETRY_AFTER_SECS_MAX}, a day"));
        }
        let mut placeholders = Vec::with_capacity(self.placeholders.len());
        for (index, text) in self.placeholders.iter().enumerate() {
            match self.serial_scheme.read(text.as_bytes()) {
                Ok(serial) => placeholders.push(serial),
                // Built in already.
                Err(SerialFault::Placeholder) => {}
                Err(fault) => {
                    problems.add(format!("placeholders[{index}]"), format!("`{}` {fault}", text.escape_debug()))
                }
            }
        }
        placeholders.sort_unstable();
        let all = (|| {
            Some(Product {
                id: id?,
                keys: self.keys.clone(),
                serial_scheme: self.serial_scheme,
                placeholders,
                versions: versions?,
                already_there: self.already_there,
                register_on_first_contact: self.register_on_first_contact,
                new_devices_max: self.new_devices_max,
                default_group: default_group?,
                retry_spread_secs: self.retry_spread_secs,
                poll_interval_secs: self.poll_interval_secs,
            })
        })();
        problems.finish(all)
    }
}

impl Product {
    /// Its name.
    pub fn id(&self) -> &ProductId {
        &self.id
    }

    /// Its API keys.
    pub fn keys(&self) -> &[ApiKey] {
        &self.keys
    }

    /// The key of that hash, if the product has it.
    pub fn key(&self, hash: &KeyHash) -> Option<&ApiKey> {
        self.keys.iter().find(|key| key.hash == *hash)
    }

    /// The group of devices that nobody placed.
    pub fn default_group(&self) -> &GroupId {
        &self.default_group
    }

    /// How many `new` devices it may have.
    pub fn new_devices_max(&self) -> u32 {
        self.new_devices_max
    }

    /// How its versions are read and compared.
    pub fn versions(&self) -> &VersionRules {
        &self.versions
    }

    /// Question 2: the canonical form of what a device sent.
    ///
    /// # Errors
    /// As [`SerialScheme::read`], and for the placeholders that the product lists.
    pub fn read_serial(&self, bytes: &[u8]) -> Result<CanonicalSerial, SerialFault> {
        let mut serial = CanonicalSerial::EMPTY;
        self.read_serial_into(bytes, &mut serial).map(|()| serial)
    }

    /// The same, put where it is to stand: a serial is large to be moved about.
    #[inline]
    pub(crate) fn read_serial_into(&self, bytes: &[u8], serial: &mut CanonicalSerial) -> Result<(), SerialFault> {
        self.serial_scheme.read_into(bytes, serial)?;
        let listed = !self.placeholders.is_empty() && self.placeholders.binary_search(serial).is_ok();
        if listed { Err(SerialFault::Placeholder) } else { Ok(()) }
    }

    /// The specification that builds this value again.
    pub fn spec(&self) -> ProductSpec {
        ProductSpec {
            id: self.id.as_str().to_owned(),
            keys: self.keys.clone(),
            serial_scheme: self.serial_scheme,
            placeholders: self.placeholders.iter().map(ToString::to_string).collect(),
            versions: self.versions.spec().clone(),
            already_there: self.already_there,
            register_on_first_contact: self.register_on_first_contact,
            new_devices_max: self.new_devices_max,
            default_group: self.default_group.as_str().to_owned(),
            retry_spread_secs: self.retry_spread_secs,
            poll_interval_secs: self.poll_interval_secs,
        }
    }
}
