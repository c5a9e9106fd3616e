//! Every store keeps the contract of `store/contract.rs`, the suite finds every fault that is planted, and nothing is served by a store that fails.
#![cfg(feature = "contract")]

use otagate::store::contract::{self, AsyncSubject, Changed, Promise, Subject};
use otagate::store::{
    self, AsyncStore, AsyncView, Fault, Garbage, GroupRecord, Held, MemoryStore, MemoryView, Registered, Store, View,
};
use otagate::{
    ApiKey, ArtifactSpec, CanonicalSerial, Catalogue, Change, CheckIn, Device, DeviceSpec, DeviceState, Digests,
    FirmwareSpec, Fleet, FleetSpec, Group, GroupSpec, KeyHash, Lease, NoTrace, Policy, Product, ProductFleetSpec,
    ProductId, ProductSpec, Revision, Timestamp, VersionRulesSpec, VersionScheme,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

// The stores that keep it.

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

/// A memory store behind futures that wait before they answer. Its writer is another thread, since a view keeps writers out.
struct Later(Arc<MemoryStore>);
struct LaterView<'s>(MemoryView<'s>);
struct InTime;

/// Comes back once, as a future does that waits for a socket.
async fn wait() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await
}

impl AsyncStore for Later {
    type Error = Infallible;
    type View<'s> = LaterView<'s>;

    async fn view(&self) -> Result<LaterView<'_>, Infallible> {
        wait().await;
        self.0.view().map(LaterView)
    }

    async fn register(
        &self,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, Infallible> {
        wait().await;
        self.0.register(product, serial, at)
    }
}

impl AsyncView for LaterView<'_> {
    type Error = Infallible;

    async fn revision(&self) -> Result<Revision, Infallible> {
        wait().await;
        self.0.revision()
    }

    async fn product_of_key(&self, key: &KeyHash) -> Result<Option<Held<'_, Product>>, Infallible> {
        wait().await;
        self.0.product_of_key(key)
    }

    async fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Held<'_, Device>>, Infallible> {
        wait().await;
        self.0.device(product, serial)
    }

    async fn group(&self, product: &Product, device: &Device) -> Result<Option<GroupRecord<'_>>, Infallible> {
        wait().await;
        self.0.group(product, device)
    }
}

impl AsyncSubject for InTime {
    type Store = Later;

    async fn open(&self, fleet: &Fleet) -> Result<Later, String> {
        Ok(Later(Arc::new(MemoryStore::new(fleet.clone()))))
    }

    async fn change(&self, store: &Later, changes: &[Change], _: &Fleet) -> Result<Changed, String> {
        let (store, changes) = (store.0.clone(), changes.to_vec());
        let written =
            tokio::task::spawn_blocking(move || store.apply(&changes).map_err(|problems| problems.to_string()));
        written.await.map_err(|error| error.to_string())?.map(|_| Changed::Done)
    }
}

#[tokio::test]
async fn an_asynchronous_store_keeps_every_promise() {
    let report = contract::assert_kept_async(&InTime).await;
    assert_eq!((report.kept.as_slice(), report.skipped.len()), (Promise::ALL, 0));
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
    OpensNothing,
    FindsAnotherProduct,
    ForgetsRevocation,
    ForgetsPlaceholders,
    FailsOnNul,
    FindsAnybody,
    IgnoresProduct,
    IgnoresCase,
    CutsBlanks,
    UnblocksAll,
    ForgetsPin,
    ForgetsExcluded,
    ForgetsWindow,
    ReformatsConfig,
    EmptyIsNothing,
    CutsThreshold,
    CutsTime,
    LosesDeny,
    LosesStones,
    LosesHardware,
    LosesPinned,
    InventsClaim,
    FallsBackToDefaultGroup,
    FallsBackToBaseline,
    LosesRefusedTrace,
    RegistersVerified,
    RegistersInto,
    RegistersAgain,
    IgnoresLimit,
    RacesPastLimit,
    CountsAllDevices,
    RegistersAnywhere,
    ReadsThrough,
    WritesByHalves,
    RevisionStands,
    RevisionGoesBack,
}

