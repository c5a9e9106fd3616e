//! A fleet in memory: built, loaded, changed, counted, and moved on.

use crate::codes::*;
use crate::failure::{Failure, guard};
use crate::ledger::otagate_ledger;
use crate::string::{free, otagate_string};
use crate::types::*;
use otagate::fleet_file::{self, LoadError, Loaded};
use otagate::rollout::{Conductor, Outcome, Told};
use otagate::store::Registered;
use otagate::{
    Change, DeviceRow, DeviceState, Fleet, FleetSpec, Index, Product, ProductId, Reason, Snapshot, Timestamp,
};
use serde_json::{Value, json as make};
use std::ffi::c_char;
use std::path::Path;

/// How often a reload looks again, where the fleet is changed meanwhile.
const LOOKS_MAX: usize = 8;

/// A fleet of up to millions of devices in memory. Shared: readers are made from it, and changes are seen by
/// the next decision of each.
///
/// Every function of a fleet may be called from any thread, several at once: readers wait for nobody, writers
/// for each other.
pub struct otagate_fleet {
    pub(crate) index: Index,
}

/// A fleet of the caller's.
///
/// # Safety
/// NULL, or a fleet that was not freed.
pub(crate) unsafe fn fleet<'a>(fleet: *const otagate_fleet) -> Result<&'a Index, Failure> {
    // SAFETY: the caller's.
    unsafe { fleet.as_ref() }.map(|fleet| &fleet.index).ok_or_else(|| Failure::null("fleet"))
}

fn give(index: Index) -> *mut otagate_fleet {
    Box::into_raw(Box::new(otagate_fleet { index }))
}

/// Builds a fleet from JSON: an object of `revision` and `products`, each with `product`, `firmware`, `groups`
/// and `devices`. Empty is a fleet without products. Costs a few microseconds per device.
///
/// Owns: the caller frees `*fleet` by `otagate_fleet_free`.
/// NULL: `fleet` must not be; `spec` may be, with length 0.
/// Threads: any.
/// Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` with every problem (L1, L3); `*fleet` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_new(
    spec: *const c_char,
    spec_len: usize,
    fleet: *mut *mut otagate_fleet,
) -> i32 {
    guard(|| {
        // SAFETY: the text and the pointer are the caller's, as the header says.
        let (fleet, spec) = unsafe { (out(fleet, "fleet")?, json(spec, spec_len, "spec")?) };
        *fleet = give(Index::new(&build(spec)?));
        Ok(())
    })
}

fn build(spec: &[u8]) -> Result<Fleet, Failure> {
    let spec: FleetSpec = match spec {
        [] => FleetSpec::default(),
        spec => serde_json::from_slice(spec).map_err(Failure::json)?,
    };
    Ok(spec.build()?)
}

/// Loads a fleet from its file in TOML, with what that names: devices in CSV, configs, firmware. `now` is when
/// waves are opened that the file opens, and what lint judges keys by. `notes`, if it is wanted, is by `format`
/// (`OTAGATE_FORMAT_...`) text, a line for each lint and each wave that was counted, or a JSON object: `lints`
/// (what is legal but surely not meant, L4) and `more` (how many lints are not listed), `counted` (waves that
/// were opened by a census at this load, with the line that keeps that over a restart), `firmware_dir`, and
/// `files` (where the file of each locator is).
///
/// Owns: the caller frees `*fleet` by `otagate_fleet_free` and `*notes` by `otagate_string_free`.
/// NULL: `fleet` must not be; `notes` may.
/// Threads: any.
/// Errors: `NULL`, `LENGTH`, `TEXT`, `ARGUMENT` for a format that is none, `IO`, `REFUSED` with every problem,
/// each with file, line and column; `*fleet` and `*notes` are NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_load(
    path: *const c_char,
    path_len: usize,
    now_millis: i64,
    format: i32,
    fleet: *mut *mut otagate_fleet,
    notes: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the text and the pointers are the caller's, as the header says.
        let (notes, fleet, path) = unsafe { (out_if(notes), out(fleet, "fleet"), name(path, path_len, "path")) };
        let (fleet, path, text) = (fleet?, path?, is_text(format)?);
        let loaded = fleet_file::load(Path::new(path), Timestamp::from_millis(now_millis)).map_err(of_load)?;
        *fleet = give(Index::new(&loaded.fleet));
        tell(notes, || describe_load(&loaded, text));
        Ok(())
    })
}

