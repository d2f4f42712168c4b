//! Answers of the hot calls, written instead of built: the bytes are those of the message that
//! [`super::job`] would make, but what the jobs of one kind have in common is written once, and no
//! length is counted twice.
//!
//! A message may be written in pieces, and the fields of a piece in any order (Protocol Buffers,
//! encoding); a field that holds a message is its tag, its length and its bytes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use lessor_proto::codec::Written;
use lessor_proto::v1;
use prost::Message;

use super::enqueue::proto_outcome;
use super::job;
use super::time::{proto_moment, proto_span};
use crate::broker::enqueue::Enqueued;
use crate::broker::work::Delivery;
use crate::clock::Timestamp;
use crate::job::{Job, LeaseToken, Retention, RetryPolicy, Spec};
use crate::rpc::status::Fault;

/// The keys of fields that hold a message: number and wire type 2.
const fn nested(field: u8) -> u8 {
    field << 3 | 2
}

/// What jobs of one kind have in common.
struct Kind {
    job_type: String,
    priority: i16,
    labels: BTreeMap<String, String>,
    retry: RetryPolicy,
    owner: String,
    lease_duration: Option<Duration>,
    attempt_timeout: Option<Duration>,
    retention: Retention,
}

impl Kind {
    fn of(spec: &Spec) -> Self {
        Self {
            job_type: spec.job_type.clone(),
            priority: spec.priority,
            labels: spec.labels.clone(),
            retry: spec.retry.clone(),
            owner: spec.owner.clone(),
            lease_duration: spec.lease_duration,
            attempt_timeout: spec.attempt_timeout,
            retention: spec.retention,
        }
    }

    fn is_of(&self, spec: &Spec) -> bool {
        self.job_type == spec.job_type
            && self.priority == spec.priority
            && self.lease_duration == spec.lease_duration
            && self.attempt_timeout == spec.attempt_timeout
            && self.retention == spec.retention
            && self.owner == spec.owner
            && self.labels == spec.labels
            && self.retry == spec.retry
    }
}

/// Room for a job that is kept for the next one.
const ROOM: usize = 64 << 10;

thread_local! {
    static JOBS: RefCell<Jobs> = RefCell::default();
}

/// Lends the writer of this thread.
pub(in crate::rpc) fn with_jobs<T>(write: impl FnOnce(&mut Jobs) -> T) -> T {
    JOBS.with_borrow_mut(write)
}

/// Writes jobs one after the other.
#[derive(Default)]
pub(in crate::rpc) struct Jobs {
    /// The kind of the last job, and what was written of it.
    kind: Option<(Kind, Vec<u8>)>,
    /// The job that is being written.
    job: Vec<u8>,
}

impl Jobs {
    /// Writes what [`job::proto_job`] makes.
    fn write(&mut self, job: &Job, view: v1::JobView) {
        self.job.clear();
        self.job.shrink_to(ROOM);
        if !self.kind.as_ref().is_some_and(|(kind, _)| kind.is_of(&job.spec)) {
            self.kind = Some((Kind::of(&job.spec), job::of_kind(job).encode_to_vec()));
        }
        if let Some((_, bytes)) = &self.kind {
            self.job.extend_from_slice(bytes);
        }
        put(&job::of_job(job, view), &mut self.job);
    }

    /// Writes the answer to an enqueue; not more than [`job::receipt`] of the job with `is_short`.
    pub(in crate::rpc) fn enqueued(&mut self, enqueued: &Enqueued, is_short: bool) -> Vec<u8> {
        if is_short {
            self.job.clear();
            put(&job::receipt(&enqueued.job), &mut self.job);
        } else {
            self.write(&enqueued.job, v1::JobView::Basic);
        }
        let outcome = v1::EnqueueResponse {
            outcome: proto_outcome(enqueued.outcome).into(),
            ..v1::EnqueueResponse::default()
        };
        let mut out = Vec::with_capacity(self.job.len() + 16);
        put_nested(1, &self.job, &mut out);
        put(&outcome, &mut out);
        out
    }

