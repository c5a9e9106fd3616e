//! `include/otagate.h` compiles as every C and C++ that is in use, says of each function what a caller must know, and promises exactly what the libraries show.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

fn header() -> String {
    std::fs::read_to_string(common::root().join("include/otagate.h")).unwrap()
}

/// The header without comments and without lines of the preprocessor.
fn code() -> String {
    let (text, mut code) = (header(), String::new());
    for (index, part) in text.split("/*").enumerate() {
        code += if index == 0 { part } else { part.split_once("*/").unwrap().1 };
    }
    // A macro goes on in the next line behind a backslash.
    let code = code.replace("\\\n", "");
    code.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// Each function that the library has, with its documentation and its parameters.
struct Function {
    name: String,
    documentation: String,
    parameters: String,
}

fn functions() -> Vec<Function> {
    let text = header();
    let mut found = Vec::new();
    for part in text.split("\n/**\n").skip(1) {
        let (documentation, behind) = part.split_once("*/\n").unwrap();
        let declaration = behind.split([';', '{']).next().unwrap().trim();
        let Some((head, parameters)) = declaration.split_once('(') else { continue };
        if declaration.starts_with(['#', '}']) || head.contains("typedef") || head.contains("static inline") {
            continue;
        }
        let name = head.rsplit([' ', '*']).next().unwrap().to_owned();
        found.push(Function { name, documentation: documentation.to_owned(), parameters: parameters.to_owned() });
    }
    found
}

fn declared() -> BTreeSet<String> {
    functions().into_iter().map(|function| function.name).collect()
}

/// Compiles a source text without linking it.
fn compile(compiler: &str, standard: &str, more: &[&str], source: &str, name: &str) -> Output {
    let into = common::scratch(&format!("header-{name}"));
    let file = into.join(if compiler == "g++" { "uses.cpp" } else { "uses.c" });
    std::fs::write(&file, source).unwrap();
    let mut command = Command::new(compiler);
    command.arg(format!("-std={standard}")).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]).args(more);
    command.args(["-fsyntax-only", "-I"]).arg(common::root().join("include")).arg(&file);
    command.output().unwrap()
}

