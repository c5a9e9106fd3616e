//! Every number of the interface. They are written down here and nowhere else, and a number that was given
//! out is never given another meaning.

use otagate::Reason;
use std::ffi::{CStr, c_char};

/// The version of the header, to be compared with `otagate_version()`, which is the library's.
pub const OTAGATE_VERSION_MAJOR: i32 = 0;
/// See `OTAGATE_VERSION_MAJOR`.
pub const OTAGATE_VERSION_MINOR: i32 = 1;
/// See `OTAGATE_VERSION_MAJOR`.
pub const OTAGATE_VERSION_PATCH: i32 = 0;
/// The version of the binary interface, to be compared with `otagate_abi_version()`. It grows when a program
/// that was built with an older header would no longer run; the soname does too.
pub const OTAGATE_ABI_VERSION: u32 = 1;

/// It was done.
pub const OTAGATE_OK: i32 = 0;
/// A pointer is NULL that must not be, or a length that is not 0 belongs to one.
pub const OTAGATE_ERROR_NULL: i32 = 1;
/// A `struct_size` is none that this library knows: initialise the struct by its `otagate_..._init()`, with a
/// header that is not newer than the library.
pub const OTAGATE_ERROR_STRUCT_SIZE: i32 = 2;
/// A length is beyond its limit; nothing of what it belongs to was read.
pub const OTAGATE_ERROR_LENGTH: i32 = 3;
/// A number, a time or a combination of arguments that means nothing.
pub const OTAGATE_ERROR_ARGUMENT: i32 = 4;
/// Bytes that must be UTF-8, or a name, and are not. (What devices send may be any bytes.)
pub const OTAGATE_ERROR_TEXT: i32 = 5;
/// No JSON, or not of the shape that is asked for.
pub const OTAGATE_ERROR_JSON: i32 = 6;
/// The rules refuse it (section 6 of the semantics, or R1 to R11); nothing was changed. The last error has
/// every problem, each on a line of its own.
pub const OTAGATE_ERROR_REFUSED: i32 = 7;
/// A file cannot be read.
pub const OTAGATE_ERROR_IO: i32 = 8;
/// The revision is not above the one that is held (L2): raise it, or force.
pub const OTAGATE_ERROR_REVISION: i32 = 9;
/// A callback of the host's store gave an error code: `otagate_last_store_code()` has it. Nothing is to be
/// served.
pub const OTAGATE_ERROR_STORE: i32 = 10;
/// The host's store gave facts that cannot be. Nothing is to be served.
pub const OTAGATE_ERROR_GARBAGE: i32 = 11;
/// There is no such thing: no such product, group, rollout or wave, or the last decision of this reader has no
/// such part.
pub const OTAGATE_ERROR_NOTHING: i32 = 12;
/// The reader is in use: by another thread, which is a mistake of the program, or further down in the same
/// call, by a callback.
pub const OTAGATE_ERROR_BUSY: i32 = 13;
/// What was looked at was changed meanwhile, again and again: try again.
pub const OTAGATE_ERROR_CHANGED: i32 = 14;
/// A fault inside otagate. Nothing is to be served; every handle still works. Please report it, with the last
/// error.
pub const OTAGATE_ERROR_PANIC: i32 = 15;
/// No error: `otagate_found_known` does not have the document, give it by `otagate_found_document`.
pub const OTAGATE_WANTED: i32 = 100;

/// Verdict `serve`: exactly one artifact of one firmware; a config; resources.
pub const OTAGATE_STATUS_SERVE: i32 = 200;
/// Verdict `up-to-date`: it stays where it is, for good or for now.
pub const OTAGATE_STATUS_UP_TO_DATE: i32 = 304;
/// Verdict `unauthorized`: the device has not proved that it may ask. Also what a decision says while there is
/// none.
pub const OTAGATE_STATUS_UNAUTHORIZED: i32 = 401;
/// Verdict `unavailable`: no firmware is available for it.
pub const OTAGATE_STATUS_UNAVAILABLE: i32 = 404;

