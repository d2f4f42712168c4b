//! What operators and sweeps do in a history.

use std::time::Duration;

use super::{ALL, History, Reply};
use crate::fixture::{expired, payload, seconds};
use crate::job::operate::{self, Update};
use crate::job::{Event, EventKind, Job, QueueSettings, RetryPolicy, State, Transition};
use crate::store::{Guarded, Store};

impl History {
    /// Moves a job by hand, as it is now or as it was read before.
    pub(super) async fn operate(&mut self) {
        let jobs = self.memory.jobs().count();
        if jobs == 0 {
            return;
        }
        let now = self.memory.jobs().nth(self.random.usize(..jobs)).unwrap().clone();
        self.readings.push(now.clone());
        let job = if self.one_in(6) {
            self.readings[self.random.usize(..self.readings.len())].clone()
        } else {
            now
        };
        if let Some(decided) = self.decide(&job) {
            self.commit(vec![decided]).await;
        }
    }

    fn decide(&mut self, job: &Job) -> Option<Transition> {
        let now = self.now;
        let decided = match self.random.u32(..7) {
            0 => operate::cancel(job, "by hand", now),
            1 => operate::promote(job, "", now),
            2 | 3 => operate::redrive(job, "", now),
            4 => operate::revoke(job, "", now),
            5 => operate::delete(job, "", now),
            _ => {
                let update = self.update();
                operate::update(job, update, now)
            }
        };
        decided.ok()
    }

    fn update(&mut self) -> Update {
        let labels = self.one_in(2).then(|| ("label".to_owned(), "value".to_owned()));
        Update {
            payload: self.one_in(3).then(|| Some(payload("updated"))),
            priority: self.one_in(2).then(|| [0, 0, 1, 1000][self.random.usize(..4)]),
            scheduled: self.one_in(3).then(|| {
                let span = self.span(60_000);
                if self.one_in(2) { self.now.after(span) } else { self.now.before(span) }
            }),
            labels: self.one_in(3).then(|| labels.into_iter().collect()),
            retry: self.one_in(4).then(RetryPolicy::default),
        }
    }

    /// Pauses or resumes the queue, or lets more or fewer jobs be leased at once.
    pub(super) async fn configure(&mut self) {
        let settings = QueueSettings {
            paused: self.one_in(4),
            max_leased: self.one_in(2).then(|| self.random.u32(1..6)),
            ..self.memory.settings.clone()
        };
        self.set(settings).await;
    }

    pub(super) async fn set(&mut self, settings: QueueSettings) {
        let name = self.queue.name.clone();
        let event = Event::of_queue(EventKind::QueueUpdated, self.now, name.clone());
        let result = self.store.set_settings(&name, &settings, &event, self.now).await;
        let reply = self.reply(|| format!("{settings:?}"), result);
        if !matches!(reply, Reply::Undone) {
            self.memory.set(&settings, &event);
            if let Reply::Answered(outcome) = reply {
                assert_eq!(outcome, Guarded::Applied);
            }
        }
    }

    /// Takes back what is overdue, as a broker's sweep does.
    pub(super) async fn sweep(&mut self) {
        let limit = [1, 3, ALL][self.random.usize(..3)];
        let result = self.store.overdue(&self.queue.name, self.now, limit).await;
        let Reply::Answered(overdue) = self.reply(|| format!("overdue {limit}"), result) else {
            return;
        };
        self.check_overdue(&overdue, limit);
        let ends = overdue.iter().map(|job| self.end_of(job)).collect();
        self.commit(ends).await;
    }

    /// How the sweep ends what is overdue.
    fn end_of(&self, job: &Job) -> Transition {
        match job.state {
            State::Leased => expired(job, self.now),
            _ => operate::lapse(job, self.now).unwrap(),
        }
    }

    /// Ends all that is overdue, which is all that is leased.
    pub(super) async fn sweep_all(&mut self) {
        // Longer than any lease, expiry or backoff.
        self.now = self.now.after(seconds(3600));
        let overdue = self.store.overdue(&self.queue.name, self.now, ALL).await.unwrap();
        let leased = overdue.iter().filter(|job| job.state == State::Leased).count();
        assert_eq!(leased as u64, self.memory.count().leased, "leased for ever");
        self.check_overdue(&overdue, ALL);
        let ends = overdue.iter().map(|job| self.end_of(job)).collect();
        self.commit(ends).await;
        self.now = self.now.after(seconds(3600)).after(Duration::from_millis(1));
    }
}
