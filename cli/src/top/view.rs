//! What `top` shows, and what keys do to it. Knows no terminal and no broker.

use std::cmp::Ordering;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use lessor::JobState;
use lessor::proto::{Job, Worker};

use crate::queues::{COLUMNS, Row};

/// The states whose jobs can be shown, in the order of the keys.
pub(super) const STATES: [JobState; 9] = [
    JobState::Leased,
    JobState::Ready,
    JobState::Retrying,
    JobState::Scheduled,
    JobState::Blocked,
    JobState::Dead,
    JobState::Succeeded,
    JobState::Cancelled,
    JobState::Expired,
];

/// Lines that a page key moves by.
const PAGE: usize = 10;

/// What a look brought: each part, or why it could not be had.
pub(super) struct Seen {
    pub(super) rows: Result<Vec<Row>, String>,
    pub(super) jobs: Result<Vec<Job>, String>,
    pub(super) workers: Result<Vec<Worker>, String>,
}

/// What the next look is for.
pub(super) struct Wanted {
    pub(super) queue: Option<String>,
    pub(super) state: JobState,
}

/// What follows from a key, or from a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Draw again.
    Stay,
    /// Look again now: something else is wanted.
    Look,
    Quit,
}

pub(super) struct View {
    /// Sorted; what was seen last, also when a later look failed.
    pub(super) rows: Vec<Row>,
    pub(super) jobs: Result<Vec<Job>, String>,
    pub(super) workers: Result<Vec<Worker>, String>,
    /// Why the rows are old.
    pub(super) fault: Option<String>,
    /// The chosen queue by its name: it stays chosen wherever it is sorted to.
    selected: Option<String>,
    state: usize,
    /// The column to sort by.
    pub(super) column: usize,
    pub(super) descending: bool,
}

impl Default for View {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            jobs: Ok(Vec::new()),
            workers: Ok(Vec::new()),
            fault: None,
            selected: None,
            state: 0,
            column: 0,
            descending: false,
        }
    }
}

impl View {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { queue: self.selected.clone(), state: self.state() }
    }

    pub(super) fn state(&self) -> JobState {
        STATES.get(self.state).copied().unwrap_or_default()
    }

    /// The line of the chosen queue.
    pub(super) fn line(&self) -> Option<usize> {
        let name = self.selected.as_ref()?;
        self.rows.iter().position(|row| row.queue.name == *name)
    }

    pub(super) fn show(&mut self, seen: Seen) -> Step {
        self.jobs = seen.jobs;
        self.workers = seen.workers;
        match seen.rows {
            Ok(rows) => {
                self.rows = rows;
                self.fault = None;
                self.sort();
            }
            Err(why) => self.fault = Some(why),
        }
        if self.line().is_some() { Step::Stay } else { self.choose(0) }
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Step {
        if key.kind == KeyEventKind::Release {
            return Step::Stay;
        }
        let line = self.line().unwrap_or_default();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Step::Quit,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Step::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.choose(line.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.choose(line + 1),
            KeyCode::PageUp => self.choose(line.saturating_sub(PAGE)),
            KeyCode::PageDown => self.choose(line + PAGE),
            KeyCode::Home => self.choose(0),
            KeyCode::End => self.choose(usize::MAX),
            KeyCode::Char('>') => self.sort_by((self.column + 1) % COLUMNS.len()),
            KeyCode::Char('<') => self.sort_by((self.column + COLUMNS.len() - 1) % COLUMNS.len()),
            KeyCode::Char('r') => {
                self.descending = !self.descending;
                self.sort();
                Step::Stay
            }
            KeyCode::Right | KeyCode::Tab => self.turn_to((self.state + 1) % STATES.len()),
            KeyCode::Left | KeyCode::BackTab => {
                self.turn_to((self.state + STATES.len() - 1) % STATES.len())
            }
            _ => Step::Stay,
        }
    }

    /// Chooses the queue in a line, or the last one when there are fewer.
    fn choose(&mut self, line: usize) -> Step {
        let line = line.min(self.rows.len().saturating_sub(1));
        let name = self.rows.get(line).map(|row| row.queue.name.clone());
        if name == self.selected {
            return Step::Stay;
        }
        self.selected = name;
        self.jobs = Ok(Vec::new());
        Step::Look
    }

    fn turn_to(&mut self, state: usize) -> Step {
        self.state = state;
        self.jobs = Ok(Vec::new());
        Step::Look
    }

    /// Names begin with the first, numbers with the greatest.
    fn sort_by(&mut self, column: usize) -> Step {
        self.column = column;
        self.descending = column != 0;
        self.sort();
        Step::Stay
    }

    fn sort(&mut self) {
        let (column, descending) = (self.column, self.descending);
        self.rows.sort_by(|one, other| {
            let order = compare(one, other, column);
            let order = if descending { order.reverse() } else { order };
            order.then_with(|| one.queue.name.cmp(&other.queue.name))
        });
    }
}

fn compare(one: &Row, other: &Row, column: usize) -> Ordering {
    if column == 0 {
        return one.queue.name.cmp(&other.queue.name);
    }
    weight(one, column).total_cmp(&weight(other, column))
}

