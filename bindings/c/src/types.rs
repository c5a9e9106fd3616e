//! The structs that cross, and how they are read and written.
//!
//! Each begins with its size as the program knows it, so that one that grew can be told from one that did
//! not. A size that this library does not know is refused before anything else of the struct is looked at:
//! smaller ones would be read or written beyond their end, larger ones ask for what this library does not
//! have.

use crate::codes::*;
use crate::failure::Failure;
use otagate::{Artifact, CheckIn, Decision, DigestKind, Digests, SentDigest, Verdict, Want};
use std::ffi::c_char;
use std::ptr;

/// Bytes by pointer and length. What a device sent may be any bytes; where it is text, it is UTF-8 without a
/// NUL behind it: print it by `"%.*s"`. `data` is NULL where there is none, and then `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_text {
    /// The first byte.
    pub data: *const c_char,
    /// How many.
    pub len: usize,
}

/// Digests of one file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_digests {
    /// Which of them are known: `OTAGATE_DIGEST_BLAKE3`, `_SHA256`, `_MD5`, added up. The others are zero.
    pub kinds: u32,
    /// BLAKE3.
    pub blake3: [u8; 32],
    /// SHA-256.
    pub sha256: [u8; 32],
    /// MD5.
    pub md5: [u8; 16],
    /// Zero, for a kind to come.
    pub reserved: [u8; 28],
}

/// One question by one device. Fields may be any bytes, empty ones included; each is at most
/// `OTAGATE_FIELD_BYTES_MAX` long.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_check_in {
    /// `sizeof(otagate_check_in)`.
    pub struct_size: usize,
    /// The API key.
    pub key: otagate_text,
    /// The serial, in any spelling of the product's scheme.
    pub serial: otagate_text,
    /// The version that runs; empty is a factory device (W4).
    pub version: otagate_text,
    /// The hardware; empty is saying nothing.
    pub hardware: otagate_text,
    /// The digest of the image that runs, or of the config or resource that the device holds (W6), in hex of
    /// either case. What is not hex, or of the wrong length for its kind, counts as not sent.
    pub digest_hex: otagate_text,
    /// The name of the resource, for `OTAGATE_WANT_RESOURCE`.
    pub resource: otagate_text,
    /// What it asks for: `OTAGATE_WANT_...`.
    pub want: i32,
    /// The kind of the digest: `OTAGATE_DIGEST_...`.
    pub digest_kind: i32,
}

/// The one answer to a check-in. What it serves, and what the host must do, are asked of the reader that gave
/// it: `otagate_reader_offer`, `otagate_reader_effect`.
///
/// `meant` points into memory that the reader keeps until its next decision, or its end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_decision {
    /// `sizeof(otagate_decision)`.
    pub struct_size: usize,
    /// The revision of the fleet that was seen, and no other (V5).
    pub revision: u64,
    /// What the device is told: `OTAGATE_STATUS_...`, which are HTTP statuses.
    pub status: i32,
    /// Why: `OTAGATE_REASON_...`. New ones may come; `status` decides what to do.
    pub reason: i32,
    /// After how many seconds asking again makes sense; -1 where that is not known.
    pub retry_after_secs: i64,
    /// The version of the firmware that is meant for the device, where question 6 was reached; never a withheld
    /// target.
    pub meant: otagate_text,
    /// What is served: `OTAGATE_OFFER_...`; `OTAGATE_OFFER_NONE` but with `OTAGATE_STATUS_SERVE`.
    pub offer: i32,
    /// What the host must do besides answering: `OTAGATE_EFFECT_...`.
    pub effect: i32,
}

