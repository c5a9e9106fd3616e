//! What stands in the tables, read and written.

use super::session::{rows, run};
use super::{Names, PostgresFault};
use crate::fleet::take::RulesChanged;
use crate::fleet::{
    DeviceSpec, DeviceState, Fleet, FleetOf, GroupId, KeyHash, ProductId, Revision, Row, RowKey, RowKind, RowValue,
};
use crate::sql::Held;
use crate::time::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

type Stored = tokio_postgres::Row;

pub(super) async fn revision(client: &Client, names: &Names) -> Result<Revision, PostgresFault> {
    let found = rows(client, &names.sql("SELECT revision FROM {s}.meta"), &[]).await?;
    Ok(found.first().map_or(Revision(0), |row| revision_of(row.get(0))))
}

pub(super) fn revision_of(stored: i64) -> Revision {
    Revision(u64::try_from(stored).unwrap_or(0))
}

/// The products that have these keys: hash, product.
pub(super) async fn owners(
    client: &Client,
    names: &Names,
    keys: &[KeyHash],
) -> Result<Vec<(KeyHash, Box<str>)>, PostgresFault> {
    let wanted: Vec<String> = keys.iter().map(|key| key.0.to_string()).collect();
    let sql = names.sql("SELECT hash, product FROM {s}.key WHERE hash = ANY ($1)");
    let found = rows(client, &sql, &[(&wanted, Type::TEXT_ARRAY)]).await?;
    let owner = |row: &Stored| {
        let at = wanted.iter().position(|hash| *hash == row.get::<_, &str>(0))?;
        Some((keys[at], row.get::<_, &str>(1).into()))
    };
    Ok(found.iter().filter_map(owner).collect())
}

/// The edition that a product is at.
pub(super) async fn edition(client: &Client, names: &Names, product: &str) -> Result<Option<u64>, PostgresFault> {
    let sql = names.sql("SELECT edition FROM {s}.product WHERE id = $1");
    let found = rows(client, &sql, &[(&product, Type::TEXT)]).await?;
    Ok(found.first().map(|row| revision_of(row.get(0)).0))
}

/// The rows of one product and its firmware and groups, or of all.
pub(super) async fn few(client: &Client, names: &Names, product: Option<&str>) -> Result<Vec<Row>, PostgresFault> {
    let sql = names.sql(
        "SELECT 'product', id, id, revision, document::text FROM {s}.product WHERE id = $1 OR $1 IS NULL
         UNION ALL SELECT 'firmware', product, version, revision, document::text FROM {s}.firmware WHERE product = $1 OR $1 IS NULL
         UNION ALL SELECT 'group', product, id, revision, document::text FROM {s}.groups WHERE product = $1 OR $1 IS NULL",
    );
    let found = rows(client, &sql, &[(&product, Type::TEXT)]).await?;
    found.iter().map(document).collect()
}

/// Kind, product, name, revision and document.
pub(super) fn document(row: &Stored) -> Result<Row, PostgresFault> {
    let kind = kind_of(row.get(0))?;
    let value = row.get::<_, Option<&str>>(4).map(|document| RowValue::read(kind, document));
    Ok(Row { key: RowKey::new(kind, row.get(1), row.get(2)), revision: revision_of(row.get(3)), value })
}

pub(super) fn kind_of(text: &str) -> Result<RowKind, PostgresFault> {
    RowKind::ALL
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| PostgresFault::Damaged { table: "log", why: format!("`{}` is no kind", text.escape_debug()) })
}

/// The product with its firmware and groups, by all of its rows.
pub(super) async fn held(client: &Client, names: &Names, product: &str, edition: u64) -> Result<Held, PostgresFault> {
    Ok(Held::read(edition, product, few(client, names, Some(product)).await?))
}

/// The columns of a device, as [`device`] reads them; `d` is the table.
pub(super) const DEVICE: &str = "d.product, d.serial, d.state, d.group_id, d.entered_at, d.pin, d.cap, d.version, d.hardware, d.earlier_groups::text";

