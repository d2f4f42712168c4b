//! Requests to cancel a job, and to wait for one.

use std::time::Duration;

use lessor_proto::v1;

use super::field::Violations;
use super::job::proto_state;
use super::lease::LONGEST_WAIT;
use super::text;
use super::time::span_opt;
use crate::broker::cancel::CancelRequest;
use crate::broker::wait::WaitRequest;
use crate::job::{JobName, State};

const REASON_LIMIT: usize = 1 << 10;
const USUAL_GRACE: Duration = Duration::from_secs(30);
const LONGEST_GRACE: Duration = Duration::from_hours(12);

/// Reads a request to wait. The wait is as asked for; the call's deadline may shorten it.
pub(in crate::rpc) fn wait(proto: &v1::WaitJobRequest) -> Result<WaitRequest, Violations> {
    let mut wrong = Violations::default();
    let name = wrong.at("name", JobName::parse(&proto.name));
    let wait = wrong.at("wait", span_opt(proto.wait.as_ref(), Duration::ZERO, LONGEST_WAIT));
    let until = wrong.at("until", states(&proto.until));
    let read = || Some(WaitRequest { name: name?, until: until?, wait: wait?.unwrap_or_default() });
    let read = read();
    wrong.finish(read)
}

fn states(numbers: &[i32]) -> Result<Vec<State>, Violations> {
    let mut wrong = Violations::default();
    let mut states = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        let known = v1::job::State::try_from(*number).ok();
        let state = State::ALL.into_iter().find(|state| Some(proto_state(*state)) == known);
        states.extend(wrong.at_index("", index, state.ok_or("must be a state of a job")));
    }
    wrong.finish(Some(states))
}

/// Reads a request to cancel.
pub(in crate::rpc) fn cancel(proto: v1::CancelJobRequest) -> Result<CancelRequest, Violations> {
    let mut wrong = Violations::default();
    let name = wrong.at("name", JobName::parse(&proto.name));
    wrong.at("reason", text::printable(&proto.reason, REASON_LIMIT));
    let grace = wrong.at("grace", span_opt(proto.grace.as_ref(), Duration::ZERO, LONGEST_GRACE));
    let v1::CancelJobRequest { reason, etag, .. } = proto;
    let read = || {
        let grace = grace?.unwrap_or(USUAL_GRACE);
        Some(CancelRequest { name: name?, reason, grace, etag, actor: String::new() })
    };
    let read = read();
    wrong.finish(read)
}
