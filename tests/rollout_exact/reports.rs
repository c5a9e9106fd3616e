//! Reports come late, twice and in any order, and count once.

use crate::fleets::*;
use crate::steps::Told;
use crate::twin::draw::Draw;
use otagate::rollout::{Conductor, Ledger, LedgerRows, MemoryLedger, Noted, Outcome, Report, Statistics, Step, step};
use otagate::*;

/// Every order of a list, by Heap's way.
fn orders<T: Clone>(list: &[T], look: &mut impl FnMut(&[T])) {
    fn of<T>(list: &mut [T], len: usize, look: &mut impl FnMut(&[T])) {
        if len < 2 {
            return look(list);
        }
        for at in 0..len {
            of(list, len - 1, look);
            list.swap(if len.is_multiple_of(2) { at } else { 0 }, len - 1);
        }
    }
    let mut list = list.to_vec();
    let len = list.len();
    of(&mut list, len, look);
}

#[test]
fn there_are_as_many_orders_as_there_should_be() {
    let mut met = std::collections::BTreeSet::new();
    orders(&[1, 2, 3, 4, 5], &mut |order| {
        met.insert(order.to_vec());
    });
    assert_eq!(met.len(), 120);
}

fn foreign_run(run: &Run) -> Run {
    Run { started_at: at(-5), ..run.clone() }
}

/// Three devices in two waves, one of them at its second attempt.
fn offers() -> LedgerRows {
    let ledger = MemoryLedger::default();
    let told = Told::of(&ledger);
    told.offered("one", 0);
    told.offered("two", 0);
    told.offered("three", 1);
    // A minute later its claim has lapsed.
    assert_eq!(told.offered_at("two", 1, at(100)), 2);
    ledger.rows()
}

/// The step at a set of times, of a rollout whose gate and halt are near.
fn steps(statistics: &Statistics) -> Vec<Step> {
    let gate = Gate { min_finished: Some(2), success_share_bps: Some(5_000), soak_secs: Some(10), opens_at: None };
    let opened = |counted, rank| {
        Some(Opened {
            at: at(0),
            threshold: Some(rank),
            counted: Some(counted),
            newcomers: Some(counted),
            eligible: Some(9),
        })
    };
    let waves = vec![Wave { opened: opened(2, 5), ..first(2) }, Wave { gate, ..all() }];
    let good_since = |secs| Progress { good_since: Some(at(secs)), ..Default::default() };
    let halts = [Halt::default(), Halt { failures: Some(2), ..Default::default() }];
    let mut steps = Vec::new();
    for halt in halts {
        for progress in [None, Some(good_since(0))] {
            let spec = RolloutSpec { halt, progress, ..running("r7", waves.clone()) };
            let fleet = build(&fleet(groups(spec), vec![]));
            let rollout = fleet.product(PRODUCT).unwrap().group(GROUP).unwrap().rollout().unwrap();
            steps.extend([0, 9, 10, 1_000].map(|secs| step(rollout, statistics, at(secs))));
        }
    }
    steps
}

#[test]
fn every_order_of_seven_reports_is_one_account() {
    use Outcome::{Confirmed, Downloaded, Failed, Installed, Missing, Offered};
    let rows = offers();
    let ledger = MemoryLedger::of_rows(rows.clone()).unwrap();
    let told = Told::of(&ledger);
    let now = |serial, outcome, resumes| told.report(serial, outcome, resumes);
    let of = |number: u32, report: Report| report.of_attempt(number);
    let foreign = |report: Report| Report { run: foreign_run(&report.run), ..report };
    // Of seven each: what is said, with doubles, late ones of the first attempt, and what is about nobody.
    let sets = [
        vec![
            now("one", Downloaded, 0),
            now("one", Installed, 0),
            now("one", Confirmed, 0),
            now("one", Failed, 0),
            now("one", Missing, 0),
            now("one", Offered, 0),
            now("one", Failed, 0),
        ],
        vec![
            now("one", Installed, 0),
            now("one", Installed, 0),
            of(1, now("two", Failed, 0)),
            of(1, now("two", Confirmed, 0)),
            of(2, now("two", Downloaded, 0)),
            of(3, now("two", Failed, 0)),
            of(0, now("two", Failed, 0)),
        ],
        vec![
            now("one", Failed, 2),
            now("one", Failed, 1),
            now("two", Missing, 1),
            now("two", Installed, 0),
            now("four", Failed, 0),
            foreign(now("one", Confirmed, 0)),
            now("three", Installed, 3),
        ],
        vec![
            now("two", Missing, 1),
            now("two", Missing, 0),
            now("two", Missing, 1),
            of(1, now("two", Failed, 1)),
            now("three", Confirmed, 0),
            now("three", Downloaded, 1),
            now("three", Installed, 1),
        ],
    ];
    for (number, reports) in sets.iter().enumerate() {
        assert_eq!(reports.len(), 7);
        let account = |order: &[Report]| {
            let ledger = MemoryLedger::of_rows(rows.clone()).unwrap();
            order.iter().for_each(|report| {
                ledger.note(report, at(1)).unwrap();
            });
            [0, 1, 2, 3].map(|resumes| ledger.statistics(&told.run, resumes).unwrap())
        };
        let expected = account(reports);
        let steps_expected = expected.each_ref().map(steps);
        assert_eq!(expected[0].total().devices(), 3, "set {number}: each device once");
        let mut met = 0;
        orders(reports, &mut |order| {
            let got = account(order);
            assert_eq!(got, expected, "set {number}: {order:#?}");
            // Equal statistics make equal steps: asked now and then all the same.
            if met % 97 == 0 {
                assert_eq!(got.each_ref().map(steps), steps_expected, "set {number}");
            }
            met += 1;
        });
        assert_eq!(met, 5_040);
    }
    // What it says is what R9 says.
    let last = |set: usize| {
        let ledger = MemoryLedger::of_rows(rows.clone()).unwrap();
        sets[set].iter().for_each(|report| {
            ledger.note(report, at(1)).unwrap();
        });
        ledger.statistics(&told.run, 0).unwrap()
    };
    assert_eq!((last(0).wave(0).failed, last(0).wave(0).offered, last(0).wave(1).offered), (1, 1, 1));
    assert_eq!((last(1).wave(0).installed, last(1).wave(0).downloaded, last(1).recent.failures()), (1, 1, 0));
    assert_eq!((last(2).wave(0).failed, last(2).wave(0).installed, last(2).wave(1).installed), (1, 1, 1));
    assert_eq!((last(3).wave(0).missing, last(3).wave(1).confirmed), (1, 1));
}