/// A device, whose columns begin at `at`; none, where they are null.
pub(super) fn device(row: &Stored, at: usize) -> Option<Row> {
    let (product, serial): (Option<&str>, Option<&str>) = (row.get(at), row.get(at + 1));
    let (product, serial) = product.zip(serial)?;
    let state: &str = row.get(at + 2);
    let known = DeviceState::ALL.into_iter().find(|known| known.name() == state);
    let earlier: Option<&str> = row.get(at + 9);
    let earlier: Result<Vec<(GroupId, Timestamp)>, _> = earlier.map_or(Ok(Vec::new()), serde_json::from_str);
    let value = match (known, earlier) {
        (Some(state), Ok(earlier_groups)) => RowValue::Device(DeviceSpec {
            serial: serial.to_owned(),
            state,
            group: row.get(at + 3),
            entered_at: Timestamp::from_millis(row.get(at + 4)),
            pin: row.get(at + 5),
            cap: row.get(at + 6),
            version: row.get(at + 7),
            hardware: row.get(at + 8),
            earlier_groups,
        }),
        (None, _) => RowValue::Unreadable(format!(
            "`{}` is no state: give one of new, verified, blocked, disabled, quota",
            state.escape_debug()
        )),
        (_, Err(why)) => RowValue::Unreadable(format!("earlier_groups: {why}")),
    };
    Some(Row { key: RowKey::new(RowKind::Device, product, serial), revision: Revision(0), value: Some(value) })
}

