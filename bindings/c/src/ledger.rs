//! What was offered to whom, and what became of it: claims, outcomes and leases of one process.

use crate::codes::*;
use crate::failure::{Failure, guard};
use crate::fleet::{fleet, otagate_fleet};
use crate::string::{free, otagate_string};
use crate::types::{json, name, out};
use otagate::rollout::{Books, Ledger, LedgerRows, MemoryLedger, Noted};
use otagate::{GroupId, ProductId, RolloutId, Run, Timestamp};
use std::ffi::c_char;
use std::sync::Arc;

/// The ledger of one process, in memory: who was offered what and what became of it, and the leases by which an
/// offer stays the same through a ranged download. Shared.
///
/// Every function of a ledger may be called from any thread, several at once.
pub struct otagate_ledger {
    books: Arc<Books<MemoryLedger>>,
}

/// What a report changed, as a number.
pub(crate) fn noted(noted: Noted) -> i32 {
    match noted {
        Noted::Moved => OTAGATE_NOTED_MOVED,
        Noted::Known => OTAGATE_NOTED_KNOWN,
        Noted::Foreign => OTAGATE_NOTED_FOREIGN,
    }
}

/// A ledger of the caller's.
///
/// # Safety
/// NULL, or a ledger that was not freed.
pub(crate) unsafe fn books<'a>(ledger: *const otagate_ledger) -> Result<&'a Arc<Books<MemoryLedger>>, Failure> {
    // SAFETY: the caller's.
    unsafe { ledger.as_ref() }.map(|ledger| &ledger.books).ok_or_else(|| Failure::null("ledger"))
}

fn give(ledger: MemoryLedger, leases_max: u32) -> *mut otagate_ledger {
    Box::into_raw(Box::new(otagate_ledger { books: Arc::new(Books::new(ledger, leases_max as usize)) }))
}

/// An empty ledger, with leases for at most so many devices at once: as many as download at a time. Where there
/// is no room for another, its device is decided anew on each request.
///
/// Owns: the caller frees `*ledger` by `otagate_ledger_free`.
/// NULL: `ledger` must not be.
/// Threads: any.
/// Errors: `NULL`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_ledger_new(leases_max: u32, ledger: *mut *mut otagate_ledger) -> i32 {
    guard(|| {
        // SAFETY: the pointer is the caller's, as the header says.
        let ledger = unsafe { out(ledger, "ledger")? };
        *ledger = give(MemoryLedger::default(), leases_max);
        Ok(())
    })
}

/// The ledger that `otagate_ledger_to_json` wrote down; without leases, which go with the process.
///
/// Owns: the caller frees `*ledger` by `otagate_ledger_free`.
/// NULL: neither may be.
/// Threads: any.
/// Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` for rows that cannot be; `*ledger` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_ledger_from_json(
    rows: *const c_char,
    rows_len: usize,
    leases_max: u32,
    ledger: *mut *mut otagate_ledger,
) -> i32 {
    guard(|| {
        // SAFETY: the text and the pointer are the caller's, as the header says.
        let (ledger, rows) = unsafe { (out(ledger, "ledger")?, json(rows, rows_len, "rows")?) };
        let rows: LedgerRows = serde_json::from_slice(rows).map_err(Failure::json)?;
        let held = MemoryLedger::of_rows(rows);
        let held = held.map_err(|fault| Failure::new(OTAGATE_ERROR_REFUSED, fault.to_string()))?;
        *ledger = give(held, leases_max);
        Ok(())
    })
}

/// Everything but the leases as JSON, to be kept over a restart.
///
/// Owns: the caller frees `*rows` by `otagate_string_free`.
/// NULL: neither may be.
/// Threads: any, several at once; others wait while the rows are copied.
/// Errors: `NULL`; `*rows` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_ledger_to_json(ledger: *const otagate_ledger, rows: *mut *mut otagate_string) -> i32 {
    guard(|| {
        // SAFETY: the ledger and the pointer are the caller's, as the header says.
        let (rows, books) = unsafe { (out(rows, "rows")?, books(ledger)?) };
        *rows = otagate_string::give(serde_json::to_string(&books.ledger.rows()).map_err(Failure::json)?);
        Ok(())
    })
}

/// Another handle on the same ledger.
///
/// Owns: the caller frees `*clone` by `otagate_ledger_free`; the ledger goes with the last of its handles.
/// NULL: neither may be.
/// Threads: any, several at once.
/// Errors: `NULL`; `*clone` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_ledger_clone(ledger: *const otagate_ledger, clone: *mut *mut otagate_ledger) -> i32 {
    guard(|| {
        // SAFETY: the ledger and the pointer are the caller's, as the header says.
        let (clone, books) = unsafe { (out(clone, "clone")?, books(ledger)?.clone()) };
        *clone = Box::into_raw(Box::new(otagate_ledger { books }));
        Ok(())
    })
}

