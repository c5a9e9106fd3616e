//! Everything at once: eight readers and one writer, in C. What the program checks stands at its head; it ends at the first answer that cannot be, and what watches
//! it reports anything else. `make sanitize` runs it under ThreadSanitizer.

mod common;

use common::{Way, beside, build, run, scratch, text, valgrind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program, built in that way, and the folder that it may write into.
fn program(name: &str, way: Way) -> (PathBuf, PathBuf) {
    let folder = scratch(name);
    (build(&beside("threads.c"), &folder, way, &["-O1"]), folder)
}

/// Its counters by name; nothing else may be said.
fn counters(said: &str) -> Vec<(&str, u64)> {
    let line = said.strip_suffix('\n').filter(|line| !line.contains('\n'));
    let line = line.unwrap_or_else(|| panic!("more than the counters:\n{said}"));
    line.split(", ")
        .map(|part| {
            let mut words = part.split(' ');
            let (name, count) = (words.next().unwrap(), words.next().and_then(|count| count.parse().ok()));
            (name, count.unwrap_or_else(|| panic!("no counter: `{part}`")))
        })
        .collect()
}

/// Runs it, and sees that every kind of thing has happened at least so often.
fn passes(command: &mut Command, at_least: u64) {
    let said = run(command);
    println!("{said}");
    let counters = counters(&said);
    let names: Vec<_> = counters.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["decisions", "applies", "reloads", "replaces", "clones", "refusals", "rounds", "slots", "registered"]
    );
    for (name, count) in counters {
        assert!(count >= at_least, "{name}: {count}, fewer than {at_least}:\n{said}");
    }
}

fn ask(program: &Path, secs: u32, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(secs.to_string()).arg(folder);
    command
}

#[test]
fn a_minute_of_everything_at_once_is_clean_under_address_leak_and_undefined_behaviour_sanitizer() {
    let (program, folder) = program("threads-sanitized", Way::Sanitized);
    passes(&mut ask(&program, 60, &folder), 40);
}

#[test]
fn everything_at_once_agrees_with_the_static_library() {
    let (program, folder) = program("threads-static", Way::Static);
    passes(&mut ask(&program, 3, &folder), 5);
}

#[test]
fn everything_at_once_agrees_with_the_shared_library() {
    let (program, folder) = program("threads-shared", Way::Shared);
    passes(&mut ask(&program, 3, &folder), 5);
}

#[test]
fn valgrind_finds_nothing_while_everything_happens_at_once() {
    let (program, folder) = program("threads-valgrind", Way::Static);
    // Its threads take turns, so that little happens in that time.
    passes(valgrind(&program).arg("3").arg(folder), 1);
}

#[test]
fn two_threads_that_share_a_reader_by_mistake_read_freed_memory_and_are_caught() {
    let (program, folder) = program("threads-planted", Way::Sanitized);
    let output = Command::new(program).arg("planted-text-race").arg(folder).output().unwrap();
    let said = text(&output);
    assert!(!output.status.success() && said.contains("ERROR: AddressSanitizer"), "{said}");
}
