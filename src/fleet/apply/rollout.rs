//! Changes that move a rollout on (R7, R10).

use super::super::devices::Devices;
use super::super::{
    AbortedSpec, Change, Fate, GroupId, GroupSpec, Problems, RolloutId, RolloutSpec, RolloutState, TargetSpec,
};
use super::edit::Edit;
use super::{one, unknown};
use std::sync::Arc;

impl<D: Devices> Edit<'_, D> {
    /// Carries out a change that is about a rollout; others are none of it.
    pub(super) fn rollout(&mut self, change: &Change) -> Result<(), Problems> {
        match change {
            Change::ExpectRollout { group, rollout, edition, .. } => {
                let held = self.entry.group(group.as_str()).and_then(|group| group.rollout.as_ref());
                let held = held.filter(|held| held.id == *rollout).ok_or_else(|| unknown("rollout", rollout.as_str()));
                let at = held?.edition;
                let fault = format!("`{rollout}` is at edition {at}, not {edition}: it was changed meanwhile");
                if at == *edition { Ok(()) } else { Err(one("rollout", fault)) }
            }
            Change::PutRollout { group, rollout, .. } => {
                let mut spec = self.spec_of(group)?;
                spec.rollout = Some(rollout.clone());
                self.write_group(&spec)
            }
            Change::StartRollout { group, rollout, at, .. } => self.change_rollout(group, rollout, |spec| {
                require(spec.state == RolloutState::Draft, "is no draft, so it cannot be started")?;
                spec.state = RolloutState::Running;
                spec.started_at = Some(*at);
                Ok(())
            }),
            Change::OpenWave { group, rollout, wave, opened, .. } => self.change_rollout(group, rollout, |spec| {
                require(spec.state == RolloutState::Running, "does not run, and waves open only while it runs (R7)")?;
                let next = spec.waves.iter_mut().enumerate().find(|(_, wave)| wave.opened.is_none());
                let (index, next) = next.ok_or("has no wave left to open")?;
                require(index == *wave, format_args!("opens its waves in order: wave {index} is next"))?;
                next.opened = Some(*opened);
                // What was counted for its gate is over.
                spec.progress = None;
                Ok(())
            }),
            Change::AddFirst { group, rollout, serials, .. } => self.change_rollout(group, rollout, |spec| {
                spec.first.extend_from_slice(serials);
                Ok(())
            }),
            // Noted often, and nothing to check: without reading the lists again.
            Change::SetProgress { group, rollout, was, progress, .. } => {
                let held = self.entry.group(group.as_str()).ok_or_else(|| unknown("group", group.as_str()))?;
                let held = held.rollout.as_ref().filter(|held| held.id == *rollout);
                let held = held.ok_or_else(|| unknown("rollout", rollout.as_str()))?;
                if held.progress != *was && held.progress != Some(*progress) {
                    let fault = format!("`{rollout}` was noted otherwise meanwhile: look again");
                    return Err(one("rollout", fault));
                }
                if held.progress != Some(*progress) {
                    let held = self.few().groups.get_mut(group).and_then(|group| Arc::make_mut(group).rollout.as_mut());
                    held.into_iter().for_each(|held| held.progress = Some(*progress));
                }
                Ok(())
            }
            Change::PauseRollout { group, rollout, cut, why, .. } => self.change_rollout(group, rollout, |spec| {
                let active = matches!(spec.state, RolloutState::Running | RolloutState::Paused { .. });
                require(active, "does not run, so it cannot be paused")?;
                spec.state = RolloutState::Paused { cut: *cut, why: why.clone() };
                Ok(())
            }),
            Change::ResumeRollout { group, rollout, .. } => self.change_rollout(group, rollout, |spec| {
                require(matches!(spec.state, RolloutState::Paused { .. }), "is not paused, so it cannot be resumed")?;
                spec.state = RolloutState::Running;
                spec.resumes = spec.resumes.saturating_add(1);
                spec.progress.iter_mut().for_each(|progress| progress.good_since = None);
                Ok(())
            }),
            Change::CompleteRollout { group, rollout, .. } => self.complete(group, rollout),
            Change::AbortRollout { group, rollout, fate, .. } => self.abort(group, rollout, *fate),
            _ => Ok(()),
        }
    }

    fn change_rollout(
        &mut self,
        id: &GroupId,
        rollout: &RolloutId,
        change: impl FnOnce(&mut RolloutSpec) -> Result<(), String>,
    ) -> Result<(), Problems> {
        let mut spec = self.spec_of(id)?;
        change(named(&mut spec, rollout)?).map_err(|fault| one("rollout", format!("`{rollout}` {fault}")))?;
        self.put_group(&spec)
    }

    fn complete(&mut self, id: &GroupId, rollout: &RolloutId) -> Result<(), Problems> {
        let mut spec = self.spec_of(id)?;
        let staged = named(&mut spec, rollout)?;
        let active = matches!(staged.state, RolloutState::Running | RolloutState::Paused { .. });
        require(active, "is not under way, so it cannot be completed")
            .map_err(|fault| one("rollout", format!("`{rollout}` {fault}")))?;
        staged.state = RolloutState::Completed;
        match staged.target.clone() {
            TargetSpec::Firmware(version) => {
                self.servable(&version)
                    .map_err(|fault| one("rollout", format!("`{rollout}` cannot be completed: its target {fault}")))?;
                spec.firmware = Some(version);
            }
            TargetSpec::Config(config) => spec.config = Some(config),
            TargetSpec::Resources(resources) => spec.resources = Some(resources),
        }
        self.put_group(&spec)
    }

    fn abort(&mut self, id: &GroupId, rollout: &RolloutId, fate: Fate) -> Result<(), Problems> {
        let mut spec = self.spec_of(id)?;
        let staged = named(&mut spec, rollout)?;
        let over = matches!(staged.state, RolloutState::Completed | RolloutState::Aborted);
        require(!over, "is over, so it cannot be aborted")
            .map_err(|fault| one("rollout", format!("`{rollout}` {fault}")))?;
        let was_draft = staged.state == RolloutState::Draft;
        staged.state = RolloutState::Aborted;
        let target = staged.target.clone();
        if let (TargetSpec::Firmware(target), false) = (target, was_draft) {
            if fate == Fate::Downgrade {
                let baseline = spec
                    .firmware
                    .as_deref()
                    .ok_or_else(|| "is not set".to_owned())
                    .and_then(|version| self.servable(version));
                let baseline = baseline.and_then(|()| self.below_cap(&spec));
                baseline.map_err(|fault| one("fate", format!("`downgrade` is refused: the baseline {fault} (R10)")))?;
            }
            spec.aborted = Some(AbortedSpec { target, fate });
        }
        self.put_group(&spec)
    }

    fn servable(&self, version: &str) -> Result<(), String> {
        let rules = self.product().versions();
        let found = rules.version(version).ok().and_then(|version| self.entry.catalogue().find(&version, rules));
        match found {
            None => Err(format!("`{version}` is no firmware of the product")),
            Some(firmware) if firmware.denied => Err(format!("`{version}` is denied")),
            Some(_) => Ok(()),
        }
    }

    fn below_cap(&self, spec: &GroupSpec) -> Result<(), String> {
        let rules = self.product().versions();
        let read = |text: &Option<String>| text.as_deref().and_then(|text| rules.version(text).ok());
        match (read(&spec.firmware), read(&spec.cap)) {
            (Some(baseline), Some(cap)) if rules.above(baseline.reading(), &cap) => {
                Err(format!("`{baseline}` is above the group's cap `{cap}`"))
            }
            _ => Ok(()),
        }
    }
}

fn named<'s>(spec: &'s mut GroupSpec, id: &RolloutId) -> Result<&'s mut RolloutSpec, Problems> {
    spec.rollout.as_mut().filter(|rollout| rollout.id == id.as_str()).ok_or_else(|| unknown("rollout", id.as_str()))
}

fn require(holds: bool, fault: impl std::fmt::Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.to_string()) }
}
