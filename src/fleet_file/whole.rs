//! Puts a fleet together, product by product: build, devices, what is kept, waves, and the fleet's own checks on the way.

use super::devices::read_devices;
use super::folder::cannot_read;
use super::found::Found;
use super::opening::{CountedWave, Pending, open_waves, settle};
use super::problem::FileProblems;
use super::product::{ProductLines, note_same_versions};
use super::reload::{check_over, check_reload, keep_pause};
use super::table::Placed;
use crate::{DeviceState, Fleet, GroupSpec, Problem, ProductEntry, ProductFleetSpec, ProductSpec, Revision, Timestamp};
use std::collections::BTreeSet;

/// The fleet as it grows, product by product.
pub(super) struct Whole<'f> {
    previous: Option<&'f Fleet>,
    now: Timestamp,
    pub(super) found: Found,
    pub(super) fleet: Fleet,
    /// Of the files of devices.
    pub(super) lints: FileProblems,
    pub(super) counted: Vec<CountedWave>,
    /// Where in the fleet file a pause outlives it or ends by it, for the lint.
    pub(super) pauses: Vec<(usize, String)>,
}

impl<'f> Whole<'f> {
    pub(super) fn new(previous: Option<&'f Fleet>, now: Timestamp, found: Found) -> Self {
        let (lints, fleet) = (FileProblems::default(), Fleet::default());
        Self { previous, now, found, fleet, lints, counted: Vec::new(), pauses: Vec::new() }
    }

    /// Checks a product, reads its devices, opens its waves, and takes it in. Returns what is wrong in the file of its devices.
    pub(super) fn add(&mut self, mut lines: ProductLines) -> FileProblems {
        let previous = self.previous.and_then(|fleet| fleet.product(&lines.spec.product.id));
        let pending = self.settle_groups(&mut lines, previous);
        let mut problems = FileProblems::default();
        if !lines.rules_are_known {
            return problems;
        }
        let before = self.found.count();
        let Some((mut entry, complete)) = self.build(&mut lines) else { return problems };
        if let Some(devices) = &lines.devices {
            match read_devices(&devices.value, &mut entry, previous, self.now) {
                Ok(findings) => {
                    problems = findings.problems;
                    self.lints.extend(findings.lints);
                }
                Err(error) => {
                    self.found.add(devices.span.clone(), cannot_read(&devices.value, &error));
                }
            }
        }
        // With a part missing, a census would count wrongly, and what was frozen could not be compared.
        if !complete || self.found.count() > before || !problems.is_empty() {
            return problems;
        }
        for (index, group) in lines.groups.iter().enumerate() {
            let checked = entry.group(&group.spec.id).map_or(Ok(()), |group| check_over(group, &entry));
            if let Err(inner) = checked {
                self.found.take_over(&format!("{}.groups[{index}]", lines.place), inner.list());
            }
        }
        if let Some(previous) = previous {
            keep_new_devices(&mut entry, previous);
            self.check_reload(&lines, previous, &entry);
        }
        for (group, waves) in pending {
            self.counted.extend(open_waves(&mut entry, &group, waves, &mut self.found));
        }
        if let Some(previous) = previous {
            entry.number_rollouts(previous);
        }
        if let Err(inner) = self.fleet.add(entry) {
            self.found.take_over(&lines.place, inner.list());
        }
        problems
    }

    /// Moves the groups into the specification, their waves opened as far as no census is needed.
    fn settle_groups(
        &mut self,
        lines: &mut ProductLines,
        previous: Option<&ProductEntry>,
    ) -> Vec<(String, Vec<Pending>)> {
        let mut pending = Vec::new();
        let place = &lines.place;
        for (index, group) in lines.groups.iter_mut().enumerate() {
            if let Some(rollout) = &mut group.spec.rollout {
                let old = previous.and_then(|previous| previous.group(&group.spec.id)?.rollout());
                if let Some((span, message)) = keep_pause(rollout, &group.rollout, old) {
                    let span =
                        span.unwrap_or_else(|| self.found.span_at(&format!("{place}.groups[{index}].rollout.state")));
                    let id = &lines.spec.product.id;
                    let message = format!("product `{id}`, group `{}`: {message}", group.spec.id);
                    self.pauses.push((span.start, message));
                }
                let waves = settle(rollout, &group.rollout, old, self.now, &mut self.found);
                pending.push((group.spec.id.clone(), waves));
            }
            lines.spec.groups.push(group.spec.clone());
        }
        pending
    }

