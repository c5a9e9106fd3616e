//! When a rollout moves, and when it must not.

use crate::fleets::*;
use crate::twin::draw::Draw;
use otagate::rollout::{
    ClaimAsk, Conductor, Ledger, MemoryLedger, MoveOutcome, Of, OfferAsk, Outcome, Outcomes, Report, Statistics, Step,
    Transition, step,
};
use otagate::*;

fn opened(counted: u64, threshold: Option<u64>) -> Option<Opened> {
    admitted(counted, counted, threshold)
}

fn admitted(counted: u64, newcomers: u64, threshold: Option<u64>) -> Option<Opened> {
    let (counted, newcomers, eligible) = (Some(counted), Some(newcomers), Some(counted));
    Some(Opened { at: at(0), threshold, counted, newcomers, eligible })
}

fn health(min_finished: Option<u32>, success_share_bps: Option<u16>, soak_secs: Option<u32>) -> Gate {
    Gate { opens_at: None, min_finished, success_share_bps, soak_secs }
}

fn built(spec: &RolloutSpec) -> Rollout {
    build(&fleet(groups(spec.clone()), vec![]))
        .product(PRODUCT)
        .unwrap()
        .group(GROUP)
        .unwrap()
        .rollout()
        .unwrap()
        .clone()
}

/// All at one outcome of one wave, recent where that matters.
fn all_at(wave: usize, outcome: Outcome, devices: u64) -> Statistics {
    let mut statistics = Statistics { waves: vec![Outcomes::default(); wave + 1], ..Default::default() };
    *statistics.waves[wave].at_mut(outcome) = devices;
    if outcome != Outcome::Offered {
        *statistics.recent.at_mut(outcome) = devices;
    }
    statistics
}

const TIMES: [i64; 6] = [-1, 0, 1, 59, 3_600, 100_000_000];

#[test]
fn nothing_of_nothing_opens_nothing() {
    let gates = [
        health(Some(0), None, None),
        health(Some(1), None, None),
        health(None, Some(0), None),
        health(None, Some(10_000), None),
        health(None, None, Some(0)),
        health(Some(0), Some(0), Some(0)),
        Gate { opens_at: Some(at(0)), ..health(Some(0), None, None) },
    ];
    for gate in gates {
        let waves = vec![Wave { opened: opened(10, Some(7)), ..first(10) }, Wave { gate, ..all() }];
        let open = built(&running("r7", waves.clone()));
        let ended = vec![Wave { opened: opened(10, Some(7)), ..first(10) }];
        let complete = built(&RolloutSpec { complete: gate, ..running("r7", ended) });
        let rollouts = [open, complete];
        for secs in TIMES {
            for rollout in &rollouts {
                let unfinished =
                    [Statistics::default(), all_at(0, Outcome::Offered, 10), all_at(0, Outcome::Downloaded, 10)];
                for statistics in unfinished {
                    let step = step(rollout, &statistics, at(secs));
                    assert_eq!(step.transition, None, "{gate:?} after {secs} s by {statistics:?}");
                    assert_eq!(step.progress.and_then(|progress| progress.good_since), None, "{gate:?}");
                }
            }
        }
        // One that has finished does, where the gate asks for no more.
        let one = all_at(0, Outcome::Installed, 1);
        assert!(step(&rollouts[0], &one, at(1)).transition.is_some(), "{gate:?}");
    }
    let halt = Halt { failures: Some(1), failure_share_bps: Some(0), min_finished: None };
    let waves = vec![Wave { opened: opened(10, Some(7)), ..first(10) }, all()];
    let halting = built(&RolloutSpec { halt, ..running("r7", waves) });
    assert_eq!(step(&halting, &Statistics::default(), at(9)).transition, None);
}

#[test]
fn an_empty_canary_never_passes() {
    let gate = health(None, Some(0), None);
    let waves = vec![first(10), Wave { gate, ..first(20) }, Wave { gate, ..all() }];
    // Nobody is counted: all are pinned.
    let pinned = devices(30).into_iter().map(|device| DeviceSpec { pin: Some("1.0.0".into()), ..device }).collect();
    let index = Index::new(&build(&fleet(groups(running("r7", waves)), pinned)));
    let ledger = MemoryLedger::default();
    let conductor = Conductor::new(&index, &ledger);
    let moved = conductor.advance(at(0)).unwrap();
    let empty = Opened { at: at(0), threshold: None, counted: Some(0), newcomers: Some(0), eligible: Some(0) };
    assert!(
        matches!(&moved[..], [one] if matches!(one.outcome, MoveOutcome::Done(_, Some(opened)) if opened == empty)),
        "{moved:?}"
    );
    let free = |number| Change::PinDevice { product: product(), serial: serial(number), firmware: None };
    for secs in TIMES {
        assert_eq!(conductor.advance(at(secs)).unwrap(), [], "after {secs} s");
    }
    // Who is free later is not in either: nobody was counted, so there is no threshold.
    index.apply(&[free(1), free(2)]).unwrap();
    assert_eq!(granted(&index).len(), 0);
    assert_eq!(conductor.advance(at(60)).unwrap(), []);
}

