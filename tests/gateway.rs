//! The gateway, asked over real sockets: the bytes that an OTAdrive client parses, downloads that survive a pause, and what strangers send.
#![cfg(all(feature = "fleet-file", feature = "wire", feature = "sqlite", feature = "postgres"))]

#[path = "../examples/demo/process.rs"]
mod process;
#[path = "support/postgres.rs"]
mod server;

use process::{Gateway, lay_out};
use server::Postgres;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 32 * 1_024;

/// `cargo test` builds the examples beside the tests.
fn program() -> PathBuf {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/gateway");
    assert!(program.exists(), "the gateway is not built: cargo build --all-features --examples");
    program
}

struct Running {
    gateway: Option<Gateway>,
    dir: PathBuf,
    fleet: PathBuf,
    args: Vec<String>,
}

impl Running {
    fn start(test: &str) -> Self {
        Self::start_with(test, &[], &[])
    }

    /// With these edits of the fleet, and these arguments.
    fn start_with(test: &str, edits: &[(&str, &str)], args: &[&str]) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-{test}-{}", std::process::id()));
        let fleet = lay_out(&dir).unwrap();
        for (from, to) in edits {
            let text = std::fs::read_to_string(&fleet).unwrap();
            assert!(text.contains(from), "the fleet has no `{from}`");
            std::fs::write(&fleet, text.replacen(from, to, 1)).unwrap();
        }
        let mut running = Self { gateway: None, dir, fleet, args: args.iter().map(ToString::to_string).collect() };
        running.begin();
        running
    }

    /// Starts the gateway; `FILE` among its arguments is a file of this test's own.
    fn begin(&mut self) {
        let file = self.dir.join("fleet.db").display().to_string();
        let args: Vec<&str> = self.args.iter().map(|arg| if arg == "FILE" { &*file } else { arg }).collect();
        self.gateway = Some(Gateway::start_with(&program(), &self.fleet, &args).unwrap());
    }

    /// Kills the gateway, and starts it again.
    fn kill_and_begin(&mut self) {
        self.gateway.take().unwrap().kill().unwrap();
        self.begin();
    }

    fn gateway(&mut self) -> &mut Gateway {
        self.gateway.as_mut().unwrap()
    }

    /// Edits the fleet file as an operator would, and has it read again.
    fn edit(&mut self, from: &str, to: &str) -> String {
        let text = std::fs::read_to_string(&self.fleet).unwrap();
        assert!(text.contains(from), "the fleet has no `{from}`");
        std::fs::write(&self.fleet, text.replacen(from, to, 1)).unwrap();
        self.gateway().signal("HUP").unwrap();
        self.gateway().wait_for("reloaded ").unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.gateway.take());
        // A folder that cannot be removed is no fault of what was tested.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn update(serial: &str, version: &str) -> String {
    format!("/deviceapi/update?k=thermo-demo-key&s={serial}&v={version}")
}

const STABLE: &str = "24:0A:C4:00:00:01";

/// The units of the canary group by rank: the first three are in its open wave.
fn canary() -> Vec<String> {
    let mut serials: Vec<_> = (1..=8).map(|unit| format!("a4cf125e{unit:04x}")).collect();
    serials.sort_by_key(|serial| otagate::rank("r7", "thermostat", serial));
    serials
}

