//! The fleets that a store is filled with: small, and hard to keep. Here are the small ones and what all are made of.

mod numbers;
mod rich;
mod text;

pub(super) use numbers::numbers;
pub(super) use rich::{SHARED_SERIAL, rich};
pub(super) use text::text;
pub(crate) use text::{NEAR_TEXTS, TEXTS};

use super::hand::Step;
use super::promise::Finding;
use crate::fleet::{
    ApiKey, ArtifactSpec, Change, DeviceSpec, DeviceState, Digests, FirmwareSpec, Fleet, FleetSpec, GroupId, GroupSpec,
    Hex, KeyHash, Opened, ProductFleetSpec, ProductId, ProductSpec, ResourceSpec, Revision, RolloutSpec, RolloutState,
    TargetSpec, VersionRulesSpec, VersionScheme, Wave, WaveSize,
};
use crate::time::Timestamp;

/// A Monday, 10:00 UTC.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000);
const DAY_SECS: i64 = 86_400;

/// Checks one of the fleets below.
pub(super) fn build(spec: &FleetSpec) -> Result<Fleet, Finding> {
    spec.build().map_err(|problems| {
        Finding::Broken(format!("a fleet of the suite does not load, a fault of otagate: {problems}"))
    })
}

/// Names that lead nowhere, beside names that would be near enough.
pub(super) fn gaps() -> FleetSpec {
    let product = ProductSpec {
        id: "gaps".into(),
        keys: vec![ApiKey::new(hash("gaps-key"))],
        versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..VersionRulesSpec::default() },
        ..ProductSpec::default()
    };
    let gone = "2.0.0".to_owned();
    let groups = vec![
        GroupSpec { id: "default".into(), firmware: Some("1.0.0".into()), ..GroupSpec::default() },
        GroupSpec { id: "lost".into(), firmware: Some(gone.clone()), ..GroupSpec::default() },
        GroupSpec {
            id: "aimless".into(),
            firmware: Some("1.0.0".into()),
            rollout: Some(rollout("r", TargetSpec::Firmware(gone.clone()))),
            ..GroupSpec::default()
        },
    ];
    let devices = vec![
        verified("d1", "no-such-group"),
        verified("d2", "lost"),
        verified("d3", "aimless"),
        DeviceSpec { pin: Some(gone), ..verified("d4", "default") },
    ];
    FleetSpec {
        revision: Revision(3),
        products: vec![ProductFleetSpec { product, firmware: vec![release("1.0.0")], groups, devices }],
    }
}

/// How many devices of product `open` in [`crowd`] may become new.
pub(super) const ROOM: usize = 3;

/// Products that strangers knock at: one with room for all, one with room for [`ROOM`], one that is full, one that has room for none, one that registers nobody.
pub(super) fn crowd() -> FleetSpec {
    let product = |id: &str, new_devices_max| ProductSpec {
        id: id.into(),
        keys: vec![ApiKey::new(hash(id))],
        placeholders: texts(&["test-unit"]),
        register_on_first_contact: true,
        new_devices_max,
        default_group: "lobby".into(),
        ..ProductSpec::default()
    };
    let new = |serial: &str| DeviceSpec { state: DeviceState::New, ..verified(serial, "lobby") };
    let groups = || {
        vec![
            GroupSpec { id: "default".into(), ..GroupSpec::default() },
            GroupSpec { id: "lobby".into(), ..GroupSpec::default() },
        ]
    };
    let part = |product, devices| ProductFleetSpec { product, groups: groups(), devices, firmware: Vec::new() };
    // Only who is new counts, in the product and nowhere else.
    let known = || {
        vec![
            new("new-1"),
            new("new-2"),
            verified("verified-1", "default"),
            verified("verified-2", "default"),
            verified("verified-3", "default"),
            DeviceSpec { state: DeviceState::Blocked, pin: Some("1".into()), ..verified("blocked-1", "default") },
        ]
    };
    FleetSpec {
        revision: Revision(1),
        products: vec![
            part(product("roomy", 1_000), known()),
            part(product("open", 2 + ROOM as u32), known()),
            part(product("full", 3), ["a", "b", "c", "d"].map(new).into()),
            part(product("none", 0), Vec::new()),
            part(ProductSpec { register_on_first_contact: false, ..product("shut", 9) }, Vec::new()),
        ],
    }
}

