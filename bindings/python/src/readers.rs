//! The readers of a fleet, for whichever thread asks, and the decisions that many devices share.
//!
//! A reader is for one thread at a time. Under a GIL the first of these is nearly always free; while a batch runs without it, or where there is no GIL, others are
//! taken. Nobody waits: where all are taken, a reader is made for the call. So a process that was forked while another thread decided goes on too.

use crate::decision::Decision;
use crate::given::Given;
use crate::time::now;
use otagate::{Artifact, CheckIn, Decision as Decided, Effect, Index, NoTrace, Offer, Reader, Timestamp, Verdict};
use parking_lot::Mutex;
use pyo3::prelude::*;

const SLOTS: usize = 8;
/// How many decisions a reader keeps to give them again: a power of two.
const SHARED: usize = 256;

#[derive(Default)]
pub(crate) struct Readers([Mutex<Slot>; SLOTS]);

#[derive(Default)]
struct Slot {
    own: Option<Own>,
    /// The datetime that was read last: it never changes, so who decides a whole fleet at one time reads it once.
    at: Option<(Py<PyAny>, Timestamp)>,
}

struct Own {
    reader: Reader,
    shared: Vec<Option<Shared>>,
}

impl Own {
    fn new(index: &Index) -> Self {
        Self { reader: index.reader(), shared: (0..SHARED).map(|_| None).collect() }
    }
}

/// A decision that says nothing of one device alone, and what it was made of.
struct Shared {
    /// What is served, as it was compared last.
    artifact: Option<Artifact>,
    decision: Py<Decision>,
}

impl Readers {
    /// Where this thread begins to look. With a GIL that is the first: its memory is warm.
    fn first() -> usize {
        #[cfg(Py_GIL_DISABLED)]
        {
            use std::sync::atomic::{AtomicUsize, Ordering};
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed));
            OWN.try_with(|own| *own).unwrap_or(0)
        }
        #[cfg(not(Py_GIL_DISABLED))]
        0
    }

    #[inline]
    fn with<R>(&self, index: &Index, call: impl FnOnce(&mut Own, &mut Option<(Py<PyAny>, Timestamp)>) -> R) -> R {
        let first = Self::first();
        for at in 0..SLOTS {
            if let Some(mut slot) = self.0[(first + at) % SLOTS].try_lock() {
                let Slot { own, at } = &mut *slot;
                return call(own.get_or_insert_with(|| Own::new(index)), at);
            }
        }
        call(&mut Own::new(index), &mut None)
    }

    /// One decision.
    #[inline]
    pub(crate) fn decide(
        &self,
        py: Python<'_>,
        index: &Index,
        ask: &CheckIn<'_>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Decision>> {
        let known = self.with(index, |own, held| {
            let time = match at {
                None => now(None)?,
                Some(given) => match held.as_ref().filter(|(known, _)| known.is(given)) {
                    Some((_, read)) => *read,
                    None => return Ok(None),
                },
            };
            give(py, &mut own.shared, &own.reader.decide(ask, time, &mut NoTrace), ask).map(Some)
        });
        match known? {
            Some(decision) => Ok(decision),
            None => self.decide_at(py, index, ask, at),
        }
    }

    #[inline(never)]
    fn decide_at(
        &self,
        py: Python<'_>,
        index: &Index,
        ask: &CheckIn<'_>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Decision>> {
        // Read while no reader is taken: a time zone may be Python's, and decide itself.
        let time = now(at)?;
        let (decision, before) = self.with(index, |own, held| {
            let decision = give(py, &mut own.shared, &own.reader.decide(ask, time, &mut NoTrace), ask);
            (decision, std::mem::replace(held, at.map(|given| (given.clone().unbind(), time))))
        });
        // What goes may be Python's too.
        drop(before);
        decision
    }

    /// Many decisions of one revision. Without the GIL, if the caller let it go.
    pub(crate) fn decide_all<'a>(
        &self,
        index: &Index,
        asks: impl Iterator<Item = CheckIn<'a>>,
        now: Timestamp,
        give: impl FnMut(&CheckIn<'a>, &Decided<'_>),
    ) {
        self.with(index, |own, _| own.reader.decide_all(asks, now, give));
    }

    /// Many decisions of one revision, as objects.
    pub(crate) fn decide_objects<'a>(
        &self,
        py: Python<'_>,
        index: &Index,
        asks: impl Iterator<Item = CheckIn<'a>>,
        now: Timestamp,
    ) -> PyResult<Vec<Py<Decision>>> {
        self.with(index, |own, _| {
            let Own { reader, shared } = own;
            let mut made = Ok(Vec::with_capacity(asks.size_hint().0));
            reader.decide_all(asks, now, |ask, decided| {
                if let Ok(all) = &mut made {
                    match give(py, shared, decided, ask) {
                        Ok(decision) => all.push(decision),
                        Err(error) => made = Err(error),
                    }
                }
            });
            made
        })
    }

    /// Counts a verdict that was given with a ledger.
    pub(crate) fn count(&self, index: &Index, product: Option<&otagate::ProductId>, reason: otagate::Reason) {
        self.with(index, |own, _| own.reader.count(product, reason));
    }

    /// Lets go of old revisions: readers that nobody uses now, and what they shared.
    pub(crate) fn refresh(&self) {
        for slot in &self.0 {
            let shared = slot.try_lock().and_then(|mut slot| {
                let own = slot.own.as_mut()?;
                own.reader.refresh();
                Some(std::mem::replace(&mut own.shared, (0..SHARED).map(|_| None).collect()))
            });
            drop(shared);
        }
    }
}

