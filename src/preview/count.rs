//! Every device asked of both fleets, and what differs counted. Threads share the devices by parts of a scan; sums and least serials do not hang on who counted.

use super::{Answer, Changed, GroupCount, Line, Misfit, Options, Preview};
use crate::check_in::CheckIn;
use crate::fleet::{
    CanonicalSerial, DeviceState, GroupId, Hex, KeyHash, Product, ProductId, RolloutState, VersionRules,
};
use crate::index::{Index, Member, Reader, Snapshot, Timed};
use crate::time::Timestamp;
use crate::verdict::{Decision, Reason};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Into how many parts a product's devices are cut: many, so that no thread waits long for another.
const PARTS: usize = 64;
/// How many devices are asked at once.
const BATCH: usize = 64;

/// What a device is told, small: a reason, and the version served by its number; 0: none.
type Short = (Reason, u32);

/// Of a line what makes it one: group before and after, and version, by number, and the two answers. `u32::MAX`: none.
type Key = (u32, u32, u32, Short, Short);

/// Where a device is asked from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// The devices of the fleet as it is.
    Before,
    /// Of the fleet as it would be those that the other has not.
    Added,
}

/// What a thread has counted of a product.
#[derive(Default)]
struct Part {
    texts: Texts,
    lines: BTreeMap<Key, (u64, BTreeSet<String>)>,
    devices: u64,
    unknown: u64,
    removed: u64,
    /// Devices by group and hardware, of the fleet as it would be; verified alone.
    fleet: BTreeMap<(u32, u32), u64>,
}

/// Texts by number; 0 is none.
#[derive(Default)]
struct Texts {
    all: Vec<Box<str>>,
    numbers: BTreeMap<Box<str>, u32>,
    last: u32,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        // Neighbours are alike.
        if self.text(self.last) == Some(text) {
            return self.last;
        }
        self.last = match self.numbers.get(text) {
            Some(number) => *number,
            None => {
                self.all.push(text.into());
                let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
                self.numbers.insert(text.into(), number);
                number
            }
        };
        self.last
    }

    fn text(&self, number: u32) -> Option<&str> {
        self.all.get((number as usize).checked_sub(1)?).map(|text| &**text)
    }
}

/// A line as it is told, without its counts.
type Told = (Option<String>, Option<String>, Option<String>, Answer, Answer);

pub(super) fn count(before: &Index, after: &Index, options: &Options<'_>) -> Preview {
    let (old, new) = (before.snapshot(), after.snapshot());
    let mut preview = Preview {
        now: options.now,
        revision_before: old.revision(),
        revision_after: new.revision(),
        ..Preview::default()
    };
    let ids: BTreeSet<&ProductId> = old.products().chain(new.products()).map(Product::id).collect();
    let mut groups: BTreeMap<(String, String), GroupCount> = BTreeMap::new();
    for id in ids {
        let look = Look::new(before, after, &old, &new, id, options);
        let mut parts = look.all(From::Before);
        let (asked, removed): (u64, u64) =
            parts.iter().fold((0, 0), |sum, part| (sum.0 + part.devices, sum.1 + part.removed));
        let held = new.devices_of(id.as_str()) as u64;
        preview.removed += removed;
        // Who is in both was asked already; only where the numbers differ is anybody else looked for.
        if held != asked - removed {
            let added = look.all(From::Added);
            preview.added += added.iter().map(|part| part.devices).sum::<u64>();
            parts.extend(added);
        }
        preview.devices += parts.iter().map(|part| part.devices).sum::<u64>();
        preview.unknown_version += parts.iter().map(|part| part.unknown).sum::<u64>();
        look.misfits(&mut preview.misfits);
        for (told, (devices, mut examples)) in merged(parts, options.examples) {
            let mut line = look.line(told);
            line.devices = devices;
            while examples.len() > options.examples {
                examples.pop_last();
            }
            line.examples = examples.into_iter().collect();
            tally(&mut preview, &mut groups, &line);
            preview.lines.push(line);
        }
    }
    preview.groups = groups.into_values().collect();
    preview.lines.sort_by(|a, b| b.devices.cmp(&a.devices).then_with(|| a.cmp(b)));
    preview
}

fn tally(preview: &mut Preview, groups: &mut BTreeMap<(String, String), GroupCount>, line: &Line) {
    let newly = if line.after.serves.is_some() && line.after.serves != line.before.serves { line.devices } else { 0 };
    let no_longer = if line.before.serves.is_some() && line.after.serves.is_none() { line.devices } else { 0 };
    let flagged = |is: bool| if is { line.devices } else { 0 };
    preview.changed += line.devices;
    preview.newly_served += newly;
    preview.no_longer_served += no_longer;
    preview.downgrades += flagged(line.downgrade);
    preview.unreachable += flagged(line.unreachable);
    let group = line.group_after.as_ref().or(line.group_before.as_ref()).cloned().unwrap_or_default();
    let count = groups.entry((line.product.clone(), group.clone())).or_insert_with(|| GroupCount {
        product: line.product.clone(),
        group,
        changed: 0,
        newly_served: 0,
        downgrades: 0,
        unreachable: 0,
    });
    count.changed += line.devices;
    count.newly_served += newly;
    count.downgrades += flagged(line.downgrade);
    count.unreachable += flagged(line.unreachable);
}

