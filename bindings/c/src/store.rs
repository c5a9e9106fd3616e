//! A store of the host's own: callbacks in the place of [`otagate::store::Store`].
//!
//! ```text
//!   reader ─▶ open_view ─▶ product_of_key ─▶ device ─▶ group ─▶ standing ─▶ close_view
//!                              │ edition        │          │ edition
//!                              ▼                ▼          ▼
//!                          otagate_found: known in that edition? else the document, checked once and kept
//! ```
//!
//! A host finds rows, the crate wants checked values. Devices are many and small: they come as a struct and
//! are checked each time. Products and groups are few and large: they come as JSON documents under an
//! edition, are checked once, and a host that says the edition first hands over no document at all.

use crate::codes::*;
use crate::failure::{Failure, guard};
use crate::fleet::state;
use crate::string::free;
use crate::types::*;
use otagate::store::{Fault, GroupRecord, Lent, Registered, StandingRecord, Store, View};
use otagate::{
    CanonicalSerial, Device, DeviceSpec, Group, GroupSpec, KeyHash, Lease, Product, ProductEntry, ProductFleetSpec,
    ProductId, Revision, Timestamp,
};
use parking_lot::RwLock;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

/// How many products' documents are kept; beyond it they are read anew.
const DOCUMENTS_KEPT_MAX: usize = 65_536;

/// What a look-up found; only inside the callback that it was given to, on its thread.
pub struct otagate_found<'f> {
    of: Of<'f>,
    /// What went wrong while it was filled.
    fault: Option<String>,
    /// A document was asked for, and has not come.
    wanted: bool,
}

/// What is looked for, and where it goes.
enum Of<'f> {
    Product { store: &'f HostStore, found: &'f mut Option<Arc<ProductEntry>> },
    Device { product: Option<&'f Product>, found: &'f mut Option<Device> },
    Group { store: &'f HostStore, entry: &'f Arc<ProductEntry>, id: &'f str, found: &'f mut Option<Arc<Group>> },
    Standing { found: &'f mut Option<StandingRecord> },
}

/// A store of the host's own. The table is copied when the store is made; `user_data` belongs to the store from
/// then on, until `destroy`, which is called exactly once, when the last handle on the store and the last
/// reader of it are gone, by the thread that frees it.
///
/// Callbacks are called from every thread that decides, several at once; those of one decision one after the
/// other, on one thread, between `open_view` and `close_view`. They give 0, or an error code of the host's own:
/// then nothing is served, and `otagate_last_store_code()` has the code. They must return: no C++ exception and
/// no `longjmp` may leave them. They may call otagate, but neither use nor free the reader that is deciding.
///
/// Finding nothing is no error: give 0 and put nothing into `found`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_store_callbacks {
    /// `sizeof(otagate_store_callbacks)`.
    pub struct_size: usize,
    /// Handed to every callback.
    pub user_data: *mut c_void,
    /// Frees `user_data`. May be NULL.
    pub destroy: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Begins to look at one state of the store: a read transaction, say. `*view` is handed to the other
    /// callbacks, `*revision` says which state it is; it only grows (V5). Must not be NULL.
    pub open_view:
        Option<unsafe extern "C" fn(user_data: *mut c_void, view: *mut *mut c_void, revision: *mut u64) -> i32>,
    /// Ends it, exactly once for each view that was opened. May be NULL.
    pub close_view: Option<unsafe extern "C" fn(user_data: *mut c_void, view: *mut c_void)>,
    /// The product that has the key of this BLAKE3, 32 bytes: `otagate_found_known`, and where that says
    /// `OTAGATE_WANTED`, `otagate_found_document` with an object of `product` and `firmware`, as in a fleet's
    /// JSON; and of `groups`, if `group` is NULL. Must not be NULL.
    pub product_of_key: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            view: *mut c_void,
            key_hash: *const u8,
            found: *mut otagate_found<'_>,
        ) -> i32,
    >,
    /// The device of this product and canonical serial: `otagate_found_device`. On a key that nobody has it is
    /// asked for a product that does not exist, so that time does not tell the two apart: do the same work.
    /// Must not be NULL.
    pub device: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            view: *mut c_void,
            product: *const c_char,
            product_len: usize,
            serial: *const c_char,
            serial_len: usize,
            found: *mut otagate_found<'_>,
        ) -> i32,
    >,
    /// The group of a verified device: `otagate_found_known`, `otagate_found_document` with a group as in a
    /// fleet's JSON. NULL: groups stand in the documents of products.
    pub group: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            view: *mut c_void,
            product: *const c_char,
            product_len: usize,
            group: *const c_char,
            group_len: usize,
            found: *mut otagate_found<'_>,
        ) -> i32,
    >,
    /// What the host's own ledger holds about a verified device: `otagate_found_standing`. NULL: it has none.
    pub standing: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            view: *mut c_void,
            product: *const c_char,
            product_len: usize,
            group: *const c_char,
            group_len: usize,
            serial: *const c_char,
            serial_len: usize,
            found: *mut otagate_found<'_>,
        ) -> i32,
    >,
    /// Carries out a registration (question 3), outside of any view: the device becomes `new` in the product's
    /// default group; twice is once; the product's limit of new devices is kept in one step. `*registered` gets
    /// `OTAGATE_REGISTERED_...`. NULL: nobody is registered.
    pub register_device: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            product: *const c_char,
            product_len: usize,
            serial: *const c_char,
            serial_len: usize,
            at_millis: i64,
            registered: *mut i32,
        ) -> i32,
    >,
}

