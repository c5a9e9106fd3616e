//! From check-in to decision: a reader is one thread's place at the gate.
//!
//! A reader keeps what its last decision points at. A decision by a fleet points into the revision that the reader holds, so that nothing is copied; where the facts were fetched for this decision alone, by a host's store or with
//! a ledger, its texts are copied into the reader.

use crate::after::{From, Left, otagate_after};
use crate::codes::*;
use crate::failure::{Failure, guard};
use crate::fleet::{fleet, otagate_fleet};
use crate::ledger::{Books, books, otagate_ledger};
use crate::store::{HostStore, of_fault, otagate_store};
use crate::string::{free, otagate_string};
use crate::types::*;
use otagate::rollout::{Attended, Ledger, Of, Outcome, Report, attend};
use otagate::store::{Found, StandingRecord, Store, fetch};
use otagate::wire::otadrive::Ends;
use otagate::{
    Attempt, CheckIn, Claim, ClaimRefused, Decision, Effect, Index, Lease, NoTrace, Offer, ProductId, Reader, Reason,
    Recorder, Target, Timestamp, Verdict, Want, decide, identify,
};
use serde_json::json as make;
use std::cell::UnsafeCell;
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

impl Inside {
    /// The last decision, if it was made to the end; else nothing.
    fn given(&mut self) -> &mut Last {
        if !self.last.stands {
            self.last.clear();
        }
        &mut self.last
    }
}

#[allow(clippy::large_enum_variant, reason = "a reader stands in a box of its own, and most are of a fleet")]
enum Source {
    Fleet { index: Index, reader: Reader },
    Store(Arc<HostStore>),
}

/// What the last decision points at, and what is left to do about it.
#[derive(Default)]
struct Last {
    /// There is something in it.
    any: bool,
    /// The decision was made, to the end: what is in it may be given. A fault on the way leaves it unsaid.
    stands: bool,
    offer: Option<otagate_offer>,
    resources: Vec<otagate_resource>,
    effect: Option<otagate_effect>,
    who: Option<otagate_who>,
    /// What is answered where the claim is refused: for want of slots, of places.
    refused: Option<[otagate_decision; 2]>,
    /// Texts that were copied.
    kept: Vec<Box<str>>,
    /// Those of the decision before, which the check-in that is decided now may point at.
    before: Vec<Box<str>>,
    after: Option<Left>,
}

// SAFETY: what is inside is reached only by whoever has set `busy`, on one thread at a time; a `Reader` and a host's store
// may move between threads, and the raw pointers in `last` are only handed out.
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

/// The same for a call that decides: whatever becomes of it, the reader has nothing of the decision before to
/// give any more.
///
/// # Safety
/// As [`enter`].
#[inline]
unsafe fn enter_anew<'r>(reader: *const otagate_reader) -> Result<Entered<'r>, Failure> {
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

/// Decides a check-in with a ledger: what it holds counts, what is offered is claimed before it is given, and a
/// lease keeps it the same for `lease_secs` (longer than the slowest download), through as many ranged requests
/// as it takes. The decision is the one to give; where its effect is a claim, that is granted.
///
/// What is left to do after the answer, and after the last byte, is taken away by `otagate_reader_after`.
///
/// Owns: what `decision` points at is the reader's, until its next decision.
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
            (decision, enter_anew(reader)?, books(ledger)?, read(check_in)?.read()?)
        };
        if lease_secs == 0 {
            return Err(Failure::argument("`lease_secs` is 0: give longer than the slowest download takes"));
        }
        let Inside { source, last } = entered.inside();
        plant(&ask, "planted panic");
        let now = Timestamp::from_millis(now_millis);
        let at = Attending { books, ask: &ask, until: now.plus_secs(lease_secs.into()), now };
        let made = match source {
            Source::Fleet { index, reader } => {
                // Else a reader that only attends would hold the first revision for ever.
                reader.refresh();
                let (made, product, reason) = at.attend(&*index, || From::Fleet(index.clone()), last)?;
                reader.count(product.as_ref(), reason);
                made
            }
            Source::Store(store) => at.attend(&**store, || From::Store(store.clone()), last)?.0,
        };
        plant(&ask, "planted panic late");
        (*decision, last.stands) = (made, true);
        Ok(())
    })
}

/// One check-in with a ledger.
struct Attending<'a> {
    books: &'a Arc<Books>,
    ask: &'a CheckIn<'a>,
    until: Timestamp,
    now: Timestamp,
}

