//! An index beside the memory store: what both say, and whether it is the same.

use super::draw::NOW;
use otagate::*;
use std::collections::BTreeMap;

pub fn json(decision: &Decision<'_>) -> String {
    serde_json::to_string(decision).unwrap()
}

/// What the members of a group say of themselves. A scan does not know where a device was before.
pub fn scanned(snapshot: &Snapshot, product: &str, group: Option<&str>) -> Vec<DeviceSpec> {
    let mut found = Vec::new();
    snapshot.scan(product, group, |member| {
        found.push(DeviceSpec {
            serial: member.serial().to_string(),
            state: member.state(),
            group: member.group().map(GroupId::to_string).unwrap_or_default(),
            entered_at: member.entered_at(),
            pin: member.pin().map(|version| version.to_string()),
            cap: member.cap().map(|version| version.to_string()),
            version: member.version().map(|version| version.to_string()),
            hardware: member.hardware().map(|hardware| hardware.to_string()),
            earlier_groups: Vec::new(),
        });
    });
    found.sort_by(|a, b| a.serial.cmp(&b.serial));
    found
}

pub type Counts = BTreeMap<(String, String, DeviceState), u64>;

pub fn counted(spec: &FleetSpec) -> Counts {
    let mut counts = Counts::new();
    for entry in &spec.products {
        for device in &entry.devices {
            *counts.entry((entry.product.id.clone(), device.group.clone(), device.state)).or_default() += 1;
        }
    }
    counts
}

/// The counts of the index; a row that stands twice, or for nobody, shows as a count that no fleet has.
pub fn counts(snapshot: &Snapshot) -> Counts {
    let mut counts = Counts::new();
    for row in snapshot.counts() {
        let place = (row.product.to_string(), row.group.to_string(), row.state);
        if counts.insert(place.clone(), row.devices).is_some() || row.devices == 0 {
            counts.insert(place, u64::MAX);
        }
    }
    counts
}

/// Everything that can be read off a snapshot, held against the specification that it should be.
pub fn same_content(snapshot: &Snapshot, spec: &FleetSpec) -> Result<(), String> {
    let ours = snapshot.spec();
    if ours != *spec {
        let devices = |spec: &FleetSpec| -> Vec<(String, DeviceSpec)> {
            let all = spec.products.iter();
            all.flat_map(|entry| entry.devices.iter().map(|device| (entry.product.id.clone(), device.clone())))
                .collect()
        };
        let (ours_devices, theirs) = (devices(&ours), devices(spec));
        let other = ours_devices.iter().zip(&theirs).find(|(a, b)| a != b);
        let (lens, revisions) = ((ours_devices.len(), theirs.len()), (ours.revision, spec.revision));
        return Err(format!("another fleet; revisions {revisions:?}, devices {lens:?}, first that differs {other:?}"));
    }
    if snapshot.revision() != spec.revision {
        return Err(format!("revision {} is not {}", snapshot.revision(), spec.revision));
    }
    let devices: usize = spec.products.iter().map(|entry| entry.devices.len()).sum();
    if snapshot.devices_len() != devices {
        return Err(format!("{} devices are not {devices}", snapshot.devices_len()));
    }
    if counts(snapshot) != counted(spec) {
        return Err(format!("counts {:?}\nare not {:?}", counts(snapshot), counted(spec)));
    }
    for entry in &spec.products {
        let mut members = BTreeMap::<&str, Vec<DeviceSpec>>::from([("no such group", vec![])]);
        members.extend(entry.groups.iter().map(|group| (group.id.as_str(), vec![])));
        let mut all = Vec::new();
        for device in &entry.devices {
            let plain = DeviceSpec { earlier_groups: Vec::new(), ..device.clone() };
            members.entry(&device.group).or_default().push(plain.clone());
            all.push(plain);
        }
        // A scan looks at every device: of very many groups, some are enough.
        let step = members.len().div_ceil(50);
        let members = members.into_iter().step_by(step).map(|(group, list)| (Some(group), list));
        for (group, expected) in members.chain([(None, all)]) {
            let found = scanned(snapshot, &entry.product.id, group);
            if found != expected {
                let id = &entry.product.id;
                return Err(format!("a scan of `{id}`, {group:?} finds {} members: {found:?}", found.len()));
            }
        }
    }
    if !scanned(snapshot, "no such product", None).is_empty() {
        return Err("a product that does not exist has members".into());
    }
    Ok(())
}

pub fn lamp() -> (ProductId, ProductSpec) {
    let product = ProductSpec {
        id: "lamp".into(),
        keys: vec![ApiKey::new(KeyHash::of(b"lamp-key").unwrap())],
        versions: VersionRulesSpec { scheme: VersionScheme::Dotted, ..Default::default() },
        new_devices_max: 100_000,
        ..Default::default()
    };
    (ProductId::new("lamp").unwrap(), product)
}

pub fn firmware(version: &str) -> FirmwareSpec {
    FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 1,
            digests: Digests::blake3_of(version.as_bytes()),
            locator: version.into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// An index and its twin, to which the same happens.
pub struct Both {
    pub index: Index,
    pub store: MemoryStore,
    pub reader: Reader,
}

impl Both {
    pub fn new(product: ProductSpec) -> Self {
        let id = ProductId::new(&product.id).unwrap();
        let both = Self::of(Fleet::default());
        let group = |id: &str, firmware: Option<&str>| GroupSpec {
            id: id.into(),
            firmware: firmware.map(Into::into),
            ..Default::default()
        };
        let groups = [group("default", Some("1.2")), group("a", Some("1.1")), group("b", None), group("é", Some("9"))];
        let list = ["1.1", "1.2"].map(firmware);
        let mut batch = vec![Change::PutProduct { product }];
        batch.extend(list.into_iter().map(|firmware| Change::PutFirmware { product: id.clone(), firmware }));
        batch.extend(groups.into_iter().map(|group| Change::PutGroup { product: id.clone(), group }));
        both.apply(&batch);
        both
    }

    pub fn of(fleet: Fleet) -> Self {
        let index = Index::new(&fleet);
        Self { reader: index.reader(), index, store: MemoryStore::new(fleet) }
    }

    /// Applies it to both, in batches of some size, and holds the whole fleets against each other.
    pub fn apply(&self, changes: &[Change]) {
        for batch in changes.chunks(7_919) {
            let (ours, theirs) = (self.index.apply(batch), self.store.apply(batch));
            assert!(theirs.is_ok() && ours == theirs, "index {ours:?}\nstore {theirs:?}\nof {} changes", batch.len());
        }
        same_content(&self.index.snapshot(), &self.store.read(Fleet::spec)).unwrap();
    }

    pub fn agree_about<'s>(&mut self, serials: impl IntoIterator<Item = &'s String>) {
        for serial in serials {
            let ask = CheckIn { version: b"1.1", ..CheckIn::new(b"lamp-key", serial.as_bytes()) };
            let now = Timestamp::from_millis(NOW);
            let theirs = store::answer(&self.store, &ask, now, &mut NoTrace, json).unwrap();
            assert_eq!(json(&self.reader.decide(&ask, now, &mut NoTrace)), theirs, "`{serial}`");
        }
    }

    pub fn bytes(&self) -> usize {
        self.index.snapshot().bytes().total()
    }
}