/// A client of the field looks for `x-MD5` and `Content-Length` byte for byte, and takes the status from `HTTP/1.1 `; a server that spells names its own way is to it one
/// that sent none.
#[test]
fn the_status_line_and_header_names_are_spelled_as_clients_compare_them() {
    let mut running = Running::start("spelling");
    let md5 = running.gateway().ask("HEAD", &update(STABLE, "1.3.0"), "").unwrap().header("x-MD5").unwrap().to_owned();
    let image = std::fs::read(running.dir.join("firmware/thermostat-1.4.0.bin")).unwrap();
    assert_eq!(md5, format!("{:x}", Md5(&image)), "the MD5 is that of the whole image, in lower case");
    let canary = canary();
    for (method, target, headers, expected) in [
        (
            "GET",
            update(STABLE, "1.3.0"),
            "Range: bytes=0-15\r\n",
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Type: application/octet-stream\r\nContent-Length: 16\r\nX-Version: 1.4.0\r\nx-MD5: {md5}\r\nAccept-Ranges: bytes\r\nContent-Range: bytes 0-15/100000\r\n"
            ),
        ),
        (
            "HEAD",
            update(STABLE, "1.3.0"),
            "",
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 100000\r\nX-Version: 1.4.0\r\nx-MD5: {md5}\r\nAccept-Ranges: bytes\r\n"
            ),
        ),
        // One byte past the end is asked by clients of ESP-IDF: the range is clamped.
        (
            "GET",
            update(STABLE, "1.3.0"),
            "Range: bytes=99999-100000\r\n",
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Type: application/octet-stream\r\nContent-Length: 1\r\nX-Version: 1.4.0\r\nx-MD5: {md5}\r\nAccept-Ranges: bytes\r\nContent-Range: bytes 99999-99999/100000\r\n"
            ),
        ),
        ("GET", update(STABLE, "1.4.0"), "", "HTTP/1.1 304 Not Modified\r\nX-Version: 1.4.0\r\n".to_owned()),
        // The target of the rollout is withheld, so what the device reads is the version that it has.
        (
            "GET",
            update(&canary[7], "1.4.0"),
            "",
            "HTTP/1.1 304 Not Modified\r\nX-Version: 1.4.0\r\nRetry-After: 3600\r\n".to_owned(),
        ),
        ("GET", update("24:0A:C4:00:00:07", "1.3.0"), "", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n".to_owned()),
        (
            "GET",
            update("24:0A:C4:00:00:02", "1.3.0"),
            "",
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n".to_owned(),
        ),
        (
            "GET",
            "/deviceapi/update?k=guess&s=1&v=".to_owned(),
            "",
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n".to_owned(),
        ),
    ] {
        let told = running.gateway().ask(method, &target, headers).unwrap();
        let (status, expected) = expected.trim_end().split_once("\r\n").unwrap();
        assert!(told.head.starts_with(&format!("{status}\r\n")), "{method} {target}\n{}", told.head);
        let mut lines: Vec<_> = told.head.split("\r\n").skip(1).collect();
        for line in expected.split("\r\n") {
            let at = lines.iter().position(|held| *held == line);
            lines.remove(at.unwrap_or_else(|| panic!("{method} {target}: no line `{line}` in\n{}", told.head)));
        }
        let rest: Vec<_> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert!(rest.iter().all(|name| ["Connection", "Date"].contains(name)), "nothing else is sent: {rest:?}");
    }
}

/// A release engineer paused a rollout, and devices that were in the middle of a download flashed half of one image and half of another.
#[test]
fn a_ranged_download_survives_a_pause_and_a_new_baseline() {
    let mut running = Running::start("pause");
    let first = canary()[0].clone();
    let image = std::fs::read(running.dir.join("firmware/thermostat-2.0.0.bin")).unwrap();
    let target = update(&first, "1.4.0");
    let head = running.gateway().ask("HEAD", &target, "").unwrap();
    assert_eq!((head.status, head.header("X-Version")), (200, Some("2.0.0")));

    let mut got = Vec::new();
    let mut step = |running: &mut Running| {
        let range = format!("Range: bytes={}-{}\r\n", got.len(), got.len() + CHUNK_BYTES - 1);
        let told = running.gateway().ask("GET", &target, &range).unwrap();
        assert_eq!((told.status, told.header("X-Version")), (206, Some("2.0.0")), "at byte {}", got.len());
        got.extend(told.body);
        got.len()
    };
    step(&mut running);
    running.edit("target = \"2.0.0\"\nstate = \"running\"", "target = \"2.0.0\"\nstate = \"paused\"");
    step(&mut running);
    running.edit("id = \"canary\"\nfirmware = \"1.4.0\"", "id = \"canary\"\nfirmware = \"1.2.0\"");
    step(&mut running);
    assert_eq!(step(&mut running), image.len());
    assert_eq!(got, image);

    // Who had no offer gets none now, and the pause is real.
    let other = running.gateway().ask("GET", &update(&canary()[1], "1.4.0"), "").unwrap();
    assert_ne!(other.header("X-Version"), Some("2.0.0"));
    // The brake that works at once is the deny flag.
    let second = update(&first, "1.3.9");
    assert_eq!(
        running.gateway().ask("HEAD", &second, "").unwrap().header("X-Version"),
        Some("2.0.0"),
        "who holds a live claim keeps it (R7)"
    );
    running.edit("target = \"2.0.0\"\nstate = \"paused\"", "target = \"2.0.0\"\nstate = \"cut\"");
    let third = update(&first, "1.3.8");
    assert_ne!(
        running.gateway().ask("HEAD", &third, "").unwrap().header("X-Version"),
        Some("2.0.0"),
        "another reported version is another offer"
    );
    running.edit("version = \"2.0.0\"\nfrom", "version = \"2.0.0\"\ndenied = true\nfrom");
    let denied = running.gateway().ask("GET", &target, "Range: bytes=0-15\r\n").unwrap();
    assert_ne!(denied.header("X-Version"), Some("2.0.0"), "a denied firmware is served to nobody, leased or not");
}

