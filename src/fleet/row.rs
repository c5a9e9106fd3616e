//! A fleet as rows: what a table, a topic or a file of somebody else's keeps of it, one product, firmware, group or device each. Not checked: whoever may
//! write there may write anything.

use super::whole::Revision;
use super::{DeviceSpec, FirmwareSpec, GroupSpec, ProductSpec};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// A product, by its own facts and keys.
    Product,
    /// A firmware of a product.
    Firmware,
    /// A group of a product.
    Group,
    /// A device of a product.
    Device,
}

impl RowKind {
    /// All of them, in the order in which one needs the other.
    pub const ALL: [Self; 4] = [Self::Product, Self::Firmware, Self::Group, Self::Device];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Firmware => "firmware",
            Self::Group => "group",
            Self::Device => "device",
        }
    }
}

/// Which row: its kind, its product and its name there. In the order in which one needs the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey {
    /// What it is of.
    pub kind: RowKind,
    /// The product.
    pub product: Box<str>,
    /// The firmware's version as it is written, the group's name, the device's canonical serial; a product's own name again.
    pub name: Box<str>,
}

impl RowKey {
    /// A key of these parts.
    pub fn new(kind: RowKind, product: &str, name: &str) -> Self {
        Self { kind, product: product.into(), name: name.into() }
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, product, name } = self;
        match kind {
            RowKind::Product => write!(f, "product `{}`", product.escape_debug()),
            _ => write!(f, "{} `{}` of product `{}`", kind.name(), name.escape_debug(), product.escape_debug()),
        }
    }
}

/// A row as it stands now. In JSON an object of `kind`, `product`, `name`, `revision` and `value`, which is null where the row is gone; a value that is none of
/// its kind is an [unreadable](RowValue::Unreadable) row, and no error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which one.
    #[serde(flatten)]
    pub key: RowKey,
    /// The revision that it was written by. Rows of products, firmware and groups that were written by one are taken together or not at all; 0: by itself.
    pub revision: Revision,
    /// What stands there; nothing: it is gone.
    pub value: Option<RowValue>,
}

/// What stands in a row. Of what there is little it is behind a box, so that devices stay small.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RowValue {
    /// Of a product.
    Product(Box<ProductSpec>),
    /// Of a firmware.
    Firmware(Box<FirmwareSpec>),
    /// Of a group.
    Group(Box<GroupSpec>),
    /// Of a device; its serial is canonical.
    Device(DeviceSpec),
    /// Something that cannot be read; why.
    #[serde(skip)]
    Unreadable(String),
}

impl RowValue {
    /// Reads the JSON document of a product, a firmware, a group or a device.
    pub fn read(kind: RowKind, document: &str) -> Self {
        fn read<T: DeserializeOwned>(document: &str, of: impl FnOnce(T) -> RowValue) -> RowValue {
            serde_json::from_str(document).map_or_else(|fault| RowValue::Unreadable(fault.to_string()), of)
        }
        match kind {
            RowKind::Product => read(document, |spec| Self::Product(Box::new(spec))),
            RowKind::Firmware => read(document, |spec| Self::Firmware(Box::new(spec))),
            RowKind::Group => read(document, |spec| Self::Group(Box::new(spec))),
            RowKind::Device => read(document, Self::Device),
        }
    }
}

impl Row {
    /// The row of a product.
    pub fn product(spec: ProductSpec) -> Self {
        let key = RowKey::new(RowKind::Product, &spec.id, &spec.id);
        Self { key, revision: Revision(0), value: Some(RowValue::Product(Box::new(spec))) }
    }

    /// The row of a firmware.
    pub fn firmware(product: &str, spec: FirmwareSpec) -> Self {
        let key = RowKey::new(RowKind::Firmware, product, &spec.version);
        Self { key, revision: Revision(0), value: Some(RowValue::Firmware(Box::new(spec))) }
    }

    /// The row of a group.
    pub fn group(product: &str, spec: GroupSpec) -> Self {
        let key = RowKey::new(RowKind::Group, product, &spec.id);
        Self { key, revision: Revision(0), value: Some(RowValue::Group(Box::new(spec))) }
    }

    /// The row of a device, whose serial is canonical.
    pub fn device(product: &str, spec: DeviceSpec) -> Self {
        let key = RowKey::new(RowKind::Device, product, &spec.serial);
        Self { key, revision: Revision(0), value: Some(RowValue::Device(spec)) }
    }

    /// The row that is gone.
    pub fn gone(key: RowKey) -> Self {
        Self { key, revision: Revision(0), value: None }
    }

    /// The same, written by that revision.
    pub fn at(self, revision: Revision) -> Self {
        Self { revision, ..self }
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            kind: RowKind,
            product: Box<str>,
            name: Box<str>,
            #[serde(default)]
            revision: Revision,
            #[serde(default)]
            value: Option<serde_json::Value>,
        }
        let Raw { kind, product, name, revision, value } = Raw::deserialize(deserializer)?;
        let value = value.map(|value| serde_json::to_string(&value).map_err(D::Error::custom)).transpose()?;
        let value = value.map(|document| RowValue::read(kind, &document));
        Ok(Self { key: RowKey { kind, product, name }, revision, value })
    }
}
