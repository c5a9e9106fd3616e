//! What was offered to whom, and what became of it: each call one transaction.

use super::{SqliteFault, SqliteStore};
use crate::fleet::Run;
use crate::rollout::account::{self, Entry, PLACE_KEPT_SECS};
use crate::rollout::{ClaimAsk, Claimed, Held, Ledger, Noted, Of, Report, Statistics};
use crate::sql::{ENTRY, EntryColumns, counted};
use crate::store::StandingRecord;
use crate::time::Timestamp;
use crate::verdict::ClaimRefused;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

impl SqliteStore {
    fn account<R>(&self, make: impl FnOnce(&Transaction<'_>) -> Result<R, SqliteFault>) -> Result<R, SqliteFault> {
        let mut writer = self.shared.writer.lock();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let made = make(&transaction)?;
        transaction.commit()?;
        Ok(made)
    }
}

impl Ledger for SqliteStore {
    type Error = SqliteFault;

    fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, SqliteFault> {
        let reader = self.reader()?;
        reader.execute_batch("BEGIN")?;
        let run = of.run.map_or(Ok(None), |run| find_run(&reader, run))?;
        let entry = run.map_or(Ok(None), |(run, _)| find_entry(&reader, run, of.serial))?;
        let standing = StandingRecord {
            download_expires_at: place(&reader, of)?,
            downloads_now: live(&reader, of, now)?,
            slots_taken: run.map_or(0, |(_, devices)| devices),
            ..account::standing(entry.as_ref())
        };
        Ok(Held { standing, tried: entry.as_ref().map(Entry::tried) })
    }

    fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, SqliteFault> {
        let ClaimAsk { of, offer, downloads_max, until } = ask;
        const NOTHING: Claimed = Claimed { attempt: None, new: false };
        self.account(|transaction| {
            let run = of.run.map_or(Ok(None), |run| find_run(transaction, run))?;
            let before = run.map_or(Ok(None), |(run, _)| find_entry(transaction, run, of.serial))?;
            if offer.as_ref().is_some_and(|offer| account::is_stale(before.as_ref(), offer, now)) {
                return Ok(Ok(NOTHING));
            }
            let slots_max = of.run.and(*offer).and_then(|offer| offer.slots_max);
            let taken = run.map_or(0, |(_, devices)| devices);
            if slots_max.is_some_and(|most| before.is_none() && taken >= most) {
                return Ok(Err(ClaimRefused::Slots));
            }
            if let Some(most) = downloads_max
                && !take_place(transaction, of, *most, *until, now)?
            {
                return Ok(Err(ClaimRefused::Downloads));
            }
            let (Some(run), Some(offer)) = (of.run, offer) else { return Ok(Ok(NOTHING)) };
            let Some(entry) = account::offered(before.as_ref(), offer, offer.hop.into(), *until, now) else {
                return Ok(Ok(Claimed { attempt: before.map(|before| before.number), new: false }));
            };
            let id = match find_run(transaction, run)? {
                Some((id, _)) => id,
                None => make_run(transaction, run)?,
            };
            put_entry(transaction, id, of.serial, before.as_ref(), &entry)?;
            Ok(Ok(Claimed { attempt: Some(entry.number), new: true }))
        })
    }

    fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, SqliteFault> {
        self.account(|transaction| {
            let Some((run, _)) = find_run(transaction, &report.run)? else { return Ok(Noted::Foreign) };
            let before = find_entry(transaction, run, &report.serial)?;
            let (noted, entry, end) = match account::noted(before.as_ref(), report, at) {
                Err(noted) => return Ok(noted),
                Ok(told) => told,
            };
            if before.as_ref() != Some(&entry) {
                put_entry(transaction, run, &report.serial, before.as_ref(), &entry)?;
            }
            if let Some(end) = end {
                let Run { product, group, .. } = &report.run;
                shorten(transaction, &Of { product, group, serial: &report.serial, run: None }, end)?;
            }
            Ok(noted)
        })
    }

    fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), SqliteFault> {
        self.account(|transaction| shorten(transaction, of, at))
    }

    fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, SqliteFault> {
        let reader = self.reader()?;
        let mut statistics = Statistics::default();
        let sql =
            "SELECT c.wave, c.resumes, c.outcome, c.devices FROM otagate_count c JOIN otagate_run r ON r.id = c.run
            WHERE r.product = ?1 AND r.group_id = ?2 AND r.rollout = ?3 AND r.started_at = ?4";
        let mut statement = reader.prepare_cached(sql)?;
        let mut found = statement.query(params![
            run.product.as_str(),
            run.group.as_str(),
            run.rollout.as_str(),
            run.started_at.millis()
        ])?;
        while let Some(row) = found.next()? {
            let outcome = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            let counted = counted(row.get(0)?, row.get(1)?, outcome, row.get(3)?);
            let (wave, with, outcome, devices) =
                counted.map_err(|why| SqliteFault::Damaged { table: "otagate_count", why })?;
            statistics.add(wave, with, outcome, devices, resumes);
        }
        Ok(statistics)
    }

    fn forget(&self, run: &Run) -> Result<(), SqliteFault> {
        self.account(|transaction| {
            let sql =
                "DELETE FROM otagate_run WHERE product = ?1 AND group_id = ?2 AND rollout = ?3 AND started_at = ?4";
            let Run { product, group, rollout, started_at } = run;
            transaction
                .execute(sql, params![product.as_str(), group.as_str(), rollout.as_str(), started_at.millis()])?;
            Ok(())
        })
    }
}

