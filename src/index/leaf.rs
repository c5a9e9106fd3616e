//! A leaf: some thousand devices in lines of four slots, a line being what the processor fetches at once.
//!
//! ```text
//!   hash ──▶ line a ┌ slot slot slot slot ┐        a device stands in one of its two lines: a look-up reads two lines, never more,
//!       └──▶ line b └ slot slot slot slot ┘        whether it finds somebody or nobody
//! ```
//!
//! Who finds both lines full moves somebody there into the other line that that one has (cuckoo hashing, buckets of four, two choices): leaves are built
//! fifteen sixteenths full, and packed anew when half of one is empty. A leaf never changes under a reader: a change copies it, 17 KiB, unless nobody else holds it.

use super::hash::Secret;
use super::slot::{self, Meta, Slot};
use crate::fleet::Rare;
use crate::time::Timestamp;
use std::ops::Range;
use std::sync::Arc;

const LINE_SLOTS: usize = 4;
/// How many devices may be moved to make room for one.
const MOVES_MAX: usize = 256;

/// What the processor fetches at once.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([Slot; LINE_SLOTS]);

/// Devices of one product whose hashes end alike.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    lines: Arc<[Line]>,
    beside: Option<Arc<Beside>>,
}

/// What does not fit into the slots of a leaf.
#[derive(Clone, Debug, Default)]
struct Beside {
    /// Serials, each with its length before it.
    text: Vec<u8>,
    /// How much of the text is of devices that are gone.
    gone: usize,
    /// In the order of the slots' keys, as are those below.
    apart: Vec<(u64, Apart)>,
    earlier: Vec<Earlier>,
}

/// A group that a device was in before. Many a device was moved once, so this takes no more than it must.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    /// Of its slot.
    key: u64,
    /// The number of the group.
    group: u32,
    entered_at: Timestamp,
}

/// What is known of a device beside its slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    pub(super) apart: Apart,
    /// Groups by number, and when it entered each for the first time.
    pub(super) earlier: Vec<(u32, Timestamp)>,
}

/// What few devices have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Apart {
    /// Where it does not fit into the slot.
    pub(super) entered_at: Option<Timestamp>,
    /// Its number, where it does not fit into the slot.
    pub(super) profile: Option<u32>,
    /// Pin and cap.
    pub(super) rare: Option<Arc<Rare>>,
}

/// A serial as it is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<'s> {
    pub(super) serial: &'s [u8],
    /// Its key, where it fits into a slot.
    pub(super) packed: Option<u64>,
    pub(super) hash: u64,
}

/// A device on its way into a leaf or out of it.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    /// Where the serial stands beside, the key is made anew when it is placed.
    pub(super) slot: Slot,
    pub(super) text: Option<Box<[u8]>>,
    pub(super) aside: Option<Box<Aside>>,
}

/// More devices than two lines can take have hashes that are alike in all that counts: chosen serials, or one chance in very many. Here is everybody who
/// belongs into the leaf, which is empty now.
#[derive(Debug)]
pub(super) struct Crowded(pub(super) Vec<Resident>);

impl Resident {
    /// Gives it the number of its profile.
    pub(super) fn number(&mut self, profile: u32) {
        let (number, apart) = slot::profile_of(profile);
        if apart.is_some() {
            self.aside.get_or_insert_default().apart.profile = apart;
        }
        let meta = Meta::unpack(self.slot.meta);
        self.slot.meta = Meta { profile: number, apart: meta.apart || apart.is_some(), ..meta }.pack();
    }

    pub(super) fn hash(&self, secret: Secret) -> u64 {
        match &self.text {
            Some(text) => secret.of_text(text),
            None => secret.of_key(self.slot.key),
        }
    }
}

impl Beside {
    /// Where among these, which are in order, is what is of that key.
    fn place_of<T>(all: &[T], key: u64, key_of: impl Fn(&T) -> u64) -> Range<usize> {
        let first = all.partition_point(|one| key_of(one) < key);
        let len = all.get(first..).unwrap_or_default().partition_point(|one| key_of(one) == key);
        first..first + len
    }

