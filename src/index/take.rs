//! Rows that somebody else keeps, put into the index: all of them at once, or those that changed.

use super::Index;
use super::load::{self, Row as Loaded};
use super::table::Table;
use crate::feed::{KeptOut, Loading};
use crate::fleet::take::{RulesChanged, Taken};
use crate::fleet::{Device, FleetOf, ProductEntryOf, Revision, Row};
use std::convert::Infallible;
use std::sync::Arc;

impl Index {
    /// Puts rows in their places, and publishes that as `revision`; gives those that were kept out, with why.
    pub(crate) fn take_rows(&self, rows: Vec<Row>, revision: Revision) -> Result<Vec<(Row, String)>, RulesChanged> {
        let mut out = Vec::new();
        self.publish(|fleet| {
            let Taken { fleet: next, kept_out } = fleet.take(rows)?;
            (*fleet, out) = (next.at_revision(revision), kept_out);
            Ok((revision, true))
        })?;
        Ok(out)
    }

    /// Publishes a load in the place of what is held; gives what was kept out of it.
    pub(crate) fn load_rows(&self, loading: Loading) -> crate::feed::Kept {
        let Loading { fleet, devices, kept } = loading;
        let (mut devices, mut kept) = (devices.into_inner(), kept.into_inner());
        let mut next = FleetOf { revision: fleet.revision, keys: fleet.keys.clone(), ..FleetOf::default() };
        for (id, entry) in &fleet.products {
            let mut list = devices.remove(id).unwrap_or_default();
            let table = loop {
                match load::load(&Table::default(), &list, |_, device: &Device| Some(Loaded::of(device))) {
                    Ok(table) => break table,
                    // Two rows of one device, which no table with a key has: the first counts.
                    Err(twice) => {
                        let mut at: Vec<usize> = twice.iter().map(|twice| twice.row).collect();
                        at.sort_unstable();
                        at.dedup();
                        for at in at.into_iter().rev() {
                            let spec = list.swap_remove(at).spec();
                            let row = Row::device(id.as_str(), spec);
                            let why = "stands there twice".to_owned();
                            kept.rows.push((row.clone(), KeptOut { key: row.key, revision: Revision(0), why }));
                        }
                    }
                }
            };
            let new_devices = list.iter().filter(|device| device.state() == crate::fleet::DeviceState::New).count();
            let entry = ProductEntryOf { few: entry.few.clone(), devices: table, new_devices };
            next.products.insert(id.clone(), Arc::new(entry));
        }
        let revision = next.revision;
        let Ok(_) = self.publish(|held| {
            *held = next;
            Ok::<_, Infallible>((revision, true))
        });
        kept
    }
}
