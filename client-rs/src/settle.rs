//! What a worker does with a lease: ack, nack, extend, one by one or many at once.

use std::time::Duration;

use lessor_proto::v1::batch_settle_request::Item;
use lessor_proto::v1::batch_settle_request::item::Op;
use lessor_proto::v1::batch_settle_response::result::Response;
use lessor_proto::v1::nack_request::{Disposition, Retry, Snooze};
use lessor_proto::v1::work_request::Frame;
use lessor_proto::v1::{
    AckRequest, AckResponse, BatchSettleRequest, EnqueueRequest, ExtendLeaseRequest,
    ExtendLeaseResponse, Failure, NackRequest, NackResponse, Payload, Progress,
};

use tonic::Code;

use crate::{Client, Error, NewJob, Result, span};

impl Client {
    /// The job is done. A result is kept with it.
    ///
    /// May be repeated. When [`Error::is_lease_lost`], another worker may have done the job too.
    pub async fn ack(
        &self,
        lease_token: impl Into<String>,
        result: Option<Payload>,
    ) -> Result<AckResponse> {
        let request = ack(lease_token, result);
        self.call(request, |mut broker, request| async move { broker.ack(request).await }).await
    }

    /// As [`ack`](Self::ack), and enqueues follow-up jobs in the same step: all of it happens or
    /// nothing does. At most 16 jobs, of the queue of the acked one.
    pub async fn ack_then(
        &self,
        lease_token: impl Into<String>,
        result: Option<Payload>,
        then: Vec<NewJob>,
    ) -> Result<AckResponse> {
        let request = AckRequest { then: followers(then), ..ack(lease_token, result) };
        self.call(request, |mut broker, request| async move { broker.ack(request).await }).await
    }

    /// The job is not done: try it again, later, or never. May be repeated.
    pub async fn nack(&self, lease_token: impl Into<String>, nack: Nack) -> Result<NackResponse> {
        let request = nack.into_request(lease_token);
        self.call(request, |mut broker, request| async move { broker.nack(request).await }).await
    }

    /// The worker is alive and needs more time. The reply may say that it should stop.
    pub async fn extend(
        &self,
        lease_token: impl Into<String>,
        extend: Extend,
    ) -> Result<ExtendLeaseResponse> {
        let request = extend.into_request(lease_token);
        self.call(request, |mut broker, request| async move { broker.extend_lease(request).await })
            .await
    }

    /// Settles and extends many leases, up to 256, each of which may fail alone.
    /// In the order given.
    pub async fn settle_batch(&self, items: Vec<Settle>) -> Result<Vec<Result<Settled>>> {
        let count = items.len();
        let items = items.into_iter().map(|Settle(op)| Item { op: Some(op) }).collect();
        let reply = self
            .call(BatchSettleRequest { items }, |mut broker, request| async move {
                broker.batch_settle(request).await
            })
            .await?;
        if reply.results.len() != count {
            return Err(Error::incomplete("some of the results"));
        }
        let each = reply.results.into_iter().map(|result| match result.response {
            Some(Response::Ack(response)) => Ok(Settled::Ack(response)),
            Some(Response::Nack(response)) => Ok(Settled::Nack(response)),
            Some(Response::Extend(response)) => Ok(Settled::Extend(response)),
            Some(Response::Error(status)) => Err(status.into()),
            None => Err(Error::incomplete("a result")),
        });
        Ok(each.collect())
    }
}

/// Why a job is not done, and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until `nack`"]
pub struct Nack(Box<NackRequest>);

impl Nack {
    /// The attempt failed. The job's policy decides when it is tried again, if at all.
    pub fn retry() -> Self {
        Self::of(Disposition::Retry(Retry::default()))
    }

    /// The attempt failed. If the job's policy allows another one, it comes after this pause.
    pub fn retry_after(delay: Duration) -> Self {
        Self::of(Disposition::Retry(Retry { delay: Some(span::to_wire(delay)) }))
    }

    /// It is too early for this job. The attempt does not count.
    pub fn snooze(delay: Duration) -> Self {
        Self::of(Disposition::Snooze(Snooze { delay: Some(span::to_wire(delay)) }))
    }

    /// This worker cannot do it; another may, at once. The attempt does not count.
    pub fn release() -> Self {
        Self::of(Disposition::Release(()))
    }

    /// Nobody should try it again.
    pub fn dead() -> Self {
        Self::of(Disposition::Dead(()))
    }

    /// What went wrong: a code such as `HTTP_503`, which a policy may name, and a sentence.
    pub fn failure(self, code: impl Into<String>, message: impl Into<String>) -> Self {
        let failure = Failure { code: code.into(), message: message.into(), ..Failure::default() };
        self.failure_details(failure)
    }

