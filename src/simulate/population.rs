//! The devices of a fleet as a simulation begins, in one order whatever the fleet was read from.

use super::shard::{Row, Texts};
use super::world::World;
use crate::fleet::{KeyHash, ProductId, rank};
use crate::index::Snapshot;
use crate::time::Timestamp;

/// The salt of a device's luck; no rollout has it unless somebody means it.
const SALT: &str = "otagate simulated luck";

/// All devices, by product and serial. Their luck is a hash of who they are; a seed comes to it in each run.
#[derive(Debug, Default)]
pub(super) struct Population {
    rows: Vec<Row>,
    serials: Vec<u8>,
    pub(super) texts: Texts,
    pub(super) products: Vec<ProductId>,
    pub(super) keys: Vec<KeyHash>,
}

impl Population {
    pub(super) fn of(snapshot: &Snapshot, world: &World, now: Timestamp) -> Self {
        let mut all = Self::default();
        let unknown = world.unknown_version.clone().unwrap_or_default();
        for product in snapshot.products() {
            let number = all.products.len() as u32;
            all.products.push(product.id().clone());
            // Devices ask under a key that works, where there is one.
            all.keys.push(crate::preview::key(product, now));
            let from = all.rows.len();
            snapshot.scan(product.id().as_str(), None, |member| {
                let serial = member.serial();
                let at = all.serials.len() as u32;
                all.serials.extend_from_slice(serial.as_str().as_bytes());
                all.rows.push(Row {
                    luck: super::draw::Luck(Self::identity(product.id().as_str(), serial.as_str())),
                    serial: (at, serial.as_str().len() as u8),
                    product: number,
                    group: all.texts.number(member.group().map_or("", |group| group.as_str())),
                    version: all.texts.number(member.version().unwrap_or(&unknown)),
                    hardware: all.texts.number(member.hardware().unwrap_or_default()),
                    ..Row::default()
                });
            });
            let Self { rows, serials, .. } = &mut all;
            let text =
                |row: &Row| serials.get(row.serial.0 as usize..row.serial.0 as usize + usize::from(row.serial.1));
            rows[from..].sort_unstable_by(|a, b| text(a).cmp(&text(b)));
        }
        all
    }

    /// Who a device is, as a number.
    pub(super) fn identity(product: &str, serial: &str) -> u64 {
        rank(SALT, product, serial)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn serials_len(&self) -> usize {
        self.serials.len()
    }

    pub(super) fn product_number(&self, product: &str) -> Option<u32> {
        self.products.iter().position(|id| id.as_str() == product).map(|at| at as u32)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&Row, &[u8])> {
        self.rows.iter().map(|row| {
            let from = row.serial.0 as usize;
            (row, self.serials.get(from..from + usize::from(row.serial.1)).unwrap_or_default())
        })
    }
}
