//! A gateway that real devices can ask: the OTAdrive calls over HTTP/1, firmware streamed from disk, one fleet file.
//!
//! `cargo run --release --all-features --example gateway -- --fleet fleet.toml --db fleet.db --listen 127.0.0.1:8080`
//!
//! Everything that decides or speaks the protocol is in the library; here is only what belongs to a host: sockets, files, the clock, limits, the log. Rollouts
//! move on by themselves: every offer is claimed in a ledger before it is made, what devices report goes into it after the answer, and a conductor looks at it
//! once a second. Fleet and ledger are in memory, in a SQLite file, or in PostgreSQL (`gateway/books.rs`).
//! `SIGHUP` reads the fleet file again; `SIGTERM` and `SIGINT` let running requests finish.

#[path = "gateway/admin.rs"]
mod admin;
#[path = "gateway/books.rs"]
mod books;

use books::Books;

use http_body_util::{BodyExt, Channel, Either, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use otagate::feed::Staleness;
use otagate::rollout::{Ends, MoveOutcome, Moved, Noted, Report, RolloutStore, Transition};
use otagate::wire::otadrive::{self, LeaseTimes};
use otagate::wire::{self, Body, FilePart};
use otagate::{CanonicalSerial, Change, Leases, ProductId, Revision, Run, Timestamp, fleet_file};
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type HttpResponse = Response<BoxBody<Bytes, std::io::Error>>;

const CONNECTIONS_MAX: usize = 1_024;
const CONNECTION_SECS_MAX: u64 = 1_800;
const HEAD_SECS_MAX: u64 = 10;
const HEAD_BYTES_MAX: usize = 16 * 1_024;
const HEADERS_MAX: usize = 64;
const STOP_SECS_MAX: u64 = 10;
const LEASES_MAX: usize = 100_000;
const LOG_LINES_MAX: usize = 10_000;
const CHORES_MAX: usize = 10_000;
const CONDUCT_EVERY: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const CHUNK_BYTES: usize = 64 * 1_024;

const HELP: &str = "\
A gateway for the OTAdrive device protocol, deciding by otagate.

Usage: gateway --fleet FILE [--db FILE | --postgres DESCRIPTION [--straight]] [--listen ADDRESS]
               [--admin ADDRESS] [--lease-secs N] [--grace-secs N] [--stale-serve-secs N] [--stale-waves-secs N]

  --fleet FILE      the fleet file (TOML); read again on SIGHUP
  --db FILE         keep the fleet and what became of offers in this SQLite file. It is made from the fleet
                    file at the first start; after that it is what counts, and the fleet file says where
                    firmware lies, until SIGHUP takes it over
  --postgres DESCRIPTION
                    the same in PostgreSQL, for many gateways: \"host=/run/postgresql user=ota dbname=fleet\"
  --straight        answer each check-in straight through PostgreSQL, instead of by an index in memory
  --listen ADDRESS  where devices ask [default: 127.0.0.1:8080]; port 0 takes a free one
  --admin ADDRESS   where GET /status tells how the fleet is followed, and which rows of it are kept out;
                    on loopback, devices have no business there
  --lease-secs N    how long an offer stays the same, and is one attempt of its device: longer than the
                    slowest download [default: 3600]
  --grace-secs N    what is left of that once the last byte was sent [default: 60]
  --stale-serve-secs N
                    answer 503 once the database has not been heard of for so long [default: never]
  --stale-waves-secs N
                    open no wave then [default: never]

Rollouts open their waves, halt and complete by their gates; each step is told on standard error. Without
--db and --postgres all is in memory: a process that starts again has only its fleet file, so what to write
there to keep a step is told too, and gates begin to count anew.
One line of JSON per request goes to standard output. SIGTERM and SIGINT let running requests finish.";

struct Gateway {
    fleet_file: PathBuf,
    /// Where the files are that the fleet file names; no other file is served.
    files: RwLock<HashMap<String, PathBuf>>,
    books: Books,
    leases: Leases,
    times: LeaseTimes,
    log: SyncSender<String>,
    chores: SyncSender<Chore>,
    /// Held by whoever changes the fleet: a reload, or the worker.
    writing: Mutex<()>,
    /// Header names as they must be spelled on the wire; see `learn_spelling`.
    spelling: http::Extensions,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (mut fleet_file, mut listen) = (None, "127.0.0.1:8080".to_owned());
    let (mut db, mut postgres, mut straight, mut admin) = (None, None, false, None);
    let (mut times, mut staleness) = (LeaseTimes::default(), Staleness::default());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value; see --help"));
        match arg.as_str() {
            "--fleet" => fleet_file = Some(PathBuf::from(value()?)),
            "--listen" => listen = value()?,
            "--db" => db = Some(PathBuf::from(value()?)),
            "--postgres" => postgres = Some(value()?),
            "--straight" => straight = true,
            "--admin" => admin = Some(value()?),
            "--stale-serve-secs" => staleness.serve_after = Some(Duration::from_secs(seconds(&arg, &value()?)?.into())),
            "--stale-waves-secs" => staleness.waves_after = Some(Duration::from_secs(seconds(&arg, &value()?)?.into())),
            "--lease-secs" => times.lease_secs = seconds(&arg, &value()?)?,
            "--grace-secs" => times.grace_secs = seconds(&arg, &value()?)?,
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(());
            }
            other => return Err(format!("unknown argument `{other}`; see --help").into()),
        }
    }
    let fleet_file = fleet_file.ok_or("--fleet is missing; see --help")?;
    // Before the load, which may take seconds: by default each of them ends the process at once.
    let signals = Signals::watch()?;
    let loaded = fleet_file::load(&fleet_file, now())?;
    report(&loaded, db.is_none() && postgres.is_none());
    let books = match (&db, &postgres) {
        (Some(_), Some(_)) => return Err("--db and --postgres are two places for one fleet; see --help".into()),
        (_, None) if straight => return Err("--straight goes with --postgres; see --help".into()),
        (None, None) => Books::memory(&loaded.fleet),
        (Some(path), None) => Books::file(path, &loaded.fleet, staleness)?,
        (None, Some(description)) => Books::database(description, &loaded.fleet, staleness, straight).await?,
    };
    let (chores, to_do) = sync_channel(CHORES_MAX);
    let gateway = Arc::new(Gateway {
        fleet_file,
        files: RwLock::new(paths(&loaded)),
        books,
        leases: Leases::new(LEASES_MAX),
        times,
        log: start_log(),
        chores,
        writing: Mutex::default(),
        spelling: learn_spelling().await?,
    });
    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    eprintln!("listening on {}", listener.local_addr()?);
    let worker = gateway.clone();
    let runtime = Handle::current();
    // A thread of its own: it waits for other writers, and counts devices.
    std::thread::spawn(move || work(&worker, &to_do, &runtime));
    if let Some(address) = admin {
        let listener =
            TcpListener::bind(&address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        eprintln!("status on {}", listener.local_addr()?);
        tokio::spawn(admin::serve(gateway.clone(), listener));
    }
    serve(gateway, listener, signals).await
}

