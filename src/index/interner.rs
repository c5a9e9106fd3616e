//! Values that many devices share, by number: each stands once, for as long as a device has it.
//!
//! A number whose last user is gone is given out again, the lowest first. Nobody is misled: a revision that still uses the number for the old value holds
//! the interner of its own time. Values stand in chunks and are found by shards of a map, so that a revision that adds one copies little of what a thousand
//! others have.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

const CHUNK: usize = 64;
const SHARDS: usize = 64;

/// Values by number, counted by their uses.
#[derive(Clone, Debug)]
pub(super) struct Interner<K> {
    chunks: Vec<Arc<Chunk<K>>>,
    /// Below it all chunks are full.
    first_free: usize,
    /// Where each value is; of a value with two numbers the lower one.
    numbers: Vec<Arc<HashMap<K, u32>>>,
    sharding: RandomState,
    /// Another one as soon as a number stands for another value.
    meaning: Arc<()>,
}

/// Up to [`CHUNK`] values.
#[derive(Clone, Debug)]
struct Chunk<K> {
    entries: Vec<Option<Entry<K>>>,
    used: usize,
}

#[derive(Clone, Debug)]
struct Entry<K> {
    value: K,
    uses: u64,
}

impl<K> Default for Interner<K> {
    fn default() -> Self {
        let sharding = RandomState::new();
        Self { chunks: Vec::new(), first_free: 0, numbers: Vec::new(), sharding, meaning: Arc::default() }
    }
}

impl<K> Default for Chunk<K> {
    fn default() -> Self {
        Self { entries: Vec::new(), used: 0 }
    }
}

impl<K: Clone + Eq + Hash> Interner<K> {
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&K> {
        let entry = self.chunks.get(number as usize / CHUNK)?.entries.get(number as usize % CHUNK)?;
        entry.as_ref().map(|entry| &entry.value)
    }

    /// The number of a value that is in use.
    pub(super) fn find(&self, value: &K) -> Option<u32> {
        self.numbers.get(self.shard(value))?.get(value).copied()
    }

