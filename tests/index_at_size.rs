//! Large fleets come, change and go: the index stays the memory store, and gives back what it took.

mod twin;

use otagate::*;
use std::collections::BTreeSet;
use twin::change::respelled;
use twin::draw::{Draw, NOW};
use twin::indexed::*;

/// Serials of every kind that is packed in some way of its own, and what is next to it: the longest number that fits, and one more; the same text in
/// the other case, with and without joints; one that another begins with.
fn mixed_serials(draw: &mut Draw, count: usize) -> Vec<String> {
    let mut serials = BTreeSet::new();
    for number in [1u128 << 32, 1 << 48, 1 << 63, 1 << 64, 1 << 80, u128::MAX] {
        for near in [number - 1, number, number.saturating_add(1)] {
            serials.extend([format!("{near}"), format!("{near:x}"), format!("{near:X}"), format!("0{near}")]);
        }
    }
    for len in 1..=64 {
        serials.extend(["a", "A", "7", "-", "z"].map(|text| text.repeat(len)));
        serials.insert(format!("{}1", "0".repeat(len - 1)));
        serials.insert(format!("{}é", "x".repeat(len.saturating_sub(2))));
    }
    while serials.len() < count {
        let (high, low) = (draw.next(), draw.next());
        let wide = u128::from(high) << 64 | u128::from(low);
        let hex = format!("{wide:032x}");
        let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let mac = respelled(SerialScheme::Mac, &hex[..12]);
        let drawn = match draw.below(15) {
            0 => hex[..1 + draw.below(18) as usize].to_owned(),
            1 => hex[..12].to_owned(),
            2 => draw.of(&[mac.to_lowercase(), mac.clone(), mac.replace(':', "-")]),
            3 => uuid,
            4 => draw.of(&[uuid.to_uppercase(), format!("{{{uuid}}}"), hex.clone(), format!("{uuid}a")]),
            5 => format!("{hex}{:032X}", wide.rotate_left(7)),
            6 => format!("Gerät {high}"),
            7 => format!("{low}"),
            8 => format!("{:0width$}", low % 1_000_000, width = 1 + draw.below(20) as usize),
            9 => format!("SN-{:06}", low % 20_000),
            10 => format!("\u{1F4A1}{}", &hex[..draw.below(30) as usize]),
            11 => format!(" {} ", &hex[..4]),
            // Digits, and one that is next to a digit and none.
            12 | 13 => {
                let len = 1 + draw.below(17) as usize;
                let at = draw.below(len as u64) as usize;
                let other = draw.of(&["/", ":", "`", "g", "@", "G", "A", "F", "é", " ", "\u{80}", "~"]);
                format!("{}{other}{}", &hex[..at], &hex[at..len - 1])
            }
            _ => format!("{}", serials.len()),
        };
        serials.insert(drawn);
    }
    serials.into_iter().filter(|serial| SerialScheme::Opaque.read(serial.as_bytes()).is_ok()).collect()
}

/// Any device of that serial that a load accepts.
fn any_device(draw: &mut Draw, serial: &str) -> DeviceSpec {
    let long = "g".repeat(NAME_BYTES_MAX);
    // Each side of every width that a number may be cut to.
    let end = |draw: &mut Draw| {
        let power = 1_i64 << draw.below(63);
        draw.of(&[0, i64::MIN, i64::MAX, power - 1, power, -power])
    };
    let time = |draw: &mut Draw| {
        let drawn = NOW + draw.below(1 << 36) as i64;
        Timestamp::from_millis(if draw.once_in(2) { end(draw) } else { drawn })
    };
    let group = draw.of(&["default", "a", "b", "é", "gone", &long]);
    let mut earlier_groups = Vec::new();
    if draw.once_in(10) {
        for other in ["default", "a", "b", "gone"].into_iter().filter(|other| *other != group) {
            earlier_groups.extend(draw.some(2, |draw| (GroupId::new(other).unwrap(), time(draw))));
        }
    }
    DeviceSpec {
        serial: serial.into(),
        state: draw.of(&[
            DeviceState::Verified,
            DeviceState::Verified,
            DeviceState::New,
            DeviceState::Blocked,
            DeviceState::Disabled,
            DeviceState::Quota,
        ]),
        group: group.into(),
        entered_at: time(draw),
        pin: draw.some(9, |draw| draw.of(&["1.2", "1.1", "01.2"]).into()),
        cap: draw.some(9, |draw| draw.of(&["1.2", "2", "3.0"]).into()),
        version: match draw.below(6) {
            0 => None,
            1 => Some("1.1".into()),
            2 => Some(String::new()),
            _ => Some(format!("1.{}", draw.below(4_000))),
        },
        hardware: draw.some(3, |draw| format!("board {}", draw.below(3_000))),
        earlier_groups,
    }
}