#[test]
fn random_floods_in_any_order_are_one_account() {
    for seed in 0..300 {
        let draw = &mut Draw(seed);
        let rows = offers();
        let run = Told::of(&MemoryLedger::default()).run;
        let mut reports: Vec<Report> = (0..40)
            .map(|_| {
                let ledger = MemoryLedger::default();
                let serial = draw.of(&["one", "two", "two", "three", "four"]);
                let report = Told::of(&ledger).report(serial, draw.of(&Outcome::ALL), draw.below(3) as u32);
                let attempt = draw.some(2, |draw| draw.below(4) as u32);
                Report { attempt, run: if draw.once_in(9) { foreign_run(&run) } else { run.clone() }, ..report }
            })
            .collect();
        let mut account = || {
            let ledger = MemoryLedger::of_rows(rows.clone()).unwrap();
            reports.iter().for_each(|report| {
                ledger.note(report, at(draw.below(1_000) as i64)).unwrap();
            });
            shuffle(draw, &mut reports);
            [0, 1, 2].map(|resumes| ledger.statistics(&run, resumes).unwrap())
        };
        let expected = account();
        (0..5).for_each(|_| assert_eq!(account(), expected, "seed {seed}"));
        assert_eq!(expected[0].total().devices(), 3, "seed {seed}");
    }
}

#[test]
fn ten_thousand_reports_of_one_device_move_nothing() {
    let gate = Gate { min_finished: Some(2), ..Default::default() };
    let halt = Halt { failures: Some(2), ..Default::default() };
    let waves = vec![first(20), Wave { gate, ..first(30) }, Wave { gate, ..all() }];
    let spec = RolloutSpec { halt, ..running("r7", waves) };
    let index = Index::new(&build(&fleet(groups(spec), devices(40))));
    let ledger = MemoryLedger::default();
    let (told, conductor) = (Told::of(&ledger), Conductor::new(&index, &ledger));
    assert_eq!(conductor.advance(at(0)).unwrap().len(), 1);
    told.offered("other", 0);
    let mut number = told.offered("one", 0);
    let draw = &mut Draw(1);
    let (mut moved, mut attempts) = (0, 1);
    for at_secs in 0..10_000 {
        // It also asks again and again, after it failed.
        if draw.once_in(10) {
            number = told.offered_at("one", draw.below(2) as u32, at(100 * at_secs));
            attempts = attempts.max(number);
        }
        let attempt = draw.some(2, |draw| 1 + draw.below(u64::from(number)) as u32);
        let report = Report { attempt, ..told.report("one", draw.of(&Outcome::ALL), 0) };
        moved += u32::from(ledger.note(&report, at(100 * at_secs)).unwrap() == Noted::Moved);
        if at_secs % 100 == 0 {
            assert_eq!(conductor.advance(at(100 * at_secs)).unwrap(), [], "after {at_secs}");
        }
    }
    assert!(moved > 1_000 && attempts > 100, "{moved} moved, {attempts} attempts");
    let statistics = ledger.statistics(&told.run, 0).unwrap();
    assert_eq!((statistics.total().devices(), statistics.wave(0).devices()), (2, 2));
    // Another device does.
    told.note("one", Outcome::Installed, 0);
    told.note("other", Outcome::Failed, 0);
    assert_eq!(conductor.advance(at(2_000_000)).unwrap().len(), 1);
}
