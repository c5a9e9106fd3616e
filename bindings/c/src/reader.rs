//! From check-in to decision: a reader is one thread's place at the gate, and keeps what its last decision
//! points at.

use crate::after::{From, otagate_after};
use crate::codes::*;
use crate::failure::{Failure, guard};
use crate::fleet::{fleet, otagate_fleet};
use crate::last::Last;
use crate::store::{HostStore, of_fault, otagate_store};
use crate::string::free;
use crate::types::*;
use otagate::store::{Store, fetch};
use otagate::{CheckIn, Index, NoTrace, Reader, Timestamp, decide};
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One thread's place at the gate: it decides check-ins, of a fleet or of a host's own store, and keeps what
/// its last decision points at.
///
/// For one thread at a time. A second one that comes in meanwhile gets `OTAGATE_ERROR_BUSY`, and nothing is
/// served; it is still a mistake, since both would own the last decision. A reader of a fleet that rests for
/// long keeps the revision in memory that it saw last: free it, or decide something now and then.
pub struct otagate_reader {
    busy: AtomicBool,
    inside: UnsafeCell<Inside>,
}

pub(crate) struct Inside {
    pub(crate) source: Source,
    pub(crate) last: Last,
}

impl Inside {
    /// The last decision, if it was made to the end; else nothing.
    pub(crate) fn given(&mut self) -> &mut Last {
        if !self.last.stands {
            self.last.clear();
        }
        &mut self.last
    }
}

#[allow(clippy::large_enum_variant, reason = "a reader stands in a box of its own, and most are of a fleet")]
pub(crate) enum Source {
    Fleet { index: Index, reader: Reader },
    Store(Arc<HostStore>),
}

// SAFETY: what is inside is reached only by whoever has set `busy`, on one thread at a time; a `Reader` and a host's store
// may move between threads, and the raw pointers in `last` are only handed out.
unsafe impl Send for otagate_reader {}
// SAFETY: as above.
unsafe impl Sync for otagate_reader {}

/// A reader that is in use, until it is dropped.
pub(crate) struct Entered<'r>(&'r otagate_reader);

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        // Pairs with the acquire of `enter`.
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Entered<'_> {
    #[inline]
    pub(crate) fn inside(&mut self) -> &mut Inside {
        // SAFETY: `busy` was clear and is set, so nobody else is inside.
        unsafe { &mut *self.0.inside.get() }
    }
}

/// # Safety
/// NULL, or a reader that was not freed.
#[inline]
pub(crate) unsafe fn enter<'r>(reader: *const otagate_reader) -> Result<Entered<'r>, Failure> {
    // SAFETY: the caller's.
    let reader = unsafe { reader.as_ref() }.ok_or_else(|| Failure::null("reader"))?;
    // Pairs with the release of `Entered::drop`: what the last call left inside is seen.
    if reader.busy.swap(true, Ordering::Acquire) { Err(busy()) } else { Ok(Entered(reader)) }
}

/// The same for a call that decides: whatever becomes of it, the reader has nothing of the decision before to
/// give any more.
///
/// # Safety
/// As [`enter`].
#[inline]
pub(crate) unsafe fn enter_anew<'r>(reader: *const otagate_reader) -> Result<Entered<'r>, Failure> {
    // SAFETY: the caller's.
    let mut entered = unsafe { enter(reader)? };
    let last = &mut entered.inside().last;
    if last.any {
        last.clear();
    }
    Ok(entered)
}

#[cold]
fn busy() -> Failure {
    Failure::new(OTAGATE_ERROR_BUSY, "the reader is in use: each thread needs one of its own")
}

fn give(source: Source) -> *mut otagate_reader {
    let inside = UnsafeCell::new(Inside { source, last: Last::default() });
    Box::into_raw(Box::new(otagate_reader { busy: AtomicBool::new(false), inside }))
}

/// A reader of a fleet. Its decisions take about one trip to memory, wait for nobody and allocate nothing on
/// the way to a 401, 404 or 304.
///
/// Owns: the caller frees `*reader` by `otagate_reader_free`; it keeps the fleet alive.
/// NULL: neither may be.
/// Threads: any. The reader is for one at a time.
/// Errors: `NULL`; `*reader` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_new(fleet: *const otagate_fleet, reader: *mut *mut otagate_reader) -> i32 {
    guard(|| {
        // SAFETY: the fleet and the pointer are the caller's, as the header says.
        let (reader, index) = unsafe { (out(reader, "reader")?, self::fleet(fleet)?) };
        *reader = give(Source::Fleet { index: index.clone(), reader: index.reader() });
        Ok(())
    })
}

