//! Nothing is served by a store that fails, nor from facts that cannot be; and what a store is asked tells nobody apart.

mod later;

use later::Later;
use otagate::store::{
    self, Fault, Garbage, GroupRecord, Lent, MemoryStore, MemoryView, Registered, StandingRecord, Store, View,
};
use otagate::{
    ApiKey, ArtifactSpec, CanonicalSerial, Catalogue, Change, CheckIn, Decision, Device, DeviceSpec, DeviceState,
    Digests, FirmwareSpec, FleetSpec, Group, GroupSpec, KeyHash, Lease, NoTrace, Policy, Product, ProductEntry,
    ProductFleetSpec, ProductId, ProductSpec, Revision, Timestamp, VersionRulesSpec, VersionScheme,
};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

const SECRET: &[u8] = b"lamp-secret";

/// One product, one device, one firmware: what the check-in of `known` is served from.
fn lamps() -> ProductFleetSpec {
    let key = ApiKey::new(KeyHash::of(SECRET).unwrap());
    let artifact = ArtifactSpec {
        size_bytes: 9,
        digests: Digests::blake3_of(b"2"),
        locator: "2.bin".into(),
        ..ArtifactSpec::default()
    };
    let verified = |serial: &str| DeviceSpec {
        serial: serial.into(),
        state: DeviceState::Verified,
        group: "default".into(),
        ..DeviceSpec::default()
    };
    let versions = VersionRulesSpec { scheme: VersionScheme::Dotted, ..VersionRulesSpec::default() };
    let group = |id: &str| GroupSpec { id: id.into(), firmware: Some("2".into()), ..GroupSpec::default() };
    ProductFleetSpec {
        product: ProductSpec { id: "lamp".into(), keys: vec![key], versions, ..ProductSpec::default() },
        firmware: vec![FirmwareSpec { version: "2".into(), artifacts: vec![artifact], ..FirmwareSpec::default() }],
        groups: vec![group("default"), group("other")],
        devices: vec![verified("SN-1"), verified("SN-2")],
    }
}

fn known() -> CheckIn<'static> {
    CheckIn { version: b"1", ..CheckIn::new(SECRET, b"SN-1") }
}

fn stranger() -> CheckIn<'static> {
    CheckIn::new(b"guess", b"SN-1")
}

const NOW: Timestamp = Timestamp::from_millis(0);

/// What a store is asked, in words; and the call at which it fails, if it does.
#[derive(Default)]
struct Watched {
    memory: MemoryStore,
    fails_at: Option<usize>,
    calls: Mutex<Vec<String>>,
}

struct WatchedView<'s> {
    store: &'s Watched,
    view: MemoryView<'s>,
}

#[derive(Debug, thiserror::Error)]
#[error("connection lost at call {0}")]
struct Lost(usize);

impl Watched {
    fn new(fails_at: Option<usize>) -> Self {
        let fleet = FleetSpec { revision: Revision(1), products: vec![lamps()] }.build().unwrap();
        Self { memory: MemoryStore::new(fleet), fails_at, calls: Mutex::default() }
    }

    fn call(&self, what: String) -> Result<(), Lost> {
        let mut calls = self.calls.lock().unwrap();
        calls.push(what);
        if self.fails_at == Some(calls.len()) { Err(Lost(calls.len())) } else { Ok(()) }
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

impl Store for Watched {
    type Error = Lost;
    type View<'s> = WatchedView<'s>;

    fn view(&self) -> Result<WatchedView<'_>, Lost> {
        self.call("view".into())?;
        let Ok(view) = self.memory.view();
        Ok(WatchedView { store: self, view })
    }

    fn register(&self, _: &ProductId, _: &CanonicalSerial, _: Timestamp) -> Result<Registered, Lost> {
        unreachable!("nobody registers here")
    }
}

impl View for WatchedView<'_> {
    type Error = Lost;

