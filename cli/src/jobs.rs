//! `lessor jobs`: the jobs of a queue.

use std::pin::pin;

use clap::Args;
use comfy_table::Table;
use futures_util::TryStreamExt;
use lessor::proto::Job;
use lessor::{Client, JobQuery, JobState, JobView};

use crate::output::{Format, Output, columns, show, word};
use crate::selection::Selection;

const PAGE: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  lessor jobs emails
  lessor jobs emails --state dead --limit 10
  lessor jobs emails --label team=sales --order-by 'create_time desc'
  lessor jobs emails --filter 'state=DEAD AND last_failure.code=HTTP_503' --limit 0
  lessor jobs emails --state leased -o jsonl | jq -r .workerId";

/// Print the jobs of a queue.
///
/// Ready jobs come in the order in which they will run, waiting ones by their time, finished ones
/// and those found by a label or an owner the newest first. Without a state, a label or an owner the
/// states follow one another.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "a help text is no Markdown")]
pub(crate) struct Jobs {
    /// The queue.
    queue: String,

    #[command(flatten)]
    selection: Selection,

    /// The field to sort by, such as 'create_time desc'.
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    order_by: String,

    /// The most jobs to print; 0 for all.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,

    /// With payload, checkpoint, result and attempts, which only JSON shows.
    #[arg(long)]
    full: bool,
}

impl Jobs {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        // One more than is wanted tells whether there are more.
        let page_size = limit.saturating_add(1).min(PAGE);
        let query = JobQuery::queue(self.queue)
            .filter(self.selection.filter())
            .order_by(self.order_by)
            .page_size(page_size.try_into()?)
            .view(if self.full { JobView::Full } else { JobView::Basic });
        let mut stream = pin!(client.jobs(query));
        let (mut jobs, mut count, mut more) = (Vec::new(), 0, false);
        while let Some(job) = stream.try_next().await? {
            if count == limit {
                more = true;
                break;
            }
            count += 1;
            match out.format() {
                Format::Jsonl => out.line(&out.dynamic("Job", &job)?)?,
                Format::Table | Format::Json => jobs.push(job),
            }
        }
        if out.format() != Format::Jsonl {
            out.messages("Job", &jobs, || table(&jobs))?;
        }
        if more {
            eprintln!("lessor: there are more; --limit 0 prints all");
        }
        Ok(())
    }
}

/// One line for each job.
pub(crate) fn table(jobs: &[Job]) -> Table {
    let mut table = columns(["JOB", "TYPE", "STATE", "ATTEMPT", "CREATED", "NEXT", "NOTE"]);
    for job in jobs {
        table.add_row([
            job.name.clone(),
            job.r#type.clone(),
            word(job.state().as_str_name()),
            job.attempt.to_string(),
            show(job.create_time.as_ref()),
            next(job),
            note(job),
        ]);
    }
    table
}

/// When something happens to the job by itself, or happened for the last time.
pub(crate) fn next(job: &Job) -> String {
    match job.state() {
        JobState::Scheduled | JobState::Retrying => {
            format!("runs {}", show(job.schedule_time.as_ref()))
        }
        JobState::Leased => format!("lease ends {}", show(job.lease_expire_time.as_ref())),
        JobState::Unspecified | JobState::Ready | JobState::Blocked => String::new(),
        JobState::Succeeded | JobState::Dead | JobState::Cancelled | JobState::Expired => {
            format!("ended {}", show(job.end_time.as_ref()))
        }
    }
}

/// Who has the job, or what went wrong with it.
pub(crate) fn note(job: &Job) -> String {
    if job.cancel_requested {
        return format!("{} is to stop", job.worker_id);
    }
    if job.state() == JobState::Leased {
        return job.worker_id.clone();
    }
    let failure = job.last_failure.as_ref().filter(|_| job.state() != JobState::Succeeded);
    failure.map(|it| format!("{} {}", it.code, it.message)).unwrap_or_default()
}