#[test]
fn a_wave_that_adds_nobody_passes_by_an_earlier_one() {
    let gate = health(Some(3), Some(9_000), None);
    let wave = |n, newcomers, threshold| Wave { gate, opened: admitted(5, newcomers, threshold), ..first(n) };
    let of = |opened: Vec<Wave>| {
        let waves = opened.into_iter().chain([Wave { gate, ..all() }]).collect();
        built(&running("r7", waves))
    };
    let good = |wave| all_at(wave, Outcome::Installed, 3);
    let opens = |rollout: &Rollout, statistics: &Statistics| step(rollout, statistics, at(9)).transition.is_some();
    let adds_nobody = of(vec![wave(10, 5, Some(7)), wave(20, 0, Some(7))]);
    assert!(opens(&adds_nobody, &good(0)));
    assert!(!opens(&adds_nobody, &all_at(0, Outcome::Installed, 2)));
    assert!(!opens(&adds_nobody, &all_at(0, Outcome::Failed, 3)));
    // One that did is judged by its own.
    let adds = of(vec![wave(10, 5, Some(7)), wave(20, 4, Some(8))]);
    assert!(!opens(&adds, &good(0)));
    assert!(opens(&adds, &good(1)));
    let both_empty = of(vec![wave(10, 0, None), wave(20, 0, None)]);
    assert!(!opens(&both_empty, &Statistics::default()));
}

#[test]
fn what_does_not_run_does_not_move() {
    let gate = Gate { opens_at: Some(at(0)), ..Default::default() };
    let halt = Halt { failures: Some(1), ..Default::default() };
    let paused = |cut| RolloutState::Paused { cut, why: String::new() };
    let states = [RolloutState::Draft, paused(false), paused(true), RolloutState::Completed, RolloutState::Aborted];
    for state in states {
        for first_opened in [None, opened(10, Some(7))] {
            let draft = state == RolloutState::Draft;
            let waves = vec![Wave { opened: first_opened.filter(|_| !draft), ..first(10) }, Wave { gate, ..all() }];
            let rollout = built(&RolloutSpec { state: state.clone(), halt, complete: gate, ..running("r7", waves) });
            for outcome in Outcome::ALL {
                for secs in TIMES {
                    let step = step(&rollout, &all_at(0, outcome, 1_000), at(secs));
                    assert_eq!(step, Step::default(), "{state:?}, {outcome:?}");
                }
            }
        }
    }
}

/// A clock that jumps about never opens a gate before it has been good for so long, by the clock of that time.
#[test]
fn a_clock_that_is_set_back_soaks_anew() {
    let soak = 60;
    let gate = health(Some(2), Some(5_000), Some(soak));
    let waves = vec![Wave { opened: opened(10, Some(7)), ..first(10) }, Wave { gate, ..all() }];
    let (mut opened_at_last, mut set_back) = (0, 0);
    for seed in 0..400 {
        let draw = &mut Draw(seed);
        let mut spec = running("r7", waves.clone());
        let (mut since, mut now) = (None::<i64>, 0_i64);
        for look in 0..60 {
            let jump = if draw.once_in(8) { -(draw.below(90_000) as i64) } else { draw.below(20_000) as i64 };
            now += jump;
            let mut statistics = all_at(0, Outcome::Installed, 3);
            if draw.once_in(20) {
                statistics.waves[0].failed = 4;
            }
            let time = Timestamp::from_millis(at(0).millis() + now);
            let Step { progress, transition } = step(&built(&spec), &statistics, time);
            let good = statistics.waves[0].failed == 0;
            set_back += u32::from(good && since.is_some_and(|since| since > now));
            since = good.then(|| since.filter(|since| *since <= now).unwrap_or(now));
            let millis = |since: i64| Timestamp::from_millis(at(0).millis() + since);
            assert_eq!(progress.unwrap().good_since, since.map(millis), "seed {seed}, look {look}");
            let soaked = since.is_some_and(|since| now - since >= i64::from(soak) * 1_000);
            assert_eq!(transition.is_some(), soaked, "seed {seed}, look {look}");
            if soaked {
                opened_at_last += 1;
                break;
            }
            spec.progress = progress;
        }
    }
    assert!(opened_at_last > 200 && set_back > 50, "{opened_at_last} opened, {set_back} set back");
}

/// Devices that were offered the target, each in a wave, and what is said of them.
pub(crate) struct Told<'l> {
    pub(crate) ledger: &'l MemoryLedger,
    pub(crate) run: Run,
}

