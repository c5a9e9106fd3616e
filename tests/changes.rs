//! A batch of changes is taken whole or not at all (L1), and no change makes a fleet that a load would refuse (L3, R7, R11).

mod twin;

use otagate::*;
use proptest::prelude::*;
use twin::change::{change, fleet};
use twin::draw::Draw;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_is_taken_whole_or_not_at_all(seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let mut fleet = fleet(draw.next());
        for _ in 0..8 {
            let batch: Vec<Change> = (0..1 + draw.below(4)).map(|_| change(draw, &fleet)).collect();
            let before = fleet.clone();
            match fleet.apply(&batch) {
                Err(problems) => {
                    prop_assert!(fleet == before, "a refused batch left something behind: {batch:?}");
                    prop_assert!(problems.list().iter().all(|problem| problem.place.starts_with("changes[")), "{problems}");
                }
                Ok(revision) => {
                    let changed = fleet.clone().at_revision(before.revision()) != before;
                    prop_assert!(revision == Revision(before.revision().0 + 1) || !changed && revision == before.revision(), "{batch:?}");
                    // What changes can make, a load accepts; and it is the same fleet.
                    let again = fleet.spec().build();
                    prop_assert!(again.as_ref() == Ok(&fleet), "{:?}\n{batch:?}", again.err());
                    // A change survives its own JSON.
                    let json = serde_json::to_string(&batch).unwrap();
                    prop_assert_eq!(&serde_json::from_str::<Vec<Change>>(&json).unwrap(), &batch);
                    // Change by change: a batch may well complete one rollout and start another.
                    let mut step = before.clone();
                    for change in &batch {
                        let prior = step.clone();
                        step.apply(std::slice::from_ref(change)).unwrap();
                        frozen_stays_frozen(&prior, &step)?;
                    }
                    prop_assert!(step.at_revision(revision) == fleet, "a batch is what its changes are one by one: {batch:?}");
                }
            }
        }
    }
}

/// R7 and R11, looked at from outside: from the first open wave on a rollout keeps its target, salt, late rule and open waves.
fn frozen_stays_frozen(before: &Fleet, after: &Fleet) -> Result<(), TestCaseError> {
    for entry in before.products() {
        let Some(now) = after.product(entry.product().id().as_str()) else { continue };
        for group in entry.groups() {
            let rollouts = group.rollout().zip(now.group(group.id().as_str()).and_then(Group::rollout));
            let Some((old, new)) = rollouts.filter(|(old, _)| old.waves().iter().any(|wave| wave.opened.is_some()))
            else {
                continue;
            };
            let (old_spec, new_spec) = (old.spec(), new.spec());
            if old.id() != new.id() {
                prop_assert!(!old.is_active(), "a second rollout took the place of `{}` (R11)", old.id());
                continue;
            }
            prop_assert_eq!(&old_spec.target, &new_spec.target);
            prop_assert_eq!(old.salt(), new.salt());
            prop_assert_eq!(old_spec.late, new_spec.late);
            // A product that is put under another serial scheme spells the same serials otherwise.
            let spelled = |serial: &String| now.product().read_serial(serial.as_bytes());
            let kept = |serial: &String| {
                spelled(serial).is_ok_and(|own| new_spec.first.iter().any(|other| spelled(other) == Ok(own)))
            };
            prop_assert!(old_spec.first.iter().all(kept), "the first-list only grows");
            for (old, new) in old.waves().iter().zip(new.waves()) {
                prop_assert!(old.opened.is_none() || old.opened == new.opened, "an open wave closed or moved");
            }
        }
    }
    Ok(())
}

fn small() -> Fleet {
    let firmware = |version: &str, denied| FirmwareSpec {
        version: version.into(),
        denied,
        artifacts: vec![ArtifactSpec {
            size_bytes: 1,
            digests: Digests::blake3_of(b"x"),
            locator: "x".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let spec = FleetSpec {
        revision: Revision(7),
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: "p".into(),
                versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
                register_on_first_contact: true,
                new_devices_max: 2,
                ..Default::default()
            },
            firmware: vec![firmware("1.0.0", false), firmware("2.0.0", false), firmware("3.0.0", true)],
            groups: vec![GroupSpec {
                id: "default".into(),
                firmware: Some("1.0.0".into()),
                rollout: Some(RolloutSpec::new(
                    "r7",
                    TargetSpec::Firmware("2.0.0".into()),
                    vec![Wave::new(WaveSize::First(1))],
                )),
                ..Default::default()
            }],
            devices: vec![DeviceSpec {
                serial: "SN-1".into(),
                state: DeviceState::Verified,
                group: "default".into(),
                ..Default::default()
            }],
        }],
    };
    spec.build().unwrap()
}

