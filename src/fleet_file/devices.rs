//! The devices of a product, from CSV: one row each, a million in seconds.
//!
//! ```text
//!   bytes ─▶ rows, one record reused ─▶ cells checked where they lie ─▶ Device ─▶ ProductEntry
//!                                         │ a row with a fault is left out, its cells noted
//!                                         └ any fault? a second pass names serials that stand twice, with both lines
//! ```
//!
//! A good row costs the allocations of its device and no others: serials are folded on the stack, and group names are looked up once. What only
//! mistakes need is made only for them: lines and columns, and who was where first. Measured with `--release` on two shared cores: a million rows
//! of six columns in random order, with a census, in 1.7 s.

use super::cells::{Faults, cell_end, cell_start};
use super::digest::read_bytes;
use super::problem::{FileProblems, Positions, shown};
use super::table::{nearest, read_word};
use crate::fleet::check_text;
use crate::{Device, DeviceState, GroupId, NAME_BYTES_MAX, Product, ProductEntry, Timestamp, VERSION_BYTES_MAX};
use csv::{ByteRecord, ReaderBuilder};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// The longest file of devices, in bytes.
pub const DEVICES_BYTES_MAX: u64 = 4 << 30;

/// The most columns that are looked at one by one.
const CELLS_MAX: usize = 64;

/// When a device entered its group, where nobody says: before every rollout.
const UNSAID: Timestamp = Timestamp::from_millis(0);

/// The columns, in the order of [`Column`].
const COLUMNS: [&str; 8] = ["serial", "state", "group", "entered_at", "pin", "cap", "version", "hardware"];

#[derive(Clone, Copy, PartialEq)]
enum Column {
    Serial,
    State,
    Group,
    EnteredAt,
    Pin,
    Cap,
    Version,
    Hardware,
}

/// What came of reading one file: problems, and lint warnings, both with their places in it.
#[derive(Default)]
pub(super) struct DeviceFindings {
    pub(super) problems: FileProblems,
    pub(super) lints: FileProblems,
}

/// Reads the devices into `entry`. What `previous` knows of a device and its row does not say is kept; who is new to a group there entered
/// it `now`.
pub(super) fn read_devices(
    path: &Path,
    entry: &mut ProductEntry,
    previous: Option<&ProductEntry>,
    now: Timestamp,
) -> io::Result<DeviceFindings> {
    let bytes = read_bytes(path, DEVICES_BYTES_MAX)?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let mut findings = DeviceFindings::default();
    let mut faults = Faults { path, bytes, at: Positions::of(bytes), problems: &mut findings.problems };
    let mut rows = reader(bytes);
    let mut record = ByteRecord::new();
    let Some(columns) = read_header(&mut rows, &mut record, &mut faults)? else { return Ok(findings) };

    let product = entry.product().clone();
    let mut groups = Groups::default();
    let mut sound = true;
    let mut faulty_cells = Vec::new();
    let mut devices = Vec::new();
    while rows.read_byte_record(&mut record)? {
        let start = offset(&record);
        if record.len() != columns.count {
            let remedy =
                if record.len() < columns.count { "leave cells empty, not out" } else { "quote a cell with a comma" };
            let message = format!("the row has {} cells, and the header {}: {remedy}", record.len(), columns.count);
            faults.add(start, record.len().min(columns.count).saturating_sub(1), message);
            sound = false;
            continue;
        }
        let row = Row { record: &record, columns: &columns };
        if let Some(device) = read_row(&row, &product, entry, &mut groups, &mut faulty_cells) {
            if device.pin().is_some()
                && let Err(message) = entry.check_pin(&device)
            {
                faulty_cells.push((Column::Pin, message));
            }
            devices.push(device);
        }
        // In the order of the file: who asks for positions that only grow is told them in one pass.
        faulty_cells.sort_by_key(|(column, _)| columns.of(*column));
        for (column, message) in faulty_cells.drain(..) {
            faults.add(start, columns.of(column).unwrap_or(0), message);
            sound = false;
        }
    }
    sort_by_serial(&mut devices);
    if devices.windows(2).any(|pair| pair[0].serial() == pair[1].serial()) {
        sound = false;
    }
    if !sound {
        name_twins(&columns, &product, &mut faults)?;
    }
    groups.lint(path, bytes, &columns, &mut findings.lints);
    if sound {
        if let Some(previous) = previous {
            keep_what_is_known(&mut devices, previous, now);
        }
        entry.fill_devices(devices);
    }
    Ok(findings)
}

