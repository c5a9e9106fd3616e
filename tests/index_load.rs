//! Many devices at once are the same devices one by one; rows that are wrong are all named, and then nothing is taken.

mod twin;

use otagate::*;
use std::collections::{BTreeMap, BTreeSet};
use twin::change::respelled;
use twin::draw::Draw;

const SCHEMES: [SerialScheme; 5] =
    [SerialScheme::Opaque, SerialScheme::OpaqueNocase, SerialScheme::Mac, SerialScheme::Hex, SerialScheme::Decimal];
const STATES: [DeviceState; 5] =
    [DeviceState::Verified, DeviceState::New, DeviceState::Blocked, DeviceState::Disabled, DeviceState::Quota];

fn id() -> ProductId {
    ProductId::new("lamp").unwrap()
}

fn product(serial_scheme: SerialScheme) -> ProductSpec {
    ProductSpec {
        id: "lamp".into(),
        keys: vec![ApiKey::new(KeyHash::of(b"lamp-key").unwrap())],
        serial_scheme,
        placeholders: vec!["12".into(), "a4cf12345678".into()]
            .into_iter()
            .filter(|text: &String| serial_scheme.read(text.as_bytes()).is_ok())
            .collect(),
        register_on_first_contact: true,
        new_devices_max: 40,
        ..Default::default()
    }
}

fn open(spec: ProductSpec) -> Index {
    let index = Index::new(&Fleet::default());
    let group = GroupSpec { id: "stable".into(), ..Default::default() };
    index.apply(&[Change::PutProduct { product: spec }, Change::PutGroup { product: id(), group }]).unwrap();
    index
}

/// A canonical serial of the scheme, none of which is a placeholder.
fn serial(draw: &mut Draw, scheme: SerialScheme) -> String {
    let wide = format!("{:016x}{:016x}", draw.next(), draw.next());
    let decimal = format!("1{:020}", draw.next());
    match scheme {
        SerialScheme::Mac => wide[..12].to_owned(),
        SerialScheme::Hex => wide[..3 + draw.below(30) as usize].to_owned(),
        SerialScheme::Decimal => decimal[..draw.below(18) as usize + 2].to_owned(),
        SerialScheme::Opaque => {
            let sn = format!("SN-{}", draw.below(100_000));
            draw.of(&[wide[..12].to_owned(), sn, format!("Gerät {decimal}"), wide.to_uppercase(), wide.repeat(2)])
        }
        SerialScheme::OpaqueNocase => draw.of(&[format!("sn-{decimal}"), format!("é{wide}"), wide[..14].to_owned()]),
    }
}

/// A device as an operator lists it, its texts its own.
#[derive(Clone, Debug)]
struct Listed {
    serial: String,
    state: DeviceState,
    group: String,
    entered_at: Timestamp,
    version: Option<String>,
    hardware: Option<String>,
}

impl Listed {
    fn drawn(draw: &mut Draw, scheme: SerialScheme) -> Self {
        let canonical = serial(draw, scheme);
        let time = draw.next() as i64;
        let (version, board) = (format!("1.{}", draw.below(300)), format!("board {}", draw.below(300)));
        Self {
            serial: if draw.once_in(3) { respelled(scheme, &canonical) } else { canonical },
            state: draw.of(&STATES),
            group: draw.of(&["stable", "gone", "é"]).into(),
            entered_at: Timestamp::from_millis(draw.of(&[0, -1, i64::MIN, 1_795_392_000_000, time])),
            version: draw.of(&[None, Some(String::new()), Some("1.0".into()), Some(version)]),
            hardware: draw.of(&[None, None, Some("board a".into()), Some(board)]),
        }
    }

    fn row(&self) -> DeviceRow<'_> {
        DeviceRow {
            serial: &self.serial,
            state: self.state,
            group: &self.group,
            entered_at: self.entered_at,
            version: self.version.as_deref(),
            hardware: self.hardware.as_deref(),
        }
    }

    fn spec(&self) -> DeviceSpec {
        DeviceSpec {
            serial: self.serial.clone(),
            state: self.state,
            group: self.group.clone(),
            entered_at: self.entered_at,
            version: self.version.clone(),
            hardware: self.hardware.clone(),
            ..Default::default()
        }
    }
}

