//! The way of an import, whatever it imports from.

use lessor::Client;
use lessor::proto::EnqueueRequest;
use lessor::proto::enqueue_request::Start;

use super::report::{QueueReport, Report};
use super::source::{Found, Source, Survey, Waiting, timestamp};
use super::write::Writer;
use super::{Which, identity};
use crate::failure::Exit;
use crate::output::Output;
use crate::progress::Progress;

/// How many jobs are read at once; each may be large.
const PAGE: usize = 100;

pub(super) async fn run<S: Source>(
    mut source: S,
    which: &Which,
    server: &str,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<()> {
    let queues =
        if which.queues.is_empty() { source.queues().await? } else { which.queues.clone() };
    let mut surveys = Vec::with_capacity(queues.len());
    let mut total = 0;
    for queue in queues {
        let to = which.to_queue.clone().unwrap_or_else(|| identity::queue(&queue));
        let survey = source.survey(&queue, &to).await?;
        total += survey.waiting.len();
        surveys.push((queue, to, survey));
    }
    let progress = Progress::start(Some(total.try_into()?), "jobs read")?;
    let mut report = Report::new(source.place(), server, which.execute);
    let mut import = Import { source, writer: which.execute.then(|| Writer::new(client)), read: 0 };
    for (queue, to, survey) in surveys {
        let queue = import.queue(queue, to, survey, &progress, out).await?;
        report.queues.push(queue);
    }
    drop(progress);
    let failed = report.failed();
    report.print(out)?;
    failed.map_or(Ok(()), |code| Err(Exit(code).into()))
}

struct Import<'a, S> {
    source: S,
    /// None in a dry run.
    writer: Option<Writer<'a>>,
    read: u64,
}

impl<S: Source> Import<'_, S> {
    async fn queue(
        &mut self,
        from: String,
        to: String,
        survey: Survey,
        progress: &Progress,
        out: &Output,
    ) -> anyhow::Result<QueueReport> {
        let mut report = QueueReport::new(from, to, &survey);
        let kind = self.source.kind();
        for jobs in survey.waiting.chunks(PAGE) {
            let found = self.source.read(&report.queue, jobs).await?;
            for (job, found) in jobs.iter().zip(found) {
                let Some(request) = take(kind, job, found, &mut report) else { continue };
                report.count(job, &request, out)?;
                if let Some(writer) = &mut self.writer {
                    writer.write(job.id.clone(), request, &mut report.written).await?;
                }
            }
            self.read += u64::try_from(jobs.len())?;
            progress.reached(self.read);
        }
        if let Some(writer) = &mut self.writer {
            writer.flush(&mut report.written).await?;
        }
        Ok(report)
    }
}

/// The job to enqueue, unless it is left out.
fn take(
    kind: &str,
    job: &Waiting,
    found: Found,
    report: &mut QueueReport,
) -> Option<EnqueueRequest> {
    let mut draft = match found {
        Found::Job(draft) => draft,
        Found::Left(why) => {
            report.leave(why, &job.id);
            return None;
        }
        Found::Gone => {
            report.leave("taken or removed meanwhile".to_owned(), &job.id);
            return None;
        }
    };
    for note in draft.notes.drain(..) {
        report.warn(note, &job.id);
    }
    let mut request = identity::name(kind, &report.queue, &job.id, *draft, &report.to);
    request.start = job.due.map(|due| Start::ScheduleTime(timestamp(due)));
    Some(request)
}
