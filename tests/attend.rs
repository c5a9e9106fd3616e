//! What a check-in means where there is a ledger: what counts as an attempt and what does not, told by what operators saw.
#![cfg(feature = "wire")]

use otagate::rollout::*;
use otagate::store::{Store, fetch};
use otagate::wire::otadrive::{self, Host, LeaseTimes};
use otagate::*;
use std::cell::RefCell;
use std::convert::Infallible;

const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

fn firmware(version: &str) -> FirmwareSpec {
    let digests = Digests::blake3_of(version.as_bytes());
    let artifact = ArtifactSpec { size_bytes: 100, digests, locator: version.into(), ..Default::default() };
    FirmwareSpec { version: version.into(), artifacts: vec![artifact], ..Default::default() }
}

fn config(document: &str) -> ConfigSpec {
    ConfigSpec { document: document.into(), ..Default::default() }
}

fn resource(name: &str) -> ResourceSpec {
    let digests = Digests::blake3_of(name.as_bytes());
    ResourceSpec { name: name.into(), size_bytes: 10, digests, locator: name.into() }
}

/// A group of three devices, with this rollout under way.
fn fleet(rollout: RolloutSpec, change: impl FnOnce(&mut GroupSpec)) -> Index {
    let device = |serial: &str| DeviceSpec {
        serial: serial.into(),
        state: DeviceState::Verified,
        group: "stable".into(),
        ..Default::default()
    };
    let rollout = RolloutSpec { state: RolloutState::Running, started_at: Some(NOW), ..rollout };
    let mut group = GroupSpec {
        id: "stable".into(),
        firmware: Some("1.0".into()),
        config: Some(config("{}")),
        rollout: Some(rollout),
        ..Default::default()
    };
    change(&mut group);
    let spec = ProductFleetSpec {
        product: ProductSpec {
            id: "lamp".into(),
            keys: vec![ApiKey::new(KeyHash::of(b"k").unwrap())],
            versions: VersionRulesSpec { scheme: VersionScheme::Dotted, ..Default::default() },
            poll_interval_secs: Some(60),
            ..Default::default()
        },
        firmware: vec![firmware("1.0"), firmware("2.0")],
        groups: vec![group],
        devices: ["a", "b", "c"].map(device).to_vec(),
    };
    Index::new(&FleetSpec { revision: Revision(1), products: vec![spec] }.build().unwrap())
}

fn to(target: TargetSpec) -> RolloutSpec {
    RolloutSpec::new("r", target, vec![Wave::new(WaveSize::All)])
}

fn to_2() -> RolloutSpec {
    to(TargetSpec::Firmware("2.0".into()))
}

fn run(index: &Index) -> Run {
    let (product, group) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
    let snapshot = index.snapshot();
    snapshot.group("lamp", "stable").unwrap().rollout().unwrap().run(&product, &group).unwrap()
}

fn state(index: &Index) -> RolloutState {
    index.snapshot().group("lamp", "stable").unwrap().rollout().unwrap().state().clone()
}

fn opened(index: &Index) -> usize {
    let snapshot = index.snapshot();
    let rollout = snapshot.group("lamp", "stable").unwrap().rollout().unwrap();
    rollout.waves().iter().filter(|wave| wave.opened.is_some()).count()
}

fn advance(index: &Index, ledger: &MemoryLedger, now: Timestamp) -> Vec<Moved> {
    Conductor::new(index, ledger).advance(now).unwrap()
}

/// A device asks; what it is told, and what the host carries out.
fn asks(index: &Index, ledger: &impl Ledger<Error = Infallible>, ask: &CheckIn<'_>, now: Timestamp) -> Reason {
    let view = index.view().unwrap();
    let mut found = fetch(&view, ask).unwrap();
    let attended = attend(ledger, &mut found, ask, now.plus_secs(HOUR), now, &mut NoTrace).unwrap();
    if let Some(report) = &attended.seen {
        ledger.note(report, now).unwrap();
    }
    attended.decision.reason
}

