//! The way of an import, whatever it imports from.

use lessor::Client;
use lessor::proto::EnqueueRequest;
use lessor::proto::enqueue_request::Start;

use super::report::{QueueReport, Report};
use super::source::{Found, Source, Survey, Waiting, timestamp};
use super::write::Writer;
use super::{Which, identity};
use crate::failure::{Exit, Interrupted};
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
    let writer = Some(Writer::new(client, !which.execute));
    let mut import = Import { source, writer, dry: !which.execute, read: 0 };
    let ended = tokio::select! {
        biased;
        ended = import.queues(surveys, &progress, out, &mut report) => ended,
        interrupt = tokio::signal::ctrl_c() => interrupt.map_err(Into::into).and(Err(Interrupted.into())),
    };
    drop(progress);
    if ended.is_err() && which.execute {
        eprintln!("lessor: to go on, repeat the command: no job is made twice");
    }
    ended?;
    report.asked = import.writer.is_some();
    let failed = report.failed();
    report.print(out)?;
    failed.map_or(Ok(()), |code| Err(Exit(code).into()))
}

struct Import<'a, S> {
    source: S,
    /// None in a dry run that finds no broker.
    writer: Option<Writer<'a>>,
    dry: bool,
    read: u64,
}

impl<S: Source> Import<'_, S> {
    async fn queues(
        &mut self,
        surveys: Vec<(String, String, Survey)>,
        progress: &Progress,
        out: &Output,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for (queue, to, survey) in surveys {
            let queue = self.queue(queue, to, survey, progress, out).await?;
            report.queues.push(queue);
        }
        Ok(())
    }

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
                    let done = writer.write(job.id.clone(), request, &mut report.written).await;
                    self.unless_dry(done)?;
                }
            }
            self.read += u64::try_from(jobs.len())?;
            progress.reached(self.read);
        }
        if let Some(writer) = &mut self.writer {
            let done = writer.flush(&mut report.written).await;
            self.unless_dry(done)?;
        }
        Ok(report)
    }

    /// A dry run goes on without a broker, and then says less.
    fn unless_dry(&mut self, done: anyhow::Result<()>) -> anyhow::Result<()> {
        let unavailable =
            |error: &anyhow::Error| error.downcast_ref().is_some_and(lessor::Error::is_unavailable);
        match done {
            Err(error) if self.dry && unavailable(&error) => {
                self.writer = None;
                Ok(())
            }
            done => done,
        }
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