/// No reason: no decision was made.
pub const OTAGATE_REASON_NONE: i32 = 0;
/// 401: no product has this API key.
pub const OTAGATE_REASON_KEY_UNKNOWN: i32 = 1;
/// 401: the API key is revoked.
pub const OTAGATE_REASON_KEY_REVOKED: i32 = 2;
/// 401: the API key is not valid yet.
pub const OTAGATE_REASON_KEY_NOT_YET_VALID: i32 = 3;
/// 401: the API key has expired.
pub const OTAGATE_REASON_KEY_EXPIRED: i32 = 4;
/// 401: the serial is not spelled as the product's scheme says.
pub const OTAGATE_REASON_SERIAL_MALFORMED: i32 = 5;
/// 401: the serial is a placeholder and names nobody.
pub const OTAGATE_REASON_SERIAL_PLACEHOLDER: i32 = 6;
/// 401: the product has no device of this serial.
pub const OTAGATE_REASON_DEVICE_UNKNOWN: i32 = 7;
/// 401: the device waits to be verified.
pub const OTAGATE_REASON_DEVICE_NEW: i32 = 8;
/// 401: the device is blocked.
pub const OTAGATE_REASON_DEVICE_BLOCKED: i32 = 9;
/// 401: the device is disabled.
pub const OTAGATE_REASON_DEVICE_DISABLED: i32 = 10;
/// 401: the device is over the account's limit.
pub const OTAGATE_REASON_DEVICE_QUOTA: i32 = 11;
/// 404: the device's group does not exist.
pub const OTAGATE_REASON_GROUP_MISSING: i32 = 21;
/// 404: nothing is assigned to the group.
pub const OTAGATE_REASON_NOTHING_ASSIGNED: i32 = 22;
/// 404: the firmware that is meant does not exist.
pub const OTAGATE_REASON_FIRMWARE_MISSING: i32 = 23;
/// 404: the firmware that is meant is denied.
pub const OTAGATE_REASON_FIRMWARE_DENIED: i32 = 24;
/// 404: the firmware that is meant has no artifact for the device's hardware.
pub const OTAGATE_REASON_HARDWARE: i32 = 25;
/// 404: no stepping stones lead from the device's version to the firmware that is meant.
pub const OTAGATE_REASON_NO_PATH: i32 = 26;
/// 404: the next firmware has neither a full image nor a delta from the device's version.
pub const OTAGATE_REASON_NO_ARTIFACT: i32 = 27;
/// 304: the device has what is meant for it.
pub const OTAGATE_REASON_CURRENT: i32 = 41;
/// 304: the rollout has not reached the device yet.
pub const OTAGATE_REASON_WAVE_NOT_OPEN: i32 = 42;
/// 304: the rollout is paused.
pub const OTAGATE_REASON_ROLLOUT_PAUSED: i32 = 43;
/// 304: the rollout was aborted, and devices on its target are left there.
pub const OTAGATE_REASON_LEFT: i32 = 44;
/// 304: the firmware that is meant is above a cap.
pub const OTAGATE_REASON_HELD: i32 = 45;
/// 304: the device is above the firmware that is meant, and the policy goes forward only.
pub const OTAGATE_REASON_AHEAD: i32 = 46;
/// 304: the device's version cannot be placed, and the product holds such devices.
pub const OTAGATE_REASON_VERSION_UNREADABLE: i32 = 47;
/// 304: the group's window is shut.
pub const OTAGATE_REASON_WINDOW_SHUT: i32 = 48;
/// 304: as many devices download as the group's cap allows.
pub const OTAGATE_REASON_DOWNLOADS_FULL: i32 = 49;
/// 304: the device failed at this firmware and waits.
pub const OTAGATE_REASON_PENALTY: i32 = 50;
/// 200: it is served.
pub const OTAGATE_REASON_SERVE: i32 = 61;
/// All reasons are below: the length of an array of counts by reason.
pub const OTAGATE_REASONS_MAX: usize = 64;

