//! One thread's way into the index. A decision waits for nobody, allocates nothing, and writes nothing that another thread reads often; the first one for each
//! product sets up its counters.

use super::counters::Block;
use super::keys::{Found, KnownKeys};
use super::snapshot::{Located, Place, Snapshot};
use super::{Current, Shared};
use crate::check_in::CheckIn;
use crate::decide::decide;
use crate::decide::trace::{NoTrace, Trace};
use crate::fleet::{CanonicalSerial, KeyHash, ProductId, Revision};
use crate::time::Timestamp;
use crate::verdict::{Decision, Reason};
use arc_swap::Cache;
use std::collections::HashMap;
use std::sync::Arc;

/// How many check-ins of a batch are under way at once: enough trips to RAM to keep the memory busy, few enough to stay in the nearest cache.
const LOOK_AHEAD: usize = 16;

/// One thread's way into an [`Index`](super::Index): make one per thread and keep it. It owns its share of the index, so it may be moved and stored anywhere.
///
/// It holds the revision that it saw last until it is asked again; a reader that is put aside for long should be dropped, or
/// [`refresh`](Reader::refresh)ed now and then, so that old revisions leave the memory.
#[derive(Debug)]
pub struct Reader {
    cache: Cache<Current, Arc<Snapshot>>,
    keys: KnownKeys,
    counts: Option<Counts>,
    shared: Arc<Shared>,
    /// Where the canonical serial of a check-in stands while it is decided.
    serial: CanonicalSerial,
}

