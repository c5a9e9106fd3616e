//! Every way of counting gives the same, and the same as sorting.

use crate::fleets::*;
use crate::twin::draw::Draw;
use crate::twin::reference;
use otagate::rollout::RolloutStore;
use otagate::*;

fn candidate(device: &Device) -> Candidate<'_> {
    Candidate {
        serial: device.serial(),
        state: device.state(),
        entered_at: device.entered_at(),
        version: device.version(),
        hardware: device.hardware(),
        pinned: device.pin().is_some(),
        cap: device.cap(),
    }
}

/// Shown in any order to several takers, which are joined in any order.
fn by_takers(draw: &mut Draw, entry: &ProductEntry, wave: usize) -> Result<Census, CensusFault> {
    let empty = CensusTaker::new(entry.product(), entry.group(GROUP).unwrap(), entry.catalogue(), wave)?;
    let mut takers = vec![empty; 1 + draw.below(5) as usize];
    let mut members: Vec<&Device> = entry.devices().filter(|device| device.group().as_str() == GROUP).collect();
    shuffle(draw, &mut members);
    for device in members {
        let at = draw.below(takers.len() as u64) as usize;
        takers[at].look(&candidate(device));
    }
    while takers.len() > 1 {
        let other = takers.remove(draw.below(takers.len() as u64) as usize);
        let at = draw.below(takers.len() as u64) as usize;
        takers[at].join(other);
    }
    takers.remove(0).finish()
}

/// What all ways say, once they say the same.
fn census(draw: &mut Draw, fleet: &Fleet, wave: usize, seed: u64) -> Result<Census, CensusFault> {
    let entry = fleet.product(PRODUCT).unwrap();
    let plain = entry.census(GROUP, wave);
    let index = Index::new(fleet);
    assert_eq!(plain, index.snapshot().census(PRODUCT, GROUP, wave), "seed {seed}, wave {wave}: the index");
    assert_eq!(plain, by_takers(draw, entry, wave), "seed {seed}, wave {wave}: takers");
    let store = MemoryStore::new(fleet.clone());
    let stores = [
        store.census(&product(), entry.group(GROUP).unwrap(), wave),
        index.census(&product(), entry.group(GROUP).unwrap(), wave),
    ];
    stores.into_iter().for_each(|found| assert_eq!(Ok(&plain), found.as_ref(), "seed {seed}, wave {wave}: stores"));
    plain
}

#[test]
fn every_way_of_counting_is_sorting() {
    let (mut exact, mut refused, mut none) = (0, 0, 0);
    for seed in 0..2_000 {
        let draw = &mut Draw(seed);
        let many = draw.of(&[0, 1, 2, 7, 20, 60]);
        let rollout = any_rollout(draw, many);
        let list = (0..many).map(|number| any_device(draw, number)).collect();
        let mut spec = fleet(groups(rollout.clone()), list);
        for wave in 0..rollout.waves.len() {
            let built = build(&spec);
            let (ours, theirs) = (census(draw, &built, wave, seed), naive(&spec, wave));
            assert_eq!(ours.as_ref().ok(), theirs.as_ref(), "seed {seed}, wave {wave}: {spec:#?}");
            let Ok(census) = ours else {
                refused += 1;
                break;
            };
            open(&mut spec, wave, &census);
            // What a device is told agrees with who was counted.
            let granted = granted(&Index::new(&build(&spec)));
            let eligible = eligible(&spec, wave);
            let inside = eligible.keys().filter(|serial| granted.contains(*serial)).count() as u64;
            assert_eq!(inside, census.counted, "seed {seed}, wave {wave}: who is told so");
            if let (WaveSize::First(n), 0) = (rollout.waves[wave].size, wave) {
                assert_eq!(inside, u64::from(n).min(census.eligible), "seed {seed}: the first {n}");
                exact += 1;
            }
            none += u64::from(wave == 0 && census.threshold.is_none());
            // The next wave meets devices that have moved on.
            for device in &mut spec.devices {
                if draw.once_in(4) {
                    device.version = Some(TARGET.into());
                }
            }
        }
    }
    assert!(exact > 400 && refused > 20 && none > 100, "drawn too rarely: {exact}, {refused}, {none}");
}