/// What is served. Its texts point into memory that the reader keeps until the next decision, or its end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_offer {
    /// `sizeof(otagate_offer)`.
    pub struct_size: usize,
    /// `OTAGATE_OFFER_...`.
    pub kind: i32,
    /// 1: it continues an offer that was made before, so it is no new one. Else 0.
    pub leased: i32,
    /// Firmware: its version, which is the meant one, or a stone's on the way to it.
    pub firmware: otagate_text,
    /// Firmware: for a delta, the version that it applies to.
    pub from: otagate_text,
    /// Firmware and resource: where the host finds the file.
    pub locator: otagate_text,
    /// Firmware and resource: the size of the file in bytes. Config: of the document.
    pub size_bytes: u64,
    /// Config: the document.
    pub document: otagate_text,
    /// Resource: its name.
    pub name: otagate_text,
    /// The rollout on whose account it is served, if it is one's.
    pub rollout: otagate_text,
    /// When the run of the rollout was started in which the ledger counts it, in milliseconds since
    /// 1970-01-01T00:00:00Z; `OTAGATE_NEVER` where it does not.
    pub rollout_started_at_millis: i64,
    /// Resources: how many; each by `otagate_reader_resource`.
    pub resources_len: usize,
    /// The digests of what is served, but of a list.
    pub digests: otagate_digests,
    /// The attempt that the ledger counts it as, from 1; 0 without a ledger, or where it is on no rollout's
    /// account.
    pub attempt: u32,
    /// 0.
    pub reserved: u32,
}

/// One resource of a list. Its texts are kept as those of the offer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_resource {
    /// `sizeof(otagate_resource)`.
    pub struct_size: usize,
    /// Its name inside its group.
    pub name: otagate_text,
    /// Where the host finds it.
    pub locator: otagate_text,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its digests.
    pub digests: otagate_digests,
}

/// What the host must do besides answering (V7). Its texts point into memory that the reader keeps until the
/// next decision, or its end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_effect {
    /// `sizeof(otagate_effect)`.
    pub struct_size: usize,
    /// `OTAGATE_EFFECT_...`.
    pub kind: i32,
    /// 1: `otagate_reader_attend` has settled it: the claim is granted. Else 0.
    pub settled: i32,
    /// Register: the product.
    pub product: otagate_text,
    /// Register: the canonical serial.
    pub serial: otagate_text,
    /// Claim and seen: the rollout; for a claim that is of a place among the downloads alone, none.
    pub rollout: otagate_text,
    /// Claim: it must be one of at most so many of the rollout, lapsed ones included; -1 where that is not
    /// asked.
    pub slots_max: i64,
    /// Claim: it must be one of at most so many live ones of the group; -1 where that is not asked.
    pub downloads_max: i64,
}

/// A device, for `otagate_fleet_add_devices` and as a host's own store finds it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_device {
    /// `sizeof(otagate_device)`.
    pub struct_size: usize,
    /// Its serial, in any spelling of the product's scheme.
    pub serial: otagate_text,
    /// Its group.
    pub group: otagate_text,
    /// The version that it reported last; NULL: not known; not NULL and empty: it reported an empty one (W4).
    pub version: otagate_text,
    /// Its hardware; NULL: not known.
    pub hardware: otagate_text,
    /// The version that it is pinned to; NULL: none. Not for `otagate_fleet_add_devices`.
    pub pin: otagate_text,
    /// The highest version that it is given; NULL: none. Not for `otagate_fleet_add_devices`.
    pub cap: otagate_text,
    /// When it entered its group for the first time (R4), in milliseconds since 1970-01-01T00:00:00Z; 0 or less
    /// is before every rollout.
    pub entered_at_millis: i64,
    /// Where it stands: `OTAGATE_DEVICE_...`.
    pub state: i32,
    /// 0.
    pub reserved: i32,
}

