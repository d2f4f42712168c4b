//! A TCP relay between client and broker that holds back what the broker says, or breaks connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    present: Mutex<Present>,
}

/// The fate of the present connections.
#[derive(Clone, Default)]
struct Present {
    /// Nothing comes back any more.
    silent: CancellationToken,
    cut: CancellationToken,
}

impl Relay {
    pub(crate) async fn to(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let mut serving = JoinSet::new();
        let served = shared.clone();
        serving.spawn(async move {
            let mut pumps = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(broker) = TcpStream::connect(broker).await else { continue };
                served.connections.fetch_add(1, Ordering::Relaxed);
                let present = served.present.lock().unwrap().clone();
                client.set_nodelay(true).unwrap();
                broker.set_nodelay(true).unwrap();
                let ((from_client, to_client), (from_broker, to_broker)) =
                    (client.into_split(), broker.into_split());
                let never = CancellationToken::new();
                pumps.spawn(pump(from_client, to_broker, present.cut.clone(), never));
                pumps.spawn(pump(from_broker, to_client, present.cut, present.silent));
            }
        });
        Self { address, shared, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made through it.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Nothing comes back on the present connections. They stay, and new ones are passed on.
    pub(crate) fn silence(&self) {
        let mut present = self.shared.present.lock().unwrap();
        present.silent.cancel();
        present.silent = CancellationToken::new();
    }

    /// Breaks the connections that were silenced, and all others. New ones are passed on.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.shared.present.lock().unwrap()).cut.cancel();
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    cut: CancellationToken,
    silent: CancellationToken,
) {
    let passing = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = from.read(&mut buffer).await.unwrap_or_default();
            if count == 0 {
                break;
            }
            if silent.is_cancelled() {
                // What comes back is lost with its connection.
                continue;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        () = cut.cancelled() => {}
        () = passing => {}
    }
}
