//! A fleet from files: products, groups, firmware and assignments in TOML, devices in CSV beside it, firmware in a folder.
//!
//! ```text
//!   fleet.toml ──▶ tables, each value with its place ──▶ specifications ──▶ their own checks ──▶ Fleet ──▶ lint
//!     ├─ thermostat.csv   devices, a million rows in seconds             │       every problem led back to
//!     ├─ stable.json      configs                                        └─────▶ file, line and column
//!     └─ firmware/        artifacts and resources, digested in one pass
//! ```
//!
//! [`load`] reads it all, whole or not at all; [`load_over`] does so after an edit and keeps what a rollout has frozen. What is wrong is reported at
//! once, each with file, line and column; a mistake is reported where it was made, and not again for all that follows from it. What is legal but surely
//! not meant comes apart from that, in [`Loaded::lints`].
//!
//! What a file leaves out: what happens while a fleet runs, such as a gate that opened a wave, or a rollout that halted itself. [`load_over`] keeps it; over a
//! restart a host keeps it itself.
//!
//! # Example
//!
//! `fleet.toml`:
//!
//! ```toml
#![doc = include_str!("example/fleet.toml")]
//! ```
//!
//! `thermostat.csv`:
//!
//! ```csv
#![doc = include_str!("example/thermostat.csv")]
//! ```
//!
//! ```
//! use otagate::{Timestamp, fleet_file};
//! use std::path::Path;
//!
//! let now = Timestamp::parse("2026-11-02T06:00:00Z").unwrap();
//! let loaded = fleet_file::load(Path::new("src/fleet_file/example/fleet.toml"), now)?;
//!
//! let thermostat = loaded.fleet.product("thermostat").unwrap();
//! assert_eq!(thermostat.devices().len(), 6);
//! assert_eq!(loaded.files.len(), 4);
//! // The first wave was opened by a census: the device that is always first, and one of the other two that can be given 2.2.0.
//! assert_eq!((loaded.counted[0].census.counted, loaded.counted[0].census.eligible), (2, 3));
//! assert!(loaded.lints.is_empty());
//! # Ok::<(), fleet_file::LoadError>(())
//! ```
//!
//! # The format
//!
//! Times are TOML date-times with an offset (`2026-11-01T08:00:00Z`); one without is refused. Shares are texts of at most two decimals (`"12.5 %"`).
//! Unknown keys are refused. Columns in messages count characters from 1.
//!
//! Paths: `firmware_dir` may lead anywhere and is relative to the fleet file. Every other path is relative to its folder and cannot leave it: no
//! absolute path, no `..`.
//!
//! | the file | type | default | means |
//! |---|---|---|---|
//! | `revision` | number | counted on | which state this is (L2); stated, it must be above the one held, unless nothing changed |
//! | `firmware_dir` | path | `"firmware"` | the folder of artifacts and resources |
//! | `[[product]]` | tables | at least one | below |
//!
//! | `[[product]]` | type | default | means |
//! |---|---|---|---|
//! | `id` | text | needed | its name; part of every rank (R2) |
//! | `serials` | `"opaque"`, `"opaque-nocase"`, `"mac"`, `"hex"`, `"decimal"` | `"opaque"` | how serials are spelled (S1) |
//! | `placeholders` | texts | none | serials that are none (question 2) |
//! | `versions` | table | all defaults | how versions are compared, below |
//! | `already_there` | `"either"`, `"version"`, `"digest"` | `"either"` | how it is known that a device has a firmware (W6) |
//! | `register_on_first_contact` | flag | `false` | unknown devices become `new` ones (question 3) |
//! | `new_devices_max` | number | 1000 | how many of them |
//! | `default_group` | text | `"default"` | the group of devices that nobody placed |
//! | `retry_spread_secs` | number | 600 | over how long `retry_after` is spread (R12) |
//! | `poll_interval_secs` | number | unknown | how often its devices ask (R12) |
//! | `devices` | path | no devices | the CSV file of its devices, beside the fleet file |
//! | `[[product.key]]` | tables | none | API keys |
//! | `[[product.firmware]]` | tables | none | firmware |
//! | `[[product.group]]` | tables | none | groups |
//!
//! | `versions` | type | default | means |
//! |---|---|---|---|
//! | `scheme` | `"exact"`, `"semver"`, `"dotted"` | `"exact"` | the scheme (W1) |
//! | `prefixes` | texts | none | what is stripped before comparing (W1) |
//! | `build_metadata` | `"ignored"`, `"counts-for-equality"` | `"ignored"` | semver build metadata (W2) |
//! | `empty` | `"lowest"`, `"hold"` | `"lowest"` | a device without a version (W4) |
//! | `unreadable` | `"held"`, `"lowest"` | `"held"` | a device whose version does not parse (W5) |
//!
//! | `[[product.key]]` | type | default | means |
//! |---|---|---|---|
//! | `key_blake3` | 64 hex digits | one of the two | the BLAKE3 of the secret: `printf %s SECRET \| b3sum` |
//! | `key` | text | one of the two | the secret itself, hashed at once and held nowhere |
//! | `not_before`, `not_after` | time | none | when it is valid, the end excluded (question 1) |
//! | `revoked` | flag | `false` | revoked for good |
//!
//! | `[[product.firmware]]` | type | default | means |
//! |---|---|---|---|
//! | `version` | text | needed | its version |
//! | `from` | text | none | the lowest version that can be taken to it (question 10) |
//! | `stone` | flag | `false` | devices may be taken through it (question 10) |
//! | `denied` | flag | `false` | it is served to nobody (R10) |
//! | `[[product.firmware.artifact]]` | tables | at least one | its files |
//!
//! | `[[product.firmware.artifact]]` | type | default | means |
//! |---|---|---|---|
//! | `file` | path | this or the next three | a file in the firmware folder; its size and digests are computed, its path is its locator |
//! | `locator` | text | | where the host finds it otherwise |
//! | `size_bytes` | number | | its size |
//! | `blake3`, `sha256`, `md5` | hex | | its digests; `blake3` is needed, the others make legacy devices happy (W6) |
//! | `hardware` | texts | fits all | the hardware it fits, byte for byte (question 7) |
//! | `delta_from` | text | a full image | the version a delta applies to (question 12) |
//! | `base_file` | path | none | the image a delta applies to, in the firmware folder, for its digests |
//! | `base` | table of `blake3`, `sha256`, `md5` | none | or those digests |
//!
//! | `[[product.group]]` | type | default | means |
//! |---|---|---|---|
//! | `id` | text | needed | its name |
//! | `firmware` | text | none | its baseline (question 6) |
//! | `policy` | `"any-difference"`, `"forward-only"` | `"any-difference"` | whether an older firmware is served (W3) |
//! | `cap` | text | none | the highest version its devices are given (question 6) |
//! | `downloads_max` | number | none | how many of its devices may download at once; needs a ledger (question 11) |
//! | `window` | texts | always | when they are served, in UTC: `"Mon-Fri 22:00-04:00"` (R12) |
//! | `config` | path | none | a JSON file beside the fleet file |
//! | `resources` | tables | nothing | each a `name`, and a `file` or what stands for one, as in an artifact |
//! | `aborted` | table of `target`, `fate` | none | the last abort; `fate` is `"leave"` or `"downgrade"` (R10) |
//! | `[product.group.rollout]` | table | none | its rollout |
//!
//! | `[product.group.rollout]` | type | default | means |
//! |---|---|---|---|
//! | `id` | text | needed | its name, and the salt of its ranks (R2) |
//! | `target` | text | one of the three | the firmware it moves the group to |
//! | `target_config` | path | | or the config, a JSON file |
//! | `target_resources` | tables | | or the resources |
//! | `state` | `"draft"`, `"running"`, `"paused"`, `"cut"`, `"completed"`, `"aborted"` | `"draft"` | where it stands (R7); `cut` is paused with live claims cut |
//! | `why` | text | none | why it is paused |
//! | `resume` | flag | `false` | with `state = "running"`: it runs again where it is held as paused, which it would stay otherwise; for one load |
//! | `salt` | text | the id | another salt (R2) |
//! | `started_at` | time | needed but for a draft | when it started (R4); frozen once a wave is open |
//! | `late` | `"open"`, `"tail"` | `"open"` | late joiners (R4) |
//! | `admission` | `"rank"`, `"first-come"` | `"rank"` | who gets into an open wave: by rank, or who claims first, which needs a ledger (R5) |
//! | `success` | `"downloaded"`, `"installed"`, `"confirmed"` | `"installed"` | which outcome is success (R9) |
//! | `halt` | table of `failures`, `failure_share`, `min_finished` | never | when it halts itself: at so many failures, or beyond that share of at least so many finished (R8) |
//! | `missing` | table of `offers`, `secs` | 3, 3600 | when a device is missing: offered so often, since so long, and still elsewhere (R9) |
//! | `penalty` | table of `secs`, `secs_max` | 3600, 86400 | how long a device waits that failed, twice as long each time (question 11) |
//! | `complete` | table of the four keys of a gate, below | by hand | when it completes itself, once its last wave is open |
//! | `first`, `excluded` | texts | none | serials that are always first, and that never take part (R6) |
//! | `waves` | tables | at least one | its waves, in order |
//!
//! | `waves` | type | default | means |
//! |---|---|---|---|
//! | `size` | number, share or `"all"` | needed | how many devices are in, all waves before counted in (R1) |
//! | `open` | flag | `false` | it is open; its threshold is what was frozen before, `threshold`, or a census at this load (R3) |
//! | `threshold` | number or text | none | the threshold that was frozen, to keep it over a restart: [`CountedWave`] says the line |
//! | `opened_at` | time | this load | when it was opened |
//! | `opens_at` | time | none | its gate (R8): not before this time |
//! | `min_finished` | number | none | once so many devices of the wave before have finished |
//! | `success_share` | share | none | and that share of them well |
//! | `soak_secs` | number | none | and have been so for so long |
//!
//! Devices are rows of CSV. The first line names the columns, in any order:
//!
//! | column | default | means |
//! |---|---|---|
//! | `serial` | needed | its serial, in any spelling of the product's scheme |
//! | `state` | `verified` | `new`, `verified`, `blocked`, `disabled` or `quota` (question 4) |
//! | `group` | the default group | its group; one that does not exist is legal and linted |
//! | `entered_at` | before every rollout | when it entered its group, RFC 3339 with an offset (R4) |
//! | `pin` | none | the firmware it is pinned to |
//! | `cap` | none | the highest version it is given |
//! | `version`, `hardware` | unknown | what it said last, for the census (R3); an empty cell is unknown, and no empty version |
//!
//! # A rollout, edit by edit
//!
//! Write it as a draft; set `state` and `started_at` to start it; set `open = true` wave by wave, or let a
//! [`Conductor`](crate::rollout::Conductor) open them by their gates. To complete it, give the group the target as its
//! `firmware` and take the rollout out; to abort it, take it out and say `aborted = { target = ..., fate = ... }`. [`load_over`] refuses what would
//! pull the rollout from under devices that act on it: another target under the same id (R7), or a rollout that is gone without either.
//!
//! A pause is kept too, since a gate or the host may have made it while the file said `running`: [`load_over`] leaves such a rollout paused and
//! says so in [`Loaded::lints`]. Add `resume = true` to set it running, and take that out again: it would end the next pause as well.
//!
//! An open wave is frozen at its first load, and [`load_over`] keeps it; `open = false`, another `threshold` or another `opened_at` for it are refused. A process that starts again has only the file: write the line of
//! [`Loaded::counted`] into it, or save the fleet elsewhere and load over it.
//!
//! `entered_at`, where a row leaves it empty: on [`load`], and on a reload where the product was not held before, before every rollout; on a reload, the
//! time that is held for the group, and for a device that is new to it the time of the reload.

