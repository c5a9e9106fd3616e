//! A store of one's own: tables in the host's own shape, and three check-ins answered from them.
//!
//! ```text
//! cargo run --example custom_store                      # the check-ins
//! cargo run --example custom_store --features contract  # and the suite that every store has to pass
//! ```
//!
//! The tables are maps here and SQL tables elsewhere. Of devices there are millions, so they have columns; products, groups and firmware are few, and each
//! is a JSON document in a row. Reading one takes time: a store that is asked often keeps what it read in an `Arc` until the revision moves on.

use otagate::store::{self, GroupRecord, Lent, Registered, StandingRecord, Store, View};
use otagate::*;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

#[derive(Default)]
struct Tables {
    revision: u64,
    keys: HashMap<[u8; 32], String>,
    products: HashMap<String, String>,
    /// By product, then group or version.
    groups: HashMap<String, HashMap<String, String>>,
    firmware: HashMap<String, HashMap<String, String>>,
    /// By product and serial. With the serial alone, two products that name a unit alike would get each other's firmware.
    devices: HashMap<(String, String), DeviceRow>,
}

#[derive(Clone)]
struct DeviceRow {
    state: DeviceState,
    group: String,
    entered_at_millis: i64,
    pin: Option<String>,
    cap: Option<String>,
}

/// A row that no load would let in. To fail is safe: nobody is served. To leave the row out is not: it may be the one that blocks or denies.
#[derive(Debug, thiserror::Error)]
#[error("a row is damaged: {0}")]
struct BadRow(String);

fn bad(why: impl ToString) -> BadRow {
    BadRow(why.to_string())
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, BadRow> {
    serde_json::from_str(json).map_err(bad)
}

#[derive(Default)]
struct Database(RwLock<Tables>);

/// A read lock here, a read transaction elsewhere: all look-ups of a decision see one state. An old one is safe, half a change is not.
struct Reader<'d>(RwLockReadGuard<'d, Tables>);

impl Store for Database {
    type Error = BadRow;
    type View<'d> = Reader<'d>;

    fn view(&self) -> Result<Reader<'_>, BadRow> {
        Ok(Reader(self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Counts and adds under one lock, so that a flood of strangers cannot pass the limit together.
    fn register(&self, product: &ProductId, serial: &CanonicalSerial, at: Timestamp) -> Result<Registered, BadRow> {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let id = (product.to_string(), serial.to_string());
        if tables.devices.contains_key(&id) {
            return Ok(Registered::Known); // and stays as it is: a blocked device must not unblock itself
        }
        let Some(json) = tables.products.get(product.as_str()) else { return Ok(Registered::Refused) };
        let spec: ProductSpec = read(json)?;
        let new = tables.devices.iter().filter(|((of, _), row)| *of == id.0 && row.state == DeviceState::New).count();
        if !spec.register_on_first_contact || new >= spec.new_devices_max as usize {
            return Ok(Registered::Refused);
        }
        let product = spec.build().map_err(bad)?;
        if product.read_serial(serial.as_str().as_bytes()).is_err() {
            return Ok(Registered::Refused); // a placeholder of the product: one row would stand for many units
        }
        let (group, entered_at_millis) = (product.default_group().to_string(), at.millis());
        tables
            .devices
            .insert(id, DeviceRow { state: DeviceState::New, group, entered_at_millis, pin: None, cap: None });
        tables.revision += 1;
        Ok(Registered::New)
    }
}

impl Reader<'_> {
    fn product(&self, id: &str) -> Result<Option<Product>, BadRow> {
        self.0.products.get(id).map(|json| read::<ProductSpec>(json)?.build().map_err(bad)).transpose()
    }
}

impl View for Reader<'_> {
    type Error = BadRow;

    fn revision(&self) -> Result<Revision, BadRow> {
        Ok(Revision(self.0.revision))
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, BadRow> {
        let Some(id) = self.0.keys.get(&key.0.0) else { return Ok(None) };
        Ok(self.product(id)?.map(Lent::from))
    }

    /// On an unknown key this is asked with a product that cannot be: nobody is found, and that is no error.
    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, BadRow> {
        let Some(row) = self.0.devices.get(&(product.to_string(), serial.to_owned())) else { return Ok(None) };
        let Some(product) = self.product(product.as_str())? else { return Ok(None) };
        let DeviceRow { state, group, entered_at_millis, pin, cap } = row.clone();
        let entered_at = Timestamp::from_millis(entered_at_millis);
        let spec = DeviceSpec { serial: serial.into(), state, group, entered_at, pin, cap, ..DeviceSpec::default() };
        Ok(Some(spec.build(&product).map_err(bad)?.into()))
    }

    fn group(&self, product: &Product, device: &Device, _: Option<&Lease>) -> Result<Option<GroupRecord<'_>>, BadRow> {
        let (product_id, group_id) = (product.id().as_str(), device.group().as_str());
        // A group that is gone is none, and the device is told 404. Another in its place would give it another group's firmware.
        let row = self.0.groups.get(product_id).and_then(|groups| groups.get(group_id));
        let Some(json) = row else { return Ok(None) };
        let group = read::<GroupSpec>(json)?.build(product).map_err(bad)?;
        let rules = product.versions();
        let rows = self.0.firmware.get(product_id).into_iter().flat_map(HashMap::values);
        let firmware = rows.map(|json| read::<FirmwareSpec>(json)?.build(rules).map_err(bad));
        let catalogue = Catalogue::new(firmware.collect::<Result<_, _>>()?, rules).map_err(bad)?;
        // No ledger, hence no standing: such a host caps no downloads and has no first-come waves.
        Ok(Some(GroupRecord { group: group.into(), catalogue: catalogue.into(), standing: StandingRecord::default() }))
    }
}

