//! Every key of a queue: its name, type and meaning.
//!
//! All keys of a queue begin with the hash tag `{namespace:queue}`, so they live in one cluster
//! slot and each script touches one slot only.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `p` | zset | lines in use, by the negative of their priority |
//! | `r:<line>` | list | entries of ready jobs, in order; a line is `<priority>:<type>` |
//! | `s`, `t` | zset | ids of scheduled and of retrying jobs, by due time |
//! | `b` | zset | ids of blocked jobs, by create time |
//! | `z` | zset | ids of leased jobs, by the end of their visibility timeout |
//! | `l` | hash | id of a leased job → its lease |
//! | `e` | zset | ids of pending jobs that expire, by when |
//! | `f:<state>` | zset | ids of finished jobs, by purge time |
//! | `i:<term>` | zset | ids of jobs with a label or owner, by create time |
//! | `j` | hash | id of a job → its record ([`super::codec`]), or name of a page → records ([`super::pages`]) |
//! | `g` | hash | id of a job that is not as it was enqueued → its course |
//! | `h` | hash | name of a page → which of its jobs are still there |
//! | `m:<id>` | hash | what attempts left behind and a cancellation; only when there is something |
//! | `d:<key>` | string | who holds a dedup key, and until when |
//! | `n:<key>` | hash | holder of a dedup key → who waits behind it, and how it will hold the key |
//! | `q:<began>:<id>` | string | which job, or which of a group's jobs, a request made in this life of the queue; expires |
//! | `c:<id>` | string | which leases a claim's request made; expires |
//! | `k` | string | the ledger: counters and gates (`lua/ledger.lua`) |
//! | `cfg` | string | the revision of the queue's settings, a space, their record |
//! | `o` | - | never exists: deleting it is the first write of a settle |
//! | `ev`, `n` | stream, string | the event log and the number of its newest entry |
//!
//! An entry of a ready list is a place (6 bytes), since when the job is ready (6) and its id. Places
//! rise along a list and no two of a queue are the same, so lists of one priority are read as one. A
//! job never becomes ready twice at the same moment, so an entry is valid if the job is ready since
//! then. A job that leaves its line otherwise than by a claim may leave its
//! entry behind, stale.
//!
//! Beside them, per namespace: the set of queues, the epoch, a hash for each kind of documents, and a
//! key that only routes.
//! Keys with an id in their name are made by the scripts; they share the slot of the declared ones.

use crate::job::{QueueName, State};

/// The names that belong to all queues of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    name: String,
    channels: Channels,
}

/// Channels of which every script is told.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    /// A queue has ready jobs and had none.
    pub ready: String,
    /// Something falls due earlier than all else in a queue.
    pub due: String,
    /// A queue's event log grew.
    pub logged: String,
}

impl Namespace {
    pub(super) fn new(name: &str) -> Self {
        let channel = |what: &str| format!("{name}:{what}");
        let (ready, due, logged) = (channel("ready"), channel("due"), channel("logged"));
        Self { name: name.to_owned(), channels: Channels { ready, due, logged } }
    }

    /// Set of the names of all queues.
    pub(super) fn queues(&self) -> String {
        format!("{{{}}}:queues", self.name)
    }

    /// Random text, made once; another one means another or an emptied store.
    pub(super) fn epoch(&self) -> String {
        format!("{{{}}}:epoch", self.name)
    }

    /// Holds nothing: sends what has no key of its own always to the same node, and is deleted to see
    /// whether it takes writes.
    pub(super) fn anchor(&self) -> String {
        format!("{{{}}}:anchor", self.name)
    }

    /// Where scripts tell what they did.
    pub(super) fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Channel: a queue's settings were changed.
    pub(super) fn settings_channel(&self) -> String {
        format!("{}:settings", self.name)
    }

    /// Channel: a document of a kind was written, or the lease of a job was called off.
    pub(super) fn documents_channel(&self) -> String {
        format!("{}:documents", self.name)
    }

    /// Hash of the documents of a kind: key → revision, a space, body.
    pub(super) fn documents(&self, kind: &str) -> String {
        format!("{{{}}}:documents:{kind}", self.name)
    }

    /// Where the queue's name stands in what its keys begin with.
    pub(super) fn queue_at(&self) -> usize {
        "{:".len() + self.name.len()
    }

    /// What all keys of a queue begin with.
    pub(super) fn base(&self, queue: &QueueName) -> String {
        format!("{{{}:{queue}}}:", self.name)
    }
}

/// What the keys end with that prelude.lua expects as KEYS, in its order.
pub(super) const DECLARED: [&str; 18] = [
    of_state(State::Ready),
    of_state(State::Scheduled),
    of_state(State::Retrying),
    of_state(State::Blocked),
    of_state(State::Leased),
    "l",
    "e",
    EVENTS,
    "n",
    "k",
    SETTINGS,
    of_state(State::Succeeded),
    of_state(State::Dead),
    of_state(State::Cancelled),
    of_state(State::Expired),
    "j",
    "g",
    "h",
];

const EVENTS: &str = "ev";
const SETTINGS: &str = "cfg";

/// What the key of the zset of a state ends with.
pub(super) const fn of_state(state: State) -> &'static str {
    match state {
        State::Scheduled => "s",
        State::Retrying => "t",
        State::Blocked => "b",
        State::Leased => "z",
        State::Succeeded => "f:K",
        State::Dead => "f:D",
        State::Cancelled => "f:C",
        State::Expired => "f:E",
        // It has lists instead.
        State::Ready => "p",
    }
}

/// The term under which the jobs of an owner are indexed.
pub(super) fn owner_term(owner: &str) -> String {
    format!("o{owner}")
}

/// The term under which the jobs with a label are indexed.
pub(super) fn label_term(key: &str, value: &str) -> String {
    format!("l{}:{key}{value}", key.len())
}

/// What the key of a term ends with.
pub(super) fn of_term(term: &str) -> String {
    format!("i:{term}")
}

/// The event log of the queue with this base.
pub(super) fn events(base: &str) -> String {
    format!("{base}{EVENTS}")
}

/// The settings of the queue with this base.
pub(super) fn settings(base: &str) -> String {
    format!("{base}{SETTINGS}")
}