/// What a host's own ledger holds about a device. Times are in milliseconds since 1970-01-01T00:00:00Z, and
/// `OTAGATE_NEVER` where there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_standing {
    /// `sizeof(otagate_standing)`.
    pub struct_size: usize,
    /// When its claim on the target of the group's rollout ends, or ended.
    pub claim_expires_at_millis: i64,
    /// When its place among the group's downloads ends, or ended.
    pub download_expires_at_millis: i64,
    /// Until when it waits that failed at `penalty_hop`.
    pub penalty_until_millis: i64,
    /// The version that it failed at; NULL: none.
    pub penalty_hop: otagate_text,
    /// Its place by the census of the rollout, from 1; 0: not known.
    pub place: u64,
    /// How often it was offered this target or a hop to it.
    pub attempts: u32,
    /// How many downloads of the group run now.
    pub downloads_now: u32,
    /// How many slots of a first-come rollout are taken, lapsed ones included.
    pub slots_taken: u32,
    /// 0.
    pub reserved: u32,
}

/// What became of an offer (R9).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_report {
    /// `sizeof(otagate_report)`.
    pub struct_size: usize,
    /// The product.
    pub product: otagate_text,
    /// The device's group when it was offered; empty: that which it is in now.
    pub group: otagate_text,
    /// The serial, in any spelling of the product's scheme.
    pub serial: otagate_text,
    /// The rollout, as the offer named it; empty: that of the group.
    pub rollout: otagate_text,
    /// When that was started, as the offer said: then it is noted in that run, whatever the group's rollout is
    /// by now. `OTAGATE_NEVER`: the group's rollout must be the one that is named.
    pub rollout_started_at_millis: i64,
    /// The attempt, as the offer said; 0: the latest.
    pub attempt: u32,
    /// `OTAGATE_OUTCOME_...`, but for `_OFFERED`.
    pub outcome: i32,
}

/// Whom the last decision of a reader is about.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_who {
    /// `sizeof(otagate_who)`.
    pub struct_size: usize,
    /// The product of the key; none: nobody has the key.
    pub product: otagate_text,
    /// The canonical serial; none: the product has no such device.
    pub serial: otagate_text,
    /// The group of the device.
    pub group: otagate_text,
    /// Where it stands: `OTAGATE_DEVICE_...`; -1 where there is no device.
    pub state: i32,
    /// 0.
    pub reserved: i32,
}

/// Who would be admitted if a wave were opened now (R3).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otagate_census {
    /// `sizeof(otagate_census)`.
    pub struct_size: usize,
    /// How many devices could be given the target.
    pub eligible: u64,
    /// How many of them the wave admits.
    pub counted: u64,
    /// How many of those no wave before had admitted.
    pub newcomers: u64,
    /// The highest rank that is in, if `has_threshold`.
    pub threshold: u64,
    /// 1: there is a threshold. 0: nobody is in by rank.
    pub has_threshold: i32,
    /// 0.
    pub reserved: i32,
}

/// What is not used yet must be 0, so that a later library can tell that it is used.
pub(crate) fn zero(reserved: bool, name: &str) -> Result<(), Failure> {
    if reserved { Ok(()) } else { Err(Failure::argument(format!("`{name}.reserved` is not 0"))) }
}

/// No such time.
pub const OTAGATE_NEVER: i64 = i64::MIN;

/// A struct that says its size.
pub(crate) trait Sized {
    const NAME: &'static str;
}

macro_rules! sized {
    ($($type:ident)*) => {
        $(impl Sized for $type {
            const NAME: &'static str = stringify!($type);
        })*
    };
}

sized!(otagate_check_in otagate_decision otagate_offer otagate_resource otagate_effect otagate_device otagate_standing otagate_report otagate_census otagate_who);

/// A struct of the caller's that is read.
///
/// # Safety
/// NULL, or a struct that begins with its size, and of so many bytes, for `'a`.
#[inline]
pub(crate) unsafe fn read<'a, T: Sized>(from: *const T) -> Result<&'a T, Failure> {
    // SAFETY: the caller's.
    unsafe { check(from)? };
    // SAFETY: not NULL, and of this type by its size.
    Ok(unsafe { &*from })
}

