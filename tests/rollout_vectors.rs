//! Which devices a wave admits, and when a rollout moves: the golden files that every language runs, `tests/vectors/thresholds.json` and `transitions.json`.
//!
//! `tests/vectors/rollout_reference.py` wrote them from the rules, and checks them here; it shares no line with the crate.

mod twin;

use otagate::rollout::{Statistics, Step, Transition, step};
use otagate::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use twin::reference;

const GROUP: &str = "field";

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file)
}

fn rows(name: &str) -> Vec<Value> {
    let mut file: Value =
        serde_json::from_str(&std::fs::read_to_string(path(&format!("{name}.json"))).unwrap()).unwrap();
    serde_json::from_value(file[name].take()).unwrap()
}

/// One product with one group of such devices, and that rollout in it.
fn fleet(product: &str, rollout: RolloutSpec, serials: &[String]) -> Fleet {
    let device = |serial: &String| DeviceSpec {
        serial: serial.clone(),
        state: DeviceState::Verified,
        group: GROUP.into(),
        ..Default::default()
    };
    let spec = FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product: ProductSpec { id: product.into(), ..Default::default() },
            firmware: vec![],
            groups: vec![GroupSpec { id: GROUP.into(), rollout: Some(rollout), ..Default::default() }],
            devices: serials.iter().map(device).collect(),
        }],
    };
    spec.build().unwrap()
}

fn texts(list: &Value) -> Vec<String> {
    serde_json::from_value(list.clone()).unwrap()
}

/// A u64 as text.
fn number(text: &Value) -> Option<u64> {
    text.as_str().map(|text| text.parse().unwrap())
}

#[test]
fn thresholds_are_those_of_the_file() {
    let rows = rows("thresholds");
    assert!(rows.len() >= 60);
    let (mut refused, mut listed, mut empty) = (0, 0, 0);
    for row in &rows {
        let size: WaveSize = serde_json::from_value(row["size"].clone()).unwrap();
        // A threshold is of some wave before: of the other kind of size, since sizes are cumulative.
        let before = number(&row["previous"]).map(|threshold| {
            let opened = Opened {
                at: Timestamp::from_millis(0),
                threshold: Some(threshold),
                counted: None,
                newcomers: None,
                eligible: None,
            };
            let size = if matches!(size, WaveSize::First(_)) { WaveSize::ShareBps(1) } else { WaveSize::First(1) };
            Wave { opened: Some(opened), ..Wave::new(size) }
        });
        let waves: Vec<Wave> = before.into_iter().chain([Wave::new(size)]).collect();
        let (wave, first) = (waves.len() - 1, row.get("first").map_or_else(Vec::new, texts));
        listed += usize::from(!first.is_empty());
        let rollout = RolloutSpec {
            salt: Some(row["salt"].as_str().unwrap().into()),
            state: RolloutState::Running,
            started_at: Some(Timestamp::from_millis(0)),
            first,
            ..RolloutSpec::new("any", TargetSpec::Firmware("2.0.0".into()), waves)
        };
        let product = row["product"].as_str().unwrap();
        let fleet = fleet(product, rollout, &texts(&row["serials"]));
        let census = fleet.product(product).unwrap().census(GROUP, wave);
        assert_eq!(census, Index::new(&fleet).snapshot().census(product, GROUP, wave), "{row}");
        if row["refused"] == json!(true) {
            assert!(matches!(census, Err(CensusFault::FirstListTooLong { .. })), "{row}");
            refused += 1;
            continue;
        }
        let census = census.unwrap();
        empty += usize::from(census.eligible == 0);
        let whole = |name: &str| row[name].as_u64().unwrap();
        assert_eq!(census.threshold, number(&row["threshold"]), "{row}");
        assert_eq!((census.counted, census.newcomers), (whole("counted"), whole("newcomers")), "{row}");
        assert_eq!(census.eligible, row["serials"].as_array().unwrap().len() as u64, "{row}");
        assert!(census.counted >= whole("n").min(census.eligible), "{row}");
        // Who is in is who has such a rank.
        let rollout = fleet.product(product).unwrap().group(GROUP).unwrap().rollout().unwrap();
        let rank = |serial: &str| match rollout.is_first(serial) {
            true => 0,
            false => reference::rank(rollout.salt(), product, serial),
        };
        let inside =
            |serial: &&String| size == WaveSize::All || census.threshold.is_some_and(|last| rank(serial) <= last);
        assert_eq!(texts(&row["serials"]).iter().filter(inside).count() as u64, census.counted, "{row}");
    }
    assert!(refused >= 3 && listed >= 10 && empty >= 8, "{refused} refused, {listed} with a list, {empty} of nobody");
}

fn transition(of: Option<Transition>) -> Value {
    match of {
        None => Value::Null,
        Some(Transition::OpenWave { wave, progress }) => {
            json!({"kind": "open-wave", "wave": wave, "progress": progress})
        }
        Some(Transition::Halt { failed, finished }) => json!({"kind": "halt", "failed": failed, "finished": finished}),
        Some(Transition::Complete { progress }) => json!({"kind": "complete", "progress": progress}),
    }
}

#[test]
fn transitions_are_those_of_the_file() {
    let rows = rows("transitions");
    assert!(rows.len() >= 120);
    let mut met = BTreeSet::new();
    for row in &rows {
        let spec: RolloutSpec = serde_json::from_value(row["rollout"].clone()).unwrap();
        let statistics: Statistics = serde_json::from_value(row["statistics"].clone()).unwrap();
        let now = Timestamp::from_millis(row["now"].as_i64().unwrap());
        let fleet = fleet("lamp", spec, &[]);
        let rollout = fleet.product("lamp").unwrap().group(GROUP).unwrap().rollout().unwrap();
        let Step { progress, transition: due } = step(rollout, &statistics, now);
        let due = transition(due);
        assert_eq!(due, row["transition"], "{row}");
        assert_eq!(serde_json::to_value(progress).unwrap(), row["progress"], "{row}");
        met.insert((due["kind"].to_string(), progress.is_some(), progress.is_some_and(|one| one.good_since.is_some())));
    }
    let kinds: BTreeSet<_> = met.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["\"complete\"", "\"halt\"", "\"open-wave\"", "null"]));
    assert!(met.len() >= 9, "{met:?}");
}

/// The files were written by an implementation that shares no line with the one in use.
#[test]
fn the_files_agree_with_an_independent_implementation() {
    for file in ["thresholds.json", "transitions.json"] {
        let ran = Command::new("python3").arg(path("rollout_reference.py")).arg("check").arg(path(file)).output();
        let ran = ran.expect("python3 is needed: apt-get install python3");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
    }
}

/// Written anew they would be the same bytes.
#[test]
fn the_files_are_what_the_script_writes() {
    for name in ["thresholds", "transitions"] {
        let ran = Command::new("python3").arg(path("rollout_reference.py")).args(["make", name]).output();
        let ran = ran.expect("python3 is needed: apt-get install python3");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert!(std::fs::read(path(&format!("{name}.json"))).unwrap() == ran.stdout, "{name}.json was edited by hand");
    }
}
