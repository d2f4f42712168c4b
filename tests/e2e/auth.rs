//! Who may do what: credentials, roles, queues and owners, over the wire.

mod endings;
mod jwt;
mod limits;
mod owners;
mod roles;

use std::fmt::Write;
use std::path::Path;

use http_body_util::Full;
use hyper::StatusCode;
use lessor_proto::v1;
use lessor_proto::v1::job_broker_admin_client::JobBrokerAdminClient;
use lessor_proto::v1::job_broker_client::JobBrokerClient;
use lessor_proto::v1::test_clock_client::TestClockClient;
use lessor_server::auth::secret::Digest;
use lessor_server::config::{RawAuth, RawConfig};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::http::client::Http;
use crate::refusal::Refusal;
use crate::server::{Server, Store, configured_case, guarded_case, request, seconds};

/// Who there is. The token of each is its name and `-token`.
const IDENTITIES: [(&str, &str); 9] = [
    ("web", "roles = ['producer']\nqueues = ['mail*']"),
    ("shop", "roles = ['producer']\nqueues = ['mail*']"),
    ("backend", "roles = ['producer', 'act-as']\nqueues = ['mail*']"),
    ("worker", "roles = ['worker']\nqueues = ['mail*']"),
    ("viewer", "roles = ['viewer']\nqueues = ['*']"),
    ("mail-viewer", "roles = ['viewer']\nqueues = ['mail*']"),
    ("operator", "roles = ['operator']\nqueues = ['mail*']"),
    ("self", "roles = ['producer', 'operator']\nqueues = ['mail*']\nown_jobs = true"),
    ("admin", "roles = ['admin']\nqueues = ['*']"),
];

fn token_of(name: &str) -> String {
    format!("{name}-token")
}

/// The file of identities, one of whom has this token beside its own.
fn identities(more: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, grant) in IDENTITIES {
        let more = more.iter().filter(|(of, _)| *of == name).map(|(_, token)| (*token).to_owned());
        let tokens: Vec<String> = std::iter::once(token_of(name))
            .chain(more)
            .map(|token| format!("'{}'", Digest::of(&token)))
            .collect();
        let tokens = tokens.join(", ");
        writeln!(text, "[[identity]]\nname = '{name}'\ntokens = [{tokens}]\n{grant}").unwrap();
    }
    text
}

/// Runs one case against a broker in memory that knows these identities.
async fn guarded(case: impl AsyncFnOnce(&mut Server)) {
    let all = identities(&[]);
    guarded_case(Store::Sqlite, &all, async |server, _: &Path| case(server).await).await;
}

/// Runs one case against a broker in memory that knows these identities, and whose clock stands
/// still.
async fn standing(auth: RawAuth, identities: &str, case: impl AsyncFnOnce(&mut Server, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    std::fs::write(&path, identities).unwrap();
    let auth = RawAuth { tokens: Some(path.clone()), ..auth };
    let settings = RawConfig { auth, manual_clock: Some(true), ..RawConfig::default() };
    configured_case(settings, async |server: &mut Server| case(server, &path).await).await;
}

/// Moves the clock of a standing broker.
async fn advance(server: &Server, span: i64) {
    let request = v1::AdvanceClockRequest { duration: Some(seconds(span)) };
    TestClockClient::new(channel(server, "admin")).advance_clock(request).await.unwrap();
}

/// Sends a header with each call.
#[derive(Clone)]
struct Header(Option<AsciiMetadataValue>);

impl Interceptor for Header {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Guarded = InterceptedService<Channel, Header>;

/// A connection whose calls have this header.
fn with_header(server: &Server, value: Option<&str>) -> Guarded {
    InterceptedService::new(server.channel(), Header(value.map(|it| it.parse().unwrap())))
}

/// A connection of somebody known.
fn channel(server: &Server, name: &str) -> Guarded {
    with_header(server, Some(&format!("Bearer {}", token_of(name))))
}

fn broker(server: &Server, name: &str) -> JobBrokerClient<Guarded> {
    JobBrokerClient::new(channel(server, name))
}

fn admin(server: &Server, name: &str) -> JobBrokerAdminClient<Guarded> {
    JobBrokerAdminClient::new(channel(server, name))
}

/// Enqueues a job and answers it.
async fn enqueued(server: &Server, name: &str, request: v1::EnqueueRequest) -> v1::Job {
    *broker(server, name).enqueue(request).await.unwrap().into_inner().job.unwrap()
}

fn read(name: &str) -> v1::GetJobRequest {
    v1::GetJobRequest { name: name.to_owned(), ..v1::GetJobRequest::default() }
}

#[tokio::test]
async fn without_a_good_token_no_call_is_made() {
    guarded(async |server| {
        let headers = [
            None,
            Some("Bearer nobody-token"),
            Some("Bearer "),
            Some("web-token"),
            Some("Basic d2ViOndlYi10b2tlbg=="),
        ];
        for header in headers {
            let mut broker = JobBrokerClient::new(with_header(server, header));
            let refusal = Refusal::of(broker.enqueue(request("mail")).await);
            assert_eq!(refusal.code, Code::Unauthenticated, "{header:?}");
            assert_eq!(refusal.reason, "NO_CREDENTIAL", "{header:?}");
            assert!(!refusal.message.contains("nobody-token"), "{}", refusal.message);
        }
        assert!(broker(server, "web").enqueue(request("mail")).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn health_is_told_to_everybody_and_reflection_to_whoever_is_known() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    guarded(async |server| {
        let mut health = HealthClient::new(server.channel());
        assert!(health.check(HealthCheckRequest::default()).await.is_ok());
        let asked = || futures_util::stream::iter([ServerReflectionRequest::default()]);
        let mut stranger = ServerReflectionClient::new(server.channel());
        let refusal = Refusal::of(stranger.server_reflection_info(asked()).await);
        assert_eq!(refusal.code, Code::Unauthenticated);
        let mut known = ServerReflectionClient::new(channel(server, "worker"));
        assert!(known.server_reflection_info(asked()).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn tokens_are_changed_without_a_restart() {
    let both = identities(&[("web", "next-token")]);
    guarded_case(Store::Sqlite, &identities(&[]), async |server, path: &Path| {
        let next = with_header(server, Some("Bearer next-token"));
        let mut next = JobBrokerClient::new(next);
        assert!(next.enqueue(request("mail")).await.is_err());
        std::fs::write(path, &both).unwrap();
        // Nothing tells when the broker has looked; so it is asked.
        while next.enqueue(request("mail")).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(broker(server, "web").enqueue(request("mail")).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn the_numbers_of_all_queues_are_for_viewers_of_all_queues() {
    guarded(async |server| {
        let mut http = Http::one(server.address).await;
        for (name, status) in [
            (None, StatusCode::UNAUTHORIZED),
            (Some("nobody"), StatusCode::UNAUTHORIZED),
            (Some("worker"), StatusCode::FORBIDDEN),
            (Some("mail-viewer"), StatusCode::FORBIDDEN),
            (Some("viewer"), StatusCode::OK),
            (Some("admin"), StatusCode::OK),
        ] {
            let mut asked = hyper::Request::get("/metrics");
            if let Some(name) = name {
                asked = asked.header("authorization", format!("Bearer {}", token_of(name)));
            }
            let answer = http.ask(asked.body(Full::default()).unwrap()).await;
            assert_eq!(answer.status, status, "{name:?}: {}", answer.text());
        }
        assert_eq!(http.get("/livez").await.status, StatusCode::OK);
    })
    .await;
}
