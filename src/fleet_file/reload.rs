//! What an edit of the file may do to a rollout: R7 for one that goes on, R10 and R11 for one that ends.
//!
//! A file has no verbs. That a rollout was completed or aborted is read off what the group gives its devices afterwards, and where that does not say
//! which of the two it was, the edit is refused: devices on the target would go back without anybody having meant it.

use super::opening::RolloutLines;
use super::problem::shown;
use crate::fleet::check_frozen;
use crate::{
    Fate, Firmware, Group, Problem, Problems, ProductEntry, Rollout, RolloutSpec, RolloutState, Target, Version,
};
use std::ops::Range;

/// A rollout that its own state calls over has left its mark on its group, and the fate of an abort can be met.
///
/// # Errors
/// It is completed, and the target is not the group's own; it is aborted, and the group names no fate; devices are to go back to a baseline
/// that cannot be served (R10).
pub(super) fn check_over(group: &Group, entry: &ProductEntry) -> Result<(), Problems> {
    let mut problems = Problems::default();
    if let Some((rollout, target)) = group.rollout().and_then(|rollout| Some((rollout, rollout.target_version()?))) {
        match rollout.state() {
            RolloutState::Completed if !is_baseline(target, group, entry) => problems.add(
                "rollout.state",
                format!("is `completed`, and the group's `firmware` is not `{target}`: set it, which is what completing does (R7)"),
            ),
            RolloutState::Aborted if !has_fate(target, group, entry) => problems.add(
                "rollout.state",
                format!("is `aborted`, and the group names no fate: add `aborted = {{ target = \"{target}\", fate = ... }}` (R10)"),
            ),
            _ => {}
        }
    }
    if group.aborted.as_ref().is_some_and(|over| over.fate == Fate::Downgrade)
        && let Err(why) = check_baseline(group, entry)
    {
        problems.add("aborted.fate", format!("`downgrade` needs a baseline that can be served (R10): {why}"));
    }
    problems.finish(Some(()))
}

/// Why devices cannot be taken back to the group's baseline.
fn check_baseline(group: &Group, entry: &ProductEntry) -> Result<(), String> {
    let rules = entry.product().versions();
    let Some(baseline) = group.firmware() else { return Err("name one as `firmware`".to_owned()) };
    match entry.catalogue().find(baseline, rules) {
        None => return Err(format!("there is no firmware `{baseline}`")),
        Some(firmware) if firmware.is_denied() => return Err(format!("`{baseline}` is denied")),
        Some(_) => {}
    }
    match &group.cap {
        Some(cap) if rules.above(baseline.reading(), cap) => {
            Err(format!("`{baseline}` is above the group's cap `{cap}`"))
        }
        _ => Ok(()),
    }
}

/// Compares a group with what is held of it.
///
/// # Errors
/// What R7 freezes has changed; a rollout under way is gone without being completed or aborted, or cannot be (R7, R10, R11); a fate has outlived the
/// baseline it was named for (R10).
pub(super) fn check_reload(old: &Group, new: &Group, entry: &ProductEntry) -> Result<(), Problems> {
    let mut problems = Problems::default();
    if let Some(rollout) = old.rollout() {
        let same = new.rollout().filter(|same| same.id() == rollout.id());
        if let Some(same) = same {
            let mut frozen = Problems::default();
            let over = matches!(rollout.state(), RolloutState::Completed | RolloutState::Aborted);
            if over && same.state() != rollout.state() {
                // It may have completed itself, and the file does not know yet.
                let (is, then) = match rollout.state() {
                    RolloutState::Completed => {
                        ("completed", "give the group its target as `firmware`, and take the rollout out")
                    }
                    _ => ("aborted", "say `aborted = { target = ..., fate = ... }`, and take the rollout out"),
                };
                problems.add(
                    "rollout.state",
                    format!("`{}` is {is}, and what is over stays over (R7): {then}", rollout.id()),
                );
                return problems.finish(Some(()));
            }
            check_frozen(rollout, Some(same), &mut frozen);
            frozen.list().iter().for_each(|Problem { message, .. }| problems.add("rollout", message));
        }
        let goes_on = same.is_some_and(|same| same.is_active() || *same.state() == RolloutState::Draft);
        if rollout.is_active() && rollout.last_open().is_some() && !goes_on {
            check_end(rollout, new, same.is_none(), entry, &mut problems);
        }
    }
    let rules = entry.product().versions();
    let same = |a: Option<&Version>, b: Option<&Version>| match (a, b) {
        (Some(a), Some(b)) => rules.equal(a.reading(), b.reading()),
        (a, b) => a.is_none() && b.is_none(),
    };
    let left = |group: &'_ Group| group.aborted.as_ref().is_some_and(|over| over.fate == Fate::Leave);
    let target = |group: &Group| group.aborted.as_ref().map(|over| over.target.clone());
    let still = left(old) && left(new) && same(target(old).as_ref(), target(new).as_ref());
    if still && !same(old.firmware(), new.firmware()) {
        // A file that still says it would bring it back at every load.
        problems.add("aborted", "is over, since the group's `firmware` has changed (R10): leave it out");
    }
    problems.finish(Some(()))
}