impl Told<'_> {
    pub(crate) fn of(ledger: &MemoryLedger) -> Told<'_> {
        let run = Run { product: product(), group: group(), rollout: name("r7"), started_at: at(0) };
        Told { ledger, run }
    }

    pub(crate) fn offered(&self, serial: &str, wave: u32) -> u32 {
        self.offered_at(serial, wave, at(0))
    }

    pub(crate) fn offered_at(&self, serial: &str, wave: u32, now: Timestamp) -> u32 {
        let of = Of { product: &self.run.product, group: &self.run.group, serial, run: Some(&self.run) };
        let offer = Some(OfferAsk { wave, hop: TARGET, slots_max: None, missing: None, after: None });
        let ask = ClaimAsk { of, offer, downloads_max: None, until: now.plus_secs(60) };
        self.ledger.claim(&ask, now).unwrap().unwrap().attempt.unwrap()
    }

    pub(crate) fn report(&self, serial: &str, outcome: Outcome, resumes: u32) -> Report {
        let run = self.run.clone();
        let penalty = Penalty::default();
        Report { run, serial: serial.into(), attempt: None, outcome, resumes, penalty, grace_secs: 60 }
    }

    pub(crate) fn note(&self, serial: &str, outcome: Outcome, resumes: u32) {
        self.ledger.note(&self.report(serial, outcome, resumes), at(1)).unwrap();
    }
}

#[test]
fn late_failures_of_an_early_wave_halt() {
    let gate = Gate { opens_at: Some(at(0)), ..Default::default() };
    let wave = |wave: Wave| Wave { gate, ..wave };
    let halt = Halt { failures: Some(3), ..Default::default() };
    let spec = RolloutSpec { halt, ..running("r7", vec![wave(first(5)), wave(first(10)), wave(first(15)), all()]) };
    let index = Index::new(&build(&fleet(groups(spec), devices(40))));
    let ledger = MemoryLedger::default();
    let (told, conductor) = (Told::of(&ledger), Conductor::new(&index, &ledger));
    assert_eq!(conductor.advance(at(0)).unwrap().len(), 3);
    for (wave, number) in (0..3).flat_map(|wave| (0..5).map(move |at| (wave, 5 * wave as usize + at))) {
        told.offered(&serial(number), wave);
    }
    told.note(&serial(0), Outcome::Failed, 0);
    told.note(&serial(11), Outcome::Missing, 0);
    assert_eq!(conductor.advance(at(1)).unwrap(), []);
    told.note(&serial(1), Outcome::Installed, 0);
    assert_eq!(conductor.advance(at(1)).unwrap(), []);
    told.note(&serial(2), Outcome::Failed, 0);
    let moved = conductor.advance(at(1)).unwrap();
    assert!(
        matches!(moved[..], [ref one] if one.transition == Transition::Halt { failed: 3, finished: 4 }),
        "{moved:?}"
    );
    assert_eq!(conductor.advance(at(2)).unwrap(), [], "it is paused");
}

#[test]
fn resuming_starts_the_failures_anew() {
    let halt = Halt { failures: Some(2), failure_share_bps: Some(5_000), min_finished: Some(3) };
    let spec = RolloutSpec { halt, ..running("r7", vec![first(20), all()]) };
    let index = Index::new(&build(&fleet(groups(spec), devices(40))));
    let ledger = MemoryLedger::default();
    let (told, conductor) = (Told::of(&ledger), Conductor::new(&index, &ledger));
    conductor.advance(at(0)).unwrap();
    (0..20).for_each(|number| assert_eq!(told.offered(&serial(number), 0), 1));
    let halted = |secs| {
        let moved = conductor.advance(at(secs)).unwrap();
        moved.iter().any(|moved| matches!(moved.transition, Transition::Halt { .. }))
    };
    let resume =
        || index.apply(&[Change::ResumeRollout { product: product(), group: group(), rollout: name("r7") }]).unwrap();
    for resumes in 0..3 {
        let number = 5 * resumes as usize;
        told.note(&serial(number), Outcome::Failed, resumes);
        assert!(!halted(1), "{resumes}: one is not two");
        // Who did not know of the last time reports late.
        if resumes > 0 {
            told.note(&serial(number + 1), Outcome::Failed, resumes - 1);
            assert!(!halted(1), "{resumes}: it came about before");
        }
        told.note(&serial(number), Outcome::Failed, resumes);
        assert!(!halted(1), "{resumes}: the same once more");
        told.note(&serial(number + 2), Outcome::Failed, resumes);
        assert!(halted(1), "{resumes}: two");
        assert!(!halted(2), "{resumes}: it is paused");
        resume();
        assert!(!halted(3), "{resumes}: they are forgiven");
    }
    // Nothing is forgotten of the wave itself.
    assert_eq!(ledger.statistics(&told.run, 3).unwrap().wave(0).failed, 8);
}
