//! How long does a preview take?
//!
//! Dimensions: ten million devices in ten groups, one of which is assigned another firmware, so that a tenth of all verdicts change; two threads. Once of two indexes that share
//! nothing, as from two files, and once of an index and a fork of it. The counts are asserted; building the fleets is not timed.
//!
//! `make bench ONLY=preview`

#[path = "common/mod.rs"]
mod common;

use common::{Summary, median};
use otagate::preview::{Options, preview_with};
use otagate::{
    ApiKey, ArtifactSpec, Change, DeviceRow, DeviceState, Digests, FirmwareSpec, Fleet, GroupId, GroupSpec, Index,
    KeyHash, ProductId, ProductSpec, SerialScheme, Timestamp,
};
use std::time::Instant;

const DEVICES: usize = 10_000_000;
const GROUPS: usize = 10;
const ROUNDS: usize = 3;

fn main() {
    let before = fleet();
    let forked = before.fork();
    let apart = fleet();
    let (product, group) = (ProductId::new("thermostat").unwrap(), GroupId::new("group-3").unwrap());
    let change = Change::AssignFirmware { product, group, firmware: Some("2.0".into()) };
    for index in [&forked, &apart] {
        index.apply(std::slice::from_ref(&change)).unwrap();
    }
    let mut summary = Summary::default();
    for (name, after) in [("preview_10m_s", &apart), ("preview_10m_fork_s", &forked)] {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let options = Options { threads: 2, ..Options::at(Timestamp::from_millis(1_795_507_200_000)) };
            let start = Instant::now();
            let preview = preview_with(&before, after, &options);
            took.push(start.elapsed().as_secs_f64());
            assert_eq!(preview.devices, DEVICES as u64);
            assert_eq!((preview.changed, preview.newly_served), ((DEVICES / GROUPS) as u64, (DEVICES / GROUPS) as u64));
        }
        summary.put(name, median(took));
    }
    summary.write();
}

fn fleet() -> Index {
    let index = Index::new(&Fleet::default());
    let product = ProductId::new("thermostat").unwrap();
    let spec = ProductSpec {
        id: "thermostat".into(),
        keys: vec![ApiKey::new(KeyHash::of(b"secret").unwrap())],
        serial_scheme: SerialScheme::Mac,
        ..ProductSpec::default()
    };
    let mut changes = vec![Change::PutProduct { product: spec }];
    for version in ["1.0", "2.0"] {
        let digests = Digests::blake3_of(version.as_bytes());
        let artifact = ArtifactSpec { locator: version.into(), size_bytes: 1, digests, ..ArtifactSpec::default() };
        let firmware = FirmwareSpec { version: version.into(), artifacts: vec![artifact], ..FirmwareSpec::default() };
        changes.push(Change::PutFirmware { product: product.clone(), firmware });
    }
    let names: Vec<String> = (0..GROUPS).map(|group| format!("group-{group}")).collect();
    for name in &names {
        let group = GroupSpec { id: name.clone(), firmware: Some("1.0".into()), ..GroupSpec::default() };
        changes.push(Change::PutGroup { product: product.clone(), group });
    }
    index.apply(&changes).unwrap();
    let serials: Vec<String> = (1..=DEVICES).map(|n| format!("{:012x}", n as u64 * 0x9E37_79B9 % (1 << 47))).collect();
    let rows: Vec<DeviceRow<'_>> = serials
        .iter()
        .enumerate()
        .map(|(n, serial)| DeviceRow {
            serial,
            state: DeviceState::Verified,
            group: &names[n % GROUPS],
            version: Some("1.0"),
            ..DeviceRow::default()
        })
        .collect();
    index.add_devices(&product, &rows).unwrap();
    index
}
