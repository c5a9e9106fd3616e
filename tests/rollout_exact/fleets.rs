//! The fleets that are counted, and who is in a wave by the letter of R3: written from the rules, with nothing of the crate but its specifications.

use crate::twin::draw::Draw;
use crate::twin::reference;
use otagate::*;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const PRODUCT: &str = "lamp";
pub(crate) const GROUP: &str = "field";
pub(crate) const TARGET: &str = "2.0.0";
const KEY: &[u8] = b"key";

/// Rollouts start at 0.
pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_795_392_000_000).plus_secs(secs)
}

pub(crate) fn product() -> ProductId {
    ProductId::new(PRODUCT).unwrap()
}

pub(crate) fn group() -> GroupId {
    GroupId::new(GROUP).unwrap()
}

pub(crate) fn name(rollout: &str) -> RolloutId {
    RolloutId::new(rollout).unwrap()
}

pub(crate) fn first(n: u32) -> Wave {
    Wave::new(WaveSize::First(n))
}

pub(crate) fn share(bps: u16) -> Wave {
    Wave::new(WaveSize::ShareBps(bps))
}

pub(crate) fn all() -> Wave {
    Wave::new(WaveSize::All)
}

/// A rollout that runs, of these waves.
pub(crate) fn running(id: &str, waves: Vec<Wave>) -> RolloutSpec {
    let target = TargetSpec::Firmware(TARGET.into());
    let state = RolloutState::Running;
    RolloutSpec { state, started_at: Some(at(0)), ..RolloutSpec::new(id, target, waves) }
}

/// One product of three firmwares, of which the target fits `a` alone.
pub(crate) fn fleet(groups: Vec<GroupSpec>, devices: Vec<DeviceSpec>) -> ProductFleetSpec {
    let firmware = |version: &str, hardware: Vec<String>| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 1,
            digests: Digests::blake3_of(b"image"),
            locator: version.into(),
            hardware,
            ..Default::default()
        }],
        ..Default::default()
    };
    let versions = VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() };
    let keys = vec![ApiKey::new(KeyHash::of(KEY).unwrap())];
    ProductFleetSpec {
        product: ProductSpec { id: PRODUCT.into(), keys, versions, ..Default::default() },
        firmware: vec![
            firmware("1.0.0", vec![]),
            firmware(TARGET, vec!["a".into()]),
            firmware("3.0.0", vec!["b".into()]),
        ],
        groups,
        devices,
    }
}

/// The group with that rollout, beside another one.
pub(crate) fn groups(rollout: RolloutSpec) -> Vec<GroupSpec> {
    let plain = |id: &str| GroupSpec { id: id.into(), firmware: Some("1.0.0".into()), ..Default::default() };
    vec![GroupSpec { rollout: Some(rollout), ..plain(GROUP) }, plain("other")]
}

pub(crate) fn build(spec: &ProductFleetSpec) -> Fleet {
    FleetSpec { revision: Revision(1), products: vec![spec.clone()] }.build().unwrap()
}

/// A device that may be given the target.
pub(crate) fn device(serial: impl Into<String>) -> DeviceSpec {
    DeviceSpec { serial: serial.into(), state: DeviceState::Verified, group: GROUP.into(), ..Default::default() }
}

/// So many of them.
pub(crate) fn devices(many: usize) -> Vec<DeviceSpec> {
    (0..many).map(|number| device(serial(number))).collect()
}

/// Some fit into a slot of the index, and some stand beside.
pub(crate) fn serial(number: usize) -> String {
    if number.is_multiple_of(5) { format!("Lamp of the {number}th house") } else { format!("a{number:05x}") }
}

/// A device of any kind.
pub(crate) fn any_device(draw: &mut Draw, number: usize) -> DeviceSpec {
    let states = [DeviceState::New, DeviceState::Blocked, DeviceState::Disabled, DeviceState::Quota];
    let text = |text: &str| text.to_owned();
    DeviceSpec {
        state: draw.some(6, |draw| draw.of(&states)).unwrap_or(DeviceState::Verified),
        group: text(draw.of(&[GROUP, GROUP, GROUP, GROUP, "other", "gone"])),
        entered_at: at(draw.below(3) as i64 - 1),
        pin: draw.some(9, |_| text("1.0.0")),
        cap: draw.some(6, |draw| text(draw.of(&["1.0.0", "2.0.0-rc.1", "2.0.0", "2.0.0+7", "3.0.0"]))),
        version: draw.some(2, |draw| text(draw.of(&["1.0.0", "1.0.0", "2.0.0", "2.0.0+7", "3.0.0", "latest"]))),
        hardware: draw.some(3, |draw| text(draw.of(&["a", "a", "b", ""]))),
        ..device(serial(number))
    }
}

/// A running rollout of any kind over serials that may be there.
pub(crate) fn any_rollout(draw: &mut Draw, many: usize) -> RolloutSpec {
    let n = |draw: &mut Draw| 1 + draw.below(many as u64 + 3) as u32;
    let bps = |draw: &mut Draw| draw.of(&[1, 99, 100, 2_500, 3_333, 5_000, 9_999, 10_000]);
    let (mut counts, mut shares) = ([n(draw), n(draw), n(draw)], [bps(draw), bps(draw)]);
    counts.sort_unstable();
    shares.sort_unstable();
    let waves = match draw.below(4) {
        0 => vec![first(counts[0]), first(counts[1]), first(counts[2]), all()],
        1 => vec![first(counts[0]), share(shares[0]), first(counts[1]), share(shares[1])],
        2 => vec![share(shares[0]), share(shares[1])],
        _ => vec![share(shares[0]), first(counts[0]), all()],
    };
    let mut listed =
        |once_in: u64| -> Vec<String> { (0..many).filter(|_| draw.once_in(once_in)).map(serial).collect() };
    let (first, mut excluded) = (listed(10), listed(12));
    excluded.retain(|serial| !first.contains(serial));
    let late = draw.of(&[Late::Open, Late::Open, Late::Tail]);
    let salt = draw.some(2, |draw| draw.of(&["", "canary-2026", "größe", "x\ty"]).replace('\t', " "));
    RolloutSpec { first, excluded, late, salt, ..running(&format!("r{}", draw.below(5)), waves) }
}