struct Faulty {
    fault: Planted,
    memory: MemoryStore,
    /// Views taken so far.
    views: AtomicU64,
}

struct FaultyView<'s> {
    store: &'s Faulty,
    /// None: every look-up takes a view of its own.
    view: Option<MemoryView<'s>>,
    number: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("invalid byte sequence for encoding \"UTF8\": 0x00")]
struct Nul;

impl Store for Faulty {
    type Error = Nul;
    type View<'s> = FaultyView<'s>;

    fn view(&self) -> Result<FaultyView<'_>, Nul> {
        let number = self.views.fetch_add(1, Ordering::Relaxed);
        let Ok(view) = self.memory.view();
        Ok(FaultyView { store: self, view: (self.fault != Planted::ReadsThrough).then_some(view), number })
    }

    fn register(&self, product: &ProductId, serial: &CanonicalSerial, at: Timestamp) -> Result<Registered, Nul> {
        let known =
            |fleet: &Fleet| fleet.product(product.as_str()).and_then(|entry| entry.device(serial.as_str())).is_some();
        let put = |state, group: &str| {
            let device = DeviceSpec {
                serial: serial.to_string(),
                state,
                group: group.into(),
                entered_at: at,
                ..DeviceSpec::default()
            };
            let put = Change::PutDevice { product: product.clone(), device };
            if self.memory.apply(&[put]).is_ok() { Registered::New } else { Registered::Refused }
        };
        let new = |max: &dyn Fn(&otagate::ProductEntry) -> bool| {
            self.memory.read(|fleet| fleet.product(product.as_str()).is_some_and(max))
        };
        let Ok(told) = (match self.fault {
            _ if self.memory.read(known) && self.fault != Planted::RegistersAgain => Ok(Registered::Known),
            Planted::RegistersAgain => Ok(put(DeviceState::New, "lobby")),
            Planted::IgnoresLimit if new(&|entry| entry.product().spec().register_on_first_contact) => {
                Ok(put(DeviceState::New, "lobby"))
            }
            Planted::RacesPastLimit => {
                let room = new(&|entry| {
                    entry.product().spec().register_on_first_contact
                        && entry.new_devices() < entry.product().new_devices_max() as usize
                });
                std::thread::sleep(std::time::Duration::from_millis(5));
                Ok(if room { put(DeviceState::New, "lobby") } else { Registered::Refused })
            }
            Planted::CountsAllDevices
                if new(&|entry| entry.devices().len() >= entry.product().new_devices_max() as usize) =>
            {
                Ok(Registered::Refused)
            }
            Planted::RegistersAnywhere if new(&|entry| !entry.product().spec().register_on_first_contact) => {
                Ok(put(DeviceState::New, "lobby"))
            }
            Planted::RegistersVerified | Planted::RegistersInto => {
                self.memory.register(product, serial, at).map(|told| match (told, self.fault) {
                    (Registered::New, Planted::RegistersVerified) => put(DeviceState::Verified, "lobby"),
                    (Registered::New, _) => put(DeviceState::New, "default"),
                    _ => told,
                })
            }
            _ => self.memory.register(product, serial, at),
        });
        Ok(told)
    }
}

impl FaultyView<'_> {
    fn has(&self, fault: Planted) -> bool {
        self.store.fault == fault
    }

    fn fleet<R>(&self, look: impl FnOnce(&Fleet) -> R) -> R {
        self.store.memory.read(look)
    }

    fn find_device(&self, product: &ProductId, serial: &str) -> Option<Device> {
        let find = |serial: &str| {
            let look = |view: &MemoryView<'_>| {
                let Ok(found) = view.device(product, serial);
                found.map(|held| Device::clone(&held))
            };
            match &self.view {
                Some(view) => look(view),
                None => {
                    let Ok(view) = self.store.memory.view();
                    look(&view)
                }
            }
        };
        let any = |right: &dyn Fn(&Product, &Device) -> bool| {
            self.fleet(|fleet| {
                let mut all =
                    fleet.products().flat_map(|entry| entry.devices().map(move |device| (entry.product(), device)));
                all.find(|(product, device)| right(product, device)).map(|(_, device)| device.clone())
            })
        };
        match self.store.fault {
            // The last product's, since the first may be the right one.
            Planted::IgnoresProduct => find(serial).and_then(|found| {
                self.fleet(|fleet| fleet.products().filter_map(|entry| entry.device(serial)).last().cloned())
                    .or(Some(found))
            }),
            Planted::FindsAnybody => find(serial).or_else(|| any(&|_, _| serial.contains('%'))),
            Planted::IgnoresCase => any(&|of, device| {
                of.id() == product
                    && device.serial().to_lowercase() == serial.to_lowercase()
                    && device.serial() != "A4CF12340001"
            })
            .filter(|_| serial != "a4cf12340001" && serial != "A4CF12340001")
            .or_else(|| find(serial)),
            Planted::CutsBlanks => find(serial.trim_end()).or_else(|| find(serial)),
            _ => find(serial),
        }
    }
}

