//! What goes to stdout: tables for people, proto JSON for programs.

use std::io::{self, IsTerminal, Stdout, Write};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{Row, Table, presets};
use lessor::proto::Job;
use lessor::{Payload, SettleOutcome, payload};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde::Serialize;

use crate::failure::Usage;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Jsonl,
}

/// Stdout, in the format that was asked for.
///
/// A reader that goes away is an error like any other here; `failure` makes nothing of it.
pub(crate) struct Output {
    format: Format,
    protocol: DescriptorPool,
    out: Stdout,
}

impl Output {
    pub(crate) fn new(format: Option<Format>) -> anyhow::Result<Self> {
        let out = io::stdout();
        let guess = if out.is_terminal() { Format::Table } else { Format::Json };
        let protocol = DescriptorPool::decode(lessor_proto::DESCRIPTOR_SET)?;
        Ok(Self { format: format.unwrap_or(guess), protocol, out })
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// A message of package `lessor.v1` by its name, ready to be written as proto JSON.
    pub(crate) fn dynamic(
        &self,
        name: &str,
        message: &impl Message,
    ) -> anyhow::Result<DynamicMessage> {
        let full_name = format!("lessor.v1.{name}");
        let descriptor = self.protocol.get_message_by_name(&full_name).context(full_name)?;
        Ok(DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?)
    }

    /// The other way: a message of package `lessor.v1` from its proto JSON.
    pub(crate) fn parse<M: Message + Default>(
        &self,
        name: &str,
        json: serde_json::Value,
    ) -> anyhow::Result<M> {
        let full_name = format!("lessor.v1.{name}");
        let descriptor = self.protocol.get_message_by_name(&full_name).context(full_name)?;
        let message = DynamicMessage::deserialize(descriptor, json)
            .map_err(|error| Usage(format!("this is no {name}: {error}")))?;
        Ok(message.transcode_to()?)
    }

    /// One message: as a table, on many lines of JSON, or on one.
    pub(crate) fn message(
        &mut self,
        name: &str,
        message: &impl Message,
        table: impl FnOnce() -> Table,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => self.table(table()),
            Format::Json => self.document(&self.dynamic(name, message)?),
            Format::Jsonl => self.line(&self.dynamic(name, message)?),
        }
    }

    /// Several messages: as a table, as a list of JSON, or one on each line.
    pub(crate) fn messages(
        &mut self,
        name: &str,
        messages: &[impl Message],
        table: impl FnOnce() -> Table,
    ) -> anyhow::Result<()> {
        if self.format == Format::Table {
            return self.table(table());
        }
        let messages: Vec<_> =
            messages.iter().map(|it| self.dynamic(name, it)).collect::<Result<_, _>>()?;
        self.values(&messages)
    }

    /// Several values for programs: a list of JSON, or one on each line.
    pub(crate) fn values(&mut self, values: &[impl Serialize]) -> anyhow::Result<()> {
        match self.format {
            Format::Table | Format::Json => self.document(&values),
            Format::Jsonl => values.iter().try_for_each(|value| self.line(value)),
        }
    }

    pub(crate) fn table(&mut self, mut table: Table) -> anyhow::Result<()> {
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.text(&table.trim_fmt())
    }

    /// JSON on many lines.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        self.text(&serde_json::to_string_pretty(value)?)
    }

    /// JSON on one line.
    pub(crate) fn line(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        self.text(&serde_json::to_string(value)?)
    }

    pub(crate) fn text(&mut self, text: &str) -> anyhow::Result<()> {
        let mut out = self.out.lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }
}

/// A table with a line of column names.
pub(crate) fn columns<const N: usize>(names: [&str; N]) -> Table {
    let mut table = plain();
    table.set_header(names);
    table
}

/// A table of one thing: a name and a value on each line, without those that say nothing.
pub(crate) fn facts<const N: usize>(facts: [(&str, String); N]) -> Table {
    let mut table = plain();
    table.add_rows(
        facts
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| Row::from([name.to_owned(), value])),
    );
    table
}

/// What became of a lease.
pub(crate) fn settled(job: Option<&Job>, outcome: SettleOutcome) -> Table {
    let job = job.cloned().unwrap_or_default();
    let mut table = columns(["JOB", "OUTCOME", "STATE", "RUNS AT"]);
    table.add_row([
        job.name.clone(),
        word(outcome.as_str_name()),
        word(job.state().as_str_name()),
        show(job.schedule_time.as_ref()),
    ]);
    table
}

/// A payload as text where it is text; otherwise only its size.
pub(crate) fn show_payload(payload: Option<&Payload>) -> String {
    let Some(payload) = payload else { return String::new() };
    let data = payload::read(payload);
    match std::str::from_utf8(&data) {
        Ok(text) if !text.contains(|it: char| it.is_control() && !it.is_whitespace()) => {
            text.to_owned()
        }
        _ => format!("({} bytes)", data.len()),
    }
}

/// A span of time in its two greatest units, such as `3m 20s`.
pub(crate) fn show_span(span: Option<prost_types::Duration>) -> String {
    let Some(span) = span else { return String::new() };
    let span = lessor::span::read(Some(span));
    let coarse = match span.as_secs() {
        0 => Duration::from_millis(span.as_millis().try_into().unwrap_or_default()),
        seconds @ ..3600 => Duration::from_secs(seconds),
        seconds @ ..86_400 => Duration::from_secs(seconds / 60 * 60),
        seconds => Duration::from_secs(seconds / 3600 * 3600),
    };
    humantime::format_duration(coarse).to_string()
}

/// Something that a reply may leave out, as people read it.
pub(crate) fn show(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// The word in the name of an enum's value: `STATE_READY` is `ready`.
pub(crate) fn word(name: &str) -> String {
    let prefixes = ["SETTLE_OUTCOME_", "EMPTY_REASON_", "OUTCOME_", "STATE_", "OVERLAP_"];
    let word = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    word.to_lowercase().replace('_', " ")
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}