fn rollout(spec: &ProductFleetSpec) -> &RolloutSpec {
    spec.groups.iter().find(|group| group.id == GROUP).unwrap().rollout.as_ref().unwrap()
}

/// R2 and R6.
pub(crate) fn rank_of(spec: &ProductFleetSpec, serial: &str) -> u64 {
    let rollout = rollout(spec);
    let salt = rollout.salt.as_ref().unwrap_or(&rollout.id);
    if rollout.first.iter().any(|first| first == serial) { 0 } else { reference::rank(salt, PRODUCT, serial) }
}

/// R3: who could be given the target by that wave, with their ranks.
pub(crate) fn eligible(spec: &ProductFleetSpec, wave: usize) -> BTreeMap<String, u64> {
    let rollout = rollout(spec);
    let before = rollout.waves[..wave].iter().filter_map(|wave| wave.opened.unwrap().threshold).max();
    let takes_part = |device: &&DeviceSpec| {
        let rank = rank_of(spec, &device.serial);
        let is_first = rollout.first.contains(&device.serial);
        let late = rollout.late == Late::Tail && device.entered_at > at(0) && !is_first;
        let on_target = matches!(device.version.as_deref(), Some("2.0.0" | "2.0.0+7"));
        let below = matches!(device.cap.as_deref(), Some("1.0.0" | "2.0.0-rc.1"));
        device.group == GROUP
            && device.state == DeviceState::Verified
            && !rollout.excluded.contains(&device.serial)
            && device.pin.is_none()
            && !below
            && !(late && wave + 1 < rollout.waves.len())
            && device.hardware.as_deref().is_none_or(|hardware| hardware == "a")
            && (!on_target || before.is_some_and(|before| rank <= before) && !late)
    };
    let members = spec.devices.iter().filter(takes_part);
    members.map(|device| (device.serial.clone(), rank_of(spec, &device.serial))).collect()
}

/// R3 and R6, by sorting; `None`: refused.
pub(crate) fn naive(spec: &ProductFleetSpec, wave: usize) -> Option<Census> {
    let rollout = rollout(spec);
    let before = rollout.waves[..wave].iter().filter_map(|wave| wave.opened.unwrap().threshold).max();
    let counted = eligible(spec, wave);
    // Who was kept to the last wave was in none before, whatever its rank.
    let kept = |serial: &String| {
        let device = spec.devices.iter().find(|device| device.serial == *serial).unwrap();
        rollout.late == Late::Tail && device.entered_at > at(0) && !rollout.first.contains(serial)
    };
    let was_in = |(serial, rank): &(&String, &u64)| before.is_some_and(|before| **rank <= before) && !kept(serial);
    let in_before = counted.iter().filter(was_in).count() as u64;
    let mut ranks: Vec<u64> = counted.into_values().collect();
    ranks.sort_unstable();
    let eligible = ranks.len() as u64;
    let n = match rollout.waves[wave].size {
        WaveSize::First(n) => n as usize,
        WaveSize::ShareBps(bps) => (ranks.len() * usize::from(bps)).div_ceil(10_000),
        WaveSize::All => {
            return Some(Census { eligible, counted: eligible, newcomers: eligible - in_before, threshold: None });
        }
    };
    if before.is_none() && ranks.iter().filter(|rank| **rank == 0).count() > n {
        return None;
    }
    let nth = ranks[..n.min(ranks.len())].last().copied();
    let threshold = match (nth, before) {
        (Some(nth), Some(before)) => Some(nth.max(before)),
        (nth, before) => nth.or(before),
    };
    let counted = ranks.iter().filter(|rank| threshold.is_some_and(|threshold| **rank <= threshold)).count() as u64;
    Some(Census { eligible, counted, newcomers: counted - in_before, threshold })
}

/// Notes in the specification what opening a wave froze.
pub(crate) fn open(spec: &mut ProductFleetSpec, wave: usize, census: &Census) {
    let group = spec.groups.iter_mut().find(|group| group.id == GROUP).unwrap();
    group.rollout.as_mut().unwrap().waves[wave].opened = Some(census.opened(at(1)));
}

/// Who of the group is given the target when asking from the version below it.
pub(crate) fn granted(index: &Index) -> BTreeSet<String> {
    let (snapshot, mut reader) = (index.snapshot(), index.reader());
    let mut granted = BTreeSet::new();
    snapshot.scan(PRODUCT, Some(GROUP), |member| {
        let serial = member.serial();
        if is_granted(&mut reader, serial.as_str(), member.hardware()) {
            granted.insert(serial.as_str().to_owned());
        }
    });
    granted
}

pub(crate) fn is_granted(reader: &mut Reader, serial: &str, hardware: Option<&str>) -> bool {
    let hardware = hardware.unwrap_or("a").as_bytes();
    let ask = CheckIn { version: b"1.0.0", hardware, ..CheckIn::new(KEY, serial.as_bytes()) };
    let decision = reader.decide(&ask, at(2), &mut NoTrace);
    decision.status() == 200 && decision.meant.is_some_and(|meant| meant.version().text() == TARGET)
}

pub(crate) fn shuffle<T>(draw: &mut Draw, list: &mut [T]) {
    for at in (1..list.len()).rev() {
        list.swap(at, draw.below(at as u64 + 1) as usize);
    }
}
