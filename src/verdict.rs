//! What a device is told, why, and what the host must do.

use crate::check_in::CheckIn;
use crate::fleet::{Artifact, CanonicalSerial, Config, Firmware, Product, Resource, Revision, RolloutId, SerialFault};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::fmt;

/// One of four (V1). There is no fifth: "not yet" is up to date, with a reason of its own.
///
/// ```
/// use otagate::{Decision, Offer, Verdict};
/// fn body(decision: &Decision<'_>) -> Option<String> {
///     match &decision.verdict {
///         Verdict::Unauthorized | Verdict::Unavailable | Verdict::UpToDate => None,
///         Verdict::Serve(Offer::Firmware(offer)) => Some(offer.artifact.locator().to_owned()),
///         Verdict::Serve(Offer::Config(config)) => Some(config.document().to_owned()),
///         Verdict::Serve(Offer::Resource(resource)) => Some(resource.locator().to_owned()),
///         Verdict::Serve(Offer::Resources(list)) => Some(format!("{} resources", list.len())),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// 401: the device has not proved that it may ask.
    Unauthorized,
    /// 404: no firmware is available for it.
    Unavailable,
    /// 304: it stays where it is, for good or for now.
    UpToDate,
    /// 200: exactly this.
    Serve(Offer<'a>),
}

impl Verdict<'_> {
    /// The HTTP status that says the same.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Unavailable => 404,
            Self::UpToDate => 304,
            Self::Serve(_) => 200,
        }
    }

    /// The stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::UpToDate => "up-to-date",
            Self::Serve(_) => "serve",
        }
    }
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offer<'a> {
    /// One artifact of one firmware.
    Firmware(FirmwareOffer<'a>),
    /// The configuration.
    Config(&'a Config),
    /// The list of resources.
    Resources(&'a [Resource]),
    /// One resource.
    Resource(&'a Resource),
}

/// One artifact of one firmware.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirmwareOffer<'a> {
    /// The firmware: the meant one, or a stone on the way to it.
    pub firmware: &'a Firmware,
    /// The file.
    pub artifact: &'a Artifact,
    /// It continues an offer that was made before, so it is no new one.
    pub leased: bool,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $number:literal, $name:literal, $verdict:ident, $sentence:literal;)*) => {
        /// Why a verdict was given (V2). Number and name are stable; numbers are never reused, and more may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum Reason {
            $(#[doc = $sentence] $(#[$doc])* $reason = $number,)*
        }

        impl Reason {
            /// The reason of that number.
            pub fn from_number(number: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.number() == number)
            }

            /// Every reason, by number.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The stable number.
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The stable kebab-case name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }

            /// A sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$reason => $sentence,)*
                }
            }

            /// The HTTP status of the verdict that it belongs to.
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$reason => status::$verdict,)*
                }
            }
        }
    };
}

mod status {
    pub(super) const UNAUTHORIZED: u16 = 401;
    pub(super) const UNAVAILABLE: u16 = 404;
    pub(super) const UP_TO_DATE: u16 = 304;
    pub(super) const SERVE: u16 = 200;
}

