//! One page: in words, in numbers, in pictures.

use super::simulation_svgs;
use super::words::{count, duration, escape, short};
use crate::Timestamp;
use crate::fleet::WaveSize;
use crate::simulate::{Comparison, Outlook, RolloutCourse};
use std::fmt::Write as _;

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fefefe;--ink:#1b1c1f;--soft:#5b5d63;--line:#dcdde1}\
@media screen and (prefers-color-scheme:dark){:root{--paper:#15171c;--ink:#e9eaee;--soft:#a4a7b0;--line:#33363d}}\
body{margin:0 auto;max-width:70rem;padding:2rem 1.5rem 4rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
h1{font-size:1.8rem;line-height:1.25;margin:0 0 .5rem}h2{font-size:1.2rem;margin:2.5rem 0 .5rem}\
p.head{font-size:1.15rem;margin:.3rem 0}p.soft,td.soft{color:var(--soft)}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}\
th{font-weight:600}th:first-child,td:first-child,td.words{text-align:left}\
figure{margin:1.5rem 0}svg{width:100%;height:auto;display:block}.wide{overflow-x:auto}\
@media print{body{max-width:none;padding:0;font-size:11pt}figure,table,tr{break-inside:avoid}h2{break-after:avoid}}";

/// A whole page about a simulation, in one file that fetches nothing and runs nothing: what happened in words, the numbers of each plan, four plots, the waves, what was done when,
/// and all of it once more as JSON, in the element `otagate-data`.
pub fn simulation_page(comparison: &Comparison) -> String {
    let mut body = String::new();
    let seeds = comparison.seeds.len();
    let lasts = secs(comparison.starts_at, comparison.ends_at);
    let names: Vec<String> = comparison.plans.iter().map(|plan| escape(&plan.plan)).collect();
    let _ = write!(body, "<h1>Rollout simulation: {}</h1>", names.join(" and "));
    let plural = if seeds == 1 { "one run" } else { "each of them" };
    let _ = write!(
        body,
        "<p class=\"soft\">From {}, {} of virtual time, {seeds} seed{}; {plural} decided by the code that answers devices.</p>",
        comparison.starts_at,
        duration(lasts),
        if seeds == 1 { "" } else { "s" }
    );
    for plan in &comparison.plans {
        let _ =
            write!(body, "<p class=\"head\"><strong>{}</strong>: {}</p>", escape(&plan.plan), headline(plan, seeds));
    }
    for picture in simulation_svgs(comparison) {
        let _ = write!(body, "<figure id=\"{}\">{}</figure>", picture.name, picture.svg);
    }
    body.push_str(&numbers(comparison));
    for plan in &comparison.plans {
        body.push_str(&waves(plan));
        body.push_str(&events(plan));
    }
    // No text can end the element: `<` is written otherwise in it.
    let json = serde_json::to_string(comparison).unwrap_or_default().replace('<', "\\u003c");
    let title = names.join(", ");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Rollout simulation: {title}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head><body>{body}\
         <script type=\"application/json\" id=\"otagate-data\">{json}</script></body></html>\n"
    )
}

fn secs(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.millis().saturating_sub(from.millis())).unwrap_or(0) / 1_000
}

fn headline(plan: &Outlook, seeds: usize) -> String {
    let Some(rollout) = plan.course.rollouts.first() else {
        return "no rollout of firmware is under way.".to_owned();
    };
    let since = |at: Timestamp| duration(secs(plan.course.starts_at, at));
    let (members, harmed) = (count(rollout.members), count(rollout.harmed));
    let told = match (rollout.halted_at, rollout.completed_at, rollout.harmed_at_halt) {
        (_, Some(at), _) => format!("completed after {}, with {harmed} of {members} devices harmed", since(at)),
        (Some(at), None, Some(harmed)) => {
            format!("halted after {}, with {} of {members} devices harmed", since(at), count(harmed))
        }
        _ => format!(
            "{} at the end; {} of {members} devices run the target, {harmed} harmed",
            escape(&rollout.state),
            count(rollout.adopted)
        ),
    };
    if seeds == 1 {
        return format!("{told}.");
    }
    format!("{told} (by the first seed); it halted in {} of {seeds} runs.", plan.bands.halted)
}

/// How a number is said.
type Say = fn(u64) -> String;

