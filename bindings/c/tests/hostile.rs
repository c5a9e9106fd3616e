//! Wrong programs, stores that fail and lie, and a fault inside: a code comes back, nothing is served, and everything works as before.

mod common;

use common::Way;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Strict about the tests' own code too.
const STRICT: [&str; 4] = ["-std=c99", "-O1", "-Wshadow", "-pthread"];

/// The program, and the fleet's file that it loads.
fn program(name: &str, way: Way) -> (PathBuf, PathBuf) {
    let into = common::scratch(&format!("hostile-{name}"));
    let fleet = into.join("fleet.toml");
    std::fs::write(&fleet, "[[product]]\nid = \"p\"\n").unwrap();
    (common::build(&common::beside("hostile.c"), &into, way, &STRICT), fleet)
}

fn exported() -> BTreeSet<String> {
    let library = common::libraries().join("libotagate.so");
    let told = common::run(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
    let names: BTreeSet<_> =
        told.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect();
    assert!(names.len() >= 50, "{names:?}");
    names
}

fn suffers(way: Way) {
    let (program, fleet) = program(&format!("{way:?}"), way);
    // What leaks by its nature is only asked where nobody watches for leaks.
    let more = (way != Way::Sanitized).then_some("leaks");
    common::run(Command::new(program).arg(fleet).args(more));
}

#[test]
fn the_static_library_withstands_every_wrong_call() {
    suffers(Way::Static);
}

#[test]
fn the_shared_library_withstands_every_wrong_call() {
    suffers(Way::Shared);
}

#[test]
fn sanitizers_find_nothing_in_any_wrong_call() {
    suffers(Way::Sanitized);
}

#[test]
fn valgrind_finds_neither_errors_nor_leaks_in_any_wrong_call() {
    let (program, fleet) = program("valgrind", Way::Static);
    common::run(common::valgrind(&program).arg(fleet));
}

/// Who adds a function to the header adds it to the wrong calls.
#[test]
fn no_exported_function_is_left_out() {
    let (program, fleet) = program("exported", Way::Shared);
    // Whether all is as it should be is what the other tests ask.
    let told = common::text(&Command::new(program).arg(fleet).output().unwrap());
    let called: BTreeSet<_> =
        told.lines().filter_map(|line| line.strip_prefix("exercised ")).map(str::to_owned).collect();
    let exported = exported();
    let missing: Vec<_> = exported.difference(&called).collect();
    let unknown: Vec<_> = called.difference(&exported).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not called: {missing:?}; called, but not there: {unknown:?}");
}

/// The library with a fault inside, in a target folder of its own: the other one stays as users get it.
fn planted() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = common::root();
        let folder = root.join("target/c-planted");
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "-q", "--locked", "-p", "otagate-c", "--features", "planted-panic", "--target-dir"]);
        common::run(build.arg(&folder).current_dir(&root));
        let library = folder.join("libotagate.a");
        let mut name = Command::new(root.join("bindings/c/name-exports"));
        common::run(name.arg(folder.join("debug/libotagate_c.a")).arg(&library));
        library
    })
}

fn panics(name: &str, more: &[&str]) -> PathBuf {
    let into = common::scratch(&format!("panic-{name}"));
    let program = into.join("panic");
    let mut compiler = Command::new("gcc");
    compiler.args(common::WARNINGS).args(STRICT).args(more).arg("-I").arg(common::root().join("include"));
    compiler.arg(common::beside("panic.c")).arg("-o").arg(&program).arg(planted()).args(common::PRIVATE_LIBS);
    common::run(&mut compiler);
    program
}

#[test]
fn a_fault_inside_is_a_code_and_denies() {
    let told = common::run(Command::new(panics("static", &[])).env("RUST_BACKTRACE", "0"));
    assert!(told.contains("no panic left the library"), "{told}");
}

#[test]
fn sanitizers_find_nothing_behind_a_fault_inside() {
    let sanitized = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
    common::run(Command::new(panics("sanitized", &sanitized)).env("RUST_BACKTRACE", "0"));
}

#[test]
fn valgrind_finds_neither_errors_nor_leaks_behind_a_fault_inside() {
    common::run(common::valgrind(&panics("valgrind", &[])).env("RUST_BACKTRACE", "0"));
}

/// The fault is only in the library that was built for it: nothing that users get has one.
#[test]
fn the_library_that_users_get_has_no_fault_planted() {
    let into = common::scratch("panic-none");
    let program = common::build(&common::beside("panic.c"), &into, Way::Static, &STRICT);
    let output = Command::new(program).output().unwrap();
    let told = common::text(&output);
    assert!(
        !output.status.success() && told.contains("expected otagate_reader_decide") && !told.contains("panicked"),
        "{told}"
    );
}
