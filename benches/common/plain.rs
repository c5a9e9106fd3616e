//! One fleet twice: ours, and what one would write first. The yardstick of several benches.

use otagate::*;
use std::collections::HashMap;

pub(crate) const KEY: &[u8] = b"a-key-of-thirty-six-characters-or-so";
pub(crate) const PRODUCT: &str = "thermostat";

/// One product of three firmwares and two groups: `stable` has firmware, `empty` has none.
pub(crate) fn fleet(devices: Vec<DeviceSpec>) -> Fleet {
    let firmware = |version: &str| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 1,
            digests: Digests::blake3_of(b"image"),
            locator: version.into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let spec = FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: PRODUCT.into(),
                keys: vec![ApiKey::new(KeyHash::of(KEY).unwrap())],
                serial_scheme: SerialScheme::Mac,
                versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
                ..Default::default()
            },
            firmware: vec![firmware("1.2.0"), firmware("1.4.0"), firmware("2.0.0")],
            groups: vec![
                GroupSpec { id: "stable".into(), firmware: Some("1.4.0".into()), ..Default::default() },
                GroupSpec { id: "empty".into(), ..Default::default() },
            ],
            devices,
        }],
    };
    spec.build().unwrap()
}

/// The same in nested maps, to stand under a lock of the caller's.
pub(crate) struct Plain {
    keys: HashMap<[u8; 32], (String, Option<i64>, Option<i64>)>,
    products: HashMap<String, PlainProduct>,
}

struct PlainProduct {
    devices: HashMap<String, PlainDevice>,
    groups: HashMap<String, Option<String>>,
    firmware: HashMap<String, Vec<String>>,
}

struct PlainDevice {
    state: DeviceState,
    group: String,
    #[allow(dead_code, reason = "no decision asks what a device reported last, but a fleet holds it")]
    version: String,
}

impl Plain {
    /// Of verified devices: serial, group, last known version.
    pub(crate) fn new<'a>(devices: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let device = |group: &str, version: &str| PlainDevice {
            state: DeviceState::Verified,
            group: group.into(),
            version: version.into(),
        };
        let firmware = ["1.2.0", "1.4.0", "2.0.0"].map(|version| (version.to_owned(), vec![version.to_owned()]));
        let product = PlainProduct {
            devices: devices.map(|(serial, group, version)| (serial.to_owned(), device(group, version))).collect(),
            groups: HashMap::from([("stable".into(), Some("1.4.0".into())), ("empty".into(), None)]),
            firmware: HashMap::from(firmware),
        };
        Self {
            keys: HashMap::from([(*blake3::hash(KEY).as_bytes(), (PRODUCT.into(), None, None))]),
            products: HashMap::from([(PRODUCT.into(), product)]),
        }
    }

    pub(crate) fn decide(&self, ask: &CheckIn<'_>, now: Timestamp) -> u16 {
        let Some((product, from, end)) = self.keys.get(blake3::hash(ask.key).as_bytes()) else { return 401 };
        if from.is_some_and(|from| now.millis() < from) || end.is_some_and(|end| now.millis() >= end) {
            return 401;
        }
        let Some(product) = self.products.get(product) else { return 401 };
        let Ok(serial) = std::str::from_utf8(ask.serial) else { return 401 };
        let serial = serial.replace([':', '-', '.'], "").to_ascii_lowercase();
        if serial.len() != 12 || !serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return 401;
        }
        let Some(device) = product.devices.get(&serial) else { return 401 };
        if device.state != DeviceState::Verified {
            return 401;
        }
        let Some(Some(version)) = product.groups.get(&device.group) else { return 404 };
        let Some(artifacts) = product.firmware.get(version) else { return 404 };
        let Ok(reported) = std::str::from_utf8(ask.version) else { return 304 };
        if reported.trim().eq_ignore_ascii_case(version) {
            return 304;
        }
        if artifacts.is_empty() { 404 } else { 200 }
    }
}
