//! The programs in `examples/c`: each builds without a warning, in both libraries, under the sanitizers and valgrind, and does what it says. The gateway is asked
//! over real sockets: the bytes that a device parses, downloads that survive a pause, changes while threads keep asking, what strangers send, and a clean end.

mod common;
#[path = "../../../examples/demo/process.rs"]
mod demo;

use common::{Way, build, root, run, scratch, text, valgrind};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

const C99: [&str; 3] = ["-std=c99", "-Wconversion", "-Wshadow"];

fn example(name: &str) -> PathBuf {
    root().join("examples/c").join(name)
}

const DECIDE: &str = "\
A4:CF:12:34:56:78 1.9.0: 200 serve lamp-2.0.0.bin, 1048576 bytes
A4:CF:12:34:56:78 2.0.0: 304 current
00:00:5E:00:53:01 1.9.0: 401 device-unknown
";

#[test]
fn the_smallest_program_says_what_it_should() {
    let folder = scratch("example-decide");
    for way in [Way::Static, Way::Shared, Way::Sanitized] {
        assert_eq!(run(&mut Command::new(build(&example("decide.c"), &folder, way, &C99))), DECIDE, "{way:?}");
    }
}

const STORE: &str = "\
A4:CF:12:34:56:78 1.9.0: 200 serve lamp-2.0.0.bin
A4:CF:12:34:56:79 1.9.0: 401 device-blocked
00:00:5E:00:53:01 1.9.0: 401 device-unknown
00:00:5E:00:53:01 1.9.0: 401 device-new
00:00:5E:00:53:02 1.9.0: 401 device-unknown
00:00:5E:00:53:02 1.9.0: 401 device-unknown
-- 2.1.0 is assigned, by plain SQL
A4:CF:12:34:56:78 2.0.0: 200 serve lamp-2.1.0.bin
1000 answers to 4 threads, 0 of them neither 2.0.0 nor 2.1.0
-- a table is lost
A4:CF:12:34:56:78 2.0.0: OTAGATE_ERROR_STORE: `group` gave the error code 1; to SQLite that is `SQL logic error`
";

#[test]
fn a_store_over_sqlite_decides_changes_and_fails_as_it_should() {
    let folder = scratch("example-store");
    let more = [&C99[..], &["-lsqlite3"]].concat();
    for way in [Way::Static, Way::Shared, Way::Sanitized] {
        let program = build(&example("custom_store.c"), &folder, way, &more);
        let path = folder.join(format!("{way:?}.db"));
        assert_eq!(run(Command::new(&program).arg(&path)), STORE, "{way:?}");
        // One that is there already is left alone.
        let again = Command::new(&program).arg(&path).output().unwrap();
        assert_eq!(again.status.code(), Some(1), "{}", text(&again));
        if way == Way::Static {
            assert_eq!(run(valgrind(&program).arg(folder.join("valgrind.db"))), STORE, "under valgrind");
        }
    }
}

const DECIDE_CPP: &str = "\
A4:CF:12:34:56:78 1.9.0: 200 serve lamp-2.0.0.bin, 1048576 bytes
A4:CF:12:34:56:78 2.0.0: 304 current
00:00:5E:00:53:01 1.9.0: 401 device-unknown
OTAGATE_ERROR_REFUSED: changes[0].group: there is no group `beta`
kept 1.9.0: 200 serve lamp-2.0.0.bin, 1048576 bytes
A4:CF:12:34:56:78 1.9.0: 200 serve lamp-2.0.0.bin, 1048576 bytes
503: the connection to the table of devices is lost
A4:CF:12:34:56:78 2.0.0: 304 current
";

const CPP: [&str; 2] = ["-Wconversion", "-Wshadow"];

#[test]
fn cpp_says_the_same_in_every_standard() {
    let folder = scratch("example-cpp");
    for (standard, way) in [
        ("-std=c++11", Way::Static),
        ("-std=c++14", Way::Shared),
        ("-std=c++17", Way::Sanitized),
        ("-std=c++20", Way::Static),
        ("-std=c++11", Way::Sanitized),
    ] {
        let program = build(&example("decide.cpp"), &folder, way, &[&CPP[..], &[standard]].concat());
        assert_eq!(run(&mut Command::new(&program)), DECIDE_CPP, "{standard} {way:?}");
        if way == Way::Static {
            assert_eq!(run(&mut valgrind(&program)), DECIDE_CPP, "{standard} under valgrind");
        }
    }
}

/// What the example has no use for; each step says who it is when it fails.
const WRAPPER: &str = r##"
#include <otagate.hpp>
#include <otagate.hpp>
#include <cstdio>
#include <cstdlib>
#include <thread>

#define MUST(what) do { if (!(what)) { std::fprintf(stderr, "line %d: %s\n", __LINE__, #what); std::exit(1); } } while (0)

template <typename Call> std::int32_t code_of(Call call) {
    try { call(); } catch (const otagate::error &refused) { MUST(*refused.what() != '\0'); return refused.code(); }
    return OTAGATE_OK;
}

static const std::int64_t NOW = 1795428000000;
static const std::string KEY = "5fbf08af2b116ab8f7f3c14b8ec01a46ce23d290e2ebc7a752d0982d54c054f2";
static const std::string DIGEST = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
static const std::string PRODUCT = R"({"product": {"id": "lamp", "register_on_first_contact": true, "keys": [{"hash": ")" + KEY + R"("}]},
    "firmware": [{"version": "2", "artifacts": [{"size_bytes": 7, "locator": "two.bin", "digests": {"blake3": ")" + DIGEST + R"("}}]}],
    "groups": [{"id": "default", "firmware": "2", "downloads_max": 1, "resources": [
      {"name": "a", "size_bytes": 1, "locator": "a.bin", "digests": {"blake3": ")" + DIGEST + R"("}},
      {"name": "b", "size_bytes": 2, "locator": "b.bin", "digests": {"blake3": ")" + DIGEST + R"("}}]}])";

static otagate::check_in ask(const std::string &serial) {
    otagate::check_in made;
    made.key = "secret"; made.serial = serial; made.version = "1";
    return made;
}

