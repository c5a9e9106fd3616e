//! A PostgreSQL server of its own for one test binary, and two things to put before it.
//!
//! ```text
//!              .s.PGSQL.5432        .s.PGSQL.5432        .s.PGSQL.5432
//!   client ──▶ Cutter ────────────▶ Pooler ────────────▶ Postgres
//!              cuts, refuses,       few connections,     initdb in a temporary folder,
//!              holds in silence     one a transaction    gone with the test process
//! ```
//!
//! Each listens in a folder that `socket_dir()` names, so each can stand before any other. All is Unix sockets and
//! PostgreSQL's own programs.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its part of this")]

use std::collections::{HashMap, VecDeque};
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a server may take until it accepts connections.
const START: Duration = Duration::from_secs(60);
const USER: &str = "otagate";
const SOCKET: &str = ".s.PGSQL.5432";

/// A lock that a panicking test does not take with it: drops must still run.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Asks until it holds; panics with `what` when it does not within 30 s.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What `host`, `user` and `dbname` are, as libpq and tokio-postgres read it.
fn conninfo(dir: &Path) -> String {
    format!("host={} user={USER} dbname=postgres", dir.display())
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As by a crash: SIGQUIT, no checkpoint; the next start recovers from the write-ahead log.
    Immediate,
    /// In order: transactions are rolled back, a checkpoint is written.
    Fast,
}

/// What a server is started with, where it is not what PostgreSQL does by itself.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Faster, and nothing survives the machine. For what does not test durability.
    pub fsync_off: bool,
    /// More settings, as of `postgresql.conf`.
    pub options: Vec<(String, String)>,
}

/// A private server. Dropped, or with the test process gone however it went, the server and its folder are gone.
///
/// A shell between the two sees to that: its standard input is a pipe from the test process, and when that ends it
/// stops the server and removes the folder. It is also the one that starts and stops, so no process is left unwaited.
pub struct Postgres {
    folder: PathBuf,
    bin: PathBuf,
    keeper: Mutex<Keeper>,
}

struct Keeper {
    shell: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// `$1` the programs, `$2` the folder, the rest the server's arguments. A word is answered by its exit status.
///
/// The server runs below a shell that notes its end in `ended`: a start that fails is seen at once.
const KEEPER: &str = r#"
trap '' HUP INT TERM
bin=$1 folder=$2; shift 2
stop() {
    [ -n "$runner" ] || return 0
    kill -s "$1" "$(cat "$folder/pid")" 2>/dev/null
    wait "$runner"
    runner=
}
runner=
while read -r word; do
    case $word in
    init) "$bin/initdb" -D "$folder/data" --auth=trust --no-locale -E UTF8 --username=otagate --no-sync \
        </dev/null >"$folder/log" 2>&1 ;;
    start)
        stop QUIT
        rm -f "$folder/ended"
        ("$bin/postgres" -D "$folder/data" "$@" </dev/null >>"$folder/log" 2>&1 & echo $! >"$folder/pid.new"
            mv "$folder/pid.new" "$folder/pid"; wait $!; echo $? >"$folder/ended") &
        runner=$!
        until [ -e "$folder/pid" ]; do sleep 0.01; done ;;
    *) stop "$word"; rm -f "$folder/pid" ;;
    esac
    echo $?
done
stop QUIT
rm -rf "$folder"
"#;

impl Postgres {
    /// A fresh server that accepts connections. Panics with the reason when it cannot be had: a test does not skip it.
    pub fn start() -> Self {
        Self::start_with(&Settings::default())
    }