/// The key numbers, a column for each plan; with several seeds the median, and from where to where nine tenths of runs lie.
fn numbers(comparison: &Comparison) -> String {
    let rows: [(&str, &str, Say); 12] = [
        ("adopted", "Devices on the target at the end", count),
        ("harmed", "Devices harmed", count),
        ("harmed_at_halt", "Devices harmed when it halted", count),
        ("halted_secs", "Halted after", duration),
        ("completed_secs", "Completed after", duration),
        ("secs_to_50", "Half of the group after", duration),
        ("secs_to_95", "95 % of the group after", duration),
        ("secs_to_99", "99 % of the group after", duration),
        ("check_ins", "Check-ins answered", count),
        ("peak_check_ins_per_sec", "Most check-ins in one second", count),
        ("bytes", "Bytes sent", |bytes| format!("{}B", short(bytes as f64))),
        ("peak_bytes_per_sec", "Most bytes a second", |bytes| format!("{}B", short(bytes as f64))),
    ];
    let many = comparison.seeds.len() > 1;
    let mut told = String::from("<h2>Numbers</h2><div class=\"wide\"><table><thead><tr><th></th>");
    for plan in &comparison.plans {
        let _ = write!(told, "<th>{}</th>", escape(&plan.plan));
    }
    told.push_str("</tr></thead><tbody>");
    for (name, words, say) in rows {
        let _ = write!(told, "<tr><td>{words}</td>");
        for plan in &comparison.plans {
            let band = plan.bands.numbers.get(name).copied().unwrap_or_default();
            let one = |number: Option<u64>| number.map_or_else(|| "\u{2013}".to_owned(), say);
            let range =
                if many { format!("<br><small>{} to {}</small>", one(band.p10), one(band.p90)) } else { String::new() };
            let _ = write!(told, "<td>{}{range}</td>", one(band.p50));
        }
        told.push_str("</tr>");
    }
    told.push_str("</tbody></table></div>");
    if many {
        told.push_str("<p class=\"soft\">The median over all seeds, and the 10th and 90th percentile below it. A dash: not until the end.</p>");
    }
    told
}

fn waves(plan: &Outlook) -> String {
    let mut told = String::new();
    for rollout in &plan.course.rollouts {
        told.push_str(&waves_of(plan, rollout));
    }
    told
}

fn waves_of(plan: &Outlook, rollout: &RolloutCourse) -> String {
    let mut told = format!(
        "<h2>{}: waves of {} to {}</h2><div class=\"wide\"><table><thead><tr><th>Wave</th><th>Opens after</th><th>Counted in</th><th>Offered</th><th>Installed</th><th>Failed</th></tr></thead><tbody>",
        escape(&plan.plan),
        escape(rollout.rollout.as_str()),
        escape(&rollout.target)
    );
    for (nth, wave) in rollout.waves.iter().enumerate() {
        let size = match wave.size {
            WaveSize::First(first) => format!("first {}", count(first.into())),
            WaveSize::ShareBps(bps) => format!("{} %", f64::from(bps) / 100.0),
            WaveSize::All => "all".to_owned(),
        };
        let since = |at: Timestamp| duration(secs(plan.course.starts_at, at));
        let _ = write!(
            told,
            "<tr><td>{}: {size}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            nth + 1,
            wave.opened_at.map_or_else(|| "never".to_owned(), since),
            wave.counted.map_or_else(|| "\u{2013}".to_owned(), count),
            count(wave.outcomes.devices()),
            count(wave.outcomes.installed + wave.outcomes.confirmed),
            count(wave.outcomes.failures())
        );
    }
    told.push_str("</tbody></table></div>");
    told
}

/// How many events a page shows of each plan.
const EVENTS: usize = 200;

fn events(plan: &Outlook) -> String {
    if plan.course.events.is_empty() {
        return String::new();
    }
    let mut told = format!("<h2>{}: what was done</h2><table><tbody>", escape(&plan.plan));
    for event in plan.course.events.iter().take(EVENTS) {
        let after = duration(secs(plan.course.starts_at, event.at));
        let _ =
            write!(told, "<tr><td class=\"soft\">{after}</td><td class=\"words\">{}</td></tr>", escape(&event.line));
    }
    told.push_str("</tbody></table>");
    let more = plan.course.events.len().saturating_sub(EVENTS);
    if more > 0 {
        let _ = write!(told, "<p class=\"soft\">And {more} more.</p>");
    }
    told
}
