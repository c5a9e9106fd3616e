//! Draws changes to a fleet, a good part of them legal, and the spellings of a serial.

use super::draw::{self, Draw, NOW};
use super::{translate, world};
use otagate::*;

/// Drawn from a seed, checked.
pub fn fleet(seed: u64) -> Fleet {
    translate::fleet_spec(&draw::world(&mut Draw(seed))).build().unwrap()
}

/// A change that may be legal: names and values are those of some drawn fleet, often of this one.
pub fn change(draw: &mut Draw, fleet: &Fleet) -> Change {
    let other = self::fleet(draw.below(50));
    let from = if draw.once_in(3) { &other } else { fleet };
    let entries: Vec<ProductFleetSpec> = from.spec().products;
    let Some(entry) = (!entries.is_empty()).then(|| draw.of(&entries)) else {
        return Change::RemoveProduct { product: ProductId::new("p").unwrap() };
    };
    let product = ProductId::new(&entry.product.id).unwrap();
    let no_group = GroupSpec { id: "default".into(), ..Default::default() };
    let group_spec = if entry.groups.is_empty() { no_group } else { draw.of(&entry.groups) };
    let group = GroupId::new(&group_spec.id).unwrap();
    let firmware = entry.firmware.first().map(|_| draw.of(&entry.firmware));
    let version = firmware.as_ref().map_or("1.0.0".to_owned(), |firmware| firmware.version.clone());
    let maybe_version = draw.some(2, |_| version.clone());
    let device = entry.devices.first().map(|_| draw.of(&entry.devices)).unwrap_or(DeviceSpec {
        serial: "12".into(),
        group: "default".into(),
        ..Default::default()
    });
    let serial = device.serial.clone();
    // Mostly the rollout that the group has, and its next wave.
    let own = group_spec.rollout.as_ref().filter(|_| !draw.once_in(4));
    let rollout = RolloutId::new(own.map_or(draw.of(&["r7", "r8"]), |rollout| &rollout.id)).unwrap();
    let next = own.and_then(|rollout| rollout.waves.iter().position(|wave| wave.opened.is_none()));
    let wave = next.unwrap_or(draw.below(3) as usize);
    let at = Timestamp::from_millis(draw::NOW + draw.below(1_000) as i64);
    let opened = Opened { at, threshold: Some(draw.next()), counted: None, newcomers: None, eligible: None };
    match draw.below(32) {
        0 => Change::PutProduct { product: entry.product },
        1 if draw.once_in(4) => Change::RemoveProduct { product },
        2 | 1 => firmware.map_or(Change::RemoveFirmware { product: product.clone(), firmware: version }, |firmware| {
            Change::PutFirmware { product, firmware }
        }),
        3 => Change::RemoveFirmware { product, firmware: version },
        4 => Change::DenyFirmware { product, firmware: version, denied: draw.once_in(2) },
        5 => Change::PutGroup { product, group: group_spec },
        6 => Change::RemoveGroup { product, group },
        7 => Change::AssignFirmware { product, group, firmware: maybe_version },
        8 => Change::SetPolicy { product, group, policy: draw.of(&[Policy::AnyDifference, Policy::ForwardOnly]) },
        9 => Change::AssignConfig { product, group, config: group_spec.config },
        10 => Change::AssignResources { product, group, resources: group_spec.resources },
        11 => Change::CapGroup { product, group, cap: maybe_version },
        12 => Change::SetWindow { product, group, window: group_spec.window },
        13 => Change::CapDownloads { product, group, downloads_max: Some(3) },
        14 => Change::PutDevice { product, device },
        15 => Change::RemoveDevice { product, serial },
        16 => Change::MoveDevice { product, serial, group, at },
        17 => Change::SetDeviceState {
            product,
            serial,
            state: draw.of(&[
                DeviceState::New,
                DeviceState::Verified,
                DeviceState::Blocked,
                DeviceState::Disabled,
                DeviceState::Quota,
            ]),
        },
        18 => Change::PinDevice { product, serial, firmware: maybe_version },
        19 => Change::CapDevice { product, serial, cap: maybe_version },
        20 => Change::SeeDevice {
            product,
            serial,
            version: draw.of(&[Some(version), Some(String::new()), None]),
            hardware: draw.of(&[None, Some("a".to_owned()), Some("é".to_owned())]),
        },
        21 => Change::Register { product, serial: draw.of(&["77", "a4cf12345670"]).into(), at },
        22 => group_spec
            .rollout
            .map_or(Change::RemoveGroup { product: product.clone(), group: group.clone() }, |rollout| {
                Change::PutRollout { product, group, rollout }
            }),
        23 => Change::StartRollout { product, group, rollout, at },
        24 => Change::OpenWave { product, group, rollout, wave, opened },
        25 => Change::AddFirst { product, group, rollout, serials: vec![serial] },
        26 => Change::SetProgress { product, group, rollout, was: None, progress: Progress::default() },
        27 => Change::PauseRollout { product, group, rollout, cut: draw.once_in(2), why: "2 failed".into() },
        28 => Change::ResumeRollout { product, group, rollout },
        30 => {
            let edition = own.map_or(0, |rollout| rollout.edition) + draw.below(2);
            Change::ExpectRollout { product, group, rollout, edition }
        }
        29 => Change::CompleteRollout { product, group, rollout },
        _ => Change::AbortRollout { product, group, rollout, fate: draw.of(&[Fate::Leave, Fate::Downgrade]) },
    }
}

