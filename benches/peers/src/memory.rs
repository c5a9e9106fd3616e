//! otagate over its memory store: the whole decision, from bytes to an artifact.
//!
//! Compared: `store::answer`, which hashes the key with BLAKE3, looks up product, device and group, ranks the device with BLAKE3 where its version is not
//! the target, and decides. Unfair to us: the key is kept as a hash only, serial and version are read by the product's grammars, and group, pins, caps, hardware,
//! direction, stepping stones, window and artifact are asked after as well. Unfair to the others: it was made for this question.
//!
//! The memory store is the plain twin of what a large fleet wants: about half of this row is its walk down a tree of serials.

use crate::question::{Ask, BASELINE, KEY, PRODUCT, ROLLOUT, ROLLOUT_PERCENT, TARGET, World};
use crate::{Quarter, Subject};
use otagate::*;

const STARTED_AT: Timestamp = Timestamp::from_millis(1_795_392_000_000);
const NOW: Timestamp = Timestamp::from_millis(1_795_478_400_000);

pub(crate) struct Memory {
    store: MemoryStore,
}

impl Memory {
    pub(crate) fn new(world: &World) -> Self {
        Self { store: MemoryStore::new(fleet(world)) }
    }
}

impl Subject for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn package(&self) -> Option<&'static str> {
        Some("otagate")
    }

    fn quarter(&self) -> Quarter {
        Quarter::Ours
    }

    fn decide(&mut self, ask: &Ask) -> bool {
        let ask =
            CheckIn { version: ask.version.as_bytes(), ..CheckIn::new(ask.key.as_bytes(), ask.serial.as_bytes()) };
        store::answer(&self.store, &ask, NOW, &mut NoTrace, |decision| decision.firmware_offer().is_some()).unwrap()
    }
}

/// The world's fleet; `forward-only`, since many report the target that are outside the rollout and would be served the baseline otherwise.
pub(crate) fn fleet(world: &World) -> Fleet {
    let firmware = |version: &str| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 1,
            digests: Digests::blake3_of(b"image"),
            locator: version.into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let devices = world.devices.iter().map(|device| DeviceSpec {
        serial: device.serial.clone(),
        state: if device.verified { DeviceState::Verified } else { DeviceState::Blocked },
        group: "stable".into(),
        ..Default::default()
    });
    let opened = Opened { at: STARTED_AT, threshold: Some(world.threshold), counted: None, newcomers: None, eligible: None };
    let wave = Wave { opened: Some(opened), ..Wave::new(WaveSize::ShareBps(ROLLOUT_PERCENT * 100)) };
    let rollout = RolloutSpec {
        state: RolloutState::Running,
        started_at: Some(STARTED_AT),
        ..RolloutSpec::new(ROLLOUT, TargetSpec::Firmware(TARGET.into()), vec![wave])
    };
    let spec = FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product: ProductSpec {
                id: PRODUCT.into(),
                keys: vec![ApiKey::new(KeyHash::of(KEY.as_bytes()).unwrap())],
                serial_scheme: SerialScheme::Mac,
                versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
                ..Default::default()
            },
            firmware: vec![firmware(BASELINE), firmware(TARGET)],
            groups: vec![GroupSpec {
                id: "stable".into(),
                firmware: Some(BASELINE.into()),
                policy: Policy::ForwardOnly,
                rollout: Some(rollout),
                ..Default::default()
            }],
            devices: devices.collect(),
        }],
    };
    spec.build().unwrap()
}