/// Keeps a pause that the file does not end by `resume = true`: a gate may have paused what runs by the file, and the edit may be about something else.
/// Returns what to warn of, and where, if not at its state.
pub(super) fn keep_pause(
    spec: &mut RolloutSpec,
    lines: &RolloutLines,
    previous: Option<&Rollout>,
) -> Option<(Option<Range<usize>>, String)> {
    if spec.state != RolloutState::Running {
        return None;
    }
    let paused = previous.filter(|previous| previous.id().as_str() == spec.id).map(Rollout::state);
    let Some(paused @ RolloutState::Paused { why, .. }) = paused else {
        let message = "is not paused, and `resume` does nothing: take it out, or it will end the next pause";
        return lines.resume.clone().map(|span| (Some(span), format!("rollout `{}` {message}", spec.id)));
    };
    let why = if why.is_empty() { String::new() } else { format!(" (`{}`)", shown(why)) };
    let was = format!("rollout `{}` was paused{why}", spec.id);
    if let Some(span) = &lines.resume {
        let message =
            format!("{was}, and runs again by this file: take `resume` out, or it will end the next pause too");
        return Some((Some(span.clone()), message));
    }
    spec.state = paused.clone();
    Some((None, format!("{was} and stays paused: to set it running, add `resume = true` for one load")))
}

/// What is written down as over says so itself, and [`check_over`] asks it; what is gone from the file can only be told by its group.
fn check_end(rollout: &Rollout, new: &Group, gone: bool, entry: &ProductEntry, problems: &mut Problems) {
    let id = rollout.id();
    // Configs and resources have no fate: what the group assigns is what they get.
    let Target::Firmware(target) = rollout.target() else { return };
    if is_baseline(target, new, entry) {
        let firmware = entry.catalogue().find(target, entry.product().versions());
        if firmware.is_none_or(Firmware::is_denied) {
            let message =
                format!("rollout `{id}` cannot be completed: its target `{target}` is denied or missing (R7)");
            problems.add("firmware", message);
        }
    } else if gone && !has_fate(target, new, entry) {
        problems.add(
            "",
            format!(
                "rollout `{id}` is under way and gone from the file: make its target the group's `firmware` to complete it, or abort \
                 it by `aborted = {{ target = \"{target}\", fate = ... }}` (R10, R11)"
            ),
        );
    }
}

fn is_baseline(target: &Version, group: &Group, entry: &ProductEntry) -> bool {
    group.firmware().is_some_and(|firmware| entry.product().versions().equal(firmware.reading(), target.reading()))
}

fn has_fate(target: &Version, group: &Group, entry: &ProductEntry) -> bool {
    let aborted = group.aborted.as_ref().map(|over| over.target.reading());
    aborted.is_some_and(|aborted| entry.product().versions().equal(aborted, target.reading()))
}
