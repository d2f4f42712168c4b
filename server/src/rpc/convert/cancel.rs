//! Requests to cancel a job, and to wait for one.

use std::time::Duration;

use lessor_proto::v1;

use super::field::Violations;
use super::text;
use super::time::span_opt;
use crate::broker::cancel::CancelRequest;
use crate::job::JobName;

const REASON_LIMIT: usize = 1 << 10;
const USUAL_GRACE: Duration = Duration::from_secs(30);
const LONGEST_GRACE: Duration = Duration::from_hours(12);

/// Reads a request to cancel.
pub(in crate::rpc) fn cancel(proto: v1::CancelJobRequest) -> Result<CancelRequest, Violations> {
    let mut wrong = Violations::default();
    let name = wrong.at("name", JobName::parse(&proto.name));
    wrong.at("reason", text::printable(&proto.reason, REASON_LIMIT));
    let grace = wrong.at("grace", span_opt(proto.grace.as_ref(), Duration::ZERO, LONGEST_GRACE));
    let v1::CancelJobRequest { reason, etag, .. } = proto;
    let read = || {
        let grace = grace?.unwrap_or(USUAL_GRACE);
        Some(CancelRequest { name: name?, reason, grace, etag })
    };
    let read = read();
    wrong.finish(read)
}
