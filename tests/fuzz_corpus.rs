//! The fuzz targets over their corpus, on stable Rust: what was found once is run for ever.
#![cfg(all(feature = "fleet-file", feature = "wire"))]

#[path = "../fuzz/targets.rs"]
mod targets;

fn replay(name: &str, target: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        // Every input, every cut of it, and every byte of it flipped.
        target(&bytes);
        for at in 0..bytes.len().min(256) {
            target(&bytes[..at]);
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x15;
            target(&flipped);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", dir.display());
}

#[test]
fn check_in() {
    replay("check_in", targets::check_in);
}

#[test]
fn otadrive_request() {
    replay("otadrive_request", targets::otadrive_request);
}

#[test]
fn fleet_file() {
    replay("fleet_file", targets::fleet_file);
}

#[test]
fn version() {
    replay("version", targets::version);
}