/// An index of so many devices, and the ranks of those who are counted: whoever is not on the target yet, sorted, and whoever is, once its rank is in.
fn many(devices: usize, waves: Vec<Wave>) -> (Index, Vec<u64>, Vec<u64>) {
    let index = Index::new(&build(&fleet(groups(running("r7", waves)), vec![])));
    let serials: Vec<String> = (0..devices).map(serial).collect();
    let row = |(number, serial)| DeviceRow {
        serial,
        state: if number % 7 == 3 { DeviceState::Blocked } else { DeviceState::Verified },
        group: if number % 11 == 5 { "other" } else { GROUP },
        version: (number % 13 == 1).then_some(TARGET),
        hardware: (number % 17 == 2).then_some("b"),
        ..Default::default()
    };
    let rows: Vec<DeviceRow<'_>> = serials.iter().map(String::as_str).enumerate().map(row).collect();
    index.add_devices(&product(), &rows).unwrap();
    // These stand apart.
    let pinned = |number: usize| number.is_multiple_of(devices / 100);
    let pin = |serial: &String| Change::PinDevice {
        product: product(),
        serial: serial.clone(),
        firmware: Some("1.0.0".into()),
    };
    let numbered = serials.iter().enumerate();
    let pins: Vec<Change> = numbered.filter(|(number, _)| pinned(*number)).map(|(_, serial)| pin(serial)).collect();
    index.apply(&pins).unwrap();
    let counts = |(number, row): &(usize, &DeviceRow<'_>)| {
        row.hardware.is_none() && !pinned(*number) && row.state == DeviceState::Verified && row.group == GROUP
    };
    let counted: Vec<_> = rows.iter().enumerate().filter(counts).map(|(_, row)| row).collect();
    let ranks = |on_target: bool| -> Vec<u64> {
        let rows = counted.iter().filter(|row| row.version.is_some() == on_target);
        let mut ranks: Vec<u64> = rows.map(|row| reference::rank("r7", PRODUCT, row.serial)).collect();
        ranks.sort_unstable();
        ranks
    };
    let (plain, on_target) = (ranks(false), ranks(true));
    (index, plain, on_target)
}

/// What a wave of that size asks for.
fn wanted(size: WaveSize, eligible: u64) -> u64 {
    match size {
        WaveSize::First(n) => u64::from(n).min(eligible),
        WaveSize::ShareBps(bps) => (eligible * u64::from(bps)).div_ceil(10_000),
        WaveSize::All => eligible,
    }
}

fn opened(index: &Index, wave: usize, census: &Census) {
    let opened = census.opened(at(1));
    let rollout = name("r7");
    index.apply(&[Change::OpenWave { product: product(), group: group(), rollout, wave, opened }]).unwrap();
}

#[test]
fn thirty_thousand_devices_are_counted_to_the_device() {
    let sizes = [first(1), first(10), first(300), first(2_000), share(1_234), share(9_999), first(40_000)];
    let (index, plain, on_target) = many(30_000, sizes.to_vec());
    let mut before = None;
    for (wave, size) in sizes.iter().enumerate() {
        let fleet = index.snapshot().to_fleet();
        let census = census(&mut Draw(wave as u64), &fleet, wave, 0).unwrap();
        assert_eq!(index.snapshot().census(PRODUCT, GROUP, wave), Ok(census));
        let arrived = on_target.iter().filter(|rank| before.is_some_and(|before| **rank <= before));
        let mut ranks: Vec<u64> = plain.iter().chain(arrived).copied().collect();
        ranks.sort_unstable();
        let eligible = ranks.len() as u64;
        let n = wanted(size.size, eligible);
        let threshold = Some(ranks[n as usize - 1]);
        let in_before = ranks.iter().filter(|rank| before.is_some_and(|before| **rank <= before)).count() as u64;
        assert_eq!(census, Census { eligible, counted: n, newcomers: n - in_before, threshold }, "{size:?}");
        before = census.threshold;
        opened(&index, wave, &census);
    }
}

#[test]
fn on_all_processors_the_first_wave_is_as_exact() {
    // More leaves than one thread takes at once.
    let (index, ranks, _) = many(150_000, vec![all()]);
    let eligible = ranks.len() as u64;
    for size in [first(1), first(10), first(600), first(20_000), first(200_000), share(1), share(2_500), share(10_000)]
    {
        let rollout = running("r7", vec![size]);
        let group = groups(rollout).remove(0);
        // As a rollout that is written anew.
        let spec = GroupSpec { rollout: None, ..group.clone() };
        let abort =
            Change::AbortRollout { product: product(), group: self::group(), rollout: name("r7"), fate: Fate::Leave };
        let put = |group: GroupSpec| Change::PutGroup { product: product(), group };
        index.apply(&[abort, put(spec), put(group)]).unwrap();
        let n = wanted(size.size, eligible);
        let expected = Census { eligible, counted: n, newcomers: n, threshold: Some(ranks[n as usize - 1]) };
        for _ in 0..3 {
            assert_eq!(index.snapshot().census(PRODUCT, GROUP, 0), Ok(expected), "{size:?}");
        }
    }
}

#[test]
fn the_order_of_devices_and_groups_is_invisible() {
    for seed in 0..100 {
        let draw = &mut Draw(seed);
        let rollout = any_rollout(draw, 30);
        let list = (0..30).map(|number| any_device(draw, number)).collect();
        let mut spec = fleet(groups(rollout), list);
        let before = census(draw, &build(&spec), 0, seed);
        if let Ok(census) = &before {
            open(&mut spec, 0, census);
        }
        let told = granted(&Index::new(&build(&spec)));
        for _ in 0..3 {
            shuffle(draw, &mut spec.devices);
            shuffle(draw, &mut spec.groups);
            shuffle(draw, &mut spec.firmware);
            let place = spec.groups.iter().position(|group| group.id == GROUP).unwrap();
            shuffle(draw, &mut spec.groups[place].rollout.as_mut().unwrap().first);
            assert_eq!(granted(&Index::new(&build(&spec))), told, "seed {seed}");
            let mut closed = spec.clone();
            closed.groups[place].rollout.as_mut().unwrap().waves[0].opened = None;
            assert_eq!(census(draw, &build(&closed), 0, seed), before, "seed {seed}");
        }
    }
}

