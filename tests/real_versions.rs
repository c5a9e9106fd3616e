//! Version strings of the real world: none panics, none loops, and our semver grammar is that of the `semver` crate where both can read.

use otagate::*;
use proptest::prelude::*;

fn rules(scheme: VersionScheme, prefixes: &[&str]) -> VersionRules {
    let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    VersionRulesSpec { scheme, prefixes, ..Default::default() }.build().unwrap()
}

fn real() -> Vec<&'static str> {
    let lines =
        include_str!("vectors/real_versions.txt").lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
    assert!(lines.len() >= 300, "{}", lines.len());
    lines
}

const SCHEMES: [VersionScheme; 3] = [VersionScheme::Exact, VersionScheme::Semver, VersionScheme::Dotted];

/// Serve what you are told, report it back, get 304: a fleet that is served the same image for ever was somebody's bill.
#[test]
fn a_device_that_reports_what_it_was_served_is_up_to_date() {
    let mut served = [0, 0, 0];
    for (count, scheme) in served.iter_mut().zip(SCHEMES) {
        for prefixes in [&[][..], &["v"], &["v", "fw-", "release-", "version "]] {
            for version in real() {
                *count += usize::from(serve_and_report_back(scheme, prefixes, version));
            }
        }
    }
    println!("served under exact, semver, dotted: {served:?}");
    assert!(served[0] > 900 && served[1] > 150 && served[2] > 150, "{served:?}");
}

/// Whether the version can be a firmware's at all.
fn serve_and_report_back(scheme: VersionScheme, prefixes: &[&str], version: &str) -> bool {
    let digests = Digests::blake3_of(b"image");
    let artifact = ArtifactSpec { size_bytes: 5, digests, locator: "image".into(), ..Default::default() };
    let product = ProductSpec {
        id: "p".into(),
        keys: vec![ApiKey::new(KeyHash::of(b"k").unwrap())],
        versions: rules(scheme, prefixes).spec().clone(),
        ..Default::default()
    };
    let spec = FleetSpec {
        revision: Revision(1),
        products: vec![ProductFleetSpec {
            product,
            firmware: vec![FirmwareSpec { version: version.into(), artifacts: vec![artifact], ..Default::default() }],
            groups: vec![GroupSpec { id: "g".into(), firmware: Some(version.into()), ..Default::default() }],
            devices: vec![DeviceSpec {
                serial: "s".into(),
                state: DeviceState::Verified,
                group: "g".into(),
                ..Default::default()
            }],
        }],
    };
    let Ok(fleet) = spec.build() else { return false };
    let store = MemoryStore::new(fleet);
    let told = |reported: &[u8]| {
        let ask = CheckIn { version: reported, ..CheckIn::new(b"k", b"s") };
        let show = |decision: &Decision<'_>| {
            (decision.status(), decision.firmware_offer().map(|offer| offer.firmware.version().text().to_owned()))
        };
        store::answer(&store, &ask, Timestamp::from_millis(0), &mut NoTrace, show).unwrap()
    };
    let (status, offered) = told(b"");
    assert_eq!(status, 200, "{scheme:?} {prefixes:?} {version:?}");
    let offered = offered.unwrap();
    assert_eq!(told(offered.as_bytes()).0, 304, "{scheme:?} {prefixes:?} {version:?}");
    // Clients store the version in lower case.
    assert_eq!(told(offered.to_ascii_lowercase().as_bytes()).0, 304, "{scheme:?} {prefixes:?} {version:?}");
    true
}