    /// The product without its devices, and whether it is all there; where something is wrong with it, as much as its devices can be checked by.
    fn build(&mut self, lines: &mut ProductLines) -> Option<(ProductEntry, bool)> {
        let mut complete = true;
        if let Err(problems) = lines.spec.product.build() {
            self.found.take_over(&lines.place, problems.list());
            lines.spec.product = stand_in(&lines.spec.product)?;
            complete = false;
        }
        let problems = match lines.spec.build() {
            Ok(entry) => return Some((entry, complete)),
            Err(problems) => problems,
        };
        // The catalogue says which versions are the same, and not where they stand.
        let of_catalogue = |problem: &&Problem| problem.place == "firmware";
        let (catalogue, others): (Vec<_>, Vec<_>) = problems.list().iter().partition(of_catalogue);
        self.found.take_over(&lines.place, others);
        let before = self.found.count();
        if let Ok(product) = lines.spec.product.build() {
            note_same_versions(lines, product.versions(), &mut self.found);
        }
        if self.found.count() == before {
            self.found.take_over(&lines.place, catalogue);
        }
        // Devices hang on the product and on its groups alone.
        let group_of = |problem: &Problem| Some(problem.place.strip_prefix("groups[")?.split_once(']')?.0.to_owned());
        let unsound: BTreeSet<String> = problems.list().iter().filter_map(group_of).collect();
        let is_sound = |(index, _): &(usize, GroupSpec)| !unsound.contains(&index.to_string());
        let ProductFleetSpec { product, groups, .. } = std::mem::take(&mut lines.spec);
        let groups = groups.into_iter().enumerate().filter(is_sound).map(|(_, group)| group).collect();
        let salvaged = ProductFleetSpec { product, groups, ..ProductFleetSpec::default() };
        salvaged.build().ok().map(|entry| (entry, false))
    }

    fn check_reload(&mut self, lines: &ProductLines, previous: &ProductEntry, entry: &ProductEntry) {
        for old in previous.groups() {
            let at = lines.groups.iter().position(|group| group.spec.id == old.id().as_str());
            match (entry.group(old.id().as_str()), at) {
                (Some(new), Some(at)) => {
                    let place = format!("{}.groups[{at}]", lines.place);
                    if let Err(inner) = check_reload(old, new, entry) {
                        self.found.take_over(&place, inner.list());
                    }
                }
                _ => {
                    if let Some(rollout) = old.rollout().filter(|rollout| rollout.is_active()) {
                        let message = format!(
                            "group `{}` is gone from the file, and its rollout `{}` is under way: complete or abort it first (R11)",
                            old.id(),
                            rollout.id()
                        );
                        self.found.add(lines.span.clone(), message);
                    }
                }
            }
        }
    }

    /// L2: a number that only grows.
    pub(super) fn revision(&mut self, stated: Option<Placed<u64>>) -> Revision {
        let held = self.previous.map(Fleet::revision);
        let next = Revision(held.map_or(1, |Revision(held)| held.saturating_add(1)));
        let Some(stated) = stated else { return next };
        let same =
            |previous: &&Fleet| previous.revision().0 == stated.value && previous.products().eq(self.fleet.products());
        match held {
            Some(Revision(held)) if stated.value <= held && !self.previous.as_ref().is_some_and(same) => {
                self.found.add(
                    stated.span,
                    format!(
                        "`revision` {} is not above {held}, which is held: raise it, or leave it out (L2)",
                        stated.value
                    ),
                );
                next
            }
            _ => Revision(stated.value),
        }
    }
}

/// A product with the same rules and no problem of its own, for checking what hangs on the rules.
fn stand_in(product: &ProductSpec) -> Option<ProductSpec> {
    product.versions.clone().build().ok()?;
    let stand_in = ProductSpec {
        id: "stand-in".to_owned(),
        serial_scheme: product.serial_scheme,
        placeholders: product.placeholders.clone(),
        versions: product.versions.clone(),
        default_group: product.default_group.clone(),
        ..ProductSpec::default()
    };
    let bare = ProductSpec { placeholders: vec![], ..stand_in.clone() };
    let bare = ProductSpec { default_group: ProductSpec::default().default_group, ..bare };
    [stand_in, bare].into_iter().find(|product| product.build().is_ok())
}

/// Devices that are `new` and that the files do not name, whoever brought them: a file has no word for "take this one out", and who registered on
/// first contact while an operator wrote must not be a stranger again. To be rid of one, name it in the CSV as `blocked`, or start anew from the
/// files alone with [`load`](super::load).
fn keep_new_devices(entry: &mut ProductEntry, previous: &ProductEntry) {
    let product = entry.product().clone();
    for device in previous.devices().filter(|device| device.state() == DeviceState::New) {
        let taken =
            product.read_serial(device.serial().as_bytes()).map(|serial| entry.device(serial.as_str()).is_some());
        // Built again, since the product's rules may be others now; who cannot be named under them is a stranger again.
        if let (Ok(false), Ok(device)) = (taken, device.spec().build(&product)) {
            let _ = entry.add_device(device, None);
        }
    }
}
