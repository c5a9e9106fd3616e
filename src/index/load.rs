//! Many devices at once, on all processors.
//!
//! ```text
//!   rows ──┬─▶ thread: read serials, hash, number profiles ─▶ shares by leaf ─┐   ┌─▶ thread: leaves 0..n
//!          └─▶ thread: ...                                                    ├──▶┼─▶ thread: leaves n..2n
//!                                                                             ┘   └─▶ ...
//! ```
//!
//! The rows of a share go to neighbouring leaves, so a thread builds its leaves from memory that it has near. A few rows for a large table are put one by one.

use super::hash::Secret;
use super::leaf::{Crowded, Leaf, Resident};
use super::profiles::{Profile, Profiles};
use super::slot::{PROFILE_APART, Slot};
use super::table::{Table, slot_of};
use crate::fleet::devices::Devices;
use crate::fleet::{CanonicalSerial, Device, DeviceState, GroupId, Rare};
use crate::time::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// A share of the leaves is one thread's at a time.
const SHARES: usize = 64;

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

/// A row on its way into its leaf.
struct Placed {
    hash: u64,
    resident: Resident,
    /// The number of the profile among those of its thread.
    profile: u32,
    row: u32,
}

/// What one thread read.
struct Part<'s> {
    shares: Vec<Vec<Placed>>,
    /// In the order of their numbers: group, version, hardware.
    profiles: Vec<(&'s str, Option<&'s str>, Option<&'s str>)>,
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
    let part = sources.len().div_ceil(threads).max(1);
    let parts: Vec<Part<'s>> = std::thread::scope(|scope| {
        let workers: Vec<_> = sources
            .chunks(part)
            .enumerate()
            .map(|(at, sources)| scope.spawn(move || read_part(sources, at * part, read, secret, leaves)))
            .collect();
        workers.into_iter().map(join).collect()
    });

    // Numbers of the threads into numbers of the table.
    let mut profiles = (**table.profiles()).clone();
    let numbers: Vec<Vec<(u16, Option<Profile>)>> =
        parts.iter().map(|part| part.profiles.iter().map(|names| number(&mut profiles, *names)).collect()).collect();

    // One list of rows for each share, from all parts, in their order.
    let mut shares: Vec<Vec<(usize, Vec<Placed>)>> = std::iter::repeat_with(Vec::new).take(SHARES).collect();
    for (of, part) in parts.into_iter().enumerate() {
        for (share, rows) in shares.iter_mut().zip(part.shares) {
            share.push((of, rows));
        }
    }
    let work = parking_lot::Mutex::new(shares.into_iter().enumerate());
    let built: Vec<Vec<(usize, Result<Vec<Leaf>, Refused>)>> = std::thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            while let Some((share, rows)) = { work.lock().next() } {
                done.push((share, build_share(table, share, rows, &numbers, secret, leaves)));
            }
            done
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(join).collect()
    });

    let mut shares: Vec<_> = built.into_iter().flatten().collect();
    shares.sort_unstable_by_key(|(share, _)| *share);
    let (mut all, mut twice) = (Vec::with_capacity(leaves), Vec::new());
    for (_, built) in shares {
        match built {
            Ok(leaves) => all.extend(leaves),
            Err(Refused::Twice(more)) => twice.extend(more),
            Err(Refused::Crowded) => return Err(Refused::Crowded),
        }
    }
    if twice.is_empty() {
        Ok(Table::of_leaves(secret, all, table.count() + sources.len(), Arc::new(profiles)))
    } else {
        twice.sort_unstable_by_key(|twice| twice.row);
        Err(Refused::Twice(twice))
    }
}