/// Loads the file of a fleet anew over what is held, as after an edit: what was frozen stays (R3, R7), a pause
/// stays unless the file ends it, devices that registered themselves stay. Readers go on meanwhile, and see the
/// new fleet with their next decision. See `otagate_fleet_load` for `notes`.
///
/// Owns: the caller frees `*notes` by `otagate_string_free`.
/// NULL: `fleet` must not be; `notes` may.
/// Threads: any, several at once.
/// Errors: as `otagate_fleet_load`, and `REVISION`, `CHANGED`; the fleet is as it was then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_reload(
    fleet: *const otagate_fleet,
    path: *const c_char,
    path_len: usize,
    now_millis: i64,
    format: i32,
    notes: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the fleet, the text and the pointer are the caller's, as the header says.
        let (notes, index, path) = unsafe { (out_if(notes), self::fleet(fleet)?, name(path, path_len, "path")?) };
        let text = is_text(format)?;
        for _ in 0..LOOKS_MAX {
            let held = index.snapshot().to_fleet();
            let now = Timestamp::from_millis(now_millis);
            let loaded = fleet_file::load_over(Path::new(path), &held, now).map_err(of_load)?;
            if index.replace_seen(held.revision(), &loaded.fleet)? {
                tell(notes, || describe_load(&loaded, text));
                return Ok(());
            }
        }
        Err(Failure::new(OTAGATE_ERROR_CHANGED, "the fleet was changed each time while its file was read: try again"))
    })
}

fn of_load(error: LoadError) -> Failure {
    let code = if matches!(error, LoadError::Problems(_)) { OTAGATE_ERROR_REFUSED } else { OTAGATE_ERROR_IO };
    Failure::new(code, error.to_string())
}

fn tell(notes: Option<&mut *mut otagate_string>, describe: impl FnOnce() -> String) {
    if let Some(notes) = notes {
        *notes = otagate_string::give(describe());
    }
}

fn describe_load(loaded: &Loaded, text: bool) -> String {
    if text {
        let lints = if loaded.lints.is_empty() { String::new() } else { format!("{}\n", loaded.lints) };
        let counted = loaded.counted.iter().map(|counted| format!("{counted}\n"));
        return counted.fold(lints, |all, line| all + &line);
    }
    let lints: Vec<_> = (loaded.lints.iter())
        .map(|lint| make!({ "file": lint.file.to_string_lossy(), "line": lint.line, "column": lint.column, "message": lint.message }))
        .collect();
    let files: Vec<_> = (loaded.files.iter())
        .map(|file| make!({ "locator": file.locator, "path": file.path.to_string_lossy(), "size_bytes": file.size_bytes, "digests": file.digests }))
        .collect();
    let counted: Vec<_> = loaded.counted.iter().map(ToString::to_string).collect();
    make!({
        "lints": lints,
        "more": loaded.lints.more(),
        "counted": counted,
        "firmware_dir": loaded.firmware_dir.to_string_lossy(),
        "files": files,
    })
    .to_string()
}

/// Another handle on the same fleet.
///
/// Owns: the caller frees `*clone` by `otagate_fleet_free`; the fleet goes with the last of its handles and
/// readers.
/// NULL: neither may be.
/// Threads: any, several at once.
/// Errors: `NULL`; `*clone` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_clone(fleet: *const otagate_fleet, clone: *mut *mut otagate_fleet) -> i32 {
    guard(|| {
        // SAFETY: the fleet and the pointer are the caller's, as the header says.
        let (clone, index) = unsafe { (out(clone, "clone")?, self::fleet(fleet)?) };
        *clone = give(index.clone());
        Ok(())
    })
}