/// So many devices, no two of one canonical serial, nor one of those that are `known`.
fn listed(draw: &mut Draw, scheme: SerialScheme, count: usize, known: &mut BTreeSet<String>) -> Vec<Listed> {
    let product = product(scheme).build().unwrap();
    let mut list = Vec::with_capacity(count);
    while list.len() < count {
        let one = Listed::drawn(draw, scheme);
        if let Ok(canonical) = product.read_serial(one.serial.as_bytes())
            && known.insert(canonical.as_str().to_owned())
        {
            list.push(one);
        }
    }
    list
}

fn rows(list: &[Listed]) -> Vec<DeviceRow<'_>> {
    list.iter().map(Listed::row).collect()
}

#[test]
fn many_at_once_are_the_same_as_one_by_one() {
    for (seed, (scheme, count)) in (0..).zip(SCHEMES.into_iter().flat_map(|scheme| [(scheme, 37), (scheme, 4_000)])) {
        let draw = &mut Draw(seed);
        let mut known = BTreeSet::new();
        let (index, singly) = (open(product(scheme)), MemoryStore::new(Fleet::default()));
        let group = GroupSpec { id: "stable".into(), ..Default::default() };
        singly
            .apply(&[Change::PutProduct { product: product(scheme) }, Change::PutGroup { product: id(), group }])
            .unwrap();
        // Into an empty product; a few more; and as many again.
        for count in [count, 3, 0, count] {
            let list = listed(draw, scheme, count, &mut known);
            let puts: Vec<Change> =
                list.iter().map(|one| Change::PutDevice { product: id(), device: one.spec() }).collect();
            assert_eq!(index.add_devices(&id(), &rows(&list)), singly.apply(&puts), "seed {seed}, {count} rows");
            let (ours, theirs) = (index.snapshot().spec(), singly.read(Fleet::spec));
            assert!(ours == theirs, "seed {seed}, {scheme:?}, {count} rows");
            assert_eq!(index.revision(), theirs.revision);
            assert_eq!(index.snapshot().devices_len(), known.len());
        }
        // Those that are `new` count as such: nobody more registers, until some are verified.
        let product = product(scheme).build().unwrap();
        let mut reader = index.reader();
        for _ in 0..50 {
            let stranger = listed(draw, scheme, 1, &mut known).remove(0);
            let stranger = product.read_serial(stranger.serial.as_bytes()).unwrap();
            let now = Timestamp::from_millis(5);
            let ours = store::Store::register(&index, &id(), &stranger, now).unwrap();
            assert_eq!(ours, store::Store::register(&singly, &id(), &stranger, now).unwrap(), "seed {seed}");
            let ask = CheckIn::new(b"lamp-key", stranger.as_bytes());
            let new = ours == store::Registered::New;
            let expected = if new { Reason::DeviceNew } else { Reason::DeviceUnknown };
            assert_eq!(reader.decide(&ask, now, &mut NoTrace).reason, expected, "seed {seed}, `{stranger}`");
        }
    }
}

/// What has been loaded can be changed and removed like what was put.
#[test]
fn what_was_loaded_is_changed_like_any_other() {
    for (seed, scheme) in (0..).zip(SCHEMES) {
        let draw = &mut Draw(seed);
        let index = open(product(scheme));
        let list = listed(draw, scheme, 3_000, &mut BTreeSet::new());
        index.add_devices(&id(), &rows(&list)).unwrap();
        let mut twin = index.snapshot().spec().build().unwrap();
        for chunk in list.chunks(100) {
            let change = |one: &Listed| {
                let (product, serial) = (id(), one.serial.clone());
                match draw.below(4) {
                    0 => Change::RemoveDevice { product, serial },
                    1 => Change::SetDeviceState { product, serial, state: draw.of(&STATES) },
                    2 => Change::SeeDevice { product, serial, version: Some("9".into()), hardware: None },
                    _ => Change::PinDevice { product, serial, firmware: Some("7".into()) },
                }
            };
            let changes: Vec<Change> = chunk.iter().map(change).collect();
            assert_eq!(index.apply(&changes).unwrap(), twin.apply(&changes).unwrap(), "seed {seed}");
        }
        assert!(index.snapshot().spec() == twin.spec(), "seed {seed}");
        let full = index.snapshot().bytes().total();
        let left: Vec<Change> = (twin.product("lamp").unwrap().devices())
            .map(|device| Change::RemoveDevice { product: id(), serial: device.serial().to_owned() })
            .collect();
        index.apply(&left).unwrap();
        let (left, empty) = (index.snapshot().bytes().total(), open(product(scheme)).snapshot().bytes().total());
        assert!(left <= empty + 1_024, "seed {seed}: {left} bytes are left of {full}, and an empty index has {empty}");
    }
}

