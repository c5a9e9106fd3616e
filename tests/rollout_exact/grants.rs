//! What was granted stays granted, whoever comes and goes.

use crate::fleets::*;
use crate::twin::draw::Draw;
use otagate::rollout::{Conductor, MoveOutcome, NoLedger, RolloutStore};
use otagate::*;
use std::collections::BTreeSet;
use std::convert::Infallible;

fn open_next(index: &Index) -> (usize, Census) {
    let snapshot = index.snapshot();
    let rollout = snapshot.group(PRODUCT, GROUP).unwrap().rollout().unwrap();
    let (wave, id) = (rollout.next_wave().unwrap(), rollout.id().clone());
    let census = snapshot.census(PRODUCT, GROUP, wave).unwrap();
    let opened = census.opened(at(1));
    index.apply(&[Change::OpenWave { product: product(), group: group(), rollout: id, wave, opened }]).unwrap();
    (wave, census)
}

/// Something that happens to other devices.
fn happening(draw: &mut Draw, number: usize) -> Change {
    let (product, serial, now) = (product(), serial(number), at(10));
    let to = |group: &str| GroupId::new(group).unwrap();
    match draw.below(7) {
        0 | 1 => Change::PutDevice { product, device: DeviceSpec { serial, entered_at: now, ..device("") } },
        2 => Change::MoveDevice { product, serial, group: to(GROUP), at: now },
        3 => Change::MoveDevice { product, serial, group: to("other"), at: now },
        4 => Change::RemoveDevice { product, serial },
        5 => Change::SetDeviceState { product, serial, state: draw.of(&[DeviceState::Blocked, DeviceState::Verified]) },
        _ => Change::SeeDevice { product, serial, version: Some(TARGET.into()), hardware: None },
    }
}

#[test]
fn joiners_and_leavers_push_nobody_out() {
    let (mut let_in, mut left_out) = (0, 0);
    for seed in 0..60 {
        let draw = &mut Draw(seed);
        let waves = draw.of(&[vec![first(10), first(12), all()], vec![share(2_500), first(20), all()]]);
        let late = draw.of(&[Late::Open, Late::Tail]);
        let spec = fleet(groups(RolloutSpec { late, ..running("r7", waves.clone()) }), devices(40));
        let index = Index::new(&build(&spec));
        for _ in &waves {
            let (wave, census) = open_next(&index);
            let last = wave + 1 == waves.len();
            let mut untouched = granted(&index);
            for _ in 0..25 {
                let number = draw.below(80) as usize;
                // Some are no change: the device is not there.
                let _ = index.apply(&[happening(draw, number)]);
                untouched.remove(&serial(number));
                let now = granted(&index);
                assert!(untouched.is_subset(&now), "seed {seed}, wave {wave}: one was pushed out");
                // Whoever came is in by its own rank, or waits.
                let snapshot = index.snapshot();
                let Some(device) = snapshot.device(PRODUCT, &serial(number)) else { continue };
                if device.group().as_str() == GROUP && device.state() == DeviceState::Verified {
                    let kept = late == Late::Tail && device.entered_at() > at(0) && !last;
                    let rank = rank_of(&spec, device.serial());
                    let expected = !kept && (last || census.threshold.is_some_and(|threshold| rank <= threshold));
                    assert_eq!(now.contains(device.serial()), expected, "seed {seed}, wave {wave}: {device:?}");
                    *(if expected { &mut let_in } else { &mut left_out }) += 1;
                }
            }
        }
    }
    assert!(let_in > 300 && left_out > 300, "{let_in} were let in, {left_out} not");
}

#[test]
fn raising_a_rollout_withdraws_nothing() {
    let timed = |wave: Wave, secs: i64| Wave { gate: Gate { opens_at: Some(at(secs)), ..Default::default() }, ..wave };
    let waves = vec![timed(first(10), 0), timed(first(300), 100), timed(all(), 200)];
    let index = Index::new(&build(&fleet(groups(running("r7", waves)), devices(1_000))));
    let conductor = Conductor::new(&index, &NoLedger);
    let mut before = BTreeSet::new();
    for (secs, inside) in [(-1, 0), (0, 10), (50, 10), (100, 300), (199, 300), (200, 1_000), (10_000, 1_000)] {
        conductor.advance(at(secs)).unwrap();
        let now = granted(&index);
        assert_eq!(now.len(), inside, "after {secs} s");
        assert!(before.is_subset(&now), "after {secs} s something was withdrawn");
        before = now;
    }
}

