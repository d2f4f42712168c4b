//! The connection: one lazy HTTP/2 channel, and how every call bears deadlines and passing faults.

#![expect(clippy::disallowed_methods, reason = "a call's deadline is the client's own")]

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use lessor_proto::v1::job_broker_admin_client::JobBrokerAdminClient;
use lessor_proto::v1::job_broker_client::JobBrokerClient;
use tokio::time::{Instant, timeout_at};
use tonic::client::Grpc;
use tonic::transport::Endpoint;
#[cfg(feature = "tls")]
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tonic::{Code, Request, Response, Status, TimeoutExpired};
use uuid::Uuid;

use crate::channel::{Channel, Credential};
use crate::join::Joiner;
use crate::{Error, Result, error};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// h2 closes a connection that holds too many small unread frames, and acks, leases and events
/// are such frames. What it tolerates grows with this window.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Brokers keep replies under 3 MiB; more is not a broker.
const REPLY_LIMIT: usize = 4 << 20;

const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Four tries: the first, then after 0.1, 0.4 and 1.6 s, each pause up to twice as long.
pub(crate) const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(LONGEST_PAUSE)
    .with_factor(4.0)
    .with_max_times(3)
    .with_jitter();

/// A client of one broker, or of the address that many replicas share.
///
/// Cheap to clone: clones share one connection, which is opened by the first call and opened
/// again when it breaks. Every call has a deadline. A call that fails with `UNAVAILABLE` is
/// repeated up to three times within that deadline; all calls are safe to repeat.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    shared: Arc<Shared>,
}

/// What clones have in common.
struct Shared {
    url: String,
    timeout: Duration,
    worker_id: String,
    joiner: Joiner,
    endpoint: Endpoint,
    credential: Option<Credential>,
    /// Work streams opened so far.
    streams: AtomicU64,
}

impl Client {
    /// A client with the defaults for `url`, such as `http://127.0.0.1:7077`.
    ///
    /// Fails only on a bad address, for nothing is sent yet. Call it inside a Tokio runtime.
    pub fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder(url).connect()
    }

    /// A client whose settings are still to be chosen.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder {
            url: url.into(),
            timeout: CALL_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            worker_id: None,
            credential: None,
            #[cfg(feature = "tls")]
            tls: Tls::default(),
        }
    }

    /// The name under which this client leases, unless a lease names another.
    pub fn worker_id(&self) -> &str {
        &self.shared.worker_id
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A connection of its own, to whatever the address leads to now.
    pub(crate) fn new_channel(&self) -> Channel {
        Channel::new(self.shared.endpoint.connect_lazy(), self.shared.credential.clone())
    }

    /// The same client over a connection of its own, which lives on the runtime of the caller.
    pub(crate) fn moved_here(&self) -> Self {
        Self { channel: self.new_channel(), shared: self.shared.clone() }
    }

    /// A worker of its own for each stream: a broker lets a worker have only one.
    pub(crate) fn stream_worker_id(&self) -> String {
        match self.shared.streams.fetch_add(1, Ordering::Relaxed) {
            0 => self.worker_id().to_owned(),
            earlier => format!("{}-{}", self.worker_id(), earlier + 1),
        }
    }

    pub(crate) fn late_error(&self) -> Error {
        self.late(self.timeout())
    }

    pub(crate) fn joiner(&self) -> &Joiner {
        &self.shared.joiner
    }

    /// Sends one call of the broker's hot path: see [`call_within`](Self::call_within).
    pub(crate) async fn call<M, R, F>(
        &self,
        message: M,
        send: impl Fn(JobBrokerClient<Channel>, Request<M>) -> F,
    ) -> Result<R>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.call_within(self.timeout(), message, |channel, request| send(broker(channel), request))
            .await
    }

    /// Sends one call of an operator: see [`call_within`](Self::call_within).
    pub(crate) async fn administer<M, R, F>(
        &self,
        message: M,
        send: impl Fn(JobBrokerAdminClient<Channel>, Request<M>) -> F,
    ) -> Result<R>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.administer_within(self.timeout(), message, send).await
    }

    /// As [`administer`](Self::administer), for calls that take their time.
    pub(crate) async fn administer_within<M, R, F>(
        &self,
        timeout: Duration,
        message: M,
        send: impl Fn(JobBrokerAdminClient<Channel>, Request<M>) -> F,
    ) -> Result<R>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.call_within(timeout, message, |channel, request| send(admin(channel), request)).await
    }

    /// Sends a call, and again while it fails with `UNAVAILABLE`, tries and time permitting.
    ///
    /// The deadline bounds all tries together; each tells the broker how much of it is left.
    pub(crate) async fn call_within<M, R, F>(
        &self,
        timeout: Duration,
        message: M,
        send: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<R>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = Instant::now() + timeout;
        let attempt = || async {
            let mut request = Request::new(message.clone());
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            match timeout_at(deadline, send(self.channel.clone(), request)).await {
                Ok(Ok(reply)) => Ok(reply.into_inner()),
                Ok(Err(status)) if !is_deadline(&status) => Err(self.error(&status)),
                Ok(Err(_)) | Err(_) => Err(self.late(timeout)),
            }
        };
        persist(deadline, attempt).await
    }

    /// Opens a stream, in one try: the deadline is for its beginning, not for its life.
    pub(crate) async fn open<M, R, F>(
        &self,
        message: M,
        send: impl FnOnce(JobBrokerClient<Channel>, Request<M>) -> F,
    ) -> Result<R>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let opening = send(broker(self.channel.clone()), Request::new(message));
        match tokio::time::timeout(self.timeout(), opening).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(self.error(&status)),
            Err(_elapsed) => Err(self.late(self.timeout())),
        }
    }

    pub(crate) fn error(&self, status: &Status) -> Error {
        Error::from_call(status, &self.shared.url)
    }

    fn late(&self, timeout: Duration) -> Error {
        late(&self.shared.url, timeout)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.shared.url)
            .field("timeout", &self.shared.timeout)
            .field("worker_id", &self.shared.worker_id)
            .finish_non_exhaustive()
    }
}

