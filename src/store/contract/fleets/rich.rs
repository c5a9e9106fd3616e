//! The plain fleet, in which every decision can be had.

use super::{DAY_SECS, NOW, delta, digests, full, hash, opened, release, resource, rollout, texts, verified};
use crate::fleet::{
    AbortedSpec, Admission, AlreadyThere, ApiKey, ArtifactSpec, BuildMetadata, ConfigSpec, DeviceSpec, DeviceState,
    Digests, EmptyVersion, Fate, FirmwareSpec, FleetSpec, Gate, GroupId, GroupSpec, Halt, Late, Missing, Opened,
    Penalty, Policy, ProductFleetSpec, ProductSpec, Progress, Revision, RolloutSpec, RolloutState, SerialScheme,
    Success, TargetSpec, UnreadableVersion, VersionRulesSpec, VersionScheme, Wave, WaveSize, Window,
};

/// The serial that a device of every product in [`rich`] has.
pub(crate) const SHARED_SERIAL: &str = "a4cf12340001";

/// Four products with one way each of reading serials and versions, in which every reason can be had that needs neither ledger nor gap.
pub(crate) fn rich() -> FleetSpec {
    FleetSpec { revision: Revision(7), products: vec![thermostat(), sensor(), pump(), lamp()] }
}

fn thermostat() -> ProductFleetSpec {
    let product = ProductSpec {
        id: "thermostat".into(),
        keys: vec![
            ApiKey::new(hash("thermostat-key")),
            ApiKey { revoked: true, ..ApiKey::new(hash("thermostat-revoked")) },
            ApiKey { not_before: Some(NOW.plus_secs(DAY_SECS)), ..ApiKey::new(hash("thermostat-later")) },
            ApiKey {
                not_before: Some(NOW.plus_secs(-9 * DAY_SECS)),
                not_after: Some(NOW),
                ..ApiKey::new(hash("thermostat-past"))
            },
        ],
        serial_scheme: SerialScheme::Mac,
        placeholders: vec!["de:ad:be:ef:00:00".into(), "12:34:56:78:9a:bc".into()],
        versions: VersionRulesSpec {
            scheme: VersionScheme::Semver,
            prefixes: vec!["fw-".into(), "v".into()],
            ..VersionRulesSpec::default()
        },
        register_on_first_contact: true,
        new_devices_max: 40,
        poll_interval_secs: Some(3_600),
        ..ProductSpec::default()
    };
    let on_board = |name: &str, boards: &[&str]| ArtifactSpec { hardware: texts(boards), ..full(name) };
    let firmware = vec![
        release("1.0.0"),
        FirmwareSpec { stone: true, ..release("1.5.0") },
        FirmwareSpec {
            from: Some("1.5.0".into()),
            stone: true,
            artifacts: vec![
                on_board("2.0.0-ab", &["rev-b", "rev-a"]),
                on_board("2.0.0-c", &["rev-c"]),
                delta("2.0.0-from-1.5.0", "1.5.0"),
            ],
            ..release("2.0.0")
        },
        FirmwareSpec { denied: true, ..release("2.5.0") },
        FirmwareSpec {
            from: Some("2.0.0".into()),
            artifacts: vec![full("3.0.0"), delta("3.0.0-from-2.0.0", "v2.0.0"), delta("3.0.0-from-2.9.0", "2.9.0")],
            ..release("v3.0.0")
        },
        release("3.1.0-rc.1+b7"),
        FirmwareSpec { artifacts: vec![on_board("4.0.0-c", &["rev-c"])], ..release("4.0.0") },
        FirmwareSpec { artifacts: vec![delta("4.1.0-from-4.0.0", "4.0.0")], ..release("4.1.0") },
        FirmwareSpec { from: Some("4.9.0".into()), ..release("5.0.0") },
    ];
    let group =
        |id: &str, baseline: &str| GroupSpec { id: id.into(), firmware: Some(baseline.into()), ..GroupSpec::default() };
    let staged = |id: &str, rollout: RolloutSpec| GroupSpec { rollout: Some(rollout), ..group(id, "1.0.0") };
    let target = || TargetSpec::Firmware("3.1.0-rc.1+b7".into());
    let first_open = |size, threshold| {
        vec![
            Wave { size, gate: Gate::default(), opened: Some(Opened { threshold, ..opened(3) }) },
            Wave { size: WaveSize::All, gate: Gate::default(), opened: None },
        ]
    };
    let canary = RolloutSpec {
        salt: Some("salt-2026".into()),
        started_at: Some(NOW.plus_secs(-3 * DAY_SECS)),
        waves: vec![
            Wave { size: WaveSize::First(3), gate: Gate::default(), opened: Some(opened(1 << 61)) },
            Wave { size: WaveSize::ShareBps(2_500), gate: Gate::default(), opened: Some(opened(1 << 62)) },
            Wave {
                size: WaveSize::All,
                gate: Gate {
                    opens_at: Some(NOW.plus_secs(DAY_SECS)),
                    min_finished: Some(5),
                    success_share_bps: Some(9_500),
                    soak_secs: Some(86_400),
                },
                opened: None,
            },
        ],
        late: Late::Tail,
        first: vec![mac(102), mac(101)],
        excluded: vec![mac(104), mac(103)],
        success: Success::Confirmed,
        halt: Halt { failures: Some(3), failure_share_bps: Some(500), min_finished: Some(20) },
        missing: Missing { offers: 5, secs: 7_200 },
        penalty: Penalty { secs: 60, secs_max: 600 },
        complete: Gate { soak_secs: Some(3_600), ..Gate::default() },
        progress: Some(Progress { wave: 1, offered: 6, finished: 4, succeeded: 3, good_since: None }),
        resumes: 2,
        edition: 17,
        ..rollout("r-canary", target())
    };
    let paused = |cut, why: &str| RolloutState::Paused { cut, why: why.into() };
    let groups = vec![
        GroupSpec { id: "default".into(), ..GroupSpec::default() },
        GroupSpec {
            config: Some(ConfigSpec {
                document: "{ \"poll\" : 60,\n  \"name\": \"Käfer\" }".into(),
                digests: some_digests(),
            }),
            resources: Some(vec![resource("zones.bin"), resource("ca.pem")]),
            downloads_max: Some(50),
            ..group("stable", "v3.0.0")
        },
        staged("canary", canary),
        staged(
            "slots",
            RolloutSpec {
                admission: Admission::FirstCome,
                waves: first_open(WaveSize::First(2), None),
                ..rollout("r-slots", target())
            },
        ),
        staged(
            "paused",
            RolloutSpec {
                state: paused(false, "3 of 10 failed"),
                waves: first_open(WaveSize::First(9), Some(1 << 62)),
                ..rollout("r-paused", target())
            },
        ),
        GroupSpec {
            config: Some(ConfigSpec { document: "{}".into(), ..ConfigSpec::default() }),
            ..staged(
                "cut",
                RolloutSpec {
                    state: paused(true, ""),
                    ..rollout(
                        "r-cut",
                        TargetSpec::Config(ConfigSpec { document: "{\"new\":1}".into(), ..ConfigSpec::default() }),
                    )
                },
            )
        },
        GroupSpec {
            resources: Some(vec![resource("old.bin")]),
            ..staged("staged", rollout("r-staged", TargetSpec::Resources(vec![resource("new.bin"), resource("a.bin")])))
        },
        staged(
            "drafted",
            RolloutSpec {
                state: RolloutState::Draft,
                started_at: None,
                waves: vec![Wave::new(WaveSize::All)],
                ..rollout("r-draft", target())
            },
        ),
        staged("over", RolloutSpec { state: RolloutState::Completed, ..rollout("r-over", target()) }),
        GroupSpec {
            aborted: Some(AbortedSpec { target: "3.1.0-rc.1+b7".into(), fate: Fate::Leave }),
            ..group("left", "1.0.0")
        },
        GroupSpec {
            aborted: Some(AbortedSpec { target: "v3.0.0".into(), fate: Fate::Downgrade }),
            policy: Policy::ForwardOnly,
            ..group("fallen", "1.5.0")
        },
        GroupSpec { policy: Policy::ForwardOnly, ..group("forward", "2.0.0") },
        GroupSpec { cap: Some("2.0.0".into()), ..group("capped", "3.0.0") },
        GroupSpec {
            window: Window::parse(&["Mon-Fri 22:00-04:00", "Sun 00:00-24:00"]).ok(),
            ..group("night", "1.0.0")
        },
        GroupSpec {
            window: Window::parse(&["daily 09:30-10:30"]).ok(),
            downloads_max: Some(5),
            ..group("day", "1.0.0")
        },
        GroupSpec { downloads_max: Some(0), ..group("full", "1.0.0") },
        group("denied", "2.5.0"),
        group("boards", "4.0.0"),
        group("deltas", "4.1.0"),
        group("far", "5.0.0"),
    ];
    // Two of each group, then those that are special.
    let names = groups.iter().flat_map(|group| [&group.id, &group.id]).zip(1..);
    let mut devices: Vec<_> = names.map(|(group, number)| verified(&mac(number), group)).collect();
    let entered_late = NOW.plus_secs(-DAY_SECS);
    devices.extend((101..=116).map(|number| verified(&mac(number), "canary")));
    devices
        .extend([117, 118].map(|number| DeviceSpec { entered_at: entered_late, ..verified(&mac(number), "canary") }));
    devices.extend([
        DeviceSpec { state: DeviceState::New, ..verified(&mac(201), "default") },
        DeviceSpec { state: DeviceState::Blocked, ..verified(&mac(202), "stable") },
        DeviceSpec { state: DeviceState::Disabled, ..verified(&mac(203), "stable") },
        DeviceSpec { state: DeviceState::Quota, ..verified(&mac(204), "stable") },
        DeviceSpec { pin: Some("1.0.0".into()), ..verified(&mac(205), "stable") },
        DeviceSpec { pin: Some("2.5.0".into()), cap: Some("v2.5.0".into()), ..verified(&mac(206), "stable") },
        DeviceSpec { cap: Some("3.0.0".into()), ..verified(&mac(207), "canary") },
        DeviceSpec { pin: Some("fw-4.0.0".into()), ..verified(&mac(208), "canary") },
        DeviceSpec {
            version: Some("1.0.0".into()),
            hardware: Some("rev-a".into()),
            earlier_groups: GroupId::new("default").map(|group| (group, NOW)).into_iter().collect(),
            ..verified(&mac(209), "stable")
        },
    ]);
    ProductFleetSpec { product, firmware, groups, devices }
}