/// Frees a handle on a fleet. Readers that were made from it go on.
///
/// Owns: takes it.
/// NULL: does nothing.
/// Threads: any, while no other uses this handle.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_free(fleet: *mut otagate_fleet) {
    // SAFETY: NULL, or a handle from this library that nobody uses any more (header).
    unsafe { free(fleet) }
}

/// Applies changes, whole or not at all: a JSON array of them, or a single one, such as
/// `{"change":"assign-firmware","product":"lamp","group":"stable","firmware":"2.1.0"}`. Commands to rollouts
/// are changes too: `put-rollout`, `start-rollout`, `pause-rollout`, `resume-rollout`, `abort-rollout`, ... The
/// next decision of every reader sees them; a change of one device costs microseconds, however many there are.
///
/// NULL: `fleet` must not be; `revision`, if not NULL, gets the new revision, or the one that is held where
/// nothing changed.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` with every problem; the fleet is as it was then, and `*revision`
/// is 0.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_apply(
    fleet: *const otagate_fleet,
    changes: *const c_char,
    changes_len: usize,
    revision: *mut u64,
) -> i32 {
    guard(|| {
        let mut unwanted = 0;
        let revision = if revision.is_null() { &raw mut unwanted } else { revision };
        // SAFETY: the fleet, the text and the number are the caller's, as the header says.
        let (revision, index, changes) =
            unsafe { (number(revision, 0, "revision")?, self::fleet(fleet)?, json(changes, changes_len, "changes")?) };
        let changes: Vec<Change> = match changes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[') => serde_json::from_slice(changes).map_err(Failure::json)?,
            _ => vec![serde_json::from_slice(changes).map_err(Failure::json)?],
        };
        #[cfg(feature = "planted-panic")]
        assert!(changes.iter().all(|change| change.product() != "planted panic"), "planted");
        *revision = index.apply(&changes)?.0;
        Ok(())
    })
}

/// Adds many devices that are not there yet, as one revision: all of them or none. A million takes a fraction
/// of a second.
///
/// Owns: the array and its texts stay the caller's.
/// NULL: `fleet` must not be; `devices` may, with length 0. `revision` as in `otagate_fleet_apply`.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `STRUCT_SIZE`, `TEXT`, `ARGUMENT` for a state that is none and for a pin or a cap
/// (those are changes), `REFUSED` with every problem; the fleet is as it was then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_add_devices(
    fleet: *const otagate_fleet,
    product: *const c_char,
    product_len: usize,
    devices: *const otagate_device,
    devices_len: usize,
    revision: *mut u64,
) -> i32 {
    guard(|| {
        let mut unwanted = 0;
        let revision = if revision.is_null() { &raw mut unwanted } else { revision };
        // SAFETY: the fleet, the texts, the number and the array are the caller's, as the header says.
        let (revision, index, product, devices) = unsafe {
            let revision = number(revision, 0, "revision")?;
            (revision, self::fleet(fleet)?, name(product, product_len, "product")?, read_all(devices, devices_len)?)
        };
        let product = ProductId::new(product)?;
        // SAFETY: the texts of each are the caller's.
        let rows = devices.iter().map(|device| unsafe { row(device) }).collect::<Result<Vec<_>, _>>()?;
        *revision = index.add_devices(&product, &rows)?.0;
        Ok(())
    })
}

/// # Safety
/// The texts are valid for their lengths, for `'a`.
unsafe fn row<'a>(device: &otagate_device) -> Result<DeviceRow<'a>, Failure> {
    zero(device.reserved == 0, "otagate_device")?;
    if !device.pin.data.is_null() || !device.cap.data.is_null() {
        return Err(Failure::argument(
            "a device that is added has a `pin` or a `cap`: apply `pin-device` or `cap-device`",
        ));
    }
    // SAFETY: the caller's.
    unsafe {
        Ok(DeviceRow {
            serial: device.serial.name("serial")?,
            state: state(device.state)?,
            group: device.group.name("group")?,
            entered_at: Timestamp::from_millis(device.entered_at_millis),
            version: device.version.name_if("version")?,
            hardware: device.hardware.name_if("hardware")?,
        })
    }
}

