//! Which queues were told ready lately.

use std::collections::HashSet;
use std::mem;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::QueueName;

/// Longer than a wish is on its way after it looked up the queues.
const SPAN: Duration = Duration::from_mins(1);

/// Queues that were told ready within the last minute, and some of the minute before: a wish for
/// queues to come that was made just before such a signal must not miss it.
#[derive(Debug, Default)]
pub(super) struct Heard {
    young: HashSet<QueueName>,
    old: HashSet<QueueName>,
    /// Since when the young ones are gathered.
    since: Timestamp,
}

impl Heard {
    /// Notes a queue; true when it was not known.
    pub(super) fn note(&mut self, queue: &QueueName, now: Timestamp) -> bool {
        let span = now.since(self.since);
        if span >= SPAN {
            self.old = mem::take(&mut self.young);
            if span >= 2 * SPAN {
                self.old.clear();
            }
            self.since = now;
        }
        let is_new = !self.young.contains(queue) && self.young.insert(queue.clone());
        is_new && !self.old.contains(queue)
    }

    /// All of them.
    pub(super) fn queues(&self) -> impl Iterator<Item = &QueueName> {
        self.young.union(&self.old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(heard: &Heard) -> Vec<&str> {
        let mut names: Vec<&str> = heard.queues().map(QueueName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_told_is_known_for_a_minute_and_forgotten_within_two() {
        let queue = |name| QueueName::parse(name).unwrap();
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let mut heard = Heard::default();
        assert!(heard.note(&queue("a"), at(1000)));
        assert!(!heard.note(&queue("a"), at(1059)));
        assert!(heard.note(&queue("b"), at(1060)));
        assert!(!heard.note(&queue("a"), at(1061)));
        assert_eq!(names(&heard), ["a", "b"]);
        assert!(heard.note(&queue("c"), at(1120)));
        assert_eq!(names(&heard), ["a", "b", "c"]);
        assert!(heard.note(&queue("d"), at(1180)));
        assert_eq!(names(&heard), ["c", "d"]);
        assert!(heard.note(&queue("e"), at(1300)));
        assert_eq!(names(&heard), ["e"]);
    }
}
