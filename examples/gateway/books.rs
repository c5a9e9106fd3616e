//! Where the gateway keeps its fleet and its ledger: in memory, in a SQLite file, or in PostgreSQL. All that differs between them is here.

use super::{Chore, Failure, now, report};
use otagate::feed::{FeedStatus, Followed, Follower, Staleness, Took};
use otagate::postgres::tokio_postgres::NoTls;
use otagate::postgres::{Hearing, PostgresStore};
use otagate::rollout::{
    AsyncConductor, AsyncLedger, Conductor, Ends, Ledger, MemoryLedger, Moved, Noted, Report, RolloutStore,
};
use otagate::sqlite::SqliteStore;
use otagate::store::{AsyncStore, AtOnce, Store};
use otagate::wire::otadrive::{self, Host, LeaseTimes, Reply};
use otagate::{Fleet, Index, Leases, NoTrace, Revision, Run, fleet_file};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How often a database is looked at that does not tell.
const POLL: Duration = Duration::from_secs(1);

/// The same, but several times within what is too old: else a fleet that is followed well would be stale between two looks.
fn poll(staleness: Staleness) -> Duration {
    let limits = [staleness.serve_after, staleness.waves_after];
    limits.into_iter().flatten().map(|limit| limit / 4).fold(POLL, Duration::min).max(Duration::from_millis(10))
}
/// Connections to PostgreSQL.
const CONNECTIONS: usize = 16;
/// How often a fleet file is read anew because the fleet was changed meanwhile.
const READS_MAX: usize = 10;

/// Where fleet and ledger are.
pub(crate) enum Books {
    /// In this process: they go with it.
    Memory { index: Index, ledger: MemoryLedger },
    /// In a file; the index follows it.
    File { index: Index, store: SqliteStore, status: FeedStatus },
    /// In a database, with other gateways; the index follows it, unless each check-in goes straight through.
    Database { index: Index, store: PostgresStore, status: FeedStatus, straight: bool, hearing: Arc<Mutex<Hearing>> },
}

impl Books {
    pub(crate) fn memory(fleet: &Fleet) -> Self {
        Self::Memory { index: Index::new(fleet), ledger: MemoryLedger::default() }
    }

    /// A file, which is made from the fleet at its first start.
    pub(crate) fn file(path: &Path, fleet: &Fleet, staleness: Staleness) -> Result<Self, Failure> {
        let store = SqliteStore::open(path)?;
        match store.fill(fleet)? {
            Some(Revision(revision)) => eprintln!("the file is new, and has the fleet at revision {revision}"),
            None => eprintln!("the file has a fleet: the fleet file counts again when it is reloaded"),
        }
        let index = Index::new(&Fleet::default());
        let (mut follower, mut feed) = (Follower::with(index.clone(), staleness), store.feed()?);
        let status = follower.status();
        // Nobody is answered before it has loaded once.
        follower.sync(&mut feed)?;
        std::thread::spawn(move || {
            let mut told = BTreeMap::new();
            let status = follower.status();
            loop {
                tell(&status, &mut told);
                if !matches!(follower.sync(&mut feed), Ok(Took::Load | Took::Patch)) {
                    use otagate::feed::Feed;
                    feed.wait(poll(staleness));
                }
            }
        });
        Ok(Self::File { index, store, status })
    }

    /// A database, which is filled from the fleet if it is empty: by one gateway, if several begin at once.
    pub(crate) async fn database(
        description: &str,
        fleet: &Fleet,
        staleness: Staleness,
        straight: bool,
    ) -> Result<Self, Failure> {
        let store = PostgresStore::connect(description, CONNECTIONS).await?;
        match store.fill(fleet).await? {
            Some(Revision(revision)) => eprintln!("the database was empty, and has the fleet at revision {revision}"),
            None => eprintln!("the database has a fleet: the fleet file counts again when it is reloaded"),
        }
        let index = Index::new(&Fleet::default());
        let mut follower = Follower::with(index.clone(), staleness);
        let mut feed = store.feed(2).listen(description.parse()?, NoTls);
        let (status, hearing) = (follower.status(), Arc::new(Mutex::new(feed.hearing())));
        follower.sync_async(&mut feed).await?;
        let heard = hearing.clone();
        tokio::spawn(async move {
            use otagate::feed::AsyncFeed;
            let mut told = BTreeMap::new();
            let status = follower.status();
            loop {
                tell(&status, &mut told);
                let took = follower.sync_async(&mut feed).await;
                *heard.lock() = feed.hearing();
                if !matches!(took, Ok(Took::Load | Took::Patch)) {
                    feed.wait(poll(staleness)).await;
                }
            }
        });
        Ok(Self::Database { index, store, status, straight, hearing })
    }