/// The state of that number.
pub(crate) fn state(number: i32) -> Result<DeviceState, Failure> {
    Ok(match number {
        OTAGATE_DEVICE_NEW => DeviceState::New,
        OTAGATE_DEVICE_VERIFIED => DeviceState::Verified,
        OTAGATE_DEVICE_BLOCKED => DeviceState::Blocked,
        OTAGATE_DEVICE_DISABLED => DeviceState::Disabled,
        OTAGATE_DEVICE_QUOTA => DeviceState::Quota,
        other => return Err(Failure::argument(format!("device state {other} is none"))),
    })
}

/// Registers a device on first contact (question 3), as `otagate_after_answer` does: `new`, in the default
/// group. `registered` gets `OTAGATE_REGISTERED_...`.
///
/// NULL: `fleet` and `registered` must not be.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `TEXT`, `NOTHING` for a product that is none, `ARGUMENT` for a serial that names
/// nobody; `*registered` says refused then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_register(
    fleet: *const otagate_fleet,
    product: *const c_char,
    product_len: usize,
    serial: *const c_char,
    serial_len: usize,
    now_millis: i64,
    registered: *mut i32,
) -> i32 {
    guard(|| {
        // SAFETY: the fleet, the texts and the number are the caller's, as the header says.
        let (registered, index, product, serial) = unsafe {
            let registered = number(registered, OTAGATE_REGISTERED_REFUSED, "registered")?;
            let serial = bytes(serial, serial_len, OTAGATE_FIELD_BYTES_MAX, "serial")?;
            (registered, self::fleet(fleet)?, name(product, product_len, "product")?, serial)
        };
        let snapshot = index.snapshot();
        let product = self::product(&snapshot, product)?;
        let serial = product.read_serial(serial).map_err(|fault| Failure::argument(format!("the serial {fault}")))?;
        *registered = match index.register(product.id(), &serial, Timestamp::from_millis(now_millis)) {
            Registered::New => OTAGATE_REGISTERED_NEW,
            Registered::Known => OTAGATE_REGISTERED_KNOWN,
            Registered::Refused => OTAGATE_REGISTERED_REFUSED,
        };
        Ok(())
    })
}

fn product<'s>(snapshot: &'s Snapshot, id: &str) -> Result<&'s Product, Failure> {
    snapshot.product(id).ok_or_else(|| Failure::nothing(format!("there is no product `{}`", id.escape_debug())))
}

/// Replaces the whole fleet by one of a higher revision (L2), in JSON as for `otagate_fleet_new`; with `force`
/// not 0 by one of any. Built before it is put in place; readers wait for nothing.
///
/// NULL: `fleet` must not be; `spec` may be, with length 0.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED`, `REVISION`; the fleet is as it was then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_replace(
    fleet: *const otagate_fleet,
    spec: *const c_char,
    spec_len: usize,
    force: i32,
) -> i32 {
    guard(|| {
        // SAFETY: the fleet and the text are the caller's, as the header says.
        let (index, spec) = unsafe { (self::fleet(fleet)?, json(spec, spec_len, "spec")?) };
        Ok(index.replace(&build(spec)?, force != 0)?)
    })
}

/// The revision that new decisions see.
///
/// NULL: neither may be.
/// Threads: any, several at once.
/// Errors: `NULL`; `*revision` is 0 then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_revision(fleet: *const otagate_fleet, revision: *mut u64) -> i32 {
    guard(|| {
        // SAFETY: the fleet and the number are the caller's, as the header says.
        let (revision, index) = unsafe { (number(revision, 0, "revision")?, self::fleet(fleet)?) };
        *revision = index.revision().0;
        Ok(())
    })
}

/// The whole fleet as JSON, from which `otagate_fleet_new` builds it again: to be kept over a restart.
///
/// Owns: the caller frees `*spec` by `otagate_string_free`.
/// NULL: neither may be.
/// Threads: any, several at once.
/// Errors: `NULL`; `*spec` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_to_json(fleet: *const otagate_fleet, spec: *mut *mut otagate_string) -> i32 {
    guard(|| {
        // SAFETY: the fleet and the pointer are the caller's, as the header says.
        let (spec, index) = unsafe { (out(spec, "spec")?, self::fleet(fleet)?) };
        *spec = otagate_string::give(serde_json::to_string(&index.snapshot().spec()).map_err(Failure::json)?);
        Ok(())
    })
}

