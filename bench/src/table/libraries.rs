//! The client libraries, each beside the plain stubs of its language.

use comfy_table::Table;

use super::{all_subjects, find, new_table, short, with_range};
use crate::metric;
use crate::report::Line;

/// One row for each library and workload.
pub(super) fn table(lines: &[Line]) -> Table {
    let mut table = new_table([
        "client",
        "setting",
        "workload",
        "plain stubs, jobs/s",
        "library, jobs/s",
        "ratio",
        "CPU, stubs",
        "CPU, library",
    ]);
    for (system, setting) in all_subjects(lines) {
        for workload in [metric::W1, metric::W2] {
            let of = |setting, name| find(lines, (system, setting), workload, name);
            let Some(stubs) = of(metric::STUBS, metric::RATE).filter(|_| setting != metric::STUBS)
            else {
                continue;
            };
            let Some(library) = of(setting, metric::RATE) else { continue };
            let cpu = |setting| {
                of(setting, metric::CPU_CLIENT).map(|line| short(line.median)).unwrap_or_default()
            };
            table.add_row([
                system.to_owned(),
                setting.to_owned(),
                workload.to_owned(),
                with_range(stubs),
                with_range(library),
                short(library.median / stubs.median),
                cpu(metric::STUBS),
                cpu(setting),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(setting: &str, median: f64) -> Line {
        Line {
            system: "go".to_owned(),
            setting: setting.to_owned(),
            workload: metric::W2.to_owned(),
            metric: metric::RATE.to_owned(),
            median,
            min: median,
            max: median,
            unit: "jobs/s".to_owned(),
        }
    }

    #[test]
    fn a_library_stands_beside_the_stubs_of_its_language() {
        let lines = [rate(metric::LIBRARY, 800.0), rate(metric::STUBS, 1000.0)];
        let table = table(&lines);
        assert_eq!(table.row_count(), 1);
        assert!(table.to_string().contains("0.80"), "{table}");
    }

    #[test]
    fn a_run_without_libraries_has_no_such_table() {
        assert_eq!(table(&[rate("redis, appendonly no", 1.0)]).row_count(), 0);
    }
}
