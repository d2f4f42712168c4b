//! `Work`: frames in, frames out. What they mean is the broker's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use lessor_proto::codec::Written;
use lessor_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, Streaming};

use super::auth::Access;
use super::convert::enqueue::TraceContext;
use super::convert::field::Violations;
use super::convert::work::{first, later, response};
use super::shield::unreadable;
use super::status::{Fault, Reason};
use crate::broker::Broker;
use crate::broker::work::{Body, End, Frame, Lost, Outlet};
use crate::clock::Clock;

/// Streams open at once.
const MOST_STREAMS: usize = 16_384;

/// The open streams.
pub(super) struct Streams {
    broker: Broker,
    places: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, places: Arc::new(Semaphore::new(MOST_STREAMS)) }
    }

    /// Opens a stream. It answers before the first frame has come: some clients send nothing until
    /// they were answered.
    pub(super) fn open(
        &self,
        requests: Streaming<v1::WorkRequest>,
        trace: TraceContext,
        access: Access,
    ) -> Result<WorkStream, Fault> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Fault::new(Reason::TooManyStreams, "too many work streams are open"))?;
        let clock = self.broker.clock().clone();
        let frames = Frames { requests, trace, access, clock: clock.clone(), begun: false };
        Ok(WorkStream { outlet: self.broker.work(frames), clock, _place: place })
    }
}

/// What a worker sends.
struct Frames {
    requests: Streaming<v1::WorkRequest>,
    trace: TraceContext,
    access: Access,
    clock: Clock,
    begun: bool,
}

impl Frames {
    /// The first frame, if the caller may serve the queues that it names.
    fn first(&self, request: v1::WorkRequest) -> Result<Frame<Fault>, Fault> {
        let frame = first(request)?;
        if let Body::Hello(hello) = &frame.body {
            self.access.queues(&hello.queues)?;
            hello.held.iter().try_for_each(|token| self.access.queue(&token.name.queue))?;
        }
        Ok(frame)
    }

    /// A later frame; a settle that the caller may not make is told on the stream.
    fn later(&self, request: v1::WorkRequest) -> Frame<Fault> {
        let mut frame = later(request, &self.trace, self.clock.now());
        if let Body::Settle(settle) = &mut frame.body
            && let Err(fault) = self.access.settle(settle)
        {
            frame.body = Body::Wrong(fault);
        }
        frame
    }
}

impl Stream for Frames {
    type Item = Result<Frame<Fault>, Lost<Fault>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let request = ready!(Pin::new(&mut self.requests).poll_next(context));
        let is_first = !std::mem::replace(&mut self.begun, true);
        Poll::Ready(match request {
            Some(Ok(request)) if is_first => Some(self.first(request).map_err(Lost::Refused)),
            Some(Ok(request)) => Some(Ok(self.later(request))),
            Some(Err(status)) => Some(Err(lost(&status))),
            None if is_first => {
                let wrong = Violations::from("must begin with a hello");
                Some(Err(Lost::Refused(wrong.into())))
            }
            None => None,
        })
    }
}

/// What ended the requests: a frame that can't be read, or the worker is gone.
fn lost(status: &Status) -> Lost<Fault> {
    match unreadable(status) {
        Some(fault) => Lost::Refused(fault),
        None => Lost::Broken,
    }
}

/// What a worker is told.
pub(super) struct WorkStream {
    outlet: Outlet<Fault>,
    clock: Clock,
    _place: OwnedSemaphorePermit,
}

impl Stream for WorkStream {
    type Item = Result<Written<v1::WorkResponse>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reply = ready!(Pin::new(&mut self.outlet).poll_next(context));
        Poll::Ready(reply.and_then(|reply| match reply {
            Ok(reply) => Some(Ok(response(reply, self.clock.now()))),
            Err(End::Done) => None,
            Err(End::Failed(error)) => Some(Err(Fault::from(error).into())),
            Err(End::Refused(fault)) => Some(Err(fault.into())),
            Err(End::Died) => Some(Err(Fault::internal("the task of a stream is gone").into())),
        }))
    }
}
