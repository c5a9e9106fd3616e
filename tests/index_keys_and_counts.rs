//! What a reader of the index remembers: whose a key is, no longer than that is so, and how often each reason was given, for good.

mod twin;

use otagate::*;
use std::collections::BTreeMap;
use twin::draw::{self, Draw, NOW};
use twin::indexed::*;
use twin::translate;
use twin::world;

// Keys.

/// A reader remembers whose a key is. It must not remember longer than that is so.
#[test]
fn what_becomes_of_a_key_is_seen_at_the_next_decision() {
    let key = ApiKey::new(KeyHash::of(b"shared").unwrap());
    let product = |id: &str, keys: &[ApiKey]| ProductSpec { id: id.into(), keys: keys.to_vec(), ..Default::default() };
    let put = |id: &str, keys: &[ApiKey]| Change::PutProduct { product: product(id, keys) };
    let id = |id: &str| ProductId::new(id).unwrap();
    let whole = |spec: ProductSpec, serial: &str| ProductFleetSpec {
        firmware: vec![firmware("1.0.0")],
        groups: vec![GroupSpec { id: "default".into(), firmware: Some("1.0.0".into()), ..Default::default() }],
        devices: vec![DeviceSpec {
            serial: serial.into(),
            state: DeviceState::Verified,
            group: "default".into(),
            ..Default::default()
        }],
        product: spec,
    };
    let at = |millis| Some(Timestamp::from_millis(millis));
    // What the device `left` of p and the device `right` of q are told: each change is made to the fleet before it.
    let steps: Vec<(&str, Vec<Change>, [Reason; 2])> = vec![
        ("it is given to p", vec![put("p", &[key])], [Reason::Serve, Reason::DeviceUnknown]),
        ("it is revoked", vec![put("p", &[ApiKey { revoked: true, ..key }])], [Reason::KeyRevoked; 2]),
        ("it is valid again", vec![put("p", &[key])], [Reason::Serve, Reason::DeviceUnknown]),
        ("it ends", vec![put("p", &[ApiKey { not_after: at(NOW), ..key }])], [Reason::KeyExpired; 2]),
        ("it begins later", vec![put("p", &[ApiKey { not_before: at(NOW + 1), ..key }])], [Reason::KeyNotYetValid; 2]),
        ("it is taken away", vec![put("p", &[])], [Reason::KeyUnknown; 2]),
        ("it is given back", vec![put("p", &[key])], [Reason::Serve, Reason::DeviceUnknown]),
        ("it goes to q", vec![put("p", &[]), put("q", &[key])], [Reason::DeviceUnknown, Reason::Serve]),
        ("it comes back", vec![put("q", &[]), put("p", &[key])], [Reason::Serve, Reason::DeviceUnknown]),
        ("p is removed", vec![Change::RemoveProduct { product: id("p") }], [Reason::KeyUnknown; 2]),
        ("q takes it", vec![put("q", &[key])], [Reason::DeviceUnknown, Reason::Serve]),
        (
            "q is removed, and p made",
            vec![Change::RemoveProduct { product: id("q") }, put("p", &[key])],
            [Reason::DeviceUnknown; 2],
        ),
    ];
    let fleet = FleetSpec {
        revision: Revision(1),
        products: vec![whole(product("p", &[]), "left"), whole(product("q", &[]), "right")],
    };
    let index = Index::new(&fleet.build().unwrap());
    let mut readers = [index.reader(), index.reader(), index.reader()];
    let asks = [CheckIn::new(b"shared", b"left"), CheckIn::new(b"shared", b"right")];
    let now = Timestamp::from_millis(NOW);
    let mut told = |what: &str, revision: Revision, expected: [Reason; 2]| {
        let answer = |decision: &Decision<'_>| (decision.reason, decision.revision);
        let expected = expected.map(|reason| (reason, revision));
        // Each reader asks in one way alone, so that none is told by another way what has changed.
        let one = asks.map(|ask| answer(&readers[0].decide(&ask, now, &mut NoTrace)));
        assert_eq!(one, expected, "decide: {what}");
        let known = asks.map(|ask| answer(&readers[1].decide_known(&key.hash, &ask, now, &mut NoTrace)));
        assert_eq!(known, expected, "decide_known: {what}");
        let mut batch = [(Reason::Penalty, Revision(0)); 2];
        readers[2].decide_batch(&asks, now, &mut batch, answer);
        assert_eq!(batch, expected, "decide_batch: {what}");
    };
    told("nobody has it", Revision(1), [Reason::KeyUnknown; 2]);
    for (what, changes, expected) in steps {
        let revision = index.apply(&changes).unwrap_or_else(|problems| panic!("{what}: {problems}"));
        told(what, revision, expected);
    }
    // The same by replacing the whole.
    let other = |keys: [&[ApiKey]; 2], revision| FleetSpec {
        revision,
        products: vec![whole(product("p", keys[0]), "left"), whole(product("q", keys[1]), "right")],
    };
    let replaced = |keys: [&[ApiKey]; 2], revision, force| {
        index.replace(&other(keys, revision).build().unwrap(), force).unwrap();
    };
    replaced([&[], &[key]], Revision(100), false);
    told("replaced: it is q's", Revision(100), [Reason::DeviceUnknown, Reason::Serve]);
    replaced([&[key], &[]], Revision(100), true);
    told("replaced under the same revision", Revision(100), [Reason::Serve, Reason::DeviceUnknown]);
    replaced([&[], &[]], Revision(3), true);
    told("replaced by an older one", Revision(3), [Reason::KeyUnknown; 2]);
    // Time passes without a change.
    replaced([&[ApiKey { not_after: at(NOW + 1), ..key }], &[]], Revision(200), false);
    told("its last millisecond", Revision(200), [Reason::Serve, Reason::DeviceUnknown]);
    let after = readers[0].decide(&asks[0], Timestamp::from_millis(NOW + 1), &mut NoTrace).reason;
    assert_eq!(after, Reason::KeyExpired, "and the one after it");
}

