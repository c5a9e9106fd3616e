//! The index: a fleet of millions in memory, compact, whose readers never wait.
//!
//! ```text
//!   writer: apply(batch) ──▶ next revision, sharing what did not change ──▶ one pointer ◀── readers: loaded once per decision
//!
//!   Snapshot ─┬─ keys          KeyHash ──▶ product                                few, plain, looked up once per revision
//!             ├─ groups        number ──▶ group, its baseline and target resolved
//!             └─ Table         leaf ──▶ line ──▶ 16-byte slot                     one for each product; the trip to RAM
//! ```
//!
//! A check-in goes: key ([`keys`]) ──▶ product ──▶ canonical serial ──▶ hash ([`hash`]) ──▶ leaf ([`table`]) ──▶ one of two lines ([`leaf`]) ──▶ slot
//! ([`slot`]) ──▶ group, by way of its profile ([`profiles`]) ──▶ `Facts` ([`snapshot`]) ──▶ `decide`, all from one revision ([`reader`]).
//!
//! The fleet is changed by the same code as the plain one (`fleet/apply.rs`), so that there is no second meaning of a change. Revisions that nobody holds are
//! dropped by the writer, so that no reader ever pays for it.

mod census;
mod counters;
mod hash;
mod interner;
mod keys;
mod leaf;
mod load;
mod members;
mod profiles;
mod reader;
mod slot;
mod snapshot;
mod store;
mod table;
mod take;

pub use counters::VerdictCount;
pub use members::{DeviceCount, IndexBytes, Member};
pub use reader::Reader;
#[cfg(feature = "simulate")]
pub(crate) use reader::Timed;
pub use snapshot::Snapshot;
pub use store::IndexView;

use crate::fleet::devices::Devices;
use crate::fleet::{
    CanonicalSerial, Change, DeviceState, Fleet, FleetOf, NAME_BYTES_MAX, Problems, ProductEntryOf, ProductId,
    Revision, VERSION_BYTES_MAX, check_text,
};
use crate::store::{Registered, ReplaceFault};
use crate::time::Timestamp;
use arc_swap::ArcSwap;
use counters::Counters;
use load::{Row, Twice};
use parking_lot::Mutex;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Table;

/// A fleet in memory, for millions of devices. A handle: clones are the same index.
///
/// About 18 bytes for a device whose serial has up to 15 hex digits; a longer serial takes its length more, and so does what is rare: a pin, a cap, a group
/// that it was in before. Group, last known version and hardware cost nothing, since many devices share them.
///
/// ```
/// use otagate::{Change, CheckIn, FleetSpec, Index, NoTrace, Revision, Timestamp};
/// let index = Index::new(&FleetSpec::default().build()?);
/// let mut reader = index.reader(); // one per thread
/// let ask = CheckIn::new(b"secret", b"SN-17");
/// let now = Timestamp::from_millis(1_795_392_000_000);
/// assert_eq!(reader.decide(&ask, now, &mut NoTrace).status(), 401);
/// let spec = otagate::ProductSpec { id: "lamp".into(), ..Default::default() };
/// index.apply(&[Change::PutProduct { product: spec }])?;
/// assert_eq!(reader.decide(&ask, now, &mut NoTrace).revision, Revision(1)); // the very next decision sees it
/// # Ok::<(), otagate::Problems>(())
/// ```
#[derive(Clone, Debug)]
pub struct Index {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Snapshot>,
    /// Revisions that readers may still hold. Locked while a writer works: writers wait for each other, readers for nobody.
    retired: Mutex<Vec<Arc<Snapshot>>>,
    counters: Counters,
}

/// The pointer that a reader's cache watches.
#[derive(Debug)]
struct Current(Arc<Shared>);

impl Deref for Current {
    type Target = ArcSwap<Snapshot>;
    fn deref(&self) -> &ArcSwap<Snapshot> {
        &self.0.current
    }
}

/// One device to be added, borrowed from wherever it stands: a row of a file, of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceRow<'a> {
    /// Its serial, in any spelling of the product's scheme.
    pub serial: &'a str,
    /// Where it stands.
    pub state: DeviceState,
    /// Its group.
    pub group: &'a str,
    /// When it entered the group for the first time (R4); the default is as old as time.
    pub entered_at: Timestamp,
    /// The version that it reported last, as far as known.
    pub version: Option<&'a str>,
    /// Its hardware, as far as known.
    pub hardware: Option<&'a str>,
}

