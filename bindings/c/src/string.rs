//! Text that crosses: what the caller frees, and what lives as long as the process.

use crate::failure::{Failure, guard};
use std::ffi::{CString, c_char};

/// Text that the library made and the caller frees: UTF-8, with a NUL behind it, and none inside.
pub struct otagate_string {
    text: CString,
}

impl otagate_string {
    /// Hands text over to the caller.
    pub(crate) fn give(text: String) -> *mut Self {
        let text = CString::new(text).unwrap_or_else(|nul| {
            let bytes = nul.into_vec().into_iter().map(|byte| if byte == 0 { b' ' } else { byte }).collect();
            CString::new::<Vec<u8>>(bytes).unwrap_or_default()
        });
        Box::into_raw(Box::new(Self { text }))
    }
}

/// The text, with a NUL behind it.
///
/// Owns: the string does; the pointer is valid until `otagate_string_free`.
/// NULL: gives an empty text.
/// Threads: any, several at once.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_string_data(string: *const otagate_string) -> *const c_char {
    // SAFETY: NULL, or a string that was not freed (header).
    unsafe { string.as_ref() }.map_or(c"".as_ptr(), |string| string.text.as_ptr())
}

/// The length of the text in bytes, without the NUL behind it.
///
/// NULL: gives 0.
/// Threads: any, several at once.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_string_len(string: *const otagate_string) -> usize {
    // SAFETY: NULL, or a string that was not freed (header).
    unsafe { string.as_ref() }.map_or(0, |string| string.text.as_bytes().len())
}

/// Frees a string.
///
/// Owns: takes it; its text is gone.
/// NULL: does nothing.
/// Threads: any, while no other uses it.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_string_free(string: *mut otagate_string) {
    // SAFETY: NULL, or a string from this library that nobody uses any more (header).
    unsafe { free(string) }
}

/// Frees a handle; a panic in what it holds goes no further.
///
/// # Safety
/// NULL, or from `Box::into_raw`, and nobody else uses it.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    guard(|| {
        if !handle.is_null() {
            // SAFETY: the caller's.
            drop(unsafe { Box::from_raw(handle) });
        }
        Ok::<(), Failure>(())
    });
}
