//! How the tests build C programs and run them: with the library that `make c` builds, in the way that is tested.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// How a program is linked, and what watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Static,
    Shared,
    /// Static, under gcc's AddressSanitizer (with leaks) and UndefinedBehaviorSanitizer, each report an error.
    Sanitized,
}

pub const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];
/// What a static program needs besides.
pub const PRIVATE_LIBS: [&str; 5] = ["-lgcc_s", "-lrt", "-lpthread", "-lm", "-ldl"];

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file beside the tests.
pub fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Where the libraries are, built as the sources are now.
pub fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let needed = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("need")).output().unwrap();
        assert!(needed.status.success(), "{}", text(&needed));
        let mut make = Command::new("make");
        make.args(["-s", "c"]).current_dir(root());
        // The make that runs the tests, if one does, has nothing to say about this one.
        make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
        run(&mut make);
        root().join("target/c")
    })
}

/// A folder of this test's own, for what it builds.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Builds a program of one C (or C++) file in that way, with more arguments for the compiler; gives its path.
pub fn build(source: &Path, into: &Path, way: Way, more: &[&str]) -> PathBuf {
    let program = into.join(format!("{}-{way:?}", source.file_stem().unwrap().to_str().unwrap()));
    let cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let mut compiler = Command::new(if cpp { "g++" } else { "gcc" });
    compiler.args(WARNINGS).arg("-I").arg(root().join("include")).arg(source).arg("-o").arg(&program);
    match way {
        Way::Static => compiler.arg(libraries().join("libotagate.a")).args(PRIVATE_LIBS),
        Way::Sanitized => compiler
            .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"])
            .arg(libraries().join("libotagate.a"))
            .args(PRIVATE_LIBS),
        Way::Shared => compiler
            .arg("-L")
            .arg(libraries())
            .arg("-lotagate")
            .arg("-lpthread")
            .arg(format!("-Wl,-rpath,{}", libraries().display())),
    };
    compiler.args(more);
    run(&mut compiler);
    program
}

/// Runs a command that must succeed; gives what it wrote.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    text(&output)
}

/// Under valgrind's memcheck, where every error and every leak ends it with 99, but for what `valgrind.supp` names.
pub fn valgrind(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["-q", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible"]);
    command.arg("--errors-for-leak-kinds=definite,indirect,possible");
    command.arg(format!("--suppressions={}", beside("valgrind.supp").display())).arg(program);
    command
}

/// All that a command wrote.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}