/// Reloading a fleet file must not reshuffle who is in an open wave, nor forget who registered.
#[test]
fn a_reload_keeps_open_waves_and_registered_devices() {
    let mut running = Running::start("reload");
    let served = |running: &mut Running| -> Vec<bool> {
        let asks = canary();
        asks.iter()
            .map(|serial| running.gateway().ask("HEAD", &update(serial, "1.4.0"), "").unwrap().status == 200)
            .collect()
    };
    let unknown = "/deviceapi/alive?k=thermo-demo-key&s=7C:9E:BD:00:00:09&v=";
    assert_eq!(running.gateway().ask("POST", unknown, "Content-Length: 0\r\n").unwrap().status, 401);
    assert_eq!(running.gateway().reason().unwrap(), "device-unknown");
    assert_eq!(running.gateway().ask("GET", unknown, "").unwrap().status, 401);
    assert_eq!(running.gateway().reason().unwrap(), "device-new");

    let before = served(&mut running);
    assert_eq!(before, [true, true, true, false, false, false, false, false]);
    // Two members of the wave leave: a census taken anew would let two others in.
    let csv = running.dir.join("thermostat.csv");
    let colons = |serial: &str| {
        serial
            .to_uppercase()
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap())
            .collect::<Vec<_>>()
            .join(":")
    };
    let text = std::fs::read_to_string(&csv).unwrap();
    let text = canary()[..2].iter().fold(text, |text, gone| {
        text.replace(&format!("{},verified,canary", colons(gone)), &format!("{},verified,stable", colons(gone)))
    });
    std::fs::write(&csv, text).unwrap();
    running.edit("# the last", "# the very last");
    while running.gateway().log_line().unwrap().contains("alive") {}
    assert_eq!(served(&mut running)[2..], before[2..], "the threshold is frozen");
    let again = running.gateway().ask("GET", unknown, "").unwrap();
    assert_eq!(again.status, 401);
    loop {
        let line = running.gateway().log_line().unwrap();
        if line.contains("\"alive\"") {
            assert!(line.contains("device-new"), "it is remembered: {line}");
            break;
        }
    }
}

/// A reload that was asked for in the moment that the gateway said that it listens ended the gateway: nobody watched for the signal yet.
#[test]
fn a_reload_may_be_asked_for_as_soon_as_the_gateway_listens() {
    for _ in 0..10 {
        let mut running = Running::start("at-once");
        running.gateway().signal("HUP").unwrap();
        running.gateway().wait_for("reloaded ").unwrap();
    }
}

/// A fleet file with a mistake in it, read again at night, must not stop the gateway.
#[test]
fn a_broken_fleet_file_leaves_the_fleet_as_it_was() {
    let mut running = Running::start("broken");
    let text = std::fs::read_to_string(&running.fleet).unwrap();
    std::fs::write(&running.fleet, text.replace("version = \"2.0.0\"", "version = \"two\"")).unwrap();
    running.gateway().signal("HUP").unwrap();
    running.gateway().wait_for("not reloaded").unwrap();
    assert_eq!(running.gateway().ask("GET", &update(STABLE, "1.4.0"), "").unwrap().status, 304);
}