/// What a device asks for: the firmware meant for it.
pub const OTAGATE_WANT_FIRMWARE: i32 = 0;
/// The configuration of its group.
pub const OTAGATE_WANT_CONFIG: i32 = 1;
/// The list of its group's resources.
pub const OTAGATE_WANT_RESOURCES: i32 = 2;
/// One resource of its group, by name.
pub const OTAGATE_WANT_RESOURCE: i32 = 3;

/// The device sent no digest.
pub const OTAGATE_DIGEST_NONE: i32 = 0;
/// BLAKE3, 32 bytes.
pub const OTAGATE_DIGEST_BLAKE3: i32 = 1;
/// SHA-256, 32 bytes.
pub const OTAGATE_DIGEST_SHA256: i32 = 2;
/// MD5, 16 bytes.
pub const OTAGATE_DIGEST_MD5: i32 = 4;

/// Nothing is served.
pub const OTAGATE_OFFER_NONE: i32 = 0;
/// One artifact of one firmware.
pub const OTAGATE_OFFER_FIRMWARE: i32 = 1;
/// The configuration.
pub const OTAGATE_OFFER_CONFIG: i32 = 2;
/// The list of resources.
pub const OTAGATE_OFFER_RESOURCES: i32 = 3;
/// One resource.
pub const OTAGATE_OFFER_RESOURCE: i32 = 4;

/// Nothing is left to do but to answer.
pub const OTAGATE_EFFECT_NONE: i32 = 0;
/// After the answer: register the device (question 3).
pub const OTAGATE_EFFECT_REGISTER: i32 = 1;
/// Before the answer: claim in a ledger, and where that refuses, give what `otagate_reader_refuse` says (V7).
pub const OTAGATE_EFFECT_CLAIM: i32 = 2;
/// After the answer: the device reported the target of this rollout (R9, `installed`).
pub const OTAGATE_EFFECT_SEEN: i32 = 3;

/// All slots of the wave are taken.
pub const OTAGATE_REFUSED_SLOTS: i32 = 1;
/// As many downloads run as the cap allows.
pub const OTAGATE_REFUSED_DOWNLOADS: i32 = 2;

/// What became of an offer (R9): it was made.
pub const OTAGATE_OUTCOME_OFFERED: i32 = 1;
/// The last byte was sent.
pub const OTAGATE_OUTCOME_DOWNLOADED: i32 = 2;
/// Offered again and again, and still elsewhere.
pub const OTAGATE_OUTCOME_MISSING: i32 = 3;
/// A check-in reported the target.
pub const OTAGATE_OUTCOME_INSTALLED: i32 = 4;
/// The host says that it is healthy.
pub const OTAGATE_OUTCOME_CONFIRMED: i32 = 5;
/// The device said that it failed.
pub const OTAGATE_OUTCOME_FAILED: i32 = 6;

/// A report changed where the device stands.
pub const OTAGATE_NOTED_MOVED: i32 = 1;
/// It was known, or weaker than what is known, or about an earlier attempt.
pub const OTAGATE_NOTED_KNOWN: i32 = 2;
/// This run never offered the device anything, or not that attempt: it does not count.
pub const OTAGATE_NOTED_FOREIGN: i32 = 3;

/// A device's state: seen, not yet verified.
pub const OTAGATE_DEVICE_NEW: i32 = 0;
/// It may be served.
pub const OTAGATE_DEVICE_VERIFIED: i32 = 1;
/// It learns nothing.
pub const OTAGATE_DEVICE_BLOCKED: i32 = 2;
/// Switched off by the operator.
pub const OTAGATE_DEVICE_DISABLED: i32 = 3;
/// Over the account's limit.
pub const OTAGATE_DEVICE_QUOTA: i32 = 4;

/// The device is `new` now.
pub const OTAGATE_REGISTERED_NEW: i32 = 1;
/// It was known.
pub const OTAGATE_REGISTERED_KNOWN: i32 = 2;
/// The product has as many new devices as it may, does not register on first contact, lists the serial as a
/// placeholder, or does not exist.
pub const OTAGATE_REGISTERED_REFUSED: i32 = 3;