fn seconds(argument: &str, text: &str) -> Result<u32, Failure> {
    text.parse().map_err(|_| format!("{argument} takes a number of seconds, and `{text}` is none; see --help").into())
}

/// Does what comes after answers, and moves rollouts on: once a second, and as soon as something became of an offer.
fn work(gateway: &Gateway, to_do: &Receiver<Chore>, runtime: &Handle) {
    let (mut next, mut runs, mut undone) = (Instant::now(), HashSet::new(), HashSet::new());
    let (mut failing, mut again) = (false, None);
    loop {
        // When it is time, it is: a queue that is never empty must not keep rollouts from halting.
        let is_time = Instant::now() >= next;
        let chore = match is_time {
            true => None,
            false if again.is_some() => again.take(),
            false => match to_do.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(chore) => Some(chore),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            },
        };
        let _writing = gateway.writing.lock();
        if is_time {
            next = Instant::now() + CONDUCT_EVERY;
        }
        let worked = gateway.books.work(chore.as_ref(), runtime).and_then(|moved| {
            if is_time {
                gateway.forget_what_is_over(&mut runs, runtime)?;
            }
            Ok(moved)
        });
        let moved = match worked {
            Ok(moved) => moved,
            // It is done again until it is done; what comes meanwhile waits in the queue.
            Err(fault) => {
                if !std::mem::replace(&mut failing, true) {
                    eprintln!("the database fails: {}", told(&*fault));
                }
                again = again.or(chore);
                std::thread::sleep(AGAIN_AFTER);
                continue;
            }
        };
        if std::mem::take(&mut failing) {
            eprintln!("the database answers again");
        }
        let (done, stuck): (Vec<_>, Vec<_>) =
            moved.iter().partition(|moved| matches!(moved.outcome, MoveOutcome::Done(..)));
        for moved in done {
            eprintln!("rollout: {moved}");
            if matches!(gateway.books, Books::Memory { .. }) {
                eprintln!("to keep that over a restart: {}", to_keep(moved));
            }
        }
        // That another replica was first is its business.
        let stuck = stuck.iter().filter(|moved| !matches!(moved.outcome, MoveOutcome::Lost));
        let stuck: HashSet<String> = stuck.map(ToString::to_string).collect();
        // What an operator has to see to is told once, and again if it comes back.
        stuck.iter().filter(|line| !undone.contains(*line)).for_each(|line| eprintln!("rollout: {line}"));
        if is_time {
            undone = stuck;
        } else {
            undone.extend(stuck);
        }
    }
}