const TWICE: &str = "#include \"otagate.h\"\n#include \"otagate.h\"\n";
/// Every helper that is compiled into the program is used, so that none goes unseen.
const USES: &str = "
int main(void) {
    otagate_check_in a = otagate_check_in_init();
    otagate_decision b = otagate_decision_init();
    otagate_text c = otagate_text_of(NULL);
    otagate_who d = otagate_who_init();
    otagate_standing e = otagate_standing_init();
    otagate_after *after = NULL;
    int32_t noted = 0;
    otagate_after_free(after);
    return (int)(a.struct_size + b.struct_size + c.len + d.struct_size + e.struct_size) + (int)otagate_text_of(\"x\").len
        + otagate_after_last_byte(after, 60, 0, &noted);
}
";
const C: [&str; 3] = ["c99", "c11", "c17"];
const CPP: [&str; 3] = ["c++11", "c++17", "c++20"];
const MORE_C: [&str; 3] = ["-Wconversion", "-Wshadow", "-Wstrict-prototypes"];
const MORE_CPP: [&str; 2] = ["-Wconversion", "-Wshadow"];

#[test]
fn it_compiles_twice_over_as_every_c() {
    for standard in C {
        let output = compile("gcc", standard, &MORE_C, &format!("{TWICE}{USES}"), standard);
        assert!(output.status.success(), "{standard}: {}", common::text(&output));
    }
}

#[test]
fn it_compiles_twice_over_as_every_cpp() {
    for standard in CPP {
        let output = compile("g++", standard, &MORE_CPP, &format!("{TWICE}{USES}"), standard);
        assert!(output.status.success(), "{standard}: {}", common::text(&output));
    }
}

#[test]
fn it_needs_no_other_header_before_it_and_takes_no_name_that_is_not_its_own() {
    // What the header defines is its own by its name; what it includes are the three headers of every C library.
    let code = code();
    for line in code.lines().filter(|line| !line.starts_with(' ') && line.contains('(')) {
        let is_plain = line.starts_with("extern") || line.starts_with('}') || line.trim().is_empty();
        assert!(is_plain || line.contains("otagate_") || line.contains("OTAGATE_"), "{line}");
    }
    let text = header();
    let includes: Vec<_> = text.lines().filter(|line| line.starts_with("#include")).collect();
    assert_eq!(includes, ["#include <stddef.h>", "#include <stdint.h>", "#include <string.h>"]);
    for line in text.lines().filter(|line| line.starts_with("#define")) {
        let name = line.split_whitespace().nth(1).unwrap();
        assert!(name.starts_with("OTAGATE_"), "{line}");
    }
}

/// A host's own headers name what they take without including this one, before it and after it.
#[test]
fn every_struct_can_be_declared_before() {
    let names = ["decision", "offer", "check_in", "who", "store_callbacks", "digests", "text"];
    let handles = ["fleet", "reader", "store", "ledger", "after", "string", "found"];
    let mut source = String::new();
    for name in names.iter().chain(&handles) {
        source += &format!("struct otagate_{name};\nint own_{name}(struct otagate_{name} *of);\n");
    }
    source += TWICE;
    for name in names.iter().chain(&handles) {
        source += &format!("int own_{name}(otagate_{name} *of) {{ return of == NULL; }}\n");
    }
    let c = compile("gcc", "c99", &MORE_C, &source, "before-c");
    assert!(c.status.success(), "{}", common::text(&c));
    let cpp = compile("g++", "c++11", &MORE_CPP, &source, "before-cpp");
    assert!(cpp.status.success(), "{}", common::text(&cpp));
}

/// What compiles anything would prove nothing.
#[test]
fn a_program_that_is_wrong_does_not_compile() {
    let wrong = format!("{TWICE}int main(void) {{ return otagate_fleet_revision(1, 2, 3); }}\n");
    assert!(!compile("gcc", "c99", &MORE_C, &wrong, "wrong-c").status.success());
    assert!(!compile("g++", "c++11", &MORE_CPP, &wrong, "wrong-cpp").status.success());
}

#[test]
fn every_function_says_who_may_call_it_what_it_gives_and_since_when() {
    let functions = functions();
    assert!(functions.len() >= 50, "{} functions", functions.len());
    let mut problems = Vec::new();
    for Function { name, documentation, parameters } in &functions {
        let mut wanted = vec!["Threads:", "Errors:", "Since:"];
        wanted.extend(parameters.contains('*').then_some("NULL:"));
        problems
            .extend(wanted.iter().filter(|part| !documentation.contains(**part)).map(|part| format!("{name}: {part}")));
        // What is made has an owner, and says how it is freed.
        let makes = parameters.contains("**");
        if makes && (!documentation.contains("Owns:") || !documentation.contains("_free")) {
            problems.push(format!("{name}: Owns: ... _free"));
        }
    }
    assert!(problems.is_empty(), "the header does not say of {}", problems.join(", "));
}

/// A code that a function says it may give is one that there is.
#[test]
fn every_code_that_is_named_exists() {
    let text = header();
    for Function { name, documentation, .. } in functions() {
        let documentation = documentation.replace("\n * ", " ");
        let (_, errors) = documentation.split_once("Errors:").unwrap();
        let (errors, _) = errors.split_once("Since:").unwrap();
        for word in errors.split('`').skip(1).step_by(2) {
            let is_code = word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let known =
                text.contains(&format!("#define OTAGATE_ERROR_{word} ")) || text.contains(&format!("#define {word} "));
            assert!(!is_code || known, "{name} may give `{word}`, and there is no such code");
        }
    }
}

/// The names that a library shows, as `nm` sees them.
fn shown(arguments: &[&str], library: &Path) -> BTreeSet<String> {
    let told = common::run(Command::new("nm").args(arguments).arg("--defined-only").arg(library));
    // `ADDRESS KIND NAME`; other lines name the member of an archive.
    let rows = told.lines().filter_map(|line| line.split_whitespace().nth(2));
    rows.map(str::to_owned).collect()
}

#[test]
fn the_shared_library_shows_the_functions_of_the_header_and_no_other_name() {
    let shown = shown(&["-D"], &common::libraries().join("libotagate.so"));
    let declared = declared();
    let missing: Vec<_> = declared.difference(&shown).collect();
    let beyond: Vec<_> = shown.difference(&declared).collect();
    assert!(missing.is_empty() && beyond.is_empty(), "it does not show {missing:?}, and shows {beyond:?}");
}

#[test]
fn the_static_library_shows_the_functions_of_the_header_and_no_other_name() {
    let shown = shown(&["-g"], &common::libraries().join("libotagate.a"));
    let declared = declared();
    let missing: Vec<_> = declared.difference(&shown).collect();
    let beyond: Vec<_> = shown.difference(&declared).collect();
    assert!(missing.is_empty() && beyond.is_empty(), "it does not show {missing:?}, and shows {beyond:?}");
}

#[test]
fn the_soname_is_that_of_the_abi() {
    let told = common::run(Command::new("objdump").arg("-p").arg(common::libraries().join("libotagate.so")));
    let soname = told.lines().find_map(|line| line.trim().strip_prefix("SONAME")).map(str::trim);
    assert_eq!(soname, Some("libotagate.so.0.1"));
    let file = std::fs::canonicalize(common::libraries().join("libotagate.so.0.1")).unwrap();
    let name = format!("libotagate.so.{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(file.file_name().unwrap().to_str(), Some(&*name), "what the soname leads to");
}

#[test]
fn the_version_of_the_header_is_that_of_the_package_and_of_the_crate() {
    let text = header();
    let number = |part: &str| {
        let start = format!("#define OTAGATE_VERSION_{part} ");
        text.lines().find_map(|line| line.strip_prefix(&*start)).unwrap().to_owned()
    };
    let version = ["MAJOR", "MINOR", "PATCH"].map(number).join(".");
    assert_eq!(version, env!("CARGO_PKG_VERSION"), "bindings/c/Cargo.toml");
    let manifest = std::fs::read_to_string(common::root().join("Cargo.toml")).unwrap();
    let (_, package) = manifest.split_once("[package]").unwrap();
    let line = package.lines().find_map(|line| line.strip_prefix("version = \"")).unwrap();
    assert_eq!(version, line.split('"').next().unwrap(), "Cargo.toml");
    let manifest = std::fs::read_to_string(common::root().join("bindings/c/Cargo.toml")).unwrap();
    let named = manifest.lines().filter_map(|line| line.strip_prefix("version = \""));
    let named: BTreeSet<_> = named.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(named, BTreeSet::from([&*version]), "what bindings/c/Cargo.toml says of cargo-c");
}

#[test]
fn every_struct_has_its_initialiser() {
    let (code, text) = (code(), header());
    // Those two stand inside others, and have no size of their own to say.
    let without = ["otagate_text", "otagate_digests"];
    let mut seen = 0;
    for part in code.split("typedef struct ").skip(1) {
        // `NAME {`; without fields it is a handle.
        let Some((tag, body)) = part.split_once(" {\n").filter(|(name, _)| !name.contains(';')) else { continue };
        let (body, rest) = body.split_once("\n}").unwrap();
        let name = rest.split_once(';').unwrap().0.trim();
        assert_eq!(tag, name, "the tag and the name of a struct");
        let says_its_size = body.trim_start().starts_with("size_t struct_size;");
        let has_init = text.contains(&format!("OTAGATE_INIT({name})")) || text.contains(&format!(" {name}_init(void)"));
        let wanted = !without.contains(&name);
        assert_eq!((says_its_size, has_init), (wanted, wanted), "{name}: (begins with struct_size, has an _init)");
        seen += 1;
    }
    assert!(seen >= 13, "{seen} structs");
}
