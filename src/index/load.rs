//! Many devices at once, on all processors.
//!
//! ```text
//!   rows ──┬─▶ thread: read serials, hash, number profiles ─▶ shares by leaf ─┐   ┌─▶ thread: leaves 0..n
//!          └─▶ thread: ...                                                    ├──▶┼─▶ thread: leaves n..2n
//!                                                                             ┘   └─▶ ...
//! ```
//!
//! The rows of a share go to neighbouring leaves, so a thread builds its leaves from memory that it has near.

use super::hash::Secret;
use super::leaf::{Crowded, Leaf, Resident};
use super::profiles::Profiles;
use super::slot::Slot;
use super::table::{Table, slot_of};
use crate::fleet::devices::Devices;
use crate::fleet::{CanonicalSerial, Device, DeviceState, GroupId, Rare};
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;

/// A share of the leaves is one thread's at a time.
const SHARES: usize = 64;
/// So few rows are not worth a thread.
const ONE_BY_ONE_MAX: usize = if cfg!(test) { 8 } else { 1_024 };

/// One device of a load, borrowed from wherever it stands.
pub(super) struct Row<'s> {
    pub(super) serial: CanonicalSerial,
    pub(super) state: DeviceState,
    pub(super) group: &'s str,
    pub(super) entered_at: Timestamp,
    pub(super) version: Option<&'s str>,
    pub(super) hardware: Option<&'s str>,
    pub(super) rare: Option<&'s Rare>,
}

impl<'s> Row<'s> {
    /// A device that was checked.
    pub(super) fn of(device: &'s Device) -> Self {
        Self {
            serial: CanonicalSerial::of_canonical(device.serial()),
            state: device.state(),
            group: device.group().as_str(),
            entered_at: device.entered_at(),
            version: device.version(),
            hardware: device.hardware(),
            rare: device.rare.as_deref(),
        }
    }
}

impl Row<'_> {
    /// The device; none, where the name of its group is none.
    fn device(&self) -> Option<Device> {
        let mut device = Device {
            serial: self.serial.as_str().into(),
            state: self.state,
            group: GroupId::new(self.group).ok()?,
            entered_at: self.entered_at,
            version: self.version.map(Into::into),
            rare: self.rare.cloned().map(Box::new),
        };
        device.change_rare(|rare| rare.hardware = self.hardware.map(Into::into));
        Some(device)
    }
}

/// A device on its way into its leaf.
struct Placed {
    hash: u64,
    resident: Resident,
    /// Of a row: its number, and that of its profile among those of its thread.
    row: Option<(u32, u32)>,
}

/// What one thread read.
struct Part<'s> {
    shares: Vec<Vec<Placed>>,
    profiles: Vec<Names<'s>>,
    /// Groups that devices were in before, by the number that the thread gave them, and how many were.
    earlier: Vec<(&'s GroupId, u64)>,
}

/// What rows share, and how many do.
struct Names<'s> {
    group: &'s str,
    version: Option<&'s str>,
    hardware: Option<&'s str>,
    rows: u64,
}

/// A serial stands twice: the numbers of both rows. Of a device that was there before the number is `None`.
pub(super) struct Twice {
    pub(super) row: usize,
    pub(super) before: Option<usize>,
}

/// A table of all these rows and of what `table` holds already. Rows are numbered from 0; one that is not there is left out.
pub(super) fn load<'s, S: Sync>(
    table: &Table,
    sources: &'s [S],
    read: impl Fn(usize, &'s S) -> Option<Row<'s>> + Sync,
) -> Result<Table, Vec<Twice>> {
    // One by one costs some sixty times as much a row, and nothing for the devices that are there.
    if sources.len() < ONE_BY_ONE_MAX.max(table.count() / 64) {
        return put_each(table, sources, read);
    }
    let leaves = Table::leaves_for(table.count() + sources.len());
    let mut secret = if table.count() == 0 { Secret::random() } else { table.secret() };
    loop {
        match build(table, sources, &read, secret, leaves) {
            Ok(built) => return Ok(built),
            Err(Refused::Twice(twice)) => return Err(twice),
            // Serials that were chosen to collide under this secret, which nobody knows, cannot be for another.
            Err(Refused::Crowded) => secret = Secret::random(),
        }
    }
}

/// A few rows for a large table: one after the other, on what is a copy where it is changed.
fn put_each<'s, S>(
    table: &Table,
    sources: &'s [S],
    read: impl Fn(usize, &'s S) -> Option<Row<'s>>,
) -> Result<Table, Vec<Twice>> {
    let (mut table, mut twice) = (table.clone(), Vec::new());
    let mut rows = HashMap::new();
    for (row, source) in sources.iter().enumerate() {
        let Some(read) = read(row, source) else { continue };
        let before = rows.insert(read.serial, row);
        if before.is_some() || table.find(read.serial.as_str()).is_some() {
            twice.push(Twice { row, before });
        } else if let Some(device) = read.device() {
            table.put(read.serial.as_str(), Some(device));
        }
    }
    if twice.is_empty() { Ok(table) } else { Err(twice) }
}