fn sensor() -> ProductFleetSpec {
    let product = ProductSpec {
        id: "sensor".into(),
        keys: vec![ApiKey::new(hash("sensor-key")), ApiKey::new(hash("sensor-spare"))],
        versions: VersionRulesSpec {
            scheme: VersionScheme::Dotted,
            empty: EmptyVersion::Hold,
            unreadable: UnreadableVersion::Lowest,
            ..VersionRulesSpec::default()
        },
        already_there: AlreadyThere::Digest,
        new_devices_max: 3,
        default_group: "stable".into(),
        ..ProductSpec::default()
    };
    let firmware = vec![
        FirmwareSpec { from: Some("9.0".into()), ..release("10.0") },
        FirmwareSpec { stone: true, ..release("9.0.0.0") },
        FirmwareSpec { artifacts: vec![full("sensor-1.0.0")], ..release("1.0.0") },
    ];
    // The names are those of the other product, and mean something else here.
    let groups = vec![
        GroupSpec {
            id: "stable".into(),
            firmware: Some("10".into()),
            policy: Policy::ForwardOnly,
            ..GroupSpec::default()
        },
        GroupSpec {
            id: "canary".into(),
            firmware: Some("1.0".into()),
            resources: Some(vec![resource("zones.bin")]),
            ..GroupSpec::default()
        },
    ];
    let devices = vec![
        DeviceSpec { state: DeviceState::Blocked, ..verified(SHARED_SERIAL, "canary") },
        verified("SN-16", "stable"),
        verified("SN-17", "stable"),
        DeviceSpec { cap: Some("9".into()), ..verified("SN-18", "stable") },
        DeviceSpec { pin: Some("1.0".into()), ..verified("SN-19", "canary") },
    ];
    ProductFleetSpec { product, firmware, groups, devices }
}