/// One device as JSON, as it stands in `put-device`.
///
/// Owns: the caller frees `*device` by `otagate_string_free`.
/// NULL: `fleet` and `device` must not be.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `TEXT`, `NOTHING` for a product or device that is none, `ARGUMENT` for a serial
/// that names nobody; `*device` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_device(
    fleet: *const otagate_fleet,
    product: *const c_char,
    product_len: usize,
    serial: *const c_char,
    serial_len: usize,
    device: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the fleet, the texts and the pointer are the caller's, as the header says.
        let (device, index, product, serial) = unsafe {
            let device = out(device, "device")?;
            let serial = bytes(serial, serial_len, OTAGATE_FIELD_BYTES_MAX, "serial")?;
            (device, self::fleet(fleet)?, name(product, product_len, "product")?, serial)
        };
        let snapshot = index.snapshot();
        let product = self::product(&snapshot, product)?;
        let serial = product.read_serial(serial).map_err(|fault| Failure::argument(format!("the serial {fault}")))?;
        let found = snapshot.device(product.id().as_str(), serial.as_str());
        let found = found.ok_or_else(|| Failure::nothing(format!("there is no device `{}`", serial.as_str())))?;
        *device = otagate_string::give(serde_json::to_string(&found.spec()).map_err(Failure::json)?);
        Ok(())
    })
}

/// Drops old revisions that no reader holds any more. Each change does so too; after the last one, or after a
/// large fleet was replaced, call it now and then. `held`, if not NULL, gets how many old revisions are still
/// held.
///
/// NULL: `fleet` must not be; `held` may.
/// Threads: any, several at once.
/// Errors: `NULL`; `*held` is 0 then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_reclaim(fleet: *const otagate_fleet, held: *mut usize) -> i32 {
    guard(|| {
        let mut unwanted = 0;
        let held = if held.is_null() { &raw mut unwanted } else { held };
        // SAFETY: the fleet and the number are the caller's, as the header says.
        let (held, index) = unsafe { (number(held, 0, "held")?, self::fleet(fleet)?) };
        *held = index.reclaim();
        Ok(())
    })
}

/// What is legal in the fleet but surely not meant (L4): a JSON array of objects of `place` and `message`.
/// Looks at every device.
///
/// Owns: the caller frees `*lints` by `otagate_string_free`.
/// NULL: neither may be.
/// Threads: any, several at once.
/// Errors: `NULL`; `*lints` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_lint(
    fleet: *const otagate_fleet,
    now_millis: i64,
    lints: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the fleet and the pointer are the caller's, as the header says.
        let (lints, index) = unsafe { (out(lints, "lints")?, self::fleet(fleet)?) };
        let found = index.snapshot().to_fleet().lint(Timestamp::from_millis(now_millis));
        *lints = otagate_string::give(serde_json::to_string(&found).map_err(Failure::json)?);
        Ok(())
    })
}

/// How often each reason was given by the readers of this fleet since it was made: `counts[reason]`, for all
/// products, unknown keys included, or for the one that is named. An array of `OTAGATE_REASONS_MAX` has room
/// for all; reasons beyond `counts_len` are left out.
///
/// NULL: `fleet` must not be; `product` may be, with length 0: all; `counts` may be, with length 0.
/// Threads: any, several at once.
/// Errors: `NULL`, `LENGTH`, `TEXT`; the counts are 0 then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_verdicts(
    fleet: *const otagate_fleet,
    product: *const c_char,
    product_len: usize,
    counts: *mut u64,
    counts_len: usize,
) -> i32 {
    guard(|| {
        if counts.is_null() && counts_len > 0 {
            return Err(Failure::null("counts"));
        }
        // No number is beyond, so that nothing beyond is written, however much is claimed.
        let counts_len = counts_len.min(OTAGATE_REASONS_MAX);
        let counts = match counts_len {
            0 => &mut [][..],
            // SAFETY: the array is the caller's, as the header says, and not NULL.
            len => unsafe { std::slice::from_raw_parts_mut(counts, len) },
        };
        counts.fill(0);
        // SAFETY: the fleet and the text are the caller's, as the header says.
        let (index, product) = unsafe { (self::fleet(fleet)?, name(product, product_len, "product")?) };
        for one in index.verdicts() {
            let asked = product.is_empty() || one.product.as_ref().is_some_and(|id| id.as_str() == product);
            if let Some(count) = counts.get_mut(usize::from(one.reason.number())).filter(|_| asked) {
                *count += one.count;
            }
        }
        Ok(())
    })
}

