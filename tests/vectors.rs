//! The golden files that every language runs: `tests/vectors/*.json`.
//!
//! `OTAGATE_BLESS=1 cargo test --test vectors` writes `decisions.json` anew; read the difference before you commit it.

mod twin;

use otagate::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use twin::draw::{self, Draw};
use twin::translate::{self, WorldStore};
use twin::{reference, world};

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file)
}

fn read(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(file)).unwrap()).unwrap()
}

/// `"input"` as text, or `"input_hex"` as bytes.
fn bytes(row: &Value, name: &str) -> Vec<u8> {
    match row[name].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => {
            let hex = row[format!("{name}_hex")].as_str().unwrap();
            hex.as_bytes().chunks(2).map(|pair| Hex::<1>::parse(pair).unwrap().0[0]).collect()
        }
    }
}

#[test]
fn ranks_are_those_of_the_file() {
    let file = read("ranks.json");
    let rows = file["ranks"].as_array().unwrap();
    assert!(rows.len() >= 200);
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap();
        assert_eq!(rank(text("salt"), text("product"), text("serial")).to_string(), text("rank"), "{row}");
        assert_eq!(reference::rank(text("salt"), text("product"), text("serial")).to_string(), text("rank"), "{row}");
    }
}

/// The file was computed by an implementation of BLAKE3 that shares no line with the one in use.
#[test]
fn the_file_of_ranks_agrees_with_an_independent_blake3() {
    let ran = Command::new("python3").arg(path("blake3_reference.py")).arg("check").arg(path("ranks.json")).output();
    let ran = ran.expect("python3 is needed: apt-get install python3");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
}

#[test]
fn serials_are_read_as_the_file_says() {
    let file = read("serials.json");
    let rows = file["serials"].as_array().unwrap();
    assert!(rows.len() >= 150);
    for row in rows {
        let scheme = row["scheme"].as_str().unwrap();
        let input = bytes(row, "input");
        let ours = translate::serial_scheme(scheme).read(&input);
        let verdict = match ours {
            Ok(_) => "ok",
            Err(SerialFault::Malformed) => "malformed",
            Err(SerialFault::Placeholder) => "placeholder",
        };
        assert_eq!(verdict, row["verdict"], "{row}");
        if let Ok(serial) = ours {
            assert_eq!(serial.as_str(), row["canonical"], "{row}");
        }
        assert_eq!(reference::canonical_serial(scheme, &input).as_deref(), row["canonical"].as_str(), "{row}");
    }
}

#[test]
fn versions_compare_as_the_file_says() {
    let file = read("versions.json");
    let rows = file["equal_and_order"].as_array().unwrap();
    assert!(rows.len() >= 250);
    for row in rows {
        let scheme = match row["scheme"].as_str().unwrap() {
            "exact" => VersionScheme::Exact,
            "semver" => VersionScheme::Semver,
            _ => VersionScheme::Dotted,
        };
        let counts = row["build_metadata"] == "counts";
        let build_metadata = if counts { BuildMetadata::CountsForEquality } else { BuildMetadata::Ignored };
        let prefixes = serde_json::from_value(row["prefixes"].clone()).unwrap();
        let rules = VersionRulesSpec { scheme, prefixes, build_metadata, ..Default::default() }.build().unwrap();
        let (a, b) = (bytes(row, "a"), bytes(row, "b"));
        let (a, b) = (rules.read(&a), rules.read(&b));
        assert_eq!(rules.equal(a, b), row["equal"].as_bool().unwrap(), "{row}");
        assert_eq!(rules.equal(b, a), row["equal"].as_bool().unwrap(), "{row}");
        let order = |order: Option<std::cmp::Ordering>| order.map(|order| order as i64);
        assert_eq!(order(rules.order(a, b)), row["order"].as_i64(), "{row}");
        assert_eq!(order(rules.order(b, a)), row["order"].as_i64().map(|order| -order), "{row}");
    }
}

