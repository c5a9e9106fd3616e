//! The way straight through: a check-in is one statement where its key was asked for before, and three indexed look-ups of one moment where nothing is known.

use super::session::{Session, rows};
use super::{PostgresFault, PostgresStore, rows as table};
use crate::check_in::CheckIn;
use crate::fleet::devices::PlainDevices;
use crate::fleet::take::device_of_row;
use crate::fleet::whole::ProductEntryOf;
use crate::fleet::{CanonicalSerial, Device, KeyHash, Product, ProductId, Revision, Row, RowValue, SerialScheme};
use crate::lease::Lease;
use crate::sql::Held;
use crate::store::{AsyncStore, AsyncView, GroupRecord, Lent, Registered, StandingRecord};
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio_postgres::types::Type;

/// How often a check-in is asked again because its product was changed just then.
const LOOKS_MAX: usize = 4;

/// One moment of the database. Writers do not wait for it.
#[derive(Debug)]
pub struct PostgresView<'s> {
    store: &'s PostgresStore,
    revision: Revision,
    moment: Moment,
    /// The product that was found last: the device and the group are asked of the same.
    held: Mutex<Option<Arc<Held>>>,
}

#[derive(Debug)]
enum Moment {
    /// A transaction, in which anything can be asked.
    Open(Session),
    /// All that one check-in asks, fetched at once; of anything else it knows nothing.
    Fetched { key: Option<KeyHash>, held: Option<Arc<Held>>, device: Option<Row> },
}

impl AsyncStore for PostgresStore {
    type Error = PostgresFault;
    type View<'s> = PostgresView<'s>;

    async fn view(&self) -> Result<PostgresView<'_>, PostgresFault> {
        let session = self.read().await?;
        let revision = table::revision(&session, &self.shared.names).await?;
        Ok(PostgresView { store: self, revision, moment: Moment::Open(session), held: Mutex::new(None) })
    }

    async fn view_for(&self, ask: &CheckIn<'_>) -> Result<PostgresView<'_>, PostgresFault> {
        let key = KeyHash::of(ask.key);
        for _ in 0..LOOKS_MAX {
            // What the key was of last time says how the serial is read; the statement says whether it still is.
            let guess = key.and_then(|key| self.shared.keys.lock().get(&key).cloned());
            let guess = guess.and_then(|name| self.shared.held.last(&name));
            if let Some(view) = self.fetch_at_once(ask, key, guess.as_deref()).await? {
                return Ok(view);
            }
        }
        self.view().await
    }

    async fn register(
        &self,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, PostgresFault> {
        self.register_device(product, serial, at).await
    }
}

impl PostgresStore {
    /// All that a check-in asks, in one statement. None: its product is another than it was held to be, and is held as it is now.
    async fn fetch_at_once(
        &self,
        ask: &CheckIn<'_>,
        key: Option<KeyHash>,
        guess: Option<&Held>,
    ) -> Result<Option<PostgresView<'_>>, PostgresFault> {
        let names = &self.shared.names;
        let product = guess.and_then(Held::product);
        let serial = match product {
            Some(product) => product.read_serial(ask.serial).ok(),
            None => SerialScheme::Opaque.read(ask.serial).ok(),
        };
        // Who has no serial, or no key, is looked for all the same: time does not tell them apart.
        let serial = serial.as_ref().map_or("nobody", CanonicalSerial::as_str);
        let hash = key.map_or_else(|| "no key".to_owned(), |key| key.0.to_string());
        // OFFSET 0: each row is looked up by its key, whatever the planner believes of the others' numbers.
        let sql = format!(
            "SELECT m.revision, p.id, p.edition, {} FROM (SELECT revision FROM {{s}}.meta LIMIT 1) m
             LEFT JOIN {{s}}.key k ON k.hash = $1 LEFT JOIN {{s}}.product p ON p.id = k.product
             LEFT JOIN LATERAL (
                SELECT * FROM {{s}}.device WHERE product = coalesce(p.id, '') AND serial = $2 OFFSET 0
             ) d ON true",
            table::DEVICE
        );
        let client = self.shared.pool.get().await?;
        let of = [(&hash as _, Type::TEXT), (&serial as _, Type::TEXT)];
        let found = rows(&client, &names.sql(&sql), &of).await?;
        drop(client);
        let Some(row) = found.first() else {
            return Err(PostgresFault::Damaged { table: "meta", why: "it is empty".to_owned() });
        };
        let revision = table::revision_of(row.get(0));
        let view = |held, device| PostgresView {
            store: self,
            revision,
            moment: Moment::Fetched { key, held, device },
            held: Mutex::new(None),
        };
        let (Some(name), Some(key)) = (row.get::<_, Option<&str>>(1), key) else { return Ok(Some(view(None, None))) };
        let edition = table::revision_of(row.get(2)).0;
        match self.shared.held.at(name, edition) {
            // The serial was read by the rules of this very edition.
            Some(held) if guess.is_some_and(|guess| std::ptr::eq(guess, &*held)) => {
                Ok(Some(view(Some(held), table::device(row, 3))))
            }
            held => {
                self.shared.keys.lock().insert(key, name.into());
                if held.is_none() {
                    let session = self.read().await?;
                    self.held_product(&session, name).await?;
                }
                Ok(None)
            }
        }
    }
}

