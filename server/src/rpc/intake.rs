//! What has come of messages that are not complete: no more of it, over all calls, than a bound.
//!
//! A message is kept until its last byte is there. Who begins messages and does not end them would
//! fill the memory; so when there is too much, the oldest such message is given up, and its call
//! fails. One that is really being sent takes milliseconds, so it is hardly ever the oldest.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;

use super::status::{Fault, Reason};

/// Bytes of incomplete messages, over all calls.
const MOST: usize = 64 << 20;

/// Before each message: a flag and the length.
const PREFIX: usize = 5;

/// Watches over incomplete messages; clones share what they know.
#[derive(Clone)]
pub(super) struct Intake(Arc<Mutex<Pile>>);

impl Default for Intake {
    fn default() -> Self {
        Self::with_room_for(MOST)
    }
}

impl Intake {
    fn with_room_for(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Pile { most, bytes: 0, begun: 0, parts: BTreeMap::new() })))
    }

    /// Watches over the messages of a request: framed ones, or a single one that is all of it.
    pub(super) fn watch(&self, request: Request<Body>, framing: Framing) -> Request<Body> {
        if request.body().is_end_stream() {
            return request;
        }
        request.map(|body| Body::new(Watched { body, framing, part: None, intake: self.clone() }))
    }
}

/// The incomplete messages.
struct Pile {
    most: usize,
    bytes: usize,
    /// Messages so far that were seen incomplete.
    begun: u64,
    /// The oldest first.
    parts: BTreeMap<u64, (usize, Arc<Notice>)>,
}

/// Tells a call that its message is given up.
#[derive(Default)]
struct Notice {
    is_given_up: AtomicBool,
    waker: AtomicWaker,
}

/// An incomplete message that the pile knows.
struct Part {
    number: u64,
    notice: Arc<Notice>,
}

impl Pile {
    fn grow(&mut self, part: &mut Option<Part>, bytes: usize) {
        let part = part.get_or_insert_with(|| {
            self.begun += 1;
            Part { number: self.begun, notice: Arc::default() }
        });
        let (held, _) =
            self.parts.entry(part.number).or_insert_with(|| (0, Arc::clone(&part.notice)));
        self.bytes = self.bytes - *held + bytes;
        *held = bytes;
        while self.bytes > self.most
            && let Some((_, (bytes, notice))) = self.parts.pop_first()
        {
            self.bytes -= bytes;
            notice.is_given_up.store(true, Ordering::Release);
            notice.waker.wake();
        }
    }

    fn forget(&mut self, part: &Part) {
        if let Some((bytes, _)) = self.parts.remove(&part.number) {
            self.bytes -= bytes;
        }
    }
}

/// Where messages end.
pub(super) enum Framing {
    /// Each begins with its length, as in gRPC.
    Lengths(Lengths),
    /// The body is one message; so much of it came.
    Whole(usize),
}

impl Framing {
    pub(super) fn lengths() -> Self {
        Self::Lengths(Lengths::default())
    }

    /// How much of a message is incomplete with these bytes.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Lengths(lengths) => lengths.feed(bytes),
            Self::Whole(came) => {
                *came += bytes.len();
                *came
            }
        }
    }
}

/// How far a message that begins with its length has come.
#[derive(Default)]
pub(super) struct Lengths {
    prefix: [u8; PREFIX],
    /// Bytes of the message so far, the prefix among them; 0 between two messages.
    came: usize,
    /// Bytes of the message that are to come, once the prefix is there.
    left: usize,
}

impl Lengths {
    fn feed(&mut self, mut bytes: &[u8]) -> usize {
        while let Some(first) = bytes.first() {
            let taken = if let Some(place) = self.prefix.get_mut(self.came) {
                *place = *first;
                1
            } else {
                self.left.min(bytes.len())
            };
            self.came += taken;
            if self.came == PREFIX {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length) as usize;
            } else if self.came > PREFIX {
                self.left -= taken;
            }
            if self.came >= PREFIX && self.left == 0 {
                self.came = 0;
            }
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        self.came
    }
}

/// A body whose messages are watched.
struct Watched {
    body: Body,
    framing: Framing,
    part: Option<Part>,
    intake: Intake,
}

impl Watched {
    fn note(&mut self, incomplete: usize) {
        if incomplete > 0 {
            self.intake.0.lock().grow(&mut self.part, incomplete);
        } else if let Some(part) = self.part.take() {
            self.intake.0.lock().forget(&part);
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(part) = &self.part {
            part.notice.waker.register(context.waker());
            if part.notice.is_given_up.load(Ordering::Acquire) {
                let why = "too much of messages that are not complete: the oldest are given up";
                let fault = Fault::new(Reason::RateLimited, why);
                return Poll::Ready(Some(Err(fault.into())));
            }
        }
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let incomplete = self.framing.feed(data);
                    self.note(incomplete);
                }
            }
            None | Some(Err(_)) => self.note(0),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.note(0);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// A message of so many bytes, of which these come first.
    fn message(length: u32, come: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX + come, 7);
        bytes
    }

    #[test]
    fn messages_are_followed_over_any_cuts() {
        let all = [message(3, 3), message(0, 0), message(300, 300), message(10, 4)].concat();
        for cut in 1..all.len() {
            let mut lengths = Lengths::default();
            let incomplete = all.chunks(cut).map(|part| lengths.feed(part)).last();
            assert_eq!(incomplete, Some(PREFIX + 4), "cut every {cut} bytes");
        }
    }

    /// A request that never ends, and begins with this.
    fn begun(intake: &Intake, bytes: Vec<u8>) -> Body {
        let first = stream::iter([Ok::<_, Status>(Frame::data(Bytes::from(bytes)))]);
        let body =
            Body::new(StreamBody::new(futures_util::StreamExt::chain(first, stream::pending())));
        intake.watch(Request::new(body), Framing::lengths()).into_body()
    }

    fn held(intake: &Intake) -> usize {
        intake.0.lock().bytes
    }

    #[tokio::test]
    async fn the_oldest_incomplete_message_is_given_up_when_there_is_too_much() {
        let intake = Intake::with_room_for(1000);
        let mut bodies: Vec<_> = (0..3).map(|_| begun(&intake, message(5000, 395))).collect();
        for body in &mut bodies[..2] {
            assert!(body.frame().await.unwrap().is_ok());
        }
        let mut oldest = bodies.remove(0);
        assert!(oldest.frame().now_or_never().is_none());
        assert!(bodies[1].frame().await.unwrap().is_ok());
        let status = oldest.frame().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(bodies[0].frame().now_or_never().is_none());
        assert_eq!(held(&intake), 800);
        drop((oldest, bodies));
        assert_eq!(held(&intake), 0);
    }

    #[tokio::test]
    async fn complete_messages_are_not_counted() {
        let intake = Intake::with_room_for(1000);
        let mut body = begun(&intake, [message(900, 900), message(900, 900)].concat());
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(held(&intake), 0);
        let mut whole = intake
            .watch(Request::new(Body::new("12345".to_owned())), Framing::Whole(0))
            .into_body();
        assert!(whole.frame().await.unwrap().is_ok());
        assert_eq!(held(&intake), 5);
        assert!(whole.frame().await.is_none());
        assert_eq!(held(&intake), 0);
    }
}