/// An error with all that lies behind it.
fn told(fault: &(dyn std::error::Error + 'static)) -> String {
    let (mut text, mut source) = (fault.to_string(), fault.source());
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// What to write into the fleet file, which is all that a process that starts again has.
fn to_keep(moved: &Moved) -> String {
    match (&moved.transition, &moved.outcome) {
        (Transition::OpenWave { wave, .. }, MoveOutcome::Done(_, Some(opened))) => {
            let threshold =
                opened.threshold.map_or(String::new(), |threshold| format!("threshold = \"{threshold}\", "));
            format!("give wave {} `open = true, {threshold}opened_at = {}`", wave + 1, opened.at)
        }
        (Transition::Halt { .. }, _) => format!("write `state = \"paused\"` and `why = \"{}\"`", moved.transition),
        _ => {
            "give the group the target as its `firmware`, `config` or `resources`, and take the rollout out".to_owned()
        }
    }
}

impl Gateway {
    /// Carries out what comes after an answer. What the ledger is told is told here, by whoever was answered: it must not be dropped from a full queue. Where
    /// the ledger fails it is lost, and the device reports it again at its next check-in.
    async fn after(&self, after: otadrive::After) {
        match after {
            otadrive::After::Register(product, serial) => self.leave(Chore::Register(product, serial)),
            otadrive::After::See(change) => self.leave(Chore::See(Box::new(change))),
            otadrive::After::Note(report) => match self.books.note(&report).await {
                Ok(noted) => self.came_about(Some(noted), Some(report)),
                Err(fault) => eprintln!("not noted: {}", told(&*fault)),
            },
        }
    }

    /// The last byte is sent.
    async fn end(&self, ends: Ends) {
        match self.books.end(&ends, &self.leases).await {
            Ok(noted) => self.came_about(noted, ends.downloaded),
            Err(fault) => eprintln!("not noted: {}", told(&*fault)),
        }
    }

    fn came_about(&self, noted: Option<Noted>, report: Option<Report>) {
        if let Some(report) = report.filter(|_| noted == Some(Noted::Moved)) {
            self.leave(Chore::Advance(report.run));
        }
    }

    /// Leaves something to the worker. What does not fit is dropped: the device asks again, and rollouts are looked at once a second in any case.
    fn leave(&self, chore: Chore) {
        let _ = self.chores.try_send(chore);
    }

    /// The account of a run that is neither under way nor its group's last one is of no use to anybody.
    fn forget_what_is_over(&self, runs: &mut HashSet<Run>, runtime: &Handle) -> Result<(), Failure> {
        let index = self.books.index();
        let (snapshot, under_way) = (index.snapshot(), index.under_way()?);
        runs.extend(under_way.iter().filter_map(|at| at.group.rollout()?.run(&at.product, at.group.id())));
        let is_over = |run: &&Run| {
            // A group that is not there may be one whose row is kept out: its slots must not be given out anew.
            let Some(group) = snapshot.group(run.product.as_str(), run.group.as_str()) else { return false };
            let last = group.rollout().and_then(|rollout| rollout.run(&run.product, &run.group));
            last.as_ref() != Some(*run)
        };
        let over: Vec<Run> = runs.iter().filter(is_over).cloned().collect();
        for run in over {
            self.books.forget(&run, runtime)?;
            runs.remove(&run);
        }
        Ok(())
    }
}

/// What an operator or a service manager sends.
struct Signals {
    hangup: Signal,
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// What the operator should read: what is legal but surely not meant; and where the fleet is in memory, the waves that were counted, with the thresholds to write into the file if
/// they are to stay the same after a restart.
fn report(loaded: &fleet_file::Loaded, in_memory: bool) {
    loaded.lints.iter().for_each(|lint| eprintln!("warning: {lint}"));
    if loaded.lints.more() > 0 {
        eprintln!("warning: ... and {} more", loaded.lints.more());
    }
    if in_memory {
        loaded.counted.iter().for_each(|wave| eprintln!("counted: {wave}"));
    }
}

fn paths(loaded: &fleet_file::Loaded) -> HashMap<String, PathBuf> {
    loaded.files.iter().map(|file| (file.locator.clone(), file.path.clone())).collect()
}

async fn serve(gateway: Arc<Gateway>, listener: TcpListener, mut signals: Signals) -> Result<(), Failure> {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(HEAD_SECS_MAX));
    http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).preserve_header_case(true).title_case_headers(true);
    let (room, graceful) = (Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX)), GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            // While all places are taken, devices wait in the listener's queue.
            accepted = async {
                let place = room.clone().acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
            _ = signals.hangup.recv() => {
                tokio::spawn(reload(gateway.clone()));
                continue;
            }
            _ = signals.term.recv() => break,
            _ = signals.interrupt.recv() => break,
        };
        let (place, stream) = match accepted {
            (place, Ok((stream, _))) => (place?, stream),
            // Out of file descriptors, say: wait for some to be closed.
            (_, Err(error)) => {
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let gateway = gateway.clone();
        let service = service_fn(move |request| respond(gateway.clone(), request));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // What breaks a connection is the client's business; the answer was logged.
            let _ = tokio::time::timeout(Duration::from_secs(CONNECTION_SECS_MAX), connection).await;
            drop(place);
        });
    }
    drop(listener);
    let stopped = tokio::time::timeout(Duration::from_secs(STOP_SECS_MAX), graceful.shutdown()).await;
    eprintln!("stopped{}", if stopped.is_err() { ", cutting what did not finish" } else { "" });
    Ok(())
}