/// In the order of the map that takes them. The first sort compares bytes that lie together; the second follows pointers, and finds a list that
/// is in order but for serials with the same beginning. A million rows in random order load in 1.7 s this way, and in 3.2 s one look-up at a time.
fn sort_by_serial(devices: &mut [Device]) {
    devices.sort_by_cached_key(|device| {
        let mut beginning = [0; 16];
        beginning.iter_mut().zip(device.serial().bytes()).for_each(|(to, from)| *to = from);
        beginning
    });
    devices.sort_by(|a, b| a.serial().cmp(b.serial()));
}

/// What was known of a device and its row does not say: when it entered its group (R4), its version, its hardware. Both lists are in the order of
/// serials, so one walk over both finds every pair.
fn keep_what_is_known(devices: &mut [Device], previous: &ProductEntry, now: Timestamp) {
    let mut known = previous.devices().peekable();
    for device in devices {
        while known.next_if(|known| known.serial() < device.serial()).is_some() {}
        let is_unsaid = device.entered_at == UNSAID;
        let Some(known) = known.next_if(|known| known.serial() == device.serial()) else {
            if is_unsaid {
                device.entered_at = now;
            }
            continue;
        };
        let mut moved = known.clone();
        moved.enter(device.group.clone(), now);
        if is_unsaid {
            device.entered_at = moved.entered_at();
        }
        if device.version.is_none() {
            device.version = moved.version;
        }
        if let Some(known) = moved.rare {
            device.change_rare(|rare| {
                rare.hardware = rare.hardware.take().or(known.hardware);
                rare.earlier_groups = known.earlier_groups;
            });
        }
    }
}

fn reader(bytes: &[u8]) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes)
}

fn offset(record: &ByteRecord) -> usize {
    record.position().and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(0)
}

/// Where each column stands in a row.
struct Columns {
    index: [Option<usize>; COLUMNS.len()],
    count: usize,
}

impl Columns {
    fn of(&self, column: Column) -> Option<usize> {
        self.index.get(column as usize).copied().flatten()
    }
}

fn read_header(
    rows: &mut csv::Reader<&[u8]>,
    record: &mut ByteRecord,
    faults: &mut Faults<'_>,
) -> io::Result<Option<Columns>> {
    if !rows.read_byte_record(record)? {
        faults.add(0, 0, "is empty: its first line names the columns, `serial` at least".to_owned());
        return Ok(None);
    }
    if record.len() > CELLS_MAX {
        faults.add(0, 0, format!("has {} columns: there are `{}`", record.len(), COLUMNS.join("`, `")));
        return Ok(None);
    }
    let mut columns = Columns { index: [None; COLUMNS.len()], count: record.len() };
    for (at, name) in record.iter().enumerate() {
        let name = String::from_utf8_lossy(name);
        let Some(index) = COLUMNS.iter().position(|known| *known == name) else {
            let near = nearest(&name, &COLUMNS).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            let known = COLUMNS.join("`, `");
            faults.add(0, at, format!("unknown column `{}`: {near}there are `{known}`", shown(&name)));
            continue;
        };
        match &mut columns.index[index] {
            Some(_) => faults.add(0, at, format!("column `{name}` stands twice")),
            free => *free = Some(at),
        }
    }
    if columns.of(Column::Serial).is_none() {
        faults.add(0, 0, "has no column `serial`: the first line names the columns".to_owned());
        return Ok(None);
    }
    Ok(Some(columns))
}

/// The cells of one device.
struct Row<'r> {
    record: &'r ByteRecord,
    columns: &'r Columns,
}

