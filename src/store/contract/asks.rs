//! The check-ins over [`rich`](super::fleets::rich) that are decided twice: every device in some spelling, on every version that matters, and the odd ones.

use super::fleets::{NOW, SHARED_SERIAL};
use crate::check_in::{CheckIn, Want};
use crate::fleet::{DigestKind, Fleet, SentDigest};
use crate::time::Timestamp;
use std::fmt;

/// A check-in that owns its bytes, and when it is made.
#[derive(Clone)]
pub(super) struct Asked {
    key: String,
    serial: Vec<u8>,
    version: &'static str,
    hardware: &'static str,
    digest: Option<SentDigest>,
    want: Want<'static>,
    pub(super) now: Timestamp,
}

impl Asked {
    pub(super) fn check_in(&self) -> CheckIn<'_> {
        CheckIn {
            key: self.key.as_bytes(),
            serial: &self.serial,
            version: self.version.as_bytes(),
            hardware: self.hardware.as_bytes(),
            digest: self.digest,
            want: self.want,
        }
    }

    fn new(key: &str, serial: &[u8]) -> Self {
        let (key, serial) = (key.to_owned(), serial.to_vec());
        Self { key, serial, version: "", hardware: "", digest: None, want: Want::Firmware, now: NOW }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, serial, version, hardware, digest, want, now } = self;
        write!(f, "key `{}`, serial `{}`, version `{version}`", key.escape_debug(), serial.escape_ascii())?;
        if !hardware.is_empty() {
            write!(f, ", hardware `{hardware}`")?;
        }
        if let Some(digest) = digest {
            write!(f, ", digest {digest}")?;
        }
        if let Want::Resource(name) = want {
            write!(f, ", resource `{}`", name.escape_ascii())?;
        } else {
            write!(f, ", {}", want.name())?;
        }
        write!(f, " at {now}")
    }
}

const WANTS: [Want<'static>; 5] =
    [Want::Config, Want::Resources, Want::Resource(b"ca.pem"), Want::Resource(b"no-such"), Want::Resource(b"new.bin")];
/// What is no version of any product, then some of each.
const VERSIONS: [&str; 15] = [
    "",
    "latest",
    "v1.0.0",
    "1.4.9",
    "1.5.0",
    "fw-2.0.0",
    "3.0.0",
    "V3.1.0-RC.1",
    "9.9.9",
    "9.0",
    "10",
    "ostrich",
    "Emu",
    "1.0.0+a",
    "1.0.0+b",
];
const HARDWARE: [&str; 3] = ["", "rev-a", "rev-c"];

pub(super) fn asks(fleet: &Fleet) -> Vec<Asked> {
    // Turns of different length, so that every value meets every other in the long run, and all is the same on every run.
    let mut asks = Vec::new();
    let mut turn = 0;
    for entry in fleet.products() {
        let key = format!("{}-key", entry.product().id());
        for device in entry.devices() {
            let spellings = spellings(device.serial());
            for version in VERSIONS {
                let mut ask = Asked::new(&key, spellings[turn % spellings.len()].as_bytes());
                (ask.version, ask.hardware) = (version, HARDWARE[turn % HARDWARE.len()]);
                let firmware = entry.catalogue().iter().nth(turn % 7);
                ask.digest = match (firmware.and_then(|firmware| firmware.artifacts().first()), turn % 4) {
                    (Some(artifact), 0) => sent(DigestKind::Md5, artifact.digests().md5),
                    (Some(artifact), 1) => sent(DigestKind::Sha256, artifact.digests().sha256),
                    _ => None,
                };
                asks.push(ask);
                turn += 1;
            }
            let documents = WANTS.map(|want| Asked { want, ..Asked::new(&key, spellings[0].as_bytes()) });
            asks.extend(documents);
            // At night another window is open.
            asks.push(Asked {
                version: "0.9.0",
                now: NOW.plus_secs(13 * 3_600),
                ..Asked::new(&key, device.serial().as_bytes())
            });
        }
    }
    asks.extend(odd());
    asks
}

fn sent<T: std::fmt::Display>(kind: DigestKind, digest: Option<T>) -> Option<SentDigest> {
    SentDigest::parse(kind, digest?.to_string().as_bytes())
}

/// Keys and serials of strangers, and spellings that are none.
fn odd() -> Vec<Asked> {
    let long = "k".repeat(2_000);
    let keys = [
        "",
        "guess",
        "thermostat-key ",
        "THERMOSTAT-KEY",
        "\0",
        &long,
        "thermostat-revoked",
        "thermostat-later",
        "thermostat-past",
        "sensor-spare",
    ];
    let serials: [&[u8]; 12] = [
        b"",
        b"0",
        b"FFFFFFFFFFFF",
        b"de-ad-be-ef-00-00",
        b"a4cf1234beef",
        SHARED_SERIAL.as_bytes(),
        b"' OR 1=1 --",
        b"nobody",
        b"\0",
        b"\xff\xfe",
        b"lamp-1\n",
        &[b'x'; 65],
    ];
    let all_keys = keys.into_iter().chain(["thermostat-key", "sensor-key", "pump-key", "lamp-key"]);
    all_keys.flat_map(|key| serials.map(|serial| Asked::new(key, serial))).collect()
}

/// Ways in which a device may write its serial; some of them only under its product's scheme.
fn spellings(canonical: &str) -> Vec<String> {
    let mut spellings = vec![canonical.to_owned(), canonical.to_ascii_uppercase()];
    if canonical.len() == 12 && canonical.is_ascii() {
        let joined = |size: usize, joint: &str| {
            let parts: Vec<_> = (0..12).step_by(size).map(|at| &canonical[at..at + size]).collect();
            parts.join(joint)
        };
        spellings.extend([joined(2, ":"), joined(2, "-").to_ascii_uppercase(), joined(4, ".")]);
    }
    spellings
}

#[cfg(test)]
mod tests {
    use super::super::fleets;
    use super::*;
    use crate::decide::trace::NoTrace;
    use crate::store::{MemoryStore, answer};
    use crate::verdict::Reason;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_is_had_but_those_that_need_a_ledger_or_a_gap() {
        let fleet = fleets::rich().build().unwrap();
        let asks = asks(&fleet);
        let store = MemoryStore::new(fleet);
        let reason = |ask: &Asked| answer(&store, &ask.check_in(), ask.now, &mut NoTrace, |told| told.reason).unwrap();
        let had: BTreeSet<_> = asks.iter().map(reason).collect();
        let never = [Reason::Penalty, Reason::GroupMissing, Reason::FirmwareMissing];
        let should = Reason::ALL.iter().copied().filter(|reason| !never.contains(reason)).collect();
        assert_eq!(had, should);
        assert!(asks.len() < 2_000, "{} are too many for a store over a network", asks.len());
    }
}