/// A serial scheme (S1): any text, byte for byte.
pub const OTAGATE_SERIAL_OPAQUE: i32 = 0;
/// Any text, ASCII case folded.
pub const OTAGATE_SERIAL_OPAQUE_NOCASE: i32 = 1;
/// A MAC address in any spelling.
pub const OTAGATE_SERIAL_MAC: i32 = 2;
/// Hex digits, lower case.
pub const OTAGATE_SERIAL_HEX: i32 = 3;
/// Decimal digits.
pub const OTAGATE_SERIAL_DECIMAL: i32 = 4;

/// What a serial is: one that names a unit.
pub const OTAGATE_SERIAL_IS_FINE: i32 = 0;
/// Not spelled as the scheme says.
pub const OTAGATE_SERIAL_IS_MALFORMED: i32 = 1;
/// Names nobody.
pub const OTAGATE_SERIAL_IS_PLACEHOLDER: i32 = 2;

/// Two versions have no order: one of them does not parse, or the scheme is `exact`.
pub const OTAGATE_UNORDERED: i32 = 2;

/// All of the file.
pub const OTAGATE_RANGE_WHOLE: i32 = 0;
/// A part of it.
pub const OTAGATE_RANGE_PART: i32 = 1;
/// Nothing of it is in the range.
pub const OTAGATE_RANGE_UNSATISFIABLE: i32 = 2;

/// For people: a line for each question, lint, or step.
pub const OTAGATE_FORMAT_TEXT: i32 = 1;
/// For programs.
pub const OTAGATE_FORMAT_JSON: i32 = 2;

/// The longest field of a check-in, name, path or serial that is read, in bytes.
pub const OTAGATE_FIELD_BYTES_MAX: usize = 65536;
/// The longest JSON document that is read, in bytes.
pub const OTAGATE_JSON_BYTES_MAX: usize = 1073741824;
/// The most elements of an array: check-ins of a batch, devices.
pub const OTAGATE_ROWS_MAX: usize = 100000000;

/// The longest canonical serial, in bytes.
pub const OTAGATE_SERIAL_BYTES_MAX: usize = 64;

/// The version of the binary interface of the library that runs, to be compared with `OTAGATE_ABI_VERSION`,
/// which is the header's.
///
/// Threads: any. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn otagate_abi_version() -> u32 {
    OTAGATE_ABI_VERSION
}

/// The version of the library that runs, such as `0.1.0`.
///
/// Owns: the text lives as long as the process; do not free it.
/// Threads: any. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn otagate_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// The name of a code, such as `OTAGATE_ERROR_NULL`; `unknown` for a number that is none.
///
/// Owns: the text lives as long as the process; do not free it.
/// Threads: any. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn otagate_code_name(code: i32) -> *const c_char {
    let name = match code {
        OTAGATE_OK => c"OTAGATE_OK",
        OTAGATE_ERROR_NULL => c"OTAGATE_ERROR_NULL",
        OTAGATE_ERROR_STRUCT_SIZE => c"OTAGATE_ERROR_STRUCT_SIZE",
        OTAGATE_ERROR_LENGTH => c"OTAGATE_ERROR_LENGTH",
        OTAGATE_ERROR_ARGUMENT => c"OTAGATE_ERROR_ARGUMENT",
        OTAGATE_ERROR_TEXT => c"OTAGATE_ERROR_TEXT",
        OTAGATE_ERROR_JSON => c"OTAGATE_ERROR_JSON",
        OTAGATE_ERROR_REFUSED => c"OTAGATE_ERROR_REFUSED",
        OTAGATE_ERROR_IO => c"OTAGATE_ERROR_IO",
        OTAGATE_ERROR_REVISION => c"OTAGATE_ERROR_REVISION",
        OTAGATE_ERROR_STORE => c"OTAGATE_ERROR_STORE",
        OTAGATE_ERROR_GARBAGE => c"OTAGATE_ERROR_GARBAGE",
        OTAGATE_ERROR_NOTHING => c"OTAGATE_ERROR_NOTHING",
        OTAGATE_ERROR_BUSY => c"OTAGATE_ERROR_BUSY",
        OTAGATE_ERROR_CHANGED => c"OTAGATE_ERROR_CHANGED",
        OTAGATE_ERROR_PANIC => c"OTAGATE_ERROR_PANIC",
        OTAGATE_WANTED => c"OTAGATE_WANTED",
        _ => c"unknown",
    };
    name.as_ptr()
}

