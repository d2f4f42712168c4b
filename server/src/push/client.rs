//! The HTTP client: connects to addresses that may be called, and to the very ones it checked.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::Service;

use super::allowed::{Allowed, Refused};

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);

/// Connections to one endpoint that are kept though nobody uses them.
const MOST_IDLE: usize = 32;

/// Looks a name up.
pub(super) type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Sends requests; follows no redirects, and uses no proxy.
#[derive(Clone)]
pub(super) struct HttpClient(Client<HttpsConnector<Guarded>, Full<Bytes>>);

/// What an endpoint answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: http::response::Parts,
    /// The body; `None` when it is longer than it may be.
    pub(super) body: Option<Bytes>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The endpoint may not be called.
    Refused(Refused),
    /// There is no connection: no such name, nobody there, no trust.
    Connect(String),
    /// The connection broke.
    Broken(String),
}

impl HttpClient {
    /// A client that trusts the usual authorities and `more`.
    pub(super) fn new(
        allowed: Allowed,
        more: &[CertificateDer<'static>],
    ) -> Result<Self, rustls::Error> {
        let lookup: Lookup = Arc::new(|name| look_up(name).boxed());
        Self::with_lookup(allowed, more, &lookup)
    }

    fn with_lookup(
        allowed: Allowed,
        more: &[CertificateDer<'static>],
        lookup: &Lookup,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for authority in more {
            roots.add(authority.clone())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Guarded::new(allowed, lookup));
        let mut client = Client::builder(TokioExecutor::new());
        client
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE);
        Ok(Self(client.build(connector)))
    }

    /// Sends a request and reads the answer, of a body at most `limit` bytes.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Reply, Failed> {
        let response = self.0.request(request).await.map_err(|error| failed(&error))?;
        let (head, mut body) = response.map(Box::pin).into_parts();
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failed::Broken(chain(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > limit {
                return Ok(Reply { head, body: None });
            }
            read.extend_from_slice(&data);
        }
        Ok(Reply { head, body: Some(read.freeze()) })
    }
}

fn failed(error: &hyper_util::client::legacy::Error) -> Failed {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(one) = cause {
        // An I/O error hides what it is made of from its sources.
        let inner = one.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let refused = one
            .downcast_ref::<Refused>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref::<Refused>()));
        if let Some(refused) = refused {
            return Failed::Refused(*refused);
        }
        cause = one.source();
    }
    if error.is_connect() { Failed::Connect(chain(error)) } else { Failed::Broken(chain(error)) }
}

/// An error and its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let one_text = one.to_string();
        if !text.ends_with(&one_text) {
            text = format!("{text}: {one_text}");
        }
        cause = one.source();
    }
    text
}

async fn look_up(name: String) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.collect())
}

/// Connects to addresses that may be called. A name is looked up here and nowhere else, so what
/// was checked is what is called.
#[derive(Clone)]
struct Guarded {
    allowed: Arc<Allowed>,
    protected: HttpConnector<Resolver>,
    plain: HttpConnector<Resolver>,
}

impl Guarded {
    fn new(allowed: Allowed, lookup: &Lookup) -> Self {
        let allowed = Arc::new(allowed);
        let connector = |is_plain| {
            let (allowed, lookup) = (Arc::clone(&allowed), Arc::clone(lookup));
            let resolver = Resolver { allowed, lookup, is_plain };
            let mut connector = HttpConnector::new_with_resolver(resolver);
            connector.enforce_http(false);
            connector.set_nodelay(true);
            connector
        };
        let (protected, plain) = (connector(false), connector(true));
        Self { allowed, protected, plain }
    }

    /// A host that is an address is not looked up.
    fn check(&self, uri: &Uri, is_plain: bool) -> Result<(), Refused> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(address) => self.allowed.check(address, is_plain),
            Err(_) => Ok(()),
        }
    }
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.protected.poll_ready(context)? {
            Poll::Ready(()) => self.plain.poll_ready(context).map_err(BoxError::from),
            Poll::Pending => Poll::Pending,
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_plain = uri.scheme() != Some(&http::uri::Scheme::HTTPS);
        if let Err(refused) = self.check(&uri, is_plain) {
            return Box::pin(async move { Err(refused.into()) });
        }
        let connector = if is_plain { &mut self.plain } else { &mut self.protected };
        let connecting = connector.call(uri);
        Box::pin(async move { Ok(connecting.await?) })
    }
}

