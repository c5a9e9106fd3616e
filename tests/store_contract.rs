//! Every store keeps the contract of `store/contract.rs`, and the suite finds every fault that is planted.
#![cfg(feature = "contract")]

mod later;

use later::{Later, wait};
use otagate::store::contract::{self, AsyncSubject, Changed, Promise, Subject};
use otagate::store::{GroupRecord, Lent, MemoryStore, Registered, StandingRecord, Store, View};
use otagate::{
    CanonicalSerial, Catalogue, Change, Device, DeviceSpec, DeviceState, Firmware, Fleet, Group, Hex, KeyHash, Lease,
    Product, ProductEntry, ProductId, ProductSpec, Revision, TargetSpec, Timestamp,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

// The stores that keep it.

#[derive(Clone, Copy)]
struct Memory;

impl Subject for Memory {
    type Store = MemoryStore;

    fn open(&self, fleet: &Fleet) -> Result<MemoryStore, String> {
        Ok(MemoryStore::new(fleet.clone()))
    }

    fn change(&self, store: &MemoryStore, changes: &[Change], _: &Fleet) -> Result<Changed, String> {
        store.apply(changes).map(|_| Changed::Done).map_err(|problems| problems.to_string())
    }
}

#[test]
fn the_memory_store_keeps_every_promise() {
    let report = contract::assert_kept(&Memory);
    assert_eq!(report.kept, Promise::ALL);
    assert_eq!(report.skipped, []);
}

/// Makes such stores. It writes on another thread, since a view may keep writers out, and the task must not wait for itself.
struct InTime<S>(S);

impl<S> AsyncSubject for InTime<S>
where
    S: Subject + Copy + Send + 'static,
    S::Store: Send,
    for<'s> <S::Store as Store>::View<'s>: Sync,
{
    type Store = Later<S::Store>;

    async fn open(&self, fleet: &Fleet) -> Result<Later<S::Store>, String> {
        wait().await;
        self.0.open(fleet).map(|store| Later(Arc::new(store)))
    }

    async fn change(&self, store: &Later<S::Store>, changes: &[Change], after: &Fleet) -> Result<Changed, String> {
        let (subject, store, changes, after) = (self.0, store.0.clone(), changes.to_vec(), after.clone());
        let written = tokio::task::spawn_blocking(move || subject.change(&store, &changes, &after));
        written.await.map_err(|error| error.to_string())?
    }
}

#[tokio::test]
async fn an_asynchronous_store_keeps_every_promise() {
    let report = contract::assert_kept_async(&InTime(Memory)).await;
    assert_eq!(report, contract::assert_kept(&Memory));
}

#[test]
fn what_cannot_be_asked_is_said() {
    struct ReadOnly;
    impl Subject for ReadOnly {
        type Store = MemoryStore;
        fn open(&self, fleet: &Fleet) -> Result<MemoryStore, String> {
            // As a database with foreign keys does.
            let gap = |entry: &otagate::ProductEntry| {
                entry.devices().any(|device| entry.group(device.group().as_str()).is_none())
            };
            if fleet.products().any(gap) {
                Err("foreign key violated".into())
            } else {
                Ok(MemoryStore::new(fleet.clone()))
            }
        }
    }
    let report = contract::check(&ReadOnly).unwrap();
    let skipped: Vec<_> = report.skipped.iter().map(|skipped| skipped.promise).collect();
    assert_eq!(skipped, [Promise::GapsStayGaps, Promise::ViewIsOneState, Promise::RevisionGrows]);
    assert_eq!(report.kept.len() + skipped.len(), Promise::ALL.len());
}

// The stores that do not.

/// A fault, planted in a memory store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Planted {
    NoFault,
    OpensNothing,
    FindsAnotherProduct,
    ForgetsRevocation,
    ForgetsOtherKeys,
    CutsKeysAtNul,
    ForgetsPlaceholders,
    FailsOnImpossibleName,
    FindsAnybody,
    IgnoresProduct,
    IgnoresCase,
    CutsBlanks,
    ReadsNumbers,
    Unblocks,
    ForgetsPin,
    ForgetsCap,
    CutsMillis,
    CutsTimeBefore1970,
    IgnoresProductOfGroup,
    ForgetsExcluded,
    ForgetsFirst,
    ForgetsRollout,
    ForgetsSalt,
    ForgetsProgress,
    ForgetsWindow,
    ForgetsAbort,
    ShufflesResources,
    ReformatsConfig,
    EmptyIsNothing,
    NullIsNothing,
    CutsThresholds,
    RoundsThresholds,
    LosesDeny,
    LosesStones,
    LosesStoneMarks,
    LosesDeltas,
    LosesTarget,
    SplitsHardware,
    InventsClaim,
    InventsLease,
    FallsBackToDefaultGroup,
    DanglesToNothing,
    RegistersVerified,
    RegistersElsewhere,
    RegistersAgain,
    IgnoresLimit,
    RacesPastLimit,
    CountsAllDevices,
    RegistersAnywhere,
    RegistersPlaceholders,
    ReadsThrough,
    WritesByHalves,
    TiresOfReaders,
    RevisionStands,
    RevisionGoesBack,
}