enum Refused {
    Twice(Vec<Twice>),
    Crowded,
}

fn build<'s, S: Sync>(
    table: &Table,
    sources: &'s [S],
    read: &(impl Fn(usize, &'s S) -> Option<Row<'s>> + Sync),
    secret: Secret,
    leaves: usize,
) -> Result<Table, Refused> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(SHARES);
    let place = Places { secret, leaves };
    let part = sources.len().div_ceil(threads).max(1);
    let held: Vec<&Leaf> = table.leaves().filter(|_| table.count() > 0).collect();
    let rows = sources.chunks(part).enumerate().map(|(at, sources)| Work::Rows(sources, at * part));
    let work = rows.chain(held.chunks(held.len().div_ceil(threads).max(1)).map(Work::Held)).collect();
    let parts: Vec<Part<'s>> = on_threads(threads, work, |work| match work {
        Work::Rows(sources, first_row) => read_rows(sources, first_row, read, place),
        Work::Held(leaves) => read_held(leaves, place),
    });

    // Numbers of the threads into numbers of the table.
    let mut profiles = table.profiles().clone();
    let number = |profiles: &mut Profiles, names: &Names<'_>| {
        // A name that is none was told of, and nothing will come of this table.
        let group = GroupId::new(names.group).ok();
        group.map_or(0, |group| profiles.acquire(&group, names.version, names.hardware, names.rows))
    };
    let numbers: Vec<Vec<u32>> =
        parts.iter().map(|part| part.profiles.iter().map(|names| number(&mut profiles, names)).collect()).collect();

    let earlier: Vec<Vec<u32>> = (parts.iter())
        .map(|part| part.earlier.iter().map(|(group, uses)| profiles.acquire_group(group, *uses)).collect())
        .collect();

    // One list of rows for each share, from all parts, in their order.
    let mut shares: Vec<Vec<(usize, Vec<Placed>)>> = std::iter::repeat_with(Vec::new).take(SHARES).collect();
    for (of, part) in parts.into_iter().enumerate() {
        for (share, rows) in shares.iter_mut().zip(part.shares) {
            share.push((of, rows));
        }
    }
    let shares = shares.into_iter().enumerate().collect();
    let shares = on_threads(threads, shares, |(share, rows)| build_share(share, rows, &numbers, &earlier, place));
    let (mut all, mut twice) = (Vec::with_capacity(leaves), Vec::new());
    for built in shares {
        match built {
            Ok(leaves) => all.extend(leaves),
            Err(Refused::Twice(more)) => twice.extend(more),
            Err(Refused::Crowded) => return Err(Refused::Crowded),
        }
    }
    if twice.is_empty() {
        Ok(Table::of_leaves(secret, all, table.count() + sources.len(), profiles))
    } else {
        twice.sort_unstable_by_key(|twice| twice.row);
        Err(Refused::Twice(twice))
    }
}

/// What a thread reads.
enum Work<'a, 's, S> {
    /// Rows, and the number of the first.
    Rows(&'s [S], usize),
    /// Leaves of the table as it was.
    Held(&'a [&'a Leaf]),
}

/// Does all the work on so many threads, and gives what came of each piece, in their order. Where the system gives no thread, those that there are do it.
fn on_threads<T: Send, R: Send>(threads: usize, work: Vec<T>, each: impl Fn(T) -> R + Sync) -> Vec<R> {
    let done = Mutex::new(work.iter().map(|_| None).collect::<Vec<Option<R>>>());
    let work = Mutex::new(work.into_iter().enumerate());
    let worker = || {
        // The lock is not held while the work is done.
        let next = || work.lock().next();
        while let Some((at, piece)) = next() {
            let result = each(piece);
            done.lock()[at] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            let _another = std::thread::Builder::new().spawn_scoped(scope, worker);
        }
        worker();
    });
    done.into_inner().into_iter().flatten().collect()
}

/// Where a hash has its place.
#[derive(Clone, Copy)]
struct Places {
    secret: Secret,
    leaves: usize,
}

impl Places {
    fn leaf(self, hash: u64) -> usize {
        Table::address(hash, self.leaves)
    }

    fn share(self, hash: u64) -> usize {
        self.leaf(hash) * SHARES / self.leaves
    }

    /// The first leaf of a share.
    fn first(self, share: usize) -> usize {
        (share * self.leaves).div_ceil(SHARES)
    }
}

fn shares_for(rows: usize) -> Vec<Vec<Placed>> {
    let each = rows / SHARES + rows / SHARES / 8 + 8;
    std::iter::repeat_with(|| Vec::with_capacity(each)).take(SHARES).collect()
}