    /// Writes a job under a lease of which `token` is the token.
    pub(in crate::rpc) fn leased(
        &mut self,
        job: &Job,
        token: &LeaseToken,
        now: Timestamp,
    ) -> Vec<u8> {
        self.write(job, v1::JobView::Full);
        let attempt_end = token.leased_at.after(token.attempt_timeout);
        let leased = v1::LeasedJob {
            job: None,
            lease_token: token.to_string(),
            lease_expire_time: Some(proto_moment(job.at)),
            lease_remaining: Some(proto_span(job.at.since(now))),
            attempt_remaining: Some(proto_span(attempt_end.since(now))),
        };
        let mut out = Vec::with_capacity(self.job.len() + leased.lease_token.len() + 64);
        put_nested(1, &self.job, &mut out);
        put(&leased, &mut out);
        out
    }

    /// Writes the delivery of a job.
    pub(super) fn delivery(
        &mut self,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Written<v1::WorkResponse> {
        let Delivery { number, job, token } = delivery;
        let leased = self.leased(job, token, now);
        let delivery =
            v1::work_response::Delivery { delivery_seq: *number, leased: None }.encode_to_vec();
        let length = delivery.len() + nested_len(leased.len());
        let mut out = Vec::with_capacity(nested_len(length));
        out.push(nested(2));
        put_length(length, &mut out);
        out.extend_from_slice(&delivery);
        put_nested(2, &leased, &mut out);
        Written::new(out)
    }
}

/// Writes the answer to a batch of enqueues; of those that `is_short` picks not more than
/// [`job::receipt`].
pub(in crate::rpc) fn batch_enqueued(
    results: &[Result<Enqueued, Fault>],
    is_short: impl Fn(&Enqueued) -> bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    for result in results {
        let (field, bytes) = match result {
            Ok(enqueued) => (1, with_jobs(|jobs| jobs.enqueued(enqueued, is_short(enqueued)))),
            Err(fault) => (2, tonic_types::Status::from(fault.clone()).encode_to_vec()),
        };
        out.push(nested(1));
        put_length(nested_len(bytes.len()), &mut out);
        put_nested(field, &bytes, &mut out);
    }
    out
}

/// Writes a lease's answer: its jobs, then the rest of it.
pub(in crate::rpc) fn leased(jobs: &[Vec<u8>], rest: &v1::LeaseResponse) -> Vec<u8> {
    let mut out = Vec::with_capacity(jobs.iter().map(|job| nested_len(job.len())).sum());
    for job in jobs {
        put_nested(1, job, &mut out);
    }
    put(rest, &mut out);
    out
}

/// Appends a message.
fn put(message: &impl Message, out: &mut Vec<u8>) {
    // A vector has room for any message.
    let _has_room = message.encode(out);
}

/// Appends a field that holds the message with these bytes.
fn put_nested(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(nested(field));
    put_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    let _has_room = prost::encode_length_delimiter(length, out);
}

/// How many bytes a field takes that holds a message of `length` bytes.
fn nested_len(length: usize) -> usize {
    1 + prost::length_delimiter_len(length) + length
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lessor_proto::v1::JobView::{Basic, Full};
    use lessor_proto::v1::work_response::Frame;

    use super::super::job::tests::leased as leased_job;
    use super::*;
    use crate::broker::enqueue::Outcome;
    use crate::rpc::status::Reason;

    /// A job with something in every field that a producer may set.
    fn rich() -> Job {
        let job = leased_job();
        let spec = Spec {
            job_type: "mail".to_owned(),
            priority: -3,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            owner: "me".to_owned(),
            lease_duration: Some(Duration::from_secs(7)),
            attempt_timeout: Some(Duration::from_secs(70)),
            expires: Some(Timestamp::from_millis(99)),
            trace_context: [("traceparent".to_owned(), "00".to_owned())].into(),
            ..(*job.spec).clone()
        };
        Job { spec: Arc::new(spec), ..job }
    }

    fn enqueued(job: Job) -> Enqueued {
        Enqueued { job, outcome: Outcome::Deduplicated }
    }

    #[test]
    fn a_written_job_is_the_one_that_would_be_built() {
        let mut jobs = Jobs::default();
        // The second of a kind is written from what is known of the first.
        for job in [leased_job(), rich(), rich(), leased_job()] {
            let bytes = jobs.enqueued(&enqueued(job.clone()), false);
            let response = v1::EnqueueResponse::decode(bytes.as_slice()).unwrap();
            assert_eq!(response.outcome(), v1::enqueue_response::Outcome::Deduplicated);
            assert_eq!(response.job, Some(Box::new(job::proto_job(&job, Basic))));
        }
    }

    #[test]
    fn jobs_that_differ_in_one_thing_are_of_two_kinds() {
        let changes: [fn(&mut Spec); 8] = [
            |spec| spec.job_type.push('x'),
            |spec| spec.priority += 1,
            |spec| drop(spec.labels.insert("c".to_owned(), String::new())),
            |spec| spec.owner.push('x'),
            |spec| spec.lease_duration = None,
            |spec| spec.attempt_timeout = None,
            |spec| spec.retry.max_attempts = Some(77),
            |spec| spec.retention.succeeded.count = Some(77),
        ];
        let mut jobs = Jobs::default();
        for change in changes {
            jobs.write(&rich(), Full);
            let mut job = rich();
            change(Arc::make_mut(&mut job.spec));
            jobs.write(&job, Full);
            let written = v1::Job::decode(jobs.job.as_slice()).unwrap();
            assert_eq!(written, job::proto_job(&job, Full));
        }
    }

    #[test]
    fn each_result_of_a_batch_is_an_answer_or_an_error() {
        let results = [
            Ok(enqueued(rich())),
            Err(Fault::new(Reason::TooManyStreams, "no")),
            Ok(enqueued(leased_job())),
        ];
        let of_leased = |enqueued: &Enqueued| enqueued.job.spec.job_type.is_empty();
        let bytes = batch_enqueued(&results, of_leased);
        let written = v1::BatchEnqueueResponse::decode(bytes.as_slice()).unwrap().results;
        let job = |index: usize| written[index].response.clone().and_then(|it| it.job);
        assert_eq!(job(0), Some(Box::new(job::proto_job(&rich(), Basic))));
        assert_eq!(written[1].status.as_ref().map(|it| it.message.as_str()), Some("no"));
        assert_eq!(job(2), Some(Box::new(job::receipt(&leased_job()))));
    }

    #[test]
    fn a_leased_job_tells_how_long_it_is_leased() {
        let (job, now) = (rich(), Timestamp::from_millis(2002));
        let token = job.token().unwrap();
        let bytes = Jobs::default().leased(&job, &token, now);
        let expected = v1::LeasedJob {
            job: Some(Box::new(job::proto_job(&job, Full))),
            lease_token: token.to_string(),
            lease_expire_time: Some(proto_moment(job.at)),
            lease_remaining: Some(proto_span(Duration::from_millis(29_999))),
            attempt_remaining: Some(proto_span(Duration::from_millis(69_999))),
        };
        assert_eq!(v1::LeasedJob::decode(bytes.as_slice()).unwrap(), expected);

        let rest = v1::LeaseResponse { server_time: Some(proto_moment(now)), ..Default::default() };
        let reply = leased(&[bytes.clone(), bytes], &rest);
        let reply = v1::LeaseResponse::decode(reply.as_slice()).unwrap();
        let jobs = vec![expected.clone(), expected.clone()];
        assert_eq!(reply, v1::LeaseResponse { jobs, ..rest });

        let delivery = Delivery { number: 1234, job: Arc::new(job), token: Arc::new(token) };
        let written = Jobs::default().delivery(&delivery, now);
        let written = v1::WorkResponse::decode(written.bytes()).unwrap();
        let Some(Frame::Delivery(delivery)) = written.frame else {
            panic!("{written:?} is no delivery");
        };
        assert_eq!((delivery.delivery_seq, delivery.leased), (1234, Some(expected)));
        assert_eq!(written.request_seq, 0);
    }
}