/// The blocks of this reader.
#[derive(Debug)]
struct Counts {
    /// That of unknown keys, then by the number of the product in the snapshot.
    blocks: Vec<Option<Arc<Block>>>,
    /// What the numbers are of.
    of: Arc<super::snapshot::Keys>,
    by_product: HashMap<Option<ProductId>, Arc<Block>>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut cache = Cache::new(Current(shared.clone()));
        let keys = cache.load().keys.clone();
        let counts = Counts { blocks: Vec::new(), of: keys.clone(), by_product: HashMap::new() };
        Self { cache, keys: KnownKeys::new(keys), counts: Some(counts), shared, serial: CanonicalSerial::EMPTY }
    }

    /// The same reader without its part of [`verdicts`](super::Index::verdicts).
    pub fn uncounted(mut self) -> Self {
        self.counts = None;
        self
    }

    /// Takes over the newest revision, as every decision does, and says which it is. It goes back only where a
    /// [`replace`](super::Index::replace) was forced to.
    pub fn refresh(&mut self) -> Revision {
        self.cache.load().revision()
    }

    /// Answers a check-in from the newest revision: a pure function of that revision, the check-in and the time. Without a ledger nobody holds a claim; a
    /// host that has one goes by way of [`Store`](crate::store::Store), which the index is too.
    ///
    /// About the time of one trip to RAM. Allocates nothing, unless the trace does; but for the reader's first verdict about each product, which takes a
    /// lock for a moment and 512 bytes for its counters ([`uncounted`](Self::uncounted) has none).
    ///
    /// ```
    /// use otagate::{CheckIn, Fleet, Index, NoTrace, Timestamp};
    /// let index = Index::new(&Fleet::default());
    /// let mut reader = index.reader(); // one per thread
    /// let ask = CheckIn::new(b"guess", b"A4:CF:12:34:56:78");
    /// assert_eq!(reader.decide(&ask, Timestamp::from_millis(0), &mut NoTrace).status(), 401);
    /// ```
    #[inline]
    pub fn decide<T: Trace>(&mut self, ask: &CheckIn<'_>, now: Timestamp, trace: &mut T) -> Decision<'_> {
        let snapshot = self.cache.load();
        let found = self.keys.find(snapshot, ask.key);
        let decision = decide_at(snapshot, found.place, ask, &mut self.serial, now, trace);
        if decision.status() == 401 {
            pay(snapshot, found, ask);
        }
        if let Some(counts) = &mut self.counts {
            counts.count(snapshot, &self.shared, found.place, &decision);
        }
        decision
    }

    /// The same for a host that hashes the key once per connection, by [`KeyHash::of`]; `ask.key` is not looked at. The key itself is looked up again
    /// each time, so that one that is revoked, or gone, is known to be at once.
    #[inline]
    pub fn decide_known<T: Trace>(
        &mut self,
        key: &KeyHash,
        ask: &CheckIn<'_>,
        now: Timestamp,
        trace: &mut T,
    ) -> Decision<'_> {
        let snapshot = self.cache.load();
        let place = snapshot.keys.get(key).copied();
        let decision = decide_at(snapshot, place, ask, &mut self.serial, now, trace);
        if let (Some(place), 401) = (place, decision.status()) {
            snapshot.search_for_nobody(place, ask);
        }
        if let Some(counts) = &mut self.counts {
            counts.count(snapshot, &self.shared, place, &decision);
        }
        decision
    }

    /// Counts a verdict among [`verdicts`](super::Index::verdicts) that was given by way of the index as a [`Store`](crate::store::Store): with a ledger, say.
    pub fn count(&mut self, product: Option<&ProductId>, reason: Reason) {
        let Some(counts) = &mut self.counts else { return };
        match counts.by_product.get(&product.cloned()) {
            Some(block) => block.count(reason),
            None => {
                let block = self.shared.counters.block(product.cloned());
                block.count(reason);
                counts.by_product.insert(product.cloned(), block);
            }
        }
    }

    /// Answers many check-ins, all from one revision, `give` making of each decision what goes into `answers`. The answers are those of
    /// [`decide`](Self::decide); the trips to RAM of sixteen check-ins are made at once, which takes less than half the time where the fleet is much larger
    /// than the processor's caches, and saves nothing where it is not.
    ///
    /// ```
    /// use otagate::{CheckIn, Fleet, Index, Timestamp};
    /// let asks = [CheckIn::new(b"guess", b"1"), CheckIn::new(b"another", b"2")];
    /// let mut statuses = [0; 2];
    /// let mut reader = Index::new(&Fleet::default()).reader();
    /// reader.decide_batch(&asks, Timestamp::from_millis(0), &mut statuses, |decision| decision.status());
    /// assert_eq!(statuses, [401, 401]);
    /// ```
    ///
    /// # Panics
    /// `answers` has another length than `asks`.
    pub fn decide_batch<R>(
        &mut self,
        asks: &[CheckIn<'_>],
        now: Timestamp,
        answers: &mut [R],
        mut give: impl FnMut(&Decision<'_>) -> R,
    ) {
        assert_eq!(asks.len(), answers.len(), "as many answers as check-ins");
        let snapshot = self.cache.load();
        let Self { keys, counts, shared, .. } = self;
        for (asks, answers) in asks.chunks(LOOK_AHEAD).zip(answers.chunks_mut(LOOK_AHEAD)) {
            let mut answers = answers.iter_mut();
            decide_some(snapshot, keys, counts, shared, asks, now, |_, decision| {
                // As many as there are check-ins, in their order.
                if let Some(answer) = answers.next() {
                    *answer = give(decision);
                }
            });
        }
    }

    /// The same for `len` check-ins that `ask` makes on the way, from the columns of a table, say, so that no slice of them has to be: each is 128 bytes. Both
    /// functions are called once for each, in order; `give` may come up to sixteen later.
    ///
    /// ```
    /// use otagate::{CheckIn, Fleet, Index, Timestamp};
    /// let serials = ["1", "2"];
    /// let mut statuses = [0; 2];
    /// let mut reader = Index::new(&Fleet::default()).reader();
    /// reader.decide_all(
    ///     serials.len(),
    ///     |at| CheckIn::new(b"guess", serials[at].as_bytes()),
    ///     Timestamp::from_millis(0),
    ///     |at, _ask, decision| statuses[at] = decision.status(),
    /// );
    /// assert_eq!(statuses, [401, 401]);
    /// ```
    pub fn decide_all<'a>(
        &mut self,
        len: usize,
        mut ask: impl FnMut(usize) -> CheckIn<'a>,
        now: Timestamp,
        mut give: impl FnMut(usize, &CheckIn<'a>, &Decision<'_>),
    ) {
        let snapshot = self.cache.load();
        let Self { keys, counts, shared, .. } = self;
        let mut some = [CheckIn::new(b"", b""); LOOK_AHEAD];
        let mut from = 0;
        while from < len {
            let some = &mut some[..LOOK_AHEAD.min(len - from)];
            for (at, place) in some.iter_mut().enumerate() {
                *place = ask(from + at);
            }
            let mut at = from;
            decide_some(snapshot, keys, counts, shared, some, now, |ask, decision| {
                give(at, ask, decision);
                at += 1;
            });
            from += some.len();
        }
    }

    /// Answers check-ins each at its own time and under a key that is known by its hash: what a simulation or a preview asks, which nobody times. As long a slice as is wanted;
    /// the trips to RAM of sixteen are made at once.
    #[cfg(feature = "simulate")]
    pub(crate) fn decide_timed(&mut self, asks: &[Timed<'_>], mut give: impl FnMut(usize, &Decision<'_>)) {
        let snapshot = self.cache.load();
        let mut at = 0;
        for asks in asks.chunks(LOOK_AHEAD) {
            let mut serials = [CanonicalSerial::EMPTY; LOOK_AHEAD];
            let mut located: [Option<Located<'_>>; LOOK_AHEAD] = [const { None }; LOOK_AHEAD];
            for (timed, (serial, located)) in asks.iter().zip(serials.iter_mut().zip(&mut located)) {
                *located = snapshot.locate(snapshot.keys.get(timed.key).copied(), &timed.ask, serial);
            }
            let touched = located.iter().flatten().fold(0, |all, located| all ^ snapshot.touch(located));
            std::hint::black_box(touched);
            for (timed, located) in asks.iter().zip(&located) {
                let found = located.as_ref().and_then(|located| snapshot.find(located));
                give(at, &decide(&snapshot.facts(located.as_ref(), found), &timed.ask, timed.now, &mut NoTrace));
                at += 1;
            }
        }
    }
}

/// A check-in under a known key, at its time.
#[cfg(feature = "simulate")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed<'a> {
    /// The key, by its hash; that of the check-in is not looked at.
    pub(crate) key: &'a KeyHash,
    /// The check-in.
    pub(crate) ask: CheckIn<'a>,
    /// When.
    pub(crate) now: Timestamp,
}

