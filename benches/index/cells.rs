//! What does it cost a reader to come by the newest revision? The ways to share one pointer, on one thread and on two: why readers keep an
//! `arc_swap::Cache`.

use crate::common::{Summary, median};
use arc_swap::{ArcSwap, Cache};
use parking_lot::RwLock;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

const LOADS: u64 = 1_000_000;
const ROUNDS: usize = 9;

pub(crate) fn measure(summary: &mut Summary) {
    let swap = ArcSwap::from_pointee(7_u64);
    let lock = RwLock::new(Arc::new(7_u64));
    let cache = || {
        let mut cache = Cache::new(&swap);
        (0..LOADS).map(|_| **black_box(cache.load())).sum()
    };
    let guard = || (0..LOADS).map(|_| **black_box(&*swap.load())).sum();
    let count = || (0..LOADS).map(|_| *black_box(swap.load_full())).sum();
    let locked = || (0..LOADS).map(|_| **black_box(&*lock.read())).sum();
    let ways: [(&str, &(dyn Fn() -> u64 + Sync)); 4] =
        [("cell_cache", &cache), ("cell_guard", &guard), ("cell_count", &count), ("cell_rwlock", &locked)];
    for threads in [1, 2] {
        let mut times = ways.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for ((_, way), times) in ways.iter().zip(&mut times) {
                times.push(nanos(threads, *way));
            }
        }
        for ((name, _), times) in ways.iter().zip(times) {
            summary.put(format!("{name}_{threads}_threads_ns"), median(times));
        }
    }
}

/// Nanoseconds per load, all threads loading at once: those of the slowest.
fn nanos(threads: usize, way: &(dyn Fn() -> u64 + Sync)) -> f64 {
    let start = Barrier::new(threads);
    let worker = || {
        start.wait();
        let from = Instant::now();
        assert_eq!(way(), 7 * LOADS);
        from.elapsed().as_nanos() as f64 / LOADS as f64
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(0.0, f64::max)
    })
}
