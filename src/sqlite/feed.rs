//! What an index follows.

use super::{SqliteFault, SqliteStore, rows};
use crate::feed::{Changes, Feed, Loading, Patch};
use crate::fleet::take::RulesChanged;
use crate::fleet::{Fleet, FleetOf, Revision, Row, RowKey, RowKind};
use crate::sql::PATCH_ROWS_MAX;
use rusqlite::Connection;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// So many devices go from the reader to whoever checks them at once.
const ROWS_AT_ONCE: usize = 4_096;
/// How often a file that other processes write to is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The feed of a SQLite file: what any process commits there is seen within some 20 ms, what this process commits at once.
///
/// ```
/// use otagate::feed::Follower;
/// use otagate::sqlite::SqliteStore;
/// use otagate::{Change, Fleet, Index, ProductSpec, Revision};
/// # let folder = std::env::temp_dir().join(format!("otagate-feed-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let store = SqliteStore::open(folder.join("fleet.db"))?;
/// let index = Index::new(&Fleet::default());
/// let (mut follower, mut feed) = (Follower::new(index.clone()), store.feed()?);
/// follower.sync(&mut feed)?; // a thread of its own calls `follow`
/// store.apply(&[Change::PutProduct { product: ProductSpec { id: "lamp".into(), ..Default::default() } }])??;
/// follower.sync(&mut feed)?;
/// assert_eq!((index.revision(), follower.status().lag()), (Revision(1), 0));
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteFeed {
    store: SqliteStore,
    /// One connection for all looks: it tells whether others wrote.
    connection: Connection,
    /// What this process had written when it was looked at last.
    seen: Revision,
    version: i64,
}

impl SqliteStore {
    /// A feed of this file, for one follower.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn feed(&self) -> Result<SqliteFeed, SqliteFault> {
        let connection = super::connect(&self.shared.path, self.shared.durability)?;
        Ok(SqliteFeed { store: self.clone(), connection, seen: Revision(0), version: 0 })
    }
}

/// A snapshot for the length of some looks.
struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    fn of(connection: &'c Connection) -> Result<Self, SqliteFault> {
        connection.execute_batch("BEGIN")?;
        Ok(Self(connection))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Nothing was written; where it fails the connection fails with the next look.
        let _ = self.0.execute_batch("ROLLBACK");
    }
}

impl Feed for SqliteFeed {
    type Error = SqliteFault;

