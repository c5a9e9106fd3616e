//! What a simulation tells devices is what a gateway's own books tell them, asked the same questions at the same times: so its shortcut for check-ins that nothing comes of is none.
#![cfg(feature = "simulate")]

use otagate::rollout::{Books, Conductor, Ends, Ledger as _, MemoryLedger, Outcome};
use otagate::simulate::*;
use otagate::store::{Store as _, fetch};
use otagate::*;
use std::collections::{BTreeMap, HashMap};

const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

/// The numbers of a draw, one after the other.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn of<T: Clone>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len() as u64) as usize].clone()
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn lamp() -> ProductId {
    ProductId::new("lamp").unwrap()
}

fn group() -> GroupId {
    GroupId::new("stable").unwrap()
}

/// A fleet of some lamps, with a stone between 1.0 and 3.0, and two groups.
fn fleet(draw: &mut Draw) -> Index {
    let firmware = |version: &str, from: Option<&str>, stone: bool, size_bytes: u64| FirmwareSpec {
        version: version.into(),
        from: from.map(str::to_owned),
        stone,
        artifacts: vec![ArtifactSpec {
            locator: version.into(),
            size_bytes,
            digests: Digests::blake3_of(version.as_bytes()),
            ..ArtifactSpec::default()
        }],
        ..FirmwareSpec::default()
    };
    let size = draw.of(&[2, 3, 50_000, 900_000]);
    let devices = (0..20 + draw.below(60)).map(|n| DeviceSpec {
        serial: format!("SN-{n}"),
        state: if draw.once_in(15) { draw.of(&DeviceState::ALL) } else { DeviceState::Verified },
        group: if draw.once_in(6) { "other".into() } else { "stable".into() },
        version: draw
            .of(&[Some("1.0.0"), Some("1.0.0"), Some("2.0.0"), Some("3.0.0"), Some("junk"), None])
            .map(str::to_owned),
        hardware: draw.of(&[Some("a"), Some("b"), None]).map(str::to_owned),
        pin: draw.once_in(20).then(|| "2.0.0".to_owned()),
        ..DeviceSpec::default()
    });
    let devices: Vec<DeviceSpec> = devices.collect();
    let window = draw.once_in(4).then(|| Window::parse(&["Mon-Sun 09:00-11:30"]).unwrap());
    let spec = FleetSpec {
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: "lamp".into(),
                keys: vec![ApiKey::new(KeyHash::of(b"secret").unwrap())],
                versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..VersionRulesSpec::default() },
                poll_interval_secs: draw.once_in(2).then_some(900),
                retry_spread_secs: 60,
                ..ProductSpec::default()
            },
            firmware: vec![
                firmware("1.0.0", None, false, 1),
                firmware("2.0.0", None, true, size / 2),
                firmware("3.0.0", draw.once_in(2).then_some("2.0.0"), false, size),
            ],
            groups: vec![
                GroupSpec {
                    id: "stable".into(),
                    firmware: Some("1.0.0".into()),
                    downloads_max: draw.once_in(3).then(|| 1 + draw.below(4) as u32),
                    window,
                    ..GroupSpec::default()
                },
                GroupSpec { id: "other".into(), firmware: Some("2.0.0".into()), ..GroupSpec::default() },
            ],
            devices,
        }],
        ..FleetSpec::default()
    };
    Index::new(&spec.build().unwrap())
}

fn plan(draw: &mut Draw) -> Plan {
    let gate = |draw: &mut Draw| Gate {
        min_finished: Some(1 + draw.below(3) as u32),
        success_share_bps: draw.once_in(2).then_some(5_000),
        soak_secs: draw.once_in(2).then(|| draw.below(3_000) as u32),
        ..Gate::default()
    };
    let first_come = draw.once_in(3);
    let middle =
        if first_come { WaveSize::First(9) } else { draw.of(&[WaveSize::First(9), WaveSize::ShareBps(4_000)]) };
    let waves = [WaveSize::First(3), middle, WaveSize::All].map(|size| Wave { gate: gate(draw), ..Wave::new(size) });
    let mut waves = waves.to_vec();
    waves[0].gate = Gate::default();
    let mut rollout = RolloutSpec::new("r3", TargetSpec::Firmware("3.0.0".into()), waves);
    rollout.admission = if first_come { Admission::FirstCome } else { Admission::Rank };
    rollout.complete = if draw.once_in(2) { gate(draw) } else { Gate::default() };
    rollout.halt = Halt { failures: draw.once_in(2).then(|| 2 + draw.below(6) as u32), ..Halt::default() };
    rollout.missing = Missing { offers: 1 + draw.below(3) as u32, secs: draw.below(4_000) as u32 };
    rollout.penalty = Penalty { secs: draw.of(&[0, 600, 3_600]), secs_max: 7_200 };
    rollout.success = draw.of(&[Success::Installed, Success::Installed, Success::Downloaded]);
    rollout.late = draw.of(&[Late::Open, Late::Tail]);
    let mut plan = Plan::rollout("drawn", &lamp(), &group(), rollout, START).unwrap();
    let id = RolloutId::new("r3").unwrap();
    for _ in 0..draw.below(12) {
        let (product, group, rollout) = (lamp(), group(), id.clone());
        let pause = Change::PauseRollout {
            product: product.clone(),
            group: group.clone(),
            rollout: rollout.clone(),
            cut: draw.once_in(2),
            why: "drawn".into(),
        };
        let change = match draw.below(12) {
            0..5 => pause,
            5..10 => Change::ResumeRollout { product, group, rollout },
            10 => Change::DenyFirmware { product, firmware: "3.0.0".into(), denied: draw.once_in(2) },
            _ => Change::AbortRollout { product, group, rollout, fate: draw.of(&[Fate::Leave, Fate::Downgrade]) },
        };
        plan.actions.push(Action { at_secs: draw.below(9_000), what: String::new(), changes: vec![change] });
    }
    plan
}

