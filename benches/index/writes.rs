//! What a change costs, and what it costs those who ask meanwhile.

use crate::NOW;
use crate::common::{Random, Summary, median, quantile};
use crate::world::{Serial, World, current, product};
use otagate::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const CHANGES: usize = 2_000;
const ASSIGNMENTS: usize = 200;
const WRITES_PER_SECOND: u32 = 1_000;
/// How many devices one batch of the writer changes.
const CHANGED: usize = 4;
const PHASES: usize = 5;
const PHASE: Duration = Duration::from_secs(1);
/// How many decisions are timed as one.
const SAMPLE: usize = 16;

fn set_state(serial: &str, state: DeviceState) -> Change {
    Change::SetDeviceState { product: product(), serial: serial.into(), state }
}

fn micros(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / 1_000.0
}

/// One device after another is disabled and verified again.
pub(crate) fn change_one(size: &str, index: &Index, world: &World, summary: &mut Summary) {
    let (mut random, mut reader, mut times) = (Random(3), index.reader(), Vec::new());
    for _ in 0..CHANGES {
        let serial = world.serial(world.draw(&mut random, "stable"));
        let ask = current(serial.as_bytes().first_chunk().expect("a serial"));
        for (state, status) in [(DeviceState::Disabled, 401), (DeviceState::Verified, 304)] {
            let batch = [set_state(serial, state)];
            times.push(micros(|| _ = index.apply(&batch).unwrap()));
            assert_eq!(reader.decide(&ask, NOW, &mut NoTrace).status(), status);
        }
    }
    summary.put(format!("change_one_of_{size}_us"), median(times.clone()));
    summary.put(format!("change_one_of_{size}_p99_us"), quantile(times, 0.99));
}

/// The group goes from one firmware to another and back.
pub(crate) fn assign_group(size: &str, index: &Index, member: &Serial, summary: &mut Summary) {
    let (mut reader, mut times, ask) = (index.reader(), Vec::new(), current(member));
    for _ in 0..ASSIGNMENTS {
        for (version, reason) in [("2.0.0", Reason::Serve), ("1.4.0", Reason::Current)] {
            let group = GroupId::new("stable").unwrap();
            let batch = [Change::AssignFirmware { product: product(), group, firmware: Some(version.into()) }];
            times.push(micros(|| _ = index.apply(&batch).unwrap()));
            assert_eq!(reader.decide(&ask, NOW, &mut NoTrace).reason, reason);
        }
    }
    summary.put(format!("assign_group_of_{size}_us"), median(times));
}

pub(crate) fn readers_beside_a_writer(
    size: &str,
    index: &Index,
    world: &World,
    serials: &[Serial],
    summary: &mut Summary,
) {
    let mut random = Random(4);
    let batches: Vec<Vec<Change>> = (0..CHANGES)
        .flat_map(|_| {
            let devices = [(); CHANGED].map(|()| world.draw(&mut random, "empty"));
            let all = |state| devices.iter().map(|device| set_state(world.serial(*device), state)).collect();
            [all(DeviceState::Disabled), all(DeviceState::Verified)]
        })
        .collect();
    let (mut reader, mut groups, mut batches) =
        (index.reader(), serials.chunks_exact(SAMPLE).cycle(), batches.iter().cycle());
    let mut sample = || {
        let mut samples = Vec::with_capacity(1 << 20);
        let (start, mut last) = (Instant::now(), Instant::now());
        while last - start < PHASE {
            for serial in groups.next().expect("a group") {
                assert_eq!(reader.decide(std::hint::black_box(&current(serial)), NOW, &mut NoTrace).status(), 304);
            }
            let now = Instant::now();
            samples.push((now - last).as_nanos() as f64 / SAMPLE as f64);
            last = now;
        }
        samples
    };
    let (mut alone, mut beside, mut written, mut secs) = (Vec::new(), Vec::new(), 0, 0.0);
    for phase in 0..=PHASES {
        let (quiet, stop) = (sample(), AtomicBool::new(false));
        let (busy, (count, took)) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(index, &mut batches, &stop));
            let busy = sample();
            stop.store(true, Relaxed);
            (busy, writer.join().unwrap())
        });
        // The first one warms up.
        if phase > 0 {
            alone.push(quiet);
            beside.push(busy);
            written += count;
            secs += took;
        }
    }
    let typical = |phases: &[Vec<f64>]| median(phases.iter().cloned().map(median).collect());
    let slowdown = typical(&beside) / typical(&alone);
    let mut put = |key: &str, figure: f64| {
        summary.put(format!("{key}_{size}"), figure);
        if size == "10m" {
            summary.put(key, figure);
        }
    };
    put("reader_slowdown_under_writes", slowdown);
    put("reader_p999_alone_ns", quantile(alone.concat(), 0.999));
    put("reader_p999_under_writes_ns", quantile(beside.concat(), 0.999));
    put("writes_per_second_reached", f64::from(written) / secs);
}

/// Publishes batches at the rate that is asked, or as fast as it can; gives how many, and in what time.
fn write<'a>(index: &Index, batches: &mut impl Iterator<Item = &'a Vec<Change>>, stop: &AtomicBool) -> (u32, f64) {
    let (start, held) = (Instant::now(), index.revision());
    let mut written = 0;
    while !stop.load(Relaxed) {
        index.apply(batches.next().expect("a batch")).unwrap();
        written += 1;
        let due = start + Duration::from_secs(1) * written / WRITES_PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let secs = start.elapsed().as_secs_f64();
    assert_eq!(index.revision(), Revision(held.0 + u64::from(written)), "every batch changes something");
    (written, secs)
}
