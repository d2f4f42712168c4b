//! The last step of a lease: until its reply has left, the jobs in it can still go back.
//!
//! A worker may leave at any moment. While it waits, the broker withdraws its wish. Once jobs are
//! taken for it, they are in a [`Handover`], which travels with the reply and gives them back,
//! uncounted, when it is dropped before the reply was sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::broker::Broker;
use crate::job::Job;

/// Leased jobs on their way.
pub(super) struct Handover {
    broker: Broker,
    jobs: Vec<Job>,
}

/// A handover as it travels in the extensions of a reply, which want to be cloned.
#[derive(Clone)]
struct Parcel(Arc<Handover>);

impl Handover {
    /// Takes charge of jobs that `broker` leased.
    pub(super) fn new(broker: Broker, jobs: Vec<Job>) -> Self {
        Self { broker, jobs }
    }

    /// The jobs that are handed over.
    pub(super) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Gives back all jobs but the first `count`.
    pub(super) fn keep(&mut self, count: usize) {
        // Each goes to the front of its queue, so the last one first keeps their order.
        for job in self.jobs.drain(count..).rev() {
            self.broker.give_back(&job);
        }
    }

    /// Lets the handover travel with a reply; [`escort`] takes it from there.
    pub(super) fn attach<T>(self, reply: &mut tonic::Response<T>) {
        if !self.jobs.is_empty() {
            reply.extensions_mut().insert(Parcel(Arc::new(self)));
        }
    }

    /// The reply was sent: the jobs are the worker's now.
    fn finish(mut self) {
        self.jobs.clear();
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// Keeps the handover of a reply, if it has one, with the body until that is sent.
pub(super) fn escort(mut answer: Response<Body>) -> Response<Body> {
    let parcel = answer.extensions_mut().remove::<Parcel>();
    match parcel.and_then(|parcel| Arc::into_inner(parcel.0)) {
        Some(handover) => answer.map(|body| Body::new(Escorted { body, handover: Some(handover) })),
        None => answer,
    }
}

/// The body of a reply with leased jobs. Nobody asks for its data before the connection has room
/// for it, so asking counts as sending.
struct Escorted {
    body: Body,
    handover: Option<Handover>,
}

impl HttpBody for Escorted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && frame.is_data()
            && let Some(handover) = self.handover.take()
        {
            handover.finish();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::poll_fn;
    use tokio::task::JoinSet;

    use super::*;
    use crate::broker::enqueue::NewJob;
    use crate::broker::lease::{LeaseRequest, QueuePattern};
    use crate::broker::settle::Ack;
    use crate::clock::{Clock, host_time};
    use crate::job::{QueueName, Spec, State, WorkerId};
    use crate::store::sqlite::SqliteStore;

    async fn broker() -> (Broker, JoinSet<()>) {
        let store = SqliteStore::in_memory().await.unwrap();
        let (broker, tasks) = Broker::new(store, Clock::anchored(host_time()));
        let mut running = JoinSet::new();
        running.spawn(tasks.folding.run());
        running.spawn(tasks.dispatching.run());
        (broker, running)
    }

    async fn lease(broker: &Broker) -> Vec<Job> {
        let request = LeaseRequest {
            max_jobs: 10,
            wait: Duration::from_mins(1),
            ..LeaseRequest::new(
                vec![QueuePattern::Name(QueueName::parse("mail").unwrap())],
                WorkerId::parse("w").unwrap(),
            )
        };
        broker.lease(request).await.unwrap().jobs
    }

    /// A reply with a leased job on its way through the layers.
    async fn reply(broker: &Broker) -> (Response<Body>, Job) {
        let new = NewJob::new(QueueName::parse("mail").unwrap(), Spec::default());
        broker.enqueue(new).await.unwrap();
        let jobs = lease(broker).await;
        let job = jobs[0].clone();
        let mut reply = tonic::Response::new(());
        Handover::new(broker.clone(), jobs).attach(&mut reply);
        let mut answer = Response::new(Body::new("reply".to_owned()));
        *answer.extensions_mut() = reply.into_parts().2;
        (answer, job)
    }

    #[tokio::test]
    async fn a_reply_that_is_dropped_gives_its_jobs_back() {
        let (broker, _running) = broker().await;
        for escorts in [false, true] {
            let (answer, job) = reply(&broker).await;
            drop(if escorts { escort(answer) } else { answer });
            let again = lease(&broker).await;
            assert_eq!((&again[0].name, again[0].counters.attempts), (&job.name, 1));
            assert_eq!(again[0].counters.deliveries, 2);
        }
    }

    #[tokio::test]
    async fn a_reply_that_was_sent_keeps_its_jobs() {
        let (broker, _running) = broker().await;
        let (answer, job) = reply(&broker).await;
        let mut body = escort(answer).into_body();
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert!(frame.unwrap().unwrap().is_data());
        drop(body);
        // What is given back is given back before a later settle is looked at.
        let token = job.token().unwrap();
        broker.ack(token, Ack::default()).await.unwrap();
        assert_eq!(broker.get(&job.name).await.unwrap().state, State::Succeeded);
    }
}
