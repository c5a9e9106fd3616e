//! From check-in to decision: a reader is one thread's place at the gate.
//!
//! A reader keeps what its last decision points at. A decision by a fleet points into the revision that the reader holds, so that nothing is copied; where the facts were fetched for this decision alone, by a host's store or with
//! a ledger, its texts are copied into the reader.

use crate::codes::*;
use crate::failure::{Failure, guard};
use crate::fleet::{fleet, otagate_fleet};
use crate::ledger::{Books, books, otagate_ledger};
use crate::store::{HostStore, of_fault, otagate_store};
use crate::string::{free, otagate_string};
use crate::types::*;
use otagate::rollout::{Attended, Ledger, Of, Report, attend};
use otagate::store::{Store, fetch};
use otagate::{
    CanonicalSerial, Change, CheckIn, Claim, ClaimRefused, Decision, Effect, Index, Lease, NoTrace, Offer, ProductId,
    Reader, Reason, Recorder, Timestamp, Verdict, decide,
};
use serde_json::json as make;
use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::ptr;
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

struct Inside {
    source: Source,
    last: Last,
}

#[allow(clippy::large_enum_variant, reason = "a reader stands in a box of its own, and most are of a fleet")]
enum Source {
    Fleet { index: Index, reader: Reader },
    Store(Arc<HostStore>),
}

/// What the last decision points at, and what is left to do about it.
#[derive(Default)]
struct Last {
    any: bool,
    offer: Option<otagate_offer>,
    resources: Vec<otagate_resource>,
    effect: Option<otagate_effect>,
    /// What is answered where the claim is refused: for want of slots, of places.
    refused: Option<[otagate_decision; 2]>,
    /// Texts that were copied.
    kept: Vec<Box<str>>,
    register: Option<(ProductId, CanonicalSerial)>,
    seen: Option<Report>,
    reported: Option<Change>,
}

// SAFETY: what is inside is reached only by whoever has set `busy`, on one thread at a time; a `Reader` and a host's store may move between threads, and the raw pointers in `last` are only handed out.
unsafe impl Send for otagate_reader {}
// SAFETY: as above.
unsafe impl Sync for otagate_reader {}

/// A reader that is in use, until it is dropped.
struct Entered<'r>(&'r otagate_reader);

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        // Pairs with the acquire of `enter`.
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Entered<'_> {
    #[inline]
    fn inside(&mut self) -> &mut Inside {
        // SAFETY: `busy` was clear and is set, so nobody else is inside.
        unsafe { &mut *self.0.inside.get() }
    }
}

/// # Safety
/// NULL, or a reader that was not freed.
#[inline]
unsafe fn enter<'r>(reader: *const otagate_reader) -> Result<Entered<'r>, Failure> {
    // SAFETY: the caller's.
    let reader = unsafe { reader.as_ref() }.ok_or_else(|| Failure::null("reader"))?;
    // Pairs with the release of `Entered::drop`: what the last call left inside is seen.
    if reader.busy.swap(true, Ordering::Acquire) { Err(busy()) } else { Ok(Entered(reader)) }
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
/// Threads: any, while no other uses it.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_free(reader: *mut otagate_reader) {
    // SAFETY: NULL, or a handle from this library that nobody uses any more (header).
    unsafe { free(reader) }
}

/// Decides a check-in: a pure function of what the store knows, the check-in and the time, in milliseconds
/// since 1970-01-01T00:00:00Z (V3). Without a ledger of otagate's: who needs one calls `otagate_reader_attend`;
/// a host with its own carries out `OTAGATE_EFFECT_CLAIM`.
///
/// Owns: what `decision` points at is the reader's, until the next call with it.
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
            (decision, enter(reader)?, read(check_in)?.read()?)
        };
        let Inside { source, last } = entered.inside();
        last.forget();
        plant(&ask);
        let now = Timestamp::from_millis(now_millis);
        match source {
            Source::Fleet { reader, .. } => {
                let given = reader.decide(&ask, now, &mut NoTrace);
                *decision = otagate_decision::of(&given, otagate_text::of);
                if decision.offer != OTAGATE_OFFER_NONE || decision.effect != OTAGATE_EFFECT_NONE {
                    last.take(&given, &ask, None);
                }
            }
            Source::Store(store) => {
                otagate::store::answer(&**store, &ask, now, &mut NoTrace, |given| last.copy(given, &ask, decision))
                    .map_err(of_fault)?;
            }
        }
        Ok(())
    })
}