/// The object for a decision: the one that was given before, where it says the same.
#[inline]
fn give(
    py: Python<'_>,
    shared: &mut [Option<Shared>],
    decided: &Decided<'_>,
    ask: &CheckIn<'_>,
) -> PyResult<Py<Decision>> {
    let place = place(decided);
    if let Some(held) = shared.get(place).and_then(Option::as_ref)
        && held.says(decided)
    {
        return Ok(held.decision.clone_ref(py));
    }
    make(py, shared, place, decided, ask)
}

#[inline(never)]
fn make(
    py: Python<'_>,
    shared: &mut [Option<Shared>],
    place: usize,
    decided: &Decided<'_>,
    ask: &CheckIn<'_>,
) -> PyResult<Py<Decision>> {
    let decision = Decision::new(py, Given::of(decided, ask))?;
    let artifact = decided.firmware_offer().map(|offer| offer.artifact.clone());
    if let Some(slot) = shared.get_mut(place).filter(|_| is_shared(decided)) {
        *slot = Some(Shared { artifact, decision: decision.clone_ref(py) });
    }
    Ok(decision)
}

/// Whether a decision says nothing of one device alone.
pub(crate) fn is_shared(decided: &Decided<'_>) -> bool {
    match decided.verdict {
        Verdict::Serve(Offer::Firmware(offer)) => !offer.leased && decided.effect.is_none(),
        Verdict::Serve(_) => false,
        _ => matches!(decided.effect, None | Some(Effect::Seen(_))),
    }
}

/// Where a decision is kept: a guess, by what it points at, that `says` confirms.
#[inline]
fn place(decided: &Decided<'_>) -> usize {
    let meant = decided.meant.map_or(0, |meant| std::ptr::from_ref(meant) as usize);
    let artifact = decided.firmware_offer().map_or(0, |offer| std::ptr::from_ref(offer.artifact) as usize);
    let mixed = (meant >> 4).wrapping_mul(31) ^ (artifact >> 4).wrapping_mul(7) ^ usize::from(decided.reason.number());
    (mixed ^ mixed >> 8) & (SHARED - 1)
}

impl Shared {
    #[inline]
    fn says(&self, decided: &Decided<'_>) -> bool {
        let given = &self.decision.get().given;
        let rollout = match decided.effect {
            None => given.effect.is_none(),
            Some(Effect::Seen(rollout)) => {
                matches!(&given.effect, Some(crate::given::GivenEffect::Seen { rollout: held }) if **held == *rollout.as_str())
            }
            Some(_) => false,
        };
        let offer = match &decided.verdict {
            Verdict::Serve(Offer::Firmware(offer)) => {
                let version = matches!(&given.offer, Some(crate::given::GivenOffer::Firmware { version, .. }) if **version == *offer.firmware.version().text());
                version && !offer.leased && self.artifact.as_ref() == Some(offer.artifact)
            }
            Verdict::Serve(_) => false,
            _ => self.artifact.is_none(),
        };
        given.revision == decided.revision.0
            && given.reason == decided.reason.number()
            && given.retry_after_secs == decided.retry_after_secs
            && given.meant.as_deref() == decided.meant.map(|meant| meant.version().text())
            && given.rollout.as_deref() == decided.rollout.map(otagate::RolloutId::as_str)
            && rollout
            && offer
    }
}