/// The number of a run, and how many devices it was offered to.
fn find_run(connection: &Connection, run: &Run) -> Result<Option<(i64, u32)>, SqliteFault> {
    let sql =
        "SELECT id, devices FROM otagate_run WHERE product = ?1 AND group_id = ?2 AND rollout = ?3 AND started_at = ?4";
    let Run { product, group, rollout, started_at } = run;
    let of = params![product.as_str(), group.as_str(), rollout.as_str(), started_at.millis()];
    let found =
        connection.prepare_cached(sql)?.query_row(of, |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()?;
    Ok(found.map(|(id, devices)| (id, u32::try_from(devices).unwrap_or(u32::MAX))))
}

fn make_run(transaction: &Transaction<'_>, run: &Run) -> Result<i64, SqliteFault> {
    let sql = "INSERT INTO otagate_run (product, group_id, rollout, started_at) VALUES (?1, ?2, ?3, ?4)";
    let Run { product, group, rollout, started_at } = run;
    let of = params![product.as_str(), group.as_str(), rollout.as_str(), started_at.millis()];
    transaction.prepare_cached(sql)?.execute(of)?;
    Ok(transaction.last_insert_rowid())
}

fn find_entry(connection: &Connection, run: i64, serial: &str) -> Result<Option<Entry>, SqliteFault> {
    let sql = format!("SELECT {ENTRY} FROM otagate_attempt WHERE run = ?1 AND serial = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query(params![run, serial])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let maybe = |at: usize| row.get_ref(at)?.as_str_or_null().map_err(rusqlite::Error::from);
    let columns = EntryColumns {
        number: row.get(0)?,
        wave: row.get(1)?,
        hop: text(2)?,
        offers: row.get(3)?,
        first_offered_at: row.get(4)?,
        outcome: text(5)?,
        resumes: row.get(6)?,
        claim_expires_at: row.get(7)?,
        failed_hop: maybe(8)?,
        failed_times: row.get(9)?,
        failed_until: row.get(10)?,
        waits_until: row.get(11)?,
    };
    columns.read().map(Some).map_err(|why| SqliteFault::Damaged { table: "otagate_attempt", why })
}

/// Puts an account in the place of what was there, and counts it.
fn put_entry(
    transaction: &Transaction<'_>,
    run: i64,
    serial: &str,
    before: Option<&Entry>,
    entry: &Entry,
) -> Result<(), SqliteFault> {
    let sql = format!(
        "INSERT OR REPLACE INTO otagate_attempt (run, serial, {ENTRY})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    );
    let columns = EntryColumns::of(entry);
    transaction.prepare_cached(&sql)?.execute(params![
        run,
        serial,
        columns.number,
        columns.wave,
        columns.hop,
        columns.offers,
        columns.first_offered_at,
        columns.outcome,
        columns.resumes,
        columns.claim_expires_at,
        columns.failed_hop,
        columns.failed_times,
        columns.failed_until,
        columns.waits_until,
    ])?;
    if before.is_none() {
        transaction.prepare_cached("UPDATE otagate_run SET devices = devices + 1 WHERE id = ?1")?.execute([run])?;
    }
    let sql = "INSERT INTO otagate_count (run, wave, resumes, outcome, devices) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT DO UPDATE SET devices = devices + excluded.devices";
    let mut count = transaction.prepare_cached(sql)?;
    for (entry, devices) in before.map(|before| (before, -1)).into_iter().chain([(entry, 1)]) {
        count.execute(params![run, entry.wave, entry.resumes, entry.outcome.name(), devices])?;
    }
    Ok(())
}

fn place(connection: &Connection, of: &Of<'_>) -> Result<Option<Timestamp>, SqliteFault> {
    let sql = "SELECT expires_at FROM otagate_place WHERE product = ?1 AND group_id = ?2 AND serial = ?3";
    let of = params![of.product.as_str(), of.group.as_str(), of.serial];
    let found = connection.prepare_cached(sql)?.query_row(of, |row| row.get(0)).optional()?;
    Ok(found.map(Timestamp::from_millis))
}

/// How many downloads of the group are live.
fn live(connection: &Connection, of: &Of<'_>, now: Timestamp) -> Result<u32, SqliteFault> {
    let sql = "SELECT count(*) FROM otagate_place WHERE product = ?1 AND group_id = ?2 AND expires_at > ?3";
    let of = params![of.product.as_str(), of.group.as_str(), now.millis()];
    let found: i64 = connection.prepare_cached(sql)?.query_row(of, |row| row.get(0))?;
    Ok(u32::try_from(found).unwrap_or(u32::MAX))
}

/// Takes a place among the group's downloads, unless it has a live one; whether there was one to be had.
fn take_place(
    transaction: &Transaction<'_>,
    of: &Of<'_>,
    most: u32,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, SqliteFault> {
    if place(transaction, of)?.is_some_and(|end| now < end) {
        return Ok(true);
    }
    if live(transaction, of, now)? >= most {
        return Ok(false);
    }
    let (product, group) = (of.product.as_str(), of.group.as_str());
    // By the earlier of two clocks: one that is ahead for a moment forgets nobody.
    let sql = "SELECT taken_at FROM otagate_downloads WHERE product = ?1 AND group_id = ?2";
    let before = transaction.prepare_cached(sql)?.query_row([product, group], |row| row.get(0)).optional()?;
    let earlier = before.map_or(now, |before| Timestamp::from_millis(before).min(now));
    let sql = "DELETE FROM otagate_place WHERE product = ?1 AND group_id = ?2 AND expires_at < ?3";
    transaction.prepare_cached(sql)?.execute(params![product, group, earlier.plus_secs(-PLACE_KEPT_SECS).millis()])?;
    let sql = "INSERT OR REPLACE INTO otagate_downloads (product, group_id, taken_at) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(sql)?.execute(params![product, group, now.millis()])?;
    let sql = "INSERT OR REPLACE INTO otagate_place (product, group_id, serial, expires_at) VALUES (?1, ?2, ?3, ?4)";
    transaction.prepare_cached(sql)?.execute(params![product, group, of.serial, until.millis()])?;
    Ok(true)
}

/// A place that ends later than `end` ends then.
fn shorten(transaction: &Transaction<'_>, of: &Of<'_>, end: Timestamp) -> Result<(), SqliteFault> {
    let sql = "UPDATE otagate_place SET expires_at = ?4
        WHERE product = ?1 AND group_id = ?2 AND serial = ?3 AND expires_at > ?4";
    let of = params![of.product.as_str(), of.group.as_str(), of.serial, end.millis()];
    transaction.prepare_cached(sql)?.execute(of)?;
    Ok(())
}