/// The stable kebab-case name of a reason, such as `wave-not-open` (V2); `none` for `OTAGATE_REASON_NONE` and
/// for a number that this library does not know.
///
/// Owns: the text lives as long as the process; do not free it.
/// Threads: any. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn otagate_reason_name(reason: i32) -> *const c_char {
    words_of(reason).0.as_ptr()
}

/// A sentence for people about a reason; for logs, never for the device.
///
/// Owns: the text lives as long as the process; do not free it.
/// Threads: any. Errors: none; as `otagate_reason_name` for a number that is none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn otagate_reason_sentence(reason: i32) -> *const c_char {
    words_of(reason).1.as_ptr()
}

/// The status of the verdict that a reason belongs to, such as `OTAGATE_STATUS_UP_TO_DATE`;
/// `OTAGATE_STATUS_UNAUTHORIZED` for a number that is none.
///
/// Threads: any. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn otagate_reason_status(reason: i32) -> i32 {
    reason_of(reason).map_or(OTAGATE_STATUS_UNAUTHORIZED, |reason| reason.status().into())
}

/// The name and the sentence of a reason, with a NUL behind them: those of the crate, which has none there.
fn words_of(reason: i32) -> (&'static CStr, &'static CStr) {
    match reason {
        OTAGATE_REASON_KEY_UNKNOWN => (c"key-unknown", c"no product has this API key"),
        OTAGATE_REASON_KEY_REVOKED => (c"key-revoked", c"the API key is revoked"),
        OTAGATE_REASON_KEY_NOT_YET_VALID => (c"key-not-yet-valid", c"the API key is not valid yet"),
        OTAGATE_REASON_KEY_EXPIRED => (c"key-expired", c"the API key has expired"),
        OTAGATE_REASON_SERIAL_MALFORMED => {
            (c"serial-malformed", c"the serial is not spelled as the product's scheme says")
        }
        OTAGATE_REASON_SERIAL_PLACEHOLDER => (c"serial-placeholder", c"the serial is a placeholder and names nobody"),
        OTAGATE_REASON_DEVICE_UNKNOWN => (c"device-unknown", c"the product has no device of this serial"),
        OTAGATE_REASON_DEVICE_NEW => (c"device-new", c"the device waits to be verified"),
        OTAGATE_REASON_DEVICE_BLOCKED => (c"device-blocked", c"the device is blocked"),
        OTAGATE_REASON_DEVICE_DISABLED => (c"device-disabled", c"the device is disabled"),
        OTAGATE_REASON_DEVICE_QUOTA => (c"device-quota", c"the device is over the account's limit"),
        OTAGATE_REASON_GROUP_MISSING => (c"group-missing", c"the device's group does not exist"),
        OTAGATE_REASON_NOTHING_ASSIGNED => (c"nothing-assigned", c"nothing is assigned to the group"),
        OTAGATE_REASON_FIRMWARE_MISSING => (c"firmware-missing", c"the firmware that is meant does not exist"),
        OTAGATE_REASON_FIRMWARE_DENIED => (c"firmware-denied", c"the firmware that is meant is denied"),
        OTAGATE_REASON_HARDWARE => {
            (c"hardware", c"the firmware that is meant has no artifact for the device's hardware")
        }
        OTAGATE_REASON_NO_PATH => {
            (c"no-path", c"no stepping stones lead from the device's version to the firmware that is meant")
        }
        OTAGATE_REASON_NO_ARTIFACT => {
            (c"no-artifact", c"the next firmware has neither a full image nor a delta from the device's version")
        }
        OTAGATE_REASON_CURRENT => (c"current", c"the device has what is meant for it"),
        OTAGATE_REASON_WAVE_NOT_OPEN => (c"wave-not-open", c"the rollout has not reached the device yet"),
        OTAGATE_REASON_ROLLOUT_PAUSED => (c"rollout-paused", c"the rollout is paused"),
        OTAGATE_REASON_LEFT => (c"left", c"the rollout was aborted, and devices on its target are left there"),
        OTAGATE_REASON_HELD => (c"held", c"the firmware that is meant is above a cap"),
        OTAGATE_REASON_AHEAD => {
            (c"ahead", c"the device is above the firmware that is meant, and the policy goes forward only")
        }
        OTAGATE_REASON_VERSION_UNREADABLE => {
            (c"version-unreadable", c"the device's version cannot be placed, and the product holds such devices")
        }
        OTAGATE_REASON_WINDOW_SHUT => (c"window-shut", c"the group's window is shut"),
        OTAGATE_REASON_DOWNLOADS_FULL => (c"downloads-full", c"as many devices download as the group's cap allows"),
        OTAGATE_REASON_PENALTY => (c"penalty", c"the device failed at this firmware and waits"),
        OTAGATE_REASON_SERVE => (c"serve", c"it is served"),
        _ => (c"none", c"no decision was made"),
    }
}

