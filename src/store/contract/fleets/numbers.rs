//! Numbers that take their whole width, and what is not nothing.

use super::{full, release, rollout, verified};
use crate::fleet::{
    ApiKey, ArtifactSpec, ConfigSpec, DeviceSpec, FirmwareSpec, FleetSpec, Gate, GroupSpec, Halt, Hex, KeyHash,
    Missing, Opened, Penalty, ProductFleetSpec, ProductSpec, Progress, Revision, RolloutSpec, TargetSpec,
    VersionRulesSpec, VersionScheme, Wave, WaveSize,
};
use crate::time::Timestamp;

/// Numbers at their ends, and the difference between nothing and 0, nothing and an empty list, nothing and `null`.
pub(crate) fn numbers() -> FleetSpec {
    let far = [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00Z",
        "2026-11-23T10:00:00.001Z",
        "9999-12-31T23:59:59.999Z",
    ];
    let far = far.map(|text| Timestamp::parse(text).unwrap_or_default());
    // Hashes that a text column or a C string would cut, and that differ behind the cut.
    let cut = |byte| KeyHash(Hex([7, 0, 0x27, byte].repeat(8).try_into().unwrap_or([0; 32])));
    let product = ProductSpec {
        id: "numbers".into(),
        keys: vec![
            ApiKey { not_before: Some(far[0]), not_after: Some(far[4]), ..ApiKey::new(KeyHash(Hex([0; 32]))) },
            ApiKey { not_before: Some(far[1]), not_after: Some(far[3]), ..ApiKey::new(KeyHash(Hex([0xff; 32]))) },
            ApiKey { not_after: Some(far[2]), ..ApiKey::new(cut(1)) },
        ],
        new_devices_max: u32::MAX,
        retry_spread_secs: 0,
        poll_interval_secs: Some(0),
        versions: VersionRulesSpec { scheme: VersionScheme::Dotted, ..VersionRulesSpec::default() },
        ..ProductSpec::default()
    };
    let firmware = vec![FirmwareSpec {
        artifacts: vec![ArtifactSpec { size_bytes: (1 << 53) + 1, ..full("large") }],
        ..release("4294967296.18446744073709551616.1")
    }];
    let waves = |threshold: Option<u64>| {
        vec![
            Wave {
                size: WaveSize::First(1),
                gate: Gate::default(),
                opened: Some(Opened { threshold, counted: Some(0), newcomers: None, eligible: None, at: far[0] }),
            },
            Wave {
                size: WaveSize::First(u32::MAX),
                gate: Gate {
                    opens_at: Some(far[0]),
                    min_finished: Some(0),
                    success_share_bps: Some(10_000),
                    soak_secs: Some(u32::MAX),
                },
                opened: None,
            },
        ]
    };
    let group = |id: &str, threshold: Option<u64>| GroupSpec {
        id: id.into(),
        downloads_max: Some(u32::MAX),
        rollout: Some(RolloutSpec {
            started_at: Some(far[1]),
            waves: waves(threshold),
            halt: Halt { failures: Some(u32::MAX), failure_share_bps: Some(9_999), min_finished: Some(u32::MAX) },
            missing: Missing { offers: u32::MAX, secs: 0 },
            penalty: Penalty { secs: 0, secs_max: u32::MAX },
            resumes: u32::MAX,
            edition: u64::MAX - 1,
            progress: Some(Progress {
                wave: 1,
                offered: u32::MAX,
                finished: u32::MAX,
                succeeded: 0,
                good_since: Some(far[1]),
            }),
            ..rollout("r", TargetSpec::Resources(Vec::new()))
        }),
        ..GroupSpec::default()
    };
    let groups = vec![
        group("none", None),
        group("zero", Some(0)),
        group("half", Some(1 << 63)),
        // As a double this is another number.
        group("odd", Some((1 << 63) + 1_025)),
        group("all", Some(u64::MAX)),
        GroupSpec {
            resources: Some(Vec::new()),
            downloads_max: Some(0),
            config: Some(ConfigSpec { document: "null".into(), ..ConfigSpec::default() }),
            rollout: Some(RolloutSpec {
                progress: Some(Progress::default()),
                ..rollout("r", TargetSpec::Resources(Vec::new()))
            }),
            ..GroupSpec { id: "empty".into(), ..GroupSpec::default() }
        },
        GroupSpec { id: "nothing".into(), ..GroupSpec::default() },
    ];
    let entered = far.iter().zip(&groups).enumerate();
    let mut devices: Vec<_> = entered
        .map(|(index, (at, group))| DeviceSpec { entered_at: *at, ..verified(&format!("n{index}"), &group.id) })
        .collect();
    devices.extend([
        verified("e", "empty"),
        verified("0000000000000000000000000000000000000000000000000000000000000001", "nothing"),
    ]);
    let twin = ProductSpec { id: "behind the cut".into(), keys: vec![ApiKey::new(cut(2))], ..ProductSpec::default() };
    FleetSpec {
        revision: Revision(i64::MAX as u64 - 8),
        products: vec![
            ProductFleetSpec { product, firmware, groups, devices },
            ProductFleetSpec { product: twin, ..ProductFleetSpec::default() },
        ],
    }
}