/// Decides many check-ins, of a fleet all from one revision; the trips to memory of sixteen are made at once.
/// `decisions` has as many elements as `check_ins`. What is served is asked for by `otagate_reader_decide`, one
/// by one: after a batch the reader has no offer and no effect to give.
///
/// Owns: what the decisions point at is the reader's, until the next call with it.
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
        let decisions = unsafe { write_all(decisions, len)? };
        decisions.fill(otagate_decision::DENY);
        let decided = (|| {
            // SAFETY: the array, its texts and the reader are the caller's, as the header says.
            let (mut entered, rows) = unsafe { (enter(reader)?, read_all(check_ins, len)?) };
            // SAFETY: as above.
            let asks = rows.iter().map(|row| unsafe { row.read() }).collect::<Result<Vec<_>, _>>()?;
            let Inside { source, last } = entered.inside();
            last.forget();
            let now = Timestamp::from_millis(now_millis);
            match source {
                Source::Fleet { reader, .. } => {
                    reader.decide_batch(&asks, now, decisions, |given| otagate_decision::of(given, otagate_text::of));
                }
                Source::Store(store) => {
                    let view = store.view().map_err(Failure::from)?;
                    for (ask, decision) in asks.iter().zip(&mut *decisions) {
                        plant(ask);
                        let found = fetch(&view, ask).map_err(of_fault)?;
                        let given = decide(&found.facts(), ask, now, &mut NoTrace);
                        *decision = otagate_decision::of(&given, |text| last.keep(text));
                    }
                }
            }
            Ok(())
        })();
        decided.inspect_err(|_| decisions.fill(otagate_decision::DENY))
    })
}

/// # Safety
/// As [`read_all`], and nobody else uses it.
unsafe fn write_all<'a>(to: *mut otagate_decision, len: usize) -> Result<&'a mut [otagate_decision], Failure> {
    if len == 0 {
        return Ok(&mut []);
    }
    // SAFETY: the caller's: each is looked at before all are taken.
    unsafe { read_all(to.cast_const(), len)? };
    // SAFETY: the caller's alone, and each of this type by its size.
    Ok(unsafe { std::slice::from_raw_parts_mut(to, len) })
}

/// Decides a check-in with a ledger: what it holds counts, what is offered is claimed before it is given, and a
/// lease keeps it the same for `lease_secs` (longer than the slowest download), through as many ranged requests
/// as it takes. The decision is the one to give; where its effect is a claim, that is granted. When the last
/// byte was sent, tell `otagate_fleet_report`.
///
/// After the answer call `otagate_reader_carry_out`.
///
/// Owns: what `decision` points at is the reader's, until the next call with it.
/// NULL: none may be.
/// Threads: one at a time for each reader.
/// Errors: as `otagate_reader_decide`; `ARGUMENT` for a lease of no time. `decision` says 401 then, without a
/// reason: nothing is to be served.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_attend(
    reader: *mut otagate_reader,
    ledger: *const otagate_ledger,
    check_in: *const otagate_check_in,
    lease_secs: u32,
    now_millis: i64,
    decision: *mut otagate_decision,
) -> i32 {
    guard(|| {
        // SAFETY: the structs, their texts and the handles are the caller's, as the header says.
        let (decision, mut entered, books, ask) = unsafe {
            let decision = write(decision)?;
            *decision = otagate_decision::DENY;
            (decision, enter(reader)?, books(ledger)?, read(check_in)?.read()?)
        };
        if lease_secs == 0 {
            return Err(Failure::argument("`lease_secs` is 0: give longer than the slowest download takes"));
        }
        let Inside { source, last } = entered.inside();
        last.forget();
        plant(&ask);
        let now = Timestamp::from_millis(now_millis);
        let at = Attending { books, ask: &ask, until: now.plus_secs(lease_secs.into()), now };
        match source {
            Source::Fleet { index, reader } => {
                let (product, reason) = at.attend(&*index, last, decision)?;
                reader.count(product.as_ref(), reason);
            }
            Source::Store(store) => drop(at.attend(&**store, last, decision)?),
        }
        Ok(())
    })
}

/// One check-in with a ledger.
struct Attending<'a> {
    books: &'a Books,
    ask: &'a CheckIn<'a>,
    until: Timestamp,
    now: Timestamp,
}