    fn place_of_apart(&self, key: u64) -> Range<usize> {
        Self::place_of(&self.apart, key, |(key, _)| *key)
    }

    fn place_of_earlier(&self, key: u64) -> Range<usize> {
        Self::place_of(&self.earlier, key, |earlier| earlier.key)
    }

    fn apart(&self, key: u64) -> Option<&Apart> {
        self.apart.get(self.place_of_apart(key))?.first().map(|(_, apart)| apart)
    }

    /// Adds what is known of a device, out of order.
    fn push(&mut self, key: u64, aside: Aside) {
        if aside.apart != Apart::default() {
            self.apart.push((key, aside.apart));
        }
        let earlier = aside.earlier.into_iter();
        self.earlier.extend(earlier.map(|(group, entered_at)| Earlier { key, group, entered_at }));
    }

    fn sort(&mut self) {
        self.apart.sort_by_key(|(key, _)| *key);
        self.earlier.sort_by_key(|earlier| earlier.key);
        self.text.shrink_to_fit();
        self.apart.shrink_to_fit();
        self.earlier.shrink_to_fit();
    }

    fn set(&mut self, key: u64, aside: Aside) {
        let mut new = Self::default();
        new.push(key, aside);
        room(&mut self.apart, new.apart.len());
        room(&mut self.earlier, new.earlier.len());
        self.apart.splice(self.place_of_apart(key), new.apart);
        self.earlier.splice(self.place_of_earlier(key), new.earlier);
    }

    fn knows(&self, key: u64) -> bool {
        self.apart(key).is_some() || !self.place_of_earlier(key).is_empty()
    }

    /// Notes a serial, and tells where.
    fn add_text(&mut self, text: &[u8]) -> u32 {
        // A leaf has some thousand serials of at most 64 bytes: both fit.
        let at = self.text.len() as u32;
        room(&mut self.text, text.len() + 1);
        self.text.push(text.len() as u8);
        self.text.extend_from_slice(text);
        at
    }

    fn text(&self, at: u32) -> Option<&[u8]> {
        let (len, rest) = self.text.get(at as usize..)?.split_first()?;
        rest.get(..usize::from(*len))
    }

    fn is_empty(&self) -> bool {
        self.apart.is_empty() && self.earlier.is_empty() && self.gone == self.text.len()
    }
}

/// Makes room for so many more without doubling: memory is what is saved here.
fn room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more + list.len() / 64);
    }
}

impl Leaf {
    /// Where a device stands: a line, and a slot in it.
    #[inline]
    pub(super) fn find(&self, sought: &Sought<'_>) -> Option<(usize, usize)> {
        let at = lines_of(sought.hash, self.lines.len());
        let [first, other] = at.map(|at| self.lines.get(at));
        let lines = [first?, other?];
        match sought.packed {
            Some(key) => {
                // All eight are compared, so that the trips to both lines are made at once: whether the first was in vain is not known before it comes back.
                let mut found = None;
                for (at, line) in at.into_iter().zip(lines) {
                    for (slot, number) in line.0.iter().zip(0..) {
                        found = if slot.key == key { Some((at, number)) } else { found };
                    }
                }
                found
            }
            None => {
                let is_it = |slot: &Slot| {
                    slot::may_be_beside(slot.key, sought.hash) && self.text(slot.key) == Some(sought.serial)
                };
                at.into_iter().zip(lines).find_map(|(at, line)| Some((at, line.0.iter().position(is_it)?)))
            }
        }
    }