    /// The same, otherwise set.
    pub fn start_with(settings: &Settings) -> Self {
        let bin = programs();
        let owner = owner();
        let folder = server_folder(owner);
        let mut arguments: Vec<String> = vec!["-k".into(), folder.to_str().unwrap().into()];
        let ours = [
            ("listen_addresses", ""),
            ("port", "5432"),
            ("unix_socket_permissions", "0777"), // the folder is closed to others
            ("max_connections", "200"),
            ("shared_buffers", "16MB"),
            ("log_min_messages", "fatal"),
            ("log_min_error_statement", "panic"),
            ("logging_collector", "off"),
            ("fsync", if settings.fsync_off { "off" } else { "on" }),
        ];
        let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in ours.iter().chain(&settings.options) {
            arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        let mut shell = plain("sh".as_ref());
        shell.args(["-c", KEEPER, "postgres-keeper"]).arg(&bin).arg(&folder).args(arguments);
        // A group of its own: an interrupt at the terminal is for the test, and the shell follows when that is gone.
        shell.current_dir("/").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some((uid, gid)) = owner {
            shell.uid(uid).gid(gid);
        }
        let mut shell = shell.spawn().unwrap_or_else(|error| panic!("sh: {error}"));
        let (asks, answers) = (shell.stdin.take(), BufReader::new(shell.stdout.take().unwrap()));
        let server = Self { folder, bin, keeper: Mutex::new(Keeper { shell, asks, answers }) };
        let made = server.ask("init");
        assert_eq!(made, 0, "initdb failed:\n{}", server.log());
        server.start_again();
        server
    }

    /// Where its socket is.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// For libpq and tokio-postgres.
    pub fn conninfo(&self) -> String {
        conninfo(&self.folder)
    }

    /// The end of what initdb and the server wrote.
    pub fn log(&self) -> String {
        let tail = File::open(self.folder.join("log")).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(4_000)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        });
        tail.map_or_else(|error| format!("(no log: {error})"), |tail| String::from_utf8_lossy(&tail).into_owned())
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        std::fs::read_to_string(self.folder.join("pid")).unwrap().trim().parse().unwrap()
    }

    /// Stops it as by a crash. Returns when it is gone.
    pub fn stop(&self) {
        self.ask("QUIT");
    }

    /// Starts it on the data that it has. Returns when it accepts connections.
    pub fn start_again(&self) {
        assert_eq!(self.ask("start"), 0, "the server is not started:\n{}", self.log());
        let since = Instant::now();
        loop {
            let Err(error) = accepts(&self.folder) else { return };
            assert!(!self.folder.join("ended").exists(), "the server ended by itself:\n{}", self.log());
            assert!(since.elapsed() < START, "no connection within {START:?}: {error}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops and starts it, on the same data.
    pub fn restart(&self, how: Stop) {
        self.ask(match how {
            Stop::Immediate => "QUIT",
            Stop::Fast => "INT",
        });
        self.start_again();
    }

    /// Ends every session there is, as an administrator can; returns, when they are gone, how many those were.
    pub fn kill_backends(&self) -> usize {
        let pids = self.psql(
            "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() \
             and pg_terminate_backend(pid)",
        );
        let pids: Vec<&str> = pids.lines().collect();
        if !pids.is_empty() {
            let left = format!("select count(*) from pg_stat_activity where pid in ({})", pids.join(","));
            wait_until("the sessions end", || self.psql(&left) == "0");
        }
        pids.len()
    }

    /// What psql prints, unaligned and without heads, columns by `|`. Each statement is a transaction of its own.
    /// Panics with what psql says when one fails.
    pub fn psql(&self, sql: &str) -> String {
        psql(&self.bin, &self.folder, sql).unwrap_or_else(|error| panic!("{error}in: {sql}"))
    }

    fn ask(&self, word: &str) -> i32 {
        let mut keeper = lock(&self.keeper);
        let mut answer = String::new();
        let asked = writeln!(keeper.asks.as_mut().unwrap(), "{word}");
        asked.and_then(|()| keeper.answers.read_line(&mut answer)).unwrap_or_else(|error| panic!("{word}: {error}"));
        answer.trim().parse().unwrap_or_else(|_| panic!("{word}: the shell that keeps the server is gone"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut keeper = lock(&self.keeper);
        drop(keeper.asks.take());
        let _ = keeper.shell.wait();
    }
}

/// A command that what is set for somebody's own databases does not reach.
fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C");
    command
}

fn psql(bin: &Path, dir: &Path, sql: &str) -> Result<String, String> {
    let mut command = plain(&bin.join("psql"));
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", "postgres", "-f", "-", "-h"]);
    command.arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("psql: {error}\n"))?;
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // psql may answer before it has read all. It need not read on after a fault.
        scope.spawn(move || stdin.write_all(sql.as_bytes()));
        child.wait_with_output().unwrap()
    });
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned())
}

/// The folder of PostgreSQL's programs.
fn programs() -> PathBuf {
    let has_all = |bin: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|program| bin.join(program).exists());
    // pg_config may come with libpq alone, and name a folder without the server.
    let told = Command::new("pg_config").arg("--bindir").output().ok().and_then(|output| {
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end())).filter(|_| output.status.success())
    });
    if let Some(bin) = told.filter(has_all) {
        return bin;
    }
    let newest = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        versions.map(|version| version.path().join("bin")).filter(has_all).max_by_key(|bin| {
            bin.parent().unwrap().file_name().unwrap().to_str().and_then(|name| name.parse::<u32>().ok())
        })
    };
    let installed = || {
        // As root on Debian the programs are there in a minute; two test binaries wait for each other.
        let install = "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
                       -o DPkg::Lock::Timeout=300 postgresql";
        let root = id(&["-u"]) == Some(0);
        let ran = root.then(|| Command::new("sh").args(["-c", install]).stdout(Stdio::null()).status());
        ran.and_then(Result::ok).filter(|status| status.success()).and_then(|_| newest())
    };
    newest().or_else(installed).expect(
        "the tests of the PostgreSQL store start a server of their own, and find neither `pg_config` with initdb, \
         postgres and psql where it points, nor /usr/lib/postgresql/*/bin: `apt-get install postgresql` on Debian and \
         Ubuntu, `dnf install postgresql-server` on Fedora, `brew install postgresql` on macOS",
    )
}