impl Sized for otagate_store_callbacks {
    const NAME: &'static str = "otagate_store_callbacks";
}

/// A store of the host's own. Shared: readers are made from it.
pub struct otagate_store {
    pub(crate) store: Arc<HostStore>,
}

/// Makes a store of callbacks.
///
/// Owns: takes `user_data`, if it succeeds; else it stays the caller's, and `destroy` is not called. The caller
/// frees `*store` by `otagate_store_free`.
/// NULL: neither may be, nor `open_view`, `product_of_key` and `device`.
/// Threads: any.
/// Errors: `NULL`, `STRUCT_SIZE`; `*store` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_store_new(
    callbacks: *const otagate_store_callbacks,
    store: *mut *mut otagate_store,
) -> i32 {
    guard(|| {
        // SAFETY: the struct and the pointer are the caller's, as the header says.
        let (store, table) = unsafe { (out(store, "store")?, *read(callbacks)?) };
        let open_view = table.open_view.ok_or_else(|| Failure::null("open_view"))?;
        let product_of_key = table.product_of_key.ok_or_else(|| Failure::null("product_of_key"))?;
        let device = table.device.ok_or_else(|| Failure::null("device"))?;
        let host = HostStore { table, open_view, product_of_key, device, kept: RwLock::default() };
        *store = Box::into_raw(Box::new(otagate_store { store: Arc::new(host) }));
        Ok(())
    })
}

/// Another handle on the same store.
///
/// Owns: the caller frees `*clone` by `otagate_store_free`.
/// NULL: neither may be.
/// Threads: any, several at once.
/// Errors: `NULL`; `*clone` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_store_clone(store: *const otagate_store, clone: *mut *mut otagate_store) -> i32 {
    guard(|| {
        // SAFETY: the store and the pointer are the caller's, as the header says.
        let (clone, store) = unsafe { (out(clone, "clone")?, self::store(store)?.clone()) };
        *clone = Box::into_raw(Box::new(otagate_store { store }));
        Ok(())
    })
}

/// Frees a handle on a store. Readers that were made from it go on; `destroy` is called when the last of all is
/// gone.
///
/// Owns: takes it.
/// NULL: does nothing.
/// Threads: any, while no other uses this handle.
/// Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_store_free(store: *mut otagate_store) {
    // SAFETY: NULL, or a handle from this library that nobody uses any more (header).
    unsafe { free(store) }
}

/// A store of the caller's.
///
/// # Safety
/// NULL, or a store that was not freed.
pub(crate) unsafe fn store<'a>(store: *const otagate_store) -> Result<&'a Arc<HostStore>, Failure> {
    // SAFETY: the caller's.
    unsafe { store.as_ref() }.map(|store| &store.store).ok_or_else(|| Failure::null("store"))
}