fn at_version<'a>(serial: &'a str, version: &'a str) -> CheckIn<'a> {
    CheckIn { version: version.as_bytes(), ..CheckIn::new(b"k", serial.as_bytes()) }
}

fn noted(index: &Index, ledger: &MemoryLedger, serial: &str, outcome: Outcome, now: Timestamp) -> Noted {
    let run = run(index);
    let snapshot = index.snapshot();
    let rollout = snapshot.group("lamp", "stable").unwrap().rollout().unwrap();
    ledger.note(&Report::new(&run.product, &run.group, rollout, serial, outcome).unwrap(), now).unwrap()
}

fn totals(index: &Index, ledger: &MemoryLedger) -> Outcomes {
    ledger.statistics(&run(index), 0).unwrap().total()
}

/// Seen: devices fetch their config in the middle of a download of firmware, and the canary was good after sixteen bytes.
#[test]
fn a_config_that_is_fetched_in_the_middle_of_a_download_ends_nothing() {
    let index = fleet(RolloutSpec { success: Success::Downloaded, ..to_2() }, |group| group.downloads_max = Some(1));
    let (ledger, leases) = (MemoryLedger::default(), Leases::new(10));
    advance(&index, &ledger, NOW);
    let times = LeaseTimes { lease_secs: 4 * 3_600, grace_secs: 0 };
    let host = Host { store: &index, ledger: &ledger, leases: &leases, times };
    let asks = |target: &str, range: &'static str, now| {
        let header = move |name: &str| (name == "range" && !range.is_empty()).then_some(range.as_bytes());
        let request = otadrive::Request::parse("GET", target, header).unwrap();
        let reply = otadrive::answer(&host, &request, now, &mut NoTrace).unwrap();
        let ends = reply.ends.as_ref().map(|ends| ends.carry_out(&leases, &ledger, now).unwrap());
        (reply.response.status, ends)
    };
    let update = "/deviceapi/update?k=k&s=a&v=1.0";
    assert_eq!(asks(update, "bytes=0-15", NOW), (206, None));
    for minute in 1..100 {
        let now = NOW.plus_secs(minute * MINUTE);
        assert_eq!(asks("/deviceapi/config?k=k&s=a", "", now), (200, Some(None)), "nothing of the rollout's is over");
        assert_eq!(asks(update, "bytes=16-31", now), (206, None), "and it goes on, by its lease");
        assert_eq!(asks("/deviceapi/update?k=k&s=b&v=1.0", "", now).0, 304, "its place is still taken");
    }
    assert_eq!(totals(&index, &ledger), Outcomes { offered: 1, ..Outcomes::default() });
    let later = NOW.plus_secs(3 * HOUR);
    assert_eq!(asks(update, "bytes=32-99", later), (206, Some(Some(Noted::Moved))), "the last byte ends it");
    assert_eq!(totals(&index, &ledger), Outcomes { downloaded: 1, ..Outcomes::default() });
    assert_eq!(asks("/deviceapi/update?k=k&s=b&v=1.0", "", later).0, 200, "and its place is free");
}

