//! What was offered to whom, and what became of it, exact across all gateways: each call one transaction. Rows are locked in one order everywhere: run,
//! device, place, counts; so no two wait for each other.

use super::session::{Session, WRITE, rows, run};
use super::{PostgresFault, PostgresStore};
use crate::fleet::Run;
use crate::rollout::account::{self, Entry, PLACE_KEPT_SECS};
use crate::rollout::{AsyncLedger, ClaimAsk, Claimed, Held, Noted, Of, Report, Statistics};
use crate::sql::{ENTRY, EntryColumns, counted};
use crate::store::StandingRecord;
use crate::time::Timestamp;
use crate::verdict::ClaimRefused;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// How often a transaction that another was in the way of is done again.
const TRIES_MAX: usize = 20;
/// In so many rows a count is kept.
const SHARDS: u32 = 16;

/// What a transaction came to: something, or another was first, and it has to look again.
enum Came<T> {
    To(T),
    Again,
}

impl AsyncLedger for PostgresStore {
    type Error = PostgresFault;

    async fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, PostgresFault> {
        let names = &self.shared.names;
        let sql = names.sql(&format!(
            "SELECT (SELECT coalesce(sum(c.devices), 0)::bigint FROM {{s}}.count c WHERE c.run = r.id),
                (SELECT expires_at FROM {{s}}.place WHERE product = $1 AND group_id = $2 AND serial = $3),
                (SELECT count(*) FROM {{s}}.place WHERE product = $1 AND group_id = $2 AND expires_at > $4),
                {ENTRY}
             FROM (SELECT 1) one
             LEFT JOIN {{s}}.run r ON r.product = $5 AND r.group_id = $6 AND r.rollout = $7 AND r.started_at = $8
             LEFT JOIN {{s}}.attempt a ON a.run = r.id AND a.serial = $3"
        ));
        // Without a run, one that cannot be.
        let (product, group) = of.run.map_or(("", ""), |run| (run.product.as_str(), run.group.as_str()));
        let (rollout, started_at) = of.run.map_or(("", 0), |run| (run.rollout.as_str(), run.started_at.millis()));
        let client = self.shared.pool.get().await?;
        let found = rows(
            &client,
            &sql,
            &[
                (&of.product.as_str(), Type::TEXT),
                (&of.group.as_str(), Type::TEXT),
                (&of.serial, Type::TEXT),
                (&now.millis(), Type::INT8),
                (&product, Type::TEXT),
                (&group, Type::TEXT),
                (&rollout, Type::TEXT),
                (&started_at, Type::INT8),
            ],
        )
        .await?;
        let Some(row) = found.first() else { return Ok(Held::default()) };
        let entry = entry(row, 3)?;
        let number = |stored: Option<i64>| u32::try_from(stored.unwrap_or(0)).unwrap_or(u32::MAX);
        let standing = StandingRecord {
            download_expires_at: row.get::<_, Option<i64>>(1).map(Timestamp::from_millis),
            downloads_now: number(row.get(2)),
            slots_taken: number(row.get(0)),
            ..account::standing(entry.as_ref())
        };
        Ok(Held { standing, tried: entry.as_ref().map(Entry::tried) })
    }

    async fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, PostgresFault> {
        for _ in 1..TRIES_MAX {
            match self.claim_once(ask, now).await {
                Ok(Came::To(claimed)) => return Ok(claimed),
                Ok(Came::Again) => {}
                Err(fault) if fault.is_conflict() => {}
                Err(fault) => return Err(fault),
            }
        }
        match self.claim_once(ask, now).await? {
            Came::To(claimed) => Ok(claimed),
            Came::Again => Err(crowded()),
        }
    }

    async fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, PostgresFault> {
        for _ in 1..TRIES_MAX {
            match self.note_once(report, at).await {
                Err(fault) if fault.is_conflict() => {}
                other => return other,
            }
        }
        self.note_once(report, at).await
    }

