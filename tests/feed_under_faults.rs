//! A follower over a source that fails, repeats itself, comes late, forgets and is set back: after each look the index is what the source was at exactly that
//! revision, and in the end what it is. Rows that a load would refuse are kept out by their keys, and nothing else is.

mod twin;

use otagate::feed::{AsyncFeed, Changes, Feed, Follower, Loading, Patch, Took};
use otagate::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use twin::change::{change, fleet};
use twin::draw::Draw;

type Rows = BTreeMap<RowKey, Row>;
type Values = BTreeMap<RowKey, RowValue>;

/// A fleet in rows, with a log of what each revision touched. A clone of it is a backup.
#[derive(Clone)]
struct Source {
    /// What an index is to be.
    fleet: Fleet,
    /// What stood there, and what an index was to be, by revision.
    rows: BTreeMap<u64, Arc<Rows>>,
    fleets: BTreeMap<u64, Fleet>,
    log: BTreeMap<u64, BTreeSet<RowKey>>,
    /// The log knows what came after it.
    log_from: u64,
}

fn values(fleet: &Fleet) -> Values {
    let mut values = Values::new();
    let mut put = |row: Row| drop(values.insert(row.key, row.value.unwrap()));
    for entry in fleet.spec().products {
        let id = entry.product.id.clone();
        put(Row::product(entry.product));
        entry.firmware.into_iter().for_each(|spec| put(Row::firmware(&id, spec)));
        entry.groups.into_iter().for_each(|spec| put(Row::group(&id, spec)));
        entry.devices.into_iter().for_each(|spec| put(Row::device(&id, spec)));
    }
    values
}

impl Source {
    fn new(fleet: Fleet) -> Self {
        let at = fleet.revision();
        let rows =
            values(&fleet).into_iter().map(|(key, value)| (key.clone(), Row { key, revision: at, value: Some(value) }));
        Self {
            rows: [(at.0, Arc::new(rows.collect()))].into(),
            fleets: [(at.0, fleet.clone())].into(),
            log: BTreeMap::new(),
            log_from: at.0,
            fleet,
        }
    }

    fn revision(&self) -> u64 {
        self.fleet.revision().0
    }

    fn now(&self) -> &Rows {
        &self.rows[&self.revision()]
    }

    /// Writes rows as one revision; an index is to be `fleet` then.
    fn write(&mut self, changed: Vec<(RowKey, Option<RowValue>)>, fleet: Fleet) {
        let revision = Revision(self.revision() + 1);
        let mut rows = self.now().clone();
        let mut touched = BTreeSet::new();
        for (key, value) in changed {
            touched.insert(key.clone());
            match value {
                Some(value) => drop(rows.insert(key.clone(), Row { key, revision, value: Some(value) })),
                None => drop(rows.remove(&key)),
            }
        }
        self.fleet = fleet.at_revision(revision);
        self.rows.insert(revision.0, Arc::new(rows));
        self.fleets.insert(revision.0, self.fleet.clone());
        self.log.insert(revision.0, touched);
    }

    /// A batch, as one revision; nothing where it is refused or changes nothing.
    fn apply(&mut self, batch: &[Change]) -> bool {
        let mut next = self.fleet.clone();
        if !next.apply(batch).is_ok_and(|revision| revision > self.fleet.revision()) {
            return false;
        }
        self.write(between(&values(&self.fleet), &values(&next)), next);
        true
    }

    /// The rows that were touched after one revision and up to another, as they stood at that.
    fn patch(&self, after: u64, to: u64) -> Patch {
        let touched: BTreeSet<&RowKey> = self.log.range(after + 1..=to).flat_map(|(_, keys)| keys).collect();
        let rows = &self.rows[&to];
        let row = |key: &RowKey| rows.get(key).cloned().unwrap_or_else(|| Row::gone(key.clone()));
        Patch { after: Revision(after), revision: Revision(to), rows: touched.into_iter().map(row).collect() }
    }
}

/// What has to be written to come from one to the other.
fn between(old: &Values, new: &Values) -> Vec<(RowKey, Option<RowValue>)> {
    let gone = old.keys().filter(|key| !new.contains_key(key)).map(|key| (key.clone(), None));
    let put = new.iter().filter(|(key, value)| old.get(key) != Some(value));
    gone.chain(put.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("the line is down")]
struct Down;

/// What the feed did wrong, or oddly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Odd {
    LoadFails,
    LooksFail,
    Twice,
    Late,
    Overlap,
    Half,
    Gap,
    KeysTwice,
    Forgot,
    SetBack,
}