/// Everything that can be wrong with a row, in rows far apart, so that whoever shares the work out must put it together again.
#[test]
fn every_wrong_row_is_named_and_nothing_is_taken() {
    // As many as there are, many more, and a few for a large product.
    let sizes = [(30, 60), (4_500, 9_000), (4_000, 60)];
    for (seed, (scheme, (old, count))) in
        (0..).zip(SCHEMES.into_iter().flat_map(|scheme| sizes.map(|size| (scheme, size))))
    {
        let draw = &mut Draw(100 + seed);
        let index = open(product(scheme));
        let built = product(scheme).build().unwrap();
        let mut known = BTreeSet::new();
        let there = listed(draw, scheme, old, &mut known);
        index.add_devices(&id(), &rows(&there)).unwrap();
        let (before, mut list) = (index.snapshot().spec(), listed(draw, scheme, count, &mut known));

        let mut places = BTreeSet::<String>::new();
        let mut free: Vec<usize> = (1..list.len()).collect();
        let wrong_serials = [
            "",
            "000",
            "FFF",
            "a b\n",
            "\u{7f}",
            "12",
            "A4:CF:12:34:56:78",
            "ABCDEFG",
            "1234567890123456789012345678901234567890123456789012345678901234é",
        ];
        for _ in 0..count / 6 {
            let at = free.swap_remove(draw.below(free.len() as u64) as usize);
            let place = match draw.below(8) {
                0 => {
                    list[at].serial = draw.of(&wrong_serials).into();
                    if built.read_serial(list[at].serial.as_bytes()).is_ok() {
                        // This scheme has it for a serial.
                        list[at].serial = String::new();
                    }
                    "serial"
                }
                1 => {
                    // The same unit in another spelling, in a row before or behind.
                    let twin = loop {
                        let twin = draw.below(list.len() as u64) as usize;
                        if free.contains(&twin) || twin == 0 {
                            break twin;
                        }
                    };
                    free.retain(|row| *row != twin);
                    let canonical = built.read_serial(list[twin].serial.as_bytes()).unwrap();
                    list[at].serial = if draw.once_in(2) {
                        respelled(scheme, canonical.as_str())
                    } else {
                        canonical.as_str().to_owned()
                    };
                    // The second of the two is the one too many.
                    places.insert(format!("rows[{}].serial", at.max(twin)));
                    continue;
                }
                2 => {
                    let canonical = built.read_serial(draw.of(&there).serial.as_bytes()).unwrap();
                    let taken = list
                        .iter()
                        .any(|one| built.read_serial(one.serial.as_bytes()).is_ok_and(|serial| serial == canonical));
                    if taken {
                        continue;
                    }
                    list[at].serial = respelled(scheme, canonical.as_str());
                    "serial"
                }
                3 => {
                    list[at].group = draw.of(&["", "a\tb", &"g".repeat(NAME_BYTES_MAX + 1)]).into();
                    "group"
                }
                4 => {
                    list[at].version = Some(draw.of(&["1.0\r\nX: y", "\0", &"1".repeat(VERSION_BYTES_MAX + 1)]).into());
                    "version"
                }
                5 => {
                    list[at].hardware = Some(draw.of(&["\x1b[31m", &"h".repeat(NAME_BYTES_MAX + 1)]).into());
                    "hardware"
                }
                6 => {
                    // All that one row can have wrong.
                    list[at].serial = "a\0".into();
                    list[at].group = String::new();
                    list[at].hardware = Some("\n".into());
                    places.extend(["group", "hardware"].map(|part| format!("rows[{at}].{part}")));
                    "serial"
                }
                _ => continue,
            };
            places.insert(format!("rows[{at}].{place}"));
        }

        let problems = index.add_devices(&id(), &rows(&list)).unwrap_err();
        let named: Vec<&String> = problems.list().iter().map(|problem| &problem.place).collect();
        let found: BTreeSet<String> = named.iter().map(|place| (*place).clone()).collect();
        let (more, missed): (Vec<_>, Vec<_>) =
            (found.difference(&places).collect(), places.difference(&found).collect());
        assert!(
            more.is_empty() && missed.is_empty(),
            "seed {seed}, {scheme:?}: not wrong {more:?}, not named {missed:?}"
        );
        assert_eq!(named.len(), places.len(), "seed {seed}: each once");
        let row = |place: &str| place[5..place.find(']').unwrap()].parse::<usize>().unwrap();
        assert!(named.iter().map(|place| row(place)).is_sorted(), "seed {seed}: in the order of the rows");
        // What is wrong with a row by itself is said in the words in which it is said of a device that is put.
        let mut told = BTreeMap::<usize, Vec<&Problem>>::new();
        problems.list().iter().for_each(|problem| told.entry(row(&problem.place)).or_default().push(problem));
        for (row, told) in &told {
            for problem in list[*row].spec().build(&built).err().iter().flat_map(Problems::list) {
                let place = format!("rows[{row}].{}", problem.place);
                let same = told.iter().any(|told| told.place == place && told.message == problem.message);
                assert!(same, "seed {seed}: `{place}: {}` is told as {told:?}", problem.message);
            }
        }
        assert_eq!(index.revision(), before.revision, "seed {seed}");
        assert!(index.snapshot().spec() == before, "seed {seed}: something was taken");
        assert_eq!(index.add_devices(&id(), &rows(&list)).unwrap_err(), problems, "seed {seed}: told again");

        // Without them the rest is taken.
        let good: Vec<Listed> =
            list.iter().enumerate().filter(|(at, _)| !told.contains_key(at)).map(|(_, one)| one.clone()).collect();
        index.add_devices(&id(), &rows(&good)).unwrap();
        assert_eq!(index.snapshot().devices_len(), there.len() + good.len(), "seed {seed}");
    }
}

