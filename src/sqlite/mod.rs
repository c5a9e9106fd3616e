//! A fleet in one SQLite file: a store, a ledger, the place where rollouts move, and a feed for an index. For one machine.
//!
//! ```text
//!   SqliteStore ─┬─ Store          three look-ups of one snapshot, on a connection of its own     straight through
//!                ├─ Ledger         claims and outcomes, each one transaction
//!                ├─ RolloutStore   the conductor's census and changes
//!                ├─ apply          a batch: read what it touches, Fleet::apply, write the rows that differ
//!                └─ feed()         everything, then what changed: an index that follows             the fast way
//! ```
//!
//! The file is in WAL mode: readers wait for nobody, writers for each other, in one process or several. What was committed survives `kill -9`, and with
//! [`Durability::Full`] (the default) a power cut. Rows may be read and written by anything that speaks SQLite: triggers number every change and note it in a
//! log, and what is wrong in a row is kept out (see [`feed`](crate::feed)). The tables are those of `schema_1.sql`; each begins with `otagate_`, so that they
//! can stand beside others.
//!
//! ```
//! use otagate::sqlite::SqliteStore;
//! use otagate::{Change, CheckIn, NoTrace, ProductSpec, Timestamp, store};
//! # let folder = std::env::temp_dir().join(format!("otagate-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let fleet = SqliteStore::open(folder.join("fleet.db"))?;
//! let lamp = ProductSpec { id: "lamp".into(), ..Default::default() };
//! fleet.apply(&[Change::PutProduct { product: lamp }])??;
//! let ask = CheckIn::new(b"guess", b"SN-17");
//! let status = store::answer(&fleet, &ask, Timestamp::from_millis(0), &mut NoTrace, |decision| decision.status())?;
//! assert_eq!(status, 401);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod feed;
mod ledger;
mod rollouts;
mod rows;
mod schema;
mod view;
mod write;

pub use feed::SqliteFeed;
pub use view::SqliteView;

use crate::fleet::{Fleet, Revision};
use crate::sql::HeldProducts;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a call waits for a writer of another process.
const BUSY: Duration = Duration::from_secs(10);
/// More idle connections than this are closed.
const IDLE_MAX: usize = 16;

/// A fleet in a SQLite file. A handle: clones are the same store.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    durability: Durability,
    writer: Mutex<Connection>,
    idle: Mutex<Vec<Connection>>,
    held: HeldProducts,
    /// The revision that this process wrote last, and who waits for the next one.
    wrote: Mutex<Revision>,
    news: Condvar,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// That the disk has it: nothing that was committed is lost, also where the power fails. A commit costs a flush of the disk.
    #[default]
    Full,
    /// That the operating system has it: nothing is lost where the process dies; the last commits may be where the power fails. Never the file.
    Process,
}

/// Why a store cannot be read or written; nothing is served then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteFault {
    /// SQLite said so: the file cannot be read or written, is damaged, or somebody else held it for more than ten seconds.
    #[error("SQLite failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The tables were made by a later version of this crate.
    #[error(
        "the tables are of version {held}, and this program knows {known} at most: use a newer one, or another file"
    )]
    Newer {
        /// The version of the tables.
        held: usize,
        /// The highest that is known.
        known: usize,
    },
    /// A row of the ledger, or the book-keeping of this crate, holds what cannot be.
    #[error("table `{table}` holds what cannot be: {why}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl SqliteStore {
    /// Opens the file, or makes it, with its tables as this version wants them.
    ///
    /// # Errors
    /// It cannot be opened, is no SQLite file, or is of a later version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteFault> {
        Self::with(path, Durability::default())
    }

    /// The same with another durability.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with(path: impl AsRef<Path>, durability: Durability) -> Result<Self, SqliteFault> {
        let path = path.as_ref().to_owned();
        let mut writer = connect(&path, durability)?;
        schema::migrate(&mut writer)?;
        let revision = rows::revision(&writer)?;
        let shared = Shared {
            path,
            durability,
            writer: Mutex::new(writer),
            idle: Mutex::default(),
            held: HeldProducts::default(),
            wrote: Mutex::new(revision),
            news: Condvar::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The newest revision.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn revision(&self) -> Result<Revision, SqliteFault> {
        let reader = self.reader()?;
        rows::revision(&reader)
    }

    /// The whole fleet in plain maps, as of one revision; rows that a load would refuse are left out. `O(devices)`, and large: for a copy, a comparison, a
    /// look from outside. An index is filled by a [`feed`](Self::feed).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn fleet(&self) -> Result<Fleet, SqliteFault> {
        let reader = self.reader()?;
        reader.execute_batch("BEGIN")?;
        let revision = rows::revision(&reader)?;
        Ok(feed::everything(&reader)?.0.at_revision(revision))
    }

    /// A connection to read by, given back when it is dropped.
    fn reader(&self) -> Result<Reader<'_>, SqliteFault> {
        let idle = self.shared.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.shared.path, self.shared.durability)?,
        };
        Ok(Reader { connection: Some(connection), shared: &self.shared })
    }

    /// Tells who waits in this process that there is something new.
    fn tell(&self, revision: Revision) {
        *self.shared.wrote.lock() = revision;
        self.shared.news.notify_all();
    }
}

fn connect(path: &Path, durability: Durability) -> Result<Connection, SqliteFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    let begun = Instant::now();
    // Of two that open a new file at once one may be told that it is busy, whatever the time-out.
    while let Err(fault) = connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
        if fault.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) || begun.elapsed() > BUSY {
            return Err(fault.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Process => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(connection)
}

/// A connection on loan.
#[derive(Debug)]
struct Reader<'s> {
    connection: Option<Connection>,
    shared: &'s Shared,
}

impl std::ops::Deref for Reader<'_> {
    type Target = Connection;
    #[allow(clippy::expect_used, reason = "it is taken when this is dropped, and not before")]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a connection on loan is there until it is given back")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // One that cannot end its transaction is of no use to the next.
        let ended = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
        let mut idle = self.shared.idle.lock();
        if ended && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}
