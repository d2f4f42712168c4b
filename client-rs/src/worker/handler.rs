//! What runs a job: an async function of what it needs of the job, or a tower service.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use lessor_proto::v1::{Failure, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::Job;
use crate::{Nack, NewJob, payload};

/// How an attempt ended.
pub(super) type Outcome = Result<Done, Nack>;

/// What may run jobs of a type.
///
/// - An async function of one to four arguments, each of which is taken [from the job](FromJob): the
///   [`Job`] itself, its payload as [`Json`] or as [`Bytes`], a [`CancellationToken`]. It returns
///   `Result<R, E>`.
/// - A [`tower::Service`] of [`Job`] that can be cloned; layers of tower put timeouts, limits and the
///   like around it.
///
/// `R` becomes the result of the job, see [`IntoDone`]. `E` is anything that can be shown, of which a
/// [`Nack`] says itself what becomes of the job; any other error is one more failed attempt.
pub trait Handler<Args>: Send + Sync + 'static {
    /// Runs one job.
    fn call(&self, job: Job) -> BoxFuture<'static, Result<Done, Nack>>;
}

/// What a handler can take from a job.
pub trait FromJob: Sized {
    /// Takes it, or says what becomes of the job.
    fn from_job(job: &Job) -> Result<Self, Nack>;
}

impl FromJob for Job {
    fn from_job(job: &Job) -> Result<Self, Nack> {
        Ok(job.clone())
    }
}

/// The payload's bytes.
impl FromJob for Bytes {
    fn from_job(job: &Job) -> Result<Self, Nack> {
        Ok(job.payload())
    }
}

/// Fires when the job shall be stopped.
impl FromJob for CancellationToken {
    fn from_job(job: &Job) -> Result<Self, Nack> {
        Ok(job.cancellation_token())
    }
}

/// The payload, read as JSON: see [`Job::json`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromJob for Json<T> {
    fn from_job(job: &Job) -> Result<Self, Nack> {
        job.json().map(Self)
    }
}

/// A job that is done, with what there is to keep and what follows.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Done {
    pub(super) result: Option<Payload>,
    pub(super) then: Vec<NewJob>,
}

impl Done {
    /// Done, without a result.
    pub fn new() -> Self {
        Self::default()
    }

    /// A result that is kept with the job, up to 256 KiB.
    pub fn result(mut self, result: Payload) -> Self {
        self.result = Some(result);
        self
    }

    /// A job that is made together with this one's end, or not at all. At most 16, of the same queue.
    pub fn then(mut self, job: NewJob) -> Self {
        self.then.push(job);
        self
    }
}

/// What a handler may return when the job is done: [`Done`], or a value that is kept as JSON. A value
/// that is `null` in JSON, such as `()`, is not kept.
pub trait IntoDone {
    /// The result of the job.
    fn into_done(self) -> Result<Done, Nack>;
}

impl IntoDone for Done {
    fn into_done(self) -> Result<Done, Nack> {
        Ok(self)
    }
}

impl<T: Serialize> IntoDone for T {
    fn into_done(self) -> Result<Done, Nack> {
        let unwritable = |why| {
            let why = format!("the result cannot be written as JSON: {why}");
            Nack::retry().failure("INVALID_RESULT", why)
        };
        let text = serde_json::to_vec(&self).map_err(unwritable)?;
        Ok(if text == b"null" { Done::new() } else { Done::new().result(payload::json(text)) })
    }
}

/// An error is one more failed attempt, with code `HANDLER_FAILED`.
///
/// The message is the error as `{:#}` shows it, and the stack as `{:?}` does: with the causes, and
/// where it was made, if the error knows.
impl<E: Display + Debug> From<E> for Nack {
    fn from(error: E) -> Self {
        let (code, message) = ("HANDLER_FAILED".to_owned(), format!("{error:#}"));
        let stack = format!("{error:?}");
        Nack::retry().failure_details(Failure { code, message, stack, ..Failure::default() })
    }
}

macro_rules! functions {
    ($(($($arg:ident),+),)+) => {
        $(
            impl<F, Work, Value, Fault, $($arg),+> Handler<($($arg,)+)> for F
            where
                F: Fn($($arg),+) -> Work + Send + Sync + 'static,
                Work: Future<Output = Result<Value, Fault>> + Send + 'static,
                Value: IntoDone,
                Fault: Into<Nack>,
                $($arg: FromJob,)+
            {
                fn call(&self, job: Job) -> BoxFuture<'static, Outcome> {
                    let begin = || Ok::<_, Nack>(self($($arg::from_job(&job)?),+));
                    match begin() {
                        Ok(work) => Box::pin(async move {
                            work.await.map_err(Into::into).and_then(IntoDone::into_done)
                        }),
                        Err(nack) => Box::pin(std::future::ready(Err(nack))),
                    }
                }
            }
        )+
    };
}

functions! {
    (A),
    (A, B),
    (A, B, C),
    (A, B, C, D),
}

/// Marks a handler that is a service.
#[derive(Debug)]
pub struct ByService;

impl<S> Handler<ByService> for S
where
    S: Service<Job> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Response: IntoDone,
    S::Error: Into<Nack>,
{
    fn call(&self, job: Job) -> BoxFuture<'static, Outcome> {
        let running = self.clone().oneshot(job);
        Box::pin(async move { running.await.map_err(Into::into).and_then(IntoDone::into_done) })
    }
}

/// A handler of any kind.
pub(super) type Erased = Arc<dyn Fn(Job) -> BoxFuture<'static, Outcome> + Send + Sync>;

pub(super) fn erase<Args>(handler: impl Handler<Args>) -> Erased {
    Arc::new(move |job| handler.call(job))
}
