//! The fleet and the check-ins that every engine gets, and the answers that our ranks imply.

use crate::common::Random;

pub(crate) const DEVICES: usize = 100_000;
/// Of them: known, but not to be served, and asked for only before the clock starts.
const BLOCKED: usize = 100;

pub(crate) const KEY: &str = "a-key-of-thirty-six-characters-or-so";
pub(crate) const PRODUCT: &str = "thermostat";
pub(crate) const ROLLOUT: &str = "r1";
pub(crate) const ROLLOUT_PERCENT: u16 = 25;
pub(crate) const BASELINE: &str = "1.3.0";
pub(crate) const TARGET: &str = "1.4.0";

/// A check-in as it arrives: text.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) key: &'static str,
    pub(crate) serial: String,
    pub(crate) version: &'static str,
}

pub(crate) struct Device {
    pub(crate) serial: String,
    pub(crate) verified: bool,
    /// By our hash, R2: for the engines that have none and must store it.
    pub(crate) rank: u64,
}

impl Device {
    /// The rank in the same order, for engines whose integers have a sign.
    pub(crate) fn signed_rank(&self) -> i64 {
        signed(self.rank)
    }
}

pub(crate) struct World {
    pub(crate) devices: Vec<Device>,
    /// The highest rank inside the rollout: as a census finds it, so that the quarter is exact.
    pub(crate) threshold: u64,
    /// One for each verified device, in random order.
    pub(crate) asks: Vec<Ask>,
    /// Whether each of `asks` is served.
    pub(crate) served: Vec<bool>,
    /// Check-ins that nobody may serve: a wrong key, an unknown serial, a blocked device.
    pub(crate) strangers: Vec<Ask>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut random = Random(7);
        let mut serial = || format!("{:012x}", random.next() >> 16);
        let devices: Vec<Device> = (0..DEVICES)
            .map(|index| {
                let serial = serial();
                let rank = otagate::rank(ROLLOUT, PRODUCT, &serial);
                Device { serial, verified: index >= BLOCKED, rank }
            })
            .collect();
        let (blocked, verified) = devices.split_at(BLOCKED);

        let mut ranks: Vec<u64> = verified.iter().map(|device| device.rank).collect();
        ranks.sort_unstable();
        let threshold = ranks[(ranks.len() * usize::from(ROLLOUT_PERCENT)).div_ceil(100) - 1];

        let ask = |key, serial: &str| Ask { key, serial: serial.into(), version: BASELINE };
        let wrong_key =
            verified[..BLOCKED].iter().map(|device| ask("another-key-of-thirty-six-characters", &device.serial));
        let unknown = (0..BLOCKED).map(|_| ask(KEY, &serial()));
        let strangers = wrong_key.chain(unknown).chain(blocked.iter().map(|device| ask(KEY, &device.serial))).collect();

        let mut order: Vec<&Device> = verified.iter().collect();
        for end in (1..order.len()).rev() {
            order.swap(end, random.next() as usize % (end + 1));
        }
        let (asks, served) = order
            .into_iter()
            .map(|device| {
                // Two fifths of a quarter: a tenth is served.
                let older = random.next() % 5 < 2 || device.rank == threshold; // so that the last one inside is asked for
                let version = if older { BASELINE } else { TARGET };
                let served = version != TARGET && device.rank <= threshold;
                (Ask { key: KEY, serial: device.serial.clone(), version }, served)
            })
            .unzip();
        Self { devices, threshold, asks, served, strangers }
    }

    pub(crate) fn signed_threshold(&self) -> i64 {
        signed(self.threshold)
    }
}

fn signed(rank: u64) -> i64 {
    (rank ^ (1 << 63)).cast_signed()
}