#[test]
fn rows_for_a_product_that_does_not_exist_are_refused() {
    let index = open(product(SerialScheme::Mac));
    let row = DeviceRow { serial: "a4cf12345670", group: "stable", ..Default::default() };
    let nobody = ProductId::new("nobody").unwrap();
    let before = index.revision();
    assert!(index.add_devices(&nobody, &[row]).is_err());
    assert_eq!((index.revision(), index.snapshot().devices_len()), (before, 0));
    assert_eq!(index.add_devices(&id(), &[]), Ok(before), "no rows are no change");
}

// Serials that were chosen to collide.

/// The inverse of an odd number modulo 2^64: its multiples make products with that number small.
fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    for _ in 0..6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    assert_eq!(inverse.wrapping_mul(odd), 1);
    inverse
}

/// Loads them, asks for each and for neighbours that are not there, and removes some.
fn come_and_are_found(scheme: SerialScheme, mut serials: Vec<String>, what: &str) {
    serials.sort_unstable();
    serials.dedup();
    let index = open(ProductSpec { placeholders: vec![], ..product(scheme) });
    let row = DeviceRow { state: DeviceState::Verified, group: "stable", ..Default::default() };
    // Half at once, a good many as changes, and the rest at once again.
    let (first, rest) = serials.split_at(serials.len() / 2);
    let (middle, last) = rest.split_at(rest.len().min(20_000));
    let of = |serial: &String| -> DeviceSpec {
        DeviceSpec {
            serial: serial.clone(),
            state: DeviceState::Verified,
            group: "stable".into(),
            ..Default::default()
        }
    };
    index.add_devices(&id(), &first.iter().map(|serial| DeviceRow { serial, ..row }).collect::<Vec<_>>()).unwrap();
    let puts: Vec<Change> =
        middle.iter().map(|serial| Change::PutDevice { product: id(), device: of(serial) }).collect();
    index.apply(&puts).unwrap();
    index.add_devices(&id(), &last.iter().map(|serial| DeviceRow { serial, ..row }).collect::<Vec<_>>()).unwrap();
    assert_eq!(index.snapshot().devices_len(), serials.len(), "{what}");
    let again = index.add_devices(&id(), &[DeviceRow { serial: &serials[serials.len() / 3], ..row }]);
    assert!(again.is_err(), "{what}: one of them stands there already");

    let mut reader = index.reader();
    let now = Timestamp::from_millis(0);
    let mut asked = |serials: &[String], expected: Reason| {
        for serials in serials.chunks(1_000) {
            let asks: Vec<CheckIn<'_>> =
                serials.iter().map(|serial| CheckIn::new(b"lamp-key", serial.as_bytes())).collect();
            let mut reasons = vec![Reason::Serve; asks.len()];
            reader.decide_batch(&asks, now, &mut reasons, |decision| decision.reason);
            let wrong = serials.iter().zip(reasons).find(|(_, reason)| *reason != expected);
            assert_eq!(wrong, None, "{what}: {expected} is expected");
        }
    };
    asked(&serials, Reason::NothingAssigned);
    // Their neighbours, which are as alike as they are.
    let flip = |serial: &String| {
        let mut bytes = serial.clone().into_bytes();
        let at = serial.len() / 2;
        bytes[at] = if bytes[at] == b'0' { b'f' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    };
    let nobodys = |serial: &String| serials.binary_search(serial).is_err() && scheme.read(serial.as_bytes()).is_ok();
    let strangers: Vec<String> = serials.iter().step_by(5).map(flip).filter(nobodys).collect();
    assert!(strangers.len() > serials.len() / 100, "{what}: only {} strangers", strangers.len());
    asked(&strangers, Reason::DeviceUnknown);
    let gone: Vec<String> = serials.iter().step_by(101).cloned().collect();
    let remove = |serial: &String| Change::RemoveDevice { product: id(), serial: serial.clone() };
    index.apply(&gone.iter().map(remove).collect::<Vec<_>>()).unwrap();
    asked(&gone, Reason::DeviceUnknown);
    assert_eq!(index.snapshot().devices_len(), serials.len() - gone.len(), "{what}");
}

/// A million addresses of the shapes that fixed hashes fall for: they come in no worse than others, and each is found.
#[test]
fn a_million_mac_addresses_that_were_chosen_to_collide() {
    let mac = |number: u64| format!("{number:012x}");
    let mut serials: Vec<String> = Vec::new();
    serials.extend((1..=250_000).map(|number| mac(0x00A4_CF12 << 24 | number)));
    serials.extend((1..=250_000).map(|number| mac(number << 24 | 0x34_5678)));
    serials.extend((1..=250_000).map(|number| mac(number << 20)));
    serials.extend((1..=125_000).map(|number: u64| mac(number.reverse_bits() >> 16)));
    // The same in both halves: what folds them by xor sees nothing.
    serials.extend((1..=125_000).map(|number| mac(number << 24 | number)));
    serials.retain(|serial| SerialScheme::Mac.read(serial.as_bytes()).is_ok());
    assert!(serials.len() > 990_000);
    come_and_are_found(SerialScheme::Mac, serials, "addresses");
}

/// Multiples of the inverse of a multiplier, for the multipliers that are in use: their products are all small, so their upper bits are all alike.
#[test]
fn serials_whose_products_with_the_usual_multipliers_are_small() {
    let multipliers = [
        0x9E37_79B9_7F4A_7C15,
        0x517C_C1B7_2722_0A95,
        0xF135_7AEA_2E62_A9C5,
        0xFF51_AFD7_ED55_8CCD,
        0xC4CE_B9FE_1A85_EC53,
        0x0000_0100_0000_01B3,
        0x2127_599B_F432_5C37,
        0x5851_F42D_4C95_7F2D,
    ];
    let numbers = |multiplier| (1..=15_000).map(move |number: u64| number.wrapping_mul(inverse(multiplier)));
    let all = || multipliers.into_iter().flat_map(numbers);
    come_and_are_found(SerialScheme::Hex, all().map(|number| format!("{number:016x}")).collect(), "16 digits");
    come_and_are_found(SerialScheme::Hex, all().map(|number| format!("{:015x}", number >> 4)).collect(), "15 digits");
    // And as text: eight bytes that are read as one number.
    let text = |number: u64| format!("SN-{}-{:08x}", "0".repeat(40), number >> 32);
    come_and_are_found(SerialScheme::OpaqueNocase, all().map(text).collect(), "text");
}