    async fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), PostgresFault> {
        let session = Session::begin(&self.shared.pool, WRITE).await?;
        self.shorten(&session, of, at).await?;
        session.commit().await
    }

    async fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, PostgresFault> {
        let sql = "SELECT c.wave, c.resumes, c.outcome, sum(c.devices)::bigint FROM {s}.count c JOIN {s}.run r ON r.id = c.run
            WHERE r.product = $1 AND r.group_id = $2 AND r.rollout = $3 AND r.started_at = $4
            GROUP BY c.wave, c.resumes, c.outcome";
        let client = self.shared.pool.get().await?;
        let Run { product, group, rollout, started_at } = run;
        let found = rows(
            &client,
            &self.shared.names.sql(sql),
            &[
                (&product.as_str(), Type::TEXT),
                (&group.as_str(), Type::TEXT),
                (&rollout.as_str(), Type::TEXT),
                (&started_at.millis(), Type::INT8),
            ],
        )
        .await?;
        let mut statistics = Statistics::default();
        for row in found {
            let counted = counted(row.get(0), row.get(1), row.get(2), row.get(3));
            let (wave, with, outcome, devices) =
                counted.map_err(|why| PostgresFault::Damaged { table: "count", why })?;
            statistics.add(wave, with, outcome, devices, resumes);
        }
        Ok(statistics)
    }

    async fn forget(&self, forgotten: &Run) -> Result<(), PostgresFault> {
        let sql = "DELETE FROM {s}.run WHERE product = $1 AND group_id = $2 AND rollout = $3 AND started_at = $4";
        let client = self.shared.pool.get().await?;
        let Run { product, group, rollout, started_at } = forgotten;
        let of = [
            (&product.as_str() as _, Type::TEXT),
            (&group.as_str() as _, Type::TEXT),
            (&rollout.as_str() as _, Type::TEXT),
            (&started_at.millis() as _, Type::INT8),
        ];
        run(&client, &self.shared.names.sql(sql), &of).await?;
        Ok(())
    }
}

impl PostgresStore {
    async fn claim_once(
        &self,
        ask: &ClaimAsk<'_>,
        now: Timestamp,
    ) -> Result<Came<Result<Claimed, ClaimRefused>>, PostgresFault> {
        let ClaimAsk { of, offer, downloads_max, until } = ask;
        const NOTHING: Claimed = Claimed { attempt: None, new: false };
        let session = Session::begin(&self.shared.pool, WRITE).await?;
        let slots_max = of.run.and(*offer).and_then(|offer| offer.slots_max);
        let mut id = None;
        if let (Some(run), Some(_)) = (of.run, offer) {
            id = self.find_run(&session, run, slots_max.is_some()).await?;
            if id.is_none() && slots_max.is_some() {
                // Whoever counts slots locks the run first, so it has to be there.
                self.make_run(&session, run).await?;
                id = self.find_run(&session, run, true).await?;
            }
        }
        let before = match id {
            Some(id) => self.find_entry(&session, id, of.serial).await?,
            None => None,
        };
        if offer.as_ref().is_some_and(|offer| account::is_stale(before.as_ref(), offer, now)) {
            return Ok(Came::To(Ok(NOTHING)));
        }
        if let (Some(most), Some(id), None) = (slots_max, id, &before)
            && self.slots_taken(&session, id).await? >= u64::from(most)
        {
            return Ok(Came::To(Err(ClaimRefused::Slots)));
        }
        if let Some(most) = downloads_max
            && !self.take_place(&session, of, *most, *until, now).await?
        {
            return Ok(Came::To(Err(ClaimRefused::Downloads)));
        }
        let mut claimed = NOTHING;
        if let (Some(run), Some(offer)) = (of.run, offer) {
            match account::offered(before.as_ref(), offer, offer.hop.into(), *until, now) {
                None => claimed.attempt = before.as_ref().map(|before| before.number),
                Some(entry) => {
                    let id = match id {
                        Some(id) => Some(id),
                        None => {
                            self.make_run(&session, run).await?;
                            self.find_run(&session, run, false).await?
                        }
                    };
                    // It was forgotten just now, or the device's first offer was made by another gateway just now.
                    let Some(id) = id else { return Ok(Came::Again) };
                    if !self.put_entry(&session, id, of.serial, before.as_ref(), &entry).await? {
                        return Ok(Came::Again);
                    }
                    claimed = Claimed { attempt: Some(entry.number), new: true };
                }
            }
        }
        session.commit().await?;
        Ok(Came::To(Ok(claimed)))
    }

    async fn note_once(&self, report: &Report, at: Timestamp) -> Result<Noted, PostgresFault> {
        let session = Session::begin(&self.shared.pool, WRITE).await?;
        let Some(id) = self.find_run(&session, &report.run, false).await? else { return Ok(Noted::Foreign) };
        let before = self.find_entry(&session, id, &report.serial).await?;
        let (noted, entry, end) = match account::noted(before.as_ref(), report, at) {
            Err(noted) => return Ok(noted),
            Ok(told) => told,
        };
        if let Some(end) = end {
            let Run { product, group, .. } = &report.run;
            self.shorten(&session, &Of { product, group, serial: &report.serial, run: None }, end).await?;
        }
        if before.as_ref() != Some(&entry) {
            self.put_entry(&session, id, &report.serial, before.as_ref(), &entry).await?;
        }
        session.commit().await?;
        Ok(noted)
    }

