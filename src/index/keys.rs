//! Which product a key is of, without paying a BLAKE3 for every check-in.
//!
//! A key is held as its BLAKE3 alone, which takes about as long as all that a decision computes besides. So each reader remembers the keys that it found, under a 128-bit
//! SipHash with a secret of its own: no key is held, no two keys can be made to look alike, and what a guess shares with a key changes nothing.
//!
//! **Time.** A key that nobody has is not remembered: it pays the BLAKE3 each time, and it searches the devices of the largest product. Whoever is told 401
//! under a known key makes up for the one, and for the other too where its own product is much smaller ([`Reader`](super::Reader)): one BLAKE3 and one trip
//! to RAM either way. What is left is some nanoseconds, more in a batch, and tells of a whole key at most, never of a part: nothing that would help to guess
//! one.

use super::snapshot::{Keys, Place, Snapshot};
use crate::fleet::{KEY_BYTES_MAX, KeyHash};
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

/// How many keys a reader remembers. With more in use, those that share a place pay the BLAKE3.
const KEYS_REMEMBERED: usize = 256;

/// The keys that a reader found, and where.
#[derive(Debug)]
pub(super) struct KnownKeys {
    secret: SipHasher13,
    /// What the places are of.
    of: Arc<Keys>,
    known: Box<[Option<(u128, Place)>; KEYS_REMEMBERED]>,
}

/// Where a key is, and whether that was remembered.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) place: Option<Place>,
    pub(super) remembered: bool,
}

impl KnownKeys {
    pub(super) fn new(of: Arc<Keys>) -> Self {
        let random = RandomState::new();
        let secret = SipHasher13::new_with_keys(random.hash_one(2u8), random.hash_one(3u8));
        Self { secret, of, known: Box::new([None; KEYS_REMEMBERED]) }
    }

    #[inline]
    pub(super) fn find(&mut self, snapshot: &Snapshot, key: &[u8]) -> Found {
        if key.len() > KEY_BYTES_MAX {
            return Found { place: None, remembered: false };
        }
        if !Arc::ptr_eq(&self.of, &snapshot.keys) {
            self.forget(&snapshot.keys);
        }
        let mut hasher = self.secret;
        hasher.write(key);
        let print = hasher.finish128().as_u128();
        let at = print as usize % KEYS_REMEMBERED;
        match self.known[at] {
            Some((known, place)) if known == print => Found { place: Some(place), remembered: true },
            _ => {
                let place = KeyHash::of(key).and_then(|hash| snapshot.keys.get(&hash)).copied();
                if let Some(place) = place {
                    self.known[at] = Some((print, place));
                }
                Found { place, remembered: false }
            }
        }
    }

    #[cold]
    fn forget(&mut self, keys: &Arc<Keys>) {
        self.of = keys.clone();
        self.known.fill(None);
    }
}
