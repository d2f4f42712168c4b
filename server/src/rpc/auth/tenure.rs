//! A stream or a wait lasts no longer than the credential that it was begun with.
//!
//! When a token is taken out of the file, a JWT or a certificate ends, or a key is withdrawn, what
//! is under way ends with UNAUTHENTICATED. Leases belong to their tokens and go on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;

use super::{Badge, Porter};
use crate::auth::{Denied, Known, Place};
use crate::rpc::status::Fault;

/// What a caller showed, for as long as its call lasts.
pub(super) struct Tenure {
    porter: Porter,
    badge: Badge,
    known: Known,
    changes: watch::Receiver<()>,
}

impl Tenure {
    /// From now on no change is missed; what came before is seen at the first look.
    pub(super) fn new(porter: Porter, badge: Badge, known: Known) -> Self {
        let changes = porter.credentials.changes();
        Self { porter, badge, known, changes }
    }

    /// Returns when the credential no longer allows what it did.
    pub(super) async fn ended(mut self) -> Fault {
        loop {
            if let Err(why) = self.look() {
                return why.into();
            }
            let end = async {
                match self.known.until {
                    Some(end) => self.porter.clock.sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            // Both are cancel-safe: what has happened is seen in the next round.
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() {
                    // The credentials live in `self`, and the sender in them.
                    return Denied::Unknown.into();
                },
                () = end => {}
            }
        }
    }

    fn look(&mut self) -> Result<(), Denied> {
        let Porter { credentials, clock } = &self.porter;
        let known = credentials.look(self.badge.shown(), clock.now())?;
        if known.principal != self.known.principal {
            return Err(Denied::Changed);
        }
        self.known = known;
        Ok(())
    }
}

/// Lets a stream go on until its credential ends.
pub(super) fn bound(
    answer: Response<Body>,
    ended: BoxFuture<'static, Fault>,
    place: Option<Place>,
) -> Response<Body> {
    answer.map(|body| Body::new(Bound { body: Some(body), ended, _place: place }))
}

struct Bound {
    body: Option<Body>,
    ended: BoxFuture<'static, Fault>,
    _place: Option<Place>,
}

impl HttpBody for Bound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.body.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(fault) = self.ended.poll_unpin(context) {
            self.body = None;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(fault)))));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if frame.is_none() {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn trailers(fault: Fault) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It fails only for what fits no header, and the texts are ours.
    let _fits = Status::from(fault).add_header(&mut trailers);
    trailers
}
