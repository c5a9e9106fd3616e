//! `include/otagate.h` is what this crate says, and says everything.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn generated() -> String {
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    let mut config = cbindgen::Config::from_file(Path::new(crate_dir).join("cbindgen.toml")).unwrap();
    config.header = Some(std::fs::read_to_string(Path::new(crate_dir).join("header.h")).unwrap());
    config.trailer = Some(std::fs::read_to_string(Path::new(crate_dir).join("trailer.h")).unwrap());
    let mut text = Vec::new();
    cbindgen::generate_with_config(crate_dir, config).unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

/// `OTAGATE_WRITE_HEADER=1`, which is `make header`, writes it anew.
#[test]
fn the_committed_header_is_what_the_crate_says() {
    let path = root().join("include/otagate.h");
    let generated = generated();
    if std::env::var_os("OTAGATE_WRITE_HEADER").is_some() {
        return std::fs::write(path, generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == generated, "include/otagate.h is not what bindings/c/src says: run `make header`");
}
