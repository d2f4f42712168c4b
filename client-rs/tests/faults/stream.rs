//! The broker's end of a work stream, in the hands of a test.

use std::time::Duration;

use lessor::LeasedJob;
use lessor::proto::Job;
use lessor::proto::work_request::{Credit, Frame, Hello};
use lessor::proto::work_response::directive::Kind;
use lessor::proto::work_response::welcome::Held;
use lessor::proto::work_response::{Delivery, Directive, Frame as Reply, Welcome};
use lessor::proto::{AckResponse, WorkRequest, WorkResponse};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::broker::PATIENCE;

pub(crate) type Replies = mpsc::UnboundedReceiver<Result<WorkResponse, Status>>;

pub(crate) struct WorkStream {
    frames: Streaming<WorkRequest>,
    replies: mpsc::UnboundedSender<Result<WorkResponse, Status>>,
}

impl WorkStream {
    pub(crate) fn new(frames: Streaming<WorkRequest>) -> (Self, Replies) {
        let (replies, receiver) = mpsc::unbounded_channel();
        (Self { frames, replies }, receiver)
    }

    /// The next frame, or `None` after the last one.
    pub(crate) async fn heard(&mut self) -> Option<WorkRequest> {
        // Whoever breaks off says nothing more either.
        tokio::time::timeout(PATIENCE, self.frames.message()).await.unwrap().ok().flatten()
    }

    /// The next frame, and what it carries.
    pub(crate) async fn frame(&mut self) -> (WorkRequest, Frame) {
        let request = self.heard().await.unwrap();
        let frame = request.frame.clone().unwrap();
        (request, frame)
    }

    /// The next frame must be the first one.
    pub(crate) async fn hello(&mut self) -> Hello {
        match self.frame().await {
            (_, Frame::Hello(hello)) => hello,
            other => panic!("{other:?}"),
        }
    }

    /// The next frame must be a credit: how far it goes, and how far the deliveries are received.
    pub(crate) async fn credit(&mut self) -> (u64, u64) {
        match self.frame().await {
            (request, Frame::Credit(Credit { max_delivery_seq })) => {
                (max_delivery_seq, request.received_through)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next frame must be the ack of this token: its number.
    pub(crate) async fn ack(&mut self, token: &str) -> u64 {
        match self.frame().await {
            (request, Frame::Ack(ack)) if ack.lease_token == token => request.request_seq,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn reply(&self, request_seq: u64, reply: Reply) {
        let response = WorkResponse { frame: Some(reply), request_seq };
        self.replies.send(Ok(response)).unwrap();
    }

    /// Answers the hello. The verdicts are on held leases.
    pub(crate) fn welcome(&self, ping_interval: Duration, verdicts: &[(&str, bool)]) {
        let held = verdicts.iter().map(|&(token, kept)| Held {
            lease_token: token.to_owned(),
            kept,
            lease_remaining: None,
        });
        let ping_interval = Some(ping_interval.try_into().unwrap());
        let welcome = Welcome { session_id: "1".to_owned(), ping_interval, held: held.collect() };
        self.reply(0, Reply::Welcome(welcome));
    }

    /// Hands over a job whose name and token are this.
    pub(crate) fn deliver(&self, delivery_seq: u64, token: &str) {
        let job = Some(Box::new(Job { name: token.to_owned(), ..Job::default() }));
        let lease_token = token.to_owned();
        let leased = Some(LeasedJob { job, lease_token, ..LeasedJob::default() });
        self.reply(0, Reply::Delivery(Delivery { delivery_seq, leased }));
    }

    pub(crate) fn acked(&self, request_seq: u64) {
        self.reply(request_seq, Reply::Ack(AckResponse::default()));
    }

    pub(crate) fn failed(&self, request_seq: u64, status: &Status) {
        let mut details = tonic_types::Status::decode(status.details()).unwrap();
        details.code = status.code().into();
        status.message().clone_into(&mut details.message);
        self.reply(request_seq, Reply::Error(details));
    }

    pub(crate) fn direct(&self, kind: Kind, lease_token: &str, within: Option<Duration>) {
        self.reply(
            0,
            Reply::Directive(Directive {
                kind: kind.into(),
                lease_token: lease_token.to_owned(),
                reason: "so it is".to_owned(),
                within: within.map(|within| within.try_into().unwrap()),
            }),
        );
    }

    /// Ends the stream in good order.
    pub(crate) fn end(self) {
        drop(self.replies);
    }

    /// Breaks it.
    pub(crate) fn fail(self, status: Status) {
        self.replies.send(Err(status)).unwrap();
    }
}