/// A feed over the source that does not go well.
struct Hand {
    source: Source,
    draw: Draw,
    is_faulty: bool,
    /// What was handed over already, of this source.
    sent: Vec<Patch>,
    /// A backup was put in its place: its numbers mean something else.
    was_set_back: bool,
    met: BTreeMap<Odd, usize>,
    /// What the look that goes on was given.
    given: Option<Odd>,
}

impl Hand {
    fn new(source: Source, seed: u64) -> Self {
        let met = BTreeMap::new();
        Self { source, draw: Draw(seed), is_faulty: true, sent: Vec::new(), was_set_back: false, met, given: None }
    }

    fn odd(&mut self, odd: Odd, once_in: u64) -> bool {
        let happens = self.is_faulty && self.draw.once_in(once_in);
        if happens {
            self.is(odd);
        }
        happens
    }

    fn is(&mut self, odd: Odd) {
        *self.met.entry(odd).or_default() += 1;
        // A load that fails is what a gap led to.
        self.given = self.given.or(Some(odd));
    }

    fn set_back(&mut self, backup: Source) {
        (self.source, self.was_set_back) = (backup, true);
        self.sent.clear();
    }

    fn shuffled(&mut self, rows: &mut [Row]) {
        for at in (1..rows.len()).rev() {
            rows.swap(at, self.draw.below(at as u64 + 1) as usize);
        }
    }

    fn give_load(&mut self) -> Result<Loading, Down> {
        if self.odd(Odd::LoadFails, 4) {
            return Err(Down);
        }
        let mut rows: Vec<Row> = self.source.now().values().cloned().collect();
        self.shuffled(&mut rows);
        let (devices, few): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.key.kind == RowKind::Device);
        let (first, rest) = devices.split_at(self.draw.below(devices.len() as u64 + 1) as usize);
        let loading = Loading::new(Revision(self.source.revision()), [few, first.to_vec()].concat());
        let parts = rest.chunks(2).map(<[Row]>::to_vec);
        std::thread::scope(|scope| parts.for_each(|part| drop(scope.spawn(|| loading.add(part)))));
        self.was_set_back = false;
        Ok(loading)
    }

    fn give_changes(&mut self, after: Revision) -> Result<Changes, Down> {
        let (revision, after) = (self.source.revision(), after.0);
        self.given = None;
        if self.odd(Odd::LooksFail, 8) {
            return Err(Down);
        }
        if self.was_set_back || revision < after {
            self.is(Odd::SetBack);
            return Ok(Changes::Unknown);
        }
        if after < self.source.log_from {
            self.is(Odd::Forgot);
            return Ok(Changes::Unknown);
        }
        if let Some(last) = self.sent.last().cloned()
            && last.revision.0 == after
            && self.odd(Odd::Twice, 6)
        {
            return Ok(Changes::Patch(last));
        }
        if self.sent.iter().any(|sent| sent.revision.0 < after) && self.odd(Odd::Late, 3) {
            let older: Vec<Patch> = self.sent.iter().filter(|sent| sent.revision.0 < after).cloned().collect();
            return Ok(Changes::Patch(self.draw.of(&older)));
        }
        if revision == after {
            return Ok(Changes::None);
        }
        if revision > after + 1 && self.odd(Odd::Gap, 6) {
            let from = after + 1 + self.draw.below(revision - after - 1);
            return Ok(Changes::Patch(self.source.patch(from, revision)));
        }
        let mut patch = if after > self.source.log_from && self.odd(Odd::Overlap, 4) {
            let from = self.source.log_from + self.draw.below(after - self.source.log_from);
            self.source.patch(from, revision)
        } else if revision > after + 1 && self.odd(Odd::Half, 2) {
            self.source.patch(after, after + 1 + self.draw.below(revision - after - 1))
        } else {
            self.source.patch(after, revision)
        };
        self.shuffled(&mut patch.rows);
        self.sent.push(patch.clone());
        // What stood in some rows before goes ahead of what stands there now.
        if self.odd(Odd::KeysTwice, 3) {
            let before = self.source.rows[&after].clone();
            let row = |row: &Row| before.get(&row.key).cloned().unwrap_or_else(|| Row::gone(row.key.clone()));
            let before: Vec<Row> = patch.rows.iter().map(row).collect();
            patch.rows.splice(0..0, before);
        }
        Ok(Changes::Patch(patch))
    }
}

