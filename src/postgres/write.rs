//! Batches of changes, each one transaction and one revision.

use super::session::{Session, WRITE, rows, run};
use super::{PostgresFault, PostgresStore, rows as table};
use crate::fleet::{CanonicalSerial, Change, Fleet, Problems, ProductId, Revision, Row};
use crate::sql::{Held, Whom, Work, forgotten_by};
use crate::store::Registered;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// How often a transaction that another was in the way of is done again.
const TRIES_MAX: usize = 10;

/// What a transaction is to write.
enum Make<'m> {
    Batch(&'m [Change]),
    Fleet(&'m Fleet, If),
    Register(&'m Change, &'m ProductId, &'m CanonicalSerial),
}

/// When a fleet may be put in the place of another.
#[derive(Clone, Copy, PartialEq)]
enum If {
    Always,
    At(Revision),
    Empty,
}

/// What came of it.
enum Made {
    At(Revision),
    Refused(Problems),
    Known,
}

impl PostgresStore {
    /// Applies a batch whole or not at all, as [`Fleet::apply`](crate::FleetOf::apply) does, and commits it as one revision. It reads what the batch touches,
    /// and writes the rows that differ; other writers, of any gateway, wait.
    ///
    /// # Errors
    /// The database cannot be written: nothing was, unless it went away while it committed. Inside: everything that is wrong with the batch.
    pub async fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, PostgresFault> {
        Ok(match self.write(&Make::Batch(changes)).await? {
            (Made::At(revision), _) => Ok(revision),
            (Made::Refused(problems), _) => Err(problems),
            (Made::Known, _) => Err(Problems::default()),
        })
    }

    /// Puts a whole fleet in the place of what the tables hold, as one revision: the rows that differ are written, those that are kept out are taken away. The
    /// revision is the database's own, not that of `fleet`; where nothing differs, it stays.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn replace(&self, fleet: &Fleet) -> Result<Revision, PostgresFault> {
        match self.write(&Make::Fleet(fleet, If::Always)).await? {
            (Made::At(revision), _) => Ok(revision),
            // A fleet is no change that could be refused.
            (Made::Refused(_) | Made::Known, _) => self.revision().await,
        }
    }

    /// The same, if the tables still hold the revision `seen`, from which `fleet` was made; else nothing that came about since would be in it, and none is
    /// given: look again, and make it anew.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn replace_seen(&self, seen: Revision, fleet: &Fleet) -> Result<Option<Revision>, PostgresFault> {
        self.replace_if(fleet, If::At(seen)).await
    }

    /// The same, if the tables hold no product yet: of several gateways that begin at once one fills them.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn fill(&self, fleet: &Fleet) -> Result<Option<Revision>, PostgresFault> {
        self.replace_if(fleet, If::Empty).await
    }

    async fn replace_if(&self, fleet: &Fleet, may: If) -> Result<Option<Revision>, PostgresFault> {
        Ok(match self.write(&Make::Fleet(fleet, may)).await? {
            (Made::At(revision), _) => Some(revision),
            (Made::Refused(_) | Made::Known, _) => None,
        })
    }

    /// Forgets which rows were touched by all revisions up to that one: an index that has not come so far yet loads anew. Of itself the store keeps the last
    /// 100,000 revisions; so this is for tables that are to become small.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn prune_log(&self, up_to: Revision) -> Result<(), PostgresFault> {
        let session = Session::begin(&self.shared.pool, WRITE).await?;
        self.prune(&session, up_to.0).await?;
        session.commit().await
    }

    async fn prune(&self, session: &Session, up_to: u64) -> Result<(), PostgresFault> {
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        let names = &self.shared.names;
        let sql = "UPDATE {s}.meta SET log_from = greatest(log_from, least($1, revision))";
        run(session, &names.sql(sql), &[(&up_to, Type::INT8)]).await?;
        run(session, &names.sql("DELETE FROM {s}.log WHERE revision <= $1"), &[(&up_to, Type::INT8)]).await?;
        Ok(())
    }

    /// Carries out a registration (question 3); see [`AsyncStore::register`](crate::store::AsyncStore::register).
    pub(super) async fn register_device(
        &self,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, PostgresFault> {
        // Most strangers ask again and again: they must not keep writers waiting.
        {
            let session = self.read().await?;
            if self.knows(&session, product, serial).await? {
                return Ok(Registered::Known);
            }
            let held = self.held_product(&session, product.as_str()).await?;
            let Some(of) = held.as_ref().and_then(|held| held.product()).filter(|of| of.register_on_first_contact)
            else {
                return Ok(Registered::Refused);
            };
            if table::new_devices(&session, &self.shared.names, product).await? >= of.new_devices_max as usize {
                return Ok(Registered::Refused);
            }
        }
        let change = Change::Register { product: product.clone(), serial: serial.as_str().to_owned(), at };
        Ok(match self.write(&Make::Register(&change, product, serial)).await? {
            (Made::Known, _) => Registered::Known,
            (Made::At(_), true) => Registered::New,
            _ => Registered::Refused,
        })
    }

    async fn knows(
        &self,
        client: &Client,
        product: &ProductId,
        serial: &CanonicalSerial,
    ) -> Result<bool, PostgresFault> {
        let sql = self.shared.names.sql("SELECT 1 FROM {s}.device WHERE product = $1 AND serial = $2");
        let of = [(&product.as_str() as _, Type::TEXT), (&serial.as_str() as _, Type::TEXT)];
        Ok(!rows(client, &sql, &of).await?.is_empty())
    }

    /// Writes what `make` says, as the next revision; and whether anything was.
    async fn write(&self, make: &Make<'_>) -> Result<(Made, bool), PostgresFault> {
        let mut tries = 1;
        loop {
            match self.write_once(make).await {
                Err(fault) if fault.is_conflict() && tries < TRIES_MAX => tries += 1,
                other => return other,
            }
        }
    }

    async fn write_once(&self, make: &Make<'_>) -> Result<(Made, bool), PostgresFault> {
        let names = &self.shared.names;
        let session = Session::begin(&self.shared.pool, WRITE).await?;
        let found = rows(&session, &names.sql("SELECT revision FROM {s}.meta FOR UPDATE"), &[]).await?;
        let before = found.first().map_or(Revision(0), |row| table::revision_of(row.get(0)));
        let changed = match make {
            Make::Batch(changes) => self.rows_of(&session, before, changes).await?,
            Make::Fleet(fleet, may) => {
                let any = names.sql("SELECT 1 FROM {s}.product LIMIT 1");
                let may = match may {
                    If::Always => true,
                    If::At(seen) => *seen == before,
                    If::Empty => rows(&session, &any, &[]).await?.is_empty(),
                };
                if !may {
                    return Ok((Made::Known, false));
                }
                let (held, kept_out) = table::everything(&session, names).await?;
                Ok(Work::between(&held, kept_out, fleet))
            }
            Make::Register(change, product, serial) => {
                if self.knows(&session, product, serial).await? {
                    return Ok((Made::Known, false));
                }
                self.rows_of(&session, before, std::slice::from_ref(*change)).await?
            }
        };
        let changed = match changed {
            Err(problems) => return Ok((Made::Refused(problems), false)),
            Ok(changed) if changed.is_empty() => return Ok((Made::At(before), false)),
            Ok(changed) => changed,
        };
        table::write(&session, names, &changed).await?;
        let revision = table::revision(&session, names).await?;
        if let Some(up_to) = forgotten_by(revision.0, changed.len()) {
            self.prune(&session, up_to).await?;
        }
        session.commit().await?;
        Ok((Made::At(revision), true))
    }

    /// The rows that a batch leads to.
    async fn rows_of(
        &self,
        client: &Client,
        revision: Revision,
        changes: &[Change],
    ) -> Result<Result<Vec<Row>, Problems>, PostgresFault> {
        let names = &self.shared.names;
        let mut products = Vec::new();
        for name in Work::products(changes) {
            products.extend(self.held_product(client, name).await?);
        }
        let keys = Work::keys(changes);
        let owners = if keys.is_empty() { Vec::new() } else { table::owners(client, names, &keys).await? };
        let mut work = Work::new(revision, products, owners);
        for (product, whom) in work.devices(changes) {
            let name = product.as_str();
            match &whom {
                Whom::All => {
                    work.add_devices(
                        table::devices(client, names, "WHERE product = $1", &[(&name, Type::TEXT)]).await?,
                    );
                }
                Whom::Named { serials, pinned_in, .. } => {
                    let list = |names: &std::collections::BTreeSet<Box<str>>| {
                        names.iter().map(ToString::to_string).collect::<Vec<_>>()
                    };
                    let (serials, groups) = (list(serials), list(pinned_in));
                    let mut found = BTreeMap::new();
                    for (which, list) in [
                        ("WHERE product = $1 AND serial = ANY ($2)", serials),
                        ("WHERE product = $1 AND group_id = ANY ($2) AND pin IS NOT NULL", groups),
                    ] {
                        if !list.is_empty() {
                            let rows =
                                table::devices(client, names, which, &[(&name, Type::TEXT), (&list, Type::TEXT_ARRAY)])
                                    .await?;
                            found.extend(rows.into_iter().map(|row| (row.key.clone(), row)));
                        }
                    }
                    work.add_devices(found.into_values().collect());
                }
            }
            if matches!(whom, Whom::All | Whom::Named { count_new: true, .. }) {
                work.set_new_devices(&product, table::new_devices(client, names, &product).await?);
            }
        }
        Ok(work.apply(changes))
    }

    /// A product with its firmware and groups, read once per edition. The client is in a transaction of one moment, or holds the writer's lock.
    pub(super) async fn held_product(&self, client: &Client, name: &str) -> Result<Option<Arc<Held>>, PostgresFault> {
        let Some(edition) = table::edition(client, &self.shared.names, name).await? else { return Ok(None) };
        self.held_at(client, name, edition).await.map(Some)
    }

    pub(super) async fn held_at(&self, client: &Client, name: &str, edition: u64) -> Result<Arc<Held>, PostgresFault> {
        match self.shared.held.at(name, edition) {
            Some(held) => Ok(held),
            None => Ok(self.shared.held.keep(name, table::held(client, &self.shared.names, name, edition).await?)),
        }
    }
}