fn world(draw: &mut Draw) -> World {
    let mut world = World { lasts_secs: 6 * 3_600, tick_secs: draw.of(&[7, 60, 300]), ..World::default() };
    world.check_in = Rhythm {
        every_secs: draw.of(&[45, 300, 900]),
        jitter_secs: draw.of(&[0, 100]),
        first: draw.of(&[First::Scattered, First::Even, First::Together]),
        heeds_retry_after: draw.once_in(3),
    };
    world.offline = Offline { devices_bps: draw.of(&[0, 1_000]), check_ins_bps: draw.of(&[0, 2_000]) };
    world.download_bytes_per_sec = draw.of(&[Spread::Fixed(1_000), Spread::Fixed(1_000_000)]);
    world.install_secs =
        draw.of(&[Spread::Fixed(0), Spread::Quantiles(Quantiles { min: 5, p50: 60, p95: 900, max: 5_000 })]);
    world.asks_after_install = draw.once_in(2);
    world.lease_secs = draw.of(&[120, 3_600]);
    world.grace_secs = draw.of(&[0, 60]);
    let hows = [How::Fails, How::Silent, How::Silent, How::Dies, How::FallsBack];
    for _ in 0..draw.below(4) {
        let how = draw.of(&hows);
        world.failures.push(Failure {
            version: draw.once_in(2).then(|| "3.0.0".to_owned()),
            hardware: draw.once_in(3).then(|| "a".to_owned()),
            share_bps: draw.of(&[500, 3_000, 10_000]),
            how,
            after_secs: (how == How::FallsBack).then_some(Spread::Fixed(700)),
            ..Failure::default()
        });
    }
    if draw.once_in(3) {
        world.outages.push(Outage { at_secs: draw.below(9_000), secs: draw.below(3_000) });
    }
    if draw.once_in(3) {
        world.joiners.push(Joiners {
            product: "lamp".into(),
            group: "stable".into(),
            devices: 5,
            version: Some("1.0.0".into()),
            hardware: None,
            from_secs: draw.below(5_000),
            over_secs: 4_000,
        });
    }
    world
}

/// What a gateway with this fleet has, and nothing of the simulation.
struct Gateway {
    index: Index,
    books: Books<MemoryLedger>,
    taking: HashMap<String, Ends>,
    seen: Vec<Change>,
}

impl Gateway {
    fn told(&mut self, one: &Happening, world: &World) -> Option<What> {
        let serial = one.serial.as_bytes();
        match &one.what {
            What::Downloaded => {
                if let Some(ends) = self.taking.remove(&one.serial) {
                    ends.carry_out(&self.books.leases, &self.books.ledger, one.at).unwrap();
                }
                None
            }
            What::Failed => {
                let ask = CheckIn::new(b"secret", serial);
                let Ok(view) = self.index.view();
                let found = fetch(&view, &ask).unwrap();
                self.books.note_of_device(&found, &ask, Outcome::Failed, one.at).unwrap();
                None
            }
            What::CheckIn { version, hardware, .. } => {
                let (reported, said) = (version.as_bytes(), hardware.as_bytes());
                let ask = CheckIn { version: reported, hardware: said, ..CheckIn::new(b"secret", serial) };
                let Ok(view) = self.index.view();
                let mut found = fetch(&view, &ask).unwrap();
                let until = one.at.plus_secs(world.lease_secs.into());
                let attended = self.books.attend(&mut found, &ask, until, one.at, &mut NoTrace).unwrap();
                let decision = &attended.decision;
                if let Some(report) = &attended.seen {
                    self.books.note(report, None, one.at).unwrap();
                }
                self.taking.extend(attended.ends(world.grace_secs).map(|ends| (one.serial.clone(), ends)));
                self.seen.extend(attended.found.reported(&ask));
                Some(What::CheckIn {
                    version: version.clone(),
                    hardware: hardware.clone(),
                    status: decision.status(),
                    reason: decision.reason.name().to_owned(),
                    retry_after_secs: decision.retry_after_secs,
                    firmware: decision.firmware_offer().map(|offer| offer.firmware.version().text().to_owned()),
                })
            }
        }
    }