    /// Reads a word of both lines, so that they come near.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u64 {
        let [first, other] =
            lines_of(hash, self.lines.len()).map(|at| self.lines.get(at).map_or(0, |line| line.0[0].key));
        first ^ other
    }

    pub(super) fn slot(&self, (line, at): (usize, usize)) -> Slot {
        self.lines.get(line).and_then(|line| line.0.get(at)).copied().unwrap_or_default()
    }

    /// What stands apart about the device of that key.
    pub(super) fn apart(&self, key: u64) -> Option<&Apart> {
        self.beside.as_ref()?.apart(key)
    }

    /// The serial of a key that stands beside.
    pub(super) fn text(&self, key: u64) -> Option<&[u8]> {
        text_of(&self.beside, key)
    }

    /// Its devices, line by line.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.lines.iter().flat_map(|line| line.0).filter(|slot| !slot.is_empty())
    }

    /// Those about which something stands apart.
    pub(super) fn slots_apart(&self) -> impl Iterator<Item = Slot> {
        let any = self.beside.as_ref().is_some_and(|beside| !beside.apart.is_empty());
        any.then(|| self.slots().filter(|slot| Meta::unpack(slot.meta).apart)).into_iter().flatten()
    }

    /// What is known of the device of that key beside its slot.
    pub(super) fn aside(&self, key: u64) -> Option<Box<Aside>> {
        let apart = self.apart(key).cloned();
        let earlier: Vec<_> = self.earlier(key).collect();
        (apart.is_some() || !earlier.is_empty()).then(|| Box::new(Aside { apart: apart.unwrap_or_default(), earlier }))
    }

    /// The groups that the device of that key was in before, by number.
    pub(super) fn earlier(&self, key: u64) -> impl Iterator<Item = (u32, Timestamp)> {
        let all = self.beside.as_ref().and_then(|beside| beside.earlier.get(beside.place_of_earlier(key)));
        all.unwrap_or_default().iter().map(|earlier| (earlier.group, earlier.entered_at))
    }

    fn resident(&self, slot: Slot) -> Resident {
        Resident { slot, text: self.text(slot.key).map(Into::into), aside: self.aside(slot.key) }
    }

    /// All its devices, to be placed elsewhere.
    pub(super) fn residents(&self) -> impl Iterator<Item = Resident> {
        self.slots().map(|slot| self.resident(slot))
    }

    /// Changes what is known of a device that stands here.
    pub(super) fn write(&mut self, at: (usize, usize), meta: u64, aside: Option<Box<Aside>>) {
        let key = self.slot(at).key;
        if let Some(slot) = Arc::make_mut(&mut self.lines).get_mut(at.0).and_then(|line| line.0.get_mut(at.1)) {
            slot.meta = meta;
        }
        self.set_aside(key, aside);
    }

    fn set_aside(&mut self, key: u64, aside: Option<Box<Aside>>) {
        match aside {
            Some(aside) => Arc::make_mut(self.beside.get_or_insert_default()).set(key, *aside),
            None => {
                if let Some(beside) = self.beside.as_mut().filter(|beside| beside.knows(key)) {
                    Arc::make_mut(beside).set(key, Aside::default());
                }
                self.beside.take_if(|beside| beside.is_empty());
            }
        }
    }

    /// Adds a device that does not stand here yet.
    pub(super) fn add(&mut self, resident: Resident, secret: Secret) -> Result<(), Crowded> {
        let hash = resident.hash(secret);
        let mut slot = resident.slot;
        if let Some(text) = &resident.text {
            slot.key = slot::beside(hash, Arc::make_mut(self.beside.get_or_insert_default()).add_text(text));
        }
        if resident.aside.is_some() {
            self.set_aside(slot.key, resident.aside);
        }
        let lines = Arc::make_mut(&mut self.lines);
        let Err(homeless) = place(lines, slot, hash, |key| hash_of(&self.beside, key, secret)) else { return Ok(()) };
        let mut slots: Vec<Slot> = self.slots().collect();
        slots.push(homeless);
        // With some room, for those that come after it.
        self.arrange(&slots, slots.len() / 32, secret)
    }

    /// Removes the device that stands there.
    pub(super) fn remove(&mut self, at: (usize, usize), secret: Secret) -> Result<(), Crowded> {
        let gone = self.slot(at);
        let text = self.text(gone.key).map_or(0, |text| text.len() + 1);
        if let Some(slot) = Arc::make_mut(&mut self.lines).get_mut(at.0).and_then(|line| line.0.get_mut(at.1)) {
            *slot = Slot::default();
        }
        self.set_aside(gone.key, None);
        if let Some(beside) = self.beside.as_mut().filter(|_| text > 0) {
            Arc::make_mut(beside).gone += text;
        }
        self.beside.take_if(|beside| beside.is_empty());
        // A leaf that emptied is packed anew, and so is its text.
        let left = self.slots().count();
        let text_left = self.beside.as_ref().is_none_or(|beside| beside.gone * 2 <= beside.text.len());
        if lines_for(left) * 2 < self.lines.len() || !text_left {
            let rest: Vec<Resident> = self.residents().collect();
            *self = Self::default();
            *self = Self::of(rest, secret)?;
        }
        Ok(())
    }

    /// A leaf of these devices, no two of one serial.
    pub(super) fn of(residents: impl IntoIterator<Item = Resident>, secret: Secret) -> Result<Self, Crowded> {
        let mut slots = Vec::new();
        let mut beside = Beside::default();
        for Resident { mut slot, text, aside } in residents {
            if let Some(text) = text {
                slot.key = slot::beside(secret.of_text(&text), beside.add_text(&text));
            }
            if let Some(aside) = aside {
                beside.push(slot.key, *aside);
            }
            slots.push(slot);
        }
        beside.sort();
        let mut leaf = Self { beside: (!beside.is_empty()).then(|| Arc::new(beside)), ..Self::default() };
        leaf.arrange(&slots, 0, secret)?;
        Ok(leaf)
    }

    /// Gives these slots, and so many to come, lines: a few more where they do not go in.
    fn arrange(&mut self, slots: &[Slot], spare: usize, secret: Secret) -> Result<(), Crowded> {
        let fewest = lines_for(slots.len() + spare);
        // At a load of a quarter two choices of four always do, unless the hashes are alike.
        for len in fewest..=fewest * 4 + 1 {
            let mut lines: Arc<[Line]> = std::iter::repeat_n(Line::default(), len).collect();
            let room = Arc::make_mut(&mut lines);
            let hash = |key| hash_of(&self.beside, key, secret);
            if slots.iter().all(|slot| place(room, *slot, hash(slot.key), hash).is_ok()) {
                self.lines = lines;
                return Ok(());
            }
        }
        let all = slots.iter().map(|slot| self.resident(*slot)).collect();
        *self = Self::default();
        Err(Crowded(all))
    }

    pub(super) fn bytes(&self) -> LeafBytes {
        let beside = self.beside.as_ref().map_or(0, |beside| {
            let rare = beside.apart.iter().filter(|(_, apart)| apart.rare.is_some()).count() * (size_of::<Rare>() + 16);
            let apart = beside.apart.capacity() * size_of::<(u64, Apart)>();
            let earlier = beside.earlier.capacity() * size_of::<Earlier>();
            size_of::<Beside>() + beside.text.capacity() + earlier + apart + rare
        });
        LeafBytes { slots: self.lines.len() * size_of::<Line>(), beside }
    }
}

