//! A client of the Lessor job broker: enqueue jobs, lease them, settle them, watch them.
//!
//! A *producer* enqueues jobs. A *worker* leases them: each is its own until the lease ends, so
//! it settles the job before (ack: done; nack: not done) or extends the lease while it works.
//! A lease that ends by itself gives the job to another worker.
//!
//! ```no_run
//! use std::time::Duration;
//! use lessor::{Client, LeaseOptions, Nack, NewJob, payload};
//!
//! # async fn work(_: &[u8]) -> Result<String, String> { Ok("{}".to_owned()) }
//! # async fn example() -> lessor::Result<()> {
//! let client = Client::connect("http://127.0.0.1:7077")?;
//!
//! let job = NewJob::new("emails").job_type("welcome").payload_json(r#"{"to": "a@example.com"}"#);
//! let enqueued = client.enqueue(job).await?;
//! println!("{} is {:?}", enqueued.job.name, enqueued.outcome);
//!
//! let options = LeaseOptions::new(["emails"]).max_jobs(10).wait(Duration::from_secs(30));
//! for leased in client.lease(&options).await?.jobs {
//!     let body = leased.job.and_then(|job| job.payload).map(|it| payload::read(&it));
//!     match work(&body.unwrap_or_default()).await {
//!         Ok(text) => {
//!             client.ack(leased.lease_token, Some(payload::json(text))).await?;
//!         }
//!         Err(why) => {
//!             client.nack(leased.lease_token, Nack::retry().failure("WORK_FAILED", why)).await?;
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Requests have builders; replies are the messages of the protocol, which is here whole as
//! [`proto`]. Every call has a deadline and is repeated when the fault is a passing one, see
//! [`Client`]; what remains is an [`Error`] with a code and a reason to decide by.

#![deny(missing_docs)]

mod action;
mod ahead;
mod batch;
mod bulk;
mod channel;
mod clock;
mod connect;
mod error;
mod jobs;
mod join;
mod lease;
mod pause;
pub mod payload;
mod policy;
mod producer;
mod queues;
mod raw;
mod schedules;
mod settle;
pub mod span;
#[cfg(feature = "otel")]
mod trace;
mod watch;
mod work;
mod worker;
mod workers;

pub use action::Action;
pub use bulk::{Bulk, Purge};
pub use connect::{Builder, Client};
pub use error::{Error, Reason, Result};
pub use jobs::{Cancel, JobQuery, JobUpdate};
pub use lease::{LeaseOptions, Leased};
pub use policy::{Dedup, Retention, Retry};
pub use producer::{Enqueued, NewJob};
pub use queues::QueueUpdate;
pub use schedules::{NewSchedule, ScheduleUpdate};
pub use settle::{Extend, Nack, Settle, Settled};
pub use watch::{Watch, WatchOptions};
pub use work::{Delivery, WorkEvent, WorkOptions, WorkStream};
pub use worker::{
    ByService, Done, FromJob, Handler, Health, IntoDone, Job, Json, Stop, Worker, WorkerBuilder,
};

/// Every message of the protocol.
pub use lessor_proto::v1 as proto;
pub use lessor_proto::v1::dedup::OnDuplicate;
pub use lessor_proto::v1::enqueue_response::Outcome as EnqueueOutcome;
pub use lessor_proto::v1::event::Type as EventType;
pub use lessor_proto::v1::job::State as JobState;
pub use lessor_proto::v1::lease_response::EmptyReason;
pub use lessor_proto::v1::schedule::Overlap;
pub use lessor_proto::v1::{
    AckResponse, BulkJobsResponse, Event, ExplainJobResponse, ExtendLeaseResponse, Failure,
    HealthThresholds, JobView, LeasedJob, ListJobsResponse, NackResponse, Order, Payload, Progress,
    Push, Queue, QueueStats, RateLimit, Schedule, SettleOutcome, StoreStatus, WaitJobResponse,
    WatchEventsResponse,
};
pub use tonic::Code;
pub use tonic_types::FieldViolation;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
