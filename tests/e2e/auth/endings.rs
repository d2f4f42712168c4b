//! What is under way ends with the credential that it was begun with.

use std::path::Path;

use futures_util::StreamExt;
use lessor_proto::v1;
use lessor_proto::v1::job_broker_client::JobBrokerClient;
use lessor_proto::v1::work_request::{Credit, Frame, Hello};
use lessor_proto::v1::work_response::Frame as Reply;
use lessor_server::auth::secret::Digest;
use lessor_server::config::RawAuth;
use serde_json::json;
use tokio::sync::mpsc;
use tonic::{Code, Response, Status, Streaming};

use super::jwt::{Signer, taking, with_token};
use super::{Guarded, advance, identities, standing};
use crate::refusal::Refusal;
use crate::server::{Server, ack, lease, request, seconds};

/// A stream of work, and what keeps its requests open.
struct Work {
    replies: Streaming<v1::WorkResponse>,
    frames: mpsc::UnboundedSender<v1::WorkRequest>,
}

impl Work {
    async fn open(client: &mut JobBrokerClient<Guarded>, worker: &str) -> Self {
        let (frames, requests) = mpsc::unbounded_channel();
        let hello = Hello {
            worker: Some(v1::Worker { worker_id: worker.to_owned(), ..v1::Worker::default() }),
            queues: vec!["mail".to_owned()],
            lease_duration: Some(seconds(600)),
            ..Hello::default()
        };
        for frame in [Frame::Hello(hello), Frame::Credit(Credit { max_delivery_seq: 10 })] {
            let request = v1::WorkRequest { frame: Some(frame), ..v1::WorkRequest::default() };
            frames.send(request).unwrap();
        }
        let requests = tokio_stream(requests);
        let mut replies = client.work(requests).await.unwrap().into_inner();
        let welcome = replies.message().await.unwrap().unwrap();
        assert!(matches!(welcome.frame, Some(Reply::Welcome(_))), "{welcome:?}");
        Self { replies, frames }
    }

    async fn leased(&mut self) -> v1::LeasedJob {
        let reply = self.replies.message().await.unwrap().unwrap();
        let Some(Reply::Delivery(delivery)) = reply.frame else { panic!("{reply:?}") };
        // What is not said to be here goes back when the stream ends.
        let received = v1::WorkRequest {
            frame: Some(Frame::Ping(())),
            received_through: delivery.delivery_seq,
            ..v1::WorkRequest::default()
        };
        self.frames.send(received).unwrap();
        let reply = self.replies.message().await.unwrap().unwrap();
        assert!(matches!(reply.frame, Some(Reply::Pong(()))), "{reply:?}");
        delivery.leased.unwrap()
    }
}

fn tokio_stream(
    requests: mpsc::UnboundedReceiver<v1::WorkRequest>,
) -> impl futures_util::Stream<Item = v1::WorkRequest> {
    futures_util::stream::unfold(requests, |mut requests| async {
        let next = requests.recv().await?;
        Some((next, requests))
    })
}

/// How a stream ends, whatever comes before.
async fn end<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> Refusal {
    loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => return Refusal::of::<()>(Err(status)),
            None => panic!("the stream ended in good order"),
        }
    }
}

fn assert_expired(refusal: &Refusal) {
    let found = (refusal.code, refusal.reason.as_str());
    assert_eq!(found, (Code::Unauthenticated, "EXPIRED"), "{refusal:?}");
}

fn assert_unknown(refusal: &Refusal) {
    let found = (refusal.code, refusal.reason.as_str());
    assert_eq!(found, (Code::Unauthenticated, "NO_CREDENTIAL"), "{refusal:?}");
}

async fn watch(client: &mut JobBrokerClient<Guarded>) -> Streaming<v1::WatchEventsResponse> {
    let queues = vec!["mail".to_owned()];
    let request = v1::WatchEventsRequest { queues, ..v1::WatchEventsRequest::default() };
    client.watch_events(request).await.unwrap().into_inner()
}

/// A lease that waits for a job that never comes.
async fn wait(mut client: JobBrokerClient<Guarded>) -> Result<Response<v1::LeaseResponse>, Status> {
    let queues = vec!["mail-never".to_owned()];
    client.lease(v1::LeaseRequest { queues, wait: Some(seconds(60)), ..lease("mail") }).await
}