/// The two lines that a hash has among so many: never the same one twice, unless there is but one. The bits are others than those that chose the leaf.
#[inline]
fn lines_of(hash: u64, lines: usize) -> [usize; 2] {
    let len = lines as u64;
    let (high, middle) = (hash >> 32, (hash >> 16) & 0xFFFF_FFFF);
    let first = ((high * len) >> 32) as usize;
    let other = ((middle * len) >> 32) as usize;
    let next = if first + 1 == lines { 0 } else { first + 1 };
    [first, if other == first { next } else { other }]
}

fn text_of(beside: &Option<Arc<Beside>>, key: u64) -> Option<&[u8]> {
    beside.as_ref()?.text(slot::beside_at(key)?)
}

fn hash_of(beside: &Option<Arc<Beside>>, key: u64, secret: Secret) -> u64 {
    match text_of(beside, key) {
        Some(text) => secret.of_text(text),
        None => secret.of_key(key),
    }
}

/// Puts a slot into one of its lines, moving others to theirs; gives the one that is left over, if one is.
fn place(lines: &mut [Line], mut slot: Slot, mut hash: u64, hash_of: impl Fn(u64) -> u64) -> Result<(), Slot> {
    let mut from = usize::MAX;
    for moved in 0..MOVES_MAX {
        let [first, other] = lines_of(hash, lines.len());
        for at in [first, other] {
            let free = lines.get_mut(at).and_then(|line| line.0.iter_mut().find(|slot| slot.is_empty()));
            if let Some(free) = free {
                *free = slot;
                return Ok(());
            }
        }
        // Not back to where the last one came from.
        let at = if first == from { other } else { first };
        let Some(line) = lines.get_mut(at) else { return Err(slot) };
        std::mem::swap(&mut line.0[moved % LINE_SLOTS], &mut slot);
        hash = hash_of(slot.key);
        from = at;
    }
    Err(slot)
}