mod cells;
mod devices;
mod digest;
mod firmware;
mod folder;
mod found;
mod group;
mod opening;
#[cfg(feature = "simulate")]
mod plan;
mod problem;
mod product;
mod reload;
mod table;
mod whole;

pub use devices::DEVICES_BYTES_MAX;
pub use digest::digest_file;
pub use folder::FirmwareFile;
pub use opening::CountedWave;
#[cfg(feature = "simulate")]
pub use plan::{load_plan, load_world};
pub use problem::{FileProblem, FileProblems, LoadError, PROBLEMS_MAX};

use crate::{Fleet, Problem, Timestamp};
use folder::Folder;
use found::Found;
use problem::Positions;
use product::{note_twins, read_product};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use table::Section;
use toml::de::DeTable;
use whole::Whole;

/// The longest fleet file, in bytes. Devices are beside it, and not counted.
pub const FLEET_FILE_BYTES_MAX: u64 = 64 << 20;

/// The folder of firmware, where the file names none.
const FIRMWARE_DIR: &str = "firmware";

/// A fleet as its files say it, and what there is to know about the load.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The fleet, checked.
    pub fleet: Fleet,
    /// What is legal but surely not meant (L4), in the order of file, line and column; what exceeds [`PROBLEMS_MAX`] is counted.
    pub lints: FileProblems,
    /// The folder that the locators of [`files`](Self::files) are relative to.
    pub firmware_dir: PathBuf,
    /// Every file that an artifact or a resource names, by locator. A locator that is not here was given by the operator as it stands.
    pub files: Vec<FirmwareFile>,
    /// The waves that this load opened by a census, with what to write into the file to keep that over a restart.
    pub counted: Vec<CountedWave>,
}