impl Attending<'_> {
    /// Gives the decision, and what is to be counted: the product, and the reason.
    fn attend<S: Store<Error: Into<Failure>>>(
        &self,
        store: &S,
        from: impl Fn() -> From,
        last: &mut Last,
    ) -> Result<(otagate_decision, Option<ProductId>, Reason), Failure> {
        let Self { books, ask, until, now } = self;
        let view = store.view().map_err(Into::into)?;
        let mut found = fetch(&view, ask).map_err(of_fault)?;
        let lease = found.identity().and_then(|(product, device)| books.leases.of(product.id(), device.serial(), *now));
        found.lend(lease);
        let attended = attend(&books.ledger, &mut found, ask, *until, *now, &mut NoTrace)?;
        let Attended { found, decision, .. } = &attended;
        let made = last.copy(decision, ask, &from);
        last.about(found);
        last.refused = None;
        let attempt = attempt_of(&attended);
        if let (Some(offer), Some(attempt)) = (&mut last.offer, attempt) {
            (offer.attempt, offer.rollout_started_at_millis) = (attempt.number, attempt.run.started_at.millis());
        }
        last.effect.iter_mut().for_each(|effect| effect.settled = i32::from(effect.kind == OTAGATE_EFFECT_CLAIM));
        let ends = ends(&attended);
        let reported = found.reported(ask);
        if attended.seen.is_some() || reported.is_some() || ends.is_some() {
            let left = last.after.get_or_insert_with(|| Left::new(from()));
            (left.books, left.seen, left.ends) = (Some((*books).clone()), attended.seen.clone(), ends);
            left.reported = reported.filter(|_| matches!(left.from, From::Fleet(_)));
            last.any = true;
        }
        if let Some((product, device)) = found.identity()
            && let Some(lease) = Lease::of(decision, device.group(), ask.version, *until)
        {
            let lease = Lease { attempt: attended.attempt.clone(), ..lease };
            // Where the table is full, its device is decided anew on each request.
            let _ = books.leases.keep(product.id(), device.serial(), lease, *now);
        }
        Ok((made, found.facts().key.map(|key| key.product.id().clone()), decision.reason))
    }
}

/// The attempt that what is served counts as: a new one, or that of the lease which it continues. Who fetches a
/// config in the middle of a download does not continue that.
fn attempt_of<'a>(attended: &'a Attended<'_>) -> Option<&'a Attempt> {
    let leased = attended.decision.firmware_offer().is_some_and(|offer| offer.leased);
    let of_lease = attended.found.lease().filter(|_| leased).and_then(|lease| lease.attempt.as_ref());
    attended.attempt.as_ref().or(of_lease)
}

/// What ends with the last byte of what is served.
fn ends(attended: &Attended<'_>) -> Option<Ends> {
    let Attended { found, decision, .. } = attended;
    let Verdict::Serve(offer) = &decision.verdict else { return None };
    let (product, device) = found.identity()?;
    let firmware = matches!(offer, Offer::Firmware(_));
    // Else a place that it has is of a download that goes on beside this.
    let took_place = matches!(decision.effect, Some(Effect::Claim(claim)) if claim.downloads_max.is_some());
    // A list is no resource yet.
    let counts = attempt_of(attended).filter(|_| !matches!(offer, Offer::Resources(_)));
    let rollout = found.group().and_then(|group| group.rollout());
    let downloaded = counts
        .zip(rollout)
        .and_then(|(attempt, rollout)| attempt.report(rollout, device.serial(), Outcome::Downloaded));
    Some(Ends {
        product: product.id().clone(),
        group: device.group().clone(),
        serial: device.serial().into(),
        downloaded,
        ends_lease: firmware,
        gives_back: firmware || took_place,
        grace_secs: 0,
    })
}

/// Asks questions 1 to 4 alone: who is it, and may it ask? For calls that tell the host something, such as a
/// sign of life. `may_ask` gets 1 where the device is known and verified; else 0, and `refusal` is the 401 to
/// give; where it may ask, `refusal` says 401 without a reason, and is not to be given. Nothing is counted.
/// `otagate_reader_who` says whom it is about.
///
/// Owns: what `refusal` points at is the reader's, until its next decision.
/// NULL: none may be.
/// Threads: one at a time for each reader.
/// Errors: as `otagate_reader_decide`; `may_ask` is 0 then, and `refusal` says 401 without a reason.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_identify(
    reader: *mut otagate_reader,
    check_in: *const otagate_check_in,
    now_millis: i64,
    may_ask: *mut i32,
    refusal: *mut otagate_decision,
) -> i32 {
    guard(|| {
        // SAFETY: the structs, their texts, the number and the reader are the caller's, as the header says.
        let (may_ask, refusal, mut entered, ask) = unsafe {
            // Both are written before either is missed.
            let may_ask = number(may_ask, 0, "may_ask");
            let refusal = write(refusal).map(|refusal| {
                *refusal = otagate_decision::DENY;
                refusal
            });
            (may_ask?, refusal?, enter_anew(reader)?, read(check_in)?.read()?)
        };
        let Inside { source, last } = entered.inside();
        plant(&ask, "planted panic");
        let now = Timestamp::from_millis(now_millis);
        let refused = match source {
            Source::Fleet { index, reader } => who(
                {
                    reader.refresh();
                    &*index
                },
                || From::Fleet(index.clone()),
                &ask,
                now,
                last,
            )?,
            Source::Store(store) => who(&**store, || From::Store(store.clone()), &ask, now, last)?,
        };
        last.stands = true;
        match refused {
            Some(made) => *refusal = made,
            None => *may_ask = 1,
        }
        Ok(())
    })
}

