//! What a device asks.

use crate::fleet::SentDigest;

/// One question by one device. Every field is bytes as they came: nothing is trusted, nothing is assumed to be UTF-8, and no bytes can
/// make a decision fail (V4). Reading them is linear in their length, so a host bounds what it takes in.
///
/// ```
/// let ask = otagate::CheckIn { version: b"1.4.2", ..otagate::CheckIn::new(b"secret", b"A4:CF:12:34:56:78") };
/// assert_eq!(ask.want, otagate::Want::Firmware);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckIn<'a> {
    /// The API key.
    pub key: &'a [u8],
    /// The serial, in any spelling of the product's scheme.
    pub serial: &'a [u8],
    /// The version that runs; empty is a factory device (W4).
    pub version: &'a [u8],
    /// The hardware; empty is saying nothing (question 7).
    pub hardware: &'a [u8],
    /// The digest of the image that runs, or of the config or resource that the device holds (W6).
    pub digest: Option<SentDigest>,
    /// What it asks for.
    pub want: Want<'a>,
}

impl<'a> CheckIn<'a> {
    /// A factory device that asks for firmware and says nothing more.
    pub const fn new(key: &'a [u8], serial: &'a [u8]) -> Self {
        Self { key, serial, version: b"", hardware: b"", digest: None, want: Want::Firmware }
    }
}

/// What a device asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want<'a> {
    /// The firmware meant for it.
    #[default]
    Firmware,
    /// The configuration of its group.
    Config,
    /// The list of its group's resources.
    Resources,
    /// One resource of its group, by name.
    Resource(&'a [u8]),
}

impl Want<'_> {
    /// As it is written in traces and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Config => "config",
            Self::Resources => "resources",
            Self::Resource(_) => "resource",
        }
    }
}
