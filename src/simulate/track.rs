//! The rollouts that ran: who runs their target, whom it did harm to, and when what share was reached.

use super::course::{Reached, RolloutCourse, TIMED_SHARES_BPS, WaveCourse};
use super::population::Population;
use super::shard::{Common, Shard};
use super::world::World;
use crate::fleet::{Admission, DeviceState, ProductId, Run, VersionRules};
use crate::index::Index;
use crate::rollout::{Ledger, MemoryLedger, MoveOutcome, Moved, RolloutStore, Transition, UnderWay};
use crate::time::Timestamp;
use std::collections::{HashMap, HashSet};

#[derive(Debug)]
struct Track {
    run: Run,
    product: u32,
    group: u32,
    rules: VersionRules,
    /// Whether a version is the target, by its number.
    same: HashMap<u32, bool>,
    adopted: u64,
    harmed: HashSet<u32>,
    /// How many devices are each of the shares that are timed.
    wanted: [u64; TIMED_SHARES_BPS.len()],
    course: RolloutCourse,
    /// The rollout runs or is paused: what moves is counted even after that.
    last_state: String,
}

/// All rollouts that ran, in the order in which they were met.
#[derive(Debug)]
pub(super) struct Tracks {
    pub(super) products: Vec<ProductId>,
    all: Vec<Track>,
    under_way: Vec<Run>,
    bin_ms: i64,
    /// When the bin that goes on ends.
    bin_end: i64,
    /// Of bins that ended before a rollout was met, it has a zero each.
    bins: usize,
    bins_max: usize,
}

impl Tracks {
    pub(super) fn new(world: &World, population: &Population) -> Self {
        let bin_ms = i64::from(world.bin()) * 1_000;
        let bins_max = world.lasts_secs.div_ceil(world.bin().into()) as usize;
        Self {
            products: population.products.clone(),
            all: Vec::new(),
            under_way: Vec::new(),
            bin_ms,
            bin_end: bin_ms,
            bins: 0,
            bins_max,
        }
    }

    /// Meets the rollouts that are under way now.
    pub(super) fn look(&mut self, index: &Index, common: &mut Common<'_>, shards: &[Shard], at: i64) {
        let Ok(under_way) = index.under_way();
        let mut runs = Vec::new();
        let by_claim =
            |at: &UnderWay| at.group.rollout().is_some_and(|rollout| rollout.admission() == Admission::FirstCome);
        common.first_come = under_way.iter().any(by_claim);
        for at_group in &under_way {
            let Some(rollout) = at_group.group.rollout() else { continue };
            let Some(run) = rollout.run(&at_group.product, at_group.group.id()) else { continue };
            runs.push(run.clone());
            if self.number(&run).is_some() {
                continue;
            }
            // What goes the same way without being firmware is not simulated.
            let Some(target) = rollout.target_version() else { continue };
            let snapshot = index.snapshot();
            let Some(product) = snapshot.product(run.product.as_str()) else { continue };
            let mut members = 0;
            snapshot.scan(run.product.as_str(), Some(run.group.as_str()), |member| {
                members += u64::from(member.state() == DeviceState::Verified);
            });
            let number = self.products.iter().position(|id| *id == run.product).unwrap_or(usize::MAX) as u32;
            let waves = rollout.waves().iter().map(|wave| WaveCourse {
                size: wave.size,
                opened_at: wave.opened.map(|opened| opened.at),
                counted: wave.opened.and_then(|opened| opened.counted),
                outcomes: Default::default(),
            });
            let course = RolloutCourse {
                product: run.product.clone(),
                group: run.group.clone(),
                rollout: run.rollout.clone(),
                target: target.text().to_owned(),
                started_at: run.started_at,
                members,
                state: String::new(),
                waves: waves.collect(),
                adopted: 0,
                harmed: 0,
                halted_at: None,
                harmed_at_halt: None,
                completed_at: None,
                reached: TIMED_SHARES_BPS.map(|share_bps| Reached { share_bps, at: None }).to_vec(),
                adopted_over_time: vec![0; self.bins],
                harmed_over_time: vec![0; self.bins],
            };
            let group = common.texts.number(run.group.as_str());
            let wanted = TIMED_SHARES_BPS.map(|bps| (members * u64::from(bps)).div_ceil(10_000).max(1));
            let rules = product.versions().clone();
            let mut track = Track {
                run,
                product: number,
                group,
                rules,
                same: HashMap::new(),
                adopted: 0,
                harmed: HashSet::new(),
                wanted,
                course,
                last_state: String::new(),
            };
            let on_target = |track: &mut Track| {
                let rows = shards.iter().flat_map(|shard| &shard.rows);
                rows.filter(|row| row.product == number && row.group == group && track.is_target(row.version, common))
                    .count()
            };
            track.adopted = on_target(&mut track) as u64;
            track.reach(common.starts_at, at);
            self.all.push(track);
        }
        for track in &mut self.all {
            let now = under_way.iter().find(|at| at.product == track.run.product && *at.group.id() == track.run.group);
            if let Some(rollout) = now.and_then(|at| at.group.rollout()) {
                for (course, wave) in track.course.waves.iter_mut().zip(rollout.waves()) {
                    course.opened_at = course.opened_at.or(wave.opened.map(|opened| opened.at));
                    course.counted = course.counted.or(wave.opened.and_then(|opened| opened.counted));
                }
                track.last_state = state_of(rollout.state()).to_owned();
            }
        }
        if runs != self.under_way {
            common.generation = common.generation.wrapping_add(1).max(1);
            self.under_way = runs;
        }
    }