struct odd : otagate::host_store {
    struct looks : otagate::view {
        std::string how; int *open;
        looks(const std::string &asked, int *count) : how(asked), open(count) { ++*open; }
        ~looks() override { --*open; }
        std::uint64_t revision() override { if (how == "revision") throw 7; return 1; }
        void product_of_key(const std::uint8_t *, const otagate::found &into) override {
            if (how == "garbage") into.document("lamp", 1, "{"); else if (!into.known("lamp", 1)) into.document("lamp", 1, PRODUCT + "}");
        }
        void device(otagate::text_view, otagate::text_view serial, const otagate::found &into) override {
            if (serial.str() == "stranger") return;
            otagate_device row = otagate_device_init();
            row.serial = serial.c(); row.group = otagate_text_of("default"); row.state = OTAGATE_DEVICE_VERIFIED;
            into.device(row);
        }
        void group(otagate::text_view, otagate::text_view, const otagate::found &) override { std::abort(); }
        void standing(otagate::text_view, otagate::text_view, otagate::text_view, const otagate::found &into) override {
            if (how == "standing") throw std::string("no standing");
            otagate_standing row = otagate_standing_init();
            row.downloads_now = 1;
            into.standing(row);
        }
    };
    std::string *how; int open = 0; bool *gone;
    odd(std::string *asked, bool *told) : how(asked), gone(told) {}
    ~odd() override { MUST(open == 0); *gone = true; }
    std::unique_ptr<otagate::view> open_view() override {
        if (*how == "null") return nullptr;
        return std::unique_ptr<otagate::view>(new looks(*how, &open));
    }
    std::int32_t register_device(otagate::text_view product, otagate::text_view, std::int64_t at) override {
        MUST(product.str() == "lamp" && at == NOW);
        if (*how == "odd") return 99;
        throw std::runtime_error("read only");
    }
};

int main() {
    MUST(code_of([] { otagate::fleet broken("{"); }) == OTAGATE_ERROR_JSON);
    MUST(code_of([] { otagate::fleet::load("/nowhere/fleet.toml", NOW); }) == OTAGATE_ERROR_IO);
    MUST(code_of([] { otagate::store none(nullptr); }) == OTAGATE_ERROR_NULL);

    otagate::fleet fleet(R"({"revision": 3, "products": [)" + PRODUCT + "}]}");
    otagate::device one, two;
    one.serial = "one"; two.serial = "two"; one.group = two.group = "default";
    one.state = two.state = OTAGATE_DEVICE_VERIFIED;
    MUST(fleet.add_devices("lamp", {one, two}) == 4 && fleet.revision() == 4 && fleet.clone().revision() == 4);
    MUST(fleet.to_json().find("\"version\":\"\"") == std::string::npos);
    otagate::fleet moved = std::move(fleet);
    MUST(code_of([&] { fleet.revision(); }) == OTAGATE_ERROR_NULL);
    fleet = std::move(moved);

    otagate::ledger ledger(10);
    otagate::reader reader(fleet);
    otagate::decision first = reader.attend(ledger, ask("one"), 60, NOW), second = reader.attend(ledger, ask("two"), 60, NOW);
    MUST(first.served && first.served->locator == "two.bin" && first.effect && first.effect->settled && first.effect->downloads_max == 1);
    MUST(first.served->digests.hex(OTAGATE_DIGEST_BLAKE3) == DIGEST && first.served->digests.hex(OTAGATE_DIGEST_MD5).empty());
    MUST(second.reason == OTAGATE_REASON_DOWNLOADS_FULL && !second.served && second.meant == "2");
    MUST(reader.who().product == "lamp" && reader.who().serial == "two" && reader.who().state == OTAGATE_DEVICE_VERIFIED);
    MUST(reader.attend(ledger, ask("one"), 60, NOW).served->leased);
    otagate::after left = reader.take_after(), none = reader.take_after();
    MUST(left && !none && none.last_byte(60, NOW) == OTAGATE_NOTED_FOREIGN);
    none.answer(NOW);
    // It stands by itself: the reader decides another meanwhile, or is gone, and another thread carries it out.
    reader = otagate::reader(fleet);
    MUST(fleet.device("lamp", "one").find("\"version\":\"1\"") == std::string::npos);
    std::thread([&] { left.answer(NOW); left.last_byte(60, NOW); }).join();
    MUST(fleet.device("lamp", "one").find("\"version\":\"1\"") != std::string::npos);
    MUST(reader.attend(ledger, ask("two"), 60, NOW + 59000).reason == OTAGATE_REASON_DOWNLOADS_FULL);
    MUST(reader.attend(ledger, ask("two"), 60, NOW + 61000).served != nullptr);
    left = otagate::after();
    otagate::report report;
    report.product = "lamp"; report.serial = "one"; report.outcome = OTAGATE_OUTCOME_FAILED;
    MUST(fleet.report(ledger, report, NOW) == OTAGATE_NOTED_FOREIGN); // there is no rollout
    MUST(reader.report(ledger, ask("one"), OTAGATE_OUTCOME_CONFIRMED, NOW) == OTAGATE_NOTED_FOREIGN);
    MUST(code_of([&] { reader.report(ledger, ask("one"), OTAGATE_OUTCOME_OFFERED, NOW); }) == OTAGATE_ERROR_ARGUMENT);
    MUST(code_of([&] { reader.who(); }) == OTAGATE_ERROR_NOTHING);
    MUST(!reader.identify(ask("one"), NOW) && reader.who().group == "default");
    MUST(reader.identify(ask("nobody"), NOW)->reason == OTAGATE_REASON_DEVICE_UNKNOWN && reader.who().serial.empty());
    MUST(otagate::key_hash("secret") == KEY && code_of([] { otagate::key_hash(std::string(2000, 'a')); }) == OTAGATE_ERROR_LENGTH);
    const otagate::range part = otagate::parse_range("bytes=2-99", 10), whole = otagate::parse_range({}, 10);
    MUST(part.kind == OTAGATE_RANGE_PART && part.first == 2 && part.last == 9 && whole.kind == OTAGATE_RANGE_WHOLE);
    MUST(otagate::parse_range("bytes=10-", 10).kind == OTAGATE_RANGE_UNSATISFIABLE);
    MUST(otagate::ledger::from_json(ledger.to_json(), 10).clone().to_json() == ledger.to_json());
    MUST(fleet.advance(ledger, NOW).empty() && fleet.advance(ledger, NOW, OTAGATE_FORMAT_JSON) == "[]");

    MUST(reader.decide(ask("one"), NOW).effect->kind == OTAGATE_EFFECT_CLAIM);
    MUST(reader.refuse(OTAGATE_REFUSED_DOWNLOADS).reason == OTAGATE_REASON_DOWNLOADS_FULL);
    MUST(code_of([&] { reader.refuse(OTAGATE_REFUSED_DOWNLOADS); }) == OTAGATE_ERROR_NOTHING);
    otagate::check_in list = ask("one");
    list.want = OTAGATE_WANT_RESOURCES;
    otagate::decision all = reader.decide(list, NOW);
    MUST(all.served->resources.size() == 2 && all.served->resources[1].locator == "b.bin");
    MUST(reader.decide_many({ask("one"), ask("three")}, NOW)[1].effect == nullptr);
    MUST(reader.explain(ask("one"), NOW, OTAGATE_FORMAT_TEXT, &ledger).find("200 serve") != std::string::npos);
    MUST(code_of([&] { reader.explain(ask("one"), NOW, 99); }) == OTAGATE_ERROR_ARGUMENT);
    reader.decide(ask("three"), NOW);
    MUST(reader.decide(ask("three"), NOW).reason == OTAGATE_REASON_DEVICE_UNKNOWN);
    reader.take_after().answer(NOW);
    MUST(reader.decide(ask("three"), NOW).reason == OTAGATE_REASON_DEVICE_NEW);
    std::uint64_t sum = 0;
    for (std::uint64_t count : fleet.verdicts("lamp")) sum += count;
    MUST(sum > 5 && fleet.to_json().find("three") != std::string::npos && fleet.lint(NOW).front() == '[');

    std::string how; bool gone = false;
    {
        otagate::store store(std::unique_ptr<otagate::host_store>(new odd(&how, &gone)), otagate::groups_in::products);
        otagate::reader asks(store);
        otagate::store other = store.clone();
        MUST(asks.decide(ask("one"), NOW).reason == OTAGATE_REASON_DOWNLOADS_FULL);
        auto thrown = [&](const char *which) { how = which; asks.decide(ask("one"), NOW); };
        try { thrown("revision"); MUST(false); } catch (int seven) { MUST(seven == 7); }
        try { thrown("standing"); MUST(false); } catch (const std::string &said) { MUST(said == "no standing"); }
        try { thrown("null"); MUST(false); } catch (const std::logic_error &) {}
        MUST(code_of([&] { thrown("garbage"); }) == OTAGATE_ERROR_JSON);
        how.clear();
        MUST(asks.decide(ask("stranger"), NOW).effect->kind == OTAGATE_EFFECT_REGISTER);
        const otagate::after registers = asks.take_after();
        try { registers.answer(NOW); MUST(false); } catch (const std::runtime_error &said) { MUST(std::string(said.what()) == "read only"); }
        // What a call of the C function left behind is not taken for the next failure's.
        asks.decide(ask("stranger"), NOW);
        otagate::reader raw(store);
        otagate_decision told = otagate_decision_init();
        const otagate::check_in one_asks = ask("one");
        const otagate_check_in row = one_asks.c();
        how = "standing";
        MUST(otagate_reader_decide(raw.get(), &row, NOW, &told) == OTAGATE_ERROR_STORE);
        MUST(told.status == OTAGATE_STATUS_UNAUTHORIZED && otagate_last_store_code() == otagate::detail::threw);
        how = "odd";
        MUST(code_of([&] { registers.answer(NOW); }) == OTAGATE_ERROR_GARBAGE);
        how.clear();
        // Nothing is left over for the next error of this thread, nor for another's.
        MUST(code_of([&] { asks.explain(ask("one"), NOW, 99); }) == OTAGATE_ERROR_ARGUMENT);
        std::thread([&] { otagate::reader there(store); MUST(there.decide(ask("one"), NOW).meant == "2"); }).join();
        how = "standing";
        try { asks.explain(ask("one"), NOW, OTAGATE_FORMAT_JSON); MUST(false); } catch (const std::string &) {}
    }
    MUST(gone);
    std::string copied = otagate::text_view("abc", 2);
    MUST(copied == "ab" && otagate::text_view().str().empty() && otagate::text_view(copied).c().len == 2);
    return 0;
}
"##;

