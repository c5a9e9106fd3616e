//! A fleet in PostgreSQL: a store, a ledger, the place where rollouts move, and a feed for the index of each of many gateways. Asynchronous.
//!
//! ```text
//!   PostgresStore ─┬─ AsyncStore          a check-in is one statement, one round trip                straight through
//!                  ├─ AsyncLedger         claims and outcomes, each one transaction, exact across all gateways
//!                  ├─ AsyncRolloutStore   the conductor's census and changes
//!                  ├─ apply               a batch: read what it touches, Fleet::apply, write the rows that differ
//!                  └─ feed()              everything on several connections, then what changed       the fast way
//! ```
//!
//! **Through a pooler.** Everything goes through a pool of connections and leaves nothing on one between two transactions: no prepared statement, no setting,
//! no lock. So it works through PgBouncer in transaction mode; but for [`PostgresFeed::listen`], which needs a connection of its own straight to the server.
//!
//! **Order.** Whoever changes the fleet locks one row first, so revisions are committed in their order, and a log never has a hole that is filled later. The
//! ledger does not touch that row.
//!
//! **Rows by hand.** Triggers number every transaction, whoever writes it, and note what it touched; what is wrong in a row is kept out (see
//! [`feed`](crate::feed)). The tables are those of `schema_1.sql`, in a schema of their own, `otagate` unless said otherwise.
//!
//! **When a commit is not answered**, because the server went away just then, nobody knows whether it was made: [`PostgresFault`] is given. Everything here
//! may be done again: claims and reports are the same the second time, a batch that is done already changes nothing, and one of a conductor names the edition
//! that it expects.
//!
//! PostgreSQL 13 or newer.

mod feed;
mod ledger;
mod rollouts;
mod rows;
mod schema;
mod session;
mod view;
mod write;

pub use deadpool_postgres;
pub use feed::{Hearing, PostgresFeed};
pub use tokio_postgres;
pub use view::PostgresView;

use crate::fleet::{Fleet, Revision};
use crate::sql::HeldProducts;
use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod};
use parking_lot::Mutex;
use session::{READ, Session};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::{Config, NoTls};

/// A fleet in a PostgreSQL database. A handle: clones are the same store.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Pool,
    names: Names,
    held: HeldProducts,
    /// The product that each key was of when it was asked for last: a guess that lets a check-in be one statement, and is checked by it.
    keys: Mutex<HashMap<crate::fleet::KeyHash, Box<str>>>,
}

/// The names of the tables.
#[derive(Debug)]
struct Names {
    schema: String,
}

impl Names {
    /// A statement, in which `{s}` stands for the schema.
    fn sql(&self, text: &str) -> String {
        text.replace("{s}", &self.schema)
    }
}

/// Why a store cannot be read or written; nothing is served then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresFault {
    /// The database said so, or went away. Whether a commit that it did not answer was made is not known: do it again.
    #[error("PostgreSQL failed")]
    Postgres(#[from] tokio_postgres::Error),
    /// There was no connection to be had.
    #[error("no connection to PostgreSQL")]
    Pool(#[from] PoolError),
    /// The tables were made by a later version of this crate.
    #[error(
        "the tables are of version {held}, and this program knows {known} at most: use a newer one, or another schema"
    )]
    Newer {
        /// The version of the tables.
        held: usize,
        /// The highest that is known.
        known: usize,
    },
    /// A name that cannot be a schema's.
    #[error("`{0}` cannot be the name of a schema: up to 40 of a-z, 0-9 and _, a letter first")]
    Schema(String),
    /// A connection cannot be described so.
    #[error("the pool cannot be made: {0}")]
    Build(String),
    /// A row of the ledger, or the book-keeping of this crate, holds what cannot be.
    #[error("table `{table}` holds what cannot be: {why}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl PostgresFault {
    /// Another transaction was in the way, and this one was rolled back whole: it is to be done again at once.
    fn is_conflict(&self) -> bool {
        use tokio_postgres::error::SqlState;
        let Self::Postgres(fault) = self else { return false };
        // The last: what it hung on, such as a run that was forgotten just then, is gone.
        let conflicts =
            [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::FOREIGN_KEY_VIOLATION];
        fault.code().is_some_and(|code| conflicts.contains(code))
    }
}

impl PostgresStore {
    /// Connects without TLS, by a description such as `host=/run/postgresql user=otagate dbname=fleet`, with at most so many connections, and makes the
    /// tables as this version wants them, in the schema `otagate`.
    ///
    /// # Errors
    /// The description is none, the database cannot be reached, or its tables are of a later version.
    pub async fn connect(description: &str, connections: usize) -> Result<Self, PostgresFault> {
        let config: Config = description.parse()?;
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager).max_size(connections.max(1)).build();
        Self::open(pool.map_err(|fault| PostgresFault::Build(fault.to_string()))?, "otagate").await
    }

    /// The same with a pool of the host's own (TLS, time-outs), and another schema.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); the schema has a name that cannot be.
    pub async fn open(pool: Pool, schema: &str) -> Result<Self, PostgresFault> {
        let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let letter = schema.starts_with(|c: char| c.is_ascii_lowercase());
        if !letter || schema.len() > 40 || !schema.chars().all(sound) {
            return Err(PostgresFault::Schema(schema.escape_debug().to_string()));
        }
        let names = Names { schema: schema.to_owned() };
        schema::migrate(&pool, &names).await?;
        let shared = Shared { pool, names, held: HeldProducts::default(), keys: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The newest revision.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn revision(&self) -> Result<Revision, PostgresFault> {
        let client = self.shared.pool.get().await?;
        rows::revision(&client, &self.shared.names).await
    }

    /// The whole fleet in plain maps, as of one revision; rows that a load would refuse are left out. `O(devices)`, and large: for a copy, a comparison, a
    /// look from outside. An index is filled by a [`feed`](Self::feed).
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn fleet(&self) -> Result<Fleet, PostgresFault> {
        let session = self.read().await?;
        let revision = rows::revision(&session, &self.shared.names).await?;
        Ok(rows::everything(&session, &self.shared.names).await?.0.at_revision(revision))
    }

    /// A transaction that sees one moment.
    async fn read(&self) -> Result<Session, PostgresFault> {
        Session::begin(&self.shared.pool, READ).await
    }
}
