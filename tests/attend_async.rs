//! A host that awaits its store and its ledger is told what one is told that calls them: drawn histories, each lived twice.
#![cfg(feature = "wire")]

mod later;

use later::Later;
use otagate::rollout::*;
use otagate::store::{Store, fetch};
use otagate::wire::otadrive::{self, Host, LeaseTimes};
use otagate::*;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);

/// Polls until it is over: what waits here comes back at once.
fn done<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % count
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

const SERIALS: [&str; 6] = ["a1", "b2", "c3", "d4", "e5", "f6"];

fn fleet(dice: &mut Dice) -> FleetSpec {
    let firmware = |version: &str| {
        let digests = Digests::blake3_of(version.as_bytes());
        let artifact = ArtifactSpec { size_bytes: 100, digests, locator: version.into(), ..Default::default() };
        FirmwareSpec { version: version.into(), artifacts: vec![artifact], ..Default::default() }
    };
    let waves = vec![Wave::new(WaveSize::First(2)), Wave::new(WaveSize::All)];
    let rollout = RolloutSpec {
        state: RolloutState::Running,
        started_at: Some(NOW),
        admission: dice.one(&[Admission::Rank, Admission::FirstCome]),
        success: dice.one(&[Success::Downloaded, Success::Installed]),
        missing: Missing { offers: 2, secs: 600 },
        halt: Halt { failures: Some(dice.one(&[1, 3])), ..Halt::default() },
        penalty: Penalty { secs: dice.one(&[0, 600]), secs_max: 3_600 },
        ..RolloutSpec::new("r", TargetSpec::Firmware("2.0".into()), waves)
    };
    let group = GroupSpec {
        id: "stable".into(),
        firmware: Some("1.0".into()),
        downloads_max: dice.one(&[None, Some(1), Some(2)]),
        rollout: Some(rollout),
        ..Default::default()
    };
    let device = |serial: &str| DeviceSpec {
        serial: serial.into(),
        state: DeviceState::Verified,
        group: "stable".into(),
        ..Default::default()
    };
    let product = ProductFleetSpec {
        product: ProductSpec {
            id: "lamp".into(),
            keys: vec![ApiKey::new(KeyHash::of(b"k").unwrap())],
            versions: VersionRulesSpec { scheme: VersionScheme::Dotted, ..Default::default() },
            poll_interval_secs: Some(60),
            ..Default::default()
        },
        firmware: vec![firmware("1.0"), firmware("2.0")],
        groups: vec![group],
        devices: SERIALS.map(device).to_vec(),
    };
    FleetSpec { revision: Revision(1), products: vec![product] }
}

/// A host, and what it has.
struct Side {
    store: Later<Index>,
    ledger: Later<MemoryLedger>,
    leases: Leases,
}

impl Side {
    fn new(spec: FleetSpec) -> Self {
        let store = Later(Arc::new(Index::new(&spec.build().unwrap())));
        Self { store, ledger: Later(Arc::new(MemoryLedger::default())), leases: Leases::new(4) }
    }
}

fn told(attended: Attended<'_>) -> (String, Option<Attempt>, Option<Report>) {
    (serde_json::to_string(&attended.decision).unwrap(), attended.attempt, attended.seen)
}