/// Seen: configs that half of the fleet refused went out to the rest, since each offer forgot that the last one had come to nothing.
#[test]
fn a_config_that_never_arrives_halts_its_rollout() {
    let missing = Missing { offers: 2, secs: 600 };
    let halt = Halt { failures: Some(2), ..Halt::default() };
    let index = fleet(RolloutSpec { missing, halt, ..to(TargetSpec::Config(config("[1]"))) }, |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let want = |serial| CheckIn { want: Want::Config, ..CheckIn::new(b"k", serial) };
    for hour in 0..2 {
        for serial in [b"a", b"b"] {
            assert_eq!(asks(&index, &ledger, &want(serial), NOW.plus_secs(hour * HOUR)), Reason::Serve);
        }
    }
    advance(&index, &ledger, NOW.plus_secs(HOUR));
    assert_eq!((state(&index), totals(&index, &ledger).offered), (RolloutState::Running, 2));
    for serial in [b"a", b"b"] {
        asks(&index, &ledger, &want(serial), NOW.plus_secs(2 * HOUR));
    }
    assert_eq!(totals(&index, &ledger).missing, 2, "offered again, and missing all the same");
    advance(&index, &ledger, NOW.plus_secs(2 * HOUR));
    assert!(matches!(state(&index), RolloutState::Paused { .. }));
    // After it is resumed failures count anew, and these go on failing.
    let Run { product, group, rollout, .. } = run(&index);
    index.apply(&[Change::ResumeRollout { product, group, rollout }]).unwrap();
    assert_eq!(advance(&index, &ledger, NOW.plus_secs(2 * HOUR)), []);
    for serial in [b"a", b"b"] {
        asks(&index, &ledger, &want(serial), NOW.plus_secs(4 * HOUR));
    }
    advance(&index, &ledger, NOW.plus_secs(4 * HOUR));
    assert!(matches!(state(&index), RolloutState::Paused { .. }));
}

/// Seen: devices that look at the list of resources every hour never let the next wave open.
#[test]
fn who_has_finished_with_resources_has_finished() {
    let target = TargetSpec::Resources(vec![resource("logo"), resource("ca")]);
    let index = fleet(RolloutSpec { success: Success::Downloaded, ..to(target) }, |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let list = CheckIn { want: Want::Resources, ..CheckIn::new(b"k", b"a") };
    let logo = CheckIn { want: Want::Resource(b"logo"), ..CheckIn::new(b"k", b"a") };
    assert_eq!(asks(&index, &ledger, &list, NOW), Reason::Serve);
    assert_eq!(asks(&index, &ledger, &logo, NOW), Reason::Serve);
    assert_eq!(noted(&index, &ledger, "a", Outcome::Downloaded, NOW), Noted::Moved);
    for hour in 1..48 {
        for ask in [&list, &logo] {
            assert_eq!(asks(&index, &ledger, ask, NOW.plus_secs(hour * HOUR)), Reason::Serve);
        }
        assert_eq!(totals(&index, &ledger), Outcomes { downloaded: 1, ..Outcomes::default() }, "hour {hour}");
    }
}

/// Seen: the commonest bad firmware boots once, reports itself, and falls back.
#[test]
fn firmware_that_boots_once_and_falls_back_halts_its_rollout() {
    let halt = Halt { failures: Some(1), ..Halt::default() };
    let index = fleet(RolloutSpec { missing: Missing { offers: 3, secs: 3_600 }, halt, ..to_2() }, |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let mut rounds = 0;
    while state(&index) == RolloutState::Running {
        let now = NOW.plus_secs(rounds * 2 * HOUR);
        let told = asks(&index, &ledger, &at_version("a", "1.0"), now);
        assert_eq!(told, if rounds < 3 { Reason::Serve } else { Reason::Penalty });
        advance(&index, &ledger, now);
        if rounds < 3 {
            assert_eq!(asks(&index, &ledger, &at_version("a", "2.0"), now.plus_secs(HOUR)), Reason::Current);
        }
        rounds += 1;
        assert!(rounds < 10, "it is offered again and again");
    }
    assert_eq!(rounds, 4, "three offers, and elsewhere again");
}

/// Seen: ten canaries, staggered, each of which boots the new image for some minutes of every hour, passed a day's soak and let everybody in.
#[test]
fn a_canary_that_falls_back_in_turns_halts() {
    let halt = Halt { failures: Some(2), ..Halt::default() };
    let missing = Missing { offers: 3, secs: 3_600 };
    let index = fleet(RolloutSpec { missing, halt, ..to_2() }, |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let mut booted = [false; 3];
    for minute in 0..24 * 60 {
        let now = NOW.plus_secs(minute * MINUTE);
        for (unit, serial) in ["a", "b", "c"].into_iter().enumerate() {
            match (minute + 60 - 20 * unit as i64) % 60 {
                0 => booted[unit] = asks(&index, &ledger, &at_version(serial, "1.0"), now) == Reason::Serve,
                // Who was served boots the new image, and is back on the old one when it asks next.
                4 if booted[unit] => drop(asks(&index, &ledger, &at_version(serial, "2.0"), now)),
                _ => {}
            }
        }
        advance(&index, &ledger, now);
        if matches!(state(&index), RolloutState::Paused { .. }) {
            assert!((60..6 * 60).contains(&minute), "within hours, and not before three offers: {minute}");
            return;
        }
    }
    panic!("it never halts: {:?}", totals(&index, &ledger));
}

/// Seen: a config of the baseline took a place for an hour, and nobody else could download.
#[test]
fn what_took_a_place_gives_it_back_and_nothing_else_does() {
    let waves = vec![Wave::new(WaveSize::First(1)), Wave::new(WaveSize::All)];
    let staged = RolloutSpec { waves, ..to(TargetSpec::Config(config("[1]"))) };
    let index = fleet(staged, |group| group.downloads_max = Some(1));
    let (ledger, leases) = (MemoryLedger::default(), Leases::new(10));
    let host = Host {
        store: &index,
        ledger: &ledger,
        leases: &leases,
        times: LeaseTimes { lease_secs: 3_600, grace_secs: 0 },
    };
    let asks = |target: &str, range: &'static str, now| {
        let header = move |name: &str| (name == "range" && !range.is_empty()).then_some(range.as_bytes());
        let request = otadrive::Request::parse("GET", target, header).unwrap();
        let reply = otadrive::answer(&host, &request, now, &mut NoTrace).unwrap();
        if let Some(ends) = &reply.ends {
            ends.carry_out(&leases, &ledger, now).unwrap();
        }
        reply.response.status
    };
    advance(&index, &ledger, NOW);
    for (second, serial) in (0..).zip(["a", "b", "c", "a", "b", "c"]) {
        let now = NOW.plus_secs(second);
        assert_eq!(asks(&format!("/deviceapi/config?k=k&s={serial}"), "", now), 200, "each place is free again");
    }
    // In the middle of a download of firmware the config gives that one's place to nobody.
    let now = NOW.plus_secs(MINUTE);
    assert_eq!(asks("/deviceapi/update?k=k&s=a&v=0.9", "bytes=0-15", now), 206);
    assert_eq!(asks("/deviceapi/config?k=k&s=a", "", now), 200);
    assert_eq!(asks("/deviceapi/update?k=k&s=b&v=0.9", "", now), 304, "the image still runs");
    assert_eq!(asks("/deviceapi/update?k=k&s=a&v=0.9", "bytes=16-99", now.plus_secs(1)), 206);
    assert_eq!(asks("/deviceapi/update?k=k&s=b&v=0.9", "", now.plus_secs(2)), 200);
}

/// A cap on the group, or a target that is denied, holds a rollout: it must not walk through its waves meanwhile.
#[test]
fn what_nobody_can_be_given_opens_no_wave_and_completes_nothing() {
    type Hold = fn(ProductId, GroupId) -> Change;
    let caps: Hold = |product, group| Change::CapGroup { product, group, cap: Some("1.9".into()) };
    let denies: Hold = |product, _| Change::DenyFirmware { product, firmware: "2.0".into(), denied: true };
    let removes: Hold = |product, _| Change::RemoveFirmware { product, firmware: "2.0".into() };
    for (hold, why) in [(caps, "is above the group's cap"), (denies, "is denied"), (removes, "is missing")] {
        let good = Gate { min_finished: Some(1), ..Gate::default() };
        let waves = vec![Wave::new(WaveSize::First(1)), Wave { gate: good, ..Wave::new(WaveSize::All) }];
        let rollout = RolloutSpec { complete: Gate { opens_at: Some(NOW), ..good }, waves, ..to_2() };
        let (index, ledger) = (fleet(rollout, |_| ()), MemoryLedger::default());
        advance(&index, &ledger, NOW);
        let first = ["a", "b", "c"]
            .into_iter()
            .find(|serial| asks(&index, &ledger, &at_version(serial, "1.0"), NOW) == Reason::Serve);
        assert_eq!(asks(&index, &ledger, &at_version(first.unwrap(), "2.0"), NOW), Reason::Current);
        let Run { product, group, .. } = run(&index);
        index.apply(&[hold(product, group)]).unwrap();
        let moved = advance(&index, &ledger, NOW.plus_secs(HOUR));
        assert_eq!(moved.iter().map(|moved| moved.outcome.clone()).collect::<Vec<_>>(), [MoveOutcome::Held(why)]);
        assert!(moved[0].to_string().ends_with(&format!("not done: its target {why}")), "{}", moved[0]);
        assert_eq!((opened(&index), state(&index)), (1, RolloutState::Running));
    }
}

/// A ledger in which something happens between a look and the claim that follows it.
struct Between<'l> {
    ledger: &'l MemoryLedger,
    then: RefCell<Vec<Box<dyn Fn() + 'l>>>,
}

impl Ledger for Between<'_> {
    type Error = Infallible;
    fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, Infallible> {
        self.ledger.held(of, now)
    }
    fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Infallible> {
        if let Some(then) = self.then.borrow_mut().pop() {
            then();
        }
        self.ledger.claim(ask, now)
    }
    fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, Infallible> {
        self.ledger.note(report, at)
    }
    fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), Infallible> {
        self.ledger.release(of, at)
    }
    fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, Infallible> {
        self.ledger.statistics(run, resumes)
    }
    fn forget(&self, run: &Run) -> Result<(), Infallible> {
        self.ledger.forget(run)
    }
}

