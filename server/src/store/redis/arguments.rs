//! What a script is told of one job or transition: positional, in the order that its header names.

use super::codec;
use super::scripts::Call;
use crate::clock::millis;
use crate::job::{
    DedupScope, Guard, HISTORY, Keep, OnDuplicate, Outcome, Place, State, Transition, Version,
};
use crate::store::{Commit, Insert, Request, created, on_duplicate, record};

/// Adds what enqueue.lua reads of one job.
pub(super) fn insert(call: &mut Call<'_>, insert: &Insert) {
    let job = &insert.job;
    call.bytes(codec::id_bytes(&job.name.id));
    call.text(if insert.chosen_id { "1" } else { "0" });
    call.bytes(codec::new_record(job));
    call.moment(Some(job.at).filter(|_| job.state == State::Scheduled));
    request_of(call, insert.request);
    match &job.spec.dedup {
        Some(dedup) => {
            let (scope, span) = match dedup.scope {
                DedupScope::UntilStarted { cap } => ('S', cap),
                DedupScope::UntilFinished { cap } => ('U', cap),
                DedupScope::Window(window) => ('W', Some(window)),
            };
            let rule = match on_duplicate(insert) {
                OnDuplicate::Keep => 'K',
                OnDuplicate::Replace => 'P',
                OnDuplicate::RunAfter => 'A',
                OnDuplicate::Reject => 'X',
            };
            let ttl = span.map(|span| millis(span).max(1));
            call.text(dedup.key.as_str()).text(format!("{scope}{rule}")).number(ttl);
        }
        None => {
            call.text("").text("").text("");
        }
    }
    call.bytes(record::encode_event(&created(insert)));
}

/// Adds a request and its digest, or the empty arguments that stand for none.
pub(super) fn request_of<'c, 's>(
    call: &'c mut Call<'s>,
    request: Option<Request>,
) -> &'c mut Call<'s> {
    match request {
        Some(Request { id, digest }) => call.text(id.to_string()).text(format!("{digest:016x}")),
        None => call.text("").text(""),
    }
}

/// Adds what `commit_any.lua` reads of one transition and its follow-ups.
pub(super) fn commit(call: &mut Call<'_>, Commit { transition, then }: &Commit) {
    let attempt = transition.attempt.as_ref();
    let is_lost = attempt.is_some_and(|attempt| attempt.outcome == Outcome::LeaseExpired);
    call.bytes(codec::id_bytes(&transition.name.id)).bytes(guard(transition.guard));
    call.bytes(codec::changed_course(transition)).text(transition.at.as_millis());
    call.text(line(transition));
    call.text(attempt.map_or(String::new(), |attempt| format!("a{}", attempt.delivery % HISTORY)));
    call.maybe(attempt.map(record::encode_attempt));
    call.maybe(transition.failure.as_ref().map(record::encode_failure));
    call.maybe(transition.result.as_ref().map(record::encode_payload));
    call.maybe(transition.checkpoint.as_ref().map(record::encode_payload));
    call.text(transition.free_dedup.as_ref().map_or("", |key| key.as_str()));
    keep(call, transition);
    call.moment(transition.expires.filter(|_| transition.to.is_pending()));
    call.bytes(changed_record(transition));
    call.text(if is_lost { "1" } else { "" });
    call.bytes(record::encode_event(&transition.event));
    call.text(then.len());
    for follow_up in then {
        insert(call, follow_up);
    }
}

fn guard(guard: Guard) -> Vec<u8> {
    let (kind, secret) = match guard {
        Guard::Leased(secret) => (b'L', secret),
        Guard::Overdue { secret, .. } => (b'O', secret),
        Guard::Standing(Version { state, at, deliveries, revision }) => {
            let mut bytes = vec![b'W', state.letter()];
            bytes.extend(at.as_millis().to_be_bytes());
            bytes.extend(deliveries.to_be_bytes());
            bytes.extend(revision.to_be_bytes());
            return bytes;
        }
    };
    let mut bytes = vec![kind];
    bytes.extend(secret.0.to_be_bytes());
    if let Guard::Overdue { now, .. } = guard {
        bytes.extend(now.as_millis().to_be_bytes());
    }
    bytes
}

/// The line that the job joins, and on which side.
fn line(transition: &Transition) -> String {
    if transition.to != State::Ready {
        return String::new();
    }
    let side = match transition.place {
        Place::Front => 'F',
        Place::Back => 'B',
    };
    format!("{side}{}:{}", transition.line.priority, transition.line.job_type)
}

/// Adds how many finished jobs are kept with this one and how many there may be before the others are
/// forgotten, or that it is forgotten at once.
fn keep(call: &mut Call<'_>, transition: &Transition) {
    let Keep { count, .. } = transition.keep;
    if transition.forgets() {
        call.text("none").text("");
    } else if !transition.to.is_terminal() {
        call.text("").text("");
    } else {
        call.number(count.map(u64::from)).number(transition.keep.most().map(u64::from));
    }
}

/// The record with the spec that the transition brings; empty when it brings none.
fn changed_record(transition: &Transition) -> Vec<u8> {
    match (&transition.spec, transition.guard) {
        (Some(spec), Guard::Standing(version)) => {
            codec::changed_record(spec, version.revision.saturating_add(1))
        }
        _ => Vec::new(),
    }
}