fn pump() -> ProductFleetSpec {
    let product = ProductSpec {
        id: "pump".into(),
        keys: vec![ApiKey::new(hash("pump-key"))],
        serial_scheme: SerialScheme::Hex,
        already_there: AlreadyThere::Version,
        retry_spread_secs: 0,
        ..ProductSpec::default()
    };
    let groups = vec![GroupSpec { id: "default".into(), firmware: Some("Ostrich".into()), ..GroupSpec::default() }];
    let devices = vec![
        DeviceSpec { state: DeviceState::Quota, ..verified(SHARED_SERIAL, "default") },
        verified("00ff", "default"),
        DeviceSpec { pin: Some("emu".into()), ..verified("ff00", "default") },
    ];
    ProductFleetSpec { product, firmware: vec![release("Ostrich"), release("Emu")], groups, devices }
}

fn lamp() -> ProductFleetSpec {
    let product = ProductSpec {
        id: "lamp".into(),
        keys: vec![ApiKey::new(hash("lamp-key"))],
        serial_scheme: SerialScheme::OpaqueNocase,
        versions: VersionRulesSpec {
            scheme: VersionScheme::Semver,
            build_metadata: BuildMetadata::CountsForEquality,
            ..VersionRulesSpec::default()
        },
        register_on_first_contact: true,
        ..ProductSpec::default()
    };
    let groups = vec![GroupSpec { id: "default".into(), firmware: Some("1.0.0+b".into()), ..GroupSpec::default() }];
    let devices = vec![
        DeviceSpec { state: DeviceState::Disabled, ..verified(SHARED_SERIAL, "default") },
        verified("lamp-1", "default"),
        DeviceSpec { pin: Some("1.0.0+a".into()), ..verified("lamp-2", "default") },
    ];
    let firmware = vec![release("1.0.0+a"), release("1.0.0+b"), release("1.0.0")];
    ProductFleetSpec { product, firmware, groups, devices }
}

/// Digests of a config beside its BLAKE3, which is computed.
fn some_digests() -> Digests {
    Digests { blake3: None, ..digests("config") }
}

fn mac(number: u32) -> String {
    format!("a4cf1234{number:04x}")
}
