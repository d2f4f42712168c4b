//! One attempt: a leased job is sent, its lease kept alive, and the answer settles it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Sender;
use super::request::request;
use super::verdict::{self, RESULT_LIMIT, Verdict};
use crate::broker::Error;
use crate::broker::settle::{Ack, Extend, Nack};
use crate::clock::Clock;
use crate::job::transition::Disposition;
use crate::job::{Failure, Job, LeaseToken, Push};

/// Pause before a store that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// A lease is extended when this part of it is left.
const LEFT: f64 = 0.6;

/// How an attempt ended.
enum End {
    /// With an answer, or the certainty that there is none.
    Verdict(Verdict),
    /// The job was called off, or the broker goes down: it goes back.
    GivenUp,
    /// Somebody else has the job, or nobody.
    Lost,
}

/// Sends a job and settles it. What is still under way when `stop` comes is given back. Answers how
/// long the endpoint asked to be left alone.
pub(super) async fn attempt(
    sender: Arc<Sender>,
    push: Arc<Push>,
    job: Job,
    stop: CancellationToken,
) -> Option<Duration> {
    let token = job.token()?;
    let end = tokio::select! {
        verdict = send(&sender, &push, &job) => End::Verdict(verdict),
        end = hold(&sender, &token) => end,
        () = stop.cancelled() => End::GivenUp,
    };
    match end {
        End::Verdict(verdict) => {
            let delay = verdict.delay();
            settle(&sender, &token, verdict).await;
            delay
        }
        End::GivenUp => {
            let failure = Failure { code: "GIVEN_BACK".to_owned(), ..Failure::default() };
            settle(&sender, &token, Verdict::Not(Disposition::Release, failure)).await;
            None
        }
        End::Lost => {
            tracing::debug!(job = %token.name, "the lease was lost while the job was sent");
            None
        }
    }
}

async fn send(sender: &Sender, push: &Push, job: &Job) -> Verdict {
    let clock = sender.broker.clock();
    let now = clock.now();
    let request = match request(push, job, now) {
        Ok(request) => request,
        // It was checked when it was set; an older broker may have known less.
        Err(error) => return verdict::of_malformed(&error),
    };
    tokio::select! {
        reply = sender.client.send(request, RESULT_LIMIT) => match reply {
            Ok(reply) => verdict::of_reply(reply, push.client_errors, clock.now()),
            Err(failed) => verdict::of_failure(failed),
        },
        () = clock.sleep_until(now.after(push.timeout)) => verdict::of_silence(push.timeout),
    }
}

/// Keeps a lease alive; returns when the job need not be sent any more.
async fn hold(sender: &Sender, token: &LeaseToken) -> End {
    let clock = sender.broker.clock();
    let mut until = token.leased_at.after(token.lease_duration);
    loop {
        let left = until.since(clock.now());
        clock.sleep_until(until.before(left.mul_f64(LEFT))).await;
        match sender.broker.extend(token.clone(), Extend::default()).await {
            Ok(extended) if extended.cancel.is_some() => return End::GivenUp,
            // The attempt may not become longer: its end comes by itself.
            Ok(extended) if extended.until <= until => clock.sleep_until(until).await,
            Ok(extended) => until = extended.until,
            Err(error) if passes(&error) => Clock::pause(RETRY).await,
            Err(_) => return End::Lost,
        }
    }
}

/// Tells the broker what became of a job, again and again while the store is in trouble and the
/// lease may live.
async fn settle(sender: &Sender, token: &LeaseToken, verdict: Verdict) {
    let broker = &sender.broker;
    let until = broker.clock().now().after(token.lease_duration);
    loop {
        let settled = match verdict.clone() {
            Verdict::Done(result) => {
                broker.ack(token.clone(), Ack { result, then: Vec::new() }).await
            }
            Verdict::Not(disposition, failure) => {
                let nack = Nack { disposition, failure: Some(failure), checkpoint: None };
                broker.nack(token.clone(), nack).await
            }
        };
        match settled {
            Err(error) if passes(&error) && broker.clock().now() < until => {
                Clock::pause(RETRY).await;
            }
            Err(error) => {
                return tracing::debug!(job = %token.name, %error, "can't settle what was sent");
            }
            Ok(_) => return,
        }
    }
}

/// True when the same may succeed later.
fn passes(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Overloaded | Error::StoreFull(_))
}