/// A struct of the caller's that is written.
///
/// # Safety
/// As [`read`], and nobody else uses it.
#[inline]
pub(crate) unsafe fn write<'a, T: Sized>(to: *mut T) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's.
    unsafe { check(to)? };
    // SAFETY: not NULL, of this type by its size, and the caller's alone.
    Ok(unsafe { &mut *to })
}

/// An array of structs of the caller's: all of one size.
///
/// # Safety
/// As [`read`], for `len` of them.
pub(crate) unsafe fn read_all<'a, T: Sized>(from: *const T, len: usize) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if from.is_null() {
        return Err(Failure::null(T::NAME));
    }
    if len > OTAGATE_ROWS_MAX {
        return Err(too_long(T::NAME, len, OTAGATE_ROWS_MAX));
    }
    // SAFETY: the caller's, for each of them; before one is looked at, the one before it was of the size that makes the next begin where it is looked for.
    (0..len).try_for_each(|at| unsafe { check(from.add(at)) })?;
    // SAFETY: each is of this type by its size.
    Ok(unsafe { std::slice::from_raw_parts(from, len) })
}

/// # Safety
/// As [`read`].
#[inline]
unsafe fn check<T: Sized>(at: *const T) -> Result<(), Failure> {
    if at.is_null() {
        return Err(Failure::null(T::NAME));
    }
    // SAFETY: each of these structs begins with its size.
    let size = unsafe { at.cast::<usize>().read() };
    if size == size_of::<T>() { Ok(()) } else { Err(foreign_size(T::NAME, size, size_of::<T>())) }
}

#[cold]
fn foreign_size(name: &str, size: usize, known: usize) -> Failure {
    let hint = match size {
        0 => format!("initialise it by {name}_init()"),
        _ => "the header is not that of this library, or the struct was not initialised".to_owned(),
    };
    Failure::new(
        OTAGATE_ERROR_STRUCT_SIZE,
        format!("`{name}` has a struct_size of {size}, and this library knows {known}: {hint}"),
    )
}

/// Bytes of the caller's.
///
/// # Safety
/// `data` is NULL, or valid for `len` bytes for `'a`, where that is not above `max`.
#[inline]
pub(crate) unsafe fn bytes<'a>(data: *const c_char, len: usize, max: usize, what: &str) -> Result<&'a [u8], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Failure::null(what));
    }
    if len > max {
        return Err(too_long(what, len, max));
    }
    // SAFETY: not NULL, and the caller's for the rest.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

#[cold]
fn too_long(what: &str, len: usize, max: usize) -> Failure {
    Failure::new(OTAGATE_ERROR_LENGTH, format!("`{what}` has a length of {len}, and at most {max} are read"))
}

/// Text of the caller's: a name, a path, JSON.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn text<'a>(data: *const c_char, len: usize, max: usize, what: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's.
    let bytes = unsafe { bytes(data, len, max, what)? };
    std::str::from_utf8(bytes).map_err(|fault| {
        Failure::new(OTAGATE_ERROR_TEXT, format!("`{what}` is no UTF-8 from byte {} on", fault.valid_up_to()))
    })
}

/// A name of the caller's.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn name<'a>(data: *const c_char, len: usize, what: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's.
    unsafe { text(data, len, OTAGATE_FIELD_BYTES_MAX, what) }
}

/// A JSON document of the caller's.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn json<'a>(data: *const c_char, len: usize, what: &str) -> Result<&'a [u8], Failure> {
    // SAFETY: the caller's.
    unsafe { bytes(data, len, OTAGATE_JSON_BYTES_MAX, what) }
}

/// Where a call leaves what it makes: NULL before anything can fail.
///
/// # Safety
/// NULL, or valid for a pointer.
pub(crate) unsafe fn out<'a, T>(to: *mut *mut T, what: &str) -> Result<&'a mut *mut T, Failure> {
    // SAFETY: the caller's.
    let to = unsafe { to.as_mut() }.ok_or_else(|| Failure::null(what))?;
    *to = ptr::null_mut();
    Ok(to)
}

