//! What an operator is told about a device that waits (V6): what opens the next wave, how far that is, and the place of the device in it.

use otagate::rollout::{Outcomes, RolloutStore, Statistics, Transition, step};
use otagate::store::{StandingRecord, Store, fetch};
use otagate::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000); // 2026-11-23T10:00:00Z

fn spec(change: impl FnOnce(&mut RolloutSpec)) -> FleetSpec {
    let gate = Gate { min_finished: Some(8), soak_secs: Some(86_400), ..Gate::default() };
    let waves = vec![
        Wave::new(WaveSize::First(10)),
        Wave { gate, ..Wave::new(WaveSize::First(300)) },
        Wave::new(WaveSize::All),
    ];
    let mut rollout = RolloutSpec {
        state: RolloutState::Running,
        started_at: Some(NOW.plus_secs(-10 * 86_400)),
        ..RolloutSpec::new("r7", TargetSpec::Firmware("2.0.0".into()), waves)
    };
    change(&mut rollout);
    let firmware = |version: &str| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 9,
            digests: Digests::blake3_of(version.as_bytes()),
            locator: version.into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let device = |unit: u32| DeviceSpec {
        serial: format!("unit-{unit}"),
        state: DeviceState::Verified,
        group: "stable".into(),
        ..Default::default()
    };
    FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: "lamp".into(),
                keys: vec![ApiKey::new(KeyHash::of(b"k").unwrap())],
                ..Default::default()
            },
            firmware: vec![firmware("1.0.0"), firmware("2.0.0")],
            groups: vec![GroupSpec {
                id: "stable".into(),
                firmware: Some("1.0.0".into()),
                rollout: Some(rollout),
                ..Default::default()
            }],
            devices: (0..1_000).map(device).collect(),
        }],
    }
}

/// The fleet with its first wave opened by a census, and these statistics of its gate.
fn opened(progress: Option<Progress>, change: impl FnOnce(&mut RolloutSpec)) -> Index {
    let index = Index::new(&spec(change).build().unwrap());
    let (product, group) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
    let rollout = RolloutId::new("r7").unwrap();
    let census = index.snapshot().census("lamp", "stable", 0).unwrap();
    let (wave, opened) = (0, census.opened(NOW.plus_secs(-7_200)));
    let opens =
        Change::OpenWave { product: product.clone(), group: group.clone(), rollout: rollout.clone(), wave, opened };
    index.apply(&[opens]).unwrap();
    if let Some(progress) = progress {
        index.apply(&[Change::SetProgress { product, group, rollout, was: None, progress }]).unwrap();
    }
    index
}

/// What is told of the device that has this place by its census.
fn told(index: &Index, place: usize) -> Option<String> {
    let snapshot = index.snapshot();
    let group = snapshot.group("lamp", "stable").unwrap();
    let rollout = group.rollout().unwrap();
    let mut serials: Vec<String> = (0..1_000).map(|unit| format!("unit-{unit}")).collect();
    serials.sort_by_key(|serial| rollout.rank_of("lamp", serial));
    let serial = &serials[place - 1];
    let ask = CheckIn { version: b"1.0.0", ..CheckIn::new(b"k", serial.as_bytes()) };
    let view = index.view().unwrap();
    let mut found = fetch(&view, &ask).unwrap();
    let next = rollout.next_wave();
    let product = ProductId::new("lamp").unwrap();
    let place = next.and_then(|next| index.place(&product, group, next, serial).unwrap());
    found.lend_standing(StandingRecord { place, ..StandingRecord::default() });
    let mut trace = Recorder::default();
    decide(&found.facts(), &ask, NOW, &mut trace);
    trace.eligible().map(str::to_owned)
}

const SIX: Progress = Progress { wave: 0, offered: 9, finished: 6, succeeded: 6, good_since: None };