impl Attending<'_> {
    /// Gives what is to be counted: the product, and the reason.
    fn attend<S: Store<Error: Into<Failure>>>(
        &self,
        store: &S,
        last: &mut Last,
        into: &mut otagate_decision,
    ) -> Result<(Option<ProductId>, Reason), Failure> {
        let Self { books, ask, until, now } = self;
        let view = store.view().map_err(Into::into)?;
        let mut found = fetch(&view, ask).map_err(of_fault)?;
        let lease = found.identity().and_then(|(product, device)| books.leases.of(product.id(), device.serial(), *now));
        found.lend(lease);
        let attended = attend(&books.ledger, &mut found, ask, *until, *now, &mut NoTrace)?;
        let Attended { found, decision, attempt, seen } = &attended;
        let leased = found.lease().and_then(|lease| lease.attempt.as_ref());
        let is_leased = decision.firmware_offer().is_some_and(|offer| offer.leased);
        let number = attempt.as_ref().or(leased.filter(|_| is_leased)).map_or(0, |attempt| attempt.number);
        if let Some((product, device)) = found.identity()
            && let Some(lease) = Lease::of(decision, device.group(), ask.version, *until)
        {
            let lease = Lease { attempt: attempt.clone(), ..lease };
            // Where the table is full, its device is decided anew on each request.
            let _ = books.leases.keep(product.id(), device.serial(), lease, *now);
        }
        last.copy(decision, ask, into);
        last.offer.iter_mut().for_each(|offer| offer.attempt = number);
        last.effect.iter_mut().for_each(|effect| effect.settled = i32::from(effect.kind == OTAGATE_EFFECT_CLAIM));
        last.refused = None;
        (last.seen, last.reported) = (seen.clone(), found.reported(ask));
        last.any |= last.seen.is_some() || last.reported.is_some();
        Ok((found.facts().key.map(|key| key.product.id().clone()), decision.reason))
    }
}

/// Carries out what the last decision of this reader left to do after the answer (V7): registers the device;
/// after `otagate_reader_attend` also notes that it has arrived (R9), and in a fleet which version and hardware
/// it reported, which a census will ask (R3). A second call has nothing left to do.
///
/// NULL: `reader` must not be; `ledger` may be where there is none, else it is that of `otagate_reader_attend`.
/// Threads: one at a time for each reader.
/// Errors: `NULL`, `BUSY`, `REFUSED` where the device is gone meanwhile; of a host's store `STORE` and
/// `GARBAGE`. The answer to the device stays the same.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_carry_out(
    reader: *mut otagate_reader,
    ledger: *const otagate_ledger,
    now_millis: i64,
) -> i32 {
    guard(|| {
        // SAFETY: the reader is the caller's, as the header says.
        let mut entered = unsafe { enter(reader)? };
        let Inside { source, last } = entered.inside();
        let now = Timestamp::from_millis(now_millis);
        if let Some(seen) = last.seen.take() {
            // SAFETY: the ledger is the caller's, as the header says.
            unsafe { books(ledger)? }.ledger.note(&seen, now)?;
        }
        if let Some((product, serial)) = last.register.take() {
            match source {
                Source::Fleet { index, .. } => drop(index.register(&product, &serial, now)),
                Source::Store(store) => drop(store.register(&product, &serial, now)?),
            }
        }
        if let (Some(reported), Source::Fleet { index, .. }) = (last.reported.take(), source) {
            index.apply(&[reported])?;
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
        *offer = entered.inside().last.offer.ok_or_else(|| Failure::nothing("the last decision serves nothing"))?;
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
        let found = entered.inside().last.resources.get(at).copied();
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
        *effect = entered.inside().last.effect.ok_or_else(|| Failure::nothing("the last decision asks for nothing"))?;
        Ok(())
    })
}

/// What to answer instead of the last decision of this reader, where the host's own ledger refuses the claim
/// that it needs (V7); `refused` is `OTAGATE_REFUSED_...`. The reader has no offer to give then.
///
/// Owns: what `decision` points at is the reader's, until the next call with it.
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
        let last = &mut entered.inside().last;
        let [slots, downloads] = last.refused.ok_or_else(|| Failure::nothing("the last decision needs no claim"))?;
        *decision = match refused {
            OTAGATE_REFUSED_SLOTS => slots,
            OTAGATE_REFUSED_DOWNLOADS => downloads,
            other => return Err(Failure::argument(format!("a refusal of {other} is none"))),
        };
        (last.offer, last.effect, last.refused) = (None, None, None);
        last.resources.clear();
        Ok(())
    })
}

