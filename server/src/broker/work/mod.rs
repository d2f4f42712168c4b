//! Work: a stream on which one worker gets jobs, as far as its credit goes, and settles them.
//!
//! Each stream is a task of its own ([`session`]) between two ends that the wire holds: the frames
//! of the worker, and an [`Outlet`] of what the worker is told. What is delivered counts as the
//! worker's only once it says so ([`deliveries`]); from then on it is held ([`held`]). The
//! [`desk`] knows the streams of this broker and tells them what concerns their workers.

mod alarm;
mod deliveries;
mod desk;
mod greeting;
mod held;
mod outbox;
mod session;

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;

pub(super) use self::desk::Desk;
pub use self::desk::Working;
pub use self::outbox::{End, Outlet};
use self::session::Session;
use super::lease::{Order, QueuePattern};
use super::settle::{Answer, Settle};
use super::workers::Profile;
use super::{Broker, Error};
use crate::job::{Job, LeaseToken, WorkerId};

/// The first frame of a stream: who the worker is and what it wants.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Who it is.
    pub worker: WorkerId,
    /// What it says about itself.
    pub profile: Profile,
    /// Where it takes jobs from.
    pub queues: Vec<QueuePattern>,
    /// In which order it looks there.
    pub order: Order,
    /// Only jobs of these types; empty: of any.
    pub types: Vec<String>,
    /// The visibility timeout; `None`: each job's own.
    pub lease_duration: Option<Duration>,
    /// Leases of this worker that it still holds.
    pub held: Vec<LeaseToken>,
    /// The largest message that it accepts, in bytes of records.
    pub max_bytes: usize,
    /// Any frame extends what it holds.
    pub auto_extend: bool,
}

/// What a worker says. `W` is what the wire found wrong with a frame; it is handed through.
#[derive(Debug)]
pub struct Frame<W> {
    /// The worker's number for it, which the answer repeats.
    pub seq: u64,
    /// All deliveries up to this one have arrived.
    pub received_through: u64,
    /// What it carries.
    pub body: Body<W>,
}

/// What a frame carries.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all frames are settles")]
pub enum Body<W> {
    /// Who the worker is; the first frame, and only that.
    Hello(Box<Hello>),
    /// Deliveries up to this one may be sent.
    Credit(u64),
    /// A word on one lease.
    Settle(Settle),
    /// A sign of life.
    Ping,
    /// The worker leaves.
    Goodbye {
        /// What it holds goes back at once.
        release: bool,
    },
    /// The frame says nothing that could be done.
    Wrong(W),
}

/// Why no more frames come, if not in good order.
#[derive(Debug)]
pub enum Lost<W> {
    /// The worker is gone.
    Broken,
    /// What it sent ends the stream.
    Refused(W),
}

/// What a worker is told.
#[derive(Clone, Debug)]
pub enum Reply<W> {
    /// The answer to [`Hello`].
    Welcome(Welcome),
    /// A job for it.
    Delivery(Delivery),
    /// The settle of this number is made.
    Settled(u64, Box<Answer>),
    /// The settle of this number is not made.
    Failed(u64, Error),
    /// The frame of this number was wrong.
    Wrong(u64, W),
    /// Something to do.
    Directive(Directive),
    /// The answer to the ping of this number.
    Pong(u64),
}

/// The beginning of a stream.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The number of the frame that is answered.
    pub seq: u64,
    /// Names the stream, for logs.
    pub session: String,
    /// How often the worker must send a frame.
    pub ping_interval: Duration,
    /// What became of each lease in [`Hello::held`]: the time it still lasts; `None`: it is lost.
    pub held: Vec<(LeaseToken, Option<Duration>)>,
}

/// A job on its way to a worker.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number on this stream, from 1.
    pub number: u64,
    /// The job.
    pub job: Arc<Job>,
    /// Its lease.
    pub token: Arc<LeaseToken>,
}

/// Something for a worker to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Stop the job and settle it, within this time.
    Cancel(Arc<LeaseToken>, String, Duration),
    /// Drop the job.
    LeaseLost(Arc<LeaseToken>, String),
    /// Finish what is held; nothing more is delivered. With a time, the stream ends after it.
    Drain(String, Option<Duration>),
    /// Open a new stream; this one ends after this time.
    Reconnect(Duration),
}

impl Broker {
    /// Serves a worker on a stream of its own; `frames` begins with its [`Hello`]. It is served
    /// until either end is dropped, or it is told why not any more.
    pub fn work<W, F>(&self, frames: F) -> Outlet<W>
    where
        W: Send + 'static,
        F: Stream<Item = Result<Frame<W>, Lost<W>>> + Send + Unpin + 'static,
    {
        let (outbox, outlet) = outbox::pair();
        self.desk.guests().admit(Box::pin(Session::run(self.clone(), frames, outbox)));
        outlet
    }
}
