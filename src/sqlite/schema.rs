//! The tables, and how those of an earlier version become those of this one.

use super::SqliteFault;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// One step for each version of the tables, in order. Never changed once it was released: a new version is a new step.
const STEPS: &[&str] = &[include_str!("schema_1.sql")];

/// Brings the tables up to this version, whatever they are now; two processes at once do it once.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SqliteFault> {
    // Looked at without the writer's lock: nearly always nothing is to be done.
    if version(connection)? == STEPS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let held = version(&transaction)?;
    let Some(steps) = STEPS.get(held..) else {
        return Err(SqliteFault::Newer { held, known: STEPS.len() });
    };
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.execute("UPDATE otagate_meta SET schema = ?1", [i64::try_from(STEPS.len()).unwrap_or(i64::MAX)])?;
    transaction.commit()?;
    Ok(())
}

/// Which version the tables are; 0: there are none.
fn version(connection: &Connection) -> Result<usize, SqliteFault> {
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'otagate_meta'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    let version: i64 = connection.query_row("SELECT schema FROM otagate_meta", [], |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > STEPS.len() {
        return Err(SqliteFault::Newer { held: version, known: STEPS.len() });
    }
    Ok(version)
}