/// At most [`LOOK_AHEAD`] check-ins: their trips to RAM are made at once.
#[inline]
fn decide_some<'a>(
    snapshot: &Snapshot,
    keys: &mut KnownKeys,
    counts: &mut Option<Counts>,
    shared: &Arc<Shared>,
    asks: &[CheckIn<'a>],
    now: Timestamp,
    mut give: impl FnMut(&CheckIn<'a>, &Decision<'_>),
) {
    let mut serials = [CanonicalSerial::EMPTY; LOOK_AHEAD];
    let mut places = [const { None }; LOOK_AHEAD];
    let mut located: [Option<Located<'_>>; LOOK_AHEAD] = [const { None }; LOOK_AHEAD];
    for (ask, (serial, (place, located))) in
        asks.iter().zip(serials.iter_mut().zip(places.iter_mut().zip(&mut located)))
    {
        let found = keys.find(snapshot, ask.key);
        *located = snapshot.locate(found.place, ask, serial);
        *place = Some(found);
    }
    let touched = located.iter().flatten().fold(0, |all, located| all ^ snapshot.touch(located));
    std::hint::black_box(touched);
    for (ask, (located, place)) in asks.iter().zip(located.iter().zip(places)) {
        let located = located.as_ref();
        let found = located.and_then(|located| snapshot.find(located));
        let facts = snapshot.facts(located, found);
        let decision = decide(&facts, ask, now, &mut NoTrace);
        if let (Some(found), 401) = (place, decision.status()) {
            pay(snapshot, found, ask);
        }
        if let Some(counts) = counts {
            counts.count(snapshot, shared, place.and_then(|found| found.place), &decision);
        }
        give(ask, &decision);
    }
}

/// What an unknown key costs and a known one did not, for whoever is told 401.
#[cold]
fn pay(snapshot: &Snapshot, found: Found, ask: &CheckIn<'_>) {
    let Some(place) = found.place else { return };
    if found.remembered {
        std::hint::black_box(KeyHash::of(ask.key));
    }
    snapshot.search_for_nobody(place, ask);
}

#[inline(always)]
fn decide_at<'s, T: Trace>(
    snapshot: &'s Snapshot,
    place: Option<Place>,
    ask: &CheckIn<'_>,
    serial: &'s mut CanonicalSerial,
    now: Timestamp,
    trace: &mut T,
) -> Decision<'s> {
    let located = snapshot.locate(place, ask, serial);
    let found = located.as_ref().and_then(|located| snapshot.find(located));
    decide(&snapshot.facts(located.as_ref(), found), ask, now, trace)
}

impl Counts {
    #[inline]
    fn count(&mut self, snapshot: &Snapshot, shared: &Shared, place: Option<Place>, decision: &Decision<'_>) {
        if !Arc::ptr_eq(&self.of, &snapshot.keys) {
            self.forget(snapshot);
        }
        let at = place.map_or(0, |place| place.product as usize + 1);
        match self.blocks.get(at) {
            Some(Some(block)) => block.count(decision.reason),
            _ => self.add(snapshot, shared, at).count(decision.reason),
        }
    }

    /// The products may have other numbers now.
    #[cold]
    fn forget(&mut self, snapshot: &Snapshot) {
        self.blocks.clear();
        self.of = snapshot.keys.clone();
        // Of products that are gone, the counts stay with the index.
        if self.by_product.len() > 2 * snapshot.products.len() + 64 {
            self.by_product.clear();
        }
    }

    #[cold]
    fn add(&mut self, snapshot: &Snapshot, shared: &Shared, at: usize) -> &Block {
        let product = at.checked_sub(1).and_then(|at| snapshot.products.get(at));
        let product = product.map(|product| product.few().product.id().clone());
        let block = self.by_product.entry(product).or_insert_with_key(|product| shared.counters.block(product.clone()));
        let block = block.clone();
        if self.blocks.len() <= at {
            self.blocks.resize(at + 1, None);
        }
        self.blocks[at].insert(block)
    }
}
