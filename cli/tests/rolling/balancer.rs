//! One address for several brokers: connections go in turn to those that are ready, as `/readyz`
//! says every now and then. Like a service of Kubernetes, it hears of a broker's end a little late.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::machine::pause;

/// How often a broker is asked.
const PERIOD: Duration = Duration::from_millis(100);

/// Where a broker serves calls, and where its pages.
#[derive(Clone, Copy)]
pub(crate) struct Backend {
    pub(crate) calls: SocketAddr,
    pub(crate) pages: SocketAddr,
}

pub(crate) struct Balancer {
    address: SocketAddr,
    ready: Vec<watch::Receiver<bool>>,
    _serving: JoinSet<()>,
}

impl Balancer {
    pub(crate) async fn before(backends: &[Backend]) -> Self {
        let mut serving = JoinSet::new();
        let mut ready = Vec::new();
        for backend in backends {
            let (tell, told) = watch::channel(false);
            serving.spawn(probe(backend.pages, tell));
            ready.push(told);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        serving.spawn(serve(listener, backends.to_vec(), ready.clone()));
        Self { address, ready, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it knows that this broker is ready.
    pub(crate) async fn knows(&self, broker: usize) {
        self.ready[broker].clone().wait_for(|is_ready| *is_ready).await.unwrap();
    }
}

async fn probe(pages: SocketAddr, tell: watch::Sender<bool>) {
    loop {
        let is_ready = is_ready(pages).await.unwrap_or(false);
        tell.send_if_modified(|known| std::mem::replace(known, is_ready) != is_ready);
        pause(PERIOD).await;
    }
}

async fn is_ready(pages: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(pages).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

async fn serve(listener: TcpListener, backends: Vec<Backend>, ready: Vec<watch::Receiver<bool>>) {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut pipes = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let start = turn.fetch_add(1, Ordering::Relaxed);
        let mut order = (0..backends.len()).map(|step| (start + step) % backends.len());
        // Without a broker, or with one that is gone, the connection is closed: like a refusal.
        if let Some(chosen) = order.find(|broker| *ready[*broker].borrow()) {
            pipes.spawn(pipe(client, backends[chosen].calls));
        }
        while pipes.try_join_next().is_some() {}
    }
}

async fn pipe(client: TcpStream, broker: SocketAddr) {
    let Ok(broker) = TcpStream::connect(broker).await else { return };
    client.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    let ((from_client, to_client), (from_broker, to_broker)) =
        (client.into_split(), broker.into_split());
    join(pass(from_client, to_broker), pass(from_broker, to_client)).await;
}

/// Passes on what comes until its end; the other direction has an end of its own.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _broken = copy(&mut from, &mut to).await;
    let _gone = to.shutdown().await;
}
