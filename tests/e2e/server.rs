//! A broker in this process, on a free port.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lessor_proto::v1;
use lessor_proto::v1::job::State;
use lessor_proto::v1::job_broker_admin_client::JobBrokerAdminClient;
use lessor_proto::v1::job_broker_client::JobBrokerClient;
use lessor_proto::v1::payload::Body;
use lessor_server::config::{Config, RawAuth, RawConfig, RawPush, RawSink, Sources};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::watch::wait_for;

/// The kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Redis,
    Sqlite,
}

impl Store {
    fn url(self) -> &'static str {
        match self {
            Self::Redis => crate::redis::url(),
            Self::Sqlite => "sqlite::memory:",
        }
    }
}

/// A running broker and a connection to it.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    channel: Channel,
    stop: CancellationToken,
    running: JoinSet<Result<(), lessor_server::Error>>,
}

/// Far more than any case takes: a case that hangs fails and says which it is.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs one case against a fresh broker, and shuts the broker down.
pub(crate) async fn case(store: Store, case: impl AsyncFnOnce(&mut Server)) {
    let run = async {
        let mut server = Server::start(store, store.url(), "10s").await;
        case(&mut server).await;
        server.stop();
        server.stopped().await;
    };
    tokio::time::timeout(PATIENCE, run).await.unwrap();
}

/// Runs one case against a fresh broker in memory, whose clock stands still until the case moves
/// it.
pub(crate) async fn manual_case(case: impl AsyncFnOnce(&mut Server)) {
    let run = async {
        let manual = RawConfig { manual_clock: Some(true), ..raw(Store::Sqlite.url(), "10s") };
        let mut server = Server::configured(Store::Sqlite, manual).await;
        case(&mut server).await;
        server.stop();
        server.stopped().await;
    };
    tokio::time::timeout(PATIENCE, run).await.unwrap();
}

/// Runs one case against a fresh broker in memory with these settings.
pub(crate) async fn configured_case(settings: RawConfig, case: impl AsyncFnOnce(&mut Server)) {
    let run = async {
        let usual = raw(Store::Sqlite.url(), "10s");
        let raw = RawConfig {
            store: usual.store,
            namespace: usual.namespace,
            grace: usual.grace,
            ..settings
        };
        let mut server = Server::configured(Store::Sqlite, raw).await;
        case(&mut server).await;
        server.stop();
        server.stopped().await;
    };
    tokio::time::timeout(PATIENCE, run).await.unwrap();
}

/// Runs one case against two brokers of one Redis.
pub(crate) async fn shared_case(case: impl AsyncFnOnce(&mut Server, &mut Server)) {
    shared(Vec::new(), case).await;
}

/// Runs one case against two brokers of one Redis that send events to a sink.
pub(crate) async fn sinking_case(sink: RawSink, case: impl AsyncFnOnce(&mut Server, &mut Server)) {
    shared(vec![sink], case).await;
}

async fn shared(sinks: Vec<RawSink>, case: impl AsyncFnOnce(&mut Server, &mut Server)) {
    let run = async {
        let raw = RawConfig { sinks, ..raw(Store::Redis.url(), "10s") };
        let mut one = Server::configured(Store::Redis, raw.clone()).await;
        let mut other = Server::configured(Store::Redis, raw).await;
        case(&mut one, &mut other).await;
        for server in [&mut one, &mut other] {
            server.stop();
            server.stopped().await;
        }
    };
    tokio::time::timeout(PATIENCE, run).await.unwrap();
}

/// Runs one case against a fresh broker that asks who calls.
pub(crate) async fn guarded_case(
    store: Store,
    identities: &str,
    case: impl AsyncFnOnce(&mut Server, &Path),
) {
    let run = async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        std::fs::write(&path, identities).unwrap();
        let auth = RawAuth { tokens: Some(path.clone()), ..RawAuth::default() };
        let guarded = RawConfig { auth, ..raw(store.url(), "10s") };
        let mut server = Server::configured(store, guarded).await;
        case(&mut server, &path).await;
        server.stop();
        server.stopped().await;
    };
    tokio::time::timeout(PATIENCE, run).await.unwrap();
}

fn raw(url: &str, grace: &str) -> RawConfig {
    RawConfig {
        store: Some(url.to_owned()),
        namespace: Some(Uuid::new_v4().to_string()),
        grace: Some(grace.to_owned()),
        push: pushing(),
        ..RawConfig::default()
    }
}

/// Lets a broker send jobs to endpoints of this host.
fn pushing() -> RawPush {
    RawPush { allow: Some(vec!["127.0.0.1".to_owned()]), ..RawPush::default() }
}

impl Server {
    pub(crate) async fn start(store: Store, url: &str, grace: &str) -> Self {
        Self::configured(store, raw(url, grace)).await
    }

