//! The door: how many connections there are, and how soon each says what it wants.
//!
//! A connection over the limit is closed at once, so that its client tries another broker. One that
//! has not begun a request in time is closed too: HTTP/2 begins with its preface, HTTP/1 with the
//! whole head of its first request. Later heads are bound by hyper.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

use crate::clock::Clock;

/// How many connections there may be, and how long each may take to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub most: usize,
    /// What a TLS handshake may take, and after it the beginning of the first request.
    pub handshake: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { most: 10_000, handshake: Duration::from_secs(10) }
    }
}

/// The pause after a connection that could not be accepted, for want of file descriptors say: else
/// the next one is tried without end.
const BREATH: Duration = Duration::from_millis(100);

/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest head of a first request of HTTP/1.
const MOST_HEAD: usize = 64 << 10;

/// Lets connections in.
pub(super) struct Door<S> {
    incoming: S,
    limits: ConnectionLimits,
    room: Arc<Semaphore>,
    /// Whether it was said that there is no room.
    is_full: bool,
    pause: Option<BoxFuture<'static, ()>>,
}

impl<S> Door<S> {
    pub(super) fn new(incoming: S, limits: ConnectionLimits) -> Self {
        let room = Arc::new(Semaphore::new(limits.most));
        Self { incoming, limits, room, is_full: false, pause: None }
    }

    fn admit<C>(&mut self, connection: C) -> Option<Guest<C>> {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            if !self.is_full {
                let most = self.limits.most;
                tracing::warn!(most, "no more connections are taken: see connections.max");
            }
            self.is_full = true;
            return None;
        };
        // Said anew only when there was room for some.
        self.is_full &= self.room.available_permits() <= self.limits.most / 10;
        let greeting = Some(Greeting::within(self.limits.handshake));
        Some(Guest { connection, greeting, _place: place })
    }
}

impl<S, C> Stream for Door<S>
where
    S: Stream<Item = io::Result<C>> + Unpin,
{
    type Item = io::Result<Guest<C>>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Guest<C>>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.poll_unpin(context));
                self.pause = None;
            }
            match ready!(Pin::new(&mut self.incoming).poll_next(context)) {
                Some(Ok(connection)) => {
                    if let Some(guest) = self.admit(connection) {
                        return Poll::Ready(Some(Ok(guest)));
                    }
                }
                Some(Err(error)) if is_of_the_peer(&error) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "can't accept a connection");
                    self.pause = Some(Clock::pause(BREATH).boxed());
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

/// The peer was gone before its connection was taken.
fn is_of_the_peer(error: &io::Error) -> bool {
    let gone =
        [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused];
    gone.contains(&error.kind())
}

/// A connection that was let in.
pub(super) struct Guest<C> {
    connection: C,
    /// What is still awaited.
    greeting: Option<Greeting>,
    _place: OwnedSemaphorePermit,
}

impl<C: Connected> Connected for Guest<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> C::ConnectInfo {
        self.connection.connect_info()
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Guest<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let Some(greeting) = &mut me.greeting else {
            return Pin::new(&mut me.connection).poll_read(context, buffer);
        };
        if greeting.deadline.poll_unpin(context).is_ready() {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut me.connection).poll_read(context, buffer))?;
        let said = buffer.filled().get(before..).unwrap_or_default();
        if greeting.hear(said)? {
            me.greeting = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Guest<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(context)
    }
}

/// The beginning of what a peer says.
struct Greeting {
    deadline: BoxFuture<'static, ()>,
    said: usize,
    /// All of it is that of HTTP/2.
    is_preface: bool,
    /// The last line so far is empty.
    is_blank: bool,
}

impl Greeting {
    fn within(span: Duration) -> Self {
        let deadline = Clock::pause(span).boxed();
        Self { deadline, said: 0, is_preface: true, is_blank: false }
    }

