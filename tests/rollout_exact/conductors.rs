//! Several conductors over one store take each step once.

use crate::fleets::*;
use crate::steps::Told;
use otagate::rollout::{Conductor, MemoryLedger, MoveOutcome, Moved, Outcome, RolloutStore, Transition, UnderWay};
use otagate::*;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Barrier, Mutex};

const ROUNDS: i64 = 40;

/// Rollouts whose waves open in every round, one of which halts in between, and one of which completes.
fn fleet_of_many(groups: usize) -> ProductFleetSpec {
    let timed = |secs: i64| Gate { opens_at: Some(at(secs)), ..Default::default() };
    let group = |number: usize| {
        let count = 2 + number % 3;
        let waves =
            (0..count).map(|wave| Wave { gate: timed((wave + number % 5) as i64 * 3), ..first(1 + wave as u32) });
        let health = Gate { min_finished: Some(1), soak_secs: Some(2), ..Default::default() };
        let last = Wave { gate: health, ..all() };
        let complete = if number.is_multiple_of(2) { timed(30) } else { Gate::default() };
        let halt = Halt { failures: Some(1), ..Default::default() };
        let rollout = RolloutSpec { complete, halt, ..running("r7", waves.chain([last]).collect()) };
        let id = format!("group-{number}");
        GroupSpec { id, firmware: Some("1.0.0".into()), rollout: Some(rollout), ..Default::default() }
    };
    let devices = (0..groups * 8).map(|number| {
        let group = format!("group-{}", number % groups);
        DeviceSpec { group, ..device(serial(number)) }
    });
    fleet((0..groups).map(group).collect(), devices.collect())
}

