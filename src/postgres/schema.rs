//! The tables, and how those of an earlier version become those of this one.

use super::session::{Session, WRITE};
use super::{Names, PostgresFault};
use deadpool_postgres::Pool;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// One step for each version of the tables, in order. Never changed once it was released: a new version is a new step.
const STEPS: &[&str] = &[include_str!("schema_1.sql")];

/// Brings the tables up to this version, whatever they are now; of several processes one does it.
pub(super) async fn migrate(pool: &Pool, names: &Names) -> Result<(), PostgresFault> {
    let session = Session::begin(pool, WRITE).await?;
    // Nearly always nothing is to be done, and nobody is kept waiting.
    if version(&session, names).await? == STEPS.len() {
        return Ok(());
    }
    // Held to the end of the transaction, whatever pooler is in between.
    let lock = format!("SELECT pg_advisory_xact_lock(hashtext('otagate {}'))", names.schema);
    session.batch_execute(&lock).await?;
    let held = version(&session, names).await?;
    let Some(steps) = STEPS.get(held..) else {
        return Err(PostgresFault::Newer { held, known: STEPS.len() });
    };
    for step in steps {
        session.batch_execute(&step.replace("{s}", &names.schema)).await?;
    }
    let schema = &names.schema;
    session.batch_execute(&format!("UPDATE {schema}.meta SET schema = {}", STEPS.len())).await?;
    session.commit().await
}

/// Which version the tables are; 0: there are none.
async fn version(client: &Client, names: &Names) -> Result<usize, PostgresFault> {
    // The catalogue as a table: its look-ups by name are cached, and who has waited for another that made the table would still not see it.
    let sql = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'meta'";
    if client.query_typed(sql, &[(&names.schema, Type::TEXT)]).await?.is_empty() {
        return Ok(0);
    }
    let found = client.query_typed(&names.sql("SELECT schema FROM {s}.meta"), &[]).await?;
    let version = found.first().map_or(0, |row| row.get::<_, i32>(0));
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > STEPS.len() { Err(PostgresFault::Newer { held: version, known: STEPS.len() }) } else { Ok(version) }
}
