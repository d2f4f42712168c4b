//! Who called this broker.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Profile, Worker};
use crate::broker::lease::QueuePattern;
use crate::clock::Timestamp;
use crate::job::WorkerId;

/// Workers noted by one broker at most; of more, only some are listed.
const MOST_WORKERS: usize = 10_000;

/// The workers that called this broker lately.
#[derive(Default)]
pub(super) struct Roll {
    workers: HashMap<WorkerId, Seen>,
}

struct Seen {
    profile: Profile,
    queues: Vec<QueuePattern>,
    /// It asked for jobs here, so what it says about itself is known.
    introduced: bool,
    /// Its calls that wait now.
    waiting: usize,
    last: Timestamp,
    /// When the store was told last; `None`: not since it said something new.
    written: Option<Timestamp>,
    /// Set once it has left for good.
    parted: CancellationToken,
}

impl Seen {
    /// When the store should be told that it is here still; `None`: it is not.
    fn due(&self, refresh: Duration) -> Option<Timestamp> {
        match self.written {
            None => Some(Timestamp::default()),
            Some(written) if self.waiting > 0 || self.last > written => {
                Some(written.after(refresh))
            }
            Some(_) => None,
        }
    }

    fn last(&self, now: Timestamp) -> Timestamp {
        if self.waiting > 0 { now } else { self.last }
    }

    fn worker(&self, id: &WorkerId, now: Timestamp) -> Worker {
        Worker {
            id: id.clone(),
            profile: self.profile.clone(),
            queues: self.queues.clone(),
            last_seen: self.last(now),
            draining: false,
        }
    }
}

impl Roll {
    /// A worker's call begins; true when the store should hear of it. The token is set when the
    /// worker has left for good.
    pub(super) fn arrive(
        &mut self,
        id: &WorkerId,
        profile: Option<Profile>,
        queues: &[QueuePattern],
        now: Timestamp,
    ) -> (bool, CancellationToken) {
        let Some(seen) = self.entry(id, now) else { return (false, CancellationToken::new()) };
        let news = !seen.introduced
            || seen.queues != queues
            || profile.as_ref().is_some_and(|profile| *profile != seen.profile);
        if news {
            seen.queues = queues.to_vec();
            seen.profile = profile.unwrap_or_else(|| std::mem::take(&mut seen.profile));
            seen.introduced = true;
            seen.written = None;
        }
        seen.waiting += 1;
        seen.last = now;
        (news, seen.parted.clone())
    }

    /// A worker has left for good.
    pub(super) fn part(&mut self, id: &WorkerId, now: Timestamp) {
        if let Some(seen) = self.entry(id, now) {
            seen.parted.cancel();
        }
    }

    /// A worker's call has ended.
    pub(super) fn leave(&mut self, id: &WorkerId, now: Timestamp) {
        if let Some(seen) = self.workers.get_mut(id) {
            seen.waiting = seen.waiting.saturating_sub(1);
            seen.last = now;
        }
    }

    /// A worker is alive; true when it was not known.
    pub(super) fn touch(&mut self, id: &WorkerId, now: Timestamp) -> bool {
        let is_new = !self.workers.contains_key(id);
        if let Some(seen) = self.entry(id, now) {
            seen.last = now;
        }
        is_new
    }

    fn entry(&mut self, id: &WorkerId, now: Timestamp) -> Option<&mut Seen> {
        if !self.workers.contains_key(id) {
            if self.workers.len() >= MOST_WORKERS {
                return None;
            }
            let seen = Seen {
                profile: Profile::default(),
                queues: Vec::new(),
                introduced: false,
                waiting: 0,
                last: now,
                written: None,
                parted: CancellationToken::new(),
            };
            self.workers.insert(id.clone(), seen);
        }
        self.workers.get_mut(id)
    }

    /// Those of whom the store should be told now, and whether some of them never asked for jobs
    /// here. Those that are gone and written are forgotten.
    pub(super) fn take_due(
        &mut self,
        now: Timestamp,
        refresh: Duration,
        lately: Duration,
    ) -> (Vec<Worker>, bool) {
        self.workers
            .retain(|_, seen| seen.due(refresh).is_some() || now.since(seen.last) <= lately);
        let is_due = |seen: &Seen| seen.due(refresh).is_some_and(|due| due <= now);
        let due = || self.workers.iter().filter(|(_, seen)| is_due(seen));
        let incomplete = due().any(|(_, seen)| !seen.introduced);
        (due().map(|(id, seen)| seen.worker(id, now)).collect(), incomplete)
    }