/// A fleet behind a lock, of which every view has its own copy: the other way to keep the contract, were it not for the fault.
struct Faulty {
    fault: Planted,
    fleet: Mutex<Arc<Fleet>>,
    /// Since the first change.
    views: Mutex<Option<usize>>,
}

struct FaultyView<'s> {
    store: &'s Faulty,
    fleet: Arc<Fleet>,
}

#[derive(Debug, thiserror::Error)]
#[error("a name must not have control characters")]
struct Unreadable;

impl Faulty {
    fn now(&self) -> Arc<Fleet> {
        self.fleet.lock().unwrap().clone()
    }

    fn apply(&self, changes: &[Change]) -> Result<(), String> {
        self.views.lock().unwrap().get_or_insert(0);
        let mut fleet = self.fleet.lock().unwrap();
        Arc::make_mut(&mut fleet).apply(changes).map(drop).map_err(|problems| problems.to_string())
    }
}

impl Store for Faulty {
    type Error = Unreadable;
    type View<'s> = FaultyView<'s>;

    fn view(&self) -> Result<FaultyView<'_>, Unreadable> {
        // Enough for one who takes a view before a change and one after it.
        if let Some(views) = self.views.lock().unwrap().as_mut() {
            *views += 1;
            if self.fault == Planted::TiresOfReaders && *views > 2 {
                return Err(Unreadable);
            }
        }
        Ok(FaultyView { store: self, fleet: self.now() })
    }

    fn register(&self, product: &ProductId, serial: &CanonicalSerial, at: Timestamp) -> Result<Registered, Unreadable> {
        let mut held = self.fleet.lock().unwrap();
        let entry = held.product(product.as_str());
        let known = entry.and_then(|entry| entry.device(serial.as_str())).is_some();
        if known && self.fault != Planted::RegistersAgain {
            return Ok(Registered::Known);
        }
        let spec = entry.map(|entry| entry.product().spec());
        let (new, all) = entry.map_or((0, 0), |entry| (entry.new_devices(), entry.devices().len()));
        let counted = if self.fault == Planted::CountsAllDevices { all } else { new };
        let full = spec.as_ref().is_none_or(|spec| counted >= spec.new_devices_max as usize);
        let shut = spec.as_ref().is_none_or(|spec| !spec.register_on_first_contact);
        let placeholder = entry.is_some_and(|entry| entry.product().read_serial(serial.as_str().as_bytes()).is_err());
        let refused = match self.fault {
            Planted::RegistersPlaceholders if placeholder => full || shut,
            _ if placeholder => true,
            Planted::IgnoresLimit => shut,
            Planted::RegistersAnywhere => full && !shut || spec.is_none(),
            Planted::RegistersAgain => false,
            _ => full || shut,
        };
        if refused {
            return Ok(Registered::Refused);
        }
        if self.fault == Planted::RacesPastLimit {
            // Counts in one transaction and inserts in the next.
            drop(held);
            std::thread::sleep(Duration::from_millis(5));
            held = self.fleet.lock().unwrap();
            if held.product(product.as_str()).and_then(|entry| entry.device(serial.as_str())).is_some() {
                return Ok(Registered::Known);
            }
        }
        let device = DeviceSpec {
            serial: serial.to_string(),
            state: if self.fault == Planted::RegistersVerified { DeviceState::Verified } else { DeviceState::New },
            group: if self.fault == Planted::RegistersElsewhere { "default" } else { "lobby" }.into(),
            entered_at: at,
            ..DeviceSpec::default()
        };
        let mut changes = vec![Change::PutDevice { product: product.clone(), device }];
        if placeholder {
            // A fleet holds no device that is listed, so the list goes.
            let product = ProductSpec { placeholders: Vec::new(), ..spec.unwrap() };
            changes.insert(0, Change::PutProduct { product });
        }
        Arc::make_mut(&mut held).apply(&changes).unwrap();
        Ok(Registered::New)
    }
}

