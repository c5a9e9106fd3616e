//! Decides what a device in the field is told when it asks for firmware, over whatever storage you have.
//!
//! ```text
//!   check-in ─▶ identity ─▶ group ─▶ meant firmware ─▶ turn ─▶ verdict
//!   key,         1-4        5        6-10               11      12
//!   serial,      401        404      404, 304           304     200 serve
//!   version
//! ```
//!
//! A device sends an API key, its serial and its version. [`decide`] answers with one of four verdicts: **401** unauthorized, **404** no firmware is
//! available, **304** up to date (or not its turn yet), or **serve** exactly this artifact; always with a [`Reason`] of a stable number and name. It is a
//! pure function of facts, check-in and time: no I/O, no clock, no allocation on the way to a 401 or 304, and no input that makes it fail.
//!
//! ```
//! use otagate::*;
//!
//! let mut fleet = Fleet::default();
//! let key = KeyHash::of(b"secret").unwrap();
//! fleet.apply(&[Change::PutProduct {
//!     product: ProductSpec { id: "lamp".into(), keys: vec![ApiKey::new(key)], ..Default::default() },
//! }])?;
//! let store = MemoryStore::new(fleet);
//! let ask = CheckIn { version: b"1.0", ..CheckIn::new(b"secret", b"SN-17") };
//! let told = store::answer(&store, &ask, Timestamp::from_millis(0), &mut NoTrace, |decision| {
//!     (decision.status(), decision.reason)
//! });
//! assert_eq!(told.unwrap(), (401, Reason::DeviceUnknown));
//! # Ok::<(), Problems>(())
//! ```
//!
//! # Where to look
//!
//! - The nouns: [`Product`], [`Device`], [`Group`], [`Firmware`], [`Rollout`], each built from a specification ([`ProductSpec`], ...) that reports every
//!   problem at once; [`Change`] is the closed list of what may happen to a [`Fleet`].
//! - The question and the answer: [`CheckIn`], [`Decision`], [`Verdict`], [`Reason`], [`Effect`].
//! - Millions of devices in memory: [`Index`], with one [`Reader`] per thread.
//! - A fleet in SQLite or PostgreSQL: `sqlite`, `postgres`; an index that follows them, or a source of your own: [`feed`].
//! - Your own database: [`store`], with [`Store`](store::Store) and [`AsyncStore`](store::AsyncStore); [`MemoryStore`] is the plain one.
//! - Rollouts that move on by themselves, and the ledger of what was offered: [`rollout`].
//! - What would a change do, and how would a rollout go: `preview`, `simulate`.
//! - Why was that? [`Recorder`] watches the very code that decides.
//!
//! # Features
//!
//! None is on by default. `fleet-file` reads a fleet from TOML and CSV; `wire` speaks device protocols as pure functions; `sqlite` and `postgres` keep a
//! fleet and a ledger in a database; `simulate` previews changes and runs rollouts in virtual time; `pictures` draws them; `cli` is the command `otagate`; `contract` has the suites for stores and ledgers. Turning one on adds names and changes no verdict.
//!
//! # What it is not
//!
//! It has no server and no transport of its own, moves no firmware bytes, and checks no signatures: devices do that.

mod check_in;
mod decide;
pub mod feed;
mod fleet;
mod index;
mod lease;
mod leases;
#[cfg(feature = "pictures")]
pub mod pictures;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "simulate")]
pub mod preview;
#[cfg(feature = "simulate")]
pub mod simulate;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod time;
mod verdict;

#[cfg(feature = "fleet-file")]
pub mod fleet_file;
pub mod rollout;
pub mod store;
#[cfg(feature = "wire")]
pub mod wire;

pub use check_in::{CheckIn, Want};
pub use decide::facts::{DeviceFacts, Facts, GroupFacts, KeyFacts, Standing};
pub use decide::trace::{NoTrace, Question, Recorder, Step, Trace, Value};
pub use decide::{decide, identify};
pub use fleet::{
    ARTIFACTS_MAX, Aborted, AbortedSpec, Admission, AlreadyThere, ApiKey, Artifact, ArtifactSpec, Attempt,
    BuildMetadata, CONFIG_BYTES_MAX, Candidate, CanonicalSerial, Catalogue, Census, CensusFault, CensusTaker, Change,
    Config, ConfigSpec, Device, DeviceSpec, DeviceState, DigestKind, Digests, EARLIER_GROUPS_MAX, EmptyVersion,
    FIRMWARE_MAX, Fate, Firmware, FirmwareSpec, Fleet, FleetOf, FleetSpec, GROUPS_MAX, Gate, Group, GroupId, GroupSpec,
    HARDWARE_MAX, Halt, Hex, KEY_BYTES_MAX, KEYS_MAX, KeyHash, LISTED_MAX, LOCATOR_BYTES_MAX, Late, Missing,
    NAME_BYTES_MAX, Opened, PLACEHOLDERS_MAX, Penalty, Policy, Problem, Problems, Product, ProductEntry,
    ProductEntryOf, ProductFleetSpec, ProductId, ProductSpec, Progress, RANK_CONTEXT, RESOURCES_MAX,
    RETRY_AFTER_SECS_MAX, Reading, Resource, ResourceSpec, Revision, Rollout, RolloutId, RolloutSpec, RolloutState,
    Row, RowKey, RowKind, RowValue, Run, SERIAL_BYTES_MAX, SHARE_BPS_MAX, STONES_MAX, SentDigest, SerialFault,
    SerialScheme, Success, Target, TargetSpec, TextFault, UnreadableVersion, VERSION_BYTES_MAX, VERSION_PREFIXES_MAX,
    Version, VersionFault, VersionRules, VersionRulesSpec, VersionScheme, WAVES_MAX, WHY_BYTES_MAX, WINDOW_SPANS_MAX,
    Wave, WaveSize, Window, rank, share_threshold,
};
pub use index::{DeviceCount, DeviceRow, Index, IndexBytes, IndexView, Member, Reader, Snapshot, VerdictCount};
pub use lease::Lease;
pub use leases::Leases;
pub use store::MemoryStore;
pub use time::Timestamp;
pub use verdict::{Claim, ClaimRefused, Decision, Effect, FirmwareOffer, Offer, Reason, Verdict};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