    /// What operators and the conductor do at that time, and who joins, in the order that the world's documentation says.
    fn between(&mut self, at_secs: u64, plan: &Plan, world: &World, joined: &mut u32) {
        let now = START.plus_secs(at_secs as i64);
        self.index.apply(&std::mem::take(&mut self.seen)).unwrap();
        for action in plan.actions.iter().filter(|action| action.at_secs == at_secs) {
            let _ = self.index.apply(&action.changes);
        }
        if !at_secs.is_multiple_of(world.tick_secs.into()) {
            return;
        }
        for joiners in &world.joiners {
            let due = |k: u32| {
                joiners.from_secs * 1_000 + joiners.over_secs * 1_000 * u64::from(k) / u64::from(joiners.devices)
            };
            while *joined < joiners.devices && due(*joined) <= at_secs * 1_000 {
                let device = DeviceSpec {
                    serial: (999_999_999_999_u64 - u64::from(*joined)).to_string(),
                    state: DeviceState::Verified,
                    group: joiners.group.clone(),
                    entered_at: now,
                    version: joiners.version.clone(),
                    ..DeviceSpec::default()
                };
                self.index.apply(&[Change::PutDevice { product: lamp(), device }]).unwrap();
                *joined += 1;
            }
        }
        let out = world.outages.iter().any(|out| (out.at_secs..out.at_secs + out.secs).contains(&at_secs));
        if !out {
            Conductor::new(&self.index, &self.books.ledger).advance(now).unwrap();
        }
    }
}

#[test]
fn every_check_in_of_drawn_worlds_is_told_the_same() {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    let (mut done, mut offered) = ([0_u64; 2], 0);
    for seed in 0..400 {
        let draw = &mut Draw(seed);
        let (index, plan, world) = (fleet(draw), plan(draw), world(draw));
        let simulation = Simulation::new(&index, &world, START).threads(1 + draw.below(3) as usize);
        let (course, happened) = simulation.recorded(&plan, seed).unwrap();
        let mut gateway = Gateway {
            index: index.fork(),
            books: Books::new(MemoryLedger::default(), 1_000),
            taking: HashMap::new(),
            seen: Vec::new(),
        };
        gateway.index.apply(&plan.changes).unwrap();
        let mut happened = happened.iter().peekable();
        let mut joined = 0;
        for at_secs in 0..world.lasts_secs {
            let acts = plan.actions.iter().any(|action| action.at_secs == at_secs);
            if at_secs.is_multiple_of(world.tick_secs.into()) || acts {
                gateway.between(at_secs, &plan, &world, &mut joined);
            }
            let end = START.plus_secs(at_secs as i64 + 1);
            while let Some(one) = happened.next_if(|one| one.at < end) {
                let told = gateway.told(one, &world);
                if let Some(told) = told {
                    assert_eq!(one.what, told, "seed {seed}: {} at {}", one.serial, one.at);
                    let What::CheckIn { reason, .. } = told else { unreachable!() };
                    *reasons.entry(reason).or_default() += 1;
                } else {
                    done[usize::from(one.what == What::Failed)] += 1;
                }
            }
        }
        assert!(happened.peek().is_none(), "seed {seed}: something came after the end");
        let counted: u64 = course.verdicts.values().sum();
        assert_eq!(counted, course.check_ins, "seed {seed}");
        // What operators read at the end is what the gateway has.
        for rollout in &course.rollouts {
            let held = gateway.index.snapshot();
            if let Some(now) = held.group("lamp", "stable").and_then(|group| group.rollout()) {
                let waves = now.spec().waves;
                let theirs: Vec<_> =
                    waves.iter().map(|wave| wave.opened.map(|opened| (opened.at, opened.counted))).collect();
                let ours: Vec<_> =
                    rollout.waves.iter().map(|wave| wave.opened_at.map(|at| (at, wave.counted))).collect();
                assert_eq!(ours, theirs, "seed {seed}");
            }
            let run = Run {
                product: lamp(),
                group: group(),
                rollout: rollout.rollout.clone(),
                started_at: rollout.started_at,
            };
            let theirs = gateway.books.ledger.statistics(&run, 0).unwrap();
            let mut ours = rollout.waves.iter().enumerate();
            assert!(ours.all(|(nth, wave)| wave.outcomes == theirs.wave(nth)), "seed {seed}: {theirs:?}");
            offered += rollout.waves.iter().map(|wave| wave.outcomes.devices()).sum::<u64>();
        }
    }
    assert!(offered > 2_000, "{offered}");
    for reason in
        ["serve", "current", "wave-not-open", "penalty", "rollout-paused", "downloads-full", "window-shut", "left"]
    {
        assert!(reasons.get(reason).is_some_and(|count| *count > 20), "{reason}: {reasons:?}");
    }
    assert!(done.iter().all(|count| *count > 300), "{done:?}");
}