/// Two gateways: one hears that the device failed while the other is about to serve it again.
#[test]
fn an_outcome_that_comes_between_look_and_claim_is_not_passed_over() {
    let index = fleet(to_2(), |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    assert_eq!(asks(&index, &ledger, &at_version("a", "1.0"), NOW), Reason::Serve);
    let later = NOW.plus_secs(2 * HOUR);
    let fails: Box<dyn Fn()> = Box::new(|| {
        noted(&index, &ledger, "a", Outcome::Failed, later);
    });
    let between = Between { ledger: &ledger, then: RefCell::new(vec![fails]) };
    assert_eq!(asks(&index, &between, &at_version("a", "1.0"), later), Reason::Penalty);
    assert_eq!(totals(&index, &ledger), Outcomes { failed: 1, ..Outcomes::default() });
}

/// Whoever is refused by the ledger is told so in the trace too.
#[test]
fn the_trace_of_a_claim_that_is_refused_ends_as_the_answer_does() {
    let index = fleet(to_2(), |group| group.downloads_max = Some(1));
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let takes: Box<dyn Fn()> = Box::new(|| {
        asks(&index, &ledger, &at_version("b", "1.0"), NOW);
    });
    let between = Between { ledger: &ledger, then: RefCell::new(vec![takes]) };
    let view = index.view().unwrap();
    let ask = at_version("a", "1.0");
    let mut found = fetch(&view, &ask).unwrap();
    let mut trace = Recorder::default();
    let attended = attend(&between, &mut found, &ask, NOW.plus_secs(HOUR), NOW, &mut trace).unwrap();
    assert_eq!(attended.decision.reason, Reason::DownloadsFull);
    assert_eq!(attended.decision.retry_after_secs, Some(60));
    assert_eq!(trace.steps().last().unwrap().answer, Some(Reason::DownloadsFull), "{trace}");
}

/// Seen: a device in an open wave was explained as one whose wave had not opened.
#[test]
fn who_is_in_an_open_wave_waits_for_the_pause_alone() {
    let index = fleet(to_2(), |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let Run { product, group, rollout, .. } = run(&index);
    let why = "lunch".to_owned();
    index.apply(&[Change::PauseRollout { product, group, rollout, cut: false, why }]).unwrap();
    let (view, ask) = (index.view().unwrap(), at_version("a", "1.0"));
    let found = fetch(&view, &ask).unwrap();
    let mut trace = Recorder::default();
    decide(&found.facts(), &ask, NOW, &mut trace);
    assert_eq!(
        trace.eligible(),
        Some("the rollout is paused (lunch); the device is in an open wave, and goes on when the rollout is resumed")
    );
    // And before the first wave, whoever starts it has done what there is to do.
    let index = fleet(to_2(), |_| ());
    let view = index.view().unwrap();
    let found = fetch(&view, &ask).unwrap();
    let mut trace = Recorder::default();
    decide(&found.facts(), &ask, NOW, &mut trace);
    let told = trace.eligible().unwrap();
    assert!(told.ends_with("it opens when the conductor looks next, or by the operator's hand"), "{told}");
}

/// A ledger that cannot be read for one rollout must not keep another from halting.
#[test]
fn one_rollout_that_cannot_be_looked_at_keeps_no_other_from_halting() {
    #[derive(Debug, thiserror::Error)]
    #[error("no such table")]
    struct Broken;
    struct Torn(MemoryLedger);
    impl Ledger for Torn {
        type Error = Broken;
        fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, Broken> {
            Ok(self.0.held(of, now).unwrap())
        }
        fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Broken> {
            Ok(self.0.claim(ask, now).unwrap())
        }
        fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, Broken> {
            Ok(self.0.note(report, at).unwrap())
        }
        fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), Broken> {
            let Ok(()) = self.0.release(of, at);
            Ok(())
        }
        fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, Broken> {
            if run.group.as_str() == "first" { Err(Broken) } else { Ok(self.0.statistics(run, resumes).unwrap()) }
        }
        fn forget(&self, run: &Run) -> Result<(), Broken> {
            let Ok(()) = self.0.forget(run);
            Ok(())
        }
    }
    let index = fleet(RolloutSpec { halt: Halt { failures: Some(1), ..Halt::default() }, ..to_2() }, |_| ());
    let Run { product, .. } = run(&index);
    let first = GroupSpec {
        id: "first".into(),
        rollout: Some(RolloutSpec { state: RolloutState::Running, started_at: Some(NOW), ..to_2() }),
        ..Default::default()
    };
    index.apply(&[Change::PutGroup { product, group: first }]).unwrap();
    let ledger = Torn(MemoryLedger::default());
    let conductor = Conductor::new(&index, &ledger);
    assert!(matches!(conductor.advance(NOW), Err(Fault::Ledger(Broken))));
    asks(&index, &ledger.0, &at_version("a", "1.0"), NOW);
    noted(&index, &ledger.0, "a", Outcome::Failed, NOW);
    assert!(matches!(conductor.advance(NOW), Err(Fault::Ledger(Broken))));
    assert!(matches!(state(&index), RolloutState::Paused { .. }), "the other one halts all the same");
}

/// Two gateways: the last slot of a canary goes to another device between look and claim.
#[test]
fn a_slot_that_is_taken_between_look_and_claim_is_not_given_twice() {
    let waves = vec![Wave::new(WaveSize::First(1)), Wave::new(WaveSize::All)];
    let index = fleet(RolloutSpec { admission: Admission::FirstCome, waves, ..to_2() }, |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let takes: Box<dyn Fn()> = Box::new(|| {
        assert_eq!(asks(&index, &ledger, &at_version("b", "1.0"), NOW), Reason::Serve);
    });
    let between = Between { ledger: &ledger, then: RefCell::new(vec![takes]) };
    assert_eq!(asks(&index, &between, &at_version("a", "1.0"), NOW), Reason::WaveNotOpen);
    assert_eq!(totals(&index, &ledger).devices(), 1, "a canary of one");
}

/// However often something comes in between: what is served is claimed.
#[test]
fn whatever_comes_between_an_offer_is_claimed_in_the_end() {
    let index = fleet(RolloutSpec { penalty: Penalty { secs: 0, secs_max: 0 }, ..to_2() }, |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    assert_eq!(asks(&index, &ledger, &at_version("a", "1.0"), NOW), Reason::Serve);
    let later = NOW.plus_secs(2 * HOUR);
    let then = [Outcome::Confirmed, Outcome::Installed, Outcome::Missing, Outcome::Downloaded];
    let then = then.map(|outcome| -> Box<dyn Fn() + '_> {
        let (index, ledger) = (&index, &ledger);
        Box::new(move || assert_eq!(noted(index, ledger, "a", outcome, later), Noted::Moved))
    });
    let between = Between { ledger: &ledger, then: RefCell::new(then.into()) };
    assert_eq!(asks(&index, &between, &at_version("a", "1.0"), later), Reason::Serve);
    assert!(between.then.borrow().is_empty());
    let of = run(&index);
    let of = Of { product: &of.product, group: &of.group, serial: "a", run: Some(&of) };
    let tried = ledger.held(&of, later).unwrap().tried.unwrap();
    assert_eq!((tried.number, tried.outcome), (2, Outcome::Offered));
}

/// One resource that a device holds says nothing about the rest of the list.
#[test]
fn who_holds_one_resource_of_several_has_not_arrived() {
    let index = fleet(to(TargetSpec::Resources(vec![resource("logo"), resource("ca")])), |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let want = |name| CheckIn { want: Want::Resource(name), ..CheckIn::new(b"k", b"a") };
    assert_eq!(asks(&index, &ledger, &want(b"logo"), NOW), Reason::Serve);
    let digest = SentDigest::parse(DigestKind::Blake3, blake3::hash(b"logo").to_hex().as_bytes());
    let holds = CheckIn { digest, ..want(b"logo") };
    assert_eq!(asks(&index, &ledger, &holds, NOW), Reason::Current);
    assert_eq!(totals(&index, &ledger), Outcomes { offered: 1, ..Outcomes::default() });
}

/// A host in which each request is answered and what follows from it is carried out.
struct Wire {
    index: Index,
    ledger: MemoryLedger,
    leases: Leases,
}

impl Wire {
    fn new(rollout: RolloutSpec, change: impl FnOnce(&mut GroupSpec)) -> Self {
        let wire = Self { index: fleet(rollout, change), ledger: MemoryLedger::default(), leases: Leases::new(10) };
        advance(&wire.index, &wire.ledger, NOW);
        wire
    }

    fn asks(&self, target: &str, range: &'static str, now: Timestamp) -> otadrive::Reply {
        let header = move |name: &str| (name == "range" && !range.is_empty()).then_some(range.as_bytes());
        let request = otadrive::Request::parse("GET", target, header).unwrap();
        let times = LeaseTimes { lease_secs: 3_600, grace_secs: 0 };
        let host = Host { store: &self.index, ledger: &self.ledger, leases: &self.leases, times };
        let reply = otadrive::answer(&host, &request, now, &mut NoTrace).unwrap();
        if let Some(ends) = &reply.ends {
            ends.carry_out(&self.leases, &self.ledger, now).unwrap();
        }
        for after in &reply.after {
            if let otadrive::After::See(change) = after {
                self.index.apply(std::slice::from_ref(change)).unwrap();
            }
        }
        reply
    }
}

#[test]
fn a_config_in_the_middle_of_a_download_ends_no_lease() {
    let wire = Wire::new(to_2(), |_| ());
    let update = "/deviceapi/update?k=k&s=a&v=1.0";
    assert!(!wire.asks(update, "bytes=0-15", NOW).leased);
    assert_eq!(wire.asks("/deviceapi/config?k=k&s=a", "", NOW.plus_secs(1)).response.status, 200);
    assert!(wire.asks(update, "bytes=16-31", NOW.plus_secs(2)).leased, "it goes on, by its lease");
}

/// Fetching it again is no attempt, so nothing is noted that would give the place back.
#[test]
fn a_config_that_is_fetched_again_gives_its_place_back() {
    let rollout = RolloutSpec { success: Success::Downloaded, ..to(TargetSpec::Config(config("[1]"))) };
    let wire = Wire::new(rollout, |group| group.downloads_max = Some(1));
    for (serial, secs) in [("a", 0), ("a", 10), ("b", 20)] {
        let reply = wire.asks(&format!("/deviceapi/config?k=k&s={serial}"), "", NOW.plus_secs(secs));
        assert_eq!((reply.response.status, secs), (200, secs));
    }
}

#[test]
fn a_list_of_resources_is_no_resource_yet() {
    let target = TargetSpec::Resources(vec![resource("logo")]);
    let wire = Wire::new(RolloutSpec { success: Success::Downloaded, ..to(target) }, |_| ());
    assert_eq!(wire.asks("/deviceapi/resource/list?k=k&s=a", "", NOW).response.status, 200);
    assert_eq!(totals(&wire.index, &wire.ledger), Outcomes { offered: 1, ..Outcomes::default() });
}

#[test]
fn what_a_device_reports_is_taken_down_once() {
    let wire = Wire::new(to_2(), |_| ());
    let update = "/deviceapi/update?k=k&s=a&v=1.0";
    let sees =
        |reply: otadrive::Reply| reply.after.iter().filter(|after| matches!(after, otadrive::After::See(_))).count();
    assert_eq!([NOW, NOW.plus_secs(60)].map(|now| sees(wire.asks(update, "", now))), [1, 0]);
}

/// A store in which an operator is faster than the conductor, or that refuses.
struct Meddled<'s> {
    index: &'s Index,
    faster: Option<Change>,
}

impl RolloutStore for Meddled<'_> {
    type Error = Infallible;
    fn under_way(&self) -> Result<Vec<UnderWay>, Infallible> {
        self.index.under_way()
    }
    fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, Infallible> {
        RolloutStore::census(self.index, product, group, wave)
    }
    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, Infallible> {
        match &self.faster {
            Some(faster) => {
                self.index.apply(std::slice::from_ref(faster)).unwrap();
                Ok(self.index.apply(changes))
            }
            None => Ok(Err(Problems::default())),
        }
    }
}

/// Whoever was merely slower need do nothing; whoever is refused has to be seen to.
#[test]
fn what_is_lost_and_what_is_refused_are_told_apart() {
    let index = fleet(to_2(), |_| ());
    let ledger = MemoryLedger::default();
    let outcome = |faster| {
        let store = Meddled { index: &index, faster };
        let moved = Conductor::new(&store, &ledger).advance(NOW).unwrap();
        moved.into_iter().map(|moved| moved.outcome).collect::<Vec<_>>()
    };
    assert_eq!(outcome(None), [MoveOutcome::Refused(Problems::default())]);
    let Run { product, group, rollout, .. } = run(&index);
    let serials = vec!["b".to_owned()];
    assert_eq!(outcome(Some(Change::AddFirst { product, group, rollout, serials })), [MoveOutcome::Lost]);
}

/// A host that explains why a device waits lends its place by the census, and the ledger, which knows none, leaves it there.
#[test]
fn a_place_that_was_lent_is_told() {
    let waves = vec![Wave::new(WaveSize::First(1)), Wave::new(WaveSize::All)];
    let index = fleet(RolloutSpec { waves, ..to_2() }, |_| ());
    let ledger = MemoryLedger::default();
    advance(&index, &ledger, NOW);
    let told = ["a", "b", "c"].map(|serial| {
        let (view, ask) = (index.view().unwrap(), at_version(serial, "1.0"));
        let mut found = fetch(&view, &ask).unwrap();
        let group = found.group().unwrap();
        let place = index.place(&ProductId::new("lamp").unwrap(), group, 1, serial).unwrap();
        found.lend_standing(store::StandingRecord { place, ..Default::default() });
        let mut trace = Recorder::default();
        attend(&ledger, &mut found, &ask, NOW.plus_secs(HOUR), NOW, &mut trace).unwrap();
        trace.eligible().map(|told| (place.unwrap(), told.to_owned()))
    });
    let mut places: Vec<u64> = told.iter().flatten().map(|(place, _)| *place).collect();
    places.sort_unstable();
    assert_eq!(places, [2, 3], "the first of three is served");
    for (place, told) in told.iter().flatten() {
        assert!(told.contains(&format!("the device has place {place} by its census")), "{told}");
    }
}