impl View for FaultyView<'_> {
    type Error = Nul;

    fn revision(&self) -> Result<Revision, Nul> {
        let Ok(revision) = (match &self.view {
            Some(view) => view.revision(),
            None => Ok(self.fleet(Fleet::revision)),
        });
        Ok(match self.store.fault {
            Planted::RevisionStands => Revision(5),
            Planted::RevisionGoesBack => Revision(u64::MAX - self.number),
            _ => revision,
        })
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Held<'_, Product>>, Nul> {
        let found = self.fleet(|fleet| fleet.product_of_key(key).map(|entry| entry.product().clone()));
        if self.has(Planted::FindsAnotherProduct) && found.is_some() {
            return Ok(self
                .fleet(|fleet| fleet.products().last().map(|entry| entry.product().clone()))
                .map(Held::from));
        }
        let changed = |product: Product, change: &dyn Fn(&mut ProductSpec)| {
            let mut spec = product.spec();
            change(&mut spec);
            spec.build().unwrap()
        };
        Ok(found
            .map(|product| match self.store.fault {
                Planted::ForgetsRevocation => {
                    changed(product, &|spec| spec.keys.iter_mut().for_each(|key| key.revoked = false))
                }
                Planted::ForgetsPlaceholders if product.id().as_str() == "open" => {
                    changed(product, &|spec| spec.placeholders.clear())
                }
                _ => product,
            })
            .map(Held::from))
    }

    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Held<'_, Device>>, Nul> {
        if self.has(Planted::FailsOnNul) && product.as_str().contains('\0') {
            return Err(Nul);
        }
        let Some(device) = self.find_device(product, serial) else { return Ok(None) };
        let changed = |change: &dyn Fn(&mut DeviceSpec)| {
            let mut spec = device.spec();
            change(&mut spec);
            let rules = self.fleet(|fleet| fleet.product(product.as_str()).map(|entry| entry.product().clone()));
            spec.build(&rules.unwrap()).unwrap()
        };
        let device = match self.store.fault {
            Planted::UnblocksAll if product.as_str() == "thermostat" => {
                changed(&|spec| spec.state = DeviceState::Verified)
            }
            Planted::ForgetsPin if product.as_str() == "thermostat" => changed(&|spec| spec.pin = None),
            Planted::CutsTime if product.as_str() == "numbers" => {
                changed(&|spec| spec.entered_at = Timestamp::from_millis(spec.entered_at.millis() / 1_000 * 1_000))
            }
            _ => device,
        };
        Ok(Some(device.into()))
    }

    fn group(&self, product: &Product, device: &Device) -> Result<Option<GroupRecord<'_>>, Nul> {
        let name = match self.fleet(|fleet| {
            fleet.product(product.id().as_str()).and_then(|entry| entry.group(device.group().as_str())).is_some()
        }) {
            false if self.has(Planted::FallsBackToDefaultGroup) => product.default_group().as_str(),
            _ => device.group().as_str(),
        };
        let found = self.fleet(|fleet| {
            let entry = fleet.product(product.id().as_str())?;
            Some((entry.group(name)?.spec(), entry.catalogue().iter().map(otagate::Firmware::spec).collect::<Vec<_>>()))
        });
        let Some((mut group, mut firmware)) = found else { return Ok(None) };
        let mut standing = store::StandingRecord::default();
        let rich = product.id().as_str() == "thermostat";
        match self.store.fault {
            Planted::ForgetsExcluded if rich => group.rollout.iter_mut().for_each(|rollout| rollout.excluded.clear()),
            Planted::ForgetsWindow if rich => group.window = None,
            Planted::ReformatsConfig if rich => {
                let tidy = |config: &mut otagate::ConfigSpec| {
                    let json: serde_json::Value = serde_json::from_str(&config.document).unwrap();
                    (config.document, config.digests) = (json.to_string(), Digests::default());
                };
                group.config.iter_mut().for_each(tidy);
            }
            Planted::EmptyIsNothing if !rich && product.id().as_str() == "numbers" => {
                group.resources = group.resources.filter(|list| !list.is_empty());
            }
            Planted::CutsThreshold => {
                let opened = group
                    .rollout
                    .iter_mut()
                    .flat_map(|rollout| &mut rollout.waves)
                    .filter_map(|wave| wave.opened.as_mut());
                opened.for_each(|opened| {
                    opened.threshold = opened.threshold.map(|threshold| threshold.min(i64::MAX as u64))
                });
            }
            Planted::LosesDeny => firmware.iter_mut().for_each(|firmware| firmware.denied = false),
            Planted::LosesStones => firmware.retain(|firmware| !firmware.stone),
            Planted::LosesPinned => {
                firmware.retain(|firmware| device.pin().is_none_or(|pin| !pin.text().ends_with(&firmware.version)))
            }
            Planted::LosesHardware if rich => {
                firmware
                    .iter_mut()
                    .flat_map(|one| &mut one.artifacts)
                    .for_each(|artifact| artifact.hardware.truncate(1));
            }
            Planted::InventsClaim => standing.claim_expires_at = Some(Timestamp::from_millis(i64::MAX)),
            Planted::FallsBackToBaseline => {
                let known = |version: &String| firmware.iter().any(|one| one.version == *version);
                if product.id().as_str() == "gaps" {
                    group.firmware = group.firmware.filter(known);
                }
            }
            _ => {}
        }
        let rules = product.versions();
        let firmware = firmware.iter().map(|spec| spec.build(rules).unwrap()).collect();
        let catalogue = Catalogue::new(firmware, rules).unwrap();
        Ok(Some(GroupRecord { group: group.build(product).unwrap().into(), catalogue: catalogue.into(), standing }))
    }
}