    pub(crate) fn index(&self) -> &Index {
        match self {
            Self::Memory { index, .. } | Self::File { index, .. } | Self::Database { index, .. } => index,
        }
    }

    fn status(&self) -> Option<&FeedStatus> {
        match self {
            Self::Memory { .. } => None,
            Self::File { status, .. } | Self::Database { status, .. } => Some(status),
        }
    }

    /// The reply to a request, its claim made.
    pub(crate) async fn answer(
        &self,
        leases: &Leases,
        times: LeaseTimes,
        request: &otadrive::Request,
    ) -> Result<Reply, Failure> {
        let straight = matches!(self, Self::Database { straight: true, .. });
        if !straight && self.status().is_some_and(|status| !status.may_serve()) {
            return Err("the fleet is too old to serve by: its database has not been heard of".into());
        }
        let trace = &mut NoTrace;
        Ok(match self {
            Self::Memory { index, ledger } => {
                otadrive::answer(&Host { store: index, ledger, leases, times }, request, now(), trace)?
            }
            // A claim waits for the disk: other tasks of this thread go on elsewhere meanwhile.
            Self::File { index, store, .. } => tokio::task::block_in_place(|| {
                otadrive::answer(&Host { store: index, ledger: store, leases, times }, request, now(), trace)
            })?,
            Self::Database { store, straight: true, .. } => {
                otadrive::answer_async(&Host { store, ledger: store, leases, times }, request, now(), trace).await?
            }
            Self::Database { index, store, .. } => {
                let host = Host { store: &AtOnce(index.clone()), ledger: store, leases, times };
                otadrive::answer_async(&host, request, now(), trace).await?
            }
        })
    }

    /// Notes what became of an offer.
    pub(crate) async fn note(&self, report: &Report) -> Result<Noted, Failure> {
        Ok(match self {
            Self::Memory { ledger, .. } => ledger.note(report, now())?,
            Self::File { store, .. } => tokio::task::block_in_place(|| store.note(report, now()))?,
            Self::Database { store, .. } => AsyncLedger::note(store, report, now()).await?,
        })
    }

    /// The last byte is sent.
    pub(crate) async fn end(&self, ends: &Ends, leases: &Leases) -> Result<Option<Noted>, Failure> {
        Ok(match self {
            Self::Memory { ledger, .. } => ends.carry_out(leases, ledger, now())?,
            Self::File { store, .. } => tokio::task::block_in_place(|| ends.carry_out(leases, store, now()))?,
            Self::Database { store, .. } => ends.carry_out_async(leases, store, now()).await?,
        })
    }

    /// Carries out a chore, on the worker's thread; gives the rollouts that were moved.
    pub(crate) fn work(&self, chore: Option<&Chore>, runtime: &Handle) -> Result<Vec<Moved>, Failure> {
        match self {
            Self::Memory { index, ledger } => work_by(index, index, ledger, chore, |changes| {
                let _ = index.apply(changes);
                Ok(())
            }),
            Self::File { index, store, status } => {
                let followed = Followed { index, store, status };
                work_by(&followed, store, store, chore, |changes| {
                    let _ = store.apply(changes)?;
                    Ok(())
                })
            }
            Self::Database { index, store, status, .. } => runtime.block_on(async {
                let followed = Followed { index, store, status };
                let conductor = AsyncConductor::new(&followed, store);
                match chore {
                    None => Ok(conductor.advance(now()).await?),
                    Some(Chore::Advance(run)) => Ok(conductor.advance_group(&run.product, &run.group, now()).await?),
                    Some(Chore::Register(product, serial)) => {
                        AsyncStore::register(store, product, serial, now()).await?;
                        Ok(Vec::new())
                    }
                    Some(Chore::See(change)) => {
                        // A device that is gone meanwhile was not seen.
                        let _ = store.apply(std::slice::from_ref(change)).await?;
                        Ok(Vec::new())
                    }
                }
            }),
        }
    }

