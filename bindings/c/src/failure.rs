//! What can go wrong, how it is told, and where a panic stops.

use crate::codes::*;
use otagate::rollout::TellFault;
use std::any::Any;
use std::cell::RefCell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a call did nothing. One pointer, so that the way of a call that succeeds carries nothing for it.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub(crate) struct Failure(Box<Told>);

/// A code, and what there is to say.
#[derive(Debug)]
struct Told {
    code: i32,
    message: String,
    /// What the host's own callback gave.
    store_code: i32,
}

impl Failure {
    #[cold]
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self::of_store(code, message, 0)
    }

    /// The same with what the host's own callback gave.
    #[cold]
    pub(crate) fn of_store(code: i32, message: impl Into<String>, store_code: i32) -> Self {
        Self(Box::new(Told { code, message: message.into(), store_code }))
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn null(what: &str) -> Self {
        Self::new(OTAGATE_ERROR_NULL, format!("`{what}` is NULL"))
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(OTAGATE_ERROR_ARGUMENT, message)
    }

    pub(crate) fn nothing(message: impl Into<String>) -> Self {
        Self::new(OTAGATE_ERROR_NOTHING, message)
    }

    pub(crate) fn json(error: serde_json::Error) -> Self {
        Self::new(OTAGATE_ERROR_JSON, error.to_string())
    }
}

impl From<otagate::Problems> for Failure {
    fn from(problems: otagate::Problems) -> Self {
        Self::new(OTAGATE_ERROR_REFUSED, problems.to_string())
    }
}

impl From<otagate::store::ReplaceFault> for Failure {
    fn from(fault: otagate::store::ReplaceFault) -> Self {
        Self::new(OTAGATE_ERROR_REVISION, fault.to_string())
    }
}

impl From<otagate::TextFault> for Failure {
    fn from(fault: otagate::TextFault) -> Self {
        Self::new(OTAGATE_ERROR_TEXT, fault.to_string())
    }
}

impl<E: Into<Self>> From<otagate::rollout::TellFault<E>> for Failure {
    fn from(fault: otagate::rollout::TellFault<E>) -> Self {
        match fault {
            TellFault::Nothing(message) => Self::nothing(message),
            TellFault::Argument(message) => Self::argument(message),
            TellFault::Ledger(own) => own.into(),
            other => Self::argument(other.to_string()),
        }
    }
}

/// There is nothing that can go wrong.
impl From<std::convert::Infallible> for Failure {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

#[derive(Default)]
struct LastError {
    message: String,
    store_code: i32,
}

thread_local! {
    static LAST: RefCell<LastError> = RefCell::default();
}

/// Carries out a call: its code, and on the way there the thread's last error. A panic is told like any other
/// failure; nothing of the process is changed by it, neither its hook nor any flag.
#[inline(always)]
pub(crate) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> i32 {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => OTAGATE_OK,
        Ok(Err(failure)) => tell(failure),
        Err(payload) => panicked(payload),
    }
}

#[cold]
fn tell(failure: Failure) -> i32 {
    let Told { code, message, store_code } = *failure.0;
    // While a thread ends it has no last error any more.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = LastError { message, store_code };
        }
    });
    code
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> i32 {
    let told = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let failure = Failure::new(OTAGATE_ERROR_PANIC, format!("a fault inside otagate: {}", told.unwrap_or("no words")));
    // What it carries may panic when it is dropped.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    tell(failure)
}

/// Copies what the last call of this thread that failed has to say: UTF-8, several problems on several lines,
/// cut to `capacity - 1` bytes at a character, with a NUL behind it. Gives the length of the whole text without
/// the NUL, so that a second call with one byte more than that gets all of it. Calls that succeed leave it as
/// it was; it is empty while none has failed.
///
/// Owns: `buffer` stays the caller's.
/// NULL: `buffer` may be, with any `capacity`: nothing is copied.
/// Threads: any; each has its own last error.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_last_error(buffer: *mut c_char, capacity: usize) -> usize {
    if !buffer.is_null() && capacity > 0 {
        // Whatever comes, there is a text.
        // SAFETY: the buffer has room for `capacity` bytes (header).
        unsafe { buffer.write(0) };
    }
    LAST.try_with(|last| {
        let Ok(last) = last.try_borrow() else { return 0 };
        let message = last.message.as_str();
        if !buffer.is_null() && capacity > 0 {
            let mut cut = message.len().min(capacity - 1);
            while !message.is_char_boundary(cut) {
                cut -= 1;
            }
            // SAFETY: the buffer has room for `capacity` bytes (header), and `cut` is below it.
            unsafe {
                std::ptr::copy_nonoverlapping(message.as_ptr().cast(), buffer, cut);
                buffer.add(cut).write(0);
            }
        }
        message.len()
    })
    .unwrap_or(0)
}

/// The error code that a callback of the host's own store gave, where the last call of this thread that failed
/// did so with `OTAGATE_ERROR_STORE`; else 0.
///
/// Threads: any; each has its own.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn otagate_last_store_code() -> i32 {
    LAST.try_with(|last| last.try_borrow().map_or(0, |last| last.store_code)).unwrap_or(0)
}