/// A census of so many devices that are alike.
fn of(devices: usize, rollout: RolloutSpec, wave: usize) -> Result<Census, CensusFault> {
    let fleet = build(&fleet(groups(rollout), self::devices(devices)));
    census(&mut Draw(devices as u64), &fleet, wave, 0)
}

#[test]
fn shares_are_rounded_up_to_whole_devices() {
    let rows = [
        (40, 100, 1), // 1 % of 40
        (40, 1, 1),
        (1, 1, 1),
        (0, 10_000, 0),
        (100, 100, 1),
        (101, 100, 2),
        (3, 3_333, 1),
        (3, 3_334, 2),
        (4, 2_500, 1),
        (5, 2_500, 2),
        (7, 9_999, 7),
        (7, 10_000, 7),
        (200, 9_950, 199),
        (201, 9_950, 200),
    ];
    for (devices, bps, counted) in rows {
        let census = of(devices, running("r7", vec![share(bps)]), 0).unwrap();
        assert_eq!((census.eligible, census.counted), (devices as u64, counted), "{bps} basis points of {devices}");
    }
}

/// By hand, with more digits than a float has.
#[test]
fn a_threshold_of_a_share_is_rounded_up_in_128_bits() {
    let rows = [
        (1, 1_844_674_407_370_955),
        (3, 5_534_023_222_112_865),
        (100, 184_467_440_737_095_516),
        (2_500, (1 << 62) - 1),
        (3_333, 6_148_299_799_767_393_553),
        (5_000, (1 << 63) - 1),
        (9_999, 18_444_899_399_302_180_660),
        (10_000, u64::MAX),
        (u16::MAX, u64::MAX),
    ];
    rows.into_iter().for_each(|(bps, threshold)| assert_eq!(share_threshold(bps), Some(threshold), "{bps}"));
    assert_eq!(share_threshold(0), None);
}

#[test]
fn who_is_always_first_shares_one_rank() {
    let with = |listed: usize, waves: Vec<Wave>| RolloutSpec {
        first: (0..listed).map(serial).collect(),
        ..running("r7", waves)
    };
    let fault = of(20, with(3, vec![first(2), all()]), 0).unwrap_err();
    assert!(matches!(fault, CensusFault::FirstListTooLong { first: 3, counts: 2, .. }), "{fault}");
    let fits = of(20, with(3, vec![first(3), all()]), 0).unwrap();
    assert_eq!(fits, Census { eligible: 20, counted: 3, newcomers: 3, threshold: Some(0) });
    let two_more = of(20, with(3, vec![first(5), all()]), 0).unwrap();
    assert_eq!(two_more.counted, 5);
    // 10 % of 20 are 2, and the list is longer.
    assert!(of(20, with(3, vec![share(1_000)]), 0).is_err());
    assert_eq!(of(20, with(3, vec![share(1_500)]), 0).unwrap().threshold, Some(0));

    // A list that grows behind an open wave brings more in than the next one asks for, and pushes nobody out.
    let mut spec = fleet(groups(running("r7", vec![first(1), first(2), first(6)])), devices(20));
    let one = census(&mut Draw(1), &build(&spec), 0, 0).unwrap();
    open(&mut spec, 0, &one);
    let before = granted(&Index::new(&build(&spec)));
    let listed: Vec<String> = (0..20).map(serial).filter(|serial| !before.contains(serial)).take(3).collect();
    spec.groups[0].rollout.as_mut().unwrap().first = listed.clone();
    let two = census(&mut Draw(1), &build(&spec), 1, 0).unwrap();
    assert_eq!((two.counted, two.newcomers, two.threshold), (4, 0, one.threshold));
    open(&mut spec, 1, &two);
    let after = granted(&Index::new(&build(&spec)));
    assert_eq!(after, before.iter().chain(&listed).cloned().collect());
    let six = census(&mut Draw(1), &build(&spec), 2, 0).unwrap();
    assert_eq!(six.counted, 6);
}

#[test]
fn a_group_that_nobody_was_ever_in_is_counted_too() {
    for wave in [first(5), share(5_000), all()] {
        let empty = of(0, running("r7", vec![wave]), 0).unwrap();
        assert_eq!(empty, Census { eligible: 0, counted: 0, newcomers: 0, threshold: None });
    }
    let fleet = build(&fleet(groups(running("r7", vec![first(5)])), vec![]));
    for (group, wave) in [("nowhere", 0), ("other", 0), (GROUP, 1)] {
        let fault = fleet.product(PRODUCT).unwrap().census(group, wave).unwrap_err();
        assert_eq!(Index::new(&fleet).snapshot().census(PRODUCT, group, wave), Err(fault.clone()));
        assert!(matches!(fault, CensusFault::NoWave { .. }), "{fault}");
    }
}
