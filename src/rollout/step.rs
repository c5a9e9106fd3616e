//! The pure step: from a rollout, its account and the time to what happens next (R7, R8). No I/O, no clock; the same in, the same out.

use super::statistics::Statistics;
use crate::fleet::{Gate, Progress, Rollout, RolloutState};
use crate::time::Timestamp;
use serde::Serialize;
use std::fmt;

/// What is to be done about a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What is known of the gate now; to be noted where it differs from what the rollout has (V6).
    pub progress: Option<Progress>,
    /// What happens, at most one thing; then it is looked at anew.
    pub transition: Option<Transition>,
}

/// A rollout moves on, or stops itself. In JSON it is an object with its name under `kind`, the same in every language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Transition {
    /// The next wave opens, counted from 0, by a census that is still to be taken.
    OpenWave {
        /// The wave.
        wave: usize,
        /// What its gate found good; none where it asks for nothing.
        progress: Option<Progress>,
    },
    /// It halts itself: it is paused, and live claims go on.
    Halt {
        /// Devices that stand at failed or missing, by what came about since it was started or resumed last.
        failed: u64,
        /// Devices that stand at finished, by the same.
        finished: u64,
    },
    /// Its target becomes the group's baseline.
    Complete {
        /// What its gate found good; none where it asks for nothing.
        progress: Option<Progress>,
    },
}

/// What is to be done about a rollout, given its account and the time.
///
/// - Only what runs moves; a pause stands until it is ended.
/// - It halts where failures have reached what its [`Halt`](crate::Halt) says, over all open waves: late ones too, and before anything opens.
/// - The next wave opens once its gate is good ([`Gate`](crate::Gate)); after the last one the rollout completes itself, if it has a gate for that.
/// - The window of the group does not keep a wave shut: a wave that opens outside of it serves nobody until the window does (question 11).
///
/// What had been good since a time that has not come yet, because a clock was set back, is good since `now`. Time is what it is told: a clock that is wrong by an
/// hour, ahead or behind, may end a soak an hour too soon.
pub fn step(rollout: &Rollout, statistics: &Statistics, now: Timestamp) -> Step {
    if *rollout.state() != RolloutState::Running {
        return Step::default();
    }
    let (failed, finished) = (statistics.recent.failures(), statistics.recent.finished(rollout.success()));
    let next = rollout.next_wave();
    let gate = rollout.next_gate();
    let progress = judged(rollout, statistics).map(|wave| progress(rollout, statistics, wave, gate, now));
    let transition = match next {
        _ if rollout.halt().is_reached(failed, finished) => Some(Transition::Halt { failed, finished }),
        // Nobody was admitted who could be healthy, and starting it was the hand that opens it.
        Some(0) if gate.is_by_hand() => Some(Transition::OpenWave { wave: 0, progress: None }),
        Some(wave) if gate.opens(progress.as_ref(), now) => {
            Some(Transition::OpenWave { wave, progress: progress.filter(|_| gate.asks_for_health()) })
        }
        None if gate.opens(progress.as_ref(), now) => {
            Some(Transition::Complete { progress: progress.filter(|_| gate.asks_for_health()) })
        }
        _ => None,
    };
    Step { progress, transition }
}

/// The wave that a gate judges: the last open one that admitted somebody, be it after its census. A wave that adds nobody passes only if an earlier one did.
fn judged(rollout: &Rollout, statistics: &Statistics) -> Option<usize> {
    let (last, ..) = rollout.last_open()?;
    (0..=last).rev().find(|wave| rollout.admitted_somebody(*wave) || statistics.wave(*wave).devices() > 0)
}

fn progress(rollout: &Rollout, statistics: &Statistics, wave: usize, gate: &Gate, now: Timestamp) -> Progress {
    let counts = statistics.wave(wave);
    let held = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let mut progress = Progress {
        wave: held(wave as u64),
        offered: held(counts.devices()),
        finished: held(counts.finished(rollout.success())),
        succeeded: held(counts.succeeded(rollout.success())),
        good_since: None,
    };
    if gate.asks_for_health() && gate.is_good(&progress) {
        let before = rollout.progress().filter(|before| before.wave == progress.wave);
        let since = before.and_then(|before| before.good_since).filter(|since| *since <= now);
        progress.good_since = Some(since.unwrap_or(now));
    }
    progress
}

/// As an operator would say it; a halt says so in the rollout's `why`.
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |f: &mut fmt::Formatter<'_>, progress: &Option<Progress>| match progress {
            Some(Progress { wave, offered, finished, succeeded, .. }) => write!(
                f,
                ": of wave {} {offered} were offered it, {finished} have finished, {succeeded} of them succeeded",
                u64::from(*wave) + 1
            ),
            None => Ok(()),
        };
        match self {
            Self::OpenWave { wave, progress } => {
                write!(f, "wave {} opens", wave + 1)?;
                because(f, progress)
            }
            Self::Halt { failed, finished } => write!(f, "halted: {failed} failed of {finished} that have finished"),
            Self::Complete { progress } => {
                write!(f, "completed")?;
                because(f, progress)
            }
        }
    }
}
