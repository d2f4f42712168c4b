//! A worker's end of a stream.

use futures_util::stream::poll_fn;
use lessor_proto::v1;
use lessor_proto::v1::job_broker_client::JobBrokerClient;
use lessor_proto::v1::work_request::{Frame, Hello};
use lessor_proto::v1::work_response::{Delivery, Frame as Reply, Welcome};
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::server::Server;

/// An open stream.
pub(crate) struct WorkStream {
    pub(crate) welcome: Welcome,
    frames: mpsc::UnboundedSender<v1::WorkRequest>,
    replies: Streaming<v1::WorkResponse>,
    /// The number of the last frame.
    seq: u64,
    received_through: u64,
}

/// The least that a worker of `queue` must say.
pub(crate) fn hello(queue: &str) -> Hello {
    let worker = v1::Worker { worker_id: "worker-1".to_owned(), ..v1::Worker::default() };
    Hello { worker: Some(worker), queues: vec![queue.to_owned()], ..Hello::default() }
}

/// Sends `frames` as they come, and answers what comes back.
pub(crate) async fn open(
    server: &Server,
    frames: mpsc::UnboundedReceiver<v1::WorkRequest>,
) -> Streaming<v1::WorkResponse> {
    open_on(server.channel(), frames).await
}

async fn open_on(
    channel: Channel,
    mut frames: mpsc::UnboundedReceiver<v1::WorkRequest>,
) -> Streaming<v1::WorkResponse> {
    let frames = poll_fn(move |context| frames.poll_recv(context));
    JobBrokerClient::new(channel).work(frames).await.unwrap().into_inner()
}

impl WorkStream {
    pub(crate) async fn open(server: &Server, hello: Hello) -> Self {
        Self::on(server.channel(), hello).await
    }

    /// Opens a stream on a connection of its own choice.
    pub(crate) async fn on(channel: Channel, hello: Hello) -> Self {
        let (frames, receiver) = mpsc::unbounded_channel();
        let replies = open_on(channel, receiver).await;
        let mut stream =
            Self { welcome: Welcome::default(), frames, replies, seq: 0, received_through: 0 };
        let seq = stream.send(Frame::Hello(hello));
        let first = stream.next().await;
        assert_eq!(first.request_seq, seq);
        let Some(Reply::Welcome(welcome)) = first.frame else { panic!("{first:?}") };
        stream.welcome = welcome;
        stream
    }

    /// Sends a frame and answers its number.
    pub(crate) fn send(&mut self, frame: Frame) -> u64 {
        self.seq += 1;
        let received_through = self.received_through;
        let frame = v1::WorkRequest { request_seq: self.seq, received_through, frame: Some(frame) };
        self.frames.send(frame).unwrap();
        self.seq
    }

    /// What comes next; there must be something.
    pub(crate) async fn next(&mut self) -> v1::WorkResponse {
        self.try_next().await.unwrap().unwrap()
    }

    /// What comes next, or how the stream ends.
    pub(crate) async fn try_next(&mut self) -> Result<Option<v1::WorkResponse>, Status> {
        self.replies.message().await
    }

    /// A job, which must come next.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        let reply = self.next().await;
        let Some(Reply::Delivery(delivery)) = reply.frame else { panic!("{reply:?}") };
        delivery
    }

    /// Says that all deliveries up to this one have arrived, and waits for the answer, which must
    /// come next.
    pub(crate) async fn ping(&mut self, received_through: u64) {
        self.received_through = received_through;
        let seq = self.send(Frame::Ping(()));
        let reply = self.next().await;
        assert_eq!((reply.request_seq, reply.frame), (seq, Some(Reply::Pong(()))));
    }
}
