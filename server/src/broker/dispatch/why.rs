//! Why a worker got nothing.

use super::Dispatching;
use super::door::Ticket;
use crate::broker::lease::Empty;
use crate::clock::Timestamp;
use crate::store::Gate;

impl Dispatching {
    /// Why this waiter would be answered empty now.
    pub(super) fn why_empty(&self, ticket: Ticket) -> Empty {
        if self.draining {
            return Empty::Draining;
        }
        let Some(waiter) = self.waiters.get(&ticket) else { return Empty::NoJobs };
        why(waiter.route.queues().map(|queue| match self.lines.get(queue) {
            Some(line) if line.gate.is_some() => line.gate,
            _ => waiter.gates.get(queue).copied(),
        }))
    }
}

/// What the gates of all queues together mean: a pause if all are paused; a limit if there is one,
/// for there may be jobs behind it.
fn why(gates: impl Iterator<Item = Option<Gate>>) -> Empty {
    let (mut all, mut paused, mut limited) = (0, 0, false);
    let mut until: Option<Timestamp> = None;
    for gate in gates {
        all += 1;
        match gate {
            None => {}
            Some(Gate::Paused) => paused += 1,
            Some(Gate::Full) => limited = true,
            Some(Gate::Limited { until: moment }) => {
                limited = true;
                until = Some(until.map_or(moment, |earlier| earlier.min(moment)));
            }
        }
    }
    if limited {
        Empty::Limited { until }
    } else if all > 0 && all == paused {
        Empty::Paused
    } else {
        Empty::NoJobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(millis: u64) -> Gate {
        Gate::Limited { until: Timestamp::from_millis(millis) }
    }

    #[test]
    fn one_limit_counts_and_only_pauses_everywhere_are_a_pause() {
        let paused = Some(Gate::Paused);
        let until = |millis| Some(Timestamp::from_millis(millis));
        let table = [
            (vec![], Empty::NoJobs),
            (vec![None, None], Empty::NoJobs),
            (vec![paused, None], Empty::NoJobs),
            (vec![paused, paused], Empty::Paused),
            (vec![paused, Some(Gate::Full)], Empty::Limited { until: None }),
            (vec![None, Some(limited(9)), Some(limited(7))], Empty::Limited { until: until(7) }),
            (vec![Some(Gate::Full), Some(limited(9))], Empty::Limited { until: until(9) }),
        ];
        for (gates, expected) in table {
            assert_eq!(why(gates.iter().copied()), expected, "{gates:?}");
        }
    }
}