/// The same where the caller may not want it.
///
/// # Safety
/// As [`out`].
pub(crate) unsafe fn out_if<'a, T>(to: *mut *mut T) -> Option<&'a mut *mut T> {
    // SAFETY: the caller's.
    let to = unsafe { to.as_mut() }?;
    *to = ptr::null_mut();
    Some(to)
}

/// Where a call leaves a number: `before` until it is known.
///
/// # Safety
/// NULL, or valid for the number.
pub(crate) unsafe fn number<'a, T>(to: *mut T, before: T, what: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's.
    let to = unsafe { to.as_mut() }.ok_or_else(|| Failure::null(what))?;
    *to = before;
    Ok(to)
}

impl otagate_text {
    pub(crate) const NONE: Self = Self { data: ptr::null(), len: 0 };

    /// A view of text that somebody keeps.
    pub(crate) fn of(text: &str) -> Self {
        // An empty text has a NUL to point at, and no dangling pointer.
        let data = if text.is_empty() { c"".as_ptr() } else { text.as_ptr().cast() };
        Self { data, len: text.len() }
    }

    /// What a field of a check-in holds: any bytes.
    ///
    /// # Safety
    /// As [`bytes`].
    #[inline]
    pub(crate) unsafe fn field<'a>(self, what: &str) -> Result<&'a [u8], Failure> {
        // SAFETY: the caller's.
        unsafe { bytes(self.data, self.len, OTAGATE_FIELD_BYTES_MAX, what) }
    }

    /// What a field holds that is a name.
    ///
    /// # Safety
    /// As [`bytes`].
    pub(crate) unsafe fn name<'a>(self, what: &str) -> Result<&'a str, Failure> {
        // SAFETY: the caller's.
        unsafe { name(self.data, self.len, what) }
    }

    /// The same, where NULL is nothing.
    ///
    /// # Safety
    /// As [`bytes`].
    pub(crate) unsafe fn name_if<'a>(self, what: &str) -> Result<Option<&'a str>, Failure> {
        if self.data.is_null() && self.len == 0 {
            return Ok(None);
        }
        // SAFETY: the caller's.
        unsafe { self.name(what) }.map(Some)
    }
}

impl otagate_digests {
    const NONE: Self = Self { kinds: 0, blake3: [0; 32], sha256: [0; 32], md5: [0; 16], reserved: [0; 28] };

    pub(crate) fn of(digests: &Digests) -> Self {
        let mut all = Self::NONE;
        if let Some(blake3) = digests.blake3 {
            (all.kinds, all.blake3) = (all.kinds | OTAGATE_DIGEST_BLAKE3 as u32, blake3.0);
        }
        if let Some(sha256) = digests.sha256 {
            (all.kinds, all.sha256) = (all.kinds | OTAGATE_DIGEST_SHA256 as u32, sha256.0);
        }
        if let Some(md5) = digests.md5 {
            (all.kinds, all.md5) = (all.kinds | OTAGATE_DIGEST_MD5 as u32, md5.0);
        }
        all
    }
}

impl otagate_check_in {
    /// The check-in, borrowed from the caller.
    ///
    /// # Safety
    /// Its texts are NULL or valid for their length, for `'a`.
    // As a call of its own it doubles what the boundary costs: the check-in would go through memory twice.
    #[inline(always)]
    pub(crate) unsafe fn read<'a>(&self) -> Result<CheckIn<'a>, Failure> {
        // SAFETY: the caller's, for each of them.
        let (key, serial, version, hardware) = unsafe {
            (
                self.key.field("key")?,
                self.serial.field("serial")?,
                self.version.field("version")?,
                self.hardware.field("hardware")?,
            )
        };
        let kind = match self.digest_kind {
            OTAGATE_DIGEST_NONE => None,
            OTAGATE_DIGEST_BLAKE3 => Some(DigestKind::Blake3),
            OTAGATE_DIGEST_SHA256 => Some(DigestKind::Sha256),
            OTAGATE_DIGEST_MD5 => Some(DigestKind::Md5),
            other => return Err(Failure::argument(format!("`digest_kind` {other} is none"))),
        };
        let digest = match kind {
            None => None,
            // SAFETY: the caller's.
            Some(kind) => SentDigest::parse(kind, unsafe { self.digest_hex.field("digest_hex")? }),
        };
        let want = match self.want {
            OTAGATE_WANT_FIRMWARE => Want::Firmware,
            OTAGATE_WANT_CONFIG => Want::Config,
            OTAGATE_WANT_RESOURCES => Want::Resources,
            // SAFETY: the caller's.
            OTAGATE_WANT_RESOURCE => Want::Resource(unsafe { self.resource.field("resource")? }),
            other => return Err(Failure::argument(format!("`want` {other} is none"))),
        };
        Ok(CheckIn { key, serial, version, hardware, digest, want })
    }
}