impl FaultyView<'_> {
    fn fleet(&self) -> Arc<Fleet> {
        if self.store.fault == Planted::ReadsThrough { self.store.now() } else { self.fleet.clone() }
    }

    fn find_device<'f>(&self, fleet: &'f Fleet, product: &ProductId, serial: &str) -> Option<&'f Device> {
        let devices = || fleet.product(product.as_str()).into_iter().flat_map(ProductEntry::devices);
        let like = |right: &dyn Fn(&str) -> bool| devices().find(|device| right(device.serial()));
        match self.store.fault {
            Planted::IgnoresProduct => fleet.products().find_map(|entry| entry.device(serial)),
            Planted::FindsAnybody if serial == "%" => like(&|_| true),
            Planted::IgnoresCase => like(&|own| own.to_lowercase() == serial.to_lowercase()),
            Planted::CutsBlanks => like(&|own| own.trim_end() == serial.trim_end()),
            Planted::ReadsNumbers => {
                let number = |text: &str| text.parse::<u64>().map_err(|_| text.to_owned());
                like(&|own| number(own) == number(serial))
            }
            _ => like(&|own| own == serial),
        }
    }
}

impl View for FaultyView<'_> {
    type Error = Unreadable;

    fn revision(&self) -> Result<Revision, Unreadable> {
        Ok(match self.store.fault {
            Planted::RevisionStands => Revision(5),
            Planted::RevisionGoesBack => Revision(u64::MAX - self.fleet().revision().0),
            _ => self.fleet().revision(),
        })
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, Unreadable> {
        let fleet = self.fleet();
        let found = match self.store.fault {
            Planted::FindsAnotherProduct => fleet.product_of_key(key).and_then(|_| fleet.products().last()),
            Planted::CutsKeysAtNul => {
                let cut = |key: &KeyHash| key.0.0.split(|byte| *byte == 0).next().unwrap().to_vec();
                fleet.products().find(|entry| entry.product().keys().iter().any(|own| cut(&own.hash) == cut(key)))
            }
            _ => fleet.product_of_key(key),
        };
        let Some(entry) = found else { return Ok(None) };
        let mut spec = entry.product().spec();
        match self.store.fault {
            Planted::ForgetsRevocation => spec.keys.iter_mut().for_each(|key| key.revoked = false),
            Planted::ForgetsOtherKeys => spec.keys.retain(|own| own.hash == *key),
            Planted::ForgetsPlaceholders => spec.placeholders.clear(),
            _ => {}
        }
        Ok(Some(spec.build().unwrap().into()))
    }

    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, Unreadable> {
        if self.store.fault == Planted::FailsOnImpossibleName && product.as_str().contains('\u{1}') {
            return Err(Unreadable);
        }
        let fleet = self.fleet();
        let Some(device) = self.find_device(&fleet, product, serial) else { return Ok(None) };
        let Some(entry) = fleet.product(product.as_str()) else { return Ok(Some(device.clone().into())) };
        let mut spec = device.spec();
        match self.store.fault {
            Planted::Unblocks if spec.state == DeviceState::Blocked => spec.state = DeviceState::Verified,
            Planted::ForgetsPin => spec.pin = None,
            Planted::ForgetsCap => spec.cap = None,
            Planted::CutsMillis => spec.entered_at = Timestamp::from_millis(spec.entered_at.millis() / 1_000 * 1_000),
            Planted::CutsTimeBefore1970 => spec.entered_at = spec.entered_at.max(Timestamp::from_millis(0)),
            _ => {}
        }
        // Another product's device may not even be one under these rules.
        Ok(Some(spec.build(entry.product()).unwrap_or_else(|_| device.clone()).into()))
    }

    fn group(
        &self,
        product: &Product,
        device: &Device,
        _: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, Unreadable> {
        let fleet = self.fleet();
        let Some(entry) = fleet.product(product.id().as_str()) else { return Ok(None) };
        let group = entry.group(device.group().as_str());
        let group = match self.store.fault {
            Planted::FallsBackToDefaultGroup => group.or_else(|| entry.group(product.default_group().as_str())),
            Planted::IgnoresProductOfGroup => {
                fleet.products().find_map(|entry| entry.group(device.group().as_str())).or(group)
            }
            _ => group,
        };
        let Some(mut group) = group.map(Group::spec) else { return Ok(None) };
        let mut firmware: Vec<_> = entry.catalogue().iter().map(Firmware::spec).collect();
        let mut standing = StandingRecord::default();
        let target = group.rollout.as_ref().map(|rollout| rollout.target.clone());
        match self.store.fault {
            Planted::ForgetsExcluded => group.rollout.iter_mut().for_each(|rollout| rollout.excluded.clear()),
            Planted::ForgetsFirst => group.rollout.iter_mut().for_each(|rollout| rollout.first.clear()),
            Planted::ForgetsRollout => group.rollout = None,
            Planted::ForgetsSalt => group.rollout.iter_mut().for_each(|rollout| rollout.salt = None),
            Planted::ForgetsProgress => group.rollout.iter_mut().for_each(|rollout| rollout.progress = None),
            Planted::ForgetsWindow => group.window = None,
            Planted::ForgetsAbort => group.aborted = None,
            Planted::ShufflesResources => group.resources.iter_mut().for_each(|list| list.reverse()),
            Planted::ReformatsConfig => group.config.iter_mut().for_each(|config| {
                let document: serde_json::Value = serde_json::from_str(&config.document).unwrap();
                (config.document, config.digests.blake3) = (document.to_string(), None);
            }),
            Planted::EmptyIsNothing => group.resources = group.resources.filter(|list| !list.is_empty()),
            Planted::NullIsNothing => group.config = group.config.filter(|config| config.document != "null"),
            Planted::CutsThresholds | Planted::RoundsThresholds => {
                let waves = group.rollout.iter_mut().flat_map(|rollout| &mut rollout.waves);
                for threshold in waves.filter_map(|wave| wave.opened.as_mut()?.threshold.as_mut()) {
                    let rounded = (*threshold as f64) as u64;
                    let cut = (*threshold).min(i64::MAX as u64);
                    *threshold = if self.store.fault == Planted::CutsThresholds { cut } else { rounded };
                }
            }
            Planted::LosesDeny => firmware.iter_mut().for_each(|firmware| firmware.denied = false),
            Planted::LosesStones => firmware.retain(|firmware| !firmware.stone),
            Planted::LosesStoneMarks => firmware.iter_mut().for_each(|firmware| firmware.stone = false),
            Planted::LosesDeltas => firmware.iter_mut().for_each(|firmware| {
                if firmware.artifacts.len() > 1 {
                    firmware.artifacts.retain(|artifact| artifact.from.is_none());
                }
            }),
            Planted::LosesTarget => {
                firmware.retain(|firmware| target != Some(TargetSpec::Firmware(firmware.version.clone())));
            }
            Planted::SplitsHardware => {
                for artifact in firmware.iter_mut().flat_map(|firmware| &mut firmware.artifacts) {
                    let joined = artifact.hardware.join(",");
                    artifact.hardware = joined.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
                }
            }
            Planted::InventsClaim => standing.claim_expires_at = Some(Timestamp::from_millis(i64::MAX)),
            Planted::DanglesToNothing => {
                group.firmware = group.firmware.filter(|version| {
                    let version = product.versions().version(version).unwrap();
                    entry.catalogue().find(&version, product.versions()).is_some()
                });
            }
            _ => {}
        }
        let rules = product.versions();
        let firmware = firmware.iter().map(|spec| spec.build(rules).unwrap()).collect();
        let catalogue = Catalogue::new(firmware, rules).unwrap();
        // Another product's group may not even be one under these rules; then the fault shows as a gap.
        Ok(group.build(product).ok().map(|group| GroupRecord {
            group: group.into(),
            catalogue: catalogue.into(),
            standing,
        }))
    }

    fn lease(&self, _: &Product, _: &Device) -> Result<Option<Lent<'_, Lease>>, Unreadable> {
        let lease = Lease {
            group: otagate::GroupId::new("stable").unwrap(),
            version: Vec::new(),
            firmware: "1.0.0".into(),
            artifact: Hex([0; 32]),
            rollout: None,
            attempt: None,
            expires_at: Timestamp::from_millis(i64::MAX),
        };
        Ok((self.store.fault == Planted::InventsLease).then(|| lease.into()))
    }
}

