//! TLS: certificates of the broker, of its callers, and new ones while it runs.

use std::path::Path;

use lessor_proto::v1;
use lessor_proto::v1::job_broker_client::JobBrokerClient;
use lessor_server::config::{RawAuth, RawConfig, RawTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::refusal::Refusal;
use crate::server::{Server, configured_case, lease, request};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key.
fn issue(by: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

/// Writes the broker's certificate and key.
fn install(folder: &Path, (cert, key): &(String, String)) -> RawTls {
    let (cert_path, key_path) = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&cert_path, cert).unwrap();
    std::fs::write(&key_path, key).unwrap();
    RawTls { cert: Some(cert_path), key: Some(key_path), client_ca: None }
}

fn trusting(by: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(by.as_ref().pem()))
        .domain_name("localhost")
}

fn client(server: &Server, tls: ClientTlsConfig) -> JobBrokerClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("https://{}", server.address)).unwrap();
    JobBrokerClient::new(endpoint.tls_config(tls).unwrap().connect_lazy())
}

async fn enqueue(mut client: JobBrokerClient<Channel>) -> Result<(), Status> {
    client.enqueue(request("mail")).await.map(|_| ())
}

#[tokio::test]
async fn a_caller_that_trusts_the_broker_is_served_and_a_plain_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (authority(), authority());
    let tls = install(folder.path(), &issue(&ours, "localhost"));
    configured_case(RawConfig { tls, ..RawConfig::default() }, async |server: &mut Server| {
        enqueue(client(server, trusting(&ours))).await.unwrap();
        assert!(enqueue(client(server, trusting(&others))).await.is_err());
        assert!(enqueue(server.broker()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn silent_handshakes_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let tls = install(folder.path(), &issue(&ours, "localhost"));
    configured_case(RawConfig { tls, ..RawConfig::default() }, async |server: &mut Server| {
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        enqueue(client(server, trusting(&ours))).await.unwrap();
        drop(silent);
    })
    .await;
}

#[tokio::test]
async fn certificates_are_changed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (authority(), authority());
    let tls = install(folder.path(), &issue(&old, "localhost"));
    configured_case(RawConfig { tls, ..RawConfig::default() }, async |server: &mut Server| {
        let before = client(server, trusting(&old));
        enqueue(before.clone()).await.unwrap();
        // A key that does not fit changes nothing.
        std::fs::write(folder.path().join("tls.key"), "nonsense").unwrap();
        enqueue(client(server, trusting(&old))).await.unwrap();
        install(folder.path(), &issue(&new, "localhost"));
        // Nothing tells when the broker has looked; so it is asked.
        while enqueue(client(server, trusting(&new))).await.is_err() {
            tokio::task::yield_now().await;
        }
        // A connection that is open goes on.
        enqueue(before).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_certificate_says_who_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, clients, strangers) = (authority(), authority(), authority());
    let mut tls = install(folder.path(), &issue(&ours, "localhost"));
    let client_ca = folder.path().join("clients.crt");
    std::fs::write(&client_ca, clients.as_ref().pem()).unwrap();
    tls.client_ca = Some(client_ca);
    let identities = folder.path().join("tokens.toml");
    std::fs::write(
        &identities,
        "[[identity]]\nname = 'worker'\nroles = ['worker']\nqueues = ['*']\n\
         certificates = ['dns:worker.example']",
    )
    .unwrap();
    let auth = RawAuth { tokens: Some(identities), ..RawAuth::default() };
    configured_case(
        RawConfig { tls, auth, ..RawConfig::default() },
        async |server: &mut Server| {
            let with = |(cert, key): (String, String)| {
                client(server, trusting(&ours).identity(Identity::from_pem(cert, key)))
            };
            let mut worker = with(issue(&clients, "worker.example"));
            assert!(worker.lease(lease("mail")).await.is_ok());
            let refusal = Refusal::of(worker.enqueue(request("mail")).await);
            assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "ROLE"));
            let unknown = with(issue(&clients, "unknown.example")).lease(lease("mail")).await;
            assert_eq!(Refusal::of(unknown).code, Code::Unauthenticated);
            let nobody = client(server, trusting(&ours)).lease(lease("mail")).await;
            assert_eq!(Refusal::of(nobody).code, Code::Unauthenticated);
            // Whom nobody vouches for does not even get to call.
            let stranger = with(issue(&strangers, "worker.example")).lease(lease("mail")).await;
            let stranger: Result<tonic::Response<v1::LeaseResponse>, Status> = stranger;
            assert_ne!(stranger.unwrap_err().code(), Code::Unauthenticated);
        },
    )
    .await;
}
