//! `[[product.group]]` and `[product.group.rollout]`.

use super::firmware::read_content;
use super::folder::Folder;
use super::found::Found;
use super::opening::{OpenLine, RolloutLines};
use super::problem::shown;
use super::table::{Placed, Section};
use crate::{
    AbortedSpec, Fate, Gate, GroupSpec, Halt, Missing, Penalty, Problems, ResourceSpec, RolloutSpec, RolloutState,
    TargetSpec, Wave, WaveSize, Window,
};
use std::ops::Range;
use toml::de::DeValue;

/// A group as it was read, and what its rollout says besides its specification.
pub(super) struct GroupLines {
    pub(super) spec: GroupSpec,
    pub(super) span: Range<usize>,
    pub(super) id_span: Range<usize>,
    pub(super) rollout: RolloutLines,
}

pub(super) fn read_group(mut table: Section<'_>, folder: &mut Folder, found: &mut Found) -> GroupLines {
    table.require("id", "it is how devices name this group", found);
    let id = table.text("id", found).map(|text| text.value).unwrap_or_default();
    let firmware = table.text("firmware", found).map(|text| text.value);
    let policy = table.word("policy", found).unwrap_or_default();
    let cap = table.text("cap", found).map(|text| text.value);
    let window = read_window(&mut table, found);
    let config = table.text("config", found).and_then(|name| folder.config(&name, found));
    let resources = read_resources(&mut table, "resources", "resources", folder, found);
    let downloads_max = table.count("downloads_max", found);
    let aborted = table.table("aborted", "an aborted rollout", found).and_then(|table| read_aborted(table, found));
    let rollout = table.table("rollout", "a rollout", found);
    let (rollout, lines) = rollout.map(|table| read_rollout(table, folder, found)).unzip();
    let span = table.span.clone();
    let id_span = table.span_of("id");
    table.finish(found);
    let spec = GroupSpec { id, firmware, policy, cap, config, resources, window, downloads_max, rollout, aborted };
    GroupLines { spec, span, id_span, rollout: lines.unwrap_or_default() }
}

fn read_window(table: &mut Section<'_>, found: &mut Found) -> Option<Window> {
    let texts = table.texts("window", found)?;
    let place = table.place_of("window");
    let take = |problems: Problems| found.take_over(&place, problems.list());
    Window::parse(&texts).map_err(take).ok()
}

fn read_resources(
    table: &mut Section<'_>,
    key: &'static str,
    part: &str,
    folder: &mut Folder,
    found: &mut Found,
) -> Option<Vec<ResourceSpec>> {
    let list = table.tables(key, part, "a resource", found)?;
    let read = |mut table: Section<'_>| {
        table.require("name", "it is how devices ask for this resource", found);
        let name = table.text("name", found).map(|text| text.value).unwrap_or_default();
        let (size_bytes, digests, locator) = read_content(&mut table, folder, found);
        table.finish(found);
        ResourceSpec { name, size_bytes, digests, locator }
    };
    Some(list.into_iter().map(read).collect())
}

fn read_aborted(mut table: Section<'_>, found: &mut Found) -> Option<AbortedSpec> {
    table.require("target", "it says which firmware was given up", found);
    table.require("fate", "`leave` leaves devices on the target, `downgrade` takes them back (R10)", found);
    let target = table.text("target", found);
    let fate: Option<Fate> = table.word("fate", found);
    table.finish(found);
    Some(AbortedSpec { target: target?.value, fate: fate? })
}

pub(super) fn read_rollout(
    mut table: Section<'_>,
    folder: &mut Folder,
    found: &mut Found,
) -> (RolloutSpec, RolloutLines) {
    table.require("id", "it is part of every rank, and what R7 freezes hangs on it", found);
    let id = table.text("id", found).map(|text| text.value).unwrap_or_default();
    let target = read_target(&mut table, folder, found);
    let state = read_state(&mut table, found);
    let resume = read_resume(&mut table, &state, found);
    let salt = table.text("salt", found).map(|text| text.value);
    let started_at = table.moment("started_at", found);
    let started_at_span = table.span_of("started_at");
    let late = table.word("late", found).unwrap_or_default();
    let admission = table.word("admission", found).unwrap_or_default();
    let success = table.word("success", found).unwrap_or_default();
    let halt = table.table("halt", "`halt`", found).map(|table| read_halt(table, found));
    let missing = table.table("missing", "`missing`", found).map(|table| read_missing(table, found));
    let penalty = table.table("penalty", "`penalty`", found).map(|table| read_penalty(table, found));
    let complete = table.table("complete", "`complete`", found).map(|mut table| {
        table.stands_for("success_share", "success_share_bps", found);
        let gate = read_gate(&mut table, found);
        table.finish(found);
        gate
    });
    let first = table.texts("first", found).unwrap_or_default();
    let excluded = table.texts("excluded", found).unwrap_or_default();
    table.require("waves", "write `waves = [{ size = 10, open = true }, { size = \"all\" }]` or the like", found);
    let sections = table.tables("waves", "waves", "a wave", found).unwrap_or_default();
    let (waves, open): (Vec<_>, Vec<_>) = sections.into_iter().map(|wave| read_wave(wave, found)).unzip();
    table.finish(found);
    let spec = RolloutSpec {
        salt,
        state,
        started_at,
        late,
        admission,
        success,
        halt: halt.unwrap_or_default(),
        missing: missing.unwrap_or_default(),
        penalty: penalty.unwrap_or_default(),
        complete: complete.unwrap_or_default(),
        first,
        excluded,
        ..RolloutSpec::new(
            id,
            // Where it cannot be told, something that says nothing: the mistake is noted, and the rest is checked all the same.
            target.unwrap_or(TargetSpec::Resources(Vec::new())),
            // A wave without a size would make nonsense of the sizes behind it.
            waves.into_iter().map_while(|wave| wave).collect(),
        )
    };
    (spec, RolloutLines { waves: open, started_at: started_at_span, resume })
}