pub(super) async fn devices(
    client: &Client,
    names: &Names,
    which: &str,
    parameters: &[super::session::Parameter<'_>],
) -> Result<Vec<Row>, PostgresFault> {
    let sql = names.sql(&format!("SELECT {DEVICE} FROM {{s}}.device d {which}"));
    Ok(rows(client, &sql, parameters).await?.iter().filter_map(|row| device(row, 0)).collect())
}

/// How many `new` devices a product has.
pub(super) async fn new_devices(client: &Client, names: &Names, product: &ProductId) -> Result<usize, PostgresFault> {
    let sql = names.sql("SELECT count(*) FROM {s}.device WHERE product = $1 AND state = 'new'");
    let found = rows(client, &sql, &[(&product.as_str(), Type::TEXT)]).await?;
    Ok(found.first().map_or(0, |row| usize::try_from(row.get::<_, i64>(0)).unwrap_or(0)))
}

/// The whole fleet in plain maps, and the rows that were kept out of it.
pub(super) async fn everything(client: &Client, names: &Names) -> Result<(Fleet, Vec<RowKey>), PostgresFault> {
    let mut all = few(client, names, None).await?;
    all.extend(devices(client, names, "", &[]).await?);
    let empty: Fleet = FleetOf::default();
    // In an empty fleet no rules can change.
    Ok(match empty.take(all) {
        Ok(taken) => (taken.fleet, taken.kept_out.into_iter().map(|(row, _)| row.key).collect()),
        Err(RulesChanged) => (empty, Vec::new()),
    })
}

/// Writes rows in their order, or takes them away; devices last, all at once.
pub(super) async fn write(client: &Client, names: &Names, all: &[Row]) -> Result<(), PostgresFault> {
    let (mut gone, mut put) = (Columns::default(), Columns::default());
    for row in all {
        let RowKey { kind, product, name } = &row.key;
        let (product, name): (&str, &str) = (product, name);
        let of = [(&product as _, Type::TEXT), (&name as _, Type::TEXT)];
        let document = match &row.value {
            None if *kind == RowKind::Device => {
                gone.push_key(product, name);
                continue;
            }
            None => {
                let sql = match kind {
                    RowKind::Product => "DELETE FROM {s}.product WHERE id = $1 AND id = $2",
                    RowKind::Firmware => "DELETE FROM {s}.firmware WHERE product = $1 AND version = $2",
                    _ => "DELETE FROM {s}.groups WHERE product = $1 AND id = $2",
                };
                run(client, &names.sql(sql), &of).await?;
                continue;
            }
            Some(RowValue::Device(spec)) => {
                put.push(product, spec)?;
                continue;
            }
            Some(RowValue::Unreadable(_)) => continue,
            Some(value) => serde_json::to_string(value).map_err(damaged)?,
        };
        let sql = match kind {
            RowKind::Product => {
                "INSERT INTO {s}.product (id, document) SELECT $2, $3::text::json WHERE $1 = $2
                 ON CONFLICT (id) DO UPDATE SET document = excluded.document"
            }
            RowKind::Firmware => {
                "INSERT INTO {s}.firmware (product, version, document) VALUES ($1, $2, $3::text::json)
                 ON CONFLICT (product, version) DO UPDATE SET document = excluded.document"
            }
            _ => {
                "INSERT INTO {s}.groups (product, id, document) VALUES ($1, $2, $3::text::json)
                 ON CONFLICT (product, id) DO UPDATE SET document = excluded.document"
            }
        };
        let [product, name] = of;
        run(client, &names.sql(sql), &[product, name, (&document, Type::TEXT)]).await?;
    }
    if !gone.products.is_empty() {
        let sql = "DELETE FROM {s}.device d USING unnest($1::text[], $2::text[]) AS gone (product, serial)
            WHERE d.product = gone.product AND d.serial = gone.serial";
        let of = [(&gone.products as _, Type::TEXT_ARRAY), (&gone.serials as _, Type::TEXT_ARRAY)];
        run(client, &names.sql(sql), &of).await?;
    }
    if !put.products.is_empty() {
        let sql = "INSERT INTO {s}.device
                (product, serial, state, group_id, entered_at, pin, cap, version, hardware, earlier_groups)
            SELECT product, serial, state, group_id, entered_at, pin, cap, version, hardware, earlier::json FROM unnest(
                $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[]
            ) AS put (product, serial, state, group_id, entered_at, pin, cap, version, hardware, earlier)
            ON CONFLICT (product, serial) DO UPDATE SET state = excluded.state, group_id = excluded.group_id,
                entered_at = excluded.entered_at, pin = excluded.pin, cap = excluded.cap, version = excluded.version,
                hardware = excluded.hardware, earlier_groups = excluded.earlier_groups";
        let texts = Type::TEXT_ARRAY;
        let of = [
            (&put.products as _, texts.clone()),
            (&put.serials as _, texts.clone()),
            (&put.states as _, texts.clone()),
            (&put.groups as _, texts.clone()),
            (&put.entered as _, Type::INT8_ARRAY),
            (&put.pins as _, texts.clone()),
            (&put.caps as _, texts.clone()),
            (&put.versions as _, texts.clone()),
            (&put.hardware as _, texts.clone()),
            (&put.earlier as _, texts),
        ];
        run(client, &names.sql(sql), &of).await?;
    }
    Ok(())
}

/// Devices, a column each.
#[derive(Default)]
struct Columns<'r> {
    products: Vec<&'r str>,
    serials: Vec<&'r str>,
    states: Vec<&'static str>,
    groups: Vec<&'r str>,
    entered: Vec<i64>,
    pins: Vec<Option<&'r str>>,
    caps: Vec<Option<&'r str>>,
    versions: Vec<Option<&'r str>>,
    hardware: Vec<Option<&'r str>>,
    earlier: Vec<Option<String>>,
}

impl<'r> Columns<'r> {
    fn push_key(&mut self, product: &'r str, serial: &'r str) {
        self.products.push(product);
        self.serials.push(serial);
    }

    fn push(&mut self, product: &'r str, spec: &'r DeviceSpec) -> Result<(), PostgresFault> {
        self.push_key(product, &spec.serial);
        self.states.push(spec.state.name());
        self.groups.push(&spec.group);
        self.entered.push(spec.entered_at.millis());
        self.pins.push(spec.pin.as_deref());
        self.caps.push(spec.cap.as_deref());
        self.versions.push(spec.version.as_deref());
        self.hardware.push(spec.hardware.as_deref());
        let earlier = (!spec.earlier_groups.is_empty()).then(|| serde_json::to_string(&spec.earlier_groups));
        self.earlier.push(earlier.transpose().map_err(damaged)?);
        Ok(())
    }
}

fn damaged(fault: serde_json::Error) -> PostgresFault {
    PostgresFault::Damaged { table: "device", why: fault.to_string() }
}