/// `id` of a user, as a number.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Whom the server runs as when the test runs as root, which PostgreSQL refuses.
fn owner() -> Option<(u32, u32)> {
    if id(&["-u"]).expect("`id -u` says a number") != 0 {
        return None;
    }
    let found = ["postgres", "nobody"].iter().find_map(|name| Some((id(&["-u", name])?, id(&["-g", name])?)));
    Some(found.expect("PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`"))
}

/// A new folder that nobody else may enter. Short: the path of a Unix socket has 107 bytes at most.
fn server_folder(owner: Option<(u32, u32)>) -> PathBuf {
    let mut parent = std::env::temp_dir();
    // Another user may not pass a folder that is root's alone.
    if owner.is_some() || parent.as_os_str().len() > 48 {
        parent = "/tmp".into();
    }
    fresh_folder(&parent, &format!("otagate-pg-{}-", std::process::id()), owner)
}

fn fresh_folder(parent: &Path, name: &str, owner: Option<(u32, u32)>) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let folder = parent.join(format!("{name}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => panic!("{}: {error}", folder.display()),
        }
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        return folder;
    }
}

/// A connection to a server that is ready, by whole messages of protocol 3.
struct Wire {
    reader: BufReader<UnixStream>,
    /// What the server said of itself at the start, by whole messages.
    parameters: Vec<u8>,
    /// Its process and the secret that cancels.
    key: [u8; 8],
}

/// An error as a server sends it: severity, code, text.
fn error_response(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    whole.extend((body.len() as u32 + 4).to_be_bytes());
    whole.extend(body);
    whole
}

/// The next message, tag and length and all, into `whole`. `false` at the end.
fn read_message(reader: &mut impl BufRead, whole: &mut Vec<u8>) -> io::Result<bool> {
    whole.clear();
    if reader.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let mut head = [0; 5];
    reader.read_exact(&mut head)?;
    whole.extend(head);
    read_rest(reader, whole, 1)
}

/// What the four bytes of length at `at` promise, to the end of `whole`.
fn read_rest(reader: &mut impl BufRead, whole: &mut Vec<u8>, at: usize) -> io::Result<bool> {
    let length = u32::from_be_bytes(whole[at..at + 4].try_into().unwrap());
    let rest = u64::from(length).checked_sub(4).filter(|rest| *rest < 1 << 30).ok_or(io::ErrorKind::InvalidData)?;
    if reader.take(rest).read_to_end(whole)? as u64 != rest {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(true)
}

impl Wire {
    /// The startup, until the server is ready; inside, the message that it refuses with.
    fn greet(mut stream: UnixStream, user: &str, database: &str) -> io::Result<Result<Self, Vec<u8>>> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let body = format!("user\0{user}\0database\0{database}\0client_encoding\0UTF8\0\0");
        let mut startup = (body.len() as u32 + 8).to_be_bytes().to_vec();
        startup.extend(196_608_u32.to_be_bytes());
        startup.extend(body.as_bytes());
        stream.write_all(&startup)?;
        let mut wire = Self { reader: BufReader::new(stream), parameters: Vec::new(), key: [0; 8] };
        let mut whole = Vec::new();
        loop {
            if !read_message(&mut wire.reader, &mut whole)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match whole[0] {
                b'S' => wire.parameters.extend(&whole),
                b'K' if whole.len() == 13 => wire.key.copy_from_slice(&whole[5..]),
                b'Z' => break,
                b'E' => return Ok(Err(whole)),
                b'R' if whole[5..] != [0; 4] => return Err(io::Error::other("the server asks for a password")),
                _ => {}
            }
        }
        wire.reader.get_ref().set_read_timeout(None)?;
        Ok(Ok(wire))
    }
}

