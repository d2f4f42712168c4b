//! The scripts and how they are called: by hash, with their source when the server lacks it.

use redis::{Cmd, ServerErrorKind};

use super::connect::Link;
use super::keys::{self, Namespace};
use crate::clock::Timestamp;
use crate::job::QueueName;
use crate::store::{Error, Result};

/// A script: what is sent, and its hash.
pub(super) struct Script {
    source: String,
    hash: String,
}

const PRELUDE: &str = include_str!("lua/prelude.lua");
const JOB: &str = include_str!("lua/job.lua");
const LEDGER: &str = include_str!("lua/ledger.lua");
const READY: &str = include_str!("lua/ready.lua");
const LINES: &str = include_str!("lua/lines.lua");
const SEARCH: &str = include_str!("lua/search.lua");
const TIMES: &str = include_str!("lua/times.lua");
const TERMS: &str = include_str!("lua/terms.lua");
const STANDING: &str = include_str!("lua/standing.lua");
const BATCH: &str = include_str!("lua/batch.lua");
const DEDUP: &str = include_str!("lua/dedup.lua");
const ENQUEUE: &str = include_str!("lua/enqueue.lua");
const FOLLOWUPS: &str = include_str!("lua/followups.lua");
const BYTES: &str = include_str!("lua/bytes.lua");
const GATES: &str = include_str!("lua/gates.lua");

impl Script {
    /// A script of these parts, of which later ones use earlier ones.
    fn new(parts: &[&str]) -> Self {
        let source = parts.join("\n");
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }

    /// A script of a queue: what all share, then these parts.
    fn of_queue(parts: &[&str]) -> Self {
        Self::new(&[&[PRELUDE], parts].concat())
    }
}

/// All scripts. Each call makes anew what its script defines, so what many jobs do without has scripts
/// with less of it.
pub(super) struct Scripts {
    /// Of jobs without extras.
    pub insert: Script,
    pub insert_any: Script,
    pub claim: Script,
    pub extend: Script,
    /// Of leased jobs that hold no dedup key and have no follow-ups.
    pub commit: Script,
    pub commit_any: Script,
    pub promote: Script,
    pub overdue: Script,
    pub purge: Script,
    pub next_due: Script,
    pub read: Script,
    pub list: Script,
    pub list_ready: Script,
    pub ahead: Script,
    pub survey: Script,
    pub configure: Script,
    pub wipe: Script,
    pub log_end: Script,
    pub documents: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let queue = Script::of_queue;
        let insert = include_str!("lua/insert.lua");
        let commit = include_str!("lua/commit.lua");
        let standing = [JOB, LEDGER, READY, TIMES, TERMS, STANDING];
        let any = |parts: &[&str]| queue(&[&standing, parts].concat());
        let claim = include_str!("lua/claim.lua");
        let purge = include_str!("lua/purge.lua");
        let list_ready = include_str!("lua/list_ready.lua");
        let survey = include_str!("lua/survey.lua");
        Self {
            insert: queue(&[LEDGER, READY, TIMES, BATCH, ENQUEUE, insert]),
            insert_any: any(&[BATCH, DEDUP, ENQUEUE, insert]),
            claim: queue(&[JOB, LEDGER, READY, LINES, GATES, claim]),
            extend: queue(&[JOB, include_str!("lua/extend.lua")]),
            commit: queue(&[JOB, LEDGER, READY, TIMES, TERMS, commit]),
            commit_any: any(&[BATCH, DEDUP, ENQUEUE, FOLLOWUPS, commit]),
            promote: queue(&[LEDGER, READY, BYTES, include_str!("lua/promote.lua")]),
            overdue: queue(&[JOB, include_str!("lua/overdue.lua")]),
            purge: queue(&[JOB, LEDGER, READY, LINES, TERMS, purge]),
            next_due: queue(&[include_str!("lua/next_due.lua")]),
            read: queue(&[JOB, include_str!("lua/read.lua")]),
            list: queue(&[JOB, BYTES, include_str!("lua/list.lua")]),
            list_ready: queue(&[JOB, LEDGER, READY, LINES, SEARCH, list_ready]),
            ahead: queue(&[JOB, LEDGER, READY, SEARCH, include_str!("lua/ahead.lua")]),
            survey: queue(&[JOB, LEDGER, READY, LINES, TERMS, survey]),
            configure: queue(&[LEDGER, include_str!("lua/configure.lua")]),
            wipe: queue(&[JOB, LEDGER, READY, TERMS, include_str!("lua/wipe.lua")]),
            log_end: queue(&[include_str!("lua/log_end.lua")]),
            documents: Script::new(&[include_str!("lua/documents.lua")]),
        }
    }
}