impl PostgresView<'_> {
    async fn held(&self, product: &ProductId) -> Result<Option<Arc<Held>>, PostgresFault> {
        let is_it = |held: &&Arc<Held>| held.product().is_some_and(|held| held.id() == product);
        match &self.moment {
            Moment::Fetched { held, .. } => Ok(held.as_ref().filter(is_it).cloned()),
            Moment::Open(session) => {
                if let Some(held) = self.held.lock().as_ref().filter(is_it) {
                    return Ok(Some(held.clone()));
                }
                self.store.held_product(session, product.as_str()).await
            }
        }
    }
}

impl AsyncView for PostgresView<'_> {
    type Error = PostgresFault;

    async fn revision(&self) -> Result<Revision, PostgresFault> {
        Ok(self.revision)
    }

    async fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, PostgresFault> {
        let held = match &self.moment {
            Moment::Fetched { key: asked, held, .. } => held.clone().filter(|_| asked.as_ref() == Some(key)),
            Moment::Open(session) => {
                let names = &self.store.shared.names;
                let owner = table::owners(session, names, std::slice::from_ref(key)).await?.pop();
                let Some((_, name)) = owner else { return Ok(None) };
                let held = self.store.held_product(session, &name).await?;
                self.held.lock().clone_from(&held);
                held
            }
        };
        // A product whose row is kept out is not there.
        Ok(held.and_then(|held| held.product().cloned()).map(Lent::Shared))
    }

    async fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, PostgresFault> {
        let row = match &self.moment {
            Moment::Fetched { device, .. } => {
                let is_it = |row: &&Row| *row.key.product == *product.as_str() && *row.key.name == *serial;
                device.as_ref().filter(is_it).cloned()
            }
            Moment::Open(session) => {
                let of = [(&product.as_str() as _, Type::TEXT), (&serial as _, Type::TEXT)];
                let which = "WHERE product = $1 AND serial = $2";
                table::devices(session, &self.store.shared.names, which, &of).await?.pop()
            }
        };
        let Some(row) = row else { return Ok(None) };
        let held = self.held(product).await?;
        let few = held.as_ref().and_then(|held| held.few.clone());
        let (Some(few), Some(RowValue::Device(spec))) = (few, &row.value) else { return Ok(None) };
        let entry = ProductEntryOf::<PlainDevices> { few, devices: PlainDevices::new(), new_devices: 0 };
        // One that a load would refuse is kept out.
        Ok(device_of_row(&entry, &row.key, spec).ok().map(Lent::from))
    }

    async fn group(
        &self,
        product: &Product,
        device: &Device,
        _: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, PostgresFault> {
        let held = self.held(product.id()).await?;
        let found = held.as_ref().and_then(|held| held.group(device.group().as_str()));
        Ok(found.map(|(group, catalogue)| GroupRecord {
            group: Lent::Shared(group.clone()),
            catalogue: Lent::Shared(catalogue.clone()),
            standing: StandingRecord::default(),
        }))
    }
}
