//! What stands in the tables, read and written a row at a time.

use super::SqliteFault;
use crate::fleet::{DeviceSpec, DeviceState, GroupId, KeyHash, ProductId, Revision, Row, RowKey, RowKind, RowValue};
use crate::sql::Held;
use crate::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn revision(connection: &Connection) -> Result<Revision, SqliteFault> {
    let sql = "SELECT revision FROM otagate_meta";
    Ok(revision_of(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
}

pub(super) fn revision_of(stored: i64) -> Revision {
    Revision(u64::try_from(stored).unwrap_or(0))
}

/// The product that has a key, and the edition that it is at.
pub(super) fn product_of_key(connection: &Connection, key: &KeyHash) -> Result<Option<(String, u64)>, SqliteFault> {
    let sql = "SELECT p.id, p.edition FROM otagate_key k JOIN otagate_product p ON p.id = k.product WHERE k.hash = ?1";
    let found = connection.prepare_cached(sql)?.query_row([key.0.to_string()], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?.map(|(id, edition): (String, i64)| (id, revision_of(edition).0)))
}

pub(super) fn edition(connection: &Connection, product: &str) -> Result<Option<u64>, SqliteFault> {
    let sql = "SELECT edition FROM otagate_product WHERE id = ?1";
    let found: Option<i64> = connection.prepare_cached(sql)?.query_row([product], |row| row.get(0)).optional()?;
    Ok(found.map(|edition| revision_of(edition).0))
}

/// The product with its firmware and groups.
pub(super) fn held(connection: &Connection, product: &str, edition: u64) -> Result<Held, SqliteFault> {
    let mut rows = Vec::new();
    for (kind, sql) in [
        (RowKind::Product, "SELECT id, revision, document FROM otagate_product WHERE id = ?1"),
        (RowKind::Firmware, "SELECT version, revision, document FROM otagate_firmware WHERE product = ?1"),
        (RowKind::Group, "SELECT id, revision, document FROM otagate_group WHERE product = ?1"),
    ] {
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query([product])?;
        while let Some(row) = found.next()? {
            rows.push(document(kind, product, row)?);
        }
    }
    Ok(Held::read(edition, product, rows))
}

/// Name, revision and document.
pub(super) fn document(kind: RowKind, product: &str, row: &rusqlite::Row<'_>) -> Result<Row, SqliteFault> {
    let name: String = row.get(0)?;
    let value = RowValue::read(kind, row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?);
    Ok(Row { key: RowKey::new(kind, product, &name), revision: revision_of(row.get(1)?), value: Some(value) })
}

/// The columns of a device, as [`device`] reads them.
const DEVICE: &str = "product, serial, state, group_id, entered_at, pin, cap, version, hardware, earlier_groups";

pub(super) fn device(row: &rusqlite::Row<'_>) -> Result<Row, SqliteFault> {
    let (product, serial): (String, String) = (row.get(0)?, row.get(1)?);
    let key = RowKey::new(RowKind::Device, &product, &serial);
    let state = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
    let earlier: Option<String> = row.get(9)?;
    let value = match (state_of(state), earlier_groups(earlier.as_deref())) {
        (Some(state), Ok(earlier_groups)) => RowValue::Device(DeviceSpec {
            serial,
            state,
            group: row.get(3)?,
            entered_at: Timestamp::from_millis(row.get(4)?),
            pin: row.get(5)?,
            cap: row.get(6)?,
            version: row.get(7)?,
            hardware: row.get(8)?,
            earlier_groups,
        }),
        (None, _) => RowValue::Unreadable(format!(
            "`{}` is no state: give one of new, verified, blocked, disabled, quota",
            state.escape_debug()
        )),
        (_, Err(why)) => RowValue::Unreadable(format!("earlier_groups: {why}")),
    };
    Ok(Row { key, revision: Revision(0), value: Some(value) })
}

pub(super) fn device_named(connection: &Connection, product: &str, serial: &str) -> Result<Option<Row>, SqliteFault> {
    let mut statement = connection.prepare_cached(&select_devices("WHERE product = ?1 AND serial = ?2"))?;
    let mut found = statement.query([product, serial])?;
    found.next()?.map(device).transpose()
}

/// The question for devices.
pub(super) fn select_devices(which: &str) -> String {
    format!("SELECT {DEVICE} FROM otagate_device {which}")
}

fn state_of(text: &str) -> Option<DeviceState> {
    DeviceState::ALL.into_iter().find(|state| state.name() == text)
}

fn earlier_groups(text: Option<&str>) -> Result<Vec<(GroupId, Timestamp)>, serde_json::Error> {
    text.map_or(Ok(Vec::new()), serde_json::from_str)
}

/// Writes a row, or takes it away.
pub(super) fn write(connection: &Connection, row: &Row) -> Result<(), SqliteFault> {
    let RowKey { kind, product, name } = &row.key;
    let Some(value) = &row.value else {
        let sql = match kind {
            RowKind::Product => "DELETE FROM otagate_product WHERE id = ?1 AND id = ?2",
            RowKind::Firmware => "DELETE FROM otagate_firmware WHERE product = ?1 AND version = ?2",
            RowKind::Group => "DELETE FROM otagate_group WHERE product = ?1 AND id = ?2",
            RowKind::Device => "DELETE FROM otagate_device WHERE product = ?1 AND serial = ?2",
        };
        connection.prepare_cached(sql)?.execute([product, name])?;
        return Ok(());
    };
    let (sql, document) = match value {
        RowValue::Product(spec) => (
            "INSERT INTO otagate_product (id, document) SELECT ?2, ?3 WHERE ?1 = ?2 ON CONFLICT DO UPDATE SET document = excluded.document",
            serde_json::to_string(spec),
        ),
        RowValue::Firmware(spec) => (
            "INSERT INTO otagate_firmware (product, version, document) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document",
            serde_json::to_string(spec),
        ),
        RowValue::Group(spec) => (
            "INSERT INTO otagate_group (product, id, document) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document",
            serde_json::to_string(spec),
        ),
        RowValue::Device(spec) => return write_device(connection, product, spec),
        RowValue::Unreadable(_) => return Ok(()),
    };
    let document = document.map_err(|fault| SqliteFault::Damaged { table: "otagate_meta", why: fault.to_string() })?;
    connection.prepare_cached(sql)?.execute(params![product, name, document])?;
    Ok(())
}

fn write_device(connection: &Connection, product: &str, spec: &DeviceSpec) -> Result<(), SqliteFault> {
    let sql = "INSERT INTO otagate_device
        (product, serial, state, group_id, entered_at, pin, cap, version, hardware, earlier_groups)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        ON CONFLICT DO UPDATE SET state = excluded.state, group_id = excluded.group_id, entered_at = excluded.entered_at,
            pin = excluded.pin, cap = excluded.cap, version = excluded.version, hardware = excluded.hardware,
            earlier_groups = excluded.earlier_groups";
    let earlier = (!spec.earlier_groups.is_empty()).then(|| serde_json::to_string(&spec.earlier_groups)).transpose();
    let earlier = earlier.map_err(|fault| SqliteFault::Damaged { table: "otagate_device", why: fault.to_string() })?;
    connection.prepare_cached(sql)?.execute(params![
        product,
        spec.serial,
        spec.state.name(),
        spec.group,
        spec.entered_at.millis(),
        spec.pin,
        spec.cap,
        spec.version,
        spec.hardware,
        earlier,
    ])?;
    Ok(())
}

/// How many `new` devices a product has.
pub(super) fn new_devices(connection: &Connection, product: &ProductId) -> Result<usize, SqliteFault> {
    let sql = "SELECT count(*) FROM otagate_device WHERE product = ?1 AND state = 'new'";
    let count: i64 = connection.prepare_cached(sql)?.query_row([product.as_str()], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}
