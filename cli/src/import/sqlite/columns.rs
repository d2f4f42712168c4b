//! Which column of a table holds what of a job.

use std::collections::BTreeMap;

use clap::ValueEnum;

use crate::failure::Usage;

/// What a column may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(in crate::import) enum Field {
    /// The job's id; it keeps it.
    Id,
    Queue,
    Type,
    /// JSON, other text or bytes.
    Payload,
    Status,
    /// The greater runs sooner.
    Priority,
    /// How often it was tried.
    Attempts,
    /// How often it may be tried in all.
    MaxAttempts,
    /// When it may run: seconds or milliseconds since 1970, or a text such as 2026-12-24 18:00:00.
    RunAt,
    CreatedAt,
    /// On whose behalf it is.
    Owner,
    /// How long one attempt may take, in milliseconds.
    TimeoutMs,
    /// The first pause between attempts, in milliseconds.
    BackoffMs,
    /// The job that it belongs to.
    Parent,
    /// How many jobs it still waits for.
    Dependencies,
}

impl Field {
    /// The columns that usually hold it, the likeliest first, in lower case and without `_`.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Id => &["id", "jobid", "uuid"],
            Self::Queue => &["queue", "queuename"],
            Self::Type => &["type", "jobtype", "name", "jobname", "kind"],
            Self::Payload => &["payload", "data", "input", "params", "args", "request"],
            Self::Status => &["status", "state"],
            Self::Priority => &["priority"],
            Self::Attempts => &["attempts", "attemptsmade", "attempt", "retrycount"],
            Self::MaxAttempts => &["maxattempts"],
            Self::RunAt => &[
                "runat",
                "scheduledfor",
                "scheduledat",
                "processat",
                "nextrunat",
                "nextretryat",
                "availableat",
                "delayuntil",
            ],
            Self::CreatedAt => &["createdat", "created"],
            Self::Owner => &["owner", "userid"],
            Self::TimeoutMs => &["timeoutms"],
            Self::BackoffMs => &["backoffms", "backoffdelay"],
            Self::Parent => &["parentjobid", "parentid"],
            Self::Dependencies => &["dependencycount"],
        }
    }
}

/// A pair of `--map`.
pub(in crate::import) fn parse_pair(text: &str) -> Result<(Field, String), String> {
    let (field, column) = text.split_once('=').ok_or("write it as FIELD=COLUMN")?;
    let field = Field::from_str(field, true).map_err(|_| {
        let names: Vec<_> = Field::value_variants()
            .iter()
            .filter_map(|it| Some(it.to_possible_value()?.get_name().to_owned()))
            .collect();
        format!("there is no field {field}; there are {}", names.join(", "))
    })?;
    Ok((field, column.to_owned()))
}

/// The columns of a table, by what they hold. An empty name means none.
pub(super) fn columns(
    table: &str,
    there: &[String],
    chosen: &[(Field, String)],
) -> Result<BTreeMap<Field, String>, Usage> {
    let mut columns = BTreeMap::new();
    for field in Field::value_variants().iter().copied() {
        let named = chosen.iter().rev().find(|(which, _)| *which == field);
        let column = match named {
            Some((_, name)) if name.is_empty() => None,
            Some((_, name)) if there.contains(name) => Some(name.clone()),
            Some((_, name)) => {
                let there = there.join(", ");
                return Err(Usage(format!("{table} has no column {name}; it has {there}")));
            }
            None => usual(field, there),
        };
        if let Some(column) = column {
            columns.insert(field, column);
        }
    }
    for (field, flag) in [(Field::Id, "id"), (Field::Status, "status")] {
        if !columns.contains_key(&field) {
            let there = there.join(", ");
            return Err(Usage(format!(
                "name the column of {table} with the {flag}: --map {flag}=COLUMN, one of {there}"
            )));
        }
    }
    Ok(columns)
}

fn usual(field: Field, there: &[String]) -> Option<String> {
    let simple = |name: &String| name.replace('_', "").to_lowercase();
    let mut usual = field.usual().iter();
    usual.find_map(|name| there.iter().find(|it| simple(it) == *name)).cloned()
}