/// The names of what changes in [`moving`].
pub(super) const MOVING: (&str, &str) = ("moving", "key-of-moving");

/// Two devices and an assignment that always change together.
pub(super) fn moving() -> FleetSpec {
    FleetSpec {
        revision: Revision(100),
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: MOVING.0.into(),
                keys: vec![ApiKey::new(hash(MOVING.1))],
                register_on_first_contact: true,
                ..ProductSpec::default()
            },
            firmware: vec![release("1"), release("2")],
            groups: vec![GroupSpec { id: "default".into(), firmware: Some("1".into()), ..GroupSpec::default() }],
            devices: vec![verified("left", "default"), verified("right", "default")],
        }],
    }
}

/// So many steps from a fleet that began as [`moving`]: both devices are blocked and firmware 2 is assigned, then all is as before, and so on.
pub(super) fn steps(fleet: &Fleet, count: usize) -> Result<Vec<Step>, Finding> {
    let product = ProductId::new(MOVING.0).map_err(|fault| fault.to_string())?;
    let group = GroupId::new("default").map_err(|fault| fault.to_string())?;
    let mut after = fleet.clone();
    let mut steps = Vec::with_capacity(count);
    for number in 0..count {
        let (state, firmware) =
            if number % 2 == 0 { (DeviceState::Blocked, "2") } else { (DeviceState::Verified, "1") };
        let set = |serial: &str| Change::SetDeviceState { product: product.clone(), serial: serial.into(), state };
        let assign =
            Change::AssignFirmware { product: product.clone(), group: group.clone(), firmware: Some(firmware.into()) };
        let changes = vec![set("left"), assign, set("right")];
        after.apply(&changes).map_err(|problems| problems.to_string())?;
        steps.push(Step { changes, after: after.clone() });
    }
    Ok(steps)
}

pub(super) fn hash(secret: &str) -> KeyHash {
    KeyHash(Hex(*blake3::hash(secret.as_bytes()).as_bytes()))
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn verified(serial: &str, group: &str) -> DeviceSpec {
    let entered_at = NOW.plus_secs(-30 * DAY_SECS);
    DeviceSpec {
        serial: serial.into(),
        state: DeviceState::Verified,
        group: group.into(),
        entered_at,
        ..DeviceSpec::default()
    }
}

fn release(version: &str) -> FirmwareSpec {
    FirmwareSpec { version: version.into(), artifacts: vec![full(version)], ..FirmwareSpec::default() }
}

fn full(name: &str) -> ArtifactSpec {
    ArtifactSpec {
        size_bytes: 1_000 + name.len() as u64,
        digests: digests(name),
        locator: format!("firmware/{name}.bin"),
        ..ArtifactSpec::default()
    }
}

fn delta(name: &str, from: &str) -> ArtifactSpec {
    ArtifactSpec { from: Some(from.into()), base: Digests { sha256: None, ..digests(from) }, ..full(name) }
}

fn resource(name: &str) -> ResourceSpec {
    ResourceSpec {
        name: name.into(),
        size_bytes: 77,
        digests: Digests { md5: None, ..digests(name) },
        locator: format!("files/{name}"),
    }
}

/// Of the three kinds, made from the name; only the first is what it says.
fn digests(name: &str) -> Digests {
    let of = |text: String| *blake3::hash(text.as_bytes()).as_bytes();
    Digests {
        blake3: Some(Hex(of(name.to_owned()))),
        sha256: Some(Hex(of(format!("sha256 of {name}")))),
        md5: Some(Hex(std::array::from_fn(|index| of(format!("md5 of {name}"))[index]))),
    }
}

/// A rollout that runs, with every wave open.
fn rollout(id: &str, target: TargetSpec) -> RolloutSpec {
    let waves = vec![Wave { opened: Some(opened(0)), ..Wave::new(WaveSize::All) }];
    RolloutSpec {
        state: RolloutState::Running,
        started_at: Some(NOW.plus_secs(-7 * DAY_SECS)),
        ..RolloutSpec::new(id, target, waves)
    }
}

fn opened(threshold: u64) -> Opened {
    let (counted, newcomers, eligible) = (Some(3), Some(2), Some(12));
    Opened { at: NOW.plus_secs(-DAY_SECS), threshold: Some(threshold), counted, newcomers, eligible }
}