#[test]
fn whole_answers_are_those_of_the_file() {
    let file = read("decisions.json");
    if std::env::var_os("OTAGATE_BLESS").is_some() {
        return std::fs::write(path("decisions.json"), drawn()).unwrap();
    }
    let (mut cases, mut reasons) = (0, std::collections::BTreeSet::new());
    for fleet in file["fleets"].as_array().unwrap() {
        let spec: FleetSpec = serde_json::from_value(fleet["fleet"].clone()).unwrap();
        let store = MemoryStore::new(spec.build().unwrap());
        for case in fleet["cases"].as_array().unwrap() {
            let (key, serial) = (bytes(case, "key"), bytes(case, "serial"));
            let (version, hardware) = (bytes(case, "version"), bytes(case, "hardware"));
            let kind = |name: &str| serde_json::from_value::<DigestKind>(json!(name)).unwrap();
            let digest = case["digest"].as_object().and_then(|sent| {
                SentDigest::parse(kind(sent["kind"].as_str().unwrap()), sent["hex"].as_str().unwrap().as_bytes())
            });
            let name = case["resource"].as_str().map(str::as_bytes);
            let want = match case["want"].as_str().unwrap() {
                "firmware" => Want::Firmware,
                "config" => Want::Config,
                "resources" => Want::Resources,
                _ => Want::Resource(name.unwrap()),
            };
            let ask = CheckIn { key: &key, serial: &serial, version: &version, hardware: &hardware, digest, want };
            let now = Timestamp::from_millis(case["now"].as_i64().unwrap());
            let answer =
                store::answer(&store, &ask, now, &mut NoTrace, |decision| serde_json::to_value(decision).unwrap());
            let answer = answer.unwrap();
            assert_eq!(answer, case["answer"], "{case}");
            reasons.insert(answer["reason"].as_str().unwrap().to_owned());
            cases += 1;
        }
    }
    // Without a ledger in the file, nobody holds a claim or a penalty.
    let expected: Vec<_> =
        Reason::ALL.iter().map(|reason| reason.name()).filter(|name| !["penalty"].contains(name)).collect();
    assert!(cases >= 400 && expected.iter().all(|name| reasons.contains(*name)), "{cases} cases, {reasons:?}");
}

/// Drawn fleets with drawn check-ins, kept where a reason is still rare; the answers are the reference's as well as ours.
fn drawn() -> String {
    let mut met = std::collections::BTreeMap::<&str, u32>::new();
    let mut fleets = Vec::new();
    for seed in 0..400 {
        let draw = &mut Draw(seed);
        let mut drawn = draw::world(draw);
        for product in &mut drawn.products {
            for device in &mut product.devices {
                (device.claim_expires_at, device.download_expires_at, device.penalty) = (None, None, None);
            }
            for group in &mut product.groups {
                // No ledger counts downloads or slots; a cap of 0 is full all the same.
                group.downloads = group.downloads.map(|(max, _)| (max, 0));
                if let Some(taken) = group.rollout.as_mut().and_then(|rollout| rollout.first_come_taken.as_mut()) {
                    *taken = 0;
                }
            }
        }
        let store = WorldStore::new(&drawn);
        let mut cases = Vec::new();
        for _ in 0..40 {
            let ask = draw::ask(draw, &drawn);
            let answer = store.decide(&ask, |decision| serde_json::to_value(decision).unwrap());
            assert_eq!(store.answer(&ask), reference::answer(&drawn, &ask));
            let count = met.entry(store.answer(&ask).reason).or_default();
            if *count < 16 {
                *count += 1;
                cases.push(case(&ask, answer));
            }
        }
        if !cases.is_empty() {
            fleets.push((translate::fleet_spec(&drawn), cases));
        }
    }
    // One fleet and one case per line: differences stay readable.
    let mut text = String::from(
        "{\"note\": \"each fleet is a FleetSpec; each case a check-in at `now` (ms) with the whole answer; bytes that are no text stand as hex\",\n\"fleets\": [\n",
    );
    for (index, (fleet, cases)) in fleets.iter().enumerate() {
        let cases: Vec<_> = cases.iter().map(Value::to_string).collect();
        text += if index == 0 { "" } else { ",\n" };
        text += &format!(
            "{{\"fleet\": {},\n\"cases\": [\n{}\n]}}",
            serde_json::to_string(fleet).unwrap(),
            cases.join(",\n")
        );
    }
    text + "\n]}\n"
}

fn case(ask: &world::Ask, answer: Value) -> Value {
    let mut case = json!({ "now": ask.now, "want": translate::check_in(ask).want.name(), "answer": answer });
    for (name, bytes) in
        [("key", &ask.key), ("serial", &ask.serial), ("version", &ask.version), ("hardware", &ask.hardware)]
    {
        match std::str::from_utf8(bytes) {
            Ok(text) => case[name] = json!(text),
            Err(_) => {
                case[format!("{name}_hex")] = json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
        }
    }
    if let Some((kind, hex)) = &ask.digest {
        case["digest"] = json!({ "kind": kind, "hex": String::from_utf8_lossy(hex) });
    }
    if let world::Want::Resource(name) = &ask.want {
        case["resource"] = json!(String::from_utf8_lossy(name));
    }
    case
}