/// Frees a handle on a ledger.
///
/// Owns: takes it.
/// NULL: does nothing.
/// Threads: any, while no other uses this handle.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_ledger_free(ledger: *mut otagate_ledger) {
    // SAFETY: NULL, or a handle from this library that nobody uses any more (header).
    unsafe { free(ledger) }
}

/// The account of the rollout of a group: how many devices stand at which outcome, by wave; what
/// `otagate_rollout_step` judges. Empty, where nobody was offered anything.
///
/// Owns: the caller frees `*statistics` by `otagate_string_free`.
/// NULL: none may be.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `TEXT`, `NOTHING` for a group that is none, or that has no rollout that was
/// started; `*statistics` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_ledger_statistics(
    ledger: *const otagate_ledger,
    fleet: *const otagate_fleet,
    product: *const c_char,
    product_len: usize,
    group: *const c_char,
    group_len: usize,
    statistics: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the handles, the texts and the pointer are the caller's, as the header says.
        let (statistics, books, index, product, group) = unsafe {
            let (statistics, books) = (out(statistics, "statistics")?, books(ledger)?);
            let product = name(product, product_len, "product")?;
            (statistics, books, self::fleet(fleet)?, product, name(group, group_len, "group")?)
        };
        let (product, group) = (ProductId::new(product)?, GroupId::new(group)?);
        let snapshot = index.snapshot();
        let rollout = snapshot.group(product.as_str(), group.as_str()).and_then(|group| group.rollout());
        let run = rollout.and_then(|rollout| Some((rollout.run(&product, &group)?, rollout.resumes())));
        let (run, resumes) = run.ok_or_else(|| {
            Failure::nothing(format!("product `{product}` has no group `{group}` with a rollout that was started"))
        })?;
        let account = books.ledger.statistics(&run, resumes)?;
        *statistics = otagate_string::give(serde_json::to_string(&account).map_err(Failure::json)?);
        Ok(())
    })
}

/// The account of one run by its name: for rollouts of a host's own store, and for those that are over. What is
/// recent is what came about with at least `resumes` resumes.
///
/// Owns: the caller frees `*statistics` by `otagate_string_free`.
/// NULL: `ledger` and `statistics` must not be.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `TEXT`; `*statistics` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_ledger_run_statistics(
    ledger: *const otagate_ledger,
    product: *const c_char,
    product_len: usize,
    group: *const c_char,
    group_len: usize,
    rollout: *const c_char,
    rollout_len: usize,
    started_at_millis: i64,
    resumes: u32,
    statistics: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the ledger, the texts and the pointer are the caller's, as the header says.
        let (statistics, books, product, group, rollout) = unsafe {
            let (statistics, books) = (out(statistics, "statistics")?, books(ledger)?);
            let (product, group) = (name(product, product_len, "product")?, name(group, group_len, "group")?);
            (statistics, books, product, group, name(rollout, rollout_len, "rollout")?)
        };
        let run = Run {
            product: ProductId::new(product)?,
            group: GroupId::new(group)?,
            rollout: RolloutId::new(rollout)?,
            started_at: Timestamp::from_millis(started_at_millis),
        };
        let account = books.ledger.statistics(&run, resumes)?;
        *statistics = otagate_string::give(serde_json::to_string(&account).map_err(Failure::json)?);
        Ok(())
    })
}

/// Forgets a rollout that is over, whose devices need no account any more. Forgetting twice is forgetting once.
///
/// NULL: none may be.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `TEXT`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_ledger_forget(
    ledger: *const otagate_ledger,
    product: *const c_char,
    product_len: usize,
    group: *const c_char,
    group_len: usize,
    rollout: *const c_char,
    rollout_len: usize,
    started_at_millis: i64,
) -> i32 {
    guard(|| {
        // SAFETY: the ledger and the texts are the caller's, as the header says.
        let (books, product, group, rollout) = unsafe {
            let (books, product) = (books(ledger)?, name(product, product_len, "product")?);
            (books, product, name(group, group_len, "group")?, name(rollout, rollout_len, "rollout")?)
        };
        let run = Run {
            product: ProductId::new(product)?,
            group: GroupId::new(group)?,
            rollout: RolloutId::new(rollout)?,
            started_at: Timestamp::from_millis(started_at_millis),
        };
        Ok(books.ledger.forget(&run)?)
    })
}