    /// Whether the greeting is complete with these bytes.
    fn hear(&mut self, bytes: &[u8]) -> io::Result<bool> {
        for byte in bytes {
            self.is_preface &= PREFACE.get(self.said) == Some(byte);
            self.said += 1;
            let is_head = *byte == b'\n' && self.is_blank && !self.is_preface;
            if is_head || (self.is_preface && self.said == PREFACE.len()) {
                return Ok(true);
            }
            match byte {
                b'\n' => self.is_blank = true,
                b'\r' => {}
                _ => self.is_blank = false,
            }
        }
        if self.said > MOST_HEAD {
            return Err(io::Error::new(ErrorKind::InvalidData, "the head is too long"));
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LIMITS: ConnectionLimits =
        ConnectionLimits { most: 2, handshake: Duration::from_secs(10) };

    fn door(
        arrivals: Vec<io::Result<DuplexStream>>,
    ) -> Door<impl Stream<Item = io::Result<DuplexStream>> + Unpin> {
        Door::new(stream::iter(arrivals), LIMITS)
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_is_closed_until_there_is_room() {
        let (mut outside, inside): (Vec<_>, Vec<_>) = (0..4).map(|_| duplex(64)).unzip();
        let [one, two, three, four]: [DuplexStream; 4] = inside.try_into().unwrap();
        let (late, arrivals) = tokio::sync::mpsc::unbounded_channel();
        let mut door =
            Door::new(tokio_stream::wrappers::UnboundedReceiverStream::new(arrivals), LIMITS);
        for early in [one, two, three] {
            late.send(Ok(early)).unwrap();
        }
        let guests = [door.next().await.unwrap().unwrap(), door.next().await.unwrap().unwrap()];
        assert!(door.next().now_or_never().is_none());
        assert_eq!(outside[2].read(&mut [0; 8]).await.unwrap(), 0);
        drop(guests);
        late.send(Ok(four)).unwrap();
        assert!(door.next().await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_to_accept_is_followed_by_a_pause() {
        let (_outside, inside) = duplex(64);
        let none_left = io::Error::other("too many open files");
        let gone = io::Error::from(ErrorKind::ConnectionAborted);
        let mut door = door(vec![Err(gone), Err(none_left), Ok(inside)]);
        let early = tokio::time::timeout(BREATH.mul_f64(0.9), door.next());
        assert!(early.await.is_err());
        assert!(door.next().await.unwrap().is_ok());
    }

    /// Says these things, one after another, and answers whether the connection is open after the
    /// time for a greeting.
    async fn stays_open(said: &[&[u8]]) -> bool {
        let (mut outside, inside) = duplex(1 << 20);
        let mut guest = door(vec![Ok(inside)]).next().await.unwrap().unwrap();
        let mut heard = vec![0; 1 << 20];
        assert!(guest.read(&mut heard).now_or_never().is_none());
        for words in said {
            outside.write_all(words).await.unwrap();
            if guest.read(&mut heard).await.is_err() {
                return false;
            }
        }
        tokio::time::advance(LIMITS.handshake).await;
        outside.write_all(b"more").await.unwrap();
        guest.read(&mut heard).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_begin_in_time_is_closed() {
        let long = vec![b'x'; MOST_HEAD + 1];
        let table: [(&[&[u8]], bool); 9] = [
            (&[], false),
            (&[b"PRI * HTTP/2.0\r\n\r\n"], false),
            (&[PREFACE], true),
            (&[b"PRI * HTT", b"P/2.0\r\n\r\nSM\r\n\r\n"], true),
            (&[b"GET / HTTP/1.1\r\n", b"host: a\r\n"], false),
            (&[b"GET / HTTP/1.1\r\nhost: a\r\n\r", b"\n"], true),
            (&[b"PROPFIND / HTTP/1.1\n\nbody"], true),
            (&[b"POST / HTTP/1.1\r\n\r\n\0\0"], true),
            (&[b"GET / HTTP/1.1\r\nx: ", &long], false),
        ];
        for (said, expected) in table {
            let text: Vec<_> = said.iter().map(|words| String::from_utf8_lossy(words)).collect();
            assert_eq!(stays_open(said).await, expected, "{text:?}");
        }
    }
}