/// The settings of a [`Client`]; see [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect`"]
pub struct Builder {
    url: String,
    timeout: Duration,
    connect_timeout: Duration,
    worker_id: Option<String>,
    credential: Option<Result<Credential>>,
    #[cfg(feature = "tls")]
    tls: Tls,
}

/// Whom to trust, and who we are.
#[cfg(feature = "tls")]
#[derive(Clone, Debug, Default)]
struct Tls {
    ca: Option<Certificate>,
    domain: Option<String>,
    identity: Option<Identity>,
}

#[cfg(feature = "tls")]
impl Tls {
    fn config(self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new();
        let config = match self.ca {
            Some(ca) => config.ca_certificate(ca),
            None => config.with_enabled_roots(),
        };
        let config = match self.domain {
            Some(domain) => config.domain_name(domain),
            None => config,
        };
        match self.identity {
            Some(identity) => config.identity(identity),
            None => config,
        }
    }
}

impl Builder {
    /// How long a call may take, its repeats included. Default 10 s.
    ///
    /// A lease may take longer: as long as it waits, and 5 s more.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long opening the connection may take. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The name under which this client leases: unique per process start. Default a random UUID.
    pub fn worker_id(mut self, id: impl Into<String>) -> Self {
        self.worker_id = Some(id.into());
        self
    }