#[test]
fn what_was_frozen_survives_being_written_and_read() {
    let waves = vec![first(3), share(5_000), first(20), all()];
    let index = Index::new(&build(&fleet(groups(running("r7", waves)), devices(30))));
    for _ in 0..4 {
        open_next(&index);
        let (spec, told) = (index.snapshot().spec(), granted(&index));
        let json = serde_json::to_string(&spec).unwrap();
        let read: FleetSpec = serde_json::from_str(&json).unwrap();
        assert_eq!(read, spec);
        let again = read.build().unwrap();
        assert_eq!(again.spec(), spec);
        let waves = |spec: &FleetSpec| {
            let field = spec.products[0].groups.iter().find(|group| group.id == GROUP).unwrap();
            field.rollout.as_ref().unwrap().waves.clone()
        };
        assert_eq!(waves(&again.spec()), waves(&spec));
        assert_eq!(granted(&Index::new(&again)), told);
    }
}

/// A store of rows that it cannot count.
struct Uncounting<'i>(&'i Index);

impl RolloutStore for Uncounting<'_> {
    type Error = Infallible;

    fn under_way(&self) -> Result<Vec<rollout::UnderWay>, Infallible> {
        self.0.under_way()
    }

    fn census(&self, _: &ProductId, _: &Group, _: usize) -> Result<Result<Census, CensusFault>, Infallible> {
        Ok(Err(CensusFault::CannotCount))
    }

    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, Infallible> {
        RolloutStore::apply(self.0, changes)
    }
}

/// What the conductor of a store that cannot count does about the first waves, and what was frozen.
fn uncounted(spec: RolloutSpec) -> (Vec<MoveOutcome>, Vec<Opened>) {
    let index = Index::new(&build(&fleet(groups(spec), devices(100))));
    let store = Uncounting(&index);
    let moved = Conductor::new(&store, &NoLedger).advance(at(5)).unwrap();
    let snapshot = index.snapshot();
    let waves = snapshot.group(PRODUCT, GROUP).unwrap().rollout().unwrap().waves();
    (moved.into_iter().map(|moved| moved.outcome).collect(), waves.iter().filter_map(|wave| wave.opened).collect())
}

#[test]
fn a_store_that_cannot_count_opens_what_needs_no_count() {
    let now = |wave: Wave| Wave { gate: Gate { opens_at: Some(at(0)), ..Default::default() }, ..wave };
    let frozen = |threshold| Opened { at: at(5), threshold, counted: None, newcomers: None, eligible: None };
    let shares = vec![now(share(100)), now(share(2_500)), now(all())];
    let (moved, opened) = uncounted(running("r7", shares));
    assert!(moved.len() == 3 && moved.iter().all(|outcome| matches!(outcome, MoveOutcome::Done(..))), "{moved:?}");
    assert_eq!(opened, [frozen(share_threshold(100)), frozen(share_threshold(2_500)), frozen(None)]);

    // Whoever is in by a count stays in.
    let counted = Opened { counted: Some(60), newcomers: Some(60), eligible: Some(100), ..frozen(Some(u64::MAX / 2)) };
    let raised = vec![Wave { opened: Some(counted), ..first(60) }, now(share(100))];
    let (_, opened) = uncounted(running("r7", raised));
    assert_eq!(opened, [counted, frozen(Some(u64::MAX / 2))]);

    let (moved, opened) = uncounted(running("r7", vec![now(first(10)), now(all())]));
    assert_eq!(moved, [MoveOutcome::Uncounted(CensusFault::CannotCount)]);
    assert_eq!(opened, []);

    let come = RolloutSpec { admission: Admission::FirstCome, ..running("r7", vec![now(first(10)), now(first(20))]) };
    let (moved, opened) = uncounted(come);
    assert_eq!(moved.len(), 2);
    assert_eq!(opened, [frozen(None), frozen(None)]);
}
