//! The fleets that a store is filled with: small, and hard to keep.

use super::hand::Step;
use super::promise::Finding;
use crate::fleet::{
    AbortedSpec, Admission, AlreadyThere, ApiKey, ArtifactSpec, BuildMetadata, Change, ConfigSpec, DeviceSpec,
    DeviceState, Digests, EmptyVersion, Fate, FirmwareSpec, Fleet, FleetSpec, Gate, GroupId, GroupSpec, Hex, KeyHash,
    Late, Opened, Policy, ProductFleetSpec, ProductId, ProductSpec, Progress, ResourceSpec, Revision, RolloutSpec,
    RolloutState, SerialScheme, TargetSpec, UnreadableVersion, VersionRulesSpec, VersionScheme, Wave, WaveSize, Window,
};
use crate::time::Timestamp;

/// A Monday, 10:00 UTC.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000);
const DAY_SECS: i64 = 86_400;

/// The serial that a device of every product in [`rich`] has.
pub(super) const SHARED_SERIAL: &str = "a4cf12340001";

/// Checks one of the fleets below.
pub(super) fn build(spec: &FleetSpec) -> Result<Fleet, Finding> {
    spec.build().map_err(|problems| {
        Finding::Broken(format!("a fleet of the suite does not load, a fault of otagate: {problems}"))
    })
}

/// Four products with one way each of reading serials and versions, in which every reason can be had that needs neither ledger nor gap.
pub(super) fn rich() -> FleetSpec {
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
        progress: Some(Progress { finished: 4, succeeded: 3, good_since: None }),
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
                waves: vec![closed(WaveSize::All)],
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

/// Texts that a query, a collation, a column or a separator can get wrong. They are serials, names, versions, hardware and locators.
pub(super) const TEXTS: &[&str] = &[
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
pub(super) const NEAR_TEXTS: &[&str] = &[
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
pub(super) fn text() -> FleetSpec {
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

/// Numbers at their ends, and the difference between nothing and 0, nothing and an empty list, nothing and `null`.
pub(super) fn numbers() -> FleetSpec {
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
                opened: Some(Opened { threshold, counted: Some(0), eligible: None, at: far[0] }),
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
            progress: Some(Progress { finished: u32::MAX, succeeded: 0, good_since: Some(far[1]) }),
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

fn mac(number: u32) -> String {
    format!("a4cf1234{number:04x}")
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

/// Digests of a config beside its BLAKE3, which is computed.
fn some_digests() -> Digests {
    Digests { blake3: None, ..digests("config") }
}

/// A rollout that runs, with every wave open.
fn rollout(id: &str, target: TargetSpec) -> RolloutSpec {
    RolloutSpec {
        id: id.into(),
        salt: None,
        target,
        state: RolloutState::Running,
        started_at: Some(NOW.plus_secs(-7 * DAY_SECS)),
        waves: vec![Wave { opened: Some(opened(0)), ..closed(WaveSize::All) }],
        late: Late::Open,
        admission: Admission::Rank,
        first: Vec::new(),
        excluded: Vec::new(),
        progress: None,
    }
}

fn closed(size: WaveSize) -> Wave {
    Wave { size, gate: Gate::default(), opened: None }
}

fn opened(threshold: u64) -> Opened {
    Opened { at: NOW.plus_secs(-DAY_SECS), threshold: Some(threshold), counted: Some(3), eligible: Some(12) }
}
