//! Text that takes care to keep.

use super::{full, hash, release, resource, rollout, texts, verified};
use crate::fleet::{
    ApiKey, ArtifactSpec, ConfigSpec, DeviceSpec, DeviceState, FirmwareSpec, FleetSpec, GroupSpec, ProductFleetSpec,
    ProductSpec, ResourceSpec, Revision, RolloutSpec, RolloutState, TargetSpec, VersionRulesSpec,
};

/// Texts that a query, a collation, a column or a separator can get wrong. They are serials, names, versions, hardware and locators.
pub(crate) const TEXTS: &[&str] = &[
    "'; DROP TABLE devices; --",
    "\" OR \"\"=\"",
    "O'Neill",
    "O''Neill",
    "back\\slash",
    "back\\\\slash",
    "per%cent",
    "per_cent",
    "a,b;c|d:e/f",
    "{\"json\":[1]}",
    "$1 ?1 :name %s {0}",
    "NULL",
    "true",
    // As numbers, these are three or less.
    "7",
    "007",
    "7.0",
    "1e3",
    "1000",
    "0x10",
    // With blanks cut or padded, one.
    "blank",
    " blank",
    "blank ",
    "bl ank",
    // Without case, one; under some collations the accent goes too.
    "case",
    "Case",
    "CASE",
    "käfer",
    "Käfer",
    "kafer",
    "ka\u{308}fer",
    "straße",
    "strasse",
    "ıI",
    "iİ",
    // Two, four and three bytes a character; what is not seen; text that runs the other way.
    "温度計",
    "🌡️🔥",
    "zero\u{200b}width",
    "zerowidth",
    "\u{feff}mark",
    "אב\u{202e}ab",
    "\u{fffd}",
    "\u{85}next line",
    // 64 bytes, which is the limit of a serial: in letters, and in sixteen characters.
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeX",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeY",
    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😁",
    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😂",
];

/// Texts that are in no fleet, each near to one that is.
pub(crate) const NEAR_TEXTS: &[&str] = &[
    "'; drop table devices; --",
    "ONeill",
    "perXcent",
    "per%",
    "%",
    "_",
    "null",
    "07",
    "7.00",
    "1E3",
    "16",
    "blank  ",
    "  blank",
    "cAse",
    "KÄFER",
    "STRASSE",
    "mark",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀",
    "\u{200b}",
];

/// A product for each of some texts, and in each a device, a group, a firmware and a piece of hardware for every text.
pub(crate) fn text() -> FleetSpec {
    // Where one stands for another, its neighbour is found, and that has another state and another group.
    let states = [DeviceState::Verified, DeviceState::Blocked, DeviceState::Disabled];
    let product = |id: &&str| ProductFleetSpec {
        product: ProductSpec {
            id: (*id).to_owned(),
            keys: vec![ApiKey::new(hash(id))],
            placeholders: texts(&["it's a \"placeholder\"", "Käfer's"]),
            versions: VersionRulesSpec { prefixes: texts(&["v'", "fw-\\"]), ..VersionRulesSpec::default() },
            default_group: "Käfer".into(),
            ..ProductSpec::default()
        },
        firmware: (TEXTS.iter().filter(|text| is_version(text)))
            .map(|text| FirmwareSpec {
                artifacts: vec![ArtifactSpec {
                    hardware: texts(TEXTS),
                    locator: format!("{id}/{text}?{}", "ü".repeat(800)),
                    ..full(text)
                }],
                ..release(text)
            })
            .collect(),
        groups: TEXTS
            .iter()
            .map(|text| GroupSpec {
                id: (*text).to_owned(),
                firmware: is_version(text).then(|| (*text).to_owned()),
                config: Some(ConfigSpec {
                    document: format!(" {} ", serde_json::Value::from(*text)),
                    ..ConfigSpec::default()
                }),
                resources: Some(vec![ResourceSpec { locator: (*text).to_owned(), ..resource(text) }]),
                rollout: Some(RolloutSpec {
                    state: RolloutState::Paused { cut: false, why: (*text).to_owned() },
                    first: texts(&TEXTS[..20]),
                    excluded: texts(&TEXTS[20..]),
                    salt: Some(String::new()),
                    ..rollout(text, TargetSpec::Resources(vec![resource(text)]))
                }),
                ..GroupSpec::default()
            })
            .collect(),
        devices: TEXTS
            .iter()
            .zip(states.iter().cycle())
            .map(|(text, state)| DeviceSpec { state: *state, pin: Some("7".into()), ..verified(text, text) })
            .collect(),
    };
    FleetSpec {
        revision: Revision(1),
        products: ["case", "Case", "'; DROP TABLE devices; --", "温度計"].iter().map(product).collect(),
    }
}

/// `exact` versions fold ASCII case and trim blanks, so some texts would be one version: of these it is the first.
fn is_version(text: &str) -> bool {
    let first = TEXTS.iter().find(|other| other.trim_matches(' ').eq_ignore_ascii_case(text.trim_matches(' ')));
    first.is_some_and(|first| *first == text)
}
