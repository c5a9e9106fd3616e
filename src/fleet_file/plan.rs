//! A plan to be simulated, from a file of its own: a rollout as the fleet file would have it, and what an operator does meanwhile.

use super::folder::Folder;
use super::found::Found;
use super::group::read_rollout;
use super::problem::LoadError;
use super::table::Section;
use super::{FIRMWARE_DIR, read_file, read_text};
use crate::simulate::{Action, Plan};
use crate::{Change, Fate, GroupId, ProductId, RolloutId, RolloutSpec, Timestamp};
use std::path::Path;
use toml::de::DeTable;

/// Reads a plan for a [`Simulation`](crate::simulate::Simulation) that begins at `at`, when its rollout is started.
///
/// ```toml
/// product = "thermostat"
/// group = "stable"
/// name = "ten first"        # the file's name, unless it is given
///
/// [rollout]                 # as in a fleet file; `state`, `started_at` and `open` are the simulation's to say
/// id = "r8"
/// target = "2.2.0"
/// waves = [{ size = 10 }, { size = "all", min_finished = 10, success_share = "90 %" }]
///
/// [[action]]                # what an operator does meanwhile
/// at_secs = 86400
/// do = "pause"              # pause, cut, resume, complete, abort-leave, abort-downgrade, deny
/// ```
///
/// # Errors
/// The file cannot be read; or all that is wrong in it, each with line and column.
pub fn load_plan(path: &Path, at: Timestamp) -> Result<Plan, LoadError> {
    let mut found = Found::default();
    let bytes = read_file(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
    let text = read_text(&bytes, &mut found);
    let (document, faults) = DeTable::parse_recoverable(&text);
    for fault in faults {
        found.syntax(fault.span().unwrap_or_default(), format!("is no TOML: {}", fault.message()));
    }
    let mut root = Section::new("a plan", String::new(), 0..0, document.get_ref());
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut folder = Folder::new(base.clone(), base.join(FIRMWARE_DIR));
    root.require("product", "it is the product whose group is moved", &mut found);
    root.require("group", "it is the group that is moved", &mut found);
    if !root.has("rollout") {
        found.missing(&(0..0), &[], "has no `[rollout]`: a plan moves a group by one");
    }
    let name = root.text("name", &mut found).map(|name| name.value);
    let product = root.text("product", &mut found).and_then(|text| {
        ProductId::new(&text.value).map_err(|fault| found.add(text.span, format!("`product` {fault}"))).ok()
    });
    let group = root.text("group", &mut found).and_then(|text| {
        GroupId::new(&text.value).map_err(|fault| found.add(text.span, format!("`group` {fault}"))).ok()
    });
    let rollout = root.table("rollout", "a rollout", &mut found).map(|table| {
        for key in ["state", "started_at", "resume", "why"] {
            if table.has(key) {
                found.add(
                    table.span_of(key),
                    format!("`{key}` is said by the simulation, which starts it: leave it out"),
                );
            }
        }
        let (spec, lines) = read_rollout(table, &mut folder, &mut found);
        if let Some(wave) = lines.waves.iter().find(|wave| wave.is_open()) {
            found.add(wave.span.clone(), "waves open while it is simulated: leave `open` out");
        }
        spec
    });
    let target = rollout.as_ref().and_then(|rollout| match &rollout.target {
        crate::TargetSpec::Firmware(version) => Some(version.clone()),
        _ => None,
    });
    if rollout.is_some() && target.is_none() {
        found.missing(
            &(0..0),
            &["rollout.target".to_owned()],
            "only rollouts of firmware are simulated: name the `target`",
        );
    }
    let sections = root.tables("action", "action", "an action", &mut found).unwrap_or_default();
    let whom = product.clone().zip(group.clone()).zip(rollout.as_ref().and_then(|spec| RolloutId::new(&spec.id).ok()));
    let read = |table: Section<'_>| read_action(table, whom.as_ref(), target.as_deref(), &mut found);
    let actions: Vec<Option<Action>> = sections.into_iter().map(read).collect();
    root.finish(&mut found);
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let plan = product.zip(group).zip(rollout).and_then(|((product, group), rollout): (_, RolloutSpec)| {
        Plan::rollout(name.unwrap_or(stem), &product, &group, rollout, at).ok()
    });
    if found.is_empty() && folder.problems.is_empty() {
        if let Some(plan) = plan {
            return Ok(Plan { actions: actions.into_iter().flatten().collect(), ..plan });
        }
        found.missing(&(0..0), &[], "its rollout has no name that can be: give it an `id`");
    }
    let mut elsewhere = std::mem::take(&mut folder.problems);
    elsewhere.extend(found.finish(path, text.as_bytes()));
    Err(LoadError::Problems(elsewhere.sorted()))
}

fn read_action(
    mut table: Section<'_>,
    whom: Option<&((ProductId, GroupId), RolloutId)>,
    target: Option<&str>,
    found: &mut Found,
) -> Option<Action> {
    const WORDS: &str = "`pause`, `cut`, `resume`, `complete`, `abort-leave`, `abort-downgrade` or `deny`";
    table.require("at_secs", "it says when, in seconds since the simulation begins", found);
    table.require("do", &format!("write {WORDS}"), found);
    let at_secs = table.number::<u64>("at_secs", "from 0 to 18446744073709551615", found);
    let deed = table.text("do", found);
    table.finish(found);
    let (((product, group), rollout), deed) = (whom?.clone(), deed?);
    let what = format!("an operator says `{}`", deed.value.escape_debug());
    let pause = |cut| Change::PauseRollout {
        product: product.clone(),
        group: group.clone(),
        rollout: rollout.clone(),
        cut,
        why: "an operator".to_owned(),
    };
    let abort =
        |fate| Change::AbortRollout { product: product.clone(), group: group.clone(), rollout: rollout.clone(), fate };
    let change = match deed.value.as_str() {
        "pause" => pause(false),
        "cut" => pause(true),
        "abort-leave" => abort(Fate::Leave),
        "abort-downgrade" => abort(Fate::Downgrade),
        "resume" => Change::ResumeRollout { product, group, rollout },
        "complete" => Change::CompleteRollout { product, group, rollout },
        "deny" => Change::DenyFirmware { product, firmware: target?.to_owned(), denied: true },
        _ => {
            found.add(deed.span, format!("`do` must be {WORDS}"));
            return None;
        }
    };
    Some(Action { at_secs: at_secs?.value, what, changes: vec![change] })
}

/// Reads what a world is, from TOML: the fields of [`World`](crate::simulate::World), all of which may be left out.
///
/// # Errors
/// The file cannot be read, is no TOML, or is no world; with line and column, or the place of what cannot be.
pub fn load_world(path: &Path) -> Result<crate::simulate::World, LoadError> {
    let bytes = read_file(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
    let mut found = Found::default();
    let text = read_text(&bytes, &mut found);
    let read = toml::from_str::<crate::simulate::World>(&text);
    match read {
        Ok(world) => match world.check() {
            Ok(()) if found.is_empty() => return Ok(world),
            Ok(()) => {}
            Err(problems) => {
                for problem in problems.list() {
                    found.add(0..0, problem.to_string());
                }
            }
        },
        Err(fault) => {
            found.add(fault.span().unwrap_or(0..0), fault.message());
        }
    }
    Err(LoadError::Problems(found.finish(path, text.as_bytes()).sorted()))
}
