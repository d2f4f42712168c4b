//! Frames of a `Work` stream, in and out.

use std::time::Duration;

use lessor_proto::codec::Written;
use lessor_proto::v1;
use lessor_proto::v1::work_request::{self, Frame as ProtoFrame};
use lessor_proto::v1::work_response::directive::Kind;
use lessor_proto::v1::work_response::welcome;
use lessor_proto::v1::work_response::{self, Frame as ProtoReply};

use super::enqueue::{TraceContext, lease_duration};
use super::field::Violations;
use super::lease::{REPLY_LIMIT, bounded, order, patterns, profile, types};
use super::settle;
use super::time::proto_span;
use super::written::with_jobs;
use crate::broker::settle::{Answer, Settle};
use crate::broker::work::{Body, Directive, Frame, Hello, Reply, Welcome};
use crate::clock::Timestamp;
use crate::job::{LeaseToken, WorkerId};
use crate::rpc::status::Fault;

/// Leases that a worker may bring along.
const MOST_HELD: usize = 10_000;

/// Reads the first frame.
pub(in crate::rpc) fn first(proto: v1::WorkRequest) -> Result<Frame<Fault>, Violations> {
    let mut wrong = Violations::default();
    let Some(ProtoFrame::Hello(sent)) = proto.frame else {
        wrong.add("hello", "must be the first frame");
        return Err(wrong);
    };
    if proto.received_through > 0 {
        wrong.add("received_through", "must be unset in the first frame");
    }
    let hello = wrong.at("hello", hello(&sent));
    let body = hello.map(|hello| Body::Hello(Box::new(hello)));
    let frame = body.map(|body| Frame { seq: proto.request_seq, received_through: 0, body });
    wrong.finish(frame)
}

/// Reads a frame that is not the first one; what is wrong with it is told on the stream. `now` is
/// what the times of follow-ups are compared with.
pub(in crate::rpc) fn later(
    proto: v1::WorkRequest,
    trace: &TraceContext,
    now: Timestamp,
) -> Frame<Fault> {
    let v1::WorkRequest { frame, request_seq: seq, received_through } = proto;
    let body = match frame {
        Some(ProtoFrame::Ack(proto)) => settled("ack", ack(proto, trace, now)),
        Some(ProtoFrame::Nack(proto)) => settled("nack", nack(proto)),
        Some(ProtoFrame::Extend(proto)) => settled("extend", extend(proto)),
        Some(ProtoFrame::Credit(credit)) => Body::Credit(credit.max_delivery_seq),
        Some(ProtoFrame::Ping(())) => Body::Ping,
        Some(ProtoFrame::Goodbye(goodbye)) => Body::Goodbye { release: goodbye.release_held },
        Some(ProtoFrame::Hello(_)) => refused("hello", "must be the first frame, and only that"),
        None => refused("frame", "must be set"),
    };
    Frame { seq, received_through, body }
}

fn ack(proto: v1::AckRequest, trace: &TraceContext, now: Timestamp) -> Result<Settle, Violations> {
    settle::ack(proto, trace, now).map(|(token, ack)| Settle::Ack(token, ack))
}

fn nack(proto: v1::NackRequest) -> Result<Settle, Violations> {
    settle::nack(proto).map(|(token, nack)| Settle::Nack(token, nack))
}

fn extend(proto: v1::ExtendLeaseRequest) -> Result<Settle, Violations> {
    settle::extend(proto).map(|(token, extend)| Settle::Extend(token, extend))
}

fn settled(field: &str, settle: Result<Settle, Violations>) -> Body<Fault> {
    let mut wrong = Violations::default();
    let settle = wrong.at(field, settle);
    match wrong.finish(settle) {
        Ok(settle) => Body::Settle(settle),
        Err(wrong) => Body::Wrong(wrong.into()),
    }
}

fn refused(field: &str, why: &str) -> Body<Fault> {
    let mut wrong = Violations::default();
    wrong.add(field, why);
    Body::Wrong(wrong.into())
}

