//! What `make install` puts somewhere is what a program needs that knows nothing else: by pkg-config and by CMake, shared and static.

mod common;

use common::{beside, libraries, root, run, scratch, text};
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const SONAME: &str = concat!("libotagate.so.", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
const VERDICT: &str = concat!("200 lamp-2.0.0.bin by ", env!("CARGO_PKG_VERSION"), "\n");

/// `make` at the root, after the libraries are built. By a cargo that fails, so nothing is built again.
fn make(arguments: &[&str], stage: &Path) -> Command {
    libraries();
    let mut make = Command::new("make");
    make.arg("-s").args(arguments).arg(format!("DESTDIR={}", stage.display())).arg("CARGO=false").current_dir(root());
    for said in ["MAKEFLAGS", "MFLAGS", "PREFIX", "LIBDIR", "INCLUDEDIR"] {
        make.env_remove(said);
    }
    make
}

/// Everything below a folder that is not a folder, by its path from there.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// What an install with these folders consists of.
fn expected(lib: &str, include: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<_> =
        files(&root().join("include")).iter().map(|header| format!("{include}/{header}")).collect();
    let version = env!("CARGO_PKG_VERSION");
    for name in ["libotagate.a", "libotagate.so", SONAME, &format!("libotagate.so.{version}"), "pkgconfig/otagate.pc"] {
        names.insert(format!("{lib}/{name}"));
    }
    for name in ["otagate-config.cmake", "otagate-config-version.cmake"] {
        names.insert(format!("{lib}/cmake/otagate/{name}"));
    }
    names
}

/// Installs for one place, and moves it to another: no file may hang on where it was.
fn moved(folder: &Path, libdir: &str) -> PathBuf {
    let stage = folder.join("a stage");
    run(&mut make(&["install", "PREFIX=/opt/lamp", &format!("LIBDIR={libdir}")], &stage));
    let to = folder.join("moved");
    std::fs::rename(stage.join("opt/lamp"), &to).unwrap();
    to
}

/// What pkg-config answers for what was moved there.
fn pkg_config(prefix: &Path, libdir: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix.join(libdir).join("pkgconfig"));
    command.arg(format!("--define-variable=prefix={}", prefix.display())).args(arguments).arg("otagate");
    run(&mut command).split_whitespace().map(str::to_owned).collect()
}

/// Copies the outside program to where nothing else is.
fn outside(folder: &Path) -> PathBuf {
    let into = folder.join("outside");
    std::fs::create_dir(&into).unwrap();
    for name in ["fleet.h", "main.c", "main.cpp", "CMakeLists.txt"] {
        std::fs::copy(beside("outside").join(name), into.join(name)).unwrap();
    }
    into
}

/// Runs it, with the shared library found there, if it needs one; and looks whether it does.
fn says_the_verdict(program: &Path, shared: Option<&Path>) {
    let dynamic = run(Command::new("readelf").arg("-d").arg(program));
    assert_eq!(dynamic.contains(&format!("[{SONAME}]")), shared.is_some(), "{program:?}: {dynamic}");
    assert_eq!(dynamic.contains("libotagate"), shared.is_some(), "{program:?}: {dynamic}");
    let mut program = Command::new(program);
    match shared {
        Some(lib) => program.env("LD_LIBRARY_PATH", lib),
        None => program.env_remove("LD_LIBRARY_PATH"),
    };
    assert_eq!(run(&mut program), VERDICT, "{program:?}");
}

