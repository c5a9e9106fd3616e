//! A simulation without noise is what pen and paper say, to the millisecond and the byte; with noise its means lie where they must; and it is the same on any number of threads.
#![cfg(feature = "simulate")]

use otagate::simulate::*;
use otagate::*;

const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);
const SIZE: u64 = 1_234_567;

/// So many lamps that run 1.0, half of them on hardware `b`.
fn lamps(devices: usize) -> Index {
    let firmware = |version: &str| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            locator: version.into(),
            size_bytes: SIZE,
            digests: Digests::blake3_of(version.as_bytes()),
            ..ArtifactSpec::default()
        }],
        ..FirmwareSpec::default()
    };
    let device = |n: usize| DeviceSpec {
        serial: format!("SN-{n:05}"),
        state: DeviceState::Verified,
        group: "stable".into(),
        version: Some("1.0".into()),
        hardware: Some(if n.is_multiple_of(2) { "a" } else { "b" }.into()),
        ..DeviceSpec::default()
    };
    let product = ProductFleetSpec {
        product: ProductSpec {
            id: "lamp".into(),
            keys: vec![ApiKey::new(KeyHash::of(b"secret").unwrap())],
            ..ProductSpec::default()
        },
        firmware: vec![firmware("1.0"), firmware("2.0")],
        groups: vec![GroupSpec { id: "stable".into(), firmware: Some("1.0".into()), ..GroupSpec::default() }],
        devices: (0..devices).map(device).collect(),
    };
    Index::new(&FleetSpec { products: vec![product], ..FleetSpec::default() }.build().unwrap())
}

fn rollout(waves: Vec<Wave>) -> RolloutSpec {
    RolloutSpec::new("r2", TargetSpec::Firmware("2.0".into()), waves)
}

fn plan(name: &str, rollout: RolloutSpec) -> Plan {
    Plan::rollout(name, &ProductId::new("lamp").unwrap(), &GroupId::new("stable").unwrap(), rollout, START).unwrap()
}

fn gated(size: WaveSize, min_finished: u32, soak_secs: u32) -> Wave {
    let gate = Gate { min_finished: Some(min_finished), soak_secs: Some(soak_secs), ..Gate::default() };
    Wave { gate, ..Wave::new(size) }
}

/// The millisecond at which something that asks at `first` and every `every` after asks at or after `from`.
fn next(first: i64, every: i64, from: i64) -> i64 {
    if from <= first { first } else { first + (from - first + every - 1) / every * every }
}