/// Enqueues a job, which goes to the stream.
async fn give(server: &Server, work: &mut Work) -> v1::LeasedJob {
    super::enqueued(server, "web", request("mail")).await;
    work.leased().await
}

#[tokio::test]
async fn a_jwt_that_ends_takes_its_streams_and_waits_with_it_and_leaves_the_leases() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, signer) = (folder.path().join("keys"), Signer::new("k1"));
    signer.publish(&keys);
    standing(taking(&keys), &identities(&[]), async |server, _: &Path| {
        let roles = json!({"roles": ["worker", "viewer"], "queues": ["mail*"]});
        let token = |seconds: u64| {
            let end = jsonwebtoken::get_current_timestamp() + seconds;
            signer.token(&[("exp", json!(end)), ("lessor", roles.clone())])
        };
        let mut mailer = with_token(server, &token(10));
        let mut work = Work::open(&mut mailer, "w1").await;
        let mut events = watch(&mut mailer).await;
        let leased = give(server, &mut work).await;
        let waits = wait(mailer.clone());
        let ends = async {
            // One after another, so that no wait begins after the end of the token.
            loop {
                let waiting = super::admin(server, "admin")
                    .list_workers(v1::ListWorkersRequest::default())
                    .await
                    .unwrap();
                if waiting.into_inner().workers.len() == 2 {
                    break;
                }
            }
            // To its end, and over the leeway.
            advance(server, 10).await;
            advance(server, 31).await;
        };
        let (waited, ()) = tokio::join!(waits, ends);
        assert_expired(&Refusal::of(waited));
        assert_expired(&end(&mut work.replies).await);
        assert_expired(&end(&mut events).await);
        assert_expired(&Refusal::of(mailer.ack(ack(&leased.lease_token)).await));
        let mut renewed = with_token(server, &token(3600));
        renewed.ack(ack(&leased.lease_token)).await.unwrap();
    })
    .await;
}

/// The worker's entry in the file of identities, with these tokens and roles.
fn file(tokens: &[&str], roles: &str) -> String {
    let tokens: Vec<String> = tokens.iter().map(|it| format!("'{}'", Digest::of(it))).collect();
    let tokens = tokens.join(", ");
    let mailer = format!(
        "[[identity]]\nname = 'mailer'\ntokens = [{tokens}]\nroles = [{roles}]\nqueues = ['mail*']\n"
    );
    identities(&[]) + &mailer
}

const ROLES: &str = "'worker', 'viewer'";

#[tokio::test]
async fn a_token_that_is_taken_out_of_the_file_takes_its_streams_with_it() {
    let both = file(&["old", "new"], ROLES);
    standing(RawAuth::default(), &both, async |server, path: &Path| {
        let (mut old, mut new) = (with_token(server, "old"), with_token(server, "new"));
        let (mut first, mut second) =
            (Work::open(&mut old, "w1").await, Work::open(&mut new, "w2").await);
        let mut events = watch(&mut old).await;
        let waits = wait(old.clone());
        std::fs::write(path, file(&["new"], ROLES)).unwrap();
        assert_unknown(&Refusal::of(waits.await));
        assert_unknown(&end(&mut first.replies).await);
        assert_unknown(&end(&mut events).await);
        // Whoever has the new token notices nothing.
        drop(first);
        give(server, &mut second).await;
    })
    .await;
}

#[tokio::test]
async fn other_roles_end_what_was_begun_with_the_old_ones() {
    standing(RawAuth::default(), &file(&["token"], ROLES), async |server, path: &Path| {
        let mut mailer = with_token(server, "token");
        let mut work = Work::open(&mut mailer, "w1").await;
        std::fs::write(path, file(&["token"], "'viewer'")).unwrap();
        assert_expired(&end(&mut work.replies).await);
        let refusal = Refusal::of(mailer.lease(lease("mail")).await);
        assert_eq!(refusal.code, Code::PermissionDenied);
        // A file that says the same of them changes nothing.
        let mut events = watch(&mut mailer).await;
        std::fs::write(path, file(&["token", "more"], "'viewer'")).unwrap();
        let mut more = with_token(server, "more");
        while more.get_job(super::read("queues/mail/jobs/none")).await.unwrap_err().code()
            == Code::Unauthenticated
        {
            tokio::task::yield_now().await;
        }
        super::enqueued(server, "web", request("mail")).await;
        events.message().await.unwrap().unwrap();
    })
    .await;
}
