//! How far a long command has come: on stderr, and only on a terminal.

use std::fmt::Write;
use std::time::Duration;

use indicatif::style::TemplateError;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

const KNOWN: &str = "{wide_bar} {human_pos} of {human_len} {msg}, {rate}, {eta} left";
const UNKNOWN: &str = "{spinner} {human_pos} {msg}, {rate}, {elapsed}";
const TICK: Duration = Duration::from_millis(120);

/// A bar, or a number that grows when nobody knows how far there is to go. It goes when dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of so many things; `done` says what becomes of them.
    pub(crate) fn start(total: Option<u64>, done: &'static str) -> anyhow::Result<Self> {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), KNOWN),
            None => (ProgressBar::new_spinner(), UNKNOWN),
        };
        let bar = bar.with_style(style(template)?).with_message(done);
        bar.enable_steady_tick(TICK);
        Ok(Self(bar))
    }

    /// Whether anybody looks.
    pub(crate) fn is_seen(&self) -> bool {
        !self.0.is_hidden()
    }

    /// There are so many, it turns out.
    pub(crate) fn of(&self, total: u64) -> anyhow::Result<()> {
        self.0.set_length(total);
        self.0.set_style(style(KNOWN)?);
        Ok(())
    }

    pub(crate) fn reached(&self, count: u64) {
        self.0.set_position(count);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> Result<ProgressStyle, TemplateError> {
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        // A bar has nobody to tell that it could not be written.
        write!(out, "{:.0}/s", state.per_sec()).ok();
    };
    Ok(ProgressStyle::with_template(template)?.with_key("rate", rate))
}