#[test]
fn a_world_without_noise_is_as_calculated() {
    for (devices, every_secs, tick_secs, speed, install_secs, soak) in [
        (50, 3_600, 60, 100_000, 60, 7_200),
        (33, 700, 1, 9_999, 0, 0),
        (120, 5_000, 300, 1_000_003, 411, 100),
        (7, 61, 60, 50_000, 1, 3_000),
    ] {
        let index = lamps(devices);
        let world = World {
            lasts_secs: 3 * 86_400 + 77,
            tick_secs,
            bin_secs: Some(1_000),
            check_in: Rhythm { every_secs, first: First::Even, ..Rhythm::default() },
            download_bytes_per_sec: Spread::Fixed(speed),
            install_secs: Spread::Fixed(install_secs),
            ..World::default()
        };
        let counts = [2, 5];
        let waves =
            vec![Wave::new(WaveSize::First(2)), gated(WaveSize::First(5), 2, soak), gated(WaveSize::All, 3, soak)];
        let course = Simulation::new(&index, &world, START).course(&plan("even", rollout(waves)), 9).unwrap();

        // Device n asks first at n/devices of the interval; which are in which wave says their rank.
        let every = i64::from(every_secs) * 1_000;
        let tick = i64::from(tick_secs) * 1_000;
        let end = world.lasts_secs as i64 * 1_000;
        let took = (SIZE * 1_000).div_ceil(speed) as i64 + install_secs as i64 * 1_000;
        let mut ranked: Vec<(u64, usize)> =
            (0..devices).map(|n| (rank("r2", "lamp", &format!("SN-{n:05}")), n)).collect();
        ranked.sort_unstable();
        let first = |n: usize| every * n as i64 / devices as i64;
        let mut arrived = vec![0; devices];
        let mut opened = vec![0_i64];
        let mut from = 0;
        for (nth, admitted) in counts.into_iter().chain([devices]).enumerate() {
            let of_wave: Vec<usize> = ranked[from..admitted].iter().map(|(_, n)| *n).collect();
            of_wave.iter().for_each(|n| arrived[*n] = next(first(*n), every, opened[nth]) + took);
            from = admitted;
            // The gate judges this wave's devices alone, of which it asks for as many as the next wave says.
            let Some(needed) = [2, 3].get(nth) else { break };
            let mut times: Vec<i64> = of_wave.iter().map(|n| arrived[*n]).collect();
            times.sort_unstable();
            let Some(good) = times.get(*needed - 1) else { break };
            // A tick sees what came before it; from the tick that first finds it good it soaks.
            let seen = (good / tick + 1) * tick;
            let soaked = seen + i64::from(soak) * 1_000;
            opened.push((soaked + tick - 1) / tick * tick);
        }
        let at = |millis: i64| Timestamp::from_millis(START.millis() + millis);
        let told = &course.rollouts[0];
        let theirs: Vec<Option<Timestamp>> = told.waves.iter().map(|wave| wave.opened_at).collect();
        assert_eq!(opened.len(), 3);
        let ours: Vec<Option<Timestamp>> = (0..3).map(|nth| opened.get(nth).map(|millis| at(*millis))).collect();
        assert_eq!(theirs, ours, "{devices} devices");
        let admitted = devices as u64;
        assert_eq!((told.adopted, course.downloads, course.bytes), (admitted, admitted, admitted * SIZE));

        // Check-ins: the regular ones, and where a device installs one at once, from which its rhythm goes on.
        let mut check_ins = 0;
        let mut bins = vec![0_u64; course.load.check_ins.len()];
        for (n, arrived) in arrived.iter().enumerate() {
            let mut asks = first(n);
            let offered_at = arrived - took;
            while asks < end {
                check_ins += 1;
                bins[(asks / 1_000_000) as usize] += 1;
                asks = if asks == offered_at { *arrived } else { asks + every };
            }
        }
        assert_eq!((course.check_ins, &course.load.check_ins), (check_ins, &bins), "{devices} devices");
        assert_eq!(course.verdicts["serve"], admitted);

        // Adoption at the end of each bin.
        let mut times: Vec<i64> = arrived.clone();
        times.sort_unstable();
        let curve: Vec<u64> = (1..=bins.len() as i64)
            .map(|bin| times.iter().filter(|time| **time < (bin * 1_000_000).min(end)).count() as u64)
            .collect();
        assert_eq!(told.adopted_over_time, curve, "{devices} devices");
        let half = devices.div_ceil(2);
        assert_eq!(told.reached[0].at, times.get(half - 1).map(|time| at(*time)), "{devices} devices");
    }
}

#[test]
fn a_bad_version_halts_with_as_many_harmed_as_its_gate_says() {
    let index = lamps(400);
    let fails = Failure { hardware: Some("b".into()), share_bps: 10_000, ..Failure::default() };
    let world = World {
        lasts_secs: 86_400,
        check_in: Rhythm { every_secs: 3_600, first: First::Even, ..Rhythm::default() },
        failures: vec![fails],
        ..World::default()
    };
    let halt = Halt { failures: Some(6), ..Halt::default() };
    let spec = RolloutSpec { halt, ..rollout(vec![Wave::new(WaveSize::First(10)), gated(WaveSize::All, 1, 0)]) };
    let course = Simulation::new(&index, &world, START).course(&plan("halts", spec), 1).unwrap();
    let told = &course.rollouts[0];
    let (halted, harmed) = (told.halted_at.unwrap(), told.harmed_at_halt.unwrap());
    assert_eq!(told.state, "paused");
    assert!(
        (6..=6 + 400 * 60 / 3_600 + 1).contains(&harmed),
        "{harmed}: no more than a tick's check-ins beyond the gate"
    );
    // Who had begun to download when it halted goes on.
    assert!(told.harmed >= harmed && told.harmed <= harmed + 400 * 120 / 3_600, "{harmed} {}", told.harmed);
    assert!(course.events.iter().any(|event| event.kind == "halt" && event.at == halted));
}