#[test]
fn the_cpp_wrapper_keeps_what_it_promises() {
    let folder = scratch("wrapper");
    let source = folder.join("wrapper.cpp");
    std::fs::write(&source, WRAPPER).unwrap();
    for (standard, way) in [("-std=c++11", Way::Sanitized), ("-std=c++17", Way::Shared), ("-std=c++20", Way::Sanitized)]
    {
        run(&mut Command::new(build(&source, &folder, way, &[&CPP[..], &[standard]].concat())));
    }
    // The header alone, where an engineer includes it in two files.
    let other = folder.join("other.cpp");
    std::fs::write(
        &other,
        "#include <otagate.hpp>\nint other();\nint other() { return otagate::fleet(\"\").revision() == 0; }\n",
    )
    .unwrap();
    build(&source, &folder, Way::Static, &[other.to_str().unwrap(), "-std=c++11", common_library().as_str()]);
}

/// A second file comes behind the library on the command line, so that the library is named once more.
fn common_library() -> String {
    common::libraries().join("libotagate.a").to_str().unwrap().to_owned()
}

/// The gateway under the sanitizers, built once: whatever a test does with it, it must end without a report and without a leak.
fn gateway() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build_gateway(&scratch("example-gateway"), Way::Sanitized))
}

fn build_gateway(folder: &Path, way: Way) -> PathBuf {
    build(&example("gateway.c"), folder, way, &[&C99[..], &["-lmicrohttpd"]].concat())
}

/// A gateway that runs, with a fleet and files of its own; it ends with the test, however that ends.
struct Running {
    process: Child,
    address: String,
    admin: String,
    errors: Receiver<String>,
    /// A line for each answer.
    log: Receiver<String>,
    dir: PathBuf,
}

impl Running {
    fn start(test: &str) -> Self {
        Self::start_with(gateway(), test, &[])
    }

    fn start_with(program: &Path, test: &str, edits: &[(&str, &str)]) -> Self {
        let dir = scratch(&format!("gateway-{test}-{}", std::process::id()));
        let fleet = demo::lay_out(&dir).unwrap();
        edits.iter().for_each(|(from, to)| replace(&fleet, from, to));
        let mut process = Command::new(program)
            .arg("--fleet")
            .arg(&fleet)
            .arg("--firmware")
            .arg(dir.join("firmware"))
            .args(["--port", "0", "--admin-port", "0"])
            .env("OTAGATE_TEST_GATE", dir.join("gate"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (log, errors) = (lines(process.stdout.take().unwrap()), lines(process.stderr.take().unwrap()));
        let mut running = Self { process, address: String::new(), admin: String::new(), errors, log, dir };
        running.admin = running.wait_for("administered on ");
        running.address = running.wait_for("listening on ");
        running
    }

    /// Waits until it says something that starts so, and gives the rest.
    fn wait_for(&self, start: &str) -> String {
        let mut before = String::new();
        loop {
            match self.errors.recv_timeout(Duration::from_secs(20)) {
                Ok(line) => match line.strip_prefix(start) {
                    Some(rest) => return rest.to_owned(),
                    None => before += &format!("{line}\n"),
                },
                Err(RecvTimeoutError::Timeout) => panic!("it never said `{start}`, but\n{before}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended and never said `{start}`, but\n{before}"),
            }
        }
    }

    /// What it says of the next answer.
    fn logged(&self) -> String {
        self.log.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn signal(&self, name: &str) {
        run(Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]));
    }

    fn ask(&self, method: &str, target: &str, headers: &str) -> Told {
        Connection::open(&self.address).ask(method, target, headers, "").unwrap()
    }

    /// Applies changes as an administrator.
    fn change(&self, json: &str) -> Told {
        Connection::open(&self.admin).ask("POST", "/admin/changes", "", json).unwrap()
    }

    fn changed(&self, json: &str) {
        let told = self.change(json);
        assert_eq!(told.status, 200, "{json}: {}", String::from_utf8_lossy(&told.body));
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.join("firmware").join(name)).unwrap()
    }

