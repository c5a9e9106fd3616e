//! What does the C boundary cost a decision, and what does a store of the host's own?
//!
//! Dimensions: called from C with the static and with the shared library × verdict (401 unknown key, 304, serve) × devices (1 k, 100 k); one by one and in batches of 256; and a store by callbacks,
//! whose devices stand in a hash table in C, beside the memory store asked from Rust. The loops in C (`loop.c`) are built here by gcc with the libraries that `make c` made, and loaded, so that all run in
//! one process in turn. Each subject has an index of its own of the same fleet. Every answer is checked.
//!
//! `c_overhead_ns` is the larger of static and shared over the same decide in Rust, of a 304 of 1 k devices: what is left there is the boundary, not the memory.
//!
//! `make bench ONLY=c`

#[path = "../../../benches/common/mod.rs"]
mod common;

use common::{Random, Summary, medians};
use otagate::*;
use otagate_c::{otagate_check_in, otagate_reader, otagate_text};
use std::ffi::{CString, c_char, c_int, c_void};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &[u8] = b"a-key-of-thirty-six-characters-in-all";
const ASKS: usize = 4_096;
const ROUNDS: usize = 41;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The functions of `loop.c`, with one of the libraries.
struct Loops {
    open: Open,
    open_store: OpenStore,
    decide: Decide,
    decide_many: Decide,
    close: Close,
}

type Open = unsafe extern "C" fn(*const c_char, usize) -> *mut otagate_reader;
type OpenStore = unsafe extern "C" fn(*const c_char, usize, *const otagate_text, usize) -> *mut otagate_reader;
type Close = unsafe extern "C" fn(*mut otagate_reader);
type Decide = unsafe extern "C" fn(*mut otagate_reader, *const otagate_check_in, usize, i64, i32) -> usize;

impl Loops {
    fn build(name: &str, link: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut gcc = Command::new("gcc");
        gcc.args([
            "-std=c99",
            "-O2",
            "-fPIC",
            "-shared",
            "-Wl,-Bsymbolic",
            "-I",
            "include",
            "bindings/c/benches/loop.c",
        ]);
        gcc.args(link).arg("-o").arg(&library).current_dir(root);
        assert!(gcc.status().expect("gcc is needed: apt-get install gcc").success(), "{gcc:?}");
        let path = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: a path; RTLD_NOW, so that nothing is bound while it is timed.
        let library = unsafe { dlopen(path.as_ptr(), 2) };
        assert!(!library.is_null(), "{name} cannot be loaded: run `make c`");
        let symbol = |name: &std::ffi::CStr| {
            // SAFETY: the library is loaded.
            let symbol = unsafe { dlsym(library, name.as_ptr()) };
            assert!(!symbol.is_null(), "{name:?}");
            symbol
        };
        // SAFETY: the functions of loop.c, as they stand there.
        unsafe {
            Self {
                open: std::mem::transmute::<*mut c_void, Open>(symbol(c"loop_open")),
                open_store: std::mem::transmute::<*mut c_void, OpenStore>(symbol(c"loop_open_store")),
                decide: std::mem::transmute::<*mut c_void, Decide>(symbol(c"loop_decide")),
                decide_many: std::mem::transmute::<*mut c_void, Decide>(symbol(c"loop_decide_many")),
                close: std::mem::transmute::<*mut c_void, Close>(symbol(c"loop_close")),
            }
        }
    }
}

fn main() {
    let mut summary = Summary::default();
    let linked_static =
        Loops::build("loop-static.so", &["target/c/libotagate.a", "-lgcc_s", "-lrt", "-lpthread", "-lm", "-ldl"]);
    let rpath = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/c").canonicalize().expect("run `make c`");
    let rpath = format!("-Wl,-rpath,{}", rpath.display());
    let linked_shared = Loops::build("loop-shared.so", &["-Ltarget/c", "-lotagate", &rpath]);
    for (name, devices) in [("1k", 1_000), ("100k", 100_000)] {
        bench(name, devices, [&linked_static, &linked_shared], &mut summary);
    }
    summary.write();
}