/// Reads the fleet file again. What is wrong with it is reported, and the fleet that is held goes on.
async fn reload(gateway: Arc<Gateway>) {
    let runtime = Handle::current();
    let read = tokio::task::spawn_blocking(move || -> Result<Revision, Failure> {
        // Nobody registers and no wave opens here meanwhile: it would have to be read again.
        let _writing = gateway.writing.lock();
        // Before it is taken over, so that no offer names a file that is not there; those of before are of leases that live.
        let coming = fleet_file::load_over(&gateway.fleet_file, &gateway.books.index().snapshot().to_fleet(), now())?;
        gateway.files.write().extend(paths(&coming));
        let (loaded, revision) = gateway.books.reload(&gateway.fleet_file, &runtime)?;
        gateway.files.write().extend(paths(&loaded));
        Ok(revision)
    });
    match read.await {
        Ok(Ok(Revision(revision))) => eprintln!("reloaded at revision {revision}"),
        Ok(Err(error)) => eprintln!("not reloaded, the fleet is as it was:\n{}", told(&*error)),
        Err(panic) => eprintln!("not reloaded, the fleet is as it was: {panic}"),
    }
}

async fn respond(gateway: Arc<Gateway>, http: Request<Incoming>) -> Result<HttpResponse, Failure> {
    let target = http.uri().path_and_query().map_or("", |target| target.as_str());
    let header = |name: &str| http.headers().get(name).map(|value| value.as_bytes());
    let parsed = otadrive::Request::parse(http.method().as_str(), target, header);
    let (response, told, after) = match &parsed {
        Err(malformed) => {
            (malformed.response(), serde_json::json!({ "malformed": malformed.to_string() }), After::default())
        }
        Ok(request) => decide(&gateway, request).await,
    };
    let (response, status) = match into_http(&gateway, response, &after).await {
        Ok(response) => response,
        Err(error) => {
            eprintln!("a firmware file cannot be read: {error}");
            into_http(&gateway, unavailable(), &After::default()).await?
        }
    };
    // After the answer was made, so that neither its time nor a store that fails tells a stranger anything (V7).
    if let Some(ends) = after.whole {
        gateway.end(ends).await;
    }
    for after in after.then {
        gateway.after(after).await;
    }
    // A reader of the log that stalls must not stall devices either.
    let _ = gateway
        .log
        .try_send(serde_json::json!({ "at": now().to_string(), "status": status, "answer": told }).to_string());
    Ok(response)
}