    /// Edits the fleet file as an operator would, and has it read again.
    fn edit(&self, from: &str, to: &str) {
        replace(&self.dir.join("fleet.toml"), from, to);
        self.signal("HUP");
        self.wait_for("reloaded ");
    }

    /// It ends by itself, without a report of a sanitizer, which makes another exit code.
    fn stop(mut self, signal: &str) {
        self.signal(signal);
        let ended = self.process.wait().unwrap();
        let said: String = self.errors.iter().map(|line| line + "\n").collect();
        assert!(ended.success() && !said.contains("Sanitizer"), "{ended}\n{said}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `stop` there is nothing left to end; after a panic there is.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What it writes, line by line, read as it comes so that it never waits.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    receive
}

/// What is done after an answer may be done a moment after the client has it.
fn soon(mut is: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if is() {
            return true;
        }
        sleep(Duration::from_millis(20));
    }
    false
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} has no `{from}`", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// One connection, kept alive as devices keep it.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, method: &str, target: &str, headers: &str, body: &str) -> std::io::Result<Told> {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: gateway\r\n{headers}{length}\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = head.trim_end().to_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut told = Told { status, head, body: Vec::new() };
        if method != "HEAD" && status != 304 {
            let length = told.header("Content-Length").expect("a length").parse().unwrap();
            told.body.resize(length, 0);
            self.0.read_exact(&mut told.body)?;
        }
        Ok(told)
    }
}

