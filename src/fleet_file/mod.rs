//! A fleet from files. (documentation follows)

mod devices;
mod digest;
mod firmware;
mod folder;
mod found;
mod group;
mod opening;
mod problem;
mod product;
mod table;

pub use devices::DEVICES_BYTES_MAX;
pub use digest::digest_file;
pub use folder::FirmwareFile;
pub use opening::CountedWave;
pub use problem::{FileProblem, FileProblems, LoadError, PROBLEMS_MAX};

use crate::{Fleet, Problem, Problems, ProductEntry, ProductFleetSpec, ProductSpec, Revision, Rollout, Timestamp};
use folder::Folder;
use found::Found;
use opening::{Pending, check_reload, open_waves, settle};
use product::{ProductLines, note_same_versions, read_product};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use table::{Placed, Section};
use toml::de::DeTable;

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
    /// What is legal but surely not meant (L4), in the order of file, line and column.
    pub lints: Vec<FileProblem>,
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
/// progress. Devices that are `new` in `previous` and not in the files were registered on first contact, and stay. Where a row does not say
/// when a device entered its group, which version it reported or what hardware it has, what `previous` knows of that stays too.
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
        found.syntax(fault.span().unwrap_or_default(), format!("is no TOML: {}", fault.message()));
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

    let mut whole = Whole { previous, now, found, fleet: Fleet::default(), lints: FileProblems::default(), counted: vec![] };
    let mut elsewhere = std::mem::take(&mut folder.problems);
    for lines in products {
        elsewhere.extend(whole.add(lines));
    }
    let revision = whole.revision(revision);
    let Whole { found, fleet, mut lints, counted, .. } = whole;
    let fleet = fleet.at_revision(revision);
    if found.is_empty() && elsewhere.is_empty() {
        let mut at = problem::Positions::of(text.as_bytes());
        for Problem { place, message } in fleet.lint(now) {
            lints.add(path, at.at(found.of_lint(&place).start), format!("{place}: {message}"));
        }
        let lints = lints.sorted().list().to_vec();
        let (firmware_dir, files) = (folder.firmware, folder.files.into_values().collect());
        return Ok(Loaded { fleet, lints, firmware_dir, files, counted });
    }
    elsewhere.extend(found.finish(path, text.as_bytes()));
    Err(LoadError::Problems(elsewhere.sorted()))
}

/// The fleet as it grows, product by product.
struct Whole<'f> {
    previous: Option<&'f Fleet>,
    now: Timestamp,
    found: Found,
    fleet: Fleet,
    lints: FileProblems,
    counted: Vec<CountedWave>,
}