/// Explains a check-in: every question that was asked, with the values compared, by the same code that decides;
/// and when the device would become eligible (V6). Changes nothing: nothing is claimed, counted, or registered,
/// and the last decision of the reader stays. With a ledger what that holds is looked at too. `format` is
/// `OTAGATE_FORMAT_...`; as JSON it is an object of `decision`, `steps` and `eligible`. What the device sent
/// stands escaped in it, its key not at all.
///
/// Owns: the caller frees `*explanation` by `otagate_string_free`.
/// NULL: `ledger` may be.
/// Threads: one at a time for each reader.
/// Errors: as `otagate_reader_decide`; `*explanation` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_explain(
    reader: *mut otagate_reader,
    ledger: *const otagate_ledger,
    check_in: *const otagate_check_in,
    now_millis: i64,
    format: c_int,
    explanation: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the pointer, the struct, its texts and the handles are the caller's, as the header says.
        let (explanation, mut entered, ask, books) = unsafe {
            let explanation = out(explanation, "explanation")?;
            let ledger = if ledger.is_null() { None } else { Some(books(ledger)?) };
            (explanation, enter(reader)?, read(check_in)?.read()?, ledger)
        };
        let text = match format {
            OTAGATE_FORMAT_TEXT => true,
            OTAGATE_FORMAT_JSON => false,
            other => return Err(Failure::argument(format!("format {other} is none"))),
        };
        plant(&ask);
        let (now, books) = (Timestamp::from_millis(now_millis), books.map(|books| &**books));
        let told = match &entered.inside().source {
            Source::Fleet { index, .. } => explain(index, books, &ask, now, text)?,
            Source::Store(store) => explain(&**store, books, &ask, now, text)?,
        };
        *explanation = otagate_string::give(told);
        Ok(())
    })
}

fn explain<S: Store<Error: Into<Failure>>>(
    store: &S,
    books: Option<&Books>,
    ask: &CheckIn<'_>,
    now: Timestamp,
    text: bool,
) -> Result<String, Failure> {
    let view = store.view().map_err(Into::into)?;
    let mut found = fetch(&view, ask).map_err(of_fault)?;
    if let (Some(books), Some((product, device))) = (books, found.identity()) {
        let lease = books.leases.of(product.id(), device.serial(), now);
        let held = match found.group() {
            None => None,
            Some(group) => {
                let active = group.rollout().filter(|rollout| rollout.is_active());
                let run = active.and_then(|rollout| rollout.run(product.id(), group.id()));
                let of = Of { product: product.id(), group: group.id(), serial: device.serial(), run: run.as_ref() };
                Some(books.ledger.held(&of, now)?.standing)
            }
        };
        found.lend(lease);
        held.into_iter().for_each(|standing| found.lend_standing(standing));
    }
    let mut trace = Recorder::default();
    let decision = decide(&found.facts(), ask, now, &mut trace);
    if text {
        return Ok(format!("{trace}{} {}: {}\n", decision.status(), decision.reason, decision.reason.sentence()));
    }
    let told = make!({ "decision": decision, "steps": trace, "eligible": trace.eligible() });
    Ok(told.to_string())
}

impl Last {
    #[inline]
    fn forget(&mut self) {
        if self.any {
            self.clear();
        }
    }

    #[cold]
    fn clear(&mut self) {
        *self = Self::default();
    }

    /// Copies a text, and gives a view of the copy.
    fn keep(&mut self, text: &str) -> otagate_text {
        self.any = true;
        let copy = Box::<str>::from(text);
        let view = otagate_text::of(&copy);
        self.kept.push(copy);
        view
    }

    /// Takes over a decision whose facts go: its texts are copied.
    fn copy(&mut self, given: &Decision<'_>, ask: &CheckIn<'_>, into: &mut otagate_decision) {
        let mut kept = Vec::new();
        *into = otagate_decision::of(given, |text| hold(&mut kept, text));
        self.any |= !kept.is_empty();
        self.kept = kept;
        if into.offer != OTAGATE_OFFER_NONE || into.effect != OTAGATE_EFFECT_NONE {
            let mut kept = std::mem::take(&mut self.kept);
            self.take(given, ask, Some(&mut kept));
            self.kept.append(&mut kept);
        }
    }