    /// The credential that goes with every call, as `authorization: Bearer`. It is in no message and
    /// no log.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.credential = Some(Credential::fixed(&token.into()));
        self
    }

    /// Asks for the credential of each call, instead of [`token`](Self::token): for tokens that
    /// expire. A stream ends with its credential, and the next one is opened with a new one.
    ///
    /// The function is called often and must not block: let it tell a token that is kept, and renew
    /// that one ahead of its end.
    pub fn token_source(mut self, source: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.credential = Some(Ok(Credential::Source(Arc::new(source))));
        self
    }

    /// Trust the certificates in this PEM text, and no others, to name the broker. Default: those
    /// that the system trusts. For addresses that begin with `https://`.
    #[cfg(feature = "tls")]
    pub fn ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.tls.ca = Some(Certificate::from_pem(pem));
        self
    }

    /// The name in the broker's certificate, where that is not the host of the address.
    #[cfg(feature = "tls")]
    pub fn tls_domain(mut self, name: impl Into<String>) -> Self {
        self.tls.domain = Some(name.into());
        self
    }

    /// The certificate by which the broker knows this client, and its key, as PEM texts.
    #[cfg(feature = "tls")]
    pub fn tls_identity(mut self, cert_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Self {
        self.tls.identity = Some(Identity::from_pem(cert_pem, key_pem));
        self
    }

    /// The client. Fails only on a bad address, token or certificate, for nothing is sent yet.
    ///
    /// Call it inside a Tokio runtime.
    pub fn connect(self) -> Result<Client> {
        let bad = |why: &str| {
            let message = format!("bad broker address {:?}: {why}", self.url);
            Error::local(Code::InvalidArgument, message)
        };
        let endpoint = Endpoint::from_shared(self.url.clone())
            .map_err(|_| bad("write it as http://127.0.0.1:7077"))?;
        let endpoint = match endpoint.uri().scheme_str() {
            Some("http") => endpoint,
            #[cfg(feature = "tls")]
            Some("https") => endpoint
                .tls_config(self.tls.clone().config())
                .map_err(|why| bad(&error::chain(&why)))?,
            #[cfg(not(feature = "tls"))]
            Some("https") => return Err(bad("this client is built without TLS")),
            _ => return Err(bad("it must begin with http:// or https://")),
        };
        let credential = self.credential.transpose()?;
        let endpoint = endpoint
            .user_agent(concat!("lessor-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| bad("it does not fit a header"))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let channel = Channel::new(endpoint.connect_lazy(), credential.clone());
        let joiner = Joiner::new(channel.clone(), self.url.clone(), self.timeout);
        let worker_id = self.worker_id.unwrap_or_else(|| Uuid::new_v4().to_string());
        let (url, timeout, streams) = (self.url, self.timeout, AtomicU64::default());
        let shared = Shared { url, timeout, worker_id, joiner, endpoint, credential, streams };
        Ok(Client { channel, shared: Arc::new(shared) })
    }
}

pub(crate) fn broker(channel: Channel) -> JobBrokerClient<Channel> {
    JobBrokerClient::new(channel).max_decoding_message_size(REPLY_LIMIT)
}

/// A stub of no service, for messages that are bytes already.
pub(crate) fn stub(channel: Channel) -> Grpc<Channel> {
    Grpc::new(channel).max_decoding_message_size(REPLY_LIMIT)
}

fn admin(channel: Channel) -> JobBrokerAdminClient<Channel> {
    JobBrokerAdminClient::new(channel).max_decoding_message_size(REPLY_LIMIT)
}

pub(crate) fn late(url: &str, timeout: Duration) -> Error {
    Error::local(Code::DeadlineExceeded, format!("no answer from {url} in {timeout:?}"))
}

/// Whether the deadline ended the call. Tonic watches it on both sides of the wire and says
/// `CANCELLED` on both, and nothing else cancels a call whose caller still listens.
pub(crate) fn is_deadline(status: &Status) -> bool {
    if status.source().is_some() {
        error::causes(status).any(<dyn StdError>::is::<TimeoutExpired>)
    } else {
        status.code() == Code::Cancelled
    }
}

/// Tries again while the fault is a passing one, as long as tries and time are left.
pub(crate) async fn persist<R, F>(deadline: Instant, attempt: impl FnMut() -> F) -> Result<R>
where
    F: Future<Output = Result<R>>,
{
    attempt
        .retry(PAUSES)
        .when(Error::is_unavailable)
        .adjust(|error, pause| affordable(pause, error, deadline))
        .await
}

/// The pause before the next try: what the broker asked for when that is more. None when the
/// deadline would pass meanwhile: the caller had better hear of the fault now.
pub(crate) fn affordable(
    pause: Option<Duration>,
    error: &Error,
    deadline: Instant,
) -> Option<Duration> {
    let pause = pause?.min(LONGEST_PAUSE).max(error.retry_after().unwrap_or_default());
    (Instant::now() + pause < deadline).then_some(pause)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use backon::BackoffBuilder;

    use super::*;

    #[test]
    fn a_call_is_tried_four_times() {
        let pauses: Vec<Duration> = PAUSES.build().collect();
        let least = [100, 400, 1600].map(Duration::from_millis);
        assert_eq!(pauses.len(), least.len());
        for (pause, least) in pauses.into_iter().zip(least) {
            assert!((least..=2 * least).contains(&pause), "{pause:?} after {least:?}");
        }
    }

    #[tokio::test]
    async fn a_token_is_shown_nowhere() {
        let builder = Client::builder("http://127.0.0.1:7077").token("open sesame");
        assert!(!format!("{builder:?}").contains("sesame"));
        let client = builder.connect().unwrap();
        assert!(!format!("{client:?} {:?}", client.channel).contains("sesame"));

        let source = || "open sesame".to_owned();
        let client = Client::builder("http://127.0.0.1:7077").token_source(source).connect();
        let client = client.unwrap();
        assert!(!format!("{client:?} {:?}", client.channel).contains("sesame"));

        let error = Client::builder("http://127.0.0.1:7077").token("open\nsesame").connect();
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(!error.to_string().contains("sesame"));
    }

    #[tokio::test]
    async fn a_bad_address_is_refused_at_once() {
        for url in ["", "127.0.0.1:7077", "ftp://broker", "http://a b"] {
            let error = Client::connect(url).err();
            assert_eq!(error.map(|it| it.code()), Some(Code::InvalidArgument), "{url:?}");
        }
    }
}