/// Looks names up and passes on the addresses that may be called.
#[derive(Clone)]
struct Resolver {
    allowed: Arc<Allowed>,
    lookup: Lookup,
    is_plain: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let looking = (self.lookup)(name.as_str().to_owned());
        let (allowed, is_plain) = (Arc::clone(&self.allowed), self.is_plain);
        Box::pin(async move {
            let mut refused = None;
            let mut good = Vec::new();
            for address in looking.await? {
                match allowed.check(address.ip(), is_plain) {
                    Ok(()) => good.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if good.is_empty() => Err(io::Error::other(why)),
                _ => Ok(good.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    fn request(uri: &str) -> Request<Full<Bytes>> {
        Request::post(uri).body(Full::default()).unwrap()
    }

    /// A host that answers one request per connection, at all addresses of this machine.
    async fn host(serving: &mut JoinSet<()>) -> u16 {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _read = stream.read(&mut head).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _written = stream.write_all(answer).await;
            }
        });
        port
    }

    /// A name that has another address at each look.
    fn rebinding() -> Lookup {
        let looks = AtomicU8::new(0);
        Arc::new(move |_| {
            let last = looks.fetch_add(1, Ordering::Relaxed) + 1;
            async move { Ok(vec![([127, 0, 0, last], 0).into()]) }.boxed()
        })
    }

    #[tokio::test]
    async fn a_name_that_moves_to_another_address_is_checked_at_each_connection() {
        let mut serving = JoinSet::new();
        let port = host(&mut serving).await;
        let allowed = Allowed::parse(["127.0.0.1"]).unwrap();
        let client = HttpClient::with_lookup(allowed, &[], &rebinding()).unwrap();
        let uri = format!("http://endpoint.example:{port}/");
        let reply = client.send(request(&uri), 16).await.unwrap();
        assert_eq!(reply.body.unwrap(), "ok");
        let refused = client.send(request(&uri), 16).await;
        let moved = IpAddr::from([127, 0, 0, 2]);
        assert!(matches!(refused, Err(Failed::Refused(Refused::Internal(it))) if it == moved));
    }

    #[tokio::test]
    async fn an_address_is_checked_that_needs_no_look() {
        let client = HttpClient::new(Allowed::default(), &[]).unwrap();
        for uri in ["http://127.0.0.1:1/", "https://127.0.0.1:1/", "https://[::ffff:7f00:1]:1/"] {
            let refused = client.send(request(uri), 16).await;
            assert!(matches!(refused, Err(Failed::Refused(Refused::Internal(_)))), "{uri}");
        }
        let plain = client.send(request("http://1.1.1.1/"), 16).await;
        assert!(matches!(plain, Err(Failed::Refused(Refused::Plain(_)))));
    }

    #[tokio::test]
    async fn of_several_addresses_those_are_called_that_may_be() {
        let mut serving = JoinSet::new();
        let port = host(&mut serving).await;
        let both = || async { Ok(vec![([127, 0, 0, 9], 0).into(), ([127, 0, 0, 1], 0).into()]) };
        let lookup: Lookup = Arc::new(move |_| both().boxed());
        let allowed = Allowed::parse(["127.0.0.1"]).unwrap();
        let client = HttpClient::with_lookup(allowed, &[], &lookup).unwrap();
        let reply = client.send(request(&format!("http://a.example:{port}/")), 16).await;
        assert_eq!(reply.unwrap().head.status, 200);
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_not_read() {
        let mut serving = JoinSet::new();
        let port = host(&mut serving).await;
        let client = HttpClient::new(Allowed::parse(["loopback"]).unwrap(), &[]).unwrap();
        let reply = client.send(request(&format!("http://127.0.0.1:{port}/")), 1).await.unwrap();
        assert_eq!((reply.head.status.as_u16(), reply.body), (200, None));
    }
}