impl Index {
    /// An index of that fleet, built on all processors.
    pub fn new(fleet: &Fleet) -> Self {
        let first = Snapshot::of(compact(fleet), None, Instant::now());
        let current = ArcSwap::from_pointee(first);
        Self { shared: Arc::new(Shared { current, retired: Mutex::default(), counters: Counters::default() }) }
    }

    /// An index of its own that begins with this one's newest revision, and goes its own way from there: to try a change on. The two share what neither has changed, so it
    /// costs microseconds.
    ///
    /// ```
    /// use otagate::{Change, Fleet, Index, ProductSpec};
    /// let index = Index::new(&Fleet::default());
    /// let tried = index.fork();
    /// tried.apply(&[Change::PutProduct { product: ProductSpec { id: "lamp".into(), ..Default::default() } }])?;
    /// assert!(tried.snapshot().product("lamp").is_some() && index.snapshot().product("lamp").is_none());
    /// # Ok::<(), otagate::Problems>(())
    /// ```
    pub fn fork(&self) -> Self {
        let held = self.snapshot();
        let current = ArcSwap::from_pointee(Snapshot::of(held.fleet.clone(), Some(&held), Instant::now()));
        Self { shared: Arc::new(Shared { current, retired: Mutex::default(), counters: Counters::default() }) }
    }

    /// A reader, for one thread. Making one costs some microseconds, and its first verdict for a product an allocation.
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// The newest revision, to be held as long as it is wanted.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }

    /// The revision that new decisions see.
    pub fn revision(&self) -> Revision {
        self.shared.current.load().revision()
    }

    /// How long it has been since that revision was published.
    pub fn age(&self) -> Duration {
        self.shared.current.load().age()
    }

    /// How often each reason was given by all [`Reader`]s, by product and number; none that was not given.
    pub fn verdicts(&self) -> Vec<VerdictCount> {
        self.shared.counters.read()
    }

    /// Applies a batch whole or not at all, as [`Fleet::apply`](crate::FleetOf::apply) does, and publishes it. Readers see it with their next decision and
    /// wait for nothing; other writers wait.
    ///
    /// A change of a device costs microseconds, however many there are: it copies a leaf of some thousand, and some pointers. A change of a group costs
    /// what the product has of groups, and nothing for its devices, but for a cap, which is held against every pin.
    ///
    /// # Errors
    /// Everything that is wrong with the batch; the index is as it was.
    pub fn apply(&self, changes: &[Change]) -> Result<Revision, Problems> {
        self.publish(|fleet| {
            let before = fleet.revision;
            let revision = fleet.apply(changes)?;
            Ok((revision, has_moved(before, revision)))
        })
    }