fn ids() -> (ProductId, GroupId, RolloutId) {
    (ProductId::new("p").unwrap(), GroupId::new("default").unwrap(), RolloutId::new("r7").unwrap())
}

fn json(text: &str) -> Change {
    serde_json::from_str(text).unwrap()
}

/// An operator pasted four changes; the third had a typo, and half a change went live.
#[test]
fn every_problem_is_reported_at_once_and_nothing_is_changed() {
    let mut fleet = small();
    let before = fleet.clone();
    let problems = fleet
        .apply(&[
            json(r#"{"change":"assign-firmware","product":"p","group":"default","firmware":"2.0.0"}"#),
            json(r#"{"change":"assign-firmware","product":"p","group":"beta","firmware":"2.0.0"}"#),
            json(r#"{"change":"put-firmware","product":"p","firmware":{"version":"two","from":"x","artifacts":[{"size_bytes":0,"digests":{},"locator":"a\nb"}]}}"#),
            json(r#"{"change":"remove-product","product":"q"}"#),
        ])
        .unwrap_err();
    assert_eq!(
        problems.to_string(),
        "changes[1].group: there is no group `beta`\n\
         changes[2].firmware.version: version `two` does not parse as `semver`: write it like 1.2.3, 1.2.3-rc.1 or 1.2.3+5, or declare its prefix\n\
         changes[2].firmware.from: version `x` does not parse as `semver`: write it like 1.2.3, 1.2.3-rc.1 or 1.2.3+5, or declare its prefix\n\
         changes[2].firmware.artifacts[0].size_bytes: is 0: give the file's size in bytes\n\
         changes[2].firmware.artifacts[0].digests.blake3: is missing: every artifact has one\n\
         changes[2].firmware.artifacts[0].locator: has a control character (CR, LF, NUL, tab or the like): remove it\n\
         changes[3].product: there is no product `q`"
    );
    assert_eq!(fleet, before);
}

#[test]
fn a_rollout_goes_its_way_and_no_other() {
    let (product, group, rollout) = ids();
    let mut fleet = small();
    let at = Timestamp::from_millis(5);
    let start = Change::StartRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone(), at };
    let census = fleet.product("p").unwrap().census("default", 0).unwrap();
    assert_eq!((census.eligible, census.counted), (1, 1));
    let open = Change::OpenWave {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        wave: 0,
        opened: census.opened(at),
    };
    assert!(
        fleet.apply(std::slice::from_ref(&open)).unwrap_err().to_string().contains("waves open only while it runs")
    );
    assert_eq!(fleet.apply(&[start.clone(), open.clone()]).unwrap(), Revision(8), "one batch, one revision");
    assert!(fleet.apply(&[start]).is_err() && fleet.apply(&[open]).is_err());

    let mut other = fleet.product("p").unwrap().group("default").unwrap().spec();
    other.rollout.as_mut().unwrap().id = "r8".into();
    let second = fleet.apply(&[Change::PutGroup { product: product.clone(), group: other }]).unwrap_err();
    assert!(
        second.to_string().contains("rollout `r7` is under way"),
        "a second is refused, naming the first (R11): {second}"
    );
    let mut moved = fleet.product("p").unwrap().group("default").unwrap().spec();
    moved.rollout.as_mut().unwrap().target = TargetSpec::Firmware("1.0.0".into());
    assert!(
        fleet
            .apply(&[Change::PutGroup { product: product.clone(), group: moved }])
            .unwrap_err()
            .to_string()
            .contains("the target is frozen")
    );

    let complete = Change::CompleteRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone() };
    let deny = |denied| Change::DenyFirmware { product: product.clone(), firmware: "2.0.0".into(), denied };
    assert!(fleet.apply(&[deny(true), complete.clone()]).unwrap_err().to_string().contains("is denied"), "R7");
    fleet.apply(&[complete]).unwrap();
    assert_eq!(fleet.product("p").unwrap().group("default").unwrap().firmware().unwrap().text(), "2.0.0");
}

#[test]
fn an_abort_keeps_its_fate_until_the_baseline_changes() {
    let (product, group, rollout) = ids();
    let mut fleet = small();
    let start = Change::StartRollout {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        at: Timestamp::from_millis(5),
    };
    let abort =
        |fate| Change::AbortRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone(), fate };
    let assign = |firmware: Option<&str>| Change::AssignFirmware {
        product: product.clone(),
        group: group.clone(),
        firmware: firmware.map(Into::into),
    };
    let fate = |fleet: &Fleet| {
        fleet.product("p").unwrap().group("default").unwrap().spec().aborted.map(|aborted| aborted.fate)
    };
    for unservable in [None, Some("3.0.0"), Some("9.0.0")] {
        let refused = fleet.apply(&[assign(unservable), start.clone(), abort(Fate::Downgrade)]).unwrap_err();
        assert!(refused.to_string().contains("`downgrade` is refused"), "R10: {refused}");
    }
    fleet.apply(&[start, abort(Fate::Leave)]).unwrap();
    assert_eq!(fate(&fleet), Some(Fate::Leave));
    fleet.apply(&[assign(Some("1.0.0"))]).unwrap();
    assert_eq!(fate(&fleet), Some(Fate::Leave), "the same baseline is no change of it");
    fleet.apply(&[assign(Some("2.0.0"))]).unwrap();
    assert_eq!(fate(&fleet), None);
}

/// A flood of strangers must not fill the fleet, nor make a revision each.
#[test]
fn registration_stops_at_the_limit_and_moves_nothing_beyond() {
    let (product, ..) = ids();
    let mut fleet = small();
    let register = |serial: &str| Change::Register {
        product: product.clone(),
        serial: serial.into(),
        at: Timestamp::from_millis(5),
    };
    for serial in ["SN-2", "SN-3", "SN-4", "SN-2", "SN-1"] {
        fleet.apply(&[register(serial)]).unwrap();
    }
    assert_eq!((fleet.revision(), fleet.product("p").unwrap().devices().len()), (Revision(9), 3));
    let verify =
        Change::SetDeviceState { product: product.clone(), serial: "SN-2".into(), state: DeviceState::Verified };
    fleet.apply(&[verify, register("SN-4")]).unwrap();
    assert_eq!(fleet.product("p").unwrap().devices().len(), 4);
}

#[test]
fn who_leaves_a_group_and_comes_back_keeps_the_first_time() {
    let (product, ..) = ids();
    let mut fleet = small();
    let go = |group: &str, at| Change::MoveDevice {
        product: product.clone(),
        serial: "SN-1".into(),
        group: GroupId::new(group).unwrap(),
        at: Timestamp::from_millis(at),
    };
    fleet.apply(&[go("beta", 10), go("default", 20)]).unwrap();
    let entered = |fleet: &Fleet| fleet.product("p").unwrap().device("SN-1").unwrap().entered_at().millis();
    assert_eq!(entered(&fleet), 0, "R4");
    fleet.apply(&[go("beta", 30)]).unwrap();
    assert_eq!(entered(&fleet), 10);
}

/// A device was written again to change its pin, and lost the first time that it had entered its groups: it fell out of a wave that it was in.
#[test]
fn writing_a_device_again_keeps_what_it_is_remembered_for() {
    let (product, ..) = ids();
    let mut fleet = small();
    let go = |group: &str, at| Change::MoveDevice {
        product: product.clone(),
        serial: "SN-1".into(),
        group: GroupId::new(group).unwrap(),
        at: Timestamp::from_millis(at),
    };
    let write = |group: &str| {
        let pin = Some("1.0.0".to_owned());
        let device = DeviceSpec {
            serial: "SN-1".into(),
            state: DeviceState::Verified,
            group: group.into(),
            pin,
            ..Default::default()
        };
        Change::PutDevice { product: product.clone(), device }
    };
    let entered = |fleet: &Fleet| fleet.product("p").unwrap().device("SN-1").unwrap().entered_at().millis();
    fleet.apply(&[go("beta", 10), write("beta")]).unwrap();
    assert_eq!(entered(&fleet), 10, "in its group");
    fleet.apply(&[go("default", 20)]).unwrap();
    assert_eq!(entered(&fleet), 0, "in the group that it comes back to");
    fleet.apply(&[write("beta")]).unwrap();
    assert_eq!(entered(&fleet), 10, "written into the other group");
}

/// An operator's script repeated what was so already; every gateway took a new revision each time.
#[test]
fn what_is_so_already_is_no_new_revision() {
    let (product, group, _) = ids();
    let mut fleet = small();
    let entry = fleet.product("p").unwrap().spec();
    let same = [
        Change::PutProduct { product: entry.product.clone() },
        Change::PutFirmware { product: product.clone(), firmware: entry.firmware[0].clone() },
        Change::DenyFirmware { product: product.clone(), firmware: "3.0.0".into(), denied: true },
        Change::PutGroup { product: product.clone(), group: entry.groups[0].clone() },
        Change::SetPolicy { product: product.clone(), group, policy: Policy::AnyDifference },
        Change::PutDevice { product: product.clone(), device: entry.devices[0].clone() },
    ];
    for change in same {
        assert_eq!(fleet.apply(std::slice::from_ref(&change)), Ok(Revision(7)), "{change:?}");
    }
}

/// R7 by the back door: a group that was written whole completed its rollout without its target becoming the baseline.
#[test]
fn a_group_that_is_written_moves_no_rollout_on() {
    let (product, group, rollout) = ids();
    let mut fleet = small();
    let at = Timestamp::from_millis(5);
    fleet
        .apply(&[Change::StartRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone(), at }])
        .unwrap();
    let written = |change: &dyn Fn(&mut RolloutSpec)| {
        let mut spec = fleet.product("p").unwrap().group("default").unwrap().spec();
        change(spec.rollout.as_mut().unwrap());
        let rollout = spec.rollout.clone().unwrap();
        [
            Change::PutGroup { product: product.clone(), group: spec },
            Change::PutRollout { product: product.clone(), group: group.clone(), rollout },
        ]
    };
    let opened = Opened { at, threshold: Some(9), counted: None, newcomers: None, eligible: None };
    let moves: [&dyn Fn(&mut RolloutSpec); 4] = [
        &|rollout| rollout.state = RolloutState::Completed,
        &|rollout| rollout.state = RolloutState::Aborted,
        &|rollout| rollout.waves[0].opened = Some(opened),
        &|rollout| rollout.started_at = Some(Timestamp::from_millis(6)),
    ];
    for change in moves.into_iter().flat_map(written) {
        let refused = fleet.clone().apply(std::slice::from_ref(&change)).unwrap_err().to_string();
        assert!(refused.contains("(R7)"), "{change:?}: {refused}");
    }
    // What is no move is written.
    for change in written(&|rollout| rollout.progress = Some(Progress::default())) {
        fleet.clone().apply(&[change]).unwrap();
    }
}

