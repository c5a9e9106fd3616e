//! How long does a simulation take?
//!
//! Dimensions: a million devices that ask every hour, for 14 virtual days: 336 million check-ins, each decided; a rollout of four waves that ends well, so that a million devices
//! download and install; two threads, which make one run. The course is asserted: everybody arrives. Building the fleet is not counted.
//!
//! `make bench ONLY=simulate`

#[path = "common/mod.rs"]
mod common;

use common::Summary;
use otagate::simulate::{Plan, Simulation, World};
use otagate::{
    ApiKey, ArtifactSpec, Change, DeviceRow, DeviceState, Digests, FirmwareSpec, Fleet, Gate, GroupId, GroupSpec,
    Index, KeyHash, ProductId, ProductSpec, RolloutSpec, SerialScheme, TargetSpec, Timestamp, Wave, WaveSize,
};
use std::time::Instant;

fn main() {
    let devices: usize = std::env::var("OTAGATE_DEVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let product = ProductId::new("thermostat").unwrap();
    let now = Timestamp::parse("2026-11-24T08:00:00Z").unwrap();
    let index = Index::new(&Fleet::default());
    let firmware = |version: &str, byte| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 2_000_000,
            locator: version.into(),
            digests: Digests::blake3_of(&[byte]),
            ..ArtifactSpec::default()
        }],
        ..FirmwareSpec::default()
    };
    let spec = ProductSpec {
        id: "thermostat".into(),
        keys: vec![ApiKey::new(KeyHash::of(b"secret").unwrap())],
        serial_scheme: SerialScheme::Mac,
        ..ProductSpec::default()
    };
    let put = |firmware| Change::PutFirmware { product: product.clone(), firmware };
    let group = GroupSpec { id: "default".into(), firmware: Some("1.0".into()), ..GroupSpec::default() };
    index
        .apply(&[
            Change::PutProduct { product: spec },
            put(firmware("1.0", 1)),
            put(firmware("2.0", 2)),
            Change::PutGroup { product: product.clone(), group },
        ])
        .unwrap();
    let serials: Vec<String> = (1..=devices).map(|n| format!("{:012x}", n as u64 * 0x9E37_79B9 % (1 << 47))).collect();
    let rows: Vec<DeviceRow<'_>> = serials
        .iter()
        .map(|serial| DeviceRow {
            serial,
            state: DeviceState::Verified,
            group: "default",
            version: Some("1.0"),
            ..DeviceRow::default()
        })
        .collect();
    index.add_devices(&product, &rows).unwrap();
    drop(rows);

    let gate =
        Gate { min_finished: Some(8), success_share_bps: Some(9_000), soak_secs: Some(4 * 3_600), ..Gate::default() };
    let sizes = [WaveSize::First(10), WaveSize::First(300), WaveSize::ShareBps(2_500), WaveSize::All];
    let mut waves: Vec<Wave> = sizes.map(|size| Wave { gate, ..Wave::new(size) }).to_vec();
    waves[0].gate = Gate::default();
    let mut rollout = RolloutSpec::new("r2", TargetSpec::Firmware("2.0".into()), waves);
    rollout.complete = gate;
    let group = GroupId::new("default").unwrap();
    let plan = Plan::rollout("four waves", &product, &group, rollout, now).unwrap();
    let world = World::default();

    let before = resident("VmRSS:");
    let start = Instant::now();
    let course = Simulation::new(&index, &world, now).threads(2).course(&plan, 1).unwrap();
    let took = start.elapsed().as_secs_f64();
    let rollout = &course.rollouts[0];
    assert_eq!(rollout.adopted, devices as u64);
    assert!(course.check_ins >= 336 * devices as u64);
    let mut summary = Summary::default();
    let named = if devices == 1_000_000 { "simulate_1m_devices_14_days_s" } else { "simulate_some_devices_14_days_s" };
    summary.put(named, took);
    summary.put("simulated_checkins_per_s", course.check_ins as f64 / took);
    summary.put("simulate_1m_peak_resident_mb", resident("VmHWM:") as f64 / 1e6);
    summary.put("simulate_1m_fleet_resident_mb", before as f64 / 1e6);
    println!("{} check-ins, {} downloads, state {}", course.check_ins, course.downloads, rollout.state);
    summary.write();
}

/// What the kernel says that the process holds, in bytes.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|all| all.strip_prefix(line));
    found.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1_024
}
