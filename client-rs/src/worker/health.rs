//! How a worker is, for the probes of its own pod.

use std::fmt;
use std::sync::Arc;

use super::crew::Crew;

/// How a worker is. Cheap to clone; see [`Worker::health`](super::Worker::health).
#[derive(Clone)]
pub struct Health(pub(super) Arc<Crew>);

impl Health {
    /// Whether the worker is connected with a broker. It is not before it runs.
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Whether the worker takes no more jobs, because it is about to end.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining()
    }

    /// How many jobs it runs just now.
    pub fn running(&self) -> usize {
        self.0.running()
    }

    /// The name under which it leases.
    pub fn worker_id(&self) -> &str {
        &self.0.plan.worker_id
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("worker_id", &self.worker_id())
            .field("is_connected", &self.is_connected())
            .field("is_draining", &self.is_draining())
            .field("running", &self.running())
            .finish()
    }
}

#[cfg(feature = "health")]
pub(super) use http::serve;

#[cfg(feature = "health")]
mod http {
    use std::convert::Infallible;
    use std::net::TcpListener;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::header::CONTENT_TYPE;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response, StatusCode};
    use hyper_util::rt::{TokioIo, TokioTimer};
    use tokio::task::JoinSet;

    use super::Health;
    use crate::{Error, Result};

    /// Connections at a time: probes need one or two.
    const MOST: usize = 32;
    /// How long a caller may take to say what it wants.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Answers probes, as long as it is polled.
    pub(in crate::worker) async fn serve(listener: TcpListener, health: Health) -> Result<()> {
        let listener = listen(listener).map_err(|why| {
            let why = format!("the health address cannot be served: {why}");
            Error::local(tonic::Code::Internal, why)
        })?;
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            while connections.len() >= MOST {
                connections.join_next().await;
            }
            while connections.try_join_next().is_some() {}
            let health = health.clone();
            let answer = service_fn(move |request| {
                let answer = answer(&health, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            connections.spawn(async move {
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
                // Who asks badly gets no answer.
                server.serve_connection(TokioIo::new(stream), answer).await.ok();
            });
        }
    }

    fn listen(listener: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    }

    fn answer(health: &Health, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let is_well = request.uri().path() == "/livez" || health.is_connected();
        let body = serde_json::json!({
            "worker_id": health.worker_id(),
            "connected": health.is_connected(),
            "draining": health.is_draining(),
            "running": health.running(),
        });
        let mut response = Response::new(Full::from(format!("{body}\n")));
        if !is_well {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let json = hyper::header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}
