//! What is to come, by tick: a ring of lists, and a heap for what is far away. Within a tick there is no order, since quiet check-ins need none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How many ticks the ring has; what comes later waits in the heap. With ticks of a minute nearly three days.
const RING: usize = 4_096;

/// Devices by when they ask, in milliseconds since the beginning.
#[derive(Debug)]
pub(super) struct Wheel {
    tick_ms: i64,
    /// The tick that is taken next.
    next: i64,
    ring: Vec<Vec<(u32, u32)>>,
    later: BinaryHeap<Reverse<(i64, u32)>>,
    /// Room for lists, which goes from the tick that is over to the farthest one: were it left where it was, every tick of the ring would come to hold some.
    spare: Vec<Vec<(u32, u32)>>,
}

impl Wheel {
    pub(super) fn new(tick_ms: i64) -> Self {
        Self { tick_ms, next: 0, ring: vec![Vec::new(); RING], later: BinaryHeap::new(), spare: Vec::new() }
    }

    /// A device asks then, which is not before the tick that is taken next.
    pub(super) fn put(&mut self, at: i64, device: u32) {
        let tick = at.div_euclid(self.tick_ms);
        if tick - self.next >= RING as i64 {
            self.later.push(Reverse((at, device)));
            return;
        }
        // A tick is a day at most, so its milliseconds fit.
        let offset = at.rem_euclid(self.tick_ms) as u32;
        let slot = tick.rem_euclid(RING as i64) as usize;
        if let Some(list) = self.ring.get_mut(slot) {
            if list.capacity() == 0 {
                *list = self.spare.pop().unwrap_or_default();
            }
            list.push((device, offset));
        }
    }

    /// Takes what is in a tick, none of which may be skipped: the device, and when in the tick. What is put into the tick afterwards is taken the next time.
    pub(super) fn take(&mut self, tick: i64, into: &mut Vec<(u32, u32)>) {
        into.clear();
        self.next = tick;
        while let Some(Reverse((at, device))) =
            self.later.peek().copied().filter(|first| first.0.0.div_euclid(self.tick_ms) <= tick)
        {
            self.later.pop();
            self.put(at, device);
        }
        if let Some(list) = self.ring.get_mut(tick.rem_euclid(RING as i64) as usize) {
            let used = std::mem::replace(into, std::mem::take(list));
            if used.capacity() > 0 {
                self.spare.push(used);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_once_in_its_tick() {
        let mut wheel = Wheel::new(60_000);
        let times = [0, 59_999, 60_000, 60_000 * 4_095, 60_000 * 4_096, 60_000 * 4_097 + 7, 60_000 * 100_000];
        for (device, at) in times.iter().enumerate() {
            wheel.put(*at, device as u32);
        }
        let (mut seen, mut list) = (Vec::new(), Vec::new());
        for tick in 0..=100_000 {
            wheel.take(tick, &mut list);
            seen.extend(list.iter().map(|(device, offset)| (*device, tick * 60_000 + i64::from(*offset))));
        }
        seen.sort_unstable();
        assert_eq!(seen, times.iter().enumerate().map(|(device, at)| (device as u32, *at)).collect::<Vec<_>>());
    }
}