/// Who asks; and the refusal, where it may not.
fn who<S: Store<Error: Into<Failure>>>(
    store: &S,
    from: impl Fn() -> From,
    ask: &CheckIn<'_>,
    now: Timestamp,
    last: &mut Last,
) -> Result<Option<otagate_decision>, Failure> {
    let view = store.view().map_err(Into::into)?;
    let found = fetch(&view, ask).map_err(of_fault)?;
    let refused = identify(&found.facts(), ask, now, &mut NoTrace);
    let made = refused.map(|refusal| last.copy(&refusal, ask, from));
    last.about(&found);
    Ok(made)
}

/// Takes down what a device tells of the firmware, config or resources that it was offered (R9):
/// `OTAGATE_OUTCOME_FAILED`, `_CONFIRMED`, ... Questions 1 to 4 are asked: who may not ask tells nothing. It is
/// about the device's latest attempt in the rollout of its group. `noted`, if not NULL, gets
/// `OTAGATE_NOTED_...`.
///
/// NULL: `noted` may be, the others must not.
/// Threads: one at a time for each reader.
/// Errors: as `otagate_reader_decide`, `ARGUMENT` for an outcome that is none; nothing is noted then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_report(
    reader: *mut otagate_reader,
    ledger: *const otagate_ledger,
    check_in: *const otagate_check_in,
    outcome: i32,
    now_millis: i64,
    noted: *mut i32,
) -> i32 {
    guard(|| {
        let mut unwanted = 0;
        let noted = if noted.is_null() { &raw mut unwanted } else { noted };
        // SAFETY: the number, the struct, its texts and the handles are the caller's, as the header says.
        let (noted, mut entered, books, ask) = unsafe {
            let noted = number(noted, OTAGATE_NOTED_FOREIGN, "noted")?;
            (noted, enter_anew(reader)?, books(ledger)?, read(check_in)?.read()?)
        };
        let outcome = crate::fleet::outcome(outcome)?;
        let now = Timestamp::from_millis(now_millis);
        *noted = match &mut entered.inside().source {
            Source::Fleet { index, reader } => report(
                {
                    reader.refresh();
                    &*index
                },
                books,
                &ask,
                outcome,
                now,
            )?,
            Source::Store(store) => report(&**store, books, &ask, outcome, now)?,
        };
        Ok(())
    })
}

fn report<S: Store<Error: Into<Failure>>>(
    store: &S,
    books: &Books,
    ask: &CheckIn<'_>,
    outcome: Outcome,
    now: Timestamp,
) -> Result<i32, Failure> {
    let view = store.view().map_err(Into::into)?;
    let found = fetch(&view, ask).map_err(of_fault)?;
    let refused = identify(&found.facts(), ask, now, &mut NoTrace).is_some();
    let Some((product, device)) = found.identity().filter(|_| !refused) else { return Ok(OTAGATE_NOTED_FOREIGN) };
    let Some((group, rollout)) = found.group().and_then(|group| Some((group, group.rollout()?))) else {
        return Ok(OTAGATE_NOTED_FOREIGN);
    };
    let about = matches!(
        (rollout.target(), ask.want),
        (Target::Firmware(_), Want::Firmware)
            | (Target::Config(_), Want::Config)
            | (Target::Resources(_), Want::Resources | Want::Resource(_))
    );
    let report = Report::new(product.id(), group.id(), rollout, device.serial(), outcome).filter(|_| about);
    report.map_or(Ok(OTAGATE_NOTED_FOREIGN), |report| books.note(report, Some(rollout), now))
}

