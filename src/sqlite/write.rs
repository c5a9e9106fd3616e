//! Batches of changes, each one transaction and one revision.

use super::{SqliteFault, SqliteStore, rows};
use crate::fleet::{CanonicalSerial, Change, Fleet, KeyHash, Problems, ProductId, Revision, Row};
use crate::sql::{Held, Whom, Work, forgotten_by};
use crate::store::Registered;
use crate::time::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::Arc;

impl SqliteStore {
    /// Applies a batch whole or not at all, as [`Fleet::apply`](crate::FleetOf::apply) does, and commits it as one revision. It reads what the batch touches,
    /// and writes the rows that differ; other writers wait.
    ///
    /// # Errors
    /// The file cannot be written: nothing was. Inside: everything that is wrong with the batch.
    pub fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, SqliteFault> {
        self.write(|transaction, revision| self.rows_of(transaction, revision, changes))
    }

    /// Puts a whole fleet in the place of what the file holds, as one revision: the rows that differ are written, those that are kept out are taken away. The
    /// revision is the file's own, not that of `fleet`; where nothing differs, it stays.
    ///
    /// # Errors
    /// The file cannot be written: nothing was.
    pub fn replace(&self, fleet: &Fleet) -> Result<Revision, SqliteFault> {
        Ok(self.replace_if(fleet, |_, _| Ok(true))?.unwrap_or_default())
    }