/// Whether the server in `folder` accepts connections, and if not why.
fn accepts(folder: &Path) -> Result<(), String> {
    let stream = UnixStream::connect(folder.join(SOCKET)).map_err(|error| error.to_string())?;
    match Wire::greet(stream, USER, "postgres") {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refusal)) => Err(String::from_utf8_lossy(&refusal[5..]).replace('\0', " ")),
        Err(error) => Err(error.to_string()),
    }
}

/// A listening socket, and all threads and connections that come of it: gone when dropped.
struct Station {
    folder: PathBuf,
    listener: UnixListener,
    crew: Arc<Crew>,
}

#[derive(Default)]
struct Crew {
    state: Mutex<CrewState>,
}

#[derive(Default)]
struct CrewState {
    closed: bool,
    next: u64,
    streams: HashMap<u64, UnixStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Keeps `stream` so that it can be shut; refuses when all is being closed. Forgotten when the answer is dropped.
    fn add(self: &Arc<Self>, stream: &UnixStream) -> io::Result<Kept> {
        let stream = stream.try_clone()?;
        let mut state = lock(&self.state);
        if state.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.next += 1;
        let number = state.next;
        state.streams.insert(number, stream);
        Ok(Kept { crew: self.clone(), number })
    }

    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.threads.retain(|thread| !thread.is_finished());
            state.threads.push(std::thread::spawn(work));
        }
    }

    fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for stream in state.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn join(&self) {
        let threads = std::mem::take(&mut lock(&self.state).threads);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

struct Kept {
    crew: Arc<Crew>,
    number: u64,
}

impl Kept {
    fn shut(&self) {
        if let Some(stream) = lock(&self.crew.state).streams.get(&self.number) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        lock(&self.crew.state).streams.remove(&self.number);
    }
}

impl Station {
    /// Listens in a new folder below `upstream`: what removes the server's folder removes this with it.
    fn open(upstream: &Path, accept: impl Fn(&Arc<Crew>, UnixStream) + Send + 'static) -> Self {
        let of = upstream.metadata().unwrap_or_else(|error| panic!("{}: {error}", upstream.display()));
        let owner = (id(&["-u"]) == Some(0)).then(|| (of.uid(), of.gid()));
        let folder = fresh_folder(upstream, "", owner);
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        let crew = Arc::new(Crew::default());
        let (theirs, incoming) = (crew.clone(), listener.try_clone().unwrap());
        crew.spawn(move || {
            while let Ok((stream, _)) = incoming.accept() {
                if theirs.is_closed() {
                    break;
                }
                accept(&theirs, stream);
            }
        });
        Self { folder, listener, crew }
    }

    /// `wake` rouses threads that wait for something else than a connection.
    fn close(&self, wake: impl Fn()) {
        self.crew.close();
        // What a listener shares with a stream is the call that ends it; one more connection, should that not do.
        if let Ok(listener) = self.listener.try_clone() {
            let _ = UnixStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
        }
        let _ = UnixStream::connect(self.folder.join(SOCKET));
        wake();
        self.crew.join();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A stand-in for PgBouncer with `pool_mode = transaction`, `server_round_robin = 1` and without
/// `max_prepared_statements`: that program cannot be assumed where tests run, which need PostgreSQL's own and no other.
///
/// A client has a server connection from its first message to the `ReadyForQuery` that says "idle" with nothing
/// outstanding. Nothing is reset in between. What a session keeps (`SET`, named prepared statements, `LISTEN`,
/// advisory locks, temporary tables) therefore stays with a connection that another client gets next, as there. The
/// next transaction always gets the connection that rested longest: two in a row of one client share none.
///
/// Harsher than PgBouncer: what a client asks for at startup (`TimeZone`, `application_name` and the like) is dropped.
/// Milder: whoever waits for a connection waits without end.
pub struct Pooler {
    station: Station,
    pools: Arc<Pools>,
}

struct Pools {
    upstream: PathBuf,
    size: usize,
    /// Also over what hangs together: a session's link, a server's work. Whoever writes to a client locks that first.
    state: Mutex<PoolsState>,
    /// A server connection rests again, or may be opened.
    freed: Condvar,
}

#[derive(Default)]
struct PoolsState {
    by_name: HashMap<Name, Pool>,
    /// By the key that the client was told, with which it cancels.
    sessions: HashMap<u64, Arc<Session>>,
    /// The last number given, to a session or to one who waits.
    last: u64,
    opened: usize,
}

/// User and database.
type Name = (String, String);

#[derive(Default)]
struct Pool {
    resting: VecDeque<Arc<Server>>,
    /// Who waits for a connection, first come first served.
    waiting: VecDeque<u64>,
    /// Those that rest, work or are being opened.
    open: usize,
    parameters: Vec<u8>,
}

/// One client.
struct Session {
    name: Name,
    out: Mutex<BufWriter<UnixStream>>,
    kept: Kept,
    link: Mutex<Link>,
}

enum Link {
    None,
    With(Arc<Server>),
    /// What it still says is for nobody.
    Ended,
}

/// One connection to the server.
struct Server {
    name: Name,
    key: [u8; 8],
    stream: UnixStream,
    kept: Kept,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    session: Option<Arc<Session>>,
    /// Requests that a `ReadyForQuery` is still to come for.
    outstanding: usize,
    /// Messages have gone since the last `Sync`.
    unsynced: bool,
    /// The client's thread is writing.
    writing: bool,
    idle: bool,
}

impl Pooler {
    /// Before the server, or whatever else listens in `upstream`, with at most `size` connections for each user and
    /// database.
    pub fn start(upstream: &Path, size: usize) -> Self {
        assert!(size > 0, "a pool has connections");
        let pools =
            Arc::new(Pools { upstream: upstream.join(SOCKET), size, state: Mutex::default(), freed: Condvar::new() });
        let theirs = pools.clone();
        let station = Station::open(upstream, move |crew, stream| {
            let (pools, inner) = (theirs.clone(), crew.clone());
            crew.spawn(move || {
                if let Ok(kept) = inner.add(&stream) {
                    // Whatever ends one client ends its connection, and nothing else.
                    let _ = pools.serve(&inner, stream, kept);
                }
            });
        });
        Self { station, pools }
    }

    /// Where its socket is.
    pub fn socket_dir(&self) -> &Path {
        &self.station.folder
    }

    /// For libpq and tokio-postgres.
    pub fn conninfo(&self) -> String {
        conninfo(self.socket_dir())
    }

    /// How many connections to the server were opened, ever.
    pub fn opened(&self) -> usize {
        lock(&self.pools.state).opened
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        lock(&self.pools.state).sessions.len()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.station.close(|| {
            let _state = lock(&self.pools.state);
            self.pools.freed.notify_all();
        });
        // Sessions hold servers, and servers sessions.
        let mut state = lock(&self.pools.state);
        state.sessions.clear();
        state.by_name.clear();
    }
}

impl Pools {
    fn serve(self: &Arc<Self>, crew: &Arc<Crew>, stream: UnixStream, kept: Kept) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let Some(asked) = self.greet(&mut reader, &stream)? else { return Ok(()) };
        let (number, session) = match self.admit(crew, &asked, &stream, kept) {
            Ok(admitted) => admitted,
            Err(refusal) => return (&stream).write_all(&refusal),
        };
        let ended = self.relay(crew, &mut reader, &session);
        let mut state = lock(&self.state);
        // Leaving in the midst of a transaction, it leaves a connection that nobody else may have.
        if let Link::With(server) = std::mem::replace(&mut *lock(&session.link), Link::Ended) {
            lock(&server.work).session = None;
            server.kept.shut();
        }
        session.kept.shut();
        state.sessions.remove(&number);
        ended
    }

    /// Reads up to the startup, and what it asks for. None when it was a cancellation, which has been passed on.
    fn greet(&self, reader: &mut BufReader<UnixStream>, mut stream: &UnixStream) -> io::Result<Option<Vec<u8>>> {
        loop {
            let mut whole = vec![0; 4];
            reader.read_exact(&mut whole)?;
            read_rest(reader, &mut whole, 0)?;
            let code = whole.get(4..8).ok_or(io::ErrorKind::InvalidData)?;
            match u32::from_be_bytes(code.try_into().unwrap()) {
                80_877_103 | 80_877_104 => stream.write_all(b"N")?, // TLS, GSSAPI
                80_877_102 => {
                    let key = whole.get(8..16).ok_or(io::ErrorKind::InvalidData)?;
                    self.cancel(u64::from_be_bytes(key.try_into().unwrap()))?;
                    return Ok(None);
                }
                _ => return Ok(Some(whole.split_off(8))),
            }
        }
    }

    fn cancel(&self, number: u64) -> io::Result<()> {
        // Locked until the server has read it: the connection is not another's meanwhile.
        let state = lock(&self.state);
        let Some(session) = state.sessions.get(&number) else { return Ok(()) };
        if let Link::With(server) = &*lock(&session.link) {
            let mut stream = UnixStream::connect(&self.upstream)?;
            let mut request = 16_u32.to_be_bytes().to_vec();
            request.extend(80_877_102_u32.to_be_bytes());
            request.extend(server.key);
            stream.write_all(&request)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let _ = stream.read(&mut [0; 1]);
        }
        Ok(())
    }

    /// A session for a client, which is told that it may ask; or what it is refused with.
    fn admit(
        self: &Arc<Self>,
        crew: &Arc<Crew>,
        asked: &[u8],
        stream: &UnixStream,
        kept: Kept,
    ) -> Result<(u64, Arc<Session>), Vec<u8>> {
        const DROPPED: [&str; 5] =
            ["client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "application_name"];
        let text = String::from_utf8_lossy(asked);
        let words: Vec<&str> = text.split('\0').collect();
        let (mut user, mut database) = ("", None);
        for pair in words.chunks_exact(2).take_while(|pair| !pair[0].is_empty()) {
            match pair[0] {
                "user" => user = pair[1],
                "database" => database = Some(pair[1]),
                name if DROPPED.iter().any(|dropped| dropped.eq_ignore_ascii_case(name)) => {}
                name => return Err(error_response("08P01", &format!("unsupported startup parameter: {name}"))),
            }
        }
        let name = (user.to_owned(), database.unwrap_or(user).to_owned());
        let out = stream.try_clone().map_err(|error| error_response("08006", &error.to_string()))?;
        let out = Mutex::new(BufWriter::new(out));
        let session = Arc::new(Session { name, out, kept, link: Mutex::new(Link::None) });
        // What a server says of itself is known when one has been reached.
        let known = lock(&self.state).by_name.get(&session.name).is_some_and(|pool| !pool.parameters.is_empty());
        if !known {
            let server = self.acquire(crew, &session.name)?;
            self.rest(&mut lock(&self.state), server);
        }
        let mut out = lock(&session.out);
        let (number, parameters) = {
            let mut state = lock(&self.state);
            state.last += 1;
            let number = (state.last << 32) | (state.last ^ 0x5eed_5eed);
            state.sessions.insert(number, session.clone());
            (number, state.by_name[&session.name].parameters.clone())
        };
        let hello = [message(b'R', &[0; 4]), parameters, message(b'K', &number.to_be_bytes()), message(b'Z', b"I")];
        // A failure here shows again at once, when the client is read.
        let _ = out.write_all(&hello.concat()).and_then(|()| out.flush());
        drop(out);
        Ok((number, session))
    }

    /// Forwards what the client says, to the server connection that it has or now gets.
    fn relay(
        self: &Arc<Self>,
        crew: &Arc<Crew>,
        reader: &mut BufReader<UnixStream>,
        session: &Arc<Session>,
    ) -> io::Result<()> {
        let mut whole = Vec::new();
        while read_message(reader, &mut whole)? && whole[0] != b'X' {
            let mut claimed = self.claim(session, whole[0]);
            // What is left of a COPY that failed is nobody's: a server ignores it too.
            if claimed.is_none() && !matches!(whole[0], b'd' | b'c' | b'f') {
                match self.acquire(crew, &session.name) {
                    Ok(server) => self.link(session, server),
                    Err(refusal) => {
                        let mut out = lock(&session.out);
                        return out.write_all(&refusal).and_then(|()| out.flush());
                    }
                }
                claimed = self.claim(session, whole[0]);
            }
            let Some(server) = claimed else { continue };
            let written = (&server.stream).write_all(&whole);
            let mut state = lock(&self.state);
            lock(&server.work).writing = false;
            self.release_if_done(&mut state, &server);
            written?;
        }
        Ok(())
    }

    /// The connection that the session has, for one message, which is counted.
    fn claim(&self, session: &Session, tag: u8) -> Option<Arc<Server>> {
        let _state = lock(&self.state);
        let Link::With(server) = &*lock(&session.link) else { return None };
        let mut work = lock(&server.work);
        work.writing = true;
        match tag {
            b'Q' | b'S' | b'F' => {
                work.outstanding += 1;
                work.unsynced = false;
            }
            b'd' | b'c' | b'f' => {}
            _ => work.unsynced = true,
        }
        Some(server.clone())
    }

    fn link(&self, session: &Arc<Session>, server: Arc<Server>) {
        let mut state = lock(&self.state);
        let mut link = lock(&session.link);
        if matches!(*link, Link::Ended) {
            return self.rest(&mut state, server);
        }
        *lock(&server.work) = Work { session: Some(session.clone()), ..Work::default() };
        *link = Link::With(server);
    }

    /// A connection that rests, or a new one; waits for its turn. Inside, what the client is to be told instead.
    fn acquire(self: &Arc<Self>, crew: &Arc<Crew>, name: &Name) -> Result<Arc<Server>, Vec<u8>> {
        let mut state = lock(&self.state);
        state.last += 1;
        let ticket = state.last;
        state.by_name.entry(name.clone()).or_default().waiting.push_back(ticket);
        let got = loop {
            if crew.is_closed() {
                break Err(error_response("57P01", "the pooler is closing"));
            }
            let pool = state.by_name.get_mut(name).unwrap();
            if pool.waiting.front() == Some(&ticket) {
                if let Some(server) = pool.resting.pop_front() {
                    break Ok(server);
                }
                if pool.open < self.size {
                    pool.open += 1;
                    drop(state);
                    let opened = self.open(crew, name);
                    state = lock(&self.state);
                    break opened;
                }
            }
            state = wait(&self.freed, state);
        };
        let pool = state.by_name.get_mut(name).unwrap();
        pool.waiting.retain(|other| *other != ticket);
        if got.is_err() && !crew.is_closed() {
            pool.open -= 1;
        }
        self.freed.notify_all();
        got
    }

    fn open(self: &Arc<Self>, crew: &Arc<Crew>, name: &Name) -> Result<Arc<Server>, Vec<u8>> {
        let fault = |error: io::Error| error_response("08006", &format!("no server: {error}"));
        let stream = UnixStream::connect(&self.upstream).map_err(fault)?;
        let kept = crew.add(&stream).map_err(fault)?;
        let ours = stream.try_clone().map_err(fault)?;
        let wire = Wire::greet(ours, &name.0, &name.1).map_err(fault)??;
        let server = Arc::new(Server { name: name.clone(), key: wire.key, stream, kept, work: Mutex::default() });
        let mut state = lock(&self.state);
        state.opened += 1;
        state.by_name.get_mut(name).unwrap().parameters = wire.parameters;
        let (pools, theirs) = (self.clone(), server.clone());
        crew.spawn(move || pools.listen(wire.reader, &theirs));
        Ok(server)
    }

    /// Forwards what the server says, to the client that has it; what it says while it rests is lost.
    fn listen(&self, mut reader: BufReader<UnixStream>, server: &Arc<Server>) {
        let mut whole = Vec::new();
        while let Ok(true) = read_message(&mut reader, &mut whole) {
            let session = {
                let _state = lock(&self.state);
                lock(&server.work).session.clone()
            };
            let Some(session) = session else { continue };
            let mut out = lock(&session.out);
            let ready = whole[0] == b'Z';
            if ready {
                let mut state = lock(&self.state);
                {
                    let mut work = lock(&server.work);
                    work.outstanding = work.outstanding.saturating_sub(1);
                    work.idle = whole[5] == b'I';
                }
                // Before the client knows: what it asks next goes to whichever connection is next. What comes from
                // there waits for `out`.
                self.release_if_done(&mut state, server);
            }
            let mut written = out.write_all(&whole);
            if ready || reader.buffer().is_empty() {
                written = written.and_then(|()| out.flush());
            }
            if written.is_err() {
                session.kept.shut();
            }
        }
        let mut state = lock(&self.state);
        server.kept.shut();
        if let Some(session) = lock(&server.work).session.take() {
            *lock(&session.link) = Link::Ended;
            session.kept.shut();
        }
        let pool = state.by_name.get_mut(&server.name).unwrap();
        pool.resting.retain(|other| !Arc::ptr_eq(other, server));
        pool.open -= 1;
        self.freed.notify_all();
    }

    fn release_if_done(&self, state: &mut PoolsState, server: &Arc<Server>) {
        let mut work = lock(&server.work);
        if work.idle
            && work.outstanding == 0
            && !work.unsynced
            && !work.writing
            && let Some(session) = work.session.take()
        {
            *lock(&session.link) = Link::None;
            drop(work);
            self.rest(state, server.clone());
        }
    }

    fn rest(&self, state: &mut PoolsState, server: Arc<Server>) {
        state.by_name.get_mut(&server.name).unwrap().resting.push_back(server);
        self.freed.notify_all();
    }
}

/// Stands before a server and spoils its connections: cuts them, refuses them, holds what they carry.
///
/// Who connects while nothing listens upstream has a connection that is closed at once.
pub struct Cutter {
    station: Station,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    state: Mutex<ControlState>,
    changed: Condvar,
}

#[derive(Default)]
struct ControlState {
    holds: bool,
    /// What a new connection may carry until it is cut.
    new_after: Option<u64>,
    last: u64,
    links: HashMap<u64, Pair>,
    forwarded: u64,
}

/// A connection of a client, and ours to the server for it.
struct Pair {
    /// What it may still carry, both ways together.
    left: Option<u64>,
    client: Kept,
    server: Kept,
}

impl ControlState {
    fn cut(&mut self, number: u64) {
        if let Some(pair) = self.links.remove(&number) {
            pair.client.shut();
            pair.server.shut();
        }
    }
}

impl Cutter {
    /// Before the server, or whatever else listens in `upstream`.
    pub fn start(upstream: &Path) -> Self {
        let control = Arc::new(Control::default());
        let (theirs, upstream_socket) = (control.clone(), upstream.join(SOCKET));
        let station = Station::open(upstream, move |crew, client| {
            let (control, inner, upstream) = (theirs.clone(), crew.clone(), upstream_socket.clone());
            crew.spawn(move || {
                // Whatever ends one connection ends nothing else.
                let _ = control.carry(&inner, client, &upstream);
            });
        });
        Self { station, control }
    }

    /// Where its socket is.
    pub fn socket_dir(&self) -> &Path {
        &self.station.folder
    }

    /// For libpq and tokio-postgres.
    pub fn conninfo(&self) -> String {
        conninfo(self.socket_dir())
    }

    /// Cuts every connection that is open, now. Returns how many.
    pub fn cut(&self) -> usize {
        let mut state = lock(&self.control.state);
        let open: Vec<u64> = state.links.keys().copied().collect();
        open.iter().for_each(|number| state.cut(*number));
        self.control.changed.notify_all();
        open.len()
    }

    /// Cuts each connection that is open when it has carried `bytes` more, both ways together, and these have gone
    /// out: a request may have arrived whose answer is lost. With 0, now.
    pub fn cut_after(&self, bytes: u64) {
        if bytes == 0 {
            self.cut();
        }
        lock(&self.control.state).links.values_mut().for_each(|pair| pair.left = Some(bytes));
    }

    /// The same for each connection to come, until told `None`.
    pub fn cut_new_after(&self, bytes: Option<u64>) {
        lock(&self.control.state).new_after = bytes;
    }

    /// Whether new connections fail, as with a server that is stopped: there is no socket. Open ones live on.
    pub fn refuse(&self, refuse: bool) {
        let (there, away) = (self.station.folder.join(SOCKET), self.station.folder.join("away"));
        let (from, to) = if refuse { (there, away) } else { (away, there) };
        if from.exists() {
            std::fs::rename(from, to).unwrap();
        }
    }

    /// Whether all is silence: nothing arrives and nothing is closed, not even what one side has closed. What was
    /// said meanwhile arrives when it ends.
    pub fn hold(&self, hold: bool) {
        lock(&self.control.state).holds = hold;
        self.control.changed.notify_all();
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        lock(&self.control.state).links.len()
    }

    /// How many bytes were carried, both ways, ever: what to go through with [`Cutter::cut_after`].
    pub fn forwarded(&self) -> u64 {
        lock(&self.control.state).forwarded
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.station.close(|| {
            let _state = lock(&self.control.state);
            self.control.changed.notify_all();
        });
        lock(&self.control.state).links.clear();
    }
}

impl Control {
    fn carry(self: &Arc<Self>, crew: &Arc<Crew>, client: UnixStream, upstream: &Path) -> io::Result<()> {
        let server = UnixStream::connect(upstream)?;
        let pair = Pair { left: None, client: crew.add(&client)?, server: crew.add(&server)? };
        let number = {
            let mut state = lock(&self.state);
            let left = state.new_after;
            state.last += 1;
            let number = state.last;
            state.links.insert(number, Pair { left, ..pair });
            if left == Some(0) {
                state.cut(number);
            }
            number
        };
        let (control, inner) = (self.clone(), crew.clone());
        let (from, to) = (server.try_clone()?, client.try_clone()?);
        crew.spawn(move || control.forward(&inner, number, from, to));
        self.forward(crew, number, client, server);
        Ok(())
    }

    fn forward(&self, crew: &Crew, number: u64, mut from: UnixStream, mut to: UnixStream) {
        let mut buffer = [0; 8_192];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            let mut state = lock(&self.state);
            while state.holds && state.links.contains_key(&number) && !crew.is_closed() {
                state = wait(&self.changed, state);
            }
            let Some(pair) = state.links.get_mut(&number) else { return };
            let mut goes = read;
            if let Some(left) = &mut pair.left {
                if *left == 0 {
                    return; // the other direction is about to cut
                }
                goes = goes.min(usize::try_from(*left).unwrap_or(goes));
                *left -= goes as u64;
            }
            let spent = pair.left == Some(0);
            state.forwarded += goes as u64;
            drop(state);
            let written = to.write_all(&buffer[..goes]);
            if read == 0 || spent || written.is_err() {
                lock(&self.state).cut(number);
                return;
            }
        }
    }
}