    /// The account of that run is of no use to anybody any more.
    pub(crate) fn forget(&self, run: &Run, runtime: &Handle) -> Result<(), Failure> {
        match self {
            Self::Memory { ledger, .. } => ledger.forget(run)?,
            Self::File { store, .. } => store.forget(run)?,
            Self::Database { store, .. } => runtime.block_on(AsyncLedger::forget(store, run))?,
        }
        Ok(())
    }

    /// Reads the fleet file over what is held: what came about since it was read last is kept.
    pub(crate) fn reload(&self, file: &Path, runtime: &Handle) -> Result<(fleet_file::Loaded, Revision), Failure> {
        let read = |held: &Fleet| fleet_file::load_over(file, held, now());
        for _ in 0..READS_MAX {
            let (loaded, revision) = match self {
                Self::Memory { index, .. } => {
                    let held = index.snapshot().to_fleet();
                    let loaded = read(&held)?;
                    let replaced = index.replace_seen(held.revision(), &loaded.fleet)?;
                    (loaded, replaced.then(|| index.revision()))
                }
                Self::File { store, .. } => {
                    let held = store.fleet()?;
                    let loaded = read(&held)?;
                    let replaced = store.replace_seen(held.revision(), &loaded.fleet)?;
                    (loaded, replaced)
                }
                Self::Database { store, .. } => {
                    let held = runtime.block_on(store.fleet())?;
                    let loaded = read(&held)?;
                    let replaced = runtime.block_on(store.replace_seen(held.revision(), &loaded.fleet))?;
                    (loaded, replaced)
                }
            };
            if let Some(revision) = revision {
                report(&loaded, matches!(self, Self::Memory { .. }));
                self.wait_for(revision);
                return Ok((loaded, revision));
            }
        }
        Err("the fleet was changed again and again while its file was read: try again".into())
    }

    /// Until the index has come so far, or its database is gone.
    fn wait_for(&self, revision: Revision) {
        let is_there = || self.index().revision() >= revision;
        let fails = || self.status().is_some_and(|status| status.fault().is_some());
        while !is_there() && !fails() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How it is doing, for whoever looks after it.
    pub(crate) fn told(&self) -> serde_json::Value {
        let Some(status) = self.status() else {
            return serde_json::json!({ "kept_in": "memory", "revision": self.index().revision() });
        };
        let (kept_in, hearing) = match self {
            Self::Database { hearing, straight, .. } => {
                let kept_in = if *straight { "postgres, straight through" } else { "postgres" };
                (kept_in, Some(format!("{:?}", *hearing.lock()).to_lowercase()))
            }
            _ => ("sqlite", None),
        };
        serde_json::json!({
            "kept_in": kept_in,
            "revision": status.revision(),
            "lag": status.lag(),
            "age_secs": status.age().map(|age| age.as_secs_f64()),
            "may_serve": status.may_serve(),
            "may_open_waves": status.may_open_waves(),
            "loads": status.loads(),
            "patches": status.patches(),
            "faults": status.faults(),
            "fault": status.fault(),
            "hearing": hearing,
            "kept_out": &*status.kept_out(),
        })
    }
}

fn work_by<R, S, L>(
    rollouts: &R,
    store: &S,
    ledger: &L,
    chore: Option<&Chore>,
    apply: impl FnOnce(&[otagate::Change]) -> Result<(), Failure>,
) -> Result<Vec<Moved>, Failure>
where
    R: RolloutStore,
    S: Store,
    L: Ledger,
{
    let conductor = Conductor::new(rollouts, ledger);
    match chore {
        None => Ok(conductor.advance(now())?),
        Some(Chore::Advance(run)) => Ok(conductor.advance_group(&run.product, &run.group, now())?),
        Some(Chore::Register(product, serial)) => {
            store.register(product, serial, now())?;
            Ok(Vec::new())
        }
        Some(Chore::See(change)) => {
            // A device that is gone meanwhile was not seen.
            apply(std::slice::from_ref(change))?;
            Ok(Vec::new())
        }
    }
}

/// Tells on standard error which rows are kept out, once, and when they are mended.
fn tell(status: &FeedStatus, told: &mut BTreeMap<String, String>) {
    let now: BTreeMap<String, String> =
        status.kept_out().iter().map(|kept| (kept.key.to_string(), kept.to_string())).collect();
    for (key, line) in &now {
        if told.get(key) != Some(line) {
            eprintln!("warning: {line}");
        }
    }
    told.keys().filter(|key| !now.contains_key(*key)).for_each(|key| eprintln!("mended: {key}"));
    *told = now;
}
