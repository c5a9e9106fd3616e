//! Products with their firmware and groups, as they were read from rows: kept until their edition changes, so that a check-in parses no document.

use crate::fleet::devices::PlainDevices;
use crate::fleet::take::RulesChanged;
use crate::fleet::whole::Few;
use crate::fleet::{Catalogue, FleetOf, Group, Product, Row};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// A product at one edition, and its rows that were kept out.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) edition: u64,
    pub(crate) few: Option<Arc<Few>>,
    pub(crate) kept_out: Vec<(Row, String)>,
}

impl Held {
    /// The product, its firmware and its groups, by their rows.
    pub(crate) fn read(edition: u64, name: &str, rows: Vec<Row>) -> Self {
        let empty = FleetOf::<PlainDevices>::default();
        // In an empty fleet no rules can change.
        match empty.take(rows) {
            Err(RulesChanged) => Self { edition, few: None, kept_out: Vec::new() },
            Ok(taken) => {
                let few = taken.fleet.product(name).map(|entry| entry.few.clone());
                Self { edition, few, kept_out: taken.kept_out }
            }
        }
    }

    pub(crate) fn product(&self) -> Option<&Arc<Product>> {
        self.few.as_ref().map(|few| &few.product)
    }

    pub(crate) fn group(&self, name: &str) -> Option<(&Arc<Group>, &Arc<Catalogue>)> {
        let few = self.few.as_ref()?;
        Some((few.groups.get(name)?, &few.catalogue))
    }
}

/// The products that were asked for last, by name: each at the newest edition that was read.
#[derive(Debug, Default)]
pub(crate) struct HeldProducts(Mutex<HashMap<Box<str>, Arc<Held>>>);

impl HeldProducts {
    /// The product, if it is kept at that edition.
    pub(crate) fn at(&self, name: &str, edition: u64) -> Option<Arc<Held>> {
        self.0.lock().get(name).filter(|held| held.edition == edition).cloned()
    }

    /// The product as it was last seen, at whatever edition.
    #[cfg(feature = "postgres")]
    pub(crate) fn last(&self, name: &str) -> Option<Arc<Held>> {
        self.0.lock().get(name).cloned()
    }

    pub(crate) fn keep(&self, name: &str, held: Held) -> Arc<Held> {
        let held = Arc::new(held);
        let mut all = self.0.lock();
        // Somebody may have read a newer one meanwhile.
        match all.get(name) {
            Some(newer) if newer.edition > held.edition => {}
            _ => drop(all.insert(name.into(), held.clone())),
        }
        held
    }
}
