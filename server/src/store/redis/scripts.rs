//! The scripts and how they are called: by hash, with their source when the server lacks it.

use redis::{Cmd, ServerErrorKind, ToRedisArgs, Value};

use super::CLAIM_SLACK;
use super::connect::Link;
use super::keys::{Channels, DECLARED, Namespace};
use crate::clock::{Timestamp, millis};
use crate::job::{DEFAULT_ATTEMPT_TIMEOUT, DEFAULT_LEASE_DURATION, HISTORY, QueueName};
use crate::store::{EVENTS_KEPT, Error, REQUEST_MEMORY, Result};

/// A script: what is sent, its hash, and what the keys of a queue end with that it gets.
pub(super) struct Script {
    source: String,
    hash: String,
    keys: Vec<&'static str>,
}

const PRELUDE: &str = include_str!("lua/prelude.lua");
const PAGES: &str = include_str!("lua/pages.lua");
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

/// What scripts without functions share: put in where they name it.
const SHARED: [(&str, &str); 8] = [
    ("--@ledger\n", include_str!("lua/hot/ledger.lua")),
    ("--@write_ledger\n", include_str!("lua/hot/write_ledger.lua")),
    ("--@forget\n", include_str!("lua/hot/forget.lua")),
    ("--@lease\n", include_str!("lua/hot/lease.lua")),
    // Behind what names it.
    ("--@due\n", include_str!("lua/hot/due.lua")),
    ("--@log\n", include_str!("lua/hot/log.lua")),
    ("--@taken\n", include_str!("lua/hot/taken.lua")),
    ("--@enter\n", include_str!("lua/hot/enter.lua")),
];

