//! The nouns: plain values, checked when built.
//!
//! Every noun comes twice: as a specification with public fields, as an operator writes it (`ProductSpec`), and checked, as the
//! decision reads it (`Product`). `build` goes from one to the other and reports every problem at once; `spec` goes back. Here is no I/O, clock,
//! random source, lock or `unsafe`.

mod apply;
mod census;
mod change;
mod device;
pub(crate) mod devices;
mod digest;
mod firmware;
mod frozen;
mod gate;
mod group;
mod lint;
mod name;
mod problem;
mod product;
mod rank;
mod rollout;
mod row;
mod serial;
pub(crate) mod take;
mod version;
pub(crate) mod whole;
mod window;

pub use census::{Candidate, Census, CensusFault, CensusTaker, share_threshold};
pub use change::Change;
pub(crate) use device::Rare;
pub use device::{Device, DeviceSpec, DeviceState, EARLIER_GROUPS_MAX};
pub use digest::{DigestKind, Digests, Hex, SentDigest};
pub use firmware::{
    ARTIFACTS_MAX, Artifact, ArtifactSpec, Catalogue, FIRMWARE_MAX, Firmware, FirmwareSpec, HARDWARE_MAX, STONES_MAX,
};
#[cfg(feature = "fleet-file")]
pub(crate) use frozen::check_frozen;
pub use group::{
    Aborted, AbortedSpec, CONFIG_BYTES_MAX, Config, ConfigSpec, Fate, GROUPS_MAX, Group, GroupSpec, Policy,
    RESOURCES_MAX, Resource, ResourceSpec,
};
pub(crate) use name::check_text;
pub use name::{GroupId, LOCATOR_BYTES_MAX, NAME_BYTES_MAX, ProductId, RolloutId, TextFault};
pub use problem::{Problem, Problems};
pub use product::{
    AlreadyThere, ApiKey, KEY_BYTES_MAX, KEYS_MAX, KeyHash, PLACEHOLDERS_MAX, Product, ProductSpec,
    RETRY_AFTER_SECS_MAX,
};
pub(crate) use rank::JITTER_SALT;
pub use rank::{RANK_CONTEXT, rank};
pub use rollout::{
    Admission, Attempt, Gate, Halt, LISTED_MAX, Late, Missing, Opened, Penalty, Progress, Rollout, RolloutSpec,
    RolloutState, Run, SHARE_BPS_MAX, Success, Target, TargetSpec, WAVES_MAX, WHY_BYTES_MAX, Wave, WaveSize,
};
pub use row::{Row, RowKey, RowKind, RowValue};
pub(crate) use serial::lower_hex;
pub use serial::{CanonicalSerial, SERIAL_BYTES_MAX, SerialFault, SerialScheme};
pub use version::{
    BuildMetadata, EmptyVersion, Reading, UnreadableVersion, VERSION_BYTES_MAX, VERSION_PREFIXES_MAX, Version,
    VersionFault, VersionRules, VersionRulesSpec, VersionScheme,
};
pub use whole::{Fleet, FleetOf, FleetSpec, ProductEntry, ProductEntryOf, ProductFleetSpec, Revision};
pub use window::{WINDOW_SPANS_MAX, Window};