    /// What went wrong, with a stack or details.
    pub fn failure_details(mut self, failure: Failure) -> Self {
        self.0.failure = Some(failure);
        self
    }

    /// How far the work has come: the next attempt finds it in the job.
    pub fn checkpoint(mut self, checkpoint: Payload) -> Self {
        self.0.checkpoint = Some(checkpoint);
        self
    }

    /// The code of the failure.
    pub fn code(&self) -> &str {
        self.0.failure.as_ref().map_or("", |failure| &failure.code)
    }

    /// The failure in words.
    pub fn message(&self) -> &str {
        self.0.failure.as_ref().map_or("", |failure| &failure.message)
    }

    /// One more failed attempt, with nothing said about what follows.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.disposition == Some(Disposition::Retry(Retry::default()))
    }

    /// What becomes of the job, in a word for the log.
    pub(crate) fn verb(&self) -> &'static str {
        match self.0.disposition {
            Some(Disposition::Snooze(_)) => "snoozed",
            Some(Disposition::Release(())) => "released",
            Some(Disposition::Dead(())) => "rejected",
            Some(Disposition::Retry(_)) | None => "failed",
        }
    }

    fn of(disposition: Disposition) -> Self {
        Self(Box::new(NackRequest { disposition: Some(disposition), ..NackRequest::default() }))
    }

    pub(crate) fn into_request(self, lease_token: impl Into<String>) -> NackRequest {
        NackRequest { lease_token: lease_token.into(), ..*self.0 }
    }
}

/// A sign of life: for how long the lease goes on, and what there is to tell.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "it does nothing until `extend`"]
pub struct Extend(ExtendLeaseRequest);

impl Extend {
    /// From now for as long as the lease lasted at first.
    pub fn again() -> Self {
        Self::default()
    }

    /// From now for this long, which may be shorter than what is left.
    pub fn by(duration: Duration) -> Self {
        let lease_duration = Some(span::to_wire(duration));
        Self(ExtendLeaseRequest { lease_duration, ..ExtendLeaseRequest::default() })
    }

    /// How far the work has come, for those who watch.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.0.progress = Some(progress);
        self
    }

    /// How far the work has come, for the next attempt.
    pub fn checkpoint(mut self, checkpoint: Payload) -> Self {
        self.0.checkpoint = Some(checkpoint);
        self
    }

    pub(crate) fn into_request(self, lease_token: impl Into<String>) -> ExtendLeaseRequest {
        ExtendLeaseRequest { lease_token: lease_token.into(), ..self.0 }
    }
}

/// One item of [`Client::settle_batch`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until `settle_batch`"]
pub struct Settle(Op);

impl Settle {
    /// As [`Client::ack`].
    pub fn ack(lease_token: impl Into<String>, result: Option<Payload>) -> Self {
        Self(Op::Ack(ack(lease_token, result)))
    }

    /// As [`Client::nack`].
    pub fn nack(lease_token: impl Into<String>, nack: Nack) -> Self {
        Self(Op::Nack(nack.into_request(lease_token)))
    }

    /// As [`Client::extend`].
    pub fn extend(lease_token: impl Into<String>, extend: Extend) -> Self {
        Self(Op::Extend(extend.into_request(lease_token)))
    }
}

/// A frame of a work stream that is a settle or an extension.
impl TryFrom<Frame> for Settle {
    type Error = Error;

    fn try_from(frame: Frame) -> Result<Self> {
        match frame {
            Frame::Ack(ack) => Ok(Self(Op::Ack(ack))),
            Frame::Nack(nack) => Ok(Self(Op::Nack(nack))),
            Frame::Extend(extend) => Ok(Self(Op::Extend(extend))),
            _ => Err(Error::local(Code::Internal, "the frame settles nothing")),
        }
    }
}

/// What became of one item of [`Client::settle_batch`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Settled {
    /// The reply to an ack.
    Ack(AckResponse),
    /// The reply to a nack.
    Nack(NackResponse),
    /// The reply to an extension.
    Extend(ExtendLeaseResponse),
}

pub(crate) fn ack(lease_token: impl Into<String>, result: Option<Payload>) -> AckRequest {
    AckRequest { lease_token: lease_token.into(), result, then: Vec::new() }
}

/// Follow-up jobs that are made only once, however often the ack is repeated.
pub(crate) fn followers(jobs: Vec<NewJob>) -> Vec<EnqueueRequest> {
    jobs.into_iter().map(NewJob::into_request).collect()
}
