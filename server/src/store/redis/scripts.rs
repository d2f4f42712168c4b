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

impl Script {
    fn new(body: &str) -> Self {
        let source = format!("{}\n{body}", include_str!("lua/prelude.lua"));
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }
}

/// All scripts.
pub(super) struct Scripts {
    pub insert: Script,
    pub claim: Script,
    pub extend: Script,
    pub commit: Script,
    pub promote: Script,
    pub overdue: Script,
    pub purge: Script,
    pub read: Script,
    pub survey: Script,
    pub log_end: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            insert: Script::new(include_str!("lua/insert.lua")),
            claim: Script::new(include_str!("lua/claim.lua")),
            extend: Script::new(include_str!("lua/extend.lua")),
            commit: Script::new(include_str!("lua/commit.lua")),
            promote: Script::new(include_str!("lua/promote.lua")),
            overdue: Script::new(include_str!("lua/overdue.lua")),
            purge: Script::new(include_str!("lua/purge.lua")),
            read: Script::new(include_str!("lua/read.lua")),
            survey: Script::new(include_str!("lua/survey.lua")),
            log_end: Script::new(include_str!("lua/log_end.lua")),
        }
    }
}

/// One call of a script: what every script gets, then its own arguments.
pub(super) struct Call {
    arguments: Vec<Argument>,
    keys: [String; 11],
    common: [String; 6],
}

enum Argument {
    Text(String),
    Bytes(bytes::Bytes),
}

impl Call {
    pub(super) fn new(namespace: &Namespace, queue: &QueueName, now: Timestamp) -> Self {
        let base = namespace.base(queue);
        let keys = keys::declared(&base);
        let common = [
            base,
            queue.to_string(),
            namespace.ready_channel(),
            namespace.due_channel(),
            namespace.logged_channel(),
            now.as_millis().to_string(),
        ];
        Self { arguments: Vec::new(), keys, common }
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
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.common);
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
