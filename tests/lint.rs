//! What is legal but surely not meant, of rollouts (L4): told before they start.

use otagate::*;

/// The lints of a rollout in a group of 40 devices, without where they stand.
fn lints(change: impl FnOnce(&mut RolloutSpec)) -> Vec<String> {
    let waves = vec![Wave::new(WaveSize::First(10)), Wave::new(WaveSize::ShareBps(5_000)), Wave::new(WaveSize::All)];
    let mut rollout = RolloutSpec::new("r", TargetSpec::Firmware("2".into()), waves);
    change(&mut rollout);
    let artifact =
        ArtifactSpec { size_bytes: 1, digests: Digests::blake3_of(b"x"), locator: "x".into(), ..Default::default() };
    let firmware = |version: &str| FirmwareSpec {
        version: version.into(),
        artifacts: vec![artifact.clone()],
        ..Default::default()
    };
    let device = |unit: u32| DeviceSpec {
        serial: format!("u{unit}"),
        state: DeviceState::Verified,
        group: "default".into(),
        ..Default::default()
    };
    let spec = ProductFleetSpec {
        product: ProductSpec {
            id: "p".into(),
            keys: vec![ApiKey::new(KeyHash::of(b"k").unwrap())],
            ..Default::default()
        },
        firmware: vec![firmware("1"), firmware("2")],
        groups: vec![GroupSpec {
            id: "default".into(),
            firmware: Some("1".into()),
            rollout: Some(rollout),
            ..Default::default()
        }],
        devices: (0..40).map(device).collect(),
    };
    let fleet = FleetSpec { revision: Revision(1), products: vec![spec] }.build().unwrap();
    fleet.lint(Timestamp::from_millis(0)).into_iter().map(|lint| lint.message).collect()
}

fn after(min_finished: u32) -> Gate {
    Gate { min_finished: Some(min_finished), ..Gate::default() }
}

/// A gate judges the devices that the last wave added: 10 by the first, 10 more by half of 40, the other 20 by all.
#[test]
fn a_gate_that_can_never_pass_is_told() {
    assert_eq!(lints(|_| ()), [""; 0]);
    assert_eq!(
        lints(|rollout| {
            rollout.waves[1].gate = after(10);
            rollout.waves[2].gate = after(10);
            rollout.complete = after(20);
        }),
        [""; 0]
    );
    assert_eq!(
        lints(|rollout| {
            rollout.waves[0].gate = Gate { soak_secs: Some(60), ..Gate::default() };
            rollout.waves[1].gate = after(11);
            rollout.waves[2].gate = after(11);
            rollout.complete = after(21);
        }),
        [
            "asks for devices that have finished, and no wave is before it: it never opens",
            "opens when 11 devices of the wave before have finished, but that adds 10: it never opens",
            "opens when 11 devices of the wave before have finished, but that adds 10: it never opens",
            "completes when 21 devices of the wave before have finished, but that adds 20: it never completes",
        ]
    );
    // A wave that adds nobody leaves the one before it to be judged.
    assert_eq!(
        lints(|rollout| {
            rollout.waves =
                vec![Wave::new(WaveSize::First(40)), Wave { gate: after(30), ..Wave::new(WaveSize::ShareBps(100)) }];
            rollout.complete = after(40);
        }),
        [""; 0]
    );
    assert_eq!(
        lints(|rollout| rollout.waves[0].size = WaveSize::First(50)),
        ["admits the first 50, but the group has 40 devices"]
    );
    assert_eq!(
        lints(|rollout| {
            rollout.waves[0].size = WaveSize::First(50);
            rollout.waves[1].gate = after(41);
        }),
        [
            "admits the first 50, but the group has 40 devices",
            "opens when 41 devices of the wave before have finished, but that adds 40: it never opens",
        ]
    );
}

#[test]
fn success_that_nobody_can_report_is_told() {
    let resources = || TargetSpec::Resources(Vec::new());
    assert_eq!(
        lints(|rollout| rollout.target = resources()),
        ["counts `installed` as success, which no check-in reports of resources: set `downloaded` or `confirmed`"]
    );
    let downloaded = |rollout: &mut RolloutSpec| (rollout.target, rollout.success) = (resources(), Success::Downloaded);
    assert_eq!(lints(downloaded), [""; 0]);
}