impl Subject for Planted {
    type Store = Faulty;

    fn open(&self, fleet: &Fleet) -> Result<Faulty, String> {
        if *self == Self::OpensNothing {
            return Err("no such table: devices".into());
        }
        Ok(Faulty { fault: *self, memory: MemoryStore::new(fleet.clone()), views: AtomicU64::new(0) })
    }

    fn change(&self, store: &Faulty, changes: &[Change], _: &Fleet) -> Result<Changed, String> {
        let size = if *self == Self::WritesByHalves { 1 } else { changes.len() };
        for part in changes.chunks(size) {
            store.memory.apply(part).map_err(|problems| problems.to_string())?;
            // Between two halves, a reader gets its turn.
            std::thread::sleep(std::time::Duration::from_millis(if size == 1 { 2 } else { 0 }));
        }
        Ok(Changed::Done)
    }
}

/// Each fault is named as what it is. Where more than one promise is named, the fault breaks them all.
#[test]
fn the_suite_names_the_promise_that_is_broken() {
    use Planted as P;
    use Promise::*;
    let rows: &[(P, &[Promise])] = &[(P::OpensNothing, &[Opens]), (P::FindsAnotherProduct, &[KeyFindsItsProduct])];
    for (fault, broken) in rows {
        let found = contract::check(fault).expect_err(&format!("{fault:?} was not found"));
        let named: Vec<_> = found.breaches.iter().map(|breach| breach.promise).collect();
        println!("{fault:?}: {found}");
        assert_eq!(named, *broken, "{fault:?}: {found}");
    }
}