struct Told {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Told {
    /// By exact spelling, as some clients look.
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The status line and headers, but for the time and what is about the connection.
    fn lines(&self) -> Vec<&str> {
        self.head.split("\r\n").filter(|line| !line.starts_with("Date:") && !line.starts_with("Connection:")).collect()
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

#[test]
fn the_gateway_runs_with_either_library() {
    let folder = scratch("gateway-builds");
    for way in [Way::Static, Way::Shared] {
        let program = build_gateway(&folder, way);
        let help = run(Command::new(&program).arg("--help"));
        assert!(help.contains("Usage: gateway --fleet FILE"), "{help}");
        for wrong in [&["--port", "x", "--fleet", "a"][..], &["--fleet"], &["--nonsense", "1"], &[]] {
            let output = Command::new(&program).args(wrong).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output));
        }
        let running = Running::start_with(&program, &format!("{way:?}"), &[]);
        assert_eq!(running.ask("HEAD", &update(STABLE, "1.3.0"), "").status, 200);
        running.stop("TERM");
    }
    let none = Command::new(gateway()).args(["--fleet", "/nowhere/fleet.toml", "--firmware", "/tmp"]).output().unwrap();
    assert_eq!(none.status.code(), Some(1), "{}", text(&none));
    assert!(text(&none).contains("OTAGATE_ERROR_IO"), "{}", text(&none));
}

/// A client of the field looks for `x-MD5` and `Content-Length` byte for byte, and takes the status from `HTTP/1.1 `.
#[test]
fn the_gateway_spells_each_verdict_as_clients_compare_it() {
    let running = Running::start("spelling");
    let md5 = running.ask("HEAD", &update(STABLE, "1.3.0"), "").header("x-MD5").expect("x-MD5, so spelled").to_owned();
    assert!(md5.len() == 32 && md5.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{md5}");
    let file = |status: &str, length: u32, range: Option<&str>| {
        let mut lines = vec![
            format!("HTTP/1.1 {status}"),
            "Content-Type: application/octet-stream".into(),
            "X-Version: 1.4.0".into(),
            format!("x-MD5: {md5}"),
            "Accept-Ranges: bytes".into(),
        ];
        lines.extend(range.map(|range| format!("Content-Range: bytes {range}/100000")));
        lines.push(format!("Content-Length: {length}"));
        lines
    };
    let plain = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let canary = canary();
    for (method, target, headers, expected) in [
        ("HEAD", update(STABLE, "1.3.0"), "", file("200 OK", 100_000, None)),
        // The length of a HEAD is that of the whole file, whatever range it names.
        ("HEAD", update(STABLE, "1.3.0"), "Range: bytes=0-15\r\n", file("200 OK", 100_000, None)),
        ("GET", update(STABLE, "1.3.0"), "", file("200 OK", 100_000, None)),
        ("GET", update(STABLE, "1.3.0"), "Range: bytes=0-15\r\n", file("206 Partial Content", 16, Some("0-15"))),
        ("GET", update(STABLE, "1.3.0"), "Range: bytes=0-0\r\n", file("206 Partial Content", 1, Some("0-0"))),
        ("GET", update(STABLE, "1.3.0"), "Range: bytes=-5\r\n", file("206 Partial Content", 5, Some("99995-99999"))),
        (
            "GET",
            update(STABLE, "1.3.0"),
            "Range: bytes=99000-\r\n",
            file("206 Partial Content", 1_000, Some("99000-99999")),
        ),
        // One byte past the end is asked by clients of ESP-IDF: the range is clamped.
        (
            "GET",
            update(STABLE, "1.3.0"),
            "Range: bytes=99999-100000\r\n",
            file("206 Partial Content", 1, Some("99999-99999")),
        ),
        ("GET", update(STABLE, "1.3.0"), "Range: bytes=9-3\r\n", file("200 OK", 100_000, None)),
        ("GET", update(STABLE, "1.3.0"), "Range: bytes=0-1,4-5\r\n", file("200 OK", 100_000, None)),
        (
            "GET",
            update(STABLE, "1.3.0"),
            "Range: bytes=100000-\r\n",
            plain(&["HTTP/1.1 416 Range Not Satisfiable", "Content-Range: bytes */100000", "Content-Length: 0"]),
        ),
        (
            "GET",
            update(STABLE, "1.3.0"),
            "Range: bytes=99999999999999999999999-\r\n",
            plain(&["HTTP/1.1 416 Range Not Satisfiable", "Content-Range: bytes */100000", "Content-Length: 0"]),
        ),
        // Names in either case, and nothing encoded.
        (
            "GET",
            format!("/deviceapi/update?K=thermo-demo-key&S={STABLE}&V=v1.4.0+5"),
            "",
            plain(&["HTTP/1.1 304 Not Modified", "X-Version: 1.4.0", "Content-Length: 0"]),
        ),
        // The target of the rollout is withheld, so what the device reads is the version that it has.
        (
            "GET",
            update(&canary[7], "1.4.0"),
            "",
            plain(&["HTTP/1.1 304 Not Modified", "X-Version: 1.4.0", "Retry-After: 3600", "Content-Length: 0"]),
        ),
        // The constant that clients send means nothing.
        ("GET", update(STABLE, "1.3.0"), "If-None-Match: *\r\n", file("200 OK", 100_000, None)),
        ("GET", update("24:0A:C4:00:00:07", "1.3.0"), "", plain(&["HTTP/1.1 404 Not Found", "Content-Length: 0"])),
        ("GET", update("24:0A:C4:00:00:02", "1.3.0"), "", plain(&["HTTP/1.1 401 Unauthorized", "Content-Length: 0"])),
    ] {
        let told = running.ask(method, &target, headers);
        assert_eq!(told.lines(), expected, "{method} {target} {headers}");
    }
    // On the way to 2.0.0 a device of 1.0.0 is given the stone, under the stone's own version.
    let stone = running.ask("HEAD", &update("24:0A:C4:00:00:0A", "1.0.0"), "");
    assert_eq!((stone.status, stone.header("X-Version")), (200, Some("1.2.0")));
    running.stop("INT");
}

#[test]
fn all_401_look_the_same() {
    let running = Running::start("same");
    let asks = [
        "/deviceapi/update?k=guess&s=24:0A:C4:00:00:01&v=1.3.0".to_owned(),
        "/deviceapi/update?k=&s=&v=".to_owned(),
        "/deviceapi/update?k=thermo-stolen-key&s=24:0A:C4:00:00:01&v=1.3.0".to_owned(),
        "/deviceapi/update?k=thermo-key-of-2025&s=24:0A:C4:00:00:01&v=1.3.0".to_owned(),
        update("7C:9E:BD:00:00:09", "1.3.0"), // unknown, and registered after the answer
        update("7C:9E:BD:00:00:09", "1.3.0"), // new by now
        update("24:0A:C4:00:00:02", "1.3.0"), // blocked
        update("24:0A:C4:00:00:03", "1.3.0"), // disabled
        update("nonsense", "1.3.0"),
        update("00:00:00:00:00:00", "1.3.0"),
        update("%00%ff", "%00"),
        "/deviceapi/alive?k=guess&s=1".to_owned(),
        "/deviceapi/config?k=thermo-demo-key&s=24:0A:C4:00:00:02".to_owned(),
        "/deviceapi/resource/list?plain&k=guess&s=1".to_owned(),
        "/deviceapi/resource/get?fk=61&k=guess&s=1".to_owned(),
    ];
    for target in &asks {
        let told = running.ask("GET", target, "");
        assert_eq!(told.lines(), ["HTTP/1.1 401 Unauthorized", "Content-Length: 0"], "{target}");
    }
    // Only the operator sees why, and whom it was about.
    let log: Vec<_> = asks.iter().map(|_| running.logged()).collect();
    for (line, start) in [
        (0, "GET /deviceapi/update - - - 401 key-unknown"),
        (2, "GET /deviceapi/update thermostat 240ac4000001 stable 401 key-revoked"),
        (3, "GET /deviceapi/update thermostat 240ac4000001 stable 401 key-expired"),
        (4, "GET /deviceapi/update thermostat - - 401 device-unknown"),
        (6, "GET /deviceapi/update thermostat 240ac4000002 stable 401 device-blocked"),
        (8, "GET /deviceapi/update thermostat - - 401 serial-malformed"),
        (11, "GET /deviceapi/alive - - - 401 key-unknown"),
    ] {
        assert_eq!(log[line], start, "{}", asks[line]);
    }
    let stranger = || {
        running.ask("GET", &asks[4], "");
        running.logged() == "GET /deviceapi/update thermostat 7c9ebd000009 stable 401 device-new"
    };
    assert!(soon(stranger), "it was never registered");
    running.stop("TERM");
}

/// Holds back what comes after an answer until a file is there, and lets no grace pass after a last byte.
const GATE: &str = r#"
#define _POSIX_C_SOURCE 200809L
#include <otagate.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int32_t __real_otagate_after_answer(const otagate_after *after, int64_t now);
int32_t __wrap_otagate_after_answer(const otagate_after *after, int64_t now);
int32_t __real_otagate_after_last_byte(const otagate_after *after, uint32_t grace_secs, int64_t now, int32_t *noted);
int32_t __wrap_otagate_after_last_byte(const otagate_after *after, uint32_t grace_secs, int64_t now, int32_t *noted);
int32_t __wrap_otagate_after_answer(const otagate_after *after, int64_t now) {
    const struct timespec moment = {0, 10000000};
    while (after != NULL && access(getenv("OTAGATE_TEST_GATE"), F_OK) != 0) nanosleep(&moment, NULL);
    return __real_otagate_after_answer(after, now);
}
int32_t __wrap_otagate_after_last_byte(const otagate_after *after, uint32_t grace_secs, int64_t now, int32_t *noted) {
    (void)grace_secs;
    return __real_otagate_after_last_byte(after, 0, now, noted);
}
"#;

fn gated() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = scratch("gated-gateway");
        let gate = folder.join("gate.c");
        std::fs::write(&gate, GATE).unwrap();
        let library = common_library();
        let wrap = "-Wl,--wrap=otagate_after_answer,--wrap=otagate_after_last_byte";
        let more = [&C99[..], &[gate.to_str().unwrap(), library.as_str(), wrap, "-lmicrohttpd"]].concat();
        build(&example("gateway.c"), &folder, Way::Sanitized, &more)
    })
}