async fn decide(gateway: &Gateway, request: &otadrive::Request) -> (wire::Response, serde_json::Value, After) {
    match gateway.books.answer(&gateway.leases, gateway.times, request).await {
        Ok(reply) => {
            let path = match &reply.response.body {
                Body::File(part) => gateway.files.read().get(&part.locator).cloned(),
                _ => None,
            };
            let told = log_line(request, &reply);
            // A text goes out whole; a file is done when its last byte is.
            let is_text = matches!(reply.response.body, Body::Text(_));
            let (whole, ends) = if is_text { (reply.ends, None) } else { (None, reply.ends) };
            let after = After { path, ends, whole, then: reply.after };
            (reply.response, told, after)
        }
        Err(fault) => (unavailable(), serde_json::json!({ "fault": told(&*fault) }), After::default()),
    }
}

/// What is left to do once a response is made.
#[derive(Default)]
struct After {
    /// Where the file of the body is.
    path: Option<PathBuf>,
    /// What is left to do once its body is sent.
    ends: Option<Ends>,
    /// What is left to do at once, since the body goes out whole.
    whole: Option<Ends>,
    then: Vec<otadrive::After>,
}

/// What is left to do for the worker: it changes the fleet, and waits for other writers.
enum Chore {
    Register(ProductId, CanonicalSerial),
    See(Box<Change>),
    /// Something became of an offer of that run.
    Advance(Run),
}

/// The access log: JSON, and every text in it escaped, so that no terminal or viewer is misled. The key is not in it.
fn log_line(request: &otadrive::Request, reply: &otadrive::Reply) -> serde_json::Value {
    let ask = request.check_in();
    let shown = |bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(64)];
        std::str::from_utf8(bytes)
            .map_or_else(|_| bytes.escape_ascii().to_string(), |text| text.escape_debug().to_string())
    };
    let product = reply.device.as_ref().map(|(product, _)| product.as_str());
    let registers = reply.after.iter().any(|after| matches!(after, otadrive::After::Register(..)));
    serde_json::json!({
        "call": request.call(), "product": product, "serial": shown(ask.serial), "version": shown(ask.version), "reason": reply.reason,
        "revision": reply.revision, "leased": reply.leased, "registers": registers,
    })
}

