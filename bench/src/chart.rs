//! A run as a picture: one panel for each workload, one bar for each system.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::coord::ranged1d::IntoSegmentedCoord;
use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;

use crate::metric;
use crate::report::Line;
use crate::table::{all_subjects, short};

/// Head, workload and metric.
type Panel = (&'static str, &'static str, &'static str);

const PANELS: [Panel; 6] = [
    ("W1: enqueue, one job a call (jobs/s, more is better)", metric::W1, metric::RATE),
    ("W1b: enqueue, 100 jobs a call (jobs/s, more is better)", metric::W1B, metric::RATE),
    ("W2: drain (jobs/s, more is better)", metric::W2, metric::RATE),
    ("W3: enqueue and work (jobs/s, more is better)", metric::W3, metric::RATE),
    ("W4: call to handler, p50 (ms, less is better)", metric::W4, metric::P50),
    ("CPU seconds for 100,000 jobs (less is better)", metric::W5, metric::CPU_ALL),
];
const COLUMNS: usize = 2;
const WIDTH: u32 = 1200;
/// Of a panel without its bars, and of a bar.
const FRAME: u32 = 70;
const BAR: u32 = 24;
const NAMES: u32 = 210;

const OURS: RGBColor = RGBColor(32, 96, 176);
const THEIRS: RGBColor = RGBColor(150, 156, 166);
const INK: RGBColor = RGBColor(40, 44, 52);

/// A bar: whose, how long, and from where to where it went in the rounds.
struct Bar<'a> {
    name: String,
    line: &'a Line,
}

/// Draws a run to an SVG file.
pub(crate) fn draw(lines: &[Line], picture: &Path) -> anyhow::Result<()> {
    let panels: Vec<(Panel, Vec<Bar<'_>>)> = PANELS
        .into_iter()
        .map(|panel| (panel, bars(lines, panel)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let most = panels.iter().map(|(_, bars)| bars.len()).max().context("no figures to draw")?;
    let rows = panels.len().div_ceil(COLUMNS);
    let height = u32::try_from(rows)? * (FRAME + BAR * u32::try_from(most)?);
    let area = SVGBackend::new(picture, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    for ((panel, bars), place) in panels.iter().zip(area.split_evenly((rows, COLUMNS))) {
        draw_panel(panel.0, bars, &place).map_err(|error| anyhow!("{}: {error}", panel.0))?;
    }
    area.present().map_err(failed)
}

fn failed(error: impl std::error::Error) -> anyhow::Error {
    anyhow!("the picture can't be drawn: {error}")
}

fn bars(lines: &[Line], (_, workload, metric): Panel) -> Vec<Bar<'_>> {
    let subjects = all_subjects(lines).into_iter();
    subjects
        .filter_map(|(system, setting)| {
            let is_it = |line: &&Line| {
                (line.system.as_str(), line.setting.as_str()) == (system, setting)
                    && line.workload == workload
                    && line.metric == metric
            };
            let line = lines.iter().find(is_it)?;
            Some(Bar { name: format!("{system}, {setting}"), line })
        })
        .collect()
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(
    head: &str,
    bars: &[Bar<'_>],
    area: &Area<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    let longest = bars.iter().map(|bar| bar.line.max).fold(0.0, f64::max);
    let count = bars.len();
    let mut chart = ChartBuilder::on(area)
        .caption(head, ("sans-serif", 18).into_font().color(&INK))
        .margin(8)
        .y_label_area_size(NAMES)
        .x_label_area_size(22)
        // Room for the figure behind the longest bar.
        .build_cartesian_2d(0.0..longest * 1.2, (0..count - 1).into_segmented())?;
    let name = |place: &SegmentValue<usize>| match place {
        // The first stands at the top, where counting ends.
        SegmentValue::CenterOf(index) => {
            let bar = (count - 1).checked_sub(*index).and_then(|index| bars.get(index));
            bar.map(|bar| bar.name.clone()).unwrap_or_default()
        }
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(count)
        .y_label_formatter(&name)
        .x_labels(5)
        .x_label_formatter(&|value| short(*value))
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .draw()?;
    for (index, Bar { line, .. }) in bars.iter().rev().enumerate() {
        let color = if line.system == "lessor" { OURS } else { THEIRS };
        let corner = |value, place| (value, place);
        let ends = [
            corner(0.0, SegmentValue::Exact(index)),
            corner(line.median, SegmentValue::Exact(index + 1)),
        ];
        let mut bar = Rectangle::new(ends, color.filled());
        bar.set_margin(3, 3, 0, 0);
        chart.draw_series([bar])?;
        let middle = SegmentValue::CenterOf(index);
        let range = [(line.min, middle.clone()), (line.max, middle.clone())];
        chart.draw_series([PathElement::new(range, INK)])?;
        let figure = ("sans-serif", 14).into_font().color(&INK);
        let label =
            EmptyElement::at((line.max, middle)) + Text::new(short(line.median), (6, -6), figure);
        chart.draw_series([label])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_a_bar_with_its_figure_for_each_system() -> anyhow::Result<()> {
        let line = |system: &str, median: f64| Line {
            system: system.to_owned(),
            setting: "memory".to_owned(),
            workload: metric::W2.to_owned(),
            metric: metric::RATE.to_owned(),
            median,
            min: median,
            max: median,
            unit: "jobs/s".to_owned(),
        };
        let folder = tempfile::tempdir()?;
        let picture = folder.path().join("picture.svg");
        draw(&[line("lessor", 100_000.0), line("beanstalkd", 50_000.0)], &picture)?;
        let svg = std::fs::read_to_string(&picture)?;
        for text in ["lessor, memory", "beanstalkd, memory", "100k", "50.0k", "W2: drain"] {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
        Ok(())
    }
}