/// The same as JSON: an array of objects of `product` (null for unknown keys), `reason`, `number`, `status` and
/// `count`, of all that was given.
///
/// Owns: the caller frees `*verdicts` by `otagate_string_free`.
/// NULL: neither may be.
/// Threads: any, several at once.
/// Errors: `NULL`; `*verdicts` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_verdicts_json(
    fleet: *const otagate_fleet,
    verdicts: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the fleet and the pointer are the caller's, as the header says.
        let (verdicts, index) = unsafe { (out(verdicts, "verdicts")?, self::fleet(fleet)?) };
        let one = |product: Option<ProductId>, reason: Reason, count: u64| make!({ "product": product, "reason": reason, "number": reason.number(), "status": reason.status(), "count": count });
        let all: Vec<_> =
            index.verdicts().into_iter().map(|counted| one(counted.product, counted.reason, counted.count)).collect();
        *verdicts = otagate_string::give(Value::from(all).to_string());
        Ok(())
    })
}

/// Who would be admitted if that wave (from 0) of the rollout of a group were opened now (R3). Nothing is
/// changed. Looks at each device once.
///
/// NULL: none may be.
/// Threads: any, several at once.
/// Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `TEXT`, `NOTHING` for a product, group or wave that is none,
/// `REFUSED` where the wave cannot be counted; `*census` counts nobody then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_census(
    fleet: *const otagate_fleet,
    product: *const c_char,
    product_len: usize,
    group: *const c_char,
    group_len: usize,
    wave: usize,
    census: *mut otagate_census,
) -> i32 {
    guard(|| {
        // SAFETY: the fleet, the struct and the texts are the caller's, as the header says.
        let (census, index, product, group) = unsafe {
            let census = write(census)?;
            let struct_size = size_of::<otagate_census>();
            *census = otagate_census {
                struct_size,
                eligible: 0,
                counted: 0,
                newcomers: 0,
                threshold: 0,
                has_threshold: 0,
                reserved: 0,
            };
            (census, self::fleet(fleet)?, name(product, product_len, "product")?, name(group, group_len, "group")?)
        };
        let found = index.snapshot().census(product, group, wave).map_err(|fault| {
            let none = matches!(fault, otagate::CensusFault::NoWave { .. });
            Failure::new(if none { OTAGATE_ERROR_NOTHING } else { OTAGATE_ERROR_REFUSED }, fault.to_string())
        })?;
        (census.eligible, census.counted, census.newcomers) = (found.eligible, found.counted, found.newcomers);
        (census.threshold, census.has_threshold) = (found.threshold.unwrap_or(0), found.threshold.is_some().into());
        Ok(())
    })
}

/// Moves every rollout on that is due, by the account of that ledger (R8): opens waves, halts, completes. To be
/// called on a timer, or after outcomes. `moved`, if it is wanted, is by `format` (`OTAGATE_FORMAT_...`) text,
/// a line for each step; or a JSON array of what was due: `product`, `group`, `rollout`, `transition` as in
/// `otagate_rollout_step`, `outcome` (`done`, `lost`, `held`, `uncounted`, `refused`), `revision` and `opened`
/// where it was done, and `line`, the whole in words for a log.
///
/// Owns: the caller frees `*moved` by `otagate_string_free`.
/// NULL: `fleet` and `ledger` must not be; `moved` may.
/// Threads: any, several at once: of several that look at the same state one moves it.
/// Errors: `NULL`, `ARGUMENT` for a format that is none; `*moved` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_advance(
    fleet: *const otagate_fleet,
    ledger: *const otagate_ledger,
    now_millis: i64,
    format: i32,
    moved: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the fleet, the ledger and the pointer are the caller's, as the header says.
        let (moved, index, books) = unsafe { (out_if(moved), self::fleet(fleet)?, crate::ledger::books(ledger)?) };
        let text = is_text(format)?;
        let all = Conductor::new(index, &books.ledger).advance(Timestamp::from_millis(now_millis));
        let all = all.map_err(|fault| Failure::new(OTAGATE_ERROR_STORE, fault.to_string()))?;
        tell(moved, || match text {
            true => all.iter().fold(String::new(), |lines, moved| format!("{lines}{moved}\n")),
            false => make!(all).to_string(),
        });
        Ok(())
    })
}

