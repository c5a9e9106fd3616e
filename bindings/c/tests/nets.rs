//! The nets hold: what watches the other programs of these tests catches the mistakes that a C program can make with this library, and reports nothing where
//! there is none. A sanitizer that does not run, or a valgrind that is told to look away, would let every other test pass.

mod common;

use common::{Way, beside, build, scratch, text, valgrind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What ends a program under AddressSanitizer or LeakSanitizer.
const SANITIZER: i32 = 86;
/// What ends it under valgrind, as [`valgrind`] says.
const VALGRIND: i32 = 99;

fn program(name: &str, way: Way) -> PathBuf {
    build(&beside("nets.c"), &scratch(name), way, &["-O1"])
}

fn sanitized(program: &Path, mistake: &str) -> Output {
    // Rust keeps no frame pointers, so whole stacks need the slow way.
    let options = format!("exitcode={SANITIZER}:detect_leaks=1:fast_unwind_on_malloc=0:fast_unwind_on_fatal=0");
    // LeakSanitizer shares AddressSanitizer's code but reads its own options too.
    let lsan = format!("exitcode={SANITIZER}");
    Command::new(program).arg(mistake).env("ASAN_OPTIONS", options).env("LSAN_OPTIONS", lsan).output().unwrap()
}

fn watched(program: &Path, mistake: &str) -> Output {
    valgrind(program).arg(mistake).output().unwrap()
}

fn passes(output: &Output) {
    let said = text(output);
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert_eq!(said, "clean: the program has ended by itself\n");
}

/// Ended by the net, which says what it has caught: every word of it.
fn is_caught(output: &Output, code: i32, words: &[&str]) {
    let said = text(output);
    // LeakSanitizer looks at its own process as a debugger does, which a debugger or a sandbox may forbid.
    assert!(
        !said.contains("LeakSanitizer does not work under ptrace"),
        "not to be run under a debugger or strace:\n{said}"
    );
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in:\n{said}");
    }
}

#[test]
fn nothing_is_reported_where_there_is_no_mistake() {
    passes(&sanitized(&program("nets-clean", Way::Sanitized), "clean"));
    for way in [Way::Static, Way::Shared] {
        passes(&watched(&program(&format!("nets-clean-{way:?}"), way), "clean"));
    }
}

#[test]
fn a_reader_and_a_string_that_are_never_freed_are_caught_by_leak_sanitizer_and_by_valgrind() {
    let both = ["otagate_reader_new", "otagate_fleet_lint"];
    let leaks = sanitized(&program("nets-leak", Way::Sanitized), "leak");
    is_caught(&leaks, SANITIZER, &[&["LeakSanitizer: detected memory leaks"][..], &both].concat());
    let leaks = watched(&program("nets-leak-watched", Way::Static), "leak");
    is_caught(&leaks, VALGRIND, &[&["definitely lost"][..], &both].concat());
}

#[test]
fn a_fleet_that_is_freed_twice_is_caught_by_address_sanitizer_and_by_valgrind() {
    let twice = sanitized(&program("nets-double", Way::Sanitized), "double-free");
    // The library itself is not instrumented, so it is caught at the address that it finds where AddressSanitizer has written over what was freed.
    is_caught(&twice, SANITIZER, &["ERROR: AddressSanitizer", "otagate_fleet_free"]);
    let twice = watched(&program("nets-double-watched", Way::Static), "double-free");
    is_caught(&twice, VALGRIND, &["Invalid", "otagate_fleet_free"]);
}

#[test]
fn a_text_that_is_read_when_its_reader_is_gone_is_caught_by_address_sanitizer_and_by_valgrind() {
    let late = sanitized(&program("nets-late", Way::Sanitized), "late-read");
    is_caught(&late, SANITIZER, &["AddressSanitizer: heap-use-after-free", "touch"]);
    let late = watched(&program("nets-late-watched", Way::Static), "late-read");
    is_caught(&late, VALGRIND, &["Invalid read", "touch"]);
}