impl Whole<'_> {
    /// Checks a product, reads its devices, opens its waves, and takes it in. Returns what is wrong in the file of its devices.
    fn add(&mut self, mut lines: ProductLines) -> FileProblems {
        let previous = self.previous.and_then(|fleet| fleet.product(&lines.spec.product.id));
        let pending = self.settle_groups(&mut lines, previous);
        let mut problems = FileProblems::default();
        if !lines.rules_are_known {
            return problems;
        }
        let before = self.found.count();
        let Some((mut entry, complete)) = self.build(&lines) else { return problems };
        if let Some(devices) = &lines.devices {
            match devices::read_devices(&devices.value, &mut entry, previous) {
                Ok(findings) => {
                    problems = findings.problems;
                    self.lints.extend(findings.lints);
                }
                Err(error) => {
                    self.found.add(devices.span.clone(), folder::cannot_read(&devices.value, &error));
                }
            }
        }
        // With a part missing, a census would count wrongly, and what was frozen could not be compared.
        if !complete || self.found.count() > before || !problems.is_empty() {
            return problems;
        }
        if let Some(previous) = previous {
            keep_new_devices(&mut entry, previous);
            self.check_reload(&lines, previous, &entry);
        }
        for (group, waves) in pending {
            self.counted.extend(open_waves(&mut entry, &group, waves, &mut self.found));
        }
        if let Err(inner) = self.fleet.add(entry) {
            self.found.take_over(&lines.place, &inner);
        }
        problems
    }

    /// Moves the groups into the specification, their waves opened as far as no census is needed.
    fn settle_groups(
        &mut self,
        lines: &mut ProductLines,
        previous: Option<&ProductEntry>,
    ) -> Vec<(String, Vec<Pending>)> {
        let mut pending = Vec::new();
        for group in &mut lines.groups {
            if let Some(rollout) = &mut group.spec.rollout {
                let old = previous.and_then(|previous| previous.group(&group.spec.id)?.rollout());
                let waves = settle(rollout, &group.waves, old, self.now, &mut self.found);
                pending.push((group.spec.id.clone(), waves));
            }
            lines.spec.groups.push(group.spec.clone());
        }
        pending
    }

    /// The product without its devices; where something is wrong with it, as much of it as its devices can be checked by.
    fn build(&mut self, lines: &ProductLines) -> Option<(ProductEntry, bool)> {
        let problems = match lines.spec.build() {
            Ok(entry) => return Some((entry, true)),
            Err(problems) => problems,
        };
        let (same, others): (Vec<_>, Vec<_>) =
            problems.list().iter().cloned().partition(|problem| problem.place == "firmware");
        let mut noted = Problems::default();
        others.into_iter().for_each(|Problem { place, message }| noted.add(place, message));
        self.found.take_over(&lines.place, &noted);
        let stand_in = stand_in(&lines.spec.product)?;
        if let Ok(product) = stand_in.build() {
            let before = self.found.count();
            note_same_versions(lines, product.versions(), &mut self.found);
            if self.found.count() == before {
                let mut noted = Problems::default();
                same.into_iter().for_each(|Problem { place, message }| noted.add(place, message));
                self.found.take_over(&lines.place, &noted);
            }
        }
        let is_sound = |part: &str, index: usize| {
            let place = format!("{part}[{index}]");
            !problems.list().iter().any(|problem| problem.place.starts_with(&place))
        };
        let groups = (0..).zip(&lines.spec.groups).filter(|(index, _)| is_sound("groups", *index));
        let salvaged = ProductFleetSpec {
            product: stand_in.clone(),
            groups: groups.map(|(_, group)| group.clone()).collect(),
            ..ProductFleetSpec::default()
        };
        let entry = salvaged.build().or_else(|_| ProductFleetSpec { product: stand_in, ..Default::default() }.build());
        entry.ok().map(|entry| (entry, false))
    }

    fn check_reload(&mut self, lines: &ProductLines, previous: &ProductEntry, entry: &ProductEntry) {
        for old in previous.groups() {
            let at = lines.groups.iter().position(|group| group.spec.id == old.id().as_str());
            match (entry.group(old.id().as_str()), at) {
                (Some(new), Some(at)) => {
                    if let Err(inner) = check_reload(old, new) {
                        self.found.take_over(&format!("{}.groups[{at}]", lines.place), &inner);
                    }
                }
                _ => {
                    if let Some(rollout) = old.rollout().filter(|rollout| rollout.is_active()) {
                        let message = format!(
                            "group `{}` is gone from the file, and its rollout `{}` is under way: complete or abort it first (R11)",
                            old.id(),
                            rollout.id()
                        );
                        self.found.add(lines.span.clone(), message);
                    }
                }
            }
        }
    }

    /// L2: a number that only grows.
    fn revision(&mut self, stated: Option<Placed<u64>>) -> Revision {
        let held = self.previous.map(Fleet::revision);
        let next = Revision(held.map_or(1, |Revision(held)| held.saturating_add(1)));
        let Some(stated) = stated else { return next };
        let same = |previous: &&Fleet| {
            previous.revision().0 == stated.value
                && previous.products().eq(self.fleet.products())
        };
        match held {
            Some(Revision(held)) if stated.value <= held && !self.previous.as_ref().is_some_and(same) => {
                self.found.add(
                    stated.span,
                    format!("`revision` {} is not above {held}, which is held: raise it, or leave it out (L2)", stated.value),
                );
                next
            }
            _ => Revision(stated.value),
        }
    }
}

/// A product with the same rules and no problem of its own, for checking what hangs on the rules.
fn stand_in(product: &ProductSpec) -> Option<ProductSpec> {
    product.versions.clone().build().ok()?;
    let stand_in = ProductSpec {
        id: "stand-in".to_owned(),
        serial_scheme: product.serial_scheme,
        placeholders: product.placeholders.clone(),
        versions: product.versions.clone(),
        default_group: product.default_group.clone(),
        ..ProductSpec::default()
    };
    let bare = ProductSpec { placeholders: vec![], ..stand_in.clone() };
    let bare = ProductSpec { default_group: ProductSpec::default().default_group, ..bare };
    [stand_in, bare].into_iter().find(|product| product.build().is_ok())
}

/// Devices that were registered on first contact, and that the files do not name.
fn keep_new_devices(entry: &mut ProductEntry, previous: &ProductEntry) {
    let product = entry.product().clone();
    for device in previous.devices().filter(|device| device.state() == crate::DeviceState::New) {
        let taken = product.read_serial(device.serial().as_bytes()).map(|serial| entry.device(serial.as_str()).is_some());
        // Built again, since the product's rules may be others now; who cannot be named under them is a stranger again.
        if let (Ok(false), Ok(device)) = (taken, device.spec().build(&product)) {
            let _ = entry.add_device(device, None);
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FLEET_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FLEET_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FLEET_FILE_BYTES_MAX} bytes: put devices in CSV beside it")));
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