#[test]
fn who_awaits_is_told_the_same() {
    let (mut served, mut moved_at_all, mut refused, mut ended) = (0, 0, 0, 0);
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let spec = fleet(&mut dice);
        let (calls, awaits) = (Side::new(spec.clone()), Side::new(spec));
        let mut now = NOW;
        for step in 0..60 {
            now = now.plus_secs(dice.one(&[1, 60, 700, 4_000]));
            let serial = dice.one(&SERIALS);
            let version = dice.one(&["1.0", "1.0", "1.0", "2.0"]);
            let ask = CheckIn { version: version.as_bytes(), ..CheckIn::new(b"k", serial.as_bytes()) };
            let when = format!("seed {seed}, step {step}");
            match dice.below(8) {
                0..=2 => {
                    let target = format!("/deviceapi/update?k=k&s={serial}&v={version}");
                    let range = dice.one(&["", "bytes=0-15", "bytes=16-99"]);
                    let header = |name: &str| (name == "range" && !range.is_empty()).then_some(range.as_bytes());
                    let request = otadrive::Request::parse("GET", &target, header).unwrap();
                    let times = LeaseTimes { lease_secs: 900, grace_secs: 30 };
                    let Side { store, ledger, leases } = &calls;
                    let host = Host { store: &*store.0, ledger: &*ledger.0, leases, times };
                    let mut trace = Recorder::default();
                    let a = otadrive::answer(&host, &request, now, &mut trace).unwrap();
                    let a_ends =
                        a.ends.as_ref().map(|ends| ends.carry_out(&calls.leases, &*calls.ledger.0, now).unwrap());
                    let Side { store, ledger, leases } = &awaits;
                    let host = Host { store, ledger, leases, times };
                    let mut trace_b = Recorder::default();
                    let b = done(otadrive::answer_async(&host, &request, now, &mut trace_b)).unwrap();
                    let b_ends = b
                        .ends
                        .as_ref()
                        .map(|ends| done(ends.carry_out_async(&awaits.leases, &awaits.ledger, now)).unwrap());
                    assert_eq!((&a, a_ends), (&b, b_ends), "{when}");
                    assert_eq!(trace.to_string(), trace_b.to_string(), "{when}");
                    served += u32::from(a.response.status < 300);
                    refused += u32::from(matches!(a.reason, Some(Reason::DownloadsFull | Reason::Penalty)));
                    ended += u32::from(a_ends.is_some());
                }
                3 | 4 => {
                    let (view, other) = (calls.store.0.view().unwrap(), awaits.store.0.view().unwrap());
                    let (mut a, mut b) = (fetch(&view, &ask).unwrap(), fetch(&other, &ask).unwrap());
                    if dice.below(4) == 0 {
                        look(&*calls.ledger.0, &mut a, now).unwrap();
                        done(look_async(&awaits.ledger, &mut b, now)).unwrap();
                        let decided = [&a, &b].map(|found| {
                            let mut trace = Recorder::default();
                            decide(&found.facts(), &ask, now, &mut trace);
                            trace.to_string()
                        });
                        assert_eq!(decided[0], decided[1], "{when}");
                        continue;
                    }
                    let until = now.plus_secs(900);
                    let a = attend(&*calls.ledger.0, &mut a, &ask, until, now, &mut NoTrace).unwrap();
                    let b = done(attend_async(&awaits.ledger, &mut b, &ask, until, now, &mut NoTrace)).unwrap();
                    assert_eq!(told(a), told(b), "{when}");
                }
                5 | 6 => {
                    let snapshot = calls.store.0.snapshot();
                    let group = snapshot.group("lamp", "stable").unwrap();
                    let outcome = dice.one(&Outcome::ALL);
                    let product = ProductId::new("lamp").unwrap();
                    let report = Report::new(&product, group.id(), group.rollout().unwrap(), serial, outcome).unwrap();
                    let a = Ledger::note(&*calls.ledger.0, &report, now).unwrap();
                    assert_eq!(a, done(AsyncLedger::note(&awaits.ledger, &report, now)).unwrap(), "{when}");
                }
                _ => {
                    let conductor = Conductor::new(&*calls.store.0, &*calls.ledger.0);
                    let later = AsyncConductor::new(&awaits.store, &awaits.ledger);
                    let (product, group) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
                    let (a, b) = match dice.below(2) {
                        0 => (conductor.advance(now).unwrap(), done(later.advance(now)).unwrap()),
                        _ => (
                            conductor.advance_group(&product, &group, now).unwrap(),
                            done(later.advance_group(&product, &group, now)).unwrap(),
                        ),
                    };
                    assert_eq!(a, b, "{when}");
                    moved_at_all += a.len();
                }
            }
            assert_eq!(calls.ledger.0.rows(), awaits.ledger.0.rows(), "{when}");
        }
        assert_eq!(calls.store.0.snapshot().revision(), awaits.store.0.snapshot().revision(), "seed {seed}");
    }
    assert!(
        served > 500 && moved_at_all > 300 && refused > 50 && ended > 100,
        "{served} {moved_at_all} {refused} {ended}"
    );
}

fn is_send<F: Future + Send>(future: F) -> F {
    future
}

/// Servers of many threads spawn these, whatever the ledger is.
#[allow(dead_code, reason = "that it compiles is the test")]
fn a_server_of_many_threads_can_spawn_them<L: AsyncLedger + Sync, S: AsyncRolloutStore + Sync>(
    ledger: &L,
    store: &S,
    found: &mut store::Found<'_>,
    ask: &CheckIn<'_>,
    ends: &Ends,
    leases: &Leases,
    run: &Run,
) {
    drop(is_send(look_async(ledger, found, NOW)));
    drop(is_send(attend_async(ledger, found, ask, NOW, NOW, &mut NoTrace)));
    drop(is_send(ends.carry_out_async(leases, ledger, NOW)));
    let conductor = AsyncConductor::new(store, ledger);
    drop(is_send(conductor.advance(NOW)));
    drop(is_send(conductor.advance_group(&run.product, &run.group, NOW)));
}

#[test]
fn a_whole_answer_can_be_spawned() {
    let side = Side::new(fleet(&mut Dice(1)));
    let Side { store, ledger, leases } = &side;
    let host = Host { store, ledger, leases, times: LeaseTimes::default() };
    let request = otadrive::Request::parse("GET", "/deviceapi/update?k=no&s=a1&v=1.0", |_| None).unwrap();
    let reply = done(is_send(otadrive::answer_async(&host, &request, NOW, &mut NoTrace))).unwrap();
    assert_eq!(reply.response.status, 401);
    let host = Host { store, ledger: &NoLedger, leases, times: LeaseTimes::default() };
    let reply = done(is_send(otadrive::answer_async(&host, &request, NOW, &mut NoTrace))).unwrap();
    assert_eq!(reply.response.status, 401);
}