/// A thread that panicked brings the one that waits for it down too.
fn join<R>(worker: std::thread::ScopedJoinHandle<'_, R>) -> R {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read_part<'s, S>(
    sources: &'s [S],
    first_row: usize,
    read: &(impl Fn(usize, &'s S) -> Option<Row<'s>> + Sync),
    secret: Secret,
    leaves: usize,
) -> Part<'s> {
    let each = sources.len() / SHARES + sources.len() / SHARES / 8 + 8;
    let mut shares: Vec<Vec<Placed>> = std::iter::repeat_with(|| Vec::with_capacity(each)).take(SHARES).collect();
    let mut profiles = Vec::new();
    let mut numbers = HashMap::new();
    let mut last = None;
    for (source, row) in sources.iter().zip(first_row..) {
        let Some(read) = read(row, source) else { continue };
        let names = (read.group, read.version, read.hardware);
        // Neighbours are often alike.
        let profile = match last {
            Some((last, number)) if last == names => number,
            _ => *numbers.entry(names).or_insert_with(|| {
                profiles.push(names);
                profiles.len() as u32 - 1
            }),
        };
        last = Some((names, profile));
        let sought = secret.seek(read.serial.as_bytes());
        let rare = read.rare.cloned().map(Box::new);
        let (meta, apart) = slot_of(read.state, read.entered_at, 0, None, rare);
        let text = sought.packed.is_none().then(|| sought.serial.into());
        let resident = Resident { slot: Slot { key: sought.packed.unwrap_or(0), meta }, text, apart };
        let share = Table::address(sought.hash, leaves) * SHARES / leaves;
        // Rows are fewer than 2^32: as many would not fit into memory.
        shares[share].push(Placed { hash: sought.hash, resident, profile, row: row as u32 });
    }
    Part { shares, profiles }
}

fn number(
    profiles: &mut Profiles,
    (group, version, hardware): (&str, Option<&str>, Option<&str>),
) -> (u16, Option<Profile>) {
    let group =
        profiles.group_number(group).or_else(|| GroupId::new(group).ok().map(|group| profiles.add_group(&group)));
    let profile = Profile {
        group: group.unwrap_or(u32::MAX),
        version: version.map(Into::into),
        hardware: hardware.map(Into::into),
    };
    let number = profiles.add(profile.clone());
    (number, (number == PROFILE_APART).then_some(profile))
}

/// The leaves of one share.
fn build_share(
    table: &Table,
    share: usize,
    parts: Vec<(usize, Vec<Placed>)>,
    numbers: &[Vec<(u16, Option<Profile>)>],
    secret: Secret,
    leaves: usize,
) -> Result<Vec<Leaf>, Refused> {
    let leaf_of = |hash: u64| Table::address(hash, leaves);
    let first = (share * leaves).div_ceil(SHARES);
    let end = ((share + 1) * leaves).div_ceil(SHARES);
    let mut residents: Vec<Vec<Resident>> = std::iter::repeat_with(Vec::new).take(end - first).collect();
    let mut rows: Vec<Vec<Option<u32>>> = std::iter::repeat_with(Vec::new).take(end - first).collect();
    let mut put = |hash: u64, resident: Resident, row: Option<u32>| {
        let at = leaf_of(hash) - first;
        residents[at].push(resident);
        rows[at].push(row);
    };
    if table.count() > 0 {
        for leaf in table.leaves() {
            for resident in leaf.residents() {
                let hash = resident.hash(secret);
                if (first..end).contains(&leaf_of(hash)) {
                    put(hash, resident, None);
                }
            }
        }
    }
    for (of, part) in parts {
        for Placed { hash, mut resident, profile, row } in part {
            let (number, apart) = &numbers[of][profile as usize];
            resident.number(*number, apart.as_ref());
            put(hash, resident, Some(row));
        }
    }
    let mut built = Vec::with_capacity(end - first);
    let mut twice = Vec::new();
    for (residents, rows) in residents.into_iter().zip(rows) {
        find_twice(&residents, &rows, &mut twice);
        if twice.is_empty() {
            built.push(Leaf::of(residents, secret).map_err(|Crowded(_)| Refused::Crowded)?);
        }
    }
    if twice.is_empty() { Ok(built) } else { Err(Refused::Twice(twice)) }
}

/// Serials that stand twice: in the order of serials they are neighbours.
fn find_twice(residents: &[Resident], rows: &[Option<u32>], twice: &mut Vec<Twice>) {
    let mut order: Vec<usize> = (0..residents.len()).collect();
    let name = |at: usize| (residents[at].slot.key, residents[at].text.as_deref());
    order.sort_unstable_by(|a, b| name(*a).cmp(&name(*b)).then(rows[*a].cmp(&rows[*b])));
    for pair in order.windows(2).filter(|pair| name(pair[0]) == name(pair[1])) {
        if let Some(row) = rows[pair[1]] {
            twice.push(Twice { row: row as usize, before: rows[pair[0]].map(|row| row as usize) });
        }
    }
}
