//! Which waves are open, and by which threshold: what was frozen before, what the file states, or a census now (R3, R7).
//!
//! A reload never counts a wave anew that is open already. A restart has nothing to carry over from: there the file's `threshold` keeps what was
//! frozen, and a load says for each wave that it counted which line that would be.

use super::found::Found;
use super::table::Placed;
use crate::fleet::check_frozen;
use crate::{
    Census, Group, Opened, Problem, Problems, ProductEntry, Rollout, RolloutSpec, RolloutState, Target, Timestamp,
    WaveSize,
};
use std::fmt;
use std::ops::Range;

/// What the file says about one wave being open.
pub(super) struct OpenLine {
    pub(super) span: Range<usize>,
    pub(super) open: bool,
    pub(super) threshold: Option<Placed<u64>>,
    pub(super) opened_at: Option<Timestamp>,
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
    lines: &[OpenLine],
    previous: Option<&Rollout>,
    now: Timestamp,
    found: &mut Found,
) -> Vec<Pending> {
    let previous = previous.filter(|previous| previous.id().as_str() == spec.id);
    if let Some(previous) = previous.filter(|previous| previous.last_open().is_some()) {
        spec.started_at = previous.started_at;
        spec.progress = previous.progress;
    }
    let active = matches!(spec.state, RolloutState::Running | RolloutState::Paused { .. });
    let mut pending = Vec::new();
    let mut before_is_open = true;
    for (index, (wave, line)) in spec.waves.iter_mut().zip(lines).enumerate() {
        let frozen = previous.and_then(|previous| previous.waves().get(index)?.opened);
        if let (Some(frozen), Some(stated)) = (frozen, &line.threshold)
            && frozen.threshold.is_some_and(|frozen| frozen != stated.value)
        {
            found.add(
                stated.span.clone(),
                format!(
                    "the wave is open by the threshold {}, which is frozen (R3): write that, or leave it out",
                    frozen.threshold.unwrap_or_default()
                ),
            );
        }
        if frozen.is_none() && line.open {
            if spec.state == RolloutState::Draft {
                found.add(line.span.clone(), "is open, but the rollout is a draft: set its `state`, or close the wave");
                continue;
            }
            if !before_is_open {
                found.add(line.span.clone(), "is open behind a closed wave: waves open in order");
                continue;
            }
        }
        before_is_open = frozen.is_some() || line.open;
        let at = line.opened_at.unwrap_or(now);
        let stated = (line.threshold.is_some() || wave.size == WaveSize::All).then(|| Opened {
            at,
            threshold: line.threshold.as_ref().map(|threshold| threshold.value),
            counted: None,
            eligible: None,
        });
        match (frozen, line.open) {
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

/// What a reload must not change, since devices act on it: R7 for the same rollout, and R10 and R11 for one that is gone from the file.
pub(super) fn check_reload(old: &Group, new: &Group) -> Result<(), Problems> {
    let mut problems = Problems::default();
    let Some(rollout) = old.rollout() else { return check_left(old, new, problems) };
    match new.rollout() {
        Some(same) if same.id() == rollout.id() => {
            let mut frozen = Problems::default();
            check_frozen(rollout, Some(same), &mut frozen);
            for Problem { message, .. } in frozen.list() {
                problems.add("rollout", message);
            }
        }
        _ if rollout.is_active() && rollout.last_open().is_some() && !is_over_in(rollout, new) => {
            let (id, fate) = (rollout.id(), "its fate to abort it, with `aborted = { target = ..., fate = ... }`");
            problems.add(
                "",
                format!(
                    "rollout `{id}` is under way and gone from the file: make its target the group's own to complete it, or name {fate} (R10, R11)"
                ),
            );
        }
        _ => {}
    }
    check_left(old, new, problems)
}

/// Completed: its target is the group's own now. Aborted: the group names its fate.
fn is_over_in(rollout: &Rollout, new: &Group) -> bool {
    match rollout.target() {
        Target::Firmware(target) => {
            let is_target = |version: &crate::Version| version == target;
            new.firmware().is_some_and(is_target) || new.aborted.as_ref().is_some_and(|over| is_target(&over.target))
        }
        // Configs and resources have no fate: what the group assigns is what they get.
        Target::Config(_) | Target::Resources(_) => true,
    }
}

/// R10: `leave` holds until the group's baseline changes, and a file that still says it would bring it back at every load.
fn check_left(old: &Group, new: &Group, mut problems: Problems) -> Result<(), Problems> {
    let still =
        old.aborted.as_ref().filter(|over| over.fate == crate::Fate::Leave && new.aborted.as_ref() == Some(over));
    if still.is_some() && old.firmware() != new.firmware() {
        problems.add("aborted", "is over, since the group's `firmware` has changed (R10): leave it out");
    }
    problems.finish(Some(()))
}
