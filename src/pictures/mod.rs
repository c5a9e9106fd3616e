//! Simulations as pictures: SVG plots, and one HTML page that needs nothing else. No script runs in it, and nothing is fetched.
//!
//! ```text
//!   Comparison ──▶ four charts: adoption, harm, check-ins, bytes ──▶ SVG ──┬─▶ files
//!                  headline, numbers, waves, events ──▶ HTML ◀────────────┘
//! ```
//!
//! ```
//! use otagate::simulate::{Plan, Simulation, World};
//! use otagate::{Fleet, Index, Timestamp, pictures};
//! let (index, world) = (Index::new(&Fleet::default()), World { lasts_secs: 86_400, ..World::default() });
//! let simulation = Simulation::new(&index, &world, Timestamp::from_millis(0));
//! let comparison = simulation.compare(&[Plan::nothing("as it is")], &[1]).unwrap();
//! let page = pictures::simulation_page(&comparison);
//! assert!(page.starts_with("<!DOCTYPE html>") && page.matches("<svg").count() == 4);
//! ```

mod chart;
mod page;
mod words;

pub use page::simulation_page;

use crate::simulate::{BandOverTime, Comparison, RolloutCourse};
use chart::{Chart, Curve, Mark};

/// One plot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What it shows, as a file would be called: `adoption`, `harmed`, `check-ins`, `bandwidth`.
    pub name: &'static str,
    /// The same in words.
    pub title: &'static str,
    /// A whole SVG document, light by itself, dark in a browser that is.
    pub svg: String,
}

/// The plots of a simulation, in the order in which they are read.
///
/// One plan is shown with its waves, its halt and its completion; several side by side, each with a band from the 10th to the 90th percentile where there are several seeds. The
/// root of each SVG says how its pixels are read (`data-x0`, `data-px0` and so on), and each curve is a group named `<what>-<number of the plan>`.
pub fn simulation_svgs(comparison: &Comparison) -> Vec<Picture> {
    let ends = comparison.ends_at.millis().saturating_sub(comparison.starts_at.millis()).max(1_000) as f64 / 1_000.0;
    let counts = |name: &'static str,
                  of: fn(&RolloutCourse) -> &Vec<u64>,
                  band: fn(&crate::simulate::Bands) -> &BandOverTime| {
        let curve = |(nth, plan): (usize, &crate::simulate::Outlook)| {
            let bin = f64::from(plan.bands.bin_secs);
            let at = |(nth, count): (usize, &u64)| (((nth + 1) as f64 * bin).min(ends), *count as f64);
            let line = |counts: &[u64]| {
                std::iter::once((0.0, 0.0)).chain(counts.iter().enumerate().map(at)).collect::<Vec<_>>()
            };
            let one = plan.course.rollouts.first().map(|rollout| line(of(rollout))).unwrap_or_default();
            curve(comparison, name, nth, &plan.plan, one, band(&plan.bands), line)
        };
        comparison.plans.iter().enumerate().map(curve).collect::<Vec<_>>()
    };
    let rates = |name: &'static str,
                 band: fn(&crate::simulate::Bands) -> &BandOverTime,
                 one: fn(&crate::simulate::Load) -> Vec<u64>| {
        let curve = |(nth, plan): (usize, &crate::simulate::Outlook)| {
            let bin = f64::from(plan.bands.bin_secs).max(1.0);
            // Steps: a rate holds for its bin, and the last bin may be cut by the end.
            let line = |counts: &[u64]| {
                let step = |(nth, count): (usize, &u64)| {
                    let (from, to) = (nth as f64 * bin, ((nth + 1) as f64 * bin).min(ends));
                    let rate = *count as f64 / (to - from).max(1.0);
                    [(from, rate), (to, rate)]
                };
                counts.iter().enumerate().flat_map(step).collect::<Vec<_>>()
            };
            curve(comparison, name, nth, &plan.plan, line(&one(&plan.course.load)), band(&plan.bands), line)
        };
        comparison.plans.iter().enumerate().map(curve).collect::<Vec<_>>()
    };
    let marks = marks(comparison);
    let halts: Vec<Mark> = marks.iter().filter(|mark| mark.halts).cloned().collect();
    let members =
        comparison.plans.iter().filter_map(|plan| plan.course.rollouts.first()).map(|rollout| rollout.members);
    let picture = |name, title, unit: &str, curves: Vec<Curve>, marks: &[Mark], at_least| Picture {
        name,
        title,
        svg: Chart { unit: unit.to_owned(), ends, curves, marks: marks.to_vec(), at_least }.svg(title),
    };
    let asked = |load: &crate::simulate::Load| {
        load.check_ins.iter().zip(&load.unanswered).map(|(decided, lost)| decided + lost).collect::<Vec<u64>>()
    };
    vec![
        picture(
            "adoption",
            "Devices on the new version",
            "devices",
            counts("adopted", |rollout| &rollout.adopted_over_time, |bands| &bands.adopted),
            &marks,
            members.max().unwrap_or(0) as f64,
        ),
        picture(
            "harmed",
            "Devices that came to harm",
            "devices",
            counts("harmed", |rollout| &rollout.harmed_over_time, |bands| &bands.harmed),
            &halts,
            1.0,
        ),
        picture(
            "check-ins",
            "Check-ins",
            "check-ins a second",
            rates("check-ins", |bands| &bands.check_ins, asked),
            &[],
            0.0,
        ),
        picture(
            "bandwidth",
            "Bytes sent",
            "bytes a second",
            rates("bytes", |bands| &bands.bytes, |load| load.bytes.clone()),
            &[],
            0.0,
        ),
    ]
}

