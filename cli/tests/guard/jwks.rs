//! Keys of an identity provider over HTTPS: from whom the system trusts, and from nobody else.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::MEMORY;
use crate::machine::broker::{Broker, serve};
use crate::machine::process::Process;
use crate::tls::{Folder, authority};

/// A provider on this machine, which publishes its keys to whoever trusts its certificate.
struct Provider {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Provider {
    async fn start(folder: &Folder, keys: &str) -> Self {
        let cert = CertificateDer::from_pem_file(folder.path("provider.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.path("provider.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Who does not trust it goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.ok();
            }
        });
        Self { address, _serving: serving }
    }
}

#[tokio::test]
async fn keys_are_taken_from_a_url_whose_certificate_is_trusted_and_from_no_other() {
    let (folder, trusted, others) = (Folder::new(), authority(), authority());
    folder.issue(&trusted, "provider", |_| {});
    folder.trust("trusted.crt", &trusted);
    folder.trust("others.crt", &others);
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_der(&pair.serialize_der());
    let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    public.common.key_id = Some("k1".to_owned());
    let provider = Provider::start(&folder, &json!({ "keys": [public] }).to_string()).await;
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES256) };
    let claims = json!({
        "iss": "id", "aud": "lessor", "sub": "ops", "exp": get_current_timestamp() + 600,
        "lessor": ["viewer:*"],
    });
    let token = encode(&header, &claims, &key).unwrap();

    let url = format!("https://localhost:{}/keys", provider.address.port());
    let flags = ["--auth-jwks", &url, "--auth-jwt-issuer", "id", "--auth-jwt-audience", "lessor"];
    let args = [&MEMORY[..], &flags[..]].concat();
    for (authorities, code, told) in [
        ("trusted.crt", 0, "the keys of JWT were read anew"),
        // That may pass: the call is worth another try.
        ("others.crt", 6, "can't fetch https://localhost"),
    ] {
        let mut command = serve(&args);
        command.env("SSL_CERT_FILE", folder.path(authorities));
        let broker = Broker::ready(Process::spawn(&mut command)).await;
        let queues = Command::new(env!("CARGO_BIN_EXE_lessor"))
            .env_clear()
            .env("LESSOR_TOKEN", &token)
            .args(["queues", "--timeout", "2s", "--server", &broker.url()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&queues.stderr);
        assert_eq!(queues.status.code(), Some(code), "{authorities}: {said}");
        let log = broker.process.stderr();
        assert!(log.contains(told), "{authorities}: {log}");
        assert!(!log.contains(&token) && !said.contains(&token), "the token is told");
    }
}