fn reason_of(number: i32) -> Option<Reason> {
    u16::try_from(number).ok().and_then(Reason::from_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_crate() {
        let written = [
            OTAGATE_REASON_KEY_UNKNOWN,
            OTAGATE_REASON_KEY_REVOKED,
            OTAGATE_REASON_KEY_NOT_YET_VALID,
            OTAGATE_REASON_KEY_EXPIRED,
            OTAGATE_REASON_SERIAL_MALFORMED,
            OTAGATE_REASON_SERIAL_PLACEHOLDER,
            OTAGATE_REASON_DEVICE_UNKNOWN,
            OTAGATE_REASON_DEVICE_NEW,
            OTAGATE_REASON_DEVICE_BLOCKED,
            OTAGATE_REASON_DEVICE_DISABLED,
            OTAGATE_REASON_DEVICE_QUOTA,
            OTAGATE_REASON_GROUP_MISSING,
            OTAGATE_REASON_NOTHING_ASSIGNED,
            OTAGATE_REASON_FIRMWARE_MISSING,
            OTAGATE_REASON_FIRMWARE_DENIED,
            OTAGATE_REASON_HARDWARE,
            OTAGATE_REASON_NO_PATH,
            OTAGATE_REASON_NO_ARTIFACT,
            OTAGATE_REASON_CURRENT,
            OTAGATE_REASON_WAVE_NOT_OPEN,
            OTAGATE_REASON_ROLLOUT_PAUSED,
            OTAGATE_REASON_LEFT,
            OTAGATE_REASON_HELD,
            OTAGATE_REASON_AHEAD,
            OTAGATE_REASON_VERSION_UNREADABLE,
            OTAGATE_REASON_WINDOW_SHUT,
            OTAGATE_REASON_DOWNLOADS_FULL,
            OTAGATE_REASON_PENALTY,
            OTAGATE_REASON_SERVE,
        ];
        assert_eq!(written.to_vec(), Reason::ALL.iter().map(|reason| i32::from(reason.number())).collect::<Vec<_>>());
        assert!(written.iter().all(|number| (*number as usize) < OTAGATE_REASONS_MAX));
        for reason in Reason::ALL {
            let (name, sentence) = words_of(reason.number().into());
            assert_eq!((name.to_str(), sentence.to_str()), (Ok(reason.name()), Ok(reason.sentence())));
        }
        assert_eq!(OTAGATE_SERIAL_BYTES_MAX, otagate::SERIAL_BYTES_MAX);
        let version = format!("{OTAGATE_VERSION_MAJOR}.{OTAGATE_VERSION_MINOR}.{OTAGATE_VERSION_PATCH}");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
    }
}