fn bench(size: &str, devices: usize, [linked_static, linked_shared]: [&Loops; 2], summary: &mut Summary) {
    let mut random = Random(11);
    let serials: Vec<String> = (0..devices).map(|_| format!("{:012x}", random.next() >> 16)).collect();
    let spec = spec(&serials);
    let now = Timestamp::from_millis(1_795_392_000_000);
    let json = serde_json::to_string(&spec).unwrap();
    let mut part = spec.products[0].clone();
    part.devices.clear();
    let document = serde_json::to_string(&part).unwrap();
    let texts: Vec<_> = serials.iter().map(|serial| text(serial.as_bytes())).collect();

    let fleet = spec.build().unwrap();
    let mut reader = Index::new(&fleet).reader();
    let memory = MemoryStore::new(fleet);
    // SAFETY: the functions of loop.c with what they ask for; the texts live to the end of this function.
    let (by_static, by_shared, by_store) = unsafe {
        (
            (linked_static.open)(json.as_ptr().cast(), json.len()),
            (linked_shared.open)(json.as_ptr().cast(), json.len()),
            (linked_static.open_store)(document.as_ptr().cast(), document.len(), texts.as_ptr(), texts.len()),
        )
    };
    assert!([by_static, by_shared, by_store].iter().all(|reader| !reader.is_null()));

    for (name, key, version, status) in [
        ("304", KEY, &b"1.4.0"[..], 304),
        ("serve", KEY, b"1.3.0", 200),
        ("401_key", b"another-key-of-thirty-seven-characters", b"1.4.0", 401),
    ] {
        let asked: Vec<&[u8]> = (0..ASKS).map(|_| serials[random.next() as usize % devices].as_bytes()).collect();
        let asks: Vec<_> = asked.iter().map(|serial| CheckIn { version, ..CheckIn::new(key, serial) }).collect();
        let rows: Vec<_> = asks.iter().map(check_in).collect();
        let call = |decide: Decide, reader| {
            // SAFETY: a reader of loop.c, and check-ins whose texts live through the call.
            let others = unsafe { decide(reader, rows.as_ptr(), rows.len(), now.millis(), status) };
            assert_eq!(others, 0, "every answer is {status}");
        };
        let [rust, c_static, c_shared] = medians(
            ROUNDS,
            ASKS,
            [
                &mut || {
                    for ask in &asks {
                        let decision = reader.decide(black_box(ask), now, &mut NoTrace);
                        assert_eq!(i32::from(decision.status()), status);
                        black_box(&decision);
                    }
                },
                &mut || call(linked_static.decide, by_static),
                &mut || call(linked_shared.decide, by_shared),
            ],
        );
        summary.put(format!("c_overhead_ns_static_{name}_{size}"), c_static - rust);
        summary.put(format!("c_overhead_ns_shared_{name}_{size}"), c_shared - rust);
        summary.put(format!("c_vs_rust_static_{name}_{size}"), c_static / rust);
        summary.put(format!("c_vs_rust_shared_{name}_{size}"), c_shared / rust);
        if (name, size) == ("304", "1k") {
            summary.put("c_overhead_ns", (c_static - rust).max(c_shared - rust));
        }
        if name == "401_key" {
            continue;
        }
        let mut statuses = vec![0; 256];
        let [rust_many, c_many, store, memory] = medians(
            ROUNDS,
            ASKS,
            [
                &mut || {
                    for asks in asks.chunks(256) {
                        reader.decide_batch(asks, now, &mut statuses, |decision| i32::from(decision.status()));
                        assert!(statuses.iter().all(|given| *given == status));
                    }
                },
                &mut || call(linked_static.decide_many, by_static),
                &mut || call(linked_static.decide, by_store),
                &mut || {
                    for ask in &asks {
                        let given =
                            store::answer(&memory, black_box(ask), now, &mut NoTrace, |decision| decision.status());
                        assert_eq!(i32::from(given.unwrap()), status);
                    }
                },
            ],
        );
        summary.put(format!("c_many_overhead_ns_{name}_{size}"), c_many - rust_many);
        summary.put(format!("c_callback_store_ns_{name}_{size}"), store);
        summary.put(format!("c_callback_vs_memory_{name}_{size}"), store / memory);
    }
    // SAFETY: nobody uses them any more.
    unsafe {
        (linked_static.close)(by_static);
        (linked_shared.close)(by_shared);
        (linked_static.close)(by_store);
    }
}

fn text(bytes: &[u8]) -> otagate_text {
    otagate_text { data: bytes.as_ptr().cast(), len: bytes.len() }
}

fn check_in(ask: &CheckIn<'_>) -> otagate_check_in {
    let none = text(b"");
    otagate_check_in {
        struct_size: size_of::<otagate_check_in>(),
        key: text(ask.key),
        serial: text(ask.serial),
        version: text(ask.version),
        hardware: none,
        digest_hex: none,
        resource: none,
        want: 0,
        digest_kind: 0,
    }
}

fn spec(serials: &[String]) -> FleetSpec {
    let artifact = ArtifactSpec {
        size_bytes: 5,
        digests: Digests::blake3_of(b"image"),
        locator: "lamp-1.4.0.bin".into(),
        ..Default::default()
    };
    let device = |serial: &String| DeviceSpec {
        serial: serial.clone(),
        state: DeviceState::Verified,
        group: "stable".into(),
        ..Default::default()
    };
    FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: "lamp".into(),
                keys: vec![ApiKey::new(KeyHash::of(KEY).unwrap())],
                serial_scheme: SerialScheme::Hex,
                versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
                ..Default::default()
            },
            firmware: vec![FirmwareSpec { version: "1.4.0".into(), artifacts: vec![artifact], ..Default::default() }],
            groups: vec![GroupSpec { id: "stable".into(), firmware: Some("1.4.0".into()), ..Default::default() }],
            devices: serials.iter().map(device).collect(),
        }],
    }
}
