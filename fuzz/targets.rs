//! The fuzz targets as plain functions: nightly fuzzes them (`make fuzz`), stable replays the corpus (`tests/fuzz_corpus.rs`).
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each binary uses one of them")]

use otagate::rollout::MemoryLedger;
use otagate::*;

/// Parts of the input, cut at 0xFE, which no UTF-8 text holds.
fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut parts = bytes.splitn(N, |byte| *byte == 0xFE);
    [(); N].map(|()| parts.next().unwrap_or_default())
}

fn store() -> MemoryStore {
    let rules = VersionRulesSpec { scheme: VersionScheme::Semver, prefixes: vec!["v".into()], ..Default::default() };
    let artifact = ArtifactSpec {
        size_bytes: 1,
        digests: Digests::blake3_of(b"image"),
        locator: "image".into(),
        ..Default::default()
    };
    let firmware = |version: &str, from: Option<&str>, stone| FirmwareSpec {
        version: version.into(),
        from: from.map(Into::into),
        stone,
        denied: false,
        artifacts: vec![artifact.clone()],
    };
    let spec = FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: "p".into(),
                keys: vec![ApiKey::new(KeyHash::of(b"k").expect("short"))],
                versions: rules,
                ..Default::default()
            },
            firmware: vec![firmware("1.2.0", None, true), firmware("2.0.0", Some("1.2.0"), false)],
            groups: vec![GroupSpec {
                id: "g".into(),
                firmware: Some("2.0.0".into()),
                policy: Policy::ForwardOnly,
                ..Default::default()
            }],
            devices: vec![DeviceSpec {
                serial: "s".into(),
                state: DeviceState::Verified,
                group: "g".into(),
                ..Default::default()
            }],
        }],
    };
    MemoryStore::new(spec.build().expect("a legal fleet"))
}

/// A whole check-in: any bytes in, one verdict out, and the trace has nothing unescaped in it.
pub fn check_in(bytes: &[u8]) {
    let [key, serial, version, hardware, hex] = parts(bytes);
    let store = store();
    for (key, serial) in [(key, serial), (b"k", serial), (b"k", b"s")] {
        let digest = SentDigest::parse(DigestKind::Md5, hex);
        let ask = CheckIn { version, hardware, digest, ..CheckIn::new(key, serial) };
        let mut trace = Recorder::default();
        let told = store::answer(&store, &ask, Timestamp::from_millis(0), &mut trace, |decision| decision.status());
        assert!(matches!(told, Ok(200 | 304 | 401 | 404)));
        assert!(trace.to_string().bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()));
    }
}

/// A request of the OTAdrive protocol, and its answer: no header has a control character.
pub fn otadrive_request(bytes: &[u8]) {
    let [target, range, sketch] = parts(bytes);
    let Ok(target) = std::str::from_utf8(target) else { return };
    let header = |name: &str| match name {
        "range" => Some(range),
        "x-esp32-sketch-md5" => Some(sketch),
        "x-check-sketch-md5" => Some(&b"1"[..]),
        _ => None,
    };
    for method in ["GET", "HEAD", "POST"] {
        let Ok(request) = wire::otadrive::Request::parse(method, target, header) else { continue };
        let (store, leases) = (store(), Leases::new(1));
        let host = wire::otadrive::Host {
            store: &store,
            ledger: &MemoryLedger::default(),
            leases: &leases,
            times: Default::default(),
        };
        let answer = wire::otadrive::answer(&host, &request, Timestamp::from_millis(0), &mut NoTrace);
        let response = answer.expect("a store in memory does not fail").response;
        assert!(response.headers.iter().all(|(_, value)| !value.bytes().any(|byte| byte.is_ascii_control())));
    }
}

/// A fleet file: problems or a fleet, never a panic.
pub fn fleet_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let dir = std::env::temp_dir().join(format!("otagate-fuzz-{}", std::process::id()));
    let path = dir.join("fleet.toml");
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&path, text))
        .expect("the folder for temporary files can be written");
    if let Err(error) = otagate::fleet_file::load(&path, Timestamp::from_millis(0)) {
        assert!(!error.to_string().is_empty());
    }
}

/// Versions: reading is total, equality symmetric, order antisymmetric, and what is equal is not above.
pub fn version(bytes: &[u8]) {
    let [a, b] = parts(bytes);
    for scheme in [VersionScheme::Exact, VersionScheme::Semver, VersionScheme::Dotted] {
        let rules =
            VersionRulesSpec { scheme, prefixes: vec!["v".into()], ..Default::default() }.build().expect("legal rules");
        let (a, b) = (rules.read(a), rules.read(b));
        assert_eq!(rules.equal(a, b), rules.equal(b, a));
        assert_eq!(rules.order(a, b), rules.order(b, a).map(std::cmp::Ordering::reverse));
        assert!(!rules.equal(a, b) || rules.order(a, b).is_none_or(std::cmp::Ordering::is_eq));
        assert!(rules.equal(a, a));
    }
}
