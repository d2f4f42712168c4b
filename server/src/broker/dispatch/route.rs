//! In which order a worker looks into its queues.

use std::collections::{HashMap, HashSet, VecDeque};

use super::arrivals::Guest;
use crate::broker::lease::{Order, QueuePattern};
use crate::job::QueueName;

/// The queues of a worker, those that may come to be, and the order in which it looks into them.
#[derive(Clone, Debug)]
pub struct Route {
    places: Vec<Place>,
    /// Patterns that mean queues which may come to be, with the entry that each is.
    patterns: Vec<(usize, QueuePattern)>,
    /// The queues that it has, if it may take in more.
    known: HashSet<QueueName>,
    order: Order,
    /// Where the next fair round begins.
    next: usize,
    /// So that no queue comes to be unheard.
    _guest: Guest,
}

#[derive(Clone, Debug)]
struct Place {
    queue: QueueName,
    /// Which entry of the request means it.
    entry: usize,
}

impl Route {
    /// A route through the queues that `entries` mean among the `known` ones, which were looked up
    /// after the guest had come.
    pub fn new(entries: &[QueuePattern], known: &[QueueName], order: Order, guest: Guest) -> Self {
        let mut seen = HashSet::with_capacity(entries.len());
        let mut places = Vec::new();
        let mut patterns = Vec::new();
        for (entry, pattern) in entries.iter().enumerate() {
            let mut add = |queue: &QueueName| {
                if seen.insert(queue.clone()) {
                    places.push(Place { queue: queue.clone(), entry });
                }
            };
            match pattern {
                QueuePattern::Name(queue) => add(queue),
                QueuePattern::Prefix(_) => {
                    known.iter().filter(|queue| pattern.serves(queue)).for_each(&mut add);
                    patterns.push((entry, pattern.clone()));
                }
            }
        }
        // A fixed beginning would starve the last one.
        let next = fastrand::usize(..places.len().max(1));
        if patterns.is_empty() {
            seen = HashSet::new();
        }
        Self { places, patterns, known: seen, order, next, _guest: guest }
    }

    /// The queues.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = &QueueName> {
        self.places.iter().map(|place| &place.queue)
    }

    /// The queue with this index.
    pub(super) fn queue(&self, index: usize) -> Option<&QueueName> {
        self.places.get(index).map(|place| &place.queue)
    }

    /// True when it means queues that may come to be.
    pub(super) fn is_open(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Takes a queue in that came to be, if it means it and has it not; answers its index.
    pub(super) fn join(&mut self, queue: &QueueName) -> Option<usize> {
        let (entry, _) = self.patterns.iter().find(|(_, pattern)| pattern.serves(queue))?;
        if !self.known.insert(queue.clone()) {
            return None;
        }
        self.places.push(Place { queue: queue.clone(), entry: *entry });
        Some(self.places.len() - 1)
    }

    /// Only the queue with this index from now on.
    pub(super) fn narrow(&mut self, index: usize) {
        self.places = self.places.get(index).cloned().into_iter().collect();
        self.patterns.clear();
        self.next = 0;
    }

    /// The next fair round begins behind this one.
    pub(super) fn served(&mut self, index: usize) {
        self.next = (index + 1) % self.places.len().max(1);
    }

    /// Fills `round` with the indexes of the queues to look into, of those that are `worth` it, in
    /// the order in which to look.
    pub(super) fn round(&self, round: &mut VecDeque<usize>, worth: impl Fn(&QueueName) -> bool) {
        let count = self.places.len();
        let next = self.next.min(count);
        round.clear();
        round
            .extend((next..count).chain(0..next).filter(|index| worth(&self.places[*index].queue)));
        if round.len() < 2 {
            return;
        }
        let entry = |index: &usize| self.places[*index].entry;
        match &self.order {
            Order::Fair => {}
            Order::Strict => {
                round.make_contiguous().sort_unstable_by_key(|index| (entry(index), *index));
            }
            Order::Weighted(weights) => {
                let mut lots = HashMap::new();
                for index in &*round {
                    let entry = entry(index);
                    lots.entry(entry).or_insert_with(|| lot(weights.get(entry).copied()));
                }
                let drawn = |index: &usize| lots.get(&entry(index)).copied().unwrap_or_default();
                // Stable: within an entry it is a fair round.
                round.make_contiguous().sort_by(|one, other| drawn(one).total_cmp(&drawn(other)));
            }
        }
    }
}

/// A number that is exponential with the weight: of several, the one with twice the weight is twice
/// as likely to be the smallest.
fn lot(weight: Option<u32>) -> f64 {
    // 1 - x is never zero, of which there is no logarithm.
    -(1.0 - fastrand::f64()).ln() / f64::from(weight.unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::super::arrivals::Arrivals;
    use super::*;

    fn route(entries: &[&str], known: &[&str], order: Order) -> Route {
        let entries: Vec<_> =
            entries.iter().map(|text| QueuePattern::parse(text).unwrap()).collect();
        let known: Vec<_> = known.iter().map(|name| QueueName::parse(name).unwrap()).collect();
        Route::new(&entries, &known, order, Arrivals::new().0.guest())
    }

    fn round(route: &Route) -> Vec<String> {
        let mut round = VecDeque::new();
        route.round(&mut round, |_| true);
        round.iter().filter_map(|index| route.queue(*index)).map(ToString::to_string).collect()
    }

    #[test]
    fn a_fair_round_begins_behind_the_queue_served_last() {
        let mut route = route(&["a", "b", "c"], &[], Order::Fair);
        route.served(0);
        assert_eq!(round(&route), ["b", "c", "a"]);
        route.served(2);
        assert_eq!(round(&route), ["a", "b", "c"]);
    }

    #[test]
    fn a_strict_round_keeps_the_order_of_the_entries_also_for_queues_that_come_later() {
        let mut route = route(&["c", "a*", "b"], &["a1", "c", "d"], Order::Strict);
        let joined = QueueName::parse("a2").unwrap();
        assert_eq!(route.join(&joined), Some(3));
        assert_eq!(route.join(&joined), None);
        route.served(1);
        assert_eq!(round(&route), ["c", "a1", "a2", "b"]);
    }

    #[test]
    fn a_heavier_entry_comes_first_more_often() {
        let route = route(&["a", "b", "c"], &[], Order::Weighted(vec![1, 6, 1]));
        let mut firsts = HashMap::new();
        for _ in 0..4000 {
            *firsts.entry(round(&route).swap_remove(0)).or_insert(0) += 1;
        }
        // Expected are 3000 of 4000; this is more than ten standard deviations away.
        assert!((2600..3400).contains(&firsts["b"]), "{firsts:?}");
        assert!(firsts["a"] > 0 && firsts["c"] > 0);
    }

    #[test]
    fn queues_that_are_not_worth_a_look_are_left_out() {
        let route = route(&["a", "b"], &[], Order::Fair);
        let mut round = VecDeque::from([7]);
        route.round(&mut round, |queue| queue.as_str() == "b");
        assert_eq!(round, [1]);
    }
}
