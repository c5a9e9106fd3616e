//! Which waves are open, and by which threshold: what was frozen before, what the file states, or a census now (R3, R7).
//!
//! A reload never counts a wave anew that is open already. A restart has nothing to carry over from: there the file's `threshold` keeps what was
//! frozen, and a load says for each wave that it counted which line that would be.

use super::found::Found;
use super::table::Placed;
use crate::{Admission, Census, Group, Opened, ProductEntry, Rollout, RolloutSpec, RolloutState, Timestamp, WaveSize};
use std::fmt;
use std::ops::Range;

/// What the file says about a rollout besides its specification, and where.
#[derive(Default)]
pub(super) struct RolloutLines {
    /// One per wave.
    pub(super) waves: Vec<OpenLine>,
    /// Where its start stands, if it is stated.
    pub(super) started_at: Range<usize>,
    /// Where it is said to run again, if it is.
    pub(super) resume: Option<Range<usize>>,
}

/// What the file says about one wave being open.
pub(super) struct OpenLine {
    pub(super) span: Range<usize>,
    pub(super) open: Option<Placed<bool>>,
    pub(super) threshold: Option<Placed<u64>>,
    pub(super) opened_at: Option<Placed<Timestamp>>,
}

impl OpenLine {
    pub(super) fn is_open(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.value)
    }

    /// An edit of what was frozen when the wave opened would change nothing, and so it is refused.
    fn check_frozen(&self, frozen: &Opened, found: &mut Found) {
        if let Some(open) = self.open.as_ref().filter(|open| !open.value) {
            found.add(
                open.span.clone(),
                "the wave is open, and an open wave never closes (R7): write `open = true`, or leave it out",
            );
        }
        if let Some(stated) = self.threshold.as_ref().filter(|stated| frozen.threshold != Some(stated.value)) {
            let message = match frozen.threshold {
                Some(threshold) => format!(
                    "the wave is open by the threshold {threshold}, which is frozen (R3, R7): write that, or leave it out"
                ),
                None => "the wave is open, and has no threshold, which is frozen (R3, R7): leave it out".to_owned(),
            };
            found.add(stated.span.clone(), message);
        }
        if let Some(stated) = self.opened_at.as_ref().filter(|stated| frozen.at != stated.value) {
            let message =
                format!("the wave was opened at {}, which is frozen (R7): write that, or leave it out", frozen.at);
            found.add(stated.span.clone(), message);
        }
    }
}

/// A wave to be opened once the devices are known.
pub(super) struct Pending {
    wave: usize,
    span: Range<usize>,
    /// What is stated; a census gives the rest.
    stated: Option<Opened>,
    at: Timestamp,
}

/// A wave that this load opened by a census: its threshold is new, and held nowhere but in the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedWave {
    /// The product.
    pub product: String,
    /// The group.
    pub group: String,
    /// The rollout.
    pub rollout: String,
    /// The wave, counted from 0.
    pub wave: usize,
    /// When it was opened.
    pub at: Timestamp,
    /// Who was found.
    pub census: Census,
}

/// Says what to write into the file, so that a restart does not count anew.
impl fmt::Display for CountedWave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { product, group, rollout, wave, at, census } = self;
        write!(
            f,
            "product `{product}`, group `{group}`, rollout `{rollout}`: wave {} was opened by a census, {} of {} devices; ",
            wave + 1,
            census.counted,
            census.eligible,
        )?;
        match census.threshold {
            Some(threshold) => write!(
                f,
                "to keep that over a restart, write `open = true, threshold = \"{threshold}\", opened_at = {at}`"
            ),
            None => write!(f, "nobody could be counted, and a restart counts again"),
        }
    }
}