/// Puts in a product or a group whose document the library has in that edition. An edition is given out once:
/// it changes whenever anything in the document does, and the same name never has the same edition with another
/// document, not even after it was removed and came back, or a backup was restored; the revision of the last
/// change will do. Documents of a product's groups are read under its rules, and read anew when it changes.
/// Edition 0 is never kept: the document is read for each check-in, which takes so long that time tells a known
/// key from another. After `OTAGATE_WANTED` the document must be given; a decision without it fails with
/// `OTAGATE_ERROR_GARBAGE`, and so it does after an error.
///
/// NULL: `found` must not be.
/// Threads: that of the callback.
/// Errors: `OTAGATE_OK`: it is taken. `OTAGATE_WANTED`, which is no error: give it by `otagate_found_document`.
/// `NULL`, `LENGTH`, `TEXT`; `ARGUMENT` in a callback that finds something else.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_found_known(
    found: *mut otagate_found<'_>,
    name: *const c_char,
    name_len: usize,
    edition: u64,
) -> i32 {
    let mut wanted = false;
    let code = fill(found, |found| {
        // SAFETY: the text is the caller's, as the header says.
        let name = unsafe { crate::types::name(name, name_len, "name")? };
        match &mut found.of {
            Of::Product { store, found } => **found = store.known_product(name, edition),
            Of::Group { store, entry, id, found } => {
                is_asked_for(name, id)?;
                **found = store.known_group(entry, name, edition);
            }
            Of::Device { .. } | Of::Standing { .. } => return Err(misplaced("a document")),
        }
        found.wanted = match &found.of {
            Of::Product { found, .. } => found.is_none(),
            Of::Group { found, .. } => found.is_none(),
            _ => false,
        };
        wanted = found.wanted;
        Ok(())
    });
    if code == OTAGATE_OK && wanted { OTAGATE_WANTED } else { code }
}

/// Puts in a product or a group by its document, which is checked and kept under its edition.
///
/// Owns: the texts stay the caller's.
/// NULL: `found` must not be.
/// Threads: that of the callback.
/// Errors: `NULL`, `LENGTH`, `TEXT`, `JSON`, `REFUSED` with every problem; `ARGUMENT` in a callback that finds
/// something else, and for a document of another name or with devices. The decision fails with
/// `OTAGATE_ERROR_GARBAGE` then, whatever the callback gives.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_found_document(
    found: *mut otagate_found<'_>,
    name: *const c_char,
    name_len: usize,
    edition: u64,
    document: *const c_char,
    document_len: usize,
) -> i32 {
    fill(found, |found| {
        // SAFETY: the texts are the caller's, as the header says.
        let (name, document) =
            unsafe { (crate::types::name(name, name_len, "name")?, json(document, document_len, "document")?) };
        match &mut found.of {
            Of::Product { store, found } => {
                let spec: ProductFleetSpec = serde_json::from_slice(document).map_err(Failure::json)?;
                is_asked_for(&spec.product.id, name)?;
                if !spec.devices.is_empty() {
                    return Err(Failure::argument(
                        "the document of a product has `devices`: they are looked up one by one",
                    ));
                }
                **found = Some(store.keep_product(name, edition, Arc::new(spec.build()?)));
            }
            Of::Group { store, entry, id, found } => {
                is_asked_for(name, id)?;
                let spec: GroupSpec = serde_json::from_slice(document).map_err(Failure::json)?;
                is_asked_for(&spec.id, name)?;
                **found = Some(store.keep_group(entry, name, edition, Arc::new(spec.build(entry.product())?)));
            }
            Of::Device { .. } | Of::Standing { .. } => return Err(misplaced("a document")),
        }
        found.wanted = false;
        Ok(())
    })
}

/// Puts in a device.
///
/// Owns: the struct and its texts stay the caller's.
/// NULL: neither may be.
/// Threads: that of the callback.
/// Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `TEXT`, `ARGUMENT` for a state that is none and in a callback that
/// finds something else, `REFUSED` with every problem. The decision fails with `OTAGATE_ERROR_GARBAGE` then,
/// whatever the callback gives.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_found_device(found: *mut otagate_found<'_>, device: *const otagate_device) -> i32 {
    fill(found, |found| {
        let Of::Device { product, found } = &mut found.of else { return Err(misplaced("a device")) };
        // SAFETY: the struct and its texts are the caller's, as the header says.
        let spec = unsafe {
            let device = read(device)?;
            zero(device.reserved == 0, "otagate_device")?;
            let text = |text: otagate_text, what: &str| Ok::<_, Failure>(text.name_if(what)?.map(str::to_owned));
            DeviceSpec {
                serial: device.serial.name("serial")?.to_owned(),
                state: state(device.state)?,
                group: device.group.name("group")?.to_owned(),
                entered_at: Timestamp::from_millis(device.entered_at_millis),
                pin: text(device.pin, "pin")?,
                cap: text(device.cap, "cap")?,
                version: text(device.version, "version")?,
                hardware: text(device.hardware, "hardware")?,
                earlier_groups: Vec::new(),
            }
        };
        let product = product.ok_or_else(|| Failure::argument("there is a device of a product that does not exist"))?;
        **found = Some(spec.build(product)?);
        Ok(())
    })
}