/// What was moved by all of so many conductors.
fn moved_by(threads: usize, groups: usize) -> (Vec<Moved>, Index) {
    let index = Index::new(&build(&fleet_of_many(groups)));
    let ledger = MemoryLedger::default();
    let told = |number: usize| {
        let group = GroupId::new(&format!("group-{number}")).unwrap();
        let told = Told::of(&ledger);
        Told { run: Run { group, ..told.run.clone() }, ..told }
    };
    let barrier = Barrier::new(threads);
    let conduct = |thread: usize| {
        let conductor = Conductor::new(&index, &ledger);
        let mut moved = Vec::new();
        for round in 0..ROUNDS {
            barrier.wait();
            // Something becomes of the devices meanwhile.
            for number in (0..groups).filter(|number| number % threads == thread) {
                let (told, wave) = (told(number), (round as u32 / 6).min(3));
                told.offered(&serial(number + groups * (round as usize % 8)), wave);
                let outcome = if number % 7 == 3 && round > 20 { Outcome::Failed } else { Outcome::Installed };
                told.note(&serial(number + groups * (round as usize % 8)), outcome, 0);
            }
            barrier.wait();
            moved.extend(conductor.advance(at(round)).unwrap());
        }
        moved
    };
    let all = std::thread::scope(|scope| {
        let conduct = &conduct;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || conduct(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    (all, index)
}

fn each_step_is_taken_once(threads: usize) -> usize {
    let groups = 12;
    let (all, index) = moved_by(threads, groups);
    let mut done = BTreeMap::<String, Vec<String>>::new();
    let mut revisions = Vec::new();
    let mut lost = 0;
    for Moved { group, transition, outcome, .. } in &all {
        let kind = match transition {
            Transition::OpenWave { wave, .. } => format!("open {wave}"),
            Transition::Halt { .. } => "halt".to_owned(),
            Transition::Complete { .. } => "complete".to_owned(),
        };
        match outcome {
            MoveOutcome::Done(revision, _) => {
                let taken = done.entry(group.to_string()).or_default();
                assert!(!taken.contains(&kind), "{threads} threads, {group}: {kind} twice");
                taken.push(kind);
                revisions.push(*revision);
            }
            MoveOutcome::Lost => lost += 1,
            other => panic!("{threads} threads, {group}: {kind}: {other:?}"),
        }
    }
    let steps = revisions.len();
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), steps, "two steps of one revision");
    // What was done is what there is, and the same as one conductor does.
    let snapshot = index.snapshot();
    let mut halted = 0;
    for number in 0..groups {
        let id = format!("group-{number}");
        let taken = &done[&id];
        let rollout = snapshot.group(PRODUCT, &id).unwrap().rollout().unwrap();
        let open = rollout.waves().iter().filter(|wave| wave.opened.is_some()).count();
        assert_eq!(taken.iter().filter(|kind| kind.starts_with("open")).count(), open, "{id}: {taken:?}");
        let paused = matches!(rollout.state(), RolloutState::Paused { .. });
        assert_eq!(taken.contains(&"halt".to_owned()), paused, "{id}");
        assert_eq!(taken.contains(&"complete".to_owned()), *rollout.state() == RolloutState::Completed, "{id}");
        halted += usize::from(paused);
    }
    assert!(halted > 0 && steps > groups * 3, "{halted} halted, {steps} steps");
    println!("{threads} threads: {steps} steps, {lost} lost");
    steps
}

/// What one conductor does, several do, however they meet.
fn as_one(threads: usize) {
    let alone = each_step_is_taken_once(1);
    (0..10).for_each(|_| assert_eq!(each_step_is_taken_once(threads), alone));
}

#[test]
fn two_conductors_take_each_step_once() {
    as_one(2);
}

#[test]
fn eight_conductors_take_each_step_once() {
    as_one(8);
}

/// A store to which something happens between a conductor's look and its change.
struct Meddled {
    index: Index,
    meanwhile: Mutex<Vec<Change>>,
}

impl RolloutStore for Meddled {
    type Error = Infallible;

    fn under_way(&self) -> Result<Vec<UnderWay>, Infallible> {
        self.index.under_way()
    }

    fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, Infallible> {
        self.index.census(product, group, wave)
    }

    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, Infallible> {
        self.index.apply(&std::mem::take(&mut *self.meanwhile.lock().unwrap())).unwrap();
        RolloutStore::apply(&self.index, changes)
    }
}

#[test]
fn who_looked_too_long_ago_changes_nothing() {
    let timed = Gate { opens_at: Some(at(0)), ..Default::default() };
    let halt = Halt { failures: Some(1), ..Default::default() };
    let opened = Opened { at: at(0), threshold: Some(5), counted: Some(1), newcomers: Some(1), eligible: Some(9) };
    let open = Wave { opened: Some(opened), ..first(1) };
    let opens = running("r7", vec![open, Wave { gate: timed, ..first(3) }, all()]);
    let halts = RolloutSpec { halt, ..opens.clone() };
    let completes = RolloutSpec { complete: timed, ..running("r7", vec![open]) };
    let change = |of: fn(ProductId, GroupId, RolloutId) -> Change| of(product(), group(), name("r7"));
    let list = change(|product, group, rollout| Change::AddFirst { product, group, rollout, serials: vec![serial(3)] });
    let look = change(|product, group, rollout| {
        let progress = Progress { offered: 7, ..Default::default() };
        Change::SetProgress { product, group, rollout, was: None, progress }
    });
    let pause = change(|product, group, rollout| {
        let why = "by hand".to_owned();
        Change::PauseRollout { product, group, rollout, cut: true, why }
    });
    let resume = change(|product, group, rollout| Change::ResumeRollout { product, group, rollout });
    let meddling = [vec![list], vec![pause.clone()], vec![pause, resume]];
    // What is counted is noted all the time, and keeps nobody from moving the rollout on.
    let apart = [
        look,
        Change::CapDownloads { product: product(), group: group(), downloads_max: Some(9) },
        Change::PutDevice { product: product(), device: device("newcomer") },
    ];
    for (spec, failed) in [(&opens, false), (&halts, true), (&completes, false)] {
        let ledger = MemoryLedger::default();
        let told = Told::of(&ledger);
        told.offered(&serial(1), 0);
        told.note(&serial(1), if failed { Outcome::Failed } else { Outcome::Installed }, 0);
        let advance = |meanwhile: &[Change]| {
            let index = Index::new(&build(&fleet(groups(spec.clone()), devices(9))));
            let store = Meddled { index, meanwhile: Mutex::new(meanwhile.to_vec()) };
            let moved = Conductor::new(&store, &ledger).advance(at(1)).unwrap();
            let snapshot = store.index.snapshot();
            (moved, snapshot.group(PRODUCT, GROUP).unwrap().rollout().unwrap().clone())
        };
        for meanwhile in &meddling {
            let (moved, rollout) = advance(meanwhile);
            assert!(matches!(&moved[..], [one] if one.outcome == MoveOutcome::Lost), "{meanwhile:?}: {moved:?}");
            let alone = Index::new(&build(&fleet(groups(spec.clone()), devices(9))));
            alone.apply(meanwhile).unwrap();
            assert_eq!(alone.snapshot().group(PRODUCT, GROUP).unwrap().rollout(), Some(&rollout), "{meanwhile:?}");
        }
        // What is not about the rollout is in nobody's way.
        for change in &apart {
            let (moved, _) = advance(std::slice::from_ref(change));
            assert!(
                matches!(&moved[..], [one] if matches!(one.outcome, MoveOutcome::Done(..))),
                "{change:?}: {moved:?}"
            );
        }
    }
}