#[test]
fn what_strangers_send_is_answered_with_4xx_and_logged_escaped() {
    let mut running = Running::start("hostile");
    let line = |target: &[u8]| {
        [b"GET /deviceapi/update?", target, b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat()
    };
    let status =
        |bytes: &[u8]| std::str::from_utf8(bytes.get(9..12).unwrap_or_default()).unwrap_or_default().to_owned();
    for (what, request) in [
        ("a parameter twice", line(b"k=a&s=1&s=2&v=")),
        ("a parameter twice, in two cases", line(b"k=a&s=1&S=2&v=")),
        ("a lone %", line(b"k=100%&s=1&v=")),
        ("no serial", line(b"k=a&v=")),
        ("NUL, decoded", line(b"k=thermo-demo-key&s=%00&v=%00")),
        ("CR LF, decoded", line(b"k=thermo-demo-key&s=a%0d%0aX-Evil:%201&v=1%0d%0aX-Evil:%201")),
        ("invalid UTF-8, decoded", line(b"k=%ff&s=%ff&v=%ff")),
        ("invalid UTF-8, raw", line(b"k=\xff&s=\xff&v=\xff")),
        ("NUL, raw", line(b"k=\x00&s=1&v=")),
        ("an escape sequence", line(b"k=thermo-demo-key&s=%1b[31mred&v=%1b[0m")),
        ("DEL, an 8-bit escape, text turned around", line(b"k=thermo-demo-key&s=%7f%c2%9b31m&v=%e2%80%ae")),
        ("a key of 8 KiB", line(&[b"k=".as_slice(), &vec![b'a'; 8 << 10], b"&s=1&v="].concat())),
        ("a key of 1 MiB", line(&[b"k=".as_slice(), &vec![b'a'; 1 << 20], b"&s=1&v="].concat())),
        ("a thousand headers", [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(1_000), b"\r\n"].concat()),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("a path outside", b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec()),
        (
            "another method",
            b"DELETE /deviceapi/update?k=a&s=1&v= HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        ),
    ] {
        // A server may cut the connection before it has read a megabyte: then there is no answer to read, and that is one too.
        let answer = running.gateway().raw(&request).unwrap_or_default();
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() && request.len() > 100_000 || status(&answer).starts_with('4'), "{what}: {text}");
        assert!(!text.contains("X-Evil"), "{what}: {text}");
    }
    // It does not grow by it: neither by what it refuses, nor by strangers that come with a good key.
    let refused = line(&[b"k=".as_slice(), &vec![b'a'; 4 << 10], b"&s=%ff&v=%00"].concat());
    let registers = |number: u32| {
        line(
            format!("k=thermo-demo-key&s={:012x}&v={}", 0x7c9e_bd10_0000_u64 + u64::from(number), "9".repeat(2_000))
                .as_bytes(),
        )
    };
    let mut flood = |from: u32, to: u32| {
        for number in from..to {
            running.gateway().raw(&refused).unwrap();
            running.gateway().raw(&registers(number)).unwrap();
        }
        running.gateway().resident_kib().unwrap()
    };
    // The product registers a thousand at most: from then on nothing is to be kept of anybody.
    let before = flood(0, 1_500);
    let after = flood(1_500, 5_000);
    assert!(after < before + 4_096, "from {before} to {after} KiB by 3 500 requests of 4 KiB and 3 500 of 2 KiB");

    // It is still there, and the log has one line of JSON a request with nothing unescaped in it.
    assert_eq!(running.gateway().ask("GET", &update(STABLE, "1.4.0"), "").unwrap().status, 304);
    loop {
        let line = running.gateway().log_line().unwrap();
        let escaped = line.chars().all(|c| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c));
        assert!(escaped, "unescaped: {line:?}");
        assert!(!line.contains("thermo-demo-key"), "a key is in the log: {line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["status"] == 304 {
            break;
        }
    }
}

/// A device that opens a connection and says nothing must not hold a place for ever.
#[test]
fn a_silent_connection_is_closed() {
    let mut running = Running::start("silent");
    let mut silent = TcpStream::connect(&running.gateway().address).unwrap();
    silent.write_all(b"GET /deviceapi/up").unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).expect("the gateway closes it by itself");
}