/// A reader of a host's own store.
///
/// Owns: the caller frees `*reader` by `otagate_reader_free`; it keeps the store alive.
/// NULL: neither may be.
/// Threads: any. The reader is for one at a time.
/// Errors: `NULL`; `*reader` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_new_of_store(
    store: *const otagate_store,
    reader: *mut *mut otagate_reader,
) -> i32 {
    guard(|| {
        // SAFETY: the store and the pointer are the caller's, as the header says.
        let (reader, store) = unsafe { (out(reader, "reader")?, crate::store::store(store)?.clone()) };
        *reader = give(Source::Store(store));
        Ok(())
    })
}

/// Frees a reader.
///
/// Owns: takes it; what its last decision points at is gone.
/// NULL: does nothing.
/// Threads: any, while no other uses it. One that is in use, by another thread or by the call that this
/// callback is part of, is left as it is and never freed: `otagate_last_error` says so.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_free(reader: *mut otagate_reader) {
    // SAFETY: NULL, or a handle from this library (header).
    let in_use = unsafe { reader.as_ref() }.is_some_and(|reader| reader.busy.swap(true, Ordering::Acquire));
    if in_use {
        guard(|| Err(Failure::new(OTAGATE_ERROR_BUSY, "a reader was freed while it is in use: it is leaked")));
        return;
    }
    // SAFETY: NULL, or a handle from this library that nobody uses any more (header).
    unsafe { free(reader) }
}

/// Decides a check-in: a pure function of what the store knows, the check-in and the time, in milliseconds
/// since 1970-01-01T00:00:00Z (V3). Without a ledger of otagate's: who needs one calls `otagate_reader_attend`;
/// a host with its own carries out `OTAGATE_EFFECT_CLAIM`.
///
/// Owns: what `decision` points at is the reader's, until its next decision.
/// NULL: none may be.
/// Threads: one at a time for each reader.
/// Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `ARGUMENT`, `BUSY`, `PANIC`; of a host's store `STORE` and
/// `GARBAGE`. `decision` says 401 then, without a reason: nothing is to be served.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_decide(
    reader: *mut otagate_reader,
    check_in: *const otagate_check_in,
    now_millis: i64,
    decision: *mut otagate_decision,
) -> i32 {
    guard(|| {
        // SAFETY: the structs, their texts and the reader are the caller's, as the header says.
        let (decision, mut entered, ask) = unsafe {
            let decision = write(decision)?;
            *decision = otagate_decision::DENY;
            (decision, enter_anew(reader)?, read(check_in)?.read()?)
        };
        let Inside { source, last } = entered.inside();
        plant(&ask, "planted panic");
        let now = Timestamp::from_millis(now_millis);
        match source {
            Source::Fleet { index, reader } => {
                let given = reader.decide(&ask, now, &mut NoTrace);
                let made = otagate_decision::of(&given, otagate_text::of);
                if made.offer != OTAGATE_OFFER_NONE || made.effect != OTAGATE_EFFECT_NONE {
                    last.take(&given, &ask, || From::Fleet(index.clone()), None);
                    if made.effect == OTAGATE_EFFECT_CLAIM {
                        last.claims(index, &ask)?;
                    }
                }
                plant(&ask, "planted panic late");
                // Written last, where nothing can go wrong any more.
                (*decision, last.stands) = (made, true);
            }
            Source::Store(store) => {
                let made = by_store(store, &ask, now, last)?;
                plant(&ask, "planted panic late");
                (*decision, last.stands) = (made, true);
            }
        }
        Ok(())
    })
}

/// One decision by a host's store. Apart, so that a decision by a fleet does not make room for two.
#[inline(never)]
fn by_store(
    store: &Arc<HostStore>,
    ask: &CheckIn<'_>,
    now: Timestamp,
    last: &mut Last,
) -> Result<otagate_decision, Failure> {
    let view = store.view().map_err(Failure::from)?;
    let found = fetch(&view, ask).map_err(of_fault)?;
    let made = last.copy(&decide(&found.facts(), ask, now, &mut NoTrace), ask, || From::Store(store.clone()));
    if made.effect == OTAGATE_EFFECT_CLAIM {
        last.about(&found);
    }
    Ok(made)
}