impl Row<'_> {
    /// The cell, unless it is empty or there is no such column.
    fn cell(&self, column: Column) -> Option<&[u8]> {
        self.record.get(self.columns.of(column)?).filter(|cell| !cell.is_empty())
    }

    /// The cell as text.
    fn text<'a>(&'a self, column: Column, faults: &mut Vec<(Column, String)>) -> Option<&'a str> {
        let cell = self.cell(column)?;
        let text = std::str::from_utf8(cell);
        if text.is_err() {
            faults.push((column, format!("`{}` is no UTF-8", shown(&String::from_utf8_lossy(cell)))));
        }
        text.ok()
    }
}

/// A device, or what is wrong with its cells. `None` is for a row without a serial or group; every fault is noted all the same.
fn read_row(
    row: &Row<'_>,
    product: &Product,
    entry: &ProductEntry,
    groups: &mut Groups,
    faults: &mut Vec<(Column, String)>,
) -> Option<Device> {
    let written = row.cell(Column::Serial).unwrap_or_default();
    let serial = product.read_serial(written);
    let serial = serial.map_err(|fault| {
        faults.push((Column::Serial, format!("serial `{}` {fault}", shown(&String::from_utf8_lossy(written)))));
    });
    let state = match row.cell(Column::State) {
        None => DeviceState::Verified,
        Some(cell) => read_state(cell).unwrap_or_else(|message| {
            faults.push((Column::State, message));
            DeviceState::Verified
        }),
    };
    let group = match row.cell(Column::Group) {
        None => groups.find(product.default_group().as_str().as_bytes(), row, entry),
        Some(cell) => groups.find(cell, row, entry),
    };
    let group = group.map_err(|message| faults.push((Column::Group, message)));
    let entered_at = row.text(Column::EnteredAt, faults).and_then(|text| {
        let moment = Timestamp::parse(text);
        if moment.is_none() {
            let message =
                format!("`{}` is no moment: write one like 2026-11-01T08:00:00Z, always with its offset", shown(text));
            faults.push((Column::EnteredAt, message));
        }
        moment
    });
    let rules = product.versions();
    let mut noted = |column, fault: Result<crate::Version, crate::VersionFault>| {
        fault.map_err(|fault| faults.push((column, format!("{}: {fault}", COLUMNS[column as usize])))).ok()
    };
    let pin = utf8(row.cell(Column::Pin)).and_then(|text| noted(Column::Pin, rules.version(&text)));
    let cap = utf8(row.cell(Column::Cap)).and_then(|text| noted(Column::Cap, rules.limit(&text)));
    if let (Some(pin), Some(cap)) = (&pin, &cap)
        && rules.above(pin.reading(), cap)
    {
        faults.push((Column::Pin, format!("pin `{pin}` is above the device's cap `{cap}`")));
    }
    let mut name = |column, bytes_max| -> Option<Box<str>> {
        let text = row.text(column, faults)?;
        if let Err(fault) = check_text(text, bytes_max) {
            faults.push((column, format!("{} `{}` {fault}", COLUMNS[column as usize], shown(text))));
        }
        Some(text.into())
    };
    let (version, hardware) = (name(Column::Version, VERSION_BYTES_MAX), name(Column::Hardware, NAME_BYTES_MAX));

    let (serial, group) = (serial.ok()?, group.ok()?);
    let mut device = Device::registered(product, &serial, entered_at.unwrap_or(UNSAID));
    device.state = state;
    device.group = group;
    device.version = version;
    if pin.is_some() || cap.is_some() || hardware.is_some() {
        device.change_rare(|rare| {
            rare.pin = pin;
            rare.cap = cap;
            rare.hardware = hardware;
        });
    }
    Some(device)
}

/// Text for a version, whose rules refuse what is no UTF-8 as they refuse everything else that does not parse.
fn utf8(cell: Option<&[u8]>) -> Option<std::borrow::Cow<'_, str>> {
    cell.map(String::from_utf8_lossy)
}

fn read_state(cell: &[u8]) -> Result<DeviceState, String> {
    match cell {
        b"verified" => Ok(DeviceState::Verified),
        b"new" => Ok(DeviceState::New),
        other => read_word(&String::from_utf8_lossy(other)).map_err(|message| format!("state {message}")),
    }
}