impl Subject for Planted {
    type Store = Faulty;

    fn open(&self, fleet: &Fleet) -> Result<Faulty, String> {
        if *self == Self::OpensNothing {
            return Err("no such table: devices".into());
        }
        Ok(Faulty { fault: *self, fleet: Mutex::new(Arc::new(fleet.clone())), views: Mutex::default() })
    }

    fn change(&self, store: &Faulty, changes: &[Change], _: &Fleet) -> Result<Changed, String> {
        if *self != Self::WritesByHalves {
            return store.apply(changes).map(|()| Changed::Done);
        }
        for change in changes {
            store.apply(std::slice::from_ref(change))?;
            // Between two halves, a reader gets its turn.
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Changed::Done)
    }
}

/// Each fault is named as what it is. Where more than one promise is named, the fault breaks them all.
#[test]
fn the_suite_names_the_promise_that_is_broken() {
    use Planted as P;
    use Promise::*;
    let rows: &[(P, &[Promise])] = &[
        (P::NoFault, &[]),
        (P::OpensNothing, &[Opens]),
        (P::FindsAnotherProduct, &[KeyFindsItsProduct]),
        (P::ForgetsRevocation, &[KeyFindsItsProduct]),
        (P::ForgetsOtherKeys, &[KeyFindsItsProduct]),
        (P::ForgetsPlaceholders, &[KeyFindsItsProduct]),
        (P::CutsKeysAtNul, &[StrangersFindNobody]),
        (P::FailsOnImpossibleName, &[StrangersFindNobody]),
        (P::FindsAnybody, &[StrangersFindNobody]),
        (P::IgnoresProduct, &[DeviceIsItsProducts]),
        (P::IgnoresCase, &[TextSurvives]),
        (P::CutsBlanks, &[TextSurvives]),
        (P::ReadsNumbers, &[TextSurvives]),
        (P::Unblocks, &[DeviceSurvives]),
        (P::ForgetsPin, &[DeviceSurvives]),
        (P::ForgetsCap, &[DeviceSurvives]),
        (P::CutsMillis, &[NumbersSurvive]),
        (P::CutsTimeBefore1970, &[NumbersSurvive]),
        (P::IgnoresProductOfGroup, &[GroupSurvives]),
        (P::ForgetsExcluded, &[GroupSurvives]),
        (P::ForgetsFirst, &[GroupSurvives]),
        (P::ForgetsRollout, &[GroupSurvives]),
        (P::ForgetsSalt, &[GroupSurvives]),
        (P::ForgetsProgress, &[GroupSurvives]),
        (P::ForgetsWindow, &[GroupSurvives]),
        (P::ForgetsAbort, &[GroupSurvives]),
        (P::ShufflesResources, &[GroupSurvives]),
        (P::ReformatsConfig, &[GroupSurvives]),
        (P::EmptyIsNothing, &[NumbersSurvive]),
        (P::NullIsNothing, &[NumbersSurvive]),
        (P::CutsThresholds, &[NumbersSurvive]),
        (P::RoundsThresholds, &[NumbersSurvive]),
        (P::LosesDeny, &[CatalogueSurvives]),
        (P::LosesStones, &[CatalogueSurvives]),
        (P::LosesStoneMarks, &[CatalogueSurvives]),
        (P::LosesDeltas, &[CatalogueSurvives]),
        (P::LosesTarget, &[CatalogueSurvives]),
        (P::SplitsHardware, &[TextSurvives]),
        (P::InventsClaim, &[LedgerBeginsEmpty]),
        (P::InventsLease, &[LedgerBeginsEmpty]),
        (P::FallsBackToDefaultGroup, &[GapsStayGaps]),
        (P::DanglesToNothing, &[GapsStayGaps]),
        (P::RegistersVerified, &[RegisteringMakesNew]),
        (P::RegistersElsewhere, &[RegisteringMakesNew]),
        (P::RegistersAgain, &[RegisteringTwiceIsOnce]),
        (P::IgnoresLimit, &[RegisteringKeepsTheLimit]),
        (P::RacesPastLimit, &[RegisteringKeepsTheLimit]),
        (P::CountsAllDevices, &[RegisteringKeepsTheLimit]),
        (P::RegistersAnywhere, &[RegisteringCanBeRefused]),
        (P::RegistersPlaceholders, &[RegisteringCanBeRefused]),
        (P::ReadsThrough, &[ViewIsOneState]),
        (P::WritesByHalves, &[ViewIsOneState]),
        (P::TiresOfReaders, &[ViewIsOneState, RevisionGrows]),
        (P::RevisionStands, &[RevisionGrows]),
        (P::RevisionGoesBack, &[RevisionGrows]),
    ];
    let mut wrong = Vec::new();
    for (fault, broken) in rows {
        let found = contract::check(fault).err();
        let breaches = found.iter().flat_map(|found| &found.breaches);
        let named: Vec<_> = breaches.map(|breach| breach.promise).collect();
        if named != *broken {
            wrong.push(format!("{fault:?} should break {broken:?}, and this was found: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn the_suite_names_it_of_an_asynchronous_store_too() {
    use Planted as P;
    use Promise::*;
    let rows: &[(P, &[Promise])] = &[
        (P::FailsOnImpossibleName, &[StrangersFindNobody]),
        (P::LosesDeny, &[CatalogueSurvives]),
        (P::InventsLease, &[LedgerBeginsEmpty]),
        (P::IgnoresLimit, &[RegisteringKeepsTheLimit]),
        (P::RegistersPlaceholders, &[RegisteringCanBeRefused]),
        (P::ReadsThrough, &[ViewIsOneState]),
        (P::WritesByHalves, &[ViewIsOneState]),
        (P::TiresOfReaders, &[ViewIsOneState, RevisionGrows]),
        (P::RevisionStands, &[RevisionGrows]),
    ];
    for &(fault, broken) in rows {
        let found = contract::check_async(&InTime(fault)).await.expect_err(&format!("{fault:?} was not found"));
        let named: Vec<_> = found.breaches.iter().map(|breach| breach.promise).collect();
        assert_eq!(named, broken, "{fault:?}: {found}");
    }
}

#[test]
fn a_broken_promise_says_what_was_found_and_what_follows() {
    let broken = contract::check(&Planted::ForgetsExcluded).unwrap_err();
    let text = broken.to_string();
    for part in [
        "`group-survives`",
        "rollout.excluded is missing, should be [\"a4cf12340067\"",
        "otherwise an excluded device is served",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert_eq!(format!("{broken:?}"), text, "a test that unwraps it prints it so");
    let skipped: Vec<_> = broken.report.skipped.iter().map(|skipped| skipped.why.as_str()).collect();
    assert!(skipped.iter().all(|why| *why == "it rests on `group-survives`, which is broken"), "{skipped:?}");
}