reasons! {
    KeyUnknown = 1, "key-unknown", UNAUTHORIZED, "no product has this API key";
    KeyRevoked = 2, "key-revoked", UNAUTHORIZED, "the API key is revoked";
    KeyNotYetValid = 3, "key-not-yet-valid", UNAUTHORIZED, "the API key is not valid yet";
    KeyExpired = 4, "key-expired", UNAUTHORIZED, "the API key has expired";
    SerialMalformed = 5, "serial-malformed", UNAUTHORIZED, "the serial is not spelled as the product's scheme says";
    SerialPlaceholder = 6, "serial-placeholder", UNAUTHORIZED, "the serial is a placeholder and names nobody";
    DeviceUnknown = 7, "device-unknown", UNAUTHORIZED, "the product has no device of this serial";
    DeviceNew = 8, "device-new", UNAUTHORIZED, "the device waits to be verified";
    DeviceBlocked = 9, "device-blocked", UNAUTHORIZED, "the device is blocked";
    DeviceDisabled = 10, "device-disabled", UNAUTHORIZED, "the device is disabled";
    DeviceQuota = 11, "device-quota", UNAUTHORIZED, "the device is over the account's limit";
    GroupMissing = 21, "group-missing", UNAVAILABLE, "the device's group does not exist";
    NothingAssigned = 22, "nothing-assigned", UNAVAILABLE, "nothing is assigned to the group";
    FirmwareMissing = 23, "firmware-missing", UNAVAILABLE, "the firmware that is meant does not exist";
    FirmwareDenied = 24, "firmware-denied", UNAVAILABLE, "the firmware that is meant is denied";
    Hardware = 25, "hardware", UNAVAILABLE, "the firmware that is meant has no artifact for the device's hardware";
    NoPath = 26, "no-path", UNAVAILABLE, "no stepping stones lead from the device's version to the firmware that is meant";
    NoArtifact = 27, "no-artifact", UNAVAILABLE, "the next firmware has neither a full image nor a delta from the device's version";
    Current = 41, "current", UP_TO_DATE, "the device has what is meant for it";
    WaveNotOpen = 42, "wave-not-open", UP_TO_DATE, "the rollout has not reached the device yet";
    RolloutPaused = 43, "rollout-paused", UP_TO_DATE, "the rollout is paused";
    Left = 44, "left", UP_TO_DATE, "the rollout was aborted, and devices on its target are left there";
    Held = 45, "held", UP_TO_DATE, "the firmware that is meant is above a cap";
    Ahead = 46, "ahead", UP_TO_DATE, "the device is above the firmware that is meant, and the policy goes forward only";
    VersionUnreadable = 47, "version-unreadable", UP_TO_DATE, "the device's version cannot be placed, and the product holds such devices";
    WindowShut = 48, "window-shut", UP_TO_DATE, "the group's window is shut";
    DownloadsFull = 49, "downloads-full", UP_TO_DATE, "as many devices download as the group's cap allows";
    Penalty = 50, "penalty", UP_TO_DATE, "the device failed at this firmware and waits";
    Serve = 61, "serve", SERVE, "it is served";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What the host must do besides answering (V7). The core never writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect<'a> {
    /// After the answer: register the device (question 3). Registering twice is registering once; the answer is the same either way.
    Register(&'a Product),
    /// Before the answer: claim in the ledger, and where that refuses, give [`Decision::refused`] instead.
    Claim(Claim<'a>),
    /// After the answer: the device reported the target version of this rollout (R9, `installed`).
    Seen(&'a RolloutId),
}

impl<'a> Effect<'a> {
    /// The stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Claim(_) => "claim",
            Self::Seen(_) => "seen",
        }
    }

    /// Whom to register: the product and the canonical serial of the check-in that this effect came from.
    pub fn registration(&self, ask: &CheckIn<'_>) -> Option<(&'a Product, CanonicalSerial)> {
        let Self::Register(product) = self else { return None };
        let serial: Result<_, SerialFault> = product.read_serial(ask.serial);
        Some((product, serial.ok()?))
    }
}

/// What to claim in the ledger before the answer is given (R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The rollout on whose account it is served, if it is one's; the claim is idempotent per (rollout, device). Without it a place among the group's
    /// downloads is all that is claimed.
    pub rollout: Option<&'a RolloutId>,
    /// Needs `rollout`: the claim must be one of at most so many of it, lapsed ones included: a first-come wave.
    pub slots_max: Option<u32>,
    /// The claim must be one of at most so many live ones of the group: its cap on concurrent downloads.
    pub downloads_max: Option<u32>,
    /// What the refusal tells the device.
    pub retry_after_secs: Option<u32>,
}

impl Claim<'_> {
    /// The reasons that this claim may be refused for, with the `retry_after` that goes with them.
    fn refusals(&self) -> Vec<serde_json::Value> {
        let slots = self.slots_max.map(|_| ClaimRefused::Slots.reason());
        let downloads = self.downloads_max.map(|_| ClaimRefused::Downloads.reason());
        let refusal = |reason: Reason| serde_json::json!({ "status": reason.status(), "reason": reason, "number": reason.number(), "retry_after_secs": self.retry_after_secs });
        slots.into_iter().chain(downloads).map(refusal).collect()
    }
}

/// Why a ledger refused a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimRefused {
    /// All slots of the wave are taken.
    Slots,
    /// As many downloads run as the cap allows.
    Downloads,
}

impl ClaimRefused {
    /// The reason that the device is given.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Slots => Reason::WaveNotOpen,
            Self::Downloads => Reason::DownloadsFull,
        }
    }
}