/// A stranger's registration took the time of a write, and whoever measured the answers had a list of the serials that exist.
#[test]
fn a_stranger_is_registered_when_its_answer_is_sent() {
    let running = Running::start_with(gated(), "registers", &[]);
    for (number, call) in ["update", "alive"].into_iter().enumerate() {
        let target = format!("/deviceapi/{call}?k=thermo-demo-key&s=7C:9E:BD:00:00:0{number}&v=1.3.0");
        let reason = || {
            // The answer is there, while nothing that comes after it is done.
            assert_eq!(running.ask("GET", &target, "").lines(), ["HTTP/1.1 401 Unauthorized", "Content-Length: 0"]);
            running.logged().rsplit_once(' ').unwrap().1.to_owned()
        };
        let _ = std::fs::remove_file(running.dir.join("gate"));
        assert_eq!((reason(), reason()), ("device-unknown".to_owned(), "device-unknown".to_owned()), "{call}");
        std::fs::write(running.dir.join("gate"), "").unwrap();
        assert!(soon(|| reason() == "device-new"), "{call}: it was never registered");
    }
    running.stop("TERM");
}

#[test]
fn an_arrival_is_noted_when_the_answer_is_sent() {
    let waves = "waves = [{ size = 3, open = true }, { size = \"all\", min_finished = 3, success_share = \"100 %\" }]";
    let running = Running::start_with(gated(), "arrives", &[(CANARY_WAVES, waves)]);
    std::fs::write(running.dir.join("gate"), "").unwrap();
    let canary = canary();
    for serial in &canary[..3] {
        assert_eq!(running.ask("HEAD", &update(serial, "1.4.0"), "").header("X-Version"), Some("2.0.0"));
    }
    for serial in &canary[..2] {
        assert_eq!(running.ask("HEAD", &update(serial, "2.0.0"), "").status, 304);
    }
    std::fs::remove_file(running.dir.join("gate")).unwrap();
    // The last of three has its answer, and by the ledger two have arrived.
    assert_eq!(running.ask("HEAD", &update(&canary[2], "2.0.0"), "").status, 304);
    assert_eq!(running.errors.recv_timeout(Duration::from_secs(3)), Err(RecvTimeoutError::Timeout), "it moved on");
    std::fs::write(running.dir.join("gate"), "").unwrap();
    assert!(running.wait_for("rollouts: ").contains("wave 2 opens"));
    running.stop("TERM");
}

/// A device fetched its config in the middle of a download, and put the rest of another image behind the first half.
#[test]
fn a_config_in_the_middle_of_a_download_leaves_that_its_lease() {
    let running = Running::start_with(gated(), "config", &[]);
    std::fs::write(running.dir.join("gate"), "").unwrap();
    let target = update(STABLE, "1.3.0");
    let image = download(&running, &target, "1.4.0", || {
        for other in ["config?", "resource/list?plain&", "resource/get?fk=63612e70656d&"] {
            let told = running.ask("GET", &format!("/deviceapi/{other}k=thermo-demo-key&s={STABLE}"), "");
            assert_eq!(told.status, 200, "{other}");
        }
        // Time for what comes after their last bytes, which ends at once what it ends.
        sleep(Duration::from_millis(300));
        running.changed(r#"{"change":"assign-firmware","product":"thermostat","group":"stable","firmware":"2.0.0"}"#);
    });
    assert!(image == running.file("thermostat-1.4.0.bin"), "the image that was put together is another");
    // The last byte of the firmware itself ends it.
    let ended = || running.ask("HEAD", &target, "").header("X-Version") == Some("2.0.0");
    assert!(soon(ended), "the lease never ended");
    running.stop("TERM");
}

/// A download that broke off is no download: the lease is there for the rest of it.
#[test]
fn a_download_that_breaks_off_keeps_its_lease() {
    const BYTES: usize = 24 << 20;
    let running = Running::start_with(gated(), "breaks", &[]);
    std::fs::write(running.dir.join("gate"), "").unwrap();
    std::fs::write(running.dir.join("firmware/thermostat-1.4.0.bin"), vec![7; BYTES]).unwrap();
    running.edit("# the last", "# the very last");
    let target = update(STABLE, "1.3.0");
    let mut stream = TcpStream::connect(&running.address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 64 * 1_024]).unwrap();
    drop(stream);
    // Time for the gateway to see that its client is gone.
    sleep(Duration::from_millis(500));
    running.changed(r#"{"change":"assign-firmware","product":"thermostat","group":"stable","firmware":"2.0.0"}"#);
    let rest = running.ask("GET", &target, &format!("Range: bytes={}-\r\n", BYTES - 10));
    assert_eq!((rest.status, rest.header("X-Version"), rest.body.len()), (206, Some("1.4.0"), 10));
    running.stop("TERM");
}

/// Fetches the rest of an image in steps of 32 KiB; what comes in between is done after the first.
fn download(running: &Running, target: &str, version: &str, between: impl FnOnce()) -> Vec<u8> {
    let head = running.ask("HEAD", target, "");
    assert_eq!((head.status, head.header("X-Version")), (200, Some(version)), "{}", head.head);
    let size = head.header("Content-Length").unwrap().parse().unwrap();
    let mut image = running.ask("GET", target, "Range: bytes=0-15\r\n").body;
    assert_eq!(image.len(), 16);
    // The client begins anew once it has seen the first bytes.
    image.clear();
    let mut between = Some(between);
    while image.len() < size {
        let range = format!("Range: bytes={}-{}\r\n", image.len(), image.len() + 32 * 1_024 - 1);
        let told = running.ask("GET", target, &range);
        assert_eq!((told.status, told.header("X-Version")), (206, Some(version)), "at byte {}", image.len());
        image.extend(told.body);
        between.take().into_iter().for_each(|between| between());
    }
    image
}

#[test]
fn what_is_downloaded_is_the_file() {
    let running = Running::start("download");
    let image = download(&running, &update(STABLE, "1.3.0"), "1.4.0", || {});
    assert!(image == running.file("thermostat-1.4.0.bin"), "the image that was put together is another");
    let whole = running.ask("GET", &update(STABLE, "1.3.1"), "");
    assert!(whole.body == running.file("thermostat-1.4.0.bin"), "the image in one is another");

    let query = format!("k=thermo-demo-key&s={STABLE}");
    let alive = format!("/deviceapi/alive?{query}&v=1.3.0");
    assert_eq!(running.ask("GET", &alive, "").lines(), ["HTTP/1.1 200 OK", "Content-Length: 0"]);
    let posted = Connection::open(&running.address).ask("POST", &alive, "", "some=body").unwrap();
    assert_eq!(posted.status, 200);
    let config = running.ask("GET", &format!("/deviceapi/config?{query}"), "");
    assert_eq!(config.header("Content-Type"), Some("application/json"));
    assert!(String::from_utf8(config.body).unwrap().contains("boiler room"));
    let list = running.ask("GET", &format!("/deviceapi/resource/list?plain&{query}"), "If-None-Match: x\r\n");
    let list = String::from_utf8(list.body).unwrap();
    let lines: Vec<_> = list.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1], lines[2].len()), (6, "ca.pem", "63612e70656d", 32), "{list}");
    let resource = running.ask("GET", &format!("/deviceapi/resource/get?fk={}&{query}", lines[1]), "");
    assert_eq!((resource.status, resource.header("X-Version"), resource.header("x-MD5")), (200, None, Some(lines[2])));
    assert!(resource.body == running.file("ca.pem"));
    running.stop("TERM");
}

