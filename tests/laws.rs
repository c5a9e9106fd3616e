//! Laws of the decision, as properties over drawn fleets: what no change of the code may break, whatever the rules of the day are.

mod twin;

use otagate::{CheckIn, NoTrace, SentDigest, Timestamp};
use proptest::prelude::*;
use twin::draw::{self, Draw};
use twin::reference;
use twin::translate::{self, WorldStore};
use twin::world::*;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn shuffle<T>(draw: &mut Draw, list: &mut [T]) {
    for end in (1..list.len()).rev() {
        list.swap(end, draw.below(end as u64 + 1) as usize);
    }
}

/// Puts every list of the world in another order, where order has no meaning.
fn permute(draw: &mut Draw, world: &mut World) {
    shuffle(draw, &mut world.products);
    for product in &mut world.products {
        shuffle(draw, &mut product.keys);
        shuffle(draw, &mut product.groups);
        shuffle(draw, &mut product.firmware);
        shuffle(draw, &mut product.devices);
        shuffle(draw, &mut product.prefixes);
        for firmware in &mut product.firmware {
            shuffle(draw, &mut firmware.artifacts);
        }
        for group in &mut product.groups {
            group.resources.iter_mut().for_each(|list| shuffle(draw, list));
            group.window.iter_mut().for_each(|spans| shuffle(draw, spans));
            if let Some(rollout) = &mut group.rollout {
                shuffle(draw, &mut rollout.first);
                shuffle(draw, &mut rollout.excluded);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn the_order_of_the_input_changes_nothing(seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let mut permuted = world.clone();
        permute(draw, &mut permuted);
        let (store, other) = (WorldStore::new(&world), WorldStore::new(&permuted));
        for _ in 0..20 {
            let ask = draw::ask(draw, &world);
            prop_assert_eq!(store.answer(&ask), other.answer(&ask), "seed {}", seed);
        }
    }

    /// The same input gives the same bytes, with or without somebody watching.
    #[test]
    fn a_trace_changes_no_answer_and_ends_in_the_reason(seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let store = WorldStore::new(&world);
        for _ in 0..20 {
            let ask = draw::ask(draw, &world);
            let check_in = translate::check_in(&ask);
            let found = otagate::store::fetch(&store, &check_in).unwrap();
            let mut recorder = otagate::Recorder::default();
            let watched = otagate::decide(&found.facts(), &check_in, Timestamp::from_millis(ask.now), &mut recorder);
            let json = serde_json::to_string(&watched).unwrap();
            prop_assert_eq!(&json, &store.decide(&ask, |decision| serde_json::to_string(decision).unwrap()));
            prop_assert_eq!(recorder.steps().last().unwrap().answer, Some(watched.reason), "seed {}\n{}", seed, recorder);
            let answers = recorder.steps().iter().filter(|step| step.answer.is_some()).count();
            prop_assert_eq!(answers, 1, "one question answers\n{}", recorder);
            let withheld = ["wave-not-open", "rollout-paused"].contains(&watched.reason.name());
            prop_assert!(!withheld || recorder.eligible().is_some(), "who waits is told for what\n{}", recorder);
            prop_assert!(!recorder.to_string().contains("-key"), "a key is in the trace\n{}", recorder);
        }
    }

    #[test]
    fn an_unverified_device_is_never_served_and_no_device_gets_what_is_not_its_own(seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let store = WorldStore::new(&world);
        for _ in 0..20 {
            let ask = draw::ask(draw, &world);
            let answer = store.answer(&ask);
            let key = world.products.iter().find(|product| product.keys.iter().any(|key| key.secret == ask.key));
            let serial = key.and_then(|product| reference::canonical_serial(product.serial_scheme, &ask.serial));
            let device = key.and_then(|product| product.devices.iter().find(|device| Some(&device.serial) == serial.as_ref()));
            if device.is_none_or(|device| device.state != "verified") {
                prop_assert_eq!(answer.status, 401, "seed {}", seed);
                prop_assert_eq!((answer.serves, answer.artifact, answer.retry_after_secs), (None, None, None));
                continue;
            }
            let (product, device) = (key.unwrap(), device.unwrap());
            if let Some(version) = &answer.serves {
                let firmware = product.firmware.iter().find(|firmware| firmware.version == *version).expect("the product's own");
                prop_assert!(!firmware.denied, "a denied firmware is served: seed {}", seed);
                let artifact = firmware.artifacts.iter().find(|one| Some(&one.locator) == answer.artifact.as_ref()).expect("its own");
                let fits = artifact.hardware.is_empty() || artifact.hardware.iter().any(|name| name.as_bytes() == ask.hardware);
                prop_assert!(fits, "another hardware's artifact: seed {}", seed);
                let group = product.groups.iter().find(|group| group.id == device.group).unwrap();
                let target = group.rollout.as_ref().and_then(|rollout| match &rollout.target {
                    Target::Firmware(version) => Some(version),
                    _ => None,
                });
                let meant = [device.pin.as_ref(), group.baseline.as_ref(), target];
                let is_meant = meant.into_iter().flatten().any(|meant| reference::equal(product, meant.as_bytes(), version));
                prop_assert!(is_meant || firmware.stone, "neither meant by its group nor a stone: seed {}", seed);
                if let Some(from) = &firmware.from {
                    let reaches = reference::compare(product, &ask.version, from.as_bytes());
                    prop_assert!(reaches.is_some_and(|order| order.is_ge()), "past a stepping stone: seed {}", seed);
                }
            }
        }
    }

    /// Opening the next wave, or adding a device, never withdraws what was granted.
    #[test]
    fn what_was_granted_is_never_withdrawn(seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let mut later = world.clone();
        for product in &mut later.products {
            let fresh = draw::serials(product.serial_scheme).iter().find(|serial| {
                !product.placeholders.contains(&(**serial).to_owned()) && product.devices.iter().all(|device| device.serial != **serial)
            });
            product.devices.extend(fresh.map(|serial| Device {
                serial: (*serial).into(), state: "verified", group: "default".into(), pin: None, cap: None, entered_at: draw::NOW,
                claim_expires_at: None,
                download_expires_at: None, penalty: None,
            }));
            for rollout in product.groups.iter_mut().filter_map(|group| group.rollout.as_mut()).filter(|rollout| rollout.state != "draft") {
                let threshold = rollout.waves.iter().filter_map(|wave| wave.threshold).max().max(Some(draw.next()));
                if let Some(next) = rollout.waves.iter_mut().find(|wave| !wave.open) {
                    (next.open, next.threshold) = (true, threshold);
                }
            }
        }
        let (store, opened) = (WorldStore::new(&world), WorldStore::new(&later));
        for _ in 0..20 {
            let ask = draw::ask(draw, &world);
            let (before, after) = (store.answer(&ask), opened.answer(&ask));
            let of_rollout = store.decide(&ask, |decision| decision.firmware_offer().is_some() && decision.rollout.is_some());
            if of_rollout {
                // What must be claimed first may be less: a wave for all needs no slot (R5).
                let (claimed, claims) = (before.effect, after.effect);
                prop_assert!(claims == claimed || claims.is_none(), "{:?} became {:?}: seed {}", claimed, claims, seed);
                prop_assert_eq!(Answer { effect: None, ..before }, Answer { effect: None, ..after }, "seed {}", seed);
            }
        }
    }

    /// Any bytes in, one verdict out.
    #[test]
    fn a_decision_is_total(
        seed in any::<u64>(), key in any::<Vec<u8>>(), serial in any::<Vec<u8>>(), version in any::<Vec<u8>>(), hardware in any::<Vec<u8>>(),
        hex in any::<Vec<u8>>(), now in any::<i64>(), long in 0usize..4_096,
    ) {
        let draw = &mut Draw(seed);
        let world = draw::world(draw);
        let store = WorldStore::new(&world);
        let good = draw::ask(draw, &world);
        let long = version.repeat(long);
        for (key, serial, version) in [(&key, &serial, &version), (&good.key, &serial, &version), (&good.key, &good.serial, &version), (&good.key, &good.serial, &long)] {
            let digest = SentDigest::parse(otagate::DigestKind::Md5, &hex);
            let ask = CheckIn { version, hardware: &hardware, digest, ..CheckIn::new(key, serial) };
            let found = otagate::store::fetch(&store, &ask).unwrap();
            let decision = otagate::decide(&found.facts(), &ask, Timestamp::from_millis(now), &mut NoTrace);
            prop_assert!([200, 304, 401, 404].contains(&decision.status()));
            prop_assert!(decision.retry_after_secs.is_none_or(|secs| secs <= otagate::RETRY_AFTER_SECS_MAX));
            let mut recorder = otagate::Recorder::default();
            otagate::decide(&found.facts(), &ask, Timestamp::from_millis(now), &mut recorder);
            prop_assert!(recorder.to_string().bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()), "unescaped");
        }
    }
}
