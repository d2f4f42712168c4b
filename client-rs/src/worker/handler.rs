//! What runs a job: an async function of what it needs of the job, or a tower service.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use lessor_proto::v1::{Failure, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service, ServiceExt};

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
impl<E: Display + Debug + 'static> From<E> for Nack {
    fn from(error: E) -> Self {
        let boxed = (&error as &dyn Any).downcast_ref::<BoxError>();
        if let Some(Carried(nack)) = boxed.and_then(|error| error.downcast_ref()) {
            return nack.clone();
        }
        let (code, message) = ("HANDLER_FAILED".to_owned(), format!("{error:#}"));
        let stack = format!("{error:?}");
        Nack::retry().failure_details(Failure { code, message, stack, ..Failure::default() })
    }
}

/// A nack on its way through layers that know errors only.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message())]
struct Carried(Nack);

/// What layers of tower ask of an error. It comes out of them as the nack that it was.
impl From<Nack> for BoxError {
    fn from(nack: Nack) -> Self {
        Box::new(Carried(nack))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_is_a_failed_attempt_with_its_causes() {
        let nack = Nack::from(std::io::Error::other("the disk is full"));
        assert!(nack.is_plain());
        assert_eq!((nack.code(), nack.message()), ("HANDLER_FAILED", "the disk is full"));
        assert_eq!(Nack::from("no").message(), "no");
    }

    #[test]
    fn a_nack_comes_out_of_layers_as_it_was() {
        let nack = Nack::snooze(Duration::from_secs(7));
        assert_eq!(Nack::from(BoxError::from(nack.clone())), nack);
        assert_eq!(Nack::from(BoxError::from("late")).code(), "HANDLER_FAILED");
    }

    #[test]
    fn what_is_null_in_json_is_no_result() {
        assert_eq!(().into_done().ok(), Some(Done::new()));
        assert_eq!(Some(7).into_done().ok(), Some(Done::new().result(payload::json("7"))));
    }
}