    /// The number of a run; its row is locked for who counts its slots.
    async fn find_run(&self, session: &Session, run: &Run, lock: bool) -> Result<Option<i64>, PostgresFault> {
        let sql = format!(
            "SELECT id FROM {{s}}.run WHERE product = $1 AND group_id = $2 AND rollout = $3 AND started_at = $4{}",
            if lock { " FOR NO KEY UPDATE" } else { "" }
        );
        let Run { product, group, rollout, started_at } = run;
        let found = rows(
            session,
            &self.shared.names.sql(&sql),
            &[
                (&product.as_str(), Type::TEXT),
                (&group.as_str(), Type::TEXT),
                (&rollout.as_str(), Type::TEXT),
                (&started_at.millis(), Type::INT8),
            ],
        )
        .await?;
        Ok(found.first().map(|row| row.get(0)))
    }

    async fn make_run(&self, session: &Session, made: &Run) -> Result<(), PostgresFault> {
        let sql = "INSERT INTO {s}.run (product, group_id, rollout, started_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let Run { product, group, rollout, started_at } = made;
        let of = [
            (&product.as_str() as _, Type::TEXT),
            (&group.as_str() as _, Type::TEXT),
            (&rollout.as_str() as _, Type::TEXT),
            (&started_at.millis() as _, Type::INT8),
        ];
        run(session, &self.shared.names.sql(sql), &of).await?;
        Ok(())
    }

    async fn find_entry(&self, session: &Session, id: i64, serial: &str) -> Result<Option<Entry>, PostgresFault> {
        let sql = format!("SELECT {ENTRY} FROM {{s}}.attempt WHERE run = $1 AND serial = $2 FOR UPDATE");
        let found = rows(session, &self.shared.names.sql(&sql), &[(&id, Type::INT8), (&serial, Type::TEXT)]).await?;
        found.first().map_or(Ok(None), |row| entry(row, 0))
    }

    async fn slots_taken(&self, session: &Session, id: i64) -> Result<u64, PostgresFault> {
        let sql = self.shared.names.sql("SELECT coalesce(sum(devices), 0)::bigint FROM {s}.count WHERE run = $1");
        let found = rows(session, &sql, &[(&id, Type::INT8)]).await?;
        Ok(found.first().map_or(u64::MAX, |row| u64::try_from(row.get::<_, i64>(0)).unwrap_or(0)))
    }

    /// Puts an account in the place of what was there, which is locked, and counts it; false: there was none, and another made one just now.
    async fn put_entry(
        &self,
        session: &Session,
        id: i64,
        serial: &str,
        before: Option<&Entry>,
        entry: &Entry,
    ) -> Result<bool, PostgresFault> {
        let sql = match before {
            None => format!(
                "INSERT INTO {{s}}.attempt (run, serial, {ENTRY})
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING"
            ),
            Some(_) => format!(
                "UPDATE {{s}}.attempt SET ({ENTRY}) = ($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                 WHERE run = $1 AND serial = $2"
            ),
        };
        let columns = EntryColumns::of(entry);
        let number = Type::INT8;
        let touched = run(
            session,
            &self.shared.names.sql(&sql),
            &[
                (&id, number.clone()),
                (&serial, Type::TEXT),
                (&columns.number, number.clone()),
                (&columns.wave, number.clone()),
                (&columns.hop, Type::TEXT),
                (&columns.offers, number.clone()),
                (&columns.first_offered_at, number.clone()),
                (&columns.outcome, Type::TEXT),
                (&columns.resumes, number.clone()),
                (&columns.claim_expires_at, number.clone()),
                (&columns.failed_hop, Type::TEXT),
                (&columns.failed_times, number.clone()),
                (&columns.failed_until, number.clone()),
                (&columns.waits_until, number.clone()),
            ],
        )
        .await?;
        if touched == 0 {
            return Ok(false);
        }
        // Always the same shard for a device, and its rows in one order.
        let shard = serial.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % SHARDS;
        let mut counts: Vec<(i64, i64, &str, i64)> = Vec::new();
        for (entry, devices) in before.map(|before| (before, -1)).into_iter().chain([(entry, 1)]) {
            counts.push((entry.wave.into(), entry.resumes.into(), entry.outcome.name(), devices));
        }
        if let [(w1, r1, o1, _), (w2, r2, o2, _)] = &counts[..]
            && (w1, r1, o1) == (w2, r2, o2)
        {
            return Ok(true);
        }
        counts.sort_unstable();
        let sql = "INSERT INTO {s}.count (run, shard, wave, resumes, outcome, devices) VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (run, shard, wave, resumes, outcome) DO UPDATE SET devices = count.devices + excluded.devices";
        for (wave, resumes, outcome, devices) in counts {
            run(
                session,
                &self.shared.names.sql(sql),
                &[
                    (&id, number.clone()),
                    (&(shard as i32), Type::INT4),
                    (&wave, number.clone()),
                    (&resumes, number.clone()),
                    (&outcome, Type::TEXT),
                    (&devices, number.clone()),
                ],
            )
            .await?;
        }
        Ok(true)
    }