/// Decides many check-ins, of a fleet all from one revision; the trips to memory of sixteen are made at once.
/// `decisions` has as many elements as `check_ins`. What is served is asked for by `otagate_reader_decide`, one
/// by one: after a batch the reader has no offer and no effect to give.
///
/// Owns: what the decisions point at is the reader's, until its next decision.
/// NULL: none may be, but both arrays with length 0.
/// Threads: one at a time for each reader.
/// Errors: as `otagate_reader_decide`; all of the decisions say 401 then, without a reason, where they could be
/// written at all.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_decide_many(
    reader: *mut otagate_reader,
    check_ins: *const otagate_check_in,
    now_millis: i64,
    decisions: *mut otagate_decision,
    len: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the array is the caller's, as the header says.
        let mut all = Denied(unsafe { write_all(decisions, len)? });
        // SAFETY: the array, its texts and the reader are the caller's, as the header says.
        let (mut entered, rows) = unsafe { (enter_anew(reader)?, read_all(check_ins, len)?) };
        // SAFETY: as above.
        let asks = rows.iter().map(|row| unsafe { row.read() }).collect::<Result<Vec<_>, _>>()?;
        let Inside { source, last } = entered.inside();
        let now = Timestamp::from_millis(now_millis);
        match source {
            Source::Fleet { reader, .. } => {
                reader.decide_batch(&asks, now, all.0, |given| otagate_decision::of(given, otagate_text::of));
            }
            Source::Store(store) => {
                let view = store.view().map_err(Failure::from)?;
                for (ask, decision) in asks.iter().zip(&mut *all.0) {
                    plant(ask, "planted panic");
                    // One state of the store, and for each check-in its own product and group.
                    let view = view.again();
                    let found = fetch(&view, ask).map_err(of_fault)?;
                    let given = decide(&found.facts(), ask, now, &mut NoTrace);
                    *decision = otagate_decision::of(&given, |text| last.keep(text));
                }
            }
        }
        asks.iter().for_each(|ask| plant(ask, "planted panic late"));
        // Every one is made: they stand.
        std::mem::take(&mut all.0);
        Ok(())
    })
}

/// Decisions that deny again, unless they are taken out: what fails in the middle of a batch gives nothing of
/// it.
struct Denied<'a>(&'a mut [otagate_decision]);

impl Drop for Denied<'_> {
    fn drop(&mut self) {
        self.0.fill(otagate_decision::DENY);
    }
}

/// Decisions of the caller's, each of which denies: those before the first that cannot be written, too.
///
/// # Safety
/// As [`read_all`], and nobody else uses it.
unsafe fn write_all<'a>(to: *mut otagate_decision, len: usize) -> Result<&'a mut [otagate_decision], Failure> {
    if len == 0 {
        return Ok(&mut []);
    }
    if to.is_null() || len > OTAGATE_ROWS_MAX {
        // SAFETY: nothing of it is looked at: it says which of the two is wrong.
        unsafe { read_all(to.cast_const(), len)? };
    }
    for at in 0..len {
        // SAFETY: the caller's; the one before was of the size that makes this one begin here.
        *unsafe { write(to.add(at))? } = otagate_decision::DENY;
    }
    // SAFETY: the caller's alone, and each of this type by its size.
    Ok(unsafe { std::slice::from_raw_parts_mut(to, len) })
}

/// Takes away what the last decision of this reader leaves to do, to be done when the answer is sent, by
/// whichever thread: `otagate_after_answer`, and where something was served, `otagate_after_last_byte`.
/// `*after` is NULL where nothing is left; its functions take that.
///
/// Owns: the caller frees `*after` by `otagate_after_free`. A second call finds nothing left.
/// NULL: neither may be.
/// Threads: one at a time for each reader.
/// Errors: `NULL`, `BUSY`; `*after` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_after(reader: *mut otagate_reader, after: *mut *mut otagate_after) -> i32 {
    guard(|| {
        // SAFETY: the pointer and the reader are the caller's, as the header says.
        let (after, mut entered) = unsafe { (out(after, "after")?, enter(reader)?) };
        if let Some(left) = entered.inside().given().after.take() {
            *after = left.give();
        }
        Ok(())
    })
}