impl Feed for Hand {
    type Error = Down;
    fn load(&mut self) -> Result<Loading, Down> {
        self.give_load()
    }
    fn changes(&mut self, after: Revision) -> Result<Changes, Down> {
        self.give_changes(after)
    }
    fn wait(&mut self, _: Duration) {}
}

impl AsyncFeed for Hand {
    type Error = Down;
    async fn load(&mut self) -> Result<Loading, Down> {
        tokio::task::yield_now().await;
        self.give_load()
    }
    async fn changes(&mut self, after: Revision) -> Result<Changes, Down> {
        tokio::task::yield_now().await;
        self.give_changes(after)
    }
    async fn wait(&mut self, _: Duration) {}
}

type Sync = dyn Fn(&mut Follower, &mut Hand) -> Result<Took, Down>;

fn plainly(follower: &mut Follower, hand: &mut Hand) -> Result<Took, Down> {
    follower.sync(hand)
}

/// A follower, and what its index is to be.
struct Followed<'s> {
    sync: &'s Sync,
    seed: u64,
    index: Index,
    follower: Follower,
    held: Fleet,
    /// Revisions that somebody holds on to.
    kept: Vec<(Arc<Snapshot>, Fleet)>,
}

impl<'s> Followed<'s> {
    fn new(sync: &'s Sync, seed: u64) -> Self {
        let index = Index::new(&Fleet::default());
        let follower = Follower::new(index.clone());
        Self { sync, seed, index, follower, held: Fleet::default(), kept: Vec::new() }
    }

    /// One look, whatever comes of it.
    fn look(&mut self, hand: &mut Hand) -> Option<Took> {
        let (seed, status) = (self.seed, self.follower.status());
        let before = (status.loads(), status.patches(), status.faults());
        hand.given = None;
        let took = (self.sync)(&mut self.follower, hand);
        let (loads, patches, faults) = before;
        let expected = match took {
            Ok(Took::Load) => (loads + 1, patches, faults),
            Ok(Took::Patch) => (loads, patches + 1, faults),
            Ok(Took::Known) => before,
            Ok(Took::Gap) => panic!("seed {seed}: a look never ends in a gap"),
            Err(Down) => (loads, patches, faults + 1),
        };
        assert_eq!((status.loads(), status.patches(), status.faults()), expected, "seed {seed}: {took:?}");
        assert_eq!(status.fault().is_some(), took.is_err(), "seed {seed}");
        match hand.given {
            Some(Odd::Gap | Odd::Forgot | Odd::SetBack) => {
                assert!(matches!(took, Ok(Took::Load) | Err(Down)), "seed {seed}: {:?} ended in {took:?}", hand.given);
                let is_behind = hand.given == Some(Odd::Gap) && took.is_err();
                assert!(status.lag() > 0 || !is_behind, "seed {seed}: it says how far it is behind");
            }
            Some(Odd::Twice | Odd::Late) => assert!(matches!(took, Ok(Took::Known)), "seed {seed}: {took:?}"),
            _ => {}
        }
        if let Ok(Took::Load | Took::Patch) = took {
            self.held = hand.source.fleets[&self.index.revision().0].clone();
            if self.kept.len() < 3 {
                self.kept.push((self.index.snapshot(), self.held.clone()));
            }
        }
        self.is_what_it_is_to_be();
        assert_eq!(status.may_serve(), status.loads() > 0, "seed {seed}: it serves once it has loaded");
        took.ok()
    }

    fn is_what_it_is_to_be(&self) {
        let seed = self.seed;
        let snapshot = self.index.snapshot();
        assert_eq!(snapshot.revision(), self.held.revision(), "seed {seed}");
        if snapshot.to_fleet() != self.held {
            let (has, wants) = (values(&snapshot.to_fleet()), values(&self.held));
            panic!("seed {seed}, {}: to mend: {:?}", self.held.revision(), between(&has, &wants));
        }
    }