/// An operator restarted the gateway, and a thousand devices started their downloads over.
#[test]
fn a_stop_lets_a_running_download_finish() {
    // Larger than what the sockets of both sides can hold, so that most of it is sent after the stop.
    const BYTES: usize = 48 << 20;
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-stop-{}", std::process::id()));
    let fleet = lay_out(&dir).unwrap();
    std::fs::write(dir.join("firmware/thermostat-1.4.0.bin"), vec![7; BYTES]).unwrap();
    let mut running =
        Running { gateway: Some(Gateway::start(&program(), &fleet).unwrap()), dir, fleet, args: Vec::new() };

    let mut stream = TcpStream::connect(&running.gateway().address).unwrap();
    write!(stream, "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", update(STABLE, "1.3.0")).unwrap();
    let mut first = vec![0; 64 * 1_024];
    stream.read_exact(&mut first).unwrap();
    let gateway = running.gateway.take().unwrap();
    gateway.signal("TERM").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(TcpStream::connect(&gateway.address).is_err(), "no new connection is taken");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let whole = [first, rest].concat();
    let body = whole.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(whole.len() - body, BYTES);
    gateway.stop().unwrap();
}

/// The digest by the crate that the fleet file uses, formatted.
struct Md5<'b>(&'b [u8]);

impl std::fmt::LowerHex for Md5<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use md5::Digest;
        md5::Md5::digest(self.0).iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const CANARY_WAVES: &str = "waves = [{ size = 3, open = true }, { size = \"50 %\", min_finished = 3, success_share = \"95 %\", soak_secs = 86400 }, { size = \"all\" }]";

impl Running {
    fn version_for(&mut self, serial: &str, version: &str) -> Option<String> {
        let told = self.gateway().ask("HEAD", &update(serial, version), "").unwrap();
        (told.status == 200).then(|| told.header("X-Version").unwrap().to_owned())
    }

