//! The example of three gateways on one PostgreSQL, as an operator reads it: exactly ten are offered the target, whatever happens to gateways and database.
#![cfg(all(feature = "fleet-file", feature = "wire", feature = "sqlite", feature = "postgres"))]

use std::process::Command;

#[test]
fn three_gateways_offer_exactly_ten() {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/replicas");
    assert!(program.exists(), "the example is not built: cargo build --all-features --examples");
    let ran = Command::new(program).output().unwrap();
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{told}\n{}", String::from_utf8_lossy(&ran.stderr));
    let mut rest = &*told;
    for line in [
        "three gateways on one database, 200 devices",
        "one gateway is killed (kill -9)",
        "PostgreSQL is restarted as by a crash",
        "begins again",
        "to 10 devices; the ledger: 10\nexactly ten\n",
        "all others are offered it now; the ledger: 200",
    ] {
        let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("no `{line}` in\n{rest}"));
        rest = after;
    }
}