    /// Above every number that is in use.
    pub(super) fn len(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// Whether every number stands for the same value in both.
    pub(super) fn means_the_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.meaning, &other.meaning)
    }

    fn shard(&self, value: &K) -> usize {
        self.sharding.hash_one(value) as usize % SHARDS
    }

    /// Uses a value so many times more, above 0. A value whose number is not below `short` is given one that is, as soon as one is free; who has the other
    /// keeps it until it changes. There are more numbers than a fleet has devices.
    pub(super) fn acquire(&mut self, value: &K, uses: u64, short: u32) -> u32 {
        if let Some(number) = self.keeps(value, short) {
            if let Some(entry) = &mut self.chunk(number).entries[number as usize % CHUNK] {
                entry.uses += uses;
            }
            return number;
        }
        let number = self.lowest_free();
        self.first_free = number as usize / CHUNK;
        if self.first_free == self.chunks.len() {
            self.chunks.push(Arc::default());
        }
        let chunk = self.chunk(number);
        let entry = Some(Entry { value: value.clone(), uses });
        match chunk.entries.get_mut(number as usize % CHUNK) {
            Some(free) => *free = entry,
            None => chunk.entries.push(entry),
        }
        chunk.used += 1;
        let shard = self.shard(value);
        if self.numbers.is_empty() {
            // One empty map stands for all until they have something of their own.
            self.numbers = vec![Arc::default(); SHARDS];
        }
        Arc::make_mut(&mut self.numbers[shard]).insert(value.clone(), number);
        self.meaning = Arc::default();
        number
    }

    /// The number of a value that is in use, unless it is to be given a shorter one.
    pub(super) fn keeps(&self, value: &K, short: u32) -> Option<u32> {
        self.find(value).filter(|number| *number < short || self.lowest_free() >= short)
    }

    fn lowest_free(&self) -> u32 {
        let chunks = self.chunks.iter().enumerate().skip(self.first_free);
        let (at, chunk) =
            match chunks.filter(|(_, chunk)| chunk.used < CHUNK).map(|(at, chunk)| (at, Some(chunk))).next() {
                Some(found) => found,
                None => (self.chunks.len(), None),
            };
        let entries = chunk.map_or(&[][..], |chunk| &chunk.entries);
        let free = entries.iter().position(Option::is_none).unwrap_or(entries.len());
        (at * CHUNK + free) as u32
    }

    /// Uses a number once less. Gives the value where nobody uses that number any more.
    pub(super) fn release(&mut self, number: u32) -> Option<K> {
        let at = number as usize % CHUNK;
        let chunk = self.chunk(number);
        let entry = chunk.entries[at].as_mut()?;
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses > 0 {
            return None;
        }
        let value = chunk.entries[at].take()?.value;
        chunk.used -= 1;
        if chunk.used == 0 {
            chunk.entries = Vec::new();
        }
        while self.chunks.last().is_some_and(|last| last.used == 0) {
            self.chunks.pop();
        }
        self.first_free = self.first_free.min(number as usize / CHUNK);
        self.meaning = Arc::default();
        let shard = self.shard(&value);
        let numbers = Arc::make_mut(&mut self.numbers[shard]);
        // It may have another number by now.
        if numbers.get(&value) == Some(&number) {
            numbers.remove(&value);
        }
        if numbers.len() * 4 < numbers.capacity() {
            numbers.shrink_to_fit();
        }
        Some(value)
    }

    /// The chunk of a number that was given out, or is about to be.
    fn chunk(&mut self, number: u32) -> &mut Chunk<K> {
        Arc::make_mut(&mut self.chunks[number as usize / CHUNK])
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &K> {
        let entries = self.chunks.iter().flat_map(|chunk| &chunk.entries);
        entries.filter_map(|entry| entry.as_ref().map(|entry| &entry.value))
    }

    /// How many bytes it takes, by its own account, without what its values point to.
    pub(super) fn bytes(&self) -> usize {
        let entries = |chunk: &Arc<Chunk<K>>| chunk.entries.capacity() * size_of::<Option<Entry<K>>>();
        let chunks: usize =
            self.chunks.iter().map(|chunk| entries(chunk) + size_of::<Chunk<K>>() + 16 + size_of::<Arc<()>>()).sum();
        // A map keeps an eighth or more of its places free, and a byte for each.
        let maps: usize = self.numbers.iter().map(|shard| shard.capacity() * 8 / 7 * (size_of::<(K, u32)>() + 1)).sum();
        chunks + maps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = u32::MAX;

    #[test]
    fn a_number_stands_for_one_value_while_anybody_uses_it() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = (0..1_000).map(|value| interner.acquire(&value, 1, ALL)).collect();
        assert_eq!(interner.acquire(&5, 2, ALL), numbers[5]);
        assert!((0..1_000).all(|value| interner.get(numbers[value]) == Some(&value)));
        let before = interner.clone();

        assert_eq!([interner.release(numbers[5]), interner.release(numbers[5])], [None, None]);
        assert!(interner.means_the_same_as(&before));
        assert_eq!(interner.release(numbers[5]), Some(5));
        assert!(!interner.means_the_same_as(&before));
        assert_eq!((interner.find(&5), interner.get(numbers[5])), (None, None));
        assert_eq!(interner.acquire(&1_000, 1, ALL), numbers[5], "the number is given out again");
        assert_eq!(before.get(numbers[5]), Some(&5), "and an older revision is as it was");
        assert_eq!(interner.values().count(), 1_000);
    }

    /// What devices report must not make the rest dearer for good.
    #[test]
    fn little_is_left_of_what_nobody_uses_and_short_numbers_are_given_again() {
        let many = if cfg!(miri) { 700 } else { 70_000 };
        let short = many / 2;
        let mut interner = Interner::default();
        let stays = interner.acquire(&many, 1, short);
        let small = interner.bytes();
        let numbers: Vec<u32> = (0..many).map(|value| interner.acquire(&value, 1, short)).collect();
        let long = interner.acquire(&(many + 1), 1, short);
        assert_eq!(interner.acquire(&(many + 1), 1, short), long, "none below is free");
        for (value, number) in (0..many).zip(numbers) {
            assert_eq!(interner.release(number), Some(value));
        }
        let given = interner.acquire(&(many + 1), 1, short);
        assert!(given < short && long >= short);
        assert_eq!((interner.get(given), interner.get(long)), (Some(&(many + 1)), Some(&(many + 1))));
        assert_eq!([interner.release(long), interner.release(long)], [None, Some(many + 1)]);
        assert_eq!(interner.find(&(many + 1)), Some(given), "the other number is the one that is known");
        assert_eq!(interner.release(given), Some(many + 1));
        // A chunk keeps its room while one of its values is in use.
        assert!(interner.bytes() <= small + 2_048, "{} bytes, {small} before", interner.bytes());
        assert_eq!(interner.release(stays), Some(many));
        assert!(interner.numbers.iter().all(|shard| shard.capacity() == 0) && interner.chunks.is_empty());
    }
}