/// Puts in what the host's own ledger holds about the device.
///
/// Owns: the struct and its text stay the caller's.
/// NULL: neither may be.
/// Threads: that of the callback.
/// Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `TEXT`, `ARGUMENT` in a callback that finds something else. The
/// decision fails with `OTAGATE_ERROR_GARBAGE` then, whatever the callback gives.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_found_standing(
    found: *mut otagate_found<'_>,
    standing: *const otagate_standing,
) -> i32 {
    fill(found, |found| {
        let Of::Standing { found } = &mut found.of else { return Err(misplaced("a standing")) };
        // SAFETY: the struct and its text are the caller's, as the header says.
        let (standing, hop) = unsafe {
            let standing = read(standing)?;
            zero(standing.reserved == 0, "otagate_standing")?;
            (standing, standing.penalty_hop.name_if("penalty_hop")?)
        };
        let at = |millis: i64| (millis != OTAGATE_NEVER).then(|| Timestamp::from_millis(millis));
        **found = Some(StandingRecord {
            claim_expires_at: at(standing.claim_expires_at_millis),
            download_expires_at: at(standing.download_expires_at_millis),
            attempts: standing.attempts,
            penalty: hop.map(Box::from).zip(at(standing.penalty_until_millis)),
            place: (standing.place > 0).then_some(standing.place),
            downloads_now: standing.downloads_now,
            slots_taken: standing.slots_taken,
        });
        Ok(())
    })
}

/// Fills what is looked for; what goes wrong is remembered, so that the decision fails whatever the callback
/// gives.
fn fill(found: *mut otagate_found<'_>, put: impl FnOnce(&mut otagate_found<'_>) -> Result<(), Failure>) -> i32 {
    guard(|| {
        // SAFETY: NULL, or what the callback was given, inside of it (header).
        let found = unsafe { found.as_mut() }.ok_or_else(|| Failure::null("found"))?;
        put(found).inspect_err(|failure| found.fault = Some(failure.message().to_owned()))
    })
}

fn misplaced(what: &str) -> Failure {
    Failure::argument(format!("{what} is not what this callback is asked for"))
}

fn is_asked_for(given: &str, asked: &str) -> Result<(), Failure> {
    let wrong = || format!("`{}` is given in the place of `{}`", given.escape_debug(), asked.escape_debug());
    if given == asked { Ok(()) } else { Err(Failure::argument(wrong())) }
}

/// The host's table, and the documents that were checked.
pub(crate) struct HostStore {
    table: otagate_store_callbacks,
    open_view: unsafe extern "C" fn(*mut c_void, *mut *mut c_void, *mut u64) -> i32,
    product_of_key: unsafe extern "C" fn(*mut c_void, *mut c_void, *const u8, *mut otagate_found<'_>) -> i32,
    device: unsafe extern "C" fn(
        *mut c_void,
        *mut c_void,
        *const c_char,
        usize,
        *const c_char,
        usize,
        *mut otagate_found<'_>,
    ) -> i32,
    kept: RwLock<Kept>,
}

/// Documents in their latest edition.
#[derive(Default)]
struct Kept {
    products: HashMap<Box<str>, Row>,
}

/// A product, and its groups as they are read by it: they go with it.
struct Row {
    edition: u64,
    entry: Arc<ProductEntry>,
    groups: HashMap<Box<str>, (u64, Arc<Group>)>,
}

// SAFETY: the header asks of the host that its callbacks may be called from any thread, several at once, with `user_data`.
unsafe impl Send for HostStore {}
// SAFETY: as above.
unsafe impl Sync for HostStore {}

impl Drop for HostStore {
    fn drop(&mut self) {
        if let Some(destroy) = self.table.destroy {
            // SAFETY: the host's own, called once, when nobody can call another any more.
            unsafe { destroy(self.table.user_data) }
        }
    }
}

impl HostStore {
    fn known_product(&self, name: &str, edition: u64) -> Option<Arc<ProductEntry>> {
        let kept = self.kept.read();
        kept.products.get(name).filter(|row| row.edition == edition && edition != 0).map(|row| row.entry.clone())
    }