    /// The number of a run.
    pub(super) fn number(&self, run: &Run) -> Option<usize> {
        self.all.iter().position(|track| track.run == *run)
    }

    /// A device runs another version.
    pub(super) fn moved(
        &mut self,
        product: u32,
        group: u32,
        (before, after): (u32, u32),
        common: &Common<'_>,
        at: i64,
    ) {
        for track in self.all.iter_mut().filter(|track| track.product == product && track.group == group) {
            let (was, is) = (track.is_target(before, common), track.is_target(after, common));
            track.adopted = track.adopted + u64::from(is) - u64::from(was && track.adopted + u64::from(is) > 0);
            track.reach(common.starts_at, at);
        }
    }

    pub(super) fn harmed(&mut self, track: Option<usize>, device: u32) {
        if let Some(track) = track.and_then(|track| self.all.get_mut(track)) {
            track.harmed.insert(device);
        }
    }

    /// Takes down what stood at the end of every bin that is over at that time.
    pub(super) fn roll(&mut self, at: i64) {
        while self.bin_end <= at && self.bins < self.bins_max {
            self.all.iter_mut().for_each(Track::end_bin);
            self.bins += 1;
            self.bin_end += self.bin_ms;
        }
    }

    pub(super) fn roll_to_the_end(&mut self, end: i64) {
        self.roll(end);
        // The last bin may be cut.
        self.roll(i64::MAX);
    }

    /// What a conductor did.
    pub(super) fn note(&mut self, moved: &Moved, at: Timestamp) {
        let Moved { product, group, rollout, transition, outcome } = moved;
        if !matches!(outcome, MoveOutcome::Done(..)) {
            return;
        }
        let last = self.all.iter_mut().rev();
        let mut same = last.filter(|track| {
            track.run.product == *product && track.run.group == *group && track.run.rollout == *rollout
        });
        let Some(track) = same.next() else { return };
        match transition {
            Transition::Halt { .. } if track.course.halted_at.is_none() => {
                track.course.halted_at = Some(at);
                track.course.harmed_at_halt = Some(track.harmed.len() as u64);
            }
            Transition::Halt { .. } => {}
            Transition::Complete { .. } => track.course.completed_at = Some(at),
            Transition::OpenWave { wave, .. } => {
                if let Some(course) = track.course.waves.get_mut(*wave) {
                    course.opened_at = Some(at);
                    if let MoveOutcome::Done(_, Some(opened)) = outcome {
                        course.counted = opened.counted;
                    }
                }
            }
        }
    }

    /// The courses, in the order of product, group and start.
    pub(super) fn finish(self, index: &Index, ledger: &MemoryLedger) -> Vec<RolloutCourse> {
        let snapshot = index.snapshot();
        let mut all: Vec<RolloutCourse> = Vec::new();
        for track in self.all {
            let mut course = track.course;
            course.adopted = track.adopted;
            course.harmed = track.harmed.len() as u64;
            let rollout =
                snapshot.group(course.product.as_str(), course.group.as_str()).and_then(|group| group.rollout());
            let same = rollout
                .filter(|rollout| rollout.run(&course.product, &course.group).is_some_and(|run| run == track.run));
            course.state = match same {
                Some(rollout) => state_of(rollout.state()).to_owned(),
                None if course.completed_at.is_some() => "completed".to_owned(),
                None => "gone".to_owned(),
            };
            let Ok(statistics) = ledger.statistics(&track.run, 0);
            for (course, outcomes) in course.waves.iter_mut().zip(statistics.waves) {
                course.outcomes = outcomes;
            }
            all.push(course);
        }
        all.sort_by(|a, b| (&a.product, &a.group, a.started_at).cmp(&(&b.product, &b.group, b.started_at)));
        all
    }
}

impl Track {
    fn is_target(&mut self, version: u32, common: &Common<'_>) -> bool {
        let Self { rules, same, course, .. } = self;
        *same.entry(version).or_insert_with(|| {
            rules.equal(rules.read(common.texts.text(version).as_bytes()), rules.read(course.target.as_bytes()))
        })
    }

    fn reach(&mut self, starts_at: Timestamp, at: i64) {
        for (reached, wanted) in self.course.reached.iter_mut().zip(self.wanted) {
            if reached.at.is_none() && self.adopted >= wanted {
                reached.at = Some(Timestamp::from_millis(starts_at.millis().saturating_add(at)));
            }
        }
    }

    fn end_bin(&mut self) {
        self.course.adopted_over_time.push(self.adopted);
        self.course.harmed_over_time.push(self.harmed.len() as u64);
    }
}

fn state_of(state: &crate::fleet::RolloutState) -> &'static str {
    use crate::fleet::RolloutState;
    match state {
        RolloutState::Draft => "draft",
        RolloutState::Running => "running",
        RolloutState::Paused { .. } => "paused",
        RolloutState::Completed => "completed",
        RolloutState::Aborted => "aborted",
    }
}