/// A release engineer paused a rollout, and devices that were in the middle of a download flashed half of one image and half of another.
#[test]
fn a_download_goes_on_through_a_pause() {
    let running = Running::start("pause");
    let canary = canary();
    let image = download(&running, &update(&canary[0], "1.4.0"), "2.0.0", || {
        running.changed(
            r#"[{"change":"pause-rollout","product":"thermostat","group":"canary","rollout":"r7","cut":true,"why":"a test"},
                {"change":"assign-firmware","product":"thermostat","group":"canary","firmware":"1.2.0"}]"#,
        );
    });
    assert!(image == running.file("thermostat-2.0.0.bin"), "the image that was put together is another");
    // Who had no offer gets none now: the pause is real.
    assert_ne!(running.ask("HEAD", &update(&canary[1], "1.4.0"), "").header("X-Version"), Some("2.0.0"));
    // The brake that works at once is the deny flag.
    let deny = r#"{"change":"deny-firmware","product":"thermostat","firmware":"2.0.0","denied":true}"#;
    running.changed(deny);
    let denied = running.ask("GET", &update(&canary[0], "1.4.0"), "Range: bytes=0-15\r\n");
    assert_ne!(denied.header("X-Version"), Some("2.0.0"));
    running.stop("TERM");
}

const CANARY_WAVES: &str = "waves = [{ size = 3, open = true }, { size = \"50 %\", min_finished = 3, success_share = \"95 %\", soak_secs = 86400 }, { size = \"all\" }]";

/// The last byte is reported, what a check-in says is noted, and the timer opens the next wave: nobody touches the gateway.
#[test]
fn a_rollout_moves_on_by_what_devices_do() {
    let waves = "waves = [{ size = 3, open = true }, { size = \"all\", min_finished = 3, success_share = \"100 %\" }]";
    let by_downloads = format!("success = \"downloaded\"\n{waves}");
    for (test, waves, downloads) in [("installed", waves, false), ("downloaded", by_downloads.as_str(), true)] {
        let running = Running::start_with(gateway(), test, &[(CANARY_WAVES, waves)]);
        let canary = canary();
        for serial in &canary[..3] {
            let target = update(serial, "1.4.0");
            if downloads {
                download(&running, &target, "2.0.0", || {});
            } else {
                assert_eq!(running.ask("HEAD", &target, "").header("X-Version"), Some("2.0.0"));
                assert_eq!(running.ask("HEAD", &update(serial, "2.0.0"), "").status, 304, "{serial} has arrived");
            }
        }
        let moved = running.wait_for("rollouts: ");
        assert!(moved.contains("wave 2 opens: of wave 1 3 were offered it, 3 have finished"), "{moved}");
        assert_eq!(running.ask("HEAD", &update(&canary[7], "1.4.0"), "").header("X-Version"), Some("2.0.0"));
        running.stop("TERM");
    }
}