/// What the last decision of this reader serves.
///
/// Owns: what `offer` points at is the reader's, until its next decision.
/// NULL: neither may be.
/// Threads: one at a time for each reader.
/// Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `NOTHING` where it serves nothing; `offer` says so then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_offer(reader: *mut otagate_reader, offer: *mut otagate_offer) -> i32 {
    guard(|| {
        // SAFETY: the struct and the reader are the caller's, as the header says.
        let (offer, mut entered) = unsafe {
            let offer = write(offer)?;
            *offer = otagate_offer::NONE;
            (offer, enter(reader)?)
        };
        *offer = entered.inside().given().offer.ok_or_else(|| Failure::nothing("the last decision serves nothing"))?;
        Ok(())
    })
}

/// One resource of the list that the last decision of this reader serves, from 0.
///
/// Owns: what `resource` points at is the reader's, until its next decision.
/// NULL: neither may be.
/// Threads: one at a time for each reader.
/// Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `NOTHING` where there are not so many; the resource has no name then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_resource(
    reader: *mut otagate_reader,
    at: usize,
    resource: *mut otagate_resource,
) -> i32 {
    guard(|| {
        // SAFETY: the struct and the reader are the caller's, as the header says.
        let (resource, mut entered) = unsafe {
            let resource = write(resource)?;
            *resource = otagate_resource::NONE;
            (resource, enter(reader)?)
        };
        let found = entered.inside().given().resources.get(at).copied();
        *resource = found.ok_or_else(|| Failure::nothing(format!("the last decision serves no resource {at}")))?;
        Ok(())
    })
}

/// What the host must do about the last decision of this reader, besides answering.
///
/// Owns: what `effect` points at is the reader's, until its next decision.
/// NULL: neither may be.
/// Threads: one at a time for each reader.
/// Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `NOTHING` where there is nothing to do; `effect` says so then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_effect(reader: *mut otagate_reader, effect: *mut otagate_effect) -> i32 {
    guard(|| {
        // SAFETY: the struct and the reader are the caller's, as the header says.
        let (effect, mut entered) = unsafe {
            let effect = write(effect)?;
            *effect = otagate_effect::NONE;
            (effect, enter(reader)?)
        };
        *effect =
            entered.inside().given().effect.ok_or_else(|| Failure::nothing("the last decision asks for nothing"))?;
        Ok(())
    })
}

/// What to answer instead of the last decision of this reader, where the host's own ledger refuses the claim
/// that it needs (V7); `refused` is `OTAGATE_REFUSED_...`. The reader has no offer to give then.
///
/// Owns: what `decision` points at is the reader's, until its next decision.
/// NULL: neither may be.
/// Threads: one at a time for each reader.
/// Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `ARGUMENT`, `NOTHING` where the last decision needs no claim, or has
/// been settled; `decision` says 401 then, without a reason.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_refuse(
    reader: *mut otagate_reader,
    refused: i32,
    decision: *mut otagate_decision,
) -> i32 {
    guard(|| {
        // SAFETY: the struct and the reader are the caller's, as the header says.
        let (decision, mut entered) = unsafe {
            let decision = write(decision)?;
            *decision = otagate_decision::DENY;
            (decision, enter(reader)?)
        };
        let last = entered.inside().given();
        let both = last.refused.take().ok_or_else(|| Failure::nothing("the last decision needs no claim"))?;
        // Whatever is wrong with the refusal, what was refused is not served.
        (last.offer, last.effect) = (None, None);
        last.resources.clear();
        *decision = match refused {
            OTAGATE_REFUSED_SLOTS => both[0],
            OTAGATE_REFUSED_DOWNLOADS => both[1],
            other => return Err(Failure::argument(format!("a refusal of {other} is none"))),
        };
        Ok(())
    })
}

/// A fault inside, for the tests that ask what becomes of one: before anything was decided, and after all was.
#[inline(always)]
pub(crate) fn plant(ask: &CheckIn<'_>, version: &str) {
    #[cfg(feature = "planted-panic")]
    assert!(ask.version != version.as_bytes(), "planted");
    let _ = (ask, version);
}