/// The sentence of the promise: which wave, which place, what opens it, and how far that is.
#[test]
fn a_waiting_operator_is_told_what_opens_the_wave_and_how_far_that_is() {
    assert_eq!(
        told(&opened(Some(SIX), |_| ()), 187).unwrap(),
        "wave 2 of 3 admits the first 300; the device has place 187 by its census; it opens when 8 of the 10 of wave 1 have finished \
         and that has been so for 24 h: now 6 have, 6 of them installed, for 0 h"
    );
    let good = Progress { finished: 8, succeeded: 8, good_since: Some(NOW.plus_secs(-3 * 3_600 - 59)), ..SIX };
    let told_good = told(&opened(Some(good), |_| ()), 300).unwrap();
    assert!(told_good.contains("place 300 by its census"), "{told_good}");
    assert!(told_good.ends_with("now 8 have, 8 of them installed, for 3 h"), "{told_good}");
    assert_eq!(told(&opened(Some(SIX), |_| ()), 10), None, "who is in waits for nothing");
}

#[test]
fn every_condition_is_told_and_no_other() {
    let gate = |gate: Gate| move |rollout: &mut RolloutSpec| rollout.waves[1].gate = gate;
    let at = NOW.plus_secs(90);
    for (conditions, expected) in [
        (Gate::default(), "the next wave opens by the operator's hand"),
        (
            Gate { opens_at: Some(at), ..Gate::default() },
            "it opens when it is 2026-11-23T10:01:30Z: now it is 2026-11-23T10:00:00Z",
        ),
        (
            Gate { success_share_bps: Some(9_550), ..Gate::default() },
            "it opens when 1 of the 10 of wave 1 have finished and 95.50 % of these are installed: now 6 have, 6 of them installed",
        ),
        (
            Gate { soak_secs: Some(90), ..Gate::default() },
            "it opens when 1 of the 10 of wave 1 have finished and that has been so for 90 s: now 6 have, 6 of them installed, for 0 s",
        ),
        (
            Gate { opens_at: Some(at), min_finished: Some(3), soak_secs: Some(600), ..Gate::default() },
            "it opens when it is 2026-11-23T10:01:30Z and 3 of the 10 of wave 1 have finished and that has been so for 10 min: \
             now it is 2026-11-23T10:00:00Z, 6 have, 6 of them installed, for 0 min",
        ),
    ] {
        let told = told(&opened(Some(SIX), gate(conditions)), 11).unwrap();
        assert_eq!(
            told,
            format!("wave 2 of 3 admits the first 300; the device has place 11 by its census; {expected}")
        );
    }
}

#[test]
fn who_waits_for_another_reason_is_told_that() {
    let state = |index: Index, change: fn(ProductId, GroupId, RolloutId) -> Change| {
        let names = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap(), RolloutId::new("r7").unwrap());
        index.apply(&[change(names.0, names.1, names.2)]).unwrap();
        index
    };
    let paused = state(opened(Some(SIX), |_| ()), |product, group, rollout| Change::PauseRollout {
        product,
        group,
        rollout,
        cut: false,
        why: "halted: 3 failed of 9 that have finished".into(),
    });
    let told_paused = told(&paused, 400).unwrap();
    let start = "the rollout is paused (halted: 3 failed of 9 that have finished); wave 2 of 3 admits the first 300; the device has place 400 by its census; ";
    assert!(told_paused.starts_with(start), "{told_paused}");

    // Beyond the last wave nothing opens any more.
    let last = opened(None, |rollout| rollout.waves.truncate(1));
    assert_eq!(told(&last, 11).unwrap(), "every wave is open, and its rank is beyond the last");

    let late = opened(Some(SIX), |rollout| {
        rollout.late = Late::Tail;
        rollout.started_at = Some(Timestamp::from_millis(-1));
    });
    let told_late = told(&late, 11);
    assert_eq!(
        told_late.unwrap(),
        "wave 3 of 3 admits everybody; the device joined late and is kept for the last wave; wave 2 opens before it; it opens when 8 of the 0 of wave 1 have \
         finished and that has been so for 24 h: now 6 have, 6 of them installed, for 0 h"
    );

    let first_come = opened(Some(SIX), |rollout| rollout.admission = Admission::FirstCome);
    let view = first_come.view().unwrap();
    let ask = CheckIn { version: b"1.0.0", ..CheckIn::new(b"k", b"unit-1") };
    let mut found = fetch(&view, &ask).unwrap();
    found.lend_standing(StandingRecord { slots_taken: 10, ..StandingRecord::default() });
    let mut trace = Recorder::default();
    assert_eq!(decide(&found.facts(), &ask, NOW, &mut trace).reason, Reason::WaveNotOpen);
    assert!(
        trace.eligible().unwrap().starts_with("wave 2 of 3 admits the first 300 that come; it opens when 8 of the 10")
    );
}

