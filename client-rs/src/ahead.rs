//! Request bodies that know their last frame when they give it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// A body that looks one frame ahead.
///
/// A body of tonic learns of its end only when it is asked for a frame behind the last one, so the end of
/// a call's only message travels in a frame, and mostly a packet, of its own, and the broker begins
/// with a call no sooner than that has come.
pub(crate) struct Ahead {
    body: Body,
    next: Next,
}

enum Next {
    Unknown,
    Frame(Result<Frame<Bytes>, Status>),
    End,
}

impl Ahead {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, next: Next::Unknown }
    }

    fn look(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(found) = Pin::new(&mut self.body).poll_frame(context) {
            self.next = found.map_or(Next::End, Next::Frame);
        }
    }
}

impl HttpBody for Ahead {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if matches!(self.next, Next::Unknown) {
            self.look(context);
        }
        match std::mem::replace(&mut self.next, Next::Unknown) {
            Next::Unknown => Poll::Pending,
            Next::End => {
                self.next = Next::End;
                Poll::Ready(None)
            }
            Next::Frame(Err(failed)) => {
                self.next = Next::End;
                Poll::Ready(Some(Err(failed)))
            }
            Next::Frame(frame) => {
                // Where the next one is not there yet, the frame does not wait for it.
                self.look(context);
                Poll::Ready(Some(frame))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.next {
            Next::Unknown => self.body.is_end_stream(),
            Next::Frame(_) => false,
            Next::End => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.next {
            Next::Unknown => self.body.size_hint(),
            Next::Frame(_) => SizeHint::default(),
            Next::End => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Client;

    /// Gives what it holds; `None` is a frame that is not there yet.
    struct Frames(VecDeque<Option<&'static str>>);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match self.0.pop_front() {
                Some(Some(text)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(text))))),
                Some(None) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        }
    }

    /// The frames of a body, each with what the body says of its end then.
    async fn told(frames: &[Option<&'static str>]) -> Vec<(Bytes, bool)> {
        let mut body = Ahead::new(Body::new(Frames(frames.iter().copied().collect())));
        let mut told = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let data = frame.ok().and_then(|frame| frame.into_data().ok());
            told.push((data.unwrap_or_default(), body.is_end_stream()));
        }
        told
    }

    #[tokio::test]
    async fn the_last_frame_that_is_ready_is_known_as_the_last() {
        assert_eq!(told(&[Some("one")]).await, [("one".into(), true)]);
        let two = told(&[Some("one"), Some("two")]).await;
        assert_eq!(two, [("one".into(), false), ("two".into(), true)]);
    }

    #[tokio::test]
    async fn a_frame_does_not_wait_for_the_next_one() {
        let late = told(&[Some("one"), None, Some("two")]).await;
        assert_eq!(late, [("one".into(), false), ("two".into(), true)]);
    }

    /// The kind, the flags and the length of the payload of a frame of HTTP/2 (RFC 9113, section 4.1).
    async fn read_frame(peer: &mut tokio::net::TcpStream) -> std::io::Result<(u8, u8, usize)> {
        let mut head = [0; 9];
        peer.read_exact(&mut head).await?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        peer.read_exact(&mut vec![0; length]).await?;
        Ok((head[3], head[4], length))
    }

    #[tokio::test]
    async fn a_calls_message_and_its_end_are_one_frame() -> std::io::Result<()> {
        const DATA: u8 = 0;
        const END_STREAM: u8 = 1;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let client = Client::connect(&address).map_err(std::io::Error::other)?;
        let hearing = async {
            let (mut peer, _) = listener.accept().await?;
            // Empty settings, which both sides send first.
            peer.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
            peer.read_exact(&mut [0; 24]).await?;
            loop {
                if let (DATA, flags, length) = read_frame(&mut peer).await? {
                    break std::io::Result::Ok((flags & END_STREAM, length > 0));
                }
            }
        };
        // The call gets no answer.
        let message = tokio::select! {
            heard = hearing => heard?,
            answer = client.cancel_job("queues/q/jobs/j") => panic!("answered: {answer:?}"),
        };
        assert_eq!(message, (END_STREAM, true));
        Ok(())
    }
}
