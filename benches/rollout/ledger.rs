//! The plain ledger: claims, reports, what it holds, and a check-in that asks it.

use crate::common::{Random, Summary, median, medians};
use crate::memory::Held;
use crate::world::{Serial, WINDOW, World, current, product};
use crate::{GROUP, NOW, group, index, phase, start, waiting};
use otagate::rollout::{ClaimAsk, Claimed, Ledger, MemoryLedger, Noted, Of, OfferAsk, Outcome, Report, attend};
use otagate::store::{Store, View, fetch};
use otagate::*;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

const ROUNDS: usize = 5;
const WAYS_ROUNDS: usize = 11;

pub(crate) fn measure(devices: usize, summary: &mut Summary) {
    phase(&format!("the ledger: {devices} devices"));
    let world = World::random(devices);
    let index = index(&world);
    let threshold = start(&index);
    let (product, group) = (product(), group());
    let snapshot = index.snapshot();
    let rollout = snapshot.group(product.as_str(), GROUP).and_then(Group::rollout).expect("a rollout");
    let run = rollout.run(&product, &group).expect("it runs");
    let of = |device| Of { product: &product, group: &group, serial: world.serial(device), run: Some(&run) };
    let claim = |ledger: &MemoryLedger, device| claim(ledger, of(device));

    let (held, ledger) = Held::by(|| {
        let ledger = MemoryLedger::default();
        (0..devices).for_each(|device| assert!(claim(&ledger, device).new));
        ledger
    });
    summary.put("ledger_bytes_per_device", held.allocated / devices as f64);

    let (mut fresh, mut two, mut again, mut noted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let one = MemoryLedger::default();
        fresh.push(secs(1, |_| (0..devices).for_each(|device| assert!(claim(&one, device).new))));
        again.push(secs(1, |_| (0..devices).for_each(|device| assert!(!claim(&one, device).new))));
        let reports: Vec<Report> = (0..devices)
            .filter_map(|device| Report::new(&product, &group, rollout, world.serial(device), Outcome::Installed))
            .map(|report| report.of_attempt(1))
            .collect();
        noted.push(secs(1, |_| {
            reports.iter().for_each(|report| assert_eq!(one.note(report, NOW), Ok(Noted::Moved)));
        }));
        let counts = one.statistics(&run, 0).expect("an account");
        assert_eq!(counts.wave(0).at(Outcome::Installed), devices as u64);
        drop((one, reports));
        let both = MemoryLedger::default();
        two.push(secs(2, |thread| {
            (thread..devices).step_by(2).for_each(|device| assert!(claim(&both, device).new));
        }));
        assert_eq!(both.statistics(&run, 0).expect("an account").total().devices(), devices as u64);
    }
    let per_s = |times| devices as f64 / median(times);
    let (fresh, two) = (per_s(fresh), per_s(two));
    summary.put("claims_per_s", fresh);
    summary.put("claims_per_s_2_threads", two);
    summary.put("claims_2_threads_vs_1", two / fresh);
    summary.put("claims_again_per_s", per_s(again));
    summary.put("notes_per_s", per_s(noted));

    let mut random = Random(12);
    let mut held = || {
        for _ in 0..WINDOW {
            let device = random.next() as usize % devices;
            assert_eq!(ledger.held(black_box(&of(device)), NOW).map(|held| held.standing.attempts), Ok(1));
        }
    };
    let [held] = medians(WAYS_ROUNDS, WINDOW, [&mut held]);
    summary.put("held_ns", held);

    phase("the index as a store, with a ledger and without");
    let serials = waiting(&world, threshold, 4 * WINDOW);
    ways("", &index, &ledger, &serials, Reason::WaveNotOpen, summary);
    // Whose wave is open, on the version before: an offer that was made already.
    let inside: Vec<Serial> = (0..devices)
        .map(|device| world.serial(device))
        .filter(|serial| rollout.wave_of(product.as_str(), serial, NOW).is_some())
        .map(|serial| serial.as_bytes().try_into().expect("a MAC"))
        .collect();
    let inside: Vec<Serial> = inside.into_iter().cycle().take(4 * WINDOW).collect();
    ways("serve_", &index, &ledger, &inside, Reason::Serve, summary);
}

fn claim(ledger: &MemoryLedger, of: Of<'_>) -> Claimed {
    let offer = Some(OfferAsk { wave: 0, hop: "2.0.0", slots_max: Some(u32::MAX), missing: None, after: None });
    let ask = ClaimAsk { of, offer, downloads_max: None, until: NOW.plus_secs(3_600) };
    ledger.claim(black_box(&ask), NOW).expect("it cannot fail").expect("there is a slot")
}

/// How long it takes until all threads are done, in seconds.
fn secs(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let timed = |thread| {
        barrier.wait();
        let start = Instant::now();
        work(thread);
        (start, Instant::now())
    };
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let timed = &timed;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || timed(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let (start, end) = (spans.iter().map(|span| span.0).min(), spans.iter().map(|span| span.1).max());
    end.zip(start).map_or(0.0, |(end, start)| (end - start).as_secs_f64())
}

fn ways(what: &str, index: &Index, ledger: &MemoryLedger, serials: &[Serial], told: Reason, summary: &mut Summary) {
    let (mut ours, mut theirs) = (serials.chunks_exact(WINDOW).cycle(), serials.chunks_exact(WINDOW).cycle().skip(2));
    let mut attended = || {
        for serial in ours.next().expect("a window") {
            let (ask, view) = (current(black_box(serial)), index.view().expect("it cannot fail"));
            let mut found = fetch(&view, &ask).expect("it cannot fail");
            let attended = attend(ledger, &mut found, &ask, NOW.plus_secs(3_600), NOW, &mut NoTrace);
            assert_eq!(attended.expect("it cannot fail").decision.reason, told);
        }
    };
    let mut decided = || {
        for serial in theirs.next().expect("a window") {
            let (ask, view) = (current(black_box(serial)), index.view().expect("it cannot fail"));
            let found = fetch(&view, &ask).expect("it cannot fail");
            assert_eq!(decide(&found.facts(), &ask, NOW, &mut NoTrace).reason, told);
            black_box(view.revision().expect("it cannot fail"));
        }
    };
    let [attended, decided] = medians(WAYS_ROUNDS, WINDOW, [&mut attended, &mut decided]);
    summary.put(format!("attend_{what}ns"), attended);
    summary.put(format!("fetch_and_decide_{what}ns"), decided);
    summary.put(format!("attend_{what}vs_decide"), attended / decided);
}