    /// Without faults, until nothing is new; then it is what the source is.
    fn drain(&mut self, hand: &mut Hand) {
        let was = std::mem::replace(&mut hand.is_faulty, false);
        let mut looks = 0;
        while self.look(hand) != Some(Took::Known) {
            looks += 1;
            assert!(looks <= 2, "seed {}: it does not come to an end", self.seed);
        }
        hand.is_faulty = was;
        assert!(
            self.held == hand.source.fleet,
            "seed {}: {} is not what the source is",
            self.seed,
            self.held.revision()
        );
        let status = self.follower.status();
        assert_eq!((status.lag(), status.revision()), (0, hand.source.fleet.revision()), "seed {}", self.seed);
        assert!(status.may_serve());
        for (snapshot, fleet) in &self.kept {
            assert!(snapshot.to_fleet() == *fleet, "seed {}: a revision that is held changed", self.seed);
        }
    }

    fn kept_out(&self) -> BTreeSet<RowKey> {
        let kept_out = self.follower.status().kept_out();
        assert!(kept_out.iter().all(|kept| !kept.why.is_empty()));
        let keys: BTreeSet<RowKey> = kept_out.iter().map(|kept| kept.key.clone()).collect();
        assert_eq!(keys.len(), kept_out.len(), "seed {}: each is told once", self.seed);
        keys
    }
}

/// A history with faults on the way.
fn run(seed: u64, sync: &Sync, met: &mut BTreeMap<Odd, usize>) -> usize {
    let draw = &mut Draw(seed);
    let mut hand = Hand::new(Source::new(fleet(draw.next())), draw.next());
    let mut followed = Followed::new(sync, seed);
    let (mut backups, mut revisions) = (Vec::new(), 0);
    for _ in 0..28 {
        match draw.below(16) {
            0 => backups.push(hand.source.clone()),
            1 if !backups.is_empty() => hand.set_back(draw.of(&backups)),
            2 => {
                let source = &mut hand.source;
                source.log_from += draw.below(source.revision() - source.log_from + 1);
                let from = source.log_from;
                source.log.retain(|revision, _| *revision > from);
            }
            3 => {
                followed = Followed::new(sync, seed);
            }
            4..=9 => {
                followed.look(&mut hand);
            }
            _ => {
                // Half of what is drawn is refused, or changes nothing.
                for _ in 0..3 {
                    let batch: Vec<Change> = (0..1 + draw.below(2)).map(|_| change(draw, &hand.source.fleet)).collect();
                    revisions += usize::from(hand.source.apply(&batch));
                }
            }
        }
    }
    followed.drain(&mut hand);
    assert_eq!(followed.kept_out(), BTreeSet::new(), "seed {seed}");
    for (odd, times) in hand.met.clone() {
        *met.entry(odd).or_default() += times;
    }
    if seed.is_multiple_of(3) {
        bad_rows(&mut followed, &mut hand, draw);
    }
    revisions
}

fn assert_all_met(met: &BTreeMap<Odd, usize>, at_least: usize) {
    use Odd::*;
    for odd in [LoadFails, LooksFail, Twice, Late, Overlap, Half, Gap, KeysTwice, Forgot, SetBack] {
        let times = met.get(&odd).copied().unwrap_or(0);
        assert!(times >= at_least, "{odd:?} was met {times} times only");
    }
}

#[test]
fn whatever_happens_on_the_way_the_index_is_what_the_source_was_and_ends_as_what_it_is() {
    let (mut met, mut revisions) = (BTreeMap::new(), 0);
    for seed in 0..500 {
        revisions += run(seed, &plainly, &mut met);
    }
    assert_all_met(&met, 30);
    assert!(revisions > 1_000, "{revisions} revisions only");
}

#[test]
fn an_asynchronous_source_is_followed_the_same_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let sync = move |follower: &mut Follower, hand: &mut Hand| runtime.block_on(follower.sync_async(hand));
    let mut met = BTreeMap::new();
    for seed in 0..60 {
        run(seed, &sync, &mut met);
    }
    assert_all_met(&met, 5);
}

const HOUSE: &str = "house";

fn firmware(version: &str) -> FirmwareSpec {
    let artifact = ArtifactSpec {
        size_bytes: 1,
        digests: Digests::blake3_of(version.as_bytes()),
        locator: version.into(),
        ..Default::default()
    };
    FirmwareSpec { version: version.into(), artifacts: vec![artifact], ..Default::default() }
}

fn group(id: &str, firmware: &str, cap: Option<&str>) -> GroupSpec {
    GroupSpec { id: id.into(), firmware: Some(firmware.into()), cap: cap.map(Into::into), ..Default::default() }
}

