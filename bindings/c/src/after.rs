//! What is left to do about a decision: after the answer, and after the last byte. It is taken away from the
//! reader, since a server has sent an answer only when the reader has decided others, and often on another
//! thread.

use crate::codes::*;
use crate::failure::guard;
use crate::store::HostStore;
use crate::string::free;
use crate::types::number;
use otagate::rollout::{Books, Ends, Ledger, MemoryLedger, Report};
use otagate::store::Store;
use otagate::{CanonicalSerial, Change, Index, ProductId, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// What is left to do about one decision, after the answer and after the last byte. It stands by itself:
/// readers, fleets, stores and ledgers may be freed before it.
///
/// Every function of it may be called from any thread, several at once.
pub struct otagate_after {
    left: Arc<Mutex<Left>>,
}

/// Whom it is done by.
pub(crate) enum From {
    Fleet(Index),
    Store(Arc<HostStore>),
}

pub(crate) struct Left {
    pub(crate) from: From,
    pub(crate) books: Option<Arc<Books<MemoryLedger>>>,
    pub(crate) register: Option<(ProductId, CanonicalSerial)>,
    pub(crate) seen: Option<Report>,
    pub(crate) reported: Option<Change>,
    pub(crate) ends: Option<Ends>,
}

impl Left {
    pub(crate) fn new(from: From) -> Self {
        Self { from, books: None, register: None, seen: None, reported: None, ends: None }
    }

    pub(crate) fn give(self) -> *mut otagate_after {
        Box::into_raw(Box::new(otagate_after { left: Arc::new(Mutex::new(self)) }))
    }
}

/// # Safety
/// NULL, or one that was not freed.
unsafe fn left(after: *const otagate_after) -> Option<Arc<Mutex<Left>>> {
    // SAFETY: the caller's. Held for the call, in which a callback may free the handle.
    unsafe { after.as_ref() }.map(|after| after.left.clone())
}

/// Does what comes after the answer (V7): registers the device; after `otagate_reader_attend` also notes that
/// it has arrived (R9), and in a fleet which version and hardware it reported, which a census will ask (R3). To
/// be called when the answer is sent, so that nothing of it changes the answer or its time. What was done is
/// done once; what failed is done by the next call.
///
/// NULL: nothing is left to do.
/// Threads: any.
/// Errors: `REFUSED` where the device is gone meanwhile; of a host's store `STORE` and `GARBAGE`. The answer to
/// the device stays the same.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_after_answer(after: *const otagate_after, now_millis: i64) -> i32 {
    guard(|| {
        // SAFETY: the handle is the caller's, as the header says.
        let Some(left) = (unsafe { left(after) }) else { return Ok(()) };
        let now = Timestamp::from_millis(now_millis);
        let mut guarded = left.lock();
        let held = &mut *guarded;
        if let (Some(seen), Some(books)) = (&held.seen, &held.books) {
            books.ledger.note(seen, now)?;
            held.seen = None;
        }
        if let (Some(reported), From::Fleet(index)) = (&held.reported, &held.from) {
            index.apply(std::slice::from_ref(reported))?;
            held.reported = None;
        }
        let Some((product, serial)) = held.register.take() else { return Ok(()) };
        let store = match &held.from {
            From::Fleet(index) => {
                let _ = index.register(&product, &serial, now);
                return Ok(());
            }
            From::Store(store) => store.clone(),
        };
        // A callback may call back.
        let registered = MutexGuard::unlocked(&mut guarded, || store.register(&product, &serial, now));
        if let Err(fault) = registered {
            guarded.register = Some((product, serial));
            return Err(fault.into());
        }
        Ok(())
    })
}

/// The last byte of what was served has been sent: its lease and its place among the downloads end `grace_secs`
/// from now (60, say, for a device whose connection broke just then), and where it was on a rollout's account,
/// the ledger notes that it was downloaded. A ranged download tells it once, for the request that sent the end
/// of the file. `noted`, if not NULL, gets `OTAGATE_NOTED_...`: foreign, where it was on no rollout's account.
/// A second call does nothing.
///
/// NULL: `after`: nothing is left to do; `noted` may be.
/// Threads: any.
/// Errors: none but `PANIC`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_after_last_byte(
    after: *const otagate_after,
    grace_secs: u32,
    now_millis: i64,
    noted: *mut i32,
) -> i32 {
    guard(|| {
        let mut unwanted = 0;
        let noted = if noted.is_null() { &raw mut unwanted } else { noted };
        // SAFETY: the number and the handle are the caller's, as the header says.
        let (noted, left) = unsafe { (number(noted, OTAGATE_NOTED_FOREIGN, "noted")?, left(after)) };
        let Some(left) = left else { return Ok(()) };
        let left = &mut *left.lock();
        if let (Some(mut ends), Some(books)) = (left.ends.take(), &left.books) {
            ends.grace_secs = grace_secs;
            ends.downloaded.iter_mut().for_each(|report| report.grace_secs = grace_secs);
            let told = ends.carry_out(&books.leases, &books.ledger, Timestamp::from_millis(now_millis))?;
            *noted = told.map_or(OTAGATE_NOTED_FOREIGN, crate::ledger::noted);
        }
        Ok(())
    })
}

/// Frees it; what was not done is left undone.
///
/// Owns: takes it.
/// NULL: does nothing.
/// Threads: any, while no other uses it.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_after_free(after: *mut otagate_after) {
    // SAFETY: NULL, or a handle from this library that nobody uses any more (header).
    unsafe { free(after) }
}