/// Writes into the rollout what is open already, and returns what is still to be opened, in order.
pub(super) fn settle(
    spec: &mut RolloutSpec,
    lines: &RolloutLines,
    previous: Option<&Rollout>,
    now: Timestamp,
    found: &mut Found,
) -> Vec<Pending> {
    let previous = previous.filter(|previous| previous.id().as_str() == spec.id);
    if let Some(previous) = previous.filter(|previous| previous.last_open().is_some()) {
        if let (Some(stated), Some(frozen)) = (spec.started_at, previous.started_at)
            && stated != frozen
        {
            let message =
                format!("the rollout started at {frozen}, and the start is frozen (R7): write that, or leave it out");
            found.add(lines.started_at.clone(), message);
        }
        spec.started_at = previous.started_at;
    }
    if let Some(previous) = previous {
        spec.progress = previous.progress;
        spec.resumes = previous.resumes;
        // A pause that the file does not end was put into its state before.
        if matches!(previous.state, RolloutState::Paused { .. }) && spec.state == RolloutState::Running {
            spec.resumes = spec.resumes.saturating_add(1);
            spec.progress.iter_mut().for_each(|progress| progress.good_since = None);
        }
    }
    let active = matches!(spec.state, RolloutState::Running | RolloutState::Paused { .. });
    let mut pending = Vec::new();
    let mut before_is_open = true;
    for (index, (wave, line)) in spec.waves.iter_mut().zip(&lines.waves).enumerate() {
        let frozen = previous.and_then(|previous| previous.waves().get(index)?.opened);
        if let Some(frozen) = &frozen {
            line.check_frozen(frozen, found);
        } else if line.is_open() {
            if spec.state == RolloutState::Draft {
                found.add(line.span.clone(), "is open, but the rollout is a draft: set its `state`, or close the wave");
                continue;
            }
            if previous.is_some() && spec.state != RolloutState::Running {
                let message =
                    "is opened while the rollout does not run, and waves open only while it runs (R7): resume it first";
                found.add(line.span.clone(), message);
                continue;
            }
            if !before_is_open {
                found.add(line.span.clone(), "is open behind a closed wave: waves open in order");
                continue;
            }
        }
        before_is_open = frozen.is_some() || line.is_open();
        let at = line.opened_at.as_ref().map_or(now, |at| at.value);
        // Who comes first is in, and of `all` everybody is: nobody is counted.
        let uncounted = wave.size == WaveSize::All || spec.admission == Admission::FirstCome;
        let stated = (line.threshold.is_some() || uncounted).then(|| Opened {
            at,
            threshold: line.threshold.as_ref().map(|threshold| threshold.value),
            counted: None,
            newcomers: None,
            eligible: None,
        });
        match (frozen, line.is_open()) {
            (Some(frozen), _) => wave.opened = Some(frozen),
            (None, true) if pending.is_empty() && stated.is_some() => wave.opened = stated,
            // Nobody is let in by a rollout that is over, so nobody is counted.
            (None, true) if active => pending.push(Pending { wave: index, span: line.span.clone(), stated, at }),
            (None, _) => {}
        }
    }
    pending
}

/// Opens what is still to be opened, first wave first, now that the devices are there.
pub(super) fn open_waves(
    entry: &mut ProductEntry,
    group: &str,
    pending: Vec<Pending>,
    found: &mut Found,
) -> Vec<CountedWave> {
    let mut counted = Vec::new();
    for Pending { wave, span, stated, at } in pending {
        let opened = match stated {
            Some(stated) => stated,
            None => match entry.census(group, wave) {
                Ok(census) => {
                    counted.extend(entry.group(group).and_then(Group::rollout).map(|rollout| CountedWave {
                        product: entry.product().id().as_str().to_owned(),
                        group: group.to_owned(),
                        rollout: rollout.id().as_str().to_owned(),
                        wave,
                        at,
                        census,
                    }));
                    census.opened(at)
                }
                Err(fault) => {
                    found.add(span, fault.to_string());
                    return counted;
                }
            },
        };
        let waves = entry.group(group).and_then(Group::rollout).map(Rollout::waves).unwrap_or_default();
        let before = waves.iter().take(wave).filter_map(|wave| wave.opened?.threshold).max();
        if opened.threshold.is_some() && opened.threshold < before {
            found.add(span, "has a threshold below that of a wave before: an open wave never closes");
            return counted;
        }
        entry.set_opened(group, wave, opened);
    }
    counted
}