/// Several replicas look at a rollout and want to move it on: one is let through, and the rest see that it was changed.
#[test]
fn who_looked_too_long_ago_changes_nothing() {
    let mut fleet = small();
    let (product, group, rollout) = ids();
    let edition = |fleet: &Fleet| fleet.product("p").unwrap().group("default").unwrap().rollout().unwrap().edition();
    let expect = |edition| Change::ExpectRollout {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        edition,
    };
    let at = Timestamp::from_millis(5);
    let start = Change::StartRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone(), at };
    let opened = Opened { at, threshold: Some(9), counted: Some(1), newcomers: Some(1), eligible: Some(1) };
    let open =
        Change::OpenWave { product: product.clone(), group: group.clone(), rollout: rollout.clone(), wave: 0, opened };
    let progress = Progress { offered: 3, good_since: Some(at), ..Progress::default() };
    let note = Change::SetProgress {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        was: None,
        progress,
    };
    let pause = Change::PauseRollout {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        cut: false,
        why: String::new(),
    };
    let resume = Change::ResumeRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone() };

    for (step, change) in [start, open, pause, resume].into_iter().enumerate() {
        let seen = edition(&fleet);
        assert_eq!(seen, step as u64, "each change is an edition");
        let late = fleet.clone();
        fleet.apply(&[expect(seen), change.clone()]).unwrap();
        assert_eq!(edition(&fleet), seen + 1);
        let before = fleet.clone();
        let refused = fleet.apply(&[expect(seen), change]).unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("changes[0].rollout: `r7` is at edition {}, not {seen}", seen + 1)),
            "{refused}"
        );
        assert_eq!(fleet, before);
        drop(late);
    }
    // Alone it changes nothing; and what has nothing to do with the rollout is no edition of it.
    let revision = fleet.revision();
    assert_eq!(fleet.apply(&[expect(4)]), Ok(revision));
    fleet
        .apply(&[Change::CapDownloads { product: product.clone(), group: group.clone(), downloads_max: Some(1) }])
        .unwrap();
    assert_eq!(edition(&fleet), 4);
    // Progress is noted without an end, and keeps nobody from moving the rollout on.
    fleet.apply(&[expect(4), note]).unwrap();
    assert_eq!(edition(&fleet), 4);
    // Another rollout in its place goes on counting, so that nobody mistakes it for the one that was there.
    let fate = Fate::Leave;
    fleet
        .apply(&[Change::AbortRollout {
            product: product.clone(),
            group: group.clone(),
            rollout: rollout.clone(),
            fate,
        }])
        .unwrap();
    let target = TargetSpec::Firmware("2.0.0".into());
    let other = RolloutSpec::new("r8", target, vec![Wave::new(WaveSize::All)]);
    fleet.apply(&[Change::PutRollout { product, group, rollout: other }]).unwrap();
    assert_eq!(edition(&fleet), 6);
}

