//! `lessor top`: the queues, live in the terminal. [`view`] is what is shown and what keys do to
//! it, [`draw`] is how it looks; only this file has to do with the terminal and the broker.

mod draw;
mod view;

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use futures_util::future::{Fuse, FusedFuture, FutureExt};
use lessor::{Client, JobQuery};
use ratatui::DefaultTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::failure::{self, Interrupted};
use crate::output::{Format, Output};
use crate::queues;
use view::{Seen, Step, View, Wanted};

/// How many jobs of a queue are looked at.
const JOBS: i32 = 50;

const EXAMPLES: &str = "\
Examples:
  lessor top
  lessor top --interval 5s

Keys: up and down choose a queue, < and > the column to sort by, r turns the order round, left and
right choose which of the queue's jobs are shown, q quits.";

/// Show the queues live in the terminal, with the jobs of one of them and the workers.
///
/// When the output is no terminal, or not a table, the queues are printed once.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Top {
    /// How often to look.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) {
        return Err("at least 100ms".to_owned());
    }
    Ok(interval)
}

impl Top {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        if out.format() != Format::Table || !io::stdout().is_terminal() {
            return queues::list(client, &[], out).await;
        }
        let mut screen = Screen::open()?;
        watch(client, &mut screen.terminal, self.interval).await
    }
}

/// The terminal while it is ours. It is given back when this goes, and when something panics.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn watch(
    client: &Client,
    terminal: &mut DefaultTerminal,
    interval: Duration,
) -> anyhow::Result<()> {
    let mut view = View::default();
    let mut events = EventStream::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looking = pin!(Fuse::terminated());
    loop {
        terminal.draw(|frame| draw::draw(frame, &mut view))?;
        // Each branch may be dropped: a look is kept outside, the others lose nothing.
        let step = tokio::select! {
            event = events.next() => match event.transpose()? {
                Some(Event::Key(key)) => view.press(key),
                Some(_) => Step::Stay,
                None => Step::Quit,
            },
            _ = terminate.recv() => return Err(Interrupted.into()),
            _ = ticks.tick(), if looking.is_terminated() => {
                looking.set(look(client, view.wanted()).fuse());
                Step::Stay
            }
            seen = &mut looking, if !looking.is_terminated() => view.show(seen),
        };
        match step {
            Step::Stay => {}
            Step::Look => {
                looking.set(Fuse::terminated());
                ticks.reset_immediately();
            }
            Step::Quit => return Ok(()),
        }
    }
}

/// What there is to see. What can't be had is told in its place, and the rest is shown.
async fn look(client: &Client, wanted: Wanted) -> Seen {
    let rows = queues::survey(client, &[]);
    let jobs = async {
        let Some(queue) = wanted.queue else { return Ok(Vec::new()) };
        let state = wanted.state.as_str_name().replace("STATE_", "state=");
        let query = JobQuery::queue(queue).filter(state).page_size(JOBS);
        Ok(client.list_jobs(&query).await?.jobs)
    };
    let workers = client.list_workers();
    let (rows, jobs, workers) = tokio::join!(rows, jobs, workers);
    let tell = |error: lessor::Error| failure::sentence(&error);
    Seen { rows: rows.map_err(tell), jobs: jobs.map_err(tell), workers: workers.map_err(tell) }
}
