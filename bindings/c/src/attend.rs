//! A check-in with a ledger, and what else is asked of who checks in: who it is, what became of what it was
//! offered, and why it is told what it is.

use crate::after::{From, Left};
use crate::codes::*;
use crate::failure::{Failure, guard};
use crate::last::Last;
use crate::ledger::{books, noted, otagate_ledger};
use crate::reader::{Inside, Source, enter, enter_anew, otagate_reader, plant};
use crate::store::of_fault;
use crate::string::otagate_string;
use crate::types::*;
use otagate::rollout::{Attended, Books, MemoryLedger, Outcome};
use otagate::store::{Store, fetch};
use otagate::{CheckIn, NoTrace, ProductId, Reason, Recorder, Timestamp, decide, identify};
use serde_json::json as make;
use std::sync::Arc;

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
    books: &'a Arc<Books<MemoryLedger>>,
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
        let attended = books.attend(&mut found, ask, *until, *now, &mut NoTrace)?;
        let Attended { found, decision, .. } = &attended;
        let made = last.copy(decision, ask, &from);
        last.about(found);
        last.refused = None;
        if let (Some(offer), Some(attempt)) = (&mut last.offer, attended.attempt_served()) {
            (offer.attempt, offer.rollout_started_at_millis) = (attempt.number, attempt.run.started_at.millis());
        }
        last.effect.iter_mut().for_each(|effect| effect.settled = i32::from(effect.kind == OTAGATE_EFFECT_CLAIM));
        // Its grace is said when the last byte was sent.
        let ends = attended.ends(0);
        let reported = found.reported(ask);
        if attended.seen.is_some() || reported.is_some() || ends.is_some() {
            let left = last.after.get_or_insert_with(|| Left::new(from()));
            (left.books, left.seen, left.ends) = (Some((*books).clone()), attended.seen.clone(), ends);
            left.reported = reported.filter(|_| matches!(left.from, From::Fleet(_)));
            last.any = true;
        }
        Ok((made, found.facts().key.map(|key| key.product.id().clone()), decision.reason))
    }
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
            Source::Fleet { index, reader } => {
                reader.refresh();
                who(&*index, || From::Fleet(index.clone()), &ask, now, last)?
            }
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
/// about the device's latest attempt in the rollout of its group, where that moves what the check-in wants: a
/// config that failed is no firmware that did. `noted`, if not NULL, gets `OTAGATE_NOTED_...`.
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
            Source::Fleet { index, reader } => {
                reader.refresh();
                report(&*index, books, &ask, outcome, now)?
            }
            Source::Store(store) => report(&**store, books, &ask, outcome, now)?,
        };
        Ok(())
    })
}

fn report<S: Store<Error: Into<Failure>>>(
    store: &S,
    books: &Books<MemoryLedger>,
    ask: &CheckIn<'_>,
    outcome: Outcome,
    now: Timestamp,
) -> Result<i32, Failure> {
    let view = store.view().map_err(Into::into)?;
    let found = fetch(&view, ask).map_err(of_fault)?;
    Ok(noted(books.note_of_device(&found, ask, outcome, now)?))
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
    books: Option<&Books<MemoryLedger>>,
    ask: &CheckIn<'_>,
    now: Timestamp,
    text: bool,
) -> Result<String, Failure> {
    let view = store.view().map_err(Into::into)?;
    let mut found = fetch(&view, ask).map_err(of_fault)?;
    if let Some(books) = books {
        books.look(&mut found, now)?;
    }
    let mut trace = Recorder::default();
    let decision = decide(&found.facts(), ask, now, &mut trace);
    if text {
        return Ok(format!("{trace}{} {}: {}\n", decision.status(), decision.reason, decision.reason.sentence()));
    }
    let told = make!({ "decision": decision, "steps": trace, "eligible": trace.eligible() });
    Ok(told.to_string())
}