    /// Asks until that is what is given: a gateway follows its database, some milliseconds behind.
    #[track_caller]
    fn gets(&mut self, serial: &str, version: &str, expected: Option<&str>) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let given = self.version_for(serial, version);
            if given.as_deref() == expected {
                return;
            }
            assert!(Instant::now() < until, "{serial} on {version} is given {given:?}, not {expected:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the gateway says of itself.
    fn status(&mut self, address: &str) -> serde_json::Value {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }
}

/// Three devices first, half of them next, then all: nobody touches the gateway, and every device reports nothing but its version. Whatever `between` does to it.
fn moves_on(test: &str, args: &[&str], mut between: impl FnMut(&mut Running)) -> Running {
    let waves = "waves = [{ size = 3 }, { size = \"50 %\", min_finished = 3, success_share = \"100 %\" }, { size = \"all\", min_finished = 1 }]\n\
                 complete = { min_finished = 4 }";
    let mut running = Running::start_with(test, &[(CANARY_WAVES, waves)], args);
    let canary = canary();
    let told = running.gateway().wait_for("rollout: ").unwrap();
    assert!(told.contains("rollout `r7`: wave 1 opens; admits 3 of 8 devices"), "{told}");
    for serial in &canary[..3] {
        running.gets(serial, "1.4.0", Some("2.0.0"));
    }
    between(&mut running);
    running.gets(&canary[3], "1.4.0", None);
    // A device that was never offered it, and has it from elsewhere, counts for nothing.
    running.gets(&canary[7], "2.0.0", None);
    for serial in &canary[..2] {
        running.gets(serial, "2.0.0", None);
    }
    between(&mut running);
    running.gets(&canary[2], "2.0.0", None);
    let told = running.gateway().wait_for("rollout: ").unwrap();
    let second =
        "wave 2 opens: of wave 1 3 were offered it, 3 have finished, 3 of them succeeded; admits 4 of 7 devices";
    assert!(told.contains(second), "{told}");
    running.gets(&canary[3], "1.4.0", Some("2.0.0"));
    between(&mut running);
    running.gets(&canary[3], "2.0.0", None);
    let told = running.gateway().wait_for("rollout: ").unwrap();
    assert!(told.contains("wave 3 opens: of wave 2 1 were offered it, 1 have finished"), "{told}");
    for serial in &canary[4..7] {
        running.gets(serial, "1.4.0", Some("2.0.0"));
        running.gets(serial, "2.0.0", None);
    }
    between(&mut running);
    // The device that got away from 2.0.0 by hand is brought back, as the fourth of the last wave.
    running.gets(&canary[7], "1.4.0", Some("2.0.0"));
    running.gets(&canary[7], "2.0.0", None);
    let told = running.gateway().wait_for("rollout: ").unwrap();
    assert!(told.contains("completed: of wave 3 4 were offered it, 4 have finished"), "{told}");
    running
}

/// The rollout goes on where it was, each claim and each outcome counted once, however often the gateway is killed.
#[test]
fn a_rollout_in_a_file_survives_kill_9() {
    let mut running = moves_on("file", &["--db", "FILE"], Running::kill_and_begin);
    running.gets(&canary()[0], "1.4.0", Some("2.0.0"));
}

#[test]
fn a_rollout_in_postgres_survives_kill_9_and_a_restart_of_the_database() {
    let server = Postgres::start();
    let mut times = 0;
    moves_on("postgres", &["--postgres", &server.conninfo()], |running| {
        times += 1;
        match times {
            2 => server.restart(server::Stop::Immediate),
            _ => running.kill_and_begin(),
        }
    });
}

#[test]
fn a_rollout_straight_through_postgres_moves_on() {
    let server = Postgres::start();
    moves_on("straight", &["--postgres", &server.conninfo(), "--straight"], |_| ());
}

/// Somebody's bad row is told by its key, and all else goes on.
#[test]
fn a_row_that_is_kept_out_is_told() {
    let mut running = Running::start_with("kept-out", &[], &["--db", "FILE", "--admin", "127.0.0.1:0"]);
    let admin = running.gateway().admin.clone().unwrap();
    let by_hand = rusqlite::Connection::open(running.dir.join("fleet.db")).unwrap();
    by_hand.busy_timeout(Duration::from_secs(20)).unwrap();
    by_hand.execute("UPDATE otagate_device SET state = 'verifed' WHERE serial = '240ac4000001'", []).unwrap();
    let told = running.gateway().wait_for("warning: device").unwrap();
    assert!(
        told.contains("`240ac4000001` of product `thermostat` is kept out: cannot be read: `verifed` is no state"),
        "{told}"
    );
    let status = running.status(&admin);
    assert_eq!(status["kept_in"], "sqlite");
    assert_eq!(status["kept_out"][0]["name"], "240ac4000001");
    assert_eq!((&status["lag"], &status["may_serve"]), (&0.into(), &true.into()));
    running.gets(STABLE, "1.3.0", Some("1.4.0"));
    by_hand.execute("UPDATE otagate_device SET state = 'blocked' WHERE serial = '240ac4000001'", []).unwrap();
    running.gateway().wait_for("mended: device `240ac4000001`").unwrap();
    running.gets(STABLE, "1.3.0", None);
    assert_eq!(running.status(&admin)["kept_out"], serde_json::json!([]));
}

/// A database that is not heard of: it goes on serving by default, and answers 503 where it is told to.
#[test]
fn a_stale_fleet_serves_or_not_as_it_is_told() {
    let server = Postgres::start();
    let conninfo = server.conninfo();
    let mut goes_on = Running::start_with("goes-on", &[], &["--postgres", &conninfo]);
    let mut stops = Running::start_with("stops", &[], &["--postgres", &conninfo, "--stale-serve-secs", "1"]);
    server.stop();
    let until = Instant::now() + Duration::from_secs(30);
    while stops.gateway().ask("GET", &update(STABLE, "1.4.0"), "").unwrap().status != 503 {
        assert!(Instant::now() < until, "it goes on serving by what is too old");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(goes_on.gateway().ask("GET", &update(STABLE, "1.4.0"), "").unwrap().status, 304);
    server.start_again();
    let until = Instant::now() + Duration::from_secs(30);
    while stops.gateway().ask("GET", &update(STABLE, "1.4.0"), "").unwrap().status != 304 {
        assert!(Instant::now() < until, "it does not come back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What devices report moves a rollout to its end, and the fleet file, which does not know, is refused with what to write.
#[test]
fn a_rollout_moves_on_by_what_devices_report_and_completes() {
    let mut running = moves_on("moves", &[], |_| ());
    let canary = canary();
    // The target is the baseline now; and the file, which does not know, is refused with what to write.
    assert_eq!(running.version_for(&canary[0], "1.4.0").as_deref(), Some("2.0.0"));
    let refused = {
        running.gateway().signal("HUP").unwrap();
        running.gateway().wait_for("not reloaded").unwrap()
    };
    assert_eq!(refused, ", the fleet is as it was:");
}

/// The image bricks nothing, but devices boot back into the old one: nobody says so, they only ask again.
#[test]
fn a_rollout_halts_itself_when_devices_come_back_with_the_old_version() {
    let waves = "waves = [{ size = 3 }, { size = \"all\", min_finished = 3 }]\nhalt = { failures = 2 }\nmissing = { offers = 2, secs = 0 }\n\
                 penalty = { secs = 600 }";
    let mut running = Running::start_with("halts", &[(CANARY_WAVES, waves)], &["--grace-secs", "0"]);
    let canary = canary();
    running.gateway().wait_for("rollout: ").unwrap();
    for serial in &canary[..2] {
        for _ in 0..2 {
            let told = running.gateway().ask("GET", &update(serial, "1.4.0"), "").unwrap();
            assert_eq!((told.status, told.body.len()), (200, 100_000));
            // The gateway takes down that it was sent.
            std::thread::sleep(Duration::from_millis(300));
        }
        let third = running.gateway().ask("GET", &update(serial, "1.4.0"), "").unwrap();
        assert_eq!(third.status, 304, "two offers, and still elsewhere: it waits");
    }
    let told = running.gateway().wait_for("rollout: ").unwrap();
    assert!(told.contains("rollout `r7`: halted: 2 failed of 2 that have finished"), "{told}");
    assert_eq!(running.version_for(&canary[2], "1.4.0"), None, "nobody is offered it any more");
    // A reload does not set it running again, unless it says so.
    running.gateway().signal("HUP").unwrap();
    let kept = running.gateway().wait_for("warning: ").unwrap();
    assert!(kept.contains("was paused (`halted: 2 failed of 2 that have finished`) and stays paused"), "{kept}");
    running.gateway().wait_for("reloaded ").unwrap();
    assert_eq!(running.version_for(&canary[2], "1.4.0"), None);
    running.edit("state = \"running\"\nstarted_at", "state = \"running\"\nresume = true\nstarted_at");
    assert_eq!(running.version_for(&canary[2], "1.4.0").as_deref(), Some("2.0.0"), "what failed before counts no more");
}

/// "At most two at a time": whoever asks while two download waits, and comes later.
#[test]
fn as_many_download_at_once_as_the_cap_allows() {
    let group = "id = \"stable\"\nfirmware = \"1.4.0\"";
    let capped = format!("{group}\ndownloads_max = 2");
    let devices = ["24:0A:C4:00:00:01", "24:0A:C4:00:00:21", "24:0A:C4:00:00:22"];
    let mut running = Running::start_with("capped", &[(group, &capped)], &["--grace-secs", "0"]);
    let rows: String = devices[1..].iter().map(|serial| format!("{serial},verified,stable,1.3.0\n")).collect();
    let csv = running.dir.join("thermostat.csv");
    std::fs::write(&csv, std::fs::read_to_string(&csv).unwrap() + &rows).unwrap();
    running.gateway().signal("HUP").unwrap();
    running.gateway().wait_for("reloaded ").unwrap();
    for serial in &devices[..2] {
        assert_eq!(running.version_for(serial, "1.3.0").as_deref(), Some("1.4.0"));
    }
    let waits = running.gateway().ask("GET", &update(devices[2], "1.3.0"), "").unwrap();
    assert_eq!(waits.status, 304);
    assert_eq!(waits.header("Retry-After"), Some("3600"), "when the product's devices ask again");
    let whole = running.gateway().ask("GET", &update(devices[0], "1.3.0"), "").unwrap();
    assert_eq!((whole.status, whole.body.len()), (200, 100_000));
    // The gateway takes down that it was sent.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(running.version_for(devices[2], "1.3.0").as_deref(), Some("1.4.0"), "a place is free");
}