/// The names of groups, each looked up once and shared by all its devices.
#[derive(Default)]
struct Groups {
    known: Vec<Known>,
    index: HashMap<Box<[u8]>, usize>,
    /// The one that was asked for last: rows of a group often stand together.
    last: usize,
}

struct Known {
    id: GroupId,
    exists: bool,
    rows: u64,
    /// Where the first row that names it starts.
    first: usize,
}

impl Groups {
    fn find(&mut self, name: &[u8], row: &Row<'_>, entry: &ProductEntry) -> Result<GroupId, String> {
        let is_last = self.known.get(self.last).is_some_and(|known| known.id.as_str().as_bytes() == name);
        if !is_last {
            self.last = match self.index.get(name) {
                Some(index) => *index,
                None => self.look_up(name, row, entry)?,
            };
        }
        match self.known.get_mut(self.last) {
            Some(known) => {
                known.rows += 1;
                Ok(known.id.clone())
            }
            None => Err("group is unknown".to_owned()),
        }
    }

    fn look_up(&mut self, name: &[u8], row: &Row<'_>, entry: &ProductEntry) -> Result<usize, String> {
        let shown_name = || shown(&String::from_utf8_lossy(name));
        let text = std::str::from_utf8(name).map_err(|_| format!("group `{}` is no UTF-8", shown_name()))?;
        let group = entry.group(text).map(|group| group.id().clone());
        let exists = group.is_some();
        let id = match group {
            Some(id) => id,
            None => GroupId::new(text).map_err(|fault| format!("group `{}` {fault}", shown_name()))?,
        };
        self.known.push(Known { id, exists, rows: 0, first: offset(row.record) });
        self.index.insert(name.into(), self.known.len() - 1);
        Ok(self.known.len() - 1)
    }

    /// Legal, and answered 404 `group-missing`, but surely not meant.
    fn lint(&self, path: &Path, bytes: &[u8], columns: &Columns, lints: &mut FileProblems) {
        let mut at = Positions::of(bytes);
        for known in self.known.iter().filter(|known| !known.exists) {
            if lints.is_full() {
                lints.count();
                continue;
            }
            let rows = if known.rows == 1 { "row names" } else { "rows name" };
            let start = cell_start(bytes, known.first, columns.of(Column::Group).unwrap_or(0)).0;
            lints.add_at(
                path,
                &mut at,
                start,
                format!(
                    "{} device {rows} group `{}`, which does not exist: they are answered 404",
                    known.rows, known.id
                ),
            );
        }
    }
}

/// S2: every serial that folds to one before it, both named, with both lines. Made only where the file is refused anyway.
fn name_twins(columns: &Columns, product: &Product, faults: &mut Faults<'_>) -> io::Result<()> {
    let mut rows = reader(faults.bytes);
    let mut record = ByteRecord::new();
    let mut firsts: HashMap<Box<str>, (usize, u32)> = HashMap::new();
    let mut at = Positions::of(faults.bytes);
    let index = columns.of(Column::Serial).unwrap_or(0);
    rows.read_byte_record(&mut record)?;
    while rows.read_byte_record(&mut record)? {
        let written = record.get(index).unwrap_or_default();
        let Ok(serial) = product.read_serial(written) else { continue };
        let start = offset(&record);
        let Some((first, line)) = firsts.get(serial.as_str()) else {
            let line = at.at(cell_start(faults.bytes, start, 0).0).0;
            firsts.insert(serial.as_str().into(), (start, line));
            continue;
        };
        if faults.problems.is_full() {
            faults.problems.count();
            continue;
        }
        let cell = cell_start(faults.bytes, *first, index).0;
        let first_written = faults.bytes.get(cell..cell_end(faults.bytes, cell).0).unwrap_or_default();
        let message = format!(
            "serial `{}` stands twice: it folds to `{serial}` like `{}` in line {line} (S2)",
            shown(&String::from_utf8_lossy(written)),
            shown(String::from_utf8_lossy(first_written).trim_matches('"')),
        );
        faults.add(start, index, message);
    }
    Ok(())
}