/// Four devices keep asking while the assignment changes to and fro: each answer is the old one or the new one, and nobody is told an error.
#[test]
fn an_assignment_changes_while_devices_ask() {
    let running = Running::start("live");
    let assign = |version: &str| {
        running.changed(&format!(
            r#"{{"change":"assign-firmware","product":"thermostat","group":"stable","firmware":"{version}"}}"#
        ));
    };
    let done = AtomicBool::new(false);
    let (old, new) = std::thread::scope(|scope| {
        let (address, done) = (running.address.as_str(), &done);
        let askers: Vec<_> = (0..4)
            .map(|asker| {
                scope.spawn(move || {
                    let (mut connection, mut heard) = (Connection::open(address), (0, 0));
                    for number in 0.. {
                        // Each time another reported version, so that no lease keeps the answer as it was.
                        let target = update(STABLE, &format!("1.3.0-{asker}.{number}"));
                        let told = connection.ask("HEAD", &target, "", "").unwrap();
                        match (told.status, told.header("X-Version")) {
                            (200, Some("1.4.0")) => heard.0 += 1,
                            (200, Some("2.0.0")) => heard.1 += 1,
                            other => panic!("{other:?}: {}", told.head),
                        }
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    heard
                })
            })
            .collect();
        for _ in 0..20 {
            assign("2.0.0");
            // The next answer is the new one, already.
            let told = running.ask("HEAD", &update("24:0A:C4:00:00:05", "1.3.0"), "");
            assert_eq!(told.status, 401);
            sleep(Duration::from_millis(10));
            assign("1.4.0");
            sleep(Duration::from_millis(10));
        }
        done.store(true, Ordering::Relaxed);
        askers
            .into_iter()
            .map(|asker| asker.join().unwrap())
            .fold((0, 0), |sum, heard| (sum.0 + heard.0, sum.1 + heard.1))
    });
    assert!(old > 20 && new > 20, "{old} old answers and {new} new ones");
    assign("2.0.0");
    let told = running.ask("HEAD", &update(STABLE, "1.3.0-last"), "");
    assert_eq!(told.header("X-Version"), Some("2.0.0"), "the next decision sees a change");
    running.stop("TERM");
}

#[test]
fn what_is_malformed_is_answered_with_4xx() {
    let running = Running::start("malformed");
    for (target, status) in [
        ("/deviceapi/update?k=a&s=1&s=2&v=", 400),
        ("/deviceapi/update?k=a&s=1&S=2&v=", 400),
        ("/deviceapi/update?k=a&v=", 400),
        ("/deviceapi/update?k=a&s=1", 400),
        ("/deviceapi/update?s=a&v=1", 400),
        ("/deviceapi/update", 400),
        ("/deviceapi/update?", 400),
        ("/deviceapi/update?k=100%&s=1&v=", 400),
        ("/deviceapi/update?k=a&s=%4g&v=", 400),
        ("/deviceapi/update?k=a&s=1&v=%4", 400),
        ("/deviceapi/update?k=a&s=1&v=&other=%", 400),
        ("/deviceapi/resource/get?k=a&s=1", 400),
        ("/deviceapi/resource/get?k=a&s=1&fk=616", 400),
        ("/deviceapi/resource/get?k=a&s=1&fk=6g", 400),
        ("/deviceapi/update/?k=a&s=1&v=", 404),
        ("/deviceapi/../etc/passwd", 404),
        ("/", 404),
        ("/admin/changes", 404),
        ("/deviceapi/update?k&s&v", 401),
        ("/deviceapi/update?k=a&&s=1&v=&", 401),
    ] {
        assert_eq!(running.ask("GET", target, "").status, status, "{target}");
    }
    assert_eq!(running.ask("DELETE", &update(STABLE, "1.3.0"), "").status, 405);
    assert_eq!(running.ask("HEAD", "/deviceapi/config?k=a&s=1", "").status, 405);
    for (what, request) in [
        ("NUL, raw", b"GET /deviceapi/update?k=\0&s=1&v= HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec()),
        (
            "bytes, raw",
            b"GET /deviceapi/update?k=\xff&s=\xff&v=\xff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        (
            "a key of 1 MiB",
            [b"GET /deviceapi/update?k=".as_slice(), &vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat(),
        ),
        (
            "a thousand headers",
            [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: bcdefghijklmnopq\r\n".repeat(4_000), b"\r\n"].concat(),
        ),
        (
            "a body of 1 MiB",
            [
                b"POST /deviceapi/alive?k=a&s=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n".as_slice(),
                &vec![b'a'; 1 << 20],
            ]
            .concat(),
        ),
    ] {
        let mut stream = TcpStream::connect(&running.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        // A server may cut the connection before it has read a megabyte: then there is no answer to read, and that is one too.
        let _ = stream.write_all(&request).and_then(|()| stream.read_to_end(&mut answer));
        let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned();
        assert!(answer.is_empty() || status.starts_with('4') && !what.contains("body"), "{what}: {status}");
    }
    assert_eq!(running.ask("GET", &update(STABLE, "1.4.0"), "").status, 304, "it is still there");
    running.stop("TERM");
}

#[test]
fn the_fleet_file_is_read_again_and_a_broken_one_is_not() {
    let running = Running::start("reload");
    assert_eq!(running.ask("HEAD", &update(STABLE, "1.4.0"), "").status, 304);
    running.edit("id = \"stable\"\nfirmware = \"1.4.0\"", "id = \"stable\"\nfirmware = \"2.0.0\"");
    assert_eq!(running.ask("HEAD", &update(STABLE, "1.4.0"), "").header("X-Version"), Some("2.0.0"));
    replace(&running.dir.join("fleet.toml"), "version = \"2.0.0\"", "version = \"two\"");
    running.signal("HUP");
    let why = running.wait_for("not reloaded");
    assert!(why.contains("OTAGATE_ERROR_REFUSED"), "{why}");
    assert_eq!(running.ask("HEAD", &update(STABLE, "1.4.1"), "").header("X-Version"), Some("2.0.0"));

    let refused =
        running.change(r#"{"change":"assign-firmware","product":"thermostat","group":"nope","firmware":"2.0.0"}"#);
    assert_eq!((refused.status, &refused.body[..]), (400, &b"changes[0].group: there is no group `nope`"[..]));
    assert_eq!(running.change("{").status, 400);
    assert_eq!(running.change("[]").status, 200);
    let mut browser = Connection::open(&running.admin);
    let told = browser.ask("POST", "/admin/changes", "Origin: http://elsewhere.example\r\n", "[]").unwrap();
    assert_eq!(told.status, 403);
    running.stop("TERM");
}

/// Nothing outside of the firmware folder is served, nor a file that is not the one that was digested.
#[test]
fn only_what_lies_in_the_folder_is_served() {
    let running = Running::start("folder");
    std::fs::write(running.dir.join("secret.txt"), "secret").unwrap();
    std::fs::write(running.dir.join("firmware/six.bin"), "sixsix").unwrap();
    std::fs::create_dir(running.dir.join("firmware/below")).unwrap();
    std::fs::write(running.dir.join("firmware/below/six.bin"), "sixsix").unwrap();
    std::os::unix::fs::symlink("../secret.txt", running.dir.join("firmware/link.bin")).unwrap();
    std::os::unix::fs::symlink("..", running.dir.join("firmware/up")).unwrap();
    let outside = running.dir.join("secret.txt");
    for (number, (locator, status)) in (1..).zip([
        ("six.bin", 200),
        ("below/six.bin", 200),
        ("../secret.txt", 503),
        ("below/../six.bin", 503),
        ("below/../../secret.txt", 503),
        ("./six.bin", 503),
        ("below//six.bin", 503),
        ("below", 503),
        ("link.bin", 503),
        ("up/secret.txt", 503),
        ("gone.bin", 503),
        ("thermostat-1.4.0.bin", 503), // of another size
        (outside.to_str().unwrap(), 503),
    ]) {
        running.changed(&format!(
            r#"[{{"change":"put-firmware","product":"thermostat","firmware":{{"version":"6.0.0","artifacts":[{{"size_bytes":6,"locator":"{locator}",
                "digests":{{"blake3":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"}}}}]}}}},
                {{"change":"assign-firmware","product":"thermostat","group":"stable","firmware":"6.0.0"}}]"#
        ));
        for method in ["HEAD", "GET"] {
            let told = running.ask(method, &update(STABLE, &format!("1.3.{number}")), "");
            assert_eq!(told.status, status, "{method} {locator}");
            assert!(method == "HEAD" || status != 200 || told.body == b"sixsix");
        }
    }
    running.stop("TERM");
}

/// An operator restarted the gateway, and a thousand devices started their downloads over.
#[test]
fn a_stop_lets_a_running_download_finish() {
    // Larger than what the sockets of both sides can hold, so that most of it is sent after the stop.
    const BYTES: usize = 24 << 20;
    let running = Running::start("stop");
    std::fs::write(running.dir.join("firmware/thermostat-1.4.0.bin"), vec![7; BYTES]).unwrap();
    running.edit("# the last", "# the very last");
    let begin = || {
        let mut stream = TcpStream::connect(&running.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", update(STABLE, "1.3.0")).unwrap();
        let mut first = vec![0; 64 * 1_024];
        stream.read_exact(&mut first).unwrap();
        (stream, first)
    };
    // Who leaves in the middle ends nothing but that.
    drop(begin());
    sleep(Duration::from_millis(100));
    let (mut stream, mut whole) = begin();
    running.signal("TERM");
    running.wait_for("stopping");
    sleep(Duration::from_millis(200));
    let begun = Instant::now();
    stream.read_to_end(&mut whole).unwrap();
    let body = whole.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(whole.len() - body, BYTES);
    drop(stream);
    running.stop("TERM");
    assert!(begun.elapsed() < Duration::from_secs(8), "it does not wait once nobody downloads");
}