    fn load(&mut self) -> Result<Loading, SqliteFault> {
        let snapshot = Snapshot::of(&self.connection)?;
        let loading = Loading::new(rows::revision(snapshot.0)?, few(snapshot.0)?);
        // SQLite reads on one thread; checking takes as long, and is done on others.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (send, receive) = sync_channel::<Vec<Row>>(2 * threads);
        let receive = parking_lot::Mutex::new(receive);
        let read = std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let rows = receive.lock().recv();
                        let Ok(rows) = rows else { return };
                        loading.add(rows);
                    }
                });
            }
            let mut statement = snapshot.0.prepare(&rows::select_devices(""))?;
            let (mut found, mut some) = (statement.query([])?, Vec::with_capacity(ROWS_AT_ONCE));
            while let Some(row) = found.next()? {
                some.push(rows::device(row)?);
                if some.len() == ROWS_AT_ONCE {
                    let full = std::mem::replace(&mut some, Vec::with_capacity(ROWS_AT_ONCE));
                    // They go on until this end is dropped.
                    let _ = send.send(full);
                }
            }
            let _ = send.send(some);
            drop(send);
            Ok::<_, SqliteFault>(())
        });
        read?;
        Ok(loading)
    }

    fn changes(&mut self, after: Revision) -> Result<Changes, SqliteFault> {
        self.seen = *self.store.shared.wrote.lock();
        self.version = data_version(&self.connection)?;
        let snapshot = Snapshot::of(&self.connection)?;
        let sql = "SELECT revision, log_from FROM otagate_meta";
        let (revision, from) = snapshot.0.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (revision, from) = (rows::revision_of(revision), rows::revision_of(from));
        if revision == after {
            return Ok(Changes::None);
        }
        // It was set back, or forgot.
        if revision < after || after < from {
            return Ok(Changes::Unknown);
        }
        let after_stored = i64::try_from(after.0).unwrap_or(i64::MAX);
        let count = "SELECT count(*) FROM (SELECT 1 FROM otagate_log WHERE revision > ?1 LIMIT ?2)";
        let touched: i64 =
            snapshot.0.prepare_cached(count)?.query_row([after_stored, PATCH_ROWS_MAX + 1], |row| row.get(0))?;
        if touched > PATCH_ROWS_MAX {
            return Ok(Changes::Unknown);
        }
        let sql = "SELECT DISTINCT kind, product, name FROM otagate_log WHERE revision > ?1";
        let mut statement = snapshot.0.prepare_cached(sql)?;
        let mut keys = Vec::new();
        let mut found = statement.query([after_stored])?;
        while let Some(row) = found.next()? {
            let kind = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            let kind = RowKind::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(|| {
                SqliteFault::Damaged { table: "otagate_log", why: format!("`{}` is no kind", kind.escape_debug()) }
            })?;
            let (product, name): (String, String) = (row.get(1)?, row.get(2)?);
            keys.push(RowKey::new(kind, &product, &name));
        }
        let rows: Result<Vec<Row>, SqliteFault> = keys.into_iter().map(|key| row_now(snapshot.0, key)).collect();
        Ok(Changes::Patch(Patch { after, revision, rows: rows? }))
    }

    fn wait(&mut self, up_to: Duration) {
        let until = Instant::now() + up_to;
        loop {
            let mut wrote = self.store.shared.wrote.lock();
            let slice = Instant::now() + LOOK_EVERY;
            if *wrote == self.seen && until > Instant::now() {
                self.store.shared.news.wait_until(&mut wrote, slice.min(until));
            }
            if *wrote != self.seen || Instant::now() >= until {
                return;
            }
            drop(wrote);
            // What cannot be looked at is looked at by the follower, who tells.
            if data_version(&self.connection).is_ok_and(|version| version != self.version) {
                return;
            }
        }
    }
}

/// Changes whenever another connection commits.
fn data_version(connection: &Connection) -> Result<i64, SqliteFault> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}

/// All rows of products, firmware and groups.
fn few(connection: &Connection) -> Result<Vec<Row>, SqliteFault> {
    let mut rows = Vec::new();
    for (kind, sql) in [
        (RowKind::Product, "SELECT id, revision, document, id FROM otagate_product"),
        (RowKind::Firmware, "SELECT version, revision, document, product FROM otagate_firmware"),
        (RowKind::Group, "SELECT id, revision, document, product FROM otagate_group"),
    ] {
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let product: String = row.get(3)?;
            rows.push(rows::document(kind, &product, row)?);
        }
    }
    Ok(rows)
}

/// What stands in a row now.
fn row_now(connection: &Connection, key: RowKey) -> Result<Row, SqliteFault> {
    let sql = match key.kind {
        RowKind::Product => "SELECT id, revision, document FROM otagate_product WHERE id = ?1 AND id = ?2",
        RowKind::Firmware => {
            "SELECT version, revision, document FROM otagate_firmware WHERE product = ?1 AND version = ?2"
        }
        RowKind::Group => "SELECT id, revision, document FROM otagate_group WHERE product = ?1 AND id = ?2",
        RowKind::Device => {
            let found = rows::device_named(connection, &key.product, &key.name)?;
            return Ok(found.unwrap_or_else(|| Row::gone(key)));
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query([&key.product, &key.name])?;
    let row = found.next()?.map(|row| rows::document(key.kind, &key.product, row)).transpose()?;
    Ok(row.unwrap_or_else(|| Row::gone(key)))
}

/// The whole fleet in plain maps, and the rows that were kept out of it.
pub(super) fn everything(connection: &Connection) -> Result<(Fleet, Vec<RowKey>), SqliteFault> {
    let mut all = few(connection)?;
    let mut statement = connection.prepare_cached(&rows::select_devices(""))?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        all.push(rows::device(row)?);
    }
    let empty: Fleet = FleetOf::default();
    // In an empty fleet no rules can change.
    Ok(match empty.take(all) {
        Ok(taken) => (taken.fleet, taken.kept_out.into_iter().map(|(row, _)| row.key).collect()),
        Err(RulesChanged) => (empty, Vec::new()),
    })
}