/// What no product can have is unknown, and is not hashed.
#[test]
fn a_key_that_is_too_long_is_nobodys() {
    let index = Index::new(&Fleet::default());
    let long = vec![b'x'; KEY_BYTES_MAX + 1];
    for key in [&b""[..], b"\xff\0", &long, &long[1..]] {
        let ask = CheckIn::new(key, b"1");
        assert_eq!(index.reader().decide(&ask, Timestamp::from_millis(0), &mut NoTrace).reason, Reason::KeyUnknown);
    }
}

// Counters.

type Verdicts = BTreeMap<(Option<ProductId>, Reason), u64>;

fn verdicts(index: &Index) -> Verdicts {
    let mut counts = Verdicts::new();
    for row in index.verdicts() {
        assert!(row.count > 0, "a count of nothing: {:?} {}", row.product, row.reason);
        let twice = counts.insert((row.product.clone(), row.reason), row.count);
        assert!(twice.is_none(), "stands twice: {:?} {}", row.product, row.reason);
    }
    counts
}

#[test]
fn every_verdict_is_counted_once_whoever_gave_it() {
    for seed in 0..40 {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let fleet = translate::fleet_spec(&world).build().unwrap();
        let index = Index::new(&fleet);
        assert_eq!(verdicts(&index), Verdicts::new());
        let asks: Vec<world::Ask> = (0..600).map(|_| draw::ask(draw, &world)).collect();
        let owner = |check_in: &CheckIn<'_>| {
            KeyHash::of(check_in.key)
                .and_then(|hash| fleet.product_of_key(&hash))
                .map(|entry| entry.product().id().clone())
        };
        let (index, owner) = (&index, &owner);
        let run = |mut reader: Reader, asks: &[world::Ask]| {
            let mut given = Verdicts::new();
            let mut note = |check_in: &CheckIn<'_>, reason| *given.entry((owner(check_in), reason)).or_default() += 1;
            for (number, ask) in asks.iter().enumerate() {
                let (check_in, now) = (translate::check_in(ask), Timestamp::from_millis(ask.now));
                match number % 3 {
                    0 => note(&check_in, reader.decide(&check_in, now, &mut NoTrace).reason),
                    1 => {
                        let hash = KeyHash::of(check_in.key).unwrap();
                        note(&check_in, reader.decide_known(&hash, &check_in, now, &mut Recorder::default()).reason);
                    }
                    _ => {
                        let batch: Vec<_> = asks[..number % 50].iter().map(translate::check_in).collect();
                        let mut reasons = vec![Reason::Serve; batch.len()];
                        reader.decide_batch(&batch, now, &mut reasons, |decision| decision.reason);
                        batch.iter().zip(reasons).for_each(|(check_in, reason)| note(check_in, reason));
                    }
                }
            }
            (given, reader)
        };
        let (left, right) = asks.split_at(300);
        let (mut expected, kept, others) = std::thread::scope(|scope| {
            let kept = scope.spawn(|| run(index.reader(), left));
            let gone = scope.spawn(|| run(index.reader(), right).0);
            let (given, kept) = kept.join().unwrap();
            (given, kept, gone.join().unwrap())
        });
        others.into_iter().for_each(|(place, count)| *expected.entry(place).or_default() += count);
        assert_eq!(verdicts(index), expected, "seed {seed}: one reader is alive, one is gone");
        drop(kept);
        assert_eq!(verdicts(&index.clone()), expected, "seed {seed}: both are gone");
    }
}

/// A health check that asks should not show as a device.
#[test]
fn a_reader_that_does_not_count_leaves_no_verdicts() {
    let (_, product) = lamp();
    let index = Both::new(product).index;
    let mut silent = index.reader().uncounted();
    let ask = CheckIn::new(b"lamp-key", b"SN-1");
    assert_eq!(silent.decide(&ask, Timestamp::from_millis(0), &mut NoTrace).reason, Reason::DeviceUnknown);
    silent.decide_batch(&[ask, ask], Timestamp::from_millis(0), &mut [(); 2], |_| ());
    assert_eq!((verdicts(&index), silent.refresh()), (Verdicts::new(), index.revision()));
}

/// A counter that goes back is none: a product that is gone, or came again, was answered all the same.
#[test]
fn counts_outlive_their_product() {
    let (id, product) = lamp();
    let index = Both::new(product.clone()).index;
    let mut reader = index.reader();
    let ask = CheckIn::new(b"lamp-key", b"SN-1");
    let mut unknown = |times: u64| {
        for _ in 0..times {
            assert_eq!(reader.decide(&ask, Timestamp::from_millis(0), &mut NoTrace).reason, Reason::DeviceUnknown);
        }
    };
    let place = (Some(id.clone()), Reason::DeviceUnknown);
    unknown(3);
    index.apply(&[Change::RemoveProduct { product: id }]).unwrap();
    assert_eq!(verdicts(&index), Verdicts::from([(place.clone(), 3)]));
    index.apply(&[Change::PutProduct { product }]).unwrap();
    unknown(2);
    assert_eq!(verdicts(&index), Verdicts::from([(place, 5)]));
}
