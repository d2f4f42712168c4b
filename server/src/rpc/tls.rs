//! Connections: plain ones, or TLS with keys that may be replaced while the broker runs.
//!
//! Handshakes run side by side, each for a limited time. When too many are under way the oldest one
//! is given up: a good one takes milliseconds, so whoever only holds the line keeps nobody out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::Stream;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpIncoming};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::auth::Peer;
use crate::clock::{Clock, Timestamp};
use crate::files::{self, Trouble, Unreadable, Watched};

/// Handshakes under way at once.
const MOST_HANDSHAKES: usize = 1024;

/// Which files hold what TLS needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The broker's certificate and those that vouch for it, in PEM.
    pub cert: PathBuf,
    /// The key of the certificate, in PEM.
    pub key: PathBuf,
    /// The authorities that vouch for callers, in PEM; `None`: callers show no certificate.
    pub client_ca: Option<PathBuf>,
    /// A caller without a certificate is not let in.
    pub is_client_required: bool,
}

/// Why TLS can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A file does not hold what it should.
    #[error("{path}: {why}", path = path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What handshakes are made with.
pub(crate) type Keys = Arc<ArcSwap<ServerConfig>>;

/// Keeps [`Keys`] as their files say.
pub(crate) struct KeyKeeping {
    files: TlsFiles,
    watched: Watched,
    keys: Keys,
    trouble: Trouble,
}

/// Reads certificates and key.
pub(crate) fn open(files: TlsFiles) -> Result<(Keys, KeyKeeping), Error> {
    let mut paths = vec![files.cert.clone(), files.key.clone()];
    paths.extend(files.client_ca.clone());
    let (watched, contents) = Watched::open(paths)?;
    let keys = Arc::new(ArcSwap::from_pointee(configure(&files, &contents)?));
    let keeping =
        KeyKeeping { files, watched, keys: Arc::clone(&keys), trouble: Trouble::default() };
    Ok((keys, keeping))
}

impl KeyKeeping {
    /// Looks at the files until `stop`. Broken ones change nothing: the old keys hold.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(Clock::pause(files::LOOK)).await.is_some() {
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let renewed = match self.watched.changed().await {
            Ok(None) => return,
            Ok(Some(contents)) => configure(&self.files, &contents),
            Err(error) => Err(error.into()),
        };
        match renewed {
            Ok(config) => {
                tracing::info!("the certificates were read anew");
                self.keys.store(Arc::new(config));
                self.trouble.is_over();
            }
            Err(error) => {
                self.trouble.is(&error.to_string(), "the certificates stay as they were");
            }
        }
    }
}

fn configure(files: &TlsFiles, contents: &[Vec<u8>]) -> Result<ServerConfig, Error> {
    let [cert, key, authorities @ ..] = contents else {
        return Err(unfit(&files.cert, "is missing"));
    };
    let chain = certificates(&files.cert, cert)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|why| unfit(&files.key, &format!("holds no key: {why}")))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|why| unfit(&files.cert, &why.to_string()))?;
    let builder = match (&files.client_ca, authorities) {
        (Some(path), [pem, ..]) => {
            let verifier = verifier(path, pem, provider, files.is_client_required)?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|why| unfit(&files.key, &format!("does not fit the certificate: {why}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(
    path: &Path,
    pem: &[u8],
    provider: Arc<CryptoProvider>,
    is_required: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, pem)? {
        roots.add(authority).map_err(|why| unfit(path, &why.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|why| unfit(path, &why.to_string()))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(read) if !read.is_empty() => {
            // Else the key would be blamed for it.
            match read.iter().find_map(|it| X509Certificate::from_der(it).err()) {
                None => Ok(read),
                Some(why) => Err(unfit(path, &format!("holds a broken certificate: {why}"))),
            }
        }
        Ok(_) => Err(unfit(path, "holds no certificate")),
        Err(why) => Err(unfit(path, &format!("holds no certificate: {why}"))),
    }
}

fn unfit(path: &Path, why: &str) -> Error {
    Error::Unfit { path: path.to_path_buf(), why: why.to_owned() }
}

type Handshake = BoxFuture<'static, (u64, Option<Connection>)>;

/// The connections of a listener, their handshakes done.
pub(super) struct Incoming {
    tcp: TcpIncoming,
    keys: Option<Keys>,
    /// How long a handshake may take.
    patience: Duration,
    handshakes: FuturesUnordered<Handshake>,
    /// What gives up each of them, the oldest first.
    handles: BTreeMap<u64, AbortHandle>,
    begun: u64,
}

impl Incoming {
    pub(super) fn new(tcp: TcpIncoming, keys: Option<Keys>, patience: Duration) -> Self {
        let handshakes = FuturesUnordered::new();
        Self { tcp, keys, patience, handshakes, handles: BTreeMap::new(), begun: 0 }
    }

    fn begin(&mut self, stream: TcpStream, keys: &Keys) {
        if self.handles.len() >= MOST_HANDSHAKES
            && let Some((_, oldest)) = self.handles.pop_first()
        {
            oldest.abort();
        }
        let number = self.begun;
        self.begun += 1;
        let (handshake, handle) = abortable(shake_hands(stream, keys.load_full(), self.patience));
        self.handles.insert(number, handle);
        self.handshakes.push(Box::pin(async move { (number, handshake.await.ok().flatten()) }));
    }
}

async fn shake_hands(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    patience: Duration,
) -> Option<Connection> {
    let accepting = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(patience, accepting).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let peer = certificate.map_or_else(Peer::default, |it| peer(it));
            Some(Connection::Tls(Box::new(stream), peer))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// The names in a certificate, by which its owner is known, and when it ends.
fn peer(certificate: &CertificateDer<'_>) -> Peer {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Peer::default();
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names = Vec::new();
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::URI(uri) => names.push(format!("uri:{uri}")),
            GeneralName::DNSName(name) => names.push(format!("dns:{name}")),
            _ => {}
        }
    }
    let common = certificate.subject().iter_common_name();
    names.extend(common.filter_map(|name| Some(format!("cn:{}", name.as_str().ok()?))));
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    let ends = Timestamp::from_millis(seconds.saturating_mul(1000));
    Peer { names: names.into(), ends: Some(ends) }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Connection>>> {
        loop {
            while let Poll::Ready(Some((number, done))) =
                Pin::new(&mut self.handshakes).poll_next(context)
            {
                self.handles.remove(&number);
                if let Some(connection) = done {
                    return Poll::Ready(Some(Ok(connection)));
                }
            }
            let accepted = ready!(Pin::new(&mut self.tcp).poll_next(context));
            let stream = match accepted {
                Some(Ok(stream)) => stream,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match self.keys.clone() {
                Some(keys) => self.begin(stream, &keys),
                None => return Poll::Ready(Some(Ok(Connection::Plain(stream)))),
            }
        }
    }
}

/// A connection to a caller.
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>, Peer),
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        match self {
            Self::Plain(_) => Peer::default(),
            Self::Tls(_, peer) => peer.clone(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