/// The number that stands for a cell of [`COLUMNS`].
#[expect(clippy::cast_precision_loss, reason = "it only orders what is shown")]
fn weight(Row { stats, .. }: &Row, column: usize) -> f64 {
    match COLUMNS.get(column).copied().unwrap_or_default() {
        "READY" => stats.ready as f64,
        "LEASED" => stats.leased as f64,
        "SCHEDULED" => stats.scheduled as f64,
        "RETRYING" => stats.retrying as f64,
        "BLOCKED" => stats.blocked as f64,
        "SUCCEEDED" => stats.succeeded as f64,
        "DEAD" => stats.dead as f64,
        "IN/S" => stats.enqueue_rate,
        "DONE/S" => stats.finish_rate,
        "OLDEST" => lessor::span::read(stats.oldest_ready_age).as_secs_f64(),
        // The sick first.
        _ => f64::from(u8::from(!stats.healthy)) * 2.0 + f64::from(u8::from(stats.paused)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use lessor::{Queue, QueueStats};

    use super::*;

    fn row(name: &str, ready: i64) -> Row {
        Row {
            queue: Queue { name: name.to_owned(), ..Queue::default() },
            stats: QueueStats { ready, healthy: true, ..QueueStats::default() },
        }
    }

    fn seen(rows: Vec<Row>) -> Seen {
        Seen { rows: Ok(rows), jobs: Ok(Vec::new()), workers: Ok(Vec::new()) }
    }

    fn view() -> View {
        let mut view = View::default();
        let first = view.show(seen(vec![row("a", 5), row("b", 50), row("c", 0)]));
        // The first queue is chosen now, and its jobs are not known yet.
        assert_eq!(first, Step::Look);
        view
    }

    fn names(view: &View) -> Vec<&str> {
        view.rows.iter().map(|row| row.queue.name.as_str()).collect()
    }

    fn press(view: &mut View, code: KeyCode) -> Step {
        view.press(KeyEvent::from(code))
    }

    #[test]
    fn the_greatest_numbers_come_first_and_the_order_can_be_turned() {
        let mut view = view();
        assert_eq!(names(&view), ["a", "b", "c"]);
        press(&mut view, KeyCode::Char('>'));
        assert_eq!((COLUMNS[view.column], names(&view)), ("READY", vec!["b", "a", "c"]));
        press(&mut view, KeyCode::Char('r'));
        assert_eq!(names(&view), ["c", "a", "b"]);
        press(&mut view, KeyCode::Char('<'));
        assert_eq!(names(&view), ["a", "b", "c"]);
    }

    #[test]
    fn the_chosen_queue_stays_chosen_when_the_order_changes() {
        let mut view = view();
        assert_eq!(press(&mut view, KeyCode::Down), Step::Look);
        assert_eq!(view.wanted().queue.unwrap(), "b");
        view.show(seen(vec![row("b", 0), row("a", 0), row("aa", 0)]));
        assert_eq!((view.line(), view.wanted().queue.unwrap().as_str()), (Some(2), "b"));
    }

    #[test]
    fn the_choice_stays_within_the_queues() {
        let mut view = view();
        assert_eq!(press(&mut view, KeyCode::Up), Step::Stay);
        press(&mut view, KeyCode::End);
        assert_eq!(view.line(), Some(2));
        assert_eq!(press(&mut view, KeyCode::PageDown), Step::Stay);
        // The chosen queue was deleted.
        view.show(seen(vec![row("a", 5)]));
        assert_eq!(view.wanted().queue.unwrap(), "a");
        view.show(seen(Vec::new()));
        assert_eq!(view.wanted().queue, None);
    }

    #[test]
    fn keys_choose_whose_jobs_are_shown() {
        let mut view = view();
        assert_eq!(view.wanted().state, JobState::Leased);
        assert_eq!(press(&mut view, KeyCode::Right), Step::Look);
        assert_eq!(view.wanted().state, JobState::Ready);
        press(&mut view, KeyCode::Left);
        press(&mut view, KeyCode::Left);
        assert_eq!(view.wanted().state, JobState::Expired);
    }

    #[test]
    fn what_was_seen_stays_when_a_look_fails() {
        let mut view = view();
        let failed = "no answer".to_owned();
        view.show(Seen {
            rows: Err(failed.clone()),
            jobs: Err(failed.clone()),
            workers: Err(failed.clone()),
        });
        assert_eq!((names(&view), view.fault.as_ref()), (vec!["a", "b", "c"], Some(&failed)));
        view.show(seen(vec![row("a", 1)]));
        assert_eq!(view.fault, None);
    }

    #[test]
    fn it_can_be_left() {
        let mut view = view();
        assert_eq!(press(&mut view, KeyCode::Char('q')), Step::Quit);
        assert_eq!(press(&mut view, KeyCode::Esc), Step::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(interrupt), Step::Quit);
        assert_eq!(press(&mut view, KeyCode::Char('c')), Step::Stay);
    }
}
