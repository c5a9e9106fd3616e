//! Gives the shared library its soname: while the version is 0.x, every minor version is an ABI of its own.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let part = |name: &str| std::env::var(name).unwrap_or_default();
    let os = part("CARGO_CFG_TARGET_OS");
    // cargo-c gives its own.
    if std::env::var_os("CARGO_FEATURE_CAPI").is_none() && matches!(os.as_str(), "linux" | "android" | "freebsd") {
        let (major, minor) = (part("CARGO_PKG_VERSION_MAJOR"), part("CARGO_PKG_VERSION_MINOR"));
        let abi = if major == "0" { format!("0.{minor}") } else { major };
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libotagate.so.{abi}");
    }
}
