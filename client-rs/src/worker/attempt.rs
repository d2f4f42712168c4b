//! One attempt: the handler runs, and what it returns settles the job.

#![expect(clippy::disallowed_methods, reason = "a worker's graces are its own time")]

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Code;
use tracing::Instrument;

use super::crew::Crew;
use super::handler::Done;
use super::{Job, Stop, trace};
use crate::pause::Pauses;
use crate::work::Delivery;
use crate::{Error, Nack, Result, span};

/// How the work on a job ended.
enum End {
    Done(Done),
    Failed(Nack),
    /// It was dropped, because it did not heed that it should stop.
    Dropped,
}

/// Runs a job and settles it. Handlers that panic fail their attempt only.
pub(super) async fn run(crew: Arc<Crew>, job: Job, delivery: Delivery) {
    let begin = Instant::now();
    let span = trace::span(&job, &crew.plan.worker_id);
    let how = async {
        let end = work(&crew, &job).await;
        settle(&job, delivery, end).await
    }
    .instrument(span)
    .await;
    crew.forget(&job);
    tracing::info!(
        job = job.name(),
        r#type = job.job_type(),
        queue = job.queue(),
        attempt = job.attempt(),
        worker = crew.plan.worker_id,
        outcome = how,
        duration_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        "attempt ended"
    );
}

async fn work(crew: &Crew, job: &Job) -> End {
    let Some(handler) = crew.plan.handler(job.job_type()) else {
        let why = format!("this worker has no handler for jobs of type {:?}", job.job_type());
        return End::Failed(Nack::retry().failure("NO_HANDLER", why));
    };
    let work = async { handler(job.clone()).await };
    tokio::select! {
        biased;
        returned = AssertUnwindSafe(work).catch_unwind() => {
            match returned {
                Ok(Ok(done)) => End::Done(done),
                Ok(Err(nack)) => End::Failed(nack),
                Err(panic) => End::Failed(panicked(panic.as_ref())),
            }
        }
        () = cut_off(job, crew.plan.stop_grace) => End::Dropped,
    }
}

/// Ends when a handler that was told to stop has had its time.
async fn cut_off(job: &Job, grace: Duration) {
    let remaining = span::read(job.leased().attempt_remaining);
    let told = job.signal().token().cancelled();
    if remaining.is_zero() {
        told.await;
    } else {
        tokio::select! {
            () = told => {}
            () = sleep_until(Instant::now() + remaining) => job.signal().fire(Stop::TimedOut),
        }
    }
    let grace = match job.signal().why() {
        Some(Stop::Cancelled { within: Some(within), .. }) => grace.min(*within),
        _ => grace,
    };
    sleep(grace).await;
}

fn panicked(panic: &(dyn Any + Send)) -> Nack {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Nack::retry().failure("PANIC", text.unwrap_or("the handler panicked"))
}

/// Tells the broker how the job ended. Answers the same for the log.
async fn settle(job: &Job, mut delivery: Delivery, end: End) -> &'static str {
    let stop = job.signal().why();
    if stop.is_some_and(Stop::is_final) {
        delivery.forget();
        return if stop == Some(&Stop::TimedOut) { "timed_out" } else { "lease_lost" };
    }
    let (how, settled) = match end {
        End::Done(done) => ("succeeded", ack(job, &mut delivery, done).await),
        End::Failed(nack) if stop == Some(&Stop::Shutdown) && nack.is_plain() => {
            delivery.leave();
            return "released";
        }
        End::Failed(nack) => {
            tracing::warn!(code = nack.code(), message = nack.message(), "attempt failed");
            (nack.verb(), nacked(job, &mut delivery, nack).await)
        }
        End::Dropped => {
            let Some(Stop::Cancelled { reason, .. }) = stop else {
                delivery.leave();
                return "released";
            };
            let nack = Nack::retry().failure("CANCELLED", reason.clone());
            ("cancelled", nacked(job, &mut delivery, nack).await)
        }
    };
    match settled {
        Ok(()) => how,
        Err(error) if error.is_lease_lost() => "lease_lost",
        Err(error) => {
            tracing::error!(%error, "the job could not be settled: its lease runs out");
            delivery.forget();
            "unsettled"
        }
    }
}

/// Acks; a result or a follow-up that the broker refuses fails the attempt instead.
async fn ack(job: &Job, delivery: &mut Delivery, done: Done) -> Result<()> {
    let Done { result, then } = done;
    // The same jobs, however often they are sent.
    let then = crate::settle::followers(then);
    let mut pauses = Pauses::new();
    let error = loop {
        match delivery.ack_with(result.clone(), then.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if is_worth_a_try(job, delivery, &error) => {
                sleep(pauses.next(&error)).await;
            }
            Err(error) => break error,
        }
    };
    let is_refused = !matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded);
    if error.is_lease_lost() || error.kind() == Some(crate::Reason::LeaseSettled) || !is_refused {
        return Err(error);
    }
    tracing::warn!(%error, "the broker refuses the result");
    let code = error.reason().unwrap_or("ACK_REFUSED").to_owned();
    let refused = Nack::retry().failure(code, error.message());
    nacked(job, delivery, refused).await
}

async fn nacked(job: &Job, delivery: &mut Delivery, nack: Nack) -> Result<()> {
    let mut pauses = Pauses::new();
    loop {
        match delivery.nack(nack.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if is_worth_a_try(job, delivery, &error) => {
                sleep(pauses.next(&error)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The broker is away, and the lease may still be ours when it is back.
fn is_worth_a_try(job: &Job, delivery: &Delivery, error: &Error) -> bool {
    let is_passing = matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded);
    let is_lost = job.signal().why().is_some_and(Stop::is_final);
    is_passing && !is_lost && !delivery.is_cut_off()
}
