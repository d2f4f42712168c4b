//! When a caller gives up.

use std::future::{Pending, pending};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Timeout, timeout};
use tonic::Status;

/// Ends when the caller gives up; never when it does not.
pub(super) struct Deadline(Option<Pin<Box<Timeout<Pending<()>>>>>);

impl Deadline {
    /// Counts from now.
    pub(super) fn after(span: Option<Duration>) -> Self {
        Self(span.map(|span| Box::pin(timeout(span, pending()))))
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(timeout) => timeout.as_mut().poll(context).map(drop),
            None => Poll::Pending,
        }
    }
}

/// What such a caller would be told.
pub(super) fn passed() -> Status {
    Status::deadline_exceeded("the deadline passed")
}