/// What an index may still hold of what is gone: pages that are kept for what comes next.
const SLACK: usize = 64 << 10;

#[test]
fn a_large_fleet_of_mixed_serials_comes_changes_and_goes() {
    let draw = &mut Draw(7);
    let (id, product) = lamp();
    let mut both = Both::new(product);
    let empty = both.bytes();
    let serials = mixed_serials(draw, 30_000);
    // Nobody's, each a neighbour of somebody's.
    let strangers: Vec<String> = serials.iter().step_by(50).map(|serial| format!("{serial}+")).collect();
    let put =
        |draw: &mut Draw, serial: &String| Change::PutDevice { product: id.clone(), device: any_device(draw, serial) };

    // First one by one, then in leaps.
    let mut order: Vec<&String> = serials.iter().collect();
    shuffle(draw, &mut order);
    let first: Vec<Change> = order.iter().map(|serial| put(draw, serial)).collect();
    for change in &first[..200] {
        both.apply(std::slice::from_ref(change));
    }
    both.apply(&first[200..]);
    assert_eq!(both.index.snapshot().devices_len(), serials.len());
    let full = both.bytes();
    assert!(full > empty + 8 * serials.len(), "{full} bytes cannot hold {} devices above {empty}", serials.len());
    both.agree_about(serials.iter().step_by(7).chain(&strangers));

    for round in 0..4 {
        let mut changes = Vec::new();
        for serial in &serials {
            if !draw.once_in(3) {
                continue;
            }
            let (product, text) = (id.clone(), serial.clone());
            let at = Timestamp::from_millis(draw.of(&[NOW, -NOW, 0]) + round);
            changes.push(match draw.below(7) {
                0 => put(draw, serial),
                1 => Change::PinDevice { product, serial: text, firmware: draw.some(2, |_| "1.1".into()) },
                2 => Change::CapDevice { product, serial: text, cap: draw.some(2, |_| "4".into()) },
                3 => Change::SeeDevice {
                    product,
                    serial: text,
                    version: draw.some(2, |draw| format!("2.{}", draw.below(3_000))),
                    hardware: draw.some(2, |draw| format!("bank {}", draw.below(3_000))),
                },
                4 => Change::SetDeviceState { product, serial: text, state: DeviceState::Verified },
                _ => {
                    let group = GroupId::new(draw.of(&["a", "b", "default"])).unwrap();
                    Change::MoveDevice { product, serial: text, group, at }
                }
            });
        }
        both.apply(&changes);
        both.agree_about(serials.iter().skip(round as usize).step_by(11));
    }

    let built = Index::new(&both.store.read(Clone::clone)).snapshot().bytes().total();
    assert!(both.bytes() <= built + built / 50 + SLACK, "{} bytes, {built} when built at once", both.bytes());

    // A batch that fails at its end has changed nothing.
    let mut failing: Vec<Change> = serials.iter().step_by(5).map(|serial| put(draw, serial)).collect();
    failing.extend(
        serials.iter().step_by(3).map(|serial| Change::RemoveDevice { product: id.clone(), serial: serial.clone() }),
    );
    failing.push(Change::RemoveDevice { product: id.clone(), serial: "nobody".into() });
    let before = both.index.snapshot().spec();
    let (ours, theirs) = (both.index.apply(&failing), both.store.apply(&failing));
    assert!(theirs.is_err() && ours == theirs, "index {ours:?}\nstore {theirs:?}");
    same_content(&both.index.snapshot(), &before).unwrap();

    let remove = |serial: &&String| Change::RemoveDevice { product: id.clone(), serial: (*serial).clone() };
    let half: Vec<Change> = order[..order.len() / 2].iter().map(remove).collect();
    both.apply(&half);
    both.agree_about(serials.iter().step_by(5));
    // Some come back.
    let back: Vec<Change> = order[..order.len() / 8].iter().map(|serial| put(draw, serial)).collect();
    both.apply(&back);
    let rest: Vec<Change> = (order[..order.len() / 8].iter().chain(&order[order.len() / 2..])).map(remove).collect();
    both.apply(&rest);
    assert_eq!(both.index.snapshot().devices_len(), 0);
    let left = both.bytes();
    assert!(left <= empty + SLACK, "{left} bytes are left of {full}, and an empty index has {empty}");
    both.agree_about(serials.iter().step_by(5));
}

fn shuffle<T>(draw: &mut Draw, list: &mut [T]) {
    for last in (1..list.len()).rev() {
        list.swap(last, draw.below(last as u64 + 1) as usize);
    }
}

