//! What a simulation came to: one course for each seed, and the bands that many of them make. Numbers alone, all integers, so that the same run is the same
//! bytes wherever it is made.

use crate::fleet::{GroupId, ProductId, RolloutId, WaveSize};
use crate::rollout::Outcomes;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The shares of a group whose adoption is timed, in basis points: half of it, and two that say how long the tail is.
pub const TIMED_SHARES_BPS: [u16; 3] = [5_000, 9_500, 9_900];

/// Plans side by side in one world, from the same seeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// When the virtual time begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// The seeds, each of which every plan was run with.
    pub seeds: Vec<u64>,
    /// One for each plan, in the order in which they were given.
    pub plans: Vec<Outlook>,
}

/// What one plan came to over all seeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// The plan.
    pub plan: String,
    /// The course by the first seed, told in full.
    pub course: Course,
    /// What all seeds together say; with one seed the three of each band are the same.
    pub bands: Bands,
}

/// What happened in one run of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// The plan.
    pub plan: String,
    /// The seed.
    pub seed: u64,
    /// When the virtual time begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// How many devices there are at the end: those of the fleet, and joiners.
    pub devices: u64,
    /// How many check-ins were decided.
    pub check_ins: u64,
    /// How many came to nothing: the device was offline, or the gateway out.
    pub unanswered: u64,
    /// How often each reason was given, by its name; none that was not given.
    pub verdicts: BTreeMap<String, u64>,
    /// How many downloads were begun.
    pub downloads: u64,
    /// How many bytes devices were sent until the end.
    pub bytes: u64,
    /// The most check-ins, answered or not, in one second.
    pub peak_check_ins_per_sec: u32,
    /// The most bytes a second, as the mean of one bin of [`load`](Self::load).
    pub peak_bytes_per_sec: u64,
    /// What happened to every rollout that ran, in the order of product, group and start.
    pub rollouts: Vec<RolloutCourse>,
    /// What was done, by whom, in the order of time.
    pub events: Vec<Event>,
    /// Load over time.
    pub load: Load,
}

/// Load over time. Every list has one number for each bin, the first of which begins with the virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// How long a bin is, in seconds; the last one may be cut by the end.
    pub bin_secs: u32,
    /// Check-ins that were decided.
    pub check_ins: Vec<u64>,
    /// Check-ins that found no gateway.
    pub unanswered: Vec<u64>,
    /// Check-ins that were served.
    pub served: Vec<u64>,
    /// Bytes sent, each download evenly over its time.
    pub bytes: Vec<u64>,
}

/// What happened to one rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutCourse {
    /// The product.
    pub product: ProductId,
    /// The group.
    pub group: GroupId,
    /// The rollout.
    pub rollout: RolloutId,
    /// The version that it moves the group to.
    pub target: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// Verified devices of the group when it was started: what shares of adoption are of.
    pub members: u64,
    /// Where it stands at the end: `running`, `paused`, `completed`, `aborted`, or `gone`.
    pub state: String,
    /// Its waves.
    pub waves: Vec<WaveCourse>,
    /// Devices that run the target at the end.
    pub adopted: u64,
    /// Devices that the target, or a hop to it, did harm to: it failed, silently or not, they died of it, or they fell back. Each once, as the world knows it; a
    /// ledger learns of some later, or never.
    pub harmed: u64,
    /// The first time that it halted itself.
    pub halted_at: Option<Timestamp>,
    /// How many were harmed until then.
    pub harmed_at_halt: Option<u64>,
    /// When it completed.
    pub completed_at: Option<Timestamp>,
    /// When so many of the members ran the target for the first time, for each of [`TIMED_SHARES_BPS`].
    pub reached: Vec<Reached>,
    /// Devices that run the target at the end of each bin of [`Load`].
    pub adopted_over_time: Vec<u64>,
    /// Devices that were harmed until the end of each bin.
    pub harmed_over_time: Vec<u64>,
}

/// One wave of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveCourse {
    /// Its cumulative size.
    pub size: WaveSize,
    /// When it opened.
    pub opened_at: Option<Timestamp>,
    /// How many devices its census counted in, all waves before included.
    pub counted: Option<u64>,
    /// What the ledger knows at the end of the devices that were first offered something in it.
    pub outcomes: Outcomes,
}

/// When a share of the members ran the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The share, in basis points.
    pub share_bps: u16,
    /// When; none: not until the end.
    pub at: Option<Timestamp>,
}

/// Something that was done to the fleet, or befell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What kind: `open-wave`, `halt`, `complete`, `not-done`, `action`, `joined`, `outage`, `outage-ends`.
    pub kind: String,
    /// The wave that opened, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<usize>,
    /// In words.
    pub line: String,
}

/// What many seeds say: of each number the 10th, 50th and 90th percentile, by nearest rank. Times are seconds since the beginning; a time that was not reached counts as
/// later than every other, and is none where a percentile falls on one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bands {
    /// How long a bin of what goes over time is, in seconds.
    pub bin_secs: u32,
    /// Numbers by name: `adopted`, `harmed`, `harmed_at_halt`, `halted_secs`, `completed_secs`, `secs_to_50`, `secs_to_95`, `secs_to_99`, `check_ins`, `downloads`, `bytes`,
    /// `peak_check_ins_per_sec`, `peak_bytes_per_sec`. What is of rollouts is of the first one.
    pub numbers: BTreeMap<String, Band>,
    /// How many of the seeds halted.
    pub halted: u64,
    /// Devices on the first rollout's target at the end of each bin.
    pub adopted: BandOverTime,
    /// Devices harmed until the end of each bin.
    pub harmed: BandOverTime,
    /// Check-ins of each bin, answered or not.
    pub check_ins: BandOverTime,
    /// Bytes of each bin.
    pub bytes: BandOverTime,
}