    fn keep_product(&self, name: &str, edition: u64, entry: Arc<ProductEntry>) -> Arc<ProductEntry> {
        if edition == 0 {
            return entry;
        }
        let mut kept = self.kept.write();
        // Of several that read it at once the first one's stays, with the groups that were read by it.
        if let Some(row) = kept.products.get(name).filter(|row| row.edition == edition) {
            return row.entry.clone();
        }
        let all = match kept.products.len() >= DOCUMENTS_KEPT_MAX {
            true => std::mem::take(&mut kept.products),
            false => HashMap::new(),
        };
        let row = Row { edition, entry: entry.clone(), groups: HashMap::new() };
        let before = (kept.products.insert(name.into(), row), all);
        // What is dropped here may be large: others are let in first.
        drop(kept);
        drop(before);
        entry
    }

    fn known_group(&self, entry: &Arc<ProductEntry>, name: &str, edition: u64) -> Option<Arc<Group>> {
        let kept = self.kept.read();
        let row = kept.products.get(entry.product().id().as_str()).filter(|row| Arc::ptr_eq(&row.entry, entry))?;
        row.groups.get(name).filter(|(held, _)| *held == edition && edition != 0).map(|(_, group)| group.clone())
    }

    fn keep_group(&self, entry: &Arc<ProductEntry>, name: &str, edition: u64, group: Arc<Group>) -> Arc<Group> {
        if edition == 0 {
            return group;
        }
        let mut kept = self.kept.write();
        let row = kept.products.get_mut(entry.product().id().as_str()).filter(|row| Arc::ptr_eq(&row.entry, entry));
        if let Some(row) = row {
            if row.groups.len() >= otagate::GROUPS_MAX {
                row.groups.clear();
            }
            row.groups.insert(name.into(), (edition, group.clone()));
        }
        group
    }
}

/// Why the host's store did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostFault {
    #[error("`{callback}` gave the error code {code}")]
    Code { callback: &'static str, code: i32 },
    #[error("`{callback}` gave what cannot be: {fault}")]
    Garbage { callback: &'static str, fault: String },
}

impl From<HostFault> for Failure {
    fn from(fault: HostFault) -> Self {
        let message = fault.to_string();
        match fault {
            HostFault::Code { code, .. } => Self::of_store(OTAGATE_ERROR_STORE, message, code),
            HostFault::Garbage { .. } => Self::new(OTAGATE_ERROR_GARBAGE, message),
        }
    }
}

/// A failure of a store, whichever store it is.
pub(crate) fn of_fault<E: Into<Failure> + std::error::Error>(fault: Fault<E>) -> Failure {
    match fault {
        Fault::Store(own) => own.into(),
        other => Failure::new(OTAGATE_ERROR_GARBAGE, other.to_string()),
    }
}

/// One state of the host's store, as one check-in looks at it.
pub(crate) struct HostView<'s> {
    opened: Rc<Opened<'s>>,
    /// The product of the key, which the device and the group are read by.
    entry: OnceCell<Arc<ProductEntry>>,
    group: OnceCell<Arc<Group>>,
}

/// A view that the host opened, until it is dropped.
struct Opened<'s> {
    store: &'s HostStore,
    view: *mut c_void,
    revision: Revision,
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if let Some(close) = self.store.table.close_view {
            // SAFETY: the host's own, for a view that it opened, once.
            unsafe { close(self.store.table.user_data, self.view) }
        }
    }
}

impl HostView<'_> {
    /// The same state, for another check-in.
    pub(crate) fn again(&self) -> Self {
        Self { opened: self.opened.clone(), entry: OnceCell::new(), group: OnceCell::new() }
    }
}

impl Store for HostStore {
    type Error = HostFault;
    type View<'s> = HostView<'s>;