/// One call of a script: its keys and arguments, those first that it shares with others.
pub(super) struct Call {
    arguments: Vec<Argument>,
    keys: Vec<String>,
}

enum Argument {
    Text(String),
    Bytes(bytes::Bytes),
}

impl Call {
    /// A call of a script of a queue.
    pub(super) fn new(namespace: &Namespace, queue: &QueueName, now: Timestamp) -> Self {
        let base = namespace.base(queue);
        let keys = keys::declared(&base).into();
        let mut call = Self::on(keys);
        call.text(base).text(queue);
        call.text(namespace.ready_channel()).text(namespace.due_channel());
        call.text(namespace.logged_channel()).text(now.as_millis());
        call
    }

    /// A call of a script that works on these keys.
    pub(super) fn on(keys: Vec<String>) -> Self {
        Self { arguments: Vec::new(), keys }
    }

    /// Adds a number or text.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers and literals")]
    pub(super) fn text(&mut self, value: impl ToString) -> &mut Self {
        self.arguments.push(Argument::Text(value.to_string()));
        self
    }

    /// Adds bytes.
    pub(super) fn bytes(&mut self, value: impl Into<bytes::Bytes>) -> &mut Self {
        self.arguments.push(Argument::Bytes(value.into()));
        self
    }

    /// Adds a moment in ms, or the empty argument that stands for none.
    pub(super) fn moment(&mut self, moment: Option<Timestamp>) -> &mut Self {
        self.text(moment.map_or(String::new(), |moment| moment.as_millis().to_string()))
    }

    /// Adds a record, or the empty argument that stands for none.
    pub(super) fn maybe(&mut self, record: Option<Vec<u8>>) -> &mut Self {
        // A record of nothing but defaults is encoded as nothing. Written out as a zero in field
        // 15, which none of these records has, it says the same and is not taken for none.
        let blank = |bytes: &Vec<u8>| bytes.is_empty();
        let record = record.map(|bytes| if blank(&bytes) { vec![15 << 3, 0] } else { bytes });
        self.bytes(record.unwrap_or_default())
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(self.keys.len()).arg(&self.keys);
        for argument in &self.arguments {
            match argument {
                Argument::Text(text) => command.arg(text),
                Argument::Bytes(bytes) => command.arg(&**bytes),
            };
        }
        command
    }

    /// Runs `script`.
    pub(super) async fn run(&self, link: &Link, script: &Script) -> Result<redis::Value> {
        match link.ask(&self.command("EVALSHA", &script.hash)).await {
            Err(error) if is_no_script(&error) => {
                // A fresh, flushed or failed-over server: EVAL makes it learn the script.
                link.ask(&self.command("EVAL", &script.source)).await.map_err(unavailable)
            }
            other => other.map_err(unavailable),
        }
    }
}

fn is_no_script(error: &redis::RedisError) -> bool {
    error.kind() == ServerErrorKind::NoScript.into()
}

/// What an error of the server means for the caller.
#[expect(clippy::needless_pass_by_value, reason = "it maps errors, which come by value")]
pub(super) fn unavailable(error: redis::RedisError) -> Error {
    match error.code() {
        Some("OOM") => Error::Full(error.to_string()),
        _ => Error::Unavailable(error.to_string()),
    }
}