#[test]
fn real_versions_under_every_scheme_obey_the_laws() {
    let versions = real();
    for scheme in SCHEMES {
        let rules = rules(scheme, &["v"]);
        let mut readable: Vec<_> = versions.iter().map(|version| rules.read(version.as_bytes())).collect();
        readable.retain(|reading| !matches!(reading, Reading::Unreadable(_)));
        for a in &readable {
            for b in &readable {
                let (order, back) = (rules.order(*a, *b), rules.order(*b, *a));
                assert_eq!(order, back.map(std::cmp::Ordering::reverse));
                assert!(!rules.equal(*a, *b) || order.is_none_or(std::cmp::Ordering::is_eq), "{a:?} {b:?}");
            }
        }
        if scheme.has_order() {
            // Sorting with an order that is not total would leave a pair the wrong way round.
            readable.sort_by(|a, b| rules.order(*a, *b).unwrap());
            for (index, a) in readable.iter().enumerate() {
                assert!(readable[index..].iter().all(|b| rules.order(*a, *b).unwrap().is_le()));
            }
        }
    }
}

/// semver.org's own lists of what is valid and what is not stand among the real versions.
#[test]
fn our_grammar_reads_what_the_semver_crate_reads() {
    let rules = rules(VersionScheme::Semver, &[]);
    for version in real() {
        let theirs = semver::Version::parse(version).is_ok();
        let ours = matches!(rules.read(version.as_bytes()), Reading::Readable(_));
        // The crate holds numbers of 64 bits; semver.org sets no limit.
        let too_large = version.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 19);
        assert!(ours == theirs || too_large && ours, "{version:?}: ours {ours}, theirs {theirs}");
    }
}

fn semver_like() -> impl Strategy<Value = String> {
    let number = prop_oneof!["0", "[1-9][0-9]{0,2}", "[0-9]{1,3}"];
    let identifier = prop_oneof!["[0-9]{1,3}", "[a-z-]{1,3}", "[0-9a-z-]{0,3}"];
    let list = prop::collection::vec(identifier, 0..4).prop_map(|parts| parts.join("."));
    (prop::collection::vec(number, 1..5), prop::option::of(list.clone()), prop::option::of(list)).prop_map(
        |(core, pre, build)| {
            let pre = pre.map(|pre| format!("-{pre}")).unwrap_or_default();
            format!("{}{pre}{}", core.join("."), build.map(|build| format!("+{build}")).unwrap_or_default())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn our_semver_order_is_that_of_the_semver_crate(a in semver_like(), b in semver_like()) {
        let rules = rules(VersionScheme::Semver, &[]);
        let (ours_a, ours_b) = (rules.read(a.as_bytes()), rules.read(b.as_bytes()));
        let (theirs_a, theirs_b) = (semver::Version::parse(&a), semver::Version::parse(&b));
        prop_assert_eq!(matches!(ours_a, Reading::Readable(_)), theirs_a.is_ok(), "{}", a);
        if let (Ok(theirs_a), Ok(theirs_b)) = (theirs_a, theirs_b) {
            prop_assert_eq!(rules.order(ours_a, ours_b), Some(theirs_a.cmp_precedence(&theirs_b)), "{} {}", a, b);
        }
    }

    #[test]
    fn equality_is_an_equivalence_and_order_total_on_any_bytes(
        scheme in prop::sample::select(&SCHEMES[..]),
        texts in prop::array::uniform3(prop_oneof![semver_like().prop_map(String::into_bytes), "[vV]?[0-9]{1,2}(\\.[0-9]{0,2}){0,3}[ \t]?".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..6)]),
    ) {
        let rules = rules(scheme, &["v"]);
        let [a, b, c] = texts.each_ref().map(|text| rules.read(text));
        prop_assert!(rules.equal(a, a));
        prop_assert_eq!(rules.equal(a, b), rules.equal(b, a));
        prop_assert!(!(rules.equal(a, b) && rules.equal(b, c)) || rules.equal(a, c));
        if let (Some(ab), Some(bc), Some(ac)) = (rules.order(a, b), rules.order(b, c), rules.order(a, c)) {
            prop_assert_eq!(rules.order(b, a), Some(ab.reverse()));
            prop_assert!(!(ab.is_le() && bc.is_le()) || ac.is_le());
        }
    }
}
