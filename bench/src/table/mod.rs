//! A run as Markdown: what each system reached, and how Lessor stands beside them.

mod compare;
mod costs;
mod libraries;

use comfy_table::{Table, presets};

use crate::metric;
use crate::report::Line;

/// A system in one of its settings.
type Subject<'a> = (&'a str, &'a str);
/// A column: its head, and where its figures are.
type Column = (&'static str, &'static str, &'static str);

const SPEED: [Column; 7] = [
    ("W1 jobs/s", metric::W1, metric::RATE),
    ("W1 unary", metric::W1_UNARY, metric::RATE),
    ("W1b jobs/s", metric::W1B, metric::RATE),
    ("W2 jobs/s", metric::W2, metric::RATE),
    ("W3 jobs/s", metric::W3, metric::RATE),
    ("W4 p50 ms", metric::W4, metric::P50),
    ("W4 p99 ms", metric::W4, metric::P99),
];
const COST: [Column; 8] = [
    ("broker", metric::W5, metric::CPU_BROKER),
    ("store", metric::W5, metric::CPU_STORE),
    ("producer", metric::W5, metric::CPU_PRODUCER),
    ("worker", metric::W5, metric::CPU_WORKER),
    ("all", metric::W5, metric::CPU_ALL),
    ("bytes a waiting job", metric::W5, metric::MEMORY_WAITING),
    ("in files", metric::W5, metric::FILES_WAITING),
    ("bytes left after drain", metric::W5, metric::MEMORY_LEFT),
];
const GROWTH: [Column; 5] = [
    ("10,000", metric::W6, metric::BACKLOG_10K),
    ("100,000", metric::W6, metric::BACKLOG_100K),
    ("1,000,000", metric::W6, metric::BACKLOG_1M),
    ("100,000 in 10 priorities", metric::W6, metric::PRIORITIES),
    ("100,000 delayed beside", metric::W6, metric::DELAYED),
];

#[expect(clippy::print_stdout, reason = "the tables are what the command is for")]
pub(crate) fn print(lines: &[Line]) {
    // These are told apart by their settings, not by their speed.
    let beside = libraries::table(lines);
    if beside.row_count() > 0 {
        println!(
            "### Client libraries beside plain stubs; CPU seconds for 100,000 jobs\n\n{beside}\n"
        );
        return;
    }
    let tables = [
        ("Speed", subjects(lines, &SPEED)),
        ("CPU seconds for 100,000 jobs (W1 and W2), and memory", subjects(lines, &COST)),
        ("Jobs/s over the first jobs of a backlog (W6)", subjects(lines, &GROWTH)),
        ("Lessor beside them", compare::table(lines)),
        ("CPU time of a job in µs", costs::table(lines)),
        ("Limits", limits(lines)),
    ];
    for (head, table) in tables {
        if table.row_count() > 0 {
            println!("### {head}\n\n{table}\n");
        }
    }
}

fn new_table<'a>(heads: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(heads);
    table
}

/// The line of one figure.
fn find<'a>(
    lines: &'a [Line],
    (system, setting): Subject<'_>,
    workload: &str,
    metric: &str,
) -> Option<&'a Line> {
    lines.iter().find(|line| {
        line.system == system
            && line.setting == setting
            && line.workload == workload
            && line.metric == metric
    })
}

/// One row for each system that has any of the figures, Lessor first; one column for each figure
/// that any system has.
fn subjects(lines: &[Line], columns: &[Column]) -> Table {
    let has = |(_, workload, metric): &&Column| {
        lines.iter().any(|line| line.workload == *workload && line.metric == *metric)
    };
    let columns: Vec<&Column> = columns.iter().filter(has).collect();
    let heads = ["system", "setting"].into_iter().chain(columns.iter().map(|column| column.0));
    let mut table = new_table(heads);
    for subject in all_subjects(lines) {
        let cells: Vec<String> = columns
            .iter()
            .map(|(_, workload, metric)| find(lines, subject, workload, metric).map(with_range))
            .map(Option::unwrap_or_default)
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add_row([subject.0.to_owned(), subject.1.to_owned()].into_iter().chain(cells));
        }
    }
    table
}

/// The systems of a run, each in its settings; Lessor first.
pub(crate) fn all_subjects(lines: &[Line]) -> Vec<Subject<'_>> {
    let mut subjects: Vec<Subject<'_>> = Vec::new();
    for line in lines.iter().filter(|line| line.workload != metric::LIMIT) {
        let subject = (line.system.as_str(), line.setting.as_str());
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    subjects.sort_by_key(|subject| subject.0 != "lessor");
    subjects
}

fn limits(lines: &[Line]) -> Table {
    let mut table = new_table(["limit", "setting", "of", "median (range)", "unit"]);
    for line in lines.iter().filter(|line| line.workload == metric::LIMIT) {
        let names = [&line.system, &line.setting, &line.metric].map(Clone::clone);
        table.add_row(names.into_iter().chain([with_range(line), line.unit.clone()]));
    }
    table
}

fn with_range(line: &Line) -> String {
    if line.min.total_cmp(&line.max).is_eq() {
        return short(line.median);
    }
    format!("{} ({}-{})", short(line.median), short(line.min), short(line.max))
}

/// Three digits or so.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 100_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else if size >= 1000.0 {
        format!("{:.1}k", value / 1000.0)
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
