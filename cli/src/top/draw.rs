//! How `top` looks: the queues, below them the jobs of the chosen one and the workers.

use lessor::proto::{Job, Worker};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row as TableRow, Table, TableState, Wrap};

use super::view::{STATES, View};
use crate::jobs;
use crate::output::word;
use crate::queues::{self, COLUMNS, Row};

const KEYS: &str = "q quit  \u{2191}\u{2193} queue  \u{2190}\u{2192} jobs  <> sort  r reverse";

pub(super) fn draw(frame: &mut Frame, view: &mut View) {
    let [head, queues, details, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [jobs, workers] =
        Layout::horizontal([Constraint::Fill(2), Constraint::Fill(1)]).areas(details);
    draw_head(frame, head, view);
    draw_queues(frame, queues, view);
    draw_jobs(frame, jobs, view);
    draw_workers(frame, workers, view);
    let foot_line = match &view.fault {
        Some(why) => Line::from(why.as_str()).red(),
        None => Line::from(KEYS).dim(),
    };
    frame.render_widget(foot_line, foot);
}

fn draw_head(frame: &mut Frame, area: Rect, view: &View) {
    let sum = |of: fn(&Row) -> i64| view.rows.iter().map(of).sum::<i64>();
    let ready = sum(|row| row.stats.ready);
    let leased = sum(|row| row.stats.leased);
    let dead = sum(|row| row.stats.dead);
    let count = view.rows.len();
    let noun = if count == 1 { "queue" } else { "queues" };
    let text = format!("lessor  {count} {noun}  {ready} ready  {leased} leased  {dead} dead");
    frame.render_widget(Line::from(text).bold(), area);
}

fn draw_queues(frame: &mut Frame, area: Rect, view: &View) {
    let cells: Vec<[String; COLUMNS.len()]> = view.rows.iter().map(queues::cells).collect();
    let header = COLUMNS.iter().enumerate().map(|(column, name)| {
        let arrow = match (column == view.column, view.descending) {
            (false, _) => "",
            (true, true) => "\u{2193}",
            (true, false) => "\u{2191}",
        };
        aligned(column, format!("{name}{arrow}"))
    });
    let rows = view.rows.iter().zip(&cells).map(|(row, cells)| {
        let cells = cells.iter().enumerate().map(|(column, cell)| aligned(column, cell.clone()));
        TableRow::new(cells).style(mood(row))
    });
    // The arrow needs a place of its own, or the columns would move with it.
    let widths = (0..COLUMNS.len()).map(|column| {
        let longest = cells.iter().map(|line| line[column].chars().count()).max();
        let width = longest.unwrap_or_default().max(COLUMNS[column].len() + 1);
        Constraint::Length(width.try_into().unwrap_or(u16::MAX))
    });
    let table = Table::new(rows, widths)
        .header(TableRow::new(header).style(Modifier::BOLD))
        .column_spacing(1)
        .row_highlight_style(Modifier::REVERSED);
    let mut state = TableState::default().with_selected(view.line());
    frame.render_stateful_widget(table, area, &mut state);
}

/// Names to the left, numbers to the right.
fn aligned(column: usize, text: String) -> Cell<'static> {
    let text = Text::from(text);
    let words = column == 0 || column + 1 == COLUMNS.len();
    Cell::from(if words { text.left_aligned() } else { text.right_aligned() })
}

fn mood(Row { stats, .. }: &Row) -> Style {
    match (stats.healthy, stats.paused) {
        (false, _) => Style::from(Color::Red),
        (true, true) => Style::from(Color::Yellow),
        (true, false) => Style::default(),
    }
}

fn draw_jobs(frame: &mut Frame, area: Rect, view: &View) {
    let mut title = vec![Span::from(" ")];
    for state in STATES {
        let name = Span::from(word(state.as_str_name()));
        title.push(if state == view.state() { name.reversed() } else { name.dim() });
        title.push(Span::from(" "));
    }
    let block = Block::new().borders(Borders::TOP).title(Line::from(title));
    let lines = |jobs: &[Job]| -> Vec<[String; 4]> { jobs.iter().map(job).collect() };
    draw_list(frame, area, block, &view.jobs, ["JOB", "TYPE", "TRY", "NOTE"], lines);
}