/// Writes the access log from a thread of its own.
fn start_log() -> SyncSender<String> {
    let (log, lines) = sync_channel::<String>(LOG_LINES_MAX);
    std::thread::spawn(move || {
        let mut out = std::io::stdout().lock();
        // Nobody reads it any more: devices are answered all the same.
        lines.iter().take_while(|line| writeln!(out, "{line}").is_ok()).for_each(drop);
    });
    log
}

fn unavailable() -> wire::Response {
    wire::Response { status: 503, headers: vec![("Content-Length", "0".into())], body: Body::Empty }
}

async fn into_http(
    gateway: &Arc<Gateway>,
    response: wire::Response,
    after: &After,
) -> Result<(HttpResponse, u16), Failure> {
    let mut http = Response::builder().status(response.status);
    for (name, value) in response.headers {
        http = http.header(name, value);
    }
    let body = match response.body {
        Body::Empty => Either::Left(Full::default()),
        Body::Text(text) => Either::Left(Full::from(text)),
        Body::File(part) => Either::Right(stream(gateway, part, after).await?),
    };
    let body = match body {
        Either::Left(full) => full.map_err(|never| match never {}).boxed(),
        Either::Right(file) => file.boxed(),
    };
    let mut http = http.body(body)?;
    *http.extensions_mut() = gateway.spelling.clone();
    Ok((http, response.status))
}

/// Streams a part of a file. If the file is shorter than it was when it was digested, the connection is cut, so that no client takes it for whole.
async fn stream(
    gateway: &Arc<Gateway>,
    part: FilePart,
    after: &After,
) -> Result<Channel<Bytes, std::io::Error>, std::io::Error> {
    let mut file = tokio::fs::File::open(after.path.as_ref().ok_or(std::io::ErrorKind::NotFound)?).await?;
    file.seek(std::io::SeekFrom::Start(part.start)).await?;
    let (mut sender, body) = Channel::new(1);
    let (gateway, ends) = (gateway.clone(), after.ends.clone());
    tokio::spawn(async move {
        let mut left = part.len;
        while left > 0 {
            let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES))];
            match file.read(&mut chunk).await {
                Ok(read) if read > 0 => {
                    chunk.truncate(read);
                    left -= read as u64;
                    if sender.send_data(chunk.into()).await.is_err() {
                        return; // the client is gone
                    }
                }
                Ok(_) => return sender.abort(std::io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return sender.abort(error),
            }
        }
        if let Some(ends) = ends {
            gateway.end(ends).await;
        }
    });
    Ok(body)
}

/// Some clients compare header names byte for byte, and `x-MD5` is neither lower nor title case. hyper writes a name as it saw it in a message that it
/// parsed, and keeps that in the message's extensions; so it is shown one message with the names as they must be, once, in memory.
async fn learn_spelling() -> Result<http::Extensions, Failure> {
    use tokio::io::AsyncWriteExt;
    let (mut client, server) = tokio::io::duplex(1_024);
    client.write_all(b"GET / HTTP/1.1\r\nContent-Length: 0\r\nX-Version: \r\nx-MD5: \r\nContent-Range: \r\nConnection: close\r\n\r\n").await?;
    let (learnt, mut lesson) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |request: Request<Incoming>| {
        let learnt = learnt.clone();
        async move {
            learnt.try_send(request.extensions().clone())?;
            Ok::<_, Failure>(Response::new(Full::<Bytes>::default()))
        }
    });
    hyper::server::conn::http1::Builder::new()
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(server), service)
        .await?;
    Ok(lesson.recv().await.ok_or("hyper parsed no message")?)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
