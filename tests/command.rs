//! The command, as a shell sees it: what it prints, and how it exits.
#![cfg(feature = "cli")]

#[path = "support/folder.rs"]
mod folder;

use folder::Folder;
use std::path::Path;
use std::process::{Command, Output};

const FLEET: &str = r#"
[[product]]
id = "lamp"
versions = { scheme = "semver" }
devices = "lamps.csv"
default_group = "stable"
[[product.key]]
key = "secret"
[[product.firmware]]
version = "1.0.0"
artifact = [{ locator = "a", size_bytes = 1000, blake3 = "0000000000000000000000000000000000000000000000000000000000000000" }]
[[product.firmware]]
version = "2.0.0"
artifact = [{ locator = "b", size_bytes = 1000, blake3 = "1111111111111111111111111111111111111111111111111111111111111111" }]
[[product.group]]
id = "stable"
firmware = "1.0.0"
"#;

const PLAN: &str = r#"
product = "lamp"
group = "stable"
[rollout]
id = "r2"
target = "2.0.0"
complete = { min_finished = 1 }
waves = [{ size = 2 }, { size = "all", min_finished = 2, success_share = "90 %" }]
"#;

fn otagate(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_otagate")).args(args).current_dir(folder).env("NO_COLOR", "1").output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn fleet() -> Folder {
    let folder = Folder::new("command");
    let rows: String = (0..20).map(|n| format!("SN-{n:02},1.0.0\n")).collect();
    let rows = format!("serial,version\n{rows}");
    for (name, text) in [("fleet.toml", FLEET), ("lamps.csv", &rows), ("plan.toml", PLAN)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn decide_and_explain_say_the_same_in_text_and_json() {
    let folder = fleet();
    let ask = ["fleet.toml", "--product", "lamp", "--serial", "SN-01", "--at", "2026-11-24T08:00:00Z"];
    let told = otagate(folder.path(), &[&["decide"][..], &ask].concat());
    assert_eq!((code(&told), out(&told).as_str()), (0, "304 current: the device has what is meant for it\n"));
    let json = otagate(folder.path(), &[&["decide", "--format", "json"][..], &ask].concat());
    let json: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!((json["status"].as_u64(), json["reason"].as_str()), (Some(304), Some("current")));
    // By its key, and with another version, it is served.
    std::fs::write(folder.path().join("key"), "secret\n").unwrap();
    let by_key = ["explain", "fleet.toml", "--key-file", "key", "--serial", "SN-01", "--device-version", "0.9.0"];
    let told = out(&otagate(folder.path(), &by_key));
    assert!(told.starts_with(" 1 key: product `lamp`") && told.contains("200 serve: "), "{told}");
    let wrong = ["decide", "fleet.toml", "--key", "guess", "--serial", "SN-01"];
    assert!(out(&otagate(folder.path(), &wrong)).starts_with("401 key-unknown"));
}

#[test]
fn a_preview_passes_a_limit_with_1_and_keeps_within_it_with_0() {
    let folder = fleet();
    let change = r#"[{"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": "2.0.0"}]"#;
    std::fs::write(folder.path().join("changes.json"), change).unwrap();
    let ask = |limits: &[&str]| {
        otagate(folder.path(), &[&["preview", "fleet.toml", "--changes", "changes.json"][..], limits].concat())
    };
    let free = ask(&[]);
    assert_eq!(code(&free), 0, "{}", err(&free));
    assert!(out(&free).contains("304 current -> 200 serve 2.0.0"), "{}", out(&free));
    assert_eq!(code(&ask(&["--max-served", "20", "--no-downgrades", "--no-unreachable", "--no-misfits"])), 0);
    let above = ask(&["--max-served", "19", "--csv", "who.csv"]);
    assert_eq!(code(&above), 1);
    assert!(err(&above).contains("refused: 20 devices would newly be served, and 19 may be"), "{}", err(&above));
    assert_eq!(std::fs::read_to_string(folder.path().join("who.csv")).unwrap().lines().count(), 21);
    assert_eq!(code(&ask(&["--max-changed", "19"])), 1);
    let json: serde_json::Value = serde_json::from_str(&out(&ask(&["--format", "json", "--max-served", "1"]))).unwrap();
    assert_eq!(json["preview"]["newly_served"], 20);
    assert_eq!(json["refusals"][0]["limit"], "max-served");
    // Downwards, and to nothing.
    let lower = FLEET.replace("firmware = \"1.0.0\"", "firmware = \"2.0.0\"");
    std::fs::write(folder.path().join("higher.toml"), lower).unwrap();
    let rows = std::fs::read_to_string(folder.path().join("lamps.csv")).unwrap().replace("1.0.0", "2.0.0");
    std::fs::write(folder.path().join("lamps.csv"), rows).unwrap();
    let down = otagate(folder.path(), &["preview", "higher.toml", "fleet.toml", "--no-downgrades"]);
    assert_eq!(code(&down), 1);
    assert!(err(&down).contains("20 devices would go down in version"), "{}", err(&down));
    let none = FLEET.replace("firmware = \"1.0.0\"", "");
    std::fs::write(folder.path().join("none.toml"), none).unwrap();
    assert_eq!(code(&otagate(folder.path(), &["preview", "higher.toml", "none.toml", "--no-unreachable"])), 1);
}

#[test]
fn a_simulation_is_the_same_again_and_refuses_harm() {
    let folder = fleet();
    let ask = ["simulate", "fleet.toml", "--plan", "plan.toml", "--at", "2026-11-24T08:00:00Z", "--days", "2"];
    let run = |more: &[&str]| otagate(folder.path(), &[&ask[..], more].concat());
    let text = run(&[]);
    assert_eq!(code(&text), 0, "{}", err(&text));
    assert!(out(&text).contains("completed; 20 of 20 devices run it, 0 came to harm"), "{}", out(&text));
    let json = |threads| out(&run(&["--seeds", "3", "--format", "json", "--threads", threads]));
    let (one, two) = (json("1"), json("2"));
    assert_eq!(one, two);
    let course: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(course["plans"][0]["bands"]["numbers"]["adopted"]["p50"], 20);
    let drawn = run(&["--html", "page.html", "--svg", "plots"]);
    assert_eq!(code(&drawn), 0, "{}", err(&drawn));
    assert!(std::fs::read_to_string(folder.path().join("page.html")).unwrap().contains("completed after"));
    for plot in ["adoption", "harmed", "check-ins", "bandwidth"] {
        assert!(folder.path().join(format!("plots/{plot}.svg")).is_file());
    }
    std::fs::write(folder.path().join("world.toml"), "[[failures]]\nshare_bps = 10000\n").unwrap();
    let bad = run(&["--world", "world.toml", "--max-harmed", "1"]);
    assert_eq!(code(&bad), 1, "{}", out(&bad));
    assert!(err(&bad).contains("refused: plan `plan`: "), "{}", err(&bad));
}

#[test]
fn what_is_not_done_exits_with_2_and_says_what_to_do() {
    let folder = fleet();
    let said = |args: &[&str], what: &str| {
        let told = otagate(folder.path(), args);
        assert_eq!(code(&told), 2, "{args:?}");
        assert!(err(&told).contains(what), "{args:?}: {}", err(&told));
        assert!(out(&told).is_empty(), "{args:?}: {}", out(&told));
    };
    said(&["lint", "nowhere.toml"], "nowhere.toml");
    said(&["lint", "fleet"], "give a .toml or .json file");
    said(&["lint", "nowhere.db"], "there is no such file");
    said(&["decide", "fleet.toml", "--product", "lump", "--serial", "1"], "the fleet has `lamp`");
    said(&["decide", "fleet.toml", "--serial", "1"], "--product");
    said(&["preview", "fleet.toml"], "AFTER");
    std::fs::write(folder.path().join("bad.toml"), "product = \"lamp\"\n[rollout]\nid = \"r\"\nstate = \"running\"\n")
        .unwrap();
    said(&["simulate", "fleet.toml", "--plan", "bad.toml"], "bad.toml:4:");
    std::fs::write(folder.path().join("world.toml"), "lasts_sec = 1\n").unwrap();
    said(&["simulate", "fleet.toml", "--world", "world.toml"], "world.toml:1:1: unknown field `lasts_sec`");
    std::fs::write(folder.path().join("world.toml"), "tick_secs = 0\n").unwrap();
    said(&["simulate", "fleet.toml", "--world", "world.toml"], "tick_secs: a conductor looks");
}

#[test]
fn lint_warns_with_1_and_ranks_are_those_of_r2() {
    let folder = fleet();
    let clean = otagate(folder.path(), &["lint", "fleet.toml"]);
    assert_eq!((code(&clean), out(&clean).as_str()), (0, "nothing to warn of\n"));
    std::fs::write(folder.path().join("odd.toml"), FLEET.replace("firmware = \"1.0.0\"", "")).unwrap();
    assert_eq!(code(&otagate(folder.path(), &["lint", "odd.toml"])), 1);
    let rank = otagate(folder.path(), &["rank", "--salt", "r7", "--product", "thermostat", "a4cf12345678"]);
    assert_eq!(out(&rank), "12863942186124156992  a4cf12345678\n");
    let first =
        ["rank", "--salt", "r2", "--product", "lamp", "--fleet", "fleet.toml", "--group", "stable", "--first", "3"];
    let first = out(&otagate(folder.path(), &first));
    let mut ranks: Vec<u64> = (0..20).map(|n| otagate::rank("r2", "lamp", &format!("SN-{n:02}"))).collect();
    ranks.sort_unstable();
    let told: Vec<u64> = first.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
    assert_eq!(told, ranks[..3]);
}

#[test]
fn a_fleet_in_sqlite_is_explained_with_what_its_ledger_holds() {
    let folder = fleet();
    let now = otagate::Timestamp::parse("2026-11-24T08:00:00Z").unwrap();
    let loaded = otagate::fleet_file::load(&folder.path().join("fleet.toml"), now).unwrap();
    let store = otagate::sqlite::SqliteStore::open(folder.path().join("fleet.db")).unwrap();
    store.fill(&loaded.fleet).unwrap();
    drop(store);
    let ask = ["explain", "fleet.db", "--product", "lamp", "--serial", "SN-01", "--at", "2026-11-24T08:00:00Z"];
    let told = otagate(folder.path(), &ask);
    assert_eq!(code(&told), 0, "{}", err(&told));
    assert!(out(&told).ends_with("304 current: the device has what is meant for it\n"), "{}", out(&told));
    let same = otagate(folder.path(), &["preview", "fleet.db", "fleet.toml", "--max-changed", "0"]);
    assert_eq!(code(&same), 0, "{}", out(&same));
}

#[test]
fn completions_and_manual_are_printed() {
    let folder = fleet();
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&otagate(folder.path(), &["completions", shell])).contains("simulate"));
    }
    assert!(out(&otagate(folder.path(), &["man"])).contains("otagate"));
    assert_eq!(code(&otagate(folder.path(), &["man", "--dir", "man"])), 0);
    assert!(folder.path().join("man/otagate-simulate.1").is_file());
}