/// Loads a fleet from its file, whole or not at all (L1). `now` is when the waves are opened that the file opens, and what lint judges keys by.
///
/// Reads every file it names; costs one pass over the firmware and a few microseconds per device.
///
/// # Errors
/// The file cannot be read; or everything that is wrong in it and in the files it names, at once.
pub fn load(path: &Path, now: Timestamp) -> Result<Loaded, LoadError> {
    read(path, None, now)
}

/// Loads a fleet from its file over the one that is held, as after an edit.
///
/// What R3 and R7 freeze is taken from `previous`: for a rollout of the same product, group and id, the thresholds of its open waves, its start and its
/// progress; and its pause, unless the file says `resume = true`. Devices that are `new` in `previous` and not in the files stay, whoever brought
/// them: on first contact, or in a row that is gone now. To be rid of them, name them in the CSV as `blocked`, or start again with [`load`]. Where a
/// row does not say when a device entered its group, which version it reported or what hardware it has, what `previous` knows of that stays too.
///
/// # Errors
/// As [`load`]; and a change of what is frozen (R7), a rollout that is under way and gone from the file without its fate (R10, R11), a revision
/// that is stated and not above that of `previous` (L2).
pub fn load_over(path: &Path, previous: &Fleet, now: Timestamp) -> Result<Loaded, LoadError> {
    read(path, Some(previous), now)
}

