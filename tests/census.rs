//! A census admits exactly the counted devices that a naive one counts, as R3 and R6 say; written from the rules over specifications, sharing no helper.

mod twin;

use otagate::*;
use proptest::prelude::*;
use twin::draw::{self, Draw};
use twin::{reference, translate, world};

/// R3 by the letter. `None`: R6 refuses.
fn naive(plain: &world::Product, spec: &ProductFleetSpec, group: &GroupSpec, wave: usize) -> Option<Census> {
    let rollout = group.rollout.as_ref().unwrap();
    let before = rollout.waves[..wave].iter().filter_map(|wave| wave.opened.and_then(|opened| opened.threshold)).max();
    let last = wave + 1 == rollout.waves.len();
    let (mut counted, mut in_before) = (vec![], 0);
    for device in spec.devices.iter().filter(|device| device.group == group.id && device.state == DeviceState::Verified)
    {
        let first = rollout.first.contains(&device.serial);
        let late = rollout.late == Late::Tail && device.entered_at > rollout.started_at.unwrap() && !first;
        if rollout.excluded.contains(&device.serial) || late && !last {
            continue;
        }
        let salt = rollout.salt.as_ref().unwrap_or(&rollout.id);
        let rank = if first { 0 } else { reference::rank(salt, &plain.id, &device.serial) };
        if let TargetSpec::Firmware(target) = &rollout.target {
            let above = |cap: &Option<String>| {
                cap.as_ref().is_some_and(|cap| {
                    reference::compare(plain, target.as_bytes(), cap.as_bytes()) == Some(std::cmp::Ordering::Greater)
                })
            };
            let firmware =
                plain.firmware.iter().find(|firmware| reference::equal(plain, target.as_bytes(), &firmware.version));
            let fits = |hardware: &String| {
                firmware.is_none_or(|firmware| {
                    firmware
                        .artifacts
                        .iter()
                        .any(|one| one.hardware.is_empty() || !hardware.is_empty() && one.hardware.contains(hardware))
                })
            };
            let there =
                device.version.as_ref().is_some_and(|version| reference::equal(plain, version.as_bytes(), target));
            let in_already = !late && before.is_some_and(|threshold| rank <= threshold);
            let kept = device.pin.is_some()
                || above(&device.cap)
                || above(&group.cap)
                || !device.hardware.as_ref().is_none_or(fits);
            if kept || there && !in_already {
                continue;
            }
        }
        counted.push(rank);
        in_before += u64::from(!late && before.is_some_and(|threshold| rank <= threshold));
    }
    counted.sort();
    let eligible = counted.len() as u64;
    let n = match rollout.waves[wave].size {
        WaveSize::All => {
            return Some(Census { eligible, counted: eligible, newcomers: eligible - in_before, threshold: None });
        }
        WaveSize::First(n) => u64::from(n),
        WaveSize::ShareBps(bps) => (eligible * u64::from(bps)).div_ceil(10_000),
    };
    if before.is_none() && counted.iter().filter(|rank| **rank == 0).count() as u64 > n {
        return None;
    }
    let nth = if n == 0 { None } else { counted.get(n as usize - 1).or(counted.last()).copied() };
    let threshold = nth.max(before);
    let inside = counted.iter().filter(|rank| threshold.is_some_and(|threshold| **rank <= threshold)).count() as u64;
    Some(Census { eligible, counted: inside, newcomers: inside - in_before, threshold })
}

/// A drawn product with a running rollout in every group, and devices of which something is known.
fn product(draw: &mut Draw) -> (world::Product, ProductFleetSpec) {
    let plain = draw::world(draw).products.remove(0);
    let mut spec = translate::fleet_spec(&world::World { products: vec![plain.clone()] }).products.remove(0);
    for group in &mut spec.groups {
        let Some(rollout) = &mut group.rollout else { continue };
        rollout.state = RolloutState::Running;
        rollout.admission = Admission::Rank;
        let share = |bps| Wave { size: WaveSize::ShareBps(bps), gate: Gate::default(), opened: None };
        let first = |n| Wave { size: WaveSize::First(n), gate: Gate::default(), opened: None };
        let all = Wave { size: WaveSize::All, gate: Gate::default(), opened: None };
        rollout.waves = draw.of(&[
            vec![first(1), first(2), all],
            vec![first(2), share(5_000), share(7_500)],
            vec![share(1), first(3)],
            vec![share(10_000)],
        ]);
    }
    for device in &mut spec.devices {
        device.version = draw.some(2, |draw| draw.of(draw::versions(plain.version_scheme)).to_owned());
        device.hardware = draw.some(3, |draw| draw.of(&["a", "b", "z", ""]).to_owned());
    }
    (plain, spec)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_wave_counts_as_the_rules_say(seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let (plain, mut spec) = product(draw);
        for at in 0..spec.groups.len() {
            let waves = spec.groups[at].rollout.as_ref().map_or(0, |rollout| rollout.waves.len());
            for wave in 0..waves {
                let fleet = FleetSpec { revision: Revision(1), products: vec![spec.clone()] }.build().unwrap();
                let entry = fleet.product(&plain.id).unwrap();
                // The checked specification has canonical, sorted lists.
                let group = entry.group(&spec.groups[at].id).unwrap().spec();
                let (ours, theirs) = (entry.census(&group.id, wave), naive(&plain, &entry.spec(), &group, wave));
                match (&ours, &theirs) {
                    (Err(CensusFault::FirstListTooLong { .. }), None) => break,
                    _ => prop_assert_eq!(ours.as_ref().ok(), theirs.as_ref(), "seed {} group {} wave {}\n{:#?}", seed, group.id, wave, entry.spec()),
                }
                let census = ours.unwrap();
                let n = match group.rollout.unwrap().waves[wave].size {
                    WaveSize::First(n) => u64::from(n),
                    WaveSize::ShareBps(bps) => (census.eligible * u64::from(bps)).div_ceil(10_000),
                    WaveSize::All => census.eligible,
                };
                prop_assert!(census.counted >= n.min(census.eligible), "fewer than it admits");
                prop_assert!(wave > 0 || census.newcomers == census.counted);
                prop_assert!(wave > 0 || census.counted == n.min(census.eligible), "the first wave has exactly its size");
                // Open it, and let something happen before the next: a device leaves, another reports the target.
                spec.groups[at].rollout.as_mut().unwrap().waves[wave].opened = Some(census.opened(Timestamp::from_millis(draw::NOW)));
                if !spec.devices.is_empty() {
                    let who = draw.below(spec.devices.len() as u64) as usize;
                    spec.devices[who].version = draw.some(2, |draw| draw.of(draw::versions(plain.version_scheme)).to_owned());
                    spec.devices[who].state = draw.of(&[DeviceState::Verified, DeviceState::Blocked]);
                }
            }
        }
    }

    #[test]
    fn a_share_by_threshold_is_the_formula(bps in 0u16..=10_000) {
        let formula = (u128::from(bps) << 64).div_ceil(10_000);
        prop_assert_eq!(share_threshold(bps).map_or(0, |threshold| u128::from(threshold) + 1), formula);
    }
}
