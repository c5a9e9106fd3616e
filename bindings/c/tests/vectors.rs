//! The golden files that every language runs, `tests/vectors/`, through the C face: by a fleet, by a store of callbacks, one by one and many at once.

mod common;

use common::Way;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each file, where its rows stand, and how many the tests in Rust demand.
const FILES: [(&str, &str, usize); 7] = [
    ("ranks.json", "ranks", 200),
    ("serials.json", "serials", 150),
    ("versions.json", "equal_and_order", 250),
    ("decisions.json", "fleets", 400),
    ("thresholds.json", "thresholds", 60),
    ("transitions.json", "transitions", 120),
    // Answered by hand, for the C face alone.
    ("more_decisions.json", "fleets", 6),
];
const VERSIONS: (&str, usize) = ("real_versions.txt", 300);

fn path(file: &str) -> PathBuf {
    let golden = common::root().join("tests/vectors").join(file);
    if golden.exists() { golden } else { common::beside(file) }
}

/// How many rows a file has, counted by another reader of JSON than that of the program.
fn rows(file: &str, member: &str) -> usize {
    let document: Value = serde_json::from_slice(&std::fs::read(path(file)).unwrap()).unwrap();
    let rows = document[member].as_array().unwrap();
    match member {
        "fleets" => rows.iter().map(|fleet| fleet["cases"].as_array().unwrap().len()).sum(),
        _ => rows.len(),
    }
}

/// `NAME: COUNT` of each line.
fn counts(told: &str) -> BTreeMap<&str, usize> {
    told.lines().filter_map(|line| line.rsplit_once(": ")).map(|(name, count)| (name, count.parse().unwrap())).collect()
}

fn program(way: Way) -> PathBuf {
    let into = common::scratch(&format!("vectors-{way:?}"));
    common::build(&common::beside("vectors.c"), &into, way, &["-std=c99", "-O1", "-Wconversion", "-Wshadow"])
}

fn all_files() -> impl Iterator<Item = PathBuf> {
    FILES.iter().map(|(file, ..)| *file).chain([VERSIONS.0]).map(path)
}

/// Every row of every file, and as many as there are.
fn runs_all(way: Way) {
    let told = common::run(Command::new(program(way)).args(all_files()));
    println!("{told}");
    let counts = counts(&told);
    for (file, member, least) in FILES {
        let there = rows(file, member);
        assert!(there >= least, "{file} has {there} rows, at least {least} are demanded");
        assert_eq!(counts.get(file), Some(&there), "rows of {file}: {told}");
        if member == "fleets" {
            assert_eq!(counts.get(&*format!("asked of {file}")), Some(&there), "{told}");
        }
    }
    let (file, least) = VERSIONS;
    let text = std::fs::read_to_string(path(file)).unwrap();
    let there = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(there >= least, "{file} has {there} rows, at least {least} are demanded");
    assert_eq!(counts.get(file), Some(&there), "{told}");
    let served = ["exact", "semver", "dotted"].map(|scheme| counts[&*format!("served under {scheme}")]);
    assert!(served[0] > 900 && served[1] > 150 && served[2] > 150, "served under exact, semver, dotted: {served:?}");
}

#[test]
fn the_static_library_answers_as_the_files_say() {
    runs_all(Way::Static);
}

#[test]
fn the_shared_library_answers_as_the_files_say() {
    runs_all(Way::Shared);
}

#[test]
fn sanitizers_find_nothing_in_a_run_of_all_files() {
    runs_all(Way::Sanitized);
}

#[test]
fn valgrind_finds_neither_errors_nor_leaks_in_a_run_of_the_files() {
    let program = program(Way::Static);
    let own = common::scratch("vectors-valgrind").join("vectors");
    std::fs::rename(program, &own).unwrap();
    let told = common::run(common::valgrind(&own).arg("--every=2").args(all_files()));
    println!("{told}");
    assert!(counts(&told)["asked of decisions.json"] >= 50, "{told}");
}

/// A program that finds no difference anywhere would pass all of the above.
#[test]
fn a_row_that_is_wrong_is_found() {
    let into = common::scratch("vectors-wrong");
    let program = common::build(&common::beside("vectors.c"), &into, Way::Shared, &["-std=c99"]);
    let told = |file: &Path| {
        let output = Command::new(&program).arg(file).output().unwrap();
        (output.status.success(), common::text(&output))
    };
    let wrongs = [
        ("ranks.json", "\"rank\": \"234141259675619553\"", "\"rank\": \"234141259675619554\"", "rank: expected"),
        ("serials.json", "\"canonical\": \"a4cf12345678\"", "\"canonical\": \"a4cf12345679\"", "canonical: expected"),
        ("versions.json", "\"order\": -1", "\"order\": 1", "order"),
        ("decisions.json", "\"revision\":1,", "\"revision\":2,", "revision: expected"),
        ("decisions.json", "\"number\":6,", "\"number\":7,", "reason: expected"),
        ("decisions.json", "\"verdict\":\"unauthorized\"", "\"verdict\":\"serve\"", "the verdict"),
        ("decisions.json", "\"answer\":{", "\"answer\":{\"new\":1,", "has `new`, which is not looked at"),
        ("more_decisions.json", "\"slots_max\": 3", "\"slots_max\": 4", "slots_max: expected"),
        (
            "more_decisions.json",
            "\"downloads_max\": 9, \"refused\"",
            "\"downloads_max\": 8, \"refused\"",
            "downloads_max",
        ),
        ("more_decisions.json", "\"number\": 49", "\"number\": 42", "reason: expected"),
        (
            "more_decisions.json",
            "\"from\": \"1\", \"locator\": \"one-two\"",
            "\"locator\": \"one-two\"",
            "from: expected none",
        ),
        (
            "more_decisions.json",
            "\"do\": \"seen\", \"rollout\": \"r7\"",
            "\"do\": \"seen\", \"rollout\": \"r8\"",
            "the rollout of",
        ),
        (
            "more_decisions.json",
            "\"offer\": {\"resources\": [\"ca.pem\"]}",
            "\"offer\": {\"resources\": []}",
            "resources_len",
        ),
        ("thresholds.json", "\"counted\": 2", "\"counted\": 3", "counted: expected"),
        ("transitions.json", "\"transition\": null", "\"transition\": {\"kind\": \"halt\"}", "another `transition`"),
    ];
    for (file, right, wrong, message) in wrongs {
        let text = std::fs::read_to_string(path(file)).unwrap();
        assert!(text.contains(right), "{file} has no {right}");
        let altered = into.join(file);
        std::fs::write(&altered, text.replacen(right, wrong, 1)).unwrap();
        let (passed, told) = told(&altered);
        assert!(!passed && told.contains(message), "{file} with {wrong}: {told}");
    }
}
