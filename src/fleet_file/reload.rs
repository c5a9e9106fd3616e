//! What an edit of the file may do to a rollout: R7 for one that goes on, R10 and R11 for one that ends.
//!
//! A file has no verbs. That a rollout was completed or aborted is read off what the group gives its devices afterwards, and where that does not say
//! which of the two it was, the edit is refused: devices on the target would go back without anybody having meant it.

use super::problem::shown;
use crate::fleet::check_frozen;
use crate::{Fate, Group, Problem, Problems, ProductEntry, Rollout, RolloutState, Target, Version};

/// A rollout that its own state calls over has left its mark on its group.
///
/// # Errors
/// It is completed, and the target is not the group's own; it is aborted, and the group names no fate.
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
    problems.finish(Some(()))
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
            check_frozen(rollout, Some(same), &mut frozen);
            frozen.list().iter().for_each(|Problem { message, .. }| problems.add("rollout", message));
        }
        let goes_on = same.is_some_and(|same| same.is_active() || *same.state() == RolloutState::Draft);
        if rollout.is_active() && rollout.last_open().is_some() && !goes_on {
            check_end(rollout, new, same.is_none(), entry, &mut problems);
        }
    }
    let still = old.aborted.as_ref().filter(|over| over.fate == Fate::Leave && new.aborted.as_ref() == Some(over));
    if still.is_some() && old.firmware() != new.firmware() {
        // A file that still says it would bring it back at every load.
        problems.add("aborted", "is over, since the group's `firmware` has changed (R10): leave it out");
    }
    problems.finish(Some(()))
}

/// What was paused, perhaps by its own gate, and is set running by a file that may have been edited for another reason.
pub(super) fn resumed(old: &Group, new: &Group) -> Option<String> {
    let (old, new) = (old.rollout()?, new.rollout()?);
    let RolloutState::Paused { why, .. } = old.state() else { return None };
    let why = if why.is_empty() { String::new() } else { format!(" (`{}`)", shown(why)) };
    let runs = old.id() == new.id() && *new.state() == RolloutState::Running;
    runs.then(|| format!("rollout `{}` was paused{why}, and runs again by this file", old.id()))
}

/// What is written down as over says so itself, and [`check_over`] asks it; what is gone from the file can only be told by its group.
fn check_end(rollout: &Rollout, new: &Group, gone: bool, entry: &ProductEntry, problems: &mut Problems) {
    let id = rollout.id();
    // Configs and resources have no fate: what the group assigns is what they get.
    let Target::Firmware(target) = rollout.target() else { return };
    let can_be_served = |version: &Version| {
        entry.catalogue().find(version, entry.product().versions()).is_some_and(|firmware| !firmware.is_denied())
    };
    if is_baseline(target, new, entry) {
        if !can_be_served(target) {
            let message =
                format!("rollout `{id}` cannot be completed: its target `{target}` is denied or missing (R7)");
            problems.add("firmware", message);
        }
    } else if has_fate(target, new, entry) {
        let downgrade = new.aborted.as_ref().is_some_and(|over| over.fate == Fate::Downgrade);
        if downgrade && !new.firmware().is_some_and(can_be_served) {
            problems
                .add("aborted.fate", "`downgrade` needs a baseline that can be served (R10): name one as `firmware`");
        }
    } else if gone {
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