    /// The same, if the file still holds the revision `seen`, from which `fleet` was made; else nothing that came about since would be in it, and none is
    /// given: look again, and make it anew.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn replace_seen(&self, seen: Revision, fleet: &Fleet) -> Result<Option<Revision>, SqliteFault> {
        self.replace_if(fleet, |_, held| Ok(held == seen))
    }

    /// The same, if the file holds no product yet: of several processes that begin at once one fills it.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn fill(&self, fleet: &Fleet) -> Result<Option<Revision>, SqliteFault> {
        self.replace_if(fleet, |connection, _| {
            Ok(!connection.prepare_cached("SELECT 1 FROM otagate_product")?.exists([])?)
        })
    }

    fn replace_if(
        &self,
        fleet: &Fleet,
        may: impl FnOnce(&Connection, Revision) -> Result<bool, SqliteFault>,
    ) -> Result<Option<Revision>, SqliteFault> {
        let mut allowed = false;
        let revision = self.write(|transaction, held| {
            allowed = may(transaction, held)?;
            if !allowed {
                return Ok(Ok(Vec::new()));
            }
            let (held, kept_out) = super::feed::everything(transaction)?;
            Ok(Ok(Work::between(&held, kept_out, fleet)))
        })?;
        // A fleet is no change that could be refused.
        Ok(revision.ok().filter(|_| allowed))
    }

    /// Forgets which rows were touched by all revisions up to that one: an index that has not come so far yet loads anew. Of itself the store keeps the last
    /// 100,000 revisions; so this is for a file that is to become small.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn prune_log(&self, up_to: Revision) -> Result<(), SqliteFault> {
        let mut writer = self.shared.writer.lock();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let revision = rows::revision(&transaction)?;
        prune(&transaction, revision.min(up_to).0)?;
        Ok(transaction.commit()?)
    }

    /// Carries out a registration (question 3); see [`Store::register`](crate::store::Store::register).
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(super) fn register_device(
        &self,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, SqliteFault> {
        let known = |connection: &Connection| {
            Ok::<_, SqliteFault>(rows::device_named(connection, product.as_str(), serial.as_str())?.is_some())
        };
        // Most strangers ask again and again: they must not keep writers waiting.
        let reader = self.reader()?;
        if known(&reader)? {
            return Ok(Registered::Known);
        }
        let held = self.held_product(&reader, product.as_str())?;
        let registers = held
            .as_ref()
            .and_then(|held| held.product())
            .map(|product| (product.register_on_first_contact, product.new_devices_max as usize));
        if !registers.is_some_and(|(registers, _)| registers)
            || rows::new_devices(&reader, product)? >= registers.map_or(0, |(_, most)| most)
        {
            return Ok(Registered::Refused);
        }
        drop(reader);
        let change = Change::Register { product: product.clone(), serial: serial.as_str().to_owned(), at };
        let mut outcome = Registered::Refused;
        self.write(|transaction, revision| {
            if known(transaction)? {
                outcome = Registered::Known;
                return Ok(Ok(Vec::new()));
            }
            let rows = self.rows_of(transaction, revision, std::slice::from_ref(&change))?;
            if rows.as_ref().is_ok_and(|rows| !rows.is_empty()) {
                outcome = Registered::New;
            }
            Ok(rows)
        })?
        .map_or(Ok(Registered::Refused), |_| Ok(outcome))
    }

    /// Writes what `make` says, as the next revision.
    fn write(
        &self,
        make: impl FnOnce(&Transaction<'_>, Revision) -> Result<Result<Vec<Row>, Problems>, SqliteFault>,
    ) -> Result<Result<Revision, Problems>, SqliteFault> {
        let mut writer = self.shared.writer.lock();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = rows::revision(&transaction)?;
        let changed = match make(&transaction, before)? {
            Err(problems) => return Ok(Err(problems)),
            Ok(changed) if changed.is_empty() => return Ok(Ok(before)),
            Ok(changed) => changed,
        };
        transaction.execute("UPDATE otagate_meta SET revision = revision + 1, batch = 1", [])?;
        for row in &changed {
            rows::write(&transaction, row)?;
        }
        transaction.execute("UPDATE otagate_meta SET batch = 0", [])?;
        if let Some(up_to) = forgotten_by(before.0.saturating_add(1), changed.len()) {
            prune(&transaction, up_to)?;
        }
        let revision = rows::revision(&transaction)?;
        transaction.commit()?;
        drop(writer);
        self.tell(revision);
        Ok(Ok(revision))
    }

    /// The rows that a batch leads to.
    fn rows_of(
        &self,
        connection: &Connection,
        revision: Revision,
        changes: &[Change],
    ) -> Result<Result<Vec<Row>, Problems>, SqliteFault> {
        let mut work = self.work(connection, revision, changes)?;
        for (product, whom) in work.devices(changes) {
            work.add_devices(devices(connection, &product, &whom)?);
            if matches!(whom, Whom::All | Whom::Named { count_new: true, .. }) {
                work.set_new_devices(&product, rows::new_devices(connection, &product)?);
            }
        }
        Ok(work.apply(changes))
    }

    /// The products that a batch names.
    fn work(&self, connection: &Connection, revision: Revision, changes: &[Change]) -> Result<Work, SqliteFault> {
        let mut products = Vec::new();
        for name in Work::products(changes) {
            products.extend(self.held_product(connection, name)?);
        }
        let owner = |hash: KeyHash| Ok(rows::product_of_key(connection, &hash)?.map(|(owner, _)| (hash, owner.into())));
        let owners: Result<Vec<_>, SqliteFault> =
            Work::keys(changes).into_iter().filter_map(|hash| owner(hash).transpose()).collect();
        Ok(Work::new(revision, products, owners?))
    }

    /// A product with its firmware and groups, read once per edition.
    pub(super) fn held_product(&self, connection: &Connection, name: &str) -> Result<Option<Arc<Held>>, SqliteFault> {
        let Some(edition) = rows::edition(connection, name)? else { return Ok(None) };
        self.held_at(connection, name, edition).map(Some)
    }

    pub(super) fn held_at(&self, connection: &Connection, name: &str, edition: u64) -> Result<Arc<Held>, SqliteFault> {
        match self.shared.held.at(name, edition) {
            Some(held) => Ok(held),
            None => Ok(self.shared.held.keep(name, rows::held(connection, name, edition)?)),
        }
    }
}

fn prune(transaction: &Transaction<'_>, up_to: u64) -> Result<(), SqliteFault> {
    let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
    transaction.prepare_cached("DELETE FROM otagate_log WHERE revision <= ?1")?.execute([up_to])?;
    transaction.prepare_cached("UPDATE otagate_meta SET log_from = max(log_from, ?1)")?.execute([up_to])?;
    Ok(())
}

fn devices(connection: &Connection, product: &ProductId, whom: &Whom) -> Result<Vec<Row>, SqliteFault> {
    let mut found = Vec::new();
    match whom {
        Whom::All => each(connection, "WHERE product = ?1", &[product.as_str()], &mut found)?,
        Whom::Named { serials, pinned_in, .. } => {
            for serial in serials {
                found.extend(rows::device_named(connection, product.as_str(), serial)?);
            }
            for group in pinned_in {
                let which = "WHERE product = ?1 AND group_id = ?2 AND pin IS NOT NULL";
                each(connection, which, &[product.as_str(), group], &mut found)?;
            }
            found.sort_by(|a, b| a.key.cmp(&b.key));
            found.dedup_by(|a, b| a.key == b.key);
        }
    }
    Ok(found)
}

fn each(connection: &Connection, which: &str, of: &[&str], into: &mut Vec<Row>) -> Result<(), SqliteFault> {
    let mut statement = connection.prepare_cached(&rows::select_devices(which))?;
    let mut found = statement.query(rusqlite::params_from_iter(of))?;
    while let Some(row) = found.next()? {
        into.push(rows::device(row)?);
    }
    Ok(())
}