impl otagate_decision {
    /// What a decision says while there is none: nothing is served.
    pub(crate) const DENY: Self = Self {
        struct_size: size_of::<Self>(),
        revision: 0,
        status: OTAGATE_STATUS_UNAUTHORIZED,
        reason: OTAGATE_REASON_NONE,
        retry_after_secs: -1,
        meant: otagate_text::NONE,
        offer: OTAGATE_OFFER_NONE,
        effect: OTAGATE_EFFECT_NONE,
    };

    /// A decision in numbers; `hold` keeps its texts.
    #[inline]
    pub(crate) fn of(decision: &Decision<'_>, mut hold: impl FnMut(&str) -> otagate_text) -> Self {
        use otagate::{Effect, Offer};
        let offer = match &decision.verdict {
            Verdict::Serve(Offer::Firmware(_)) => OTAGATE_OFFER_FIRMWARE,
            Verdict::Serve(Offer::Config(_)) => OTAGATE_OFFER_CONFIG,
            Verdict::Serve(Offer::Resources(_)) => OTAGATE_OFFER_RESOURCES,
            Verdict::Serve(Offer::Resource(_)) => OTAGATE_OFFER_RESOURCE,
            Verdict::Unauthorized | Verdict::Unavailable | Verdict::UpToDate => OTAGATE_OFFER_NONE,
        };
        let effect = match &decision.effect {
            None => OTAGATE_EFFECT_NONE,
            Some(Effect::Register(_)) => OTAGATE_EFFECT_REGISTER,
            Some(Effect::Claim(_)) => OTAGATE_EFFECT_CLAIM,
            Some(Effect::Seen(_)) => OTAGATE_EFFECT_SEEN,
        };
        Self {
            struct_size: size_of::<Self>(),
            revision: decision.revision.0,
            status: decision.status().into(),
            reason: decision.reason.number().into(),
            retry_after_secs: decision.retry_after_secs.map_or(-1, i64::from),
            meant: decision.meant.map_or(otagate_text::NONE, |meant| hold(meant.version().text())),
            offer,
            effect,
        }
    }
}

impl otagate_offer {
    pub(crate) const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        kind: OTAGATE_OFFER_NONE,
        leased: 0,
        firmware: otagate_text::NONE,
        from: otagate_text::NONE,
        locator: otagate_text::NONE,
        size_bytes: 0,
        document: otagate_text::NONE,
        name: otagate_text::NONE,
        rollout: otagate_text::NONE,
        rollout_started_at_millis: OTAGATE_NEVER,
        resources_len: 0,
        digests: otagate_digests::NONE,
        attempt: 0,
        reserved: 0,
    };

    /// One artifact.
    pub(crate) fn file(self, artifact: &Artifact, mut hold: impl FnMut(&str) -> otagate_text) -> Self {
        Self {
            from: artifact.from().map_or(otagate_text::NONE, |from| hold(from.text())),
            locator: hold(artifact.locator()),
            size_bytes: artifact.size_bytes(),
            digests: otagate_digests::of(artifact.digests()),
            ..self
        }
    }
}