fn read(path: &Path, previous: Option<&Fleet>, now: Timestamp) -> Result<Loaded, LoadError> {
    let mut found = Found::default();
    let bytes = read_file(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
    let text = read_text(&bytes, &mut found);
    let (document, faults) = DeTable::parse_recoverable(&text);
    for fault in faults {
        let (span, message) = (fault.span().unwrap_or_default(), fault.message());
        // A version without quotes begins like a number.
        let is_number = ["invalid float", "invalid integer"].iter().any(|number| message.starts_with(number));
        let remedy = if is_number { ": put a text, such as a version, in quotes" } else { "" };
        found.syntax(span, format!("is no TOML: {message}{remedy}"));
    }

    let mut root = Section::new("a fleet file", String::new(), 0..0, document.get_ref());
    let revision = root.number("revision", "from 0 to 18446744073709551615", &mut found);
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let firmware_dir = root.text("firmware_dir", &mut found).map_or(FIRMWARE_DIR.to_owned(), |dir| dir.value);
    let mut folder = Folder::new(base.clone(), base.join(firmware_dir));
    if !root.has("product") {
        found.missing(&(0..0), &[], "has no `[[product]]`: a fleet has at least one");
    }
    let products = root.tables("product", "products", "a product", &mut found).unwrap_or_default();
    let products: Vec<_> = products.into_iter().map(|table| read_product(table, &mut folder, &mut found)).collect();
    root.finish(&mut found);
    note_twins(&products, &mut found);

    let mut whole = Whole::new(previous, now, found);
    let mut elsewhere = std::mem::take(&mut folder.problems);
    for lines in products {
        elsewhere.extend(whole.add(lines));
    }
    let revision = whole.revision(revision);
    let Whole { found, fleet, mut lints, counted, pauses, .. } = whole;
    let fleet = fleet.at_revision(revision);
    if found.is_empty() && elsewhere.is_empty() {
        let of_fleet = |Problem { place, message }| (found.of_lint(&place).start, format!("{place}: {message}"));
        let mut of_file: Vec<_> = fleet.lint(now).into_iter().map(of_fleet).chain(pauses).collect();
        of_file.sort();
        let mut at = Positions::of(text.as_bytes());
        let mut told = FileProblems::default();
        of_file.into_iter().for_each(|(offset, message)| told.add_at(path, &mut at, offset, message));
        lints.extend(told);
        let lints = lints.sorted();
        let (firmware_dir, files) = (folder.firmware, folder.files.into_values().collect());
        return Ok(Loaded { fleet, lints, firmware_dir, files, counted });
    }
    elsewhere.extend(found.finish(path, text.as_bytes()));
    Err(LoadError::Problems(elsewhere.sorted()))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FLEET_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FLEET_FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it is longer than {FLEET_FILE_BYTES_MAX} bytes: put devices in CSV beside it"
        )));
    }
    Ok(bytes)
}

/// The file as text. A byte that is no UTF-8 is noted, and one character in what is read on.
fn read_text(bytes: &[u8], found: &mut Found) -> String {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            found.syntax(text.len()..text.len() + 1, "this byte is no UTF-8, which TOML must be");
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}
