//! What a host's own store, written in Python, gives: products and groups that were checked once, devices as rows.

use crate::failure::{Wrong, garbage, guard, invalid, of_problems, refused};
use crate::fleet_words::{device_spec, known_as, known_time, read_as, text_of};
use otagate::store::StandingRecord;
use otagate::{Device, Group as Plain, GroupSpec, ProductEntry, ProductFleetSpec, Revision};
use pyo3::prelude::*;
use std::sync::Arc;

/// A product with its firmware and groups, checked: build it once, and again when one of its rows changes.
#[pyclass(frozen, module = "otagate", weakref)]
pub(crate) struct Product {
    pub(crate) entry: Arc<ProductEntry>,
}

/// A group of a product, checked under its rules.
#[pyclass(frozen, module = "otagate", weakref)]
pub(crate) struct Group {
    pub(crate) group: Arc<Plain>,
}

fn parsed<T: serde::de::DeserializeOwned>(given: &Bound<'_, PyAny>, place: &str) -> PyResult<T> {
    serde_json::from_slice(&text_of(given)?).map_err(|error| refused([(place.to_owned(), &*error.to_string())]))
}

fn all<T: serde::de::DeserializeOwned>(given: Option<&Bound<'_, PyAny>>, place: &str) -> PyResult<Vec<T>> {
    let Some(given) = given else { return Ok(Vec::new()) };
    given.try_iter()?.enumerate().map(|(at, each)| parsed(&each?, &format!("{place}[{at}]"))).collect()
}

#[pymethods]
impl Product {
    #[new]
    #[pyo3(signature = (product, *, firmware=None, groups=None))]
    fn new(
        product: &Bound<'_, PyAny>,
        firmware: Option<&Bound<'_, PyAny>>,
        groups: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        guard(|| {
            let spec = ProductFleetSpec {
                product: parsed(product, "product")?,
                firmware: all(firmware, "firmware")?,
                groups: all(groups, "groups")?,
                devices: Vec::new(),
            };
            let entry = spec.build().map_err(|problems| of_problems(&problems))?;
            Ok(Self { entry: Arc::new(entry) })
        })
    }

    /// Its name.
    #[getter]
    fn id(&self) -> &str {
        self.entry.product().id().as_str()
    }

    /// One of the groups that it was built with, or None.
    fn group(&self, id: &str) -> Option<Group> {
        // Groups are small beside the firmware, and this is asked once per check-in.
        self.entry.group(id).map(|group| Group { group: Arc::new(group.clone()) })
    }

    fn __repr__(&self) -> String {
        format!("<otagate.Product {:?}>", self.id())
    }
}

#[pymethods]
impl Group {
    #[new]
    fn new(product: &Product, spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        guard(|| {
            let spec: GroupSpec = parsed(spec, "")?;
            let group = spec.build(product.entry.product()).map_err(|problems| of_problems(&problems))?;
            Ok(Self { group: Arc::new(group) })
        })
    }

    /// Its name.
    #[getter]
    fn id(&self) -> &str {
        self.group.id().as_str()
    }

    fn __repr__(&self) -> String {
        format!("<otagate.Group {:?}>", self.id())
    }
}

/// What `product_of_key` gave.
pub(crate) fn product(given: &Bound<'_, PyAny>) -> PyResult<Option<Arc<ProductEntry>>> {
    if given.is_none() {
        return Ok(None);
    }
    match given.cast::<Product>() {
        Ok(product) => Ok(Some(product.get().entry.clone())),
        Err(_) => Err(misplaced("product_of_key", "an otagate.Product or None", given)),
    }
}

/// What `device` gave, checked under the product's rules.
pub(crate) fn device(given: &Bound<'_, PyAny>, entry: Option<&ProductEntry>) -> PyResult<Option<Device>> {
    if given.is_none() {
        return Ok(None);
    }
    let Some(entry) = entry else { return Err(garbage("`device` gave a device of a product that does not exist")) };
    let read = device_spec(given).map_err(|wrong| wrong.of_store("device"))?;
    let built = read.build(entry.product());
    built.map(Some).map_err(|problems| garbage(format!("`device` gave what cannot be: {problems}")))
}

/// What `group` gave.
pub(crate) fn group(given: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Plain>>> {
    if given.is_none() {
        return Ok(None);
    }
    match given.cast::<Group>() {
        Ok(group) => Ok(Some(group.get().group.clone())),
        Err(_) => Err(misplaced("group", "an otagate.Group or None", given)),
    }
}

/// What `revision` gave.
pub(crate) fn revision(given: &Bound<'_, PyAny>) -> PyResult<Revision> {
    read_as(given, "the revision", "an int from 0 to 2**64 - 1")
        .map(Revision)
        .map_err(|wrong| wrong.of_store("revision"))
}

/// What a standing may have; who has none of it is no standing, and must not be taken for an empty one: that would lift every limit.
const STANDING: [&str; 8] = [
    "claim_expires_at",
    "download_expires_at",
    "attempts",
    "penalty_hop",
    "penalty_until",
    "place",
    "downloads_now",
    "slots_taken",
];

/// What `standing` gave: a `Standing`, or anything with its attributes.
pub(crate) fn standing(given: &Bound<'_, PyAny>) -> PyResult<StandingRecord> {
    if given.is_none() {
        return Ok(StandingRecord::default());
    }
    read_standing(given).map_err(|wrong| wrong.of_store("standing"))
}

fn read_standing(given: &Bound<'_, PyAny>) -> Result<StandingRecord, Wrong> {
    let mut any = false;
    for name in STANDING {
        any |= given.getattr_opt(name)?.is_some();
    }
    if !any {
        return Err(Wrong::Kind(format!("{} has no attribute of a standing", given.get_type().name()?)));
    }
    let number = |name: &str| known_as::<u32>(given, name, "an int from 0 to 2**32 - 1").map(Option::unwrap_or_default);
    let hop = known_as::<String>(given, "penalty_hop", "a str")?;
    let until = known_time(given, "penalty_until")?;
    if hop.is_some() != until.is_some() {
        return Err(Wrong::Value("`penalty_hop` and `penalty_until` go together".to_owned()));
    }
    Ok(StandingRecord {
        claim_expires_at: known_time(given, "claim_expires_at")?,
        download_expires_at: known_time(given, "download_expires_at")?,
        attempts: number("attempts")?,
        penalty: hop.map(String::into_boxed_str).zip(until),
        place: known_as(given, "place", "an int from 0 to 2**64 - 1")?,
        downloads_now: number("downloads_now")?,
        slots_taken: number("slots_taken")?,
    })
}

fn misplaced(method: &str, wanted: &str, given: &Bound<'_, PyAny>) -> PyErr {
    match given.get_type().name() {
        Ok(name) => garbage(format!("`{method}` gave {name}, not {wanted}")),
        Err(_) => invalid("a class without a name"),
    }
}
