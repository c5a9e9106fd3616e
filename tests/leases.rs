//! A lease fixes what a device is downloading, and nothing else: the table says when it holds.

use otagate::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);
/// The digest of the image that is leased, and of the base of the delta.
const IMAGE: &[u8] = b"0101010101010101010101010101010101010101010101010101010101010101";
const OTHER: &[u8] = b"0202020202020202020202020202020202020202020202020202020202020202";

fn spec() -> ProductFleetSpec {
    let artifact = |byte: u8, locator: &str| ArtifactSpec {
        size_bytes: 9,
        digests: Digests { blake3: Some(Hex([byte; 32])), ..Default::default() },
        locator: locator.into(),
        ..Default::default()
    };
    let firmware = |version: &str, byte: u8| FirmwareSpec {
        version: version.into(),
        artifacts: vec![artifact(byte, version)],
        ..Default::default()
    };
    let base = Digests { blake3: Some(Hex([2; 32])), ..Default::default() };
    let delta = ArtifactSpec { from: Some("1.0.0".into()), base, ..artifact(3, "delta") };
    ProductFleetSpec {
        product: ProductSpec {
            id: "p".into(),
            keys: vec![ApiKey::new(KeyHash::of(b"k").unwrap())],
            versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
            ..Default::default()
        },
        firmware: vec![
            FirmwareSpec { artifacts: vec![artifact(1, "2.0.0"), delta], ..firmware("2.0.0", 1) },
            firmware("1.5.0", 5),
        ],
        // The baseline is another by now: only the lease can serve 2.0.0.
        groups: vec![
            GroupSpec { id: "g".into(), firmware: Some("1.5.0".into()), ..Default::default() },
            GroupSpec { id: "h".into(), firmware: Some("1.5.0".into()), ..Default::default() },
        ],
        devices: vec![DeviceSpec {
            serial: "s".into(),
            state: DeviceState::Verified,
            group: "g".into(),
            ..Default::default()
        }],
    }
}

fn lease() -> Lease {
    Lease {
        group: GroupId::new("g").unwrap(),
        version: b"1.0.0".to_vec(),
        firmware: "2.0.0".into(),
        artifact: Hex([1; 32]),
        rollout: None,
        attempt: None,
        expires_at: NOW.plus_secs(1),
    }
}

/// What is served, and whether by the lease.
fn told(spec: &ProductFleetSpec, lease: Lease, ask: &CheckIn<'_>, now: Timestamp) -> (Reason, Option<(String, bool)>) {
    let store = MemoryStore::new(FleetSpec { revision: Revision(1), products: vec![spec.clone()] }.build().unwrap());
    let view = store::Store::view(&store).unwrap();
    let mut found = store::fetch(&view, ask).unwrap();
    found.lend(Some(lease.into()));
    let decision = decide(&found.facts(), ask, now, &mut NoTrace);
    (decision.reason, decision.firmware_offer().map(|offer| (offer.artifact.locator().to_owned(), offer.leased)))
}

fn ask() -> CheckIn<'static> {
    CheckIn { version: b"1.0.0", ..CheckIn::new(b"k", b"s") }
}

fn serves(locator: &str, leased: bool) -> (Reason, Option<(String, bool)>) {
    (Reason::Serve, Some((locator.to_owned(), leased)))
}

#[test]
fn a_lease_holds_for_the_device_and_version_it_was_made_for() {
    assert_eq!(told(&spec(), lease(), &ask(), NOW), serves("2.0.0", true));
    // The same version in another spelling.
    assert_eq!(told(&spec(), lease(), &CheckIn { version: b" 1.0.0+build ", ..ask() }, NOW), serves("2.0.0", true));
    // A rollout that was cut, a window that shut: questions 6 to 11 were answered.
    let mut shut = spec();
    shut.groups[0].window = Some(Window::parse(&["Thu 10:00-10:01"]).unwrap());
    shut.groups[0].downloads_max = Some(0);
    assert_eq!(told(&shut, lease(), &ask(), NOW), serves("2.0.0", true));
}

#[test]
fn a_lease_ends_where_it_must() {
    let fresh = serves("1.5.0", false);
    assert_eq!(told(&spec(), lease(), &ask(), NOW.plus_secs(1)), fresh, "at its end");
    assert_eq!(
        told(&spec(), lease(), &CheckIn { version: b"1.0.1", ..ask() }, NOW),
        fresh,
        "another version is reported"
    );
    assert_eq!(
        told(&spec(), Lease { firmware: "2.5.0".into(), ..lease() }, &ask(), NOW),
        fresh,
        "the firmware is gone"
    );
    assert_eq!(
        told(&spec(), Lease { artifact: Hex([9; 32]), ..lease() }, &ask(), NOW),
        fresh,
        "the artifact was replaced"
    );

    let mut denied = spec();
    denied.firmware[0].denied = true;
    assert_eq!(told(&denied, lease(), &ask(), NOW), fresh, "a denied firmware is served to nobody");
    let mut hardware = spec();
    hardware.firmware[0].artifacts[0].hardware = vec!["rev-b".into()];
    assert_eq!(
        told(&hardware, lease(), &CheckIn { hardware: b"rev-a", ..ask() }, NOW),
        fresh,
        "it fits another hardware now"
    );
    assert_eq!(told(&hardware, lease(), &CheckIn { hardware: b"rev-b", ..ask() }, NOW), serves("2.0.0", true));
}

/// A device was moved out of the beta group in the middle of a download, and got the beta all the same.
#[test]
fn a_lease_does_not_follow_a_device_into_another_group() {
    let mut moved = spec();
    moved.devices[0].group = "h".into();
    assert_eq!(told(&moved, lease(), &ask(), NOW), serves("1.5.0", false));
}

/// The version text of a nightly never changes; only the digest tells that it is installed. It was flashed again and again until the lease ended.
#[test]
fn a_device_that_is_there_by_its_digest_is_not_served_by_its_lease() {
    let sent = |hex| CheckIn { digest: SentDigest::parse(DigestKind::Blake3, hex), ..ask() };
    assert_eq!(
        told(&spec(), lease(), &sent(IMAGE), NOW),
        serves("1.5.0", false),
        "it is there, and the questions are asked anew"
    );
    // A leased delta is not for a device whose base is another.
    let delta = Lease { artifact: Hex([3; 32]), ..lease() };
    assert_eq!(told(&spec(), delta.clone(), &sent(OTHER), NOW), serves("delta", true));
    let mut elsewhere = spec();
    elsewhere.firmware[0].artifacts[1].base = Digests { blake3: Some(Hex([7; 32])), ..Default::default() };
    assert_eq!(told(&elsewhere, delta, &sent(OTHER), NOW), serves("1.5.0", false));
}

#[test]
fn questions_one_to_five_are_asked_every_time() {
    for (state, reason) in [
        (DeviceState::New, Reason::DeviceNew),
        (DeviceState::Blocked, Reason::DeviceBlocked),
        (DeviceState::Disabled, Reason::DeviceDisabled),
        (DeviceState::Quota, Reason::DeviceQuota),
    ] {
        let mut spec = spec();
        spec.devices[0].state = state;
        assert_eq!(told(&spec, lease(), &ask(), NOW), (reason, None));
    }
    let mut revoked = spec();
    revoked.product.keys[0].revoked = true;
    assert_eq!(told(&revoked, lease(), &ask(), NOW), (Reason::KeyRevoked, None));
    let mut gone = spec();
    gone.groups.remove(0);
    assert_eq!(told(&gone, lease(), &ask(), NOW), (Reason::GroupMissing, None));
}