fn job(job: &Job) -> [String; 4] {
    let id = job.name.rsplit('/').next().unwrap_or_default();
    let notes = [jobs::next(job), jobs::note(job)];
    let notes: Vec<&str> =
        notes.iter().map(String::as_str).filter(|note| !note.is_empty()).collect();
    [id.to_owned(), job.r#type.clone(), job.attempt.to_string(), notes.join(", ")]
}

fn draw_workers(frame: &mut Frame, area: Rect, view: &View) {
    let block = Block::new().borders(Borders::TOP | Borders::LEFT).title(" workers ");
    let lines = |workers: &[Worker]| -> Vec<[String; 2]> {
        let line = |it: &Worker| [it.worker_id.clone(), it.display_name.clone()];
        workers.iter().map(line).collect()
    };
    draw_list(frame, area, block, &view.workers, ["WORKER", "NAME"], lines);
}

/// A list under a title, or in its place why there is none.
fn draw_list<T, const N: usize>(
    frame: &mut Frame,
    area: Rect,
    block: Block,
    things: &Result<Vec<T>, String>,
    names: [&str; N],
    lines: impl Fn(&[T]) -> Vec<[String; N]>,
) {
    let lines = match things {
        Ok(things) => lines(things),
        Err(why) => {
            let text = Paragraph::new(why.as_str()).red().wrap(Wrap { trim: true });
            return frame.render_widget(text.block(block), area);
        }
    };
    let widths = (0..N).map(|column| {
        let longest = lines.iter().map(|line| line[column].chars().count()).max();
        let width = longest.unwrap_or_default().max(names[column].len());
        Constraint::Length(width.try_into().unwrap_or(u16::MAX))
    });
    let table = Table::new(lines.iter().cloned().map(TableRow::new), widths)
        .header(TableRow::new(names.map(str::to_owned)).style(Modifier::DIM))
        .column_spacing(2)
        .block(block);
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use crossterm::event::{KeyCode, KeyEvent};
    use lessor::{JobState, Queue, QueueStats};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::super::view::Seen;
    use super::*;

    fn row(name: &str, ready: i64, healthy: bool) -> Row {
        let oldest = prost_types::Duration { seconds: 200, nanos: 5 };
        Row {
            queue: Queue { name: name.to_owned(), ..Queue::default() },
            stats: QueueStats {
                ready,
                leased: 3,
                dead: 2,
                enqueue_rate: 12.34,
                oldest_ready_age: Some(oldest),
                healthy,
                ..QueueStats::default()
            },
        }
    }

    fn view() -> View {
        let running = Job {
            name: "queues/emails/jobs/17".to_owned(),
            r#type: "welcome".to_owned(),
            state: JobState::Leased.into(),
            worker_id: "w1".to_owned(),
            attempt: 2,
            ..Job::default()
        };
        let worker = Worker { worker_id: "w1".to_owned(), ..Worker::default() };
        let mut view = View::default();
        let seen = || Seen {
            rows: Ok(vec![row("orders", 7, false), row("emails", 50, true)]),
            jobs: Ok(vec![running.clone()]),
            workers: Ok(vec![worker.clone()]),
        };
        // The first look chooses the queue whose jobs the second one brings.
        view.show(seen());
        view.show(seen());
        view
    }

    fn buffer(view: &mut View, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let width = usize::from(buffer.area.width);
        let symbols: Vec<&str> = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
        symbols.chunks(width).map(|line| line.concat().trim_end().to_owned()).collect()
    }

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn everything_has_its_place() {
        let drawn = lines(&buffer(&mut view(), 120, 12));
        assert_eq!(drawn[0], "lessor  2 queues  57 ready  6 leased  4 dead");
        assert_eq!(words(&drawn[1])[..3], ["QUEUE\u{2191}", "READY", "LEASED"]);
        let emails =
            ["emails", "50", "3", "0", "0", "0", "0", "2", "12.3", "0.0", "3m", "20s", "healthy"];
        assert_eq!(words(&drawn[2]), emails);
        assert_eq!(words(&drawn[3]).last(), Some(&"unhealthy"));
        let half = drawn.iter().position(|line| line.contains("workers")).unwrap();
        assert!(drawn[half].contains("leased ready retrying"), "{drawn:#?}");
        assert_eq!(words(&drawn[half + 2])[..4], ["17", "welcome", "2", "lease"]);
        assert!(drawn[half + 2].contains("w1") && drawn[11].starts_with("q quit"), "{drawn:#?}");
    }

    #[test]
    fn the_chosen_queue_and_the_sick_one_stand_out() {
        let drawn = buffer(&mut view(), 120, 12);
        assert!(drawn[(0, 2)].modifier.contains(Modifier::REVERSED));
        assert!(!drawn[(0, 3)].modifier.contains(Modifier::REVERSED));
        assert_eq!(drawn[(0, 3)].fg, Color::Red);
    }

    #[test]
    fn the_column_to_sort_by_is_marked() {
        let mut view = view();
        view.press(KeyEvent::from(KeyCode::Char('>')));
        let drawn = lines(&buffer(&mut view, 120, 12));
        assert_eq!(words(&drawn[1])[..2], ["QUEUE", "READY\u{2193}"]);
        assert_eq!(words(&drawn[2])[..2], ["emails", "50"]);
    }

    #[test]
    fn a_broker_that_is_gone_is_told_and_the_numbers_stay() {
        let mut view = view();
        let gone = || "no answer from http://x".to_owned();
        view.show(Seen { rows: Err(gone()), jobs: Err(gone()), workers: Err(gone()) });
        let drawn = lines(&buffer(&mut view, 120, 12));
        assert_eq!(drawn[11], "no answer from http://x");
        assert_eq!(words(&drawn[2])[..2], ["emails", "50"]);
    }

    #[test]
    fn a_chosen_queue_below_the_edge_is_scrolled_to() {
        let mut view = View::default();
        let rows = (0..100).map(|number| row(&format!("q{number:02}"), 1, true)).collect();
        view.show(Seen { rows: Ok(rows), jobs: Ok(Vec::new()), workers: Ok(Vec::new()) });
        view.press(KeyEvent::from(KeyCode::End));
        let drawn = lines(&buffer(&mut view, 120, 20));
        assert!(drawn.iter().any(|line| line.starts_with("q99")), "{drawn:#?}");
    }

    #[test]
    fn a_small_terminal_is_no_fault() {
        for (width, height) in [(1, 1), (10, 3), (40, 5)] {
            buffer(&mut view(), width, height);
        }
    }
}
