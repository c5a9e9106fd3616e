//! A connection of the pool for the length of one transaction, which is rolled back unless it was committed.

use super::PostgresFault;
use deadpool_postgres::{Object, Pool, PoolError, Timeouts};
use std::future::Future;
use std::ops::Deref;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

/// What a transaction is opened by. Without compiling statements: a log that grows is soon believed to be long, and compiling takes a hundred times as long as
/// looking up a few keys.
pub(super) const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off";
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL jit = off";

/// A parameter with its type: so a statement is parsed and run in one round trip, and nothing of it is left on the connection, which may be another
/// transaction's next.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

#[derive(Debug)]
pub(super) struct Session {
    client: Object,
    open: bool,
}

impl Session {
    pub(super) async fn begin(pool: &Pool, how: &str) -> Result<Self, PostgresFault> {
        // Open from here on: whoever stops waiting leaves nothing behind.
        let session = Self { client: pool.get().await?, open: true };
        session.client.batch_execute(how).await?;
        Ok(session)
    }

    /// The same, if a connection is to be had at once.
    pub(super) async fn begin_at_once(pool: &Pool, how: &str) -> Result<Option<Self>, PostgresFault> {
        let at_once = Timeouts { wait: Some(Duration::ZERO), ..pool.timeouts() };
        let client = match pool.timeout_get(&at_once).await {
            Ok(client) => client,
            Err(PoolError::Timeout(_)) => return Ok(None),
            Err(fault) => return Err(fault.into()),
        };
        let session = Self { client, open: true };
        session.client.batch_execute(how).await?;
        Ok(Some(session))
    }

    pub(super) async fn commit(mut self) -> Result<(), PostgresFault> {
        self.client.batch_execute("COMMIT").await?;
        self.open = false;
        Ok(())
    }
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.open && !self.client.is_closed() {
            // It is sent by the first poll, ahead of whatever the next user of the connection asks; nobody waits for the answer.
            let mut end = Box::pin(self.client.batch_execute("ROLLBACK"));
            let _ = end.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// Rows of a statement.
pub(super) async fn rows(client: &Client, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, PostgresFault> {
    Ok(client.query_typed(sql, parameters).await?)
}

/// Runs a statement, and gives how many rows it touched.
pub(super) async fn run(client: &Client, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, PostgresFault> {
    Ok(client.execute_typed(sql, parameters).await?)
}