/// Takes down what became of an offer (R9), as a back end tells it. What the offer said of its run and attempt
/// is best given back, so that what comes late is not booked on another. Late, twice or out of order, it counts
/// once; what is stronger than a download ends the lease of firmware too. `noted`, if not NULL, gets
/// `OTAGATE_NOTED_...`. For downloads see `otagate_after_last_byte`, for what a device tells
/// `otagate_reader_report`.
///
/// NULL: `fleet`, `ledger` and `report` must not be; `noted` may.
/// Threads: any, several at once.
/// Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `TEXT`, `NOTHING` for a product, group or device that is none,
/// `ARGUMENT` for an outcome that is none and a serial that names nobody; nothing is noted then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_fleet_report(
    fleet: *const otagate_fleet,
    ledger: *const otagate_ledger,
    report: *const otagate_report,
    now_millis: i64,
    noted: *mut i32,
) -> i32 {
    guard(|| {
        let mut unwanted = 0;
        let noted = if noted.is_null() { &raw mut unwanted } else { noted };
        // SAFETY: the fleet, the ledger, the struct and the number are the caller's, as the header says.
        let (noted, index, books, report) = unsafe {
            let noted = number(noted, OTAGATE_NOTED_FOREIGN, "noted")?;
            (noted, self::fleet(fleet)?, crate::ledger::books(ledger)?, read(report)?)
        };
        // SAFETY: the texts are the caller's, as the header says.
        let (product, group, serial, rollout) = unsafe {
            let (product, group) = (report.product.name("product")?, report.group.name("group")?);
            (product, group, report.serial.field("serial")?, report.rollout.name("rollout")?)
        };
        let outcome = outcome(report.outcome)?;
        let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let started_at = match report.rollout_started_at_millis {
            OTAGATE_NEVER => None,
            _ if rollout.is_empty() => return Err(Failure::argument("`rollout_started_at_millis` is of no `rollout`")),
            millis => Some(Timestamp::from_millis(millis)),
        };
        let attempt = Some(report.attempt).filter(|attempt| *attempt != 0);
        let (group, rollout) = (some(group), some(rollout));
        let told = Told { product, group, serial, rollout, started_at, attempt, outcome };
        *noted = crate::ledger::noted(books.tell(&index.snapshot(), &told, Timestamp::from_millis(now_millis))?);
        Ok(())
    })
}

/// The outcome of that number, if it can be reported.
pub(crate) fn outcome(number: i32) -> Result<Outcome, Failure> {
    Ok(match number {
        OTAGATE_OUTCOME_DOWNLOADED => Outcome::Downloaded,
        OTAGATE_OUTCOME_MISSING => Outcome::Missing,
        OTAGATE_OUTCOME_INSTALLED => Outcome::Installed,
        OTAGATE_OUTCOME_CONFIRMED => Outcome::Confirmed,
        OTAGATE_OUTCOME_FAILED => Outcome::Failed,
        other => return Err(Failure::argument(format!("outcome {other} is none that can be reported"))),
    })
}

/// Whether that format is text.
pub(crate) fn is_text(format: i32) -> Result<bool, Failure> {
    match format {
        OTAGATE_FORMAT_TEXT => Ok(true),
        OTAGATE_FORMAT_JSON => Ok(false),
        other => Err(Failure::argument(format!("format {other} is none"))),
    }
}
