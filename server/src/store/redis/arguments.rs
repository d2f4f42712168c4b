//! What a script is told of one job or transition: positional, in the order that its header names.

use super::codec;
use super::scripts::Call;
use crate::clock::millis;
use crate::job::{DedupScope, Guard, HISTORY, Place, Transition};
use crate::store::{Insert, created, record};

/// Adds what insert.lua reads of one job.
pub(super) fn insert(call: &mut Call, insert: &Insert) {
    let job = &insert.job;
    let scheduled = job.spec.scheduled.filter(|at| *at > job.spec.created);
    call.text(&job.name.id);
    call.text(if insert.chosen_id { "1" } else { "0" });
    call.bytes(codec::new_record(job));
    call.text(scheduled.map_or(String::new(), |at| at.as_millis().to_string()));
    match &insert.request {
        Some(request) => call.text(request.id).text(format_args!("{:016x}", request.digest)),
        None => call.text("").text(""),
    };
    match &job.spec.dedup {
        Some(dedup) => {
            let (scope, span) = match dedup.scope {
                DedupScope::UntilStarted { cap } | DedupScope::UntilFinished { cap } => ("U", cap),
                DedupScope::Window(window) => ("W", Some(window)),
            };
            let ttl = span.map_or(String::new(), |span| millis(span).max(1).to_string());
            call.text(dedup.key.as_str()).text(scope).text(ttl);
        }
        None => {
            call.text("").text("").text("");
        }
    }
    call.bytes(record::encode_event(&created(insert)));
}

/// Adds what commit.lua reads of one transition.
pub(super) fn transition(call: &mut Call, transition: &Transition) {
    let (guard, compare, sweep) = match transition.guard {
        Guard::Leased(secret) => ("L", secret.0.to_be_bytes().to_vec(), String::new()),
        Guard::Overdue { secret, now } => {
            ("O", secret.0.to_be_bytes().to_vec(), now.as_millis().to_string())
        }
        Guard::Standing(version) => ("W", version.deliveries.to_be_bytes().to_vec(), String::new()),
    };
    let side = match transition.place {
        Place::Front => "LPUSH",
        Place::Back => "RPUSH",
    };
    let keep = if !transition.to.is_terminal() {
        String::new()
    } else if transition.keep.nothing() {
        "none".to_owned()
    } else {
        transition.keep.count.map_or(String::new(), |count| count.to_string())
    };
    let attempt = transition.attempt.as_ref();
    call.text(&transition.name.id).text(guard).bytes(compare).text(sweep);
    call.bytes(codec::changed_head(transition));
    call.text(char::from(transition.to.letter())).text(transition.at.as_millis());
    call.text(side).text(transition.line.priority);
    call.text(attempt.map_or(String::new(), |attempt| format!("a{}", attempt.delivery % HISTORY)));
    call.maybe(attempt.map(record::encode_attempt));
    call.maybe(transition.failure.as_ref().map(record::encode_failure));
    call.maybe(transition.result.as_ref().map(record::encode_payload));
    call.maybe(transition.checkpoint.as_ref().map(record::encode_payload));
    call.text(transition.free_dedup.as_ref().map_or("", |key| key.as_str()));
    call.text(keep);
    call.bytes(record::encode_event(&transition.event));
}
