//! Values that many devices share, by number: each stands once, for as long as a device has it.
//!
//! A number whose last user is gone is given out again. Nobody is misled: a revision that still uses the number for the old value holds the interner of its
//! own time. Values stand in chunks and are found by shards of a map, so that a revision that adds one copies little of what a thousand others have.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

const CHUNK: usize = 64;
const SHARDS: usize = 64;

/// Values by number, counted by their uses.
#[derive(Clone, Debug)]
pub(super) struct Interner<K> {
    chunks: Vec<Arc<Vec<Entry<K>>>>,
    /// Numbers of entries that are empty, below the length.
    free: Arc<Vec<u32>>,
    len: u32,
    numbers: Vec<Arc<HashMap<K, u32>>>,
    sharding: RandomState,
}

#[derive(Clone, Debug)]
struct Entry<K> {
    value: Option<K>,
    uses: u64,
}

impl<K> Default for Interner<K> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Arc::default(), len: 0, numbers: Vec::new(), sharding: RandomState::new() }
    }
}

impl<K: Clone + Eq + Hash> Interner<K> {
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&K> {
        self.chunks.get(number as usize / CHUNK)?.get(number as usize % CHUNK)?.value.as_ref()
    }

    /// The number of a value that is in use.
    pub(super) fn find(&self, value: &K) -> Option<u32> {
        self.numbers.get(self.shard(value))?.get(value).copied()
    }

    /// Above every number that is in use.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    fn shard(&self, value: &K) -> usize {
        self.sharding.hash_one(value) as usize % SHARDS
    }

    /// Uses a value so many times more, above 0. There are more numbers than a fleet has devices.
    pub(super) fn acquire(&mut self, value: &K, uses: u64) -> u32 {
        if let Some(number) = self.find(value) {
            self.entry(number).uses += uses;
            return number;
        }
        let number = match Arc::make_mut(&mut self.free).pop() {
            Some(number) => number,
            None => {
                if self.len.is_multiple_of(CHUNK as u32) {
                    self.chunks.push(Arc::default());
                }
                if let Some(chunk) = self.chunks.last_mut() {
                    Arc::make_mut(chunk).push(Entry { value: None, uses: 0 });
                }
                self.len += 1;
                self.len - 1
            }
        };
        *self.entry(number) = Entry { value: Some(value.clone()), uses };
        let shard = self.shard(value);
        self.numbers.resize_with(SHARDS, Arc::default);
        Arc::make_mut(&mut self.numbers[shard]).insert(value.clone(), number);
        number
    }

    /// Uses a number once less. Gives the value where nobody uses it any more: the number is free.
    pub(super) fn release(&mut self, number: u32) -> Option<K> {
        let entry = self.entry(number);
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses > 0 {
            return None;
        }
        let value = entry.value.take()?;
        let shard = self.shard(&value);
        Arc::make_mut(&mut self.numbers[shard]).remove(&value);
        if self.numbers.iter().all(|shard| shard.is_empty()) {
            *self = Self { sharding: self.sharding.clone(), ..Self::default() };
        } else {
            Arc::make_mut(&mut self.free).push(number);
        }
        Some(value)
    }

    /// The entry of a number that was given out.
    fn entry(&mut self, number: u32) -> &mut Entry<K> {
        &mut Arc::make_mut(&mut self.chunks[number as usize / CHUNK])[number as usize % CHUNK]
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &K> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).filter_map(|entry| entry.value.as_ref())
    }

    /// How many bytes it takes, by its own account, without what its values point to.
    pub(super) fn bytes(&self) -> usize {
        let chunk = |chunk: &Arc<Vec<Entry<K>>>| chunk.capacity() * size_of::<Entry<K>>() + size_of_val(&**chunk) + 24;
        let chunks: usize = self.chunks.iter().map(chunk).sum();
        // A map keeps an eighth or more of its places free, and a byte for each.
        let maps: usize = self.numbers.iter().map(|shard| shard.capacity() * 8 / 7 * (size_of::<(K, u32)>() + 1)).sum();
        chunks + maps + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_one_value_while_anybody_uses_it() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = (0..1_000).map(|value| interner.acquire(&value, 1)).collect();
        assert_eq!(interner.acquire(&5, 2), numbers[5]);
        assert!((0..1_000).all(|value| interner.get(numbers[value]) == Some(&value)));
        let before = interner.clone();

        assert_eq!([interner.release(numbers[5]), interner.release(numbers[5])], [None, None]);
        assert_eq!(interner.release(numbers[5]), Some(5));
        assert_eq!((interner.find(&5), interner.get(numbers[5])), (None, None));
        assert_eq!(interner.acquire(&1_000, 1), numbers[5], "the number is given out again");
        assert_eq!(before.get(numbers[5]), Some(&5), "and an older revision is as it was");
        assert_eq!(interner.values().count(), 1_000);
    }

    #[test]
    fn nothing_is_left_of_what_nobody_uses() {
        let mut interner = Interner::default();
        let empty = interner.bytes();
        let many = if cfg!(miri) { 700 } else { 70_000 };
        for value in 0..many {
            interner.acquire(&value, 1);
        }
        for number in 0..many {
            assert!(interner.release(number).is_some());
        }
        assert_eq!(interner.bytes(), empty);
    }
}