/// The one answer to a check-in, with all that a host needs to give it. As JSON it is one flat object, the same in every language.
///
/// ```
/// use otagate::{CheckIn, FleetSpec, MemoryStore, NoTrace, Timestamp, store};
/// let memory = MemoryStore::new(FleetSpec::default().build().unwrap());
/// let ask = CheckIn::new(b"guess", b"1");
/// let json = store::answer(&memory, &ask, Timestamp::from_millis(0), &mut NoTrace, |decision| serde_json::to_string(decision).unwrap());
/// assert_eq!(json.unwrap(), r#"{"status":401,"verdict":"unauthorized","reason":"key-unknown","number":1,"revision":0}"#);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision<'a> {
    /// What the device is told.
    pub verdict: Verdict<'a>,
    /// Why.
    pub reason: Reason,
    /// The revision of the fleet that was seen, and no other (V5).
    pub revision: Revision,
    /// After how many seconds asking again makes sense, where known (R12).
    pub retry_after_secs: Option<u32>,
    /// The firmware that is meant for the device, from question 6 on; never a withheld target.
    pub meant: Option<&'a Firmware>,
    /// The rollout on whose account something is served: the offer, and what becomes of it, are to be recorded there (R9).
    pub rollout: Option<&'a RolloutId>,
    /// What the host must do.
    pub effect: Option<Effect<'a>>,
}

impl<'a> Decision<'a> {
    /// The HTTP status that says the same.
    pub const fn status(&self) -> u16 {
        self.verdict.status()
    }

    /// The decision to give where the ledger refuses the claim that this one needs (V7).
    pub fn refused(&self, by: ClaimRefused) -> Self {
        let Some(Effect::Claim(claim)) = self.effect else { return *self };
        let reason = by.reason();
        // A target whose slots are gone is withheld, so it is not shown either.
        let meant = self.meant.filter(|_| by == ClaimRefused::Downloads);
        Self {
            verdict: Verdict::UpToDate,
            reason,
            retry_after_secs: claim.retry_after_secs,
            meant,
            rollout: None,
            effect: None,
            ..*self
        }
    }

    /// The artifact that is served, if the verdict is firmware.
    pub fn firmware_offer(&self) -> Option<&FirmwareOffer<'a>> {
        match &self.verdict {
            Verdict::Serve(Offer::Firmware(offer)) => Some(offer),
            _ => None,
        }
    }
}

/// One flat object, the same in every language: `status`, `verdict`, `reason`, `number`, `revision`, and where they apply `retry_after_secs`, `meant`,
/// `rollout`, `effect` and `offer`.
impl Serialize for Decision<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("status", &self.status())?;
        map.serialize_entry("verdict", self.verdict.name())?;
        map.serialize_entry("reason", self.reason.name())?;
        map.serialize_entry("number", &self.reason.number())?;
        map.serialize_entry("revision", &self.revision)?;
        if let Some(secs) = self.retry_after_secs {
            map.serialize_entry("retry_after_secs", &secs)?;
        }
        if let Some(meant) = self.meant {
            map.serialize_entry("meant", meant.version())?;
        }
        if let Some(rollout) = self.rollout {
            map.serialize_entry("rollout", rollout)?;
        }
        if let Some(effect) = &self.effect {
            map.serialize_entry("effect", effect)?;
        }
        if let Verdict::Serve(offer) = &self.verdict {
            map.serialize_entry("offer", offer)?;
        }
        map.end()
    }
}

impl Serialize for Effect<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("do", self.name())?;
        match self {
            Self::Register(product) => map.serialize_entry("product", product.id())?,
            Self::Seen(rollout) => map.serialize_entry("rollout", rollout)?,
            Self::Claim(claim) => {
                map.serialize_entry("rollout", &claim.rollout)?;
                map.serialize_entry("slots_max", &claim.slots_max)?;
                map.serialize_entry("downloads_max", &claim.downloads_max)?;
                // What to answer if the ledger refuses (V7).
                map.serialize_entry("refused", &claim.refusals())?;
            }
        }
        map.end()
    }
}

impl Serialize for Offer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Firmware(offer) => {
                map.serialize_entry("firmware", offer.firmware.version())?;
                map.serialize_entry("locator", offer.artifact.locator())?;
                map.serialize_entry("size_bytes", &offer.artifact.size_bytes())?;
                map.serialize_entry("digests", offer.artifact.digests())?;
                if let Some(from) = offer.artifact.from() {
                    map.serialize_entry("from", from)?;
                }
                if offer.leased {
                    map.serialize_entry("leased", &true)?;
                }
            }
            Self::Config(config) => {
                map.serialize_entry("config", config.document())?;
                map.serialize_entry("digests", config.digests())?;
            }
            Self::Resources(list) => {
                let names: Vec<_> = list.iter().map(Resource::name).collect();
                map.serialize_entry("resources", &names)?;
            }
            Self::Resource(resource) => {
                map.serialize_entry("resource", resource.name())?;
                map.serialize_entry("locator", resource.locator())?;
                map.serialize_entry("size_bytes", &resource.size_bytes())?;
                map.serialize_entry("digests", resource.digests())?;
            }
        }
        map.end()
    }
}