/// What was counted is no operator's to write; and what soaks, soaks anew after a pause, an edit, and for the next wave.
#[test]
fn what_was_counted_is_kept_and_what_soaks_begins_anew() {
    let (product, group, rollout) = ids();
    let at = Timestamp::from_millis(5);
    let progress = Progress { wave: 0, offered: 3, finished: 2, succeeded: 2, good_since: Some(at) };
    let start = Change::StartRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone(), at };
    let note = Change::SetProgress {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        was: None,
        progress,
    };
    let mut fleet = small();
    fleet.apply(&[start, note]).unwrap();
    // Another replica that has not seen that: it counted less, and must not write over it.
    let late = |progress| Change::SetProgress {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        was: None,
        progress,
    };
    let refused = fleet.clone().apply(&[late(Progress { finished: 1, ..progress })]).unwrap_err().to_string();
    assert_eq!(refused, "changes[0].rollout: `r7` was noted otherwise meanwhile: look again");
    let revision = fleet.revision();
    assert_eq!(fleet.apply(&[late(progress)]), Ok(revision), "who found the same has nothing to write");
    let spec = |fleet: &Fleet| fleet.product("p").unwrap().group("default").unwrap().spec().rollout.unwrap();
    let put = |fleet: &mut Fleet, rollout| {
        fleet.apply(&[Change::PutRollout { product: product.clone(), group: group.clone(), rollout }]).unwrap()
    };

    let forged = RolloutSpec { progress: None, resumes: 9, edition: 99, ..spec(&fleet) };
    put(&mut fleet, forged);
    assert_eq!((spec(&fleet).progress, spec(&fleet).resumes, spec(&fleet).edition), (Some(progress), 0, 1));
    let mut edited = spec(&fleet);
    edited.waves.push(Wave::new(WaveSize::All));
    put(&mut fleet, edited);
    assert_eq!((spec(&fleet).progress, spec(&fleet).edition), (Some(Progress { good_since: None, ..progress }), 2));

    let note = Change::SetProgress {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        was: Some(Progress { good_since: None, ..progress }),
        progress,
    };
    let (cut, why) = (false, String::new());
    let pause =
        Change::PauseRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone(), cut, why };
    fleet.apply(&[note, pause]).unwrap();
    assert_eq!(spec(&fleet).progress, Some(progress), "a pause keeps what was counted");
    fleet
        .apply(&[Change::ResumeRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone() }])
        .unwrap();
    assert_eq!((spec(&fleet).progress, spec(&fleet).resumes), (Some(Progress { good_since: None, ..progress }), 1));
    let opened = Opened { at, threshold: Some(9), counted: None, newcomers: None, eligible: None };
    fleet.apply(&[Change::OpenWave { product, group, rollout, wave: 0, opened }]).unwrap();
    assert_eq!(spec(&fleet).progress, None, "what was counted for this gate is over");
}

/// A device that names its own group among the earlier ones would name it twice once it was moved, and every later change of it would be refused.
#[test]
fn a_device_was_not_in_its_own_group_before() {
    let mut fleet = FleetSpec {
        products: vec![ProductFleetSpec {
            product: ProductSpec { id: "p".into(), ..Default::default() },
            ..Default::default()
        }],
        ..Default::default()
    }
    .build()
    .unwrap();
    let group = GroupId::new("a").unwrap();
    let earlier_groups = vec![(group, Timestamp::from_millis(7))];
    let device = DeviceSpec { serial: "1".into(), group: "a".into(), earlier_groups, ..Default::default() };
    let put = Change::PutDevice { product: ProductId::new("p").unwrap(), device };
    let refused = fleet.apply(&[put]).unwrap_err();
    assert_eq!(refused.to_string(), "changes[0].device.earlier_groups: names `a`, which it is in");
}