fn device(serial: &str, group: &str, pin: Option<&str>) -> DeviceSpec {
    let state = DeviceState::Verified;
    DeviceSpec { serial: serial.into(), group: group.into(), state, pin: pin.map(Into::into), ..Default::default() }
}

fn api_key(secret: &str) -> ApiKey {
    ApiKey { hash: KeyHash::of(secret.as_bytes()).unwrap(), revoked: false, not_before: None, not_after: None }
}

/// A product that has something of everything that can be spoilt.
fn house() -> Vec<Change> {
    let versions = VersionRulesSpec { scheme: VersionScheme::Dotted, ..Default::default() };
    let product = ProductSpec {
        id: HOUSE.into(),
        keys: vec![api_key("house key")],
        serial_scheme: SerialScheme::OpaqueNocase,
        versions,
        ..Default::default()
    };
    let id = || ProductId::new(HOUSE).unwrap();
    let mut batch = vec![Change::PutProduct { product }];
    batch.extend(["1.0", "2.0", "3.0"].map(|one| Change::PutFirmware { product: id(), firmware: firmware(one) }));
    let groups = [
        group("default", "1.0", None),
        group("capped", "1.0", Some("2.0")),
        group("paired", "1.0", None),
        group("low", "1.0", None),
    ];
    batch.extend(groups.map(|group| Change::PutGroup { product: id(), group }));
    let devices = [
        device("d1", "default", None),
        device("d2", "default", None),
        device("d3", "default", None),
        device("d5", "capped", Some("1.0")),
        device("d6", "low", Some("2.0")),
        device("d7", "paired", None),
    ];
    batch.extend(devices.map(|device| Change::PutDevice { product: id(), device }));
    batch
}

/// What is written by hand, and is wrong: rows that one revision writes.
fn spoil(kind: u64, draw: &mut Draw) -> Vec<(RowKey, RowValue)> {
    use RowKind::{Device, Firmware, Group, Product};
    let of = |kind, name: &str, value| (RowKey::new(kind, HOUSE, name), value);
    let unreadable = |kind| {
        let value = RowValue::read(kind, "{\"no\": 1}");
        assert!(matches!(value, RowValue::Unreadable(_)));
        value
    };
    let device_of = |key, spec| of(Device, key, RowValue::Device(spec));
    let a_firmware = |key, spec| of(Firmware, key, RowValue::Firmware(Box::new(spec)));
    let a_group = |key, spec| of(Group, key, RowValue::Group(Box::new(spec)));
    match kind {
        0 => vec![of(Device, "d1", unreadable(Device))],
        1 => {
            let value = RowValue::read(Device, "{\"serial\": \"d2\", \"state\": \"lost\", \"group\": \"default\"}");
            assert!(matches!(value, RowValue::Unreadable(_)));
            vec![of(Device, "d2", value)]
        }
        2 => vec![device_of("SN-9", device("SN-9", "default", None))],
        3 => match draw.below(3) {
            0 => vec![a_group("default", group("other", "2.0", None))],
            1 => vec![a_firmware("5.0", firmware("9.9"))],
            _ => vec![device_of("d3", device("d4", "low", None))],
        },
        4 => vec![(RowKey::new(Device, "nowhere", "d1"), RowValue::Device(device("d1", "default", None)))],
        5 => vec![device_of("d5", device("d5", "capped", Some("3.0")))],
        6 => vec![a_firmware("1.0.0", firmware("1.0.0"))],
        // The group could be read, but for the firmware beside it.
        7 => vec![a_group("paired", group("paired", "4.0", None)), of(Firmware, "4.0", unreadable(Firmware))],
        8 => vec![of(Firmware, "2.0", RowValue::Group(Box::new(group("2.0", "1.0", None))))],
        9 => {
            let thief = ProductSpec { id: "thief".into(), keys: vec![api_key("house key")], ..Default::default() };
            vec![(RowKey::new(Product, "thief", "thief"), RowValue::Product(Box::new(thief)))]
        }
        _ => vec![of(Product, HOUSE, unreadable(Product))],
    }
}

const KINDS: u64 = 11;