    /// Takes over what a decision serves and asks for. Without a place to copy texts to, the reader keeps them.
    #[cold]
    fn take(&mut self, given: &Decision<'_>, ask: &CheckIn<'_>, mut copies: Option<&mut Vec<Box<str>>>) {
        self.any = true;
        let mut hold = |text: &str| match &mut copies {
            Some(kept) => hold(kept, text),
            None => otagate_text::of(text),
        };
        if let Verdict::Serve(offer) = &given.verdict {
            let rollout = given.rollout.map_or(otagate_text::NONE, |rollout| hold(rollout.as_str()));
            let none = otagate_offer { rollout, ..otagate_offer::NONE };
            self.offer = Some(match offer {
                Offer::Firmware(offer) => {
                    let firmware = hold(offer.firmware.version().text());
                    let leased = offer.leased.into();
                    otagate_offer { kind: OTAGATE_OFFER_FIRMWARE, leased, firmware, ..none }
                        .file(offer.artifact, &mut hold)
                }
                Offer::Config(config) => otagate_offer {
                    kind: OTAGATE_OFFER_CONFIG,
                    document: hold(config.document()),
                    size_bytes: config.document().len() as u64,
                    digests: otagate_digests::of(config.digests()),
                    ..none
                },
                Offer::Resources(list) => {
                    self.resources = list.iter().map(|resource| otagate_resource::of(resource, &mut hold)).collect();
                    otagate_offer { kind: OTAGATE_OFFER_RESOURCES, resources_len: list.len(), ..none }
                }
                Offer::Resource(resource) => {
                    let otagate_resource { name, locator, size_bytes, digests, .. } =
                        otagate_resource::of(resource, &mut hold);
                    otagate_offer { kind: OTAGATE_OFFER_RESOURCE, name, locator, size_bytes, digests, ..none }
                }
            });
        }
        let none = otagate_effect::NONE;
        self.effect = given.effect.as_ref().map(|effect| match effect {
            Effect::Register(product) => {
                let id = product.id();
                self.register = effect.registration(ask).map(|(_, serial)| (id.clone(), serial));
                // The reader keeps it with the registration, which `carry_out` needs.
                let serial = self.register.as_ref().map_or(otagate_text::NONE, |(_, serial)| {
                    let copy = Box::<str>::from(serial.as_str());
                    let view = otagate_text::of(&copy);
                    self.kept.push(copy);
                    view
                });
                otagate_effect { kind: OTAGATE_EFFECT_REGISTER, product: hold(id.as_str()), serial, ..none }
            }
            Effect::Claim(Claim { rollout, slots_max, downloads_max, .. }) => otagate_effect {
                kind: OTAGATE_EFFECT_CLAIM,
                rollout: rollout.map_or(otagate_text::NONE, |rollout| hold(rollout.as_str())),
                slots_max: slots_max.map_or(-1, i64::from),
                downloads_max: downloads_max.map_or(-1, i64::from),
                ..none
            },
            Effect::Seen(rollout) => {
                otagate_effect { kind: OTAGATE_EFFECT_SEEN, rollout: hold(rollout.as_str()), ..none }
            }
        });
        let needs_claim = matches!(given.effect, Some(Effect::Claim(_)));
        self.refused = needs_claim.then(|| {
            [ClaimRefused::Slots, ClaimRefused::Downloads].map(|by| otagate_decision::of(&given.refused(by), &mut hold))
        });
    }
}

fn hold(kept: &mut Vec<Box<str>>, text: &str) -> otagate_text {
    let copy = Box::<str>::from(text);
    let view = otagate_text::of(&copy);
    kept.push(copy);
    view
}

impl otagate_resource {
    const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        name: otagate_text { data: ptr::null(), len: 0 },
        locator: otagate_text { data: ptr::null(), len: 0 },
        size_bytes: 0,
        digests: otagate_offer::NONE.digests,
    };

    fn of(resource: &otagate::Resource, mut hold: impl FnMut(&str) -> otagate_text) -> Self {
        Self {
            name: hold(resource.name()),
            locator: hold(resource.locator()),
            size_bytes: resource.size_bytes(),
            digests: otagate_digests::of(resource.digests()),
            ..Self::NONE
        }
    }
}

impl otagate_effect {
    const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        kind: OTAGATE_EFFECT_NONE,
        settled: 0,
        product: otagate_text::NONE,
        serial: otagate_text::NONE,
        rollout: otagate_text::NONE,
        slots_max: -1,
        downloads_max: -1,
    };
}

/// A fault inside, for the tests that ask what becomes of one.
#[inline(always)]
fn plant(ask: &CheckIn<'_>) {
    #[cfg(feature = "planted-panic")]
    assert!(ask.version != b"planted panic", "planted");
    let _ = ask;
}