/// One number over all seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// The 10th percentile.
    pub p10: Option<u64>,
    /// The median.
    pub p50: Option<u64>,
    /// The 90th percentile.
    pub p90: Option<u64>,
}

/// The same for each bin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandOverTime {
    /// The 10th percentile.
    pub p10: Vec<u64>,
    /// The median.
    pub p50: Vec<u64>,
    /// The 90th percentile.
    pub p90: Vec<u64>,
}

impl Bands {
    /// The bands of some courses of one plan, which have bins of one length.
    pub fn of(courses: &[Course]) -> Self {
        let first = |course: &'_ Course| course.rollouts.first().cloned();
        let rollouts: Vec<Option<RolloutCourse>> = courses.iter().map(first).collect();
        let bin_secs = courses.first().map_or(0, |course| course.load.bin_secs);
        let mut numbers = BTreeMap::new();
        let mut add = |name: &str, number: &dyn Fn(&Course, Option<&RolloutCourse>) -> Option<u64>| {
            let all = courses.iter().zip(&rollouts).map(|(course, rollout)| number(course, rollout.as_ref())).collect();
            numbers.insert(name.to_owned(), Band::of(all));
        };
        let since = |course: &Course, at: Option<Timestamp>| {
            Some(u64::try_from(at?.millis().saturating_sub(course.starts_at.millis())).unwrap_or(0) / 1_000)
        };
        add("adopted", &|_, rollout| Some(rollout?.adopted));
        add("harmed", &|_, rollout| Some(rollout?.harmed));
        add("harmed_at_halt", &|_, rollout| rollout?.harmed_at_halt);
        add("halted_secs", &|course, rollout| since(course, rollout?.halted_at));
        add("completed_secs", &|course, rollout| since(course, rollout?.completed_at));
        for (name, at) in ["secs_to_50", "secs_to_95", "secs_to_99"].into_iter().zip(0..) {
            add(name, &|course, rollout| since(course, rollout?.reached.get(at)?.at));
        }
        add("check_ins", &|course, _| Some(course.check_ins));
        add("downloads", &|course, _| Some(course.downloads));
        add("bytes", &|course, _| Some(course.bytes));
        add("peak_check_ins_per_sec", &|course, _| Some(course.peak_check_ins_per_sec.into()));
        add("peak_bytes_per_sec", &|course, _| Some(course.peak_bytes_per_sec));
        let of_rollout = |line: fn(&RolloutCourse) -> &Vec<u64>| {
            BandOverTime::of(rollouts.iter().flatten().map(|rollout| line(rollout).clone()).collect())
        };
        let asked = |course: &Course| {
            course.load.check_ins.iter().zip(&course.load.unanswered).map(|(decided, lost)| decided + lost).collect()
        };
        Self {
            bin_secs,
            numbers,
            halted: rollouts.iter().flatten().filter(|rollout| rollout.halted_at.is_some()).count() as u64,
            adopted: of_rollout(|rollout| &rollout.adopted_over_time),
            harmed: of_rollout(|rollout| &rollout.harmed_over_time),
            check_ins: BandOverTime::of(courses.iter().map(asked).collect()),
            bytes: BandOverTime::of(courses.iter().map(|course| course.load.bytes.clone()).collect()),
        }
    }
}

/// The place of a percentile among so many, by nearest rank.
fn nearest(percent: usize, len: usize) -> usize {
    (percent * len).div_ceil(100).saturating_sub(1)
}

impl Band {
    fn of(mut all: Vec<Option<u64>>) -> Self {
        // What was not reached is later than all else.
        all.sort_by_key(|number| (number.is_none(), *number));
        let at = |percent| all.get(nearest(percent, all.len())).copied().flatten();
        Self { p10: at(10), p50: at(50), p90: at(90) }
    }
}

impl BandOverTime {
    fn of(lines: Vec<Vec<u64>>) -> Self {
        let bins = lines.iter().map(Vec::len).max().unwrap_or(0);
        let mut band = Self::default();
        for bin in 0..bins {
            let all = Band::of(lines.iter().map(|line| line.get(bin).copied()).collect());
            for (line, number) in [(&mut band.p10, all.p10), (&mut band.p50, all.p50), (&mut band.p90, all.p90)] {
                line.push(number.unwrap_or(0));
            }
        }
        band
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks_and_what_was_not_reached_is_late() {
        let all = |numbers: &[u64]| Band::of(numbers.iter().copied().map(Some).collect());
        assert_eq!(all(&[7]), Band { p10: Some(7), p50: Some(7), p90: Some(7) });
        assert_eq!(all(&[9, 1, 5, 3]), Band { p10: Some(1), p50: Some(3), p90: Some(9) });
        assert_eq!(all(&(1..=100).collect::<Vec<_>>()), Band { p10: Some(10), p50: Some(50), p90: Some(90) });
        assert_eq!(Band::of(vec![None, Some(4), None]), Band { p10: Some(4), p50: None, p90: None });
        assert_eq!(Band::of(vec![]), Band::default());
    }
}