fn hello(proto: &work_request::Hello) -> Result<Hello, Violations> {
    let mut wrong = Violations::default();
    let (mut id, mut about) = (None, None);
    if let Some(worker) = &proto.worker {
        id = wrong.at("worker.worker_id", WorkerId::parse(&worker.worker_id));
        about = wrong.at("worker", profile(worker));
    } else {
        wrong.add("worker", "must be set");
    }
    let queues = wrong.at("queues", patterns(&proto.queues));
    if proto.queues.is_empty() {
        wrong.add("queues", "must not be empty");
    }
    let types = wrong.at("types", types(&proto.types));
    let order = order(proto.order, &proto.queues, &proto.weights, &mut wrong);
    let lease_duration = wrong.at("lease_duration", lease_duration(proto.lease_duration.as_ref()));
    let held = wrong.at("held_lease_tokens", held(&proto.held_lease_tokens, id.as_ref()));
    let max_bytes =
        wrong.at("max_message_bytes", bounded(proto.max_message_bytes, REPLY_LIMIT, REPLY_LIMIT));
    let read = || {
        Some(Hello {
            worker: id?,
            profile: about?,
            queues: queues?,
            order: order?,
            types: types?,
            lease_duration: lease_duration?,
            held: held?,
            max_bytes: max_bytes?,
            auto_extend: proto.auto_extend,
        })
    };
    wrong.finish(read())
}

/// Reads the leases that a worker still holds.
fn held(tokens: &[String], worker: Option<&WorkerId>) -> Result<Vec<LeaseToken>, Violations> {
    if tokens.len() > MOST_HELD {
        return Err(format!("has {} entries, more than {MOST_HELD}", tokens.len()).into());
    }
    let mut wrong = Violations::default();
    let mut held = Vec::with_capacity(tokens.len());
    for (index, text) in tokens.iter().enumerate() {
        let token = settle::token(text).and_then(|token| {
            let is_own = worker.is_none_or(|worker| token.worker == *worker);
            if is_own { Ok(token) } else { Err("is a lease of another worker".into()) }
        });
        held.extend(wrong.at_index("", index, token));
    }
    wrong.finish(Some(held))
}

/// Writes what a worker is told.
pub(in crate::rpc) fn response(reply: Reply<Fault>, now: Timestamp) -> Written<v1::WorkResponse> {
    let (frame, request_seq) = match reply {
        Reply::Delivery(delivery) => return with_jobs(|jobs| jobs.delivery(&delivery, now)),
        Reply::Settled(seq, answer) => (settlement(*answer), seq),
        Reply::Failed(seq, error) => (ProtoReply::Error(Fault::from(error).into()), seq),
        Reply::Wrong(seq, fault) => (ProtoReply::Error(fault.into()), seq),
        Reply::Pong(seq) => (ProtoReply::Pong(()), seq),
        Reply::Directive(order) => (ProtoReply::Directive(directive(order)), 0),
        Reply::Welcome(hello) => {
            let seq = hello.seq;
            (ProtoReply::Welcome(welcome(hello)), seq)
        }
    };
    Written::from(&v1::WorkResponse { request_seq, frame: Some(frame) })
}

fn settlement(answer: Answer) -> ProtoReply {
    match answer {
        Answer::Acked(settled) => ProtoReply::Ack(settle::ack_response(&settled)),
        Answer::Nacked(settled) => ProtoReply::Nack(settle::nack_response(&settled)),
        Answer::Extended(extended) => ProtoReply::Extend(settle::extend_response(extended)),
    }
}

fn welcome(welcome: Welcome) -> work_response::Welcome {
    let held = welcome.held.into_iter().map(|(token, remaining)| welcome::Held {
        lease_token: token.to_string(),
        kept: remaining.is_some(),
        lease_remaining: remaining.map(proto_span),
    });
    work_response::Welcome {
        session_id: welcome.session,
        ping_interval: Some(proto_span(welcome.ping_interval)),
        held: held.collect(),
    }
}

fn directive(directive: Directive) -> work_response::Directive {
    let all = |kind, reason: &str, within: Option<Duration>| work_response::Directive {
        kind,
        reason: reason.to_owned(),
        within: within.map(proto_span),
        lease_token: String::new(),
    };
    match directive {
        Directive::Cancel(token, reason, within) => work_response::Directive {
            lease_token: token.to_string(),
            ..all(Kind::CancelJob.into(), &reason, Some(within))
        },
        Directive::LeaseLost(token, reason) => work_response::Directive {
            lease_token: token.to_string(),
            ..all(Kind::LeaseLost.into(), &reason, None)
        },
        Directive::Drain(reason, within) => all(Kind::Drain.into(), &reason, within),
        Directive::Reconnect(within) => {
            let reason = "streams are opened anew from time to time, to spread over the brokers";
            all(Kind::Reconnect.into(), reason, Some(within))
        }
    }
}
