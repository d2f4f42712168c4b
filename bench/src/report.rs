//! Figures of several rounds, as a table and as JSON lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};

/// What a figure is of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Figure {
    /// What was measured: `lessor`, or what bounds it.
    pub system: &'static str,
    /// The store and its settings.
    pub setting: String,
    /// The load.
    pub workload: &'static str,
    /// What is counted.
    pub metric: &'static str,
    /// Of what.
    pub unit: &'static str,
}

/// All figures so far.
#[derive(Default)]
pub(crate) struct Report {
    values: BTreeMap<Figure, Vec<f64>>,
}

/// A figure over all rounds, as it stands in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub system: String,
    pub setting: String,
    pub workload: String,
    pub metric: String,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub unit: String,
}

impl Line {
    /// The lines of a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Self>> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(name)?;
        let lines = text.lines().filter(|line| !line.is_empty()).map(serde_json::from_str);
        lines.collect::<Result<_, _>>().with_context(name)
    }
}

impl Report {
    pub(crate) fn add(&mut self, figure: Figure, value: f64) {
        self.values.entry(figure).or_default().push(value);
    }

    /// All figures, in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line> {
        self.values.iter().map(|(figure, values)| {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            Line {
                system: figure.system.to_owned(),
                setting: figure.setting.clone(),
                workload: figure.workload.to_owned(),
                metric: figure.metric.to_owned(),
                median: f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]),
                min: sorted[0],
                max: sorted[sorted.len() - 1],
                unit: figure.unit.to_owned(),
            }
        })
    }

    #[expect(clippy::print_stdout, reason = "the table is what the program is for")]
    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["workload", "system", "setting", "metric", "median", "range", "unit"]);
        for line in self.lines() {
            let range = format!("{} - {}", short(line.min), short(line.max));
            let (median, Line { workload, system, setting, metric, unit, .. }) =
                (short(line.median), line);
            table.add_row([workload, system, setting, metric, median, range, unit]);
        }
        println!("{table}");
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = File::create(path).with_context(|| path.display().to_string())?;
        for line in self.lines() {
            writeln!(file, "{}", serde_json::to_string(&line)?)?;
        }
        Ok(())
    }
}

fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
