//! One plot as SVG, by plotters. Colours are written light; a style in the document says what each is in a dark browser.

use super::words::{plain, short};
use plotters::prelude::*;
use std::fmt::Write as _;

/// The size in pixels: large, since coordinates are whole ones.
const SIZE: (u32, u32) = (1_600, 760);
const FONT: &str = "system-ui, sans-serif";
const TEXT: u32 = 26;

/// Each colour light, and what it is in the dark. Okabe and Ito's, which those see apart who see few colours apart.
const SERIES: [(RGBColor, &str); 6] = [
    (RGBColor(0, 114, 178), "#56b4e9"),
    (RGBColor(213, 94, 0), "#ff9248"),
    (RGBColor(0, 158, 115), "#2fd6a5"),
    (RGBColor(204, 121, 167), "#e8a3c9"),
    (RGBColor(146, 110, 0), "#e6c229"),
    (RGBColor(86, 86, 90), "#b9b9c0"),
];
const PAPER: (RGBColor, &str) = (RGBColor(254, 254, 254), "#15171c");
const INK: (RGBColor, &str) = (RGBColor(27, 28, 31), "#e9eaee");
const AXIS: (RGBColor, &str) = (RGBColor(110, 112, 118), "#9a9da6");
const GRID: (RGBColor, &str) = (RGBColor(226, 227, 230), "#2e3138");
const HALT: (RGBColor, &str) = (RGBColor(176, 0, 32), "#ff6b81");

/// Seconds since the beginning, and a number.
pub(super) type Point = (f64, f64);

/// A line over time.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) points: Vec<Point>,
    pub(super) band: Option<(Vec<Point>, Vec<Point>)>,
}

/// A moment.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) label: String,
    pub(super) halts: bool,
    pub(super) plan: usize,
}

pub(super) struct Chart {
    pub(super) unit: String,
    /// When the time ends, in seconds.
    pub(super) ends: f64,
    pub(super) curves: Vec<Curve>,
    pub(super) marks: Vec<Mark>,
    /// The axis reaches at least so far.
    pub(super) at_least: f64,
}

impl Chart {
    pub(super) fn svg(&self, title: &str) -> String {
        let mut svg = String::new();
        // Drawing into a text cannot fail.
        let scale = self.draw(&mut svg, title).unwrap_or_default();
        let head = format!("<svg role=\"img\" aria-label=\"{title}\" {scale} ");
        svg.replacen("<svg ", &head, 1).replacen('>', &format!(">{}", style()), 1)
    }

    /// In which unit of time the axis is: its seconds, and its name.
    fn time(&self) -> (f64, &'static str) {
        match self.ends {
            ends if ends > 3.0 * 86_400.0 => (86_400.0, "days"),
            ends if ends > 3.0 * 3_600.0 => (3_600.0, "hours"),
            ends if ends > 180.0 => (60.0, "minutes"),
            _ => (1.0, "seconds"),
        }
    }