/// The lines of all parts, by what they say.
fn merged(parts: Vec<Part>, examples_max: usize) -> BTreeMap<Told, (u64, BTreeSet<String>)> {
    let mut lines: BTreeMap<Told, (u64, BTreeSet<String>)> = BTreeMap::new();
    for part in parts {
        let text = |number: u32| part.texts.text(number).map(str::to_owned);
        let answer = |(reason, serves): Short| Answer {
            status: reason.status(),
            reason: reason.name().to_owned(),
            serves: text(serves),
        };
        for ((group_before, group_after, version, before, after), (devices, examples)) in part.lines {
            let told = (text(group_before), text(group_after), text(version), answer(before), answer(after));
            let line = lines.entry(told).or_default();
            line.0 += devices;
            line.1.extend(examples);
            while line.1.len() > examples_max {
                line.1.pop_last();
            }
        }
    }
    lines
}

/// One product of the two fleets.
struct Look<'a> {
    before: &'a Index,
    after: &'a Index,
    old: &'a Snapshot,
    new: &'a Snapshot,
    id: &'a ProductId,
    key: KeyHash,
    rules: Option<VersionRules>,
    /// Serials are read by another scheme, or the key is another product's: one that is gone may be answered as somebody else.
    respelled: bool,
    options: &'a Options<'a>,
}

impl<'a> Look<'a> {
    fn new(
        before: &'a Index,
        after: &'a Index,
        old: &'a Snapshot,
        new: &'a Snapshot,
        id: &'a ProductId,
        options: &'a Options<'a>,
    ) -> Self {
        let product = old.product(id.as_str()).or_else(|| new.product(id.as_str()));
        let key = product.map_or(KeyHash(Hex([0; 32])), |product| key(product, options.now));
        let rules = new.product(id.as_str()).map(|product| product.versions().clone());
        let scheme = |of: &Snapshot| of.product(id.as_str()).map(|product| product.spec().serial_scheme);
        let asks_elsewhere = new.product(id.as_str()).is_none_or(|product| product.key(&key).is_none());
        let respelled = scheme(old) != scheme(new) || asks_elsewhere;
        Self { before, after, old, new, id, key, rules, respelled, options }
    }