/// What a leaf takes, by its own account.
pub(super) struct LeafBytes {
    pub(super) slots: usize,
    pub(super) beside: usize,
}

/// Lines for so many slots, filled to fifteen sixteenths.
fn lines_for(slots: usize) -> usize {
    (slots * 16).div_ceil(15 * LINE_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::CanonicalSerial;

    fn resident(serial: &str) -> Resident {
        let packed = slot::pack(&CanonicalSerial::of_canonical(serial));
        let text = packed.is_none().then(|| serial.as_bytes().into());
        Resident { slot: Slot { key: packed.unwrap_or(0), meta: serial.len() as u64 }, text, aside: None }
    }

    fn holds(leaf: &Leaf, serial: &str, secret: Secret) -> bool {
        let at = leaf.find(&secret.seek(&CanonicalSerial::of_canonical(serial)));
        at.is_some_and(|at| leaf.slot(at).meta == serial.len() as u64)
    }

    #[test]
    fn a_leaf_takes_and_gives_back_serials_of_every_length() {
        let secret = Secret::random();
        let serials: Vec<String> =
            (0..300).map(|number| format!("{number:0width$x}", width = number % 40 + 3)).collect();
        let mut leaf = Leaf::default();
        for (index, serial) in serials.iter().enumerate() {
            leaf.add(resident(serial), secret).unwrap();
            assert!(serials[..=index].iter().all(|serial| holds(&leaf, serial, secret)), "after {serial}");
            assert!(!holds(&leaf, "nobody", secret) && !holds(&leaf, "ffff", secret));
        }
        assert!(leaf.lines.len() * LINE_SLOTS * 4 <= serials.len() * 5, "filled to four fifths: {}", leaf.lines.len());
        for (index, serial) in serials.iter().enumerate() {
            let at = leaf.find(&secret.seek(&CanonicalSerial::of_canonical(serial))).unwrap();
            leaf.remove(at, secret).unwrap();
            assert!(!holds(&leaf, serial, secret));
            assert!(serials[index + 1..].iter().all(|serial| holds(&leaf, serial, secret)), "without {serial}");
        }
        assert!(leaf.lines.is_empty() && leaf.beside.is_none());
    }

    #[test]
    fn hashes_that_are_all_alike_are_said_to_be_crowded() {
        let alike = Secret::broken();
        let mut leaf = Leaf::default();
        let mut added = (0..100).map(|number| leaf.add(resident(&format!("{number:06x}")), alike));
        let Crowded(all) = added.find_map(Result::err).unwrap();
        assert_eq!(all.len(), 2 * LINE_SLOTS + 1, "two lines are full, and one is left over");
    }
}