/// Names in scripts and what stands for them in the text that is sent: an argument costs each call more
/// than a short command does.
struct Constants([(&'static str, String); 11]);

impl Constants {
    fn new(namespace: &Namespace) -> Self {
        let quoted = |text: &dyn std::fmt::Display| format!("'{text}'");
        let Channels { ready, due, logged } = namespace.channels();
        Self([
            // Quoted where commands take them: Redis prints a number with all digits of a double.
            ("EVENTS_KEPT", quoted(&EVENTS_KEPT)),
            ("REQUEST_MEMORY", quoted(&millis(REQUEST_MEMORY))),
            ("DEFAULT_LEASE", millis(DEFAULT_LEASE_DURATION).to_string()),
            ("DEFAULT_TIMEOUT", millis(DEFAULT_ATTEMPT_TIMEOUT).to_string()),
            ("CLAIM_SLACK", millis(CLAIM_SLACK).to_string()),
            ("ATTEMPTS_KEPT", HISTORY.to_string()),
            ("READY_CHANNEL", quoted(ready)),
            ("DUE_CHANNEL", quoted(due)),
            ("LOG_CHANNEL", quoted(logged)),
            ("SETTINGS_CHANNEL", quoted(&namespace.settings_channel())),
            // The first character of a queue's name in what its keys begin with, counted from 1.
            ("QUEUE_FROM", (namespace.queue_at() + 1).to_string()),
        ])
    }

    /// A script of these parts, of which later ones use earlier ones.
    fn script(&self, parts: &[&str]) -> Script {
        let named = parts.join("\n");
        let source = self.0.iter().fold(named, |source, (name, value)| source.replace(name, value));
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Script { source, hash, keys: DECLARED.to_vec() }
    }

    /// A script of a queue: what all share, then these parts.
    fn of_queue(&self, parts: &[&str]) -> Script {
        self.script(&[&[PRELUDE], parts].concat())
    }

    /// A script on the hot path: it gets those keys only that it names.
    fn hot(&self, source: &str) -> Script {
        let source = SHARED
            .iter()
            .fold(source.to_owned(), |source, (name, part)| source.replace(name, part));
        let (source, keys) = with_own_keys(&source);
        Script { keys, ..self.script(&[&source]) }
    }
}

/// A script that names keys by their place among all that are declared, made to name them by their
/// place among those that it names; and what these end with.
fn with_own_keys(source: &str) -> (String, Vec<&'static str>) {
    const NAME: &str = "KEYS[";
    let (mut out, mut own) = (String::with_capacity(source.len()), Vec::new());
    for (index, part) in source.split(NAME).enumerate() {
        let named = part.split_once(']').filter(|_| index > 0);
        let key = named.and_then(|(number, rest)| {
            let place: usize = number.parse().ok()?;
            Some((*DECLARED.get(place.checked_sub(1)?)?, rest))
        });
        let Some((key, rest)) = key else {
            out.push_str(part);
            continue;
        };
        let place = own.iter().position(|known| *known == key).unwrap_or_else(|| {
            own.push(key);
            own.len() - 1
        });
        out.extend([NAME, &(place + 1).to_string(), "]", rest]);
    }
    (out, own)
}

/// All scripts. A call makes anew every function that its script defines, so what most jobs need has
/// scripts without any; each names the one that does the rest.
pub(super) struct Scripts {
    pub insert: Script,
    pub insert_any: Script,
    pub claim: Script,
    pub hand_over: Script,
    pub claim_any: Script,
    pub finish: Script,
    pub commit_any: Script,
    pub extend: Script,
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
    pub(super) fn new(namespace: &Namespace) -> Self {
        let constants = Constants::new(namespace);
        let queue = |parts: &[&str]| constants.of_queue(parts);
        let standing = [PAGES, JOB, LEDGER, READY, TIMES, TERMS, STANDING];
        let any = |parts: &[&str]| queue(&[&standing, parts].concat());
        let claim_any = include_str!("lua/claim_any.lua");
        let commit_any = include_str!("lua/commit_any.lua");
        let purge = include_str!("lua/purge.lua");
        let list_ready = include_str!("lua/list_ready.lua");
        let survey = include_str!("lua/survey.lua");
        Self {
            insert: constants.hot(include_str!("lua/insert.lua")),
            insert_any: any(&[BATCH, DEDUP, ENQUEUE, include_str!("lua/insert_any.lua")]),
            claim: constants.hot(include_str!("lua/claim.lua")),
            hand_over: constants.hot(include_str!("lua/hand_over.lua")),
            claim_any: queue(&[PAGES, JOB, LEDGER, READY, LINES, GATES, claim_any]),
            finish: constants.hot(include_str!("lua/finish.lua")),
            commit_any: any(&[BATCH, DEDUP, ENQUEUE, FOLLOWUPS, commit_any]),
            extend: queue(&[PAGES, JOB, include_str!("lua/extend.lua")]),
            promote: queue(&[PAGES, JOB, LEDGER, READY, BYTES, include_str!("lua/promote.lua")]),
            overdue: queue(&[PAGES, JOB, include_str!("lua/overdue.lua")]),
            purge: queue(&[PAGES, JOB, LEDGER, READY, LINES, TERMS, purge]),
            next_due: queue(&[LEDGER, include_str!("lua/next_due.lua")]),
            read: queue(&[PAGES, JOB, include_str!("lua/read.lua")]),
            list: queue(&[PAGES, JOB, BYTES, include_str!("lua/list.lua")]),
            list_ready: queue(&[PAGES, JOB, LEDGER, READY, LINES, SEARCH, list_ready]),
            ahead: queue(&[PAGES, JOB, LEDGER, READY, SEARCH, include_str!("lua/ahead.lua")]),
            survey: queue(&[PAGES, JOB, LEDGER, READY, LINES, TERMS, survey]),
            configure: queue(&[LEDGER, include_str!("lua/configure.lua")]),
            wipe: queue(&[PAGES, JOB, LEDGER, READY, TERMS, include_str!("lua/wipe.lua")]),
            log_end: queue(&[include_str!("lua/log_end.lua")]),
            documents: constants.script(&[include_str!("lua/documents.lua")]),
        }
    }
}

/// What a call of a few jobs has room for without growing.
const USUAL_ARGUMENTS: usize = 96;
const USUAL_BYTES: usize = 4096;

/// One call of a script: its keys and arguments, those first that it shares with others.
pub(super) struct Call<'s> {
    script: &'s Script,
    command: Cmd,
}

impl<'s> Call<'s> {
    /// A call of a script of a queue.
    pub(super) fn new(
        script: &'s Script,
        namespace: &Namespace,
        queue: &QueueName,
        now: Timestamp,
    ) -> Self {
        let mut command = Cmd::with_capacity(USUAL_ARGUMENTS, USUAL_BYTES);
        command.arg("EVALSHA").arg(&script.hash).arg(script.keys.len());
        let mut key = namespace.base(queue);
        let base = key.len();
        for end in &script.keys {
            key.push_str(end);
            command.arg(&key);
            key.truncate(base);
        }
        command.arg(key).arg(now.as_millis());
        Self { script, command }
    }

    /// A call of a script that works on these keys.
    pub(super) fn on(script: &'s Script, keys: &[String]) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&script.hash).arg(keys.len()).arg(keys);
        Self { script, command }
    }

    /// Adds a number or text.
    pub(super) fn text(&mut self, value: impl ToRedisArgs) -> &mut Self {
        self.command.arg(value);
        self
    }

    /// Adds bytes.
    pub(super) fn bytes(&mut self, value: impl AsRef<[u8]>) -> &mut Self {
        self.command.arg(value.as_ref());
        self
    }

    /// Adds numbers as one argument, of 8 bytes each.
    pub(super) fn numbers<const N: usize>(&mut self, numbers: [u64; N]) -> &mut Self {
        self.bytes(numbers.map(u64::to_be_bytes).concat())
    }

    /// Adds a number, or the empty argument that stands for none.
    pub(super) fn number(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.text(number),
            None => self.text(""),
        }
    }

    /// Adds a moment in ms, or the empty argument that stands for none.
    pub(super) fn moment(&mut self, moment: Option<Timestamp>) -> &mut Self {
        self.number(moment.map(Timestamp::as_millis))
    }

    /// Adds a record, or the empty argument that stands for none.
    pub(super) fn maybe(&mut self, record: Option<Vec<u8>>) -> &mut Self {
        // A record of nothing but defaults is encoded as nothing. Written out as a zero in field
        // 15, which none of these records has, it says the same and is not taken for none.
        let blank = |bytes: &Vec<u8>| bytes.is_empty();
        let record = record.map(|bytes| if blank(&bytes) { vec![15 << 3, 0] } else { bytes });
        self.bytes(record.unwrap_or_default())
    }

    /// Runs the script.
    pub(super) async fn run(&self, link: &Link) -> Result<Ran> {
        match link.ask(&self.command).await {
            Ok(answer) => Ok(Ran { answer, again: false }),
            Err(error) if is_no_script(&error) => {
                // A fresh, flushed or failed-over server: EVAL makes it learn the script.
                let mut command = redis::cmd("EVAL");
                command.arg(&self.script.source);
                for argument in self.command.args_iter().skip(2) {
                    if let redis::Arg::Simple(argument) = argument {
                        command.arg(argument);
                    }
                }
                let answer = link.ask(&command).await.map_err(unavailable)?;
                Ok(Ran { answer, again: true })
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}

/// What a script answered.
pub(super) struct Ran {
    pub answer: Value,
    /// It was sent twice, so it ran later than what was sent right after it.
    pub again: bool,
}

fn is_no_script(error: &redis::RedisError) -> bool {
    error.kind() == ServerErrorKind::NoScript.into()
}

/// A number of things in memory as scripts get it.
pub(super) fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// What an error of the server means for the caller.
#[expect(clippy::needless_pass_by_value, reason = "it maps errors, which come by value")]
pub(super) fn unavailable(error: redis::RedisError) -> Error {
    match error.code() {
        Some("OOM") => Error::Full(error.to_string()),
        _ => Error::Unavailable(error.to_string()),
    }
}

/// The end of a script's answer that says that it did nothing, because it can't.
pub(super) fn is_declined(answer: &Value) -> bool {
    match answer {
        Value::BulkString(word) => word == b"any",
        Value::SimpleString(word) => word == "any",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::with_own_keys;

    #[test]
    fn a_hot_script_gets_the_keys_that_it_names() {
        let (source, keys) = with_own_keys("a(KEYS[10], KEYS[1])\nb(KEYS[10]) -- KEYS");
        assert_eq!(source, "a(KEYS[1], KEYS[2])\nb(KEYS[1]) -- KEYS");
        assert_eq!(keys, ["k", "p"]);
    }
}