    /// Takes over what another broker wrote of workers that never asked for jobs here.
    pub(super) fn learn(&mut self, known: &HashMap<WorkerId, Worker>, due: &mut [Worker]) {
        for worker in due {
            let Some(seen) = self.workers.get_mut(&worker.id).filter(|seen| !seen.introduced)
            else {
                continue;
            };
            if let Some(known) = known.get(&worker.id) {
                seen.profile.clone_from(&known.profile);
                seen.queues.clone_from(&known.queues);
                worker.profile.clone_from(&known.profile);
                worker.queues.clone_from(&known.queues);
            }
        }
    }

    /// The store was told of these.
    pub(super) fn written(&mut self, workers: &[Worker], now: Timestamp) {
        for worker in workers {
            if let Some(seen) = self.workers.get_mut(&worker.id)
                && seen.queues == worker.queues
                && seen.profile == worker.profile
            {
                seen.written = Some(now);
            }
        }
    }

    /// Adds what is known here and not written yet.
    pub(super) fn complete(&self, workers: &mut BTreeMap<WorkerId, Worker>, now: Timestamp) {
        for (id, seen) in &self.workers {
            let here = seen.worker(id, now);
            match workers.get_mut(id) {
                Some(worker) if seen.introduced && seen.last >= worker.last_seen => *worker = here,
                Some(worker) => worker.last_seen = worker.last_seen.max(here.last_seen),
                None => {
                    workers.insert(id.clone(), here);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::QueueName;

    const REFRESH: Duration = Duration::from_secs(30);
    const LATELY: Duration = Duration::from_mins(2);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    fn id(text: &str) -> WorkerId {
        WorkerId::parse(text).unwrap()
    }

    fn queues(text: &str) -> Vec<QueuePattern> {
        vec![QueuePattern::Name(QueueName::parse(text).unwrap())]
    }

    fn profile(sdk: &str) -> Profile {
        Profile { sdk: sdk.to_owned(), ..Profile::default() }
    }

    #[test]
    fn a_worker_that_waits_is_written_at_once_and_then_now_and_again() {
        let mut roll = Roll::default();
        assert!(roll.arrive(&id("w"), None, &queues("a"), at(0)).0);
        let (due, incomplete) = roll.take_due(at(0), REFRESH, LATELY);
        assert_eq!((due.len(), incomplete), (1, false));
        roll.written(&due, at(0));
        assert!(roll.take_due(at(29), REFRESH, LATELY).0.is_empty());
        assert_eq!(roll.take_due(at(30), REFRESH, LATELY).0[0].last_seen, at(30));
    }

    #[test]
    fn a_worker_that_says_the_same_again_is_no_news() {
        let mut roll = Roll::default();
        assert!(roll.arrive(&id("w"), Some(profile("a/1")), &queues("a"), at(0)).0);
        assert!(!roll.arrive(&id("w"), None, &queues("a"), at(1)).0);
        assert!(!roll.arrive(&id("w"), Some(profile("a/1")), &queues("a"), at(2)).0);
        assert!(roll.arrive(&id("w"), Some(profile("a/2")), &queues("a"), at(3)).0);
        assert!(roll.arrive(&id("w"), None, &queues("b"), at(4)).0);
    }

    #[test]
    fn a_worker_that_left_is_written_once_more_and_forgotten() {
        let mut roll = Roll::default();
        roll.arrive(&id("w"), None, &queues("a"), at(0));
        let (due, _) = roll.take_due(at(0), REFRESH, LATELY);
        roll.written(&due, at(0));
        roll.leave(&id("w"), at(5));
        let (due, _) = roll.take_due(at(30), REFRESH, LATELY);
        assert_eq!(due[0].last_seen, at(5));
        roll.written(&due, at(30));
        assert!(roll.take_due(at(126), REFRESH, LATELY).0.is_empty());
        assert!(roll.workers.is_empty());
    }

    #[test]
    fn a_worker_met_by_heartbeats_keeps_what_another_broker_wrote() {
        let mut roll = Roll::default();
        assert!(roll.touch(&id("w"), at(1)));
        let (mut due, incomplete) = roll.take_due(at(1), REFRESH, LATELY);
        assert!(incomplete);
        let other = Worker {
            id: id("w"),
            profile: profile("a/1"),
            queues: queues("a"),
            last_seen: at(0),
            draining: false,
        };
        roll.learn(&HashMap::from([(id("w"), other.clone())]), &mut due);
        assert_eq!(due, [Worker { last_seen: at(1), ..other }]);
    }
}
