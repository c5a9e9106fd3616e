//! Leases: an offer stays the same until it is taken (semantics.md, section 3).
//!
//! A device downloads an image with dozens of ranged requests, and each is a check-in. If the rollout is paused in between, or its baseline
//! changes, the image must not. So the host keeps what it offered, for (device, reported version), and the decision reads it: a lease fixes the
//! answers to questions 6 to 11 and the artifact, while 1 to 5 and the deny flag are asked every time.

use crate::fleet::{Attempt, GroupId, Hex, RolloutId, VERSION_BYTES_MAX};
use crate::time::Timestamp;
use crate::verdict::Decision;

/// One offer that is being taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The device's group when the offer was made.
    pub group: GroupId,
    /// The version that the device reported when the offer was made.
    pub version: Vec<u8>,
    /// The version of the firmware that was offered.
    pub firmware: Box<str>,
    /// The BLAKE3 of the artifact that was offered.
    pub artifact: Hex<32>,
    /// The rollout on whose account it was offered.
    pub rollout: Option<RolloutId>,
    /// The attempt that a ledger counts it as, where there is one: what becomes of it is reported under this.
    pub attempt: Option<Attempt>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Lease {
    /// The lease of a decision that makes a new offer of firmware; `None` for any other. Nor is there one where the reported version is longer than
    /// [`VERSION_BYTES_MAX`](crate::VERSION_BYTES_MAX), since the table of leases must not grow by what devices say; the device is decided anew on each request then.
    pub fn of(decision: &Decision<'_>, group: &GroupId, version: &[u8], expires_at: Timestamp) -> Option<Self> {
        let offer = decision.firmware_offer().filter(|offer| !offer.leased && version.len() <= VERSION_BYTES_MAX)?;
        Some(Self {
            group: group.clone(),
            version: version.to_vec(),
            firmware: offer.firmware.version().text().into(),
            artifact: offer.artifact.digests().blake3?,
            rollout: decision.rollout.cloned(),
            attempt: None,
            expires_at,
        })
    }
}