impl Database {
    /// Replaces all rows in one step. An operator's change would touch a few of them, and raise the revision in the same transaction.
    fn load(&self, fleet: &Fleet) -> Result<(), BadRow> {
        let mut tables = Tables::default();
        for ProductFleetSpec { product, firmware, groups, devices } in fleet.spec().products {
            let id = &product.id;
            tables.keys.extend(product.keys.iter().map(|key| (key.hash.0.0, id.clone())));
            tables.products.insert(id.clone(), serde_json::to_string(&product).map_err(bad)?);
            for group in groups {
                let json = serde_json::to_string(&group).map_err(bad)?;
                tables.groups.entry(id.clone()).or_default().insert(group.id, json);
            }
            for firmware in firmware {
                let json = serde_json::to_string(&firmware).map_err(bad)?;
                tables.firmware.entry(id.clone()).or_default().insert(firmware.version, json);
            }
            for DeviceSpec { serial, state, group, entered_at, pin, cap, .. } in devices {
                let row = DeviceRow { state, group, entered_at_millis: entered_at.millis(), pin, cap };
                tables.devices.insert((id.clone(), serial), row);
            }
        }
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tables.revision = fleet.revision().0.max(held.revision + 1);
        *held = tables;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (key, image) = (KeyHash::of(b"lamp-secret"), Digests::blake3_of(b"the image"));
    let fleet = serde_json::json!({"products": [{
        "product": {"id": "lamp", "keys": [{"hash": key}], "register_on_first_contact": true},
        "firmware": [{"version": "2.0", "artifacts": [{"size_bytes": 9, "digests": image, "locator": "lamp-2.0.bin"}]}],
        "groups": [{"id": "default", "firmware": "2.0"}],
        "devices": [{"serial": "SN-1", "state": "verified", "group": "default"}],
    }]});
    let database = Database::default();
    database.load(&serde_json::from_value::<FleetSpec>(fleet)?.build()?)?;

    let now = Timestamp::from_millis(1_795_428_000_000);
    println!("serial  version  told                host");
    for (serial, version) in [("SN-1", "1.0"), ("SN-1", "2.0"), ("SN-2", "1.0")] {
        let ask = CheckIn { version: version.as_bytes(), ..CheckIn::new(b"lamp-secret", serial.as_bytes()) };
        // The decision borrows from the view; what is needed after it is taken out here.
        let (told, stranger) = store::answer(&database, &ask, now, &mut NoTrace, |decision| {
            let sends = decision.firmware_offer().map(|offer| format!("sends {}", offer.artifact.locator()));
            let stranger = decision.effect.and_then(|effect| effect.registration(&ask));
            let told = format!("{} {:<15} {}", decision.status(), decision.reason.name(), sends.unwrap_or_default());
            (told, stranger.map(|(product, serial)| (product.id().clone(), serial)))
        })?;
        // After the answer, without the view: a writer waits for readers.
        let registered = stranger.map(|(product, serial)| database.register(&product, &serial, now)).transpose()?;
        let host = registered.map(|registered| format!("registers: {registered:?}")).unwrap_or_default();
        println!("{serial:<7} {version:<8} {told}{host}");
    }

    #[cfg(feature = "contract")]
    println!("keeps {} promises", store::contract::assert_kept(&Custom).kept.len());
    Ok(())
}

#[cfg(feature = "contract")]
struct Custom;

#[cfg(feature = "contract")]
impl store::contract::Subject for Custom {
    type Store = Database;

    fn open(&self, fleet: &Fleet) -> Result<Database, String> {
        let database = Database::default();
        database.load(fleet).map_err(|error| error.to_string())?;
        Ok(database)
    }

    fn change(&self, database: &Database, _: &[Change], after: &Fleet) -> Result<store::contract::Changed, String> {
        database.load(after).map_err(|error| error.to_string())?;
        Ok(store::contract::Changed::Done)
    }
}