fn read_target(table: &mut Section<'_>, folder: &mut Folder, found: &mut Found) -> Option<TargetSpec> {
    const KEYS: [&str; 3] = ["target", "target_config", "target_resources"];
    table.stands_for("target", "target.firmware", found);
    table.stands_for("target_config", "target.config", found);
    let firmware = table.text("target", found).map(|text| TargetSpec::Firmware(text.value));
    let config = table.text("target_config", found).and_then(|name| folder.config(&name, found));
    let resources = read_resources(table, "target_resources", "target.resources", folder, found);
    let mut given = KEYS.into_iter().filter(|key| table.has(key));
    match (given.next(), given.next()) {
        (None, _) => {
            let message = "has no `target`: name the firmware, or give `target_config` or `target_resources`";
            found.missing(&table.span, &[], message);
            None
        }
        (Some(_), Some(other)) => {
            found.add(table.span_of(other), "a rollout has one target: leave out all but one of them");
            None
        }
        _ => firmware.or(config.map(TargetSpec::Config)).or(resources.map(TargetSpec::Resources)),
    }
}

fn read_state(table: &mut Section<'_>, found: &mut Found) -> RolloutState {
    const WORDS: &str = "expected `draft`, `running`, `paused`, `cut`, `completed` or `aborted`";
    let why = table.text("why", found);
    let state = table.text("state", found);
    let word = state.as_ref().map(|state| state.value.as_str());
    if let Some(why) = &why
        && !matches!(word, Some("paused" | "cut"))
    {
        found.add(why.span.clone(), "`why` says why a rollout is paused: leave it out, or set `state = \"paused\"`");
    }
    let why = why.map(|why| why.value).unwrap_or_default();
    match word {
        None | Some("draft") => RolloutState::Draft,
        Some("running") => RolloutState::Running,
        Some("paused") => RolloutState::Paused { cut: false, why },
        Some("cut") => RolloutState::Paused { cut: true, why },
        Some("completed") => RolloutState::Completed,
        Some("aborted") => RolloutState::Aborted,
        Some(other) => {
            found.add(table.span_of("state"), format!("`state`: `{}` is not known, {WORDS}", shown(other)));
            // Whatever was meant: nothing that holds for a draft only must be said of it.
            found.fault(&[table.place_of("started_at")]);
            RolloutState::Running
        }
    }
}

/// Where the file says that a paused rollout runs again.
fn read_resume(table: &mut Section<'_>, state: &RolloutState, found: &mut Found) -> Option<Range<usize>> {
    let resume = table.flag("resume", found)?;
    let span = table.span_of("resume");
    if resume && *state != RolloutState::Running {
        found.add(span, "`resume` sets a paused rollout running: leave it out, or set `state = \"running\"`");
        return None;
    }
    resume.then_some(span)
}

fn read_wave(mut table: Section<'_>, found: &mut Found) -> (Option<Wave>, OpenLine) {
    let number = table.place.rsplit(['[', ']']).nth(1).and_then(|index| index.parse::<usize>().ok()).unwrap_or(0) + 1;
    found.table_place(table.place.clone(), table.span.clone(), format!("wave {number}"));
    table.require("size", "write a count such as 10, a share such as \"25 %\", or \"all\"", found);
    let size = read_size(&mut table, found);
    let open = table.flag("open", found);
    let open_span = table.span_of("open");
    let threshold = read_threshold(&mut table, found);
    let opened_at = table.moment("opened_at", found);
    let opened_at = opened_at.map(|value| Placed { value, span: table.span_of("opened_at") });
    for key in ["threshold", "opened_at"] {
        if table.has(key) && !table.has("open") {
            found.add(table.span_of(key), format!("`{key}` is of an open wave: set `open = true` with it"));
        }
    }
    table.stands_for("success_share", "gate.success_share_bps", found);
    let gate = read_gate(&mut table, found);
    if threshold.is_some() && size == Some(WaveSize::All) {
        found.add(table.span_of("threshold"), "`all` has no threshold: leave it out");
    }
    let open = open.map(|value| Placed { value, span: open_span });
    let line = OpenLine { span: table.span.clone(), open, threshold, opened_at };
    table.finish(found);
    (size.map(|size| Wave { size, gate, opened: None }), line)
}

