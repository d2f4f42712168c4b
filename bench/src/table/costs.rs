//! What a job of each workload costs, by process and layer.

use comfy_table::Table;

use super::{find, new_table, short};
use crate::metric;
use crate::peers::subject::Store;
use crate::report::Line;

const PARTS: [(&str, &str); 8] = [
    ("Redis: commands", metric::COST_COMMANDS),
    ("scripts", metric::COST_SCRIPTS),
    ("else", metric::COST_REDIS),
    ("kernel", metric::COST_REDIS_KERNEL),
    ("broker: itself", metric::COST_BROKER),
    ("kernel", metric::COST_BROKER_KERNEL),
    ("clients", metric::COST_CLIENTS),
    ("all", metric::COST_ALL),
];

/// One row for each workload. The last column is what two cores would carry if neither ever waited.
pub(super) fn table(lines: &[Line]) -> Table {
    let heads = ["workload", "jobs/s"].into_iter().chain(PARTS.map(|(head, _)| head));
    let mut table = new_table(heads.chain(["two cores would carry"]));
    let workloads = [
        metric::W1,
        metric::W1_UNARY,
        metric::W1B,
        metric::W2,
        metric::W3,
        metric::W4,
        metric::QUEUES,
    ];
    for workload in workloads {
        let of = |name| {
            let line = find(lines, ("lessor", Store::Redis.setting()), workload, name)?;
            Some(line.median)
        };
        let (Some(rate), Some(all)) = (of(metric::COST_RATE), of(metric::COST_ALL)) else {
            continue;
        };
        let parts = PARTS.map(|(_, part)| of(part).map(short).unwrap_or_default());
        let cells = [workload.to_owned(), short(rate)].into_iter().chain(parts);
        table.add_row(cells.chain([short(2e6 / all)]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_where_the_time_of_a_job_goes_and_what_two_cores_would_carry() {
        let line = |metric: &str, median| Line {
            system: "lessor".to_owned(),
            setting: Store::Redis.setting().to_owned(),
            workload: metric::W2.to_owned(),
            metric: metric.to_owned(),
            median,
            min: median,
            max: median,
            unit: String::new(),
        };
        let lines = [
            line(metric::COST_RATE, 38_000.0),
            line(metric::COST_COMMANDS, 7.0),
            line(metric::COST_ALL, 50.0),
        ];
        let text = table(&lines).to_string();
        let row = text.lines().last().unwrap_or_default();
        for cell in ["W2", "38.0k", "7.00", "50.0", "40.0k"] {
            assert!(row.contains(cell), "{cell} is not in {row}");
        }
    }
}