    /// Adds many devices that are not there yet, on all processors, as one revision: all of them or none. Some tenths of a microsecond for each, where they are
    /// many; a few for an index of millions are put one by one, in some ten microseconds each.
    ///
    /// ```
    /// use otagate::{DeviceRow, DeviceState, Fleet, Index, ProductId, ProductSpec, Change};
    /// let index = Index::new(&Fleet::default());
    /// index.apply(&[Change::PutProduct { product: ProductSpec { id: "lamp".into(), ..Default::default() } }])?;
    /// let row = DeviceRow { state: DeviceState::Verified, group: "stable", ..DeviceRow::default() };
    /// let lamp = ProductId::new("lamp").unwrap();
    /// index.add_devices(&lamp, &[DeviceRow { serial: "SN-1", ..row }, DeviceRow { serial: "SN-2", ..row }])?;
    /// assert_eq!(index.snapshot().devices_len(), 2);
    /// let again = index.add_devices(&lamp, &[DeviceRow { serial: "SN-2", ..row }]).unwrap_err();
    /// assert_eq!(again.to_string(), "rows[0].serial: `SN-2` is a device already (S2)");
    /// # Ok::<(), otagate::Problems>(())
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with the rows, each with its place, such as `rows[17].serial`: no serial under the product's scheme, one that stands twice
    /// or is known, names that are none. There is no such product.
    pub fn add_devices(&self, product: &ProductId, rows: &[DeviceRow<'_>]) -> Result<Revision, Problems> {
        self.publish(|fleet| {
            let mut problems = Problems::default();
            let Some(entry) = fleet.products.get_mut(product).map(Arc::make_mut) else {
                problems.add("product", format!("there is no product `{product}`"));
                return problems.finish(None);
            };
            if rows.is_empty() {
                return Ok((fleet.revision, false));
            }
            entry.devices = add(&entry.devices, &entry.few.product, rows)?;
            entry.new_devices += rows.iter().filter(|row| row.state == DeviceState::New).count();
            fleet.revision = Revision(fleet.revision.0.saturating_add(1));
            Ok((fleet.revision, true))
        })
    }

    /// Replaces the whole fleet by one of a higher revision (L2). The same revision with the same content is no change, which takes a look at every device
    /// while other writers wait; a higher one is built before.
    ///
    /// # Errors
    /// The revision is not above the one held, and `force` is not given.
    pub fn replace(&self, fleet: &Fleet, force: bool) -> Result<(), ReplaceFault> {
        // Built before writers are kept waiting.
        let next = compact(fleet);
        self.publish(|held| put_in_place(held, fleet, next, force)).map(drop)
    }

    /// Replaces the fleet as [`replace`](Self::replace) does, if it is still the one of revision `seen`, from which the new one was made; else nothing that
    /// was applied since would be in it, and `false` is given: look again, and make it anew.
    ///
    /// # Errors
    /// As [`replace`](Self::replace) without force.
    pub fn replace_seen(&self, seen: Revision, fleet: &Fleet) -> Result<bool, ReplaceFault> {
        let next = compact(fleet);
        let mut still = true;
        self.publish(|held| {
            still = held.revision() == seen;
            if still { put_in_place(held, fleet, next, false) } else { Ok((held.revision(), false)) }
        })?;
        Ok(still)
    }

    /// Carries out a registration (question 3); see [`Store::register`](crate::store::Store::register).
    pub fn register(&self, product: &ProductId, serial: &CanonicalSerial, at: Timestamp) -> Registered {
        let known = |fleet: &FleetOf<Table>| {
            let entry = fleet.product(product.as_str())?;
            Some((entry.devices.find(serial.as_str()).is_some(), entry.may_register()))
        };
        // Most strangers ask again and again: they must not keep writers waiting.
        match known(&self.shared.current.load().fleet) {
            Some((true, _)) => return Registered::Known,
            Some((false, true)) => {}
            Some((false, false)) | None => return Registered::Refused,
        }
        let mut outcome = Registered::Refused;
        let change = Change::Register { product: product.clone(), serial: serial.as_str().to_owned(), at };
        let published: Result<Revision, Problems> = self.publish(|fleet| {
            if known(fleet).is_some_and(|(known, _)| known) {
                outcome = Registered::Known;
                return Ok((fleet.revision, false));
            }
            let before = fleet.revision;
            let revision = fleet.apply(std::slice::from_ref(&change))?;
            if known(fleet).is_some_and(|(known, _)| known) {
                outcome = Registered::New;
            }
            Ok((revision, has_moved(before, revision)))
        });
        // A product that is gone since the question was asked registers nobody.
        if published.is_err() { Registered::Refused } else { outcome }
    }

    /// Makes the next revision from the one that is held, and publishes it if `make` says that something changed.
    fn publish<E>(&self, make: impl FnOnce(&mut FleetOf<Table>) -> Result<(Revision, bool), E>) -> Result<Revision, E> {
        let mut retired = self.shared.retired.lock();
        let before = self.shared.current.load_full();
        let mut fleet = before.fleet.clone();
        let (revision, changed) = make(&mut fleet)?;
        if changed {
            let next = Snapshot::of(fleet, Some(&before), Instant::now());
            retired.push(self.shared.current.swap(Arc::new(next)));
        }
        drop((before, retired));
        self.reclaim();
        Ok(revision)
    }

    /// Drops the old revisions that nobody holds any more, and says how many are still held. Each change does so; what readers let go after the last
    /// one stays in memory until the next, so a host that changes little, or has just [`replace`](Self::replace)d a large fleet, calls this now and then.
    pub fn reclaim(&self) -> usize {
        let mut retired = self.shared.retired.lock();
        // Only here are revisions dropped: a reader that lets one go is never the last.
        let (held, free): (Vec<_>, Vec<_>) = retired.drain(..).partition(|old| Arc::strong_count(old) > 1);
        *retired = held;
        let held = retired.len();
        drop(retired);
        // Writers do not wait for this.
        drop(free);
        held
    }
}

/// Puts `next`, which is `fleet`, in the place of what is held (L2); gives the revision, and whether that changed something.
fn put_in_place(
    held: &mut FleetOf<Table>,
    fleet: &Fleet,
    next: FleetOf<Table>,
    force: bool,
) -> Result<(Revision, bool), ReplaceFault> {
    let (at, offered) = (held.revision(), next.revision());
    if offered > at || force {
        *held = next;
        return Ok((offered, true));
    }
    let same = offered == at && held.spec() == fleet.spec();
    if same { Ok((at, false)) } else { Err(ReplaceFault { held: at, offered }) }
}

/// Whether a batch changed something: then the revision grew, unless there is none above.
fn has_moved(before: Revision, after: Revision) -> bool {
    after != before || after == Revision(u64::MAX)
}

/// The same fleet, its devices in tables.
fn compact(fleet: &Fleet) -> FleetOf<Table> {
    let mut compact = FleetOf { revision: fleet.revision, keys: fleet.keys.clone(), ..FleetOf::default() };
    for (id, entry) in &fleet.products {
        let devices: Vec<&crate::fleet::Device> = entry.devices().collect();
        // No two devices of a map have one serial.
        let table = load::load(&Table::default(), &devices, |_, device| Some(Row::of(device))).unwrap_or_default();
        let entry = ProductEntryOf { few: entry.few.clone(), devices: table, new_devices: entry.new_devices };
        compact.products.insert(id.clone(), Arc::new(entry));
    }
    compact
}

/// A table with all these rows added.
fn add<'r>(table: &Table, product: &crate::fleet::Product, rows: &'r [DeviceRow<'_>]) -> Result<Table, Problems> {
    let faults = Mutex::new(Vec::new());
    let read = |at: usize, row: &'r DeviceRow<'_>| {
        let fault = |place: &str, message: String| faults.lock().push((at, format!("rows[{at}].{place}"), message));
        let serial = product.read_serial(row.serial.as_bytes());
        if let Err(wrong) = serial {
            fault("serial", format!("`{}` {wrong}", row.serial.escape_debug()));
        }
        let texts = [
            ("group", Some(row.group), NAME_BYTES_MAX),
            // An empty version is one that was reported (W4).
            ("version", row.version.filter(|text| !text.is_empty()), VERSION_BYTES_MAX),
            ("hardware", row.hardware.filter(|text| !text.is_empty()), NAME_BYTES_MAX),
        ];
        for (place, text, max) in texts {
            if let Some(Err(wrong)) = text.map(|text| check_text(text, max)) {
                fault(place, wrong.to_string());
            }
        }
        let &DeviceRow { state, group, entered_at, version, hardware, .. } = row;
        Some(Row { serial: serial.ok()?, state, group, entered_at, version, hardware, rare: None })
    };
    let loaded = load::load(table, rows, read);
    let mut faults = faults.into_inner();
    if let Err(twice) = &loaded {
        for Twice { row, before } in twice {
            let serial = rows[*row].serial.escape_debug();
            let message = match before {
                Some(before) => format!("`{serial}` stands twice: it is that of rows[{before}] too (S2)"),
                None => format!("`{serial}` is a device already (S2)"),
            };
            faults.push((*row, format!("rows[{row}].serial"), message));
        }
    }
    faults.sort();
    // A load that is repeated under another secret reads its rows again.
    faults.dedup();
    let mut problems = Problems::default();
    faults.into_iter().for_each(|(_, place, message)| problems.add(place, message));
    problems.finish(loaded.ok())
}
