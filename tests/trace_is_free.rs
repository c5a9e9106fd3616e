//! A trace that nobody asks for costs nothing (V6): with `NoTrace` a decision calls what it calls in a build in which the notes were cut out of the source
//! (`--cfg otagate_untraced`), and nothing else, in as many instructions.
//!
//! The two are not equal to the letter: notes borrow locals, which moves some of them from registers to the stack. So the callees must be the same, and the
//! count of instructions within a twentieth.
#![cfg(not(otagate_untraced))]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROBE: &str = r#"
use otagate::*;

/// The whole decision, for every verdict.
#[inline(never)]
pub fn probe(facts: &Facts<'_>, ask: &CheckIn<'_>, now: Timestamp) -> (u16, u16, Option<u32>) {
    let decision = decide(facts, ask, now, &mut NoTrace);
    (decision.status(), decision.reason.number(), decision.retry_after_secs)
}

#[cfg(with_trace)]
#[inline(never)]
pub fn probe_traced(facts: &Facts<'_>, ask: &CheckIn<'_>, now: Timestamp) -> (usize, u16) {
    let mut recorder = Recorder::default();
    let decision = decide(facts, ask, now, &mut recorder);
    (recorder.steps().len(), decision.reason.number())
}
"#;

#[test]
fn no_note_survives_in_the_machine_code() {
    let with_notes = Assembly::of("with-notes", "");
    let without = Assembly::of("without-notes", "--cfg otagate_untraced");
    println!("{} instructions with notes, {} without", with_notes.instructions, without.instructions);
    assert!(without.instructions > 500, "the probe holds the decision");
    assert_eq!(with_notes.callees, without.callees);
    assert!(with_notes.instructions.abs_diff(without.instructions) * 20 <= without.instructions);

    // The comparison can fail: a recorder leaves its mark.
    let traced = Assembly::of("traced", "--cfg with_trace");
    println!("{} instructions with a recorder beside it", traced.instructions);
    assert!(traced.instructions > 2 * without.instructions && traced.callees.len() > without.callees.len());
}

/// What the probe was compiled to.
struct Assembly {
    instructions: usize,
    /// The functions that it calls, without the hash that depends on the compiler's flags.
    callees: BTreeSet<String>,
}

impl Assembly {
    fn of(name: &str, flags: &str) -> Self {
        let text = std::fs::read_to_string(compile(name, flags)).unwrap();
        let instructions =
            || text.lines().filter(|line| line.starts_with('\t') && !line.starts_with("\t.")).map(str::trim);
        let symbols =
            instructions().flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || "_.$".contains(c))));
        let functions = symbols.filter(|word| {
            word.starts_with("_ZN") || word.starts_with("_R") || word.starts_with("mem") || word.starts_with("__")
        });
        let unhashed = functions.map(|name| name.rfind("17h").map_or(name, |hash| &name[..hash]).to_owned());
        Self { instructions: instructions().count(), callees: unhashed.filter(|name| name != "memcpy").collect() }
    }
}

/// Compiles the probe against this crate and gives the path of its assembly.
fn compile(name: &str, flags: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("trace-probe");
    std::fs::create_dir_all(dir.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\notagate = {{ path = {:?} }}\n[profile.release]\ncodegen-units = 1\n",
        root.display().to_string()
    );
    std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(dir.join("src/lib.rs"), PROBE).unwrap();
    std::fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    let assembly = dir.join(format!("{name}.s"));
    let built = Command::new(env!("CARGO"))
        .args(["rustc", "--release", "--lib", "--target-dir"])
        .arg(dir.join(name))
        .args(["--", "--emit", &format!("asm={}", assembly.display())])
        .current_dir(&dir)
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assembly
}
