//! The example of a staged rollout, as an operator reads it: one run goes well to the end, one halts inside its first wave, and every device ends where it should.

use std::process::Command;

/// `cargo test` builds the examples beside the tests.
fn run() -> String {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/staged_rollout");
    assert!(program.exists(), "the example is not built: cargo build --examples");
    let ran = Command::new(program).output().unwrap();
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{told}\n{}", String::from_utf8_lossy(&ran.stderr));
    told
}

#[test]
fn one_goes_well_and_one_stops_itself() {
    let told = run();
    let (good, bad) = told.split_once("=== of 2.1.0").unwrap();
    let mut rest = good;
    for line in [
        "rollout `to-2.0.0`: wave 1 opens; admits 10 of 2000 devices",
        "waits: wave 2 of 3 admits the first 300; the device has place 187 by its census; it opens when 8 of the 10 of wave 1 have finished",
        "wave 2 opens: of wave 1 10 were offered it, 10 have finished, 10 of them succeeded; admits 300 of 2000 devices",
        "wave 3 opens: of wave 2 ",
        "completed: of wave 3 ",
        "2000 devices on 2.0.0",
        "    0 devices were harmed",
    ] {
        let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("no `{line}` in\n{rest}"));
        rest = after;
    }
    let mut rest = bad;
    for line in [
        "wave 1 opens; admits 10 of 2000 devices",
        "halted: 3 failed of ",
        "the operator aborts",
        "2000 devices on 1.4.0",
    ] {
        let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("no `{line}` in\n{rest}"));
        rest = after;
    }
    assert!(!bad.contains("wave 2 opens"), "{bad}");
    let harmed = bad.lines().find_map(|line| line.trim().strip_suffix(" devices were harmed")).unwrap();
    assert!((3..=10).contains(&harmed.parse::<u32>().unwrap()), "no more than the first wave: {harmed}");
    assert_eq!(run(), told, "the same seed tells the same");
}