    /// All parts, by all threads.
    fn all(&self, from: From) -> Vec<Part> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let worker = || {
            let mut mine = Part::default();
            let mut readers = (self.before.reader().uncounted(), self.after.reader().uncounted());
            loop {
                let part = next.fetch_add(1, Relaxed);
                if part >= PARTS {
                    break;
                }
                let asked = mine.devices;
                self.part(from, part, &mut readers, &mut mine);
                (self.options.progress)(mine.devices - asked);
            }
            done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(mine);
        };
        std::thread::scope(|scope| {
            (1..self.options.threads.max(1)).for_each(|_| drop(scope.spawn(worker)));
            worker();
        });
        done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn part(&self, from: From, part: usize, readers: &mut (Reader, Reader), mine: &mut Part) {
        let id = self.id.as_str();
        let scanned = if from == From::Before { self.old } else { self.new };
        let mut batch: Vec<(CanonicalSerial, Member<'_>)> = Vec::with_capacity(BATCH);
        scanned.scan_part(id, None, part, PARTS, |member| {
            let serial = member.serial();
            if from == From::Added && self.old.has(id, serial.as_str()) {
                return;
            }
            batch.push((serial, member));
            if batch.len() == BATCH {
                self.ask(from, &batch, readers, mine);
                batch.clear();
            }
        });
        self.ask(from, &batch, readers, mine);
    }

    fn ask(
        &self,
        from: From,
        batch: &[(CanonicalSerial, Member<'_>)],
        readers: &mut (Reader, Reader),
        mine: &mut Part,
    ) {
        let mut asks = [Timed { key: &self.key, ask: CheckIn::new(b"", b""), now: self.options.now }; BATCH];
        let asks = &mut asks[..batch.len()];
        for (timed, (serial, member)) in asks.iter_mut().zip(batch) {
            timed.ask.serial = serial.as_str().as_bytes();
            timed.ask.version = member.version().unwrap_or_default().as_bytes();
            timed.ask.hardware = member.hardware().unwrap_or_default().as_bytes();
        }
        let mut answers = [[(Reason::Current, 0); 2]; BATCH];
        let texts = &mut mine.texts;
        let mut short = |decision: &Decision<'_>| {
            let serves = decision.firmware_offer().map_or(0, |offer| texts.number(offer.firmware.version().text()));
            (decision.reason, serves)
        };
        readers.0.decide_timed(asks, |nth, decision| answers[nth][0] = short(decision));
        readers.1.decide_timed(asks, |nth, decision| answers[nth][1] = short(decision));
        for ((serial, member), [before, after]) in batch.iter().zip(answers) {
            mine.devices += 1;
            mine.unknown += u64::from(member.version().is_none());
            let may_be_gone = self.respelled || may_be_gone(after.0);
            if from == From::Before && may_be_gone && !self.new.has(self.id.as_str(), serial.as_str()) {
                mine.removed += 1;
            }
            if before != after {
                self.changed(from, serial.as_str(), member, before, after, mine);
            }
        }
    }

    fn changed(&self, from: From, serial: &str, member: &Member<'_>, before: Short, after: Short, mine: &mut Part) {
        let own = member.group().map_or(0, |group| mine.texts.number(group.as_str()));
        let (group_before, group_after) = match from {
            From::Added => (0, own),
            From::Before => {
                let group = self.new.group_of(self.id.as_str(), serial);
                (own, group.map_or(0, |group| mine.texts.number(group.as_str())))
            }
        };
        let version = member.version().map_or(0, |version| mine.texts.number(version));
        let key = (group_before, group_after, version, before, after);
        if let Some(each) = self.options.each {
            let text = |number: u32| mine.texts.text(number).map(str::to_owned);
            let answer = |(reason, serves): Short| Answer {
                status: reason.status(),
                reason: reason.name().to_owned(),
                serves: text(serves),
            };
            let told = (text(group_before), text(group_after), text(version), answer(before), answer(after));
            each(&Changed { product: self.id.as_str(), serial, line: &self.line(told) });
        }
        let (devices, examples) = mine.lines.entry(key).or_default();
        *devices += 1;
        let max = self.options.examples;
        if examples.len() < max || examples.last().is_some_and(|last| serial < last.as_str()) {
            examples.insert(serial.to_owned());
            if examples.len() > max {
                examples.pop_last();
            }
        }
    }

    fn line(&self, (group_before, group_after, version, before, after): Told) -> Line {
        let newly = after.serves.is_some() && after.serves != before.serves;
        let below = || {
            let (rules, own, served) = (self.rules.as_ref()?, version.as_deref()?, after.serves.as_deref()?);
            rules.order(rules.read(served.as_bytes()), rules.read(own.as_bytes()))
        };
        let downgrade = newly && below() == Some(Ordering::Less);
        let unreachable = matches!(before.status, 200 | 304) && matches!(after.status, 401 | 404);
        Line {
            product: self.id.as_str().to_owned(),
            group_before,
            group_after,
            version,
            before,
            after,
            downgrade,
            unreachable,
            devices: 0,
            examples: Vec::new(),
        }
    }

    /// Firmware that is meant for groups and fits none of their devices. Where the hardware of any is not known, nothing is said.
    fn misfits(&self, into: &mut Vec<Misfit>) {
        let id = self.id.as_str();
        let Some(catalogue) = self.new.catalogue(id) else { return };
        let Some(rules) = &self.rules else { return };
        let mut hardware: BTreeMap<GroupId, (u64, bool, BTreeSet<String>)> = BTreeMap::new();
        let mut part = Part::default();
        self.new.scan(id, None, |member| {
            if member.state() == DeviceState::Verified {
                let group = member.group().map_or(0, |group| part.texts.number(group.as_str()));
                let said = member.hardware().map_or(0, |said| part.texts.number(said));
                *part.fleet.entry((group, said)).or_default() += 1;
            }
        });
        for ((group, said), devices) in &part.fleet {
            let Some(group) = part.texts.text(*group).and_then(|group| GroupId::new(group).ok()) else { continue };
            let entry = hardware.entry(group).or_default();
            entry.0 += devices;
            match part.texts.text(*said) {
                Some(said) => drop(entry.2.insert(said.to_owned())),
                None => entry.1 = true,
            }
        }
        for (group, (devices, unknown, hardware)) in hardware {
            let Some(held) = self.new.group(id, group.as_str()).filter(|_| !unknown) else { continue };
            let running = held.rollout().filter(|rollout| *rollout.state() == RolloutState::Running);
            let meant = held.firmware().into_iter().chain(running.and_then(|rollout| rollout.target_version()));
            for version in meant {
                let Some(firmware) = catalogue.find(version, rules) else { continue };
                if !hardware.iter().any(|hardware| firmware.fits(hardware.as_bytes())) {
                    let (product, version) = (self.id.clone(), firmware.version().text().to_owned());
                    into.push(Misfit { product, group: group.clone(), version, devices });
                }
            }
        }
    }
}

/// Only these reasons are given to a device that the fleet does not have.
fn may_be_gone(reason: Reason) -> bool {
    reason.number() <= Reason::DeviceUnknown.number()
}

/// The key that a product's devices are taken to have.
pub(crate) fn key(product: &Product, now: Timestamp) -> KeyHash {
    let valid = product.keys().iter().find(|key| {
        !key.revoked && key.not_before.is_none_or(|from| from <= now) && key.not_after.is_none_or(|end| now < end)
    });
    valid.or_else(|| product.keys().first()).map_or(KeyHash(Hex([0; 32])), |key| key.hash)
}