/// Rows that nobody can take are put in, among others; then they are mended.
fn bad_rows(followed: &mut Followed<'_>, hand: &mut Hand, draw: &mut Draw) {
    let seed = followed.seed;
    hand.is_faulty = false;
    assert!(hand.source.apply(&house()), "seed {seed}: no drawn fleet has this product");
    followed.drain(hand);
    let mut good = hand.source.fleet.clone();
    let id = || ProductId::new(HOUSE).unwrap();

    // Each kind comes in its turn, and some others with it.
    let mut kinds = BTreeSet::from([(seed / 3) % KINDS]);
    kinds.extend((0..draw.below(4)).map(|_| draw.below(KINDS)).collect::<Vec<_>>());
    if kinds.contains(&10) {
        // A key of a product that cannot be read is nobody's.
        kinds.remove(&9);
    }
    let mut bad = BTreeSet::new();
    for kind in kinds {
        // Something beside it that is sound.
        let sound = Change::PutDevice { product: id(), device: device(&format!("s{kind}"), "default", None) };
        good.apply(std::slice::from_ref(&sound)).unwrap();
        assert!(hand.source.apply(&[sound]));
        let rows = spoil(kind, draw);
        bad.extend(rows.iter().map(|(key, _)| key.clone()));
        let stands = hand.source.fleet.clone();
        hand.source.write(rows.into_iter().map(|(key, value)| (key, Some(value))).collect(), stands);
        if draw.once_in(2) {
            assert_eq!(followed.look(hand), Some(Took::Patch), "seed {seed}");
        }
    }
    // A sound row beside which a device cannot stand any more.
    if draw.once_in(2) {
        let low = group("low", "1.0", Some("1.5"));
        let mut without = hand.source.fleet.clone();
        let batch = [
            Change::RemoveDevice { product: id(), serial: "d6".into() },
            Change::PutGroup { product: id(), group: low.clone() },
        ];
        without.apply(&batch).unwrap();
        let row = (RowKey::new(RowKind::Group, HOUSE, "low"), Some(RowValue::Group(Box::new(low))));
        hand.source.write(vec![row], without);
        bad.insert(RowKey::new(RowKind::Device, HOUSE, "d6"));
    }

    // By patches: what stood before stands.
    followed.drain(hand);
    assert_eq!(followed.kept_out(), bad, "seed {seed}");

    // By a load: nothing stood before.
    let mut spec = hand.source.fleet.spec();
    let mut missing = bad.clone();
    for entry in &mut spec.products {
        let product = entry.product.id.clone();
        let is_bad = |kind, name: &str| bad.contains(&RowKey::new(kind, &product, name));
        entry.firmware.retain(|one| !is_bad(RowKind::Firmware, &one.version));
        entry.groups.retain(|one| !is_bad(RowKind::Group, &one.id));
        entry.devices.retain(|one| !is_bad(RowKind::Device, &one.serial));
        if is_bad(RowKind::Product, &product) {
            let few = hand.source.now().keys().filter(|key| key.kind != RowKind::Device && *key.product == *product);
            missing.extend(few.cloned());
        }
    }
    spec.products.retain(|entry| {
        let id = &entry.product.id;
        !bad.contains(&RowKey::new(RowKind::Product, id, id))
    });
    let mut newcomer = Followed::new(followed.sync, seed);
    let stands = hand.source.revision();
    let before = hand.source.fleets.insert(stands, spec.build().unwrap()).unwrap();
    assert_eq!(newcomer.look(hand), Some(Took::Load), "seed {seed}");
    hand.source.fleets.insert(stands, before);
    // Of a product that is not there all devices are told of by one.
    let of_missing = |key: &&RowKey| {
        key.kind == RowKind::Device && missing.contains(&RowKey::new(RowKind::Product, &key.product, &key.product))
    };
    let told = newcomer.kept_out();
    let told_of_all = told.iter().filter(of_missing).count();
    let rest = |keys: &BTreeSet<RowKey>| keys.iter().filter(|key| !of_missing(key)).cloned().collect::<BTreeSet<_>>();
    assert_eq!(rest(&told), rest(&missing), "seed {seed}");
    assert_eq!(told_of_all, usize::from(missing.contains(&RowKey::new(RowKind::Product, HOUSE, HOUSE))), "seed {seed}");

    // Mended: all is equal again, whoever follows.
    let rows: Values = hand.source.now().values().map(|row| (row.key.clone(), row.value.clone().unwrap())).collect();
    hand.source.write(between(&rows, &values(&good)), good);
    for followed in [followed, &mut newcomer] {
        followed.drain(hand);
        assert_eq!(followed.kept_out(), BTreeSet::new(), "seed {seed}");
    }
}