    fn draw(&self, svg: &mut String, title: &str) -> Result<String, Box<dyn std::error::Error>> {
        let (secs, unit) = self.time();
        let (ends, top) = (self.ends / secs, self.top());
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&PAPER.0)?;
        let font = |size: u32, colour: RGBColor| (FONT, size).into_font().color(&colour);
        let mut chart = ChartBuilder::on(&root)
            .margin_top(20)
            .margin_right(40)
            .margin_left(10)
            .margin_bottom(10)
            .caption(title, font(TEXT + 8, INK.0))
            .x_label_area_size(80)
            .y_label_area_size(130)
            .build_cartesian_2d(0.0..ends, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(PAPER.0)
            .bold_line_style(GRID.0)
            .axis_style(AXIS.0)
            .label_style(font(TEXT, INK.0))
            .axis_desc_style(font(TEXT, INK.0))
            .x_labels(10)
            .y_labels(6)
            .x_label_formatter(&|at| short(*at))
            .y_label_formatter(&|at| short(*at))
            .x_desc(format!("{unit} since the beginning"))
            .y_desc(self.unit.clone())
            .draw()?;
        let area = chart.plotting_area();
        let (left, bottom) = area.map_coordinate(&(0.0, 0.0));
        let (right, high) = area.map_coordinate(&(ends, top));
        for (nth, curve) in self.curves.iter().enumerate() {
            let colour = SERIES[nth % SERIES.len()].0;
            let at = |(at, number): &(f64, f64)| (at / secs, *number);
            if let Some((low, high)) = &curve.band {
                let edge: Vec<(f64, f64)> = low.iter().map(at).chain(high.iter().rev().map(at)).collect();
                chart.draw_series(std::iter::once(Polygon::new(edge, colour.mix(0.18))))?;
            }
            let points = curve.points.iter().map(at);
            let drawn = chart.draw_series(LineSeries::new(points, colour.stroke_width(4)))?;
            if self.curves.len() > 1 {
                let label = plain(&curve.label);
                drawn
                    .label(label)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 40, y)], colour.stroke_width(6)));
            }
        }
        self.draw_marks(&root, (left, right, high, bottom))?;
        if self.curves.len() > 1 {
            chart
                .configure_series_labels()
                .position(if self.at_least > 1.0 {
                    SeriesLabelPosition::LowerRight
                } else {
                    SeriesLabelPosition::UpperRight
                })
                .background_style(PAPER.0.mix(0.85))
                .border_style(GRID.0)
                .label_font(font(TEXT, INK.0))
                .legend_area_size(50)
                .margin(16)
                .draw()?;
        }
        root.present()?;
        drop(chart);
        drop(root);
        let names: Vec<&str> = self.curves.iter().map(|curve| curve.name.as_str()).collect();
        let mut scale = format!(
            "data-x0=\"0\" data-x1=\"{}\" data-px0=\"{left}\" data-px1=\"{right}\" data-y0=\"0\" data-y1=\"{top}\" data-py0=\"{bottom}\" data-py1=\"{high}\"",
            self.ends
        );
        let _ = write!(scale, " data-curves=\"{}\"", names.join(" "));
        Ok(scale)
    }

    /// Lines in time, each with its word where there is room for it, on three lines one below the other.
    fn draw_marks(
        &self,
        root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        (left, right, high, bottom): (i32, i32, i32, i32),
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut marks: Vec<&Mark> = self.marks.iter().collect();
        marks.sort_by(|a, b| a.at.total_cmp(&b.at));
        let mut taken = [i32::MIN; 3];
        for mark in marks {
            let x = left + (f64::from(right - left) * (mark.at / self.ends).clamp(0.0, 1.0)).round() as i32;
            let colour = if mark.halts { HALT.0 } else { AXIS.0 };
            let several = self.curves.len() > 1;
            let dash = if several { SERIES[mark.plan % SERIES.len()].0 } else { colour };
            let mut y = high;
            while y < bottom {
                root.draw(&PathElement::new([(x, y), (x, (y + 8).min(bottom))], dash.stroke_width(2)))?;
                y += 16;
            }
            let width = mark.label.chars().count() as i32 * 13;
            let flip = x + width + 10 > right;
            let from = if flip { x - width - 8 } else { x + 8 };
            if let Some(row) = taken.iter().position(|end| *end < from) {
                taken[row] = from + width + 12;
                let style = (FONT, TEXT - 2).into_font().color(&colour);
                root.draw(&Text::new(plain(&mark.label), (from, high + 6 + 30 * row as i32), style))?;
            }
        }
        Ok(())
    }

    /// A round number that nothing exceeds.
    fn top(&self) -> f64 {
        let all = self.curves.iter().flat_map(|curve| {
            let band = curve.band.iter().flat_map(|(_, high)| high);
            curve.points.iter().chain(band).map(|(_, number)| *number)
        });
        let most = all.fold(self.at_least, f64::max).max(1e-9) * 1.05;
        let step = 10_f64.powf(most.log10().floor());
        let rounds = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
        rounds.iter().map(|round| round * step).find(|top| *top >= most).unwrap_or(most)
    }
}

/// What each colour is in the dark. By the colours that are written, so that who knows no styles sees the light ones.
fn style() -> String {
    let mut rules = String::new();
    for (light, dark) in SERIES.iter().chain([&PAPER, &INK, &AXIS, &GRID, &HALT]) {
        let hex = format!("#{:02X}{:02X}{:02X}", light.0, light.1, light.2);
        let _ = write!(rules, "svg [fill=\"{hex}\"]{{fill:{dark}}}svg [stroke=\"{hex}\"]{{stroke:{dark}}}");
    }
    format!("<style>@media screen and (prefers-color-scheme:dark){{{rules}}}</style>")
}
