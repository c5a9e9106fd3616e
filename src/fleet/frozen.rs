//! What a change may not do to a rollout that is under way (R7, R11), and how long an abort's fate lasts (R10).

use super::Product;
use super::group::{Fate, Group};
use super::problem::Problems;
use super::rollout::{Late, Rollout, RolloutSpec, RolloutState, Wave};

impl Rollout {
    /// Whether an operator may write `new` in its place: once it has left draft, its state, its start and its open waves move by changes of their own.
    pub(super) fn may_be_written(&self, new: &RolloutSpec) -> bool {
        let moved = || {
            let opened = |waves: &[Wave]| waves.iter().filter_map(|wave| wave.opened).collect::<Vec<_>>();
            self.state != new.state || self.started_at != new.started_at || opened(&self.waves) != opened(&new.waves)
        };
        self.id.as_str() != new.id || self.state == RolloutState::Draft || !moved()
    }
}

/// R7: from the first open wave on, id, target, salt and late rule are frozen, the first-list only grows, and an open wave never closes.
/// R11: another rollout has to wait until the one under way is over.
pub(crate) fn check_frozen(old: &Rollout, new: Option<&Rollout>, problems: &mut Problems) {
    let Some(new) = new.filter(|new| new.id == old.id) else {
        if old.is_active() {
            problems
                .add("group.rollout", format!("rollout `{}` is under way: complete or abort it first (R11)", old.id));
        }
        return;
    };
    if old.waves.iter().all(|wave| wave.opened.is_none()) {
        return;
    }
    let mut frozen = |same: bool, what: &str| {
        if !same {
            problems.add("group.rollout", format!("`{}`: {what} once a wave is open (R7): make a new rollout", old.id));
        }
    };
    frozen(old.target == new.target, "the target is frozen");
    frozen(old.salt() == new.salt(), "the salt is frozen");
    frozen(old.late == new.late, "the late rule is frozen");
    frozen(old.admission == new.admission, "the admission is frozen");
    frozen(old.started_at == new.started_at, "the start is frozen");
    frozen(old.first.iter().all(|serial| new.is_first(serial)), "the first-list only grows");
    let kept = old.waves.iter().enumerate().filter(|(_, wave)| wave.opened.is_some());
    let same = |(index, wave): (usize, &Wave)| {
        new.waves.get(index).is_some_and(|new| (new.size, new.opened) == (wave.size, wave.opened))
    };
    frozen(kept.into_iter().all(same), "an open wave never closes and keeps its size and threshold");
    // Its last wave took in who joined late, and an open wave never closes.
    let all_open = old.waves.iter().all(|wave| wave.opened.is_some());
    frozen(
        !(all_open && old.late == Late::Tail && new.waves.len() > old.waves.len()),
        "no wave comes behind the last one, which has let in late joiners (R4),",
    );
    let over = |state: &RolloutState| matches!(state, RolloutState::Completed | RolloutState::Aborted);
    frozen(!over(&old.state) || old.state == new.state, "what is over stays over");
    frozen(new.state != RolloutState::Draft, "it is no draft any more");
}

/// R10: `leave` holds until the group's baseline changes.
pub(super) fn end_leave(old: &Group, new: &mut Group, product: &Product) {
    let rules = product.versions();
    let same = match (&old.firmware, &new.firmware) {
        (Some(a), Some(b)) => rules.equal(a.reading(), b.reading()),
        (None, None) => true,
        _ => false,
    };
    if !same && new.aborted == old.aborted && new.aborted.as_ref().is_some_and(|aborted| aborted.fate == Fate::Leave) {
        new.aborted = None;
    }
}