    fn revision(&self) -> Result<Revision, Lost> {
        self.store.call("revision".into())?;
        let Ok(revision) = self.view.revision();
        Ok(revision)
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, Lost> {
        self.store.call("key".into())?;
        let Ok(found) = self.view.product_of_key(key);
        Ok(found)
    }

    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, Lost> {
        self.store.call(format!("device {product:?} {serial}"))?;
        let Ok(found) = self.view.device(product, serial);
        Ok(found)
    }

    fn group(
        &self,
        product: &Product,
        device: &Device,
        lease: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, Lost> {
        self.store.call(format!("group {} {}", product.id(), device.serial()))?;
        let Ok(found) = self.view.group(product, device, lease);
        Ok(found)
    }

    fn lease(&self, product: &Product, device: &Device) -> Result<Option<Lent<'_, Lease>>, Lost> {
        self.store.call(format!("lease {} {}", product.id(), device.serial()))?;
        Ok(None)
    }
}

/// What the device is told, and what the store was asked.
type Told = (Result<String, String>, Vec<String>);

fn tell(fails_at: Option<usize>, ask: &CheckIn<'_>) -> Told {
    let store = Watched::new(fails_at);
    let told = store::answer(&store, ask, NOW, &mut NoTrace, |decision| serde_json::to_string(decision).unwrap());
    (told.map_err(only_of_store), store.calls())
}

async fn tell_later(fails_at: Option<usize>, ask: &CheckIn<'_>) -> Told {
    let store = Later(Arc::new(Watched::new(fails_at)));
    let json = |decision: &Decision<'_>| serde_json::to_string(decision).unwrap();
    let told = store::answer_async(&store, ask, NOW, &mut NoTrace, json).await;
    (told.map_err(only_of_store), store.0.calls())
}

fn only_of_store(fault: Fault<Lost>) -> String {
    match fault {
        Fault::Store(Lost(call)) => format!("lost at {call}"),
        other => panic!("a store that fails gives no facts: {other}"),
    }
}

#[test]
fn the_look_ups_are_key_device_group_lease_and_stop_at_the_first_gap() {
    let (told, calls) = tell(None, &known());
    assert!(told.unwrap().contains("\"serve\""));
    let device = r#"device ProductId("lamp") SN-1"#;
    assert_eq!(calls, ["view", "revision", "key", device, "lease lamp SN-1", "group lamp SN-1"]);

    // An unknown key takes one look-up of a device, as an unknown serial does.
    assert_eq!(tell(None, &stranger()).1, ["view", "revision", "key", r#"device ProductId("\u{1}") SN-1"#]);
    // So does a serial that is none: time does not tell a good key from a bad one.
    for bad in [&b""[..], b"000", b"a\nb"] {
        let bad = CheckIn { serial: bad, ..known() };
        assert_eq!(tell(None, &bad).1, ["view", "revision", "key", r#"device ProductId("\u{1}") nobody"#], "{bad:?}");
    }
    let unknown = CheckIn { serial: b"SN-9", ..known() };
    assert_eq!(tell(None, &unknown).1, ["view", "revision", "key", r#"device ProductId("lamp") SN-9"#]);
    let long = [b'k'; otagate::KEY_BYTES_MAX + 1];
    assert_eq!(
        tell(None, &CheckIn { key: &long, ..known() }).1,
        ["view", "revision", r#"device ProductId("\u{1}") SN-1"#]
    );
    // Whoever is not verified is stopped by question 4, so nothing more is looked up: a blocked device takes as long as an unknown one.
    let store = Watched::new(None);
    let block = Change::SetDeviceState {
        product: ProductId::new("lamp").unwrap(),
        serial: "SN-1".into(),
        state: DeviceState::Blocked,
    };
    store.memory.apply(&[block]).unwrap();
    let told = store::answer(&store, &known(), NOW, &mut NoTrace, |decision| decision.reason.name()).unwrap();
    assert_eq!(told, "device-blocked");
    assert_eq!(store.calls(), ["view", "revision", "key", device]);
    let unreadable = CheckIn { serial: b"\xff", ..stranger() };
    assert_eq!(tell(None, &unreadable).1, ["view", "revision", "key", r#"device ProductId("\u{1}") nobody"#]);
}

#[test]
fn a_store_that_fails_at_any_call_serves_nobody() {
    for ask in [known(), stranger()] {
        let calls = tell(None, &ask).1.len();
        for call in 1..=calls {
            assert_eq!(tell(Some(call), &ask).0, Err(format!("lost at {call}")));
        }
        assert!(tell(Some(calls + 1), &ask).0.is_ok());
    }
}

#[tokio::test]
async fn an_asynchronous_store_is_asked_the_same_and_told_the_same() {
    let unknown = CheckIn { serial: b"SN-9", ..known() };
    let malformed = CheckIn { serial: b"\0", ..known() };
    for ask in [known(), stranger(), unknown, malformed] {
        let calls = tell(None, &ask).1.len();
        for fails_at in (1..=calls).map(Some).chain([None]) {
            assert_eq!(tell_later(fails_at, &ask).await, tell(fails_at, &ask), "{ask:?} {fails_at:?}");
        }
    }
}

/// A store of hand-made facts, whether they belong together or not.
struct Facts {
    product: Product,
    device: Device,
    group: Group,
    catalogue: Catalogue,
}

impl Store for Facts {
    type Error = Infallible;
    type View<'s> = &'s Facts;

    fn view(&self) -> Result<&Facts, Infallible> {
        Ok(self)
    }

    fn register(&self, _: &ProductId, _: &CanonicalSerial, _: Timestamp) -> Result<Registered, Infallible> {
        unreachable!("nobody registers here")
    }
}

impl View for &Facts {
    type Error = Infallible;

    fn revision(&self) -> Result<Revision, Infallible> {
        Ok(Revision(1))
    }

    fn product_of_key(&self, _: &KeyHash) -> Result<Option<Lent<'_, Product>>, Infallible> {
        Ok(Some((&self.product).into()))
    }

    fn device(&self, _: &ProductId, _: &str) -> Result<Option<Lent<'_, Device>>, Infallible> {
        Ok(Some((&self.device).into()))
    }

    fn group(&self, _: &Product, _: &Device, _: Option<&Lease>) -> Result<Option<GroupRecord<'_>>, Infallible> {
        let (group, catalogue) = ((&self.group).into(), (&self.catalogue).into());
        Ok(Some(GroupRecord { group, catalogue, standing: StandingRecord::default() }))
    }
}

#[test]
fn facts_that_cannot_be_are_a_failure_of_the_store() {
    let facts = |change: &dyn Fn(&mut Facts, &ProductEntry)| {
        let entry = lamps().build().unwrap();
        let (device, group) = (entry.device("SN-1").unwrap().clone(), entry.group("default").unwrap().clone());
        let mut facts = Facts { product: entry.product().clone(), device, group, catalogue: entry.catalogue().clone() };
        change(&mut facts, &entry);
        facts
    };
    let device = |spec: DeviceSpec, of: &ProductEntry| {
        DeviceSpec { serial: "SN-1".into(), group: "default".into(), state: DeviceState::Verified, ..spec }
            .build(of.product())
            .unwrap()
    };
    let group =
        |spec: GroupSpec, of: &ProductEntry| GroupSpec { id: "default".into(), ..spec }.build(of.product()).unwrap();
    let exact = |of: &ProductEntry| {
        ProductSpec { versions: VersionRulesSpec::default(), ..of.product().spec() }.build().unwrap()
    };
    type Row<'r> = (Option<Garbage>, &'r dyn Fn(&mut Facts, &ProductEntry));
    let rows: &[Row<'_>] = &[
        (None, &|_, _| {}),
        (Some(Garbage::ForeignKey), &|facts, of| {
            facts.product = ProductSpec { keys: Vec::new(), ..of.product().spec() }.build().unwrap()
        }),
        (Some(Garbage::ForeignDevice), &|facts, of| facts.device = of.device("SN-2").unwrap().clone()),
        (Some(Garbage::ForeignGroup), &|facts, of| facts.group = of.group("other").unwrap().clone()),
        (Some(Garbage::PinAboveCap), &|facts, of| {
            facts.device = device(DeviceSpec { pin: Some("2".into()), ..DeviceSpec::default() }, of);
            facts.group = group(GroupSpec { cap: Some("1".into()), ..GroupSpec::default() }, of);
        }),
        (Some(Garbage::LimitWithoutOrder), &|facts, of| {
            facts.group = group(GroupSpec { policy: Policy::ForwardOnly, ..GroupSpec::default() }, of);
            facts.product = exact(of);
        }),
        (Some(Garbage::LimitWithoutOrder), &|facts, of| {
            facts.device = device(DeviceSpec { cap: Some("1".into()), ..DeviceSpec::default() }, of);
            facts.product = exact(of);
        }),
    ];
    for (garbage, change) in rows {
        let told = store::answer(&facts(change), &known(), NOW, &mut NoTrace, |decision| decision.status());
        match (told, garbage) {
            (Ok(status), None) => assert_eq!(status, 200, "what belongs together is served"),
            (Err(Fault::Garbage(found)), Some(garbage)) => assert_eq!(found, *garbage),
            (told, garbage) => panic!("{garbage:?} was told {told:?}"),
        }
    }
}