/// A plan's curve: its course, or the median with its band where there are several seeds.
fn curve(
    comparison: &Comparison,
    name: &'static str,
    plan: usize,
    label: &str,
    one: Vec<(f64, f64)>,
    band: &BandOverTime,
    line: impl Fn(&[u64]) -> Vec<(f64, f64)>,
) -> Curve {
    let many = comparison.seeds.len() > 1;
    Curve {
        name: format!("{name}-{plan}"),
        label: label.to_owned(),
        points: if many && !band.p50.is_empty() { line(&band.p50) } else { one },
        band: (many && !band.p50.is_empty()).then(|| (line(&band.p10), line(&band.p90))),
    }
}

/// What is marked in time: with one plan its waves, halt and completion, by its first seed; with several the halts alone.
fn marks(comparison: &Comparison) -> Vec<Mark> {
    let mut marks = Vec::new();
    let several = comparison.plans.len() > 1;
    for (nth, plan) in comparison.plans.iter().enumerate() {
        let since = |at: crate::Timestamp| at.millis().saturating_sub(comparison.starts_at.millis()) as f64 / 1_000.0;
        let Some(rollout) = plan.course.rollouts.first() else { continue };
        let mut mark = |at: Option<crate::Timestamp>, label: String, halts: bool| {
            marks.extend(at.map(|at| Mark { at: since(at), label, halts, plan: nth }));
        };
        if !several {
            for (nth, wave) in rollout.waves.iter().enumerate() {
                mark(wave.opened_at, format!("wave {}", nth + 1), false);
            }
            mark(rollout.completed_at, "completed".to_owned(), false);
        }
        mark(rollout.halted_at, "halted".to_owned(), true);
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Bands, Course, Load, Outlook, Reached, TIMED_SHARES_BPS};
    use crate::{GroupId, ProductId, RolloutId, Timestamp};

    /// A course whose numbers are told, and nothing else.
    fn course(plan: &str, adopted: &[u64], bytes: &[u64], rollouts: usize) -> Course {
        let rollout = RolloutCourse {
            product: ProductId::new("lamp").unwrap(),
            group: GroupId::new("stable").unwrap(),
            rollout: RolloutId::new("r2").unwrap(),
            target: "2.0".into(),
            started_at: Timestamp::from_millis(0),
            members: 100,
            state: "running".into(),
            waves: Vec::new(),
            adopted: 0,
            harmed: 0,
            halted_at: Some(Timestamp::from_millis(5_400_000)),
            harmed_at_halt: Some(3),
            completed_at: None,
            reached: TIMED_SHARES_BPS.map(|share_bps| Reached { share_bps, at: None }).to_vec(),
            adopted_over_time: adopted.to_vec(),
            harmed_over_time: adopted.to_vec(),
        };
        Course {
            plan: plan.into(),
            seed: 1,
            starts_at: Timestamp::from_millis(0),
            ends_at: Timestamp::from_millis(adopted.len().max(1) as i64 * 3_600_000),
            devices: 100,
            check_ins: 0,
            unanswered: 0,
            verdicts: Default::default(),
            downloads: 0,
            bytes: bytes.iter().sum(),
            peak_check_ins_per_sec: 0,
            peak_bytes_per_sec: 0,
            rollouts: vec![rollout; rollouts],
            events: Vec::new(),
            load: Load {
                bin_secs: 3_600,
                check_ins: bytes.to_vec(),
                unanswered: vec![0; bytes.len()],
                served: vec![0; bytes.len()],
                bytes: bytes.to_vec(),
            },
        }
    }

    fn comparison(plans: Vec<Vec<Course>>) -> Comparison {
        let ends_at = plans.first().and_then(|plan| plan.first()).map_or(Timestamp::from_millis(1), |one| one.ends_at);
        let seeds = (0..plans.first().map_or(0, Vec::len) as u64).collect();
        let outlook = |courses: Vec<Course>| Outlook {
            plan: courses[0].plan.clone(),
            course: courses[0].clone(),
            bands: Bands::of(&courses),
        };
        let plans = plans.into_iter().map(outlook).collect();
        Comparison { starts_at: Timestamp::from_millis(0), ends_at, seeds, plans }
    }

    fn attribute(svg: &str, name: &str) -> f64 {
        let from = svg.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
        svg[from..].split('"').next().unwrap().parse().unwrap()
    }

    /// The points of the curves, as pixels say them: seconds and numbers.
    fn curves(svg: &str) -> Vec<Vec<(f64, f64)>> {
        let at = |name| attribute(svg, name);
        let (px, py) = ((at("data-px0"), at("data-px1")), (at("data-py0"), at("data-py1")));
        let lines = svg.split("<polyline ").skip(1).filter(|line| line.contains("stroke-width=\"4\""));
        let points = |line: &str| {
            let text = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            let point = |pair: &str| {
                let (x, y) = pair.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                ((x - px.0) / (px.1 - px.0) * at("data-x1"), (y - py.0) / (py.1 - py.0) * at("data-y1"))
            };
            text.split_whitespace().map(point).collect()
        };
        lines.map(points).collect()
    }

    #[test]
    fn curves_have_the_numbers_to_a_pixel() {
        let adopted = [0, 10, 10, 55, 99, 100];
        let bytes = [0, 7_200_000, 36_000_000_000, 0, 3_600, 0];
        let told = simulation_svgs(&comparison(vec![vec![course("one", &adopted, &bytes, 1)]]));
        assert_eq!(
            told.iter().map(|one| one.name).collect::<Vec<_>>(),
            ["adoption", "harmed", "check-ins", "bandwidth"]
        );
        for (nth, one) in told.iter().enumerate() {
            let (svg, drawn) = (&one.svg, curves(&one.svg));
            assert_eq!(drawn.len(), 1, "{}", one.name);
            let a_pixel = |name: &str, axis: &str| {
                let across =
                    (attribute(svg, &format!("data-p{axis}0")) - attribute(svg, &format!("data-p{axis}1"))).abs();
                attribute(svg, name) / across
            };
            let (secs, number) = (a_pixel("data-x1", "x"), a_pixel("data-y1", "y"));
            // plotters leaves out points that fall on the pixel of the one before, so each number is looked for among what is drawn.
            for (bin, (adopted, bytes)) in adopted.iter().zip(bytes).enumerate() {
                let (at, expected) = match nth {
                    0 | 1 => ((bin + 1) as f64 * 3_600.0, *adopted as f64),
                    _ => (bin as f64 * 3_600.0, bytes as f64 / 3_600.0),
                };
                let near = |(x, y): &(f64, f64)| (x - at).abs() <= 1.5 * secs && (y - expected).abs() <= 1.5 * number;
                assert!(drawn[0].iter().any(near), "{} bin {bin}: {at} {expected} in {:?}", one.name, drawn[0]);
            }
        }
        assert!(told[0].svg.contains("halted") && told[1].svg.contains("halted"));
    }

    #[test]
    fn plans_stand_side_by_side_with_their_bands() {
        let plan =
            |name: &str, more: u64| (0..10).map(|seed| course(name, &[seed + more, 50, 90], &[1, 2, 3], 1)).collect();
        let told = simulation_svgs(&comparison(vec![plan("careful", 0), plan("bold", 20)]));
        let svg = &told[0].svg;
        assert_eq!((curves(svg).len(), svg.matches("<polygon").count()), (2, 2));
        assert!(svg.contains("careful") && svg.contains("bold") && svg.contains("data-curves=\"adopted-0 adopted-1\""));
        // The median of 20 to 29, by nearest rank.
        assert!(curves(svg)[1].iter().any(|(at, number)| (at - 3_600.0).abs() < 20.0 && (number - 24.0).abs() < 1.0));
    }

    #[test]
    fn nothing_of_anybodys_is_markup_and_nothing_at_all_is_a_page_too() {
        let evil = "</script><script>alert(1)</script>&\"'\u{202e}";
        let page =
            simulation_page(&comparison(vec![vec![course(evil, &[1], &[1], 1)], vec![course(evil, &[1], &[1], 1)]]));
        assert_eq!(page.matches("<script").count(), 1, "the data alone");
        let (seen, data) = page.split_once("id=\"otagate-data\">").unwrap();
        assert!(!seen.contains('\u{202e}') && !seen.contains("<script>alert"), "{seen}");
        assert_eq!(data.matches('<').count(), 3, "the ends of the data, the body and the page");
        // What would be fetched: nothing.
        assert_eq!(page.matches("src=").count() + page.matches("@import").count() + page.matches("url(").count(), 0);
        assert_eq!(page.matches("href=").count(), page.matches("href=\"data:,\"").count());
        for empty in [
            comparison(vec![]),
            comparison(vec![vec![course("none", &[], &[], 0)]]),
            comparison(vec![vec![course("zero", &[0], &[0], 1)]]),
        ] {
            assert_eq!(simulation_page(&empty).matches("</svg>").count(), 4);
        }
        let huge = comparison(vec![vec![course("huge", &[10_000_000], &[u64::MAX / 2], 1)]]);
        assert!(simulation_page(&huge).contains("EB"));
        let json = simulation_page(&huge)
            .split("id=\"otagate-data\">")
            .nth(1)
            .unwrap()
            .split("</script>")
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), huge);
    }
}