/// Another spelling of a canonical serial, where its scheme has one.
pub fn respelled(scheme: SerialScheme, canonical: &str) -> String {
    let pairs = || canonical.as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>();
    match scheme {
        SerialScheme::Mac => pairs().join(":").to_uppercase(),
        SerialScheme::Hex | SerialScheme::OpaqueNocase => canonical.to_ascii_uppercase(),
        SerialScheme::Opaque | SerialScheme::Decimal => canonical.to_owned(),
    }
}

/// Six check-ins of every device, and some of anybody.
pub fn asks(draw: &mut Draw, spec: &FleetSpec, world: &world::World) -> Vec<world::Ask> {
    let mut asks: Vec<world::Ask> = (0..6).map(|_| draw::ask(draw, world)).collect();
    for entry in &spec.products {
        let id = &entry.product.id;
        let other = if id == "p" { "q" } else { "p" };
        for device in &entry.devices {
            let group = entry.groups.iter().find(|group| group.id == device.group);
            let meant = device.pin.clone().or_else(|| group?.firmware.clone()).unwrap_or_default();
            let some = entry.firmware.first().map(|_| draw.of(&entry.firmware));
            let version = some.as_ref().map_or_else(String::new, |firmware| firmware.version.clone());
            let image = some.and_then(|firmware| firmware.artifacts[0].digests.blake3);
            let config = group.and_then(|group| group.config.as_ref()?.digests.blake3);
            let held = |draw: &mut Draw, digest: Option<Hex<32>>| {
                digest.filter(|_| draw.once_in(2)).map(|digest| ("blake3", digest.to_string().into_bytes()))
            };
            let plain = world::Ask {
                key: format!("{id}-key").into_bytes(),
                serial: device.serial.clone().into_bytes(),
                version: meant.into_bytes(),
                hardware: draw.of(&[&b""[..], b"", b"a", b"b"]).to_vec(),
                digest: None,
                want: world::Want::Firmware,
                now: NOW,
            };
            asks.push(world::Ask {
                serial: respelled(entry.product.serial_scheme, &device.serial).into_bytes(),
                version: version.into_bytes(),
                digest: held(draw, image),
                ..plain.clone()
            });
            let garbage = draw.of(&[&b""[..], b"latest", b"1..2", b"\xff1", b"0.0.0-0"]).to_vec();
            asks.push(world::Ask { version: garbage, ..plain.clone() });
            asks.push(world::Ask { key: format!("{other}-key").into_bytes(), ..plain.clone() });
            let late = draw.of(&["-old", "-limited"]);
            asks.push(world::Ask { key: format!("{id}{late}").into_bytes(), ..plain.clone() });
            let resource = world::Want::Resource(draw.of(&["logo.png", "ca.pem", "é"]).as_bytes().to_vec());
            let want = draw.of(&[world::Want::Config, world::Want::Config, world::Want::ResourceList, resource]);
            asks.push(world::Ask { want, digest: held(draw, config), ..plain.clone() });
            asks.push(plain);
        }
    }
    asks
}

/// Some of what a fleet can be asked.
pub fn some_asks(draw: &mut Draw, fleet: &Fleet) -> Vec<world::Ask> {
    let drawn = draw::world(&mut Draw(draw.next()));
    let all = asks(draw, &fleet.spec(), &drawn);
    (0..12).map(|_| draw.of(&all)).collect()
}

/// The groups whose devices a census can count.
pub fn groups_with_waves(fleet: &Fleet) -> Vec<(ProductId, Group)> {
    let mut all = Vec::new();
    for entry in fleet.products() {
        let with = |group: &&Group| group.rollout().is_some_and(|rollout| !rollout.waves().is_empty());
        all.extend(entry.groups().filter(with).map(|group| (entry.product().id().clone(), group.clone())));
    }
    all
}