fn read_gate(table: &mut Section<'_>, found: &mut Found) -> Gate {
    Gate {
        opens_at: table.moment("opens_at", found),
        min_finished: table.count("min_finished", found),
        success_share_bps: read_share(table, "success_share", found),
        soak_secs: table.count("soak_secs", found),
    }
}

fn read_halt(mut table: Section<'_>, found: &mut Found) -> Halt {
    table.stands_for("failure_share", "failure_share_bps", found);
    let failures = table.count("failures", found);
    let failure_share_bps = read_share(&mut table, "failure_share", found);
    let min_finished = table.count("min_finished", found);
    table.finish(found);
    Halt { failures, failure_share_bps, min_finished }
}

fn read_missing(mut table: Section<'_>, found: &mut Found) -> Missing {
    let default = Missing::default();
    let offers = table.count("offers", found).unwrap_or(default.offers);
    let secs = table.count("secs", found).unwrap_or(default.secs);
    table.finish(found);
    Missing { offers, secs }
}

fn read_penalty(mut table: Section<'_>, found: &mut Found) -> Penalty {
    let default = Penalty::default();
    let secs = table.count("secs", found).unwrap_or(default.secs);
    let secs_max = table.count("secs_max", found).unwrap_or(default.secs_max);
    table.finish(found);
    Penalty { secs, secs_max }
}

fn read_size(table: &mut Section<'_>, found: &mut Found) -> Option<WaveSize> {
    let size = table.any("size", found)?;
    let read = match size.value {
        DeValue::Integer(_) => return table.count("size", found).map(WaveSize::First),
        DeValue::String(text) if text.as_ref() == "all" => Some(WaveSize::All),
        DeValue::String(text) => share_bps(text).map(WaveSize::ShareBps),
        _ => None,
    };
    if read.is_none() {
        found.add(
            size.span,
            "`size` must be a count such as 10, a share such as \"25 %\" with at most two decimals, or \"all\"",
        );
    }
    read
}

fn read_share(table: &mut Section<'_>, key: &'static str, found: &mut Found) -> Option<u16> {
    let text = table.text(key, found)?;
    let share = share_bps(&text.value);
    if share.is_none() {
        let message = format!(
            "`{key}` must be a share such as \"95 %\" with at most two decimals, and is `{}`",
            shown(&text.value)
        );
        found.add(text.span, message);
    }
    share
}

/// A threshold as a number or, since many TOML tools stop at 2^63, as a text.
fn read_threshold(table: &mut Section<'_>, found: &mut Found) -> Option<Placed<u64>> {
    const RANGE: &str = "from 0 to 18446744073709551615, in quotes or not";
    let value = table.any("threshold", found)?;
    let DeValue::String(text) = value.value else { return table.number("threshold", RANGE, found) };
    match text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten() {
        Some(threshold) => Some(Placed { value: threshold, span: value.span }),
        None => {
            found.add(value.span, format!("`threshold` must be a whole number {RANGE}, and is `{}`", shown(text)));
            None
        }
    }
}

/// `25 %` and `12.5%` to basis points, exactly: at most two decimals, and no floating point (R3).
fn share_bps(text: &str) -> Option<u16> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "00"));
    let digits = |part: &str, len_max: usize| {
        ((1..=len_max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u16>().ok())
            .flatten()
    };
    let tenths = if decimals.len() == 1 { 10 } else { 1 };
    digits(whole, 3)?.checked_mul(100)?.checked_add(digits(decimals, 2)? * tenths)
}

#[cfg(test)]
mod tests {
    use super::share_bps;

    #[test]
    fn a_share_is_read_exactly_or_not_at_all() {
        for (text, bps) in [
            ("25 %", Some(2_500)),
            ("12.5%", Some(1_250)),
            ("0.01 %", Some(1)),
            ("100%", Some(10_000)),
            (" 1.05 % ", Some(105)),
            ("999.99%", None),
            ("33.333 %", None),
            ("25", None),
            ("%", None),
            (".5%", None),
            ("1.%", None),
            ("-1%", None),
            ("+1%", None),
            ("1e2%", None),
        ] {
            assert_eq!(share_bps(text), bps, "{text}");
        }
    }
}
