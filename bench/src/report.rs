//! Figures of several rounds, as a table and as JSON lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use comfy_table::{Table, presets};
use serde::Serialize;

/// What a figure is of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    figure: &'a Figure,
    median: f64,
    min: f64,
    max: f64,
}

impl Report {
    pub(crate) fn add(&mut self, figure: Figure, value: f64) {
        self.values.entry(figure).or_default().push(value);
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.values.iter().map(|(figure, values)| {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
            Line { figure, median: sorted[sorted.len() / 2], min, max }
        })
    }

    #[expect(clippy::print_stdout, reason = "the table is what the program is for")]
    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["workload", "system", "setting", "metric", "median", "range", "unit"]);
        for Line { figure, median, min, max } in self.lines() {
            table.add_row([
                figure.workload.to_owned(),
                figure.system.to_owned(),
                figure.setting.clone(),
                figure.metric.to_owned(),
                short(median),
                format!("{} - {}", short(min), short(max)),
                figure.unit.to_owned(),
            ]);
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