/// Whom the last decision of this reader is about: for logs, and for what the host itself keeps by device.
/// After `otagate_reader_attend`, `otagate_reader_identify`, and a decision that asks for a claim.
///
/// Owns: what `who` points at is the reader's, until its next decision.
/// NULL: neither may be.
/// Threads: one at a time for each reader.
/// Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `NOTHING` after another call, or none; `who` says nobody then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_reader_who(reader: *mut otagate_reader, who: *mut otagate_who) -> i32 {
    guard(|| {
        // SAFETY: the struct and the reader are the caller's, as the header says.
        let (who, mut entered) = unsafe {
            let who = write(who)?;
            *who = otagate_who::NONE;
            (who, enter(reader)?)
        };
        let about = entered.inside().given().who;
        *who = about.ok_or_else(|| Failure::nothing("the last call looked nobody up: attend, or identify"))?;
        Ok(())
    })
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
    format: i32,
    explanation: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the pointer, the struct, its texts and the handles are the caller's, as the header says.
        let (explanation, mut entered, ask, books) = unsafe {
            let explanation = out(explanation, "explanation")?;
            let ledger = if ledger.is_null() { None } else { Some(books(ledger)?) };
            (explanation, enter(reader)?, read(check_in)?.read()?, ledger)
        };
        let text = crate::fleet::is_text(format)?;
        plant(&ask, "planted panic");
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
        let place = found.facts().device.and_then(|device| device.standing.place);
        if let Some(standing) = held {
            // The place by the census is kept, which the host's own store may know.
            found.lend_standing(StandingRecord { place: standing.place.or(place), ..standing });
        }
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
    /// Nothing is left to give; the texts stay for one decision more.
    #[cold]
    fn clear(&mut self) {
        (self.any, self.stands) = (!self.kept.is_empty(), false);
        (self.offer, self.effect, self.refused) = (None, None, None);
        (self.who, self.after) = (None, None);
        self.resources.clear();
        self.before = std::mem::take(&mut self.kept);
    }

    /// Copies a text, and gives a view of the copy.
    fn keep(&mut self, text: &str) -> otagate_text {
        self.any = true;
        hold(&mut self.kept, text)
    }

    /// Takes over a decision whose facts go: its texts are copied.
    fn copy(&mut self, given: &Decision<'_>, ask: &CheckIn<'_>, from: impl Fn() -> From) -> otagate_decision {
        let mut kept = Vec::new();
        let made = otagate_decision::of(given, |text| hold(&mut kept, text));
        if made.offer != OTAGATE_OFFER_NONE || made.effect != OTAGATE_EFFECT_NONE {
            self.take(given, ask, from, Some(&mut kept));
        }
        self.any |= !kept.is_empty();
        self.kept.append(&mut kept);
        made
    }

    /// Looks up whom a claim is for, which a host's own ledger asks; a reader's decision does not say.
    #[cold]
    fn claims(&mut self, index: &Index, ask: &CheckIn<'_>) -> Result<(), Failure> {
        let view = index.view()?;
        self.about(&fetch(&view, ask).map_err(of_fault)?);
        Ok(())
    }

    /// Takes down whom it is about.
    fn about(&mut self, found: &Found<'_>) {
        let key = found.facts().key;
        let device = found.identity().map(|(_, device)| device);
        let mut text = |text: Option<&str>| text.map_or(otagate_text::NONE, |text| hold(&mut self.kept, text));
        self.who = Some(otagate_who {
            product: text(key.map(|key| key.product.id().as_str())),
            serial: text(device.map(|device| device.serial())),
            group: text(device.map(|device| device.group().as_str())),
            state: device.map_or(-1, |device| device.state() as i32),
            ..otagate_who::NONE
        });
        self.any = true;
    }

    /// Takes over what a decision serves and asks for. Without a place to copy texts to, the reader keeps them.
    #[cold]
    fn take(
        &mut self,
        given: &Decision<'_>,
        ask: &CheckIn<'_>,
        from: impl Fn() -> From,
        mut copies: Option<&mut Vec<Box<str>>>,
    ) {
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
                let registration = effect.registration(ask).map(|(_, serial)| (id.clone(), serial));
                let canonical = registration.as_ref().map(|(_, serial)| self::hold(&mut self.kept, serial.as_str()));
                let serial = canonical.unwrap_or(otagate_text::NONE);
                self.after = Some(Left { register: registration, ..Left::new(from()) });
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

impl otagate_who {
    const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        product: otagate_text::NONE,
        serial: otagate_text::NONE,
        group: otagate_text::NONE,
        state: -1,
        reserved: 0,
    };
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

/// A fault inside, for the tests that ask what becomes of one: before anything was decided, and after all was.
#[inline(always)]
fn plant(ask: &CheckIn<'_>, version: &str) {
    #[cfg(feature = "planted-panic")]
    assert!(ask.version != version.as_bytes(), "planted");
    let _ = (ask, version);
}