    /// Takes a place among the group's downloads, unless it has a live one; whether there was one to be had.
    async fn take_place(
        &self,
        session: &Session,
        of: &Of<'_>,
        most: u32,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, PostgresFault> {
        let names = &self.shared.names;
        let (product, group) = (of.product.as_str(), of.group.as_str());
        let group_of = [(&product as _, Type::TEXT), (&group as _, Type::TEXT)];
        let [product_of, group_of_it] = group_of.clone();
        // From here on places of this group are given one after the other.
        let sql = "INSERT INTO {s}.downloads (product, group_id, taken_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let at = now.millis();
        run(session, &names.sql(sql), &[product_of.clone(), group_of_it.clone(), (&at, Type::INT8)]).await?;
        let sql = "SELECT taken_at FROM {s}.downloads WHERE product = $1 AND group_id = $2 FOR NO KEY UPDATE";
        let locked = rows(session, &names.sql(sql), &group_of).await?;
        let sql = "SELECT (SELECT expires_at FROM {s}.place WHERE product = $1 AND group_id = $2 AND serial = $3),
            (SELECT count(*) FROM {s}.place WHERE product = $1 AND group_id = $2 AND expires_at > $4)";
        let own = [product_of.clone(), group_of_it.clone(), (&of.serial as _, Type::TEXT), (&at as _, Type::INT8)];
        let found = rows(session, &names.sql(sql), &own).await?;
        let (Some(found), Some(locked)) = (found.first(), locked.first()) else { return Ok(false) };
        if found.get::<_, Option<i64>>(0).is_some_and(|end| at < end) {
            return Ok(true);
        }
        if found.get::<_, i64>(1) >= i64::from(most) {
            return Ok(false);
        }
        // By the earlier of two clocks: one that is ahead for a moment forgets nobody.
        let earlier = Timestamp::from_millis(locked.get(0)).min(now).plus_secs(-PLACE_KEPT_SECS).millis();
        let sql = "DELETE FROM {s}.place WHERE product = $1 AND group_id = $2 AND expires_at < $3";
        run(session, &names.sql(sql), &[product_of.clone(), group_of_it.clone(), (&earlier, Type::INT8)]).await?;
        let sql = "UPDATE {s}.downloads SET taken_at = $3 WHERE product = $1 AND group_id = $2";
        run(session, &names.sql(sql), &[product_of.clone(), group_of_it.clone(), (&at, Type::INT8)]).await?;
        let sql = "INSERT INTO {s}.place (product, group_id, serial, expires_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (product, group_id, serial) DO UPDATE SET expires_at = excluded.expires_at";
        let end = until.millis();
        run(session, &names.sql(sql), &[product_of, group_of_it, (&of.serial, Type::TEXT), (&end, Type::INT8)]).await?;
        Ok(true)
    }

    /// A place that ends later than `end` ends then.
    async fn shorten(&self, session: &Session, of: &Of<'_>, end: Timestamp) -> Result<(), PostgresFault> {
        let sql = "UPDATE {s}.place SET expires_at = $4
            WHERE product = $1 AND group_id = $2 AND serial = $3 AND expires_at > $4";
        run(
            session,
            &self.shared.names.sql(sql),
            &[
                (&of.product.as_str(), Type::TEXT),
                (&of.group.as_str(), Type::TEXT),
                (&of.serial, Type::TEXT),
                (&end.millis(), Type::INT8),
            ],
        )
        .await?;
        Ok(())
    }
}

/// An account, whose columns begin at `at`; none, where they are null.
fn entry(row: &Row, at: usize) -> Result<Option<Entry>, PostgresFault> {
    let Some(number) = row.get(at) else { return Ok(None) };
    let columns = EntryColumns {
        number,
        wave: row.get(at + 1),
        hop: row.get(at + 2),
        offers: row.get(at + 3),
        first_offered_at: row.get(at + 4),
        outcome: row.get(at + 5),
        resumes: row.get(at + 6),
        claim_expires_at: row.get(at + 7),
        failed_hop: row.get(at + 8),
        failed_times: row.get(at + 9),
        failed_until: row.get(at + 10),
        waits_until: row.get(at + 11),
    };
    columns.read().map(Some).map_err(|why| PostgresFault::Damaged { table: "attempt", why })
}

fn crowded() -> PostgresFault {
    let why = format!("a device was claimed by others {TRIES_MAX} times while it was looked at");
    PostgresFault::Damaged { table: "attempt", why }
}
