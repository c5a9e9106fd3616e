//! The example of a host's own feed, over files: it loads, follows a writer, takes no half of a line or of a revision, keeps a bad row out, and loads anew
//! where the log was begun again.

use std::process::Command;

#[test]
fn it_tells_what_it_takes_and_what_it_does_not() {
    // `cargo test` builds the examples beside the tests.
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/file_feed");
    assert!(program.exists(), "the example is not built: cargo build --examples");
    let ran = Command::new(program).output().unwrap();
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{told}\n{}", String::from_utf8_lossy(&ran.stderr));
    let lines: Vec<&str> = told.lines().collect();
    let (before, why) = lines.split_at(lines.iter().position(|line| line.starts_with("  ")).unwrap());
    assert_eq!(
        before,
        [
            "loaded: revision 1, 1 devices, 0 kept out",
            "followed: revision 21, 21 devices, 0 kept out",
            "half a line: revision 21, 21 devices, 0 kept out",
            "half a revision: revision 21, 21 devices, 0 kept out",
            "the rest: revision 22, 23 devices, 0 kept out",
            "a bad row: revision 23, 24 devices, 1 kept out",
        ]
    );
    assert!(why[0].starts_with("  device `24` of product `lamp` is kept out: ") && why[0].contains("`lost`"), "{told}");
    assert_eq!(
        why[1..],
        [
            "it is put right: revision 24, 25 devices, 0 kept out",
            "the log was begun again: revision 25, 1 devices, 0 kept out",
            "2 loads, 0 faults",
        ]
    );
}