    async fn configured(store: Store, raw: RawConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config::load_with(Sources { flags: raw, file: None }, &|_| None).unwrap();
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(lessor_server::run(config, listener, stop.clone().cancelled_owned()));
        // The listener is bound, so calls wait until the broker takes them.
        let channel = connect(address);
        Self { store, address, channel, stop, running }
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end of the broker, and demands that it is a good one.
    pub(crate) async fn stopped(&mut self) {
        while let Some(end) = self.running.join_next().await {
            end.unwrap().unwrap();
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A connection besides the usual one.
    pub(crate) fn connection(&self) -> Channel {
        connect(self.address)
    }

    pub(crate) fn broker(&self) -> JobBrokerClient<Channel> {
        JobBrokerClient::new(self.channel())
    }

    pub(crate) fn admin(&self) -> JobBrokerAdminClient<Channel> {
        JobBrokerAdminClient::new(self.channel())
    }

    /// Enqueues one job of `queue` and returns it.
    pub(crate) async fn enqueue(&self, queue: &str) -> v1::Job {
        self.enqueued(request(queue)).await
    }

    /// Enqueues what is asked for and returns the job.
    pub(crate) async fn enqueued(&self, request: v1::EnqueueRequest) -> v1::Job {
        *self.broker().enqueue(request).await.unwrap().into_inner().job.unwrap()
    }

    /// Leases one job of `queue`, waiting for it.
    pub(crate) async fn leased(&self, queue: &str) -> v1::LeasedJob {
        self.leased_by(lease(queue)).await
    }

    /// Leases the one job that is asked for, waiting for it.
    pub(crate) async fn leased_by(&self, request: v1::LeaseRequest) -> v1::LeasedJob {
        let request = v1::LeaseRequest { wait: Some(seconds(60)), ..request };
        let mut jobs = self.broker().lease(request).await.unwrap().into_inner().jobs;
        assert_eq!(jobs.len(), 1);
        jobs.remove(0)
    }

    /// Leases at once, whatever there is.
    pub(crate) async fn lease_now(&self, request: v1::LeaseRequest) -> v1::LeaseResponse {
        self.broker().lease(v1::LeaseRequest { wait: None, ..request }).await.unwrap().into_inner()
    }

    /// Reads a job, all of it.
    pub(crate) async fn get(&self, name: &str) -> v1::Job {
        let request = v1::GetJobRequest { name: name.to_owned(), view: v1::JobView::Full.into() };
        self.broker().get_job(request).await.unwrap().into_inner()
    }

    /// Waits until a job has come to `state`, and reads it.
    pub(crate) async fn comes_to(&self, name: &str, state: State) -> v1::Job {
        wait_for(self, |event| event.job == name && event.to_state() == state).await;
        self.get(name).await
    }

    /// Acks, and returns what the settle found.
    pub(crate) async fn acked(&self, token: &str) -> v1::AckResponse {
        self.broker().ack(ack(token)).await.unwrap().into_inner()
    }
}

fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// A request for one job of `queue`, without anything else.
pub(crate) fn request(queue: &str) -> v1::EnqueueRequest {
    v1::EnqueueRequest { queue: queue.to_owned(), ..v1::EnqueueRequest::default() }
}

/// A request for one lease of `queue`.
pub(crate) fn lease(queue: &str) -> v1::LeaseRequest {
    v1::LeaseRequest {
        queues: vec![queue.to_owned()],
        worker_id: "worker-1".to_owned(),
        ..v1::LeaseRequest::default()
    }
}

pub(crate) fn ack(token: &str) -> v1::AckRequest {
    v1::AckRequest { lease_token: token.to_owned(), ..v1::AckRequest::default() }
}

pub(crate) fn nack(token: &str) -> v1::NackRequest {
    v1::NackRequest { lease_token: token.to_owned(), ..v1::NackRequest::default() }
}

pub(crate) fn extend(token: &str) -> v1::ExtendLeaseRequest {
    v1::ExtendLeaseRequest { lease_token: token.to_owned(), ..v1::ExtendLeaseRequest::default() }
}

/// User data of bytes.
pub(crate) fn data(bytes: impl Into<Vec<u8>>) -> v1::Payload {
    let body = Some(Body::Data(bytes.into().into()));
    v1::Payload { body, ..v1::Payload::default() }
}

/// The bytes of user data.
pub(crate) fn bytes_of(payload: Option<&v1::Payload>) -> &[u8] {
    match payload.unwrap().body.as_ref().unwrap() {
        Body::Data(data) => data,
        Body::Json(_) => panic!("bytes are expected"),
    }
}

pub(crate) fn seconds(count: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: count, nanos: 0 }
}

pub(crate) fn millis(count: i32) -> prost_types::Duration {
    let (seconds, millis) = (count / 1000, count % 1000);
    prost_types::Duration { seconds: seconds.into(), nanos: millis * 1_000_000 }
}

/// The milliseconds from one moment to another.
pub(crate) fn millis_between(
    from: Option<prost_types::Timestamp>,
    to: Option<prost_types::Timestamp>,
) -> i64 {
    let (from, to) = (from.unwrap(), to.unwrap());
    (to.seconds - from.seconds) * 1000 + i64::from((to.nanos - from.nanos) / 1_000_000)
}

/// The last part of a job's name.
pub(crate) fn id_of(job: &v1::Job) -> &str {
    job.name.rsplit('/').next().unwrap()
}