/// A world with all that there may be.
fn noisy() -> World {
    let rule = |how, share_bps| Failure { share_bps, how, ..Failure::default() };
    let back = Failure { after_secs: Some(Spread::Fixed(4_000)), ..rule(How::FallsBack, 300) };
    World {
        lasts_secs: 2 * 86_400,
        check_in: Rhythm { every_secs: 1_800, jitter_secs: 300, ..Rhythm::default() },
        offline: Offline { devices_bps: 500, check_ins_bps: 1_000 },
        download_bytes_per_sec: Spread::Quantiles(Quantiles { min: 1_000, p50: 50_000, p95: 200_000, max: 1_000_000 }),
        install_secs: Spread::Quantiles(Quantiles { min: 10, p50: 60, p95: 600, max: 3_000 }),
        failures: vec![rule(How::Fails, 500), rule(How::Silent, 300), rule(How::Dies, 100), back],
        joiners: vec![Joiners {
            product: "lamp".into(),
            group: "stable".into(),
            devices: 50,
            version: Some("1.0".into()),
            hardware: None,
            from_secs: 5_000,
            over_secs: 80_000,
        }],
        outages: vec![Outage { at_secs: 30_000, secs: 2_000 }],
        ..World::default()
    }
}

fn wide() -> Plan {
    plan(
        "wide",
        rollout(vec![
            Wave::new(WaveSize::First(20)),
            gated(WaveSize::ShareBps(5_000), 10, 3_600),
            gated(WaveSize::All, 50, 0),
        ]),
    )
}

#[test]
fn one_seed_is_the_same_bytes_on_any_number_of_threads() {
    let (index, world) = (lamps(3_000), noisy());
    let bytes = |threads: usize, seed: u64| {
        let course = Simulation::new(&index, &world, START).threads(threads).course(&wide(), seed).unwrap();
        serde_json::to_vec(&course).unwrap()
    };
    let one = bytes(1, 1);
    assert!(one == bytes(2, 1) && one == bytes(3, 1));
    assert!(one != bytes(1, 2), "another seed is another world");
    let side_by_side = |threads: usize| {
        Simulation::new(&index, &world, START)
            .threads(threads)
            .compare(&[wide(), Plan::nothing("none")], &[1, 2, 3])
            .unwrap()
    };
    let both = side_by_side(1);
    assert_eq!(both, side_by_side(2));
    assert!(serde_json::to_vec(&both.plans[0].course).unwrap() == one);
    assert_eq!(both.plans[1].course.downloads, 0);
}

#[test]
fn means_over_seeds_lie_within_their_bounds() {
    let (devices, seeds) = (1_000_u64, 40_u64);
    let world = World {
        // Shorter than a penalty, so that each device has one go.
        lasts_secs: 79_000,
        offline: Offline { devices_bps: 1_000, check_ins_bps: 2_000 },
        failures: vec![Failure { share_bps: 500, ..Failure::default() }],
        ..World::default()
    };
    let spec =
        RolloutSpec { penalty: Penalty { secs: 80_000, secs_max: 86_400 }, ..rollout(vec![Wave::new(WaveSize::All)]) };
    let index = lamps(devices as usize);
    let simulation = Simulation::new(&index, &world, START);
    let (mut harmed, mut asked, mut lost, mut installed) = (0.0, 0.0, 0.0, 0.0);
    for seed in 0..seeds {
        let course = simulation.course(&plan("all at once", spec.clone()), seed).unwrap();
        harmed += course.rollouts[0].harmed as f64;
        installed += course.downloads as f64;
        asked += (course.check_ins + course.unanswered) as f64;
        lost += course.unanswered as f64;
    }
    // Binomial: of n draws with share p the mean is np, and the standard deviation the root of np(1-p). Five of them: a fair draw fails once in 1.7 million.
    let within = |count: f64, n: f64, p: f64| (count - n * p).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt();
    assert!(within(harmed, installed, 0.05), "{harmed} of {installed} installations fail");
    assert!(within(lost, asked, 0.2), "{lost} of {asked} check-ins are lost");
    // Nine tenths take part, each of which asks some 20 times and is lost each time with a fifth: all but none download.
    assert!(within(installed, (devices * seeds) as f64, 0.9), "{installed}");
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    let index = lamps(1);
    let world = World { tick_secs: 0, offline: Offline { devices_bps: 10_001, check_ins_bps: 0 }, ..World::default() };
    let fault = Simulation::new(&index, &world, START).course(&Plan::nothing("x"), 1).unwrap_err().to_string();
    assert!(fault.contains("tick_secs: ") && fault.contains("offline.devices_bps: "), "{fault}");
    let missing = plan("missing", RolloutSpec::new("r", TargetSpec::Firmware(String::new()), vec![]));
    let fault = Simulation::new(&index, &World::default(), START).course(&missing, 1).unwrap_err().to_string();
    assert!(fault.starts_with("plan `missing`: "), "{fault}");
}