#[test]
fn a_program_builds_by_pkg_config() {
    let folder = scratch("install_pkg_config");
    let prefix = moved(&folder, "lib");
    let sources = outside(&folder);
    let build = |source: &str, name: &str, more: &[&str], flags: &[String]| {
        let program = sources.join(name);
        let mut compiler = Command::new(if source == "main.cpp" { "c++" } else { "cc" });
        compiler.arg("-Wall").arg("-Werror").args(more).arg(source).args(flags).arg("-o").arg(&program);
        run(compiler.current_dir(&sources));
        program
    };
    assert_eq!(pkg_config(&prefix, "lib", &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let shared = pkg_config(&prefix, "lib", &["--cflags", "--libs"]);
    let all = pkg_config(&prefix, "lib", &["--static", "--cflags", "--libs"]);
    // As otagate.pc says: where both are there, by the archive's name.
    let archive: Vec<_> = all.iter().map(|flag| flag.replace("-lotagate", "-l:libotagate.a")).collect();
    for source in ["main.c", "main.cpp"] {
        says_the_verdict(&build(source, &format!("{source}-shared"), &[], &shared), Some(&prefix.join("lib")));
        says_the_verdict(&build(source, &format!("{source}-archive"), &[], &archive), None);
        says_the_verdict(&build(source, &format!("{source}-static"), &["-static"], &all), None);
    }
    // Where the static one is alone, `--static` is all.
    for name in ["libotagate.so", SONAME] {
        std::fs::remove_file(prefix.join("lib").join(name)).unwrap();
    }
    says_the_verdict(&build("main.c", "alone", &[], &all), None);
}

#[test]
fn a_program_builds_by_cmake() {
    let folder = scratch("install_cmake");
    let prefix = moved(&folder, "lib");
    let sources = outside(&folder);
    for (way, chosen) in [("OFF", true), ("ON", false)] {
        let build = folder.join(way);
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(&sources).arg("-B").arg(&build).arg(format!("-DOTAGATE_USE_STATIC_LIBS={way}"));
        run(configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
        run(Command::new("cmake").arg("--build").arg(&build));
        for (program, shared) in
            [("outside-c", chosen), ("outside-cpp", chosen), ("outside-shared", true), ("outside-static", false)]
        {
            says_the_verdict(&build.join(program), shared.then_some(&prefix.join("lib")));
        }
    }
}

/// A CMake project that only looks for the package; whether it did, and what it found.
fn find_package(folder: &Path, config: &Path, asked: &str, more: &[&str]) -> (bool, String) {
    let project = folder.join("looks");
    let _ = std::fs::remove_dir_all(&project);
    std::fs::create_dir(&project).unwrap();
    let lists = format!(
        "cmake_minimum_required(VERSION 3.19)\nproject(looks LANGUAGES NONE)\nfind_package(otagate {asked} CONFIG REQUIRED)\n\
         get_target_property(chosen otagate::otagate INTERFACE_LINK_LIBRARIES)\n\
         get_target_property(include ${{chosen}} INTERFACE_INCLUDE_DIRECTORIES)\n\
         if(TARGET otagate::static)\nget_target_property(private otagate::static INTERFACE_LINK_LIBRARIES)\nendif()\n\
         message(\"found ${{chosen}} with ${{include}}; private ${{private}}.\")\n"
    );
    std::fs::write(project.join("CMakeLists.txt"), lists).unwrap();
    let mut cmake = Command::new("cmake");
    cmake.arg("-S").arg(&project).arg("-B").arg(project.join("build"));
    cmake.arg(format!("-Dotagate_DIR={}", config.display())).args(more);
    let output = cmake.output().unwrap();
    (output.status.success(), text(&output).split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn cmake_gives_the_version_that_is_asked_for_or_none() {
    let folder = scratch("install_versions");
    let prefix = moved(&folder, "lib");
    let config = prefix.join("lib/cmake/otagate");
    let numbers: Vec<u32> = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap()).collect();
    let [major, minor, patch] = numbers[..] else { panic!("{numbers:?}") };
    assert_eq!(
        major, 0,
        "from 1.0 on, every minor version of one major version is compatible: give this table its rows"
    );
    let (later, next) = (patch + 1, minor + 1);
    for (asked, given) in [
        (String::new(), true),
        (format!("0.{minor}"), true),
        (format!("0.{minor}.{patch}"), true),
        (format!("0.{minor}.{patch} EXACT"), true),
        (format!("0.{minor}...0.{next}"), true),
        (format!("0.{minor}.{later}"), false),
        (format!("0.{next}"), false),
        ("0.0".to_owned(), false),
        ("0".to_owned(), false),
        ("1.0".to_owned(), false),
        (format!("1.{minor}"), false),
        (format!("0.0...<0.{minor}.{patch}"), false),
        (format!("0.{next}...1.0"), false),
    ] {
        let (found, words) = find_package(&folder, &config, &asked, &[]);
        assert_eq!(found, given, "{asked}: {words}");
        assert!(found || words.contains("not accepted"), "{asked}: {words}");
    }
    let (found, words) = find_package(&folder, &config, "", &["-DCMAKE_SIZEOF_VOID_P=2"]);
    assert!(!found && words.contains("for pointers of"), "{words}");
}

#[test]
fn cmake_gives_the_library_that_is_there() {
    let folder = scratch("install_one");
    let prefix = moved(&folder, "lib");
    let (lib, config) = (prefix.join("lib"), prefix.join("lib/cmake/otagate"));
    let statically = ["-DOTAGATE_USE_STATIC_LIBS=ON"];
    assert!(find_package(&folder, &config, "", &[]).1.contains("found otagate::shared with"));
    assert!(find_package(&folder, &config, "", &statically).1.contains("found otagate::static with"));
    // Found through a link, as where /lib leads to /usr/lib.
    symlink(&lib, folder.join("lib")).unwrap();
    let headers = format!("with {};", prefix.join("include").display());
    let (_, words) = find_package(&folder, &folder.join("lib/cmake/otagate"), "", &[]);
    assert!(words.contains(&headers), "{words}");

    std::fs::rename(lib.join("libotagate.a"), folder.join("libotagate.a")).unwrap();
    let (found, words) = find_package(&folder, &config, "", &statically);
    assert!(!found && words.contains("there is no libotagate.a"), "{words}");
    assert!(find_package(&folder, &config, "", &[]).0);
    std::fs::rename(folder.join("libotagate.a"), lib.join("libotagate.a")).unwrap();
    std::fs::remove_file(lib.join(format!("libotagate.so.{}", env!("CARGO_PKG_VERSION")))).unwrap();
    assert!(find_package(&folder, &config, "", &[]).1.contains("found otagate::static with"));
}

#[test]
fn every_file_has_its_place_its_mode_and_no_word_of_where_it_was_built() {
    let folder = scratch("install_places");
    // What is said, where libraries and headers then are, and how otagate.pc and the CMake files get there.
    let places = [
        (vec!["PREFIX=/usr/", "LIBDIR=lib/x86_64-linux-gnu"], "usr/lib/x86_64-linux-gnu", "usr/include", "/usr"),
        (vec!["PREFIX=/usr", "LIBDIR=/usr/lib64/", "INCLUDEDIR=include/lamp"], "usr/lib64", "usr/include/lamp", "/usr"),
        (vec!["LIBDIR=/lib", "INCLUDEDIR=/usr/include"], "lib", "usr/include", "/usr/local"),
        (vec!["PREFIX=/"], "lib", "include", ""),
        (vec![], "usr/local/lib", "usr/local/include", "/usr/local"),
    ];
    for (number, (arguments, lib, include, prefix)) in places.iter().enumerate() {
        let stage = folder.join(number.to_string());
        let mut install = Command::new("sh");
        // Whoever installs may have a umask that would keep others out.
        install.args(["-c", "umask 077; exec \"$@\"", "sh", "make"]);
        let make = make(&[&["install"], &arguments[..]].concat(), &stage);
        install.args(make.get_args()).current_dir(root());
        make.get_envs().for_each(|(name, _)| _ = install.env_remove(name));
        run(&mut install);
        assert_eq!(files(&stage), expected(lib, include), "{arguments:?}");

        let pc = std::fs::read_to_string(stage.join(lib).join("pkgconfig/otagate.pc")).unwrap();
        assert!(pc.contains(&format!("\nprefix={prefix}\n")), "{pc}");
        for (variable, place) in [("libdir", lib), ("includedir", include)] {
            // Moved with the prefix where it is below it.
            let place = format!("/{place}");
            let named = match place.strip_prefix(prefix) {
                Some(below) => format!("${{prefix}}{below}"),
                None => place,
            };
            assert!(
                pc.contains(&format!("\n{variable}={named}\n")),
                "{arguments:?}: {variable} is not {named} in {pc}"
            );
        }
        let (_, words) = find_package(&folder, &stage.join(lib).join("cmake/otagate"), "", &[]);
        assert!(words.contains(&format!("with {};", stage.join(include).display())), "{arguments:?}: {words}");

        for folder in stage.join(lib).join("cmake/otagate").ancestors().take_while(|folder| *folder != stage) {
            let mode = folder.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o755, "{}: {mode:o}", folder.display());
        }
        for file in files(&stage) {
            let path = stage.join(&file);
            if path.is_symlink() {
                assert!(!path.read_link().unwrap().to_str().unwrap().contains('/') && path.is_file(), "{file}");
                continue;
            }
            let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, if file.contains(".so.") { 0o755 } else { 0o644 }, "{file}: {mode:o}");
            let Ok(words) = std::fs::read_to_string(&path) else { continue };
            assert!(!file.contains("libotagate."), "{file} is no library");
            let places =
                [stage.to_str().unwrap(), root().to_str().unwrap(), env!("CARGO_TARGET_TMPDIR"), "/home/", "/root/"]
                    .map(str::to_owned);
            for place in places {
                assert!(!words.contains(&place), "{file} has {place}");
            }
            let unfilled = words.split('@').skip(1).any(|part| part.chars().all(|letter| letter.is_ascii_uppercase()));
            assert!(!unfilled, "{file} has an @ that nothing was put in for: {words}");
        }
    }
}

#[test]
fn installing_twice_is_installing_once_and_uninstalling_leaves_what_was_there() {
    let folder = scratch("install_twice");
    let stage = folder.join("stage");
    let others = [
        "usr/include/other.h",
        "usr/lib/libotagate.so.0.0.9",
        "usr/lib/pkgconfig/other.pc",
        "usr/lib/cmake/otagate/other.cmake",
    ];
    for other in others {
        std::fs::create_dir_all(stage.join(other).parent().unwrap()).unwrap();
        std::fs::write(stage.join(other), "other").unwrap();
    }
    let built: Vec<_> =
        files(libraries()).iter().map(|file| libraries().join(file).metadata().unwrap().modified().unwrap()).collect();
    for _ in 0..2 {
        run(&mut make(&["install", "PREFIX=/usr"], &stage));
        let all: BTreeSet<_> =
            expected("usr/lib", "usr/include").into_iter().chain(others.map(str::to_owned)).collect();
        assert_eq!(files(&stage), all);
    }
    for name in ["libotagate.a", "libotagate.so"] {
        let installed = std::fs::read(stage.join("usr/lib").join(name)).unwrap();
        assert!(installed == std::fs::read(libraries().join(name)).unwrap(), "{name} is not the one that was built");
    }
    let now: Vec<_> =
        files(libraries()).iter().map(|file| libraries().join(file).metadata().unwrap().modified().unwrap()).collect();
    assert!(built == now, "installing built the libraries again");

    for _ in 0..2 {
        run(&mut make(&["uninstall", "PREFIX=/usr"], &stage));
        assert_eq!(files(&stage), BTreeSet::from(others.map(str::to_owned)));
    }
    std::fs::remove_file(stage.join(others[3])).unwrap();
    run(&mut make(&["uninstall", "PREFIX=/usr"], &stage));
    assert!(!stage.join("usr/lib/cmake/otagate").exists());
}

/// That they are enough is shown by the programs above. That none is made up: the standard library's are all, as no package brings one.
#[test]
fn the_private_libraries_are_those_that_rust_names() {
    let folder = scratch("install_private");
    std::fs::write(folder.join("empty.rs"), "").unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--crate-type", "staticlib", "--print", "native-static-libs", "empty.rs"]).current_dir(&folder);
    let words = run(&mut rustc);
    let named = words.lines().find_map(|line| line.strip_prefix("note: native-static-libs: ")).expect(&words);
    let prefix = moved(&folder, "lib");
    let listed = std::fs::read_to_string(prefix.join("lib/pkgconfig/otagate.pc")).unwrap();
    let listed = listed.lines().find_map(|line| line.strip_prefix("Libs.private: ")).unwrap();
    // The compiler links with libgcc anyway, in the kind that fits.
    let named = named.replacen("-lgcc_s ", "", 1);
    assert_eq!(listed, named);
    let (_, words) = find_package(&folder, &prefix.join("lib/cmake/otagate"), "", &[]);
    assert!(words.contains(&format!("private {}.", named.replace(' ', ";"))), "{words}");
}

#[test]
fn cargo_c_is_told_what_make_install_does() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let pc = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("otagate.pc.in")).unwrap();
    let description = pc.lines().find_map(|line| line.strip_prefix("Description: ")).unwrap();
    assert!(manifest.contains(&format!("\ndescription = \"{description}\"")), "{description}");
}
