//! The readers of a fleet, for whichever thread asks, and the decisions that many devices share.
//!
//! A reader is for one thread at a time. Under a GIL there is one for whoever holds it; a batch that lets go of the GIL takes another, and so does everybody where
//! there is none. Nobody waits: where all are taken, a reader is made for the call. So a process that was forked while another thread decided goes on too.

use crate::decision::Decision;
use crate::given::Given;
use crate::time::{is_fixed, now};
use otagate::{Artifact, CheckIn, Decision as Decided, Effect, Index, NoTrace, Offer, Reader, Timestamp, Verdict};
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::cell::{Cell, UnsafeCell};

const SLOTS: usize = 8;
/// How many decisions a reader keeps to give them again: a power of two.
const SHARED: usize = 256;

#[derive(Default)]
pub(crate) struct Readers {
    first: First,
    others: [Mutex<Option<Own>>; SLOTS],
}

/// The reader of whoever holds the GIL, which no lock needs to guard: only that nobody is in it already, which Python may be that is called on the way.
#[derive(Default)]
struct First {
    busy: Cell<bool>,
    slot: UnsafeCell<Slot>,
}

// SAFETY: it is looked at only by a thread that is attached (`enter` asks for the token), and where there is a GIL, that is one at a time; interpreters
// with a GIL of their own do not import this module. Where there is none, `enter` gives nothing.
unsafe impl Sync for First {}
// SAFETY: what is in it may go from thread to thread.
unsafe impl Send for First {}

/// Somebody is in it, until this is dropped.
struct Entered<'a, 'py> {
    first: &'a First,
    _attached: Python<'py>,
}

impl First {
    #[inline]
    fn enter<'a, 'py>(&'a self, attached: Python<'py>) -> Option<Entered<'a, 'py>> {
        if cfg!(Py_GIL_DISABLED) || self.busy.replace(true) {
            return None;
        }
        Some(Entered { first: self, _attached: attached })
    }
}

impl Entered<'_, '_> {
    #[inline]
    fn slot(&mut self) -> &mut Slot {
        // SAFETY: `busy` was false, so there is no other `Entered`, and it is ours alone until it is false again.
        unsafe { &mut *self.first.slot.get() }
    }
}

impl Drop for Entered<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        self.first.busy.set(false);
    }
}

#[derive(Default)]
struct Slot {
    own: Option<Own>,
    /// The datetime that was read last, where it cannot come to mean another time: who decides a whole fleet at one time reads it once.
    at: Option<(Py<PyAny>, Timestamp)>,
}

struct Own {
    reader: Reader,
    shared: Vec<Option<Shared>>,
}

impl Own {
    fn new(index: &Index) -> Self {
        Self { reader: index.reader(), shared: Self::nothing_shared() }
    }

    fn nothing_shared() -> Vec<Option<Shared>> {
        (0..SHARED).map(|_| None).collect()
    }
}

/// A decision that says nothing of one device alone, and what it was made of.
struct Shared {
    /// What is served, as it was compared last.
    artifact: Option<Artifact>,
    decision: Py<Decision>,
}

impl Readers {
    /// Where this thread begins to look.
    fn begin() -> usize {
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

    /// A reader of those that a lock guards.
    #[cold]
    fn with_other<R>(&self, index: &Index, call: impl FnOnce(&mut Own) -> R) -> R {
        let begin = Self::begin();
        for at in 0..SLOTS {
            if let Some(mut own) = self.others[(begin + at) % SLOTS].try_lock() {
                return call(own.get_or_insert_with(|| Own::new(index)));
            }
        }
        call(&mut Own::new(index))
    }

    /// A reader for a thread that is attached.
    #[inline]
    fn with<R>(&self, py: Python<'_>, index: &Index, call: impl FnOnce(&mut Own) -> R) -> R {
        match self.first.enter(py) {
            Some(mut entered) => call(entered.slot().own.get_or_insert_with(|| Own::new(index))),
            None => self.with_other(index, call),
        }
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
        if let Some(mut entered) = self.first.enter(py) {
            let Slot { own, at: held } = entered.slot();
            let time = match at {
                None => Some(now(None)?),
                Some(given) => held.as_ref().filter(|(known, _)| known.is(given)).map(|(_, read)| *read),
            };
            if let Some(time) = time {
                let own = own.get_or_insert_with(|| Own::new(index));
                return give(py, &mut own.shared, &own.reader.decide(ask, time, &mut NoTrace), ask);
            }
        }
        self.decide_at(py, index, ask, at)
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
        if let Some(given) = at
            && is_fixed(given)?
        {
            let kept = Some((given.clone().unbind(), time));
            let before = self.first.enter(py).and_then(|mut entered| std::mem::replace(&mut entered.slot().at, kept));
            drop(before);
        }
        self.with(py, index, |own| give(py, &mut own.shared, &own.reader.decide(ask, time, &mut NoTrace), ask))
    }

    /// Many decisions of one revision. Without the GIL, if the caller let it go.
    #[inline]
    pub(crate) fn decide_all<'a>(
        &self,
        index: &Index,
        len: usize,
        ask: impl FnMut(usize) -> CheckIn<'a>,
        now: Timestamp,
        give: impl FnMut(usize, &CheckIn<'a>, &Decided<'_>),
    ) {
        self.with_other(index, |own| own.reader.decide_all(len, ask, now, give));
    }

    /// Many decisions of one revision, as objects.
    pub(crate) fn decide_objects<'a>(
        &self,
        py: Python<'_>,
        index: &Index,
        len: usize,
        ask: impl FnMut(usize) -> CheckIn<'a>,
        now: Timestamp,
    ) -> PyResult<Vec<Py<Decision>>> {
        self.with(py, index, |own| {
            let Own { reader, shared } = own;
            let mut made = Ok(Vec::with_capacity(len));
            reader.decide_all(len, ask, now, |_, ask, decided| {
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
    pub(crate) fn count(
        &self,
        py: Python<'_>,
        index: &Index,
        product: Option<&otagate::ProductId>,
        reason: otagate::Reason,
    ) {
        self.with(py, index, |own| own.reader.count(product, reason));
    }

    /// Lets go of old revisions: readers that nobody uses now, and what they shared.
    pub(crate) fn refresh(&self, py: Python<'_>) {
        let fresh = |own: &mut Own| {
            own.reader.refresh();
            std::mem::replace(&mut own.shared, Own::nothing_shared())
        };
        let first = self.first.enter(py).map(|mut entered| {
            let Slot { own, at } = entered.slot();
            (own.as_mut().map(fresh), at.take())
        });
        drop(first);
        for slot in &self.others {
            let shared = slot.try_lock().and_then(|mut own| own.as_mut().map(fresh));
            // What goes may be Python's.
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
            && decided.reason.number() == given.reason
            && given.retry_after_secs == decided.retry_after_secs
            && given.meant.as_deref() == decided.meant.map(|meant| meant.version().text())
            && given.rollout.as_deref() == decided.rollout.map(otagate::RolloutId::as_str)
            && rollout
            && offer
    }
}
