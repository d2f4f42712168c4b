//! Fetches a key set over HTTPS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

/// How long a fetch may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Key sets are a few KiB.
const LIMIT: usize = 1 << 20;

/// Why keys can't be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it took longer than {PATIENCE:?}")]
    Late,
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("{}", causes(.0))]
    Connection(#[from] hyper_util::client::legacy::Error),
    #[error("its answer broke off or has more than {LIMIT} bytes")]
    Body,
}

/// Fetches from one place.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
}

impl Fetcher {
    /// Fails when the system trusts nobody.
    pub(super) fn new(url: Uri) -> Result<Self, std::io::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?;
        let config = if url.scheme() == Some(&http::uri::Scheme::HTTPS) {
            builder.with_native_roots()?
        } else {
            builder.with_root_certificates(RootCertStore::empty())
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .build();
        // Nothing is asked so often that a connection should be kept.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, url })
    }

    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    /// Asks once. Redirects are not followed: keys are where the settings say.
    pub(super) async fn fetch(&self) -> Result<Bytes, Error> {
        let asking = async {
            let request = Request::get(self.url.clone())
                .header(ACCEPT, "application/jwk-set+json, application/json")
                .header(USER_AGENT, concat!("lessor/", env!("CARGO_PKG_VERSION")))
                .body(Empty::new())?;
            let answer = self.client.request(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(Error::Status(answer.status()));
            }
            let body = Limited::new(answer.into_body(), LIMIT).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|_| Error::Body)
        };
        tokio::time::timeout(PATIENCE, asking).await.map_err(|_| Error::Late)?
    }
}

/// An error with what is behind it, for "client error (Connect)" helps nobody.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