    fn view(&self) -> Result<HostView<'_>, HostFault> {
        let (mut view, mut revision) = (ptr::null_mut(), 0);
        // SAFETY: the host's own, with room for what it gives.
        let code = unsafe { (self.open_view)(self.table.user_data, &mut view, &mut revision) };
        if code != 0 {
            return Err(HostFault::Code { callback: "open_view", code });
        }
        let revision = Revision(revision);
        let opened = Rc::new(Opened { store: self, view, revision });
        Ok(HostView { opened, entry: OnceCell::new(), group: OnceCell::new() })
    }

    fn register(&self, product: &ProductId, serial: &CanonicalSerial, at: Timestamp) -> Result<Registered, HostFault> {
        let Some(register) = self.table.register_device else { return Ok(Registered::Refused) };
        let (product, serial) = (otagate_text::of(product.as_str()), otagate_text::of(serial.as_str()));
        let mut registered = OTAGATE_REGISTERED_REFUSED;
        let user_data = self.table.user_data;
        // SAFETY: the host's own, with texts that live through the call.
        let code = unsafe {
            register(user_data, product.data, product.len, serial.data, serial.len, at.millis(), &mut registered)
        };
        let callback = "register_device";
        match (code, registered) {
            (0, OTAGATE_REGISTERED_NEW) => Ok(Registered::New),
            (0, OTAGATE_REGISTERED_KNOWN) => Ok(Registered::Known),
            (0, OTAGATE_REGISTERED_REFUSED) => Ok(Registered::Refused),
            (0, other) => Err(HostFault::Garbage { callback, fault: format!("`registered` {other} is none") }),
            (code, _) => Err(HostFault::Code { callback, code }),
        }
    }
}

impl HostView<'_> {
    /// Calls back, and says what became of it: what was filled in wrongly first.
    fn look(
        &self,
        callback: &'static str,
        of: Of<'_>,
        call: impl FnOnce(*mut otagate_found<'_>) -> i32,
    ) -> Result<(), HostFault> {
        let mut found = otagate_found { of, fault: None, wanted: false };
        let code = call(&mut found);
        let wanted = || "a document is wanted, and was not given".to_owned();
        match (found.fault.or_else(|| (found.wanted && code == 0).then(wanted)), code) {
            (Some(fault), _) => Err(HostFault::Garbage { callback, fault }),
            (None, 0) => Ok(()),
            (None, code) => Err(HostFault::Code { callback, code }),
        }
    }
}

impl View for HostView<'_> {
    type Error = HostFault;

    fn revision(&self) -> Result<Revision, HostFault> {
        Ok(self.opened.revision)
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, HostFault> {
        let (mut found, Opened { store, view, .. }) = (None, &*self.opened);
        let hash = &key.0.0;
        self.look("product_of_key", Of::Product { store, found: &mut found }, |into| {
            // SAFETY: the host's own, with what lives through the call.
            unsafe { (store.product_of_key)(store.table.user_data, *view, hash.as_ptr(), into) }
        })?;
        Ok(found.map(|found| Lent::Borrowed(self.entry.get_or_init(|| found).product())))
    }

    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, HostFault> {
        let (mut found, Opened { store, view, .. }) = (None, &*self.opened);
        let held = self.entry.get().map(|entry| entry.product()).filter(|held| held.id() == product);
        let (product, serial) = (otagate_text::of(product.as_str()), otagate_text::of(serial));
        self.look("device", Of::Device { product: held, found: &mut found }, |into| {
            let user_data = store.table.user_data;
            // SAFETY: the host's own, with what lives through the call.
            unsafe { (store.device)(user_data, *view, product.data, product.len, serial.data, serial.len, into) }
        })?;
        Ok(found.map(Lent::from))
    }

    fn group(
        &self,
        product: &Product,
        device: &Device,
        _: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, HostFault> {
        let Some(entry) = self.entry.get().filter(|entry| entry.product().id() == product.id()) else {
            return Ok(None);
        };
        let (Opened { store, view, .. }, id) = (&*self.opened, device.group().as_str());
        let texts = [product.id().as_str(), id, device.serial()].map(otagate_text::of);
        let [product, group, serial] = texts;
        let user_data = store.table.user_data;
        let held = match store.table.group {
            None => entry.group(id),
            Some(look_up) => {
                let mut found = None;
                self.look("group", Of::Group { store, entry, id, found: &mut found }, |into| {
                    // SAFETY: the host's own, with what lives through the call.
                    unsafe { look_up(user_data, *view, product.data, product.len, group.data, group.len, into) }
                })?;
                found.map(|found| &**self.group.get_or_init(|| found))
            }
        };
        let Some(held) = held else { return Ok(None) };
        let mut standing = None;
        if let Some(look_up) = store.table.standing {
            self.look("standing", Of::Standing { found: &mut standing }, |into| {
                let (p, g, s) = (product, group, serial);
                // SAFETY: the host's own, with what lives through the call.
                unsafe { look_up(user_data, *view, p.data, p.len, g.data, g.len, s.data, s.len, into) }
            })?;
        }
        let catalogue = Lent::Borrowed(entry.catalogue());
        Ok(Some(GroupRecord { group: Lent::Borrowed(held), catalogue, standing: standing.unwrap_or_default() }))
    }
}
