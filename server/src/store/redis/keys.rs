//! Every key of a queue: its name, type and meaning.
//!
//! All keys of a queue begin with the hash tag `{namespace:queue}`, so they live in one cluster
//! slot and each script touches one slot only.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `p` | zset | priorities in use, by their negative |
//! | `r:<priority>` | list | ids of ready jobs, in order |
//! | `s`, `t` | zset | ids of scheduled and of retrying jobs, by due time |
//! | `z` | zset | ids of leased jobs, by the end of their visibility timeout |
//! | `l` | hash | id of a leased job → its lease |
//! | `f:<state>` | zset | ids of finished jobs, by purge time |
//! | `j:<id>` | string | a job's record: head and spec ([`super::codec`]) |
//! | `m:<id>` | hash | what attempts left behind; only when there is something |
//! | `d:<key>` | string | who holds a dedup key |
//! | `q:<id>` | string | which job a request made; expires |
//! | `c:<id>` | string | which leases a claim's request made; expires |
//! | `o` | - | never exists: deleting it is the first write of a settle |
//! | `ev`, `n` | stream, string | the event log and the number of its newest entry |
//!
//! Beside them, per namespace: the set of queues, the epoch, and a key that only routes.
//! Keys with an id in their name are made by the scripts; they share the slot of the declared ones.

use crate::job::{QueueName, State};

/// The names that belong to all queues of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Set of the names of all queues.
    pub(super) fn queues(&self) -> String {
        format!("{{{}}}:queues", self.name)
    }

    /// Random text, made once; another one means another or an emptied store.
    pub(super) fn epoch(&self) -> String {
        format!("{{{}}}:epoch", self.name)
    }

    /// Holds nothing: sends what has no key of its own always to the same node.
    pub(super) fn anchor(&self) -> String {
        format!("{{{}}}:anchor", self.name)
    }

    /// Channel: a queue has ready jobs and had none.
    pub(super) fn ready_channel(&self) -> String {
        format!("{}:ready", self.name)
    }

    /// Channel: something falls due earlier than all else in a queue.
    pub(super) fn due_channel(&self) -> String {
        format!("{}:due", self.name)
    }

    /// Channel: a queue's event log grew.
    pub(super) fn logged_channel(&self) -> String {
        format!("{}:logged", self.name)
    }

    /// What all keys of a queue begin with.
    pub(super) fn base(&self, queue: &QueueName) -> String {
        format!("{{{}:{queue}}}:", self.name)
    }
}

/// What prelude.lua expects as KEYS, in its order.
pub(super) fn declared(base: &str) -> [String; 11] {
    let finished = |state: State| format!("{base}f:{}", char::from(state.letter()));
    [
        format!("{base}p"),
        format!("{base}s"),
        format!("{base}t"),
        format!("{base}z"),
        format!("{base}l"),
        events(base),
        format!("{base}n"),
        finished(State::Succeeded),
        finished(State::Dead),
        finished(State::Cancelled),
        finished(State::Expired),
    ]
}

/// The event log of the queue with this base.
pub(super) fn events(base: &str) -> String {
    format!("{base}ev")
}