/// The conditions that are told are those that open the wave: once "now" is what is asked, it opens, and not a moment before.
#[test]
fn what_is_told_is_what_opens_it() {
    for (finished, since, opens) in [(7, 86_400, false), (8, 86_399, false), (8, 86_400, true), (10, 90_000, true)] {
        let good_since = (finished >= 8).then(|| NOW.plus_secs(-since));
        let index = opened(Some(Progress { finished, succeeded: finished, good_since, ..SIX }), |_| ());
        let snapshot = index.snapshot();
        let rollout = snapshot.group("lamp", "stable").unwrap().rollout().unwrap();
        let counts = Outcomes { installed: finished.into(), offered: 10 - u64::from(finished), ..Outcomes::default() };
        let statistics = Statistics { waves: vec![counts], recent: Outcomes::default() };
        let transition = step(rollout, &statistics, NOW).transition;
        assert_eq!(matches!(transition, Some(Transition::OpenWave { wave: 1, .. })), opens, "{finished} {since}");
        let told = told(&index, 11).unwrap();
        let hours = if finished >= 8 { since / 3_600 } else { 0 };
        assert!(told.ends_with(&format!("now {finished} have, {finished} of them installed, for {hours} h")), "{told}");
    }
}

/// A wave that adds nobody is not judged, and is not told of as if it were.
#[test]
fn the_wave_that_is_judged_is_told() {
    let index = opened(None, |rollout| {
        rollout.waves[0].size = WaveSize::First(10);
        rollout.waves[1] = Wave::new(WaveSize::ShareBps(100));
        rollout.waves[2].gate = Gate { min_finished: Some(8), ..Gate::default() };
    });
    let (product, group) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
    let rollout = RolloutId::new("r7").unwrap();
    let opened = index.snapshot().census("lamp", "stable", 1).unwrap().opened(NOW);
    assert_eq!(opened.newcomers, Some(0));
    let opens =
        Change::OpenWave { product: product.clone(), group: group.clone(), rollout: rollout.clone(), wave: 1, opened };
    index.apply(&[opens, Change::SetProgress { product, group, rollout, was: None, progress: SIX }]).unwrap();
    let told = told(&index, 11).unwrap();
    assert!(
        told.ends_with("it opens when 8 of the 10 of wave 1 have finished: now 6 have, 6 of them installed"),
        "{told}"
    );
}

/// A clock that was set back: nothing has been good for less than no time.
#[test]
fn what_is_good_since_a_time_to_come_soaks_for_nothing() {
    let good = Progress { finished: 8, succeeded: 8, good_since: Some(NOW.plus_secs(7_200)), ..SIX };
    let told = told(&opened(Some(good), |_| ()), 11).unwrap();
    assert!(told.ends_with("for 0 h"), "{told}");
}

/// A wave that added nobody is judged as soon as somebody was let in late; how long another wave was good is nothing to it.
#[test]
fn another_wave_that_is_judged_soaks_anew() {
    let at = NOW.plus_secs(-86_400);
    let index = Index::new(
        &spec(|rollout| {
            let opened = |newcomers| Opened { at, threshold: Some(9), counted: Some(1), newcomers, eligible: Some(9) };
            rollout.waves[0].opened = Some(opened(Some(1)));
            rollout.waves[1].opened = Some(opened(Some(0)));
            rollout.waves[2].gate = Gate { soak_secs: Some(60), ..Gate::default() };
            rollout.progress = Some(Progress { wave: 0, offered: 1, finished: 1, succeeded: 1, good_since: Some(at) });
        })
        .build()
        .unwrap(),
    );
    let snapshot = index.snapshot();
    let rollout = snapshot.group("lamp", "stable").unwrap().rollout().unwrap();
    let one = Outcomes { installed: 1, ..Outcomes::default() };
    let of = |waves| step(rollout, &Statistics { waves, recent: Outcomes::default() }, NOW);
    assert!(matches!(of(vec![one]).transition, Some(Transition::OpenWave { wave: 2, .. })));
    let late = of(vec![one, one]);
    assert_eq!((late.transition, late.progress.unwrap().good_since), (None, Some(NOW)));
}
