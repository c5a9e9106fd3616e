//! The invariants of ARCHITECTURE.md that can be read off the sources, and the map there held against the tree.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust source below `folder`, with its text up to its tests, comments cut off.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let code = code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
                found.push((path.strip_prefix(root()).unwrap().to_owned(), code));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

fn forbid(folders: &[&str], words: &[&str], why: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, code) in folders.iter().flat_map(|folder| sources(folder)) {
        for word in words.iter().filter(|word| code.contains(**word)) {
            faults.push(format!("{}: `{word}`: {why}", path.display()));
        }
    }
    faults
}

#[test]
fn the_core_does_no_io_reads_no_clock_takes_no_lock_and_has_no_unsafe() {
    let core = ["src/decide", "src/fleet"];
    let mut faults = forbid(
        &core,
        &["std::fs", "std::net", "std::io", "std::env", "std::process", "println!", "eprintln!"],
        "no I/O",
    );
    faults.extend(forbid(&core, &["std::time", "Instant", "SystemTime"], "no clock"));
    faults.extend(forbid(&core, &["rand::", "RandomState", "HashMap", "HashSet", "getrandom"], "no random source"));
    faults.extend(forbid(
        &core,
        &["Mutex", "RwLock", "parking_lot", "Atomic", "Condvar", "thread", "LazyLock", "OnceLock"],
        "no lock, no global",
    ));
    faults.extend(forbid(&core, &[" static ", "\nstatic ", "unsafe"], "no global, no unsafe"));
    faults.extend(forbid(&core, &["async ", ".await"], "the core waits for nobody"));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_core_imports_nothing_but_itself_and_time() {
    let allowed = ["check_in", "decide", "fleet", "lease", "time", "verdict", "Timestamp", "STONES_MAX"];
    let mut faults = Vec::new();
    for (path, code) in ["src/decide", "src/fleet"].into_iter().flat_map(sources) {
        for import in code.split("crate::").skip(1) {
            let name: String = import.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !allowed.contains(&name.as_str()) {
                faults.push(format!("{}: crate::{name}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_core_has_no_panic_in_it() {
    let words = ["unwrap()", ".expect(", "panic!", "unreachable!", "todo!", "unimplemented!", "assert!", "assert_eq!"];
    let faults = forbid(&["src/decide", "src/fleet"], &words, "a decision is total (V4)");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn unsafe_stands_nowhere_in_the_crate() {
    let mut faults = forbid(&["src"], &["unsafe "], "denied for the crate");
    faults.extend(forbid(&["src"], &["no_mangle", "extern \"C\"", "c_char"], "C stands in bindings/c"));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every file of the sources stands in the map, and every path of the map exists.
#[test]
fn the_map_in_architecture_is_true() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mapped: Vec<&str> =
        text.split('`').skip(1).step_by(2).filter(|word| word.contains('/') && !word.contains(' ')).collect();
    for path in mapped.iter().filter(|path| !path.contains('*') && !path.starts_with("target/")) {
        let path = path.split('#').next().unwrap();
        assert!(root().join(path).exists(), "ARCHITECTURE.md names `{path}`, which does not exist");
    }
    for (path, _) in sources("src") {
        let path = path.to_str().unwrap();
        let covered = mapped.iter().any(|entry| path == *entry || (entry.ends_with('/') && path.starts_with(entry)));
        assert!(covered, "ARCHITECTURE.md does not name `{path}`, nor its folder");
    }
}

/// No decision is made in a face: it asks the crate.
#[test]
fn a_face_has_no_decision_logic() {
    let words =
        [".pin()", ".cap()", "is_denied", "GroupFacts {", " Decision {", "= Facts {", ".reason =", "Reason::Serve"];
    let mut faults = forbid(&["bindings/c/src"], &words, "the crate decides");
    // Python has a class of that name.
    let words: Vec<&str> = words.into_iter().filter(|word| *word != " Decision {").collect();
    faults.extend(forbid(&["bindings/python/src"], &words, "the crate decides"));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The minimum Rust version is one that every package in the lock file agrees with.
#[test]
fn no_locked_package_wants_a_newer_compiler() {
    let asked = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    let number = |version: &str| {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
        (parts.next().unwrap(), parts.next().unwrap_or(0))
    };
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().find(|package| package["name"] == "otagate").unwrap()["rust_version"].as_str().unwrap();
    for package in packages {
        if let Some(wanted) = package["rust_version"].as_str() {
            assert!(number(wanted) <= number(ours), "{} wants Rust {wanted}, the crate promises {ours}", package["id"]);
        }
    }
}
