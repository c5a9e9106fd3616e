//! The closed list of what may happen to a fleet.

use super::group::{ConfigSpec, Fate, Policy, ResourceSpec};
use super::name::{GroupId, ProductId, RolloutId};
use super::rollout::{Opened, Progress, RolloutSpec};
use super::window::Window;
use super::{DeviceSpec, DeviceState, FirmwareSpec, GroupSpec, ProductSpec};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One thing that happens to a fleet. Changes come in batches; a batch is applied whole or not at all (L1).
///
/// In JSON a change is an object with its name under `change`:
///
/// ```
/// let json = r#"{"change":"assign-firmware","product":"thermostat","group":"stable","firmware":"2.1.0"}"#;
/// let change: otagate::Change = serde_json::from_str(json).unwrap();
/// assert!(matches!(change, otagate::Change::AssignFirmware { .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", rename_all_fields = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are the nouns of the fleet, documented there")]
#[allow(
    clippy::large_enum_variant,
    reason = "a boxed product would burden every literal, and devices, of which batches are made, are small"
)]
pub enum Change {
    /// Adds a product, or replaces its own facts and keys; firmware, groups and devices stay, and are checked again under its rules.
    PutProduct { product: ProductSpec },
    /// Removes a product with all that is its own.
    RemoveProduct { product: ProductId },

    /// Adds a firmware, or replaces the one of an equal version.
    PutFirmware { product: ProductId, firmware: FirmwareSpec },
    /// Removes a firmware; assignments to it answer 404 `firmware-missing`.
    RemoveFirmware { product: ProductId, firmware: String },
    /// Denies a firmware, or lifts that: it is served to nobody (R10).
    DenyFirmware { product: ProductId, firmware: String, denied: bool },

    /// Adds a group, or replaces it. What R7 freezes of a rollout, and that there is one at most (R11), holds here too.
    PutGroup { product: ProductId, group: GroupSpec },
    /// Removes a group; its devices answer 404 `group-missing`.
    RemoveGroup { product: ProductId, group: GroupId },
    /// Sets the baseline. A changed one ends the fate `leave` of an abort (R10).
    AssignFirmware { product: ProductId, group: GroupId, firmware: Option<String> },
    /// Sets the policy (W3).
    SetPolicy { product: ProductId, group: GroupId, policy: Policy },
    /// Sets the configuration.
    AssignConfig { product: ProductId, group: GroupId, config: Option<ConfigSpec> },
    /// Sets the resources.
    AssignResources { product: ProductId, group: GroupId, resources: Option<Vec<ResourceSpec>> },
    /// Sets the highest version of a group.
    CapGroup { product: ProductId, group: GroupId, cap: Option<String> },
    /// Sets when a group may be served.
    SetWindow { product: ProductId, group: GroupId, window: Option<Window> },
    /// Sets the cap on concurrent downloads.
    CapDownloads { product: ProductId, group: GroupId, downloads_max: Option<u32> },

    /// Adds a device, or replaces it.
    PutDevice { product: ProductId, device: DeviceSpec },
    /// Forgets a device.
    RemoveDevice { product: ProductId, serial: String },
    /// Moves a device to another group; coming back keeps the first time (R4).
    MoveDevice { product: ProductId, serial: String, group: GroupId, at: Timestamp },
    /// Sets where a device stands.
    SetDeviceState { product: ProductId, serial: String, state: DeviceState },
    /// Pins a device to a firmware, or frees it.
    PinDevice { product: ProductId, serial: String, firmware: Option<String> },
    /// Sets the highest version of a device.
    CapDevice { product: ProductId, serial: String, cap: Option<String> },
    /// Notes what a device reported last (R3).
    SeeDevice { product: ProductId, serial: String, version: Option<String>, hardware: Option<String> },
    /// Registers a device on first contact: `new`, in the default group (question 3). One that is known, or would exceed the product's limit
    /// of `new` devices, changes nothing: the answer is the same either way.
    Register { product: ProductId, serial: String, at: Timestamp },

    /// Changes nothing, and is refused unless the group's rollout is at this edition: put before what was decided by looking at it, so that a replica that
    /// looked too long ago changes nothing.
    ExpectRollout { product: ProductId, group: GroupId, rollout: RolloutId, edition: u64 },
    /// Adds a rollout, or replaces it as far as R7 allows.
    PutRollout { product: ProductId, group: GroupId, rollout: RolloutSpec },
    /// Starts a draft.
    StartRollout { product: ProductId, group: GroupId, rollout: RolloutId, at: Timestamp },
    /// Opens the next wave with what its census froze (R3).
    OpenWave { product: ProductId, group: GroupId, rollout: RolloutId, wave: usize, opened: Opened },
    /// Puts serials on the first-list, which only grows (R6, R7).
    AddFirst { product: ProductId, group: GroupId, rollout: RolloutId, serials: Vec<String> },
    /// Notes the last statistics of the gate (V6), in the place of `was`: refused where something else was noted meanwhile.
    SetProgress {
        product: ProductId,
        group: GroupId,
        rollout: RolloutId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Progress>,
        progress: Progress,
    },
    /// Stops new offers; `cut` ends live claims too (R7).
    PauseRollout { product: ProductId, group: GroupId, rollout: RolloutId, cut: bool, why: String },
    /// Goes on; failures are counted anew (R8), and what has to soak soaks anew.
    ResumeRollout { product: ProductId, group: GroupId, rollout: RolloutId },
    /// Makes the target the group's baseline; refused where it is denied or missing (R7).
    CompleteRollout { product: ProductId, group: GroupId, rollout: RolloutId },
    /// Gives up; `downgrade` is refused unless the baseline can be served (R10).
    AbortRollout { product: ProductId, group: GroupId, rollout: RolloutId, fate: Fate },
}

impl Change {
    /// The name of the product that it is about.
    pub fn product(&self) -> &str {
        match self {
            Self::PutProduct { product } => &product.id,
            Self::RemoveProduct { product }
            | Self::PutFirmware { product, .. }
            | Self::RemoveFirmware { product, .. }
            | Self::DenyFirmware { product, .. }
            | Self::PutGroup { product, .. }
            | Self::RemoveGroup { product, .. }
            | Self::AssignFirmware { product, .. }
            | Self::SetPolicy { product, .. }
            | Self::AssignConfig { product, .. }
            | Self::AssignResources { product, .. }
            | Self::CapGroup { product, .. }
            | Self::SetWindow { product, .. }
            | Self::CapDownloads { product, .. }
            | Self::PutDevice { product, .. }
            | Self::RemoveDevice { product, .. }
            | Self::MoveDevice { product, .. }
            | Self::SetDeviceState { product, .. }
            | Self::PinDevice { product, .. }
            | Self::CapDevice { product, .. }
            | Self::SeeDevice { product, .. }
            | Self::Register { product, .. }
            | Self::ExpectRollout { product, .. }
            | Self::PutRollout { product, .. }
            | Self::StartRollout { product, .. }
            | Self::OpenWave { product, .. }
            | Self::AddFirst { product, .. }
            | Self::SetProgress { product, .. }
            | Self::PauseRollout { product, .. }
            | Self::ResumeRollout { product, .. }
            | Self::CompleteRollout { product, .. }
            | Self::AbortRollout { product, .. } => product.as_str(),
        }
    }
}