fn read_rows<'s, S>(
    sources: &'s [S],
    first_row: usize,
    read: &(impl Fn(usize, &'s S) -> Option<Row<'s>> + Sync),
    place: Places,
) -> Part<'s> {
    let mut shares = shares_for(sources.len());
    let mut profiles: Vec<Names<'s>> = Vec::new();
    let mut numbers = HashMap::new();
    let mut earlier: Vec<(&'s GroupId, u64)> = Vec::new();
    let mut earlier_numbers: HashMap<&'s GroupId, u32> = HashMap::new();
    let mut last = None;
    for (source, row) in sources.iter().zip(first_row..) {
        let Some(read) = read(row, source) else { continue };
        let Row { group, version, hardware, .. } = read;
        let names = (group, version, hardware);
        // Neighbours are often alike.
        let profile = match last {
            Some((last, number)) if last == names => number,
            _ => *numbers.entry(names).or_insert_with(|| {
                profiles.push(Names { group, version, hardware, rows: 0 });
                profiles.len() - 1
            }),
        };
        last = Some((names, profile));
        profiles[profile].rows += 1;
        let sought = place.secret.seek(&read.serial);
        let rare = read.rare.cloned().map(Box::new);
        let groups = read.rare.map_or(&[][..], |rare| &rare.earlier_groups).iter().map(|(group, at)| {
            let number = *earlier_numbers.entry(group).or_insert_with(|| {
                earlier.push((group, 0));
                earlier.len() as u32 - 1
            });
            earlier[number as usize].1 += 1;
            (number, *at)
        });
        // Profile and groups are numbered later.
        let (meta, aside) = slot_of(read.state, read.entered_at, 0, rare, groups.collect());
        let text = sought.packed.is_none().then(|| sought.serial.into());
        let resident = Resident { slot: Slot { key: sought.packed.unwrap_or(0), meta }, text, aside };
        // Rows are fewer than 2^32: as many would not fit into memory.
        let row = Some((row as u32, profile as u32));
        shares[place.share(sought.hash)].push(Placed { hash: sought.hash, resident, row });
    }
    Part { shares, profiles, earlier }
}

/// Devices that the table has already.
fn read_held<'s>(held: &[&Leaf], place: Places) -> Part<'s> {
    let mut shares = shares_for(0);
    for resident in held.iter().flat_map(|leaf| leaf.residents()) {
        let hash = resident.hash(place.secret);
        shares[place.share(hash)].push(Placed { hash, resident, row: None });
    }
    Part { shares, profiles: Vec::new(), earlier: Vec::new() }
}

/// The leaves of one share.
fn build_share(
    share: usize,
    parts: Vec<(usize, Vec<Placed>)>,
    numbers: &[Vec<u32>],
    earlier: &[Vec<u32>],
    place: Places,
) -> Result<Vec<Leaf>, Refused> {
    let (first, end) = (place.first(share), place.first(share + 1));
    let mut leaves: Vec<Vec<(Resident, Option<u32>)>> = std::iter::repeat_with(Vec::new).take(end - first).collect();
    for (of, part) in parts {
        for Placed { hash, mut resident, row } in part {
            if let Some(profile) = row.and_then(|(_, profile)| numbers[of].get(profile as usize)) {
                resident.number(*profile);
                for (group, _) in resident.aside.iter_mut().flat_map(|aside| &mut aside.earlier) {
                    *group = earlier[of].get(*group as usize).copied().unwrap_or(u32::MAX);
                }
            }
            leaves[place.leaf(hash) - first].push((resident, row.map(|(row, _)| row)));
        }
    }
    let mut built = Vec::with_capacity(end - first);
    let mut twice = Vec::new();
    for residents in leaves {
        find_twice(&residents, &mut twice);
        if twice.is_empty() {
            let residents = residents.into_iter().map(|(resident, _)| resident);
            built.push(Leaf::of(residents, place.secret).map_err(|Crowded(_)| Refused::Crowded)?);
        }
    }
    if twice.is_empty() { Ok(built) } else { Err(Refused::Twice(twice)) }
}

/// Serials that stand twice: in the order of serials they are neighbours, what was there before in front.
fn find_twice(residents: &[(Resident, Option<u32>)], twice: &mut Vec<Twice>) {
    // Of a serial beside, the key says where it stands, or nothing yet.
    let name = |(resident, _): &(Resident, _)| (resident.text.is_none()).then_some(resident.slot.key);
    let text = |at: u32| residents[at as usize].0.text.as_deref();
    let mut order: Vec<(Option<u64>, u32)> = residents.iter().map(name).zip(0..).collect();
    order.sort_unstable_by(|(a, at), (b, other)| {
        (a, text(*at), residents[*at as usize].1).cmp(&(b, text(*other), residents[*other as usize].1))
    });
    for pair in order.windows(2).filter(|pair| pair[0].0 == pair[1].0 && text(pair[0].1) == text(pair[1].1)) {
        if let Some(row) = residents[pair[1].1 as usize].1 {
            twice.push(Twice { row: row as usize, before: residents[pair[0].1 as usize].1.map(|row| row as usize) });
        }
    }
}