/// Every device is one of a kind: its group, version and hardware are nobody else's, and there are more of each than 16 bits can number.
#[test]
fn more_groups_versions_and_hardware_than_sixteen_bits_can_number() {
    const DEVICES: u64 = 70_000;
    let (id, product) = lamp();
    let mut both = Both::new(product);
    let empty = both.bytes();
    let serial = |number: u64| format!("{:012x}", (number + 1) * 0x9E37_79B9);
    let put = |number: u64| Change::PutDevice {
        product: id.clone(),
        device: DeviceSpec {
            serial: serial(number),
            state: DeviceState::Verified,
            group: format!("group {number}"),
            version: Some(format!("1.{number}")),
            hardware: Some(format!("board {number}")),
            ..Default::default()
        },
    };
    both.apply(&(0..DEVICES).map(put).collect::<Vec<_>>());
    let see = |number: u64| Change::SeeDevice {
        product: id.clone(),
        serial: serial(number),
        version: Some(format!("2.{number}")),
        hardware: Some(format!("bank {number}")),
    };
    both.apply(&(0..DEVICES).map(see).collect::<Vec<_>>());
    let go = |number: u64| Change::MoveDevice {
        product: id.clone(),
        serial: serial(number),
        group: GroupId::new(if number.is_multiple_of(2) { "default" } else { "a" }).unwrap(),
        at: Timestamp::from_millis(NOW),
    };
    both.apply(&(0..DEVICES).map(go).collect::<Vec<_>>());
    both.agree_about(&(0..DEVICES).step_by(97).map(serial).collect::<Vec<_>>());
    let remove = |number: u64| Change::RemoveDevice { product: id.clone(), serial: serial(number) };
    both.apply(&(0..DEVICES).map(remove).collect::<Vec<_>>());
    assert!(both.bytes() <= empty + SLACK, "{} bytes are left, and an empty index has {empty}", both.bytes());
}

/// Devices report what they like: what nobody says any more must not stay.
#[test]
fn a_flood_of_versions_leaves_nothing_behind() {
    let (id, product) = lamp();
    let both = Both::new(product);
    let devices: Vec<String> = (0..500).map(|number| format!("SN-{number}")).collect();
    let device = |serial: &String| DeviceSpec { serial: serial.clone(), group: "a".into(), ..Default::default() };
    let put = |serial: &String| Change::PutDevice { product: id.clone(), device: device(serial) };
    both.apply(&devices.iter().map(put).collect::<Vec<_>>());
    for round in 0..200 {
        let see = |(number, serial): (usize, &String)| Change::SeeDevice {
            product: id.clone(),
            serial: serial.clone(),
            version: Some(format!("9.{round}.{number}")),
            hardware: Some(format!("forged {round} {number}")),
        };
        let seen: Vec<Change> = devices.iter().enumerate().map(see).collect();
        assert_eq!(both.index.apply(&seen).unwrap(), both.store.apply(&seen).unwrap());
    }
    let spec = both.store.read(Fleet::spec);
    same_content(&both.index.snapshot(), &spec).unwrap();
    let (lived, built) = (both.bytes(), Index::new(&spec.build().unwrap()).snapshot().bytes().total());
    assert!(lived <= 2 * built + SLACK, "{lived} bytes after 100 000 reports, {built} when built at once");
}

/// Leaves that split and join: devices come and go at random, a few at a time, and the fleet is looked at all the while.
#[test]
fn a_fleet_that_breathes_stays_the_same_fleet() {
    for seed in 0..6 {
        let draw = &mut Draw(seed);
        let (id, product) = lamp();
        let mut both = Both::new(product);
        let serials: Vec<String> = if seed % 2 == 0 {
            mixed_serials(draw, 1_500)
        } else {
            // Neighbours, each a digit from the next.
            (0..1_500).map(|number| format!("a4cf12{number:06x}")).collect()
        };
        for round in 0..60 {
            // Up for twenty rounds, down for twenty, and up again.
            let growing = round / 20 % 2 == 0;
            let known: BTreeSet<String> = both.store.read(|fleet| {
                fleet.products().flat_map(|entry| entry.devices()).map(|device| device.serial().to_owned()).collect()
            });
            let mut batch = Vec::new();
            for serial in &serials {
                if !draw.once_in(12) {
                    continue;
                }
                let (product, gone) = (id.clone(), !growing && !draw.once_in(4));
                match (known.contains(serial), gone) {
                    (true, true) => batch.push(Change::RemoveDevice { product, serial: serial.clone() }),
                    (false, true) => {}
                    _ => batch.push(Change::PutDevice { product, device: any_device(draw, serial) }),
                }
            }
            let (ours, theirs) = (both.index.apply(&batch), both.store.apply(&batch));
            let same = theirs.is_ok() && ours == theirs;
            assert!(same, "seed {seed}, round {round}: index {ours:?}\nstore {theirs:?}");
            let same = same_content(&both.index.snapshot(), &both.store.read(Fleet::spec));
            same.unwrap_or_else(|fault| panic!("seed {seed}, round {round}: {fault}"));
        }
        both.agree_about(&serials);
    }
}
