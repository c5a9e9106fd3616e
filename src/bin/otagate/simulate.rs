//! `simulate`: plans, seeds, and what they come to.

use crate::args::{Format, Simulate};
use crate::failure::{Failure, hint};
use crate::fleets::Source;
use crate::{Done, now, show, threads};
use anstream::{eprintln, print};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use otagate::simulate::{Comparison, Fault, Outlook, Plan, Simulation, World};
use otagate::{Index, fleet_file, pictures};
use std::path::Path;

pub(crate) fn run(args: &Simulate, format: Format) -> Result<Done, Failure> {
    let at = args.at.unwrap_or_else(now);
    let load = |error: fleet_file::LoadError| Failure::new(crate::fleets::chain(&error));
    let mut world = match &args.world {
        Some(path) => fleet_file::load_world(path).map_err(load)?,
        None => World::default(),
    };
    world.lasts_secs = args.days.map_or(world.lasts_secs, |days| days * 86_400);
    let plans: Vec<Plan> = match args.plans.as_slice() {
        [] => vec![Plan::nothing("the fleet as it is")],
        paths => paths.iter().map(|path| fleet_file::load_plan(path, at).map_err(load)).collect::<Result<_, _>>()?,
    };
    let index = Index::new(&Source::of(&args.fleet)?.read(at)?.fleet);
    let seeds: Vec<u64> = (0..u64::from(args.seeds)).map(|nth| args.seed.wrapping_add(nth)).collect();

    let bar = progress_bar();
    let progress = |done: f64| bar.set_position((done * 1_000.0) as u64);
    let simulation = Simulation::new(&index, &world, at).threads(threads(args.threads)).progress(&progress);
    let comparison = simulation.compare(&plans, &seeds).map_err(|fault| match fault {
        Fault::Plan { plan, problems } => hint(
            format!("plan `{}`: {problems}", plan.escape_debug()),
            "a group has one rollout under way at most, and its target is a firmware of the product (R11, R7)",
        ),
        other => Failure::of(other),
    })?;
    bar.finish_and_clear();

    match format {
        Format::Json => show::json(&comparison)?,
        Format::Text => print!("{}", told(&comparison)),
    }
    if let Some(path) = &args.html {
        write(path, &pictures::simulation_page(&comparison))?;
    }
    if let Some(dir) = &args.svg {
        std::fs::create_dir_all(dir).map_err(|error| Failure::io(dir, error))?;
        for picture in pictures::simulation_svgs(&comparison) {
            write(&dir.join(format!("{}.svg", picture.name)), &picture.svg)?;
        }
    }
    Ok(judged(args, &comparison))
}

/// The limit on harm, of the nine tenths of runs that go best.
fn judged(args: &Simulate, comparison: &Comparison) -> Done {
    let Some(max) = args.max_harmed else { return Done::Well };
    let mut done = Done::Well;
    for outlook in &comparison.plans {
        let harmed = outlook.bands.numbers.get("harmed").and_then(|band| band.p90).unwrap_or(0);
        if harmed > max {
            let plan = outlook.plan.escape_debug();
            eprintln!(
                "{}refused:{} plan `{plan}`: {} devices come to harm, --max-harmed allows {}: make its first waves smaller, or let it halt sooner",
                show::RED,
                show::END,
                show::count(harmed),
                show::count(max)
            );
            done = Done::Refused;
        }
    }
    done
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::io(path, error))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// On standard error, and only where somebody looks.
pub(crate) fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %, {eta} to go") {
        bar.set_style(style);
    }
    bar
}

fn told(comparison: &Comparison) -> String {
    let seeds = comparison.seeds.len();
    let lasts = comparison.ends_at.millis().saturating_sub(comparison.starts_at.millis()) / 1_000;
    let lasts = show::duration(u64::try_from(lasts).unwrap_or(0));
    let mut text =
        format!("from {}, for {lasts}, {seeds} seed{}\n", comparison.starts_at, if seeds == 1 { "" } else { "s" });
    for outlook in &comparison.plans {
        text.push_str(&plan(outlook, comparison));
    }
    text
}

fn plan(outlook: &Outlook, comparison: &Comparison) -> String {
    let course = &outlook.course;
    let (bold, end) = (show::BOLD, show::END);
    let mut text = format!("\n{bold}{}{end}\n", outlook.plan.escape_debug());
    let since = |at: otagate::Timestamp| {
        show::duration(u64::try_from(at.millis() - course.starts_at.millis()).unwrap_or(0) / 1_000)
    };
    for rollout in &course.rollouts {
        let id = rollout.rollout.to_string();
        let (members, adopted, harmed) =
            (show::count(rollout.members), show::count(rollout.adopted), show::count(rollout.harmed));
        text.push_str(&format!(
            "  rollout `{}` of group `{}` to {}: {}; {adopted} of {members} devices run it, {harmed} came to harm\n",
            id.escape_debug(),
            rollout.group,
            rollout.target.escape_debug(),
            rollout.state
        ));
        if let (Some(at), Some(harmed)) = (rollout.halted_at, rollout.harmed_at_halt) {
            text.push_str(&format!("  halted after {}, with {} harmed\n", since(at), show::count(harmed)));
        }
        let mut lines =
            vec![["wave", "opens after", "counted", "offered", "installed", "failed"].map(str::to_owned).to_vec()];
        for (nth, wave) in rollout.waves.iter().enumerate() {
            let outcomes = &wave.outcomes;
            let size = match wave.size {
                otagate::WaveSize::First(first) => format!("{}: first {}", nth + 1, show::count(first.into())),
                otagate::WaveSize::ShareBps(bps) => format!("{}: {}.{:02} %", nth + 1, bps / 100, bps % 100),
                otagate::WaveSize::All => format!("{}: all", nth + 1),
            };
            lines.push(vec![
                size,
                wave.opened_at.map_or_else(|| "never".to_owned(), since),
                wave.counted.map_or_else(|| "-".to_owned(), show::count),
                show::count(outcomes.devices()),
                show::count(outcomes.installed + outcomes.confirmed),
                show::count(outcomes.failures()),
            ]);
        }
        text.push_str(&show::table(&lines));
        for reached in &rollout.reached {
            let at = reached.at.map_or_else(|| "not reached".to_owned(), |at| format!("after {}", since(at)));
            text.push_str(&format!("  {} % of the group: {at}\n", reached.share_bps / 100));
        }
    }
    text.push_str(&format!(
        "  {} check-ins, at most {} a second; {} downloads, {}, at most {} a second\n",
        show::count(course.check_ins + course.unanswered),
        show::count(course.peak_check_ins_per_sec.into()),
        show::count(course.downloads),
        show::bytes(course.bytes),
        show::bytes(course.peak_bytes_per_sec)
    ));
    if comparison.seeds.len() > 1 {
        text.push_str(&bands(outlook, comparison.seeds.len()));
    }
    text
}

fn bands(outlook: &Outlook, seeds: usize) -> String {
    let mut lines = vec![["over all seeds", "p10", "median", "p90"].map(str::to_owned).to_vec()];
    for (name, band) in &outlook.bands.numbers {
        let number = |number: Option<u64>| match number {
            None => "-".to_owned(),
            Some(secs) if name.contains("secs") => show::duration(secs),
            Some(bytes) if name.contains("bytes") => show::bytes(bytes),
            Some(count) => show::count(count),
        };
        lines.push(vec![name.replace('_', " "), number(band.p10), number(band.p50), number(band.p90)]);
    }
    format!("{}  halted in {} of {seeds} runs\n", show::table(&lines), outlook.bands.halted)
}
